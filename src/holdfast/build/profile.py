"""The reference profile: what inputs, answers and errors looked like on rows that the model was not fitted on.

It holds counts, never rows: how each monitored column is cut into bins, the series of windows in event-time order (a live
window is compared with how these differ among themselves), the columns' weights, held-out performance with intervals, and
the calibration replay, which says whether a false-alarm rate may be stated at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from holdfast.build.slices import by_slice
from holdfast.core.contract import Contract, Field
from holdfast.core.profile import CONFIDENCE, DAY, HOUR, LOSS, OUTPUT, RESIDUAL, Profile, Series, WindowRule
from holdfast.stats import metrics
from holdfast.stats.calibration import MIN_WINDOWS, Calibration
from holdfast.stats.counts import ColumnSpec, Counts, fit_spec
from holdfast.stats.intervals import Estimate
from holdfast.stats.metrics import scaled
from holdfast.stats.panel import StreamName
from holdfast.stats.replay import replay

__all__ = ["Answers", "Reference", "empty_profile", "make_profile", "window_rule"]

Values = NDArray[Any]
Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

WINDOW_ROWS: Final = 100
"""Rows that a window should have: fewer say little, more take longer to come together."""
IMPORTANCE_ROWS: Final = 2000
IMPORTANCE_ANSWERS: Final = 200_000
"""Rows that are answered for it in all: of an image, each of a thousand pixels is shuffled on fewer."""
FEWEST: Final = 100
REPLAYED: Final = 1000
"""Newest windows that the calibration replay looks at: three years of days, and seconds of work."""
DIGITS: Final = 10
"""Significant digits that are stored: the last bits of a sum may differ from machine to machine."""

Answers = Callable[[Mapping[str, Values]], Floats]
"""The built model: feature columns -> prediction [n] or probabilities [n, k]."""


@dataclass(frozen=True)
class Reference:
    """The reference rows, typed by the contract."""

    columns: Mapping[str, Values]
    times: Integers | None
    """Event time per row, microseconds UTC; None without a timestamp."""
    labels: Floats | None
    """Numbers, or class indices (-1: a class that the model doesn't know); NaN where a row has no label."""

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(next(iter(self.columns.values()))) if self.columns else 0

    def ordered(self) -> Reference:
        """By event time; rows of one instant, and rows without a timestamp, stay as they came."""
        if self.times is None:
            return self
        order = np.argsort(self.times, kind="stable")
        labels = None if self.labels is None else self.labels[order]
        return Reference({name: values[order] for name, values in self.columns.items()}, self.times[order], labels)


def window_rule(times: Integers | None, rows: int, labelled: int) -> WindowRule:
    """How live predictions will be cut: fixed here, once, so that they can be compared with the reference.

    The smaller of hour and day with a median of 100 rows and 30 reference windows, else windows of 100 rows, or of a
    thirtieth of a short reference.
    """
    for length in (HOUR, DAY):
        if times is None:
            break
        sizes = np.unique(times // length, return_counts=True)[1]
        median = int(np.median(sizes)) if len(sizes) else 0
        if median >= WINDOW_ROWS and len(sizes) >= MIN_WINDOWS:
            return WindowRule(kind="time", length_us=length, rows=median, label_rows=_label_rows(median, labelled))
    size = min(WINDOW_ROWS, max(rows // MIN_WINDOWS, 1))
    # Without event times the pace of the traffic is not known before it comes; a day is the assumption.
    length = DAY
    if times is not None and rows > size:
        ordered = np.sort(times)
        length = max(int(np.median(ordered[size:] - ordered[:-size])), 1)
    return WindowRule(kind="count", length_us=length, rows=size, label_rows=_label_rows(size, labelled))


def _label_rows(rows: int, labelled: int) -> int:
    return min(rows, max(labelled // MIN_WINDOWS, 1)) if labelled else rows


def make_profile(contract: Contract, reference: Reference, answers: Answers, rule: WindowRule | None = None) -> Profile:
    """Count, weigh, measure and replay the reference.

    rule: how windows are cut; a candidate keeps its parent's, though its own reference be short: what it lacks to 30 windows
    is learned from its first live ones.
    """
    reference = reference.ordered()
    said = answers(reference.columns)
    known = np.isfinite(reference.labels) if reference.labels is not None else np.zeros(reference.rows, dtype=bool)
    rule = rule or window_rule(reference.times, reference.rows, int(known.sum()))
    table, specs = _inputs(contract, reference, said)
    for name, values in _outputs(contract, said).items():
        table[name] = values
        specs.append(fit_spec(name, values, "output"))
    numbers = _numbers(rule, reference)
    timed = rule.kind == "time"
    windows = _series(specs, table, numbers, rule, None if timed else reference.times)
    errors, error_specs, labels = _errors(contract, reference, said, known, rule)
    weights = _importance(contract, reference, answers, said)
    calibration = _calibrate([*specs, *error_specs], windows, labels, weights)
    measured = partial(_performance, contract, reference, said, numbers)
    return Profile(
        columns=tuple(spec.to_dict() for spec in [*specs, *error_specs]),
        importance=weights,
        rule=rule,
        rows=reference.rows,
        start=None if reference.times is None or not reference.rows else int(reference.times[0]),
        end=None if reference.times is None or not reference.rows else int(reference.times[-1]),
        windows=windows,
        labels=labels,
        performance=measured(known) if errors else {},
        calibration=calibration,
        slices=by_slice(contract, reference.columns, known, measured) if errors else (),
    )


def empty_profile(contract: Contract, why: str) -> Profile:
    """Without reference rows: nothing to compare with, and that is what it says."""
    weights = {field.name: field.importance for field in contract.features if field.importance is not None}
    return Profile(
        columns=(),
        importance=weights,
        rule=window_rule(None, WINDOW_ROWS * MIN_WINDOWS, 0),
        rows=0,
        start=None,
        end=None,
        windows=Series((), ()),
        labels=Series((), ()),
        performance={},
        calibration={"stated": False, "why": why, "sentence": f"No false-alarm rate is stated: {why}."},
    )


def watched(contract: Contract) -> list[Field]:
    """The fields whose distribution is monitored: a value that the log does not keep cannot be counted."""
    return [field for field in contract.features if field.monitored and field.logged == "keep"]


def _inputs(contract: Contract, reference: Reference, said: Floats) -> tuple[dict[str, Values], list[ColumnSpec]]:
    """Monitored inputs; categories stand in the order of the model's mean answer, where an answer has an order."""
    fields = watched(contract)
    target = None if contract.output.task == "multiclass" else _single(said)
    if target is not None and not np.isfinite(target).all():
        target = None
    table = {field.name: reference.columns[field.name] for field in fields}
    return table, [fit_spec(name, values, "input", target=target) for name, values in table.items()]


def _outputs(contract: Contract, said: Floats) -> dict[str, Values]:
    """The model's answer as monitored columns, see `core.profile`."""
    if contract.output.task != "multiclass":
        return {OUTPUT: _single(said)}
    names = np.array(contract.output.classes, dtype=object)
    return {OUTPUT: names[said.argmax(axis=1)], CONFIDENCE: said.max(axis=1)}


def _single(said: Floats) -> Floats:
    """Prediction, or P(positive class)."""
    return said if said.ndim == 1 else np.ascontiguousarray(said[:, 1])


def _numbers(rule: WindowRule, reference: Reference) -> Integers:
    """The window of each row; -1 for rows of a last, incomplete count window."""
    if rule.kind == "time" and reference.times is not None:
        return reference.times // rule.length_us
    return _chunks(reference.rows, rule.rows)


def _chunks(rows: int, size: int) -> Integers:
    numbers = np.arange(rows, dtype=np.int64) // size
    numbers[rows // size * size :] = -1
    return numbers


def _series(
    specs: Sequence[ColumnSpec],
    table: Mapping[str, Values],
    numbers: Integers,
    rule: WindowRule,
    times: Integers | None,
) -> Series:
    """Counts per window. Rows are in order, so that every window is one slice.

    A count window begins with its first row; a time window, and one of rows without times, where its number says.
    """
    starts, counts = [], []
    edges = np.flatnonzero(np.diff(numbers)) + 1
    for first, last in zip([0, *edges.tolist()], [*edges.tolist(), len(numbers)], strict=True):
        if first == last or numbers[first] < 0:
            continue
        starts.append(int(numbers[first]) * rule.length_us if times is None else int(times[first]))
        part = {spec.name: table[spec.name][first:last] for spec in specs}
        counts.append(Counts.of(specs, part).to_bytes())
    return Series(tuple(starts), tuple(counts))


def _errors(
    contract: Contract, reference: Reference, said: Floats, known: NDArray[np.bool_], rule: WindowRule
) -> tuple[dict[str, Floats], list[ColumnSpec], Series]:
    """Loss and, for regression, signed residual of the labelled rows, cut by `label_rows`."""
    if reference.labels is None or not known.any():
        return {}, [], Series((), ())
    output = contract.output
    y, answer = reference.labels[known], said[known]
    given = _single(answer) if output.task != "multiclass" else answer
    table = {LOSS: metrics.loss(output.task, y, given, scale=output.scale)}
    specs = [fit_spec(LOSS, table[LOSS], "loss")]
    if output.task == "regression":
        table[RESIDUAL] = metrics.residual(y, given, scale=output.scale)
        specs.append(fit_spec(RESIDUAL, table[RESIDUAL], "residual"))
    times = None if reference.times is None else reference.times[known]
    return table, specs, _series(specs, table, _chunks(len(y), rule.label_rows), rule, times)


def _importance(contract: Contract, reference: Reference, answers: Answers, said: Floats) -> dict[str, float]:
    """How much the model's answer depends on each input: its mean change when that column alone is shuffled.

    What the contract says overrides it. (Permutation importance: L. Breiman, Random forests, Machine Learning 45, 2001;
    here of the answer instead of the error, so that it needs no labels and noise cannot make it negative.)
    """
    rng = np.random.default_rng(0)
    rows = reference.rows
    most = min(max(IMPORTANCE_ANSWERS // max(len(contract.features), 1), FEWEST), IMPORTANCE_ROWS)
    chosen = np.sort(rng.choice(rows, most, replace=False)) if rows > most else np.arange(rows)
    columns = {field.name: reference.columns[field.name][chosen] for field in contract.features}
    base = _on_scale(contract, said[chosen])
    found: dict[str, float] = {}
    for field in contract.features:
        if field.importance is not None:
            found[field.name] = field.importance
            continue
        shuffled = columns | {field.name: columns[field.name][rng.permutation(len(chosen))]}
        found[field.name] = (
            float(np.nanmean(np.abs(_on_scale(contract, answers(shuffled)) - base))) if len(chosen) else 0.0
        )
    total = sum(value for name, value in found.items() if contract.field(name).importance is None)
    return {
        name: _short(value / total) if contract.field(name).importance is None and total > 0 else _short(value)
        for name, value in found.items()
    }


def _on_scale(contract: Contract, said: Floats) -> Floats:
    return scaled(said, contract.output.scale) if contract.output.task == "regression" else said


def _performance(
    contract: Contract, reference: Reference, said: Floats, numbers: Integers, known: NDArray[np.bool_]
) -> dict[str, dict[str, Any]]:
    """Held-out metrics of the rows in `known`; with enough windows of time, these are the independent units, not rows."""
    assert reference.labels is not None
    output = contract.output
    y, answer = reference.labels[known], said[known]
    timed = reference.times is not None and len(np.unique(numbers[known])) >= MIN_WINDOWS
    windows = numbers[known] if timed else None
    found: dict[str, Estimate]
    if output.task == "regression":
        found = metrics.regression(y, answer, scale=output.scale, windows=windows)
    elif output.task == "binary":
        found = metrics.binary(y, _single(answer), threshold=output.threshold, windows=windows)
    else:
        found = metrics.multiclass(y, answer, windows=windows)
    plain = {name: asdict(estimate) for name, estimate in found.items()}
    return {
        name: {key: _short(value) if isinstance(value, float) else value for key, value in metric.items()}
        for name, metric in plain.items()
        if np.isfinite(metric["value"])
    }


def _calibrate(
    specs: Sequence[ColumnSpec], windows: Series, labels: Series, weights: Mapping[str, float]
) -> dict[str, Any]:
    """Replay the reference's own history, and say what may be promised."""
    history: dict[StreamName, list[Counts]] = {
        "windows": [Counts.from_bytes(packed) for packed in windows.counts[-REPLAYED:]],
        "labels": [Counts.from_bytes(packed) for packed in labels.counts[-REPLAYED:]],
    }
    found = replay(specs, history, np.random.default_rng(0), importance=weights)
    whitening = None if found.whitening is None else {name: _short(v) for name, v in found.whitening.items()}
    found = Calibration(found.runs, found.checks, whitening, found.not_guaranteed, found.too_short)
    sentence = found.sentence()
    if not found.runs and found.rate_stated:
        sentence = (
            f"The reference has {len(windows.counts)} windows: a rate can be stated, but hardly be tried out on them."
        )
    return found.to_dict() | {"stated": found.rate_stated, "sentence": sentence}


def _short(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
