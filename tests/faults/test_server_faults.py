"""A real server through the worst: kill -9, Ctrl-C, a port in use, a log that can't be written."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from tests.faults.town import T0, Server, release, town

from holdfast import status
from holdfast.decide.actions import Actor, deploy
from holdfast.decide.publish import wait_in_force
from holdfast.predictions.log import WAL, read, segments
from holdfast.status.sources import log_state
from holdfast.workspace import Workspace


@pytest.fixture
def serve():
    """Starts servers; none outlives its test."""
    started: list[Server] = []

    def start(home: Workspace, *flags: str) -> Server:
        started.append(Server(home, *flags))
        return started[-1]

    yield start
    for server in started:
        server.close()


def logged(log: Path) -> list[str]:
    """Prediction ids in the write-ahead log."""
    found = [entry.record for segment in segments(log) for entry in read(segment, complete=True).entries]
    return [f"{record.request}-{row}" for record in found if hasattr(record, "outputs") for row in range(record.rows)]


def wait_for(there) -> None:
    deadline = time.monotonic() + 30
    while not there():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def ask(client: httpx.Client, server: Server, area: float = 2.0) -> httpx.Response:
    return client.post(f"{server.inference}/v1/models/town:predict", json={"instances": [{"area": area}]})


def ids_of(answer: httpx.Response) -> list[str]:
    return [p["id"] for p in answer.json()["predictions"]]


def test_kill_9_in_mid_traffic_loses_no_acknowledged_prediction(workspace: Path, serve):
    home = town(workspace)
    server = serve(home, "--workers", "1")
    acknowledged: list[str] = []
    failed = 0
    for kill in range(6):
        with httpx.Client(timeout=30) as client:
            for i in range(25):
                if i == 10 + kill:
                    server.kill_worker()
                try:
                    answer = ask(client, server, float(i))
                except httpx.HTTPError:
                    failed += 1  # cut off by the kill: not acknowledged
                    continue
                assert answer.status_code == 200, answer.text
                acknowledged += ids_of(answer)
    assert len(acknowledged) == len(set(acknowledged))
    assert len(acknowledged) >= 6 * 23
    home.log.joinpath(WAL, "w9-0-0").mkdir()
    home.log.joinpath(WAL, "w9-0-0", "00000001.wal").write_bytes(b"torn")
    with httpx.Client(timeout=30) as client:
        wait_for(lambda: "log_damaged_total 1" in client.get(f"{server.inference}/metrics").text)
    code, said = server.stop()
    assert "signal SIGKILL" in said
    found = [*logged(home.log), *archived(home)]
    assert len(found) == len(set(found))
    assert set(acknowledged) <= set(found)
    assert len(found) - len(acknowledged) <= failed
    assert code == 0
    with home.database.begin() as stores:
        windows = stores.windows.read("town", stores.deployments.get("town").live, "windows")
        assert log_state(stores, home.run).damaged == 1
    assert sum(w.rows for w in windows) == len(found), "the keeper's last pass counted everything"


def archived(home) -> list[str]:
    from holdfast.predictions.archive import files

    return [i for path in files(home.log, "town") for i in home.tables.read(path, ["prediction_id"])["prediction_id"]]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_drains_and_leaves_nothing_behind(workspace: Path, serve, number):
    home = town(workspace)
    server = serve(home)
    with httpx.Client(timeout=30) as client:
        assert ask(client, server).status_code == 200
        pids = server.workers()
        code, _ = server.stop(number)
    assert code == 0
    assert not (home.run / "server.json").exists()
    assert list((home.run / "workers").iterdir()) == []
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_the_children_of_a_killed_supervisor_end(workspace: Path, serve):
    server = serve(town(workspace))
    pids = server.workers()
    server.process.kill()
    server.process.communicate()
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_port_in_use_is_told_at_once(workspace: Path, serve):
    home = town(workspace)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "holdfast", "-w", str(home.folder), "serve", "--port", str(port)]
        done = subprocess.run([*command, "--control-port", "0"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert f"inference port {port}" in done.stderr
    assert "next:" in done.stderr


def test_a_server_whose_workers_end_at_once_says_why_and_what_to_do(workspace: Path):
    home = town(workspace)
    (broken := home.folder / "broken").mkdir()
    (broken / "uvloop.py").write_text("raise ImportError('not made for this machine')")
    done = subprocess.run(
        [sys.executable, "-m", "holdfast", "-w", str(home.folder), "serve", "--port", "0", "--control-port", "0"],
        env={**os.environ, "PYTHONPATH": str(broken)},
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert done.returncode == 1
    assert done.stderr.count("Traceback") == 5
    assert done.stderr.count("w0 ended (exit 1); starting it again") == 4
    told = done.stderr.splitlines()[-2:]
    assert told[0].endswith("w0 ended 5 times at its start (exit 1): ImportError: not made for this machine")
    assert told[1].startswith("  next: mend that")


def test_what_cannot_be_logged_is_not_answered(workspace: Path, serve):
    home = town(workspace)
    server = serve(home)
    with httpx.Client(timeout=30) as client:
        # A file where the writer's folder should be: even root cannot write there.
        shutil.rmtree(home.log / WAL)
        (home.log / WAL).write_text("in the way")
        refused = ask(client, server)
        assert refused.status_code == 503
        assert "log cannot be written" in refused.json()["detail"]
        assert "retry-after" in refused.headers
        (home.log / WAL).unlink()
        assert ask(client, server).status_code == 200
    server.stop()
    assert len(logged(home.log)) + len(archived(home)) == 1


def test_labels_by_http_are_joined(workspace: Path, serve):
    home = town(workspace)
    server = serve(home)
    with httpx.Client(timeout=30) as client:
        [name] = ids_of(ask(client, server, 2.0))
        told = client.post(
            f"{server.inference}/v1/models/town:label", json={"labels": [{"prediction_id": name, "value": 10.0}]}
        )
        assert (told.status_code, told.json()) == (202, {"accepted": 1})
    server.stop()
    with home.database.begin() as stores:
        assert stores.labels.summary("town") == {"received": 1, "joined": 1, "waiting": 0}
        [window] = stores.windows.read("town", stores.deployments.get("town").live, "events")
    assert window.sums["residual"] == pytest.approx(3.0)


def test_a_release_that_one_cannot_load_is_in_force_nowhere(workspace: Path, serve):
    home = town(workspace)
    other = release(home, slope=5.0)
    server = serve(home, "--workers", "2")
    model = home.releases / other / "model.onnx"
    sound = model.read_bytes()
    model.chmod(0o644)
    model.write_bytes(sound[:-1] + b"x")  # after it was verified, or past the command that would have
    now = Actor("test", T0, home.run)
    _, generation = deploy(home.database, now, "town", other)
    with httpx.Client(timeout=30, limits=httpx.Limits(max_keepalive_connections=0)) as client:
        following = wait_in_force(home.run, generation)
        assert (following.current, following.alive) == (0, 2)
        assert other[:8] in following.why or "changed" in following.why
        assert status.server(home.run).lagging == following.why
        assert [ask(client, server).json()["predictions"][0]["prediction"] for _ in range(6)] == pytest.approx(
            [7.0] * 6
        )
        # Whoever is started now answers like the others.
        server.kill_worker()
        assert ask(client, server).json()["release"] != other
        model.write_bytes(sound)
        deadline = time.monotonic() + 30
        while (following := wait_in_force(home.run, generation, timeout_s=1.0)).current != 2:
            assert time.monotonic() < deadline, following
            time.sleep(0.1)
        assert [ask(client, server).json()["predictions"][0]["prediction"] for _ in range(6)] == pytest.approx(
            [11.0] * 6
        )
    assert "not followed" in server.stop()[1]


def test_metrics_of_all_workers_are_the_log_also_after_kills(workspace: Path, serve):
    home = town(workspace)
    server = serve(home, "--workers", "2")
    with httpx.Client(timeout=30, limits=httpx.Limits(max_keepalive_connections=0)) as client:
        for i in range(40):
            if i in {10, 25}:
                server.kill_worker()
            assert ask(client, server).status_code == 200
        assert client.post(f"{server.inference}/v1/models/nobody:predict", json={"instances": [{}]}).status_code == 404
        assert client.post(f"{server.inference}/v1/models/town:predict", json={"instances": [{}]}).status_code == 422
        for _ in range(5):  # whoever is asked
            lines = client.get(f"{server.inference}/metrics").text.splitlines()
            assert 'holdfast_requests_total{deployment="town",track="live"} 40' in lines
            assert sum(line.startswith("holdfast_refusals_total{") and line.endswith(" 1") for line in lines) == 2
    server.stop()
    assert len(logged(home.log)) + len(archived(home)) == 40
