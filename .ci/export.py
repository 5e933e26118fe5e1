"""Bring everything that is made from the notebooks in step with them: library, lists of lessons and models, learner's copies, README.

    python .ci/export.py          # in the repository's root; `make export` calls it
"""
import inspect, json, os, re, subprocess, sys
from pathlib import Path

root = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(root), str(root/'.ci')]

PARTS = {0: 'First steps', 1: 'Stars', 2: 'Clicks', 3: 'More than ids', 4: 'A page', 5: 'The world answers', 6: 'Size', 9: 'Workshop'}

# ---- Notebooks

def notebooks(): return sorted((root/'nbs').glob('[0-9][0-9]_*.ipynb'))
def read(path): return json.loads(path.read_text(encoding='utf-8'))
def source(cell): return ''.join(cell['source'])
def markdown(nb): return [c for c in nb['cells'] if c['cell_type'] == 'markdown']
def title(nb): return source(markdown(nb)[0]).splitlines()[0].lstrip('# ')

def write(path, nb):
    "Write a notebook as nbdev does, if it changed"
    text = json.dumps(nb, sort_keys=True, indent=1, ensure_ascii=False) + '\n'
    if text != path.read_text(encoding='utf-8'): path.write_text(text, encoding='utf-8')

def is_shown(cell):
    "Is it a code cell that a reader sees?"
    s = source(cell)
    lines = [l for l in s.splitlines() if l.strip() and not l.lstrip().startswith('#')]
    return cell['cell_type'] == 'code' and bool(lines) and not re.search(r'^#\|\s*(hide|default_exp|echo: *false)', s, re.M)

def minutes(nb):
    "How long a lesson takes: 200 words a minute, and a minute for each code cell"
    words = sum(len(re.sub(r'```.*?```', '', source(c), flags=re.S).split()) for c in markdown(nb))
    return round(words/200 + sum(map(is_shown, nb['cells'])))

def state_minutes(nb):
    "Put the minutes into the second text of a lesson, which says how long it takes"
    cell = markdown(nb)[1]
    cell['source'] = re.sub(r'\b\d+ minutes', f'{minutes(nb)} minutes', source(cell), count=1).splitlines(True)

def link_neighbours(nb, before, after):
    "Put links to the notebooks before and after under the last text"
    cell = markdown(nb)[-1]
    links = [f'[← {before[1]}]({before[0].name})'] if before else []
    if after: links.append(f'[{after[1]} →]({after[0].name})')
    text = re.sub(r'\n*^\[(?:← [^\n]*|[^\n]* →)\]\(\d\d_\w+\.ipynb\)\s*\Z', '', source(cell), flags=re.M)
    cell['source'] = (text.rstrip() + '\n\n' + ' · '.join(links)).splitlines(True)

def update_notebooks():
    "Minutes and links of all numbered notebooks"
    books = [(p, read(p)) for p in notebooks()]
    named = [(p, title(nb)) for p, nb in books]
    for k, (path, nb) in enumerate(books):
        link_neighbours(nb, named[k-1] if k else None, named[k+1] if k+1 < len(named) else None)
        if re.search(r'\d+ minutes', source(markdown(nb)[1])): state_minutes(nb)
        write(path, nb)

# ---- The library's own lists

def needs(path, nb):
    "Names of the earlier notebooks that the second text of a lesson links"
    found = re.findall(r'\]\((\d\d_\w+)\.ipynb\)', source(markdown(nb)[1]))
    return sorted({o for o in found if o < path.stem})

def exported_names(stem):
    "`__all__` of the module that a notebook exports, read from its source; [] if it exports none"
    path = root/f'recsys_course/{stem[3:]}.py'
    if not path.is_file(): return []
    return re.findall(r"'(\w+)'", re.search(r'__all__ = \[(.*?)\]', path.read_text(encoding='utf-8'), re.S)[1])

def gives(stem, nb):
    "What a notebook gives: its classes and the public names that its text speaks of, or all if there are none"
    names = exported_names(stem)
    spoken = set(re.findall(r'`(\w+)', '\n'.join(map(source, markdown(nb)))))
    return [o for o in names if o in spoken or o[0].isupper()] or names

def lessons():
    "[(name, minutes, title, task, needs, gives)] of all numbered notebooks"
    rows = []
    for path in notebooks():
        nb = read(path)
        task = source(markdown(nb)[0]).splitlines()[1].lstrip('> ')
        rows.append((path.stem, minutes(nb), title(nb), task, needs(path, nb), gives(path.stem, nb)))
    return rows

def models():
    "{name: module} of the recommenders that can be made without arguments, found in what the modules export"
    from importlib import import_module
    from recsys_course.recommender import Recommender
    found = {}
    for path in notebooks():
        exported = re.search(r'^#\|\s*default_exp\s+(\w+)', '\n'.join(source(c) for c in read(path)['cells'] if c['cell_type'] == 'code'), re.M)
        if not exported or int(path.name[:2]) >= 90: continue
        module = import_module(f'recsys_course.{exported[1]}')
        for name in module.__all__:
            cls = getattr(module, name)
            if not (inspect.isclass(cls) and issubclass(cls, Recommender)) or cls.fit is Recommender.fit: continue
            if cls.__init__ is Recommender.__init__: continue                   # a base of others: it has no settings
            params = list(inspect.signature(cls.__init__).parameters.values())[1:]
            if all(p.default is not p.empty for p in params): found[name] = exported[1]
    return found

def write_lists():
    "Write recsys_course/_course.py, which lists lessons and models for the command line and the tests"
    body = [f'    {o!r},' for o in lessons()]
    known = [f'    {n!r}: {m!r},' for n, m in models().items()]
    lines = ['"Lessons and models, listed from the notebooks by `make export`: not to be edited"', '', '# (name, minutes, title, task, needs, gives) of each notebook',
             'LESSONS = [', *body, ']', '', '# Module of each model that can be made without arguments', 'MODELS = {', *known, '}', '']
    (root/'recsys_course/_course.py').write_text('\n'.join(lines), encoding='utf-8')

# ---- README

def lesson_tables(place):
    "Markdown tables of the lessons, one for each part"
    lines, part = [], None
    for name, n, heading, promise, *_ in lessons():
        promise = promise[:1].lower() + promise[1:]
        if int(name[0]) != part:
            part = int(name[0])
            lines += ['', f'### {part} {PARTS[part]}', '', '| | lesson | minutes | you will be able to | |', '|---|---|---|---|---|']
        copy = f'exercises/{name}.ipynb'
        badge = f'[![Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/{place}/blob/main/{copy})'
        if not (root/copy).is_file(): lines.append(f'| {name[:2]} | [{heading}]({name}.ipynb) | {n} | {promise} | |')
        else: lines.append(f'| {name[:2]} | [{heading}](../{copy}) | {n} | {promise} | [solved]({name}.ipynb) {badge} |')
    return '\n'.join(lines).strip()

def between(text, mark, new):
    "`text` with what stands between two comments replaced"
    pattern = rf'(<!-- {mark} -->\n).*?(\n<!-- end of {mark} -->)'
    if not re.search(pattern, text, re.S): raise ValueError(f'index.ipynb has no place for {mark}')
    return re.sub(pattern, lambda m: m[1] + new + m[2], text, flags=re.S)

def update_index():
    "Put lessons and results into index.ipynb, and write README.md from it"
    import readme, results
    from configparser import ConfigParser
    ini = ConfigParser(delimiters='=', interpolation=None)
    ini.read(root/'settings.ini', encoding='utf-8')
    place = '{user}/{repo}'.format(**ini['DEFAULT'])
    path, new = root/'nbs/index.ipynb', dict(lessons=lesson_tables(place), results=results.table(root/'benchmarks/README.md'))
    nb = read(path)
    for cell in markdown(nb):
        for mark, text in new.items():
            if f'<!-- {mark} -->' in source(cell): cell['source'] = between(source(cell), mark, text).splitlines(True)
    write(path, nb)
    readme.write()

# ---- All of it

def nbdev(command):
    "Run an nbdev command of this environment in the repository"
    module, fn = {'export': ('nbdev.doclinks', 'nbdev_export'), 'clean': ('nbdev.clean', 'nbdev_clean')}[command]
    subprocess.run([sys.executable, '-c', f'from {module} import {fn}; {fn}()'], cwd=root, check=True)

def copies():
    "Write the learner's copies anew, and remove those whose lesson is gone"
    from recsys_course.exercise import blank
    made = {p.name for p in blank(root/'nbs', root/'exercises')}
    for p in (root/'exercises').glob('*.ipynb'):
        if p.name not in made: p.unlink()

def explain():
    "Collect the words beside the arguments, which `recsys_course/__init__.py` adds to docstrings; the command line uses them itself"
    from docstrings import docs
    modules = sorted(p for p in (root/'recsys_course').glob('[a-z]*.py') if p.stem != 'cli')
    found = {p.stem: docs(p.read_text(encoding='utf-8')) for p in modules}
    lines = ['"What each argument means, by module and name; written by `make export`"', 'DOCS = {']
    for stem, names in found.items():
        lines += [f'    {stem!r}: {{', *(f'        {name!r}: {chr(10).join(words)!r},' for name, words in names.items()), '    },']
    (root/'recsys_course/_docs.py').write_text('\n'.join([*lines, '}', '']), encoding='utf-8')

def main():
    os.chdir(root)
    nbdev('export')
    update_notebooks()
    nbdev('export')          # the texts of the notebooks have changed
    nbdev('clean')
    explain()
    write_lists()
    copies()
    update_index()

if __name__ == '__main__': main()
