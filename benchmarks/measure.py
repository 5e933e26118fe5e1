"What the benchmarks share: tables, seconds by turns, and the memory that a call takes"
import statistics, threading, time

import psutil

def table(head, rows):
    "Markdown lines"
    line = lambda cells: '| ' + ' | '.join(map(str, cells)) + ' |'
    return [line(head), line(['---']*len(head)), *map(line, rows), '']

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
