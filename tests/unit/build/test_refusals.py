"""What can't be converted exactly is refused by name and place; an ONNX file that could do harm is refused unread."""

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.cross_decomposition import PLSRegression
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.multioutput import MultiOutputRegressor
from sklearn.neighbors import KNeighborsRegressor, LocalOutlierFactor, RadiusNeighborsRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, PowerTransformer, StandardScaler
from xgboost import XGBRegressor

from holdfast.build.convert import check_onnx, convert
from holdfast.build.parity import prove
from holdfast.errors import Unconvertible

NUMBERS = ["area", "rooms", "age", "new"]


class Doubler(TransformerMixin, BaseEstimator):
    """A user's own step."""

    def fit(self, X: Any, y: Any = None) -> "Doubler":
        self.fitted_ = True
        return self

    def transform(self, X: Any) -> Any:
        return X * 2


class Scaler(StandardScaler):
    """A subclass may do anything, so it is not taken for its parent."""


def triple(x: Any) -> Any:
    return x * 3


@pytest.mark.parametrize(
    ("step", "says"),
    [
        (Doubler(), "Doubler"),
        (Scaler(), "Scaler"),
        (FunctionTransformer(triple), "'triple'"),
        (FunctionTransformer(np.clip, kw_args={"a_min": 0, "a_max": 1}), "'clip' with arguments"),
        (PowerTransformer(), "PowerTransformer"),
    ],
)
def test_a_step_is_refused_by_name_and_place(houses: Any, step: Any, says: str) -> None:
    inner = Pipeline([("fill", SimpleImputer()), ("own", step)])
    model = Pipeline([("prep", inner), ("model", Ridge())]).fit(houses.frame[["area", "age"]], houses.price)
    with pytest.raises(Unconvertible) as caught:
        convert(model, houses.inputs, "regression")
    assert says in f"{caught.value}"
    assert "pipeline step 'prep' > 'own': class " in caught.value.where
    assert caught.value.next_step


def test_a_model_without_probabilities_and_a_wrong_task(houses: Any) -> None:
    numbers = houses.only(["area", "rooms"])
    with pytest.raises(Unconvertible, match="gives no probabilities"):
        convert(RidgeClassifier().fit(numbers.frame, numbers.dear), numbers.inputs, "binary")
    with pytest.raises(Unconvertible, match="classifier can't be built for regression"):
        convert(LogisticRegression().fit(numbers.frame, numbers.dear), numbers.inputs, "regression")


@pytest.mark.parametrize("model", [KNeighborsRegressor(), MultiOutputRegressor(Ridge()), PLSRegression(1)], ids=str)
def test_several_numbers_at_once_are_refused_also_by_what_is_borrowed(houses: Any, model: Any) -> None:
    numbers = houses.only(["area", "rooms"])
    model.fit(numbers.frame.to_numpy(), np.column_stack([houses.price, houses.price]))
    with pytest.raises(Unconvertible, match="more than one output column"):
        convert(model, numbers.inputs, "regression")


def test_verdicts_on_outliers_and_graphs_that_do_not_run_are_refused(houses: Any) -> None:
    numbers = houses.only(["area", "rooms"])
    with pytest.raises(Unconvertible, match="detector of outliers"):
        convert(LocalOutlierFactor(novelty=True).fit(numbers.frame.to_numpy()), numbers.inputs, "regression")
    model = RadiusNeighborsRegressor(20.0).fit(numbers.frame.to_numpy(), houses.price)
    with pytest.raises(Unconvertible, match="does not run"):
        prove(model, convert(model, numbers.inputs, "regression"), numbers.table, task="regression")


def test_columns_that_do_not_fit(houses: Any) -> None:
    model = make_pipeline(SimpleImputer(), Ridge()).fit(houses.frame[NUMBERS[:3]], houses.price)
    with pytest.raises(Unconvertible, match="not given: 'age'"):
        convert(model, houses.only(["area", "rooms"]).inputs, "regression")
    plain = Ridge().fit(houses.frame[["area", "rooms"]].to_numpy(), houses.price)
    with pytest.raises(Unconvertible, match="takes 2 columns, 6 are given"):
        convert(plain, houses.inputs, "regression")
    with pytest.raises(Unconvertible, match="text column 'kind' reaches a step that needs numbers"):
        convert(plain, houses.only(["area", "kind"]).inputs, "regression")


def test_xgboosts_linear_booster(houses: Any) -> None:
    numbers = houses.only(["area", "rooms"])
    model = XGBRegressor(n_estimators=2, booster="gblinear", nthread=1).fit(numbers.frame, houses.price)
    with pytest.raises(Unconvertible, match="gblinear"):
        convert(model, numbers.inputs, "regression")


# ---------------------------------------------------------------------------------------------- ONNX files


def graph(*nodes: Any, constants: Any = (), shape: Any = ("n", 1)) -> bytes:
    body = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info("x", TensorProto.DOUBLE, list(shape))],
        [helper.make_tensor_value_info("y", TensorProto.DOUBLE, None)],
        list(constants),
    )
    content: bytes = helper.make_model(body).SerializeToString()
    return content


def test_what_we_build_passes(houses: Any) -> None:
    numbers = houses.only(NUMBERS)
    model = HistGradientBoostingClassifier(max_iter=3).fit(numbers.frame, numbers.dear)
    check_onnx(convert(model, numbers.inputs, "binary").onnx)


def test_foreign_operators_are_refused_also_in_subgraphs() -> None:
    check_onnx(graph(helper.make_node("Gelu", ["x"], ["y"], domain="com.microsoft")))
    evil = helper.make_node("Evil", ["x"], ["y"], domain="com.evil", name="boom")
    with pytest.raises(Unconvertible, match=r"operator Evil of domain 'com\.evil'"):
        check_onnx(graph(evil))
    with pytest.raises(Unconvertible, match=r"operator PyOp of domain 'com\.microsoft'"):
        check_onnx(graph(helper.make_node("PyOp", ["x"], ["y"], domain="com.microsoft")))
    branch = helper.make_graph([evil], "b", [], [helper.make_tensor_value_info("y", TensorProto.DOUBLE, None)])
    with pytest.raises(Unconvertible, match="Evil"):
        check_onnx(graph(helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch)))


def test_data_in_another_file_is_refused() -> None:
    tensor = TensorProto(name="w", data_type=TensorProto.DOUBLE, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="../../etc/passwd")
    with pytest.raises(Unconvertible, match="'w' keeps its data in another file"):
        check_onnx(graph(helper.make_node("Add", ["x", "w"], ["y"]), constants=[tensor]))


def test_a_small_file_that_asks_for_gigabytes_is_refused() -> None:
    huge = onnx.numpy_helper.from_array(np.array([1 << 20, 1 << 20]), "huge")
    with pytest.raises(Unconvertible, match="operator ConstantOfShape"):
        check_onnx(graph(helper.make_node("ConstantOfShape", ["huge"], ["y"]), constants=[huge]))
    with pytest.raises(Unconvertible, match="tensor 'x' asks for"):
        check_onnx(graph(helper.make_node("Identity", ["x"], ["y"]), shape=(1 << 20, 1 << 20)))
    inline = helper.make_node("Constant", [], ["huge"], value=huge)
    with pytest.raises(Unconvertible, match="operator ConstantOfShape"):
        check_onnx(graph(inline, helper.make_node("ConstantOfShape", ["huge"], ["y"])))


def test_what_is_no_model_and_what_is_too_large() -> None:
    for content in (b"", b"not a model", b"\x00" * 100):
        with pytest.raises(Unconvertible, match="not an ONNX model"):
            check_onnx(content)
    with pytest.raises(Unconvertible, match="bytes"):
        check_onnx(b"\x00" * 100, max_bytes=10)
