"What no lesson can show of retrieve: memory, damaged files, threads, fresh processes, and the backends that are extras"
import json, os, subprocess, sys

import numpy as np, pandas as pd, pytest, scipy.sparse as sp

from recsys_course.data import Interactions, Vocab
from recsys_course.factorize import ALS, BiasedMF
from recsys_course.recommender import Popular
from recsys_course.retrieve import ANNIndex, similarity, top_k

EXTRAS = ['usearch', 'hnswlib', 'annoy']
METRICS = ['cosine', 'dot', 'euclidean']

def need(backend):
    if backend in EXTRAS: pytest.importorskip(backend, reason=f'{backend} is an extra: pip install {backend}')
    return backend

@pytest.fixture
def cloud(): return np.random.default_rng(0).normal(size=(3000, 12)).astype(np.float32)

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

@pytest.fixture
def saved(cloud, tmp_path):
    ANNIndex(cloud).save(tmp_path/'a')
    ANNIndex(cloud[:, :6]).save(tmp_path/'b')
    return tmp_path

@pytest.mark.parametrize('name', ['index.bin', 'vectors.safetensors', 'index.json'])
@pytest.mark.parametrize('share', [0, .5, .999])
def test_file_cut_short(saved, name, share):
    path = saved/'a'/name
    path.write_bytes(path.read_bytes()[:int(share*path.stat().st_size)])
    with pytest.raises(ValueError, match=f'{name} is not the file'): ANNIndex.load(saved/'a')

@pytest.mark.parametrize('name', ['index.bin', 'vectors.safetensors', 'index.json'])
def test_file_of_another_dimension(saved, name):
    (saved/'a'/name).write_bytes((saved/'b'/name).read_bytes())
    with pytest.raises(ValueError, match='is not the file'): ANNIndex.load(saved/'a')

@pytest.mark.parametrize('name', ['index.bin', 'vectors.safetensors', 'index.json'])
def test_file_gone(saved, name):
    (saved/'a'/name).unlink()
    with pytest.raises((ValueError, FileNotFoundError), match='index'): ANNIndex.load(saved/'a')

def test_other_json(saved):
    (saved/'a/index.json').write_text(json.dumps([1, 2]))
    with pytest.raises(ValueError, match='index.json is not the file'): ANNIndex.load(saved/'a')

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

@pytest.mark.parametrize('make', [lambda: ALS(n_factors=8, n_rounds=3), lambda: BiasedMF(n_factors=8, n_epochs=5)])
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
    with pytest.raises(ValueError, match='either items or index'): model.recommend(inter.users.ids[:1], items=[101], index=index)

def test_user_who_has_seen_everything():
    rows = [('all', i, 3.) for i in range(60)] + [('most', i, 4.) for i in range(57)] + [('one', 0, 5.), ('two', 59, 1.)]
    inter = Interactions.from_df(pd.DataFrame(rows, columns=['user', 'item', 'rating']))
    model = ALS(n_factors=3, n_rounds=2).fit(inter)
    for backend in ('exact', 'faiss'):
        index = ANNIndex.from_model(model, backend)
        recs = model.recommend(['all', 'most', 'one'], 10, index=index)
        assert recs.groupby('user').size().to_dict() == dict(most=3, one=10) and set(recs[recs.user == 'most']['item']) == {57, 58, 59}

def test_index_of_another_model(inter):
    a, b = ALS(n_factors=8, n_rounds=1).fit(inter), ALS(n_factors=5, n_rounds=1).fit(inter)
    with pytest.raises(ValueError, match='dimension'): a.recommend(1, index=ANNIndex.from_model(b))
    few = Interactions.from_df(inter.df[inter.df['item'] < 500])
    with pytest.raises(ValueError, match='other items'): a.recommend(1, index=ANNIndex.from_model(ALS(n_factors=8, n_rounds=1).fit(few)))
    with pytest.raises(NotImplementedError, match='Popular'): ANNIndex.from_model(Popular().fit(inter))

def test_scores_that_are_not_linear(inter):
    class Squashed(ALS):
        def vector_scores(self, vectors): return 5/(1 + np.exp(-super().vector_scores(vectors)))
    with pytest.raises(ValueError, match='Squashed are not linear'): ANNIndex.from_model(Squashed(n_factors=4, n_rounds=2).fit(inter))

def test_an_index_answers_for_models_that_end_in_a_sigmoid(inter):
    from recsys_course.learner import LearnerRecommender, collab_dls, collab_learner
    def fitted(**kw):
        learn = collab_learner(collab_dls(inter, holdout=0), n_factors=4, **kw)
        with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(1)
        return LearnerRecommender(learn, inter)
    for model in (fitted(), fitted(y_range=False)):
        got, want = model.recommend([1, 2], 5, index=ANNIndex.from_model(model, 'exact')), model.recommend([1, 2], 5)
        assert got['item'].equals(want['item']) and np.allclose(got.score, want.score, atol=1e-3)
    with pytest.raises(ValueError, match='not linear'): ANNIndex.from_model(fitted(use_nn=True))

def test_similarity_of_twins_is_equal():
    x = np.random.default_rng(0).normal(size=(50, 33)).astype(np.float32)
    for m in METRICS: assert (similarity(x, x, m) == similarity(np.vstack([x, x]), x, m)[50:]).all()
