"""Since when, and is it over? Fitted on event-time windows, all since the reference, whatever order labels came in.

Arrival order decides when a labelled monitor alarms; fitting dates in arrival order would call every step gradual.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from holdfast.core.profile import DAY
from holdfast.stats.change import Change, find_change
from holdfast.stats.counts import Counts
from holdfast.stats.panel import stream_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from holdfast.core.profile import Profile
    from holdfast.core.window import Window
    from holdfast.stats.panel import Panel, PanelState

__all__ = ["Onset", "Timeline", "date_change", "returned_at", "timeline"]

RETURN_EVIDENCE = float(np.log(1000.0))
"""The values are back when that is 1000 times likelier than that they stay where the alarm found them."""
RETURN_WINDOWS = 2
"""One window back may be a hole in the fault."""


class Timeline(NamedTuple):
    """A score by event time: the reference windows first, then the live ones."""

    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    y: npt.NDArray[np.float64]
    n: npt.NDArray[np.float64]
    z: npt.NDArray[np.float64]
    n_ref: int


class Onset(NamedTuple):
    """The change in event time, microseconds UTC."""

    at: int
    low: int
    high: int
    change: Change
    ramp_days: float | None


def timeline(
    panel: Panel, state: PanelState, profile: Profile, monitor: tuple[str, str], windows: Sequence[Window]
) -> Timeline:
    """The series of one monitor (column, score) over the reference and these windows; windows without rows weigh nothing."""
    column, score = monitor
    labelled = any(s.name == column and stream_of(s) == "labels" for s in panel.specs)
    series = profile.labels if labelled else profile.windows
    live = sorted(windows, key=lambda w: w.number)
    counts = [*(Counts.from_bytes(c) for c in series.counts), *(Counts.from_bytes(w.counts) for w in live)]
    y, n, z = panel.series(state, column, score, counts)
    starts = np.array([*series.starts, *(w.start for w in live)], dtype=np.int64)
    length = profile.rule.length_us
    ends = np.array([*(s + length for s in series.starts), *(w.end for w in live)], dtype=np.int64)
    line = Timeline(starts, ends, np.nan_to_num(y), n, z, len(series.counts))
    return _fill_gap(line, length) if profile.rule.kind == "time" else line


def _fill_gap(line: Timeline, length: int) -> Timeline:
    """Put weightless windows between reference and live traffic, so that a ramp's length is counted in time."""
    if line.n_ref in (0, len(line.starts)):
        return line
    first, last = int(line.starts[line.n_ref]), int(line.ends[line.n_ref - 1])
    starts = np.arange(last, first - length // 2, length, dtype=np.int64)[:2000]
    at = [line.n_ref] * len(starts)
    return Timeline(
        np.insert(line.starts, at, starts),
        np.insert(line.ends, at, starts + length),
        np.insert(line.y, at, 0.0),
        np.insert(line.n, at, 0.0),
        np.insert(line.z, at, np.nan),
        line.n_ref,
    )


def date_change(line: Timeline, *, end: int | None = None) -> Onset | None:
    """Onset with interval and shape; None while there is nothing to fit. `end`: event time from which it was over."""
    stop = None if end is None else int(np.searchsorted(line.starts, end))
    used = slice(line.n_ref, stop)
    if np.count_nonzero(line.n[: line.n_ref] > 0) < 3 or not (line.n[used] > 0).any():
        return None
    change = find_change(line.y, line.n, line.n_ref, end=stop)
    window = float(np.median(line.ends - line.starts))
    days = change.ramp_length * window / DAY if change.ramp_length is not None else None
    return Onset(
        int(line.starts[change.onset]), int(line.starts[change.low]), int(line.ends[change.high]), change, days
    )


def returned_at(line: Timeline, since: int) -> int | None:
    """Event time from which the score was back at its reference, or None.

    Compares, for every tail of the windows since the onset, "back at 0" with "still at the level of the alarm" (the median z
    since then) by their likelihoods under unit variance.
    """
    first = int(np.searchsorted(line.starts, since))
    z = np.clip(line.z[first:], -50.0, 50.0)
    seen = ~np.isnan(z) & (line.n[first:] > 0)
    z, starts = z[seen], line.starts[first:][seen]
    if len(z) < RETURN_WINDOWS + 1:
        return None
    level = _level(z)
    gains = ((z - level) ** 2 - z**2) / 2.0
    tails = np.cumsum(gains[::-1])[::-1]
    at = int(np.argmax(tails))
    if at == 0 or len(z) - at < RETURN_WINDOWS or tails[at] < RETURN_EVIDENCE:
        return None
    return int(starts[at])


def _level(z: npt.NDArray[np.float64]) -> float:
    """Where the alarm found the values: the median of the first ten windows since the onset."""
    return float(np.median(z[:10]))
