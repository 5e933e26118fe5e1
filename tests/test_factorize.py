"Factor models at the edges: odd data, unstable settings, repeatability, memory, published splits"
import numpy as np, pandas as pd, pytest

from recsys_course.data import Interactions, load_movielens
from recsys_course.factorize import ALS, BiasedMF, FullBatchMF, _blocks
from recsys_course.recommender import Bias
from recsys_course.simulate import World

MODELS = [FullBatchMF, BiasedMF, lambda: BiasedMF(holdout=.5), lambda: BiasedMF(n_threads=2), ALS, lambda: ALS(n_threads=2)]

def inter(rows): return Interactions.from_df(pd.DataFrame(rows, columns=['user', 'item', 'rating']))

@pytest.fixture(scope='module')
def split(): return World(n_users=200, n_items=150).sample(8000).split('random')

@pytest.mark.parametrize('make', MODELS)
@pytest.mark.parametrize('rows', [[('a', 1, 4)], [('a', i, i) for i in range(1, 6)], [(u, 1, 3) for u in 'abcde'], [('a', 1, 3), ('b', 2, 3), ('b', 1, 3)], [('a', 1, -2.5), ('b', 2, 0.)]],
                         ids=['one rating', 'one user', 'one item', 'all equal', 'not positive'])
def test_odd_data(make, rows):
    data = inter(rows)
    model = make().fit(data)
    u, i = (o.ravel() for o in np.meshgrid(data.users.ids, data.items.ids))
    p = model.predict(u, i)
    lo, hi = data.df.rating.min(), data.df.rating.max()
    assert np.isfinite(p).all() and (lo <= p).all() and (p <= hi).all()
    assert np.isfinite(model.scores(np.arange(len(data.users)))).all()
    recs = model.recommend(data.users.ids, k=3, exclude_seen=False)
    assert len(recs) == len(data.users.ids)*min(3, len(data.items.ids)) and np.isfinite(recs.score).all()
    if lo == hi: assert np.allclose(p, lo)

@pytest.mark.parametrize('make', MODELS)
def test_user_without_ratings_in_train(make, split):
    train, test = split
    who = train.users.ids[0]
    model = make().fit(train._take((train.df.user != who).to_numpy()))
    p = model.predict(who, train.items.ids)
    want = model.mean + model.item_bias[1:]
    assert np.allclose(p, np.clip(want, *model.scale), atol=1e-5)
    assert not model.user_factors[0].any() and not model.item_factors[0].any()
    assert np.isfinite(model.fold_in({}).view(np.ndarray)).all()

@pytest.mark.parametrize('make', [FullBatchMF, BiasedMF, lambda: BiasedMF(n_threads=3), ALS, lambda: ALS(n_threads=2), lambda: ALS(w0=.1)])
def test_same_seed_same_bits(make, split):
    a, b = make().fit(split[0]), make().fit(split[0])
    for t in ('user_factors', 'item_factors', 'user_bias', 'item_bias'): assert (getattr(a, t) == getattr(b, t)).all(), t
    assert a.user_factors.dtype == a.scores(np.array([1])).dtype == np.float32

def test_other_seed_other_bits(split): assert (BiasedMF(seed=1).fit(split[0]).user_factors != BiasedMF(seed=2).fit(split[0]).user_factors).any()

@pytest.mark.parametrize('n_rows', [1, 7, 5000])
@pytest.mark.parametrize('n', [1, 2, 3, 8, 256])
def test_blocks_hold_every_row_once_and_share_nothing(n_rows, n):
    rng = np.random.default_rng(0)
    u, i = (1 + np.minimum(rng.geometric(p, n_rows), m) for p, m in ((.02, 300), (.05, 90)))     # some have far more rows than others
    order, ends = _blocks(u, i, n)
    order = np.arange(n_rows)[order]
    assert sorted(order) == list(range(n_rows)) and ends[0] == 0 and ends[-1] == n_rows and len(ends) == n*n + 1 and (np.diff(ends) >= 0).all()
    for r in range(n):
        blocks = [order[ends[b]:ends[b+1]] for b in range(r*n, r*n + n)]
        for codes in (u, i): assert sum(len(set(codes[b])) for b in blocks) == len(set(codes[np.concatenate(blocks)]))
    if n_rows == 5000 and n == 2: assert np.diff(ends).min() > 900                               # shares are fair
    if n > 1: assert all((np.diff(order[ends[b]:ends[b+1]]) > 0).all() for b in range(n*n))      # and keep the order of the walk

def test_threads_learn_the_same(split):
    train, test = split
    error = lambda m: np.sqrt(np.mean((m.fit(train).predict(test.df.user, test.df['item']) - test.df.rating)**2))
    one, many = error(BiasedMF()), error(BiasedMF(n_threads=4))
    assert abs(one - many) < .01 and BiasedMF(n_threads=4).fit(train).losses == pytest.approx(BiasedMF().fit(train).losses, rel=.02)

@pytest.mark.parametrize('make', [lambda: BiasedMF(lr=1.), lambda: BiasedMF(lr=20.), lambda: BiasedMF(lr_bias=3.), lambda: BiasedMF(lr=1., n_epochs=1), lambda: BiasedMF(reg=50.), lambda: FullBatchMF(lr=50.)])
def test_unstable_settings_are_an_error(make, split):
    with pytest.raises(FloatingPointError, match='unstable.*lr'): make().fit(split[0])

@pytest.mark.parametrize('bad', [dict(n_factors=0), dict(n_epochs=0), dict(lr=0), dict(lr=float('nan')), dict(n_threads=0), dict(holdout=1.), dict(holdout=-.1)])
def test_impossible_settings(bad):
    with pytest.raises(ValueError, match=next(iter(bad))): BiasedMF(**bad)

@pytest.mark.parametrize('bad', [dict(w0=-1), dict(w0=2), dict(reg=0), dict(n_rounds=0)])
def test_impossible_settings_of_als(bad):
    with pytest.raises(ValueError, match=next(iter(bad))): ALS(**bad)

def test_partial_fit_by_raw_ids(split):
    train, _ = split
    model = BiasedMF().fit(train)
    u, i = train.users.ids[3], train.items.ids[5]
    before = model.user_factors.copy()
    model.partial_fit(inter([(u, i, 5)]))                                   # a vocabulary of its own
    moved = np.flatnonzero((model.user_factors != before).any(1))
    assert moved.tolist() == [4] and model.seen[4, 6] == 1
    with pytest.raises(KeyError, match='nobody'): model.partial_fit(inter([('nobody', 'x', 5)]) if isinstance(u, str) else Interactions.from_df(pd.DataFrame(dict(user=['nobody'], item=[i], rating=[5.]))))

def test_silence(split, capfd):
    for make in MODELS: make().fit(split[0])
    out = capfd.readouterr()
    assert not out.out and not out.err

@pytest.mark.parametrize('seed', [0, 1, 2])
def test_better_than_offsets(seed):
    train, test = World(seed=seed).sample(100_000).split('random')
    error = lambda m: np.sqrt(np.mean((m.fit(train).predict(test.df.user, test.df['item']) - test.df.rating)**2))
    mf, als, bias = error(BiasedMF()), error(ALS()), error(Bias())
    assert mf < bias - .01 and als < bias

def test_a_million_ratings_in_little_memory(peak_growth):
    rng = np.random.default_rng(0)
    cells = np.unique(rng.integers(0, 20_000*4_000, 1_000_000))
    data = inter(dict(user=cells//4_000, item=cells % 4_000, rating=rng.integers(1, 6, len(cells)).astype(float)))
    data.codes()
    BiasedMF(n_factors=8, n_epochs=1).fit(data)
    model, grown = peak_growth(lambda: BiasedMF(n_factors=50, n_epochs=2, n_threads=2).fit(data))
    assert grown < 200e6, f'{grown/1e6:.0f} MB'                             # tables 5 MB, a few copies of a million rows
    assert np.isfinite(model.losses).all()

def test_published_splits(movielens):
    "At its defaults, mean of u1 to u5"
    errors = []
    for fold in range(1, 6):
        train, test = load_movielens('100k', path=movielens, fold=fold)
        errors.append(np.sqrt(np.mean((BiasedMF().fit(train).predict(test.df.user, test.df['item']) - test.df.rating)**2)))
    assert np.mean(errors) <= .910

def test_a_bar_where_a_person_watches(monkeypatch):
    "A terminal, Jupyter, Colab; here the error stream is none of them"
    from recsys_course.factorize import _progress
    for name in ('JPY_SESSION_NAME', 'COLAB_RELEASE_TAG'): monkeypatch.delenv(name, raising=False)
    assert _progress(range(3), 'x').disable
    for name in ('JPY_SESSION_NAME', 'COLAB_RELEASE_TAG'):
        with monkeypatch.context() as m:
            m.setenv(name, 'x')
            assert not _progress(range(3), 'x').disable
