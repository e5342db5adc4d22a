"""Tests that may be looked at after every window, for ever, without spending their guarantee.

Three pieces, all in the language of e-values (a bet against "nothing changed" whose expected value is at most 1):

*Predictive residuals.* A window's mean is compared with all earlier windows, whose own uncertainty is part of the
yardstick. Under exchangeable Gaussian windows the standardised prediction errors are exactly independent N(0,1), so the
error of the reference never accumulates, and day effects are variance instead of false alarms. Window means have
variance between + within/n_t, hence weighted least squares; strata (weekdays, say) are separate means with a common
variance.
`RunningReference` keeps the sums of that regression and `predictive_z` reads them.

*Row bets.* For rare shares and for disasters: every row is a bet that the mean exceeds a bound m that allows for the
reference's own error; the e-value of a window is a product over its rows, that is a dot product with its counts.

*Shiryaev-Roberts e-detector.* R_t = (R_{t-1} + dt) E_t sums the evidence over all possible change times. For any
mixture M of such R, E[M at a stopping time] <= E[time]: an alarm at M >= A means at least A years between false alarms
on average, whatever the dependence between columns, scores and bets. Kept as logarithms.

References: R. L. Brown, J. Durbin, J. M. Evans, "Techniques for testing the constancy of regression relationships over
time", JRSS B 37, 1975 (recursive residuals); I. Waudby-Smith and A. Ramdas, "Estimating means of bounded random
variables by betting", JRSS B 86, 2024; J. Shin, A. Ramdas, A. Rinaldo, "E-detectors", NEJSDS 2024; R. DerSimonian and
N. Laird, "Meta-analysis in clinical trials", 1986 (between-window variance).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from holdfast.stats.special import normal_from_t

__all__ = [
    "ROW_BETS",
    "WINDOW_BETS",
    "RunningReference",
    "between_variance",
    "log_row_bets",
    "log_sum_exp",
    "log_window_bets",
    "predictive_z",
    "shiryaev_roberts",
]

Floats = NDArray[np.float64]

_SIZES = np.array([0.25, 0.5, 1.0, 2.0, 3.0])  # shifts, in window sd, that the window bets are best against
_STAKES = np.array([0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32])  # row bets, in units of 1 / Var
_RUIN = 0.8  # no bet risks more than this share of its capital on one row
WINDOW_BETS = 2 * len(_SIZES)
ROW_BETS = len(_STAKES)
_ONE_STRANGE_WINDOW = 4.0
"""A window's bet counts no deviation beyond this many sd. Day effects are not Gaussian (holidays): uncut, one strange
day is a false alarm. True disasters in one window are the row bets' task; cutting keeps the bets e-values."""


@dataclass(frozen=True)
class RunningReference:
    """Sums of the weighted regression of window means on stratum: each (strata, monitors).

    `windows` counts, `weight` = sum 1/v, `first` = sum d/v, `second` = sum d^2/v, with d the deviation from the frozen
    reference mean. Plain sums: windows can be taken out again, when it turns out that an alarm's onset lay before them.
    """

    windows: Floats
    weight: Floats
    first: Floats
    second: Floats

    def plus(self, stratum: int, deviation: Floats, variance: Floats, take: NDArray[np.bool_]) -> RunningReference:
        """Return the sums with one more window in, for the monitors in `take`."""
        w = np.where(take, 1.0 / variance, 0.0)
        wd = w * deviation
        step = (take.astype(np.float64), w, wd, wd * deviation)
        return RunningReference(*(_added(sums, stratum, x) for sums, x in zip(self.parts, step, strict=True)))

    @property
    def parts(self) -> tuple[Floats, Floats, Floats, Floats]:
        """The four sums."""
        return self.windows, self.weight, self.first, self.second


def _added(sums: Floats, stratum: int, row: Floats) -> Floats:
    out = sums.copy()
    out[stratum] += row
    return out


def predictive_z(running: RunningReference, stratum: int, deviation: Floats, variance: Floats) -> Floats:
    """Standardised prediction error of one window: N(0,1) and independent over windows if nothing changed.

    NaN where the running reference has fewer than 3 windows to judge by.
    """
    used = running.weight > 0.0
    weight = np.where(used, running.weight, 1.0)
    rss = np.sum(np.where(used, running.second - running.first**2 / weight, 0.0), axis=0)
    df = running.windows.sum(axis=0) - used.sum(axis=0)
    here = used[stratum] & (df >= 2)
    spread = np.sqrt(np.maximum(rss, 1e-12) / np.maximum(df, 1.0) * (variance + 1.0 / weight[stratum]))
    t = (deviation - running.first[stratum] / weight[stratum]) / spread
    z = np.full(deviation.shape, np.nan)
    z[here] = normal_from_t(t[here], df[here])
    return z


def between_variance(y: Floats, n: Floats, within: Floats) -> Floats:
    """Variance of the windows' own means beyond sampling noise, per monitor (DerSimonian-Laird, cut at 0)."""
    rows = n.sum(axis=0)
    windows = np.count_nonzero(n, axis=0)
    mean = (n * y).sum(axis=0) / np.maximum(rows, 1.0)
    q = (n * (y - mean) ** 2).sum(axis=0)
    scale = rows - (n**2).sum(axis=0) / np.maximum(rows, 1.0)
    excess = (q - (windows - 1) * within) / np.where(scale > 0.0, scale, 1.0)
    return np.where((scale > 0.0) & (windows > 1), np.maximum(excess, 0.0), 0.0)


def log_window_bets(z: Floats) -> Floats:
    """Log e-values of bets on a shift of the windows' mean, up and down: (monitors, WINDOW_BETS); 0 where z is NaN."""
    safe = np.clip(np.nan_to_num(z), -_ONE_STRANGE_WINDOW, _ONE_STRANGE_WINDOW)[:, None]
    drift: Floats = safe * _SIZES
    toll = np.where(np.isnan(z), 0.0, 1.0)[:, None] * (0.5 * _SIZES**2)
    return np.concatenate([drift - toll, -drift - toll], axis=1)


def log_row_bets(scores: Floats, counted: NDArray[np.bool_], bound: Floats, variance: Floats) -> Floats:
    """Log payoff per row of bets that a score's mean exceeds `bound`: (monitors, ROW_BETS, bins); 0 for bins left out.

    A window's log e-value is the product with its counts. `bound` must be below 1.
    """
    stake = np.minimum(_STAKES / np.maximum(variance, 1e-12)[:, None], _RUIN / np.maximum(bound, 1e-12)[:, None])
    gain = np.where(counted, scores - bound[:, None], 0.0)
    return np.asarray(np.log1p(stake[:, :, None] * gain[:, None, :]))


def shiryaev_roberts(log_r: Floats, log_dt: float, log_e: Floats) -> Floats:
    """R_t = (R_{t-1} + dt) E_t, in logarithms."""
    return np.asarray(np.logaddexp(log_r, log_dt) + log_e)


def log_sum_exp(values: Floats, axis: int | None = None) -> Floats:
    """log(sum(exp(values))) without overflow; -inf for nothing."""
    if values.size == 0:
        return np.float64(-np.inf) + np.zeros(())
    top = np.max(values, axis=axis, keepdims=True)
    top = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        total = np.log(np.sum(np.exp(values - top), axis=axis, keepdims=True)) + top
    return np.asarray(np.squeeze(total, axis=axis))
