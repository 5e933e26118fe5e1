import importlib.util, os, tempfile
from pathlib import Path

import pytest

os.environ['RECSYS_COURSE_HOME'] = tempfile.mkdtemp()          # films that a developer keeps change no test
root = Path(__file__).resolve().parent.parent
real = os.environ.get('RECSYS_COURSE_DATA')
real = (root/real).resolve() if real else None

spec = importlib.util.spec_from_file_location('measure', root/'benchmarks/measure.py')      # the benchmarks' own gauge
measure = importlib.util.module_from_spec(spec); spec.loader.exec_module(measure)

def pytest_addoption(parser):
    parser.addoption('--real-data', action='store_true', help='only tests that read MovieLens: the others are the same on any data')

def pytest_collection_modifyitems(config, items):
    if not config.getoption('--real-data'): return
    config.hook.pytest_deselected(items=[i for i in items if 'movielens' not in i.fixturenames])
    items[:] = [i for i in items if 'movielens' in i.fixturenames]

slow = pytest.mark.skipif(not {'CI', 'RECSYS_COURSE_SLOW'} & set(os.environ), reason='takes minutes: set RECSYS_COURSE_SLOW')

@pytest.fixture
def repo(): return root

@pytest.fixture
def movielens():
    "Folder with real MovieLens data"
    if real is None or not (real/'ml-100k/u.data').is_file(): pytest.skip('needs MovieLens: set RECSYS_COURSE_DATA to the folder that holds ml-100k')
    return real

@pytest.fixture
def offline(monkeypatch, tmp_path):
    "No data on this machine, an empty cache, and no network"
    monkeypatch.delenv('RECSYS_COURSE_DATA', raising=False)
    monkeypatch.delenv('RECSYS_COURSE_DATASET', raising=False)
    monkeypatch.setenv('RECSYS_COURSE_CACHE', str(tmp_path/'cache'))
    monkeypatch.setattr('recsys_course.datasets._reachable', lambda host, seconds=3: False)
    return tmp_path

@pytest.fixture
def peak_growth():
    "A function: the result of `f()`, and by how many bytes the process grew at its highest while it ran"
    return lambda f: measure.peak_growth(f)[:2]
