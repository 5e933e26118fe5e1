"""Implicit feedback: the protocol of the `recommenders` benchmark table on MovieLens 100K, and speed and nDCG against implicit on three data sets, both searched.

    python benchmarks/implicit_feedback.py

`run.py` may call `main`. The module is not called `implicit`, so that it hides neither the peer nor `recsys_course.implicit`."""
import os, sys, time, warnings
from contextlib import contextmanager, nullcontext

import numpy as np

from graph import amazon_cds
from measure import drawn, interval, table

from recsys_course.data import Interactions
from recsys_course.datasets import load_movielens
from recsys_course.evaluate import ranking_metrics
from recsys_course.implicit import BPR, EASE, FactorModel, ImplicitALS, to_implicit, usual_events
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

class Peer(FactorModel):
    "A fitted model of implicit behind this library's contract; `popularity`: what its scores gain per logarithm of an item's events"
    def __init__(self, model, popularity=0.): self.model, self.popularity = model, popularity

    def fit(self, train):
        Recommender.fit(self, train)
        self.user_factors, self.item_factors = (np.ascontiguousarray(o, np.float32) for o in (self.model.user_factors, self.model.item_factors))
        self.item_bias = np.float32(self.popularity*np.log1p(np.bincount(train.codes()[1], minlength=len(self.items))))
        return self

@contextmanager
def one_blas_thread():
    "Linear algebra of NumPy on one thread, as implicit asks; the models have threads of their own"
    try: from threadpoolctl import threadpool_limits
    except ImportError: limit = nullcontext()
    else: limit = threadpool_limits(1)
    with limit, warnings.catch_warnings():
        warnings.simplefilter('ignore')
        yield

def unchecked(model):
    "The same model without the check of its lists against `Popular`, which implicit does not make"
    model.check_lists = False
    return model

# The two libraries. confidence: in an event, where an empty cell has 1; reg of ALS: in units of the mean confidence that the events of a row add, which is what `ImplicitALS` takes.

def our_als(train, confidence=None, reg=None, solver='cg', threads=1):
    return unchecked(ImplicitALS(FACTORS, 15, None if confidence is None else confidence - 1, reg, solver=solver, n_threads=threads)).fit(train)

def our_bpr(train, lr=.2, reg=.025, iterations=100, threads=1): return unchecked(BPR(FACTORS, iterations, lr, reg, n_threads=threads)).fit(train)

def their_als(train, confidence=1., reg=None, solver='cg', threads=1):
    from implicit.cpu.als import AlternatingLeastSquares
    reg = .01 if reg is None else reg*(confidence - 1)*usual_events(train.csr())[0]
    m = AlternatingLeastSquares(factors=FACTORS, iterations=15, alpha=confidence, regularization=reg, use_cg=solver == 'cg', num_threads=threads, random_state=42)
    m.fit(train.csr(), show_progress=False)
    return m

def their_bpr(train, lr=.01, reg=.01, iterations=100, threads=1):
    from implicit.cpu.bpr import BayesianPersonalizedRanking
    m = BayesianPersonalizedRanking(factors=FACTORS, iterations=iterations, learning_rate=lr, regularization=reg, num_threads=threads, random_state=42)
    m.fit(train.csr(), show_progress=False)
    return m

FACTORS = 64
KINDS = {'ALS': (our_als, their_als, dict(confidence=(1.5, 150), reg=(.04, .6))), 'BPR': (our_bpr, their_bpr, dict(lr=(.01, .3), reg=(.001, .2), iterations=(10, 60)))}
EQUAL = [('ALS, conjugate gradients', 'ALS', dict(confidence=3., reg=.3)), ('ALS, Cholesky', 'ALS', dict(confidence=3., reg=.3, solver='cholesky')), ('BPR', 'BPR', dict(lr=.05, reg=.01, iterations=20))]
POPULARITY = 0., .25, .5, .75, 1., 1.25

def amazon(seed=0):
    "Train and test of Amazon CDs as published with UltraGCN"
    train, test = amazon_cds()
    return train, Interactions.from_df(test[test['item'].isin(train.items.ids)])

SETS = {'MovieLens 100K': lambda: to_implicit(load_movielens('100k', path=os.environ.get('RECSYS_COURSE_DATA'))).split('user_random', .25), 'Amazon CDs': amazon,
        'World, 1,000,000': lambda: to_implicit(World(n_users=10_000, n_items=5_000).sample(1_000_000)).split('user_random', .25)}

def per_user(model, test): return ranking_metrics(model, test, k=10, metrics='ndcg', relevant=0, per_user=True)['ndcg@10']

def judges(valid, n=5000, seed=0):
    "The rows of at most `n` users"
    users = valid.df.user.unique()
    return valid if len(users) <= n else valid.take(valid.df.user.isin(np.random.default_rng(seed).choice(users, n, replace=False)).to_numpy())

def search(make, wraps, settings, fit_part, valid):
    "For each of `wraps`, which make a judged model of a fitted one, the setting with the highest nDCG on `valid`"
    found = [[] for _ in wraps]
    for s in settings:
        model = make(fit_part, **s)
        for f, wrap in zip(found, wraps): f.append(per_user(wrap(model, fit_part), valid).mean())
    return [(settings[int(np.argmax(f))], max(f)) for f in found]

def behind(popularity): return lambda model, train: Peer(model, popularity).fit(train)

def words(settings): return ', '.join(f'{k} {v:.2g}' for k, v in settings.items()) or 'its defaults'

def worked(make, train, **settings):
    "The model, and the seconds of work of its fit"
    start = time.process_time()
    model = make(train, **settings)
    return model, time.process_time() - start

def chosen_rows(data, train, test, n_trials):
    "Both libraries after the same search inside train, judged once on test: a row for each kind of model, and for implicit's BPR with popularity added"
    fit_part, valid = train.split('user_random', .1, seed=1)
    valid, popular, rows = judges(valid), per_user(Popular().fit(train), test), []
    for kind, (ours, theirs, space) in KINDS.items():
        settings, as_it_is = drawn(space, n_trials), lambda model, train: model
        (mine, _), = search(ours, [as_it_is], settings, fit_part, valid)
        weights = POPULARITY if kind == 'BPR' else POPULARITY[:1]
        plain, *more = search(theirs, [behind(w) for w in weights], settings, fit_part, valid)
        model, seconds = worked(ours, train, **mine)
        nd = per_user(model, test)
        for name, (setting, _), w in [(kind, plain, 0.), *([] if not more else [(f'{kind}, popularity added to implicit', *max(zip([plain, *more], weights), key=lambda o: o[0][1]))])]:
            other, theirs_took = worked(theirs, train, **setting)
            od = per_user(behind(w)(other, train), test)
            rows.append([data, name, words(mine), words(setting) + (f', popularity {w:g}' if w else ''), f'{seconds:.2f}', f'{theirs_took:.2f}', f'{nd.mean():.4f}', f'{od.mean():.4f}', interval(nd - od), f'{popular.mean():.4f}'])
            print(*rows[-1], sep=' | ', file=sys.stderr, flush=True)
    return rows

def equal_rows(data, train, repeats):
    "Seconds of work at the same settings: fits in turns, medians, and the median of the ratios of neighbouring fits"
    rows = []
    for name, kind, settings in EQUAL:
        if 'Cholesky' in name and 'Amazon' in data: continue
        ours, theirs, _ = KINDS[kind]
        times = np.array([[worked(f, train, **settings)[1] for f in (ours, theirs)] for _ in range(1 if 'Cholesky' in name else repeats)])
        rows.append([data, name, settings.get('iterations', 15), *(f'{o:.2f}' for o in np.median(times, axis=0)), f'{np.median(times[:, 1]/times[:, 0]):.2f}'])
        print(*rows[-1], sep=' | ', file=sys.stderr, flush=True)
    return rows

def peer(n_trials=10, repeats=3):
    "ImplicitALS and BPR against implicit: quality after the same search, and seconds of work at the same settings"
    small = to_implicit(World().sample(5000))
    for m in (ImplicitALS(FACTORS, 1), ImplicitALS(FACTORS, 1, solver='cholesky'), BPR(FACTORS, 1)): m.fit(small)      # compiled before the clock starts
    chosen, equal = [], []
    with one_blas_thread():
        for data, make in SETS.items():
            train, test = make()
            chosen += chosen_rows(data, train, test, n_trials)
            equal += equal_rows(data, train, repeats)
    return ['### Against implicit: chosen inside train', '', *table(['data', 'model', 'ours, chosen', 'implicit, chosen', 'ours, s', 'implicit, s', 'nDCG, ours', 'nDCG, implicit', 'ours less implicit (95 %)', 'Popular'], chosen), *findings(chosen), '',
            '### Against implicit: seconds at equal settings', '', *table(['data', 'model', 'iterations', 'ours, s', 'implicit, s', 'times faster'], equal)]

def findings(rows):
    "Who is ahead where, by intervals that leave out 0"
    said = []
    for kind in dict.fromkeys(r[1] for r in rows):
        ahead = {w: [f'{r[0]} {r[8].split(" ")[0]}' for r in rows if r[1] == kind and test(r[8])] for w, test in {'ours ahead': lambda d: d.count('+') == 3, 'implicit ahead': lambda d: d.count('-') == 3, 'level': lambda d: 0 < d.count('-') < 3}.items()}
        said.append(f'{kind}: ' + '; '.join(f'{w} on {", ".join(o)}' for w, o in ahead.items() if o) + '.')
    said.append('Seconds of ours over those of implicit, both at what was chosen: ' + '; '.join(f'{r[0]}, {r[1]} {float(r[4])/float(r[5]):.1f}' for r in rows) + '.')
    return said + ["""implicit draws the negatives of BPR from the log, so a popular item is as often the worse half of a pair as the better one, and popularity cancels out of its scores; our `BPR(how='popularity')` scores as low (step .05, penalty .01, 100 iterations, a tenth
of train of MovieLens 100K held out: .077, implicit .075, `Popular` .091, our uniform negatives .163). `verify_negative_samples` is on, as it comes. What it lacks can be put back without another fit: a weight (of 0, .25, .5, .75, 1 and 1.25, chosen on the same tenth of train) times
log(1 + events) is added to the scores. That row is what implicit's factors are worth; `recommend` of implicit gives the row above it.
Our defaults are rules that were chosen earlier, inside the training parts of these sets and others, so ours come to the search with more behind them than ten draws."""]

def main():
    "Print both tables and return them as markdown"
    lines = ["""MovieLens 100K, every rating a yes, 75 % of each user's rows for training: rows get random numbers from `RandomState(42)` in the order of the file, are ranked
by them within each user, and the last quarter is test, which is how the `recommenders` library splits with seed 42. Ten items a list, rows of train left out, means over
users: precision (hits/10), recall (over all of the user's test rows), binary nDCG, MAP (over all of the user's test rows). One setting a model, chosen by nDCG on a tenth of
train (split seed 1) and then used for all splits; test was used once. Mean over three seeds of the model. Published figures are those of that library's own table.""", '', *movielens(), '']
    try: import implicit
    except ImportError: lines.append('implicit is not installed: no comparison with it.')
    else: lines += [f"""Against implicit {implicit.__version__}, 64 factors, one thread, on three sets: MovieLens 100K (every rating a yes) and `World(n_users=10_000, n_items=5_000).sample(1_000_000)`, each with 25 % of a user's
rows for test, and Amazon CDs in the split published with UltraGCN. Each library runs with its defaults and with the same ten settings, drawn once; the best on a tenth of train (of at most 5,000 users)
is fitted on all of train and judged once on test. ALS: 15 iterations, confidence in an event 1.5 to 150, penalty .04 to .6 times the mean confidence of a row. BPR: step .01 to .3, penalty .001 to .2, 10 to 60 iterations, 100
with the defaults. Seconds are those of the processor, compilation apart and without our check of the lists against `Popular`. nDCG at 10; differences are means over the same users.""", '', *peer()]
    text = '\n'.join(lines)
    print(text)
    return text

if __name__ == '__main__': main()
