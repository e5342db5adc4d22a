"""The few special functions that the monitors need, in numpy alone.

A server host carries no SciPy, so the functions that the sequential tests lean on live here: Student's t mapped to the
standard normal (so that a window judged against an *estimated* variance is still an exact normal deviate under no
change), the regularised incomplete beta function, and the Clopper-Pearson bounds of a share. The tests compare each of
them with SciPy.

References: G. W. Hill, "Algorithm 395: Student's t-distribution", CACM 13(10), 1970; DLMF 8.17.22 (continued fraction
of the incomplete beta function), evaluated by the modified Lentz method; C. J. Clopper and E. S. Pearson, "The use of
confidence or fiducial limits", Biometrika 26, 1934.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Z_LIMIT", "beta_cdf", "clopper_pearson_lower", "clopper_pearson_upper", "normal_from_t", "normal_quantile"]

Floats = NDArray[np.float64]

Z_LIMIT = 8.0
"""|z| is cut here: beyond it the normal tail is 6e-16, and no bet may rest on the shape of a tail that far out."""

_HILL_FROM = 60.0  # degrees of freedom above which Hill's series is good to 3e-9 for |z| <= 8
_STANDARD = NormalDist()


def normal_quantile(p: float) -> float:
    """Return the z with P(N(0,1) <= z) = p (Wichura's AS 241, in the standard library)."""
    return _STANDARD.inv_cdf(p)


def normal_from_t(t: ArrayLike, df: ArrayLike) -> Floats:
    """Map Student's t with `df` degrees of freedom to the normal deviate of the same tail probability, cut at +-8."""
    finite = np.clip(np.asarray(t, dtype=np.float64), -1e100, 1e100)  # squares stay finite
    t, df = np.broadcast_arrays(finite, np.asarray(df, dtype=np.float64))
    a = df - 0.5
    b = 48.0 * a * a
    y = a * np.log1p(t * t / df)
    series = (((-0.4 * y - 3.3) * y - 24.0) * y - 85.5) / (0.8 * y * y + 100.0 + b)
    size = ((series + y + 3.0) / b + 1.0) * np.sqrt(y)
    few = df < _HILL_FROM
    if few.any():
        size = np.array(size)
        size[few] = [_exact_size(x, v) for x, v in zip(t[few].tolist(), df[few].tolist(), strict=True)]
    return np.asarray(np.copysign(np.minimum(size, Z_LIMIT), t))


def _exact_size(t: float, df: float) -> float:
    """|z| of one t, from its tail probability itself: P(|T| > t) = I_{df/(df+t^2)}(df/2, 1/2)."""
    tail = 0.5 * float(beta_cdf(df / (df + t * t), df / 2.0, 0.5)) if t else 0.5
    return -_STANDARD.inv_cdf(tail) if tail > 1e-300 else Z_LIMIT


def beta_cdf(x: ArrayLike, a: ArrayLike, b: ArrayLike) -> Floats:
    """Regularised incomplete beta function I_x(a, b), elementwise."""
    x, a, b = (np.array(v) for v in np.broadcast_arrays(*(np.asarray(v, dtype=np.float64) for v in (x, a, b))))
    swap = x > (a + 1.0) / (a + b + 2.0)  # where the fraction converges fast
    xs, as_, bs = np.where(swap, 1.0 - x, x), np.where(swap, b, a), np.where(swap, a, b)
    with np.errstate(divide="ignore", invalid="ignore"):
        front = np.exp(as_ * np.log(xs) + bs * np.log1p(-xs) - _log_beta(as_, bs)) / as_
    value = np.where(xs <= 0.0, 0.0, front * _beta_fraction(np.clip(xs, 1e-300, 1.0), as_, bs))
    return np.asarray(np.where(swap, 1.0 - value, value))


def _log_beta(a: Floats, b: Floats) -> Floats:
    flat = [math.lgamma(u) + math.lgamma(v) - math.lgamma(u + v) for u, v in zip(a.flat, b.flat, strict=True)]
    return np.array(flat).reshape(a.shape)


def _beta_fraction(x: Floats, a: Floats, b: Floats) -> Floats:
    tiny = 1e-300
    c = np.ones_like(x)
    d = 1.0 - (a + b) * x / (a + 1.0)
    d = 1.0 / np.where(np.abs(d) < tiny, tiny, d)
    value = d.copy()
    for m in range(1, 10_000):
        for top in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1.0 + top * d
            d = 1.0 / np.where(np.abs(d) < tiny, tiny, d)
            c = 1.0 + top / c
            c = np.where(np.abs(c) < tiny, tiny, c)
            value *= c * d
        if np.all(np.abs(c * d - 1.0) < 1e-14):
            break
    return value


def clopper_pearson_upper(hits: ArrayLike, trials: ArrayLike, level: float) -> Floats:
    """Upper bound of a share that is too low with probability at most `level`: P(Bin(n, bound) <= k) = level.

    The cost grows with the hits: made for rare things.
    """
    k, n = np.broadcast_arrays(np.asarray(hits, dtype=np.float64), np.asarray(trials, dtype=np.float64))
    return np.asarray(np.where(k >= n, 1.0, _share_with_tail(k, n, level)))


def clopper_pearson_lower(hits: ArrayLike, trials: ArrayLike, level: float) -> Floats:
    """Lower bound of a share that is too high with probability at most `level`: P(Bin(n, bound) >= k) = level."""
    k, n = np.broadcast_arrays(np.asarray(hits, dtype=np.float64), np.asarray(trials, dtype=np.float64))
    return np.asarray(np.where(k <= 0, 0.0, _share_with_tail(k - 1.0, n, 1.0 - level)))


def _share_with_tail(k: Floats, n: Floats, tail: float) -> Floats:
    """Find the share p with P(Bin(n, p) <= k) = tail, by bisection on the summed probabilities."""
    n = np.maximum(n, 1.0)
    k = np.where(k >= n, 0.0, k)  # every row a hit: no such share, the callers answer themselves
    i = np.arange(1.0, float(k.max(initial=0.0)) + 1.0)
    steps = np.log(np.maximum(n[..., None] - i + 1.0, 1e-300)) - np.log(i)
    ways = np.concatenate([np.zeros((*k.shape, 1)), np.cumsum(steps, axis=-1)], axis=-1)  # log of n over i
    i = np.concatenate([[0.0], i])
    ways = np.where(i <= k[..., None], ways, -np.inf)
    low, high = np.zeros(k.shape), np.ones(k.shape)
    for _ in range(55):
        p = 0.5 * (low + high)
        terms = ways + i * np.log(p)[..., None] + (n[..., None] - i) * np.log1p(-p)[..., None]
        under = np.exp(terms).sum(axis=-1) > tail
        low, high = np.where(under, p, low), np.where(under, high, p)
    return high
