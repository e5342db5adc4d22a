"""A disk without space, on a real small file system: what is refused, what is served, and what the log has afterwards."""

import os
import subprocess
import time
from pathlib import Path

import httpx
import pytest
from tests.faults.town import Server, town
from tests.unit.predictions.records import CONTRACT, RELEASE, T0, prediction, profile

from holdfast.backends.duckdb import DuckTables
from holdfast.backends.sql.database import SqlDatabase
from holdfast.core.prediction import Prediction
from holdfast.predictions.archive import archive, files
from holdfast.predictions.compact import count
from holdfast.predictions.journal import Journal
from holdfast.predictions.log import Writer, encode, framed, read, segments
from holdfast.predictions.windows import recipe
from holdfast.status.sources import log_state

pytestmark = pytest.mark.integration
RECIPES = {RELEASE: recipe(CONTRACT, profile())}.get


@pytest.fixture
def small_disk(tmp_path: Path):
    """A file system of so many KiB, a folder on it."""
    mounted = []

    def make(kib: int) -> Path:
        place = tmp_path / "disk"
        place.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={kib}k", "none", str(place)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"a file system cannot be mounted here: {done.stderr.strip()}")
        mounted.append(place)
        return place

    yield make
    for place in mounted:
        subprocess.run(["umount", "-l", str(place)], check=True)


def fill(path: Path) -> None:
    """Take all the space that is left."""
    with path.open("ab", buffering=0) as file:
        for size in (1 << 16, 4096, 1):
            while True:
                try:
                    if file.write(b"x" * size) < size:
                        break
                except OSError:
                    break


def logged(log: Path) -> list[str]:
    found = [entry.record for segment in segments(log) for entry in read(segment, complete=True).entries]
    return [record.request for record in found if isinstance(record, Prediction)]


@pytest.mark.parametrize("serve", [False, True])
def test_the_log_on_a_disk_that_fills_and_empties_again(small_disk, serve: bool):
    """Acknowledged or counted as unlogged, every one; in the log at most once; the keeper makes good afterwards."""
    disk = small_disk(400)
    log = disk / "log"
    journal = Journal(Writer(log, "w0", segment_bytes=20_000), serve_when_full=serve)
    acknowledged, unlogged_before, filler = [], 0, disk / "filler"
    state, tables = SqlDatabase(f"sqlite:///{disk / 'state.db'}"), DuckTables(threads=1)
    for tick in range(90):
        if tick == 30:
            fill(filler)
        if tick == 60:
            os.truncate(filler, filler.stat().st_size // 2)
        records = [prediction([T0 + tick], received=T0 + tick) for _ in range(3)]
        told = []
        journal.commit([framed(record) for record in records], told.append)
        if told == [None]:
            fitted = 3 - (journal.counts.unlogged - unlogged_before)
            acknowledged += [record.request for record in records[:fitted]]
        unlogged_before = journal.counts.unlogged
        full = journal.counts.full
        assert told == [None] or (full and not serve)
        if not 30 <= tick < 40:  # at first the segment's last page has some room
            assert full == (40 <= tick < 60)
    assert (journal.counts.unlogged > 55) == serve
    assert (journal.counts.refused > 55) == (not serve)
    found = logged(log)
    assert len(found) == len(set(found))
    assert set(acknowledged) <= set(found)
    assert len(found) - len(acknowledged) <= (0 if serve else 2), "whole frames of the one write that was cut"
    journal.close()
    told_by_keeper = count(state, log, RECIPES, lateness_share=0.04)
    archive(state, log, tables, RECIPES)
    assert told_by_keeper.rows == len(found)
    assert told_by_keeper.damaged <= 1
    assert sum(tables.count(path) for path in files(log, "town")) == len(found)
    assert segments(log) == []
    state.close()


def test_a_keeper_without_space_waits_for_it(small_disk):
    """It may fail as often as it likes, with the disk full at whatever step; then it goes on."""
    disk = small_disk(1500)
    log, filler = disk / "log", disk / "filler"
    writer = Writer(log, "w0", segment_bytes=15_000)
    for tick in range(400):
        writer.append([encode(prediction([T0 + tick], received=T0 + tick))])
    writer.close()
    state, tables = SqlDatabase(f"sqlite:///{disk / 'state.db'}"), DuckTables(threads=1)
    fill(filler)
    failures = 0
    for _ in range(200):
        try:
            count(state, log, RECIPES, lateness_share=0.04)
            archive(state, log, tables, RECIPES)
            break
        except Exception:  # noqa: BLE001 - SQLite, DuckDB and the system each say it in their own way
            failures += 1
            os.truncate(filler, filler.stat().st_size - 4096)
    assert failures > 3
    assert segments(log) == []
    assert sum(tables.count(path) for path in files(log, "town")) == 400
    with state.begin() as stores:
        assert sum(w.rows for w in stores.windows.read("town", RELEASE, "windows")) == 400
    state.close()


@pytest.mark.parametrize("policy", ["refuse", "serve"])
def test_a_server_without_space(small_disk, monkeypatch: pytest.MonkeyPatch, policy: str):
    home = town(small_disk(8000))
    monkeypatch.setenv("HOLDFAST_LOG_WHEN_FULL", policy)
    server = Server(home)
    statuses: list[int] = []
    try:
        with httpx.Client(timeout=30) as client:

            def ask() -> httpx.Response:
                body = {"instances": [{"area": 2.0}]}
                return client.post(f"{server.inference}/v1/models/town:predict", json=body)

            def metric(name: str) -> float:
                lines = client.get(f"{server.inference}/metrics").text.splitlines()
                return sum(float(line.split()[-1]) for line in lines if line.startswith(f"holdfast_{name}"))

            assert ask().status_code == 200
            fill(home.folder / "filler")
            statuses = [ask().status_code for _ in range(60)]
            assert metric("log_full") == 1
            assert metric("log_unlogged_total" if policy == "serve" else "log_refused_total") >= 30
            with home.database.begin() as stores:
                seen = log_state(stores, home.run)
            assert seen.full
            assert (seen.unlogged > 30, seen.refused > 30) == (policy == "serve", policy == "refuse")
            time.sleep(2.5)  # the keeper's turn to find no space
            assert ask().status_code == (200 if policy == "serve" else 503)
            (home.folder / "filler").unlink()
            answers = [ask() for _ in range(5)]
            assert [answer.status_code for answer in answers] == [200] * 5
            assert metric("log_full") == 0
        code, _ = server.stop()
        assert code == 0
    finally:
        server.close()
    if policy == "serve":
        assert statuses == [200] * 60
    else:
        assert statuses.count(503) >= 30
    refused = statuses.count(503)
    found = logged(home.log)
    archived = [n for p in files(home.log, "town") for n in home.tables.read(p, ["request"])["request"].tolist()]
    assert {a.json()["request"] for a in answers} <= {*found, *archived}
    assert len(found) + len(archived) <= 1 + 60 - refused + 5 + 1
