"""scikit-learn's preprocessing steps in float64: each takes a frame of columns and gives the next.

The arithmetic is written in the order in which scikit-learn does it, so that not even the last bit differs where
IEEE 754 fixes it: behind these steps may stand a tree, for which the last bit can be another leaf. Encoders are not
re-implemented: the fitted encoder itself is asked what it makes of each category and of an unknown one, and the answers
become a lookup table, so every option (drop, min_frequency, unknown values) comes out as scikit-learn has it.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from holdfast.build.convert.functions import EXACT, INEXACT
from holdfast.build.convert.graph import MISSING, Column, Frame, Graph, Path, columns_of, is_missing_marker, plain_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

UNSEEN = "\x00unseen"
"""A text that no training data holds."""


def scale(graph: Graph, frame: Frame, step: Any, path: Path) -> Frame:
    """StandardScaler, RobustScaler, MaxAbsScaler: (x - centre) / scale."""
    matrix = graph.matrix(frame, step, path)
    centre = getattr(step, "mean_", None) if getattr(step, "with_mean", False) else getattr(step, "center_", None)
    if centre is not None:
        matrix = graph.op("Sub", matrix, graph.row(centre))
    if getattr(step, "scale_", None) is not None:
        matrix = graph.op("Div", matrix, graph.row(step.scale_))
    return columns_of(matrix, [c.name for c in frame], like=frame)


def min_max(graph: Graph, frame: Frame, step: Any, path: Path) -> Frame:
    """MinMaxScaler: x * scale + min, clipped if asked."""
    matrix = graph.op("Mul", graph.matrix(frame, step, path), graph.row(step.scale_))
    matrix = graph.op("Add", matrix, graph.row(step.min_))
    if step.clip:
        low, high = step.feature_range
        matrix = graph.op("Min", graph.op("Max", matrix, graph.number(low)), graph.number(high))
    return columns_of(matrix, [c.name for c in frame], like=frame)


def impute(graph: Graph, frame: Frame, step: Any, path: Path) -> Frame:
    """SimpleImputer: numbers by one Where; text is remembered for the lookup that follows."""
    filled: list[Column] = []
    kept = [
        c for c, fill in zip(frame, step.statistics_, strict=True) if not _is_empty(fill) or step.keep_empty_features
    ]
    fills = [fill for fill in step.statistics_ if not _is_empty(fill) or step.keep_empty_features]
    numbers = [(c, fill) for c, fill in zip(kept, fills, strict=True) if not c.text]
    if numbers:
        columns = tuple(column for column, _ in numbers)
        matrix = graph.matrix(columns, step, path)
        if any(isinstance(fill, str) for _, fill in numbers):
            raise path.refuse(step, "a text fill value for a numeric column", "declare the column as text")
        fill_row = graph.row([float(fill) for _, fill in numbers])
        matrix = graph.op("Where", _is_marker(graph, matrix, step.missing_values), fill_row, matrix)
        filled = list(columns_of(matrix, [c.name for c in columns], like=columns))
    result = []
    for column, fill in zip(kept, fills, strict=True):
        if column.text:
            result.append(_impute_text(graph, column, fill, step))
        else:
            result.append(filled.pop(0))
    if step.indicator_ is not None:
        result += indicate(graph, frame, step.indicator_, path)
    return tuple(result)


def _is_empty(fill: Any) -> bool:
    return plain_key(fill) is None


def _impute_text(graph: Graph, column: Column, fill: Any, step: Any) -> Column:
    if is_missing_marker(step.missing_values):
        if step.missing_values is None and column.source:
            graph.none_columns.add(column.source)
        raw = MISSING
    else:
        raw = str(step.missing_values)
    earlier = tuple((old, str(fill) if value == raw else value) for old, value in column.replace)
    known = {old for old, _ in earlier}
    return replace(column, replace=earlier if raw in known else (*earlier, (raw, str(fill))))


def _is_marker(graph: Graph, matrix: str, marker: Any) -> str:
    if is_missing_marker(marker):
        return graph.op("IsNaN", matrix)
    return graph.op("Equal", matrix, graph.number(float(marker)))


def indicate(graph: Graph, frame: Frame, step: Any, path: Path) -> Frame:
    """MissingIndicator: 1 where the value is missing."""
    result = []
    for index in step.features_:
        column = frame[int(index)]
        if column.text:
            marker = MISSING if is_missing_marker(step.missing_values) else str(step.missing_values)
            keys = [None if marker == MISSING else marker]
            flag = graph.lookup(column, keys, np.array([[1.0], [0.0]]), step, path)
        else:
            flag = graph.op("Cast", _is_marker(graph, graph.single(column), step.missing_values), to=11)
        result.append(Column(flag, name=f"missing_{column.name}"))
    return tuple(result)


def encode(graph: Graph, frame: Frame, step: Any, path: Path) -> Frame:
    """OneHotEncoder, OrdinalEncoder, TargetEncoder: a lookup table per column, filled by the encoder itself."""
    widths = _encoded_widths(step)
    if sum(widths) == 0:
        return ()
    result: list[Column] = []
    start = 0
    for position, (column, width) in enumerate(zip(frame, widths, strict=True)):
        categories = list(step.categories_[position])
        known = _with_none(graph, column) if column.text and None in categories else column
        closed = getattr(step, "handle_unknown", "ignore") == "error"
        if closed and column.source:
            graph.closed.add(column.source)
        rows = _ask(step, position, categories, closed)[:, start : start + width]
        start += width
        if width:
            found = graph.lookup(known, categories, rows, step, path)
            result += columns_of(found, [f"{column.name}_{i}" for i in range(width)])
    return tuple(result)


def _encoded_widths(step: Any) -> list[int]:
    if type(step).__name__ == "OrdinalEncoder":
        return [1] * len(step.categories_)
    if type(step).__name__ == "TargetEncoder":
        return [len(step.encodings_) // len(step.categories_)] * len(step.categories_)
    return [int(width) for width in step._n_features_outs]  # noqa: SLF001 - with drop and rare ones counted


def _with_none(graph: Graph, column: Column) -> Column:
    """An encoder that learned None saw missing values as None: an imputer of NaN before it let them through."""
    if column.source:
        graph.none_columns.add(column.source)
    return replace(column, replace=tuple(pair for pair in column.replace if pair[0] != MISSING))


def _ask(step: Any, position: int, categories: list[Any], closed: bool) -> NDArray[np.float64]:  # noqa: FBT001
    """What the encoder makes of each category of one column and, last, of an unknown value."""
    values = [*categories]
    if not closed:
        values.append(_unknown(categories))
    columns = []
    for i, own in enumerate(step.categories_):
        given = values if i == position else [own[0]] * len(values)
        column = np.empty(len(given), dtype=object if own.dtype.kind in "OUST" else np.float64)
        column[:] = given
        columns.append(column)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about names that this small table does not carry, and unknown values
        answer = step.transform(_table(step, columns))
    rows = np.asarray(answer.toarray() if hasattr(answer, "toarray") else answer, dtype=np.float64)
    # An encoder that refuses unknown values never shows them to the model; the contract refuses them first.
    return np.vstack([rows, np.zeros((1, rows.shape[1]))]) if closed else rows


def _unknown(categories: list[Any]) -> Any:
    known = [key for key in map(plain_key, categories) if key is not None]
    if known and isinstance(known[0], float):
        return max(float(key) for key in known) + 1.0
    return UNSEEN


def _table(step: Any, columns: list[NDArray[Any]]) -> Any:
    import pandas as pd

    names = getattr(step, "feature_names_in_", range(len(columns)))
    return pd.DataFrame(
        {name: pd.Series(column, dtype=column.dtype) for name, column in zip(names, columns, strict=True)}
    )


def polynomial(graph: Graph, frame: Frame, step: Any, path: Path) -> Frame:
    """PolynomialFeatures: products built degree by degree, x_i * (product of the rest), as scikit-learn multiplies."""
    if getattr(step, "order", "C") not in {"C", "F"}:
        raise path.refuse(step, "an unknown array order")
    matrix = graph.matrix(frame, step, path)
    known: dict[tuple[int, ...], tuple[str, int]] = {(i,): (matrix, i) for i in range(len(frame))}
    wanted = [tuple(int(i) for i in np.repeat(np.arange(len(frame)), powers)) for powers in step.powers_]
    needed = {combination[i:] for combination in wanted for i in range(len(combination))}
    width = len(frame)
    widths = {matrix: width}
    for degree in range(2, max(map(len, wanted), default=0) + 1):
        combinations = sorted(c for c in needed if len(c) == degree)
        first = graph.op("Gather", matrix, _indices(graph, [c[0] for c in combinations]), axis=1)
        rest_tensor = known[combinations[0][1:]][0]
        rest = graph.op("Gather", rest_tensor, _indices(graph, [known[c[1:]][1] for c in combinations]), axis=1)
        product = graph.op("Mul", rest, first)
        widths[product] = len(combinations)
        known |= {c: (product, i) for i, c in enumerate(combinations)}
    ones = graph.op("Add", graph.op("Mul", graph.single(frame[0]), graph.number(0.0)), graph.number(1.0))
    result = []
    exact = all(column.exact for column in frame)
    for combination in wanted:
        tensor, index = known[combination] if combination else (ones, 0)
        result.append(Column(tensor, index, widths.get(tensor, 1), exact=exact))
    return tuple(result)


def _indices(graph: Graph, values: Any) -> str:
    return graph.constant(np.array(values, dtype=np.int64))


def bins(graph: Graph, frame: Frame, step: Any, path: Path) -> Frame:
    """KBinsDiscretizer: the number of inner edges at or below the value, as a code or one-hot."""
    result: list[Column] = []
    for column, edges, count in zip(frame, step.bin_edges_, map(int, step.n_bins_), strict=True):
        single = graph.matrix((column,), step, path)
        if count > 1:
            above = graph.op("GreaterOrEqual", single, graph.row(edges[1:-1]))
            axis = graph.constant(np.array([1], dtype=np.int64))
            code = graph.op("ReduceSum", graph.op("Cast", above, to=11), axis, keepdims=1)
        else:
            code = graph.op("Mul", single, graph.number(0.0))
        if step.encode != "ordinal":
            hot = graph.op("Cast", graph.op("Equal", code, graph.row(np.arange(count))), to=11)
            result += columns_of(hot, [f"{column.name}_{i}" for i in range(count)])
        else:
            result.append(Column(code, name=column.name))
    return tuple(result)


def project(graph: Graph, frame: Frame, step: Any, path: Path) -> Frame:
    """PCA and TruncatedSVD: a matrix product, minus the projected mean, divided by the spread when whitening."""
    components = np.asarray(step.components_, dtype=np.float64)
    matrix = graph.product(graph.matrix(frame, step, path), components.T)
    if getattr(step, "mean_", None) is not None:
        matrix = graph.op("Sub", matrix, graph.row(np.asarray(step.mean_).reshape(1, -1) @ components.T))
    if getattr(step, "whiten", False):
        spread = np.sqrt(step.explained_variance_)
        matrix = graph.op("Div", matrix, graph.row(np.maximum(spread, np.finfo(spread.dtype).eps)))
    return columns_of(matrix, [f"component{i}" for i in range(len(components))], exact=False)


def apply_function(graph: Graph, frame: Frame, step: Any, path: Path) -> Frame:
    """FunctionTransformer with a numpy function known by name."""
    if step.func is None or getattr(getattr(step.func, "func", None), "__name__", "") == "check_array":
        return frame  # HistGradientBoosting wraps scikit-learn's own validation in a partial
    if step.kw_args or step.func not in (EXACT | INEXACT):
        name = getattr(step.func, "__name__", repr(step.func))
        raise path.refuse(
            step,
            f"function '{name}'" + (" with arguments" if step.kw_args else " is not one of numpy's that convert"),
            "use one of "
            + ", ".join(sorted(f"np.{f.__name__}" for f in EXACT | INEXACT))
            + ", or compute the column before",
        )
    emit = EXACT.get(step.func) or INEXACT[step.func]
    matrix = emit(graph, graph.matrix(frame, step, path))
    return columns_of(matrix, [c.name for c in frame], exact=step.func in EXACT, like=frame)


def binarize(graph: Graph, frame: Frame, step: Any, path: Path) -> Frame:
    """Binarizer: 1 above the threshold."""
    above = graph.op("Greater", graph.matrix(frame, step, path), graph.number(float(step.threshold)))
    return columns_of(graph.op("Cast", above, to=11), [c.name for c in frame])


def select(_graph: Graph, frame: Frame, step: Any, _path: Path) -> Frame:
    """Feature selectors: keep what they keep."""
    return tuple(frame[int(i)] for i in np.flatnonzero(step.get_support()))


STEPS: dict[str, Callable[[Graph, Frame, Any, Path], Frame]] = {
    "StandardScaler": scale,
    "RobustScaler": scale,
    "MaxAbsScaler": scale,
    "MinMaxScaler": min_max,
    "SimpleImputer": impute,
    "MissingIndicator": indicate,
    "OneHotEncoder": encode,
    "OrdinalEncoder": encode,
    "TargetEncoder": encode,
    "PolynomialFeatures": polynomial,
    "KBinsDiscretizer": bins,
    "PCA": project,
    "TruncatedSVD": project,
    "FunctionTransformer": apply_function,
    "Binarizer": binarize,
    "VarianceThreshold": select,
    "SelectKBest": select,
    "SelectPercentile": select,
    "SelectFromModel": select,
    "RFE": select,
    "RFECV": select,
}
"""scikit-learn class name -> how it is converted."""
