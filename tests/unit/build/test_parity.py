"""The proof itself is put to the test: it must find a wrong model, however small the fault."""

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from holdfast.build.convert import MISSING, Converted, Input, convert
from holdfast.build.parity import boundary_rows, native_frame, native_predict, onnx_predict, parity, prove
from holdfast.errors import ParityFailure

NUMBERS = ["area", "rooms", "age", "new"]


def edited(converted: Converted, change: Any) -> Converted:
    """The same graph with its trees' thresholds changed."""
    model = onnx.load_model_from_string(converted.onnx)
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name == "nodes_splits":
                splits = onnx.numpy_helper.to_array(attribute.t)
                attribute.t.CopyFrom(onnx.numpy_helper.from_array(change(splits)))
    return replace(converted, onnx=model.SerializeToString())


@pytest.fixture(scope="module")
def trained(houses: Any) -> tuple[Any, Any, Converted]:
    numbers = houses.only(NUMBERS)
    model = make_pipeline(StandardScaler(), HistGradientBoostingRegressor(max_iter=10, random_state=0))
    model.fit(numbers.frame, numbers.price)
    return model, numbers, convert(model, numbers.inputs, "regression")


@pytest.mark.parametrize(
    "change",
    [
        lambda splits: splits.astype(np.float32).astype(np.float64),
        lambda splits: np.nextafter(splits, np.inf),
        lambda splits: np.nextafter(splits, -np.inf),
    ],
    ids=["float32", "one unit up", "one unit down"],
)
def test_thresholds_off_by_the_last_bit_are_found(trained: tuple[Any, Any, Converted], change: Any) -> None:
    model, houses, converted = trained
    # The rows come from the graph that is judged: a wrong threshold is where that graph says it is.
    wrong = edited(converted, change)
    with pytest.raises(ParityFailure) as caught:
        prove(model, wrong, houses.table, task="regression")
    assert "rows answer differently" in caught.value.what
    assert "'area'" in caught.value.what


def test_the_report_counts_rows_and_shows_the_worst(trained: tuple[Any, Any, Converted]) -> None:
    model, houses, converted = trained
    original = native_predict(model, converted, task="regression")

    def off(table: Any) -> Any:
        answer = original(table).copy()
        answer[3] += 1.0
        answer[5] += 2.0
        return answer

    report = parity(original, off, houses.table, task="regression")
    assert (report.rows, report.boundary_rows, report.beyond) == (600, 0, 2)
    assert report.scale == pytest.approx(np.std(original(houses.table)))
    assert report.max_difference == pytest.approx(2.0 / report.scale)
    assert [row["row"]["area"] for row in report.worst] == [houses.table["area"][5], houses.table["area"][3]]
    with pytest.raises(ParityFailure, match="2 of 600 rows"):
        report.require()
    lost = parity(original, lambda table: np.full(len(table["area"]), np.nan), houses.table, task="regression")
    assert lost.beyond == 600


def test_boundary_rows_lie_on_both_sides_of_every_threshold() -> None:
    rng = np.random.default_rng(1)
    table = {"x": rng.normal(size=300)}
    model = HistGradientBoostingRegressor(max_iter=1, max_leaf_nodes=4, min_samples_leaf=5)
    model.fit(table["x"].reshape(-1, 1), np.floor(table["x"] * 2))
    converted = convert(model, [Input("x", "FP64", nullable=True)], "regression")
    thresholds = sorted({n["num_threshold"] for n in model._predictors[0][0].nodes if not n["is_leaf"]})
    rows = boundary_rows(converted, table)["x"]
    for threshold in thresholds:
        assert threshold in rows
        assert np.nextafter(threshold, np.inf) in rows
        assert np.nextafter(threshold, -np.inf) in rows
    assert np.isnan(rows).any()


def test_whole_numbers_stay_whole_and_truth_values_true(houses: Any) -> None:
    numbers = houses.only(NUMBERS)
    model = RandomForestRegressor(5, random_state=0).fit(numbers.frame, numbers.price)
    converted = convert(model, numbers.inputs, "regression")
    rows = boundary_rows(converted, numbers.table)
    assert np.array_equal(rows["rooms"], np.floor(rows["rooms"]))
    assert set(rows["new"]) <= {0.0, 1.0}
    frame = native_frame(model, converted, rows)
    assert [str(dtype) for dtype in frame.dtypes] == ["float64", "int64", "float64", "bool"]


def test_a_missing_text_is_not_the_empty_text(houses: Any) -> None:
    pre = ColumnTransformer([("hot", OneHotEncoder(handle_unknown="ignore"), ["city"])])
    model = make_pipeline(pre, Ridge()).fit(houses.frame, houses.price)
    answers = onnx_predict(convert(model, houses.inputs, "regression"))
    table = {name: values[:3] for name, values in houses.table.items()}
    table["city"] = np.array([None, "", MISSING], dtype=object)
    missing, empty, marker = answers(table)[:, 0]
    assert missing != empty
    assert missing == marker


def test_no_rows_is_no_boundary(trained: tuple[Any, Any, Converted]) -> None:
    _, houses, converted = trained
    empty = {name: values[:0] for name, values in houses.table.items()}
    assert all(len(values) == 0 for values in boundary_rows(converted, empty).values())


def test_rows_that_the_original_refuses_are_counted_not_compared(houses: Any) -> None:
    """Behind a logarithm a zero becomes an infinity, which scikit-learn's forests refuse."""
    logarithm = ColumnTransformer([("log", FunctionTransformer(np.log), ["rooms", "area"])])
    model = make_pipeline(logarithm, RandomForestRegressor(5, random_state=0)).fit(houses.frame, houses.price)
    converted = convert(model, houses.inputs, "regression")
    boundary = {name: values[:4].copy() for name, values in houses.table.items()}
    boundary["rooms"][1] = 0.0
    original = native_predict(model, converted, task="regression")
    report = parity(original, onnx_predict(converted), houses.table, boundary, task="regression")
    assert (report.refused, report.boundary_rows, report.rows, report.beyond) == (1, 3, 603, 0)
    assert prove(model, converted, houses.table, task="regression").beyond == 0
