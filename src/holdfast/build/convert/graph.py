"""The drawing board on which a model becomes an ONNX graph.

A `Frame` is what a scikit-learn step sees: an ordered row of columns, each a view into some tensor of the graph. Steps
take a frame and give a frame, so selecting, dropping and reordering columns costs nothing: tensors are only joined
where a step really computes on a matrix. All numbers are float64. `Graph` keeps nodes and constants under stable names
and reuses equal ones, so that the same model always gives the same bytes.

Text columns are never computed on, only looked up. Their missing value is the text `MISSING`, which no honest category
can be (it starts with a NUL); an imputer in front of an encoder therefore costs nothing at run time: it is remembered
in `Column.replace` and folded into the encoder's table.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from holdfast.core.contract import MISSING_STRING
from holdfast.errors import MissingExtra, Unconvertible

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

MISSING = MISSING_STRING
"""How a missing text value enters the graph; a missing number is NaN."""

OPSET = 21
ML_OPSET = 5
IR_VERSION = 10

PYTHON_RELEASE = "build it as a Python release (--python), or replace the step by one that converts"


@dataclass(frozen=True)
class Path:
    """Where in the model we are: the names of the steps, outermost first."""

    steps: tuple[str, ...] = ()

    def __truediv__(self, step: str) -> Path:
        return Path((*self.steps, step))

    def where(self, step: object) -> str:
        """The place and class, for an error message."""
        kind = f"class {type(step).__module__}.{type(step).__qualname__}"
        if not self.steps:
            return f"the model: {kind}"
        return "pipeline step " + " > ".join(f"'{name}'" for name in self.steps) + f": {kind}"

    def refuse(self, step: object, what: str, next_step: str = PYTHON_RELEASE) -> Unconvertible:
        """The error to raise when this step can't be converted exactly."""
        return Unconvertible(what, self.where(step), next_step)


@dataclass(frozen=True)
class Column:
    """One column of a frame: a view into a tensor of the graph."""

    tensor: str
    index: int = 0
    width: int = 1
    name: str = ""
    text: bool = False
    exact: bool = True
    """Bit for bit what the original computes; False behind logarithms, matrix products and the like."""
    source: str = ""
    """The input it came from unchanged in meaning (imputed, scaled), if it did."""
    replace: tuple[tuple[str, str], ...] = ()
    """Text only: values that an imputer replaces, folded into the lookup that follows."""


Frame = tuple[Column, ...]


@dataclass
class Graph:
    """Collects nodes, constants and what the conversion learned about the model on the way."""

    nodes: list[Any] = field(default_factory=list)
    constants: list[Any] = field(default_factory=list)
    seen: dict[bytes, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    libraries: set[str] = field(default_factory=set)
    closed: set[str] = field(default_factory=set)
    none_columns: set[str] = field(default_factory=set)
    category_columns: set[str] = field(default_factory=set)

    def constant(self, values: NDArray[Any]) -> str:
        """A constant tensor's name; equal constants share one."""
        tensor = as_tensor(values)
        key = b"constant" + tensor.SerializeToString(deterministic=True)
        if key not in self.seen:
            self.seen[key] = tensor.name = f"c{len(self.constants)}"
            self.constants.append(tensor)
        return self.seen[key]

    def op(self, kind: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Add an operator with one output and give the output's name; an equal operator is reused."""
        helper = onnx().helper
        node = helper.make_node(kind, inputs, [""], domain=domain, **dict(sorted(attributes.items())))
        key = node.SerializeToString(deterministic=True)
        if key not in self.seen:
            name = f"t{len(self.nodes)}"
            node.output[0] = self.seen[key] = name
            node.name = f"{kind}_{len(self.nodes)}"
            self.nodes.append(node)
        return self.seen[key]

    def number(self, value: float) -> str:
        """A float64 scalar."""
        return self.constant(np.array(value, dtype=np.float64))

    def product(self, matrix: str, weights: NDArray[np.float64], *shift: str) -> str:
        """The matrix product matrix @ weights (+ shift), float64.

        By Gemm and not MatMul: next to a MatMul, ONNX Runtime fuses a constant factor into an attribute in float32.
        """
        return self.op("Gemm", matrix, self.constant(np.ascontiguousarray(weights, dtype=np.float64)), *shift)

    def row(self, values: Any) -> str:
        """A float64 row [1, k] that broadcasts over the rows of a matrix."""
        return self.constant(np.asarray(values, dtype=np.float64).reshape(1, -1))

    def matrix(self, frame: Frame, step: object, path: Path) -> str:
        """The frame as one float64 tensor [n, k]."""
        for column in frame:
            if column.text:
                raise path.refuse(
                    step, f"text column '{column.name}' reaches a step that needs numbers", "encode it first"
                )
        if not frame:
            raise path.refuse(step, "no column is left for this step")
        parts = [self._part(run) for run in runs(frame)]
        return parts[0] if len(parts) == 1 else self.op("Concat", *parts, axis=1)

    def _part(self, run: Sequence[Column]) -> str:
        tensor, width = run[0].tensor, run[0].width
        indices = [column.index for column in run]
        if indices == list(range(width)):
            return tensor
        return self.op("Gather", tensor, self.constant(np.array(indices, dtype=np.int64)), axis=1)

    def single(self, column: Column) -> str:
        """One column, text or number, as a tensor [n, 1]."""
        return self._part([column])

    def lookup(self, column: Column, keys: Sequence[Any], table: NDArray[np.float64], step: object, path: Path) -> str:
        """Replace each value by its row of the table; the table's last row is for all other values. [n, w]."""
        plain = [plain_key(key) for key in keys]
        if any(isinstance(key, str) != column.text and key is not None for key in plain):
            kind = "text" if column.text else "numbers"
            raise path.refuse(
                step, f"column '{column.name}' is declared as {kind} but the step learned other values", "fix its type"
            )
        wanted = {(MISSING if column.text else math.nan) if key is None else key: i for i, key in enumerate(plain)}
        for raw, value in column.replace:
            wanted[raw] = wanted.get(value, len(keys))
        width = table.shape[1]
        values = np.array(list(wanted.values()), dtype=np.int64)
        labels = np.array(list(wanted), dtype=object if column.text else np.float64)
        single = self.single(column)
        attributes = {"domain": "ai.onnx.ml", "keys_tensor": as_tensor(labels)}
        if width == 1:
            found = table[values, 0]
            return self.op(
                "LabelEncoder",
                single,
                **attributes,
                values_tensor=as_tensor(found),
                default_tensor=as_tensor(table[-1]),
            )
        default = as_tensor(np.array([len(keys)], dtype=np.int64))
        index = self.op("LabelEncoder", single, **attributes, values_tensor=as_tensor(values), default_tensor=default)
        rows = self.op("Gather", self.constant(table), index, axis=0)
        return self.op("Reshape", rows, self.constant(np.array([-1, width], dtype=np.int64)))

    def finish(
        self,
        inputs: Sequence[tuple[str, bool, int]],
        outputs: Sequence[tuple[str, str, int]],
        metadata: Mapping[str, str],
    ) -> bytes:
        """The model's bytes: `inputs` are (name, text, width), `outputs` (name, tensor, width)."""
        lib = onnx()
        helper, types = lib.helper, lib.TensorProto
        nodes = self._needed({tensor for _, tensor, _ in outputs})
        used = {name for node in nodes for name in node.input}
        nodes += [helper.make_node("Identity", [tensor], [name], name=f"output_{name}") for name, tensor, _ in outputs]
        graph = helper.make_graph(
            nodes,
            "holdfast",
            [
                helper.make_tensor_value_info(name, types.STRING if text else types.DOUBLE, ["n", width])
                for name, text, width in inputs
            ],
            [helper.make_tensor_value_info(name, types.DOUBLE, ["n", width]) for name, _, width in outputs],
            [constant for constant in self.constants if constant.name in used],
        )
        domains = {"": OPSET, "ai.onnx.ml": ML_OPSET} | {n.domain: 1 for n in nodes if n.domain == "com.microsoft"}
        versions = [helper.make_opsetid(domain, version) for domain, version in domains.items()]
        model = helper.make_model(graph, opset_imports=versions, ir_version=IR_VERSION, producer_name="holdfast")
        helper.set_model_props(model, dict(metadata))
        lib.checker.check_model(model)
        content: bytes = model.SerializeToString(deterministic=True)
        return content

    def _needed(self, wanted: set[str]) -> list[Any]:
        kept = []
        for node in reversed(self.nodes):
            if wanted & set(node.output):
                kept.append(node)
                wanted |= set(node.input)
        return kept[::-1]


def onnx() -> Any:
    """The onnx package, from the build extra."""
    try:
        import onnx as package
    except ImportError as problem:
        raise MissingExtra("build", "converting a model") from problem
    return package


def as_tensor(values: NDArray[Any]) -> Any:
    """A numpy array as an ONNX tensor (object arrays are text)."""
    if values.dtype == object:
        texts = [str(text).encode() for text in values.ravel()]
        return onnx().helper.make_tensor("", onnx().TensorProto.STRING, values.shape, texts)
    return onnx().numpy_helper.from_array(np.ascontiguousarray(values).reshape(values.shape), "")


def plain_key(key: Any) -> str | float | None:
    """A learned category as text or number; None for every kind of missing."""
    if key is None or key != key or type(key).__name__ == "NAType":  # noqa: PLR0124 - NaN is what differs from itself
        return None
    return str(key) if isinstance(key, str) else float(key)


def is_missing_marker(value: Any) -> bool:
    """Whether an imputer's `missing_values` means what we call missing."""
    return plain_key(value) is None


def runs(frame: Iterable[Column]) -> list[list[Column]]:
    """Cut a frame into stretches that lie in the same tensor."""
    result: list[list[Column]] = []
    for column in frame:
        if result and result[-1][0].tensor == column.tensor and column.index > result[-1][-1].index:
            result[-1].append(column)
        else:
            result.append([column])
    return result


def columns_of(tensor: str, names: Sequence[str], *, exact: bool = True, like: Frame = ()) -> Frame:
    """A matrix as a frame; `like` hands on what is known column by column."""
    width = len(names)
    if like:
        return tuple(
            replace(old, tensor=tensor, index=i, width=width, exact=old.exact and exact, text=False)
            for i, old in enumerate(like)
        )
    return tuple(Column(tensor, i, width, name, exact=exact) for i, name in enumerate(names))
