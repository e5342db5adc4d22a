"""One JSON object per answered request and line, for those who collect logs: `[serve] access_log`.

Not the prediction log: it holds no values and no keys, and no answer waits for it. Lines are written together, after the
answers of a tick of the event loop went out; several processes append to one file, each with one write. If the file cannot be
written, requests are answered all the same, and it is said once on stderr.

    {"at":"2026-11-21T15:04:05.678Z","client":"127.0.0.1","method":"POST","target":"/v2/models/prices/infer","status":200,
     "ms":0.114,"in":213,"out":178,"agent":"curl/8.5.0","request":"0199...","release":"5f2c...","code":""}
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.errors import HoldfastError
    from holdfast.http.problems import Reply
    from holdfast.http.reader import Request
    from holdfast.predictions.log import Frame

    Handle = Callable[[Request, Callable[[Reply], None]], Reply | None]
    Safe = Callable[[HoldfastError | None], None]
    Commit = Callable[[list[Frame], Safe], None]

__all__ = ["AccessLog", "Line", "moment"]

_PROBLEM: Final = "application/problem+json"
MOST: Final = 2048
"""Characters of a target or agent that are kept."""
STDOUT: Final = 1


class Line(msgspec.Struct, frozen=True, rename={"in_": "in"}):
    """A request and its answer."""

    at: str
    """When the request was taken, UTC."""
    client: str
    method: str
    target: str
    status: int
    ms: float
    """Until its answer went out: waiting for a thread and the prediction log's write are in it, the network is not."""
    in_: int
    """Bytes of the body."""
    out: int
    """Bytes of the answer's body."""
    agent: str
    request: str
    """Id in the prediction log; empty where nothing was predicted."""
    release: str
    code: str
    """Of the error, if it was one."""


class _Answered(NamedTuple):
    """Until the tick's answers go out."""

    request: Request
    reply: Reply
    at: float
    began: float


class _Problem(msgspec.Struct):
    code: str = ""


class AccessLog:
    """Writes what a port answers; for one event loop.

    Args:
        target: a file to append to; `-`: standard output.
        share: of the requests that are written; errors always are.
        chance: gives numbers between 0 and 1.
    """

    def __init__(self, target: str, *, share: float = 1.0, chance: Callable[[], float] = random.random) -> None:
        self._name = target
        self._share = share
        self._chance = chance
        self._file = STDOUT if target == "-" else _opened(Path(target))
        self._tick: list[_Answered] = []
        self._noted: list[bytes] = []
        self._encode = msgspec.json.Encoder().encode
        self._told = False

    def around(self, handle: Handle, commit: Commit) -> tuple[Handle, Commit]:
        """An application's `handle` and a journal's `commit` as a port takes them; what passes through them is written."""

        def handled(request: Request, later: Callable[[Reply], None]) -> Reply | None:
            at, began = time.time(), time.perf_counter()

            def answered(reply: Reply) -> None:
                self._tick.append(_Answered(request, reply, at, began))
                later(reply)

            reply = handle(request, answered)
            if reply is not None:
                self._tick.append(_Answered(request, reply, at, began))
            return reply

        def committed(frames: list[Frame], safe: Safe) -> None:
            tick, self._tick = self._tick, []

            def out(bad: HoldfastError | None) -> None:
                safe(bad)
                self._write([self._line(one, bad) for one in tick if self._wanted(one, bad)])

            commit(frames, out)

        return handled, committed

    def note(self, line: Line) -> None:
        """Write what another door answered, with the others of this tick."""
        if line.status >= 400 or self._share >= 1 or self._chance() < self._share:
            if not self._noted:
                asyncio.get_running_loop().call_soon(self._flush)
            self._noted.append(self._encode(line) + b"\n")

    def _flush(self) -> None:
        lines, self._noted = self._noted, []
        self._write(lines)

    def close(self) -> None:
        """Let go of the file."""
        self._flush()
        if self._file != STDOUT:
            os.close(self._file)

    def _wanted(self, one: _Answered, bad: HoldfastError | None) -> bool:
        return bad is not None or one.reply.status >= 400 or self._share >= 1 or self._chance() < self._share

    def _line(self, one: _Answered, bad: HoldfastError | None) -> bytes:
        request, reply, at, began = one
        told = dict(reply.headers)
        unlogged = bad if reply.frames else None  # then the client got this instead
        line = Line(
            at=moment(at),
            client=request.client,
            method=request.method,
            target=request.target[:MOST],
            status=unlogged.status if unlogged else reply.status,
            ms=round(1e3 * (time.perf_counter() - began), 3),
            in_=len(request.body),
            out=0 if unlogged or request.method == "HEAD" else len(reply.body),
            agent=request.headers.get("user-agent", "")[:MOST],
            request=told.get("X-Holdfast-Request", ""),
            release=told.get("X-Holdfast-Release", ""),
            code=unlogged.code if unlogged else _code(reply),
        )
        return self._encode(line) + b"\n"

    def _write(self, lines: list[bytes]) -> None:
        try:
            if lines:
                os.write(self._file, b"".join(lines))
        except OSError as bad:
            if not self._told:
                self._told = True
                sys.stderr.write(f"the access log '{self._name}' cannot be written: {bad.strerror}\n")


def moment(seconds: float) -> str:
    """A time as lines tell it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _opened(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)


def _code(reply: Reply) -> str:
    """A problem says its code itself."""
    return msgspec.json.decode(reply.body, type=_Problem).code if reply.media == _PROBLEM else ""
