"Features of pairs against loops, the ranker against its parts, one row alone, bad input, and files that cannot be trusted"
import copy, json, re, subprocess, sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np, pandas as pd, pytest
from hypothesis import given, settings, strategies as st

from recsys_course.core import Damaged, Saveable, model_json
from recsys_course.data import Interactions
from recsys_course.rank import PairFeatures, Ranker, check_trees, deal_lists, spread_within

def log(n_users=40, n_items=50, n=900, seed=0, **kw):
    "A small log with text ids of users, years of which some are missing, genres, ages and jobs"
    rng = np.random.default_rng(seed)
    cells = rng.choice(n_users*n_items, n, replace=False)
    genres = rng.choice(['a', 'b', 'a|b', 'c', 'b|d', None], n_items)
    info = pd.DataFrame(dict(title=[f'T{i}' for i in range(n_items)], year=np.where(rng.random(n_items) < .2, np.nan, 1950. + np.arange(n_items)), genres=genres), pd.RangeIndex(n_items, name='item'))
    people = pd.DataFrame(dict(age=rng.integers(8, 60, n_users + 1).astype(float), job=rng.choice(['cook', 'poet', 'pilot'], n_users + 1)), pd.Index([*(f'u{o}' for o in range(n_users)), 'nobody'], name='user'))
    people.loc['u3', 'age'] = np.nan
    df = pd.DataFrame(dict(user=[f'u{o}' for o in cells//n_items], item=cells % n_items, rating=1., timestamp=rng.permutation(n)))
    return Interactions.from_df(df, **{**dict(item_info=info, user_info=people), **kw})

def every_pair(train):
    return (o.ravel() for o in np.meshgrid(np.arange(len(train.users)), np.arange(len(train.items)), indexing='ij'))

def named(train):
    "Features of all pairs as a table by (user code, item code)"
    u, i = every_pair(train)
    f = PairFeatures(train)
    return pd.DataFrame(f.of(u, i), pd.MultiIndex.from_arrays([u, i]), f.names)

# --- features of pairs

def test_features_against_loops():
    "Every feature of every pair, written with raw ids and plain Python"
    train = log()
    F, df = named(train), train.df
    met = {u: df['item'][df.user == u].tolist() for u in train.users.ids}
    words = {j: (g.split('|') if isinstance(g, str) else []) for j, g in train.item_info.genres.items()}
    weight = {j: {w: 1/len(ws)**.5 for w in ws} for j, ws in words.items()}
    mean = lambda x: sum(x)/len(x) if len(x) else np.nan
    usual = {w: mean([weight[j].get(w, 0) for j in df['item']]) for w in 'abcd'}
    count, jobs, first = df['item'].value_counts(), train.user_info.job.value_counts(), df.groupby('item').timestamp.min()
    pop = {j: np.log(1 + count.get(j, 0)/len(df)*len(train.items)) for j in train.items.ids}
    for u in [*train.users.ids[:8], 'nobody']:
        for j in train.items.ids[::3]:
            x, info, person = F.loc[(train.users.encode(u)[0], train.items.encode(j)[0])], train.item_info.loc[j], train.user_info.loc[u]
            same = lambda name, want: np.testing.assert_allclose(x[name], want, rtol=2e-4, atol=1e-5, err_msg=f'{name} of {u}, {j}')
            same('year', info.year); same('age', person.age); same('popularity', pop[j])
            for w in 'abcd': same(f'genres={w}', w in words[j])
            same('activity', np.log(1 + len(met[u])/len(df)*len(train.users)))
            same('arrival', (first.get(j, 0) - 0)/(len(df) - 1) if j in first else 0)
            assert jobs.iloc[int(x['job'])] == jobs[person.job]
            same('year gap', info.year - mean([y for y in train.item_info.year[met[u]] if y == y]))
            same('popularity gap', pop[j] - mean([pop[o] for o in met[u]]))
            same('taste match', sum((mean([weight[o].get(w, 0) for o in met[u]]) - usual[w])*v for w, v in weight[j].items()) if met[u] else 0)

def test_somebody_new_is_unknown():
    train = log()
    F = named(train)
    about = ['age', 'job', 'activity', 'year gap', 'popularity gap']
    assert F.loc[0][about].isna().all(axis=None) and (F.loc[0]['taste match'] == 0).all()
    old = F.loc[train.users.encode('u1')[0]]
    alone = ['year', 'popularity', 'arrival', *(n for n in F if n.startswith('genres='))]
    pd.testing.assert_frame_equal(F.loc[0][alone].loc[1:], old[alone].loc[1:])
    nobody = F.loc[train.users.encode('nobody')[0]]
    assert nobody.age.notna().all() and (nobody.activity == 0).all() and (nobody['taste match'] == 0).all() and nobody['year gap'].isna().all()

ODD = {'lists': lambda d: d.assign(tags=[['a', 'b']]*len(d)), 'dicts': lambda d: d.assign(tags=[{}]*len(d)), 'all missing': lambda d: d.assign(price=np.nan),
       'all None': lambda d: d.assign(price=None), 'inf': lambda d: d.assign(price=[np.inf] + [1.]*(len(d)-1)), 'huge': lambda d: d.assign(price=[1e300] + [1.]*(len(d)-1)),
       'dates': lambda d: d.assign(day=pd.Timestamp('2020-01-01')), 'mixed': lambda d: d.assign(tags=['a', 3, None]*(len(d)//3) + [2]*(len(d) % 3)),
       'true and false': lambda d: d.assign(new=np.arange(len(d)) % 2 == 0), 'one row': lambda d: d.iloc[:1], 'no columns': lambda d: d[[]],
       'outer pipes': lambda d: d.assign(genres='|' + d.genres.fillna('') + '|'), 'a row is missing': lambda d: d.iloc[1:], 'numbers as names': lambda d: d.rename(columns=dict(year=7))}

@pytest.mark.parametrize('how', ODD)
@pytest.mark.filterwarnings('ignore:overflow encountered in cast')
def test_odd_tables(how, tmp_path):
    base = log()
    train = Interactions.from_df(base.df, item_info=ODD[how](base.item_info), user_info=ODD[how](base.user_info.assign(genres='a|b')).drop(columns='genres', errors='ignore'))
    f = PairFeatures(train)
    u, i = every_pair(train)
    X = f.of(u, i)
    assert X.dtype == np.float32 and X.shape == (len(u), len(f.names)) and len(set(f.names)) == len(f.names) and not np.isinf(X).any()
    f.save(tmp_path)
    again = PairFeatures.load(tmp_path)
    assert again.names == f.names
    np.testing.assert_array_equal(again.of(u, i), X)

def test_nothing_is_known_but_ids():
    train = log(item_info=None, user_info=None, timestamp=None)
    f = PairFeatures(train)
    assert f.names == ['popularity', 'activity', 'taste match', 'popularity gap']
    assert (f.of(np.array([1]), np.array([1]))[:, 2] == 0).all()

def test_a_column_of_both_tables_keeps_two_names():
    base = log()
    train = Interactions.from_df(base.df, item_info=base.item_info.assign(country='x'), user_info=base.user_info.assign(country=['x', 'y']*20 + ['x'], year=1.))
    names = PairFeatures(train).names
    assert {'country', 'user country', 'year', 'user year'} <= set(names) and len(set(names)) == len(names)

def test_inputs_are_not_changed():
    train = log()
    before = train.item_info.copy(), train.user_info.copy(), train.df.copy()
    PairFeatures(train)
    for a, b in zip(before, (train.item_info, train.user_info, train.df)): pd.testing.assert_frame_equal(a, b)

def test_a_pair_alone_has_the_same_features():
    train = log()
    f, (u, i) = PairFeatures(train), every_pair(train)
    X = f.of(u, i)
    for k in range(0, len(u), 37): np.testing.assert_array_equal(f.of(u[k:k+1], i[k:k+1])[0], X[k])

@pytest.mark.parametrize('what', ['names', 'taste', 'usual', 'levels', 'flags', 'items'])
def test_features_that_do_not_fit_are_refused(what, tmp_path):
    f = PairFeatures(log())
    if what == 'names': f.names = f.names[:-1]
    else: setattr(f, what, getattr(f, what)[:, :-1] if what == 'items' else getattr(f, what)[:-1])
    f.save(tmp_path)
    with pytest.raises(Damaged, match='shape|names'): PairFeatures.load(tmp_path)

# --- lists

@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=12).filter(sum), st.integers(1, 12), st.integers(0, 3))
def test_dealing(groups, longest, seed):
    order, sizes = deal_lists(groups, longest, seed)
    assert sorted(order) == list(range(sum(groups))) and sum(sizes) == sum(groups) and 1 <= min(sizes) and max(sizes) <= longest
    whose = np.repeat(np.arange(len(groups)), groups)[order]
    assert all(len(set(part)) == 1 for part in np.split(whose, np.cumsum(sizes)[:-1]))           # no list mixes two people
    short = [np.arange(a, a + n) for a, n in zip(np.cumsum([0, *groups]), groups) if 0 < n <= longest]
    assert all(any(np.array_equal(s, p) for p in np.split(order, np.cumsum(sizes)[:-1])) for s in short)

def test_spread():
    rng = np.random.default_rng(0)
    s, sizes = rng.normal(size=12), np.array([5, 4, 3])
    parts = np.split(s, [5, 9])
    want = np.sqrt(sum(((p - p.mean())**2).sum() for p in parts)/12)
    assert np.isclose(spread_within(s, sizes), want) and np.isclose(spread_within(s + np.repeat([0, 1e3, -50], sizes), sizes), want)
    assert np.isclose(spread_within(7*s, sizes), 7*want) and spread_within(np.repeat([1., 5, 9], sizes), sizes) == 1

# --- the ranker

def lists(n_lists=60, size=50, d=5, seed=0, missing=.1):
    "Lists in which what is taken rises along feature 0 and is highest in the middle of feature 1; feature 2 is the person's alone"
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_lists*size, d))
    X[:, 2] = np.repeat(rng.normal(size=n_lists), size)
    X[:, 3] += 5
    y = X[:, 0] - 1.5*X[:, 1]**2 + 2*X[:, 2] + .7*(X[:, 3] - 5) + rng.logistic(size=len(X)) > 0
    full = X[:, 3].copy()                                                   # never missing
    X[rng.random(X.shape) < missing] = np.nan
    X[:, 3] = full
    return X.astype(np.float32), y, np.full(n_lists, size)

def ndcg(score, y, groups, k=10):
    res = []
    for s, t in zip(*(np.split(o, np.cumsum(groups)[:-1]) for o in (score, y))):
        if t.any(): res.append((t[np.argsort(-s, kind='stable')[:k]]/np.log2(np.arange(2, k+2))).sum()/(1/np.log2(np.arange(2, min(k, t.sum()) + 2))).sum())
    return np.mean(res)

@pytest.fixture(scope='module')
def fitted():
    X, y, groups = lists()
    return Ranker(20).fit(X, y, groups=groups)

def walk(node, x):
    while 'leaf_value' not in node:
        v = x[node['split_feature']]
        node = node['left_child' if (node['default_left'] if np.isnan(v) else v <= node['threshold']) else 'right_child']
    return node['leaf_value']

def test_trees_are_the_sum_of_lightgbm_s_dump():
    X, y, groups = lists()
    r = Ranker(15, n_leaves=9, linear=False).fit(X, y, groups=groups)
    Z = np.concatenate([X[:400], np.full((1, 5), 1e30, np.float32), np.full((1, 5), -1e30, np.float32)])
    trees = [t['tree_structure'] for t in r.booster().dump_model()['tree_info']]
    assert len(trees) == 15 and {n for t in trees for n in re.findall("'split_feature': ([0-9]+)", str(t))} >= {'0', '1'}
    np.testing.assert_allclose(r.predict(Z), [sum(walk(t, x) for t in trees) for x in Z], atol=1e-6)

def test_the_line_is_scikit_learn_s():
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    X, y, groups = lists()
    w = np.random.default_rng(1).random(len(y))
    X[:, 4] = X[:, 4]*50 + 1000
    sk = make_pipeline(StandardScaler(), SimpleImputer(strategy='constant', fill_value=0), LogisticRegression(C=.1, solver='newton-cholesky')).fit(X.astype(float), y, logisticregression__sample_weight=w)
    r = Ranker(2).fit(X, y, w, groups)
    np.testing.assert_allclose(r.line_scores(X), sk.decision_function(X.astype(float)), atol=1e-4)
    trees, line = r.tree_scores(X), r.line_scores(X)
    mean = trees/spread_within(trees, groups) + line/spread_within(line, groups)
    np.testing.assert_allclose(r.predict(X), mean/2, atol=1e-5)

def test_whose_rows_they_are_matters():
    X, y, groups = lists()
    a = Ranker(1, linear=False).fit(X, y, groups=groups).predict(X)
    b = Ranker(1, linear=False).fit(X, y, groups=groups[:-1].tolist() + [20, 30]).predict(X)
    assert not np.array_equal(a, b)

def test_better_than_either_part_alone():
    X, y, groups = lists(200, seed=1)
    Z, t, sizes = lists(200, seed=2)
    r = Ranker().fit(X, y, groups=groups)
    both, trees, line = (ndcg(s, t, sizes) for s in (r.predict(Z), r.tree_scores(Z), r.line_scores(Z)))
    assert trees > line + .05 and both > line + .05 and both > np.mean([trees, line])
    unknown = ndcg(Ranker().fit(X, y).predict(Z), t, sizes)
    assert unknown > line + .02                                             # even if nobody knows whose rows they are

def test_what_is_the_same_in_a_list_gets_no_say_from_the_trees():
    X, y, groups = lists(100)
    X[:, 2] = np.nan_to_num(X[:, 2])
    X[:, 2] = np.repeat(X[::50, 2], 50)
    r = Ranker(1, linear=False).fit(X, y, groups=groups)
    assert r.booster().dump_model()['tree_info'][0]['tree_structure']['split_feature'] in (0, 1, 3)

def test_no_other_row_changes_a_bit(fitted):
    X = lists(seed=5)[0]
    s = fitted.predict(X)
    assert s.dtype == np.float32
    for n in (1, 2, 3, 7, 64, 300): np.testing.assert_array_equal(fitted.predict(X[10:10+n]), s[10:10+n])
    np.testing.assert_array_equal(np.concatenate([fitted.predict(x[None]) for x in X[:300]]), s[:300])
    np.testing.assert_array_equal(fitted.predict(X[::-1])[::-1], s)
    np.testing.assert_array_equal(fitted.predict(np.asfortranarray(X)), s)
    np.testing.assert_array_equal(fitted.predict(X.astype(float)), s)
    np.testing.assert_array_equal(fitted.predict(pd.DataFrame(X)), s)
    assert fitted.predict(X[:0]).shape == (0,)

def test_no_other_row_changes_a_bit_of_a_long_line():
    X = np.random.default_rng(0).normal(size=(2000, 67)).astype(np.float32)
    r = Ranker(1).fit(X, X[:, 0] > 0)
    s = r.line_scores(X)
    for n in (1, 2, 5, 300): np.testing.assert_array_equal(r.line_scores(X[7:7+n]), s[7:7+n])

def test_fitting_again_forgets():
    (X, y, groups), (Z, t, sizes) = lists(20), lists(20, seed=4)
    r = Ranker(3).fit(Z, t, groups=sizes)
    r.predict(Z)
    np.testing.assert_array_equal(r.fit(X, y, groups=groups).predict(X), Ranker(3).fit(X, y, groups=groups).predict(X))

def test_same_seed_same_bits():
    X, y, groups = lists()
    before = X.copy()
    a, b = (Ranker(10).fit(X, y, groups=groups) for _ in range(2))
    assert a.trees == b.trees
    np.testing.assert_array_equal(a.predict(X), b.predict(X))
    np.testing.assert_array_equal(X, before)                                # and the input is as it was
    c, d = (Ranker(10, seed=s).fit(X, y) for s in (1, 2))
    assert c.trees != d.trees                                               # dealt in another way

def test_missing_and_infinite(fitted):
    X = lists(seed=7)[0][:200]
    inf, nan = X.copy(), X.copy()
    inf[::2, 0], inf[1::2, 0], nan[:, 0] = np.inf, -np.inf, np.nan
    np.testing.assert_array_equal(fitted.predict(inf), fitted.predict(nan))
    gone, mean = X.copy(), X.copy()
    gone[:, 3], mean[:, 3] = np.nan, fitted.fill[3]                         # never missing in training: the mean stands in
    np.testing.assert_array_equal(fitted.tree_scores(gone), fitted.tree_scores(mean))
    np.testing.assert_allclose(fitted.predict(gone), fitted.predict(mean), atol=1e-6)
    assert np.isnan(fitted.fill[[0, 1, 4]]).all() and abs(fitted.fill[3] - 5) < .2
    gone[:, 3] = 0
    assert not np.array_equal(fitted.tree_scores(gone), fitted.tree_scores(mean))

@pytest.mark.parametrize('n', [2, 5, 60])
def test_little_to_learn_from(n, tmp_path):
    "Few rows, a column that is always missing, one that never changes: a score all the same, and a file"
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.normal(size=n), np.full(n, np.nan), np.ones(n), np.full(n, 1e9)])
    r = Ranker(3).fit(X, np.arange(n) % 2)
    assert np.isfinite(r.predict(X)).all() and np.isfinite(r.predict(X*np.nan)).all()
    r.save(tmp_path)
    np.testing.assert_array_equal(Ranker.load(tmp_path).predict(X), r.predict(X))

def test_lists_with_one_kind_of_label_teach_the_trees_nothing():
    X, y, groups = lists(10)
    y = np.repeat(np.arange(10) % 2, 50)
    r = Ranker(3).fit(X, y, groups=groups)
    assert r.spread[0] == 1 and np.ptp(r.tree_scores(X)) < 1e-9 and np.isfinite(r.predict(X)).all()

def test_weights_count():
    X, y, groups = lists()
    w = np.where(X[:, 4] > 0, 10., .1)
    a, b = Ranker(5).fit(X, y, groups=groups), Ranker(5).fit(X, y, w, groups)
    assert a.trees != b.trees and not np.allclose(a.coef, b.coef)
    np.testing.assert_array_equal(a.predict(X), Ranker(5).fit(X, y, np.ones(len(y)), groups).predict(X))

def test_bad_input(fitted):
    X, y, groups = lists(4)
    for words, args in {'labels must be 0 and 1': (X, y + 1), 'some of each': (X, y*0), 'labels of shape': (X, y[:-1]), 'weights of shape': (X, y, y[:-1]),
                        'finite and at least 0': (X, y, -1.*y), 'add up to 200': (X, y, None, [50]*3), 'whole numbers': (X, y, None, [50.5]*4), 'a row for each': (X[0], y)}.items():
        with pytest.raises(ValueError, match=words): Ranker().fit(*args)
    with pytest.raises(ValueError, match='add up'): Ranker().fit(X, y, None, [-50, 250])
    for Z in (X[:, :3], np.column_stack([X, X]), X[:, :0]):
        with pytest.raises(ValueError, match=f'{Z.shape[1]} features, but the ranker was fitted to 5'): fitted.predict(Z)
    with pytest.raises(ValueError, match='a row for each'): fitted.predict(X[0])
    with pytest.raises(RuntimeError, match='not fitted'): Ranker().predict(X)
    for name, bad in dict(n_trees=0, n_leaves=1, min_leaf=-1, lr=0, reg=-1).items():
        with pytest.raises(ValueError, match=name): Ranker(**{name: bad})

def test_an_old_mistake_three_of_four_columns():
    X = np.random.default_rng(0).normal(size=(500, 4)).astype(np.float32)
    r = Ranker(linear=False).fit(X, X[:, 3] > 0)
    with pytest.raises(ValueError, match='3 features'): r.predict(X[:, :3])

def test_lightgbm_is_loaded_only_when_needed():
    code = 'import sys; import recsys_course.rank; print("lightgbm" in sys.modules)'
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout.strip() == 'False'

# --- files

@pytest.fixture
def saved(fitted, tmp_path):
    fitted.save(tmp_path)
    return tmp_path

def test_files(fitted, saved):
    X = lists(seed=9)[0]
    again = Saveable.load(saved)
    assert type(again) is Ranker and vars(again).keys() - {'grown'} == vars(fitted).keys() - {'grown'}
    np.testing.assert_array_equal(again.predict(X), fitted.predict(X))
    assert {p.suffix for p in saved.iterdir()} == {'.json', '.safetensors'}
    X, y, groups = lists()
    np.testing.assert_array_equal(again.fit(X, y, groups=groups).predict(X), fitted.predict(X))      # and it can learn again

def test_many_threads_share_a_loaded_ranker(fitted, saved):
    X = lists(seed=3)[0]
    want = fitted.predict(X)
    for _ in range(3):
        again = Ranker.load(saved)
        again.grown = None
        with ThreadPoolExecutor(4) as pool: got = list(pool.map(lambda k: again.predict(X), range(8)))
        for g in got: np.testing.assert_array_equal(g, want)

def test_copies(fitted):
    X = lists()[0][:50]
    for c in (copy.copy(fitted), copy.deepcopy(fitted)): np.testing.assert_array_equal(c.predict(X), fitted.predict(X))

def rewrite(folder, change):
    about = json.loads((folder/'model.json').read_text())
    change(about['state'])
    (folder/'model.json').write_bytes(model_json(about))

def edit(pattern, new): return lambda text: re.sub(pattern, new, text, count=1)

HOSTILE = {'a circle': edit(r'left_child=\S+', 'left_child=0'), 'a loop of two': edit(r'left_child=\S+ \S+', 'left_child=1 0'), 'a child too far': edit(r'left_child=\S+', 'left_child=9999'),
           'a leaf too far': edit(r'left_child=\S+', 'left_child=-9999'), 'a leaf twice': edit(r'right_child=\S+', 'right_child=-1'), 'a feature too far': edit(r'split_feature=\d+', 'split_feature=9999999'),
           'a feature below 0': edit(r'split_feature=\d+', 'split_feature=-7'), 'a leaf of NaN': edit(r'leaf_value=\S+', 'leaf_value=nan'), 'a huge leaf': edit(r'leaf_value=\S+', 'leaf_value=1e80'), 'a leaf of inf': edit(r'leaf_value=\S+', 'leaf_value=inf'),
           'a threshold of NaN': edit(r'threshold=\S+', 'threshold=nan'), 'categories': edit(r'decision_type=\d+', 'decision_type=1'), 'categories, declared': edit('num_cat=0', 'num_cat=1'),
           'linear leaves': edit('is_linear=0', 'is_linear=1'), 'too many leaves': edit(r'num_leaves=\d+', 'num_leaves=500000000'), 'no leaves': edit(r'num_leaves=\d+', 'num_leaves=0'),
           'two numbers of leaves': edit(r'num_leaves=', 'num_leaves=2 '), 'underscores': edit(r'num_leaves=(\d)', r'num_leaves=0_\1'), 'few leaves': edit(r'leaf_value=\S+ ', 'leaf_value='),
           'sizes': edit('\nTree=0', 'tree_sizes=99999999999\n\nTree=0'), 'a mean of trees': edit('\n\nTree=0', '\naverage_output\n\nTree=0'), 'more classes': edit('num_class=1', 'num_class=3'),
           'more features': edit(r'max_feature_idx=\d+', 'max_feature_idx=9'), 'another objective': edit('objective=lambdarank', 'objective=binary sigmoid:1'), 'a tree in the head': edit('\n\nTree=0', '\nTree=0'),
           'a blank line in a tree': edit('\nthreshold', '\n\nthreshold'), 'a line twice': edit('\nnum_leaves=', '\nnum_leaves=2\nnum_leaves='), 'few thresholds': edit(r'\nthreshold=\S+ ', '\nthreshold='), 'few kinds': edit(r'decision_type=\S+ ', 'decision_type='),
           'a tree behind a return': edit('\n\nTree=0', '\rTree=0\rnum_leaves=1\rnum_cat=0\rleaf_value=5\ris_linear=0\rshrinkage=1\n\nTree=0'), 'a line is missing': edit(r'\nthreshold=[^\n]*', ''),
           'cut short': lambda t: t[:len(t)//2], 'cut before the end': lambda t: t[:-3], 'cut in the head': lambda t: t[:100], 'empty': lambda t: '', 'no trees': lambda t: t[:t.index('\nTree=0')] + '\nend of trees',
           'more after the end': lambda t: t + '\nparameters:\n', 'a zero byte': edit('threshold', 'thres\0hold'), 'other line ends': lambda t: t.replace('\n', '\r\n'), 'no text': lambda t: 5, 'None': lambda t: None}

@pytest.mark.parametrize('how', HOSTILE)
def test_trees_that_cannot_be_trusted(how, saved, fitted):
    assert HOSTILE[how](fitted.trees) != fitted.trees
    rewrite(saved, lambda state: state['trees'].update(value=HOSTILE[how](state['trees']['value'])))
    with pytest.raises(Damaged, match='the model saved in .* is damaged'): Ranker.load(saved)

def test_a_thousand_small_edits(fitted):
    "Whatever is edited: an error, or finite scores; never a crash or a walk without end"
    rng, X, n, passed = np.random.default_rng(0), lists()[0][:20], 5, 0
    for _ in range(1000):
        text, k = fitted.trees, int(rng.integers(len(fitted.trees)))
        how, piece = rng.integers(4), rng.choice(list('0123456789-+. =\nenaif'))
        text = [text[:k] + text[k+1:], text[:k] + piece + text[k:], text[:k] + piece + text[k+1:], text[:k] + text[k+int(rng.integers(1, 400)):]][how]
        try: check_trees(text, n)
        except Exception as e:
            assert isinstance(e, (ValueError, KeyError, OverflowError)), repr(e)
            continue
        r = copy.copy(fitted)
        r.trees, r.grown = text, None
        try: assert np.isfinite(r.predict(X)).all()
        except Exception as e: assert type(e).__name__ == 'LightGBMError', repr(e)
        passed += 1
    assert 0 < passed < 900

@pytest.mark.parametrize('name,change,words', [('spread', lambda s: s['spread'].update(value=[0, 1]), 'spread'), ('one spread', lambda s: s['spread'].update(value=[1.]), 'spread'),
                                               ('no trees', lambda s: s.pop('trees'), 'trees'), ('intercept', lambda s: s['intercept'].update(value='much'), '')])
def test_other_state_that_does_not_fit(name, change, words, saved):
    rewrite(saved, change)
    with pytest.raises(Damaged, match=f'damaged.*{words}'): Ranker.load(saved)

@pytest.mark.parametrize('name,value', [('coef', np.ones(4)), ('mean', np.full(5, np.nan)), ('fill', np.full(5, np.inf, np.float32)), ('coef', np.ones((5, 1))), ('coef', np.arange(5))])
def test_arrays_that_do_not_fit(name, value, fitted, tmp_path):
    r = copy.copy(fitted)
    setattr(r, name, value)
    r.save(tmp_path)
    with pytest.raises(Damaged, match='features|finite|shape'): Ranker.load(tmp_path)
