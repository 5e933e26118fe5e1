"The workbench: top-k, encoders and saving against independent oracles, and files that were damaged, shared or half written"
import json, os, re, subprocess, sys, threading

import numpy as np, pandas as pd, pytest, scipy.sparse as sp
from conftest import slow
from hypothesis import given, settings, strategies as st

from recsys_course import core
from recsys_course.core import Damaged, FeatureEncoder, Saveable, by_code, find_class, model_json, settings_text, unit_rows
from recsys_course.data import Interactions, Vocab
from recsys_course.recommender import ItemKNN, Popular, Recommender

quick = settings(max_examples=60, deadline=None)

# ---- Lists

@quick
@given(st.integers(1, 5), st.integers(1, 200), st.integers(1, 200), st.integers(0, 10**6))
def test_top_rows_against_sorting_tuples(n, m, k, seed):
    rng, k = np.random.default_rng(seed), min(k, m)
    s = rng.integers(0, 5, (n, m)).astype(np.float32)
    s[rng.random(s.shape) < .3] = -np.inf
    want = [[c for _, c in sorted((-x, c) for c, x in enumerate(row) if x > -np.inf)][:k] for row in s.tolist()]
    assert core.top_rows(s, k).tolist() == [o + [-1]*(k - len(o)) for o in want]
    assert core._top_of_one(s[:1], k).tolist() == [want[0] + [-1]*(k - len(want[0]))]      # for the first list of a process

def test_the_first_list_of_a_process_is_that_of_all_others():
    "With ties, NaN and both infinities, which the compiled walk and heap meet later"
    rng = np.random.default_rng(0)
    for _ in range(500):
        s = rng.choice([0, 1, 1, 2.5, np.nan, np.inf, -np.inf], (1, int(rng.integers(1, 90)))).astype(np.float32)
        for k in {1, s.shape[1]//2 or 1, s.shape[1]}:
            want = core._top_of_one(s, k).tolist()
            assert core._top_by_walk(s, k).tolist() == want and core._top_by_heap(s, k).tolist() == want

@quick
@given(st.integers(1, 4), st.integers(1, 12), st.integers(1, 15), st.integers(0, 10**6))
def test_first_found_against_a_loop(n, m, k, seed):
    rng = np.random.default_rng(seed)
    items, scores = rng.integers(-1, 30, (n, m)), rng.random((n, m)).astype(np.float32)
    got, s = core.first_found(items, scores, k)
    for r in range(n):
        there = [(i, x) for i, x in zip(items[r], scores[r]) if i >= 0][:k]
        assert got[r].tolist() == [i for i, _ in there] + [-1]*(k - len(there))
        assert np.isneginf(s[r, len(there):]).all() and s[r, :len(there)].tolist() == [x for _, x in there]

@quick
@given(st.integers(1, 6), st.integers(1, 9), st.integers(0, 10**6))
def test_membership_and_leaving_out(n, m, seed):
    rng = np.random.default_rng(seed)
    dense = rng.random((n, m)) < .4
    X = core.csr_ones(sp.csr_matrix(dense*rng.random((n, m))))
    assert (X.toarray() == dense).all() and X.has_sorted_indices
    rows, items = rng.integers(0, n, 7), rng.integers(-1, m, (7, 5))
    assert (core.in_rows(X.indptr, X.indices, rows, items) == np.where(items < 0, False, dense[rows[:, None], items.clip(0)])).all()
    s = core.leave_out(np.ones((n, m), np.float32), X)
    out = dense.copy()
    out[:, 0] = True
    assert (np.isneginf(s) == out).all()

@pytest.mark.parametrize('n', [0, 1, 7, 256])
def test_blocks_cover_every_row_once(n):
    assert [i for b in core.blocks(n, 5) for i in range(b.start, b.stop)] == list(range(n)) and core.blocks(n, 5)

def test_titles_stand_beside_their_items():
    inter = Interactions.from_df(pd.DataFrame(dict(user=[1, 1, 2], item=[7, 8, 7], rating=1.)), item_info=pd.DataFrame(dict(title=['Heat', None]), index=[8, 9]))
    lists = pd.DataFrame(dict(item=[7, 7], similar=[8, 9], score=[1., 2.]))
    assert inter.titled(lists).columns.tolist() == ['item', 'similar', 'title', 'score'] and inter.titled(lists).title.tolist() == ['Heat', '']
    assert inter.titled(lists, 'item').title.tolist() == ['', ''] and lists.columns.tolist() == ['item', 'similar', 'score']
    m = Popular().fit(inter)
    assert m.recommend(2, titles=True).title.tolist() == ['Heat', ''] and m.similar_items(7, titles=True).title.tolist()[0] == 'Heat'

# ---- What is known, as numbers

kinds = {'object': object, 'string': 'string', 'category': 'category'}

@pytest.mark.parametrize('dtype', kinds)
@pytest.mark.parametrize('missing', ['', None, np.nan])
def test_no_word_is_no_column(dtype, missing):
    "An item without genres has no flag, in whatever type pandas holds it"
    info = pd.DataFrame(dict(genres=pd.Series(['a|b', missing, 'b', missing]).astype(kinds[dtype])))
    enc = FeatureEncoder(info)
    assert enc.words['genres'] == ['a', 'b'] and enc.flags(info, 'genres').tolist() == [[1, 1], [0, 0], [0, 1], [0, 0]]
    assert enc.matrix(info, centred=True)[1].tolist() == [0, 0] and np.allclose(enc.matrix(info, centred=True)[0], [1 - .25, 1 - .5])

@quick
@given(st.lists(st.one_of(st.none(), st.lists(st.sampled_from(['a', 'b', 'c d', 'é']), max_size=3).map('|'.join)), min_size=1, max_size=12))
def test_flags_against_sets(texts):
    info = pd.DataFrame(dict(w=pd.Series(texts, dtype=object)))
    enc = FeatureEncoder(info)
    if 'w' not in enc: assert not any(texts) or all(t is None for t in texts); return
    for row, t in zip(enc.flags(info, 'w'), texts): assert {w for w, f in zip(enc.words['w'], row) if f} == set(filter(None, (t or '').split('|')))

def test_columns_that_say_nothing_are_left_out():
    info = pd.DataFrame(dict(day=pd.to_datetime(['2020', '2021']), odd=[['a', 1], []], mixed=['a', 2], nothing=['', ' '], price=[np.nan, np.nan], year=[1999, np.inf], none=[None, None]))
    assert FeatureEncoder(info).kinds == dict(year='number') and FeatureEncoder(info).matrix(info).tolist() == [[0], [0]]
    assert len(FeatureEncoder(None)) == 0 and FeatureEncoder(None).matrix(info).shape == (2, 0)

def test_many_words_never_become_columns(peak_growth):
    "The limit is looked at before a column is made for each of 20,000 titles"
    info = pd.DataFrame(dict(title=[f'Film {i}' for i in range(20_000)], genres=['a|b', 'c']*10_000))
    enc, grown = peak_growth(lambda: FeatureEncoder(info, max_words=30))
    assert enc.kinds == dict(genres='words') and grown < 100e6

COLUMNS = dict(lists=[['a', 'b'], [], ['b'], None], arrays=[np.array(['a', 'b']), np.array([]), np.array(['b']), None], tuples=[('b', 'a'), (), ('b',), None], sets=[{'a', 'b'}, set(), {'b'}, None], blanks=[' a | b', '  ', '|b|', None], twice=['a|b|a', '', 'b|b', np.nan],
    category=pd.Categorical(['a|b', None, 'b', None]), NA=pd.array(['a|b', pd.NA, 'b', ''], dtype='string'))

@pytest.mark.parametrize('kind', COLUMNS)
def test_words_in_every_form(kind):
    info = pd.DataFrame(dict(x=COLUMNS[kind]))
    enc = FeatureEncoder(info)
    assert enc.kinds == dict(x='words') and enc.words['x'] == ['a', 'b'] and enc.flags(info, 'x').tolist() == [[1, 1], [0, 0], [0, 1], [0, 0]] and enc.share['x'] == [.25, .5]
    assert core.split_words(info.x).to_numpy().tolist() == [[1, 1], [0, 0], [0, 1], [0, 0]]

NUMBERS = dict(object=pd.Series([1, 2, None, 4], dtype=object), category=pd.Categorical([1, 2, None, 4]), Int64=pd.array([1, 2, pd.NA, 4], dtype='Int64'), Float32=pd.array([1, 2, pd.NA, 4], dtype='Float32'), decimal=[__import__('decimal').Decimal(o) if o else None for o in (1, 2, 0, 4)], inf=[1, 2, np.inf, 4], minus=[1., 2, -np.inf, 4], half=np.float16([1, 2, np.nan, 4]))

@pytest.mark.parametrize('kind', NUMBERS)
def test_numbers_in_every_form(kind):
    info = pd.DataFrame(dict(x=NUMBERS[kind]))
    enc = FeatureEncoder(info)
    assert enc.kinds == dict(x='number') and np.allclose(enc.spread['x'], (7/3, np.std([1, 2, 4])))
    assert np.allclose(enc.matrix(info)[:, 0], [(1 - 7/3)/np.std([1, 2, 4]), (2 - 7/3)/np.std([1, 2, 4]), 0, (4 - 7/3)/np.std([1, 2, 4])])

@pytest.mark.parametrize('scale', [1e-300, 1e-9, 1., 1e9, 1e38, 1e160, 1e300, 4e307])
def test_units_of_a_number_do_not_matter(scale):
    "A year in nanoseconds or in ages of the universe: the same features, all finite, and no warning of overflow"
    import warnings
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        info = pd.DataFrame(dict(x=np.array([1., -2, 4, 0])*scale))
        enc = FeatureEncoder(info)
        want = (np.array([1., -2, 4, 0]) - .75)/np.std([1., -2, 4, 0])
        assert np.allclose(enc.matrix(info)[:, 0], want) and np.allclose(enc.matrix(info, squares=True)[:, 1], want**2 - 1)
        assert np.isfinite(enc.columns(info)['x']).all() and np.isfinite(enc.matrix(pd.DataFrame(dict(x=[1.7e308, -1.7e308, 0])), squares=True).astype(np.float32)).all()

def test_what_is_always_the_same_says_nothing():
    enc = FeatureEncoder(pd.DataFrame(dict(x=[.1]*3)))
    assert enc.matrix(pd.DataFrame(dict(x=[.1, 5, None])), squares=True)[:, 0].tolist() == [0, 0, 0]

@pytest.mark.parametrize('info, error, why', [([1], TypeError, 'must be a pandas DataFrame'), (pd.Series([1]), TypeError, 'is a Series'), (pd.DataFrame([[1, 2]], columns=['a', 'a']), ValueError, "two columns are called 'a'")])
def test_tables_that_are_none(info, error, why):
    with pytest.raises(error, match=why): FeatureEncoder(info)

def test_text_where_numbers_are_needed():
    enc = FeatureEncoder(pd.DataFrame(dict(age=[20, 30])))
    assert enc.numbers(pd.DataFrame(dict(age=['25', None])), 'age')[0] == 25
    with pytest.raises(ValueError, match="'old' is no number"): enc.numbers(pd.DataFrame(dict(age=['old'])), 'age')

def test_two_rows_for_one_id_are_refused():
    with pytest.raises(ValueError, match='two rows describe 7: keep one'): by_code(pd.DataFrame(dict(year=[1, 2]), index=[7, 7]), Vocab([7, 8]))

def test_an_encoder_with_numbered_columns_is_saved(tmp_path):
    "As a file without a heading gives them"
    info = pd.DataFrame({0: [1., 2.], 1: ['a', 'b|a']})
    FeatureEncoder(info).save(tmp_path)
    assert FeatureEncoder.load(tmp_path).matrix(info).tolist() == FeatureEncoder(info).matrix(info).tolist()

def test_rows_by_code_begin_with_the_unknown():
    info = pd.DataFrame(dict(year=[1979, 1995]), index=[8, 7])
    rows = by_code(info, Vocab([7, 8, 9]))
    assert np.isnan(rows.year.iloc[0]) and rows.year.iloc[1:3].tolist() == [1995, 1979] and np.isnan(rows.year.iloc[3]) and len(rows) == 4
    assert by_code(None, Vocab([7])).shape == (2, 0)

# ---- Saving

def log(shift=0):
    rng = np.random.default_rng(0)
    cells = rng.choice(40*30, 500, replace=False)
    return Interactions.from_df(pd.DataFrame(dict(user=[f'u{(c//30 + shift) % 40}' for c in cells], item=cells % 30 + 100, rating=rng.integers(1, 6, 500))))

class Inner(Saveable):
    def __init__(self, x=1): self.x = x

class Holder(Saveable):
    "Every kind of value"
    def __init__(self, name='n', pair=(1, 2)): self.name, self.pair = name, pair
    def fill(self):
        self.whole, self.share, self.flags = np.arange(5), np.float32([[.5, np.inf]]), np.array([True, False])
        self.links, self.vocab, self.words = sp.csr_matrix(np.eye(3)), Vocab(['b', 'a'], 'item'), Vocab([2**62, -5], 'user')
        self.inner, self.many, self.named = Inner(3), [Inner(4), np.zeros(2)], dict(a=Inner(5), b=[1, None, 'x'])
        self.text, self.none, self.number = 'é', None, np.float64(2.5)
        return self

def test_every_kind_of_value_comes_back(tmp_path):
    h = Holder('m', (0.5, 'b')).fill()
    h.save(tmp_path/'h')
    g = Saveable.load(tmp_path/'h')
    assert type(g) is Holder and (g.name, g.pair, g.text, g.none, g.number) == ('m', (.5, 'b'), 'é', None, 2.5)
    for k in ('whole', 'share', 'flags'): assert np.array_equal(getattr(g, k), getattr(h, k)) and getattr(g, k).dtype == getattr(h, k).dtype
    assert (g.links != h.links).nnz == 0 and g.vocab == h.vocab and g.words == h.words and g.words.name == 'user'
    assert g.inner.x == 3 and g.many[0].x == 4 and g.many[1].tolist() == [0, 0] and g.named['a'].x == 5 and g.named['b'] == [1, None, 'x']

def unaddressed(o): return re.sub(r' at 0x\w+', '', repr(o))        # the same name in every process

@pytest.mark.parametrize('value', [lambda: 1, object(), {(1, 2): 2}, float('nan'), [1., np.inf], {'a': {1, 2}}, np.array(['text']), np.array([1j]), np.ma.array([1, 2]), sp.coo_matrix(np.eye(2)), pd.DataFrame()], ids=unaddressed)
def test_what_cannot_be_saved_is_named_and_nothing_is_lost(tmp_path, value):
    h = Holder().fill()
    h.save(tmp_path/'h')
    before = sorted(p.name for p in (tmp_path/'h').iterdir())
    h.odd = value
    with pytest.raises(TypeError, match='odd'): h.save(tmp_path/'h')
    assert sorted(p.name for p in (tmp_path/'h').iterdir()) == before and Saveable.load(tmp_path/'h').name == 'n'

def about(folder): return json.loads((folder/'model.json').read_text(encoding='utf-8'))
def arrays(folder): return folder/about(folder)['arrays']

def changed(folder, f):
    d = about(folder)
    f(d)
    (folder/'model.json').write_bytes(model_json(d))                     # with a checksum that fits

@pytest.mark.parametrize('f', [
    lambda d: d.clear(), lambda d: d.pop('state'), lambda d: d.update(arrays='../x'), lambda d: d.update(arrays='gone.safetensors'),
    lambda d: d.update(sha256='0'), lambda d: d['state'].pop('neighbours'), lambda d: d['state'].update(recommend=dict(kind='json', value=1)),
    lambda d: d['state']['users']['ids']['value'].pop(), lambda d: d['state']['users']['ids']['value'].reverse(), lambda d: d['state']['users']['ids']['value'].clear(),
    lambda d: d['state']['seen'].update(shape=[3, 3]), lambda d: d['state']['item_bias'].update(shape=[7]), lambda d: d['state']['item_bias'].update(dtype='int64'),
    lambda d: d['args']['k'].update(value=-3), lambda d: d['args']['similarity'].update(value='euclid'), lambda d: d['state']['X'].update(kind='pickle')])
def test_a_changed_description_is_damage(tmp_path, f):
    ItemKNN().fit(log()).save(tmp_path)
    changed(tmp_path, f)
    with pytest.raises(Damaged, match='is damaged'): Recommender.load(tmp_path)

@pytest.mark.parametrize('text', ['', '[1]', '{', 'null', '\x00'])
def test_what_is_no_description_is_damage(tmp_path, text):
    Popular().fit(log()).save(tmp_path)
    (tmp_path/'model.json').write_text(text)
    with pytest.raises(Damaged): Recommender.load(tmp_path)

@pytest.mark.parametrize('seed', range(8))
def test_a_flipped_or_cut_file_is_damage(tmp_path, seed):
    rng = np.random.default_rng(seed)
    ItemKNN().fit(log()).save(tmp_path)
    path = arrays(tmp_path)
    data = bytearray(path.read_bytes())
    if seed % 2: data = data[:rng.integers(0, len(data))]
    else: data[rng.integers(0, len(data))] ^= 1 << rng.integers(0, 8)
    path.write_bytes(bytes(data))
    with pytest.raises(Damaged): Recommender.load(tmp_path)

def forged(tmp_path, name, f):
    "A saved ItemKNN in which one array was changed, with a checksum that fits"
    import hashlib
    from safetensors.numpy import load, save
    ItemKNN().fit(log()).save(tmp_path)
    a = load(arrays(tmp_path).read_bytes())
    a[name] = f(a[name].copy())
    data = save(a)
    arrays(tmp_path).write_bytes(data)
    changed(tmp_path, lambda d: d.update(sha256=hashlib.sha256(data).hexdigest()))

@pytest.mark.parametrize('name,f', [('neighbours.indices', lambda a: a + 10**6), ('neighbours.indices', lambda a: a - 5), ('X.indptr', lambda a: a[::-1].copy()),
    ('neighbours.indptr', lambda a: a*2), ('user_bias', lambda a: a*np.nan), ('item_bias', lambda a: a[:-1]), ('X.data', lambda a: a[:3])])
def test_arrays_that_do_not_fit_never_reach_compiled_code(tmp_path, name, f):
    forged(tmp_path, name, f)
    with pytest.raises(Damaged): Recommender.load(tmp_path)

def test_a_reader_beside_writers_finds_a_whole_model(tmp_path):
    "Two models that share no list; four threads write them in turns, and every load is one of the two"
    models = [ItemKNN(k=5).fit(log()), ItemKNN(k=7).fit(log(shift=7))]
    lists = [m.recommend('u1', k=5)['item'].tolist() for m in models]
    models[0].save(tmp_path)
    stop, errors = threading.Event(), []
    def write(m):
        while not stop.is_set():
            try: m.save(tmp_path)
            except Exception as e: errors.append(e); return
    writers = [threading.Thread(target=write, args=(m,)) for m in models*2]
    for t in writers: t.start()
    try:
        for _ in range(60):
            m = Recommender.load(tmp_path)
            assert m.recommend('u1', k=5)['item'].tolist() == lists[m.k == 7]
    finally:
        stop.set()
        for t in writers: t.join()
    assert not errors

killed = '''
import os, sys
import numpy as np
from recsys_course import core
from test_core import ItemKNN, log
real = getattr(os, sys.argv[2])
def dies(*args, **kwargs):
    os.kill(os.getpid(), 9)
setattr(os, sys.argv[2], dies)
ItemKNN(k=7).fit(log(shift=7)).save(sys.argv[1])
'''

@pytest.mark.skipif(os.name == 'nt', reason='SIGKILL')
@pytest.mark.parametrize('when', ['fsync', 'replace'])
def test_a_save_that_is_killed_leaves_the_old_model(tmp_path, when):
    old = ItemKNN(k=5).fit(log())
    old.save(tmp_path)
    res = subprocess.run([sys.executable, '-c', killed, str(tmp_path), when], cwd=os.path.dirname(__file__), capture_output=True, text=True)
    assert res.returncode == -9, res.stderr
    m = Recommender.load(tmp_path)
    assert m.k == 5 and m.recommend('u1')['item'].tolist() == old.recommend('u1')['item'].tolist()
    old.save(tmp_path)                                         # and the folder can be written again
    assert Recommender.load(tmp_path).k == 5

@pytest.mark.skipif(os.name == 'nt', reason='symbolic links')
def test_a_planted_link_is_not_written_through(tmp_path):
    (tmp_path/'secret').write_text('mine')
    (tmp_path/'m').mkdir()
    (tmp_path/'m/model.json').symlink_to(tmp_path/'secret')
    Popular().fit(log()).save(tmp_path/'m')
    assert (tmp_path/'secret').read_text() == 'mine' and not (tmp_path/'m/model.json').is_symlink()

def test_other_files_in_the_folder_stay(tmp_path):
    (tmp_path/'notes.txt').write_text('keep')
    for _ in range(3): Popular().fit(log()).save(tmp_path)
    assert (tmp_path/'notes.txt').read_text() == 'keep' and len(list(tmp_path.iterdir())) == 3

own = '''
from recsys_course.recommender import Popular, Recommender
class OnesOwn(Popular): pass
if __name__ == '__main__':
    import sys
    sys.path.insert(0, '.')
    import mine
    from test_core import log
    mine.OnesOwn().fit(log()).save(sys.argv[1])
'''

def test_a_class_of_ones_own(tmp_path):
    "A loaded class is found by its name; one that is not loaded is no damage, and nothing is imported because a file says so"
    (tmp_path/'mine.py').write_text(own)
    (tmp_path/'evil.py').write_text('raise SystemExit("imported")')
    env = {**os.environ, 'PYTHONPATH': os.path.dirname(__file__)}
    res = subprocess.run([sys.executable, 'mine.py', str(tmp_path/'m')], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert res.returncode == 0, res.stderr
    with pytest.raises(LookupError, match="OnesOwn from 'mine'.*import 'mine' first"): Recommender.load(tmp_path/'m')
    ask = f"import sys; sys.path.insert(0, '.'); import mine; from recsys_course.recommender import Recommender; print(type(Recommender.load({str(tmp_path/'m')!r})).__name__)"
    res = subprocess.run([sys.executable, '-c', ask], cwd=tmp_path, capture_output=True, text=True)
    assert res.stdout == 'OnesOwn\n', res.stderr
    changed(tmp_path/'m', lambda d: d.update(module='evil'))
    res = subprocess.run([sys.executable, '-c', ask], cwd=tmp_path, capture_output=True, text=True)
    assert res.stdout == 'OnesOwn\n' and 'imported' not in res.stderr

def test_classes_of_the_library_are_found_by_name():
    code = "from recsys_course.core import find_class; print(find_class('BiasedMF', 'recsys_course.factorize').__name__)"
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True).stdout == 'BiasedMF\n'
    with pytest.raises(LookupError, match='NobodyWroteThisModel'): find_class('NobodyWroteThisModel', 'recsys_course.data')

# ---- Checks of settings

@pytest.mark.parametrize('bad', ['3', 'many', [3], (1, 2), np.array([1, 2]), True, 1j, dict(), object()], ids=unaddressed)
def test_a_setting_that_is_no_number_is_named(bad):
    for check in (core.check_whole, core.check_positive, core.check_not_negative):
        with pytest.raises(ValueError, match='^n_factors=.* must be a number, and is a '): check(n_factors=bad)

@pytest.mark.parametrize('bad', [None, 'three', '3', [3], np.array([1, 2]), True, float('nan'), float('inf'), 0, -1, 1.5, 2j], ids=unaddressed)
def test_a_length_that_is_none(bad):
    with pytest.raises(ValueError, match='^k=.*: ask for at least one item$'): core.check_k(bad)

@pytest.mark.parametrize('good', [1, np.int8(3), 3., np.float32(3), 10**12])
def test_a_length(good): assert core.check_k(good) == good and type(core.check_k(good)) is int

def test_settings_that_may_not_be_left_open():
    core.check_given(a=0, b='', c=False)
    with pytest.raises(ValueError, match='reg=None: this setting cannot be left open'): core.check_given(lr=1, reg=None)

# ---- What stands on the screen

class Many(Saveable):
    def __init__(self, n, lr=.1, layers=(100,), by='count', model=None, f=None, k=None): self.n, self.lr, self.layers, self.by, self.model, self.f, self.k = n, lr, layers, by, model, f, k

@pytest.mark.parametrize('args, text', [(dict(n=1), 'n=1'), (dict(n=np.float64(.5)), 'n=0.5'), (dict(n=1, lr=.1, layers=[100]), 'n=1'), (dict(n=1, layers=(5, 6)), 'n=1, layers=(5, 6)'), (dict(n=1, layers=(5,)), 'n=1, layers=(5,)'),
    (dict(n='x', by="it's"), 'n=\'x\', by="it\'s"'), (dict(n=None), 'n=None'), (dict(n=np.zeros((3, 4))), 'n=<ndarray (3, 4)>'), (dict(n=pd.DataFrame(dict(a=[1]))), 'n=<DataFrame (1, 1)>'), (dict(n=1, model=Popular(by='mean')), "n=1, model=Popular(by='mean')"),
    (dict(n=1, f=len), 'n=1, f=len'), (dict(n=1, f=object()), 'n=1, f=<object>'), (dict(n={'a': Popular()}), "n={'a': Popular()}"), (dict(n=list(range(99))), 'n=<list>'), (dict(n='x'*99), 'n=<str>'), (dict(n=1, lr=True), 'n=1, lr=True'), (dict(n=1, lr=np.array([.1])), 'n=1, lr=<ndarray (1,)>')])
def test_settings_as_text(args, text):
    assert settings_text(Many(**args)) == f'Many({text})' and repr(Many(**args)) == f'Many({text})'

def test_parameters_and_what_is_fitted(tmp_path):
    m = ItemKNN(k=7)
    assert m.get_params()['k'] == 7 and set(m.get_params()) == {'similarity', 'k', 'shrink', 'centre', 'damping'}
    assert Saveable.__repr__(m) == 'ItemKNN(k=7) (not fitted)' and Saveable.__repr__(m.fit(log())) == 'ItemKNN(k=7)'
    m.save(tmp_path)
    assert Saveable.__repr__(Saveable.load(tmp_path)) == 'ItemKNN(k=7)'

# ---- Values that JSON or a file of arrays would change

class Box(Saveable):
    def __init__(self, x=None): self.x = x

def same(a, b):
    if isinstance(a, (list, tuple)): return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict): return list(a) == list(b) and [type(k) for k in a] == [type(k) for k in b] and all(same(a[k], b[k]) for k in a)
    if sp.issparse(a): return type(a) is type(b) and a.dtype == b.dtype and (a != b).nnz == 0
    if isinstance(a, np.ndarray): return a.dtype == b.dtype and a.shape == b.shape and np.array_equal(a, b, equal_nan=a.dtype.kind == 'f')
    return type(a) is type(b) and a == b

VALUES = [((1, 2), (3,)), [(1, 'a'), (2, 'b')], {'a': (1, 2)}, {1: 'a', 2: [3]}, {1.5: 2, True: 3}, {'a': {'b': np.zeros(2)}, 'a/b': np.ones(3)}, {'a': sp.csr_matrix(np.eye(2)), 'a.data': np.ones(3)}, {'': np.ones(1), '/': np.zeros(1), 'é%2F': np.ones(2)},
    np.array(3.), np.zeros((0, 5)), np.zeros((2, 3)).T, np.arange(6)[::2], np.float16([1, np.nan]), np.array([1, 2], '>i4').astype('<i4'), np.array([True]), np.uint64([2**64 - 1]), sp.csr_array(np.eye(3)), sp.csc_matrix(np.eye(3)), sp.csr_matrix((3, 4)), sp.csr_matrix((np.float32([1, 2]), [3, 1], [0, 2]), shape=(1, 4)),
    'x'*100_000, '\ud800 é \0 "'*30_000, [f'Film {i}' for i in range(9000)], ['é', '', 'a\nb']*3000, [['a']*5000, None], 10**400, -0., 1e-320, '', [], {}, (), [[]], None, True]

@pytest.mark.parametrize('k', range(len(VALUES)))
def test_values_come_back_as_they_were(tmp_path, k):
    Box(VALUES[k]).save(tmp_path)
    assert same(VALUES[k], Saveable.load(tmp_path).x)
    assert (tmp_path/'model.json').stat().st_size < 50_000

def test_big_endian_numbers_keep_their_values(tmp_path):
    Box(np.array([1, 300], '>i4')).save(tmp_path)
    assert Saveable.load(tmp_path).x.tolist() == [1, 300]

def test_ids_beyond_63_bits(tmp_path):
    v = Vocab.__new__(Vocab)
    v.ids, v.name = pd.Index(np.array([1, 2**63 + 5, 2**64 - 1], np.uint64)), 'user'
    Box(v).save(tmp_path)
    assert json.loads((tmp_path/'model.json').read_bytes())['args']['x']['ids']['dtype'] == 'uint64'     # and not negative numbers

def test_what_holds_itself(tmp_path):
    ring = []
    ring.append(ring)
    with pytest.raises(TypeError, match='cannot save a Box that holds itself'): Box(ring).save(tmp_path)

# ---- Files that are hostile, with checksums that fit

def box(tmp_path, x=None, **about):
    "A saved Box whose description is changed"
    Box(np.arange(4.) if x is None else x).save(tmp_path)
    d = json.loads((tmp_path/'model.json').read_bytes())
    for k, v in about.items(): d[k] = v
    (tmp_path/'model.json').write_bytes(model_json(d))
    return tmp_path

def refused(folder):
    with pytest.raises(Damaged) as e: Saveable.load(folder)
    text = str(e.value)
    assert text.startswith(f'the model saved in {folder} is damaged: ') and text.count('damaged') == 1 and '\n' not in text and len(text) < len(str(folder)) + 400
    return text

js = lambda v: dict(kind='json', value=v)

@pytest.mark.parametrize('about, why', [
    (dict(args=dict(save=js(1))), "'save' is no argument of a Box"), (dict(args=dict(x=js(1), y=js(2))), "'y' is no argument"), (dict(state=dict(save=js(1))), "'save' is no attribute"), (dict(state=dict(__class__=js(1))), "'__class__' is no attribute"),
    (dict(state=dict(not_saved=js([]))), "'not_saved' is no attribute"), (dict(state={'a b': js(1)}), "'a b' is no attribute"), (dict(state=[]), "'state' should be of type dict"), (dict(args=None), "'args' should be of type dict"), (dict(cls=5), "'cls' should be of type str"), (dict(module=[]), "'module' should be"),
    (dict(args=dict(x=[])), "'kind' is missing"), (dict(args=dict(x=dict(kind='pickle'))), "unknown kind 'pickle'"), (dict(args=dict(x=dict(kind=['json']))), "'kind' should be of type str"), (dict(args=dict(x=dict(kind='json'))), 'the value of x is missing'),
    (dict(args=dict(x=dict(kind='array', dtype='float64', shape=[2**70]))), 'x should be float64'), (dict(args=dict(x=dict(kind='array', dtype='object', shape=[4]))), 'x should be object'), (dict(args=dict(x=dict(kind='array', dtype='float64', shape=[-4]))), 'x should be'), (dict(args=dict(x=dict(kind='array'))), "'dtype' is missing"),
    (dict(args=dict(y=dict(kind='array', dtype='float64', shape=[4]))), 'the array y is missing'), (dict(args=dict(x=js(1))), "it holds 'x', which nothing asks for"), (dict(args=dict(x=dict(kind='dict', keys=[1], values=[]))), 'a value for each key'), (dict(args=dict(x=dict(kind='dict', keys=[[1]], values=[js(1)]))), 'a value for each key'),
    (dict(args=dict(x=dict(kind='vocab', name='user', ids=js([])))), 'x has no ids'), (dict(args=dict(x=dict(kind='vocab', name='user', ids=js(['b', 'a'])))), 'not sorted and distinct'), (dict(args=dict(x=dict(kind='vocab', name='user', ids=js('ab')))), 'x has no ids'), (dict(args=dict(x=dict(kind='tuple', value='ab'))), "'value' should be of type list"),
    (dict(bytes=10**15), 'is not the file that was written'), (dict(bytes=-1), 'is not the file'), (dict(bytes='9'), "'bytes' should be of type int"), (dict(arrays='/etc/passwd'), 'is no file of arrays'), (dict(arrays='../x.safetensors'), 'is no file of arrays'), (dict(arrays='model.json'), 'is no file of arrays'), (dict(arrays=None), "'arrays' should be"),
    (dict(arrays='model-0000000000000000.safetensors'), 'model-0000000000000000.safetensors is missing'), (dict(sha256='0'*64), 'is not the file'), (dict(sha256=0), "'sha256' should be of type str")], ids=str)
def test_a_hostile_description_gives_one_sentence(tmp_path, about, why): assert why in refused(box(tmp_path, **about))

CSR = dict(kind='csr', shape=[2, 3], sorted=True)

@pytest.mark.parametrize('parts, shape, why', [(dict(indices=[0, 7]), [2, 3], 'no sparse matrix'), (dict(indices=[-1, 1]), [2, 3], 'no sparse matrix'), (dict(indptr=[0, 2, 1]), [2, 3], 'no sparse matrix'), (dict(indptr=[0, 1, 9]), [2, 3], 'no sparse matrix'), (dict(indptr=[1, 1, 2]), [2, 3], 'no sparse matrix'), (dict(), [-2, 3], 'no sparse matrix'),
    (dict(), [2, 2**63], 'no sparse matrix'), (dict(), [10**12, 3], 'no sparse matrix'), (dict(), [2], 'no sparse matrix'), (dict(), ['2', 3], 'no sparse matrix'), (dict(), [2., 3], 'no sparse matrix'), (dict(data=[np.nan, 1.]), [2, 3], 'not finite'), (dict(data=[np.inf, 1.]), [2, 3], 'not finite'), (dict(data=[1.]), [2, 3], 'no sparse matrix'),
    (dict(indices=[0., 1.]), [2, 3], 'no sparse matrix'), (dict(indices=np.int8([0, 1])), [2, 3], 'no sparse matrix'), (dict(indptr=[0, 2, 2], indices=[1, 0]), [2, 3], 'not in the order')], ids=str)
def test_a_hostile_sparse_matrix_gives_one_sentence(tmp_path, parts, shape, why):
    "Every number of it is looked at before compiled code follows it"
    good = dict(data=np.ones(2), indices=np.int32([0, 1]), indptr=np.int32([0, 1, 2]))
    for k, v in parts.items(): good[k] = np.asarray(v, None if hasattr(v, 'dtype') or isinstance(v[0], float) else np.int32)
    Box([good['data'], good['indices'], good['indptr']]).save(tmp_path)
    d = json.loads((tmp_path/'model.json').read_bytes())
    from safetensors.numpy import save
    data = save({f'x.{k}': v for k, v in good.items()})
    arrays(tmp_path).write_bytes(data)
    d.update(bytes=len(data), sha256=__import__('hashlib').sha256(data).hexdigest(), state={})
    d['args'] = dict(x=dict(CSR, shape=shape, parts={k: dict(kind='array', dtype=str(v.dtype), shape=list(v.shape)) for k, v in good.items()}))
    (tmp_path/'model.json').write_bytes(model_json(d))
    assert why in refused(tmp_path)

def signed(rest):
    import hashlib
    return b'{"format": 3, "check": "%s", ' % hashlib.sha256(rest).hexdigest().encode() + rest

@pytest.mark.parametrize('text, why', [(signed(b'"a": NaN}'), 'no finite number'), (signed(b'"a": 1e999}'), 'no finite number'), (signed(b'"a": -Infinity}'), 'no finite number'), (signed(b'"a": ' + b'['*10**5 + b']'*10**5 + b'}'), 'nested too deeply'), (signed(b'"a": ' + b'9'*5000 + b'}'), 'digits'),
    (signed(b'"a": "\xff"}'), 'decode'), (signed(b'}'), ''), (signed(b'"a": 1}'), "'arrays' is missing"), (b'{"format": 99, "check": "', 'its format 99 is of a newer version of recsys_course than this one'), (b'{"format": 2, "arrays": "x"}', 'its format 2 is older than format 3'), (b'{"format": -1, ', 'does not begin as save writes it'),
    (b'', 'does not begin as save writes it'), (b'\0'*2000, 'does not begin as save writes it'), (b'{"format": 3, "check": "0"', 'is not what was written'), (b'{"format": 3, "check": "' + b'0'*64 + b'", "a": 1}', 'is not what was written')], ids=lambda o: str(o)[:40])
def test_a_hostile_text_gives_one_sentence(tmp_path, text, why):
    Popular().fit(log()).save(tmp_path)
    (tmp_path/'model.json').write_bytes(text)
    assert why in refused(tmp_path)

def test_a_hundred_megabytes_of_brackets_are_refused_unread(tmp_path, peak_growth):
    Popular().fit(log()).save(tmp_path)
    (tmp_path/'model.json').write_bytes(b'{"format": 3, "check": "' + b'0'*64 + b'", "a": [' + b'[],'*(33*10**6) + b'[]]}')
    why, grown = peak_growth(lambda: refused(tmp_path))
    assert 'is larger than the' in why and grown < 150e6

def test_a_pipe_in_place_of_a_file_is_not_waited_for(tmp_path):
    if not hasattr(os, 'mkfifo'): pytest.skip('needs pipes of POSIX')
    Popular().fit(log()).save(tmp_path)
    name = arrays(tmp_path)
    name.unlink()
    os.mkfifo(name)
    assert 'is missing' in refused(tmp_path)

def test_an_error_of_a_check_is_one_sentence(tmp_path, monkeypatch):
    Box().save(tmp_path)
    for e, why in [(Damaged('the model saved in x is damaged: a tree is broken'), 'a tree is broken'), (ValueError('two\nlines'), 'two lines'), (KeyError('state'), "'state' is missing"), (AssertionError(), 'AssertionError'), (MemoryError(), 'more memory than there is'), (ValueError('x'*9999), 'and so on')]:
        def bad(self): raise e
        monkeypatch.setattr(Box, 'check_state', bad)
        assert why in refused(tmp_path)

# ---- A save that does not end

def state_of(folder): return {p.name: p.read_bytes() for p in folder.iterdir()} if folder.is_dir() else None

def test_a_save_that_fails_at_any_call_leaves_the_old_model(tmp_path, monkeypatch):
    "Each call to the system fails in its turn, as on a full disk; afterwards the folder holds the old model or the new one, and no rubbish"
    names = ['open', 'fsync', 'replace', 'fdopen', 'unlink', 'mkdir', 'close']
    for k in range(60):
        folder = tmp_path/f'm{k}'
        Box(1).save(folder)
        count = [0]
        def failing(real):
            def call(*args, **kwargs):
                count[0] += 1
                if count[0] == k + 1: raise OSError(28, 'No space left on device')
                return real(*args, **kwargs)
            return call
        with monkeypatch.context() as m:
            for name in names: m.setattr(os, name, failing(getattr(os, name)))
            try: Box(2).save(folder); failed = False
            except OSError as e: failed = e.errno == 28
        assert Saveable.load(folder).x in (1, 2) and (failed or Saveable.load(folder).x == 2), k
        if count[0] <= k: break
        Box(3).save(folder)
        assert Saveable.load(folder).x == 3
    assert k > 6

def test_a_full_disk_leaves_the_old_model_and_nothing_else(tmp_path, monkeypatch):
    Box(1).save(tmp_path)
    before = state_of(tmp_path)
    class Full:
        def __init__(self, fd): self.fd = fd
        def __enter__(self): return self
        def __exit__(self, *args): os.close(self.fd)
        def write(self, data): os.write(self.fd, data[:10]); raise OSError(28, 'No space left on device')
    with monkeypatch.context() as m:
        m.setattr(os, 'fdopen', lambda fd, mode: Full(fd))
        with pytest.raises(OSError, match='No space left'): Box(2).save(tmp_path)
    assert state_of(tmp_path) == before

def test_an_interrupt_just_after_the_swap_keeps_the_new_model(tmp_path, monkeypatch):
    Box(1).save(tmp_path)
    real = os.replace
    def late(a, b):
        real(a, b)
        raise KeyboardInterrupt
    with monkeypatch.context() as m:
        m.setattr(os, 'replace', late)
        with pytest.raises(KeyboardInterrupt): Box(2).save(tmp_path)
    assert Saveable.load(tmp_path).x == 2

every_kill = '''
import os, sys
from recsys_course.core import Saveable
class Box(Saveable):
    def __init__(self, x): self.x = x
folder, n = sys.argv[1], 0
for n in range(200):
    Box(1).save(folder)
    pid = os.fork()
    if not pid:
        left = [n]
        def hook(event, args):
            if event.split('.')[0] not in ('open', 'os'): return
            left[0] -= 1
            if left[0] == -1: os.kill(os.getpid(), 9)
        sys.addaudithook(hook)
        Box(2).save(folder)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    assert Saveable.load(folder).x in ((1, 2) if status else (2,)), n
    if not status: break
print(n)
'''

@pytest.mark.skipif(not hasattr(os, 'fork'), reason='fork')
def test_killed_between_any_two_calls_to_the_system(tmp_path):
    "A child is killed before each file it opens, renames or removes, in turn"
    res = subprocess.run([sys.executable, '-c', every_kill, str(tmp_path)], cwd=os.path.dirname(__file__), capture_output=True, text=True, timeout=120)
    assert res.returncode == 0 and int(res.stdout) >= 6, res.stderr

crowd = '''
import sys, time
import numpy as np
from recsys_course.core import Saveable
class Box(Saveable):
    def __init__(self, x): self.x = x
folder, what, n = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
for k in range(n):
    if what: Box(np.full(1000, float(what))).save(folder)
    else: assert len(set(Saveable.load(folder).x)) == 1
'''

def test_processes_that_read_and_write_at_once(tmp_path):
    "Two writers and a reader: 200 loads, each of a whole model, and no save fails"
    Box(np.full(1000, 1.)).save(tmp_path)
    ps = [subprocess.Popen([sys.executable, '-c', crowd, str(tmp_path), str(what), str(n)], cwd=os.path.dirname(__file__), stderr=subprocess.PIPE, text=True) for what, n in ((1, 70), (2, 70), (0, 200))]
    for p in ps: assert p.wait(120) == 0, p.stderr.read()
    assert Saveable.load(tmp_path).x[0] in (1, 2)

# ---- Places that are not ours

def test_a_path_that_is_a_file(tmp_path):
    (tmp_path/'m').write_text('mine')
    with pytest.raises(FileExistsError, match='is a file: a model needs a folder'): Box().save(tmp_path/'m')
    assert (tmp_path/'m').read_text() == 'mine'

@pytest.mark.parametrize('text', ['{"name": "my app"}', '[]', 'hello', ' {"format": 3'])
def test_a_description_of_somebody_else_is_not_replaced(tmp_path, text):
    (tmp_path/'model.json').write_text(text)
    with pytest.raises(FileExistsError, match='was not written by this library'): Box().save(tmp_path)
    assert state_of(tmp_path) == {'model.json': text.encode()}

def test_files_with_names_like_ours_stay(tmp_path):
    "Such as the shards of other people's models, however old"
    for name in ('model-00001-of-00002.safetensors', 'model-1.safetensors', '.model-x.json', 'model-0123456789abcdef.safetensors.bak'):
        (tmp_path/name).write_text('keep')
        os.utime(tmp_path/name, (0, 0))
    for k in range(3): Box(k).save(tmp_path)
    assert sum(v == b'keep' for v in state_of(tmp_path).values()) == 4

def test_a_description_cannot_have_other_files_removed(tmp_path):
    "The file of arrays that a forged description names is not removed by the next save"
    (tmp_path/'thesis.txt').write_text('keep')
    (tmp_path/'model.json').write_bytes(model_json(dict(arrays='thesis.txt')))
    Box().save(tmp_path)
    assert (tmp_path/'thesis.txt').read_text() == 'keep'

def test_old_rubbish_goes_and_new_stays(tmp_path):
    Box(1).save(tmp_path)
    for name, age in (('model-0123456789abcdef.safetensors', 7200), ('.model-0123456789abcdef.json', 7200), ('model-0123456789abcdee.safetensors', 60)):
        (tmp_path/name).write_text('x')
        os.utime(tmp_path/name, (__import__('time').time() - age,)*2)
    Box(2).save(tmp_path)
    left = {p.name for p in tmp_path.iterdir()}                  # the name of what is saved is drawn, and may sort before the others
    assert left > {'model-0123456789abcdee.safetensors', 'model.json'} and len(left) == 3

@pytest.mark.skipif(os.name == 'nt', reason='symbolic links')
def test_planted_links_are_never_followed_for_writing(tmp_path):
    (tmp_path/'secret').write_text('mine')
    folder = tmp_path/'m'
    Box(1).save(folder)
    arrays_file = arrays(folder)
    arrays_file.unlink()
    arrays_file.symlink_to(tmp_path/'secret')
    (folder/'.model-0123456789abcdef.json').symlink_to(tmp_path/'secret')
    Box(2).save(folder)
    assert (tmp_path/'secret').read_text() == 'mine' and Saveable.load(folder).x == 2

def test_saving_and_loading_are_logged(tmp_path, caplog):
    caplog.set_level('INFO', logger='recsys_course.core')
    Box().save(tmp_path)
    Saveable.load(tmp_path)
    assert [r.getMessage() for r in caplog.records] == [f'saved Box in {tmp_path}', f'loaded Box from {tmp_path}'] and {r.name for r in caplog.records} == {'recsys_course.core'}

# ---- Importing, threads, compiled code

def python(code, *flags, timeout=120, **env):
    res = subprocess.run([sys.executable, *flags, '-c', code], capture_output=True, text=True, timeout=timeout, cwd=os.path.dirname(__file__), env={**os.environ, 'OMP_NUM_THREADS': '1', **env})
    assert res.returncode == 0, res.stderr[-500:]
    return res.stdout.strip()

read_only = '''
import os, tempfile
allowed, real = {allowed!r}, tempfile.TemporaryFile
def limited(*args, dir=None, **kwargs):
    if not any(str(dir).startswith(o) for o in allowed): raise PermissionError(13, 'read-only', str(dir))
    return real(*args, dir=dir, **kwargs)
tempfile.TemporaryFile = limited
def temporary():
    if not allowed: raise FileNotFoundError(2, 'No usable temporary directory found')
    return allowed[0]
tempfile.gettempdir = temporary
import numpy as np
from recsys_course import core
assert core.top_rows(np.float32([[1, 2], [2, 1]]), 1).tolist() == [[1], [0]]          # one row would not need what is compiled
print(sum(core._top_by_walk.stats.cache_misses.values()))
'''

def test_importing_where_nothing_but_temporary_files_can_be_written(tmp_path):
    "As user nobody in a read-only image; a second process finds the compiled code in the temporary folder"
    code = read_only.format(allowed=[str(tmp_path)])
    assert python(code) == '1' and python(code) == '0'
    assert [p.stat().st_mode & 0o77 for p in tmp_path.iterdir()] == [0]          # nobody else may write there: compiled code is run

def test_importing_where_nothing_can_be_written(): python(read_only.format(allowed=[]))

@pytest.mark.parametrize('value', ['0', '-1', 'many', ''])
def test_importing_with_no_number_of_threads(value):
    assert python('import warnings; warnings.simplefilter("ignore"); import recsys_course.core; print("ok")', NUMBA_NUM_THREADS=value) == 'ok'

def test_importing_without_docstrings(): assert python('import recsys_course.core; print("ok")', '-OO') == 'ok'

compiled = '''
import gc, warnings
warnings.simplefilter('ignore')
import test_saved as T
T.every_object()
from recsys_course import core, feedback, hashing, rerank, retrieve
two = core.np.arange(10, dtype='f4').reshape(2, 5)
core.top_rows(two, 2)
hashing.hash_bucket([1, 2], 5)
hashing.hash_bucket(['a', 'b'], 5)
retrieve.top_k(two, two, 1)
feedback.capped_columns(core.np.array([[1, 2]]), core.np.array([0]), 1, 1, 3)
rerank.capped(core.np.array([[1, 2]]), core.np.array([0, 0, 1, 2]), core.np.array([0, 0]), 1, 1, 2)
from numba.core.dispatcher import Dispatcher
kernels = [o for o in gc.get_objects() if isinstance(o, Dispatcher) and o.py_func.__module__.startswith('recsys_course')]
used = [o for o in kernels if o.stats.cache_hits or o.stats.cache_misses]
print(','.join(sorted({o.py_func.__module__.split('.')[-1] for o in used})), *[o.py_func.__name__ for o in kernels if o.stats.cache_misses])
'''

one_list = """
import sys
sys.modules['numba'] = None                                  # an import of it would raise
from recsys_course.recommender import Recommender
print(len(Recommender.load({folder!r}).recommend(1, k=2)))
"""

def test_a_list_for_one_person_does_without_numba(tmp_path):
    ItemKNN().fit(Interactions.from_df(pd.DataFrame(dict(user=[1, 1, 2, 2, 3], item=[1, 2, 2, 3, 4], rating=[5., 4, 3, 2, 1])))).save(tmp_path)
    assert python(one_list.format(folder=str(tmp_path))) == '2'

def test_kernels_met_by_many_threads_at_once():
    "All get their answers, and afterwards the module holds compiled functions in the place of its kernels"
    for _ in range(5):
        names = dict(njit=core.njit)
        exec("@njit\ndef half(x): return x/2\n@njit(nogil=True)\ndef quarter(x): return half(half(x))", names)
        kernels = [names['half'], names['quarter']]
        assert [type(o) for o in kernels] == [core.Kernel]*2
        assert core.run_threads(lambda k: kernels[k % 2](8.), [(k,) for k in range(8)], 8) == [4., 2.]*4
        assert not any(isinstance(names[k], core.Kernel) for k in ('half', 'quarter'))

@slow
def test_a_second_process_never_compiles():
    python(compiled, timeout=600)
    used, *anew = python(compiled, timeout=600).split()
    kernels = [p.stem for p in sorted(core.Path(core.__file__).parent.glob('*.py')) if '@njit' in p.read_text(encoding='utf-8')]
    assert used.split(',') == kernels and not anew       # every module that compiles took part

def test_every_kernel_is_cached():
    "Numba keeps the code of each compiled function of the library"
    for path in sorted(core.Path(core.__file__).parent.glob('*.py')):
        marks = [l for l in path.read_text(encoding='utf-8').splitlines() if l.startswith(('@njit', '@jit', '@vectorize', '@guvectorize'))]
        assert all('cache=True' in l for l in marks), path.name

forks = '''
import os, signal, sys, threading, warnings
warnings.simplefilter('ignore')
import torch
from recsys_course.core import openmp_threads, progress, run_threads
def work():
    torch.set_num_threads(openmp_threads(2))
    assert run_threads(lambda a: a*2, [(1,), (2,), (3,)], 2) == [2, 4, 6] and list(progress(range(3))) == [0, 1, 2]
    (torch.ones(1000, 1000)*2 + 1).relu().sum()
work()
stop = threading.Event()
def spin():
    while not stop.is_set(): run_threads(abs, [(1,), (2,)], 2); list(progress(range(2)))
threads = [threading.Thread(target=spin) for _ in range(2)]
for t in threads: t.start()
for _ in range(5):
    pid = os.fork()
    if not pid:
        signal.alarm(20)
        work()
        assert openmp_threads(8) == 1
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
stop.set()
for t in threads: t.join()
print('ok')
'''

@pytest.mark.skipif(not hasattr(os, 'fork'), reason='fork')
def test_a_forked_child_does_not_hang(): assert python(forks, OMP_NUM_THREADS='2') == 'ok'

def test_no_thread_watches_where_nobody_does():
    before = threading.active_count()
    assert list(core.progress(range(3))) == [0, 1, 2] and threading.active_count() == before

@pytest.mark.parametrize('dtype', [np.float32, np.float64])
def test_unit_rows_of_any_length(dtype):
    "Squares of large and small numbers leave the range of floats; the directions do not"
    rng, far = np.random.default_rng(0), np.finfo(dtype)
    X = rng.normal(size=(50, 7)).astype(dtype)
    want = X/np.linalg.norm(X.astype(np.longdouble), axis=1, keepdims=True)
    for size in (far.max/100, far.tiny*100, 1): assert np.abs(unit_rows((X*dtype(size)).astype(dtype)) - want).max() < 1e-5
    assert not unit_rows(np.zeros((2, 3), dtype)).any() and unit_rows(X).dtype == dtype
