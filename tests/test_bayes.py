"The Bayesian factorisation: conditionals, the sampler against its own prior, intervals, newcomers, threads, files, odd data"
import inspect, warnings
from copy import copy

import numpy as np, pandas as pd, pytest, scipy.sparse as sp
from scipy.stats import ks_2samp, norm

from recsys_course import bayes
from recsys_course.bayes import ALIKE, BayesianMF, Gibbs, collect, draw_normal, draw_precisions, draw_prior, pair_moments, paired_noise
from recsys_course.check import check_recommender
from recsys_course.data import Interactions
from recsys_course.datasets import load_movielens
from recsys_course.factorize import BiasedMF
from recsys_course.recommender import Bias, PoorModelWarning, Recommender, User
from recsys_course.simulate import World

def inter(rows): return Interactions.from_df(pd.DataFrame(rows, columns=['user', 'item', 'rating']))
def rmse(m, test): return float(np.sqrt(np.mean((m.predict(test.df.user, test.df['item']) - test.df.rating)**2)))

@pytest.fixture(scope='module')
def split(): return World(n_users=200, n_items=150).sample(8000).split('random')

@pytest.fixture(scope='module')
def fitted(split): return BayesianMF(n_factors=4, n_samples=16).fit(split[0])

# ---- The sampler

def from_prior(rng, n=6, m=5, d=3):
    "A chain whose unknowns are drawn from the prior, and ratings of the whole table that they make"
    def prior(n0=1.):
        prec = rng.gamma(1, 1, d)
        return prec, (rng.normal(size=d)/np.sqrt(prec) if n0 == 1 else np.zeros(d))
    tables = []
    for rows, n0 in ((n, 1), (m, 1), (m, 0), (n, 0)):
        prec, mean = prior(n0)
        tables.append(rng.normal(mean, prec**-.5, (rows, d)).astype(np.float32))
    rate = rng.gamma(1, 1)
    precision = rng.gamma(ALIKE, 1/rate, n)
    u, i = np.divmod(np.arange(n*m), m)
    chain = Gibbs(u, i, np.zeros(n*m), tables, rng)
    chain.precision, chain.rate = precision.astype(np.float32), rate
    P, F = chain.users.W.astype(float), chain.items.W.astype(float)
    r = (P[u, :-1]*F[i, :-1]).sum(1) + P[u, -1] + F[i, -1] + rng.normal(size=n*m)/np.sqrt(precision[u])
    chain.users.r, chain.items.r = r.astype(np.float32), r.astype(np.float32).reshape(n, m).T.ravel()
    return chain

def figures_of(chain):
    "Numbers whose distribution must not change: parts of the state, and how it fits the ratings"
    P, F, n = chain.users.W.astype(float), chain.items.W.astype(float), len(chain.users.W)
    e = chain.users.r.reshape(n, -1) - P[:, :-1]@F[:, :-1].T - P[:, -1:] - F[:, -1]
    return [P[0, :-1]@F[0, :-1] + P[0, -1] + F[0, -1], np.log(chain.rate), np.log(chain.precision[0]), np.log(np.square(chain.users.own[:, 0]).sum()),
            np.log(np.square(chain.items.own[:, -1]).sum()), np.log(np.square(chain.users.hints[:, 1]).sum()), np.log(np.square(chain.items.hints[:, -1]).sum()), np.square(e[0]).sum()*chain.precision[0]]

def p_values(n=400, steps=5):
    pairs = []
    for seed in range(n):
        chain = from_prior(np.random.default_rng(seed))
        before = figures_of(chain)
        for _ in range(steps): chain.step()
        pairs.append((before, figures_of(chain)))
    before, after = np.array(pairs).transpose(1, 2, 0)
    return np.array([ks_2samp(b, a, method='asymp').pvalue for b, a in zip(before, after)])     # they go together a little, which makes the test milder

def test_the_posterior_of_what_the_prior_made_is_the_prior():
    "Geweke (2004): unknowns from the prior, ratings from them, then steps given the ratings: nothing changes its distribution"
    p = p_values()
    assert p.min() > .01, p

@pytest.mark.parametrize('name, wrong', [
    ('draw_prior', lambda rng, x, **kw: tuple(o*(2 if k else 1) for k, o in enumerate(draw_prior(rng, x, **kw)))),
    ('draw_precisions', lambda rng, s, c, rate: draw_precisions(rng, 2*s, c, rate)),
    ('draw_rows', lambda first, last, S, T, mean, prec, noise, own, W: bayes_draw_rows(first, last, S, T, mean, prec, .5*noise, own, W)),
    ('draw_hints', lambda *args: bayes_draw_hints(*args[:7], .5*args[7], *args[8:]))], ids=['prior', 'noise', 'rows', 'hints'])
def test_a_broken_sampler_is_seen(monkeypatch, name, wrong):
    monkeypatch.setattr(bayes, name, wrong)
    assert p_values(steps=15 if name == 'draw_hints' else 5).min() < 1e-3

bayes_draw_rows, bayes_draw_hints = bayes.draw_rows, bayes.draw_hints

@pytest.mark.parametrize('d', [1, 2, 9])
def test_draws_from_a_normal(d):
    rng = np.random.default_rng(d)
    B = rng.normal(size=(d, d+3))
    A, b = B@B.T, rng.normal(size=d)
    mean = b.copy()
    draw_normal(A.copy(), mean, np.zeros(d))
    assert np.allclose(mean, np.linalg.solve(A, b))
    x = np.tile(b, (20_000, 1))
    for row in x: draw_normal(A.copy(), row, rng.standard_normal(d))
    cov = np.linalg.inv(A)
    assert np.allclose(np.cov(x.T).reshape(d, d), cov, atol=.06*np.abs(cov).max()) and np.allclose(x.mean(0), mean, atol=5*np.sqrt(np.diag(cov).max()/20_000))

def test_each_number_of_a_hint_is_the_regression_on_all_ratings():
    "In turn: coordinate by coordinate, hint by hint, each by a regression of one variable on every rating it touches"
    rng = np.random.default_rng(3)
    chain = from_prior(rng, 7, 6, 4)
    users, items = chain.users, chain.items
    args = users.starts, users.col, users.r, users.W, items.W, np.ones(6, np.float32), users.S, users.T, users.squares
    collect(0, 7, *args)
    hints, W = users.hints.astype(float), users.W.astype(float)
    mean, prec = np.float32([.1, -.2, 0, .3]), np.float32([1, 2, 3, 4])
    bayes.draw_hints(items.starts, items.col, users.root, users.S, users.T, mean, prec, np.zeros((6, 4), np.float32), users.hints, users.W)
    X = np.column_stack([items.W[:, :-1], np.ones(6)]).astype(float)
    for f in range(4):
        for j in range(6):
            a, b, who = prec[f], prec[f]*mean[f], items.col[items.starts[j]:items.starts[j+1]]
            for u in who:
                met, r = users.col[users.starts[u]:users.starts[u+1]], users.r[users.starts[u]:users.starts[u+1]]
                x = X[met, f]*users.root[u]
                a, b = a + x@x, b + x@(r - X[met]@W[u] - items.W[met, -1] + x*hints[j, f])
            W[who, f] += users.root[who]*(b/a - hints[j, f])
            hints[j, f] = b/a
    assert np.allclose(users.hints, hints, atol=1e-3) and np.allclose(users.W, W, atol=1e-3)
    want, T = users.T.copy(), users.own + users.hints.sum(0)*users.root[:, None]
    assert np.allclose(users.W, T, atol=1e-4)                               # vectors are own parts and hints
    collect(0, 7, *args)
    assert np.allclose(users.T, want, atol=2e-3)                            # sums kept up with the errors

def test_prior_against_its_closed_form():
    rng = np.random.default_rng(0)
    x = rng.normal([3, -1], [.2, 5], (400, 2)).astype(np.float32)
    draws = np.array([draw_prior(rng, x) for _ in range(4000)])
    n, m = 400, x.mean(0, dtype=float)
    rate = 1 + ((x - m)**2).sum(0)/2 + n/(n+1)*m**2/2
    assert np.allclose(draws[:, 0].mean(0), n*m/(n+1), atol=4*np.sqrt(rate/201/401/4000).max())
    assert np.allclose(draws[:, 1].mean(0), 201/rate, rtol=.01) and np.allclose(draws[:, 1].std(0), 201**.5/rate, rtol=.06)

def test_paired_noise():
    for n in (1, 2, 7, 8):
        z = paired_noise(0, (3, n, 2))
        assert np.allclose(z[:, :n//2*2].sum(1), 0, atol=1e-6) and z.dtype == np.float32
    assert abs(paired_noise(0, (400, 8, 4)).std() - 1) < .02

# ---- The model

def test_contract(): check_recommender(lambda: BayesianMF(n_factors=4, n_samples=8, burn=8))
def test_contract_without_hints(): check_recommender(lambda: BayesianMF(n_factors=4, n_samples=8, burn=8, implicit=False, n_chains=1))

def test_names_and_places_of_settings():
    assert list(inspect.signature(BayesianMF).parameters) == ['n_factors', 'n_samples', 'burn', 'implicit', 'n_chains', 'n_threads', 'seed']

@pytest.mark.parametrize('bad', [dict(n_factors=0), dict(n_samples=0), dict(burn=-1), dict(burn=1.5), dict(implicit='yes'), dict(n_chains=0), dict(n_threads=0), dict(seed=-1), dict(seed=.5), dict(n_factors=None)])
def test_impossible_settings(bad):
    with pytest.raises(ValueError, match=next(iter(bad))): BayesianMF(**bad)

def test_half_a_million_ratings_have_one_chain():
    log = World(n_users=40, n_items=30).sample(400)
    m = BayesianMF(n_factors=2, n_samples=2, burn=1).fit(log)
    assert m.count_chains() == len(m.last[0]) == 2 and BayesianMF(n_chains=3).count_chains() == 3
    m.ratings = sp.csr_matrix((np.ones(500_000, np.float32), np.zeros(500_000, np.int32), np.array([0, 500_000])), shape=(1, 1))
    assert m.count_chains() == 1

TABLES = 'user_draws', 'item_draws', 'hint_draws', 'user_prior', 'item_prior', 'exactness', 'noise'

def test_same_seed_same_bits_whatever_the_threads(split):
    make = lambda **kw: BayesianMF(n_factors=3, n_samples=4, burn=2, **kw).fit(split[0])
    one = make()
    for kw in (dict(), dict(n_threads=2), dict(n_threads=7), dict(n_threads=None)):
        other = make(**kw)
        for t in TABLES: assert (getattr(one, t) == getattr(other, t)).all(), (kw, t)
    assert (make(seed=1).user_draws != one.user_draws).any() and (one.user_draws[:, :4] != one.user_draws[:, 4:]).any()

@pytest.mark.parametrize('rows', [[('a', 1, 4)], [('a', i, i) for i in range(1, 6)], [(u, 1, 3) for u in 'abcde'], [('a', 1, 3), ('b', 2, 3), ('b', 1, 3)], [('a', 1, -2.5), ('b', 2, 0.)]],
                         ids=['one rating', 'one user', 'one item', 'all equal', 'not positive'])
def test_odd_data(rows):
    data = inter(rows)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', PoorModelWarning)
        model = BayesianMF().fit(data)
    u, i = (o.ravel() for o in np.meshgrid(data.users.ids, data.items.ids))
    p, std = model.predict(u, i, return_std=True)
    lo, hi = data.df.rating.min(), data.df.rating.max()
    assert np.isfinite(p).all() and (lo <= p).all() and (p <= hi).all() and np.isfinite(std).all() and (std > 0).all()
    assert np.isfinite(model.scores(np.arange(len(data.users)))).all() and len(model.recommend(data.users.ids, k=2, risk=.2, exclude_seen=False))
    if lo == hi: assert np.allclose(p, lo)

def test_equal_ratings_are_a_warning():
    with pytest.warns(PoorModelWarning, match='all 3 ratings are 3'): BayesianMF(n_samples=2).fit(inter([('a', 1, 3), ('b', 2, 3), ('b', 1, 3)]))

@pytest.mark.parametrize('a, b', [(.25, -.25), (25, -25), (1, 1000), (1e-9, 0), (1e9, 0)])
def test_predictions_move_with_the_scale(a, b):
    df = World(n_users=60, n_items=40, seed=1).sample(1200).df[['user', 'item', 'rating']]
    make = lambda d: BayesianMF(n_samples=8).fit(Interactions.from_df(d))
    one, other = make(df), make(df.assign(rating=a*df.rating + b))
    (p, s), (q, t) = (m.predict(df.user[:200], df['item'][:200], return_std=True) for m in (one, other))
    assert np.abs((q.astype(float) - b)/a - p).max() < .02 and np.abs(t.astype(float)/a - s).max() < .01

def test_mean_and_doubt_are_those_of_the_draws(fitted, split):
    train, _ = split
    u, i = train.codes()[0][:300], train.codes()[1][:300]
    U, V = fitted.user_draws.astype(float), fitted.item_draws.astype(float)
    each = (U[u][:, :, :-1]*V[i][:, :, :-1]).sum(2) + U[u][:, :, -1] + V[i][:, :, -1]
    mean, std = pair_moments(fitted.user_draws, fitted.item_draws, u, i)
    assert np.allclose(mean, each.mean(1), atol=1e-5) and np.allclose(std, each.std(1), atol=1e-5)
    whole, doubt = fitted.moments(fitted.user_vectors(u))
    rows = np.arange(300)
    assert np.allclose(whole[rows, i], fitted.mean + fitted.unit*mean, atol=1e-4) and np.allclose(doubt[rows, i], fitted.unit*std, atol=1e-3)
    assert np.allclose(whole[rows, i], fitted.scores(u)[rows, i], atol=1e-4) and np.allclose(fitted.predict_codes(u, i), whole[rows, i], atol=1e-4)
    p, s = fitted.predict(train.users.decode(u), train.items.decode(i), return_std=True)
    assert np.allclose(s, np.hypot(fitted.unit*std, fitted.noise[u]), atol=1e-4) and (p == fitted.predict(train.users.decode(u), train.items.decode(i))).all()

def test_risk_is_a_quantile(fitted, split):
    who = split[0].users.ids[3]
    query = fitted.query([who])
    mean, std = fitted.moments(fitted.user_vectors(query.codes))
    assert np.allclose(fitted.quantiles(query, .1), mean + norm.ppf(.1)*std, atol=1e-4)
    lists = {q: fitted.recommend(who, k=150, risk=q) for q in (None, .05, .5, .95)}
    assert lists[.5]['item'].tolist() == lists[None]['item'].tolist() and lists[.05]['item'].tolist() != lists[.95]['item'].tolist()
    doubt = lambda l: std[0, split[0].items.encode(l['item'][:15])].mean()
    assert doubt(lists[.05]) < doubt(lists[.95]) and not hasattr(fitted, 'risk')
    assert fitted.recommend(who, k=150).equals(lists[None])                  # a bold list leaves nothing behind
    for bad in (0, 1, 2, 'x'):
        with pytest.raises(ValueError, match='risk'): fitted.recommend(who, risk=bad)
    with pytest.raises(ValueError, match='index'): fitted.recommend(who, risk=.1, index=object())
    new = User(history=split[0].history(who)[['item', 'rating']])
    assert len(fitted.recommend([new, who], k=3, risk=.1)) == 6

def test_intervals_cover_what_they_promise():
    train, test = World(seed=2).sample(60_000).split('random')
    model = BayesianMF(n_samples=12).fit(train)
    for level in (.8, .9):
        low, high = model.interval(test.df.user, test.df['item'], level)
        assert abs(np.mean((low <= test.df.rating) & (test.df.rating <= high)) - level) < .025
    for bad in (0, 1, None):
        with pytest.raises(ValueError, match='level'): model.interval(1, 1, bad)

def test_better_than_what_does_not_integrate(split):
    for seed in (0, 1):
        train, test = World(seed=seed).sample(60_000).split('random')
        error = rmse(BayesianMF(n_samples=12).fit(train), test)
        assert error < rmse(BiasedMF().fit(train), test) - .005 and error < rmse(Bias().fit(train), test) - .02

def test_newcomers_are_never_worse_off_with_one_rating():
    for seed in (0, 1):
        train, test = World(seed=seed).sample(60_000).split('random')
        who = np.random.default_rng(seed).permutation(train.users.ids)[:200]
        model, errors = BayesianMF(n_samples=12).fit(train.take(~train.df.user.isin(who).to_numpy())), []
        for name, rows in train.df[train.df.user.isin(who)].groupby('user'):
            vectors = np.stack([model.fold_in(rows[:n][['item', 'rating']]).vector for n in (0, 1, 3)])
            errors.append(np.square(np.clip(model.vector_scores(vectors), 1, 5)[:, train.items.encode(rows['item'][3:])] - rows.rating[3:].to_numpy()).mean(1))
        nothing, one, three = np.mean(errors, 0)**.5
        assert one < nothing and three < one

def test_newcomers_posterior_is_the_regression(fitted, split):
    train, _ = split
    rows = train.history(train.users.ids[7])[['item', 'rating']]
    i, r = train.items.encode(rows['item']), rows.rating.to_numpy()
    found = fitted.posterior_draws(i, r)
    s = 5
    X = np.column_stack([fitted.item_draws[i, s, :-1], np.ones(len(i))]).astype(float)
    hint = fitted.hint_draws[i, s].sum(0)/len(i)**.5
    (mean, prec), exact = fitted.user_prior[s].astype(float), fitted.exactness[s]
    A = exact*X.T@X + np.diag(prec)
    b = exact*X.T@((r - fitted.mean)/fitted.unit - fitted.item_draws[i, s, -1] - X@hint) + prec*mean
    z = paired_noise(int(fitted.seed), (1, *fitted.user_prior[:, 0].shape))[0][s]
    want = np.linalg.solve(A, b) + np.linalg.solve(np.linalg.cholesky(A).T, z) + hint
    assert np.allclose(found[s], want, atol=1e-3)
    assert (fitted.fold_in(rows).vector == fitted.fold_in(dict(zip(rows['item'], rows.rating))).vector).all()
    with pytest.raises(KeyError, match='1000000000'): fitted.fold_in({10**9: 3})

def test_doubt_shrinks_with_ratings(split):
    "Of a newcomer without hints, who are told more and more"
    train, _ = split
    model = BayesianMF(n_factors=4, n_samples=16, implicit=False).fit(train)
    rows = train.history(train.df.user.value_counts().index[0])[['item', 'rating']]
    doubts = [np.square(model.moments(model.fold_in(rows[:n]).vector[None])[1][0, 1:]).mean() for n in (0, 2, 8, 40)]
    assert (np.diff(doubts) < 0).all()

def test_questions(fitted, split):
    train, _ = split
    asked = fitted.questions(fitted.fold_in({}), k=5, titles=True)
    assert list(asked.columns) == ['user', 'item', 'title', 'score', 'rank'] and (asked.score > 0).all() and (np.diff(asked.score) <= 0).all()
    who = train.users.ids[0]
    assert not set(fitted.questions(who, k=200)['item']) & set(train.history(who)['item'])
    some = train.items.ids[:3]
    assert set(fitted.questions(fitted.fold_in({}), items=some)['item']) == set(some)
    with pytest.raises(ValueError, match='one person at a time, not 2'): fitted.questions(train.users.ids[:2])

def test_update_draws_the_users_who_rated(fitted, split):
    train, test = split
    model = copy(fitted)
    before = fitted.user_draws.copy()
    assert model.update(test) is model and model.ratings.nnz == len(train) + len(test) == model.seen.nnz
    moved = np.flatnonzero((model.user_draws != before).any((1, 2)))
    assert set(moved) == set(test.codes()[0]) and (fitted.user_draws == before).all() and (model.item_draws == fitted.item_draws).all()
    row = model.ratings[moved[0]]
    assert (model.user_draws[moved[0]] == model.posterior_draws(row.indices, row.data).astype(np.float32)).all()
    u, i = train.users.ids[0], train.items.ids[0]
    for new, error, word in ((train.df, TypeError, 'Interactions'), (inter([(u, i, 50)]), ValueError, '50 is off the scale'), (inter([(u, 10**9, 5)]), KeyError, '1000000000')):
        with pytest.raises(error, match=word): model.update(new)

def test_warm_starts(split):
    train, test = split
    old, late = train.split('random', test=.1, seed=1)
    model = BayesianMF(n_samples=8).fit(old)
    cold = rmse(model, test)
    warm = copy(model).fit(train, warm=True)
    assert warm.traces.shape[2] == 8 + 4 and rmse(warm, test) < cold + .005
    assert warm.traces[1, :, 0].mean() < model.traces[1, :, 0].mean() - .02         # begins where the first fit ended
    more = World(n_users=260, n_items=170, seed=3).sample(9000)                     # others, other ids, some shared
    assert len(copy(model).fit(more, warm=True).recommend(more.users.ids[:3], k=2)) == 6
    with pytest.raises(RuntimeError, match='not fitted'): BayesianMF().fit(train, warm=True)
    assert (copy(model).fit(old).user_draws == model.user_draws).all()              # a cold fit forgets

def test_strangers_get_the_prior(split):
    train, _ = split
    who = train.users.ids[0]
    model = BayesianMF(n_samples=16).fit(train.take((train.df.user != who).to_numpy()))
    p = model.predict(who, train.items.ids)
    empty = model.vector_scores(model.fold_in({}).vector[None])[0, 1:]
    assert np.corrcoef(p, empty)[0, 1] > .98 and np.abs(p - np.clip(empty, 1, 5)).mean() < .1
    known = train.df.user.value_counts().index[0]
    assert np.hypot(0, model.doubt_codes(np.array([1]), np.array([5])))[0] > 0
    mean_doubt = lambda u: model.doubt_codes(np.full(50, train.users.encode(u)[0]), np.arange(1, 51)).mean()
    assert mean_doubt(who) > mean_doubt(known)

def test_a_loaded_model_can_do_everything(fitted, split, tmp_path):
    train, test = split
    fitted.save(tmp_path)
    back = Recommender.load(tmp_path)
    who, history = train.users.ids[0], train.history(train.users.ids[1])[['item', 'rating']]
    assert type(back) is BayesianMF and (back.fold_in(history).vector == fitted.fold_in(history).vector).all()
    assert back.recommend(train.users.ids, risk=.3).equals(fitted.recommend(train.users.ids, risk=.3))
    assert all((a == b).all() for a, b in zip(back.interval(test.df.user, test.df['item']), fitted.interval(test.df.user, test.df['item'])))
    assert (copy(back).fit(train, warm=True).user_draws == copy(fitted).fit(train, warm=True).user_draws).all()
    assert back.questions(who).equals(fitted.questions(who)) and back.similar_items(train.items.ids[:3]).equals(fitted.similar_items(train.items.ids[:3]))

@pytest.mark.parametrize('name, wrong', [('user_draws', lambda a: a[:, :-1]), ('item_draws', lambda a: np.full_like(a, np.inf)), ('noise', lambda a: a[:-1]), ('unit', lambda a: 0.), ('mean', lambda a: 'x'),
                                         ('ratings', lambda a: a[:5]), ('last', lambda a: a[:3]), ('user_prior', lambda a: -a), ('exactness', lambda a: -a), ('hint_draws', lambda a: a.astype(float))])
def test_a_file_whose_parts_do_not_fit(fitted, tmp_path, name, wrong):
    model = copy(fitted)
    setattr(model, name, wrong(getattr(model, name)))
    model.save(tmp_path)
    with pytest.raises(ValueError, match=name): BayesianMF.load(tmp_path)

def test_silence(split, capfd):
    BayesianMF(n_samples=2, burn=1).fit(split[0])
    out = capfd.readouterr()
    assert not out.out and not out.err

def test_scores_of_the_listed_items_only(fitted, split):
    train, _ = split
    new = fitted.fold_in(train.history(train.users.ids[5])[['item', 'rating']])
    query = fitted.query([train.users.ids[0], new])
    items = np.random.default_rng(0).integers(1, len(train.items), (2, 6))
    assert np.allclose(fitted.scores_of(query, items), np.take_along_axis(fitted.query_scores(query), items, 1), atol=1e-4)
    assert fitted.scores_of(query, items[:, :0]).shape == (2, 0)

def test_a_hundred_thousand_ratings_in_little_memory(peak_growth):
    data = World(n_users=4000, n_items=2000).sample(100_000)
    data.codes()
    BayesianMF(n_samples=1, burn=0).fit(data)
    model, grown = peak_growth(lambda: BayesianMF(n_samples=4, burn=1).fit(data))
    kept = sum(getattr(model, t).nbytes for t in TABLES)
    assert grown < 4*kept + 60e6, f'{grown/1e6:.0f} MB'

def test_published_split(movielens):
    train, test = load_movielens('100k', path=movielens, fold=1)
    model = BayesianMF().fit(train)
    assert rmse(model, test) <= .889
    low, high = model.interval(test.df.user, test.df['item'])
    assert .88 <= np.mean((low <= test.df.rating) & (test.df.rating <= high)) <= .92
