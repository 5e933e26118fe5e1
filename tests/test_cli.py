"The command line, as a person or a program meets it: results, exit codes, one line for a mistake, nothing written where it should not be"
import io, json, os, re, shutil, signal, socket, subprocess, sys, time, urllib.request
from contextlib import chdir, redirect_stderr, redirect_stdout
from importlib.util import find_spec
from unittest.mock import patch

import numpy as np, pandas as pd, pytest

from recsys_course import cli as C
from recsys_course.core import model_json
from recsys_course.data import Interactions
from recsys_course.implicit import ImplicitALS, to_implicit
from recsys_course.pipeline import Pipeline
from recsys_course.retrieve import Nearest
from recsys_course.recommender import Popular
from recsys_course.sequence import NextItem
from recsys_course.simulate import World

SHELL = [sys.executable, '-c', 'from recsys_course.cli import main; main()']
MODELS = list(C.known_models())

def env_of(**env): return {**os.environ, 'RECSYS_COURSE_DATASET': 'world', 'OMP_NUM_THREADS': '1', **env}

def real(*args, cwd, **env):
    "Run the command in a process of its own"
    return subprocess.run([*SHELL, *map(str, args)], cwd=cwd, text=True, capture_output=True, timeout=1800, env=env_of(**env), encoding='utf-8')

def cli(*args, cwd, **env):
    "Run the command here, which is faster; in a process of its own if it needs another environment"
    if env: return real(*args, cwd=cwd, **env)
    code, out, err = 0, io.StringIO(), io.StringIO()
    with chdir(cwd), patch.dict(os.environ, RECSYS_COURSE_DATASET='world'), patch.object(sys, 'argv', ['recsys-course', *map(str, args)]), redirect_stdout(out), redirect_stderr(err):
        try: C.main()
        except SystemExit as e: code = e.code
    return subprocess.CompletedProcess(args, code, out.getvalue(), err.getvalue())

def ok(*args, cwd, by=cli, **env):
    "Output of a command that must succeed, with nothing on the error stream but what a model says of itself: these rows are drawn by lot"
    res = by(*args, cwd=cwd, **env)
    rest = [l for l in res.stderr.splitlines() if not re.search('warning: .*(worse than the same list for everybody|it learned nothing)', l)]
    assert res.returncode == 0 and not rest, res.stderr
    return res.stdout

def refused(*args, cwd, by=cli, **env):
    "The one line of a command that must be refused, with nothing on the output"
    res = by(*args, cwd=cwd, **env)
    assert res.returncode == 2 and res.stdout == '', (res.returncode, res.stdout, res.stderr)
    assert res.stderr.startswith('recsys-course: ') and res.stderr.count('\n') == 1, res.stderr
    return res.stderr

@pytest.fixture(scope='module')
def shop(tmp_path_factory):
    "A folder with ratings of 60 people in several formats, titles, and a model learned from them"
    d = tmp_path_factory.mktemp('shop')
    inter = World(seed=1, n_users=60, n_items=80).sample(2000)
    inter.df.to_csv(d/'ratings.csv', index=False)
    inter.item_info.to_csv(d/'items.csv')
    inter.df.assign(user=inter.df.user.map('{:05}'.format), item=inter.df['item'].map('i{}'.format)).to_csv(d/'text.csv', index=False)
    ok('train', 'ratings.csv', '--items', 'items.csv', '--model', 'BiasedMF', '--set', 'n_factors=8', '--out', 'model', cwd=d, by=real)
    return d

@pytest.fixture(scope='module')
def inter(shop): return Interactions.from_df(pd.read_csv(shop/'ratings.csv'), item_info=pd.read_csv(shop/'items.csv', index_col='item'))

# ---- help, versions, speed

def test_help_says_how(tmp_path):
    text = ok('--help', cwd=tmp_path, by=real)
    for name in ('demo', 'train', 'recommend', 'similar', 'evaluate', 'ask', 'lessons'):
        assert name in text
        page = ok(name, '-h', cwd=tmp_path, by=real, COLUMNS='80')
        assert f'recsys-course {name}' in page.partition('Examples:')[2] and max(map(len, page.partition('Examples:')[0].splitlines())) <= 80

@pytest.mark.parametrize('args', [[], ['--help'], ['--version'], *([c, '-h'] for c in ('demo', 'train', 'recommend', 'similar', 'evaluate', 'ask', 'lessons'))], ids=' '.join)
def test_nothing_heavy_is_imported_for_help(args):
    "So that help answers at once; asked of the modules, since a clock depends on the machine"
    heavy = 'torch', 'fastai', 'pandas', 'numpy', 'scipy', 'sklearn', 'numba', 'matplotlib', 'tqdm', 'rich', 'recsys_course.core'
    code = f'''import sys, recsys_course.cli as C
try: C.main()
finally: print([m for m in {heavy} if m in sys.modules], file=sys.stderr)'''
    res = subprocess.run([sys.executable, '-c', code, *args], capture_output=True, text=True)
    assert '[]' in res.stderr.splitlines() and 'Traceback' not in res.stderr and res.stdout

def test_help_of_every_parameter_comes_from_its_comment():
    for name in ('demo', 'train', 'recommend', 'similar', 'evaluate', 'ask', 'lessons'):
        f = getattr(C, name)
        assert f.__doc__ and all(C.docments(f)[p] for p in C.inspect.signature(f).parameters), name

def test_no_command_and_version(tmp_path):
    res = cli(cwd=tmp_path)
    assert res.returncode == 2 and 'Commands:' in res.stdout
    assert re.fullmatch(r'\d+\.\d+\S*\n', ok('--version', cwd=tmp_path))

# ---- train, recommend, similar

def test_recommendations_are_those_of_the_library(shop, inter):
    from recsys_course.factorize import BiasedMF
    want = BiasedMF(n_factors=8, seed=42).fit(inter).recommend([7, 9], k=4)
    got = pd.DataFrame(json.loads(ok('recommend', 'model', '--user', 7, '--user', 9, '-k', 4, '--json', cwd=shop, by=real)))
    assert list(got.columns) == ['user', 'item', 'title', 'score', 'rank']
    pd.testing.assert_frame_equal(got.drop(columns='title'), want, check_dtype=False, rtol=1e-5)
    assert got.title.tolist() == inter.item_info.title[want['item']].tolist()
    people = ok('recommend', 'model', '--user', 7, '-k', 4, cwd=shop)
    assert people.startswith('For user 7\n') and all(t in people for t in got.title[:4])

def test_newcomers_restrictions_and_everybody(shop, inter):
    liked = inter.df['item'].value_counts().index[:2].tolist()
    rows = json.loads(ok('recommend', 'model', '--rated', f'{liked[0]}=5', '--rated', f'{liked[1]}', '--json', cwd=shop))
    assert {r['user'] for r in rows} == {'newcomer'} and not {r['item'] for r in rows} & set(liked)
    only = json.loads(ok('recommend', 'model', '--user', 7, '--only', liked[0], '--only', liked[1], '--seen', '--json', cwd=shop))
    assert {r['item'] for r in only} == set(liked)
    everybody = json.loads(ok('recommend', 'model', '--all', '-k', 2, '--json', cwd=shop))
    n_seen = inter.df.groupby('user').size()
    assert {r['user'] for r in everybody} == set(n_seen.index[n_seen < 80]) and max(r['rank'] for r in everybody) == 2

def test_nothing_left_is_no_error(shop, inter):
    user = int(inter.df.user.iloc[0]); seen = inter.history(user)['item'].iloc[0]
    res = cli('recommend', 'model', '--user', user, '--only', seen, cwd=shop)
    assert res.returncode == 0 and res.stdout == '' and 'nothing is left' in res.stderr
    assert json.loads(ok('recommend', 'model', '--user', user, '--only', seen, '--json', cwd=shop)) == []

def test_similar_by_id_and_by_title(shop, inter):
    a, b = inter.items.ids[:2].tolist()
    rows = json.loads(ok('similar', 'model', '--item', a, '--item', b, '-k', 3, '--json', cwd=shop, by=real))
    assert [r['item'] for r in rows] == [a]*3 + [b]*3 and all(r['title'] == inter.item_info.title[r['similar']] for r in rows)
    title = inter.item_info.title[b]
    assert ok('similar', 'model', '--title', title.upper(), '-k', 3, cwd=shop).splitlines()[0] == f'Like {title}'
    counts = inter.df['item'].value_counts()
    res, famous = cli('similar', 'model', '--title', 'my', cwd=shop), [i for i in counts.index if 'my' in inter.item_info.title[i].lower()]
    assert len(famous) > 1 and res.stdout.splitlines()[0][5:] in inter.item_info.title[[i for i in famous if counts[i] == counts[famous[0]]]].tolist()
    assert "several titles hold 'my'" in res.stderr and res.stderr.count('\n') == 1

@pytest.mark.parametrize('model', MODELS)
def test_every_model_trains_saves_and_comes_back(shop, model, tmp_path):
    if model == 'SparkALS' and not (find_spec('pyspark') and shutil.which('java')): pytest.skip('needs Spark: pip install -e ".[spark]", and Java')
    about = ('--items', shop/'items.csv') if model in ('ContentKNN', 'Hybrid') else ()       # these know items by their features
    start = json.loads(ok('train', shop/'ratings.csv', *about, '--model', model.lower(), '--json', cwd=tmp_path))
    assert start['model'] == model and start['ratings'] == 2000 and start['out'] == 'model' and len(list((tmp_path/'model').glob('model-*.safetensors'))) == 1
    rows = json.loads(ok('recommend', 'model', '--user', 7, '-k', 3, '--json', cwd=tmp_path))
    assert [r['rank'] for r in rows] == [1, 2, 3] and ('title' in rows[0]) == bool(about)
    made = type(C.open_model(tmp_path/'model')).__name__
    assert made == ('LearnerRecommender' if model in ('DotProductBias', 'EmbeddingNN') else model)

@pytest.mark.parametrize('model', ['ContentKNN', 'Hybrid'])
def test_models_of_features_ask_for_features(shop, model, tmp_path):
    assert 'item_info' in refused('train', shop/'ratings.csv', '--model', model, cwd=tmp_path)

def test_a_seed_repeats_and_a_setting_matters(shop, tmp_path):
    lists = {}
    for name, args in dict(a=[], b=[], seed=['--seed', 1], size=['--set', 'n_factors=2'], liked=['--liked-from', 4]).items():
        assert cli('train', shop/'ratings.csv', *args, '--out', name, cwd=tmp_path).returncode == 0          # equal ratings get a warning
        lists[name] = ok('recommend', name, '--user', 7, '--json', cwd=tmp_path)
    assert lists['a'] == lists['b'] and len(set(lists.values())) == 4

# ---- tables of several kinds

def ids_of(folder, cwd):
    model = C.open_model(cwd/folder)
    return model.users.ids.tolist(), model.items.ids.tolist()

def test_text_ids_stay_text_and_numbers_numbers(shop, tmp_path):
    ok('train', shop/'text.csv', '--model', 'Popular', '--out', 'text', cwd=tmp_path)
    users, items = ids_of('text', tmp_path)
    assert users[0] == '00001' and items[0] == 'i102'
    assert ok('recommend', 'text', '--user', '00007', '-k', 1, cwd=tmp_path).startswith('For user 00007')
    assert "unknown user '7'" in refused('recommend', 'text', '--user', 7, cwd=tmp_path)
    ok('train', shop/'ratings.csv', '--model', 'Popular', '--out', 'number', cwd=tmp_path)
    assert ids_of('number', tmp_path)[0][0] == 1

@pytest.mark.parametrize('name, sep', [('r.tsv', '\t'), ('r.csv', ';'), ('r.csv.gz', ','), ('r.txt', '\t'), ('R.CSV', ',')])
def test_other_text_files_say_the_same(shop, tmp_path, name, sep):
    df = pd.read_csv(shop/'text.csv', dtype=str)
    df.to_csv(tmp_path/name, sep=sep, index=False)
    for path, out in ((shop/'text.csv', 'a'), (name, 'b')): ok('train', path, '--model', 'ItemKNN', '--out', out, cwd=tmp_path)
    assert ids_of('a', tmp_path) == ids_of('b', tmp_path)
    assert ok('recommend', 'a', '--user', '00007', cwd=tmp_path) == ok('recommend', 'b', '--user', '00007', cwd=tmp_path)

@pytest.mark.parametrize('source', ['text.csv', 'ratings.csv'])
def test_parquet_says_the_same(shop, tmp_path, source):
    pytest.importorskip('pyarrow')
    kinds = dict(user=str, item=str) if source == 'text.csv' else {}
    pd.read_csv(shop/source, dtype=kinds).to_parquet(tmp_path/'r.parquet')
    for path, out in ((shop/source, 'a'), ('r.parquet', 'b')): ok('train', path, '--model', 'Popular', '--out', out, cwd=tmp_path)
    assert ids_of('a', tmp_path) == ids_of('b', tmp_path)
    (tmp_path/'cut.parquet').write_bytes((tmp_path/'r.parquet').read_bytes()[:500])
    assert 'cut.parquet is no whole parquet file' in refused('train', 'cut.parquet', '--out', 'c', cwd=tmp_path)

def test_parquet_without_pyarrow_says_what_to_install(tmp_path):
    (tmp_path/'pyarrow').mkdir(); (tmp_path/'pyarrow/__init__.py').write_text('raise ImportError("not here")')
    (tmp_path/'r.parquet').write_bytes(b'PAR1')
    assert 'pip install "recsys_course[parquet]"' in refused('train', 'r.parquet', cwd=tmp_path, PYTHONPATH=str(tmp_path))

def test_columns_by_name_dates_and_events_without_ratings(tmp_path):
    rows = [('u1', 'a', '2024-01-01'), ('u1', 'b', '2024-01-02 10:00'), ('u2', 'a', '2024-02-01T08:00:00Z'), ('u2', 'c', '2024-03-01')]
    pd.DataFrame(rows, columns=['customer', 'sku', 'when']).to_csv(tmp_path/'sales.csv', index=False)
    names = ['--user-col', 'customer', '--item-col', 'sku', '--timestamp-col', 'when', '--rating-col', 'none']
    assert json.loads(ok('train', 'sales.csv', *names, '--model', 'EASE', '--json', cwd=tmp_path))['items'] == 3
    assert "'soon' in column 'when' is neither a number nor a date" in bad(tmp_path, 'customer,sku,when\nu1,a,soon\n', *names)

def bad(cwd, text, *args, name='bad.csv'):
    (cwd/name).write_text(text)
    return refused('train', name, *args, '--out', 'never', cwd=cwd)

def test_bad_tables_are_named_in_one_line(tmp_path):
    for text, says in (('', 'bad.csv is empty'), ('user,item,rating\n', 'no rows'), ('userId,movieId,rating\n1,2,3\n', "no column 'user' in bad.csv, which has userId, movieId, rating: name yours with --user-col"),
                       ('user,item,rating\n1,2,5\n1,3,much\n', 'ratings that are not finite numbers in column'), ('user,item,rating\n1,2,5\n,3,4\n', "missing values in column 'user' in 1 of 2 rows"),
                       ('user,item,rating\n1,2,5\n1,2,4\n', '--duplicates'), ('user,item,rating\n1,2,5,6,7\n1,2\n3,4,5,6\n', 'bad.csv'), ('user,item\n1,2\n', "no column 'rating'")):
        assert says in bad(tmp_path, text), text
    assert 'row 2 after the heading' in bad(tmp_path, 'user,item,rating\n1,2,5\n,3,4\n')
    (tmp_path/'latin.csv').write_bytes('user,item,rating\nJosé,2,5\n'.encode('latin-1'))
    assert 'latin.csv is no UTF-8 text' in refused('train', 'latin.csv', cwd=tmp_path)
    assert 'cannot read this kind of file' in bad(tmp_path, 'x', name='r.xlsx')
    assert not (tmp_path/'never').exists()

def test_side_tables_are_checked(shop, tmp_path):
    (tmp_path/'items.csv').write_text('item,title\na,One\n')
    assert 'not all whole numbers' in refused('train', shop/'ratings.csv', '--items', 'items.csv', cwd=tmp_path)
    (tmp_path/'items.csv').write_text('item,title\n102,One\n102,Two\n')
    assert 'several rows for item 102' in refused('train', shop/'ratings.csv', '--items', 'items.csv', cwd=tmp_path)
    assert 'no file nothing.csv' in refused('train', shop/'ratings.csv', '--items', 'nothing.csv', cwd=tmp_path)

def test_repeated_pairs_can_be_settled(tmp_path):
    (tmp_path/'r.csv').write_text('user,item,rating\n1,2,5\n1,2,4\n2,2,3\n')
    assert [json.loads(ok('train', 'r.csv', '--duplicates', how, '--model', 'Popular', '--json', cwd=tmp_path))['ratings'] for how in ('last', 'mean', 'keep')] == [2, 2, 3]

# ---- mistakes

@pytest.mark.parametrize('args, message', [
    (['train', 'nowhere.csv'], 'nowhere.csv was not found'), (['train', 'model', '--out', 'never'], 'MovieLens was not found in model'), (['train', 'ratings.csv', '--model', 'SVD'], "no model 'SVD': choose from Popular"),
    (['train', 'ratings.csv', '--set', 'factors=3'], "no setting 'factors': choose from n_factors=64"), (['train', 'ratings.csv', '--set', 'n_factors=few'], 'must be a whole number'),
    (['train', 'ratings.csv', '--set', 'n_factors'], 'write NAME=VALUE'), (['train', 'ratings.csv', '--set', 'n_epochs=0'], 'n_epochs=0 must be more than 0'), (['train', 'ratings.csv', '--out', '.'], 'holds other things and no saved model'),
    (['train', 'ratings.csv', '--out', 'items.csv'], 'is a file'), (['train', 'ratings.csv', '--liked-from', '9'], 'no row is rated 9 or more'), (['train', 'ratings.csv', '--seed', 'x'], "'--seed'"), (['train'], 'train --help'),
    (['recommend', 'nowhere', '--user', '1'], 'no saved model in nowhere'), (['recommend', 'model', '--user', '999'], 'unknown user 999'), (['recommend', 'model', '--user', 'ann'], "unknown user 'ann'"),
    (['recommend', 'model', '--user', '1', '-k', '0'], 'k=0'), (['recommend', 'model'], 'say for whom'), (['recommend', 'model', '--user', '1', '--all'], 'say for whom'), (['recommend', 'model', '--rated', '102=9'], 'ratings run from 1 to 5'),
    (['recommend', 'model', '--rated', '1=x'], 'must be a number'), (['recommend', 'model', '--rated', 'x=3'], "unknown item 'x'"), (['recommend', 'model', '--user', '1', '--only', '999'], 'unknown item 999'),
    (['similar', 'model', '--item', '999'], 'unknown item 999'), (['similar', 'model'], 'say what to compare'), (['similar', 'model', '--title', 'no such film'], "no title holds 'no such film'"),
    (['evaluate', 'ratings.csv', '--models', 'SVD'], "no model 'SVD'"), (['evaluate', 'ratings.csv', '--metrics', 'auc'], "no metric 'auc'"), (['evaluate', 'ratings.csv', '--split', 'never'], "--split 'never' is not one of time, random"),
    (['evaluate', 'ratings.csv', '--set', 'n_factors=3'], 'write MODEL.NAME=VALUE'), (['evaluate', 'ratings.csv', '--test', '2'], "--test 2.0 must be a share"), (['evaluate', 'ratings.csv', '-k', '0'], 'k=0'),
    (['lessons', '--open', '77'], "no lesson '77'"), (['demo', '--user', '999999'], 'unknown user 999999'), (['demo', '--data', 'nowhere'], 'was not found'), (['demo', '--out', 'no/such/folder/f.png'], 'no folder'),
    (['demo', '-k', '0'], 'k=0'), (['dance'], "No such command 'dance'")])
def test_mistakes_get_one_line_and_exit_code_2(shop, args, message):
    before = sorted(p.name for p in shop.iterdir())
    assert message in refused(*args, cwd=shop)
    assert len(args) > 2 or message in refused(*args, cwd=shop, by=real)
    assert sorted(p.name for p in shop.iterdir()) == before

def damage(folder, how):
    f = folder/'model.json' if how in ('cut', 'other', 'empty', 'list') else next(folder.glob('*.safetensors'))
    if how == 'cut': f.write_text(f.read_text()[:100])
    elif how == 'empty': f.write_text('{}')
    elif how == 'list': f.write_text('[')
    elif how == 'other': f.write_text(f.read_text().replace('"BiasedMF"', '"Popular"', 1))
    elif how == 'weights': f.write_bytes(f.read_bytes()[:-100])
    elif how == 'flipped': f.write_bytes(f.read_bytes()[:-8] + bytes(8))
    elif how == 'gone': f.unlink()

@pytest.mark.parametrize('how', ['cut', 'empty', 'list', 'other', 'weights', 'flipped', 'gone'])
def test_a_damaged_folder_is_said_to_be_damaged(shop, tmp_path, how):
    shutil.copytree(shop/'model', tmp_path/'model'); damage(tmp_path/'model', how)
    assert 'is damaged' in refused('recommend', 'model', '--user', 7, cwd=tmp_path)

@pytest.mark.parametrize('cls, module', [('os.system', 'os'), ('system', 'os'), ('Mine', '__main__'), ('Mine', 'shop.models')])
def test_a_class_that_is_not_of_this_library_is_not_called_damaged(shop, tmp_path, cls, module):
    shutil.copytree(shop/'model', tmp_path/'model')
    f = tmp_path/'model/model.json'
    facts = json.loads(f.read_text())
    f.write_bytes(model_json({k: v for k, v in facts.items() if k not in ('format', 'check')} | dict(cls=cls, module=module)))       # whole, and of a stranger
    line = refused('recommend', 'model', '--user', 7, cwd=tmp_path)
    assert cls in line and 'damaged' not in line

def test_a_network_takes_newcomers(shop, tmp_path):
    ok('train', shop/'ratings.csv', '--model', 'TwoTower', '--set', 'n_epochs=1', cwd=tmp_path)
    rows = json.loads(ok('recommend', 'model', '--rated', '102=5', '-k', 3, '--json', cwd=tmp_path))
    assert len(rows) == 3 and 102 not in [o['item'] for o in rows]

def test_an_accident_is_no_mistake_of_the_user(shop):
    broken = "import recsys_course.cli as C; C.open_model = lambda f: int('many'); C.main()"
    res = subprocess.run([sys.executable, '-c', broken, 'recommend', 'model', '--user', '1'], cwd=shop, text=True, capture_output=True)
    assert res.returncode == 1 and res.stderr.count('\n') == 1 and 'unexpected ValueError' in res.stderr
    res = subprocess.run([sys.executable, '-c', broken, 'recommend', 'model', '--user', '1'], cwd=shop, text=True, capture_output=True, env=env_of(RECSYS_COURSE_DEBUG='1'))
    assert res.returncode == 1 and 'Traceback' in res.stderr

@pytest.mark.skipif(os.name == 'nt', reason='signals and pipes of POSIX')
def test_a_closed_pipe_and_an_interrupt_are_quiet(shop):
    p = subprocess.Popen([*SHELL, 'recommend', 'model', '--all', '-k', '60', '--json'], cwd=shop, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env_of())
    p.stdout.read(10); p.stdout.close()
    assert p.stderr.read() == b'' and p.wait(60) == 0
    # a shell that runs the tests in the background has its children ignore the interrupt
    slow = "import signal, time, recsys_course.cli as C; signal.signal(signal.SIGINT, signal.default_int_handler); C.open_model = lambda f: (print('now', flush=True), time.sleep(60)); C.main()"
    p = subprocess.Popen([sys.executable, '-c', slow, 'recommend', 'model', '--user', '1'], cwd=shop, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env_of())
    assert p.stdout.readline() == 'now\n'
    p.send_signal(signal.SIGINT)
    assert p.wait(60) == 130 and p.stderr.read().strip() == 'recsys-course: interrupted'

@pytest.mark.skipif(os.name == 'nt', reason='needs a terminal of POSIX')
def test_progress_shows_only_to_a_person(shop, tmp_path):
    import fcntl, pty, struct, termios
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack('HHHH', 24, 80, 0, 0))
    os.set_blocking(master, False)
    p = subprocess.Popen([*SHELL, 'train', str(shop/'ratings.csv'), '--json'], cwd=tmp_path, stdout=subprocess.PIPE, stderr=slave, env=env_of())
    out = p.stdout.read(); p.wait(60)
    seen = os.read(master, 100_000).decode()
    for fd in (slave, master): os.close(fd)
    assert json.loads(out)['model'] == 'BiasedMF' and 'reading' in seen and 'learning' in seen

# ---- evaluate

def test_evaluate_gives_the_numbers_of_the_library(shop, inter):
    from recsys_course.evaluate import compare
    from recsys_course.implicit import EASE
    from recsys_course.recommender import Bias, Popular
    table = compare(dict(Popular=Popular(), Bias=Bias(), EASE=EASE(reg=50.)), *inter.split('random', seed=3), k=5, metrics=('rmse', 'ndcg'), seed=3)
    args = ['evaluate', 'ratings.csv', '--models', 'bias,EASE', '--set', 'EASE.reg=50', '--metrics', 'rmse,ndcg', '--split', 'random', '--seed', 3, '-k', 5]
    rows = json.loads(ok(*args, '--json', cwd=shop, by=real))
    assert [r['model'] for r in rows] == ['Popular', 'Bias', 'EASE'] and rows[2]['rmse']['value'] is None
    for r in rows:
        for m in ('rmse', 'ndcg'):
            for c in ('value', 'low', 'high'):
                want = table.loc[r['model'], (m, c)]
                assert (r[m][c] is None and np.isnan(want)) or np.isclose(r[m][c], want)
    text = ok(*args, cwd=shop).splitlines()
    assert '1,600 ratings to learn from, 400 to judge by' in text[1] and text[2].startswith('liked: rated 4 or more') and text[4].split()[:3] == ['model', 'rmse', 'ndcg@5'] and text[6].startswith('Bias') and f"{rows[1]['rmse']['value']:.3f}" in text[6]
    assert max(map(len, text)) <= 80

def test_evaluate_takes_networks_and_splits_at_random_without_times_and_says_so(shop, tmp_path):
    pd.read_csv(shop/'ratings.csv').drop(columns='timestamp').to_csv(tmp_path/'r.csv', index=False)
    args = ['evaluate', 'r.csv', '--models', 'Bias', '--metrics', 'rmse']
    assert '(split: random, as no times are known)' in ok(*args, cwd=tmp_path)
    plain, said = (json.loads(ok(*args, *more, '--json', cwd=tmp_path)) for more in ([], ['--split', 'random']))
    assert [o['rmse'] for o in plain] == [o['rmse'] for o in said] and plain[0]['split'].startswith('random')
    assert "--split 'random'" in refused(*args, '--split', 'time', cwd=tmp_path)
    rows = json.loads(ok('evaluate', 'r.csv', '--models', 'DotProductBias', '--set', 'DotProductBias.n_epochs=1', '--split', 'random', '--metrics', 'mae', '--json', cwd=tmp_path))
    assert 0 < rows[1]['mae']['value'] < 2

def small(path, low=1, high=5, n=40, times=True, seed=0):
    "A file of ratings by n people of 30 items"
    rng = np.random.default_rng(seed)
    df = pd.DataFrame([(u, i) for u in range(n) for i in rng.choice(30, 10, replace=False)], columns=['user', 'item'])
    df['rating'] = rng.integers(low, high + 1, len(df))
    if times: df['timestamp'] = rng.permutation(len(df))
    df.to_csv(path, index=False)
    return df

@pytest.mark.parametrize('low, high, liked', [(1, 5, '4'), (0, 100, '75'), (0, 1, '0.75'), (-10, 10, '5')])
def test_liked_is_a_share_of_the_scale_and_is_said(tmp_path, low, high, liked):
    df = small(tmp_path/'r.csv', low, high)
    assert f'liked: rated {liked} or more (three quarters up the scale of {low} to {high})' in ok('evaluate', 'r.csv', '--models', 'Bias', cwd=tmp_path)
    rows = json.loads(ok('evaluate', 'r.csv', '--models', 'Bias', '--metrics', 'ndcg', '--split', 'random', '--json', cwd=tmp_path))
    _, test = Interactions.from_df(df).split('random')
    assert rows[0]['liked_from'] == float(liked) and rows[0]['users']['scored'] == test.df[test.df.rating >= float(liked)].user.nunique()

def test_equal_ratings_are_all_liked_and_a_typed_border_counts(tmp_path):
    small(tmp_path/'r.csv', 1, 1)
    assert 'liked: every row' in ok('evaluate', 'r.csv', '--models', 'EASE', '--metrics', 'ndcg', cwd=tmp_path)
    small(tmp_path/'s.csv')
    assert 'liked: rated 2 or more\n' in ok('evaluate', 's.csv', '--relevant', 2, '--models', 'Bias', cwd=tmp_path)

def test_evaluate_learns_from_a_weighted_yes(tmp_path):
    from recsys_course.evaluate import compare
    df = small(tmp_path/'r.csv')
    pd.concat([df, df[:50].assign(timestamp=1000)]).to_csv(tmp_path/'r.csv', index=False)          # repeated events are counted
    inter = Interactions.from_df(pd.read_csv(tmp_path/'r.csv'), duplicates='keep')
    train, test = inter.split('random', seed=42)
    want = compare(dict(Popular=Popular(), ImplicitALS=ImplicitALS(seed=42)), to_implicit(train, weight='log'), test, metrics=['ndcg'], relevant=1, exclude_seen=False)
    got = json.loads(ok('evaluate', 'r.csv', '--models', 'ImplicitALS', '--weight', 'log', '--split', 'random', '--seen', '--json', cwd=tmp_path))
    assert np.isclose(got[1]['ndcg']['value'], want.loc['ImplicitALS', ('ndcg', 'value')]) and 'rmse' not in got[1] and got[1]['liked_from'] == 1
    assert '--metrics rmse needs ratings' in refused('evaluate', 'r.csv', '--weight', 'log', '--metrics', 'rmse', cwd=tmp_path)

def test_a_file_to_judge_by(tmp_path):
    df = small(tmp_path/'all.csv')
    train, test = Interactions.from_df(df).split('time')
    train.df.to_csv(tmp_path/'old.csv', index=False); test.df.to_csv(tmp_path/'new.csv', index=False)
    args = ['--models', 'Bias', '--metrics', 'rmse,recall', '--json']
    one, two = (json.loads(ok('evaluate', *data, *args, cwd=tmp_path)) for data in (['all.csv'], ['old.csv', '--test-file', 'new.csv']))
    for a, b in zip(one, two): assert (a['rmse'], a['recall'], a['users']) == (b['rmse'], b['recall'], b['users'])
    assert '(split: file new.csv)' in ok('evaluate', 'old.csv', '--test-file', 'new.csv', '--models', 'Bias', cwd=tmp_path)
    again = cli('evaluate', 'all.csv', '--test-file', 'new.csv', '--models', 'Bias', cwd=tmp_path)
    assert again.returncode == 0 and f'{len(test)} of the {len(test)} pairs in new.csv are in the file to learn from' in again.stderr
    test.df.assign(user='x').drop_duplicates('item').to_csv(tmp_path/'text.csv', index=False)               # ids of another kind: text in both
    assert json.loads(ok('evaluate', 'old.csv', '--test-file', 'text.csv', *args, cwd=tmp_path))[1]['users']['cold'] == 1
    assert '--test-file no.csv is no file' in refused('evaluate', 'old.csv', '--test-file', 'no.csv', cwd=tmp_path)
    assert 'give one of them' in refused('evaluate', 'old.csv', '--test-file', 'new.csv', '--split', 'time', cwd=tmp_path)

def test_one_model_that_fails_leaves_the_others(tmp_path):
    small(tmp_path/'r.csv', 0, 5)
    res = cli('evaluate', 'r.csv', '--models', 'Bias,ImplicitALS,ItemKNN', '--json', cwd=tmp_path)
    rows = {r['model']: r for r in json.loads(res.stdout)}
    assert res.returncode == 1 and [*rows] == ['Popular', 'Bias', 'ImplicitALS', 'ItemKNN'] and 'weights must be above 0' in rows['ImplicitALS']['error']
    assert all((rows[n]['ndcg']['value'] is None) == (n == 'ImplicitALS') and ('error' in rows[n]) == (n == 'ImplicitALS') for n in rows)
    assert res.stderr.startswith('recsys-course: ImplicitALS failed: ') and res.stderr.count('\n') == 1 and '--liked-from' in res.stderr
    text = cli('evaluate', 'r.csv', '--models', 'Bias,ImplicitALS', cwd=tmp_path)
    assert text.returncode == 1 and re.search(r'^ImplicitALS +- ', text.stdout, re.M) and re.search(r'^Bias +\d', text.stdout, re.M)
    assert json.loads(ok('evaluate', 'r.csv', '--models', 'ImplicitALS', '--liked-from', 3, '--json', cwd=tmp_path))[1]['ndcg']['value'] > 0    # as advised

def test_a_split_that_leaves_nothing_is_refused(tmp_path):
    (tmp_path/'r.csv').write_text('user,item,rating,timestamp\n1,1,5,1\n2,2,4,2\n3,3,5,3\n')
    assert '--split leave_last leaves no row to judge by' in refused('evaluate', 'r.csv', '--split', 'leave_last', '--models', 'Bias', cwd=tmp_path)

# ---- search for settings, weights, pipelines, indices

def test_tune_uses_the_best_settings_and_shows_all(tmp_path):
    from recsys_course.evaluate import tune
    from recsys_course.implicit import EASE
    df = small(tmp_path/'r.csv')
    found = tune(EASE, Interactions.from_df(df), dict(reg=(5., 5000.)), metric='recall@5', n_trials=4, seed=42)
    got = json.loads(ok('train', 'r.csv', '--model', 'EASE', '--tune', '--trials', 4, '--metric', 'recall@5', '--json', cwd=tmp_path))
    assert got['settings']['reg'] == found.best['reg'] and [t['reg'] for t in got['trials']] == found.table.reg.tolist() and len(got['trials']) == 5
    rows = json.loads(ok('recommend', 'model', '--user', 3, '--json', cwd=tmp_path))
    assert [r['item'] for r in rows] == found.model.recommend(3)['item'].tolist()
    text = ok('train', 'r.csv', '--model', 'ItemKNN', '--tune', '--search', 'k=2,5', '--search', 'shrink=1:9', '--set', 'damping=0.5', '--trials', 3, cwd=tmp_path)
    assert re.search(r'^ *k +shrink +ndcg@10 +seconds$', text, re.M) and 'The best was then learned from all: k=' in text and 'Next: ' in text
    assert C.open_model(tmp_path/'model').damping == .5

@pytest.mark.parametrize('args, message', [
    (['--trials', 3], '--search, --trials and --metric need --tune'), (['--tune', '--trials', 0], '--trials 0'), (['--tune', '--metric', 'auc'], "no metric 'auc'"), (['--tune', '--search', 'k'], 'write NAME=LOW:HIGH'),
    (['--tune', '--search', 'q=1,2'], "no setting 'q'"), (['--tune', '--search', 'k=9:2'], 'low below high'), (['--tune', '--search', 'k=few'], 'must be a whole number'), (['--tune', '--search', 'k=0,-1', '--set', 'shrink=1'], 'k=')])
def test_a_search_that_cannot_be(tmp_path, args, message):
    small(tmp_path/'r.csv')
    res = cli('train', 'r.csv', '--model', 'ItemKNN', *args, cwd=tmp_path)
    assert message in res.stderr and 'unexpected' not in res.stderr and (res.returncode == 2) == ('k=0,-1' not in args)

def test_every_model_has_a_space_of_settings_that_it_has():
    for name in MODELS: assert C.SPACES[name] and set(C.SPACES[name]) <= set(C.inspect.signature(C.find_model(name)[1]).parameters), name

@pytest.mark.parametrize('weight', ['ones', 'count', 'sum', 'log'])
def test_weights_of_repeated_events(tmp_path, weight):
    df = small(tmp_path/'r.csv')
    df = pd.concat([df, df[:60]], ignore_index=True)
    df.to_csv(tmp_path/'r.csv', index=False)
    want = ImplicitALS(seed=42).fit(to_implicit(Interactions.from_df(df, duplicates='keep'), weight=weight)).recommend(3)
    ok('train', 'r.csv', '--weight', weight, '--model', 'ImplicitALS', cwd=tmp_path)
    assert [r['item'] for r in json.loads(ok('recommend', 'model', '--user', 3, '--json', cwd=tmp_path))] == want['item'].tolist()
    assert "--weight 'loud' is not one of ones, count, sum, log" in refused('train', 'r.csv', '--weight', 'loud', cwd=tmp_path)
    assert '--duplicates' in refused('train', 'r.csv', '--weight', weight, '--duplicates', 'error', cwd=tmp_path)

def test_pipelines_train_and_answer(tmp_path):
    small(tmp_path/'r.csv')
    ok('train', 'r.csv', '--model', 'pipeline', '--set', 'retrieve=EASE,popular', '--set', 'n_rounds=1', cwd=tmp_path)
    assert list(C.open_model(tmp_path/'model').gens) == ['EASE', 'Popular']
    assert len(json.loads(ok('recommend', 'model', '--user', 3, '-k', 4, '--json', cwd=tmp_path))) == len(json.loads(ok('recommend', 'model', '--rated', '3=5', '-k', 4, '--json', cwd=tmp_path))) == 4
    assert "no model 'EASY'" in refused('train', 'r.csv', '--model', 'pipeline', '--set', 'retrieve=EASY', cwd=tmp_path)
    assert json.loads(ok('evaluate', 'r.csv', '--models', 'pipeline', '--metrics', 'ndcg', '--set', 'Pipeline.trees=false', '--json', cwd=tmp_path))[1]['model'] == 'Pipeline'

def test_an_index_gives_the_lists_of_the_model(tmp_path):
    small(tmp_path/'r.csv')
    ok('train', 'r.csv', '--model', 'ALS', cwd=tmp_path)
    lists = [json.loads(ok('recommend', 'model', '--all', '-k', 3, *args, '--json', cwd=tmp_path)) for args in ([], ['--index', 'exact'], ['--index', 'faiss'])]
    assert [[(r['user'], r['item']) for r in rows] for rows in lists[1:]] == [[(r['user'], r['item']) for r in lists[0]]]*2
    assert "--index 'hash' is not one of faiss" in refused('recommend', 'model', '--user', 3, '--index', 'hash', cwd=tmp_path)
    ok('train', 'r.csv', '--model', 'ItemKNN', cwd=tmp_path)
    assert 'leave out --index' in refused('recommend', 'model', '--user', 3, '--index', 'faiss', cwd=tmp_path)

def test_items_excluded_in_one_call(shop):
    top = [r['item'] for r in json.loads(ok('recommend', 'model', '--user', 7, '-k', 3, '--json', cwd=shop))]
    rows = json.loads(ok('recommend', 'model', '--user', 7, '-k', 2, '--exclude', top[0], '--json', cwd=shop))
    assert [r['item'] for r in rows] == top[1:]
    assert 'unknown item 999' in refused('recommend', 'model', '--user', 7, '--exclude', 999, cwd=shop)

# ---- lists for everybody, in blocks

@pytest.fixture(scope='module')
def crowd(tmp_path_factory):
    "A model of 3,000 people, whose lists take several blocks"
    d = tmp_path_factory.mktemp('crowd')
    small(d/'r.csv', n=3000)
    ok('train', 'r.csv', '--model', 'Bias', cwd=d)
    return d, C.open_model(d/'model').recommend(C.open_model(d/'model').users.ids, k=12)

def read_lists(path):
    if path.suffix == '.json': return pd.DataFrame(json.loads(path.read_text()))
    return pd.read_csv(path) if path.suffix == '.csv' else pd.read_parquet(path)

@pytest.mark.parametrize('end', ['.csv', '.json', '.parquet', '.CSV'])
def test_lists_to_a_file_are_those_of_the_library(crowd, tmp_path, end):
    d, want = crowd
    if end == '.parquet': pytest.importorskip('pyarrow')
    path = tmp_path/f'lists{end}'
    path.write_text('old')
    assert ok('recommend', 'model', '--all', '-k', 12, '--out', path, cwd=d) == f'36,000 rows for 3,000 users are in {path}\n'
    pd.testing.assert_frame_equal(read_lists(path.rename(path.with_suffix(end.lower()))), want, check_dtype=False, rtol=1e-5)
    assert len(list(tmp_path.iterdir())) == 1 and json.loads(ok('recommend', 'model', '--user', 3, '--out', path, '--json', cwd=d))['rows'] == 10

def test_lists_to_the_output_in_blocks(crowd):
    d, want = crowd
    rows = json.loads(ok('recommend', 'model', '--all', '-k', 12, '--json', cwd=d))
    pd.testing.assert_frame_equal(pd.DataFrame(rows), want, check_dtype=False, rtol=1e-5)
    lines = ok('recommend', 'model', '--all', '-k', 12, cwd=d).splitlines()
    assert lines[0].split() == ['user', 'rank', 'item', 'score'] and len(lines) == 1 + len(want)
    assert [l.split()[:3] for l in lines[1:]] == want[['user', 'rank', 'item']].astype(str).to_numpy().tolist()

def test_text_in_blocks_looks_at_each_cell_once(monkeypatch):
    n, seen, real_text = 4000, [], C.cell_text
    monkeypatch.setattr(C, 'cell_text', lambda x: seen.append(1) or real_text(x))
    df, table = pd.DataFrame(dict(user=range(n), title=['A film'] * n, score=np.linspace(0, 1, n))), C.TextTable()
    lines = [l for b in range(0, n, 100) for l in table(df[b:b+100]).splitlines()]
    assert len(lines) == n + 1 and len(seen) == df.size  # earlier blocks are not looked at again

def test_lists_that_fail_leave_the_old_file(crowd, tmp_path, monkeypatch):
    d, _ = crowd
    path = tmp_path/'lists.csv'
    path.write_text('old')
    real_blocks = C.list_blocks
    for error, code, says in ((OSError(28, 'No space left on device'), 1, f'{path} cannot be written: No space left on device'), (KeyboardInterrupt(), 130, 'interrupted'), (OSError(13, 'Permission denied'), 2, 'Permission denied')):
        def blocks(*args, error=error):
            yield next(real_blocks(*args))
            raise error
        monkeypatch.setattr(C, 'list_blocks', blocks)
        res = cli('recommend', 'model', '--all', '--out', path, cwd=d)
        assert res.returncode == code and says in res.stderr and 'unexpected' not in res.stderr and path.read_text() == 'old' and len(list(tmp_path.iterdir())) == 1

@pytest.mark.parametrize('out, says', [('lists.txt', 'take a name that ends in .csv'), ('lists', 'take a name'), ('no/lists.csv', 'no folder'), ('model.csv', 'is a folder')])
def test_files_of_lists_that_cannot_be(crowd, tmp_path, out, says):
    (tmp_path/'model.csv').mkdir()
    assert says in refused('recommend', crowd[0]/'model', '--all', '--out', out, cwd=tmp_path)

def test_lists_in_parquet_without_pyarrow_say_what_to_install(crowd, monkeypatch):
    monkeypatch.setitem(sys.modules, 'pyarrow', None)
    assert 'pip install "recsys_course[parquet]"' in refused('recommend', 'model', '--all', '--out', 'l.parquet', cwd=crowd[0])

# ---- text from strangers

WILD = ['\x1b[2J', '\x1b]0;own\x07', '\x9b31m', '\x00'[:0] + '\x08\x08', '\u202eevil', '\u2066', '\x7f', '\u200f', '\u2028', '\U000e0041']

def tame(res):
    "Nothing that a terminal obeys, in neither stream"
    assert not re.search('[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\U000e0000-\U000e007f]', res.stdout + res.stderr), (res.stdout, res.stderr)
    return res

@pytest.mark.parametrize('wild', WILD)
def test_no_text_steers_the_terminal(tmp_path, wild):
    name = 'r' + wild + '.csv'
    pd.DataFrame(dict(user=['a' + wild, 'b' + wild, 'b' + wild], item=['x' + wild, 'y', 'x' + wild], rating=[5, 4, 3])).to_csv(tmp_path/name, index=False)
    pd.DataFrame(dict(item=['x' + wild, 'y'], title=['Tea' + wild, 'Tea two' + wild])).to_csv(tmp_path/'i.csv', index=False)
    trained = tame(cli('train', name, '--items', 'i.csv', '--model', 'Popular', cwd=tmp_path))
    assert trained.returncode == 0
    for args in (['recommend', 'model', '--all'], ['recommend', 'model', '--all', '--json'], ['recommend', 'model', '--user', 'c' + wild], ['similar', 'model', '--title', 'tea'], ['similar', 'model', '--title', 'no' + wild],
                 ['similar', 'model', '--item', 'y'], ['train', 'none' + wild], ['train', name, '--user-col', 'u' + wild], ['train', name, '--model', wild], ['recommend', 'none' + wild, '--user', '1'], ['evaluate', name, '--models', 'Bias', '--relevant', '5'], [wild], ['train', '--x' + wild]):
        tame(cli(*args, cwd=tmp_path))

@pytest.mark.skipif(shutil.which('bash') is None, reason='needs bash')
@pytest.mark.parametrize('user', ['Ann Lee', "O'Hara", '-5', 'a\x1b[1mb', '$HOME', 'a"b\\c', 'a=b', '日本', '*', 'é\tü'])
def test_the_next_command_works_as_printed(tmp_path, user):
    pd.DataFrame(dict(user=[user, 'other'], item=['x', 'y'], rating=[5, 4])).to_csv(tmp_path/'r.csv', index=False)
    text = ok('train', 'r.csv', '--model', 'Popular', '--out', 'my model', cwd=tmp_path)
    line = text.splitlines()[-1].removeprefix('Next: recsys-course')
    typed = subprocess.run(['bash', '-c', f'printf "%s\\\\0" {line}'], capture_output=True, text=True, encoding='utf-8', env=env_of(LC_ALL='C.UTF-8')).stdout.split('\0')[:-1]
    assert C.shorten(user) in ok(*typed, cwd=tmp_path).splitlines()[0]

@pytest.mark.parametrize('ids', ['float', 'big', 'negative', 'unsigned'])
def test_the_next_command_works_for_ids_of_any_kind(tmp_path, ids):
    pytest.importorskip('pyarrow')
    add = dict(float=.0, big=15*10**17, negative=-9, unsigned=2**63)[ids]
    raw = np.array([1, 1, 2, 3], np.uint64 if ids == 'unsigned' else None)
    df = pd.DataFrame(dict(user=raw + np.uint64(add) if ids == 'unsigned' else raw + add, item=[1, 2, 2, 1], rating=[5, 4, 3, 2]))
    df.to_parquet(tmp_path/'r.parquet'); df.to_csv(tmp_path/'r.csv', index=False)
    for name in ('r.parquet', 'r.csv'):
        line = ok('train', name, '--model', 'Popular', cwd=tmp_path).splitlines()[-1].split()
        assert int(line[-1].removeprefix('--user=')) == int(df.user.iloc[2])          # the first has met everything
        assert ok(*line[2:], cwd=tmp_path).startswith(f'For user {int(df.user.iloc[2])}\n')
    if ids == 'float': assert ok('recommend', 'model', '--user', 2, cwd=tmp_path) == ok('recommend', 'model', '--user', '2.0', cwd=tmp_path)

# ---- a machine that cannot, and streams that are closed

@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='needs /dev/full')
@pytest.mark.parametrize('line, code', [('recommend model --all > /dev/full', 1), ('recommend model --all --json > /dev/full', 1), ('--help > /dev/full', 1), ('lessons > /dev/full', 1), ('recommend model --user 7 2>&-', 0),
                                        ('train nowhere 2>&-', 2), ('train nowhere 2> /dev/full', 2), ('recommend model --user 7 >&-', 0), ('lessons | head -1', 0)])
def test_streams_that_are_full_or_closed(shop, line, code):
    program = f'{sys.executable} -c "from recsys_course.cli import main; main()"'
    res = subprocess.run(['bash', '-c', f'{program} {line}; exit ${{PIPESTATUS[0]}}'], cwd=shop, capture_output=True, text=True, env=env_of())
    assert res.returncode == code and res.stderr.count('\n') == (1 if '> /dev/full' in line and '2> ' not in line else 0) and 'unexpected' not in res.stderr and 'Traceback' not in res.stderr, res.stderr

@pytest.mark.parametrize('error, code, says', [(MemoryError(), 1, 'MemoryError'), (OSError(28, 'No space left on device', 'x'), 1, 'No space left on device: x'), (OSError(5, 'Input/output error'), 1, 'Input/output error'),
                                               (PermissionError(13, 'Permission denied', 'x'), 2, 'Permission denied: x'), (KeyboardInterrupt(), 130, 'interrupted'), (ImportError('no usearch: pip install usearch'), 2, 'pip install')])
def test_whose_fault_it_is(shop, monkeypatch, error, code, says):
    from recsys_course.recommender import Recommender
    def load(folder): raise error
    monkeypatch.setattr(Recommender, 'load', load)
    res = cli('recommend', 'model', '--user', 7, cwd=shop)
    assert res.returncode == code and says in res.stderr and res.stderr.strip().count('\n') == 0 and 'unexpected' not in res.stderr

@pytest.mark.parametrize('args', [['train', 'ratings.csv'], ['train', 'world'], ['evaluate', 'ratings.csv'], ['demo'], ['ask']])
@pytest.mark.parametrize('seed', [-1, 2**32])
def test_seeds_that_are_none(shop, args, seed): assert f'--seed {seed} must be a whole number' in refused(*args, '--seed', seed, cwd=shop)

def test_seeds_that_are_set(shop): assert 'seed=-1 must be' in refused('train', 'ratings.csv', '--set', 'seed=-1', cwd=shop)

@pytest.mark.parametrize('args', [['train', 'ratings.csv', '--liked-from', 'nan'], ['train', 'ratings.csv', '--liked-from', 'inf'], ['evaluate', 'ratings.csv', '--relevant', 'nan'], ['evaluate', 'ratings.csv', '--test', 'x'], ['recommend', 'model', '-k', '2.5'], ['recommend', 'model', '-k', ''], ['demo', '--seed', '1e3']])
def test_numbers_that_are_none_are_shown(shop, args): assert f"'{args[-1]}' is no " in refused(*args, cwd=shop)

def test_warnings_and_logs_are_notes(shop, monkeypatch):
    import logging, warnings
    def opened(folder):
        warnings.warn("too few\x1b[1m: choose duplicates='last'")
        warnings.warn('for programmers', DeprecationWarning)
        logging.getLogger('recsys_course.pipeline').warning('stage %r: late', 'als\x1b')
        raise C.Refused('enough')
    monkeypatch.setattr(C, 'open_model', opened)
    res = tame(cli('recommend', 'model', '--user', 7, cwd=shop))
    assert res.stderr.splitlines() == ["recsys-course: warning: too few [1m: choose --duplicates 'last'", "recsys-course: stage 'als\\x1b': late", 'recsys-course: enough'] and logging.getLogger('recsys_course').handlers == []

# ---- advice that can be followed

@pytest.mark.parametrize('said, meant', [("choose duplicates='last', 'mean' or 'keep'", "choose --duplicates 'last', 'mean' or 'keep'"), ('relevant=0 would take every row', '--relevant 0 would take every row'), ('leave times out with timestamp=None', 'leave times out with --timestamp-col none'),
    ('name yours with user= (or columns=)', 'name yours with --user-col (or --columns)'), ("as in encoding='latin-1'", "as in --encoding 'latin-1'"), ("split with how='random'", "split with --split 'random'"), ('test=2.0 must be', '--test 2.0 must be'),
    ('for example with to_implicit(inter, threshold=4)', 'for example with --liked-from 4'), ('pass its folder as path=, or', 'name its folder, or'), ('n_trials=0 must', '--trials 0 must'), ("n_factors=0 must be", "n_factors=0 must be"), ("unknown user 'user=5'", "unknown user 'user=5'"), ('k=0', 'k=0')])
def test_advice_is_given_in_options(said, meant): assert C.in_options(said) == meant

@pytest.mark.parametrize('command', ['train', 'evaluate', 'demo', 'ask'])
def test_every_command_that_reads_a_file_is_told_how(shop, tmp_path, command):
    "The advice to use --user-col can be followed, and an option that would change nothing is refused"
    data = ['r.csv'] if command in ('train', 'evaluate') else ['--data', 'r.csv']
    (tmp_path/'r.csv').write_text('userId,item,rating\n1,1,5\n')
    assert 'name yours with --user-col' in refused(command, *data, cwd=tmp_path)
    for option in ('--user-col', '--item-col', '--rating-col', '--timestamp-col', '--sep', '--encoding', '--columns', '--items', '--users', '--duplicates', '--title-col'): assert option in ok(command, '-h', cwd=tmp_path)
    other = ['100k'] if command in ('train', 'evaluate') else []
    assert '--sep is for files, and' in refused(command, *other, '--sep', ';', cwd=tmp_path)

def test_times_can_be_left_out_as_advised(tmp_path):
    (tmp_path/'r.csv').write_text('user,item,rating,timestamp\n1,1,5,10/22/2020 12:26\n2,1,4,10/23/2020 12:26\n')
    assert '--timestamp-col none' in refused('train', 'r.csv', cwd=tmp_path)
    ok('train', 'r.csv', '--timestamp-col', 'none', '--model', 'Popular', cwd=tmp_path)

def test_files_without_a_heading_in_zips_and_other_letters(tmp_path):
    from zipfile import ZipFile
    df = small(tmp_path/'r.csv', times=False)
    df.to_csv(tmp_path/'SPACED.DAT', sep=' ', header=False, index=False); df.to_csv(tmp_path/'Semi.TXT', sep=';', index=False); df.assign(user=df.user.map('é{}'.format)).to_csv(tmp_path/'latin.csv', index=False, encoding='latin-1')
    with ZipFile(tmp_path/'Data.ZIP', 'w') as z: z.write(tmp_path/'r.csv', 'in/R.CSV')
    for args in (['r.csv'], ['SPACED.DAT', '--columns', 'user,item,rating'], ['Semi.TXT'], ['Semi.TXT', '--sep', ';'], ['Data.ZIP'], ['Data.ZIP/in/R.CSV'], ['Data.ZIP', '--duplicates', 'last'], ['latin.csv', '--encoding', 'latin-1']):
        assert json.loads(ok('train', *args, '--model', 'Popular', '--json', cwd=tmp_path))['ratings'] == len(df), args

def test_a_wide_matrix(tmp_path):
    (tmp_path/'wide.csv').write_text('user,a,b,c\n1,5,99,3\n2,99,4,99\n')
    (tmp_path/'empty.csv').write_text('user,a,b,c\n1,5,,3\n2,,4,\n')
    for args in (['wide.csv', '--wide', 99], ['empty.csv', '--wide', 'true']):
        rows = json.loads(ok('train', *args, '--model', 'Popular', '--json', cwd=tmp_path))
        assert (rows['users'], rows['items'], rows['ratings']) == (2, 3, 3)
    assert '--wide' in refused('train', 'wide.csv', '--wide', '', cwd=tmp_path)

def test_titles_under_another_name(tmp_path):
    (tmp_path/'r.csv').write_text('user,item,rating\na,x,5\nb,y,4\n'); (tmp_path/'i.csv').write_text('item,Label\nx,Tea\ny,Jam\n')
    said = cli('train', 'r.csv', '--items', 'i.csv', '--model', 'Popular', cwd=tmp_path)
    assert said.returncode == 0 and "i.csv has no column 'title' (Label)" in said.stderr and '--title-col' in said.stderr
    ok('train', 'r.csv', '--items', 'i.csv', '--title-col', 'Label', '--model', 'Popular', cwd=tmp_path)
    assert 'Jam' in ok('recommend', 'model', '--user', 'a', cwd=tmp_path)
    assert 'no such column in --items, which has Label' in refused('train', 'r.csv', '--items', 'i.csv', '--title-col', 'Name', cwd=tmp_path)
    assert 'give --items' in refused('train', 'r.csv', '--title-col', 'Label', cwd=tmp_path)

def test_an_id_with_an_equals_sign_can_be_rated(tmp_path):
    (tmp_path/'r.csv').write_text('user,item,rating\na,x=1,5\nb,y,4\nb,x=1,3\n')
    ok('train', 'r.csv', '--model', 'Bias', cwd=tmp_path)
    for said in ('x=1', 'x=1=5'): assert [r['item'] for r in json.loads(ok('recommend', 'model', '--rated', said, '--json', cwd=tmp_path))] == ['y']

# ---- lessons

def test_lessons_are_listed_and_found(tmp_path, repo):
    rows = json.loads(ok('lessons', '--json', cwd=tmp_path))
    assert [r['lesson'] for r in rows] == sorted(p.stem for p in (repo/'nbs').glob('[0-9][0-9]_*.ipynb'))
    text = ok('lessons', cwd=tmp_path)
    for r in rows:
        assert r['title'] in text and os.path.isfile(r['path']) and r['url'].startswith('https://github.com/') and r['url'].endswith(f"/nbs/{r['lesson']}.ipynb")
    for name, of in dict(zip(('10', '10_embeddings', 'embeddings', '3', '03'), ['10_embeddings']*3 + ['03_recommender']*2)).items():
        assert json.loads(ok('lessons', '--open', name, '--json', cwd=tmp_path))[0]['lesson'] == of

def test_lessons_open_in_jupyter_or_give_an_address(repo, tmp_path, monkeypatch, capsys):
    calls = []
    monkeypatch.setattr(C.subprocess, 'run', lambda args: calls.append(args))
    monkeypatch.setattr(C, 'find_spec', lambda name: True)
    C._open('https://x', str(repo/'nbs/10_embeddings.ipynb'))
    assert calls[0][1:] == ['-m', 'jupyterlab', str(repo/'nbs/10_embeddings.ipynb')]
    monkeypatch.setattr(C, 'find_spec', lambda name: None)
    C._open('https://x', str(repo/'nbs/10_embeddings.ipynb'))
    assert len(calls) == 1 and capsys.readouterr().out == 'https://x\n'

def test_lessons_from_a_wheel(repo, tmp_path):
    shutil.copytree(repo/'recsys_course', tmp_path/'site/recsys_course', ignore=shutil.ignore_patterns('__pycache__'))
    env = dict(PYTHONPATH=str(tmp_path/'site'))
    rows = json.loads(ok('lessons', '--json', cwd=tmp_path, **env))
    here = json.loads(ok('lessons', '--json', cwd=tmp_path))
    assert [{**r, 'path': None} for r in here] == rows                        # no notebooks there
    assert ok('lessons', '--open', '10', cwd=tmp_path, **env) == rows[5]['url'] + '\n' and rows[5]['lesson'] == '10_embeddings'

# ---- data sets by name, demo, ask

def test_data_sets_by_name_and_folder(tmp_path, movielens):
    by_folder = ok('train', movielens, '--model', 'Popular', cwd=tmp_path)
    assert by_folder.startswith('MovieLens 100K: 943 users, 1,682 items, 100,000 ratings')
    assert ok('train', movielens/'ml-100k', '--model', 'Popular', cwd=tmp_path).splitlines()[0] == by_folder.splitlines()[0]
    assert ok('train', '100k', '--model', 'Popular', cwd=tmp_path, RECSYS_COURSE_DATA=str(movielens)).splitlines()[0] == by_folder.splitlines()[0]
    assert 'Star Wars (1977)' in ok('recommend', 'model', '--rated', 100, cwd=tmp_path)

def test_the_world_by_name(tmp_path):
    assert ok('train', 'world', '--model', 'Popular', cwd=tmp_path).startswith('Simulated world: 943 users, 1,682 items')

def test_demo(tmp_path):
    text = ok('demo', '--k', '10', '--seed', '42', cwd=tmp_path, by=real)
    for part in ('Simulated world: 943 users', '1,682 items', '% of cells empty', 'mean of all ratings', 'Bias ', 'BiasedMF ', 'DotProductBias ', 'liked most', 'Similar to', 'A newcomer', 'The funnel', 'recommendations.png'): assert part in text
    error = {m: float(e) for m, e in re.findall(r'^  (\w[\w ]*?) +(\d\.\d{3})$', text, re.M)}
    assert error['BiasedMF'] < error['Bias'] < error['mean of all ratings'] and error['DotProductBias'] < error['Bias']
    assert (tmp_path/'recommendations.png').stat().st_size > 10_000
    assert ok('demo', '--k', '10', '--seed', '42', cwd=tmp_path) == text

def test_demo_on_movielens(tmp_path, movielens):
    text = ok('demo', '--user', '196', '--data', str(movielens), cwd=tmp_path)
    assert 'MovieLens 100K: 943 users, 1,682 items, 100,000 ratings, 93.7% of cells empty' in text and 'User 196' in text

def test_serve_opens_a_page(tmp_path):
    small(tmp_path/'r.csv')
    ok('train', 'r.csv', '--model', 'ImplicitALS', cwd=tmp_path)
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        port = s.getsockname()[1]
    p = subprocess.Popen([*SHELL, 'serve', 'model', '--port', str(port)], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env_of())
    try:
        assert f'http://127.0.0.1:{port}' in p.stdout.readline()
        until = time.monotonic() + 120
        while True:
            try: page = urllib.request.urlopen(f'http://127.0.0.1:{port}/health', timeout=10).status
            except OSError:
                assert p.poll() is None and time.monotonic() < until
                time.sleep(.2)
            else: break
        body = json.dumps(dict(user=3, k=4)).encode()
        asked = urllib.request.Request(f'http://127.0.0.1:{port}/recommend', body, {'content-type': 'application/json'})
        said = json.loads(urllib.request.urlopen(asked, timeout=30).read())
        assert page == 200 and len(said['items']) == 4
    finally:
        p.terminate()
        p.wait(30)

def test_serve_refuses(tmp_path):
    assert 'nothing' in refused('serve', 'nothing', cwd=tmp_path)
    small(tmp_path/'r.csv')
    ok('train', 'r.csv', '--model', 'popular', cwd=tmp_path)
    assert 'workers=0' in refused('serve', 'model', '--workers', '0', cwd=tmp_path)

def test_ask(tmp_path):
    ask = lambda said: subprocess.run([*SHELL, 'ask', '-k', '3'], cwd=tmp_path, text=True, capture_output=True, input=said, env=env_of())
    two, none = ask('5\n1\nq\n'), ask('')
    assert two.returncode == none.returncode == 0 and 'fold-in, 2 answers' in two.stdout and 'popular, 0 answers' in none.stdout
    assert two.stdout.splitlines()[-1].startswith('   3. ')

def test_json_of_demo_and_ask(tmp_path):
    facts = json.loads(ok('demo', '-k', 3, '--data', 'world', '--json', cwd=tmp_path))
    assert [*facts] == ['data', 'errors', 'user', 'recommended', 'similar', 'newcomer', 'funnel', 'explained', 'figure']
    assert len(facts['recommended']) == len(facts['explained']) == len(facts['newcomer']['recommended']) == 3 and facts['recommended'][0]['title']
    assert {o['item'] for o in facts['newcomer']['answers']}.isdisjoint(o['item'] for o in facts['newcomer']['recommended'])
    res = subprocess.run([*SHELL, 'ask', '-k', '3', '--json', '--data', 'world'], cwd=tmp_path, text=True, capture_output=True, input='5\n\n2\nq\n', env=env_of())
    said = json.loads(res.stdout)                               # nothing but JSON: the questions are on the error stream
    assert [o['rating'] for o in said['answers']] == [5, 2] and len(said['recommended']) == 3 and 'Rate from 1 to 5' in res.stderr

@pytest.mark.parametrize('make', [lambda: Pipeline({'als': Nearest(ImplicitALS(8, 2)), 'popular': Popular()}), lambda: NextItem(), lambda: Nearest(ImplicitALS(8, 2))])
def test_models_saved_by_hand_open(make, inter, tmp_path):
    model = make().fit(to_implicit(inter))
    model.save(tmp_path/'own')
    user = inter.df.user.iloc[0]
    rows = json.loads(ok('recommend', 'own', '--user', user, '-k', 4, '--json', cwd=tmp_path))
    assert [o['item'] for o in rows] == model.recommend(user, 4)['item'].tolist()
    if isinstance(model, Pipeline): assert [o['title'] for o in rows] == inter.item_info.title[[o['item'] for o in rows]].tolist()
