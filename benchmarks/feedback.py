"""Loops of feedback in simulated worlds: time, what becomes of pages and people, cures, alarms, audits, roll-outs.

    OMP_NUM_THREADS=1 python benchmarks/feedback.py           # bands over six worlds of 943 people and 1,682 items
    OMP_NUM_THREADS=1 python benchmarks/feedback.py 2         # two worlds of 300 people and 500 items, to try it out

Every page lives in a world of its own, all alike at the start; people respond by true utility and by place."""
import os, sys, time, warnings

for o in ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS'): os.environ.setdefault(o, '1')     # before NumPy is loaded

import numpy as np, pandas as pd

from measure import table

from recsys_course.data import Interactions
from recsys_course.factorize import ALS
from recsys_course.feedback import (Calibrated, LivePage, Monitor, audit_groups, cap_voices, choose_labels, drawn_by_weight, equal_voices, input_signs, like_chances, likes_before, list_signs,
                                    look_chances, loud_group, people_groups, response_signs, roll_out, simulate_loop, true_of, true_regret)
from recsys_course.implicit import EASE, ImplicitALS
from recsys_course.recommender import Bias, Popular
from recsys_course.rerank import Fresh
from recsys_course.simulate import World

def als(): return ImplicitALS(n_factors=32, n_epochs=8, n_threads=1, seed=0)
def one_voice_counted(likes): return drawn_by_weight(equal_voices(likes))

FOUR = {'Popular': Popular, 'ImplicitALS': als, 'EASE': EASE, 'EASE with cures': LivePage(EASE, order=[Fresh(.2), Calibrated(.2)], n_explore=1, cap=.1, weigh='rating')}
CURES = {'EASE': EASE, 'EASE, weights': LivePage(EASE, weigh='rating'), 'EASE, cap': LivePage(EASE, cap=.1), 'EASE, exploration': LivePage(EASE, n_explore=1), 'EASE, Fresh': LivePage(EASE, order=[Fresh(.2)]),
         'EASE, exploration and Fresh': LivePage(EASE, order=[Fresh(.2)], n_explore=1), 'EASE, calibrated': LivePage(EASE, order=[Calibrated(.2)]), 'EASE, weights and cap': LivePage(EASE, cap=.1, weigh='rating'),
         'EASE, all five': FOUR['EASE with cures'], 'ImplicitALS': als, 'ImplicitALS, weights': LivePage(als, weigh='rating'), 'ImplicitALS, cap': LivePage(als, cap=.1),
         'Popular': Popular, 'Popular, weights by draw': LivePage(Popular, weigh='draw'), 'Popular, cap': LivePage(Popular, cap=.1)}

def band(x): return f'{np.mean(x):.2f} ({np.min(x):.2f} to {np.max(x):.2f})'

def loops(n_worlds, size, pages, n_rounds=12, offline=True):
    "Seconds per world, and a row per page: first and last round, mean and band over worlds"
    frames, seconds = [], []
    for s in range(n_worlds):
        t = time.perf_counter()
        frames.append(simulate_loop(World(s + 1, *size), pages, n_rounds, seed=s, offline=offline).rounds.assign(world=s))
        seconds.append(time.perf_counter() - t)
        print('world', s, f'{seconds[-1]:.0f} s', file=sys.stderr, flush=True)
    r = pd.concat(frames)
    rows = []
    columns = ['ndcg', 'regret', 'likes', 'coverage', 'gini', 'new', 'utility niche', 'utility others']
    for name in pages:
        for t in (1, n_rounds):
            part = r[(r.model == name) & (r['round'] == t)]
            rows.append([name, t, *(band(part[c]) if c in part and part[c].notna().all() else '' for c in columns)])
    return seconds, ['page', 'round', *columns], rows, r

def loud(n_worlds, size, n_rounds=6):
    "Audience bias: 5 % of the people give 60 % of the ratings"
    pages = {'Popular': Popular, 'Popular, one voice each': LivePage(Popular, weigh=one_voice_counted), 'Popular, 5 likes each': LivePage(Popular, weigh=lambda t: cap_voices(t, 5)), 'EASE': EASE,
             'EASE, one voice each': LivePage(EASE, weigh=equal_voices), 'EASE, 10 likes each': LivePage(EASE, weigh=lambda t: cap_voices(t, 10)), 'ImplicitALS': als,
             'ImplicitALS, one voice each': LivePage(als, weigh=equal_voices)}
    frames = []
    for s in range(n_worlds):
        world, log, fans, theirs = loud_group(World(s + 1, *size), n_ratings=40*size[0], seed=s)
        people = {'fans': fans, 'rest': np.setdiff1d(world.users.ids, fans)}
        start = log.take(log.codes()[2] >= 4)
        frames.append(simulate_loop(world, pages, n_rounds, start=start, people=people, items={'loud': theirs}, offline=False, seed=s).rounds.assign(world=s))
    r = pd.concat(frames)
    return [[name, *(band(r[(r.model == name) & (r['round'] == t)][c]) for t in (1, n_rounds) for c in ('share loud', 'utility rest', 'utility fans'))] for name in pages]

# ---- Monitor

class Traffic:
    "A live page in a quiet world: each day some people come, are shown lists, and answer"
    def __init__(self, seed, n_users=300, n_items=500, n_visitors=200):
        self.world = World(seed, n_users, n_items)
        truth = true_of(self.world, 1, new=0, seed=seed)
        self.start = likes_before(self.world, truth, seed=seed)
        self.page, self.like = LivePage(EASE, n_explore=1).fit(self.start), like_chances(truth.utility)
        self.seen, self.every = self.start.csr('ones'), np.ones(n_items + 1, bool)
        self.fame, self.n = self.start.df['item'].value_counts().reindex(self.world.items.ids, fill_value=0), n_visitors
        self.group, rng = people_groups('age', self.start), np.random.default_rng([seed, 9])
        self.price = np.r_[0, np.exp(rng.normal(2, .5, n_items))]
        self.app = rng.random(n_users + 1) < .4
        self.young, self.wrong, self.last = self.group.min(), np.r_[0, 1 + rng.permutation(n_items)], None

    def day(self, rng, fault='', dose=1.):
        "Signs of one day; with a fault in a share (`dose`) of what it is about"
        u = rng.choice(np.arange(1, len(self.world.users)), self.n, replace=False)
        shown, score, chance = self.page.lists(u, self.seen, 10, self.every, rng)
        if fault == 'items permuted': shown = np.where((rng.random(len(u)) < dose)[:, None], self.wrong[shown], shown)
        liked = (rng.random(shown.shape) < look_chances(10)) & (rng.random(shown.shape) < self.like[u[:, None], shown])
        who = np.repeat(u, 10)
        log = pd.DataFrame(dict(user=self.world.users.decode(who), item=self.world.items.decode(shown.ravel()), rank=np.tile(np.arange(1, 11), len(u)), response=liked.ravel().astype(int)))
        at = np.flatnonzero(log.response)
        events = pd.DataFrame(dict(user=log.user.to_numpy()[at], feed=np.where(self.app[who[at]], 'app', 'web'), price=self.price[shown.ravel()[at]]))
        hit = rng.random(len(events)) < dose
        if fault == 'feed stops': events = events[~(hit & (events.feed == 'app'))]
        if fault == 'ratings doubled': events = pd.concat([events, events[hit & (events.user.map(self.group) == self.young).to_numpy()]])
        if fault == 'price in cents': events = events.assign(price=np.where(hit, 100*events.price, events.price))
        signs = input_signs(events, self.group, ['app', 'web'], ['price']) | list_signs(log, self.fame, self.last) | response_signs(log, self.group)
        self.last = log
        return signs

FAULTS = 'feed stops', 'ratings doubled', 'items permuted', 'price in cents'

def monitor(n_worlds, n_learn=30, n_quiet=100, n_tries=20, patience=10):
    "False alarms per quiet round, and rounds until each fault is found, by dose"
    quiet, found = [], {(f, d): [] for f in FAULTS for d in (1., .5, .2)}
    for s in range(n_worlds):
        traffic, rng = Traffic(s + 1), np.random.default_rng(s)
        traffic.day(rng)
        watcher = Monitor().learn([traffic.day(rng) for _ in range(n_learn)])
        quiet += [bool(len(watcher.watch(traffic.day(rng)))) for _ in range(n_quiet)]
        for (f, d), when in found.items():
            for _ in range(max(n_tries//n_worlds, 2)):
                traffic.day(rng)
                when.append(next((t for t in range(1, patience + 1) if len(watcher.watch(traffic.day(rng, f, d)))), np.inf))
    rows = [[f, f'{d:.0%}', f'{np.median(w):.0f}', f'{max(w):.0f}', f'{100*np.mean(np.isfinite(w)):.0f}'] for (f, d), w in found.items()]
    return quiet, rows

# ---- Audits, labels, roll-out

def audits(n, n_people=400):
    "False alarms and covered zeros of audits on null data, and how often a planted gap is found"
    rng, rows = np.random.default_rng(0), []
    people = pd.DataFrame(index=range(n_people))
    group = pd.Series(rng.choice(list('abcdef'), n_people, p=[.04, .06, .1, .2, .25, .35]), people.index)
    ones = Interactions.from_df(pd.DataFrame(dict(user=people.index, item=1, rating=1)), user_info=people.rename_axis('user'))
    for gap in (0, .1, .2):
        alarms = naive = found = 0
        for s in range(n):
            each = pd.Series(rng.gamma(.5, .4, n_people)*(rng.random(n_people) < .6), people.index)
            each[group == 'd'] += gap
            t = audit_groups(each, ones, group, n_shuffles=399, seed=s)
            alarms += (t.verdict != 'noise').any()
            from scipy.stats import ttest_ind
            naive += any(ttest_ind(each[group == g], each[group != g], equal_var=False).pvalue < .05 for g in t.group)
            found += t.set_index('group').verdict['d'] != 'noise'
        rows.append([gap, n, f'{100*alarms/n:.1f}', f'{100*naive/n:.1f}', f'{100*found/n:.1f}'])
    return rows

def labels(n_worlds, n_days=10, n=50):
    "True regret after days of 50 labels each, spent by five rules; shown is what a factor model of ratings ranks first"
    warnings.simplefilter('ignore')
    rows = {how: [] for how in ('none', 'disagree', 'uncertain', 'popular', 'random')}
    for s in range(n_worlds):
        w = World(s + 1, 200, 300)
        U = np.zeros((201, 301))
        U[1:, 1:] = w.utility(np.array(w.users.ids)[:, None], np.array(w.items.ids)[None])
        data = w.sample(2000, s)
        may = data.csr('ones').toarray()[1:] == 0
        may[:, 0] = False
        for how, out in rows.items():
            df, regret = data.df, []
            for day in range(n_days + 1):
                inter = Interactions(df, w.users, w.items, w.item_info, w.user_info)
                models = [ALS(seed=0).fit(inter), Bias().fit(inter)]
                score = np.where(may, models[0].scores(np.arange(1, 201)), -np.inf)
                regret.append(true_regret(U[1:], np.argsort(-score, axis=1, kind='stable')[:, :10], may).mean())
                if how == 'none': continue
                ask = choose_labels(models, n, how, seed=100*s + day)
                df = pd.concat([df, ask.assign(rating=w.respond(ask.user.to_numpy(), ask['item'].to_numpy(), day), timestamp=0)], ignore_index=True)
            out.append(regret)
    return [[how, *(band([o[min(d, len(o) - 1)] for o in out]) for d in (0, 2, 5, n_days))] for how, out in rows.items()]

def roll_outs(n):
    "How often a new page is rolled back, at which step, and how many people met it"
    rows = []
    for change in (-.2, -.1, -.05, -.02, 0, .02):
        runs = [roll_out(lambda m, rng: rng.random(m) < .35, lambda m, rng: rng.random(m) < .35 + change, seed=s) for s in range(n)]
        back = [t.decision.iloc[-1] == 'roll back' for t in runs]
        rows.append([f'{change:+.2f}', n, f'{100*np.mean(back):.1f}', f'{np.mean([t.met.iloc[-1] for t in runs]):,.0f}', f'{100*np.mean([b and len(t) == 1 for b, t in zip(back, runs)]):.0f}'])
    return rows

def main(n_worlds=6):
    "Markdown lines"
    size = (943, 1682) if n_worlds > 2 else (300, 500)
    lines = []
    seconds, head, rows, _ = loops(n_worlds, size, FOUR)
    lines += [f'### Twelve rounds of four pages, {size[0]:,} x {size[1]:,}, {n_worlds} worlds, {np.median(seconds):.0f} s each (median)', '', *table(head, rows)]
    _, head, rows, _ = loops(n_worlds, (300, 500), CURES)
    lines += [f'### Cures, alone and together, 300 x 500, {n_worlds} worlds', '', *table(head, rows)]
    lines += ['### A loud group, 300 x 500', '', *table(['page', 'share of their items, round 1', 'the rest', 'the fans', 'share, round 6', 'the rest', 'the fans'], loud(n_worlds, (300, 500)))]
    quiet, rows = monitor(n_worlds)
    lines += [f'### Monitor: false alarms in {100*np.mean(quiet):.1f} % of {len(quiet):,} quiet rounds (promised: at most 5 %)', '',
              *table(['fault', 'share of what it is about', 'rounds until found, median', 'longest', 'found within ten, %'], rows)]
    lines += ['### Audits of six groups', '', *table(['planted gap', 'data sets', 'any alarm, %', 'any of six t-tests below .05, %', 'found the planted group, %'], audits(200))]
    lines += ['### 50 labels a day', '', *table(['spent', 'regret before', 'after 2 days', 'after 5', 'after 10'], labels(n_worlds))]
    lines += ['### Slow roll-out, 10,000 people per step', '', *table(['change of the chance of a like (.35)', 'runs', 'rolled back, %', 'people who met it, mean', 'stopped at 1 %, %'], roll_outs(500))]
    return lines

if __name__ == '__main__': print('\n'.join(main(*map(int, sys.argv[1:]))))
