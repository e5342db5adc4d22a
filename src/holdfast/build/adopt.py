"""Take in an ONNX model that somebody else exported, so that it answers like one of ours.

Its graph stays as it is; around it goes a thin shell: one named input per column, float64 or text, joined and cast to what
the graph takes, and one output, `prediction` [n, 1] or `probabilities` [n, classes], in float64. The usual exports are known:
one matrix for all columns, or an input for each; a label beside its probabilities, or a number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from holdfast.build.answers import open_session
from holdfast.build.convert import Converted, Input, check_onnx
from holdfast.build.convert.graph import MISSING, onnx
from holdfast.build.nature import Nature
from holdfast.core.contract import Task
from holdfast.errors import Unconvertible

__all__ = ["Foreign", "adopt", "inspect_onnx", "original_answers"]

INNER: Final = "original/"
CLASS_ATTRIBUTES: Final = ("classlabels_strings", "classlabels_int64s")


@dataclass(frozen=True)
class Port:
    """An input or output of the given graph."""

    name: str
    kind: int
    """ONNX element type."""
    dims: tuple[int | None, ...]

    @property
    def width(self) -> int | None:
        """Columns that it holds; None where the graph leaves it open."""
        return self.dims[1] if len(self.dims) > 1 else 1


@dataclass(frozen=True)
class Foreign:
    """What the given graph looks like from outside."""

    content: bytes
    inputs: tuple[Port, ...]
    answer: Port
    classes: tuple[Any, ...]

    def nature(self, table_columns: Sequence[str]) -> Nature:
        """Task and columns; a graph of one matrix takes the table's columns, in their order."""
        names = tuple(port.name for port in self.inputs)
        if len(self.inputs) == 1 and self.inputs[0].width != 1:
            width = self.inputs[0].width
            names = tuple(table_columns) or tuple(f"x{i}" for i in range(width or 0))
            if width is not None and len(names) != width:
                raise _refuse(
                    f"the graph takes {width} columns, the reference has {len(names)}",
                    "leave out what it does not take",
                )
        if not self.classes:
            return Nature("regression", names, ())
        return Nature("binary" if len(self.classes) == 2 else "multiclass", names, self.classes)


def inspect_onnx(content: bytes) -> Foreign:
    """Check that the graph is safe to load, and find its inputs, its answer and its classes."""
    check_onnx(content)
    model = onnx().load_model_from_string(content)
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = tuple(_port(value) for value in model.graph.input if value.name not in constants)
    outputs = [value for value in model.graph.output if value.type.HasField("tensor_type")]
    if len(outputs) < len(model.graph.output):
        raise _refuse("an output is a list of maps, not a tensor", "export it with zipmap=False")
    if len(inputs) > 1 and any(port.width != 1 for port in inputs):
        raise _refuse("the graph takes several matrices", "export it with one matrix, or with one input per column")
    numbers = [port for port in map(_port, outputs) if port.kind in {_types().FLOAT, _types().DOUBLE}]
    if len(numbers) != 1:
        raise _refuse(
            f"the graph has {len(numbers)} outputs of real numbers, one is needed",
            "export one prediction or one matrix of probabilities",
        )
    answer = numbers[0]
    classifies = len(outputs) > 1 or (answer.width or 1) > 1
    return Foreign(content, inputs, answer, _classes(model, answer) if classifies else ())


def adopt(foreign: Foreign, inputs: Sequence[Input], task: Task) -> Converted:
    """The shell around the graph."""
    lib = onnx()
    model = lib.compose.add_prefix(lib.load_model_from_string(foreign.content), INNER)
    make = lib.helper.make_node
    before, after = [], []
    parts = []
    for column in inputs:
        target = (
            foreign.inputs[0] if len(foreign.inputs) == 1 else next(p for p in foreign.inputs if p.name == column.name)
        )
        part = f"{column.name}/cast"
        kept = column.text and target.kind == _types().STRING
        before.append(
            make("Identity", [column.name], [part]) if kept else make("Cast", [column.name], [part], to=target.kind)
        )
        parts.append((part, target))
    if len(foreign.inputs) == 1:
        joined = [name for name, _ in parts]
        before.append(make("Concat", joined, [INNER + foreign.inputs[0].name], axis=1))
    else:
        for name, target in parts:
            shape = [-1] if len(target.dims) == 1 else [-1, 1]
            before += _reshape(model, name, INNER + target.name, shape)
    result = "prediction" if task == "regression" else "probabilities"
    after.append(make("Cast", [INNER + foreign.answer.name], [f"{INNER}answer"], to=_types().DOUBLE))
    after += _reshape(model, f"{INNER}answer", result, [-1, max(len(foreign.classes), 1)])
    nodes = [*before, *model.graph.node, *after]
    del model.graph.node[:], model.graph.input[:], model.graph.output[:], model.graph.value_info[:]
    model.graph.node.extend(nodes)
    for column in inputs:
        kind = _types().STRING if column.text else _types().DOUBLE
        model.graph.input.append(lib.helper.make_tensor_value_info(column.name, kind, ["n", 1]))
    outside = ["n", max(len(foreign.classes), 1)]
    model.graph.output.append(lib.helper.make_tensor_value_info(result, _types().DOUBLE, outside))
    if not any(entry.domain in {"", "ai.onnx"} for entry in model.opset_import):
        model.opset_import.append(lib.helper.make_opsetid("", 15))
    content = model.SerializeToString(deterministic=True)
    check_onnx(content)
    return Converted(
        onnx=content,
        inputs=tuple(inputs),
        outputs=(result,),
        classes=foreign.classes or None,
        scale="identity",
        flavour="onnx",
        libraries=("onnx",),
        notes=("given as ONNX: the graph is kept as it is",),
    )


def original_answers(
    foreign: Foreign, inputs: Sequence[Input], table: Mapping[str, NDArray[Any]]
) -> NDArray[np.float64]:
    """What the given graph itself answers: the other side of the parity check."""
    session = open_session(foreign.content)
    columns = {column.name: _native(table[column.name], column, foreign) for column in inputs}
    if len(foreign.inputs) == 1:
        fed = {foreign.inputs[0].name: np.concatenate(list(columns.values()), axis=1)}
    else:
        fed = {p.name: columns[p.name].ravel() if len(p.dims) == 1 else columns[p.name] for p in foreign.inputs}
    return np.asarray(session.run([foreign.answer.name], fed)[0], dtype=np.float64)


def _native(values: NDArray[Any], column: Input, foreign: Foreign) -> NDArray[Any]:
    port = foreign.inputs[0] if len(foreign.inputs) == 1 else next(p for p in foreign.inputs if p.name == column.name)
    if column.text:
        return np.array([[MISSING if value is None else value] for value in values], dtype=object)
    dtype = onnx().helper.tensor_dtype_to_np_dtype(port.kind)
    return np.asarray(values, dtype=np.float64).astype(dtype).reshape(-1, 1)


def _port(value: Any) -> Port:
    tensor = value.type.tensor_type
    dims = tuple(d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim)
    return Port(value.name, tensor.elem_type, dims)


def _classes(model: Any, answer: Port) -> tuple[Any, ...]:
    """Class names: from a classifier node, from the list that skl2onnx stores, else numbered."""
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name in CLASS_ATTRIBUTES and (attribute.strings or attribute.ints):
                return tuple(text.decode() for text in attribute.strings) or tuple(attribute.ints)
    for tensor in model.graph.initializer:
        if tensor.name == "classes":
            names = onnx().numpy_helper.to_array(tensor).ravel().tolist()
            return tuple(name.decode() if isinstance(name, bytes) else name for name in names)
    if answer.width is None:
        raise _refuse("the graph does not say how many classes it has", "export it with fixed output shapes")
    return tuple(range(answer.width))


def _reshape(model: Any, source: str, target: str, shape: list[int]) -> list[Any]:
    name = f"{target}/shape"
    model.graph.initializer.append(onnx().numpy_helper.from_array(np.array(shape, dtype=np.int64), name))
    return [onnx().helper.make_node("Reshape", [source, name], [target])]


def _types() -> Any:
    return onnx().TensorProto


def _refuse(what: str, next_step: str) -> Unconvertible:
    return Unconvertible(what, "ONNX file", next_step)
