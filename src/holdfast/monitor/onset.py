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
    from collections.abc import Callable, Sequence

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
    sd: npt.NDArray[np.float64]
    n_ref: int


class Onset(NamedTuple):
    """The change in event time, microseconds UTC."""

    at: int
    low: int
    high: int
    change: Change
    ramp_days: float | None


def timeline(
    panel: Panel,
    state: PanelState,
    profile: Profile,
    monitor: tuple[str, str],
    windows: Sequence[Window],
    decode: Callable[[bytes], Counts] = Counts.from_bytes,
) -> Timeline:
    """The series of one monitor (column, score) over the reference and these windows; windows without rows weigh nothing."""
    column, score = monitor
    labelled = any(s.name == column and stream_of(s) == "labels" for s in panel.specs)
    series = profile.labels if labelled else profile.windows
    live = sorted(windows, key=lambda w: w.number)
    counts = [*map(decode, series.counts), *(decode(w.counts) for w in live)]
    y, n, z, sd = panel.series(state, column, score, counts)
    starts = np.array([*series.starts, *(w.start for w in live)], dtype=np.int64)
    length = profile.rule.length_us
    ends = np.array([*(s + length for s in series.starts), *(w.end for w in live)], dtype=np.int64)
    line = Timeline(starts, ends, np.nan_to_num(y), n, z, sd, len(series.counts))
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
        np.insert(line.sd, at, 1.0),
        line.n_ref,
    )


def date_change(line: Timeline, *, end: int | None = None) -> Onset | None:
    """Onset with interval and shape; None while there is nothing to fit. `end`: event time from which it was over."""
    stop = None if end is None else int(np.searchsorted(line.starts, end))
    used = slice(line.n_ref, stop)
    if np.count_nonzero(line.n[: line.n_ref] > 0) < 3 or not (line.n[used] > 0).any():
        return None
    window = float(np.median(line.ends - line.starts))
    change = find_change(line.y, line.n, line.n_ref, end=stop, long_ramp=_long_ramp(window))
    days = change.ramp_length * window / DAY if change.ramp_length is not None else None
    # Windows of counted rows have gaps: the change may have come before the first row that shows it.
    low = min(int(line.starts[change.low]), int(line.ends[max(change.low - 1, 0)]))
    return Onset(int(line.starts[change.onset]), low, int(line.ends[change.high]), change, days)


def _long_ramp(window: float) -> int:
    """From how many windows on a ramp is not sudden: 14 days' worth of day windows, three weeks of longer ones."""
    return int(np.clip(round(21 * DAY / window), 3, 14))


def returned_at(line: Timeline, onset: Onset) -> int | None:
    """Event time from which the score was back at its reference, or None.

    Compares two stories by their likelihoods: the change lasts (the fitted curve, or a step at any time), and it lasted from
    some time to some other and everything since is back at the reference. A window weighs what its rows say, so that days of
    which few labels have arrived look neither moved nor back.
    """
    live = slice(line.n_ref, None)
    z, sd = np.clip(line.z[live], -50.0, 50.0), line.sd[live]
    seen = np.flatnonzero(~np.isnan(z) & (line.n[live] > 0))
    if len(seen) <= RETURN_WINDOWS:
        return None
    precision = np.append(0.0, np.cumsum(1.0 / sd[seen] ** 2))
    moved = np.append(0.0, np.cumsum(z[seen] / sd[seen]))
    steps = np.diff(precision) > 0
    lasting = _explained(moved[-1] - moved[:-1], precision[-1] - precision[:-1])[steps].max()
    # pulses[k, i]: moved from window i up to (not including) window k, back from window k on
    ends = np.arange(1, len(seen) - RETURN_WINDOWS + 1)
    pulses = _explained(moved[ends, None] - moved[None, :-1], precision[ends, None] - precision[None, :-1])
    back = np.where(np.arange(len(seen)) < ends[:, None], pulses, 0.0).max(axis=1)
    curve = _curve(onset.change, line.n_ref + seen)
    along = np.cumsum(z[seen] * curve / sd[seen])
    power = np.cumsum((curve / sd[seen]) ** 2)
    lasting = max(lasting, float(_explained(along[-1:], power[-1:])[0]))
    back = np.maximum(back, _explained(along[ends - 1], power[ends - 1]))
    best = int(np.argmax(back))
    if (back[best] - lasting) / 2.0 < RETURN_EVIDENCE:
        return None
    return int(line.starts[live][seen[ends[best]]])


def _explained(moved: npt.NDArray[np.float64], precision: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Reduction of the weighted sum of squares by the best height of a curve."""
    return np.divide(moved**2, precision, out=np.zeros_like(moved), where=precision > 0)


def _curve(change: Change, at: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """The fitted change, as a share of its size, at these windows."""
    return np.clip((at - change.onset + 1) / (change.ramp_length or 1), 0.0, 1.0)
