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
    flat = {i: ' '.join(t.split()) or f'item {i}' for i, t in nasty.items()}
    assert [t for t in meta.title] == [flat[i] for i in meta['item']]

def test_projector_round_trip(model, inter, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'torch.utils.tensorboard', None)                         # as if it were not installed
    paths = to_projector(tmp_path/'new'/'folder', model, inter)
    assert [p.name for p in paths] == ['vectors.tsv', 'metadata.tsv']
    check_projector(paths, model, inter)
    check_projector(to_projector(tmp_path/'new'/'folder', model, inter), model, inter)       # again, over the old files
    assert b'\r' not in paths[0].read_bytes() + paths[1].read_bytes()

def read_config(folder):
    "Paths of vectors and metadata that TensorBoard is told of, which must lie in the folder"
    text = (folder/'projector_config.pbtxt').read_text(encoding='utf-8')
    return [folder/re.search(rf'{name}_path: "([^"]+)"', text)[1] for name in ('tensor','metadata')]

@pytest.mark.parametrize('installed', [True, False])
def test_projector_has_settings_for_tensorboard(model, inter, tmp_path, monkeypatch, installed):
    "The same files, with the settings, whether or not TensorBoard is there when they are written"
    if not installed: monkeypatch.setitem(sys.modules, 'torch.utils.tensorboard', None)
    for _ in range(2): paths = to_projector(tmp_path, model, inter)
    assert read_config(tmp_path) == list(paths)
    check_projector(read_config(tmp_path), model, inter)
    assert sorted(p.name for p in tmp_path.iterdir()) == ['metadata.tsv', 'projector_config.pbtxt', 'vectors.tsv']

def test_tensorboard_reads_the_settings(model, inter, tmp_path):
    projector = pytest.importorskip('tensorboard.plugins.projector')
    from google.protobuf import text_format
    to_projector(tmp_path, model, inter)
    config = text_format.Parse((tmp_path/'projector_config.pbtxt').read_text(), projector.ProjectorConfig())
    assert [(e.tensor_path, e.metadata_path) for e in config.embeddings] == [('vectors.tsv', 'metadata.tsv')]

def test_neighbours_with_few_ratings_count_less(model, inter):
    "By hand: the cosine times n/(n + damping), all items, best first"
    n = inter.df['item'].value_counts()
    for damping in (0, 20, 1e6):
        near = near_items(model, [4, 2], inter, k=5, damping=damping)
        want = model.similar_items([4, 2], k=7)
        want['score'] *= n[want.similar].to_numpy()/(n[want.similar].to_numpy() + damping)
        for i in (4, 2):
            mine, theirs = near[near['item'] == i], want[want['item'] == i].nlargest(5, 'score')
            assert mine.similar.tolist() == theirs.similar.tolist() and np.allclose(mine.score, theirs.score)
            assert mine['rank'].tolist() == [1, 2, 3, 4, 5] and mine.ratings.tolist() == n[mine.similar].tolist()
        assert near['item'].tolist() == [4]*5 + [2]*5
    assert len(near_items(model, 4, k=100)) == 7
    with pytest.raises(ValueError, match='damping=-1'): near_items(model, 4, damping=-1)
    with pytest.raises(KeyError): near_items(model, 99)

def test_the_report_shows_how_many_rated_a_neighbour(model, inter, tmp_path):
    page = interpret_report(model, tmp_path, inter).read_text(encoding='utf-8')
    assert '<th>ratings</th>' in page.split('Who is near whom')[1]

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
    with pytest.raises(ValueError, match='no row for any of the 8'): top_bias(model, info.set_axis(info.index + 100))
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


# ---- Tables joined to nothing, missing values, odd input

ids8 = np.arange(10, 90, 10)
films = pd.DataFrame(dict(item=ids8, title=[f'T{i}' for i in ids8]))

@pytest.fixture(scope='module')
def tens(): return BiasedMF(n_factors=4).fit(events8())

def events8(as_id=int, shift=0):
    rng = np.random.default_rng(0)
    u,i = np.nonzero(rng.random((40, 8)) < .6)
    items = pd.Series((i+1)*10 + shift).map(as_id)
    return Interactions.from_df(pd.DataFrame(dict(user=u+1, item=items, rating=rng.integers(1, 6, len(u)))))

def as_polars(df): return pytest.importorskip('polars').DataFrame(df.to_dict('list'))
def as_arrow(df): return pytest.importorskip('pyarrow').Table.from_pandas(df)
def as_parquet(df):
    from io import BytesIO
    df.set_index('item').to_parquet(f := BytesIO())
    return pd.read_parquet(BytesIO(f.getvalue()))

right = dict(column=lambda d: d, backwards=lambda d: d[::-1], index=lambda d: d.set_index('item'), unnamed=lambda d: d.set_index('item').rename_axis(None),
    other_name=lambda d: d.rename(columns={'item':'movieId'}).set_index('movieId'), floats=lambda d: d.astype({'item':float}), float_index=lambda d: d.astype({'item':float}).set_index('item'),
    nullable=lambda d: d.convert_dtypes(), arrow=lambda d: d.convert_dtypes(dtype_backend='pyarrow'), category=lambda d: d.astype('category'), uint16=lambda d: d.astype({'item':'uint16'}),
    levels=lambda d: d.assign(no=0).set_index(['item','no']), series=lambda d: d.set_index('item').title, extra=lambda d: pd.concat([d, d.assign(item=d['item']+1, title='no')]),
    polars=as_polars, pyarrow=as_arrow, parquet=as_parquet)

@pytest.mark.parametrize('form', right)
def test_a_table_is_joined_by_its_ids(tens, form, tmp_path):
    table = right[form](films)
    for res in (top_bias(tens, table, k=8), search_items('t', right[form](films)), read_projector(to_projector(tmp_path, tens, table))[1]):
        res = res[res['item'] % 10 == 0]
        assert len(res) == 8 and res.title.tolist() == [f'T{i}' for i in res['item']]
    assert {t.get_text() for t in plot_items(tens, table).texts} <= set(films.title)
    assert show_items([30, 80], data=right[form](films))[1].texts[0].get_text() == 'T80'

wrong = dict(row_numbers=(lambda d: d[['title']], 'numbers its rows'), movie_id=(lambda d: d.rename(columns={'item':'movieId'}), r"set_index\('movieId'\)"), others=(lambda d: d.assign(item=d['item']+1), 'no row for any'),
    other_index=(lambda d: d.assign(item=d['item']+1).set_index('item'), 'no row for any'), text=(lambda d: d.astype({'item':str}), 'make both of one type'), empty=(lambda d: d[:0], 'no rows'), twice=(lambda d: pd.concat([d, d]), 'several rows'),
    dict=(lambda d: dict(zip(d['item'], d.title)), 'data is a dict'), list=(lambda d: d.title.tolist(), 'data is a list'), path=(lambda d: 'u.item', 'data is a str'), events=(lambda d: events8(shift=1), 'knows none'), text_events=(lambda d: events8(str), 'knows none'))

@pytest.mark.parametrize('form', wrong)
def test_a_table_of_other_items_is_refused(tens, form, tmp_path):
    make,says = wrong[form]
    for f in (top_bias, plot_items, component_traits, lambda m,d: to_projector(tmp_path, m, d), lambda m,d: interpret_report(m, tmp_path, d)):
        with pytest.raises((TypeError, ValueError), match=says): f(tens, make(films))
    assert not list(tmp_path.iterdir())

@pytest.mark.parametrize('form', [str, lambda i: f'{i}.0'])
def test_float_written_text_ids(form):
    "Text beside text is joined, '10.0' beside '10' is refused"
    m,table = BiasedMF(n_factors=2).fit(events8(str)),films.assign(item=films['item'].map(form))
    if form is str: assert top_bias(m, table).title.tolist() == [f'T{i}' for i in top_bias(m)['item']]
    else:
        with pytest.raises(ValueError, match="like '10.0'.*like '10'"): top_bias(m, table)

def test_a_table_of_some_items_says_how_many(tens):
    with pytest.warns(UserWarning, match='knows 3 of 8 items'): res = top_bias(tens, films[:3], k=8)
    assert res.title.tolist() == [f'T{i}' if i <= 30 else f'item {i}' for i in res['item']]
    with pytest.warns(UserWarning, match="no column 'title', it has \\['Title'\\]"): top_bias(tens, films.rename(columns=dict(title='Title')))
    shown = embedding_pca(tens).coords.index[:2]
    other = films[~films['item'].isin(shown)][:1]                                                   # none of those shown, but the right table
    with pytest.warns(UserWarning, match='knows 1 of 8'): ax = plot_items(tens, other, items=shown)
    assert [t.get_text() for t in ax.texts] == [f'item {i}' for i in shown]

def test_row_numbers_are_no_ids():
    table = films.rename(columns={'item':'movieId'})
    for f in (lambda: search_items('T', table), lambda: show_items([1, 2], data=table), lambda: show_items(table)):
        with pytest.raises(ValueError, match="which column holds the ids, as in table.set_index\\('movieId'\\)"): f()

def test_similar_items_are_shown_and_not_the_one_asked_for(tens):
    near = tens.similar_items(10, k=3)
    assert [a.texts[0].get_text() for a in show_items(near, data=films)] == [f'T{i}' for i in near.similar]

@pytest.mark.parametrize('title', ['', '  ', None, np.nan, pd.NA])
def test_a_missing_title_is_the_id(tens, title, tmp_path):
    table = films.assign(title=np.array([title, *films.title[1:]], object))
    assert item_table([10, 20], table).title.tolist() == ['item 10', 'T20']
    assert read_projector(to_projector(tmp_path, tens, table))[1].title[0] == 'item 10'

@pytest.mark.parametrize('genres,card', [(['Drama','War'], 'Drama, War'), (('Drama','War'), 'Drama, War'), (np.array(['Drama','War']), 'Drama, War'), ('Drama|War', 'Drama, War'), ([], ''), ('', ''), (None, ''), (np.nan, '')])
def test_genres_in_every_form(tens, genres, card, tmp_path):
    column = np.empty(8, object)
    for j in range(4): column[j] = genres
    column[4:] = None
    table = films.assign(genres=column, year=[1990., np.nan]*4)
    assert [t.get_text() for t in show_items([10], data=table)[0].texts] == ['T10', '1990', card]
    assert list(item_traits(ids8, table, least=1)) == (['Drama','War'] if card else [])
    assert set(read_projector(to_projector(tmp_path, tens, table))[1].genres) == ({'Drama|War', ''} if card else {''})
    page = interpret_report(tens, tmp_path, table).read_text(encoding='utf-8')
    assert ('<td>Drama</td>' in page) == False and 'T10' in page
    assert html_table(table).count('Drama|War') == (4 if card else 0)

def test_years_in_every_form():
    for year in (pd.to_datetime(['1990-05-01','1992-01-01']*4), ['1990','1992']*4, [1990., 1992]*4, pd.array([1990,1992]*4, 'Int64')):
        assert np.allclose(item_traits(ids8, films.assign(year=year)).year, [-1, 1]*4)
    with pytest.raises(ValueError, match="year: 'c. 1990' is no number"): item_traits(ids8, films.assign(year='c. 1990'))

given = dict(one=10, numpy=np.int64(10), float=10., whole_floats=[10., 20], tuple=(10, 20), series=pd.Series([10, 20]), index=pd.Index([10]), nullable=pd.array([10, 20], 'Int64'), category=pd.Categorical([10, 20]), twice=[10, 10])

@pytest.mark.parametrize('form', [*given, 'tensor', 'scalar', 'polars', 'generator'])
def test_ids_in_every_form(tens, form):
    pca = embedding_pca(tens, 2, least=1)
    items = given.get(form)
    if form in ('tensor','scalar'): items = pytest.importorskip('torch').tensor([10, 20] if form == 'tensor' else 10)
    if form == 'polars': items = pytest.importorskip('polars').Series([10, 20])
    if form == 'generator': items = (i for i in (10, 20))
    want = {'twice':[10,10]}.get(form, [10] if form in ('one','numpy','float','index','scalar') else [10,20])
    assert pca.at(items).equals(pca.coords.loc[want])

@pytest.mark.parametrize('items,says', [(None, 'missing'), ([np.nan], 'missing'), (b'10', 'bytes'), (np.array([[10]]), 'one column'), (True, 'boolean')])
def test_what_is_no_id(tens, items, says):
    for f in (embedding_pca(tens).at, show_items):
        with pytest.raises((TypeError, ValueError), match=says): f(items)

settings = [lambda m,x: top_bias(m, k=x), lambda m,x: top_bias(m, least=x), lambda m,x: embedding_pca(m, x), lambda m,x: plot_items(m, n=x), lambda m,x: plot_items(m, axes=(1, x)), lambda m,x: component_ends(embedding_pca(m), n=x),
    lambda m,x: component_ends(embedding_pca(m), component=x), lambda m,x: component_traits(m, k=x), lambda m,x: component_traits(m, n=x), lambda m,x: search_items('T', films, k=x), lambda m,x: show_items([10], ncols=x),
    lambda m,x: interpret_report(m, '.', k=x), lambda m,x: enough_ratings(m, most=x), lambda m,x: item_traits(ids8, films, least=x)]

@pytest.mark.parametrize('bad', [None, 0, -1, 1.5, float('inf'), float('nan'), '3', True, [2]], ids=str)
def test_settings_are_checked(tens, bad):
    for f in settings:
        with pytest.raises(ValueError, match=r'\w+='): f(tens, bad)
    if bad != 0:
        with pytest.raises(ValueError, match='seed='): largest_by_chance(np.ones((3, 1)), np.ones((3, 1)), 5, seed=bad if bad is not True else -1)

def test_a_whole_float_is_a_number(tens):
    assert top_bias(tens, k=2.).equals(top_bias(tens, k=2)) and embedding_pca(tens, 2.).coords.equals(embedding_pca(tens, 2).coords)
    assert component_ends(embedding_pca(tens), n=np.int64(2)).equals(component_ends(embedding_pca(tens), n=2.))
    assert len(search_items('', films, k=2.)) == 2 and len(top_bias(tens, k=10**18)) == 8
    for axes in ((1,), (1, 2, 3), 2, None):
        with pytest.raises(ValueError, match='axes='): plot_items(tens, axes=axes)

def around(inter, **tables): return SimpleNamespace(users=inter.users, items=inter.items, seen=inter.csr('ones'), **tables)

def test_tables_of_a_wrong_shape_are_refused():
    inter = events8()
    n = len(inter.items)
    for factors in (np.ones((3, 2)), np.ones((20, 2)), np.ones(n), [['a']]*n):
        with pytest.raises((TypeError, ValueError), match='item_factors of this SimpleNamespace'): embedding_pca(around(inter, item_factors=factors))
    for bias in (np.arange(20.), np.ones((n, 2))):
        with pytest.raises(ValueError, match='item_bias of this SimpleNamespace'): top_bias(around(inter, item_bias=bias))
    for m in (around(inter, item_bias=None), around(inter, model=None)):
        with pytest.raises(TypeError, match='SimpleNamespace has no item_bias: ask a model'): top_bias(m)

def test_torch_tables_in_every_form():
    torch = pytest.importorskip('torch')
    inter = events8()
    bias = torch.arange(9.)
    layer = torch.nn.Embedding(9, 1)
    layer.weight.data = bias[:,None]
    for b in (bias, bias[:,None], bias.bfloat16(), layer): assert learned(around(inter, item_bias=b), 'item_bias').tolist() == list(range(9))

@pytest.mark.parametrize('size', [1e-200, 1, 1e200])
def test_factors_of_any_size(size):
    X = np.random.default_rng(1).normal(size=(9, 3))
    small,big = (around(events8(), item_factors=X*s) for s in (1, size))
    one,two = embedding_pca(small, 3, least=1),embedding_pca(big, 3, least=1)
    assert np.allclose(one.explained, two.explained) and np.allclose(one.coords, two.coords/size) and np.isclose(two.explained.sum(), 1)
    assert np.allclose(component_traits(small, n=5).correlation, component_traits(big, n=5).correlation)

@pytest.mark.parametrize('value', [0, .1, 1e6+.1])
def test_factors_all_alike_have_no_directions(value):
    m = around(events8(), item_factors=np.full((9, 3), value))
    assert embedding_pca(m, 3).explained.tolist() == [0, 0, 0] and plot_explained(embedding_pca(m, 3)).tolist() == [0, 0, 0]
    assert component_traits(m, n=5).correlation.eq(0).all() and len(plot_items(m).texts) > 0

def test_one_item(tmp_path):
    one = Interactions.from_df(pd.DataFrame(dict(user=[1,2], item=5, rating=[1,5])))
    m = BiasedMF(n_factors=3).fit(one)
    assert interpret_report(m, tmp_path, one).is_file() and plot_explained(embedding_pca(m, 1)).tolist() == [0]
    with pytest.raises(ValueError, match='at most 1 components'): plot_items(m)

def test_shares_of_some_components_are_not_compared(tens):
    with pytest.raises(ValueError, match=r'these 2 components are not all.*k=4'): plot_explained(embedding_pca(tens, 2))

def test_users_are_not_called_by_films(tens):
    ends = component_ends(embedding_pca(tens, 2, of='user'), films, n=3)
    assert ends.stack().str.match(r'user \d+$').all()

odd = ['$5 \\nope', 'a_b^c', '<b>x</b>', 'x'*500, '日本語の長い題名'*10, '\x00', '\ud800', '\\frac{', '🎬', 'مرحبا', '$', '%s {}', 'a\x1bb']

@pytest.mark.filterwarnings('ignore:Glyph', 'ignore:.*Matplotlib currently')
@pytest.mark.parametrize('start', [0, 5])
def test_odd_titles_everywhere(tens, start, tmp_path):
    table = films.assign(title=pd.Series(odd[start:start+8], dtype=object))
    plot_items(tens, table).figure.savefig(tmp_path/'map.png')
    show_items(ids8, data=table)[0].figure.savefig(tmp_path/'shelf.png')
    page = interpret_report(tens, tmp_path, table).read_text(encoding='utf-8')
    assert '<b>x' not in page and len(read_projector(to_projector(tmp_path, tens, table))[1]) == 8

def test_a_long_word_keeps_its_beginning(tens):
    table = films.assign(title=[f'{j}' + '長'*50 for j in range(8)])
    assert all(len(t.get_text()) == 30 and t.get_text()[1:3] == '長長' for t in plot_items(tens, table).texts)

@pytest.mark.parametrize('n,spread', [(0, 1), (1, 1), (50, 0), (10_000, 0), (10_000, 1)])
def test_labels_of_any_number_of_points(n, spread):
    xy = np.random.default_rng(0).normal(0, spread, (n, 2))
    ax = plt.subplots(layout='constrained')[1]
    texts = label_points(ax.scatter(*xy.T), ['a title']*n)
    assert len(texts) <= 100 and bool(texts) == bool(n)
    b = np.array([t.get_window_extent().extents for t in texts if t.get_visible()]).reshape(-1, 4)
    meet = (b[:,None,:2] < b[None,:,2:]).all(-1) & (b[None,:,:2] < b[:,None,2:]).all(-1)
    assert not (meet & ~np.eye(len(b), dtype=bool)).any()

def test_labels_are_one_per_point():
    with pytest.raises(ValueError, match='1 labels for 2 points'): label_points(plt.subplots()[1].scatter([0,1], [0,1]), ['a'])

def test_plot_bias_takes_what_it_can_draw(tens):
    table = bias_table(tens, events8())
    for t in (table, table[:0], table[:1], pd.concat([table[:1]]*5), table.assign(ratings=10**6)): plot_bias(t)[0].figure.canvas.draw()
    with pytest.raises(ValueError, match='no mean_rating'): plot_bias(bias_table(tens))
    for axes in (plt.subplots()[1], plt.subplots(1, 3)[1]):
        with pytest.raises(ValueError, match='two are needed'): plot_bias(table, axes)

def test_titles_that_are_alike_all_stay(tens, tmp_path):
    page = interpret_report(tens, tmp_path, films.assign(title='Same')).read_text(encoding='utf-8')
    assert page.count('<figcaption>Same (') == 4

def test_html_table_of_odd_columns():
    assert html_table(pd.DataFrame({1: [[1, 2], []], 'x': np.array([.126, 2], np.float32)})).count('<td>') == 4
    assert '<td>1|2</td>' in html_table(pd.DataFrame({1: [[1, 2]]})) and '<td>0.13</td>' in html_table(pd.DataFrame(dict(a=np.float32([.126]))))
    assert html_table(pd.DataFrame(dict(a=range(300)))).count('<tr') == 301

def test_counts_of_ratings_must_be_counts():
    for counts in ([0]*8, [1, 2], [np.nan]*8):
        with pytest.raises(ValueError, match='counts are 8 numbers'): item_traits(ids8, films, counts)
