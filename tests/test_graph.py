"Walks against dense NumPy and loops, odd input, threads, newcomers, saving; the network against autograd and its own polynomial"
import numpy as np, pandas as pd, pytest, scipy.sparse as sp, torch
from fastcore.test import test_close as close

from recsys_course.check import check_recommender
from recsys_course.data import Interactions
from recsys_course.graph import (Blend, ItemGraph, LightGCN, as_tensor, edge_matrix, events, graph_weights, in_units, propagate, share_grid, smooth_part, softmax_loss, strongest_links,
                                 times_sparse, usual_exponents, usual_neighbours)
from recsys_course.implicit import EASE, ImplicitALS
from recsys_course.recommender import ItemKNN, Popular, Recommender

MODELS = {'ItemGraph': ItemGraph, 'smooth': lambda: ItemGraph(n_factors=4), 'given': lambda: ItemGraph(1, .5, .2, n_neighbours=3, n_factors=3, smooth_weight=-.5, smooth_power=0),
          'LightGCN': lambda: LightGCN(4, n_epochs=3), 'plain': lambda: LightGCN(4, n_layers=0, n_epochs=3),
          'Blend': lambda: Blend({'a': ItemGraph(), 'b': EASE()}), 'by rank': lambda: Blend({'a': ItemGraph(), 'b': EASE()}, {'a': .5, 'b': .5}, by='rank')}

def random_log(n_users=60, n_items=40, n=900, seed=0, weights=(1, 2)):
    rng = np.random.default_rng(seed)
    cells = rng.choice(n_users*n_items, n, replace=False)
    return Interactions.from_df(pd.DataFrame(dict(user=[f'u{o}' for o in cells//n_items], item=cells % n_items, rating=rng.integers(*weights, n))))

@pytest.fixture(scope='module')
def log(): return random_log()

def by_loops(X, a, h, c):
    "The formula, cell by cell"
    X = np.asarray(X, float)
    n_u, n_i = np.maximum((X > 0).sum(1), 1), np.maximum((X > 0).sum(0), 1)
    W = np.zeros((X.shape[1],)*2)
    for i in range(len(W)):
        for j in range(len(W)):
            if i != j: W[i, j] = sum(X[u, i]*X[u, j]/n_u[u]**a for u in range(len(X)))/n_i[i]**h/n_i[j]**c
    return W

@pytest.mark.parametrize('exponents', [(0, 0, 0), (1, 1, .7), (.5, .2, .9), (.4, .4, -.2)])
def test_weights_against_loops(exponents):
    X = random_log(30, 20, 200, weights=(1, 4)).csr()
    close(graph_weights(X, *exponents).toarray(), by_loops(X.toarray(), *exponents), eps=1e-4)

@pytest.mark.parametrize('k', [1, 3, 10, 100, None])
@pytest.mark.parametrize('n_threads', [1, 3])
def test_cut_rows_hold_the_strongest(k, n_threads):
    rng = np.random.default_rng(1)
    X = sp.csr_matrix(np.where(rng.random((50, 30)) < .2, rng.random((50, 30)), 0).astype(np.float32))
    scale = rng.random(30) + .1
    full = (X.T@X).toarray()*scale
    np.fill_diagonal(full, 0)
    got = strongest_links(X, X, scale, k, n_threads).toarray()
    for row, want in zip(got, full):
        keep = np.argsort(-want)[:k or 30]
        close(np.sort(row)[::-1][:len(keep)], want[keep], eps=1e-5)
        assert (row > 0).sum() <= (k or 30)

def test_ties_are_cut_to_exactly_k_and_threads_agree():
    X = sp.csr_matrix(np.ones((4, 25), np.float32))
    a, b = (strongest_links(X, X, np.ones(25), 7, n) for n in (1, 4))
    assert (np.diff(a.indptr) == 7).all() and (a != b).nnz == 0

def test_walks_are_random_walks_of_three_steps(log):
    X = log.csr('ones').toarray()[1:, 1:]
    P, Q = X/X.sum(1, keepdims=True), X.T/X.T.sum(1, keepdims=True)
    W = graph_weights(log.csr('ones'), 1, 1, 0).toarray()[1:, 1:]
    M = Q@P
    np.fill_diagonal(M, 0)
    close(W, M, eps=1e-5)
    rng, hits = np.random.default_rng(0), np.zeros(X.shape[1])
    for _ in range(4000):                                               # walk from item 0 by lot
        u = rng.choice(len(X), p=Q[0])
        hits[rng.choice(X.shape[1], p=P[u])] += 1
    hits[0] = 0
    assert abs(hits/4000 - W[0]).max() < .03

def test_cosine_is_that_of_item_knn(log):
    knn = ItemKNN(centre=False, shrink=0, k=1000)
    knn.check_lists = False
    knn.fit(log)
    close(graph_weights(log.csr('ones'), 0, .5, .5).toarray(), knn.neighbours.toarray(), eps=1e-5)

def test_smooth_part_is_the_projection_of_dense_svd(log):
    X = log.csr('ones')
    d_u, d_i = events(X)
    N = X.toarray()/d_u[:, None]**.25/d_i**.45
    V = np.linalg.svd(N)[2][:5]
    s = np.linalg.svd(N)[1][:5]
    for power in (0, 2):
        left, right = smooth_part(X, 5, .5, .6, .3, power)
        close(left@right, (V.T*(s/s[0])**power@V)*d_i[:, None]**-.15*d_i**.15, eps=2e-3)

def test_scores_are_the_product_and_reasons_add_up(log):
    for m in (ItemGraph().fit(log), ItemGraph(n_factors=4, smooth_weight=.7).fit(log)):
        codes = np.arange(len(log.users))
        want = m.X.toarray()@m.weights.toarray()
        if m.n_factors: want = want + m.X.toarray()@m.smooth_in@m.smooth_out
        close(m.scores(codes), want, eps=1e-4)
        assert not m.scores(codes)[:, 0].any() and not m.scores(np.zeros(1, int)).any()
        query = m.query('u3')
        items, adds = m.contributions(query, 7)
        close(adds.sum(), m.scores(query.codes)[0, 7], eps=1e-4)
        new = m.fold_in(log.history('u3'))
        close(m.vector_scores(new.vector[None]), m.scores(query.codes), eps=1e-4)
        assert m.because(new, log.items.ids[6], n=3).shape[0] == 3

def test_a_zero_weight_is_no_smooth_part(log):
    a, b = ItemGraph().fit(log), ItemGraph(n_factors=3, smooth_weight=0).fit(log)
    assert (a.scores(np.arange(9)) == b.scores(np.arange(9))).all()

@pytest.mark.parametrize('name', MODELS)
def test_same_seed_same_bits_saved_and_loaded(name, log, tmp_path):
    a, b = (MODELS[name]().fit(log) for _ in range(2))
    users = np.arange(len(log.users))
    assert (a.scores(users) == b.scores(users)).all() and a.scores(users).dtype == np.float32
    a.save(tmp_path)
    assert (type(a).load(tmp_path).scores(users) == a.scores(users)).all()

ODD = {'one row': [('a', 1)], 'one user': [('a', 1), ('a', 2), ('a', 3)], 'one item': [('a', 1), ('b', 1), ('c', 1)], 'no repeats': [('a', 1), ('b', 2), ('c', 3)],
       'all alike': [(u, i) for u in 'abcd' for i in (1, 2, 3)], 'repeated': [('a', 1)]*5 + [('b', 1), ('b', 2)]}

@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('odd', ODD)
@pytest.mark.parametrize('name', MODELS)
def test_odd_logs_give_finite_scores(name, odd):
    inter = Interactions.from_df(pd.DataFrame(ODD[odd], columns=['user', 'item']).assign(rating=1), duplicates='keep')
    m = MODELS[name]().fit(inter)
    assert np.isfinite(m.scores(np.arange(len(inter.users)))).all()
    m.recommend(inter.users.ids, k=3)
    assert np.isfinite(m.vector_scores(m.fold_in([1]).vector[None])).all()

@pytest.mark.parametrize('make', [ItemGraph, lambda: ItemGraph(n_factors=4, n_neighbours=20), lambda: LightGCN(8, n_epochs=20, lr=.05), lambda: LightGCN(8), lambda: Blend({'a': ItemGraph(), 'b': ImplicitALS(8, 5)}),
                                  lambda: Blend({'a': ItemGraph(), 'b': EASE()}, {'a': 1, 'b': 2}, by='rank')])
def test_contract(make): check_recommender(make)

@pytest.mark.parametrize('make,word', [(lambda: ItemGraph(user_exponent=-1), 'user_exponent'), (lambda: ItemGraph(n_neighbours=0), 'n_neighbours'), (lambda: ItemGraph(n_factors=-1), 'n_factors'),
    (lambda: ItemGraph(candidate_exponent='x'), 'candidate_exponent'), (lambda: LightGCN(n_layers=-1), 'n_layers'), (lambda: LightGCN(n_layers=.5), 'n_layers'), (lambda: LightGCN(lr=0), 'lr'),
    (lambda: LightGCN(n_epochs=None), 'n_epochs'), (lambda: Blend({}), 'models'), (lambda: Blend({'a': 3}), 'models'), (lambda: Blend({'a': Popular()}, by='sum'), 'by'),
    (lambda: Blend({'a': Popular()}, {'b': 1}), 'weight'), (lambda: Blend({'a': Popular()}, {'a': -1}), 'weight of a')])
def test_bad_settings_are_named(make, word):
    with pytest.raises(ValueError, match=word): make()

@pytest.mark.parametrize('name', ['ItemGraph', 'LightGCN', 'Blend'])
def test_weights_must_be_above_zero_and_histories_not_empty(name, log):
    bad = Interactions.from_df(log.df.assign(rating=np.where(np.arange(len(log.df)) == 3, 0., 1.)))
    with pytest.raises(ValueError, match='above 0'): MODELS[name]().fit(bad)
    m = MODELS[name]().fit(log)
    with pytest.raises(ValueError, match='empty'): m.fold_in({})
    with pytest.raises(KeyError, match='999'): m.fold_in({999: 1.})

def test_rules_bend_to_the_log():
    thin, thick = (usual_exponents(random_log(*s).csr()) for s in ((100, 100, 500), (100, 100, 6000)))
    assert all(a <= b for a, b in zip(thin, thick)) and min(thin) >= 0
    assert usual_neighbours(10**7) == 200 and usual_neighbours(1000) == 10**5

def test_a_dense_product_equals_the_sparse_one():
    rng = np.random.default_rng(0)
    H, W = (sp.random(40, 30, .2, 'csr', np.float32, rng), sp.random(30, 50, .3, 'csr', np.float32, rng))
    for n in (1, 3): close(times_sparse(H, W, n), (H@W).toarray(), eps=1e-5)
    assert times_sparse(H[:0], W).shape == (0, 50)

# ---- The network

def test_propagation_is_a_mean_of_powers_and_of_gram_polynomials(log):
    X = log.csr('ones')
    A, rng = edge_matrix(X), np.random.default_rng(0)
    E = rng.normal(size=(sum(X.shape), 3)).astype(np.float32)
    D = A.toarray()
    close(propagate(A, E, 3), (E + D@E + D@D@E + D@D@D@E)/4, eps=1e-4)
    close(propagate(as_tensor(A), torch.tensor(E), 3).numpy(), propagate(A, E, 3), eps=1e-5)
    d_u, d_i = events(X)
    N = X.toarray()/np.sqrt(d_u[:, None]*d_i)
    E[:X.shape[0]] = 0
    close(propagate(A, E, 2)[X.shape[0]:], (E[X.shape[0]:] + N.T@N@E[X.shape[0]:])/3, eps=1e-4)

def test_loss_against_cross_entropy():
    own, others = torch.randn(7), torch.randn(7, 5)
    want = torch.nn.functional.cross_entropy(torch.cat([own[:, None], others], 1), torch.zeros(7, dtype=torch.long))
    close(softmax_loss(own, others).item(), want.item(), eps=1e-5)

def test_unmet_rows_of_the_network_are_zero(log):
    cold = log.take((log.codes()[0] != 5) & (log.codes()[1] != 7))
    m = LightGCN(4, n_epochs=2).fit(cold)
    assert not m.user_factors[[0, 5]].any() and not m.item_factors[[0, 7]].any()

def test_a_gpu_is_asked_for_by_name_only_where_there_is_one(log):
    assert not torch.cuda.is_available() or LightGCN(4, n_epochs=1, device='cuda').fit(log)
    state = torch.random.get_rng_state().clone()
    a, b = (LightGCN(4, n_epochs=2, device='cpu', seed=s).fit(log) for s in (0, 1))
    assert (torch.random.get_rng_state() == state).all() and (a.item_factors != b.item_factors).any()

# ---- The blend

def test_units():
    s = np.array([[0, 3, 1, 2.], [0, 5, 5, 5]], np.float32)
    close(in_units(s, 'score')[0, 1:], (s[0, 1:] - 2)/np.std([1, 2, 3]), eps=1e-5)
    assert np.isfinite(in_units(s, 'score')).all()
    close(in_units(s, 'rank')[0], [0, 1/60, 1/62, 1/61], eps=1e-5)

def test_shares_sum_to_one():
    for n in (1, 2, 3, 4):
        grid = share_grid(n, 4)
        assert len(set(grid)) == len(grid) and all(len(o) == n and abs(sum(o) - 1) < 1e-9 for o in grid)

def test_a_useless_partner_gets_no_weight():
    class Noise(Recommender):
        "Random scores"
        def scores(self, user_codes): return np.random.default_rng(0).random((len(self.users), len(self.items)), np.float32)[user_codes]
        def user_vectors(self, user_codes): return np.zeros((len(user_codes), 1), np.float32)
        def vector_scores(self, vectors): return np.zeros((len(vectors), len(self.items)), np.float32)
    from recsys_course.check import planted_interactions
    inter, _ = planted_interactions()
    noise = Noise()
    noise.check_lists = False
    m = Blend({'graph': ItemGraph(), 'noise': noise}).fit(inter)
    assert m.shares[0] > m.shares[1]
