import json
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from holdfast.backends.onnx import OnnxRuntime
from holdfast.core.contract import MISSING_STRING, NUMBERS_KEY
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


def packed(path, nodes, output, width, columns="abc", texts=()):
    """A graph that reads its numbers as one matrix, as the builder writes them."""
    matrix = helper.make_tensor_value_info("numbers", TensorProto.DOUBLE, ["n", len(columns)])
    others = [helper.make_tensor_value_info(name, TensorProto.STRING, ["n", 1]) for name in texts]
    answer = helper.make_tensor_value_info(output, TensorProto.DOUBLE, ["n", width])
    model = helper.make_model(
        helper.make_graph(nodes, "g", [matrix, *others], [answer]),
        opset_imports=[helper.make_opsetid("", 21)],
        ir_version=10,
    )
    helper.set_model_props(model, {NUMBERS_KEY: json.dumps({"input": "numbers", "columns": list(columns)})})
    path.write_bytes(model.SerializeToString())
    return OnnxRuntime().load(path)


def total(path):
    nodes = [
        helper.make_node("Constant", [], ["axis"], value_ints=[1]),
        helper.make_node("ReduceSum", ["numbers", "axis"], ["prediction"], keepdims=1),
    ]
    return packed(path, nodes, "prediction", 1)


def test_numbers_enter_as_one_matrix_in_the_order_of_its_metadata(tmp_path):
    session = packed(
        tmp_path / "m.onnx",
        [helper.make_node("Identity", ["numbers"], ["probabilities"])],
        "probabilities",
        2,
        columns="ba",
    )
    found = session.run({"a": np.array([1.0, 2.0]), "b": np.array(["true", None], dtype=object)})["probabilities"]
    assert found[0].tolist() == [1.0, 1.0]
    assert np.isnan(found[1, 0])
    with pytest.raises(KeyError, match="b"):
        session.run({"a": np.array([1.0])})
    assert session.direct(("a", "b")) is None, "the order is another"
    assert session.direct(("b", "a"))(np.array([[1.0], [2.0]]), {}).tolist() == [[1.0, 2.0]]


def test_the_direct_way_answers_as_the_usual_one_for_one_row_and_many(tmp_path):
    session = total(tmp_path / "m.onnx")
    direct = session.direct(("a", "b", "c"))
    for rows in (1, 1, 2, 7):
        numbers = np.random.default_rng(rows).normal(size=(3, rows))
        expected = session.run(dict(zip("abc", numbers, strict=True)))["prediction"]
        assert np.array_equal(direct(numbers, {}), expected)
    first, second = direct(np.ones((3, 1)), {}), direct(np.zeros((3, 1)), {})
    assert (first.tolist(), second.tolist()) == ([3.0], [0.0]), "an answer is not overwritten by the next"


def test_threads_do_not_see_each_others_rows(tmp_path):
    direct = total(tmp_path / "m.onnx").direct(("a", "b", "c"))

    def ask(value):
        return {float(direct(np.full((3, 1), float(value)), {})[0]) for _ in range(2000)}

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(ask, range(4))) == [{3.0 * value} for value in range(4)]


def test_texts_stand_beside_the_matrix(tmp_path):
    nodes = [
        helper.make_node("Constant", [], ["gap"], value_strings=[MISSING_STRING]),
        helper.make_node("Equal", ["kind", "gap"], ["same"]),
        helper.make_node("Cast", ["same"], ["missing"], to=TensorProto.DOUBLE),
        helper.make_node("Concat", ["numbers", "missing"], ["probabilities"], axis=1),
    ]
    session = packed(tmp_path / "m.onnx", nodes, "probabilities", 3, columns="ab", texts=("kind",))
    numbers, kinds = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array(["flat", None], dtype=object)
    found = session.direct(("a", "b"))(numbers, {"kind": kinds, "unread": kinds})
    assert found.tolist() == [[1.0, 3.0, 0.0], [2.0, 4.0, 1.0]]
    assert np.array_equal(session.run({"a": numbers[0], "b": numbers[1], "kind": kinds})["probabilities"], found)


def test_a_graph_with_an_input_per_column_has_no_direct_way(tmp_path):
    nodes = [helper.make_node("Cast", ["a"], ["prediction"], to=TensorProto.DOUBLE)]
    for kind in (TensorProto.STRING, TensorProto.DOUBLE):
        assert saved(tmp_path / "m.onnx", {"a": kind}, nodes, "prediction").direct(("a",)) is None


def wide(path, width):
    """A net with a layer of `width` x `width` weights."""
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(1, width)), rng.normal(size=(width, width)) / width
    nodes = [
        helper.make_node("MatMul", ["a", "first"], ["h"]),
        helper.make_node("Tanh", ["h"], ["t"]),
        helper.make_node("MatMul", ["t", "second"], ["s"]),
        helper.make_node("ReduceMean", ["s", "axes"], ["prediction"], keepdims=1),
    ]
    given = helper.make_tensor_value_info("a", TensorProto.DOUBLE, ["n", 1])
    answer = helper.make_tensor_value_info("prediction", TensorProto.DOUBLE, ["n", 1])
    weights = [
        numpy_helper.from_array(first, "first"),
        numpy_helper.from_array(second, "second"),
        numpy_helper.from_array(np.array([1]), "axes"),
    ]
    graph = helper.make_graph(nodes, "g", [given], [answer], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    path.write_bytes(model.SerializeToString())
    return path


def test_large_models_get_threads_and_answer_the_same_in_every_process(tmp_path):
    small, large = wide(tmp_path / "small.onnx", 64), wide(tmp_path / "large.onnx", 700)
    runtime = OnnxRuntime(threads=3)
    options = {path: runtime.load(path)._session.get_session_options() for path in (small, large)}
    assert [options[path].intra_op_num_threads for path in (small, large)] == [1, 3]
    assert runtime.load(large, threads=2)._session.get_session_options().intra_op_num_threads == 2
    table = {"a": np.linspace(-2.0, 2.0, 500)}
    one, three, again = (OnnxRuntime(threads).load(large).run(table)["prediction"] for threads in (1, 3, 3))
    assert np.array_equal(three, again), "each worker chooses the same number, and so gives the same bits"
    assert np.allclose(one, three, rtol=1e-12)


def test_a_row_may_come_as_its_bytes(tmp_path):
    direct = total(tmp_path / "m.onnx").direct(("a", "b", "c"))
    row = np.array([0.1, 0.2, 0.3])
    assert direct(row.tobytes(), {}).tolist() == direct(row.reshape(3, 1), {}).tolist()
    with direct._lock:  # another thread is at it
        assert direct(row.tobytes(), {}).tolist() == direct(row.reshape(3, 1), {}).tolist()


def test_hardware_that_is_not_here_is_done_without(tmp_path):
    session = OnnxRuntime().load(wide(tmp_path / "m.onnx", 8), provider="CUDAExecutionProvider")
    assert session._session.get_providers()[-1] == "CPUExecutionProvider"
    assert len(session.run({"a": np.array([1.0, 2.0])})["prediction"]) == 2
