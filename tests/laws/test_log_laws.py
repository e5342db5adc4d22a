"""Laws of the prediction log, over random traffic, splits, tears and crashes."""

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.predictions.records import CONTRACT, HOUR, RELEASE, T0, prediction, profile

from holdfast.backends.duckdb import DuckTables
from holdfast.backends.sql import SqlDatabase
from holdfast.core.prediction import Label
from holdfast.core.profile import WindowRule
from holdfast.predictions.archive import archive, files
from holdfast.predictions.compact import count
from holdfast.predictions.labels import Joiner
from holdfast.predictions.log import Writer, encode, read, segments
from holdfast.predictions.lookup import Predictions
from holdfast.predictions.windows import recipe
from holdfast.stats.counts import Counts
from holdfast.testing import MemoryDatabase

TIMED = recipe(CONTRACT, profile())
COUNTED = recipe(CONTRACT, profile(WindowRule(kind="count", length_us=HOUR, rows=7, label_rows=3)))

requests = st.lists(
    st.tuples(
        st.lists(st.integers(0, 5 * HOUR), min_size=1, max_size=4),
        st.integers(0, 5 * HOUR),
        st.sampled_from(["live", "canary"]),
    ),
    min_size=1,
    max_size=25,
)


@contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def make(drawn):
    times, lag, track = drawn
    return prediction([T0 + t for t in times], clock=T0 + max(times) + lag, track=track)


def windows_of(database):
    with database.begin() as stores:
        return stores.windows.read("town", RELEASE, "windows")


@given(requests, st.data())
@settings(deadline=None)
def test_a_torn_log_gives_every_whole_record_once_and_invents_none(drawn, data):
    """Cut the file anywhere: the records before the cut are read, each once, and nothing else."""
    with folder() as log:
        frames = [encode(make(d)) for d in drawn]
        writer = Writer(log, "w0", segment_bytes=1 << 20)
        writer.append(frames)
        writer.close()
        [segment] = segments(log)
        cut = data.draw(st.integers(0, sum(map(len, frames))))
        os.truncate(segment.path, cut)
        whole, size = [], 0
        for frame in frames:
            size += len(frame)
            whole += [frame] if size <= cut else []
        offset, got = 0, []
        while (part := read(segment, offset, complete=True, limit=data.draw(st.integers(1, 5000)))).end > offset:
            got += [encode(entry.record) for entry in part.entries]
            offset = part.end
        assert got == whole
        assert offset == cut


@pytest.mark.parametrize("what", [TIMED, COUNTED], ids=["time windows", "count windows"])
@given(drawn=requests, data=st.data())
@settings(max_examples=30, deadline=None)
def test_windows_equal_a_recount_bit_for_bit(what, drawn, data):
    """Counted in any number of passes, over restarts of the writer and its segments: as counted once."""
    with folder() as log:
        grown = MemoryDatabase()
        writer = Writer(log, "w0", segment_bytes=data.draw(st.sampled_from([1, 2000, 1 << 20])))
        for clock, d in enumerate(drawn, start=1):
            record = make(d)
            writer.append([encode(prediction(record.times, clock=record.clock, track=record.track, received=clock))])
            action = data.draw(st.sampled_from(["go on", "count", "restart"]))
            if action == "restart":
                writer.close()
                writer = Writer(log, f"w{clock:04d}", segment_bytes=1 << 20)
            if action == "count":
                count(grown, log, {RELEASE: what}.get, lateness_share=0.04)
        count(grown, log, {RELEASE: what}.get, lateness_share=0.04)
        again = MemoryDatabase()
        count(again, log, {RELEASE: what}.get, lateness_share=0.04)
        assert windows_of(grown) == windows_of(again)
        assert sum(w.rows for w in windows_of(grown)) == sum(len(d[0]) for d in drawn)


class Crash(Exception):
    """The process dies here."""


class Dying:
    """A database whose n-th transaction dies before it is committed."""

    def __init__(self, database, at: int):
        self.database, self.left = database, at
        self.read, self.sync = database.read, database.sync

    @contextmanager
    def begin(self, *, durable=True):
        with self.database.begin(durable=durable) as stores:
            yield stores
            self.left -= 1
            if self.left == 0:
                raise Crash


class Disk(SqlDatabase):
    """A database of which a power cut leaves what was there when it was last brought to the disk."""

    def __init__(self, home: Path):
        self.file, self.left = home / "state.db", home / "left.db"
        super().__init__(f"sqlite:///{self.file}")
        self.sync()

    def sync(self):
        super().sync()
        with sqlite3.connect(self.file) as now, sqlite3.connect(self.left) as left:
            now.backup(left)


@given(drawn=requests, data=st.data())
@settings(max_examples=12, deadline=None)
def test_a_power_cut_loses_and_doubles_nothing(drawn, data):
    with folder() as log:
        (log / "disk").mkdir()
        database, tables = Disk(log / "disk"), DuckTables(threads=1)
        records = [make(d) for d in drawn]
        for i, record in enumerate(records):
            writer = Writer(log, f"w{i:03}", segment_bytes=1)
            writer.append([encode(record)])
            writer.close()
            if data.draw(st.booleans()):
                count(database, log, {RELEASE: TIMED}.get, lateness_share=0.04)
            if data.draw(st.booleans()):
                archive(database, log, tables, {RELEASE: TIMED}.get)
        database.close()
        after = SqlDatabase(f"sqlite:///{database.left}")
        count(after, log, {RELEASE: TIMED}.get, lateness_share=0.04)
        assert sum(window.rows for window in windows_of(after)) == sum(record.rows for record in records)
        after.close()


class DyingTables(DuckTables):
    """Tables that die before or after the n-th file is written."""

    def __init__(self, at: int, after: bool):
        super().__init__(threads=1)
        self.left, self.after = at, after

    def write(self, path, table):
        self.left -= 1
        if self.left == 0 and not self.after:
            raise Crash
        super().write(path, table)
        if self.left == 0:
            raise Crash


@given(drawn=requests, at=st.integers(1, 6), how=st.sampled_from(["count", "before a file", "after a file"]))
@settings(max_examples=25, deadline=None)
def test_a_keeper_killed_anywhere_loses_and_doubles_nothing(drawn, at, how):
    with folder() as log:
        database, tables = MemoryDatabase(), DuckTables(threads=1)
        writer = Writer(log, "w0", segment_bytes=3000)
        records = [make(d) for d in drawn]
        for record in records:
            writer.append([encode(record)])
        writer.close()
        once = MemoryDatabase()
        count(once, log, {RELEASE: TIMED}.get, lateness_share=0.04)
        try:
            dying = Dying(database, at) if how == "count" else database
            count(dying, log, {RELEASE: TIMED}.get, lateness_share=0.04)
            archive(dying, log, DyingTables(at, how == "after a file"), {RELEASE: TIMED}.get)
        except Crash:
            pass
        count(database, log, {RELEASE: TIMED}.get, lateness_share=0.04)
        archive(database, log, tables, {RELEASE: TIMED}.get)
        assert windows_of(database) == windows_of(once)
        assert segments(log) == []
        ids = [i for path in files(log, "town") for i in tables.read(path, ["prediction_id"])["prediction_id"].tolist()]
        assert sorted(ids) == sorted(f"{r.request}-{i}" for r in records for i in range(r.rows))
        again = Counts.total(
            Counts.of((TIMED.inputs[0],), {"area": tables.read(path)["area"]}) for path in files(log, "town")
        )
        counted = Counts.total(Counts.from_bytes(w.counts) for w in windows_of(database))
        np.testing.assert_array_equal(again.columns["area"], counted.columns["area"])


@given(drawn=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3)), min_size=1, max_size=30), data=st.data())
@settings(max_examples=30, deadline=None)
def test_event_windows_know_only_the_newest_value_of_each_label(drawn, data):
    """Labels in any order, repeated, corrected, before or after their prediction, joined in any number of passes."""
    with folder() as log:
        database = MemoryDatabase()
        predictions = Predictions(log, DuckTables(threads=1), {RELEASE: COUNTED}.get)
        joiner = Joiner(database, predictions, {RELEASE: COUNTED}.get)
        records = [prediction([T0 + i * HOUR], area=[0.0]) for i in range(10)]
        writer = Writer(log, "w0", segment_bytes=1 << 20)
        early = data.draw(st.integers(0, 10))
        writer.append([encode(r) for r in records[:early]] or [b""])
        newest = {}
        for i, value in drawn:
            newest[i] = float(value)
            label = Label(value=float(value), prediction_id=f"{records[i].request}-0")
            with database.begin() as stores:
                stores.labels.add("town", [label], received=0, clock=0)
            if data.draw(st.booleans()):
                joiner.join("town", fresh=predictions.refresh())
            if data.draw(st.integers(0, 9)) == 0:
                joiner.forget()
        writer.append([encode(r) for r in records[early:]] or [b""])
        joiner.join("town", fresh=predictions.refresh())
        with database.begin() as stores:
            events = stores.windows.read("town", RELEASE, "events")
            arrived = stores.windows.read("town", RELEASE, "labels")
        predictions.close()
        assert {w.number - T0 // HOUR: w.sums["residual"] for w in events} == newest
        assert all(w.rows == 1 and Counts.from_bytes(w.counts).rows == 1 for w in events)
        assert all((Counts.from_bytes(w.counts).columns["__loss__"] >= 0).all() for w in events)
        assert sum(w.rows for w in arrived) == len(newest)
        assert [w.rows for w in arrived[:-1]] == [3] * (len(arrived) - 1)
