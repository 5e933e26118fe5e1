"What the lesson on data promises beyond its cells: what comes in is read right or refused, inputs stay as they were, splits draw as published"
import datetime as dt, warnings
from decimal import Decimal

import numpy as np, pandas as pd, pytest
from hypothesis import given, settings, strategies as st

from recsys_course.data import Interactions, Vocab

TOY = pd.DataFrame(dict(user=[1, 1, 2, 3], item=[1, 2, 2, 3], rating=[5, 4, 3, 2], timestamp=[4, 3, 2, 1]))

def said(error):
    "An error's text, on one line"
    return ' '.join(str(error.value).split())

@pytest.mark.parametrize('n,shown', [(1, ': 0'), (3, ': 0, 1, 2'), (4, ': 0, 1, 2, ...')])
def test_a_vocabulary_shows_three_ids_and_whether_there_are_more(n, shown): assert repr(Vocab(range(n), 'item')) == f'Vocab of {n} items{shown}'

def test_input_is_not_changed():
    df = pd.DataFrame(dict(user=[1, 1, 2], item=[1, 2, 1], rating=[1, 2, 3], timestamp=[3, 2, 1]), index=[9, 8, 7])
    info = pd.DataFrame(dict(item=[1, 2], title=['a', 'b']))
    before, about = df.copy(), info.copy()
    inter = Interactions.from_df(df, duplicates='mean', item_info=info)
    inter.split('leave_last'); inter.crosstab(); inter.csr()
    inter.df.loc[0, 'rating'] = 99
    inter.item_info.loc[1, 'title'] = 'other'
    pd.testing.assert_frame_equal(df, before)
    pd.testing.assert_frame_equal(info, about)

def test_a_table_changed_in_place_is_not_used():
    inter = Interactions.from_df(TOY)
    inter.df['rating'] = [0, 1, 0, 1]
    with pytest.raises(ValueError, match='changed in place'): inter.codes()

# ---- ids

@pytest.mark.parametrize('raw', [
    [1., 1., 2., 3.], np.array([1, 1, 2, 3], 'f2'), np.array([1, 1, 2, 3], 'f4'), np.array([1., 1, 2, 3], object), pd.array([1., 1, 2, 3], dtype='Float64'), pd.Categorical([1., 1, 2, 3]),
    pd.Categorical([1, 1, 2, 3]), np.array([1, 1, 2, 3], 'u8'), np.array([1, 1, 2, 3], object), pd.array([1, 1, 2, 3], dtype='Int64'), pd.arrays.SparseArray([1, 1, 2, 3])], ids=lambda o: f'{type(o).__name__}-{getattr(o, "dtype", "")}')
def test_whole_numbers_are_ids_however_they_are_kept(raw):
    inter = Interactions.from_df(TOY.assign(user=raw))
    assert inter.users.ids.dtype == np.int64 and inter.users.ids.tolist() == [1, 2, 3] and inter.df.user.tolist() == [1, 1, 2, 3] and inter.df.user.dtype == np.int64

@pytest.mark.parametrize('raw,error,words', [
    ([1.5, 1, 2, 3], TypeError, '1.5 is no whole number'), ([np.inf, 1, 2, 3], TypeError, 'inf is no whole number'), ([2.**60, 2, 3, 4], ValueError, '1152921504606846976 was read as a float (float64)'),
    (np.array([2**25, 2, 3, 4], 'f4'), ValueError, 'exact up to 16,777,216'), (np.array([4096, 2, 3, 4], 'f2'), ValueError, 'exact up to 2,048'),
    ([np.nan, 1, 2, 3], ValueError, "missing values in column 'user' in 1 of 4"), (pd.array([1, None, 2, 3], dtype='Int64'), ValueError, 'missing values'), (pd.Categorical(['a', None, 'b', 'c']), ValueError, 'missing values'), (['a', None, 'b', 'c'], ValueError, 'missing values'),
    ([True, False, True, True], TypeError, 'not boolean'), ([1, '1', 2, 3], TypeError, '.astype(str)'), ([b'a', b'a', b'b', b'c'], TypeError, ".str.decode('utf-8')"), ([(1, 2), (1, 3), (2, 2), (3, 3)], TypeError, '(1, 2)'), ([[1], [2], [3], [4]], TypeError, '[1]'),
    (pd.date_range('2020', periods=4), TypeError, 'datetime64'), ([1j, 1, 2, 3], TypeError, 'complex'), ([Decimal(1)]*4, TypeError, 'decimal'), ([2**70, 1, 2, 3], ValueError, str(2**70)), ([-2**70, 1, 2, 3], ValueError, str(-2**70)), ([2**63 + 1, -1, 2, 3], ValueError, str(2**63 + 1)),
    (['', 'a', 'b', 'c'], ValueError, 'an empty text is no user id'), ([' ', 'a', 'b', 'c'], ValueError, 'an empty text'), (['a', ' a', 'b', 'c'], ValueError, "' a' and 'a' are one id"), (['1', '1.0', '2', '3'], ValueError, "'1' and '1.0' are one id")])
def test_what_is_no_id_is_refused(raw, error, words):
    with pytest.raises(error) as e: Interactions.from_df(TOY.assign(user=raw))
    assert words in said(e)

def test_ids_of_64_bits():
    big = [2**63 + 1, 2**64 - 1, 5]
    inter = Interactions.from_df(pd.DataFrame(dict(user=np.array(big, 'u8'), item=[1, 2, 3], rating=[5, 4, 3])))
    assert inter.users.ids.tolist() == sorted(big) and inter.df.user.tolist() == big
    assert inter.users.encode(big).tolist() == [2, 3, 1] and inter.users.encode(5).tolist() == [1] and inter.users.encode([-1, 2**63], strict=False).tolist() == [0, 0]
    for raw in (2**63 + 5, np.uint64(2**63 + 5), 2**70, -5):
        with pytest.raises(KeyError, match=f'unknown user {int(raw)}:'): inter.users.encode(raw)
        with pytest.raises(KeyError, match=f'unknown user {int(raw)}:'): Vocab([1, 2], 'user').encode(raw)
    about = pd.DataFrame(dict(age=[1, 2]), index=pd.Index([5, 7], name='user'))                 # int64 beside uint64
    with pytest.warns(UserWarning, match='1 of 3 users'): wider = Interactions.from_df(inter.df, user_info=about)
    assert wider.users.ids.tolist() == [5, 7, 2**63 + 1, 2**64 - 1]

@given(st.lists(st.integers(-2**63, 2**63 - 1), min_size=1, max_size=20), st.lists(st.integers(-2**65, 2**65), max_size=10))
@settings(max_examples=50, deadline=None)
def test_every_whole_number_is_found_or_unknown(known, asked):
    v, want = Vocab(known), sorted(set(known))
    assert v.ids.tolist() == want and v.decode(v.encode(known)).tolist() == known
    assert v.encode(asked, strict=False).tolist() == [want.index(o) + 1 if o in want else 0 for o in asked]

def test_lookups_take_all_that_holds_ids():
    torch = pytest.importorskip('torch')
    v = Vocab([3, 1, 2], 'user')
    for raw in (2, 2., np.int8(2), np.array(2), torch.tensor(2), [2], (2,), {2}, {2: 'b'}.keys(), (o for o in [2]), range(2, 3), np.array([2.]), torch.tensor([2]), pd.Series([2], index=[9]), pd.Index([2]), pd.array([2], dtype='Int64')):
        assert v.encode(raw).tolist() == [2], raw
    assert v.encode([]).shape == v.encode(np.array([])).shape == (0,)

@pytest.mark.parametrize('raw,error,words', [(None, ValueError, 'missing values'), (np.nan, ValueError, 'missing values'), (pd.array([1, None], dtype='Int64'), ValueError, '1 of 2'), (1.5, TypeError, '1.5'), (True, TypeError, 'boolean'),
    (TOY[['user']], TypeError, "df['user']"), (np.ones((2, 2), int), TypeError, '(2, 2)'), ([(1, 5)], TypeError, '(1, 5)'), (['x']*7, KeyError, "unknown user 'x': not among the 3 known (the known ones are integers)")])
def test_lookups_of_what_is_no_id(raw, error, words):
    with pytest.raises(error) as e: Vocab([1, 2, 3], 'user').encode(raw)
    assert words in said(e)

def test_what_a_vocabulary_holds():
    v = Vocab([1, 2])
    assert 1 in v and np.int64(2) in v and not any(o in v for o in (True, '1', None, [1], (1,), np.nan, 2**70, 1.5)) and np.array(1) not in v
    assert len(Vocab([])) == 1
    with pytest.raises(KeyError, match='no id is known'): Vocab([]).encode(1)

@pytest.mark.parametrize('codes', [1.7, '1', [True, False], None, np.nan, [[.5]]])
def test_codes_are_whole_numbers(codes):
    with pytest.raises(TypeError, match='codes are whole numbers'): Vocab([1, 2, 3]).decode(codes)

# ---- times

@pytest.mark.parametrize('times', [
    ['999999999', '1000000000', '5', '1000000001'], ['9.5', '10.5', '-1e3', '11'], [' 9', '10 ', '8', '11'], pd.Categorical(['9', '10', '8', '11']), [.25, .5, .1, .75], np.array([9, 10, 8, 11], 'f4'), [Decimal(9), Decimal(10), Decimal(8), Decimal(11)],
    pd.array([9, 10, 8, 11], dtype='Int64'), ['1700000000123456788', '1700000000123456789', '5', '1700000000123456790'], ['2023-12-31', '2024-01-10', '1999-01-01', '2024-02-01T10:00:00'], ['2024-01-01T03:00:00+05:00', '2023-12-31T23:00:00Z', '2023-01-01', '2024-01-01T00:00:00'],
    pd.to_datetime(['2024-01-02', '2024-01-03', '2024-01-01', '2024-01-04']).as_unit('s'), pd.to_datetime(['2024-01-02', '2024-01-03', '2024-01-01', '2024-01-04']).tz_localize('Europe/Berlin'), [dt.date(2024, 1, k) for k in (2, 3, 1, 4)],
    [dt.datetime(2024, 1, k) for k in (2, 3, 1, 4)], pd.period_range('2020', periods=4, freq='D')[[1, 2, 0, 3]],
    *([['2999-01-01', '3000-01-01', '2998-01-01', '3001-01-01']] if pd.__version__ >= '3' else [])], ids=lambda o: f'{type(o).__name__}-{o[0]}')
def test_times_are_sorted_as_times(times):
    "The order of the four events is third, first, second, last"
    df = pd.DataFrame(dict(user=1, item=[1, 2, 3, 4], rating=1, timestamp=times))
    inter = Interactions.from_df(df)
    assert inter.history(1)['item'].tolist() == [3, 1, 2, 4] and inter.split('leave_last')[1].df['item'].tolist() == [4]
    assert inter.split('time', .5)[0].df['item'].tolist() == [1, 3] and inter.split('user_time', .5)[1].df['item'].tolist() == [2, 4]
    same = Interactions.from_df(df.assign(item=7, rating=[1, 2, 3, 4]), duplicates='last')
    assert same.df.rating.tolist() == [4]
    kept = Interactions.from_df(df.assign(item=7, rating=[1, 2, 3, 4]), duplicates='keep')
    assert kept.csr(repeats='last')[1,1] == 4 and kept.csr('timestamp')[1,1] == inter.csr('timestamp').toarray()[1].max()

def test_dates_are_seconds_in_the_matrix():
    for unit in ('s', 'ms', 'us', 'ns'):
        time = pd.to_datetime(['1970-01-02', '2024-01-01', '1970-01-01', '1969-12-31']).as_unit(unit)
        assert Interactions.from_df(TOY.assign(timestamp=time)).csr('timestamp').data.tolist() == [86400, 1704067200, 0, -86400]
    assert Interactions.from_df(TOY.assign(timestamp=[.25, .5, .75, 1.5])).csr('timestamp').data.tolist() == [.25, .5, .75, 1.5]

@given(st.lists(st.integers(-10**15, 10**15), min_size=4, max_size=4, unique=True))
@settings(max_examples=15, deadline=None)
def test_text_and_numbers_are_the_same_times(times):
    a, b = (Interactions.from_df(TOY.assign(user=1, item=[1, 2, 3, 4], timestamp=t)) for t in (times, list(map(str, times))))
    pd.testing.assert_frame_equal(a.df, b.df)
    assert b.history(1)['item'].tolist() == [k + 1 for k in np.argsort(times)]

@pytest.mark.parametrize('times,words', [(['yesterday']*4, 'neither numbers nor dates'), (['31/12/2020']*4, 'pd.to_datetime'), (['10:00']*4, 'neither'), (['2024-01-01', '2024-02-01', '17', '18'], 'numbers and dates mixed'), (['2024', '2023-05', '2022-01', '2021-01'], 'mixed in column'),
    ([pd.Timestamp('2024'), 5, 6, 7], 'mixed'), ([1, 2, 3, np.inf], 'infinite'), (['1', '2', '3', '-inf'], '-inf'), ([1e300, 1, 2, 3], 'huge'), (np.array([2**63 + 1, 2, 3, 4], 'u8'), 'huge'), ([1, 2, 3, np.nan], 'missing'), (['1', '2', '3', 'nan'], 'neither'), ([pd.NaT, *pd.date_range('2024', periods=3)], 'missing'),
    (pd.array([1, 2, 3, None], dtype='Int64'), 'missing'), ([True, False, True, True], 'True or False'), (pd.to_timedelta([1, 2, 3, 4], 's'), 'neither'), ([[1], [2], [3], [4]], 'neither'), ([1j, 2, 3, 4], 'neither')])
def test_what_is_no_time_is_refused(times, words):
    with pytest.raises(ValueError) as e: Interactions.from_df(TOY.assign(timestamp=times))
    assert words in said(e) and 'of 4 rows' in said(e)

# ---- ratings

@pytest.mark.parametrize('ratings,want', [(['5', '4', '3', '2.5'], [5, 4, 3, 2.5]), ([True, False, True, True], [1, 0, 1, 1]), (np.array([5, 4, 3, 2], 'f2'), [5, 4, 3, 2]), (pd.array([5, 4, 3, 2], dtype='Int64'), [5, 4, 3, 2]), (pd.array([5, 4, 3, .5], dtype='Float64'), [5, 4, 3, .5]),
    (pd.Categorical([5, 4, 3, 2]), [5, 4, 3, 2]), (pd.Categorical(['5', '4', '3', '2']), [5, 4, 3, 2]), ([Decimal('4.5')]*4, [4.5]*4), (np.array([5, 4, 3, 2], 'u8'), [5, 4, 3, 2]), (pd.arrays.SparseArray([0, 0, 1, 2]), [0, 0, 1, 2]), ([0, 0, 0, 0], [0]*4)])
def test_ratings_are_numbers(ratings, want):
    inter = Interactions.from_df(TOY.assign(rating=ratings))
    assert inter.df.rating.tolist() == want and inter.df.rating.dtype in (np.int64, np.float64) and inter.codes()[2].tolist() == want
    assert inter.crosstab([1], [1, 2]).to_numpy().tolist() == [want[:2]] and inter.summary().mean_rating == np.mean(want)

@pytest.mark.parametrize('ratings', [['4,5', '3', '2', '1'], [np.inf, 1, 2, 3], [1e39, 1, 2, 3], [1j, 1, 2, 3], pd.to_timedelta([1, 2, 3, 4], 's'), pd.date_range('2020', periods=4), [[1]]*4, ['good']*4, ['nan', '1', '2', '3']])
def test_what_is_no_rating_is_refused(ratings):
    with pytest.raises(ValueError, match='not finite numbers'): Interactions.from_df(TOY.assign(rating=ratings))

# ---- the table of events

@pytest.mark.parametrize('df,error,words', [(TOY.to_dict('list'), TypeError, 'not a dict'), (TOY.to_numpy(), TypeError, 'not a ndarray'), (TOY.user, TypeError, 'not a Series'), (None, TypeError, 'NoneType'), ('a.csv', TypeError, 'not a str'), (TOY.groupby('user'), TypeError, 'GroupBy'), (Interactions.from_df(TOY), TypeError, 'not a Interactions'),
    (pd.concat([TOY, TOY[['rating']]], axis=1), ValueError, "two columns called 'rating'"), (pd.concat({'a': TOY}, axis=1), ValueError, 'no column'), (TOY.head(0), ValueError, 'no rows')])
def test_what_is_no_table_is_refused(df, error, words):
    with pytest.raises(error) as e: Interactions.from_df(df)
    assert words in said(e)

@pytest.mark.parametrize('settings,error,words', [(dict(user=TOY.user), TypeError, 'name of a column, not a Series'), (dict(item=['item']), TypeError, 'not a list'), (dict(user=None), ValueError, 'user=None'), (dict(user='item'), ValueError, "column 'item' is asked for twice"),
    (dict(rating='user'), ValueError, 'asked for twice'), (dict(timestamp='when'), ValueError, "no column ['when']"), (dict(duplicates=None), ValueError, 'duplicates=None'), (dict(duplicates=['last']), ValueError, 'is not one of')])
def test_settings_that_name_no_column(settings, error, words):
    with pytest.raises(error) as e: Interactions.from_df(TOY, **settings)
    assert words in said(e)

@pytest.mark.parametrize('df', [TOY.set_index('user'), TOY.set_index(['user', 'item']), TOY.set_axis(list('abcd')), TOY.set_axis([0, 0, 0, 0]), pd.concat([TOY.assign(x=1), TOY.assign(x=1)[['x']]], axis=1)])
def test_any_index_will_do(df): pd.testing.assert_frame_equal(Interactions.from_df(df).df, TOY)

# ---- tables about items and users

EVENTS = pd.DataFrame(dict(userId=[1, 1, 2, 2, 3, 3], movieId=[1, 3, 1, 6, 3, 6], rating=[4, 5, 3, 2, 5, 1]))
FILMS = pd.DataFrame(dict(movieId=[1, 3, 6, 10], title=['Toy', 'Old Men', 'Heat', 'Eye']))     # rows 0, 1, 2, 3
TITLES = {1: 'Toy', 3: 'Old Men', 6: 'Heat', 10: 'Eye'}
BY_ID = FILMS.set_index('movieId')

def read(info, df=EVENTS, **settings): return Interactions.from_df(df, **dict(user='userId', item='movieId', item_info=info) | settings)

@pytest.mark.parametrize('info', [FILMS, BY_ID, BY_ID.rename_axis(None), BY_ID.rename_axis('id'), FILMS.rename(columns=dict(movieId='item')), FILMS.assign(item=[5, 6, 7, 8]), FILMS.iloc[[2, 0, 3, 1]], FILMS.astype({'movieId': float}), FILMS.astype({'movieId': 'category'}), FILMS.astype({'movieId': 'uint8'}),
    FILMS.assign(year=1999).set_index(['movieId', 'year']), BY_ID.assign(item=list('abcd')), BY_ID.assign(movieId=[9, 8, 7, 5]), BY_ID.rename_axis(None).assign(year=[1, 3, 6, 2000]), BY_ID.assign(genres=[['a'], ['b'], [], ['c']]), FILMS.set_axis(list('abcd')), FILMS.set_axis([1, 3, 6, 10])], ids=range(17))
def test_titles_find_their_films(info):
    inter = read(info)
    assert inter.item_info.title.to_dict() == TITLES and inter.items.ids.tolist() == [1, 3, 6, 10] and list(inter.titles) == list(TITLES.values())
    assert 'movieId' not in inter.item_info or info.index.name == 'movieId'
    assert inter.summary().item_info == 'titles for 3 of 3 items' and 'item_info' not in repr(inter)

@pytest.mark.parametrize('info,error,words', [(FILMS[['title']], ValueError, "its column 'movieId'"), (FILMS[['title']].iloc[[2, 0, 3, 1]], ValueError, 'numbers its rows'), (FILMS.rename(columns=dict(movieId='film')), ValueError, "item_info.set_index('film')"),
    (FILMS.astype({'movieId': str}), TypeError, "strings such as '1' but item ids are integers such as 1"), (FILMS.assign(movieId=['1.0', '3.0', '6.0', '10.0']), TypeError, "'1.0'"), (FILMS.assign(movieId=[100, 101, 102, 103]), ValueError, 'no row for any of the 3 rated items'), (BY_ID.rename_axis('id').set_axis([7, 8, 9, 11]).assign(film=FILMS.movieId.to_numpy()), ValueError, "set_index('film')"),
    (pd.concat([FILMS, FILMS]), ValueError, 'several rows for item 1'), (FILMS.assign(movieId=pd.array([1, None, 6, 10], dtype='Int64')), ValueError, 'missing values'), (FILMS.head(0), ValueError, 'no rows'), (pd.concat([FILMS, FILMS[['title']]], axis=1), ValueError, "two columns called 'title'"),
    ({1: 'Toy'}, TypeError, 'not a dict'), (BY_ID.title, TypeError, 'not a Series'), (['Toy'], TypeError, 'not a list'), (BY_ID.set_axis(pd.date_range('2020', periods=4)), TypeError, 'datetime64'), (BY_ID.rename(index=str), TypeError, 'integers such as 1')])
def test_a_table_that_does_not_fit_is_refused(info, error, words):
    with pytest.raises(error) as e: read(info)
    assert words in said(e) and 'item' in said(e)

@pytest.mark.parametrize('ids,words', [([1, 3, 6, 10], "strings such as '1'"), (['1.0', '3.0', '6.0', '10.0'], "like '1.0', those of the ratings like '1'"), (['1', '3.0', '6', '10'], "'3' and '3.0' are one id"), (['01', '03', '06', '10'], "'01'"), (['1 ', '3 ', '6 ', '10 '], "'1 '")])
def test_text_ids_of_two_spellings(ids, words):
    with pytest.raises((TypeError, ValueError)) as e: read(FILMS.assign(movieId=ids), EVENTS.astype({'movieId': str}))
    assert words in said(e)

def test_what_share_is_known_is_said():
    with pytest.warns(UserWarning, match='item_info: titles for 1 of 3 items: do its ids mean the same'): few = read(FILMS.assign(movieId=[1, 101, 102, 103]))
    assert repr(few).endswith('item_info: titles for 1 of 3 items') and few.summary().item_info == 'titles for 1 of 3 items'
    with pytest.warns(UserWarning, match=r"no row for 6, and its index has no name.*rename_axis\('item'\)"): read(BY_ID.rename_axis(None).loc[[1, 3]])
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        both = read(BY_ID.loc[[1, 3]], user_info=pd.DataFrame(dict(userId=[3, 1, 2], age=[30, 10, 20])))
        read(FILMS.assign(title=['Toy', None, 'Heat', 'Eye']))
    assert both.summary()[['item_info', 'user_info']].tolist() == ['titles for 2 of 3 items', 'rows for 3 of 3 users'] and both.user_info.age[3] == 30
    assert 'item_info' not in Interactions.from_df(TOY).summary()

def test_rows_numbered_from_0_are_ids_only_if_the_ids_are():
    events = pd.DataFrame(dict(user=[0, 0, 1, 2], item=[0, 1, 2, 1], rating=[1, 2, 3, 4]))
    names = pd.DataFrame(dict(title=list('abc')))
    for info in (names, names.assign(id=[0, 1, 2]), names.assign(age=[1, 20, 30])): assert Interactions.from_df(events, item_info=info).item_info.title[1] == 'b'
    with pytest.raises(ValueError, match=r"set_index\('id'\)"): Interactions.from_df(events, item_info=names.assign(id=[2, 0, 1]))
    with pytest.raises(ValueError, match='numbers its rows from 0'): Interactions.from_df(events[events['item'] > 0], item_info=names)

@pytest.mark.parametrize('rows', [BY_ID, FILMS, BY_ID.rename_axis(None)], ids=['index', 'column', 'no name'])
def test_files_of_our_own(rows, tmp_path):
    pytest.importorskip('pyarrow', reason='parquet needs pyarrow')
    rows.to_parquet(tmp_path/'i.parquet'); EVENTS.to_parquet(tmp_path/'e.parquet')
    for backend in ({}, dict(dtype_backend='pyarrow'), dict(dtype_backend='numpy_nullable')):
        assert read(pd.read_parquet(tmp_path/'i.parquet', **backend), pd.read_parquet(tmp_path/'e.parquet', **backend)).item_info.title.to_dict() == TITLES
    polars = pytest.importorskip('polars', reason='needs polars')
    assert read(polars.read_parquet(tmp_path/'i.parquet'), polars.read_parquet(tmp_path/'e.parquet')).item_info.title.to_dict() == TITLES

# ---- repeats

@given(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(-3, 5), st.integers(0, 9)), min_size=1, max_size=15))
@settings(max_examples=20, deadline=None)
def test_repeats_in_the_matrix(rows):
    df = pd.DataFrame(rows, columns=['user', 'item', 'rating', 'timestamp'])
    inter = Interactions.from_df(df, duplicates='keep')
    by_pair = df.sort_values('timestamp', kind='stable').groupby(['user', 'item'])
    for values in ('rating', 'timestamp'):
        for how in ('sum', 'mean', 'last'):
            X, want = inter.csr(values, repeats=how), getattr(by_pair[values], how)()
            assert X.nnz == len(want)
            for (u, i), x in want.items(): np.testing.assert_allclose(X[inter.users.encode(u)[0], inter.items.encode(i)[0]], x, rtol=1e-6)
    assert (inter.csr() != inter.csr(repeats='sum')).nnz == (inter.csr('timestamp') != inter.csr('timestamp', 'last')).nnz == 0
    assert inter.csr('ones').sum() == len(df) and inter.csr('ones', 'mean').data.tolist() == [1]*len(by_pair)

def test_unknown_ways_with_repeats():
    for repeats in ('max', 1, ['sum']):
        with pytest.raises(ValueError, match='is not one of sum, mean, last'): Interactions.from_df(TOY).csr(repeats=repeats)

# ---- splits and readers

@pytest.mark.parametrize('settings,words', [(dict(test=t), 'between 0 and 1') for t in (0, 1, -1, 20, np.nan, np.inf, None, '0.2', [.2], True)] + [(dict(seed=s), 'seed=') for s in (-1, 1.5, None, '1', 2**32)] + [(dict(how=h), 'is not one of') for h in ('tme', None, ['time'], 1)])
def test_settings_of_a_split(settings, words):
    with pytest.raises(ValueError) as e: Interactions.from_df(TOY).split(**dict(how='random') | settings)
    assert words in said(e)

@pytest.mark.parametrize('how', ['random', 'time', 'user_random', 'user_time', 'leave_last'])
@pytest.mark.parametrize('test', [.01, .5, .9, .999])
def test_something_is_left_to_train_on(how, test):
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        train, rest = Interactions.from_df(TOY).split(how, test)
    assert len(train) > 0 and len(train) + len(rest) == len(TOY)

@pytest.mark.parametrize('how', ['user_random', 'user_time', 'leave_last'])
def test_an_empty_part_is_said_and_can_be_looked_at(how):
    inter = Interactions.from_df(TOY.drop_duplicates('user'))
    with pytest.warns(UserWarning, match=r'the test part is empty: .* at most 1') as told: rest = inter.split(how)[1]
    assert told[0].filename == __file__
    assert repr(rest) == 'Interactions: 0 users, 0 items, 0 ratings' and np.isnan(rest.sparsity) and np.isnan(rest.summary().mean_rating)
    assert rest.csr().shape == (4, 4) and rest.csr('timestamp').nnz == rest.csr(repeats='mean').nnz == 0 and len(rest.history(1)) == 0 and rest.crosstab([1], [1]).isna().all(axis=None)
    with pytest.raises(ValueError, match='0 row'): rest.split('random')

def test_many_events_at_one_time():
    inter = Interactions.from_df(pd.DataFrame(dict(user=range(100), item=1, rating=5, timestamp=[2019]*10 + [2020]*90)))
    with pytest.warns(UserWarning, match='90 of 100 events, not 20') as told: train, rest = inter.split('time')
    assert (len(train), len(rest)) == (10, 90) and told[0].filename == __file__
    with pytest.raises(ValueError, match='at the same time'): inter.take(inter.df.timestamp == 2020).split('time')

def test_readers_ask_for_one():
    inter = Interactions.from_df(TOY)
    with pytest.raises(ValueError, match='not of 2'): inter.history([1, 2])
    with pytest.raises(ValueError, match='not of 0'): inter.history([])
    assert inter.history([1]).equals(inter.history(1)) and inter.crosstab(1, 2).to_numpy() == [[4]] and inter.crosstab((o for o in [1, 2]), [2]).shape == (2, 1)
    for mask in ([0, 1], np.array([0, 1, 2, 3]), [True], np.ones((4, 1), bool)):
        with pytest.raises(ValueError, match='True or False for each of the 4 events'): inter.take(mask)
    assert len(inter.take([True, False, True, False])) == 2 and inter.take(pd.Series([True, False, False, False], index=[3, 2, 1, 0])).df['item'].tolist() == [1]

@pytest.mark.parametrize('test', [.1, .25, .5, .9])
def test_user_random_draws_the_published_way(test):
    rng = np.random.default_rng(0)
    users = np.repeat(np.arange(40), np.arange(1, 41))
    df = pd.DataFrame(dict(user=users, item=np.arange(len(users)), rating=1)).iloc[rng.permutation(len(users))]     # no timestamps
    train, rest = Interactions.from_df(df).split('user_random', test, seed=7)
    # as the recommenders library has it: random numbers in the order of the rows, ranked within each user, those above the share are test
    r, want = np.random.RandomState(7).rand(len(df)), []
    for u in df.user.unique():
        own = sorted(zip(r[df.user == u], df['item'][df.user == u]))
        n = len(own)
        want += [i for rank, (_, i) in enumerate(own, 1) if rank*1000 > round(n*(1 - test)*1000) and n > 1]
        if n > 1 and round(n*(1 - test)*1000) < 1000: want.remove(own[0][1])                # one row stays in train
    assert sorted(rest.df['item']) == sorted(want) and set(train.df.user) == set(df.user) and len(train) + len(rest) == len(df)
    again = Interactions.from_df(df).split('user_random', test, seed=7)[1]
    assert again.df.equals(rest.df) and not Interactions.from_df(df).split('user_random', test, seed=8)[1].df.equals(rest.df)

# ---- sequences

@pytest.mark.parametrize('times', ['numbers', 'dates', 'none'])
def test_sequences_are_histories_from_the_right(times):
    rng = np.random.default_rng(3)
    df = pd.DataFrame(dict(user=rng.integers(0, 30, 400), item=rng.integers(0, 25, 400), rating=1., timestamp=rng.integers(0, 40, 400)))   # with ties and repeats
    if times == 'dates': df['timestamp'] = pd.to_datetime(df.timestamp, unit='D')
    if times == 'none': df = df.drop(columns='timestamp')
    inter = Interactions.from_df(df, duplicates='keep')
    before = inter.df.copy()
    for n in (1, 5, 60):
        got = inter.sequences(n)
        assert got.shape == (len(inter.users), n) and got.dtype == np.int32 and not got[0].any()
        for u in inter.users.ids:
            want = inter.items.encode(inter.history(u)['item'])[-n:].tolist()
            assert got[inter.users.encode(u)[0]].tolist() == [0]*(n - len(want)) + want
    pd.testing.assert_frame_equal(inter.df, before)

@pytest.mark.parametrize('n', [0, -1, 1.5, True, None, '3'])
def test_sequences_have_a_length(n):
    with pytest.raises(ValueError, match='whole number'): Interactions.from_df(pd.DataFrame(dict(user=[1], item=[2], rating=[1.]))).sequences(n)
