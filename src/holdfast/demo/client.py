"""A light HTTP/1.1 client: a few keep-alive connections, one request at a time on each, so that a year of single-row requests
passes in seconds on the core that the server leaves over.

It knows just enough of HTTP to talk to our own server: whole answers with a Content-Length.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, cast
from urllib.parse import urlsplit

import msgspec

from holdfast.errors import ServeError

__all__ = ["Client", "Reply"]

END: Final = b"\r\n\r\n"
STALE_S: Final = 2.0
"""A connection that was idle for longer is not used again: the server may be about to close it."""
LENGTH: Final = b"content-length:"
AGAIN: Final = re.compile(rb"\r\nretry-after: *(\d+)", re.IGNORECASE)
TRIES: Final = 10
"""Of a request that a busy server asks to send again later."""


class Reply(NamedTuple):
    """An answer: status, body, and how long it took."""

    status: int
    body: bytes
    took_us: int

    def json(self) -> Any:
        """The decoded body; ServeError if the server refused."""
        if self.status >= 300:
            raise ServeError(f"the server answered {self.status}", self.body.decode(errors="replace")[:500])
        return msgspec.json.decode(self.body)


class Client:
    """Sends requests to one address over `connections` kept-alive connections. Use it in one thread."""

    def __init__(self, address: str, connections: int = 1) -> None:
        parts = urlsplit(address)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        self._head = f"Host: {parts.netloc}\r\nContent-Type: application/json\r\nContent-Length: ".encode()
        self._loop = _new_loop()
        self._wanted = connections
        self._connections: list[_Connection] = []
        self._used = 0.0

    def post(self, path: str, body: Any) -> Any:
        """One request with a JSON body; the decoded answer."""
        return self.post_all(path, [msgspec.json.encode(body)])[0].json()

    def get(self, path: str) -> Any:
        """One request without a body; the decoded answer."""
        return self._all([f"GET {path} HTTP/1.1\r\n".encode() + self._head + b"0" + END])[0].json()

    def post_all(self, path: str, bodies: Sequence[bytes]) -> list[Reply]:
        """Every body as a request of its own, taken up in order; the answers in the same order."""
        start = f"POST {path} HTTP/1.1\r\n".encode() + self._head
        return self._all([b"%b%d%b%b" % (start, len(body), END, body) for body in bodies])

    def close(self) -> None:
        """Close the connections."""
        for connection in self._connections:
            connection.close()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    def _all(self, requests: Sequence[bytes]) -> list[Reply]:
        return self._loop.run_until_complete(self._send(requests))

    async def _send(self, requests: Sequence[bytes]) -> list[Reply]:
        if time.monotonic() - self._used > STALE_S:
            for connection in self._connections:
                connection.close()
        self._connections = [c for c in self._connections if not c.closed]
        while len(self._connections) < min(self._wanted, len(requests)):
            connection = await self._connect()
            self._connections.append(connection)
        replies: list[Reply | None] = [None] * len(requests)
        todo = iter(enumerate(requests))
        await asyncio.gather(*(connection.work(todo, replies) for connection in self._connections))
        self._used = time.monotonic()
        return [reply for reply in replies if reply is not None]

    async def _connect(self) -> _Connection:
        try:
            return (await self._loop.create_connection(_Connection, self._host, self._port))[1]
        except OSError as bad:
            raise ServeError(
                "the server does not answer", f"{self._host}:{self._port}: {bad}", "holdfast serve"
            ) from None


class _Connection(asyncio.Protocol):
    """One kept-alive connection."""

    def __init__(self) -> None:
        self.closed = False
        self._transport: asyncio.Transport | None = None
        self._got = bytearray()
        self._answered: asyncio.Future[tuple[int, bytes, int]] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._got += data
        head = self._got.find(END)
        if head < 0 or self._answered is None or self._answered.done():
            return
        at = self._got.lower().find(LENGTH, 0, head)
        length = int(self._got[at + len(LENGTH) : self._got.find(b"\r", at)]) if at >= 0 else 0
        whole = head + len(END) + length
        if len(self._got) >= whole:
            told = AGAIN.search(self._got, 0, head)
            again_s = int(told[1]) if told else 0
            self._answered.set_result((int(self._got[9:12]), bytes(self._got[head + len(END) : whole]), again_s))
            del self._got[:whole]

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(ServeError("the server closed the connection", str(exc or "")))

    def close(self) -> None:
        self.closed = True
        if self._transport is not None:
            self._transport.close()

    async def work(self, todo: Any, replies: list[Reply | None]) -> None:
        """Take requests from `todo` until there is none."""
        assert self._transport is not None
        loop = asyncio.get_running_loop()
        for place, request in todo:
            for tries in range(TRIES):
                began = time.perf_counter_ns()
                self._answered = loop.create_future()
                self._transport.write(request)
                status, body, again_s = await self._answered
                replies[place] = Reply(status, body, (time.perf_counter_ns() - began) // 1000)
                if not again_s or tries == TRIES - 1:
                    break
                await asyncio.sleep(again_s)


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:  # not on every platform
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
