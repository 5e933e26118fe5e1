"""Newcomers after 0, 1, 2, 5 and 10 answers: what each remedy predicts, and what its lists find.

    OMP_NUM_THREADS=1 python benchmarks/newcomers.py                     # MovieLens 100K, latest-small, FilmTrust
    OMP_NUM_THREADS=1 python benchmarks/newcomers.py filmtrust           # one of them

300 people are left out, five times with other people; up to half of their ratings, 20 at most, are the test, and of the others they reveal the
first 0 to 10 in an order drawn by lot. RMSE: predictions of the test, clipped to the scale. nDCG@10: all items but those that they could reveal are
ranked; a hit is a test item rated 4 or more (FilmTrust, of 0.5 to 4: 3 or more); people who liked none are left out. A third of all people (300 of MovieLens 100K)
are never among the 300: defaults were chosen on them. The 95 % intervals are over people, drawn again with all that was measured on them."""
import os, sys, time
from pathlib import Path

for o in ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS'): os.environ.setdefault(o, '1')     # before NumPy is loaded

import numpy as np, pandas as pd

from measure import table

from recsys_course.bayes import BayesianMF
from recsys_course.bootstrap import ColdStart, average_user
from recsys_course.data import Interactions
from recsys_course.datasets import load_movielens
from recsys_course.factorize import BiasedMF
from recsys_course.graph import ItemGraph
from recsys_course.implicit import EASE, ImplicitALS, to_implicit
from recsys_course.recommender import Bias, Popular, User
from recsys_course.sequence import NextItem

STEPS = 0, 1, 2, 5, 10
SETS = {'100k': ('MovieLens 100K', lambda root: load_movielens('100k', path=root, download=False), 4),
        'latest': ('MovieLens latest-small', lambda root: load_movielens('latest-small', path=root, download=False), 4),
        'filmtrust': ('FilmTrust', lambda root: Interactions.from_df(pd.read_csv(root/'filmtrust/ratings.txt', sep=r'\s+', names=['user', 'item', 'rating']), duplicates='mean'), 3)}
LISTS = {'ImplicitALS alone': lambda: ImplicitALS(n_threads=1), 'EASE alone': EASE, 'ItemGraph alone': lambda: ItemGraph(n_threads=1), 'NextItem of counts alone': lambda: NextItem(how='counts')}

class Newcomers:
    "People who are left out, what they reveal, and what they are judged by"
    def __init__(self, inter, liked, seed, n=300):
        people = inter.users.ids.to_numpy()
        tried = np.random.default_rng(0).choice(people, min(300, len(people)//3), replace=False)
        others = np.setdiff1d(people, tried)
        self.held = np.sort(np.random.default_rng(seed).choice(others, min(n, 3*len(others)//4), replace=False))
        mask = inter.df.user.isin(self.held).to_numpy()
        self.train, rest = inter.take(~mask), inter.df[mask].sample(frac=1, random_state=seed)
        met = rest['item'].isin(self.train.df['item'])                     # what nobody else has met, no model can say a word about
        rest = rest[met]
        size = rest.groupby('user')['item'].transform('size')
        in_test = (rest.groupby('user').cumcount() < (size//2).clip(upper=20)).to_numpy()
        self.test, shown = rest[in_test], rest[~in_test]
        self.reveal = {u: {} for u in self.held} | {u: dict(zip(g['item'], g.rating)) for u, g in shown.groupby('user')}
        self.row, self.col = np.searchsorted(self.held, self.test.user), self.train.items.encode(self.test['item'])
        good = (self.test.rating >= liked).to_numpy()
        self.hidden = np.zeros((len(self.held), len(self.train.items)), bool)
        self.hidden[self.row[good], self.col[good]] = True
        self.seen = np.zeros_like(self.hidden)
        for k, u in enumerate(self.held): self.seen[k, self.train.items.encode(list(self.reveal[u])) if self.reveal[u] else []] = True
        self.seen[:, 0] = True

    def told(self, n): return [dict(list(self.reveal[u].items())[:n]) for u in self.held]

    def gains(self, scores):
        "nDCG@10 of each, NaN for those who liked nothing"
        top = np.argsort(np.where(self.seen, np.inf, -scores), axis=1, kind='stable')[:, :10]
        disc = 1/np.log2(np.arange(2, 12))
        ideal = np.r_[np.nan, np.cumsum(disc)][np.minimum(self.hidden.sum(1), 10)]
        return (np.take_along_axis(self.hidden, top, 1)*disc).sum(1)/ideal

    def errors(self, scores):
        "(sum of squared errors of each, how many rows)"
        squared = (np.clip(scores[self.row, self.col], *self.train.df.rating.agg(['min', 'max'])) - self.test.rating.to_numpy())**2
        return np.stack([np.bincount(self.row, squared, len(self.held)), np.bincount(self.row, minlength=len(self.held))], 1)

def by_clicks(who, make, popular):
    "Gains of a list model alone, of what is popular where nothing was said"
    model = make()
    model.check_lists = False
    model.fit(to_implicit(who.train))
    for n in STEPS:
        scores = np.stack([model.vector_scores(model.fold_in(dict.fromkeys(h, 1.)).vector[None])[0] if h else popular for h in who.told(n)])
        yield n, who.gains(scores), None

def by_stars(who, model):
    "Errors of the model's own fold-in, of the average user where nothing was said"
    nobody = average_user(model).vector
    for n in STEPS: yield n, None, who.errors(model.vector_scores(np.stack([model.fold_in(h).vector if h else nobody for h in who.told(n)])))

def by_cold(who, cold, profiles=None):
    "Gains and errors of ColdStart"
    for n in STEPS:
        asks = [User(h, None if profiles is None else profiles.get(u)) for u, h in zip(who.held, who.told(n))]
        vectors = [cold.star_vector(o)[0] for o in asks]
        stars = cold.ready.vector_scores(np.stack([cold.prior.mean if v is None else v for v in vectors]))
        yield n, who.gains(cold.query_scores(cold.query(asks))), who.errors(stars)

def remedies(who):
    "(name, answers, gains or None, errors or None)"
    train = who.train
    popular, model, bias = Popular().fit(train), BiasedMF(n_factors=20).fit(train), Bias().fit(train)
    same = who.gains(np.tile(popular.item_scores, (len(who.held), 1)))
    average = who.errors(np.tile(model.vector_scores(average_user(model).vector[None]), (len(who.held), 1)))
    for n in STEPS: yield 'popular, average user', n, same, average
    cold = ColdStart(model, train)
    yield from (('ColdStart', *o) for o in by_cold(who, cold))
    if train.user_info is not None:
        about = {u: row.dropna().to_dict() for u, row in train.user_info[['age', 'gender', 'occupation']].iterrows()}
        yield from (('ColdStart, with profile', *o) for o in by_cold(who, cold, about))
    yield from (('ColdStart(lists=None)', n, g, None) for n, g, _ in by_cold(who, ColdStart(model, train, lists=None)))
    for name, make in LISTS.items():
        if name == 'EASE alone' and len(train.items) > 5000: make = lambda: EASE(n_neighbours=200)
        yield from ((name, *o) for o in by_clicks(who, make, popular.item_scores))
    yield from (('BiasedMF, its own fold-in', *o) for o in by_stars(who, model))
    yield from (('Bias, one number', *o) for o in by_stars(who, bias))
    yield from (('BayesianMF, its own fold-in', *o) for o in by_stars(who, BayesianMF().fit(train)))

def with_interval(parts, f, n_boot=400):
    "A figure of rows of people, and its 95 % interval: people are drawn again, each with the rows of all seeds"
    people, rows = (np.concatenate(o) for o in zip(*parts))
    person = np.unique(people, return_inverse=True)[1]
    n, rng = person.max() + 1, np.random.default_rng(0)
    low, high = np.quantile([f(rows, rng.multinomial(n, np.full(n, 1/n))[person]) for _ in range(n_boot)], [.025, .975])
    return f'{f(rows, np.ones(len(rows))):.3f} ({low:.3f} to {high:.3f})'.replace('0.', '.')

def mean_gain(rows, times):
    ok = np.isfinite(rows)
    return np.average(rows[ok], weights=times[ok])

def rmse(rows, times): return np.sqrt(times@rows[:, 0]/(times@rows[:, 1]))

def one_set(name, n_seeds=5, minutes=1):
    "Markdown lines of one data set; fewer seeds where they would take longer than so many minutes"
    title, load, liked = SETS[name]
    inter, found, start = load(Path(os.environ.get('RECSYS_COURSE_DATA', '../shared/data'))), {}, time.time()
    done = 0
    while done < n_seeds and (not done or (time.time() - start)*(done + 1)/done < 60*minutes):
        seed, done = done, done + 1
        who = Newcomers(inter, liked, seed)
        for remedy, n, gains, errors in remedies(who):
            for what, each in (('nDCG@10', gains), ('RMSE', errors)):
                if each is not None: found.setdefault((what, remedy), {}).setdefault(n, []).append((who.held, each))
        print(name, seed, f'{time.time() - start:.0f} s', flush=True, file=sys.stderr)
    lines = [f'### {title}, newcomers, {done} times {len(who.held)} people', '']
    for what, f in (('nDCG@10', mean_gain), ('RMSE', rmse)):
        rows = [[remedy, *(with_interval(by_n[n], f) for n in STEPS)] for (w, remedy), by_n in found.items() if w == what]
        lines += table([what, *(f'after {n}' for n in STEPS)], rows)
    return lines

def main(names=()):
    "Markdown lines"
    return [line for name in names or SETS for line in one_set(name)]

if __name__ == '__main__': print('\n'.join(main(sys.argv[1:])))
