"Bad input, memory, refusals and determinism of the implicit models, and agreement with the implicit library"
import threading

import numpy as np, pandas as pd, pytest, scipy.sparse as sp
from fastcore.test import test_close as close

from recsys_course.check import check_recommender
from recsys_course.core import csr_ones
from recsys_course.data import Interactions
from recsys_course.implicit import (BPR, EASE, FactorModel, FreeItems, Heaps, ImplicitALS, check_weights, ease_formula, ease_weights, gram_matrix, item_weights,
                                    sample_negatives, solve_logistic, to_implicit, usual_alpha, usual_epochs, usual_events, usual_reg, weigh_history, weight_matrix, _bloom, _may_have)
from recsys_course.recommender import PoorModelWarning, Recommender, User

MODELS = {'BPR': lambda **kw: BPR(8, 20, **kw), 'ImplicitALS': lambda **kw: ImplicitALS(8, 5, **kw), 'EASE': EASE}

def random_log(n_users=60, n_items=40, n=900, seed=0):
    rng = np.random.default_rng(seed)
    cells = rng.choice(n_users*n_items, n, replace=False)
    return Interactions.from_df(pd.DataFrame(dict(user=[f'u{o}' for o in cells//n_items], item=cells % n_items, rating=rng.integers(1, 4, n))))

@pytest.fixture(scope='module')
def log(): return random_log()

@pytest.mark.parametrize('name', MODELS)
@pytest.mark.parametrize('bad', [0, -1, -.5])
def test_weights_must_be_positive(name, bad, log):
    df = log.df.assign(rating=log.df.rating.astype(float))
    df.loc[3, 'rating'] = bad
    with pytest.raises(ValueError, match=rf'1 of 900 are not \(the first is {bad:g}\).*to_implicit'): MODELS[name]().fit(Interactions.from_df(df))
    model = MODELS[name]().fit(log)
    with pytest.raises(ValueError, match='above 0'): model.fold_in({1: 1., 2: bad})

@pytest.mark.parametrize('name', MODELS)
@pytest.mark.parametrize('empty', [{}, pd.DataFrame(dict(item=[], rating=[])), pd.DataFrame(dict(item=np.zeros(0, int)))])
def test_an_empty_history_is_refused(name, empty, log):
    with pytest.raises(ValueError, match='empty history.*Popular'): MODELS[name]().fit(log).fold_in(empty)

@pytest.mark.parametrize('name', MODELS)
def test_odd_histories(name, log):
    model = MODELS[name]().fit(log)
    with pytest.raises(KeyError, match='999'): model.fold_in({999: 1.})
    with pytest.raises(ValueError, match='finite'): model.fold_in({1: np.nan})
    everything = {i: 1. for i in log.items.ids}
    assert len(model.recommend(model.fold_in(everything))) == 0
    twice = pd.DataFrame(dict(item=[1, 2, 1], rating=[1., 1., 1.]))
    close(np.asarray(model.fold_in(twice)), np.asarray(model.fold_in({1: 2., 2: 1.})), eps=1e-5)
    assert model.recommend(model.fold_in({1: 1.}), k=1)['item'].item() != 1

@pytest.mark.parametrize('name', MODELS)
def test_same_seed_same_model(name, log, tmp_path):
    a, b = (MODELS[name]().fit(log) for _ in range(2))
    users = np.arange(len(log.users))
    assert (a.scores(users) == b.scores(users)).all()
    state = np.random.get_state()[1].copy()
    MODELS[name]().fit(log)
    assert (np.random.get_state()[1] == state).all()            # the global generator is left alone
    a.save(tmp_path)
    assert (type(a).load(tmp_path).scores(users) == a.scores(users)).all()
    if name != 'EASE': assert (MODELS[name](seed=1).fit(log).scores(users) != a.scores(users)).any()

def test_threads_change_nothing_in_als(log):
    a, b = (ImplicitALS(8, 5, n_threads=n).fit(log) for n in (1, 3))
    assert (a.user_factors == b.user_factors).all() and (a.item_factors == b.item_factors).all()

@pytest.mark.parametrize('how', ['uniform', 'popularity'])
def test_bpr_in_threads_repeats_itself_and_learns_as_well(how):
    log = random_log(200, 100, 4000)
    one, many, again = (BPR(8, 40, how=how, n_threads=n).fit(log) for n in (1, 3, 3))
    assert (many.user_factors == again.user_factors).all() and (many.item_factors == again.item_factors).all() and (many.item_bias == again.item_bias).all()
    assert np.corrcoef(one.scores(np.arange(1, 201)).ravel(), many.scores(np.arange(1, 201)).ravel())[0, 1] > .5

def test_no_number_of_threads_means_one_per_core(monkeypatch):
    log = random_log(60, 40, 1000)
    fits = {n: BPR(8, 5, n_threads=n).fit(log).item_factors for n in (1, 3)}
    assert (fits[1] != fits[3]).any()
    for cores in fits:                                          # the model is that of as many threads, however small the log
        monkeypatch.setattr('recsys_course.implicit.count_threads', lambda n: cores if n is None else n)
        assert (BPR(8, 5, n_threads=None).fit(log).item_factors == fits[cores]).all()

def test_an_error_in_one_thread_ends_the_others(monkeypatch):
    steps = BPR._descend
    def fails(self, log, rows, pool, bias, lr, seed):
        if len(rows) and rows[0] > 100: raise MemoryError('no room')
        steps(self, log, rows, pool, bias, lr, seed)
    monkeypatch.setattr(BPR, '_descend', fails)
    with pytest.raises((MemoryError, threading.BrokenBarrierError)): BPR(4, 2, n_threads=3).fit(random_log())

def test_bpr_with_more_threads_than_items():
    log = Interactions.from_df(pd.DataFrame(dict(user=[1, 1, 2, 3], item=[1, 2, 2, 3], rating=1)))
    m = BPR(4, 5, n_threads=8).fit(log)
    assert np.isfinite(m.scores(m.users.encode([1, 2, 3]))).all()
    check_recommender(lambda: BPR(8, n_threads=2))

@pytest.mark.parametrize('shape', [(1, 5, 4), (30, 20, 200), (300, 50, 2000)])
@pytest.mark.parametrize('n', [1, 2, 5])
def test_blocks_hold_every_row_once_and_share_nothing(shape, n):
    C = random_log(*shape).csr()
    users, seen = np.repeat(np.arange(C.shape[0]), np.diff(C.indptr)), np.zeros(C.nnz, int)
    heaps = Heaps(C, n, np.random.default_rng(0))
    for r in range(n):
        parts = [heaps.rows(t, (t+r) % n) for t in range(n)]
        for t, rows in enumerate(parts):
            seen[rows] += 1
            assert np.isin(C.indices[rows], heaps.items[(t+r) % n]).all()
        for codes in (users, C.indices): assert sum(len(set(codes[rows])) for rows in parts) == len(set(codes[np.concatenate(parts)]))
    assert (seen == 1).all() and (np.sort(np.concatenate(heaps.items)) == np.arange(1, C.shape[1])).all()

def test_weights_share_out_the_triples_of_blocks():
    log = random_log(60, 40, 1000)
    weight = np.where(log.codes()[1] == 3, 50, 1)
    def times(n):                                               # a tiny step: biases count how often an item was drawn
        return BPR(4, 200, lr=1e-4, reg=0, n_threads=n).fit(Interactions.from_df(log.df.assign(rating=weight))).item_bias
    one, many = times(1), times(3)
    assert one.argmax() == many.argmax() == 3 and abs(many[3]/one[3] - 1) < .05

def test_the_filter_forgets_no_pair():
    for shape in ((5, 5, 12), (300, 200, 5000)):
        C = random_log(*shape).csr()
        words, shift = _bloom(C.indptr, C.indices)
        has = C.toarray() > 0
        maybe = np.array([[_may_have(words, shift, u, i) for i in range(C.shape[1])] for u in range(C.shape[0])])
        assert maybe[has].all()
    assert maybe[~has].mean() < .15

def test_unknown_and_cold_rows_are_zero(log):
    cold = log.take((log.codes()[0] != 5) & (log.codes()[1] != 7))
    for m in (BPR(8, 3).fit(cold), ImplicitALS(8, 3).fit(cold)):
        assert not m.user_factors[[0, 5]].any() and not m.item_factors[0].any()
    assert not ImplicitALS(8, 3).fit(cold).item_factors[7].any()
    assert np.isfinite(EASE().fit(cold).scores(np.array([0, 5]))).all()

def test_bad_settings():
    for f, word in ((lambda: BPR(how='hard'), 'hard'), (lambda: ImplicitALS(solver='lu'), 'lu'), (lambda: ImplicitALS(alpha=0), 'alpha'), (lambda: EASE(reg=0), 'reg'),
                    (lambda: BPR(n_threads=0), 'n_threads'), (lambda: ImplicitALS(n_epochs=0), 'n_epochs')):
        with pytest.raises(ValueError, match=word): f()

def test_to_implicit_keeps_the_latest_of_a_pair_and_the_order_of_rows():
    df = pd.DataFrame(dict(user=['b', 'a', 'a', 'b', 'a'], item=[2, 1, 2, 2, 1], rating=[1., 2., 3., 4., 5.], timestamp=[50, 20, 30, 40, 10]))
    inter = Interactions.from_df(df, duplicates='keep')
    before = inter.df.copy()
    got = to_implicit(inter, weight='sum')
    assert got.df.values.tolist() == [['b', 2, 5., 50], ['a', 1, 7., 20], ['a', 2, 3., 30]]
    assert got.users is inter.users and before.equals(inter.df)
    assert to_implicit(inter, threshold=3, weight='count').df.rating.tolist() == [1, 1, 1]
    for u, i, c in zip(got.df.user, got.df['item'], zip(*got.codes()[:2])): assert (inter.users.encode(u)[0], inter.items.encode(i)[0]) == c
    with pytest.raises(ValueError, match='loud'): to_implicit(inter, weight='loud')
    with pytest.raises(ValueError, match='eps'): to_implicit(inter, weight='log', eps=0)

def test_negatives_against_brute_force(log):
    seen = csr_ones(log.csr())
    weight = np.random.default_rng(0).integers(0, 4, len(log.items))
    for how, w in (('uniform', np.ones(len(log.items), int)), (weight.astype(float), weight)):
        free = FreeItems(seen, item_weights(how, seen))
        for u in range(1, len(log.users)):                       # each number once: every free item comes as often as it weighs, in order
            want = np.repeat(np.arange(1, len(w)), np.where(seen[u].toarray()[0] > 0, 0, w)[1:])
            assert free.total[u] == len(want) and (free.find(np.array([u]), np.arange(len(want))[None])[0] == want).all()
    assert sample_negatives(log, n=4).shape == (len(log), 4)
    w = np.r_[5., np.where(np.arange(1, len(log.items)) % 2, 1., 0.)]
    drawn = sample_negatives(log, n=50, how=w)
    assert (drawn % 2 == 1).all()                                # items of weight 0 and the unknown never come
    with pytest.raises(ValueError, match='not below 0'): sample_negatives(log, how=-w)
    with pytest.raises(ValueError, match='weights for'): sample_negatives(log, how=w[1:])
    with pytest.raises(KeyError, match='nobody'): sample_negatives(log, users=['nobody'])
    with pytest.raises(ValueError, match='n=0'): sample_negatives(log, n=0)

def test_negatives_in_bounded_memory(peak_growth):
    rng = np.random.default_rng(0)
    n_users, n_items, n = 20_000, 50_000, 1_000_000                 # a dense table would take 1 GB at a byte a cell
    cells = np.unique(rng.integers(0, n_users*n_items, n))
    log = Interactions.from_df(pd.DataFrame(dict(user=cells//n_items, item=cells % n_items, rating=1.)))
    sample_negatives(log, users=log.users.ids[:10])
    neg, grown = peak_growth(lambda: sample_negatives(log, n=10, how='popularity'))
    assert grown < neg.nbytes + 250e6, f'{grown/1e6:.0f} MB for an answer of {neg.nbytes/1e6:.0f}'
    u = log.codes()[0]
    has = set((u*len(log.items) + log.codes()[1])[::50].tolist())
    assert not has & set((u[:, None]*len(log.items) + neg).ravel().tolist())

def test_ease_refuses_what_does_not_fit_before_it_starts(peak_growth):
    df = pd.DataFrame(dict(user=np.arange(200_000) % 50, item=np.arange(200_000), rating=1.))
    log, model = Interactions.from_df(df), EASE()
    def refused():
        with pytest.raises(MemoryError, match=r'200,001 items needs 1\.6e\+02 GB.*n_neighbours.*ImplicitALS'): model.fit(log)
    assert peak_growth(refused)[1] < 50e6 and not hasattr(model, 'seen')

def test_ease_takes_the_memory_it_says(peak_growth):
    n = 4000
    X = sp.random(2000, n, .01, format='csr', dtype=np.float32, random_state=0)
    ease_weights(gram_matrix(X[:, :50]), 10.)
    B, grown = peak_growth(lambda: ease_weights(gram_matrix(X), 100.))
    assert grown < 1.7*4*n*n + 50e6, f'{grown/1e6:.0f} MB for a matrix of {4*n*n/1e6:.0f}'
    P = np.linalg.inv((X.T@X).toarray().astype(float) + 100*np.eye(n))
    want = -P/np.diag(P)
    np.fill_diagonal(want, 0)
    assert np.abs(B - want).max() < 1e-3

def test_users_agree_with_the_implicit_library(log):
    pytest.importorskip('implicit', reason='compares with the implicit library: pip install implicit')
    from implicit.cpu.als import AlternatingLeastSquares
    C = log.csr().astype(np.float32)
    peer = AlternatingLeastSquares(factors=8, iterations=3, alpha=3., regularization=.1, use_cg=False, num_threads=1, random_state=0)
    peer.fit(C, show_progress=False)
    users = np.arange(1, len(log.users))
    want = peer.recalculate_user(users, C[users])
    V, got = peer.item_factors, np.zeros((len(log.users), 8), np.float32)
    C.data = 3*C.data - 1                                       # implicit: confidence alpha*w; here: 1 + extra
    ImplicitALS(8, solver='cholesky', n_threads=1).update_rows(got, V, C, np.full(len(got), .1, np.float32))
    close(got[users], want, eps=1e-3)

# --- what the models share

@pytest.mark.parametrize('name', ['BPR', 'ImplicitALS'])
def test_scores_of_some_items_are_those_of_all(name, log):
    m = MODELS[name]().fit(log)
    rng = np.random.default_rng(0)
    people = ['u3', m.fold_in({1: 1., 5: 2.}), User(id='u7'), User({2: 1.}), 'u0']
    for who in (['u3', 'u0', 'u9'], people):                    # ids alone, and ids with newcomers
        query = m.query(who)
        items = rng.integers(0, len(log.items), (len(query), 7))
        got, want = m.scores_of(query, items), np.take_along_axis(m.query_scores(query), items, 1)
        assert got.dtype == np.float32
        close(got, want, eps=1e-5)
    def refuse(*args): raise AssertionError('scored every item')
    m.scores = m.vector_scores = refuse
    m.block_bytes = 100                                         # a person at a time
    close(m.scores_of(query, items), want, eps=1e-5)

@pytest.mark.parametrize('name', ['BPR', 'ImplicitALS'])
def test_scores_are_linear_in_the_user_vector(name, log):
    m = MODELS[name]().fit(log)
    rows, base, link = m.linear()
    codes = np.arange(len(log.users))
    assert link is None and rows.shape == (len(log.items), 8) and base.shape == (len(log.items),)
    close(m.user_vectors(codes)@rows.T + base, m.scores(codes), eps=1e-5)
    assert base.any() == (name == 'BPR')

def test_ease_user_vectors_are_rows(log):
    codes = np.arange(len(log.users))
    for m in (EASE().fit(log), EASE(n_neighbours=10).fit(log)):
        assert (m.user_vectors(codes) == log.csr().toarray()).all() and (m.vector_scores(m.user_vectors(codes)) == m.scores(codes)).all()

def test_factors_that_are_no_numbers_are_refused(log):
    m = ImplicitALS(4, 1).fit(log)
    assert m.check_factors('') is m
    m.item_factors[3, 1] = np.inf
    with pytest.raises(FloatingPointError, match='ImplicitALS became unstable.*Take less'): m.check_factors('Take less')

def test_check_weights():
    check_weights([1, .5])
    check_weights([])
    for bad in ([1, 0], [1, -2.], [np.nan]):
        with pytest.raises(ValueError, match='1 of'): check_weights(bad)

def test_weigh_history_adds_up_and_sorts(log):
    codes, w = weigh_history(EASE().fit(log), pd.DataFrame(dict(item=[5, 1, 5], rating=[1., 2., 3.])))
    assert log.items.decode(codes).tolist() == [1, 5] and w.tolist() == [2, 4]

def test_newton_finds_where_the_gradient_vanishes():
    rng = np.random.default_rng(1)
    D, bias, w = rng.normal(size=(80, 5)), rng.normal(size=80), rng.dirichlet(np.ones(80))
    x = solve_logistic(D, bias, w, .02)
    close(D.T@(w/(1 + np.exp(D@x + bias))), .02*x, eps=1e-10)

def test_both_ways_to_ease_agree():
    X = sp.random(200, 60, .2, format='csr', dtype=np.float32, random_state=0)
    G = gram_matrix(X)
    close(G, (X.T@X).toarray(), eps=1e-5)
    want = ease_formula(G.astype(float), 5.)
    got = ease_weights(G.copy(), 5.)
    close(got, want, eps=1e-4)
    assert not np.diag(got).any()
    with pytest.raises(ValueError, match='raise reg'): ease_weights(-G, 1e-3)

@pytest.mark.parametrize('solver', ['cg', 'cholesky'])
def test_a_round_is_one_epoch(solver, log):
    "The loss over all cells, as written, falls with each epoch"
    C = log.csr().toarray()*2
    totals = [1*(C.any(0).sum()) + C.sum(1), C.any(1).sum() + C.sum(0)]
    def loss(m):
        reg_u, reg_v = (.02*t for t in totals)
        U, V = m.user_factors.astype(float), m.item_factors.astype(float)
        return ((1 + C)*((C > 0) - U@V.T)**2)[1:, 1:].sum() + reg_u@(U**2).sum(1) + reg_v@(V**2).sum(1)
    path = [loss(ImplicitALS(8, n, solver=solver).fit(log)) for n in (1, 2, 4, 8)]
    assert (np.diff(path) < 0).all()

@pytest.mark.parametrize('make', [lambda: BPR(8, 20), lambda: ImplicitALS(8, 5), EASE, lambda: EASE(n_neighbours=10)])
def test_a_loaded_model_does_all_but_fit(make, log, tmp_path):
    m = make().fit(log)
    m.save(tmp_path)
    again = Recommender.load(tmp_path)
    assert type(again) is type(m)
    for f in (lambda o: o.recommend(['u1', o.fold_in({3: 1., 4: 2.})], 5), lambda o: o.similar_items([1, 2], 5), lambda o: o.recommend(User([1, 5]), 5)):
        assert f(m).equals(f(again))
    if isinstance(m, FactorModel): assert (m.linear().rows == again.linear().rows).all()

# ---- Settings that fit themselves

@pytest.mark.parametrize('factor', [.01, 1., 250.])
def test_the_unit_of_weights_does_not_matter(factor, log):
    "Dollars or cents: the same lists"
    scaled = Interactions.from_df(log.df.assign(rating=log.df.rating*factor))
    a, b = (ImplicitALS(8, 5).fit(o) for o in (log, scaled))
    assert abs(b.confidence*factor/a.confidence - 1) < 1e-5 and abs(b.penalty - a.penalty) < 1e-5
    np.testing.assert_allclose(a.scores(np.arange(1, 20)), b.scores(np.arange(1, 20)), atol=2e-3)

def test_rules_by_hand():
    "Ten people with six of thirty items each, of which twenty-four occur"
    rng = np.random.default_rng(0)
    rows = [(u, i) for u in range(10) for i in rng.choice(24, 6, replace=False)] + [(0, i) for i in range(24)]
    train = Interactions.from_df(pd.DataFrame(rows, columns=['user', 'item']), rating=None, duplicates='last', item_info=pd.DataFrame(dict(item=range(30), title='t')))
    C = weight_matrix(train)
    nnz = len(train.df)
    assert usual_events(C) == pytest.approx((nnz/np.sqrt(10*24), 10*24/nnz))
    assert usual_alpha(C) == pytest.approx(.6*(240/nnz)**(2/3))
    assert usual_reg(C, usual_alpha(C)) == pytest.approx(min(.14*(1 + 36*240/nnz**2), .4))
    assert usual_reg(C, 4*usual_alpha(C)) == pytest.approx(min(.14*(1 + 36*240/nnz**2)/2, .4))
    assert usual_epochs(C) == 300

def test_a_number_that_is_given_is_used(log):
    m = ImplicitALS(8, 2, alpha=3., reg=.1, reg_scale=.2).fit(log)
    assert (m.confidence, m.penalty, m.by_events, m.width) == (3., .1, .2, 8)
    assert ImplicitALS(n_epochs=1).fit(log).width == 64

def test_nothing_vanishes_in_a_large_catalogue():
    "What is right for a few items must not wipe out the factors of a shop with many"
    rng = np.random.default_rng(0)
    n_users, n_items, groups = 4000, 12_000, 30
    group = rng.integers(0, groups, n_users)
    items = (group[:, None] + groups*rng.integers(0, n_items//groups, (n_users, 10)))
    log = Interactions.from_df(pd.DataFrame(dict(user=np.repeat(np.arange(n_users), 10), item=items.ravel())), rating=None, duplicates='last')
    m = ImplicitALS(n_epochs=3).fit(log)
    assert m.width == 128 and np.linalg.norm(m.item_factors, axis=1).max() > .05

def test_vanished_factors_are_told(log):
    with pytest.warns(PoorModelWarning, match=r'all factors of ImplicitALS\(n_factors=8, reg=1000.0\) have vanished'): ImplicitALS(8, reg=1000.).fit(log)

@pytest.mark.parametrize('make', [lambda: ImplicitALS(8, 8), lambda: EASE(20.), lambda: EASE(20., n_neighbours=10)])
@pytest.mark.parametrize('known', [True, False])
def test_reasons_add_up(make, known, log):
    m = make().fit(log)
    h = log.history('u3')
    who = 'u3' if known else m.fold_in(dict(zip(h['item'], h.rating)))
    if isinstance(m, ImplicitALS): m.user_factors[m.users.encode(['u3'])] = m.fold_in(dict(zip(h['item'], h.rating))).vector      # exact, where fit took gradient steps
    recs = m.recommend(who, k=5)
    for item, score in zip(recs['item'], recs.score):
        why = m.because(who, item, n=100)
        assert set(why['item']) <= set(h['item']) and abs(why.adds.sum() - score) < 1e-4*max(1, abs(score))

def test_neighbours_of_ease_at_a_large_catalogue_fit_in_memory(peak_growth):
    rng = np.random.default_rng(0)
    log = Interactions.from_df(pd.DataFrame(dict(user=np.repeat(np.arange(4000), 5), item=rng.integers(0, 10_000, 20_000))), rating=None, duplicates='last')
    m = EASE(n_neighbours=50)
    m.check_lists = False
    assert peak_growth(lambda: m.fit(log))[1] < 300e6
