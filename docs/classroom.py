"""For lecturers: lessons as slides, and as sources of nbgrader, whose exercises are graded by the checks they have.

    python docs/classroom.py slides 40 43 --to talk         # talk/40_candidates.slides.html: reveal.js, a slide per heading
    python docs/classroom.py nbgrader 11 20 --to course     # course/source/11_factorize/11_factorize.ipynb, ready for `nbgrader`"""
import argparse,ast,json,re
from pathlib import Path

from recsys_course.exercise import _check_rx,_has_exercise,_no_directives

root = Path(__file__).resolve().parent.parent

def lesson(number): # Such as '40'
    "Path of a lesson; raises SystemExit where there is none"
    found = sorted((root/'nbs').glob(f'{number}_*.ipynb'))
    if not found: raise SystemExit(f'no lesson {number} in nbs: take a number such as 40')
    return found[0]

def read(path): return json.loads(path.read_text(encoding='utf-8'))
def source(cell): return ''.join(cell['source'])
def write(path, nb):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(nb, indent=1, ensure_ascii=False), encoding='utf-8')
    return path

# ---- nbgrader

def is_check(node): # Of a syntax tree
    return isinstance(node, ast.Call) and getattr(node.func, 'id', '') == 'grade'

def asserted(src): # A check cell
    "The check, which now raises for a wrong or missing answer, as nbgrader wants it; and how many answers it checks"
    lines,n = src.split('\n'),0
    for node in reversed(ast.parse(src).body):
        if isinstance(node, ast.Expr) and is_check(node.value): lines[node.lineno-1] = 'assert ' + lines[node.lineno-1]
        elif isinstance(node, ast.Assign) and is_check(node.value): lines.insert(node.end_lineno, f'assert {ast.unparse(node.targets[0])}')
        elif isinstance(node, ast.If) and is_check(node.test):
            lines[node.lineno-1] = re.sub('^if ', 'if passed := ', lines[node.lineno-1])
            lines.insert(node.end_lineno, 'assert passed')
        else: continue
        n += 1
    return '\n'.join(lines), n

def marked(cell, name, src, **meta):
    "A cell with what nbgrader keeps of it"
    about = dict(schema_version=3, grade_id=name, locked=False, grade=False, solution=False, task=False, cell_type='code') | meta
    return {**cell, 'source': src.splitlines(True), 'outputs': [], 'execution_count': None, 'metadata': {**cell['metadata'], 'nbgrader': about}}

def classwork(path): # Of a lesson
    "A lesson as nbgrader's source: solutions to be cut out by it, a point for each check that passes"
    nb,n,cells = read(path),0,[]
    for k,cell in enumerate(nb['cells']):
        src = source(cell)
        if cell['cell_type'] != 'code': cells.append(cell); continue
        src = _no_directives(src)
        if _has_exercise(cell): cells.append(marked(cell, f'solution-{k}', src, solution=True))
        elif _check_rx.search(src) and asserted(src)[1]:
            n += 1
            cells.append(marked(cell, f'check-{n}', asserted(src)[0], grade=True, locked=True, points=asserted(src)[1]))
        else: cells.append({**cell, 'source': src.splitlines(True)})
    if not n: raise SystemExit(f'{path.stem} has no exercises')
    return {**nb, 'cells': [c for c in cells if source(c).strip()]}

# ---- Slides

def deck(path): # Of a lesson
    "A lesson with a slide for each heading, one below it for each step, and what only guards or is plumbing left out"
    nb = read(path)
    for k,cell in enumerate(nb['cells']):
        src = source(cell)
        hidden = cell['cell_type'] == 'code' and re.search(r'^#\|\s*(hide|export|default_exp)', src, re.M)
        begins = cell['cell_type'] == 'markdown' and re.match('#', src)
        kind = 'skip' if hidden or not src.strip() else 'slide' if begins else 'subslide' if cell['cell_type'] == 'markdown' else '-'
        cell['metadata'] = {**cell['metadata'], 'slideshow': dict(slide_type=kind)}
        if cell['cell_type'] == 'code': cell['source'] = _no_directives(src).splitlines(True)
    return nb

def slides(path, to): # Of a lesson; folder
    "Write a lesson as a page of reveal.js"
    import nbformat
    from nbconvert import SlidesExporter
    nb = nbformat.from_dict(deck(path))
    nb = nbformat.reads(nbformat.writes(nb), 4)
    html,_ = SlidesExporter(reveal_scroll=True).from_notebook_node(nb)
    to.mkdir(parents=True, exist_ok=True)
    out = to/f'{path.stem}.slides.html'
    out.write_text(html, encoding='utf-8')
    return out

def main(argv=None):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('what', choices=['slides','nbgrader'])
    p.add_argument('numbers', nargs='+', help='of lessons, such as 40')
    p.add_argument('--to', type=Path, default=Path('classroom'), help='folder')
    args = p.parse_args(argv)
    for path in map(lesson, args.numbers):
        if args.what == 'slides': print(slides(path, args.to))
        else: print(write(args.to/'source'/path.stem/path.name, classwork(path)))

if __name__ == '__main__': main()
