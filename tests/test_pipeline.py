"Bad input, budgets, fallbacks, filters that hold, memory, files, and an independent oracle for the whole funnel"
import threading, time

import numpy as np, pandas as pd, pytest

from recsys_course.data import Interactions
from recsys_course.implicit import EASE, ImplicitALS
from recsys_course.candidates import NewArrivals, SimilarToRecent, merge_candidates
from recsys_course.check import check_recommender
from recsys_course.pipeline import Pipeline
from recsys_course.recommender import Popular, Recommender, User
from recsys_course.rerank import Cap, Diverse, Fresh, Pin, Promote, age_rated, blocked, rule, seen, unavailable
from recsys_course.retrieve import Nearest
from recsys_course.towers import TwoTower
from recsys_course.simulate import World

def log(n_users=60, n_items=80, n=1500, seed=0, titles=True):
    rng = np.random.default_rng(seed)
    cells = rng.choice(n_users*n_items, n, replace=False, p=None)
    info = pd.DataFrame(dict(title=[f'T{i}' for i in range(n_items)], year=1950 + np.arange(n_items) % 50, genres=rng.choice(['a', 'b', 'a|b', 'c', 'b|d'], n_items)), pd.RangeIndex(n_items, name='item'))
    people = pd.DataFrame(dict(age=rng.integers(8, 60, n_users + 1), gender=rng.choice(['M', 'F'], n_users + 1)), pd.Index([*(f'u{o}' for o in range(n_users)), 'nobody'], name='user'))
    df = pd.DataFrame(dict(user=[f'u{o}' for o in cells//n_items], item=cells % n_items, rating=1., timestamp=rng.permutation(n)))
    return Interactions.from_df(df, item_info=info if titles else None, user_info=people if titles else None)

@pytest.fixture(scope='module')
def train(): return log()

@pytest.fixture(scope='module')
def pipe(train): return Pipeline({'als': ImplicitALS(8, 5), 'popular': Popular(), 'new': NewArrivals()}, filters=[unavailable([3, 4])], n_candidates=40, n_each=25).fit(train)

class Does(Recommender):
    "A generator that does as told"
    def __init__(self, f): self.f = f
    def scores(self, user_codes): return self.f(self, user_codes)

def raises(self, codes): raise RuntimeError('broken')
def hangs(self, codes): time.sleep(3); return np.zeros((len(codes), len(self.items)), np.float32)
def nan(self, codes): return np.full((len(codes), len(self.items)), np.nan, np.float32)
def nothing(self, codes): return np.full((len(codes), len(self.items)), -np.inf, np.float32)

class Scores:
    "A scorer that does as told"
    def __init__(self, f): self.f = f
    def fit(self, X, y, weight=None): return self
    def predict(self, X): return self.f(X)

def popular_list(train, user, k, out=()):
    "Oracle: the most rated items that the user has not met"
    had = set(train.df['item'][train.df.user == user])
    n = train.df['item'].value_counts().reindex(train.items.ids, fill_value=0)
    n = n[~n.index.isin([*had, *out])]
    return n.sort_values(ascending=False, kind='stable').index[:k].tolist()

# --- an independent oracle for the whole way

def test_whole_funnel_against_plain_python(train):
    "Fusion, filters, a hand-made scorer, caps and pins, written with loops"
    gens = {'als': ImplicitALS(8, 5), 'popular': Popular()}
    weigh = lambda X: X[:, 0]*0 + (X[:, [p.feature_names().index('popularity')]].ravel()*-1)           # the least popular first
    p = Pipeline(gens, filters=[unavailable([5, 6]), lambda d: d.year > 1955], scorer=Scores(weigh), order=[Cap(2, within=6), Pin([9], at=3)], weights={'als': 2}, n_candidates=30, n_each=20, n_rounds=1).fit(train)
    count, year, genres = train.df['item'].value_counts(), train.item_info.year, train.item_info.genres.str.split('|')
    for u in train.users.ids[:12]:
        if u == 'nobody': continue
        score = {}
        for g, m in gens.items():
            for i, r in zip(*(m.recommend(u, k=20)[c] for c in ('item', 'rank'))): score[i] = score.get(i, 0) + (2 if g == 'als' else 1)/(60 + r)
        had = set(train.history(u)['item'])
        kept = sorted(score, key=lambda i: (-score[i], i))[:30]
        if 9 not in kept: kept.append(9)
        kept = [i for i in kept if i not in had and i not in (5, 6) and year[i] > 1955]
        kept.sort(key=lambda i: (count.get(i, 0), i))
        taken, n = [], {}
        for i in kept:
            if len(taken) < 6 and all(n.get(g, 0) < 2 for g in genres[i]):
                taken.append(i)
                for g in genres[i]: n[g] = n.get(g, 0) + 1
        order = taken + [i for i in kept if i not in taken]
        if 9 in order: order.remove(9); order.insert(2, 9)
        got = p.recommend(u, k=len(order))
        assert got['item'].tolist() == order, u
        assert np.allclose(got.score, 1/np.arange(1, len(order) + 1))

def test_merge_keeps_the_best_rank_of_repeats():
    d = pd.DataFrame(dict(user=['a']*4, item=[1, 2, 1, 3], rank=[1, 2, 3, 4]))
    m = merge_candidates({'g': d})
    assert m['item'].tolist() == [1, 2, 3] and np.isclose(m.score[0], 1/61) and m.generators.tolist() == ['g']*3
    assert merge_candidates({'g': d}, n=2)['item'].tolist() == [1, 2]

# --- bad input

@pytest.mark.parametrize('retrieve', [{}, None, [Popular()]])
def test_empty_retrieve(retrieve):
    with pytest.raises((ValueError, TypeError), match='retrieve|iterable|NoneType|sequence'): Pipeline(retrieve)

@pytest.mark.parametrize('weight', [0, -1, np.nan, np.inf])
def test_weights_of_generators(weight, train):
    with pytest.raises(ValueError, match='above 0'): Pipeline({'p': Popular()}, weights={'p': weight})
    with pytest.raises(ValueError, match='above 0'): merge_candidates({'p': Popular().fit(train).recommend('u1')}, {'p': weight})
    with pytest.raises(ValueError, match="'q'"): Pipeline({'p': Popular()}, weights={'q': 1})

@pytest.mark.parametrize('weight', [0, -1])
def test_weights_of_events(weight, train):
    df = train.df.assign(rating=1.)
    df.loc[3, 'rating'] = weight
    bad = Interactions.from_df(df)
    for m in (TwoTower(4, 1), Pipeline({'als': ImplicitALS(4, 1)}, scorer=None)):
        with pytest.raises(ValueError, match='above 0'): m.fit(bad)

def test_arguments(pipe, train):
    for k in (0, -1, 1.5):
        with pytest.raises(ValueError, match='at least one'): pipe.recommend('u1', k=k)
    with pytest.raises(KeyError, match='stranger'): pipe.recommend(['u1', 'stranger'])
    with pytest.raises(KeyError, match='stranger'): pipe.explain('stranger')
    with pytest.raises(ValueError, match='one user'): pipe.explain(['u1', 'u2'])
    with pytest.raises(ValueError, match='at least one user'): pipe.funnel([])
    with pytest.raises(RuntimeError, match='not fitted'): Pipeline({'p': Popular()}).recommend('u1')
    for kw in (dict(n_candidates=0), dict(n_rounds=0), dict(n_each=-1)):
        with pytest.raises(ValueError, match='at least one'): Pipeline({'p': Popular()}, **kw)
    with pytest.raises(ValueError, match='holdout'): Pipeline({'p': Popular()}, holdout=1)
    for b in (0, -5, {'als': 0}):
        with pytest.raises(ValueError, match='above 0'): Pipeline({'p': Popular()}, budget_ms=b)

@pytest.mark.parametrize('order,words', [([Pin([999])], 'pin: unknown item 999'), ([Promote([999])], 'promote: unknown item 999'), ([Pin({'stranger': [1]})], 'stranger')])
def test_unknown_pins(order, words, pipe, train):
    with pytest.raises(KeyError, match=words): pipe.change(train, order=order)

@pytest.mark.parametrize('f,words', [(unavailable([999]), '999'), (blocked({'u1': [999]}), '999'), (blocked({'stranger': [1]}), 'stranger'), (age_rated({999: 18}), '999')])
def test_unknown_ids_in_filters(f, words, pipe, train):
    with pytest.raises(KeyError, match=words): pipe.change(train, filters=[f])

def test_filters_without_what_they_need():
    bare = log(titles=False)
    for f, words in ((age_rated('age'), 'user_info'), (rule(lambda d: d.year > 0), 'item_info')):
        with pytest.raises(ValueError, match=words): Pipeline({'p': Popular()}, filters=[f], scorer=None).fit(bare)
    assert len(Pipeline({'p': Popular(), 'als': ImplicitALS(4, 2)}).fit(bare).recommend('u1')) == 10
    with pytest.raises(ValueError, match='a bool for each'): Pipeline({'p': Popular()}, filters=[lambda d: True], scorer=None).fit(log())

def test_a_rule_with_missing_values_drops(train):
    p = Pipeline({'p': Popular()}, filters=[lambda d: d.year.astype('Int64').mask(d.index < 40) > 0], scorer=None).fit(train)
    assert p.recommend(train.users.ids, k=80)['item'].min() >= 40

# --- filters always hold, lists are as long as they can be

FAILURES = {'raises': dict(gen=raises), 'hangs': dict(gen=hangs, budget_ms={'broken': 20}), 'nan': dict(gen=nan), 'nothing': dict(gen=nothing),
            'scorer raises': dict(scorer=Scores(lambda X: 1/0)), 'scorer nan': dict(scorer=Scores(lambda X: X[:, 0]*np.nan)), 'scorer shape': dict(scorer=Scores(lambda X: X)),
            'step raises': dict(order=[lambda df: df.nonsense])}

@pytest.mark.parametrize('how', FAILURES)
def test_every_failure_falls_back_and_keeps_the_filters(how, train):
    kw = dict(FAILURES[how])
    gen, scorer = kw.pop('gen', None), kw.pop('scorer', None)
    out, foes = [1, 2, 3, 10], {'u1': [20, 21, 22]}
    retrieve = {'broken': Does(gen)} if gen else {'popular': Popular()}
    p = Pipeline(retrieve, filters=[unavailable(out), blocked(foes), lambda d: d.year > 1952], scorer=None, **kw).fit(train)
    if scorer: p.scorer, p.is_scored = scorer, True
    users = train.users.ids[:6]
    for k in (1, 10, 200):
        recs = p.recommend(users, k=k)
        for u in users:
            eligible = set(train.items.ids) - set(train.df['item'][train.df.user == u]) - set(out) - set(foes.get(u, ())) - set(train.item_info.index[train.item_info.year <= 1952])
            got = recs['item'][recs.user == u].tolist()
            assert len(got) == len(set(got)) == min(k, len(eligible)) and set(got) <= eligible
    why = p.explain('u1', k=5)
    assert why.note[0] and (how.split()[0] in ('scorer', 'step') or (why.rule == 'fallback').all())
    if gen: assert p.recommend('u1', k=5)['item'].tolist() == popular_list(train, 'u1', 5, [*out, *foes['u1'], *train.item_info.index[train.item_info.year <= 1952]])

def test_filters_hold_against_pins_and_promotions(train):
    had = train.history('u1')['item'].iloc[0]
    p = Pipeline({'p': Popular()}, filters=[unavailable([7])], order=[Promote([7, had], .5), Pin([7, had])], scorer=None).fit(train)
    assert not set(p.recommend('u1', k=99)['item']) & {7, had}
    assert had in set(p.recommend('u1', k=99, exclude_seen=False)['item'])

def test_age_ratings_hold(train):
    least = {int(i): 18 for i in train.items.ids[:60]}
    p = Pipeline({'als': ImplicitALS(4, 2), 'p': Popular()}, filters=[age_rated(least)], order=[Pin([0])]).fit(train)
    recs = p.recommend(train.users.ids, k=80)
    young = recs[recs.user.map(train.user_info.age) < 18]
    assert len(young) and young['item'].min() >= 60
    assert (recs[recs.user.map(train.user_info.age) >= 18]['item'] < 60).any()

def test_all_candidates_filtered(train):
    p = Pipeline({'p': Popular()}, filters=[lambda d: d.index == 41], scorer=None).fit(train)
    for u in train.users.ids: assert p.recommend(u)['item'].tolist() == ([] if 41 in set(train.df['item'][train.df.user == u]) else [41])
    none = p.change(train, filters=[lambda d: d.index < 0])
    assert len(none.recommend(train.users.ids)) == 0 and len(none.explain('u1')) == 0

def test_an_empty_history(pipe, train):
    assert pipe.recommend('nobody', k=10)['item'].nunique() == 10
    why = pipe.explain('nobody')
    assert not why.generators.str.contains('als').any() and 'als: gave no candidates' in why.note[0]
    only = Pipeline({'als': ImplicitALS(4, 2)}, scorer=None).fit(train)
    assert only.recommend('nobody', k=5)['item'].tolist() == popular_list(train, 'nobody', 5)

def test_one_odd_user_spoils_nobody_elses_list(train):
    def picky(self, codes):
        if (codes == 3).any(): raise ValueError('an odd user')
        return np.tile(np.arange(len(self.items), dtype=np.float32), (len(codes), 1))
    p = Pipeline({'picky': Does(picky), 'popular': Popular()}, scorer=None).fit(train)
    users = train.users.ids[:8]
    whole = p.recommend(users, k=6)
    pd.testing.assert_frame_equal(whole, pd.concat([p.recommend(u, k=6) for u in users], ignore_index=True))
    assert 'odd user' in p.explain(users[2]).note[0] and p.explain(users[1]).note[0] == ''

# --- time

def test_a_hanging_generator_is_abandoned_once(train):
    p = Pipeline({'slow': Does(hangs), 'popular': Popular()}, scorer=None, budget_ms=100).fit(train)
    before, start = threading.active_count(), time.perf_counter()
    for u in train.users.ids[:10]: assert len(p.recommend(u, k=10)) == 10
    assert time.perf_counter() - start < 2 and threading.active_count() <= before + 1
    assert 'still busy' in p.explain('u1').note[0]

def test_a_slow_scorer_leaves_the_order_of_retrieval(train):
    p = Pipeline({'popular': Popular()}, scorer=None, budget_ms={'all': 500, 'scorer': 20}).fit(train)
    p.scorer, p.is_scored = Scores(lambda X: time.sleep(1)), True
    start = time.perf_counter()
    why = p.explain('u1')
    assert time.perf_counter() - start < .8 and 'scorer: took longer' in why.note[0] and why['item'].tolist() == popular_list(train, 'u1', 10)

def test_a_generous_budget_changes_nothing(pipe, train):
    users = train.users.ids[:20]
    pd.testing.assert_frame_equal(pipe.recommend(users), pipe.change(train, budget_ms=60_000).recommend(users))

# --- explain, funnel, rules

def test_explain_agrees_with_recommend(pipe, train):
    p = pipe.change(train, order=[Promote([30], .3), Diverse(.6), Cap(3), Pin([31], at=2)])
    for u in train.users.ids[:10]:
        why, recs = p.explain(u, k=15), p.recommend(u, k=15)
        assert why['item'].tolist() == recs['item'].tolist() and (why.note.str.contains('als') == (u == 'nobody')).all()
        if 31 in recs['item'].tolist(): assert recs['item'][1] == 31 and 'pinned' in why.rule[1] and 'pinned' in why.generators[1]
        for g, m in (('popular', Popular().fit(train)), ('als', pipe.retrieve['als'])):
            row = why[why.generators.str.contains(g)].iloc[0] if why.generators.str.contains(g).any() else None
            if row is not None: assert np.isclose(row[g], m.scores(train.users.encode(u))[0, train.items.encode(row['item'])[0]], rtol=1e-4)
    assert list(why.title) == [f'T{i}' for i in why['item']]

def test_lists_do_not_depend_on_k(pipe, train):
    p = pipe.change(train, order=[Fresh(.2), Diverse(.5), Cap(2)])
    long = p.recommend('u1', k=30)['item'].tolist()
    for k in (1, 5, 29): assert p.recommend('u1', k=k)['item'].tolist() == long[:k]

def test_change_leaves_the_first_as_it_was(pipe, train):
    before = pipe.recommend(train.users.ids)
    other = pipe.change(train, filters=[unavailable(before['item'].iloc[:5].tolist())], order=[Diverse(.1)])
    assert not set(before['item'].iloc[:5]) & set(other.recommend(train.users.ids)['item'])
    pd.testing.assert_frame_equal(before, pipe.recommend(train.users.ids))

def test_funnel_counts(pipe, train):
    import matplotlib; matplotlib.use('Agg')
    f = pipe.funnel(['u1', 'u2'], k=7)
    assert f.into['als'] == 80 and f.out['list'] == 7 and (f.out <= f.into).all() and (f.ms >= 0).all() and len(f.attrs['ms']) == 2
    assert list(f.index) == ['als', 'popular', 'new', 'merge', 'seen', 'unavailable', 'scorer', 'list']

def test_functions_as_stages(train):
    "A plain function as generator, filter, scorer and step"
    gen = lambda users, k: pd.DataFrame([(u, i, 100-i) for u in users for i in range(50, 60)], columns=['user', 'item', 'score'])
    p = Pipeline({'mine': gen}, filters=lambda d: d.index != 55, scorer=None, order=lambda df: df.iloc[::-1]).fit(train)
    had = set(train.history('u1')['item'])
    want = [i for i in range(59, 49, -1) if i != 55 and i not in had]
    assert p.recommend('u1', k=len(want))['item'].tolist() == want
    with pytest.raises(TypeError, match='code of your own'): p.save('unused')
    unknown = Pipeline({'mine': lambda users, k: pd.DataFrame(dict(user=users, item=12345, score=1.)), 'popular': Popular()}, scorer=None).fit(train)
    assert 'unknown item 12345' in unknown.explain('u1').note[0] and len(unknown.recommend('u1')) == 10

def test_other_scorers(train):
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.impute import SimpleImputer
    p = Pipeline({'als': ImplicitALS(4, 2), 'p': Popular()}, scorer=make_pipeline(SimpleImputer(keep_empty_features=True), LogisticRegression(max_iter=300)), n_candidates=30).fit(train)
    assert len(p.recommend('u1')) == 10 and p.explain('u1').note[0] == ''

# --- contract, files, memory

@pytest.mark.parametrize('make', [lambda: Pipeline({'ease': EASE(), 'popular': Popular()}, n_candidates=30), lambda: Pipeline({'als': Nearest(ImplicitALS(8, 5)), 'recent': SimilarToRecent(n_recent=30)}, scorer=None),
                                  lambda: SimilarToRecent(ImplicitALS(8), n_recent=30), lambda: Nearest(TwoTower(8, 40, bs=256))])
def test_contract(make): check_recommender(make)

def test_files(pipe, train, tmp_path):
    p = pipe.change(train, filters=[unavailable([1]), blocked({'u1': [2]}), age_rated({5: 30}), seen(train)], order=[Promote([8]), Fresh(), Diverse(.7), Cap(), Pin({'u1': [40]})])
    p.save(tmp_path/'p')
    again = Pipeline.load(tmp_path/'p')
    pd.testing.assert_frame_equal(p.recommend(train.users.ids), again.recommend(train.users.ids))
    pd.testing.assert_frame_equal(p.explain('u1'), again.explain('u1'))
    with pytest.raises(ValueError, match='loaded pipeline'): again.fit(train)
    with pytest.raises(FileNotFoundError): Pipeline.load(tmp_path/'nowhere')
    next((tmp_path/'p').glob('*.safetensors')).write_bytes(b'x')
    with pytest.raises(ValueError, match='damaged'): Pipeline.load(tmp_path/'p')

def test_memory_is_bounded(peak_growth):
    inter = World(n_users=12_000, n_items=20_000).sample(240_000)
    inter = Interactions.from_df(inter.df.assign(rating=1.), item_info=inter.item_info, user_info=inter.user_info)
    p = Pipeline({'als': Nearest(ImplicitALS(8, 2)), 'popular': Popular(), 'new': NewArrivals()}, scorer=None, n_candidates=100).fit(inter)
    p.recommend(inter.users.ids[:50])
    recs, grown = peak_growth(lambda: p.recommend(inter.users.ids))
    assert len(recs) == 120_000 and grown < 300*2**20, f'{grown/1e6:.0f} MB'           # without blocks of users: 1.2 GB

def test_better_than_its_retrieval_on_several_worlds():
    from recsys_course.evaluate import ranking_metrics
    lead = []
    for s in (1, 2, 3):
        inter = World(seed=s, n_users=500, n_items=600).sample(40_000)
        inter = Interactions.from_df(inter.df.assign(rating=1.), item_info=inter.item_info, user_info=inter.user_info)
        tr, te = inter.split('random', test=.25, seed=s)
        p = Pipeline({'als': ImplicitALS(32, reg=.03), 'popular': Popular(), 'recent': SimilarToRecent(), 'new': NewArrivals()}, n_candidates=150, n_each=80).fit(tr)
        f = lambda: ranking_metrics(p, te, k=10, metrics='ndcg', n_boot=0).value.item()
        funnel, p.is_scored = f(), False
        lead.append(funnel - f())
    assert min(lead) > 0 and np.mean(lead) > .005

# --- newcomers

def test_newcomers_get_lists(train):
    "By a history, by a profile, and several people at once; somebody with a history never gets it back"
    from recsys_course.bootstrap import ColdStart
    p = Pipeline({'als': ImplicitALS(8, 5), 'cold': ColdStart(ImplicitALS(8, 5)), 'recent': SimilarToRecent(), 'popular': Popular()}, filters=[unavailable([3])], n_candidates=40).fit(train)
    history = train.history('u5').set_index('item').rating.to_dict()
    for new in (User(history, id='Zoe'), p.fold_in(history), p.gens['als'].fold_in(history)):
        recs = p.recommend(new, k=10)
        assert len(recs) == 10 and not set(recs['item']) & {*history, 3} and recs['rank'].tolist() == list(range(1, 11))
        why = p.explain(new, k=10)
        assert why['item'].tolist() == recs['item'].tolist() and why.generators.str.contains('als|cold|recent').any()
    both = p.recommend(['u1', User(history, id='Zoe'), User(profile=dict(age=20), id='Max')], k=5, titles=True)
    assert both.user.unique().tolist() == ['u1', 'Zoe', 'Max'] and both.title.str.startswith('T').all()
    assert both['item'][both.user == 'u1'].tolist() == p.recommend('u1', k=5)['item'].tolist()
    assert both['item'][both.user == 'Zoe'].tolist() == p.recommend(User(history), k=5)['item'].tolist()
    with pytest.raises(KeyError, match='999'): p.recommend(User({999: 1.}))

def test_a_loaded_pipeline_answers_at_once(pipe, train, tmp_path):
    pipe.change(train, budget_ms=60_000).save(tmp_path/'p')
    again = Recommender.load(tmp_path/'p')
    history = train.history('u5').set_index('item').rating.to_dict()
    for who in ('u1', User(history, id='Zoe')): pd.testing.assert_frame_equal(again.recommend(who), pipe.recommend(who))
