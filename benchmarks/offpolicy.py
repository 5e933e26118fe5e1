"""Off-policy estimators and A/B tests against the truth of simulated worlds: bias, coverage, variance, false alarms, power.

    OMP_NUM_THREADS=1 python benchmarks/offpolicy.py            # 1,000 logs on each of three worlds, 2,000 tests
    OMP_NUM_THREADS=1 python benchmarks/offpolicy.py 100        # a tenth of both, to try it out

A page of one place shows one of 20 films. The old policy goes by fame, the new one by `ImplicitALS`; the chance of a click is a
logistic function of true utility. Every estimate is made by the functions of the library from a table of rows."""
import os, sys, warnings

for o in ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS'): os.environ.setdefault(o, '1')     # before NumPy is loaded

import numpy as np, pandas as pd
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from measure import table

from recsys_course.implicit import ImplicitALS, to_implicit
from recsys_course.offpolicy import (ab_test, always_valid, arm_of, doubly_robust, draw_places, interleaving_test, ips, list_chances, needed, place_chances, power, running_moments,
                                     softmax_chances, snips, team_draft, welch)
from recsys_course.simulate import World

class Page:
    "A world, its people, some famous films, and what is true of them"
    def __init__(self, seed=42, n_films=20):
        self.world = World(seed)
        data = self.world.sample()
        self.films = data.df['item'].value_counts().index[:n_films].to_numpy()
        self.users = np.array(self.world.users.ids)
        self.click = expit(2*(self.world.utility(self.users[:, None], self.films[None]) - 3.5))
        als = ImplicitALS(seed=0).fit(to_implicit(data, 4))
        s = als.scores(als.users.encode(self.users))[:, als.items.encode(self.films)]
        self.scores = (s - s.mean(1, keepdims=True))/s.std(1, keepdims=True)
        fame = np.log(data.df['item'].value_counts()[self.films].to_numpy(float))
        self.fame = np.tile(fame, (len(self.users), 1))
        self.old = softmax_chances(2*self.fame)

    def value(self, chances): return float((chances*self.click).sum(1).mean())

    def log(self, new, n, rng, old=None):
        "n visits of people drawn by lot to a page of one place"
        old = self.old if old is None else old
        u = rng.integers(len(self.users), size=n)
        a, given = draw_places(old[u], 1, rng)
        a, given = a[:, 0], given[:, 0]
        return pd.DataFrame(dict(user=self.users[u], item=self.films[a], rank=1, score=self.fame[u, a], propensity=given, response=(rng.random(n) < self.click[u, a]).astype(int),
                                 time=np.arange(n), target=new[u, a], u=u, a=a))

    def predictions(self, rng, features, n=2000):
        "Chance of a click of all people and films, as a logistic model of another log has it"
        log = self.log(self.old, n, rng)
        model = LogisticRegression().fit(features(log.u.to_numpy(), log.a.to_numpy()), log.response)
        u, a = np.indices(self.click.shape).reshape(2, -1)
        return model.predict_proba(features(u, a))[:, 1].reshape(self.click.shape)

def row_of(name, est, truth):
    "Bias in its standard errors, spread, and coverage of many estimates"
    v = np.array([e.value for e in est])
    bias, error = v.mean() - truth, v.std(ddof=1)/len(v)**.5
    covered = np.mean([e.low <= truth <= e.high for e in est])
    return [name, f'{truth:.4f}', f'{bias:+.4f}', f'{bias/error:+.1f}', f'{v.std():.4f}', f'{100*covered:.1f}', f'{100*np.mean([bool(e.warning) for e in est]):.0f}']

def estimators(n_logs, seeds=(42, 1, 2), n=2000):
    rows, flagged = [], []
    for seed in seeds:
        page, rng = Page(seed), np.random.default_rng(seed)
        new, films = softmax_chances(page.scores, .7), np.eye(20)
        truth = page.value(new)
        models = {'film': page.predictions(rng, lambda u, a: films[a]), 'film and score': page.predictions(rng, lambda u, a: np.column_stack([films[a], page.scores[u, a]]))}
        made = {'ips': [], 'snips': [], **{f'doubly robust, {m}': [] for m in models}}
        for _ in range(n_logs):
            log = page.log(new, n, rng)
            made['ips'].append(ips(log))
            made['snips'].append(snips(log))
            for m, q in models.items(): made[f'doubly robust, {m}'].append(doubly_robust(log, 'target', q[log.u, log.a], (new*q).sum(1)[log.u]))
        spread = {m: np.std([e.value for e in es]) for m, es in made.items()}
        for m, es in made.items(): rows.append([seed, *row_of(m, es, truth), f"{(spread['ips']/spread[m])**2:.2f}"])
        print(*rows[-4:], sep='\n', file=sys.stderr, flush=True)
        blind = np.where(np.arange(20) < 15, page.old, 0)
        blind /= blind.sum(1, keepdims=True)
        told, tested, without = 0, 0, []
        for _ in range(n_logs):
            log = page.log(new, n, rng, blind)
            u = log.u.to_numpy()
            every = pd.DataFrame(dict(propensity=blind[u].ravel(), target=new[u].ravel()))
            e = ips(log, candidates=every)
            told += e.warning.startswith('the old policy never')
            bare = ips(log)
            tested += bare.warning.endswith('support is weak')
            without.append(bare)
        flagged.append([seed, f'{100*new[:, 15:].sum(1).mean():.1f}', f'{np.mean([e.value for e in without]) - truth:+.4f}', f'{100*told/n_logs:.1f}', f'{100*tested/n_logs:.1f}'])
        print(flagged[-1], file=sys.stderr, flush=True)
    return rows, flagged

def lists(n_logs, n=2000, k=3, m=6):
    "Places of a list: three estimators where people read by place, and where they stop at the first click"
    page, rng = Page(42, m), np.random.default_rng(0)
    look = np.array([1, .6, .4])
    new = softmax_chances(page.scores, 1)
    kinds, p_new = list_chances(new, k)
    by_place = {'old': place_chances(page.old, k), 'new': place_chances(new, k)}
    q = page.click*.5
    truth = {'by place': float((by_place['new']*q[:, None]*look[:, None]).sum((1, 2)).mean()), 'cascade': float((p_new*(1 - np.prod(1 - q[:, kinds], axis=2))).sum(1).mean())}
    made = {(r, s): [] for r in truth for s in ('independent', 'cascade', 'standard')}
    for _ in range(n_logs):
        u = rng.integers(len(page.users), size=n)
        shown, given = draw_places(page.old[u], k, rng)
        left, then = np.ones(n), np.empty((n, k))
        for j in range(k):
            then[:, j] = new[u, shown[:, j]]/left
            left -= new[u, shown[:, j]]
        places = np.arange(k)
        old_at, new_at = (by_place[o][u[:, None], places, shown] for o in ('old', 'new'))
        would = rng.random((n, k)) < q[u[:, None], shown]
        first = np.cumsum(would, 1) - would == 0
        clicks = {'by place': rng.random((n, k)) < q[u[:, None], shown]*look, 'cascade': would & first}
        base = pd.DataFrame(dict(user=np.repeat(page.users[u], k), item=page.films[shown].ravel(), rank=np.tile(places + 1, n), list=np.repeat(np.arange(n), k), place=old_at.ravel(),
                                 given=given.ravel(), target=new_at.ravel(), then=then.clip(0, 1).ravel()))
        for reading in truth:
            log = base.assign(response=clicks[reading].ravel().astype(int))
            made[reading, 'independent'].append(ips(log, propensity='place'))
            for s in ('cascade', 'standard'): made[reading, s].append(ips(log, 'then', propensity='given', slate=s))
    return [[reading, *row_of(s, es, truth[reading])] for (reading, s), es in made.items()]

def null_tests(n_tests, seeds=(42, 1, 2)):
    "False alarms of ab_test on people (several rows each) and of the same rows taken as independent; all arms by hash"
    rows = []
    for seed in seeds:
        page, rng = Page(seed), np.random.default_rng(seed)
        visits = 1 + rng.poisson(3*rng.gamma(.65, 1, len(page.users)))
        u = np.repeat(np.arange(len(page.users)), visits)
        rate = (page.old*page.click).sum(1)
        before = rng.binomial(20, rate)/20
        wrong = np.zeros(3)
        for t in range(n_tests):
            own = 4*page.click[:, rng.integers(20)] - 2               # everybody has days of their own
            chance = expit(own + np.log(rate/(1 - rate)))
            df = pd.DataFrame(dict(user=page.users[u], arm=arm_of(page.users, f'world {seed}, test {t}')[u], response=(rng.random(len(u)) < chance[u]).astype(int)))
            a, b = (df.response[df.arm == o].to_numpy(float) for o in 'AB')
            wrong += [ab_test(df).p[0] < .05, ab_test(df.assign(before=before[u])).p[0] < .05, welch(a, b)[3] < .05]
        rows.append([seed, n_tests, *(f'{100*o/n_tests:.1f}' for o in wrong)])
    return rows

def peeking(n_tests, n=2000, p=.5, effect=.1):
    "Look after every ten people: how often does a test of two equal arms find something?"
    rng = np.random.default_rng(2)
    naive = always = 0
    z_stop = found = 0
    for _ in range(max(n_tests//100, 1)):
        for lift in (0, effect):
            new = rng.random((100, n)) < .5
            y = (rng.random((100, n)) < p + lift*new).astype(float)
            m, v = zip(*[running_moments(np.where(new == o, y, 0), new == o) for o in (False, True)])
            k = [np.cumsum(new == o, 1) for o in (False, True)]
            at = np.arange(99, n, 10)
            d, var = (m[1] - m[0])[:, at], (v[0]/k[0] + v[1]/k[1])[:, at]
            stop = (always_valid(d, var, effect)[0] < .05).any(1).sum()
            if lift: found += stop
            else:
                naive += (abs(d)/np.sqrt(var) > 1.96).any(1).sum()
                z_stop += (abs(d[:, -1])/np.sqrt(var[:, -1]) > 1.96).sum()
                always += stop
    total = 100*max(n_tests//100, 1)
    return [['p < .05 at any of 191 looks', total, f'{100*naive/total:.1f}'], ['p < .05 at the end only', total, f'{100*z_stop/total:.1f}'],
            ['always_valid at any look', total, f'{100*always/total:.1f}'], [f'always_valid finds an effect of {effect}', total, f'{100*found/total:.1f}']]

def powers(n_tests, sd=1.):
    "Power as computed, and as found"
    rng, rows = np.random.default_rng(3), []
    for effect, share in ((.2, .5), (.1, .5), (.2, .2)):
        n = needed(effect, sd, share=share)
        new = round(n*share)
        hits = 0
        for _ in range(n_tests//50 or 1): hits += (welch(rng.normal(0, sd, (50, n - new)), rng.normal(effect, sd, (50, new)))[3] < .05).sum()
        rows.append([effect, share, n, f'{100*float(power(effect, sd, n, share)):.1f}', f'{100*hits/(50*(n_tests//50 or 1)):.1f}'])
    return rows

def interleaving(n_tests, k=4):
    "People for 80 % power by an A/B test of clicks per page and by team draft, and the power found with so many"
    page, rows, look = Page(), [], np.array([1, .6, .4, .3])
    n = len(page.users)
    fame = (page.fame - page.fame.mean())/page.fame.std()
    for taste, n_pages in ((.2, 5), (.4, 1), (.4, 5)):
        rng = np.random.default_rng(4)
        ranks = [np.argsort(-o, axis=1, kind='stable') for o in (fame, fame + taste*page.scores)]
        at = np.arange(n)[:, None]
        draw = lambda shown, u: (rng.random(shown.shape) < page.click[u, shown]*look)
        def plain(who, o): return sum(draw(ranks[o][who, :k], who[:, None]).sum(1) for _ in range(n_pages))
        def votes(who):
            res = 0
            for _ in range(n_pages):
                items, teams = team_draft(ranks[0][who], ranks[1][who], k, rng)
                res = res + (draw(items, who[:, None])*np.where(teams == 'B', 1, -1)).sum(1)
            return res
        many = np.tile(np.arange(n), 10)
        a, b, d = plain(many, 0), plain(many, 1), votes(many)
        exact = n_pages*((page.click[at, ranks[1][:, :k]] - page.click[at, ranks[0][:, :k]])*look).sum(1).mean()
        people = needed(exact, ((a.var() + b.var())/2)**.5), needed(d.mean(), d.std()/2)
        found = [0, 0]
        for _ in range(n_tests):
            who = rng.integers(n, size=people[0])
            half = len(who)//2
            found[0] += welch(plain(who[:half], 0).astype(float), plain(who[half:], 1).astype(float))[3] < .05
            d = votes(rng.integers(n, size=people[1]))
            found[1] += interleaving_test(pd.DataFrame(dict(user=np.arange(len(d)), team='B', response=d))).p[0] < .05
        rows.append([taste, n_pages, *people, f'{people[0]/people[1]:.1f}', *(f'{100*o/n_tests:.0f}' for o in found)])
    return rows

def main(n=1000):
    "Markdown lines"
    warnings.simplefilter('ignore')
    found, flagged = estimators(n)
    head = ['estimator', 'true value', 'bias', 'in its standard errors', 'spread', 'intervals that cover, %', 'warned, %']
    return [f'### Estimators, {n:,} logs of 2,000 rows on each of three worlds', '', *table(['world', *head, "variance of ips over its own"], found), '',
            '### Five of 20 films that the old page never showed', '', *table(['world', 'chance that the new page gives them, %', 'bias of ips', 'flagged with candidates, %', 'flagged by the weights alone, %'], flagged), '',
            f'### Lists of three places, {max(n//2, 1):,} logs of 2,000 lists', '', *table(['people read', *head], lists(max(n//2, 1))), '',
            '### Tests of two equal arms: false alarms, %', '', *table(['world', 'tests', 'ab_test', 'ab_test with CUPED', 'rows as if independent'], null_tests(2*n)), '',
            '### Looking at a running test', '', *table(['rule', 'tests', 'stopped, %'], peeking(2*n)), '',
            '### Interleaving', '', *table(['weight of taste in the new ranking', 'pages per person', 'people, A/B test', 'people, team draft', 'ratio', 'A/B finds, %', 'team draft finds, %'], interleaving(max(n//2, 1))), '',
            '### Power', '', *table(['effect in standard deviations', 'share of the new arm', 'people, by needed', 'power computed, %', 'found, %'], powers(5*n)), '']

if __name__ == '__main__': print('\n'.join(main(*map(int, sys.argv[1:]))))
