"Loops of feedback against plain loops, brute force and by hand; audits, monitor and roll-out against their promises on null data"

import itertools, math
import numpy as np, pandas as pd, pytest
from fastcore.test import test_close as close

from recsys_course.core import LOG
from recsys_course.evaluate import gini
from recsys_course.feedback import (Calibrated, Life, LivePage, Monitor, audit_groups, calibrated_columns, calibration_kl, cap_voices, capped_columns, choose_labels, drawn_by_weight, equal_voices,
                                    exposure_weights, figure_of_each, gap_statistics, input_signs, like_chances, likes_before, list_signs, look_chances, loud_group, offline_ndcg, people_groups,
                                    response_signs, roll_out, simulate_loop, true_of, true_regret)
from recsys_course.implicit import EASE, ImplicitALS
from recsys_course.recommender import Bias, ItemKNN, Popular, Query
from recsys_course.rerank import Fresh, Page
from recsys_course.simulate import World

@pytest.fixture(scope='module')
def world(): return World(n_users=80, n_items=60)

@pytest.fixture(scope='module')
def truth(world): return true_of(world, 4)

@pytest.fixture(scope='module')
def start(world, truth): return likes_before(world, truth, 1500)

# ---- Chances, truth, regret

def test_chances_by_hand():
    close(look_chances(4), [1/math.log2(r + 1) for r in (1, 2, 3, 4)])
    close(like_chances([3.5, 5]), [.5, 1/(1 + math.exp(-3))])
    with pytest.raises(ValueError, match='k=0'): look_chances(0)

def test_truth_is_the_worlds(world, truth):
    for u, i in ((1, 5), (80, 60), (33, 2)):
        raw = world.users.decode([u])[0], world.items.decode([i])[0]
        close(truth.utility[u, i], float(world.utility(*raw)), eps=1e-5)
    assert not truth.utility[0].any() and not truth.utility[:, 0].any()
    assert (truth.arrival > 0).sum() == 6 and set(truth.arrival) == {0, 2, 3, 4}
    assert truth.niche.sum() == 20 and not truth.niche[0]

def test_niche_is_far_from_the_common_taste(world, truth):
    U = truth.utility[1:, 1:]
    alike = [np.corrcoef(row, (U - U.mean(1, keepdims=True)).mean(0))[0, 1] for row in U]
    assert max(np.array(alike)[truth.niche[1:]]) <= min(np.array(alike)[~truth.niche[1:]])

def test_regret_by_brute_force():
    rng = np.random.default_rng(0)
    U, may = rng.uniform(1, 5, (6, 8)), rng.random((6, 8)) < .8
    may[:, :3] = True
    shown = np.array([rng.choice(np.flatnonzero(m), 3, replace=False) for m in may])
    want = [max(np.mean(U[r, list(c)]) for c in itertools.combinations(np.flatnonzero(may[r]), 3)) - U[r, shown[r]].mean() for r in range(6)]
    close(true_regret(U, shown, may), want)

def test_gini_by_definition():
    x = np.random.default_rng(1).integers(0, 9, 30).astype(float)
    close(gini(x[None])[0], np.abs(x[:, None] - x).sum()/(2*len(x)**2*x.mean()))

def test_a_large_world_is_refused():
    class Large: users, items = range(10_000), range(10_000)
    with pytest.raises(ValueError, match='20 million'): true_of(Large(), 2)

# ---- One round by plain loops

def test_a_round_against_loops(world, truth, start):
    life = Life(LivePage(Popular), truth, start, 5, 1, seed=4)
    train = life.train()
    met = {u: set() for u in range(1, 81)}
    for u, i in zip(*train.codes()[:2]): met[u].add(i)
    got = life.step(offline=False)
    counts = np.bincount(train.codes()[1], minlength=61)
    may = [i for i in range(1, 61) if truth.arrival[i] <= 1]
    for u in range(1, 81):
        free = [i for i in may if i not in met[u]]
        assert list(got['shown'][u-1]) == sorted(free, key=lambda i: (-counts[i], i))[:5]
    log = life.logs[0]
    assert set(log) == {*LOG, 'list'} and list(log['rank'][:5]) == [1, 2, 3, 4, 5] and (log.propensity == 1).all()
    liked = {(r.user, r.item) for r in log[log.response > 0].itertuples()}
    after = life.train()
    joined = set(zip(after.df.user, after.df['item'])) - set(zip(train.df.user, train.df['item']))
    assert liked <= joined and len(joined) == len(after) - len(train)
    own = pd.Series([u for u, _ in joined - liked]).value_counts()
    assert own.max() == 1                                              # at most one film without the page
    assert not {(r.user, r.item) for r in log.itertuples()} & (joined - liked)

def test_answers_follow_place_and_utility(truth, start):
    life = Life(LivePage(Popular), truth, start, 3, 0, seed=0)
    shown = np.tile([5, 9, 13], (80, 1))
    many = [life.answers(shown) for _ in range(400)]
    looked, liked = (np.mean([o[j] for o in many], axis=0) for j in (0, 1))
    close(looked.mean(0), look_chances(3), eps=.02)
    want = look_chances(3)*like_chances(truth.utility[1:, [5, 9, 13]])
    assert abs(liked - want).max() < 5*.5/400**.5 and abs((liked - want).mean()) < .005

def test_people_wander_by_exposure(truth, start):
    life = Life(LivePage(Popular), truth, start, 3, 2, seed=0)
    may = np.ones((80, 61), bool)
    may[:, 0] = False
    may[:, 40:] = False
    us, its = map(np.concatenate, zip(*[life.wander(may) for _ in range(300)]))
    assert its.max() < 40 and its.min() > 0
    P = truth.outside[1:, 1:40]
    first = P/P.sum(1, keepdims=True)                                   # roughly: more readily met, more often
    assert np.corrcoef(np.bincount(its, minlength=61)[1:40], (first*like_chances(truth.utility[1:, 1:40])).sum(0))[0, 1] > .9

def test_the_same_seed_gives_the_same_bits(world):
    pages = {'a': lambda: ItemKNN(), 'b': LivePage(Popular, order=[Calibrated(.3)], n_explore=1, cap=.3, weigh='draw')}
    first, again, other = (simulate_loop(world, pages, 3, k=5, seed=s) for s in (1, 1, 2))
    pd.testing.assert_frame_equal(first.rounds, again.rounds)
    for name in pages: pd.testing.assert_frame_equal(first.logs[name], again.logs[name])
    assert not first.rounds.likes.equals(other.rounds.likes)
    assert list(first.rounds['round']) == [1, 2, 3, 1, 2, 3] and first.rounds.notna().all().all()

def test_figures_of_a_round_by_hand(world):
    ids = list(world.users.ids[:10])
    films = list(world.items.ids[:15])
    loop = simulate_loop(world, {'Popular': Popular}, 2, k=4, people={'ten': ids}, items={'some': films}, offline=False, seed=0)
    log, row = loop.logs['Popular'], loop.rounds.iloc[1]
    log = log[log.time == 2]
    close(row['share some'], log['item'].isin(films).mean())
    mine = log[log.user.isin(ids)]
    close(row['utility ten'], np.mean([float(world.utility(r.user, r.item)) for r in mine.itertuples()]), eps=1e-4)
    close(row.likes, log.response.sum()/80)
    n = int((loop.truth.arrival[1:] <= 2).sum())
    close(row.coverage, log['item'].nunique()/n)
    x = np.r_[log['item'].value_counts().to_numpy(), np.zeros(n - log['item'].nunique())].astype(float)
    close(row.gini, np.abs(x[:, None] - x).sum()/(2*n*n*x.mean()))
    assert 'ndcg' not in row

def test_new_items_arrive_on_time(world):
    loop = simulate_loop(world, {'lot': LivePage(Popular, n_explore=3)}, 4, k=5, new=.3, offline=False)
    code = world.items.encode(loop.logs['lot']['item'])
    assert (loop.truth.arrival[code] <= loop.logs['lot'].time).all()
    assert (loop.truth.arrival[code] > 1).any()

def test_offline_ndcg_by_loops(start):
    page, hide = LivePage(Popular), np.random.default_rng(3).random(len(start)) < .2
    part, rest = start.take(~hide), start.take(hide)
    counts, total = np.bincount(part.codes()[1], minlength=len(start.items)), []
    for u in np.unique(rest.codes()[0]):
        met = set(part.codes()[1][part.codes()[0] == u])
        top = sorted((i for i in range(1, len(counts)) if i not in met), key=lambda i: (-counts[i], i))[:5]
        want = set(rest.codes()[1][rest.codes()[0] == u])
        dcg = sum(1/math.log2(r + 2) for r, i in enumerate(top) if i in want)
        total.append(dcg/sum(1/math.log2(r + 2) for r in range(min(len(want), 5))))
    close(offline_ndcg(page, start, k=5, seed=3), np.mean(total), eps=1e-6)

# ---- Cures

def test_propensities_are_frequencies(start):
    page = LivePage(Popular, n_explore=2).fit(start)
    every, seen, codes = np.ones(len(start.items), bool), start.csr('ones'), np.array([3])
    base = page.rank(codes, seen, 4, every)[0][0]
    hits, told, n = np.zeros((4, len(start.items))), np.zeros((4, len(start.items))), 6000
    items, score, chance = page.lists(np.full(n, 3), seen, 4, every, np.random.default_rng(0))      # the same person 6,000 times
    for place in range(4):
        hits[place] = np.bincount(items[:, place], minlength=len(start.items))
        told[place, items[:, place]] = chance[:, place]
    assert (np.isnan(score).sum(1) == 2).all()
    close(hits[np.arange(4), base]/n, np.full(4, .5), eps=.03)
    close(told[np.arange(4), base], np.full(4, .5))
    pool = len(start.items) - 1 - int(seen[3].nnz) - 4
    by_lot = told[told < .4]
    close(by_lot[by_lot > 0], np.full((by_lot > 0).sum(), .5/pool))
    assert abs(hits[0].sum() - n) < 1 and abs(hits[0][told[0] < .4].sum()/n - .5) < .03

def test_cap_against_a_loop():
    rng = np.random.default_rng(0)
    items = np.array([rng.permutation(12)[:8] + 1 for _ in range(20)])
    items[3, 5:] = -1
    order, count, want = rng.permutation(20), {}, {}
    for r in order:
        row = [c for c in range(8) if items[r, c] > 0]
        take = [c for c in row if count.get(items[r, c], 0) < 5][:4]
        take += [c for c in row if c not in take][:4 - len(take)]
        for c in take: count[items[r, c]] = count.get(items[r, c], 0) + 1
        want[r] = take
    got = capped_columns(items, order, 4, 5, 13)
    for r in range(20): assert list(got[r]) == want[r]

def test_kl_and_the_greedy_walk_by_hand():
    p, q = np.array([.6, .3, .1]), np.array([.2, .8, 0])
    mixed = .99*q + .01*p
    close(calibration_kl(p, q), sum(a*math.log(a/b) for a, b in zip(p, mixed)))
    assert calibration_kl(np.array([.5, .5, 0]), np.array([.5, .5, 0])) == 0
    rng = np.random.default_rng(0)
    G, own = rng.dirichlet([.3]*3, 9), rng.dirichlet([1]*3)
    score = np.sort(rng.random(9))[::-1].copy()
    for w in (0., .4, 1.):
        taken = []
        for _ in range(4):
            def value(c):
                some = taken + [c]
                return (1 - w)*score[some].sum() - w*float(calibration_kl(own, G[some].mean(0)))
            taken.append(max((c for c in range(9) if c not in taken), key=value))
        assert list(calibrated_columns(score[None], np.arange(9)[None], G, own[None], 4, w)[0]) == taken

def test_calibrated_needs_genres_and_leaves_strangers_alone(start):
    step = Calibrated(.9).prepare(start)
    page = Page(Query(np.array([0]), np.array([0]), start.csr('ones')[[0]]), np.arange(1, 31)[None], np.linspace(1, 0, 30)[None])
    assert (page.reordered(step.apply(page)).items == page.items).all()
    with pytest.raises(ValueError, match='mood'): Calibrated(column='mood').prepare(start)

def test_weights_by_hand(start):
    u, i, _ = start.codes()
    w = equal_voices(start).codes()[2]
    n = np.bincount(u)
    close(w, (1/n[u])/(1/n[u]).mean(), eps=1e-4)
    w = exposure_weights(start, looked=np.arange(len(start.items)), power=.5, clip=3).codes()[2]
    met = (np.bincount(i, minlength=len(start.items)) + np.arange(len(start.items)))[i]
    raw = np.clip(np.sqrt(np.median(met)/met), 1/3, 3)
    close(w, raw/raw.mean(), eps=1e-4)
    capped = cap_voices(start, 3, seed=1)
    assert (np.bincount(capped.codes()[0]) == np.minimum(np.bincount(u), 3)).all()
    assert start.df.rating.equals(likes_before(*[o for o in (World(n_users=80, n_items=60), true_of(World(n_users=80, n_items=60), 4))], 1500).df.rating)

def test_rows_drawn_follow_their_weights(start):
    heavy = start.codes()[1] == np.bincount(start.codes()[1]).argmax()
    weighed = start.df.assign(rating=np.where(heavy, 5., 1.).astype(np.float32))
    from recsys_course.data import Interactions
    inter = Interactions(weighed, start.users, start.items)
    got = drawn_by_weight(inter, 0).codes()[1]
    want = 5*heavy.sum()/(5*heavy.sum() + (~heavy).sum())
    assert abs((got == start.codes()[1][heavy][0]).mean() - want) < .04

def test_refusals():
    for bad, text in ((dict(make=Popular()), 'must make'), (dict(make=Popular, n_explore=-1), 'n_explore'), (dict(make=Popular, cap=0), 'cap'), (dict(make=Popular, weigh='x'), 'weigh')):
        with pytest.raises((TypeError, ValueError), match=text): LivePage(**bad)

@pytest.mark.parametrize('make', [Popular, EASE, lambda: ImplicitALS(n_factors=4, n_epochs=3, seed=0)])
def test_any_model_lives(world, make):
    loop = simulate_loop(world, {'m': LivePage(make, order=[Fresh(.1)], n_explore=1)}, 3, k=5)
    assert loop.rounds.notna().all().all() and (loop.rounds.regret >= 0).all()

# ---- The loud group

def test_the_loud_group_is_planted(world):
    town, log, fans, theirs = loud_group(world, share=.1, n_ratings=1800)
    close(log.df.user.isin(fans).mean(), .6, eps=.01)
    assert len(fans) == 8 and len(theirs) == 12
    here, there = (float(town.utility(np.array(u)[:, None], theirs[None]).mean()) for u in (fans, np.setdiff1d(town.users.ids, fans)))
    assert here > there + 1
    close(town.utility(2, int(np.setdiff1d(town.items.ids, theirs)[0])), world.utility(2, int(np.setdiff1d(town.items.ids, theirs)[0])), eps=1e-5)
    assert world.user_factors.shape[1] == 8                            # the world itself was not changed

# ---- A reviewer's labels

def test_labels_are_where_models_disagree(start):
    models = [Popular().fit(start), ItemKNN().fit(start)]
    asked = choose_labels(models, 10, depth=5)
    place = [np.argsort(np.argsort(-np.where(m.seen.toarray()[1:] > 0, -np.inf, np.where(np.arange(len(m.items)) == 0, -np.inf, m.scores(np.arange(1, 81)))), axis=1, kind='stable'), axis=1) for m in models]
    far = abs(np.log1p(place[0]) - np.log1p(place[1]))
    each = np.where((place[0] < 5) | (place[1] < 5), far, -1).max(1)
    mine = far[start.users.encode(asked.user) - 1, start.items.encode(asked['item'])]
    close(mine, each[start.users.encode(asked.user) - 1], eps=1e-4)
    assert len(asked) == 10 and asked.user.is_unique

# ---- Audit

def test_gaps_by_hand():
    a, b, c = np.array([1., 2, 4]), np.array([2., 9]), np.array([0., 1, 1, 5])
    gap, se = gap_statistics(np.concatenate([a, b, c])[None], np.array([3, 2, 4]))
    for j, (x, y) in enumerate(((a, np.r_[b, c]), (b, np.r_[a, c]), (c, np.r_[a, b]))):
        close(gap[0, j], x.mean() - y.mean())
        close(se[0, j], math.sqrt(np.r_[a, b, c].var(ddof=1)*(1/len(x) + 1/len(y))))

def test_audit_raises_no_more_false_alarms_than_it_says(start):
    rng, alarms, covered = np.random.default_rng(0), 0, 0
    group = pd.Series(rng.choice(list('abcde'), 300, p=[.05, .1, .2, .25, .4]), range(300))
    for s in range(200):
        each = pd.Series(rng.gamma(.5, 1, 300)*(rng.random(300) < .6), range(300))       # skewed, with many zeros, as nDCG is
        table = audit_groups(each, start, group, n_shuffles=199, seed=s)
        alarms += (table.verdict != 'noise').any()
        covered += ((table.low <= 0) & (table.high >= 0)).all()
    assert alarms <= 18 and covered >= 180                             # 5 % of 200 is ten; beyond 18 would be chance in 1 of 100

def test_audit_finds_a_planted_gap(start):
    rng, found = np.random.default_rng(1), 0
    group = pd.Series(np.repeat(list('abcd'), 75), range(300))
    for s in range(20):
        each = pd.Series(rng.normal(size=300), range(300)) - .8*(group == 'b')
        table = audit_groups(each, start, group, n_shuffles=199, seed=s).set_index('group')
        found += table.verdict['b'] == 'gap: below the others'
    assert found >= 18

def test_groups_of_people(start):
    age = people_groups('age', start)
    assert 2 <= age.nunique() <= 4 and len(age) == 80
    with pytest.raises(ValueError, match='shoe'): people_groups('shoe', start)
    few = pd.Series(['x']*5 + ['y']*40 + ['z']*35, start.user_info.index)
    table = audit_groups(pd.Series(np.random.default_rng(0).random(80), start.user_info.index), start, few, n_shuffles=99)
    assert set(table.group) == {'small groups', 'y', 'z'}

def test_calibration_of_a_model(world):
    log = world.sample(2000)
    model = Bias().fit(log)
    each = figure_of_each(model, log, 'calibration')
    u = log.df.user.iloc[0]
    mine = log.df[log.df.user == u]
    close(each[u], float((model.predict(mine.user, mine['item']) - mine.rating).mean()), eps=1e-5)
    table = audit_groups(model, log, 'gender', 'calibration', n_shuffles=99)
    assert set(table.group) == {'F', 'M'} and table.n.sum() == 80

# ---- Monitor

def signs_of(rng, n=30): return [dict(zip('abcdefgh', rng.normal(5, 1, 8))) for _ in range(n)]

def test_monitor_holds_the_family_of_checks():
    rng, alarms, rounds = np.random.default_rng(0), 0, 0
    for _ in range(16):
        watcher = Monitor().learn(signs_of(rng))
        for s in signs_of(rng, 30): alarms, rounds = alarms + (watcher.p_values(s).min() < .05), rounds + 1
    assert alarms/rounds < .08                                         # 5 % promised, 480 rounds, 16 monitors

def test_monitor_p_by_scipy():
    from scipy import stats
    rng = np.random.default_rng(1)
    quiet = signs_of(rng, 15)
    table, now = pd.DataFrame(quiet), dict(zip('abcdefgh', [9, 5, 5, 5, 5, 5, 5, 1]))
    t = (pd.Series(now) - table.mean())/(table.std()*math.sqrt(1 + 1/15))
    p = pd.Series(2*stats.t.sf(abs(t), 14), t.index)
    want = p.sort_values()
    want = (want*np.arange(8, 0, -1)).cummax().clip(upper=1)
    close(Monitor().learn(quiet).p_values(now)[want.index].to_numpy(), want.to_numpy(), eps=1e-8)

def test_monitor_speaks():
    rng = np.random.default_rng(2)
    watcher = Monitor().learn(signs_of(rng))
    now = dict.fromkeys('abcdefgh', 5.) | dict(c=25.)
    assert watcher.watch(now).alarm[0].startswith('c is 25, usually')
    del now['d']
    assert 'd: no value in this round' in set(watcher.watch(now).alarm)
    with pytest.raises(ValueError, match='3 quiet rounds'): Monitor().learn(signs_of(rng, 3))
    with pytest.raises(ValueError, match='missing in a quiet round'): Monitor().learn(signs_of(rng) + [dict(a=1.)])

def test_signs_by_hand():
    events = pd.DataFrame(dict(user=[1, 1, 2, 3], feed=['web', 'web', 'app', 'web'], price=[10, 20, np.nan, 30]))
    group = pd.Series(['x', 'x', 'y'], [1, 2, 3])
    s = input_signs(events, group, ['web', 'app', 'tv'], ['price'])
    close([s['inputs: log of events'], s['inputs: log of events of feed web'], s['inputs: log of events of feed tv']], np.log1p([4, 3, 0]))
    close([s['inputs: share of events by x'], s['inputs: price missing'], s['inputs: log of price']], [.75, .25, np.log1p(20)])
    log = pd.DataFrame(dict(user=[1, 1, 2, 2], item=[7, 8, 7, 9], rank=[1, 2, 1, 2], response=[1, 0, 0, 1]))
    before = log.assign(item=[7, 7, 8, 8])
    s = list_signs(log, pd.Series([99, 9, 0, 5], [7, 8, 9, 10]), before)
    close(s['lists: share of items shown'], .75)
    close(s['lists: log fame of what is shown'], np.log([100, 10, 100, 1]).mean())
    close(s['lists: overlap with the round before'], 1 - .5*(0 + .25 + .25))
    s = response_signs(log, group)
    close([s['responses: mean'], s['responses: mean of x'], s['responses: mean of y'], s['responses: mean rank']], [.5, .5, 0, 1.5])

# ---- Roll-out

def chance_of(p): return lambda n, rng: rng.random(n) < p

def test_a_bad_page_stops_early_and_a_good_one_goes_through():
    runs = {p: [roll_out(chance_of(.35), chance_of(p), seed=s) for s in range(150)] for p in (.15, .35, .37)}
    stopped = {p: np.mean([t.decision.iloc[-1] == 'roll back' for t in r]) for p, r in runs.items()}
    assert stopped[.15] == 1 and np.mean([t.met.iloc[-1] for t in runs[.15]]) < 700
    assert stopped[.35] <= .09 and stopped[.37] <= .03                 # at most 5 % promised, 150 runs
    t = runs[.35][0]
    assert list(t.share) == [.01, .05, .25, 1][:len(t)] and t.decision.iloc[0] in ('go on', 'roll back')

def test_roll_out_by_hand():
    t = roll_out(lambda n, rng: np.arange(n) % 2, lambda n, rng: np.arange(n) % 4 == 0, steps=(.5, 1), n=100)
    close(t.difference[0], 13/50 - .5)
    z = 1.959964
    close(t.limit[0], -z*math.sqrt(np.var(np.arange(50) % 2, ddof=1)/50 + np.var(np.arange(50) % 4 == 0, ddof=1)/50), eps=1e-5)
    assert t.decision[0] == 'roll back' and len(t) == 1
