"""The inference port: accepts connections, ends each tick of the event loop with one log write, sweeps, drains.

A *tick* is what the loop does between two waits for the network. Its answers are held until everything that is ready has been
read; then their log frames are appended with one write, and only then do they go out: no acknowledged prediction is lost
when the process is killed. If the log cannot be written, those requests are answered 503 with the reason. Where the log must
reach the disk first, the loop goes on meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Final

from holdfast.errors import Overloaded
from holdfast.http.problems import problem
from holdfast.http.protocol import Connection
from holdfast.http.reader import Heads, Limits, Meter

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Callable

    from holdfast.errors import HoldfastError
    from holdfast.http.problems import Reply
    from holdfast.http.reader import Request
    from holdfast.predictions.log import Frame

    Refusal = Callable[[Request], HoldfastError | None]
    Commit = Callable[[list[Frame], Callable[[HoldfastError | None], None]], None]

__all__ = ["InferencePort", "serve"]

SWEEP_S: Final = 1.0
DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
OLDEST: Final = 64
"""Connections that are looked at to find one that asks nothing."""
SETTLE_S: Final = 0.05
"""Drain reads what had already reached us before it closes connections that ask nothing."""


class InferencePort:
    """All connections of one process; `protocol.Port` for each of them.

    Args:
        handle: the application; gives the reply, or None and calls its second argument later. Never raises.
        commit: logs frames and calls its second argument when they are safe; `predictions.journal.Journal.commit`.
        refusal: tells from its head why a request need not be read on; None: whatever comes is read. Never raises.
    """

    def __init__(
        self,
        handle: Callable[[Request, Callable[[Reply], None]], Reply | None],
        commit: Commit,
        limits: Limits = Limits(),  # noqa: B008 - immutable
        refusal: Refusal = lambda _: None,
    ) -> None:
        self.handle = handle
        self.refusal = refusal
        self.limits = limits
        self.draining = False
        self.meter = Meter()
        self.heads = Heads()
        self.connections: dict[Connection, None] = {}  # oldest first
        self._commit = commit
        self._waiting: list[Connection] = []
        self._loud: deque[Connection] = deque()
        self._loop = asyncio.get_running_loop()
        self._acceptor: asyncio.Server | None = None
        self._sweeper: asyncio.Task[None] | None = None
        self._empty = asyncio.Event()
        self.sweep(time.monotonic())

    # ------------------------------------------------------------------------------------------ for connections

    def opened(self, connection: Connection) -> None:
        """A client came. Where there is no room, an old one that asks nothing makes it; else the new one is told, or just cut."""
        self.connections[connection] = None
        self._empty.clear()
        over = len(self.connections) - self.limits.connections
        if over <= 0:
            return
        idle = next((old for old in islice(self.connections, OLDEST) if old.idle and old is not connection), None)
        if idle is not None:
            idle.drain()
        elif over <= self.limits.connections // 8:
            connection.refuse(Overloaded("too many connections", "[serve] max_connections", "try again in a second"))
        else:
            connection.cut()

    def closed(self, connection: Connection) -> None:
        """A client is gone."""
        self.connections.pop(connection, None)
        if not self.connections:
            self._empty.set()

    def hold(self, connection: Connection) -> None:
        """Release this connection's answers at the end of the tick."""
        if not self._waiting:
            self._loop.call_soon(self._end_of_tick)
        self._waiting.append(connection)

    def _end_of_tick(self) -> None:
        waiting, self._waiting = self._waiting, []
        batch = [(connection, connection.take()) for connection in waiting]
        frames = [frame for _, held in batch for reply, _ in held if reply is not None for frame in reply.frames]

        def safe(bad: HoldfastError | None) -> None:
            unlogged = None if bad is None else problem(bad)
            for connection, held in batch:
                connection.release(held, unlogged)

        self._commit(frames, safe)

    def read_later(self, connection: Connection) -> None:
        """In turn with all that say much, one a tick: what they send together delays nobody by more than a piece of it."""
        if not self._loud:
            self._loop.call_soon(self._read_on)
        self._loud.append(connection)

    def _read_on(self) -> None:
        self._loud.popleft().read_on()
        if self._loud:
            self._loop.call_soon(self._read_on)

    # ------------------------------------------------------------------------------------------ life

    async def start(self, listener: socket.socket, tls: ssl.SSLContext | None = None) -> None:
        """Accept clients."""
        self._acceptor = await self._loop.create_server(
            lambda: Connection(self),
            sock=listener,
            backlog=1024,
            ssl=tls,
            ssl_handshake_timeout=None if tls is None else self.limits.request_s,
        )
        self._sweeper = self._loop.create_task(self._sweep_on())

    async def _sweep_on(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            self.sweep(time.monotonic())

    def sweep(self, now: float) -> None:
        """Move the coarse clock; let go of clients that are too slow."""
        self.now = now
        self.date = http_date(time.time())
        for connection in list(self.connections):
            connection.sweep(now)

    async def drain(self, grace_s: float = 10.0) -> None:
        """Accept nobody, answer whoever has begun to ask, close; after `grace_s` the rest is cut off."""
        if self._acceptor is not None:
            self._acceptor.close()
        self.draining = True
        await asyncio.sleep(SETTLE_S)
        for connection in list(self.connections):
            connection.drain()
        if self.connections:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), grace_s)
        for connection in list(self.connections):
            connection.cut()
        if self._sweeper is not None:
            self._sweeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._sweeper
        await asyncio.sleep(0)  # the last tick


def http_date(seconds: float) -> str:
    """As RFC 9110 wants it, in every locale; the standard library's own way would import its e-mail package."""
    now = time.gmtime(seconds)
    day = f"{DAYS[now.tm_wday]}, {now.tm_mday:02} {MONTHS[now.tm_mon - 1]} {now.tm_year}"
    return f"{day} {now.tm_hour:02}:{now.tm_min:02}:{now.tm_sec:02} GMT"


async def serve(
    listener: socket.socket,
    handle: Callable[[Request, Callable[[Reply], None]], Reply | None],
    commit: Commit,
    limits: Limits = Limits(),  # noqa: B008 - immutable
    tls: ssl.SSLContext | None = None,
    refusal: Refusal = lambda _: None,
) -> InferencePort:
    """Answer on this socket from now on, until `drain()`."""
    port = InferencePort(handle, commit, limits, refusal)
    await port.start(listener, tls)
    return port
