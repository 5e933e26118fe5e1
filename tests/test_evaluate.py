"The metrics against the libraries they come from, on random data; memory; bad input"
import tracemalloc

import numpy as np, pandas as pd, pytest
from recsys_course.data import Interactions
from recsys_course.evaluate import compare,cross_validate,ranking_metrics,rating_metrics
from recsys_course.recommender import Bias,Popular,Recommender


class Scores(Recommender):
    "Scores given beforehand, shape (users, items) by code"
    def __init__(self, matrix): self.matrix = matrix
    def scores(self, user_codes): return self.matrix[user_codes]

def random_data(seed, n_users=60, n_items=80, share=.25, **kwargs):
    "(train, test) with random ratings 1 to 5, and a fitted model of random scores"
    rng = np.random.default_rng(seed)
    u,i = np.nonzero(rng.random((n_users, n_items)) < share)
    df = pd.DataFrame(dict(user=[f'u{o:03}' for o in u], item=[f'i{o:03}' for o in i], rating=rng.integers(1, 6, len(u)), timestamp=rng.permutation(len(u))))
    train,test = Interactions.from_df(df).split('random', test=.4, seed=seed)
    model = Scores(rng.random((len(train.users), len(train.items)), np.float32)).fit(train)
    return train, test, model

def value(*args, **kwargs): return ranking_metrics(*args, n_boot=0, **kwargs).set_index(['metric','k']).value


# --- ir-measures

@pytest.mark.parametrize('seed', range(3))
@pytest.mark.parametrize('relevant', [1, 4])
def test_ir_measures(seed, relevant):
    ir = pytest.importorskip('ir_measures', reason='ir-measures is in the dev extra')
    from ir_measures import AP,P,R,RR,Success,nDCG
    train,test,model = random_data(seed)
    ks = (1,5,10,40)
    likes = test.df[test.df.rating >= relevant]
    qrels = pd.DataFrame(dict(query_id=likes.user, doc_id=likes['item'], relevance=likes.rating))
    recs = model.recommend(likes.user.unique(), k=40)
    run = pd.DataFrame(dict(query_id=recs.user, doc_id=recs['item'], score=recs.score.astype(float)))
    theirs = dict(precision=lambda k: P@k, recall=lambda k: R@k, hit_rate=lambda k: Success@k, map=lambda k: AP@k, mrr=lambda k: RR@k, ndcg=lambda k: nDCG@k)
    want = ir.calc_aggregate([f(k) for f in theirs.values() for k in ks], qrels, run)
    got = value(model, test, k=ks, relevant=relevant, variant={'ndcg':'linear'})
    for m,f in theirs.items():
        for k in ks: assert got[m,k] == pytest.approx(want[f(k)], abs=1e-6), (m, k)

@pytest.mark.parametrize('variant,gain', [('binary', lambda r: 1), ('exponential', lambda r: 2**r - 1)])
def test_ir_measures_gains(variant, gain):
    ir = pytest.importorskip('ir_measures', reason='ir-measures is in the dev extra')
    train,test,model = random_data(7)
    qrels = pd.DataFrame(dict(query_id=test.df.user, doc_id=test.df['item'], relevance=[int(gain(r)) for r in test.df.rating]))
    recs = model.recommend(test.df.user.unique(), k=10)
    run = pd.DataFrame(dict(query_id=recs.user, doc_id=recs['item'], score=recs.score.astype(float)))
    want = ir.calc_aggregate([ir.nDCG@10], qrels, run)[ir.nDCG@10]
    assert value(model, test, k=10, relevant=1, variant={'ndcg':variant})['ndcg',10] == pytest.approx(want, abs=1e-6)

def test_each_user_like_ir_measures():
    ir = pytest.importorskip('ir_measures', reason='ir-measures is in the dev extra')
    train,test,model = random_data(3)
    qrels = pd.DataFrame(dict(query_id=test.df.user, doc_id=test.df['item'], relevance=1))
    recs = model.recommend(test.df.user.unique(), k=10)
    run = pd.DataFrame(dict(query_id=recs.user, doc_id=recs['item'], score=recs.score.astype(float)))
    want = pd.Series({o.query_id: o.value for o in ir.iter_calc([ir.nDCG@10], qrels, run)})
    got = ranking_metrics(model, test, k=10, relevant=1, per_user=True)['ndcg@10']
    np.testing.assert_allclose(got, want.reindex(got.index), atol=1e-6)


# --- scikit-learn

@pytest.mark.parametrize('k', [1,5,20])
@pytest.mark.parametrize('variant,gain', [('binary', lambda r: r > 0), ('linear', lambda r: r), ('exponential', lambda r: np.where(r > 0, 2.**r - 1, 0))])
def test_sklearn_ndcg(k, variant, gain):
    from sklearn.metrics import ndcg_score
    train,test,model = random_data(1)
    truth,codes = test.csr().toarray(),np.unique(test.codes()[0])
    unseen = train.csr().toarray() == 0
    unseen[:,0] = False
    want = np.mean([ndcg_score([gain(truth[u])[unseen[u]]], [model.matrix[u][unseen[u]]], k=k) for u in codes])
    assert value(model, test, k=k, relevant=1, variant={'ndcg':variant})['ndcg',k] == pytest.approx(want, abs=1e-6)

def test_sklearn_errors():
    from sklearn.metrics import mean_absolute_error,root_mean_squared_error
    train,test,_ = random_data(2)
    model = Bias().fit(train)
    pred = model.predict(test.df.user, test.df['item'])
    t = rating_metrics(model, test).set_index('metric').value
    assert t.rmse == pytest.approx(root_mean_squared_error(test.df.rating, pred), abs=1e-6)
    assert t.mae == pytest.approx(mean_absolute_error(test.df.rating, pred), abs=1e-6)
    assert t.within_half == pytest.approx((abs(pred - test.df.rating) <= .5).mean())


# --- implicit

@pytest.mark.parametrize('k', [1,5,10])
def test_implicit(k):
    ev = pytest.importorskip('implicit.evaluation', reason='implicit is in the bench extra')
    train,test,model = random_data(4)
    class Theirs:
        "What implicit's evaluation asks of a model"
        def recommend(self, users, user_items, N):
            recs = model.recommend(train.users.decode(users), k=N)
            ids = train.items.encode(recs['item']).reshape(len(users), N)
            return ids.astype(np.int32), recs.score.to_numpy().reshape(len(users), N)
    want = ev.ranking_metrics_at_k(Theirs(), train.csr('ones'), test.csr('ones'), K=k, show_progress=False)
    got = value(model, test, k=k, relevant=1, variant={'precision':'implicit','map':'capped'})
    for m in ('precision','map','ndcg'): assert got[m,k] == pytest.approx(want[m], abs=1e-6), m


# --- beyond accuracy, by brute force

def test_beyond_accuracy():
    train,test,model = random_data(5)
    rng = np.random.default_rng(0)
    features = pd.DataFrame(rng.integers(0, 2, (80, 6)), index=train.items.ids)
    got = value(model, test, k=10, relevant=1, metrics=('coverage','gini','novelty','diversity','popularity_lift'), features=features).droplevel('k')
    recs = model.recommend(test.df.user.unique(), k=10)
    lists = recs.groupby('user')['item'].agg(list)
    count,n_users = train.df['item'].value_counts(),train.df.user.nunique()
    assert got.coverage == pytest.approx(recs['item'].nunique()/80)
    e = recs['item'].value_counts().reindex(train.items.ids, fill_value=0).to_numpy()
    assert got.gini == pytest.approx(np.abs(e[:,None] - e).sum()/(2*80*e.sum()))
    assert got.novelty == pytest.approx(np.mean([[-np.log2(max(count.get(i, 0), 1)/n_users) for i in l] for l in lists]))
    def cos(a, b):
        a,b = features.loc[a].to_numpy(float),features.loc[b].to_numpy(float)
        return a @ b/max(np.linalg.norm(a)*np.linalg.norm(b), 1e-12)
    assert got.diversity == pytest.approx(np.mean([np.mean([1 - cos(a, b) for x,a in enumerate(l) for b in l[:x]]) for l in lists]))
    profile = train.df.groupby('user')['item'].agg(lambda o: np.mean([count[i] for i in o])).reindex(lists.index)
    shown = lists.map(lambda o: np.mean([count.get(i, 0) for i in o]))
    assert got.popularity_lift == pytest.approx(shown.mean()/profile.mean() - 1)


# --- nobody disappears

def test_warm_and_cold():
    df = pd.DataFrame([('a',1,5),('a',2,4),('b',1,5),('b',3,3), ('a',3,5),('a',4,5),('new',1,4),('b',2,1)], columns=['user','item','rating'])
    both = Interactions.from_df(df)
    train,test = both._take(np.arange(8) < 4),both._take(np.arange(8) >= 4)
    t = ranking_metrics(Popular().fit(train), test, k=2, apart=True, metrics='recall').set_index('group')
    assert t.n_users.to_dict() == {'all':2, 'warm users':1, 'cold users':1, 'warm items':2, 'cold items':1}
    assert t.unscored.tolist() == [1]*5                    # b liked nothing
    assert t.cold_users['all'] == 1 and t.cold_items['all'] == 1
    assert t.value.to_dict() == {'all':1, 'warm users':1, 'cold users':1, 'warm items':1, 'cold items':1}     # a sees 3 and 4, new sees 1 and 2
    r = rating_metrics(Bias().fit(train), test, apart=True, metrics='mae').set_index('group')
    assert r.n_rows.to_dict() == {'all':4, 'warm users':3, 'cold users':1, 'warm items':3, 'cold items':1}

def test_empty_groups_are_reported():
    train,test,model = random_data(6)
    t = ranking_metrics(model, test, k=5, apart=True, metrics='ndcg', n_boot=50).set_index('group')
    assert t.n_users['cold users'] == 0 and np.isnan(t.value['cold users'])

def test_other_vocabulary_and_unknown_ids():
    train,test,model = random_data(8)
    own = Interactions.from_df(test.df)                     # vocabularies of its own
    assert value(model, own, k=5).equals(value(model, test, k=5))
    stranger = Interactions.from_df(test.df.assign(user=test.df.user.replace('u001', 'zoe')))
    with pytest.raises(KeyError, match='zoe'): ranking_metrics(model, stranger)

def test_repeated_test_rows_count_once():
    train,test,model = random_data(9)
    twice = Interactions.from_df(pd.concat([test.df, test.df]), duplicates='keep', item_info=pd.DataFrame(index=train.items.ids), user_info=pd.DataFrame(index=train.users.ids))
    assert value(model, twice, k=5).equals(value(model, test, k=5))

def test_fewer_items_than_k():
    train,test,model = random_data(10, n_items=6, share=.6)
    got = value(model, test, k=(3,50), relevant=1)
    assert got['recall',50] == pytest.approx(1) and got['precision',50] < .2


# --- intervals, seeds, tables

def test_seed_and_blocks():
    train,test,model = random_data(11)
    a,b,c = (ranking_metrics(model, test, k=5, n_boot=100, seed=s) for s in (1,1,2))
    assert a.equals(b) and not a.low.equals(c.low) and a.value.equals(c.value)
    sampled = value(model, test, k=5, n_candidates=20)
    model.block_bytes = 4*len(train.items)*7
    assert value(model, test, k=5, n_candidates=20).equals(sampled)

def test_all_candidates_is_full_ranking():
    train,test,model = random_data(12)
    np.testing.assert_allclose(value(model, test, k=(5,100), n_candidates=1000), value(model, test, k=(5,100)))

def test_compare():
    train,test,model = random_data(13)
    t = compare({'random': model, 'bias': Bias()}, train, test, k=5, metrics=('mae','ndcg','coverage'), n_boot=100)
    assert t.index.tolist() == ['popular','random','bias']
    single = ranking_metrics(model, test, k=5, metrics=('ndcg','coverage'), n_boot=100).set_index('metric')
    for m in ('ndcg','coverage'):
        for c in ('value','low','high'): assert t[m,c]['random'] == pytest.approx(single[c][m])
    assert np.isnan(t.mae.value['popular']) and t.mae.value['bias'] > 0
    assert (t.ndcg.diff_low <= t.ndcg['diff']).all() and (t.seconds > 0).all().all()
    again = compare({'bias': Bias(), 'crowd': Popular('mean')}, train, test, n_boot=0)
    assert again.index.tolist() == ['crowd','bias']
    with pytest.raises(ValueError, match='another name'): compare({'popular': model}, train, test)
    with pytest.raises(ValueError, match='baseline'): compare({'bias': Bias()}, train, test, baseline='knn')

def test_cross_validate():
    train,test,_ = random_data(14)
    t = cross_validate(Bias, [(train, test), (test, train)], k=5, metrics=('rmse','ndcg'), n_boot=50)
    assert t.fold.unique().tolist() == [1, 2, 'mean']
    v = t.pivot(index='metric', columns='fold', values='value')
    np.testing.assert_allclose(v['mean'], (v[1] + v[2])/2)
    assert v[1]['rmse'] == pytest.approx(rating_metrics(Bias().fit(train), test).value[0])
    assert cross_validate(Bias, train, n_folds=3, n_boot=0).fold.unique().tolist() == [1, 2, 3, 'mean']
    with pytest.raises(ValueError, match='folds is empty'): cross_validate(Bias, [])

@pytest.mark.parametrize('call,message', [
    (lambda m, te: ranking_metrics(m, te, k=0), 'k=0'),
    (lambda m, te: ranking_metrics(m, te, metrics='ndgc'), 'ndgc'),
    (lambda m, te: ranking_metrics(m, te, variant={'hit_rate':'capped'}), 'capped'),
    (lambda m, te: ranking_metrics(m, te, metrics='diversity'), 'pass features='),
    (lambda m, te: ranking_metrics(m, te, metrics='diversity', features=np.ones((3, 2))), '3 rows of features'),
    (lambda m, te: ranking_metrics(pd.DataFrame(dict(user=['u001'], item=['i001'])), te, te), 'rank'),
    (lambda m, te: ranking_metrics(pd.DataFrame(dict(user=['u001']*9, item=['i001']*9, rank=range(1, 10))), te, te, k=9), 'twice')])
def test_bad_input(call, message):
    _,test,model = random_data(15)
    with pytest.raises(ValueError, match=message): call(model, test)

def test_not_fitted():
    _,test,_ = random_data(15)
    with pytest.raises(RuntimeError, match='fit'): ranking_metrics(Bias(), test)


# --- memory

def test_bounded_memory():
    "20,000 users x 5,000 items: all scores at once would be 400 MB"
    n_u,n_i = 20_000,5_000
    rng = np.random.default_rng(0)
    df = pd.DataFrame(dict(user=np.repeat(np.arange(n_u), 10), item=rng.integers(0, n_i, 10*n_u), rating=4.)).drop_duplicates(['user','item'])
    train,test = Interactions.from_df(df, user_info=pd.DataFrame(index=range(n_u)), item_info=pd.DataFrame(index=range(n_i))).split('random', test=.5)
    class Fake(Recommender):
        def scores(self, user_codes): return np.tile(self.row, (len(user_codes), 1))
    model = Fake().fit(train)
    model.row = rng.random(n_i + 1, np.float32)
    tracemalloc.start()
    try:
        t = ranking_metrics(model, test, metrics=('precision','recall','hit_rate','map','mrr','ndcg','coverage','gini','novelty'), n_boot=100)
        peak = tracemalloc.get_traced_memory()[1]
    finally: tracemalloc.stop()
    assert t.n_users[0] > 19_000 and t.value.notna().all()
    assert peak < 300e6, f'{peak/1e6:.0f} MB'
