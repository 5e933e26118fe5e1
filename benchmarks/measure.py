"What the benchmarks share: tables, seconds by turns, and the memory that a call takes"
import statistics, threading, time

import numpy as np, psutil
from scipy.stats.qmc import Halton

def table(head, rows):
    "Markdown lines"
    line = lambda cells: '| ' + ' | '.join(map(str, cells)) + ' |'
    return [line(head), line(['---']*len(head)), *map(line, rows), '']

def drawn(space, n, seed=0):
    """No setting at all (the defaults), and `n` settings drawn by a scrambled Halton sequence from {name: (low, high) on a logarithmic scale, whole numbers where the
    limits are, or [choices]}"""
    def one(x, over):
        if isinstance(over, list): return over[int(x*len(over))]
        low, high = over
        return (round if isinstance(low, int) else float)(low*(high/low)**x)
    return [{}, *({k: one(x, v) for x, (k, v) in zip(row, space.items())} for row in Halton(len(space), seed=seed).random(n))]

def interval(diff, seed=0, n=1000):
    "Mean of differences on the same people with its 95 % interval"
    d, rng = np.asarray(diff), np.random.default_rng(seed)
    draws = [d[rng.integers(len(d), size=len(d))].mean() for _ in range(n)]
    return '{:+.4f} ({:+.4f} to {:+.4f})'.format(d.mean(), *np.quantile(draws, [.025, .975]))

def seconds(*fs, n=3):
    "Median seconds of each function, called in turns, after one call to warm up"
    times = [[] for _ in fs]
    for f in fs: f()
    for _ in range(n):
        for f, t in zip(fs, times): t.append(clocked(f)[0])
    return [statistics.median(t) for t in times]

def clocked(f):
    "Seconds of the clock that `f` takes, and of work on all cores"
    wall, cpu = time.perf_counter(), time.process_time()
    f()
    return time.perf_counter() - wall, time.process_time() - cpu

def peak_growth(f):
    "Result of `f`, by how many bytes the process grew at its highest while it ran, and how large it was then"
    me, done = psutil.Process(), threading.Event()
    before = peak = me.memory_info().rss
    def watch():
        nonlocal peak
        while not done.wait(.002): peak = max(peak, me.memory_info().rss)
    t = threading.Thread(target=watch); t.start()
    try: res = f()
    finally: done.set(); t.join()
    peak = max(peak, me.memory_info().rss)
    return res, peak - before, peak
