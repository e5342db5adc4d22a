"""Laws of the change fit, the distances and the intervals, for any input that hypothesis can think of."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.stats import intervals, metrics
from holdfast.stats.change import find_change
from holdfast.stats.distances import distances

counts = st.integers(2, 12).flatmap(
    lambda k: st.tuples(*[st.lists(st.integers(0, 500), min_size=k, max_size=k).filter(any) for _ in range(2)])
)
shares = st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(counts, st.integers(0, 100))
@settings(max_examples=60, deadline=None)
def test_distances_are_symmetric_bounded_and_zero_between_equals(pair, seed) -> None:
    a, b = pair
    there, back, same = (distances(x, y, np.random.default_rng(seed), draws=5) for x, y in ((a, b), (b, a), (a, a)))
    for name, d in there.items():
        assert math.isclose(d.value, back[name].value, abs_tol=1e-9) or name == "psi"
        assert d.value >= -1e-12
        assert d.band >= -1e-12
        assert abs(same[name].value) < 1e-6
    assert max(there[name].value for name in ("js", "tv", "ks", "w1")) <= 1 + 1e-9
    assert there["ks"].value <= there["tv"].value + 1e-9


@given(shares, shares, st.sampled_from([0.5, 0.8, 0.95, 0.999]))
@settings(max_examples=100, deadline=None)
def test_shares_lie_inside_their_intervals_and_differences_turn_with_their_order(a, b, level) -> None:
    one = intervals.proportion(*a, level=level)
    assert 0 <= one.low <= one.value <= one.high <= 1
    there = intervals.proportion_difference(*a, *b, level=level)
    back = intervals.proportion_difference(*b, *a, level=level)
    assert -1 <= there.low <= there.value <= there.high <= 1
    assert math.isclose(there.low, -back.high, abs_tol=1e-12)


@given(st.lists(st.tuples(st.booleans(), st.integers(-5, 5)), min_size=4, max_size=60))
@settings(max_examples=100, deadline=None)
def test_auc_of_the_opposite_score_is_the_rest(rows) -> None:
    y, s = [r[0] for r in rows], np.array([r[1] for r in rows])
    there, back = intervals.auc(y, s), intervals.auc(y, -s)
    if 2 <= sum(y) <= len(y) - 2:
        assert math.isclose(there.value, 1 - back.value, abs_tol=1e-9)
        assert math.isclose(there.low, 1 - back.high, abs_tol=1e-6)
        assert there.low - 1e-9 <= there.value <= there.high + 1e-9


@given(st.lists(st.floats(0, 1), min_size=1, max_size=200))
@settings(max_examples=60, deadline=None)
def test_a_confidence_sequence_never_widens_and_needs_no_future(values) -> None:
    low, high = intervals.bounded_mean_path(values)
    assert np.all(np.diff(low) >= 0)
    assert np.all(np.diff(high) <= 0)
    half = len(values) // 2 + 1
    short_low, short_high = intervals.bounded_mean_path(values[:half])
    assert np.allclose(short_low, low[:half])
    assert np.allclose(short_high, high[:half])


@given(st.integers(0, 1000), st.floats(-50, 50), st.integers(1, 60), st.floats(0.01, 1000), st.floats(-1e4, 1e4))
@settings(max_examples=60, deadline=None)
def test_a_change_is_the_same_in_any_unit_and_lies_after_the_reference(seed, size, after, unit, origin) -> None:
    rng = np.random.default_rng(seed)
    y = rng.standard_normal(40 + after) + size * (np.arange(40 + after) >= 40)
    rows = rng.integers(1, 200, 40 + after)
    one, two = find_change(y, rows, 40), find_change(origin + unit * y, rows, 40)
    assert 40 <= one.low <= one.onset <= one.high < 40 + after
    assert (one.low, one.high, one.shape) == (two.low, two.high, two.shape)
    assert math.isclose(one.size, two.size, rel_tol=1e-3, abs_tol=1e-3)


@given(st.integers(0, 1000), st.integers(5, 40))
@settings(max_examples=40, deadline=None)
def test_what_comes_after_the_end_does_not_matter(seed, after) -> None:
    rng = np.random.default_rng(seed)
    y = rng.standard_normal(100 + after)
    y[60:] += 4.0
    cut, whole = y[:80], y
    assert find_change(cut, np.ones(80), 40) == find_change(whole, np.ones(len(y)), 40, end=80)


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1)), min_size=1, max_size=50))
def test_a_classification_loss_is_a_share(rows) -> None:
    y, p = zip(*rows, strict=True)
    found = metrics.loss("binary", y, p)
    assert np.all((found >= 0) & (found <= 1))
    two = metrics.loss("multiclass", np.array(y, dtype=int), np.stack([1 - np.array(p), np.array(p)], axis=1))
    assert np.allclose(found, two)
