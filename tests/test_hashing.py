"Hashing beyond the lesson: bad input, odd containers, threads, forked workers, other devices, memory"
import multiprocessing, threading

import mmh3, numpy as np, pandas as pd, pytest, torch

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
    ([1.5], '1.5'), (2., '2.0'), (np.array([1., 2.]), '1.0'), ([1, np.nan], 'id 1 is missing'), (np.array([np.nan]), 'missing'), ([None], 'missing'), (pd.Series(['a', None]), 'id 1 is missing'),
    (pd.Series([1, None], dtype='Int64'), 'id 1 is missing'), ([True], 'True'), (np.array([True]), 'True'), ([b'a'], 'bytes'), ([1+2j], 'complex'), (pd.Timestamp(0), 'Timestamp'),
    (torch.tensor([1.]), 'float32'), (torch.tensor([True]), 'bool')])
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
