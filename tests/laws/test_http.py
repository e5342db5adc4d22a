"""Laws of the inference port's wire.

1. How the bytes are cut into reads changes no answer.
2. Answers come in the order of the requests, however slow some of them are, and each request has exactly one.
3. Whatever bytes come, every connection ends in answers, in a close, or in waiting for more bytes (which the sweep ends);
   nothing raises, and no memory of it stays.
"""

import asyncio
import itertools

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st

from holdfast.http.problems import Reply
from holdfast.http.reader import Limits
from holdfast.predictions.log import Frame
from wire import UNREAD, Wire, answers, get, post, run, ticks

H2C = ("Connection: Upgrade", "Upgrade: h2c")
CHUNKED = b"POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nT: 1\r\n\r\n"
REQUESTS = {
    "get": get("/a"),
    "post": post("/b", b"body"),
    "slow": get("/slow"),
    "logged": post("/logged", b"z"),
    "slow and logged": post("/slow-logged", b""),
    "chunked": CHUNKED,
    "h2c": post("/d", b"body", *H2C),
    "large": post("/e", b"x" * 300),
}
ENDS = {
    "": b"",
    "close": get("/z", "Connection: close"),
    "old": b"GET /z HTTP/1.0\r\n\r\n",
    "garbage": b"\x00\x01",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "too large": post("/f", b"x" * 500),
    "head too large": get("/g", "X: " + "y" * 5000),
    "connect": b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
}
LIMITS = Limits(body=400, head=2000, burst=3, waiting=5)
streams = st.tuples(st.lists(st.sampled_from(sorted(REQUESTS)), max_size=12), st.sampled_from(sorted(ENDS)))


async def heard(wire, data, cuts, *, patient):
    """What a client hears that sends `data` cut at `cuts`; it obeys pauses, as the network would."""
    connection, line = wire.client()
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    for start, end in itertools.pairwise(places):
        while not line.reading and not line.over:
            await ticks(1)
        connection.data_received(data[start:end])
        if patient:
            await ticks(1)
    await ticks(250)
    return connection, line


def strip(found):
    return [(a.status, a.body, a.headers.get("connection")) for a in found]


@settings(deadline=None)
@given(streams, st.lists(st.integers(0, 5000), max_size=30), st.booleans())
@example((["h2c", "chunked", "h2c"], ""), list(range(500)), True)
def test_how_bytes_are_cut_changes_no_answer(stream, cuts, patient):
    names, end = stream
    data = b"".join(REQUESTS[name] for name in names) + ENDS[end]

    async def story():
        wire = Wire(limits=LIMITS)
        _, whole = await heard(wire, data, [], patient=True)
        _, cut = await heard(wire, data, cuts, patient=patient)
        assert strip(answers(bytes(cut.sent))) == strip(answers(bytes(whole.sent)))
        assert cut.over == whole.over == bool(end)
        assert wire.port.meter.bytes == 0

    run(story)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=1, max_size=40), st.integers(1, 5))
def test_answers_come_in_the_order_of_the_requests(delays, clients):
    async def story():
        def handle(request, later):
            number, delay = map(int, request.target[1:].split("-"))
            reply = Reply(200, str(number).encode(), frames=(Frame(b"f", UNREAD),) if number % 2 else ())
            if not delay:
                return reply
            loop = asyncio.get_running_loop()

            def wait(left):
                loop.call_soon(wait, left - 1) if left else later(reply)

            loop.call_soon(wait, delay)
            return None

        wire = Wire(handle=handle)
        lines = [wire.client() for _ in range(clients)]
        for number, (delay, together) in enumerate(delays):
            for connection, _ in lines:
                connection.data_received(get(f"/{number}-{delay}"))
            if not together:
                await ticks(1)
        await ticks(600)
        for _, line in lines:
            assert [int(a.body) for a in answers(bytes(line.sent))] == list(range(len(delays)))
        assert sum(map(len, wire.log)) == clients * (len(delays) // 2)

    run(story)


pieces = st.one_of(
    st.binary(max_size=60),
    st.sampled_from([*REQUESTS.values(), *ENDS.values()]),
    st.sampled_from(
        [
            *(b"GET / HTTP/1.1\r\n", b"POST / HTTP/1.1\r\nHost: x\r\n", b"HEAD / HTTP/1.1\r\n", b"GET / HTTP/1.0\r\n"),
            *(b"Host: x\r\n", b"\r\n", b"Content-Length: 5\r\n", b"Content-Length:\r\n", b"Expect: 100-continue\r\n"),
            *(b"Upgrade: h2c\r\nConnection: upgrade\r\n", b"Transfer-Encoding: chunked\r\n"),
            *(b"0\r\n\r\n", b"ffffffffffffffffff\r\n"),
        ]
    ),
)


@settings(deadline=None, max_examples=300)
@given(st.lists(pieces, max_size=12), st.booleans())
def test_no_bytes_break_or_hang_a_connection(parts, ends):
    async def story():
        failures = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
        wire = Wire(limits=LIMITS)
        connection, line = wire.client()
        for part in parts:
            if line.over:
                break
            connection.data_received(part)
            await ticks(2)
        if ends and not line.closed and not connection.eof_received():
            line.close()
        await ticks(250)
        if not line.over:
            wire.port.sweep(LIMITS.request_s)
            await ticks(2)
            wire.port.sweep(LIMITS.idle_s + LIMITS.request_s)
            await ticks(2)
            assert line.over
        if b"HEAD" not in b"".join(parts):
            for answer in answers(bytes(line.sent)):
                if answer.status >= 400:
                    assert msgspec.json.decode(answer.body)["error"]
        connection.connection_lost(None)
        assert wire.port.meter.bytes == 0
        assert not wire.port.connections
        assert not failures

    run(story)
