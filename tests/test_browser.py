"A real browser walks through the pages: search, rate five, see the list change, reason, dislike, reload, forget me; skipped where there is none"

import os, shutil, socket, threading, time
from concurrent.futures import ThreadPoolExecutor

import pytest

from recsys_course.recommender import ItemKNN
from recsys_course.serve import Settings, create_app
from recsys_course.simulate import World

BROWSER = os.environ.get('RECSYS_COURSE_BROWSER') or shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')
sync_api = pytest.importorskip('playwright.sync_api', reason='needs playwright (pip install playwright)')
if BROWSER is None: pytest.skip('needs Chromium: none is installed, or set RECSYS_COURSE_BROWSER', allow_module_level=True)
SHOTS, AXE = os.environ.get('RECSYS_COURSE_SHOTS'), os.environ.get('RECSYS_COURSE_AXE')       # folder for screenshots, path of axe.min.js

@pytest.fixture(scope='module')
def address(tmp_path_factory):
    import uvicorn
    inter = World(n_users=300, n_items=300).sample(12_000)
    app = create_app(ItemKNN().fit(inter), tmp_path_factory.mktemp('b')/'b.db', Settings(rate=0, operator_key='key', noun='film'), inter)
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        port = s.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level='error', server_header=False))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started: time.sleep(.05)
    yield f'http://127.0.0.1:{port}'
    server.should_exit = True
    thread.join(10)

@pytest.fixture(scope='module')
def chromium():
    with sync_api.sync_playwright() as p:
        b = p.chromium.launch(executable_path=BROWSER, args=['--headless', '--no-sandbox'])
        yield b
        b.close()

def follow(locator):
    "Click, and wait until the page it leads to is there: a page asked in between has no document"
    with locator.page.expect_navigation(): locator.click()

def look(page, name):
    "No page is wider than its window; where they are asked for, a screenshot and the findings of axe"
    assert page.evaluate('document.documentElement.scrollWidth <= window.innerWidth'), f'{name} scrolls sideways'
    if SHOTS: page.screenshot(path=f'{SHOTS}/{name}.png', full_page=True)

@pytest.mark.parametrize('width,colours,script', [(390, 'light', True), (390, 'dark', False), (1280, 'light', False), (1280, 'dark', True)])
def test_a_walk(chromium, address, width, colours, script):
    context = chromium.new_context(viewport=dict(width=width, height=844), color_scheme=colours, java_script_enabled=script)
    page, said = context.new_page(), []
    page.on('console', lambda m: said.append(m.text))
    page.on('pageerror', lambda e: said.append(str(e)))
    page.on('requestfailed', lambda r: said.append(r.url))
    page.on('request', lambda r: said.append(r.url) if not r.url.startswith(address) else None)
    name = f'{width}-{colours}'
    page.goto(address)
    shot = (lambda step: look(page, f'{name}-{step}')) if script else (lambda step: page.screenshot(path=f'{SHOTS}/{name}-{step}.png', full_page=True) if SHOTS else None)
    shot('1-first')
    before = page.locator('.cards').first.locator('h2').all_inner_texts()
    page.get_by_label('Search films').fill('a')
    follow(page.get_by_role('button', name='Search'))
    shot('2-search')
    for k in range(5):
        follow(page.locator('.cards > li').nth(k).get_by_role('button', name=' 5 of 5'))
        page.get_by_role('heading', level=1, name='Search').wait_for()
    follow(page.get_by_role('link', name='My list'))
    after = page.locator('.cards').first.locator('h2').all_inner_texts()
    assert after != before and '5 rated' in page.inner_text('main')
    reason = page.locator('.cards').first.inner_text()
    assert 'Because of' in reason and 'you gave it 5' in reason
    shot('3-list')
    follow(page.get_by_role('button', name=f'Not interested in {after[0]}'))
    again = page.locator('.cards').first.locator('h2').all_inner_texts()
    assert after[0] not in again
    page.reload()
    assert page.locator('.cards').first.locator('h2').all_inner_texts() == again
    follow(page.get_by_role('link', name=again[0], exact=True).first)
    assert page.get_by_role('heading', level=2, name='Similar films').is_visible()
    shot('4-film')
    follow(page.get_by_role('link', name='Operator'))
    page.get_by_label('Key').fill('key')
    follow(page.get_by_role('button', name='Log in'))
    assert 'p95' in page.inner_text('main')
    shot('5-operator')
    follow(page.get_by_role('link', name='API', exact=True))
    shot('6-api')
    follow(page.get_by_role('link', name='What is kept of me'))
    shot('7-me')
    follow(page.get_by_role('button', name='Forget me'))
    assert 'You are forgotten' in page.inner_text('main')
    follow(page.get_by_role('link', name='Begin again'))
    assert page.locator('.cards').first.locator('h2').all_inner_texts() == before
    assert not said, said
    context.close()

def rate(address, n, ready, cookies=()):
    "In a browser of its own: rate five films at the same time as others do; the titles that /me lists then, and the cookies"
    with sync_api.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=BROWSER, args=['--headless', '--no-sandbox'])
        context = browser.new_context()
        page = context.new_page()
        context.add_cookies(list(cookies))
        page.goto(f'{address}/search?q=a')
        titles = page.locator('.cards h2').all_inner_texts()[5*n:5*n + 5]
        ready.wait(60)
        for title in titles:
            page.goto(f'{address}/search?q=a')
            follow(page.get_by_role('button', name=f'Rate {title} {5 - n} of 5'))
            page.get_by_role('heading', level=1, name='Search').wait_for()
        ready.wait(60)
        page.goto(address + '/me')
        text, kept = page.inner_text('main'), context.cookies()
        browser.close()
    return titles, text, kept

def test_two_browsers_rate_at_once(address):
    with ThreadPoolExecutor(2) as pool:
        ready = threading.Barrier(2)
        (mine, me, cookies), (yours, you, _) = pool.map(lambda n: rate(address, n, ready), (0, 1))
        for titles, text, others in ((mine, me, yours), (yours, you, mine)):
            assert len(titles) == 5 and all(t in text for t in titles) and not any(t in text for t in others)
        # One person on two machines: nothing is lost
        ready = threading.Barrier(2)
        (a, one, _), (b, two, _) = pool.map(lambda n: rate(address, n, ready, cookies), (0, 1))
        assert all(t in one and t in two for t in (*a, *b))

def test_with_the_keyboard_alone(chromium, address):
    context = chromium.new_context(viewport=dict(width=390, height=844))
    page = context.new_page()
    page.goto(address)
    def focus(): return page.evaluate('document.activeElement.innerText || document.activeElement.getAttribute("aria-label") || document.activeElement.id')
    page.keyboard.press('Tab')
    assert focus() == 'To the content'
    for _ in range(40):
        page.keyboard.press('Tab')
        if page.evaluate('(document.activeElement.getAttribute("aria-label") || "").startsWith("Rate")'): break
    assert page.evaluate('getComputedStyle(document.activeElement).outlineStyle') == 'solid'
    page.keyboard.press('Enter')
    page.get_by_text('1 rated').wait_for()
    context.close()

@pytest.mark.skipif(AXE is None, reason='set RECSYS_COURSE_AXE to the path of axe.min.js')
@pytest.mark.parametrize('colours', ['light', 'dark'])
def test_axe_finds_nothing_serious(chromium, address, colours):
    context = chromium.new_context(viewport=dict(width=390, height=844), color_scheme=colours, bypass_csp=True)
    page = context.new_page()
    page.goto(address)
    follow(page.locator('.cards > li').nth(1).get_by_role('button', name=' 5 of 5'))
    film = page.locator('.cards h2 a').first.get_attribute('href')
    for path in ('/', '/search?q=a', film, '/me', '/api', '/operator'):
        page.goto(address + path)
        page.add_script_tag(path=AXE)
        found = page.evaluate('axe.run().then(r => r.violations.map(v => [v.impact, v.id, v.nodes.length, v.nodes[0].html.slice(0, 200)]))')
        assert not [v for v in found if v[0] in ('serious', 'critical', 'moderate')], (path, found)
    context.close()
