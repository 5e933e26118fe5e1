"Spark for real: on two threads, and on a master with two workers of which one is killed; skipped where Java or pyspark is missing"
import os, signal, socket, subprocess, sys, time
from pathlib import Path

import numpy as np, pandas as pd, pytest
from fastcore.test import test_close as close

pyspark = pytest.importorskip('pyspark', reason="needs Spark: pip install 'recsys_course[spark]'")

from recsys_course.check import check_recommender
from recsys_course.data import Interactions
from recsys_course.factorize import ALS
from recsys_course.implicit import ImplicitALS
from recsys_course.scale import SparkALS, find_java, random_log, spark_session

try: find_java()
except RuntimeError as e: pytest.skip(str(e), allow_module_level=True)

QUICK = {'spark.driver.extraJavaOptions': '-Xss16m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC', 'spark.executor.extraJavaOptions': '-Xss16m -XX:TieredStopAtLevel=1'}

@pytest.fixture(scope='module')
def spark():
    with spark_session(options=QUICK) as s: yield s

@pytest.fixture(scope='module')
def train():
    "Two tastes, so that factors have something to find"
    rng, df = np.random.default_rng(0), random_log(120, 60, 3000)
    likes = 3 + 1.5*np.where(df.user % 2 == df['item'] % 2, 1, -1) + rng.normal(0, .5, len(df))
    df = df.assign(rating=likes.round().clip(1, 5).astype(int), user='u' + df.user.astype(str))
    return Interactions.from_df(df, item_info=pd.DataFrame(dict(title=[f'Film {i}' for i in range(60)]), pd.Index(range(60), name='item')))

@pytest.fixture(scope='module')
def explicit(spark, train): return SparkALS(3, 10, reg=.1).fit(train)

@pytest.fixture(scope='module')
def implicit(spark, train): return SparkALS(3, 10, reg=.3, alpha=4, implicit=True).fit(train)

def test_ratings_are_predicted_as_by_ours(explicit, train):
    ours = ALS(3, 10, reg=.1, reg_bias=1e9, damping=0).fit(train)
    u, i, r = train.codes()
    p, q = (m.predict(train.df.user, train.df['item']) for m in (ours, explicit))
    assert np.corrcoef(p, q)[0, 1] > .995
    assert abs(np.sqrt(np.mean((p - r)**2)) - np.sqrt(np.mean((q - r)**2))) < .005
    close(explicit.predict_codes(u[:9], i[:9]), r.mean() + (explicit.user_factors[u[:9]]*explicit.item_factors[i[:9]]).sum(1), eps=1e-4)

def test_events_are_scored_as_by_ours(implicit, train):
    ones = Interactions.from_df(train.df.assign(rating=1))
    ours = ImplicitALS(3, 10, alpha=4, reg=.3, reg_scale=1., solver='cholesky').fit(ones)
    theirs = SparkALS(3, 10, reg=.3, alpha=4, implicit=True).fit(ones)
    a, b = (m.scores(np.arange(1, 100))[:, 1:] for m in (ours, theirs))
    assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > .995 and np.sqrt(np.mean((a - b)**2)) < .02
    with pytest.raises(NotImplementedError): implicit.predict('u1', 1)

@pytest.mark.parametrize('kind', ['explicit', 'implicit'])
def test_a_folded_in_history_has_the_vector_of_spark(kind, train, request):
    "The users are solved for last, so this holds exactly: penalty, confidence and mean are Spark's own"
    model = request.getfixturevalue(kind)
    for u in train.users.ids[[0, 5, 9]]:
        code = train.users.encode(u)[0]
        close(model.fold_in(train.history(u)[['item', 'rating']]).vector, model.user_factors[code], eps=2e-3)

@pytest.mark.parametrize('kind', ['explicit', 'implicit'])
def test_saved_and_loaded_without_spark(kind, tmp_path, request):
    model = request.getfixturevalue(kind)
    model.save(tmp_path/'m')
    code = "import sys; sys.modules['pyspark'] = None\nfrom recsys_course.scale import SparkALS\nm = SparkALS.load(sys.argv[1])\nprint(list(m.recommend('u1', k=3, titles=True)['item']))"
    done = subprocess.run([sys.executable, '-c', code, tmp_path/'m'], capture_output=True, text=True)
    assert done.stdout.strip() == str(list(model.recommend('u1', k=3)['item'])), done.stderr[-500:]
    assert list(tmp_path.glob('m/*.safetensors'))

def test_the_contract(spark): check_recommender(lambda: SparkALS(4, 4, reg=.1))

def test_parquet_and_lists_for_all(spark, train, tmp_path):
    path = tmp_path/'log.parquet'
    train.df.to_parquet(path)
    model = SparkALS(3, 4, reg=.1).fit_parquet(path)
    assert model.users == train.users and model.items == train.items and (model.seen != train.csr('ones')).nnz == 0
    p, q = (m.predict(train.df.user, train.df['item']) for m in (model, SparkALS(3, 4, reg=.1).fit(train)))
    assert np.corrcoef(p, q)[0, 1] > .98
    model.recommend_all(tmp_path/'lists', k=4)
    lists = pd.read_parquet(tmp_path/'lists').sort_values(['user', 'rank'], ignore_index=True)
    want = model.recommend(sorted(train.df.user.unique()), k=4)
    assert (lists[['user', 'item', 'rank']].to_numpy() == want[['user', 'item', 'rank']].to_numpy()).mean() > .99
    close(lists.score.to_numpy(), want.score.to_numpy(), eps=1e-4)
    bare = SparkALS(2, 1, reg=.1).fit_parquet(path, keep_seen=False)
    assert bare.seen.nnz == 0

def test_wrong_addresses_fail_in_seconds():
    code = '''
from recsys_course.scale import spark_session
for master in ('sprak://h:1', 'spark://127.0.0.1:1'):
    try:
        with spark_session(master): pass
    except (ValueError, ConnectionError) as e: print(type(e).__name__)
'''
    start = time.monotonic()
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.stdout.split() == ['ValueError', 'ConnectionError'] and time.monotonic() - start < 60

# ---- A master and two workers on this machine

def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]

@pytest.fixture
def cluster(tmp_path):
    "Address of a master, and the processes of its two workers"
    home, port = Path(pyspark.__file__).parent, free_port()
    env = {**os.environ, 'SPARK_HOME': str(home), 'SPARK_DAEMON_MEMORY': '256m', 'PYSPARK_PYTHON': sys.executable, 'SPARK_LOCAL_IP': '127.0.0.1', 'SPARK_WORKER_DIR': str(tmp_path)}
    def start(what, *args):
        out = open(tmp_path/f'{what}-{len(running)}.log', 'w')
        running.append(subprocess.Popen([home/'bin/spark-class', f'org.apache.spark.deploy.{what}', *args], env=env, stdout=out, stderr=out, start_new_session=True))
        return running[-1]
    def await_port(seconds=60):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try: return socket.create_connection(('127.0.0.1', port), 1).close()
            except OSError: time.sleep(.3)
        raise TimeoutError('the master did not start')
    running = []
    try:
        start('master.Master', '--host', '127.0.0.1', '--port', str(port), '--webui-port', '0')
        await_port()
        workers = [start('worker.Worker', f'spark://127.0.0.1:{port}', '--host', '127.0.0.1', '-c', '1', '-m', '700m', '--webui-port', '0') for _ in range(2)]
        yield f'spark://127.0.0.1:{port}', workers
    finally:
        for p in running:
            try: os.killpg(p.pid, signal.SIGKILL)
            except ProcessLookupError: pass
            p.wait()

KILLED = '''
import os, signal, sys, threading, time
import numpy as np
from recsys_course.data import Interactions
from recsys_course.scale import SparkALS, random_log, spark_session
master, kill = sys.argv[1], int(sys.argv[2])
def executors(): return spark.sparkContext._jsc.sc().getExecutorMemoryStatus().size() - 1
def shoot():
    time.sleep(3)
    os.killpg(kill, signal.SIGKILL)
    print('killed', flush=True)
quick = '-Xss16m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC'
with spark_session(master, '600m', {'spark.driver.extraJavaOptions': quick, 'spark.executor.extraJavaOptions': quick}) as spark:
    end = time.monotonic() + 60
    while executors() < 2 and time.monotonic() < end: time.sleep(.2)
    print(executors(), flush=True)
    threading.Thread(target=shoot).start()
    model = SparkALS(4, 10, reg=.1, n_blocks=4).fit(Interactions.from_df(random_log(300, 200, 8000)))
    print(executors(), flush=True)
np.save(sys.argv[3], model.scores(np.arange(1, 100)))
'''

def test_a_worker_that_is_killed_changes_nothing(spark, cluster, tmp_path):
    whole = SparkALS(4, 10, reg=.1, n_blocks=4).fit(Interactions.from_df(random_log(300, 200, 8000)))
    master, workers = cluster
    done = subprocess.run([sys.executable, '-c', KILLED, master, str(workers[0].pid), str(tmp_path/'killed.npy')], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    said = done.stdout.split()
    assert said[0] == '2' and 'killed' in said and workers[0].poll() is not None, done.stdout
    close(np.load(tmp_path/'killed.npy'), whole.scores(np.arange(1, 100)), eps=5e-3)

def test_a_master_without_workers_is_one_sentence(cluster):
    master, workers = cluster
    for p in workers: os.killpg(p.pid, signal.SIGKILL)
    code = "import sys\nfrom recsys_course import scale\nscale._await_workers.__defaults__ = (3,)\ntry:\n    with scale.spark_session(sys.argv[1], '600m'): pass\nexcept RuntimeError as e: print(e)"
    done = subprocess.run([sys.executable, '-c', code, master], capture_output=True, text=True, timeout=200)
    assert 'no worker to give' in done.stdout, done.stderr[-1000:]
