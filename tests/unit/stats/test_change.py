"""One change at a time: the cases whose answer is known beforehand."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from holdfast.stats.change import RAMP_LENGTHS, Change, cutoff, find_change


def noise(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(count)


def same(rows: int = 100, *, windows: int) -> np.ndarray:
    return np.full(windows, rows)


def test_a_clear_step_is_sudden_and_dated() -> None:
    change = find_change(noise(200) + 8.0 * (np.arange(200) >= 160), same(windows=200), 100)
    assert (change.onset, change.shape, change.ended, change.ramp_length) == (160, "sudden", True, None)
    assert change.low <= 160 <= change.high <= change.low + 3
    assert change.size == pytest.approx(8.0, rel=0.15)
    assert change.gap < change.cutoff


def test_a_clear_ramp_is_gradual_with_its_length() -> None:
    change = find_change(noise(260) - 8.0 * np.clip((np.arange(260) - 179) / 30, 0, 1), same(windows=260), 100)
    assert change.shape == "gradual"
    assert change.ended
    assert change.low <= 180 <= change.high
    assert change.ramp_length is not None
    assert 24 <= change.ramp_length <= 36
    assert change.size == pytest.approx(-8.0, rel=0.15)


def test_a_ramp_under_way_has_not_ended_and_its_size_is_the_present_one() -> None:
    change = find_change(noise(260) + 20.0 * np.clip((np.arange(260) - 179) / 200, 0, 1), same(windows=260), 100)
    assert change.shape == "gradual"
    assert not change.ended
    assert change.size == pytest.approx(8.0, rel=0.2)


def test_early_on_the_shape_is_not_yet_known() -> None:
    change = find_change(noise(154) + 2.0 * (np.arange(154) >= 150), same(windows=154), 100)
    assert change.shape == "unknown"
    assert not change.ended
    assert change.low <= 150 <= change.high


def test_a_pulse_that_ended_is_fitted_up_to_its_end() -> None:
    """A feed in the wrong unit for ten days: the mean and the noise are ten times larger, then all is well again."""
    y = 1000.0 + 30.0 * noise(350)
    y[300:310] *= 10.0
    change = find_change(y, same(windows=350), 150, end=310)
    assert (change.onset, change.low, change.high, change.shape) == (300, 300, 300, "sudden")


def test_noise_that_grows_with_the_level_makes_no_step_gradual() -> None:
    shapes = set()
    for seed in range(50):
        y = 1000.0 + 30.0 * noise(340, seed)
        y[300:] += 9000.0 + 600.0 * noise(40, seed + 1000)
        shapes.add(find_change(y, same(windows=340), 150).shape)
    assert shapes == {"sudden"}


def test_a_reference_without_variation_still_dates_the_change() -> None:
    """A column that was never missing: the reference's standard deviation is zero."""
    y = np.concatenate([np.zeros(200), 0.05 + 0.002 * noise(10)])
    change = find_change(y, same(windows=210), 150)
    assert (change.onset, change.shape) == (200, "sudden")


def test_a_constant_series_has_no_shape() -> None:
    change = find_change(np.ones(100), np.ones(100), 50)
    assert change.shape == "unknown"
    assert change.size == 0.0
    assert (change.low, change.high) == (50, 99)


def test_what_is_sudden_depends_on_how_long_a_window_lasts() -> None:
    """Hour windows: a blurred change of some 10 hours is sudden to somebody who thinks in days."""
    y = noise(200, 1) + 3.0 * np.clip((np.arange(200) - 159) / 10, 0, 1)
    assert find_change(y, same(windows=200), 100).shape == "unknown"
    assert find_change(y, same(windows=200), 100, long_ramp=40).shape == "sudden"


def test_old_wandering_does_not_blur_a_later_change() -> None:
    """A season that the reference lacked, long before the step."""
    y = noise(400) + 6.0 * (np.arange(400) >= 340)
    y[120:220] += 3.0 * np.sin(np.arange(100) / 100 * np.pi)
    change = find_change(y, same(windows=400), 100)
    assert (change.shape, change.onset) == ("sudden", 340)
    assert change.high - change.low <= 4


def test_windows_without_rows_are_passed_over() -> None:
    y = noise(200) + 6.0 * (np.arange(200) >= 160)
    rows = same(windows=200)
    rows[150:155], rows[190:] = 0, 0
    y[rows == 0] = np.nan
    change = find_change(y, rows, 100)
    assert change.shape == "sudden"
    assert change.low <= 160 <= change.high


def test_windows_with_few_labels_count_little() -> None:
    """The last week's labels are a trickle whose means swing wildly: they must not look like a change."""
    rows = same(windows=200)
    rows[193:] = 2
    y = noise(200) * np.sqrt(100 / rows) + 4.0 * (np.arange(200) >= 150)
    y[193:] += 6.0
    assert find_change(y, rows, 100, within=100.0).low <= 150 <= find_change(y, rows, 100, within=100.0).high


def test_answers_do_not_depend_on_unit_or_sign() -> None:
    y = noise(200) + 5.0 * (np.arange(200) >= 160)
    plain, scaled = (find_change(v, same(windows=200), 100) for v in (y, 7.0 - 1e-4 * y))
    assert (plain.onset, plain.low, plain.high, plain.shape) == (scaled.onset, scaled.low, scaled.high, scaled.shape)
    assert plain.size == pytest.approx(-scaled.size, rel=1e-6)


def test_the_cutoff_is_interpolated_and_floored() -> None:
    assert cutoff(4.0, 30) == pytest.approx(3.57)
    assert cutoff(3.5, 30) == pytest.approx((3.10 + 3.57) / 2)
    assert cutoff(-4.0, 30) == cutoff(4.0, 30)
    assert cutoff(0.1, 2) == cutoff(100.0, 1e6) == 2.0


def test_the_length_grid_is_fine_and_complete() -> None:
    assert (RAMP_LENGTHS[0], RAMP_LENGTHS[-1]) == (3, 365)
    assert all(a < b <= max(a + 2, 1.14 * a) for a, b in pairwise(RAMP_LENGTHS))


@pytest.mark.parametrize(
    ("y", "n", "n_ref"),
    [([1.0, 2.0, 3.0], [1, 1, 1], 3), ([1.0] * 9, [0] * 5 + [1] * 4, 5), ([1.0] * 9, [1] * 8, 5)],
)
def test_too_little_to_fit_is_refused(y: list[float], n: list[int], n_ref: int) -> None:
    with pytest.raises(ValueError, match="at least three reference windows"):
        find_change(y, n, n_ref)


def test_the_result_is_frozen() -> None:
    change = find_change(noise(60), same(windows=60), 40)
    assert isinstance(change, Change)
    with pytest.raises(AttributeError):
        change.onset = 3  # type: ignore[misc]
