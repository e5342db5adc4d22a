"""One connection at a time: what HTTP asks of us, and what clients do to us."""

import asyncio

import msgspec
import pytest

from holdfast.http.reader import Limits
from wire import Wire, answers, get, post, run, said, ticks

H2C = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA")


class TestProtocol:
    def test_a_request_is_answered_and_the_line_kept(self):
        (answer,), line = said(post("/a", b"body"))
        assert (answer.status, answer.body) == (200, b"POST /a body")
        assert "date" in answer.headers
        assert "connection" not in answer.headers
        assert not line.over

    def test_connection_close(self):
        found, line = said(get("/a", "Connection: close") + get("/b"))
        assert [a.body for a in found] == [b"GET /a "]
        assert found[0].headers["connection"] == "close"
        assert line.closed

    def test_http_1_0_closes_unless_it_asks_to_keep(self):
        found, line = said(b"GET /a HTTP/1.0\r\n\r\n")
        assert (found[0].status, line.closed) == (200, True)
        found, line = said(b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        assert (found[0].headers["connection"], line.closed) == ("keep-alive", False)

    def test_head_has_the_length_and_no_body(self):
        async def story():
            wire = Wire()
            connection, line = wire.client()
            connection.data_received(get("/a", method="HEAD"))
            await ticks()
            (answer,) = answers(bytes(line.sent), heads=True)
            assert (answer.status, answer.headers["content-length"]) == (200, str(len("HEAD /a ")))

        run(story)

    def test_chunked_with_trailers_that_nobody_believes(self):
        chunked = b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nHost: evil\r\n\r\n"
        found, _ = said(chunked + get("/b"))
        assert [a.body for a in found] == [b"POST /a abcde", b"GET /b "]

    def test_expect_is_answered_before_the_body_comes(self):
        head, body = post("/a", b"body", "Expect: 100-continue")[:-4], b"body"
        found, _ = said(head, body)
        assert [a.status for a in found] == [100, 200]
        assert found[1].body == b"POST /a body"

    def test_expect_waits_for_the_answers_before_it(self):
        found, _ = said(get("/slow") + post("/a", b"body", "Expect: 100-continue")[:-4], b"body")
        assert [(a.status, a.body) for a in found] == [(200, b"GET /slow "), (100, b""), (200, b"POST /a body")]

    def test_expect_of_a_body_that_is_too_large_gets_413_instead(self):
        found, line = said(post("/a", b"12345", "Expect: 100-continue")[:-5], limits=Limits(body=4))
        assert [a.status for a in found] == [413]
        assert line.over

    def test_other_expectations_fail(self):
        found, _ = said(post("/a", b"x", "Expect: miracles"))
        assert [a.status for a in found] == [417]

    @pytest.mark.parametrize("cut", [0, 40, 180, 214])
    def test_an_offer_of_h2c_is_declined_and_the_body_kept(self, cut):
        data = post("/a", b"body", *H2C) + get("/b")
        found, line = said(*([data[:cut], data[cut:]] if cut else [data]))
        assert [a.body for a in found] == [b"POST /a body", b"GET /b "]
        assert not line.over

    def test_an_offer_with_a_chunked_body_and_close(self):
        head = b"POST /a HTTP/1.1\r\nHost: x\r\nConnection: close, Upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked\r\n\r\n"
        found, line = said(head + b"3\r\nabc\r\n0\r\n\r\n")
        assert [a.body for a in found] == [b"POST /a abc"]
        assert line.closed

    def test_connect_is_refused(self):
        found, line = said(b"CONNECT evil:443 HTTP/1.1\r\nHost: evil\r\n\r\n\x16\x03")
        assert [a.status for a in found] == [405]
        assert line.over

    @pytest.mark.parametrize(
        ("sent", "status"),
        [
            (b"\x16\x03\x01\x02\x00\x01\x00", 400),  # TLS
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
            (b"GET /a\r\n\r\n", 505),
            (b"GET /a HTTP/1.1\r\n\r\n", 400),
            (b"GET /a HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
            (b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
            (b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
            (b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400),
        ],
    )
    def test_what_is_no_request_is_a_problem_and_the_end(self, sent, status):
        found, line = said(get("/before") + sent + get("/never"))
        assert [a.status for a in found] == [200, status]
        told = msgspec.json.decode(found[1].body)
        assert told["error"] == told["detail"]
        assert {"code", "next", "title"} <= told.keys()
        assert found[1].headers["content-type"] == "application/problem+json"
        assert line.ended  # heard out, so that no reset eats the answer

    def test_a_body_over_the_limit(self):
        found, _ = said(post("/a", b"x" * 101), limits=Limits(body=100))
        assert [a.status for a in found] == [413]
        chunks = b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + b"32\r\n" + b"x" * 50 + b"\r\n"
        found, _ = said(chunks, *[b"32\r\n" + b"x" * 50 + b"\r\n"] * 3, limits=Limits(body=100))
        assert [a.status for a in found] == [413]

    def test_a_head_over_the_limit_finished_or_not(self):
        long = get("/a", "X: " + "y" * 70_000)
        assert [a.status for a in said(long)[0]] == [431]
        assert [a.status for a in said(b"GET /" + b"a" * 70_000, b"a" * 70_000)[0]] == [431]
        assert [a.status for a in said(get("/a", "X: " + "y" * 60_000))[0]] == [200]

    def test_a_large_pipeline_is_no_large_head(self):
        found, _ = said(get("/a") * 6000 + get("/b", "X: " + "y" * 60_000), limits=Limits(burst=7000))
        assert {a.status for a in found} == {200}
        assert len(found) == 6001

    def test_all_bodies_together_have_a_limit(self):
        async def story():
            wire = Wire(limits=Limits(body=100, bodies=150))
            first, _ = wire.client()
            first.data_received(post("/a", b"x" * 100)[:-1])
            found, _ = await wire.say(post("/b", b"x" * 100))
            assert [a.status for a in found] == [503]
            assert found[0].headers["retry-after"] == "1"
            first.connection_lost(None)
            found, _ = await wire.say(post("/c", b"x" * 100))
            assert [a.status for a in found] == [200]

        run(story)

    def test_bodies_are_paid_back_whatever_happens(self):
        async def story():
            wire = Wire(limits=Limits(body=100))
            for data in (
                post("/a", b"x" * 90),
                post("/slow", b"x" * 9),
                post("/b", b"x" * 101),
                post("/c", b"xyz")[:-1],
            ):
                connection, _ = wire.client()
                connection.data_received(data)
                await ticks()
                connection.connection_lost(None)
            gone, _ = wire.client()
            gone.data_received(post("/slow", b"abc") + post("/d", b"abc"))
            gone.connection_lost(None)
            await ticks()
            assert wire.port.meter.bytes == 0
            assert not wire.port.connections

        run(story)


class TestTime:
    """With a clock that only the test moves."""

    def test_an_idle_line_is_closed(self):
        async def story():
            wire = Wire(limits=Limits(idle_s=75))
            connection, line = wire.client()
            connection.data_received(get("/a"))
            await ticks()
            wire.port.sweep(74.0)
            assert not line.over
            wire.port.sweep(75.0)
            assert line.closed
            assert not line.aborted

        run(story)

    @pytest.mark.parametrize("begun", [b"GET /a HT", post("/a", b"body")[:-1]])
    def test_a_request_that_never_ends_gets_408(self, begun):
        async def story():
            wire = Wire(limits=Limits(request_s=15))
            connection, line = wire.client()
            wire.port.sweep(60.0)
            for second, byte in enumerate(begun):
                connection.data_received(bytes([byte]))
                wire.port.sweep(60.0 + second * 14 / len(begun))
            assert not line.sent
            wire.port.sweep(75.0)
            await ticks()
            assert [a.status for a in answers(bytes(line.sent))] == [408]
            wire.port.sweep(100.0)
            assert line.aborted

        run(story)

    def test_a_client_that_does_not_read_is_cut_off(self):
        async def story():
            wire = Wire(limits=Limits(request_s=15))
            connection, line = wire.client()
            connection.data_received(get("/a"))
            await ticks()
            connection.pause_writing()
            wire.port.sweep(14.0)
            assert not line.over
            wire.port.sweep(15.0)
            assert line.aborted

        run(story)

    def test_our_own_slowness_is_not_the_clients_fault(self):
        async def story():
            wire = Wire(handle=lambda *_: None)
            connection, line = wire.client()
            connection.data_received(get("/a"))
            await ticks()
            wire.port.sweep(1000.0)
            assert not line.over

        run(story)


class TestEnd:
    def test_a_client_that_ends_its_side_still_hears_its_answers(self):
        async def story():
            wire = Wire()
            connection, line = wire.client()
            connection.data_received(get("/slow") + get("/b") + get("/half")[:-2])
            assert connection.eof_received()
            await ticks()
            assert [a.body for a in answers(bytes(line.sent))] == [b"GET /slow ", b"GET /b "]
            assert line.closed

        run(story)

    def test_an_end_without_a_question_closes(self):
        async def story():
            connection, _ = Wire().client()
            assert not connection.eof_received()

        run(story)

    def test_drain_answers_what_was_begun(self):
        async def story():
            wire = Wire()
            idle, idle_line = wire.client()
            half, half_line = wire.client()
            slow, slow_line = wire.client()
            half.data_received(post("/half", b"body")[:-2])
            slow.data_received(get("/slow"))
            idle.data_received(get("/a"))
            await ticks(1)
            drained = asyncio.create_task(wire.port.drain(30.0))
            await asyncio.wait_for(idle_line.gone.wait(), 30)
            idle.connection_lost(None)
            assert not half_line.over
            half.data_received(b"dy")
            await ticks()
            (answer,) = answers(bytes(half_line.sent))
            assert (answer.body, answer.headers["connection"]) == (b"POST /half body", "close")
            assert half_line.closed
            assert slow_line.closed
            for connection in (half, slow):
                connection.connection_lost(None)
            await drained

        run(story)

    def test_drain_does_not_wait_for_ever(self):
        async def story():
            wire = Wire()
            half, line = wire.client()
            half.data_received(post("/half", b"body")[:-2])
            await wire.port.drain(0.0)
            assert line.aborted

        run(story)
