"The simulated world behaves as MovieLens does: figures of the data, errors of ratings, and what lists are worth"
import numpy as np
import pytest
from recsys_course.datasets import load_movielens
from recsys_course.evaluate import compare
from recsys_course.factorize import BiasedMF
from recsys_course.implicit import BPR, EASE, ImplicitALS, to_implicit
from recsys_course.recommender import Bias, ItemKNN, Popular
from recsys_course.simulate import World

# MovieLens 100K, measured apart from this file: nDCG@10 of clicks on a quarter of each person's rows, RMSE on a random fifth
LISTS = dict(popular=.221, knn=.388, bpr=.420, ease=.441, als=.448)
ERRORS = dict(bias=.935, mf=.898, knn=.902)

def lists(log):
    "nDCG at 10 of clicks, by model"
    train, test = log.split('user_random', seed=42)
    models = dict(popular=Popular, knn=lambda: ItemKNN(centre=False), bpr=BPR, ease=EASE, als=ImplicitALS)
    return compare(models, to_implicit(train), to_implicit(test), k=10, metrics=('ndcg',), relevant=0, n_boot=0).value['ndcg']

def errors(log):
    "RMSE, by model"
    train, test = log.split('random', seed=42)
    return compare(dict(bias=Bias, mf=BiasedMF, knn=ItemKNN), train, test, metrics=('rmse',), n_boot=0).value['rmse']

@pytest.fixture(scope='module')
def world(): return World().sample()

@pytest.fixture(scope='module')
def worth(world): return lists(world)

def test_popular_has_half_of_the_best_list(worth):
    assert abs(worth['popular']/worth.max() - LISTS['popular']/LISTS['als']) < .06

def test_lists_of_all_models_are_worth_what_they_are_on_movielens(worth):
    assert worth['popular'] < worth['knn'] < worth[['bpr', 'ease', 'als']].min() and worth.idxmax() == 'als'
    for name, value in LISTS.items(): assert abs(worth[name] - value) < .04, name

@pytest.mark.parametrize('seed', [0, 1])
def test_another_world_is_no_kinder_to_popular(seed):
    found = lists(World(seed=seed).sample())
    assert .35 < found['popular']/found.max() < .65 and found.idxmin() == 'popular'

def test_errors_are_those_of_movielens(world):
    found = errors(world)
    for name, value in ERRORS.items(): assert abs(found[name] - value) < .025, name

def test_the_log_has_the_shape_of_movielens(world):
    share = world.df.rating.value_counts(normalize=True).sort_index()
    assert np.abs(share - [.061, .114, .271, .342, .212]).max() < .02
    counts = np.sort(world.df['item'].value_counts())
    n = len(counts)
    gini = (2*np.arange(1, n+1) - n - 1) @ counts/n/counts.sum()
    assert abs(gini - .63) < .04 and abs(counts.max() - 583) < 60

def test_taste_makes_the_difference():
    "Without affinity nobody beats Popular by much: the lists of the world come from taste, not from its films"
    found = lists(World(affinity=0.).sample())
    assert found.max() < 1.1*found['popular']

def test_measured_on_movielens(movielens):
    log = load_movielens('100k', path=movielens)
    found = lists(log)
    for name, value in LISTS.items(): assert abs(found[name] - value) < .01, name
    found = errors(log)
    for name, value in ERRORS.items(): assert abs(found[name] - value) < .005, name
