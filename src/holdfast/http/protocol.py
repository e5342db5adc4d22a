"""One connection: its requests one after the other, and the replies in that order, as bytes.

Because requests are taken in turn, pipelined answers cannot overtake each other, and what waits is bounded: reading pauses
while too many requests wait, while the client does not read, and, after it said much, until others had their turn. An answer
is *held* until the end of the event loop's tick, when the port has the tick's log written. Time is the port's coarse clock: a
sweep once a second asks each connection whether it waited too long, instead of a timer per request.
"""

from __future__ import annotations

import asyncio
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, Protocol, cast

from holdfast.http.problems import Reply, TooSlow
from holdfast.http.reader import Heads, Limits, Meter, Reader, Request

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.errors import HoldfastError

__all__ = ["Connection", "Held", "Port", "encode"]

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
MUCH: Final = 64 << 10
"""After so many bytes at once a client waits for its turn: the loop would read megabytes from one before it looks at others."""
_PHRASES: Final = {status.value: status.phrase for status in HTTPStatus}


class Port(Protocol):
    """What a connection needs from the port that accepted it."""

    limits: Limits
    meter: Meter
    heads: Heads
    now: float
    """Coarse clock in seconds; moved by the sweep."""
    date: str
    draining: bool

    def handle(self, request: Request, later: Callable[[Reply], None]) -> Reply | None:
        """The reply, or None if `later` will be called with it (on the event loop). Never raises."""
        ...

    def refusal(self, request: Request) -> HoldfastError | None:
        """Why the body of this request need not be read. Never raises."""
        ...

    def hold(self, connection: Connection) -> None:
        """At the end of this tick `take` its answers and, once they are logged, `release` them."""
        ...

    def read_later(self, connection: Connection) -> None:
        """It says much: let it `read_on` when it is its turn."""
        ...

    def opened(self, connection: Connection) -> None:
        """It is here."""
        ...

    def closed(self, connection: Connection) -> None:
        """It is gone."""
        ...


Held = tuple[Reply | None, Request | None]
"""An answer until it is logged, and its request; no reply: 100 Continue; no request: the connection's last answer."""


class Connection(asyncio.Protocol):
    """One client."""

    def __init__(self, port: Port) -> None:
        self._port = port
        self._reader = Reader(port.limits, port.meter, port.heads, port.refusal)
        self._transport: asyncio.Transport | None = None
        self._asked: Request | None = None  # a slow request is out of the loop
        self._held: list[Held] = []
        self._taken = 0  # answers on their way into the log
        self._turning = False  # the next turn is scheduled
        self._ending = False
        self._paused = False
        self._loud = False  # others are heard before it goes on
        self._writable = True
        self._rests_until = 0.0
        self._resting = False
        self._since = port.now
        self._client = ""

    # ------------------------------------------------------------------------------------------ the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client came."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one without saying so
        self._client = _host(transport.get_extra_info("peername"))
        self._port.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self._transport = None
        self._reader.abandon()
        self._port.closed(self)

    def data_received(self, data: bytes) -> None:
        """Read, then work."""
        reader = self._reader
        if len(data) >= MUCH:
            self._give_way()
        if reader.deaf:
            return
        began = reader.midway
        reader.feed(data)
        if reader.midway and not (began or self._working):
            self._since = self._port.now
        if not self._turning:
            self._turn()

    def eof_received(self) -> bool:
        """The client sends no more, but may still read: what it asked in full is answered."""
        self._reader.deaf = True
        self._reader.cut_short = False
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

    # ------------------------------------------------------------------------------------------ work

    @property
    def _working(self) -> bool:
        return bool(self._reader.inbox or self._asked or self._held or self._taken)

    def _turn(self) -> None:
        """Take requests in order, a burst at most; then others have a turn."""
        self._turning = False
        inbox, limits = self._reader.inbox, self._port.limits
        left = limits.burst
        while inbox and self._writable and self._asked is None and not self._resting and self._taken < limits.waiting:
            if not left:
                self._turning = True
                asyncio.get_running_loop().call_soon(self._turn)
                break
            if self._rests_until:
                self._rest()
                continue
            left -= 1
            asked = inbox.popleft()
            if not isinstance(asked, Request):
                self._hold((asked, None))
                continue
            asked.client = self._client
            reply = self._port.handle(asked, self._later)
            if reply is None:
                self._asked = asked
            else:
                self._answer(asked, reply)
        if inbox or self._paused or not self._writable or self._resting:
            self._throttle()

    def _later(self, reply: Reply) -> None:
        """The slow request is done."""
        asked, self._asked = self._asked, None
        assert asked is not None
        self._answer(asked, reply)
        self._turn()

    def _answer(self, asked: Request, reply: Reply) -> None:
        reader = self._reader
        reader.answered(asked)
        if self._port.draining and not reader.inbox and not reader.midway:
            asked.keep, reader.deaf = False, True
        if reply.rest_s:
            self._rests_until = time.monotonic() + reply.rest_s
        self._hold((reply, asked))

    def _rest(self) -> None:
        """It was told when to come again, and is here before that: it is not listened to until then."""
        left = self._rests_until - time.monotonic()
        if left > 0.0 and not self._resting:
            self._resting = True
            asyncio.get_running_loop().call_later(left, self._rested)
        elif left <= 0.0:
            self._rests_until = 0.0

    def _rested(self) -> None:
        self._resting, self._rests_until = False, 0.0
        if not self._turning:
            self._turn()

    def _hold(self, held: Held) -> None:
        self._held.append(held)
        if len(self._held) == 1:
            self._port.hold(self)

    def _give_way(self) -> None:
        if not self._loud:
            self._loud = True
            self._port.read_later(self)
            self._throttle()

    def read_on(self) -> None:
        """The others have been heard."""
        self._loud = False
        self._throttle()

    def _throttle(self) -> None:
        """Read on only while there is room for what comes; of one that is being refused, all that still comes."""
        full = not self._writable or self._resting or len(self._reader.inbox) >= self._port.limits.waiting
        pause = self._loud or (full and not self._ending)
        if self._transport is not None and not self._transport.is_closing() and pause != self._paused:
            self._paused = pause
            if pause:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    # ------------------------------------------------------------------------------------------ out

    def take(self) -> list[Held]:
        """Take the answers of this tick: what is in their frames must be in the log before `release`."""
        held, self._held = self._held, []
        self._taken += len(held)
        return held

    def release(self, held: list[Held], unlogged: Reply | None = None) -> None:
        """Send answers; `unlogged` takes the place of those whose log could not be written."""
        self._taken -= len(held)
        if self._transport is None or self._ending:
            return
        date = self._port.date
        out = []
        for reply, asked in held:
            if reply is None:
                out.append(CONTINUE)
            else:
                told = unlogged if unlogged is not None and reply.frames else reply
                out.append(encode(told, date, asked))
        self._since = self._port.now
        self._transport.write(out[0] if len(out) == 1 else b"".join(out))
        if self._last(held[-1]) or (self._reader.deaf and not self._working):
            self._end()
        elif self._reader.inbox and not self._turning:  # it waited for the log
            self._turn()

    @staticmethod
    def _last(held: Held) -> bool:
        """Whether the connection ends with it."""
        reply, asked = held
        return reply is not None if asked is None else not asked.keep

    def _end(self) -> None:
        """Close once all is sent. A client that may still be sending is heard out, or the reset would eat our answer."""
        assert self._transport is not None
        self._ending = self._reader.deaf = True
        self._since = self._port.now
        self._throttle()
        if self._reader.cut_short and self._transport.can_write_eof():
            self._transport.write_eof()
        else:
            self._transport.close()

    def sweep(self, now: float) -> None:
        """Once a second: let go of who is too slow."""
        if self._transport is None:
            return
        limits, waited = self._port.limits, now - self._since
        if self._ending or not self._writable:
            if waited >= limits.request_s:
                self._transport.abort()
        elif self._working:
            pass  # the wait is ours
        elif self._reader.midway:
            if waited >= limits.request_s:
                self._reader.refuse(TooSlow(limits.request_s))
                self._turn()
        elif waited >= limits.idle_s or (self._port.draining and waited > 0):
            self._end()

    @property
    def idle(self) -> bool:
        """Whether nothing is asked."""
        return self._transport is not None and not (self._ending or self._working or self._reader.midway)

    def drain(self) -> None:
        """Close now if nothing is asked; else with the last answer."""
        if self.idle:
            self._end()

    def refuse(self, error: HoldfastError) -> None:
        """Tell this client why it cannot stay."""
        self._reader.refuse(error)
        self._turn()

    def cut(self) -> None:
        """The grace is over."""
        if self._transport is not None:
            self._transport.abort()


def _host(name: object) -> str:
    """Of an address as sockets tell it; empty where there is none, as on a Unix socket."""
    return str(name[0]) if isinstance(name, tuple) else ""


def encode(reply: Reply, date: str, asked: Request | None) -> bytes:
    """The bytes of an answer; where it answers no request, the connection ends with it."""
    extra = ""
    for name, value in reply.headers:
        if "\r" not in value and "\n" not in value:
            extra += f"{name}: {value}\r\n"
    if asked is None or not asked.keep:
        extra += "connection: close\r\n"
    elif asked.old:
        extra += "connection: keep-alive\r\n"
    status = reply.status
    line = f"HTTP/1.1 {status} {_PHRASES.get(status, '')}\r\ndate: {date}\r\ncontent-type: {reply.media}\r\n"
    start = f"{line}content-length: {len(reply.body)}\r\n{extra}\r\n".encode("latin-1", "replace")
    return start if asked is not None and asked.method == "HEAD" else start + reply.body
