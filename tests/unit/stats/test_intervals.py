"""Intervals against SciPy and scikit-learn where those have them, and at the edges where they don't."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from holdfast.stats import intervals


@pytest.mark.parametrize("df", [1, 2, 5, 29, 39, 41, 300, 1e5])
@pytest.mark.parametrize("p", [0.005, 0.025, 0.3, 0.9, 0.975, 0.9995])
def test_t_quantile(p: float, df: float) -> None:
    assert intervals.t_quantile(p, df) == pytest.approx(stats.t.ppf(p, df), rel=1e-6)


@pytest.mark.parametrize(("hits", "n"), [(0, 1), (0, 20), (3, 20), (20, 20), (137, 1000)])
@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
def test_wilson(hits: int, n: int, level: float) -> None:
    expected = stats.binomtest(hits, n).proportion_ci(level, method="wilson")
    found = intervals.proportion(hits, n, level=level)
    assert (found.value, found.n, found.level) == (hits / n, n, level)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize(
    ("counts", "limits"),
    # Newcombe (1998), table II, method 10, cases a, c and g.
    [((56, 70, 48, 80), (0.0524, 0.3339)), ((9, 10, 3, 10), (0.1705, 0.8090)), ((10, 10, 0, 20), (0.6791, 1.0))],
)
def test_newcombe(counts: tuple[int, int, int, int], limits: tuple[float, float]) -> None:
    found = intervals.proportion_difference(*counts)
    assert (found.low, found.high) == pytest.approx(limits, abs=5e-5)


def test_mean_and_paired_difference() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 25))
    found = intervals.paired_difference(a, b, level=0.9)
    expected = stats.ttest_rel(a, b).confidence_interval(0.9)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-6)
    assert found.value == pytest.approx(float(np.mean(a - b)))
    assert found.method == "t by rows"


def test_equal_windows_are_the_means_of_their_means() -> None:
    x = np.random.default_rng(0).standard_normal((12, 5))
    found = intervals.mean(x.ravel(), clusters=np.repeat(np.arange(12), 5))
    expected = intervals.mean(x.mean(axis=1))
    assert (found.value, found.low, found.high, found.n) == pytest.approx(
        (expected.value, expected.low, expected.high, expected.n)
    )
    assert found.method == "t by windows"


def test_windows_may_have_names() -> None:
    assert intervals.mean([1.0, 2.0, 3.0], clusters=["mon", "mon", "tue"]).n == 2


def test_auc_and_its_variance() -> None:
    rng = np.random.default_rng(0)
    y = rng.random(300) < 0.3
    score = np.round(rng.standard_normal(300) + y, 1)  # ties on purpose
    found = intervals.auc(y, score)
    assert found.value == pytest.approx(roc_auc_score(y, score))
    wins = (score[y][:, None] > score[~y]) + 0.5 * (score[y][:, None] == score[~y])
    spread = math.sqrt(wins.mean(axis=1).var(ddof=1) / y.sum() + wins.mean(axis=0).var(ddof=1) / (~y).sum())
    logit, width = math.log(found.value / (1 - found.value)), 1.959964 * spread / (found.value * (1 - found.value))
    assert found.low == pytest.approx(1 / (1 + math.exp(width - logit)), rel=1e-6)


def test_perfect_separation_is_no_proof() -> None:
    found = intervals.auc([0] * 30 + [1] * 10, np.arange(40))
    assert (found.value, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(intervals.proportion(10, 10).low)


def test_bootstrap_of_the_mean_is_near_the_t_interval_and_repeatable() -> None:
    x = np.random.default_rng(0).standard_normal(400)
    one, two = (intervals.bootstrap(lambda v: float(v.mean()), x, rng=np.random.default_rng(1)) for _ in range(2))
    assert one == two
    expected = intervals.mean(x)
    assert (one.low, one.high) == pytest.approx((expected.low, expected.high), abs=0.02)


def test_bootstrap_of_a_constant() -> None:
    found = intervals.bootstrap(lambda v: float(v.mean()), np.ones(50), rng=np.random.default_rng(1))
    assert (found.value, found.low, found.high) == (1.0, 1.0, 1.0)


def test_bounded_means_keep_their_unit_and_refuse_strays() -> None:
    x = np.random.default_rng(0).random(500)
    plain, wide = intervals.bounded_mean(x), intervals.bounded_mean(10 * x - 5, low=-5, high=5)
    assert (wide.low, wide.high) == pytest.approx((10 * plain.low - 5, 10 * plain.high - 5))
    assert plain.low < 0.5 < plain.high < 0.7
    with pytest.raises(ValueError, match="range"):
        intervals.bounded_mean([0.5, 1.5])


def test_evidence_starts_at_nothing_and_passes_over_empty_blocks() -> None:
    evidence = intervals.worse_evidence([5, 0, 9], [10, 0, 10], [0, 0, 1], [90, 90, 90])
    assert evidence[0] == pytest.approx(0.0)
    assert evidence[1] == pytest.approx(0.0)
    assert evidence[2] > 3.0


@pytest.mark.parametrize(
    "found",
    [
        intervals.proportion(0, 0),
        intervals.proportion_difference(0, 0, 1, 2),
        intervals.mean([]),
        intervals.ratio([1.0, 2.0], [0.0, 0.0]),
        intervals.auc([1, 1], [0.2, 0.3]),
    ],
)
def test_nothing_gives_no_value(found: intervals.Estimate) -> None:
    assert math.isnan(found.value)
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_one_unit_gives_a_value_without_limits() -> None:
    for found in (intervals.mean([3.0]), intervals.mean([1.0, 5.0], clusters=[7, 7])):
        assert found.value == 3.0
        assert math.isnan(found.low)
    assert math.isnan(intervals.auc([1, 0, 0], [3, 1, 2]).low)
    assert intervals.bounded_mean([]).high == 1.0
    with pytest.raises(ValueError, match="two rows"):
        intervals.bootstrap(lambda v: float(v.mean()), [1.0], rng=np.random.default_rng(0))
