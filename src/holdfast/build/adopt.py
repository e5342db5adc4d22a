"""Take in an ONNX model that somebody else exported, so that it answers like one of ours.

Its graph stays as it is; around it goes a thin shell: the inputs of any of our graphs (numbers as one float64 matrix, a text
input per column), cast to what the graph takes, and one output, `prediction` [n, 1] or `probabilities` [n, classes], in
float64. The usual exports are known: one matrix for all columns, or an input for each; a label beside its probabilities, or
a number.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from holdfast.build.answers import open_session
from holdfast.build.convert import Converted, Input, Matrix, check_onnx
from holdfast.build.convert.graph import MISSING, onnx
from holdfast.build.nature import Nature
from holdfast.build.rehearsal import rehearse
from holdfast.core.blocks import in_blocks
from holdfast.core.contract import Task
from holdfast.errors import Unconvertible

__all__ = ["Foreign", "Link", "adopt", "inspect_onnx", "original_answers"]

Link = Literal["", "softmax", "exp", "sigmoid", "one"]
"""From the graph's answer to probabilities: nothing, of scores, of logarithms; of one score, of the second class's alone."""
TOLD: Final[dict[Link, str]] = {
    "softmax": "the network answers scores (logits); softmax makes them probabilities",
    "exp": "the network answers logarithms of probabilities; exp makes them probabilities",
    "sigmoid": "the network answers one score (logit); the sigmoid makes it the second class's probability",
    "one": "the network answers the second class's probability",
}
INNER: Final = "original/"
OUTER: Final = "shell/"
KEPT: Final = "given as ONNX: the graph is kept as it is"
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
        sizes = self.dims[1:]
        return None if None in sizes else math.prod(size or 0 for size in sizes)

    @property
    def sizes(self) -> tuple[int, ...]:
        """How the columns of a row are arranged, as a reshape takes it."""
        return tuple(-1 if size is None else size for size in self.dims[1:])

    @property
    def shape(self) -> tuple[int, ...]:
        """The same where it is an array and not a row of columns, such as (1, 28, 28); else nothing."""
        return self.sizes if len(self.sizes) > 1 else ()


@dataclass(frozen=True)
class Foreign:
    """What the given graph looks like from outside."""

    content: bytes
    inputs: tuple[Port, ...]
    answer: Port
    classes: tuple[Any, ...]
    named: bool = False
    """Whether the graph itself says how its classes are called."""
    link: Link = ""
    flavour: str = "onnx"

    @property
    def shape(self) -> tuple[int, ...]:
        """How the features are arranged, where the graph takes them as an array."""
        return self.inputs[0].shape if len(self.inputs) == 1 else ()

    def meant(self, said: NDArray[np.float64]) -> NDArray[np.float64]:
        """The graph's raw answers as the release gives them."""
        if self.link == "softmax":
            said = np.exp(said - said.max(axis=1, keepdims=True))
            return np.asarray(said / said.sum(axis=1, keepdims=True))
        if self.link == "exp":
            return np.exp(said)
        if self.link == "sigmoid":
            said = 1.0 / (1.0 + np.exp(-said))
        return np.column_stack([1.0 - said, said]) if self.link in {"sigmoid", "one"} else said

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
    named = _named_classes(model)
    if not classifies:
        return Foreign(content, inputs, answer, ())
    return Foreign(content, inputs, answer, named or _numbered(answer), named=bool(named))


def adopt(foreign: Foreign, inputs: Sequence[Input], task: Task) -> Converted:
    """The shell around the graph."""
    lib = onnx()
    model = lib.compose.add_prefix(lib.load_model_from_string(foreign.content), INNER)
    make = lib.helper.make_node
    matrix = Matrix.of(inputs)
    before, after = _fed(model, foreign, inputs, matrix), []
    result = "prediction" if task == "regression" else "probabilities"
    after.append(make("Cast", [INNER + foreign.answer.name], [f"{OUTER}answer"], to=_types().DOUBLE))
    columns = 1 if foreign.link in {"sigmoid", "one"} else max(len(foreign.classes), 1)
    after += _reshape(model, f"{OUTER}answer", f"{OUTER}scores" if foreign.link else result, [-1, columns])
    after += _linked(model, foreign.link, f"{OUTER}scores", result)
    nodes = [*before, *model.graph.node, *after]
    del model.graph.node[:], model.graph.input[:], model.graph.output[:], model.graph.value_info[:]
    model.graph.node.extend(nodes)
    outer = lib.helper.make_tensor_value_info
    if matrix.columns:
        model.graph.input.append(outer(matrix.name, _types().DOUBLE, ["n", len(matrix.columns)]))
    model.graph.input.extend(outer(column.name, _types().STRING, ["n", 1]) for column in inputs if column.text)
    lib.helper.set_model_props(model, {p.key: p.value for p in model.metadata_props} | matrix.metadata())
    outside = ["n", max(len(foreign.classes), 1)]
    model.graph.output.append(lib.helper.make_tensor_value_info(result, _types().DOUBLE, outside))
    if not any(entry.domain in {"", "ai.onnx"} for entry in model.opset_import):
        model.opset_import.append(lib.helper.make_opsetid("", 15))
    content = model.SerializeToString(deterministic=True)
    check_onnx(content)
    if foreign.flavour == "onnx":
        rehearse(content)
    return Converted(
        onnx=content,
        inputs=tuple(inputs),
        outputs=(result,),
        classes=foreign.classes or None,
        scale="identity",
        flavour=foreign.flavour,
        libraries=(foreign.flavour,),
        notes=tuple(note for note in (KEPT if foreign.flavour == "onnx" else "", TOLD.get(foreign.link, "")) if note),
    )


def _linked(model: Any, link: Link, scores: str, target: str) -> list[Any]:
    """Nodes from scores in float64 to probabilities."""
    make = onnx().helper.make_node
    if link == "softmax":
        return [make("Softmax", [scores], [target], axis=1)]
    if link == "exp":
        return [make("Exp", [scores], [target])]
    if not link:
        return []
    model.graph.initializer.append(onnx().numpy_helper.from_array(np.array(1.0), f"{OUTER}whole"))
    second = f"{OUTER}second"
    return [
        make("Sigmoid" if link == "sigmoid" else "Identity", [scores], [second]),
        make("Sub", [f"{OUTER}whole", second], [f"{OUTER}first"]),
        make("Concat", [f"{OUTER}first", second], [target], axis=1),
    ]


def _fed(model: Any, foreign: Foreign, inputs: Sequence[Input], matrix: Matrix) -> list[Any]:
    """Nodes that bring our inputs to those of the graph."""
    make = onnx().helper.make_node
    only = foreign.inputs[0] if len(foreign.inputs) == 1 else None
    if only and len(matrix.columns) == len(inputs):
        if not only.shape:
            return [make("Cast", [matrix.name], [INNER + only.name], to=only.kind)]
        arranged = _reshape(model, f"{OUTER}flat", INNER + only.name, [-1, *only.shape])
        return [make("Cast", [matrix.name], [f"{OUTER}flat"], to=only.kind), *arranged]
    nodes, parts = [], []
    for column in inputs:
        target = only or next(port for port in foreign.inputs if port.name == column.name)
        source, part = column.name, f"{column.name}/cast"
        if not column.text:
            source, place = f"{column.name}/number", f"{column.name}/place"
            index = np.array([matrix.columns.index(column.name)], dtype=np.int64)
            model.graph.initializer.append(onnx().numpy_helper.from_array(index, place))
            nodes.append(make("Gather", [matrix.name, place], [source], axis=1))
        kept = column.text and target.kind == _types().STRING
        nodes.append(make("Identity", [source], [part]) if kept else make("Cast", [source], [part], to=target.kind))
        parts.append(part)
        if not only:
            nodes += _reshape(model, part, INNER + target.name, [-1] if len(target.dims) == 1 else [-1, 1])
    return [*nodes, make("Concat", parts, [INNER + only.name], axis=1)] if only else nodes


def original_answers(
    foreign: Foreign, inputs: Sequence[Input], table: Mapping[str, NDArray[Any]]
) -> NDArray[np.float64]:
    """What the given graph itself answers: the other side of the parity check."""
    session = open_session(foreign.content)
    columns = {column.name: _native(table[column.name], column, foreign) for column in inputs}
    if len(foreign.inputs) == 1:
        only = foreign.inputs[0]
        fed = {only.name: np.concatenate(list(columns.values()), axis=1).reshape(-1, *only.sizes)}
    else:
        fed = {p.name: columns[p.name].ravel() if len(p.dims) == 1 else columns[p.name] for p in foreign.inputs}
    said = np.asarray(in_blocks(partial(session.run, [foreign.answer.name]), fed)[0], dtype=np.float64)
    return foreign.meant(said) if foreign.link else said


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


def _named_classes(model: Any) -> tuple[Any, ...]:
    """Class names: from a classifier node, else from the list that skl2onnx stores."""
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name in CLASS_ATTRIBUTES and (attribute.strings or attribute.ints):
                return tuple(text.decode() for text in attribute.strings) or tuple(attribute.ints)
    for tensor in model.graph.initializer:
        if tensor.name == "classes":
            names = onnx().numpy_helper.to_array(tensor).ravel().tolist()
            return tuple(name.decode() if isinstance(name, bytes) else name for name in names)
    return ()


def _numbered(answer: Port) -> tuple[int, ...]:
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
