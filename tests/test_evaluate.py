"The metrics against the libraries they come from, by hand and by brute force, on random data; intervals; memory; bad input"
import inspect,tracemalloc,warnings
from decimal import Decimal
from functools import partial
from itertools import product

import numpy as np, pandas as pd, pytest
from hypothesis import given,settings,strategies as st
from recsys_course.data import Interactions
from recsys_course.evaluate import (compare,cross_validate,cut_folds,draw_settings,item_features,judge_by,published_protocols,liked_threshold,ranking_metrics,rating_metrics,
                                    tune)
from recsys_course.recommender import Bias,ItemKNN,Popular,Recommender


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
    train = Interactions.from_df(pd.DataFrame(dict(user=['other'], item=[12], rating=[5.])), item_info=items, user_info=pd.DataFrame(index=['other','me']))
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
        return a @ b/np.linalg.norm(a)/np.linalg.norm(b)
    known = lists.map(lambda l: [i for i in l if features.loc[i].any()])
    assert got.diversity == pytest.approx(np.mean([np.mean([1 - cos(a, b) for x,a in enumerate(l) for b in l[:x]]) for l in known]))
    profile = train.df.groupby('user')['item'].agg(lambda o: np.mean([count[i] for i in o])).reindex(lists.index)
    shown = lists.map(lambda o: np.mean([count.get(i, 0) for i in o]))
    assert got.popularity_lift == pytest.approx(shown.mean()/profile.mean() - 1)


@pytest.mark.parametrize('dtype', ['object', 'string', 'category', *(['str'] if pd.__version__ >= '3' else [])])    # str of pandas 2 makes a genre of None
def test_items_without_genres_are_like_nothing(dtype):
    info = pd.DataFrame(dict(genres=['Horror|War', '', None, 'War', 'War|Horror', '']), index=range(1, 7), dtype=object).astype(dtype)
    inter = Interactions.from_df(pd.DataFrame(dict(user=list('aab'), item=[1,2,3], rating=[5.,4,3])), item_info=info)
    F = item_features(None, inter, inter.items)
    assert F.shape == (7, 2) and F[1]@F[5] == pytest.approx(1) and F[1]@F[4] == pytest.approx(1/2**.5)
    for a in (2,3,6):
        assert not F[a].any()
        for b in range(7): assert F[a]@F[b] == 0

@pytest.mark.parametrize('genres,want', [(['', '', '', ''], 'has none'), (['x', 'x', '', ''], 0), (['x', 'x', 'y', ''], 2/3), (['x', 'y', '', ''], 1)])
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
    pairs = [(train, test), (test, train)]
    t = cross_validate(Bias, pairs, k=5, metrics=('rmse','ndcg'), n_boot=50, by_fold=True)
    assert t.fold.unique().tolist() == [1, 2, 'mean'] and t.model.unique().tolist() == ['popular','Bias']
    v = t[t.model == 'Bias'].pivot(index='metric', columns='fold', values='value')
    np.testing.assert_allclose(v['mean'], (v[1] + v[2])/2)
    assert v[1]['rmse'] == pytest.approx(rating_metrics(Bias().fit(train), test).value[0])
    table = cross_validate(Bias, pairs, k=5, metrics=('rmse','ndcg'), n_boot=50)
    assert table.value.loc['Bias','rmse'] == v['mean']['rmse'] and table.value.loc['Bias','ndcg'] == v['mean']['ndcg']
    assert cross_validate(Bias, train, n_folds=3, n_boot=0, by_fold=True).fold.unique().tolist() == [1, 2, 3, 'mean']
    with pytest.raises(ValueError, match='folds is empty'): cross_validate(Bias, [])

def test_same_arguments_everywhere():
    "What `compare` and `cross_validate` share they take under the same name, in the same order, with the same default; and no bare **kwargs"
    rest = {}
    for f in (ranking_metrics, compare, cross_validate):
        params = inspect.signature(f).parameters
        assert not [p for p in params.values() if p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
        rest[f] = {n: p.default for n,p in params.items() if n not in ('models','make','folds','model','train','test','baseline','n_folds','by_fold','apart','per_user','metrics')}
    assert list(rest[compare].items()) == list(rest[cross_validate].items())
    assert list(rest[ranking_metrics]) == list(rest[compare])
    how = dict(relevant=3, exclude_seen=False, n_candidates=10, variant={'ndcg':'linear'}, features=np.ones((80, 2)), metrics=('ndcg','diversity'), n_boot=0)
    train,test,model = random_data(21)
    fixed = ranking_metrics(model, test, k=5, **how).set_index('metric').value
    table,folds = compare({'m': model}, train, test, k=5, **how),cross_validate({'m': lambda: model}, [(train, test)], k=5, **how).value.loc['m']
    for m in ('ndcg','diversity'): assert table[m,'value']['m'] == folds[m] == fixed[m]

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
    t = cross_validate({'m': lambda: model}, folds, k=5, metrics='ndcg', n_boot=50, seed=6).ndcg.loc['m']
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


# --- lists from elsewhere: only what is a place is taken for one

def lists_of(seed=1, k=5):
    train,test,model = random_data(seed)
    return train, test, model.recommend(test.users.ids, k=k)

def ndcg_of(recs, test, train, k=3): return ranking_metrics(recs, test, train, k=k, metrics='ndcg', n_boot=0).value[0]

class Elsewhere:
    "A table of another library, which knows how to become one of pandas"
    def __init__(self, df): self.df = df
    def to_pandas(self): return self.df

by_score = lambda d: d.groupby('user').score.rank(ascending=False, method='first')
@pytest.mark.parametrize('rank', ['int8','uint64','float32','float64','Int64','Float64','object','category',str,by_score,lambda d: d['rank'].map(Decimal)])
def test_ranks_that_are_places(rank):
    train,test,recs = lists_of()
    other = recs.assign(rank=rank(recs) if callable(rank) and rank is not str else recs['rank'].astype(rank))
    want = ndcg_of(recs, test, train)
    for table in (other, other.sample(frac=1, random_state=0), Elsewhere(other)): assert ndcg_of(table, test, train) == want

@pytest.mark.parametrize('shift,shown', [(lambda r: r - 1, '0'), (lambda r: -r, '-1'), (lambda r: r + .5, '1.5'), (lambda r: r.where(r != 2), 'nan'), (lambda r: r.astype('Int64').where(r != 2), '<NA>'), (lambda r: r.astype(float).where(r != 3, np.inf), 'inf'),
    (lambda r: r.astype(str).where(r != 2, 'two'), 'two'), (lambda r: r.astype(object).where(r != 2, None), 'None'), (lambda r: r == 2, 'False'), (lambda r: pd.to_datetime(r), '1970'), (lambda r: r*0 + 1e-9, '1e-09')])
def test_ranks_that_are_no_numbers_of_places(shift, shown):
    train,test,recs = lists_of()
    with pytest.raises(ValueError, match=f'holds rank {shown}.*ranks count from 1 in whole numbers'): ndcg_of(recs.assign(rank=shift(recs['rank'])), test, train)

@pytest.mark.parametrize('shift', [lambda r: r + 1, lambda r: r.where(r < 3, r + 1), lambda r: r*0 + 1, lambda r: r.where(r != 2, 1), lambda r: r*10**15, lambda r: pd.Series(np.arange(1, len(r)+1)), lambda r: r.astype(float).where(r != 5, 1e300)])
def test_ranks_that_leave_places_open_or_share_them(shift):
    train,test,recs = lists_of()
    with pytest.raises(ValueError, match='has 5 items but no place'): ndcg_of(recs.assign(rank=shift(recs['rank'])), test, train)

@pytest.mark.parametrize('make,error,message', [
    (lambda r: r.set_index('user'), ValueError, 'one column each'), (lambda r: r.rename(columns={'item':'movie'}), ValueError, 'movie'), (lambda r: r[:0], ValueError, 'no rows'),
    (lambda r: pd.concat([r, r[['rank']]], axis=1), ValueError, 'one column each'), (lambda r: r.groupby('user', as_index=False).agg(item=('item', list), rank=('rank', 'min')), ValueError, 'explode'),
    (lambda r: {'u001': ['i001']}, TypeError, 'a dict gives no lists'), (lambda r: None, TypeError, 'NoneType'), (lambda r: 'ALS', TypeError, 'a str'), (lambda r: Popular, TypeError, 'Popular is a class'),
    (lambda r: Popular(), RuntimeError, 'not fitted'), (lambda r: r.assign(item='x'), KeyError, "'x'"), (lambda r: r.assign(user='x'), KeyError, "'x'")])
def test_what_is_no_table_of_lists(make, error, message):
    train,test,recs = lists_of()
    with pytest.raises(error, match=message): ndcg_of(make(recs), test, train)

def test_lists_with_the_worst_first_and_users_without_a_list_are_told():
    train,test,recs = lists_of()
    with pytest.warns(UserWarning, match='score rises with the rank'): ndcg_of(recs.assign(rank=6 - recs['rank']), test, train)
    some = recs[recs.user != test.df.user.iloc[0]]
    with pytest.warns(UserWarning, match='no list for 1 of'): ndcg_of(some, test, train)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        ndcg_of(recs, test, train)

@settings(max_examples=25, deadline=None)
@given(st.dictionaries(st.sampled_from(list('abcd')), st.lists(st.integers(1, 9), unique=True, min_size=1, max_size=6), min_size=4), st.sets(st.tuples(st.sampled_from(list('abcd')), st.integers(1, 9)), min_size=1), st.integers(1, 6), st.randoms(use_true_random=False))
def test_any_table_of_lists(shown, liked, k, random):
    "However its rows are ordered and its ranks are typed; and refused as soon as one rank is another one"
    info = dict(item_info=pd.DataFrame(index=range(1, 10)), user_info=pd.DataFrame(index=list('abcde')))
    test = Interactions.from_df(pd.DataFrame(sorted(liked), columns=['user','item']).assign(rating=5.), **info)
    train = Interactions.from_df(pd.DataFrame(dict(user=['e'], item=[9], rating=[1.])), **info)
    rows = [(u, i, j) for u,l in shown.items() for j,i in enumerate(l, 1)]
    rows += [('e', i, i) for i in range(1, 9)]                       # so that no list counts as cut off
    random.shuffle(rows)
    recs = pd.DataFrame(rows, columns=['user','item','rank']).astype({'rank': random.choice(['int8','float32','Int64','object','str'])})
    got = ranking_metrics(recs, test, train, k=k, metrics=('recall','mrr'), relevant=5, n_boot=0).set_index('metric').value
    of = {u: {i for v,i in liked if v == u} for u in {u for u,_ in liked}}
    assert got.recall == pytest.approx(np.mean([len(l & set(shown[u][:k]))/len(l) for u,l in of.items()]))
    assert got.mrr == pytest.approx(np.mean([max([1/j for j,i in enumerate(shown[u][:k], 1) if i in l], default=0) for u,l in of.items()]))
    at,other = random.randrange(len(rows)),random.choice([0, -3, 1.5, 99])
    bad = [other if j == at else r for j,(_,_,r) in enumerate(rows)]
    with pytest.raises(ValueError, match='rank'): ranking_metrics(recs.assign(rank=bad), test, train, k=k, metrics='recall', relevant=5, n_boot=0)


# --- features are joined to the items that they are about

def with_features(seed=5, **kwargs):
    train,test,model = random_data(seed, **kwargs)
    table = pd.DataFrame(np.random.default_rng(0).random((80, 4)), index=train.items.ids)
    return table, lambda f: ranking_metrics(model, test, k=5, metrics='diversity', features=f, n_boot=0).value[0]

@pytest.mark.parametrize('form', [lambda F: F.sample(frac=1, random_state=1), lambda F: F.to_numpy(), lambda F: F.to_numpy().tolist(), lambda F: F.rename_axis('item').reset_index(), lambda F: F.astype(object), lambda F: F.astype('Float64'),
    Elsewhere, lambda F: pd.concat([F, F.set_axis('x' + F.index)]), lambda F: -F, lambda F: __import__('scipy.sparse').sparse.csr_matrix(F.to_numpy())])
def test_forms_of_features(form):
    F,diversity = with_features()
    assert diversity(form(F)) == pytest.approx(diversity(F))

@pytest.mark.parametrize('form,message', [
    (lambda F: F.set_axis('x' + F.index), "called \\['xi000'"), (lambda F: F.reset_index(drop=True), "called \\[0, 1, 2\\].*set_index\\('item'\\)"), (lambda F: F.rename_axis('movie').reset_index(), 'set_index'), (lambda F: F.set_axis(np.arange(80.)), 'called'),
    (lambda F: pd.concat([F, F]), 'several rows for item i000'), (lambda F: F.mask(F > .9), 'are no numbers'), (lambda F: F.mask(F > .9, np.inf), 'are no numbers'), (lambda F: F.mask(F > .9).to_numpy(), 'are no numbers'), (lambda F: F[:0], 'called'),
    (lambda F: F[[]], 'no columns'), (lambda F: F*0, '0 for every item'), (lambda F: F[0].to_numpy(), 'shape \\(80,\\)'), (lambda F: F.to_dict(), 'pass numbers'), (lambda F: 'genres', 'pass numbers'), (lambda F: F.to_numpy()[:7], '7 rows of features')])
def test_features_that_cannot_be_joined(form, message):
    F,diversity = with_features()
    with pytest.raises(ValueError, match=message): diversity(form(F))

def test_a_numbered_table_is_not_taken_for_item_numbers():
    "Rows 0, 1, 2, ... of a csv beside items 1, 2, 3, ...: each item would get its neighbour's features"
    train,test,model = random_data(5)
    number = lambda inter: inter.df.assign(item=inter.df['item'].str[1:].astype(int) + 1)
    info = pd.DataFrame(index=range(1, 81))
    train,test = (Interactions.from_df(number(o), item_info=info) for o in (train, test))
    csv = pd.DataFrame(np.random.default_rng(0).random((80, 4)))
    diversity = lambda f: ranking_metrics(Popular().fit(train), test, train, k=5, metrics='diversity', features=f, n_boot=0).value[0]
    with pytest.raises(ValueError, match='set_index'): diversity(csv)
    assert diversity(csv.assign(item=range(1, 81))) == diversity(csv.set_axis(range(1, 81))) == diversity(csv.set_axis(np.arange(1., 81)))
    with pytest.warns(UserWarning, match='features for 40 of 80 items'): diversity(csv.set_axis(range(1, 81))[:40])

def test_features_in_words():
    train,test,model = random_data(5)
    genres = pd.Series(np.random.default_rng(0).choice(['A','B','A|C'], 80), train.items.ids, name='genres')
    flags = pd.DataFrame({w: genres.str.contains(w).astype(float) for w in 'ABC'})
    diversity = lambda f: ranking_metrics(model, test, k=5, metrics='diversity', features=f, n_boot=0).value[0]
    assert diversity(genres) == pytest.approx(diversity(flags)) == pytest.approx(diversity(genres.to_frame()))

@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.integers(0, 2), min_size=2, max_size=2), min_size=6, max_size=6), st.permutations(range(1, 7)), st.integers(1, 6))
def test_diversity_counts_pairs_of_known_items(rows, order, k):
    F = np.array(rows, float)
    if not F.any(): return
    inter = Interactions.from_df(pd.DataFrame(dict(user='u', item=range(1, 7), rating=[1.,2,3,4,5,5])))
    recs = pd.DataFrame(dict(user='u', item=order, rank=range(1, 7)))
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        got = ranking_metrics(recs, inter, inter, k=k, metrics='diversity', features=F, n_boot=0, exclude_seen=False).value[0]
    known = [F[i-1]/np.linalg.norm(F[i-1]) for i in order[:k] if F[i-1].any()]
    pairs = [1 - a @ b for j,a in enumerate(known) for b in known[:j]]
    assert got == pytest.approx(np.mean(pairs)) if pairs else np.isnan(got)


# --- what counts as liked, and what was seen before

def one_row_each(*ratings): return Interactions.from_df(pd.DataFrame(dict(user=1, item=range(len(ratings)), rating=ratings)))

@pytest.mark.parametrize('ratings,want', [((1,2,3,4,5), 4), ((.5,5), 3.875), ((0,1), .75), ((1,1,1), None), ((0,0), None), ((0,100), 75), ((-1,1), .5), ((1,10), 7.75), ((.2,1.), .8), ((3,), None)])
def test_liked_threshold(ratings, want): assert liked_threshold(one_row_each(*ratings)) == want

def test_the_scale_is_that_of_train_too():
    train,test,model = random_data(2)
    middle = test.take(((test.df.rating > 1) & (test.df.rating < 5)).to_numpy())
    t = ranking_metrics(model, middle, k=5, n_boot=0)
    assert t.attrs['relevant'] == 4 and t.n_rows[0] == (middle.df.rating == 4).sum()
    assert ranking_metrics(model, test, relevant=2, n_boot=0).attrs['relevant'] == 2
    assert compare(Bias, train, middle, n_boot=0).attrs['relevant'] == 4
    clicks = Interactions.from_df(test.df.assign(rating=1.), item_info=pd.DataFrame(index=train.items.ids), user_info=pd.DataFrame(index=train.users.ids))
    assert ranking_metrics(Popular().fit(clicks), clicks, exclude_seen=False, n_boot=0).n_rows[0] == len(test)

@pytest.mark.parametrize('scale,shift', [(.2,0), (1,-1), (2,0), (20,0), (.25,-.25), (1,100), (.5,0)])
def test_figures_do_not_depend_on_the_scale(scale, shift):
    "4 of 5 stars, 8 of 10 and 80 of 100 are the same: least of all rows that count"
    train,test,model = random_data(3)
    info = dict(item_info=pd.DataFrame(index=train.items.ids), user_info=pd.DataFrame(index=train.users.ids))
    other = [Interactions.from_df(o.df.assign(rating=o.df.rating*scale + shift), **info) for o in (train, test)]
    want = ranking_metrics(Popular().fit(train), test, k=5, n_boot=0)
    assert ranking_metrics(Popular().fit(other[0]), other[1], k=5, n_boot=0).equals(want)
    assert ranking_metrics(Popular().fit(other[0]), other[1], k=5, n_boot=0, relevant=np.float64(4*scale + shift)).equals(want)

def test_a_threshold_that_leaves_next_to_nothing_is_told():
    train,test,model = random_data(4)
    plays = test.df.assign(rating=np.where(np.arange(len(test)) == 0, 5000, test.df.rating))
    plays = Interactions.from_df(plays, item_info=pd.DataFrame(index=train.items.ids), user_info=pd.DataFrame(index=train.users.ids))
    with pytest.warns(UserWarning, match='only 1 of .* rows of test are rated'): ranking_metrics(model, plays, n_boot=0)

def repeated(seed):
    "Events of which many come again in test"
    rng = np.random.default_rng(seed)
    df = pd.DataFrame(dict(user=rng.integers(0, 12, 200), item=rng.integers(1, 25, 200), timestamp=range(200)))
    inter = Interactions.from_df(df, rating=None, duplicates='keep')
    return inter.take(np.arange(200) < 120), inter.take(np.arange(200) >= 120)

@pytest.mark.filterwarnings('ignore:.*also in train')
@pytest.mark.parametrize('seed', range(3))
@pytest.mark.parametrize('exclude_seen', [True, False])
def test_all_candidates_is_full_ranking_when_events_come_again(seed, exclude_seen):
    train,test = repeated(seed)
    model = Scores(np.random.default_rng(seed).random((len(train.users), len(train.items)), np.float32)).fit(train)
    how = dict(k=(3,8), exclude_seen=exclude_seen, metrics=('recall','ndcg','mrr'))
    assert value(model, test, n_candidates=10**9, **how).equals(value(model, test, **how))

def test_likes_that_cannot_be_shown_are_told():
    train,test = repeated(0)
    again = len(set(zip(test.df.user, test.df['item'])) & set(zip(train.df.user, train.df['item'])))
    with pytest.warns(UserWarning, match=f'{again} of .* likes in test are also in train'): ranking_metrics(Popular().fit(train), test, n_boot=0)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        ranking_metrics(Popular().fit(train), test, exclude_seen=False, n_boot=0)


# --- models that fail, and numbers that are none

class NoNumber(Recommender):
    "One item has a score that is none"
    def __init__(self, value=np.nan): self.value = value
    def scores(self, user_codes):
        s = np.tile(np.arange(len(self.items), dtype=np.float32), (len(user_codes), 1))
        s[:,5] = self.value
        return s
    def predict_codes(self, u, i): return np.where(i == 5, self.value, 3.)
class FailsToFit(Popular):
    def fit(self, train): raise RuntimeError('no luck\nat all')
class FailsToRecommend(Popular):
    def recommend(self, *args, **kwargs): raise KeyError('x')
class FromZero(Popular):
    def recommend(self, *args, **kwargs): return super().recommend(*args, **kwargs).assign(rank=lambda d: d['rank'] - 1)
class Nothing(Popular):
    def recommend(self, *args, **kwargs): return super().recommend(*args, **kwargs)[:0]
class NoTable(Popular):
    def recommend(self, *args, **kwargs): return None
class Column(Bias):
    def predict(self, users, items): return super().predict(users, items)[:,None]

failing = dict(nan=(NoNumber, 'the score nan for user'), inf=(partial(NoNumber, np.inf), 'the score inf'), fit=(FailsToFit, 'RuntimeError: no luck at all'), recommend=(FailsToRecommend, "KeyError: 'x'"), zero=(FromZero, 'ranks count from 1'), nothing=(Nothing, 'no rows'),
    none=(NoTable, 'not a NoneType'), column=(Column(), r'shape \(\d+, 1\)'), maker=(lambda: 3, 'no model'), raises=(lambda: 1/0, 'division by zero'), arguments=(Scores, "missing 1 required"))

@pytest.mark.parametrize('name', failing)
@pytest.mark.parametrize('judge', ['compare', 'cross_validate'])
def test_one_model_that_fails_is_a_row(name, judge):
    train,test,_ = random_data(1)
    model,message = failing[name]
    run = lambda models: compare(models, train, test, k=5, metrics=('mae','ndcg'), n_boot=20) if judge == 'compare' else cross_validate(models, [(train, test)], k=5, metrics=('mae','ndcg'), n_boot=20)
    alone = run({'bias': Bias()})
    with pytest.warns(UserWarning, match=f"'{name}' failed and has no figures"): t = run({name: model, 'bias': Bias()})
    assert t.index.tolist() == ['popular', name, 'bias'] and t.value.loc[name].isna().all()
    pd.testing.assert_frame_equal(t.value.drop(name), alone.value)
    pd.testing.assert_frame_equal(t.ndcg.drop(name), alone.ndcg)
    import re
    assert re.search(message, t['error'][name]) and '\n' not in t['error'][name] and t['error']['bias'] == ''
    assert name in repr(t) and 'Error' in repr(t)

def test_a_baseline_that_fails_leaves_no_differences():
    train,test,_ = random_data(1)
    with pytest.warns(UserWarning, match='failed'): t = compare({'bad': FailsToFit(), 'bias': Bias()}, train, test, baseline='bad', n_boot=20, metrics='ndcg')
    assert t.ndcg['diff'].isna().all() and t.ndcg.value['bias'] > 0

def test_the_data_are_to_blame_before_the_models():
    train,test,_ = random_data(1)
    with pytest.raises(ValueError, match='is rated 9 or more'): compare(Bias, train, test, relevant=9)
    with pytest.raises(KeyError, match='stranger'): compare(Bias, train, Interactions.from_df(test.df[:1].assign(user='stranger')), metrics='mae')
    t = compare(Bias, train, test.take((test.df.rating < 3).to_numpy()), metrics='rmse', n_boot=0)       # no list is asked for
    assert t.rmse.value['Bias'] > 0

@pytest.mark.parametrize('bad', [np.nan, np.inf])
def test_scores_and_predictions_that_are_no_numbers(bad):
    train,test,_ = random_data(1)
    model = NoNumber(bad).fit(train)
    for how in (dict(), dict(n_candidates=20)):
        with pytest.raises(ValueError, match='NoNumber gives item i004 the score'): ranking_metrics(model, test, n_boot=0, **how)
    if np.isnan(bad):
        with pytest.raises(FloatingPointError, match='NoNumber predicts nan: it must be a number'): rating_metrics(model, test)
    assert ranking_metrics(NoNumber(-np.inf).fit(train), test, n_boot=0).value.notna().all()       # -inf: never shown

def test_compare_and_cross_validate_take_the_same():
    train,test,_ = random_data(1)
    how = dict(k=5, metrics=('ndcg','rmse'), n_boot=20)
    want = compare({'Bias': Bias()}, train, test, **how)
    for models in (Bias, Bias(), [Bias], (Bias(),), {'Bias': Bias}, {'Bias': lambda: Bias()}, partial(Bias)):
        a,b = compare(models, train, test, **how),cross_validate(models, [(train, test)], **how)
        pd.testing.assert_frame_equal(a.value, want.value)
        pd.testing.assert_frame_equal(b.value, want.value)
        assert list(a.columns) == list(b.columns)
    assert want.value.columns.tolist() == ['ndcg','rmse'] and want.value.ndcg['Bias'] == want.ndcg.value['Bias']
    assert f"{want.value.ndcg['Bias']:.3f} ±" in repr(want)
    model = Bias()
    cross_validate(model, [(train, test)], **how)
    assert not hasattr(model, 'seen')
    assert list(compare([Bias(), ItemKNN(), ItemKNN(k=5)], train, test, k=5, n_boot=0).index) == ['popular','Bias','ItemKNN 2','ItemKNN 3']
    for judge in (lambda m: compare(m, train, test), lambda m: cross_validate(m, train)):
        for bad in (3, 'Bias', {'a': None}, None):
            with pytest.raises(TypeError, match='is no model'): judge(bad)

def test_compare_takes_a_table_of_lists():
    train,test,recs = lists_of(k=5)
    t = compare({'mine': recs, 'bias': Bias}, train, test, k=5, metrics=('rmse','ndcg'), n_boot=0)
    assert t.ndcg.value['mine'] == ndcg_of(recs, test, train, k=5) and np.isnan(t.rmse.value['mine'])
    with pytest.raises(TypeError, match='made for one test'): cross_validate({'mine': recs}, train)


# --- settings and parts that nobody checked

@pytest.mark.parametrize('how,message', [({'k': v}, 'k=') for v in (None, -1, 2.5, '5', np.nan, np.inf, (5, None))] + [({'k': ()}, r'k is empty|k=\(\)')] + [({'n_boot': v}, 'n_boot=') for v in (None, 2.5, '3', True)] + [({'seed': v}, 'seed=') for v in (-1, None, 1.5)]
    + [({'relevant': v}, 'relevant=') for v in ('4', np.nan, np.inf)] + [({'n_candidates': v}, 'n_candidates=') for v in (2.5, 'x', -1)] + [({'metrics': v}, 'no metric') for v in (None, 5, 'ndcg@10', ('ndcg', None))] + [({'exclude_seen': v}, 'exclude_seen=') for v in (None, 'no')]
    + [({'variant': {'ndcg': ['linear']}}, 'no variant')])
def test_settings_are_checked(how, message):
    train,test,model = random_data(15)
    for call in (lambda: ranking_metrics(model, test, **how), lambda: compare(Bias, train, test, **how), lambda: cross_validate(Bias, train, **how)):
        with pytest.raises(ValueError, match=message): call()

def test_a_list_longer_than_the_catalogue_takes_no_room():
    train,test,model = random_data(10)
    got = value(model, test, k=10**9, relevant=1)
    assert got['recall',10**9] == pytest.approx(1) and 0 < got['precision',10**9] < 1e-6
    assert got['ndcg',10**9] == value(model, test, k=200, relevant=1)['ndcg',200]

@pytest.mark.parametrize('n', [1, 0, -1, 2.5, None, '3', np.nan, True, 10**9])
def test_folds_that_cannot_be_cut(n):
    with pytest.raises(ValueError, match='n_folds='): cross_validate(Bias, random_data(15)[0], n_folds=n)

def test_parts_that_are_none():
    train,test,model = random_data(15)
    empty,bias = test.take(np.zeros(len(test), bool)),Bias().fit(train)
    for f in (lambda te, tr=None: ranking_metrics(model, te, tr), lambda te, tr=None: rating_metrics(bias, te, tr), lambda te, tr=train: compare(Bias, tr, te), lambda te, tr=train: cross_validate(Bias, [(tr, te)])):
        with pytest.raises(ValueError, match='test has no rows'): f(empty)
        with pytest.raises(ValueError, match='train has no rows'): f(test, empty)
        with pytest.raises(TypeError, match='test is a DataFrame: make Interactions'): f(test.df)
        with pytest.raises(TypeError, match='test is a NoneType'): f(None)
    for bad in ((train, test), [(train, test, test)]):
        with pytest.raises(ValueError, match='pair'): cross_validate(Bias, bad)
    for bad in (train.df, 'x', None):
        with pytest.raises(TypeError, match='pass \\(train, test\\) pairs'): cross_validate(Bias, bad)


# --- tune

def by_grid(train, space, metric, k=5, seed=3, how='random', held_out=.2):
    "Figures of all settings, one by one, on the same held-out part"
    part,held = train.split(how, test=held_out, seed=seed)
    figure = lambda m: rating_metrics(m, held, metrics=metric, n_boot=0).value[0] if metric in ('rmse','mae') else ranking_metrics(m, held, k=k, metrics=metric, n_boot=0).value[0]
    return {o: figure(ItemKNN(**dict(zip(space, o))).fit(part)) for o in product(*space.values())}

@pytest.mark.parametrize('metric,best', [('rmse', min), ('mae', min), ('ndcg', max), ('recall', max), ('gini', min), ('coverage', max)])
def test_tune_by_grid(metric, best):
    train = random_data(3)[0]
    space = dict(k=[3,8,100], shrink=[0,20])
    found = tune(ItemKNN, train, space, metric if metric in ('rmse','mae') else f'{metric}@5', n_trials=6, seed=3, n_boot=50)
    want = by_grid(train, space, metric)
    got = {(r.k, r.shrink): r.value for r in found.table.itertuples() if (r.k, r.shrink) in want}
    assert got == pytest.approx(want)
    assert found.table.value.iloc[0] == best(found.table.value) and found.table.value.tolist() == sorted(found.table.value, reverse=best is max)
    assert found.best == {n: found.table[n].iloc[0] for n in space}

def test_tune_makes_the_best_on_all_of_train_and_sees_nothing_else():
    train,test,_ = random_data(3)
    met = []
    class Watched(ItemKNN):
        def fit(self, rows):
            met.append(rows.df)
            return super().fit(rows)
    found = tune(Watched, train, dict(k=(2,50)), 'rmse', n_trials=4, n_boot=20)
    rows = set(map(tuple, train.df[['user','item']].to_numpy()))
    assert len(met) == 4 + 1 + 1 and all(set(map(tuple, o[['user','item']].to_numpy())) <= rows for o in met)
    assert {len(o) for o in met[:-1]} == {len(train) - round(.2*len(train))} and len(met[-1]) == len(train)
    want = ItemKNN(**found.best).fit(train)
    np.testing.assert_array_equal(found.model.predict(test.df.user, test.df['item']), want.predict(test.df.user, test.df['item']))

def test_tune_is_the_same_again_and_a_longer_search_begins_alike():
    train = random_data(3)[0]
    run = lambda n, seed=1: tune(ItemKNN, train, dict(k=(2,50), shrink=(.1,100.)), 'rmse', n_trials=n, seed=seed, n_boot=20).table.drop(columns='seconds').sort_index()
    a,b = run(5),run(5)
    pd.testing.assert_frame_equal(a, b)
    tried = ['k','shrink','value']
    pd.testing.assert_frame_equal(run(8)[tried].loc[a.index], a[tried])
    assert not run(5, seed=2).k.equals(a.k)

def test_interval_against_the_runner_up():
    "From the same draws of users, by drawing"
    train = random_data(3)[0]
    t = tune(ItemKNN, train, dict(k=[3,50]), 'mae', n_trials=2, seed=5, n_boot=60).table
    part,held = train.split('random', test=.2, seed=5)
    errors = [np.abs(m.predict(held.df.user, held.df['item']).astype(float) - held.df.rating) for m in (ItemKNN(k=k).fit(part) for k in t.k.iloc[:2])]
    rows = [np.flatnonzero(held.df.user == u) for u in np.unique(held.df.user)]
    drawn = [np.concatenate([rows[o] for o in d]) for d in np.random.default_rng(5).integers(len(rows), size=(60, len(rows)))]
    diff = [errors[1].iloc[d].mean() - errors[0].iloc[d].mean() for d in drawn]
    np.testing.assert_allclose(t[['diff_low','diff_high']].iloc[1].astype(float), np.quantile(diff, [.025, .975]), rtol=1e-5)
    assert (t[['diff','diff_low','diff_high']].iloc[0] == 0).all()

def test_a_trial_that_fails_is_a_row():
    train = random_data(3)[0]
    with pytest.warns(UserWarning, match='2 of 4 trials failed'): found = tune(Bias, train, dict(user_damping=[-1,3.,-2]), 'rmse', n_trials=3, n_boot=0)
    assert found.table.error.str.contains('user_damping=-').tolist() == [False, False, True, True] and found.table.value.iloc[2:].isna().all()
    assert found.best['user_damping'] in (3., 5.)
    with pytest.raises(RuntimeError, match='all 2 trials failed, the first with no rmse'): tune(Popular, train, dict(by=['count','mean']), 'rmse')
    with pytest.raises(RuntimeError, match='all 2 trials failed, the first with ValueError: user_damping'): tune(lambda user_damping: Bias(user_damping), train, dict(user_damping=[-1,-2]), 'rmse')

def test_tune_takes_functions_and_many_kinds_of_choices():
    train = random_data(3)[0]
    for values,kind in ([3,5], int), (np.array([3,5]), int), (range(3,6), int), ((3,9), int), ((3,5,7), int): 
        found = tune(lambda k: ItemKNN(k=k), train, dict(k=values), 'rmse', n_trials=2, n_boot=0)
        assert type(found.best['k']) is kind and 3 <= found.best['k'] <= 9 and len(found.table) == 2
    assert tune(partial(ItemKNN, shrink=5), train, dict(k=(3,9)), 'ndcg@5', n_trials=2, n_boot=0).model.shrink == 5

@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 400), st.floats(1e-6, 1e3), st.floats(1.5, 1e4), st.integers(0, 99))
def test_drawn_settings_stay_in_their_ranges(low, more, least, times, seed):
    space = dict(whole=(low, low + more), real=(least, least*times), named=['a', None, True])
    found = draw_settings(space, 10, seed)
    assert len(found) == 10 == len(set(map(repr, found))) and found == draw_settings(space, 10, seed)
    for o in found: assert type(o['whole']) is int and low <= o['whole'] <= low + more and least*(1 - 1e-9) <= o['real'] <= least*times*(1 + 1e-9) and o['named'] in space['named']

def test_ranges_are_drawn_by_doublings():
    k = np.array([o['k'] for o in draw_settings(dict(k=(1,1024), x=(1.,2.)), 4000, 0)])
    share = np.histogram(np.log2(k), [-.1, 1.99, 3.99, 5.99, 7.99, 10.1])[0]/4000
    np.testing.assert_allclose(share, np.diff(np.log([.5, 3.5, 15.5, 63.5, 255.5, 1024.5]))/np.log(2049), atol=.03)

@pytest.mark.parametrize('change,error,message', [
    (dict(space=dict(kk=[1])), ValueError, "no setting 'kk': choose from .*k"), (dict(space={}), ValueError, 'must be a dict'), (dict(space=[1]), ValueError, 'must be a dict'), (dict(space=dict(k=5)), ValueError, 'k=5 is nothing to draw from'), (dict(space=dict(similarity='pearson')), ValueError, "similarity='pearson'"),
    (dict(space=dict(k=[])), ValueError, 'nothing to draw'), (dict(space=dict(shrink=(0,10))), ValueError, 'above 0'), (dict(space=dict(k=(20,2))), ValueError, 'low below high'), (dict(space=dict(k=(2,np.inf))), ValueError, 'inf'), (dict(space=dict(k=(2,np.nan))), ValueError, 'nan'),
    (dict(make=ItemKNN()), TypeError, 'make is a ItemKNN'), (dict(make=None), TypeError, 'NoneType'), (dict(train=None), TypeError, 'train is a NoneType'), (dict(metric='acc'), ValueError, "'acc'"), (dict(metric='ndcg@x'), ValueError, 'ndcg@x'), (dict(metric='ndcg@0'), ValueError, 'k=0'), (dict(metric='rmse@5'), ValueError, 'only lists'),
    (dict(metric='popularity_lift'), ValueError, 'popularity_lift'), (dict(metric=('ndcg','rmse')), ValueError, 'one name'), (dict(n_trials=0), ValueError, 'n_trials=0'), (dict(n_trials=None), ValueError, 'n_trials=None'), (dict(n_trials=2.5), ValueError, 'n_trials=2.5'), (dict(seed=-1), ValueError, 'seed=-1'),
    (dict(how='x'), ValueError, "how='x'"), (dict(held_out=0), ValueError, 'held_out=0'), (dict(held_out=1), ValueError, 'held_out=1'), (dict(relevant=99), ValueError, 'rated 99')])
def test_searches_that_cannot_be(change, error, message):
    how = dict(make=ItemKNN, train=random_data(3)[0], space=dict(k=(2,20)), metric='ndcg@5', n_trials=2, n_boot=0)
    with pytest.raises(error, match=message): tune(**how | change)


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

# ---- published protocols

@pytest.fixture(scope='module')
def clicks():
    rng = np.random.default_rng(5)
    df = pd.DataFrame(dict(user=np.repeat(np.arange(60), 12), item=np.concatenate([40*(u % 5) + rng.permutation(40)[:12] for u in range(60)]), rating=1., timestamp=np.tile(np.arange(12), 60)))
    return Interactions.from_df(df)

def last_items(inter, back): return inter.df.sort_values('timestamp').groupby('user')['item'].nth(-back).to_numpy(), inter.df.user.unique()

@pytest.mark.parametrize('way', ['leave_last', 'leave_last_fixed'])
def test_leave_one_out_by_hand(way, clicks):
    "Hit rate and nDCG with loops: which rows the model learned from, and which it heard of only as history"
    past = clicks.df[clicks.df.groupby('user').timestamp.transform('max') > clicks.df.timestamp]
    learned = past if way == 'leave_last' else past[past.groupby('user').timestamp.transform('max') > past.timestamp]
    X = pd.crosstab(learned.user, learned['item']).reindex(columns=range(200), fill_value=0).to_numpy(float)
    G = X.T @ X
    n = np.diag(G).copy()
    S = np.divide(G, np.sqrt(np.outer(n, n)), out=np.zeros_like(G), where=np.outer(n, n) > 0)*G/(G + 50)
    np.fill_diagonal(S, 0)
    hits, gain = [], []
    for u, rows in past.groupby('user'):
        met = rows['item'].to_numpy()
        s = S[met].sum(0)
        s[met] = -np.inf
        answer = clicks.df[(clicks.df.user == u) & (clicks.df.timestamp == 11)]['item'].iloc[0]
        place = np.flatnonzero(np.argsort(-s.round(9), kind='stable')[:10] == answer)
        hits.append(len(place)); gain.append(1/np.log2(place[0] + 2) if len(place) else 0)
    model = lambda: ItemKNN(centre=False, k=200)
    got = judge_by({'knn': model}, clicks, way, n_boot=0).value.loc['knn']
    assert got['hit_rate'] == pytest.approx(np.mean(hits), abs=.001) and got['ndcg'] == pytest.approx(np.mean(gain), abs=.004) and np.mean(hits) > .2

def test_every_protocol_says_how_it_judged(clicks):
    table = published_protocols()
    for way in table.index:
        got = judge_by(ItemKNN(centre=False), clicks, way, n_boot=0)
        assert got.attrs['protocol']['protocol'] == way and got.attrs['protocol']['refit'] == table.refit[way]
        assert list(got.value.columns) == list(table.metrics[way]) and 0 <= got.value.to_numpy().min() <= got.value.to_numpy().max() <= 1
    with pytest.raises(ValueError, match='leave_last'): judge_by(ItemKNN, clicks, 'loo')

def test_sampled_candidates_flatter(clicks):
    full, few = (judge_by(ItemKNN(centre=False), clicks, w, n_boot=0).hit_rate.value['ItemKNN'] for w in ('leave_last', 'leave_last_sampled'))
    assert few > full
