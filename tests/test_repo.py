"The repository keeps its own promises: what is generated is in step, and the package installs as described"
import configparser, filecmp, importlib.util, json, re, shutil, subprocess, sys
from pathlib import Path

import pytest

def run(*args, cwd): return subprocess.run(args, cwd=cwd, capture_output=True, text=True, timeout=600)

def nbdev(command, cwd):
    "Run an nbdev command of this environment"
    module, fn = {'export': ('nbdev.doclinks', 'nbdev_export'), 'clean': ('nbdev.clean', 'nbdev_clean')}[command]
    res = run(sys.executable, '-c', f'from {module} import {fn}; {fn}()', cwd=cwd)
    assert res.returncode == 0, res.stderr

def files(folder, pattern): return sorted(p.relative_to(folder) for p in folder.glob(pattern) if '.ipynb_checkpoints' not in p.parts)

def test_library_and_notebooks_are_in_step(repo, tmp_path):
    for d in ('nbs', 'recsys_course'): shutil.copytree(repo/d, tmp_path/d, ignore=shutil.ignore_patterns('__pycache__', '.ipynb_checkpoints'))
    for f in ('pyproject.toml', 'settings.ini'): shutil.copy(repo/f, tmp_path)
    nbdev('export', tmp_path); nbdev('clean', tmp_path)
    for d, pattern in (('recsys_course', '*.py'), ('nbs', '*.ipynb')):
        assert files(tmp_path/d, pattern) == files(repo/d, pattern)
        changed = [str(f) for f in files(repo/d, pattern) if not filecmp.cmp(repo/d/f, tmp_path/d/f, shallow=False)]
        assert not changed, f'run `make export`: {d} {changed} out of step'

def test_readme_is_in_step(repo):
    spec = importlib.util.spec_from_file_location('readme', repo/'.ci/readme.py')
    m = importlib.util.module_from_spec(spec); spec.loader.exec_module(m)
    text, picture = m.readme()
    assert text == (repo/'README.md').read_text(encoding='utf-8') and picture == (repo/'docs/images/readme.png').read_bytes(), 'run `make readme`'

def test_readme_lists_every_lesson_as_it_is(repo):
    "The table is an output of index.ipynb, stored when that was last run"
    rows = {m[0]: m for m in re.findall(r'^\| (\d\d) \| \[(.+?)\]\(nbs/(\w+)\.ipynb\) \| (\d+) \| (.+?) \|', (repo/'README.md').read_text(encoding='utf-8'), re.M)}
    for p in (repo/'nbs').glob('[0-9][0-9]_*.ipynb'):
        first, second = [''.join(c['source']) for c in json.loads(p.read_text(encoding='utf-8'))['cells'] if c['cell_type'] == 'markdown'][:2]
        num, title, name, minutes, builds = rows.pop(p.name[:2])
        assert (title, name, minutes) == (first.splitlines()[0].removeprefix('# '), p.stem, re.search(r'(\d+) minutes', second)[1]), f'run index.ipynb, then `make readme`: {p.name}'
        module = repo/f'recsys_course/{p.stem[3:]}.py'
        if module.is_file() and p.stem != '94_cli': assert re.findall(r'`(\w+)`', builds) == re.findall(r"'(\w+)'", re.search(r'__all__ = \[(.*?)\]', module.read_text(encoding='utf-8'), re.S)[1])
    assert not rows

def test_settings_are_the_one_home(repo):
    pyproject = (repo/'pyproject.toml').read_text()
    assert not re.search(r'^(version|dependencies|requires-python)\s*=', pyproject, re.M)
    import recsys_course
    cfg = configparser.ConfigParser(delimiters='=', interpolation=None); cfg.read(repo/'settings.ini')
    assert recsys_course.__version__ == cfg['DEFAULT']['version']

def test_every_module_is_on_a_floor_above_what_it_imports(repo):
    floors = dict(data=0, simulate=.5, exercise=0, recommender=1, evaluate=2, factorize=2, models=2, neural=2, retrieve=2, implicit=2, hashing=2,
                  learner=3, interpret=3, bootstrap=3, pipeline=4, cli=5)
    for p in (repo/'recsys_course').glob('[a-z]*.py'):
        top = [l for l in p.read_text(encoding='utf-8').splitlines() if re.match(r'(from|import) ', l)]
        for other in re.findall(r'from recsys_course\.(\w+)', '\n'.join(top)): assert floors[other] < floors[p.stem], f'{p.stem} imports {other}'

@pytest.mark.parametrize('nb', sorted(p.name for p in (Path(__file__).parent.parent/'nbs').glob('*.ipynb')))
def test_notebook_shows_its_results_and_no_secrets(repo, nb):
    cells = json.loads((repo/'nbs'/nb).read_text(encoding='utf-8'))['cells']
    outputs = json.dumps([c.get('outputs') for c in cells])
    assert any(c.get('outputs') for c in cells), 'no stored output'
    assert '"output_type": "error"' not in outputs and not re.search(r'(/home/|/root/|/tmp/|[A-Z]:\\\\\\\\Users)', outputs)

def test_results_of_the_readme_stand_in_the_benchmarks(repo):
    text, bench = ((repo/p).read_text(encoding='utf-8') for p in ('README.md', 'benchmarks/README.md'))
    rows = [l.split('|')[2:4] for l in re.search(r'^## Results\n(.*?)^## ', text, re.M | re.S)[1].splitlines() if l.startswith('| ')][1:]
    figures = [f for here, there in rows for f in re.findall(r'(?<![\w`])\d[\d,]*\.?\d*(?!\w)', here + there)]
    assert len(rows) >= 10 and len(figures) >= 25 and '?' not in str(rows)
    measured = set(re.findall(r'\d[\d,]*\.?\d*', bench))
    assert not [f for f in figures if f not in measured and f != '95'], 'run index.ipynb, then `make readme`'
