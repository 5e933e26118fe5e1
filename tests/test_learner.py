"What lesson 15 has no room for: fastai's side of the bargain, odd data, files, and figures on MovieLens"
import json, os, threading

import numpy as np, pandas as pd, pytest, torch
from fastai.callback.core import Callback
from fastai.callback.progress import ProgressCallback
from fastai.collab import CollabDataLoaders
from fastai.learner import Learner, load_learner
from fastai.torch_core import default_device
from fasttransform import ItemTransform
from torch import nn

from recsys_course.core import model_json
from recsys_course.data import Interactions
from recsys_course.learner import LearnerRecommender, _adam, _Learner, _MSE, collab_dls, collab_learner
from recsys_course.models import DotProduct, DotProductBias
from recsys_course.neural import EmbeddingNN
from recsys_course.recommender import PoorModelWarning, Recommender

def ratings(n_users=40, n_items=30, share=.4, seed=0):
    rng = np.random.default_rng(seed)
    u, i = np.nonzero(rng.random((n_users, n_items)) < share)
    r = 3 + (-1.)**(u + i) + rng.integers(-1, 2, len(u))*.5
    return pd.DataFrame(dict(user=[f'u{o}' for o in u], item=i + 100, rating=r))

@pytest.fixture(autouse=True)
def processor():
    "Figures are compared to the last digit, so they come from the processor, also where there is a GPU"
    default_device(False)
    yield
    default_device(None)

@pytest.fixture
def inter(): return Interactions.from_df(ratings())

def trained(inter, epochs=3, fit=None, **kw):
    learn = collab_learner(collab_dls(inter, bs=32), **kw)
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(epochs)
    return learn

def quiet(f, learn):
    with learn.no_bar(), learn.no_logging(): return f()

def test_stock_loader_draws_with_replacement():
    "If this fails, fastai's loader has changed: mend lesson 15, which tells of it, and benchmarks/learner.py"
    df = ratings(150, 100)
    dls = CollabDataLoaders.from_df(df, valid_pct=.1, seed=1, bs=50)
    x = torch.cat([xb for xb, _ in dls.train])
    distinct = len(torch.unique(x[:, 0]*1000 + x[:, 1]))/len(x)
    assert type(dls.train).__name__ == 'TabWeightedDL'
    assert abs(distinct - (1 - 1/np.e)) < .03

def test_no_torchvision_needed():
    import subprocess, sys
    code = "import sys, recsys_course.learner; assert 'torchvision' not in sys.modules"
    assert subprocess.run([sys.executable, '-c', code], capture_output=True).returncode == 0

def test_predictions_come_in_the_order_of_the_rows(inter):
    learn = trained(inter)
    for k, ds in enumerate((learn.dls.train_ds, learn.dls.valid_ds)):
        preds, targs, losses = quiet(lambda: learn.get_preds(ds_idx=k, with_loss=True), learn)
        assert torch.equal(targs, ds.y) and preds.shape == targs.shape == losses.shape
        assert torch.allclose(preds, learn.model(ds.x).detach(), atol=1e-5)
        assert torch.allclose(losses, (preds - targs)**2, atol=1e-5)
    x, preds, targs = quiet(lambda: learn.get_preds(with_input=True), learn)
    assert torch.equal(x, learn.dls.valid_ds.x)

def test_callbacks_are_asked_as_before(inter):
    "Methods of a class, functions handed over, and switched-off callbacks"
    class Counts(Callback):
        def __init__(self): self.n, self.seen = dict(batch=0, epoch=0, fit=0, validate=0), []
        def after_batch(self): self.n['batch'] += 1
        def after_epoch(self): self.n['epoch'] += 1
        def after_fit(self): self.n['fit'] += 1
        def before_validate(self): self.n['validate'] += 1
    def run(cls):
        torch.manual_seed(0)
        asked, counts, off = [], Counts(), Counts()
        off.run = False
        learn = cls(collab_dls(inter, bs=32), DotProductBias(len(inter.users), len(inter.items), 4), loss_func=_MSE(), opt_func=_adam,
                    cbs=[counts, Callback(before_step=lambda self: asked.append(self.iter)), off])
        quiet(lambda: learn.fit(2, 1e-2), learn)
        return counts.n, off.n, asked, [float(o) for o in learn.recorder.losses], off.run
    assert run(Learner) == run(_Learner)

def test_batch_transforms_and_empty_copies(inter):
    dls = collab_dls(inter, bs=32)
    plain = dls.train.new(shuffle=False).one_batch()
    class Halve(ItemTransform):
        def encodes(self, b): return b[0], b[1]/2
    dls.add_tfms([Halve()], 'after_batch')
    assert torch.allclose(dls.train.new(shuffle=False).one_batch()[1], plain[1]/2)
    assert [len(dl) for dl in dls.new_empty().loaders] == [0, 0]

def test_export_and_load(inter, tmp_path):
    learn = collab_learner(collab_dls(inter, bs=32, path=tmp_path))
    learn.remove_cb(ProgressCallback)
    with learn.no_logging(): learn.fit_one_cycle(1)
    learn.export('a.pkl')
    back = load_learner(tmp_path/'a.pkl')
    test = pd.DataFrame(dict(user=['u1', 'u2'], item=[101, 105]))
    a, b = (o.get_preds(dl=o.dls.test_dl(test))[0] for o in (learn, back))
    assert torch.allclose(a, b) and a.shape == (2,)
    labelled = learn.dls.test_dl(test.assign(rating=[1, 4]), with_labels=True)
    assert learn.get_preds(dl=labelled)[1].tolist() == [1, 4]

def test_lr_find_leaves_the_model_alone(inter, tmp_path):
    learn = collab_learner(collab_dls(inter, bs=8, path=tmp_path))
    learn.remove_cb(ProgressCallback)
    before = [p.clone() for p in learn.model.parameters()]
    learn.lr_find(show_plot=False)
    assert all(torch.equal(a, b) for a, b in zip(before, learn.model.parameters()))

def test_repeats_itself(inter):
    state = torch.get_rng_state()
    a, b, c = (trained(inter, seed=s).model.item_factors for s in (1, 1, 2))
    assert torch.equal(a, b) and not torch.equal(a, c)
    assert torch.equal(state, torch.get_rng_state())                    # nobody else's random numbers were used up

@pytest.mark.parametrize('n', [1, 2, 33, 64, 65])
def test_a_row_left_over_trains(inter, n):
    "Batch normalisation cannot train on one row; only a data set of one row is beyond help"
    class Normed(EmbeddingNN):
        def __init__(self, *args, **kw):
            super().__init__(*args, **kw)
            self.norm = nn.BatchNorm1d(8)
        def forward(self, x): return self.norm(torch.cat([self.u_weight(x[:, 0]), self.i_weight(x[:, 1])], 1)).sum(1)
    few = inter.take(np.arange(len(inter)) < n)
    learn = Learner(collab_dls(few, holdout=0, bs=32), Normed((len(inter.users), 4), (len(inter.items), 4)), loss_func=_MSE(), opt_func=_adam)
    if n > 1: quiet(lambda: learn.fit(1), learn)
    quiet(lambda: trained(few), learn)

def test_bad_ratings():
    df = ratings()
    with pytest.raises(ValueError, match='missing values'): Interactions.from_df(df.assign(rating=np.nan))
    good = Interactions.from_df(df)
    spoilt = Interactions(df.assign(rating=df.rating.where(df.index > 2)), good.users, good.items)
    with pytest.raises(ValueError, match='3 of .* ratings are not finite'): collab_dls(spoilt, holdout=0)
    with pytest.raises(TypeError, match='from_df'): collab_dls(df)
    with pytest.raises(TypeError, match='from_df'): collab_dls(good, df)
    with pytest.raises(ValueError, match='no rows'): collab_dls(good.take(np.zeros(len(good), bool)))

def test_ranges():
    inter = Interactions.from_df(ratings().assign(rating=lambda d: 10*d.rating))
    lo, hi = inter.df.rating.min(), inter.df.rating.max()
    assert collab_learner(collab_dls(inter, holdout=0)).model.y_range == pytest.approx((lo - (hi - lo)/8, hi + (hi - lo)/8))
    assert collab_learner(collab_dls(inter), y_range=False).model.y_range is None
    for bad in ((0, hi - 1), (lo + 1, hi + 1)):
        with pytest.raises(ValueError, match='excludes ratings'): collab_learner(collab_dls(inter, holdout=0), y_range=bad)
    with pytest.raises(ValueError, match='low end below'): collab_learner(collab_dls(inter), y_range=(5, 1))
    ones = Interactions.from_df(ratings().drop(columns='rating'), rating=None)
    assert collab_learner(collab_dls(ones)).model.y_range is None

def test_any_learner_can_be_adopted(inter):
    "Also a model without user vectors, and one with rows in another order"
    class Mine(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = DotProduct(len(inter.users), len(inter.items), 3, (1, 5))
        def forward(self, x): return self.inner(x)[:, None]
    learn = Learner(collab_dls(inter, bs=32), Mine(), loss_func=_MSE(), opt_func=_adam)
    quiet(lambda: learn.fit(2, .05), learn)
    rec = LearnerRecommender(learn, inter)
    u, i, _ = inter.codes()
    assert np.allclose(rec.scores(u[:9])[np.arange(9), i[:9]], learn.model(torch.tensor(np.stack([u, i], 1)[:9])).detach()[:, 0], atol=1e-5)
    assert len(rec.recommend('u1', k=5)) == 5 and len(rec.similar_items(101, k=3)) == 3
    with pytest.raises(NotImplementedError, match='Mine'): rec.fold_in({101: 4})
    with pytest.raises(TypeError, match='cannot save a Mine'): rec.save('nowhere')

def test_stock_learner_row_by_row():
    inter = Interactions.from_df(ratings())
    dls = CollabDataLoaders.from_df(inter.df, seed=3, bs=32)
    model = DotProductBias(*map(len, dls.classes.values()), 4)
    learn = Learner(dls, model, loss_func=_MSE(), opt_func=_adam)
    quiet(lambda: learn.fit(1, .05), learn)
    rec = LearnerRecommender(learn, inter)
    df = inter.df.head(20)
    rows = torch.tensor([[dls.classes['user'].o2i.get(a, 0), dls.classes['item'].o2i.get(b, 0)] for a, b in zip(df.user, df['item'])])
    assert np.allclose(rec.predict_codes(*(o[:20] for o in inter.codes()[:2])), model(rows).detach(), atol=1e-5)
    codes = inter.users.encode(df.user)
    assert np.allclose(rec.scores(codes)[np.arange(20), inter.items.encode(df['item'])], model(rows).detach(), atol=1e-5)

def test_asking_leaves_no_traces(inter):
    learn = trained(inter, use_nn=True)
    learn.model.train()
    before = [p.clone() for p in learn.model.parameters()]
    rec = LearnerRecommender(learn, inter)
    a = rec.recommend('u1'); rec.fold_in({101: 4}); rec.predict('u1', 101)
    assert learn.model.training and all(torch.equal(p, q) and p.requires_grad for p, q in zip(before, learn.model.parameters()))
    assert all(p.grad is None for p in learn.model.parameters()) or all((p.grad == 0).all() for p in learn.model.parameters() if p.grad is not None)
    assert rec.recommend('u1').equals(a)                                # dropout was off

@pytest.mark.parametrize('model', ['dot', 'bias', 'params', 'no range', 'net'])
def test_save_and_load(inter, tmp_path, model):
    n = len(inter.users), len(inter.items)
    make = dict(dot=lambda: DotProduct(*n, 3, (.5, 5.5)), bias=lambda: DotProductBias(*n, 3, (.5, 5.5)), params=lambda: DotProductBias(*n, 3, embedding='params'),
                net=lambda: EmbeddingNN((n[0], 3), (n[1], 5), layers=(7, 6)))
    make['no range'] = lambda: DotProduct(*n, 3)
    learn = Learner(collab_dls(inter, bs=32), make[model](), loss_func=_MSE(), opt_func=_adam)
    quiet(lambda: learn.fit(1), learn)
    rec = LearnerRecommender(learn, inter)
    rec.save(tmp_path/'a')
    assert [p.suffix for p in sorted((tmp_path/'a').iterdir())] == ['.safetensors', '.json']
    back = Recommender.load(tmp_path/'a')                               # the base class finds the right one
    assert type(back) is LearnerRecommender
    assert np.allclose(back.scores(np.arange(5)), rec.scores(np.arange(5)), atol=1e-6)
    assert np.allclose(back.fold_in({101: 4}), rec.fold_in({101: 4}), atol=1e-5)
    back.save(tmp_path/'b')
    again = LearnerRecommender.load(tmp_path/'b')
    assert again.recommend('u1').equals(rec.recommend('u1')) and again.similar_items(101).equals(rec.similar_items(101))
    with pytest.raises(RuntimeError, match='to fit'): back.fit(inter)

def test_save_straight_after_load(inter, tmp_path):
    LearnerRecommender(trained(inter), inter).save(tmp_path/'a')
    LearnerRecommender.load(tmp_path/'a').save(tmp_path/'b')
    a, b = (LearnerRecommender.load(tmp_path/o) for o in 'ab')
    assert a.recommend('u1').equals(b.recommend('u1'))
    with pytest.raises(RuntimeError, match='to fit'): LearnerRecommender.load(tmp_path/'a').fit(inter)

def test_an_unknown_network_is_refused(inter, tmp_path):
    LearnerRecommender(trained(inter), inter).save(tmp_path)
    text = (tmp_path/'model.json').read_text()
    assert text.count('"DotProductBias"') == 1
    (tmp_path/'model.json').write_bytes(model_json(json.loads(text.replace('"DotProductBias"', '"os.system"'))))
    with pytest.raises(LookupError, match='os.system'): LearnerRecommender.load(tmp_path).recommend('u1')

def test_arguments(inter):
    with pytest.raises(TypeError, match='LearnerRecommender'): LearnerRecommender(trained(inter))
    with pytest.raises(RuntimeError, match='fit'): LearnerRecommender().recommend('u1')
    rec = LearnerRecommender(trained, inter)
    assert len(rec.recommend('u1', k=3)) == 3
    other = Interactions.from_df(ratings().assign(item=lambda d: d['item'] + 10_000))
    with pytest.raises(ValueError, match='none of the items'): LearnerRecommender(trained(inter), other)
    import inspect
    names = inspect.signature(collab_learner).parameters
    assert {'metrics', 'cbs', 'path', 'n_factors'} <= set(names) and 'kwargs' not in names

def test_many_users_at_once_with_a_network(peak_growth):
    "Layers of all pairs at once would need gigabytes"
    inter = Interactions.from_df(ratings(300, 2000, .02))
    rec = LearnerRecommender(trained(inter, 1, use_nn=True), inter)
    rec.recommend(inter.users.ids[:2], k=3)
    _, grown = peak_growth(lambda: rec.recommend(inter.users.ids, k=3))
    assert grown < 100e6, f'{grown/1e6:.0f} MB'

@pytest.mark.parametrize('a, b', [(.25, -.25), (25, -25), (5, -15), (1e-6, 0), (1e4, 0)])
def test_no_scale_learns_better_than_another(a, b):
    "Ratings of a*r + b give predictions of a*p + b"
    df = ratings(60, 40, .3)
    def predictions(a, b):
        inter = Interactions.from_df(df.assign(rating=a*df.rating + b))
        learn = collab_learner(collab_dls(inter, bs=32, holdout=0))
        quiet(lambda: learn.fit_one_cycle(5), learn)
        return (LearnerRecommender(learn, inter).predict('u1', np.arange(100, 140)) - b)/a
    assert np.allclose(predictions(a, b), predictions(1, 0), atol=1e-3)

@pytest.mark.parametrize('use_nn', [False, True])
def test_whom_the_learner_has_not_met(inter, use_nn):
    "Users without ratings get one list, that of an empty history; items without ratings are no chance hits"
    new = inter.df.user.isin(['u1', 'u2', 'u3']) | inter.df['item'].isin([101, 102])
    train = inter.take(~new.to_numpy())
    learn = collab_learner(collab_dls(train, bs=32, holdout=0), use_nn=use_nn)
    quiet(lambda: learn.fit_one_cycle(8), learn)
    rec = LearnerRecommender(learn, train)
    lists = [rec.recommend(u, k=5).drop(columns='user') for u in ('u1', 'u2', 'u3')]
    assert lists[0].equals(lists[1]) and lists[0].equals(lists[2])
    u, i = train.users.encode(['u1', 'u2', 'u5']), train.items.encode([101, 102])
    s = rec.scores(u)
    assert np.allclose(s[0], rec.vector_scores(np.array(rec.fold_in({}))[None])[0], atol=1e-3)
    assert np.allclose(s[:, i[0]], s[:, i[1]]) and (s[:, i[0]] > s[:, 1:].min(1)).all() and (s[:, i[0]] < s[:, 1:].max(1)).all()
    assert np.allclose(rec.predict_codes(np.repeat(u, 2), np.tile(i, 3)).reshape(3, 2), s[:, i], atol=1e-5)
    assert not len(rec.similar_items(101, k=3))

@pytest.mark.parametrize('use_nn', [False, True])
def test_predict_and_what_else_fastai_offers(inter, tmp_path, use_nn):
    from fastai.interpret import Interpretation
    learn = collab_learner(collab_dls(inter, bs=32, path=tmp_path), use_nn=use_nn)
    learn.remove_cb(ProgressCallback)
    quiet(lambda: learn.fit(1), learn)
    want = LearnerRecommender(learn, inter).predict_codes(*(o[:1] for o in inter.codes()[:2]))[0]
    row = inter.df.iloc[0]
    learn.export('a.pkl')
    for l in (learn, load_learner(tmp_path/'a.pkl')):
        for asked in (dict(user=row.user, item=row['item']), row, inter.df.iloc[:1]): assert abs(l.predict(asked)[0] - want) < 1e-4
        assert l.predict(row, with_input=True)[0]['item'] == row['item']
        assert l.get_preds(dl=l.dls.test_dl(inter.df.iloc[:1]))[0].shape == (1,)
        with pytest.raises(ValueError, match='one row, not 5'): l.predict(inter.df.head())
        with pytest.raises(ValueError, match="no column 'item'"): l.predict(dict(user='u1'))
        with pytest.raises(KeyError, match='unknown user'): l.predict(dict(user='nobody', item=101))
    with pytest.raises(ValueError, match='no rows'): l.show_results()
    assert 'Total params' in learn.summary()
    interp = Interpretation.from_learner(learn)
    losses, rows, worst = interp.top_losses(2, items=True)
    ds = learn.dls.valid_ds
    errors = (learn.model(ds.x).detach() - ds.y)**2
    assert torch.allclose(losses, errors.sort(descending=True).values[:2], atol=1e-4)
    assert worst.rating.tolist() == ds.y[rows].tolist()
    interp.show_results([0, 1])
    with pytest.raises(NotImplementedError, match='top_losses'): interp.plot_top_losses(2)

def test_drop_last_never_drops_all(inter):
    learn = collab_learner(collab_dls(inter, bs=10**6, drop_last=True))
    before = learn.model.item_factors.detach().clone()
    quiet(lambda: learn.fit(1), learn)
    assert not torch.equal(before, learn.model.item_factors)

@pytest.mark.parametrize('loaded', [False, True])
def test_eight_threads_get_what_one_gets(inter, tmp_path, loaded):
    "Also from a network with dropout that was left in training mode"
    rec = LearnerRecommender(trained(inter, use_nn=True), inter)
    want = {u: rec.recommend(u, k=5) for u in inter.users.ids[:8]}
    if loaded: rec.save(tmp_path); rec = LearnerRecommender.load(tmp_path)
    else: rec.model.train()
    threads, wrong = torch.get_num_threads(), []
    def ask(u):
        for _ in range(10):
            try: same = rec.recommend(u, k=5).equals(want[u])
            except Exception as e: same = repr(e)
            if same is not True: wrong.append(same)
    jobs = [threading.Thread(target=ask, args=(u,)) for u in want]
    for j in jobs: j.start()
    for j in jobs: j.join()
    assert not wrong and rec.model.training != loaded and torch.get_num_threads() == threads

@pytest.mark.skipif(not hasattr(os, 'fork'), reason='needs fork')
def test_a_forked_child_answers():
    "In a process of its own, with two threads of PyTorch that the child does not have"
    import subprocess, sys
    code = """
import os, signal, torch, warnings
warnings.simplefilter('ignore')
from test_learner import *
torch.set_num_threads(2)
inter = Interactions.from_df(ratings(300, 300, .1))
rec = LearnerRecommender(trained(inter, 1), inter)
torch.ones(500, 500) @ torch.ones(500, 500)
pid = os.fork()
if pid == 0:
    signal.alarm(30)
    rec.recommend(inter.users.ids, k=3); rec.fold_in({101: 4.}); rec.predict('u1', 101)
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
"""
    res = subprocess.run([sys.executable, '-c', code], cwd=os.path.dirname(__file__), capture_output=True, text=True)
    assert res.returncode == 0, res.stderr[-500:]

def test_a_fit_that_fails_changes_nothing(inter):
    rec = LearnerRecommender(trained, inter)
    before = rec.recommend('u1', k=5)
    other = Interactions.from_df(ratings(seed=1).assign(item=lambda d: d['item'] + 1000))
    rec.trainer = lambda train: trained(inter)
    with pytest.raises(ValueError, match='none of the items'): rec.fit(other)
    assert rec.recommend('u1', k=5).equals(before)
    for bad in (lambda train: None, lambda train: train):
        rec.trainer = bad
        with pytest.raises(TypeError, match='does it return one'): rec.fit(inter)
    for bad in (5, 'x', inter, nn.Linear(2, 2)):
        with pytest.raises(TypeError, match='give a trained Learner'): LearnerRecommender(bad, inter)

def test_a_learner_that_learned_nothing_says_so(inter):
    wide = Interactions.from_df(ratings().assign(rating=lambda d: 20*d.rating))
    learn = Learner(collab_dls(wide), DotProductBias(len(wide.users), len(wide.items), 4), loss_func=_MSE(), opt_func=_adam)
    with pytest.warns(PoorModelWarning, match='learned nothing'), pytest.warns(UserWarning, match='excludes ratings'): LearnerRecommender(learn, wide)
    for value, error in ((np.nan, FloatingPointError), (np.inf, FloatingPointError)):
        learn = trained(inter, y_range=False)
        with torch.no_grad(): learn.model.item_factors[3] = value
        with pytest.raises(error, match='NaN or infinite'): LearnerRecommender(learn, inter)
    learn.model.double()
    with pytest.raises(ValueError, match='float64'): LearnerRecommender(learn, inter)

@pytest.mark.parametrize('change, what', [(lambda a: a*np.nan, 'holds nan'), (lambda a: a/0, 'holds'), (lambda a: a.astype(float), 'is float64'), (lambda a: a.astype(int), 'is int64'),
                                          (lambda a: a > 0, 'is bool'), (lambda a: a[:3], 'has shape'), (lambda a: a.ravel(), 'has shape'), (lambda a: a.tolist(), 'no array')])
def test_a_network_looks_at_what_it_loads(change, what):
    net = DotProductBias(9, 8, 4)
    with np.errstate(all='ignore'): state = {k: change(v) for k, v in net.get_state().items()}
    with pytest.raises(ValueError, match=what) as e: DotProductBias(9, 8, 4).set_state(state)
    assert '\n' not in str(e.value)

def test_networks_alone(tmp_path):
    net = DotProductBias(9, 8, 4)
    net.save(tmp_path)
    assert not DotProductBias.load(tmp_path).training
    state = net.get_state()
    for bad in ({**state, 'z': state['u_bias.weight']}, {k: v for k, v in state.items() if k != 'u_bias.weight'}, {}):
        with pytest.raises(ValueError, match='missing|no part'): net.set_state(bad)
    with pytest.raises(ValueError, match='has shape'): DotProductBias.remake(dict(n_users=10**12, n_items=8, n_factors=4), state)      # asks for no memory
    with torch.no_grad(): net.user_factors[1] = np.nan
    with pytest.raises(ValueError, match='holds nan'): net.save(tmp_path)
    with pytest.raises(ValueError, match='float16'): DotProductBias(9, 8, 4).half().save(tmp_path)
    for n in (0, -1, 2.5, '3', None, True):
        with pytest.raises(ValueError, match='at least one row'): DotProduct(n, 3)

@pytest.mark.parametrize('name, values', [('bs', (0, -1, 2.5, '64', np.nan, True)), ('holdout', (np.nan, 'a', None, 1)), ('seed', (-1, None, 1.5, 'x'))])
def test_settings_of_loaders(inter, name, values):
    for value in values:
        with pytest.raises(ValueError, match=name): collab_dls(inter, **{name: value})

@pytest.mark.parametrize('name, values', [('n_factors', (0, -1, 2.5, 'a', None)), ('lr', (-1, 0, np.nan, 'a')), ('wd', (-1, np.nan, np.inf)), ('seed', (-1, None, 'x')), ('y_range', (True, 5, [], (1,))), ('layers', ((5,), 5))])
def test_settings_of_learners(inter, name, values):
    for value in values:
        with pytest.raises(ValueError, match=name): collab_learner(collab_dls(inter), **{name: value})

def test_movielens(movielens):
    from fastai.data.transforms import RandomSplitter
    from recsys_course.datasets import load_movielens
    inter = load_movielens('100k', path=movielens)
    is_valid = np.zeros(len(inter), bool)
    is_valid[list(RandomSplitter(seed=42)(range(len(inter)))[1])] = True
    train, valid = inter.take(~is_valid), inter.take(is_valid)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        learn = collab_learner(collab_dls(train, valid))
        quiet(lambda: learn.fit_one_cycle(6), learn)
        same = collab_learner(collab_dls(train, valid, bs=64))
        quiet(lambda: same.fit_one_cycle(5, 5e-3, wd=.1), same)
    finally: torch.set_num_threads(threads)
    assert .79 < learn.recorder.values[-1][1] < .812
    assert .79 < same.recorder.values[-1][1] < .82
