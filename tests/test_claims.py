"What README and site say is shown somewhere (`.ci/claims.py`), and what no other test shows of it"
import importlib.util, re, socket

import pandas as pd, pytest
from conftest import root

spec = importlib.util.spec_from_file_location('claims', root/'.ci/claims.py')
claims = importlib.util.module_from_spec(spec); spec.loader.exec_module(claims)

def lost(found=None, table=None): return [(claim, why) for *_, claim, _, why in claims.listed(found, table) if why]

def one(claim, *refs, kind='said'): return lost({'a.md': [(kind, claim)]}, {'a.md': {claim: list(refs)} if refs else {}, 'lessons': dict.fromkeys(lesson_numbers, ['advice'])})

lesson_numbers = {s[:2] for s in claims.tables()[0].values()}

# ---- The list

def test_each_claim_has_its_evidence():
    "`python .ci/claims.py` shows the list; a claim that is new or was changed needs an entry in .ci/claims.toml"
    assert not lost()
    rows = list(claims.listed())
    assert len(rows) > 150 and {k for *_, refs, _ in rows for k, _ in refs} >= {'test', 'cell', 'benchmark', 'fact', 'target', 'code', 'file'}

def test_few_claims_are_advice_or_said_by_others():
    alone = [c for _, c, refs, _ in claims.listed() if {k for k, _ in refs} <= {'advice', 'elsewhere'}]
    assert len(alone) < 30

def test_what_is_a_claim():
    page = '# Head\n> Quick.\n\nOne is *here*. Two by A. B. Cox, [there](x.md).\n\n- a b\n- c. D `e`.\n\n| h | i |\n|---|---|\n| 1 | 2 |\n\n```sh\nmake demo    # shows\nls\n```\n\n![A map](m.png)\n\n```python\nx = 1\n```\n\n      x\n    0 1\n'
    assert list(claims.claims(page)) == [('command', 'make demo'), ('said', 'make demo: shows'), ('said', 'Example: x = 1'), ('said', 'Picture: A map'), ('said', 'Quick.'),
        ('said', 'One is here.'), ('said', 'Two by A. B. Cox, there.'), ('said', 'a b'), ('said', 'c.'), ('said', 'D `e`.'), ('row', '| 1 | 2 |')]

@pytest.mark.parametrize('ref', ['tests/test_cli.py::test_demo', 'nbs/index.ipynb#08110bfa ~ ItemKNN', 'benchmarks/README.md#(a) ~ BiasedMF', 'Makefile::demo', 'settings.ini', 'fact installs_once', 'advice', 'https://a.b'])
def test_evidence_that_is_there(ref): assert not one('It is good.', ref)

@pytest.mark.parametrize('refs,why', [([], 'no evidence'), (['tests/test_cli.py::test_none'], 'has no test_none'), (['tests/none.py'], 'no tests/none.py'), (['nbs/index.ipynb#none'], 'no cell none'),
    (['nbs/index.ipynb#08110bfa ~ BiasedMF'], 'does not say BiasedMF'), (['benchmarks/README.md#(zz)'], 'no section'), (['Makefile::none'], 'no target none'), (['fact none'], 'no fact none')])
def test_evidence_that_is_not(refs, why): assert why in one('It is good.', *refs)[0][1]

def test_a_figure_must_be_in_the_evidence():
    assert not one('RMSE 0.9061.', 'benchmarks/README.md#(a)') and not one('Python 3.11 or newer.', 'settings.ini ~ min_python = 3.11')
    assert '0.9062' in one('RMSE 0.9062.', 'benchmarks/README.md#(a)')[0][1] and '3.12' in one('Python 3.12 or newer.', 'settings.ini ~ min_python = 3.11')[0][1]
    assert '7' in one('It has 7 parts.', 'settings.ini')[0][1]                   # a whole file shows no figure

def test_a_name_must_be_in_the_code():
    assert not one('`Interactions` and `--site`.', 'settings.ini')
    for gone in ('Interractions', '--sight', '/nowhere'): assert gone in one(f'`{gone}` is there.', 'settings.ini')[0][1]

def test_an_entry_that_nobody_claims_is_seen():
    assert lost({'a.md': []}, {'a.md': {'Gone.': ['advice']}}) == [('Gone.', 'no page claims this any more')]

def test_rows_that_were_changed_by_hand_are_seen():
    taught, measured = claims.tables()
    for row in (next(iter(taught)), measured[0]):
        assert not one(row, kind='row')
        digit = re.search(r'\d(?=\D*$)', row.partition('[solved]')[0])
        assert one(row[:digit.start()] + str((int(digit[0]) + 1) % 10) + row[digit.end():], kind='row')

@pytest.mark.parametrize('line,why', [('make nothing', 'no target'), ('recsys-course fly', 'no command fly'), ('recsys-course train a.csv --wings', 'no option --wings'),
    ('recsys-course train a.csv --model Nobody', 'no model Nobody'), ('python docs/none.py', 'no docs/none.py'), ('python docs/classroom.py slides 79', 'no lesson 79'), ('pip install -e .[none]', 'no extra none')])
def test_commands_that_would_fail_are_seen(line, why): assert why in one(line, kind='command')[0][1]

# ---- What no other test shows

def test_the_example_prints_what_the_readme_shows(repo, capsys):
    code, shown = re.search(r'^```python\n(.*?)^```\n\n(.*?)\n\n(?=\S)', (repo/'README.md').read_text(encoding='utf-8'), re.M | re.S).groups()
    ratings = pd.DataFrame(dict(user=['ann','ann','bob','bob','cyd','cyd','dan'], item=['Alien','Heat','Alien','Babe','Heat','Babe','Alien'], rating=[5,4,5,2,4,1,5]))
    exec(code, dict(ratings=ratings))
    assert capsys.readouterr().out.split() == shown.split()

def test_the_course_runs_without_a_connection(offline, monkeypatch):
    from recsys_course.datasets import load_course_data
    def closed(*args, **kwargs): raise AssertionError('a connection was opened')
    monkeypatch.setattr(socket.socket, 'connect', closed)
    assert load_course_data().name.startswith('Simulated world')
    monkeypatch.setenv('RECSYS_COURSE_DATASET', 'world')
    assert len(load_course_data().df) == 100_000

@pytest.mark.parametrize('user,item,rating,shown', [([1, 1, None], [1, 2, 3], [1, 2, 3], '2   NaN     3       3'), ([1, 1, 2], [1, 1, 3], [1, 2, 3], '1     1     1       2'), ([1, 1, 2], [1, 2, 3], [1, 'x', 3], '1     1     2      x')])
def test_interactions_show_the_rows_they_refuse(user, item, rating, shown):
    from recsys_course.data import Interactions
    with pytest.raises(ValueError) as e: Interactions.from_df(pd.DataFrame(dict(user=user, item=item, rating=rating)))
    assert shown in str(e.value)

def test_every_model_has_what_the_readme_says():
    "Every entry of the list of models is a `Recommender` (`make export` lists no other class)"
    from recsys_course.recommender import Recommender
    assert all(callable(getattr(Recommender, o)) for o in ('fit', 'recommend', 'similar_items', 'save', 'load', 'predict', 'fold_in'))
    assert 'issubclass(cls, Recommender)' in claims.defined('.ci/export.py', 'models')

def test_the_server_believes_a_proxy_of_its_own_machine(monkeypatch):
    uvicorn = pytest.importorskip('uvicorn', reason='needs the extra serve')
    monkeypatch.delenv('FORWARDED_ALLOW_IPS', raising=False)
    usual = uvicorn.Config('app')
    assert usual.proxy_headers and set(usual.forwarded_allow_ips.split(',')) == {'127.0.0.1', '::1'}
    monkeypatch.setenv('FORWARDED_ALLOW_IPS', '10.0.0.7')
    assert uvicorn.Config('app').forwarded_allow_ips == '10.0.0.7'
    assert not re.search(r'proxy_headers|forwarded_allow_ips', claims.defined('recsys_course/serve.py', 'serve'))      # the server leaves both as they are
