from pathlib import Path

import numpy as np
import pytest
from tests.unit.predictions.records import CONTRACT, HOUR, RELEASE, T0, prediction, profile

from holdfast.backends.duckdb import DuckTables
from holdfast.core.contract import Output
from holdfast.core.prediction import Label
from holdfast.core.profile import LOSS, RESIDUAL, WindowRule
from holdfast.errors import InvalidInput
from holdfast.predictions.labels import Joiner, check, training_rows, truth
from holdfast.predictions.log import Writer, encode
from holdfast.predictions.lookup import Predictions
from holdfast.predictions.windows import recipe
from holdfast.stats.counts import Counts
from holdfast.testing import MemoryDatabase

WHAT = recipe(CONTRACT, profile(WindowRule(kind="time", length_us=HOUR, rows=4, label_rows=2)))


class Town:
    """A log, a database and a joiner."""

    def __init__(self, folder: Path):
        self.database = MemoryDatabase()
        self.writer = Writer(folder, "w0", segment_bytes=1 << 20)
        self.predictions = Predictions(folder, DuckTables(), {RELEASE: WHAT}.get)
        self.joiner = Joiner(self.database, self.predictions, {RELEASE: WHAT}.get)

    def predict(self, **over) -> str:
        record = prediction(**over)
        self.writer.append([encode(record)])
        return record.request

    def label(self, *labels: Label):
        with self.database.begin() as stores:
            return stores.labels.add("town", labels, received=T0, clock=T0 + HOUR)

    def join(self, **how):
        told = self.joiner.join("town", fresh=self.predictions.refresh(), **how)
        return told.joined, told.waiting

    def windows(self, stream):
        with self.database.begin() as stores:
            return stores.windows.read("town", RELEASE, stream)


@pytest.fixture
def town(tmp_path: Path):
    made = Town(tmp_path)
    yield made
    made.predictions.close()


def test_labels_join_by_id_in_arrival_order(town: Town):
    request = town.predict(times=[T0, T0 + HOUR, T0], area=[20.0, 40.0, 60.0])
    town.label(*(Label(value=v, prediction_id=f"{request}-{i}") for i, v in ((2, 31.0), (0, 9.0), (1, 20.0))))
    assert town.join() == (3, 0)
    one, two = town.windows("labels")
    assert (one.rows, two.rows) == (2, 1)
    assert one.sums == {"n": 2.0, "loss": 2.0, "loss2": 2.0, "residual": 0.0}
    assert two.sums["loss"] == 0.0
    early, late = town.windows("events")
    assert (early.rows, early.start, late.rows, late.start) == (2, T0, 1, T0 + HOUR)
    assert set(Counts.from_bytes(early.counts).columns) == {LOSS, RESIDUAL}
    assert town.join() == (0, 0)


def test_unknown_ids_wait_until_their_prediction_turns_up(town: Town):
    future = prediction(times=[T0 + 5])
    town.label(Label(value=1.0, prediction_id=f"{future.request}-0"), Label(value=1.0, prediction_id="0" * 26 + "-9"))
    assert town.join() == (0, 2)
    town.writer.append([encode(future)])
    assert town.join() == (1, 1)
    town.joiner.forget()
    assert town.join() == (0, 1)


def test_a_key_judges_all_predictions_not_later_than_it(town: Town):
    for hour in (0, 1, 3):
        town.predict(times=[T0 + hour * HOUR], keys=["h1"], area=[10.0])
    town.predict(times=[T0], keys=["h2"])
    town.label(Label(value=6.0, key="h1", observed_at=T0 + 2 * HOUR))
    assert town.join() == (1, 0)
    assert [(w.number - T0 // HOUR, w.sums["residual"]) for w in town.windows("events")] == [(0, 1.0), (1, 1.0)]
    # A later correction reaches one prediction more; only that one is new to the alarm stream.
    town.label(Label(value=7.0, key="h1", observed_at=T0 + 4 * HOUR))
    assert town.join() == (1, 0)
    assert [w.sums["residual"] for w in town.windows("events")] == [2.0, 2.0, 2.0]
    assert [w.sums["n"] for w in town.windows("events")] == [1.0, 1.0, 1.0]
    assert sum(w.rows for w in town.windows("labels")) == 3


def test_corrections_mend_the_event_windows_bit_for_bit(town: Town, tmp_path: Path):
    other = Town(tmp_path / "other")
    request = town.predict(times=[T0], area=[20.0])
    for value in (90.0, 90.0, 15.0, 11.0):
        town.label(Label(value=value, prediction_id=f"{request}-0"))
    assert town.join() == (3, 0)
    once = other.predict(times=[T0], area=[20.0])
    other.label(Label(value=11.0, prediction_id=f"{once}-0"))
    other.join()
    assert town.windows("events") == other.windows("events")
    assert sum(w.rows for w in town.windows("labels")) == 1
    other.predictions.close()


def test_rows_inside_a_pipeline_fault_enter_no_window(town: Town):
    request = town.predict(times=[T0, T0 + HOUR])
    town.label(*(Label(value=1.0, prediction_id=f"{request}-{i}") for i in range(2)))
    assert town.join(excluded=[(T0, T0 + HOUR)]) == (2, 0)
    assert sum(w.rows for w in town.windows("labels")) == 1
    rows = training_rows(town.database, town.predictions, "town", CONTRACT, excluded=[(T0, T0 + HOUR)])
    assert rows["event_time"].tolist() == [T0 + HOUR]


def test_training_rows(town: Town):
    request = town.predict(times=[T0 + 1, T0], area=[8.0, np.nan], keys=["a", "b"])
    town.label(Label(value=3.0, prediction_id=f"{request}-0"), Label(value=4.0, key="b"), Label(value=5.0, key="a"))
    town.join()
    rows = training_rows(town.database, town.predictions, "town", CONTRACT)
    assert list(rows) == ["area", "kind", "sold", "house", "price", "event_time", "release"]
    assert rows["price"].tolist() == [4.0, 3.0]
    assert rows["kind"].tolist() == ["house", "flat"]
    assert np.isnan(rows["area"][0])


def test_truth_of_every_task():
    price = Output(task="regression", label="price")
    rich = Output(task="binary", label="rich", classes=("no", "yes"))
    won = Output(task="binary", label="won", classes=("false", "true"))
    digit = Output(task="multiclass", label="digit", classes=("0", "1", "2"))
    assert truth(price, 3) == 3.0
    assert (truth(rich, "yes"), truth(won, True), truth(digit, 2), truth(digit, 1.0), truth(digit, "7")) == (
        1,
        1,
        2,
        1,
        -1,
    )
    for output, value in ((price, "3"), (price, True), (price, float("nan")), (rich, "maybe")):
        with pytest.raises(InvalidInput):
            truth(output, value)


def test_labels_are_checked_row_by_row():
    good = Label(value=1.0, key="a")
    for bad in (
        Label(value=1.0),
        Label(value=1.0, key="a", prediction_id="b"),
        Label(value=1.0, prediction_id="b"),
        Label(value="x", key="a"),
    ):
        with pytest.raises(InvalidInput) as refused:
            check(CONTRACT, [good, bad])
        assert refused.value.row == 1
    check(CONTRACT, [good])
