"What no lesson can show of retrieve: memory, damaged files, threads, fresh processes, and the backends that are extras"
import json, os, shutil, subprocess, sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np, pandas as pd, pytest, scipy.sparse as sp
from conftest import root

from recsys_course import retrieve
from recsys_course.check import check_recommender
from recsys_course.core import Damaged, Saveable, model_json
from recsys_course.data import Interactions, Vocab
from recsys_course.factorize import ALS, BiasedMF
from recsys_course.implicit import BPR, ImplicitALS
from recsys_course.recommender import Bias, ItemKNN, Linear, Popular, Recommender, SigmoidLink, User
from recsys_course.retrieve import ANNIndex, FaissGraph, Nearest, item_table, lift_items, similarity, top_k

EXTRAS = ['usearch', 'hnswlib', 'annoy']
METRICS = ['cosine', 'dot', 'euclidean']

def need(backend):
    if backend in EXTRAS: pytest.importorskip(backend, reason=f'{backend} is an extra: pip install {backend}')
    return backend

def points(): return np.random.default_rng(0).normal(size=(3000, 12)).astype(np.float32)

@pytest.fixture
def cloud(): return points()

def brute(q, x, k, metric, hide=None):
    "Independent of the library: double precision in NumPy"
    q, x = q.astype(float), x.astype(float)
    s = q@x.T
    if metric == 'cosine': s = s/np.maximum(np.sqrt(np.outer((q*q).sum(1), (x*x).sum(1))), 1e-300)
    if metric == 'euclidean': s = -np.sqrt(((q[:, None] - x[None])**2).sum(-1))
    s = s.astype(np.float32)
    if hide is not None: s[hide] = -np.inf
    rows = np.argsort(-s, axis=1, kind='stable')[:, :k]
    return rows, np.take_along_axis(s, rows, 1)

@pytest.mark.parametrize('metric', METRICS)
@pytest.mark.parametrize('kind', ['whole numbers', 'fractions', 'twins', 'zeros'])
def test_top_k_is_brute_force(metric, kind):
    rng = np.random.default_rng(0)
    x = rng.integers(-2, 3, (700, 9)) if kind == 'whole numbers' else rng.normal(size=(700, 9))
    if kind == 'twins': x = x[rng.integers(0, 350, 700)]
    if kind == 'zeros': x[::2] = 0
    x, q, hide = x.astype(np.float32), x[rng.permutation(700)[:270]].astype(np.float32), rng.random((270, 700)) < .2
    for k in (1, 10, 120, 121, 700, 5000):
        rows, scores = top_k(q, x, k, metric, seen=sp.csr_matrix(hide))
        want, best = brute(q, x, k, metric, hide)
        assert rows.shape == (270, min(k, 700)) and rows.dtype == np.int64 and scores.dtype == np.float32
        assert np.allclose(scores, best, atol=1e-6)
        assert (rows == np.where(best == -np.inf, -1, want)).all()

def test_scores_that_single_precision_cannot_tell_apart():
    rng = np.random.default_rng(0)
    x = (rng.normal(size=8) + 1e-7*rng.normal(size=(2000, 8))).astype(np.float32)
    for m in METRICS:
        rows, scores = top_k(x[:300], x, 10, m)
        want, best = brute(x[:300], x, 10, m)
        assert (scores == best).mean() > .999 and (rows == want).mean() > .999

def test_one_alone_is_as_in_a_batch(cloud):
    batch = top_k(cloud, cloud, 7)
    for i in (0, 255, 256, 2999):
        assert all((a[0] == b[i]).all() for a, b in zip(top_k(cloud[i], cloud, 7), batch))

def test_inputs_are_not_changed(cloud):
    x, seen = cloud.copy(), sp.csr_matrix(([1., 1.], [2, 0], [0, 2, *[2]*(len(cloud)-1)]), shape=(len(cloud),)*2)     # indices not sorted
    indices = seen.indices.copy()
    rows = top_k(cloud, cloud, 3, 'euclidean', seen=seen)[0]
    assert not {0, 2} & set(rows[0]) and (cloud == x).all() and (seen.indices == indices).all()

def test_exact_lists_of_many_in_little_memory(peak_growth):
    rng = np.random.default_rng(0)
    users, items = (rng.normal(size=(n, 16)).astype(np.float32) for n in (20_000, 30_000))       # all scores: 2.4 GB
    top_k(users[:600], items[:100])
    _, grown = peak_growth(lambda: top_k(users, items))
    assert grown < 200*2**20, f'{grown/1e6:.0f} MB'

@pytest.mark.parametrize('bad,message', [
    (dict(queries=np.full((1, 12), np.nan)), 'NaN'), (dict(queries=np.full((1, 12), 1e39)), 'infinity'), (dict(queries=np.ones((1, 5))), 'dimension 5'),
    (dict(k=0), 'at least one'), (dict(k=2.5), '2.5'), (dict(metric='l1'), "'l1'"), (dict(seen=sp.csr_matrix((1, 3))), 'shape'), (dict(queries=np.ones((2, 2, 2))), 'matrix')])
def test_bad_input_of_top_k(cloud, bad, message):
    with pytest.raises(ValueError, match=message): top_k(**{**dict(queries=cloud[:1], items=cloud), **bad})

def test_bad_items_of_top_k(cloud):
    cloud[7, 3] = np.inf
    with pytest.raises(ValueError, match='row 7'): top_k(np.ones(12), cloud)

def test_no_queries(cloud):
    rows, scores = top_k(np.zeros((0, 12)), cloud, 4)
    assert rows.shape == scores.shape == (0, 4)
    for m in METRICS:
        ids, scores = ANNIndex(cloud, m).query(np.zeros((0, 12)), 4)
        assert ids.shape == scores.shape == (0, 4)

@pytest.mark.parametrize('metric', METRICS)
@pytest.mark.parametrize('backend', ['faiss', 'exact', *EXTRAS])
def test_every_backend(backend, metric, cloud, tmp_path):
    index = ANNIndex(cloud[:2000], metric, need(backend), ids=[f'i{n}' for n in range(2000)]).build()
    assert index.recall(cloud[2000:], 10, effort=400) > .95
    ids, scores = index.query(cloud[2000:2100], 10, effort=400)
    want = brute(cloud[2000:2100], cloud[:2000], 10, metric)
    assert ids.dtype == object and (np.diff(scores) <= 0).all() and np.mean(np.abs(scores - want[1]) < 1e-5) > .95
    assert ids[0, 0] == f'i{want[0][0, 0]}'
    index.add(cloud[2000:], [f'i{n}' for n in range(2000, 3000)]).add(100*cloud[:1], ['long'])
    assert len(index) == 3001 and index.recall(cloud, 10, effort=400) > .95
    assert index.query(100*cloud[0], 2)[0][0].tolist().count('long') == 1
    near = index.query_items(['i5', 'i2500'], 4)
    assert near.columns.tolist() == ['item', 'similar', 'score', 'rank'] and near['rank'].tolist() == [1, 2, 3, 4]*2 and not (near['item'] == near.similar).any()
    index.save(tmp_path/'index')
    again = ANNIndex.load(tmp_path/'index')
    for a, b in zip(again.query(cloud[:50], 5), index.query(cloud[:50], 5)): assert (a == b).all()
    again.add(cloud[:1], ['new'])
    assert len(again) == 3002 and again.query_items('new', 1)['item'].tolist() == ['new']
    if metric != 'dot': assert 'new' in again.query(cloud[0], 3, effort=300)[0]

@pytest.mark.parametrize('backend', ['faiss', *EXTRAS])
def test_zeros_under_cosine(backend, cloud):
    x = np.vstack([cloud[:300], np.zeros((300, 12), np.float32)])
    index = ANNIndex(x, 'cosine', need(backend))
    ids, scores = index.query(cloud[:100], 5, effort=200)
    assert (ids < 300).mean() > .98
    assert (index.query(np.zeros(12), 3)[1] == 0).all()

def test_vectors_that_are_all_alike():
    for x in (np.zeros((200, 4)), np.ones((200, 4))):
        for m in METRICS:
            index = ANNIndex(x, m)
            ids, scores = index.query(np.ones((3, 4)), 5)
            assert ids.shape == (3, 5) and len(set(ids[0])) == 5 and np.ptp(scores) == 0
            assert index.add(x[:2]).query(np.ones(4), 5)[0].shape == (1, 5)

def test_missing_extra_names_the_command(cloud, monkeypatch):
    for backend, module in dict(usearch='usearch.index', hnswlib='hnswlib', annoy='annoy', faiss='faiss').items():
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(ImportError, match='pip install ' + ('faiss-cpu' if backend == 'faiss' else backend)): ANNIndex(cloud, backend=backend).build()

@pytest.mark.parametrize('bad,message', [(dict(vectors=np.full((3, 2), np.nan)), 'NaN'), (dict(backend='x'), "'x'"), (dict(metric='x'), "'x'"), (dict(ids=[1, 1, 2]), 'unique'),
    (dict(ids=[1, 2]), '2 ids for 3'), (dict(ids=Vocab([1, 2, 3])), '3 ids for 2'), (dict(effort=0), 'effort=0'), (dict(vectors=np.zeros((0, 4)), ids=None), 'at least one')])
def test_bad_input_of_an_index(bad, message):
    with pytest.raises(ValueError, match=message): ANNIndex(**{**dict(vectors=np.eye(3)), **bad})

def test_bad_queries(cloud):
    index = ANNIndex(cloud)
    with pytest.raises(ValueError, match='dimension 3, but 12'): index.query(np.ones(3))
    with pytest.raises(ValueError, match='NaN'): index.query(np.full(12, np.nan))
    with pytest.raises(ValueError, match='dimension'): index.add(np.ones((1, 3)))
    with pytest.raises(ValueError, match='row numbers'): index.add(cloud[:1], [9])
    with pytest.raises(KeyError, match='3000'): index.query_items(3000)
    assert index.query(cloud[0], 10**9)[0].shape == (1, 3000)
    assert len(ANNIndex(cloud[:1]).query(cloud[0])[0]) == 1 and ANNIndex(cloud[:1]).query_items(0).empty

@pytest.fixture(scope='module')
def kept(tmp_path_factory):
    folder, cloud = tmp_path_factory.mktemp('kept'), points()
    ANNIndex(cloud, 'dot').save(folder/'a')
    ANNIndex(cloud[:, :6], 'dot').save(folder/'b')
    return folder

@pytest.fixture
def saved(kept, tmp_path):
    "Two saved indexes that a test may spoil"
    for name in 'ab': shutil.copytree(kept/name, tmp_path/name)
    return tmp_path

def arrays_of(folder):
    "The file of arrays in the folder of a saved object"
    path, = folder.glob('*.safetensors')
    return path

@pytest.mark.parametrize('share', [0, .5, .999])
def test_file_cut_short(saved, share):
    for path in (arrays_of(saved/'a'), saved/'a/model.json'):
        whole = path.read_bytes()
        path.write_bytes(whole[:int(share*len(whole))])
        with pytest.raises(Damaged): ANNIndex.load(saved/'a')
        path.write_bytes(whole)
    assert len(ANNIndex.load(saved/'a')) == 3000

def test_file_of_another_dimension(saved):
    arrays_of(saved/'a').write_bytes(arrays_of(saved/'b').read_bytes())
    with pytest.raises(Damaged, match='is not the file that was written'): ANNIndex.load(saved/'a')

def test_file_gone(saved):
    arrays_of(saved/'a').unlink()
    with pytest.raises(Damaged, match='is missing'): ANNIndex.load(saved/'a')
    (saved/'a/model.json').unlink()
    with pytest.raises(FileNotFoundError, match='no saved model'): ANNIndex.load(saved/'a')

@pytest.mark.parametrize('about', [[1, 2], dict(args=dict(metric=dict(kind='json', value='cosin'))), dict(args=dict(backend=dict(kind='json', value='magic'))),
    dict(state=dict(radius=dict(kind='json', value=None))), dict(state=dict(stored=dict(kind='json', value=None))), dict(state=dict(filed=dict(kind='json', value=None)))])
def test_description_that_does_not_fit(saved, about):
    path = saved/'a/model.json'
    d = json.loads(path.read_text())
    if isinstance(about, dict):
        for part, values in about.items(): d[part] |= values
    else: d = about
    path.write_bytes(model_json(d) if isinstance(d, dict) else json.dumps(d).encode())
    for cls in (ANNIndex, Saveable):
        with pytest.raises(Damaged): cls.load(saved/'a')

def test_rows_that_were_never_filed(cloud, tmp_path):
    index = ANNIndex(cloud, 'dot').build()
    filed = index.filed
    for index.filed in (filed[:-1], filed + len(cloud), np.repeat(filed[:1], len(filed)), filed.astype(float)):
        index.save(tmp_path/'bad')
        with pytest.raises(Damaged): ANNIndex.load(tmp_path/'bad')

def test_another_class_in_the_folder(saved, inter):
    Popular().fit(inter).save(saved/'p')
    with pytest.raises(TypeError, match='holds a Popular'): ANNIndex.load(saved/'p')
    assert isinstance(Saveable.load(saved/'a'), ANNIndex)

@pytest.mark.parametrize('backend', ['faiss', *EXTRAS])
def test_load_without_the_backend(backend, cloud, tmp_path, monkeypatch):
    ANNIndex(cloud, backend=need(backend)).save(tmp_path/'a')
    monkeypatch.setitem(sys.modules, retrieve.backends[backend].module, None)
    with pytest.raises(ImportError, match=f'pip install {retrieve.backends[backend].package}'): ANNIndex.load(tmp_path/'a')

@pytest.mark.parametrize('ids', [None, range(5, 305), np.arange(300, dtype=np.int32)*2, np.arange(300)/2, [f'é{n}' for n in range(300)], [*range(299), 'last']])
def test_ids_keep_their_type(ids, cloud, tmp_path):
    index = ANNIndex(cloud[:300], ids=ids)
    index.save(tmp_path)
    again = ANNIndex.load(tmp_path)
    assert again.ids.equals(index.ids) and again.ids.dtype == index.ids.dtype
    a, b = (i.query(cloud[:9], 5)[0] for i in (index, again))
    assert a.dtype == b.dtype and (a == b).all() and [type(o) for o in a[0].tolist()] == [type(o) for o in b[0].tolist()]
    assert again.query_items(index.ids[7], 1)['item'].tolist() == [index.ids[7]]

def test_ids_that_no_file_can_hold(cloud, tmp_path):
    with pytest.raises(TypeError, match='ids'): ANNIndex(cloud[:2], ids=[('a', 1), ('b', 2)]).save(tmp_path)
    assert not list(tmp_path.iterdir())

def test_a_loaded_index_is_not_built_again(saved, cloud, monkeypatch):
    q = ANNIndex(cloud, 'dot').query(cloud[:20], 5)
    monkeypatch.setattr(FaissGraph, 'add', None)
    again = ANNIndex.load(saved/'a')
    assert all((a == b).all() for a, b in zip(again.query(cloud[:20], 5), q))
    again.save(saved/'c')
    assert all((a == b).all() for a, b in zip(ANNIndex.load(saved/'c').query(cloud[:20], 5), q))

@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='asks /proc for the memory of a process')
@pytest.mark.parametrize('backend', ['exact', 'faiss'])
def test_vectors_that_stay_in_their_file(backend, tmp_path):
    "Loaded with mapped=True, an index answers as before, and needs less memory by what its vectors take"
    rng = np.random.default_rng(0)
    ANNIndex(rng.normal(size=(100_000, 64)), 'dot', backend, effort=16, n_links=4, build_effort=8).save(tmp_path)
    code = """import sys
from recsys_course.retrieve import ANNIndex
def used(): return next(int(l.split()[1]) for l in open('/proc/self/status') if l.startswith('RssAnon'))
import faiss
before = used()
index = ANNIndex.load(sys.argv[1], mapped=sys.argv[2] == 'mapped')
print(used() - before, index.query([[1.]*64], 5)[0].tolist())"""
    said = [subprocess.run([sys.executable, '-c', code, str(tmp_path), how], env={**os.environ, 'PYTHONPATH': str(root)}, check=True, capture_output=True, text=True, timeout=300).stdout.split(maxsplit=1) for how in ('whole', 'mapped')]
    assert said[0][1] == said[1][1]
    assert int(said[0][0]) - int(said[1][0]) > .8*100_000*64*4/1024

def test_load_in_a_fresh_process(saved, cloud):
    code = f"import numpy as np; from recsys_course.retrieve import ANNIndex; print(ANNIndex.load({str(saved/'a')!r}).query(np.load({str(saved/'q.npy')!r}), 5)[0].tolist())"
    np.save(saved/'q.npy', cloud[:20])
    out = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True, env=os.environ | dict(OMP_NUM_THREADS='1')).stdout
    assert json.loads(out) == ANNIndex.load(saved/'a').query(cloud[:20], 5)[0].tolist()

@pytest.fixture
def inter():
    rng = np.random.default_rng(0)
    df = pd.DataFrame(dict(user=rng.integers(0, 80, 4000), item=rng.integers(100, 900, 4000), rating=rng.integers(1, 6, 4000))).drop_duplicates(['user', 'item'])
    return Interactions.from_df(df)

@pytest.mark.parametrize('make', [lambda: ALS(n_factors=8, n_epochs=3), lambda: BiasedMF(n_factors=8, n_epochs=5)])
@pytest.mark.parametrize('backend', ['exact', 'faiss'])
def test_recommend_from_an_index(make, backend, inter):
    model = make().fit(inter)
    index = ANNIndex.from_model(model, backend, effort=300)
    for exclude in (True, False):
        a, b = (model.recommend(inter.users.ids, 10, exclude, index=i) for i in (None, index))
        assert (a.user == b.user).all() and (a['rank'] == b['rank']).all() and len(b) == 10*len(inter.users.ids)
        assert np.mean(np.abs(a.score - b.score) < 1e-3) > .97
    seen = set(zip(inter.df.user, inter.df['item']))
    assert not seen & set(zip(*model.recommend(inter.users.ids, 50, index=index)[['user', 'item']].values.T))
    new = model.fold_in({101: 5., 102: 1.})
    assert not {101, 102} & set(model.recommend(new, 300, index=index)['item'])
    assert len(model.recommend([], index=index)) == 0
    with pytest.raises(KeyError, match='nobody'): model.recommend('nobody', index=index)

def test_user_who_has_seen_everything():
    rows = [('all', i, 3.) for i in range(60)] + [('most', i, 4.) for i in range(57)] + [('one', 0, 5.), ('two', 59, 1.)]
    inter = Interactions.from_df(pd.DataFrame(rows, columns=['user', 'item', 'rating']))
    model = ALS(n_factors=3, n_epochs=2).fit(inter)
    for backend in ('exact', 'faiss'):
        index = ANNIndex.from_model(model, backend)
        recs = model.recommend(['all', 'most', 'one'], 10, index=index)
        assert recs.groupby('user').size().to_dict() == dict(most=3, one=10) and set(recs[recs.user == 'most']['item']) == {57, 58, 59}

def test_index_of_another_model(inter):
    a, b = ALS(n_factors=8, n_epochs=1).fit(inter), ALS(n_factors=5, n_epochs=1).fit(inter)
    with pytest.raises(ValueError, match='dimension'): a.recommend(1, index=ANNIndex.from_model(b))
    few = Interactions.from_df(inter.df[inter.df['item'] < 500])
    with pytest.raises(ValueError, match='other items'): a.recommend(1, index=ANNIndex.from_model(ALS(n_factors=8, n_epochs=1).fit(few)))
    with pytest.raises(NotImplementedError, match='ItemKNN'): ANNIndex.from_model(ItemKNN().fit(inter))

class Squashed(ALS):
    "Its scores are a sigmoid of those of ALS"
    def linear(self): return Linear(*super().linear()[:2], SigmoidLink(1, 5))
    def vector_scores(self, vectors): return Recommender.vector_scores(self, vectors)
    def scores(self, user_codes): return Recommender.scores(self, user_codes)
    def scores_of(self, query, items): return Recommender.scores_of(self, query, items)

class Bent(ALS):
    "Its scores are no weighted sums, and it says so"
    def linear(self): return Recommender.linear(self)

def test_scores_that_are_linear_before_a_link(inter):
    model = Squashed(n_factors=4, n_epochs=2).fit(inter)
    for backend in ('exact', 'faiss'):
        got, want = model.recommend([1, 2], 5, index=ANNIndex.from_model(model, backend)), model.recommend([1, 2], 5)
        assert got['item'].equals(want['item']) and np.allclose(got.score, want.score, atol=1e-4)
        assert got.score.between(1, 5).all()

def test_scores_that_are_not_linear(inter):
    with pytest.raises(NotImplementedError, match='Bent are no weighted sum'): ANNIndex.from_model(Bent(n_factors=4, n_epochs=2).fit(inter))

def test_an_index_answers_for_models_that_end_in_a_sigmoid(inter):
    from recsys_course.learner import LearnerRecommender, collab_dls, collab_learner
    def fitted(**kw):
        learn = collab_learner(collab_dls(inter, holdout=0), n_factors=4, **kw)
        with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(1)
        return LearnerRecommender(learn, inter)
    for model in (fitted(), fitted(y_range=False)):
        got, want = model.recommend([1, 2], 5, index=ANNIndex.from_model(model, 'exact')), model.recommend([1, 2], 5)
        assert got['item'].equals(want['item']) and np.allclose(got.score, want.score, atol=1e-3)
    with pytest.raises(NotImplementedError, match='no weighted sum'): ANNIndex.from_model(fitted(use_nn=True))

def test_similarity_of_twins_is_equal():
    x = np.random.default_rng(0).normal(size=(50, 33)).astype(np.float32)
    for m in METRICS: assert (similarity(x, x, m) == similarity(np.vstack([x, x]), x, m)[50:]).all()

@pytest.mark.parametrize('backend', ['exact', 'faiss'])
@pytest.mark.parametrize('k', [1, 5, 40])
def test_only_some_items(backend, k, inter):
    model = ALS(n_factors=8, n_epochs=3).fit(inter)
    index, ids = ANNIndex.from_model(model, backend, effort=300), inter.items.ids
    for allowed in (ids[::2], ids[5:300], ids[3:4], ids[:0], ids):
        for exclude in (True, False):
            got, want = (model.recommend(inter.users.ids[:30], k, exclude, allowed, index=i) for i in (index, None))
            assert set(got['item']) <= set(allowed) and (got.user == want.user).all() and len(got) == len(want)
            if exclude: assert not set(zip(got.user, got['item'])) & set(zip(inter.df.user, inter.df['item']))
            if len(want): assert np.mean(np.abs(got.score - want.score) < 1e-3) > .98
    new = model.recommend([1, User({101: 5., 102: 1.})], k, items=ids[:50], index=index)
    assert new['item'].equals(model.recommend([1, User({101: 5., 102: 1.})], k, items=ids[:50])['item'])

def test_few_items_are_searched_exactly(inter):
    model = ALS(n_factors=8, n_epochs=3).fit(inter)
    index = ANNIndex.from_model(model, effort=1)
    index._candidates = None                                          # no walk
    got, want = (model.recommend(inter.users.ids, 5, items=inter.items.ids[:30], index=i) for i in (index, None))
    assert got['item'].equals(want['item'])

def changed(model, inter):
    "Ways of changing a model behind an index's back"
    new = Interactions.from_df(inter.df.iloc[:40])
    yield lambda: (setattr(model, 'seed', 7), model.fit(inter))
    if hasattr(model, 'partial_fit'): yield lambda: model.partial_fit(new)
    yield lambda: setattr(model, 'item_factors', model.item_factors[:, ::-1].copy())
    def scale(): model.item_factors *= 2
    yield scale

@pytest.mark.parametrize('make', [lambda: BiasedMF(n_factors=8, n_epochs=2), lambda: ImplicitALS(8, 2), lambda: BPR(8, 2)])
@pytest.mark.parametrize('loaded', [False, True])
def test_an_index_of_a_model_that_changed(make, loaded, inter, tmp_path):
    for n in range(len(list(changed(make().fit(inter), inter)))):
        model = make().fit(inter)
        index = ANNIndex.from_model(model)
        model.recommend(1, index=index)
        if loaded:
            index.save(tmp_path)
            index = ANNIndex.load(tmp_path)
        list(changed(model, inter))[n]()
        with pytest.raises(ValueError, match='another fit of the model: make it with'): model.recommend(1, index=index)
        assert len(model.recommend(1, index=ANNIndex.from_model(model))) == 10

def test_an_index_of_a_network_that_was_trained_on(inter):
    from recsys_course.learner import LearnerRecommender, collab_dls, collab_learner
    learn = collab_learner(collab_dls(inter, holdout=0), n_factors=4)
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(1)
    model = LearnerRecommender(learn, inter)
    index = ANNIndex.from_model(model)
    model.recommend(1, index=index)
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(1)
    with pytest.raises(ValueError, match='another fit'): model.recommend(1, index=index)

def test_the_same_fit_again_is_no_change(inter, tmp_path):
    model = BiasedMF(n_factors=8, n_epochs=2).fit(inter)
    index = ANNIndex.from_model(model)
    before = model.recommend([1, 2], index=index)
    assert model.fit(inter).recommend([1, 2], index=index).equals(before)
    model.save(tmp_path)
    assert BiasedMF.load(tmp_path).recommend([1, 2], index=index).equals(before)

def test_the_whole_table_is_not_compared_for_each_question(inter, monkeypatch):
    model = BiasedMF(n_factors=8, n_epochs=2).fit(inter)
    index = ANNIndex.from_model(model)
    model.recommend(1, index=index)
    monkeypatch.setattr(retrieve, 'item_table', None)
    model.recommend(2, index=index)
    near = Nearest(model)
    with pytest.raises(TypeError): near.prepare(inter)                # it does make a table when an index is made

def test_an_index_that_grew_is_no_longer_that_of_its_model(inter):
    model = ALS(n_factors=8, n_epochs=2).fit(inter)
    for backend in ('exact', 'faiss'):
        index = ANNIndex.from_model(model, backend)
        model.recommend(1, index=index)
        index.add(9*index.vectors[:1], [10**6])
        with pytest.raises(ValueError, match='other items'): model.recommend(1, index=index)

def test_a_user_vector_of_another_model(inter):
    model = ALS(n_factors=8, n_epochs=2).fit(inter)
    with pytest.raises(ValueError, match='dimension 3'): model.recommend(User(vector=[1, 2, 3]), index=ANNIndex.from_model(model))

def test_lifting_is_for_the_dot_product(cloud):
    for metric in ('cosine', 'euclidean'):
        with pytest.raises(ValueError, match='lift=True'): ANNIndex(cloud, metric, lift=True)

def test_an_index_does_not_share_memory_with_its_model(inter):
    model = ImplicitALS(8, 2).fit(inter)
    assert not np.shares_memory(ANNIndex.from_model(model).vectors, model.item_factors)

def test_eight_threads_build_once(cloud, monkeypatch):
    made = []
    class Counted(FaissGraph):
        def make(self):
            made.append(1)
            return super().make()
    monkeypatch.setitem(retrieve.backends, 'faiss', Counted)
    for metric in METRICS:
        want = ANNIndex(cloud, metric).build().query(cloud[:30])
        for index in (ANNIndex(cloud, metric), ANNIndex(cloud, metric)):
            made.clear()
            with ThreadPoolExecutor(8) as pool: answers = list(pool.map(lambda _: index.query(cloud[:30]), range(16)))
            assert len(made) == (3 if metric == 'dot' else 1)          # under the dot product two small ones are tried first
            assert all((a == b).all() for found in answers for a, b in zip(found, want))

def test_eight_threads_open_once(saved, cloud):
    near = ANNIndex.load(saved/'a').query(cloud[:30])
    index = Saveable.load(saved/'a')
    index.engine, index.stored = None, np.frombuffer(ANNIndex.load(saved/'a').engine.to_bytes(), np.uint8)
    with ThreadPoolExecutor(8) as pool: answers = list(pool.map(lambda _: index.query(cloud[:30]), range(16)))
    assert all((a == b).all() for found in answers for a, b in zip(found, near))

@pytest.mark.parametrize('dim', [1, 7, 8, 9, 65])
@pytest.mark.parametrize('space', ['ip', 'l2'])
def test_faiss_pads_points(dim, space):
    x = np.random.default_rng(0).normal(size=(400, dim)).astype(np.float32)
    graph = FaissGraph(dim, space, 16, 60, 0)
    graph.add(x[:300], 1)
    graph.add(x[300:], 1)
    found = graph.find(x[:50], 5, 200, 1)
    want = brute(x[:50], x, 5, 'dot' if space == 'ip' else 'euclidean')[1]
    got = np.take_along_axis(similarity(x[:50], x, 'dot' if space == 'ip' else 'euclidean'), found, 1)
    assert graph.index.d % 8 == 0 and np.median(np.abs(got - want)) < .05

def rating_table(n=3000, d=16, seed=0):
    "Items and users of a rating model: small factors, a large bias, and a 1 for it in each user"
    rng = np.random.default_rng(seed)
    items = np.column_stack([.1*rng.normal(size=(n, d)), 1 + rng.normal(size=n)])
    return items.astype(np.float32), np.column_stack([.5*rng.normal(size=(300, d)), np.ones(300)]).astype(np.float32)

def test_lifted_where_all_users_point_one_way():
    items, users = rating_table()
    index = ANNIndex(items, 'dot').build(users)
    assert index.lift and index.recall(users, 100) > .98
    assert ANNIndex(items, 'dot', effort=200, lift=False).recall(users, 100) < index.recall(users, 100, 200) - .05

def test_not_lifted_where_users_point_anywhere():
    rng = np.random.default_rng(0)
    x, q = (rng.normal(size=(n, 64)).astype(np.float32) for n in (3000, 200))
    index = ANNIndex(x, 'dot', effort=40).build(q)
    assert index.lift is False and index.recall(q, 10) > ANNIndex(x, 'dot', effort=40, lift=True).recall(q, 10) + .1

@pytest.mark.parametrize('lift', [False, True])
def test_adding_to_a_lifted_index(lift, tmp_path):
    items, users = rating_table()
    index = ANNIndex(items[:2500], 'dot', lift=lift).build(users)
    index.save(tmp_path)
    for i in (index, ANNIndex.load(tmp_path)):
        i.add(items[2500:]).add(40*items[:1])
        assert i.lift is lift and len(i) == 3001 and i.recall(users, 10, 400) > .95
        assert set(i.query(users, 1)[0].ravel()) <= set(range(3001))

@pytest.mark.parametrize('make', [lambda: ImplicitALS(8, 5), lambda: BPR(8, 40), lambda: BiasedMF(n_factors=8, n_epochs=40, reg=.02), lambda: Popular(), lambda: Squashed(n_factors=8)])
def test_nearest_keeps_the_contract(make): check_recommender(lambda: Nearest(make()))

@pytest.fixture
def large():
    "Interactions with so many items that an index walks"
    rng = np.random.default_rng(0)
    df = pd.DataFrame(dict(user=rng.integers(0, 90, 9000), item=rng.integers(0, 3000, 9000), rating=rng.integers(1, 6, 9000))).drop_duplicates(['user', 'item'])
    return Interactions.from_df(df, user_info=pd.DataFrame(index=pd.Index([*range(90), 1000], name='user')))

@pytest.mark.parametrize('make', [lambda: ImplicitALS(8, 3), lambda: BiasedMF(n_factors=8, n_epochs=3), lambda: Squashed(n_factors=6, n_epochs=2)])
def test_nearest_gives_what_its_model_gives(make, large, tmp_path):
    near = Nearest(make(), effort=200).fit(large)
    near.save(tmp_path)
    new = User({int(i): 5. for i in large.items.ids[[3, 4, 9]]}, id='Zoe')
    folded = near.fold_in(new.history)
    who = [*range(20), new, folded]
    query = near.query(who)
    for m in (near, Recommender.load(tmp_path)):
        got, want = m.recommend(who, 20), m.model.recommend(who, 20)
        assert (got.user == want.user).all() and np.mean(np.abs(got.score - want.score) < 1e-3) > .97
        for skip in (query.seen, sp.csr_matrix(query.seen.shape, dtype=np.float32)):
            (items, scores), (_, high) = m.candidates(query, 30, skip), m.model.candidates(query, 30, skip)
            assert items.shape == scores.shape == (22, 30) and np.mean(np.abs(scores - high) < 1e-3) > .97
            assert not skip[np.repeat(np.arange(22), 30), items.ravel()].any()
            assert np.allclose(m.scores_of(query, items), scores, atol=1e-4)
            assert np.allclose(m.scores_of(query, items), m.model.scores_of(query, items), atol=1e-3)
        assert m.similar_items(large.items.ids[:3], 4).equals(m.model.similar_items(large.items.ids[:3], 4))
        assert np.array_equal(m.fold_in(new.history).vector, folded.vector)
        listed = m.recommend(3, 5, items=large.items.ids[::7])
        assert set(listed['item']) <= set(large.items.ids[::7]) and len(listed) == 5

def test_nearest_walks_and_does_not_score_everything(large):
    near = Nearest(ImplicitALS(8, 3)).fit(large)
    near.model.scores = near.model.vector_scores = None
    query = near.query([1, 2])
    assert len(near.recommend([1, 2], 5)) == 10 and near.candidates(query, 20, query.seen)[0].shape == (2, 20)

def test_nearest_widens_for_those_who_have_seen_much(large):
    model = ImplicitALS(8, 3)
    near = Nearest(model, effort=100).fit(large)
    query = near.query([0, 1, 2])
    order = np.argsort(-model.query_scores(query)[:, 1:], axis=1) + 1
    met = np.zeros((3, len(large.items)), np.float32)
    for r, n in enumerate((0, 40, 400)): met[r, order[r, :n]] = 1                # what would come first is not wanted
    items, _ = near.candidates(query, 10, sp.csr_matrix(met))
    for r, n in enumerate((0, 40, 400)): assert len(set(items[r]) & set(order[r, n:n+10])) >= 9

def test_nearest_has_nothing_to_say_to_a_user_without_events(large):
    near = Nearest(ImplicitALS(8, 3)).fit(large)
    query = near.query([1000, 1])
    items, scores = near.candidates(query, 5, query.seen)
    assert (items[0] == -1).all() and (scores[0] == -np.inf).all() and (items[1] > 0).all()
    near = Nearest(Popular()).fit(large)
    assert near.personal is False and (near.candidates(near.query([1000]), 5, query.seen[:1])[0] > 0).all()

def test_nearest_is_fitted_again_after_loading(large, inter, tmp_path):
    near = Nearest(ImplicitALS(8, 3)).fit(large)
    near.save(tmp_path)
    again = Recommender.load(tmp_path)
    assert type(again.model) is ImplicitALS and again.fit(inter) is again
    assert again.recommend([1, 2], 5).equals(Nearest(ImplicitALS(8, 3)).fit(inter).recommend([1, 2], 5))

def test_nearest_of_a_model_that_is_fitted(large, inter):
    model = ImplicitALS(8, 3).fit(large)
    factors = model.item_factors
    near = Nearest(model).prepare(large)
    assert model.item_factors is factors and near.recommend(1, 5).equals(Nearest(ImplicitALS(8, 3)).fit(large).recommend(1, 5))
    with pytest.raises(ValueError, match='other items'): Nearest(model).prepare(inter)
    with pytest.raises(RuntimeError, match='not fitted'): Nearest(ImplicitALS(8)).prepare(inter)
    with pytest.raises(RuntimeError, match='not fitted'): Nearest(ImplicitALS(8)).recommend(1)
    with pytest.raises(NotImplementedError, match='ItemKNN'): Nearest(ItemKNN()).fit(inter)
    with pytest.raises(ValueError, match='effort=0'): Nearest(model, 0)

def test_nearest_of_a_model_fitted_behind_its_back(large):
    near = Nearest(BiasedMF(n_factors=8, n_epochs=2)).fit(large)
    query = near.query([1])
    near.model.seed = 5
    near.model.fit(large)
    for f in (lambda: near.recommend(1, 5), lambda: near.candidates(query, 5, query.seen), lambda: near.scores_of(query, np.ones((1, 1), int))):
        with pytest.raises(ValueError, match='another fit'): f()

def test_nearest_predicts_if_its_model_does(large):
    near = Nearest(BiasedMF(n_factors=8, n_epochs=2)).fit(large)
    assert np.array_equal(near.predict([1, 2], large.items.ids[:2]), near.model.predict([1, 2], large.items.ids[:2]))
    with pytest.raises(NotImplementedError, match='ImplicitALS'): Nearest(ImplicitALS(8, 1)).fit(large).predict([1], large.items.ids[:1])

def test_item_table_of_a_model_without_a_base(inter):
    assert item_table(ImplicitALS(8, 1).fit(inter)).shape[1] == 8 and item_table(BPR(8, 1).fit(inter)).shape[1] == 9
    bias = Bias().fit(inter)
    assert np.allclose(item_table(bias)@[.25, 1], bias.vector_scores(np.array([[.25]]))[0], atol=1e-5)

def test_lifted_items_have_one_length():
    x = np.random.default_rng(0).normal(size=(50, 5))
    assert np.allclose(np.linalg.norm(lift_items(x, 9.), axis=1), 9)

# --- the length that is asked for

def world_of_ratings(n_items=6000, n_users=400, seed=0):
    "Ratings of a world whose items differ in quality and taste; every item is rated"
    rng = np.random.default_rng(seed)
    quality, items, users = .6*rng.normal(size=n_items), .35*rng.normal(size=(n_items, 6)), rng.normal(size=(n_users, 6))
    u = np.concatenate([rng.integers(0, n_users, n_items), rng.integers(0, n_users, 40*n_users)])
    i = np.concatenate([np.arange(n_items), (n_items*rng.random(40*n_users)**2).astype(int)])
    rating = np.clip(np.round(3.5 + quality[i] + (items[i]*users[u]).sum(1) + .5*rng.normal(size=len(i))), 1, 5)
    return Interactions.from_df(pd.DataFrame(dict(user=u, item=i, rating=rating)).drop_duplicates(['user', 'item']))

def share_found(model, got, who, k, exclude=(), allowed=None, exclude_seen=True):
    "Recall of lists against all scores in float64, an item that ties with the last counts; and whether each list is as long as it can be"
    codes = model.users.encode(who)
    s = np.array(model.scores(codes), float)
    s[:, 0] = -np.inf
    if exclude_seen: s[model.query(list(who)).seen.toarray() > 0] = -np.inf
    if allowed is not None: s[:, np.setdiff1d(np.arange(s.shape[1]), model.items.encode(allowed))] = -np.inf
    if len(exclude): s[:, model.items.encode(exclude)] = -np.inf
    possible = np.minimum((s > -np.inf).sum(1), k)
    assert got.groupby('user').size().reindex(who, fill_value=0).tolist() == possible.tolist()
    row = pd.Series(range(len(who)), index=who)[got.user].to_numpy()
    mine = s[row, model.items.encode(got['item'])]
    assert (mine > -np.inf).all()                                      # nothing seen, excluded or not allowed
    kth = -np.sort(-s, axis=1)[np.arange(len(who)), np.maximum(possible - 1, 0)]
    return float((mine >= kth[row] - 1e-4).sum()/possible.sum())

@pytest.fixture(scope='module')
def rated_world(): return world_of_ratings()

@pytest.mark.parametrize('make', [lambda: ALS(n_factors=8, n_epochs=4), lambda: BiasedMF(n_factors=8, n_epochs=10), lambda: Bias(), lambda: Squashed(n_factors=8, n_epochs=4)], ids=['ALS', 'BiasedMF', 'Bias', 'with a link'])
@pytest.mark.parametrize('backend', ['faiss', 'hnswlib', 'usearch', 'annoy', 'Nearest'])
def test_rating_models_find_their_items_at_every_length(make, backend, rated_world):
    if backend == 'Nearest':
        near = Nearest(make()).fit(rated_world)
        model, ask = near.model, near.recommend
    else:
        model = make().fit(rated_world)
        index = ANNIndex.from_model(model, need(backend))
        ask = lambda *args, **kw: model.recommend(*args, index=index, **kw)
    who, some = rated_world.users.ids[::8], np.random.default_rng(1).permutation(rated_world.items.ids)
    for k in (10, 50, 100, 300):
        assert share_found(model, ask(who, k), who, k) >= .95, k
        assert share_found(model, ask(who, k, exclude_seen=False), who, k, exclude_seen=False) >= .95, k
    for k in (10, 100):
        for allowed in (some[:3000], some[:600], some[:30]):
            assert share_found(model, ask(who, k, items=allowed), who, k, allowed=allowed) >= .95
        assert share_found(model, ask(who, k, exclude=some[:3000]), who, k, exclude=some[:3000]) >= .95

def test_movielens_at_every_length(movielens):
    from recsys_course.datasets import load_movielens
    inter = load_movielens('100k', movielens, download=False)
    who = inter.users.ids[::20]
    for make in (lambda: ALS(n_epochs=5), lambda: BiasedMF(n_epochs=10)):
        near = Nearest(make()).fit(inter)
        index = ANNIndex.from_model(near.model)
        for k in (10, 50, 100, 300):
            for recs in (near.recommend(who, k), near.model.recommend(who, k, index=index)): assert share_found(near.model, recs, who, k) >= .95

def test_excluded_items_and_unknown_people_with_an_index(inter):
    model = ALS(n_factors=8, n_epochs=2).fit(inter)
    index, best = ANNIndex.from_model(model), model.recommend([1], 20)['item'].tolist()
    for ask in (lambda *a, **kw: model.recommend(*a, index=index, **kw), Nearest(model).prepare(inter).recommend):
        got = ask([1, 10**6, 2], 5, exclude=best[:7], on_unknown='skip')
        assert got.user.unique().tolist() == [1, 2] and got[got.user == 1]['item'].tolist() == best[7:12]
        assert ask([1], 3, items=best, exclude=best[1:])['item'].tolist() == best[:1]
        with pytest.raises(KeyError, match='1000000'): ask([1, 10**6], 5)
        with pytest.raises(ValueError, match='on_unknown'): ask([1], 5, on_unknown='maybe')

def test_where_no_walk_finds_enough_every_vector_is_looked_at(monkeypatch):
    items, users = rating_table()
    index = ANNIndex(items, 'dot').build(users)
    assert all(index.effort_for(k) for k in (10, 100))
    monkeypatch.setattr(FaissGraph, 'find', lambda self, points, k, *args: np.zeros((len(points), k), np.int64))      # a walk that stays where it begins
    index.tune(users)
    assert index.effort_for(100) is None and index.recall(users, 100) == 1

def test_the_effort_you_gave_is_the_effort(cloud):
    index = ANNIndex(cloud, 'dot', effort=7).build()
    assert index.probes is None and [index.effort_for(k) for k in (5, 10, 50)] == [7, 10, 100]

def test_a_loaded_index_tunes_as_the_saved_one(tmp_path, cloud):
    index = ANNIndex(cloud, 'dot').build()
    index.save(tmp_path)
    assert [ANNIndex.load(tmp_path).effort_for(k) for k in (10, 77, 300)] == [index.effort_for(k) for k in (10, 77, 300)]

# --- what is no matrix of numbers, settings out of range, sizes that single precision cannot hold

NOT_VECTORS = dict(none=None, text=['a']*12, number_text=['1']*12, ragged=[[1, 2], [3]], complex=np.ones(12)*1j, date=np.full(12, '2020-01-01', 'M8[D]'), sparse=sp.eye(12).tocsr(), scalar=5., empty=[],
    cube=np.ones((2, 2, 12)), object_none=np.array([1.]*11 + [None], object), missing=pd.DataFrame({i: pd.array([1, None], 'Int64') for i in range(12)}), mapping={1: 2}, huge_int=[10**400]*12, nan=[np.nan]*12, minus_inf=[-np.inf]*12, beyond=[1e39]*12)

@pytest.mark.parametrize('kind', NOT_VECTORS)
def test_what_is_no_vector(kind, cloud):
    bad, index = NOT_VECTORS[kind], ANNIndex(cloud[:400], 'dot', effort=20)
    for f in (lambda: top_k(bad, cloud), lambda: index.query(bad), lambda: index.add(bad), lambda: index.tune(bad), lambda: ANNIndex(cloud[:400]).recall(bad), lambda: similarity(bad, cloud)):
        with pytest.raises(ValueError) as e: f()
        assert len(str(e.value)) < 260 and '\n' not in str(e.value)

@pytest.mark.parametrize('kind,good', dict(float16=np.ones(12, np.float16), bools=np.ones(12, bool), uint64=np.ones(12, np.uint64), object=np.ones(12, object), frame=pd.DataFrame(np.ones((1, 12))), list=[1]*12, strided=np.ones(24)[::2], nullable=pd.DataFrame({i: pd.array([1], 'Int64') for i in range(12)})).items())
def test_what_is_a_vector(kind, good, cloud):
    assert (top_k(good, cloud)[0] == top_k(np.ones(12, np.float32), cloud)[0]).all()

@pytest.mark.parametrize('bad', [dict(n_links=1), dict(n_links=None), dict(n_links=10**9), dict(build_effort=None), dict(build_effort=10**10), dict(effort=-1), dict(effort=2.5), dict(effort=float('nan')), dict(effort='9'), dict(n_threads=0),
    dict(n_threads=None), dict(seed=None), dict(seed=-1), dict(seed=1.5), dict(seed=2**40), dict(seed=True), dict(lift='yes'), dict(lift=1), dict(backend=None), dict(metric=None), dict(ids='abc'), dict(ids=[None, 1, 2]), dict(ids=5)])
def test_settings_of_an_index_out_of_range(bad):
    with pytest.raises(ValueError) as e: ANNIndex(**{**dict(vectors=np.eye(3), metric='dot'), **bad})
    assert str(next(iter(bad))) in str(e.value)

@pytest.mark.parametrize('call', [lambda i, x: i.query(x, 3, 0), lambda i, x: i.query(x, 3, 2.5), lambda i, x: i.query(x, 3, float('nan')), lambda i, x: i.query(x, None), lambda i, x: i.recall(x[:0]), lambda i, x: i.tune(x[:0]),
    lambda i, x: i.tune(x, 0), lambda i, x: i.tune(x, 1.1), lambda i, x: i.tune(x, None), lambda i, x: top_k(x, x, memory=0), lambda i, x: top_k(x, x, memory=None), lambda i, x: top_k(x, x, seen='x'), lambda i, x: Nearest('ALS'), lambda i, x: Nearest(Popular(), 1.5)])
def test_arguments_out_of_range(call, cloud):
    with pytest.raises(ValueError): call(ANNIndex(cloud[:400]), cloud[:9])

def test_whole_numbers_written_as_floats(cloud):
    index = ANNIndex(cloud, 'dot', n_links=16., build_effort=100., effort=40., n_threads=1.)
    assert (index.query(cloud[:5], 3.)[0] == ANNIndex(cloud, 'dot', effort=40).query(cloud[:5], 3)[0]).all()

def test_no_items_and_one():
    for m in METRICS:
        assert [a.shape for a in top_k(np.ones((2, 4)), np.zeros((0, 4)), 3, m)] == [(2, 0)]*2
        assert top_k(np.ones(4), np.ones((1, 4)), 3, m, skip_unknown=True)[0].shape == (1, 0)
        assert top_k(np.ones(4), np.zeros((0, 4)), 3, m, skip_unknown=True)[0].shape == (1, 0)
        assert top_k(np.ones(4), np.ones((1, 4)), 3, m)[0].tolist() == [[0]]

def test_ids_of_two_types_stay_as_they_are(cloud):
    index = ANNIndex(cloud[:300], ids=[*range(299), 'last'])
    assert index.query_items([7, 'last'], 1)['item'].tolist() == [7, 'last'] and index.query_items([], 2).empty
    with pytest.raises(KeyError, match="'7'"): index.query_items(['7'])
    index.add(cloud[300:302], [1000, 'new'])
    assert index.ids[-2:].tolist() == [1000, 'new']

@pytest.mark.parametrize('metric', METRICS)
@pytest.mark.parametrize('size', [1e-38, 1e-25, 1e-19, 1e-10, 1e10, 1e19, 1e20, 1e30, 3e37])
def test_sizes_at_the_ends_of_single_precision(size, metric, cloud):
    x = (size*cloud[:500].astype(float)).astype(np.float32)
    for q in (x[:20], cloud[:20], (x[:20] + cloud[20:40])):
        s = q.astype(float)@x.astype(float).T
        if metric == 'cosine': s = s/np.outer(np.linalg.norm(q.astype(float), axis=1), np.linalg.norm(x.astype(float), axis=1))
        if metric == 'euclidean': s = -np.sqrt(((q[:, None].astype(float) - x[None].astype(float))**2).sum(-1))
        kth = -np.sort(-s, axis=1)[:, 9:10]
        right = lambda rows: np.take_along_axis(s, rows, 1) >= kth - 1e-6*np.abs(kth)
        for find, share in ((lambda: top_k(q, x, 10, metric)[0], 1), (lambda: top_k(q, x, 130, metric)[0][:, :10], 1), (lambda: ANNIndex(x, metric).query(q)[0], .95)):
            try: rows = find()
            except ValueError as e: assert 'scale' in str(e) and metric != 'cosine'
            else: assert right(rows).mean() >= share

# --- forged descriptions, threads, forks

def forge(folder, part, name, value):
    "Write another value into a saved description, and sign it"
    path = folder/'model.json'
    d = json.loads(path.read_text())
    d[part][name] = dict(kind='json', value=value)
    path.write_bytes(model_json(d))

@pytest.mark.parametrize('part,name,value', [('state', 'radius', None), ('state', 'radius', 'x'), ('state', 'radius', 1e30), ('state', 'radius', -1.), ('state', 'stored', None), ('state', 'stored', [1, 2]), ('state', 'filed', None),
    ('state', 'filed', [0, 1]), ('state', 'filed', []), ('state', 'filed', [0, 0]), ('state', 'centre', [0.]), ('state', 'centre', None), ('state', 'centre', 'x'), ('state', 'probes', [[1.]]), ('state', 'probes', 'x'), ('state', 'target', 0), ('state', 'target', 2),
    ('state', 'target', None), ('state', 'efforts', {}), ('state', 'engine', 1), ('state', 'longest', 1), ('args', 'effort', None), ('args', 'effort', -1), ('args', 'effort', 'x'), ('args', 'n_links', 0), ('args', 'n_links', 10**9), ('args', 'n_threads', -1),
    ('args', 'seed', -1), ('args', 'lift', 'x'), ('args', 'metric', 'cosin'), ('args', 'metric', 'cosine'), ('args', 'backend', 'magic'), ('args', 'ids', ['a']), ('args', 'vectors', None)])
def test_forged_description(saved, part, name, value):
    forge(saved/'a', part, name, value)
    for cls in (ANNIndex, Saveable):
        with pytest.raises(Damaged): cls.load(saved/'a')

def test_links_that_lead_out_of_the_graph(cloud):
    graph = FaissGraph(12, 'ip', 16, 60, 0)
    graph.add(cloud, 1)
    data = graph.to_bytes()
    graph.check()
    lib, _hnsw = graph.lib, graph.index.hnsw
    for name, at, value in (('neighbors', 5, 10**6), ('neighbors', 9, -7), ('neighbors', 9, len(cloud)), ('offsets', 3, 10**9), ('offsets', 0, 4), ('levels', 2, 99), ('levels', 2, 0), ('cum_nneighbor_per_level', 1, 10**6)):
        fresh = FaissGraph(12, 'ip', 16, 60, 0)
        fresh.from_bytes(data)
        field = getattr(fresh.index.hnsw, name)
        field_array = lib.vector_to_array(field)
        field_array[at] = value
        lib.copy_array_to_vector(field_array, field)
        with pytest.raises(ValueError, match='links'): fresh.check()
    for name, value in (('entry_point', 10**6), ('entry_point', -1), ('max_level', 40)):
        fresh = FaissGraph(12, 'ip', 16, 60, 0)
        fresh.from_bytes(data)
        setattr(fresh.index.hnsw, name, value)
        with pytest.raises(ValueError, match='way in'): fresh.check()
    with pytest.raises(ValueError, match='numbers'):
        other = FaissGraph(40, 'ip', 16, 60, 0)
        other.from_bytes(data)
        other.check()

@pytest.mark.parametrize('share', [0, .1, .5, .99])
def test_bytes_of_a_backend_cut_short(share, cloud, tmp_path):
    index = ANNIndex(cloud, 'dot').build()
    data = index.engine.to_bytes()
    index.engine, index.stored = None, np.frombuffer(data[:int(share*len(data))], np.uint8)
    with pytest.raises(Damaged, match='faiss cannot take'): index.query(cloud[0])

def test_an_index_of_large_vectors_is_saved(cloud, tmp_path):
    index = ANNIndex(1e37*cloud, 'cosine').build()
    index.save(tmp_path)
    assert (ANNIndex.load(tmp_path).query(cloud[:9])[0] == index.query(cloud[:9])[0]).all()

def test_threads_that_ask_for_lists_of_many_lengths(cloud):
    want, lengths = ANNIndex(cloud, 'dot').build(), [3, 10, 25, 60, 100, 170, 300, 500]
    index = ANNIndex(cloud, 'dot')
    with ThreadPoolExecutor(8) as pool: got = list(pool.map(lambda k: index.query(cloud[:40], k)[0], lengths*2))
    assert all((a == want.query(cloud[:40], k)[0]).all() for a, k in zip(got, lengths*2))

def test_a_forked_child_answers(cloud, tmp_path):
    code = '''
import os, sys, numpy as np
from recsys_course.retrieve import ANNIndex, top_k
x = np.random.default_rng(0).normal(size=(3000, 12)).astype(np.float32)
index = ANNIndex(x, 'dot', n_threads=2).build()
want = index.query(x[:600])[0]
pid = os.fork()
if not pid:
    ok = (index.query(x[:600])[0] == want).all() and ANNIndex(x, 'dot', n_threads=2).query(x[:5])[0].shape == (5, 10) and top_k(x[:600], x, n_threads=2)[0].shape == (600, 10)
    os._exit(0 if ok else 3)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
'''
    if not hasattr(os, 'fork'): pytest.skip('needs fork')
    assert subprocess.run([sys.executable, '-c', code], timeout=100, env=os.environ | dict(OMP_NUM_THREADS='2'), capture_output=True).returncode == 0
