"The machine against dense brute force, closed forms and BayesianMF; the kernels against NumPy; moments, newcomers, odd input, saving"

import numpy as np, pandas as pd, pytest, scipy.sparse as sp
from fastcore.test import test_close as close

from recsys_course.bayes import BayesianMF
from recsys_course.check import check_recommender
from recsys_course.context import (Block, BlockGibbs, FactorizationMachine, as_categories, column_encoders, column_matrix, draw_columns, moments, pairwise, scaled_hints, with_moments)
from recsys_course.data import Interactions
from recsys_course.recommender import PoorModelWarning, Recommender, User

FEW = dict(n_factors=2, n_samples=8, burn=8, n_chains=1)

def table_log(n_users=40, n_items=30, n=600, seed=0, effect=1.5):
    "Stars that depend on the moment: films of genre light gain at breakfast, dark ones lose"
    rng = np.random.default_rng(seed)
    cells = rng.choice(n_users*n_items, n, replace=False)
    u, i = np.divmod(cells, n_items)
    when = np.where(rng.random(n) < .5, 'breakfast', 'night')
    light = np.where(i % 2 == 0, 1, -1)
    r = 3 + .5*rng.normal(size=n_users)[u] + .5*rng.normal(size=n_items)[i] + effect/2*light*np.where(when == 'breakfast', 1, -1) + .3*rng.normal(size=n)
    items = pd.DataFrame({'title': [f'film {k}' for k in range(n_items)], 'genres': ['light' if k % 2 == 0 else 'dark|long' for k in range(n_items)], 'year': 1980. + np.arange(n_items)}, pd.Index(range(n_items), name='item'))
    users = pd.DataFrame({'age': 20 + np.arange(n_users) % 40, 'gender': ['F' if k % 3 else 'M' for k in range(n_users)]}, pd.Index([f'u{k}' for k in range(n_users)], name='user'))
    log = Interactions.from_df(pd.DataFrame(dict(user=[f'u{k}' for k in u], item=i, rating=r, timestamp=np.arange(n)*3600)), item_info=items, user_info=users)
    return with_moments(log, pd.DataFrame({'when': when}))

@pytest.fixture(scope='module')
def log(): return table_log()

@pytest.fixture(scope='module')
def fitted(log): return FactorizationMachine(['age', 'gender'], ['genres', 'year'], ['when'], **FEW).fit(log)

def rmse(model, log): return np.sqrt(np.mean((model.predict(log.df.user, log.df['item'], log.df if model.context else None) - log.df.rating)**2))

# ---- The formula

def test_pairwise_against_loops():
    Q = np.random.default_rng(0).normal(size=(4, 5, 3))
    close(pairwise(Q), [sum(q[j]@q[k] for j in range(5) for k in range(j+1, 5)) for q in Q])
    close(pairwise(np.zeros((0, 3))), 0)
    close(pairwise(Q[0, :1]), 0)

def dense_terms(rng, sizes, n, d, n_events):
    "Blocks of random columns, and everything a dense machine needs"
    X = [rng.normal(size=(s, n))*(rng.random((s, n)) < .5) for s in sizes]
    rows = np.column_stack([rng.integers(0, s, n_events) for s in sizes])
    return X, rows, [rng.normal(size=(n, d)) for _ in sizes]

def dense_prediction(X, rows, V):
    "Every pair of columns of different blocks, column by column"
    res = np.zeros(len(rows))
    for m, row in enumerate(rows):
        x = [X[b][a] for b, a in enumerate(row)]
        res[m] = sum((x[b]*V[b][:, -1]).sum() for b in range(len(X)))
        for b in range(len(X)):
            for c in range(b+1, len(X)):
                for j in range(len(x[b])):
                    for k in range(len(x[c])): res[m] += x[b][j]*x[c][k]*(V[b][j, :-1]@V[c][k, :-1])
    return res

@pytest.mark.parametrize('sizes', [(4, 5), (4, 5, 3), (3, 3, 2, 2)])
@pytest.mark.parametrize('block', [0, 1, -1])
def test_sums_of_a_block_against_brute_force(sizes, block):
    rng = np.random.default_rng(len(sizes))
    n, d, n_events = 3, 3, 40
    X, rows, V = dense_terms(rng, sizes, n, d, n_events)
    r, weight = rng.normal(size=n_events), rng.random(n_events) + .5
    blocks = [Block({'column x': sp.csr_matrix(x)}, rows[:, k], d) for k, x in enumerate(X)]
    chain = BlockGibbs(blocks, rows, r, 0)
    for b, v in zip(blocks, V):
        b.V[:] = v
        b.W[:] = b.X@b.V
    b = block % len(sizes)
    got = chain.look(b, weight.astype(np.float32), 2)
    errors = r - dense_prediction(X, rows, V)
    for a in range(sizes[b]):
        mine = rows[:, b] == a
        x = np.ones((mine.sum(), d))
        x[:, :-1] = sum((X[c][rows[mine, c]]@V[c])[:, :-1] for c in range(len(sizes)) if c != b)
        close(got.S[a], (x*weight[mine, None]).T@x, eps=1e-3)
        close(got.T[a], (weight*errors)[mine]@x, eps=1e-3)
        close(got.squares[a], (errors[mine]**2).sum(), eps=1e-3)

def test_columns_are_drawn_from_their_conditional():
    "Mean by one solve over all events, without the sums; spread over many draws"
    rng = np.random.default_rng(3)
    X, rows, V = dense_terms(rng, (6, 5), 4, 3, 120)
    r = rng.normal(size=120)
    def chain_with(noise):
        blocks = [Block({'column x': sp.csr_matrix(x)}, rows[:, k], 3) for k, x in enumerate(X)]
        chain = BlockGibbs(blocks, rows, r, 0)
        for b, v in zip(blocks, V):
            b.V[:] = v
            b.W[:] = b.X@b.V
        b = chain.look(0, np.ones(120, np.float32), 1)
        draw_columns(b.X.indptr, b.X.indices, b.X.data, b.group, np.full((1, 3), .3, np.float32), np.full((1, 3), 2., np.float32), b.S, b.T, noise, b.V, b.W)
        return b
    b = chain_with(np.zeros((4, 3), np.float32))
    x = np.ones((120, 3))
    x[:, :-1] = (X[1][rows[:, 1]]@V[1])[:, :-1]
    values = X[0][rows[:, 0]]
    now = V[0].copy()
    for j in range(4):                              # column after column, given all else
        rest = r - dense_prediction(X, rows, [now, V[1]]) + values[:, j]*(x@now[j])
        Z = values[:, [j]]*x
        now[j] = np.linalg.solve(Z.T@Z + 2*np.eye(3), Z.T@rest + .6)
    close(b.V, now, eps=1e-3)
    close(b.W, X[0]@now, eps=1e-3)
    first = np.array([chain_with(np.r_[z[None], np.zeros((3, 3))].astype(np.float32)).V[0] for z in rng.normal(size=(400, 3))])
    Z = values[:, [0]]*x
    cov = np.linalg.inv(Z.T@Z + 2*np.eye(3))
    assert np.abs(np.cov(first.T) - cov).max() < .25*np.abs(cov).max()

def test_redraw_leaves_rows_where_they_are():
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 8, (200, 2))
    known = sp.csr_matrix(rng.normal(size=(8, 2)))
    blocks = [Block({'id': sp.identity(8, format='csr'), 'column x': known}, rows[:, 0], 3), Block({'id': sp.identity(8, format='csr')}, rows[:, 1], 3)]
    chain = BlockGibbs(blocks, rows, rng.normal(size=200), 0)
    chain.step()
    before, V = blocks[0].W.copy(), blocks[0].V.copy()
    chain.redraw(blocks[0])
    assert not np.allclose(V[8:], blocks[0].V[8:])
    close(blocks[0].X@blocks[0].V, before, eps=1e-4)

# ---- The same as models that we know

def test_ids_and_hints_are_as_good_as_bayesian_factors():
    from recsys_course.simulate import World
    train, test = World(n_users=200, n_items=150, seed=1).sample(8000).split('random', seed=0)
    r = test.df.rating
    errors = {m: np.sqrt(np.mean((m.fit(train).predict(test.df.user, test.df['item']) - r)**2)) for m in (BayesianMF(4), FactorizationMachine(n_factors=4))}
    a, b = errors.values()
    assert abs(a - b) < .006

def test_als_solves_the_ridge_of_biases():
    "One factor whose pull is endless leaves biases: their closed form by one solve"
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 6, (80, 2))
    r = rng.normal(size=80)
    blocks = [Block({'id': sp.identity(6, format='csr')}, rows[:, k], 2) for k in (0, 1)]
    chain = BlockGibbs(blocks, rows, r, 0, 'als', reg=2.)
    for b in blocks: b.V[:, :-1] = 0
    chain.W[:, :-1] = 0
    for _ in range(200): chain.step()
    X = np.zeros((80, 12))
    X[np.arange(80), rows[:, 0]] = 1
    X[np.arange(80), 6 + rows[:, 1]] = 1
    want = np.linalg.solve(X.T@X + 2*np.eye(12), X.T@r)
    close(np.concatenate([b.W[:, -1] for b in blocks]), want, eps=1e-3)

def test_sides_and_moments_are_found(log):
    train, test = log.split('random', test=.25, seed=0)
    base = rmse(FactorizationMachine(**FEW).fit(train), test)
    moment = rmse(FactorizationMachine(context='when', **FEW).fit(train), test)
    all_of_it = rmse(FactorizationMachine(item_columns='genres', context=['when'], **FEW).fit(train), test)
    assert all_of_it < base - .3 and moment < base - .3

def test_a_new_film_is_known_by_its_columns(log):
    gone = log.df['item'].isin([4, 7])
    m = FactorizationMachine(item_columns='genres', context='when', **FEW).fit(log.take((~gone).to_numpy()))
    light, dark = (m.predict('u1', [4, 7], {'when': w}) for w in ('breakfast', 'night'))
    assert light[0] - light[1] > dark[0] - dark[1] + 1

def test_probit_gives_honest_chances(log):
    yes = Interactions(log.df.assign(rating=(log.df.rating > 3).astype(int)), log.users, log.items, log.item_info, log.user_info)
    train, test = yes.split('random', test=.4, seed=1)
    for method in ('gibbs', 'als'):
        m = FactorizationMachine(item_columns='genres', context='when', method=method, **FEW).fit(train)
        p = m.predict(test.df.user, test.df['item'], test.df)
        assert m.probit and p.min() >= 0 and p.max() <= 1
        assert p[test.df.rating == 1].mean() > p[test.df.rating == 0].mean() + .2
        if method == 'gibbs': assert abs(p.mean() - test.df.rating.mean()) < .06

# ---- The contract

MODELS = {'plain': lambda: FactorizationMachine(n_factors=4), 'no hints': lambda: FactorizationMachine(n_factors=4, implicit=False), 'als': lambda: FactorizationMachine(n_factors=4, method='als')}

@pytest.mark.parametrize('name', MODELS)
def test_contract(name): check_recommender(MODELS[name])

@pytest.mark.parametrize('context', [None, {}, {'when': 'night'}, {'when': 'breakfast'}])
def test_lists_are_predictions(fitted, log, context):
    listed = fitted.recommend('u3', k=40, exclude_seen=False, context=context)
    close(np.clip(listed.score, *fitted.scale), fitted.predict('u3', listed['item'], context), eps=1e-4)

def test_predictions_against_the_formula(fitted):
    "Every draw, every pair of blocks"
    for when, code in (('night', fitted.moments['when'].encode('night')[0]), (None, 0)):
        u, i = fitted.users.encode('u3')[0], fitted.items.encode(7)[0]
        parts = [fitted.user_draws[u], fitted.item_draws[i], fitted.moment_draws['when'][code]]
        said = sum(p[:, -1] for p in parts) + sum((parts[a][:, :-1]*parts[b][:, :-1]).sum(1) for a, b in ((0, 1), (0, 2), (1, 2)))
        close(fitted.predict_codes(np.array([u]), np.array([i]), {'when': when}), fitted.mean + fitted.unit*said.mean(), eps=1e-4)

def test_the_moment_turns_the_list(fitted):
    first = {w: fitted.recommend('u3', k=5, exclude_seen=False, context={'when': w})['item'] for w in ('breakfast', 'night')}
    assert (first['breakfast'] % 2 == 0).all() and (first['night'] % 2 == 1).all()

def test_no_moment_is_zeros(fitted):
    close(fitted.moment_draws['when'][0], 0)
    with pytest.warns(UserWarning, match="when='noon' is in no row of train") as caught: a = fitted.predict('u3', range(9), {'when': 'noon'})
    assert len(caught) == 1
    for missing in (None, np.nan, ''): close(fitted.predict('u3', range(9), {'when': missing}), a)
    close(fitted.predict('u3', range(9)), a)

def test_a_column_that_is_not_known(fitted):
    for ask in (lambda: fitted.recommend('u3', context={'hour': 8}), lambda: fitted.predict('u3', 1, {'hour': 8})):
        with pytest.raises(ValueError, match="'hour'.*knows 'when'"): ask()
    with pytest.raises(ValueError, match='has 2 values for 3'): fitted.predict(['u1', 'u2', 'u3'], 1, {'when': ['night', 'night']})
    with pytest.raises(ValueError, match='looks at no moment'): BayesianMF(2, 2, 2).fit(table_log()).recommend('u3', context={'when': 'night'})

def test_a_context_that_is_none(fitted, log):
    for bad in ('night', [1], 5):
        with pytest.raises(TypeError, match='a context is'): fitted.predict('u3', 1, bad)
    with pytest.raises(ValueError, match='has 2 values for 1'): fitted.recommend(['u1', 'u2'], context={'when': ['night', 'night']})
    with pytest.raises(TypeError, match='not a DataFrame'): with_moments(log.df)

def test_one_moment_per_pair(fitted):
    when = ['night', None, 'breakfast']
    got = fitted.predict(['u1', 'u2', 'u3'], [1, 2, 3], {'when': when})
    close(got, [fitted.predict(u, i, {'when': w})[0] for u, i, w in zip(['u1', 'u2', 'u3'], [1, 2, 3], when)], eps=1e-5)
    close(got, fitted.predict(['u1', 'u2', 'u3'], [1, 2, 3], pd.DataFrame({'when': when, 'other': 1})))

def test_same_seed_same_bits_in_threads(log, fitted):
    again = FactorizationMachine(['age', 'gender'], ['genres', 'year'], ['when'], n_threads=3, **FEW).fit(log)
    assert (again.user_draws == fitted.user_draws).all() and (again.moment_draws['when'] == fitted.moment_draws['when']).all()

def test_saved_and_loaded(fitted, tmp_path):
    fitted.save(tmp_path/'m')
    again = Recommender.load(tmp_path/'m')
    for ask in (lambda m: m.predict('u3', range(9), {'when': 'night'}), lambda m: m.recommend('u3', context={'when': 'night'}).score.to_numpy(),
                lambda m: np.asarray(m.fold_in({1: 4., 2: 2.}, {'age': 30, 'gender': 'F'}))): close(ask(fitted), ask(again))

# ---- Newcomers

def test_a_known_person_folded_in_is_nearly_themselves(log):
    m = FactorizationMachine(n_factors=2).fit(log)
    known, new = m.scores(m.users.encode('u3'))[0], m.recommend(m.fold_in(log.history('u3')), k=99, exclude_seen=False)
    assert np.corrcoef(known[m.items.encode(new['item'])], new.score)[0, 1] > .95

def test_a_profile_alone(fitted):
    both = fitted.recommend([User(profile={'age': 50, 'gender': 'M'}), User(history={1: 4.}, profile={'gender': 'F'}, id='Zoe'), 'u3'], k=2, context={'when': 'night'})
    assert both.user.unique().tolist() == ['new0', 'Zoe', 'u3']
    close(np.asarray(fitted.fold_in({}, {'gender': 'M'})) - np.asarray(fitted.fold_in({})), fitted.profile_draws({'gender': 'M'}).ravel(), eps=1e-4)

def test_a_profile_is_a_row_of_the_table(log):
    "Somebody in the table without any rating gets what a newcomer with the same profile gets"
    info = pd.concat([log.user_info, pd.DataFrame({'age': [33], 'gender': ['M']}, pd.Index(['zz'], name='user'))])
    t = Interactions.from_df(log.df[['user', 'item', 'rating']], user_info=info)
    m = FactorizationMachine(['age', 'gender'], **FEW).fit(t)
    assert np.abs(m.column_draws).max() > .01
    close(m.user_vectors(m.users.encode('zz'))[0], np.asarray(m.fold_in({}, {'age': 33, 'gender': 'M'})), eps=1e-3)

def test_words_of_nobody_who_rated(log):
    info = pd.concat([log.user_info.assign(club=None), pd.DataFrame({'age': [33], 'gender': ['M'], 'club': ['chess']}, pd.Index(['zz'], name='user'))])
    m = FactorizationMachine('club', **FEW).fit(Interactions.from_df(log.df[['user', 'item', 'rating']], user_info=info))
    assert m.column_draws.shape[0] == 1 and np.isfinite(m.user_draws).all()

def test_a_profile_with_news(fitted):
    with pytest.warns(UserWarning, match="gender='X' is in no row"): fitted.fold_in({}, {'gender': 'X'})
    with pytest.raises(ValueError, match='height.*age'): fitted.fold_in({}, {'height': 180})
    with pytest.raises(NotImplementedError): fitted.recommend(User())

# ---- Moments and columns

def test_hours_and_days():
    t = pd.to_datetime(['2024-01-01 08:30', '2024-01-06 23:59'])
    want = [[8, 'Monday'], [23, 'Saturday']]
    assert moments(t).values.tolist() == want
    assert moments(t.astype('datetime64[s]').astype('int64')).values.tolist() == want

def test_moments_that_do_not_fit(log):
    with pytest.raises(ValueError, match='2 moments for 600'): with_moments(log, {'a': [1, 2]})
    with pytest.raises(ValueError, match="'rating'"): with_moments(log, {'rating': np.zeros(600)})
    with pytest.raises(ValueError, match='no timestamps'): with_moments(Interactions.from_df(log.df[['user', 'item', 'rating']]))
    before = log.df.copy()
    hours = with_moments(log)
    assert 'hour' in hours.split('random')[0].df and before.equals(log.df)

@pytest.mark.parametrize('values, want', [([8, 8., '8', np.int64(8)], ['8']*4), ([None, np.nan, pd.NA, ''], [None]*4), (True, ['True']), (pd.Series([1, None]), ['1', None])])
def test_categories(values, want): assert as_categories(values) == want

def test_columns_against_by_hand():
    info = pd.DataFrame({'age': [10., 20, np.nan], 'likes': ['a|b', '', 'b']})
    found = column_encoders(info, None, 'user_info')
    close(column_matrix(found['age'], info).toarray(), [[-1, 0], [1, 0], [0, 0]])
    close(column_matrix(found['likes'], info).toarray(), [[.5**.5, .5**.5], [0, 0], [0, 1]], eps=1e-6)
    close(scaled_hints(sp.csr_matrix(np.array([[1., 1, 1, 1], [0, 0, 0, 0]]))).toarray(), [[.5]*4, [0]*4])

def test_columns_that_say_nothing(log):
    info = log.user_info.assign(empty=np.nan, words=[' '.join(map(str, range(k, k+5))) for k in range(40)], same=7)
    t = Interactions(log.df, log.users, log.items, log.item_info, info)
    with pytest.warns(UserWarning, match=r"\['empty'\] of user_info is left out"): m = FactorizationMachine(['empty', 'same', 'age'], **FEW).fit(t)
    assert list(m.user_encoders) == ['same', 'age'] and np.isfinite(m.user_draws).all()

def test_a_million_words(monkeypatch):
    info = pd.DataFrame({'text': [f'{k}|{k+1}' for k in range(25_000)]})
    with pytest.warns(UserWarning, match=r"'text'.*20,000 different words"): assert column_encoders(info, ['text'], 'item_info') == {}

def test_columns_that_are_not_there(log):
    with pytest.raises(ValueError, match="user_info has no column 'height'.*age"): FactorizationMachine('height', **FEW).fit(log)
    with pytest.raises(ValueError, match="the log has no column 'hour'"): FactorizationMachine(context='hour', **FEW).fit(log)
    with pytest.raises(ValueError, match="item_info has no column 'genres'"): FactorizationMachine(item_columns='genres', **FEW).fit(Interactions.from_df(log.df[['user', 'item', 'rating']]))

def test_a_table_with_other_ids(log):
    other = log.item_info.set_axis([f'x{k}' for k in range(30)])
    with pytest.raises((ValueError, TypeError)): Interactions.from_df(log.df[['user', 'item', 'rating']], item_info=other)

def test_friends_are_a_list(log):
    friends = log.user_info.assign(friends=['|'.join(f'u{(k+s) % 40}' for s in (1, 2)) for k in range(40)])
    m = FactorizationMachine('friends', **FEW).fit(Interactions(log.df, log.users, log.items, log.item_info, friends))
    assert m.column_draws.shape[0] == 40 and np.isfinite(m.scores(np.arange(5))).all()

# ---- Odd logs

def small(rows): return Interactions.from_df(pd.DataFrame(rows, columns=['user', 'item', 'rating']), duplicates='keep')

@pytest.mark.parametrize('rows', [[('a', 1, 3.)], [('a', 1, 3.), ('a', 2, 4.)], [('a', 1, 3.), ('b', 1, 4.)], [('a', 1, 1.), ('b', 2, 5.)], [('a', 1, 1.), ('a', 1, 5.)], [('a', 1, 0.), ('b', 1, 1.)]])
@pytest.mark.parametrize('method', ['gibbs', 'als'])
def test_tiny_logs(rows, method):
    log = with_moments(small(rows), {'when': ['x']*len(rows)})
    m = FactorizationMachine(context='when', method=method, **FEW).fit(log)
    assert np.isfinite(m.scores(np.arange(2))).all() and np.isfinite(m.predict('a', 1, {'when': 'x'})).all()

def test_all_moments_missing(log):
    m = FactorizationMachine(context='gone', **FEW).fit(with_moments(log, {'gone': [None]*600}))
    assert len(m.moments['gone']) == 1 and np.isfinite(m.predict('u1', 1)).all()

def test_ratings_without_any_noise():
    "A rating that the biases say exactly: draws stay finite however sure they are"
    rows = [(f'u{k}', i, float(1 + (k + i) % 5)) for k in range(30) for i in range(30)]
    assert np.isfinite(FactorizationMachine(n_factors=4).fit(small(rows)).user_draws).all()
    rows = [(f'u{k}', i, float(k + i)) for k in range(3) for i in range(3)]*100
    assert np.isfinite(FactorizationMachine(n_factors=4).fit(small(rows)).user_draws).all()

def test_all_alike_is_told():
    with pytest.warns(PoorModelWarning, match='all 9 ratings are 1'): FactorizationMachine(**FEW).fit(small([(a, i, 1.) for a in 'abc' for i in range(3)]))

def test_probit_is_for_yes_and_no(log):
    with pytest.raises(ValueError, match='different ratings'): FactorizationMachine(link='probit', **FEW).fit(log)
    assert FactorizationMachine(link='probit', **FEW).fit(small([('a', 1, 2.), ('b', 1, 4.), ('b', 2, 2.)])).predict('a', 1)[0] <= 4

@pytest.mark.parametrize('bad', [dict(n_factors=0), dict(n_samples=1.5), dict(burn=-1), dict(reg=0), dict(method='mcmc'), dict(link='logit'), dict(implicit=2), dict(seed=-1), dict(context=None), dict(n_chains=0)])
def test_refused(bad):
    with pytest.raises((ValueError, TypeError), match=next(iter(bad))): FactorizationMachine(**bad)

# --- through an index, and inside a page

def test_the_moment_reaches_an_index_and_a_page():
    "An index of all items gives the exact list at every moment; generators that look at no moment go on beside it"
    from recsys_course.implicit import ImplicitALS
    from recsys_course.pipeline import Pipeline
    from recsys_course.retrieve import ANNIndex, Nearest
    from recsys_course.simulate import World
    inter = with_moments(World(seed=1, n_users=80, n_items=90).sample(3000))
    m = FactorizationMachine(context=('hour',), n_factors=4, n_samples=4, burn=3, n_chains=1).fit(inter)
    hours, users = inter.df.hour.unique()[:3], inter.users.ids[:5]
    lists = []
    for hour in hours:
        context = {'hour': hour}
        want = m.recommend(users, k=8, context=context)
        for got in (m.recommend(users, k=8, context=context, index=ANNIndex.from_model(m)), Nearest(m).prepare(inter).recommend(users, k=8, context=context)):
            assert got['item'].tolist() == want['item'].tolist()
        lists.append(want['item'].tolist())
    assert lists[0] != lists[1] or lists[1] != lists[2]
    page = Pipeline({'now': Nearest(m), 'als': Nearest(ImplicitALS(4, 2))}, scorer=None, n_candidates=60).fit(inter)
    pages = [page.recommend(users, k=8, context={'hour': h}) for h in hours]
    assert not any(p.attrs['notes'] for p in pages) and len({tuple(p['item']) for p in pages}) > 1
