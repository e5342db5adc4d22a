"""The models that are measured, each trained the same way each time, in one thread; and the rows that are asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from catboost import CatBoostClassifier
from lightgbm import LGBMClassifier
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from xgboost import XGBClassifier

WIDTH = 20
Rows = Any


class Forest(NamedTuple):
    """One model of the comparison."""

    name: str
    title: str
    make: Callable[[], Any]
    task: str = "binary"
    method: str = "predict_proba"


FORESTS = (
    Forest(
        "random_forest",
        "random forest, 40 trees",
        lambda: RandomForestClassifier(40, max_depth=8, min_samples_leaf=3, random_state=0),
    ),
    Forest(
        "extra_trees",
        "extra trees, 40",
        lambda: ExtraTreesClassifier(40, max_depth=8, min_samples_leaf=3, random_state=0),
    ),
    Forest(
        "regression_forest",
        "random forest regressor, 40",
        lambda: RandomForestRegressor(40, max_depth=8, min_samples_leaf=3, random_state=0),
        task="regression",
        method="predict",
    ),
    Forest(
        "random_forest_scaled",
        "the first, behind a StandardScaler",
        lambda: make_pipeline(StandardScaler(), FORESTS[0].make()),
    ),
    Forest(
        "gradient_boosting", "gradient boosting, 100", lambda: GradientBoostingClassifier(max_depth=4, random_state=0)
    ),
    Forest("hist_gb", "HistGB, 150", lambda: HistGradientBoostingClassifier(max_iter=150, early_stopping=False)),
    Forest("xgboost", "XGBoost, 150", lambda: XGBClassifier(n_estimators=150, max_depth=5, nthread=1)),
    Forest(
        "xgboost_scaled",
        "XGBoost, 150, behind a StandardScaler",
        lambda: make_pipeline(StandardScaler(), XGBClassifier(n_estimators=150, max_depth=5, nthread=1)),
    ),
    Forest("lightgbm", "LightGBM, 150", lambda: LGBMClassifier(n_estimators=150, n_jobs=1, verbose=-1)),
    Forest(
        "catboost",
        "CatBoost, 150",
        lambda: CatBoostClassifier(iterations=150, verbose=0, thread_count=1, allow_writing_files=False),
    ),
    Forest(
        "isolation_forest",
        "isolation forest, 100",
        lambda: IsolationForest(random_state=0),
        task="regression",
        method="decision_function",
    ),
)


def rows(count: int, seed: int) -> tuple[Rows, Any]:
    """Numbers as tables have them: measurements with two decimals, whole numbers, shares, and full float64."""
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(count, WIDTH)) * 10.0 ** (np.arange(WIDTH) % 4)
    matrix[:, 5:10] = np.round(matrix[:, 5:10], 2)
    matrix[:, 10:15] = np.round(matrix[:, 10:15])
    matrix[:, 15:] = rng.random((count, 5))
    score = np.tanh(matrix[:, 0]) + matrix[:, 6] / 40 + np.sin(matrix[:, 10]) + 3 * matrix[:, 15] * matrix[:, 16]
    return matrix, score + rng.normal(0, 0.5, count)
