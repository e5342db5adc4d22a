"""A child process in which a pickle is opened: the parent hands over rows, and gets plain data back, never an object.

The child shuts itself in before it reads anything (`holdfast.sandbox`): it sees its own libraries and the model's folder, no
network, no keys, no environment. Whatever the pickle does there, what comes back is decoded as plain data, with the names that
the pickle brought in; the ONNX graph is checked again before anything loads it.

    parent -> stdin         msgpack of `_Request`
    child  -> a pipe        msgpack of `_Reply`
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
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
from holdfast.sandbox import imports
from holdfast.sandbox.outside import Done, run
from holdfast.sandbox.policy import MIB, Policy

__all__ = ["brought_in", "memory_mb", "translate_in_child"]

Table = dict[str, NDArray[Any]]
TIME_LIMIT_S: Final = 1800
MOST: Final = 4 << 30
"""Bytes of a reply."""
SHARE: Final = 0.75
"""Of the machine's memory, for the child."""
TOLD: Final = 40
"""Names that are told of a pickle."""


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
    names: list[str] = []
    """What the pickle brought in."""
    error: str = ""
    what: str = ""
    where: str = ""
    next_step: str = ""


def translate_in_child(
    folder: Path,
    table: Table | None,
    marks: Marks,
    signature: Mapping[str, Any],
    *,
    progress: Progress,
    contained: bool = True,
) -> Translation:
    """`translate`, in a child process that may unpickle; `contained` False: without walls, on the user's explicit word."""
    request = _Request(str(folder.resolve()), marks, dict(signature), None if table is None else _packed(table))
    policy = Policy(read=(request.folder,), memory_mb=memory_mb(), cpu_s=TIME_LIMIT_S, contained=contained)
    progress("load")
    done = run(policy, __name__, msgspec.msgpack.encode(request), timeout_s=TIME_LIMIT_S, most=MOST)
    reply = _decoded(done, folder)
    if reply.translation is None:
        raise _error(reply)
    check_onnx(reply.translation.onnx)
    rehearse(reply.translation.onnx)
    notes = (*reply.translation.notes, brought_in(reply.names))
    return msgspec.structs.replace(reply.translation, notes=notes)


def brought_in(names: Sequence[str]) -> str:
    """For the card: what a pickle looked up while it was opened."""
    more = f" and {len(names) - TOLD} more" if len(names) > TOLD else ""
    return f"the model was given as a pickle; when it was opened, it brought in {', '.join(names[:TOLD]) or 'nothing'}{more}"


def memory_mb() -> int:
    """What a child may take on this machine."""
    return int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * SHARE) // MIB


def _decoded(done: Done, folder: Path) -> _Reply:
    next_step = "save the model with skops, or as ONNX"
    if done.late:
        raise BuildError("the pickle was still busy after half an hour, or answered too much", str(folder), next_step)
    try:
        return msgspec.msgpack.decode(done.reply, type=_Reply)
    except msgspec.MsgspecError:
        said = f": {done.said[:200]}" if done.said else ""
        raise BuildError(
            f"the child process that opened the pickle ended with {done.code}{said}", str(folder), next_step
        ) from None


def _error(reply: _Reply) -> HoldfastError:
    """The child's error as our own of the same class."""
    kind = getattr(errors, reply.error, BuildError)
    if not (isinstance(kind, type) and issubclass(kind, HoldfastError)) or kind is errors.MissingExtra:
        kind = BuildError
    names = f"the pickle brought in {', '.join(reply.names[:TOLD])}" if reply.names else ""
    return kind(reply.what, "; ".join(part for part in (reply.where, names) if part), reply.next_step)


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


def main(number: str) -> None:
    """The child's side: read the request, translate, write the reply to this file number."""
    request = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=_Request)
    imports.watch()
    names: list[str] = []

    def opened(step: str) -> None:
        if step == "contract":  # what is unpickled from here on is no longer the model
            names.extend(imports.looked_up())

    try:
        table = None if request.table is None else _unpacked(request.table)
        folder = Path(request.folder)
        found = translate(folder, table, request.marks, request.signature, trust_pickle=True, progress=opened)
        reply = _Reply(found, names)
    except HoldfastError as bad:
        reply = _Reply(None, names or imports.looked_up(), type(bad).__name__, bad.what, bad.where, bad.next_step)
    with os.fdopen(int(number), "wb") as answer:
        answer.write(msgspec.msgpack.encode(reply))
