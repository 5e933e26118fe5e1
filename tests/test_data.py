"Damaged files, failing downloads and sizes: what the data lessons do not show"
import http.server, io, os, signal, subprocess, sys, threading, time, zipfile
from pathlib import Path

import numpy as np, pandas as pd, pytest

from recsys_course import data
from recsys_course.data import Interactions, load_course_data, load_kaggle, load_movielens

flags = '|'.join(['0']*19)
files = {'ml-100k/u.data': b'7\t1\t5\t881\n9\t2\t3\t882\n', 'ml-100k/u.user': b'7|30|F|writer|1\n9|41|M|other|2\n',
         'ml-100k/u.item': f'1|Caf\xe9 (1995)|||url|{flags}\n2|Two (1960)|||url|{flags}\n'.encode('latin-1')}

def make_zip():
    "Bytes of a small release 100K"
    f = io.BytesIO()
    with zipfile.ZipFile(f, 'w', zipfile.ZIP_DEFLATED) as z:
        for n, b in files.items(): z.writestr(n, b)
    return f.getvalue()

def write(folder, **changes):
    "The same as plain files, some of them changed"
    for n, b in files.items():
        (folder/n).parent.mkdir(parents=True, exist_ok=True)
        (folder/n).write_bytes(changes.get(n.split('.')[-1], b))
    return folder

@pytest.fixture
def host(monkeypatch, offline):
    "A server in place of GroupLens: set `host.body` to what it sends, and `host.pause` to stop half way"
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            srv.hits += 1
            self.send_response(200); self.send_header('Content-Length', str(len(srv.body))); self.end_headers()
            half = len(srv.body)//2
            self.wfile.write(srv.body[:half]); self.wfile.flush()
            if srv.pause: time.sleep(srv.pause)
            self.wfile.write(srv.body[half:])
        def log_message(self, *args): pass
    srv = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    srv.body, srv.pause, srv.hits = make_zip(), 0, 0
    threading.Thread(target=srv.serve_forever, daemon=True).start()
    url = f'http://127.0.0.1:{srv.server_port}/ml-100k.zip'
    monkeypatch.setattr(data, '_reachable', lambda host, seconds=3: True)
    monkeypatch.setattr(data, '_sources', lambda name, to: [('test host', lambda: data._fetch(url, srv.md5, to, 'u.data'))])
    srv.md5, srv.url, srv.cache = None, url, offline/'cache'
    yield srv
    srv.shutdown()

def test_reads_from_zip_and_folder(tmp_path):
    (tmp_path/'ml-100k.zip').write_bytes(make_zip())
    for where in (tmp_path, tmp_path/'ml-100k.zip', write(tmp_path/'plain')):
        inter = load_movielens('100k', path=where, download=False)
        assert len(inter) == 2 and inter.item_info.title[1] == 'Café (1995)'

def test_truncated_zip(tmp_path, offline):
    (tmp_path/'ml-100k.zip').write_bytes(make_zip()[:200])
    with pytest.raises(ValueError, match='ml-100k.zip is no whole zip file'): load_movielens('100k', path=tmp_path)

def test_damage_inside_zip(tmp_path, offline):
    b = bytearray(make_zip())
    at = b.find(b'u.data') + 10
    b[at] ^= 255
    (tmp_path/'ml-100k.zip').write_bytes(b)
    with pytest.raises(ValueError, match='u.data'): load_movielens('100k', path=tmp_path)

def test_page_in_place_of_zip_and_of_file(tmp_path, offline):
    (tmp_path/'ml-100k.zip').write_bytes(b'<!DOCTYPE html><p>Log in')
    with pytest.raises(ValueError, match='web page'): load_movielens('100k', path=tmp_path)
    with pytest.raises(ValueError, match='u.item is a web page'): load_movielens('100k', path=write(tmp_path/'x', item=b'\n <html>'))

@pytest.mark.parametrize('bad', [b'1|A (1995)\x00|||url|' + flags.encode(), b'1|A (1995)|||url|0|0', b'1x|A|||url|' + flags.encode(), b'\x81|A|||url|' + flags.encode()])
def test_broken_byte_in_items(tmp_path, bad, offline):
    with pytest.raises(ValueError, match='u.item, line 2: damaged'):
        load_movielens('100k', path=write(tmp_path, item=files['ml-100k/u.item'].split(b'\n')[0] + b'\n' + bad + b'\n'))

def test_text_among_ratings(tmp_path, offline):
    with pytest.raises(ValueError, match="column 'rating' in 1 of 2 rows"): load_movielens('100k', path=write(tmp_path, data=b'7\t1\t5\t881\n9\t2\tgood\t882\n'))
    d = tmp_path/'ml-latest-small'; d.mkdir()
    (d/'ratings.csv').write_text('userId,movieId,rating,timestamp\r\n1,1,4.0,9\r\n1,2,oops,9\r\n'); (d/'movies.csv').write_text('movieId,title,genres\r\n1,A,War\r\n')
    with pytest.raises(ValueError, match='(?s)ml-latest-small.*1 of 2 rows.*oops'): load_movielens('latest-small', path=tmp_path)

def test_row_cut_short(tmp_path, offline):
    with pytest.raises(ValueError, match='missing values'): load_movielens('100k', path=write(tmp_path, data=b'7\t1\t5\t881\n9\t2\n'))

def test_missing_file(tmp_path, offline):
    (write(tmp_path)/'ml-100k/u.item').unlink()
    with pytest.raises(ValueError, match='u.item is missing'): load_movielens('100k', path=tmp_path)

def test_nothing_anywhere_is_one_error(offline):
    with pytest.raises(FileNotFoundError) as e: load_movielens('100k', path=offline/'here')
    for part in ('here', 'the cache', 'files.grouplens.org', 'Kaggle', 'RECSYS_COURSE_DATA'): assert part in str(e.value)

def test_course_data_falls_back(offline, capsys):
    inter = load_course_data()
    out = capsys.readouterr().out
    assert inter.name == 'Simulated world' and out.count('\n') == 1 and 'not at hand' in out

def test_course_data_does_not_hide_damage(tmp_path, offline):
    with pytest.raises(ValueError, match='web page'): load_course_data(path=write(tmp_path, data=b'<html>'))

def test_download_lands_in_cache_once(host):
    assert len(load_movielens('100k')) == 2 and len(load_movielens('100k')) == 2
    assert host.hits == 1 and [p.name for p in host.cache.iterdir()] == ['ml-100k.zip']

def test_wrong_checksum(host):
    host.md5 = '0'*32
    with pytest.raises(FileNotFoundError, match='(?i)md5|hash'): load_movielens('100k')
    assert not list(host.cache.iterdir())

def test_page_from_host(host):
    host.body = b'<!DOCTYPE html><p>Moved'
    with pytest.raises(FileNotFoundError, match='web page'): load_movielens('100k')
    assert not list(host.cache.iterdir())

def test_damaged_cache_is_fetched_again(host):
    host.cache.mkdir()
    (host.cache/'ml-100k.zip').write_bytes(make_zip()[:100])
    assert len(load_movielens('100k')) == 2

child = "import sys; from recsys_course import data; data._reachable = lambda *a: True\n" \
        "data._sources = lambda name, to: [('host', lambda: data._fetch(sys.argv[1], None, to, 'u.data'))]; print(len(data.load_movielens('100k')))"

@pytest.mark.skipif(os.name == 'nt', reason='sends a signal that Windows does not have')
def test_killed_download_leaves_nothing_that_counts(host):
    host.pause = 30
    p = subprocess.Popen([sys.executable, '-c', child, host.url], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(300):
        if host.hits: break
        time.sleep(.1)
    time.sleep(.5)
    p.send_signal(signal.SIGKILL); p.wait()
    assert host.hits == 1 and not (host.cache/'ml-100k.zip').exists()
    host.pause = 0
    assert len(load_movielens('100k')) == 2

def test_two_processes_at_once(host):
    host.pause = .5
    ps = [subprocess.Popen([sys.executable, '-c', child, host.url], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for p in ps:
        out, err = p.communicate(timeout=60)
        assert out.strip() == '2', err

def test_cache_that_cannot_be_written(host, monkeypatch, tmp_path):
    (tmp_path/'file').write_text('')
    monkeypatch.setenv('RECSYS_COURSE_CACHE', str(tmp_path/'file'/'cache'))
    with pytest.raises(FileNotFoundError, match='set RECSYS_COURSE_CACHE'): load_movielens('100k')

@pytest.mark.skipif(os.name == 'nt' or getattr(os, 'geteuid', lambda: 1)() == 0, reason='permissions do not bind root, nor Windows in this form')
def test_read_only_cache(host):
    host.cache.mkdir(); host.cache.chmod(0o500)
    with pytest.raises(FileNotFoundError, match='cannot be written'): load_movielens('100k')

def test_kaggle_says_what_to_do(offline, monkeypatch, capsys):
    with pytest.raises(OSError, match='cannot be reached'): load_kaggle('prajitdatta/movielens-100k-dataset')
    monkeypatch.setattr(data, '_reachable', lambda host, seconds=3: True)
    for v in ('KAGGLE_USERNAME', 'KAGGLE_KEY', 'KAGGLE_API_TOKEN'): monkeypatch.delenv(v, raising=False)
    monkeypatch.setenv('HOME', str(offline)); monkeypatch.setenv('KAGGLE_CONFIG_DIR', str(offline))
    with pytest.raises(OSError, match='make one at https://www.kaggle.com/settings'): load_kaggle('prajitdatta/movielens-100k-dataset')
    assert capsys.readouterr() == ('', '')
    with pytest.raises(ValueError, match="named 'owner/name'"): load_kaggle('movielens')

def test_kaggle_zip_is_read(offline, monkeypatch):
    def fetch(dataset, folder):
        (z := Path(folder)/'x.zip').write_bytes(make_zip())
        return z
    monkeypatch.setattr(data, '_kaggle_zip', fetch)
    for _ in range(2):                                                              # the second time from the cache
        assert len(inter := load_kaggle('some/copy')) == 2 and inter.name == 'some/copy'
        monkeypatch.setattr(data, '_kaggle_zip', None)

def test_movielens_100k(movielens):
    inter = load_movielens('100k', path=movielens)
    assert (len(inter), inter.df.user.nunique(), inter.df['item'].nunique(), len(inter.users)) == (100_000, 943, 1682, 944)
    assert round(inter.df.rating.mean(), 5) == 3.52986 and f'{inter.sparsity:.1%}' == '93.7%'
    train, test = load_movielens('100k', path=movielens, fold=1)
    assert (len(train), len(test)) == (80_000, 20_000) and train.users == test.users

def test_movielens_latest_small(movielens):
    inter = load_movielens('latest-small', path=movielens)
    assert (len(inter), inter.df.user.nunique(), inter.df['item'].nunique(), len(inter.item_info)) == (100_836, 610, 9724, 9742)

def test_relative_data_folder(movielens, monkeypatch):
    monkeypatch.chdir(movielens/'ml-100k')
    monkeypatch.setenv('RECSYS_COURSE_DATA', os.path.join('..', movielens.name))    # as seen from one folder up
    assert len(load_movielens('100k', download=False)) == 100_000

def test_input_is_not_changed():
    df = pd.DataFrame(dict(user=[1, 1, 2], item=[1, 2, 1], rating=[1, 2, 3], timestamp=[3, 2, 1]), index=[9, 8, 7])
    before = df.copy()
    inter = Interactions.from_df(df, duplicates='mean')
    inter.df.loc[0, 'rating'] = 99
    inter.split('leave_last'); inter.crosstab(); inter.csr()
    pd.testing.assert_frame_equal(df, before)

@pytest.mark.parametrize('test', [.1, .25, .5, .9])
def test_user_random_draws_the_published_way(test):
    rng = np.random.default_rng(0)
    users = np.repeat(np.arange(40), np.arange(1, 41))
    df = pd.DataFrame(dict(user=users, item=np.arange(len(users)), rating=1)).iloc[rng.permutation(len(users))]     # no timestamps
    train, rest = Interactions.from_df(df).split('user_random', test, seed=7)
    # as the recommenders library has it: random numbers in the order of the rows, ranked within each user, those above the share are test
    r, want = np.random.RandomState(7).rand(len(df)), []
    for u in df.user.unique():
        own = sorted(zip(r[df.user == u], df['item'][df.user == u]))
        n = len(own)
        want += [i for rank, (_, i) in enumerate(own, 1) if rank*1000 > round(n*(1 - test)*1000) and n > 1]
        if n > 1 and round(n*(1 - test)*1000) < 1000: want.remove(own[0][1])                # one row stays in train
    assert sorted(rest.df['item']) == sorted(want) and set(train.df.user) == set(df.user) and len(train) + len(rest) == len(df)
    again = Interactions.from_df(df).split('user_random', test, seed=7)[1]
    assert again.df.equals(rest.df) and not Interactions.from_df(df).split('user_random', test, seed=8)[1].df.equals(rest.df)
