"The repository keeps its own promises: what is generated is in step, and the package installs as described"
import configparser, filecmp, json, re, shutil, subprocess, sys
from pathlib import Path

import pytest

def run(*args, cwd): return subprocess.run(args, cwd=cwd, capture_output=True, text=True, timeout=600)

def files(folder, pattern): return sorted(p.relative_to(folder) for p in folder.glob(pattern) if '.ipynb_checkpoints' not in p.parts)

made = {'nbs': '*.ipynb', 'recsys_course': '*.py', 'exercises': '*.ipynb', '.': 'README.md'}

@pytest.fixture(scope='module')
def exported(tmp_path_factory):
    "A copy of the repository in which everything was made anew from the notebooks, as `make export` does"
    from conftest import root
    tmp = tmp_path_factory.mktemp('export')/'repo'
    shutil.copytree(root, tmp, ignore=shutil.ignore_patterns('.git', '.venv', '__pycache__', '.ipynb_checkpoints', '.pytest_cache', '_docs', 'build', 'dist', '*.egg-info'))
    for p in tmp.glob('exercises/*.ipynb'): p.unlink()
    res = run(sys.executable, '.ci/export.py', cwd=tmp)
    assert res.returncode == 0, res.stdout + res.stderr
    return tmp

@pytest.mark.parametrize('folder', made)
def test_what_is_made_from_the_notebooks_is_in_step(repo, exported, folder):
    pattern = made[folder]
    assert files(exported/folder, pattern) == files(repo/folder, pattern), f'run `make export`: files of {folder}'
    changed = [str(f) for f in files(repo/folder, pattern) if not filecmp.cmp(repo/folder/f, exported/folder/f, shallow=False)]
    assert not changed, f'run `make export`: {folder} {changed} out of step'

def test_a_new_lesson_touches_its_notebook_alone(exported):
    "Everything else follows by `make export`: the library's lists, the command line, learner's copy, README, links of its neighbours"
    nb = json.loads((exported/'nbs/40_candidates.ipynb').read_text(encoding='utf-8'))
    def cell(kind, text, **more): return dict(cell_type=kind, id=f'new{kind[:2]}{len(text)}', metadata={}, source=text.splitlines(True), **more)
    def code(text): return cell('code', text, execution_count=None, outputs=[])
    nb['cells'] = [cell('markdown', '# What the neighbours say\n> Know what everybody says.'), cell('markdown', 'What do they say? This takes about 5 minutes.'),
                   code('#| default_exp throwaway'), code('#| export\nfrom recsys_course.recommender import Popular\nclass Loudest(Popular):\n    "As `Popular`"'),
                   code('def one():\n    ### BEGIN SOLUTION\n    return 1\n    ### END SOLUTION'), cell('markdown', 'That is all.')]
    (exported/'nbs/45_throwaway.ipynb').write_text(json.dumps(nb), encoding='utf-8')
    res = run(sys.executable, '.ci/export.py', cwd=exported)
    assert res.returncode == 0, res.stdout + res.stderr
    def text(path): return (exported/path).read_text(encoding='utf-8')
    assert "'Loudest': 'throwaway'" in text('recsys_course/_course.py') and '45_throwaway' in text('recsys_course/_course.py')
    assert 'What the neighbours say' in text('README.md') and 'know what everybody says' in text('README.md')
    assert '45_throwaway.ipynb' in text('nbs/44_pipeline.ipynb') and (exported/'exercises/45_throwaway.ipynb').is_file()
    listed = run(sys.executable, '-c', 'from recsys_course.cli import main; main()', 'lessons', cwd=exported)
    assert '45_throwaway' in listed.stdout, listed.stderr

def test_settings_are_the_one_home(repo):
    pyproject = (repo/'pyproject.toml').read_text()
    assert not re.search(r'^(version|dependencies|requires-python)\s*=', pyproject, re.M)
    import recsys_course
    cfg = configparser.ConfigParser(delimiters='=', interpolation=None); cfg.read(repo/'settings.ini')
    assert recsys_course.__version__ == cfg['DEFAULT']['version']

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
    assert not [f for f in figures if f not in measured and f != '95'], 'run `make export`'
