"""Order, and pressure: whoever asks or sends much gets every answer in its place, and does not keep the others waiting."""

import msgspec
import pytest

from holdfast.errors import ServeError
from holdfast.http.protocol import MUCH
from holdfast.http.reader import Limits
from wire import Wire, answers, echo, get, post, run, said, ticks


class TestOrderAndPressure:
    def test_a_slow_one_in_a_pipeline_keeps_the_order(self):
        paths = ["/a", "/slow1", "/b", "/slow2", "/logged", "/slow-logged", "/c"]
        found, _ = said(b"".join(get(path) for path in paths))
        assert [a.body.decode().split()[1] for a in found] == paths

    def test_a_client_that_never_reads_is_held_to_bounded_memory(self):
        async def story():
            wire = Wire()
            connection, line = wire.client()
            burst = get("/a") * 200
            fed = 0
            for _ in range(1000):
                if line.reading:
                    connection.data_received(burst)
                    fed += 200
                if len(line.sent) > 65_536 and connection._writable:
                    connection.pause_writing()
                await ticks(2)
            assert not line.reading
            assert fed < 3000
            assert len(line.sent) < 1 << 20
            connection.resume_writing()
            await ticks(400)
            assert line.reading
            assert len(answers(bytes(line.sent))) == fed

        run(story)

    def test_who_sends_much_is_read_in_turn_one_a_tick(self):
        async def story():
            wire = Wire()
            head = b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n"
            clients = [wire.client() for _ in range(3)]
            for connection, _ in clients:
                connection.data_received(head + b"x" * MUCH)
            assert [line.reading for _, line in clients] == [False, False, False]
            seen = []
            for _ in range(3):
                await ticks(1)
                seen.append([line.reading for _, line in clients])
            assert seen == [[True, False, False], [True, True, False], [True, True, True]]
            for connection, _ in clients:
                connection.data_received(b"x" * (300_000 - MUCH))
            await ticks()
            assert [len(answers(bytes(line.sent))[0].body) for _, line in clients] == [300_008] * 3
            assert all(line.reading for _, line in clients)

        run(story)

    def test_who_is_refused_and_sends_on_takes_its_turn_too_and_may_leave_before(self):
        async def story():
            wire = Wire(limits=Limits(body=10))
            connection, line = wire.client()
            connection.data_received(b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n" + b"x" * MUCH)
            await ticks()
            assert (answers(bytes(line.sent))[0].status, line.ended, line.reading) == (413, True, True)
            connection.data_received(b"x" * MUCH)
            assert not line.reading
            await ticks()
            assert line.reading
            connection.data_received(b"x" * MUCH)
            line.close()
            connection.connection_lost(None)
            await ticks()

        run(story)

    def test_a_burst_does_not_starve_the_others(self):
        async def story():
            order = []

            def handle(request, later):
                order.append(request.target)
                return echo(request, later)

            wire = Wire(handle=handle, limits=Limits(burst=4))
            one, _ = wire.client()
            two, _ = wire.client()
            one.data_received(get("/one") * 20)
            two.data_received(get("/two"))
            await ticks()
            assert order[4] == "/two"
            assert len(order) == 21

        run(story)

    def test_one_log_write_a_tick_before_any_answer(self):
        async def story():
            wire = Wire()
            lines = []

            def append(frames):
                assert not any(line.sent for line in lines)
                wire.log.append(frames)

            wire.writer.append = append
            for name in "abc":
                connection, line = wire.client()
                lines.append(line)
                connection.data_received(post(f"/logged-{name}") * 2)
            await ticks()
            assert [len(frames) for frames in wire.log] == [6]
            assert all(len(answers(bytes(line.sent))) == 2 for line in lines)

        run(story)

    @pytest.mark.parametrize(
        "error", [ServeError("the prediction log cannot be written: no space left"), OSError("no space left")]
    )
    def test_what_is_not_logged_is_not_answered(self, error):
        def append(frames):
            raise error

        found, line = said(get("/a") + post("/logged") + get("/b"), append=append)
        assert [a.status for a in found] == [200, 503, 200]
        assert "no space left" in msgspec.json.decode(found[1].body)["error"]
        assert not line.over
