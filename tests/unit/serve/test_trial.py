"""What the trial finds out about a model before runs of it are joined."""

import threading

import numpy as np
import pytest
from tests.unit.serve.crowd import CONTRACT, NAMES, Model, matrix

from holdfast.core.contract import Contract, Field, Output
from holdfast.errors import ReleaseError
from holdfast.serve import trial as module
from holdfast.serve.trial import ROWS, Rows, Trial, like, tried

SEEN = Rows(matrix(1.0, 2.0), {})
RNG = np.random.default_rng(5)


@pytest.fixture(autouse=True)
def restless(monkeypatch):
    monkeypatch.setattr(module, "RESTS", 0.0)


class Network:
    """A matrix product whose sums are taken in another order where there are `odd` rows or more."""

    def __init__(self, odd: int = 1000, seconds: float = 0.0003) -> None:
        self.weights = RNG.normal(size=(2, 20))
        self.odd = odd
        self.clock = Model(seconds)

    def __call__(self, numbers, texts, /):
        self.clock(numbers, texts)
        hidden = np.tanh(numbers[0][:, None] * self.weights[0] + numbers[1][:, None] * self.weights[1])
        order = slice(None, None, -1 if len(hidden) >= self.odd else 1)
        return np.array([sum(row.tolist()[order]) for row in hidden])


def found(direct, most=16):
    return tried(direct, CONTRACT, NAMES, SEEN, most, threading.Event())


def test_a_model_that_takes_as_long_for_many_as_for_one():
    said = found(Network())
    assert said is not None
    assert said.rows == 16
    assert 0.0003 <= said.alone_s < 0.02
    assert said.longest_s < 0.02


@pytest.mark.parametrize("odd", [2, 3, 13, 16])
def test_one_size_that_differs_in_the_last_bit_is_enough(odd):
    assert found(Network(odd)) == Trial()


def test_what_does_not_pay():
    class Each(Network):
        def __call__(self, numbers, texts, /):
            self.clock.seconds = 0.0005 * numbers.shape[1]
            return super().__call__(numbers, texts)

    assert found(Each()) == Trial()


def test_smaller_runs_where_large_ones_take_too_long(monkeypatch):
    monkeypatch.setattr(module, "LONGEST_S", 0.0035)
    monkeypatch.setattr(module, "LONGEST", 1.0)

    class Steep(Network):
        """Little more than half the price in company; sixteen rows take 4.8 ms."""

        def __call__(self, numbers, texts, /):
            rows = numbers.shape[1]
            self.clock.seconds = 0.0005 * rows * (1.0 if rows == 1 else 0.6)
            return super().__call__(numbers, texts)

    said = found(Steep())
    assert said is not None
    assert said.rows == 8


def test_equal_answers_prove_nothing():
    model = Model(0.0005)

    def saturated(numbers, texts):
        return np.minimum(np.abs(model(numbers, texts)) + 5.0, 1.0)

    assert found(saturated) == Trial()


def test_a_model_for_one_row_only():
    def model(numbers, texts):
        if numbers.shape[1] > 1:
            raise ReleaseError("Got invalid dimensions for input")
        return numbers.sum(axis=0)

    assert found(model) == Trial()


def test_a_model_that_is_too_slow_to_be_tried(monkeypatch):
    monkeypatch.setattr(module, "TOO_LONG_S", 0.001)
    model = Network(seconds=0.002)
    assert found(model) == Trial()
    assert len(model.clock.asked) == 6


def test_it_ends_when_the_server_does():
    stop = threading.Event()
    stop.set()
    assert tried(Network(), CONTRACT, NAMES, SEEN, 16, stop) is None


def test_rows_are_like_those_that_are_asked():
    contract = Contract(
        fields=(
            Field(name="a", datatype="FP64", minimum=10.0, maximum=20.0),
            Field(name="b", datatype="INT32"),
            Field(name="c", datatype="FP32", nullable=True),
            Field(name="k", datatype="BYTES", categories=("red", "blue"), nullable=True),
            Field(name="free", datatype="BYTES"),
        ),
        output=Output(task="regression", label="z"),
    )
    seen = Rows(
        np.array([[15.0], [1000.0], [np.nan]]),
        {"k": np.array([None], dtype=object), "free": np.array(["so"], dtype=object)},
    )
    rows = like(contract, ("a", "b", "c"), seen, np.random.default_rng(2))
    assert rows.numbers.shape == (3, ROWS)
    assert np.array_equal(rows.numbers[:, 0], [15.0, 1000.0, np.nan], equal_nan=True)
    assert ((rows.numbers[0] >= 10.0) & (rows.numbers[0] <= 20.0)).all()
    assert (rows.numbers[1] == np.rint(rows.numbers[1])).all()
    assert 1 <= np.isnan(rows.numbers[2]).sum() < ROWS / 2
    assert set(rows.texts["k"]) == {"red", "blue", None}
    assert set(rows.texts["free"]) == {"so"}
    assert len({column.tobytes() for column in rows.numbers.T}) > ROWS * 0.9
