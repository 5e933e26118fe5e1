"""Nearest neighbours and exact top-k: `ANNIndex` with each backend against exact search, a million vectors on disk, and exact lists for everybody against implicit and torch.

    OMP_NUM_THREADS=1 python benchmarks/retrieve.py               # all tables
    OMP_NUM_THREADS=1 python benchmarks/retrieve.py everybody     # some of them: curves, sizes, million, everybody

`run.py` may call `main`. Peers that are not installed are left out. With `CURVES=folder` the trade-off is also drawn to folder/NAME.png."""
import os, statistics, sys, tempfile, time
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path

for o in ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS'): os.environ.setdefault(o, '1')     # before NumPy is loaded

import numpy as np, scipy.sparse as sp

from measure import peak_growth, seconds, table
from recsys_course.datasets import load_movielens, load_sequences
from recsys_course.implicit import ImplicitALS, to_implicit
from recsys_course.retrieve import ANNIndex, top_k

HERE = Path(os.environ.get('RECSYS_COURSE_DATA', '../shared/data'))

BACKENDS = [b for b in ('faiss', 'hnswlib', 'usearch', 'annoy') if find_spec(b)]

def apart(f, *args):
    "`f(*args)` in a fresh process"
    with ProcessPoolExecutor(1, get_context('spawn')) as pool: return pool.submit(f, *args).result()

def clusters(n, seed, spread=.5, lengths=0., n_centres=1000, d=64):
    "Vectors around random centres; their lengths differ by a factor exp(lengths*normal)"
    rng, centres = np.random.default_rng(seed), np.random.default_rng(99).normal(size=(n_centres, d))
    x = centres[rng.integers(0, n_centres, n)] + spread*rng.normal(size=(n, d))
    return (x*np.exp(lengths*rng.normal(size=(n, 1)))).astype(np.float32)

def factors(n, seed, d=64):
    "Normal vectors whose k-th number has variance 1/k: a spectrum that falls as those of factor models do"
    return (np.random.default_rng(seed).normal(size=(n, d))*np.arange(1, d+1)**-.5).astype(np.float32)

DATA = {'clusters': ('1,000 clusters, spread 0.5', 'cosine', clusters), 'lengths': ('the same clusters, lengths that differ', 'dot', lambda n, seed: clusters(n, seed, lengths=.3)),
        'spectrum': ('one cloud with a falling spectrum, no clusters', 'cosine', factors), 'noise': ('independent normal numbers', 'cosine', lambda n, seed: clusters(n, seed, 1e3)),
        'albums': ('factors of `ImplicitALS` for the items of Amazon CDs', 'dot', None)}

LOGS = {'MovieLens 100K': lambda: to_implicit(load_movielens('100k', path=HERE)), 'Amazon Toys': lambda: load_sequences(HERE/'s3rec/Toys_and_Games.txt'), 'Amazon CDs': lambda: load_sequences(HERE/'amazon-cds/train.txt')}

@cache
def learned(name, d=64):
    "Factors of the people and of the items of a log, and what each has seen"
    log = LOGS[name]()
    m = ImplicitALS(d, n_threads=2)
    m.check_lists = False
    m.fit(log)
    return m.user_factors[1:].copy(), m.item_factors[1:].copy(), log.csr('ones')[1:, 1:].tocsr()

def albums(n_queries):
    "Item factors of Amazon CDs, factors of some of its people, and of others to choose effort by"
    users, items, _ = learned('Amazon CDs')
    who = np.random.default_rng(1).permutation(len(users))
    return items, *(users[o] for o in (who[:n_queries], who[n_queries:2*n_queries]))

def alone(x, metric):
    "Exact search for one query in NumPy: a product and a partition"
    x = x/np.linalg.norm(x, axis=1, keepdims=True) if metric == 'cosine' else x
    return lambda q: np.argpartition(-(x@q), 10)[:10]

def flat_search(x, q, metric):
    "Exact search of faiss for a batch"
    import faiss
    faiss.omp_set_num_threads(1)
    unit = lambda v: v/np.linalg.norm(v, axis=1, keepdims=True) if metric == 'cosine' else v
    flat, asked = faiss.IndexFlatIP(x.shape[1]), unit(q)
    flat.add(unit(x))
    return lambda: flat.search(asked, 10)

def curve(name, n=100_000, n_queries=2000):
    "Rows of the trade-off table for one kind of data, all on one thread but the builds"
    _, metric, make = DATA[name]
    x, q, like = (make(n, 0), make(n_queries, 1), None) if make else albums(n_queries)
    rows, first = [], q[:100]
    best = alone(x, metric)
    flat = seconds(flat_search(x, q, metric), lambda: top_k(q, x, 10, metric, n_threads=1), n=5)
    rows.append(['faiss IndexFlat', '-', '1.000', *(f'{n_queries/t:,.0f}' for t in flat), f'{flat[1]/flat[0]:.1f}', '-', '-', '-', '-', f'{x.nbytes/2**20:.0f}'])
    for backend in BACKENDS:
        start = time.perf_counter()
        index = ANNIndex(x, metric, backend, n_threads=2).build(like)
        built, index.n_threads = time.perf_counter() - start, 1
        with tempfile.TemporaryDirectory() as d: index.save(d); size = sum(p.stat().st_size for p in Path(d).iterdir())
        for e in sorted({32, 128, index.effort} - {None}):
            fs = [lambda: top_k(q, x, 10, metric, n_threads=1), lambda: index.query(q, 10, e), lambda: [best(o) for o in first], lambda: [index.query(o, 10, e) for o in first]]
            exact, ann, exact1, ann1 = (k/t for k, t in zip((n_queries, n_queries, 100, 100), seconds(*fs, n=2)))
            rows.append([backend, f'**{e}**' if e == index.effort else e, f'{index.recall(q, 10, e):.3f}', f'{ann:,.0f}', f'{exact:,.0f}', f'{ann/exact:.1f}', f'{ann1:,.0f}', f'{exact1:,.0f}', f'{ann1/exact1:.1f}', f'{built:.0f}', f'{size/2**20:.0f}'])
            print(name, *rows[-1], file=sys.stderr, flush=True)
    return rows

def draw(name, rows, folder):
    "The trade-off as a figure"
    import matplotlib; matplotlib.use('Agg')
    import matplotlib.pyplot as plt
    fig, ax = plt.subplots(figsize=(8, 4), layout='constrained')
    num = lambda s: float(s.replace(',', ''))
    for b in BACKENDS: ax.plot(*zip(*[(num(r[2]), num(r[3])) for r in rows if r[0] == b]), 'o-', label=b)
    ax.axhline(statistics.median(num(r[4]) for r in rows[1:]), ls='--', color='grey', label='exact, in a batch')
    ax.axhline(statistics.median(num(r[7]) for r in rows[1:]), ls=':', color='grey', label='exact, one at a time')
    ax.set(yscale='log', xlabel='recall@10', ylabel='queries a second, in a batch', title=f'{DATA[name][0]}, {DATA[name][1]}'); ax.legend(frameon=False, loc='center left', bbox_to_anchor=(1, .5))
    fig.savefig(folder/f'retrieve_{name}.png', dpi=100)
    return f'{folder.name}/retrieve_{name}.png'

def curves(names=tuple(DATA)):
    "Recall against queries a second on 100,000 x 64"
    head = ['backend', 'effort', 'recall@10', 'index, batch', 'exact, batch', 'ratio', 'index, alone', 'exact, alone', 'ratio', 'build, s', 'saved, MiB']
    lines = ['### Recall against queries a second: 100,000 x 64 (Amazon CDs: 35,648 x 64), one thread', '', 'Median of 2, in turns with exact search, so that each ratio is of one moment. Batch: 2,000 queries, exact is `top_k`; alone: one query a call,',
             'exact is one NumPy product and `argpartition`. All settings but effort at their defaults; builds on two threads. In bold the effort that the index chooses when built.', '']
    for name in names:
        rows = apart(curve, name)
        lines += [f'**{DATA[name][0]}, {DATA[name][1]}**', '', *table(head, rows)]
        if os.environ.get('CURVES'): lines += [f'![Recall against queries a second]({draw(name, rows, Path(os.environ["CURVES"]))})', '']
    return lines

def sizes(ns=(1682, 5000, 10_000, 20_000, 50_000, 200_000)):
    "From how many items on is the index quicker?"
    rows, each = [], {f'{n:,} in clusters': lambda n=n: (clusters(n, 0), clusters(1000, 1), None, 'cosine') for n in ns}
    def of_log(name):
        users, items, _ = learned(name)
        who = np.random.default_rng(1).permutation(len(users))
        return items, users[who[:1000]], users[who[1000:]] if len(who) > 2000 else None, 'dot'
    for name, make in (each | {name: lambda name=name: of_log(name) for name in LOGS}).items():
        x, q, like, metric = make()
        index, best, first, n = ANNIndex(x, metric, n_threads=2).build(like), alone(x, metric), q[:100], len(q)
        index.n_threads = 1
        e, a, e1, a1 = seconds(lambda: top_k(q, x, 10, metric, n_threads=1), lambda: index.query(q), lambda: [best(o) for o in first], lambda: [index.query(o) for o in first])
        rows.append([name if ' in ' in name else f'{len(x):,} of {name}', f'{index.recall(q):.3f}', f'{n/a:,.0f}', f'{n/e:,.0f}', f'{e/a:.2f}', f'{100/a1:,.0f}', f'{100/e1:,.0f}', f'{e1/a1:.2f}'])
    head = ['items', 'recall@10', 'index, batch', 'exact, batch', 'ratio', 'index, alone', 'exact, alone', 'ratio']
    return ['### When an index is worth it: clusters of 64 numbers, cosine, and factors of `ImplicitALS`, dot; faiss at its defaults, one thread', '', *table(head, rows)]

def write_million(folder):
    "Build and save a million vectors; seconds and peak bytes"
    x = clusters(1_000_000, 0)
    start = time.perf_counter()
    index = ANNIndex(x, n_threads=2).build()
    built = time.perf_counter() - start
    index.save(folder)
    return built, time.perf_counter() - start - built

def read_million(folder):
    "Load and query it; seconds of loading, recall, queries a second"
    start = time.perf_counter()
    index = ANNIndex.load(folder)
    loaded, q = time.perf_counter() - start, clusters(2000, 1)
    index.n_threads = 1
    t, = seconds(lambda: index.query(q))
    return loaded, index.recall(q), len(q)/t

def million():
    "A million vectors: built and saved in one process, loaded and queried in another"
    with tempfile.TemporaryDirectory() as d:
        (built, saved), w = apart(peak_growth_of, 'write_million', d)
        size = sum(p.stat().st_size for p in Path(d).iterdir())
        (loaded, recall, speed), r = apart(peak_growth_of, 'read_million', d)
    row = [f'{built:.0f}', f'{saved:.1f}', f'{size/1e9:.2f}', f'{w/1e9:.2f}', f'{loaded:.1f}', f'{r/1e9:.2f}', f'{recall:.3f}', f'{speed:,.0f}']
    head = ['build, s (2 threads)', 'save, s', 'files, GB', 'growth of the builder, GB', 'load in a fresh process, s', 'growth of the reader, GB', 'recall@10', 'queries a second (1 thread)']
    return ['### One million x 64, cosine, faiss at its defaults', '', *table(head, [row])]

def peak_growth_of(name, *args): return peak_growth(lambda: globals()[name](*args))[:2]

def rivals(users, items, seen):
    "Functions that give the top-10 of all users without what they have seen"
    res = {'top_k': lambda: top_k(users, items, 10, seen=seen, n_threads=2)[0]}
    if find_spec('implicit'):
        from implicit.cpu.als import AlternatingLeastSquares
        m = AlternatingLeastSquares(factors=users.shape[1], num_threads=2)
        m.user_factors, m.item_factors = users, items
        res['implicit recommend'] = lambda: m.recommend(np.arange(len(users)), seen, N=10, filter_already_liked_items=True)[0]
    if find_spec('torch'):
        import torch
        def whole():
            torch.set_num_threads(2)
            s = torch.from_numpy(users)@torch.from_numpy(items).T
            s[np.repeat(np.arange(len(users)), np.diff(seen.indptr)), seen.indices] = -np.inf
            return s.topk(10).indices.numpy()
        res['torch.topk, whole matrix'] = whole
    return res

def one_rival(name, source):
    "Peak growth of one of them"
    f = rivals(*everybodys(source))[name]
    small = rivals(*everybodys((300, 500)))[name]
    small()                                                           # compile, import
    return peak_growth(f)[1]

def everybodys(source, d=64, n_seen=100):
    "Factors and what each user has seen: random ones of (users, items), or those of a file"
    if isinstance(source, str):
        with np.load(source) as o: return o['users'], o['items'], sp.csr_matrix((np.ones(len(o['indices']), np.float32), o['indices'], o['indptr']), shape=(len(o['users']), len(o['items'])))
    (n_users, n_items), rng = source, np.random.default_rng(0)
    seen = sp.csr_matrix((np.ones(n_users*n_seen, np.float32), rng.integers(0, n_items, n_users*n_seen).astype(np.int32), np.arange(0, n_users*n_seen+1, n_seen, dtype=np.int32)), shape=(n_users, n_items))
    seen.sum_duplicates()
    return *(rng.normal(size=(n, d)).astype(np.float32) for n in (n_users, n_items)), seen

def race(source, n=3):
    "Seconds of each, in turns, and whether their lists agree with ours"
    fs = rivals(*everybodys(source))
    lists = {k: f() for k, f in fs.items()}
    same = {k: float((l == lists['top_k']).mean()) for k, l in lists.items()}
    return dict(zip(fs, seconds(*fs.values(), n=n))), same

def everybody(made=(30_000, 40_000)):
    "Exact top-10 for all users, seen items left out, two threads"
    rows = []
    with tempfile.TemporaryDirectory() as d:
        sources = {f'random: {made[0]:,} users x {made[1]:,} items, 100 seen each': made}
        for name in ('Amazon CDs', 'Amazon Toys'):
            users, items, seen = learned(name)
            np.savez(path := f'{d}/{name}.npz', users=users, items=items, indices=seen.indices, indptr=seen.indptr)
            sources[f'{name}: {len(users):,} x {len(items):,}, {seen.nnz/len(users):.0f} seen'] = path
        for label, source in sources.items():
            took, same = apart(race, source)
            grew = {k: apart(one_rival, k, source) for k in took}
            rows += [[label, k, f'{t:.2f}', f"{t/took['top_k']:.2f}", f'{grew[k]/1e6:,.0f}', f'{same[k]:.4%}'] for k, t in took.items()]
    return ['### Exact top-10 for everybody, 64 numbers each, seen items left out, two threads', '', 'Median of 3, in turns. Growth of the process at its highest, each in a process of its own. Factors: random, and those of `ImplicitALS`.', '',
            *table(['factors', '', 'seconds', 'ratio', 'growth, MB', 'places equal to ours'], rows)]

PARTS = dict(curves=curves, sizes=sizes, million=million, everybody=everybody)

def main(names=None):
    "Print the tables and return them as markdown"
    lines = []
    for name in names or PARTS:
        lines += (part := PARTS[name]())
        print('\n'.join(part), flush=True)
    return '\n'.join(lines)

if __name__ == '__main__': main(sys.argv[1:])
