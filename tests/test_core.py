"The workbench: top-k, encoders and saving against independent oracles, and files that were damaged, shared or half written"
import json, os, subprocess, sys, threading

import numpy as np, pandas as pd, pytest, scipy.sparse as sp
from hypothesis import given, settings, strategies as st

from recsys_course import core
from recsys_course.core import Damaged, FeatureEncoder, Saveable, by_code, find_class
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
    info = pd.DataFrame(dict(tags=[['a'], []], price=[np.nan, np.nan], year=[1999, np.inf], none=[None, None]))
    assert FeatureEncoder(info).kinds == dict(year='number') and FeatureEncoder(info).matrix(info).tolist() == [[0], [0]]
    assert len(FeatureEncoder(None)) == 0 and FeatureEncoder(None).matrix(info).shape == (2, 0)

def test_many_words_never_become_columns(peak_growth):
    "The limit is looked at before a column is made for each of 20,000 titles"
    info = pd.DataFrame(dict(title=[f'Film {i}' for i in range(20_000)], genres=['a|b', 'c']*10_000))
    enc, grown = peak_growth(lambda: FeatureEncoder(info, max_words=30))
    assert enc.kinds == dict(genres='words') and grown < 100e6

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

@pytest.mark.parametrize('value', [lambda: 1, object(), {1: 2}, float('nan'), {'a': {1, 2}}, np.array(['text']), pd.DataFrame()], ids=repr)
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
    (folder/'model.json').write_text(json.dumps(d), encoding='utf-8')

@pytest.mark.parametrize('f', [
    lambda d: d.clear(), lambda d: d.pop('state'), lambda d: d.update(format=1), lambda d: d.update(arrays='../x'), lambda d: d.update(arrays='gone.safetensors'),
    lambda d: d.update(sha256='0'), lambda d: d['state'].pop('neighbours'), lambda d: d['state'].update(recommend=dict(kind='json', value=1)),
    lambda d: d['state']['users'].update(ids=d['state']['users']['ids'][:-1]), lambda d: d['state']['users'].update(ids=d['state']['users']['ids'][::-1]),
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
class NextItem(Popular): pass
if __name__ == '__main__':
    import sys
    sys.path.insert(0, '.')
    import mine
    from test_core import log
    mine.NextItem().fit(log()).save(sys.argv[1])
'''

def test_a_class_of_ones_own(tmp_path):
    "A loaded class is found by its name; one that is not loaded is no damage, and nothing is imported because a file says so"
    (tmp_path/'mine.py').write_text(own)
    (tmp_path/'evil.py').write_text('raise SystemExit("imported")')
    env = {**os.environ, 'PYTHONPATH': os.path.dirname(__file__)}
    res = subprocess.run([sys.executable, 'mine.py', str(tmp_path/'m')], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert res.returncode == 0, res.stderr
    with pytest.raises(LookupError, match="NextItem from 'mine'.*import 'mine' first"): Recommender.load(tmp_path/'m')
    ask = f"import sys; sys.path.insert(0, '.'); import mine; from recsys_course.recommender import Recommender; print(type(Recommender.load({str(tmp_path/'m')!r})).__name__)"
    res = subprocess.run([sys.executable, '-c', ask], cwd=tmp_path, capture_output=True, text=True)
    assert res.stdout == 'NextItem\n', res.stderr
    changed(tmp_path/'m', lambda d: d.update(module='evil'))
    res = subprocess.run([sys.executable, '-c', ask], cwd=tmp_path, capture_output=True, text=True)
    assert res.stdout == 'NextItem\n' and 'imported' not in res.stderr

def test_classes_of_the_library_are_found_by_name():
    code = "from recsys_course.core import find_class; print(find_class('BiasedMF', 'recsys_course.factorize').__name__)"
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True).stdout == 'BiasedMF\n'
    with pytest.raises(LookupError, match='Nothing'): find_class('Nothing', 'recsys_course.data')
