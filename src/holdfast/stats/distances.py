"""How far apart are two sets of counts, and how far apart would noise alone put them?

Six distances between a reference and a window, all from the same bin counts. They are shown, never alarmed on: each
grows with the number of bins and shrinks with the number of rows, so a fixed limit ("PSI above 0.2") means something
else for every column. Next to each value stands its noise band: the value that two samples of these sizes *from one
distribution* stay below in 95 % of draws, simulated from the pooled counts. Rows that depend on one another (a day's
weather) scatter more than this.

References: Lin (1991) Divergence measures based on the Shannon entropy, IEEE Trans. Inf. Theory 37; Yurdakul (2018)
Statistical properties of population stability index, Western Michigan University.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["NAMES", "ORDERED", "Distance", "distances"]

Floats = npt.NDArray[np.float64]

NAMES = ("psi", "js", "tv", "chi2", "ks", "w1")
ORDERED = ("ks", "w1")
"""Distances that need bins in an order; not for categories."""


@dataclass(frozen=True, slots=True)
class Distance:
    """One distance between a reference and a window."""

    name: str
    value: float
    band: float
    """What equal distributions stay below with chance `level`, at these sample sizes."""
    n: int
    """Rows of the window."""
    n_ref: int
    level: float

    @property
    def beyond_noise(self) -> bool:
        """Whether the value lies above its noise band: one time in 20 it does so by chance."""
        return self.value > self.band


def distances(
    reference: npt.ArrayLike,
    current: npt.ArrayLike,
    rng: np.random.Generator,
    *,
    ordered: bool = True,
    positions: npt.ArrayLike | None = None,
    level: float = 0.95,
    draws: int = 400,
) -> dict[str, Distance]:
    """All distances between two count vectors over the same bins, by name, each with its noise band.

    psi: sum (q - p) ln(q / p), half a row added to every bin; js: square root of the Jensen-Shannon divergence in
    bits, 0 to 1; tv: half the sum of absolute differences; chi2: the two-sample statistic; for ordered bins also ks:
    the largest difference of the cumulated shares, and w1: Wasserstein-1 in units of `positions` (by default bins
    spread over 0 to 1).

        >>> found = distances([50, 50], [20, 80], np.random.default_rng(0))
        >>> round(found["tv"].value, 2), found["tv"].beyond_noise
        (0.3, True)
    """
    p, q = np.array(reference, dtype=np.int64), np.array(current, dtype=np.int64)
    n_ref, n = int(p.sum()), int(q.sum())
    if p.shape != q.shape or p.ndim != 1 or min(n_ref, n) < 1 or min(p.min(), q.min()) < 0:
        raise ValueError("distances need two count vectors over the same bins, each with at least one row")
    places = np.linspace(0.0, 1.0, len(p)) if positions is None else np.array(positions, dtype=float)
    pooled = (p + q) / (n_ref + n)
    pairs = (
        np.concatenate([p[None], rng.multinomial(n_ref, pooled, size=draws)]).astype(float),
        np.concatenate([q[None], rng.multinomial(n, pooled, size=draws)]).astype(float),
    )
    values = _all(*pairs, places)
    return {
        name: Distance(name, float(values[name][0]), float(np.quantile(values[name][1:], level)), n, n_ref, level)
        for name in NAMES
        if ordered or name not in ORDERED
    }


def _all(a: Floats, b: Floats, places: Floats) -> dict[str, Floats]:
    """Every distance for each row of two count matrices."""
    n, m = a.sum(axis=1, keepdims=True), b.sum(axis=1, keepdims=True)
    p, q = a / n, b / m
    cumulated = np.cumsum(p - q, axis=1)
    expected = (a + b) / (n + m)
    used = expected > 0
    parts = np.divide((p - q) ** 2, expected, out=np.zeros_like(p), where=used)
    return {
        "psi": _stability(a, b),
        "js": np.sqrt(np.maximum(_entropy((p + q) / 2) - (_entropy(p) + _entropy(q)) / 2, 0.0)),
        "tv": np.abs(p - q).sum(axis=1) / 2,
        "chi2": parts.sum(axis=1) / (1 / n + 1 / m)[:, 0],
        "ks": np.abs(cumulated).max(axis=1),
        "w1": (np.abs(cumulated[:, :-1]) * np.diff(places)).sum(axis=1),
    }


def _stability(a: Floats, b: Floats) -> Floats:
    """Population stability index; the half row keeps an empty bin from making it infinite."""
    p, q = a + 0.5, b + 0.5
    p, q = p / p.sum(axis=1, keepdims=True), q / q.sum(axis=1, keepdims=True)
    total: Floats = ((q - p) * np.log(q / p)).sum(axis=1)
    return total


def _entropy(p: Floats) -> Floats:
    """Shannon entropy in bits of each row."""
    total: Floats = -(p * np.log2(np.where(p > 0, p, 1.0))).sum(axis=1)
    return total
