"""A wire without a network: a transport that remembers, and the bytes of answers read back."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import httptools

from holdfast.core.prediction import Refusal
from holdfast.http.port import InferencePort
from holdfast.http.problems import Reply
from holdfast.http.protocol import Connection
from holdfast.http.reader import Limits, Request
from holdfast.predictions.journal import Journal
from holdfast.predictions.log import Frame

UNREAD = Refusal("", "", 0, 0, "", "", 0)
"""What stands in a frame of which only the bytes matter."""


class Line(asyncio.Transport):
    """The server's end. What the client does not read stays in `sent`; nothing is dropped."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = bytearray()
        self.closed = self.aborted = self.ended = False
        self.reading = True
        self.gone = asyncio.Event()

    def write(self, data):
        assert not self.closed
        assert not self.ended
        self.sent += data

    def can_write_eof(self):
        return True

    def write_eof(self):
        self.ended = True

    def is_closing(self):
        return self.closed

    def close(self):
        self.closed = True
        self.gone.set()

    def abort(self):
        self.aborted = True
        self.close()

    def pause_reading(self):
        assert self.reading
        self.reading = False

    def resume_reading(self):
        assert not self.reading
        self.reading = True

    @property
    def over(self):
        """Whether the client will hear no more."""
        return self.closed or self.ended


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


def answers(data: bytes, *, heads: bool = False) -> list[Answer]:
    """Every answer in these bytes, by a parser that is not ours; raises if they are not exactly answers."""
    found = []
    while data:
        if data.startswith(b"HTTP/1.1 100 Continue\r\n\r\n"):
            found.append(Answer(100, {}, b""))
            data = data[25:]
            continue
        end = data.index(b"\r\n\r\n") + 4
        reading = _Reading()
        parser = httptools.HttpResponseParser(reading)
        reading.parser = parser
        parser.feed_data(data[:end])
        length = 0 if heads else int(reading.headers["content-length"])
        body = data[end : end + length]
        assert len(body) == length
        found.append(Answer(parser.get_status_code(), reading.headers, body))
        data = data[end + length :]
    return found


class _Reading:
    def __init__(self):
        self.headers = {}

    def on_header(self, name, value):
        self.headers[name.decode()] = value.decode()


def echo(request: Request, later: Callable[[Reply], None]) -> Reply | None:
    """Answers what was asked; /slow takes three turns of the loop; /logged asks for the log."""
    told = f"{request.method} {request.target} ".encode() + request.body
    reply = Reply(200, told, "text/plain", (), (Frame(b"frame:" + told, UNREAD),) if "logged" in request.target else ())
    if "slow" not in request.target:
        return reply
    loop = asyncio.get_running_loop()
    loop.call_soon(lambda: loop.call_soon(lambda: loop.call_soon(later, reply)))
    return None


class Pages:
    """What a journal writes on: calls `append`."""

    def __init__(self, append):
        self.append = append


class Wire:
    """An inference port, and clients on lines."""

    def __init__(self, handle=echo, append=None, limits: Limits | None = None, refusal=lambda _: None) -> None:
        self.log: list[list[bytes]] = []
        self.writer = Pages(append or self.log.append)
        self.port = InferencePort(handle, Journal(self.writer).commit, limits or Limits(), refusal)
        self.port.sweep(0.0)

    def client(self) -> tuple[Connection, Line]:
        connection, line = Connection(self.port), Line()
        connection.connection_made(line)
        return connection, line

    async def say(self, *parts: bytes) -> tuple[list[Answer], Line]:
        """One client sends these parts, a tick between them; what it heard."""
        connection, line = self.client()
        for part in parts:
            connection.data_received(part)
            await ticks(2)
        await ticks()
        return answers(bytes(line.sent)), line


async def ticks(count: int = 40) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def run(story: Callable[[], Awaitable[None]]) -> None:
    """Run a story on a plain event loop."""
    asyncio.run(story())


def get(path: str = "/", *headers: str, method: str = "GET", body: bytes = b"") -> bytes:
    length = [f"Content-Length: {len(body)}"] if body or method == "POST" else []
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1:8080", *length, *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def post(path: str = "/", body: bytes = b"x", *headers: str) -> bytes:
    return get(path, *headers, method="POST", body=body)


def said(*parts, limits=None, append=None):
    """What one client hears, and its line."""
    heard = []

    async def story():
        heard.append(await Wire(append=append, limits=limits).say(*parts))

    run(story)
    return heard[0]
