"A course on recommender systems whose lessons are the library"
from importlib.metadata import PackageNotFoundError, version as _version

try: __version__ = _version('recsys_course')
except PackageNotFoundError: __version__ = '0+unknown'  # run from a folder that was never installed
