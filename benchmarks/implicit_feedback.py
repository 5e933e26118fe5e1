"""Implicit feedback: the protocol of the `recommenders` benchmark table on MovieLens 100K, and speed and nDCG against implicit on the simulated world.

    python benchmarks/implicit_feedback.py

`run.py` may call `main`. The module is not called `implicit`, so that it hides neither the peer nor `recsys_course.implicit`."""
import os, time, warnings
from contextlib import contextmanager, nullcontext

import numpy as np

from measure import table

from recsys_course.datasets import load_movielens
from recsys_course.evaluate import ranking_metrics
from recsys_course.implicit import BPR, EASE, ImplicitALS, to_implicit
from recsys_course.recommender import ItemKNN, Popular, Recommender
from recsys_course.simulate import World

METRICS = 'map', 'ndcg', 'precision', 'recall'
PUBLISHED = {'BiVAE': (.146, .475, .412, .219), 'BPR': (.132, .442, .388, .213), 'SAR': (.111, .382, .331, .176), 'LightGCN': (.089, .420, .380, .144)}

def figures(model, test):
    "MAP, nDCG, precision and recall at 10; all rows of test are relevant"
    return ranking_metrics(model, test, k=10, metrics=METRICS, relevant=0, n_boot=0).set_index('metric').value[list(METRICS)].to_numpy(float)

GRIDS = {'ItemKNN(centre=False)': [lambda s, k=k, h=h: ItemKNN(centre=False, k=k, shrink=h) for k in (100, 300) for h in (0, 20, 100)],
         'BPR': [lambda s, r=r: BPR(reg=r, seed=s) for r in (.01, .015, .025, .04)],
         'EASE': [lambda s, r=r: EASE(r) for r in (100, 200, 300, 500, 1000)],
         'EASE(n_neighbours=200)': [lambda s, r=r: EASE(r, n_neighbours=200) for r in (100, 300)],
         'ImplicitALS': [lambda s, r=r: ImplicitALS(reg=r, seed=s) for r in (None, .07, .1, .2, .28)]}

def chosen(grid, fit_part, valid, seed=42):
    "The maker of `grid` with the highest nDCG on `valid`"
    return max(grid, key=lambda make: figures(make(seed).fit(fit_part), valid)[1])

def settings(model): return ', '.join(f'{k}={getattr(model, k)}' for k in ('reg', 'k', 'shrink') if hasattr(model, k)) or '-'

def movielens(seeds=(42, 43, 44), split_seeds=(42, 1, 2)):
    "The published protocol: ours on its split (mean over seeds of the model), nDCG on two more splits, and what is published"
    inter = to_implicit(load_movielens('100k', path=os.environ.get('RECSYS_COURSE_DATA')))
    splits = [inter.split('user_random', .25, s) for s in split_seeds]
    fit_part, valid = splits[0][0].split('user_random', .1, seed=1)
    rows = []
    for name, grid in {'Popular': [lambda s: Popular()], **GRIDS}.items():
        make = chosen(grid, fit_part, valid)
        runs, start = [], time.perf_counter()
        for s in seeds if hasattr(make(0), 'seed') else seeds[:1]: runs.append(make(s).fit(splits[0][0]))
        fit = (time.perf_counter() - start)/len(runs)
        others = [figures(make(seeds[0]).fit(tr), te)[1] for tr, te in splits[1:]]
        rows.append([name, settings(runs[0]), *(f'{o:.3f}' for o in np.mean([figures(m, splits[0][1]) for m in runs], axis=0)), ' '.join(f'{o:.3f}' for o in others), f'{fit:.2f}'])
    rows += [[f'{n}, published', '', *(f'{o:.3f}' for o in v), '', ''] for n, v in PUBLISHED.items()]
    return table(['model', 'chosen', 'MAP', 'nDCG', 'precision', 'recall', f'nDCG, splits {split_seeds[1:]}', 'fit, s'], rows)

class Peer(Recommender):
    "A fitted model of implicit behind this library's contract"
    def __init__(self, model): self.model = model
    def scores(self, user_codes): return np.asarray(self.model.user_factors[user_codes] @ self.model.item_factors.T, np.float32)

@contextmanager
def one_blas_thread():
    "Linear algebra of NumPy on one thread, as implicit asks; the models have threads of their own"
    try: from threadpoolctl import threadpool_limits
    except ImportError: limit = nullcontext()
    else: limit = threadpool_limits(1)
    with limit, warnings.catch_warnings():
        warnings.simplefilter('ignore')
        yield

def timed(makes, n):
    "Last fitted model and seconds of each of `makes`, called in turns `n` times"
    times, models = [[] for _ in makes], [None]*len(makes)
    for _ in range(n):
        for j, make in enumerate(makes):
            start = time.perf_counter()
            models[j] = make()
            times[j].append(time.perf_counter() - start)
    return models, np.array(times)

def unchecked(model):
    "The same model without the check of its lists against `Popular`, which implicit does not make"
    model.check_lists = False
    return model

def pairs(n_factors, threads):
    "For each kind of model, its iterations and a function of (regularisation, train) for us and for implicit, and grids"
    from implicit.cpu.als import AlternatingLeastSquares
    from implicit.cpu.bpr import BayesianPersonalizedRanking
    def als(reg, train, **kw):
        m = AlternatingLeastSquares(factors=n_factors, iterations=15, alpha=3., regularization=reg, num_threads=threads, random_state=42, **kw)
        m.fit(train.csr(), show_progress=False)
        return m
    def bpr(reg, train):
        m = BayesianPersonalizedRanking(factors=n_factors, iterations=20, learning_rate=.05, regularization=reg, num_threads=threads, random_state=42)
        m.fit(train.csr(), show_progress=False)
        return m
    ours = lambda solver: lambda reg, train: unchecked(ImplicitALS(n_factors, 15, alpha=2., reg=reg, solver=solver, n_threads=threads)).fit(train)
    als_grids = (.08, .16, .32, .64), (1., 10., 100., 200.)
    return {'ALS, conjugate gradients': (15, ours('cg'), als, *als_grids, 1), 'ALS, Cholesky': (15, ours('cholesky'), lambda reg, train: als(reg, train, use_cg=False), *als_grids, 0),
            'BPR': (20, lambda reg, train: unchecked(BPR(n_factors, 20, lr=.05, reg=reg, n_threads=threads)).fit(train), bpr, (.005, .01, .02, .04), (.02, .05, .1, .2), 1)}

def best(make, grid, fit_part, valid, wrap):
    "The regularisation with the highest nDCG on `valid`"
    return max(grid, key=lambda reg: figures(wrap(make(reg, fit_part), fit_part), valid)[1])

def peer(n=1_000_000, n_users=10_000, n_items=5_000, n_factors=64, repeats=5):
    "ImplicitALS and BPR against implicit on the simulated world"
    inter = to_implicit(World(n_users=n_users, n_items=n_items).sample(n))
    train, test = inter.split('user_random', .25)
    fit_part, valid = train.split('user_random', .1, seed=1)
    small = to_implicit(World().sample(5000))
    for m in (ImplicitALS(n_factors, 1), ImplicitALS(n_factors, 1, solver='cholesky'), BPR(n_factors, 1)): m.fit(small)      # compiled before the clock starts
    wraps, rows, regs = (lambda m, tr: m, lambda m, tr: Recommender.fit(Peer(m), tr)), [], {}
    with one_blas_thread():
        for threads in (1, 2):
            for name, (iters, a, b, grid_a, grid_b, tune) in pairs(n_factors, threads).items():
                kind = name.split(',')[0]
                if tune and kind not in regs: regs[kind] = [best(f, g, fit_part, valid, w) for f, g, w in zip((a, b), (grid_a, grid_b), wraps)]
                models, times = timed([lambda f=f, r=r: f(r, train) for f, r in zip((a, b), regs[kind])], repeats)
                med, ratio = np.median(times, axis=1), np.median(times[1]/times[0])
                nd = [figures(w(m, train), test)[1] for m, w in zip(models, wraps)]
                rows.append([name, threads, iters, f'{regs[kind][0]:g} / {regs[kind][1]:g}', f'{med[0]:.2f}', f'{med[1]:.2f}', f'{ratio:.2f}', f'{nd[0]:.4f}', f'{nd[1]:.4f}'])
    popular = figures(Popular().fit(train), test)[1]
    return table(['model', 'threads', 'iterations', 'reg (ours / implicit)', 'ours, s', 'implicit, s', 'times faster', 'nDCG, ours', 'nDCG, implicit'], rows) + ['', f'Popular: nDCG {popular:.4f}.']

def main():
    "Print both tables and return them as markdown"
    lines = ["""MovieLens 100K, every rating a yes, 75 % of each user's rows for training: rows get random numbers from `RandomState(42)` in the order of the file, are ranked
by them within each user, and the last quarter is test, which is how the `recommenders` library splits with seed 42. Ten items a list, rows of train left out, means over
users: precision (hits/10), recall (over all of the user's test rows), binary nDCG, MAP (over all of the user's test rows). One setting a model, chosen by nDCG on a tenth of
train (split seed 1) and then used for all splits; test was used once. Mean over three seeds of the model. Published figures are those of that library's own table.""", '', *movielens(), '']
    try: import implicit
    except ImportError: lines.append('implicit is not installed: no comparison with it.')
    else: lines += [f"""Against implicit {implicit.__version__}: `World(n_users=10_000, n_items=5_000).sample(1_000_000)`, 25 % of each user's rows for test, 64 factors, the same confidence
(3 for an event, 1 for none), step size .05 for BPR, iterations and threads. Regularisation of each library is chosen on a tenth of train out of four values. Median of five
fits in turns, compilation apart and without our check of the lists against `Popular`; "times faster" is the median of the ratios of neighbouring fits.""", '', *peer()]
    text = '\n'.join(lines)
    print(text)
    return text

if __name__ == '__main__': main()
