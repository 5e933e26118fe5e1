"Rating prediction: this library and its peers on the same splits. `run.py` calls `movielens` and `world`"
import gc, json, statistics, subprocess, sys

import numpy as np, pandas as pd

from measure import clocked, peak_growth

from recsys_course.datasets import load_movielens
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
        ts = s.Dataset.load_from_df(train.df[['user', 'item', 'rating']], s.Reader(rating_scale=(1, 5))).build_full_trainset()
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
            return np.clip([rate(a, b) for a, b in zip(u.tolist(), i.tolist())], 1, 5)
        return fit, predict
    return make

MODELS = {   # name: (library, adapter, fits on each split; 0: one fit, on the first split only)
    'BiasedMF': ('recsys_course', ours(BiasedMF), 5),
    'BiasedMF, 2 threads': ('recsys_course', ours(lambda: BiasedMF(n_threads=2)), 5),
    'BayesianMF': ('recsys_course', ours(BayesianMF), 5),
    'BiasedMF + ItemKNN, blended': ('recsys_course', ours(Blend), 5),
    'ALS': ('recsys_course', ours(ALS), 5),
    'FullBatchMF': ('recsys_course', ours(FullBatchMF), 5),
    'Bias': ('recsys_course', ours(Bias), 5),
    'ItemKNN': ('recsys_course', ours(ItemKNN), 5),
    'Cornac MF (k=50, 25 epochs, 2 threads)': ('cornac', cornac('MF', k=50, max_iter=25, use_bias=True, num_threads=2, seed=1, verbose=False), 5),
    'Cornac MF (k=50, 25 epochs, 1 thread)': ('cornac', cornac('MF', k=50, max_iter=25, use_bias=True, num_threads=1, seed=1, verbose=False), 5),
    'Cornac PMF': ('cornac', cornac('PMF', seed=1, verbose=False), 1),
    'Surprise SVD': ('surprise', surprise('SVD', random_state=1), 1),
    'Surprise KNNBaseline': ('surprise', surprise('KNNBaseline', verbose=False), 1),
    'Surprise BaselineOnly': ('surprise', surprise('BaselineOnly', verbose=False), 5),
    'Surprise SVD++ (u1 only)': ('surprise', surprise('SVDpp', random_state=1), 0),
}

def measure(name, path, fold):
    "Figures of one model on one published split, to be called in a process of its own"
    _, make, n = MODELS[name]
    train, test = load_movielens('100k', path=path, fold=fold)
    first = clocked(make(train.split('random', test=.99)[0])[0])[0]      # a hundredth of train: all that takes time is loading
    (fit, predict), whole = make(train), []
    memory = peak_growth(lambda: whole.append(clocked(fit)))[1]/1e6
    times = [clocked(fit) for _ in range(n)] or whole
    u, i, r = test.codes()
    e = predict(u, i).astype(float) - r
    return dict(rmse=np.sqrt((e**2).mean()), mae=np.abs(e).mean(), times=times, first=first, memory=memory)

def _join(parts):
    "Mean errors, all times, and the median of the rest, over splits"
    res = {k: float(f([p[k] for p in parts])) for k, f in dict(rmse=np.mean, mae=np.mean, first=np.median, memory=np.median).items()}
    return res | dict(times=sum((p['times'] for p in parts), []))

def _alone(name, path, fold):
    "`measure` in a fresh process, or what to install"
    out = subprocess.run([sys.executable, __file__, json.dumps([name, path, fold])], capture_output=True, text=True)
    if not out.returncode: return json.loads(out.stdout.splitlines()[-1])
    missing = [how for module, how in HOW.items() if f"No module named '{module}" in out.stderr]
    if not missing: raise RuntimeError(out.stderr)
    return f'not installed: {missing[0]}'

def median(times, k=0): return statistics.median(t[k] for t in times)
def spread(times): return f'{median(times):.3f} ({min(times)[0]:.3f} to {max(times)[0]:.3f})'

def movielens(path=None, folds=(1, 2, 3, 4, 5), names=None):
    "Markdown table of RMSE, MAE, seconds and memory, mean of the splits"
    parts, got = {}, {}
    for fold in folds:                                   # models take turns, so that other work on the machine falls on all of them
        for name in names or MODELS:
            if MODELS[name][2] or fold == folds[0]: parts.setdefault(name, []).append(_alone(name, path, fold))
        print(f'  u{fold} done', flush=True)
    for name, p in parts.items(): got[name] = p[0] if isinstance(p[0], str) else _join(p)
    peers = {k: v for k, v in got.items() if MODELS[k][0] != 'recsys_course' and MODELS[k][2] and not isinstance(v, str)}
    best = min(peers.values(), key=lambda v: (round(v['rmse'], 3), median(v['times'])), default=None)
    lines = ['| model | RMSE | MAE | fit, seconds: median (least to most) | CPU seconds | time relative to the best peer | first fit, seconds | peak memory of the fit, MB |', '|---|---|---|---|---|---|---|---|']
    for name, v in got.items():
        if isinstance(v, str): lines.append(f'| {name} | {v} | | | | | | |'); continue
        ratio = f"{median(v['times'])/median(best['times']):.2f}" if best else ''
        lines.append(f"| {name} | {v['rmse']:.4f} | {v['mae']:.4f} | {spread(v['times'])} | {median(v['times'], 1):.3f} | {ratio} | {v['first']:.2f} | {v['memory']:.0f} |")
    return lines + _findings(got, best)

def _findings(got, best):
    "Sentences that compare, computed from the table"
    ok, med = {k: v for k, v in got.items() if not isinstance(v, str)}, lambda k: median(got[k]['times'])
    if best is None or 'BiasedMF' not in ok: return []
    name = next(k for k, v in ok.items() if v is best)
    res = ['', f"The best peer is {name}. `BiasedMF` has RMSE {ok['BiasedMF']['rmse']:.4f} against {best['rmse']:.4f} and takes {med('BiasedMF')/med(name):.2f} times as long."]
    if 'Surprise SVD' in ok: res.append(f"It is {med('Surprise SVD')/med('BiasedMF'):.0f} times as fast as Surprise's SVD ({ok['Surprise SVD']['rmse']:.4f}).")
    lowest = min(ok, key=lambda k: ok[k]['rmse'])
    return res + [f"The lowest error is that of {lowest}: {ok[lowest]['rmse']:.4f} in {med(lowest):.2f} s."]

FAST = {     # name: (library, number of ratings at most, adapter, epochs)
    'Bias': ('recsys_course', 10**7, ours(Bias), 10),
    'BiasedMF(n_factors=50)': ('recsys_course', 10**7, ours(lambda: BiasedMF(n_factors=50)), 16),
    'BiasedMF(n_factors=50, n_threads=2)': ('recsys_course', 10**7, ours(lambda: BiasedMF(n_factors=50, n_threads=2)), 16),
    'ALS(n_epochs=2, n_threads=2)': ('recsys_course', 10**6, ours(lambda: ALS(n_epochs=2, n_threads=2)), 2),
    'Cornac MF (k=50, 2 threads)': ('cornac', 10**7, cornac('MF', k=50, max_iter=25, use_bias=True, num_threads=2, seed=1, verbose=False), 25),
    'Surprise SVD (100 factors)': ('surprise', 10**6, surprise('SVD', random_state=1), 20),
}

def world(sizes=(10**6, 10**7), users=70_000, items=10_000, repeats=5):
    "Markdown table of the cost of an epoch as the data grow"
    lines = ['| ratings | model | seconds an epoch: median (least to most) | CPU seconds | CPU microseconds a rating | RMSE | memory of the fit, MB | whole process, MB |', '|---|---|---|---|---|---|---|---|']
    per = {}
    for n in sizes:
        train, test = World(n_users=users, n_items=items).sample(n).split('random', test=.02)
        train.codes()
        for name, (_, most, make, epochs) in FAST.items():
            if n > most: continue
            try: fit, predict = make(train)
            except ModuleNotFoundError as e: lines.append(f'| {n:,} | {name} | not installed: {HOW[e.name]} | | | | | |'); continue
            took = []
            memory, top = (b/1e6 for b in peak_growth(lambda: took.append(clocked(fit)))[1:])
            times = [tuple(o/epochs for o in clocked(fit)) for _ in range(repeats if took[0][0] < 20 else 1)]
            u, i, r = (o[:20_000] for o in test.codes())
            e = predict(u, i) - r
            per.setdefault(name, []).append(median(times, 1)/len(train))
            lines.append(f'| {n:,} | {name}, {epochs} epochs | {spread(times)} | {median(times, 1):.3f} | {1e6*per[name][-1]:.3f} | {np.sqrt((e**2).mean()):.4f} | {memory:.0f} | {top:.0f} |')
            print('  ' + lines[-1], flush=True)
            fit = predict = None
            gc.collect()
        del train, test
        gc.collect()
    growth = [f'{k} {v[-1]/v[0]:.2f}' for k, v in per.items() if len(v) == len(sizes)]
    return lines + ['', f'CPU time a rating at {sizes[-1]:,} over that at {sizes[0]:,} (1 is linear): ' + '; '.join(growth) + '.']

if __name__ == '__main__': print(json.dumps({k: v if isinstance(v, list) else float(v) for k, v in measure(*json.loads(sys.argv[1])).items()}))
