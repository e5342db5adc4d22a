"""What is served: a tree model of 20 numbers and a small network for images, for Holdfast as releases, for the peers as files.

Peers get the same nodes behind one matrix of float32, the form that suits them best: Holdfast's releases say one column per
field, which would cost them a join.
"""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

COLUMNS = [f"x{n:02d}" for n in range(20)]
PIXELS = [f"p{n:03d}" for n in range(784)]


class Case(NamedTuple):
    """Rows to ask for, and what the model says to them."""

    name: str
    model: str
    columns: list[str]
    rows: list[list[float]]
    answers: list[float]
    """The prediction or the largest probability, row by row."""


@dataclass(frozen=True)
class Models:
    """A workspace that has deployed them, and their files for the peers."""

    folder: Path
    files: dict[str, Path]
    cases: dict[str, Case]
    key: str
    """Opens Holdfast's port."""


def build(folder: Path, *, image: bool = True) -> Models:
    """Train, build, deploy, and ask each model once what the right answers are."""
    import holdfast

    workspace = holdfast.create_workspace(folder)
    rng = np.random.default_rng(0)
    files = {"tree": _tree(folder, workspace, rng)}
    rows = np.round(rng.normal(size=(32, 20)), 3)
    cases = [_case("row", "tree", files, COLUMNS, rows[:1]), _case("rows", "tree", files, COLUMNS, rows)]
    if image:
        files["image"] = _image(folder, workspace, rng)
        cases.append(_case("image", "image", files, PIXELS, _pictures(rng, 1)))
    return Models(folder, files, {case.name: case for case in cases}, _key(workspace))


def _key(workspace: Any) -> str:
    from holdfast import access

    _, text = access.create(
        workspace.database,
        "bench",
        ["*"],
        ["predict"],
        secret=access.pepper(workspace.keys),
        actor="bench",
        now=time.time_ns() // 1000,
    )
    access.publish(workspace.database, workspace.run)
    return text


def _deploy(folder: Path, digest: str, name: str) -> None:
    command = [sys.executable, "-m", "holdfast", "deploy", digest, "--as", name]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


# ---------------------------------------------------------------------------------------------- a hundred trees


def _tree(folder: Path, workspace: Any, rng: np.random.Generator) -> Path:
    import onnx
    import pandas as pd
    from onnx import TensorProto, helper
    from xgboost import XGBRegressor

    import holdfast

    rows = rng.normal(size=(6000, 20))
    truth = rows[:, 0] * rows[:, 1] + np.sin(3 * rows[:, 2]) + rng.normal(scale=0.1, size=6000)
    frame = pd.DataFrame(rows, columns=COLUMNS)
    model = XGBRegressor(n_estimators=100, max_depth=6, n_jobs=1).fit(frame[:3000], truth[:3000])
    release = holdfast.build_release(model, frame[3000:], truth[3000:], workspace=workspace, name="tree")
    _deploy(folder, release.digest, "tree")
    proto = onnx.load(release.model)
    nodes = list(proto.graph.node)
    at = next(n for n, node in enumerate(nodes) if node.op_type.startswith("TreeEnsemble"))
    enter = helper.make_node("Cast", ["input"], [nodes[at].input[0]], to=TensorProto.DOUBLE)
    del proto.graph.node[:], proto.graph.input[:]
    proto.graph.node.extend([enter, *nodes[at:]])
    proto.graph.input.append(helper.make_tensor_value_info("input", TensorProto.FLOAT, [None, 20]))
    return _saved(proto, folder / "tree.onnx")


# ---------------------------------------------------------------------------------------------- a small network


def _image(folder: Path, workspace: Any, rng: np.random.Generator) -> Path:
    import pandas as pd

    import holdfast

    proto = _network(rng)
    file = _saved(proto, folder / "image.onnx")
    frame = pd.DataFrame(_pictures(rng, 400), columns=PIXELS).astype(np.float32)
    labels = _run(file, frame.to_numpy()).argmax(axis=1)
    labels[::10] = rng.integers(10, size=40)
    release = holdfast.build_release(proto, frame, labels, workspace=workspace, name="image")
    _deploy(folder, release.digest, "image")
    return file


def _network(rng: np.random.Generator) -> Any:
    """28 x 28 grey values, two convolutions, ten classes. The weights are chance: only the work matters."""
    from onnx import TensorProto, helper, numpy_helper

    shapes = {"c1": (16, 1, 5, 5), "c2": (32, 16, 3, 3), "w": (32 * 25, 10)}
    weights = [
        numpy_helper.from_array(rng.normal(scale=1 / np.sqrt(np.prod(s[1:])), size=s).astype(np.float32), n)
        for n, s in shapes.items()
    ]
    weights.append(numpy_helper.from_array(np.array([-1, 1, 28, 28]), "square"))
    weights.append(numpy_helper.from_array(np.array(255, np.float32), "white"))
    nodes = [
        helper.make_node("Div", ["input", "white"], ["share"]),
        helper.make_node("Reshape", ["share", "square"], ["a"]),
        helper.make_node("Conv", ["a", "c1"], ["b"], strides=[2, 2]),
        helper.make_node("Relu", ["b"], ["c"]),
        helper.make_node("Conv", ["c", "c2"], ["d"], strides=[2, 2]),
        helper.make_node("Relu", ["d"], ["e"]),
        helper.make_node("Flatten", ["e"], ["f"]),
        helper.make_node("MatMul", ["f", "w"], ["g"]),
        helper.make_node("Softmax", ["g"], ["probabilities"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "image",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [None, 784])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 10])],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def _pictures(rng: np.random.Generator, count: int) -> np.ndarray:
    """Blurred noise, as grey values of 8 bits."""
    raw = rng.normal(size=(count, 28, 28))
    for axis in (1, 2):
        raw = raw + np.roll(raw, 1, axis) + np.roll(raw, -1, axis)
    return np.round(np.clip(raw / 12 + 0.5, 0, 1) * 255).reshape(count, 784)


# ---------------------------------------------------------------------------------------------- what is right


def _saved(proto: Any, path: Path) -> Path:
    import onnx

    onnx.checker.check_model(proto)
    onnx.save(proto, path)
    return path


def _run(file: Path, rows: np.ndarray) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return session.run(None, {"input": rows.astype(np.float32)})[0]


def _case(name: str, model: str, files: dict[str, Path], columns: list[str], rows: np.ndarray) -> Case:
    answers = _run(files[model], rows).max(axis=1)
    return Case(name, model, columns, rows.tolist(), answers.tolist())
