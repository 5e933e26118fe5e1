"Newcomers through the library's front door: every model, small and odd data, damaged input, no widgets"
import copy, decimal, pickle, sys

import numpy as np, pandas as pd, pytest, scipy.sparse as sp
from hypothesis import given, settings, strategies as st

import recsys_course.bootstrap as bootstrap
from recsys_course.bootstrap import ColdStart, PopularByProfile, Questionnaire, as_clicks, average_taste_user, average_user, demographic_user, warm_start, with_average
from recsys_course.data import Interactions
from recsys_course.factorize import ALS, BiasedMF, FullBatchMF
from recsys_course.check import check_recommender
from recsys_course.graph import ItemGraph
from recsys_course.implicit import EASE, ImplicitALS, to_implicit
from recsys_course.recommender import Bias, ItemKNN, Popular, Recommender, User
from recsys_course.simulate import World

def done(recs): return list(recs.attrs['remedy'].values())

@pytest.fixture(scope='module')
def log(): return World(seed=3, n_users=200, n_items=150).sample(9_000)

@pytest.fixture(scope='module')
def model(log): return BiasedMF(n_factors=8).fit(log)

makers = [lambda: BiasedMF(n_factors=8), lambda: ALS(n_factors=8, n_epochs=2), lambda: FullBatchMF(n_factors=8, n_epochs=20), Bias, ItemKNN]

@pytest.mark.parametrize('make', makers)
def test_every_remedy_is_something_that_recommend_accepts(make, log):
    m = make().fit(log)
    before = {k: v.copy() for k, v in vars(m).items() if isinstance(v, np.ndarray)}
    for v in (average_user(m), average_taste_user(m), demographic_user(m, log, dict(age=30, gender='F'))):
        assert len(m.recommend(v, k=7)) == 7
    assert with_average(m).scores(np.array([0])).shape == (1, len(log.items))
    if make is not ItemKNN: assert len(m.recommend(Questionnaire(m, log).user({log.items.ids[0]: 5}), k=7)) == 7
    assert len(ColdStart(m, log).recommend(User({log.items.ids[0]: 5}), k=7)) == 7
    for k, v in before.items(): np.testing.assert_array_equal(vars(m)[k], v)

def test_the_average_user_is_the_mean_of_folded_in_users_where_there_is_no_table(log):
    m = ItemKNN().fit(log)
    by_hand = np.mean([m.fold_in(log.history(u)).vector for u in np.unique(log.df.user)], axis=0)
    np.testing.assert_allclose(average_user(m).vector, by_hand, atol=1e-5)

@pytest.mark.parametrize('how', ['popular', 'diverse', 'disagreed', 'informative', 'tree', 'random'])
def test_a_questionnaire_never_repeats_itself_and_ends(how, model, log):
    q = Questionnaire(model, log, n=4, how=how)
    for reply, n in ((lambda i: 4, 4), (lambda i: None, 16)):
        asked = []
        v = q.run(lambda i: (asked.append(i), reply(i))[1])
        assert len(asked) == len(set(asked)) == n and list(v.notes['answers']) == asked
        assert q.next(v.notes['answers']) is None

def test_more_questions_than_items(log):
    few = Interactions.from_df(pd.DataFrame([(u, i, 1 + (u*i) % 5) for u in range(6) for i in range(3)], columns=['user', 'item', 'rating']))
    q = Questionnaire(BiasedMF(n_factors=2).fit(few), few, n=50)
    assert len(q.run(lambda i: 3).notes['answers']) == 3

def test_the_order_of_answers_does_not_matter(model, log):
    q, items = Questionnaire(model, log), log.items.ids[:5].tolist()
    pairs = list(zip(items, [1, 5, 'not seen', 3, '4']))
    np.testing.assert_allclose(q.user(pairs), q.user(pairs[::-1]), atol=1e-5)
    np.testing.assert_allclose(q.user(dict(pairs)), q.user(pd.DataFrame(pairs, columns=['item', 'answer'])), atol=1e-6)

@pytest.mark.parametrize('answer', [6, 0, -1, np.inf, 'five', [3], '1e9'])
def test_bad_answers_are_named(answer, model, log):
    with pytest.raises(ValueError, match='answer'): Questionnaire(model, log).user({log.items.ids[0]: answer})

def test_contradictions_and_unknown_items(model, log):
    q, i = Questionnaire(model, log), log.items.ids[0]
    with pytest.raises(ValueError, match='contradictory'): q.user([(i, 1), (i, 5)])
    with pytest.raises(KeyError, match='unknown item -5'): q.next({-5: 3})

@pytest.mark.parametrize('bad', [dict(n=0), dict(how='psychic')])
def test_bad_settings(bad, model, log):
    with pytest.raises(ValueError, match=str(list(bad.values())[0])): Questionnaire(model, log, **bad)

def test_models_without_ratings_say_so(log):
    for m, why in ((Popular(), 'predicts no ratings'), (ItemKNN(), 'weighted sum')):
        with pytest.raises(TypeError, match=why): Questionnaire(m.fit(log), log)

def test_the_form_is_a_table_without_ipywidgets(model, log, monkeypatch):
    monkeypatch.setitem(sys.modules, 'ipywidgets', None)
    table = Questionnaire(model, log, n=2).form()
    assert list(table.columns) == ['item', 'title', 'answer'] and len(table) == 6

def test_profiles_unknown_values_and_missing_tables(model, log):
    with pytest.raises(ValueError, match="unknown occupation 'wizard'.*leave it out"): demographic_user(model, log, dict(occupation='wizard'))
    with pytest.raises(KeyError, match='shoes'): demographic_user(model, log, dict(shoes=44))
    bare = Interactions.from_df(log.df)
    with pytest.raises(ValueError, match='user_info is None'): demographic_user(model, bare, {})
    for missing in (dict(), dict(age=None), dict(age=np.nan, gender='M')): assert np.isfinite(demographic_user(model, log, missing)).all()
    with pytest.warns(UserWarning, match='a profile says nothing'): assert done(ColdStart(model, bare).recommend(User(profile=dict(age=3)))) == ['popular']

def test_warm_start_uses_the_other_and_changes_nothing(log):
    mine, theirs = (log.take(np.isin(log.df.user, log.users.ids[a::2])) for a in (0, 1))
    other, fresh = BiasedMF(n_factors=8).fit(theirs), BiasedMF(n_factors=4)
    few = mine.take(np.arange(len(mine)) < 150)
    warm = warm_start(fresh, other, few, theirs)
    assert warm.matched > 140 and not hasattr(fresh, 'seen') and warm.item_factors.shape[1] == 8
    rest = mine.take(np.arange(len(mine)) >= 150)
    rmse = lambda m: np.sqrt(np.mean((m.predict(rest.df.user, rest.df['item']) - rest.df.rating)**2))
    assert rmse(warm) < rmse(Bias().fit(few)) - .02
    assert len(warm.recommend(mine.users.ids[0], k=5)) == 5
    doubled = Interactions.from_df(few.df.assign(rating=few.df.rating*2), item_info=few.item_info)
    with pytest.raises(ValueError, match='rescale'): warm_start(fresh, other, doubled, theirs)

def test_a_warm_model_survives_saving(log, tmp_path):
    other = BiasedMF(n_factors=4).fit(log)
    warm = warm_start(BiasedMF(), other, log.take(np.arange(len(log)) < 500), log)
    warm.save(tmp_path)
    pd.testing.assert_frame_equal(BiasedMF.load(tmp_path).recommend(log.users.ids[:3]), warm.recommend(log.users.ids[:3]))

def test_cold_start_says_what_it_did(model, log):
    known, item = log.df.user.iloc[0], log.items.ids[0]
    table = pd.DataFrame(dict(item=[item], rating=[5]))
    asks = [User(), known, User(profile=dict(age=20)), User({item: 5}), User(table), User({}), User({}, id=known), User(table, profile=dict(gender='F'))]
    by_lists = ['popular', 'ItemGraph, known user', 'popular by profile', 'ItemGraph by fold-in', 'ItemGraph by fold-in', 'popular', 'ItemGraph, known user', 'ItemGraph by profile and fold-in']
    by_stars = ['popular', 'BiasedMF, known user', 'BiasedMF by profile', 'BiasedMF by fold-in', 'BiasedMF by fold-in', 'popular', 'BiasedMF, known user', 'BiasedMF by profile and fold-in']
    for lists, remedies in (('auto', by_lists), (None, by_stars)):
        cold = ColdStart(model, log, lists=lists)
        for who, remedy in zip(asks, remedies):
            recs = cold.recommend(who, k=4)
            assert done(recs) == [remedy] and len(recs) == 4, who
            if isinstance(who, User) and who.history is not None and len(who.history): assert item not in set(recs['item'])
        with pytest.raises(KeyError, match='1000000'): cold.recommend(10**6)

@pytest.mark.parametrize('make, lists', [(BiasedMF, 'auto'), (BiasedMF, None), (Bias, None), (ItemKNN, None), (Popular, 'auto'), (lambda: ImplicitALS(8), 'auto'), (Bias, EASE), (BiasedMF, lambda: BiasedMF(n_factors=4)), (lambda: ItemKNN(centre=False), 'auto')])
def test_cold_start_keeps_the_contract(make, lists): check_recommender(lambda: ColdStart(make(), lists=lists() if callable(lists) else lists))

def test_a_list_for_many_is_the_lists_of_each(model, log, tmp_path):
    cold, known, item = ColdStart(model, log), log.df.user.iloc[0], log.items.ids[0]
    asks = [known, User({item: 5}, id='Zoe'), User(profile=dict(age=20), id='Max'), User(id='nobody')][:3]
    whole = cold.recommend(asks, k=6)
    assert whole.attrs['remedy'] == {known: 'ItemGraph, known user', 'Zoe': 'ItemGraph by fold-in', 'Max': 'popular by profile'}
    for who, name in zip(asks, (known, 'Zoe', 'Max')):
        pd.testing.assert_frame_equal(whole[whole.user == name].reset_index(drop=True), cold.recommend(who, k=6), check_dtype=False)
    cold.save(tmp_path/'c')
    again = Recommender.load(tmp_path/'c')
    pd.testing.assert_frame_equal(again.recommend(asks, k=6), whole)
    np.testing.assert_array_equal(again.predict(asks, item), cold.predict(asks, item))
    cold.save(tmp_path/'d')
    ColdStart(model, log, lists=EASE()).save(tmp_path/'c')                 # replaces it
    assert type(Recommender.load(tmp_path/'c').maker) is EASE

def test_a_network_of_factors_is_as_linear_as_any_other(log):
    "`average_user`, `Questionnaire` and the index give one answer about a `Learner`'s dot product: it has user vectors"
    from recsys_course.learner import LearnerRecommender, collab_dls, collab_learner
    from recsys_course.retrieve import ANNIndex
    def trained(train):
        learn = collab_learner(collab_dls(train, holdout=0), n_factors=4)
        with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(1)
        return learn
    m = LearnerRecommender(trained).fit(log)
    codes = np.flatnonzero(np.diff(m.seen.indptr) > 0)
    np.testing.assert_allclose(average_user(m).vector, m.user_vectors(codes).mean(0), atol=1e-5)
    q = Questionnaire(m, log, n=2)
    assert len(m.recommend(q.run(lambda i: 4), k=5)) == 5
    assert len(ANNIndex.from_model(m).ids) == len(log.items) - 1

def test_public_names():
    assert {'average_user', 'average_taste_user', 'Questionnaire', 'warm_start', 'demographic_user', 'ColdStart'} <= set(bootstrap.__all__)

def test_movielens_five_ratings_beat_the_average_user(movielens):
    from recsys_course.datasets import load_movielens
    inter = load_movielens('100k', path=movielens, download=False)
    gains = []
    for seed in range(3):
        held = np.random.default_rng(seed).choice(inter.users.ids.to_numpy(), 150, replace=False)
        mask = inter.df.user.isin(held).to_numpy()
        train, rest = inter.take(~mask), inter.take(mask)
        m = BiasedMF(n_factors=20).fit(train)
        cold, avg, se = ColdStart(m, train), average_user(m).vector, np.zeros(2)
        for u, g in rest.df.sample(frac=1, random_state=seed).groupby('user'):
            v, test = cold.star_vector(User(dict(zip(g['item'][:5], g.rating[:5]))))[0], g.iloc[10:]
            codes = inter.items.encode(test['item'])
            se += [np.square(np.clip(m.vector_scores(o[None])[0, codes], 1, 5) - test.rating).sum() for o in (v, avg)]
        gains.append(1 - np.sqrt(se[0]/se[1]))
    assert min(gains) > .02, gains

# The scale, the ids and the order of rows are nothing but notation

def table(n_users=60, n_items=40, share=.4, seed=0):
    "Ratings 1 to 5 with two tastes, and nothing that ties"
    rng = np.random.default_rng(seed)
    met = rng.random((n_users, n_items)) < share*(1 + np.arange(n_items)/n_items)/2
    u, i = np.nonzero(met)
    r = 3 + rng.normal(size=n_users)[u]*.5 + rng.normal(size=n_items)[i]*.5 + np.where((u + i) % 2, .9, -.9) + rng.normal(size=len(u))*.5
    return pd.DataFrame(dict(user=u*7 + 3, item=i*5 + 2, rating=np.clip(np.round(r), 1, 5)))

def moved(m, inter, a, b):
    "A factor model of ratings r as one of ratings a*r + b, by arithmetic: no training that could differ"
    res = copy.copy(m)
    Recommender.fit(res, inter)
    res.mean = m.mean*a + b
    res.user_bias, res.item_bias = m.user_bias*a, m.item_bias*a
    res.user_factors, res.item_factors = m.user_factors*a**.5, m.item_factors*a**.5
    return res

scales = {'0..4': (1, -1), '0..1': (.25, -.25), '0..100': (25, -25), '-10..10': (5, -15), '2..10': (2, 0), '-1..3': (1, -2), '-1..1': (.5, -1.5)}

@pytest.fixture(scope='module')
def stars():
    inter = Interactions.from_df(table())
    return inter, BiasedMF(n_factors=4).fit(inter)

def on_scale(df, a, b): return df.assign(rating=df.rating*a + b)

@pytest.mark.parametrize('scale', scales)
@pytest.mark.parametrize('how', ['popular', 'diverse', 'disagreed', 'informative', 'tree', 'random'])
def test_another_scale_asks_the_same_questions(how, scale, stars):
    (inter, m), (a, b) = stars, scales[scale]
    other = Interactions.from_df(on_scale(inter.df, a, b))
    qs = [Questionnaire(o, x, n=6, how=how) for o, x in ((m, inter), (moved(m, other, a, b), other))]
    said = lambda item: None if item % 3 == 0 else 1 + item % 5
    mine, theirs = (q.run(lambda i: None if said(i) is None else said(i)*s + t) for q, (s, t) in zip(qs, ((1, 0), (a, b))))
    assert list(mine.notes['answers']) == list(theirs.notes['answers'])
    recs = [q.model.recommend(u, k=10) for q, u in zip(qs, (mine, theirs))]
    assert recs[0]['item'].tolist() == recs[1]['item'].tolist()
    np.testing.assert_allclose(recs[0].score*a + b, recs[1].score, atol=2e-3*a)
    np.testing.assert_allclose(qs[0].unsure()*a, qs[1].unsure(), rtol=1e-3)
    assert qs[0].table(5)['item'].tolist() == qs[1].table(5)['item'].tolist()

@pytest.mark.parametrize('scale', scales)
def test_another_scale_gives_the_same_cold_starts(scale, stars):
    (inter, m), (a, b) = stars, scales[scale]
    info = pd.DataFrame(dict(age=[20 + u % 40 for u in inter.users.ids], gender=['F' if u % 2 else 'M' for u in inter.users.ids]), index=inter.users.ids)
    inter, other = (Interactions.from_df(df, user_info=info) for df in (inter.df, on_scale(inter.df, a, b)))
    items = inter.items.ids[:4].tolist()
    for lists in ('auto', None):
        colds = ColdStart(m, inter, lists=lists), ColdStart(moved(m, other, a, b), other, lists=lists)
        for history, profile in (({items[0]: 1, items[1]: 5, items[2]: 4}, None), ({items[0]: 1}, dict(age=30)), (None, dict(gender='F')), (None, None)):
            asks = [User(None if history is None else {i: r*s + t for i, r in history.items()}, profile) for s, t in ((1, 0), (a, b))]
            recs = [c.recommend(u, k=12) for c, u in zip(colds, asks)]
            assert recs[0]['item'].tolist() == recs[1]['item'].tolist(), (history, profile)
            assert done(recs[0]) == done(recs[1])
            predicted = [c.predict(u, items) for c, u in zip(colds, asks)]
            np.testing.assert_allclose(predicted[0]*a + b, predicted[1], atol=2e-3*a)

def test_the_bonus_for_fame_is_a_share_of_the_scale(stars):
    inter, m = stars
    assert ColdStart(m, inter).bonus[1] == pytest.approx(2*np.log1p((inter.df['item'] == inter.items.ids[0]).sum()))     # 2 stars of 1 to 5
    tens = Interactions.from_df(on_scale(inter.df, 25, -25))
    assert ColdStart(moved(m, tens, 25, -25), tens).bonus[1] == pytest.approx(25*ColdStart(m, inter).bonus[1])

@pytest.mark.parametrize('make', [Bias, lambda: BiasedMF(n_factors=4)])
def test_zero_is_a_rating(make, stars):
    "The models are fitted anew on 0 to 4, as a user would; the same questions, the same lists"
    qs = []
    for b in (0, -1):
        inter = Interactions.from_df(on_scale(stars[0].df, 1, b))
        qs.append((b, {how: Questionnaire(make().fit(inter), inter, n=5, how=how) for how in ('popular', 'disagreed', 'informative', 'tree')}))
    for how in qs[0][1]:
        asked = [list(q[how].run(lambda i: 1 + i % 5 + b).notes['answers']) for b, q in qs]
        assert asked[0] == asked[1], how

def test_entropy_counts_zeros_and_needs_no_table_of_all_values():
    from scipy.stats import entropy
    rng = np.random.default_rng(0)
    X = sp.random(50, 8, .6, format='csr', random_state=1)
    X.data = rng.integers(-1, 3, X.nnz).astype(float)
    by_hand = [entropy(np.unique(X[:, j].data, return_counts=True)[1]) for j in range(8)]
    np.testing.assert_allclose(bootstrap.rating_entropy(X), by_hand)
    X.data = rng.random(X.nnz)
    np.testing.assert_allclose(bootstrap.rating_entropy(X), np.log(np.diff(X.tocsc().indptr)))

@pytest.mark.parametrize('how', ['popular', 'diverse', 'disagreed', 'informative', 'tree'])
def test_the_order_of_rows_and_the_names_of_ids_do_not_matter(how, stars):
    inter, m = stars
    plain = Questionnaire(m, inter, n=6, how=how).run(lambda i: 1 + i % 5)
    shuffled = Interactions.from_df(inter.df.sample(frac=1, random_state=3))
    np.testing.assert_allclose(Questionnaire(m, shuffled, n=6, how=how).run(lambda i: 1 + i % 5).vector, plain.vector, atol=1e-5)
    text = Interactions.from_df(inter.df.assign(user=inter.df.user.map('u{:05}'.format), item=inter.df['item'].map('i{:05}'.format)))
    named = Questionnaire(moved(m, text, 1, 0), text, n=6, how=how).run(lambda i: 1 + int(i[1:]) % 5)
    assert [int(i[1:]) for i in named.notes['answers']] == list(plain.notes['answers'])
    np.testing.assert_array_equal(named.vector, plain.vector)

def test_what_was_said_twice_was_said_once(stars):
    inter, m = stars
    twice = Interactions.from_df(pd.concat([inter.df]*2), duplicates='keep')
    again = moved(m, twice, 1, 0)
    mine, theirs = (Questionnaire(o, x, n=5, how='tree') for o, x in ((m, inter), (again, twice)))
    vectors = [q.run(lambda i: 1 + i % 5).vector for q in (mine, theirs)]
    np.testing.assert_allclose(*vectors, atol=1e-6)
    assert abs(again.vector_scores(vectors[1][None])[0, 1:].mean() - m.vector_scores(vectors[0][None])[0, 1:].mean()) < 1e-4
    history = {inter.items.ids[0]: 5}
    for who in (User(history), User(history, id=inter.users.ids[0]), User()):
        assert ColdStart(m, inter).recommend(who)['item'].tolist() == ColdStart(again, twice).recommend(who)['item'].tolist()
    info = pd.DataFrame(dict(year=1990 + np.arange(len(inter.items.ids)) % 9), index=inter.items.ids)
    tables = [bootstrap.with_item_features(o, Interactions.from_df(x.df, item_info=info, duplicates='keep'), min_ratings=12).item_bias for o, x in ((m, inter), (again, twice))]
    np.testing.assert_allclose(*tables, atol=1e-5)

@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4), st.integers(-2, 2)), min_size=1, max_size=30))
@settings(max_examples=40, deadline=None)
def test_mean_ratings_are_pandas_means(rows):
    df = pd.DataFrame(rows, columns=['user', 'item', 'rating'])
    M = bootstrap.mean_ratings(Interactions.from_df(df, duplicates='keep')).tocoo()
    users, items = np.unique(df.user), np.unique(df['item'])
    got = {(int(users[u-1]), int(items[i-1])): r for u, i, r in zip(M.row, M.col, M.data)}
    want = df.groupby(['user', 'item']).rating.mean().to_dict()
    assert got.keys() == want.keys() and all(abs(got[k] - want[k]) < 1e-6 for k in got)

# Settings, answers, histories, profiles, vectors: taken, or refused in a sentence that shows what was wrong

def refused(f, *words):
    "One sentence that names these, of a kind that users can catch"
    with pytest.raises((ValueError, TypeError, KeyError, IndexError, RuntimeError)) as e: f()
    text = str(e.value)
    assert all(w in text for w in words) and len(text) < 600, text

bad_numbers = dict(n=[0, -1, 2.5, np.nan, np.inf, None, '8'], most=[0, -1, 2.5, np.nan, '9'], pool=[0, -3, 1.5, np.nan], sure=[-1, np.nan, np.inf, None, 'x'],
                   skip=[-.1, np.nan, np.inf, None], seed=[-1, 1.5, None, 'a', np.nan], how=['psychic', None, ['tree']])

@pytest.mark.parametrize('name, value', [(k, v) for k, vs in bad_numbers.items() for v in vs])
def test_settings_of_a_questionnaire(name, value, stars): refused(lambda: Questionnaire(stars[1], stars[0], **{name: value}), f'{name}=', str(value))

others = {'fame': (lambda m, x, v: ColdStart(m, x, fame=v), [-1, np.nan, np.inf, None]), 'lists': (lambda m, x, v: ColdStart(m, x, lists=v), ['best', 3, BiasedMF]),
          'profile.reg': (lambda m, x, v: PopularByProfile(v), [-1, 0, np.nan, None]), 'Famous.fame': (lambda m, x, v: bootstrap.Famous(m, v), [-1, np.nan, np.inf, None]),
          'reg': (lambda m, x, v: bootstrap.Demography(v), [-1, 0, np.nan, None]), 'max_users': (lambda m, x, v: bootstrap.UserPrior(m, x, v), [0, -1, 1.5]),
          'seed': (lambda m, x, v: bootstrap.UserPrior(m, x, seed=v), [-1, None, .5]), 'min_ratings': (lambda m, x, v: average_taste_user(m, v), [-1, np.nan, np.inf]),
          'items.min_ratings': (lambda m, x, v: bootstrap.with_item_features(m, x, v), [-1, np.nan, None]), 'items.reg': (lambda m, x, v: bootstrap.with_item_features(m, x, reg=v), [-1, 0, np.nan, None]),
          'belief': (lambda m, x, v: warm_start(m, m, x, x, belief=v), [-1, np.nan, None]), 'n_epochs': (lambda m, x, v: warm_start(m, m, x, x, n_epochs=v), [0, -1, 1.5, None]),
          'k': (lambda m, x, v: Questionnaire(m, x).profiles(v), [0, -1, 1.5, None, 10**6]), 'show': (lambda m, x, v: Questionnaire(m, x).profiles(show=v), [0, -1, None]),
          'table.n': (lambda m, x, v: Questionnaire(m, x).table(v), [0, -1, 1.5])}

@pytest.mark.parametrize('name, value', [(k, v) for k, (_, vs) in others.items() for v in vs])
def test_settings_of_the_rest(name, value, stars): refused(lambda: others[name][0](stars[1], stars[0], value), f'{name.split(".")[-1]}=', str(value))

def test_whole_numbers_may_be_written_as_floats(stars):
    q = Questionnaire(stars[1], stars[0], n=3., most=9., pool=30.)
    assert q.next() == Questionnaire(stars[1], stars[0], n=3, most=9, pool=30).next()
    assert len(q.profiles(2., 3.)) == 2 and len(q.table(4.)) == 4

functions = {'average_user': lambda m, x: average_user(m), 'average_taste_user': lambda m, x: average_taste_user(m), 'with_average': lambda m, x: with_average(m),
             'Questionnaire': Questionnaire, 'UserPrior': bootstrap.UserPrior, 'ColdStart': ColdStart, 'Famous': lambda m, x: bootstrap.Famous(m, .5),
             'demographic_user': lambda m, x: demographic_user(m, x, {}), 'with_item_features': bootstrap.with_item_features}

@pytest.mark.parametrize('name', functions)
def test_what_is_no_model_or_no_train(name, stars):
    f, (inter, m) = functions[name], stars
    for no_model in (None, 'BiasedMF', inter): refused(lambda: f(no_model, inter))
    refused(lambda: f(BiasedMF(), inter), *(['not fitted'] if name != 'with_item_features' else ['BiasedMF']))
    if name in ('average_user', 'average_taste_user', 'with_average', 'Famous'): return
    for no_train in ([] if name == 'ColdStart' else [None]) + ['u.data', inter.df]: refused(lambda: f(m, no_train), type(no_train).__name__)
    refused(lambda: f(m, World(seed=4, n_users=30, n_items=40).sample(500)), 'fitted to')

def test_a_model_without_tables_has_no_row_to_fill(stars):
    class Odd(Recommender): pass
    refused(lambda: with_average(Odd().fit(stars[0])), 'Odd', 'no tables')

def test_ratings_that_are_all_the_same_are_no_answers():
    ones = Interactions.from_df(table().assign(rating=5))
    m = BiasedMF(n_factors=2, n_epochs=2).fit(ones)
    refused(lambda: Questionnaire(m, ones), 'every rating in train is 5')
    item = ones.items.ids[0]
    recs = ColdStart(m, ones).recommend(User([item]), k=5)
    assert len(recs) == 5 and np.isfinite(recs.score).all() and item not in set(recs['item'])

answers_taken = {'none': None, 'Series': lambda i: pd.Series({i: 3}), 'pairs': lambda i: [(i, 3)], 'generator': lambda i: (o for o in [(i, 3)]), 'text': lambda i: {i: ' 3 '}, 'Int64': lambda i: pd.DataFrame(dict(item=[i], answer=pd.array([3], 'Int64'))),
                 'category': lambda i: pd.DataFrame(dict(item=[i], answer=[3])).astype('category'), 'rating': lambda i: pd.DataFrame(dict(item=[i], rating=[3.])), 'array': lambda i: np.array([[i, 3]]), 'float32': lambda i: {i: np.float32(3)}, 'decimal': lambda i: {i: decimal.Decimal(3)}}

@pytest.mark.parametrize('shape', answers_taken)
def test_answers_come_in_every_shape(shape, stars):
    q, i = Questionnaire(stars[1], stars[0]), stars[0].items.ids[0]
    make = answers_taken[shape]
    want = {} if make is None else {i: 3}
    assert q.user(make and make(i)).notes['answers'] == want

@pytest.mark.parametrize('library', ['polars', 'pyarrow'])
def test_answers_and_histories_in_tables_of_others(library, stars):
    lib = pytest.importorskip(library)
    make = lib.DataFrame if library == 'polars' else lib.table
    inter, m = stars
    i = int(inter.items.ids[0])
    assert Questionnaire(m, inter).user(make(dict(item=[i], answer=[3]))).notes['answers'] == {i: 3}
    cold = ColdStart(m, inter)
    np.testing.assert_array_equal(cold.fold_in(make(dict(item=[i], rating=[3]))).vector, cold.fold_in({i: 3}).vector)

@pytest.mark.parametrize('value', [True, False, np.True_, [3], (3,), np.array([3]), {'a': 1}, 3+0j, 10**400, np.inf, -np.inf, 'none', '4,5', pd.Timestamp('2020'), object(), 0, 6, -3, '1e9'])
def test_answers_that_are_none(value, stars):
    i = stars[0].items.ids[0]
    for f in (Questionnaire(stars[1], stars[0]).user, ColdStart(stars[1], stars[0]).fold_in): refused(lambda: f({i: value}), 'answer', 'from 1 to 5' if value not in (0,) or value is False else '1 to 5')

@pytest.mark.parametrize('value', [None, np.nan, pd.NA, pd.NaT, '', ' ', 'not seen', 'NOT SEEN'])
def test_missing_answers_are_not_seen(value, stars):
    q, i = Questionnaire(stars[1], stars[0]), stars[0].items.ids[0]
    np.testing.assert_array_equal(q.user({i: value}).vector, q.user().vector)
    assert list(q.user({i: value}).notes['answers']) == [i]

@pytest.mark.parametrize('answers', [[2, 7], 2, 'abc', {2}, [(2, 3, 4)], pd.DataFrame(dict(a=[1])), User({2: 3})])
def test_answers_of_no_shape(answers, stars): refused(lambda: Questionnaire(stars[1], stars[0]).next(answers), 'item')

def test_a_rating_kept_in_short_numbers_is_within_its_own_scale():
    df = table()
    inter = Interactions.from_df(df.assign(rating=(df.rating/10).astype(np.float32)))
    m = Bias().fit(inter)
    for q in (Questionnaire(m, inter), ColdStart(m, inter)):
        f = q.user if isinstance(q, Questionnaire) else q.fold_in
        for r in (.1, .5): assert np.isfinite(f({df['item'].iloc[0]: r}).vector).all()

def test_a_reply_is_a_function(stars):
    refused(lambda: Questionnaire(stars[1], stars[0]).run({2: 3}), 'function', 'dict')

@pytest.mark.parametrize('make', [lambda: BiasedMF(n_factors=4), Bias, ItemKNN])
@pytest.mark.parametrize('shape', ['list', 'tuple', 'array', 'Index', 'set', 'generator', 'frame', 'one', 'nan', 'none', 'NA'])
def test_items_without_ratings_are_no_opinion(shape, make, stars):
    "Not the worst, not the best: nobody said"
    inter = stars[0]
    a, b = inter.items.ids[:2].tolist()
    h = dict(list=[a, b], tuple=(a, b), array=np.array([a, b]), Index=pd.Index([a]), set={a, b}, generator=(i for i in [a]), frame=pd.DataFrame(dict(item=[a])), one=a,
             nan={a: np.nan}, none={a: None}, NA=pd.DataFrame(dict(item=[a, b], rating=pd.array([3, None], 'Int64'))))[shape]
    refused(lambda: ColdStart(make().fit(inter), inter).recommend(User(h)), 'without a rating', 'from 1 to 5')

@pytest.mark.parametrize('make', [lambda: ImplicitALS(4, 2), Popular])
def test_clicks_need_no_ratings(make):
    inter = Interactions.from_df(table().assign(rating=1))
    cold, items = ColdStart(make().fit(inter), inter), inter.items.ids[:3].tolist()
    want = cold.recommend(User({i: 1 for i in items}), k=5)
    for h in (items, tuple(items), np.array(items), pd.DataFrame(dict(item=items)), pd.Series(1, items), (i for i in items)):
        got = cold.recommend(User(h), k=5)
        assert got['item'].tolist() == want['item'].tolist() and not set(items) & set(got['item'])

def test_a_history_of_a_generator_is_read_once(stars):
    cold, items = ColdStart(stars[1], stars[0]), stars[0].items.ids[:3].tolist()
    pd.testing.assert_frame_equal(cold.recommend(User((i, 5) for i in items)), cold.recommend(User({i: 5 for i in items})))
    two = cold.recommend(u for u in stars[0].users.ids[:2])
    assert len(two.attrs['remedy']) == two.user.nunique() == 2

@pytest.mark.parametrize('history', [{2: 50}, {2: -3}, {2: 0}, {2: 'good'}, {-7: 3}, pd.DataFrame(dict(a=[1])), pd.DataFrame(dict(item=[2, 2], rating=[3, 4])), 'abc', User({2: 3})])
def test_histories_that_are_none(history, stars):
    for m in (stars[1], ItemKNN().fit(stars[0])): refused(lambda: ColdStart(m, stars[0]).fold_in(history))

def test_vectors_of_another_model(stars):
    cold = ColdStart(stars[1], stars[0])
    n = 1 + len(stars[0].items)
    refused(lambda: cold.recommend(User(vector=np.zeros(99))), '99', f'the model has {n}')
    refused(lambda: cold.recommend(User(vector=np.full(n, np.nan))), 'finite')
    refused(lambda: ColdStart(stars[1], stars[0], lists=None).recommend(User(vector=np.zeros(99))), '99', 'the model has 5')

@pytest.mark.parametrize('again', [lambda u: pickle.loads(pickle.dumps(u)), copy.copy, copy.deepcopy], ids=['pickle', 'copy', 'deepcopy'])
def test_a_copied_user_has_still_seen_what_they_saw(again, stars):
    inter, m = stars
    item = inter.items.ids[0]
    for model, user in ((m, Questionnaire(m, inter).user({item: 5})), (m, m.fold_in({item: 5})), (ColdStart(m, inter), ColdStart(m, inter).fold_in({item: 5}))):
        same = again(user)
        assert list(same.seen) == list(user.seen) == [1] and same.notes == user.notes
        pd.testing.assert_frame_equal(model.recommend(same), model.recommend(user))
    q = Questionnaire(m, inter)
    assert again(q).next({item: 5}) == q.next({item: 5})

# Side tables

def typed(df, how):
    "The same facts in other types"
    if how == 'category': return df.astype('category')
    if how == 'nullable': return df.convert_dtypes()
    if how == 'object': return df.astype(object)
    if how == 'text': return df.astype(str)
    if how == 'pyarrow':
        pytest.importorskip('pyarrow')
        return df.convert_dtypes(dtype_backend='pyarrow')
    if how == 'float32': return df.assign(**{c: df[c].astype('float32') for c in df if pd.api.types.is_numeric_dtype(df[c])})
    if how == 'lists': return df.assign(genres=df.genres.str.split('|').map(lambda o: o if isinstance(o, list) else None)) if 'genres' in df else df
    return df

def with_holes(df):
    "Every third row is unknown"
    keep = np.arange(len(df)) % 3 > 0
    return df.apply(lambda column: column.where(keep))

def holes_of(df, info): return df.astype(object).where(info.notna(), None)

kinds = ['category', 'nullable', 'object', 'text', 'pyarrow', 'float32', 'lists']

@pytest.mark.parametrize('how', kinds)
@pytest.mark.parametrize('holes', [False, True])
def test_profiles_of_all_types_say_the_same(how, holes, model, log):
    "A profile is never silently worth nothing because of the type of a column"
    info = with_holes(log.user_info) if holes else log.user_info
    if how == 'text': other = holes_of(typed(log.user_info, how), info)
    else: other = typed(info, how)
    plain, same = (ColdStart(model, Interactions.from_df(log.df, user_info=o, item_info=log.item_info)) for o in (info, other))
    for profile in (dict(age=30), dict(gender='F', occupation=log.user_info.occupation.iloc[0]), dict(age=pd.NA, gender='M')):
        a, b = (c.recommend(User(profile=profile), k=8) for c in (plain, same))
        assert done(b) == ['popular by profile']
        pd.testing.assert_frame_equal(a, b)
        np.testing.assert_allclose(*(c.predict(User(profile=profile), log.items.ids[:9]) for c in (plain, same)), atol=1e-5)
    np.testing.assert_allclose(plain.profiles, same.profiles, atol=1e-5)

@pytest.mark.parametrize('how', kinds)
def test_item_tables_of_all_types_say_the_same(how, log):
    rare = log.take(log.df['item'].isin(log.items.ids[::3]).to_numpy() == False)
    m = BiasedMF(n_factors=4, n_epochs=3).fit(rare)
    info = with_holes(log.item_info)
    other = holes_of(typed(log.item_info, how), info) if how == 'text' else typed(info, how)
    a, b = (bootstrap.with_item_features(m, Interactions.from_df(rare.df, user_info=log.user_info, item_info=o)) for o in (info, other))
    np.testing.assert_allclose(a.item_factors, b.item_factors, atol=1e-5)
    np.testing.assert_array_equal(a.known_items, b.known_items)
    cold = ColdStart(m, Interactions.from_df(rare.df, user_info=log.user_info, item_info=info), lists=None)
    unknown = set(rare.items.ids[~cold.known_items[1:]])
    assert unknown and not unknown & set(rare.df['item'])
    recs = cold.recommend([User({rare.df['item'].iloc[0]: 5}), User(), rare.df.user.iloc[0]], k=cold.known_items.sum() - 60)
    assert not unknown & set(recs['item']), 'a row in a table is no reason to recommend'

@pytest.mark.parametrize('profile, words', [(dict(age='thirty'), ['thirty', 'age']), (dict(age=[30]), ['age']), (dict(age=np.inf), ['inf']), (dict(age=-500), ['-500']), (dict(age=1990), ['1990']), (dict(age=True), ['True']),
                                            (dict(gender='m'), ["'m'", 'F, M']), (dict(gender='M|F'), ['M|F']), (dict(gender=1), ["'1'"]), (dict(shoe=4), ['shoe', 'age']), ({1: 2, 'shoe': 3}, ['1']), (['age'], ['list']), ('age', ['str']),
                                            ([('age', 30)], ['list']), (pd.DataFrame([dict(age=30)]), ['DataFrame'])])
def test_profiles_that_are_none(profile, words, model, log):
    refused(lambda: ColdStart(model, log).recommend(User(profile=profile)), *words)
    refused(lambda: demographic_user(model, log, profile), *words)

def test_what_a_profile_leaves_open_is_left_open(model, log):
    cold = ColdStart(model, log)
    for nothing in ({}, dict(age=None), dict(age=np.nan, gender=pd.NA), dict(occupation=''), pd.Series(dict(age=None), dtype=object)):
        assert list(cold.recommend(User(profile=nothing), k=3).attrs['remedy'].values()) == ['popular']
    np.testing.assert_array_equal(demographic_user(model, log, pd.Series(dict(age=30))).vector, demographic_user(model, log, dict(age=30)).vector)
    np.testing.assert_array_equal(demographic_user(model, log, dict(age='30')).vector, demographic_user(model, log, dict(age=30)).vector)

@pytest.mark.parametrize('info', ['none', 'other columns', 'all missing'])
def test_a_profile_that_can_say_nothing_is_told_so(info, model, log):
    table = dict(none=None, **{'other columns': log.user_info[[]].assign(country='NL'), 'all missing': log.user_info.assign(age=None, gender=None, occupation=None)})[info]
    with pytest.warns(UserWarning, match='a profile says nothing here: train.user_info'):
        recs = ColdStart(model, Interactions.from_df(log.df, user_info=table)).recommend(User(profile=dict(age=30)), k=3)
    assert list(recs.attrs['remedy'].values()) == ['popular']

def test_an_error_inside_a_remedy_is_an_error(log):
    "Nothing is caught that could hide a mistake"
    class Broken(BiasedMF):
        def linear(self): raise TypeError('a mistake')
    class Vectorless(BiasedMF):
        def user_vectors(self, codes): raise ValueError('another mistake')
    with pytest.raises(TypeError, match='a mistake'): ColdStart(Broken(n_factors=2, n_epochs=1).fit(log), log)
    with pytest.raises(ValueError, match='another mistake'): ColdStart(Vectorless(n_factors=2, n_epochs=1).fit(log), log)

def test_one_age_for_all_is_no_measure(model, log):
    "A single row in the table once gave vectors of a million stars"
    one = Interactions.from_df(log.df, user_info=log.user_info.iloc[:1])
    with pytest.raises(KeyError, match='age'): demographic_user(model, one, dict(age=30))
    same = Interactions.from_df(log.df, user_info=log.user_info.assign(age=30))
    with pytest.raises(KeyError, match='known features are gender, occupation'): demographic_user(model, same, dict(age=31))

def test_films_without_a_title_are_not_one_film(log):
    m = BiasedMF(n_factors=2, n_epochs=1).fit(log)
    info = log.item_info.assign(title=log.item_info.title.astype(object).where(np.arange(len(log.item_info)) % 4 > 0, None))
    info.iloc[1, info.columns.get_loc('title')] = '???'
    x = Interactions.from_df(log.df, user_info=log.user_info, item_info=info)
    match = bootstrap.match_items(m, info, m, info)
    known = info.title.notna() & (info.title != '???')
    assert (match[m.items.encode(info.index[~known])] == 0).all()
    assert (match[m.items.encode(info.index[known])] > 0).all()
    for how in ('text', 'pyarrow', 'category'):
        np.testing.assert_array_equal(bootstrap.match_items(m, typed(info[['year']], how).assign(title=info.title), m, info), match)
    for gone in ('title', 'year'):
        with pytest.raises(ValueError, match=f'no {gone}'): warm_start(BiasedMF(), m, Interactions.from_df(log.df, user_info=log.user_info, item_info=info.drop(columns=gone)), x if len(x.users) == len(m.users) else log)

@pytest.mark.parametrize('a, b', [(2, 0), (1, -3), (.25, -.25), (20, 0)])
def test_another_services_scale(a, b, log):
    m = BiasedMF(n_factors=2, n_epochs=1).fit(log)
    other = Interactions.from_df(on_scale(log.df, a, b), item_info=log.item_info)
    with pytest.raises(ValueError, match='rescale one of them'): warm_start(BiasedMF(), m, other, log)

def test_a_form_for_ratings_that_may_be_any_number():
    rng = np.random.default_rng(0)
    pytest.importorskip('ipywidgets')
    df = table()
    inter = Interactions.from_df(df.assign(rating=df.rating + rng.uniform(-.4, .4, len(df))))
    box = Questionnaire(Bias().fit(inter), inter, n=2).form()
    assert len(box.children[1].children) == 12
    tenths = Interactions.from_df(df.assign(rating=df.rating/10))
    box = Questionnaire(Bias().fit(tenths), tenths, n=2).form()
    assert [b.description for b in box.children[1].children] == ['not seen', '0.1', '0.2', '0.3', '0.4', '0.5']
    for _ in range(2): box.children[1].children[-1].click()
    assert len(box.user.seen) == 2

def test_titles_that_are_missing_are_ids(model, log):
    info = log.item_info.assign(title=None)
    q = Questionnaire(model, Interactions.from_df(log.df, item_info=info, user_info=log.user_info))
    assert q.title_of(log.items.ids[0]) == str(log.items.ids[0])

@pytest.mark.parametrize('call', [lambda: bootstrap.posterior(np.zeros(2), np.eye(2), 0, np.ones((1, 2)), np.ones(1)), lambda: bootstrap.posterior(np.zeros(2), np.eye(2), -1, np.ones((1, 2)), np.ones(1)),
                                  lambda: bootstrap.posterior(np.zeros(2), np.eye(2), 1, np.ones((1, 2)), np.array([np.nan])), lambda: bootstrap.posterior(np.zeros(2), np.eye(2), 1, np.ones((3, 1)), np.ones(3))])
def test_a_posterior_of_nonsense(call): refused(call)

def test_a_list_may_leave_out_items_and_skip_strangers(stars):
    inter, m = stars
    cold, user = ColdStart(m, inter), inter.users.ids[0]
    best = cold.recommend(user, k=3)['item'].tolist()
    assert cold.recommend(user, k=2, exclude=best[:1])['item'].tolist() == best[1:]
    assert cold.recommend([user, 10**6], k=2, on_unknown='skip').attrs['remedy'] == {user: 'ItemGraph, known user'}
    refused(lambda: cold.recommend(user, on_unknown='guess'), 'guess')

# Lists from a list model, predictions from a rating model

def by_hand(cold, log, history, profile=None):
    "Scores of a newcomer, from the definition, with dense arrays"
    X = np.zeros((len(log.users), len(log.items)))
    u, i, r = log.codes()
    X[u, i] = r
    met, graph = X > 0, ItemGraph().fit(as_clicks(log))
    h = np.zeros(len(log.items))
    mean = np.mean(list(history.values())) if history else 0
    for item, rating in history.items(): h[log.items.encode([item])[0]] = 1 + (rating >= mean)
    popular = met.sum(0).astype(float) if profile is None else cold.popular.vector_scores(cold.popular.vector_of(profile)[None])[0].astype(float)
    unit = lambda s: (s - s[1:].mean())/max(s[1:].std(), 1e-9)
    n = len(history)
    return n/(n + 1)*unit(h@graph.weights.toarray()) + unit(popular)/(n + 1)

@pytest.mark.parametrize('n', [0, 1, 2, 6])
@pytest.mark.parametrize('profile', [None, dict(age=30, gender='F')])
def test_lists_are_a_list_models_and_popularity_counts_as_one_answer(n, profile, model, log):
    cold, history = ColdStart(model, log), {int(i): 1 + int(i) % 5 for i in log.items.ids[5:5+n]}
    want = by_hand(cold, log, history, profile)
    got = cold.query_scores(cold.query(User(history, profile)))[0]
    rated = np.bincount(log.codes()[1], minlength=len(log.items)) > 0
    np.testing.assert_allclose(got[rated], want[rated], atol=1e-3)
    assert (got[~rated] < got[rated].min()).all()

def test_without_a_word_the_list_is_the_popular_one(model, log):
    popular = Popular().fit(log).recommend(User(history=[]), k=20)['item'].tolist()
    for lists in ('auto', None, EASE()): assert ColdStart(model, log, lists=lists).recommend(User(), k=20)['item'].tolist() == popular

def test_predictions_are_the_rating_models(model, log):
    known, items = log.df.user.iloc[0], log.items.ids[:7]
    cold = ColdStart(model, log)
    prior = bootstrap.UserPrior(cold.ready, log)
    np.testing.assert_allclose(cold.predict(known, items), cold.ready.predict(known, items))
    history = {int(items[0]): 5, int(items[3]): 2}
    for who, v in ((User(history), prior.after(cold.items.encode(list(history)), [5, 2])[0]), (User(), prior.mean), (User(profile=dict(age=30)), cold.demography.vector(dict(age=30)))):
        np.testing.assert_allclose(cold.predict(who, items), np.clip(cold.ready.vector_scores(v[None])[0, 1:8], *model.scale), rtol=1e-5)
    both = cold.predict([User(history), known], items[:2])
    assert both.shape == (2,) and both[1] == cold.predict(known, items[1])[0]
    with pytest.raises(ValueError, match='2 users but 3 items'): cold.predict([User(), known], items[:3])
    with pytest.raises(NotImplementedError, match='scores, not ratings'): ColdStart(ImplicitALS(4, 2).fit(log), log).predict(User(history), items)
    assert np.isfinite(ColdStart(ItemKNN().fit(log), log).predict([User(), User(history)], items[0])).all()

def test_what_was_liked_counts_twice():
    df = pd.DataFrame([(1, 1, 5), (1, 2, 1), (1, 2, 3), (2, 1, 2), (3, 1, 0), (3, 2, -1)], columns=['user', 'item', 'rating'])
    got = as_clicks(Interactions.from_df(df, duplicates='keep'))
    assert got.df.set_index(['user', 'item']).rating.to_dict() == {(1, 1): 2, (1, 2): 1, (2, 1): 2, (3, 1): 2, (3, 2): 1}
    assert as_clicks(Interactions.from_df(df.assign(rating=.1), duplicates='keep')).df.rating.eq(2).all()

def test_popular_by_profile_is_ridge_regression_of_who_met_what(log):
    from sklearn.linear_model import Ridge
    p = PopularByProfile(50.).fit(log)
    met = np.unique(log.codes()[0])
    seen = np.zeros((len(log.users), len(log.items)))
    seen[log.codes()[:2]] = 1
    r = Ridge(alpha=50.).fit(p.user_features[met], seen[met])
    np.testing.assert_allclose(p.scores(met), r.predict(p.user_features[met]), atol=1e-4)
    check_recommender(PopularByProfile)
    assert p.recommend(User(profile=dict(age=20)), k=3).shape == (3, 4) and p.personal
    bare = PopularByProfile().fit(Interactions.from_df(log.df))
    assert not bare.personal and bare.recommend(User(), k=9)['item'].tolist() == Popular().fit(log).recommend(User([]), k=9)['item'].tolist()

def test_who_makes_lists():
    makers = {BiasedMF: ItemGraph, Bias: ItemGraph, ItemKNN: ItemGraph, Popular: Popular, ImplicitALS: ImplicitALS, EASE: EASE}
    for make, maker in makers.items(): assert type(ColdStart(make()).maker) is maker
    assert ColdStart(BiasedMF(), lists=None).maker is None
    fitted = EASE().fit(to_implicit(Interactions.from_df(table())))
    inter = Interactions.from_df(table())
    weights = fitted.weights.copy()
    cold = ColdStart(BiasedMF(n_factors=2).fit(inter), inter, lists=fitted)
    assert cold.maker is fitted and (fitted.weights == weights).all()          # what is fitted is left alone
    refused(lambda: ColdStart(BiasedMF(n_factors=2).fit(inter), inter, lists=EASE().fit(World(seed=4, n_users=30, n_items=40).sample(500))), 'fitted to')

@pytest.mark.parametrize('rows', [[(1, 1, 3)], [(u, 1, 3) for u in range(9)], [(1, i, 3) for i in range(9)], [(u, u, 1 + u % 5) for u in range(9)], [(u, i, 4) for u in range(5) for i in range(4)]])
def test_odd_data_gives_finite_lists(rows):
    inter = Interactions.from_df(pd.DataFrame(rows, columns=['user', 'item', 'rating']))
    cold = ColdStart(BiasedMF(n_factors=2, n_epochs=2)).fit(inter)
    item = inter.items.ids[0]
    for who in (User(), User({item: 3} if len({r for *_, r in rows}) > 1 else [item]), inter.users.ids[0]):
        s = cold.query_scores(cold.query(who))
        assert np.isfinite(s).all() and s.dtype == np.float32

def test_a_questionnaires_answers_make_a_list(model, log):
    q, cold = Questionnaire(model, log, n=3), ColdStart(model, log)
    you = q.run(lambda i: 4)
    assert done(cold.recommend(you, k=4)) == ['ItemGraph by fold-in']
    np.testing.assert_array_equal(cold.recommend(you, k=4)['item'], cold.recommend(User(you.history), k=4)['item'])

def test_profiles_share_no_item_and_no_name(model, log):
    found = Questionnaire(model, log).profiles(5, 6)
    items = [i for row in found['items'] for i in row]
    assert len(items) == len(set(items)) == 30 and found.name.nunique() == 5
    bare = Questionnaire(model, Interactions.from_df(log.df)).profiles(3)
    assert bare.name.tolist() == ['profile 0', 'profile 1', 'profile 2']

def test_cold_start_takes_no_moment(stars):
    refused(lambda: ColdStart(stars[1], stars[0]).recommend(User(), context={'hour': 8}), 'no moment')

def test_movielens_lists_of_newcomers(movielens):
    "nDCG@10 of people left out: popular before the first answer, .24 after five, .28 after ten"
    from recsys_course.datasets import load_movielens
    inter = load_movielens('100k', path=movielens, download=False)
    rng, people = np.random.default_rng(0), inter.users.ids.to_numpy()
    tried = rng.choice(people, 300, replace=False)                             # settings were chosen on these
    held = np.sort(rng.choice(np.setdiff1d(people, tried), 300, replace=False))
    mask = inter.df.user.isin(held).to_numpy()
    train, rest = inter.take(~mask), inter.df[mask].sample(frac=1, random_state=0)
    cold, found = ColdStart(BiasedMF(n_factors=20)).fit(train), {n: [] for n in (0, 1, 2, 5, 10)}
    gain = 1/np.log2(np.arange(2, 12))
    for u, g in rest.groupby('user'):
        n_test = min(len(g)//2, 20)
        liked, told = set(g[:n_test][g.rating[:n_test] >= 4]['item']), g[n_test:]
        if not liked: continue
        seen = train.items.encode(told['item'])
        asks = [User(dict(zip(told['item'][:n], told.rating[:n])), id=f'new{u} {n}', seen=seen) for n in found]
        recs = cold.recommend(asks)
        for (n, own), (_, row) in zip(found.items(), recs.groupby('user', sort=False)): own.append((np.isin(row['item'], list(liked))*gain).sum()/gain[:len(liked)].sum())
    means = {n: np.mean(v) for n, v in found.items()}
    assert means[5] > .26 and means[10] > .285 and means[0] == pytest.approx(.1595, abs=.001) and min(means[1], means[2]) > means[0] + .02, means
