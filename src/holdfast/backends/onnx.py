"""Inference sessions through ONNX Runtime: `OnnxRuntime` is `core.ports.Runtime`.

One thread for small models (more only wait for each other) and no telemetry. A graph reads all numbers as one
float64 matrix, whose columns its metadata name, and every text column as an input [n, 1]; nothing else knows about tensors.
Text has no null in ONNX, so a missing one enters as `core.contract.MISSING_STRING`; a truth value is 1 or 0 in the matrix.
Graphs of earlier versions, with an input [n, 1] per column, are read as well.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from holdfast.core.blocks import in_blocks
from holdfast.core.contract import MISSING_STRING, NUMBERS_KEY
from holdfast.errors import ReleaseError

if TYPE_CHECKING:
    from holdfast.core.ports import Direct

# Read at the import that follows.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime

onnxruntime.disable_telemetry_events()  # for builds that have them (Windows) and were imported by others before

__all__ = ["OnnxRuntime", "OnnxSession"]

_DTYPES: Final[dict[str, Any]] = {
    "tensor(double)": np.float64,
    "tensor(float)": np.float32,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(bool)": np.bool_,
}
_NUMBER: Final = {"true": 1.0, "false": 0.0, None: np.nan}

CPU: Final = "CPUExecutionProvider"
PREDICTION: Final = "prediction"
LARGE: Final = 1 << 20
"""Bytes of a model's file from which on a run of many rows is worth several threads (measured)."""

Cast = Callable[[NDArray[Any]], NDArray[Any]]


class OnnxRuntime:
    """Opens ONNX files.

    Args:
        threads: for one run of a large model; small ones run in the thread that asks, as handing out work takes longer.
    """

    def __init__(self, threads: int = 1) -> None:
        self._threads = threads

    def load(self, model: Path, *, threads: int = 0, provider: str = "") -> OnnxSession:
        """A session, on the processors where `provider` is not here; ReleaseError if this runtime cannot run the file."""
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = threads or self._threads_for(model)
        options.inter_op_num_threads = 1
        # Its threads would burn a processor while they wait, which other workers and models need.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            here = [name for name in (provider, CPU) if name == CPU or name in onnxruntime.get_available_providers()]
            session = onnxruntime.InferenceSession(model, options, providers=here)
            return OnnxSession(session)
        except Exception as bad:  # noqa: BLE001 - its errors share no base class
            first = str(bad).splitlines()[0][:200]
            raise ReleaseError(
                f"the model cannot be opened: {first}", str(model), "holdfast verify, then build again"
            ) from None

    def _threads_for(self, model: Path) -> int:
        """By size and not by measurement: all workers choose the same, so that their answers are the same to the last bit."""
        return self._threads if model.is_file() and model.stat().st_size >= LARGE else 1


class OnnxSession:
    """A loaded model; `run` and what `direct` gives may be called from several threads at once."""

    apart = False

    def __init__(self, session: Any) -> None:
        self._session = session
        told = session.get_modelmeta().custom_metadata_map.get(NUMBERS_KEY)
        packed: dict[str, Any] = msgspec.json.decode(told) if told else {"input": "", "columns": []}
        self._matrix: str = packed["input"]
        self._numbers = tuple(packed["columns"])
        inputs = [one for one in session.get_inputs() if one.name != self._matrix]
        self._inputs = [(one.name, _cast(one.type)) for one in inputs]
        self._outputs = session.get_outputs()
        self._names = [one.name for one in self._outputs]

    def run(self, columns: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Feature columns [n] in, `prediction` [n] or `probabilities` [n, k] out, float64; KeyError for an absent column."""
        feeds = {name: cast(columns[name]).reshape(-1, 1) for name, cast in self._inputs}
        if self._matrix:
            feeds[self._matrix] = np.column_stack([_number(columns[name]) for name in self._numbers])
        return dict(zip(self._names, self._answers(feeds), strict=True))

    def direct(self, names: tuple[str, ...]) -> Direct | None:
        """Where the matrix has these columns, it is fed as it is."""
        texts = all(one.type == "tensor(string)" for one in self._session.get_inputs() if one.name != self._matrix)
        width = self._outputs[0].shape[-1]
        if not names or names != self._numbers or not texts or len(self._outputs) != 1 or not width:
            return None
        return self._mixed if self._inputs else _Direct(self._session, self._matrix, len(names), width, self._mixed)

    def _mixed(self, numbers: NDArray[np.float64] | bytes, texts: Mapping[str, NDArray[Any]], /) -> NDArray[np.float64]:
        if isinstance(numbers, bytes):
            numbers = np.frombuffer(numbers).reshape(-1, 1)
        feeds = {name: cast(texts[name]).reshape(-1, 1) for name, cast in self._inputs}
        feeds[self._matrix] = np.ascontiguousarray(numbers.T)
        return self._answers(feeds)[0]

    def _answers(self, feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        try:
            answers = in_blocks(partial(self._session.run, self._names), feeds)
        except Exception as bad:  # noqa: BLE001 - its errors share no base class
            raise _failed(bad) from None
        return [
            np.asarray(values.reshape(-1) if name == PREDICTION else values, dtype=np.float64)
            for name, values in zip(self._names, answers, strict=True)
        ]


class _Direct:
    """For a model of nothing but numbers: a single row goes through memory that stays, at a third of the price.

    A second thread at the same moment takes the way of many rows.
    """

    def __init__(
        self,
        session: Any,
        matrix: str,
        columns: int,
        width: int,
        many: Direct,
    ) -> None:
        self._many = many
        row, answer = np.zeros((1, columns)), np.zeros((1, width))
        self._place = row.data.cast("B")
        output = session.get_outputs()[0].name
        self._answer = answer[:, 0] if output == PREDICTION else answer
        self._lock = threading.Lock()
        self._binding = session.io_binding()
        self._binding.bind_ortvalue_input(matrix, onnxruntime.OrtValue.ortvalue_from_numpy(row))
        self._binding.bind_ortvalue_output(output, onnxruntime.OrtValue.ortvalue_from_numpy(answer))
        self._run = _bound(session, self._binding)

    def __call__(
        self, numbers: NDArray[np.float64] | bytes, texts: Mapping[str, NDArray[Any]], /
    ) -> NDArray[np.float64]:
        if not isinstance(numbers, bytes):
            if numbers.shape[1] != 1:
                return self._many(numbers, texts)
            numbers = numbers.tobytes()
        if not self._lock.acquire(blocking=False):
            return self._many(numbers, texts)
        try:
            self._place[:] = numbers
            self._run()
            return self._answer.copy()
        except Exception as bad:  # noqa: BLE001 - its errors share no base class
            raise _failed(bad) from None
        finally:
            self._lock.release()


def _bound(session: Any, binding: Any) -> Callable[[], object]:
    """A run through bound memory, where the session lets us without its questions about graphics cards each time."""
    try:
        return partial(session._sess.run_with_iobinding, binding._iobinding, None)  # noqa: SLF001
    except AttributeError:
        return partial(session.run_with_iobinding, binding)


def _number(values: NDArray[Any]) -> NDArray[Any]:
    return np.array([_NUMBER[value] for value in values], dtype=np.float64) if values.dtype == object else values


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
        values = _number(values)
        return values if values.dtype == dtype else values.astype(dtype)

    return number


def _failed(bad: Exception) -> ReleaseError:
    first = str(bad).splitlines()[0][:200]
    return ReleaseError(f"the model failed on these rows: {first}", next_step="see the rows' values")


def _text(values: NDArray[Any]) -> NDArray[Any]:
    return np.array([MISSING_STRING if value is None else value for value in values], dtype=object)
