"Looking inside: files read back, the report in a browser, odd titles, and input that is no use"
import html, re, shutil, subprocess, sys
from types import SimpleNamespace

import matplotlib; matplotlib.use('Agg')
import matplotlib.pyplot as plt, numpy as np, pandas as pd, pytest

from recsys_course.data import Interactions
from recsys_course.factorize import ALS, BiasedMF, FullBatchMF
from recsys_course.interpret import *
from recsys_course.recommender import Bias, Popular

nasty = {1: '<script>document.title="broken"</script>', 2: 'Tab\there\nand "there"', 3: r'$5 \nope $6 (1999)', 4: 'Misérables, Les (1995)', 5: '', 6: 'x'*300, 7: '# hash', 8: "'quoted'"}
info = pd.DataFrame(dict(title=list(nasty.values()), year=pd.array([1990,1991,1999,1995,None,2000,2001,2002], 'Int64'),
                         genres=['Drama|War','Drama','Comedy','Comedy','','Drama','War','Comedy|War']), pd.Index(list(nasty), name='item'))

@pytest.fixture(scope='module')
def inter():
    rng = np.random.default_rng(0)
    u,i = np.nonzero(rng.random((60, 8)) < .6)
    return Interactions.from_df(pd.DataFrame(dict(user=u+1, item=i+1, rating=rng.integers(1, 6, len(u)))), item_info=info)

@pytest.fixture(scope='module')
def model(inter): return BiasedMF(n_factors=4).fit(inter)

@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close('all')

def read_projector(paths): return np.loadtxt(paths[0], dtype=np.float32), pd.read_csv(paths[1], sep='\t', quoting=3, keep_default_na=False)

def check_projector(paths, model, inter):
    X, meta = read_projector(paths)
    codes = model.items.encode(meta['item'])
    assert np.array_equal(X, model.item_factors[codes]) and meta['item'].is_unique and len(meta) == len(X)
    assert meta.ratings.tolist() == inter.df['item'].value_counts()[meta['item']].tolist()
    flat = {i: ' '.join(t.split()) or '' for i, t in nasty.items()}
    assert [t for t in meta.title] == [flat[i] for i in meta['item']]

def test_projector_round_trip(model, inter, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'torch.utils.tensorboard', None)                         # as if it were not installed
    paths = to_projector(tmp_path/'new'/'folder', model, inter)
    assert [p.name for p in paths] == ['vectors.tsv', 'metadata.tsv']
    check_projector(paths, model, inter)
    check_projector(to_projector(tmp_path/'new'/'folder', model, inter), model, inter)       # again, over the old files
    assert b'\r' not in paths[0].read_bytes() + paths[1].read_bytes()

def test_projector_through_tensorboard(model, inter, tmp_path):
    pytest.importorskip('tensorboard')
    for _ in range(2): paths = to_projector(tmp_path, model, inter)
    assert paths[0].name == 'tensors.tsv' and (tmp_path/'projector_config.pbtxt').is_file()
    check_projector(paths, model, inter)

def test_projector_without_data(model, inter, tmp_path):
    "The titles that the model met in fit, or ids"
    title = read_projector(to_projector(tmp_path, model))[1].set_index('item').title
    assert title[4] == nasty[4] and title[2] == ' '.join(nasty[2].split()) and title[5] == 'item 5'
    bare = BiasedMF(n_factors=4).fit(Interactions.from_df(inter.df))
    assert read_projector(to_projector(tmp_path, bare))[1].title.str.match(r'item \d+$').all()

def test_what_the_model_knows_without_data(model, inter, tmp_path):
    assert top_bias(model, k=8).title.tolist() == [nasty[i] or 'item 5' for i in top_bias(model, k=8)['item']]
    assert nasty[4] in [t.get_text() for t in plot_items(model).texts]
    assert set(component_traits(model).trait) == {'ratings (log)'}
    page = interpret_report(model, tmp_path).read_text(encoding='utf-8')
    assert 'Misérables, Les (1995)' in page and 'mean rating' not in page and 'What the components lean to' not in page
    found = search_items('les', model)
    assert found['item'].tolist() == [4] and found.ratings.tolist() == [inter.df['item'].eq(4).sum()]
    assert show_items([4], data=model)[0].texts[0].get_text().startswith('Misérables')

@pytest.mark.parametrize('make', [lambda: BiasedMF(n_factors=4), lambda: ALS(n_factors=4), lambda: FullBatchMF(n_factors=4), lambda: Bias()], ids='BiasedMF ALS FullBatchMF Bias'.split())
def test_report_of_every_kind_of_model(make, inter, tmp_path):
    m = make().fit(inter)
    page = interpret_report(m, tmp_path, inter).read_text(encoding='utf-8')
    assert ('What people like' in page) == bool(np.any(getattr(m, 'item_bias', 0)))
    assert ('A map of the items' in page) == hasattr(m, 'item_factors')
    assert '<script' not in page and '&lt;script&gt;' in page
    assert not re.search(r'(src|href)="(?!data:)', page), 'the page must need nothing else'

def test_torch_models_answer(inter, tmp_path):
    torch = pytest.importorskip('torch')
    from recsys_course.models import DotProduct, DotProductBias
    torch.manual_seed(0)
    rec = SimpleNamespace(users=inter.users, items=inter.items, seen=inter.csr('ones'), model=DotProductBias(len(inter.users), len(inter.items), 4))
    assert len(top_bias(rec, inter, k=2)) == 4
    assert np.allclose(embedding_pca(rec, 4).explained.sum(), 1)
    assert 'A map of the items' in interpret_report(rec, tmp_path, inter).read_text(encoding='utf-8')
    turned = SimpleNamespace(**{**vars(rec), 'item_rows': np.arange(len(inter.items))[::-1]})     # as after a learner with its own order of rows
    assert np.allclose(learned(turned, 'item_bias'), learned(rec, 'item_bias')[::-1])
    rec.model = DotProduct(len(inter.users), len(inter.items), 4)
    with pytest.raises(TypeError, match='has no item_bias'): top_bias(rec, inter)

def browser():
    return next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome', 'chrome'))), None)

def in_browser(page, tmp_path, *args):
    "Output of a headless browser on a page"
    if not browser(): pytest.skip('needs Chromium')
    cmd = [browser(), '--headless', '--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking', f'--user-data-dir={tmp_path/"profile"}', *args, page.as_uri()]
    return subprocess.run(cmd, capture_output=True, text=True, timeout=120, encoding='utf-8', errors='replace')

def test_report_in_a_browser(model, inter, tmp_path):
    "At the width of a phone nothing is wider than the page, all figures show, and no title became a script"
    page = interpret_report(model, tmp_path, inter)
    ask = ("<script>onload=()=>{const f=document.querySelector('iframe'),d=f.contentDocument,i=[...d.images];"
           "document.body.innerHTML=`width ${d.documentElement.scrollWidth} figures ${i.filter(o=>o.complete&&o.naturalWidth>300).length} of ${i.length} title ${d.title}`}</script>")
    frame = tmp_path/'phone.html'
    frame.write_text(f'<iframe width=390 height=800 style="border:0" srcdoc="{html.escape(page.read_text(encoding="utf-8"))}"></iframe>{ask}', encoding='utf-8')
    out = in_browser(frame, tmp_path, '--dump-dom', '--virtual-time-budget=5000').stdout
    found = re.search(r'width (\d+) figures (\d+) of (\d+) title ([^<]*)', out)
    assert found, out[-500:]
    assert int(found[1]) <= 390 and found[2] == found[3] == '3' and found[4].startswith('What BiasedMF has learned')
    shot = tmp_path/'shot.png'
    in_browser(page, tmp_path, '--window-size=1000,2000', f'--screenshot={shot}')
    image = plt.imread(shot)
    assert image.shape[:2] == (2000, 1000) and image[...,:3].std() > .05, 'the page is blank'

def test_labels_never_overlap_at_any_resolution(inter, tmp_path):
    rng = np.random.default_rng(1)
    for n, spread in ((1, 1), (2, 0), (80, 1), (80, .01)):
        fig, ax = plt.subplots(figsize=(8, 5), dpi=50 if n > 2 else 200, layout='constrained')
        xy = rng.normal(0, spread, (n, 2))
        dots = ax.scatter(*xy.T)
        label_points(dots, [f'A title of item {j}'[:rng.integers(4, 20)] for j in range(n)])
        for dpi in (60, 100, 220):
            fig.set_dpi(dpi); fig.canvas.draw()
            b = np.array([t.get_window_extent().extents for t in ax.texts if t.get_visible()]).reshape(-1, 4)
            meet = (b[:,None,:2] < b[None,:,2:]).all(-1) & (b[None,:,:2] < b[:,None,2:]).all(-1)
            assert len(b) and not (meet & ~np.eye(len(b), dtype=bool)).any(), (n, spread, dpi)
            dot = ax.transData.transform(xy)
            assert not ((b[:,None,:2] + 1 < dot) & (b[:,None,2:] - 1 > dot)).all(-1).any(), 'a label hides a point'
        assert n < 80 or len(b) > 40, 'most labels find a place'
        frame = ax.get_window_extent().padded(1)
        assert all(frame.x0 <= x0 and x1 <= frame.x1 and frame.y0 <= y0 and y1 <= frame.y1 for x0,y0,x1,y1 in b)

def test_the_same_map_every_time(model, inter):
    one, two = (plot_items(model, inter) for _ in range(2))
    assert [t.get_position() for t in one.texts] == [t.get_position() for t in two.texts]

def test_lines_lead_to_labels_that_are_shown():
    fig, ax = plt.subplots(figsize=(3, 2), layout='constrained')
    texts = label_points(ax.scatter(*np.random.default_rng(0).normal(size=(2, 40))), ['A long title'] * 40)
    hidden = [t for t in texts if not t.get_visible()]
    assert hidden and not any(p.get_visible() for p in ax.patches if p.patchA in hidden)

def test_keep_apart_takes_the_first():
    boxes = np.array([[0,0,2,2], [1,1,3,3], [2,0,4,1], [5,5,6,6.]])
    assert keep_apart(boxes, np.zeros((0, 4))).tolist() == [True, False, True, True]         # touching is not overlapping
    assert keep_apart(boxes, np.array([[5.5,5.5,5.6,5.6]])).tolist() == [True, False, True, False]

@pytest.mark.parametrize('of', ['item', 'user'])
def test_components_by_hand(model, of):
    pca = embedding_pca(model, 3, least=1, of=of)
    X = getattr(model, f'{of}_factors')[getattr(model, f'{of}s').encode(pca.coords.index)].astype(float)
    U, s, V = np.linalg.svd(X - X.mean(0), full_matrices=False)
    sign = np.sign(V[np.arange(len(V)), np.abs(V).argmax(1)])
    assert np.allclose(pca.coords, (U*s*sign)[:,:3]) and np.allclose(pca.components, (V*sign[:,None])[:3])
    assert np.allclose(pca.explained, (s**2/(s**2).sum())[:3]) and np.allclose(pca.mean, X.mean(0))

def test_factors_that_do_not_vary(inter):
    m = BiasedMF(n_factors=4).fit(inter)
    m.item_factors[:] = 1
    pca = embedding_pca(m)
    assert np.allclose(pca.coords, 0) and pca.explained.tolist() == [0, 0]

def test_traits_by_hand(inter):
    ids = pd.Index([1,2,3,4,5,8], name='item')
    traits = item_traits(ids, inter, [1,2,3,4,5,6], least=3)
    assert list(traits) == ['Comedy', 'year', 'ratings (log)']                                # two of six are dramas: too few
    year = info.year[ids].astype(float)
    year = year.fillna(year.mean())
    assert np.allclose(traits.year, (year - year.mean())/year.std(ddof=0))
    assert np.allclose(traits.Comedy/2, np.array([0,0,1,1,0,1]) - 1/2)

def test_plot_items_takes_odd_titles(model, inter, tmp_path):
    ax = plot_items(model, inter)
    ax.figure.savefig(tmp_path/'map.png')
    assert r'$5 \nope $6 (1999)' in [t.get_text() for t in ax.texts]
    assert max(len(t.get_text()) for t in ax.texts) <= 30

def test_show_items_never_shows_a_broken_image(inter, tmp_path):
    from PIL import Image
    posters = tmp_path/'posters'; posters.mkdir()
    for i, mode in ((1,'RGB'), (2,'L'), (3,'CMYK')): Image.new(mode, (200, 300)).save(posters/f'{i}.jpg')
    (posters/'4.jpg').write_bytes(b''); (posters/'5.jpg').write_bytes((posters/'1.jpg').read_bytes()[:200]); (posters/'6.jpg').write_text('<html>'); (posters/'7.jpg').mkdir()
    Image.new('RGB', (50, 400)).save(posters/'8.jpg')                                # far from 2 to 3
    axes = show_items(list(nasty), posters, ncols=3, data=inter)
    assert [len(ax.images) for ax in axes] == [1,1,1,0,0,0,0,1]
    axes[0].figure.savefig(tmp_path/'shelf.png')
    x0, x1, y0, y1 = axes[7].images[0].get_extent()
    assert np.isclose((y1-y0)/(x1-x0), 8) and y1-y0 <= 1.5001

def test_poster_ids_stay_in_the_folder(tmp_path):
    from PIL import Image
    (tmp_path/'posters').mkdir(); Image.new('RGB', (20, 30)).save(tmp_path/'secret.jpg')
    ax, = show_items(['../secret'], tmp_path/'posters')
    assert not ax.images

def test_show_items_takes_recommendations(model, inter):
    recs = model.recommend([1, 2], k=2)
    assert len(show_items(recs, data=inter)) == len(recs)
    with pytest.raises(KeyError, match='99'): show_items([1, 99], data=inter)
    with pytest.raises(KeyError, match='99'): show_items([1, 99], data=info)
    with pytest.raises(ValueError, match='between 1 and 200'): show_items(range(1, 300))
    with pytest.raises(FileNotFoundError, match='no folder'): show_items([1], 'nowhere')

def test_search(inter):
    assert search_items('SCRIPT>', inter)['item'].tolist() == [1]
    assert search_items('les', info)['item'].tolist() == [4] and search_items('misera', info)['item'].tolist() == [4]
    for special in '.*+?^()[]{}|\\': assert special not in ''.join(nasty.values()) or len(search_items(special, info))
    assert search_items('^', info).empty and search_items('[', info).empty
    assert list(search_items('zzz', inter)) == ['item', 'title', 'year', 'genres', 'ratings']
    with pytest.raises(TypeError, match='text=None'): search_items(None, info)
    with pytest.raises(ValueError, match='no titles'): search_items('a', Interactions.from_df(inter.df))
    with pytest.raises(ValueError, match='k=0'): search_items('a', info, k=0)
    with pytest.raises(ValueError, match='pass data'): search_items('a', None)
    with pytest.raises(ValueError, match='pass data'): search_widget(None)
    with pytest.raises(ValueError, match='pass data'): search_items('a', BiasedMF(n_factors=4).fit(Interactions.from_df(inter.df)))

def test_html_table():
    page = html_table(pd.DataFrame(dict(a_b=['<i>' + 'x'*90, None], year=pd.array([1990, None], 'Int64'), p=[.0021, .5], n=[1000, 2])))
    assert re.findall('<td>(.*?)</td>', page) == ['&lt;i&gt;' + 'x'*90, '1990', '0.002', '1000', '', '', '0.50', '2']
    assert '<th>a b</th>' in page and 'class="dataframe n2 n3 n4"' in page

def test_widget_or_table(monkeypatch, inter):
    monkeypatch.setitem(sys.modules, 'ipywidgets', None)
    assert search_widget(inter).equals(search_items('', inter, 10))
    monkeypatch.delitem(sys.modules, 'ipywidgets')
    pytest.importorskip('ipywidgets')
    w = search_widget(inter)
    w.children[0].value = 'script'
    assert '&lt;script&gt;' in w.children[1].value and '<script' not in w.children[1].value
    w.children[0].value = 'nothing like it'
    assert re.search(r'<tbody>\s*</tbody>', w.children[1].value)

def test_bad_models(inter, tmp_path):
    popular = Popular().fit(inter)
    for f in (lambda: top_bias(popular), lambda: embedding_pca(popular), lambda: plot_items(popular), lambda: to_projector(tmp_path, popular), lambda: interpret_report(popular, tmp_path)):
        with pytest.raises(TypeError, match='Popular has no item_(bias|factors): ask a model'): f()
    for m in (BiasedMF(), BiasedMF):
        with pytest.raises((TypeError, RuntimeError), match='BiasedMF'): top_bias(m)
    nan = BiasedMF(n_factors=4).fit(inter); nan.item_factors[3,1] = np.nan
    with pytest.raises(ValueError, match='holds NaN'): embedding_pca(nan)
    assert not list(tmp_path.iterdir()), 'nothing may be left behind'

def test_bad_arguments(model, inter):
    with pytest.raises(ValueError, match='k=1.5'): embedding_pca(model, 1.5)
    with pytest.raises(ValueError, match='at most 4 components'): embedding_pca(model, 5)
    with pytest.raises(ValueError, match="of='film'"): embedding_pca(model, of='film')
    with pytest.raises(ValueError, match='least=99'): top_bias(model, least=99)
    with pytest.raises(ValueError, match='none of these items'): top_bias(model, info.set_axis(info.index + 100))
    with pytest.raises(ValueError, match='several rows for item 1'): top_bias(model, pd.concat([info, info]))
    with pytest.raises(KeyError, match='99'): plot_items(model, inter, items=[1, 99])

def test_smallest_data(tmp_path):
    "Two items, no titles, nothing that varies"
    two = Interactions.from_df(pd.DataFrame(dict(user=[1,1,2,2], item=['a','b','a','b'], rating=[5,1,4,2])))
    m = BiasedMF(n_factors=3).fit(two)
    assert 'item a' in interpret_report(m, tmp_path, two).read_text(encoding='utf-8')
    same = pd.DataFrame(dict(title=['A','B'], genres='Drama', year=1990), ['a','b'])
    assert interpret_report(m, tmp_path, same).is_file() and top_bias(m, same, k=1)['item'].tolist() == ['a','b']

def test_inputs_are_left_alone(model, inter, tmp_path):
    before = inter.df.copy(), info.copy(), model.item_factors.copy(), plt.get_fignums()
    interpret_report(model, tmp_path, inter); to_projector(tmp_path, model, inter); top_bias(model, inter)
    assert before[0].equals(inter.df) and before[1].equals(info) and np.array_equal(before[2], model.item_factors) and before[3] == plt.get_fignums()

def test_the_module_is_light():
    "No torch, no widgets and no browser at import"
    code = "import sys; import recsys_course.interpret; print([m for m in ('torch','ipywidgets','tensorboard') if m in sys.modules])"
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True).stdout.strip() == '[]'
