"""Whatever a release holds is opened by what can run it: an ONNX file by ONNX Runtime, a Python release in its own process."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path

from holdfast.core.ports import Runtime, Session

__all__ = ["Runtimes"]


class Runtimes:
    """A runtime of two.

    Args:
        onnx: for files.
        python: makes the one for folders, when the first is opened.
    """

    def __init__(self, onnx: Runtime, python: Callable[[], Runtime]) -> None:
        self._onnx = onnx
        self._make = python

    @cached_property
    def _python(self) -> Runtime:
        return self._make()

    def load(self, model: Path, *, threads: int = 0, provider: str = "") -> Session:
        """See the port."""
        runtime = self._python if model.is_dir() else self._onnx
        return runtime.load(model, threads=threads, provider=provider)
