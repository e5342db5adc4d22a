"""Random data, random settings, every tree library: built and original agree on each row, at each threshold.

Each case is fixed by its seed. Values repeat, lie on a grid, are huge or tiny, in float32 and in float64; some are missing.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from catboost import CatBoostClassifier, CatBoostRegressor
from lightgbm import LGBMClassifier, LGBMRegressor
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from xgboost import XGBClassifier, XGBRegressor, XGBRFRegressor

from holdfast.build.convert import Input, convert
from holdfast.build.parity import prove

ROWS, WIDTH = 250, 4
Random = np.random.Generator


def some(rng: Random, *choices: Any) -> Any:
    return choices[rng.integers(len(choices))]


def decision_tree(rng: Random, *, classify: bool) -> Any:
    kind = DecisionTreeClassifier if classify else DecisionTreeRegressor
    return kind(max_depth=some(rng, None, 3, 8), splitter=some(rng, "best", "random"), random_state=0)


def forest(rng: Random, *, classify: bool) -> Any:
    kinds = (RandomForestClassifier, ExtraTreesClassifier) if classify else (RandomForestRegressor, ExtraTreesRegressor)
    settings = {"max_depth": some(rng, None, 4), "bootstrap": some(rng, True, False), "random_state": 0}
    return some(rng, *kinds)(int(rng.integers(1, 12)), max_features=some(rng, 1.0, "sqrt"), **settings)


def boosting(rng: Random, *, classify: bool) -> Any:
    if classify:
        return GradientBoostingClassifier(n_estimators=6, max_depth=some(rng, 1, 4), subsample=0.8, random_state=0)
    loss = some(rng, "squared_error", "absolute_error", "huber", "quantile")
    return GradientBoostingRegressor(n_estimators=6, loss=loss, max_depth=some(rng, 2, 5), random_state=0)


def hist_boosting(rng: Random, *, classify: bool) -> Any:
    kind = HistGradientBoostingClassifier if classify else HistGradientBoostingRegressor
    categories = some(rng, None, [2], [2, 3])
    leaf = int(rng.integers(2, 20))
    bins = some(rng, 255, 32)
    return kind(max_iter=8, categorical_features=categories, min_samples_leaf=leaf, max_bins=bins, random_state=0)


def isolation(rng: Random, *, classify: bool) -> Any:
    del classify
    return IsolationForest(n_estimators=8, max_features=int(rng.integers(1, WIDTH + 1)), random_state=0)


def xgboost(rng: Random, *, classify: bool) -> Any:
    settings = {
        "n_estimators": 8,
        "max_depth": some(rng, 2, 6),
        "learning_rate": some(rng, 0.1, 0.8),
        "booster": some(rng, "gbtree", "dart"),
        "tree_method": some(rng, "hist", "approx"),
        "grow_policy": some(rng, "depthwise", "lossguide"),
        "feature_types": some(rng, None, ["q", "q", "c", "c"]),
        "enable_categorical": True,
        "max_cat_to_onehot": some(rng, 1, 4),
        "nthread": 1,
    }
    if classify:
        return XGBClassifier(**settings)
    if rng.random() < 0.3:
        return XGBRFRegressor(**settings | {"learning_rate": 1.0, "booster": "gbtree"})
    return XGBRegressor(objective=some(rng, "reg:squarederror", "reg:absoluteerror"), **settings)


def lightgbm(rng: Random, *, classify: bool) -> Any:
    linear = bool(rng.random() < 0.3)
    settings = {
        "n_estimators": 8,
        "num_leaves": some(rng, 4, 31),
        "min_child_samples": some(rng, 2, 20),
        "boosting_type": "gbdt" if linear else some(rng, "gbdt", "dart", "goss"),
        "linear_tree": linear,
        "zero_as_missing": not linear and some(rng, True, False),
        "use_missing": some(rng, True, True, False),
        "min_data_per_group": 5,
        "cat_smooth": 1,
        "max_cat_to_onehot": some(rng, 1, 8),
        "verbose": -1,
        "n_jobs": 1,
    }
    return (LGBMClassifier if classify else LGBMRegressor)(**settings)


def catboost(rng: Random, *, classify: bool) -> Any:
    settings = {
        "iterations": 8,
        "depth": int(rng.integers(1, 7)),
        "border_count": some(rng, 8, 254),
        "grow_policy": some(rng, "SymmetricTree", "Depthwise", "Lossguide"),
        "nan_mode": some(rng, "Min", "Max"),
        "verbose": 0,
        "thread_count": 1,
        "allow_writing_files": False,
    }
    return (CatBoostClassifier if classify else CatBoostRegressor)(**settings)


KINDS: dict[str, Callable[..., Any]] = {
    "tree": decision_tree,
    "forest": forest,
    "boosting": boosting,
    "hist boosting": hist_boosting,
    "isolation": isolation,
    "xgboost": xgboost,
    "lightgbm": lightgbm,
    "catboost": catboost,
}


def data(rng: Random, *, gaps: bool) -> Any:
    """Two columns of real numbers in different guises and two of small whole ones, which may be codes of categories."""
    numbers = rng.normal(size=(ROWS, 2)) * 10.0 ** rng.integers(-6, 7, 2)
    for column in range(2):
        match rng.integers(4):
            case 0:
                numbers[:, column] = numbers[:, column].astype(np.float32)
            case 1:
                unit = np.std(numbers[:, column]) / 8
                numbers[:, column] = np.round(numbers[:, column] / unit) * unit
            case 2:
                numbers[rng.random(ROWS) < 0.3, column] = 0.0
    codes = rng.integers(0, rng.integers(2, 30), (ROWS, 2)).astype(float)
    matrix = np.column_stack([numbers, codes])
    if gaps:
        matrix[rng.random(matrix.shape) < 0.1] = np.nan
    return matrix


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("kind", KINDS)
def test_a_random_model_is_built_exactly(kind: str, seed: int) -> None:
    rng = np.random.default_rng([seed, *kind.encode()])
    classify = seed % 2 == 0 and kind != "isolation"
    matrix = data(rng, gaps=kind != "boosting")
    score = np.nan_to_num(matrix / (np.nanstd(matrix, axis=0) + 1e-300)) @ rng.normal(size=WIDTH) + rng.normal(
        size=ROWS
    )
    classes = some(rng, 2, 4)
    target = np.digitize(score, np.quantile(score, np.linspace(0, 1, classes + 1)[1:-1])) if classify else score
    more = {"categorical_feature": some(rng, "auto", [2], [2, 3])} if kind == "lightgbm" else {}
    model = KINDS[kind](rng, classify=classify).fit(matrix, target, **more)
    task: Any = "regression" if not classify else "binary" if classes == 2 else "multiclass"
    inputs = [Input(f"x{i}", "FP64", nullable=kind != "boosting") for i in range(WIDTH)]
    report = prove(model, convert(model, inputs, task), {f"x{i}": matrix[:, i] for i in range(WIDTH)}, task=task)
    assert report.boundary_rows > 0
    assert report.max_difference < (1e-5 if kind == "xgboost" else 1e-9)
