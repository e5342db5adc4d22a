"""Bytes in, requests out: one connection's HTTP/1.1, held to its limits.

What the parser calls only notes what came, so nothing can raise inside it. A message that is wrong becomes a reply in the
place where its request would stand, and nothing behind it is read: its end cannot be known. A client sends the same head again
and again; one that came before, byte for byte, and whose body came with it, needs no parser.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final, NamedTuple

import httptools

from holdfast.errors import HoldfastError, MalformedRequest, Overloaded, TooLarge
from holdfast.http.problems import HeadTooLarge, Refused, Reply, problem

__all__ = ["Heads", "Limits", "Meter", "Reader", "Request"]

SLICE: Final = 64 << 10
"""The parser gets at most this much at once, so that an unfinished head is measured in time."""
LARGE: Final = 64 << 10
"""From so many bytes on, or without a number, the head alone decides whether a body is read."""
END: Final = b"\r\n\r\n"
HEADS: Final = 256
HEAD_BYTES: Final = 2048


_COMMON: Final = (
    "Accept Accept-Encoding Authorization Connection Content-Encoding Content-Length Content-Type Host User-Agent"
)
_NAMES: Final = {
    written.encode(): name.lower() for name in _COMMON.split() for written in (name, name.lower(), name.upper())
}
"""Header names as clients mostly write them."""
_METHODS: Final = {b"POST": "POST", b"GET": "GET"}


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
    """For a kept connection to ask again."""
    request_s: float = 15.0
    """For a request to be complete, an answer to be taken, a refused client to be done with sending."""
    connections: int = 4096
    """Clients at once."""


class Meter:
    """Bytes of all bodies that are here, over all connections."""

    def __init__(self) -> None:
        self.bytes = 0


class Request:
    """A complete request. Header names are lower case; repeated ones are joined by commas."""

    __slots__ = ("body", "client", "headers", "keep", "known", "method", "old", "target")
    client: str
    """Address it came from; the connection says it."""

    def __init__(
        self,
        method: str,
        target: str,
        headers: dict[str, str],
        body: bytes = b"",
        keep: bool = True,  # noqa: FBT001, FBT002 - by position it is quicker
        old: bool = False,  # noqa: FBT001, FBT002
        known: Known | None = None,
    ) -> None:
        self.method = method
        self.target = target
        self.headers = headers
        self.body = body
        self.keep = keep
        """Whether the client wants the connection kept."""
        self.old = old
        """HTTP/1.0."""
        self.known = known
        """The head, if it came before."""


class Known:
    """What a head says that came before."""

    __slots__ = ("headers", "length", "method", "note", "old", "target")

    def __init__(self, request: Request) -> None:
        self.method = request.method
        self.target = request.target
        self.headers = request.headers
        self.length = len(request.body)
        """Bytes of the body behind it."""
        self.old = request.old
        self.note: Any = None
        """What the application has found out from the head alone."""


class Heads(dict[bytes, Known]):
    """Heads of requests that were read before, over all connections; a short list of the latest."""

    def remember(self, head: bytes, request: Request) -> None:
        """Read it the same way from now on."""
        if len(head) <= HEAD_BYTES:
            if len(self) >= HEADS:
                self.clear()
            self[head] = Known(request)


class Reader:
    """Takes bytes as they come; what they ask waits in `inbox`, in order.

    An item is a request, a reply that refuses one and ends the connection, or None: the client waits for 100 Continue.

    Args:
        limits: of one client.
        meter: over all of them.
        heads: that came before.
        refusal: tells why a request whose body is large or still to come need not be read on. Never raises.
    """

    def __init__(
        self, limits: Limits, meter: Meter, heads: Heads, refusal: Callable[[Request], HoldfastError | None]
    ) -> None:
        self.inbox: deque[Request | Reply | None] = deque()
        self.deaf = False
        """Nothing more is taken from this client."""
        self.cut_short = False
        """It was refused, and may still be sending."""
        self._limits = limits
        self._meter = meter
        self._heads = heads
        self._refusal = refusal
        self._owed = 0  # our part of the meter
        self._parser = httptools.HttpRequestParser(self)
        self.midway = False
        """Whether a request has begun and not ended."""
        self._in_head = False
        self._offers = False  # to upgrade
        self._declined = False
        self._target = b""
        self._lines: list[tuple[bytes, bytes]] = []
        self._headers: dict[str, str] = {}
        self._version = "1.1"
        self._unfinished = 0  # bytes fed while the head was not complete
        self._chunks: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> None:
        """Take what came."""
        if len(data) > SLICE:
            view = memoryview(data)
            for start in range(0, len(data), SLICE):
                self._feed(view[start : start + SLICE])
            return
        if self.midway or self.deaf:
            self._feed(data)
            return
        end = data.find(END) + len(END)
        known = self._heads.get(data[:end])
        if known is not None and len(data) - end == known.length:
            self._again(known, data[end:])
            return
        waiting = len(self.inbox)
        self._feed(data)
        if end >= len(END) and len(self.inbox) == waiting + 1:
            self._remember(data[:end], len(data) - end)

    def refuse(self, error: HoldfastError) -> None:
        """Answer with a problem after all earlier answers, then close; what still comes is thrown away."""
        self.deaf = self.cut_short = True
        self._chunks = []
        self._pay(self._size)
        self._size = 0
        self.inbox.append(problem(error))

    def answered(self, request: Request) -> None:
        """Its body is needed no more."""
        size = min(len(request.body), self._owed)  # nothing is owed once the client is gone
        self._owed -= size
        self._meter.bytes -= size

    def abandon(self) -> None:
        """The client is gone, and what it had asked is nobody's question any more."""
        self.deaf = True
        self.inbox.clear()
        self._pay(self._owed)

    def _pay(self, size: int) -> None:
        self._owed -= size
        self._meter.bytes -= size

    # ------------------------------------------------------------------------------------------ the parser calls

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        self.midway = self._in_head = True
        self._target = b""
        self._lines = []
        self._unfinished = self._size = 0
        self._chunks = []

    def on_url(self, part: bytes) -> None:
        """The target, maybe in parts."""
        self._target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header; trailers, which come behind the body, are nobody's."""
        if self._in_head:
            self._lines.append((name, value))

    def on_headers_complete(self) -> None:
        """Refuse what need not be read on."""
        self._in_head = False
        if self._parser.should_upgrade():
            self._offers = True
        elif not self.deaf:
            headers: dict[str, str] = {}
            self._headers, hosts, head = headers, 0, len(self._target)
            for raw, value in self._lines:
                head += len(raw) + len(value) + 4
                name = _NAMES.get(raw) or raw.decode("latin-1").lower()
                text = value.decode("latin-1")
                hosts += name == "host"
                headers[name] = f"{headers[name]}, {text}" if name in headers else text
            wrong = self._wrong(headers, hosts, head) or self._unwanted(headers)
            if wrong:
                self.refuse(wrong)
            elif "expect" in headers:
                self.inbox.append(None)

    def on_body(self, part: bytes) -> None:
        """A part of the body."""
        if self.deaf:
            return
        self._size += len(part)
        self._owed += len(part)
        self._meter.bytes += len(part)
        if self._size > self._limits.body:
            self.refuse(_too_large(self._limits.body))
        elif self._meter.bytes > self._limits.bodies:
            self.refuse(_too_many())
        else:
            self._chunks.append(part)

    def on_message_complete(self) -> None:
        """The whole request is here."""
        if self._offers or self.deaf:
            return
        self.midway = False
        chunks = self._chunks
        body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        self._chunks = []
        self._size = 0
        parser = self._parser
        keep = parser.should_keep_alive()
        old = self._version == "1.0"
        method = _METHODS.get(parser.get_method()) or parser.get_method().decode("latin-1")
        self.inbox.append(Request(method, self._target.decode("latin-1"), self._headers, body, keep=keep, old=old))
        self.deaf = not keep

    # ------------------------------------------------------------------------------------------ within

    def _again(self, known: Known, body: bytes) -> None:
        """A request whose head is known."""
        size, meter = len(body), self._meter
        self._owed += size
        meter.bytes += size
        if meter.bytes > self._limits.bodies:
            self._size = size
            self.refuse(_too_many())
            return
        self.inbox.append(Request(known.method, known.target, known.headers, body, True, known.old, known))

    def _remember(self, head: bytes, rest: int) -> None:
        """If what came was one request, whole, and its head says all there is to say about it."""
        request = self.inbox[-1]
        if (
            isinstance(request, Request)
            and request.keep
            and not self.midway
            and not self._declined
            and rest == len(request.body)
            and "transfer-encoding" not in request.headers
        ):
            self._heads.remember(head, request)

    def _feed(self, data: bytes | memoryview) -> None:
        if self.deaf:
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            self._decline(data, offer.args[0])
            return
        except httptools.HttpParserError as bad:
            self._broken(bad)
        self._measure(len(data))

    def _broken(self, bad: Exception) -> None:
        if not self.deaf:
            self.refuse(MalformedRequest(f"this is not HTTP/1.1: {bad}", next_step="check the client"))

    def _measure(self, fed: int) -> None:
        if self._in_head and not self.deaf:
            self._unfinished += fed
            if self._unfinished > self._limits.head + SLICE:
                self.refuse(HeadTooLarge(self._limits.head))

    def _decline(self, data: bytes | memoryview, rest: int) -> None:
        """The parser skips the body behind any offer to upgrade: read the request again as if there had been none."""
        method = self._parser.get_method()
        self._offers, self._declined = False, True
        if self.deaf:
            return
        if method == b"CONNECT":
            self.refuse(Refused("this is no proxy", "method CONNECT", status=HTTPStatus.METHOD_NOT_ALLOWED))
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

    def _wrong(self, headers: dict[str, str], hosts: int, head: int) -> HoldfastError | None:
        """What is wrong with a complete head of so many bytes that names its host so many times."""
        limits = self._limits
        self._version = version = self._parser.get_http_version()
        if head > limits.head:
            return HeadTooLarge(limits.head)
        if version not in {"1.1", "1.0"}:
            return Refused(f"HTTP/{version} is not spoken here", status=HTTPStatus.HTTP_VERSION_NOT_SUPPORTED)
        if hosts != 1 and version == "1.1":
            return MalformedRequest("a request names its host once", "header Host", "check the client")
        if "content-length" in headers and int(headers["content-length"] or "0") > limits.body:
            return _too_large(limits.body)
        if "expect" in headers and headers["expect"].lower() != "100-continue":
            return Refused("this cannot be expected", "header Expect", status=HTTPStatus.EXPECTATION_FAILED)
        return None

    def _unwanted(self, headers: dict[str, str]) -> HoldfastError | None:
        """A stranger's small body is read and the connection kept; a large one is not even waited for."""
        if "transfer-encoding" in headers or "expect" in headers or int(headers.get("content-length") or "0") > LARGE:
            method = self._parser.get_method().decode("latin-1")
            return self._refusal(Request(method, self._target.decode("latin-1"), headers))
        return None


def _too_many() -> Overloaded:
    return Overloaded("too many requests at once", next_step="try again in a second")


def _too_large(limit: int) -> TooLarge:
    return TooLarge(
        f"the body is larger than {limit / (1 << 20):g} MiB", next_step="send fewer rows, or raise [serve] max_body_mb"
    )
