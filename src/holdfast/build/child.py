"""A child process in which a pickle is opened: the parent hands over rows, and gets plain data back, never an object.

The child starts with an empty environment and an empty working folder, and without the parent's memory. Whatever the pickle
does there, it finds no keys and no secrets in its environment; what comes back is decoded as plain data and the ONNX graph is
checked again before anything loads it. (Shutting the child off from files and network is work of its own.)

    parent -> stdin         msgpack of `_Request`
    child  -> a file        msgpack of `_Reply`
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from holdfast import errors
from holdfast.build.convert import check_onnx
from holdfast.build.rehearsal import rehearse
from holdfast.build.translate import Marks, Progress, Translation, translate
from holdfast.errors import BuildError, HoldfastError

__all__ = ["translate_in_child"]

Table = dict[str, NDArray[Any]]
KEPT: Final = ("PATH", "LANG", "LC_ALL", "SYSTEMROOT", "LD_LIBRARY_PATH")
"""All that a child needs to start."""
TIME_LIMIT_S: Final = 1800


class _Column(msgspec.Struct):
    dtype: str
    data: bytes = b""
    texts: list[str | None] = []


class _Request(msgspec.Struct):
    folder: str
    marks: Marks
    signature: dict[str, Any]
    table: dict[str, _Column] | None


class _Reply(msgspec.Struct):
    """Either a translation, or the error that stopped it."""

    translation: Translation | None = None
    error: str = ""
    what: str = ""
    where: str = ""
    next_step: str = ""


def translate_in_child(
    folder: Path, table: Table | None, marks: Marks, signature: Mapping[str, Any], *, progress: Progress
) -> Translation:
    """`translate`, in a child process that may unpickle."""
    request = _Request(str(folder.resolve()), marks, dict(signature), None if table is None else _packed(table))
    progress("load")
    with tempfile.TemporaryDirectory() as empty:
        environment = {name: os.environ[name] for name in KEPT if name in os.environ}
        environment |= {"HOME": empty, "TMPDIR": empty, "ORT_DISABLE_TELEMETRY": "1"}
        answer = Path(empty) / "reply"
        try:
            done = subprocess.run(
                [sys.executable, "-I", "-m", "holdfast.build.child", str(answer)],
                input=msgspec.msgpack.encode(request),
                cwd=empty,
                env=environment,
                capture_output=True,
                check=False,
                timeout=TIME_LIMIT_S,
            )
        except subprocess.TimeoutExpired:
            raise BuildError(
                "the pickle was still busy after half an hour", str(folder), "save the model with skops, or as ONNX"
            ) from None
        try:
            reply = msgspec.msgpack.decode(answer.read_bytes(), type=_Reply)
        except (OSError, msgspec.MsgspecError):
            said = done.stderr.decode(errors="replace").strip().splitlines()
            raise BuildError(
                f"the child process that opened the pickle ended with {done.returncode}"
                + (f": {said[-1][:200]}" if said else ""),
                str(folder),
                "save the model with skops, or as ONNX",
            ) from None
    if reply.translation is None:
        raise _error(reply)
    check_onnx(reply.translation.onnx)
    rehearse(reply.translation.onnx)
    return reply.translation


def _error(reply: _Reply) -> HoldfastError:
    """The child's error as our own of the same class."""
    kind = getattr(errors, reply.error, BuildError)
    if not (isinstance(kind, type) and issubclass(kind, HoldfastError)) or kind is errors.MissingExtra:
        kind = BuildError
    return kind(reply.what, reply.where, reply.next_step)


def _packed(table: Table) -> dict[str, _Column]:
    return {
        name: _Column("O", texts=values.tolist())
        if values.dtype == object
        else _Column(values.dtype.str, values.tobytes())
        for name, values in table.items()
    }


def _unpacked(table: Mapping[str, _Column]) -> Table:
    return {
        name: np.array(column.texts, dtype=object) if column.dtype == "O" else np.frombuffer(column.data, column.dtype)
        for name, column in table.items()
    }


def _serve(answer: Path) -> None:
    """The child's side: read the request, translate, write the reply."""
    request = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=_Request)
    try:
        table = None if request.table is None else _unpacked(request.table)
        found = translate(Path(request.folder), table, request.marks, request.signature, trust_pickle=True)
        reply = _Reply(found)
    except HoldfastError as bad:
        reply = _Reply(None, type(bad).__name__, bad.what, bad.where, bad.next_step)
    answer.write_bytes(msgspec.msgpack.encode(reply))


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
