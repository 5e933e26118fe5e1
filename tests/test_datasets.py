"Reading files, releases and Kaggle: damage, failing downloads, and the ways in which files of ratings differ"
import gzip, http.server, io, json, os, shutil, signal, subprocess, sys, threading, time, zipfile

import numpy as np, pandas as pd, pytest
from hypothesis import given, settings, strategies as st

from recsys_course import datasets
from recsys_course.data import Interactions
from recsys_course.datasets import (load_course_data, load_file, load_kaggle, load_movielens, load_named, load_sequences, parse_ids, parse_table,
                                    plain_ids, read_id, read_table, side_table)

flags = '|'.join(['0']*19)
files = {'ml-100k/u.data': b'7\t1\t5\t881\n9\t2\t3\t882\n', 'ml-100k/u.user': b'7|30|F|writer|1\n9|41|M|other|2\n',
         'ml-100k/u.item': f'1|Caf\xe9 (1995)|||url|{flags}\n2|Two (1960)|||url|{flags}\n'.encode('latin-1')}

def make_zip(content=files, level=None):
    "Bytes of a zip file, of a small release 100K by default"
    f = io.BytesIO()
    with zipfile.ZipFile(f, 'w', zipfile.ZIP_DEFLATED, compresslevel=level) as z:
        for n, b in content.items(): z.writestr(zipfile.ZipInfo(n), b, zipfile.ZIP_DEFLATED, level)         # the same bytes at any time: they name a test
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
    (['1.5', '2.0'], ['1.5', '2.0']), (['1e3', '2'], ['1e3', '2']), (['+1', '2'], ['+1', '2']), (['-0', '2'], ['-0', '2']), (['٧'], ['٧']), (['1 ', '2'], [1, 2]), ([' a', 'b\xa0'], ['a', 'b']),
    (['7', 'x', 'NULL'], ['7', 'x', 'NULL']),
    ([str(2**63 - 1), str(-2**63)], [2**63 - 1, -2**63]), ([str(2**63), '1'], [str(2**63), '1']), (['9'*30, '1'], ['9'*30, '1']), (['NA', 'nan', 'None'], ['NA', 'nan', 'None'])])
def test_ids_stay_as_they_are_written(tmp_path, texts, ids):
    assert parse_ids(pd.Series(texts, dtype=str)).tolist() == ids
    pd.DataFrame(dict(user=texts, item='x', rating=1)).to_csv(tmp_path/'r.csv', index=False)
    inter = load_file(tmp_path/'r.csv')
    assert inter.df.user.tolist() == ids
    for text, raw in zip(texts, ids): assert read_id(inter.users, text.strip()) == raw

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
    assert parse_ids(parse_table('user,item\n1,a\n2, b\n', ['item']).item).tolist() == ['a', 'b']
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

# ---- headings, columns, ids and values that would be read wrongly

def wrote(folder, text, name='r.csv'):
    (folder/name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder/name

def rows_of(inter): return [tuple(r) for r in inter.df.values.tolist()]

HEAD = 'user,item,rating\n'

@pytest.mark.parametrize('text, options, says', [
    (HEAD + '1,2,5\n', dict(columns='user,item,rating', rating=None), 'line 1: this is a heading'), ('User,Item\n1,2\n', dict(columns=['user', 'item'], rating=None), 'line 1: this is a heading'),
    ('uid,iid\n1,2\n3,4\n', dict(columns='user,item', rating=None), "'uid' in column 'user', looks like a heading"), ('who,what\n1,tea\n3,jam\n', dict(columns='user,item', rating=None), 'looks like a heading'),
    ('user,item,rating,timestamp\n1,2,881250949\n', dict(timestamp=None), '3 fields, but there are 4 names'), ('id,' + HEAD + '1,2,5\n', {}, '3 fields, but there are 4 names'), ('user,item,rating\n1;2;5\n', {}, '1 fields, but there are 3 names'),
    ('1,2,5\n', dict(columns='user,item,rating,timestamp', timestamp=None), '3 fields, but there are 4 names'), ('1,2,5\n', dict(columns=3), 'columns=3 names no columns'), ('1,2,5\n', dict(columns=[]), 'names no columns'), ('1,2,5\n', dict(columns=''), 'names no columns'),
    (HEAD + '1,2,5\n', dict(item='user'), "column 'user' cannot be both user and item"), (HEAD + '1,2,5\n', dict(rating='user'), 'cannot be both'), (HEAD + '1,2,5\n', dict(timestamp='rating'), 'cannot be both rating and timestamp'),
    (HEAD + '1,2,5\n', dict(user=None), 'user=None: name the column'), (HEAD + '1,2,5\n', dict(item=None), 'item=None: name the column'), ('user:item:rating\n1:2:5\n', {}, 'say what separates its fields with sep='),
    ('1 1 2\n1 2 4\n', {}, "two columns are called '1': if the file has no heading, name its columns with columns="), ('0 4 3\n1 5 1 2 7\n', {}, 'use load_sequences'), (HEAD + '1,2,5\n', dict(sep=5), 'sep=5 cannot separate'), (HEAD + '1,2,5\n', dict(encoding=5), 'encoding=5 is not known')])
def test_a_heading_or_an_option_that_does_not_fit_is_refused(tmp_path, text, options, says):
    with pytest.raises(ValueError, match=says): load_file(wrote(tmp_path, text), **options)

@pytest.mark.parametrize('text, options', [('sep=;\nuser;item;rating\n1;2;5\n', {}), ('1,2,5\n', dict(columns=['user', 'item', 'rating'])), ('1 2 5\n', dict(columns='user item rating')), ('1 2 5\n', dict(columns=(c for c in ('user', 'item', 'rating')))),
    ('1,2,5\n', dict(columns=range(3), user=0, item=1, rating=2)), ('1,2,5\n', dict(columns='0..2', user='0', item='1', rating='2')), ('user\titem\trating\n1\t2\t5\n', dict(sep='tab')), ('user;item;rating\n1;2;5\n', dict(sep='semicolon')), ('user  item rating\n1 2  5\n', dict(sep='space')),
    (' 1, 2, 5\n', dict(columns='user, item, rating')), (HEAD + '1,2,5\n\x1a', {}), (HEAD + '1\x0b,2,5\n', {}), (HEAD + '1, 2,5\n', {}), (HEAD + '1.0,2.0,5\n', {})])
def test_the_same_row_however_written(tmp_path, text, options):
    assert rows_of(load_file(wrote(tmp_path, text), **options)) == [(1, 2, 5)]

@pytest.mark.parametrize('ids, says', [(['1.5e+18', '1.6e+18'], "'1.5e[+]18' in column 'user' is an id that a program rounded"), (['1', '1,5E+18'], 'rounded'), (['1', 'NULL'], "missing values in column 'user'"), (['1', 'nan'], 'missing values'), (['1', r'\N'], 'missing values'), (['1', '<NA>'], 'missing values'), (['1', '  '], 'missing values')])
def test_ids_that_are_rounded_or_missing(tmp_path, ids, says):
    pd.DataFrame(dict(user=ids, item='x', rating=1)).to_csv(tmp_path/'r.csv', index=False)
    with pytest.raises(ValueError, match=f'r.csv: .*{says}'): load_file(tmp_path/'r.csv')

@pytest.mark.parametrize('rating, shown', [('five', "'five'"), ('4,5', "'4,5'"), ('80%', "'80%'"), ('inf', 'inf'), ('5 stars', "'5 stars'"), ('1_0', "'1_0'")])
def test_a_bad_rating_is_shown(tmp_path, rating, shown):
    with pytest.raises(ValueError, match=f'such as {shown}: .*row 2 after the heading'): load_file(wrote(tmp_path, f'user;item;rating\n1;2;5\n1;3;{rating}\n'))

@pytest.mark.parametrize('time', ['99999999999999999999', 'True', '-1e300'])
def test_times_without_an_order_are_refused(tmp_path, time):
    with pytest.raises(ValueError, match="in column 'timestamp' is no time .row 1.: mend it, or leave times out with timestamp=None"): load_file(wrote(tmp_path, f'user,item,rating,timestamp\n1,2,5,{time}\n'))

@pytest.mark.parametrize('data, says', [(make_zip({'r.csv': HEAD}), 'a zip file or a spreadsheet'), (b'PAR1xPAR1', 'a parquet file'), (b'BZh91AY', 'a bzip2 file'), (b'SQLite format 3\0', 'a database'), (b'\xd0\xcf\x11\xe0x', 'a spreadsheet'), (b'%PDF-1.4', 'a PDF file'), (b'\xfd7zXZ\0', 'an xz file'), ((HEAD + '1,2,3\n').encode('utf-16-le'), "encoding='utf-16-le'")])
def test_another_format_under_the_name_of_a_csv(tmp_path, data, says):
    with pytest.raises(ValueError, match=f'r.csv.* {says}'): load_file(wrote(tmp_path, data))

@pytest.mark.parametrize('encoding, told', [('utf-32', None), ('utf-16', 'latin-1'), ('utf-16-le', 'utf-16-le'), ('cp1252', 'cp1252'), ('gbk', 'gbk')])
def test_encodings_by_mark_and_told(tmp_path, encoding, told):
    letter = '中' if encoding == 'gbk' else 'é'
    assert load_file(wrote(tmp_path, (HEAD + f'{letter},2,5\n').encode(encoding)), encoding=told).users.ids.tolist() == [letter]

@pytest.mark.parametrize('path, says', [(None, 'expected the path of a file, got NoneType'), (5, 'got int'), (pd.DataFrame(dict(user=[1])), 'use Interactions.from_df'), (io.StringIO('x'), 'got StringIO'), (['r.csv'], 'got list'), ('', 'expected the path'), ('https://host/r.csv', 'is an address: download the file'), ('s3://b/r.csv', 'is an address'), ('x'*5000, 'no file x*: File name too long')])
def test_what_is_no_path(path, says):
    with pytest.raises((TypeError, ValueError, FileNotFoundError), match=says): load_file(path)

# ---- side tables: whatever says which row is whose

TITLES = {1: 'One', 2: 'Two', 3: 'Three'}
frame = pd.DataFrame(dict(title=['One', 'Two', 'Three']))
JOINED = dict(column=frame.assign(item=[1, 2, 3]), index=frame.set_axis([1, 2, 3]), named=frame.set_axis(pd.Index([1, 2, 3], name='item')), floats=frame.set_axis([1., 2., 3.]), texts=frame.set_axis(['1', '2', '3']), float_texts=frame.set_axis(['1.0', '2.0', '3.0']),
              other_name=frame.assign(movieId=[1, 2, 3]), series=frame.title.set_axis([1, 2, 3]), category=frame.assign(item=pd.Categorical([1, 2, 3])), text_category=frame.assign(item=pd.Categorical(['1', '2', '3'])), Int64=frame.assign(item=pd.array([1, 2, 3], 'Int64')),
              bytes=frame.assign(item=[b'1', b'2', b'3']), uint8=frame.assign(item=np.array([1, 2, 3], 'uint8')), column_beats_index=frame.assign(item=[1, 2, 3]).set_axis([3, 2, 1]), row_numbers_beside=frame.assign(row=range(3), movie=[1, 2, 3]), other_title=frame.rename(columns=dict(title='Book-Title')).assign(item=[1, 2, 3]))

@pytest.mark.parametrize('written', ['1', '1.0'])
@pytest.mark.parametrize('info', JOINED.values(), ids=JOINED)
def test_a_table_in_memory_is_joined_by_id(tmp_path, info, written):
    text, before = HEAD + ''.join(f'7,{written.replace("1", k)},5\n' for k in '123'), info.copy()
    inter = load_file(wrote(tmp_path, text), items=info)
    assert inter.titles.to_dict() == TITLES and inter.items.ids.tolist() == [1, 2, 3] and info.equals(before)
    with pytest.raises(ValueError, match="such as '01"): load_file(wrote(tmp_path, text.replace(',1', ',01').replace(',2', ',02').replace(',3', ',03')), items=info)

def test_tables_of_other_libraries(tmp_path):
    pl, pa = pytest.importorskip('polars'), pytest.importorskip('pyarrow')
    path = wrote(tmp_path, HEAD + '7,1,5\n7,2,4\n7,3,4\n')
    data = dict(item=[1, 2, 3], title=['One', 'Two', 'Three'])
    assert load_file(path, items=pl.DataFrame(data)).titles.to_dict() == load_file(path, items=pa.table(data)).titles.to_dict() == TITLES

@pytest.mark.parametrize('text', [',title\n1,One\n2,Two\n3,Three\n', ',movie,title\n0,1,One\n1,2,Two\n2,3,Three\n', 'row,movie,title\n0,1,One\n1,2,Two\n2,3,Three\n', 'year,movie,title\n1,1,One\n7,2,Two\n9,3,Three\n', 'item;title\n1.0;One\n2.0;Two\n3.0;Three\n',
    'item , title\n1 , One\n2 , Two\n3 , Three\n', 'item,Title\n1,One\n2,Two\n3,Three\n', 'title,item\nOne,1\nTwo,2\nThree,3\n', 'item,movie_title,genres\n3,Three,a\n1,One,a\n2,Two,a\n'])
def test_a_file_about_items_is_joined_by_id(tmp_path, text):
    assert load_file(wrote(tmp_path, HEAD + '7,1,5\n7,2,4\n7,3,4\n'), items=wrote(tmp_path, text, 'i.csv')).titles.to_dict() == TITLES

@pytest.mark.parametrize('info, says', [('title,year\nOne,1995\nTwo,1996\n', "i.csv: no column 'item', and no other one but row numbers"), (',title\n0,One\n1,Two\n2,Three\n', 'but row numbers'), ('row,title\n0,One\n1,Two\n2,Three\n', 'but row numbers'), ('1,One\n2,Two\n3,Three\n', 'i.csv has no heading: read it with read_table'),
    ('a,b,title\n1,2,One\n2,3,Two\n3,1,x\n', "columns 'a' and 'b' both may hold the ids"), ('item,title\n', 'i.csv has no rows'), ('item,title\n1,One\n1,Two\n', 'i.csv: several rows for item 1'), ('item,title\n8,x\n', 'i.csv: no id of the ratings, such as 1'), ('item,title\n1,One\nx,Two\n', "not all whole numbers, as in the ratings, but 'x'"),
    (frame, 'items: no column .item.'), (frame.set_axis([7, 8, 9]), 'items: no column'), (frame.assign(item=[7, 8, 9]), 'items: no id of the ratings, such as 1'), (frame.set_axis([1, 1, 2]), 'several rows for item 1'), (frame.set_axis([1, 2, np.nan]), 'an id is missing in the index'), (frame.iloc[:0], 'items has no rows'), (frame.assign(item=[1.5, 2, 3]), "1.5 in column 'item' cannot be an id"),
    ({1: 'One'}, 'items= expects a file or a table, not dict'), (5, 'not int')])
def test_a_table_joined_to_nothing_is_refused(tmp_path, info, says):
    if isinstance(info, str): info = wrote(tmp_path, info, 'i.csv')
    with pytest.raises((ValueError, TypeError), match=says): load_file(wrote(tmp_path, HEAD + '7,1,5\n7,2,4\n7,3,4\n'), items=info)

def test_titles_and_zeros_of_side_tables_stay_text(tmp_path):
    i = wrote(tmp_path, 'item,title,zip,year,score\n1,1984,01234,1949,.5\n2,007,99999,,0.25\n3,,00500,1995,1e-3\n', 'i.csv')
    info = load_file(wrote(tmp_path, HEAD + '7,1,5\n7,2,4\n7,3,4\n'), items=i).item_info
    assert info.title.tolist()[:2] == ['1984', '007'] and info.zip.tolist() == ['01234', '99999', '00500'] and info.year.tolist()[::2] == [1949, 1995]
    u = wrote(tmp_path, 'user,age,zip\n7,30,00123\n', 'u.csv')
    assert load_file(tmp_path/'r.csv', users=u).user_info.loc[7].tolist() == [30, '00123']

def test_missing_ids_of_ratings_are_not_blamed_on_the_table(tmp_path):
    i = wrote(tmp_path, 'item,title\n1,One\n', 'i.csv')
    with pytest.raises(ValueError, match="r.csv: missing values in column 'item'"): load_file(wrote(tmp_path, HEAD + '7,1,5\n7,,4\n'), items=i)

def test_what_share_matched_is_said(tmp_path):
    r, i = wrote(tmp_path, HEAD + '7,1,5\n7,2,4\n7,3,4\n'), wrote(tmp_path, 'item,title\n1,One\n2,Two\n9,Nine\n', 'i.csv')
    assert 'titles for 2 of 3 items' in load_named(str(r), items=i)[1]
    with pytest.warns(UserWarning, match='titles for 1 of 3 items'): load_file(r, items=wrote(tmp_path, 'item,title\n1,One\n8,x\n', 'i.csv'))
    assert load_named(str(r), items=wrote(tmp_path, 'item,title\n1,a\n2,b\n3,c\n', 'i.csv'))[1].endswith('titles for 3 of 3 items')

COLUMNS = dict(int8=np.array([1, 2], 'int8'), uint64=np.array([1, 2], 'uint64'), float32=np.array([1, 2], 'f4'), float64=[1., 2.], Int64=pd.array([1, 2], 'Int64'), Float64=pd.array([1, 2], 'Float64'), category=pd.Categorical([1, 2]), float_category=pd.Categorical([1., 2.]),
               text=['1', '2'], string=pd.array(['1', '2'], 'string'), text_category=pd.Categorical(['1', '2']), float_text=['1.0', '2.0'], bytes=[b'1', b'2'], objects=np.array([1, 2], object))

@pytest.mark.parametrize('theirs', COLUMNS, ids=COLUMNS)
@pytest.mark.parametrize('ours', COLUMNS, ids=COLUMNS)
def test_ids_of_any_two_types_are_the_same_ids(ours, theirs):
    ids = plain_ids(pd.Series(COLUMNS[ours]))
    table = side_table(pd.DataFrame(dict(item=COLUMNS[theirs], title=['One', 'Two'])), ids)
    assert table.title[ids.iloc[0]] == 'One' and table.title[ids.iloc[1]] == 'Two'

@pytest.mark.parametrize('values', [[True, False], [1.5, 2.], [2.**60, 1.], pd.to_datetime(['2020', '2021']), [[1], [2]], [1, 'x'], [np.inf, 1.], pd.to_timedelta([1, 2])], ids=str)
def test_what_names_nobody_is_no_id(values):
    with pytest.raises(ValueError, match="in column 'item' cannot be an id"): plain_ids(pd.Series(values, name='item'))

def test_parquet_as_we_write_it(tmp_path):
    pytest.importorskip('pyarrow')
    inter = load_course_data('world')
    for info in (inter.item_info, inter.item_info.rename_axis(None), inter.item_info.reset_index()):
        inter.df.to_parquet(tmp_path/'r.parquet'); info.to_parquet(tmp_path/'i.parquet')
        back = load_file(tmp_path/'r.parquet', items=tmp_path/'i.parquet')
        assert back.items == inter.items and back.titles.equals(inter.titles) and len(back) == len(inter)

# ---- wide matrices

@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([',', ';', '\t']), st.booleans(), st.sampled_from(['99', '99.00', '', '-1', 'NA']))
def test_a_wide_matrix_says_the_same_as_its_cells(tmp_path_factory, seed, sep, counted, mark):
    rng = np.random.default_rng(seed)
    there, values = rng.random((12, 6)) < .6, rng.uniform(3, 10, (12, 6)).round(2)
    there[:, 0], there[0], values[0, 0] = True, [True]*5 + [False], 3.25
    rows = [[str(int(t.sum()))]*counted + [f'{v:.2f}' if h else mark for v, h in zip(vs, t)] for vs, t in zip(values, there)]
    path = tmp_path_factory.mktemp('wide')/'w.csv'
    path.write_text('\n'.join(sep.join(r) for r in rows) + '\n')
    import warnings
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('always')
        got = load_file(path, wide=mark or True).df
    assert any('counts the ratings' in str(w.message) for w in said) == counted
    u, i = np.nonzero(there)
    assert got.user.tolist() == (u + 1).tolist() and (got['item'] - counted).tolist() == (i + 1).tolist() and got.rating.tolist() == values[there].tolist()

@pytest.mark.parametrize('text, options, want', [
    ('user,1,2\n7,5,99\n8,99,4\n', {}, [(7, 1, 5), (8, 2, 4)]), (',1,2\n7,5,99\n8,99,4\n', {}, [(7, 1, 5), (8, 2, 4)]), ('id,1,2\n7,5,99\n8,99,4\n', dict(user='id'), [(7, 1, 5), (8, 2, 4)]), ('user,Tea,Jam\n007,5,99\nbob,1,2\n', {}, [('007', 'Tea', 5), ('bob', 'Tea', 1), ('bob', 'Jam', 2)]),
    ('7,5,99\n8,99,4\n', dict(columns='user,1..2'), [(7, 1, 5), (8, 2, 4)]), ('a,b\n5,99\n99,4\n', dict(user=None), [(1, 'a', 5), (2, 'b', 4)]), ('user,1,2\n7,5,0\n8,99,3\n', dict(wide=[0, 99]), [(7, 1, 5), (8, 2, 3)]), ('user,1,2\n7,5,-\n8,NA,3\n', dict(wide='NA,-'), [(7, 1, 5), (8, 2, 3)]),
    ('user,1,2\n7,5,0\n8,0,3\n', dict(wide=0), [(7, 1, 5), (8, 2, 3)]), ('user,1,2,\n7,5,99,\n', {}, [(7, 1, 5)]), ('user, 1, 2\n7, 5, 99\n', {}, [(7, 1, 5)]), ('user,1,2\n7,5,99\n', dict(rating=None), [(7, 1, 1)]), ('user::1::2\n7::5::99\n', {}, [(7, 1, 5)])])
def test_wide_matrices_of_all_sorts(tmp_path, text, options, want):
    assert rows_of(load_file(wrote(tmp_path, text), **{'wide': 99, **options})) == want

@pytest.mark.parametrize('text, wide, says', [('user,1,2\n1,99,99\n', 99, 'no cell holds a rating'), ('user,1,2\n1,5,x\n', 99, "'x' in column '2' is no rating .row 1."), ('user,1,2\n1,5,inf\n', 99, 'inf in column'), ('user,1,2\n1,5,99\n1,99,3\n', 99, 'several rows'), ('user,1,2\n,5,99\n2,99,3\n', 99, 'no id'),
    ('id,1,2\n7,5,99\n8,99,4\n', 99, "first column, 'id', that of users"), ('1,5,99\n2,99,4\n', 99, "columns='user,1..2'"), ('5,4,3\n1,2,3\n', 99, 'may be a heading or a row'), ('user,1\n1,2\n', False, 'wide=False: say what stands'), ('user,1\n1,2\n', '', 'say what stands'), ('user,name,1\n7,Ann,5\n8,Bob,99\n', 99, "'Ann' in column 'name' is no rating")])
def test_wide_matrices_that_could_mean_two_things(tmp_path, text, wide, says):
    with pytest.raises(ValueError, match=says): load_file(wrote(tmp_path, text), wide=wide)

def test_a_code_that_never_occurs_is_suspicious(tmp_path):
    with pytest.warns(UserWarning, match='no cell holds 99, so every number is a rating'): load_file(wrote(tmp_path, 'user,1,2\n1,5,0\n'), wide=99)

def test_wide_parquet(tmp_path):
    pytest.importorskip('pyarrow')
    for index in (pd.Index([7, 8], name='user'), pd.Index([7, 8])):
        pd.DataFrame({10: [5., 99], 20: [99, 1.]}, index=index).to_parquet(tmp_path/'w.parquet')
        assert rows_of(load_file(tmp_path/'w.parquet', wide=99)) == [(7, 10, 5), (8, 20, 1)]

# ---- lines of items

@pytest.mark.parametrize('text, options', [('7 b a\n8 a\n', {}), ('7\tb\ta\n8\ta\n', {}), ('7\tb a\n8\ta\n', {}), ('7,b,a\n8,a\n', {}), ('7, b, a\n8, a\n', {}), ('7|b|a\n8|a\n', {}), ('\ufeff7 b a \r\n\r\n8 a\r\n9\r\n', {}), ('7.0 b a\n8.0 a\n', {}), ('7\tb\ta\n8\ta\n', dict(sep='tab'))])
def test_lines_of_items_keep_their_order(tmp_path, text, options):
    inter = load_sequences(wrote(tmp_path, text, 's.txt'), **options)
    assert rows_of(inter) == [(7, 'b', 1, 0), (7, 'a', 1, 1), (8, 'a', 1, 0)] and inter.history(7)['item'].tolist() == ['b', 'a'] and inter.name == 's.txt'

def test_train_and_test_lines_share_their_ids(tmp_path):
    train, test = load_sequences(wrote(tmp_path, '001 5 6 5\n002 7\n', 'a.txt'), wrote(tmp_path, '001 9\n003 5\n', 'b.txt'), duplicates='keep')
    assert train.users == test.users and train.items == test.items and train.users.ids.tolist() == ['001', '002', '003']
    assert train.df.timestamp.tolist() == [0, 1, 2, 0] and test.df.timestamp.tolist() == [3, 0]
    last = load_sequences(tmp_path/'a.txt', duplicates='last')
    assert last.history('001')['item'].tolist() == [6, 5]

@pytest.mark.parametrize('text, says', [('1 2 2\n', "user '1' has item '2' twice: choose duplicates='last' or 'keep'"), ('1 2\n1 3\n', 's.txt, line 2: user 1 has two lines.*use load_file'), ('user item rating\n1 2 5\n1 3 4\n', 'line 3: user 1 has two lines'), ('1\n2\n', 'no line holds a user and an item'), ('', 'no line holds'), ('1,2,,3\n', 'line 1: an id is missing'), (',1,2\n', 'an id is missing')])
def test_lines_that_are_no_sequences(tmp_path, text, says):
    with pytest.raises(ValueError, match=says): load_sequences(wrote(tmp_path, text, 's.txt'))
    with pytest.raises(ValueError, match="duplicates='mean' is not one of"): load_sequences(tmp_path/'s.txt', duplicates='mean')

def test_real_files_of_sequences_and_of_spaces(movielens):
    toys = movielens/'s3rec/Toys_and_Games.txt'
    if not toys.is_file(): pytest.skip('needs the sets of S3-Rec and FilmTrust beside MovieLens')
    inter = load_sequences(toys)
    lines = [l.split() for l in toys.read_text().splitlines()]
    assert len(inter) == sum(len(l) - 1 for l in lines)
    for l in lines[::5000]: assert inter.history(int(l[0]))['item'].tolist() == [int(i) for i in l[1:]]
    trust = movielens/'filmtrust/ratings.txt'
    with pytest.raises(ValueError, match='such as user 308 with item 207: choose duplicates='): load_file(trust, columns='user,item,rating')
    assert (len(load_file(trust, columns='user,item,rating', duplicates='last')), load_named(str(trust), columns='user,item,rating', duplicates='keep')[0].df.user.nunique()) == (35_494, 1508)

# ---- data by name, parts, damage and full disks

@pytest.mark.parametrize('option', [dict(sep=';'), dict(encoding='latin-1'), dict(columns='user,item'), dict(rating=None), dict(user='who'), dict(duplicates='last'), dict(timestamp=None), dict(items='i.csv'), dict(users=pd.DataFrame()), dict(wide=99)], ids=lambda o: next(iter(o)))
def test_options_for_files_are_refused_for_named_data(tmp_path, offline, option):
    plain = write(tmp_path/'plain')
    (tmp_path/'packed.zip').write_bytes(make_zip())
    for data in ('world', 'course', '100k', str(plain), str(tmp_path/'packed.zip')):
        with pytest.raises(ValueError, match=f'{[*option][0]}= is for files, and .* is none'): load_named(data, **option)
    same_as_usual = dict(user='user', item='item', rating='rating', timestamp='timestamp', items=None, users=None, duplicates='error', sep=None, encoding='utf-8', columns=None, wide=None)
    assert len(load_named(str(plain), **same_as_usual)[0]) == 2

@pytest.mark.parametrize('data, says', [(None, 'got NoneType'), (5, 'got int'), ('', 'expected the path'), (pd.DataFrame(), 'got DataFrame'), ('https://host/r.csv', 'is an address')])
def test_names_that_name_nothing(data, says):
    with pytest.raises((TypeError, ValueError), match=says): load_named(data)

@pytest.mark.parametrize('seed', [-1, 1.5, 'x', None])
def test_seeds_are_checked_in_one_sentence(seed):
    for f in (lambda: load_course_data('world', seed=seed), lambda: load_named('world', seed=seed)):
        with pytest.raises(ValueError, match='seed=.* must be a whole number of at least 0'): f()

def test_parts_of_releases_never_pass_for_the_whole(tmp_path, movielens):
    lines = {fn: (movielens/'ml-100k'/fn).read_bytes().splitlines(keepends=True) for fn in ('u.data', 'u.item', 'u.user', 'u1.base', 'u1.test')}
    lines['u.data'], lines['u1.base'] = lines['u.data'][:99_999], lines['u1.base'][:40_000]
    for fn, part in lines.items(): (tmp_path/fn).write_bytes(b''.join(part))
    assert load_movielens('100k', path=tmp_path, fold=1)[0].name == 'Part of MovieLens 100K'
    assert load_movielens('100k', path=movielens, fold=1)[0].name == 'MovieLens 100K'
    (tmp_path/'z.zip').write_bytes(make_zip({fn: b''.join(part) for fn, part in lines.items()}))
    assert load_named(str(tmp_path/'z.zip'))[0].name == load_movielens('100k', path=tmp_path/'z.zip').name == 'Part of MovieLens 100K'
    small = tmp_path/'small'; small.mkdir()
    (small/'movies.csv').write_bytes((movielens/'ml-latest-small/movies.csv').read_bytes())
    (small/'ratings.csv').write_bytes(b''.join((movielens/'ml-latest-small/ratings.csv').read_bytes().splitlines(keepends=True)[:50_000]))
    assert load_movielens('latest-small', path=small).name == load_named(str(small))[0].name == 'Part of MovieLens latest-small'

def test_damage_anywhere_in_a_zip_is_one_sentence(tmp_path):
    whole, rng, refused = make_zip({'r.csv': ratings() + ratings(heading=False)*9}), np.random.default_rng(0), 0
    for _ in range(150):
        b = bytearray(whole)
        b[rng.integers(len(b))] ^= 1 << rng.integers(8)
        (tmp_path/'r.zip').write_bytes(b)
        try: load_file(tmp_path/'r.zip', duplicates='keep')
        except (ValueError, FileNotFoundError) as e:
            refused += 1
            assert '\n' not in str(e) and 'damaged: :' not in str(e)
    assert refused > 50

@pytest.mark.parametrize('method', [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_damage_in_other_ways_of_packing(tmp_path, method):
    f = io.BytesIO()
    with zipfile.ZipFile(f, 'w', method) as z: z.writestr('r.csv', ratings())
    (tmp_path/'r.zip').write_bytes(f.getvalue())
    assert same(load_file(tmp_path/'r.zip'))
    b = bytearray(f.getvalue())
    for at in (45, 60, 75): b[at] ^= 255
    (tmp_path/'r.zip').write_bytes(b)
    with pytest.raises(ValueError, match='r.csv is damaged: \\S'): load_file(tmp_path/'r.zip')

def test_a_bomb_of_thirty_megabytes(tmp_path):
    datasets._check_size('r.csv', 2**28, 1)
    with pytest.raises(ValueError, match='not unpacked'): datasets._check_size('r.csv', 47*10**8, 30*10**6)      # 157 times

def test_a_full_disk_is_said_at_once(offline, monkeypatch):
    tried = []
    def full(*args):
        tried.append(args)
        raise OSError(28, 'No space left on device', '/secret')
    monkeypatch.setattr(datasets, '_sources', lambda name, cache: [('one', full), ('two', full)])
    with pytest.raises(FileNotFoundError, match='MovieLens 100k does not fit on the disk of .*cache: make room, or set RECSYS_COURSE_CACHE') as e: load_movielens('100k')
    assert len(tried) == 1 and '\n' not in str(e.value)

def test_kaggle_on_a_full_disk_and_in_a_cache_that_cannot_be_written(kaggle, monkeypatch, tmp_path):
    import kagglehub
    def full(*args, **kwargs): raise OSError(28, 'secret')
    monkeypatch.setattr(kagglehub, 'dataset_download', full)
    with pytest.raises(OSError, match="Kaggle's some/copy cannot be written: No space left on device") as e: load_kaggle('some/copy')
    def refused(*args, **kwargs): raise ConnectionRefusedError(111, 'secret')
    monkeypatch.setattr(kagglehub, 'dataset_download', refused)
    with pytest.raises(OSError, match='Kaggle cannot be reached') as f: load_kaggle('some/copy')
    assert 'secret' not in str(e.value) + str(f.value)
    wrote(tmp_path, 'x', 'file')
    monkeypatch.setenv('RECSYS_COURSE_CACHE', str(tmp_path/'file'/'cache'))
    with pytest.raises(OSError, match='cannot be written .*set RECSYS_COURSE_CACHE'): load_kaggle('some/copy')

def test_kaggle_takes_the_options_of_files(kept):
    kept(r__txt='1 2 5\n3 4 1\n')
    assert rows_of(load_kaggle('own/data', columns='user,item,rating')) == [(1, 2, 5), (3, 4, 1)]
    kept(r__csv='user,1,2\n7,5,99\n')
    assert rows_of(load_kaggle('own/data', wide=99)) == [(7, 1, 5)]
    kept(r__csv='user;item;rating;when\n1;2;5;soon\n'.encode('utf-16'))
    assert rows_of(load_kaggle('own/data', sep=';', timestamp=None)) == [(1, 2, 5)]
    kept(**{'a/r__csv': HEAD + '1,2,5\n', 'b/r__csv': HEAD + '9,9,1\n'})
    with pytest.raises(ValueError, match='own/data holds a/r.csv and b/r.csv: name one with its folder'): load_kaggle('own/data', file='r.csv')
    assert rows_of(load_kaggle('own/data', file='b/r.csv')) == [(9, 9, 1)]
    with pytest.raises(ValueError, match='own/data holds no i.csv'): load_kaggle('own/data', file='a/r.csv', items='i.csv')
    kept(**{n.replace('.', '__'): b for n, b in files.items()})
    assert load_kaggle('own/data', name='Mine').name == 'Mine'
    with pytest.raises(ValueError, match="holds a MovieLens release, which needs no sep=.*file='u.data'"): load_kaggle('own/data', sep=';')
    assert len(load_kaggle('own/data', file='u.data', columns='user,item,rating,timestamp')) == 2
    for wrong in (5, None):
        with pytest.raises(ValueError, match="named 'owner/name'"): load_kaggle(wrong)
