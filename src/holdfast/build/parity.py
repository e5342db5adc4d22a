"""Parity: does the built model answer as the original did?

An average hides the way in which converted trees go wrong: a handful of rows in the wrong leaf. So every row is
compared, the rows beyond the tolerance are *counted*, and one is enough to refuse the model. And because wrong leaves
show only next to thresholds, `boundary_rows` puts rows there: for each threshold of the graph's trees it searches the
raw column, through whatever preprocessing stands before the trees, for the two neighbouring float64 values between
which the split lies, and asks at both, and one step further out on either side. Where a logarithm or a matrix product
stands in between, the last bit is not defined; there the steps are a billionth. Missing and unseen values complete it.

A difference is measured in units of the output: 1 for probabilities, the standard deviation of the original's
predictions on the reference for regression.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from holdfast.build.convert import MISSING, Converted, Task, flavour_of, model_columns
from holdfast.build.convert.graph import onnx
from holdfast.errors import ParityFailure

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

Table = dict[str, "NDArray[Any]"]
"""Columns by name: float64 with NaN, or object arrays of str and None."""

TOLERANCE = 1e-6
FLOAT32_TOLERANCE = 1e-5
"""For XGBoost, which itself adds in float32."""

UNSEEN = "\x00unseen"
INEXACT_OPERATORS = {"Log", "Exp", "Pow", "MatMul", "Gemm", "Sin", "Cos", "Tanh", "Sigmoid", "Softmax"}
LESS = 1
LOWEST = np.int64(-(2**63))


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
                "please report this model; until then build it as a Python release",
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
    reference = _matrix(original(table))
    wanted, got = reference, _matrix(built(table))
    extra = 0
    if boundary is not None and _length(boundary):
        extra = _length(boundary)
        wanted = np.vstack([wanted, _matrix(original(boundary))])
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
        onnx_predict(converted),
        table,
        boundary_rows(converted, table, limit=limit),
        task=task,
        tolerance=FLOAT32_TOLERANCE if float32 else TOLERANCE,
        float32=float32,
    ).require()


def onnx_predict(converted: Converted) -> Callable[[Table], NDArray[np.float64]]:
    """The built model as a function of a table."""
    session = _session(converted.onnx)
    name = converted.outputs[0]
    return lambda table: np.asarray(session.run([name], feeds(converted, table))[0])


def feeds(converted: Converted, table: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """A table as the graph's inputs."""
    result = {}
    for column in converted.inputs:
        values = table[column.name]
        if column.text:
            texts = np.empty((len(values), 1), dtype=object)
            texts[:, 0] = [MISSING if value is None or value != value else value for value in values]  # noqa: PLR0124 - NaN
            result[column.name] = texts
        else:
            result[column.name] = np.asarray(values, dtype=np.float64).reshape(len(values), column.width)
    return result


def _session(content: bytes) -> Any:
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


# ---------------------------------------------------------------------------------------------- the original's side


def native_predict(model: Any, converted: Converted, *, task: Task, like: Any = None) -> Callable[[Table], NDArray[np.float64]]:
    """The original model as a function of a table; `like` is a frame with the training dtypes, where there is one."""

    def predict(table: Table) -> NDArray[np.float64]:
        given = native_frame(model, converted, table, like=like)
        if type(model).__name__ == "Booster" and flavour_of(model) == "xgboost":
            import xgboost

            # A plain array carries no names; the frame's are the booster's own.
            return _both(np.asarray(model.predict(xgboost.DMatrix(given)), dtype=np.float64), task)
        if task == "regression" or not hasattr(model, "predict_proba"):
            return _both(np.asarray(model.predict(given), dtype=np.float64), task)
        return np.asarray(model.predict_proba(given), dtype=np.float64)

    return predict


def _both(answer: NDArray[np.float64], task: Task) -> NDArray[np.float64]:
    return np.column_stack([1.0 - answer, answer]) if task == "binary" and answer.ndim == 1 else answer


def native_frame(model: Any, converted: Converted, table: Table, *, like: Any = None) -> Any:
    """The pandas frame (or array, for a model of plain arrays) that the original expects."""
    names = model_columns(model)
    if not names and not any(column.text for column in converted.inputs):
        return np.column_stack([np.asarray(table[c.name], dtype=np.float64) for c in converted.inputs])
    import pandas as pd

    columns: dict[str, Any] = {}
    for column in converted.inputs:
        values = table[column.name]
        if column.text:
            gap = None if column.name in converted.none_columns else np.nan
            texts = [gap if value is None or value != value else value for value in values]  # noqa: PLR0124 - NaN
            series = pd.Series(texts, dtype=object)
            if like is None and column.name in converted.category_columns:
                series = series.astype("category")
        else:
            series = pd.Series(_typed(np.asarray(values, dtype=np.float64), column.datatype))
        if like is not None and column.name in like:
            series = _like(series, like[column.name])
        columns[column.name] = series
    frame = pd.DataFrame(columns)
    return frame[list(names)] if set(names) <= set(columns) and names else frame


def _typed(values: NDArray[np.float64], datatype: str) -> NDArray[Any]:
    """Whole numbers and truth values in their own type where nothing is missing. FP32 stays float64: the server's width."""
    if datatype.startswith("FP") or not np.all(np.isfinite(values)) or np.any(values != np.floor(values)):
        return values
    return values.astype(bool) if datatype == "BOOL" and set(np.unique(values)) <= {0.0, 1.0} else values.astype(np.int64)


def _like(series: Any, example: Any) -> Any:
    import pandas as pd

    if isinstance(example.dtype, pd.CategoricalDtype):
        return series.astype(example.dtype)
    if pd.api.types.is_string_dtype(example.dtype) and not pd.api.types.is_object_dtype(example.dtype):
        return series.astype(example.dtype)
    return series


# ---------------------------------------------------------------------------------------------- rows at thresholds


def boundary_rows(converted: Converted, table: Table, *, limit: int = 200) -> Table:
    """Rows at the thresholds of the graph's trees, and with missing and unseen values; at most `limit` splits a column."""
    if not _length(table):
        return table
    parts = _special_rows(converted, table)
    trees = _TreeInputs.read(converted)
    for column in converted.inputs if trees else ():
        if not column.text and not column.shape:
            parts += trees.rows_around(column.name, table, limit) if trees else []
    if not parts:
        return {name: values[:0] for name, values in table.items()}
    return {name: np.concatenate([part[name] for part in parts]) for name in table}


def _special_rows(converted: Converted, table: Table) -> list[Table]:
    count = min(8, _length(table))
    base = {name: values[:count] for name, values in table.items()}
    parts = []
    nullable = [column for column in converted.inputs if column.nullable]
    for column in nullable:
        parts.append(base | {column.name: _gap(base[column.name], column.text)})
    if nullable:
        parts.append(base | {column.name: _gap(base[column.name], column.text) for column in nullable})
    for column in converted.inputs:
        if column.name in converted.closed or column.shape:
            continue
        values = base[column.name]
        if column.text:
            parts.append(base | {column.name: np.array([UNSEEN] * count, dtype=object)})
            parts.append(base | {column.name: np.array([""] * count, dtype=object)})
        elif column.datatype != "BOOL":
            known = table[column.name]
            known = known[np.isfinite(known)]
            reach = float(known.max() - known.min()) + 1.0 if len(known) else 1.0
            parts += [base | {column.name: np.where(np.isnan(values), values, values + step)} for step in (-reach, reach)]
    return parts


def _gap(values: NDArray[Any], text: bool) -> NDArray[Any]:  # noqa: FBT001
    return np.array([None] * len(values), dtype=object) if text else np.full(len(values), np.nan)


@dataclass(frozen=True)
class _TreeInputs:
    """The matrices that the graph's trees read, as a model of their own, and the thresholds on their columns."""

    converted: Converted
    session: Any
    splits: tuple[dict[int, NDArray[np.float64]], ...]
    """Per matrix: feature -> its thresholds."""
    strict: tuple[bool, ...]
    exact: bool

    @staticmethod
    def read(converted: Converted) -> _TreeInputs | None:
        lib = onnx()
        model = lib.load_model_from_string(converted.onnx)
        by_matrix: dict[str, dict[int, set[float]]] = {}
        strict: dict[str, bool] = {}
        for node in model.graph.node:
            if node.op_type != "TreeEnsemble":
                continue
            attributes = {a.name: a for a in node.attribute}
            modes = lib.numpy_helper.to_array(attributes["nodes_modes"].t)
            splits = lib.numpy_helper.to_array(attributes["nodes_splits"].t)
            features = np.array(attributes["nodes_featureids"].ints)
            found = by_matrix.setdefault(node.input[0], {})
            strict[node.input[0]] = bool((modes == LESS).any())
            plain = (modes <= LESS) & np.isfinite(splits)
            for feature, split in zip(features[plain].tolist(), splits[plain].tolist(), strict=True):
                found.setdefault(feature, set()).add(split)
        if not by_matrix:
            return None
        before = _ancestors(model.graph.node, by_matrix)
        exact = not any(node.op_type in INEXACT_OPERATORS for node in before)
        del model.graph.output[:]
        rows = [lib.helper.make_tensor_value_info(name, lib.TensorProto.DOUBLE, ["n", None]) for name in by_matrix]
        direct = {value.name for value in model.graph.input}
        kept = [value for value in rows if value.name not in direct]
        copies = [lib.helper.make_node("Identity", [name], [f"{name}_seen"]) for name in by_matrix if name in direct]
        model.graph.node.extend(copies)
        model.graph.output.extend(kept)
        for node in copies:
            model.graph.output.append(lib.helper.make_tensor_value_info(node.output[0], lib.TensorProto.DOUBLE, ["n", None]))
        order = [value.name.removesuffix("_seen") for value in model.graph.output]
        splits_by = tuple({f: np.array(sorted(s)) for f, s in sorted(by_matrix[name].items())} for name in order)
        session = _session(model.SerializeToString())
        return _TreeInputs(converted, session, splits_by, tuple(strict[name] for name in order), exact)

    def features(self, table: Table) -> list[NDArray[np.float64]]:
        return [np.asarray(matrix) for matrix in self.session.run(None, feeds(self.converted, table))]

    def rows_around(self, name: str, table: Table, limit: int) -> list[Table]:
        known = np.unique(table[name][np.isfinite(table[name])])
        if not len(known):
            return []
        low, high = float(known[0]), float(known[-1])
        if low == high:
            low, high = low - 1.0, high + 1.0
        probe = {key: np.repeat(values[:1], 2) if values.ndim == 1 else np.repeat(values[:1], 2, axis=0) for key, values in table.items()}
        seen = self.features(probe | {name: np.array([low, high])})
        parts: list[Table] = []
        for which, matrix in enumerate(seen):
            for feature, thresholds in self.splits[which].items():
                if matrix[0, feature] == matrix[1, feature] or np.isnan(matrix[:, feature]).any():
                    continue
                parts += self._around(name, table, which, feature, _spaced(thresholds, limit), (low, high))
        return parts

    def _around(
        self, name: str, table: Table, which: int, feature: int, thresholds: NDArray[np.float64], ends: tuple[float, float]
    ) -> list[Table]:
        """Bisect the raw column, all thresholds at once, down to neighbouring float64 values."""
        count = len(thresholds)
        rows = np.arange(count) * 7919 % _length(table)
        base = {key: values[rows] for key, values in table.items()}

        def passes(raw: NDArray[np.float64]) -> NDArray[np.bool_]:
            value = self.features(base | {name: raw})[which][:, feature]
            return value < thresholds if self.strict[which] else value <= thresholds

        left, right = _ordered(np.full(count, ends[0])), _ordered(np.full(count, ends[1]))
        starts = passes(_plain(left))
        crossed = starts != passes(_plain(right))
        for _ in range(64):
            middle = (left >> 1) + (right >> 1) + (left & right & 1)  # the sum itself may overflow
            same = passes(_plain(middle)) == starts
            left, right = np.where(same, middle, left), np.where(same, right, middle)
        below, above = _plain(left), _plain(right)
        if self.exact:
            raws = [below, above, np.nextafter(below, -np.inf), np.nextafter(above, np.inf)]
        else:
            step = 1e-9 * np.maximum(np.abs(below), 1e-3)
            raws = [below - step, above + step]
        picked = np.flatnonzero(crossed)
        return [{key: values[picked] for key, values in base.items()} | {name: raw[picked]} for raw in raws]


def _ancestors(nodes: Sequence[Any], wanted: Mapping[str, Any]) -> list[Any]:
    names, found = set(wanted), []
    for node in reversed(nodes):
        if names & set(node.output):
            found.append(node)
            names |= set(node.input)
    return found


def _spaced(values: NDArray[np.float64], limit: int) -> NDArray[np.float64]:
    if len(values) <= limit:
        return values
    return values[np.linspace(0, len(values) - 1, limit).astype(int)]


def _ordered(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """float64 -> int64 such that neighbouring numbers become neighbouring integers."""
    bits = values.view(np.int64)
    return np.where(bits >= 0, bits, LOWEST - bits)


def _plain(order: NDArray[np.int64]) -> NDArray[np.float64]:
    """The inverse of `_ordered`."""
    return np.where(order >= 0, order, LOWEST - order).view(np.float64)


def _matrix(answer: NDArray[np.float64]) -> NDArray[np.float64]:
    values = np.asarray(answer, dtype=np.float64)
    return values.reshape(len(values), -1)


def _spread(values: NDArray[np.float64]) -> float:
    spread = float(np.std(values))
    return spread if spread > 0 else max(float(np.abs(values).max(initial=0.0)), 1.0)


def _length(table: Table) -> int:
    return len(next(iter(table.values()))) if table else 0


def _row(table: Table, index: int) -> dict[str, Any]:
    return {name: values[index].tolist() if hasattr(values[index], "tolist") else values[index] for name, values in table.items()}
