"""What the door tells its guards, how their refusals reach a caller, and how it closes."""

import time

import grpc
import pytest
from tests.unit.rpc.asking import make_slow, raw, rows, typed
from tests.unit.rpc.conftest import Door

from holdfast.errors import Forbidden, Overloaded, TooMany, Unauthorized
from holdfast.rpc.messages import SERVICE
from holdfast.serve.guards import DEADLINE_HEADER, FREE, Admission, Grant


class Refusing(Admission):
    """A guard with a mind of its own: what the real one decides is tested where it lives."""

    def __init__(self, bad) -> None:
        super().__init__()
        self.bad = bad
        self.seen: list = []
        self.charged: list[int] = []

    def admit(self, headers, deployment, verb):
        self.seen.append((dict(headers), deployment, verb))
        if self.bad is not None and verb == "infer":
            raise self.bad
        return FREE


@pytest.fixture
def guarded(plan, state):
    opened = []

    def open_(bad=None):
        door = Door(plan, state, Refusing(bad))
        channel = grpc.insecure_channel(door.address)
        opened.extend([channel, door])
        return channel, door.admission

    yield open_
    for one in opened:
        one.close()


class TestGuards:
    @pytest.mark.parametrize(
        ("bad", "code", "pushback"),
        [
            (Unauthorized("no key"), grpc.StatusCode.UNAUTHENTICATED, None),
            (Forbidden("not for you"), grpc.StatusCode.PERMISSION_DENIED, None),
            (TooMany("your rate"), grpc.StatusCode.RESOURCE_EXHAUSTED, "1000"),
            (Overloaded("too much"), grpc.StatusCode.UNAVAILABLE, "1000"),
            (ValueError("a mistake of ours"), grpc.StatusCode.INTERNAL, None),
        ],
    )
    def test_who_may_not_ask_is_told_so(self, guarded, state, capsys, bad, code, pushback):
        channel, _ = guarded(bad)
        with pytest.raises(grpc.RpcError) as refused:
            raw(channel, typed())
        assert refused.value.code() == code
        told = dict(refused.value.trailing_metadata())
        assert told.get("grpc-retry-pushback-ms") == pushback
        assert told["holdfast-code"] in state.metrics.render().decode()

    def test_the_guard_sees_metadata_deadline_model_and_call(self, guarded):
        channel, admission = guarded()
        raw(channel, typed(), metadata=(("x-api-key", "k"), ("some-bin", b"\0")), timeout=5)
        headers, name, verb = admission.seen[-1]
        assert (headers["x-api-key"], name, verb) == ("k", "price", "infer")
        assert "some-bin" not in headers
        assert 0 < float(headers[DEADLINE_HEADER]) <= 5100  # the core rounds up
        raw(channel, typed(), timeout=None)
        assert DEADLINE_HEADER not in admission.seen[-1][0]

    def test_a_deadline_that_passed_before_the_model_was_asked(self, plan, state, monkeypatch):
        door = Door(plan, state)
        try:
            monkeypatch.setattr(door.admission, "admit", lambda *_: Grant(deadline=time.perf_counter() - 1))
            make_slow(door, typed())
            with grpc.insecure_channel(door.address) as channel, pytest.raises(grpc.RpcError) as refused:
                raw(channel, typed())
            assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
            assert "within the deadline" in refused.value.details()
            assert not door.frames
        finally:
            door.close()

    def test_metadata_calls_are_admitted_by_their_verbs(self, guarded):
        channel, admission = guarded()
        for call in ("ServerLive", "ServerReady", "ServerMetadata", "RepositoryIndex"):
            channel.unary_unary(f"/{SERVICE}/{call}")(b"", timeout=10)
        assert [verb for _, _, verb in admission.seen] == ["live", "ready", "server", "repository"]


class TestDrain:
    def test_who_drains_is_not_ready_and_answers_no_more(self, plan, state):
        door = Door(plan, state)
        with grpc.insecure_channel(door.address) as channel:
            assert raw(channel, typed()).model_name == "price"
            door.close()
            with pytest.raises(grpc.RpcError) as gone:
                raw(channel, typed())
        assert gone.value.code() == grpc.StatusCode.UNAVAILABLE

    def test_it_is_not_ready_while_it_drains(self, client, door):
        door.service.draining = True
        assert not client.is_server_ready()
        assert not client.is_model_ready("price")
        assert client.is_server_live()
        assert client.infer("price", rows()).as_numpy("prediction") is not None
