"""The next item on Amazon Toys and Sports (S3-Rec's files): hit rate and nDCG at 10 of the last item, all items ranked, beside published figures.

    OMP_NUM_THREADS=1 python benchmarks/sequence.py                  # all tables
    OMP_NUM_THREADS=1 python benchmarks/sequence.py counts           # some of them: counts, networks, movielens

One thread. The files `Toys_and_Games.txt` and `Sports_and_Outdoors.txt` are looked for in $RECSYS_COURSE_DATA/s3rec. Items of the history are never listed, ties go by item code.
'without refit' learns from all but the last two items of a user and reads all but the last; 'with refit' learns from all but the last."""
import os, sys, time
from pathlib import Path

for o in ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS'): os.environ.setdefault(o, '1')     # before NumPy is loaded

import numpy as np, pandas as pd

from measure import peak_growth, table

from recsys_course.data import Interactions
from recsys_course.datasets import load_movielens
from recsys_course.evaluate import ranking_metrics
from recsys_course.implicit import EASE, to_implicit
from recsys_course.recommender import ItemKNN, Popular, User
from recsys_course.sequence import NextItem, SASRec

FILES = {'Toys': 'Toys_and_Games', 'Sports': 'Sports_and_Outdoors'}
PUBLISHED = {'Toys': [('SASRec', 'S3-Rec paper', .068, .037), ('S3-Rec', 'S3-Rec paper', .070, .038)], 'Sports': [('SASRec', 'S3-Rec paper', .035, .019), ('S3-Rec', 'S3-Rec paper', .039, .020)]}

def sequences(name):
    "{user: items in order}"
    lines = (Path(os.environ.get('RECSYS_COURSE_DATA', '.'))/'s3rec'/f'{FILES[name]}.txt').read_text().splitlines()
    return {int(u): list(map(int, items)) for u, *items in map(str.split, lines)}

def log_of(seqs, cut):
    "Interactions of all but the last `cut` items"
    rows = [(u, i, t) for u, items in seqs.items() for t, i in enumerate(items[:-cut])]
    return Interactions.from_df(pd.DataFrame(rows, columns=['user', 'item', 'timestamp']), rating=None, duplicates='keep')

def judged(model, train, seqs, refit):
    "Hit rate and nDCG at 10 of the last item, and seconds to list; with refit the model has met each history, otherwise it is folded in"
    start = time.perf_counter()
    known = set(train.items.ids)
    asked = {u: items for u, items in seqs.items() if any(i in known for i in items[:-1])}
    codes = {u: [i for i in items[:-1] if i in known] for u, items in asked.items()}
    users, found = list(asked), []
    for part in np.array_split(np.arange(len(users)), max(1, len(users)//2000)):
        query = model.query([users[k] for k in part]) if refit else model.query([User(history=codes[users[k]]) for k in part])
        found.append(model.best_items(query, 10)[0])
    last = np.array([train.items.encode([asked[u][-1]], strict=False)[0] for u in users])
    hit = (np.concatenate(found) == last[:, None]) & (last > 0)[:, None]
    n = len(seqs)
    return hit.any(1).sum()/n, (hit/np.log2(np.arange(2, 12))).sum()/n, time.perf_counter() - start

def row(data, name, note, make, train, seqs, refit=True):
    "A row of the table"
    start = time.perf_counter()
    model, grown, _ = peak_growth(lambda: make().fit(train))
    fitted = time.perf_counter() - start
    hr, ndcg, listed = judged(model, train, seqs, refit)
    return [data, name, note, f'{hr:.4f}', f'{ndcg:.4f}', f'{fitted:.1f}', f'{listed:.1f}', f'{grown/1e6:.0f}']

HEAD = ['data', 'model', 'what it learns from', 'HR@10', 'nDCG@10', 'seconds to fit', 'seconds to list', 'MB of fit']

def published(data): return [[data, name, f'published ({where})', f'{hr:.3f}', f'{ndcg:.3f}', '', '', ''] for name, where, hr, ndcg in PUBLISHED[data]]

def counts(names=tuple(FILES)):
    "Counting, with and without refit"
    rows = []
    for data in names:
        seqs = sequences(data)
        short, long = log_of(seqs, 2), log_of(seqs, 1)
        NextItem(how='counts').fit(short.take(np.arange(len(short)) < 3000))       # compile
        rows += published(data)
        rows += [row(data, 'NextItem', 'without refit', NextItem, short, seqs, False), row(data, 'NextItem', 'with refit', NextItem, long, seqs)]
        rows += [row(data, 'NextItem(hops=0)', 'with refit', lambda: NextItem(hops=0.), long, seqs)]
    return ['### What comes next: counting', '', *table(HEAD, rows)]

def networks(minutes=5.):
    "SASRec on Toys for so many minutes"
    seqs = sequences('Toys')
    long = log_of(seqs, 1)
    make = lambda: SASRec(max_minutes=minutes)
    return ['### What comes next: a network on one CPU thread', '', *table(HEAD, [*published('Toys'), row('Toys', f'SASRec, {minutes:g} minutes', 'with refit, but the last item of 1,000 users, by which it stops', make, long, seqs)])]

def movielens():
    "MovieLens 100K, last film"
    train, test = to_implicit(load_movielens('100k', path=os.environ.get('RECSYS_COURSE_DATA'))).split('leave_last')
    models = {'Popular': Popular(), 'ItemKNN': ItemKNN(centre=False, shrink=20), 'EASE': EASE(), 'NextItem, counts': NextItem(how='counts'), 'NextItem, ridge': NextItem(how='ridge')}
    rows = []
    for name, m in models.items():
        start = time.perf_counter()
        m.fit(train)
        fitted = time.perf_counter() - start
        t = ranking_metrics(m, test, k=10, metrics=['hit_rate', 'ndcg'], relevant=0, n_boot=1000)
        rows.append([name, *(f'{r.value:.4f} ({r.low:.4f} to {r.high:.4f})' for r in t.itertuples()), f'{fitted:.1f}'])
    return ['### MovieLens 100K, last film, all films ranked', '', *table(['model', 'hit rate at 10', 'nDCG at 10', 'seconds to fit'], rows)]

def main(names=()):
    "Print the tables and return them as markdown"
    lines = ["""The last item of each user is asked for, all items are ranked, those of the history are left out, ties go by item code. Without refit: weights are learned from all but the last two items, and the history has all but the last.
With refit: both have all but the last. Settings were chosen on the item before the last, on both sets and MovieLens 100K at once. Published figures are those of the S3-Rec paper (Zhou and others, 2020), one negative per step.""", '']
    for name in names or ('counts', 'networks', 'movielens'): lines += globals()[name]()
    text = '\n'.join(lines)
    print(text)
    return text

if __name__ == '__main__': main(sys.argv[1:])
