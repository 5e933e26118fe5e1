"Bad input, odd logs, order, memory, determinism and saving of the sequence models, against dense NumPy"
import numpy as np, pandas as pd, pytest, torch
from fastcore.test import test_close as close

from recsys_course.check import check_recommender
from recsys_course.data import Interactions
from recsys_course.models import train_network
from recsys_course.recommender import Recommender, User
from recsys_course.retrieve import ANNIndex
from recsys_course.sequence import (NextItem, SASRec, SequenceNet, gain_of_last, history_gram, hold_last, log_in_order, next_item_loss, recency)

SMALL = dict(n_factors=8, n_layers=1, n_heads=2, n=6, n_epochs=3, batch_size=16)
MODELS = {'counts': lambda **kw: NextItem(how='counts', **kw), 'ridge': lambda **kw: NextItem(how='ridge', **kw), 'SASRec': lambda **kw: SASRec(**{**SMALL, **kw})}

def random_log(n_users=40, n_items=25, n=500, seed=0, duplicates='keep'):
    rng = np.random.default_rng(seed)
    df = pd.DataFrame(dict(user=[f'u{o}' for o in rng.integers(0, n_users, n)], item=rng.integers(0, n_items, n), timestamp=rng.integers(0, 60, n)))
    return Interactions.from_df(df, rating=None, duplicates=duplicates)

def log_of(*sequences):
    rows = [(u, i, t) for u, items in enumerate(sequences) for t, i in enumerate(items)]
    return Interactions.from_df(pd.DataFrame(rows, columns=['user', 'item', 'timestamp']), rating=None, duplicates='keep')

def sequences_of(log):
    "Item codes of each user in order, by pandas"
    df = log.df.assign(code=log.items.encode(log.df['item'])).sort_values('timestamp', kind='stable')
    return {log.users.encode([u])[0]: g.code.tolist() for u, g in df.groupby('user')}

def dense_counts(seqs, n, decay, window, backward):
    C = np.zeros((n, n))
    for s in seqs.values():
        for a in range(len(s)):
            for b in range(a+1, min(len(s), a+window+1)):
                C[s[a], s[b]] += (b-a)**-decay
                C[s[b], s[a]] += backward*(b-a)**-decay
    np.fill_diagonal(C, 0)
    return C

@pytest.fixture(scope='module')
def log(): return random_log()

def test_order_is_that_of_sequences_with_ties_in_row_order(log):
    items, starts = log_in_order(log)
    for code, s in sequences_of(log).items():
        assert items[starts[code]:starts[code+1]].tolist() == s
        assert log.sequences(100)[code][-len(s):].tolist() == s
    untimed = Interactions.from_df(log.df.drop(columns='timestamp'), rating=None, duplicates='keep')
    items, starts = log_in_order(untimed)
    u = untimed.codes()[0]
    assert all((items[starts[c]:starts[c+1]] == untimed.codes()[1][u == c]).all() for c in np.unique(u))

@pytest.mark.parametrize('window', [1, 3, 50])
@pytest.mark.parametrize('backward', [0., .4])
@pytest.mark.parametrize('hops', [0., 1.5])
def test_counts_against_dense_numpy(log, window, backward, hops):
    m = NextItem(.6, window, backward, 'counts', history_power=.3, item_power=.2, hops=hops)
    m.check_lists = False
    m.fit(log)
    seqs, n = sequences_of(log), len(log.items)
    C = dense_counts(seqs, n, .6, window, backward)
    pop = np.maximum(np.bincount(np.concatenate(list(seqs.values())), minlength=n), 1)
    W = C/np.maximum(C.sum(1, keepdims=True), 1e-9)**.3/pop**.2
    W = W + hops*W@(W/np.maximum(W.sum(1, keepdims=True), 1e-9))
    np.fill_diagonal(W, 0)
    close(m.weights.toarray(), W, eps=1e-3)
    for code, s in sequences_of(log).items():
        h = np.zeros(n)
        for age, i in enumerate(s[::-1][:window], 1): h[i] += age**-.6
        close(m.scores(np.array([code]))[0], h@W, eps=1e-3)

def test_ridge_against_least_squares(log):
    "Rows of faded histories, an extra row per item for its penalty: NumPy's lstsq on top of both"
    m = NextItem(.8, 5, 0., 'ridge', reg=3., history_power=.5, item_power=0.)
    m.check_lists = False
    m.fit(log)
    seqs, n, X, Y = sequences_of(log), len(log.items), [], []
    for s in seqs.values():
        for t in range(1, len(s)):
            x, y = np.zeros(n), np.zeros(n)
            for age, i in enumerate(s[:t][::-1][:5], 1): x[i] += age**-.8
            y[s[t]] = 1
            X.append(x); Y.append(y)
    X, Y = np.array(X), np.array(Y)
    items, starts = log_in_order(log)
    w = recency(.8, 5)
    close(history_gram(items, starts, n, w), X.T@X, eps=1e-2)
    C = X.T@Y
    np.fill_diagonal(C, 0)                                       # an item is never its own next
    mass = np.maximum(C.sum(1), 1e-9)
    B = np.linalg.solve(X.T@X + 3*np.diag(mass**.5), C)
    np.fill_diagonal(B, 0)
    close(m.weights, B, eps=1e-3)
    free = [j for j in range(1, n) if (X[:, j]*Y[:, j]).sum() == 0]
    A, b = np.vstack([X, np.diag((3*mass**.5)**.5)]), np.vstack([Y, np.zeros((n, n))])
    want = np.linalg.lstsq(A, b, rcond=None)[0]
    for j in free: close(np.delete(m.weights[:, j], j), np.delete(want[:, j], j), eps=1e-3)

def test_markov_chain_is_a_special_case():
    log = log_of([1, 2, 3], [2, 3, 4], [1, 3], [4, 1, 2])
    m = NextItem(window=1, backward=0., how='counts', history_power=1., item_power=0., hops=0.)
    m.fit(log)
    P = np.zeros((5, 5))
    for s in sequences_of(log).values():
        for a, b in zip(s, s[1:]): P[a, b] += 1
    close(m.weights.toarray(), P/np.maximum(P.sum(1, keepdims=True), 1), eps=1e-6)

def test_counts_are_the_limit_of_ridge(log):
    heavy, light = NextItem(how='ridge', reg=1e6), NextItem(how='counts', item_power=.1, hops=0.)
    for m in (heavy, light):
        m.check_lists = False
        m.fit(log)
    close(heavy.weights*1e6, light.weights.toarray(), eps=1e-3)

def test_neighbours_kept_are_the_highest(log):
    every, few = (NextItem(how='counts', n_neighbours=k).fit(log) for k in (500, 4))
    A, B = every.weights.toarray(), few.weights.toarray()
    assert ((B > 0).sum(1) <= 4).all()
    close(np.sort(B, 1)[:, -4:], np.sort(A, 1)[:, -4:], eps=1e-5)

@pytest.mark.parametrize('name', MODELS)
def test_a_newcomer_with_the_same_films_gets_the_same(name, log):
    m = MODELS[name]().fit(log)
    for user in log.users.ids[:8]:
        history = log.history(user)
        mine = m.scores(log.users.encode([user]))
        for h in (history['item'].tolist(), history.sample(frac=1, random_state=0).sort_values('timestamp', kind='stable')[['item', 'timestamp']] if not history.timestamp.duplicated().any() else history):
            close(m.vector_scores(np.asarray(m.fold_in(h))[None]), mine, eps=1e-4)
        assert m.recommend(user, k=5)['item'].tolist() == m.recommend(User(history=history['item'].tolist()), k=5)['item'].tolist()

@pytest.mark.parametrize('name', MODELS)
def test_the_order_counts(name, log):
    m = MODELS[name]().fit(log)
    there, back = ([1, 2, 3, 4], [4, 3, 2, 1])
    a, b = (np.asarray(m.vector_scores(np.asarray(m.fold_in(h))[None])) for h in (there, back))
    assert np.abs(a - b).max() > 1e-4
    table = pd.DataFrame(dict(item=back, timestamp=[4, 3, 2, 1]))
    close(np.asarray(m.fold_in(table)), np.asarray(m.fold_in(there)), eps=1e-6)
    assert table['item'].tolist() == back
    close(np.asarray(m.fold_in(dict.fromkeys(there, 1.))), np.asarray(m.fold_in(there)), eps=1e-6)

@pytest.mark.parametrize('name', MODELS)
@pytest.mark.parametrize('empty', [{}, [], pd.DataFrame(dict(item=np.zeros(0, int)))])
def test_an_empty_history_is_refused(name, empty, log):
    with pytest.raises(ValueError, match='empty history.*Popular'): MODELS[name]().fit(log).fold_in(empty)

@pytest.mark.parametrize('name', MODELS)
def test_odd_logs(name):
    odd = {'one user': [[1, 2, 3, 4]], 'one item': [[1], [1, 1], [1, 1, 1]], 'single events': [[1], [2], [3]], 'all alike': [[1, 2, 3]]*6, 'repeats': [[1, 1, 2, 2, 1], [2, 2, 2]], 'two': [[1, 2]]}
    for what, seqs in odd.items():
        log = log_of(*seqs)
        m = MODELS[name]().fit(log)
        s = m.scores(np.arange(len(log.users)))
        assert np.isfinite(s).all() and s.dtype == np.float32 and s.shape == (len(log.users), len(log.items)), what
        m.recommend(log.users.ids.tolist(), k=3)

@pytest.mark.parametrize('name', MODELS)
def test_same_seed_same_bits_and_saved(name, log, tmp_path):
    a, b = (MODELS[name]().fit(log) for _ in range(2))
    users = np.arange(len(log.users))
    assert (a.scores(users) == b.scores(users)).all()
    a.save(tmp_path)
    again = Recommender.load(tmp_path)
    assert (again.scores(users) == a.scores(users)).all()
    close(np.asarray(again.fold_in([1, 2, 3])), np.asarray(a.fold_in([1, 2, 3])), eps=1e-6)
    if name == 'SASRec':
        assert (SASRec(**SMALL, seed=1).fit(log).scores(users) != a.scores(users)).any()
        state = torch.get_rng_state()
        SASRec(**SMALL).fit(log)
        assert (torch.get_rng_state() == state).all()            # the global generator is left alone

def test_contract():
    check_recommender(lambda: NextItem(decay=.2, how='ridge'))
    check_recommender(lambda: NextItem(decay=0., backward=1., how='counts', item_power=1.))
    check_recommender(lambda: SASRec(16, 1, 1, dropout=.6, lr=.01, n_epochs=40, patience=40, batch_size=16))

def test_refused(log):
    for bad in (dict(how='both'), dict(window=0), dict(decay=-1.), dict(reg=0.), dict(hops=-1.), dict(n_neighbours=0)):
        with pytest.raises(ValueError): NextItem(**bad)
    for bad in (dict(n_factors=9, n_heads=2), dict(dropout=1.), dict(lr=0.), dict(negatives='all'), dict(n=0), dict(seed=-1), dict(patience=0)):
        with pytest.raises(ValueError): SASRec(**bad)
    with pytest.raises(MemoryError, match='max_gb'): NextItem(how='ridge', max_gb=1e-6).fit(log)
    with pytest.raises(KeyError, match='999'): NextItem().fit(log).fold_in([999])
    assert not NextItem().uses_ridge(5001) and NextItem().uses_ridge(5000)

def test_reasons_add_up(log):
    for name in ('counts', 'ridge'):
        m = MODELS[name]().fit(log)
        user = log.users.ids[0]
        item = m.recommend(user, k=1)
        reasons = m.because(user, item['item'][0], n=100)
        assert abs(reasons.attrs['score'] - item.score[0]) < 1e-4
        new = User(history=log.history(user)['item'].tolist())
        assert abs(m.because(new, item['item'][0], n=100).attrs['score'] - item.score[0]) < 1e-4

def test_the_network_never_looks_ahead_and_ignores_padding():
    torch.manual_seed(0)
    net = SequenceNet(12, 8, 6, 2, 2, 0.).eval()
    a, b = (net(torch.tensor([[0, 0, 3, 4, 5, end]]))[0] for end in (6, 7))
    assert torch.equal(a[:5], b[:5]) and not torch.equal(a[5], b[5])
    close(net(torch.tensor([[3, 4, 5, 6]]))[0].detach(), a[2:].detach(), eps=1e-5)     # empty places change nothing
    assert torch.isfinite(a).all()

def test_loss_against_numpy():
    rng = np.random.default_rng(0)
    H, V, q = rng.normal(size=(5, 3)), rng.normal(size=(7, 3)), rng.dirichlet(np.ones(7))
    target, drawn = np.array([1, 2, 3, 4, 6]), np.array([2, 5, 5, 6])
    t = lambda x: torch.tensor(x)
    logits = H@V[1:].T
    want = -np.mean([logits[k, i-1] - np.log(np.exp(logits[k]).sum()) for k, i in enumerate(target)])
    close(float(next_item_loss(t(H), t(V), t(target), None)), want, eps=1e-6)
    want = []
    for h, i in zip(H, target):
        s = {'mine': h@V[i] - np.log(q[i]), **{k: h@V[j] - np.log(q[j]) for k, j in enumerate(drawn) if j != i}}
        want.append(np.log(sum(np.exp(v) for v in s.values())) - s['mine'])
    close(float(next_item_loss(t(H), t(V), t(target), t(drawn), t(np.log(q)))), np.mean(want), eps=1e-6)

def test_held_out_items_are_not_learned_from(log):
    items, starts = log_in_order(log)
    (left, left_starts), asked, answers = hold_last(items, starts, 6, 0, share=.5)
    assert len(left) + len(answers) == len(items) and len(answers)
    users = np.flatnonzero(np.diff(starts) - np.diff(left_starts))
    for row, u, y in zip(asked, users, answers):
        mine = items[starts[u]:starts[u+1]]
        assert y == mine[-1] and (left[left_starts[u]:left_starts[u+1]] == mine[:-1]).all()
        assert row[row > 0].tolist() == mine[:-1][-6:].tolist()

def test_gain_is_one_for_a_net_that_knows():
    class Knows(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.items = torch.nn.Embedding.from_pretrained(torch.eye(6))
        def forward(self, codes): return self.items(torch.tensor([[4], [5]])).expand(2, 1, 6)
    assert gain_of_last(Knows(), torch.tensor([[1], [2]]), np.array([4, 5])) == 1.
    worse = gain_of_last(Knows(), torch.tensor([[1], [2]]), np.array([5, 5]))
    assert worse <= 1

def test_the_loop_stops_and_keeps_the_best():
    net = torch.nn.Linear(1, 1, bias=False)
    values = iter([.1, .5, .3, .2, .9])
    seen = []
    def value():
        seen.append(net.weight.item())
        return next(values)
    adam = lambda: torch.optim.Adam(net.parameters(), lr=.1)
    got = train_network(net, lambda: [torch.ones(1, 1)], lambda x: net(x).sum(), adam(), 10, value, 2)
    assert got == [.1, .5, .3, .2] and net.weight.item() == pytest.approx(seen[1])
    with pytest.raises(FloatingPointError, match='Lower lr .now 0.1'): train_network(net, lambda: [torch.ones(1, 1)], lambda x: net(x).sum()*torch.nan, adam(), 2)

def test_the_loop_asks_every_few_passes_and_steps_the_schedule():
    net = torch.nn.Linear(1, 1, bias=False)
    opt = torch.optim.SGD(net.parameters(), lr=.5)
    fall = torch.optim.lr_scheduler.LinearLR(opt, 1., .5, 4)
    start = net.weight.item()
    values = train_network(net, lambda: [torch.ones(1, 1)]*2, lambda x: net(x).sum(), opt, 5, lambda: -net.weight.item(), 9, every=2, schedule=fall)
    rates = .5*np.array([1, .875, .75, .625] + [.5]*6)
    assert values == pytest.approx(np.cumsum(rates)[[3, 7]] - start, rel=1e-5)
    assert net.weight.item() == pytest.approx(start - rates[:8].sum(), rel=1e-5)         # the ninth and tenth step had no value

def test_the_loop_stops_when_time_is_up():
    net = torch.nn.Linear(1, 1, bias=False)
    values = train_network(net, lambda: iter([torch.ones(1, 1)]*10**9), lambda x: net(x).sum(), torch.optim.Adam(net.parameters()), 10**9, lambda: 1., 5, max_minutes=1e-9)
    assert values == [1.]

def test_an_index_serves_it(log):
    m = SASRec(**SMALL).fit(log)
    users = log.users.ids[:5].tolist()
    exact, by_index = m.recommend(users, k=5), m.recommend(users, k=5, index=ANNIndex.from_model(m) if hasattr(ANNIndex, 'from_model') else None)
    assert exact['item'].tolist() == by_index['item'].tolist()

def test_learns_a_planted_chain():
    "Each item is followed by the next one of a ring: all three find it"
    rng = np.random.default_rng(0)
    log = log_of(*[[(s + t) % 15 for t in range(7)] for s in rng.integers(0, 15, 150)])
    models = {**{n: MODELS[n]() for n in ('counts', 'ridge')}, 'SASRec': SASRec(16, 1, 1, n=8, dropout=0., lr=.01, n_epochs=40, patience=40, batch_size=32)}
    for name, m in models.items():
        m.fit(log)
        got = [m.recommend(User(history=[(s + t) % 15 for t in range(4)]), k=1)['item'][0] for s in (0, 5, 11)]
        assert got == [(s + 4) % 15 for s in (0, 5, 11)], name
