"""The whole funnel: milliseconds a user over 100,000 items, and nDCG against its own retrieval, on simulated worlds and on MovieLens 100K.

    OMP_NUM_THREADS=1 python benchmarks/pipeline.py                     # all tables
    OMP_NUM_THREADS=1 python benchmarks/pipeline.py movielens           # some of them: speed, worlds, movielens

`run.py` may call it. One thread throughout."""
import os, sys, time
from copy import copy

for o in ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS'): os.environ.setdefault(o, '1')     # before NumPy is loaded

import numpy as np
from matplotlib.figure import Figure

from measure import interval, table

from recsys_course.datasets import load_movielens
from recsys_course.evaluate import ranking_metrics
from recsys_course.implicit import EASE, ImplicitALS, to_implicit
from recsys_course.candidates import NewArrivals
from recsys_course.pipeline import Pipeline
from recsys_course.recommender import Popular
from recsys_course.rerank import Cap, Diverse, unavailable
from recsys_course.retrieve import Nearest
from recsys_course.sequence import NextItem
from recsys_course.simulate import World

def per_user(model, test, users=None):
    "nDCG at 10 of each user; every row of test counts"
    if users is not None: test = test.take(test.df.user.isin(users).to_numpy())
    return ranking_metrics(model, test, k=10, metrics='ndcg', relevant=0, per_user=True)['ndcg@10']

def without_scorer(pipe):
    "The same candidates in the order of retrieval"
    res = copy(pipe)
    res.is_scored = False
    return res

def judged(name, pipe, test, users=None):
    "Row: nDCG of each generator alone, of the merged candidates, of the funnel, and the funnel's lead over the best of these"
    alone = {g: per_user(m, test, users) for g, m in pipe.retrieve.items()}
    merged, funnel = per_user(without_scorer(pipe), test, users), per_user(pipe, test, users)
    best = max({**alone, 'merged': merged}.items(), key=lambda o: o[1].mean())
    lead = [best[0], interval(funnel - best[1]), interval(funnel - merged)]
    return [name, ', '.join(f'{g} {v.mean():.4f}' for g, v in alone.items()), f'{merged.mean():.4f}', f'{funnel.mean():.4f}', *lead]

HEAD = ['data', 'each generator alone', 'merged', 'funnel', 'best of these', 'funnel less the best', 'funnel less merged']

def small(seed):
    "The pipeline of the small data sets"
    return Pipeline({'als': Nearest(ImplicitALS(n_threads=1, seed=seed)), 'ease': EASE(), 'next item': NextItem(), 'popular': Popular(), 'new arrivals': NewArrivals()},
                    weights={'als': 3, 'ease': 3}, n_candidates=200, n_each=100, seed=seed)

def movielens(split_seeds=(42, 1, 2)):
    "MovieLens 100K, 75/25 by user, three splits"
    inter = to_implicit(load_movielens('100k', path=os.environ.get('RECSYS_COURSE_DATA')))
    splits = [inter.split('user_random', .25, s) for s in split_seeds]
    return ['### MovieLens 100K, a quarter of each user\'s rows for test', '', *table(HEAD, [judged(f'split {s}', small(s).fit(tr), te) for s, (tr, te) in zip(split_seeds, splits)]), '']

def worlds(seeds=(42, 1, 2)):
    "Simulated worlds of the size of MovieLens 100K"
    rows = []
    for s in seeds:
        train, test = to_implicit(World(seed=s).sample()).split('user_random', .25)
        rows.append(judged(f'World(seed={s})', small(s).fit(train), test))
    return ['### Simulated worlds of 943 users, 1,682 items and 100,000 rows', '', *table(HEAD, rows), '']

def speed(n_items=100_000, n_users=20_000, n=2_000_000, n_timed=1000):
    "A catalogue of 100,000 items: seconds to fit, milliseconds a user, nDCG"
    train, test = to_implicit(World(n_users=n_users, n_items=n_items).sample(n)).split('user_random', .25)
    als, start = ImplicitALS(n_threads=1), time.perf_counter()
    pipe = Pipeline({'als': Nearest(als), 'next item': NextItem(), 'popular': Popular(), 'new arrivals': NewArrivals()}, filters=[unavailable(train.items.ids[::50]), lambda d: d.year >= 1930],
                    order=[Diverse(.9), Cap(5)], weights={'als': 3}, n_candidates=300, n_each=200, n_rounds=1).fit(train)
    fitted = time.perf_counter() - start
    rng = np.random.default_rng(0)
    some = rng.choice(train.users.ids.to_numpy(), 3000, replace=False)
    bare = pipe.change(train, filters=[], order=[])
    rows = [timed(n, p, some[:n_timed]) for n, p in {'retrieval, two filters, scorer, mmr, cap': pipe, 'the same with a budget of 30 ms': pipe.change(train, budget_ms=30), 'retrieval and scorer': bare,
                                                     'retrieval alone, merged': without_scorer(bare)}.items()]
    flow = pipe.funnel(some[:200], 10, ax=Figure().subplots())
    head = ['pipeline', 'p50, ms', 'p95, ms', 'p99, ms', 'longest, ms']
    stages = ', '.join(f'{s} {ms:.2f}' for s, ms in flow.ms.items())
    return [f'### {n_items:,} items, {n_users:,} users, {len(train):,} rows in train, 300 candidates a user', '', f'{n_timed:,} users, one call each, one thread. The pipeline was fitted in {fitted:.0f} s. Mean milliseconds by stage: {stages}.', '',
            *table(head, rows), '', 'nDCG at 10 of 3,000 users (without filters and ordering):', '', *table(HEAD, [judged(f'World, {n_items:,} items', bare, test, some)]), '']

def timed(name, pipe, users):
    "Row: quantiles of the milliseconds of one call for one user"
    for u in users[:20]: pipe.recommend(u)
    ms = []
    for u in users:
        start = time.perf_counter()
        pipe.recommend(u)
        ms.append(1000*(time.perf_counter() - start))
    return [name, *(f'{q:.1f}' for q in np.quantile(ms, [.5, .95, .99, 1]))]

def main(names=()):
    "Print the tables and return them as markdown"
    lines = ["""Users are served one call each, `recommend(user)`, ten items. nDCG: every row of test counts, rows of train left out. Differences are means over the same users with 95 % bootstrap intervals over users.
"Merged" is the pipeline without its scorer: the candidates by reciprocal rank fusion. The settings of the scorer and the number of candidates were chosen on a quarter held out of train (MovieLens 100K, split 42);
its models run at their defaults.""", '']
    for name in names or ('speed', 'worlds', 'movielens'): lines += globals()[name]()
    text = '\n'.join(lines)
    print(text)
    return text

if __name__ == '__main__': main(sys.argv[1:])
