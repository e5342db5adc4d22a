"""Settings of the prediction log, with a real server: durable to the disk, and sampled."""

import re
import time
from pathlib import Path

import httpx
import pytest
from tests.faults.town import Server, town

from holdfast.core.prediction import Prediction, Tally
from holdfast.predictions.log import read, segments
from holdfast.server.keeper import Keeper

pytestmark = pytest.mark.integration
ASKED = {"instances": [{"area": 2.0, "house": "h"}, {"area": 3.0, "house": None}]}


@pytest.fixture
def serve():
    started: list[Server] = []

    def start(*args) -> Server:
        started.append(Server(*args))
        return started[-1]

    yield start
    for server in started:
        server.close()


def records(log: Path) -> list:
    return [entry.record for segment in segments(log) for entry in read(segment, complete=True).entries]


def test_durable_to_the_disk_through_a_kill(workspace: Path, serve, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOLDFAST_LOG_DURABILITY", "machine")
    home = town(workspace)
    server = serve(home)
    path = f"{server.inference}/v1/models/town:predict"
    acknowledged: list[str] = []
    for kill in range(2):
        with httpx.Client(timeout=30) as client:
            for i in range(30):
                if i == 20 and kill == 0:
                    server.kill_worker()
                try:
                    answer = client.post(path, json=ASKED)
                except httpx.HTTPError:
                    continue
                assert answer.status_code == 200
                acknowledged.append(answer.json()["request"])
            # Pipelined: what needs no log must not overtake what waits for the disk.
            assert client.get(f"{server.inference}/v2/health/live").status_code == 200
    code, _ = server.stop()
    assert code == 0
    archived = [n for p in (home.log / "town").glob("parquet/*/*") for n in home.tables.read(p, ["request"])["request"]]
    found = [*(r.request for r in records(home.log)), *dict.fromkeys(archived)]
    assert len(acknowledged) >= 55
    assert len(found) == len(set(found))
    assert set(acknowledged) <= set(found)


def test_sampled_predictions_are_all_counted(workspace: Path, serve, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOLDFAST_LOG_SAMPLE", "0.3")
    home = town(workspace)
    server = serve(home)
    with httpx.Client(timeout=30) as client:
        for _ in range(100):
            assert client.post(f"{server.inference}/v1/models/town:predict", json=ASKED).status_code == 200
        time.sleep(0.1)
        told = client.get(f"{server.inference}/metrics").text
    assert re.search(r'holdfast_requests_total{deployment="town",track="live"} 100\b', told)
    assert re.search(r'holdfast_predictions_total{deployment="town",track="live"} 200\b', told)
    logged = records(home.log)
    kinds = [sum(isinstance(record, kind) for record in logged) for kind in (Prediction, Tally)]
    assert sum(kinds) == 100
    assert 5 <= kinds[0] <= 60, "binomial with 100 and 0.3: outside with a chance below one in a thousand million"
    server.stop()
    Keeper(home).catch_up()
    with home.database.begin() as stores:
        windows = stores.windows.read("town", stores.deployments.get("town").live, "windows")
    assert sum(window.rows for window in windows) == 200
    assert sum(window.sums["requests"] for window in windows) == 100
