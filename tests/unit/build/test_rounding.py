"""Thresholds that stand for a rounding to float32 part every value as the rounding itself did."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.build.convert.trees import unrounded

FLOATS = st.floats(width=32, allow_nan=False)


def agree(threshold, values, *, strict):
    moved = unrounded(np.array([threshold], dtype=np.float64), strict=strict)[0]
    with np.errstate(all="ignore"):
        rounded = values.astype(np.float32).astype(np.float64)
    if strict:
        np.testing.assert_array_equal(values < moved, rounded < threshold)
    else:
        np.testing.assert_array_equal(values <= moved, rounded <= threshold)


def around(threshold):
    """The values where a rounding may change sides: neighbours in float32, the middles between them, and a bit beside."""
    with np.errstate(all="ignore"):
        near = np.float32(threshold)
        below, above = np.nextafter(near, np.float32(-np.inf)), np.nextafter(near, np.float32(np.inf))
        further = np.nextafter(below, np.float32(-np.inf)), np.nextafter(above, np.float32(np.inf))
        points = np.array([further[0], below, near, above, further[1], threshold, 0.0, -0.0, 1e300, -1e300], np.float64)
        points = points[np.isfinite(points)]
        middles = (points[:-1] + points[1:]) / 2.0
        points = np.concatenate([points, middles, [2.0**128 - 2.0**103, 2.0**103 - 2.0**128]])
        points = np.concatenate([points, np.nextafter(points, np.inf), np.nextafter(points, -np.inf)])
    return np.concatenate([points, [np.inf, -np.inf, np.nan]])


@pytest.mark.parametrize("strict", [True, False])
@settings(max_examples=300)
@given(threshold=FLOATS | st.floats(allow_nan=False))
def test_a_moved_threshold_parts_as_the_rounding_did(strict, threshold):
    agree(threshold, around(threshold), strict=strict)


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize(
    "threshold", [0.0, -0.0, 1e-45, -1e-45, 3.4028234663852886e38, -3.4028234663852886e38, np.inf, -np.inf]
)
def test_at_the_ends_of_float32(strict, threshold):
    agree(threshold, around(threshold), strict=strict)


@pytest.mark.parametrize("strict", [True, False])
def test_ordinary_values(strict):
    rng = np.random.default_rng(3)
    for threshold in rng.normal(size=50):
        agree(threshold, rng.normal(size=1000), strict=strict)
