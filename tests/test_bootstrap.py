"Newcomers through the library's front door: every model, small and odd data, damaged input, no widgets"
import sys

import numpy as np, pandas as pd, pytest

import recsys_course.bootstrap as bootstrap
from recsys_course.bootstrap import ColdStart, Questionnaire, average_taste_user, average_user, demographic_user, warm_start, with_average
from recsys_course.data import Interactions
from recsys_course.factorize import ALS, BiasedMF, FullBatchMF
from recsys_course.check import check_recommender
from recsys_course.implicit import ImplicitALS
from recsys_course.recommender import Bias, ItemKNN, Popular, Recommender, User
from recsys_course.simulate import World

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

@pytest.mark.parametrize('how', ['popular', 'disagreed', 'informative', 'tree', 'random'])
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
    assert list(ColdStart(model, bare).recommend(User(profile=dict(age=3))).attrs['remedy'].values()) == ['popular']

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
    cold, known, item = ColdStart(model, log), log.df.user.iloc[0], log.items.ids[0]
    table = pd.DataFrame(dict(item=[item], rating=[5]))
    for who, remedy in ((User(), 'popular'), (known, 'known user'), (User(profile=dict(age=20)), 'profile'), (User({item: 5}), 'fold-in'),
                        (User(table), 'fold-in'), (User({}), 'popular'), (User({}, id=known), 'known user'), (User(table, profile=dict(gender='F')), 'fold-in from profile')):
        recs = cold.recommend(who, k=4)
        assert list(recs.attrs['remedy'].values()) == [remedy] and len(recs) == 4, who
        if isinstance(who, User) and who.history is not None and len(who.history): assert item not in set(recs['item'])
    with pytest.raises(KeyError, match='1000000'): cold.recommend(10**6)

@pytest.mark.parametrize('make', [BiasedMF, Bias, ItemKNN, Popular, lambda: ImplicitALS(8)])
def test_cold_start_keeps_the_contract(make): check_recommender(lambda: ColdStart(make()))

def test_a_list_for_many_is_the_lists_of_each(model, log, tmp_path):
    cold, known, item = ColdStart(model, log), log.df.user.iloc[0], log.items.ids[0]
    asks = [known, User({item: 5}, id='Zoe'), User(profile=dict(age=20), id='Max'), User(id='nobody')][:3]
    whole = cold.recommend(asks, k=6)
    assert whole.attrs['remedy'] == {known: 'known user', 'Zoe': 'fold-in', 'Max': 'profile'}
    for who, name in zip(asks, (known, 'Zoe', 'Max')):
        pd.testing.assert_frame_equal(whole[whole.user == name].reset_index(drop=True), cold.recommend(who, k=6), check_dtype=False)
    cold.save(tmp_path/'c')
    pd.testing.assert_frame_equal(Recommender.load(tmp_path/'c').recommend(asks, k=6), whole)

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
            v, test = cold.fold_in(g.head(5)).vector, g.iloc[10:]
            codes = inter.items.encode(test['item'])
            se += [np.square(np.clip(m.vector_scores(o[None])[0, codes], 1, 5) - test.rating).sum() for o in (v, avg)]
        gains.append(1 - np.sqrt(se[0]/se[1]))
    assert min(gains) > .02, gains
