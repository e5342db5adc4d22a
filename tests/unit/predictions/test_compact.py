from pathlib import Path

import numpy as np
import pytest
from tests.unit.predictions.records import CONTRACT, DAY, HOUR, RELEASE, T0, prediction, profile

from holdfast.backends.duckdb import DuckTables
from holdfast.core.prediction import Label, Labelled, Refusal
from holdfast.core.profile import OUTPUT, WindowRule
from holdfast.predictions.archive import archive, files
from holdfast.predictions.compact import clock, count, lease
from holdfast.predictions.log import Writer, encode, segments
from holdfast.predictions.lookup import Predictions
from holdfast.predictions.windows import recipe
from holdfast.stats.counts import Counts
from holdfast.testing import MemoryDatabase

TIMED = recipe(CONTRACT, profile())
COUNTED = recipe(CONTRACT, profile(WindowRule(kind="count", length_us=HOUR, rows=4, label_rows=3)))


def windows_of(database, what=TIMED):
    with database.begin() as stores:
        return stores.windows.read("town", RELEASE, "windows")


def counted(log: Path, what=TIMED, database=None):
    database = database or MemoryDatabase()
    told = count(database, log, {RELEASE: what}.get, lateness_share=0.04)
    return database, told


def test_rows_are_counted_in_the_window_of_their_event_time(tmp_path: Path):
    writer = Writer(tmp_path, "w0", segment_bytes=1 << 20)
    writer.append([encode(prediction([T0, T0 + HOUR, T0 + 1], clock=T0 + HOUR, area=[1.0, np.nan, 500.0]))])
    database, told = counted(tmp_path)
    first, second = windows_of(database)
    assert (told.rows, first.rows, second.rows) == (3, 2, 1)
    assert (first.start, first.end, first.late) == (T0, T0 + HOUR, 0)
    assert first.sums == {"n": 2.0, "requests": 1.0, "latency_us": 150.0, "flagged": 1.0}
    counts = Counts.from_bytes(first.counts)
    assert set(counts.columns) == {"area", "kind", OUTPUT}
    assert counts.columns["kind"].tolist() == [1, 1, 0, 0]  # rows 0 and 2: flat, missing
    assert counts.columns["area"][-1] == 1


def test_late_rows_go_to_the_window_open_at_receipt(tmp_path: Path):
    writer = Writer(tmp_path, "w0", segment_bytes=1 << 20)
    just_in_time = T0 + HOUR + int(0.04 * HOUR) - 1
    writer.append([encode(prediction([T0], clock=c)) for c in (just_in_time, just_in_time + 1, T0 + 7 * HOUR)])
    database, _ = counted(tmp_path)
    assert [(w.number - T0 // HOUR, w.rows, w.late) for w in windows_of(database)] == [(0, 1, 0), (1, 1, 1), (7, 1, 1)]


def test_in_a_replay_the_rows_of_a_request_move_the_clock_one_after_the_other(tmp_path: Path):
    times = [T0 + 1, T0 + HOUR + 1, T0 + 2, T0 + 3 * HOUR]
    Writer(tmp_path, "w0", segment_bytes=1 << 20).append([encode(prediction(times, received=T0 + 99 * DAY))])
    database, _ = counted(tmp_path)
    assert [(w.number - T0 // HOUR, w.rows, w.late) for w in windows_of(database)] == [(0, 2, 0), (1, 1, 0), (3, 1, 0)]


def test_on_the_wall_clock_a_request_has_one_clock(tmp_path: Path):
    now = T0 + 3 * HOUR
    Writer(tmp_path, "w0", segment_bytes=1 << 20).append([encode(prediction([T0 + 1, now], clock=now, received=now))])
    database, _ = counted(tmp_path)
    assert [(w.number - T0 // HOUR, w.rows, w.late) for w in windows_of(database)] == [(3, 2, 1)]


def test_count_windows_are_cut_in_log_order_and_continue(tmp_path: Path):
    writer, database = Writer(tmp_path, "w0", segment_bytes=1 << 20), MemoryDatabase()
    for i in range(5):
        writer.append([encode(prediction([T0 + i, T0 + i]))])
        counted(tmp_path, COUNTED, database)
    assert [(w.number, w.rows, w.start, w.end) for w in windows_of(database)] == [
        (0, 4, T0, T0 + 1),
        (1, 4, T0 + 2, T0 + 3),
        (2, 2, T0 + 4, T0 + 4),
    ]


def test_refusals_are_counted_by_reason(tmp_path: Path):
    writer = Writer(tmp_path, "w0", segment_bytes=1 << 20)
    refused = [Refusal("r", "town", T0, T0, "HF300", "area", n, RELEASE) for n in (3, 0)]
    writer.append([encode(r) for r in refused] + [encode(Refusal("r", "", T0, T0, "HF200", "", 1))])
    database, told = counted(tmp_path)
    assert windows_of(database)[0].sums == {"refused": 4.0, "refused:HF300": 4.0}
    assert told.refusals == 3


def test_labels_in_the_log_are_stored_and_the_clock_is_known(tmp_path: Path):
    writer = Writer(tmp_path, "w0", segment_bytes=1 << 20)
    writer.append([encode(Labelled("town", T0, T0 + 5, [Label(value=2.0, prediction_id="0" * 26 + "-0")]))])
    database, _ = counted(tmp_path)
    counted(tmp_path, database=database)
    with database.begin() as stores:
        assert stores.labels.summary("town") == {"received": 1, "joined": 0, "waiting": 1}
        assert clock(stores, "town", 99) == 99
    writer.append([encode(prediction([T0 + DAY], received=T0 + 900 * DAY))])
    counted(tmp_path, database=database)
    with database.begin() as stores:
        assert clock(stores, "town", 99) == T0 + DAY, "a replay"


def test_a_release_that_is_not_here_is_told(tmp_path: Path):
    writer = Writer(tmp_path, "w0", segment_bytes=1 << 20)
    writer.append([encode(prediction([T0], release="b" * 64))])
    _, told = counted(tmp_path)
    assert told.unknown == 1


def test_archived_segments_are_parquet_by_month_and_findable(tmp_path: Path):
    tables, database = DuckTables(), MemoryDatabase()
    writer = Writer(tmp_path, "w0", segment_bytes=1)
    record = prediction([T0, T0 + 40 * DAY], keys=["k", None], area=[4.0, np.nan], clock=T0 + 40 * DAY)
    last = prediction([T0 + 41 * DAY], keys=["k"])
    before_archive = Predictions(tmp_path, tables, {RELEASE: TIMED}.get)
    for r in (record, last):
        writer.append([encode(r)])
    assert archive(database, tmp_path, tables, {RELEASE: TIMED}.get) == 0, "not counted yet"
    counted(tmp_path, database=database)
    before_archive.refresh()
    seen = before_archive.by_ids("town", [f"{record.request}-0", f"{record.request}-1"])
    assert archive(database, tmp_path, tables, {RELEASE: TIMED}.get) == 1
    assert len(segments(tmp_path)) == 1, "the segment being written stays"
    assert [p.parent.name for p in files(tmp_path, "town")] == ["month=2020-01", "month=2020-02"]
    for found in (before_archive, Predictions(tmp_path, tables, {RELEASE: TIMED}.get)):
        assert found.refresh() == (set() if found is before_archive else {"k", last.request})
        assert found.by_ids("town", [*seen, "nonsense", "0" * 26 + "-7"]) == seen
        assert [row.id for row in found.by_keys("town", ["k", "x"])["k"]] == [
            f"{record.request}-0",
            f"{last.request}-0",
        ]
        assert [row.event_time for row in found.newest("town", limit=2)] == [T0 + 41 * DAY, T0 + 40 * DAY]
        found.close()
    assert seen[f"{record.request}-0"].inputs == {"area": 4.0, "kind": "flat"}
    assert seen[f"{record.request}-1"].inputs == {"area": None, "kind": "house"}
    assert seen[f"{record.request}-0"].outputs == {"prediction": 2.0}


def test_a_dead_writer_is_archived_whole_and_forgotten(tmp_path: Path):
    tables, database = DuckTables(), MemoryDatabase()
    writer = Writer(tmp_path, "w0", segment_bytes=1 << 20)
    frame = encode(prediction([T0]))
    writer.append([frame, frame[:-3]])
    writer.close()
    _, told = counted(tmp_path, database=database)
    assert told.damaged == 1
    assert archive(database, tmp_path, tables, {RELEASE: TIMED}.get) == 1
    assert list((tmp_path / ".wal").iterdir()) == []
    with database.begin() as stores:
        assert stores.cursors.all("log/") == {}
    writer.append([frame])
    counted(tmp_path, database=database)
    assert windows_of(database)[0].rows == 2


def test_fields_named_like_our_columns(tmp_path: Path):
    tables, database = DuckTables(), MemoryDatabase()
    writer = Writer(tmp_path, "w0", segment_bytes=1 << 20)
    columns = {name: [name] for name in ("Row", "month", "p_x", "Area")}
    writer.append([encode(prediction([T0], columns=columns))])
    writer.close()
    counted(tmp_path, database=database)
    archive(database, tmp_path, tables, {RELEASE: TIMED}.get)
    table = tables.read(files(tmp_path, "town")[0])
    assert {"input.Row", "input.month", "input.p_x", "area", "Area_", "row"} <= set(table)


def test_the_lease_tells_when_somebody_else_had_it(tmp_path: Path):
    with lease(tmp_path, "a") as changed:
        assert changed
        with pytest.raises(Exception, match="another keeper"), lease(tmp_path, "b", wait_s=0.05):
            pass
    with lease(tmp_path, "a") as changed:
        assert not changed
    with lease(tmp_path, "b") as changed:
        assert changed
    with lease(tmp_path, "a") as changed:
        assert changed
