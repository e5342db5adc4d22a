"""Sessions of Python releases: `PythonRuntime` is `core.ports.Runtime` for a release's folder.

A session holds one process and asks it one request after the other. Whatever ends that process, another one is started beside
the traffic, each time after a longer pause until it has answered again; meanwhile requests hear at once that they should come
again.
"""

from __future__ import annotations

import shutil
import sys
import threading
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from holdfast.backends.python.process import AGAIN, Output, Process
from holdfast.config import Python
from holdfast.core.ports import Direct, Environments
from holdfast.core.release import PYTHON, REQUIREMENTS, PythonModel
from holdfast.errors import HoldfastError, ModelDown, ReleaseError

__all__ = ["PythonRuntime", "PythonSession"]

PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 30.0
BLOCK: Final = 10_000
"""Rows that are asked at once, and have one timeout."""


class PythonRuntime:
    """Opens Python releases.

    Args:
        environments: where their libraries are.
        limits: of each model's process.
        scratch: a folder for their scratch folders; what killed processes left there is removed.
    """

    def __init__(self, environments: Environments, limits: Python, scratch: Path) -> None:
        self._environments = environments
        self._limits = limits
        self._scratch = scratch
        for left in scratch.iterdir() if scratch.is_dir() else ():
            if not Path(f"/proc/{left.name.partition('-')[0]}").exists():
                shutil.rmtree(left, ignore_errors=True)

    def load(self, model: Path, *, threads: int = 0, provider: str = "") -> PythonSession:
        """`model`: the folder that holds `python.json`, the lock and the model's files."""
        try:
            told = msgspec.json.decode((model / PYTHON).read_bytes(), type=PythonModel)
            lock = (model / REQUIREMENTS).read_text(encoding="utf-8")
        except (OSError, msgspec.MsgspecError):
            raise ReleaseError("this is no Python release", str(model), "holdfast verify, then build again") from None
        limits = msgspec.structs.replace(self._limits, threads=threads) if threads else self._limits
        python = self._environments.interpreter(lock, told.python)
        keeper = _Keeper(lambda ended: Process(model, told, python, limits, self._scratch, ended))
        return PythonSession(told, keeper, limits.timeout_s)


class PythonSession:
    """A model that answers from its own process; `run` may be called from several threads, and waits for its turn."""

    apart = True

    def __init__(self, model: PythonModel, keeper: _Keeper, timeout_s: float) -> None:
        self._model = model
        self._keeper = keeper
        self._timeout_s = timeout_s
        self._turn = threading.Lock()
        self.names = keeper.process().names
        """What its pickle brought in."""
        self.classes = keeper.process().classes
        """That the model itself knows; empty if it does not."""
        self.close = weakref.finalize(self, keeper.close)
        """Ends its process; so does the collector."""

    def run(self, columns: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """See the port. Answers that are "raw" come by the names that the model gives them."""
        given = {name: columns[name] for name, _ in self._model.columns}
        rows = len(next(iter(given.values())))
        parts = [
            self._ask({name: values[start : start + BLOCK] for name, values in given.items()})
            for start in range(0, max(rows, 1), BLOCK)
        ]
        return parts[0] if len(parts) == 1 else {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}

    def _ask(self, given: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        with self._turn:
            found = self._keeper.process().ask(given, self._timeout_s)
            self._keeper.answered()
        if self._model.answers == "raw":
            return {output.name: output.values for output in found}
        return _meant(self._model, found, len(next(iter(given.values()))))

    def direct(self, names: tuple[str, ...]) -> Direct | None:
        """There is no way around the other process."""
        return None


class _Keeper:
    """Keeps one process alive until it is closed."""

    def __init__(self, start: Callable[[Callable[[Process], None]], Process]) -> None:
        self._start = start
        self._lock = threading.RLock()  # a session may be collected at any moment
        self._closed = threading.Event()
        self._failures = 0
        self._process: Process | None = None
        self._process = start(self._ended)

    def process(self) -> Process:
        """The one that answers; ModelDown while there is none."""
        found = self._process
        if found is None or not found.alive:
            raise ModelDown("the model's process is being started again", next_step=AGAIN)
        return found

    def answered(self) -> None:
        """It works: the next time it ends, it is started again at once."""
        self._failures = 0

    def close(self) -> None:
        """End it for good."""
        with self._lock:
            self._closed.set()
            if self._process is not None:
                self._process.end()

    def _ended(self, process: Process) -> None:
        with self._lock:
            if self._closed.is_set() or process is not self._process:
                return
            self._process = None
        sys.stderr.write("the process of a Python model ended; it is started again\n")
        self._later()

    def _later(self) -> None:
        pause = min(PAUSE_S * 2**self._failures, LONGEST_PAUSE_S)
        self._failures += 1
        timer = threading.Timer(pause, self._again)
        timer.daemon = True
        timer.start()

    def _again(self) -> None:
        if self._closed.is_set():
            return
        try:
            process = self._start(self._ended)
        except (HoldfastError, OSError) as bad:
            sys.stderr.write(f"a Python model does not start again: {bad}\n")
            self._later()
            return
        with self._lock:
            self._process = process
            if self._closed.is_set():
                process.end()
        if not process.alive:  # it ended before it was ours
            self._ended(process)


def _meant(model: PythonModel, found: list[Output], rows: int) -> dict[str, NDArray[Any]]:
    """What the answers mean, as `python.json` says; ReleaseError if they are of another kind."""
    if model.answers == "probabilities":
        by_name = {output.name: output.values for output in found}
        if len(found) > 1 and set(model.classes) <= by_name.keys():
            matrix = np.column_stack([_numbers(by_name[name]).reshape(rows) for name in model.classes])
        else:
            matrix = _numbers(found[0].values)
        if matrix.shape != (rows, len(model.classes)):
            raise _other(f"{list(matrix.shape)} probabilities for {rows} rows and {len(model.classes)} classes")
        return {"probabilities": matrix}
    values = found[0].values
    if len(found) > 1 or values.size != rows:
        raise _other(f"{len(found)} columns of {list(values.shape)} for {rows} rows")
    values = values.reshape(rows)
    if model.answers == "label":
        shares = np.array([[float(name == text) for name in model.classes] for text in _labels(values)])
        if not shares.reshape(rows, -1).any(axis=1).all():
            raise _other("a class that the contract does not have")
        return {"probabilities": shares.reshape(rows, len(model.classes))}
    numbers = _numbers(values)
    if model.answers == "share":
        return {"probabilities": np.column_stack([1.0 - numbers, numbers])}
    return {"prediction": numbers}


def _labels(values: NDArray[Any]) -> list[str]:
    """Numbers as class names are written: whole ones without a point."""
    if values.dtype == object:
        return [str(value) for value in values.tolist()]
    return [str(int(value)) if value == int(value) else repr(value) for value in values.tolist()]


def _numbers(values: NDArray[Any]) -> NDArray[np.float64]:
    if values.dtype == object:
        raise _other("text where it answered numbers")
    return np.asarray(values, dtype=np.float64)


def _other(what: str) -> ReleaseError:
    return ReleaseError(
        f"the model answers {what}, which is not what it did when it was built", next_step="build it again"
    )
