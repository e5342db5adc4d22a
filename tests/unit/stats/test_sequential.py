import numpy as np
import pytest
import scipy.stats

from holdfast.stats.sequential import (
    RunningReference,
    between_variance,
    log_row_bets,
    log_sum_exp,
    log_window_bets,
    predictive_z,
    shiryaev_roberts,
)


def run(y, v, strata, count):
    running = RunningReference(*(np.zeros((count, 1)) for _ in range(4)))
    z = []
    for value, variance, s in zip(y, v, strata, strict=True):
        z.append(float(predictive_z(running, s, np.array([value]), np.array([variance]))[0]))
        running = running.plus(s, np.array([value]), np.array([variance]), np.array([True]))
    return np.array(z)


def by_regression(y, v, strata, count, t):
    """Prediction error of window t from a weighted least-squares fit of all windows before it, by matrix algebra."""
    x = np.eye(count)[strata[:t]][:, sorted(set(strata[:t]))]
    here = np.eye(count)[strata[t]][sorted(set(strata[:t]))]
    w = np.diag(1 / v[:t])
    cover = np.linalg.inv(x.T @ w @ x)
    beta = cover @ x.T @ w @ y[:t]
    df = t - x.shape[1]
    scale = (y[:t] - x @ beta) @ w @ (y[:t] - x @ beta) / df
    error = (y[t] - here @ beta) / np.sqrt(scale * (v[t] + here @ cover @ here))
    return scipy.stats.norm.isf(scipy.stats.t.sf(error, df))


def test_prediction_errors_are_those_of_weighted_regression():
    rng = np.random.default_rng(5)
    strata = [0, 1, 1, 0, 1, 0, 0, 1, 1, 0]
    y, v = rng.normal(size=10), rng.uniform(0.5, 2.0, 10)
    z = run(y, v, strata, 2)
    assert np.isnan(z[:4]).all()  # two means and two degrees of freedom come first
    assert z[4:] == pytest.approx([by_regression(y, v, strata, 2, t) for t in range(4, 10)], abs=1e-8)


def test_an_unknown_stratum_says_nothing():
    z = run(np.arange(8.0), np.ones(8), [0] * 7 + [1], 2)
    assert np.isnan(z[-1])


def test_prediction_errors_are_standard_normal_and_independent():
    # 20 000 deviates from unequal windows: a right one fails these three lines together less than once in 1 000 seeds
    rng = np.random.default_rng(6)
    v = rng.uniform(0.3, 3.0, 60)
    running = RunningReference(*(np.zeros((1, 400)) for _ in range(4)))
    z = []
    for variance in v:
        y = rng.normal(size=400) * np.sqrt(variance)
        z.append(predictive_z(running, 0, y, np.full(400, variance)))
        running = running.plus(0, y, np.full(400, variance), np.ones(400, bool))
    z = np.array(z[10:])
    assert abs(z.mean()) < 3.8 / np.sqrt(z.size)
    assert abs(z.var() - 1) < 3.8 * np.sqrt(2 / z.size)
    assert abs((z[1:] * z[:-1]).mean()) < 3.8 / np.sqrt(z.size)


def test_window_bets_are_e_values():
    z = np.linspace(-12, 12, 20_001)
    expected = np.trapezoid(np.exp(log_window_bets(z)) * scipy.stats.norm.pdf(z)[:, None], z, axis=0)
    assert (expected <= 1.0).all()
    assert expected.min() > 0.89  # what cutting one strange window costs the boldest bet
    assert (log_window_bets(np.array([np.nan])) == 0).all()
    assert log_window_bets(np.array([7.0])).max() < 8.0  # so no single window alarms by these bets alone


def test_between_variance_is_found_and_never_negative():
    rng = np.random.default_rng(7)
    n = rng.integers(50, 400, (4000, 1)).astype(float)
    y = rng.normal(size=(4000, 1)) * 0.05 + rng.normal(size=(4000, 1)) * np.sqrt(0.08 / n)
    assert between_variance(y, n, np.array([0.08]))[0] == pytest.approx(0.0025, rel=0.1)
    assert between_variance(np.full((5, 1), 0.5), n[:5], np.array([0.08]))[0] == 0.0
    assert between_variance(np.zeros((1, 1)), np.zeros((1, 1)), np.array([0.08]))[0] == 0.0


def test_shiryaev_roberts_sums_over_change_times():
    rng = np.random.default_rng(8)
    e, dt = rng.lognormal(size=6), 0.01
    log_r = np.array(-np.inf)
    for value in e:
        log_r = shiryaev_roberts(log_r, np.log(dt), np.log(value))
    assert np.exp(log_r) == pytest.approx(dt * sum(np.prod(e[s:]) for s in range(6)))


def test_log_sum_exp():
    assert log_sum_exp(np.array([1000.0, 1000.0])) == pytest.approx(1000 + np.log(2))
    assert log_sum_exp(np.full(3, -np.inf)) == -np.inf
    assert log_sum_exp(np.zeros(0)) == -np.inf


def test_row_bets_leave_excluded_bins_alone():
    payoff = log_row_bets(
        np.array([[0.0, 1.0, 0.0]]), np.array([[True, True, False]]), np.array([0.1]), np.array([0.09])
    )
    assert (payoff[0, :, 2] == 0).all()
    assert (payoff[0, :, 1] > 0).all()
    assert (payoff[0, :, 0] < 0).all()
