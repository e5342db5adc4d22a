"""Each distance against an independent implementation, and against values known by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.stats import chi2_contingency, wasserstein_distance

from holdfast.stats.distances import NAMES, distances

A, B = np.array([10, 40, 30, 20, 0]), np.array([5, 10, 30, 50, 25])


def value(name: str, **given: object) -> float:
    return distances(A, B, np.random.default_rng(0), **given)[name].value  # type: ignore[arg-type]


def test_against_scipy() -> None:
    p, q, spots = A / A.sum(), B / B.sum(), np.linspace(0, 1, 5)
    assert value("js") == pytest.approx(jensenshannon(p, q, base=2))
    assert value("w1") == pytest.approx(wasserstein_distance(spots, spots, p, q))
    assert value("chi2") == pytest.approx(chi2_contingency(np.stack([A, B]), correction=False).statistic)


def test_by_hand() -> None:
    p, q = A / 100, B / 120
    assert value("tv") == pytest.approx(np.abs(p - q).sum() / 2)
    assert value("ks") == pytest.approx(np.abs(np.cumsum(p) - np.cumsum(q)).max())
    p, q = (A + 0.5) / 102.5, (B + 0.5) / 122.5
    assert value("psi") == pytest.approx(((p - q) * np.log(p / q)).sum())


def test_positions_give_w1_its_unit() -> None:
    moved = distances([10, 0, 0], [0, 0, 10], np.random.default_rng(0), positions=[0.0, 5.0, 30.0])
    assert moved["w1"].value == pytest.approx(30.0)


def test_equal_counts_are_at_distance_zero() -> None:
    assert all(d.value == pytest.approx(0.0, abs=1e-7) for d in distances(A, A, np.random.default_rng(0)).values())


def test_categories_have_no_order() -> None:
    assert set(distances(A, B, np.random.default_rng(0), ordered=False)) == set(NAMES) - {"ks", "w1"}


def test_the_same_seed_gives_the_same_band_and_more_rows_a_narrower_one() -> None:
    one, two = (distances(A, B, np.random.default_rng(3)) for _ in range(2))
    assert one == two
    more = distances(A * 100, B * 100, np.random.default_rng(3))
    assert all(more[name].band < one[name].band for name in NAMES if name != "chi2")
    assert (one["psi"].n, one["psi"].n_ref, one["psi"].level) == (120, 100, 0.95)


@pytest.mark.parametrize(("a", "b"), [([1, 2], [1, 2, 3]), ([0, 0], [1, 2]), ([1, 2], [0, 0]), ([1, -1], [1, 2])])
def test_what_is_no_pair_of_counts_is_refused(a: list[int], b: list[int]) -> None:
    with pytest.raises(ValueError, match="two count vectors"):
        distances(a, b, np.random.default_rng(0))
