"""How the site's pages are made: a notebook becomes markdown with its stored outputs, a module becomes tables of its parameters.

mkdocs calls the functions `on_...` (https://www.mkdocs.org/user-guide/plugins/#events). Nothing is executed and nothing is fetched."""
import base64,configparser,html,inspect,json,re,subprocess,sys
from dataclasses import dataclass,field
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import nbformat
from fastcore.docments import DocmentTbl
from fontTools import subset
from latex2mathml.converter import convert
from mkdocs.structure.files import File
from nbconvert.filters import ansi2html

from recsys_course.exercise import _check_rx,_has_exercise,_hollow,_marker

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent/'.ci')]
import tryout
from export import PARTS

root = Path(__file__).resolve().parent.parent
ini = configparser.ConfigParser(delimiters='=', interpolation=None)
ini.read(root/'settings.ini', encoding='utf-8')
cfg = ini['DEFAULT']
lib,repo,branch = cfg['lib_name'],f"{cfg['user']}/{cfg['repo']}",cfg['branch']
github = f'https://github.com/{repo}'
colab = f'https://colab.research.google.com/github/{repo}/blob/{branch}'

# ---- A notebook as a page

@dataclass
class Lesson:
    "A notebook on its way to a page"
    path:Path
    md:list = field(default_factory=list)        # Markdown, part by part
    outputs:list = field(default_factory=list)   # HTML that replaces place holders once the markdown is rendered
    files:dict = field(default_factory=dict)     # {path on the site: bytes}
    heading:str = ''                             # The last one seen: what a figure is about
    module:str = ''

def fence(code, options='.python'):
    "A code block, between more ticks than it holds; not searched, as names stand in the prose and in the API"
    ticks = '`'*max([3, *(len(o)+1 for o in re.findall('`{3,}', code))])
    return f'{ticks} {{ {options} data-search-exclude="" }}\n{code}\n{ticks}'

def fold(title, body, kind): return f'??? {kind} "{title}"\n\n' + re.sub('^(?=.)', '    ', body, flags=re.M)

def link(target):
    "Where a link of a notebook leads on the site"
    if target.startswith('#'): return target.lower()
    target = re.sub(r'^(?:\.\./exercises/)?(\w+)\.ipynb(#.*)?$', lambda m: f'{m[1]}.md{(m[2] or "").lower()}', target)
    if not target.startswith('../'): return target
    return f"{github}/{'tree' if (root/target[3:]).is_dir() else 'blob'}/{branch}/{target[3:]}"

def prose(lesson, src):
    "Markdown with links as they lead on the site; a picture from elsewhere becomes its alternative text, so that nothing is fetched"
    def picture(m):
        if m[2].startswith('http'): return m[1]
        name = m[2].removeprefix('../')
        lesson.files[name] = (lesson.path.parent/m[2]).read_bytes()
        return f'![{m[1]}]({name})'
    parts = re.split(r'(^```.*?^```|`[^`\n]+`)', src, flags=re.M|re.S)
    for i in range(0, len(parts), 2):
        s = re.sub(r'!\[([^\]]*)\]\(([^)\s]+)\)', picture, parts[i])
        parts[i] = re.sub(r'(?<=\]\()[^)\s]+(?=\))', lambda m: link(m[0]), s)
    return ''.join(parts)

def without(src, solution):
    "The solution's cell as the learner gets it, or as solved but without markers"
    return '\n'.join(l for l in src.split('\n') if not _marker.fullmatch(l)) if solution else _hollow(src, 'site')

def code(cell, src, exported):
    "A cell's source; what would give an answer away is folded"
    if _has_exercise(cell): return fence(without(src, False)) + '\n\n' + fold('A solution', fence(without(src, True)), 'success')
    if m := _check_rx.search(src): return fold('The code of this ' + ('quiz' if 'quiz(' in m[0] else 'check'), fence(src), 'quote')
    return fence(src, '.python .exported' if exported else '.python')

def output(lesson, out):
    "An output as markdown; HTML and text go in later, untouched by markdown"
    data = out.get('data', {})
    if png := data.get('image/png'):
        name = f'figures/{lesson.path.stem}-{len(lesson.files)+1}.png'
        lesson.files[name] = base64.b64decode(png)
        return f'![Figure: {lesson.heading}]({name}){{ loading=lazy }}'
    if 'text/html' not in data and (md := data.get('text/markdown')): return prose(lesson, md)
    if data.get('text/plain', '').startswith('interactive('): return ''          # a widget of ipywidgets, which needs a kernel; ours say what they are
    shown = data.get('text/html') or f"<pre>{ansi2html(out.get('text') or data.get('text/plain', ''))}</pre>"
    lesson.outputs.append(re.sub(r'<style scoped>.*?</style>', '', shown, flags=re.S))
    return f'@@output {len(lesson.outputs)-1}@@'

def code_cell(lesson, cell):
    "A code cell as the directives of nbdev and Quarto want it shown"
    found = dict(re.findall(r'^#\| *(\w+):? *(.*)$', cell.source, re.M))
    def off(directive, key): return directive in found or found.get(key) == 'false'
    src = re.sub(r'^#\|.*\n?', '', cell.source, flags=re.M).strip('\n')
    lesson.module = found.get('default_exp', lesson.module)
    if off('hide', 'include'): return
    silent = off('hide_input', 'echo')   # what such a cell prints on its way is not shown either, as in the README
    source = [] if silent or not src else [code(cell, src, {'export','exporti','exports'} & set(found))]
    shown = [] if off('hide_output', 'output') else [output(lesson, o) for o in cell.outputs if not (silent and o.output_type == 'stream')]
    lesson.md += shown+source if re.search(r'^quiz\(', src, re.M) else source+shown

def places(lesson):
    "Links to the places where a lesson can be run, read and taken from"
    name = lesson.path.name
    res = [f'[Open in Colab]({colab}/nbs/{name})', f'[On GitHub]({github}/blob/{branch}/nbs/{name})', f'[Download]({name})']
    if (root/'exercises'/name).is_file(): res.insert(1, f'[Your copy, solutions taken out]({colab}/exercises/{name})')
    if lesson.module: res.append(f'[Module `{lib}.{lesson.module}`](api/{lesson.module}.md)')
    return ' '.join(o + '{ .place }' for o in res)

def read(path):
    "A notebook as a `Lesson`"
    lesson = Lesson(path)
    for cell in nbformat.read(path, 4).cells:
        if cell.cell_type == 'code': code_cell(lesson, cell)
        if cell.cell_type == 'markdown': lesson.md.append(prose(lesson, cell.source))
        if heads := re.findall(r'^#+ (.*)', cell.source, re.M) if cell.cell_type == 'markdown' else 0: lesson.heading = re.sub(r'[\[\]`]', '', heads[-1])
    if path.stem != 'index': lesson.md.insert(1, places(lesson))
    return lesson

# ---- A module as a page

def plain(obj):
    "The function behind a property or a class method"
    if isinstance(obj, property): obj = obj.fget
    if isinstance(obj, cached_property): obj = obj.func
    return inspect.unwrap(getattr(obj, '__func__', obj))

def source(obj):
    "Link to the lines of an object on GitHub, '' if it is not the library's"
    path = Path(inspect.getsourcefile(obj)).resolve()
    if not path.is_relative_to(root): return ''
    try: lines,start = inspect.getsourcelines(obj)
    except OSError: return ''                     # a named tuple has no class statement
    return f'[source]({github}/blob/{branch}/{path.relative_to(root).as_posix()}#L{start}-L{start+len(lines)-1}){{ .source }}'

def escape(text):
    "Text for markdown; only `code` keeps its meaning"
    parts = re.split(r'(`[^`]+`)', html.escape(text or '', quote=False))
    return ''.join(p if i % 2 else re.sub(r'([\\*_\[\]{}$])', r'\\\1', p) for i,p in enumerate(parts))

def signature(obj, name):
    "A call with names and defaults; types stand in the table"
    sig = inspect.signature(obj)
    ps = [p.replace(annotation=p.empty) for p in sig.parameters.values() if p.name not in ('self', 'cls')]
    args = [str(p) for p in ps]
    one = f"{name}{sig.replace(parameters=ps, return_annotation=sig.empty)}"
    return one if len(one) <= 88 else f'{name}(\n    ' + ',\n    '.join(args) + ')'

def table(obj):
    "Parameters with type, default and meaning, from the comments beside them"
    text = re.sub(r'^\| cls \|.*\n', '', str(DocmentTbl(obj)).replace('NoneType', '').replace('\\^', '^'), flags=re.M)
    parts = re.split(r'(`[^`\n]+`)', text)
    return ''.join(p.replace('\\|', '|') if i % 2 else re.sub(r'([{}])', r'\\\1', p) for i,p in enumerate(parts))

def entry(obj, name, level):
    "A function, class or method: name, source, call, meaning, parameters"
    fn = plain(obj)
    parts = [f"{'#'*level} `{name}` {{ #{name} }}", source(fn)]
    is_plain = inspect.isclass(obj) and issubclass(obj, (BaseException, tuple)) and '__init__' not in vars(obj)      # has no arguments of its own to explain
    if not isinstance(obj, (property, cached_property)) and not is_plain: parts.append(fence(signature(fn, name)))
    bases = [b for b in getattr(obj, '__bases__', ()) if b.__module__.startswith(lib) and not b.__name__.startswith('_')]
    if bases: parts.append('A ' + ' and a '.join(f"[`{b.__name__}`]({b.__module__.split('.')[-1]}.md#{b.__name__})" for b in bases) + '.')
    parts += [escape(inspect.getdoc(fn).split('\n\n')[0]), '' if is_plain else table(fn)]
    own = (k for k,v in vars(obj).items() if k[0] != '_' and (inspect.isroutine(getattr(obj, k)) or isinstance(v, property))) if inspect.isclass(obj) and not is_plain else ()
    return '\n\n'.join([*filter(None, parts), *(entry(getattr(obj, k), f'{name}.{k}', level+1) for k in own)])

def public(module):
    "Names and objects that a module promises"
    m = import_module(f'{lib}.{module}')
    return [(k, o) for k in m.__all__ if inspect.isclass(o := getattr(m, k)) or inspect.isfunction(o)]

def commands(module):
    "What the command line says of itself"
    res = subprocess.run([sys.executable, '-m', 'typer', f'{lib}.{module}', 'utils', 'docs', '--name', cfg['console_scripts'].split('=')[0]],
                         capture_output=True, text=True, encoding='utf-8', check=True, cwd=root)
    return re.sub('^#', '##', res.stdout, flags=re.M)

def api(module, lesson):
    "The page of a module"
    m = import_module(f'{lib}.{module}')
    parts = [f'# {m.__name__}', escape(m.__doc__), f'Built in [{title(lesson)}](../{lesson.path.stem}.md).']
    is_cli = any(type(o).__name__ == 'Typer' for o in vars(m).values())
    return '\n\n'.join(parts + ([commands(module)] if is_cli else [entry(o, k, 2) for k,o in public(module)]))

def api_index(modules):
    "A table of all modules"
    rows = [f"| [`{m}`]({m}.md) | {'' if m == 'cli' else ', '.join(f'[`{k}`]({m}.md#{k})' for k,_ in public(m))} |" for m in modules]
    return '\n'.join(['# API', '', 'A notebook exports one module at most. Types and defaults are those of the code, explanations the comments beside the parameters.', '',
                      '| module | gives |', '|---|---|', *rows])

# ---- What mkdocs calls

_lessons = {}   # {page: Lesson}

def title(lesson): return lesson.md[0].splitlines()[0].lstrip('# ')
def by_module(): return {l.module:l for l in _lessons.values() if l.module}

def terms():
    "{number of a lesson: words of the glossary that are at home there}: the search puts their lesson first"
    text = re.sub(r'\n {4}', ' ', ''.join(''.join(c['source']) for c in json.loads((root/'nbs/97_glossary.ipynb').read_text(encoding='utf-8'))['cells'] if 'columns=' in ''.join(c['source'])))
    res = {}
    for word,number in re.findall(r'^([^|\n"]+?) \| .+ \| (\d\d)$', text, re.M): res.setdefault(number, []).append(word)
    return res

def on_config(config):
    _lessons.clear()
    for p in sorted((root/'nbs').glob('*.ipynb')): _lessons[p.stem+'.md'] = read(p)
    numbered = {}
    for uri,l in _lessons.items():
        if uri[:2].isdigit(): numbered.setdefault(f'{uri[0]} {PARTS[int(uri[0])]}', []).append({f'{uri[:2]} {title(l)}': uri})
    config.nav = [{'Home': 'index.md'}, {'Lessons': [{part: pages} for part,pages in numbered.items()]}, {'Guides': [{'Behind a proxy': 'guides/proxy.md'}, {'For lecturers': 'guides/lecturers.md'}]},
                  {'API': ['api/index.md', *({m: f'api/{m}.md'} for m in by_module())]}]
    config.repo_url,config.repo_name,config.edit_uri = github,repo,''
    config.site_url = f"https://{cfg['user']}.github.io/{cfg['repo']}/"
    return config

def on_files(files, config):
    def add(uri, content): files.append(File.generated(config, uri, content=content))
    words = terms()
    for uri,lesson in _lessons.items():
        home,taught = uri == 'index.md',uri[0] in '0123456'
        head = '---\nhide: [navigation]\n---' if home else f'---\nsearch:\n  boost: {4 if taught else 1}\ntags: {json.dumps(words.get(uri[:2], []))}\n---'
        add(uri, '\n\n'.join([head, lesson.md[0], *([tryout.section()] if home else []), *lesson.md[1:]]))
        for name,data in lesson.files.items(): add(name, data)
    def late(text): return f'---\nsearch:\n  boost: .1\n---\n\n{text}'
    for m,lesson in by_module().items(): add(f'api/{m}.md', late(api(m, lesson)))
    add('api/index.md', late(api_index(by_module())))
    for p in sorted((root/'docs/pages').glob('*.md')): add(f'guides/{p.name}', p.read_text(encoding='utf-8'))
    return files

_symbols = set()
_spacing = [(r'<mo>(&#x0(?:2202|002F|2220);)</mo>', r'<mo lspace="0" rspace="0">\1</mo>'),                                # partial, slash and angle stand close
            (r'(<mo[^>]*>&#x000(?:3D|28|2C|5B);</mo>|<mspace[^>]*>|^<math[^>]*><mrow>)<mo>(&#x0(?:2212|002B);)</mo>', r'\1<mo form="prefix" lspace="0" rspace="0">\2</mo>'),  # a sign, not a sum
            (r'(<m([io])>\w{2,}</m\2>)(?=<m[inos])(?!<mo stretchy)', r'\1<mspace width="0.167em"/>')]                      # log x

def math(m):
    "MathML of a formula, which browsers draw without a script; raises ValueError for a command that is not known"
    res = convert(html.unescape(m[2]), display='block' if m[1] == 'div' else 'inline')
    text = html.unescape(re.sub(r'<[^>]*>', '', res))
    if '\\' in text: raise ValueError(f'unknown command in the formula {m[2]}')
    _symbols.update(text)
    for old,new in _spacing: res = re.sub(old, new, res)
    return res

def on_page_content(content, page, config, files):
    lesson = _lessons.get(page.file.src_uri)
    if lesson: content = re.sub(r'<p>@@output (\d+)@@</p>', lambda m: f'<div class="output" data-search-exclude>{lesson.outputs[int(m[1])]}</div>', content)
    return re.sub(r'<(div|span) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', math, content, flags=re.S)

def on_post_build(config):
    "The mathematical font, cut down to the symbols in use"
    options = subset.Options(flavor='woff', layout_features=['*'], notdef_outline=True)
    font = subset.load_font(Path(find_spec('ziamath').origin).parent/'fonts/STIXTwoMath-Regular.ttf', options)
    s = subset.Subsetter(options)
    s.populate(unicodes=[*range(0x20, 0x7f), *range(0x391, 0x3ca), 0x210e, *range(0x1d434, 0x1d468), *range(0x1d6e2, 0x1d71c), *map(ord, _symbols)])
    s.subset(font)
    # Browsers drop the index of every letter with a tail and lift that of every tall one, where TeX does not
    constants = font['MATH'].table.MathConstants
    constants.SubscriptBaselineDropMin.Value,constants.SuperscriptBaselineDropMax.Value = -400,700
    subset.save_font(font, Path(config.site_dir)/'math.woff', options)
