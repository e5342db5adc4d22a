"""ONNX models that others exported: taken in as they are, or refused with a way out."""

import numpy as np
import pandas as pd
import pytest
import skl2onnx
from onnx import TensorProto, helper
from skl2onnx.common.data_types import FloatTensorType, Int64TensorType, StringTensorType
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from holdfast.build.adopt import adopt, inspect_onnx, original_answers
from holdfast.build.convert import Input
from holdfast.build.parity import onnx_predict
from holdfast.errors import Unconvertible

OPSETS = {"": 18, "ai.onnx.ml": 3}


def mixed(rows=200):
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "area": rng.normal(size=rows).astype(np.float32),
            "rooms": rng.integers(1, 6, rows),
            "kind": rng.choice(np.array(["flat", "house"], dtype=object), rows),
        }
    )


def exported(*, zipmap: bool = False) -> bytes:
    X = mixed()
    columns = ColumnTransformer([("kind", OneHotEncoder(), ["kind"])], remainder="passthrough", sparse_threshold=0)
    labels = np.array(["cheap", "fair", "dear"], dtype=object)[np.digitize(X["area"], [-0.5, 0.5])]
    model = make_pipeline(columns, LogisticRegression(max_iter=500)).fit(X, labels)
    types = [
        ("area", FloatTensorType([None, 1])),
        ("rooms", Int64TensorType([None, 1])),
        ("kind", StringTensorType([None, 1])),
    ]
    options = {id(model): {"zipmap": zipmap}}
    return skl2onnx.to_onnx(model, initial_types=types, options=options, target_opset=OPSETS).SerializeToString()


def graph(inputs, outputs, nodes) -> bytes:
    made = helper.make_model(
        helper.make_graph(nodes, "g", inputs, outputs), opset_imports=[helper.make_opsetid("", 18)], ir_version=9
    )
    return made.SerializeToString()


def value(name, kind=TensorProto.FLOAT, dims=("n", 2)):
    return helper.make_tensor_value_info(name, kind, list(dims))


def test_a_graph_with_an_input_per_column_keeps_its_answers():
    foreign = inspect_onnx(exported())
    nature = foreign.nature(())
    assert nature.task == "multiclass"
    assert nature.columns == ("area", "rooms", "kind")
    assert nature.classes == ("cheap", "dear", "fair")
    inputs = [Input("area", "FP64"), Input("rooms", "INT64"), Input("kind", "BYTES")]
    built = adopt(foreign, inputs, nature.task)
    frame = mixed()
    table = {
        "area": frame["area"].to_numpy(float),
        "rooms": frame["rooms"].to_numpy(float),
        "kind": frame["kind"].to_numpy(object),
    }
    assert np.array_equal(onnx_predict(built)(table), original_answers(foreign, inputs, table))
    assert built.onnx == adopt(foreign, inputs, nature.task).onnx


def test_a_vector_of_predictions_is_a_column():
    foreign = inspect_onnx(
        graph([value("x", dims=("n",))], [value("y", dims=("n",))], [helper.make_node("Neg", ["x"], ["y"])])
    )
    nature = foreign.nature(("whatever",))
    assert nature.columns == ("x",)
    built = adopt(foreign, [Input("x", "FP64")], nature.task)
    assert onnx_predict(built)({"x": np.array([1.0, -2.0])}).tolist() == [[-1.0], [2.0]]


def test_a_matrix_takes_the_columns_of_the_data_in_their_order():
    foreign = inspect_onnx(
        graph([value("X")], [value("y", dims=("n", 1))], [helper.make_node("ReduceMax", ["X"], ["y"], keepdims=1)])
    )
    assert foreign.nature(("b", "a")).columns == ("b", "a")
    assert foreign.nature(()).columns == ("x0", "x1")
    with pytest.raises(Unconvertible, match="2 columns, the reference has 3"):
        foreign.nature(("a", "b", "c"))


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"not a model", "not an ONNX model"),
        (
            graph([value("a"), value("b")], [value("y")], [helper.make_node("Add", ["a", "b"], ["y"])]),
            "several matrices",
        ),
        (
            graph(
                [value("X")],
                [value("y"), value("z")],
                [helper.make_node("Neg", ["X"], ["y"]), helper.make_node("Abs", ["X"], ["z"])],
            ),
            "2 outputs",
        ),
        (
            graph([value("X")], [value("y")], [helper.make_node("Steal", ["X"], ["y"], domain="evil")]),
            "not allowed",
        ),
    ],
    ids=["no model", "two matrices", "two answers", "foreign operator"],
)
def test_what_cannot_be_taken_in_is_refused_with_a_way_out(content, what):
    with pytest.raises(Unconvertible, match=what) as refused:
        inspect_onnx(content)
    assert refused.value.next_step


def test_a_list_of_maps_is_refused():
    with pytest.raises(Unconvertible, match="list of maps") as refused:
        inspect_onnx(exported(zipmap=True))
    assert "zipmap=False" in refused.value.next_step
