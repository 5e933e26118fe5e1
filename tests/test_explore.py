"Bandits, pages and policies against loops, closed forms, counted frequencies, SciPy and the truth of small worlds"

from itertools import permutations

import numpy as np, pandas as pd, pytest
from fastcore.test import test_close as close
from scipy import stats

from recsys_course import cast
from recsys_course.bayes import BayesianMF
from recsys_course.check import check_recommender, planted_interactions
from recsys_course.core import LOG
from recsys_course.data import Interactions
from recsys_course.explore import (EpsilonGreedy, ItemRegression, LinUCB, Policy, ThompsonSampling, beta_draws, examination, gather, lai_robbins, looked_at, lot_or_mean, means,
                                   optimistic, page_chances, play, share_of_draws, ucb1)
from recsys_course.offpolicy import check_log, ips
from recsys_course.recommender import Popular, User

pytestmark = pytest.mark.filterwarnings('ignore::UserWarning')

# ---- Pages of few films

RULES = {'means': means, 'optimistic': optimistic(4), 'lot': lot_or_mean(.3), 'ucb1': ucb1, 'beta': beta_draws}

def plain(name, shown, clicks, t, rng):
    "The numbers of one state, film by film; random numbers are drawn in the order of the arrays"
    if name == 'beta': return [rng.beta(1 + c, 1 + n - c) for n, c in zip(shown, clicks)]
    if name == 'lot':
        by_lot, numbers = rng.random() < .3, [rng.random() for _ in shown]
        return [2 + o for o in numbers] if by_lot else [c/n if n else 1 for n, c in zip(shown, clicks)]
    if name == 'ucb1': return [c/n + (2*np.log(t)/n)**.5 if n else 1000 for n, c in zip(shown, clicks)]
    if name == 'optimistic': return [(c + 4)/(n + 4) for n, c in zip(shown, clicks)]
    return [c/n if n else 0 for n, c in zip(shown, clicks)]

@pytest.mark.parametrize('name', RULES)
def test_play_against_a_plain_loop(name):
    chances, rng, lost = [.5, .2, .7, .3], np.random.default_rng(5), []
    shown, clicks = [0]*4, [0]*4
    for t in range(1, 401):
        numbers = plain(name, shown, clicks, t, rng)
        ties = [rng.random() for _ in numbers]
        film = max(range(4), key=lambda k: numbers[k] + 1e-9*ties[k])
        clicks[film] += rng.random() < chances[film]
        shown[film] += 1
        lost.append(.7 - chances[film])
    close(play(RULES[name], chances, 400, 1, seed=5)[0], np.cumsum(lost))

def test_thompson_draws_from_the_posterior():
    shown, clicks = np.full(20_000, 10), np.full(20_000, 3)
    assert stats.kstest(beta_draws(shown, clicks, 1, np.random.default_rng(0)), stats.beta(4, 8).cdf).pvalue > .001

def test_growth_of_regret():
    "Linear: twice as much in twice the visits; logarithmic: as much as in the half before; never below the bound for long"
    r = {n: play(f, [.4, .2, .6], 2000, 100).mean(0) for n, f in RULES.items()}
    late = {n: (o[1999] - o[999])/(o[999] - o[499]) for n, o in r.items()}
    assert late['means'] > 1.9 and late['lot'] > 1.8
    assert late['ucb1'] < 1.4 and late['beta'] < 1.4
    assert r['beta'][-1] < .5*r['ucb1'][-1]

def test_bound_by_quadrature_of_entropies():
    def kl(p, q): return p*np.log(p/q) + (1 - p)*np.log((1 - p)/(1 - q))
    close(lai_robbins([.2, .6, .5]), .4/kl(.2, .6) + .1/kl(.5, .6))
    assert lai_robbins([.3, .3]) == 0                                      # ties cost nothing

def test_batches_ties_and_odd_chances():
    assert (play(ucb1, [.4], 20, 3) == 0).all()                            # one film
    assert (play(beta_draws, [.4, .4], 20, 3) == 0).all()                  # alike
    assert (play(optimistic(2), [0, 0, 0], 50, 3) == 0).all()              # no clicks at all
    close(play(lambda s, c, t, rng: s*0 + [1, 0], [.5, .75], 3, 2, batch=10)[:, -1], [7.5, 7.5])
    same = [play(beta_draws, [.2, .4], 50, 4, 5, .01, .01, seed=s) for s in (3, 3, 4)]
    assert (same[0] == same[1]).all() and (same[0] != same[2]).any()
    for bad, text in (([1.2], 'between 0 and 1'), ([], 'one per film'), (np.full((3, 2), .5), 'for each of 4 runs'), ([np.nan], 'between 0 and 1')):
        with pytest.raises(ValueError, match=text): play(means, bad, 5, 4)

def test_new_films_forget_and_changes_do_not():
    "With arrivals each round all counts are 0, so that optimism shows films by lot; with drift they stay"
    calls = []
    def _index(shown, clicks, t, rng):
        calls.append(shown.sum())
        return shown*0.
    play(_index, [.5, .2], 10, 2, arrivals=1.)
    assert max(calls) == 0
    calls.clear()
    play(_index, [.5, .2], 10, 2, drift=1.)
    assert calls[-1] == 2*9

# ---- Chances of epsilon-greedy pages

def by_enumeration(m, k, eps):
    "Chance of each item at each place, summed over all lists"
    res = np.zeros((k, m))
    for page in permutations(range(m), k):
        p, left = 1., list(range(m))
        for j, i in enumerate(page):
            p *= (1 - eps[j])*(i == left[0]) + eps[j]/len(left)
            left.remove(i)
        for j, i in enumerate(page): res[j, i] += p
    return res

@pytest.mark.parametrize('m,k,eps', [(5, 3, [.3]*3), (6, 4, [0, .5, 0, 1]), (3, 3, [.2]*3), (4, 1, [.7]), (7, 2, [1, 1])])
def test_page_chances_against_all_lists(m, k, eps):
    exact, table = by_enumeration(m, k, eps), page_chances(m, k, eps)
    close(table[:, :k], exact[:, :k])
    if m > k: close(np.tile(table[:, [k]], m - k), exact[:, k:])

def test_page_chances_add_up():
    for m, k, eps in ((40, 10, .1), (10, 10, .5), (11, 10, np.linspace(0, 1, 10))):
        table = page_chances(m, k, eps)
        close(table[:, :k].sum(1) + (m - k)*table[:, k], np.ones(k))
    assert page_chances(2, 5, .1)[2:].sum() == 0                           # no more than two items

def log_of(n=4000, **kw):
    inter = cast.interactions()
    policy = EpsilonGreedy(**kw).fit(inter)
    return policy, policy.choose(['dan']*n, k=3, exclude_seen=False)

@pytest.mark.parametrize('eps', [.4, [0., .5, .3]])
def test_propensities_are_frequencies(eps):
    _, log = log_of(epsilon=eps)
    for (rank, item), rows in log.groupby(['rank', 'item']):
        p, n = rows.propensity.iloc[0], log.list.nunique()
        assert rows.propensity.nunique() == 1
        assert abs(len(rows)/n - p) < 4.5*(p*(1 - p)/n)**.5 + 1e-9
    given = log.groupby('list').given.prod()
    pages = log.groupby('list')['item'].agg(tuple)
    share = pages.value_counts(normalize=True)
    for page, p in given.groupby(pages).first().items(): assert abs(share[page] - p) < 4.5*(p*(1 - p)/len(pages))**.5 + 1e-9

def test_places_without_lot_are_the_models():
    policy, log = log_of(50, epsilon=[0., 0, 1])
    best = policy.recommend('dan', 2, exclude_seen=False)['item'].tolist()
    assert (log['item'].to_numpy().reshape(50, 3)[:, :2] == best).all()
    close(log[log['rank'] == 3].given, np.full(50, 1/3))
    with pytest.raises(ValueError, match='has 3 places, the page has 2'): policy.choose('dan', 2)

# ---- The regression

def frame(seed=0, n_users=30, n_items=12, stars=True):
    rng = np.random.default_rng(seed)
    u, i = np.nonzero(rng.random((n_users, n_items)) < .6)
    r = rng.integers(1, 6, len(u)) if stars else np.ones(len(u))
    items = pd.DataFrame(dict(year=rng.integers(1950, 2000, n_items + 2), genres=rng.choice(['a', 'b', 'a|b'], n_items + 2)), pd.RangeIndex(n_items + 2, name='item'))
    return Interactions.from_df(pd.DataFrame(dict(user=u, item=i, rating=r)), item_info=items)

def test_gather_against_numpy():
    inter = frame()
    X = np.random.default_rng(1).normal(size=(len(inter.users), 3))
    C = inter.csr().T.tocsr()
    G, b = gather(C.indptr, C.indices, C.data, X)
    u, i, r = inter.codes()
    for item in range(len(inter.items)):
        x = X[u[i == item]]
        close(G[item], x.T@x, 1e-8)
        close(b[item], x.T@r[i == item], 1e-5)

@pytest.mark.parametrize('stars', [True, False])
def test_weights_are_the_closed_form_posterior(stars):
    inter = frame(stars=stars)
    m = ItemRegression(n_factors=3, optimism=.5).fit(inter)
    u, i, r = inter.codes()
    prior = m.features@m.foretold
    for item in range(1, len(inter.items)):
        x, y = m.user_factors[u[i == item]], r[i == item].astype(float)
        if not stars and len(y): x, y = m.user_factors[1:], np.isin(np.arange(1, len(inter.users)), u[i == item])*1.
        prec = x.T@x/m.noise + np.diag(m.spread**-2)
        close(m.covariances[item], np.linalg.inv(prec), 1e-6)
        close(m.item_means[item], np.linalg.solve(prec, x.T@y/m.noise + prior[item]/m.spread**2), 1e-5)
    close(m.covariances[-1], np.diag(m.spread**2))                         # nobody met it: the prior

def test_noise_is_what_a_loop_finds():
    inter = frame()
    m = ItemRegression(n_factors=2).fit(inter)
    C = inter.csr().T.tocsr()
    G, b = gather(C.indptr, C.indices, C.data, m.user_factors)
    u, i, r = inter.codes()
    total = sum((y - m.user_factors[a]@m.item_means[c])**2 + m.user_factors[a]@m.covariances[c]@m.user_factors[a] for a, c, y in zip(u, i, r.astype(float)))
    squares, n = np.bincount(i, r.astype(float)**2, len(inter.items)), np.bincount(i, minlength=len(inter.items))
    close(m.left_over(G, b, squares, n), total/len(u), 1e-6)

def test_learning_row_by_row_equals_solving():
    inter, rng = frame(), np.random.default_rng(3)
    m = ItemRegression(n_factors=3).fit(inter)
    before = m.item_means.copy(), m.covariances.copy()
    log = pd.DataFrame(dict(user=rng.integers(0, 30, 200), item=rng.integers(0, 14, 200), response=rng.normal(3, 1, 200), rank=rng.integers(1, 4, 200), list=np.arange(200)))
    look = np.array([1, .5, .2])
    m.learn(log, look=look)
    u, i = m.users.encode(log.user), m.items.encode(log['item'])
    for item in np.unique(i):
        rows = np.flatnonzero(i == item)
        x = m.user_factors[u[rows]]*look[log['rank'].to_numpy()[rows] - 1, None]
        old = np.linalg.inv(before[1][item])
        S = np.linalg.inv(old + x.T@x/m.noise)
        close(m.covariances[item], S, 1e-8)
        close(m.item_means[item], S@(old@before[0][item] + x.T@log.response.to_numpy()[rows]/m.noise), 1e-7)

def test_order_of_rows_does_not_matter_and_inputs_stay():
    inter, rng = frame(), np.random.default_rng(3)
    log = pd.DataFrame(dict(user=rng.integers(0, 30, 50), item=rng.integers(0, 14, 50), response=rng.integers(0, 2, 50)))
    kept = log.copy()
    a, b = (ItemRegression(n_factors=2).fit(inter).learn(o) for o in (log, log[::-1]))
    close(a.item_means, b.item_means, 1e-8)
    assert log.equals(kept)

def test_doubt_is_honest():
    "Weights drawn from the prior, responses with noise: intervals hold what they promise"
    rng, inside = np.random.default_rng(0), []
    inter = frame(n_users=60)
    m = ItemRegression(n_factors=2).fit(inter)
    for _ in range(300):
        w = m.features[-1]@m.foretold + m.spread*rng.normal(size=len(m.spread))
        u = rng.integers(1, 61, 5)
        old = m.item_means, m.covariances
        log = pd.DataFrame(dict(user=m.users.decode(u), item=13, response=m.user_factors[u]@w + m.noise**.5*rng.normal(size=5)))
        m.learn(log)
        mean, std = (o[0, -1] for o in m.moments(m.user_factors[[7]]))
        inside.append(abs(m.user_factors[7]@w - mean) < 1.96*std)
        m.item_means, m.covariances = old
    assert abs(np.mean(inside) - .95) < .04

# ---- Looks

def test_cascade_against_a_loop():
    rng = np.random.default_rng(0)
    log = pd.DataFrame(dict(list=np.repeat(rng.permutation(30), 4), rank=np.tile([1, 2, 3, 4], 30), response=rng.integers(0, 2, 120))).sample(frac=1, random_state=0)
    for (_, row), w in zip(log.iterrows(), looked_at(log, 'cascade')):
        above = log[(log.list == row.list) & (log['rank'] < row['rank'])]
        assert w == (above.response.sum() == 0)

def test_look_is_estimated_from_a_page_that_explores():
    rng, look = np.random.default_rng(0), np.array([1, .6, .3])
    _, log = log_of(20_000, epsilon=.6)
    appeal = dict(zip(cast.FILMS, [.9, .2, .7, .4, .1]))
    log['response'] = rng.binomial(1, log['item'].map(appeal)*look[log['rank'] - 1])
    assert abs(examination(log) - look).max() < .06
    plain = log.groupby('rank').response.mean().to_numpy()
    assert abs(plain/plain[0] - look).max() > .1                          # what stands where matters

@pytest.mark.parametrize('look,text', [([1, .5], 'look has 2 places'), ([1, 0, .5], 'above 0'), ('casc', 'is not one of')])
def test_looks_that_are_refused(look, text):
    log = pd.DataFrame(dict(list=[0, 0, 0], rank=[1, 2, 3], response=[0, 1, 0]))
    with pytest.raises(ValueError, match=text): looked_at(log, look)
    with pytest.raises(ValueError, match='nobody responded'): examination(log.assign(response=0, propensity=1.))

# ---- Policies

MAKE = {'EpsilonGreedy': EpsilonGreedy, 'LinUCB': LinUCB, 'ThompsonSampling': ThompsonSampling, 'greedy': lambda: LinUCB(alpha=0)}

@pytest.mark.parametrize('make', [ItemRegression, lambda: ItemRegression(optimism=1.), *MAKE.values(), lambda: EpsilonGreedy(Popular())])
def test_contract(make): check_recommender(make)

@pytest.mark.parametrize('name', MAKE)
def test_log_format_seed_and_learning(name):
    inter, _ = planted_interactions()
    a, b = (MAKE[name]().fit(inter) for _ in range(2))
    for _ in range(2):
        pages = [p.choose(inter.users.ids[:20].tolist(), k=2) for p in (a, b)]
        assert pages[0].equals(pages[1])
        log = pages[0].assign(response=np.arange(40) % 2)
        assert log.columns.tolist()[:8] == [*LOG, 'list']
        check_log(log)
        a.update(log)
        b.update(log)
    assert pages[0].list.min() == 20 and (pages[0].time == 1).all()        # lists and calls are counted on
    assert (a.scores(np.arange(5)) == b.scores(np.arange(5))).all()
    assert not pages[0].merge(inter.df, on=['user', 'item']).size

@pytest.mark.parametrize('name', MAKE)
def test_saved_loaded_and_going_on(name, tmp_path):
    inter, _ = planted_interactions()
    a = MAKE[name]().fit(inter)
    a.update(a.choose(inter.users.ids[:20].tolist()).assign(response=1.))
    a.save(tmp_path)
    b = type(a).load(tmp_path)
    users = inter.users.ids[:30].tolist()
    assert a.choose(users, 3).equals(b.choose(users, 3)) and repr(a) == repr(b)
    b.fit(inter)
    assert isinstance(b.fitted, ItemRegression)

def test_loaded_policy_keeps_the_settings_of_its_model(tmp_path):
    a = LinUCB(ItemRegression(n_factors=3, optimism=.5), alpha=2).fit(cast.interactions())
    a.save(tmp_path)
    assert LinUCB.load(tmp_path).model.get_params() == a.model.get_params()

def test_optimism_ends_with_knowledge():
    inter = frame()
    plain, bold = (ItemRegression(n_factors=2, optimism=o).fit(inter) for o in (0, 2))
    new, old = inter.items.encode([13])[0], np.bincount(inter.codes()[1]).argmax()
    up = bold.scores([1]) - plain.scores([1])
    close(up[0, new], 2*np.sqrt((plain.spread**2).sum()), 1e-4)
    assert 0 < up[0, old] < .5*up[0, new]

def test_bounds_by_hand():
    m = LinUCB(alpha=1.7).fit(frame())
    f = m.fitted
    for u in (1, 5):
        x = f.user_factors[u]
        close(m.scores([u])[0], [x@w + 1.7*np.sqrt(x@S@x) for w, S in zip(f.item_means, f.covariances)], 1e-4)

def test_thompson_chances_are_frequencies():
    inter = frame()
    m, fast = (ThompsonSampling(n_draws=n).fit(inter) for n in (4000, 0))
    many = fast.choose([3]*4000, k=2, exclude_seen=False, items=[1, 2, 3, 12, 13], seed=0)
    assert many.propensity.isna().all()
    one = m.choose(3, k=2, exclude_seen=False, items=[1, 2, 3, 12, 13], seed=1)
    for _, row in one.iterrows():
        share = ((many['item'] == row['item']) & (many['rank'] == row['rank'])).mean()*2
        assert abs(share - row.propensity) < 5*np.hypot(row.se, (share*(1 - share)/4000)**.5) + 1e-3

def test_spread_of_draws():
    inter = frame()
    users = inter.users.ids.tolist()
    for model in (None, BayesianMF(n_factors=2, n_samples=5, burn=3)):
        m = ThompsonSampling(model, spread=0.).fit(inter)
        greedy = m.recommend(users, 2, exclude_seen=False)
        page = m.choose(users, 2, exclude_seen=False)
        assert page['item'].tolist() == greedy['item'].tolist()            # no spread: what is expected
        assert (page.propensity > .99).all()
    wide, narrow = (ThompsonSampling(spread=s, n_draws=0).fit(inter).choose(users*20, exclude_seen=False, items=[1, 2, 3, 12]) for s in (2., .3))
    assert narrow.score.std() < wide.score.std()

def test_one_over_an_estimated_chance_is_nearly_unbiased():
    p, n = .15, 40
    same = np.random.default_rng(0).binomial(n, p, 400_000)
    close((1/share_of_draws(same, n)[0]).mean(), (1 - (1 - p)**(n + 1))/p, .03)
    assert np.isnan(share_of_draws(same, 0)[0]).all()

def test_thompson_over_kept_draws():
    "One of the draws that BayesianMF keeps; the chance is the share of draws that put the item there"
    inter = frame(n_users=25)
    m = ThompsonSampling(BayesianMF(n_factors=2, n_samples=5, burn=3)).fit(inter)
    who = inter.users.ids[:6].tolist()
    page = m.choose(who, k=2, exclude_seen=False)
    draws = [s[:, 1:].argsort(1)[:, ::-1] for s in m.fitted.draws_of(m.user_vectors(inter.users.encode(who)))]
    for _, row in page.iterrows():
        u, i = who.index(row.user), inter.items.encode([row['item']])[0] - 1
        close(row.propensity, np.mean([d[u, int(row['rank']) - 1] == i for d in draws]))
    m.update(page.assign(response=3.))                                     # known users learn
    with pytest.raises(ValueError, match='off the scale'): m.update(page.assign(response=9.))

def test_ips_of_exploring_logs_is_the_truth_and_of_others_warns():
    inter, good = planted_interactions()
    films, users = inter.items.ids[:8].tolist(), inter.users.ids[:-1].tolist()
    truth, rng = np.where(good[1:-1][:, :8], .7, .2), np.random.default_rng(0)
    who = rng.choice(len(users), 6000)
    target = np.arange(1, 9)/36
    value = (truth*target).sum(1)[who].mean()
    for make, warned in ((lambda: EpsilonGreedy(epsilon=.8), False), (LinUCB, True)):
        log = make().fit(inter).choose([users[k] for k in who], items=films, exclude_seen=False)
        a = np.array([films.index(i) for i in log['item']])
        log['response'] = rng.binomial(1, truth[who, a])
        e = ips(log, target[a])
        assert (abs(e.value - value) < 4*e.se) != warned and bool(e.warning) == warned

def test_newcomers_mixed_pages_and_few_items():
    m = EpsilonGreedy().fit(cast.interactions())
    page = m.choose([User({'Moon Base': 5}, id='zoe'), 'ann'], k=9)
    assert page.groupby('user', sort=False).size().to_dict() == {'zoe': 4, 'ann': 2}
    close(page.groupby('list').given.last(), [1, 1])                       # the last that is left
    assert np.isfinite(page.score).all() and page.propensity.between(0, 1).all()
    assert len(LinUCB().fit(cast.interactions()).choose('ann', 9)) == 2
    assert len(ThompsonSampling().fit(cast.interactions()).choose('ann', 9)) == 2

# ---- Odd data, one sentence

@pytest.mark.parametrize('rows', [[('a', 'x', 1.)], [('a', 'x', 1.), ('b', 'x', 1.)], [('a', 'x', 0.), ('a', 'y', 0.)], [('a', 'x', 3.), ('b', 'y', 3.), ('b', 'x', 1e6)],
                                  [('a', 'x', -5.), ('b', 'y', 2.)]])
def test_odd_logs_give_finite_pages(rows):
    inter = Interactions.from_df(pd.DataFrame(rows, columns=['user', 'item', 'rating']))
    for make in MAKE.values():
        m = make().fit(inter)
        page = m.choose(inter.users.ids.tolist(), k=2, exclude_seen=False)
        assert np.isfinite(page.score).all() and (page.propensity > 0).all()
        m.update(page.assign(response=0.))
        m.update(page.assign(response=1e6))                               # far out of range: finite
        assert np.isfinite(m.choose(inter.users.ids.tolist(), exclude_seen=False).score).all()

def test_what_is_refused():
    inter = cast.interactions()
    m = LinUCB().fit(inter)
    log = m.choose('ann')
    with pytest.raises(KeyError, match='nobody'): m.update(log.assign(user='nobody', response=1))
    with pytest.raises(KeyError, match='Jaws'): m.update(log.assign(item='Jaws', response=1))
    with pytest.raises(KeyError, match='Jaws'): m.choose('ann', items=['Jaws'])
    with pytest.raises(ValueError, match='no number as response'): m.update(log)
    with pytest.raises(ValueError, match='no number as response'): ips(log.assign(target=1.))
    with pytest.raises(ValueError, match='at least one item'): m.choose('ann', k=0)
    with pytest.raises(RuntimeError, match='not fitted'): LinUCB().choose('ann')
    with pytest.raises(NotImplementedError, match='learns by fit'): EpsilonGreedy(Popular()).fit(inter).update(log.assign(response=1))
    with pytest.raises(TypeError, match='does not say how sure'): ThompsonSampling(Popular()).fit(inter)
    for make, text in ((lambda: LinUCB(alpha=-1), 'alpha=-1'), (lambda: EpsilonGreedy(epsilon=1.5), 'between 0 and 1'), (lambda: ThompsonSampling(n_draws=.5), 'whole number'),
                       (lambda: ItemRegression(optimism=-1), 'optimism=-1'), (lambda: ItemRegression(columns='year'), 'list of names'), (lambda: LinUCB(alpha=np.nan), 'alpha')):
        with pytest.raises(ValueError, match=text): make()
    with pytest.raises(TypeError, match='should be such as'): LinUCB('als')

def test_nobody_to_show_anything():
    m = EpsilonGreedy().fit(cast.interactions())
    assert len(m.choose([], k=2)) == 0
    assert len(m.choose('ann', items=['Moon Base'])) == 0                  # she has met it
    assert isinstance(m, Policy)
