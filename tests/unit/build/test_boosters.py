"""What each boosting library does in its own way answers as in the library: categories, linear leaves, zeros, links."""

from dataclasses import replace
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest
from catboost import CatBoost, CatBoostClassifier, CatBoostRegressor
from lightgbm import LGBMClassifier, LGBMRegressor
from sklearn.pipeline import make_pipeline
from xgboost import XGBClassifier, XGBRegressor

from holdfast.build.convert import Input, convert
from holdfast.build.nature import nature_of
from holdfast.build.parity import onnx_predict, prove
from holdfast.errors import Unconvertible

NUMBERS = ["area", "rooms", "age", "new"]
CAT = {"iterations": 25, "verbose": 0, "thread_count": 1, "allow_writing_files": False}
LGB = {"n_estimators": 20, "verbose": -1, "n_jobs": 1, "min_child_samples": 5}
XGB = {"n_estimators": 20, "nthread": 1, "enable_categorical": True}


def models(kind: str) -> Any:
    """One estimator of each task, with settings."""
    pairs = {
        "catboost": (CatBoostRegressor, CatBoostClassifier, CAT),
        "lightgbm": (LGBMRegressor, LGBMClassifier, LGB),
        "xgboost": (XGBRegressor, XGBClassifier, XGB),
    }
    regressor, classifier, usual = pairs[kind]
    return lambda task, **more: (regressor if task == "regression" else classifier)(**usual, **more)


def in_ascii(houses: Any) -> Any:
    """The same market in words that XGBoost can keep."""
    plain = {"city": pd.Series(houses.frame["city"]).replace("Köln", "Cologne")}
    return replace(houses, frame=houses.frame.assign(**plain), table=houses.table | {"city": plain["city"].to_numpy()})


@pytest.mark.parametrize("task", ["regression", "binary", "multiclass"])
@pytest.mark.parametrize("policy", ["SymmetricTree", "Depthwise", "Lossguide"])
@pytest.mark.parametrize("nan_mode", ["Min", "Max"])
def test_catboost(houses: Any, task: Any, policy: str, nan_mode: str) -> None:
    numbers = houses.only(NUMBERS)
    model = models("catboost")(task, grow_policy=policy, nan_mode=nan_mode).fit(numbers.frame, houses.target(task))
    report = prove(model, convert(model, numbers.inputs, task), numbers.table, task=task)
    assert report.max_difference < 1e-12
    assert report.boundary_rows > 200


@pytest.mark.parametrize(
    "loss", ["MAE", "Quantile:alpha=0.3", "Poisson", "Tweedie:variance_power=1.5", "Huber:delta=1"]
)
def test_losses_of_catboost(houses: Any, loss: str) -> None:
    numbers = houses.only(NUMBERS)
    model = CatBoostRegressor(**CAT, loss_function=loss).fit(numbers.frame, houses.price)
    prove(model, convert(model, numbers.inputs, "regression"), numbers.table, task="regression")


def test_catboost_one_against_rest_and_within_a_pipeline(houses: Any) -> None:
    model = CatBoostClassifier(**CAT, loss_function="MultiClassOneVsAll")
    model = make_pipeline(houses.usual(), model).fit(houses.frame, houses.band)
    prove(model, convert(model, houses.inputs, "multiclass"), houses.table, task="multiclass")
    assert nature_of(CatBoostRegressor(**CAT).fit(houses.frame[NUMBERS], houses.price)).task == "regression"


def test_what_catboost_does_with_categories_and_several_targets_is_refused(houses: Any) -> None:
    frame = houses.frame[["area", "kind"]]
    model = CatBoostRegressor(**CAT, cat_features=["kind"]).fit(frame, houses.price)
    with pytest.raises(Unconvertible, match=r"categories \(kind\): the model keeps hashes"):
        convert(model, houses.only(["area", "kind"]).inputs, "regression")
    numbers = houses.only(["area", "rooms"])
    for loss, target in (("RMSEWithUncertainty", houses.price), ("MultiRMSE", np.column_stack([houses.price] * 2))):
        model = CatBoost({**CAT, "loss_function": loss}).fit(numbers.frame, target)
        with pytest.raises(Unconvertible, match=loss):
            convert(model, numbers.inputs, "regression")


@pytest.mark.parametrize("task", ["regression", "binary", "multiclass"])
def test_linear_leaves_of_lightgbm(houses: Any, task: Any) -> None:
    numbers = houses.only(NUMBERS)
    model = models("lightgbm")(task, linear_tree=True).fit(numbers.frame, houses.target(task))
    assert "leaf_coeff" in str(model.booster_.dump_model())
    report = prove(model, convert(model, numbers.inputs, task), numbers.table, task=task)
    assert report.max_difference < 1e-9


def test_linear_leaves_behind_splits_on_categories(houses: Any) -> None:
    frame = houses.frame.astype({"city": "category", "kind": "category"})
    model = models("lightgbm")("regression", linear_tree=True, min_data_per_group=5, cat_smooth=1)
    model.fit(frame, houses.price)
    assert "'=='" in str(model.booster_.dump_model())
    prove(model, convert(model, houses.inputs, "regression"), houses.table, task="regression")


def test_zeros_of_lightgbm() -> None:
    """Zero is missing if it is told so; and what is closer to zero than 1e-35 is zero in any case."""
    rng = np.random.default_rng(2)
    matrix = np.where(rng.random((400, 3)) < 0.3, 0.0, rng.normal(size=(400, 3)))
    matrix[::7, 1] = np.nan
    table = {f"x{i}": matrix[:, i].copy() for i in range(3)}
    inputs = [Input(f"x{i}", "FP64", nullable=True) for i in range(3)]
    target = matrix[:, 0] + (matrix[:, 2] == 0)
    tiny = np.array([0.0, -0.0, 1e-35, -1e-35, 1.1e-35, -1.1e-35, 5e-324, -5e-324])
    for zero_as_missing in (True, False):
        model = LGBMRegressor(**LGB, zero_as_missing=zero_as_missing).fit(matrix, target)
        converted = convert(model, inputs, "regression")
        prove(model, converted, table, task="regression")
        for column in range(3):
            rows = np.repeat(matrix[:1], len(tiny), axis=0)
            rows[:, column] = tiny
            built = onnx_predict(converted)({f"x{i}": rows[:, i] for i in range(3)})[:, 0]
            np.testing.assert_allclose(built, model.predict(rows), atol=1e-12)


@pytest.mark.parametrize("task", ["regression", "binary", "multiclass"])
@pytest.mark.parametrize("onehot", [1, 100])
def test_categories_of_xgboost(houses: Any, task: Any, onehot: int) -> None:
    """Sets and one against the rest; text and numbers; missing values go where they were learned to."""
    houses = in_ascii(houses)
    frame = houses.frame.astype({"city": "category", "kind": "category", "rooms": "category"})
    model = models("xgboost")(task, max_cat_to_onehot=onehot).fit(frame, houses.target(task))
    converted = convert(model, houses.inputs, task)
    assert converted.category_columns == ("rooms", "city", "kind")
    assert converted.closed == ("rooms", "city", "kind")
    prove(model, converted, houses.table, task=task)


def test_codes_of_categories_without_a_frame() -> None:
    """Codes out of the learned range, fractions and negative ones go where XGBoost sends them."""
    rng = np.random.default_rng(3)
    matrix = np.column_stack([rng.normal(size=400), rng.integers(0, 40, 400)]).astype(float)
    matrix[::9, 1] = np.nan
    target = np.sin(matrix[:, 0]) + np.isin(matrix[:, 1], [3, 7, 20, 39])
    inputs = [Input("x0", "FP64"), Input("x1", "FP64", nullable=True)]
    codes = np.array([0.0, 3.0, 3.7, 39.0, 40.0, 1e6, -1.0, -0.5, np.nan, 20.999])
    rows = {"x0": np.zeros(len(codes)), "x1": codes}
    for onehot in (1, 100):
        model = XGBRegressor(**XGB, feature_types=["q", "c"], max_cat_to_onehot=onehot).fit(matrix, target)
        converted = convert(model, inputs, "regression")
        prove(model, converted, {"x0": matrix[:, 0], "x1": matrix[:, 1]}, task="regression")
        native = model.predict(np.column_stack([rows["x0"], codes]))
        np.testing.assert_allclose(onnx_predict(converted)(rows)[:, 0], native, atol=1e-5)


def test_dart_and_early_stopping_of_xgboost(houses: Any) -> None:
    numbers = houses.only(NUMBERS)
    model = XGBRegressor(n_estimators=40, booster="dart", rate_drop=0.3, skip_drop=0.2, nthread=1)
    model.fit(numbers.frame, houses.price)
    prove(model, convert(model, numbers.inputs, "regression"), numbers.table, task="regression")
    model = XGBClassifier(
        n_estimators=200, learning_rate=0.9, early_stopping_rounds=2, nthread=1, enable_categorical=True
    )
    houses = in_ascii(houses)
    frame = houses.frame.astype({"city": "category", "kind": "category"})
    model.fit(frame[:400], houses.band[:400], eval_set=[(frame[400:], houses.band[400:])], verbose=False)
    assert model.best_iteration + 1 < model.get_booster().num_boosted_rounds()
    prove(model, convert(model, houses.inputs, "multiclass"), houses.table, task="multiclass")


def test_several_targets_are_refused_by_name(houses: Any) -> None:
    numbers = houses.only(["area", "rooms"])
    twice = np.column_stack([houses.price, houses.price * 2])
    for strategy in ("one_output_per_tree", "multi_output_tree"):
        model = XGBRegressor(n_estimators=3, nthread=1, tree_method="hist", multi_strategy=strategy)
        model.fit(numbers.frame, twice)
        with pytest.raises(Unconvertible, match="output column"):
            convert(model, numbers.inputs, "regression")


def test_categories_that_no_list_explains_are_refused(houses: Any) -> None:
    frame = pd.DataFrame({"rooms": houses.frame["rooms"].astype("int32").astype("category")})
    model = XGBRegressor(**XGB).fit(frame, houses.price)
    with pytest.raises(Unconvertible, match="another type than int64"):
        convert(model, houses.only(["rooms"]).inputs, "regression")
    frame = pd.DataFrame({"city": houses.frame["city"].astype("category")})
    model = XGBRegressor(**XGB).fit(frame, houses.price)
    with pytest.raises(Unconvertible, match="beyond ASCII, which XGBoost itself mixes up"):
        convert(model, houses.only(["city"]).inputs, "regression")


def test_a_bare_lightgbm_booster_with_early_stopping(houses: Any) -> None:
    numbers = houses.only(NUMBERS)
    data = lightgbm.Dataset(numbers.frame[:400], houses.price[:400])
    held_out = data.create_valid(numbers.frame[400:], houses.price[400:])
    settings = {"objective": "regression", "verbose": -1, "num_threads": 1, "learning_rate": 0.5, "boosting": "gbdt"}
    stop = lightgbm.early_stopping(2, verbose=False)
    model = lightgbm.train(settings, data, 200, valid_sets=[held_out], callbacks=[stop])
    assert 0 < model.best_iteration < 200
    prove(model, convert(model, numbers.inputs, "regression"), numbers.table, task="regression")
