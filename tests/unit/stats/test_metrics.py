"""Metrics against scikit-learn, and row losses by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics as reference

from holdfast.stats import metrics

RNG = np.random.default_rng(0)
Y = RNG.random(600) < 0.4
P = np.clip(0.4 + 0.3 * (Y - 0.4) + 0.2 * RNG.standard_normal(600), 0.01, 0.99)


def test_binary() -> None:
    found = metrics.binary(Y, P, threshold=0.45)
    assert found["error_rate"].value == pytest.approx(1 - reference.accuracy_score(Y, P >= 0.45))
    assert found["auc"].value == pytest.approx(reference.roc_auc_score(Y, P))
    assert found["log_loss"].value == pytest.approx(reference.log_loss(Y, P))
    assert found["brier"].value == pytest.approx(reference.brier_score_loss(Y, P))
    assert all(e.low <= e.value <= e.high for e in found.values())


def test_multiclass() -> None:
    y = RNG.integers(0, 3, 200)
    p = RNG.dirichlet(np.ones(3), 200)
    found = metrics.multiclass(y, p)
    assert found["error_rate"].value == pytest.approx(1 - reference.accuracy_score(y, p.argmax(axis=1)))
    assert found["log_loss"].value == pytest.approx(reference.log_loss(y, p))


def test_a_class_unknown_to_the_model_is_an_error_of_full_cost() -> None:
    assert metrics.multiclass([-1, 0], [[0.9, 0.1], [0.9, 0.1]])["error_rate"].value == 0.5
    assert metrics.loss("multiclass", [-1, 2, 1], [[0.9, 0.1]] * 3).tolist() == pytest.approx([1.0, 1.0, 0.9])


@pytest.mark.parametrize("scale", ["identity", "log", "log1p"])
def test_regression(scale: metrics.Scale) -> None:
    y = np.exp(RNG.standard_normal(400) + 3)
    guess = y * np.exp(0.2 * RNG.standard_normal(400) - 0.05)
    found = metrics.regression(y, guess, scale=scale)
    on = {"identity": lambda x: x, "log": np.log, "log1p": np.log1p}[scale]
    assert found["rmse"].value == pytest.approx(reference.root_mean_squared_error(on(y), on(guess)))
    assert found["mae"].value == pytest.approx(reference.mean_absolute_error(on(y), on(guess)))
    assert found["r2"].value == pytest.approx(reference.r2_score(on(y), on(guess)))
    assert found["bias"].value == pytest.approx(float(np.mean(on(y) - on(guess))))
    assert found["wape"].value == pytest.approx(np.abs(y - guess).sum() / y.sum())
    assert all(e.low <= e.value <= e.high for e in found.values())


def test_rows_without_a_logarithm_are_left_out_and_the_count_says_so() -> None:
    found = metrics.regression([1.0, 2.0, 0.0, 4.0], [1.0, -2.0, 3.0, 2.0], scale="log", windows=[1, 1, 2, 3])
    assert found["mae"].n == 2
    assert found["mae"].value == pytest.approx(math.log(2) / 2)


def test_windows_are_the_units_of_means() -> None:
    day = np.repeat(np.arange(30), 20)
    found = metrics.binary(Y, P, windows=day)
    assert (found["error_rate"].n, found["brier"].n, found["auc"].n) == (30, 30, 600)
    assert found["error_rate"].value == pytest.approx(metrics.binary(Y, P)["error_rate"].value)


def test_sure_and_wrong_is_dear_but_finite() -> None:
    assert metrics.binary([1, 0], [0.0, 0.0])["log_loss"].value == pytest.approx(-math.log(1e-15) / 2)


def test_calibration_error_is_debiased_and_needs_rows() -> None:
    p = np.random.default_rng(1).uniform(0.1, 0.8, 20_000)
    truth = np.random.default_rng(2).random(20_000)
    assert metrics.calibration_error(truth < p, p).low == 0.0
    off = metrics.calibration_error(truth < p + 0.1, p)
    assert off.value == pytest.approx(0.1, abs=0.015)
    assert 0.08 < off.low < off.value < off.high < 0.12
    assert math.isnan(metrics.calibration_error([1] * 10, [0.5] * 10).value)


def test_losses_by_hand() -> None:
    assert metrics.loss("binary", [1, 0, True], [0.9, 0.25, 0.1]).tolist() == pytest.approx([0.1, 0.25, 0.9])
    assert metrics.loss("multiclass", [0, 1], [[0.7, 0.3], [0.6, 0.4]]).tolist() == pytest.approx([0.3, 0.6])
    assert metrics.loss("regression", [3.0, 1.0], [1.0, 2.0]).tolist() == [2.0, 1.0]
    assert metrics.loss("regression", [math.e, 1.0], [1.0, math.e], scale="log").tolist() == pytest.approx([1.0, 1.0])


def test_residuals_are_signed_and_missing_where_there_is_no_logarithm() -> None:
    found = metrics.residual([math.e, 1.0, -1.0, 2.0], [1.0, math.e, 1.0, 0.0], scale="log")
    assert found[:2].tolist() == pytest.approx([1.0, -1.0])
    assert np.isnan(found[2:]).all()
    assert metrics.residual([0.0], [math.e - 1], scale="log1p").tolist() == pytest.approx([-1.0])
