import os

import numpy as np
import pytest
from onnx import TensorProto, helper

from holdfast.backends.onnx import OnnxRuntime
from holdfast.core.contract import MISSING_STRING
from holdfast.errors import ReleaseError


def saved(path, inputs, nodes, output, kind=TensorProto.DOUBLE):
    tensors = [helper.make_tensor_value_info(name, type_, ["n", 1]) for name, type_ in inputs.items()]
    answer = helper.make_tensor_value_info(output, kind, ["n", None])
    graph = helper.make_graph(nodes, "g", tensors, [answer])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    path.write_bytes(model.SerializeToString())
    return OnnxRuntime().load(path)


def test_columns_become_what_the_graph_wants(tmp_path):
    nodes = [
        helper.make_node("Cast", ["b"], ["as_double"], to=TensorProto.DOUBLE),
        helper.make_node("Cast", ["c"], ["whole"], to=TensorProto.DOUBLE),
        helper.make_node("Sum", ["a", "as_double", "whole"], ["prediction"]),
    ]
    inputs = {"a": TensorProto.DOUBLE, "b": TensorProto.FLOAT, "c": TensorProto.INT64}
    session = saved(tmp_path / "m.onnx", inputs, nodes, "prediction")
    table = {
        "a": np.array([1.0, np.nan]),
        "b": np.array(["true", "false"], dtype=object),
        "c": np.array([4.0, 5.0]),
        "unread": np.array([None, None], dtype=object),
    }
    (name,), (values,) = zip(*session.run(table).items(), strict=True)
    assert name == "prediction"
    assert values.dtype == np.float64
    assert values[0] == 6.0
    assert np.isnan(values[1])


def test_a_missing_truth_value_is_nan(tmp_path):
    nodes = [helper.make_node("Identity", ["a"], ["prediction"])]
    session = saved(tmp_path / "m.onnx", {"a": TensorProto.DOUBLE}, nodes, "prediction")
    found = session.run({"a": np.array(["true", None, "false"], dtype=object)})["prediction"]
    assert found.tolist()[::2] == [1.0, 0.0]
    assert np.isnan(found[1])


def test_a_missing_text_is_the_one_that_converters_know(tmp_path):
    nodes = [
        helper.make_node("Constant", [], ["gap"], value_strings=[MISSING_STRING]),
        helper.make_node("Equal", ["a", "gap"], ["same"]),
        helper.make_node("Cast", ["same"], ["prediction"], to=TensorProto.DOUBLE),
    ]
    session = saved(tmp_path / "m.onnx", {"a": TensorProto.STRING}, nodes, "prediction")
    found = session.run({"a": np.array(["x", None, "é"], dtype=object)})["prediction"]
    assert found.tolist() == [0.0, 1.0, 0.0]


def test_probabilities_keep_their_shape_and_become_float64(tmp_path):
    nodes = [helper.make_node("Concat", ["a", "a", "a"], ["probabilities"], axis=1)]
    session = saved(tmp_path / "m.onnx", {"a": TensorProto.FLOAT}, nodes, "probabilities", TensorProto.FLOAT)
    found = session.run({"a": np.array([0.5, 0.25])})["probabilities"]
    assert (found.shape, found.dtype) == ((2, 3), np.float64)


def test_what_cannot_be_opened_or_fails_is_said(tmp_path):
    (tmp_path / "none.onnx").write_bytes(b"nothing")
    with pytest.raises(ReleaseError, match="cannot be opened"):
        OnnxRuntime().load(tmp_path / "none.onnx")
    nodes = [helper.make_node("Identity", ["a"], ["prediction"])]
    with pytest.raises(ReleaseError, match="complex"):
        saved(tmp_path / "m.onnx", {"a": TensorProto.COMPLEX64}, nodes, "prediction", TensorProto.COMPLEX64)
    nodes = [
        helper.make_node("Constant", [], ["three"], value_ints=[3]),
        helper.make_node("Reshape", ["a", "three"], ["prediction"]),
    ]
    session = saved(tmp_path / "m.onnx", {"a": TensorProto.DOUBLE}, nodes, "prediction")
    with pytest.raises(ReleaseError, match="failed on these rows"):
        session.run({"a": np.array([1.0])})


def test_telemetry_is_off():
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"
