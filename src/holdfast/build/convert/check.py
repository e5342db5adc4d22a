"""Is this ONNX file safe to load? Checked before any session exists, for what we built and for what others hand us.

ONNX is not harmless by itself: a graph of 65 bytes can ask for gigabytes, a few functions that call each other can stand for
billions of nodes, a tensor can point to a file elsewhere, a custom operator is foreign code. So only operators of the ONNX
standard and those that ship inside ONNX Runtime are allowed, all data must be inside the file, and everything that is declared
has a budget. What only running it can show (sizes that are computed, loops) is left to `holdfast.build.rehearsal`.
"""

from __future__ import annotations

import math
from collections import Counter
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Any, Final

from holdfast.build.convert.graph import onnx
from holdfast.errors import Unconvertible

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

MAX_BYTES: Final = 1 << 30
MAX_ELEMENTS: Final = 1 << 27
"""No declared tensor may hold more than this (1 GiB of float64)."""
MAX_NODES: Final = 1_000_000
"""Operators of a graph when every call of a local function is written out, as ONNX Runtime does."""

STANDARD: Final = ("", "ai.onnx.ml")
SHIPPED = frozenset(
    """Attention BiasDropout BiasGelu BiasSoftmax CDist ConvTransposeWithDynamicPads CropAndResize
    DequantizeLinear DynamicQuantizeLSTM DynamicQuantizeMatMul EmbedLayerNormalization ExpandDims FastGelu FusedConv
    FusedGemm FusedMatMul GatherND Gelu GridSample GroupQueryAttention Inverse Irfft LongformerAttention MatMulInteger16
    MatMulIntegerToFloat MatMulNBits MaxpoolWithMask MultiHeadAttention MurmurHash3 NGramRepeatBlock NhwcMaxPool Pad
    QAttention QEmbedLayerNormalization QGemm QLinearAdd QLinearAveragePool QLinearConcat QLinearConv
    QLinearGlobalAveragePool QLinearLeakyRelu QLinearMul QLinearReduceMean QLinearSigmoid QLinearSoftmax QLinearWhere
    QuantizeLinear QuickGelu Range Rfft RotaryEmbedding SkipLayerNormalization
    SkipSimplifiedLayerNormalization SparseToDenseMatMul Tokenizer TorchEmbedding TransposeMatMul Trilu Unique
    WordConvEmbedding""".split()  # noqa: SIM905 - a list of words reads best as text
)
"""Operators of the domain com.microsoft that ship inside ONNX Runtime."""

SHAPED_BY_INPUT: Final = {"ConstantOfShape": 0, "Expand": 1, "Tile": 1, "Resize": 3, "Pad": 1, "OneHot": 1, "Range": 1}
"""Operators whose output is as large as one of their inputs says."""
BY_LARGEST: Final = frozenset({"Pad", "OneHot", "Range"})
"""Of these the numbers are amounts, not the sides of a tensor."""

Name = tuple[str, str]
"""Domain and operator."""


def check_onnx(content: bytes, *, max_bytes: int = MAX_BYTES, max_elements: int = MAX_ELEMENTS) -> None:
    """Raise `Unconvertible`, naming the operator or tensor, unless the model is safe to load."""
    if len(content) > max_bytes:
        raise _refuse(f"the model has {len(content)} bytes; {max_bytes} are allowed", "make it smaller")
    model = _parsed(content)
    if model.training_info:
        raise _refuse("the file holds a training graph", "export it for inference")
    scopes = list(_scopes([model.graph, *model.functions]))
    known = {(s.domain, s.name) for s in onnx().defs.get_all_schemas() if s.domain in STANDARD}
    known |= {(function.domain, function.name) for function in model.functions}
    tensors = [tensor for scope in scopes for tensor in _tensors(scope)]
    for tensor in tensors:
        _check_tensor(tensor, max_elements)
    sizes = _constants(scopes)
    for scope in scopes:
        for node in scope.node:
            _check_operator(node, known)
            _check_request(node, sizes, max_elements)
        for value in [*getattr(scope, "value_info", ()), *_ports(scope)]:
            dims = [d.dim_value for d in value.type.tensor_type.shape.dim if d.HasField("dim_value")]
            _check_size(dims, f"tensor '{value.name}'", max_elements)
    _check_functions(model)


def _parsed(content: bytes) -> Any:
    model = onnx().ModelProto()
    try:
        model.ParseFromString(content)
    except Exception as problem:
        raise _refuse("this is not an ONNX model", "check the path") from problem
    if not model.graph.node and not model.graph.output:
        raise _refuse("this is not an ONNX model: it has no graph", "check the path")
    return model


def _scopes(waiting: list[Any]) -> Iterator[Any]:
    """These graphs and functions, and all graphs inside them."""
    while waiting:
        scope = waiting.pop()
        yield scope
        for node in scope.node:
            for attribute in node.attribute:
                waiting += [*attribute.graphs, *([attribute.g] if attribute.HasField("g") else ())]


def _ports(scope: Any) -> Iterable[Any]:
    """Inputs and outputs with their types; those of a function are bare names."""
    return [port for port in (*scope.input, *scope.output) if not isinstance(port, str)]


def _check_operator(node: Any, known: set[Name]) -> None:
    domain = _domain(node)
    if (domain, node.op_type) in known or (domain == "com.microsoft" and node.op_type in SHIPPED):
        return
    raise Unconvertible(
        f"operator {node.op_type} of domain '{node.domain or 'ai.onnx'}' is not allowed",
        f"node '{node.name}'",
        "use operators of the ONNX standard, or build it as a Python release (--python)",
    )


def _domain(node: Any) -> str:
    return "" if node.domain == "ai.onnx" else str(node.domain)


def _check_functions(model: Any) -> None:
    """Functions are written out where they are called: none may call itself, and all together stay below the budget."""
    functions: dict[Name, Any] = {(_domain(f), str(f.name)): f for f in model.functions}
    calls = {name: _calls(function, functions) for name, function in functions.items()}
    weights: dict[Name | None, int] = {None: 1}
    inner = {name: [called for called in found if called is not None] for name, found in calls.items()}
    try:
        for name in TopologicalSorter(inner).static_order():
            weights[name] = sum(times * weights[called] for called, times in calls[name].items())
    except CycleError as circle:
        raise _refuse(f"function {circle.args[1][0][1]} calls itself", "check where this model comes from") from None
    nodes = sum(times * weights[called] for called, times in _calls(model.graph, functions).items())
    if nodes > MAX_NODES:
        told = str(nodes) if nodes < 10**15 else "more than 10^15"
        raise _refuse(
            f"the graph stands for {told} operators; {MAX_NODES} are allowed", "check where this model comes from"
        )


def _calls(scope: Any, functions: Mapping[Name, Any]) -> Counter[Name | None]:
    """How often each function is called here, subgraphs included; None: plain operators."""
    found: Counter[Name | None] = Counter()
    for inner in _scopes([scope]):
        for node in inner.node:
            name = (_domain(node), node.op_type)
            found[name if name in functions else None] += 1
    return found


def _tensors(scope: Any) -> Iterator[Any]:
    """Every constant that stands in this scope itself."""
    sparse = list(getattr(scope, "sparse_initializer", ()))
    yield from getattr(scope, "initializer", ())
    for node in scope.node:
        for attribute in node.attribute:
            yield from attribute.tensors
            if attribute.HasField("t"):
                yield attribute.t
            sparse += [
                *attribute.sparse_tensors,
                *([attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else ()),
            ]
    for one in sparse:
        # What it stands for is as large as it says, whatever it stores.
        yield from (one.values, one.indices, onnx().TensorProto(name=one.values.name, dims=one.dims))


def _check_tensor(tensor: Any, limit: int) -> None:
    if tensor.data_location == onnx().TensorProto.EXTERNAL or len(tensor.external_data):
        raise _refuse(f"tensor '{tensor.name}' keeps its data in another file", "save the model with all data inside")
    _check_size(tensor.dims, f"tensor '{tensor.name}'", limit)
    given = 2 * len(tensor.raw_data) + sum(
        len(getattr(tensor, f"{kind}_data")) for kind in ("float", "double", "int64", "uint64", "string")
    )
    given += 2 * len(tensor.int32_data)  # two numbers of four bits
    if tensor.data_type and math.prod(tensor.dims) > given:
        raise _refuse(f"tensor '{tensor.name}' is cut short", "check that the file was copied whole")


def _constants(scopes: Sequence[Any]) -> dict[str, list[list[int]]]:
    """What small whole-numbered constants say, by name; a name may be given again in an inner graph."""
    found: dict[str, list[list[int]]] = {}
    for scope in scopes:
        named = [(tensor.name, tensor) for tensor in getattr(scope, "initializer", ())]
        for node in scope.node:
            if node.op_type == "Constant" and node.output:
                for attribute in node.attribute:
                    if attribute.HasField("t"):
                        named.append((node.output[0], attribute.t))
                    else:
                        found.setdefault(node.output[0], []).append([*attribute.ints, attribute.i])
        for name, tensor in named:
            if math.prod(tensor.dims) <= 64 and tensor.data_type in _whole():
                found.setdefault(name, []).append(_numbers(tensor))
    return found


def _whole() -> tuple[int, ...]:
    types = onnx().TensorProto
    return types.INT64, types.INT32, types.UINT64, types.UINT32


def _numbers(tensor: Any) -> list[int]:
    try:
        return [int(number) for number in onnx().numpy_helper.to_array(tensor).ravel().tolist()]
    except (ValueError, TypeError):
        raise _refuse(f"tensor '{tensor.name}' is damaged", "check that the file was copied whole") from None


def _check_request(node: Any, constants: Mapping[str, list[list[int]]], limit: int) -> None:
    what = f"operator {node.op_type} '{node.name}'"
    for attribute in node.attribute:
        if attribute.name == "shape":
            _check_size(attribute.ints, what, limit)
    place = SHAPED_BY_INPUT.get(node.op_type)
    if place is None or len(node.input) <= place:
        return
    for sizes in constants.get(node.input[place], ()):
        asked = [abs(size) for size in sizes if size]
        _check_size([max(asked, default=0)] if node.op_type in BY_LARGEST else asked, what, limit)


def _check_size(dims: Any, what: str, limit: int) -> None:
    if any(size < 0 for size in dims) or math.prod(int(size) for size in dims if size) > limit:
        raise _refuse(
            f"{what} asks for {'x'.join(str(size) for size in dims)} elements; {limit} are allowed",
            "check where this model comes from",
        )


def _refuse(what: str, next_step: str) -> Unconvertible:
    return Unconvertible(what, "ONNX file", next_step)
