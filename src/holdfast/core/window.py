"""A window: the counts of consecutive predictions of one release, mergeable by addition across workers and machines."""

from __future__ import annotations

from typing import Literal

import msgspec

from holdfast.stats.counts import Counts

__all__ = ["Stream", "Window", "merge"]

Stream = Literal["windows", "labels", "events"]
"""windows: inputs and output by event time; labels: loss and residual, cut in arrival order; events: the same by event time."""


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of one window of one release. (deployment, release, track, stream, number) names it; adding merges."""

    deployment: str
    release: str
    track: str
    stream: Stream
    number: int
    """Time windows: start // length. Count windows: 0, 1, 2 ... in log order."""
    start: int
    """Event time of its beginning (time windows) or of its first row, microseconds UTC."""
    end: int
    """End (time windows) or event time of its last row."""
    rows: int
    counts: bytes
    """`stats.counts.Counts.to_bytes()`."""
    sums: dict[str, float] = {}
    """Display sums: n, latency_us, refused, loss, loss2, residual, errors; added when windows merge."""
    late: int = 0


def merge(one: Window, other: Window) -> Window:
    """Both together: counts and sums added, start the least, end the largest. Commutative and associative."""
    sums = dict(one.sums)
    for name, value in other.sums.items():
        sums[name] = sums.get(name, 0.0) + value
    return msgspec.structs.replace(
        one,
        start=min(one.start, other.start),
        end=max(one.end, other.end),
        rows=one.rows + other.rows,
        late=one.late + other.late,
        counts=(Counts.from_bytes(one.counts) + Counts.from_bytes(other.counts)).to_bytes(),
        sums=sums,
    )
