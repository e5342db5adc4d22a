"""PyTorch modules and ONNX networks: shape, meaning of the answers, bytes that depend on the module alone."""

import numpy as np
import pytest
import torch

from holdfast.build.adopt import adopt, inspect_onnx
from holdfast.build.convert import Input
from holdfast.build.convert.torch import answers, exported, is_module, is_program, open_program, saved, to_onnx
from holdfast.build.networks import network_answers, network_of, understood
from holdfast.build.parity import onnx_predict
from holdfast.errors import BuildError, RegistryError, Unconvertible

pytestmark = pytest.mark.xdist_group("torch")

SIDE = 8
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


@pytest.mark.parametrize(
    ("last", "link"),
    [(None, "softmax"), (torch.nn.Softmax(1), ""), (torch.nn.LogSoftmax(1), "exp")],
    ids=["logits", "probabilities", "logarithms"],
)
def test_what_the_answers_mean_is_seen_on_rows(last, link):
    table = pictures()
    program = exported(picture_net(last), (1, SIDE, SIDE))
    foreign = understood(network_of(program), COLUMNS, table, "kind", ())
    assert foreign.link == link
    assert foreign.classes == (0, 1, 2, 3)
    assert foreign.shape == (1, SIDE, SIDE)
    inputs = [Input(name, "FP32") for name in COLUMNS]
    built = onnx_predict(adopt(foreign, inputs, "multiclass"))(table)
    wanted = network_answers(program, foreign, inputs, table)
    np.testing.assert_allclose(built.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(built, wanted, atol=1e-6)


@pytest.mark.parametrize(("last", "link"), [(None, "sigmoid"), (torch.nn.Sigmoid(), "one")], ids=["logit", "chance"])
def test_one_answer_and_two_labels_are_two_classes(last, link):
    table = pictures(classes=2)
    program = exported(picture_net(last, classes=1), (1, SIDE, SIDE))
    foreign = understood(network_of(program), COLUMNS, table, "kind", ())
    assert (foreign.link, foreign.classes) == (link, ("0", "1"))
    inputs = [Input(name, "FP32") for name in COLUMNS]
    built = onnx_predict(adopt(foreign, inputs, "binary"))(table)
    np.testing.assert_allclose(built, network_answers(program, foreign, inputs, table), atol=1e-6)


def test_one_answer_and_many_labels_are_a_number():
    table = pictures() | {"kind": np.linspace(0, 1, 40)}
    foreign = understood(network_of(exported(picture_net(classes=1), (1, SIDE, SIDE))), COLUMNS, table, "kind", ())
    assert (foreign.link, foreign.classes) == ("", ())


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
        understood(network_of(program), COLUMNS, table, "kind", ())


def test_the_wrong_shape_is_told_with_the_shape():
    with pytest.raises(Unconvertible, match=r"\[n, 3\]"):
        exported(picture_net(), (3,))


def test_weights_alone_are_no_model(tmp_path):
    torch.save(picture_net().state_dict(), tmp_path / "model.pt")
    with pytest.raises(RegistryError, match="not a module"):
        open_program(tmp_path / "model.pt", (1, SIDE, SIDE))


def test_a_pickled_module_is_a_network_too(tmp_path):
    torch.save(picture_net(), tmp_path / "model.pt")
    assert is_program(open_program(tmp_path / "model.pt", (1, SIDE, SIDE)))
