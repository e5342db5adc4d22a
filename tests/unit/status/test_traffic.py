"""What happened between two looks, from the counts that real processes keep."""

import os
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from holdfast.cli import top
from holdfast.cli.top import screen
from holdfast.core.prediction import Prediction, Refusal
from holdfast.predictions.log import Writer, framed
from holdfast.serve.counts import FLEET
from holdfast.serve.metrics import BUCKETS_US, Metrics, Place
from holdfast.status.traffic import look, processes, quantile, traffic
from holdfast.status.values import LogState, Overview, Server


class Home(NamedTuple):
    """What `watch` needs of a workspace."""

    run: Path
    log: Path


class Worker:
    """Logs and counts as a serving process does."""

    def __init__(self, home, name="w0"):
        self.writer = Writer(home / "log", name, segment_bytes=1 << 20)
        fleet = home / "run" / f"{FLEET}{os.getpid()}"
        fleet.mkdir(parents=True, exist_ok=True)
        self.metrics = Metrics(name, Place(fleet, home / "log", self.writer.name))

    def tick(self, *records):
        frames = [framed(record) for record in records]
        self.writer.append([frame.data for frame in frames])
        self.metrics.logged(frames, self.writer.position)


def answered(name, rows=1, us=200):
    return Prediction("r", name, "d", "live", 1, 1, us, "", rows, None, None, {}, {})


def seen(home, at):
    return look(home / "run", home / "log", lambda: at)


def overview():
    told = Server(running=True, workers=2, inference="http://h:1", keeping=True, passed=1, trouble="")
    log = LogState(damaged=0, unlogged=0, refused=0, full=False)
    return Overview(at=0, server=told, log=log, deployments=())


def shown(before, now):
    console = Console(width=120)
    with console.capture() as text:
        console.print(screen(before, now, overview()))
    return text.get()


def test_rates_are_of_all_processes_and_of_the_time_between(tmp_path):
    one, other = Worker(tmp_path, "w0"), Worker(tmp_path, "w1")
    one.tick(answered("town"))
    before = seen(tmp_path, 10.0)
    one.tick(answered("town", rows=4), answered("town", rows=4))
    other.tick(answered("town"), Refusal("r", "town", 1, 1, "HF301", "", 0), answered("city"))
    other.metrics.refused("", "HF400")
    other.metrics.settle()
    told = traffic(before, seen(tmp_path, 12.0))
    assert (told["town"].requests, told["town"].rows, told["town"].refused) == (1.5, 4.5, 0.5)
    assert (told["city"].requests, told["city"].refused) == (0.5, 0)
    assert told[""].refused == 0.5
    assert 0.1 < told["town"].p50_ms <= told["town"].p99_ms <= 0.25


def test_a_deployment_that_did_nothing_has_no_latency(tmp_path):
    Worker(tmp_path).tick(answered("town"))
    before = seen(tmp_path, 1.0)
    assert traffic(before, seen(tmp_path, 2.0))["town"] == (0, 0, 0, 0, None, None)


def test_a_server_that_began_anew_began_from_nothing(tmp_path):
    Worker(tmp_path).tick(*[answered("town")] * 5)
    before = seen(tmp_path, 0.0)
    (anew := tmp_path / "anew").mkdir()
    Worker(anew).tick(*[answered("town")] * 3)
    assert traffic(before, seen(anew, 1.0))["town"].requests == 3


def test_processes_and_a_full_disk_are_seen(tmp_path):
    worker = Worker(tmp_path)
    (tmp_path / "run" / "workers").mkdir()
    note = b'{"id":"w0","pid":%d,"port":1,"generation":1,"started":1}' % os.getpid()
    (tmp_path / "run" / "workers" / "w0.json").write_bytes(note)
    before = seen(tmp_path, 0.0)
    sum(n * n for n in range(300_000))
    worker.metrics.gauge("log_full", 1)
    now = seen(tmp_path, 1.0)
    (one,) = processes(before, now)
    assert (one.name, one.pid) == ("w0", os.getpid())
    assert one.cores is None or one.cores >= 0
    assert one.megabytes is None or one.megabytes > 1
    text = shown(before, now)
    assert "serving at http://h:1 by 2 workers" in text
    assert f"w0  pid {os.getpid()}" in text
    assert "the disk is full" in text


def test_what_asks_for_unknown_names_is_shown(tmp_path):
    worker = Worker(tmp_path)
    before = seen(tmp_path, 0.0)
    worker.metrics.refused("", "HF400")
    worker.metrics.settle()
    assert "(no such name)" in shown(before, seen(tmp_path, 1.0))
    assert "(no such name)" not in shown(before, before)


def test_where_nobody_looks_at_it_each_look_is_printed(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(top, "EVERY_S", 0.0)
    worker = Worker(tmp_path)
    left = [1, 2, 3]

    def seen_again():
        if not left:
            raise KeyboardInterrupt
        worker.metrics.refused("", "HF400")
        worker.metrics.settle()
        left.pop()
        return overview()

    with pytest.raises(KeyboardInterrupt):
        top.watch(Home(tmp_path / "run", tmp_path / "log"), seen_again)
    told = capsys.readouterr().out
    assert told.count("serving at http://h:1") == 3
    assert told.count("(no such name)") == 2


@given(st.lists(st.integers(0, 1000), min_size=len(BUCKETS_US) + 1, max_size=len(BUCKETS_US) + 1))
def test_quantiles_rise_and_lie_in_their_bucket(buckets):
    found = [quantile(buckets, share) for share in (0.01, 0.5, 0.9, 0.99, 1.0)]
    if not sum(buckets):
        assert set(found) == {None}
        return
    assert found == sorted(found)
    assert found[0] >= 0
    assert found[-1] <= BUCKETS_US[-1] / 1e3
    below = 0
    for end, count in zip(BUCKETS_US, buckets, strict=False):
        below += count
        if below >= 0.5 * sum(buckets):
            assert found[1] <= end / 1e3
            break


def test_the_middle_of_one_bucket_is_its_middle():
    buckets = [0] * (len(BUCKETS_US) + 1)
    buckets[1] = 10
    assert quantile(buckets, 0.5) == pytest.approx((BUCKETS_US[0] + BUCKETS_US[1]) / 2e3)
