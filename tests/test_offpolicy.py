"Estimators against loops, closed forms and the truth of a small world; tests on people against SciPy, by hand and under the null"

import numpy as np, pandas as pd, pytest
from fastcore.test import test_close as close
from scipy import stats

from recsys_course.core import LOG
from recsys_course.offpolicy import (ab_test, always_valid, arm_of, by_user, check_log, clustered_error, cuped, doubly_robust, draw_places, expected_from, interleaving_test, ips,
                                     list_chances, list_codes, missing_mass, needed, open_bandit_log, place_chances, power, ratio_mismatch, running_moments, sequential_test, snips,
                                     softmax_chances, target_chances, team_draft, welch)

pytestmark = pytest.mark.filterwarnings('ignore::UserWarning')

# ---- A small world: five kinds of people, six items, all chances known

N_USERS, N_ITEMS = 5, 6

def chances(seed, low=.03):
    p = np.random.default_rng(seed).dirichlet(np.ones(N_ITEMS), N_USERS) + low
    return p/p.sum(1, keepdims=True)

OLD, NEW, CLICK = chances(0, .1), chances(1), np.random.default_rng(2).uniform(.1, .9, (N_USERS, N_ITEMS))
TRUTH = (NEW*CLICK).sum(1).mean()

def visits(n, rng, old=OLD, new=NEW):
    "A log of a page of one place"
    u = rng.integers(N_USERS, size=n)
    a, given = (o[:, 0] for o in draw_places(old[u], 1, rng))
    r = (rng.random(n) < CLICK[u, a]).astype(int)
    return pd.DataFrame(dict(user=u, item=a, rank=1, score=0., propensity=given, response=r, time=np.arange(n), target=new[u, a], predicted=CLICK[u, a] + .1, expected=(new*(CLICK + .1)).sum(1)[u]))

def listed(n=30, seed=0, k=3):
    "A log of lists in mixed order, with weights of any size"
    rng = np.random.default_rng(seed)
    df = pd.DataFrame(dict(user=np.repeat(rng.integers(8, size=n), k), item=rng.integers(20, size=n*k), rank=np.tile(np.arange(1, k + 1), n), propensity=rng.uniform(.1, 1, n*k),
                           response=rng.normal(size=n*k), target=rng.uniform(0, 1, n*k), list=np.repeat(rng.permutation(n) + 100, k)))
    return df.sample(frac=1, random_state=seed)

# ---- Equal to loops

def loop_weight(log, row, slate, target='target'):
    "Product of ratios over the rows that count"
    mine = log[log.list == row.list]
    if slate == 'independent': mine = mine[mine['rank'] == row['rank']]
    if slate == 'cascade': mine = mine[mine['rank'] <= row['rank']]
    w = 1.
    for _, o in mine.iterrows(): w *= o[target]/o.propensity
    return w

@pytest.mark.parametrize('slate', ['independent', 'cascade', 'standard'])
@pytest.mark.parametrize('clip', [None, 1.5])
def test_ips_against_loops(slate, clip):
    log, sums = listed(), {}
    for _, row in log.iterrows():
        w = loop_weight(log, row, slate)
        sums[row.list] = sums.get(row.list, 0) + (w if clip is None else min(w, clip))*row.response
    x = np.array(list(sums.values()))
    e = ips(log, slate=slate, clip=clip)
    close(e.value, x.mean())
    close(e.se, x.std(ddof=1)/len(x)**.5)
    close([e.low, e.high], x.mean() + np.array([-1, 1])*stats.norm.ppf(.975)*e.se)
    w = np.array([loop_weight(log, row, slate) for _, row in log.iterrows()])
    close(e.largest, w.max())
    close(e.ess, w.sum()**2/(w**2).sum()/3)
    assert e.n == 30

@pytest.mark.parametrize('slate', ['independent', 'cascade', 'standard'])
def test_snips_against_loops(slate):
    log, total = listed(seed=1), 0
    for k in (1, 2, 3):
        over = under = 0
        for _, row in log[log['rank'] == k].iterrows():
            w = loop_weight(log, row, slate)
            over, under = over + w*row.response, under + w
        total += over/under
    close(snips(log, slate=slate).value, total)

def test_snips_error_is_that_of_a_ratio():
    log = visits(4000, np.random.default_rng(0))
    w, r = (log.target/log.propensity).to_numpy(), log.response.to_numpy()
    v = (w*r).sum()/w.sum()
    close(snips(log).se, (w**2*(r - v)**2).sum()**.5/w.sum(), eps=1e-5)
    draws = [snips(log.sample(frac=1, replace=True, random_state=k).assign(time=np.arange(4000))).value for k in range(200)]
    assert .8 < np.std(draws)/snips(log).se < 1.2

def test_doubly_robust_against_loops():
    log, sums = listed(seed=2).assign(q=.3, e=.2), {}
    log['q'] += np.arange(len(log))/100
    for _, row in log.iterrows(): sums[row.list] = sums.get(row.list, 0) + row.e + row.target/row.propensity*(row.response - row.q)
    e = doubly_robust(log, 'target', 'q', 'e')
    close(e.value, np.mean(list(sums.values())))
    close(e.se, np.std(list(sums.values()), ddof=1)/30**.5)
    close(doubly_robust(log, 'target', np.zeros(90), np.zeros(90)).value, ips(log).value)

def test_expected_comes_from_candidates():
    log = listed(4)
    every = pd.concat([pd.DataFrame(dict(list=l, rank=k, item=range(3), target=[.5, .3, .2], predicted=np.array([1, 2, 3.])*l*k)) for l in log.list.unique() for k in (1, 2, 3)])
    close(expected_from(log, every), 1.7*log.list*log['rank'])
    a, b = doubly_robust(log, 'target', 'response', candidates=every), doubly_robust(log, 'target', 'response', expected_from(log, every))
    assert a == b
    with pytest.raises(ValueError, match='no candidates for'): expected_from(log, every[every['rank'] > 1])

def test_units_hang_together():
    log = listed()
    per = ips(log)
    log['user'] = log.list
    assert ips(log, unit='user') == per
    doubled = pd.concat([log, log.assign(list=log.list + 1000)])
    close(ips(doubled, unit='user').se, per.se)                  # the same people twice tell nothing new
    assert ips(doubled).se < .75*per.se
    assert np.isnan(clustered_error(np.array([0., 0]), np.array([0, 0])))

def test_order_of_rows_and_names_do_not_matter():
    log = listed()
    e = ips(log, slate='cascade')
    f = ips(log.sort_values(['rank', 'response']).assign(list=lambda d: 'l' + d.list.astype(str)), slate='cascade')
    close([e.value, e.se, e.ess], [f.value, f.se, f.ess])

def test_closed_form_when_the_new_page_is_the_old():
    log = visits(500, np.random.default_rng(3), new=OLD)
    for e in (ips(log), snips(log)):
        close(e.value, log.response.mean())
        close([e.ess, e.largest], [500, 1])
        assert e.warning == ''

def test_inputs_stay_and_warning_is_raised():
    log = visits(40, np.random.default_rng(3))
    before = log.copy()
    for f in (ips, snips, doubly_robust): f(log) if f is not doubly_robust else f(log, expected='expected')
    pd.testing.assert_frame_equal(log, before)
    with pytest.warns(UserWarning, match='ips: 40 lists tell as much as'): ips(log, NEW[log.user, log.item])

# ---- The truth of many logs. Seeds are fixed: these counts hold at any load

@pytest.fixture(scope='module')
def many():
    rng, made = np.random.default_rng(4), {'ips': [], 'snips': [], 'dr': [], 'clipped': []}
    for _ in range(500):
        log = visits(600, rng)
        made['ips'].append(ips(log))
        made['snips'].append(snips(log))
        made['dr'].append(doubly_robust(log, expected='expected'))
        made['clipped'].append(ips(log, clip=1.5))
    return made

@pytest.mark.parametrize('name', ['ips', 'snips', 'dr'])
def test_unbiased_and_intervals_cover(many, name):
    v = np.array([e.value for e in many[name]])
    assert abs(v.mean() - TRUTH) < 3*v.std()/500**.5
    assert .92 < np.mean([e.low <= TRUTH <= e.high for e in many[name]]) < .98
    assert .9 < np.mean([e.se for e in many[name]])/v.std() < 1.1
    assert np.mean([e.warning != '' for e in many[name]]) < .02

def test_variance_falls_and_clipping_is_biased(many):
    spread = {m: np.std([e.value for e in es]) for m, es in many.items()}
    assert (spread['ips']/spread['dr'])**2 > 1.5
    assert spread['clipped'] < spread['ips']
    assert np.mean([e.value for e in many['clipped']]) < TRUTH - .02

def test_without_support_every_log_is_flagged():
    old = OLD.copy()
    old[:, :2] = 0
    old /= old.sum(1, keepdims=True)
    rng, weak = np.random.default_rng(5), 0
    for _ in range(100):
        log = visits(1000, rng, old)
        every = pd.DataFrame(dict(propensity=old[log.user].ravel(), target=NEW[log.user].ravel()))
        for e in (ips(log, candidates=every), snips(log, candidates=every), doubly_robust(log, expected='expected', candidates=every)): assert e.warning.startswith('the old policy never shows')
        weak += ips(log).warning.endswith('support is weak')
    assert weak >= 98
    close(missing_mass(every), NEW[log.user][:, :2].sum(1).mean())

def test_wrong_chances_are_told():
    log = visits(1000, np.random.default_rng(6))
    assert ips(log.assign(propensity=log.propensity/2)).warning.endswith('chances are wrong')

# ---- Lists

def test_places_against_sums_by_hand():
    p = np.array([[.5, .3, .2]])
    kinds, all_lists = list_chances(p, 2)
    want = {(0, 1): .5*.3/.5, (0, 2): .5*.2/.5, (1, 0): .3*.5/.7, (1, 2): .3*.2/.7, (2, 0): .2*.5/.8, (2, 1): .2*.3/.8}
    close(all_lists[0], [want[tuple(l)] for l in kinds])
    second = [sum(v for l, v in want.items() if l[1] == i) for i in range(3)]
    close(place_chances(p, 2)[0], [p[0], second])

def test_places_in_blocks():
    p = np.random.default_rng(0).dirichlet(np.ones(20), 700)                       # 6,840 lists: several blocks
    whole = place_chances(p, 3)
    close(whole[[0, 300, 699]], np.concatenate([place_chances(p[[o]], 3) for o in (0, 300, 699)]))
    close(whole.sum(2), np.ones((700, 3)))

def test_places_with_zeros_and_bounds():
    kinds, p = list_chances(np.array([[1, 0, 0.], [.5, .5, 0]]), 2)
    assert np.isfinite(p).all() and p[1].sum() == 1
    with pytest.raises(ValueError, match='take fewer candidates'): list_chances(np.ones((1, 60))/60, 4)

def test_draws_follow_chances():
    p = np.tile([.5, .3, .15, .05], (40_000, 1))
    shown, given = draw_places(p, 3, 0)
    want = place_chances(p[:1], 3)[0]
    for k in range(3): close(np.bincount(shown[:, k], minlength=4)/len(p), want[k], eps=.012)
    left = 1 - p[0][shown[:, 0]] - p[0][shown[:, 1]]
    close(given[:, 2], p[0][shown[:, 2]]/left)
    assert (draw_places(p[:50], 3, 7)[0] == draw_places(p[:50], 3, 7)[0]).all()
    with pytest.raises(ValueError, match='k=3 places'): draw_places(np.array([[.5, .5, 0]]), 3)

def test_cascade_needs_the_cascade():
    "People stop at the first click: weights by place are biased, weights of the rows above are not"
    old, new, q, k, n = np.array([[.7, .1, .1, .1]]), np.array([[.1, .1, .2, .6]]), np.array([.9, .1, .3, .5]), 2, 400_000
    kinds, p = list_chances(new, k)
    truth = float((p[0]*(1 - (1 - q[kinds]).prod(1))).sum())
    shown, given = draw_places(np.repeat(old, n, 0), k, 1)
    then = np.stack([new[0][shown[:, 0]], new[0][shown[:, 1]]/(1 - new[0][shown[:, 0]])], 1)
    would = np.random.default_rng(2).random((n, k)) < q[shown]
    click = would & (np.cumsum(would, 1) == 1)
    at = [place_chances(o, k)[0][np.arange(k), shown] for o in (old, new)]
    log = pd.DataFrame(dict(user=0, item=shown.ravel(), rank=np.tile([1, 2], n), list=np.repeat(np.arange(n), k), response=click.ravel().astype(int), propensity=given.ravel(), target=then.ravel(),
                            place=at[0].ravel(), new_place=at[1].ravel()))
    for slate in ('cascade', 'standard'):
        e = ips(log, slate=slate)
        assert abs(e.value - truth) < 3.5*e.se
    bad = ips(log, 'new_place', propensity='place')
    assert abs(bad.value - truth) > 10*bad.se

# ---- The log

def test_what_is_refused():
    log = listed()
    for change, text in [(dict(propensity=0.), 'propensity is 0.0 in row'), (dict(propensity=np.nan), 'propensity is nan'), (dict(propensity=1.5), 'propensity is 1.5'), (dict(response=np.nan), 'no number as response'),
                         (dict(rank=0), 'rank must be'), (dict(target=1.5), 'between 0 and 1'), (dict(target=np.nan), 'between 0 and 1'), (dict(list=1), 'two items at rank')]:
        with pytest.raises(ValueError, match=text): ips(log.assign(**change))
    for c in ('user', 'item', 'rank', 'response', 'propensity'):
        with pytest.raises(ValueError, match=f'the log lacks {c}'): ips(log.drop(columns=c))
    with pytest.raises(ValueError, match='the log has no rows'): ips(log[:0])
    with pytest.raises(ValueError, match='clip'): ips(log, clip=0)
    with pytest.raises(ValueError, match='slate'): ips(log, slate='page')
    with pytest.raises(ValueError, match='one chance for each'): ips(log, [.5])
    with pytest.raises(ValueError, match='give expected'): doubly_robust(log, 'target', 'response')
    with pytest.raises(ValueError, match='a number per row'): doubly_robust(log, 'target', [1.], 'response')

def test_odd_logs():
    one = pd.DataFrame(dict(user=['a'], item=['x'], rank=[1], propensity=[.5], response=[1], target=[.5]))
    e = ips(one)
    assert e.value == 1 and np.isnan(e.se) and e.n == 1
    never = one.assign(target=0.)
    assert ips(never).value == 0 and snips(never).value == 0
    same = visits(50, np.random.default_rng(0)).assign(response=1)
    close(snips(same).value, 1)
    close(snips(same).se, 0)

def test_lists_by_column_time_or_row():
    log = listed()
    codes = list_codes(log)
    for _, part in log.assign(code=codes).groupby('list'): assert part.code.nunique() == 1
    timed = log.rename(columns={'list': 'time'})
    assert (list_codes(timed) == codes).all()
    assert (list_codes(log.drop(columns='list')) == np.arange(len(log))).all()
    assert (target_chances(log, lambda d: d.propensity) == log.propensity).all()

def test_columns_of_arrow_and_categories():
    log = listed()
    other = log.assign(user=pd.Categorical(log.user.astype(str)), response=log.response.astype('Float64'), rank=log['rank'].astype('Int64'))
    close(ips(other, slate='cascade').value, ips(log, slate='cascade').value)

def test_open_bandit(tmp_path):
    text = """,timestamp,item_id,position,click,propensity_score,user_feature_0,user_feature_1,user-item_affinity_0
0,2019-11-24 00:00:06.203000+00:00,14,3,0,0.0125,aa,bb,0.0
1,2019-11-24 00:00:21.350000+00:00,14,2,1,0.0125,aa,bb,0.0
2,2019-11-24 00:00:24+00:00,27,1,0,0.0250,cc,bb,0.0
3,2019-11-24 00:00:29.000000+00:00,48,1,0,0.0125,aa,bb,1.0
4,2019-11-24 00:00:29.000000+00:00,36,2,0,0.0125,dd,bb,0.0
"""
    (tmp_path/'all.csv').write_text(text)
    log = open_bandit_log(tmp_path/'all.csv')
    assert set(LOG) <= set(log) and len(log) == 5
    assert log['rank'].tolist() == [3, 2, 1, 1, 2] and log['item'].tolist() == [14, 14, 27, 48, 36]
    assert log.user.tolist() == [0, 0, 1, 0, 2] and log.response.tolist() == [0, 1, 0, 0, 0]
    assert log.time.dtype.kind == 'M' or 'datetime' in str(log.time.dtype)
    check_log(log)
    e = ips(log, lambda d: np.where(d['item'] == 14, .025, .0125))
    close(e.value, 2/5)
    frame = pd.read_csv(tmp_path/'all.csv', index_col=0)
    pd.testing.assert_frame_equal(open_bandit_log(frame.assign(position=frame.position - 1)), log)
    with pytest.raises(ValueError, match='it lacks click'): open_bandit_log(frame.drop(columns='click'))

def test_softmax_chances():
    p = softmax_chances([[0, np.log(3)]], epsilon=.2)
    close(p, [[.8*.25 + .1, .8*.75 + .1]])
    assert softmax_chances([[1., 2]], 1e-3)[0, 1] > .999
    with pytest.raises(ValueError, match='temperature'): softmax_chances([[1]], 0)
    with pytest.raises(ValueError, match='epsilon'): softmax_chances([[1]], epsilon=2)

# ---- Tests on people

def test_welch_is_scipy():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 1, (4, 30)), rng.normal(.5, 3, (4, 50))
    want = stats.ttest_ind(b, a, axis=1, equal_var=False)
    d, low, high, p = welch(a, b)
    close(p, want.pvalue)
    ends = want.confidence_interval(.95)
    close(low, ends.low)
    close(high, ends.high)
    close(d, b.mean(1) - a.mean(1))

def people(n=400, seed=0, lift=0., rows=3):
    rng = np.random.default_rng(seed)
    own, arm = rng.normal(size=n), arm_of(range(n), f't{seed}')
    u = np.repeat(np.arange(n), rows)
    return pd.DataFrame(dict(user=u, arm=arm[u], response=own[u] + rng.normal(size=len(u)) + lift*(arm[u] == 'B'), other=rng.normal(size=len(u)), before=own[u] + .3*np.sin(u), time=rng.permutation(len(u))))

def test_table_against_scipy():
    df = people(lift=.4)
    mean = df.groupby('user').response.mean()
    arm = df.groupby('user').arm.first()
    want = stats.ttest_ind(mean[arm == 'B'], mean[arm == 'A'], equal_var=False)
    row, = ab_test(df, before=None).itertuples()
    close(row.p, want.pvalue)
    close([row.low, row.high], list(want.confidence_interval()))
    close(row.relative, (row.mean - row.mean_control)/row.mean_control)
    assert (row.n_control, row.n) == ((arm == 'A').sum(), (arm == 'B').sum()) and row.verdict == 'B is better than A'
    summed = ab_test(df, before=None, how='sum').iloc[0]
    close(summed.difference, 3*row.difference)
    assert ab_test(df, control='B').verdict[0] == 'A is worse than B'

def test_cuped_is_a_regression():
    df = by_user(people(), ['response', 'before'])
    y, x = df.response.to_numpy(), df.before.to_numpy()
    left = y - np.polyval(np.polyfit(x, y, 1), x) + y.mean()
    close(cuped(y, x), left)
    close(cuped(y, np.ones(len(y))), y)
    with_it, without = ab_test(people(lift=.3)).iloc[0], ab_test(people(lift=.3), before=None).iloc[0]
    assert with_it.high - with_it.low < .8*(without.high - without.low)

def test_several_metrics_and_arms():
    df = people(600, lift=.0)
    third = df.assign(user=df.user + 1000, arm='C', response=df.response + 1)
    res = ab_test(pd.concat([df, third]), ['response', 'other'], before=None, shares=dict(A=.25, B=.25, C=.5))
    assert len(res) == 4 and res.arm.tolist() == ['B', 'C', 'B', 'C']
    assert res.verdict[1] == 'C is better than A' and all('not decided' in v for v in res.verdict.drop(1))

def test_mismatch_is_told():
    df = people(2000)
    short = df[~((df.arm == 'B') & (df.user % 5 == 0))]
    assert ab_test(short).verdict[0].startswith('do not read')
    assert not ab_test(df).verdict[0].startswith('do not read')
    close(ratio_mismatch([530, 470]), stats.chisquare([530, 470]).pvalue)
    close(ratio_mismatch([10, 30], [1, 3]), 1)

def test_people_are_refused():
    df = people(20)
    for change, text in [(dict(arm=['A', 'B']*30), 'is in two arms'), (dict(response=np.nan), 'rows without a number'), (dict(arm='A'), 'another of the arms')]:
        with pytest.raises(ValueError, match=text): ab_test(df.assign(**change))
    with pytest.raises(ValueError, match='must not be empty'): ab_test(df.assign(user=df.user.where(df.user > 3)))
    with pytest.raises(ValueError, match='the table lacks arm'): ab_test(df.drop(columns='arm'))
    with pytest.raises(ValueError, match='has one person'): ab_test(df[(df.arm == 'A') | (df.user == df.user[df.arm == 'B'].iloc[0])])
    same = ab_test(df.assign(response=1), before=None).iloc[0]
    assert same.difference == 0 and same.p == 1

def test_null_tests_raise_few_alarms_and_power_holds():
    rng = np.random.default_rng(7)
    p = welch(rng.normal(size=(4000, 60)), rng.normal(size=(4000, 60)))[3]
    assert .04 < (p < .05).mean() < .06
    n = needed(.5, 1.)
    hit = (welch(rng.normal(size=(4000, n//2)), rng.normal(.5, 1, (4000, n - n//2)))[3] < .05).mean()
    assert abs(hit - power(.5, 1, n)) < .02 and abs(power(.5, 1, n) - .8) < .01
    close(power(0, 1, 100), .05)
    with pytest.raises(ValueError, match='effect'): needed(0, 1)

def test_rows_of_one_person_are_not_independent():
    alarms = {'people': 0, 'rows': 0}
    for k in range(300):
        df = people(100, seed=k, rows=8)
        alarms['people'] += ab_test(df, before=None).p[0] < .05
        alarms['rows'] += welch(*(df.response[df.arm == a].to_numpy() for a in 'AB'))[3] < .05
    assert alarms['people'] < 27 and alarms['rows'] > 60

def test_peeking():
    rng = np.random.default_rng(8)
    y, new = rng.normal(size=(600, 1000)), rng.random((600, 1000)) < .5
    m, v = zip(*[running_moments(np.where(new == o, y, 0), new == o) for o in (False, True)])
    k = [np.cumsum(new == o, 1) for o in (False, True)]
    d, var = (m[1] - m[0])[:, 99:], (v[0]/k[0] + v[1]/k[1])[:, 99:]
    p, low, high = always_valid(d, var, .2)
    assert (p < .05).any(1).mean() < .05 and (abs(d)/var**.5 > 1.96).any(1).mean() > .2
    assert ((low > 0) | (high < 0)).any(1).mean() < .05
    assert (np.diff(p, axis=1) <= 0).all()

def test_mixture_by_integration():
    "The likelihood ratio is an integral over effects"
    d, v, t = .12, .003, .1
    grid = np.linspace(-2, 2, 400_001)
    ratio = (stats.norm.pdf(d, grid, v**.5)*stats.norm.pdf(grid, 0, t)).sum()*(grid[1] - grid[0])/stats.norm.pdf(d, 0, v**.5)
    close(always_valid(d, v, t)[0], min(1, 1/ratio), eps=1e-6)
    p, low, high = always_valid(np.array([d]), np.array([v]), t)
    edge = always_valid(high[0] - d, v, t)[0]
    close(edge, .05, eps=1e-6)                                    # the interval is where p stays above .05

def test_sequential_table():
    df = people(800, lift=.5)
    res = sequential_test(df, .3)
    last = ab_test(df, before=None).iloc[0]
    close(res.difference.iloc[-1], last.difference)
    assert res.n.iloc[-1] == 800 and (res.p.diff().dropna() <= 0).all() and res.decided.iloc[-1] and len(res) == 20
    assert not sequential_test(people(800), .3).decided.any()
    with pytest.raises(ValueError, match='two arms'): sequential_test(df, .3, control='C')
    with pytest.raises(ValueError, match='fewer than least'): sequential_test(df[df.user < 20], .3)

def test_arms_by_hash():
    users = np.arange(20_000)
    arms = arm_of(users, 'a', ('x', 'y', 'z'), (.5, .3, .2))
    assert ratio_mismatch([(arms == o).sum() for o in 'xyz'], [.5, .3, .2]) > .001
    other = arm_of(users, 'b', ('x', 'y', 'z'), (.5, .3, .2))
    assert stats.chi2_contingency(pd.crosstab(arms, other)).pvalue > .001          # another test, another assignment
    assert (arm_of([5, 'eve'], 'a') == arm_of(['5', 'eve'], 'a')).all()
    assert arm_of(users[:100], 'a').tolist() == arm_of(users, 'a')[:100].tolist()

# ---- Interleaving

def test_team_draft_is_fair():
    lists = dict(A=[1, 2, 3, 4], B=[3, 1, 5, 6])
    items, teams = team_draft(*(np.tile(l, (400, 1)) for l in lists.values()), 4, 0)
    for page, team in zip(items, teams):
        assert len(set(page)) == 4 and sorted(team) == ['A', 'A', 'B', 'B']
        for t, l in lists.items():
            mine = page[team == t].tolist()
            assert mine == sorted(mine, key=l.index)
    assert set(items[:, 0]) == {1, 3} and 160 < (teams[:, 0] == 'A').sum() < 240
    one = team_draft(['x', 'y'], ['x', 'zz'], 3)
    assert sorted(one[0]) == ['x', 'y', 'zz'] and one[0].shape == one[1].shape == (3,)
    assert len(set(team_draft([1, 2], [3], 3)[0])) == 3                            # a list runs out: the other chooses
    with pytest.raises(ValueError, match='k=4 places need as many items: a page has 3'): team_draft([1, 2], [3], 4)

def test_interleaving_by_hand():
    df = pd.DataFrame(dict(user=[1, 1, 2, 2, 3, 3, 4], team=list('ABABABB'), response=[0, 1, 1, 2, 0, 1, 0]))
    d = np.array([1, 1, 1, 0])
    row = interleaving_test(df).iloc[0]
    want = stats.ttest_1samp(d, 0)
    close([row.difference, row.p], [d.mean(), want.pvalue])
    close([row.low, row.high], list(want.confidence_interval()))
    with pytest.raises(ValueError, match='too few'): interleaving_test(df[:2])
