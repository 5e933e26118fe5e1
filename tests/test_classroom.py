"Lessons for nbgrader and as slides, as `docs/classroom.py` writes them for lecturers"
import importlib.util,json

import pytest
from test_exercises import lessons,root

spec = importlib.util.spec_from_file_location('classroom', root/'docs/classroom.py')
classroom = importlib.util.module_from_spec(spec); spec.loader.exec_module(classroom)
taught = pytest.mark.parametrize('path', [p for p in lessons if p.stem[:2] < '70'], ids=lambda p: p.stem)

@taught
def test_a_point_for_each_exercise(path):
    cells = classroom.classwork(path)['cells']
    about = [c['metadata']['nbgrader'] for c in cells if 'nbgrader' in c['metadata']]
    assert sum(o.get('points', 0) for o in about) == len(lessons[path])
    assert len({o['grade_id'] for o in about}) == len(about) and all(o['locked'] == o['grade'] for o in about)
    for c in cells:
        src, o = classroom.source(c), c['metadata'].get('nbgrader', {})
        assert ('### BEGIN SOLUTION' in src) == bool(o.get('solution')), src       # nbgrader cuts these, and only these
        if o.get('grade'): assert src.count('assert ') >= o['points']

@pytest.mark.parametrize('check', ['grade(f, g, [()])', 'ok = grade(f, g,\n           [()])\nif ok: print(1)', 'if grade(f, g, [()]): print(1)', 'if grade(f, g, [()]):\n    x = 1\n    y = 2\nz = 3'])
@pytest.mark.parametrize('right', [True, False])
def test_a_check_that_fails_raises(check, right):
    src, n = classroom.asserted(f'def helper(): return 1\n{check}\nquiz = 1')
    names = dict(f=1, g=2, grade=lambda *a, **k: right)
    assert n == 1
    if right: exec(src, names)
    else:
        with pytest.raises(AssertionError): exec(src, names)

@taught
def test_slides_begin_at_headings_and_leave_plumbing_out(path):
    cells = classroom.deck(path)['cells']
    kinds = [c['metadata']['slideshow']['slide_type'] for c in cells]
    headings = [c['cell_type'] == 'markdown' and classroom.source(c).startswith('#') for c in cells]
    assert kinds[0] == 'slide' and kinds.count('slide') == sum(headings) > 3
    raw = json.loads(path.read_text(encoding='utf-8'))['cells']
    assert len(raw) == len(cells)
    for c, k in zip(raw, kinds): assert (k == 'skip') == (not classroom.source(c).strip() or c['cell_type'] == 'code' and any(l[:2] == '#|' and l[2:].strip().startswith(('hide', 'export', 'default_exp')) for l in classroom.source(c).split('\n')))

def test_written_files_and_unknown_numbers(tmp_path, capsys):
    classroom.main(['nbgrader', '03', '--to', str(tmp_path)])
    made = tmp_path/'source/03_recommender/03_recommender.ipynb'
    assert made.is_file() and str(made) in capsys.readouterr().out
    classroom.main(['slides', '40', '--to', str(tmp_path)])
    html = (tmp_path/'40_candidates.slides.html').read_text(encoding='utf-8')
    assert 'reveal' in html and html.count('<section>') > 20 and '#| export' not in html
    with pytest.raises(SystemExit, match='no lesson 77'): classroom.main(['slides', '77'])
