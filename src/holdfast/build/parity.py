"""Parity: does the built model answer as the original did?

An average hides the way in which converted trees go wrong: a handful of rows in the wrong leaf. So every row is
compared, the rows beyond the tolerance are *counted*, and one is enough to refuse the model. The rows are the
reference's and those of `boundary`, which lie where wrong leaves would show.

A difference is measured in units of the output: 1 for probabilities, the standard deviation of the original's
predictions on the reference for regression.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from holdfast.build.answers import Table, native_frame, native_predict, onnx_predict
from holdfast.build.boundary import boundary_rows
from holdfast.build.convert.graph import PYTHON_RELEASE
from holdfast.errors import BuildError, ParityFailure, Unconvertible

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from holdfast.build.convert import Converted, Task

__all__ = [
    "ParityReport",
    "Table",
    "boundary_rows",
    "native_frame",
    "native_predict",
    "onnx_predict",
    "parity",
    "prove",
]

TOLERANCE = 1e-6
FLOAT32_TOLERANCE = 1e-5
"""For XGBoost, which itself adds in float32."""


@dataclass(frozen=True)
class ParityReport:
    """The comparison of one built model with its original."""

    rows: int
    boundary_rows: int
    beyond: int
    max_difference: float
    """In units of the output scale."""
    tolerance: float
    scale: float
    refused: int = 0
    """Boundary rows that the original itself refuses (a logarithm of zero, say); they are not compared."""
    worst: tuple[dict[str, Any], ...] = ()
    """The rows that differ most, worst first, with both answers; only rows beyond the tolerance."""

    def require(self) -> ParityReport:
        """Itself, or `ParityFailure` with the worst rows if any row is beyond the tolerance."""
        if self.beyond:
            rows = "; ".join(f"{row}" for row in self.worst[:3])
            raise ParityFailure(
                f"{self.beyond} of {self.rows} rows answer differently (by up to {self.max_difference:.2g} of the output"
                f" scale, allowed {self.tolerance:.0e}). Worst: {rows}",
                "the built model",
                "please report this model; until then build it as a Python release (--python)",
            )
        return self


def parity(
    original: Callable[[Table], NDArray[np.float64]],
    built: Callable[[Table], NDArray[np.float64]],
    table: Table,
    boundary: Table | None = None,
    *,
    task: Task,
    tolerance: float = 1e-6,
    float32: bool = False,
) -> ParityReport:
    """Compare row by row on the reference and the boundary rows; the report says, `require()` insists.

    `float32`: the original itself computes in float32, so its own rounding grows with the answer; an answer larger
    than the output scale is then compared relative to itself.
    """
    reference = _matrix(_asked(original, table))
    wanted, got = reference, _matrix(built(table))
    extra = 0
    refused = 0
    if boundary is not None and _length(boundary):
        kept, answers = _answerable(original, boundary)
        refused = _length(boundary) - len(kept)
        boundary = {name: values[kept] for name, values in boundary.items()}
        extra = len(kept)
        if extra:
            wanted = np.vstack([wanted, *answers])
            got = np.vstack([got, _matrix(built(boundary))])
    scale = 1.0 if task != "regression" else _spread(reference)
    same = (wanted == got) | (np.isnan(wanted) & np.isnan(got))
    unit = np.fmax(scale, np.abs(wanted)) if float32 else scale
    with np.errstate(invalid="ignore"):
        difference = np.where(same, 0.0, np.abs(wanted - got) / unit)
    difference = np.where(np.isnan(difference), np.inf, difference).max(axis=1)
    beyond = difference > tolerance
    order = [int(i) for i in np.argsort(-difference, kind="stable")[:5] if beyond[i]]
    count = _length(table)
    return ParityReport(
        rows=len(difference),
        boundary_rows=extra,
        beyond=int(beyond.sum()),
        max_difference=float(difference.max(initial=0.0)),
        tolerance=tolerance,
        scale=scale,
        refused=refused,
        worst=tuple(
            {
                "row": _row(table, i) if i < count or boundary is None else _row(boundary, i - count),
                "boundary": i >= count,
                "original": wanted[i].tolist(),
                "built": got[i].tolist(),
            }
            for i in order
        ),
    )


def prove(
    model: Any, converted: Converted, table: Table, *, task: Task, like: Any = None, limit: int = 200
) -> ParityReport:
    """The whole proof: boundary rows, both sides, and `ParityFailure` if any row differs. `like`: a training frame."""
    float32 = "xgboost" in converted.libraries
    return parity(
        native_predict(model, converted, task=task, like=like),
        _running(converted),
        table,
        boundary_rows(converted, table, limit=limit),
        task=task,
        tolerance=FLOAT32_TOLERANCE if float32 else TOLERANCE,
        float32=float32,
    ).require()


def _running(converted: Converted) -> Callable[[Table], NDArray[np.float64]]:
    """The built model, whose failures are told as what they are: a conversion that was none."""

    def fails(bad: Exception) -> Unconvertible:
        reason = (str(bad).strip().splitlines() or [type(bad).__name__])[0]
        return Unconvertible(
            f"the built graph does not run: {reason[:200]}", f"a model of {converted.flavour}", PYTHON_RELEASE
        )

    try:
        answers = onnx_predict(converted)
    except Exception as bad:
        raise fails(bad) from bad

    def predict(table: Table) -> NDArray[np.float64]:
        try:
            return answers(table)
        except Exception as bad:
            raise fails(bad) from bad

    return predict


def _asked(original: Callable[[Table], NDArray[np.float64]], table: Table) -> NDArray[np.float64]:
    """The original's answers to the reference, which it must be able to give."""
    try:
        return original(table)
    except Exception as bad:  # each library refuses in its own way
        reason = str(bad).strip().splitlines() or [type(bad).__name__]
        raise BuildError(
            f"the original model itself does not answer the reference: {reason[0][:300]}",
            "reference",
            "give rows like those that it was trained on",
        ) from bad


def _answerable(
    original: Callable[[Table], NDArray[np.float64]], table: Table, start: int = 0
) -> tuple[list[int], list[NDArray[np.float64]]]:
    """The rows that the original answers, with its answers; halved until those that it refuses stand alone."""
    count = _length(table)
    try:
        return list(range(start, start + count)), [_matrix(original(table))]
    except Exception:  # noqa: BLE001 - each library refuses in its own way
        if count == 1:
            return [], []
    half = count // 2
    first = _answerable(original, {name: values[:half] for name, values in table.items()}, start)
    second = _answerable(original, {name: values[half:] for name, values in table.items()}, start + half)
    return first[0] + second[0], first[1] + second[1]


def _matrix(answer: NDArray[np.float64]) -> NDArray[np.float64]:
    values = np.asarray(answer, dtype=np.float64)
    return values.reshape(len(values), -1)


def _spread(values: NDArray[np.float64]) -> float:
    spread = float(np.std(values))
    return spread if spread > 0 else max(float(np.abs(values).max(initial=0.0)), 1.0)


def _length(table: Table) -> int:
    return len(next(iter(table.values()))) if table else 0


def _row(table: Table, index: int) -> dict[str, Any]:
    return {
        name: values[index].tolist() if hasattr(values[index], "tolist") else values[index]
        for name, values in table.items()
    }
