"Rating prediction: this library and its peers on the same splits. `run.py` calls `movielens`, `others` and `world`"
import gc, json, statistics, subprocess, sys, warnings
from pathlib import Path

import numpy as np, pandas as pd

from measure import clocked, drawn, peak_growth, table

from recsys_course.datasets import load_file, load_movielens
from recsys_course.bayes import BayesianMF
from recsys_course.factorize import ALS, BiasedMF, FullBatchMF
from recsys_course.recommender import Bias, ItemKNN
from recsys_course.simulate import World

HOW = dict(surprise='pip install scikit-surprise', cornac='pip install cornac')

# Adapters: make(train) prepares the library's own data, outside the clock, and gives (fit, predict) where predict takes codes.

def ours(model):
    def make(train):
        m = model()
        return lambda: m.fit(train), lambda u, i: np.clip(m.predict_codes(u, i), *m.scale)
    return make

class Blend:
    "BiasedMF and ItemKNN, weighed by least squares on a held-out fifth of train, then fitted on all of it"
    makes = BiasedMF, ItemKNN

    def fit(self, train):
        inner, held = train.split('random', test=.2, seed=0)
        self.models, (u, i, r) = [make().fit(inner) for make in self.makes], held.codes()
        self.scale = train.df.rating.min(), train.df.rating.max()
        self.w = np.linalg.lstsq(self.columns(u, i), r, rcond=None)[0]
        self.models = [make().fit(train) for make in self.makes]
        return self

    def columns(self, u, i): return np.column_stack([*(np.clip(m.predict_codes(u, i), *self.scale) for m in self.models), np.ones(len(u))])
    def predict_codes(self, u, i): return self.columns(u, i)@self.w

def surprise(name, **kw):
    def make(train):
        import surprise as s
        scale = float(train.df.rating.min()), float(train.df.rating.max())
        ts = s.Dataset.load_from_df(train.df[['user', 'item', 'rating']], s.Reader(rating_scale=scale)).build_full_trainset()
        algo = getattr(s, name)(**kw)
        raw = lambda v, c: v.decode(c).tolist()
        def predict(u, i): return np.array([algo.predict(a, b).est for a, b in zip(raw(train.users, u), raw(train.items, i))])
        return lambda: algo.fit(ts), predict
    return make

def cornac(name, **kw):
    def make(train):
        import cornac as c
        from collections import OrderedDict
        u, i, r = train.codes()
        (u2, ku), (i2, ki) = (pd.factorize(o) for o in (u, i))     # codes without gaps, by first appearance, as Cornac numbers them
        maps = [OrderedDict((int(k), n) for n, k in enumerate(o)) for o in (ku, ki)]
        ds = c.data.Dataset(len(ku), len(ki), *maps, (u2, i2, r.astype(float)))
        box = {}
        def fit():
            box['m'] = getattr(c.models, name)(**kw)
            box['m'].fit(ds)
        def predict(u, i):
            def rate(a, b):
                try: return box['m'].rate(maps[0].get(a, -1), maps[1].get(b, -1))
                except Exception: return r.mean()
            return np.clip([rate(a, b) for a, b in zip(u.tolist(), i.tolist())], r.min(), r.max())
        return fit, predict
    return make

MODELS = {   # name: (library, adapter, fits on each split; 0: the first split only)
    'BiasedMF': ('recsys_course', ours(BiasedMF), 1),
    'BayesianMF': ('recsys_course', ours(BayesianMF), 1),
    'BiasedMF + ItemKNN, blended': ('recsys_course', ours(Blend), 1),
    'ALS': ('recsys_course', ours(ALS), 1),
    'FullBatchMF': ('recsys_course', ours(FullBatchMF), 1),
    'Bias': ('recsys_course', ours(Bias), 1),
    'ItemKNN': ('recsys_course', ours(ItemKNN), 1),
    'Cornac MF (k=50, 25 epochs, 1 thread)': ('cornac', cornac('MF', k=50, max_iter=25, use_bias=True, num_threads=1, seed=1, verbose=False), 1),
    'Cornac PMF': ('cornac', cornac('PMF', seed=1, verbose=False), 1),
    'Surprise SVD': ('surprise', surprise('SVD', random_state=1), 1),
    'Surprise KNNBaseline': ('surprise', surprise('KNNBaseline', verbose=False), 1),
    'Surprise BaselineOnly': ('surprise', surprise('BaselineOnly', verbose=False), 1),
    'Surprise SVD++ (u1 only)': ('surprise', surprise('SVDpp', random_state=1), 0),
}

SPACES = {   # name: (library, adapter, what a search draws from); the first trial is that of the adapter without settings, as above
    'BiasedMF': ('recsys_course', lambda **kw: ours(lambda: BiasedMF(**kw)), dict(n_factors=(16, 200), n_epochs=(8, 40), lr=(.02, .12), reg=(.02, .2))),
    'Cornac MF': ('cornac', lambda **kw: cornac('MF', **(dict(k=50, max_iter=25, use_bias=True, num_threads=1, seed=1, verbose=False) | kw)), dict(k=(10, 200), max_iter=(10, 80), learning_rate=(.003, .03), lambda_reg=(.005, .2))),
    'Cornac PMF': ('cornac', lambda **kw: cornac('PMF', seed=1, verbose=False, **kw), dict(k=(5, 100), max_iter=(30, 200), learning_rate=(.0005, .01), lambda_reg=(.0005, .1))),
    'Surprise SVD': ('surprise', lambda **kw: surprise('SVD', random_state=1, **kw), dict(n_factors=(10, 200), n_epochs=(10, 80), lr_all=(.002, .02), reg_all=(.01, .2))),
    'Surprise KNNBaseline': ('surprise', lambda k=40, **kw: surprise('KNNBaseline', verbose=False, k=k, sim_options=kw), dict(k=(10, 200), shrinkage=(10, 200), user_based=[True, False], name=['pearson_baseline', 'msd'])),
}

def rmse(predict, test):
    u, i, r = test.codes()
    return float(np.sqrt(((predict(u, i).astype(float) - r)**2).mean()))

def search(name, train, n_trials=10):
    "The settings with the least RMSE on a random fifth of `train`, or what to install"
    _, adapt, space = SPACES[name]
    inner, held = train.split('random', seed=0)
    found = []
    for settings in drawn(space, n_trials):
        try: fit, predict = adapt(**settings)(inner)
        except ModuleNotFoundError as e: return f'not installed: {HOW[e.name]}'
        try: fit()
        except FloatingPointError: continue
        if np.isfinite(error := rmse(predict, held)): found.append((error, settings))
    best = min(found, key=lambda o: o[0])[1]
    print(f'  {name}: {words(best)}', flush=True)
    return best

def words(settings): return ', '.join(f'{k} {v:.2g}' if isinstance(v, float) else f'{k} {v}' for k, v in settings.items()) or 'the defaults'

def measure(name, path, folds, settings=None):
    "Figures of one model on published splits, to be called in a process of its own; with `settings` the model of `SPACES` has them"
    make, n = MODELS[name][1:] if settings is None else (SPACES[name][1](**settings), 1)
    errors, times, memory = [], [], None
    for fold in folds if n else folds[:1]:
        train, test = load_movielens('100k', path=path, fold=fold)
        if memory is None: first = clocked(make(train.split('random', test=.99)[0])[0])[0]      # a hundredth of train: all that takes time is loading
        (fit, predict), whole = make(train), []
        if memory is None: memory = peak_growth(lambda: whole.append(clocked(fit)))[1]/1e6
        times += [clocked(fit) for _ in range(n)] or whole
        u, i, r = test.codes()
        errors.append(predict(u, i).astype(float) - r)
    return dict(rmse=np.mean([np.sqrt((e**2).mean()) for e in errors]), mae=np.mean([np.abs(e).mean() for e in errors]), times=times, first=first, memory=memory)

def _alone(*args):
    "`measure` in a fresh process, or what to install"
    out = subprocess.run([sys.executable, __file__, json.dumps(args)], capture_output=True, text=True)
    if not out.returncode: return json.loads(out.stdout.splitlines()[-1])
    missing = [how for module, how in HOW.items() if f"No module named '{module}" in out.stderr]
    if not missing: raise RuntimeError(out.stderr)
    return f'not installed: {missing[0]}'

def median(times, k=0): return statistics.median(t[k] for t in times)
def spread(times): return f'{median(times):.3f} ({min(times)[0]:.3f} to {max(times)[0]:.3f})'

def movielens(path=None, folds=(1, 2, 3, 4, 5)):
    "Markdown: RMSE, MAE, seconds and memory, mean of the splits, of each model and of those of `SPACES` after a search inside the first training part"
    train = load_movielens('100k', path=path, fold=folds[0])[0]
    chosen = {name: search(name, train) for name in SPACES}
    runs = {name: (name, None, lib, n) for name, (lib, _, n) in MODELS.items()} | {f'{name}, searched': (name, s, SPACES[name][0], 1) for name, s in chosen.items() if s and not isinstance(s, str)}
    got = {}
    for label, (name, settings, _, _) in runs.items():
        got[label] = _alone(name, path, folds, settings)
        print(f'  {label} done', flush=True)
    peers = {k: v for k, v in got.items() if runs[k][2] != 'recsys_course' and runs[k][3] and not isinstance(v, str)}
    best = min(peers.values(), key=lambda v: (round(v['rmse'], 3), median(v['times'], 1)), default=None)
    lines = ['| model | RMSE | MAE | fit, seconds: median (least to most) | CPU seconds | CPU seconds relative to the best peer | first fit, seconds | peak memory of the fit, MB |', '|---|---|---|---|---|---|---|---|']
    for name, v in got.items():
        if isinstance(v, str): lines.append(f'| {name} | {v} | | | | | | |'); continue
        ratio = f"{median(v['times'], 1)/median(best['times'], 1):.2f}" if best else ''
        lines.append(f"| {name} | {v['rmse']:.4f} | {v['mae']:.4f} | {spread(v['times'])} | {median(v['times'], 1):.3f} | {ratio} | {v['first']:.2f} | {v['memory']:.0f} |")
    return lines + ['', 'Chosen: ' + '; '.join(f'{k}: {s if isinstance(s, str) else words(s)}' for k, s in chosen.items()) + '.'] + _findings(got, best)

def _findings(got, best):
    "Sentences that compare, computed from the table"
    ok, med = {k: v for k, v in got.items() if not isinstance(v, str)}, lambda k: median(got[k]['times'], 1)
    if best is None or 'BiasedMF' not in ok: return []
    name = next(k for k, v in ok.items() if v is best)
    res = ['', f"The best peer is {name}. `BiasedMF` has RMSE {ok['BiasedMF']['rmse']:.4f} against {best['rmse']:.4f} and takes {med('BiasedMF')/med(name):.2f} times as long."]
    if 'Surprise SVD' in ok: res.append(f"It is {med('Surprise SVD')/med('BiasedMF'):.0f} times as fast as Surprise's SVD ({ok['Surprise SVD']['rmse']:.4f}).")
    peer = min((k for k in ok if k.startswith(('Cornac', 'Surprise')) and 'SVD++' not in k), key=lambda k: ok[k]['rmse'])
    res.append(f"The peer with the lowest error is {peer}: {ok[peer]['rmse']:.4f}.")
    lowest = min(ok, key=lambda k: ok[k]['rmse'])
    return res + [f"The lowest error is that of {lowest}: {ok[lowest]['rmse']:.4f} in {med(lowest):.2f} s."]

OTHERS = {'latest-small': lambda path: load_movielens('latest-small', path=path), 'FilmTrust': lambda path: load_file(Path(path or '../shared/data')/'filmtrust/ratings.txt', columns='user,item,rating', duplicates='mean')}

def fifths(log, n_splits=5):
    "{model: (RMSE of each split, seconds of work of each fit)} on random fifths, and what the search inside the first training part chose"
    splits = [log.split('random', seed=s) for s in range(n_splits)]
    chosen = {name: search(name, splits[0][0]) for name in SPACES}
    models = {k: make for k, (_, make, n) in MODELS.items() if n and k not in ('FullBatchMF', 'BiasedMF + ItemKNN, blended')}
    models |= {f'{k}, searched': SPACES[k][1](**s) for k, s in chosen.items() if s and not isinstance(s, str)}
    found = {}
    for name, make in models.items():
        try:
            with warnings.catch_warnings(action='ignore'): make(splits[0][0].split('random', test=.99)[0])[0]()                     # compile
            for train, test in splits:
                fit, predict = make(train)
                took = clocked(fit)[1]
                found.setdefault(name, []).append((rmse(predict, test), took))
        except ModuleNotFoundError: continue
        print(f'  {name}: {np.mean(found[name], axis=0).round(4)}', flush=True)
    return found, chosen

def others(path=None):
    "Markdown: the same models on further sets"
    got = {name: fifths(load(path)) for name, load in OTHERS.items()}
    cells = lambda parts: [f'{np.mean([p[0] for p in parts]):.4f}', f'{np.median([p[1] for p in parts]):.2f}'] if parts else ['', '']
    names = dict.fromkeys(k for found, _ in got.values() for k in found)
    lines = ['### Other sets: mean RMSE of five random fifths, and median seconds of work of a fit', '', *table(['model', *(h for name in got for h in (name, 's'))], [[k, *(c for found, _ in got.values() for c in cells(found.get(k)))] for k in names])]
    for name, (found, chosen) in got.items():
        mean = {k: np.mean([p[0] for p in v]) for k, v in found.items()}
        mine, peer = (min((k for k in mean if k.startswith(('Cornac', 'Surprise')) == o), key=mean.get) for o in (False, True))
        lines += [f'{name}: the lowest error of ours is that of {mine}, {mean[mine]:.4f}; of the peers that of {peer}, {mean[peer]:.4f}. Chosen: ' + '; '.join(f'{k}: {s if isinstance(s, str) else words(s)}' for k, s in chosen.items()) + '.', '']
    return lines

FAST = {     # name: (library, number of ratings at most, adapter, epochs)
    'Bias': ('recsys_course', 10**7, ours(Bias), 10),
    'BiasedMF(n_factors=50)': ('recsys_course', 10**7, ours(lambda: BiasedMF(n_factors=50)), 16),
    'BiasedMF(n_factors=50, n_threads=2)': ('recsys_course', 10**7, ours(lambda: BiasedMF(n_factors=50, n_threads=2)), 16),
    'ALS(n_epochs=2, n_threads=2)': ('recsys_course', 10**6, ours(lambda: ALS(n_epochs=2, n_threads=2)), 2),
    'Cornac MF (k=50, 2 threads)': ('cornac', 10**7, cornac('MF', k=50, max_iter=25, use_bias=True, num_threads=2, seed=1, verbose=False), 25),
    'Surprise SVD (100 factors)': ('surprise', 10**6, surprise('SVD', random_state=1), 20),
}

def world(path=None, sizes=(10**6, 10**7), users=70_000, items=10_000, repeats=3):
    "Markdown table of the cost of an epoch as the data grow: a made world of two sizes, and the data at hand, whose shapes differ"
    lines = ['| ratings | model | seconds an epoch: median (least to most) | CPU seconds | CPU microseconds a rating | RMSE | memory of the fit, MB | whole process, MB |', '|---|---|---|---|---|---|---|---|']
    logs = {f'{n:,}': lambda n=n: World(n_users=users, n_items=items).sample(n) for n in sizes} | {'MovieLens 100K': lambda: load_movielens('100k', path=path)} | {k: lambda load=load: load(path) for k, load in OTHERS.items()}
    per = {}
    for label, make_log in logs.items():
        train, test = make_log().split('random', test=.02)
        train.codes()
        for name, (_, most, make, epochs) in FAST.items():
            if len(train) > most: continue
            try: fit, predict = make(train)
            except ModuleNotFoundError as e: lines.append(f'| {label} | {name} | not installed: {HOW[e.name]} | | | | | |'); continue
            took = []
            memory, top = (b/1e6 for b in peak_growth(lambda: took.append(clocked(fit)))[1:])
            times = [tuple(o/epochs for o in clocked(fit)) for _ in range(repeats if took[0][0] < 20 else 1)]
            u, i, r = (o[:20_000] for o in test.codes())
            e = predict(u, i) - r
            per.setdefault(name, {})[label] = median(times, 1)/len(train)
            lines.append(f'| {label} | {name}, {epochs} epochs | {spread(times)} | {median(times, 1):.3f} | {1e6*per[name][label]:.3f} | {np.sqrt((e**2).mean()):.4f} | {memory:.0f} | {top:.0f} |')
            print('  ' + lines[-1], flush=True)
            fit = predict = None
            gc.collect()
        del train, test
        gc.collect()
    small, large = (f'{n:,}' for n in (sizes[0], sizes[-1]))
    growth = [f'{k} {v[large]/v[small]:.2f}' for k, v in per.items() if large in v]
    return lines + ['', f'CPU time a rating at {large} over that at {small} (1 is linear): ' + '; '.join(growth) + '.']

if __name__ == '__main__': print(json.dumps({k: v if isinstance(v, list) else float(v) for k, v in measure(*json.loads(sys.argv[1])).items()}))
