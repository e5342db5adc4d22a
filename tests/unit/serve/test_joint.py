"""Requests joined to one run: who gets what, who fails, and when they are not joined."""

import threading
import time

import numpy as np
import pytest
from tests.unit.serve.crowd import CONTRACT, FAILS, NAMES, NO_ANSWER, Crowd, Model, matrix

from holdfast.core.contract import Contract, Field, Output
from holdfast.errors import ReleaseError
from holdfast.serve import joint as module
from holdfast.serve.guards import Grant
from holdfast.serve.joint import Joint
from holdfast.serve.trial import Trial

YES = Trial(rows=8, alone_s=0.005, longest_s=0.0)


@pytest.fixture
def crowd():
    made = Crowd()
    yield made
    made.close()


def joint(model, trial=YES, contract=CONTRACT, names=NAMES) -> Joint:
    made = Joint(model, contract, names)
    made._trial = trial
    return made


def test_one_run_for_those_that_wait(crowd):
    model = Model()
    found = crowd.ask(joint(model), [matrix(float(n)) for n in range(8)])
    assert [one.tolist() for one in found] == [[n + 2.0] for n in range(8)]
    assert model.asked == [8]
    assert crowd.joined == [8]


def test_no_more_rows_than_the_trial_allows_and_large_requests_by_themselves(crowd):
    model = Model()
    requests = [matrix(1.0), matrix(2.0, 3.0), matrix(*range(9)), matrix(4.0, 5.0, 6.0), matrix(7.0, 8.0, 9.0)]
    found = crowd.ask(joint(model), requests)
    assert [one.tolist() for one in found] == [(request[0] + 2.0).tolist() for request in requests]
    assert sorted(model.asked) == [3, 6, 9]


def test_who_has_no_company_asks_as_always(crowd):
    model = Model()
    assert crowd.ask(joint(model), [matrix(1.0, 2.0)])[0].tolist() == [3.0, 4.0]
    assert model.asked == [2]


def test_a_row_that_fails_fails_alone(crowd):
    model = Model()
    values = [1.0, FAILS, NO_ANSWER, 4.0]
    one, bad, none, last = crowd.ask(joint(model), [matrix(value) for value in values])
    assert isinstance(bad, ReleaseError)
    assert (one.tolist(), last.tolist()) == ([3.0], [6.0])
    assert np.isnan(none).all()
    assert model.asked == [4, 1, 1, 1, 1]
    assert crowd.joined == []


def test_texts_are_joined_too(crowd):
    contract = Contract(
        fields=(Field(name="x", datatype="FP64"), Field(name="t", datatype="BYTES")),
        output=Output(task="regression", label="z"),
    )

    def model(numbers, texts):
        assert list(texts) == ["t"]
        return numbers[0] + [len(text) for text in texts["t"]]

    texts = [{"t": np.array(["a" * n], dtype=object), "logged": np.array(["?"], dtype=object)} for n in range(4)]
    found = crowd.ask(
        joint(lambda numbers, texts: model(numbers, {"t": texts["t"]}), contract=contract, names=("x",)),
        [np.array([[1.0]])] * 4,
        [texts[0], texts[1], {"t": texts[2]["t"]}, texts[3]],
    )
    assert [one.tolist() for one in found] == [[1.0], [2.0], [3.0], [4.0]]


def test_two_releases_of_one_deployment_each_have_their_party(crowd):
    """The second is the canary's: its requests come between those of the first."""
    live, canary = Model(), Model()
    routes = [joint(live), joint(canary)]
    works = [crowd.question(routes[n % 3 == 0], matrix(float(n)), {}) for n in range(9)]
    found = crowd.do(works)
    assert [one.tolist() for one in found] == [[n + 2.0] for n in range(9)]
    assert (live.asked, canary.asked) == ([6], [3])


def test_what_takes_time_is_shared_and_told_as_if_alone(crowd):
    """The model takes 40 ms for all eight: each is told 5 ms, as the trial found for one, and the queue learns 5 ms."""
    model = Model(0.04)
    crowd.ask(joint(model), [matrix(float(n)) for n in range(8)])
    assert model.asked == [8]
    assert all(0.005 <= seconds < 0.02 for seconds in crowd.backs)
    assert 0.004 < crowd.lane._took["kind"] < 0.04


def test_nobody_is_taken_along_when_there_is_no_time(crowd):
    model, late = Model(), Trial(rows=8, alone_s=0.001, longest_s=20.0)
    made = joint(model, late)
    works = [crowd.question(made, matrix(float(n)), {}) for n in range(3)]
    hurried = Grant(deadline=time.perf_counter() + 10.0)
    crowd.do(works, grants=[hurried, Grant(), Grant()])
    assert model.asked == [1, 2]


def test_an_audit_finds_a_bit(crowd, monkeypatch, capsys):
    """A model whose answers depend on how many rows it is asked, which the trial has not seen."""
    monkeypatch.setattr(module, "AUDIT", 2)

    def model(numbers, texts):
        return numbers[0] * (1.0 if numbers.shape[1] == 1 else 1.0 + 2.0**-52)

    made = joint(model)
    crowd.ask(made, [matrix(1.0)] * 2)
    assert made._trial == YES
    found = crowd.ask(made, [matrix(1.0)] * 2)
    assert [one.tolist() for one in found] == [[1.0], [1.0]]
    assert made._trial == Trial()
    assert "joined no more" in capsys.readouterr().err


@pytest.mark.parametrize("rows", [0, 1])
def test_it_can_be_switched_off(rows):
    crowd, model = Crowd(join_rows=rows), Model()
    made = Joint(model, CONTRACT, NAMES)
    crowd.ask(made, [matrix(float(n)) for n in range(4)])
    crowd.close()
    assert made._trial is None
    assert model.asked == [1] * 4


def test_it_is_tried_once_when_requests_queue(crowd):
    model = Model(0.0002)
    made = Joint(model, CONTRACT, NAMES)
    crowd.ask(made, [matrix(1.0)])  # nobody waits
    assert not made._first.locked()
    crowd.ask(made, [matrix(1.0)] * 3)
    assert made._first.locked()
    ended = threading.Event()
    crowd.lane.aside(lambda _: ended.set())  # after the trial
    assert ended.wait(60)
    assert made._trial is not None
    assert made._trial.rows == 16
    model.asked.clear()
    crowd.ask(made, [matrix(float(n)) for n in range(4)])
    assert model.asked == [4]


def test_many_threads_and_some_that_fail():
    """Eight hundred requests of one to three rows over three threads; each has its own answer."""
    crowd, model = Crowd(threads=3), Model()
    made = joint(model)
    rng = np.random.default_rng(1)
    requests = [matrix(*rng.integers(0, 40, rng.integers(1, 4)).astype(float)) for _ in range(800)]
    found = crowd.ask(made, requests)
    for request, one in zip(requests, found, strict=True):
        if (request[0] == FAILS).any():
            assert isinstance(one, ReleaseError)
        else:
            assert np.array_equal(one, np.where(request[0] == NO_ANSWER, np.nan, request[0] + 2.0), equal_nan=True)
    crowd.close()
    assert max(model.asked) > 1
