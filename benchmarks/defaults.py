"""Do the defaults carry over? Each model as it comes against the best of a search inside train, on every data set at hand.

    python benchmarks/defaults.py [SET ...]
"""
import os, sys, time, warnings
from functools import partial
from pathlib import Path

import numpy as np

from measure import table

from recsys_course.datasets import load_file, load_movielens, load_sequences
from recsys_course.evaluate import compare, liked_threshold, tune
from recsys_course.factorize import ALS, BiasedMF
from recsys_course.implicit import BPR, EASE, ImplicitALS, to_implicit
from recsys_course.recommender import Bias, ItemKNN, PoorModelWarning, Popular
from recsys_course.simulate import World

DATA = Path(os.environ.get('RECSYS_COURSE_DATA', '../shared/data'))

def people(log, n, seed=0):
    "The log of n users, of all if there are fewer"
    users = log.users.ids
    if len(users) <= n: return log
    some = np.random.default_rng(seed).choice(len(users), n, replace=False)
    return log.take(np.isin(log.codes()[0] - 1, some))

def stars():
    "{name: function that gives a log of ratings}"
    return {'MovieLens 100K': lambda: load_movielens('100k', path=DATA), 'latest-small': lambda: load_movielens('latest-small', path=DATA),
            'FilmTrust': lambda: load_file(DATA/'filmtrust/ratings.txt', columns='user,item,rating', duplicates='last'),
            'World': lambda: World(n_users=2000, n_items=1500).sample(60_000)}

def clicks():
    "{name: function that gives a log of what people chose}"
    liked = lambda log: to_implicit(log, liked_threshold(log))
    return {'MovieLens 100K, all': lambda: to_implicit(stars()['MovieLens 100K']()), 'MovieLens 100K, liked': lambda: liked(stars()['MovieLens 100K']()),
            'latest-small, liked': lambda: liked(stars()['latest-small']()), 'FilmTrust, all': lambda: to_implicit(stars()['FilmTrust']()),
            'Toys': lambda: load_sequences(DATA/'s3rec/Toys_and_Games.txt'), 'Sports': lambda: load_sequences(DATA/'s3rec/Sports_and_Outdoors.txt'),
            'Amazon CDs': lambda: load_sequences(DATA/'amazon-cds/train.txt'), 'World': lambda: to_implicit(World(n_users=2000, n_items=1500).sample(60_000))}

SPACES = {ImplicitALS: dict(alpha=(1, 200), reg=(.03, .5)), EASE: dict(reg=(20, 2000)), ItemKNN: dict(shrink=(1, 200), k=[50, 100, 200, 500]),
          BPR: dict(reg=(.005, .08), lr=(.05, .3)), BiasedMF: dict(reg=(.03, .3), n_factors=[20, 40, 80]), ALS: dict(reg=(.02, .3), n_factors=[8, 16, 32])}

def models(kind, n_items):
    "The models to try on stars or clicks"
    if kind == 'stars': return [BiasedMF, ALS]
    return [ItemKNN, BPR, ImplicitALS, *([EASE] if n_items < 10_000 else [])]

def judged(name, log, kind, n_trials):
    "Rows of the table for one data set: each model, by default and tuned, against the simplest rival"
    how,metric = ('random','rmse') if kind == 'stars' else ('user_random','ndcg')
    train,test = log.split(how, seed=42)
    rows = []
    for make in models(kind, len(log.items)):
        start = time.perf_counter()
        tuned = tune(make, train, SPACES[make], metric if kind == 'stars' else 'ndcg@10', n_trials, how=how, n_boot=0)
        rival = 'Bias' if kind == 'stars' else 'Popular'
        makes = {'tuned': partial(make, **tuned.best), 'default': make, rival: Bias if kind == 'stars' else Popular}
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter('always')
            figures = compare(makes, train, test, k=10, metrics=(metric,), relevant=0, baseline='tuned', n_boot=500)
        value = figures.value[metric]
        low,high = (figures.loc['default', (metric, o)] for o in ('diff_low','diff_high'))
        poor = any(issubclass(o.category, PoorModelWarning) and f'{make.__name__}()' in str(o.message) for o in said)
        best = ', '.join(f'{k} {v:.3g}' for k,v in tuned.best.items() if v is not None) or 'the defaults'
        rows.append([name, make.__name__, f"{value['default']:.4f}", f"{value['tuned']:.4f}", f"{value['default'] - value['tuned']:+.4f} ({low:+.4f} to {high:+.4f})",
                     f"{value['default']/value['tuned']:.3f}", best, f"{value[rival]:.4f}", 'yes' if poor else ''])
        print(rows[-1], f'{time.perf_counter() - start:.0f} s', file=sys.stderr, flush=True)
    return rows

HEAD = ['data', 'model', 'default', 'tuned', 'default less tuned', 'ratio', 'best of the search', 'Bias or Popular', 'warned']

def main(wanted=(), n_trials=6):
    "Print the tables"
    for kind,sets in (('stars', stars()), ('clicks', clicks())):
        print(f'## {"RMSE of ratings" if kind == "stars" else "nDCG at 10 of clicks"}\n')
        rows = []
        for name,make in sets.items():
            if wanted and name not in wanted: continue
            try: log = make()
            except (FileNotFoundError, OSError) as e: print(f'{name}: not at hand ({type(e).__name__})', file=sys.stderr); continue
            rows += judged(name, people(log, 8000), kind, n_trials)
        print('\n'.join(table(HEAD, rows)) + '\n')

if __name__ == '__main__': main(sys.argv[1:])
