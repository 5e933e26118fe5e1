"What the lesson on data promises beyond its cells: inputs stay as they were, and splits draw as published"
import numpy as np, pandas as pd, pytest

from recsys_course.data import Interactions

def test_input_is_not_changed():
    df = pd.DataFrame(dict(user=[1, 1, 2], item=[1, 2, 1], rating=[1, 2, 3], timestamp=[3, 2, 1]), index=[9, 8, 7])
    before = df.copy()
    inter = Interactions.from_df(df, duplicates='mean')
    inter.df.loc[0, 'rating'] = 99
    inter.split('leave_last'); inter.crosstab(); inter.csr()
    pd.testing.assert_frame_equal(df, before)

@pytest.mark.parametrize('test', [.1, .25, .5, .9])
def test_user_random_draws_the_published_way(test):
    rng = np.random.default_rng(0)
    users = np.repeat(np.arange(40), np.arange(1, 41))
    df = pd.DataFrame(dict(user=users, item=np.arange(len(users)), rating=1)).iloc[rng.permutation(len(users))]     # no timestamps
    train, rest = Interactions.from_df(df).split('user_random', test, seed=7)
    # as the recommenders library has it: random numbers in the order of the rows, ranked within each user, those above the share are test
    r, want = np.random.RandomState(7).rand(len(df)), []
    for u in df.user.unique():
        own = sorted(zip(r[df.user == u], df['item'][df.user == u]))
        n = len(own)
        want += [i for rank, (_, i) in enumerate(own, 1) if rank*1000 > round(n*(1 - test)*1000) and n > 1]
        if n > 1 and round(n*(1 - test)*1000) < 1000: want.remove(own[0][1])                # one row stays in train
    assert sorted(rest.df['item']) == sorted(want) and set(train.df.user) == set(df.user) and len(train) + len(rest) == len(df)
    again = Interactions.from_df(df).split('user_random', test, seed=7)[1]
    assert again.df.equals(rest.df) and not Interactions.from_df(df).split('user_random', test, seed=8)[1].df.equals(rest.df)
