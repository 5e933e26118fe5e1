"""A recommender that runs in the reader's browser: item-item weights in a byte each, titles, and a map, for the home page.

Its lists are those of `EASE` with these weights: `tests/test_site.py` compares the two in Chromium."""
import base64,json,os

import numpy as np

from recsys_course.data import Interactions
from recsys_course.datasets import load_course_data
from recsys_course.implicit import EASE,to_implicit
from recsys_course.simulate import World

N_ITEMS,N_CARDS,N_LISTED = 150,12,5

def log():
    "What people met: the simulated world's films, or those of MovieLens where the reader has pointed at a copy"
    return to_implicit(load_course_data() if os.environ.get('RECSYS_COURSE_DATA') else World().sample())

def small_model(inter):
    "`EASE` on the items that most people met, with weights that fit into a byte"
    most = inter.df['item'].value_counts().index[:N_ITEMS]
    model = EASE()
    model.check_lists = False
    model.fit(Interactions.from_df(inter.df[inter.df['item'].isin(most)], duplicates='keep'))
    model.weights = np.rint(127*model.weights/np.abs(model.weights).max()).astype(np.float32)
    return model

def places(model):
    "Places of the items on a map, float, shape (n_items, 2), from -1 to 1: items that people share lie close"
    X = model.X[:,1:].toarray()
    X = X/np.maximum(np.linalg.norm(X, axis=0), 1e-9)
    C = X.T@X
    np.fill_diagonal(C, 0)
    C -= C.mean(0) + C.mean(1)[:,None] - C.mean()
    values,vectors = np.linalg.eigh(C)
    xy = vectors[:,np.argsort(-values)[:2]]
    ranks = xy.argsort(0).argsort(0)                          # evenly spread, so that titles have room
    return 2*ranks/(len(xy) - 1) - 1

def far_apart(xy, fame):
    "Item codes of the cards: famous ones, each far from those before it"
    some = np.argsort(-fame, kind='stable')[:4*N_CARDS]
    found = [some[0]]
    while len(found) < N_CARDS:
        gaps = np.linalg.norm(xy[some][:,None] - xy[found], axis=2).min(1)
        found.append(some[gaps.argmax()])
    return [int(i) + 1 for i in found]

def data(model, inter):
    "All that the page needs"
    xy,fame = places(model),np.asarray(model.X[:,1:].sum(0)).ravel()
    info = inter.item_info.loc[model.items.ids]
    titles = info.title if 'title' in info else info.index.astype(str)
    kinds = info.genres.astype(str).str.replace('|', ', ') if 'genres' in info else [''] * len(info)
    return dict(titles=['', *map(str, titles)], kinds=['', *map(str, kinds)], places=[[0, 0], *np.round(xy, 3).tolist()],
                cards=far_apart(xy, fame), k=N_LISTED, weights=base64.b64encode(model.weights.astype(np.int8).tobytes()).decode())

def section():
    "HTML of the part of the home page; raises ValueError if it has grown too large for a phone"
    inter = log()
    told = json.dumps(data(small_model(inter), inter), ensure_ascii=False, separators=(',', ':')).replace('<', '\\u003c')
    if len(told) > 250_000: raise ValueError(f'the recommender of the home page takes {len(told):,} bytes')
    return (f'<section id="try" class="try" aria-label="A recommender to try" data-search-exclude><p>Click the films that you like.</p><div class="try-cards"></div><div class="try-answer">'
            '<ol aria-live="polite"></ol><svg role="img" aria-label="A map of the films, and where you are on it" viewBox="-1.25 -1.15 2.5 2.3"></svg></div>'
            '<p class="try-key">Blue: what you like. Orange: your list. Films that the same people met lie close. All of it runs in this page.</p>'
            f'<noscript>The recommender on this page and the search need JavaScript; the lessons do not.</noscript><script type="application/json">{told}</script></section>')
