"Networks trained on a GPU: they find what those of the processor find, and answer where there is none"
import warnings

import numpy as np, pytest, torch

from recsys_course.graph import LightGCN
from recsys_course.implicit import to_implicit
from recsys_course.learner import LearnerRecommender, collab_dls, collab_learner
from recsys_course.recommender import Recommender
from recsys_course.sequence import SASRec, batches_by_length
from recsys_course.simulate import World

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')

def adopted(log, device):
    learn = collab_learner(collab_dls(log, device=device), n_factors=8)
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(3)
    assert next(learn.model.parameters()).device.type == device
    return LearnerRecommender(learn, log)

MAKES = {'SASRec': lambda log, device: SASRec(16, 1, 1, n=10, n_epochs=4, device=device).fit(to_implicit(log)), 'LightGCN': lambda log, device: LightGCN(16, n_epochs=8, device=device).fit(to_implicit(log)), 'DotProductBias': adopted}

@pytest.fixture(scope='module')
def log(): return World(n_users=300, n_items=200).sample(15_000)

@pytest.mark.parametrize('name', MAKES)
def test_trained_on_a_gpu(name, log, tmp_path):
    with warnings.catch_warnings(action='ignore'): there, here = (MAKES[name](log, o) for o in ('cuda', 'cpu'))
    who = log.users.ids[:50]
    there.save(tmp_path/'m')
    back = Recommender.load(tmp_path/'m')
    codes = log.users.encode(who)
    assert np.allclose(back.scores(codes), there.scores(codes), atol=1e-4)
    lists = [set(map(tuple, m.recommend(who, k=20)[['user', 'item']].to_numpy())) for m in (there, here)]
    assert len(lists[0] & lists[1]) > .6*len(lists[1])        # other draws, other lists: two seeds share .83 to .91, two lists by lot a tenth

def test_no_device_means_the_gpu(log):
    m = SASRec(8, 1, 1, n=5, n_epochs=1)
    m.check_lists = False
    m.fit(to_implicit(log))
    assert len(m.recommend(log.users.ids[0], k=5)) == 5 and next(m.net.parameters()).device.type == 'cpu'

def test_batches_hold_the_same_rows_on_both():
    P = torch.randint(0, 9, (70, 6)).sort(1).values
    dealt = []
    for device in ('cpu', 'cuda'):
        torch.manual_seed(0)
        dealt.append([b.cpu() for b in batches_by_length(P.to(device), 8)])
    assert all(torch.equal(a, b) for a, b in zip(*dealt, strict=True))
