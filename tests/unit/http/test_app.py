"""The application over the real data plane: what each address answers, and who is turned away."""

import asyncio
import gzip

import msgspec
import pytest
from tests.unit.http.houses import DIGEST, ROWS, Bundle, Sum, application, asked, one, records

from holdfast.core.deployment import Plan, Route
from holdfast.core.prediction import Prediction, Refusal
from holdfast.http.reader import Limits
from holdfast.predictions.log import encode
from holdfast.serve.lane import Lane
from holdfast.serve.plan import load
from wire import Wire, get, post, run, ticks


class TestAddresses:
    def test_rows(self, tmp_path):
        (answer,), frames = asked(post("/v1/models/houses:predict", ROWS))
        told = msgspec.json.decode(answer.body)
        assert answer.status == 200
        assert answer.headers["content-type"] == "application/json"
        assert (told["release"], told["predictions"][0]["prediction"]) == (DIGEST, 103.0)
        (record,) = records(frames, tmp_path)
        assert isinstance(record, Prediction)
        assert told["predictions"][0]["id"] == f"{record.request}-0"

    def test_tensors(self):
        tensors = [
            {"name": "area", "shape": [2], "datatype": "FP64", "data": [1, 2]},
            {"name": "rooms", "shape": [2], "datatype": "INT64", "data": [1, 1]},
        ]
        for path in ("/v2/models/houses/infer", f"/v2/models/houses/versions/{DIGEST[:12]}/infer"):
            status, told = one(post(path, msgspec.json.encode({"id": "mine", "inputs": tensors})))
            assert status == 200
            assert (told["id"], told["model_version"]) == ("mine", DIGEST)
            assert told["outputs"][0]["data"] == [2.0, 3.0]

    def test_what_is_refused_is_logged_too_and_names_row_and_field(self, tmp_path):
        (answer,), frames = asked(post("/v1/models/houses:predict", b'{"instances":[{"area":"x","rooms":1}]}'))
        told = msgspec.json.decode(answer.body)
        assert (answer.status, told["field"], told["row"]) == (422, "area", 0)
        assert answer.headers["content-type"] == "application/problem+json"
        assert told["error"] == told["detail"]
        (record,) = records(frames, tmp_path)
        assert isinstance(record, Refusal)

    def test_labels(self):
        (answer,), frames = asked(post("/v1/models/houses:label", b"truth"))
        assert (answer.status, msgspec.json.decode(answer.body), frames) == (202, {"accepted": 1}, [b"label:truth"])
        assert one(post("/v1/models/houses:label", b"bad"))[0] == 422
        assert one(post("/v1/models/flats:label", b"truth"))[0] == 404

    def test_who_asks_is_told_where_the_time_went(self):
        plain, timed = (
            post("/v1/models/houses:predict", ROWS),
            post("/v1/models/houses:predict", ROWS, "X-Holdfast-Timing: 1"),
        )
        (first, second), _ = asked(plain, timed)
        assert "server-timing" not in {name.lower() for name in first.headers}
        told = next(value for name, value in second.headers.items() if name.lower() == "server-timing")
        parts = dict(part.split(";dur=") for part in told.split(", "))
        assert list(parts) == ["wait", "decode", "model", "encode", "total"]
        *within, total = (float(value) for value in parts.values())
        assert all(value >= 0 for value in within)
        assert sum(within) == pytest.approx(total, abs=0.01)

    def test_metadata_and_health(self):
        assert one(get("/v2"))[1]["name"] == "holdfast"
        assert one(get("/v2/health/live")) == (200, {"live": True})
        assert one(get("/v2/health/ready")) == (200, {"ready": True})
        assert one(get("/v2/models/houses/ready"))[0] == 200
        assert one(get(f"/v2/models/houses/versions/{DIGEST}/ready"))[0] == 200
        status, told = one(get("/v2/models/houses"))
        assert status == 200
        assert [tensor["name"] for tensor in told["inputs"]] == ["area", "rooms"]
        assert one(get("/"))[1]["control"] == "http://127.0.0.1:8081"

    @pytest.mark.parametrize(
        ("media", "body"),
        [
            ("application/json", b'{"dataframe_records": [{"area": 100.0, "rooms": NaN}]}'),
            ("text/csv", b"100,"),
        ],
    )
    def test_invocations(self, media, body, tmp_path):
        request = post("/invocations", body, f"Content-Type: {media}")
        (answer,), frames = asked(request)
        assert (answer.status, answer.body) == (200, b'{"predictions":[100.0]}')
        assert answer.headers["X-Holdfast-Release"] == DIGEST
        assert isinstance(records(frames, tmp_path)[0], Prediction)
        (answer,), _ = asked(post("/invocations", body, f"Content-Type: {media}", "Accept: text/csv"))
        assert (answer.headers["content-type"], answer.body) == ("text/csv", b"100.0\n")

    def test_invocations_of_one_of_several(self):
        app, two = (
            application(),
            load(Plan(7, {name: (Route(DIGEST, "live", 1.0),) for name in ("houses", "flats")}, {}), Bundle, Sum()),
        )
        app.follow(two)
        body = b'{"instances": [[1, 2]]}'
        status, told = one(post("/invocations", body), app)
        assert (status, told["next"]) == (400, "POST /invocations?deployment=NAME")
        assert one(post("/invocations?deployment=flats", body), app) == (200, {"predictions": [3.0]})
        assert one(post("/invocations", body, "X-Holdfast-Deployment: houses"), app)[0] == 200
        assert one(post("/invocations?deployment=castles", body), app)[0] == 404
        assert one(post("/v2/models/flats/invocations", body), app)[0] == 200
        (known, unknown), _ = asked(get("/v2/models/flats/ping"), get("/v2/models/castles/ping"), app=app)
        assert (known.status, unknown.status) == (200, 404)
        app.follow(load(Plan(8, {}, {}), Bundle, Sum()))
        assert one(post("/invocations", body), app)[0] == 404
        (answer,), _ = asked(get("/ping"), app=app)
        assert answer.status == 503

    def test_while_draining_it_answers_but_is_not_ready(self):
        app = application()
        addresses = (get("/v2/health/ready"), get("/v2/models/houses/ready"), get("/ping"))
        found, _ = asked(*addresses, app=app)
        assert [answer.status for answer in found] == [200, 200, 200]
        app.draining = True
        found, _ = asked(*addresses, get("/v2/health/live"), post("/v1/models/houses:predict", ROWS), app=app)
        assert [answer.status for answer in found] == [503, 503, 503, 200, 200]
        assert msgspec.json.decode(found[0].body) == {"ready": False}

    def test_the_model_repository(self):
        there = [{"name": "houses", "version": DIGEST, "state": "READY", "reason": "live"}]
        assert one(post("/v2/repository/index", b"")) == (200, there)
        assert one(post("/v2/repository/models/houses/load", b""))[0] == 200
        status, told = one(post("/v2/repository/models/flats/load", b""))
        assert (status, told["next"]) == (404, "holdfast deploy RELEASE --as flats")
        status, told = one(post("/v2/repository/models/houses/unload", b""))
        assert (status, told["next"]) == (403, "holdfast undeploy houses")

    def test_a_long_answer_is_packed_where_that_is_accepted(self):
        many = msgspec.json.encode({"instances": [{"area": 100.0, "rooms": 3}] * 50})
        plain, short = (one(post("/v1/models/houses:predict", body)) for body in (many, ROWS))
        (answer,), _ = asked(post("/v1/models/houses:predict", many, "Accept-Encoding: gzip, deflate, br"))
        assert answer.headers["content-encoding"] == "gzip"
        told = msgspec.json.decode(gzip.decompress(answer.body))
        assert [p["prediction"] for p in told["predictions"]] == [p["prediction"] for p in plain[1]["predictions"]]
        (answer,), _ = asked(post("/v1/models/houses:predict", ROWS, "Accept-Encoding: gzip"))
        assert "content-encoding" not in answer.headers
        assert short[0] == 200

    def test_metrics(self):
        (_, answer), _ = asked(post("/v1/models/houses:predict", ROWS), get("/metrics"))
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        assert b"# TYPE holdfast_requests_total counter" in answer.body
        assert b"holdfast_plan_generation" in answer.body

    def test_what_is_not_there(self):
        for request in (
            get("/v2/models/flats"),
            get("/v2/models/flats/ready"),
            get("/v2/models/houses/versions/beef/ready"),
            post("/v1/models/flats:predict", ROWS),
            get("/favicon.ico"),
        ):
            assert one(request)[0] == 404
        (answer,), _ = asked(get("/v2/models/houses/infer"))
        assert (answer.status, answer.headers["allow"]) == (405, "POST")

    def test_a_mistake_of_ours_is_told_and_ends_nothing(self, capsys):
        def broken(name, body):
            raise RuntimeError("our mistake")

        app = application()
        app._label = broken
        found, _ = asked(post("/v1/models/houses:label", b"x"), get("/v2/health/live"), app=app)
        assert [a.status for a in found] == [500, 200]
        assert "our mistake" in capsys.readouterr().err


class TestWhoMayAsk:
    @pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost", "LOCALHOST:1", "[::1]:8080"])
    def test_this_machine_may(self, host):
        (answer,), _ = asked(get("/v2").replace(b"127.0.0.1:8080", host.encode()))
        assert answer.status == 200

    @pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "[::1", "127.0.0.1@evil.example"])
    def test_another_name_may_not(self, host):
        (answer,), _ = asked(get("/v2").replace(b"127.0.0.1:8080", host.encode()))
        assert answer.status == 421

    def test_any_name_where_hosts_are_not_checked(self):
        app = application(hosts=None)
        (answer,), _ = asked(get("/v2").replace(b"127.0.0.1:8080", b"models.example"), app=app)
        assert answer.status == 200

    @pytest.mark.parametrize(
        "header",
        ["Origin: http://evil.example", "Sec-Fetch-Site: cross-site", "Origin: null", "Sec-Fetch-Site: same-site"],
    )
    def test_another_sites_page_may_not(self, header):
        (answer,), frames = asked(post("/v1/models/houses:label", b"x", header))
        assert (answer.status, frames) == (403, [])

    def test_our_own_page_may(self):
        (answer,), _ = asked(
            post("/v1/models/houses:predict", ROWS, "Origin: http://127.0.0.1:8080", "Sec-Fetch-Site: same-origin")
        )
        assert answer.status == 200


class TestPackedBodies:
    def test_gzip(self):
        request = post("/v1/models/houses:predict", gzip.compress(ROWS, mtime=0), "Content-Encoding: gzip")
        assert one(request)[0] == 200

    @pytest.mark.parametrize(
        ("body", "coding", "status"),
        [
            (gzip.compress(b"x" * 2000, mtime=0), "gzip", 413),
            (b"not gzip", "gzip", 400),
            (gzip.compress(ROWS, mtime=0)[:-3], "gzip", 400),
            (gzip.compress(ROWS, mtime=0) + b"more", "gzip", 400),
            (ROWS, "br", 415),
            (ROWS, "identity", 200),
        ],
        ids=["bomb", "no gzip", "cut off", "something behind it", "another coding", "not packed"],
    )
    def test_what_cannot_be_unpacked(self, body, coding, status):
        request = post("/v1/models/houses:predict", body, f"Content-Encoding: {coding}")
        assert one(request, app=application(max_body=1000))[0] == status


class TestSlowModels:
    def test_a_slow_model_leaves_the_loop_and_the_order_stays(self):
        model = Sum()
        app = application(model)
        assert model.asked.acquire(timeout=30)  # a release is tried as it is loaded
        slow = post("/v1/models/houses:predict", ROWS)
        app._pace.slow = lambda asked, _: asked.name == "houses"

        async def story():
            wire = Wire(handle=app.handle)
            connection, line = wire.client()
            model.gate.clear()
            connection.data_received(slow + get("/v2/health/live"))
            assert await asyncio.to_thread(model.asked.acquire, timeout=30)
            heard, _ = await wire.say(get("/v2/health/live"))  # the loop is free
            assert [a.status for a in heard] == [200]
            assert not line.sent
            model.gate.set()
            while b'{"live"' not in line.sent:
                await ticks(1)
            assert line.sent.index(b"103.0") < line.sent.index(b'{"live"')
            assert len(wire.log) == 1

        run(story)
        app.close()

    def test_more_slow_requests_than_can_wait_are_turned_away_at_once(self):
        model = Sum()
        lane = Lane(limit_s=0.0202, threads=2)  # of a millisecond each, as long as nothing is known
        app = application(model, lane=lane)
        app._pace.slow = lambda *_: True

        async def story():
            wire = Wire(handle=app.handle, limits=Limits())
            model.gate.clear()
            lines = []
            for _ in range(60):
                connection, line = wire.client()
                connection.data_received(post("/v1/models/houses:predict", ROWS))
                lines.append(line)
            await ticks()
            refused = [line for line in lines if line.sent]
            assert {bytes(line.sent[:12]) for line in refused} == {b"HTTP/1.1 503"}
            assert len(refused) == 60 - 41
            model.gate.set()
            while not all(line.sent for line in lines):
                await ticks(1)
            assert sum(map(len, wire.log)) == 41
            assert lane.out == 0
            assert lane.wait() == 0.0

        run(story)
        assert b'holdfast_refusals_total{deployment="houses",code="HF310"} 19' in app._state.metrics.render()
        app.close()

    def test_nobody_is_asked_when_the_deadline_has_passed(self):
        model = Sum()
        app = application(model, lane=Lane(threads=1))
        app._pace.slow = lambda *_: True

        async def story():
            wire = Wire(handle=app.handle, limits=Limits())
            model.gate.clear()
            first, one = wire.client()
            first.data_received(post("/v1/models/houses:predict", ROWS))
            second, two = wire.client()
            second.data_received(post("/v1/models/houses:predict", ROWS, "X-Holdfast-Deadline-Ms: 30"))
            await asyncio.sleep(0.05)
            model.gate.set()
            while not (one.sent and two.sent):
                await ticks(1)
            assert (one.sent[9:12], two.sent[9:12]) == (b"200", b"504")
            assert b"HF312" in two.sent
            third, three = wire.client()  # it is known by now that this takes 50 ms
            third.data_received(post("/v1/models/houses:predict", ROWS, "X-Holdfast-Deadline-Ms: 20"))
            await ticks()
            assert three.sent[9:12] == b"503"

        run(story)
        app.close()


def test_frames_are_what_the_log_reads(tmp_path):
    refusal = Refusal("r", "houses", 1, 1, "HF300", "area", 1)
    assert records([encode(refusal)], tmp_path) == [refusal]
