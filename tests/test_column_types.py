"One table of ratings in every type that its ids can have: a hundred calls give the same answers and the same refusals"
import io, warnings

import numpy as np, pandas as pd, pytest

from recsys_course.data import Interactions
from recsys_course.evaluate import ranking_metrics, rating_metrics
from recsys_course.recommender import Bias, ItemKNN, Popular, Recommender, User

# Ids of three digits, so that they sort alike as numbers and as text, and fit into 8 bits
rng = np.random.default_rng(0)
CELLS = np.flatnonzero(rng.random((9, 12)) < .6)
EVENTS = pd.DataFrame(dict(user=100 + CELLS//12, item=110 + CELLS%12, rating=rng.integers(1, 6, len(CELLS)), timestamp=rng.permutation(len(CELLS))))
FILMS = pd.DataFrame(dict(item=np.arange(110, 123), title=[f'Film {k}' for k in range(13)], genres=['a|b', 'b', 'c']*4 + ['a']))     # nobody rated 122
PEOPLE = pd.DataFrame(dict(user=np.arange(100, 109), age=np.arange(20, 29)))
IDS = 'user', 'item'

def cast(dtype, first=None):
    "A function: the id columns of a table in another type, by way of `first`"
    def change(df):
        for c in IDS:
            if c in df: df = df.assign(**{c: (df[c] if first is None else df[c].astype(first)).astype(dtype)})
        return df
    return change

def arrow(dtype, first=None):
    def change(df):
        pa = pytest.importorskip('pyarrow', reason='needs pyarrow')
        return cast(pd.ArrowDtype(dtype(pa)), first)(df)
    return change

def as_array(f): return lambda df: df.assign(**{c: f(df[c]) for c in IDS if c in df})
def csv(write=None, **settings): return lambda df: pd.read_csv(io.StringIO((df if write is None else write(df)).to_csv(index=False)), **settings)

def parquet(first=None, **settings):
    def change(df):
        pytest.importorskip('pyarrow', reason='parquet needs pyarrow')
        file = io.BytesIO()
        (df if first is None else first(df)).to_parquet(file)
        return pd.read_parquet(io.BytesIO(file.getvalue()), **settings)
    return change

def polars(first=None, dtype=None):
    def change(df):
        pl = pytest.importorskip('polars', reason='needs polars')
        pytest.importorskip('pyarrow', reason='polars needs pyarrow to speak to pandas')
        df = pl.from_pandas(df if first is None else first(df))
        return df if dtype is None else df.with_columns(pl.col(c).cast(getattr(pl, dtype)) for c in IDS if c in df.columns)
    return change

def table(first=None):
    def change(df):
        pa = pytest.importorskip('pyarrow', reason='needs pyarrow')
        return pa.Table.from_pandas(df if first is None else first(df))
    return change

def by_index(df): return df.set_index([c for c in IDS if c in df])
text, halves = cast(str), cast('float64')

KINDS = {d: cast(d) for d in ('int8', 'int16', 'int32', 'int64', 'uint8', 'uint16', 'uint32', 'uint64', 'Int8', 'Int64', 'UInt8', 'UInt64', 'float16', 'float32', 'float64', 'Float64', 'object', 'category', 'Sparse[int64]')} | {
    'object of floats': cast(object, 'float64'), 'category of floats': cast('category', 'float64'), 'index': by_index, 'odd index': lambda df: df.set_axis([7]*len(df)), 'csv': csv(), 'csv of floats': csv(halves),
    'int64[pyarrow]': arrow(lambda pa: pa.int64()), 'uint8[pyarrow]': arrow(lambda pa: pa.uint8()), 'double[pyarrow]': arrow(lambda pa: pa.float64()), 'parquet': parquet(), 'parquet, index': parquet(by_index), 'parquet, pyarrow': parquet(dtype_backend='pyarrow'), 'parquet, nullable': parquet(dtype_backend='numpy_nullable'),
    'polars': polars(), 'polars UInt64': polars(dtype='UInt64'), 'pyarrow table': table(),
    'str': text, 'object of str': cast(object, str), 'string': cast('string', str), 'category of str': cast('category', str), 'str arrays': as_array(lambda c: c.astype(str).to_numpy(dtype='U3')), 'str by index': lambda df: by_index(text(df)), 'csv as str': csv(dtype={c: str for c in IDS}),
    'string[pyarrow]': arrow(lambda pa: pa.string(), str), 'large_string[pyarrow]': arrow(lambda pa: pa.large_string(), str), 'dictionary[pyarrow]': lambda df: arrow(lambda pa: pa.dictionary(pa.int32(), pa.string()), str)(df),
    'parquet of str': parquet(text), 'parquet of str, pyarrow': parquet(text, dtype_backend='pyarrow'), 'polars str': polars(text), 'polars Categorical': polars(text, 'Categorical'), 'pyarrow table of str': table(text)}

def same(x):
    "A result in a form that does not know the type of ids: these become text"
    if isinstance(x, pd.DataFrame):
        named = [n for n in x.index.names if n is not None]
        x = x.reset_index() if named else x
        return [[str(c) for c in x.columns], *(same(x[c]) for c in x.columns)] if x.columns.is_unique else same(x.to_numpy())
    if isinstance(x, pd.Series): return same(x.tolist()) if x.name in (*IDS, 'similar') or not isinstance(x.index, pd.Index) else [*map(str, x.index), *same(x.tolist())]
    if hasattr(x, 'toarray'): return x.toarray().tolist()
    if isinstance(x, (np.ndarray, pd.Index)): return same(x.tolist())
    if isinstance(x, (list, tuple)): return [same(o) for o in x]
    if isinstance(x, dict): return {str(k): same(v) for k, v in x.items()}
    if isinstance(x, float) and np.isnan(x): return 'nan'
    if isinstance(x, int) and not isinstance(x, bool) and 100 <= x < 130: return str(x)
    return x

def outcome(f):
    "What a call gives, or its refusal without quotes around ids"
    try: return same(f())
    except (KeyError, ValueError, TypeError, IndexError, NotImplementedError) as e: return type(e).__name__, ' '.join(str(e).split()).replace("'", '').replace('"', '').replace('strings', 'ids').replace('integers', 'ids')

def data_calls(inter, df):
    u, i = inter.users.ids.tolist(), inter.items.ids.tolist()
    wrong = {int: 199, str: '199'}[type(u[0])]
    yield from {'len': lambda: len(inter), 'repr': lambda: repr(inter), 'summary': lambda: inter.summary(), 'sparsity': lambda: inter.sparsity, 'codes': lambda: inter.codes(), 'df': lambda: inter.df, 'users': lambda: list(inter.users), 'items': lambda: list(inter.items),
        'encode': lambda: inter.users.encode(u), 'encode column': lambda: inter.items.encode(inter.df['item']), 'encode one': lambda: inter.items.encode(i[3]), 'decode': lambda: inter.users.decode([3, 1, 2]), 'decode 0': lambda: inter.users.decode([0, 1]), 'not strict': lambda: inter.users.encode([u[0], wrong], strict=False),
        'in': lambda: (u[0] in inter.users, wrong in inter.users, None in inter.users), 'unknown': lambda: inter.users.encode([wrong]), 'no code': lambda: inter.items.decode(99), 'crosstab': lambda: inter.crosstab(), 'crosstab of some': lambda: inter.crosstab(u[:3], i[2:5]), 'crosstab of an unknown': lambda: inter.crosstab([wrong]),
        'history': lambda: inter.history(u[2]), 'history of an unknown': lambda: inter.history(wrong), 'history of two': lambda: inter.history(u[:2]), 'titles': lambda: inter.titles, 'titled': lambda: inter.titled(inter.df), 'known': lambda: inter.known(), 'item_info': lambda: inter.item_info, 'user_info': lambda: inter.user_info,
        'take': lambda: inter.take(inter.df.rating > 3).df, 'take nothing': lambda: repr(inter.take(np.zeros(len(inter), bool))), 'bad mask': lambda: inter.take([True]), 'bad csr': lambda: inter.csr('stars'), 'bad split': lambda: inter.split('tme'), 'bad share': lambda: inter.split(test=2)}.items()
    for values in ('rating', 'ones', 'timestamp'):
        for how in ('sum', 'mean', 'last', 'max'): yield f'csr {values} {how}', lambda values=values, how=how: inter.csr(values, how)
    for how in ('time', 'random', 'user_time', 'user_random', 'leave_last'):
        for part in (0, 1): yield f'split {how} {part}', lambda how=how, part=part: inter.split(how)[part].df
    plain = inter.df.copy()
    again = pd.concat([plain, plain.head(9).assign(rating=1, timestamp=99)])
    for how in ('error', 'last', 'mean', 'keep'): yield f'duplicates {how}', lambda how=how: Interactions.from_df(again, duplicates=how).df
    yield 'without ratings', lambda: Interactions.from_df(df, rating=None).csr()
    yield 'without times', lambda: Interactions.from_df(df, timestamp=None).split('time')
    for name, about in dict(item_info=FILMS, user_info=PEOPLE).items():
        column = name[:4]
        change = cast(type(u[0]))
        far = change(about.assign(**{column: about[column] + 300}))
        yield f'{name} of others', lambda far=far, name=name: Interactions.from_df(df, **{name: far})
        yield f'{name} twice', lambda about=about, name=name: Interactions.from_df(df, **{name: change(pd.concat([about, about]))})
        yield f'{name} by row', lambda about=about, name=name, column=column: Interactions.from_df(df, **{name: about.drop(columns=column).set_axis(pd.RangeIndex(300, 300 + len(about)).astype(type(u[0])))})

def model_calls(model, train, test, tmp_path):
    name, u, i = type(model).__name__, train.users.ids.tolist(), train.items.ids.tolist()
    wrong = {int: 199, str: '199'}[type(u[0])]
    fitted = model.fit(train)
    fitted.save(tmp_path/name)
    calls = {'scores': lambda: fitted.scores(np.arange(len(train.users))), 'predict': lambda: fitted.predict(test.df.user, test.df['item']), 'recommend': lambda: fitted.recommend(u[1], 4), 'recommend several': lambda: fitted.recommend(train.df.user.unique(), 3), 'with titles': lambda: fitted.recommend(u[:2], 2, titles=True),
        'seen ones too': lambda: fitted.recommend(u[0], 12, exclude_seen=False), 'some items': lambda: fitted.recommend(u[0], 3, items=i[4:9]), 'unknown': lambda: fitted.recommend(wrong), 'unknown item': lambda: fitted.recommend(u[0], items=[wrong]), 'none at all': lambda: fitted.recommend(None), 'similar': lambda: fitted.similar_items(i[:3], 3),
        'newcomer': lambda: fitted.recommend(User(history={i[1]: 5, i[2]: 1}), 3), 'newcomer with a table': lambda: fitted.recommend(User(history=train.history(u[4])[['item', 'rating']]), 3), 'newcomer who knows the unknown': lambda: fitted.fold_in({wrong: 5}),
        'loaded': lambda: Recommender.load(tmp_path/name).recommend(u, 3), 'loaded predicts': lambda: Recommender.load(tmp_path/name).predict(u[0], i), 'rmse': lambda: rating_metrics(fitted, test, train, n_boot=0).value, 'ndcg': lambda: ranking_metrics(fitted, test, n_boot=0).value}
    for what, f in calls.items(): yield f'{name} {what}', f

def answers(kind, tmp_path):
    "What a hundred calls give for one kind of table"
    df, films, people = map(KINDS[kind], (EVENTS, FILMS, PEOPLE))
    inter = Interactions.from_df(df, item_info=films, user_info=people, name='Types')
    train, test = inter.split('leave_last')
    calls = [*data_calls(inter, df), *(c for m in (Popular(), Bias(), ItemKNN(k=5)) for c in model_calls(m, train, test, tmp_path))]
    return {name: outcome(f) for name, f in calls}

@pytest.fixture(scope='module')
def want(tmp_path_factory): return answers('int64', tmp_path_factory.mktemp('want'))

def test_the_calls_are_many_and_mostly_answered(want):
    refused = [k for k, v in want.items() if isinstance(v, tuple)]
    assert len(want) >= 100 and 10 < len(refused) < 40 and len(KINDS) >= 37
    assert {'unknown', 'bad split', 'item_info of others', 'duplicates error', 'Bias unknown', 'csr rating max', 'without times'} <= set(refused)

@pytest.mark.parametrize('kind', KINDS)
def test_ids_of_any_type_give_the_same(kind, want, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', pd.errors.PerformanceWarning)
        found = answers(kind, tmp_path)
    assert set(found) == set(want)
    assert [name for name in want if found[name] != want[name]] == []

# ---- the same for ratings and times

@pytest.mark.parametrize('column,dtypes', [('rating', ('int8', 'uint64', 'Int64', 'float16', 'float32', 'float64', 'Float64', 'str', 'object', 'category', 'string', 'int8[pyarrow]', 'double[pyarrow]', 'string[pyarrow]')), ('timestamp', ('int16', 'uint64', 'Int64', 'float32', 'float64', 'Float64', 'str', 'object', 'category', 'string', 'int64[pyarrow]', 'double[pyarrow]', 'string[pyarrow]'))])
def test_numbers_of_any_type_give_the_same(column, dtypes):
    plain = Interactions.from_df(EVENTS)
    for dtype in dtypes:
        if 'pyarrow' in dtype: pytest.importorskip('pyarrow', reason='needs pyarrow')
        other = Interactions.from_df(EVENTS.assign(**{column: EVENTS[column].astype(dtype)}))
        pd.testing.assert_frame_equal(other.df, plain.df, check_dtype=False)
        assert all((a == b).all() for a, b in zip(other.codes(), plain.codes())) and same(other.csr('timestamp')) == same(plain.csr('timestamp'))
        assert Bias().fit(other).recommend(100, 3).equals(Bias().fit(plain).recommend(100, 3))

BAD = {'a missing one': (lambda c: c.astype('float64').where(c != 110), 'missing values'), 'a fraction': (lambda c: c + .5, 'no whole number'), 'True': (lambda c: c > 115, 'not boolean'), 'dates': (lambda c: pd.to_datetime(c, unit='D'), 'not datetime64'), 'a mix': (lambda c: c.astype(object).where(c != 110, '110'), 'not mixed-integer'), 'lists': (lambda c: c.map(lambda o: [o]), 'not mixed'), 'too long for a float': (lambda c: c + 2.**60, 'was read as a float')}

@pytest.mark.parametrize('bad', BAD)
@pytest.mark.parametrize('column', IDS)
def test_bad_ids_are_refused_alike(bad, column):
    "In the table of events, in a lookup and in the side table"
    change, words = BAD[bad]
    about = {'item': ('item_info', FILMS), 'user': ('user_info', PEOPLE)}[column]
    bad_ids = change(pd.Series([110, 111, 112, 113]))
    with pytest.raises((ValueError, TypeError), match=words): Interactions.from_df(EVENTS.assign(**{column: change(EVENTS[column].replace(100, 110))}))
    with pytest.raises((ValueError, TypeError), match=words): getattr(Interactions.from_df(EVENTS), column + 's').encode(bad_ids)
    with pytest.raises((ValueError, TypeError), match=words): Interactions.from_df(EVENTS, **{about[0]: about[1].assign(**{column: change(about[1][column].replace(100, 110))}).set_index(column)})
