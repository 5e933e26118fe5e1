"BayesianMF against this library's BiasedMF and peers, one thread: python benchmarks/bayes.py [set ...]; RECSYS_COURSE_DATA names the folder of the data sets"
import os, sys, time
from pathlib import Path

import numpy as np, pandas as pd

from ratings import cornac, ours, surprise

from recsys_course.bayes import BayesianMF
from recsys_course.data import Interactions
from recsys_course.datasets import load_movielens
from recsys_course.factorize import BiasedMF
from recsys_course.simulate import World

MODELS = {
    'BayesianMF': ours(BayesianMF),
    'BayesianMF(n_samples=64)': ours(lambda: BayesianMF(n_samples=64)),
    'BiasedMF': ours(BiasedMF),
    'Cornac MF (k=50, 25 epochs)': cornac('MF', k=50, max_iter=25, use_bias=True, num_threads=1, seed=1, verbose=False),
    'Cornac MF (k=100, 40 epochs)': cornac('MF', k=100, max_iter=40, use_bias=True, num_threads=1, seed=1, verbose=False),
    'Surprise SVD++': surprise('SVDpp', random_state=1),
}

SLOW = {'Surprise SVD++'}     # on the first split only

def fifths(inter): return [inter.split('random', seed=s) for s in range(5)]

def latest(root): return Interactions.from_df(pd.read_csv(root/'ml-latest-small/ratings.csv', names=['user', 'item', 'rating', 'timestamp'], header=0))

def filmtrust(root): return Interactions.from_df(pd.read_csv(root/'filmtrust/ratings.txt', sep=r'\s+', names=['user', 'item', 'rating']), duplicates='mean')

SETS = {
    '100k': lambda root: [load_movielens('100k', path=root, fold=f) for f in range(1, 6)],
    'latest': lambda root: fifths(latest(root)),
    'filmtrust': lambda root: fifths(filmtrust(root)),
    'world1m': lambda root: [World(n_users=6000, n_items=3700).sample(10**6).split('random')],
}

NAMES = {'100k': 'MovieLens 100K, u1 to u5', 'latest': 'MovieLens latest-small, five random fifths', 'filmtrust': 'FilmTrust, five random fifths', 'world1m': 'The simulated world, a million ratings'}

def rows(splits, names=MODELS):
    "(model, RMSE of each split, seconds of each fit); RMSE is None for a library that is not installed"
    for name in names:
        errors, seconds = [], []
        try:
            for train, test in splits if name not in SLOW else splits[:1]:
                low, high = train.df.rating.min(), train.df.rating.max()
                fit, predict = MODELS[name](train)
                if name.startswith('B') and not seconds: MODELS[name](train.split('random', test=.99)[0])[0]()       # compile
                begin = time.perf_counter()
                fit()
                seconds.append(time.perf_counter() - begin)
                u, i, r = test.codes()
                errors.append(float(np.sqrt(np.mean((np.clip(predict(u, i), low, high) - r)**2))))
        except ModuleNotFoundError: errors = None
        yield name, errors, seconds

def cover(splits, level=.9):
    "Share of held-out ratings inside their interval, of each split"
    for train, test in splits:
        low, high = BayesianMF().fit(train).interval(test.df.user, test.df['item'], level)
        yield float(np.mean((low <= test.df.rating) & (test.df.rating <= high)))

def report(root, which):
    "Print a table of each set"
    for key in which:
        splits = SETS[key](root)
        print(f'\n## {NAMES[key]}\n\n| model | RMSE, mean | of the first split | seconds per fit |\n|---|---|---|---|')
        for name, errors, seconds in rows(splits):
            cells = f"{f'{np.mean(errors):.4f}' if len(errors) == len(splits) else ''} | {errors[0]:.4f} | {np.median(seconds):.2f}" if errors else 'not installed | | '
            print(f'| {name} | {cells} |', flush=True)
        if key == '100k': print('\n90 % intervals hold', ', '.join(f'{c:.1%}' for c in cover(splits)), 'of the held-out ratings.')

def growth(sizes=(10**6, 10**7), n_factors=16):
    "Seconds per sample and per rating as the world grows"
    for n in sizes:
        train = World(n_users=70_000, n_items=10_000).sample(n)
        times = []
        for samples in (1, 3):
            begin = time.perf_counter()
            BayesianMF(n_factors=n_factors, n_samples=samples, burn=0, n_chains=1).fit(train)
            times.append(time.perf_counter() - begin)
        each = (times[1] - times[0])/2
        print(f'{n:,} ratings: {each:.2f} s per sample, {1e9*each/n:.0f} ns per rating', flush=True)

if __name__ == '__main__':
    which = sys.argv[1:] or ['100k', 'latest', 'filmtrust']
    report(Path(os.environ.get('RECSYS_COURSE_DATA', '../shared/data')), [w for w in which if w != 'growth'])
    if 'growth' in which: growth()
