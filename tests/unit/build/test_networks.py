"""PyTorch modules and ONNX networks: shape, meaning of the answers, bytes that depend on the module alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from holdfast.build.adopt import adopt, inspect_onnx, original_answers
from holdfast.build.convert import Input
from holdfast.build.convert.torch import answers, exported, is_module, is_program, open_program, saved, to_onnx
from holdfast.build.networks import network_answers, network_of, refuse_tensorflow, understood
from holdfast.build.parity import onnx_predict
from holdfast.errors import BuildError, RegistryError, Unconvertible

pytestmark = pytest.mark.xdist_group("torch")

SIDE = 8
RNG = np.random.default_rng(0)
COLUMNS = tuple(f"p{i}" for i in range(SIDE * SIDE))


def picture_net(last=None, classes=4):
    torch.manual_seed(1)
    layers = [
        torch.nn.Conv2d(1, 6, 3),
        torch.nn.BatchNorm2d(6),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(2),
        torch.nn.Flatten(),
        torch.nn.Dropout(0.5),
        torch.nn.Linear(54, classes),
    ]
    return torch.nn.Sequential(*layers, *([last] if last else []))


def pictures(rows=40, classes=4):
    rng = np.random.default_rng(0)
    table = {name: rng.normal(size=rows) for name in COLUMNS}
    return table | {"kind": rng.integers(classes, size=rows).astype(float)}


@pytest.fixture(scope="module")
def program():
    return exported(picture_net(), (1, SIDE, SIDE))


def test_a_module_is_known_without_importing_anything(program):
    assert is_module(torch.nn.Linear(1, 1))
    assert not is_module("torch")
    assert is_program(program)


def test_the_module_stays_as_it_was():
    module = picture_net().train()
    exported(module, (1, SIDE, SIDE))
    assert module.training


def test_equal_modules_give_equal_bytes(program, tmp_path):
    again = exported(picture_net(), (1, SIDE, SIDE))
    assert saved(again) == saved(program)
    assert to_onnx(again) == to_onnx(program)
    (tmp_path / "model.pt2").write_bytes(saved(program))
    assert to_onnx(open_program(tmp_path / "model.pt2", ())) == to_onnx(program)


def ending(kinds, width, last=""):
    """An ONNX graph of one product and, perhaps, a last step: a stand-in for what a network becomes."""
    weights = np.random.default_rng(3).normal(size=(4, width)).astype(np.float32)
    nodes = [
        helper.make_node("Flatten", ["x"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["raw"]),
        helper.make_node(last or "Identity", ["raw"], ["said"]),
    ]
    graph = helper.make_graph(
        nodes,
        "ending",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2, 2])],
        [helper.make_tensor_value_info("said", TensorProto.FLOAT, ["n", width])],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    table = {f"p{i}": RNG.normal(size=60) for i in range(4)} | {"kind": RNG.integers(kinds, size=60).astype(float)}
    foreign = replace(inspect_onnx(model.SerializeToString()), flavour="torch")
    return understood(foreign, [f"p{i}" for i in range(4)], table, "kind", ()), table


@pytest.mark.parametrize(
    ("kinds", "width", "last", "link"),
    [
        (4, 4, "", "softmax"),
        (4, 4, "Softmax", ""),
        (4, 4, "LogSoftmax", "exp"),
        (2, 1, "", "sigmoid"),
        (2, 1, "Sigmoid", "one"),
    ],
    ids=["logits", "probabilities", "logarithms", "logit", "chance"],
)
def test_what_the_answers_mean_is_seen_on_rows(kinds, width, last, link):
    foreign, table = ending(kinds, width, last)
    assert foreign.link == link
    assert list(map(str, foreign.classes)) == [str(kind) for kind in range(kinds)]
    assert foreign.shape == (2, 2)
    inputs = [Input(f"p{i}", "FP32") for i in range(4)]
    built = onnx_predict(adopt(foreign, inputs, "binary" if kinds == 2 else "multiclass"))(table)
    assert built.shape == (60, kinds)
    np.testing.assert_allclose(built.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(built, original_answers(foreign, inputs, table), atol=1e-6)


def test_one_answer_and_many_labels_are_a_number():
    foreign, _ = ending(9, 1)
    assert (foreign.link, foreign.classes) == ("", ())


def test_a_program_and_its_graph_answer_alike(program):
    table = pictures()
    foreign = understood(network_of(program), COLUMNS, table, "kind", ())
    assert (foreign.link, foreign.shape) == ("softmax", (1, SIDE, SIDE))
    inputs = [Input(name, "FP32") for name in COLUMNS]
    built = onnx_predict(adopt(foreign, inputs, "multiclass"))(table)
    np.testing.assert_allclose(built, network_answers(program, foreign, inputs, table), atol=1e-6)


def test_a_network_of_whole_numbers():
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Embedding(9, 3), torch.nn.Flatten(), torch.nn.Linear(6, 1))
    program = exported(module, (2,))
    rows = np.array([[1.0, 8.0], [0.0, 3.0]])
    assert answers(program, rows).shape == (2, 1)
    assert inspect_onnx(to_onnx(program)).inputs[0].width == 2


def test_more_labels_than_classes_are_refused(program):
    table = pictures(classes=4) | {"kind": np.array(["a", "b", "c", "d", "e"] * 8, dtype=object)}
    with pytest.raises(BuildError, match="tells 4 classes apart, the labels have 5"):
        understood(inspect_onnx(to_onnx(program)), COLUMNS, table, "kind", ())


def test_the_wrong_shape_is_told_with_the_shape():
    with pytest.raises(Unconvertible, match=r"\[n, 3\]"):
        exported(picture_net(), (3,))


def test_tensorflow_comes_in_as_onnx(tmp_path):
    keras = type("Sequential", (), {"__module__": "keras.src.models.sequential"})()
    for source in (keras, tmp_path / "model.keras", "model.h5"):
        with pytest.raises(Unconvertible, match="come in as ONNX") as told:
            refuse_tensorflow(source)
        assert "tf2onnx" in told.value.next_step
    refuse_tensorflow("models:/prices/3")
    refuse_tensorflow(torch.nn.Linear(1, 1))


def test_weights_alone_are_no_model(tmp_path):
    torch.save(picture_net().state_dict(), tmp_path / "model.pt")
    with pytest.raises(RegistryError, match="not a module"):
        open_program(tmp_path / "model.pt", (1, SIDE, SIDE))


def test_a_pickled_module_is_a_network_too(tmp_path):
    torch.save(picture_net(), tmp_path / "model.pt")
    assert is_program(open_program(tmp_path / "model.pt", (1, SIDE, SIDE)))
