"""What the head of a request alone decides: who may ask, and whether it was decided before."""

import time

import msgspec
import pytest
from tests.unit.http.houses import ROWS, application, asked

from holdfast import access
from holdfast.access import KeyRing
from holdfast.serve.budgets import Budgets
from holdfast.serve.guards import Admission
from holdfast.testing import MemoryDatabase
from wire import Wire, post, run


class TestTheSameHeadAgain:
    """What was found out from a head is not looked up again, and is forgotten when keys change."""

    def test_revoked_expired_and_limited_keys_are_noticed(self, tmp_path):
        database, secret = MemoryDatabase(), access.pepper(tmp_path)
        now = time.time()

        def key(name, **limits):
            made = access.create(database, name, ["*"], ["predict"], secret=secret, actor="x", now=0, **limits)
            return post("/v1/models/houses:predict", ROWS, f"Authorization: Bearer {made[1]}")

        good, slow = key("good"), key("slow", rate=2.0)
        short = key("short", expires=int((now + 3600) * 1e6))
        access.publish(database, tmp_path)
        ring = KeyRing(tmp_path, secret)
        admission = Admission(ring, Budgets(tmp_path / "budgets", 0, 1))
        app = application(admission=admission)

        async def story():
            wire = Wire(handle=app.handle)

            async def say(request, times):
                return [answer.status for answer in (await wire.say(*[request] * times))[0]]

            assert await say(good, 4) == [200] * 4
            assert await say(slow, 60) != [200] * 60
            assert await say(short, 4) == [200] * 4
            assert len(wire.port.heads) == 3
            assert [known.note is not None for known in wire.port.heads.values()] == [True, False, False]
            for holder in ring._holders.values():
                holder.expires = holder.expires and now - 1.0
            assert await say(short, 2) == [401] * 2
            access.revoke(database, "good", actor="x", now=1)
            access.publish(database, tmp_path)
            assert await say(good, 1) == [200]
            admission.refresh()
            assert await say(good, 2) == [401] * 2

        run(story)

    def test_another_origin_is_another_head(self):
        plain = post("/v1/models/houses:predict", ROWS)
        foreign = post("/v1/models/houses:predict", ROWS, "Origin: https://evil.example")
        answers, _ = asked(plain, plain, plain, foreign, foreign, foreign)
        assert [answer.status for answer in answers] == [200] * 3 + [403] * 3


class TestStrangers:
    """Who may not ask does not get a large body read."""

    @pytest.fixture
    def door(self, tmp_path):
        database, secret = MemoryDatabase(), access.pepper(tmp_path)
        key = access.create(database, "k", ["*"], ["predict"], secret=secret, actor="x", now=0)[1]
        access.publish(database, tmp_path)
        return application(admission=Admission(KeyRing(tmp_path, secret))), f"Authorization: Bearer {key}"

    def say(self, app, *parts):
        found = []

        async def story():
            found.append(await Wire(handle=app.handle, refusal=app.refusal).say(*parts))

        run(story)
        answers, line = found[0]
        return [(answer.status, msgspec.json.decode(answer.body).get("code")) for answer in answers], line

    @pytest.mark.parametrize(
        "announced",
        ["Content-Length: 1000000", "Transfer-Encoding: chunked", "Content-Length: 9\r\nExpect: 100-continue"],
    )
    @pytest.mark.parametrize("key", ["", "Authorization: Bearer hf_00000000_wrong\r\n"])
    def test_a_large_body_is_refused_by_its_head(self, door, announced, key):
        head = f"POST /v1/models/houses:predict HTTP/1.1\r\nHost: localhost\r\n{key}{announced}\r\n\r\n"
        answers, line = self.say(door[0], head.encode())
        assert answers == [(401, "HF330")]
        assert line.over
        assert b'holdfast_refusals_total{deployment="houses",code="HF330"} 1' in door[0]._state.metrics.render()

    def test_a_small_one_is_read_and_the_connection_kept(self, door):
        wrong, right = post("/v1/models/houses:predict", ROWS), post("/v1/models/houses:predict", ROWS, door[1])
        answers, line = self.say(door[0], wrong, right)
        assert [status for status, _ in answers] == [401, 200]
        assert not line.over

    def test_a_large_body_with_a_key_is_read(self, door):
        rows = msgspec.json.encode({"instances": [{"area": 100.0, "rooms": 3}] * 4000})
        door[0]._pace.slow = lambda *_: False
        answers, _ = self.say(door[0], post("/v1/models/houses:predict", rows, door[1]))
        assert answers == [(200, None)]

    def test_another_host_is_refused_by_its_head(self, door):
        head = b"POST /v1/models/houses:predict HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 1000000\r\n\r\n"
        assert self.say(door[0], head)[0][0][0] == 421
