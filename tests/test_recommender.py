"Memory and agreement at a size that no lesson has"
import inspect

import numpy as np, pandas as pd, pytest

from recsys_course.candidates import SimilarToRecent
from recsys_course.data import Interactions
from recsys_course.factorize import ALS, BiasedMF, FullBatchMF
from recsys_course.implicit import BPR, EASE, ImplicitALS, to_implicit
from recsys_course.recommender import Bias, ItemKNN, Recommender
from recsys_course.simulate import World
from recsys_course.towers import TwoTower

class Vectors(Recommender):
    "Dot products of random vectors: a stand-in for any factor model"
    def fit(self, train):
        super().fit(train)
        rng = np.random.default_rng(0)
        self.P, self.Q = (rng.normal(size=(len(v), 8)).astype(np.float32) for v in (self.users, self.items))
        return self
    def scores(self, user_codes): return self.P[user_codes]@self.Q.T

def test_many_users_in_little_memory(peak_growth):
    n_users, n_items, n = 60_000, 10_000, 1_000_000
    rng = np.random.default_rng(0)
    cells = np.unique(rng.integers(0, n_users*n_items, n))
    cells = np.r_[cells, np.arange(n_users)*n_items, np.arange(n_items)*n_items + np.arange(n_items)]     # everybody and everything occurs
    u, i = np.divmod(np.unique(cells), n_items)
    inter = Interactions.from_df(pd.DataFrame(dict(user=u, item=i, rating=1.)))
    model = Vectors().fit(inter)
    model.recommend(0)                                                                    # compile
    recs, grown = peak_growth(lambda: model.recommend(inter.users.ids))
    assert len(recs) == 10*n_users and grown < 500e6, f'{grown/1e6:.0f} MB'
    seen = inter.csr()
    some = rng.choice(np.arange(1, n_users+1), 200, replace=False)
    got = recs.set_index('user')
    for c in some:
        s = model.scores(np.array([c]))[0].astype(float)
        s[0], s[seen[c].indices] = -np.inf, -np.inf
        want = np.lexsort((np.arange(len(s)), -s))[:10]
        mine = inter.items.encode(got.loc[c-1, 'item'])
        assert (mine == want).all() or np.allclose(s[mine], s[want], rtol=1e-5)

@pytest.mark.parametrize('make', [Bias, ItemKNN, BPR, ImplicitALS, EASE, TwoTower, SimilarToRecent, BiasedMF, ALS, FullBatchMF])
def test_every_number_among_the_settings_is_looked_at(make):
    may_be_zero = {'reg', 'reg_bias', 'reg_scale', 'wd', 'lr_final', 'holdout', 'w0', 'shrink', 'damping', 'user_damping', 'item_damping', 'fade'} - ({'reg', 'reg_bias'} if make in (ALS, EASE) else set())
    counts = {'n_factors', 'n_epochs', 'n_rounds', 'n_threads', 'n_neighbours', 'n_recent', 'k', 'bs', 'cg_steps', 'patience'}
    settings = [k for k, p in inspect.signature(make).parameters.items() if k not in ('seed', 'how', 'solver', 'similarity', 'model', 'centre', 'correct')]
    assert len(settings) > 2
    log = Interactions.from_df(pd.DataFrame(dict(user=[1, 1, 2, 2, 3], item=[1, 2, 2, 3, 1], rating=1)))
    for k in settings:
        for bad in (-1, float('nan'), *([] if k in may_be_zero else [0]), *([1.5] if k in counts else [])):
            with pytest.raises((ValueError, FloatingPointError), match=k): make(**{k: bad}).fit(log)

@pytest.mark.parametrize('make', [lambda: BPR(8, 5, lr=50.), lambda: TwoTower(8, 5, lr=1e12), lambda: ImplicitALS(8, alpha=1e30)])
def test_what_is_unstable_is_an_error(make):
    log = to_implicit(World(n_users=60, n_items=50).sample(1500))
    with pytest.raises(FloatingPointError, match='became unstable.*(Lower|lower)'): make().fit(log)
