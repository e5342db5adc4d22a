"""Inference sessions through ONNX Runtime: `OnnxRuntime` is `core.ports.Runtime`.

One thread by default (for small models more only wait for each other) and no telemetry. A graph has one input per column,
[n, 1], in whatever type the converter chose; columns are cast to it here, so nothing else knows about tensors. Text has no null
in ONNX, so a missing one enters as `core.contract.MISSING_STRING`; a truth value enters a numeric input as 1 or 0.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from holdfast.core.contract import MISSING_STRING
from holdfast.core.ports import OneRow
from holdfast.errors import ReleaseError

# Read at the import that follows.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime

__all__ = ["OnnxRuntime", "OnnxSession"]

_DTYPES: Final[dict[str, Any]] = {
    "tensor(double)": np.float64,
    "tensor(float)": np.float32,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(bool)": np.bool_,
}
_NUMBER: Final = {"true": 1.0, "false": 0.0, None: np.nan}

_WIDTHS: Final = {"prediction": 1, "probabilities": None}
"""Columns of an output; None: as the model says."""

Cast = Callable[[NDArray[Any]], NDArray[Any]]


class OnnxRuntime:
    """Opens ONNX files."""

    def load(self, model: Path, *, threads: int = 1) -> OnnxSession:
        """A session; ReleaseError if the file is no model that this runtime can run."""
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        try:
            session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
            return OnnxSession(session)
        except Exception as bad:  # noqa: BLE001 - its errors share no base class
            first = str(bad).splitlines()[0][:200]
            raise ReleaseError(
                f"the model cannot be opened: {first}", str(model), "holdfast verify, then build again"
            ) from None


class OnnxSession:
    """A loaded model; `run` may be called from several threads at once."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._run = session.run
        self._inputs = [(one.name, _cast(one.type)) for one in session.get_inputs()]
        self._outputs = [one.name for one in session.get_outputs()]

    def run(self, columns: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Feature columns [n] in, `prediction` [n] or `probabilities` [n, k] out, float64; KeyError for an absent column."""
        feeds = {name: cast(columns[name]).reshape(-1, 1) for name, cast in self._inputs}
        try:
            answers = self._run(self._outputs, feeds)
        except Exception as bad:  # noqa: BLE001 - its errors share no base class
            raise _failed(bad) from None
        return {
            name: np.asarray(values.reshape(-1) if name == "prediction" else values, dtype=np.float64)
            for name, values in zip(self._outputs, answers, strict=True)
        }

    def bind(self, inputs: Mapping[str, NDArray[Any]], output: str, answer: NDArray[Any]) -> Any:
        """Memory that `run_bound` reads and writes."""
        binding = self._session.io_binding()
        for name, values in inputs.items():
            binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(values))
        binding.bind_ortvalue_output(output, onnxruntime.OrtValue.ortvalue_from_numpy(answer))
        return binding

    def run_bound(self, binding: Any) -> None:
        """Run on bound memory."""
        try:
            self._session.run_with_iobinding(binding)
        except Exception as bad:  # noqa: BLE001 - its errors share no base class
            raise _failed(bad) from None

    def one_row(self, names: tuple[str, ...]) -> OneRow | None:
        """Bound to memory of its own, a call costs a third of `run`; None if the model reads anything but float64."""
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        alike = {one.name for one in inputs} == set(names) and {one.type for one in inputs} == {"tensor(double)"}
        if not alike or len(outputs) != 1 or outputs[0].type != "tensor(double)" or outputs[0].name not in _WIDTHS:
            return None
        width = _WIDTHS[outputs[0].name] or outputs[0].shape[-1]
        return _OneRow(self, names, outputs[0].name, width) if isinstance(width, int) else None


class _OneRow:
    """One row at a time through memory that stays; a second thread at the same moment takes the way of many rows."""

    def __init__(self, session: OnnxSession, names: tuple[str, ...], output: str, width: int) -> None:
        self._session = session
        self._names = names
        self._output = output
        self._row = np.zeros((len(names), 1))
        self._answer = np.zeros((1, width))
        self._told = self._answer[:, 0] if output == "prediction" else self._answer
        self._lock = threading.Lock()
        self._binding = session.bind({name: self._row[i : i + 1] for i, name in enumerate(names)}, output, self._answer)

    def __call__(self, row: NDArray[np.float64], /) -> NDArray[np.float64]:
        if not self._lock.acquire(blocking=False):
            return self._session.run(dict(zip(self._names, row, strict=True)))[self._output]
        try:
            self._row[:] = row
            self._session.run_bound(self._binding)
            return self._told.copy()
        finally:
            self._lock.release()


def _cast(kind: str) -> Cast:
    """How a column becomes an input of this type."""
    if kind == "tensor(string)":
        return _text
    dtype = _DTYPES.get(kind)
    if dtype is None:
        raise ReleaseError(
            f"the model has an input of type {kind}", next_step="convert it to one number or text per column"
        )

    def number(values: NDArray[Any]) -> NDArray[Any]:
        if values.dtype == object:
            values = np.array([_NUMBER[value] for value in values], dtype=np.float64)
        return values if values.dtype == dtype else values.astype(dtype)

    return number


def _failed(bad: Exception) -> ReleaseError:
    first = str(bad).splitlines()[0][:200]
    return ReleaseError(f"the model failed on these rows: {first}", next_step="see the rows' values")


def _text(values: NDArray[Any]) -> NDArray[Any]:
    return np.array([MISSING_STRING if value is None else value for value in values], dtype=object)
