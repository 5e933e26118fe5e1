"""Policies that explore, beside MABWiser: regret over many seeds with bands, and seconds per 100,000 decisions, in one run.

    pip install mabwiser                                        # the peer; without it the benchmark says so and goes on
    OMP_NUM_THREADS=1 python benchmarks/explore.py              # 20 seeds
    OMP_NUM_THREADS=1 python benchmarks/explore.py 3            # to try it out

Bandits: ten films, chances of a click from Beta(1, 4), 2,000 visits, learning after each. Context: `World` with 20 films taken out of
its log and 10 known ones, days of 100 visits, learning at night; both sides see the same tastes of people, and regret is true regret. MABWiser's alpha of .03 was chosen on two of these worlds."""
import os, sys, time

for o in ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS'): os.environ.setdefault(o, '1')     # before NumPy is loaded

import numpy as np
from scipy.special import expit

from measure import table

from recsys_course.data import Interactions
from recsys_course.explore import EpsilonGreedy, ItemRegression, LinUCB, ThompsonSampling, beta_draws, lot_or_mean, means, optimistic, play, ucb1
from recsys_course.simulate import World

try: from mabwiser.mab import MAB, LearningPolicy
except ImportError: MAB = None

# ---- Ten films, no context

def chances_of(seed, n_films=10): return np.random.default_rng(1000 + seed).beta(1, 4, n_films)

RULES = {'greedy': means, 'greedy with optimism': optimistic(4), 'epsilon-greedy': lot_or_mean(.1), 'UCB1': ucb1, 'Thompson sampling': beta_draws}

def ours(rule, n_seeds, n):
    "Regret per seed, seconds per 100,000 decisions with all runs side by side, and with one run"
    pool, t = np.array([chances_of(s) for s in range(n_seeds)]), time.perf_counter()
    regret = play(rule, pool, n, n_seeds)[:, -1]
    side_by_side = (time.perf_counter() - t)/(n*n_seeds)*1e5
    t = time.perf_counter()
    play(rule, pool[0], n, 1)
    return regret, side_by_side, (time.perf_counter() - t)/n*1e5

def theirs(policy, n_seeds, n):
    "Regret per seed and seconds per 100,000 decisions of MABWiser, which learns after each visit"
    regret, seconds = [], 0.
    for s in range(n_seeds):
        p, rng = chances_of(s), np.random.default_rng(s)
        mab = MAB(list(range(len(p))), policy(), seed=s)
        t = time.perf_counter()
        mab.fit(list(range(len(p))), [0]*len(p))                 # it must have seen something
        lost = 0.
        for _ in range(n):
            a = mab.predict()
            mab.partial_fit([a], [int(rng.random() < p[a])])
            lost += p.max() - p[a]
        seconds += time.perf_counter() - t
        regret.append(lost)
    return np.array(regret), seconds/(n*n_seeds)*1e5

def band(r): return f'{np.mean(r):.1f} ({np.quantile(r, .1):.1f} to {np.quantile(r, .9):.1f})'

def bandits(n_seeds, n=2000):
    rows, time_of = [], {}
    for name, rule in RULES.items():
        r, many, one = ours(rule, n_seeds, n)
        rows.append([name, 'recsys_course', band(r), f'{many:.2f}', f'{one:.2f}', ''])
        time_of[name] = one
    if MAB is None: return rows
    peers = {'epsilon-greedy': lambda: LearningPolicy.EpsilonGreedy(.1), 'UCB1': lambda: LearningPolicy.UCB1(1.), 'Thompson sampling': lambda: LearningPolicy.ThompsonSampling()}
    for name, make in peers.items():
        r, seconds = theirs(make, n_seeds, n)
        rows.append([name, 'MABWiser', band(r), '', f'{seconds:.2f}', f'{seconds/time_of[name]:.1f}'])
    return rows

ALPHA = .03                                                    # of MABWiser's LinUCB and LinTS, the best for both of 1, .3, .1 and .03

# ---- People and films of a world

class Place:
    "A world with new films, the log of likes without them, and true chances of a click"
    def __init__(self, seed, n_new=20, n_known=10):
        world, rng = World(seed), np.random.default_rng(seed)
        data = world.sample()
        counts = data.df['item'].value_counts()
        self.new = rng.choice(counts.index[counts.between(20, 400)], n_new, replace=False)
        known = counts.index.difference(self.new, sort=False)[:n_known].to_numpy()
        df = data.df[~data.df['item'].isin(self.new)]
        self.likes = Interactions.from_df(df.assign(rating=(df.rating >= 4).astype(float)), item_info=data.item_info, user_info=data.user_info)
        self.people, self.films = np.array(world.users.ids), np.concatenate([known, self.new])
        self.click = expit(2*(world.utility(self.people[:, None], self.films[None]) - 3.5))

    def visitors(self, seed, n_days, visits): return np.random.default_rng(seed).integers(len(self.people), size=(n_days, visits))

def run_ours(place, make, n_days, visits, seed):
    "Loss per visit, and seconds of choosing and learning"
    policy, rng, lost, seconds = make().fit(place.likes), np.random.default_rng(seed), [], 0.
    for u in place.visitors(seed, n_days, visits):
        t = time.perf_counter()
        log = policy.choose(place.people[u], items=place.films, exclude_seen=False)
        seconds += time.perf_counter() - t
        a = np.array([{f: k for k, f in enumerate(place.films)}[i] for i in log['item']])
        log['response'] = (rng.random(len(u)) < place.click[u, a]).astype(int)
        lost.append((place.click[u].max(1) - place.click[u, a]).mean())
        t = time.perf_counter()
        policy.update(log)
        seconds += time.perf_counter() - t
    return np.mean(lost), seconds

def run_theirs(place, make, n_days, visits, seed, n_history=3000):
    "The same days; it learns of known films from the newest ratings of the log, tastes of people are ours"
    model = ItemRegression().fit(place.likes)
    X = model.user_factors[model.users.encode(place.people)]
    rng, lost = np.random.default_rng(seed), []
    df = place.likes.df[place.likes.df['item'].isin(place.films)].tail(n_history)
    mab = MAB(place.films.tolist(), make(), seed=seed)
    mab.fit(df['item'].tolist(), df.rating.tolist(), model.user_factors[model.users.encode(df.user)])
    column, seconds = {f: k for k, f in enumerate(place.films)}, 0.
    for u in place.visitors(seed, n_days, visits):
        t = time.perf_counter()
        picks = mab.predict(X[u])
        seconds += time.perf_counter() - t
        a = np.array([column[i] for i in picks])
        r = (rng.random(len(u)) < place.click[u, a]).astype(int)
        lost.append((place.click[u].max(1) - place.click[u, a]).mean())
        t = time.perf_counter()
        mab.partial_fit(list(picks), r.tolist(), X[u])
        seconds += time.perf_counter() - t
    return np.mean(lost), seconds

OURS = {'greedy': lambda: LinUCB(alpha=0), 'greedy with optimism': lambda: LinUCB(ItemRegression(optimism=1.), alpha=0), 'epsilon-greedy': lambda: EpsilonGreedy(epsilon=.1),
        'LinUCB': LinUCB, 'Thompson sampling': lambda: ThompsonSampling(n_draws=0), 'Thompson sampling, spread .3': lambda: ThompsonSampling(spread=.3, n_draws=0), 'Thompson sampling, chances of 100 draws': ThompsonSampling}

def context(n_seeds, n_days=15, visits=100):
    places, rows, time_of = [Place(s) for s in range(n_seeds)], [], {}
    n = n_seeds*n_days*visits
    def _row(name, library, run, make):
        lost, seconds = map(np.array, zip(*[run(p, make, n_days, visits, s) for s, p in enumerate(places)]))
        per = seconds.sum()/n*1e5
        if library == 'recsys_course': time_of[name], time_of[name, 'lost'] = per, lost
        ratio = '' if library == 'recsys_course' else f'{per/time_of[name]:.1f}'
        off = lost - time_of['greedy with optimism', 'lost'] if ('greedy with optimism', 'lost') in time_of else lost*np.nan
        wide = 1.96*off.std(ddof=1)/len(off)**.5 if len(off) > 1 else np.nan
        rows.append([name, library, f'{100*lost.mean():.2f} ({100*np.quantile(lost, .1):.2f} to {100*np.quantile(lost, .9):.2f})',
                     '' if np.isnan(off).all() else f'{100*off.mean():+.2f} ± {100*wide:.2f}', f'{per:.2f}', ratio])
    order = ['greedy with optimism', *(o for o in OURS if o != 'greedy with optimism')]
    for name in order: _row(name, 'recsys_course', run_ours, OURS[name])
    if MAB is not None:
        _row('LinUCB', 'MABWiser', run_theirs, lambda: LearningPolicy.LinUCB(alpha=ALPHA))
        _row('Thompson sampling', 'MABWiser', run_theirs, lambda: LearningPolicy.LinTS(alpha=ALPHA))
    return rows

def main(n_seeds=20):
    "Markdown lines"
    note = [] if MAB is not None else ['MABWiser is not installed: `pip install mabwiser` for the comparison.', '']
    return [f'### Ten films, 2,000 visits, {n_seeds} seeds', '', *note,
            *table(['rule', 'library', 'regret, mean (10 % to 90 %)', 's per 100,000 decisions, all runs at once', 'one run', 'ratio to ours'], bandits(n_seeds)), '',
            f'### New films of a world, 15 days of 100 visits, {n_seeds} worlds', '',
            *table(['policy', 'library', 'clicks lost per 100 visits (10 % to 90 %)', 'less greedy with optimism, paired', 's per 100,000 decisions', 'ratio to ours'], context(n_seeds)), '']

if __name__ == '__main__': print('\n'.join(main(*map(int, sys.argv[1:]))))
