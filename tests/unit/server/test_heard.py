"""gRPC calls in the access log: what HTTP's lines say, of every call, also of those that were refused."""

import msgspec
import pytest
import tritonclient.grpc as triton
from tests.unit.rpc.asking import rows
from tests.unit.rpc.conftest import Door
from tests.unit.serve import conftest as town
from tritonclient.utils import InferenceServerException

from holdfast.errors import LogFull
from holdfast.http.access_log import AccessLog, Line
from holdfast.server.heard import _host, heard

digests, house, plan, state = town.digests, town.house, town.plan, town.state


def test_every_call_has_its_line(tmp_path, plan, state, digests):
    path = tmp_path / "access.jsonl"
    log = AccessLog(str(path))
    door = Door(plan, state, heard=heard(log))
    try:
        with triton.InferenceServerClient(door.address) as client:
            assert client.is_server_live()
            client.infer("price", rows())
            with pytest.raises(InferenceServerException):
                client.infer("nobody", rows())
            door.broken = LogFull("no space")
            with pytest.raises(InferenceServerException):
                client.infer("price", rows())
    finally:
        door.close()
        log.close()
    live, good, unknown, unlogged = [msgspec.json.decode(line, type=Line) for line in path.read_bytes().splitlines()]
    assert [(line.status, line.code) for line in (live, good, unknown)] == [(200, ""), (200, ""), (404, "HF200")]
    assert (unlogged.status, unlogged.code, unlogged.out) == (LogFull.status, LogFull.code, 0)
    assert live.target == "/inference.GRPCInferenceService/ServerLive"
    assert {line.target for line in (good, unknown, unlogged)} == {"/inference.GRPCInferenceService/ModelInfer"}
    assert (good.client, good.method, good.release) == ("127.0.0.1", "POST", digests["price"])
    assert len(good.request) == 26
    assert "grpc" in good.agent
    assert good.in_ > 0 < good.out
    assert good.ms > 0


@pytest.mark.parametrize(
    ("peer", "host"),
    [("ipv4:10.0.0.7:5000", "10.0.0.7"), ("ipv6:%5B::1%5D:5000", "::1"), ("ipv6:[::1]:5000", "::1"), ("unix:", "")],
)
def test_the_clients_address(peer, host):
    assert _host(peer) == host


def test_a_share_of_them(tmp_path, plan, state):
    path = tmp_path / "access.jsonl"
    log = AccessLog(str(path), share=0.5, chance=iter([0.9, 0.1, 0.9]).__next__)
    door = Door(plan, state, heard=heard(log))
    try:
        with triton.InferenceServerClient(door.address) as client:
            for name in ("price", "price", "nobody", "price"):
                if name == "nobody":
                    with pytest.raises(InferenceServerException):
                        client.infer(name, rows())
                else:
                    client.infer(name, rows())
    finally:
        door.close()
        log.close()
    lines = [msgspec.json.decode(line, type=Line) for line in path.read_bytes().splitlines()]
    assert [line.status for line in lines] == [200, 404]
