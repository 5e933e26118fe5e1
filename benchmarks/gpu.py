"""What a GPU buys: the networks of this library trained on the processor and on a GPU, the same settings and seed, in one run.

    python benchmarks/gpu.py                 # both tables
    python benchmarks/gpu.py lists           # one of them: ratings, lists

Without a GPU that PyTorch can use it says so and ends. The processor gets one thread, and all cores where that is quicker; a first short fit on each device is left out of the times.
Worlds are simulated (943 people with 100,000 ratings, and 6,040 with a million); Toys and CDs are looked for in the folder of RECSYS_COURSE_DATA and left out if they are not there.
Errors are those of a random tenth held out; nDCG at 10 is that of a random tenth, over 2,000 people. Other random numbers on the GPU make other draws, so figures differ a little."""
import os, sys, time, warnings
from pathlib import Path

import numpy as np, torch

from learner import quiet
from measure import table

from recsys_course.core import count_threads
from recsys_course.datasets import load_sequences
from recsys_course.features import ndcg_by_user
from recsys_course.graph import LightGCN
from recsys_course.implicit import to_implicit
from recsys_course.learner import collab_dls, collab_learner
from recsys_course.sequence import SASRec
from recsys_course.simulate import World

HERE = Path(os.environ.get('RECSYS_COURSE_DATA', '../shared/data'))

def worlds():
    "{name: log of ratings}"
    return {'World, 100,000 ratings': World().sample(), 'World, a million': World(n_users=6040, n_items=3700).sample(1_000_000)}

def clicks():
    "{name: log of events}"
    res = {'World, 100,000 ratings': to_implicit(World().sample())}
    for name, path in {'Amazon Toys': 's3rec/Toys_and_Games.txt', 'Amazon CDs': 'amazon-cds/train.txt'}.items():
        if (HERE/path).exists(): res[name] = load_sequences(HERE/path, duplicates='keep')
        else: print(f'{name} is not at hand', file=sys.stderr)
    return res

def error(train, valid, device, n_threads, **kw):
    "Seconds to train, and the error on `valid`"
    bs, epochs = kw.pop('bs', None), kw.pop('epochs', 6)
    torch.set_num_threads(n_threads)
    torch.manual_seed(42)
    learn = collab_learner(collab_dls(train, valid, bs=bs, device=device), n_threads=n_threads, **kw)
    took, _, loss = quiet(learn, epochs)
    return took, float(loss)

def lists(make):
    "A function of (train, test, device, threads) that gives seconds to fit and nDCG"
    def run(train, test, device, n_threads):
        m = make(device, n_threads)
        m.check_lists = False
        start = time.perf_counter()
        m.fit(train)
        took = time.perf_counter() - start
        some = test.df.user.drop_duplicates()[:2000]
        return took, float(ndcg_by_user(m, train, test.take(test.df.user.isin(some).to_numpy())).mean())
    return run

NETS = {'DotProductBias, defaults': {}, 'DotProductBias, batches of 16,384': dict(bs=16_384), 'EmbeddingNN, batches of 512, 10 epochs': dict(bs=512, epochs=10, use_nn=True),
        'EmbeddingNN, batches of 16,384, 10 epochs': dict(bs=16_384, epochs=10, use_nn=True)}
LISTS = {'SASRec, 3 epochs': lists(lambda device, n: SASRec(n_epochs=3, patience=99, device=device, n_threads=n)),
         'SASRec, 256 factors, batches of 512, 3 epochs': lists(lambda device, n: SASRec(256, n_epochs=3, patience=99, batch_size=512, device=device, n_threads=n)),
         'LightGCN, 6 epochs': lists(lambda device, n: LightGCN(n_epochs=6, patience=99, device=device))}

def race(name, data, run, train, test):
    "A row: the processor with one thread and with all cores, and the GPU"
    small = train.take(np.arange(len(train)) < 5000)
    n = count_threads()
    ways = {'one thread': ('cpu', 1), 'all cores': ('cpu', n), 'GPU': ('cuda', 1)}
    if 'LightGCN' in name: del ways['all cores']                           # it trains with one thread
    run(small, small, 'cuda', 1)
    got = {k: run(train, test, *way) for k, way in ways.items()}
    best = min(t for k, (t, _) in got.items() if k != 'GPU')
    cell = lambda k: f'{got[k][0]:.1f}' if k in got else ''
    row = [data, name, *map(cell, ('one thread', 'all cores', 'GPU')), f"{best/got['GPU'][0]:.1f}", f"{got['one thread'][1]:.4f}", f"{got['GPU'][1]:.4f}"]
    print(*row, file=sys.stderr, flush=True)
    return row

def ratings():
    "Lines of the table of errors"
    rows = []
    for data, log in worlds().items():
        train, test = log.split('random', test=.1, seed=0)
        rows += [race(name, data, lambda *a, kw=kw: error(*a, **kw), train, test) for name, kw in NETS.items()]
    return table(head('squared error'), rows)

def rankings():
    "Lines of the table of lists"
    rows = []
    for data, log in clicks().items():
        train, test = log.split('random', test=.1, seed=0)
        rows += [race(name, data, run, train, test) for name, run in LISTS.items()]
    return table(head('nDCG'), rows)

def head(what): return ['data', 'model', 'one thread, s', f'{count_threads()} cores, s', 'GPU, s', 'times as fast as the quicker', f'{what}, processor', f'{what}, GPU']

def main(names=()):
    "Markdown lines"
    if not torch.cuda.is_available(): return ['PyTorch finds no GPU here.']
    warnings.simplefilter('ignore')
    parts = dict(ratings=ratings, lists=rankings)
    return [f'{torch.cuda.get_device_name()}, PyTorch {torch.__version__}, {count_threads()} cores.', '', *(l for n in names or parts for l in parts[n]())]

if __name__ == '__main__': print('\n'.join(main(sys.argv[1:])))
