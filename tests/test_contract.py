"The API against its own description: schemathesis makes requests from `/openapi.json`, right and wrong ones, and checks status, type and form of every answer"

import os

import pytest
from hypothesis import HealthCheck, given, settings as how
from starlette.testclient import TestClient

from recsys_course.recommender import ItemKNN
from recsys_course.serve import API, Settings, create_app
from recsys_course.simulate import World

schemathesis = pytest.importorskip('schemathesis', reason='needs schemathesis (pip install recsys_course[fuzz])')
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

# What the description cannot say: the scale of ratings, which texts can be printed, and which models know what to do with a profile
LEFT_OUT = [positive_data_acceptance]

@pytest.fixture(scope='module')
def operations(tmp_path_factory):
    inter = World(n_users=100, n_items=120).sample(4_000)
    app = create_app(ItemKNN().fit(inter), tmp_path_factory.mktemp('c')/'c.db', Settings(rate=0, k_max=30), inter)
    with TestClient(app, base_url='http://localhost'):
        schema = schemathesis.openapi.from_asgi('/openapi.json', app)
        yield {o.ok().path: o.ok() for o in schema.get_all_operations()}

TAKING = [*API, '/items']                        # they are sent something; the others cannot be asked wrongly

@pytest.mark.parametrize('path,mode', [*((p, m) for p in TAKING for m in GenerationMode), *((p, GenerationMode.POSITIVE) for p in ('/health', '/ready', '/metrics'))])
def test_every_answer_is_as_described(operations, path, mode):
    operation, n = operations[path], 0

    @given(case=operation.as_strategy(generation_mode=mode))
    @how(max_examples=int(os.environ.get('RECSYS_COURSE_EXAMPLES', 40)), deadline=None, database=None, suppress_health_check=list(HealthCheck))
    def ask(case):
        nonlocal n
        n += 1
        case.call_and_validate(excluded_checks=LEFT_OUT)
    ask()
    assert n >= (20 if path in TAKING else 1)

@pytest.mark.parametrize('path', [*API, '/items', '/health'])
def test_another_method_is_told_which_ones_there_are(operations, path):
    res = operations[path].Case(method='PUT' if path in API else 'DELETE').call()
    assert res.status_code == 405 and res.headers['allow'] and res.json()['error']
