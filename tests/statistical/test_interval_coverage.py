"""How often each 95 % interval holds the truth, and how often evidence that may be watched daily cries wolf.

REPS seeded draws each. A fixed-sample interval must cover between 93 and 97 %; with 2 000 draws the standard error is .5 %, so
a method that covers exactly 95 % leaves that range by chance less than once in 10 000 tests. An interval that is right at all
times together must cover at least 95 % (less three standard errors: one false failure in 700).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from holdfast.stats import intervals, metrics
from holdfast.stats.intervals import Estimate

REPS = 2000
SLACK = 3 * math.sqrt(0.05 * 0.95 / REPS)
Draw = Callable[[np.random.Generator], Estimate]


def coverage(draw: Draw, truth: float, reps: int = REPS) -> float:
    rng = np.random.default_rng(11)
    found = (draw(rng) for _ in range(reps))
    return sum(e.low <= truth <= e.high for e in found) / reps


def two_classes(rng: np.random.Generator, n: int, apart: float) -> tuple[np.ndarray, np.ndarray]:
    y = np.arange(n) < n // 3
    return y, rng.standard_normal(n) + apart * y


def windows_of(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of a day share a common part: means over rows would be far too sure of themselves."""
    sizes = rng.integers(5, 60, count)
    day = np.repeat(np.arange(count), sizes)
    return rng.standard_normal(count)[day] * 0.5 + rng.standard_normal(len(day)), day


def by_windows(rng: np.random.Generator) -> Estimate:
    values, day = windows_of(rng, 40)
    return intervals.mean(values, clusters=day)


def of_totals(rng: np.random.Generator) -> Estimate:
    bottom = rng.uniform(1.0, 3.0, 60)
    return intervals.ratio(0.5 * bottom + 0.3 * rng.standard_normal(60), bottom)


def normal_regression(rng: np.random.Generator, metric: str, n: int = 300) -> Estimate:
    guess = rng.standard_normal(n) + 5.0
    return metrics.regression(guess + 0.5 * rng.standard_normal(n), guess)[metric]


def calibrated(rng: np.random.Generator, shift: float) -> Estimate:
    p = rng.uniform(0.1, 0.8, 1500)
    return metrics.calibration_error(rng.random(1500) < p + shift, p)


CASES: list[tuple[str, Draw, float]] = [
    ("wilson, 30 rows", lambda g: intervals.proportion(int(g.binomial(30, 0.3)), 30), 0.3),
    ("wilson, rare", lambda g: intervals.proportion(int(g.binomial(200, 0.03)), 200), 0.03),
    (
        "newcombe",
        lambda g: intervals.proportion_difference(int(g.binomial(80, 0.2)), 80, int(g.binomial(120, 0.1)), 120),
        0.1,
    ),
    ("t, 6 rows", lambda g: intervals.mean(g.standard_normal(6)), 0.0),
    ("t, skewed", lambda g: intervals.mean(g.exponential(size=200)), 1.0),
    ("paired", lambda g: intervals.paired_difference(*(g.standard_normal((2, 40)) + g.standard_normal(40))), 0.0),
    ("windows", by_windows, 0.0),
    ("ratio", of_totals, 0.5),
    ("auc .76", lambda g: intervals.auc(*two_classes(g, 150, 1.0)), 0.760250),
    ("auc .98", lambda g: intervals.auc(*two_classes(g, 300, 3.0)), 0.983053),
    ("rmse", lambda g: normal_regression(g, "rmse"), 0.5),
    ("mae", lambda g: normal_regression(g, "mae"), 0.5 * math.sqrt(2 / math.pi)),
    ("bias", lambda g: normal_regression(g, "bias"), 0.0),
    ("r2", lambda g: normal_regression(g, "r2"), 0.8),
    ("calibration off by .1", lambda g: calibrated(g, 0.1), 0.1),
]


@pytest.mark.parametrize(("draw", "truth"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_fixed_sample_intervals_cover(draw: Draw, truth: float) -> None:
    assert 0.93 <= coverage(draw, truth) <= 0.97


def test_rows_in_place_of_windows_would_fail() -> None:
    """The wrong unit: with days that share half a sd, an interval from rows covers about half the time."""
    assert coverage(lambda g: intervals.mean(windows_of(g, 40)[0]), 0.0, 500) < 0.7


@pytest.mark.parametrize("which", ["correlation", "deviation"])
def test_the_bootstrap_covers(which: str) -> None:
    """500 draws: the standard error is 1 %, so the range is 92 to 98 % here."""

    def draw(rng: np.random.Generator) -> Estimate:
        a = rng.standard_normal(300)
        if which == "deviation":
            return intervals.bootstrap(lambda x: float(np.std(x)), a, rng=rng, draws=300)
        b = 0.6 * a + 0.8 * rng.standard_normal(300)
        return intervals.bootstrap(lambda x, y: float(np.corrcoef(x, y)[0, 1]), a, b, rng=rng, draws=300)

    assert 0.92 <= coverage(draw, 0.6 if which == "correlation" else 1.0, 500) <= 0.98


def test_a_calibrated_model_is_seldom_accused() -> None:
    assert coverage(lambda g: calibrated(g, 0.0), 0.0, 1000) >= 0.95


@pytest.mark.parametrize("p", [0.02, 0.1, 0.5])
def test_the_confidence_sequence_holds_at_every_row_at_once(p: float) -> None:
    rng = np.random.default_rng(3)
    held = []
    for _ in range(REPS):
        low, high = intervals.bounded_mean_path(rng.random(400) < p)
        held.append(low[-1] <= p <= high[-1])  # limits never widen: the last holds it only if all did
    assert np.mean(held) >= 0.95 - SLACK


def test_an_ordinary_interval_watched_daily_would_fail() -> None:
    rng = np.random.default_rng(4)
    held = 0
    for _ in range(300):
        x = rng.random(400) < 0.3
        held += all(
            e.low <= 0.3 <= e.high for n in range(20, 401, 20) for e in [intervals.proportion(int(x[:n].sum()), n)]
        )
    assert held / 300 < 0.9


@pytest.mark.parametrize(
    ("a", "b", "rows_a", "rows_b"), [(0.1, 0.1, 20, 180), (0.02, 0.02, 5, 95), (0.05, 0.1, 50, 50)]
)
def test_evidence_against_a_canary_that_is_no_worse(a: float, b: float, rows_a: int, rows_b: int) -> None:
    """Watched after each of 300 blocks, ln 20 is reached in at most 5 % of runs."""
    rng = np.random.default_rng(5)
    e = [_evidence(rng, a, b, rows_a, rows_b, 300).max() for _ in range(1000)]
    assert np.mean(np.array(e) >= math.log(20)) <= 0.05


def test_evidence_survives_rates_that_drift_together() -> None:
    rng = np.random.default_rng(6)
    rate = 0.05 + 0.2 * np.linspace(0, 1, 300)
    e = [_evidence(rng, rate, rate, 20, 180, 300).max() for _ in range(1000)]
    assert np.mean(np.array(e) >= math.log(20)) <= 0.05


def test_a_worse_canary_is_found_soon() -> None:
    """.15 against .10, a tenth of the traffic: half the runs within 500 rows of the canary (measured: 320)."""
    rng = np.random.default_rng(7)
    first = [int(np.argmax(np.r_[_evidence(rng, 0.15, 0.1, 20, 180, 400), np.inf] >= math.log(20))) for _ in range(300)]
    assert np.median(first) * 20 <= 500


def _evidence(
    rng: np.random.Generator, a: float | np.ndarray, b: float | np.ndarray, rows_a: int, rows_b: int, blocks: int
) -> np.ndarray:
    errors_a, errors_b = rng.binomial(rows_a, a, blocks), rng.binomial(rows_b, b, blocks)
    return intervals.worse_evidence(errors_a, np.full(blocks, rows_a), errors_b, np.full(blocks, rows_b))
