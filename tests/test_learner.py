"What lesson 15 has no room for: fastai's side of the bargain, odd data, files, and figures on MovieLens"
import numpy as np, pandas as pd, pytest, torch
from fastai.callback.core import Callback
from fastai.callback.progress import ProgressCallback
from fastai.collab import CollabDataLoaders
from fastai.learner import Learner, load_learner
from fasttransform import ItemTransform
from torch import nn

from recsys_course.data import Interactions
from recsys_course.learner import LearnerRecommender, _adam, _Learner, _MSE, collab_dls, collab_learner
from recsys_course.models import DotProduct, DotProductBias
from recsys_course.neural import EmbeddingNN
from recsys_course.recommender import Recommender

def ratings(n_users=40, n_items=30, share=.4, seed=0):
    rng = np.random.default_rng(seed)
    u, i = np.nonzero(rng.random((n_users, n_items)) < share)
    r = 3 + (-1.)**(u + i) + rng.integers(-1, 2, len(u))*.5
    return pd.DataFrame(dict(user=[f'u{o}' for o in u], item=i + 100, rating=r))

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
    with pytest.raises(NotImplementedError, match='Mine'): rec.fold_in({101: 5})
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
    a = rec.recommend('u1'); rec.fold_in({101: 5}); rec.predict('u1', 101)
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
    assert np.allclose(back.fold_in({101: 5}), rec.fold_in({101: 5}), atol=1e-5)
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
    (tmp_path/'model.json').write_text(text.replace('"DotProductBias"', '"os.system"'))
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
