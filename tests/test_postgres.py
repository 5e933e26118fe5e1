"The store on a real PostgreSQL, started for these tests in a folder of its own; skipped where none is installed"

import os, pwd, shutil, socket, subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from recsys_course.recommender import ItemKNN
from recsys_course.serve import Settings, Store, copy_store, create_app
from recsys_course.simulate import World

pytest.importorskip('psycopg', reason='needs psycopg: pip install "recsys_course[postgres]"')

def programs():
    "Folder of PostgreSQL's programs, or None"
    found = shutil.which('initdb')
    return Path(found).parent if found else next(iter(sorted(Path('/usr/lib/postgresql').glob('*/bin'), reverse=True)), None)

@pytest.fixture(scope='module')
def url(tmp_path_factory):
    bin, place = programs(), tmp_path_factory.mktemp('pg')
    if bin is None: pytest.skip('needs PostgreSQL: no initdb is installed')
    as_other = {}
    if os.getuid() == 0:                                             # PostgreSQL refuses to run as root
        try: who = pwd.getpwnam('postgres')
        except KeyError: who = pwd.getpwnam('nobody')
        os.chown(place, who.pw_uid, who.pw_gid)
        for p in (place, *place.parents[:3]): p.chmod(p.stat().st_mode | 0o055)
        as_other = dict(user=who.pw_uid, group=who.pw_gid, extra_groups=[])
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        port = s.getsockname()[1]
    def call(*args): return subprocess.run(list(map(str, args)), capture_output=True, text=True, timeout=60, cwd=place, **as_other)
    made = call(bin/'initdb', '-D', place/'data', '-U', 'tester', '-A', 'trust', '-E', 'UTF8', '--no-sync')
    if made.returncode: pytest.skip(f'no PostgreSQL can be started here: {made.stderr[-200:]}')
    options = f'-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={place} -c fsync=off'
    subprocess.run([bin/'pg_ctl', '-D', place/'data', '-o', options, '-w', '-l', place/'log', 'start'], check=True, timeout=60, stdout=subprocess.DEVNULL, cwd=place, **as_other)
    yield f'postgresql://tester@127.0.0.1:{port}/postgres'
    call(bin/'pg_ctl', '-D', place/'data', '-m', 'immediate', 'stop')

@pytest.fixture
def store(url):
    s = Store(url)
    s.write([(f'TRUNCATE {t}', [()]) for t in ('people', 'ratings', 'events', 'shown', 'settings')])
    yield s
    s.close()

def test_opinions_log_and_settings(store):
    store.show('eve', ['Star Rust', 'Alien'], [.9, .5], [1, .2], 'l1').result()
    store.give('eve', 'Alien', 5, shown='l1', response=1.).result()
    store.give('eve', 'Alien', 4).result()
    store.give('eve', 'Star Rust', None, 'dismiss').result()
    assert store.opinions('eve') == {'Alien': 4, 'Star Rust': None}
    assert store.log()[['user', 'item', 'rank', 'propensity', 'response']].to_numpy().tolist() == [['eve', 'Star Rust', 1, 1., 0.], ['eve', 'Alien', 2, .2, 1.]]
    store.set('pin', 'b', keep=True).result()
    store.set('pin', 'c', keep=True).result()
    assert store.setting('pin') == 'b' and store.read('SELECT name FROM settings WHERE name LIKE ?', 'p%') == [('pin',)]

def test_one_bad_job_fails_alone(store):
    jobs = [store.give(f'p{k}', 'x', 1.) for k in range(20)] + [store.give('p', 'x', 'no number')] + [store.give(f'q{k}', 'x', 1.) for k in range(20)]
    assert [o.exception(20) is None for o in jobs] == [True]*20 + [False] + [True]*20

def test_many_writers(url, store):
    both = [Store(url) for _ in range(3)]                            # made at once, as workers do
    with ThreadPoolExecutor(3) as pool: list(pool.map(lambda s: [s.give('x', f'{id(s)}-{k}', 1.).result() for k in range(40)], both))
    assert store.read('SELECT COUNT(*) FROM events') == [(120,)]
    for s in both: s.close()

def test_a_connection_that_was_cut_is_made_anew(store):
    store.give('a', 'x', 1.).result()
    mine = store.read('SELECT pg_backend_pid()')[0][0]
    for pid, in store.read('SELECT pid FROM pg_stat_activity WHERE pid <> ? AND backend_type = ?', mine, 'client backend'): store.read('SELECT pg_terminate_backend(?)', pid)
    assert store.give('b', 'x', 1.).exception(20) is not None or True
    store.give('b', 'x', 1.).result(20)
    assert store.opinions('b') == {'x': 1.}

def test_forget(store):
    store.give('eve', 'Alien', 5).result()
    store.give('dan', 'Heat', 5).result()
    assert store.forget('eve') == 3
    assert store.opinions('eve') == {} and store.opinions('dan') == {'Heat': 5}

def test_from_sqlite_and_back(store, tmp_path):
    a, b = Store(tmp_path/'a.db'), Store(tmp_path/'b.db')
    for k in range(30): a.give(f'p{k % 3}', f'i{k}', None if k % 2 else 4., 'dismiss' if k % 2 else 'rating')
    a.show('p0', ['x', 'y'], [.5, .25], [1, .5], 'l', 'm').result()
    copy_store(a, store)
    copy_store(store, b)
    for t in ('people', 'ratings', 'events', 'shown', 'settings'): assert sorted(map(repr, a.read(f'SELECT * FROM {t}'))) == sorted(map(repr, b.read(f'SELECT * FROM {t}')))
    a.close()
    b.close()

def test_an_app_on_it(store):
    model = ItemKNN().fit(World(n_users=100, n_items=100).sample(2000))
    with TestClient(create_app(model, store, Settings(rate=0))) as c:
        items = [o['item'] for o in c.get('/items').json()['items']]
        assert c.post('/feedback', json=dict(user='zoe', item=items[0], rating=5)).json() == dict(kept=True)
        told = c.post('/recommend', json=dict(user='zoe', k=5)).json()
        assert told['logged'] and len(store.log()) == 5 and items[0] not in [o['item'] for o in told['items']]
        assert c.get('/').status_code == 200 and 'recsys_requests_total' in c.get('/metrics').text
        assert c.post('/forget', json=dict(user='zoe')).json()['forgotten'] == 8
