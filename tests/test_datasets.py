"Reading files, releases and Kaggle: damage, failing downloads, and the ways in which files of ratings differ"
import gzip, http.server, io, json, os, shutil, signal, subprocess, sys, threading, time, zipfile

import numpy as np, pandas as pd, pytest
from hypothesis import given, settings, strategies as st

from recsys_course import datasets
from recsys_course.data import Interactions
from recsys_course.datasets import (load_course_data, load_file, load_kaggle, load_movielens, load_named, parse_ids, parse_table,
                                    read_id, read_table)

flags = '|'.join(['0']*19)
files = {'ml-100k/u.data': b'7\t1\t5\t881\n9\t2\t3\t882\n', 'ml-100k/u.user': b'7|30|F|writer|1\n9|41|M|other|2\n',
         'ml-100k/u.item': f'1|Caf\xe9 (1995)|||url|{flags}\n2|Two (1960)|||url|{flags}\n'.encode('latin-1')}

def make_zip(content=files, level=None):
    "Bytes of a zip file, of a small release 100K by default"
    f = io.BytesIO()
    with zipfile.ZipFile(f, 'w', zipfile.ZIP_DEFLATED, compresslevel=level) as z:
        for n, b in content.items(): z.writestr(n, b)
    return f.getvalue()

def write(folder, **changes):
    "The same as plain files, some of them changed"
    for n, b in files.items():
        (folder/n).parent.mkdir(parents=True, exist_ok=True)
        (folder/n).write_bytes(changes.get(n.split('.')[-1], b))
    return folder

# ---- an import that costs little

def test_nothing_heavy_is_imported():
    heavy = 'torch', 'fastai', 'matplotlib', 'sklearn', 'kaggle', 'kagglehub', 'pooch', 'requests', 'numba'
    res = subprocess.run([sys.executable, '-c', f'import sys, recsys_course.datasets; print([m for m in {heavy} if m in sys.modules])'], capture_output=True, text=True)
    assert res.stdout.strip() == '[]', res.stdout + res.stderr

# ---- releases, plain and zipped

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
    monkeypatch.setattr(datasets, '_reachable', lambda host, seconds=3: True)
    monkeypatch.setattr(datasets, '_sources', lambda name, cache: [('test host', lambda: datasets._fetch(url, srv.md5, cache/'ml-100k.zip', 'u.data'))])
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

@pytest.mark.parametrize('member', ['u.data', 'u.item', 'u.user'])
def test_damage_inside_zip(tmp_path, offline, member):
    b = bytearray(make_zip())
    at = b.find(member.encode()) + 10
    b[at] ^= 255
    (tmp_path/'ml-100k.zip').write_bytes(b)
    with pytest.raises(ValueError, match=member): load_movielens('100k', path=tmp_path)

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

def test_half_a_release_is_called_a_part(tmp_path, movielens):
    for fn in ('u.item', 'u.user'): (tmp_path/fn).write_bytes((movielens/'ml-100k'/fn).read_bytes())
    lines = (movielens/'ml-100k/u.data').read_bytes().splitlines(keepends=True)
    (tmp_path/'u.data').write_bytes(b''.join(lines[:50_000]))
    assert load_movielens('100k', path=tmp_path).name == load_named(str(tmp_path))[0].name == 'Part of MovieLens 100K'
    assert load_named(str(movielens/'ml-100k'))[0].name == 'MovieLens 100K'

def test_nothing_anywhere_is_one_error(offline, monkeypatch):
    monkeypatch.setenv('RECSYS_COURSE_DATA', str(offline/'there'))
    with pytest.raises(FileNotFoundError) as e: load_movielens('100k', path=offline/'here')
    for part in ('here', 'the cache', 'files.grouplens.org', 'Kaggle', 'RECSYS_COURSE_DATA'): assert part in str(e.value)
    assert str(e.value).count('- $RECSYS_COURSE_DATA') == 1

def test_course_data_falls_back(offline, capsys):
    inter = load_course_data()
    out = capsys.readouterr().out
    assert inter.name == 'Simulated world' and out.count('\n') == 1 and 'not at hand' in out
    named, line = load_named('course')
    assert named.df.equals(inter.df) and line == f'{inter} (MovieLens 100k is not at hand)' and capsys.readouterr().out == ''

def test_course_data_does_not_hide_damage(tmp_path, offline):
    with pytest.raises(ValueError, match='web page'): load_course_data(path=write(tmp_path, data=b'<html>'))

def test_variables_say_what_the_course_uses_and_where_it_lies(movielens, offline, monkeypatch):
    monkeypatch.setenv('RECSYS_COURSE_DATA', str(movielens))
    assert load_course_data().name == load_named('course')[0].name == load_named('100k')[0].name == 'MovieLens 100K'
    monkeypatch.setenv('RECSYS_COURSE_DATASET', 'latest-small')
    assert load_course_data().name == load_named('course')[0].name == 'MovieLens latest-small'
    monkeypatch.setenv('RECSYS_COURSE_DATASET', 'world')
    assert load_course_data().name == load_named('course')[0].name == 'Simulated world'
    assert load_course_data('100k').name == 'MovieLens 100K'
    monkeypatch.delenv('RECSYS_COURSE_DATA')
    (offline/'cache').mkdir()
    (offline/'cache/ml-latest-small').symlink_to(movielens/'ml-latest-small')
    assert load_movielens('latest-small').name == 'MovieLens latest-small'

def test_movielens_100k(movielens):
    inter = load_movielens('100k', path=movielens)
    assert (len(inter), inter.df.user.nunique(), inter.df['item'].nunique(), len(inter.users)) == (100_000, 943, 1682, 944)
    assert round(inter.df.rating.mean(), 5) == 3.52986 and f'{inter.sparsity:.1%}' == '93.7%'
    train, test = load_movielens('100k', path=movielens, fold=1)
    assert (len(train), len(test)) == (80_000, 20_000) and train.users == test.users

def test_movielens_latest_small(movielens):
    inter = load_movielens('latest-small', path=movielens)
    assert (len(inter), inter.df.user.nunique(), inter.df['item'].nunique(), len(inter.item_info)) == (100_836, 610, 9724, 9742)

def test_the_careful_reader_agrees_with_the_readers_of_releases(movielens):
    small = movielens/'ml-latest-small'
    inter = load_file(small/'ratings.csv', user='userId', item='movieId', items=small/'movies.csv')
    want = load_movielens('latest-small', path=movielens)
    pd.testing.assert_frame_equal(inter.df, want.df)
    assert inter.item_info.title.tolist() == want.item_info.title.tolist() and inter.items == want.items
    inter = load_file(movielens/'ml-100k/u.data', columns='user,item,rating,timestamp')
    pd.testing.assert_frame_equal(inter.df, load_movielens('100k', path=movielens).df)
    titles = read_table(movielens/'ml-100k/u.item', ['0'], encoding='latin-1', columns=map(str, range(24)))
    assert titles['1'].tolist() == load_movielens('100k', path=movielens).item_info.title.tolist()

def test_relative_data_folder(movielens, monkeypatch):
    monkeypatch.chdir(movielens/'ml-100k')
    monkeypatch.setenv('RECSYS_COURSE_DATA', os.path.join('..', movielens.name))    # as seen from one folder up
    assert len(load_movielens('100k', download=False)) == 100_000

# ---- downloads

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

child = "import sys; from recsys_course import datasets as d; d._reachable = lambda *a: True\n" \
        "d._sources = lambda name, cache: [('host', lambda: d._fetch(sys.argv[1], None, cache/'ml-100k.zip', 'u.data'))]; print(len(d.load_movielens('100k')))"

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

# ---- Kaggle, through its own client

@pytest.fixture
def kaggle(monkeypatch, offline):
    "A server in place of Kaggle: `kaggle.status` is what it answers, `kaggle.body` the zip file it sends; nobody has a token"
    kaggle_env = pytest.importorskip('kagglesdk.kaggle_env')
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers['Content-Length']))
            if srv.status != 200: return self.answer(srv.status, dict(code=srv.status, message='https://signed.example/x?Signature=secret'))
            if self.path.endswith('/GetDataset'): return self.answer(200, dict(currentVersionNumber=1))
            self.send_response(302); self.send_header('Location', f'{srv.url}/x.zip?Signature=secret'); self.end_headers()
        def do_GET(self):
            srv.hits += 1
            if srv.cut: return self.connection.close()
            self.send_response(200); self.send_header('Content-Length', str(len(srv.body))); self.end_headers(); self.wfile.write(srv.body)
        def answer(self, code, d):
            body = json.dumps(d).encode()
            self.send_response(code); self.send_header('Content-Type', 'application/json'); self.send_header('Content-Length', str(len(body)))
            self.end_headers(); self.wfile.write(body)
        def log_message(self, *args): pass
    srv = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    srv.status, srv.body, srv.hits, srv.cut, srv.url, srv.cache = 200, make_zip(), 0, False, f'http://127.0.0.1:{srv.server_port}', offline/'cache'
    threading.Thread(target=srv.serve_forever, daemon=True).start()
    monkeypatch.setattr(datasets, '_reachable', lambda host, seconds=3: True)
    monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.PROD, srv.url)
    for v in ('KAGGLE_USERNAME', 'KAGGLE_KEY', 'KAGGLE_API_TOKEN', 'KAGGLE_API_ENVIRONMENT'): monkeypatch.delenv(v, raising=False)
    monkeypatch.setenv('HOME', str(offline)); monkeypatch.setenv('KAGGLE_CONFIG_DIR', str(offline))
    yield srv
    srv.shutdown()

def test_kaggle_is_asked_once(kaggle, capsys):
    for _ in range(2):                                                              # the second time from the cache
        inter = load_kaggle('some/copy')
        assert len(inter) == 2 and inter.name == 'some/copy' and inter.item_info.title[1] == 'Café (1995)'
        kaggle.status = 500
    assert kaggle.hits == 1 and capsys.readouterr().out == '' and [p.name for p in kaggle.cache.iterdir()] == ['some--copy']

def test_kaggle_helps_out_when_grouplens_fails(kaggle, monkeypatch):
    def fetch(*args): raise OSError('cannot be reached')
    monkeypatch.setattr(datasets, '_fetch', fetch)
    assert len(load_movielens('100k')) == 2
    kaggle.status = 500
    assert len(load_movielens('100k')) == 2 and [p.name for p in kaggle.cache.iterdir()] == ['ml-100k']

def test_another_process_may_be_faster(kaggle, monkeypatch):
    replace = os.replace
    def late(found, to):
        shutil.copytree(found, to)
        replace(found, to)                                                          # fails: the folder is there already, and full
    monkeypatch.setattr(datasets.os, 'replace', late)
    assert len(load_kaggle('some/copy')) == 2 and [p.name for p in kaggle.cache.iterdir()] == ['some--copy']

@pytest.mark.parametrize('status, says', [(401, 'make one at https://www.kaggle.com/settings'), (403, 'make one at https://www.kaggle.com/settings'),
                                          (404, 'Kaggle has no data set some/copy'), (429, 'HTTP status 429'), (500, 'HTTP status 500')])
def test_kaggle_says_what_to_do_in_its_own_words(kaggle, capsys, status, says):
    kaggle.status = status
    with pytest.raises(OSError, match=says) as e: load_kaggle('some/copy')
    assert 'secret' not in str(e.value) and e.value.__cause__ is None and e.value.__suppress_context__
    out = capsys.readouterr()
    assert 'secret' not in out.out + out.err and not list(kaggle.cache.iterdir())

def test_kaggle_breaks_off_or_sends_something_else(kaggle, capsys):
    kaggle.cut = True
    with pytest.raises(OSError, match='Kaggle cannot be reached') as e: load_kaggle('some/copy')
    kaggle.cut, kaggle.body = False, b'<html>secret'
    with pytest.raises(OSError, match='Kaggle did not give some/copy') as f: load_kaggle('some/copy')
    assert 'secret' not in str(e.value) + str(f.value) + ''.join(capsys.readouterr()) and not list(kaggle.cache.iterdir())

def test_kaggle_without_network_and_by_a_wrong_name(offline, capsys):
    with pytest.raises(OSError, match='cannot be reached'): load_kaggle('prajitdatta/movielens-100k-dataset')
    assert capsys.readouterr() == ('', '')
    for wrong in ('movielens', 'a/b/c', '../x/y', 'a/..'):
        with pytest.raises(ValueError, match="named 'owner/name'"): load_kaggle(wrong)

@pytest.fixture
def kept(offline, monkeypatch):
    "A function that puts a zip file with files into the cache as Kaggle's own/data"
    (offline/'cache').mkdir()
    def keep(**content): (offline/'cache/own--data.zip').write_bytes(make_zip({n.replace('__', '.'): b for n, b in content.items()}))
    return keep

def test_kaggle_tables_are_read_with_care(kept):
    kept(r__csv='user,item,rating\nA1,0205616461,5\nA2,0558925278,3\n')
    assert load_kaggle('own/data', file='r.csv').items.ids.tolist() == ['0205616461', '0558925278']
    kept(r__csv='user,item,rating,timestamp\n1,2,3.5,2005-04-02 23:53:47\n1,29,3.5,2005-04-02 23:31:16\n')
    assert load_kaggle('own/data', file='r.csv').history(1)['item'].tolist() == [29, 2]
    kept(r__csv='User-ID;ISBN;Book-Rating\n1;034545104X;0\n')
    assert load_kaggle('own/data', 'r.csv', user='User-ID', item='ISBN', rating='Book-Rating').items.ids.tolist() == ['034545104X']
    kept(r__csv='user,item,rating\n1,Café,5\n'.encode('latin-1'))
    with pytest.raises(ValueError, match='r.csv is no UTF-8 text'): load_kaggle('own/data', file='r.csv')
    assert load_kaggle('own/data', file='r.csv', encoding='latin-1').items.ids.tolist() == ['Café']
    kept(r__csv='user,item,rating\n1,NA,5\n2,x,4\n')
    assert load_kaggle('own/data').items.ids.tolist() == ['NA', 'x']
    kept(r__csv='user,item,rating\n1,a,5\n', i__csv='item,title\na,One\n')
    inter = load_kaggle('own/data', file='r.csv', items='i.csv')
    assert inter.titles.tolist() == ['One'] and inter.name == 'own/data'
    with pytest.raises(ValueError, match='is no MovieLens release: name with file='): load_kaggle('own/data')
    with pytest.raises(ValueError, match='holds no s.csv, but r.csv'): load_kaggle('own/data', file='s.csv')

# ---- ids

@pytest.mark.parametrize('texts, ids', [
    (['1', '20', '0', '-3'], [1, 20, 0, -3]), (['01', '20'], ['01', '20']), (['1.0', '20.0'], [1, 20]), (['1', '2.0', '3.00'], [1, 2, 3]),
    (['1.5', '2.0'], ['1.5', '2.0']), (['1e3', '2'], ['1e3', '2']), (['+1', '2'], ['+1', '2']), (['-0', '2'], ['-0', '2']), (['٧'], ['٧']), (['1 ', '2'], ['1 ', '2']),
    ([str(2**63 - 1), str(-2**63)], [2**63 - 1, -2**63]), ([str(2**63), '1'], [str(2**63), '1']), (['9'*30, '1'], ['9'*30, '1']), (['NA', 'nan', 'None'], ['NA', 'nan', 'None'])])
def test_ids_stay_as_they_are_written(tmp_path, texts, ids):
    assert parse_ids(pd.Series(texts, dtype=str)).tolist() == ids
    pd.DataFrame(dict(user=texts, item='x', rating=1)).to_csv(tmp_path/'r.csv', index=False)
    inter = load_file(tmp_path/'r.csv')
    assert inter.df.user.tolist() == ids
    for text, raw in zip(texts, ids): assert read_id(inter.users, text) == raw

def test_typed_ids_are_found_whatever_their_length():
    big = 15*10**17
    inter = Interactions.from_df(pd.DataFrame(dict(user=[big + 1, big + 2], item=['007', '7'], rating=1)))
    assert read_id(inter.users, str(big + 1)) == big + 1 and read_id(inter.items, '007') == '007'
    with pytest.raises(KeyError, match='unknown user'): read_id(inter.users, '9'*30)
    with pytest.raises(KeyError, match="unknown item '07'"): read_id(inter.items, '07')

letters = st.text(st.characters(codec='utf-8', exclude_categories=('Cs', 'Cc', 'Zl', 'Zp', 'Zs')), min_size=1)      # no blanks: they may be stripped

@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(letters, letters), min_size=1, max_size=8), st.sampled_from([',', ';', '\t', '|']), st.sampled_from(['utf-8', 'utf-16']))
def test_any_text_comes_back_as_it_was(tmp_path_factory, rows, sep, encoding):
    path = tmp_path_factory.mktemp('text')/'r.csv'
    df = pd.DataFrame(rows, columns=['user', 'item']).drop_duplicates().assign(rating=3)
    df.to_csv(path, index=False, sep=sep, encoding=encoding)
    inter = load_file(path)
    assert inter.df['user'].tolist() == parse_ids(df.user).tolist() and inter.df['item'].tolist() == parse_ids(df['item']).tolist()

# ---- the ways in which files differ

ROWS = [('00123', 'tea', 5, 8), ('00123', 'jam', 4, 9), ('00456', 'tea', 4, 7)]

def ratings(sep=',', heading=True, eol='\n'):
    rows = [['user', 'item', 'rating', 'timestamp']]*heading + ROWS
    return ''.join(sep.join(map(str, r)) + eol for r in rows)

def same(inter): return [tuple(r) for r in inter.df.values.tolist()] == ROWS

@pytest.mark.parametrize('name', ['r.csv', 'R.CSV', 'r.tsv', 'r.TXT', 'r.dat', 'u.data'])
@pytest.mark.parametrize('sep', [',', ';', '\t', '|', '::', ' ', ', ', ' ; ', '   '])
def test_separators_and_endings(tmp_path, name, sep):
    (tmp_path/name).write_text(ratings(sep))
    assert same(load_file(tmp_path/name))
    (tmp_path/name).write_text(ratings(sep, heading=False))
    assert same(load_file(tmp_path/name, columns='user,item,rating,timestamp'))

def test_a_separator_by_hand(tmp_path):
    for sep, typed in (('~', '~'), ('\t', r'\t'), (' , ', ' , '), ('¦', '¦'), ('  ', r'\s+'), ('\x1e', '\x1e')):
        (tmp_path/'ratings').write_text(ratings(sep))
        assert same(load_file(tmp_path/'ratings', sep=typed)), sep
    for wrong in ('\n', '"'):
        with pytest.raises(ValueError, match='cannot separate fields'): load_file(tmp_path/'ratings', sep=wrong)

ENCODED = dict(bom=ratings().encode('utf-8-sig'), utf16=ratings().encode('utf-16'), crlf=ratings(eol='\r\n').encode(), cr=ratings(eol='\r').encode(),
               blank_lines=ratings(eol='\n\n').encode(), blank_lines_above=('\n\n' + ratings()).encode(), no_last_line_end=ratings().rstrip().encode(),
               gzip=gzip.compress(ratings().encode()), commas_at_the_end=ratings(eol=',\n').encode())

@pytest.mark.parametrize('data', ENCODED.values(), ids=ENCODED)
def test_encodings_line_ends_and_gzip(tmp_path, data):
    for name in ('r.csv', 'R.CSV.GZ'):
        (tmp_path/name).write_bytes(data)
        assert same(load_file(tmp_path/name))

def test_tables_in_zip_files(tmp_path):
    (tmp_path/'ONE.ZIP').write_bytes(make_zip({'deep/R.CSV': ratings(), '__MACOSX/._R.CSV': 'x', 'readme.md': 'x'}))
    assert same(load_file(tmp_path/'ONE.ZIP')) and same(load_file(tmp_path/'ONE.ZIP/deep/R.CSV')) and same(load_named(str(tmp_path/'ONE.ZIP'))[0])
    (tmp_path/'two.zip').write_bytes(make_zip({'ratings.csv': ratings(), 'movies.dat': 'x'}))
    with pytest.raises(ValueError, match='two.zip holds ratings.csv, movies.dat: name one, as in two.zip/ratings.csv'): load_named(str(tmp_path/'two.zip'))
    assert same(load_named(str(tmp_path/'two.zip/ratings.csv'))[0])
    (tmp_path/'none.zip').write_bytes(make_zip({'a.md': 'x'}))
    with pytest.raises(ValueError, match='none.zip holds a.md'): load_named(str(tmp_path/'none.zip'))
    with pytest.raises(FileNotFoundError, match='no file no.csv in'): load_named(str(tmp_path/'two.zip/no.csv'))

def test_zip_files_that_are_not_opened(tmp_path):
    locked = bytearray(make_zip({'r.csv': ratings()}))
    locked[6] |= 1; locked[locked.find(b'PK\1\2') + 8] |= 1                         # the mark of a password, in both headers
    for name, data, says in (('locked.zip', locked, 'locked with a password'), ('bomb.zip', make_zip({'r.csv': bytes(2**28 + 1)}, 1), 'not unpacked'),
                             ('cut.zip', make_zip({'r.csv': ratings()})[:-30], 'no whole zip file'), ('page.zip', b'<html>', 'a web page'), ('empty.zip', b'', 'no whole zip file')):
        (tmp_path/name).write_bytes(data)
        with pytest.raises(ValueError, match=f'{name}.*{says}'): load_file(tmp_path/name)
    (tmp_path/'bomb.csv.gz').write_bytes(gzip.compress(bytes(2**28 + 1), 1))
    with pytest.raises(ValueError, match='bomb.csv.gz.*not unpacked'): load_file(tmp_path/'bomb.csv.gz')
    (tmp_path/'cut.csv.gz').write_bytes(gzip.compress(ratings().encode()*99)[:-20])
    with pytest.raises(ValueError, match='cut.csv.gz is damaged'): load_file(tmp_path/'cut.csv.gz')

def test_other_names_no_times_no_ratings(tmp_path):
    path = tmp_path/'r.csv'
    path.write_text('who,what,stars,when\na,x,5,2024-01-02\na,y,4,2024-01-01T23:00-02:00\n')
    inter = load_file(path, user='who', item='what', rating='stars', timestamp='when')
    assert inter.df.timestamp.tolist() == [pd.Timestamp('2024-01-02'), pd.Timestamp('2024-01-02 01:00')] and inter.name == 'r.csv'
    assert list(load_file(path, user='who', item='what', rating='stars').df) == ['user', 'item', 'rating']
    assert load_file(path, user='who', item='what', rating=None, name='shop').df.rating.tolist() == [1, 1]
    path.write_text('user,item,rating,timestamp\n1,1,5,10/22/2020 12:26\n')
    with pytest.raises(ValueError, match='timestamp=None'): load_file(path)
    assert list(load_file(path, timestamp=None).df) == ['user', 'item', 'rating']

@pytest.mark.parametrize('text, says', [
    ('', 'r.csv is empty'), (' \n\n', 'r.csv is empty'), ('user,item,rating\n', 'has a heading and no rows'), ('userId,item,rating\n1,2,3\n', "no column 'user' in r.csv, which has userId, item, rating: name yours with user="),
    ('196\t242\t3\t881\n', 'name its columns with columns='), ('user,item\n1,2\n', "no column 'rating'"), ('user,item,rating,rating\n1,2,3,4\n', "r.csv: two columns are called 'rating'"),
    ('user,item,rating\n1,2,5\n1,3,much\n', "not finite numbers in column 'rating' in 1 of 2 rows.*row 2 after the heading"), ('user,item,rating\n1,2,5\n,3,4\n', "missing values in column 'user' in 1 of 2 rows.*row 2 after"),
    ('user,item,rating\n1,2,5\n1,3\n', "missing values in column 'rating'.*row 2 after"), ('user,item,rating\n1,2,5\n1,2,4\n', "repeated user-item pairs in 2 of 2 rows.*duplicates='last'.*row 1 after"),
    ('user,item,rating\n1,2,5,881\n2,3,4,882\n', r'r.csv, line 2: 4 fields, but there are 3 names of columns \(user, item, rating\)'), ('\nuser,item,rating\n1,2,5\n\n2,3,4,8\n', 'r.csv, line 5: 4 fields'),
    ('user,item,rating\n1,"a,b",5\n2,"c,4\n', 'r.csv, line 3: a quote is not closed'), ('user,item,rating\n1,"a,b",5\n2,"c" d,4\n', 'r.csv, line 3: a quote is not closed'),
    ('user,item,rating\n1,"a,b",5\n2,"c,4\n3,d,5\n4,e",1\n', 'r.csv, line 3: a quote is not closed'),
    ('user,item,rating,timestamp\n1,1,5,1600000000\n2,1,4,2020-01-01\n', "r.csv: '2020-01-01' in column 'timestamp' is of another kind than '1600000000' .row 2."),
    ('user,item,rating,timestamp\n1,1,5,2020-01-01\n2,1,4,soon\n', "'soon' in column 'timestamp' is neither a number nor a date.*row 2"), ('user,item,rating,timestamp\n1,1,5,inf\n', 'is no time'),
    ('user,item,rating,timestamp\n1,1,5,8\n1,2,5,\n', "missing values in column 'timestamp'.*row 2"), ('<!DOCTYPE html>\n<p>a,b</p>', 'r.csv is a web page'), ('user,item,rating\n1,2,\x005\n', 'r.csv, line 2: damaged, it holds a zero byte')])
def test_what_is_wrong_is_said_with_file_and_row(tmp_path, text, says):
    (tmp_path/'r.csv').write_text(text)
    with pytest.raises(ValueError, match=f'(?s){says}') as e: load_file(tmp_path/'r.csv')
    assert 'r.csv' in str(e.value) and '\n' not in str(e.value)

def test_the_file_is_not_there_or_of_another_kind(tmp_path):
    with pytest.raises(FileNotFoundError, match='no file .*r.csv'): load_file(tmp_path/'r.csv')
    with pytest.raises(ValueError, match='is a folder'): load_file(tmp_path)
    (tmp_path/'r.xlsx').write_text('x')
    with pytest.raises(ValueError, match='r.xlsx: cannot read this kind of file, take .csv'): load_file(tmp_path/'r.xlsx')
    (tmp_path/'r.csv').write_bytes('user,item,rating\nJosé,2,5\n'.encode('latin-1'))
    with pytest.raises(ValueError, match=r'r.csv is no UTF-8 text \(line 2\).*encoding='): load_file(tmp_path/'r.csv')
    assert load_file(tmp_path/'r.csv', encoding='latin-1').users.ids.tolist() == ['José']
    for wrong in ('latin1000', 'base64'):
        with pytest.raises(ValueError, match=f"encoding='{wrong}' is not known"): load_file(tmp_path/'r.csv', encoding=wrong)
    (tmp_path/'r.csv').write_bytes('user,item,rating\nJosé,2,5\n'.encode('utf-8'))
    for encoding in ('utf-8', 'UTF8', 'utf-8-sig'): assert load_file(tmp_path/'r.csv', encoding=encoding).users.ids.tolist() == ['José']
    (tmp_path/'r.csv').write_bytes('user,item,rating\nJosé,2,5\n'.encode('utf-16')[:-1])
    with pytest.raises(ValueError, match='r.csv is no UTF-16 text'): load_file(tmp_path/'r.csv')
    with pytest.raises(FileNotFoundError, match='nowhere.csv was not found: give a csv'): load_named('nowhere.csv')
    with pytest.raises(FileNotFoundError, match='MovieLens was not found in'): load_named(str(tmp_path))

def test_no_heading_needs_as_many_names_as_fields(tmp_path):
    (tmp_path/'r.csv').write_text('1,2,5\n')
    with pytest.raises(ValueError, match='r.csv, line 1: 3 fields, but there are 2 names'): load_file(tmp_path/'r.csv', columns=['user', 'item'])
    (tmp_path/'r.csv').write_text('1,2,5\n3,4,much\n')
    with pytest.raises(ValueError, match=r'the first is row 2\)'): load_file(tmp_path/'r.csv', columns=['user', 'item', 'rating'])

# ---- quotes, blanks

@pytest.mark.parametrize('sep', ['\t', ',', ';'])
def test_a_quote_that_is_a_letter_swallows_nothing(sep):
    rows = [('1', 'A', 5), ('2', '"Odd Al', 4), ('3', 'B', 3), ('4', '"The" Band', 2), ('5', '12" Single', 1), ('6', 'Al"', 2), ('7', '"', 1), ('8', 'plain', 2)]
    text = sep.join(('user', 'item', 'rating')) + '\n' + ''.join(sep.join(map(str, r)) + '\n' for r in rows)
    df = parse_table(text, ['user', 'item'])
    assert [tuple(r) for r in df.values.tolist()] == rows
    quoted = text.replace(f'8{sep}plain{sep}2', f'"8"{sep}"pl""ain"{sep}"2"')      # proper quotes beside them
    assert parse_table(quoted, ['user', 'item']).values.tolist()[-1] == ['8', 'pl"ain', 2]

def test_quotes_that_are_meant_work_as_in_csv():
    rows = [['1', 'Doe, Jane', 'says "hi"'], ['2', 'two\nlines', ''], ['3', 'a,b\nc,d', 'x'], ['4', '"all"', '"']]
    text = pd.DataFrame(rows, columns=['user', 'item', 'note']).to_csv(index=False)
    assert parse_table(text, ['user', 'item']).fillna('').values.tolist() == rows
    assert parse_table(pd.DataFrame(rows[:1]*2).to_csv(index=False, quoting=1), ['0']).values.tolist() == [['1', *rows[0][1:]]]*2

def test_blanks_around_separators():
    df = parse_table('user , item,\trating\n1 , b c , 5\n2,  d , 4\n'.replace('\t', ' '), ['user', 'item'])
    assert df.to_dict('list') == dict(user=['1', '2'], item=['b c', 'd'], rating=[5, 4])
    assert parse_table('user,item\n1,a\n2, b\n', ['item']).item.tolist() == ['a', ' b']      # here a blank is an exception, and stays
    assert parse_table('user, item, note\n1, "a, b", x\n2, c, \n', ['item']).item.tolist() == ['a, b', 'c']

# ---- tables about items and users

def test_side_tables_are_read_as_the_ratings_were(tmp_path):
    (r, i) = (tmp_path/'r.csv', tmp_path/'i.csv')
    r.write_text('user,item,rating\n1,0042,5\n1,7,4\n'); i.write_text('item,title,year\n7,Seven,1995\n0042,Forty-two,\n')
    inter = load_file(r, items=i)
    assert inter.titles.to_dict() == {'0042': 'Forty-two', '7': 'Seven'} and inter.item_info.year.tolist()[0] == 1995
    i.write_text('item,title\n7,Seven\n8,Eight\n')                                        # whole numbers here, text there
    assert load_file(r, items=i).titles.to_dict() == {'0042': '', '7': 'Seven', '8': 'Eight'}
    r.write_text('user,item,rating\n1.0,1.0,5\n1.0,2.0,4\n'); i.write_text('item,title\n1,One\n2,Two\n3,Three\n')
    inter = load_file(r, items=i)
    assert inter.items.ids.tolist() == [1, 2, 3] and inter.titles.tolist() == ['One', 'Two', 'Three']
    i.write_text(',movie,title\n0,1,One\n1,2,Two\n')                                      # as to_csv() writes it, the id called otherwise
    assert load_file(r, items=i).titles.to_dict() == {1: 'One', 2: 'Two'}
    u = tmp_path/'u.csv'; u.write_text('user,age\n1,30\n')
    assert load_file(r, users=u).user_info.age.to_dict() == {1: 30}
    info = pd.DataFrame(dict(title=['One']), index=pd.Index([1], name='item'))
    assert load_file(r, items=info).titles.tolist() == ['One', '']

@pytest.mark.parametrize('text, says', [('item,title\na,One\n', 'i.csv: the ids in column .item. are not all whole numbers'), ('item,title\n1,One\n1,Two\n', 'several rows for item 1'),
                                        ('item,title\n1,One\n,Two\n', 'i.csv: an id is missing'), ('item,title\n8,One\n9,Two\n', 'i.csv: no id of the ratings, such as 1, is in column'), ('', 'i.csv is empty')])
def test_side_tables_are_checked(tmp_path, text, says):
    (tmp_path/'r.csv').write_text('user,item,rating\n1,1,5\n')
    (tmp_path/'i.csv').write_text(text)
    with pytest.raises(ValueError, match=says): load_file(tmp_path/'r.csv', items=tmp_path/'i.csv')
    with pytest.raises(FileNotFoundError, match='no file .*none.csv'): load_file(tmp_path/'r.csv', items=tmp_path/'none.csv')

def test_repeated_pairs_can_be_settled(tmp_path):
    (tmp_path/'r.csv').write_text('user,item,rating\n1,2,5\n1,2,4\n2,2,3\n')
    assert [len(load_file(tmp_path/'r.csv', duplicates=how)) for how in ('last', 'mean', 'keep')] == [2, 2, 3]
    with pytest.raises(ValueError, match="r.csv: duplicates='twice'"): load_file(tmp_path/'r.csv', duplicates='twice')

# ---- parquet

def test_parquet_says_the_same(tmp_path):
    pytest.importorskip('pyarrow')
    (tmp_path/'r.csv').write_text(ratings())
    read_table(tmp_path/'r.csv', ['user', 'item']).to_parquet(tmp_path/'R.PARQUET')
    assert same(load_file(tmp_path/'R.PARQUET'))
    big = 15*10**17
    for users, ids in (([1., 2.], [1, 2]), ([big + 1, big + 2], [big + 1, big + 2]), (np.array([2**63 + 1, 2**63 + 2], 'uint64'), [str(2**63 + 1), str(2**63 + 2)]), (['1', '2'], ['1', '2'])):
        pd.DataFrame(dict(user=users, item=[1, 2], rating=1)).to_parquet(tmp_path/'r.parquet')
        inter = load_file(tmp_path/'r.parquet')
        assert inter.users.ids.tolist() == ids and [read_id(inter.users, str(i)) for i in ids] == ids
    pd.DataFrame(dict(title=['One', 'Two']), index=pd.Index([1, 2], name='item')).to_parquet(tmp_path/'i.parquet')
    assert load_file(tmp_path/'r.parquet', items=tmp_path/'i.parquet').titles.tolist() == ['One', 'Two']
    pd.DataFrame(dict(user=[1, 2], item=[1, 2], rating=1, timestamp=pd.array([5, None], 'Int64'))).to_parquet(tmp_path/'n.parquet')
    with pytest.raises(ValueError, match="n.parquet: missing values in column 'timestamp'.*row 2"): load_file(tmp_path/'n.parquet')
    (tmp_path/'cut.parquet').write_bytes((tmp_path/'r.parquet').read_bytes()[:300])
    with pytest.raises(ValueError, match='cut.parquet is no whole parquet file'): load_file(tmp_path/'cut.parquet')

def test_parquet_without_pyarrow_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path/'r.parquet').write_bytes(b'PAR1')
    monkeypatch.setitem(sys.modules, 'pyarrow', None)
    with pytest.raises(ValueError, match='pip install "recsys_course.parquet."'): load_file(tmp_path/'r.parquet')
