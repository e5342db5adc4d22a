"""One child of a Python release, as the parent holds it: started in the sandbox, asked within a time, ended for good."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from math import prod
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from holdfast.backends.python import wire
from holdfast.config import Python
from holdfast.core.release import PYTHON_MODEL, PythonModel
from holdfast.errors import ModelDown, ReleaseError
from holdfast.sandbox.outside import LastWords, command, environment, require
from holdfast.sandbox.policy import Policy

__all__ = ["Output", "Process"]

MODULE: Final = "holdfast.backends.python.worker"
ROW_MOST: Final = 1 << 16
"""Bytes of one row's answer, at most."""
SPARE: Final = 1 << 20
AGAIN: Final = "try again in a second; holdfast serve tells on stderr why it ended"


class Output(NamedTuple):
    """A part of what the model answered."""

    name: str
    values: NDArray[Any]


class Process:
    """Starts the child and waits until its model is open.

    Args:
        folder: the release's.
        model: how it is opened.
        python: the interpreter of its environment.
        limits: memory, time and sandbox.
        scratch: where its scratch folder is made.
        ended: called from a thread when it has ended, however that came.
    """

    def __init__(
        self,
        folder: Path,
        model: PythonModel,
        python: Path,
        limits: Python,
        scratch: Path,
        ended: Callable[[Process], None],
    ) -> None:
        contained = limits.sandbox == "required"
        require(contained=contained)
        self._folder = folder
        scratch.mkdir(parents=True, exist_ok=True)
        self._scratch = tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=scratch)
        inner = (folder / PYTHON_MODEL).resolve()
        policy = Policy((str(inner),), self._scratch, limits.memory_mb, contained=contained)
        told = msgspec.json.encode({"folder": str(inner), **msgspec.structs.asdict(model)}).decode()
        self._channel, theirs = socket.socketpair()
        with theirs:
            self._child = subprocess.Popen(
                command(policy, MODULE, str(theirs.fileno()), told, python=str(python)),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                cwd=self._scratch,
                env=environment(self._scratch, limits.threads),
                pass_fds=[theirs.fileno()],
            )
        assert self._child.stderr is not None
        self._said = LastWords(self._child.stderr)
        threading.Thread(target=self._wait, args=(ended,), daemon=True, name="python model").start()
        hello = self._hello(limits.start_timeout_s)
        self.names: tuple[str, ...] = tuple(map(str, hello.get("names") or ()))
        """What its pickle brought in, as it says itself."""
        self.classes: tuple[Any, ...] = tuple(hello.get("classes") or ())

    @property
    def alive(self) -> bool:
        """Whether it has not ended."""
        return self._child.poll() is None

    def ask(self, columns: Mapping[str, NDArray[Any]], timeout_s: float) -> list[Output]:
        """What the model answers to these rows.

        Raises ReleaseError if the model itself fails on them; ModelDown, and the process is ended, if it does not answer in
        time, ends, or answers something else.
        """
        rows = len(next(iter(columns.values()))) if columns else 0
        parts = {name: _bytes(values) for name, values in columns.items()}
        header = {"rows": rows, "columns": [[name, kind, len(content)] for name, (kind, content) in parts.items()]}
        try:
            reply, content = self._talk(
                header, [content for _, content in parts.values()], timeout_s, rows * ROW_MOST + SPARE
            )
            if "error" not in reply:
                return _outputs(reply, content, rows)
        except TimeoutError:
            why = f"the model did not answer within {timeout_s:g} s"
        except wire.Closed:
            why = f"the model's process ended on this request{self._last_words()}"
        except (wire.TooMuch, KeyError, TypeError, ValueError):
            why = "the model's process answered something else than rows"
        else:
            raise ReleaseError(
                f"the model failed on these rows: {str(reply['error'])[:300]}", next_step="see the rows' values"
            )
        self.end()
        raise ModelDown(why, next_step=AGAIN)

    def end(self) -> None:
        """At once."""
        self._child.kill()
        self._channel.close()

    def _hello(self, timeout_s: float) -> dict[str, Any]:
        try:
            hello, _ = self._talk(None, [], timeout_s, SPARE)
        except TimeoutError:
            why = f"it took longer than {timeout_s:g} s ([python] start_timeout_s)"
        except (wire.Closed, wire.TooMuch):
            why = f"its process ended{self._last_words()}"
        else:
            if "error" not in hello:
                return hello
            why = str(hello["error"])[:300]
        self.end()
        raise ReleaseError(
            f"the Python model cannot be opened: {why}", str(self._folder), "mend its requirements, or build it again"
        )

    def _talk(
        self, header: dict[str, Any] | None, columns: list[bytes], timeout_s: float, most: int
    ) -> tuple[dict[str, Any], memoryview]:
        """Say something, if there is something to say, and hear the reply, all within the time."""
        timer = threading.Timer(timeout_s, self._channel.shutdown, (socket.SHUT_RDWR,))
        timer.daemon = True
        began = time.monotonic()
        timer.start()
        try:
            if header is not None:
                wire.send(self._channel, header, columns)
            return wire.receive(self._channel, most)
        except wire.Closed:
            if time.monotonic() - began >= timeout_s:
                raise TimeoutError from None
            raise
        except OSError:  # closed by us
            raise wire.Closed from None
        finally:
            timer.cancel()

    def _last_words(self) -> str:
        try:
            code = self._child.wait(1.0)
        except subprocess.TimeoutExpired:
            return ""
        how = f"signal {-code}" if code < 0 else f"exit {code}"
        said = self._said.last()[:200]
        return f" ({how}{': ' if said else ''}{said})"

    def _wait(self, ended: Callable[[Process], None]) -> None:
        self._child.wait()
        shutil.rmtree(self._scratch, ignore_errors=True)
        ended(self)


def _bytes(values: NDArray[Any]) -> tuple[str, bytes]:
    if values.dtype == object:
        return "text", wire.text_bytes(values.tolist())
    return "number", np.ascontiguousarray(values, dtype="<f8").tobytes()


def _outputs(reply: dict[str, Any], content: memoryview, rows: int) -> list[Output]:
    """Arrays with a row for each row; ValueError and its kin for anything else."""
    found, start = [], 0
    for name, kind, shape, size in reply["outputs"]:
        part = content[start : start + size]
        start += size
        if len(part) != size or not 1 <= len(shape) <= 2:
            raise ValueError
        if shape[0] != rows:
            raise ReleaseError(
                f"the model answered {shape[0]} rows to {rows}", next_step="it must answer one row for each row"
            )
        if kind == "number":
            values: NDArray[Any] = np.frombuffer(part, dtype="<f8").reshape(shape)
        else:
            texts = wire.texts_of(part, prod(shape))
            if not all(isinstance(text, str) for text in texts):
                raise ValueError
            values = np.array(texts, dtype=object).reshape(shape)
        found.append(Output(str(name), values))
    if not found:
        raise ValueError
    return found
