"""A real server's gRPC port through the worst: kill -9, a drain in mid-traffic, a port in use, libraries that are not there."""

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import grpc
import numpy as np
import pytest
from tests.faults.test_server_faults import logged, serve  # noqa: F401 - a fixture
from tests.faults.town import town

from holdfast.rpc.messages import SERVICE, ModelInferRequest, ModelInferResponse

REQUEST = ModelInferRequest(model_name="town")
REQUEST.inputs.add(name="area", datatype="FP64", shape=[2])
REQUEST.raw_input_contents.append(np.array([1.0, 2.0]).tobytes())
BODY = REQUEST.SerializeToString()


class Client:
    """Asks again and again on a connection of its own; remembers what was acknowledged, and how the rest ended."""

    def __init__(self, address: str) -> None:
        self.ids: list[str] = []
        self.failed: list[grpc.StatusCode] = []
        backoff = [(f"grpc.{which}_reconnect_backoff_ms", 100) for which in ("initial", "min", "max")]
        self._options = [("grpc.use_local_subchannel_pool", 1), *backoff]
        self._address = address
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        with grpc.insecure_channel(self._address, self._options) as channel:
            call = channel.unary_unary(f"/{SERVICE}/ModelInfer")
            while not self._stop.is_set():
                try:
                    answer = ModelInferResponse.FromString(call(BODY, timeout=10))
                except grpc.RpcError as bad:
                    self.failed.append(bad.code())
                    time.sleep(0.02)
                    continue
                assert np.frombuffer(answer.raw_output_contents[0]).tolist() == pytest.approx([4.0, 7.0])
                self.ids += answer.parameters["predictions"].string_param.split(",")

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()


def wait_for(count: int, clients: list[Client]) -> None:
    deadline = time.monotonic() + 60
    while sum(len(client.ids) for client in clients) < count:
        assert time.monotonic() < deadline, [client.failed[-3:] for client in clients]
        time.sleep(0.01)


def test_kill_9_of_both_workers_in_mid_traffic_loses_no_acknowledged_prediction(workspace: Path, serve):  # noqa: F811
    home = town(workspace)
    server = serve(home, "--workers", "2", "--grpc-port", "0")
    clients = [Client(server.grpc) for _ in range(4)]
    for kill in range(1, 3):
        wait_for(kill * 150, clients)
        server.kill_worker()
    wait_for(500, clients)
    for client in clients:
        client.stop()
    acknowledged = [one for client in clients for one in client.ids]
    assert len(acknowledged) == len(set(acknowledged))
    code, _ = server.stop()
    assert code == 0
    found = everything(home)
    assert len(found) == len(set(found))
    assert set(acknowledged) <= set(found)
    failed = [code for client in clients for code in client.failed]
    assert set(failed) <= {grpc.StatusCode.UNAVAILABLE}
    assert len(found) - len(acknowledged) <= 2 * len(failed)


def test_a_server_that_ends_answers_whoever_has_begun_to_ask(workspace: Path, serve):  # noqa: F811
    home = town(workspace)
    server = serve(home, "--grpc-port", "0")
    clients = [Client(server.grpc) for _ in range(3)]
    wait_for(200, clients)
    code, _ = server.stop(signal.SIGTERM)
    for client in clients:
        client.stop()
    assert code == 0
    # The core cancels calls that it had not handed to us yet. Nothing of them is logged, nor of the refused ones.
    ended = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
    assert {code for client in clients for code in client.failed} <= ended
    assert set(everything(home)) == {one for client in clients for one in client.ids}


def everything(home) -> list[str]:
    """Prediction ids, archived and not."""
    from tests.faults.test_server_faults import archived

    return [*logged(home.log), *archived(home)]


def test_the_address_is_told_and_both_doors_share_one_log(workspace: Path, serve):  # noqa: F811
    home = town(workspace)
    server = serve(home, "--grpc-port", "0")
    assert json.loads((home.run / "server.json").read_text())["grpc"] == server.grpc
    with grpc.insecure_channel(server.grpc) as channel:
        for _ in range(5):
            channel.unary_unary(f"/{SERVICE}/ModelInfer")(BODY, timeout=10)
    import httpx

    for _ in range(5):
        httpx.post(f"{server.inference}/v1/models/town:predict", json={"instances": [{"area": 1.0}]}).raise_for_status()
    told = httpx.get(f"{server.inference}/metrics").text
    assert 'holdfast_requests_total{deployment="town",track="live"} 10' in told.replace(',worker="w0"', "").replace(
        'worker="w0",', ""
    )
    server.stop()
    assert len(everything(home)) == 15


def test_without_the_setting_nothing_of_grpc_is_loaded(workspace: Path, serve):  # noqa: F811
    server = serve(town(workspace))
    assert not server.grpc
    for pid in server.workers():
        assert "cygrpc" not in Path(f"/proc/{pid}/maps").read_text()


def refused(home, *flags: str, first: str = "pass") -> str:
    command = f"import sys; {first}; sys.argv[0] = 'holdfast'; from holdfast.cli import main; main()"
    arguments = ["-w", str(home.folder), "serve", "--port", "0", "--control-port", "0", *flags]
    done = subprocess.run(
        [sys.executable, "-c", command, *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode != 0
    return done.stderr


def test_a_port_in_use_and_libraries_that_are_not_there(workspace: Path):
    home = town(workspace)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        said = refused(home, "--grpc-port", str(taken.getsockname()[1]))
    assert "the gRPC port" in said
    assert "--grpc-port" in said
    said = refused(home, "--grpc-port", "0", first="sys.modules['grpc'] = None")
    assert "HF101" in said
    assert "holdfast[grpc]" in said
