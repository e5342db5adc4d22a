"""How good a model is, and how wrong it was on each row.

`binary`, `multiclass` and `regression` turn held-out truth and predictions into named metrics, each an `Estimate`
with its interval. Pass `windows` (a window id for each row) where the rows of a day resemble one another: means are
then taken over windows as the independent units; AUC and calibration stay by rows.

`loss` and `residual` are what the monitors watch, row by row. Classification: 1 - P(true class), so a sure and wrong
answer costs 1 and the mean moves before the share of errors does. Regression: the absolute and the signed residual on
the contract's scale; on the log scale an error is relative, and a slow inflation shows in the signed residual long
before the loss.

References: Brier (1950) Monthly Weather Review 78; Kumar, Liang and Ma (2019) Verified uncertainty calibration,
NeurIPS (the debiased calibration error); Kolassa and Schütz (2007) Advantages of the MAD/mean ratio, Foresight 6
(WAPE).
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import numpy.typing as npt

from holdfast.stats.intervals import Estimate, auc, mean, proportion, ratio
from holdfast.stats.special import normal_quantile

__all__ = ["Scale", "Task", "binary", "calibration_error", "loss", "multiclass", "regression", "residual", "scaled"]

Floats = npt.NDArray[np.float64]
Task = Literal["binary", "multiclass", "regression"]
Scale = Literal["identity", "log", "log1p"]

CERTAIN = 1e-15
"""Probabilities are cut here in a log loss: one sure and wrong answer must not make it infinite."""
CALIBRATION_BINS = 15


def scaled(values: npt.ArrayLike, scale: Scale) -> Floats:
    """Values on the scale on which error is measured; NaN where a logarithm has none."""
    x = np.array(values, dtype=float)
    if scale == "identity":
        return x
    x = x + 1.0 if scale == "log1p" else x
    logs: Floats = np.log(x, out=np.full_like(x, np.nan), where=x > 0)
    return logs


def residual(y: npt.ArrayLike, prediction: npt.ArrayLike, *, scale: Scale = "identity") -> Floats:
    """Truth minus prediction on the scale: positive where the model says too little."""
    return scaled(y, scale) - scaled(prediction, scale)


def loss(task: Task, y: npt.ArrayLike, prediction: npt.ArrayLike, *, scale: Scale = "identity") -> Floats:
    """Loss of each row. `prediction`: P(class 1) for binary, a row of probabilities for multiclass, a number else.

    y holds 0 and 1, class indices (a class that the model doesn't know, -1, costs 1) or numbers.

        >>> loss("binary", [1, 0], [0.9, 0.25]).round(2).tolist()
        [0.1, 0.25]
    """
    if task == "regression":
        return np.abs(residual(y, prediction, scale=scale))
    p = np.array(prediction, dtype=float)
    if task == "binary":
        return np.where(np.asarray(y).astype(bool), 1.0 - p, p)
    return 1.0 - _of_truth(y, p)


def _of_truth(y: npt.ArrayLike, p: Floats) -> Floats:
    """Probability that each row gave to its true class."""
    truth = np.array(y, dtype=np.int64)
    known = (truth >= 0) & (truth < p.shape[1])
    picked = p[np.arange(len(truth)), np.where(known, truth, 0)]
    return np.where(known, picked, 0.0)


def _errors(wrong: npt.NDArray[np.bool_], windows: npt.ArrayLike | None, level: float) -> Estimate:
    if windows is not None:
        return mean(wrong, clusters=windows, level=level)
    return proportion(int(np.count_nonzero(wrong)), len(wrong), level=level)


def binary(
    y: npt.ArrayLike,
    p: npt.ArrayLike,
    *,
    threshold: float = 0.5,
    windows: npt.ArrayLike | None = None,
    level: float = 0.95,
) -> dict[str, Estimate]:
    """error_rate (class 1 from `threshold` on), auc, log_loss, brier, calibration_error; y holds 0 and 1."""
    truth, score = np.asarray(y).astype(bool), np.array(p, dtype=float)
    right = np.clip(np.where(truth, score, 1.0 - score), CERTAIN, 1.0)
    return {
        "error_rate": _errors((score >= threshold) != truth, windows, level),
        "auc": auc(truth, score, level=level),
        "log_loss": mean(-np.log(right), clusters=windows, level=level),
        "brier": mean((score - truth) ** 2, clusters=windows, level=level),
        "calibration_error": calibration_error(truth, score, level=level),
    }


def multiclass(
    y: npt.ArrayLike, p: npt.ArrayLike, *, windows: npt.ArrayLike | None = None, level: float = 0.95
) -> dict[str, Estimate]:
    """error_rate (of the most probable class) and log_loss; y holds class indices, -1 = unknown to the model."""
    truth, scores = np.array(y, dtype=np.int64), np.array(p, dtype=float)
    right = np.clip(_of_truth(truth, scores), CERTAIN, 1.0)
    return {
        "error_rate": _errors(scores.argmax(axis=1) != truth, windows, level),
        "log_loss": mean(-np.log(right), clusters=windows, level=level),
    }


def regression(
    y: npt.ArrayLike,
    prediction: npt.ArrayLike,
    *,
    scale: Scale = "identity",
    windows: npt.ArrayLike | None = None,
    level: float = 0.95,
) -> dict[str, Estimate]:
    """rmse, mae, bias and r2 on the scale; wape (sum of absolute errors over sum of truths) in the truth's own unit.

    bias is the mean residual: positive where the model says too little. Rows without a value on the scale are left out.
    """
    truth, guess = np.array(y, dtype=float), np.array(prediction, dtype=float)
    error = residual(truth, guess, scale=scale)
    used = np.isfinite(error)
    truth, guess, error = truth[used], guess[used], error[used]
    clusters = None if windows is None else np.asarray(windows)[used]
    target = scaled(truth, scale)
    spread = (target - target.mean()) ** 2 if len(target) else target
    unexplained = ratio(error**2, spread, clusters=clusters, level=level)
    square = mean(error**2, clusters=clusters, level=level)
    return {
        "rmse": _root(square),
        "mae": mean(np.abs(error), clusters=clusters, level=level),
        "bias": mean(error, clusters=clusters, level=level),
        "wape": ratio(np.abs(truth - guess), np.abs(truth), clusters=clusters, level=level),
        "r2": Estimate(
            1 - unexplained.value,
            1 - unexplained.high,
            1 - unexplained.low,
            unexplained.n,
            level,
            unexplained.method,
        ),
    }


def _root(square: Estimate) -> Estimate:
    """The same estimate of a square root: value and limits of the square, each under the root."""
    value, low, high = (math.sqrt(max(x, 0.0)) for x in (square.value, square.low, square.high))
    return Estimate(value, low, high, square.n, square.level, square.method)


def calibration_error(y: npt.ArrayLike, p: npt.ArrayLike, *, level: float = 0.95) -> Estimate:
    """Root mean square distance between P(class 1) and how often it came true, over 15 bins of equal size.

    The sampling variance of each bin is subtracted: without that, a perfectly calibrated model would show an error of
    about sqrt(15 / rows) / 2. The interval is normal for the squared error, then cut at zero and put under the root.
    """
    truth, score = np.asarray(y).astype(float), np.array(p, dtype=float)
    n = len(score)
    method = "debiased, normal"
    bins = min(CALIBRATION_BINS, n // 20)
    if bins < 1:
        return Estimate(math.nan, math.nan, math.nan, n, level, method)
    order = np.argsort(score, kind="stable")
    edges = np.arange(bins) * n // bins
    size = np.diff(np.r_[edges, n])
    gap = truth[order] - score[order]
    average = np.add.reduceat(gap, edges) / size
    noise = (np.add.reduceat(gap**2, edges) / size - average**2) / (size - 1)
    excess = average**2 - noise
    share = size / n
    square = float(share @ excess)
    spread = math.sqrt(float(share**2 @ (2 * noise**2 + 4 * noise * np.maximum(excess, 0.0))))
    width = normal_quantile((1 + level) / 2) * spread
    value, low, high = (math.sqrt(max(x, 0.0)) for x in (square, square - width, square + width))
    return Estimate(value, low, high, n, level, method)
