"""Speed and accuracy of this library and its peers, on the same data and splits, in one run.

    python benchmarks/run.py              # all sections; writes benchmarks/README.md
    python benchmarks/run.py movielens    # one section; the others stay as they are

All take an hour and a half on two cores. Sections that state no seconds of the clock run two at a time.
Section (t) needs environments of other libraries: BENCH_ENVS names the folder that holds them, `lenskit`, `rectools` and `recbole`. Without it that section stays as it is, and so does section (u) where there is no GPU. Section (v), a quarter of an hour by itself, runs only when it is asked for by name.
"""
import ast, os, platform, re, resource, subprocess, sys, time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from threading import Lock

os.environ.setdefault('OMP_NUM_THREADS', '2')     # before NumPy is loaded

import psutil

import ratings

HERE = Path(__file__).resolve().parent

def script(name, *args):
    "Lines of what another script prints, run by itself with one thread for linear algebra; its headings become sub-headings"
    (HERE/'figures').mkdir(exist_ok=True)
    res = subprocess.run([sys.executable, HERE/f'{name}.py', *args], env={**os.environ, 'OMP_NUM_THREADS': '1', 'CURVES': str(HERE/'figures')}, stdout=subprocess.PIPE, text=True, check=True)
    return re.sub(r'^#+ ', '### ', res.stdout.strip(), flags=re.M).split('\n')

def about(name):
    "What the head of another script says of itself"
    return '\n' + ast.get_docstring(ast.parse((HERE/f'{name}.py').read_text(encoding='utf-8')))

def environments():
    "Options that give `elsewhere.py` the Pythons in the folder BENCH_ENVS; none without it"
    folder = os.environ.get('BENCH_ENVS')
    return [f'--{o}={p}' for o in ('lenskit', 'rectools', 'recbole') if folder and (p := Path(folder).resolve()/o/'bin/python').exists()]

def has_gpu():
    "Is there a GPU that PyTorch can use?"
    import torch
    return torch.cuda.is_available()

SECTIONS = {
    'movielens': ('(a) Ratings of MovieLens 100K, mean of the published splits u1 to u5', lambda: [*ratings.movielens(os.environ.get('RECSYS_COURSE_DATA')), '', *ratings.others(os.environ.get('RECSYS_COURSE_DATA'))], """
Every model is fitted and tested on each of the five splits, in a process of its own. Seconds: the median of five fits, one on each split (Surprise's SVD++: one in all, on u1), from the library's own data object to the
fitted model; the data object is made before the clock starts. The first fit of the process is apart: on a hundredth of train, it shows the time to load compiled code (or to compile it, the very first time). Peak memory is the
growth of the process during the first whole fit. CPU seconds add up the work of all threads; other work on the machine hardly changes them, so ratios are theirs. Predictions are clipped to the scale.
The best peer is the one with the lowest RMSE to three digits, the faster one of two.
"Searched": the best of the row above it and of ten settings, drawn once and judged by RMSE on a random fifth held out of the training part of u1 (of the first split of the other sets), then used on all five splits. Other models of this
library run at their defaults, which were chosen inside the training parts (a random fifth of each held out). `ItemKNN`'s form, cosine of what `Bias` leaves over, was first compared on the test parts of u1 and u3; fifths held out of all five training parts choose the same (0.909 to 0.918, Pearson 0.922 to 0.931, raw ratings 0.992 to 1.011).
Other peers run at theirs, with what the table states. Forty draws instead of ten lower the error on that fifth by .0008 for Cornac MF and by .0003 for `BiasedMF`. SVD++ takes too long for a search."""),
    'world': ('(b) How cost grows: the simulated world, and the data at hand', lambda: ratings.world(os.environ.get('RECSYS_COURSE_DATA')), """
`World(n_users=70_000, n_items=10_000).sample(n)`, of which a random 2 % are the test. An epoch is the time of a whole fit, set-up included, divided by its epochs (rounds for ALS and Bias).
Three fits each, one where a fit takes over 20 seconds; an earlier fit, which also compiles, is left out of the times and gives the memory.
The whole process holds the data as well. Growth needs one source at two sizes, so the first two are made; the real ones show what the shape of a table does to the cost of a rating. A random 2 % is a small test: what errors are worth is in (a), (i) and (n)."""),
    'learner': ("(c) fastai's collaborative filtering and ours", lambda: script('learner'), about('learner')),
    'implicit': ('(d) Implicit feedback', lambda: script('implicit_feedback'), about('implicit_feedback')),
    'retrieve': ('(e) Nearest neighbours and exact lists', lambda: script('retrieve'), about('retrieve')),
    'hashing': ('(f) Hashing', lambda: script('hashing'), about('hashing')),
    'pipeline': ('(g) The whole funnel', lambda: script('pipeline'), about('pipeline')),
    'defaults': ('(h) Defaults against a search', lambda: script('defaults'), """
Each model as it comes, and with the best of six settings that `tune` drew and judged inside train; both are then fitted on all of train and judged once on test, with an interval over users.
Of a log with more than 8,000 users a random 8,000 are taken. Ratio: default divided by tuned (for an error, below 1 is better). Warned: did `fit` say that the lists lose to `Popular`?"""),
    'bayes': ('(i) Factors drawn instead of chosen', lambda: script('bayes'), """
RMSE of predictions clipped to the scale, one thread; seconds: the median fit. `BayesianMF` runs at its defaults, whose final choice was made on fifths held out of train;
its first trials on priors and the number of factors also printed the errors on u1 to u5."""),
    'graph': ('(j) Lists on a large and sparse catalogue', lambda: script('graph'), about('graph')),
    'sequence': ('(k) What comes next', lambda: script('sequence'), about('sequence')),
    'features': ('(l) Items that nobody has met', lambda: script('features'), about('features')),
    'newcomers': ('(m) People of whom little is known', lambda: script('newcomers'), about('newcomers')),
    'context': ('(n) Columns beside the ids', lambda: script('context'), about('context')),
    'offpolicy': ('(o) Judging a page from a log, and tests on people', lambda: script('offpolicy'), about('offpolicy')),
    'feedback': ('(p) Pages that make their own data', lambda: script('feedback'), about('feedback')),
    'explore': ('(q) Exploring', lambda: script('explore'), about('explore')),
    'scale': ('(r) Growth, and other engines', lambda: script('scale'), about('scale')),
    'serve': ('(s) Serving', lambda: script('serve'), about('serve')),
    'elsewhere': ('(t) Libraries in environments of their own', lambda: script('elsewhere', *environments()), about('elsewhere')),
    'gpu': ('(u) On a GPU', lambda: script('gpu'), about('gpu')),
    'disk': ('(v) Ten and a hundred million rows from disk', lambda: script('scale', 'disk', '10000000') + script('scale', 'disk', '100000000'), ''),
}

def cpu():
    "Name of the processor"
    info = Path('/proc/cpuinfo')
    m = re.search(r'model name\s*:\s*(.+)', info.read_text()) if info.exists() else None
    return m[1] if m else platform.processor() or platform.machine()

def packages():
    "Versions of this library and of its peers"
    def one(name):
        try: return f'{name} {version(name)}'
        except PackageNotFoundError: return f'{name} not installed'
    return ', '.join(one(o) for o in ('recsys_course', 'numpy', 'scipy', 'numba', 'pandas', 'torch', 'fastai', 'faiss-cpu', 'scikit-surprise', 'cornac', 'implicit', 'usearch', 'hnswlib', 'annoy'))

def load(): return f'{os.getloadavg()[0]:.1f}' if hasattr(os, 'getloadavg') else 'unknown'

def work():
    "Seconds of the processor that this process and those it started have taken"
    return sum(o.ru_utime + o.ru_stime for o in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))

def header():
    return ['# Benchmarks', '', 'Written by `make bench`, which takes an hour and a half on two cores. Timings are those of one machine on one day; the ratios, measured in the same run, travel better.', '',
            f'- Machine: {cpu()}, {os.cpu_count()} cores, {psutil.virtual_memory().total/2**30:.0f} GiB, {platform.system()}, Python {platform.python_version()}',
            f'- Versions: {packages()}', f"- Threads of NumPy's linear algebra: {os.environ['OMP_NUM_THREADS']}"]

def written(title):
    "The section of that title as README.md has it, or nothing"
    old = HERE/'README.md'
    parts = re.split(r'^(?=## )', old.read_text(encoding='utf-8'), flags=re.M) if old.exists() else []
    return next(([p.rstrip(), ''] for p in parts if p.startswith(f'## {title}')), [])

PAIRED = 'defaults', 'features', 'newcomers', 'offpolicy', 'feedback'     # they state no seconds of the clock, so two may run at a time

def section(name, alone=True):
    "Lines of a section, with the load of the machine and the minutes it took"
    title, table, protocol = SECTIONS[name]
    print(title, flush=True)
    before, start, worked = load(), time.monotonic(), work()
    rows = table()
    took = f'{(time.monotonic() - start)/60:.1f} minutes' + (f', {(work() - worked)/60:.1f} of them work of the processor' if alone else ' beside another section')
    print(f'  {name}: {took}', flush=True)
    return [f'## {title}', protocol, f'Load of the machine, other work included: {before} at the start, {load()} at the end ({os.cpu_count()} is all cores busy). The section took {took}.', '', *rows, '']

IN_ONE_GO = '- Sections (a) to (s) in one go: '

def in_one_go(minutes=None):
    "The line that says how long the last whole run took, or nothing"
    if minutes: return [f'{IN_ONE_GO}{minutes:.0f} minutes']
    old = HERE/'README.md'
    return [o for o in old.read_text(encoding='utf-8').splitlines() if o.startswith(IN_ONE_GO)] if old.exists() else []

def put(name, lines, minutes=None):
    "Write README.md with these lines for a section, the others as they are; `minutes`: of a whole run that has ended"
    body = [line for o, (title, *_) in SECTIONS.items() for line in (lines if o == name else written(title))]
    took = re.findall(r'The section took ([\d.]+) minutes', text := '\n'.join(body))
    (HERE/'README.md').write_text('\n'.join([*header(), *in_one_go(minutes), f'- Minutes of the {len(took)} of {len(SECTIONS)} sections below that say what they took: {sum(map(float, took)):.0f}', '', text]).rstrip() + '\n', encoding='utf-8')

def main(names):
    if unknown := [o for o in names if o not in SECTIONS]: sys.exit(f"no section {', '.join(unknown)}: choose from {', '.join(SECTIONS)}")
    whole, start = not names, time.monotonic()
    failed, names, writing = [], [o for o in names or SECTIONS if (o != 'disk' or o in names) and (o != 'elsewhere' or environments()) and (o != 'gpu' or has_gpu())], Lock()
    def do(name, alone=True):                     # each is written when it is done, and one that fails leaves what stood there
        try: lines = section(name, alone)
        except Exception as e:
            print(f'  {name} failed: {e}', file=sys.stderr, flush=True)
            return failed.append(name)
        with writing: print('\n'.join(lines), flush=True); put(name, lines)
    pairs = [o for o in names if o in PAIRED] if len(names) > 1 else []
    for name in names:
        if name not in pairs: do(name)
    with ThreadPoolExecutor(2) as pool: list(pool.map(lambda o: do(o, False), pairs))
    if whole and not failed: put(None, [], (time.monotonic() - start)/60)
    if failed: sys.exit(f"failed, and left as they were: {', '.join(failed)}")

if __name__ == '__main__': main(sys.argv[1:])
