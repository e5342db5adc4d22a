import asyncio
import gc
import json
import threading
import weakref

import pytest
from tests.unit.serve.conftest import ROW

from holdfast.backends.onnx import OnnxRuntime
from holdfast.core.deployment import Plan, Route
from holdfast.errors import NotFound, Tampered
from holdfast.serve import dataplane, shelf
from holdfast.serve.codecs import ROWS
from holdfast.serve.plan import NOTHING, open_loaded
from holdfast.serve.shelf import Shelf

ONE = 300 << 10
"""A budget for one model, not for two."""


@pytest.fixture
def shelves(house, monkeypatch):
    """Shelves over the house's releases, and what they did."""
    monkeypatch.setattr(shelf, "LEAST", 250 << 10)
    made: list[Shelf] = []

    def make(budget: int) -> Shelf:
        def opened(digest):
            release = house.open(digest)
            return open_loaded(release, OnnxRuntime()), release.model

        made.append(Shelf(opened, budget, states.append))
        return made[-1]

    states: list = []
    make.states = states
    yield make
    for one in made:
        one.close()


def traffic(digests, generation=1, **more):
    names = {"price": "price", "garden": "garden", "dearer": "dearer"} | more
    return Plan(generation, {n: (Route(digests[d], "live", 1.0),) for n, d in names.items()}, {})


def ask(plan, state, name):
    body = json.dumps({"instances": [ROW]}).encode()
    return dataplane.predict(body, ROWS, name, None, {}, plan, state)


def value(answer):
    return json.loads(answer.body)["predictions"][0].get("prediction")


def test_models_are_loaded_when_asked_for_and_the_longest_unused_go(shelves, digests, state):
    keep = shelves(2 * ONE)
    plan = keep.plan(traffic(digests), ())
    assert [plan.cold(name) for name in ("price", "garden", "dearer", "nobody")] == [True, True, True, False]
    for name in ("price", "garden", "price", "dearer"):
        hot = asyncio.run(plan.warmed(name))
        assert ask(hot, state, name).status == 200
    assert [plan.cold(name) for name in ("price", "garden", "dearer")] == [False, True, False]
    assert [s.models for s in shelves.states] == [1, 2, 2]
    assert [s.evictions for s in shelves.states] == [0, 0, 1]
    assert all(s.bytes <= 2 * ONE for s in shelves.states)


def test_answers_are_those_of_a_plan_that_is_all_loaded(shelves, digests, state, plan):
    shelved = shelves(ONE).plan(traffic(digests), ())
    for name in ("price", "dearer", "price", "dearer"):
        answer = ask(asyncio.run(shelved.warmed(name)), state, name)
        assert dict(answer.headers)["X-Holdfast-Release"] == digests[name]
        factor = {"price": 1.0, "dearer": 2.0}[name]
        assert value(answer) == pytest.approx(factor * value(ask(plan, state, "price")))


def test_an_evicted_model_ends_with_its_last_request(shelves, digests, state):
    keep = shelves(ONE)
    plan = keep.plan(traffic(digests), ())
    hot = asyncio.run(plan.warmed("price"))
    session = weakref.ref(hot.deployment("price").live.release.session)
    asyncio.run(plan.warmed("garden"))
    assert plan.cold("price")
    assert ask(hot, state, "price").status == 200
    del hot
    gc.collect()
    assert session() is None


def test_nothing_is_loaded_to_tell_what_is_there(shelves, digests):
    plan = shelves(ONE).plan(traffic(digests), ())
    assert {one["name"] for one in dataplane.index(plan)} == {"price", "garden", "dearer"}
    assert dataplane.ready("price", digests["price"][:12], plan)["ready"]
    with pytest.raises(NotFound):
        dataplane.ready("price", "canary", plan)
    with pytest.raises(NotFound, match="no deployment 'prize'"):
        dataplane.ready("prize", None, plan)
    assert shelves.states == []


def test_what_is_newly_deployed_is_tried_at_once(shelves, digests, house):
    keep = shelves(ONE)
    first = keep.plan(traffic(digests, garden="price", dearer="price"), ())
    keep.plan(traffic(digests, 2, garden="price"), (NOTHING, first))
    assert len(shelves.states) == 1, "only the release that is new"
    broken = Plan(3, {"x": (Route("0" * 64, "live", 1.0),)}, {})
    with pytest.raises(NotFound):
        keep.plan(broken, (first,))


def test_what_is_wrong_with_a_model_is_told_to_who_asked(house, digests):
    def opened(digest):
        raise Tampered("a byte has changed")

    keep = Shelf(opened, ONE)
    plan = keep.plan(traffic(digests), ())
    with pytest.raises(Tampered):
        asyncio.run(plan.warmed("price"))
    assert keep.waiting == 0
    keep.close()


def test_a_crowd_that_asks_for_a_cold_model_loads_it_once(shelves, digests, state):
    keep = shelves(4 * ONE)
    plan = keep.plan(traffic(digests), ())

    async def crowd():
        hot = await asyncio.gather(*(plan.warmed(n) for n in ("price", "garden", "dearer") * 20))
        return [ask(one, state, next(iter(one.deployments))).status for one in hot]

    assert set(asyncio.run(crowd())) == {200}
    assert len(shelves.states) == 3


def test_no_more_wait_than_there_is_room_for(shelves, digests, monkeypatch):
    monkeypatch.setattr(shelf, "WAITING", 2)
    keep = shelves(ONE)
    plan = keep.plan(traffic(digests), ())

    async def crowd():
        return await asyncio.gather(*(plan.warmed("price") for _ in range(5)), return_exceptions=True)

    kinds = [type(one).__name__ for one in asyncio.run(crowd())]
    assert kinds.count("Overloaded") == 3


def test_threads_that_ask_and_evict_at_once_get_right_answers(shelves, digests, state):
    keep = shelves(ONE)
    plan = keep.plan(traffic(digests), ())
    wrong: list = []

    def work(name):
        for _ in range(15):
            release = plan.deployment(name).live.release
            if release.digest != digests[name]:
                wrong.append((name, release.digest))

    threads = [threading.Thread(target=work, args=(name,)) for name in ("price", "garden", "dearer")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
