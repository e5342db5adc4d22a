"""The flow through real commands while traffic runs, and with the feed broken: nothing is lost, nothing is learned wrongly."""

import concurrent.futures
import json
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import pytest
from tests.integration.selling import MARKS, predict, releases

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.xdist_group("cli")]


def test_two_workers_count_what_the_clients_counted(project):
    with project.serving("--workers", 2) as server:

        def ask(_: int) -> list[str]:
            with httpx.Client(base_url=server.inference, timeout=30) as client:
                answers = [predict(client) for _ in range(100)]
            assert {a.status_code for a in answers} == {200}
            return [a.json()["predictions"][0]["id"] for a in answers]

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            ids = [i for found in pool.map(ask, range(8)) for i in found]
        with httpx.Client(base_url=server.inference) as client:
            assert len(list((project.folder / ".holdfast/run/workers").iterdir())) == 2
            assert client.get("/metrics").status_code == 200
        assert server.stop() == 0
    assert len(set(ids)) == 800
    assert project.run("status", "town")["row"]["rows"] == 800


def test_promote_and_rollback_lose_no_request(project):
    live, other = releases(project)
    answered: list[tuple[int, str]] = []
    done = threading.Event()
    with project.serving("--workers", 2) as server:

        def load() -> None:
            with httpx.Client(base_url=server.inference, timeout=30) as client:
                while not done.is_set():
                    answer = predict(client)
                    answered.append((answer.status_code, answer.headers.get("x-holdfast-release", "")))

        clients = [threading.Thread(target=load) for _ in range(2)]
        for client in clients:
            client.start()
        try:
            told = project.run("rollout", other, "--as", "town", "--share", "0.5")
            assert told["in_force"] == told["workers"] == 2
            project.run("promote", "town")
            project.run("rollback", "town")
        finally:
            done.set()
            for client in clients:
                client.join()
        assert server.stop() == 0
    assert {status for status, _ in answered} == {200}
    assert project.run("status", "town")["row"]["live"] == live
    code, out, _ = project.call("history", "town", "--json")
    assert code == 0
    assert [e["verb"] for e in json.loads(out)["events"]] == ["deploy", "canary", "promote", "rollback"]
    assert len(answered) > 20


def test_promote_without_a_canary_and_rollback_without_a_past(project):
    assert "canary" in project.refused("promote", "town", code=1)["what"]
    assert project.refused("rollback", "town", code=1)["code"] == "HF201"


def test_retrain_refuses_to_learn_from_a_broken_feed(project):
    (project.folder / "holdfast.toml").write_text(
        '[deployments.fed]\ntrain = "train.py:train"\ndata = "original.parquet"\n'
    )
    live, _ = releases(project)
    project.run("deploy", live, "--as", "fed", "--at", "2024-03-01")
    for name in ("live", "broken"):
        project.run("score", f"{name}.parquet", "--with", "fed", "--replay", "--out", f"{name}.scored.parquet")
    project.run("label", "live.scored.parquet", "--for", "fed")
    [fault, *_] = [a for a in project.run("alarms", "--open")["alarms"] if a["cause"] == "pipeline fault"]
    assert "area" in fault["columns"]
    error = project.refused("retrain", "fed", code=3)
    assert error["code"] == "HF800"
    assert "area" in error["what"]
    assert fault["id"] in error["next"]


def test_labels_by_a_hashed_key_find_their_predictions(project):
    text = project.call("inspect", "town@live", "--contract")[1]
    for policy, code in (("hash", 0), ("drop", 1)):
        edited = text.replace("name: house", f"name: house\n    log: {policy}")
        assert edited != text
        (project.folder / "contract.yaml").write_text(edited)
        release = project.run("build", "model.skops", *MARKS, "--contract", "contract.yaml", "--name", policy)[
            "release"
        ]
        project.run("deploy", release, "--as", policy, "--at", "2024-03-01")
        project.run("score", "live.parquet", "--with", policy, "--replay", "--out", f"{policy}.parquet")
        if code:
            assert "kept out of the log" in project.refused("label", "live.parquet", "--for", policy, code=code)["what"]
        else:
            assert project.run("label", "live.parquet", "--for", policy)["joined"] == 1500
            logged = b"".join(f.read_bytes() for f in (project.folder / ".holdfast/log").rglob("*") if f.is_file())
            assert b"2-1499" not in logged


def test_help_and_a_closed_pipe(project):
    code, out, _ = project.call("--help")
    assert code == 0
    assert "registry > build > release" in out
    shell = f"{sys.executable} -m holdfast list --json | head -c 10"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", shell], cwd=project.folder, capture_output=True, text=True)
    assert done.stderr == ""
    assert Path(project.folder / "holdfast.toml").exists()
