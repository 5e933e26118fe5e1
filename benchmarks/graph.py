"""Lists on large, sparse catalogues: Amazon CDs (43,169 people, 35,648 items, the split published with UltraGCN), Toys and Sports, all at default settings.

    OMP_NUM_THREADS=1 python benchmarks/graph.py                          # all models but the slow ones
    OMP_NUM_THREADS=1 python benchmarks/graph.py ItemGraph ImplicitALS    # some of them, by name
    OMP_NUM_THREADS=1 python benchmarks/graph.py 'Amazon Toys'            # one of the data sets

The folders `amazon-cds` and `s3rec` are looked for in the folder that RECSYS_COURSE_DATA names. All items are ranked, ties by item
code, what is in train is left out; recall is the share of a person's test items found. One thread unless OMP_NUM_THREADS says otherwise."""
import os, sys, time
from pathlib import Path

for o in ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS'): os.environ.setdefault(o, '1')     # before NumPy is loaded

import numpy as np, pandas as pd

from measure import interval, peak_growth, table

from recsys_course.data import Interactions
from recsys_course.datasets import load_sequences
from recsys_course.graph import Blend, ItemGraph, LightGCN
from recsys_course.implicit import EASE, ImplicitALS
from recsys_course.recommender import ItemKNN, Popular

MODELS = {'Popular': Popular, 'ItemKNN': lambda: ItemKNN(centre=False), 'EASE of neighbours': lambda: EASE(n_neighbours=200), 'ImplicitALS': lambda: ImplicitALS(n_threads=1),
          'ItemGraph': lambda: ItemGraph(n_threads=1), 'ItemGraph, 64 factors': lambda: ItemGraph(n_factors=64, n_threads=1),
          'Blend': lambda: Blend({'graph': ItemGraph(n_threads=1), 'als': ImplicitALS(n_threads=1)}), 'LightGCN': lambda: LightGCN(n_epochs=20)}
SLOW = 'LightGCN', 'EASE of neighbours'

def read(file):
    "A log from lines of a user followed by items"
    pairs = [(int(u), int(i)) for line in open(file) for u, *items in [line.split()] for i in items]
    return pd.DataFrame(pairs, columns=['user', 'item']).assign(rating=1.)

def amazon_cds(folder=None):
    "(train, test)"
    folder = Path(folder or os.environ.get('RECSYS_COURSE_DATA', '../shared/data'))/'amazon-cds'
    return Interactions.from_df(read(folder/'train.txt'), name='Amazon CDs'), read(folder/'test.txt')

def figures(model, test, k=20):
    "Recall and nDCG at k of each person with test rows that train knows, and seconds of one core to make all lists"
    df = test[test.user.isin(model.users.ids)]
    users = df.user.unique()
    start = time.thread_time()
    codes, _ = model.best_items(model.query(users), k)
    took = time.thread_time() - start
    wanted = dict(tuple(df.groupby('user')['item']))
    disc = 1/np.log2(np.arange(2, k + 2))
    known, res = np.concatenate([[-1], model.items.ids]), []
    for u, row in zip(users, codes):
        liked = wanted[u].to_numpy()
        hit = np.isin(known[row.clip(0)], liked) & (row > 0)
        res.append((hit.sum()/len(liked), (hit*disc[:len(hit)]).sum()/disc[:min(k, len(liked))].sum()))
    return np.array(res), took

def measured(name, make, train, test):
    "A row of the table, and the figures of each person"
    def fitted():
        start, work = time.perf_counter(), time.thread_time()
        model = make().fit(train)
        return model, time.perf_counter() - start, time.thread_time() - work
    (model, seconds, work), grown, _ = peak_growth(fitted)
    if name == 'ItemGraph': print(f'bare sparse product: {bare_product(model):.1f} s', file=sys.stderr)
    each, took = figures(model, test)
    recall, ndcg = each.mean(0)
    print(name, f'{recall:.4f} {ndcg:.4f}', f'{seconds:.1f} s, {work:.1f} of work, lists {took:.1f}, {grown/2**30:.2f} GB', getattr(model, 'shares', ''), flush=True, file=sys.stderr)
    return [name, f'{recall:.4f}', f'{ndcg:.4f}', f'{seconds:.1f}', f'{work:.1f}', f'{took:.1f}', f'{grown/2**30:.2f}'], each

def bare_product(model, size=1000):
    "Seconds of one core for the sparse product of all histories with the links, by SciPy"
    start = time.thread_time()
    for a in range(0, model.X.shape[0], size): model.X[a:a+size]@model.weights
    return time.thread_time() - start

def shopping(name):
    "(train, test) of Amazon Toys or Sports: a random quarter of each person's items is the test"
    train, test = load_sequences(Path(os.environ.get('RECSYS_COURSE_DATA', '../shared/data'))/f's3rec/{name}.txt').split('user_random', .25)
    return train, test.df

SETS = {'Amazon CDs': amazon_cds, 'Amazon Toys': lambda: shopping('Toys_and_Games'), 'Amazon Sports': lambda: shopping('Sports_and_Outdoors')}

def on_set(data, chosen):
    "Markdown lines of one data set"
    train, test = SETS[data]()
    rows, each = [], {}
    for name in chosen:
        row, each[name] = measured(name, MODELS[name], train, test)
        rows.append(row)
    base = each.get('ItemGraph')
    for row in rows: row.append('' if base is None or row[0] == 'ItemGraph' else interval(each[row[0]][:, 1] - base[:, 1], n=400))
    head = ['model', 'recall@20', 'nDCG@20', 's to fit', 's of work', 's of work for all lists', 'GB more at the peak of fit', 'nDCG less that of ItemGraph (95 %)']
    return [f'### {data}, default settings, all items ranked: {len(train.users) - 1:,} people, {len(train.items) - 1:,} items, {len(train):,} rows of train', '', *table(head, rows), *said(data, rows)]

def said(data, rows):
    "Who has the highest recall and nDCG, and how `ItemGraph` stands to `ImplicitALS`"
    got = {r[0]: tuple(map(float, r[1:3])) for r in rows}
    best = [max(got, key=lambda n: got[n][k]) for k in (0, 1)]
    line = f'{data}: the highest recall is that of `{best[0]}` ({got[best[0]][0]:.4f}), the highest nDCG that of `{best[1]}` ({got[best[1]][1]:.4f}).'
    if {'ItemGraph', 'ImplicitALS'} <= set(got): line += ' `ItemGraph` less `ImplicitALS`: recall {:+.4f}, nDCG {:+.4f}.'.format(*np.subtract(got['ItemGraph'], got['ImplicitALS']))
    return [line, '']

def main(names=()):
    "Markdown lines"
    ItemGraph(n_threads=1).fit(amazon_cds()[0].take(np.arange(604_475) < 5000))         # compiled before the clock starts
    chosen = [n for n in names if n in MODELS] or [n for n in MODELS if n not in SLOW]
    return [line for data in ([n for n in names if n in SETS] or SETS) for line in on_set(data, chosen)]

if __name__ == '__main__': print('\n'.join(main(sys.argv[1:])))
