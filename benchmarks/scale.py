"""What size costs: reading and training out of core, promised against measured, engines, processes, Spark on one and two threads.

    OMP_NUM_THREADS=1 python benchmarks/scale.py                       # all parts, 1e6 rows
    OMP_NUM_THREADS=1 python benchmarks/scale.py disk 100000000        # one part: disk, estimate, growth, engines, processes, spark

`disk` writes a simulated world as parquet, reads it with DuckDB in 2 GB, trains from memory maps, and tells the seconds and the
largest anonymous memory of this process (what cannot be dropped; pages of mapped files can)."""
import os, shutil, sys, tempfile, threading, time, warnings
from pathlib import Path

for o in ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS'): os.environ.setdefault(o, '1')     # before NumPy is loaded

import duckdb, numpy as np, pandas as pd, torch

from measure import table

from recsys_course.data import Interactions
from recsys_course.datasets import load_file, load_movielens, load_sequences
from recsys_course.factorize import ALS, BiasedMF
from recsys_course.implicit import ImplicitALS
from recsys_course.models import DotProductBias
from recsys_course.scale import (SparkALS, estimate, find_java, fit_from_disk, measure_constants, random_log, rating_loss, sequence_loss, spark_session, stream_interactions, time_model,
                                 train_in_processes, write_world)
from recsys_course.sequence import SequenceNet

def anonymous():
    "Bytes of this process that no file backs"
    return next(int(l.split()[1])*1024 for l in open('/proc/self/status') if l.startswith('RssAnon'))

def measured(f):
    "Result, seconds, and the largest anonymous memory while it ran, in GB"
    done, peak = threading.Event(), [anonymous()]
    def watch():
        while not done.wait(.02): peak[0] = max(peak[0], anonymous())
    t = threading.Thread(target=watch); t.start()
    start = time.perf_counter()
    try: res = f()
    finally: done.set(); t.join()
    return res, time.perf_counter() - start, peak[0]/1e9

def say(*lines): print(*lines, sep='\n', flush=True)

def by_polars(path, folder, k=5):
    "What `stream_interactions` does, as far as Polars can say it lazily: one round of the core, codes, sorted, to parquet"
    import polars as pl
    df = pl.scan_parquet(f'{path}/*.parquet').group_by('user', 'item').agg(pl.col('rating').mean())
    for c in ('user', 'item'): df = df.filter(pl.len().over(c) >= k)
    df = df.with_columns(u=pl.col('user').rank('dense'), i=pl.col('item').rank('dense')).select('u', 'i', 'rating').sort('u', 'i')
    df.sink_parquet(folder/'polars.parquet')

def disk(n, folder):
    "Reading and training out of core"
    rows, parts = [], max(1, n//1_000_000)
    def row(name, f):
        res, seconds, gb = measured(f)
        rows.append((name, f'{seconds:.1f}', f'{n/seconds:,.0f}', f'{gb:.2f}'))
        say(f'{name}: {seconds:.1f} s, {gb:.2f} GB')
        return res
    path = row('write a world as parquet', lambda: write_world(folder/'w', n, n_items=3000, rows_per_file=n//parts))
    log = row('stream_interactions, DuckDB, 2 GB', lambda: stream_interactions(path, folder/'log', k_core=5, memory='2GB'))
    if n <= 10_000_000: row('Polars, in memory as it likes', lambda: by_polars(path, folder))
    mf = row('BiasedMF(32), 3 epochs from disk', lambda: fit_from_disk(BiasedMF(32, 3), log))
    row('ImplicitALS(32), 2 rounds from disk', lambda: fit_from_disk(ImplicitALS(32, 2, n_threads=2), log))
    row('lists for 10,000 users', lambda: mf.recommend(log.users.ids[:10_000]))
    say('', f'{log}, {sum(p.stat().st_size for p in Path(path).iterdir())/1e6:,.0f} MB as parquet', '', *table(['step', 'seconds', 'rows a second', 'GB of memory'], rows))

def real_logs():
    "{name: table of ratings} of the data sets at hand"
    data = Path(os.environ.get('RECSYS_COURSE_DATA', '../shared/data'))
    ways = {'MovieLens 100K': lambda: load_movielens('100k', path=data), 'FilmTrust': lambda: load_file(data/'filmtrust/ratings.txt', columns='user,item,rating', duplicates='last'),
            'Toys': lambda: load_sequences(data/'s3rec/Toys_and_Games.txt'), 'Amazon CDs': lambda: load_sequences(data/'amazon-cds/train.txt')}
    res = {}
    for name, f in ways.items():
        try: res[name] = f().df[['user', 'item', 'rating']]
        except FileNotFoundError: say(f'{name} is not at hand')
    return res

def promised(n, folder):
    "Promised against measured: random logs of three sizes, and real ones"
    models = 'read', 'BiasedMF', 'ALS', 'ImplicitALS', 'EASE'
    constants, took, _ = measured(lambda: measure_constants(models))
    logs, rows = {f'random, {s:,}': random_log(s//40, max(800, s//800), s) for s in (n//10, n, 4*n)} | real_logs(), []
    for m in models:
        for name, df in logs.items():
            if m == 'EASE' and df['item'].nunique() > 15_000: continue
            k, epochs = (32, 4) if m == 'ALS' else (64, 8)
            seconds, peak, *shape = time_model(m, df, k, epochs)
            e = estimate(*shape, m, k, epochs, constants)
            rows.append((m, name, f'{e.seconds:.3f}', f'{seconds:.3f}', f'{e.seconds/seconds - 1:+.0%}', f'{1000*e.gigabytes:.1f}', f'{peak/1e6:.1f}', f'{1e9*e.gigabytes/peak - 1:+.0%}'))
    say(f'constants of five models: {took:.0f} s', '', *table(['model', 'log', 'promised s', 'measured s', 'off', 'promised MB', 'measured MB', 'off'], rows))

def growth(n, folder):
    "Slopes of reading, training and recommending"
    BiasedMF(32, 1).fit(Interactions.from_df(random_log(100, 100, 1000))).recommend(1)      # compiles
    sizes, rows = [s for s in (100_000, 300_000, 1_000_000, 3_000_000, 10_000_000) if s <= n], []
    for s in sizes:
        df = random_log(s//100, 3000, s)
        log, read, gb = measured(lambda: Interactions.from_df(df))
        model = BiasedMF(32, 4)
        model.check_lists = False
        _, learn, gb2 = measured(lambda: model.fit(log))
        _, ask, _ = measured(lambda: model.recommend(log.users.ids[:1000]))
        rows.append((len(log), read, learn, ask, max(gb, gb2)))
    a = np.log(np.array(rows))
    slopes = [np.polyfit(a[:, 0], a[:, c], 1)[0] for c in range(1, 5)] if len(rows) > 1 else [np.nan]*4
    cells = [(f'{r[0]:,}', *(f'{x:.3f}' for x in r[1:])) for r in rows] + [('slope', *(f'{s:.2f}' for s in slopes))]
    say(*table(['rows', 'read s', 'train s', '1,000 lists s', 'GB of memory'], cells))

def engines(n, folder):
    "Ratings per user"
    path = write_world(folder/'e', n, n_items=3000, rows_per_file=min(n, 1_000_000))
    ways = {'DuckDB': lambda: duckdb.sql(f"SELECT \"user\", count(*) FROM '{path}/*.parquet' GROUP BY 1").fetchall(),
            'pandas': lambda: pd.concat([pd.read_parquet(p, columns=['user']) for p in path.glob('*')]).groupby('user').size()}
    try:
        import polars as pl
        ways['Polars'] = lambda: pl.scan_parquet(f'{path}/*.parquet').group_by('user').len().collect()
    except ImportError: pass
    rows = [(name, *(f'{o:.2f}' for o in min(measured(f)[1:] for _ in range(3)))) for name, f in ways.items()]
    say(*table(['engine', 'seconds', 'GB of memory'], rows))

def processes(n, folder):
    "One and two processes: tables of factors, and a network"
    n, g = min(n, 200_000), torch.Generator().manual_seed(0)
    pairs = torch.stack([torch.randint(1, 5000, (n,), generator=g), torch.randint(1, 2000, (n,), generator=g)], 1), torch.rand(n, generator=g)*4 + 1
    seqs = [torch.randint(1, 2000, (n//50, 51), generator=g)]
    def two(make, data, loss, size, epochs):
        res = []
        for k in (1, 2):
            torch.manual_seed(0)
            net = make()
            res.append((train_in_processes(net, data, loss, k, n_epochs=epochs, batch_size=size), loss(net, [o[:5000] for o in data]).item()))
        return res
    rows = []
    for name, args in {'DotProductBias, batches of 1,024': (lambda: DotProductBias(5000, 2000, 32), pairs, rating_loss, 1024, 1),
                       'DotProductBias, batches of 16,384': (lambda: DotProductBias(5000, 2000, 32), pairs, rating_loss, 16_384, 4),
                       'SequenceNet (SASRec), batches of 128': (lambda: SequenceNet(2000, 64, 50, 2, 2, 0.), seqs, sequence_loss, 128, 1)}.items():
        (a, x), (b, y) = two(*args)
        rows.append((name, f'{a:.1f}', f'{b:.1f}', f'{a/b:.2f}', f'{x:.4f}', f'{y:.4f}'))
    say(*table(['network', '1 process, s', '2 processes, s', 'times as fast', 'loss, 1', 'loss, 2'], rows))

def spark(n, folder):
    "ALS: ours, implicit's, Spark's on one and two threads; the start of Java apart"
    try: find_java()
    except RuntimeError as e: return say(str(e), '')
    log = Interactions.from_df(random_log(n//100, 3000, n))
    ones, rows = log.df.assign(rating=1), []
    for name, f in {'ALS, 1 thread': lambda: ALS(16, 10, reg=.1, reg_bias=1e9, damping=0).fit(log), 'ImplicitALS, 2 threads': lambda: ImplicitALS(16, 10, n_threads=2).fit(Interactions.from_df(ones))}.items():
        f(); rows.append((name, measured(f)[1]))
    try:
        from implicit.als import AlternatingLeastSquares
        X = log.csr('ones')[1:, 1:].tocsr()
        rows.append(('implicit, 2 threads', measured(lambda: AlternatingLeastSquares(16, iterations=10, num_threads=2, random_state=0).fit(X, show_progress=False))[1]))
    except ImportError: say('implicit is not installed: pip install implicit')
    found = {}
    for threads in (1, 2):
        start = time.perf_counter()
        with spark_session(f'local[{threads}]'):
            rows.append((f'start of Spark, local[{threads}]', time.perf_counter() - start))
            SparkALS(16, 1, n_blocks=2).fit(log)
            found[threads] = measured(lambda: SparkALS(16, 10, n_blocks=2).fit(log))[1]
            rows.append((f'SparkALS, local[{threads}]', found[threads]))
    share = min(max(2*(1 - found[2]/found[1]), 0), 1)
    say(*table(['what', 'seconds'], [(a, f'{b:.1f}') for a, b in rows]), f'share that can be shared: {share:.0%}; at most {1/max(1 - share, 1e-9):.1f} times as fast on any cluster', '')

PARTS = dict(disk=disk, estimate=promised, growth=growth, engines=engines, processes=processes, spark=spark)

if __name__ == '__main__':
    warnings.simplefilter('ignore')
    asked = [a for a in sys.argv[1:] if a in PARTS] or list(PARTS)
    size = next((int(a) for a in sys.argv[1:] if a.isdigit()), 1_000_000)
    for name in asked:
        folder = Path(tempfile.mkdtemp(dir=os.environ.get('TMPDIR')))
        say(f'## {name}, {size:,} rows', '')
        try: PARTS[name](size, folder)
        finally: shutil.rmtree(folder, ignore_errors=True)
