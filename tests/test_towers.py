"What lesson 41 has no room for: odd tables, trains, histories, profiles and settings; memory; what a model knows nothing of"
import logging, warnings
import numpy as np, pandas as pd, pytest, torch
from scipy.optimize import minimize

from recsys_course.core import Saveable
from recsys_course.data import Interactions, Vocab
from recsys_course.recommender import PoorModelWarning, User
from recsys_course.towers import GapCounter, Tower, TwoTower, in_batch_loss, known_features, passes, solve_softmax, usual_decay

pytestmark = pytest.mark.filterwarnings('ignore::recsys_course.recommender.PoorModelWarning')

def log_of(n_users=40, n_items=30, rows=600, **kw):
    rng = np.random.default_rng(0)
    df = pd.DataFrame(dict(user=rng.integers(0, n_users, rows), item=rng.integers(100, 100 + n_items, rows), rating=1.)).drop_duplicates(['user', 'item'])
    return Interactions.from_df(df, **kw)

films = pd.Index(range(100, 133), name='item')
people = pd.Index(range(42), name='user')
n = len(films)

@pytest.fixture(scope='module')
def model():
    items = pd.DataFrame(dict(genre=['x', 'y', 'z']*11, year=range(1990, 1990 + n)), films)
    users = pd.DataFrame(dict(age=range(42), job=['a', 'b']*21), people)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        return TwoTower(4, 3, bs=64).fit(log_of(item_info=items, user_info=users))

columns = dict(nan=[np.nan]*n, none=[None]*n, inf=[np.inf, -np.inf, *[1.]*(n-2)], huge=[1e308, -1e308, *[1.]*(n-2)], big=[10**400, *[1]*(n-1)], tiny=[1e-320]*n,
               mixed=[1, 'a', None]*11, lists=[['a', 'b'], ['b'], []]*11, numbers_in_lists=[[1, 2], [3], []]*11, arrays=[np.array([.1, .2])]*n, dicts=[{'a': 1}]*n, sets=[{'a'}, {'b'}, set()]*11,
               bools=[True, False, None]*11, categories=pd.Categorical(['x', 'y', 'z']*11), Int64=pd.array([1, None, 3]*11, 'Int64'), string=pd.array(['u', None, 'v']*11, 'string'),
               dates=pd.date_range('2020', periods=n), missing_dates=[pd.Timestamp('2020'), pd.NaT, pd.Timestamp('2021')]*11, complex=[1j]*n, titles=[f'Film {k}|x' for k in range(n)], text='', bytes=b'a')

@pytest.mark.parametrize('name', columns)
def test_odd_columns(name):
    m = TwoTower(4, 1).fit(log_of(item_info=pd.DataFrame({'c': columns[name]}, films, dtype=object if name == 'big' else None)))
    recs = m.recommend([0, 1], k=33, exclude_seen=False)
    assert len(recs) == 66 and np.isfinite(recs.score).all()

def test_one_number_far_out_does_not_drown_the_rest():
    info = pd.DataFrame(dict(price=[1e12, *range(999)]), range(1000))
    _, X = known_features(info, Vocab(range(1000)))
    assert X.max() == 10 and X[0].tolist() == [0]

def test_titles_cost_no_width(peak_growth):
    "One column for each title of 20,000 would be 3 GB"
    N = 20_000
    info = pd.DataFrame(dict(title=[f'Thing {k}|with {k} words' for k in range(N)], year=range(N)), range(N))
    (encoder, X), grown = peak_growth(lambda: known_features(info, Vocab(range(N))))
    assert list(encoder.kinds) == ['year'] and X.shape == (N + 1, 1) and grown < 100e6, f'{grown/1e6:.0f} MB'

def test_many_words_are_kept_while_each_has_rows_to_learn_from():
    info = pd.DataFrame(dict(brand=[f'brand {k%60}' for k in range(3000)]), range(3000))
    assert known_features(info, Vocab(range(3000)))[1].shape == (3001, 60)

def test_what_is_left_out_is_told(caplog):
    "A title can teach nothing, so a line in the log will do; a brand of many films could, so that is a warning"
    N = 4000
    info = pd.DataFrame(dict(title=[f'Thing {k}' for k in range(N)], brand=[f'brand {k%1000}' for k in range(N)]), range(N))
    with caplog.at_level(logging.INFO, 'recsys_course.towers'), pytest.warns(UserWarning, match="'brand' is left out.*1,000 different words.*at most 400") as told:
        known_features(info, Vocab(range(N)))
    assert len(told) == 1 and "'title' is not used: it has 4000 words" in caplog.text

trains = dict(six=dict(user=[1, 1, 2, 2, 3, 3], item=[1, 2, 2, 3, 1, 3]), one_user=dict(user=[1, 1, 1], item=[1, 2, 3]), one_item=dict(user=[1, 2, 3], item=[1, 1, 1]), one_row=dict(user=[1], item=[1]))

@pytest.mark.parametrize('name', trains)
def test_small_trains(name):
    train = Interactions.from_df(pd.DataFrame(trains[name]).assign(rating=1))
    recs = TwoTower(4).fit(train).recommend(1, k=3, exclude_seen=False)
    assert len(recs) == len(train.items) - 1 and np.isfinite(recs.score).all()

def test_no_events():
    empty = log_of()
    empty = empty.take(np.zeros(len(empty.df), bool))
    with pytest.raises(ValueError, match='no events'): TwoTower(4, 1).fit(empty)
    with pytest.raises(TypeError, match='Interactions'): TwoTower(4, 1).fit(empty.df)

@pytest.mark.parametrize('setting', [dict(seed=-1), dict(seed=1.5), dict(seed='a'), dict(seed=None), dict(seed=2**70), dict(correct='yes'), dict(correct=None), dict(correct=2), dict(lr=None),
                                     dict(n_factors=None), dict(bs=None), dict(n_factors='8'), dict(n_factors=True), dict(wd=np.inf), dict(lr=np.array([1.])), dict(bs=0), dict(n_threads=0), dict(n_epochs=1.5)])
def test_settings(setting):
    with pytest.raises(ValueError, match=next(iter(setting))): TwoTower(**setting)

@pytest.mark.parametrize('setting', [dict(n_threads=10**6), dict(n_threads=None), dict(bs=10**9), dict(n_epochs=2.), dict(bs=64.), dict(n_factors=np.int64(4)), dict(seed=np.int64(3))])
def test_settings_that_work(setting):
    "A million threads used to kill the process"
    before = torch.get_num_threads()
    m = TwoTower(**{**dict(n_factors=4, n_epochs=1), **setting}).fit(log_of())
    assert np.isfinite(m.recommend(0).score).all() and torch.get_num_threads() == before

@pytest.mark.parametrize('lr', [1e3, 1e12, 1e30])
def test_divergence_is_one_sentence(lr):
    "Factors of a million are as useless as those that are no numbers"
    with pytest.raises(FloatingPointError, match='became unstable.*Lower lr'): TwoTower(8, 5, lr=lr, bs=64).fit(log_of())

def test_huge_weights():
    log = log_of()
    a, b = (TwoTower(4, 2).fit(Interactions.from_df(log.df.assign(rating=w))) for w in (1., 3e38))
    assert np.allclose(a.item_factors, b.item_factors, atol=1e-5)

def test_a_wrong_shape_is_no_broadcast():
    ones, codes = torch.ones(3, 2), torch.tensor([1, 2, 3])
    for bad in ((ones, ones, codes, torch.zeros(3, 1), torch.ones(3)), (ones, ones, codes, torch.zeros(3), torch.ones(3, 1)), (ones, ones[:2], codes, torch.zeros(3), torch.ones(3)), (ones[:0], ones[:0], codes[:0], torch.zeros(0), torch.ones(0))):
        with pytest.raises(ValueError, match='shapes'): in_batch_loss(*bad)

def test_towers_and_counters_look_at_what_they_are_given():
    F = np.ones((3, 2), np.float32)
    for bad in ((F, np.ones(2), 4), (F[0], np.ones(2), 4), (F[:, :0], np.ones(3), 4), (F*np.nan, np.ones(3), 4), (F, np.ones(3), 0)):
        with pytest.raises(ValueError): Tower(*bad)
    assert Tower(F.astype(float), np.ones(3), 4).all_vectors().dtype == np.float32
    for bad in (dict(n=0), dict(n=1.5), dict(n='a'), dict(n=None), dict(n=3, rate=0), dict(n=3, rate=2), dict(n=3, rate=np.nan)):
        with pytest.raises(ValueError): GapCounter(**bad)
    for bad in ([5], [-1], [.5], ['a'], [[0, 1]]):
        with pytest.raises(ValueError, match='code'): GapCounter(3).see(np.array(bad))
    assert GapCounter(3).see([]).shape == (0,)

# --- newcomers

@pytest.mark.parametrize('seed', range(5))
def test_softmax_is_solved(seed):
    "scipy's minimiser as the oracle"
    rng = np.random.default_rng(seed)
    V, bias, w, start = rng.normal(size=(12, 4))*(1 + seed), rng.normal(size=12), rng.integers(0, 3, 12).astype(float)*10**seed, rng.normal(size=4)
    def loss(x):
        s = V@x + bias
        return -w@(s - np.logaddexp.reduce(s)) + .15*((x - start)**2).sum()
    assert np.isclose(loss(solve_softmax(V, bias, w, start, .3)), minimize(loss, start, tol=1e-10).fun, rtol=1e-5)

@pytest.mark.parametrize('history', [{100: 1}, [100], [100, 100], pd.Series({100: 1.}), pd.DataFrame({'item': [100]}), np.array([100]), [100.], {132: 1}, list(films), {100: 1e30}, {100: 1e-30}])
def test_histories(history, model):
    user = model.fold_in(history)
    assert np.isfinite(user.vector).all() and len(user.vector) == 4
    recs = model.recommend(User(history), k=40)
    assert len(recs) == 33 - len(user.seen) and np.isfinite(recs.score).all() and not set(recs['item']) & set(model.items.decode(user.seen))

@pytest.mark.parametrize('history, error', [([], ValueError), ({}, ValueError), ({100: 0}, ValueError), ({100: -1}, ValueError), ({100: np.nan}, ValueError), ({100: np.inf}, ValueError), ({999: 1}, KeyError), ('abc', KeyError),
                                            ({100: 'a'}, ValueError), ({100: None}, ValueError), (None, TypeError), (pd.DataFrame({'x': [1]}), ValueError)])
def test_histories_that_say_nothing(history, error, model):
    with pytest.raises(error): model.fold_in(history)

@pytest.mark.parametrize('profile', [{}, {'age': np.nan}, {'age': None}, {'age': np.inf}, {'job': 'zzz'}, {'job': pd.NA}, {'job': 5}, {'nothing': 1}, {'age': np.nan, 'job': 'zzz'}])
def test_profiles_that_say_nothing(profile, model):
    "They used to get everybody's list; with a history that is not needed"
    with pytest.raises(ValueError, match="'age', 'job'"): model.recommend(User(profile=profile))
    assert np.array_equal(model.query(User([100], profile)).vectors[0], model.fold_in([100]).vector)

def test_profiles(model):
    a, b = (model.recommend(User(profile=p), k=33) for p in ({'age': 30}, pd.Series({'age': '30'})))
    assert a.equals(b)
    assert not model.recommend(User(profile={'age': 1e300}), k=3).score.abs().max() > 100
    for bad in ([1], 'x', pd.DataFrame({'age': [3]})):
        with pytest.raises(TypeError, match='dict'): model.recommend(User(profile=bad))
    with pytest.raises(ValueError, match='thirty'): model.recommend(User(profile={'age': 'thirty'}))

def test_history_and_profile_together(model):
    "What two people both did brings them closer (a penalty on a convex loss is never outdone), next to nothing leaves them apart"
    young, old = ({'age': a, 'job': j} for a, j in ((0, 'a'), (41, 'b')))
    apart = lambda *who: np.linalg.norm(np.subtract(*(model.query(u).vectors[0] for u in who)))
    alone = apart(User(profile=young), User(profile=old))
    assert alone > apart(User({100: 10}, young), User({100: 10}, old))
    assert apart(User({100: 1e-20}, young), User(profile=young)) < 1e-5

def test_a_newcomer_is_seen_as_the_person_is():
    "The vector of a known history puts the hidden half of the same group on top"
    user, item = np.divmod(np.arange(60*40), 40)
    met = np.random.default_rng(0).random(2400) < np.where(user%2 == item%2, .6, .05)
    m = TwoTower(8, 30, bs=128).fit(Interactions.from_df(pd.DataFrame(dict(user=user[met], item=item[met], rating=1))))
    for g in (0, 1): assert (m.recommend(User([g, g+2, g+4]), k=10)['item']%2 == g).mean() >= .9

# --- cold items and users

def test_cold_items():
    "One that is described can be recommended, by its own description; one of which nothing is known comes last"
    user, item = np.divmod(np.arange(60*40), 40)
    met = np.random.default_rng(0).random(2400) < np.where(user%2 == item%2, .6, .05)
    info = pd.DataFrame(dict(kind=[['even', 'odd'][i%2] for i in range(42)] + [None]), range(43))
    m = TwoTower(8, 30, bs=128).fit(Interactions.from_df(pd.DataFrame(dict(user=user[met], item=item[met], rating=1)), item_info=info))
    for u in (0, 1):
        recs = m.recommend(u, k=50, exclude_seen=False)
        assert recs['item'].iloc[-1] == 42 and np.isfinite(recs.score).all()
        place = recs.set_index('item')['rank']
        assert place[40 + u] < place[41 - u]
    newcomer = m.recommend(User([0, 2]), k=50)
    assert newcomer['item'].iloc[-1] == 42
    with pytest.raises(KeyError, match='nobody'): m.recommend('nobody')
    with pytest.raises(KeyError, match='99'): m.recommend(0, items=[99])

def test_row_0_is_zero(model): assert not model.item_factors[0].any() and not model.user_factors[0].any() and not model.item_bias[0]

# --- defaults and files

def test_a_small_train_is_gone_through_more_often():
    assert passes(63_000, 512) < passes(20_000, 512) <= passes(100, 512) == 40 and passes(10**7, 512) == 5

def test_decay_of_a_pass_does_not_grow_with_the_log():
    "1 for each step whatever the size let ids of a large log vanish between two of their rows"
    left = [np.exp(-lr*usual_decay(rows, bs, lr)*np.ceil(rows/bs)) for rows in (10**5, 10**6, 10**7) for bs in (256, 512) for lr in (.01, .02)]
    assert np.allclose(left, np.exp(-.5)) and usual_decay(100, 512, .01) == 1

@pytest.mark.filterwarnings('default::recsys_course.recommender.PoorModelWarning')
def test_lists_worse_than_everybodys_are_told():
    rng = np.random.default_rng(0)
    fame = 1/np.arange(1, 201)
    df = pd.DataFrame([(u, i) for u in range(300) for i in rng.choice(200, 8, replace=False, p=fame/fame.sum())], columns=['user', 'item']).assign(rating=1)
    train = Interactions.from_df(df)
    with pytest.warns(PoorModelWarning, match='worse than the same list'): TwoTower(8, 5, correct=False).fit(train)
    quiet = TwoTower(8, 5, correct=False)
    quiet.check_lists = False
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        quiet.fit(train)

def test_same_seed_same_bits_and_a_file(model, tmp_path):
    a, b = (TwoTower(4, 2, seed=s).fit(log_of()) for s in (1, 1))
    assert np.array_equal(a.item_factors, b.item_factors) and not np.array_equal(a.item_factors, TwoTower(4, 2, seed=2).fit(log_of()).item_factors)
    model.save(tmp_path)
    back = Saveable.load(tmp_path)
    who = [0, User([100, 101], {'age': 20}, 'Tom'), User(profile={'job': 'a'}, id='Rita')]
    assert back.recommend(who).equals(model.recommend(who))
    model.own_reg, keep = float('nan'), model.own_reg
    with pytest.raises(TypeError, match='own_reg'): model.save(tmp_path)
    model.own_reg = keep
