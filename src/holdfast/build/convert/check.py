"""Is this ONNX file safe to load? Checked before any session exists, for what we built and for what others hand us.

ONNX is not harmless by itself: a graph of 65 bytes can ask for gigabytes, a tensor can point to a file elsewhere, a
custom operator is foreign code. So only operators of the ONNX standard and those that ship inside ONNX Runtime are
allowed, all data must be inside the file, and declared sizes have budgets.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from holdfast.build.convert.graph import onnx
from holdfast.errors import Unconvertible

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_BYTES = 1 << 30
MAX_ELEMENTS = 1 << 27
"""No declared tensor may hold more than this (1 GiB of float64)."""

SHIPPED = frozenset(
    """Attention BiasDropout BiasGelu BiasSoftmax CDist ConvTransposeWithDynamicPads CropAndResize
    DequantizeLinear DynamicQuantizeLSTM DynamicQuantizeMatMul EmbedLayerNormalization ExpandDims FastGelu FusedConv
    FusedGemm FusedMatMul GatherND Gelu GridSample GroupQueryAttention Inverse Irfft LongformerAttention MatMulInteger16
    MatMulIntegerToFloat MatMulNBits MaxpoolWithMask MultiHeadAttention MurmurHash3 NGramRepeatBlock NhwcMaxPool Pad
    QAttention QEmbedLayerNormalization QGemm QLinearAdd QLinearAveragePool QLinearConcat QLinearConv
    QLinearGlobalAveragePool QLinearLeakyRelu QLinearMul QLinearReduceMean QLinearSigmoid QLinearSoftmax QLinearWhere
    QuantizeLinear QuickGelu Range Rfft RotaryEmbedding SampleOp SkipLayerNormalization
    SkipSimplifiedLayerNormalization SparseToDenseMatMul Tokenizer TorchEmbedding TransposeMatMul Trilu Unique
    WordConvEmbedding""".split()  # noqa: SIM905 - a list of words reads best as text
)
"""Operators of the domain com.microsoft that ship inside ONNX Runtime."""

SHAPED_BY_INPUT = {"ConstantOfShape": 0, "Expand": 1, "Tile": 1, "Resize": 3, "Pad": 1, "OneHot": 1, "Range": 1}
"""Operators whose output is as large as one of their inputs says."""


def check_onnx(content: bytes, *, max_bytes: int = MAX_BYTES, max_elements: int = MAX_ELEMENTS) -> None:
    """Raise `Unconvertible`, naming the operator or tensor, unless the model is safe to load."""
    if len(content) > max_bytes:
        raise Unconvertible(
            f"the model has {len(content)} bytes; {max_bytes} are allowed", "ONNX file", "make it smaller"
        )
    model = onnx().ModelProto()
    try:
        model.ParseFromString(content)
    except Exception as problem:
        raise Unconvertible("this is not an ONNX model", "ONNX file", "check the path") from problem
    if not model.graph.node and not model.graph.output:
        raise Unconvertible("this is not an ONNX model: it has no graph", "ONNX file", "check the path")
    local = {(function.domain, function.name) for function in model.functions}
    known = {(schema.domain, schema.name) for schema in onnx().defs.get_all_schemas()}
    initial = {tensor.name: tensor for tensor in model.graph.initializer}
    for nodes in _node_lists(model):
        constants = initial | {n.output[0]: a.t for n in nodes if n.op_type == "Constant" for a in n.attribute}
        for node in nodes:
            _check_operator(node, known | local)
            _check_request(node, constants, max_elements)
    for tensor in _tensors(model):
        _check_tensor(tensor, max_elements)
    for value in [*model.graph.input, *model.graph.output, *model.graph.value_info]:
        dims = [d.dim_value for d in value.type.tensor_type.shape.dim if d.HasField("dim_value")]
        _check_size(dims, f"tensor '{value.name}'", max_elements)


def _node_lists(model: Any) -> Iterator[Any]:
    """The nodes of the graph, of its subgraphs and of its functions."""
    waiting = [model.graph.node, *(function.node for function in model.functions)]
    while waiting:
        nodes = waiting.pop()
        yield nodes
        for node in nodes:
            for attribute in node.attribute:
                waiting += [graph.node for graph in (attribute.g, *attribute.graphs) if graph.node]


def _check_operator(node: Any, known: set[tuple[str, str]]) -> None:
    domain = "" if node.domain == "ai.onnx" else node.domain
    if (domain, node.op_type) in known and not domain.startswith("ai.onnx.preview"):
        return
    if domain == "com.microsoft" and node.op_type in SHIPPED:
        return
    raise Unconvertible(
        f"operator {node.op_type} of domain '{node.domain or 'ai.onnx'}' is not allowed",
        f"node '{node.name}'",
        "use operators of the ONNX standard, or build it as a Python release",
    )


def _tensors(model: Any) -> Iterator[Any]:
    """Every constant: initializers and attributes, in subgraphs too."""
    graphs = [model.graph]
    while graphs:
        graph = graphs.pop()
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield sparse.values
            yield sparse.indices
        for node in graph.node:
            for attribute in node.attribute:
                yield from (attribute.t, *attribute.tensors)
                graphs += [inner for inner in (attribute.g, *attribute.graphs) if inner.ByteSize()]
    for function in model.functions:
        for node in function.node:
            for attribute in node.attribute:
                yield from (attribute.t, *attribute.tensors)


def _check_tensor(tensor: Any, limit: int) -> None:
    if tensor.data_location == onnx().TensorProto.EXTERNAL or len(tensor.external_data):
        raise Unconvertible(
            f"tensor '{tensor.name}' keeps its data in another file", "ONNX file", "save the model with all data inside"
        )
    _check_size(tensor.dims, f"tensor '{tensor.name}'", limit)


def _check_request(node: Any, constants: dict[str, Any], limit: int) -> None:
    place = SHAPED_BY_INPUT.get(node.op_type)
    if place is None or len(node.input) <= place or node.input[place] not in constants:
        return
    tensor = constants[node.input[place]]
    if tensor.data_location == onnx().TensorProto.EXTERNAL or math.prod(tensor.dims) > 64:
        return
    sizes = onnx().numpy_helper.to_array(tensor).ravel().tolist()
    _check_size([abs(int(size)) for size in sizes if size], f"operator {node.op_type} '{node.name}'", limit)


def _check_size(dims: Any, what: str, limit: int) -> None:
    if any(size < 0 for size in dims) or math.prod(int(size) for size in dims if size) > limit:
        raise Unconvertible(
            f"{what} asks for {'x'.join(str(size) for size in dims)} elements; {limit} are allowed",
            "ONNX file",
            "check where this model comes from",
        )
