"Bad input, budgets, fallbacks, filters that hold, memory, files, and an independent oracle for the whole funnel"
import threading, time, warnings

import numpy as np, pandas as pd, pytest

from recsys_course.data import Interactions
from recsys_course.implicit import EASE, ImplicitALS, to_implicit
from recsys_course.candidates import NewArrivals, arrival_times, merge_candidates
from recsys_course.check import check_recommender
from recsys_course.factorize import ALS
from recsys_course.pipeline import Misses, Pipeline, StageWarning, hold_out_pairs
from recsys_course.recommender import ItemKNN, Popular, Recommender, User
from recsys_course.rerank import (Cap, Diverse, FittedFilter, Fresh, ItemFilter, Moved, Pin, Promote, Step, age_rated, blocked, rule, seen,
                                  unavailable)
from recsys_course.retrieve import Nearest
from recsys_course.sequence import NextItem
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

@pytest.fixture
def stuck():
    "A function that waits until the test has ended, and counts its calls: what returns before did not wait for it"
    end, calls = threading.Event(), []
    def wait(*args):
        calls.append(1)
        assert end.wait(600)
    wait.calls = calls
    yield wait
    end.set()

def test_a_hanging_generator_is_abandoned_once(train, stuck):
    p = Pipeline({'slow': Does(stuck), 'popular': Popular()}, scorer=None, budget_ms={'slow': 50}).fit(train)
    before = threading.active_count()
    for u in train.users.ids[:10]: assert p.recommend(u, k=10)['item'].tolist() == popular_list(train, u, 10)
    assert len(stuck.calls) == 1 and threading.active_count() <= before + 1
    assert 'still busy' in p.explain('u1').note[0]

def test_a_slow_scorer_leaves_the_order_of_retrieval(train, stuck):
    p = Pipeline({'popular': Popular()}, scorer=None, budget_ms={'all': 600_000, 'scorer': 20}).fit(train)
    p.scorer, p.is_scored = Scores(stuck), True
    why = p.explain('u1')
    assert len(stuck.calls) == 1 and 'scorer: took longer' in why.note[0] and why['item'].tolist() == popular_list(train, 'u1', 10)

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

@pytest.mark.parametrize('make', [lambda: Pipeline({'ease': EASE(), 'popular': Popular()}, n_candidates=30), lambda: Pipeline({'als': Nearest(ImplicitALS(8, 5)), 'next': NextItem(decay=0.)}, scorer=None),
                                  lambda: Nearest(TwoTower(8, 40, bs=256))])
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
        p = Pipeline({'als': ImplicitALS(32, reg=.03), 'popular': Popular(), 'recent': NextItem(), 'new': NewArrivals()}, n_candidates=150, n_each=80).fit(tr)
        f = lambda: ranking_metrics(p, te, k=10, metrics='ndcg', n_boot=0).value.item()
        funnel, p.is_scored = f(), False
        lead.append(funnel - f())
    assert min(lead) > 0 and np.mean(lead) > .005

def test_a_scorer_that_has_rehearsed_does_without_its_best_generator():
    "With the best generator away, lists stay above those of Popular; without rehearsal they fall below the rehearsed ones"
    from recsys_course.evaluate import compare
    class Away:
        def __getattr__(self, name): raise RuntimeError('being rebuilt')
    inter = to_implicit(World(seed=1, n_users=500, n_items=600).sample(40_000))
    tr, te = inter.split('user_random', test=.25, seed=1)
    lists = {}
    for name, share in dict(rehearsed=.3, careless=0).items():
        p = Pipeline({'als': ImplicitALS(), 'popular': Popular()}, n_candidates=100, n_each=80)
        p.absent = share
        p.fit(tr)
        p.gens = {**p.gens, 'als': Away()}
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            lists[name] = p.recommend(te.df.user.unique(), k=10)
    value = compare({**lists, 'popular': Popular()}, tr, te, k=10, metrics=('ndcg',), n_boot=0).value['ndcg']
    assert value['rehearsed'] > value['popular'] and value['rehearsed'] > value['careless'] + .02

# --- newcomers

def test_newcomers_get_lists(train):
    "By a history, by a profile, and several people at once; somebody with a history never gets it back"
    from recsys_course.bootstrap import ColdStart
    p = Pipeline({'als': ImplicitALS(8, 5), 'cold': ColdStart(ImplicitALS(8, 5)), 'recent': NextItem(), 'popular': Popular()}, filters=[unavailable([3])], n_candidates=40).fit(train)
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

# --- failures are told: once each, at a bounded rate, and in the answer

def told(f):
    "What a call gives, and the words of its warnings about stages"
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter('always')
        res = f()
    return res, [str(w.message) for w in found if issubclass(w.category, StageWarning)]

def inf(self, codes): return np.full((len(codes), len(self.items)), np.inf, np.float32)
def one_nan(self, codes): s = np.ones((len(codes), len(self.items)), np.float32); s[:, 7] = np.nan; return s

@pytest.mark.parametrize('gen,word', [(raises, 'broken'), (nan, 'nan'), (one_nan, 'nan'), (inf, 'inf')])
def test_a_failing_generator_is_told_once(gen, word, train, caplog):
    p = Pipeline({'bad': Does(gen), 'popular': Popular()}, scorer=None).fit(train)
    users = train.users.ids[:20].tolist()
    with caplog.at_level('WARNING', logger='recsys_course.pipeline'):
        recs, words = told(lambda: [p.recommend(u) for u in users for _ in range(3)] and p.recommend(users))
    assert len(words) == 1 and "'bad'" in words[0] and word in words[0].lower() and 'no candidates' not in words[0]
    assert len([r for r in caplog.records if r.name == 'recsys_course.pipeline']) == 1
    assert word in recs.attrs['notes']['bad'].lower() and recs.groupby('user').size().eq(10).all()
    assert recs['item'].tolist() == Popular().fit(train).recommend(users)['item'].tolist()
    assert sum(p.misses.counts.values()) >= 60

def test_a_good_day_has_no_notes(pipe, train):
    recs, words = told(lambda: pipe.recommend(['u1', 'u2'], titles=True))
    assert words == [] and recs.attrs['notes'] == {} and list(recs) == ['user', 'item', 'title', 'score', 'rank']

def test_failures_while_fitting_are_told(train):
    _, words = told(lambda: Pipeline({'bad': Does(raises), 'popular': Popular()}, n_candidates=30, n_rounds=2).fit(train))
    assert len(words) == 1 and 'broken' in words[0]

def test_misses_are_counted_and_said_at_a_bounded_rate(caplog):
    m = Misses()
    with caplog.at_level('WARNING', logger='recsys_course.pipeline'):
        _, words = told(lambda: [m.tell('als', kind, 'gone') for kind in ('late', 'OSError') for _ in range(5000)])
        assert len(words) == 2 and len(caplog.records) == 2
        m.said = {key: t - 61 for key, t in m.said.items()}                         # a minute later
        _, words = told(lambda: [m.tell('als', 'late', 'gone') for _ in range(50)])
    assert words == [] and len(caplog.records) == 3 and '5001 so far' in caplog.records[-1].getMessage()
    assert m.counts == {('als', 'late'): 5050, ('als', 'OSError'): 5000}

def test_threads_lose_no_miss():
    m = Misses()
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        crowd = [threading.Thread(target=lambda: [m.tell('a', 'b', 'c') for _ in range(500)]) for _ in range(8)]
        for t in crowd: t.start()
        for t in crowd: t.join()
    assert m.counts == {('a', 'b'): 4000}

@pytest.mark.parametrize('scorer,word', [(lambda X: X[:, 0]*np.nan, 'NaN'), (lambda X: X[:, 0]*0 + np.inf, 'infinite'), (lambda X: 1/0, 'ZeroDivisionError'), (lambda X: ['a']*len(X), 'ValueError')])
def test_a_failing_scorer_is_told(scorer, word, train):
    p = Pipeline({'popular': Popular()}, scorer=None).fit(train)
    p.scorer, p.is_scored = Scores(scorer), True
    recs, words = told(lambda: [p.recommend('u1') for _ in range(5)][-1])
    assert len(words) == 1 and word in words[0] and 'scorer' in recs.attrs['notes'] and recs['item'].tolist() == popular_list(train, 'u1', 10)

class Odd(Step):
    "A step that does as told"
    name = 'odd'
    def __init__(self, f): self.f = f
    def apply(self, page): return self.f(page)

STEPS = {'floats': lambda p: Moved(np.argsort(-p.score, 1, kind='stable').astype(float)), 'twice': lambda p: Moved(np.zeros(p.items.shape, int)), 'short': lambda p: Moved(np.arange(3)[None]),
         'nan': lambda p: Moved(np.tile(np.arange(p.items.shape[1]), (len(p.items), 1)), p.score*np.nan), 'inf': lambda p: Moved(np.tile(np.arange(p.items.shape[1]), (len(p.items), 1)), np.full(p.score.shape, np.inf)),
         'flat': lambda p: Moved(np.tile(np.arange(p.items.shape[1]), (len(p.items), 1)), np.zeros(3)), 'nothing': lambda p: None, 'marks': lambda p: Moved(np.tile(np.arange(p.items.shape[1]), (len(p.items), 1)), marked=np.zeros(2, bool))}

@pytest.mark.parametrize('how', STEPS)
def test_a_step_that_gives_no_order_is_told_and_left_out(how, train):
    p = Pipeline({'popular': Popular()}, scorer=None, order=[Odd(STEPS[how])]).fit(train)
    recs, words = told(lambda: p.recommend(['u1', 'u2']))
    assert len(words) == 1 and "'odd'" in words[0] and recs['item'].tolist() == [*popular_list(train, 'u1', 10), *popular_list(train, 'u2', 10)]

class Wants(Step):
    "A step that wants items in the race"
    name = label = 'wants'
    def __init__(self, f): self.f = f
    def extra(self, query): return self.f(query)
    def apply(self, page): return Moved(np.tile(np.arange(page.items.shape[1]), (len(page.items), 1)))

@pytest.mark.parametrize('f,word', [(lambda q: 1/0, 'ZeroDivisionError'), (lambda q: None, 'TypeError'), (lambda q: [[1]], '1 lists for 2 people'), (lambda q: [[10**6]]*2, 'no codes from 1'), (lambda q: [[0], []], 'no codes from 1'), (lambda q: [['a'], []], 'ValueError')])
def test_a_step_that_wants_what_is_none_is_told_and_left_out(f, word, train):
    p = Pipeline({'popular': Popular()}, scorer=None, order=[Wants(f)]).fit(train)
    recs, words = told(lambda: p.recommend(['u1', 'u2']))
    assert recs['item'].tolist() == [*popular_list(train, 'u1', 10), *popular_list(train, 'u2', 10)]
    assert len(words) == 1 and word in words[0]
    assert word == '1 lists for 2 people' or 'wants' in recs.attrs['notes']      # of one person that is the right number, so alone each gets it

@pytest.mark.parametrize('error', [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize('budget', [None, 5000])
def test_somebody_who_stops_the_program_stops_it(error, budget, train):
    def stops(self, codes): raise error
    p = Pipeline({'bad': Does(stops), 'popular': Popular()}, scorer=None, budget_ms=budget).fit(train)
    with pytest.raises(error): p.recommend('u1')

# --- functions as generators

def listing(rows): return lambda users, k: pd.DataFrame(rows, columns=['user', 'item', 'score'])

def test_rows_of_other_people_are_ignored_and_told_once(train):
    every = [(u, i, 100. - n) for k, u in enumerate(train.users.ids) for n, i in enumerate(range(k % 40, k % 40 + 30))]
    p = Pipeline({'mine': listing([*every, ('stranger', 5, 1e3)])}, scorer=None).fit(train)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter('always')
        for u in train.users.ids[:12]:
            had = set(train.df['item'][train.df.user == u])
            want = [i for v, i, _ in every if v == u and i not in had]
            assert p.recommend(u, k=len(want))['item'].tolist() == want
    assert len(found) == 1 and 'not asked about' in str(found[0].message)

@pytest.mark.parametrize('make,word', [(lambda u, k: [1, 2], 'list'), (lambda u, k: pd.DataFrame(dict(user=u)), 'columns user, item'), (lambda u, k: pd.DataFrame(dict(user=u, item=1, score=np.nan)), 'NaN'),
                                       (lambda u, k: pd.DataFrame(dict(user=u, item=1, score=np.inf)), 'infinite'), (lambda u, k: pd.DataFrame(dict(user=u, item=1, score='high')), "'high'"), (lambda u, k: pd.DataFrame(dict(user=u, item=1, score=1e300)), 'infinite'),
                                       (lambda u, k: pd.DataFrame(dict(user=u, item=-9, score=1.)), '-9'), (lambda u, k: pd.DataFrame(dict(user=u, item=None, score=1.)), 'missing')])
def test_what_a_function_gives_is_looked_at(make, word, train):
    p = Pipeline({'mine': make, 'popular': Popular()}, scorer=None).fit(train)
    recs, words = told(lambda: p.recommend('u1'))
    assert word in recs.attrs['notes']['mine'] and len(words) == 1 and recs['item'].tolist() == popular_list(train, 'u1', 10)

def test_functions_may_give_ranks_order_or_repeats(train):
    had = set(train.history('u1')['item'])
    new = [i for i in range(80) if i not in had][:6]
    frame = lambda **kw: pd.DataFrame(dict(user='u1', item=new) | kw)
    for df, want in ((frame(), new), (frame(rank=range(6, 0, -1)), new[::-1]), (frame(score=[1, 2, 3, 4, 5, 6]), new[::-1]), (frame(score=pd.array([6, 5, 4, 3, 2, 1], dtype='Int64')), new), (frame(score=list('654321')), new),
                     (pd.concat([frame(score=range(6)), frame(score=-1.)]), new[::-1])):
        assert Pipeline({'mine': lambda users, k: df}, scorer=None).fit(train).recommend('u1', k=6)['item'].tolist() == want
    for nothing in (None, frame().iloc[:0]): assert Pipeline({'mine': lambda users, k: nothing}, scorer=None).fit(train).recommend('u1')['item'].tolist() == popular_list(train, 'u1', 10)

# --- a list does not depend on who else asks

@pytest.fixture(scope='module')
def narrow(train): return Pipeline({'als': ImplicitALS(4, 2), 'new': NewArrivals(.1), 'recent': NextItem(how='counts', window=2, n_neighbours=5), 'popular': Popular()}, n_candidates=20, n_each=6, n_rounds=1).fit(train)

@pytest.mark.parametrize('seed', range(12))
def test_alone_as_together_whatever_is_filtered(seed, train, narrow):
    rng = np.random.default_rng(seed)
    keep = lambda d: pd.Series(rng.random(len(d)) < rng.choice([.03, .1, .3]), d.index)
    foes = {u: rng.choice(80, 60, replace=False).tolist() for u in rng.choice(train.df.user.unique(), 15)}
    filters = [[keep], [blocked(foes)], [keep, blocked(foes)], [age_rated({int(i): 30 for i in rng.choice(80, 60, replace=False)})]][seed % 4]
    p = narrow.change(train, filters=filters, order=[[], [Diverse(.5), Cap(1)]][seed % 2])
    users = [*train.users.ids[seed::2], User({1: 1., 2: 1.}, id='new'), User({5: 1.}, id='u3')]
    together, alone = p.recommend(users, k=9), pd.concat([p.recommend(u, k=9) for u in users], ignore_index=True)
    assert together.user.tolist() == alone.user.tolist() and together['item'].tolist() == alone['item'].tolist()

# --- repeated events, scales, and trains that are hardly there

def ratings(values, seed=0):
    rng = np.random.default_rng(seed)
    base = log(40, 50, 700, seed)
    return base.df.assign(rating=rng.choice(values, 700))

def test_repeated_events_change_no_list(train):
    df = ratings([1., 2, 3, 4, 5])
    twice = pd.concat([df, df.iloc[::2], df], ignore_index=True)
    make = lambda: Pipeline({'new': NewArrivals(.2), 'fresh': lambda u, k: None}, n_candidates=30, n_rounds=2, scorer=Scores(lambda X: X[:, -1]))
    a, b = (make().fit(Interactions.from_df(d, duplicates='keep')).recommend(df.user.unique(), k=8) for d in (df, twice))
    pd.testing.assert_frame_equal(a, b)
    busy = df[df['item'] == df['item'].iloc[0]]
    much = pd.concat([df, *[busy.head(1)]*50], ignore_index=True)                     # one person, one item, fifty times
    for m in (NewArrivals(.5),):
        x, y = (m.fit(Interactions.from_df(d, duplicates='keep')).recommend(df.user.unique(), k=8) for d in (df, much))
        pd.testing.assert_frame_equal(x, y)

def test_all_events_of_a_pair_are_held_out_together():
    df = ratings([1.])
    inter = Interactions.from_df(pd.concat([df, df, df.head(50)], ignore_index=True), duplicates='keep')
    part, held = hold_out_pairs(inter, .25, 3)
    pairs = lambda d: set(zip(d.df.user, d.df['item']))
    assert not pairs(part) & pairs(held) and len(part) + len(held) == len(inter)
    assert pairs(held) == pairs(Interactions.from_df(df).split('user_random', .25, 3)[1])

def test_labels_do_not_depend_on_the_unit_of_the_scale():
    df = ratings([1., 2, 3, 4, 5])
    want = None
    for low, unit in ((0, 1), (-1, 1), (-3, 1), (-1, .25)):                          # 1..5, 0..4, -2..2, 0..1
        inter = Interactions.from_df(df.assign(rating=(df.rating + low)*unit))
        p = Pipeline({'p': Popular()}, n_candidates=30, n_rounds=1, scorer=Scores(lambda X: X[:, 0])).fit(inter)
        _, y, w, _ = p.examples(inter)
        p.now = p.now*0; p.now.eliminate_zeros()                                      # nobody has met anything: all that is held is found
        _, y, w, _ = p.examples(inter)
        assert y.any() and (w >= 0).all()
        if want is None: want = y, w
        assert (y == want[0]).all() and np.allclose(w, want[1], atol=1e-5)

@pytest.mark.parametrize('pick', [lambda d: d.head(1), lambda d: d.head(2), lambda d: d.head(6), lambda d: d.drop_duplicates('user'), lambda d: d[d['item'] == 3], lambda d: d[d.user == 'u1']])
def test_small_trains(pick, train):
    inter = Interactions.from_df(pick(train.df).reset_index(drop=True))
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter('always')
        p = Pipeline({'als': ImplicitALS(2, 1), 'p': Popular(), 'new': NewArrivals(), 'recent': NextItem()}, n_candidates=10, n_rounds=2, order=[Diverse()]).fit(inter)
    n = min(10, len(inter.items) - 1)
    u = inter.users.ids[0]
    assert len(p.recommend(u, exclude_seen=False)) == n
    if not p.is_scored: assert any('nothing to learn from' in str(w.message) for w in found) and not any('test part is empty' in str(w.message) for w in found)

def test_an_empty_train_is_refused(train):
    with pytest.raises(ValueError, match='no events'): Pipeline({'p': Popular()}).fit(train.take(np.zeros(len(train), bool)))

COLUMNS = {'lists': lambda n: [['a', 'b']]*n, 'sets': lambda n: [{'a'}]*n, 'arrays': lambda n: [np.ones(2)]*n, 'dicts': lambda n: [{'a': 1}]*n, 'missing': lambda n: np.nan, 'none': lambda n: None, 'NA': lambda n: pd.NA, 'inf': lambda n: np.inf,
           'dates': lambda n: pd.Timestamp('2020'), 'mixed': lambda n: [1, 'a']*(n//2) + [1]*(n % 2), 'bools': lambda n: True, 'complex': lambda n: 1j, 'empty': lambda n: '', 'Int64': lambda n: pd.array([1, None]*(n//2) + [1]*(n % 2), dtype='Int64')}

@pytest.mark.parametrize('name', COLUMNS)
def test_columns_of_any_kind(name, train, tmp_path):
    items, people = (t.assign(extra=COLUMNS[name](len(t))) for t in (train.item_info, train.user_info))
    items.loc[items.index[3], 'title'] = None
    inter = Interactions.from_df(train.df, item_info=items.drop(index=5), user_info=people)
    p = Pipeline({'p': Popular(), 'new': NewArrivals()}, n_candidates=20, n_rounds=1, scorer=Scores(lambda X: -X[:, -1])).fit(inter)
    p.scorer, p.is_scored = None, False
    p.save(tmp_path/'p')
    pd.testing.assert_frame_equal(Pipeline.load(tmp_path/'p').recommend('u1', titles=True), p.recommend('u1', titles=True))

def test_words_are_bounded_before_they_are_built(peak_growth):
    n = 6000
    info = pd.DataFrame(dict(title=[f'Film {k}' for k in range(n)], genres=[f'g{k}|h{k % 7}' for k in range(n)]), pd.RangeIndex(n, name='item'))
    info.loc[3, 'title'] = 'A|B'
    df = pd.DataFrame(dict(user=np.arange(2*n) % 300, item=np.arange(2*n) % n, rating=1., timestamp=np.arange(2*n))).drop_duplicates(['user', 'item'])
    inter = Interactions.from_df(df, item_info=info)
    make = lambda: Pipeline({'p': Popular()}, scorer=None, n_candidates=30, order=[Diverse(), Cap(2), Cap(1, column='title')]).fit(inter)
    recs, grown = peak_growth(lambda: make().recommend(inter.users.ids[:50]))
    assert len(recs) == 500 and grown < 120*2**20, f'{grown/1e6:.0f} MB'                # items x words: 144 MB for each of three

# --- settings

BAD = [('n_candidates', v, 'n_candidates') for v in ('5', None, True, np.nan, 0, -1, 1.5, np.inf)] + [('n_each', v, 'n_each') for v in (0, 'a', 1.5, True)] + [('n_rounds', v, 'n_rounds') for v in (None, 0, 'a')] + \
      [('holdout', v, 'holdout') for v in ('a', None, np.nan, 0, 1, -1, True)] + [('max_rows', v, 'max_rows') for v in (0, None, 'a', True, 2.5)] + [('seed', v, 'seed') for v in (-1, 'a', None, 1.5, True, 2**40)] + \
      [('budget_ms', v, 'budget_ms') for v in ('x', 0, np.nan, np.inf, True, {'nosuch': 5}, {'p': '5'}, {'p': None}, {'all': -1})] + [('weights', v, 'weight') for v in ([1], 3, {'p': '2'}, {'p': None}, {'p': True}, {'p': np.inf}, {'q': 1}, {1: 1})] + \
      [('scorer', v, 'scorer') for v in ('tree', 3, Scores, lambda X: X)] + [('filters', v, 'filters') for v in ('seen', 3, [3], Diverse())] + [('order', v, 'order') for v in ('mmr', 3, Cap, [Cap])]

@pytest.mark.parametrize('name,value,word', BAD, ids=[f'{n}={getattr(v, "__name__", v)}'[:40] for n, v, _ in BAD])
def test_settings_are_checked_before_anything_is_fitted(name, value, word):
    with pytest.raises((ValueError, TypeError), match=word) as e: Pipeline({'p': Popular()}, **{name: value})
    assert '\n' not in str(e.value) and type(e.value) in (ValueError, TypeError)

@pytest.mark.parametrize('name', [1, '', None, 'scorer', 'merge', 'seen', 'all', 'rank', 'item', 'note'])
def test_names_that_are_taken(name):
    with pytest.raises(ValueError, match='another name'): Pipeline({name: Popular()})

def test_classes_are_no_stages():
    with pytest.raises(TypeError, match='Popular'): Pipeline({'p': Popular})

def test_none_is_no_filter_and_no_step(train):
    assert Pipeline({'p': Popular()}, scorer=None, filters=None, order=None).fit(train).recommend('u1')['item'].tolist() == popular_list(train, 'u1', 10)

def test_what_was_made_for_other_data_is_refused(pipe, train):
    other = log(n_items=50)
    foreign = [ItemFilter('mine', np.ones(50, bool)), unavailable([1]).make(other), blocked({'u1': [2]}).make(log(n_users=30))]
    for f in foreign:
        with pytest.raises(ValueError, match='81 item codes|62 user codes'): Pipeline({'p': Popular()}, scorer=None, filters=f).fit(train)
        with pytest.raises(ValueError, match='81 item codes|62 user codes'): pipe.change(train, filters=[f])
    with pytest.raises(ValueError, match='other users or items'): pipe.change(other, filters=[unavailable([1])])
    with pytest.raises(TypeError, match='DataFrame'): pipe.change(train.df)
    with pytest.raises(ValueError, match='budget_ms'): pipe.change(train, budget_ms={'nosuch': 3})
    with pytest.raises(RuntimeError, match='not fitted'): Pipeline({'p': Popular()}).change(train)

def test_a_filter_that_answers_with_anything_else(train):
    class Numbers(FittedFilter):
        def allowed(self, query, items): return items % 3
    with pytest.raises(TypeError, match='must give a bool'): Pipeline({'p': Popular()}, scorer=None, filters=Numbers()).fit(train).recommend('u1')

def test_two_pins_are_both_in_the_race(train):
    last = popular_list(train, 'u1', 80)[-2:]
    p = Pipeline({'p': Popular()}, scorer=None, n_candidates=10, order=[Pin(last[:1], at=1), Pin(last[1:], at=4)]).fit(train)
    recs = p.recommend('u1')['item'].tolist()
    assert recs[0] == last[0] and recs[3] == last[1]
    assert p.explain('u1').generators.str.contains('pinned').sum() == 2

def test_scorers_get_weights_by_name():
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.impute import SimpleImputer
    inter = Interactions.from_df(ratings([1., 5.]))
    with pytest.warns(UserWarning, match='takes no weights'):
        p = Pipeline({'p': Popular(), 'new': NewArrivals()}, n_candidates=30, n_rounds=1, scorer=make_pipeline(SimpleImputer(keep_empty_features=True), LogisticRegression(max_iter=300))).fit(inter)
    assert len(p.recommend('u1')) == 10
    class Weighed(Scores):
        def fit(self, X, y, sample_weight=None): self.got = sample_weight
    w = Weighed(lambda X: X[:, 0])
    Pipeline({'p': Popular(), 'new': NewArrivals()}, n_candidates=30, n_rounds=1, scorer=w).fit(inter)
    assert np.ptp(w.got) > 0

# --- one way to ask

def test_excluded_items_and_unknown_people(pipe, train):
    out, users = [0, 1, 2, 30, 31], ['u1', 'stranger', 'u2', User({1: 1.}, id='new')]
    recs = pipe.recommend(users, k=60, exclude=out, on_unknown='skip')
    assert recs.user.unique().tolist() == ['u1', 'u2', 'new'] and not set(recs['item']) & {*out, 3, 4}
    for u in ('u1', 'u2'): assert set(recs['item'][recs.user == u]) == set(range(80)) - {*out, 3, 4} - set(train.history(u)['item'])
    some = pipe.recommend('u1', k=60, items=range(20, 40), exclude=out)
    assert set(some['item']) == set(range(20, 40)) - {30, 31} - set(train.history('u1')['item'])
    assert len(pipe.recommend(['stranger'], on_unknown='skip')) == 0
    with pytest.raises(ValueError, match='on_unknown'): pipe.recommend('u1', on_unknown='drop')
    with pytest.raises(KeyError, match='999'): pipe.recommend('u1', exclude=[999])
    with pytest.raises(TypeError, match='Nearest'): pipe.recommend('u1', index=object())

class Hourly(Popular):
    "A generator that puts the item with the code of the hour first"
    uses_context = personal = True
    def fold_in(self, history): return User(vector=np.zeros(1), seen=self.encode_history(history)[0])
    def vector_scores(self, vectors): return np.tile(self.item_scores, (len(vectors), 1))
    def query_scores(self, query):
        s = np.tile(self.item_scores, (len(query), 1))
        if query.context: s[:, query.context['hour']] = s.max() + 1
        return s

def test_the_moment_reaches_the_generators(train, pipe):
    p = Pipeline({'now': Hourly(), 'als': ImplicitALS(8, 2)}, scorer=None, weights={'now': 1, 'als': .01}).fit(train)
    who = ['u1', User({5: 1.}, id='new')]
    for hour in (8, 20):
        recs = p.recommend(who, k=1, exclude_seen=False, context={'hour': hour})
        assert recs['item'].tolist() == [train.items.ids[hour - 1]]*2
        assert recs['item'].tolist() != p.recommend(who, k=1, exclude_seen=False)['item'].tolist()
    assert p.uses_context and not pipe.uses_context
    with pytest.raises(ValueError, match='Pipeline looks at no moment'): pipe.recommend('u1', context={'hour': 8})

def test_because_is_answered_by_a_stage_that_can():
    inter = Interactions.from_df(ratings([1.]))
    knn = ItemKNN(k=20)
    p = Pipeline({'als': Does(nothing), 'recent': NextItem(), 'knn': knn}, scorer=None, weights={'knn': 3}).fit(inter)
    for who in ('u1', User({1: 1., 2: 1., 3: 1.})):
        for item in p.recommend(who, k=5)['item']:
            want = knn.because(who, item)
            if len(want): pd.testing.assert_frame_equal(p.because(who, item), want)
            else: assert len(p.because(who, item)) <= 3
    with pytest.raises(NotImplementedError, match='explain'): Pipeline({'p': Popular()}, scorer=None).fit(inter).because('u1', 5)
    with pytest.raises(KeyError): p.because('u1', 999)

def test_because_of_recent_items_adds_up_to_the_score():
    inter = Interactions.from_df(ratings([1., 3., 5.]))
    m = NextItem(how='counts', window=4).fit(inter)
    for who in (*inter.users.ids[:8], User({3: 1., 7: 5., 9: 2.})):
        recs = m.recommend(who, k=3)
        for item, score in zip(recs['item'], recs.score): assert np.isclose(m.because(who, item, n=9).iloc[:, 1].sum(), score, rtol=1e-4)

def test_histories_are_checked_where_ratings_are_predicted():
    inter = Interactions.from_df(ratings([1., 2, 3, 4, 5]))
    stars = Pipeline({'als': ALS(n_factors=2, n_epochs=2), 'p': Popular()}, scorer=None).fit(inter)
    with pytest.raises(ValueError, match='off the scale'): stars.recommend(User({3: 50.}))
    with pytest.raises(ValueError, match='without a rating'): stars.recommend(User([3, 4]))
    assert len(stars.recommend(User({3: 5.}))) == 10
    clicks = Pipeline({'als': ImplicitALS(2, 2), 'recent': NextItem(), 'p': Popular()}, scorer=None).fit(inter)
    assert told(lambda: clicks.recommend(User({3: 50.})))[1] == [] and len(clicks.recommend(User([3, 4]))) == 10

def test_explain_and_funnel_take_what_recommend_takes(pipe, train):
    new = User({1: 1.}, id='new')
    for who in ('u1', ['u1'], pd.DataFrame(dict(user=['u1'])), train.users.ids[3:4], new, [new]): assert pipe.explain(who)['item'].tolist() == pipe.recommend(who)['item'].tolist()
    import matplotlib; matplotlib.use('Agg')
    assert pipe.funnel(new).out['list'] == 10

# --- candidates

@pytest.mark.parametrize('rank,word', [([0, 1, 2], 'count from 1'), ([-1, 1, 2], 'count from 1'), ([1.5, 2, 3], 'whole numbers'), ([np.nan, 1, 2], 'count from 1'), ([np.inf, 1, 2], 'count from 1'), (['a', 1, 2], 'count from 1')])
def test_merged_ranks_are_places(rank, word):
    with pytest.raises(ValueError, match=word): merge_candidates({'g': pd.DataFrame(dict(user='a', item=[1, 2, 3], rank=rank))})

def test_what_can_be_merged():
    d = pd.DataFrame(dict(user='a', item=[1, 2, 3], rank=[1, 2, 3]))
    want = merge_candidates({'g': d, 'h': d.iloc[::-1]})
    for same in (d.astype(dict(rank=float)), d.assign(rank=list('123')), d.assign(rank=pd.array([1, 2, 3], dtype='Int64')), d.set_axis([9, 9, 9]), d.assign(score=1)): pd.testing.assert_frame_equal(merge_candidates({'g': same, 'h': d}), want)
    assert len(merge_candidates({'g': d.iloc[:0]})) == 0 and len(merge_candidates({'g': d, 'h': d.iloc[:0]})) == 3
    for lists, word in (({}, 'at least one'), (None, 'at least one'), ([d], 'at least one'), ({'g': [1, 2]}, 'not a list'), ({'g': d.drop(columns='rank')}, 'rank'), ({'g': d.assign(item=[None, 2, 3])}, 'no item'), ({'g': d.assign(user=np.nan)}, 'no user')):
        with pytest.raises((ValueError, TypeError), match=word): merge_candidates(lists)
    for n in (0, -1, 1.5, 'a', True):
        with pytest.raises(ValueError, match='at least one'): merge_candidates({'g': d}, n=n)

@pytest.mark.parametrize('unit', [1, .01, 1e-4])
def test_arrivals_of_times_with_fractions(unit):
    df = pd.DataFrame(dict(user=[1, 2, 3, 4, 1], item=[10, 11, 12, 13, 13], rating=1., timestamp=np.array([0, 1, 2, 4, 3.])*unit + .5*unit))
    assert np.allclose(arrival_times(Interactions.from_df(df)), [0, 0, .25, .5, .75])
    assert np.allclose(arrival_times(Interactions.from_df(df.assign(timestamp=pd.to_datetime(df.timestamp*1e12)))), [0, 0, .25, .5, .75])

@pytest.mark.parametrize('make,word', [(lambda: NewArrivals('a'), 'share'), (lambda: NewArrivals(None), 'share'), (lambda: NewArrivals(True), 'share'), (lambda: NewArrivals(np.nan), 'share'), (lambda: NewArrivals(1.5), 'share')])
def test_settings_of_generators(make, word):
    with pytest.raises((ValueError, TypeError), match=word): make()

# --- files

def test_a_save_that_is_refused_leaves_the_old_model(pipe, train, tmp_path):
    pipe.save(tmp_path/'p')
    def mine(df): return df
    for bad in (pipe.change(train, order=[Diverse(), mine]), pipe.change(train, filters=[unavailable([1]), Even()])):
        with pytest.raises(TypeError): bad.save(tmp_path/'p')
        pd.testing.assert_frame_equal(Pipeline.load(tmp_path/'p').recommend('u1'), pipe.recommend('u1'))

class Even(FittedFilter):
    "Holds a lock, which cannot be saved"
    def __init__(self): self.lock = threading.Lock()
    def allowed(self, query, items): return items % 2 == 0

def test_a_pipeline_can_be_copied_and_pickled(pipe, train):
    import copy, pickle
    plain = Pipeline({'p': Popular(), 'new': NewArrivals()}, scorer=None).fit(train)
    for a, b in ((copy.deepcopy(pipe), pipe), (pickle.loads(pickle.dumps(plain)), plain)): pd.testing.assert_frame_equal(a.recommend('u1'), b.recommend('u1'))
