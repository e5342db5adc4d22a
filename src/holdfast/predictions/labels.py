"""Labels: the truth that arrives late, out of order and more than once, joined to the predictions that it judges.

A label names a prediction id, or a key: then it judges all predictions of that key not later than itself. One whose
prediction is unknown is kept and waits. What is joined enters two streams of windows: "labels", in arrival order, decides
*when* a monitor alarms; "events", by event time, dates the change. A correction mends the second; the first saw what it saw.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from holdfast.columns.truths import decode_label
from holdfast.core.contract import Contract, Output
from holdfast.core.names import class_columns, split_prediction_id
from holdfast.core.ports import Database, StoredLabel, Stores
from holdfast.core.prediction import Label
from holdfast.core.profile import LOSS, RESIDUAL
from holdfast.core.window import Window
from holdfast.errors import InvalidInput, UsageError
from holdfast.predictions.lookup import Predictions, Row
from holdfast.predictions.windows import Recipe, pack
from holdfast.stats.counts import Counts
from holdfast.stats.metrics import loss, residual

__all__ = ["Interval", "Joined", "Joiner", "check", "training_rows", "truth"]

Interval = tuple[int, int]
"""Event times [from, to) in microseconds UTC."""
BATCH = 2000


def truth(output: Output, value: object) -> float:
    """A label as the statistics want it: a number, or the index of its class (-1: one that the model does not know).

    Raises InvalidInput for a value that can't be a label of this contract.
    """
    decoded = decode_label(output, value)
    if isinstance(decoded, float):
        return decoded
    return float(output.classes.index(decoded)) if decoded in output.classes else -1.0


def check(contract: Contract, labels: Sequence[Label]) -> None:
    """Raise InvalidInput, naming the row, for the first label that this deployment can't take."""
    for row, label in enumerate(labels):
        if (label.prediction_id is None) == (label.key is None):
            raise InvalidInput("a label needs either a prediction id or a key", next_step="give one of them", row=row)
        if label.key is not None and contract.key is None:
            raise InvalidInput("this contract has no key column", next_step="label by prediction id", row=row)
        if label.key is not None and contract.key is not None and contract.key.logged == "drop":
            raise InvalidInput(
                f"the key '{contract.key.name}' is kept out of the log, so no prediction can be found by it",
                next_step="label by prediction id, or build with `log: hash` at that field of the contract",
                row=row,
            )
        try:
            if label.prediction_id is not None:
                split_prediction_id(label.prediction_id)
            truth(contract.output, label.value)
        except UsageError as bad:
            raise InvalidInput(bad.what, next_step=bad.next_step, row=row, field="prediction_id") from None
        except InvalidInput as bad:
            raise InvalidInput(bad.what, next_step=bad.next_step, row=row, field=bad.field) from None


class Joined(msgspec.Struct):
    """What a pass did: labels joined, labels still without a prediction."""

    joined: int = 0
    waiting: int = 0


class _Judged(msgspec.Struct):
    """One predicted row and its label; `before` is the value that this one corrects."""

    row: Row
    value: float
    before: float | None = None


class Joiner:
    """Joins what waits, pass by pass; remembers which labels found no prediction, so that they aren't sought each time.

    The memory is only that: `forget()` after somebody else joined, and it is built again from the database.
    """

    def __init__(self, database: Database, predictions: Predictions, recipes: Callable[[str], Recipe | None]) -> None:
        self._database = database
        self._predictions = predictions
        self._recipes = recipes
        self._after: dict[str, int] = defaultdict(int)
        self._unmatched: dict[str, dict[str, list[StoredLabel]]] = defaultdict(dict)

    def forget(self) -> None:
        """Start from the database again."""
        self._after.clear()
        self._unmatched.clear()

    def join(self, deployment: str, *, fresh: Collection[str] = (), excluded: Sequence[Interval] = ()) -> Joined:
        """Join all labels that can be joined now.

        `fresh` are the requests and keys that are new in the log since the last call: labels that waited for them are
        tried again. `excluded` are event times inside a pipeline fault: such rows are joined, but enter no window of
        loss or residual.
        """
        told = Joined()
        unmatched = self._unmatched[deployment]
        again = [label for name in [n for n in unmatched if n in fresh] for label in unmatched.pop(name)]
        self._batch(deployment, sorted(again, key=lambda label: label.id), excluded, told)
        while True:
            with self._database.read() as stores:
                labels = stores.labels.waiting(deployment, BATCH, self._after[deployment])
            if not labels:
                break
            self._batch(deployment, labels, excluded, told)
            self._after[deployment] = labels[-1].id
        told.waiting = sum(map(len, unmatched.values()))
        return told

    def _batch(
        self, deployment: str, labels: Sequence[StoredLabel], excluded: Sequence[Interval], told: Joined
    ) -> None:
        if not labels:
            return
        found = _find(self._predictions, deployment, labels)
        joined = [label for label in labels if found[label.id]]
        if joined:
            with self._database.begin(durable=False) as stores:
                self._enter(stores, deployment, joined, found, excluded)
                stores.labels.mark_joined([label.id for label in joined])
        for label in labels:
            if not found[label.id]:
                self._unmatched[deployment].setdefault(_waits_for(label), []).append(label)
        told.joined += len(joined)

    def _enter(
        self,
        stores: Stores,
        deployment: str,
        labels: Sequence[StoredLabel],
        found: dict[int, list[Row]],
        excluded: Sequence[Interval],
    ) -> None:
        """Add the windows of both streams for labels and their rows, in arrival order."""
        by_release: dict[str, list[_Judged]] = defaultdict(list)
        for label in labels:
            earlier = stores.labels.earlier(label) if label.version > 1 else None
            for row in found[label.id]:
                what = self._recipes(row.release)
                if what is None or any(start <= row.event_time < end for start, end in excluded):
                    continue
                corrects = earlier is not None and (label.key is None or row.event_time <= earlier.observed_at)
                before = _value(what.contract.output, earlier) if earlier and corrects else None
                by_release[row.release].append(_Judged(row, _value(what.contract.output, label), before))
        for release, judged in by_release.items():
            what = self._recipes(release)
            assert what is not None
            first = [item for item in judged if item.before is None]
            name = f"labels/{deployment}/{release}"
            seen = stores.cursors.get(name)
            numbers = (seen + np.arange(len(first))) // what.rule.label_rows
            stores.windows.add(_windows(what, deployment, "labels", first, numbers))
            stores.cursors.set(name, seen + len(first))
            stores.windows.add(_by_event(what, deployment, judged))
            if corrected := [item for item in judged if item.before is not None]:
                undone = [_Judged(item.row, item.before) for item in corrected if item.before is not None]
                stores.windows.add([_negative(window) for window in _by_event(what, deployment, undone)])


def training_rows(
    database: Database,
    predictions: Predictions,
    deployment: str,
    contract: Contract,
    *,
    excluded: Sequence[Interval] = (),
) -> dict[str, NDArray[Any]]:
    """The labelled log as one table, by event time: the contract's fields, the label, `event_time`, `release`."""
    with database.read() as stores:
        labels = stores.labels.latest(deployment)
    found = _find(predictions, deployment, labels)
    rows: dict[str, tuple[Row, Any]] = {}
    for label in sorted(labels, key=lambda label: label.prediction_id is not None):  # an id says more than a key
        for row in found[label.id]:
            if not any(start <= row.event_time < end for start, end in excluded):
                rows[row.id] = (row, msgspec.json.decode(label.value))
    chosen = sorted(rows.values(), key=lambda pair: (pair[0].event_time, pair[0].id))
    table: dict[str, NDArray[Any]] = {}
    for field in contract.fields:
        cells = [row.inputs.get(field.name) for row, _ in chosen]
        table[field.name] = np.array(cells, dtype=np.float64 if field.numeric else object)
    table[contract.output.label] = _label_column(contract.output, [value for _, value in chosen])
    table["event_time"] = np.array([row.event_time for row, _ in chosen], dtype=np.int64)
    table["release"] = np.array([row.release for row, _ in chosen], dtype=object)
    return table


def _find(predictions: Predictions, deployment: str, labels: Sequence[StoredLabel]) -> dict[int, list[Row]]:
    """The rows that each label judges, by the label's number."""
    by_id = predictions.by_ids(deployment, [label.prediction_id for label in labels if label.prediction_id])
    by_key = predictions.by_keys(deployment, [label.key for label in labels if label.key is not None])
    found: dict[int, list[Row]] = {}
    for label in labels:
        if label.prediction_id:
            found[label.id] = [by_id[label.prediction_id]] if label.prediction_id in by_id else []
        else:
            rows = by_key.get(label.key or "", [])
            found[label.id] = [row for row in rows if row.event_time <= label.observed_at]
    return found


def _waits_for(label: StoredLabel) -> str:
    """The request or key whose turning up lets this label be joined."""
    return split_prediction_id(label.prediction_id)[0] if label.prediction_id else label.key or ""


def _value(output: Output, label: StoredLabel) -> float:
    return truth(output, msgspec.json.decode(label.value))


def _label_column(output: Output, values: list[Any]) -> NDArray[Any]:
    if output.task == "regression":
        return np.array(values, dtype=np.float64)
    indices = [int(truth(output, value)) for value in values]
    names = [output.classes[i] if i >= 0 else str(value) for i, value in zip(indices, values, strict=True)]
    return np.array(names, dtype=object)


def _by_event(what: Recipe, deployment: str, judged: Sequence[_Judged]) -> list[Window]:
    numbers = np.array([item.row.event_time for item in judged], dtype=np.int64) // what.rule.length_us
    return _windows(what, deployment, "events", judged, numbers)


def _windows(
    what: Recipe, deployment: str, stream: Any, judged: Sequence[_Judged], numbers: NDArray[np.int64]
) -> list[Window]:
    """Windows of loss and residual, one per number and track."""
    if not judged:
        return []
    losses, residuals, wrong = _errors(what.contract.output, judged)
    table = {LOSS: losses, RESIDUAL: residuals}
    times = np.array([item.row.event_time for item in judged], dtype=np.int64)
    groups: dict[tuple[int, str], list[int]] = defaultdict(list)
    for i, (number, item) in enumerate(zip(numbers.tolist(), judged, strict=True)):
        groups[number, item.row.track].append(i)
    windows = []
    for (number, track), rows in groups.items():
        counts = Counts.of(what.errors, {spec.name: table[spec.name][rows] for spec in what.errors})
        sums = {"n": float(len(rows)), "loss": _sum(losses[rows]), "loss2": _sum(losses[rows] ** 2)}
        if what.contract.output.task == "regression":
            sums["residual"] = _sum(residuals[rows])
        else:
            sums["errors"] = _sum(wrong[rows])
        name = (deployment, judged[0].row.release, track)
        windows.append(
            pack(what.rule, stream, number, times[rows], Counts(len(rows), counts.columns), name=name, sums=sums)
        )
    return windows


def _errors(
    output: Output, judged: Sequence[_Judged]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Loss, signed residual (regression) and whether the answer was wrong (classification), per row."""
    y = np.array([item.value for item in judged])
    none = np.zeros(len(judged))
    if output.task == "regression":
        said = np.array([item.row.outputs.get("prediction", np.nan) for item in judged], dtype=np.float64)
        return loss("regression", y, said, scale=output.scale), residual(y, said, scale=output.scale), none
    names = class_columns(output.classes)
    shares = np.array([[item.row.outputs.get(name, np.nan) for name in names] for item in judged], dtype=np.float64)
    known = dict(enumerate(output.classes))
    wrong = np.array([known.get(int(item.value)) != item.row.outputs.get("label") for item in judged], dtype=np.float64)
    return loss(output.task, y, shares[:, 1] if output.task == "binary" else shares), none, wrong


def _sum(values: NDArray[np.float64]) -> float:
    return float(np.nansum(values))


def _negative(window: Window) -> Window:
    """Takes away what the window adds."""
    counts = Counts.from_bytes(window.counts)
    undone = Counts(-counts.rows, {name: -vector for name, vector in counts.columns.items()})
    return msgspec.structs.replace(
        window, rows=-window.rows, counts=undone.to_bytes(), sums={name: -value for name, value in window.sums.items()}
    )
