"""The frozen yardstick of a stream: what the reference says about every monitor before the first live window.

From the reference windows come each score's mean (per stratum where windows are stratified), the variance of single
rows and of whole windows, and the bounds that row bets are placed against: the reference's own error plus three
between-window standard deviations. `BetTables` turns them into the fixed matrices that a step multiplies counts with.

A score takes part in the window-level test only where its window mean is close to normal: at least 20 expected events
for a share, in general n / skewness^2 >= 20. Measured at an expected count of 0.5 a window, the normal form gives 15
times its stated false alarms; rarer things are left to the row bets, whose bound is Clopper and Pearson's.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from holdfast.stats.scores import ScoreTable
from holdfast.stats.sequential import ROW_BETS, WINDOW_BETS, between_variance, log_row_bets
from holdfast.stats.special import clopper_pearson_lower, clopper_pearson_upper, normal_quantile

__all__ = ["Baseline", "BetTables", "fit_baseline"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

_EVENTS = 20.0  # expected events a window from which a window mean counts as normal
_MIN_ROWS = 20.0  # the same for scores without skew
_UNLUCKY = 1e-3  # chance, over all monitors of a stream, that the reference was too unlucky for its row bounds
_BETWEEN_SD = 3.0  # a day this many between-window sd away is still an ordinary day for the row bets
_BOUND_LIMIT = 0.999  # no room for a bet above this
_RARE = 200.0  # events in the reference below which the exact bound differs from the normal one


@dataclass(frozen=True)
class Baseline:
    """Per monitor: mean (strata, monitors), row and window variances, bounds for row bets, rows a window needs."""

    mean: Floats
    within: Floats
    between: Floats
    wander: Floats
    """Between-window variance including the differences between strata."""
    upper: Floats
    lower: Floats
    need: Floats
    """Rows from which a window's mean is close to normal; half as many still count."""
    windowed: Flags
    """Whether the window-level test holds for the monitor's usual windows."""

    def variance(self, n: Floats) -> Floats:
        """Variance of the mean of a window of n rows."""
        return self.between + self.within / np.maximum(n, 1.0)

    def scale(self, n: Floats) -> Floats:
        """Standard deviation of a window of n rows around the frozen reference; 1 where nothing ever varied."""
        sd = np.sqrt(self.wander + self.within / np.maximum(n, 1.0))
        return np.where(sd > 0.0, sd, 1.0)

    def standardised(self, y: Floats, n: Floats) -> Floats:
        """Deviation from the frozen reference in window standard deviations; NaN where no row counted."""
        return np.where(n > 0, (y - self.mean[0]) / self.scale(n), np.nan)

    def replaced(self, other: Baseline, at: Flags) -> Baseline:
        """Return this yardstick with the monitors `at` taken from another one."""
        return Baseline(*(np.where(at, getattr(other, f.name), getattr(self, f.name)) for f in fields(self)))


def fit_baseline(table: ScoreTable, stacked: Floats, stratum: NDArray[np.intp], strata: int) -> Baseline:
    """Measure the reference windows (windows, columns, bins); `stratum` numbers each window's season from 0."""
    y, n = table.means(stacked)
    rows, pooled_mean, variance, skew = table.moments(stacked.sum(axis=0))
    hits = rows * pooled_mean
    share = (hits + 0.5) / (rows + 1.0)
    within = np.where(table.indicator, share * (1.0 - share), variance)
    mean = np.tile(pooled_mean, (strata, 1))
    for s in range(1, strata):
        got = n[stratum == s].sum(axis=0)
        mean[s] = np.where(got > 0, (n * y)[stratum == s].sum(axis=0) / np.maximum(got, 1.0), pooled_mean)
    wander = between_variance(y, n, within)
    between = wander if strata == 1 else between_variance(y - mean[stratum] + pooled_mean, n, within)

    windows = np.maximum(np.count_nonzero(n, axis=0), 1)
    noise = np.sqrt(within / np.maximum(rows, 1.0) + wander / windows)
    level = _UNLUCKY / (2 * len(rows))
    reach = normal_quantile(1.0 - level) * noise
    upper, lower = pooled_mean + reach, pooled_mean - reach
    rare = table.indicator & (np.minimum(hits, rows - hits) < _RARE)
    upper[rare] = np.maximum(upper[rare], clopper_pearson_upper(hits[rare], rows[rare], level))
    lower[rare] = np.minimum(lower[rare], clopper_pearson_lower(hits[rare], rows[rare], level))
    slack = _BETWEEN_SD * np.sqrt(wander)

    need = np.maximum(_MIN_ROWS, _EVENTS * np.where(np.isfinite(skew), skew, 0.0) ** 2)
    usual = np.array([np.median(column[column > 0]) if (column > 0).any() else 0.0 for column in n.T])
    windowed = (variance > 0.0) & (usual >= need)
    need = np.where(windowed, need, 1.0)
    return Baseline(mean, within, between, wander, upper + slack, lower - slack, need, windowed)


class BetTables:
    """The bets of every monitor against one yardstick: payoffs per bin and the weights that mix them.

    Bets per monitor: WINDOW_BETS on the window mean, then ROW_BETS that it rose and ROW_BETS that it fell.
    """

    def __init__(self, table: ScoreTable, baseline: Baseline) -> None:
        self._table = table
        self.baseline = baseline
        self.can_rise = (baseline.upper < _BOUND_LIMIT) & (baseline.within > 0.0)
        self.can_fall = (baseline.lower > 1.0 - _BOUND_LIMIT) & (baseline.within > 0.0)

    @cached_property
    def row_payoffs(self) -> Floats:
        """Log payoff per row and bin: (monitors, 2 * ROW_BETS, bins)."""
        t, b = self._table, self.baseline
        sides = []
        for scores, bound, open_ in (
            (t.scores, b.upper, self.can_rise),
            (1.0 - t.scores, 1.0 - b.lower, self.can_fall),
        ):
            safe = np.clip(np.where(open_, bound, 0.5), 1e-9, _BOUND_LIMIT)
            variance = np.where(t.indicator, safe * (1.0 - safe), b.within)
            sides.append(np.where(open_[:, None, None], log_row_bets(scores, t.counted, safe, variance), 0.0))
        return np.concatenate(sides, axis=1)

    @cached_property
    def mix(self) -> Floats:
        """Weight of each bet within its monitor: half on the window mean where that holds, else all on the rows."""
        sides = np.stack([self.can_rise, self.can_fall], axis=1).astype(np.float64)
        rows = np.repeat(sides / np.maximum(sides.sum(axis=1, keepdims=True), 1.0) / ROW_BETS, ROW_BETS, axis=1)
        windows = np.repeat(self.baseline.windowed[:, None] / WINDOW_BETS, WINDOW_BETS, axis=1)
        both = self.baseline.windowed & (sides.sum(axis=1) > 0)
        return np.concatenate([windows, rows], axis=1) * np.where(both, 0.5, 1.0)[:, None]
