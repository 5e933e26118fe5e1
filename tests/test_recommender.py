"Memory and agreement at a size that no lesson has"
import numpy as np, pandas as pd

from recsys_course.data import Interactions
from recsys_course.recommender import Recommender

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
