"""Draw the README's picture, docs/images/readme.webp, from what the library computes: `python .ci/picture.py`.

It needs MovieLens 100K, playwright, Chromium and, to look the same, the typeface Inter, so it is run by hand when what it
shows has changed. picture.html holds the looks; titles, places, reasons and figures come from here, and the telephone shows
pages of the served application."""
import base64, io, json, os, re, shutil, socket, sys, threading, time
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

root = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(root))

from recsys_course.cast import COLOURS, find_film
from recsys_course.datasets import load_movielens
from recsys_course.evaluate import compare
from recsys_course.implicit import ImplicitALS
from recsys_course.interpret import component_traits, embedding_pca, most_rated, rating_counts
from recsys_course.recommender import Popular
from recsys_course.serve import Settings, create_app

LEAST = 20                                                  # ratings of a film on the map
PEOPLE = [['Aladdin', 'Lion King', 'Beauty and the Beast', 'Pinocchio', 'Cinderella'],
          ['Alien', 'Blade Runner', 'Terminator, The', 'Aliens', '2001: A Space'],
          ['Sense and Sensibility', 'Emma', 'Much Ado', 'English Patient', 'Full Monty']]
FPS, SCREEN = 10, (340, 500, 1.235)                         # CSS pixels of the telephone, and how many of the picture each of them takes

def make_model(): return ImplicitALS(32, 10, n_threads=1, seed=42)

def short(title):
    "A title without its year, the article in front"
    return re.sub(r'^(.*), (The|A|An|Il)$', r'\2 \1', re.sub(r' \(.*', '', title))

# ---- What the library says

def person(model, inter, pca, chosen):
    "Five films, where each of them takes you, the ten films made for you, and the film that speaks most for each"
    ids, info = [find_film(t, inter) for t in chosen], inter.item_info.title
    users = [model.fold_in(dict.fromkeys(ids[:n+1], 5)) for n in range(len(ids))]
    lists = [model.recommend(u, k=10, exclude=ids[:n+1])['item'] for n, u in enumerate(users)]
    you, recs = [pca.at(l).mean().tolist() for l in lists], lists[-1]              # you are amid the films that you would be shown
    query, reasons = model.query(users[-1]), []
    for c in model.items.encode(recs):
        known, adds = model.contributions(query, c)
        reasons.append(ids.index(model.items.decode(known[[adds.argmax()]])[0]))
    def films(items): return [dict(title=short(info[i]), at=at) for i, at in zip(items, pca.at(items).to_numpy().tolist())]
    return dict(ids=ids, chosen=films(ids), you=you, made=films(recs), reasons=reasons)

def ends(model, inter, k):
    "What lies at the low and the high end of a component, of the traits that chance does not explain"
    traits = component_traits(model, inter, 2, LEAST)
    r = traits[(traits.component == k) & (traits.p < .05)].set_index('trait').correlation
    words = {'year': ('older', 'newer'), 'ratings (log)': ('little known', 'well known')}
    def end(trait, sign): return words[trait][int(sign*r[trait] > 0)] if trait in words else trait.lower()
    return [end(r.idxmin(), -1), end(r.idxmax(), 1)]

def proof(inter):
    "How good the ten films are on what each person rated last, beside those of the most popular"
    res = compare(dict(Popular=Popular(), model=make_model()), *inter.split('user_time'))
    return [[name, *map(float, res.loc[row, 'ndcg'][['value', 'low', 'high']])] for name, row in (('yours', 'model'), ('most popular', 'Popular'))]

def findings(inter, model):
    "All that the picture says"
    pca = embedding_pca(model, 2, LEAST)
    size, known = rating_counts(model)[pca.coords.index], most_rated(model, pca.coords.index, 60)
    return dict(dots=np.c_[pca.coords, size].round(4).tolist(), ratings=len(inter.df), users=inter.df.user.nunique(),
                landmarks=[dict(title=short(inter.item_info.title[i]), at=at) for i, at in zip(known, pca.at(known).to_numpy().tolist())],
                across=ends(model, inter, 1), up=ends(model, inter, 2), people=[person(model, inter, pca, c) for c in PEOPLE],
                proof=proof(inter), colours=COLOURS)

# ---- The served page

@contextmanager
def served(model, inter):
    "The address of the application while it runs"
    import uvicorn
    with TemporaryDirectory() as tmp, socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        app = create_app(model, f'{tmp}/people.db', Settings(rate=0, operator_key='key'), inter)
        server = uvicorn.Server(uvicorn.Config(app, log_level='error', server_header=False))
        thread = threading.Thread(target=server.run, kwargs=dict(sockets=[s]), daemon=True)
        thread.start()
        while not server.started: time.sleep(.05)
        yield 'http://127.0.0.1:{}'.format(s.getsockname()[1])
        server.should_exit = True
        thread.join(10)

def telephone(browser, address, titles):
    "Rate films on the page as a person does; what a telephone then shows, as PNG"
    width, height, scale = SCREEN
    context = browser.new_context(viewport=dict(width=width, height=height), device_scale_factor=scale, color_scheme='light')
    page = context.new_page()
    for item, title in titles.items():
        page.goto(f'{address}/item/{item}')
        with page.expect_navigation(): page.get_by_role('button', name=f'Rate {title} 5 of 5').click()
    page.goto(address)
    page.evaluate("scrollTo(0, document.querySelector('.cards').getBoundingClientRect().top - 29)")
    png = page.screenshot()
    context.close()
    return png

# ---- Frames

def frames(browser, found):
    "Pictures and the milliseconds each is shown; equal ones in a row are one"
    page = browser.new_page(viewport=dict(width=1280, height=800))
    page.set_content(Path(__file__).with_name('picture.html').read_text(encoding='utf-8').replace('/*found*/', json.dumps(found)))
    page.evaluate('document.fonts.ready')
    last, res = None, []
    for n in range(round(page.evaluate('length')*FPS/1000)):
        page.evaluate(f'draw({n*1000/FPS})')
        png = page.locator('#card').screenshot(omit_background=True)
        if png == last: res[-1][1] += 1000//FPS
        else: res.append([Image.open(io.BytesIO(png)).convert('RGBA'), 1000//FPS])
        last = png
    return res

def main(out=root/'docs/images/readme.webp'):
    "Write the picture"
    from playwright.sync_api import sync_playwright
    inter = load_movielens('100k')
    model, titles = make_model().fit(inter), inter.item_info.title
    found = findings(inter, model)
    chromium = os.environ.get('RECSYS_COURSE_BROWSER') or shutil.which('chromium') or shutil.which('google-chrome')
    with sync_playwright() as p, served(model, inter) as address:
        browser = p.chromium.launch(executable_path=chromium, args=['--headless', '--no-sandbox'])
        for one in found['people']:
            png = telephone(browser, address, {i: titles[i] for i in one.pop('ids')})
            one['page'] = 'data:image/png;base64,' + base64.b64encode(png).decode()
        shown = frames(browser, found)
        browser.close()
    (first, _), *rest = shown
    first.save(out, save_all=True, append_images=[f for f, _ in rest], duration=[ms for _, ms in shown], loop=0, quality=84, method=4, minimize_size=True)
    print(f"{out.name}: {len(shown)} frames, {sum(ms for _, ms in shown)/1000:g} s, {out.stat().st_size/1e6:.2f} MB")

if __name__ == '__main__': main(*map(Path, sys.argv[1:]))
