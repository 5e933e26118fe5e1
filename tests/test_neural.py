"What lesson 14 has no room for: files, odd tables of features, subclasses, memory"
import json
import numpy as np, pandas as pd, pytest, torch

from recsys_course.core import Damaged, Saveable, model_json
from recsys_course.data import Interactions
from recsys_course.models import DotProduct, Network
from recsys_course.neural import EmbeddingNN, RecommenderNet, WideDeep, as_categories, column_starts, encode_categories, get_emb_sz, table_width

people = pd.DataFrame(dict(age=[17, 18, 24, 25, None, 56], gender=['F', 'M', None, 'M', 'F', 'F'], occupation=['a|b', 'c', 'c', 'a|b', 'd', 'c']),
                      pd.Index(list('pqrstu'), name='user'))
films = pd.DataFrame(dict(year=pd.array([1990, 1999, 2000, None, 1919], 'Int64'), genres=['x|y', 'y', '', None, 'z|x']), pd.Index([10, 20, 30, 40, 50], name='item'))

def interactions(user_info=people, item_info=films):
    rng = np.random.default_rng(0)
    u, i = np.nonzero(rng.random((6, 5)) < .6)
    df = pd.DataFrame(dict(user=people.index[u], item=films.index[i], rating=rng.integers(1, 6, len(u))))
    return Interactions.from_df(df, user_info=user_info, item_info=item_info)

def all_pairs(n_users, n_items): return torch.cartesian_prod(torch.arange(n_users), torch.arange(n_items))

def shaken(net):
    "With weights of about 1, so that every part counts; evaluated"
    torch.manual_seed(1)
    with torch.no_grad():
        for p in net.parameters(): p.normal_()
    return net.eval()

def net_of(kind):
    inter = interactions()
    n = len(inter.users), len(inter.items)
    makers = dict(embedding=lambda: EmbeddingNN((n[0], 3), (n[1], 5), layers=(7, 6), p=.1), bare=lambda: EmbeddingNN((n[0], 3), (n[1], 5), (), None, 0),
                  numpy=lambda: EmbeddingNN(np.array([n[0], 3]), [np.int64(n[1]), 4], np.array([8]), np.array([1., 5.]), np.float64(.2)),
                  deep=lambda: RecommenderNet(*n, 4, .1, [5, 6], .3, (1, 5)), wide=lambda: WideDeep.from_inter(inter, n_factors=4, layers=[9], embed_p=.2, cat_factors=3),
                  wide_bare=lambda: WideDeep(*n), wide_unfed=lambda: WideDeep(*n, user_sizes=(3, 2), item_sizes=[4], n_tags=2))
    return shaken(makers[kind]()), all_pairs(*n)

kinds = 'embedding bare numpy deep wide wide_bare wide_unfed'.split()

@pytest.mark.parametrize('kind', kinds)
def test_save_and_load(tmp_path, kind):
    net, x = net_of(kind)
    net.save(tmp_path/'a')
    for cls in (Saveable, Network, type(net)):                          # the base classes find the right one
        back = cls.load(tmp_path/'a').eval()
        assert type(back) is type(net) and back.get_args() == net.get_args()
        assert torch.equal(back(x), net(x))                             # bit for bit
        vectors = net.user_vectors(torch.tensor([0, 3]))
        assert torch.equal(back.user_vectors(torch.tensor([0, 3])), vectors) and torch.equal(back.score_items(vectors), net.score_items(vectors))
    assert {k: v.dtype for k, v in back.state_dict().items()} == {k: v.dtype for k, v in net.state_dict().items()}
    back.save(tmp_path/'b')
    assert torch.equal(Network.load(tmp_path/'b').eval()(x), net(x))
    back.train()(x).sum().backward()                                    # it can be trained on
    assert all(p.grad is not None for p in (back.u_weight.weight, back.first.weight))
    with pytest.raises(TypeError, match='DotProduct'): DotProduct.load(tmp_path/'a')

@pytest.mark.parametrize('kind', ['embedding', 'deep', 'wide'])
def test_every_argument_is_an_attribute(kind):
    import inspect
    net, _ = net_of(kind)
    assert set(net.get_args()) == set(list(inspect.signature(type(net).__init__).parameters)[1:])
    assert set(net.get_state()) == set(net.state_dict())

@pytest.mark.parametrize('kind', ['embedding', 'deep', 'wide'])
def test_damaged_files_are_refused(tmp_path, kind):
    net, _ = net_of(kind)
    net.save(tmp_path)
    numbers, about = next(tmp_path.glob('*.safetensors')), tmp_path/'model.json'
    data, text = numbers.read_bytes(), about.read_text()
    numbers.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(Damaged, match='not the file'): Network.load(tmp_path)
    numbers.write_bytes(data[:-4])
    with pytest.raises(Damaged): Network.load(tmp_path)
    numbers.write_bytes(data)
    d = json.loads(text)
    name, value = ('user_sz', [9, 9]) if kind == 'embedding' else ('n_factors', 77)
    d['args'][name]['value'] = value                                    # arguments that the numbers do not fit
    about.write_bytes(model_json(d))
    with pytest.raises(Damaged, match='u_weight'): Network.load(tmp_path)
    about.write_text(text.replace('u_weight', 'v_weight'))
    with pytest.raises(Damaged): Network.load(tmp_path)
    about.write_text(text)
    assert type(Network.load(tmp_path)) is type(net)

@pytest.mark.parametrize('name, row, value', [('u_cats', [2, 1], 0), ('u_cats', [2, 0], 99), ('u_cats', [2, 0], -1), ('i_cats', [1, 0], 5)])
def test_categories_of_another_column_are_refused(tmp_path, name, row, value):
    "An index that would raise, or silently read another column's vector, when somebody asks"
    net, _ = net_of('wide')
    getattr(net, name)[tuple(row)] = value
    net.save(tmp_path)
    with pytest.raises(Damaged, match=name): Network.load(tmp_path)

@pytest.mark.parametrize('kind', kinds)
def test_score_items_is_forward(kind):
    net, x = net_of(kind)
    by_pairs = net(x).reshape(len(net.user_factors), -1)
    vectors = net.user_vectors(torch.arange(len(by_pairs)))
    assert torch.allclose(net.score_items(vectors), by_pairs, atol=1e-5)
    some = torch.tensor([3, 0, 3])
    assert torch.allclose(net.score_items(vectors[1:2], some), by_pairs[1:2, some], atol=1e-5)
    assert net.score_items(vectors[:0], some).shape == (0, 3)

def test_subclasses_change_what_goes_in_and_what_is_added():
    class Mine(EmbeddingNN):
        def item_vectors(self, items): return torch.cat([2*self.i_weight(items), items[:, None].float()], 1)
        def wide(self, u, i): return i[:, -1]
    net, plain = Mine((7, 3), (6, 5), y_range=None), EmbeddingNN((7, 3), (6, 5), y_range=None)
    shaken(net), plain.load_state_dict(net.state_dict())
    with torch.no_grad(): plain.eval().i_weight.weight *= 2
    x = all_pairs(7, 6)
    assert torch.allclose(net(x), plain(x) + x[:, 1], atol=1e-5)
    assert torch.allclose(net.score_items(net.user_vectors(torch.arange(7))).flatten(), net(x), atol=1e-5)

@pytest.mark.parametrize('kind', kinds)
def test_gradients_are_those_of_forward(kind):
    "What fitting a newcomer's vector needs, and training on whole lists"
    net, x = net_of(kind)
    def grads(scores):
        net.zero_grad()
        scores.sin().sum().backward()
        return [p.grad.clone() for p in net.parameters() if p.grad is not None]
    by_pairs = grads(net(x))
    v = net.user_vectors(torch.arange(len(net.user_factors)))
    v.retain_grad()
    by_lists = grads(net.score_items(v))
    assert len(by_pairs) == len(by_lists) > 2 and all(torch.allclose(a, b, atol=1e-3) for a, b in zip(by_pairs, by_lists))
    assert (v.grad.abs() > 0).any()

def test_many_users_at_once(peak_growth):
    "Hidden layers of all pairs at once would need 2 GB"
    net = EmbeddingNN((500, 20), (5000, 20), (200,)).eval()
    with torch.no_grad():
        net.score_items(net.user_vectors(torch.arange(3)))
        scores, grown = peak_growth(lambda: net.score_items(net.user_vectors(torch.arange(500))))
    assert scores.shape == (500, 5000) and grown < 100e6, f'{grown/1e6:.0f} MB'

def test_same_seed_same_bits():
    def make(seed):
        torch.manual_seed(seed)
        return WideDeep.from_inter(interactions()).state_dict()
    a, b, c = make(0), make(0), make(1)
    assert all(torch.equal(a[k], b[k]) for k in a) and not torch.equal(a['u_weight.weight'], c['u_weight.weight'])

def text_of(table): return {c: [None if pd.isna(o) else o for o in table[c]] for c in table}

def test_ages_and_years_fall_into_brackets():
    ages = pd.DataFrame(dict(age=[0, 17, 17.5, 18, 24, 25, 34, 35, 44, 45, 49, 50, 55, 56, 99, np.nan, np.inf]))
    words = ['under 18']*3 + ['18 to 24']*2 + ['25 to 34']*2 + ['35 to 44']*2 + ['45 to 49']*2 + ['50 to 55']*2 + ['56 and over']*2 + [None]*2
    assert text_of(as_categories(ages, ['age'])) == dict(age=words)
    years = pd.DataFrame(dict(year=pd.array([1989, 1990, 1999, 2000, None], 'Int64')))
    assert text_of(as_categories(years, ['year'])) == dict(year=['1980s', '1990s', '1990s', '2000s', None])
    written = pd.DataFrame(dict(age=['25-34', None], year=['old', 'new'], size=[3, 4], member=[True, False]))
    assert text_of(as_categories(written, [*written, 'nothing'])) == dict(age=['25-34', None], year=['old', 'new'], size=['3', '4'], member=['True', 'False'])
    assert as_categories(None, ['age']).shape == (0, 0)

def test_no_input_is_changed():
    before = people.copy(), films.copy()
    WideDeep.from_inter(interactions())
    assert before[0].equals(people) and before[1].equals(films)

def test_codes_of_categories():
    inter = interactions()
    codes, sizes = encode_categories(inter.user_info, ('age', 'shoe size', 'occupation', 'gender'), inter.users)
    assert sizes == (1 + 4, 1 + 3, 1 + 2) and codes.dtype == torch.int64
    assert column_starts(sizes).tolist() == [0, 5, 9] and column_starts(()).tolist() == []
    local = (codes - column_starts(sizes)).tolist()
    # sorted words: '18 to 24', '25 to 34', '56 and over', 'under 18'; 'a/b', c, d; F, M
    assert local == [[0, 0, 0], [4, 1, 1], [1, 2, 2], [1, 2, 0], [2, 1, 2], [0, 3, 1], [3, 2, 1]]
    assert encode_categories(None, ('age',), inter.users)[0].shape == (7, 0)

def test_features_of_a_model_and_unknown_ones():
    inter = interactions()
    net = WideDeep.from_inter(inter)
    assert (net.user_sizes, net.item_sizes, net.n_tags) == ((5, 3, 4), (4,), 3)
    assert net.tags.tolist() == [[0, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 0], [0, 0, 0], [1, 0, 1]]
    assert net.i_cats.flatten().tolist() == [0, 2, 2, 3, 0, 1]
    assert net.u_cats[0].tolist() == column_starts(net.user_sizes).tolist()
    shuffled = WideDeep.from_inter(interactions(people.sample(frac=1, random_state=0), films[::-1]))
    assert all(torch.equal(getattr(net, b), getattr(shuffled, b)) for b in ('u_cats', 'i_cats', 'tags'))

@pytest.mark.parametrize('info', [dict(user_info=None, item_info=None), dict(item_info=films[['year']].iloc[:2]), dict(user_info=people[[]], item_info=films.assign(genres=None))])
def test_with_little_known(info):
    inter = interactions(**info)
    net, x = shaken(WideDeep.from_inter(inter)), all_pairs(7, 6)
    assert torch.isfinite(net(x)).all() and net.tags.shape == (6, net.n_tags)
    assert torch.allclose(net.score_items(net.user_vectors(torch.arange(7))).flatten(), net(x), atol=1e-5)

def test_a_model_without_features_has_unknown_ones_of_every_column():
    net = WideDeep(4, 3, user_sizes=(3, 2), item_sizes=(2,), n_tags=2)
    assert net.u_cats.tolist() == [[0, 3]]*4 and net.i_cats.tolist() == [[0]]*3 and not net.tags.any()

def test_sizes():
    inter = interactions()
    assert get_emb_sz(inter, [3, (6, 4)]) == get_emb_sz(inter, dict(item=4, user=np.int64(3))) == [(7, 3), (6, 4)]
    for bad in ([3], [3, 4, 5], dict(film=3), [3.5, 2], [0, 2], [(8, 3), 2]):
        with pytest.raises(ValueError, match='emb_szs'): get_emb_sz(inter, bad)
    for bad in (dict(layers=(4, 0)), dict(layers=(2.5,)), dict(y_range=(5, 1)), dict(embed_p=2)):
        with pytest.raises(ValueError): EmbeddingNN((6, 3), (9, 4), **bad)
    assert EmbeddingNN((6, 3), (9, 4), iter([4, 5])).layers == (4, 5)
    assert WideDeep(6, 9, iter([3, 2])).widths == (30 + 2*8, 30)
    with pytest.raises(ValueError, match=r'layers\[1\]=0'): EmbeddingNN((6, 3), (9, 4), (4, 0))

def test_movielens_categories_are_those_of_numbers_cut_by_hand(movielens):
    "Another way to the same groups: pandas' own codes of ages cut at the last age of each bracket, and of years // 10"
    from recsys_course.datasets import load_movielens
    inter = load_movielens('100k', path=movielens)
    net = WideDeep.from_inter(inter)
    ages = pd.cut(inter.user_info.age, [-np.inf, 17, 24, 34, 44, 49, 55, np.inf], labels=False)
    columns = [(net.u_cats[:, 0], ages), (net.u_cats[:, 1], inter.user_info.gender), (net.u_cats[:, 2], inter.user_info.occupation),
               (net.i_cats[:, 0], inter.item_info.year.astype(float)//10)]
    assert (net.user_sizes, net.item_sizes) == ((8, 3, 22), (9,))
    for codes, by_hand in columns:
        vocab = inter.users if len(codes) == len(inter.users) else inter.items
        pairs = set(zip(codes[1:].tolist(), pd.factorize(by_hand.reindex(vocab.ids), use_na_sentinel=True)[0].tolist()))
        assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})
        assert all((b == -1) == (a == 0) for a, b in pairs if -1 in {b for _, b in pairs})
    assert torch.equal(net.tags[1:], torch.tensor(inter.item_info.reindex(inter.items.ids).genres.str.get_dummies('|').to_numpy(np.float32)))

# --- odd settings and tables

@pytest.mark.parametrize('setting', [dict(embed_p=np.nan), dict(embed_p='a'), dict(embed_p=None), dict(embed_p=1), dict(p=2), dict(p=-1), dict(layers=5), dict(layers=None), dict(layers='ab'), dict(layers=(None,)), dict(layers=(2.5,)),
                                     *[dict(user_sz=o) for o in (6, (6,), (6, 3, 1), ('6', 3), (6.5, 3), (0, 3), (6, -1), None, (True, 3), (6, 3.5), (6, None))]])
def test_settings_of_networks(setting):
    with pytest.raises(ValueError, match=next(iter(setting))): EmbeddingNN(**{**dict(user_sz=(6, 3), item_sz=(9, 4)), **setting})

@pytest.mark.parametrize('setting', [dict(user_sizes=(0,)), dict(user_sizes=(-1,)), dict(user_sizes=3), dict(item_sizes=(2.5,)), dict(item_sizes=('a',)), dict(item_sizes=(None,)), dict(n_tags=-1), dict(n_tags=1.5), dict(n_tags='a'), dict(n_tags=None)])
def test_settings_of_wide_networks(setting):
    with pytest.raises(ValueError, match=next(iter(setting))): WideDeep(4, 3, **setting)

def test_settings_written_as_floats_work():
    assert EmbeddingNN((6., 3.), np.array([9., 4.]), layers=[5.]).user_sz == (6, 3)

@pytest.mark.parametrize('bad', [['a', 'b'], [None, 2], [(4,), 2], [np.nan, 2], [np.inf, 2], 5, 'ab', [True, 2], dict(user='3'), [[7, 2, 1], 2], [(7, None), 2]])
def test_sizes_that_are_none(bad):
    with pytest.raises(ValueError, match='emb_szs'): get_emb_sz(interactions(), bad)

def test_sizes_of_any_sequence():
    for wish in (iter([3, 2]), np.array([3, 2]), (3., np.int64(2)), [[7, 3], (6, 2)]): assert get_emb_sz(interactions(), wish) == [(7, 3), (6, 2)]
    for bad in (0, -1, 2.5, 'a', None, True):
        with pytest.raises(ValueError, match='n_rows'): table_width(bad)

@pytest.mark.parametrize('x', [torch.tensor([1, 1]), torch.tensor([[1, 1, 1]]), torch.tensor([[1]])])
def test_pairs_are_pairs(x):
    "A third column used to be ignored"
    with pytest.raises(ValueError, match=r'\(n, 2\)'): EmbeddingNN((6, 3), (9, 4))(x)

n_odd = 33
odd = dict(nan=[np.nan]*n_odd, none=[None]*n_odd, inf=[np.inf, -np.inf, *[1.]*(n_odd-2)], huge=[1e308, -1e308, *[1.]*(n_odd-2)], mixed=[1, 'a', None]*11, lists=[['a', 'b'], ['b'], []]*11, dicts=[{'a': 1}]*n_odd, sets=[{'a'}, {'b'}, set()]*11,
           bools=[True, False, None]*11, categories=pd.Categorical([1, 2, 3]*11), Int64=pd.array([1, None, 3]*11, 'Int64'), string=pd.array(['u', None, 'v']*11, 'string'), dates=pd.date_range('2020', periods=n_odd), complex=[1j]*n_odd, text='', uint64=np.full(n_odd, 2**64-1, np.uint64))

@pytest.mark.parametrize('name', odd)
def test_odd_columns(name):
    items = pd.DataFrame(dict(year=odd[name], genres=odd[name], age=odd[name]), range(n_odd))
    df = pd.DataFrame(dict(user=[0, 1, 2], item=[0, 1, 2], rating=[1, 2, 3]))
    inter = Interactions.from_df(df, item_info=items, user_info=items.rename_axis('user'))
    net = shaken(WideDeep.from_inter(inter, user_cols=('age', 'year'), item_cols=('age', 'year')))
    assert torch.isfinite(net(all_pairs(*net.u_cats.shape[:1], n_odd))).all()

def test_whole_numbers_are_written_the_same_with_and_without_a_gap():
    zips = [pd.Series([1, 2, 3]), pd.Series([1., 2, np.nan]), pd.Series(pd.array([1, 2, None], 'Int64')), pd.Series([1, 2, None], dtype=object)]
    assert [as_categories(pd.DataFrame({'zip': z}), 'zip').zip.tolist()[:2] for z in zips] == [['1', '2']]*4

def test_ages_below_0_are_no_ages():
    assert text_of(as_categories(pd.DataFrame(dict(age=[-1, 0])), ['age'])) == dict(age=[None, 'under 18'])

def test_one_column_by_its_name():
    "A text was read as a list of letters, and no column was found"
    assert WideDeep.from_inter(interactions(), user_cols='age', item_cols=None).user_sizes == (5,)
    with pytest.raises(ValueError, match='two columns'): as_categories(pd.DataFrame([[1, 2]], columns=['age', 'age']), ['age'])
    with pytest.raises(TypeError, match='Interactions'): WideDeep.from_inter(people)

def test_titles_as_tags_cost_no_width(peak_growth):
    "A weight for each of 3,000 users and 20,000 words would be 240 MB, a flag for each title and word 1.6 GB"
    N = 20_000
    df = pd.DataFrame(dict(user=np.arange(3000), item=np.arange(3000), rating=3))
    items = pd.DataFrame(dict(title=[f'Thing {k}' for k in range(N)], genres=[f'g{k%20}' for k in range(N)]), range(N))
    inter = Interactions.from_df(df, item_info=items)
    with pytest.warns(UserWarning, match="'title' is left out.*20,000 different words"):
        net, grown = peak_growth(lambda: WideDeep.from_inter(inter, item_cols='title', tag_col='title', n_factors=4))
    assert net.n_tags == 0 and net.item_sizes == () and grown < 150e6, f'{grown/1e6:.0f} MB'

@pytest.mark.parametrize('bad', [np.nan, np.inf])
def test_weights_that_are_no_numbers(tmp_path, bad):
    from safetensors.numpy import load_file, save_file
    import hashlib
    net, _ = net_of('wide')
    net.save(tmp_path)
    numbers, about = next(tmp_path.glob('*.safetensors')), tmp_path/'model.json'
    arrays = load_file(numbers)
    arrays['first.weight'] = arrays['first.weight'].copy()
    arrays['first.weight'][0, 0] = bad
    save_file(arrays, numbers)
    data = numbers.read_bytes()
    about.write_bytes(model_json({**json.loads(about.read_text()), 'bytes': len(data), 'sha256': hashlib.sha256(data).hexdigest()}))
    with pytest.raises(Damaged, match='first.weight'): Network.load(tmp_path)
