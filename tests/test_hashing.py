"Hashing beyond the lesson: bad input, odd containers, threads, forked workers, other devices, memory"
import copy, multiprocessing, os, pickle, subprocess, sys, threading

import mmh3, numpy as np, pandas as pd, pytest, torch
from hypothesis import given, settings, strategies as st

import recsys_course.hashing as H
from recsys_course.hashing import HashedDotProduct, HashedEmbedding, QREmbedding, hash_bucket

def want(ids, n, seed=0): return [mmh3.hash(str(i), seed) % n for i in ids]

def test_public_names(): assert sorted(H.__all__) == ['HashedDotProduct', 'HashedEmbedding', 'QREmbedding', 'hash_bucket']

@pytest.mark.parametrize('seed', [0, 1, 2**31, 2**32-1])
@pytest.mark.parametrize('n', [1, 2, 10, 997, 2**16, 2**31, 2**32+1, 2**63-1])
def test_equal_to_mmh3(n, seed):
    powers = [s*(10**k + d) for k in range(19) for d in (-1, 0, 1) for s in (1, -1)]      # every length, both ends
    ids = np.array(powers + [-2**63, -2**63+1, 2**63-1, 2**63-2])
    assert hash_bucket(ids, n, seed).tolist() == want(ids.tolist(), n, seed)
    big = np.array([0, 9, 2**63, 10**19-1, 10**19, 2**64-1], np.uint64)
    assert hash_bucket(big, n, seed).tolist() == want(big.tolist(), n, seed)
    words = H._tensor_words(torch.tensor(ids))
    assert (H._tensor_murmur(*words, seed) % n).tolist() == want(ids.tolist(), n, seed)

@pytest.mark.parametrize('dtype', [np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64])
def test_every_integer_type(dtype):
    ids = np.array([np.iinfo(dtype).min, 0, 1, 42, np.iinfo(dtype).max], dtype)
    assert hash_bucket(ids, 1000).tolist() == want(ids.tolist(), 1000)
    assert hash_bucket(ids, 7, method='modulo').tolist() == [i % 7 for i in ids.tolist()]

def test_text():
    rng = np.random.default_rng(0)
    letters = list('abc 0-é千🙂\0')
    texts = [''.join(rng.choice(letters, rng.integers(0, 12))) for _ in range(3000)]
    for ids in (texts, tuple(texts), np.array(texts, object), pd.Series(texts), pd.Series(texts, dtype=object), pd.Index(texts)):
        assert hash_bucket(ids, 1000, 3).tolist() == want(texts, 1000, 3)
    ascii = [f'user{i}' for i in range(1000)]
    assert hash_bucket(np.array(ascii), 1000).tolist() == want(ascii, 1000)
    assert hash_bucket(pd.Series(ascii).astype('category'), 1000).tolist() == want(ascii, 1000)

def test_containers():
    ids = np.arange(-500, 500)
    for o in (ids, ids[::-1][::-1], ids.tolist(), pd.Series(ids), pd.Series(ids).astype('Int64'), pd.Index(ids), range(-500, 500)):
        assert hash_bucket(o, 64).tolist() == want(ids.tolist(), 64)
    assert hash_bucket(ids[::3], 64).tolist() == want(ids[::3].tolist(), 64)
    assert hash_bucket(np.asfortranarray(ids.reshape(4, 250)), 64).tolist() == np.reshape(want(ids.tolist(), 64), (4, 250)).tolist()
    frozen = ids.copy(); frozen.flags.writeable = False
    assert hash_bucket(frozen, 64).tolist() == want(ids.tolist(), 64)
    assert hash_bucket(7, 64) == want([7], 64)[0] and np.ndim(hash_bucket(7, 64)) == 0
    for empty in ([], np.array([], int), pd.Series([], dtype=object)): assert hash_bucket(empty, 5).shape == (0,)
    assert hash_bucket([2**70, -2**70, 'a'], 64).tolist() == want([2**70, -2**70, 'a'], 64)
    assert hash_bucket([2**70], 64, method='modulo').tolist() == [2**70 % 64]

@pytest.mark.parametrize('ids,word', [
    ([1.5], '1.5'), (2.5, '2.5'), (np.array([1., 2.25]), '2.25'), ([1, np.nan], 'id 1 is missing'), (np.array([np.nan]), 'missing'), ([None], 'missing'), (pd.Series(['a', None]), 'id 1 is missing'),
    (pd.Series([1, None], dtype='Int64'), 'id 1 is missing'), ([True], 'True'), (np.array([True]), 'True'), ([b'\xff'], 'bytes'), ([1+2j], 'complex'), (pd.Timestamp(0), 'Timestamp'),
    (torch.tensor([1.5]), 'float32'), (torch.tensor([True]), 'bool')])
def test_ids_that_are_none(ids, word):
    for method in ('murmur', 'modulo'):
        with pytest.raises(TypeError, match=word): hash_bucket(ids, 10, method=method)

@pytest.mark.parametrize('args,word', [((0,), 'n_buckets=0'), ((-3,), 'n_buckets=-3'), ((2.,), 'n_buckets=2.0'), ((True,), 'n_buckets=True'), ((2**63,), 'n_buckets'), ((None,), 'n_buckets=None'),
    ((5, -1), 'seed=-1'), ((5, 2**32), 'seed'), ((5, .5), 'seed=0.5'), ((5, 0, 'md5'), 'md5')])
def test_bad_arguments(args, word):
    for ids in ([1], ['a'], torch.tensor([1])):
        with pytest.raises(ValueError, match=word): hash_bucket(ids, *args)

def test_modulo_of_text():
    with pytest.raises(TypeError, match="'a'"): hash_bucket([1, 'a'], 10, method='modulo')

def test_inputs_stay(ids=np.arange(10)):
    before = ids.copy(); hash_bucket(ids, 3)
    assert (ids == before).all()

def test_threads(monkeypatch):
    ids = np.random.default_rng(0).integers(-2**63, 2**63-1, 300_001)
    one = [hash_bucket(ids, 1009, s) for s in range(4)]
    monkeypatch.setattr(H, 'count_threads', lambda: 5)
    many = [None]*4
    def work(s): many[s] = hash_bucket(ids, 1009, s)
    ts = [threading.Thread(target=work, args=(s,)) for s in range(4)]
    [t.start() for t in ts]; [t.join() for t in ts]
    assert all((a == b).all() for a, b in zip(one, many))
    assert one[0][::997].tolist() == want(ids[::997].tolist(), 1009)

def _child(q): q.put(hash_bucket(np.arange(200_000), 100).sum())

@pytest.mark.skipif('fork' not in multiprocessing.get_all_start_methods(), reason='no fork here')
def test_forked_worker():
    total = hash_bucket(np.arange(200_000), 100).sum()
    ctx = multiprocessing.get_context('fork')
    q = ctx.Queue(); p = ctx.Process(target=_child, args=(q,)); p.start()
    assert q.get(timeout=60) == total
    p.join()

def test_hash_stays_on_the_device():
    "The device 'meta' refuses any look at the numbers, so nothing may leave it"
    ids = torch.empty(5, 2, dtype=torch.int64, device='meta')
    assert hash_bucket(ids, 10).device.type == 'meta' and hash_bucket(ids, 10).shape == (5, 2)
    for how in ('mean', 'sum', 'concat'): assert HashedEmbedding(10, 4, 2, how).to('meta')(ids[:,0]).device.type == 'meta'
    assert HashedDotProduct(10, 10, 4, n_hashes=2).to('meta')(ids).shape == (5,)

@pytest.mark.skipif(not torch.cuda.is_available(), reason='no GPU')
def test_gpu_agrees():
    ids = torch.randint(-2**63, 2**63-1, (10_000,))
    for s in (0, 2**32-1): assert (hash_bucket(ids.cuda(), 1009, s).cpu() == hash_bucket(ids, 1009, s)).all()
    m = HashedDotProduct(50, 60, 8, n_hashes=2); x = ids.reshape(-1, 2); a = m(x)
    assert torch.allclose(m.cuda()(x.cuda()).cpu(), a, atol=1e-6)

def test_embedding_arguments():
    for bad in (dict(n_buckets=0), dict(dim=0), dict(n_hashes=0), dict(n_hashes=1.5), dict(combine='max'), dict(seed=-1)):
        with pytest.raises(ValueError, match=next(iter(bad))): HashedEmbedding(**dict(n_buckets=5, dim=3) | bad)
    with pytest.raises(ValueError, match='y_range'): HashedDotProduct(5, 5, y_range=(5, 1))
    with pytest.raises(TypeError, match='float32'): HashedEmbedding(5, 3)(torch.rand(4))
    assert HashedEmbedding(5, 3, 2, seed=2**32-1).seeds == [2**32-1, 0]

def test_memory_does_not_grow_with_ids():
    emb = HashedEmbedding(100, 8, 3)
    assert sum(p.nbytes for p in emb.parameters()) == 100*8*4
    assert emb(torch.randint(-2**63, 2**63-1, (1000,))).shape == (1000, 8)

def test_sparse_gradient():
    a, b = HashedEmbedding(50, 4, 2), HashedEmbedding(50, 4, 2, sparse=True)
    b.load_state_dict(a.state_dict())
    for m in (a, b): m(torch.arange(20)).square().sum().backward()
    assert b.weight.grad.is_sparse and torch.allclose(b.weight.grad.to_dense(), a.weight.grad)

def test_state_round_trip(tmp_path):
    from safetensors.torch import load_file, save_file
    a, b = HashedDotProduct(20, 30, 4, n_hashes=2, combine='concat'), HashedDotProduct(20, 30, 4, n_hashes=2, combine='concat')
    save_file(a.state_dict(), tmp_path/'m.safetensors'); b.load_state_dict(load_file(tmp_path/'m.safetensors'))
    x = torch.randint(0, 10**12, (50, 2))
    assert torch.equal(a(x), b(x))

def test_quotient_remainder():
    from recsys_course.hashing import QREmbedding
    with pytest.raises(ValueError, match='n_buckets=0'): QREmbedding(10, 0, 3)
    with pytest.raises(IndexError, match='-1'): QREmbedding(10, 4, 3)(torch.tensor([-1]))
    for n, m in ((10, 4), (12, 4), (1, 1), (5, 9)): assert len(QREmbedding(n, m, 3)(torch.arange(n)).unique(dim=0)) == n

@pytest.mark.parametrize('make', [lambda: HashedEmbedding(50, 8, n_hashes=2, combine='concat', seed=3), lambda: QREmbedding(40, 7, 5), lambda: HashedDotProduct(30, 20, 6, n_hashes=2)])
def test_networks_are_saved_and_loaded(make, tmp_path):
    torch.manual_seed(0)
    net, ids = make(), torch.tensor([0, 5, 39, 5])
    x = torch.stack([ids, ids + 1], 1) if isinstance(net, HashedDotProduct) else ids
    net.save(tmp_path)
    again = type(net).load(tmp_path)
    assert torch.equal(again(x), net(x)) and again.get_args() == net.get_args()

# ---- One id, one bucket, however its column is stored

def _columns():
    "The ids 3, 70 and 42 in every form that a column takes, {name: column}"
    import collections, decimal, enum
    import pyarrow as pa
    v, s = [3, 70, 42], ['3', '70', '42']
    Code = enum.Enum('Code', {'a': 3, 'b': 70, 'c': 42}, type=int)
    res = {t: np.array(v, t) for t in ('int8', 'int16', '>i4', 'int64', 'uint8', '>u2', 'uint32', 'uint64', 'float16', 'float32', 'float64', 'longdouble', 'U2', 'S2', object)}
    res |= {t: pd.Series(v, dtype=t) for t in ('Int8', 'UInt64', 'Float32', 'Float64', 'float64', 'int64[pyarrow]', 'uint8[pyarrow]', 'double[pyarrow]', 'category')}
    res |= {f'text {t}': pd.Series(s, dtype=t) for t in ('str', 'string', object, 'category', 'string[pyarrow]')}
    res |= dict(floats=[3., 70., 42.], mixed=[3, 70., '42'], bytes=[b'3', bytearray(b'70'), memoryview(b'42')], decimals=list(map(decimal.Decimal, v)), enum=[*Code], enum_and_text=[*Code][:2] + ['42'], scalars=[np.int8(3), np.uint64(70), np.float32(42)],
                zero_d=[np.array(3), torch.tensor(70), 42], gen=(i for i in v), map=map(int, v), keys=dict.fromkeys(v).keys(), deque=collections.deque(v), index=pd.Index(v), indexed=pd.Series(v, index=list('xyz')), sparse=pd.arrays.SparseArray(v), unmasked=np.ma.array(v, mask=False),
                float_category=pd.Series([3., 70., 42.]).astype('category'), arrow=pa.array(v), chunked=pa.chunked_array([v[:1], v[1:]]), arrow_text=pa.array(s), arrow_binary=pa.array([o.encode() for o in s]), arrow_dict=pa.array(s).dictionary_encode(), arrow_decimal=pa.array(list(map(decimal.Decimal, v))))
    if hasattr(np.dtypes, 'StringDType'): res['StringDType'] = np.array(s, np.dtypes.StringDType())
    try: import polars as pl
    except ImportError: return res
    return res | dict(polars=pl.Series(v), polars_float=pl.Series([3., 70., 42.]), polars_text=pl.Series(s), polars_category=pl.Series(s).cast(pl.Categorical))

COLUMNS = _columns()

@pytest.mark.parametrize('name', COLUMNS)
def test_one_id_has_one_bucket(name):
    col = COLUMNS[name]
    if name in ('gen', 'map'): col = [*col]; assert hash_bucket(iter(col), 1000).tolist() == want([3, 70, 42], 1000)
    assert hash_bucket(col, 1000).tolist() == want([3, 70, 42], 1000)
    torch.manual_seed(0)
    emb = HashedEmbedding(1000, 4, 2)
    rows = [[mmh3.hash(str(i), s) % 1000 for s in (0, 1)] for i in (3, 70, 42)]
    assert torch.allclose(emb(col), emb.weight[torch.tensor(rows)].mean(1))

@pytest.mark.parametrize('dtype', [getattr(torch, o) for o in 'int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 bfloat16 float32 float64'.split() if hasattr(torch, o)])
def test_tensors_of_every_type(dtype):
    ids = torch.tensor([3, 70, 42]).to(dtype)
    for shape in ((3,), (3, 1), (1, 3, 1), (1, 1, 3)):
        for method, right in (('murmur', want([3, 70, 42], 1000)), ('modulo', [3, 70, 42])):
            assert torch.equal(hash_bucket(ids.reshape(shape), 1000, method=method), torch.tensor(right).reshape(shape))
        assert HashedEmbedding(10, 4)(ids.reshape(shape)).shape == (*shape, 4)
        qr = QREmbedding(100, 7, 4)
        assert torch.equal(qr(ids.reshape(shape)), (qr.quotients[[0, 10, 6]]*qr.weight[[3, 0, 0]]).reshape(*shape, 4))
    assert hash_bucket(ids[0], 1000).tolist() == want([3], 1000)[0] and HashedEmbedding(10, 4)(ids[0]).shape == (4,)
    for empty in (ids[:0], ids[:0].reshape(0, 2)): assert hash_bucket(empty, 9).shape == empty.shape and QREmbedding(9, 2, 4)(empty).shape == (*empty.shape, 4)

def test_ids_of_64_bits_stay_positive():
    big = [2**63, 2**64-1, 5]
    t = torch.tensor(np.array(big, np.uint64))
    assert hash_bucket(t, 97, method='modulo').tolist() == [i % 97 for i in big] == hash_bucket(big, 97, method='modulo').tolist()
    assert hash_bucket(t, 97).tolist() == want(big, 97) == hash_bucket(big, 97).tolist()
    with pytest.raises(IndexError, match=str(2**63)): QREmbedding(9, 2, 4)(t)

def test_views_and_repeats():
    ids = torch.tensor([[3, 70], [42, 3]])
    assert hash_bucket(ids.t(), 99).tolist() == hash_bucket(ids, 99).t().tolist()
    assert hash_bucket(torch.tensor([3]).expand(4), 99).tolist() == want([3]*4, 99)
    emb = HashedEmbedding(50, 4, 2)
    assert torch.equal(emb(ids)[0,0], emb(ids)[1,1]) and torch.equal(emb([3, 3])[0], emb(3))

@settings(max_examples=50, deadline=None)
@given(st.lists(st.one_of(st.integers(-2**80, 2**80), st.text(st.characters(exclude_categories=['Cs']), max_size=9)), max_size=9), st.integers(1, 2**63-1), st.integers(0, 2**32-1))
def test_any_list_of_ids(ids, n, seed):
    assert hash_bucket(ids, n, seed).tolist() == want(ids, n, seed)
    assert hash_bucket([o.encode() if isinstance(o, str) else o for o in ids], n, seed).tolist() == want(ids, n, seed)

@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(-2**53, 2**53), max_size=9), st.integers(1, 2**40))
def test_floats_of_whole_numbers(ids, n):
    for o in (np.array(ids, float), list(map(float, ids)), torch.tensor(ids, dtype=torch.float64)): assert hash_bucket(o, n).tolist() == want(ids, n)

REFUSED = {
    'half': [1.5], 'half array': np.array([1, 1.5]), 'half tensor': torch.tensor([1.5]), 'inf': [np.inf], 'inf array': np.array([-np.inf]), 'nan tensor': torch.tensor([1., np.nan]), 'rounded': [2.**60], 'rounded float32': np.array([2**24 + 2], np.float32), 'rounded float16': torch.tensor([4096.]).half(), 'rounded bfloat16': torch.tensor([1000.]).bfloat16(),
    'yes': True, 'yes and number': [True, 2], 'yes of NumPy': [np.bool_(1)], 'masked': np.ma.array([1, 2], mask=[0, 1]), 'seconds': np.array([1], 'm8[s]'), 'nanoseconds': np.array([1], 'm8[ns]'), 'date': np.array(['2020-01-01'], 'M8[ns]'), 'time': pd.Series(pd.to_datetime(['2020-01-01'])),
    'set': {1, 2}, 'frozenset': frozenset([1]), 'dict': {1: 2}, 'not UTF-8': [b'\xff'], 'ragged': [[1, 2], [3]], 'shapes': [np.zeros((2, 2)), np.zeros((2, 3))], 'pairs': pd.MultiIndex.from_tuples([(1, 2)]), 'complex tensor': torch.tensor([1j]), 'sparse': torch.tensor([1, 2]).to_sparse(),
    'Float64 NA': pd.Series([1, None], dtype='Float64'), 'arrow NA': pd.Series([1, None], dtype='int64[pyarrow]'), 'category NA': pd.Series(['a', None]).astype('category'), 'boolean': pd.Series([True], dtype='boolean'), 'None': None, 'NA': pd.NA, 'NaT': pd.NaT}

@pytest.mark.parametrize('name', REFUSED)
def test_what_is_no_id(name):
    for f in (lambda o: hash_bucket(o, 9), lambda o: hash_bucket(o, 9, method='modulo'), HashedEmbedding(9, 2), QREmbedding(9, 2, 2)):
        with pytest.raises(TypeError, match=r'^ids? \S+ ') as e: f(REFUSED[name])
        assert '\n' not in str(e.value) and len(str(e.value)) < 220

def test_half_letters_and_lazy_frames():
    with pytest.raises(ValueError, match='half a letter'): hash_bucket(['a', '\ud800'], 9)
    pl = pytest.importorskip('polars')
    with pytest.raises(TypeError, match=r'call \.collect\(\)'): hash_bucket(pl.LazyFrame({'a': [1]}), 9)

# ---- Pairs

def test_pairs_of_any_kind():
    torch.manual_seed(0)
    net = HashedDotProduct(50, 60, 4, n_hashes=2)
    right = net(torch.tensor([[1, 20], [3, 4]]))
    for o in ([[1, 20], [3, 4]], [(1, '20'), ('3', 4.)], np.array([[1, 20], [3, 4]], np.uint8), zip([1, 3], [20, 4]), pd.DataFrame({'user': [1., 3.], 'item': ['20', '4']}), torch.tensor([[1., 20.], [3., 4.]])): assert torch.equal(net(o), right)
    pa, pl = pytest.importorskip('pyarrow'), pytest.importorskip('polars')
    for o in (pa.table({'u': [1, 3], 'i': [20, 4]}), pl.DataFrame({'u': [1, 3], 'i': ['20', '4']})): assert torch.equal(net(o), right)
    for empty in ([], torch.empty(0, 2, dtype=torch.int64), np.empty((0, 2), int)): assert net(empty).shape == (0,)

@pytest.mark.parametrize('pairs', [[1, 2], [[1]], [[1, 2, 5.]], torch.zeros(3, dtype=torch.int64), torch.zeros(2, 3, dtype=torch.int64), torch.zeros(2, 2, 2, dtype=torch.int64), None, 7, pd.DataFrame({'u': [1], 'i': [2], 'r': [5.]})])
def test_pairs_of_another_shape(pairs):
    "A third column was dropped without a word"
    with pytest.raises(ValueError, match=r'pairs have the shape \('): HashedDotProduct(5, 5, 2)(pairs)

# ---- Settings

BASE = {HashedEmbedding: dict(n_buckets=5, dim=2, n_hashes=2, seed=0), QREmbedding: dict(n_ids=5, n_buckets=2, dim=2), HashedDotProduct: dict(user_buckets=5, item_buckets=5, n_factors=2, n_hashes=2, seed=0)}

@pytest.mark.parametrize('cls,name', [(cls, name) for cls, args in BASE.items() for name in args])
def test_settings_that_cannot_be(cls, name):
    for value in (-1, 1.5, True, None, '3', float('nan'), float('inf'), 2**70, [1], (), np.array([3]), torch.tensor(3)) + (() if name == 'seed' else (0,)):
        with pytest.raises(ValueError, match=f'^{name}='): cls(**BASE[cls] | {name: value})
    made = cls(**BASE[cls] | {name: np.int64(3)})
    assert made.get_params()[name] == 3

@pytest.mark.parametrize('cls,name', [(cls, name) for cls, args in BASE.items() for name in args if name not in ('seed', 'n_hashes')])
def test_tables_larger_than_memory(cls, name):
    "One sentence with the size, at once"
    args = BASE[cls] | {name: 10**13}
    with pytest.raises(ValueError, match=r'^a table of .* takes [\d,.]+ GB'): cls(**args)

def test_the_size_is_right():
    with pytest.raises(ValueError, match=r'1,000,000,000 x 100,000 numbers takes 400,000\.0 GB'): HashedEmbedding(10**9, 10**5)
    with torch.device('meta'): assert HashedEmbedding(10**12, 2).weight.shape == (10**12, 2)      # takes no memory

def test_other_settings():
    with pytest.raises(ValueError, match='n_hashes=1000000000000 .* at most 1,000'): HashedEmbedding(5, 2, 10**12)     # ran for ever
    for combine in ('max', ['mean'], None, 0):
        with pytest.raises(ValueError, match='^combine='): HashedEmbedding(5, 2, combine=combine)
        with pytest.raises(ValueError, match='^combine='): HashedDotProduct(5, 5, 2, combine=combine)
    for method in ('md5', ['murmur'], None):
        with pytest.raises(ValueError, match='^method='): hash_bucket([1], 5, method=method)
    for sparse in ('no', 2, None):
        with pytest.raises(ValueError, match='^sparse='): HashedEmbedding(5, 2, sparse=sparse)
    with pytest.raises(ValueError, match='^embedding=3'): HashedDotProduct(5, 5, 2, embedding=3)
    with pytest.raises(ValueError, match='Embedding, without `buckets`'): HashedDotProduct(5, 5, 2, embedding=torch.nn.Embedding)
    assert repr(QREmbedding(9, 2, 4)) == 'QREmbedding(9, 2, 4)'

# ---- Gradients, types and devices

@pytest.mark.parametrize('n_hashes,combine', [(1, 'mean'), (3, 'mean'), (3, 'sum'), (2, 'concat')])
def test_gradients_by_hand(n_hashes, combine):
    "Counts of rows by mmh3; repeated ids add up; sparse equals dense"
    ids = [3, 70, 3, -8, 3]
    count = np.zeros(7)
    for i in ids:
        for s in range(n_hashes): count[mmh3.hash(str(i), s) % 7] += 1/n_hashes if combine == 'mean' else 1
    for sparse in (False, True):
        emb = HashedEmbedding(7, 4, n_hashes, combine, sparse=sparse)
        emb(torch.tensor(ids)).sum().backward()
        grad = emb.weight.grad.to_dense() if sparse else emb.weight.grad
        assert torch.allclose(grad, torch.tensor(count).float()[:,None].expand(7, 4))

def test_moves():
    ids, pairs = torch.tensor([3, 70]), torch.tensor([[3, 70]])
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        for net, x in ((HashedEmbedding(9, 4, 2), ids), (QREmbedding(90, 9, 4), ids), (HashedDotProduct(9, 9, 4), pairs)):
            before = net(x).double()
            assert net.to(dtype)(x).dtype == dtype and torch.allclose(net(x).double(), before, rtol=.05, atol=.05)
    meta = torch.empty(3, dtype=torch.int64, device='meta')
    for net in (HashedEmbedding(9, 4, 2), QREmbedding(90, 9, 4)):
        assert net.to('meta')(meta).shape == (3, 4) and net([1, 2, 3]).is_meta             # raw ids go where the table is
    assert HashedDotProduct(9, 9, 4, embedding=lambda n,d: QREmbedding(90, n, d)).to('meta')(meta.expand(2, 3).t()).shape == (3,)

# ---- Copies, files and other processes

MAKES = [lambda: HashedEmbedding(50, 8, n_hashes=2, combine='concat', seed=3), lambda: QREmbedding(90, 7, 5), lambda: HashedDotProduct(30, 20, 6, n_hashes=2)]

@pytest.mark.parametrize('make', MAKES)
def test_copies(make):
    torch.manual_seed(3); net = make()
    torch.manual_seed(3); twin = make()
    x = torch.tensor([[3, 70], [42, 3]])
    for other in (twin, copy.deepcopy(net), pickle.loads(pickle.dumps(net))): assert torch.equal(other(x), net(x)) and other.get_params() == net.get_params()
    blank = make(); assert not torch.equal(blank(x), net(x))
    blank.load_state_dict(net.state_dict()); assert torch.equal(blank(x), net(x))

@pytest.mark.parametrize('make', MAKES)
@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
def test_saved_nan_is_refused(make, value, tmp_path):
    net = make()
    last = [*net.parameters()][-1]
    with torch.no_grad(): last[-1,-1] = value
    with pytest.raises(ValueError, match='holds (nan|inf|-inf)'): net.save(tmp_path)
    net.get_state = lambda: {k: v.numpy() for k, v in net.state_dict().items()}            # as a forger would
    net.save(tmp_path)
    with pytest.raises(ValueError, match='is damaged: .* holds (nan|inf|-inf)'): type(net).load(tmp_path)

@pytest.mark.parametrize('make,name,value', [(MAKES[0], 'n_buckets', 10**14), (MAKES[0], 'n_buckets', 49), (MAKES[0], 'n_hashes', 10**15), (MAKES[0], 'dim', 0), (MAKES[0], 'combine', ['mean']), (MAKES[0], 'seed', -1), (MAKES[1], 'n_ids', 10**15), (MAKES[1], 'dim', 4.), (MAKES[2], 'user_buckets', '30'), (MAKES[2], 'y_range', [5, 1])])
def test_forged_settings_are_refused(make, name, value, tmp_path):
    import json
    from recsys_course.core import model_json
    net = make(); net.save(tmp_path)
    about = json.loads((tmp_path/'model.json').read_text())
    about['args'][name] = value
    (tmp_path/'model.json').write_bytes(model_json(about))
    with pytest.raises(ValueError, match='is damaged: '): type(net).load(tmp_path)

def test_same_bits_in_another_process():
    "Whatever PYTHONHASHSEED is"
    code = "import torch; from recsys_course.hashing import *; torch.manual_seed(5); print(hash_bucket(['ann', 'Zoë', 3, 2**70], 1009, 7).tolist(), HashedEmbedding(9, 2, 2)(torch.tensor([3, 70])).tolist())"
    torch.manual_seed(5)
    here = f"{want(['ann', 'Zoë', 3, 2**70], 1009, 7)} {HashedEmbedding(9, 2, 2)(torch.tensor([3, 70])).tolist()}"
    out = subprocess.run([sys.executable, '-c', code], env=os.environ | {'PYTHONHASHSEED': '123'}, capture_output=True, text=True, timeout=100)
    assert out.stdout.strip() == here, out.stderr

# ---- What the lesson says about collisions

@pytest.mark.parametrize('V,n', [(4000, 4000), (4000, 16000), (4000, 1000), (2, 4)])
def test_sharing_is_what_the_formula_says(V, n):
    "Mean of 40 seeds; the bound is six standard errors of that mean, from the variance of a count of pairs"
    shared = []
    for seed in range(40):
        ids = np.arange(V)*10 + 7*seed
        buckets = hash_bucket(ids, n, seed).tolist()
        counts = {}
        for b in buckets: counts[b] = counts.get(b, 0) + 1
        shared.append(sum(c for c in counts.values() if c > 1))
    expected = V*(1 - (1 - 1/n)**(V-1))
    assert abs(np.mean(shared) - expected) < 6*max(np.std(shared), .5)/40**.5
    if V == n > 2: assert abs(np.mean(shared)/V - (1 - np.exp(-1))) < .01

def test_twins_are_as_rare_as_the_lesson_says():
    "Two hashes: the chance that another id has both rows is 2/n^2 (once 1/n^2 for a pair of equal rows)"
    V, n = 3000, 300
    pairs = sorted((sorted(b) for b in HashedEmbedding(n, 1, 2).buckets(torch.arange(V)).tolist()))
    equal = sum(m*(m-1)//2 for m in pd.Series(list(map(tuple, pairs))).value_counts())
    expected = V*(V-1)/2*((n-1)/n*2/n**2 + 1/n*1/n**2)
    assert abs(equal - expected) < 6*expected**.5
