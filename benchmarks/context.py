"""What each column buys: a factorisation machine against BayesianMF and trees, one thread, default settings.

    OMP_NUM_THREADS=1 python benchmarks/context.py                 # all tables
    OMP_NUM_THREADS=1 python benchmarks/context.py u1              # MovieLens 100K, the published fold u1
    OMP_NUM_THREADS=1 python benchmarks/context.py latest filmtrust

RECSYS_COURSE_DATA names the folder of the data sets. RMSE of clipped predictions; the intervals of differences from
BayesianMF are drawn over people (95 %). LightGBM is given the same columns, and means of ratings of users and items
over other folds of train; its number of rounds is chosen inside train."""
import os, sys, time
from pathlib import Path

for o in ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS'): os.environ.setdefault(o, '1')     # before NumPy is loaded

import numpy as np, pandas as pd

from measure import table

from recsys_course.bayes import BayesianMF
from recsys_course.context import FactorizationMachine, with_moments
from recsys_course.data import Interactions
from recsys_course.datasets import load_movielens

PEOPLE, FILMS, MOMENT = ['age', 'occupation', 'gender'], ['genres', 'year'], ['hour', 'weekday']
MODELS = {'BayesianMF': BayesianMF, 'ids': lambda: FactorizationMachine(implicit=False), '+ what was rated': FactorizationMachine,
          '+ age, occupation, gender': lambda: FactorizationMachine(PEOPLE), '+ genres, year': lambda: FactorizationMachine(PEOPLE, FILMS),
          '+ hour, weekday': lambda: FactorizationMachine(PEOPLE, FILMS, MOMENT),
          'what was rated, by ALS': lambda: FactorizationMachine(method='als'), 'all but the moment, by ALS': lambda: FactorizationMachine(PEOPLE, FILMS, method='als')}

def root(): return Path(os.environ.get('RECSYS_COURSE_DATA', '../shared/data'))

def u1(): return [with_moments(o) for o in load_movielens('100k', path=root(), fold=1)]

def latest():
    "latest-small, a random fifth held out"
    df = pd.read_csv(root()/'ml-latest-small/ratings.csv', names=['user', 'item', 'rating', 'timestamp'], header=0)
    return Interactions.from_df(df).split('random', seed=0)

def filmtrust():
    "FilmTrust, a random fifth held out"
    df = pd.read_csv(root()/'filmtrust/ratings.txt', sep=r'\s+', names=['user', 'item', 'rating'])
    return Interactions.from_df(df, duplicates='mean').split('random', seed=0)

def predictions(model, train, test):
    "Predictions of test, and seconds of work to fit"
    start = time.process_time()
    model.fit(train)
    took = time.process_time() - start
    at = {'context': test.df} if getattr(model, 'context', None) else {}
    return model.predict(test.df.user, test.df['item'], **at), took

def folded(frame, train, folds):
    "Mean rating of each row's user and item: over train, and for train itself over the other folds"
    def of(rows, known):
        res = {}
        for c in ('user', 'item'):
            by = known.groupby(c).rating
            total, count = (rows[c].map(o).fillna(0).to_numpy() for o in (by.sum(), by.size()))
            res[f'{c} mean'] = (total + 5*known.rating.mean())/(count + 5)
        return pd.DataFrame(res, rows.index)
    if frame is not train.df: return of(frame, train.df)
    return pd.concat([of(frame[folds == k], frame[folds != k]) for k in range(5)]).loc[frame.index]

def tree_columns(frame, train, folds):
    "Columns for trees: means, what is known of users and items, the moment"
    res = folded(frame, train, folds).reset_index(drop=True)
    people, films = train.user_info.reindex(frame.user).reset_index(drop=True), train.item_info.reindex(frame['item']).reset_index(drop=True)
    res['age'], res['year'] = people.age.astype(float), films.year.astype(float)
    for c in ('gender', 'occupation'): res[c] = pd.Categorical(people[c], sorted(train.user_info[c].dropna().unique()))
    words = sorted(set('|'.join(train.item_info.genres.fillna('')).split('|')) - {''})
    for w in words: res[w] = films.genres.fillna('').str.split('|').map(lambda o: w in o).astype(float)
    res['hour'], res['weekday'] = frame.hour.to_numpy(), pd.Categorical(frame.weekday, sorted(train.df.weekday.unique()))
    return res

def trees(train, test):
    "Predictions of LightGBM, rounds chosen inside train, and seconds of work"
    import lightgbm as lgb
    start = time.process_time()
    rng = np.random.default_rng(0)
    folds, held = rng.integers(0, 5, len(train)), rng.random(len(train)) < .1
    A, B = tree_columns(train.df, train, folds), tree_columns(test.df, train, folds)
    y, settings = train.df.rating, dict(learning_rate=.05, num_leaves=31, min_data_in_leaf=50, num_threads=1, seed=0, verbose=-1)
    tried = lgb.train(settings, lgb.Dataset(A[~held], y[~held]), 1500, valid_sets=[lgb.Dataset(A[held], y[held])], callbacks=[lgb.early_stopping(50, verbose=False)])
    model = lgb.train(settings, lgb.Dataset(A, y), tried.best_iteration)
    return np.clip(model.predict(B), y.min(), y.max()), time.process_time() - start

def interval(errors, base, people, seed=0):
    "RMSE less that of the base with its 95 % interval over people"
    sums = pd.DataFrame(dict(a=errors, b=base, n=1)).groupby(people.to_numpy()).sum().to_numpy(float)
    weights = np.random.default_rng(seed).multinomial(len(sums), np.full(len(sums), 1/len(sums)), 1000)@sums
    diff = np.sqrt(weights[:, 0]/weights[:, 2]) - np.sqrt(weights[:, 1]/weights[:, 2])
    return '{:+.4f} ({:+.4f} to {:+.4f})'.format(np.sqrt(errors.mean()) - np.sqrt(base.mean()), *np.quantile(diff, [.025, .975]))

def rows(train, test, names, with_trees=False):
    "A row per model"
    base = None
    compiled = train.take(np.arange(len(train)) < 2000)
    for name in names: MODELS[name]().fit(compiled)                                 # compiled before the clock starts
    for name in [*names, *(['LightGBM, all columns'] if with_trees else [])]:
        said, took = trees(train, test) if name.startswith('LightGBM') else predictions(MODELS[name](), train, test)
        errors = np.square(said - test.df.rating.to_numpy())
        base = errors if base is None else base
        print(name, f'{np.sqrt(errors.mean()):.4f} {took:.1f} s', flush=True, file=sys.stderr)
        yield [name, f'{np.sqrt(errors.mean()):.4f}', '' if errors is base else interval(errors, base, test.df.user), f'{took:.1f}']

SETS = {'u1': (u1, 'MovieLens 100K, u1', list(MODELS), True), 'latest': (latest, 'MovieLens latest-small, a random fifth', ['BayesianMF', '+ what was rated'], False),
        'filmtrust': (filmtrust, 'FilmTrust, a random fifth', ['BayesianMF', '+ what was rated'], False)}

def main(names=()):
    "Markdown lines"
    res = []
    for key in names or SETS:
        load, title, models, with_trees = SETS[key]
        train, test = load()
        head = ['model', 'RMSE', 'less that of BayesianMF (95 %)', 's of work to fit']
        res += [f'### {title}, default settings', '', *table(head, rows(train, test, models, with_trees))]
    return res

if __name__ == '__main__': print('\n'.join(main(sys.argv[1:])))
