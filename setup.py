"Reads `settings.ini`, the one home of the version, the requirements and the extras"
import re
from configparser import ConfigParser
from pathlib import Path

from setuptools import setup, find_packages

ini = ConfigParser(delimiters='=', interpolation=None)
ini.read(Path(__file__).with_name('settings.ini'), encoding='utf-8')
cfg = ini['DEFAULT']
extras = {k.removesuffix('_requirements'): v.split() for k, v in cfg.items() if k.endswith('_requirements')}
place = f"{cfg['user']}/{cfg['repo']}"
url = f'https://github.com/{place}'
readme = Path(__file__).with_name('README.md').read_text(encoding='utf-8')
readme = re.sub(r'(!\[.*?\]\()(?!http)', rf'\1https://raw.githubusercontent.com/{place}/{cfg["branch"]}/', readme)    # seen from PyPI, too
readme = re.sub(r'\]\((?!http|#)', f']({url}/blob/{cfg["branch"]}/', readme)

setup(
    version=cfg['version'], description=cfg['description'], keywords=[k.strip() for k in cfg['keywords'].split(',')],
    author=cfg['author'], license=cfg['license'], license_files=['LICENSE'], url=url,
    long_description=readme,
    long_description_content_type='text/markdown',
    classifiers=[f"Development Status :: {cfg['status']}", 'Intended Audience :: Education', 'Intended Audience :: Developers',
                 'Programming Language :: Python :: 3', 'Topic :: Scientific/Engineering :: Artificial Intelligence'],
    packages=find_packages(include=['recsys_course', 'recsys_course.*']), package_data={'recsys_course': ['py.typed']},
    python_requires=f">={cfg['min_python']}", install_requires=cfg['requirements'].split(), extras_require=extras,
    entry_points={'console_scripts': [cfg['console_scripts']], 'nbdev': [f"{cfg['lib_name']}={cfg['lib_name']}._modidx:d"]},
    zip_safe=False)
