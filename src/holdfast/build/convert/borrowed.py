"""Everything else goes through skl2onnx, in double precision, and is taken into our graph node by node.

What skl2onnx can't do in float64 (support vector machines with probabilities, for instance) fails here or in the
parity check; either way it is refused by name and never served approximately.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from holdfast.build.convert.estimators import Answer, class_labels
from holdfast.build.convert.graph import ML_OPSET, OPSET, Frame, Graph, Path, onnx
from holdfast.errors import MissingExtra

if TYPE_CHECKING:
    from collections.abc import Sequence

FLOAT32_OPERATORS = {
    "LinearClassifier",
    "LinearRegressor",
    "SVMClassifier",
    "SVMRegressor",
    "TreeEnsembleClassifier",
    "TreeEnsembleRegressor",
}
"""Operators that answer in float32 whatever they are given."""


def borrow(graph: Graph, frame: Frame, model: Any, path: Path) -> Answer:
    """Convert a model by skl2onnx and graft it on."""
    matrix = graph.matrix(frame, model, path)
    if not hasattr(model, "classes_"):
        _refuse_other_answers(model, len(frame), path)
    borrowed = _convert(model, len(frame), path)
    names = {"X": matrix}
    for constant in borrowed.graph.initializer:
        names[constant.name] = graph.constant(_values(constant))
    for node in borrowed.graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _rename(attribute.g)
        if node.op_type in FLOAT32_OPERATORS:
            raise path.refuse(model, f"operator {node.op_type} computes in float32")
        if len(node.output) == 1:
            attributes = {a.name: onnx().helper.get_attribute_value(a) for a in node.attribute}
            inputs = [names.get(name, name) for name in node.input]
            names[node.output[0]] = graph.op(node.op_type, *inputs, domain=node.domain, **attributes)
        else:
            _adopt(graph, node, names)
    return _answer(graph, model, [names[output.name] for output in borrowed.graph.output])


def _refuse_other_answers(model: Any, width: int, path: Path) -> None:
    """Several numbers, and verdicts on outliers: neither is what a regression answers."""
    if hasattr(model, "offset_") and hasattr(model, "decision_function"):
        raise path.refuse(model, "the scores of this detector of outliers", "use IsolationForest or OneClassSVM")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        answer = np.asarray(model.predict(np.zeros((1, width))))
    if answer.size > 1:
        raise path.refuse(model, "more than one output column", "train one model per output")


def _convert(model: Any, width: int, path: Path) -> Any:
    try:
        from skl2onnx import convert_sklearn
        from skl2onnx.common.data_types import DoubleTensorType
    except ImportError as problem:
        raise MissingExtra("build", f"converting {type(model).__name__}") from problem
    options = {id(model): {"zipmap": False}} if hasattr(model, "classes_") else None
    if hasattr(model, "classes_") and not hasattr(model, "predict_proba"):
        raise path.refuse(model, "this classifier gives no probabilities", "wrap it in CalibratedClassifierCV")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return convert_sklearn(
                model,
                initial_types=[("X", DoubleTensorType([None, width]))],
                options=options,
                target_opset={"": OPSET, "ai.onnx.ml": min(ML_OPSET, 3)},
            )
    except Exception as problem:  # skl2onnx has no error tree of its own
        raise path.refuse(model, f"skl2onnx can't convert it in float64 ({type(problem).__name__})") from problem


def _values(constant: Any) -> np.ndarray[Any, Any]:
    values = onnx().numpy_helper.to_array(constant)
    if values.dtype.kind in "OSU":
        return np.array([v.decode() if isinstance(v, bytes) else v for v in values.ravel()], dtype=object).reshape(
            values.shape
        )
    return np.asarray(values)


def _rename(body: Any) -> None:
    """Stable names inside a subgraph: skl2onnx numbers them by how much it has converted before."""
    names: dict[str, str] = {}
    for value in [*body.input, *body.initializer]:
        value.name = names.setdefault(value.name, f"s{len(names)}")
    for number, node in enumerate(body.node):
        node.name = f"{node.op_type}_{number}"
        for i, name in enumerate(node.input):
            node.input[i] = names.get(name, name)
        for i, name in enumerate(node.output):
            node.output[i] = names.setdefault(name, f"s{len(names)}")
    for value in body.output:
        value.name = names[value.name]


def _adopt(graph: Graph, node: Any, names: dict[str, str]) -> None:
    """Take a node with several outputs under fresh names."""
    copy = type(node)()
    copy.CopyFrom(node)
    number = len(graph.nodes)
    copy.name = f"{node.op_type}_{number}"
    for i, name in enumerate(node.input):
        copy.input[i] = names.get(name, name)
    for i, name in enumerate(node.output):
        copy.output[i] = names[name] = f"t{number}_{i}"
    graph.nodes.append(copy)


def _answer(graph: Graph, model: Any, outputs: Sequence[str]) -> Answer:
    last = graph.op("Cast", outputs[-1], to=11)
    if not hasattr(model, "classes_"):
        column = graph.constant(np.array([-1, 1], dtype=np.int64))
        return Answer(prediction=graph.op("Reshape", last, column))
    return Answer(probabilities=last, classes=class_labels(model))
