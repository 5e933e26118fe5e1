"""Every claim of README and site, and what shows it: prints a Markdown table, exits 1 where a claim stands alone or its evidence is gone.

    python .ci/claims.py

A claim is a sentence, a row of a table, a picture's caption, a command, or the remark behind one: all but headings, code, badges and what only leads on.
Rows and commands have a rule each; for all others `claims.toml`, beside this file, names the evidence:

    tests/test_cli.py::test_demo            a test, or a function or class of a module
    nbs/00_overview.ipynb#18d102e9          a cell
    benchmarks/README.md#(d)                a section
    Makefile::demo                          a target
    settings.ini                            a file
    fact hour_at_most                       a computation of this script
    https://...                             said by others, of themselves: not checked here
    advice                                  says what to do, not how things are

`PLACE ~ words`: these words stand there. Every figure of a claim must be found in its evidence, and every name in the code, so that neither changes alone."""
import ast, json, re, sys, tomllib
from collections import Counter
from functools import cache
from pathlib import Path

root = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(root), str(root/'.ci')]
import export, results

@cache
def text_of(path): return (root/path).read_text(encoding='utf-8')

@cache
def cells_of(path): return json.loads(text_of(path))['cells']

# ---- Claims

def plain(text):
    "Without markup: links become their words"
    text = re.sub(r'\[((?:[^\[\]]|\[[^\]]*\])*)\]\([^)]*\)', r'\1', re.sub(r'!\[[^\]]*\]\([^)]*\)', '', text))
    return re.sub(r'\s+', ' ', re.sub(r'\*+(?=\S)|(?<=\S)\*+', '', text)).strip()

def sentences(text):
    "The sentences of a paragraph; initials of names end none"
    return [o for s in re.split(r'(?<=[.!?])(?<!\b[A-Z]\.)\s+(?=[A-Z`*\[(/])', text) if (o := plain(s))]

def commands(block):
    "The lines of a code block that a shell would run, and the remarks behind them"
    for line in block.splitlines():
        if not (m := re.match(r' *((?:make|python|pip|recsys-course|\.venv/\S+) [^#]*?)(?:\s*#\s*(.*))?$', line)): continue
        yield 'command', m[1].strip()
        if m[2]: yield 'said', f'{m[1].strip()}: {m[2]}'

def claims(md):
    "(kind, claim) in a page: 'row', 'command' or 'said'"
    code = re.compile(r'^```(\w*)\n(.*?)^```|((?:^ {4}[^\n]*\S[^\n]*\n)+)', re.M | re.S)
    for m in code.finditer(md):
        if m[1] == 'python': yield 'said', 'Example: ' + m[2].splitlines()[0]
        elif m[1] in (None, '', 'sh'): yield from commands(m[2] or m[3] or '')
    yield from (('said', 'Picture: ' + o) for o in re.findall(r'^!\[([^\]]+)\]', md, re.M))
    for block in re.split(r'\n\s*\n', re.sub(r'<!--.*?-->|^(?:#|!\[).*?$', '\n', code.sub('\n', md), flags=re.M | re.S)):
        if block.lstrip().startswith('|'): yield from (('row', l) for l in block.strip().splitlines()[2:])
        else: yield from (('said', s) for item in re.split(r'^(?:[-*] |> ?)', block, flags=re.M) for s in sentences(item))

def spoken(path, function):
    "The sentences that a function of the site's makers puts on a page"
    node, = (n for n in ast.parse(text_of(path)).body if getattr(n, 'name', '') == function)
    found = [n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, str) and n.value != ast.get_docstring(node, False)]
    parts = [o for t in found for o in re.split(r'<[^>]*>', t) if re.match(r'[A-Z].*\.$', o)]
    return [('said', s) for o in parts for s in sentences(o)]

def pages():
    "{page: its claims}; the home page of the site is the README and what docs/tryout.py adds"
    paths = ['README.md', *(f'docs/pages/{p.name}' for p in sorted((root/'docs/pages').glob('*.md')))]
    return {**{p: list(claims(text_of(p))) for p in paths}, 'docs/tryout.py': spoken('docs/tryout.py', 'section'), 'docs/hooks.py': spoken('docs/hooks.py', 'api_index')}

# ---- Evidence

class Missing(Exception): "Evidence that is not there, in words"

def need(found, words):
    "`found`, or `Missing`"
    if not found: raise Missing(words)
    return found

def shown(cell):
    "Source and outputs of a cell, as text"
    outs = [o.get('text') or [v for k, d in o.get('data', {}).items() if k.startswith('text/') for v in d] for o in cell.get('outputs', [])]
    return '\n'.join([''.join(cell['source']), *(''.join(o) for o in outs)])

def defined(path, name):
    "Source of a function or class of a module: up to the next line that stands no deeper; raises `Missing`"
    found = re.search(rf'^( *)(?:async )?(?:def|class) {name}\b.*?(?=^\1[^\s)]|\Z)', text_of(path), re.M | re.S)
    return need(found, f'{path} has no {name}')[0]

def part_of(path, mark, name):
    "Kind and text of a part of a file"
    if path == 'Makefile': return 'target', need(re.search(rf'^{name}:.*\n(?:\t.*\n)*', text_of(path), re.M), f'Makefile has no target {name}')[0]
    if path.endswith('.py'): return 'test' if path.startswith('tests/') else 'code', defined(path, name)
    if path.endswith('.ipynb'): return 'cell', shown(need([c for c in cells_of(path) if c.get('id') == name], f'{path} has no cell {name}')[0])
    found = re.search(rf'^(#+) {re.escape(name)}.*?(?=^#{{1,2}} |\Z)', text_of(path), re.M | re.S)
    return 'benchmark' if path.startswith('benchmarks/') else 'file', need(found, f'{path} has no section {name}')[0]

def evidence(ref):
    "Kind of a piece of evidence, and the text in which a claim's figures may be found; raises `Missing`"
    place, _, words = ref.partition(' ~ ')
    if place == 'advice' or place.startswith('https://'): return place.partition('://')[0].replace('https', 'elsewhere'), None
    if place.startswith('fact '): return 'fact', str(need(need(FACTS.get(place[5:]), f'no {place}')(), f'{place} does not hold'))
    path, mark, name = re.match(r'([^:#]+)(::|#|$)(.*)', place).groups()
    need((root/path).exists(), f'no {path}')
    kind, text = part_of(path, mark, name) if mark else ('file', text_of(path) if words else '')
    if words: need(words in text, f'{place} does not say {words}')
    return kind, (text if mark else words) + ' ' + path

def figures(text): return set(re.findall(r'(?<![\w./-])(?<!\d,)\d+(?:,\d{3})*(?:\.\d+)*(?![\w%])', text))

@cache
def code_text(): return '\n'.join(p.read_text(encoding='utf-8') for o in ('recsys_course/*.py', 'docs/*.py', 'Makefile', 'settings.ini') for p in root.glob(o))

def unknown(claim, shown):
    "Names, options and paths in code font that neither the project's code nor the evidence has"
    return [o for o in re.findall(r'`(--[\w-]+|/\w+|[A-Za-z]\w+)(?:=)?`', claim) if not re.search(rf'(?<![\w-]){re.escape(o.lstrip("-"))}\b', code_text() + shown)]

def check(claim, refs):
    "Kinds of the evidence for a claim; raises `Missing` if a piece is, or a figure, or a name"
    found = [evidence(r) for r in need(refs, 'no evidence')]
    texts = [t for _, t in found if t is not None]
    if texts:
        told = figures(' '.join(texts)) | set(re.findall(r'nbs/(\d\d)_', ' '.join(refs)))
        need(not (lost := figures(claim) - told), f'not in the evidence: {", ".join(sorted(lost))}')
        need(not (lost := unknown(claim, ' '.join(texts))), f'not in the code: {", ".join(lost)}')
    return [k for k, _ in found]

# ---- Facts: computed, not stated

FACTS = {}
def fact(f): FACTS[f.__name__] = cache(f); return f
def lessons(): return {p.stem: cells_of(f'nbs/{p.name}') for p in export.notebooks() if p.name[:2] < '70'}
def codes(cells): return [export.source(c) for c in cells if c['cell_type'] == 'code']
def exports(cells): return any(re.search(r'^#\|\s*export\b', s, re.M) for s in codes(cells))

@fact
def hour_at_most():
    "No lesson takes more than 60 minutes, and each has an exercise, a check of it, and a quiz"
    needed = '### BEGIN SOLUTION', 'grade(', 'quiz('
    return all(export.minutes(dict(cells=c)) <= 60 and all(any(o in s for s in codes(c)) for o in needed) for c in lessons().values())

@fact
def proved_equal():
    "In each lesson that exports, a cell that does not compares what the lesson made in two ways"
    same = re.compile(r'\b(?:test_close|test_eq|allclose|array_equal|assert_\w+_equal)\b')
    return all(any(same.search(s) for s in codes(c) if not re.search(r'^#\|\s*export\b', s, re.M)) for c in lessons().values() if exports(c))

# Numbers of thought experiments, of a rule of thumb, and of what an exercise tells: nobody measured them
TOLD = {'00': {'10,000'}, '03': {'0.55', '1.48', '40,000'}, '10': {'1.6'}, '14': {'0.56'}, '42': {'10,000'}, '51': {'20,000', '10,000'}, '60': {'20,000', '2.718'}, '61': {'300,000'}, '62': {'0.2'}}

@fact
def figures_come_from_cells():
    "Each figure in the prose of a lesson, with a point or a comma, stands in a cell's code or output, but for a few that nobody measured"
    for stem, cells in lessons().items():
        prose = re.sub(r'```.*?```|\]\([^)]*\)|\S*10\.\d{4}/\S*', '', '\n'.join(map(export.source, export.markdown(dict(cells=cells)))), flags=re.S)
        ran = '\n'.join(shown(c) for c in cells if c['cell_type'] == 'code')
        told = set(re.findall(r'(?<![\w.])\d+\.\d+(?!\w)|\b\d{1,3}(?:,\d{3})+\b', prose))
        lost = {o for o in told if o not in ran and o.replace(',', '') not in ran and o.replace(',', '_') not in ran} - TOLD.get(stem[:2], set())
        if lost: raise Missing(f'{stem} says {", ".join(sorted(lost))}, and no cell does')
    return True

@fact
def installs_once():
    "`demo`, `test` and `lab` install by way of the file .ready alone, and what makes it ends by touching it"
    recipes = [part_of('Makefile', '::', o)[1] for o in ('demo', 'test', 'lab')]
    ready = re.search(r'^\$\(READY\):.*\n(?:\t.*\n)*', text_of('Makefile'), re.M)[0]
    return all('$(READY)' in o and 'pip' not in o for o in recipes) and 'pip install' in ready and ready.rstrip().endswith('touch $@')

@fact
def days_and_rest():
    "The days of the course and what is left take each lesson once"
    numbers = re.findall(r'\]\(\.\./(\d\d)_\w+\.md\)', text_of('docs/pages/lecturers.md').partition('A short course')[0])
    return sorted(numbers) == sorted(s[:2] for s in lessons()) and ' '.join(numbers)

@fact
def lessons_from_to():
    "Numbers of the first and the last lesson"
    return f'{min(lessons())[:2]} to {max(lessons())[:2]}'

@fact
def badges_open_copies():
    "Each lesson has a copy, whose row in the README opens it in Colab and whose first cells install the library there"
    rows = {s: l for l, s in tables()[0].items()}
    return all(f'/exercises/{s}.ipynb)' in rows[s] and 'colab.research' in rows[s] and any('pip install -q recsys_course' in o for o in codes(cells_of(f'exercises/{s}.ipynb'))) for s in lessons())

@fact
def one_module_at_most():
    "No notebook names two modules to export"
    return all(len(re.findall(r'^#\|\s*default_exp', '\n'.join(codes(cells_of(f'nbs/{p.name}'))), re.M)) <= 1 for p in export.notebooks())

@fact
def bench_makes_all():
    "Each section of benchmarks/README.md has a title in benchmarks/run.py, which `make bench` runs"
    return all(f"'{t}" in text_of('benchmarks/run.py') or f'"{t}' in text_of('benchmarks/run.py') for t in re.findall(r'^## (\(\w\) .*)$', text_of('benchmarks/README.md'), re.M))

@fact
def one_benchmark_for_gpus():
    "No other benchmark asks for a GPU"
    return ['gpu.py'] == [p.name for p in (root/'benchmarks').glob('*.py') if re.search(r'\.cuda\(|[\'"]cuda', p.read_text(encoding='utf-8'))]

@fact
def not_in_the_library():
    "What the README says is not here: models of others, kernels for GPUs, models of images, clusters"
    code = ' '.join(p.read_text(encoding='utf-8') for p in (root/'recsys_course').glob('*.py'))
    return not re.search(r'SlopeOne|CoClustering|\bNMF\b|cuda\.jit|torchvision|kubernetes', code)

@fact
def losses_are_told():
    "Rows of the results in which this library comes second"
    return sum(l.startswith('| Lost: ') for l in results.table(root/'benchmarks/README.md').splitlines()) > 2

# ---- Rows and commands

@cache
def tables():
    "Rows of the two tables of the README as they would be made now: lessons with the stem of their notebook, results with the sections that hold their figures"
    from configparser import ConfigParser
    ini = ConfigParser(delimiters='=', interpolation=None); ini.read(root/'settings.ini', encoding='utf-8')
    made = re.sub(r'\]\((\w+\.ipynb)', r'](nbs/\1', export.lesson_tables('{user}/{repo}'.format(**ini['DEFAULT']))).replace('](../', '](')
    taught = {l: re.search(r'(\d\d_\w+)\.ipynb', l)[1] for l in made.splitlines() if re.match(r'\| \d\d ', l)}
    return taught, results.table(root/'benchmarks/README.md').splitlines()[2:]

def sections(row):
    "Sections of benchmarks/README.md that hold the figures of a row, the fewest; sizes may stand in the scripts alone; raises `Missing`"
    parts = {f'({m[1]})': m[0] for m in re.finditer(r'^## \((\w)\).*?(?=^## |\Z)', text_of('benchmarks/README.md'), re.M | re.S)}
    left, res = {o for o in re.findall(r'(?<![\w`])\.?\d[\d,]*\.?\d*(?!\w)', row.replace(' at 10', '').replace(' at 20', ''))}, []
    has = {k: {o for o in left if re.search(rf'(?<![\d.,]){re.escape(o)}(?![\d])', t)} for k, t in parts.items()}
    while left and (best := max(has, key=lambda k: len(has[k] & left))) and has[best] & left: left, res = left - has[best], [*res, best]
    asked = ' '.join(p.read_text(encoding='utf-8') for p in (root/'benchmarks').glob('*.py'))
    need(not (left := left - figures(asked)), f'no section holds {", ".join(sorted(left))}')
    return res

def check_row(row, table):
    "Evidence for a row of a table"
    taught, measured = tables()
    if row in measured: return [('benchmark', f'benchmarks/README.md#{s}') for s in sections(row)]
    if row in taught:
        refs = [f'nbs/{taught[row]}.ipynb', *need(table['lessons'].get(taught[row][:2]), 'no evidence in [lessons]')]
        return [*zip(check('', refs), refs)]
    days = need(re.findall(r'\]\(\.\./(\d\d)_(\w+)\.md\)', row), 'not as the notebooks and benchmarks have it now: run `make export`')
    return [('table', need((root/f'exercises/{n}_{s}.ipynb').is_file() and f'exercises/{n}_{s}.ipynb', f'no lesson {n}_{s}')) for n, s in days]

def check_command(line):
    "Evidence that a command line would work: its target, script, options, extras, models and lessons exist"
    words, cli, cfg = line.split(), text_of('recsys_course/cli.py'), text_of('settings.ini')
    if words[0] == 'make': return [('target', f'Makefile::{words[1]}')] if part_of('Makefile', '::', words[1]) else []
    if 'recsys-course' in words[0]:
        need(re.search(rf'^@command\((?:[^()]|\([^()]*\))*\)\ndef {words[1]}\(', cli, re.M), f'no command {words[1]}')
        for o in re.findall(r'--([a-z-]+)', line): need(re.search(rf'\b{o.replace("-", "_")}\b', cli), f'no option --{o}')
        for m in re.findall(r'--models? (\S+)', line): need(set(m.split(',')) <= set(export_models()), f'no model {m}')
        return [('code', f'recsys_course/cli.py::{words[1]}')]
    for o in re.findall(r'\S+\.(?:py|txt)\b', line): need((root/o).is_file(), f'no {o}')
    for o in re.findall(r'\[(\w+)\]', line): need(f'{o}_requirements' in cfg, f'no extra {o}')
    for o in re.findall(r' (\d\d)\b', line): need([*root.glob(f'exercises/{o}_*.ipynb')], f'no lesson {o}')
    return [('file', next(iter(re.findall(r'\S+\.(?:py|txt)\b', line)), 'settings.ini'))]

def export_models():
    from recsys_course._course import MODELS
    return MODELS

# ---- The list

def said_of(kind, claim, page, table):
    "[(kind, evidence)] for a claim; raises `Missing`"
    if kind == 'row': return check_row(claim, table)
    if kind == 'command': return check_command(claim)
    refs = need(table.get(page, {}).get(claim), 'no evidence in .ci/claims.toml')
    return [*zip(check(claim, refs), refs)]

def listed(found=None, table=None):
    "(page, claim, [(kind, evidence)], what is missing) of every claim, and of entries of the table that no page makes any more"
    found, table = found or pages(), table or tomllib.loads(text_of('.ci/claims.toml'))
    for page, said in found.items():
        for kind, claim in said:
            try: yield page, claim, said_of(kind, claim, page, table), ''
            except Missing as e: yield page, claim, [], str(e)
    taught = {s[:2] for s in tables()[0].values()}
    made = {p: {c for _, c in said} for p, said in found.items()} | {'lessons': taught}
    for page, entries in table.items():
        for claim in entries.keys() - made.get(page, set()): yield page, claim, [], 'no page claims this any more'

def main():
    rows = list(listed())
    print('| where | claim | evidence | |\n|---|---|---|---|')
    for page, claim, refs, lost in rows:
        claim = plain(claim).strip('| ') if claim.startswith('|') else claim
        state = 'not checked here' if {k for k, _ in refs} <= {'advice', 'elsewhere'} else 'found'
        print('| ' + ' | '.join(o.replace('|', '\\|') for o in (page, claim, '; '.join(r for _, r in refs), lost or state)) + ' |')
    kinds = Counter(k for *_, refs, _ in rows for k in {k for k, _ in refs})
    print(f'\n{len(rows)} claims; by kind of evidence (one claim may have several): ' + ', '.join(f'{k} {n}' for k, n in kinds.most_common()))
    missing = [r for r in rows if r[3]]
    for page, claim, _, lost in missing: print(f'{page}: {claim}: {lost}', file=sys.stderr)
    return bool(missing)

if __name__ == '__main__': sys.exit(main())
