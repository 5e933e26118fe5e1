"""What features are worth: new items held out whole, old items, and shuffled features, on MovieLens 100K, MovieLens latest-small with tags, and Amazon Toys with attributes.

    OMP_NUM_THREADS=1 python benchmarks/features.py              # all tables
    OMP_NUM_THREADS=1 python benchmarks/features.py new ml-100k  # some of them: new, old, shuffle; ml-100k, latest-small, toys

The folders `ml-100k`, `ml-latest-small` and `s3rec` are looked for in $RECSYS_COURSE_DATA. One thread. New: 20 % of the items are held out with all their rows, and only these are ranked, for everybody who
met at least one of them. Tags of latest-small: all that was ever written, by 58 people; these people are in train but are not judged, so that no tag was written by somebody whose list is judged.
The first choice among kinds of hybrids was made on seeds 0 to 2 of MovieLens 100K, which are among the five."""
import json, os, sys, time
from pathlib import Path

for o in ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS'): os.environ.setdefault(o, '1')     # before NumPy is loaded

import numpy as np, pandas as pd

from measure import table

from recsys_course.data import Interactions
from recsys_course.datasets import load_movielens
from recsys_course.features import ContentKNN, Features, Hybrid, ndcg_by_user, shuffle_test
from recsys_course.graph import ItemGraph
from recsys_course.implicit import EASE, ImplicitALS, to_implicit
from recsys_course.recommender import Popular, Recommender

HERE = Path(os.environ.get('RECSYS_COURSE_DATA', '../shared/data'))
SEEDS = range(5)

class Random(Recommender):
    "Any order, the same for everybody"
    personal = False
    def scores(self, user_codes): return np.tile(np.random.default_rng(0).random(len(self.items), np.float32), (len(user_codes), 1))

class GenrePopular(Recommender):
    "The mean popularity of an item's words, each mean pulled to that of all items by five items"
    personal = False
    def __init__(self, column): self.column = column
    def fit(self, train):
        super().fit(train)
        made = Features([self.column], text=[]).fit(train.item_info)
        has = (made.matrix(train.item_info.reindex(train.items.ids)) > 0).astype(float)
        count = np.bincount(train.codes()[1], minlength=len(self.items))[1:]
        met = count > 0
        means = (has[met].T@count[met] + 5*count[met].mean())/(np.asarray(has[met].sum(0)).ravel() + 5)
        self.item_scores = np.float32(np.append(0, has@means/np.maximum(np.asarray(has.sum(1)).ravel(), 1)))
        return self
    def scores(self, user_codes): return np.tile(self.item_scores, (len(user_codes), 1))

def ml_100k():
    "Log with genres, year, title; the column of its words; whom not to judge"
    return to_implicit(load_movielens('100k', path=HERE/'ml-100k')), 'genres', []

def latest_small():
    "Log with genres, year, title and tags; the column of its words; the people who wrote tags"
    log, tags = to_implicit(load_movielens('latest-small', path=HERE/'ml-latest-small')), pd.read_csv(HERE/'ml-latest-small'/'tags.csv')
    word = tags.tag.astype(str).str.lower().str.strip().str.replace('|', ' ')
    info = log.item_info.assign(tags=word.groupby(tags.movieId).agg(lambda o: '|'.join(sorted(set(o)))).reindex(log.item_info.index))
    return Interactions(log.df, log.users, log.items, info, log.user_info, log.name), 'genres', tags.userId.unique()

def toys():
    "Log with attributes; the column of its words; whom not to judge"
    lines = (HERE/'s3rec'/'Toys_and_Games.txt').read_text().splitlines()
    rows = [(int(u), int(i)) for u, *items in map(str.split, lines) for i in items]
    said = json.loads((HERE/'s3rec'/'Toys_and_Games_item2attributes.json').read_text())
    info = pd.DataFrame(dict(attributes=[list(map(str, o)) for o in said.values()]), pd.Index(map(int, said), name='item'))
    return to_implicit(Interactions.from_df(pd.DataFrame(rows, columns=['user', 'item']), rating=None, item_info=info, duplicates='keep', name='Amazon Toys')), 'attributes', []

DATA = {'ml-100k': ml_100k, 'latest-small': latest_small, 'toys': toys}
TITLES = {'ml-100k': 'MovieLens 100K', 'latest-small': 'latest-small, with tags', 'toys': 'Toys, attributes'}

def without(log, who):
    "Rows of all but some people"
    return log.take(~log.df.user.isin(who).to_numpy())

def new_items(log, seed, share=.2):
    "(train, test, raw ids of the items that only test has)"
    i = log.codes()[1]
    met = np.unique(i)
    new = np.random.default_rng(seed).permutation(met)[:round(share*len(met))]
    mask = np.isin(i, new)
    return log.take(~mask), log.take(mask), log.items.decode(np.sort(new))

def old_items(log, seed):
    "(train, test, None): a random quarter of the rows, those of items that train has"
    train, test = log.split('random', test=.25, seed=seed)
    return train, test.take(np.isin(test.codes()[1], train.codes()[1])), None

def rivals(word, new, n_items):
    "{name: function that makes a model}"
    hybrid, content = lambda: Hybrid(), {f'ContentKNN, {word} only': lambda: ContentKNN(Features([word])), 'ContentKNN': ContentKNN}
    if new: return {'random': Random, f'popularity of {word}': lambda: GenrePopular(word), **content, 'Hybrid': hybrid}
    return {'Popular': Popular, 'ContentKNN': ContentKNN, 'ItemGraph': ItemGraph, 'ImplicitALS': ImplicitALS, **({'EASE': EASE} if n_items < 10_000 else {}), 'Hybrid': hybrid}

def interval(tables, seed=0, n=1000):
    "Mean of figures with its 95 % interval: seeds are drawn, and in each of them people"
    rng, tables = np.random.default_rng(seed), [np.asarray(t) for t in tables]
    draw = lambda t: t[rng.integers(len(t), size=len(t))].mean()
    means = [np.mean([draw(tables[k]) for k in rng.integers(len(tables), size=len(tables))]) for _ in range(n)]
    return np.mean([t.mean() for t in tables]), *np.quantile(means, [.025, .975])

def measured(models, splits, skip):
    "({name: figures by user of each split}, {name: seconds of work to fit}, what Hybrid chose)"
    found, took, chosen = {n: [] for n in models}, {n: 0. for n in models}, []
    for train, test, items in splits:
        for name, make in models.items():
            start = time.process_time()
            model = make()
            model.check_lists = False
            model.fit(train)
            took[name] += time.process_time() - start
            found[name].append(ndcg_by_user(model, train, without(test, skip), items=items))
            if name == 'Hybrid': chosen.append((type(model.by_ids).__name__, *model.chosen.values()))
            print(name, round(found[name][-1].mean(), 4), round(took[name], 1), chosen[-1:], flush=True, file=sys.stderr)
    return found, took, chosen

def short(v): return f'{v:.3f}'.replace('0.', '.')

def summary(name, found):
    "The row of one data set in the table of new items"
    gain = [h - t for h, t in zip(found['Hybrid'], found['ContentKNN'])]
    with_interval = lambda tables, plus='': '{} ({} to {})'.format(*((plus if k == 0 and o > 0 else '') + short(o) for k, o in enumerate(interval(tables))))
    return [TITLES[name], *(short(interval(t)[0]) for n, t in found.items() if n != 'Hybrid'), with_interval(found['Hybrid']), with_interval(gain, '+')]

def ranking_table(name, kind):
    "(Markdown lines, the row of the table of new items)"
    log, word, skip = DATA[name]()
    seeds = SEEDS if name != 'toys' else SEEDS[:3] if kind == 'new' else SEEDS[:1]              # Toys takes long
    splits = (({'new': new_items, 'old': old_items}[kind])(log, seed) for seed in seeds)
    found, took, chosen = measured(rivals(word, kind == 'new', len(log.items)), splits, skip)
    rows = []
    for n, told in found.items():
        gain = [h - t for h, t in zip(found['Hybrid'], told)]
        rows.append([n, '{:.4f} ({:.4f} to {:.4f})'.format(*interval(told)), '' if n == 'Hybrid' else '{:+.4f} ({:+.4f} to {:+.4f})'.format(*interval(gain)), f'{took[n]/len(chosen):.1f}'])
    said = '; '.join(f'{m} {reg:g} {met:g} {old:g}' for m, reg, met, old in chosen)
    title = f'### {log.name}, {"new items" if kind == "new" else "old items"}: {len(log.df):,} events, {len(log.items) - 1:,} items'
    return [title, '', f'Chosen by `Hybrid` for each seed (ids, reg, met_weight, old_weight): {said}.', '', *table(['model', 'nDCG@10 (95 %)', 'Hybrid less this (95 %)', 's of work to fit'], rows)], summary(name, found) if kind == 'new' else None

def shuffle_rows(name):
    "Rows of the table of shuffles: new items, and old ones"
    log, word, skip = DATA[name]()
    rows = []
    for kind, split in (('new', new_items), ('old', old_items)):
        train, test, items = split(log, 0)
        for columns in ([word], [c for c in train.item_info if c != word]):
            if not columns: continue
            t = shuffle_test(Hybrid, train, without(test, skip), columns, items=items)
            told = ['{value:.4f}, gain {gain:+.4f} ({low:+.4f} to {high:+.4f})'.format(**t.loc[r]) for r in ('shuffled', 'without')]
            rows.append([log.name, kind, ', '.join(columns), f'{t.value["true"]:.4f}', *told])
            print(rows[-1], flush=True, file=sys.stderr)
    return rows

def main(names=()):
    "Markdown lines"
    kinds, sets = [o for o in ('new', 'old', 'shuffle') if o in names] or ['new', 'old', 'shuffle'], [o for o in DATA if o in names] or list(DATA)
    lines = ['### What features are worth', '']
    for kind in kinds[:]:
        if kind != 'shuffle':
            tables, rows = zip(*(ranking_table(name, kind) for name in sets))
            if kind == 'new': lines += table(['data', 'random', 'popularity of genre', 'content, genres only', 'content', 'Hybrid', 'Hybrid less content'], rows)
            lines += [l for t in tables for l in t]
        else: lines += ['### Features shuffled among items, nDCG@10 of `Hybrid`', '', *table(['data', 'items', 'columns', 'true', 'shuffled', 'without'], [r for name in sets for r in shuffle_rows(name)])]
    return lines

if __name__ == '__main__': print('\n'.join(main(sys.argv[1:])))
