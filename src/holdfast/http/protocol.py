"""One connection: bytes in, requests out; replies in, bytes out, in the order of the requests.

A connection takes its requests one after the other, so pipelined answers cannot overtake each other, and what waits is
bounded: reading pauses while too many requests wait or while the client does not read. What the parser calls only notes
what came; work begins after it has returned, so nothing can raise inside it. An answer is *held* until the end of the event
loop's tick, when the port has written the tick's log. Time is the port's coarse clock: a sweep once a second asks each
connection whether it waited too long, instead of a timer per request.
"""

from __future__ import annotations

import asyncio
from collections import deque
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

import httptools

from holdfast.errors import HoldfastError, MalformedRequest, Overloaded, TooLarge
from holdfast.http.problems import HeadTooLarge, Refused, TooSlow, problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.http.problems import Reply

__all__ = ["Connection", "Limits", "Port", "Request", "encode"]

SLICE: Final = 64 << 10
"""The parser gets at most this much at once, so that an unfinished head is measured in time."""
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class Limits(NamedTuple):
    """What one client may ask of us."""

    body: int = 16 << 20
    """Bytes of one request's body; more is 413."""
    head: int = 64 << 10
    """Bytes of target and headers; more is 431."""
    bodies: int = 256 << 20
    """Bytes of all bodies that are here and not answered yet; more is 503."""
    waiting: int = 32
    """Requests of one connection that wait; at this many, reading pauses."""
    burst: int = 16
    """Requests of one connection in one turn of the loop: a pipeline does not starve the others."""
    idle_s: float = 75.0
    request_s: float = 15.0
    """For a request to be complete, an answer to be taken, a refused client to be done with sending."""


class Request:
    """A complete request. Header names are lower case; repeated ones are joined by commas."""

    __slots__ = ("body", "headers", "keep", "method", "old", "target")

    def __init__(
        self,
        method: str,
        target: str,
        headers: dict[str, str],
        body: bytes = b"",
        *,
        keep: bool = True,
        old: bool = False,
    ) -> None:
        self.method = method
        self.target = target
        self.headers = headers
        self.body = body
        self.keep = keep
        """Whether the client wants the connection kept."""
        self.old = old
        """HTTP/1.0."""


class Port(Protocol):
    """What a connection needs from the port that accepted it."""

    limits: Limits
    now: float
    """Coarse clock in seconds; moved by the sweep."""
    date: str
    draining: bool
    bodies: int
    """Bytes of all bodies that are here."""

    def handle(self, request: Request, later: Callable[[Reply], None]) -> Reply | None:
        """The reply, or None if `later` will be called with it (on the event loop). Never raises."""
        ...

    def hold(self, connection: Connection) -> None:
        """Call `connection.release` at the end of this tick."""
        ...

    def opened(self, connection: Connection) -> None:
        """It is here."""
        ...

    def closed(self, connection: Connection) -> None:
        """It is gone."""
        ...


class _Held(NamedTuple):
    """An answer until the end of the tick; reply None: 100 Continue."""

    reply: Reply | None
    keep: bool
    head: bool
    old: bool


class Connection(asyncio.Protocol):
    """One client."""

    def __init__(self, port: Port) -> None:
        self._port = port
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        # The message that is coming in.
        self._phase = "idle"
        self._offers = False  # to upgrade
        self._target = b""
        self._lines: list[tuple[bytes, bytes]] = []
        self._head = 0  # bytes of complete lines
        self._unfinished = 0  # bytes fed while the head was not complete
        self._headers: dict[str, str] = {}
        self._chunks: list[bytes] = []
        self._size = 0
        # What waits, and for whom.
        self._inbox: deque[Request | Reply | None] = deque()
        self._held: list[_Held] = []
        self._busy = False  # a slow request is out of the loop
        self._turning = False  # the next turn is scheduled
        self._owed = 0  # our part of port.bodies
        self._asked: Request | None = None
        # The state of the line.
        self._deaf = False  # nothing more is taken from this client
        self._linger = False  # it may still be sending
        self._ending = False
        self._paused = False
        self._writable = True
        self._since = port.now

    # ------------------------------------------------------------------------------------------ the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client came."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._port.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone, and what it had asked is nobody's question any more."""
        self._transport = None
        self._deaf = True
        self._inbox.clear()
        self._pay(self._owed)
        self._port.closed(self)

    def data_received(self, data: bytes) -> None:
        """Parse, then work."""
        if self._deaf:
            return
        if len(data) <= SLICE:
            self._feed(data)
        else:
            view = memoryview(data)
            for start in range(0, len(data), SLICE):
                self._feed(view[start : start + SLICE])
                if self._deaf:
                    break
        if not self._turning:
            self._turn()

    def eof_received(self) -> bool:
        """The client sends no more, but may still read: what it asked in full is answered."""
        self._deaf = True
        self._linger = False
        return self._working and not self._ending

    def pause_writing(self) -> None:
        """The client does not read: take no more of its requests."""
        self._writable = False
        self._since = self._port.now
        self._throttle()

    def resume_writing(self) -> None:
        """It reads again."""
        self._writable = True
        self._since = self._port.now
        if not self._turning:
            self._turn()

    # ------------------------------------------------------------------------------------------ the parser calls

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        self._phase = "head"
        self._target = b""
        self._lines = []
        self._head = self._unfinished = self._size = 0
        self._chunks = []
        if not self._working:
            self._since = self._port.now

    def on_url(self, part: bytes) -> None:
        """The target, maybe in parts."""
        self._target += part
        self._head += len(part)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header; trailers, which come behind the body, are nobody's."""
        if self._phase == "head":
            self._lines.append((name, value))
            self._head += len(name) + len(value) + 4

    def on_headers_complete(self) -> None:
        """Refuse what need not be read on."""
        self._phase = "body"
        if self._parser.should_upgrade():
            self._offers = True
        elif not self._deaf:
            self._headers = headers = _joined(self._lines)
            wrong = self._wrong(headers)
            if wrong:
                self._refuse(wrong)
            elif "expect" in headers:
                self._inbox.append(None)

    def on_body(self, part: bytes) -> None:
        """A part of the body."""
        if self._deaf:
            return
        self._size += len(part)
        if self._size > self._port.limits.body:
            self._refuse(_too_large(self._port.limits.body))
            return
        self._owed += len(part)
        self._port.bodies += len(part)
        if self._port.bodies > self._port.limits.bodies:
            self._refuse(Overloaded("too many requests at once", next_step="try again in a second"))
            return
        self._chunks.append(part)

    def on_message_complete(self) -> None:
        """The whole request is here."""
        if self._offers or self._deaf:
            return
        self._phase = "idle"
        chunks = self._chunks
        body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        keep = self._parser.should_keep_alive()
        old = self._parser.get_http_version() == "1.0"
        method = self._parser.get_method().decode("latin-1")
        self._inbox.append(Request(method, self._target.decode("latin-1"), self._headers, body, keep=keep, old=old))
        self._chunks = []
        self._deaf = not keep

    # ------------------------------------------------------------------------------------------ in

    def _feed(self, data: bytes | memoryview) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            self._decline(data, offer.args[0])
        except httptools.HttpParserError as bad:
            if not self._deaf:
                self._refuse(MalformedRequest(f"this is not HTTP/1.1: {bad}", next_step="check the client"))
        if self._phase == "head" and not self._deaf:
            self._unfinished += len(data)
            if self._unfinished > self._port.limits.head + SLICE:
                self._refuse(HeadTooLarge(self._port.limits.head))

    def _decline(self, data: bytes | memoryview, rest: int) -> None:
        """The parser skips the body behind any offer to upgrade: read the request again as if there had been none."""
        method = self._parser.get_method()
        self._offers = False
        if method == b"CONNECT":
            self._refuse(Refused("this is no proxy", "method CONNECT", status=HTTPStatus.METHOD_NOT_ALLOWED))
            return
        self._parser = httptools.HttpRequestParser(self)
        head = [method + b" " + self._target + b" HTTP/1.1\r\n"]
        for name, value in self._lines:
            lower = name.lower()
            if lower == b"connection":
                value = b"close" if b"close" in value.lower() else b"keep-alive"  # noqa: PLW2901
            if lower not in {b"upgrade", b"http2-settings"}:
                head.append(name + b": " + value + b"\r\n")
        self._feed(b"".join([*head, b"\r\n"]))
        self._feed(memoryview(data)[rest:])

    def _wrong(self, headers: dict[str, str]) -> HoldfastError | None:
        """What is wrong with a complete head."""
        limits = self._port.limits
        version = self._parser.get_http_version()
        length = headers.get("content-length", "0")
        if self._head > limits.head:
            return HeadTooLarge(limits.head)
        if version not in {"1.1", "1.0"}:
            return Refused(f"HTTP/{version} is not spoken here", status=HTTPStatus.HTTP_VERSION_NOT_SUPPORTED)
        if sum(name.lower() == b"host" for name, _ in self._lines) != 1 and version == "1.1":
            return MalformedRequest("a request names its host once", "header Host", "check the client")
        if int(length) > limits.body:
            return _too_large(limits.body)
        if headers.get("expect", "100-continue").lower() != "100-continue":
            return Refused("this cannot be expected", "header Expect", status=HTTPStatus.EXPECTATION_FAILED)
        return None

    def _refuse(self, error: HoldfastError) -> None:
        """Answer with a problem after all earlier answers, then close; what still comes is thrown away."""
        self._deaf = self._linger = True
        self._inbox.append(problem(error))

    # ------------------------------------------------------------------------------------------ work

    @property
    def _working(self) -> bool:
        return bool(self._inbox or self._busy or self._held)

    def _turn(self) -> None:
        """Take requests in order, a burst at most; then others have a turn."""
        self._turning = False
        left = self._port.limits.burst
        while self._inbox and self._writable and not self._busy:
            if not left:
                self._turning = True
                asyncio.get_running_loop().call_soon(self._turn)
                break
            left -= 1
            asked = self._inbox.popleft()
            if isinstance(asked, Request):
                self._asked = asked
                reply = self._port.handle(asked, self._later)
                if reply is None:
                    self._busy = True
                else:
                    self._answer(reply)
            else:
                self._hold(_Held(asked, keep=asked is None, head=False, old=False))
        self._throttle()

    def _later(self, reply: Reply) -> None:
        """The slow request is done."""
        self._busy = False
        self._answer(reply)
        self._turn()

    def _answer(self, reply: Reply) -> None:
        asked, self._asked = self._asked, None
        assert asked is not None
        if self._transport is not None:  # else all is paid
            self._pay(len(asked.body))
        if self._port.draining and not self._inbox and self._phase == "idle":
            asked.keep, self._deaf = False, True
        self._hold(_Held(reply, keep=asked.keep, head=asked.method == "HEAD", old=asked.old))

    def _hold(self, held: _Held) -> None:
        self._held.append(held)
        if len(self._held) == 1:
            self._port.hold(self)

    def _pay(self, size: int) -> None:
        self._owed -= size
        self._port.bodies -= size

    def _throttle(self) -> None:
        """Read on only while there is room for what comes."""
        pause = not self._writable or len(self._inbox) >= self._port.limits.waiting
        if self._transport is not None and not self._ending and pause != self._paused:
            self._paused = pause
            if pause:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    # ------------------------------------------------------------------------------------------ out

    @property
    def frames(self) -> list[bytes]:
        """What must be in the log before `release`."""
        return [frame for held in self._held if held.reply is not None for frame in held.reply.frames]

    def release(self, unlogged: Reply | None = None) -> None:
        """Send this tick's answers; `unlogged` takes the place of those whose log could not be written."""
        held, self._held = self._held, []
        if self._transport is None or self._ending:
            return
        date = self._port.date
        out = []
        for reply, keep, head, old in held:
            if reply is None:
                out.append(CONTINUE)
            else:
                told = unlogged if unlogged is not None and reply.frames else reply
                out.append(encode(told, date=date, keep=keep, head=head, old=old))
        self._since = self._port.now
        self._transport.write(b"".join(out))
        if not held[-1].keep or (self._deaf and not self._working):
            self._end()

    def _end(self) -> None:
        """Close once all is sent. A client that may still be sending is heard out, or the reset would eat our answer."""
        assert self._transport is not None
        self._ending = self._deaf = True
        self._since = self._port.now
        if self._paused:
            self._transport.resume_reading()
        if self._linger:
            self._transport.write_eof()
        else:
            self._transport.close()

    def sweep(self, now: float) -> None:
        """Once a second: let go of who is too slow."""
        transport, limits = self._transport, self._port.limits
        waited = now - self._since
        if transport is None:
            return
        if self._ending or not self._writable:
            if waited >= limits.request_s:
                transport.abort()
        elif self._working:
            return
        elif self._phase != "idle":
            if waited >= limits.request_s:
                self._refuse(TooSlow(limits.request_s))
                self._turn()
        elif waited >= limits.idle_s or (self._port.draining and waited > 0):
            self._end()

    def drain(self) -> None:
        """Close now if nothing is asked; else with the last answer."""
        if self._phase == "idle" and not self._working and not self._ending and self._transport is not None:
            self._end()

    def cut(self) -> None:
        """The grace is over."""
        if self._transport is not None:
            self._transport.abort()


def encode(reply: Reply, *, date: str, keep: bool = True, head: bool = False, old: bool = False) -> bytes:
    """The bytes of an answer."""
    extra = ""
    for name, value in reply.headers:
        if "\r" not in value and "\n" not in value:
            extra += f"{name}: {value}\r\n"
    if not keep:
        extra += "connection: close\r\n"
    elif old:
        extra += "connection: keep-alive\r\n"
    status = reply.status
    line = f"HTTP/1.1 {status} {_PHRASES.get(status, '')}\r\ndate: {date}\r\ncontent-type: {reply.media}\r\n"
    start = f"{line}content-length: {len(reply.body)}\r\n{extra}\r\n".encode("latin-1", "replace")
    return start if head else start + reply.body


_PHRASES: Final = {status.value: status.phrase for status in HTTPStatus}


def _joined(lines: list[tuple[bytes, bytes]]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for raw, value in lines:
        name, text = raw.decode("latin-1").lower(), value.decode("latin-1")
        headers[name] = f"{headers[name]}, {text}" if name in headers else text
    return headers


def _too_large(limit: int) -> TooLarge:
    return TooLarge(
        f"the body is larger than {limit / (1 << 20):g} MiB", next_step="send fewer rows, or raise [serve] max_body_mb"
    )
