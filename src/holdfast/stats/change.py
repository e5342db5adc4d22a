"""When did a monitored value change, and was it sudden or gradual?

A monitor says *that* a column, the loss or the residual has moved. This module looks back over the window means (in
event time, everything since the reference began) and fits two stories by weighted least squares around a common
level: a *step* at tau, and a *ramp* clip((t - tau + 1) / L, 0, 1) that starts at tau and takes L windows. The scale
is frozen: how the windows of the reference differ among themselves. (Standardising with a running mean would let the
mean follow the change, and every step would look like a decay.) A window's variance is between + within / rows, so a
day of which few labels have arrived counts little and a day without any counts nothing.

The answer is an onset with an interval and a shape, which is "unknown" until the data tell:

* gradual: the best ramp beats the best step by more than `cutoff`, which a true step of the fitted size with that many
  windows after it exceeds in 5 % of simulations (the table below; tests/statistical re-simulates it).
* sudden: it is not gradual (or its ramp takes four windows at most: the first windows of a step may be mixed), and the
  step, or that ramp, beats every ramp of `long_ramp` windows or more by z(.95)^2 = 2.71. If a
  ramp is true and the step loses mu by it, the gain of the step is N(-mu, 4 mu), which exceeds 2.71 with a chance of
  at most 5 % for any mu.
* The interval holds every tau within 2 ln 20 of the best (a likelihood ratio of 20; a ramp's length is profiled out):
  of the ramps if gradual, of the step and of the short ramps that nobody can tell from it if sudden, of both while
  unknown.

Two scale factors keep this honest where windows are not independent with the reference's variance: the long-run
variance factor (1 + r) / (1 - r) of the reference's lag-1 autocorrelation r, where it is significant, and the
dispersion of the residuals around and after the change where it exceeds one (a unit change by a factor ten also
multiplies the noise).

References: Hinkley (1970) Inference about the change-point, Biometrika 57; Siegmund (1988) Confidence sets in
change-point problems, Int. Stat. Review 56; Hudson (1966) Fitting segmented curves, JASA 61.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

__all__ = ["RAMP_LENGTHS", "Change", "cutoff", "find_change"]

Floats = npt.NDArray[np.float64]
Shape = Literal["sudden", "gradual", "unknown"]

RAMP_LENGTHS: tuple[int, ...] = tuple(sorted({round(3 * (365 / 3) ** (k / 47)) for k in range(48)}))
"""Lengths tried, in windows: 3 to 365 in steps of about 11 %, so that the best is never far from the true one."""

LONG_RAMP = 14
"""Windows of a ramp that nobody would call sudden: two weeks of days."""
BRIEF = 4
"""Windows of a ramp that is a sudden change whose first windows are mixed, provided that long ramps are excluded."""
NEAR = 60
"""Windows before a change whose scatter counts: older wandering says little about what happened at the change."""
LIKELIHOOD_20 = 2 * math.log(20)
SUDDEN_GAIN = 2.71
BESIDE, FEWEST_BESIDE = 20, 10
"""Windows on either side of a change from which its local noise is estimated."""
MIN_CUTOFF = 2.0
"""A big step excludes all ramps, so its 5 % point is negative; real noise is not Gaussian: never less than this."""

# 95 % points of (best ramp - best step) in residual sum of squares over true steps: rows = size in window standard
# deviations, columns = windows after the change.
_SIZES = np.array([0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0])
_AFTER = np.array([2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 120.0, 240.0])
_CUTOFFS = np.array(
    [
        [0.17, 0.19, 0.22, 0.21, 0.16, 0.19, 0.46, 0.53],
        [0.51, 0.67, 0.74, 0.91, 1.17, 1.60, 1.51, 1.31],
        [0.89, 1.29, 1.56, 1.97, 1.91, 2.25, 2.20, 2.07],
        [1.35, 1.93, 2.26, 2.67, 2.35, 2.59, 2.51, 2.65],
        [2.25, 3.12, 3.42, 3.47, 3.10, 3.32, 3.24, 3.16],
        [2.97, 3.77, 3.76, 3.76, 3.57, 3.66, 3.99, 3.59],
        [2.60, 2.21, 2.14, 2.21, 2.12, 2.12, 2.20, 1.85],
        [0.12, -1.48, -1.46, -1.58, -1.68, -1.42, -1.57, -1.79],
    ]
)


@dataclass(frozen=True, slots=True)
class Change:
    """What the fit says about one change; indices count windows of the given series."""

    onset: int
    """First window of the change (a ramp: the first that it moves)."""
    low: int
    """First and last window at which the change may have begun."""
    high: int
    shape: Shape
    size: float
    """Signed distance from the old level at the end of the series, in sds of a typical reference window."""
    ramp_length: int | None
    """Gradual: how many windows the change took; where it has not visibly ended, how many at least."""
    ended: bool
    """Whether the new level has been reached: false while a gradual change still moves, or may still."""
    gap: float
    """By how much the best ramp beats the best step, in units of window variance; negative where the step is better."""
    cutoff: float
    """`gap` above this means gradual."""


@dataclass(frozen=True, slots=True)
class _Fit:
    """Reduction of the weighted residual sum of squares and fitted height, for each onset (rows: ramp lengths)."""

    reduction: Floats
    height: Floats


def find_change(
    y: npt.ArrayLike,
    n: npt.ArrayLike,
    n_ref: int,
    *,
    within: float | None = None,
    end: int | None = None,
    long_ramp: int = LONG_RAMP,
) -> Change:
    """Fit the one change after the reference: its onset with an interval, its shape and size.

    y, n: mean of the score and number of rows (labelled rows where labels are late) of each window in event time;
    windows with n = 0 are passed over. The first `n_ref` windows are the reference. `within`: variance of the score
    among the rows of a window, from the reference's counts; without it, it is estimated from reference windows of
    unequal size. `end`: the first window in which the value was back (a repaired feed); the fit stops before it.
    `long_ramp`: a change is sudden when ramps of at least so many windows are excluded; choose it by what a window
    lasts (a shorter ramp may still be called gradual, with its length, where it is seen clearly).

        >>> series = [0.0, 1.0, -1.0] * 20 + [6.0, 5.0, 7.0] * 10
        >>> change = find_change(series, [100] * 90, n_ref=45)
        >>> change.onset, change.shape
        (60, 'sudden')
    """
    last = len(np.asarray(y)) if end is None else end
    values, rows = np.array(y, dtype=float)[:last], np.array(n, dtype=float)[:last]
    used = rows > 0
    if values.shape != rows.shape or np.count_nonzero(used[:n_ref]) < 3 or not used[n_ref:].any():
        raise ValueError("a change needs at least three reference windows and one after them, with one row count each")
    values = np.where(used, values, 0.0)
    weights, moved, rho = _standardise(values, rows, n_ref, within)
    lengths = tuple(length for length in RAMP_LENGTHS if length <= max(28, 4 * (len(values) - n_ref)))
    step = _fit(moved, weights, n_ref, (1,))
    ramp = _fit(moved, weights, n_ref, lengths)
    spread = _dispersion(moved, weights, n_ref, step, ramp, lengths) * (1 + rho) / (1 - rho)
    local = min(spread, _local_spread(moved, weights, n_ref, step))
    return _decide(step, ramp, lengths, weights, n_ref, spread, local, np.array(lengths) >= max(long_ramp, 4))


def cutoff(size: float, after: float) -> float:
    """Gain of the best ramp that a true step of this size, with this many windows after it, exceeds in 5 % of cases."""
    across = [float(np.interp(math.log(max(after, 1.0)), np.log(_AFTER), row)) for row in _CUTOFFS]
    return max(MIN_CUTOFF, float(np.interp(abs(size), _SIZES, across)))


def _standardise(values: Floats, rows: Floats, n_ref: int, within: float | None) -> tuple[Floats, Floats, float]:
    """Weights (1 = a typical reference window), distances from the reference mean in its sd, lag-1 autocorrelation."""
    seen = rows[:n_ref] > 0
    y, n = values[:n_ref][seen], rows[:n_ref][seen]
    typical = float(np.median(n))
    between, within = _variances(y, n, typical, within)
    # A reference without any variation (a column never missing) still needs a scale: the dispersion corrects it.
    floor = max(1e-6 * float(np.max(np.abs(values - y.mean()))) ** 2, 1e-300)
    variance = np.maximum(between + within / np.maximum(rows, 1e-9), floor)
    scale = max(between + within / typical, floor)
    weights = np.where(rows > 0, scale / variance, 0.0)
    mean = float(np.average(y, weights=weights[:n_ref][seen]))
    moved = np.where(rows > 0, (values - mean) / math.sqrt(scale), 0.0)
    z = (moved * np.sqrt(weights))[:n_ref][seen]
    power = float(z @ z)
    rho = float(z[1:] @ z[:-1]) / power if power > 0 else 0.0
    return weights, moved, min(rho, 0.9) if rho > 1.645 / math.sqrt(len(z)) else 0.0


def _variances(y: Floats, n: Floats, typical: float, within: float | None) -> tuple[float, float]:
    """Between-window and within-window variance of the reference, by Gaussian likelihood.

    The variance of window t is between + within / n_t. Where `within` is known, between is the free part, never
    negative; otherwise total and share are both free (equal sizes do not tell them apart: all is then within, which
    gives windows with fewer rows, such as those whose labels are still arriving, the lower weight).
    """
    if within is None:
        shares = np.linspace(0.0, 1.0, 21)
        shapes = shares[:, None] + (1 - shares[:, None]) * typical / n
    else:
        total = max(float(np.var(y, ddof=1)), within / typical, 1e-300)
        grid = np.concatenate(([0.0], total * np.geomspace(0.01, 3.0, 40)))
        shapes = grid[:, None] + within / n
    shapes = np.maximum(shapes, 1e-300)
    mean = (y / shapes).sum(axis=1) / (1 / shapes).sum(axis=1)
    squares = ((y - mean[:, None]) ** 2 / shapes).sum(axis=1)
    # E[1/chi2] correction: an estimated variance is too small more often than too large.
    free = max(len(y) - 3, 1)
    if within is None:
        best = int(np.argmin(np.log(shapes).sum(axis=1) + len(y) * np.log(np.maximum(squares, 1e-300))))
        total = float(squares[best]) / free
        return float(shares[best]) * total, float(1 - shares[best]) * total * typical
    best = int(np.argmin(np.log(shapes).sum(axis=1) + squares * (len(y) - 1) / free))
    return float(grid[best]), within


def _fit(d: Floats, w: Floats, first: int, lengths: tuple[int, ...]) -> _Fit:
    """Least squares of level + height * clip((t - tau + 1) / L, 0, 1) for every tau >= first and every L at once.

    Sums over any stretch are differences of cumulative sums, so the whole grid costs O(windows x lengths).
    """
    t = np.arange(len(d), dtype=float)
    sums = np.zeros((5, len(d) + 1))
    np.cumsum(np.stack([w, w * t, w * t * t, w * d, w * d * t]), axis=1, out=sums[:, 1:])
    tau = np.arange(first, len(d))
    top = np.minimum(tau + np.array(lengths)[:, None] - 1, len(d))
    length = np.array(lengths, dtype=float)[:, None]
    rise, flat, offset = sums[:, top] - sums[:, tau][:, None, :], sums[:, -1][:, None, None] - sums[:, top], tau - 1.0
    f = (rise[1] - offset * rise[0]) / length + flat[0]
    ff = (rise[2] - 2 * offset * rise[1] + offset**2 * rise[0]) / length**2 + flat[0]
    fd = (rise[4] - offset * rise[3]) / length + flat[3]
    weight, total = sums[0, -1], sums[3, -1]
    covariance, variance = fd - f * total / weight, ff - f * f / weight
    seen = variance > 1e-9
    height = np.divide(covariance, variance, out=np.zeros_like(f), where=seen)
    return _Fit(reduction=np.where(seen, covariance * height, 0.0), height=height)


def _local_spread(d: Floats, w: Floats, first: int, step: _Fit) -> float:
    """Upper 95 % limit of the noise variance around the best step, its own lag-1 correlation included.

    Where a reference wanders slowly (a season), its variance says little about what a few weeks look like: whether a
    change took weeks or a day is judged by how windows differ from their neighbours.
    """
    column = int(np.argmax(step.reduction[0]))
    tau = first + column
    parts = []
    for part in (slice(max(tau - BESIDE, 0), tau), slice(tau, tau + BESIDE)):
        seen = w[part] > 0
        if np.count_nonzero(seen) < FEWEST_BESIDE:
            return math.inf
        away = d[part][seen] - np.average(d[part][seen], weights=w[part][seen])
        parts.append(away * np.sqrt(w[part][seen]))
    free = sum(map(len, parts)) - 2
    power = sum(float(p @ p) for p in parts)
    r = sum(float(p[1:] @ p[:-1]) for p in parts) / power if power > 0 else 0.0
    r = min(r, 0.9) if r > 1.645 / math.sqrt(free) else 0.0
    # Wilson & Hilferty (1931): the 5 % point of chi-squared.
    low = free * (1 - 2 / (9 * free) - 1.645 * math.sqrt(2 / (9 * free))) ** 3
    return max(power / low * (1 + r) / (1 - r), 1e-12)


def _dispersion(d: Floats, w: Floats, first: int, step: _Fit, ramp: _Fit, lengths: tuple[int, ...]) -> float:
    """Variance of the better fit's residuals shortly before and after the change, where it clearly exceeds one."""
    better, trial = (step, (1,)) if step.reduction.max() >= ramp.reduction.max() else (ramp, lengths)
    row, column = np.unravel_index(int(np.argmax(better.reduction)), better.reduction.shape)
    tau = first + int(column)
    rest = d - better.height[row, column] * np.clip((np.arange(len(d)) - tau + 1) / trial[int(row)], 0, 1)
    spread = 1.0
    for part in (slice(max(tau - NEAR, 0), tau), slice(tau, None)):
        free = np.count_nonzero(w[part]) - 3
        if free > 0:
            away = rest[part] - np.average(rest[part], weights=w[part])
            found = float(w[part] @ away**2) / free
            spread = max(spread, found if found > 1 + 1.645 * math.sqrt(2 / free) else 1.0)
    return spread


def _decide(
    step: _Fit,
    ramp: _Fit,
    lengths: tuple[int, ...],
    weights: Floats,
    first: int,
    spread: float,
    local: float,
    long: npt.NDArray[np.bool_],
) -> Change:
    """Shape, interval and size from the two fits, all in units of the (spread) window variance."""
    steps, ramps = step.reduction[0] / spread, ramp.reduction.max(axis=0) / spread
    row, column = (int(k) for k in np.unravel_index(int(np.argmax(ramp.reduction)), ramp.reduction.shape))
    at = int(np.argmax(steps))
    gap = float(ramps.max() - steps.max())
    limit = cutoff(float(step.height[0, at]) / math.sqrt(spread), float(weights[first + at :].sum()))
    clear = float(step.reduction.max() - ramp.reduction[long].max()) / local > SUDDEN_GAIN
    # A window that straddles a sudden change, or two, looks like a very short ramp.
    brief = lengths[row] <= BRIEF and float(ramps.max() - ramp.reduction[long].max() / spread) > SUDDEN_GAIN
    shape: Shape = "gradual" if gap > limit and not brief else "sudden" if clear or brief else "unknown"
    best = max(steps.max(), ramps.max())
    near_step, near_ramp = steps >= steps.max() - LIKELIHOOD_20, ramps >= ramps.max() - LIKELIHOOD_20
    near_short = ramp.reduction[~long].max(axis=0) / spread >= best - LIKELIHOOD_20
    near = {"sudden": near_step | near_short, "gradual": near_ramp, "unknown": near_step | near_ramp}[shape]
    inside = first + np.flatnonzero(near)
    gradual = shape == "gradual" or (shape == "unknown" and gap > 0)
    length, windows = lengths[row], len(weights)
    reach = min((windows - first - column) / length, 1.0)
    # The change may still move where some ramp that has not reached its top fits about as well as the best.
    open_ramps = ramp.reduction / spread >= ramps.max() - LIKELIHOOD_20
    tops = first + np.arange(open_ramps.shape[1]) + np.array(lengths)[:, None] - 1
    moving = shape != "sudden" and bool((open_ramps & (tops >= windows)).any())
    return Change(
        onset=first + (column if gradual else at),
        low=int(inside[0]),
        high=int(inside[-1]),
        shape=shape,
        size=float(ramp.height[row, column]) * reach if gradual else float(step.height[0, at]),
        ramp_length=min(length, windows - first - column) if shape == "gradual" else None,
        ended=not moving,
        gap=gap,
        cutoff=limit,
    )
