"""The two sides of a comparison as functions of a table: the original model in its own library, the built one in ONNX.

A table is a dict of columns: float64 with NaN, or object arrays of text and None. The original gets a pandas frame as
in training (or a plain array, if that is what it was trained on), the graph its own inputs.
"""

from __future__ import annotations

import os
import warnings
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from holdfast.build.convert import MISSING, Converted, Input, Matrix, Task, flavour_of, model_columns, reads_texts
from holdfast.core.blocks import in_blocks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

Table = dict[str, "NDArray[Any]"]
"""Columns by name: float64 with NaN, or object arrays of str and None."""


def onnx_predict(converted: Converted) -> Callable[[Table], NDArray[np.float64]]:
    """The built model as a function of a table."""
    session = open_session(converted.onnx)
    name = converted.outputs[0]
    return lambda table: np.asarray(in_blocks(partial(session.run, [name]), feeds(converted, table))[0])


def feeds(converted: Converted, table: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """A table as the graph's inputs."""
    return input_feeds(converted.inputs, table)


def input_feeds(inputs: Sequence[Input], table: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The same, of these input columns."""
    result = {}
    matrix = Matrix.of(inputs)
    numbers = [np.asarray(table[c.name], dtype=np.float64).reshape(-1, c.width) for c in inputs if not c.text]
    if numbers:
        result[matrix.name] = np.concatenate(numbers, axis=1)
    for column in inputs:
        if column.text:
            values = table[column.name]
            texts = np.empty((len(values), 1), dtype=object)
            texts[:, 0] = [MISSING if value is None or value != value else value for value in values]  # noqa: PLR0124 - NaN
            result[column.name] = texts
    return result


def open_session(content: bytes) -> Any:
    """An ONNX Runtime session on one thread, telemetry off."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def native_predict(
    model: Any, converted: Converted, *, task: Task, like: Any = None
) -> Callable[[Table], NDArray[np.float64]]:
    """The original model as a function of a table; `like` is a frame with the training dtypes, where there is one."""

    def predict(table: Table) -> NDArray[np.float64]:
        given = native_frame(model, converted, table, like=like)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # unseen categories are asked for on purpose
            return _both(np.asarray(_ask(model, given, task, converted.method), dtype=np.float64), task)

    return predict


def _ask(model: Any, given: Any, task: Task, method: str) -> Any:
    if flavour_of(model) == "xgboost" and type(model).__name__ == "Booster":
        import xgboost

        return model.predict(xgboost.DMatrix(given))
    if task == "regression" or not hasattr(model, "predict_proba"):
        return getattr(model, method)(given)
    return model.predict_proba(given)


def _both(answer: NDArray[np.float64], task: Task) -> NDArray[np.float64]:
    return np.column_stack([1.0 - answer, answer]) if task == "binary" and answer.ndim == 1 else answer


def native_frame(model: Any, converted: Converted, table: Table, *, like: Any = None) -> Any:
    """The pandas frame (or array, for a model of plain arrays) that the original expects."""
    names = model_columns(model)
    if not names and not any(column.text for column in converted.inputs):
        return np.column_stack([np.asarray(table[c.name], dtype=np.float64) for c in converted.inputs])
    if reads_texts(model):
        return list(table[converted.inputs[0].name])
    import pandas as pd

    columns: dict[str, Any] = {}
    for column in converted.inputs:
        values = table[column.name]
        series: Any
        if column.text:
            gap = None if column.name in converted.none_columns else np.nan
            texts = [gap if value is None or value != value else value for value in values]  # noqa: PLR0124 - NaN
            series = pd.Series(texts, dtype=object)
            if like is None and column.name in converted.category_columns:
                series = series.astype("category")
        elif column.name in converted.category_columns:
            series = _numbered_categories(np.asarray(values, dtype=np.float64))
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
    return (
        values.astype(bool) if datatype == "BOOL" and set(np.unique(values)) <= {0.0, 1.0} else values.astype(np.int64)
    )


def _numbered_categories(values: NDArray[np.float64]) -> Any:
    """Whole numbers as a pandas column of categories."""
    import pandas as pd

    known = np.isfinite(values)
    categories, codes = np.unique(values[known].astype(np.int64), return_inverse=True)
    places = np.full(len(values), -1)
    places[known] = codes
    return pd.Series(pd.Categorical.from_codes(places, categories=pd.Index(categories)))


def _like(series: Any, example: Any) -> Any:
    import pandas as pd

    if isinstance(example.dtype, pd.CategoricalDtype):
        return series.astype("category")  # with its own categories: unseen ones are asked for on purpose
    if pd.api.types.is_string_dtype(example.dtype) and not pd.api.types.is_object_dtype(example.dtype):
        return series.astype(example.dtype)
    return series
