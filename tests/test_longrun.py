"What rots unseen: links, spelling, unused code, what a wheel carries, what an import drags in, the size of the repository"
import ast, configparser, io, json, re, shutil, subprocess, sys, tokenize, zipfile
from email.parser import Parser
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

root = Path(__file__).resolve().parent.parent
notebooks = sorted([*root.glob('nbs/*.ipynb'), *root.glob('exercises/*.ipynb')])
pages = [root/o for o in ('README.md', 'CONTRIBUTING.md', 'CHANGELOG.md', 'benchmarks/README.md')]
scripts = sorted(p for d in ('recsys_course', 'tests', 'benchmarks', '.ci', 'docs') for p in root.glob(f'{d}/*.py'))
ours = 'github.com/recsys-course/recsys_course/'

def name(path): return path.relative_to(root).as_posix()
def run(*args, cwd=root, **kw): return subprocess.run(args, cwd=cwd, capture_output=True, text=True, encoding='utf-8', timeout=1800, **kw)

def cells(path, kind): return [''.join(c['source']) for c in json.loads(path.read_text(encoding='utf-8'))['cells'] if c['cell_type'] == kind]
def markdown(path): return '\n\n'.join(cells(path, 'markdown')) if path.suffix == '.ipynb' else path.read_text(encoding='utf-8')
def without_code(text): return re.sub(r'^( *```).*?^\1|``.*?``|`[^`\n]*`', '', text, flags=re.M|re.S)

# ---- Links

def links(text):
    "Targets of links and pictures in markdown"
    return re.findall(r'\]\(\s*<?([^)\s>]+)', without_code(text)) + re.findall(r'(?:href|src)="([^"]+)"', text) + re.findall(r'^\[[^\]]+\]:\s*(\S+)', text, re.M)

def slug(heading): return re.sub(r'[^\w\- ]', '', heading.strip().lower()).replace(' ', '-')

def places(path): return {slug(h) for h in re.findall(r'^#+ (.*)', re.sub(r'^```.*?^```', '', markdown(path), flags=re.M|re.S), re.M)}

def broken(path, link):
    "Why a link leads nowhere, '' if it does; addresses elsewhere are judged by their form"
    parts = urlsplit(link)
    if parts.scheme in ('http', 'https'):
        if not re.fullmatch(r'[\w-]+(\.[\w-]+)+', parts.netloc) or link.endswith(('.', ',')): return 'not an address'
        if m := re.search(ours + r'(?:blob|tree)/main/([^#?]*)', link): return '' if (root/m[1]).exists() else 'not in this repository'
        return ''
    if parts.scheme: return '' if parts.scheme == 'mailto' else 'an odd scheme'
    if parts.path.startswith('/'): return 'absolute'
    target = (path.parent/unquote(parts.path)).resolve() if parts.path else path
    if not target.exists(): return 'no such file'
    if not target.is_relative_to(root): return 'outside the repository'
    if parts.fragment and target.suffix in ('.md', '.ipynb') and parts.fragment.lower() not in places(target): return 'no such heading'
    return ''

@pytest.mark.parametrize('path', notebooks+pages, ids=name)
def test_links_lead_somewhere(path):
    assert not [f'{l}: {why}' for l in links(markdown(path)) if (why := broken(path, l))]

def test_broken_links_would_be_found(tmp_path):
    here = root/'README.md'
    for bad in ('nbs/77_none.ipynb', '#no-such-heading', 'https://nowhere', '/etc/hosts', f'https://{ours}blob/main/none.md', '../outside'): assert broken(here, bad), bad
    assert links('a [b](c.md) `[d](e.md)` [![f](g.svg)](h.md)') == ['c.md', 'g.svg', 'h.md']
    assert not broken(here, 'nbs/01_data.ipynb') and not broken(here, f'https://{ours}blob/main/nbs/01_data.ipynb')

# ---- Spelling and mistakes

def prose(text): return re.sub(r'\$\$.*?\$\$|\$[^$\n]*\$|https?:\S+|\]\([^)]*\)|"[^"\n]{1,12}"', ' ', without_code(text), flags=re.S)

def remarks(source):
    "Comments and docstrings of a script"
    tree = ast.parse(source)
    docs = [ast.get_docstring(n) for n in ast.walk(tree) if isinstance(n, (ast.Module, ast.ClassDef, ast.FunctionDef))]
    comments = [t.string for t in tokenize.generate_tokens(io.StringIO(source).readline) if t.type == tokenize.COMMENT]
    return prose('\n'.join(filter(None, docs+comments)))

def test_spelling(tmp_path):
    "British spelling is fine; words that only look wrong stand in pyproject.toml"
    if not find_spec('codespell_lib'): pytest.skip("needs codespell: pip install -e '.[dev]'")
    def write(path, text): (tmp_path/(name(path).replace('/', '_')+'.txt')).write_text(text, encoding='utf-8')
    for p in notebooks+pages: write(p, prose(markdown(p)))
    for p in scripts: write(p, remarks(p.read_text(encoding='utf-8')))
    (tmp_path/'planted.txt').write_text('They recieve what they like.', encoding='utf-8')
    res = run(sys.executable, '-m', 'codespell_lib', '--toml', str(root/'pyproject.toml'), '.', cwd=tmp_path)
    found = [l.strip().removeprefix('./') for l in res.stdout.splitlines() if '==>' in l]
    assert [l for l in found if 'planted' in l], res.stderr
    assert not [l for l in found if 'planted' not in l]

def test_scripts_have_no_loose_ends():
    if not find_spec('ruff'): pytest.skip("needs ruff: pip install -e '.[dev]'")
    res = run(sys.executable, '-m', 'ruff', 'check', '--no-cache', '--output-format', 'concise', 'tests', 'benchmarks', '.ci', 'docs')
    assert res.returncode == 0, res.stdout+res.stderr

@pytest.mark.parametrize('path', sorted(root.glob('.github/workflows/*.yml')), ids=name)
def test_workflow_is_valid(path):
    if not find_spec('check_jsonschema'): pytest.skip("needs check-jsonschema: pip install -e '.[dev]'")
    res = run(sys.executable, '-m', 'check_jsonschema', '--builtin-schema', 'vendor.github-workflows', str(path))
    assert res.returncode == 0, res.stdout

def test_make_targets_that_prose_names_exist():
    targets = set(re.findall(r'^([a-z]+):', (root/'Makefile').read_text(encoding='utf-8'), re.M))
    named = {t for p in pages+[root/'nbs/index.ipynb'] for t in re.findall(r'(?:^|`)(?:\w+=\S* )?make ([a-z]+)', markdown(p), re.M)}
    assert named and named <= targets

# ---- The package

def settings():
    cfg = configparser.ConfigParser(delimiters='=', interpolation=None)
    cfg.read(root/'settings.ini', encoding='utf-8')
    return cfg['DEFAULT']

@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
    "A wheel built here, without the network, from the source archive, as a release is"
    if not find_spec('build') or not find_spec('setuptools') or int(version('setuptools').split('.')[0]) < 77:
        pytest.skip("needs build and setuptools>=77 in this environment: a wheel is built without fetching them")
    tmp = tmp_path_factory.mktemp('wheel')
    shutil.copytree(root, tmp/'src', ignore=shutil.ignore_patterns('.git', '.venv', '__pycache__', '.ipynb_checkpoints', '_docs', 'build', 'dist', '*.egg-info'))
    res = run(sys.executable, '-m', 'build', '--no-isolation', '--outdir', str(tmp), str(tmp/'src'), cwd=tmp)
    assert res.returncode == 0, res.stdout+res.stderr
    return zipfile.ZipFile(next(tmp.glob('*.whl')))

def test_wheel_holds_the_modules_and_its_own_papers(wheel):
    names = wheel.namelist()
    papers = {n for n in names if '.dist-info/' in n}
    assert set(names) - papers == {'recsys_course/py.typed', *(f'recsys_course/{p.name}' for p in (root/'recsys_course').glob('*.py'))}
    assert {n.split('.dist-info/')[1] for n in papers} <= {'METADATA', 'WHEEL', 'RECORD', 'entry_points.txt', 'top_level.txt', 'licenses/LICENSE'}
    assert sum(i.file_size for i in wheel.infolist()) < 2.5e6
    text = ''.join(wheel.read(n).decode() for n in names if n.endswith('.py'))
    assert str(root) not in text

def test_wheel_says_what_settings_say(wheel):
    cfg = settings()
    meta = Parser().parsestr(wheel.read(next(n for n in wheel.namelist() if n.endswith('METADATA'))).decode())
    assert (meta['Name'], meta['Version'], meta['Requires-Python']) == (cfg['lib_name'], cfg['version'], f">={cfg['min_python']}")
    needs = [o for o in meta.get_all('Requires-Dist') if 'extra ==' not in o]
    def package(o): return re.match(r'[\w-]+', o)[0].lower()
    assert sorted(map(package, needs)) == sorted(map(package, cfg['requirements'].split()))
    assert set(meta.get_all('Provides-Extra')) == {k.removesuffix('_requirements') for k in cfg if k.endswith('_requirements')}
    there = rf'https://(?:raw\.githubusercontent\.com/{cfg["user"]}/{cfg["repo"]}|github\.com/{cfg["user"]}/{cfg["repo"]}/(?:blob|tree))/{cfg["branch"]}/'
    def near(text): return re.sub(there, '', text).strip()
    assert near(meta.get_payload()) == near((root/'README.md').read_text(encoding='utf-8'))
    assert not re.search(r'\]\((?!https?:|#)', without_code(meta.get_payload())), 'a link that leads nowhere from the package index'
    entries = wheel.read(next(n for n in wheel.namelist() if n.endswith('entry_points.txt'))).decode()
    assert 'recsys-course = recsys_course.cli:main' in entries

heavy = ['torch', 'fastai', 'matplotlib', 'sklearn', 'numba', 'faiss', 'IPython', 'kagglehub', 'lightgbm', 'adjustText', 'pooch', 'requests', 'PIL', 'ipywidgets']

@pytest.mark.parametrize('module,allowed', [('data', []), ('simulate', []), ('exercise', []), ('cli', []), ('recommender', ['numba']), ('evaluate', ['numba'])])
def test_import_drags_in_nothing_heavy(module, allowed):
    "A short import is a promise kept by what is left out, which a clock on a busy machine cannot tell"
    res = run(sys.executable, '-c', f'import sys, recsys_course.{module}; print(*(m for m in {heavy} if m in sys.modules))')
    assert res.returncode == 0, res.stderr
    assert set(res.stdout.split()) <= set(allowed)

def test_repository_stays_small():
    if not shutil.which('git') or not (root/'.git').exists(): pytest.skip('needs a git checkout')
    files = [root/f for f in run('git', 'ls-files', '-z', '--cached', '--others', '--exclude-standard').stdout.split('\0') if f]
    sizes = {name(f): f.stat().st_size for f in files if f.is_file()}
    assert sum(sizes.values()) < 35e6, sorted(sizes, key=sizes.get)[-5:]
