"""From the write-ahead log to window counts: incremental, idempotent, at most once for every frame.

A cursor per writer says how far its log has been counted. It moves in the same database transaction that adds the counts, so
a crash leaves both or neither, and the counts equal a recount from the log bit for bit. Labels that came in by the
inference port stand in the log too and are stored in that same transaction. A power cut may take the last transactions, as
long as their log is there: `archive` has them brought to the disk before it removes any of it.
"""

from __future__ import annotations

import contextlib
import fcntl
import heapq
import itertools
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from holdfast.core.ports import Database, Stores
from holdfast.core.prediction import Labelled, Prediction, Refusal, Tally
from holdfast.core.window import Window, merge
from holdfast.errors import Conflict
from holdfast.predictions import log as wal
from holdfast.predictions.windows import Recipe, cut, fits

__all__ = ["Counted", "clock", "count", "lease", "position"]

_SHIFT: Final = 40  # a cursor is one integer: segment number, then the offset in it
STEP: Final = 4 << 20
"""Bytes of log per transaction."""
SAME_CLOCK: Final = 60_000_000
"""Microseconds by which the deployment clock of live traffic may differ from the wall clock."""


class Counted(msgspec.Struct):
    """What a pass found."""

    rows: int = 0
    """Predictions."""
    refusals: int = 0
    labels: int = 0
    damaged: int = 0
    unknown: int = 0
    """Rows that nothing says how to count: of releases that are not here, or tallied by another version of Holdfast."""


@contextlib.contextmanager
def lease(log: Path, owner: str, *, wait_s: float = 30.0) -> Iterator[bool]:
    """The right to compact and join, for the block; gives whether somebody else had it since `owner` last did.

    A file lock, which the kernel takes back from a dead process. Raises Conflict if it is not free within `wait_s`.
    """
    log.mkdir(parents=True, exist_ok=True)
    fd = os.open(log / ".lease", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        end = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise Conflict("another keeper is at work", str(log), "wait until it is done") from None
                time.sleep(0.01)
        changed = os.pread(fd, 200, 0) != owner.encode()
        if changed:
            os.ftruncate(fd, 0)
            os.pwrite(fd, owner.encode(), 0)
        yield changed
    finally:
        os.close(fd)


def count(
    database: Database,
    log: Path,
    recipes: Callable[[str], Recipe | None],
    *,
    lateness_share: float,
    enough: Callable[[], bool] = lambda: False,
) -> Counted:
    """Count all that is new in the log, or as much as there is before `enough`.

    `recipes` gives a release's by its digest, None if it is not here; a time window stays open for `lateness_share` of
    its length.
    """
    told = Counted()
    while True:
        with database.read() as stores:
            cursors = stores.cursors.all("log/")
            seen = stores.cursors.all("rows/")
        parts, moved = _new(log, cursors)
        if not moved:
            return told
        step = _counted(parts, seen, recipes, lateness_share)
        with database.begin(durable=False) as stores:
            if stores.cursors.all("log/") != cursors:
                continue  # another keeper was faster; nothing of ours is in yet
            for name, value in moved.items():
                stores.cursors.set(name, value)
            _store(stores, step)
        for field in msgspec.structs.fields(told):
            setattr(told, field.name, getattr(told, field.name) + getattr(step.told, field.name))
        if enough():
            return told


def position(stores: Stores, writer: str) -> tuple[int, int]:
    """Segment and offset up to which this writer's log has been counted."""
    value = stores.cursors.get(f"log/{writer}")
    return value >> _SHIFT, value & ((1 << _SHIFT) - 1)


def clock(stores: Stores, deployment: str, wall: int) -> int:
    """The deployment clock: the wall clock or, in a replay, the largest event time seen."""
    return stores.cursors.get(f"replay/{deployment}") or wall


def _new(log: Path, cursors: dict[str, int]) -> tuple[list[wal.Part], dict[str, int]]:
    """One step of every writer's log behind the cursors, one part a writer, and the cursors after it."""
    parts: list[wal.Part] = []
    moved: dict[str, int] = {}
    for writer, files in itertools.groupby(wal.segments(log), key=lambda segment: segment.writer):
        number, offset = divmod(cursors.get(f"log/{writer}", 0), 1 << _SHIFT)
        entries: list[wal.Entry] = []
        damaged = done = 0
        for segment in files:
            if segment.number < number:
                continue
            begin = offset if segment.number == number else 0
            part = _step(segment, begin)
            entries += part.entries
            damaged += part.damaged
            done += part.end - begin
            moved[f"log/{writer}"] = (segment.number << _SHIFT) + part.end
            if done > STEP or part.end < _size(segment):
                break
        if moved.get(f"log/{writer}") == cursors.get(f"log/{writer}", 0):
            del moved[f"log/{writer}"]
        parts.append(wal.Part(entries, 0, damaged))
    return parts, moved


def _step(segment: wal.Segment, offset: int) -> wal.Part:
    part = wal.read(segment, offset)
    if part.end == offset and _size(segment) > offset:
        with wal.finished(segment) as complete:
            if complete:
                return wal.read(segment, offset, complete=True)
    return part


def _size(segment: wal.Segment) -> int:
    try:
        return segment.path.stat().st_size
    except FileNotFoundError:
        return 0


class _Step(msgspec.Struct):
    """What a step found, ready to be stored: counting takes a while, and the database is not held meanwhile."""

    told: Counted
    labels: list[Labelled] = []
    last: dict[str, Prediction | Tally] = {}
    """By deployment. They alone move the clock: a label may come before a replay has begun."""
    windows: list[list[Window]] = []
    seen: dict[str, int] = {}
    """Cursors of rows."""


def _counted(
    parts: list[wal.Part], seen: dict[str, int], recipes: Callable[[str], Recipe | None], lateness_share: float
) -> _Step:
    step = _Step(Counted(damaged=sum(part.damaged for part in parts)))
    # Each writer's own order is kept, so a recount numbers count windows the same.
    records = heapq.merge(*([e.record for e in part.entries] for part in parts), key=lambda record: record.received)
    groups: dict[tuple[str, str], list[Prediction | Tally | Refusal]] = defaultdict(list)
    for record in records:
        if isinstance(record, Prediction | Tally):
            step.last[record.deployment] = record
        if isinstance(record, Labelled):
            step.labels.append(record)
        else:
            groups[record.deployment, record.release].append(record)
    told = step.told
    for (deployment, release), found in groups.items():
        rows = sum(record.rows for record in found if not isinstance(record, Refusal))
        told.rows += rows
        told.refusals += sum(isinstance(record, Refusal) for record in found)
        what = recipes(release)
        if what is None:
            told.unknown += rows
            continue
        known = [record for record in found if not isinstance(record, Tally) or fits(what, record)]
        told.unknown += sum(record.rows for record in found) - sum(record.rows for record in known)
        name = f"rows/{deployment}/{release}"
        windows, step.seen[name] = cut(what, known, seen=seen.get(name, 0), lateness_share=lateness_share)
        step.windows.append(_merged(windows))
    told.labels = sum(len(record.labels) for record in step.labels)
    return step


def _store(stores: Stores, step: _Step) -> None:
    if step.told.damaged:
        stores.cursors.set("damaged", stores.cursors.get("damaged") + step.told.damaged)
    for record in step.labels:
        stores.labels.add(record.deployment, record.labels, received=record.received, clock=record.clock)
    for last in step.last.values():
        _set_clock(stores, last)
    for windows in step.windows:
        stores.windows.add(windows)
    for name, value in step.seen.items():
        stores.cursors.set(name, value)


def _set_clock(stores: Stores, record: Prediction | Tally) -> None:
    """A record whose deployment clock is not the wall clock comes from a replay, and its clock is the replay's."""
    name = f"replay/{record.deployment}"
    if abs(record.clock - record.received) <= SAME_CLOCK:
        stores.cursors.delete(name)
    elif record.clock > stores.cursors.get(name):
        stores.cursors.set(name, record.clock)


def _merged(windows: list[Window]) -> list[Window]:
    """One row per window before the database sees them: refusals come one by one."""
    by_name: dict[tuple[str, int], Window] = {}
    for window in windows:
        before = by_name.get((window.track, window.number))
        by_name[window.track, window.number] = merge(before, window) if before else window
    return list(by_name.values())
