import os
import threading
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from holdfast.core.prediction import Label, Labelled, Prediction, Record, Refusal
from holdfast.predictions.log import Writer, framed
from holdfast.serve import counts
from holdfast.serve import metrics as module
from holdfast.serve.metrics import BUCKETS_US, STRIDE, Metrics, Place, pages, totals


def families(metrics):
    return {family.name: family for family in text_string_to_metric_families(metrics.render().decode())}


def answered(name="town", rows=1, us=2000, track="live"):
    return Prediction("r", name, "d", track, 1, 1, us, "", rows, None, None, {}, {})


def refused(name="town", code="HF301"):
    return Refusal("r", name, 1, 1, code, "", 0)


def labelled(name="town", n=2):
    return Labelled(name, 1, 1, [Label(value=1.0, prediction_id="r-0")] * n)


class Process:
    """A worker's log and counts, as the worker uses them."""

    def __init__(self, home: Path, name: str = "w0"):
        self.writer = Writer(home / "log", name, segment_bytes=1000)
        self.metrics = Metrics(name, Place(home / "fleet", home / "log", self.writer.name))

    def append(self, *records):
        """Written, not counted: what a kill at the wrong moment leaves."""
        frames = [framed(record) for record in records]
        self.writer.append([frame.data for frame in frames])
        return frames

    def tick(self, *records):
        self.metrics.logged(self.append(*records), self.writer.position)

    def die(self):
        self.writer.close()


def samples(metrics, name):
    return {tuple(s.labels.values()): s.value for s in families(metrics)[name].samples}


def test_prometheus_reads_every_line():
    metrics = Metrics("w1")
    odd = 'odd "name"\n\\'
    frames = [framed(record) for record in (answered(odd, 3, 2000), answered(odd, 1, 9_000_000), labelled(n=3))]
    metrics.logged(frames, (1, 9))
    metrics.flagged(odd, {"area": 2})
    metrics.refused("", "HF301")
    metrics.following(4)
    found = families(metrics)
    assert samples(metrics, "holdfast_requests") == {(odd, "live"): 2.0}
    assert samples(metrics, "holdfast_predictions") == {(odd, "live"): 4.0}
    assert samples(metrics, "holdfast_flagged_values") == {(odd, "area"): 2.0}
    assert samples(metrics, "holdfast_refusals") == {("", "HF301"): 1.0}
    assert samples(metrics, "holdfast_labels") == {("town",): 3.0}
    assert samples(metrics, "holdfast_log_bytes") == {(): float(sum(len(frame.data) for frame in frames))}
    assert samples(metrics, "holdfast_plan_generation") == {("w1",): 4.0}
    buckets = [s for s in found["holdfast_request_duration_seconds"].samples if s.name.endswith("_bucket")]
    assert len(buckets) == len(BUCKETS_US) + 1
    assert [s.value for s in buckets if s.labels["le"] in {"0.001", "0.0025", "2.5", "+Inf"}] == [0.0, 1.0, 1.0, 2.0]
    total = next(s for s in found["holdfast_request_duration_seconds"].samples if s.name.endswith("_sum"))
    assert total.value == pytest.approx(9.002)


def test_an_idle_process_says_so():
    assert families(Metrics())["holdfast_log_bytes"].samples[0].value == 0.0


def test_others_see_every_count_at_once_and_count_little_of_the_log_themselves(tmp_path):
    """What a process has not told yet stands behind the position that it told last, and never much of it."""
    process = Process(tmp_path)
    path = tmp_path / "fleet" / "w0.counts"
    for number in range(1, 301):
        process.tick(answered())
        (page,) = pages(tmp_path / "fleet", tmp_path / "log")
        assert page.numbers["answered", "town", "live"][0] == number
        told = counts.read(path).position
        assert told.number == process.writer.position[0]
        assert process.writer.position[1] - told.offset < STRIDE
    process.metrics.settle()
    assert counts.read(path).position[1:] == process.writer.position
    process.metrics.flagged("town", {"area": 1})
    process.tick(answered())
    assert counts.read(path).numbers["flagged_values_total", "town", "area"] == [1], "the log does not tell of them"
    process.die()


def test_every_kind_of_record_is_counted():
    assert {kind.__struct_config__.tag for kind in get_args(Record)} == {"p", "c", "r", "l"}, (
        "a new kind must be counted"
    )


def test_no_count_is_lost_between_threads():
    metrics = Metrics()
    threads = [threading.Thread(target=lambda: [metrics.flagged("a", {"f": 1}) for _ in range(2000)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert samples(metrics, "holdfast_flagged_values") == {("a", "f"): 8000.0}


def test_any_process_answers_for_all(tmp_path: Path):
    one, two = Process(tmp_path, "w0"), Process(tmp_path, "w1")
    one.tick(answered(rows=2), refused())
    two.tick(answered(rows=5), answered("city"))
    one.metrics.following(3)
    two.metrics.following(4)
    assert samples(one.metrics, "holdfast_predictions") == {("town", "live"): 7.0, ("city", "live"): 1.0}
    assert samples(one.metrics, "holdfast_plan_generation") == {("w0",): 3.0, ("w1",): 4.0}
    assert sorted(one.metrics.render().splitlines()) == sorted(two.metrics.render().splitlines())


def test_what_a_killed_process_logged_but_did_not_count_is_counted_by_all_who_look(tmp_path: Path):
    one, two = Process(tmp_path, "w0"), Process(tmp_path, "w1")
    one.tick(answered(rows=2))
    one.append(answered(rows=40), refused())
    one.die()
    assert samples(two.metrics, "holdfast_predictions") == {("town", "live"): 42.0}
    again = Process(tmp_path, "w0")
    again.tick(answered(rows=100))
    for metrics in (two.metrics, again.metrics):
        assert samples(metrics, "holdfast_predictions") == {("town", "live"): 142.0}
        assert samples(metrics, "holdfast_refusals") == {("town", "HF301"): 1.0}


def test_a_segment_stays_until_its_frames_are_counted(tmp_path: Path):
    held = counts.unsettled(lambda: [tmp_path / "fleet"])
    one = Process(tmp_path)
    one.tick(answered())
    (segment,) = module.counts.wal.segments(tmp_path / "log")
    assert not held(segment)
    one.append(answered())
    assert held(segment)
    one.die()
    Process(tmp_path)
    assert not held(segment)


@given(st.lists(st.sampled_from(["tick", "append", "die", "refuse", "flag"]), max_size=30))
@settings(max_examples=40, deadline=None)
def test_counts_equal_the_log_however_processes_die(tmp_path_factory, acts):
    home = tmp_path_factory.mktemp("fleet")
    process, other = Process(home), Process(home, "w1")
    logged = unlogged = 0
    for step, act in enumerate(acts):
        if act in {"tick", "append"}:
            logged += step + 1
            (process.tick if act == "tick" else process.append)(answered(f"d{step % 7}", rows=step + 1))
            if act == "append":  # killed before it could count
                process.die()
                process = Process(home)
        elif act == "die":
            process.die()
            process = Process(home)
        elif act == "refuse":
            process.metrics.refused("", "HF200")
            process.tick()
            unlogged += 1
        else:
            process.metrics.flagged("d", {"f": 1})
        assert sum(samples(other.metrics, "holdfast_predictions").values()) == logged
        assert sum(samples(other.metrics, "holdfast_refusals").values()) == unlogged
    found = totals(pages(home / "fleet", home / "log"))
    assert sum(n[1] for s, n in found.items() if s[0] == module.ANSWERED) == logged
    other.die()
    process.die()


def test_a_reader_never_sees_half_a_tick(tmp_path: Path):
    """Every tick counts ten rows for one request; a reader in another process must never see them apart."""
    process = Process(tmp_path)
    process.tick(answered(rows=10))
    pid = os.fork()
    if pid == 0:
        for _ in range(3000):
            process.tick(answered(rows=10))
        os._exit(0)
    seen = 0
    while os.waitpid(pid, os.WNOHANG) == (0, 0):
        page = counts.read(tmp_path / "fleet" / "w0.counts")
        numbers = page.numbers[module.ANSWERED, "town", "live"]
        assert numbers[1] == 10 * numbers[0]
        assert sum(numbers[3:]) == numbers[0]
        seen += 1
    assert seen > 0
    last = counts.read(tmp_path / "fleet" / "w0.counts")
    assert last.numbers[module.ANSWERED, "town", "live"][0] == 3001
