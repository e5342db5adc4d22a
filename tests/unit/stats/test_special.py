"""Our special functions against SciPy's."""

import numpy as np
import pytest
import scipy.special
import scipy.stats

from holdfast.stats.special import (
    Z_LIMIT,
    beta_cdf,
    clopper_pearson_lower,
    clopper_pearson_upper,
    normal_from_t,
    normal_quantile,
)


@pytest.mark.parametrize("df", [2, 3, 7, 29, 59, 60, 80, 149, 1000, 20_000])
def test_t_becomes_the_normal_deviate_of_the_same_tail(df):
    z = np.linspace(-7.9, 7.9, 159)
    t = np.sign(z) * scipy.stats.t.isf(scipy.stats.norm.sf(np.abs(z)), df)
    assert np.abs(normal_from_t(t, df) - z).max() < 5e-9


def test_the_deviate_is_cut_and_never_infinite():
    assert normal_from_t([1e9, -1e300, np.inf, 0.0], [3.0, 100.0, 5.0, 8.0]).tolist() == [
        Z_LIMIT,
        -Z_LIMIT,
        Z_LIMIT,
        0.0,
    ]


def test_mixed_degrees_of_freedom_are_taken_one_by_one():
    together = normal_from_t([2.5, 2.5], [4.0, 400.0])
    assert together.tolist() == [*normal_from_t([2.5], [4.0]), *normal_from_t([2.5], [400.0])]


def test_incomplete_beta():
    x, a, b = np.meshgrid([0.0, 1e-6, 0.2, 0.5, 0.9, 1.0], [0.5, 1.0, 12.0, 200.0], [0.5, 3.0, 500.0])
    assert np.allclose(beta_cdf(x, a, b), scipy.special.betainc(a, b, x), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("level", [0.05, 1e-3, 1e-6])
def test_clopper_pearson(level):
    k, n = np.array([0.0, 1.0, 7.0, 150.0, 30.0]), np.array([18_000.0, 500.0, 900.0, 10_000.0, 30.0])
    upper = np.where(k < n, scipy.special.betaincinv(k + 1, np.maximum(n - k, 1), 1 - level), 1.0)
    lower = np.where(k > 0, scipy.special.betaincinv(np.maximum(k, 1), n - k + 1, level), 0.0)
    assert np.allclose(clopper_pearson_upper(k, n, level), upper, rtol=1e-9, atol=1e-15)
    assert np.allclose(clopper_pearson_lower(k, n, level), lower, rtol=1e-7, atol=1e-15)


def test_normal_quantile():
    assert normal_quantile(1e-5) == pytest.approx(scipy.stats.norm.ppf(1e-5), rel=1e-12)
