"Newcomers through the library's front door: every model, small and odd data, damaged input, no widgets"
import sys

import numpy as np, pandas as pd, pytest

import recsys_course.bootstrap as bootstrap
from recsys_course.bootstrap import ColdStart, Questionnaire, average_taste_user, average_user, demographic_user, warm_start
from recsys_course.data import Interactions
from recsys_course.factorize import ALS, BiasedMF, FullBatchMF
from recsys_course.recommender import Bias, ItemKNN, Popular
from recsys_course.simulate import World

@pytest.fixture(scope='module')
def log(): return World(seed=3, n_users=200, n_items=150).sample(9_000)

@pytest.fixture(scope='module')
def model(log): return BiasedMF(n_factors=8).fit(log)

makers = [lambda: BiasedMF(n_factors=8), lambda: ALS(n_factors=8, n_rounds=2), lambda: FullBatchMF(n_factors=8, n_steps=20), Bias, ItemKNN]

@pytest.mark.parametrize('make', makers)
def test_every_remedy_is_something_that_recommend_accepts(make, log):
    m = make().fit(log)
    before = {k: v.copy() for k, v in vars(m).items() if isinstance(v, np.ndarray)}
    for v in (average_user(m, log), average_taste_user(m, log), demographic_user(m, log, dict(age=30, gender='F'))):
        assert len(m.recommend(v, k=7)) == 7
    assert m.with_average().scores(np.array([0])).shape == (1, len(log.items))
    if make is not ItemKNN: assert len(m.recommend(Questionnaire(m, log).user({log.items.ids[0]: 5}), k=7)) == 7
    assert len(ColdStart(m, log).recommend(history={log.items.ids[0]: 5}, k=7)) == 7
    for k, v in before.items(): np.testing.assert_array_equal(vars(m)[k], v)

def test_the_average_user_is_the_mean_of_folded_in_users_where_there_is_no_table(log):
    m = ItemKNN().fit(log)
    with pytest.raises(ValueError, match='train='): average_user(m)
    by_hand = np.mean([m.fold_in(log.history(u)) for u in np.unique(log.df.user)], axis=0)
    np.testing.assert_allclose(average_user(m, log), by_hand, atol=1e-5)

@pytest.mark.parametrize('how', ['popular', 'disagreed', 'informative', 'tree', 'random'])
def test_a_questionnaire_never_repeats_itself_and_ends(how, model, log):
    q = Questionnaire(model, log, n=4, how=how)
    for reply, n in ((lambda i: 4, 4), (lambda i: None, 16)):
        asked = []
        v = q.run(lambda i: (asked.append(i), reply(i))[1])
        assert len(asked) == len(set(asked)) == n and list(v.answers) == asked
        assert q.next(v.answers) is None

def test_more_questions_than_items(log):
    few = Interactions.from_df(pd.DataFrame([(u, i, 1 + (u*i) % 5) for u in range(6) for i in range(3)], columns=['user', 'item', 'rating']))
    q = Questionnaire(BiasedMF(n_factors=2).fit(few), few, n=50)
    assert len(q.run(lambda i: 3).answers) == 3

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
    assert ColdStart(model, bare).recommend(profile=dict(age=3)).attrs['remedy'] == 'popular'

def test_warm_start_uses_the_other_and_changes_nothing(log):
    mine, theirs = (log._take(np.isin(log.df.user, log.users.ids[a::2])) for a in (0, 1))
    other, fresh = BiasedMF(n_factors=8).fit(theirs), BiasedMF(n_factors=4)
    few = mine._take(np.arange(len(mine)) < 150)
    warm = warm_start(fresh, other, few, theirs)
    assert warm.matched > 140 and not hasattr(fresh, 'seen') and warm.item_factors.shape[1] == 8
    rest = mine._take(np.arange(len(mine)) >= 150)
    rmse = lambda m: np.sqrt(np.mean((m.predict(rest.df.user, rest.df['item']) - rest.df.rating)**2))
    assert rmse(warm) < rmse(Bias().fit(few)) - .02
    assert len(warm.recommend(mine.users.ids[0], k=5)) == 5
    doubled = Interactions.from_df(few.df.assign(rating=few.df.rating*2), item_info=few.item_info)
    with pytest.raises(ValueError, match='rescale'): warm_start(fresh, other, doubled, theirs)

def test_a_warm_model_survives_saving(log, tmp_path):
    other = BiasedMF(n_factors=4).fit(log)
    warm = warm_start(BiasedMF(), other, log._take(np.arange(len(log)) < 500), log)
    warm.save(tmp_path)
    pd.testing.assert_frame_equal(BiasedMF.load(tmp_path).recommend(log.users.ids[:3]), warm.recommend(log.users.ids[:3]))

def test_cold_start_says_what_it_did(model, log):
    cold, known, item = ColdStart(model, log), log.df.user.iloc[0], log.items.ids[0]
    table = pd.DataFrame(dict(item=[item], rating=[5]))
    for kwargs, remedy in ((dict(), 'popular'), (dict(user=known), 'known user'), (dict(user=10**6), 'popular'), (dict(profile=dict(age=20)), 'profile'),
                           (dict(history={item: 5}), 'fold-in'), (dict(history=table), 'fold-in'), (dict(history={}), 'popular'), (dict(user=known, history={}), 'known user'),
                           (dict(history=table, profile=dict(gender='F')), 'fold-in from profile')):
        recs = cold.recommend(**kwargs, k=4)
        assert recs.attrs['remedy'] == remedy and (recs.remedy == remedy).all() and len(recs) == 4, kwargs
        if 'history' in kwargs and len(kwargs['history']): assert item not in set(recs['item'])

def test_public_names():
    assert set(bootstrap.__all__) == {'average_user', 'average_taste_user', 'Questionnaire', 'warm_start', 'demographic_user', 'ColdStart'}

def test_movielens_five_ratings_beat_the_average_user(movielens):
    from recsys_course.data import load_movielens
    inter = load_movielens('100k', path=movielens, download=False)
    gains = []
    for seed in range(3):
        held = np.random.default_rng(seed).choice(inter.users.ids.to_numpy(), 150, replace=False)
        mask = inter.df.user.isin(held).to_numpy()
        train, rest = inter._take(~mask), inter._take(mask)
        m = BiasedMF(n_factors=20).fit(train)
        cold, avg, se = ColdStart(m, train), average_user(m), np.zeros(2)
        for u, g in rest.df.sample(frac=1, random_state=seed).groupby('user'):
            v, test = cold.vector(history=g.head(5))[0], g.iloc[10:]
            codes = inter.items.encode(test['item'])
            se += [np.square(np.clip(m.vector_scores(o[None])[0, codes], 1, 5) - test.rating).sum() for o in (v, avg)]
        gains.append(1 - np.sqrt(se[0]/se[1]))
    assert min(gains) > .02, gains
