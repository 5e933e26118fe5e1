"""Every class that can be saved: files that were flipped, cut, swapped or written by somebody else give one sentence, or the model that was saved.

Run as a program (`python test_saved.py FOLDER SEED`), it loads forgeries of each model in a folder, whose checksums fit, and uses what it gets."""
import copy, hashlib, importlib, json, os, random, shutil, subprocess, sys, tempfile, warnings
from pathlib import Path

import numpy as np, pandas as pd, pytest
from safetensors.numpy import load as read_arrays, save as write_arrays

from recsys_course import core
from recsys_course.core import Damaged, FeatureEncoder, Saveable, model_json

MODULES = 'data recommender factorize bayes models neural learner implicit retrieve bootstrap candidates towers rank rerank pipeline hashing'.split()
ABSTRACT = {'Recommender', 'BiasedFactors', 'DrawnFactors', 'FactorModel', 'FeatureModel', 'ItemWeights', 'Network', 'FittedFilter', 'Step', 'Picks', 'FunctionStep', 'Famous', 'Policy', 'SparkALS'}      # Famous is made inside ColdStart, which keeps its bonus; SparkALS needs Spark, and is saved in test_spark

def library():
    for name in MODULES: importlib.import_module(f'recsys_course.{name}')
    def below(cls):
        for sub in cls.__subclasses__(): yield sub; yield from below(sub)
    return {c.__name__ for c in below(Saveable) if c.__module__.startswith('recsys_course.')}

def small(text=True):
    from recsys_course.data import Interactions
    rng = np.random.default_rng(0)
    cells = rng.choice(40*30, 500, replace=False)
    df = pd.DataFrame(dict(user=[f'u{c//30}' for c in cells], item=cells % 30 + 100, rating=rng.integers(1, 6, 500).astype(float), timestamp=rng.permutation(500) + 10**9))
    items = pd.DataFrame(dict(title=[f'Film {i}' for i in range(30)], year=rng.integers(1950, 2000, 30), genres=rng.choice(['a|b', 'b', 'c|a'], 30)), index=pd.RangeIndex(100, 130, name='item'))
    users = pd.DataFrame(dict(age=rng.integers(10, 70, 40), gender=rng.choice(['F', 'M'], 40)), index=pd.Index([f'u{k}' for k in range(40)], name='user'))
    return Interactions.from_df(df, item_info=items, user_info=users)

def every_object():
    "{name: fitted object} with one of each class"
    library()
    from recsys_course.bayes import BayesianMF
    from recsys_course.bootstrap import ColdStart, Demography, PopularByProfile, UserPrior
    from recsys_course.candidates import NewArrivals, SharedOrder
    from recsys_course.context import FactorizationMachine
    from recsys_course.explore import EpsilonGreedy, ItemRegression, LinUCB, ThompsonSampling
    from recsys_course.factorize import ALS, BiasedMF, FullBatchMF
    from recsys_course.features import ContentKNN, Features, Hybrid
    from recsys_course.feedback import Calibrated
    from recsys_course.graph import Blend, ItemGraph, LightGCN
    from recsys_course.hashing import HashedDotProduct, HashedEmbedding, QREmbedding
    from recsys_course.implicit import BPR, EASE, ImplicitALS
    from recsys_course.learner import LearnerRecommender, collab_dls, collab_learner
    from recsys_course.models import DotProduct, DotProductBias
    from recsys_course.neural import EmbeddingNN, RecommenderNet, WideDeep
    from recsys_course.pipeline import Pipeline
    from recsys_course.rank import PairFeatures, Ranker
    from recsys_course.recommender import Bias, ItemKNN, Popular, SigmoidLink
    from recsys_course.rerank import Cap, Diverse, Fresh, ItemFilter, LevelFilter, PairFilter, Pin, Promote
    from recsys_course.retrieve import ANNIndex, Nearest
    from recsys_course.sequence import NextItem, SASRec, SequenceNet
    from recsys_course.towers import TwoTower
    train = small()
    rng = np.random.default_rng(0)
    n, m = len(train.users), len(train.items)
    als = ALS(n_factors=4, n_epochs=2).fit(train)
    def learner(d):
        learn = collab_learner(collab_dls(d, holdout=0), n_factors=4)
        with learn.no_bar(), learn.no_logging(): learn.fit(1)
        return learn
    X = rng.normal(size=(300, 9)).astype(np.float32)
    content = ContentKNN(Features(['year', 'genres'])).fit(train)
    found = [Popular().fit(train), Bias().fit(train), ItemKNN(k=5).fit(train), als, BiasedMF(n_factors=4, n_epochs=2).fit(train), FullBatchMF(n_factors=4, n_epochs=2).fit(train),
             BayesianMF(n_factors=2, n_samples=4, burn=2).fit(train), BPR(n_factors=4, n_epochs=2).fit(train), ImplicitALS(n_factors=4, n_epochs=2).fit(train), EASE().fit(train), TwoTower(n_factors=4, n_epochs=1).fit(train),
             LearnerRecommender(learner, train), NewArrivals().fit(train), SharedOrder(rng.random(m)), Nearest(als, effort=20).prepare(train) if hasattr(Nearest, 'prepare') else Nearest(als),
             ColdStart(als, train), UserPrior(als, train), Demography().fit(als, train), FeatureEncoder(train.item_info, ['year', 'genres']), SigmoidLink(1., 5.),
             PairFeatures(train), Ranker(n_trees=3, min_leaf=2).fit(X, (X[:, 0] > .5).astype(int), groups=np.full(30, 10)), ANNIndex(rng.normal(size=(400, 8)).astype(np.float32), 'dot'),
             ItemFilter('keep', rng.random(m) < .8), LevelFilter('age', rng.random(n), rng.random(m)), PairFilter('out', train.csr()), Diverse().prepare(train), Cap(2, 5).prepare(train), Pin([105]).prepare(train), Promote([106]).prepare(train), Fresh().prepare(train), Calibrated().prepare(train),
             DotProduct(9, 8, 4), DotProductBias(9, 8, 4), EmbeddingNN((9, 4), (8, 4), layers=(6,)), RecommenderNet(9, 8, 4, hidden=(6,)), WideDeep.from_inter(train, n_factors=4, layers=(6,)), HashedEmbedding(11, 4), QREmbedding(90, 11, 4), HashedDotProduct(11, 12, 4),
             ItemGraph(n_factors=2, smooth_weight=.3).fit(train), LightGCN(4, n_layers=1, n_epochs=1).fit(train), Blend(dict(graph=ItemGraph(), pop=Popular()), dict(graph=.7, pop=.3)).fit(train),
             PopularByProfile().fit(train), FactorizationMachine('age', 'year', n_factors=2, n_samples=2, burn=2, n_chains=1).fit(train),
             Features(['year', 'genres']).fit(train.item_info), content, content.content, Hybrid(features=Features(['year', 'genres'])).fit(train),
             ItemRegression(2).fit(train), EpsilonGreedy(ItemRegression(2)).fit(train), LinUCB(ItemRegression(2)).fit(train), ThompsonSampling(ItemRegression(2)).fit(train),
             NextItem().fit(train), SASRec(4, n_layers=1, n_heads=1, n=5, n_epochs=1).fit(train), SequenceNet(9, 4, 5, 1, 1, 0.),
             Pipeline(dict(als=als, pop=Popular().fit(train)), order=[Cap(2, 5)], n_candidates=12, n_rounds=2).fit(train)]
    return {type(o).__name__: o for o in found}

def answers(obj):
    "Numbers that an object gives, as one list; not finite ones are an error"
    import torch
    from recsys_course.recommender import Recommender
    name = type(obj).__name__
    if name == 'Pipeline': frames = [obj.recommend(['u1', 'u7'], k=4)]
    elif isinstance(obj, Recommender): frames = [obj.recommend(['u1', 'u7'], k=4), obj.similar_items([105], k=3)]
    elif isinstance(obj, torch.nn.Module):
        with torch.no_grad(): out = obj.eval()(torch.tensor([1, 2, 3]) if name in ('HashedEmbedding', 'QREmbedding') else torch.tensor([[1, 2], [3, 4]]))
        frames = [out.reshape(-1).double().numpy()]
    elif name == 'ANNIndex': frames = list(obj.query(np.ones((2, 8), np.float32), 5))
    elif name == 'Ranker': frames = [obj.predict(np.ones((2, 9), np.float32))]
    elif name == 'PairFeatures': frames = [np.nan_to_num(obj.of(np.array([1, 2]), np.array([3, 4])))]
    elif name == 'FeatureEncoder': frames = [obj.matrix(pd.DataFrame(dict(year=[1970, 1980], genres=['a', 'b'])))]
    elif name == 'Features': frames = [obj.matrix(pd.DataFrame(dict(year=[1970., 1980.], genres=['a', 'b']))).toarray().ravel()]
    elif name == 'UserPrior': frames = list(obj.after(np.array([1, 2]), np.array([3., 4.])))
    elif name == 'Demography': frames = [obj.vector(dict(age=30))]
    elif name == 'SigmoidLink': frames = [obj(np.array([0., 1.]))]
    else: frames = [np.asarray(v, float).ravel()[:50] for v in vars(obj).values() if isinstance(v, np.ndarray)]
    res = []
    for f in frames: res += [o for c in (f.items() if isinstance(f, pd.DataFrame) else [('', np.asarray(f).ravel())]) for o in (c[1].tolist() if not isinstance(c[1], np.ndarray) else c[1].tolist())]
    return res

@pytest.fixture(scope='module')
def shelf(tmp_path_factory):
    "A folder with one of each class, each in a folder of its own, and what each answers"
    root = tmp_path_factory.mktemp('shelf')
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        objects = every_object()
        for name, o in objects.items(): o.save(root/name)
        return root, {name: answers(o) for name, o in objects.items()}

def test_every_class_of_the_library_is_tried(shelf):
    assert library() - ABSTRACT == set(shelf[1])

def about_of(folder): return json.loads((folder/'model.json').read_bytes())
def arrays_of(folder): return folder/about_of(folder)['arrays']

def one_sentence(e, folder):
    "Is the error one sentence, without the name of the folder twice?"
    text = str(e)
    return text.startswith(f'the model saved in {folder} is damaged: ') and text.count('is damaged') == 1 and '\n' not in text and len(text) < 500 + len(str(folder))

def test_what_was_saved_comes_back(shelf):
    "The same answers, the same text on the screen, and the same bytes when saved again"
    root, want = shelf
    for name in want:
        back = Saveable.load(root/name)
        assert type(back).__name__ == name and answers(back) == want[name]
        assert isinstance(repr(back), str) and '\n' not in core.settings_text(back)
        back.save(root/f'{name} again')
        a, b = about_of(root/name), about_of(root/f'{name} again')
        if name != 'Pipeline': assert {k: v for k, v in a.items() if k not in ('check', 'arrays')} == {k: v for k, v in b.items() if k not in ('check', 'arrays')}
        shutil.rmtree(root/f'{name} again')

def test_what_stays_in_its_file_answers_the_same(shelf):
    "Arrays that are mapped instead of read, of every class; a changed file is found out as well"
    root, want = shelf
    for name in want:
        back = Saveable.load(root/name, mapped=True)
        assert type(back).__name__ == name and answers(back) == want[name]
    folder = root/'ANNIndex'
    whole = arrays_of(folder).read_bytes()
    try:
        arrays_of(folder).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(Damaged, match='not the file that was written'): Saveable.load(folder, mapped=True)
    finally: arrays_of(folder).write_bytes(whole)

def harmed(data, rng):
    "Bytes with a bit flipped, an end cut off, a stretch of zeros, two stretches swapped, or more at the end"
    how, a = rng.choice(['flip', 'flip', 'cut', 'zeros', 'swap', 'more']), rng.randrange(len(data))
    data = bytearray(data)
    if how == 'flip': data[a] ^= 1 << rng.randrange(8)
    if how == 'cut': data = data[:a]
    if how == 'zeros': data[a:a + 200] = bytes(len(data[a:a + 200]))
    if how == 'swap':
        b = rng.randrange(len(data))
        data[a:a + 16], data[b:b + 16] = data[b:b + 16], data[a:a + 16]
    if how == 'more': data += bytes(5)
    return bytes(data)

def test_no_change_of_a_file_goes_unnoticed(shelf, tmp_path):
    root, want = shelf
    rng = random.Random(1)
    for name in want:
        there = shutil.copytree(root/name, tmp_path/name)
        for path in (there/'model.json', arrays_of(there)):
            good = path.read_bytes()
            for _ in range(8):
                bad = harmed(good, rng)
                if bad == good: continue
                path.write_bytes(bad)
                with pytest.raises(Damaged) as e: Saveable.load(there)
                assert one_sentence(e.value, there), str(e.value)
            path.write_bytes(good)

def test_the_arrays_of_another_model_are_not_taken(shelf, tmp_path):
    root, _ = shelf
    shutil.copytree(root/'ALS', tmp_path/'a')
    arrays_of(tmp_path/'a').write_bytes(arrays_of(root/'BiasedMF').read_bytes())
    with pytest.raises(Damaged, match='is not the file that was written with model.json'): Saveable.load(tmp_path/'a')
    (tmp_path/'a/model.json').write_bytes((root/'BiasedMF/model.json').read_bytes())
    with pytest.raises(Damaged, match='is missing'): Saveable.load(tmp_path/'a')

# ---- Forgeries: checksums that fit

WEIRD = [None, True, -1, 0, 1, 3, 2**31, 2**63, -2**63, 10**30, 1e-300, 1.7e308, 'save', '__class__', 'x'*3000, '', [], {}, [None], [[[]]], {'kind': 'json'}, {'kind': 'object', 'cls': 'Popular', 'module': 'recsys_course.recommender', 'args': {}, 'state': {}}]

def spots(d, path=()):
    "All places in a description"
    for key, value in d.items() if isinstance(d, dict) else enumerate(d) if isinstance(d, list) else ():
        yield (*path, key)
        if len(path) < 9: yield from spots(value, (*path, key))

def at(d, path):
    for key in path: d = d[key]
    return d

def forge_text(about, rng):
    "One place of the description changed"
    places = [p for p in spots(about) if p[0] in ('args', 'state', 'cls', 'module')]
    *path, key = rng.choice(places)
    inside, how = at(about, path), rng.choice(['weird', 'weird', 'remove', 'copy', 'add', 'scale'])
    if how == 'weird': inside[key] = rng.choice(WEIRD)
    elif how == 'remove': inside.pop(key)
    elif how == 'copy': inside[key] = copy.deepcopy(at(about, rng.choice(places)))
    elif how == 'add' and isinstance(inside, dict): inside[rng.choice(['save', '__dict__', '__class__', 'extra', 'scores', 'not_saved', 'users', 'lock', 'a b'])] = rng.choice([dict(kind='json', value=1), 7])
    elif isinstance(inside[key], (int, float)): inside[key] = inside[key]*rng.choice([-1, 0, 2, 10**6])

def forge_array(x, rng):
    "An array with other numbers, another order, shape or type"
    how = rng.choice(['number', 'number', 'number', 'order', 'short', 'type', 'empty', 'flat', 'long'])
    x = x.copy()
    if how == 'number' and x.size:
        odd = [np.nan, np.inf, -np.inf, 1e38] if x.dtype.kind == 'f' else [-1, 0, 1, 10**6, 2**31 - 1, -2**31] if x.dtype.kind == 'i' else [0, 1, 255]
        x.reshape(-1)[rng.randrange(x.size)] = np.array(rng.choice(odd)).astype(x.dtype)
    if how == 'order': x = x[::-1].copy()
    if how == 'short': x = x[:len(x)//2] if x.ndim else x
    if how == 'type': x = x.astype(rng.choice(['float64', 'int64', 'int8', 'float16', 'uint8']))
    if how == 'empty': x = x.reshape(-1)[:0]
    if how == 'flat': x = x.reshape(-1)
    if how == 'long': x = np.concatenate([x, x]) if x.ndim else x
    return x

def forge(folder, out, rng):
    "A changed copy of a saved model with checksums that fit"
    about, arrays = about_of(folder), read_arrays(arrays_of(folder).read_bytes())
    if rng.random() < .5 or not arrays: forge_text(about, rng)
    else:
        name = rng.choice(sorted(arrays))
        arrays[name] = forge_array(arrays[name], rng)
        state_shape(about, name, arrays[name])
    data = write_arrays({k: np.ascontiguousarray(v) for k, v in arrays.items()})
    about['arrays'] = 'model-' + '0'*16 + '.safetensors'
    (out/about['arrays']).write_bytes(data)
    about.update(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    (out/'model.json').write_bytes(model_json(about))

def state_shape(about, name, x):
    "Have the description of an array say what the array now is"
    def walk(d, path):
        if not isinstance(d, dict): return
        if d.get('kind') == 'array' and path == name: d.update(dtype=str(x.dtype), shape=list(x.shape))
        for k, part in (d.get('parts') or {}).items() if d.get('kind') != 'object' else (): walk(part, f'{path}.{k}')
        if d.get('kind') == 'vocab': walk(d.get('ids'), f'{path}.ids')
        for k, v in enumerate(d.get('values') or ()): walk(v, f'{path}/{d["keys"][k]}' if 'keys' in d else f'{path}/{k}')
        for part in ('args', 'state'):
            for k, v in (d.get(part) or {}).items(): walk(v, f'{path}/{k}' if path else k)
    walk(about, '')

def try_forgeries(root, seed, n=24):
    "Print a line for each forgery: what came of it"
    import resource, signal
    warnings.simplefilter('ignore')
    library()
    marks = int(Path('/proc/self/statm').read_text().split()[0])*resource.getpagesize() + 3*2**30 if sys.platform == 'linux' else resource.RLIM_INFINITY
    resource.setrlimit(resource.RLIMIT_AS, (marks, marks))
    for name in sorted(p.name for p in root.iterdir() if ' ' not in p.name):
        rng, out = random.Random(f'{seed} {name}'), Path(tempfile.mkdtemp())
        for k in range(n):
            forge(root/name, out, rng)
            print(f'{name} {k}', end=' ', flush=True)
            signal.alarm(20)
            print(what_comes_of(out), flush=True)
            signal.alarm(0)
            if os.path.exists('made_by_forgery'): print('RAN CODE', flush=True)
        shutil.rmtree(out)

def what_comes_of(folder):
    try: obj = Saveable.load(folder)
    except Damaged as e: return 'refused' if one_sentence(e, folder) else f'BAD SENTENCE {e}'
    except (LookupError, ImportError): return 'refused'
    except BaseException as e: return f'LOAD {type(e).__name__} {str(e)[:200]}'
    try: return 'used ' + str(len(answers(obj)))
    except (MemoryError, Exception) as e: return f'USE {type(e).__name__} ' + ' '.join(str(e)[:100].split())

def forgeries(root, seed, n):
    "Lines of `try_forgeries`, run in a process that may crash"
    res = subprocess.run([sys.executable, __file__, str(root), str(seed), str(n)], capture_output=True, text=True, timeout=240, env={**os.environ, 'OMP_NUM_THREADS': '1'})
    return res.returncode, res.stdout.splitlines(), res.stderr[-300:]

@pytest.mark.skipif(sys.platform != 'linux', reason='limits of memory and time of POSIX')
def test_forgeries_never_crash_hang_or_run_code(shelf):
    "Whatever the file says: no signal, no endless loop, no other error than a sentence while loading"
    code, lines, errors = forgeries(shelf[0], 0, 4)
    assert code == 0, (code, lines[-1:], errors)
    bad = [l for l in lines if l.split(' ', 2)[2].split()[0] not in ('refused', 'used', 'USE')]
    assert not bad, bad
    assert sum('refused' in l for l in lines) > len(lines)/3

if __name__ == '__main__': try_forgeries(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
