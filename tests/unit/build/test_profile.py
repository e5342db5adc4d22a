"""The reference profile: how traffic will be cut, what is counted, and that it is the same counts that live windows give."""

import numpy as np
import pytest

from holdfast.build.profile import Reference, empty_profile, make_profile, window_rule
from holdfast.core.contract import Contract, Field, Output
from holdfast.core.profile import CONFIDENCE, DAY, HOUR, LOSS, OUTPUT, RESIDUAL
from holdfast.stats.counts import ColumnSpec, Counts

START = 19_700 * DAY


def times(per_day: int, days: int) -> np.ndarray:
    return START + (np.arange(per_day * days) * (DAY // per_day)).astype(np.int64)


@pytest.mark.parametrize(
    ("stamps", "rows", "kind", "length", "size"),
    [
        (times(2400, 60), 144_000, "time", HOUR, 100),
        (times(120, 150), 18_000, "time", DAY, 120),
        (times(50, 150), 7_500, "count", 2 * DAY, 100),
        (times(2400, 1), 2_400, "count", None, 80),
        (times(120, 20), 2_400, "count", None, 80),
        (None, 6_000, "count", DAY, 100),
        (None, 600, "count", DAY, 20),
        (None, 12, "count", DAY, 1),
        (None, 0, "count", DAY, 1),
    ],
)
def test_windows_are_the_smallest_that_say_something(stamps, rows, kind, length, size):
    rule = window_rule(stamps, rows, rows)
    assert (rule.kind, rule.rows) == (kind, size)
    assert length is None or rule.length_us == length
    assert rule.length_us > 0


def test_labels_are_cut_like_windows_or_finer_where_they_are_few():
    assert window_rule(times(120, 150), 18_000, 18_000).label_rows == 120
    assert window_rule(times(120, 150), 18_000, 900).label_rows == 30
    assert window_rule(None, 6_000, 0).label_rows == 100


def contract(task: str, **marks) -> Contract:
    classes = {"binary": ("no", "yes"), "multiclass": ("a", "b", "c"), "regression": ()}[task]
    fields = (
        Field(name="x", datatype="FP64"),
        Field(name="kind", datatype="BYTES", nullable=True),
        Field(name="still", datatype="FP64"),
        Field(name="year", datatype="INT64", marks=("calendar",)),
        Field(name="name", datatype="BYTES", marks=("personal",)),
    )
    return Contract(fields=fields, output=Output(task=task, label="y", classes=classes))


def answers(task: str):
    def say(columns):
        score = columns["x"] + np.where(columns["kind"] == "b", 1.0, 0.0)
        p = 1 / (1 + np.exp(-score))
        if task == "regression":
            return score
        return np.column_stack([1 - p, p]) if task == "binary" else np.column_stack([(1 - p) / 2, (1 - p) / 2, p])

    return say


def reference(task: str, n: int = 6000, *, labelled: bool = True) -> Reference:
    rng = np.random.default_rng(3)
    columns = {
        "x": rng.normal(size=n),
        "kind": rng.choice(np.array(["a", "b", None], dtype=object), n),
        "still": np.ones(n),
        "year": np.full(n, 2024.0),
        "name": np.array(["Ada"] * n, dtype=object),
    }
    said = answers(task)(columns)
    if task == "regression":
        y = said + rng.normal(0, 0.3, n)
    elif task == "binary":
        y = (rng.random(n) < said[:, 1]).astype(float)
    else:
        y = (said.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1).astype(float)
    return Reference(columns, rng.permutation(times(n // 60, 60)), y if labelled else None)


@pytest.mark.parametrize(
    ("task", "outputs", "metrics"),
    [
        ("regression", {OUTPUT, LOSS, RESIDUAL}, {"rmse", "mae", "bias", "r2", "wape"}),
        ("binary", {OUTPUT, LOSS}, {"error_rate", "auc", "log_loss", "brier", "calibration_error"}),
        ("multiclass", {OUTPUT, CONFIDENCE, LOSS}, {"error_rate", "log_loss"}),
    ],
)
def test_every_task_has_its_columns_and_metrics(task, outputs, metrics):
    profile = make_profile(contract(task), reference(task), answers(task))
    assert {c["name"] for c in profile.columns} == {"x", "kind", "still"} | outputs
    assert set(profile.performance) == metrics
    for metric in profile.performance.values():
        assert metric["low"] <= metric["value"] <= metric["high"]
    assert profile.calibration["stated"] is True
    assert profile.rule.kind == "time"
    assert (profile.start, profile.end) == (START, int(times(100, 60)[-1]))


def test_windows_hold_every_row_once_in_the_order_of_events():
    given = reference("regression")
    profile = make_profile(contract("regression"), given, answers("regression"))
    assert list(profile.windows.starts) == [START + day * DAY for day in range(60)]
    whole = Counts.total(Counts.from_bytes(packed) for packed in profile.windows.counts)
    assert whole.rows == given.rows == profile.rows
    specs = {c["name"]: ColumnSpec.from_dict(c) for c in profile.columns}
    assert whole.columns["x"].tolist() == specs["x"].count(given.columns["x"]).tolist()
    first = given.times // DAY == START // DAY
    assert (
        Counts.from_bytes(profile.windows.counts[0]).columns["x"].tolist()
        == specs["x"].count(given.columns["x"][first]).tolist()
    )
    labels = [Counts.from_bytes(packed) for packed in profile.labels.counts]
    assert {c.rows for c in labels} == {profile.rule.label_rows}


def test_the_order_of_rows_in_the_file_does_not_matter():
    given = reference("binary")
    order = np.random.default_rng(0).permutation(given.rows)
    # Rows of one instant keep the file's order; here every instant is one row.
    other = Reference({k: v[order] for k, v in given.columns.items()}, given.times[order], given.labels[order])
    one, two = (make_profile(contract("binary"), r, answers("binary")) for r in (given, other))
    assert one == two


def test_importance_follows_the_answer():
    profile = make_profile(contract("regression"), reference("regression"), answers("regression"))
    assert profile.importance["x"] > profile.importance["kind"] > profile.importance["still"] == 0.0
    assert sum(profile.importance.values()) == pytest.approx(1.0)


def test_what_the_contract_says_of_importance_wins():
    plain = contract("regression")
    fields = tuple(
        Field(
            name=f.name,
            datatype=f.datatype,
            nullable=f.nullable,
            marks=f.marks,
            importance=0.7 if f.name == "still" else None,
        )
        for f in plain.fields
    )
    own = Contract(fields=fields, output=plain.output)
    assert make_profile(own, reference("regression"), answers("regression")).importance["still"] == 0.7


def test_without_labels_nothing_is_said_of_quality():
    profile = make_profile(contract("regression"), reference("regression", labelled=False), answers("regression"))
    assert profile.performance == {}
    assert profile.labels.counts == ()
    assert {c["name"] for c in profile.columns} == {"x", "kind", "still", OUTPUT}


def test_some_rows_may_lack_their_label():
    given = reference("binary")
    labels = given.labels.copy()
    labels[::2] = np.nan
    profile = make_profile(contract("binary"), Reference(given.columns, given.times, labels), answers("binary"))
    assert profile.performance["auc"]["n"] == given.rows // 2


def test_a_short_reference_states_no_rate():
    given = reference("regression", 6000)
    few = Reference({k: v[:20] for k, v in given.columns.items()}, None, given.labels[:20])
    profile = make_profile(contract("regression"), few, answers("regression"))
    assert profile.calibration["stated"] is False
    assert "No false-alarm rate" in profile.calibration["sentence"]


def test_no_reference_is_said_plainly():
    profile = empty_profile(contract("binary"), "no rows were given")
    assert profile.columns == ()
    assert profile.calibration["stated"] is False
    assert "no rows were given" in profile.calibration["sentence"]


def test_windows_of_rows_begin_with_their_first_row():
    given = reference("regression", 3000)
    profile = make_profile(contract("regression"), given, answers("regression"))
    assert profile.rule.kind == "count"
    assert profile.windows.starts == tuple(np.sort(given.times)[:: profile.rule.rows].tolist())
    untimed = make_profile(contract("regression"), Reference(given.columns, None, given.labels), answers("regression"))
    assert untimed.windows.starts == tuple(number * DAY for number in range(30))
    assert untimed.start is None
