"Pages and API through a client, the store against its files, models that come and go, and real servers that are killed under load"

import json, os, re, signal, socket, sqlite3, subprocess, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser

import httpx, numpy as np, pandas as pd, pytest
from hypothesis import given, settings as how, strategies as st, HealthCheck
from starlette.testclient import TestClient

from recsys_course import cast, serve as module
from recsys_course.core import LOG
from recsys_course.data import Interactions
from recsys_course.implicit import EASE, ImplicitALS, to_implicit
from recsys_course.offpolicy import ips
from recsys_course.recommender import Bias, ItemKNN, Popular, Recommender
from recsys_course.serve import (Models, Settings, Store, copy_store, create_app, exploration_slot, share_arrays, write_lists)
from recsys_course.simulate import World

pytestmark = pytest.mark.filterwarnings('ignore::recsys_course.recommender.PoorModelWarning')

@pytest.fixture(scope='module')
def inter(): return World(n_users=200, n_items=300).sample(8_000)

@pytest.fixture(scope='module')
def model(inter): return ItemKNN().fit(inter)

@pytest.fixture
def store(tmp_path):
    s = Store(tmp_path/'s.db')
    yield s
    s.close()

@pytest.fixture
def client(model, store, inter):
    with TestClient(create_app(model, store, Settings(seed=0, rate=0), inter), base_url='http://localhost') as c: yield c

def film(client, n=0): return client.get('/items', params=dict(k=50)).json()['items'][n]['item']
def token(html): return re.search(r'name="token" value="(\w+)"', html)[1]

# ---- Exploration

@pytest.mark.parametrize('n,k,explore', [(10, 3, .3), (3, 3, .3), (5, 9, 1.), (1, 4, .5), (8, 1, 0.)])
def test_exploration_slot_chances_are_those_of_many_draws(n, k, explore):
    rng, counts, told = np.random.default_rng(0), np.zeros(n), {}
    for _ in range(4000):
        places, chances = exploration_slot(n, k, explore, rng)
        assert list(places[:-1]) == list(range(len(places) - 1)) and (chances[:-1] == 1).all() and len(places) == min(n, k)
        counts[places[-1]] += 1
        told[places[-1]] = chances[-1]
    for place, chance in told.items(): assert abs(counts[place]/4000 - chance) < 4*(chance*(1 - chance)/4000)**.5 + 1e-9
    if explore: assert abs(sum(told.values()) - 1) < 1e-9

def test_log_of_an_exploring_service_gives_back_the_truth(model, store, inter):
    with TestClient(create_app(model, store, Settings(seed=1, rate=0, explore=.5, pool=5))) as c:
        who = [int(u) for u in inter.users.ids[:80]]
        for u in who:
            items = c.post('/recommend', json=dict(user=u, k=2)).json()
            last = items['items'][-1]
            if last['propensity'] < .5: c.post('/feedback', json=dict(user=u, item=last['item'], kind='click', list=items['list']))
    log = store.log()
    assert list(log.columns[:7]) == LOG and set(log['rank']) == {1, 2}
    last = log[log['rank'] == 2].reset_index(drop=True)
    assert set(last.response) == {0, 1} and set(last.propensity.round(6)) == {.6, .1}
    always_explore = ips(last.assign(target=np.where(last.propensity < .5, .2, .2)))
    assert always_explore.low <= .8 <= always_explore.high          # 4 of 5 places of the pool are clicked

# ---- The API

def test_recommend_by_id_history_and_newcomer(client, model):
    user = int(model.users.ids[0])
    told = client.post('/recommend', json=dict(user=user, k=7, explain=True)).json()
    expected = model.recommend(user, 7)
    assert [o['item'] for o in told['items']] == expected['item'].tolist() and np.allclose([o['score'] for o in told['items']], expected.score)
    assert [o['rank'] for o in told['items']] == list(range(1, 8)) and all(o['propensity'] == 1 for o in told['items']) and told['logged']
    assert told['items'][0]['because'] == [i for i in model.because(user, told['items'][0]['item'], 2)['item'].tolist()]
    a, b = film(client), film(client, 1)
    told = client.post('/recommend', json=dict(history={str(a): 5, str(b): 1}, k=3)).json()
    assert not {a, b} & {o['item'] for o in told['items']}
    assert client.post('/recommend', json=dict(user=user, items=[a, b], k=5)).json()['items'] is not None
    assert a not in [o['item'] for o in client.post('/recommend', json=dict(user=user, exclude=[a], k=100)).json()['items']]

def test_a_rating_counts_in_the_next_list(client):
    assert client.post('/recommend', json=dict(user='zoe')).status_code == 404
    a = film(client)
    assert client.post('/feedback', json=dict(user='zoe', item=a, rating=5)).json() == dict(kept=True)
    first = client.post('/recommend', json=dict(user='zoe', k=5)).json()['items']
    client.post('/feedback', json=dict(user='zoe', item=first[0]['item'], kind='dismiss'))
    client.post('/feedback', json=dict(user='zoe', item=first[1]['item'], rating=1))
    second = [o['item'] for o in client.post('/recommend', json=dict(user='zoe', k=5)).json()['items']]
    assert not {a, first[0]['item'], first[1]['item']} & set(second)

def test_known_people_keep_their_past(client, model, inter):
    user, a = int(model.users.ids[3]), None
    a = next(i for i in inter.items.ids.tolist() if i not in set(inter.history(user)['item']))
    client.post('/feedback', json=dict(user=user, item=a, rating=5))
    told = [o['item'] for o in client.post('/recommend', json=dict(user=user, k=100)).json()['items']]
    assert a not in told and not set(told) & set(inter.history(user)['item'])

@pytest.mark.parametrize('path,body,status,words', [
    ('/recommend', dict(), 422, 'say for whom'), ('/recommend', dict(user='nobody'), 404, "unknown user: 'nobody'"), ('/recommend', dict(user=1, k=0), 422, 'k must be a whole number from 1 to 100'),
    ('/recommend', dict(user=1, k=101), 422, '101'), ('/recommend', dict(user=1, k=True), 422, 'True'), ('/recommend', dict(user=[1]), 422, 'user must be a text'),
    ('/recommend', dict(usr=1), 422, "unknown field 'usr'"), ('/recommend', dict(history={'Alien 9': 5}), 404, "unknown item: 'Alien 9'"), ('/recommend', dict(history={'1': 99}), 422, 'off the scale'),
    ('/recommend', dict(history=[1]), 422, 'without a rating'), ('/recommend', dict(history={}, context={'hour': 8}), 422, 'looks at no moment'), ('/recommend', dict(profile={'age': 3}), 422, 'can do nothing with a profile'),
    ('/recommend', dict(history={str(k): 1 for k in range(1001)}), 422, '1,000 is the most'), ('/similar', dict(item='x'), 404, "unknown item: 'x'"), ('/similar', dict(), 422, 'item is missing'),
    ('/feedback', dict(user='a', item=1), 422, 'rating is missing'), ('/feedback', dict(user='a', item=1, rating=11), 422, 'off the scale'), ('/feedback', dict(user='a', item=1, kind='love'), 422, "'rating', 'click' or 'dismiss'"),
    ('/feedback', dict(user='a', item=1, kind='click', rating=3), 422, 'has no rating'), ('/feedback', dict(user='\x00', item=1, rating=3), 422, 'printable'), ('/forget', dict(), 422, 'user is missing')])
def test_refusals_in_words(client, inter, path, body, status, words):
    first = int(inter.items.ids[0])                                              # where 1 stands for an item
    if body.get('item') == 1: body = {**body, 'item': first}
    if body.get('history') in ([1], {'1': 99}): body = dict(history=[first] if body['history'] == [1] else {str(first): 99})
    res = client.post(path, json=body)
    assert res.status_code == status and words in res.json()['error'], res.text

def test_bodies_that_are_no_json_or_too_long(client):
    head = {'content-type': 'application/json'}
    for body in (b'', b'{', b'[1]', b'\xff', b'{"user": 1e999}', b'{"user": NaN}', b'['*60_000, b'"x"'): assert client.post('/recommend', content=body, headers=head).status_code in (400, 422)
    assert client.post('/recommend', content=b' '*70_000, headers=head).status_code == 413
    assert client.post('/recommend', content=(b' '*40_000 for _ in range(2)), headers=head).status_code == 413
    assert client.post('/recommend', data=dict(user=1)).status_code == 415
    assert client.get('/recommend').status_code == 405 and client.get('/nothing').status_code == 404
    assert client.get('/items', params=dict(q='x'*201)).status_code == 422 and client.get('/items?k=0').status_code == 422

anything = st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20), lambda o: st.lists(o, max_size=4) | st.dictionaries(st.text(max_size=8), o, max_size=4), max_leaves=8)
fields = st.sampled_from(['user', 'history', 'profile', 'context', 'k', 'items', 'exclude', 'explain', 'item', 'kind', 'rating', 'list'])

@given(path=st.sampled_from(sorted(module.API)), body=st.dictionaries(fields | st.text(max_size=8), anything, max_size=4) | anything, raw=st.binary(max_size=40), as_bytes=st.booleans())
@how(max_examples=int(os.environ.get('RECSYS_COURSE_EXAMPLES', 150)), deadline=None, suppress_health_check=list(HealthCheck))
def test_nothing_that_comes_in_breaks_the_server(client, path, body, raw, as_bytes):
    data = raw if as_bytes else json.dumps(body).encode()
    res = client.post(path, content=data, headers={'content-type': 'application/json'})
    assert res.status_code < 500, (path, body, res.text)
    assert 'Traceback' not in res.text and '/work' not in res.text and 'site-packages' not in res.text

def test_the_openapi_page_describes_every_route(client):
    paths = client.get('/openapi.json').json()['paths']
    assert set(paths) == {*module.API, '/items', '/health', '/ready', '/metrics'}
    for route in module.API: assert set(paths[route]['post']['requestBody']['content']['application/json']['schema']['properties']) == set(module.API[route][1])
    assert '/recommend' in client.get('/api').text

def test_keys_hosts_rates_and_headers(model, store):
    s = Settings(api_key='secret', hosts=('localhost',), rate=2)
    with TestClient(create_app(model, store, s), base_url='http://localhost') as c:
        assert c.post('/similar', json=dict(item=1)).status_code == 401
        assert c.post('/similar', json=dict(item=int(model.items.ids[0])), headers=dict(authorization='Bearer secret')).status_code == 200
        assert c.get('/health', headers=dict(host='evil.example')).status_code == 421
        head = c.get('/health').headers
        assert "default-src 'none'" in head['content-security-policy'] and head['x-content-type-options'] == 'nosniff' and 'server' not in head and head['cache-control'] == 'no-store'
        answers = [c.get('/health').status_code for _ in range(6)]
        assert 429 in answers

def test_a_bug_shows_nothing_but_a_sentence(model, store, monkeypatch, caplog):
    with TestClient(create_app(model, store, Settings(rate=0)), raise_server_exceptions=False) as c:
        monkeypatch.setattr(type(model), 'similar_items', lambda *a, **k: 1/0)
        res = c.post('/similar', json=dict(item=int(model.items.ids[0])))
        assert res.status_code == 500 and 'division' not in res.text and 'ZeroDivisionError' in caplog.text

def test_figures(client, model):
    for _ in range(5): client.post('/recommend', json=dict(user=int(model.users.ids[0])))
    client.post('/recommend', json={})
    text = client.get('/metrics').text
    assert 'recsys_requests_total{route="/recommend",status="200"} 5' in text and 'status="422"} 1' in text
    assert 'recsys_seconds_count{route="/recommend"} 6' in text
    for line in text.splitlines(): assert re.fullmatch(r'# TYPE \w+ \w+|\w+(\{[^}]*\})? [-+.\de]+', line), line

def test_too_many_who_wait(model, store):
    app = create_app(model, store, Settings(rate=0, waiting=0))
    with TestClient(app) as c:
        res = c.post('/recommend', json=dict(user=int(model.users.ids[0])))
        assert res.status_code == 503 and res.headers['retry-after'] == '1'
        assert c.get('/health').status_code == 200 and c.get('/ready').status_code == 503

def test_models_of_yes_and_of_no_history(store, inter, tmp_path):
    for k, m in enumerate((EASE().fit(to_implicit(inter, 4)), Popular().fit(inter), Bias().fit(inter))):
        with TestClient(create_app(m, tmp_path/f'{k}.db', Settings(rate=0)), base_url='http://localhost') as c:
            a = film(c)
            assert c.get('/').status_code == 200
            assert c.post('/feedback', json=dict(user='zoe', item=a, rating=float(m.scale[1]))).status_code == 200
            assert len(c.post('/recommend', json=dict(user='zoe', k=4, explain=True)).json()['items']) == 4

# ---- Pages

class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.open_label, self.labels = [], False, set()
        self.feed(text)
    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == 'label': self.labels.add(dict(attrs).get('for'))

def test_rate_dismiss_and_forget_without_javascript(client, store):
    html = client.get('/').text
    assert '<script' not in html and 'Rate a few films' in html
    a = film(client, 3)
    res = client.post('/rate', data=dict(token=token(html), item=a, rating='5', back='/'))
    assert res.status_code == 200 and '1 rated' in res.text and 'Because of' in res.text and 'you gave it 5' in res.text
    dropped = re.search(r'name="item" value="(\d+)"', res.text)[1]
    html = client.post('/rate', data=dict(token=token(html), item=dropped, dismiss='1', back='/')).text
    assert f'value="{dropped}"' not in html
    assert client.get(f'/item/{a}').text.count('You gave it 5') == 1
    assert 'not interested' in client.get('/me').text
    person = store.read('SELECT person FROM ratings')[0][0]
    html = client.post('/me', data=dict(token=token(client.get('/me').text))).text
    assert 'You are forgotten' in html
    for t in ('people', 'ratings', 'events', 'shown'): assert not store.read(f'SELECT * FROM {t} WHERE person = ?', person)

def test_forms_of_other_pages_are_refused(client):
    html = client.get('/').text
    good = dict(token=token(html), item=film(client), rating='5')
    assert client.post('/rate', data={**good, 'token': 'x'}).status_code == 403
    assert client.post('/rate', data=good, headers={'sec-fetch-site': 'cross-site'}).status_code == 403
    assert client.post('/rate', data=good, headers=dict(origin='https://evil.example')).status_code == 403
    client.cookies.clear()
    assert client.post('/rate', data=good).status_code == 403
    assert client.post('/operator', data=dict(token='x', train='1')).status_code == 403

def test_no_way_out_by_back(client):
    html = client.get('/').text
    for back in ('//evil.example', 'https://evil.example', '/\\evil', '/a b', 'javascript:1'):
        res = client.post('/rate', data=dict(token=token(html), item=film(client), rating='4', back=back), follow_redirects=False)
        assert res.headers['location'] == '/', back

def test_titles_are_shown_and_never_run(store, inter):
    evil = '<script>alert(1)</script>"\' onerror=x &amp; \u202e'
    info = pd.DataFrame(dict(title=[evil]*len(inter.items.ids), genres=['<b>x</b>']*len(inter.items.ids)), pd.Index(inter.items.ids, name='item'))
    bad = Interactions.from_df(inter.df, item_info=info)
    with TestClient(create_app(ItemKNN().fit(bad), store, Settings(rate=0), bad), base_url='http://localhost') as c:
        html = c.get('/').text
        c.post('/rate', data=dict(token=token(html), item=film(c), rating='5'))
        for path in ('/', '/search?q=script', f'/item/{film(c)}', '/me', '/search?q=%3Cscript%3E"\''):
            page = Page(c.get(path).text)
            assert not {t for t, _ in page.tags} & {'script', 'b', 'iframe', 'object'}, path
            assert not [n for _, attrs in page.tags for n in attrs if n.startswith('on')]

def test_labels_headings_and_links(client, model):
    for path in ('/', '/search?q=a', '/me', '/api', '/operator', f'/item/{film(client)}'):
        text = client.get(path).text
        page = Page(text)
        ids = [a['id'] for _, a in page.tags if 'id' in a]
        assert len(ids) == len(set(ids)) and sum(t == 'h1' for t, _ in page.tags) == 1 and ('html', dict(lang='en')) in page.tags
        for t, a in page.tags:
            if t == 'input' and a.get('type') != 'hidden' and 'hidden' not in a: assert a['id'] in page.labels, (path, a)
            for name in ('src', 'href', 'action'): assert a.get(name, '/').startswith(('/', '#')), (path, a)

def test_the_operator_goes_back_a_version(model, inter, store, tmp_path):
    ItemKNN(k=5).fit(inter).save(tmp_path/'m/one')
    app = create_app(tmp_path/'m', store, Settings(rate=0, operator_key='key', poll=60), inter, shadow=Popular().fit(inter), monitor=type('M', (), dict(alarms=lambda self: ['lists repeat']))())
    with TestClient(app, base_url='http://localhost') as c:
        first = app.state.service.models.now.name
        ItemKNN(k=6).fit(inter).save(tmp_path/'m/two')
        app.state.service.tick()
        assert app.state.service.models.now.name != first
        html = c.get('/operator').text
        assert 'Key' in html and 'p95' not in html
        assert c.post('/operator', data=dict(token=token(html), key='no')).status_code == 403
        html = c.post('/operator', data=dict(token=token(html), key='key')).text
        c.post('/recommend', json=dict(user=int(inter.users.ids[0])))
        html = c.get('/operator').text
        assert 'p95' in html and f'Serve {first}' in html and 'lists repeat' in html
        html = c.post('/operator', data=dict(token=token(html), pin=first)).text
        assert app.state.service.models.now.name == first and 'Serve the newest' in html
        c.post('/operator', data=dict(token=token(html), pin=''))
        assert app.state.service.models.now.name != first
        app.state.service.aside.submit(int).result()
        assert 'shadow shares' in c.get('/operator').text and 'recsys_shadow_overlap' in c.get('/metrics').text

# ---- The store

def test_forgetting_leaves_no_byte(tmp_path):
    s = Store(tmp_path/'f.db')
    for k in range(300): s.give(f'secret-person-{k % 3}', f'item-{k}', 5.)
    s.show('secret-person-0', ['a', 'b'], [1., 2.], [1, 1], 'l').result()
    assert s.forget('secret-person-0') > 200
    left = b''.join(p.read_bytes() for p in tmp_path.glob('f.db*'))
    assert b'secret-person-0' not in left and b'secret-person-1' in left
    s.close()

def test_a_locked_database_waits_and_then_says_so(model, tmp_path):
    s = Store(tmp_path/'l.db', seconds=.3)
    with TestClient(create_app(model, s, Settings(rate=0, poll=60)), base_url='http://localhost') as c:
        a, user = film(c), int(model.users.ids[0])
        other = sqlite3.connect(tmp_path/'l.db', isolation_level=None)
        other.execute('BEGIN IMMEDIATE')
        res = c.post('/feedback', json=dict(user='zoe', item=a, rating=4))
        assert res.status_code == 503 and 'could not be kept' in res.json()['error']
        assert c.post('/recommend', json=dict(user=user)).json()['logged'] is False         # a list all the same
        threading.Timer(.1, lambda: None).start()
        other.execute('COMMIT')
        assert c.post('/feedback', json=dict(user='zoe', item=a, rating=4)).status_code == 200
        other.close()
    s.close()

def test_a_full_disk(model, store, monkeypatch):
    with TestClient(create_app(model, store, Settings(rate=0, poll=60)), base_url='http://localhost') as c:
        a = film(c)
        def full(self, jobs): raise sqlite3.OperationalError('database or disk is full')
        with monkeypatch.context() as m:
            m.setattr(Store, 'write', full)
            assert c.post('/feedback', json=dict(user='zoe', item=a, rating=4)).status_code == 503
            assert c.post('/recommend', json=dict(user=int(model.users.ids[0]))).json()['logged'] is False
            assert c.get('/').status_code == 200
        assert c.post('/feedback', json=dict(user='zoe', item=a, rating=4)).status_code == 200

def test_two_browsers_rate_at_once(store):
    with ThreadPoolExecutor(8) as pool: list(pool.map(lambda k: store.give(f'p{k % 2}', f'i{k}', float(k)).result(), range(200)))
    assert len(store.opinions('p0')) == len(store.opinions('p1')) == 100
    assert store.read('SELECT COUNT(*) FROM events') == [(200,)]

def test_two_stores_write_one_file(tmp_path):
    "As two workers do: each has a writer and connections of its own"
    both = [Store(tmp_path/'p.db') for _ in range(2)]
    def rate(s): return [s.give('x', f'{id(s)}-{k}', 1.).result() for k in range(50)]
    with ThreadPoolExecutor(2) as pool: list(pool.map(rate, both))
    assert both[0].read('SELECT COUNT(*) FROM events') == [(100,)]
    for s in both: s.close()

def test_copying_a_store(store, tmp_path):
    for k in range(25): store.give('a', f'i{k}', None if k % 2 else 4., 'dismiss' if k % 2 else 'rating')
    store.show('a', ['x'], [.5], [.25], 'l').result()
    b = Store(tmp_path/'b.db')
    copy_store(store, b)
    for t in ('people', 'ratings', 'events', 'shown'): assert sorted(map(repr, b.read(f'SELECT * FROM {t}'))) == sorted(map(repr, store.read(f'SELECT * FROM {t}')))
    with pytest.raises(ValueError, match='is not empty'): copy_store(store, b)
    b.close()

# ---- Models

def test_half_written_damaged_and_unfit_models_are_refused(model, inter, store, tmp_path):
    place = tmp_path/'m'
    model.save(place/'a')
    models = Models(place, store)
    first = models.now.name
    ItemKNN(k=3).fit(inter).save(place/'b')
    arrays = next((place/'b').glob('*.safetensors'))
    whole = arrays.read_bytes()
    arrays.write_bytes(whole[:1000])                                             # as if a copy were on its way
    assert not models.look() and models.now.name == first and len(models.refused) == 1
    assert str(tmp_path) not in str(models.refused)
    arrays.write_bytes(whole)
    assert models.look() and models.now.name != first                            # and now it has arrived
    ItemKNN().fit(cast.interactions()).save(place/'c')
    assert not models.look() and any('0% of the items' in why for _, why in models.refused.values())
    with pytest.raises(FileNotFoundError): Models(tmp_path/'empty', store)
    strict = Models(place/'a', store, check=lambda m: None)
    with pytest.raises(ValueError): strict.swap(ItemKNN().fit(cast.interactions()), 'x')

def test_arrays_are_shared_and_answers_the_same(inter, tmp_path):
    m = ImplicitALS(n_factors=64, seed=0).fit(to_implicit(inter, 3))
    m.save(tmp_path)
    again = Recommender.load(tmp_path)
    assert share_arrays(again, tmp_path) > 2**16
    shared = [a for a in vars(again).values() if isinstance(a, np.ndarray) and isinstance(a.base, np.memmap) or isinstance(getattr(getattr(a, 'base', None), 'base', None), np.memmap)]
    assert shared and all(not a.flags.writeable for a in shared)
    pd.testing.assert_frame_equal(again.recommend(inter.users.ids[:20].tolist()), m.recommend(inter.users.ids[:20].tolist()))

def test_training_from_the_store(inter, tmp_path):
    ItemKNN().fit(inter).save(tmp_path/'m/a')
    s = Store(tmp_path/'t.db')
    for k, i in enumerate(inter.items.ids[:12]): s.give('web:new', str(i), 4.).result()
    module.train_model(tmp_path/'m/a', tmp_path/'m/b', s.url, inter)
    told = s.setting('training')
    assert told['step'] == told['of'] and '12 of them' in told['words'], told
    new = Recommender.load(tmp_path/'m/b')
    assert 'web:new' in new.users and '1' in new.users and list(new.items.ids) == list(inter.items.ids)
    module.train_model(tmp_path/'m/a', tmp_path/'m/c', s.url, None)
    assert 'start the server with data' in s.setting('training')['words']
    s.close()

@pytest.mark.parametrize('with_data', [True, False])
def test_who_was_forgotten_is_not_learned_again(inter, tmp_path, with_data):
    log = to_implicit(inter, 3)
    ItemKNN().fit(log).save(tmp_path/'m/a')
    one, other = (str(u) for u in log.users.ids[:2])
    s = Store(tmp_path/'t.db')
    for k, i in enumerate(log.items.ids[:9]): s.give(one, str(i), 1.).result()
    assert s.forget(log.users.ids[0]) > 9                                       # a raw id, whatever its type
    module.train_model(tmp_path/'m/a', tmp_path/'m/b', s.url, log if with_data else None)
    new = Recommender.load(tmp_path/'m/b')
    assert one not in new.users and other in new.users, s.setting('training')
    s.give(one, str(log.items.ids[0]), 1.).result()                             # back again: only what is new counts
    module.train_model(tmp_path/'m/b', tmp_path/'m/c', s.url, log if with_data else None)
    back = Recommender.load(tmp_path/'m/c')
    assert back.seen[back.users.encode(one)[0]].nnz == 1
    s.close()

@pytest.mark.parametrize('site,host,status,secure', [('https://films.example.org', 'films.example.org', 200, True), ('http://films.example.org:8080', 'films.example.org:8080', 200, False),
    ('https://films.example.org', 'other.example.org', 421, None), ('https://films.example.org/', '127.0.0.1', 200, True)])
def test_behind_a_proxy(model, tmp_path, monkeypatch, site, host, status, secure):
    import uvicorn
    model.save(tmp_path/'m')
    monkeypatch.setattr(uvicorn, 'run', lambda *a, **k: None)
    monkeypatch.setenv('RECSYS_COURSE_SERVE', '')
    module.serve(tmp_path/'m', '0.0.0.0', store=tmp_path/'s.db', settings=module.at_site(Settings(api_key='k'), site))
    with TestClient(module.app_from_env(), base_url=f'http://{host}') as c:
        res = c.get('/')
        assert res.status_code == status
        if secure is not None: assert ('secure' in res.headers['set-cookie'].lower()) == secure

@pytest.mark.parametrize('site', ['films.example.org', 'ftp://films', 'https://', 'javascript:alert(1)'])
def test_a_site_that_is_no_address(site):
    with pytest.raises(ValueError, match='https://films.example.org'): module.at_site(Settings(), site)

# ---- Lists for everybody

def test_lists_for_everybody(model, tmp_path):
    assert write_lists(model, tmp_path/'l.csv', k=3, block=7) == 3*len(model.users.ids)
    got = pd.read_csv(tmp_path/'l.csv')
    pd.testing.assert_frame_equal(got, model.recommend(model.users.ids.tolist(), 3), check_dtype=False, rtol=1e-4)
    pytest.importorskip('pyarrow', reason='parquet needs pyarrow')
    write_lists(model, tmp_path/'l.parquet', k=3, block=50, titles=True)
    got = pd.read_parquet(tmp_path/'l.parquet')
    pd.testing.assert_frame_equal(got, model.recommend(model.users.ids.tolist(), 3, titles=True), check_dtype=False)
    with pytest.raises(ValueError, match='.csv'): write_lists(model, tmp_path/'l.json')
    with pytest.raises(KeyError): write_lists(model, tmp_path/'n.csv', users=['nobody'])
    assert sorted(p.name for p in tmp_path.iterdir()) == ['l.csv', 'l.parquet']

def test_others_may_ask_only_with_a_key(model, tmp_path):
    model.save(tmp_path/'m')
    with pytest.raises(ValueError, match='api_key'): module.serve(tmp_path/'m', host='0.0.0.0')
    with pytest.raises(FileNotFoundError, match='no saved model'): module.serve(tmp_path/'none')

# ---- Containers

def test_the_compose_file_and_the_image_say_what_they_must(repo):
    yaml = pytest.importorskip('yaml', reason='needs PyYAML')
    services = yaml.safe_load((repo/'compose.yml').read_text())['services']
    assert set(services) == {'server', 'store'} and all(p.startswith('127.0.0.1:') for p in services['server']['ports']) and 'ports' not in services['store']
    secrets = [v for s in services.values() for k, v in s['environment'].items() if 'PASSWORD' in k or 'KEY' in k]
    assert len(secrets) == 3 and all(re.fullmatch(r'\$\{\w+:\?[^}]+\}', v) for v in secrets)                           # they come from outside
    steps = [l.split()[0] for l in (repo/'Dockerfile').read_text().replace('\\\n', ' ').splitlines() if re.match('[A-Z]+ ', l)]
    assert set(steps) <= {'FROM', 'WORKDIR', 'COPY', 'RUN', 'USER', 'ENV', 'EXPOSE', 'HEALTHCHECK', 'CMD'}
    last = steps[len(steps) - steps[::-1].index('FROM'):]
    assert 'USER' in last and 'HEALTHCHECK' in last and last[-1] == 'CMD'
    code = json.loads((repo/'Dockerfile').read_text().splitlines()[-1].removeprefix('CMD '))[-1]
    assert all(hasattr(module, n) for n in re.findall(r'import (\w+);', code))

# ---- Real servers

def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]

class Server:
    "A server in a process of its own"
    def __init__(self, folder, store, workers=1, **settings):
        self.port, settings = free_port(), dict(rate=0, operator_key='key', poll=.2, **settings)
        code = f"from recsys_course.serve import serve, Settings; serve({str(folder)!r}, port={self.port}, workers={workers}, store={str(store)!r}, settings=Settings(**{settings!r}))"
        self.process = subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.DEVNULL, start_new_session=True, env={**os.environ, 'OMP_NUM_THREADS': '1'})
        self.url = f'http://127.0.0.1:{self.port}'
        for _ in range(300):
            try:
                if httpx.get(self.url + '/ready', timeout=5).status_code == 200: return
            except httpx.TransportError: time.sleep(.1)
        self.stop()
        raise TimeoutError('the server did not start')

    def stop(self, sig=signal.SIGKILL):
        os.killpg(self.process.pid, sig)
        self.process.wait(30)

@pytest.fixture(scope='module')
def served(model, tmp_path_factory):
    place = tmp_path_factory.mktemp('served')
    model.save(place/'m/a')
    server = Server(place/'m', place/'s.db', workers=2)
    yield server, place/'m', place/'s.db'
    if server.process.poll() is None: server.stop()

def test_a_model_is_swapped_under_load_without_a_failed_request(model, inter, served):
    server, folder, _ = served
    answers, ends = [], threading.Event()
    users = [int(u) for u in inter.users.ids[:50]]
    def ask(part):
        with httpx.Client(base_url=server.url, timeout=20) as c:
            for k in range(100_000):
                if ends.is_set(): return
                res = c.post('/recommend', json=dict(user=users[(k + part) % 50]))
                answers.append((res.status_code, res.json().get('model')))
                if k % 20 == 19: c.close(); c = httpx.Client(base_url=server.url, timeout=20)      # a new connection may reach the other worker
    threads = [threading.Thread(target=ask, args=(p,)) for p in range(2)]
    try:
        for t in threads: t.start()
        time.sleep(.5)
        ItemKNN(k=7).fit(inter).save(folder/'b')
        end = time.time() + 8
        while len({m for _, m in answers[-50:]}) < 1 or answers[-1][1] == answers[0][1]:
            assert time.time() < end
            time.sleep(.05)
        time.sleep(.8)
        ends.set()
        for t in threads: t.join(20)
        assert {s for s, _ in answers} == {200} and len({m for _, m in answers}) == 2
        assert len({m for _, m in answers[-10:]}) == 1                            # both workers serve the new one
        a, b = (httpx.post(server.url + '/recommend', json=dict(user=users[0])).json() for _ in range(2))
        assert [o['item'] for o in a['items']] == [o['item'] for o in b['items']]
    finally: ends.set()

def test_feedback_at_the_moment_of_a_crash_is_kept(model, served):
    "The last test of the server: afterwards it is dead"
    server, _, db = served
    told, items = [], [int(i) for i in model.items.ids]
    def rate(part):
        with httpx.Client(base_url=server.url, timeout=5) as c:
            for k in range(part, 100_000, 4):
                try: ok = c.post('/feedback', json=dict(user=f'u{k}', item=items[k % len(items)], rating=3)).status_code == 200
                except httpx.TransportError: return
                if ok: told.append(f'u{k}')
    threads = [threading.Thread(target=rate, args=(p,)) for p in range(4)]
    for t in threads: t.start()
    while len(told) < 100: time.sleep(.02)
    server.stop()                                                                 # kill -9 under load
    for t in threads: t.join(20)
    s = Store(db)
    kept = {o[0] for o in s.read('SELECT person FROM ratings')}
    s.close()
    assert len(told) >= 100 and not set(told) - kept
