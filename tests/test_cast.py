"The cast, the reader's films, cards and style"
import json

import numpy as np, pandas as pd, pytest

from recsys_course import cast
from recsys_course.data import Interactions
from recsys_course.implicit import to_implicit
from recsys_course.recommender import ItemKNN, Popular, User
from recsys_course.simulate import World

@pytest.fixture(autouse=True)
def own_home(monkeypatch, tmp_path): monkeypatch.setenv('RECSYS_COURSE_HOME', str(tmp_path/'home'))

TITLES = ['Star Wars (1977)', 'Alien (1979)', 'Blade Runner (1982)', 'Toy Story (1995)', 'Titanic (1997)', 'Wrong Trousers, The (1993)', 'Léon (1994)', 'Alien (2079)', 'Star Trek (1979)', 'Heat & <b>Dust</b> (1983)']

def films(values=(1, 2, 3, 4, 5), titles=TITLES, genres=True, seed=0):
    "A log of 30 people and the films of TITLES; the first films have most ratings"
    rng = np.random.default_rng(seed)
    rows = [(u, f'm{i}', rng.choice(values)) for u in range(30) for i in range(len(titles)) if rng.random() < 1 - i/(len(titles) + 2)]
    info = pd.DataFrame(dict(title=titles, genres=['Sci-Fi' if i % 2 else 'Drama|Comedy' for i in range(len(titles))]), index=[f'm{i}' for i in range(len(titles))])
    return Interactions.from_df(pd.DataFrame(rows, columns=['user', 'item', 'rating']), item_info=info if genres else info[['title']])

def test_the_table_is_part_of_the_opinions():
    t, o = cast.table(), cast.opinions()
    assert t.notna().sum().tolist() == [4, 3, 2, 3, 4] and (t.isna() | (t == o)).all().all()
    assert o.loc['eve'].tolist() == [5, 2, 5, 2, 1]
    log = cast.interactions()
    assert {(r.user, r['item']): r.rating for _, r in log.df.iterrows()} == {k: v for k, v in t.stack().dropna().items()}
    assert log.item_info.loc['Robot Picnic', 'genres'] == 'sci-fi|comedy'

def test_the_table_is_shown_with_blanks_and_marks():
    page = cast.show(cast.table(), mark=[('eve', 'Robot Picnic')]).to_html()
    assert 'nan' not in page.lower() and page.count('#e07b3955') == 1

@pytest.mark.parametrize('text,plain', [('Wrong Trousers, The (1993)', 'the wrong trousers'), ('Léon (1994)', 'leon'), (' M (1931) ', 'm'), ('2001: A Space Odyssey (1968)', '2001: a space odyssey'), ('1984', '1984'),
                                        ("Avventura, L' (1960)", "l' avventura"), ('Misérables, Les (1995)', 'les miserables'), ('', ''), ('ΑΒΓ (1999)', 'αβγ')])
def test_plain_titles(text, plain): assert cast.plain_title(text) == plain

@pytest.mark.parametrize('text,want', [('star wars', 'm0'), ('STAR', 'm0'), ('alien', 'm1'), ('the wrong trousers', 'm5'), ('trousers', 'm5'), ('leon', 'm6'), ('Léon', 'm6'), ('star trek', 'm8'), ('<b>', 'm9')])
def test_a_part_of_a_title_finds_the_best_known(text, want): assert cast.find_film(text, films()) == want

@pytest.mark.parametrize('text', ['', '  ', 'no such film', 'alienn', '(1979)'])
def test_what_is_not_there_is_refused(text):
    with pytest.raises(ValueError, match='no title holds'): cast.find_film(text, films())

def test_near_titles_are_named():
    with pytest.raises(ValueError, match='do you mean .*titanic'): cast.find_film('titanik', films())

@pytest.mark.parametrize('bad', [{'alien': 6}, {'alien': 0}, {'alien': '5'}, {'alien': None}, {'alien': float('nan')}, {}])
def test_only_stars_are_kept(bad):
    with pytest.raises(ValueError): cast.keep_films(bad, films())
    assert not cast.reader_file().exists()

def test_your_list_comes_back_with_other_data():
    cast.keep_films({'leon': 5, 'trousers': 1, 'alien': 3}, films())
    other = films(titles=TITLES[::-1], seed=3)                        # other ids for the same titles
    title = other.item_info.title
    assert {title[i]: r for i, r in cast.my_films(other).items()} == {'Léon (1994)': 5, 'Wrong Trousers, The (1993)': 1, 'Alien (1979)': 3}
    cast.forget_films()
    assert set(cast.my_films(other)) != {'m3', 'm4', 'm8'}
    cast.forget_films()                                               # twice does no harm

@pytest.mark.parametrize('values', [(1, 2, 3, 4, 5), (0, 1), (.5, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5), (-10, 0, 10), (1, 10), (20, 100)])
def test_stars_go_onto_the_scale_of_the_data(values):
    cast.keep_films({'leon': 5, 'trousers': 1, 'alien': 3}, films())
    inter = films(values)
    mine = {inter.item_info.title[i][:4]: r for i, r in cast.my_films(inter).items()}
    assert mine['Léon'] == max(values) and mine['Wron'] == min(values) and min(values) <= mine['Alie'] <= max(values)
    assert set(mine.values()) <= set(map(float, values))
    ItemKNN().fit(inter).recommend(cast.me(inter), k=3)               # and a model takes them

def test_clicks_hold_what_you_like_and_lists_hold_none_of_yours():
    cast.keep_films({'leon': 5, 'trousers': 1, 'alien': 4}, films())
    clicks = to_implicit(films())
    assert cast.my_films(clicks) == {'m6': 1, 'm1': 1}
    shown = cast.for_me(Popular().fit(clicks), clicks, k=20).df
    assert not set(shown['item']) & {'m6', 'm5', 'm1'} and len(shown) == 7

@pytest.mark.parametrize('text', ['', '{', '[]', '3', 'null', '{"Alien (1979)": "five"}', '{"Alien (1979)": 9}', '\x00'])
def test_a_damaged_list_is_as_none(text):
    want = cast.my_films(films())
    cast.reader_file().parent.mkdir(parents=True)
    cast.reader_file().write_text(text)
    assert cast.my_films(films()) == want and len(want) == 5

def test_data_without_titles_or_genres():
    with pytest.raises(ValueError, match='no titles'): cast.my_films(Interactions.from_df(pd.DataFrame(dict(user=[1, 2], item=[1, 2], rating=[3, 4]))))
    inter = films(titles=[f'Film {k}' for k in range(9)], genres=False)
    assert sorted(cast.my_films(inter).values(), reverse=True) == [5, 5, 4, 4, 2]
    assert cast.somebody(inter, 1, 10) in set(inter.df.user)
    assert cast.cards(inter.items.ids[:3], inter)._repr_html_().count('<b>') == 3

def test_somebody_has_the_clearest_taste():
    rng = np.random.default_rng(1)
    rows = [(u, i, (5 if i % 3 == 0 else 1) if u == 7 else rng.choice([2, 3, 4])) for u in range(20) for i in range(60) if rng.random() < .9]
    info = pd.DataFrame(dict(title=[f't{i}' for i in range(60)], genres=['Western' if i % 3 == 0 else 'Drama' for i in range(60)]))
    inter = Interactions.from_df(pd.DataFrame(rows, columns=['user', 'item', 'rating']), item_info=info)
    assert cast.somebody(inter) == 7 and (cast.shelf(7, inter).genres == 'Western').all()

def test_a_shelf_of_a_user_a_dict_and_a_person():
    inter = films()
    who = inter.df.user.iloc[0]
    assert cast.shelf(who, inter, 3).rating.is_monotonic_decreasing and len(cast.shelf(who, inter, 3)) == 3
    assert cast.shelf({'m1': 2, 'm2': 5}, inter).index.tolist() == ['m2', 'm1'] == cast.shelf(User(history={'m1': 2, 'm2': 5}), inter).index.tolist()
    with pytest.raises(KeyError): cast.shelf('nobody', inter)

def test_cards_show_no_markup_of_the_data():
    page = cast.cards(['m9'], films())._repr_html_()
    assert '&lt;b&gt;Dust' in page and '<b>Dust' not in page and '1983' in page and '(1983)' not in page
    strip = cast.cards(pd.DataFrame(dict(item=['x'], title=['A'], genres=[None], score=[1.5])), value='score')
    assert '1.5' in strip._repr_html_() and repr(strip) == 'A'

def test_one_film_is_kept_too_and_others_join_it():
    usual = cast.my_films(films())
    cast.keep_films({'wrong trousers': 1}, films())
    title = films().item_info.title
    mine = {title[i]: r for i, r in cast.my_films(films()).items()}
    assert mine['Wrong Trousers, The (1993)'] == 1 and len(mine) >= len(usual) > 1

def test_the_world_has_films_for_everybody():
    inter = World(n_users=80, n_items=60).sample(1500)
    assert len(cast.my_films(inter)) == 5 and set(cast.my_films(inter)) <= set(inter.items.ids)
    assert len(cast.for_me(ItemKNN().fit(inter), inter, k=4).df) == 4

def test_the_form_keeps_what_is_added():
    pytest.importorskip('ipywidgets')
    inter = films()
    box, hits, row, mine = cast.pick_films(inter).children
    for text, stars in (('léon', 5), ('trek', 2)):
        box.value = text
        hits.value = hits.options[0]
        row.children[0].value = stars
        row.children[1].click()
    assert json.loads(cast.reader_file().read_text(encoding='utf-8')) == {'Léon (1994)': 5, 'Star Trek (1979)': 2}
    assert '★★ Star Trek' in mine.value
    row.children[2].click()
    assert not cast.reader_file().exists()

def test_a_slider_draws_the_value_it_stands_at():
    pytest.importorskip('ipywidgets')
    drawn = []
    def draw(ax, v):
        drawn.append(v)
        ax.plot([0, 1], [0, v])
    box = cast.slider(draw, [0, 2, 5, 10], 'damping')
    knob, picture = box.children
    assert repr(box) == box._repr_mimebundle_()['text/plain'] == 'A slider for damping: run this cell to move it.'      # what a printed page shows
    assert drawn == [0, 5, 10] and knob.value == 5
    knob.value = 2
    assert drawn[-1] == 2 and len(picture.outputs) == 1
    knob.value = 10
    assert drawn[-1] == 10 and len(picture.outputs) == 1        # the old picture is gone
    with pytest.raises(ValueError, match='too few'): cast.slider(draw, [1, 2])
