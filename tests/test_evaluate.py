"The metrics against the libraries they come from, by hand and by brute force, on random data; intervals; memory; bad input"
import inspect,tracemalloc

import numpy as np, pandas as pd, pytest
from hypothesis import given,settings,strategies as st
from recsys_course.data import Interactions
from recsys_course.evaluate import compare,cross_validate,cut_folds,item_features,ranking_metrics,rating_metrics
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


# --- rankings that can be judged on paper

ACCURACY = ('precision','recall','hit_rate','map','mrr','ndcg')

def judged(shown, liked, k, metrics=ACCURACY, variant=None):
    "Figures of one list by `ranking_metrics`: `liked` {item: rating}"
    items = pd.DataFrame(index=range(1, 13))
    train = Interactions.from_df(pd.DataFrame(dict(user=['other'], item=[12], rating=[5.])), item_info=items, user_info=pd.DataFrame(index=['me']))
    df = pd.DataFrame(dict(user='me', item=list(liked), rating=list(map(float, liked.values()))))
    test = Interactions.from_df(df, item_info=items, user_info=pd.DataFrame(index=['other','me']))
    recs = pd.DataFrame(dict(user='me', item=np.array(shown, int), rank=np.arange(1, len(shown)+1)))
    pad = pd.DataFrame(dict(user='other', item=range(1, 12), rank=range(1, 12)))        # so that no list counts as cut off
    t = ranking_metrics(pd.concat([recs, pad]), test, train, k=k, metrics=metrics, variant=variant, relevant=0, n_boot=0)
    return dict(zip(t.metric, t.value))

log3 = np.log2(3)
paper = {
    'perfect':  ([1,2,3,4,5], 3, (2/3, 1,   1, 1,           1,   1)),
    'reversed': ([5,4,3,2,1], 3, (0,   0,   0, 0,           0,   0)),
    'whole':    ([5,4,3,2,1], 5, (2/5, 1,   1, (1/4+2/5)/2, 1/4, (1/np.log2(5)+1/np.log2(6))/(1+1/log3))),
    'middle':   ([3,1,2,4,5], 3, (2/3, 1,   1, (1/2+2/3)/2, 1/2, (1/log3+1/2)/(1+1/log3))),
    'last':     ([4,5,2,1,3], 3, (1/3, 1/2, 1, 1/3/2,       1/3, 1/2/(1+1/log3))),
    'empty':    ([],          3, (0,   0,   0, 0,           0,   0)),
    'one item': ([2],         3, (1/3, 1/2, 1, 1/2,         1,   1/(1+1/log3)))}

@pytest.mark.parametrize('name', paper)
def test_on_paper(name):
    shown,k,want = paper[name]
    got = judged(shown, {1:5, 2:5}, k)
    assert [got[m] for m in ACCURACY] == pytest.approx(want)

def hit_places(shown, liked, k): return [j for j,i in enumerate(shown[:k], 1) if i in liked]
def liked_dcg(shown, liked, k, first): return sum(1/np.log2(j + first - 1) for j in hit_places(shown, liked, k))
slips = {      # classic mistakes: each must differ from what the library says in some case above
    'discount starts at log2(3)': ('ndcg', lambda s,l,k: liked_dcg(s, l, k, 3)/liked_dcg(sorted(l), l, k, 3)),
    'natural discount': ('ndcg', lambda s,l,k: sum(1/(1 + np.log(j)) for j in hit_places(s, l, k))/sum(1/(1 + np.log(j)) for j in (1,2))),
    'rank counted from 0': ('mrr', lambda s,l,k: max((1/(j - .5) for j in hit_places(s, l, k)), default=0)),
    'recall divided by k': ('recall', lambda s,l,k: len(hit_places(s, l, k))/k),
    'precision divided by R': ('precision', lambda s,l,k: len(hit_places(s, l, k))/len(l)),
    'AP divided by k': ('map', lambda s,l,k: sum(h/j for h,j in enumerate(hit_places(s, l, k), 1))/k),
    'AP divided by hits': ('map', lambda s,l,k: sum(h/j for h,j in enumerate(hit_places(s, l, k), 1))/max(len(hit_places(s, l, k)), 1))}

@pytest.mark.parametrize('slip', slips)
def test_papers_would_notice_a_slip(slip):
    metric,wrong = slips[slip]
    assert any(abs(wrong(s, {1,2}, k) - want[ACCURACY.index(metric)]) > .01 for s,k,want in paper.values())

def test_variants_on_paper():
    "Hits on places 1 and 3; at k=2 one hit, three liked, the best list has ratings 5 and 5"
    names = ('precision','recall','map','ndcg')
    got = lambda v: judged([1,2,3,4,5], {1:5, 3:4, 7:5}, 2, names, v)
    base = got(None)
    assert [base[m] for m in names] == pytest.approx([1/2, 1/3, 1/3, 1/(1 + 1/log3)])
    other = got(dict(precision='implicit', recall='capped', map='capped', ndcg='linear'))
    assert [other[m] for m in names] == pytest.approx([1/2, 1/2, 1/2, 5/(5 + 5/log3)])
    five = judged([1,2,3,4,5], {1:5, 3:4, 7:5}, 5, names, dict(precision='implicit', recall='capped', map='capped', ndcg='exponential'))
    assert [five[m] for m in names] == pytest.approx([2/3, 2/3, (1 + 2/3)/3, (31 + 15/2)/(31 + 31/log3 + 15/2)])

@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 11), unique=True, max_size=9), st.dictionaries(st.integers(1, 11), st.integers(1, 5), min_size=1, max_size=8), st.integers(1, 9))
def test_figures_of_any_list(shown, liked, k):
    got,places = judged(shown, liked, k),hit_places(shown, liked, k)
    assert all(0 <= v <= 1 + 1e-12 for v in got.values())
    assert got['precision'] == pytest.approx(len(places)/k) and got['recall'] == pytest.approx(len(places)/len(liked))
    assert got['mrr'] == pytest.approx(1/places[0] if places else 0) and got['hit_rate'] == bool(places)
    assert got['map'] == pytest.approx(sum(h/j for h,j in enumerate(places, 1))/len(liked))
    for j in places:                            # a hit that moves up never does harm
        if j == 1 or shown[j-2] in liked: continue
        up = [*shown[:j-2], shown[j-1], shown[j-2], *shown[j:]]
        better = judged(up, liked, k)
        assert all(better[m] >= got[m] - 1e-12 for m in ACCURACY) and better['ndcg'] > got['ndcg']


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


@pytest.mark.parametrize('dtype', ['object', 'str', 'category'])
def test_items_without_genres_are_like_nothing(dtype):
    info = pd.DataFrame(dict(genres=['Horror|War', '', None, 'War', 'War|Horror', '']), index=range(1, 7), dtype=object).astype(dtype)
    inter = Interactions.from_df(pd.DataFrame(dict(user=list('aab'), item=[1,2,3], rating=[5.,4,3])), item_info=info)
    F = item_features(None, inter, inter.items)
    assert F.shape == (7, 2) and F[1]@F[5] == pytest.approx(1) and F[1]@F[4] == pytest.approx(1/2**.5)
    for a in (2,3,6):
        assert not F[a].any()
        for b in range(7): assert F[a]@F[b] == 0

@pytest.mark.parametrize('genres,want', [(['', '', '', ''], 'has none'), (['x', 'x', '', ''], 1 - 1/6), (['x', 'y', '', ''], 1)])
def test_diversity_of_genres(genres, want):
    "One list of four items"
    info = pd.DataFrame(dict(genres=genres), index=list('pqrs'))
    if want == 'has none': info['genres'] = None
    inter = Interactions.from_df(pd.DataFrame(dict(user='u', item=list('pqrs'), rating=[1.,2,3,4])), item_info=info)
    call = lambda: ranking_metrics(Popular().fit(inter), inter, k=4, metrics='diversity', exclude_seen=False, n_boot=0).value[0]
    if want != 'has none': return np.testing.assert_allclose(call(), want)
    with pytest.raises(ValueError, match=want): call()

def test_lists_of_fewer_than_two_items_have_no_diversity():
    train,test,model = random_data(16)
    features = np.random.default_rng(0).random((80, 4))
    recs = model.recommend(test.df.user.unique(), k=5)
    some = recs[recs.user.isin(recs.user.unique()[::2])]
    own = ranking_metrics(some, test, train, k=5, metrics=('diversity','novelty'), features=features, per_user=True)
    has = own.index.isin(some.user)
    assert own[~has].isna().all().all() and own[has].notna().all().all()
    got = ranking_metrics(some, test, train, k=5, metrics='diversity', features=features, n_boot=20).value[0]
    assert got == pytest.approx(own['diversity@5'].mean()) and got <= 1
    assert np.isnan(ranking_metrics(model, test, k=1, metrics='diversity', features=features, n_boot=0).value[0])


# --- nobody disappears

def test_warm_and_cold():
    df = pd.DataFrame([('a',1,5),('a',2,4),('b',1,5),('b',3,3), ('a',3,5),('a',4,5),('new',1,4),('b',2,1)], columns=['user','item','rating'])
    both = Interactions.from_df(df)
    train,test = both.take(np.arange(8) < 4),both.take(np.arange(8) >= 4)
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
    info = dict(item_info=pd.DataFrame(index=train.items.ids), user_info=pd.DataFrame(index=train.users.ids))
    for rows in ([test.df, test.df.assign(rating=1.)], [test.df.assign(rating=1.), test.df]):       # at its best rating
        twice = Interactions.from_df(pd.concat(rows), duplicates='keep', **info)
        how = dict(k=5, relevant=1, metrics='ndcg', variant={'ndcg':'linear'})
        assert value(model, twice, **how).equals(value(model, test, **how))

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

def test_intervals_by_drawing():
    "Quantiles of means over drawn users, one draw at a time; coverage moved so that its draws have the right mean"
    train,test,model = random_data(17)
    own = ranking_metrics(model, test, k=5, per_user=True)
    t = ranking_metrics(model, test, k=5, metrics=('ndcg','recall','coverage'), n_boot=80, seed=9).set_index('metric')
    draws = np.random.default_rng(9).integers(len(own), size=(80, len(own)))
    for m in ('ndcg','recall'):
        means = [own[f'{m}@5'].to_numpy()[d].mean() for d in draws]
        np.testing.assert_allclose(t.loc[m, ['low','high']].astype(float), np.quantile(means, [.025, .975]))
    lists = model.recommend(own.index, k=5).groupby('user')['item'].agg(list).tolist()
    shares = np.array([len({i for u in d for i in lists[u]})/80 for d in draws])
    want = np.quantile(shares - shares.mean() + t.value['coverage'], [.025, .975])
    np.testing.assert_allclose(t.loc['coverage', ['low','high']].astype(float), want)

def test_intervals_of_ratings_and_differences_by_drawing():
    train,test,_ = random_data(18)
    a,b = Bias().fit(train),Bias(user_damping=50.).fit(train)
    t = compare({'a': Bias(), 'b': Bias(user_damping=50.)}, train, test, metrics='rmse', baseline='a', n_boot=60, seed=4).rmse.loc['b']
    users = np.unique(test.df.user)
    rows = [np.flatnonzero(test.df.user == u) for u in users]
    squares = [np.square(m.predict(test.df.user, test.df['item']).astype(float) - test.df.rating.to_numpy(float)) for m in (a, b)]
    drawn = [np.concatenate([rows[o] for o in d]) for d in np.random.default_rng(4).integers(len(users), size=(60, len(users)))]
    values = np.array([[np.sqrt(s[d].mean()) for d in drawn] for s in squares])
    np.testing.assert_allclose(t[['low','high']].astype(float), np.quantile(values[1], [.025, .975]), rtol=1e-5)
    np.testing.assert_allclose(t[['diff_low','diff_high']].astype(float), np.quantile(values[1] - values[0], [.025, .975]), rtol=1e-4)

def test_candidates_are_asked_by_query():
    "A model that answers for people, not for codes: `query_scores` is all that is called, a block of users at a time"
    train,test,model = random_data(19)
    class Asked(Recommender):
        block_bytes = 4*81*7
        def query_scores(self, query):
            assert len(query) <= 7
            np.testing.assert_array_equal(query.labels, self.users.decode(query.codes))
            return model.matrix[query.codes]
        def scores(self, user_codes): raise AssertionError('asked by code')
    got = value(Asked().fit(train), test, k=(3,10), n_candidates=15)
    assert got.equals(value(model, test, k=(3,10), n_candidates=15))

def test_candidates_by_brute_force():
    train,test,model = random_data(20)
    got = ranking_metrics(model, test, k=4, n_candidates=12, metrics='recall', per_user=True, seed=3)['recall@4']
    seen,liked = train.csr('ones').toarray() > 0,test.csr().toarray() >= 4
    for u in train.users.encode(got.index):
        pool = [i for i in range(1, 81) if not seen[u,i] and not liked[u,i]]
        drawn = np.random.default_rng([3, u]).choice(pool, 12, replace=False)
        both = np.concatenate([np.flatnonzero(liked[u]), drawn])
        top = both[np.argsort(-model.matrix[u][both])][:4]
        assert got[train.users.decode([u])[0]] == pytest.approx(liked[u][top].sum()/liked[u].sum())

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

def test_same_arguments_everywhere():
    "What `compare` and `cross_validate` share they take under the same name, in the same order, with the same default; and no bare **kwargs"
    rest = {}
    for f in (ranking_metrics, compare, cross_validate):
        params = inspect.signature(f).parameters
        assert not [p for p in params.values() if p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
        rest[f] = {n: p.default for n,p in params.items() if n not in ('models','make','folds','model','train','test','baseline','n_folds','apart','per_user','metrics')}
    assert list(rest[compare].items()) == list(rest[cross_validate].items())
    assert list(rest[ranking_metrics]) == list(rest[compare])
    how = dict(relevant=3, exclude_seen=False, n_candidates=10, variant={'ndcg':'linear'}, features=np.ones((80, 2)), metrics=('ndcg','diversity'), n_boot=0)
    train,test,model = random_data(21)
    fixed = ranking_metrics(model, test, k=5, **how).set_index('metric').value
    table,folds = compare({'m': model}, train, test, k=5, **how),cross_validate(lambda: model, [(train, test)], k=5, **how).set_index(['fold','metric']).value
    for m in ('ndcg','diversity'): assert table[m,'value']['m'] == folds[1,m] == fixed[m]

def test_columns_come_in_the_order_asked():
    train,test,model = random_data(22)
    t = compare({'bias': Bias()}, train, test, metrics=('ndcg','mae','coverage','rmse'), n_boot=0)
    assert list(dict.fromkeys(t.columns.get_level_values(0))) == ['ndcg','mae','coverage','rmse','users','items','seconds']
    only = compare({'bias': Bias()}, train, test, metrics='rmse', n_boot=0)
    assert list(dict.fromkeys(only.columns.get_level_values(0))) == ['rmse','users','items','seconds']

def test_cut_folds():
    inter = random_data(23)[0]
    folds = cut_folds(inter, 4, seed=1)
    key = ['user','item']
    assert sorted(map(tuple, pd.concat([te.df[key] for _,te in folds]).to_numpy())) == sorted(map(tuple, inter.df[key].to_numpy()))
    for train,test in folds: assert len(train) + len(test) == len(inter) and not len(train.df.merge(test.df, on=key))
    with pytest.raises(ValueError, match='n_folds=1'): cut_folds(inter, 1)

def test_mean_of_folds_by_drawing():
    "A draw of users takes each person's rows from all folds together"
    _,_,model = random_data(24)
    inter = random_data(24)[0]
    folds = cut_folds(inter, 3, seed=0)
    t = cross_validate(lambda: model, folds, k=5, metrics='ndcg', n_boot=50, seed=6).set_index('fold').loc['mean']
    own = [ranking_metrics(model.fit(train), test, k=5, metrics='ndcg', per_user=True)['ndcg@5'] for train,test in folds]
    own = [o.reindex(['#na#', *inter.users.ids]).to_numpy() for o in own]
    draws = np.random.default_rng(6).integers(len(own[0]), size=(50, len(own[0])))
    means = [np.mean([np.nanmean(o[d]) for o in own]) for d in draws]
    np.testing.assert_allclose(t[['low','high']].astype(float), np.quantile(means, [.025, .975]))

@pytest.mark.parametrize('call,message', [
    (lambda m, te: ranking_metrics(m, te, metrics=()), 'no metric'),
    (lambda m, te: ranking_metrics(m, te, metrics='rmse'), 'rmse'),
    (lambda m, te: ranking_metrics(m, te, n_candidates=0), 'n_candidates=0'),
    (lambda m, te: ranking_metrics(m, te, n_boot=-1), 'n_boot=-1'),
    (lambda m, te: ranking_metrics(pd.DataFrame(dict(user=['u001'], item=['i001'], rank=[0])), te, te, k=1), 'ranks count from 1'),
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

def test_tables_have_no_candidates():
    _,test,model = random_data(15)
    with pytest.raises(TypeError, match='gives no scores'): ranking_metrics(model.recommend(test.users.ids), test, test, k=5, n_candidates=5)

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
