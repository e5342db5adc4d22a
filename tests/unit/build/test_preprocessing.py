"""Every preprocessing step comes out as scikit-learn has it: gaps, unseen categories and text included."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor, make_column_selector
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.feature_selection import SelectKBest, f_regression
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    RobustScaler,
    StandardScaler,
    TargetEncoder,
)

from holdfast.build.convert import convert
from holdfast.build.parity import onnx_predict, prove

NUMBERS = ["area", "rooms", "age", "new"]
TEXTS = ["city", "kind"]

HIST = HistGradientBoostingRegressor(max_iter=10, random_state=0)

NUMERIC: dict[str, Any] = {
    "min-max": MinMaxScaler(clip=True),
    "robust": RobustScaler(),
    "polynomial": make_pipeline(SimpleImputer(), PolynomialFeatures(3)),
    "interactions": make_pipeline(SimpleImputer(), PolynomialFeatures(2, interaction_only=True, include_bias=False)),
    "bins": make_pipeline(
        SimpleImputer(), KBinsDiscretizer(5, quantile_method="averaged_inverted_cdf", encode="ordinal")
    ),
    "one-hot bins": make_pipeline(SimpleImputer(), KBinsDiscretizer(4, strategy="uniform", encode="onehot-dense")),
    "components": make_pipeline(SimpleImputer(), StandardScaler(), PCA(3, whiten=True)),
    "best": make_pipeline(SimpleImputer(), SelectKBest(f_regression, k=2)),
    "union": FeatureUnion([("a", StandardScaler()), ("b", FunctionTransformer(np.square))]),
    "marked": SimpleImputer(missing_values=3.0, strategy="constant", fill_value=-1.0, add_indicator=True),
    "passthrough": "passthrough",
}


@pytest.mark.parametrize("name", NUMERIC)
def test_numbers_before_exact_trees(houses: Any, name: str) -> None:
    columns = ["area", "rooms"] if name == "marked" else NUMBERS[:3]
    pre = ColumnTransformer([("step", NUMERIC[name], columns)])
    model = make_pipeline(pre, HIST).fit(houses.frame, houses.price)
    assert prove(model, convert(model, houses.inputs, "regression"), houses.table, task="regression").beyond == 0


@pytest.mark.parametrize("function", [np.log, np.log1p, np.log10, np.sqrt, np.square, np.exp, np.abs, np.floor, np.cos])
def test_numpy_functions_before_trees(houses: Any, function: Any) -> None:
    """The rows of the table lie on the thresholds' own values; not one may fall off its side by a rounded last bit."""
    small = FunctionTransformer(function, feature_names_out="one-to-one")
    pre = ColumnTransformer([("function", small, ["rooms", "age"])], remainder="drop")
    model = make_pipeline(pre, HIST)
    table = houses.table | {"age": np.abs(np.nan_to_num(houses.table["age"])) / 20.0 + 0.01}
    model.fit(houses.frame.assign(age=table["age"]), houses.price)
    inputs = [c if c.name != "age" else type(c)("age", "FP64") for c in houses.inputs]
    assert prove(model, convert(model, inputs, "regression"), table, task="regression").beyond == 0


ENCODERS: dict[str, Any] = {
    "one-hot": OneHotEncoder(handle_unknown="ignore"),
    "drop": OneHotEncoder(handle_unknown="ignore", drop="if_binary"),
    "rare": OneHotEncoder(min_frequency=0.15, handle_unknown="infrequent_if_exist", drop="first"),
    "ordinal": OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2),
    "ordinal nan": OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan),
    "ordinal rare": OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=99, max_categories=2),
    "target": TargetEncoder(),
    "constant": make_pipeline(
        SimpleImputer(strategy="constant", fill_value="none"), OneHotEncoder(handle_unknown="ignore")
    ),
}
ENCODERS["union"] = FeatureUnion([("a", ENCODERS["constant"]), ("b", ENCODERS["ordinal"])])


@pytest.mark.parametrize("missing", ["nan", "none"])
@pytest.mark.parametrize("name", ENCODERS)
def test_text(houses: Any, name: str, missing: str) -> None:
    """Missing text as pandas has it (NaN) and as plain Python has it (None), unseen text, and the empty text."""
    frame = houses.frame
    if missing == "none":
        frame = frame.assign(city=pd.Series(houses.table["city"], dtype=object))
    model = make_pipeline(
        ColumnTransformer([("text", ENCODERS[name], TEXTS)], remainder=SimpleImputer()),
        RandomForestRegressor(5, random_state=0),
    ).fit(frame, houses.price)
    assert prove(model, convert(model, houses.inputs, "regression"), houses.table, task="regression").beyond == 0


def test_numbers_and_truth_values_as_categories(houses: Any) -> None:
    hot = OneHotEncoder(handle_unknown="ignore")
    pre = ColumnTransformer([("hot", hot, ["rooms", "new", "age"]), ("rest", SimpleImputer(), ["area"])])
    model = make_pipeline(pre, LogisticRegression(max_iter=500)).fit(houses.frame, houses.dear)
    assert prove(model, convert(model, houses.inputs, "binary"), houses.table, task="binary").beyond == 0


def test_an_encoder_that_refuses_the_unseen_closes_its_column(houses: Any) -> None:
    pre = ColumnTransformer([("hot", OneHotEncoder(), ["rooms", "kind"])], remainder="drop")
    model = make_pipeline(pre, LogisticRegression(max_iter=500)).fit(houses.frame, houses.dear)
    converted = convert(model, houses.inputs, "binary")
    assert converted.closed == ("rooms", "kind")
    prove(model, converted, houses.table, task="binary")


def test_columns_by_selector_number_slice_mask_and_remainder(houses: Any) -> None:
    for chosen in (
        make_column_selector(dtype_include=np.number),
        [1, 0],
        slice(0, 3),
        [True, False, True] + 3 * [False],
    ):
        pre = ColumnTransformer(
            [("numbers", SimpleImputer(), chosen), ("texts", OneHotEncoder(handle_unknown="ignore"), TEXTS)],
            remainder="passthrough",
            transformer_weights={"numbers": 0.5},
        )
        model = make_pipeline(pre, HIST).fit(houses.frame, houses.price)
        prove(model, convert(model, houses.inputs, "regression"), houses.table, task="regression")


def test_inputs_in_another_order_and_some_that_the_model_never_saw(houses: Any) -> None:
    model = make_pipeline(SimpleImputer(), Ridge()).fit(houses.frame[["age", "area"]], houses.price)
    converted = convert(model, houses.inputs, "regression")
    assert [column.name for column in converted.inputs] == list(houses.table)
    prove(model, converted, houses.table, task="regression")


@pytest.mark.parametrize(
    ("forward", "backward", "scale"),
    [(np.log, np.exp, "log"), (np.log1p, np.expm1, "log1p"), (np.sqrt, np.square, "identity")],
)
def test_a_transformed_target_answers_in_natural_units(houses: Any, forward: Any, backward: Any, scale: str) -> None:
    inner = Pipeline([("pre", houses.usual()), ("model", HIST)])
    model = TransformedTargetRegressor(inner, func=forward, inverse_func=backward).fit(houses.frame, houses.price)
    converted = convert(model, houses.inputs, "regression")
    assert converted.scale == scale
    assert prove(model, converted, houses.table, task="regression").beyond == 0
    assert np.median(onnx_predict(converted)(houses.table)) == pytest.approx(np.median(houses.price), rel=0.1)


def test_a_scaled_target(houses: Any) -> None:
    for transformer in (StandardScaler(), MinMaxScaler(), RobustScaler()):
        model = make_pipeline(
            houses.usual(encode="ordinal"), TransformedTargetRegressor(Ridge(), transformer=transformer)
        )
        model.fit(houses.frame, houses.price)
        converted = convert(model, houses.inputs, "regression")
        assert converted.scale == "identity"
        prove(model, converted, houses.table, task="regression")
