"The command line, as a person or a program meets it: results, exit codes, one line for a mistake, nothing written where it should not be"
import io, json, os, re, shutil, signal, subprocess, sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from unittest.mock import patch

import numpy as np, pandas as pd, pytest

from recsys_course import cli as C
from recsys_course.data import Interactions
from recsys_course.implicit import ImplicitALS, to_implicit
from recsys_course.candidates import SimilarToRecent
from recsys_course.pipeline import Pipeline
from recsys_course.retrieve import Nearest
from recsys_course.recommender import Popular
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
    "Output of a command that must succeed, with nothing on the error stream"
    res = by(*args, cwd=cwd, **env)
    assert res.returncode == 0 and res.stderr == '', res.stderr
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

def test_help_answers_at_once_and_says_how(tmp_path):
    start = os.times().children_user
    text = ok('--help', cwd=tmp_path, by=real)
    assert os.times().children_user - start < .5                            # a fifth of that where it was written; importing pandas takes as much
    for name in ('demo', 'train', 'recommend', 'similar', 'evaluate', 'ask', 'lessons'):
        assert name in text
        page = ok(name, '-h', cwd=tmp_path, by=real, COLUMNS='80')
        assert f'recsys-course {name}' in page.partition('Examples:')[2] and max(map(len, page.partition('Examples:')[0].splitlines())) <= 80

def test_nothing_heavy_is_imported_for_help(tmp_path):
    heavy = 'torch', 'fastai', 'pandas', 'numpy', 'scipy', 'sklearn', 'numba', 'matplotlib', 'tqdm'
    res = subprocess.run([sys.executable, '-c', f'import sys, recsys_course.cli; print([m for m in {heavy} if m in sys.modules])'], capture_output=True, text=True)
    assert res.stdout.strip() == '[]'

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
    everybody = json.loads(ok('recommend', 'model', '--everyone', '-k', 2, '--json', cwd=shop))
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
    start = json.loads(ok('train', shop/'ratings.csv', '--model', model.lower(), '--json', cwd=tmp_path))
    assert start['model'] == model and start['ratings'] == 2000 and start['out'] == 'model' and len(list((tmp_path/'model').glob('model-*.safetensors'))) == 1
    rows = json.loads(ok('recommend', 'model', '--user', 7, '-k', 3, '--json', cwd=tmp_path))
    assert [r['rank'] for r in rows] == [1, 2, 3] and 'title' not in rows[0]
    made = type(C.open_model(tmp_path/'model')).__name__
    assert made == (model if isinstance(C.known_models()[model], str) else 'LearnerRecommender')

def test_a_seed_repeats_and_a_setting_matters(shop, tmp_path):
    lists = {}
    for name, args in dict(a=[], b=[], seed=['--seed', 1], size=['--set', 'n_factors=2'], liked=['--liked-from', 4]).items():
        ok('train', shop/'ratings.csv', *args, '--out', name, cwd=tmp_path)
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
    (['recommend', 'model', '--user', '1', '-k', '0'], 'k=0'), (['recommend', 'model'], 'say for whom'), (['recommend', 'model', '--user', '1', '--everyone'], 'say for whom'), (['recommend', 'model', '--rated', '102=9'], 'ratings run from 1 to 5'),
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
    f.write_text(json.dumps(facts | dict(cls=cls, module=module)))
    line = refused('recommend', 'model', '--user', 7, cwd=tmp_path)
    assert cls in line and 'damaged' not in line

def test_a_model_that_takes_no_newcomers_says_so(shop, tmp_path):
    ok('train', shop/'ratings.csv', '--model', 'TwoTower', '--set', 'n_epochs=1', cwd=tmp_path)
    assert 'cannot recommend to newcomers' in refused('recommend', 'model', '--rated', '102=5', cwd=tmp_path)

def test_an_accident_is_no_mistake_of_the_user(shop):
    broken = "import recsys_course.cli as C; C.open_model = lambda f: int('many'); C.main()"
    res = subprocess.run([sys.executable, '-c', broken, 'recommend', 'model', '--user', '1'], cwd=shop, text=True, capture_output=True)
    assert res.returncode == 1 and res.stderr.count('\n') == 1 and 'unexpected ValueError' in res.stderr
    res = subprocess.run([sys.executable, '-c', broken, 'recommend', 'model', '--user', '1'], cwd=shop, text=True, capture_output=True, env=env_of(RECSYS_COURSE_DEBUG='1'))
    assert res.returncode == 1 and 'Traceback' in res.stderr

@pytest.mark.skipif(os.name == 'nt', reason='signals and pipes of POSIX')
def test_a_closed_pipe_and_an_interrupt_are_quiet(shop):
    p = subprocess.Popen([*SHELL, 'recommend', 'model', '--everyone', '-k', '60', '--json'], cwd=shop, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env_of())
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
    assert '1,600 ratings to learn from, 400 to judge by' in text[1] and text[3].split()[:3] == ['model', 'rmse', 'ndcg@5'] and text[5].startswith('Bias') and f"{rows[1]['rmse']['value']:.3f}" in text[5]
    assert max(map(len, text)) <= 80

def test_evaluate_takes_networks_and_says_when_there_are_no_times(shop, tmp_path):
    pd.read_csv(shop/'ratings.csv').drop(columns='timestamp').to_csv(tmp_path/'r.csv', index=False)
    assert "--split 'random'" in refused('evaluate', 'r.csv', cwd=tmp_path)
    rows = json.loads(ok('evaluate', 'r.csv', '--models', 'DotProductBias', '--set', 'DotProductBias.n_epochs=1', '--split', 'random', '--metrics', 'mae', '--json', cwd=tmp_path))
    assert 0 < rows[1]['mae']['value'] < 2

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

@pytest.mark.parametrize('make', [lambda: Pipeline({'als': Nearest(ImplicitALS(8, 2)), 'popular': Popular()}), lambda: SimilarToRecent(), lambda: Nearest(ImplicitALS(8, 2))])
def test_models_saved_by_hand_open(make, inter, tmp_path):
    model = make().fit(to_implicit(inter))
    model.save(tmp_path/'own')
    user = inter.df.user.iloc[0]
    rows = json.loads(ok('recommend', 'own', '--user', user, '-k', 4, '--json', cwd=tmp_path))
    assert [o['item'] for o in rows] == model.recommend(user, 4)['item'].tolist()
    if isinstance(model, Pipeline): assert [o['title'] for o in rows] == inter.item_info.title[[o['item'] for o in rows]].tolist()
