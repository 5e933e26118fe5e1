"Filters that hold, orders against loops, bad input, files, memory, and people who are new"
import numpy as np, pandas as pd, pytest, scipy.sparse as sp
from hypothesis import given, settings, strategies as st

from recsys_course.core import Saveable, unit_rows
from recsys_course.data import Interactions
from recsys_course.implicit import ImplicitALS
from recsys_course.recommender import Popular, Query, User
from recsys_course.rerank import (Cap, Diverse, FittedFilter, Fresh, FunctionStep, LevelFilter, Moved, Page, PairFilter, Pin, Promote,
                                  Step, age_rated, as_filters, as_steps, blocked, check_fits, check_order, cooccurrence_vectors, item_flags, item_words,
                                  known_codes, mmr, rule, seen, stretch, unavailable)

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
def als(train): return ImplicitALS(8, 5).fit(train)

def page_of(model, who, n=40):
    "The model's n best items as a page"
    query = model.query(who)
    items, scores = model.candidates(query, n, query.seen)
    return Page(query, items, stretch(scores, items >= 0))

@pytest.fixture(scope='module')
def page(train, als): return page_of(als, [*train.users.ids[train.users.ids != 'nobody'][:12]])

def order_of(step, page, train):
    "Item codes in the new order"
    return page.reordered(step.prepare(train).apply(page)).items

# --- filters

def meanings(train):
    "Every filter, and what it means for a raw user and item"
    had = set(zip(train.df.user, train.df['item']))
    age, year = train.user_info.age, train.item_info.year
    least = {int(i): 10 + int(i) for i in train.items.ids[:40]}
    foes = {'u1': [20, 21, 22], 'u2': [3]}
    shop = Interactions.from_df(pd.DataFrame(dict(user=['u1', 'u2', 'stranger'], item=[5, 999, 5], rating=1.)))
    return [(seen(), lambda u, i: (u, i) not in had), (seen(shop), lambda u, i: (u, i) != ('u1', 5)), (unavailable([1, 2, 3]), lambda u, i: i not in (1, 2, 3)),
            (blocked(foes), lambda u, i: i not in foes.get(u, ())), (age_rated(least), lambda u, i: age[u] >= least.get(i, 0)), (rule(lambda d: d.year > 1960), lambda u, i: year[i] > 1960)]

@pytest.mark.parametrize('k', range(6))
def test_a_filter_allows_what_it_means_and_strikes_the_rest(k, train, als):
    f, meant = meanings(train)[k]
    query = als.query(train.users.ids)
    want = np.array([[bool(meant(u, i)) for i in train.items.ids] for u in train.users.ids])
    made = f.make(train)
    every = np.tile(np.arange(1, len(train.items)), (len(query), 1))
    assert (made.allowed(query, every) == want).all() and not want.all()
    scores = np.random.default_rng(0).normal(size=(len(query), len(train.items))).astype(np.float32)
    before = scores.copy()
    assert made.strike(scores, query) is scores and scores.dtype == np.float32
    assert (np.isneginf(scores[:, 1:]) == ~want).all() and (scores[:, 1:][want] == before[:, 1:][want]).all()

@pytest.mark.parametrize('k', range(6))
def test_filters_take_gaps_and_no_people(k, train, als):
    made = meanings(train)[k][0].make(train)
    query = als.query(['u1', 'u2'])
    assert made.allowed(query, np.full((2, 3), -1)).shape == (2, 3)
    none = als.query([])
    assert made.allowed(none, np.zeros((0, 3), np.int64)).shape == (0, 3) and made.strike(np.zeros((0, len(train.items)), np.float32), none).shape == (0, len(train.items))

def test_one_rule_is_enough_for_a_filter_of_ones_own(train, als):
    class Even(FittedFilter):
        def allowed(self, query, items): return (items + query.codes[:, None]) % 2 == 0
    query = als.query(train.users.ids)
    S = Even().strike(np.zeros((len(query), len(train.items)), np.float32), query)
    assert (np.isneginf(S) == ((np.arange(len(train.items)) + query.codes[:, None]) % 2 == 1)).all()
    with pytest.raises(NotImplementedError, match='FittedFilter'): FittedFilter().allowed(query, query.codes[:, None])

@given(st.integers(1, 7), st.integers(1, 30), st.randoms(use_true_random=False))
@settings(max_examples=30, deadline=None)
def test_pairs_against_sets(n_users, n_items, random):
    cells = {(random.randrange(n_users), random.randrange(n_items)) for _ in range(random.randrange(1, 40))}
    u, i = map(np.array, zip(*cells))
    f = PairFilter('pairs', sp.csr_matrix((np.ones(len(u)), (u, i)), shape=(n_users, n_items)))
    codes = np.array([random.randrange(n_users) for _ in range(5)])
    query = Query(codes, codes, sp.csr_matrix((5, n_items), dtype=np.float32))
    items = np.array([[random.randrange(n_items) for _ in range(6)] for _ in codes])
    assert f.allowed(query, items).tolist() == [[(c, j) not in cells for j in row] for c, row in zip(codes, items)]
    S = f.strike(np.zeros((5, n_items), np.float32), query)
    assert [(r, c) for r, c in zip(*np.nonzero(np.isneginf(S)))] == [(r, j) for r, c in enumerate(codes) for j in range(n_items) if (c, j) in cells]

def test_newcomers(train, als):
    new = [User(history=[1, 2]), User(history=[1, 2], id='u1'), User(history=[1, 2], profile=dict(age=30)), User(history=[1, 2], profile=dict(age=9)), User(id='u1'),
           User(history=[1, 2], profile=dict(age='unknown')), User(history=[1, 2], profile=dict(age=np.nan)), User(history=[1, 2], profile=dict(gender='F')), User(history=[1, 2], profile=dict(age='40'))]
    query = als.query(new)
    ask = lambda f, i: f.make(train).allowed(query, np.full((len(new), 1), train.items.encode(i)[0]))[:, 0].tolist()
    grown = bool(train.user_info.age['u1'] >= 18)
    assert ask(blocked({'u1': [20]}), 20) == [True, False, True, True, False, True, True, True, True]
    assert ask(age_rated({20: 18}), 20) == [False, False, True, False, grown, False, False, False, True]
    assert ask(age_rated({20: 18}), 21) == [True]*9
    assert ask(seen(), 1)[:4] == [False]*4 and ask(seen(), 20)[0]
    assert known_codes(query, {'u1': 7}).tolist()[:3] == [0, 7, 0]

def test_an_item_for_nobody(train, als):
    f = age_rated({5: np.inf}).make(train)
    assert not f.allowed(als.query(['u1']), train.items.encode(5)[None]).any()

@pytest.mark.parametrize('f,words', [(unavailable([999]), 'unavailable: unknown item 999'), (blocked({'u1': [999]}), 'blocked: unknown item 999'),
                                     (blocked({'stranger': [1]}), "blocked: unknown user 'stranger'"), (age_rated({999: 18}), 'age_rated: unknown item 999')])
def test_unknown_ids_in_filters(f, words, train):
    with pytest.raises(KeyError, match=words): f.make(train)

def test_filters_without_what_they_need(train):
    bare = log(titles=False)
    for f, words in ((age_rated('age'), "'age' in user_info"), (rule(lambda d: d.year > 0), 'item_info')):
        with pytest.raises(ValueError, match=words): f.make(bare)
    with pytest.raises(ValueError, match="'stars' in item_info"): age_rated('stars').make(train)
    with pytest.raises(ValueError, match='a bool for each of the 80 rows'): rule(lambda d: True).make(train)

def test_a_column_of_least_ages(train, als):
    rated = Interactions(train.df, train.users, train.items, train.item_info.assign(least=np.where(train.item_info.index < 10, 200, np.nan)), train.user_info)
    ok = age_rated('least').make(rated).allowed(als.query(['u1']), np.arange(1, 81)[None])[0]
    assert ok.tolist() == [False]*10 + [True]*70

def test_a_rule_with_missing_values_drops(train, als):
    f, = as_filters(lambda d: d.year.astype('Int64').mask(d.index < 40) > 0)
    assert f.name == 'rule' and f.make(train).allowed(als.query(['u1']), np.arange(81)[None])[0].tolist() == [False]*41 + [True]*40

def test_a_rule_drops_items_of_which_nothing_is_known(train, als):
    part = Interactions(train.df, train.users, train.items, train.item_info.iloc[:50], train.user_info)
    assert rule(lambda d: d.year > 0).make(part).allowed(als.query(['u1']), np.arange(81)[None])[0].tolist() == [False] + [True]*50 + [False]*30

def test_filters_as_a_list(train, als):
    made = unavailable([3]).make(train)
    found = as_filters([made, unavailable([4]), lambda d: d.index != 5])
    assert [f.name for f in found] == ['unavailable', 'unavailable', 'rule']
    ask = [f.make(train).allowed(als.query(['u1']), train.items.encode([3, 4, 5, 6])[None])[0].tolist() for f in found]
    assert ask == [[False, True, True, True], [True, False, True, True], [True, True, False, True]]
    assert as_filters(made)[0].make(train) is made and len(as_filters(unavailable([3]))) == 1 and as_filters(()) == []
    with pytest.raises(TypeError, match='3 is no filter'): as_filters([3])

def test_nothing_blocked_and_nothing_gone(train, als):
    for f in (blocked({}), unavailable([]), blocked({'u1': []}), age_rated({})):
        assert f.make(train).allowed(als.query(['u1']), np.arange(1, 81)[None]).all()

def test_striking_takes_bounded_memory(peak_growth):
    n_users, n_items = 1000, 20_000
    rng = np.random.default_rng(0)
    f = LevelFilter('level', rng.random(n_users), rng.random(n_items))
    g = PairFilter('pairs', sp.random(n_users, n_items, .01, 'csr', random_state=0))
    query = Query(np.arange(n_users), np.arange(n_users), sp.csr_matrix((n_users, n_items), dtype=np.float32))
    S = np.ones((n_users, n_items), np.float32)
    for o in (f, g): o.strike(S[:2], query[:2])
    for o in (f, g):
        _, grown = peak_growth(lambda: o.strike(S, query))
        assert grown < 70*2**20, f'{grown/1e6:.0f} MB'       # item codes for all cells at once: 160 MB

# --- maximal marginal relevance

def test_mmr_extremes():
    s, V = np.array([.1, .9, .5]), np.eye(3)
    assert mmr(s, V, 3, 1).tolist() == [1, 2, 0]
    assert mmr(s, np.ones((3, 2)), 3, .5).tolist() == [1, 2, 0]
    assert mmr(s, np.array([[1, 0], [1, 0], [-1, 0]]), 2, 0).tolist() == [0, 2]
    assert len(mmr(s, V, 99)) == 3
    with pytest.raises(ValueError, match='3 vectors|vectors'): mmr(s[:2], V)
    with pytest.raises(ValueError, match='finite'): mmr(s*np.nan, V)

def test_mmr_with_odd_vectors():
    s = np.array([.9, .8, .7])
    for bad in (np.nan, np.inf):
        with pytest.raises(ValueError, match='vectors must be finite'): mmr(s, np.array([[1, 0], [bad, 0], [0, 1]]))
        with pytest.raises(ValueError, match='features must be finite'): Diverse(features=np.array([[1, 0], [bad, 0]]))
    assert mmr(s, np.zeros((3, 2)), 3, .5).tolist() == [0, 1, 2]                          # nothing is similar to nothing
    assert mmr(s, np.array([[1., 0], [0, 0], [-1, 0]]), 3, .3).tolist() == [0, 2, 1]      # opposite is better than unlike
    assert mmr(s, np.array([[1., 0], [1, 0], [0, 0]]), 3, .5).tolist() == [0, 2, 1]
    for w in (-.1, 1.1, np.nan):
        with pytest.raises(ValueError, match='from 0 to 1'): mmr(s, np.eye(3), weight=w)
        with pytest.raises(ValueError, match='from 0 to 1'): Diverse(w)

@pytest.mark.parametrize('seed', range(5))
def test_mmr_against_its_definition(seed):
    rng = np.random.default_rng(seed)
    s, V, w = rng.random(12), rng.normal(size=(12, 3)), rng.random()
    cos = np.corrcoef(np.hstack([V, -V]))                            # of mirrored vectors correlation is the cosine
    chosen = []
    while len(chosen) < 12: chosen.append(max(set(range(12)) - set(chosen), key=lambda i: w*s[i] - (1-w)*max([cos[i, j] for j in chosen], default=0)))
    assert mmr(s, V, 12, w).tolist() == chosen

# --- steps

def diverse_by_loops(items, score, flags, weight, depth):
    V = unit_rows(flags)
    chosen = []
    while len(chosen) < min(depth, len(items)):
        left = [p for p in range(len(items)) if p not in chosen]
        chosen.append(max(left, key=lambda p: (weight*float(score[p]) - (1-weight)*max((float(V[items[p]]@V[items[q]]) for q in chosen), default=0), -p)))
    return [items[p] for p in chosen + [p for p in range(len(items)) if p not in chosen]]

def capped_by_loops(items, words, most, within):
    taken, n = [], {}
    for i in items:
        if len(taken) < within and all(n.get(g, 0) < most for g in words[i]):
            taken.append(i)
            for g in words[i]: n[g] = n.get(g, 0) + 1
    return taken + [i for i in items if i not in taken]

def test_diverse_and_cap_against_loops(page, train):
    words = dict(zip(range(1, 81), train.item_info.genres.str.split('|')))
    flags = np.array([[0]*4, *([int(g in words[c]) for g in 'abcd'] for c in range(1, 81))], float)
    for row, score, a, b in zip(page.items, page.score, order_of(Diverse(.6, depth=7), page, train), order_of(Cap(2, within=6), page, train)):
        assert a.tolist() == diverse_by_loops(row.tolist(), score, flags, .6, 7)
        assert b.tolist() == capped_by_loops(row.tolist(), words, 2, 6)

def test_pins_and_bonuses_against_loops(page, train):
    first = page.items[:, 20]
    raw = {u: train.items.decode([c]).tolist() for u, c in zip(page.query.labels, first)}
    for row, pick, new in zip(page.items, first, order_of(Pin(raw, at=3), page, train)):
        want = [i for i in row if i != pick]
        assert new.tolist() == [*want[:2], pick, *want[2:]]
    count = train.df.groupby('item').timestamp.min()
    span = train.df.timestamp
    fresh = lambda c: (count.get(train.items.decode([c])[0], span.min()) - span.min())/(span.max() - span.min())
    bonuses = ((Promote(raw, .3), lambda r, c: .3*(c == first[r])), (Fresh(.4), lambda r, c: .4*fresh(c)))
    for step, bonus in bonuses:
        moved = step.prepare(train).apply(page)
        for r, row in enumerate(page.items):
            value = {c: page.score[r, k] + bonus(r, c) for k, c in enumerate(row)}
            want = sorted(row, key=lambda c: (-round(value[c], 6), c))
            assert page.reordered(moved).items[r].tolist() == want
            assert np.allclose(moved.score[r], [value[c] for c in want], atol=1e-6)

def test_what_did_not_rise_is_not_said_to_be_promoted(page, train):
    first = {u: train.items.decode([c]).tolist() for u, c in zip(page.query.labels, page.items[:, 0])}
    moved = Promote(first).prepare(train).apply(page)
    assert (page.reordered(moved).items == page.items).all() and not moved.marked.any()

def test_ties_of_bonuses_go_by_item(train, als):
    tied = Page(als.query(['u1']), np.array([[9, 7, 8, 5]]), np.array([[1., .5, .5, 0]]))
    assert order_of(Promote(train.items.decode([7, 5]).tolist(), .5), tied, train).tolist() == [[7, 9, 5, 8]]

def test_a_user_of_train_has_own_picks_and_others_have_everybodys(train, als):
    new = als.query(['u1', 'u2', User(history=[1], id='u1'), User(history=[1]), User(history=[1], id='new')])
    for step in (Pin({'u1': [40, 41], None: 42}), Promote({'u1': [40, 41], None: [42]})):
        mine, all_ = train.items.encode([40, 41]).tolist(), train.items.encode([42]).tolist()
        assert step.prepare(train).extra(new) == [mine, all_, mine, all_, all_]
    assert Pin({'u1': [40]}).prepare(train).extra(new)[1] == [] and Cap().prepare(train).extra(new) == [[]]*5
    assert Pin(40).prepare(train).extra(new) == [train.items.encode(40).tolist()]*5

def test_pins_meet_short_lists_and_each_other(train, als):
    query = als.query(['u1'])
    short = Page(query, np.array([[7, 8, -1, -1]]), np.array([[1., 0, -np.inf, -np.inf]]))
    raw = lambda *codes: train.items.decode(codes).tolist()
    for step, want in ((Pin(raw(8)), [8, 7]), (Pin(raw(7), at=4), [8, 7]), (Pin(raw(9)), [7, 8]), (Pin(raw(8, 8)), [8, 7]), (Pin(raw(8, 7)), [8, 7]), (Cap(1), None), (Diverse(), [7, 8])):
        moved = step.prepare(train).apply(short)
        got = short.reordered(moved)
        assert sorted(got.items[0, :2]) == [7, 8] and got.items[0, 2:].tolist() == [-1, -1] and not moved.marked[0, 2:].any()
        if want: assert got.items[0, :2].tolist() == want

STEPS = {'diverse': lambda: Diverse(.5), 'cap': lambda: Cap(2), 'pin': lambda: Pin([30, 31], at=2), 'promote': lambda: Promote([30, 31], .4), 'fresh': lambda: Fresh(.4),
         'mine': lambda: FunctionStep(lambda df: df.iloc[::-1])}

@pytest.mark.parametrize('name', STEPS)
def test_a_step_loses_nothing_and_says_what_it_moved(name, page, train):
    step = STEPS[name]().prepare(train)
    items, score = page.items.copy(), page.score.copy()
    moved = step.apply(page)
    assert isinstance(moved, Moved) and (np.sort(moved.positions, 1) == np.arange(page.items.shape[1])).all()
    assert (page.items == items).all() and (page.score == score).all()
    assert (moved.score is not None) == step.sorts and moved.marked.shape == items.shape and moved.marked.dtype == bool
    rose = moved.positions > np.arange(items.shape[1])
    picked = np.isin(page.reordered(moved).items, train.items.encode([30, 31]))
    want = dict(cap=moved.positions < np.arange(items.shape[1]), pin=picked, promote=picked & rose)
    assert (moved.marked == want.get(name, rose)).all() and moved.marked.any()

@pytest.mark.parametrize('name', STEPS)
def test_a_step_on_nobody_and_on_empty_lists(name, train, als):
    step = STEPS[name]().prepare(train)
    none = Page(als.query([]), np.zeros((0, 4), np.int64), np.zeros((0, 4), np.float32))
    assert step.apply(none).positions.shape == (0, 4)
    empty = Page(als.query(['u1']), np.full((1, 4), -1), np.full((1, 4), -np.inf))
    got = empty.reordered(step.apply(empty))
    assert (got.items == -1).all() and np.isneginf(got.score).all()

def test_the_order_of_steps():
    check_order(as_steps([Promote([1]), Fresh(), Diverse(), Cap(), lambda df: df, Pin([1])]))
    for bad in ([Diverse(), Fresh()], [Cap(), Promote([1])], [Fresh(), lambda df: df, Fresh()]):
        with pytest.raises(ValueError, match='put it first'): check_order(as_steps(bad))
    assert [s.name for s in as_steps(Cap())] == ['cap'] and as_steps(lambda df: df)[0].name == 'order' and as_steps([]) == []
    for bad in (Cap, [3], [Diverse]):
        with pytest.raises(TypeError, match='no step'): as_steps(bad)
    with pytest.raises(NotImplementedError, match='Step'): Step().apply(None)

@pytest.mark.parametrize('make,words', [(lambda: Diverse(2), 'from 0 to 1'), (lambda: Cap(0), 'at least one'), (lambda: Pin([1], at=0), 'at least one'), (lambda: Promote([1], 0), 'more than 0'),
                                        (lambda: Promote([1], np.inf), 'finite'), (lambda: Fresh(-1), 'more than 0'), (lambda: Diverse(depth=0), 'at least one')])
def test_arguments_of_steps(make, words):
    with pytest.raises(ValueError, match=words): make()

@pytest.mark.parametrize('step,words', [(Pin([999]), 'pin: unknown item 999'), (Promote([999]), 'promote: unknown item 999'), (Pin({'stranger': [1]}), "pin: unknown user 'stranger'")])
def test_unknown_picks(step, words, train):
    with pytest.raises(KeyError, match=words): step.prepare(train)

def test_steps_without_what_they_need(train):
    bare = log(titles=False)
    with pytest.raises(ValueError, match="no column 'genres'"): Cap().prepare(bare)
    with pytest.raises(ValueError, match="no column 'mood'"): Cap(column='mood').prepare(train)
    with pytest.raises(ValueError, match='timestamp'): Fresh().prepare(Interactions.from_df(train.df.drop(columns='timestamp')))
    with pytest.raises(ValueError, match='rows of features'): Diverse(features=np.eye(3)).prepare(train)

def test_diverse_without_genres_goes_by_who_has_what(als, train):
    words = train.item_info
    for info in (None, words.drop(columns='genres'), words.assign(genres=None), words.assign(genres=''), words.assign(genres=[['a']]*80).drop(columns='genres')):
        bare = Interactions(train.df, train.users, train.items, info)
        step = Diverse(.5).prepare(bare)
        assert np.allclose(np.linalg.norm(step.vectors, axis=1), step.vectors.any(1)) and (step.vectors[1:].any(1) == np.isin(train.items.ids, train.df['item'])).all()
        new = step.apply(page_of(als, ['u1', 'u2']))
        assert (new.positions != np.arange(40)).any()
    three = train.take(train.df['item'].to_numpy() < 3)                                 # fewer items with events than directions
    assert (Diverse().prepare(Interactions(three.df, three.users, three.items)).vectors.any(1) == np.isin(np.arange(81), [1, 2, 3])).all()
    tiny = Interactions.from_df(pd.DataFrame(dict(user=[1, 1], item=[5, 6], rating=1.)))
    assert Diverse().prepare(tiny).vectors.shape[0] == 3

def test_cooccurrence_finds_two_crowds():
    "Items of one crowd are alike, items of two are not"
    rng = np.random.default_rng(0)
    df = pd.DataFrame([(u, i) for u in range(60) for i in range(40) if (u < 30) == (i < 20) and rng.random() < .5], columns=['user', 'item']).assign(rating=1.)
    df = pd.concat([df, pd.DataFrame(dict(user=[0], item=[40], rating=[1.]))])
    inter = Interactions.from_df(df)
    V = cooccurrence_vectors(inter, 2)
    C = V[1:41]@V[1:41].T
    assert C[:20, :20].min() > .9 and np.abs(C[:20, 20:]).max() < .2 and not V[0].any()
    assert (V == cooccurrence_vectors(inter, 2)).all()

def test_cooccurrence_takes_bounded_memory(peak_growth):
    rng = np.random.default_rng(0)
    u, i = rng.integers(0, 20_000, 200_000), rng.integers(0, 30_000, 200_000)
    inter = Interactions.from_df(pd.DataFrame(dict(user=u, item=i, rating=1.)), duplicates='last')
    cooccurrence_vectors(log(), 4)
    V, grown = peak_growth(lambda: cooccurrence_vectors(inter))
    assert grown < 150*2**20, f'{grown/1e6:.0f} MB'                       # items x items would be 3.6 GB

def test_an_item_without_genres_is_similar_to_nothing(train, als):
    odd = Interactions(train.df, train.users, train.items, train.item_info.assign(genres=train.item_info.genres.where(train.item_info.index != 7)))
    flags = item_flags(odd)
    assert flags.dtype == np.float32 and flags.shape == (81, 4) and not flags[[0, *train.items.encode(7)]].any() and flags[1:].any(1).sum() == 79
    assert (item_flags(train)[1:] == train.item_info.genres.str.get_dummies('|').to_numpy()).all()
    Diverse().prepare(odd).apply(page_of(als, 'u1')); Cap().prepare(odd).apply(page_of(als, 'u1'))

def test_a_cap_on_numbers(train, page):
    new = order_of(Cap(1, within=5, column='year'), page, train)
    year = np.r_[0, train.item_info.year]
    assert all(len(set(year[row[:5]])) == 5 for row in new)

def test_given_features(train, page):
    assert (order_of(Diverse(.4, 9, np.zeros((81, 2))), page, train) == page.items).all()        # nothing is like anything: by score
    V = np.random.default_rng(0).normal(size=(81, 5))
    moved = Diverse(.4, 9, V).prepare(train).apply(page)
    for r in range(3): assert moved.positions[r, :9].tolist() == mmr(page.score[r], V.astype(np.float32)[page.items[r]], 9, .4).tolist()

# --- functions of one's own

def test_functions_get_raw_ids_and_must_give_them_back(page, train):
    told = []
    def mine(df): told.append(df); return df.iloc[::-1]
    new = order_of(FunctionStep(mine), page, train)
    assert (new == page.items[:, ::-1]).all() and list(told[0]) == ['user', 'item', 'score'] and told[1].user.tolist() == [page.query.labels[1]]*40
    assert told[0]['item'].tolist() == train.items.decode(page.items[0]).tolist()
    some = order_of(FunctionStep(lambda df: df.iloc[3:5]), page, train)                 # what is not given back follows
    assert (some[:, :2] == page.items[:, 3:5]).all() and (some[:, 2:5] == page.items[:, :3]).all()
    had = train.history(page.query.labels[0])['item'].iloc[0]
    with pytest.raises(ValueError, match='none of the candidates'): order_of(FunctionStep(lambda df: df.assign(item=had)), page, train)

def test_code_is_not_saved(train, tmp_path):
    step = FunctionStep(lambda df: df).prepare(train)
    for f in (step.get_args, step.get_state, lambda: step.save(tmp_path/'x')):
        with pytest.raises(TypeError, match='code is not saved'): f()
    assert not (tmp_path/'x').exists()

# --- files

@pytest.mark.parametrize('k', range(6))
def test_saved_filters(k, train, als, tmp_path):
    f = meanings(train)[k][0].make(train)
    f.save(tmp_path)
    again = Saveable.load(tmp_path)
    query = als.query([*train.users.ids[:9], User(history=[1], id='u1'), User(history=[1], profile=dict(age=30))])
    every = np.tile(np.arange(81), (11, 1))
    assert type(again) is type(f) and again.name == f.name and (again.allowed(query, every) == f.allowed(query, every)).all()

@pytest.mark.parametrize('step', [Diverse(.5), Diverse(.5, features=np.eye(81)[:, :30]), Cap(2), Pin({'u1': [30], None: [31]}, at=2), Promote([30, 31], .4), Promote({'u1': 30}), Fresh(.4)])
def test_saved_steps(step, page, train, tmp_path):
    step.prepare(train).save(tmp_path)
    again = Saveable.load(tmp_path)
    a, b = step.apply(page), again.apply(page)
    assert (a.positions == b.positions).all() and (a.marked == b.marked).all() and ((a.score is None and b.score is None) or (a.score == b.score).all())
    assert again.extra(page.query) == step.extra(page.query) and (again.prepare(train).apply(page).positions == a.positions).all()

# --- pages

def test_stretch():
    s, ok = np.array([[3., 1, 2, 9], [5, 5, 5, 5], [1, 2, 3, 4]]), np.array([[1, 1, 1, 0], [1, 1, 0, 0], [0, 0, 0, 0]], bool)
    assert stretch(s, ok).tolist() == [[1, 0, .5, -np.inf], [0, 0, -np.inf, -np.inf], [-np.inf]*4]

def test_promises_are_stronger_than_editors(train):
    "What a filter has taken off the list no pin and no promotion brings back"
    pop = Popular().fit(train)
    query = pop.query(['u1'])
    items, scores = pop.candidates(query, 60, query.seen)
    gone = train.items.decode(items[0, :3]).tolist()
    items = np.where(unavailable(gone).make(train).allowed(query, items), items, -1)
    page = Page(query, items[:, 3:], stretch(scores[:, 3:], items[:, 3:] >= 0))
    for step in (Promote(gone, 5.), Fresh(), Diverse(), Cap(), Pin(gone)): page = page.reordered(step.prepare(train).apply(page))
    assert not set(page.items[0]) & set(train.items.encode(gone))

# --- what people hand in

REFUSED = {'a rule in no order of the table': (lambda t: rule(lambda d: (d.year > 1960).reset_index(drop=True).set_axis(range(500, 580))), 'other labels'), 'a rule of text': (lambda t: rule(lambda d: np.array(['yes']*len(d))), "'yes'"), 'a rule of years': (lambda t: rule(lambda d: d.year), '1950'),
           'a rule of nothing': (lambda t: rule(lambda d: None), 'a bool for each'), 'a rule of a table': (lambda t: rule(lambda d: d[['year']] > 1960), 'a bool for each'), 'a rule that is text': (lambda t: rule('year > 1960'), 'no function'),
           'seen of a table': (lambda t: seen(t.df), 'from_df'), 'seen of other items': (lambda t: seen(Interactions.from_df(pd.DataFrame(dict(user=['u1'], item=[999], rating=1)))), 'no item of the log'), 'seen of other users': (lambda t: seen(Interactions.from_df(pd.DataFrame(dict(user=[1], item=[5], rating=1)))), 'no user of the log'),
           'blocked of a list': (lambda t: blocked([1]), 'user: items'), 'blocked of a table': (lambda t: blocked(t.df), 'groupby'), 'blocked of None': (lambda t: blocked(None), 'user: items'),
           'ages as a list': (lambda t: age_rated([1]), 'age_rated takes'), 'one age': (lambda t: age_rated(18), 'age_rated takes'), 'ages as words': (lambda t: age_rated({1: 'R'}), "'R'"), 'two ages': (lambda t: age_rated(pd.Series([18, 12], [1, 1])), 'two ages'), 'ages that are none': (lambda t: age_rated({1: 18}, age='gender'), "'[MF]' is no number"),
           'unavailable of a table': (lambda t: unavailable(t.df[['item']]), 'take the column'), 'unavailable of None': (lambda t: unavailable(None), 'missing')}

@pytest.mark.parametrize('how', REFUSED)
def test_filters_refuse_in_one_sentence(how, train):
    make, words = REFUSED[how]
    with pytest.raises((ValueError, TypeError), match=words) as e: make(train).make(train)
    assert '\n' not in str(e.value)

def test_filters_take_what_means_the_same(train):
    mask = unavailable([1, 2]).make(train).mask
    for items in ((1, 2), {1, 2}, pd.Series([1, 2]), pd.Index([1, 2]), np.array([1, 2]), (i for i in (1, 2)), pd.array([1, 2], dtype='Int64'), [1., 2.], pd.Categorical([1, 2])): assert (unavailable(items).make(train).mask == mask).all()
    pairs = blocked({'u1': [1, 2]}).make(train).out.toarray()
    for given_ in ({'u1': {1, 2}}, pd.Series({'u1': [1, 2]}), {'u1': np.array([1, 2])}): assert (blocked(given_).make(train).out.toarray() == pairs).all()
    ages = age_rated({1: 18, 2: 12}).make(train).items
    for given_ in (pd.Series([12, 18], [2, 1]), {1: '18', 2: 12.}, {1: 18, 2: 12, 3: None}, pd.Series([18, 12], [1, 2], dtype='Int64')): assert (age_rated(given_).make(train).items == ages).all()
    want = np.r_[False, train.item_info.year > 1960]
    for keep in (lambda d: (d.year > 1960).sort_values(), lambda d: (d.year > 1960).to_numpy(), lambda d: (d.year > 1960).tolist(), lambda d: (d.year > 1960).astype('boolean'), lambda d: (d.year > 1960).astype(float), lambda d: (d.year > 1960)[::-1]): assert (rule(keep).make(train).mask == want).all()
    assert as_filters(None) == [] and as_steps(None) == []

def test_a_filter_answers_with_true_or_false(train, als):
    class Odd(FittedFilter):
        def __init__(self, f): self.f = f
        def allowed(self, query, items): return self.f(items)
    query = als.query(['u1', 'u2'])
    for f in (lambda i: i % 3, lambda i: (i > 3)[0], lambda i: True, lambda i: np.where(i > 3, 1., np.nan), lambda i: None):
        with pytest.raises(TypeError, match='must give a bool'): Odd(f).strike(np.zeros((2, 81), np.float32), query)

@pytest.mark.parametrize('age,grown', [(40, True), ('40', True), (40., True), (np.int8(40), True), (9, False), (None, False), ([40], False), ({}, False), (np.nan, False), (pd.NA, False), ('forty', False), (np.array([40]), False), (b'x', False)])
def test_ages_of_profiles(age, grown, train, als):
    query = als.query([User([1], profile=dict(age=age)), User([1], profile=dict(age=50))])
    assert age_rated({20: 18}).make(train).allowed(query, np.full((2, 1), train.items.encode(20)[0]))[:, 0].tolist() == [grown, True]

def test_another_log_holds_for_somebody_with_a_history_of_their_own(train, als):
    shop = Interactions.from_df(pd.DataFrame(dict(user=['u1'], item=[5], rating=1.)))
    query = als.query(['u1', User([1], id='u1'), User([1], id='new')])
    assert seen(shop).make(train).allowed(query, np.full((3, 1), train.items.encode(5)[0]))[:, 0].tolist() == [False, False, True]

SETTINGS = [(lambda v: Diverse(v), 'weight', ('a', None, True, np.nan, -.1, 1.1, np.inf)), (lambda v: Diverse(depth=v), 'depth', (0, -1, 1.5, None, 'a', True)), (lambda v: Diverse(features=v), 'features', ('a', [1, 2], np.ones((81, 2, 2)), np.full((81, 2), np.nan), np.full((81, 2), np.inf))),
            (lambda v: Cap(v), 'most', (0, -1, 1.5, None, 'a', True)), (lambda v: Cap(within=v), 'within', (0, -1, None, 'a')), (lambda v: Cap(column=v), 'column', (None, 3, ['genres'])), (lambda v: Pin([1], v), 'at=', (0, -1, 1.5, None, 'a')), (lambda v: Pin(v), 'pin', (None, pd.DataFrame(dict(item=[1])), [[1, 2]], {'u1': None})),
            (lambda v: Promote([1], v), 'boost', (0, -1, None, 'a', True, np.nan, np.inf)), (lambda v: Fresh(v), 'weight', (0, -1, None, 'a', True, np.nan, np.inf)), (lambda v: mmr([1, .5], np.eye(2), 2, v), 'weight', (None, 'a', np.nan, 2, -1, True)), (lambda v: mmr([1, .5], np.eye(2), v), 'k=', (0, -1, None, 'a', 1.5)),
            (lambda v: mmr(v, np.eye(2)), 'score', (['a', 'b'], [1, None], [1, np.nan], [1, np.inf], [1, 2, 3])), (lambda v: mmr([1, .5], v), 'vectors', ([1, 2], np.ones((2, 2, 2)), [[1, np.nan], [0, 1]], [[np.inf, 0], [0, 1]], [[1, 0]]))]

@pytest.mark.parametrize('make,word,values', SETTINGS)
def test_settings_are_refused_by_name(make, word, values):
    for v in values:
        with pytest.raises((ValueError, TypeError), match=word) as e: make(v)
        assert '\n' not in str(e.value), v

@given(st.integers(2, 9), st.integers(1, 4), st.integers(0, 10**6), st.sampled_from([1e-300, 1e-200, 1e-30, 1., 1e30, 1e200, 1e300]), st.floats(0, 1))
@settings(max_examples=50, deadline=None)
def test_mmr_does_not_depend_on_lengths(n, d, seed, unit, weight):
    "Zero, opposite, tiny and huge vectors: whole numbers, so that lengths are exact, and a brute-force choice"
    rng = np.random.default_rng(seed)
    V, s = rng.integers(-2, 3, (n, d)), rng.permutation(n)/n
    lengths = np.sqrt((V*V).sum(1))
    C = (V@V.T)/np.where(lengths > 0, lengths, 1)[:, None]/np.where(lengths > 0, lengths, 1)
    got, left = mmr(s, V*unit, n, weight), list(range(n))
    for t, i in enumerate(got):
        worth = {j: weight*s[j] - (1 - weight)*max((C[j, c] for c in got[:t]), default=0) for j in left}
        assert worth[i] >= max(worth.values()) - 1e-9
        left.remove(i)

def test_diverse_with_tiny_and_huge_features(train, page):
    V = np.random.default_rng(0).normal(size=(81, 5))
    want = order_of(Diverse(.4, 9, V), page, train)
    for same in (V*1e-200, V*1e200, pd.DataFrame(V), V.tolist(), pd.DataFrame(V).astype('Float64')): assert (order_of(Diverse(.4, 9, same), page, train) == want).all()

# --- words

WORDS = {'lists': lambda g: g.str.split('|'), 'tuples': lambda g: g.str.split('|').map(tuple), 'sets': lambda g: g.str.split('|').map(set), 'arrays': lambda g: g.str.split('|').map(np.array), 'blanks': lambda g: g.str.replace('|', ' | '), 'category': lambda g: g.astype('category'), 'string': lambda g: g.astype('string'), 'twice': lambda g: g + '|' + g}

@pytest.mark.parametrize('how', WORDS)
def test_words_however_they_are_written(how, train, page):
    other = Interactions(train.df, train.users, train.items, train.item_info.assign(genres=WORDS[how](train.item_info.genres)))
    assert (item_words(other) != item_words(train)).nnz == 0 and (item_words(train).toarray() == item_flags(train)).all()
    for step in (Diverse(.5), Cap(1, within=8)): assert (order_of(step, page, other) == order_of(step, page, train)).all()

def test_thousands_of_words_take_bounded_memory(peak_growth):
    n = 8000
    info = pd.DataFrame(dict(genres=[f'g{k}|h{k % 5}' for k in range(n)]), pd.RangeIndex(n, name='item'))
    inter = Interactions.from_df(pd.DataFrame(dict(user=np.arange(n) % 50, item=range(n), rating=1.)), item_info=info)
    def build():
        query = Popular().fit(inter).query(inter.users.ids)
        page = Page(query, np.tile(np.arange(1, 301), (50, 1)), np.tile(np.linspace(1, 0, 300), (50, 1)))
        return [page.reordered(s.prepare(inter).apply(page)).items for s in (Diverse(.5), Cap(2))]
    (varied, capped_), grown = peak_growth(build)
    kind = (capped_[:, :10] - 1) % 5
    assert grown < 100*2**20 and all(np.bincount(row).max() <= 2 for row in kind), f'{grown/1e6:.0f} MB'          # items x words: 256 MB
    assert len(set((varied[0, :5] - 1) % 5)) == 5                                                        # one of each shared word first

def test_what_was_made_for_other_data_does_not_fit(train):
    other = log(n_items=50)
    for part in (Diverse().prepare(other), Cap().prepare(other), Fresh().prepare(other), unavailable([1]).make(other), age_rated({1: 18}).make(other)):
        with pytest.raises(ValueError, match='81 item codes'): check_fits(part, 62, 81)
        check_fits(part, 62, 51)
    with pytest.raises(ValueError, match='62 user codes'): check_fits(blocked({'u1': [1]}).make(log(n_users=30)), 62, 81)

def test_a_step_of_ones_own_gives_back_a_table(page, train):
    for f in (lambda df: None, lambda df: df['item'].tolist(), lambda df: df.drop(columns='item')):
        with pytest.raises(TypeError, match='a column item'): order_of(FunctionStep(f), page, train)
