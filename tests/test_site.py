"The site (`make site`): builds without a network, every link leads somewhere, and every page opens in Chromium without a complaint"
import ast, http.server, inspect, json, os, re, shutil, subprocess, sys, tempfile, threading, time
from collections import Counter
from functools import partial
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import numpy as np, pytest

pytest.importorskip('material', reason="needs the generator: pip install -e '.[docs]'")
root = Path(__file__).resolve().parent.parent
notebooks = {p.stem:json.loads(p.read_text(encoding='utf-8'))['cells'] for p in sorted((root/'nbs').glob('*.ipynb'))}
lessons = [o for o in notebooks if o != 'index']
modules = sorted(p.stem for p in (root/'recsys_course').glob('[a-z]*.py'))
chromium = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)

@pytest.fixture(scope='module')
def site(tmp_path_factory):
    "The built site, made with every way to a network closed by an unreachable proxy"
    out = tmp_path_factory.mktemp('site')
    env = {**os.environ, **{f'{p}_proxy':'http://127.0.0.1:9' for p in ('http','https','all')}, 'no_proxy':'', 'NO_MKDOCS_2_WARNING':'1'}
    res = subprocess.run([sys.executable, '-m', 'mkdocs', 'build', '--strict', '-f', str(root/'docs/mkdocs.yml'), '-d', str(out)],
                         env=env, cwd=out, capture_output=True, text=True, encoding='utf-8', timeout=1800)
    assert res.returncode == 0, '\n'.join(l for l in res.stderr.splitlines() if not l.startswith('INFO'))[-3000:]
    return out

# ---- What stands on a page

class Page(HTMLParser):
    "Links, resources, ids, text, and what is folded away on one page"
    void = {'area','base','br','col','embed','hr','img','input','link','meta','source','track','wbr'}

    def __init__(self, path):
        super().__init__()
        self.path,self.links,self.resources,self.ids,self.tags,self.stack = path,[],[],set(),Counter(),[]
        self.text,self.shown,self.folded,self.article = [],[],[],[]
        self.feed(path.read_text(encoding='utf-8'))

    def handle_starttag(self, tag, attrs):
        a = dict(attrs)
        if tag not in self.void: self.stack.append((tag, a))
        if a.get('id'): self.ids.add(a['id'])
        if tag == 'a' and a.get('href') is not None: self.links.append(a['href'])
        if tag in ('img','script','iframe','source') and a.get('src'): self.resources.append(a['src'])
        if tag == 'link' and a.get('rel') not in ('canonical','prev','next'): self.resources.append(a['href'])
        if self.inside('article'): self.tags[tag] += 1

    def handle_endtag(self, tag):
        while any(t == tag for t,_ in self.stack):
            if self.stack.pop()[0] == tag: return

    def inside(self, tag): return any(t == tag for t,_ in self.stack)

    def handle_data(self, data):
        if self.inside('script') or self.inside('style'): return
        self.text.append(data)
        if not self.inside('article'): return
        self.article.append(data)
        closed = any(t == 'details' and 'open' not in a for t,a in self.stack) and not self.inside('summary')
        (self.folded if closed else self.shown).append(data)

@pytest.fixture(scope='module')
def pages(site): return {p.relative_to(site).as_posix(): Page(p) for p in sorted(site.rglob('*.html'))}

def url(stem): return 'index.html' if stem == 'index' else f'{stem}/index.html'

def target(site, page, link):
    "File and fragment that a link of a page on this site leads to"
    parts = urlsplit(urljoin(f'http://site/{page}', link))
    path = site/unquote(parts.path).lstrip('/')
    return (path/'index.html' if path.is_dir() else path), unquote(parts.fragment)

def test_there_is_a_page_for_every_notebook_and_module(pages):
    guides = [p.stem for p in (root/'docs/pages').glob('*.md')]
    assert set(pages) == {'404.html', 'api/index.html', *(f'guides/{g}/index.html' for g in guides), *map(url, notebooks), *(f'api/{m}/index.html' for m in modules)}
    home = pages['index.html']
    for l in lessons: assert any(o.rstrip('/').endswith(l) for o in pages['api/index.html'].links + home.links), f'{l} is not in the navigation'

def test_every_link_leads_somewhere(site, pages):
    bad = []
    for name,page in pages.items():
        for l in page.links + page.resources:
            if re.match(r'(https?|mailto):', l): continue
            if name == '404.html': l = l.removeprefix('/recsys_course')       # served from any depth, so its links are absolute
            path,fragment = target(site, name, l)
            if not path.is_file(): bad.append(f'{name}: {l}')
            elif fragment and path.suffix == '.html' and fragment not in pages[path.relative_to(site).as_posix()].ids | {'__top'}: bad.append(f'{name}: {l} (no such place)')
    assert not bad

def test_links_to_github_name_files_of_this_repository(pages):
    bad = []
    for name,page in pages.items():
        for l in page.links:
            if m := re.match(r'https://(?:github\.com|colab\.research\.google\.com/github)/recsys-course/recsys_course/(?:blob|tree)/main/([^#]*)', l):
                if not (root/m[1]).exists(): bad.append(f'{name}: {l}')
    assert not bad

def test_nothing_comes_from_elsewhere(site, pages):
    foreign = {f'{n}: {r}' for n,p in pages.items() for r in p.resources if re.match('(https?:)?//', r)}
    assert not foreign
    for css in site.rglob('*.css'):
        for ref in re.findall(r'url\(["\']?([^"\')]+)', css.read_text(encoding='utf-8')):
            assert ref.startswith(('data:', '#')) or (css.parent/ref.split('?')[0].split('#')[0]).is_file(), f'{css.name}: {ref}'

def squeeze(text): return re.sub(r'\s+', ' ', ''.join(text)).strip()

@pytest.mark.parametrize('stem', notebooks)
def test_page_shows_what_the_notebook_shows(pages, stem):
    page,cells = pages[url(stem)],notebooks[stem]
    text,visible = squeeze(page.article),squeeze(page.shown)
    assert not re.search(r'^(#\||\s*#+ *(BEGIN|END) SOLUTION)', ''.join(page.text), re.M) and '@@output' not in text
    assert not re.search(r'(/root/|/home/\w|/tmp/\w|[A-Z]:\\Users)|'+re.escape(str(root)), text)
    directive = {d: re.compile(rf'^#\| *{d}$', re.M) for d in ('hide', 'echo: false')}
    def has(c, d): return bool(directive[d].search(''.join(c['source'])))
    outputs = [o for c in cells for o in c.get('outputs', []) if not has(c, 'hide') and not (has(c, 'echo: false') and 'data' not in o)]
    pictures = [p for c in cells if c['cell_type'] == 'markdown' for p in re.findall(r'!\[[^\]]*\]\((?!http)', ''.join(c['source']))]
    assert page.tags['img'] == sum('image/png' in o.get('data', {}) for o in outputs) + len(pictures)
    for o in outputs:
        data = o.get('data', {})
        if o['output_type'] == 'stream': assert squeeze(o['text']) in visible
        elif 'text/markdown' in data and 'text/html' not in data: assert all(w in visible for w in re.findall(r'[A-Za-z]{4,}', re.sub(r'\([^)]*\)', '', ''.join(data['text/markdown']))))
        elif data.keys() == {'text/plain'}: assert squeeze(data['text/plain']) in visible
    assert page.tags['table'] >= sum('<table' in ''.join(o.get('data', {}).get('text/html', '')) for o in outputs)
    assert 'IPython.core' not in visible
    hidden = []
    for c in cells:
        src = ''.join(c['source'])
        lines = [l for l in src.split('\n') if l.strip() and not l.startswith('#|') and not l.strip().startswith('###')]
        if c['cell_type'] != 'code' or not lines: continue
        if has(c, 'hide') or has(c, 'echo: false'): hidden.append(squeeze('\n'.join(lines)))
        elif 'BEGIN SOLUTION' not in src: assert squeeze('\n'.join(lines)) in text
    if stem != '93_exercise': assert not [h for h in hidden if h in text]   # that lesson quotes the install cell

@pytest.mark.parametrize('stem', notebooks)
def test_prose_reads_as_in_jupyter(pages, stem):
    "Every paragraph, item and heading, as Jupyter's own renderer (another than the site's) has it, formulas left out"
    from nbconvert.filters import markdown2html
    class Blocks(HTMLParser):
        found,now = (),None
        def handle_starttag(self, tag, attrs):
            if tag in ('p','li','td','h2','h3','h4'): self.now = ''
        def handle_data(self, data):
            if self.now is not None: self.now += data
        def handle_endtag(self, tag):
            if tag in ('p','li','td','h2','h3','h4') and self.now: self.found,self.now = (*self.found, self.now.rstrip('¶')),None
    text = squeeze(pages[url(stem)].article)
    for c in notebooks[stem]:
        if c['cell_type'] != 'markdown': continue
        blocks = Blocks(); blocks.feed(markdown2html(''.join(c['source'])))
        for b in blocks.found:
            for part in re.split(r'\$\$.*?\$\$|\$[^$]*\$', b, flags=re.S): assert squeeze(part) in text

@pytest.mark.parametrize('stem', [s for s in lessons if any('BEGIN SOLUTION' in ''.join(c['source']) for c in notebooks[s])])
def test_solutions_are_folded_and_blanks_are_not(pages, stem):
    page = pages[url(stem)]
    shown,folded = squeeze(page.shown),squeeze(page.folded)
    n = 0
    for c in notebooks[stem]:
        if c['cell_type'] != 'code': continue
        src = ''.join(c['source'])
        for m in re.finditer(r'### BEGIN SOLUTION\n(.*?)\n *### END SOLUTION', src, re.S):
            n += 1
            assert squeeze(m[1]) in folded
            if len(m[1]) > 40: assert squeeze(m[1]) not in shown
    assert shown.count('raise NotImplementedError') >= n > 0
    assert 'grade(' not in re.sub(r'def grade\(|`?grade\(fn', '', shown) or stem == '93_exercise'

@pytest.mark.parametrize('stem', lessons)
def test_lesson_can_be_run_read_and_taken(site, pages, stem):
    links = pages[url(stem)].links
    assert any(l.endswith(f'/blob/main/nbs/{stem}.ipynb') and l.startswith('https://colab.research.google.com/github/') for l in links)
    assert any(l.endswith(f'/blob/main/nbs/{stem}.ipynb') and l.startswith('https://github.com/') for l in links)
    assert json.loads((site/f'{stem}.ipynb').read_text(encoding='utf-8'))['cells'] == notebooks[stem]

# ---- API pages

def promised(module):
    m = import_module(f'recsys_course.{module}')
    return [(k, getattr(m, k)) for k in m.__all__ if inspect.isclass(getattr(m, k)) or inspect.isfunction(getattr(m, k))]

def public_functions(module):
    "Syntax trees of the functions and methods a module promises, read from its text alone"
    names = {k for k,_ in promised(module)}
    for n in ast.parse((root/f'recsys_course/{module}.py').read_text(encoding='utf-8')).body:
        if isinstance(n, ast.ClassDef) and n.name in names:
            yield from (f for f in n.body if isinstance(f, ast.FunctionDef) and (f.name[0] != '_' or f.name == '__init__'))
        if not isinstance(n, ast.FunctionDef) or n.name[0] == '_': continue
        patched = any('patch' in ast.unparse(d) for d in n.decorator_list)
        if n.name in names or patched and ast.unparse(n.args.args[0].annotation) in names: yield n

@pytest.mark.parametrize('module', [m for m in modules if m != 'cli'])
def test_api_page_explains_every_parameter(pages, module):
    page = pages[f'api/{module}/index.html']
    text = squeeze(page.article).replace('`', '')
    source = (root/f'recsys_course/{module}.py').read_text(encoding='utf-8').splitlines()
    for name,obj in promised(module):
        methods = [f'{name}.{k}' for k,v in vars(obj).items() if k[0] != '_' and inspect.isfunction(v)] if inspect.isclass(obj) else []
        assert {name, *methods} <= page.ids
        if obj.__doc__: assert squeeze(obj.__doc__.replace('`', '').split('\n')[0]) in text
    for fn in public_functions(module):
        for arg in fn.args.args + fn.args.kwonlyargs:
            if arg.arg in ('self', 'cls'): continue
            assert re.search(rf'\b{arg.arg}\b', text)
            if len(re.findall(r'\w+:', source[arg.lineno-1])) > 2: continue     # several parameters share a line and its comment
            if comment := re.search(r'#\s+(.*)$', source[arg.lineno-1]): assert squeeze(comment[1].replace('`', '')) in text, f'{fn.name}({arg.arg})'

@pytest.mark.parametrize('module', [m for m in modules if m != 'cli'])
def test_source_links_point_at_the_definition(pages, module):
    source = (root/f'recsys_course/{module}.py').read_text(encoding='utf-8').splitlines()
    links = [l for l in pages[f'api/{module}/index.html'].links if '.py#L' in l]
    assert len(links) >= len(promised(module))
    for l in links:
        file,start,end = re.search(r'/recsys_course/(\w+)\.py#L(\d+)-L(\d+)$', l).groups()
        lines = source if file == module else (root/f'recsys_course/{file}.py').read_text(encoding='utf-8').splitlines()
        assert re.match(r'\s*(@|(?:async )?def |class )', lines[int(start)-1]) and int(start) <= int(end) <= len(lines)

# ---- In a browser

class Browser:
    "Headless Chromium, spoken to by its DevTools protocol"
    def __init__(self):
        websocket = pytest.importorskip('websocket', reason='needs websocket-client, which jupyterlab brings')
        self.dir = tempfile.mkdtemp()
        self.process = subprocess.Popen([chromium, '--headless', '--no-sandbox', '--disable-gpu', '--remote-debugging-port=0', '--remote-allow-origins=*',
                                         f'--user-data-dir={self.dir}', 'about:blank'], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        port,path = self.address()
        self.socket,self.n,self.events,self.session = websocket.create_connection(f'ws://127.0.0.1:{port}{path}', timeout=60),0,[],{}
        tab = self('Target.createTarget', url='about:blank')['targetId']
        self.session = dict(sessionId=self('Target.attachToTarget', targetId=tab, flatten=True)['sessionId'])
        for domain in ('Page','Runtime','Log','Network'): self(f'{domain}.enable')

    def address(self):
        file,until = Path(self.dir)/'DevToolsActivePort',time.monotonic()+30
        while time.monotonic() < until:
            if file.is_file() and len(res := file.read_text().split()) == 2: return res
            time.sleep(.05)
        raise TimeoutError('Chromium did not start in 30 s')

    def __call__(self, method, **params):
        self.n += 1
        self.socket.send(json.dumps(dict(id=self.n, method=method, params=params, **self.session)))
        while (m := json.loads(self.socket.recv())).get('id') != self.n: self.events.append(m)
        assert 'error' not in m, m
        return m['result']

    def js(self, code):
        "Value of an expression on the page, promises awaited"
        res = self('Runtime.evaluate', expression=code, awaitPromise=True, returnByValue=True)
        assert 'exceptionDetails' not in res, res
        return res['result'].get('value')

    def width(self, pixels): self('Emulation.setDeviceMetricsOverride', width=pixels, height=900, deviceScaleFactor=1, mobile=pixels < 600)

    def open(self, url, dark=False):
        self.width(1280)
        self('Emulation.setEmulatedMedia', features=[dict(name='prefers-color-scheme', value='dark' if dark else 'light')])
        self.events = []
        self('Page.navigate', url=url)
        while not any(e.get('method') == 'Page.loadEventFired' for e in self.events): self.events.append(json.loads(self.socket.recv()))

    def complaints(self, home):
        "Errors on the console, failed requests, and requests to elsewhere"
        for e in self.events:
            p = e.get('params', {})
            match e.get('method'):
                case 'Runtime.exceptionThrown': yield p['exceptionDetails'].get('text')
                case 'Runtime.consoleAPICalled' if p['type'] in ('error','assert'): yield str(p['args'])[:300]
                case 'Log.entryAdded' if p['entry']['level'] == 'error': yield f"{p['entry']['text']} {p['entry'].get('url')}"
                case 'Network.loadingFailed' if not p.get('canceled'): yield p['errorText']
                case 'Network.responseReceived' if p['response']['status'] >= 400: yield p['response']['url']
                case 'Network.requestWillBeSent' if not p['request']['url'].startswith((home, 'data:', 'blob:')): yield 'fetches '+p['request']['url']

    def close(self):
        self.process.terminate(); self.process.wait(10)
        shutil.rmtree(self.dir, ignore_errors=True)

class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args): pass

@pytest.fixture(scope='module')
def home(site):
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), partial(Quiet, directory=site))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f'http://127.0.0.1:{server.server_port}/'
    server.shutdown()

@pytest.fixture(scope='module')
def browser():
    if not chromium: pytest.skip('needs Chromium: apt-get install chromium')
    b = Browser()
    yield b
    b.close()

broken = """Promise.all([...document.images].map(i => { i.loading = 'eager'; return i.decode().catch(() => 0) }))
    .then(() => [...document.images].filter(i => !(i.naturalWidth > 0 && i.getBoundingClientRect().width > 20)).map(i => i.src))"""
solutions_seen = "[...document.querySelectorAll('details.success')].filter(d => d.open || d.querySelector('.highlight').checkVisibility({contentVisibilityAuto: true})).length"
formulas_unseen = "[...document.querySelectorAll('math')].filter(m => m.checkVisibility() && m.getBoundingClientRect().width < 3).length"
wide = "document.documentElement.scrollWidth"

@pytest.mark.parametrize('page', [*map(url, notebooks), 'api/index.html', *(f'api/{m}/index.html' for m in modules)])
def test_page_in_a_browser(browser, home, pages, page):
    browser.open(home+page.removesuffix('index.html'))
    assert browser.js(broken) == []
    assert browser.js('document.images.length') == pages[page].tags['img']
    assert not browser.js(solutions_seen) and not browser.js(formulas_unseen)
    browser.js('new Promise(f => setTimeout(f, 50))')   # what the page's scripts do late
    assert not [*browser.complaints(home)]
    browser.width(390)
    assert browser.js(wide) <= 390, "wider than a phone"

def test_formulas_are_set_in_the_font_that_comes_with_the_site(browser, home):
    browser.open(home+'11_factorize/')
    assert browser.js('document.fonts.ready.then(() => [...document.fonts].some(f => f.family.includes("Site Math") && f.status == "loaded"))')
    assert browser.js('document.querySelectorAll("math").length') > 20

def test_dark_mode_follows_the_system_and_can_be_switched(browser, home):
    ground = 'getComputedStyle(document.body).backgroundColor.match(/[\\d.]+/g).slice(0, 3).map(Number).reduce((a, b) => a+b)/3'
    for dark in (True, False):
        browser.open(home); browser.js('localStorage.clear()')
        browser.open(home, dark=dark)
        assert (browser.js(ground) < 80) == dark
    browser.js('document.querySelector("[data-md-component=palette] label:not([hidden])").click()')
    assert browser.js(ground) < 80
    browser.js('localStorage.clear()')

def found(browser, home, query):
    "Pages that the search names, best first"
    browser.open(home)
    browser.js(f"""const box = document.querySelector("[data-md-component=search-query]"); box.focus(); box.value = {json.dumps(query)};
        new Promise(done => setTimeout(() => {{ box.dispatchEvent(new Event('keyup')); done() }}, 1000))""")
    browser.js("""new Promise((done, fail) => { let n = 0, t = setInterval(() => {
        if (document.querySelector('.md-search-result__link')) { clearInterval(t); setTimeout(done, 1500) } else if (++n > 100) { clearInterval(t); done() } }, 100) })""")      # they come one by one
    links = browser.js("[...document.querySelectorAll('.md-search-result__link')].map(a => a.pathname)")
    return list(dict.fromkeys(l.strip('/').removeprefix('site/') for l in links))

@pytest.mark.parametrize('query,hit,within', [('cold start', '31_bootstrap', 2), ('bandit', '51_explore', 2), ('session', '23_sequence', 2), ('off-policy', '52_offpolicy', 2), ('RRF', '40_candidates', 2),
    ('factorisation', '11_factorize', 3), ('nginx', 'guides/proxy', 2), ('nbgrader', 'guides/lecturers', 2), ('ItemKNN', 'api/recommender', 20)])
def test_search_finds_lessons_first(browser, home, query, hit, within):
    pages = found(browser, home, query)
    assert any(hit in p for p in pages[:within]), pages

def test_lessons_stand_by_part(site):
    text = (site/'index.html').read_text(encoding='utf-8')
    nav = text[text.index('md-nav--primary'):]                                    # the part's tab, then its list
    parts = [list(re.finditer(rf'>\s*{p}\s*<', nav))[1].start() for p in ('0 First steps', '1 Stars', '2 Clicks', '3 More than ids', '4 A page', '5 The world answers', '6 Size', '9 Workshop')]
    first = [re.search(rf'{n}_\w+/', nav).start() for n in ('00', '10', '20', '30', '40', '50', '60', '90')]
    assert all(p < f for p, f in zip(parts, first)) and all(f < p for f, p in zip(first, parts[1:]))

# ---- The recommender of the home page

@pytest.fixture(scope='module')
def tried():
    "The recommender of the home page as Python has it, and its cards"
    sys.path.insert(0, str(root/'docs'))
    import tryout
    inter = tryout.log()
    model = tryout.small_model(inter)
    return model, tryout.data(model, inter)

def test_the_recommender_of_the_home_page_answers_as_python_does(browser, home, tried):
    model,data = tried
    browser.open(home)
    rng = np.random.default_rng(0)
    for n in (1, 1, 2, 3, 5, 12):
        likes = rng.choice(data['cards'], n, replace=False).tolist()
        found = browser.js(f'tryRecommend({likes})')
        want = model.recommend(model.fold_in(model.items.decode(likes)), k=5)
        assert [o['item'] for o in found] == model.items.encode(want['item']).tolist()
        assert [o['score'] for o in found] == want.score.tolist()
        for o in found: assert o['because'] in likes and model.weights[o['because'], o['item']] == model.weights[likes, o['item']].max()

def test_the_recommender_of_the_home_page_works_by_keyboard_and_on_a_phone(browser, home, tried):
    data = tried[1]
    browser.open(home)
    cards = 'document.querySelectorAll("#try button")'
    assert browser.js(f'{cards}.length') == 12 and 'appears' in browser.js('document.querySelector("#try ol").innerText')
    browser.js(f'{cards}[3].focus()')
    for kind in ('keyDown', 'keyUp'): browser('Input.dispatchKeyEvent', type=kind, key='Enter', code='Enter', windowsVirtualKeyCode=13, text='\r' if kind == 'keyDown' else '')
    assert browser.js(f'{cards}[3].getAttribute("aria-pressed")') == 'true'
    lines = browser.js('[...document.querySelectorAll("#try li")].map(o => o.innerText)')
    assert len(lines) == 5 and all(data['titles'][data['cards'][3]] in l for l in lines)
    place = browser.js('["cx", "cy"].map(c => +document.querySelector(".try-you").getAttribute(c))')
    assert place == data['places'][data['cards'][3]]
    browser.width(390)
    assert browser.js(wide) <= 390 and browser.js(f'[...{cards}].every(o => o.getBoundingClientRect().height >= 44)')
    browser.js(f'{cards}[3].click()')
    assert browser.js('document.querySelectorAll("#try li").length') == 1

def test_the_recommender_of_the_home_page_is_small(site):
    text = (site/'index.html').read_text(encoding='utf-8')
    part = re.search(r'<section id="try".*?</section>', text, re.S)[0]
    assert len(part) + (site/'try.js').stat().st_size < 300_000
