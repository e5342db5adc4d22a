"""Looking through the log's tail without decoding what is not wanted: by what the records' bytes contain, or by their heads.

Nearly all of a segment is whole frames, one behind the other, which are stepped over by their lengths. Where that ends the
log's own reader goes on; it also has the last word about every record that is told.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec

from holdfast.core.prediction import Head, Prediction, Record
from holdfast.predictions import log as wal

__all__ = ["Place", "containing", "newest", "places", "record_at"]


class _Timed(Head, frozen=True, array_like=True, tag="p", gc=False):
    """A `Prediction` as far as its times."""

    times: list[int] | None


class Place(NamedTuple):
    """Where the record of an answered request stands; sorts by its newest event time."""

    newest: int
    deployment: str
    segment: wal.Segment
    start: int
    end: int


_TIMED: Final = msgspec.msgpack.Decoder(_Timed)


def containing(segment: wal.Segment, needle: bytes) -> Iterator[Record]:
    """The records whose bytes contain the needle."""
    data = _mapped(segment)
    if (hit := data.find(needle)) < 0:
        return
    for start, end in _frames(segment, data):
        if hit < start:
            hit = data.find(needle, start)
        if hit < 0:
            return
        if hit < end and (found := wal.record_in(data[start:end])):
            yield found


def places(segment: wal.Segment) -> Iterator[Place]:
    """Where the records of answered requests are, by their heads."""
    data = _mapped(segment)
    for start, end in _frames(segment, data):
        try:
            head = _TIMED.decode(data[start + wal.HEAD : end])
        except msgspec.DecodeError:  # another kind of record, or a damaged one
            continue
        yield Place(newest(head), head.deployment, segment, start, end)


def record_at(place: Place) -> Prediction | None:
    """What stands there; None if it is damaged, or was archived meanwhile."""
    found = wal.record_in(_mapped(place.segment)[place.start : place.end])
    return found if isinstance(found, Prediction) else None


def newest(record: Prediction | _Timed) -> int:
    """The largest event time of its rows."""
    return max(record.times) if record.times else record.clock


def _mapped(segment: wal.Segment) -> mmap.mmap | bytes:
    try:
        with segment.path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (FileNotFoundError, ValueError):  # archived meanwhile; or empty, which can't be mapped
        return b""


def _frames(segment: wal.Segment, data: mmap.mmap | bytes) -> Iterator[tuple[int, int]]:
    at = 0
    for place in wal.plain_frames(data):
        yield place
        at = place[1]
    while at < len(data) and (part := wal.read(segment, at, complete=True)).end > at:
        yield from ((entry.start, entry.end) for entry in part.entries)
        at = part.end
