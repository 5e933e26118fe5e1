"""Load tests of the server by `wrk`, on cores that client and server share, beside a ten-line FastAPI app around the same model and around implicit's.

    OMP_NUM_THREADS=1 python benchmarks/serve.py                 # both models, both peers, and 50,000 requests
    OMP_NUM_THREADS=1 python benchmarks/serve.py --short         # seconds instead of minutes

Needs wrk (Debian's package), and for the peers `pip install fastapi implicit`; what is not there is left out. Each figure is the best rate of requests at which
p95 stays within 25 ms, over 1, 2, 4, 8 and 16 connections, with 2 workers. Our server checks, logs every list with its propensities and waits until the disk has
it; the peers answer only."""
import json, os, shutil, signal, socket, subprocess, sys, tempfile, textwrap, time, urllib.request
from contextlib import redirect_stdout
from importlib.util import find_spec
from pathlib import Path

for o in ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS'): os.environ.setdefault(o, '1')     # before NumPy is loaded
os.environ.setdefault('RECSYS_COURSE_DATA', str(Path(__file__).resolve().parent.parent.parent/'shared/data'))

import numpy as np, pandas as pd, psutil

from measure import table

from recsys_course.data import Interactions
from recsys_course.datasets import load_course_data
from recsys_course.implicit import ImplicitALS, to_implicit
from recsys_course.pipeline import Pipeline
from recsys_course.recommender import Popular
from recsys_course.serve import Store

SHORT = '--short' in sys.argv

def large(n_users=20_000, n_items=100_000, n=1_000_000):
    "A log over many items, which are met as Zipf's law has it"
    rng = np.random.default_rng(0)
    i = rng.zipf(1.15, 3*n)
    i = i[i <= n_items][:n]
    df = pd.DataFrame(dict(user=rng.integers(n_users, size=len(i)), item=rng.permutation(n_items)[i - 1], rating=1.)).drop_duplicates(['user', 'item'])
    rest = np.setdiff1d(np.arange(n_items), df['item'])
    return Interactions.from_df(pd.concat([df, pd.DataFrame(dict(user=rng.integers(n_users, size=len(rest)), item=rest, rating=1.))]))

PEER = '''
    import os, sys
    from fastapi import FastAPI
    from pydantic import BaseModel
    class Asked(BaseModel):
        user: int
        k: int = 10
    app = FastAPI()
    {load}
    @app.post('/recommend')
    def recommend(asked: Asked): return {answer}
'''
LOAD = {'the same model in ten lines of FastAPI': ("from recsys_course.recommender import Recommender; model = Recommender.load(os.environ['MODEL'])",
                                  "model.recommend(asked.user, asked.k).drop(columns='user').to_dict('records')"),
        "implicit's ALS in FastAPI": ("import numpy as np, scipy.sparse as sp; from implicit.cpu.als import AlternatingLeastSquares as ALS; model = ALS.load(os.environ['MODEL'] + '/implicit.npz'); "
                                      "seen = sp.load_npz(os.environ['MODEL'] + '/seen.npz')",
                                      "[dict(item=int(i), score=float(s)) for i, s in zip(*model.recommend(asked.user, seen[asked.user], asked.k))]")}

class Running:
    "A server in processes of its own"
    def __init__(self, command, **env):
        self.p = subprocess.Popen(command, env={**os.environ, **env}, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def ready(self, port, body, seconds=120):
        self.url = f'http://127.0.0.1:{port}/recommend'
        end = time.time() + seconds
        while time.time() < end:
            try:
                for _ in range(20): urllib.request.urlopen(urllib.request.Request(self.url, body, {'content-type': 'application/json'}), timeout=20).read()
                return self
            except OSError: time.sleep(.3)
        raise TimeoutError('the server did not start')

    def all(self):
        me = psutil.Process(self.p.pid)
        return [me, *me.children(recursive=True)]

    def memory(self): return sum(o.memory_info().rss for o in self.all())
    def unique(self): return sum(o.memory_full_info().uss for o in self.all())

    def stop(self):
        os.killpg(self.p.pid, signal.SIGTERM)
        try: self.p.wait(20)
        except subprocess.TimeoutExpired: os.killpg(self.p.pid, signal.SIGKILL)

def port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]

def wrk(url, users, connections, seconds):
    "Requests, errors, requests per second, p50, p95 and p99 in ms"
    script = Path(tempfile.mkdtemp())/'ask.lua'
    script.write_text(textwrap.dedent('''
        ids = {%s}
        request = function() return wrk.format("POST", nil, {["Content-Type"]="application/json"}, '{"user": ' .. ids[math.random(#ids)] .. ', "k": 10}') end
        done = function(summary, latency)
            local e = summary.errors
            io.write(string.format("RESULT %%d %%d %%f %%f %%f %%f\\n", summary.requests, e.connect + e.read + e.write + e.status + e.timeout, summary.requests/summary.duration*1e6,
                     latency:percentile(50)/1e3, latency:percentile(95)/1e3, latency:percentile(99)/1e3))
        end''' % ','.join(map(str, users))))
    out = subprocess.run(['wrk', '-t1', f'-c{connections}', f'-d{seconds}s', '--timeout', '20s', '-s', script, url], capture_output=True, text=True).stdout
    return list(map(float, out.split('RESULT')[1].split()))

def best(server, users, seconds):
    "The best rate with p95 <= 25 ms, and what it was measured with"
    found = []
    for c in (1, 2, 4, 8, 16):
        n, errors, rate, p50, p95, p99 = wrk(server.url, users, c, seconds)
        found.append((p95 <= 25, rate if p95 <= 25 else -p95, c, p50, p95, p99, errors))
        if p95 > 25: break
    ok, rate, c, p50, p95, p99, errors = max(found)
    return [f'{rate:.0f}' if ok else 'none', c, f'{p50:.1f}', f'{p95:.1f}', f'{p99:.1f}', int(sum(o[-1] for o in found))]

def ours(folder, db, at, workers=2):
    code = f'from recsys_course.serve import serve, Settings; serve({str(folder)!r}, port={at}, workers={workers}, store={str(db)!r}, settings=Settings(rate=0))'
    return Running([sys.executable, '-c', code])

def main():
    if shutil.which('wrk') is None: sys.exit('wrk is not installed: apt-get install wrk')
    seconds, rows, place = 3 if SHORT else 5, [], Path(tempfile.mkdtemp())
    with redirect_stdout(sys.stderr): small = to_implicit(load_course_data(), 4)
    big = large(*((5000, 100_000, 200_000) if SHORT else ()))
    models = {f'ImplicitALS, {small.name}': (ImplicitALS(seed=0).fit(small), small),
              f'Pipeline, {len(big.items.ids):,} items': (Pipeline({'als': ImplicitALS(n_factors=32, n_epochs=3, seed=0), 'popular': Popular()}, scorer=None).fit(big), big)}
    for name, (model, data) in models.items():
        folder = place/name.split(',')[0]
        model.save(folder)
        users = data.users.ids[:500].tolist()
        body = json.dumps(dict(user=users[0])).encode()
        server = ours(folder, place/'s.db', at := port()).ready(at, body)
        rows.append([name, 'this server, logging', *best(server, users, seconds)])
        shared, alone = server.memory(), server.unique()
        print(f'{name}: {shared/2**20:.0f} MB counted for each process, {alone/2**20:.0f} MB of it not shared', flush=True)
        server.stop()
        for peer, (load, answer) in LOAD.items():
            if find_spec('fastapi') is None or 'implicit' in peer and (find_spec('implicit') is None or 'Pipeline' in name): continue
            if 'implicit' in peer:
                import scipy.sparse as sp
                from implicit.cpu.als import AlternatingLeastSquares
                als = AlternatingLeastSquares(factors=64, num_threads=1, random_state=0)
                seen = data.csr('ones')
                als.fit(seen, show_progress=False)
                als.save(str(folder/'implicit.npz'))
                sp.save_npz(folder/'seen.npz', sp.csr_matrix(seen))
            (place/'peer.py').write_text(textwrap.dedent(PEER).format(load=load, answer=answer))
            asked = users if 'implicit' not in peer else data.users.encode(users).tolist()
            server = Running([sys.executable, '-m', 'uvicorn', '--app-dir', str(place), 'peer:app', '--port', str(at := port()), '--workers', '2', '--no-access-log'], MODEL=str(folder)).ready(at, json.dumps(dict(user=int(asked[0]))).encode())
            rows.append([name, peer, *best(server, asked, seconds)])
            server.stop()
        print(*rows[-3:], sep='\n', file=sys.stderr, flush=True)
    print(*table(['model', 'server', 'requests/s at p95 <= 25 ms', 'connections', 'p50 ms', 'p95 ms', 'p99 ms', 'errors'], rows), sep='\n', flush=True)
    long_run(place, models, 5_000 if SHORT else 50_000)

def long_run(place, models, n):
    "Many requests: errors, growth of memory, and lists in the store"
    name, (model, data) = next(iter(models.items()))
    users, db = data.users.ids[:500].tolist(), place/'long.db'
    server = ours(place/name.split(',')[0], db, at := port()).ready(at, json.dumps(dict(user=users[0])).encode())
    wrk(server.url, users, 4, 5)
    s, first = Store(db), server.memory()
    def lists(): return s.read('SELECT COUNT(DISTINCT list) FROM shown')[0][0]
    before, sent, errors, start = lists(), 0, 0, time.time()
    while sent < n:
        got, bad, *_ = wrk(server.url, users, 4, 10)
        sent, errors = sent + int(got), errors + int(bad)
    took, last, kept = time.time() - start, server.memory(), lists() - before
    s.close()
    server.stop()
    print(f'{sent:,} requests in {took:.0f} s: {errors} errors; {kept:,} lists in the store (wrk leaves up to 4 unread at the end of each of its runs); '
          f'memory {first/2**20:.0f} -> {last/2**20:.0f} MB', flush=True)

if __name__ == '__main__': main()
