"""Every number that Holdfast shows about quality comes with an interval; this is where the intervals are made.

Each function returns an `Estimate`: the value, its interval, the units that it rests on and the method by name.
Choose by what varies independently: rows (`mean`, `proportion`, `auc`), pairs of rows (`paired_difference`: two
models on the same rows), or whole windows when the rows of a day resemble one another (`clusters=`: the windows are
then the units, and an interval from rows would be far too short). Intervals that are looked at again and again, as
data arrive, need `bounded_mean`, which holds at all times at once, and two releases side by side are compared with
`worse_evidence`, an e-value that may be watched daily.

References: Wilson (1927) JASA 22; Newcombe (1998) Stat. Med. 17 (method 10); DeLong, DeLong and Clarke-Pearson (1988)
Biometrics 44, computed by mid-ranks as in Sun and Xu (2014) IEEE SPL 21; Efron (1987) Better bootstrap confidence
intervals, JASA 82; Liang and Zeger (1986) Biometrika 73 for clusters; Waudby-Smith and Ramdas (2024) Estimating means
of bounded random variables by betting, JRSS-B 86, theorem 2; Turner, Ly and Grünwald (2024) Generic E-variables for
exact sequential k-sample tests, JSPI 230.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from holdfast.stats.special import normal_from_t, normal_quantile

__all__ = [
    "Estimate",
    "auc",
    "bootstrap",
    "bounded_mean",
    "bounded_mean_path",
    "mean",
    "paired_difference",
    "paired_proportions",
    "proportion",
    "proportion_difference",
    "ratio",
    "t_quantile",
    "worse_evidence",
]

Floats = npt.NDArray[np.float64]

ODDS = (1.25, 1.5, 2.0, 3.0, 6.0)
"""Error odds of a canary against live's on which `worse_evidence` bets."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its interval; `low` and `high` are NaN where too few units allow none."""

    value: float
    low: float
    high: float
    n: int
    """Independent units: rows, pairs, or windows where the method says so."""
    level: float
    method: str


@lru_cache(maxsize=1024)
def t_quantile(p: float, df: float) -> float:
    """Quantile of Student's t, by bisection on its exact map to the normal; |result| <= 1e6."""
    if p < 0.5:
        return -t_quantile(1.0 - p, df)
    goal, low, high = normal_quantile(p), 0.0, 1e6
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if float(normal_from_t(middle, df)) < goal else (low, middle)
    return (low + high) / 2


def proportion(hits: float, n: int, *, level: float = 0.95) -> Estimate:
    """Wilson's score interval for a share.

    >>> estimate = proportion(0, 10)
    >>> estimate.value, estimate.low, round(estimate.high, 3)
    (0.0, 0.0, 0.278)
    """
    if n <= 0:
        return Estimate(math.nan, math.nan, math.nan, 0, level, "Wilson")
    low, high = _wilson(hits, n, level)
    return Estimate(hits / n, low, high, n, level, "Wilson")


def _wilson(hits: float, n: int, level: float) -> tuple[float, float]:
    z, p = normal_quantile((1 + level) / 2), hits / n
    centre, width = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low, high = (centre - width) / (1 + z * z / n), (centre + width) / (1 + z * z / n)
    return (0.0 if hits == 0 else max(low, 0.0)), (1.0 if hits == n else min(high, 1.0))


def proportion_difference(hits_a: float, n_a: int, hits_b: float, n_b: int, *, level: float = 0.95) -> Estimate:
    """Share a minus share b of two independent samples, by Newcombe's hybrid of the two Wilson intervals."""
    if min(n_a, n_b) <= 0:
        return Estimate(math.nan, math.nan, math.nan, 0, level, "Newcombe")
    a, b = hits_a / n_a, hits_b / n_b
    (low_a, high_a), (low_b, high_b) = _wilson(hits_a, n_a, level), _wilson(hits_b, n_b, level)
    low, high = math.hypot(a - low_a, high_b - b), math.hypot(high_a - a, b - low_b)
    return Estimate(a - b, a - b - low, a - b + high, n_a + n_b, level, "Newcombe")


def ratio(
    top: npt.ArrayLike, bottom: npt.ArrayLike, *, clusters: npt.ArrayLike | None = None, level: float = 0.95
) -> Estimate:
    """sum(top) / sum(bottom) with a linearised t interval; a mean is the ratio with ones below.

    With `clusters` (a window id for each row) whole windows are the units, whatever their sizes.
    """
    a, b = np.array(top, dtype=float), np.array(bottom, dtype=float)
    method = "t by rows" if clusters is None else "t by windows"
    if clusters is not None:
        index = np.unique(np.asarray(clusters), return_inverse=True)[1]
        a, b = np.bincount(index, weights=a), np.bincount(index, weights=b)
    n, below = len(a), float(b.sum())
    if n == 0 or below == 0.0:
        return Estimate(math.nan, math.nan, math.nan, n, level, method)
    value = float(a.sum()) / below
    if n == 1:
        return Estimate(value, math.nan, math.nan, n, level, method)
    spread = math.sqrt(n / (n - 1) * float(np.sum((a - value * b) ** 2))) / abs(below)
    width = t_quantile((1 + level) / 2, n - 1) * spread
    return Estimate(value, value - width, value + width, n, level, method)


def mean(values: npt.ArrayLike, *, clusters: npt.ArrayLike | None = None, level: float = 0.95) -> Estimate:
    """Mean with Student's t interval, by rows or (with `clusters`) by windows."""
    x = np.array(values, dtype=float)
    return ratio(x, np.ones_like(x), clusters=clusters, level=level)


def paired_difference(
    a: npt.ArrayLike, b: npt.ArrayLike, *, clusters: npt.ArrayLike | None = None, level: float = 0.95
) -> Estimate:
    """Mean of a - b where both were measured on the same rows (two models' losses)."""
    return mean(np.array(a, dtype=float) - np.array(b, dtype=float), clusters=clusters, level=level)


def paired_proportions(gained: int, lost: int, n: int, *, level: float = 0.95) -> Estimate:
    """Difference of two shares on the same `n` rows, of which `gained` are hits of the first only and `lost` of the second only.

    Adjusted Wald: one more of each disagreement, so that an interval has a width even where all rows agree (D. G. Bonett and
    R. M. Price, Journal of Educational and Behavioral Statistics 37(4), 2012).

    >>> estimate = paired_proportions(6, 2, 1000)
    >>> estimate.value, round(estimate.low, 4), round(estimate.high, 4)
    (0.004, -0.0022, 0.0102)
    """
    if n <= 0:
        return Estimate(math.nan, math.nan, math.nan, 0, level, "Bonett-Price")
    more, fewer, rows = (gained + 1) / (n + 2), (lost + 1) / (n + 2), n + 2
    centre = more - fewer
    width = normal_quantile((1 + level) / 2) * math.sqrt(max(more + fewer - centre**2, 0.0) / rows)
    low, high = max(centre - width, -1.0), min(centre + width, 1.0)
    return Estimate((gained - lost) / n, low, high, n, level, "Bonett-Price")


def bootstrap(
    statistic: Callable[..., float],
    *columns: npt.ArrayLike,
    rng: np.random.Generator,
    level: float = 0.95,
    draws: int = 1000,
) -> Estimate:
    """Efron's BCa interval of any statistic of rows; the acceleration comes from leaving out one of 200 groups."""
    data = [np.asarray(c) for c in columns]
    n = len(data[0])
    if n < 2:
        raise ValueError("a bootstrap needs at least two rows")
    value = float(statistic(*data))
    picks = (rng.integers(0, n, size=n) for _ in range(draws))
    sample = np.sort([float(statistic(*(c[pick] for c in data))) for pick in picks])
    groups = min(n, 200)
    group = rng.permutation(n) * groups // n
    left_out = np.array([float(statistic(*(c[group != g] for c in data))) for g in range(groups)])
    pull = left_out.mean() - left_out
    power = float(np.sum(pull**2)) ** 1.5
    acceleration = float(np.sum(pull**3)) / (6 * power) if power > 0 else 0.0
    below = (np.count_nonzero(sample < value) + np.count_nonzero(sample == value) / 2) / draws
    bias = normal_quantile(min(max(below, 0.5 / draws), 1 - 0.5 / draws))
    ends = []
    for side in ((1 - level) / 2, (1 + level) / 2):
        z = bias + normal_quantile(side)
        ends.append(0.5 * math.erfc(-(bias + z / (1 - acceleration * z)) / math.sqrt(2)))
    low, high = (float(q) for q in np.quantile(sample, ends))
    return Estimate(value, low, high, n, level, "BCa bootstrap")


def auc(y: npt.ArrayLike, score: npt.ArrayLike, *, level: float = 0.95) -> Estimate:
    """Area under the ROC curve with DeLong's variance, on the logit scale so that the interval stays inside 0 to 1.

    Perfect separation has no variance: there the interval is Wilson's for as many rows as the smaller class has.
    """
    truth, s = np.asarray(y).astype(bool), np.array(score, dtype=float)
    high_rows, low_rows = s[truth], s[~truth]
    m, n = len(high_rows), len(low_rows)
    if min(m, n) == 0:
        return Estimate(math.nan, math.nan, math.nan, m + n, level, "DeLong")
    everywhere = _midranks(np.concatenate([high_rows, low_rows]))
    wins = (everywhere[:m] - _midranks(high_rows)) / n
    losses = 1 - (everywhere[m:] - _midranks(low_rows)) / m
    value = float(wins.mean())
    if min(m, n) < 2:
        return Estimate(value, math.nan, math.nan, m + n, level, "DeLong")
    spread = math.sqrt(float(wins.var(ddof=1)) / m + float(losses.var(ddof=1)) / n)
    if spread == 0.0 or not 0.0 < value < 1.0:
        low, high = _wilson(value * min(m, n), min(m, n), level)
        return Estimate(value, low, high, m + n, level, "Wilson, no variance")
    logit, width = math.log(value / (1 - value)), normal_quantile((1 + level) / 2) * spread / (value * (1 - value))
    low, high = (1 / (1 + math.exp(-min(max(at, -700.0), 700.0))) for at in (logit - width, logit + width))
    return Estimate(value, low, high, m + n, level, "DeLong")


def _midranks(x: Floats) -> Floats:
    """Ranks from 1, ties sharing their middle rank."""
    _, index, count = np.unique(x, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    ranks: Floats = (last - (count - 1) / 2)[index]
    return ranks


def bounded_mean_path(
    values: npt.ArrayLike, *, low: float = 0.0, high: float = 1.0, level: float = 0.95
) -> tuple[Floats, Floats]:
    """Lower and upper limit after each row, right at *all* times at once with chance `level`.

    Predictable plug-in empirical Bernstein confidence sequence: it needs no distribution, only that every value lies
    between `low` and `high` and that the conditional mean stays put. Limits never widen again (running intersection).
    """
    x = (np.array(values, dtype=float) - low) / (high - low)
    if x.size and (x.min() < 0.0 or x.max() > 1.0):
        raise ValueError(f"values leave the stated range {low} to {high}")
    t = np.arange(1, len(x) + 1)
    average = (0.5 + np.cumsum(x)) / (t + 1)
    variance = (0.25 + np.cumsum((x - average) ** 2)) / (t + 1)
    before, spread = np.r_[0.5, average][:-1], np.r_[0.25, variance][:-1]
    budget = math.log(2 / (1 - level))
    bets = np.minimum(np.sqrt(2 * budget / (spread * t * np.log1p(t))), 0.5)
    cost = (x - before) ** 2 * (-np.log1p(-bets) - bets)
    total = np.cumsum(bets)
    centre, width = np.cumsum(bets * x) / total, (budget + np.cumsum(cost)) / total
    lower = np.maximum.accumulate(np.maximum(centre - width, 0.0))
    upper = np.minimum.accumulate(np.minimum(centre + width, 1.0))
    return low + (high - low) * lower, low + (high - low) * upper


def bounded_mean(values: npt.ArrayLike, *, low: float = 0.0, high: float = 1.0, level: float = 0.95) -> Estimate:
    """Mean of bounded values with the limits that `bounded_mean_path` reaches at the last row: fit for daily looks."""
    x = np.array(values, dtype=float)
    method = "empirical Bernstein, any time"
    if not len(x):
        return Estimate(math.nan, low, high, 0, level, method)
    lower, upper = bounded_mean_path(x, low=low, high=high, level=level)
    return Estimate(float(x.mean()), float(lower[-1]), float(upper[-1]), len(x), level, method)


def worse_evidence(errors_a: npt.ArrayLike, n_a: npt.ArrayLike, errors_b: npt.ArrayLike, n_b: npt.ArrayLike) -> Floats:
    """Log e-value after each block that a errs *more often* than b; act at ln(1 / alpha), whenever that is.

    Blocks are stretches of traffic, in order, in which a (the canary) made `errors_a` errors in `n_a` rows and b (live)
    `errors_b` in `n_b`. Bets that a's odds of an error are `ODDS` times b's are mixed; b's rate is taken from earlier
    blocks alone, so the first one bets nothing. If a's rate is at most b's, the chance of ever reaching ln(1 / alpha)
    is at most alpha (Ville), whatever the rates are and however they drift together.
    """
    ea, na, eb, nb = (np.array(v, dtype=float) for v in (errors_a, n_a, errors_b, n_b))
    rows, errors = (np.r_[0.0, np.cumsum(v)][:-1] for v in (na + nb, ea + eb))
    b = (0.5 + errors) / (1.0 + rows)
    odds = np.array(ODDS)[:, None] * b / (1 - b)
    a = odds / (1 + odds)
    common = (na * a + nb * b) / np.maximum(na + nb, 1.0)
    bet = (rows > 0) & (na > 0) & (nb > 0)
    common = np.where(bet, common, 0.5)
    gain = ea * np.log(a / common) + (na - ea) * np.log((1 - a) / (1 - common))
    gain += eb * np.log(b / common) + (nb - eb) * np.log((1 - b) / (1 - common))
    total: Floats = np.logaddexp.reduce(np.cumsum(np.where(bet, gain, 0.0), axis=1), axis=0) - math.log(len(ODDS))
    return total
