"Memory and agreement at a size that no lesson has"
import inspect, warnings

import numpy as np, pandas as pd, pytest

from recsys_course.data import Interactions
from recsys_course.factorize import ALS, BiasedMF, FullBatchMF
from recsys_course.implicit import BPR, EASE, ImplicitALS, to_implicit
from recsys_course.recommender import Bias, ItemKNN, Popular, PoorModelWarning, Recommender, User, item_neighbours
from recsys_course.sequence import NextItem
from recsys_course.simulate import World
from recsys_course.towers import TwoTower

class Vectors(Recommender):
    "Dot products of random vectors: a stand-in for any factor model"
    def fit(self, train):
        super().fit(train)
        rng = np.random.default_rng(0)
        self.P, self.Q = (rng.normal(size=(len(v), 8)).astype(np.float32) for v in (self.users, self.items))
        return self
    def scores(self, user_codes): return self.P[user_codes]@self.Q.T

def test_many_users_in_little_memory(peak_growth):
    n_users, n_items, n = 60_000, 10_000, 1_000_000
    rng = np.random.default_rng(0)
    cells = np.unique(rng.integers(0, n_users*n_items, n))
    cells = np.r_[cells, np.arange(n_users)*n_items, np.arange(n_items)*n_items + np.arange(n_items)]     # everybody and everything occurs
    u, i = np.divmod(np.unique(cells), n_items)
    inter = Interactions.from_df(pd.DataFrame(dict(user=u, item=i, rating=1.)))
    model = Vectors().fit(inter)
    model.recommend(0)                                                                    # compile
    recs, grown = peak_growth(lambda: model.recommend(inter.users.ids))
    assert len(recs) == 10*n_users and grown < 500e6, f'{grown/1e6:.0f} MB'
    seen = inter.csr()
    some = rng.choice(np.arange(1, n_users+1), 200, replace=False)
    got = recs.set_index('user')
    for c in some:
        s = model.scores(np.array([c]))[0].astype(float)
        s[0], s[seen[c].indices] = -np.inf, -np.inf
        want = np.lexsort((np.arange(len(s)), -s))[:10]
        mine = inter.items.encode(got.loc[c-1, 'item'])
        assert (mine == want).all() or np.allclose(s[mine], s[want], rtol=1e-5)

@pytest.mark.parametrize('make', [Bias, ItemKNN, BPR, ImplicitALS, EASE, TwoTower, NextItem, BiasedMF, ALS, FullBatchMF])
def test_every_number_among_the_settings_is_looked_at(make):
    may_be_zero = {'reg', 'reg_bias', 'reg_scale', 'wd', 'lr_final', 'holdout', 'w0', 'shrink', 'damping', 'user_damping', 'item_damping', 'decay', 'backward', 'hops', 'history_power', 'item_power'} - ({'reg', 'reg_bias'} if make in (ALS, EASE) else set())
    counts = {'n_factors', 'n_epochs', 'n_rounds', 'n_threads', 'n_neighbours', 'window', 'k', 'bs', 'cg_steps', 'patience'}
    settings = [k for k, p in inspect.signature(make).parameters.items() if k not in ('seed', 'how', 'solver', 'similarity', 'model', 'centre', 'correct')]
    assert len(settings) > 2
    log = Interactions.from_df(pd.DataFrame(dict(user=[1, 1, 2, 2, 3], item=[1, 2, 2, 3, 1], rating=1)))
    for k in settings:
        for bad in (-1, float('nan'), *([] if k in may_be_zero else [0]), *([1.5] if k in counts else [])):
            with pytest.raises((ValueError, FloatingPointError), match=k): make(**{k: bad}).fit(log)

@pytest.mark.parametrize('make', [lambda: BPR(8, 5, lr=50.), lambda: TwoTower(8, 5, lr=1e12), lambda: ImplicitALS(8, alpha=1e30)])
def test_what_is_unstable_is_an_error(make):
    log = to_implicit(World(n_users=60, n_items=50).sample(1500))
    with pytest.raises(FloatingPointError, match='became unstable.*(Lower|lower)'): make().fit(log)

# ---- No wrong result without a word

def stars(n_users=60, n_items=40, n=900, seed=0):
    rng = np.random.default_rng(seed)
    cells = rng.choice(n_users*n_items, n, replace=False)
    return Interactions.from_df(pd.DataFrame(dict(user=[f'u{o}' for o in cells//n_items], item=cells % n_items, rating=rng.integers(1, 6, n))))

@pytest.fixture(scope='module')
def rated(): return stars()

@pytest.mark.parametrize('make', [Bias, lambda: ItemKNN(k=10)])
@pytest.mark.parametrize('history, says', [
    ([1, 2], '1 comes without a rating'), (np.array([1, 2]), 'without a rating'), ({1: 50}, 'a rating of 50 is off the scale of train, 1 to 5'), ({1: 0}, 'a rating of 0 is off'), ({1: 5.5}, 'off'),
    ({1: np.nan}, 'finite'), ({1: np.inf}, 'finite'), ({1: None}, 'finite'), ({1: 'good'}, 'numbers'), ({1: [5]}, 'numbers'), (pd.DataFrame(dict(film=[1])), "a column 'item'"), (pd.DataFrame(dict(item=[1])), 'without a rating')])
def test_histories_that_are_no_ratings(make, history, says, rated):
    with pytest.raises(ValueError, match=says): make().fit(rated).fold_in(history)

@pytest.mark.parametrize('history', [{1: 5, 2: 1}, pd.Series([5, 1], [1, 2]), pd.DataFrame(dict(item=[1, 2], rating=[5, 1])), pd.DataFrame(dict(item=[1, 2], rating=pd.array([5, 1], 'Int64'))), {1: np.float32(5), 2: True}])
def test_histories_in_any_form(history, rated):
    model = ItemKNN(k=10).fit(rated)
    np.testing.assert_array_equal(model.fold_in(history).vector, model.fold_in({1: 5., 2: 1.}).vector)

def test_a_history_of_something_else(rated):
    model = Bias().fit(rated)
    for what in (None, User({1: 5})):
        with pytest.raises(TypeError, match='a history is'): model.fold_in(what)
    assert len(Popular().fit(rated).fold_in([1, 2]).seen) == 2          # popularity asks for no opinion

def test_an_item_twice_in_a_history_counts_with_its_mean(rated):
    model = ItemKNN(k=10).fit(rated)
    twice = model.fold_in(pd.DataFrame(dict(item=[1, 2, 1], rating=[5, 2, 3])))
    once = model.fold_in({1: 4, 2: 2})
    bias = twice.vector[0] - once.vector[0]
    np.testing.assert_allclose(twice.vector[[2, 3]], once.vector[[2, 3]] - bias, atol=1e-5)

def test_a_row_twice_changes_no_similarity(rated):
    class Flat(ItemKNN): pass
    twice = Interactions.from_df(pd.concat([rated.df]*2), duplicates='keep')
    one, two = (ItemKNN(k=10, centre=False).fit(o) for o in (rated, twice))
    np.testing.assert_allclose(one.neighbours.toarray(), two.neighbours.toarray(), atol=1e-6)
    assert (two.seen.data == 1).all()

@pytest.mark.parametrize('bad', [np.nan, np.inf])
@pytest.mark.parametrize('ask', [lambda m: m.recommend('u1'), lambda m: m.recommend(['u0', 'u1'], k=3), lambda m: m.candidates(m.query(['u1']), 5, m.seen[[0]])])
def test_scores_that_are_no_numbers_are_told(bad, ask, rated):
    class Odd(Vectors):
        def scores(self, user_codes):
            s = super().scores(user_codes)
            s[:, 7] = bad
            return s
    with pytest.raises(FloatingPointError, match=f'Odd scores item {rated.items.ids[6]} for user .* as {bad:g}'): ask(Odd().fit(rated))

def test_predictions_that_are_no_numbers_are_told(rated):
    class Odd(Bias):
        def predict_codes(self, u, i): return np.where(i == 3, np.inf, 3.)
    model = Odd().fit(rated)
    assert model.predict('u1', 1) == 3
    with pytest.raises(FloatingPointError, match='Odd predicts inf'): model.predict('u1', rated.items.ids[2])

def test_leaving_out_and_skipping(rated):
    model = ItemKNN(k=10).fit(rated)
    full = model.recommend('u1', k=40)['item'].tolist()
    assert model.recommend('u1', k=40, exclude=full[:3])['item'].tolist() == full[3:]
    assert model.recommend('u1', k=40, items=full[:5], exclude=[full[0]])['item'].tolist() == full[1:5]
    assert model.recommend('u1', k=40, exclude=[])['item'].tolist() == full
    with pytest.raises(KeyError, match='999'): model.recommend('u1', exclude=[999])
    some = model.recommend(['nobody', 'u1', User({1: 5}), 'u2'], k=2, on_unknown='skip')
    assert list(dict.fromkeys(some.user)) == ['u1', 'new0', 'u2']
    with pytest.raises(ValueError, match='on_unknown'): model.recommend('u1', on_unknown='drop')

class Hourly(Popular):
    "At hour h, the items whose code has the remainder h by 24 come first"
    uses_context = True
    def query_scores(self, query):
        hour = (query.context or {}).get('hour', 0)
        return np.tile((np.arange(len(self.items)) % 24 == hour).astype(np.float32), (len(query), 1))

def test_the_moment_reaches_a_model_that_looks_at_it_and_no_other(rated):
    model, context = Hourly().fit(rated), {'hour': 7}
    model.block_bytes = 1     # a block for each person: all of them ask at the same moment
    for k, who in ((2, ['u1', 'u2']), (1, User({1: 5}))):
        first = model.recommend(who, k=1, exclude_seen=False, context=context)['item']
        assert first.tolist() == rated.items.ids[[6]].tolist()*k
    assert model.recommend('u1', k=1, exclude_seen=False)['item'].tolist() == rated.items.ids[[23]].tolist()
    assert context == {'hour': 7}
    with pytest.raises(ValueError, match='ItemKNN looks at no moment'): ItemKNN(k=5).fit(rated).recommend('u1', context=context)
    for bad in (7, ['hour'], {7: 'hour'}):
        with pytest.raises(TypeError, match='a context is'): model.recommend('u1', context=bad)

@pytest.mark.parametrize('who, error, says', [(pd.DataFrame(dict(a=[1], b=[2])), ValueError, r"df\['user'\]"), (['u1', np.ones(3)], TypeError, r'User\(vector=...\)'), ([['u1']], TypeError, 'raw ids')])
def test_questions_that_name_nobody(who, error, says, rated):
    with pytest.raises(error, match=says): Bias().fit(rated).recommend(who)

@pytest.mark.parametrize('similarity', ['cosine', 'pearson'])
@pytest.mark.parametrize('seed', range(4))
def test_neighbours_by_brute_force(similarity, seed):
    inter = stars(30, 25, 200, seed)
    A, k, shrink = inter.csr().toarray().astype(float), 4, 3.
    rated = A > 0
    want = np.zeros((A.shape[1],)*2)
    for i in range(A.shape[1]):
        for j in range(A.shape[1]):
            both = rated[:, i] & rated[:, j]
            if i == j or not both.any(): continue
            a, b = A[both, i], A[both, j]
            if similarity == 'cosine': s = a@b/np.sqrt((A[:, i]**2).sum()*(A[:, j]**2).sum())
            else: s = np.corrcoef(a, b)[0, 1] if a.std() > 1e-6 and b.std() > 1e-6 else 0
            want[i, j] = s*both.sum()/(both.sum() + shrink)
    got = item_neighbours(inter.csr(), similarity, k, shrink).toarray()
    for i in range(A.shape[1]):
        best = np.sort(want[i][want[i] > 1e-6])[::-1][:k]
        np.testing.assert_allclose(np.sort(got[i][got[i] > 0])[::-1], best, atol=1e-5)
        np.testing.assert_allclose(got[i][got[i] > 0], want[i][got[i] > 0], atol=1e-5)

def test_similar_items_of_what_nobody_met(rated):
    films = pd.DataFrame(dict(item=[*range(40), 77], title=['t']*41))
    inter = Interactions.from_df(rated.df, item_info=films)
    model = Popular().fit(inter)
    assert len(model.similar_items(77)) == 0
    assert 77 not in model.similar_items(inter.items.ids, k=41)['similar'].tolist()

def test_many_items_in_little_memory(peak_growth):
    rng = np.random.default_rng(0)
    n = 12_000
    inter = Interactions.from_df(pd.DataFrame(dict(user=np.repeat(np.arange(n), 5), item=rng.integers(0, n, 5*n), rating=1.)), duplicates='last')
    model = ItemKNN()
    model.check_lists = False
    model, grown = peak_growth(lambda: model.fit(inter))
    assert grown < 300e6, f'fit {grown/1e6:.0f} MB'
    for f in (lambda: model.similar_items(inter.items.ids), lambda: Popular().fit(inter).similar_items(inter.items.ids), lambda: model.predict(*(rng.choice(o.ids, 200_000) for o in (inter.users, inter.items)))):
        assert peak_growth(f)[1] < 300e6

def test_reasons_add_up(rated):
    model = ItemKNN(k=10).fit(rated)
    base = Bias().fit(rated)
    for who in ('u1', 'u7'):
        code = rated.users.encode([who])
        for item in rated.items.ids[:10]:
            want = model.scores(code)[0, rated.items.encode([item])[0]] - base.scores(code)[0, rated.items.encode([item])[0]]
            for person in (who, User(dict(zip(*rated.history(who)[['item', 'rating']].to_numpy().T)))):
                assert abs(model.because(person, item, n=40).adds.sum() - want) < 1e-4
    with pytest.raises(NotImplementedError, match='for reasons ask'): Popular().fit(rated).because('u1', 1)
    with pytest.raises(ValueError, match='2 people'): model.because(['u1', 'u2'], 1)

def test_lists_worse_than_popularity_are_told():
    rng, fame = np.random.default_rng(0), 1/np.arange(1, 61)
    picks = [(u, i) for u in range(200) for i in rng.choice(60, 8, replace=False, p=fame/fame.sum())]
    log = Interactions.from_df(pd.DataFrame(picks, columns=['user', 'item']), rating=None)
    class Contrary(Popular):
        def fit(self, train):
            super().fit(train)
            self.item_scores *= -1
            return self.warn_if_poor(train)
    with pytest.warns(PoorModelWarning, match=r'the lists of Contrary\(\) are worse than the same list for everybody'): Contrary().fit(log)
    with pytest.warns(PoorModelWarning): Contrary().fit(log).warn_if_poor(log, refit_up_to=0)
    quiet = Contrary()
    quiet.check_lists = False
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        quiet.fit(log)
        Popular().fit(log).warn_if_poor(log)
        ItemKNN().fit(log.take(np.arange(len(log.df)) < 80))             # too few people to judge

def test_repr_and_settings():
    assert repr(ItemKNN(k=7)) == 'ItemKNN(k=7) (not fitted)' and repr(ItemKNN().fit(stars())) == 'ItemKNN()'
    assert ItemKNN(k=7).get_params()['k'] == 7
