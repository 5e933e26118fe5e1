"""A corpus for `check_split`: leaks of every kind that it must find, and honest splits that it must leave alone."""
import warnings
from functools import lru_cache

import numpy as np, pandas as pd, pytest

from recsys_course.check import check_split
from recsys_course.data import Interactions
from recsys_course.datasets import load_course_data
from recsys_course.simulate import World

KINDS = 'time', 'random', 'user_time', 'user_random', 'leave_last'
LEAKS, CLEAN = {}, {}

def problems(found): return sorted(set(found[found.severity != 'note'].problem))

def leak(problem):
    "Register a case that must have this problem (or one of these)"
    def _register(f):
        f.__test__ = False
        LEAKS[f.__name__] = f, [problem] if isinstance(problem, str) else problem
        return f
    return _register

def clean(f): CLEAN[f.__name__] = f

@lru_cache
def world(n_users=300, n_items=400, n=15_000, seed=3):
    return World(n_users=n_users, n_items=n_items, seed=seed).sample(n)

def cut(how='random', **kw):
    "Train and test of a world as plain tables, and a generator"
    train, test = world(**kw).split(how)
    return train.df, test.df, np.random.default_rng(0)

def some(df, rng, share=.05): return df[rng.random(len(df)) < share]
def join(*parts): return pd.concat(parts, ignore_index=True)
def shuffled(df, rng): return df.iloc[rng.permutation(len(df))].reset_index(drop=True)
def by(df, key='item'): return df.groupby(key).rating

# ---- Leaks

@leak('pairs in both')
def pairs_in_random(seed=0):
    train, test, rng = cut('random')
    return shuffled(join(train, some(test, rng)), rng), test

@leak('pairs in both')
def pairs_with_another_rating(seed=0):
    train, test, rng = cut('leave_last')
    again = some(test, rng).assign(rating=lambda d: 6 - d.rating, timestamp=train.timestamp.min())
    return join(train, again), test

@leak('pairs in both')
def pairs_without_times(seed=0):
    train, test, rng = cut('random')
    return join(train, some(test, rng)).drop(columns='timestamp'), test.drop(columns='timestamp')

@leak('pairs in both')
def copies_among_repeats(seed=0):
    train, test, rng = repeated('time')
    return join(train, some(test, rng)), test

@leak('one pair, two spellings')
def pairs_as_text(seed=0):
    train, test, rng = cut('random')
    return join(train, some(test, rng)), test.astype({'user': str, 'item': str})

@leak('one pair, two spellings')
def pairs_in_capitals(seed=0):
    train, test, rng = cut('random')
    train, test = (d.assign(user='user_' + d.user.astype(str)) for d in (train, test))
    return join(train, some(test, rng).assign(user=lambda d: ' ' + d.user.str.upper())), test

@leak('one pair, two spellings')
def items_padded(seed=0):
    train, test, rng = cut('user_time')
    text = [d.assign(item=d['item'].astype(str)) for d in (train, test)]
    back = some(text[1], rng).assign(item=lambda d: d['item'].str.zfill(8), timestamp=train.timestamp.min())
    return join(text[0], back), text[1]

@leak('future rows')
def future_in_time(seed=0):
    df, rng = world().df.sort_values('timestamp'), np.random.default_rng(1)
    late = np.arange(len(df)) >= .8*len(df)
    moved = late & (rng.random(len(df)) < .2)
    return df[~late | moved], df[late & ~moved]

@leak('future rows')
def future_of_users(seed=0):
    train, test, rng = cut('leave_last')
    whole = join(train, test)
    order = whole.groupby('user').timestamp.rank(method='first', ascending=False)
    early = whole.user.isin(rng.choice(whole.user.unique(), 15, replace=False))
    held = np.where(early, order == 4, order == 1)
    return whole[~held], whole[held]

@leak('future rows')
def future_as_dates(seed=0):
    train, test = LEAKS['future_in_time'][0]()
    return [d.assign(timestamp=pd.to_datetime(d.timestamp, unit='s').astype(str)) for d in (train, test)]

@leak('items known by a leak')
def newcomers_known(seed=0):
    train, test, rng = cut('time')
    new = test.assign(item=lambda d: np.where(rng.random(len(d)) < .1, d['item'].to_numpy() % 7 + 9_000_000, d['item']))
    new = new.drop_duplicates(['user', 'item'])
    half = rng.random(len(new)) < .3
    return join(train, new[half]), new[~half]

@leak('copied test')
def test_is_train(seed=0):
    train, test, rng = cut('random')
    return train, shuffled(train, rng)[:len(test)]

@leak('copied test')
def test_is_train_with_repeats(seed=0):
    train, test, rng = repeated('time')
    return train, shuffled(train, rng)[:len(test)]

def with_feature(make, how='random', key='item', **kw):
    train, test, rng = cut(how, **kw)
    values = make(train, join(train, test), key, rng)
    return train, test, pd.DataFrame({'x': values, 'noise': rng.normal(size=len(values))}, index=values.index).rename_axis(key)

@leak('target in a feature')
def mean_of_all(seed=0): return with_feature(lambda train, whole, key, rng: by(whole).mean())
@leak('target in a feature')
def mean_rounded(seed=0): return with_feature(lambda train, whole, key, rng: by(whole).mean().round(2))
@leak('target in a feature')
def mean_with_noise(seed=0):
    return with_feature(lambda train, whole, key, rng: by(whole).mean() + rng.normal(0, .01, whole['item'].nunique()))
@leak('target in a feature')
def mean_standardised_of_users(seed=0):
    return with_feature(lambda train, whole, key, rng: by(whole, key).mean().pipe(lambda m: (m - m.mean())/m.std()), 'user_time', 'user')
@leak('target in a feature')
def smoothed_mean(seed=0):
    return with_feature(lambda train, whole, key, rng: (by(whole).sum() + 5*3.5)/(by(whole).count() + 5), 'time')
@leak('target in a feature')
def count_of_all(seed=0): return with_feature(lambda train, whole, key, rng: by(whole).count())
@leak('target in a feature')
def log_count(seed=0): return with_feature(lambda train, whole, key, rng: np.log1p(by(whole).count()), 'time')
@leak('target in a feature')
def rank_of_counts(seed=0): return with_feature(lambda train, whole, key, rng: by(whole).count().rank(ascending=False), 'leave_last')
@leak('target in a feature')
def sum_of_all(seed=0): return with_feature(lambda train, whole, key, rng: by(whole).sum(), 'user_time')
@leak('target in a feature')
def mean_of_all_for_some(seed=0):
    def _some(train, whole, key, rng):
        mine, theirs = by(train).mean(), by(whole).mean()
        return theirs.where(rng.random(len(theirs)) < .15, mine.reindex(theirs.index))
    return with_feature(_some)

def with_column(make, how='random'):
    train, test, rng = cut(how)
    whole = join(train, test)
    whole['extra'] = make(whole, len(train), rng)
    return whole[:len(train)], whole[len(train):].reset_index(drop=True)

@leak('target in a feature')
def rating_copied(seed=0): return with_column(lambda d, n, rng: d.rating*2 + 1.)
@leak('target in a feature')
def rating_as_flag(seed=0): return with_column(lambda d, n, rng: (d.rating >= 4).astype(int), 'time')
@leak('target in a feature')
def rating_as_words(seed=0): return with_column(lambda d, n, rng: np.where(d.rating >= 4, 'liked', 'not so much'))
@leak('target in a feature')
def rating_with_noise(seed=0): return with_column(lambda d, n, rng: -np.exp(d.rating) + rng.normal(0, .3, len(d)))
@leak('target in a feature')
def rating_on_few_rows(seed=0): return with_column(lambda d, n, rng: d.rating.where(rng.random(len(d)) < .05))
@leak('target in a feature')
def rating_among_other_values(seed=0): return with_column(lambda d, n, rng: np.where(rng.random(len(d)) < .05, d.rating, rng.normal(3, 1, len(d))))
@leak('target in a feature')
def leave_one_out(seed=0):
    def _loo(d, n, rng):
        t = d[:n].groupby('item').rating
        loo = (t.transform('sum') - d.rating[:n])/(t.transform('count') - 1).where(lambda c: c > 0)
        return np.r_[loo.fillna(3.5), d['item'][n:].map(t.mean()).fillna(3.5)]
    return with_column(_loo)
@leak('encoding holds its own row')
def encoding_with_own_row(seed=0):
    return with_column(lambda d, n, rng: d['item'].map(d[:n].groupby('item').rating.mean()).fillna(3.5))
@leak('target in a feature')
def encoding_of_all_rows(seed=0):
    return with_column(lambda d, n, rng: d.user.map(d.groupby('user').rating.mean()), 'leave_last')
@leak('target in a feature')
def small_and_copied(seed=0):
    train, test = with_column(lambda d, n, rng: d.rating)
    return train[:60], test[:20]

@leak('row number tells the split')
def id_tells_the_split(seed=0): return with_column(lambda d, n, rng: np.where(rng.random(len(d)) < .05, 1e6, 0) + np.arange(len(d)))
@leak('row number tells the rating')
def sorted_by_rating(seed=0):
    df = world().df.sort_values('rating', ignore_index=True)
    held = np.random.default_rng(0).random(len(df)) < .2
    return df[~held], df[held]

@leak('one user under two ids')
def users_twice(seed=0):
    df, rng = world().df, np.random.default_rng(0)
    who = rng.choice(df.user.unique(), 15, replace=False)
    df = join(df, df[df.user.isin(who)].assign(user=lambda d: d.user + 10_000))
    held = rng.random(len(df)) < .2
    return df[~held], df[held]
@leak('one user under two ids')
def users_nearly_twice(seed=0):
    df, rng = world().df, np.random.default_rng(0)
    copy = df[df.user.isin(rng.choice(df.user.unique(), 15, replace=False))]
    copy = copy[rng.random(len(copy)) < .9].assign(user=lambda d: d.user + 10_000, timestamp=lambda d: d.timestamp + rng.integers(0, 9999, len(d)))
    df = shuffled(join(df, copy), rng)
    held = rng.random(len(df)) < .2
    return df[~held], df[held]
@leak('one user under two ids')
def test_users_renamed(seed=0):
    train, test, rng = cut('random')
    return train, train[train.user.isin(rng.choice(train.user.unique(), 30, replace=False))].assign(user=lambda d: d.user + 10_000)
@leak('one item under two ids')
def items_twice(seed=0):
    df, rng = world().df.astype({'item': str}), np.random.default_rng(0)
    df = join(df, df[df['item'].isin(rng.choice(df['item'].unique(), 20, replace=False))].assign(item=lambda d: 'x' + d['item']))
    held = rng.random(len(df)) < .2
    return df[~held], df[held]
@leak('one title under two ids')
def titles_twice(seed=0):
    train, test, rng = cut('random')
    info = world().item_info
    some_items = test['item'].isin(rng.choice(info.index, 40, replace=False))
    copy = test[some_items].assign(item=lambda d: d['item'] + 1_000_000)
    more = info.loc[copy['item'].unique() - 1_000_000].set_axis(copy['item'].unique())
    return join(train, copy), test, pd.concat([info, more]).rename_axis('item')

# ---- Honest data

def repeated(how='time', n_users=150, n_items=300, seed=5):
    "People who meet the same items again and again, and the more so the longer"
    rng = np.random.default_rng(seed)
    rows = []
    for u in range(n_users):
        seen = []
        for k in range(rng.integers(20, 80)):
            i = rng.choice(seen[-15:]) if seen and rng.random() < min(.1 + k/60, .7) else int(n_items*rng.random()**2)
            seen.append(i); rows.append((u, i, 1, k*1000 + rng.integers(0, 999) + 10*u))
    df = pd.DataFrame(rows, columns=['user', 'item', 'rating', 'timestamp'])
    train, test = Interactions.from_df(df, duplicates='keep').split(how)
    return train.df, test.df, rng

def make_splits(name, inter):
    for how in KINDS:
        def _case(inter=inter, how=how):
            with warnings.catch_warnings():
                warnings.simplefilter('ignore')
                return inter().split(how)
        _case.__name__ = f'{name}_{how}'
        clean(_case)

make_splits('world', world)
make_splits('repeats', lambda: Interactions.from_df(join(*repeated('time')[:2]), duplicates='keep'))

def tiny_frame(n_users, n_items, n, values, seed=0, times=True):
    rng = np.random.default_rng(seed)
    df = pd.DataFrame(dict(user=rng.integers(0, n_users, n), item=rng.integers(0, n_items, n), rating=rng.choice(values, n)))
    if times: df['timestamp'] = rng.integers(0, 10**6, n)
    return df.drop_duplicates(['user', 'item'], ignore_index=True)

make_splits('small_catalogue', lambda: Interactions.from_df(tiny_frame(400, 6, 5000, [1, 2, 3, 4, 5])))
make_splits('all_alike', lambda: Interactions.from_df(tiny_frame(200, 50, 3000, [5])))
make_splits('binary', lambda: Interactions.from_df(tiny_frame(200, 80, 3000, [0, 1])))

def halves(df, seed=0, share=.2):
    held = np.random.default_rng(seed).random(len(df)) < share
    return df[~held], df[held]

@clean
def one_event_each(): return halves(tiny_frame(10**6, 300, 4000, [1, 2, 3, 4, 5]).drop_duplicates('user'))
@clean
def one_event_each_in_time():
    df = tiny_frame(10**6, 300, 4000, [1, 2, 3, 4, 5]).drop_duplicates('user')
    return df[df.timestamp < 800_000], df[df.timestamp >= 800_000]
@clean
def twins_by_chance():
    "Two users of three like both films: most of them cannot be told apart"
    return halves(tiny_frame(60, 3, 170, [1]).drop(columns='timestamp'))
@clean
def blocks_of_taste():
    "Four groups, each fond of the same 12 items, all rated 5"
    rng = np.random.default_rng(0)
    u, i = np.divmod(np.arange(200*48), 48)
    near = (u % 4 == i//12) & (rng.random(len(u)) < .8)
    return halves(pd.DataFrame(dict(user=u, item=i, rating=5))[near])
@clean
def one_day_for_all():
    df = tiny_frame(100, 200, 4000, [1, 2, 3, 4, 5])
    return halves(df.assign(timestamp=df.timestamp//200_000))
@clean
def letters_that_matter():
    "Short ids where a capital letter makes another film"
    rng, letters = np.random.default_rng(0), np.array(list('abcdefghijABCDEFGHIJ'))
    name = letters[rng.integers(0, 20, (3000, 2))]
    return halves(pd.DataFrame(dict(user=rng.integers(0, 80, 3000), item=name[:, 0] + name[:, 1], rating=rng.integers(1, 6, 3000))).drop_duplicates(['user', 'item']))
@clean
def new_users_only():
    df = world().df
    held = df.user.isin(df.user.unique()[::5])
    return df[~held], df[held]
@clean
def rows_of_a_sorted_file():
    df = world().df.sort_values(['user', 'timestamp'], ignore_index=True)
    held = df.groupby('user').cumcount(ascending=False) < 3
    return df[~held], df[held]
@clean
def event_numbers_in_time():
    df = world().df.sort_values('timestamp', ignore_index=True).assign(event=lambda d: np.arange(len(d)))
    return df[:12_000], df[12_000:]
@clean
def no_times_cut_by_place():
    df = world().df.drop(columns='timestamp')
    return df[:12_000], df[12_000:]

for how in KINDS:
    def _features(how=how, key='item'):
        "Means, counts, ranks, smoothed means of train only; year; popularity and quality from elsewhere"
        train, test, rng = cut(how)
        elsewhere = World(n_users=300, n_items=400, seed=3).sample(15_000, seed=99).df.groupby(key).rating
        g = by(train, key)
        ids = join(train, test)[key].unique()
        out = pd.DataFrame(dict(mean=g.mean(), count=g.count(), log=np.log1p(g.count()), rank=g.mean().rank(), total=g.sum(),
                                smooth=(g.sum() + 35)/(g.count() + 10), spread=g.std(), there=elsewhere.count(),
                                liked_there=elsewhere.mean()), index=ids)
        if key == 'user': out = out.drop(columns='there')       # a person of the world is as active in every sample
        out['zero'] = g.count().reindex(ids).fillna(0)
        return train, test, [out.rename_axis(key), pd.DataFrame({'age': rng.integers(9, 80, 300)}, index=np.arange(1, 301)).rename_axis('user')]
    _features.__name__ = f'features_of_train_{how}'
    clean(_features)
    def _user_features(f=_features, how=how): return f(how, 'user')
    _user_features.__name__ = f'user_features_of_train_{how}'
    clean(_user_features)

@clean
def the_truth_as_a_feature():
    w = World(n_users=300, n_items=400, seed=3)
    train, test, rng = cut('random')
    quality = pd.Series(w.item_bias[1:], index=w.sample(15_000).items.ids)
    return train, test, pd.DataFrame(dict(quality=quality, rounded=quality.round(1))).rename_axis('item')
@clean
def honest_columns():
    "A flag, an hour, and a good guess of another model beside each row"
    train, test = with_column(lambda d, n, rng: d.timestamp//3600 % 24)
    rng = np.random.default_rng(0)
    return [d.assign(device=rng.choice(['phone', 'tv'], len(d)), about=d.rating + rng.normal(0, 1.5, len(d))) for d in (train, test)]
@clean
def out_of_fold_encoding():
    def _folds(d, n, rng):
        fold, res = rng.integers(0, 5, n), np.full(len(d), 3.5)
        t = d[:n]
        for k in range(5): res[:n][fold == k] = t['item'][fold == k].map(t[fold != k].groupby('item').rating.mean()).fillna(3.5)
        res[n:] = d['item'][n:].map(t.groupby('item').rating.mean()).fillna(3.5)
        return res
    return with_column(_folds)

# ---- Tests

def as_strangers_do(train, test, features=None):
    "The same data with other names, ids as text and rows in another order"
    rng, new = np.random.default_rng(7), dict(user='userId', item='movie_id', rating='stars', timestamp='date')
    if isinstance(train, Interactions): return None
    def _as_text(d):
        d = d.rename(columns=new)
        text = {c: 'id ' + d[c].astype(str) for c in ('userId', 'movie_id')}
        return d.assign(**text).iloc[rng.permutation(len(d))]
    tables = features if isinstance(features, list) or features is None else [features]
    named = [t.set_axis('id ' + t.index.astype(str)).rename_axis(new[t.index.name]).add_prefix('f_') for t in tables or []]
    return _as_text(train), _as_text(test), named or None, {k: v for k, v in new.items()}

def judge(case):
    got = list(case())
    first = problems(check_split(*got))
    strange = as_strangers_do(*got)
    if strange is None: return first, first
    train, test, features, names = strange
    return first, problems(check_split(train, test, features, **names))

def missed(name):
    "What the case should have shown and did not, as it is and as strangers write it"
    case, expected = LEAKS[name]
    alike = {'pairs_as_text': ['pairs in both']}.get(name, expected)       # strangers write all ids as text
    return [found for found, want in zip(judge(case), (expected, alike)) if not set(want) & set(found)]

@pytest.mark.parametrize('name', LEAKS)
def test_leak_is_found(name): assert missed(name) == []

@pytest.mark.parametrize('name', CLEAN)
def test_honest_split_is_left_alone(name): assert judge(CLEAN[name]) == ([], [])

@pytest.mark.parametrize('how', KINDS)
def test_course_data_is_left_alone(how):
    "Nothing but notes: the order of a random split, and titles that stand there twice (MovieLens has such films)"
    found = check_split(*load_course_data().split(how))
    assert set(found.severity) <= {'note'}
    assert ('random order' in set(found.problem)) == ('random' in how)

def test_it_prints_nothing_and_changes_nothing(capsys):
    train, test, features = mean_of_all()
    before = [o.copy() for o in (train, test, features)]
    found = check_split(train, test, features)
    assert capsys.readouterr() == ('', '')
    for a, b in zip(before, (train, test, features)): pd.testing.assert_frame_equal(a, b)
    assert list(found) == ['problem', 'severity', 'rows', 'example', 'says'] and found.says.str.len().gt(20).all()

def test_tables_in_any_form():
    train, test, features = mean_of_all()
    for form in (features, [features], {'films': features}, features.reset_index(), features.sample(frac=1)):
        assert problems(check_split(train, test, form)) == ['target in a feature']
    assert problems(check_split(train, test, features[['noise']])) == []

def test_a_missing_column_is_named():
    train, test, _ = cut()
    with pytest.raises(ValueError, match='userId'): check_split(train, test, user='userId')
    assert len(check_split(train, test[:0])) == 0

if __name__ == '__main__':
    lost, accused = [n for n in LEAKS if missed(n)], [n for n in CLEAN if judge(CLEAN[n]) != ([], [])]
    print(f'{len(LEAKS) - len(lost)} of {len(LEAKS)} leaks found, missed: {lost}')
    print(f'{len(accused)} false alarms on {len(CLEAN)} honest splits: {accused}')
