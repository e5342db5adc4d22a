"""Threads for slow requests: the order, who is answered within whose turn, and whose time it is."""

import asyncio
import threading
import time

import pytest
from tests.unit.serve.crowd import Crowd

from holdfast.serve.guards import Grant
from holdfast.serve.lane import here


@pytest.fixture
def crowd():
    made = Crowd()
    yield made
    made.close()


def burn(seconds: float) -> None:
    began = time.thread_time()
    while time.thread_time() - began < seconds:
        pass


def test_in_the_order_of_coming_and_only_within_a_turn(crowd):
    order = []
    assert crowd.do([lambda n=n: order.append(n) or n for n in range(5)]) == [0, 1, 2, 3, 4]
    assert order == [0, 1, 2, 3, 4]
    assert here.turn is None


def test_a_turn_may_answer_others_of_its_kind_alone(crowd):
    order = []

    def greedy(n):
        order.append(n)
        while here.turn.another(0.0):
            pass
        order.append(-n)
        return n

    found = crowd.do([lambda n=n: greedy(n) for n in range(1, 6)], kinds=["a", "b", "a", "b", "a"])
    assert found == [1, 2, 3, 4, 5]
    assert order == [1, 3, 5, -5, -3, -1, 2, 4, -4, -2]


class Kind:
    """Lets another thread go on whenever it is compared."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __eq__(self, other: object) -> bool:
        time.sleep(0)
        return isinstance(other, Kind) and self.n == other.n

    def __hash__(self) -> int:
        return self.n


def test_requests_come_while_threads_look_for_company():
    """Whoever looked through a queue that others change meanwhile would fail."""
    crowd, found = Crowd(threads=2), []

    async def story():
        ended = asyncio.Event()

        def work():
            try:
                return here.turn.another(0.0), crowd.lane.crowded(Kind(100))
            except RuntimeError as bad:
                return bad

        def back(done, seconds):
            found.append(done)
            if len(found) == 1000:
                ended.set()

        for n in range(1000):
            crowd.lane.submit(Kind(n % 7), work, back, Grant())
            if n % 50 == 0:
                await asyncio.sleep(0)
        await ended.wait()

    asyncio.run(story())
    crowd.close()
    assert not [bad for bad in found if isinstance(bad, RuntimeError)]


def test_as_deep_as_it_may_go(crowd):
    deepest = []

    def work():
        deepest.append(here.turn.depth)
        here.turn.another(0.0)

    crowd.do([work] * 100)
    assert max(deepest) == 32
    assert len(deepest) == 100


def test_nobody_is_answered_within_another_while_a_thread_is_free():
    crowd = Crowd(threads=2)
    first = threading.Event()

    def alone():
        first.wait(10)
        return here.turn.another(0.0)  # the other thread has nothing to do

    def ends():
        first.set()

    assert crowd.do([alone, ends]) == [False, None]
    crowd.close()


def test_those_around_it_keep_their_deadlines(crowd):
    grant = Grant(deadline=time.perf_counter() + 30.0)

    def work():
        return here.turn.another(40.0), here.turn.another(20.0)

    def patient():
        return here.turn.another(20.0), here.turn.until == grant.deadline

    found = crowd.do([work, patient, lambda: "last"], grants=[grant, Grant(), Grant()])
    assert found == [(False, True), (True, True), "last"]


def test_each_is_told_its_own_time(crowd):
    """Bounds are wide, but nobody is told the sum."""

    def work():
        burn(0.01)
        here.turn.another(0.0)
        burn(0.01)

    crowd.do([work] * 4)
    assert all(0.02 <= seconds < 0.04 for seconds in crowd.backs)


def test_time_can_be_shared(crowd):
    def work():
        burn(0.02)
        here.turn.spent(-0.015, -0.015)

    crowd.do([work])
    assert 0.005 <= crowd.backs[0] < 0.015
