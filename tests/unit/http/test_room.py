"""Room for connections, and the rest of those that were told to come again."""

import asyncio

from holdfast.http.problems import Reply
from holdfast.http.reader import Limits
from wire import Wire, answers, echo, get, run, ticks

SMALL = Limits(connections=8)


def test_where_all_are_busy_the_next_is_told_and_many_more_are_cut():
    async def story():
        wire = Wire(limits=SMALL)
        busy = [wire.client() for _ in range(8)]
        for connection, _ in busy:
            connection.data_received(b"GET / HT")  # has begun to ask
        _, told = wire.client()
        await ticks()
        assert answers(bytes(told.sent))[0].status == 503
        assert told.over
        _, cut = wire.client()
        assert cut.aborted
        connection, line = busy[0]
        connection.data_received(b"TP/1.1\r\nHost: x\r\n\r\n")
        await ticks()
        assert answers(bytes(line.sent))[0].status == 200

    run(story)


def test_the_oldest_that_asks_nothing_makes_room():
    async def story():
        wire = Wire(limits=SMALL)
        clients = [wire.client() for _ in range(8)]
        clients[0][0].data_received(b"GET / HT")
        new, line = wire.client()
        assert [old.closed for _, old in clients] == [False, True] + [False] * 6
        new.data_received(get("/new"))
        await ticks()
        assert answers(bytes(line.sent))[0].body == b"GET /new "

    run(story)


def test_who_leaves_makes_room():
    async def story():
        wire = Wire(limits=SMALL)
        clients = [wire.client() for _ in range(8)]
        for connection, line in clients:
            connection.data_received(b"GET / HT")
            line.close()
            connection.connection_lost(None)
        assert not wire.port.connections
        _, line = wire.client()
        assert not line.closed

    run(story)


def test_who_was_told_to_come_again_is_not_listened_to_before():
    def shed(request, later):
        return Reply(503, b"", rest_s=0.05) if "shed" in request.target else echo(request, later)

    async def story():
        wire = Wire(handle=shed)
        connection, line = wire.client()
        connection.data_received(get("/shed") + get("/next"))
        await ticks()
        assert [answer.status for answer in answers(bytes(line.sent))] == [503]
        assert not line.reading
        await asyncio.sleep(0.1)
        assert line.reading
        assert [answer.status for answer in answers(bytes(line.sent))] == [503, 200]
        patient, line = wire.client()
        patient.data_received(get("/shed"))
        await ticks()
        assert line.reading  # it asks for nothing
        await asyncio.sleep(0.1)
        patient.data_received(get("/next"))
        await ticks()
        assert [answer.status for answer in answers(bytes(line.sent))] == [503, 200]
        other, gone = wire.client()
        other.data_received(get("/shed") + get("/shed"))
        await ticks()
        gone.close()
        other.connection_lost(None)
        await asyncio.sleep(0.1)  # its rest ends, and nobody is there
        assert len(wire.port.connections) == 2

    run(story)
