"""The law of joined runs: whoever else asks at the same time, an answer is to the last bit what it would be alone.

Over real models in ONNX Runtime: where the trial lets runs of one be joined, any requests in any company are answered as by
themselves. A trial that finds a difference must say no, and then there is nothing to compare.
"""

import tempfile
import threading
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import RandomForestClassifier
from tests.unit.serve.crowd import Crowd

from holdfast.backends.onnx import OnnxRuntime
from holdfast.build.convert import Input, convert
from holdfast.core.contract import NUMBERS_KEY, Contract, Field, Output
from holdfast.core.ports import Direct
from holdfast.errors import ReleaseError
from holdfast.serve.joint import Joint
from holdfast.serve.trial import ROWS, Rows, tried

NAMES = tuple(f"x{n}" for n in range(6))
CONTRACT = Contract(
    fields=tuple(Field(name=name, datatype="FP64", minimum=-2.0, maximum=2.0) for name in NAMES),
    output=Output(task="multiclass", label="y", classes=("a", "b", "c")),
)
RNG = np.random.default_rng(3)


def network(width: int) -> bytes:
    """Two wide layers in float32, three classes."""
    from onnx import TensorProto, helper, numpy_helper

    shapes = {"w0": (len(NAMES), width), "w1": (width, width), "w2": (width, 3)}
    weights = [
        numpy_helper.from_array(RNG.normal(0, shape[0] ** -0.5, shape).astype(np.float32), name)
        for name, shape in shapes.items()
    ]
    nodes = [
        helper.make_node("Cast", ["numbers"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["x", "w0"], ["a"]),
        helper.make_node("Tanh", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "w1"], ["c"]),
        helper.make_node("Tanh", ["c"], ["d"]),
        helper.make_node("MatMul", ["d", "w2"], ["e"]),
        helper.make_node("Softmax", ["e"], ["f"], axis=1),
        helper.make_node("Cast", ["f"], ["probabilities"], to=TensorProto.DOUBLE),
    ]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("numbers", TensorProto.DOUBLE, [None, len(NAMES)])],
        [helper.make_tensor_value_info("probabilities", TensorProto.DOUBLE, [None, 3])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    columns = ",".join(f'"{name}"' for name in NAMES)
    helper.set_model_props(model, {NUMBERS_KEY: f'{{"input":"numbers","columns":[{columns}]}}'})
    data: bytes = model.SerializeToString()
    return data


def forest() -> bytes:
    rows = RNG.uniform(-2, 2, (600, len(NAMES)))
    classes = np.array(["a", "b", "c"])[np.digitize(rows[:, 0] * rows[:, 1], [-0.5, 0.5])]
    model = RandomForestClassifier(60, random_state=0).fit(rows, classes)
    return convert(model, tuple(Input(name, "FP64") for name in NAMES), "multiclass").onnx


@cache
def opened(kind: str) -> tuple[Direct, Joint]:
    """A model, and what joins its runs; it is taken for one that pays, as only equality matters here."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        file.write_bytes(forest() if kind == "forest" else network(int(kind)))
        direct = OnnxRuntime().load(file).direct(NAMES)
    assert direct is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("holdfast.serve.trial.PAYS", 1e9)
        joint = Joint(direct, CONTRACT, NAMES)
        joint._trial = tried(direct, CONTRACT, NAMES, Rows(RNG.uniform(-2, 2, (6, 1)), {}), 16, threading.Event())
    return direct, joint


values = st.floats(-4, 4) | st.sampled_from([0.0, -0.0, 1e-300, 1e30, float("inf"), float("nan")])
requests = st.lists(
    st.integers(1, 4).flatmap(lambda n: st.lists(st.lists(values, min_size=n, max_size=n), min_size=6, max_size=6)),
    min_size=1,
    max_size=30,
)


@pytest.mark.parametrize("kind", ["24", "96", "forest"])
@settings(max_examples=40, deadline=None)
@given(asked=requests)
def test_in_company_as_alone(kind, asked):
    direct, joint = opened(kind)
    crowd = Crowd()
    try:
        found = crowd.ask(joint, [np.array(one) for one in asked])
    finally:
        crowd.close()
    for one, answer in zip(asked, found, strict=True):
        if isinstance(answer, ReleaseError):
            with pytest.raises(ReleaseError):
                direct(np.array(one), {})
            continue
        alone = np.concatenate([direct(np.array(one)[:, row : row + 1], {}) for row in range(len(one[0]))])
        assert answer.tobytes() == alone.tobytes()


def test_the_trial_is_fit_for_its_task():
    """As many rows as it compares, in as many places, would hide a size that rounds every twentieth row otherwise in 4 %."""
    assert (1 - 1 / 20) ** ROWS < 0.04
