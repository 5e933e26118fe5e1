"""Every exercise of every lesson: the solution passes, the blank fails, each foreseen mistake gets its own hint.

Each lesson runs once more here, which `nbdev-test` has run with its solutions, so these tests are for CI and for
those who ask. It runs in a process of its own: first the learner's copy from top to bottom, then, in the same
namespace, the solutions and their checks. Run as a script with a lesson's path, this file does that and prints JSON."""
import ast,io,json,os,re,subprocess,sys,tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np, pandas as pd, pytest
from conftest import slow
from recsys_course import exercise as ex
from recsys_course.exercise import NotYet,blank,grade,quiz

root = Path(__file__).resolve().parents[1]
marked_rx = re.compile(r'^[ \t]*### BEGIN SOLUTION', re.M)


def sources(path):
    "Sources of the code cells of a notebook that are run"
    cells = json.loads(path.read_text(encoding='utf-8'))['cells']
    codes = [''.join(c['source']) for c in cells if c['cell_type'] == 'code']
    return [c for c in codes if not re.search(r'^#\| *eval: *false', c, re.M)]

def solved_in(src):
    "Names of the innermost functions in `src` that hold a solution"
    if not marked_rx.search(src): return []
    marks = [i for i,l in enumerate(src.split('\n'), 1) if marked_rx.match(l)]
    fns = [n for n in ast.walk(ast.parse(src)) if isinstance(n, ast.FunctionDef)]
    holders = [[f for f in fns if f.lineno <= m <= f.end_lineno] for m in marks]
    return list(dict.fromkeys(max(h, key=lambda f: f.lineno).name for h in holders))

lessons = {p:[n for src in sources(p) for n in solved_in(src)] for p in sorted((root/'nbs').glob('*.ipynb'))}
lessons = {p:names for p,names in lessons.items() if names}
each_lesson = pytest.mark.parametrize('lesson', lessons, ids=lambda p: p.stem)
each_exercise = pytest.mark.parametrize('lesson,name', [(p,n) for p,ns in lessons.items() for n in ns], ids=lambda o: getattr(o, 'stem', o))


# --- one lesson, in a process of its own

class Runner:
    "A notebook's namespace, cells run in order, and what they printed"
    def __init__(self):
        from execnb.shell import CaptureShell
        self.shell,self.checks,self.busy = CaptureShell(mpl_format=None),{},False
        self.shell.enable_matplotlib('inline')

    def cell(self, src):
        "Run a cell; gives what it printed; raises what it raised"
        outs = self.shell.run(src, stdout=True)
        if self.shell.exc:
            self.shell.exc.add_note(f'in this cell:\n{src}')
            raise self.shell.exc
        return ''.join(''.join(o.get('text', [])) for o in outs if o['output_type'] == 'stream')

    def recorded(self, fn, oracle, cases, hints=None, **kwargs):
        "In the place of `grade`: note at once (later cells may reuse the names) how the solution and the mistakes fare"
        args = fn,oracle,cases,hints,kwargs
        if self.busy: return grade(fn, oracle, cases, hints, **kwargs)      # an oracle may call `grade` itself
        self.busy = True
        self.checks[ex._name(fn)] = dict(solution=verdict(args), mistakes=mistakes(args))
        self.busy = False
        return ': correct in' in self.checks[ex._name(fn)]['solution']

def advice_of(wrong, args):
    "The hint that a foreseen mistake gets ('' if it is accepted)"
    _,oracle,cases,hints,kwargs = args
    try: grade(wrong, oracle, cases, hints, **kwargs)
    except NotYet as e: return e.hint
    return ''

def mistakes(args):
    "(name, its advice, the advice it gets) for every wrong function among the hints of a check"
    pairs = ex._pairs(args[3])
    return [(ex._name(w), advice, advice_of(w, args)) for w,advice in pairs if not ex._is_predicate(w)]

def verdict(args):
    "Did the solution pass? Otherwise why not"
    fn,oracle,cases,hints,kwargs = args
    try: return repr(grade(fn, oracle, cases, hints, **kwargs))
    except Exception as e: return f'{type(e).__name__}: {e}'

def examine(lesson):
    "Run a lesson's copy, then its solutions; gives what was printed and, for each exercise, how it went"
    run,tmp = Runner(),Path(tempfile.mkdtemp())
    copy, = blank(lesson, tmp/lesson.name)
    os.chdir(tmp)
    printed = '\n'.join(run.cell(src) for src in sources(copy))
    srcs = sources(lesson)
    start = next(i for i,s in enumerate(srcs) if marked_rx.search(s))
    run.shell.user_ns['grade'] = ex.grade = run.recorded
    for src in srcs[start:]:
        if marked_rx.search(src) or ex._check_rx.search(src): run.cell(src)
    return dict(printed=printed, checks=run.checks)

def process(lesson):
    "A fresh process that has run `examine`, on the simulated world"
    env = {**os.environ, 'RECSYS_COURSE_DATASET':'world', 'PYTHONPATH':str(root), 'MPLBACKEND':'agg', 'PYTHONIOENCODING':'utf-8'}
    return subprocess.run([sys.executable, __file__, str(lesson)], capture_output=True, encoding='utf-8', env=env, timeout=3600)

@pytest.fixture(scope='session')
def runs(request):
    "The processes of the lessons that the chosen tests ask for, two at a time"
    params = [getattr(i, 'callspec', None) for i in request.session.items]
    wanted = dict.fromkeys(c.params['lesson'] for c in params if c and 'lesson' in c.params)
    with ThreadPoolExecutor(2) as pool: yield {l:pool.submit(process, l) for l in wanted}

def examined(done):
    "What `examine` found in a process that has ended"
    assert done.returncode == 0, f'{Path(done.args[-1]).name} did not run:\n{done.stderr[-3000:]}'
    return json.loads(done.stdout.splitlines()[-1])


@slow
@each_exercise
def test_blank_says_not_done_yet(runs, lesson, name):
    assert f'{name}: not done yet' in examined(runs[lesson].result())['printed'].splitlines()

@slow
@each_exercise
def test_solution_passes(runs, lesson, name):
    checks = examined(runs[lesson].result())['checks']
    assert name in checks, f'no check cell calls grade({name}, ...)'
    assert re.fullmatch(rf'{name}: correct in \d+ cases?', checks[name]['solution'])

@slow
@each_exercise
def test_mistakes_get_their_own_hint(runs, lesson, name):
    found = examined(runs[lesson].result())['checks'][name]['mistakes']
    assert found, f'no hint of {name} is a wrong function: nothing shows that advice reaches anybody'
    for wrong,advice,got in found: assert got == advice, f'the mistake {wrong} of {name} gets {got!r}, not its own hint'

@each_lesson
def test_every_lesson_has_a_quiz(lesson):
    assert any(re.search(r'^(\w+ *= *)?quiz\(', src, re.M) for src in sources(lesson))

@each_lesson
def test_names_of_exercises_are_unique(lesson):
    assert len(set(lessons[lesson])) == len(lessons[lesson])

def test_copies_are_in_step(tmp_path):
    made = {p.name:p.read_bytes() for p in blank(root/'nbs', tmp_path)}
    kept = {p.name:p.read_bytes() for p in (root/'exercises').glob('*.ipynb')}
    assert sorted(made) == sorted(kept), 'run `make export`'
    stale = [n for n in made if made[n].replace(b'\r\n', b'\n') != kept[n].replace(b'\r\n', b'\n')]
    assert not stale, f'{stale} differ from their lessons: run `make export`'


# --- grade

def refused(fn, oracle, cases, hints=None, **kwargs):
    with pytest.raises(NotYet) as e: grade(fn, oracle, cases, hints, **kwargs)
    return e.value

class Box:
    "An object without an equality of its own"
    def __init__(self, x): self.x = x

good = {
    'int for float':      (2, 2.), 'list for array': ([1,2], np.array([1.,2.])), 'array for tuple': (np.arange(2), (0,1)),
    'narrow floats':      (np.float32([1,2]), np.array([1.,2.])), 'NaN': ([np.nan], np.array([np.nan])), 'infinity': (np.inf, np.inf),
    'relative tolerance': (1e9+1, 1e9), 'absolute tolerance': (1e-9, 0), 'text': ('a', 'a'), 'texts': (['a','b'], np.array(['a','b'])),
    'nothing':            (None, None), 'empty': ([], np.array([])), 'sets': ({1,2}, frozenset([2,1])),
    'nested':             (dict(a=[1,{'b':np.ones(2)}]), dict(a=(1,{'b':[1,1]}))), 'objects': (Box(np.ones(2)), Box(np.ones(2))),
    'dates':              (pd.DatetimeIndex(['2020','NaT']), pd.DatetimeIndex(['2020','NaT'])),
    'frames':             (pd.DataFrame(dict(a=[1,np.nan], b=['x',None])), pd.DataFrame(dict(a=[1,np.nan], b=['x',None])))}

@pytest.mark.parametrize('got,want', good.values(), ids=good)
def test_accepts(got, want): assert grade(lambda: got, lambda: want, [()])

bad = {
    'value':       (1., 1.1, 'wrong value'), 'shape': (np.ones(3), np.ones((3,1)), 'expected ndarray of shape (3, 1), got ndarray of shape (3,)'),
    'one value':   ([1.,2.,4.], np.array([1.,2,3]), '1 of 3 values are wrong, the first at (2,)'), 'scalar': (np.ones(2), 1., 'expected a number'),
    'dtype':       (['1','2'], np.array([1,2]), 'expected numbers, got text'), 'truth': (1, True, 'expected True or False, got numbers'),
    'no return':   (None, 1, 'is a `return` missing?'), 'too much': (1, None, 'expected None'), 'NaN': (np.nan, 1., 'wrong value'),
    'length':      ([1,2], [1,2,3], 'expected length 3, got length 2'), 'set for list': ({1}, [1], 'expected list'), 'ragged': ([[1],[1,2]], np.ones((2,2)), 'expected ndarray'),
    'keys':        (dict(a=1), dict(b=1), "keys missing: {'b'}"), 'a key': (dict(a=1), dict(a=2), "at key 'a'"), 'members': ({1}, {2}, 'members missing'),
    'array for frame': (np.ones((2,1)), pd.DataFrame(dict(a=[1,1])), 'expected DataFrame'), 'column': (pd.DataFrame(dict(a=[1,2])), pd.DataFrame(dict(a=[1,3])), "column 'a'"),
    'index':       (pd.Series([1,2]), pd.Series([1,2], index=['x','y']), 'index'), 'objects': (Box(1), Box(2), 'x: wrong value'), 'text': ('a', 'b', 'wrong value')}

@pytest.mark.parametrize('got,want,why', bad.values(), ids=bad)
def test_refuses(got, want, why): assert why in str(refused(lambda _: got, lambda _: want, [0]))

def test_tensors():
    torch = pytest.importorskip('torch')
    w = torch.ones(2, requires_grad=True)
    assert grade(lambda: torch.ones(2), lambda: w*1, [()])
    assert grade(lambda: torch.ones(2), lambda: np.ones(2), [()])
    assert 'expected a torch tensor' in str(refused(lambda _: [1,1], lambda _: w*1, [0]))
    assert 'wrong' in str(refused(lambda x: x+1, lambda x: x, [torch.zeros(2)]))

def test_never_imports_torch():
    code = "import sys; from recsys_course.exercise import grade; grade(abs, abs, [1, -1]); assert not {'torch','IPython','matplotlib'} & set(sys.modules)"
    subprocess.run([sys.executable, '-c', code], check=True, env={**os.environ, 'PYTHONPATH':str(root)})

@pytest.mark.parametrize('got,want', [('B', 'b'), (' Heat ', 'Heat'), (.19, .1935), (12.3, 12.345), (-.67, -2/3)])
def test_predictions_may_be_rounded(got, want):
    assert grade(lambda: got, lambda: want, [()])
    assert refused(lambda _: got, lambda _: want, [0])               # not what is computed from inputs

@pytest.mark.parametrize('got,want', [(.2, .1935), (0., .0004), (.25, .26), (3, 4), (3, 3.4), ('a', 'b'), ('a', 1.), (float('nan'), .5), ({1}, {1,2,3}), ([1,2], [1,2,3])])
def test_a_wrong_prediction_hears_nothing_about_the_right_one(got, want):
    text = str(refused(lambda: got, lambda: want, [()]))
    assert 'length' not in text and 'missing' not in text and repr(want) not in text

def test_chance_is_no_hint():
    hints = {lambda x: -x: 'sign'}
    assert refused(lambda x: -x if x < 2 else 99, lambda x: x, [1,2,3,4], hints).hint == ''
    assert 'perhaps: sign' in str(refused(lambda x: -x if x < 4 else 99, lambda x: x, [1,2,3,4], hints))

def test_judges_name_the_rule():
    says = lambda got, x: got == x or f'{got} is not {x}'
    assert 'problem:  9 is not 1' in str(refused(lambda x: 9, lambda x: x, [1], judge=says))
    assert grade(lambda x: x, lambda x: x, [1], judge=says)

def test_a_notebook_goes_on_after_a_wrong_answer(monkeypatch, capsys):
    monkeypatch.setattr(ex, '_in_notebook', lambda: True)
    assert not grade(lambda x: {}[x], lambda x: x, [1])
    said = capsys.readouterr().out
    assert 'is not right yet' in said and 'KeyError' in said

def test_same_cases_every_time():
    seen = [[], []]
    for s in seen: grade(lambda x: s.append(x) or x, lambda x: x, lambda rng: (rng.random(),))
    assert seen[0] == seen[1] and len(set(seen[0])) == 20

def test_changed_inputs():
    x = np.array([3,1,2])
    def scribble(a): a.sort(); return a
    e = refused(scribble, np.sort, [x], {lambda a: a: 'not sorted at all', scribble: 'sort a copy'})
    assert 'it changed its inputs (at argument 0' in str(e) and e.hint == 'sort a copy'
    assert grade(scribble, scribble, [x])                       # the oracle does so too: it is the task
    assert refused(np.sort, scribble, [x])
    assert x.tolist() == [3,1,2]
    assert 'changed its inputs' in str(refused(lambda d: d.setdefault('b', 1), lambda d: 1, [dict(a=1)]))
    df = pd.DataFrame(dict(a=[1]))
    assert 'changed its inputs' in str(refused(lambda d: d.insert(0, 'b', 1) or 1, lambda d: 1, [df]))
    assert list(df) == ['a']

def test_generators_may_be_used(): assert grade(lambda rng: rng.random(), lambda rng: rng.random(), lambda rng: (rng,))

def test_errors_are_named_and_kept():
    e = refused(lambda x: {}[x], abs, [1])
    assert 'it raised KeyError' in str(e) and isinstance(e.__cause__, KeyError)
    text = '\n'.join(e._render_traceback_())
    assert 'Traceback' in text and 'in <lambda>' in text and 'recsys_course' not in text
    with pytest.raises(KeyboardInterrupt): grade(lambda x: (_ for _ in ()).throw(KeyboardInterrupt), abs, [1])

def test_blank_in_a_later_case():
    def half(x):
        if x: raise NotImplementedError
        return 0
    assert not grade(half, abs, [0,1])

def test_best_hint_wins():
    hints = {lambda x: 0: 'zero', lambda x: -x: 'sign', lambda got: got is None: 'return'}
    assert refused(lambda x: -x, lambda x: x, [0,1,2], hints).hint == 'sign'
    assert refused(lambda x: None, lambda x: x, [1], hints).hint == 'return'
    assert refused(lambda x: 7, lambda x: x, [1], hints).hint == ''

def test_predicates_see_what_they_name():
    assert refused(lambda x: 5, abs, [3], {lambda args, got, want: (args, got, want) == ((3,), 5, 3): 'all three'}).hint == 'all three'
    assert refused(lambda x: 'a', abs, [3], {lambda got: got > 1: 'never'}).hint == ''

def test_message_is_short():
    text = str(refused(lambda x: x+1, lambda x: x, [np.zeros((300,300))]))
    assert len(text) < 1500 and 'Problem' not in text and '90000 of 90000' in text
    assert 'np.float64' not in str(refused(lambda x: [np.float64(1.5)], lambda x: [2.5], [1]))
    assert '1234' not in str(refused(lambda: 1, lambda: 1234, [()]))        # the answer of a task without inputs stays hidden

@pytest.mark.parametrize('args,error', [
    ((3, abs, [1]), TypeError), ((abs, abs, []), ValueError), ((abs, abs, [1], {'x':'y'}), TypeError),
    ((abs, abs, [1], {abs:''}), ValueError), ((abs, lambda x: 1/0, [1]), ZeroDivisionError)])
def test_mistakes_in_lessons(args, error):
    with pytest.raises(error): grade(*args)

def test_judge():
    assert grade(lambda x: -x, lambda x: x, [1,2], judge=lambda got, x: abs(got) == x)
    assert 'does not do what the task asks' in str(refused(lambda x: 9, lambda x: x, [1], judge=lambda got, x: abs(got) == x))
    assert 'it raised' in str(refused(lambda x: 1/0, lambda x: x, [1], judge=lambda got, x: True))


# --- quiz

def test_quiz():
    q = quiz('Is `1 < 2`?', {'Yes':'One is less.', 'No':'Count again.'}, right='a')
    assert q('a') and not q('b')
    assert 'Count again' in repr(q('b')) and 'Count' not in repr(q)
    page = q._repr_html_()
    assert '<code>1 &lt; 2</code>' in page and page.count('<details ') == page.count('</details>') == 2

def test_quiz_with_buttons():
    pytest.importorskip('ipywidgets')
    ask,pick,out = quiz('Why?', {'x':'no', 'y':'yes'}, right='b')().children
    pick.value = 'a'
    assert 'a is not it. no' in out.value
    pick.value = 'b'
    assert 'b is right. yes' in out.value

def test_quiz_without_widgets(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, 'ipywidgets', None)
    assert quiz('Why?', {'x':'no', 'y':'yes'}, right='b')() is None
    assert 'calling the quiz with a letter' in capsys.readouterr().out

@pytest.mark.parametrize('choices,right', [
    ({'x':'no', 'y':'yes'}, 'c'), ({'x':'no', 'y':'yes'}, 'ab'), ({'x':'no', 'y':'yes'}, ''), ({'x':'no', 'y':' '}, 'a'),
    ({'x':'no', 'y':None}, 'a'), ({'x':'no'}, 'a'), ([('x','no'),('x','yes')], 'a'), ({}, 'a')])
def test_bad_quizzes(choices, right):
    with pytest.raises(ValueError): quiz('Why?', choices, right)


# --- blank

begin,end = '### BEGIN SOLUTION','### END SOLUTION'
task = f'def f(x):\n    "Doc"\n    {begin}\n    return x\n    {end}\n'

def write(path, *codes, title='# T'):
    "A notebook with a title and code cells, each with an output"
    cells = [dict(cell_type='markdown', id='t', metadata={}, source=[title])]
    out = dict(output_type='stream', name='stdout', text=['é\n'])
    cells += [dict(cell_type='code', id=f'c{i}', metadata={}, source=c, outputs=[out], execution_count=3) for i,c in enumerate(codes)]
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(json.dumps(dict(cells=cells, metadata={}, nbformat=4, nbformat_minor=5)), encoding='utf-8')
    return path

def cells_of(path): return [dict(c, source=''.join(c['source'])) for c in json.loads(path.read_text(encoding='utf-8'))['cells']]

def test_blank_copy_is_a_valid_notebook(tmp_path):
    nbformat = pytest.importorskip('nbformat')
    copy, = blank(write(tmp_path/'a.ipynb', '#| hide\nimport os', task, 'grade(f, abs, [1])'), tmp_path/'out'/'a.ipynb')
    nbformat.validate(nbformat.read(copy, 4))
    text = copy.read_bytes()
    assert text.endswith(b'}\n') and b'\r' not in text and 'é'.encode() in text and b'return x' not in text
    assert [len(c['outputs']) for c in cells_of(copy)[1:]] == [0,1,0,0]         # what comes before the first exercise stays
    assert [c['source'] for c in cells_of(copy)][2:] == ['#@title Checks that guard the lesson: nothing to see\nimport os', 'def f(x):\n    "Doc"\n    raise NotImplementedError\n', '#@title Check your answer: f\ngrade(f, abs, [1])']

def test_install_cell_is_not_doubled(tmp_path):
    install = "#| hide\nfrom importlib.util import find_spec\nif find_spec('recsys_course') is None:\n    %pip install -q recsys_course"
    copy, = blank(write(tmp_path/'a.ipynb', 'x = 1', install, task), tmp_path/'out'/'a.ipynb')
    found = [i for i,c in enumerate(cells_of(copy)) if 'find_spec(' in c['source']]
    assert found == [1]

def test_badge_follows_settings(tmp_path):
    write(tmp_path/'nbs'/'a.ipynb', task)
    (tmp_path/'settings.ini').write_text('[DEFAULT]\nuser = me\nrepo = mine\nbranch = dev\n')
    copy, = blank(tmp_path/'nbs', tmp_path/'exercises')
    assert 'colab.research.google.com/github/me/mine/blob/dev/exercises/a.ipynb' in cells_of(copy)[0]['source']

def test_eval_directive_stays(tmp_path):
    copy, = blank(write(tmp_path/'a.ipynb', '#| eval: false\n#| export\nx = 1', task), tmp_path/'b.ipynb')
    assert cells_of(copy)[2]['source'] == '#| eval: false\nx = 1'

@pytest.mark.parametrize('src', [task.replace(end, ''), task.replace(begin, ''), task+task.replace(end, ''), f'{begin}\nx = 1\n{end}',
                                 task.replace('return x', begin)])
def test_bad_markers_name_the_cell(tmp_path, src):
    with pytest.raises(ValueError, match='a, cell 2'): blank(write(tmp_path/'a.ipynb', 'x = 1', src), tmp_path/'b.ipynb')
    assert not (tmp_path/'b.ipynb').exists()

def test_loose_spelling_of_markers(tmp_path):
    copy, = blank(write(tmp_path/'a.ipynb', task.replace('### ', '# ').replace('BEGIN', 'begin')), tmp_path/'b.ipynb')
    assert 'return x' not in copy.read_text(encoding='utf-8')

def test_never_overwrites_the_lesson(tmp_path):
    nb = write(tmp_path/'a.ipynb', task)
    with pytest.raises(ValueError, match='overwrite'): blank(tmp_path, tmp_path)
    assert 'return x' in nb.read_text(encoding='utf-8')


# --- this file, on a lesson that is not as it should be

def test_the_tests_notice(tmp_path):
    check = "def wrong(x): return -x\ndef stale(x): return x\nfrom recsys_course.exercise import grade\ngrade(f, lambda x: x, [1], {wrong:'sign', stale:'never'})"
    found = examined(process(write(tmp_path/'a.ipynb', task, check)))
    assert 'f: not done yet' in found['printed']
    assert found['checks']['f']['mistakes'] == [['wrong','sign','sign'], ['stale','never','']]
    with pytest.raises(AssertionError, match='did not run'): examined(process(write(tmp_path/'b.ipynb', task, 'f(1)')))
    assert solved_in(task) == ['f']


if __name__ == '__main__':
    keep,sys.stdout = sys.stdout,io.StringIO()
    res = examine(Path(sys.argv[1]).resolve())
    print(json.dumps(res), file=keep)
