"""Hashing ids, and tables too large to hold: `hash_bucket` against a loop over mmh3 on made and real ids, and full and hashed tables of ten million users and of a real log's.

    python benchmarks/hashing.py

Tables are measured each in a process of its own."""
import gc, os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import mmh3, numpy as np, psutil, torch
from numba import config
from torch import nn

from measure import seconds, table

from recsys_course.data import Vocab
from recsys_course.datasets import load_movielens, load_sequences
from recsys_course.hashing import HashedEmbedding, hash_bucket

HERE = Path(os.environ.get('RECSYS_COURSE_DATA', '../shared/data'))
LOGS = {'MovieLens 100K': lambda: load_movielens('100k', path=HERE), 'Amazon Toys': lambda: load_sequences(HERE/'s3rec/Toys_and_Games.txt'), 'Amazon CDs': lambda: load_sequences(HERE/'amazon-cds/train.txt')}

def speed(n=1_000_000, buckets=1_000_003):
    "One million ids of several kinds, and the items of each row of real logs: a Python loop over mmh3 against `hash_bucket`"
    rng, rows = np.random.default_rng(0), []
    wide = rng.integers(-2**63, 2**63-1, n)
    wide[:4] = -2**63, 2**63-1, 0, -1
    kinds = {'0, 1, 2, ...': np.arange(n), 'ten digits': rng.integers(10**9, 10**10, n), 'any int64': wide, 'any uint64': rng.integers(0, 2**64-1, n, dtype=np.uint64),
             'text of ten letters': np.array([f'user{i:06}' for i in range(n)], object)}
    logs = {name: load() for name, load in LOGS.items()}
    kinds |= {f'{name}, {len(log):,} rows': log.df['item'].to_numpy() for name, log in logs.items()}
    kinds['MovieLens 100K, titles of the rows'] = logs['MovieLens 100K'].titles.loc[logs['MovieLens 100K'].df['item']].to_numpy(object)
    for name, ids in kinds.items():
        loop = lambda: [mmh3.hash(str(i)) for i in ids.tolist()]
        assert (hash_bucket(ids, buckets) == np.array(loop()) % buckets).all()
        a, b = seconds(loop, lambda: hash_bucket(ids, buckets), n=7)
        rows.append([name, f'{a*1e3:.0f}', f'{b*1e3:.1f}', f'{a/b:.1f}'])
    return table(['ids', 'loop over mmh3, ms', 'hash_bucket, ms', 'ratio'], rows)

def resident():
    gc.collect()
    return psutil.Process().memory_info().rss

def full(ids, dim):
    "Function of raw ids, table and vocabulary"
    vocab, emb = Vocab(ids), nn.Embedding(len(ids)+1, dim, sparse=True)
    return emb, lambda o: emb(torch.from_numpy(vocab.encode(o))), lambda o: vocab.encode(o)

def hashed(ids, dim, n_hashes):
    emb = HashedEmbedding(len(ids)//10, dim, n_hashes, sparse=True)
    return emb, lambda o: emb(torch.from_numpy(o)), lambda o: emb.buckets(torch.from_numpy(o))

MAKES = {'full table and vocabulary': full, 'hashed at 1/10, one hash': lambda ids, dim: hashed(ids, dim, 1), 'hashed at 1/10, two hashes': lambda ids, dim: hashed(ids, dim, 2)}

def measure(name, source, dim, bs):
    "Memory of a table, and times per batch of: ids to rows, lookup, training step; `source` is a number of made ids or the name of a log, whose people are the ids"
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    if isinstance(source, int): ids = rows = rng.permutation(np.unique(rng.integers(0, 2**40, source + source//100)))[:source].copy()
    else: ids = rng.permutation(np.unique(rows := LOGS[source]().df['user'].to_numpy()))
    batches = [rng.choice(rows, bs) for _ in range(16)]
    hash_bucket(ids[:9], 9)                                       # compile
    before = resident()
    emb, look_up, rows_of = MAKES[name](ids, dim)
    look_up(batches[0])
    grown, weight = resident() - before, sum(p.nbytes for p in emb.parameters())
    opt, turn = torch.optim.SGD(emb.parameters(), lr=.1), iter(range(10**9))
    batch = lambda: batches[next(turn) % len(batches)]
    def step():
        look_up(batch()).square().mean().backward()
        opt.step(); opt.zero_grad()
    def forward():
        with torch.no_grad(): look_up(batch())
    return weight, grown, seconds(lambda: rows_of(batch()), forward, step, n=31)

def memory(dim=64, bs=8192):
    "Full tables behind a vocabulary, and a tenth of the rows behind a hash, for ten million made users and for those of a real log, drawn as often as they act; each in a process of its own"
    rows = []
    for source, label in {10_000_000: '10,000,000 made users', 'Amazon CDs': '43,169 of Amazon CDs'}.items():
        res = {}
        for name in MAKES:
            with ProcessPoolExecutor(1, get_context('spawn')) as pool: res[name] = pool.submit(measure, name, source, dim, bs).result()
        _, base, times = res['full table and vocabulary']
        rows += [[label, name, f'{w/1e6:,.0f}', f'{g/1e6:,.0f} ({g/base:.2f})' if base > 1e8 else 'too small to tell', *(f'{t*1e3:.2f} ({t/b:.2f})' for t, b in zip(ts, times))] for name, (w, g, ts) in res.items()]
    return table([f'users x {dim}', 'ids', 'table, MB', 'process, MB', 'ids to rows, ms', 'lookup, ms', 'training step, ms'], rows)

def main():
    "Print both tables and return them as markdown"
    text = '\n'.join(['Median of 7 calls in turns; all results equal. Threads of `hash_bucket`: ' + f'{config.NUMBA_NUM_THREADS}.', '', *speed(), '',
        'Batches of 8,192 raw ids, one torch thread, sparse gradients and SGD, median of 31; in brackets the ratio to the full table. A lookup starts from raw ids, a step',
        'is lookup, loss, gradient and update. Process: its growth with the table and, for the full one, the vocabulary, which a hash does without.', '', *memory()])
    print(text)
    return text

if __name__ == '__main__': main()
