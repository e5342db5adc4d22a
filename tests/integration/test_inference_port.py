"""The inference port on real sockets, on the event loop that serves."""

import asyncio
import socket

import uvloop

from holdfast.http.port import serve
from holdfast.http.reader import Limits
from holdfast.predictions.journal import Journal
from wire import Pages, answers, echo, get, post


def on_a_socket(story, handle=echo, limits=None):
    """Run `story(port, log, connect)` beside a real port."""

    async def main():
        log = []
        listener = socket.create_server(("127.0.0.1", 0))
        place = listener.getsockname()
        port = await serve(listener, handle, Journal(Pages(log.extend)).commit, limits or Limits())
        await story(port, log, lambda: asyncio.open_connection(*place))
        await port.drain(0.2)

    uvloop.run(asyncio.wait_for(main(), 60))


async def heard(reader):
    return answers(await reader.read())


def test_requests_of_many_clients_are_answered_and_logged():
    async def client(connect, name):
        reader, writer = await connect()
        writer.write(get(f"/{name}") + get(f"/slow-{name}") + post(f"/logged-{name}") + get("/z", "Connection: close"))
        told = [a.body.decode().split()[1] for a in await heard(reader)]
        writer.close()
        assert told == [f"/{name}", f"/slow-{name}", f"/logged-{name}", "/z"]

    async def story(port, log, connect):
        await asyncio.gather(*[client(connect, f"c{number}") for number in range(100)])
        assert len(log) == 100

    on_a_socket(story)


def test_a_request_knows_whose_it_is():
    known = []

    def handle(request, later):
        known.append(request.client)
        return echo(request, later)

    async def story(port, log, connect):
        reader, writer = await connect()
        writer.write(get("/a", "Connection: close"))
        await heard(reader)
        writer.close()

    on_a_socket(story, handle)
    assert known == ["127.0.0.1"]


def test_a_client_that_is_refused_in_the_middle_of_its_body_reads_why():
    async def story(port, log, connect):
        reader, writer = await connect()
        writer.write(b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 8000000\r\n\r\n")
        for _ in range(80):
            writer.write(b"x" * 100_000)
        await writer.drain()
        assert [a.status for a in await heard(reader)] == [413]
        writer.close()

    on_a_socket(story, limits=Limits(body=1000))


def test_a_client_that_pipelines_and_never_reads_fills_no_memory():
    taken = 0

    def handle(request, later):
        nonlocal taken
        taken += 1
        return echo(request, later)

    async def story(port, log, connect):
        _, writer = await connect()
        question = post("/a", b"x" * 10_000)

        async def ask():
            while True:
                writer.write(question)
                await writer.drain()

        asking = asyncio.create_task(ask())
        before = -1
        while taken != before:  # until nothing moves
            before = taken
            await asyncio.sleep(0.3)
        assert 0 < taken < 5000  # what the kernel's buffers and ours hold, not what a client can send
        (connection,) = port.connections
        assert connection._transport.get_write_buffer_size() < 2 << 20
        asking.cancel()
        other_reader, other = await connect()
        other.write(get("/other", "Connection: close"))
        assert [a.status for a in await heard(other_reader)] == [200]
        writer.transport.abort()
        other.close()

    on_a_socket(story, handle)


def test_half_a_body_at_shutdown_is_answered():
    async def story(port, log, connect):
        reader, writer = await connect()
        idle_reader, idle = await connect()
        data = post("/a", b"body")
        writer.write(data[:-2])
        idle.write(get("/i"))
        await idle_reader.readuntil(b"GET /i ")
        drained = asyncio.create_task(port.drain(20.0))
        assert await idle_reader.read() == b""
        writer.write(data[-2:])
        assert [(a.status, a.headers["connection"]) for a in await heard(reader)] == [(200, "close")]
        for each in (writer, idle):
            each.close()
        await drained

    on_a_socket(story)
