"A course on recommender systems whose lessons are the library"
from importlib.machinery import PathFinder as _PathFinder, SourceFileLoader as _SourceFileLoader
from pathlib import Path as _Path
import os as _os, sys as _sys, tempfile as _tempfile, warnings as _warnings

def __getattr__(name):
    "The version, looked up where it is asked for: that takes longer than all else here"
    if name != '__version__': raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    from importlib.metadata import PackageNotFoundError, version
    try: return version('recsys_course')
    except PackageNotFoundError: return '0+unknown'        # run from a folder that was never installed

# ---- Numba keeps compiled code in a folder; where it finds none that it can write, importing it would fail

def _can_write(folder):
    "Can files be made in a folder, or in one that is made for them?"
    try:
        _os.makedirs(folder, exist_ok=True)
        with _tempfile.TemporaryFile(dir=folder): return True
    except OSError: return False

def _user_cache():
    "Where Numba keeps compiled code if the library's own folder cannot be written"
    home = _os.path.expanduser('~')
    if _os.name == 'nt': return _os.path.join(_os.environ.get('LOCALAPPDATA', home), 'numba', 'Cache')
    if _sys.platform == 'darwin': return _os.path.join(home, 'Library', 'Caches', 'numba')
    return _os.path.join(_os.environ.get('XDG_CACHE_HOME') or _os.path.join(home, '.cache'), 'numba')

def _private_folder():
    "A folder of this user among the temporary ones, the same in each process; another one if that is not to be trusted"
    name = _os.path.join(_tempfile.gettempdir(), f'recsys_course-{getattr(_os, "getuid", lambda: "cache")()}')
    try:
        _os.makedirs(name, mode=0o700, exist_ok=True)
        found = _os.lstat(name)
        owned = _os.name == 'nt' or (found.st_uid == _os.getuid() and found.st_mode & 0o170077 == 0o040000)
        if owned and _can_write(name): return name
    except OSError: pass
    return _tempfile.mkdtemp(prefix='recsys_course-')

def _choose_cache():
    "Tell Numba where to keep compiled code, where it would find no place itself"
    chosen = _os.environ.get('NUMBA_CACHE_DIR')
    if _can_write(chosen) if chosen else any(map(_can_write, (_Path(__file__).parent/'__pycache__', _user_cache()))): return
    try: folder = _private_folder()
    except OSError: return _cache_nothing()
    _os.environ['NUMBA_CACHE_DIR'] = folder
    if 'numba' in _sys.modules: _sys.modules['numba'].config.CACHE_DIR = folder

def _cache_nothing():
    "Nothing at all can be written: compile in each process"
    from numba.core.dispatcher import Dispatcher
    Dispatcher.enable_caching = lambda self: None

def _mend_threads():
    "Numba refuses to be imported with NUMBA_NUM_THREADS=0"
    given = _os.environ.get('NUMBA_NUM_THREADS', '1').strip()
    if given.isdigit() and int(given) > 0: return
    del _os.environ['NUMBA_NUM_THREADS']
    _warnings.warn(f'NUMBA_NUM_THREADS={given!r} is no number of threads, and is left out', stacklevel=3)

_mend_threads()
_choose_cache()

# ---- What notebooks say beside each argument belongs into docstrings, for `help` and `?`

class _Explained(_SourceFileLoader):
    "Loads a module of this library, then adds the words of `_docs.py` to its docstrings"
    def exec_module(self, module):
        super().exec_module(module)
        from ._docs import DOCS
        for name, words in DOCS.get(module.__name__.split('.')[-1], {}).items():
            owner, _, attr = name.rpartition('.')
            holder = getattr(module, owner, None) if owner else module
            obj = vars(holder).get(attr) if holder is not None else None
            obj = getattr(obj, '__func__', obj)
            if getattr(obj, '__doc__', None): obj.__doc__ = obj.__doc__.rstrip() + '\n\n' + words

class _Finder:
    "Finds modules of this library as Python does, and has them explained"
    @staticmethod
    def find_spec(name, path=None, target=None):
        if not name.startswith(__name__ + '.') or name.split('.')[-1].startswith('_'): return None
        spec = _PathFinder.find_spec(name, path, target)
        if spec is not None and type(spec.loader) is _SourceFileLoader: spec.loader = _Explained(spec.loader.name, spec.loader.path)
        return spec

_sys.meta_path.insert(0, _Finder)
