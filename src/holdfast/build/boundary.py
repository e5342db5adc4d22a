"""Rows where a converted model would go wrong, if it did: at the thresholds of its trees.

For each threshold in the graph the raw column is searched, through whatever preprocessing stands before the trees, for
the two neighbouring float64 values between which the split lies; rows ask at both, and one step further out on either
side. Where a logarithm or a matrix product stands in between, the last bit is not defined; there the steps are a
billionth. Rows with missing values, unseen categories and numbers out of range complete it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from holdfast.build.answers import Table, feeds, open_session
from holdfast.build.convert import Matrix
from holdfast.build.convert.graph import onnx

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from holdfast.build.convert import Converted, Input

UNSEEN = "\x00unseen"
INEXACT_OPERATORS = {"Log", "Exp", "Pow", "MatMul", "Gemm", "Sin", "Cos", "Tanh", "Sigmoid", "Softmax"}
LESS = 1
LOWEST = np.int64(-(2**63))


def boundary_rows(converted: Converted, table: Table, *, limit: int = 200) -> Table:
    """Rows at the thresholds of the graph's trees, and with missing and unseen values; at most `limit` splits a column."""
    if not len(next(iter(table.values()))):
        return table
    parts = _special_rows(converted, table)
    trees = _TreeInputs.read(converted)
    for column in converted.inputs:
        searchable = (
            column.datatype not in {"BYTES", "BOOL"} and not column.shape and column.name not in converted.closed
        )
        if trees and searchable:
            parts += trees.rows_around(column, table, limit)
    if not parts:
        return {name: values[:0] for name, values in table.items()}
    return {name: np.concatenate([part[name] for part in parts]) for name in table}


def _special_rows(converted: Converted, table: Table) -> list[Table]:
    count = min(8, len(next(iter(table.values()))))
    base = {name: values[:count] for name, values in table.items()}
    nullable = [column for column in converted.inputs if column.nullable and not column.shape]
    parts = [base | {column.name: _gap(base[column.name], column.text)} for column in nullable]
    if nullable:
        parts.append(base | {column.name: _gap(base[column.name], column.text) for column in nullable})
    for column in converted.inputs:
        if column.name in converted.closed or column.shape:
            continue
        values = base[column.name]
        if column.text:
            parts.append(base | {column.name: np.array([UNSEEN] * count, dtype=object)})
            parts.append(base | {column.name: np.array([""] * count, dtype=object)})
            swapped = [None if value is None else value.swapcase() for value in values.tolist()]
            parts.append(base | {column.name: np.array(swapped, dtype=object)})
        elif column.datatype != "BOOL":
            known = table[column.name][np.isfinite(table[column.name])]
            if len(known):
                low, high = float(known.min()), float(known.max())
                # What never is negative stays so: behind it may stand a logarithm.
                below = low - (high - low) - 1.0 if low < 0 else np.floor(low / 2)
                beyond = (below, high + (high - low) + 1.0)
                parts += [base | {column.name: np.where(np.isnan(values), values, end)} for end in beyond]
    return parts


def _gap(values: NDArray[Any], text: bool) -> NDArray[Any]:  # noqa: FBT001
    return np.array([None] * len(values), dtype=object) if text else np.full(len(values), np.nan)


@dataclass(frozen=True)
class _TreeInputs:
    """The matrices that the graph's trees read, as a model of their own, and the thresholds on their columns."""

    converted: Converted
    session: Any
    names: tuple[str, ...]
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
        del model.graph.node[:], model.graph.output[:]
        model.graph.node.extend(before)
        for name in by_matrix:
            model.graph.node.append(lib.helper.make_node("Identity", [name], [f"{name}_seen"]))
            seen = lib.helper.make_tensor_value_info(f"{name}_seen", lib.TensorProto.DOUBLE, ["n", None])
            model.graph.output.append(seen)
        order = list(by_matrix)
        splits_by = tuple({f: np.array(sorted(s)) for f, s in sorted(by_matrix[name].items())} for name in order)
        session = open_session(model.SerializeToString())
        names = tuple(f"{name}_seen" for name in order)
        return _TreeInputs(converted, session, names, splits_by, tuple(strict[name] for name in order), exact)

    def features(self, table: Table) -> list[NDArray[np.float64]]:
        return [np.asarray(matrix) for matrix in self.session.run(None, feeds(self.converted, table))]

    def rows_around(self, column: Input, table: Table, limit: int) -> list[Table]:
        name = column.name
        known = np.unique(table[name][np.isfinite(table[name])])
        if not len(known):
            return []
        low, high = float(known[0]), float(known[-1])
        if low == high:
            low, high = low - 1.0, high + 1.0
        probe = {
            key: np.repeat(values[:1], 2) if values.ndim == 1 else np.repeat(values[:1], 2, axis=0)
            for key, values in table.items()
        }
        seen = self.features(probe | {name: np.array([low, high])})
        parts = []
        for which, matrix in enumerate(seen):
            moved = {
                feature: thresholds
                for feature, thresholds in self.splits[which].items()
                if matrix[0, feature] != matrix[1, feature] and not np.isnan(matrix[:, feature]).any()
            }
            if moved:
                share = max(limit // len(moved), 1)
                pairs = [(f, split) for f, thresholds in moved.items() for split in _spaced(thresholds, share).tolist()]
                parts += self._around(column, table, which, pairs, (low, high))
        return parts

    def _around(
        self, column: Input, table: Table, which: int, pairs: list[tuple[int, float]], ends: tuple[float, float]
    ) -> list[Table]:
        """Bisect the raw column, for all (feature, threshold) at once, down to neighbouring float64 values."""
        name, count = column.name, len(pairs)
        features, thresholds = np.array([f for f, _ in pairs]), np.array([split for _, split in pairs])
        rows = np.arange(count) * 7919 % len(next(iter(table.values())))
        base = {key: values[rows] for key, values in table.items()}
        given, matrix = feeds(self.converted, base), Matrix.of(self.converted.inputs)
        raw_column = given[matrix.name][:, matrix.columns.index(name)]

        def passes(raw: NDArray[np.float64]) -> NDArray[np.bool_]:
            raw_column[:] = raw
            value = np.asarray(self.session.run([self.names[which]], given)[0])[np.arange(count), features]
            true: NDArray[np.bool_] = value < thresholds if self.strict[which] else value <= thresholds
            return true

        left, right = _ordered(np.full(count, ends[0])), _ordered(np.full(count, ends[1]))
        starts = passes(_plain(left))
        crossed = starts != passes(_plain(right))
        for _ in range(64):
            middle = (left >> 1) + (right >> 1) + (left & right & 1)  # the sum itself may overflow
            same = passes(_plain(middle)) == starts
            left, right = np.where(same, middle, left), np.where(same, right, middle)
        below, above = _plain(left), _plain(right)
        if "INT" in column.datatype:
            raws = [np.floor(below), np.ceil(above)]
        elif self.exact:
            raws = [below, above, np.nextafter(below, -np.inf), np.nextafter(above, np.inf)]
        else:
            step = 1e-9 * np.maximum(np.abs(below), 1e-3)
            raws = [below - step, above + step]
        picked = np.flatnonzero(crossed)
        return [{key: values[picked] for key, values in base.items()} | {name: raw[picked]} for raw in raws]


def _ancestors(nodes: Sequence[Any], wanted: Mapping[str, Any]) -> list[Any]:
    """The nodes that compute the wanted tensors, in order."""
    names, found = set(wanted), []
    for node in reversed(nodes):
        if names & set(node.output):
            found.append(node)
            names |= set(node.input)
    return found[::-1]


def _spaced(values: NDArray[np.float64], limit: int) -> NDArray[np.float64]:
    if len(values) <= limit:
        return values
    chosen: NDArray[np.float64] = values[np.linspace(0, len(values) - 1, limit).astype(int)]
    return chosen


def _ordered(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """float64 -> int64 such that neighbouring numbers become neighbouring integers."""
    bits = values.view(np.int64)
    return np.where(bits >= 0, bits, LOWEST - bits)


def _plain(order: NDArray[np.int64]) -> NDArray[np.float64]:
    """The inverse of `_ordered`."""
    return np.where(order >= 0, order, LOWEST - order).view(np.float64)
