"""Where a network can be made narrower: a layer, what follows it channel by channel, and the layer that reads it.

A channel (of a convolution) or neuron (of a product) can only be left out if nobody but the next layer sees it, and if all that
lies between treats each channel for itself: activations, pooling, normalisation, a constant added, a flattening.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from holdfast.build.convert.graph import onnx

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["Chain", "Net"]

LAYERS: Final = frozenset({"Conv", "Gemm", "MatMul"})
SINGLE: Final = frozenset(
    {
        "AveragePool",
        "Clip",
        "Dropout",
        "Elu",
        "Flatten",
        "Gelu",
        "GlobalAveragePool",
        "HardSigmoid",
        "HardSwish",
        "Identity",
        "LeakyRelu",
        "MaxPool",
        "Relu",
        "Reshape",
        "Selu",
        "Sigmoid",
        "Softplus",
        "Tanh",
    }
)
"""What treats each channel for itself and has no numbers per channel."""
PER_CHANNEL: Final = frozenset({"Add", "BatchNormalization", "Div", "Mul", "PRelu", "Sub"})
"""What has a constant per channel."""


@dataclass(frozen=True)
class Chain:
    """A layer, what lies between, and the layer that reads it."""

    first: Any
    between: tuple[Any, ...]
    last: Any
    channels: int


class Net:
    """A graph with its constants at hand."""

    def __init__(self, content: bytes) -> None:
        lib = onnx()
        self.model = lib.load_model_from_string(content)
        self._constants = {tensor.name: tensor for tensor in self.model.graph.initializer}
        self._users: dict[str, list[Any]] = defaultdict(list)
        for node in self.model.graph.node:
            for name in node.input:
                self._users[name].append(node)
        self._outputs = {value.name for value in self.model.graph.output}

    def constant(self, name: str) -> NDArray[Any] | None:
        """The values of a constant, if that is one."""
        tensor = self._constants.get(name)
        return None if tensor is None else np.asarray(onnx().numpy_helper.to_array(tensor))

    def weights(self, layer: Any) -> NDArray[Any] | None:
        """A layer's weights as [outputs, inputs, ...]; None where they are no constant or it is no plain layer."""
        plain = {"group": 1, "alpha": 1.0, "beta": 1.0, "transA": 0}
        for attribute in layer.attribute:
            if attribute.name in plain and onnx().helper.get_attribute_value(attribute) != plain[attribute.name]:
                return None
        values = self.constant(layer.input[1]) if layer.op_type in LAYERS and len(layer.input) > 1 else None
        if values is None or values.dtype.kind != "f" or (layer.op_type != "Conv" and values.ndim != 2):
            return None
        return values if _rows_are_outputs(layer) else values.T

    def put(self, node: Any, place: int, values: NDArray[Any]) -> None:
        """Give a node another constant, of its own."""
        while len(node.input) <= place:
            node.input.append("")
        name = f"{node.output[0]}/input{place}"
        tensor = onnx().numpy_helper.from_array(np.ascontiguousarray(values), name)
        if name in self._constants:
            self._constants[name].CopyFrom(tensor)
        else:
            self.model.graph.initializer.append(tensor)
            self._constants[name] = self.model.graph.initializer[-1]
        node.input[place] = name

    def put_weights(self, layer: Any, weights: NDArray[Any]) -> None:
        """The inverse of `weights`."""
        self.put(layer, 1, weights if _rows_are_outputs(layer) else weights.T)

    def chains(self) -> list[Chain]:
        """All of the graph, front to back."""
        found = []
        for node in self.model.graph.node:
            weights = self.weights(node)
            if weights is not None and (chain := self._follow(node, weights.shape[0])):
                found.append(chain)
        return found

    def to_bytes(self) -> bytes:
        """The graph, without constants that nobody reads any more."""
        used = {name for node in self.model.graph.node for name in node.input}
        rest = [tensor for tensor in self.model.graph.initializer if tensor.name in used]
        kept = [type(tensor).FromString(tensor.SerializeToString()) for tensor in rest]
        del self.model.graph.initializer[:], self.model.graph.value_info[:]
        self.model.graph.initializer.extend(kept)
        content: bytes = self.model.SerializeToString(deterministic=True)
        return content

    def _follow(self, first: Any, channels: int) -> Chain | None:
        between: list[Any] = []
        tensor = first.output[0]
        while tensor not in self._outputs and len(self._users[tensor]) == 1:
            [node] = self._users[tensor]
            weights = self.weights(node)
            if weights is not None and node.input[0] == tensor:
                return Chain(first, tuple(between), node, channels) if weights.shape[1] % channels == 0 else None
            if not self._passes(node, tensor, channels):
                return None
            between.append(node)
            tensor = node.output[0]
        return None

    def _passes(self, node: Any, tensor: str, channels: int) -> bool:
        if node.op_type in {"Reshape", "Flatten"}:
            return self._flattens(node)
        if node.op_type in SINGLE:
            return len(node.output) == 1
        if node.op_type not in PER_CHANNEL or node.input[0] != tensor:
            return False
        values = [self.constant(name) for name in node.input[1:]]
        return all(one is not None and (one.size == 1 or _per_channel(one.shape, channels)) for one in values)

    def _flattens(self, node: Any) -> bool:
        """To [n, all the rest], channel after channel."""
        if node.op_type == "Flatten":
            return all(a.i == 1 for a in node.attribute if a.name == "axis")
        shape = self.constant(node.input[1])
        return shape is not None and len(shape) == 2


def _rows_are_outputs(layer: Any) -> bool:
    return layer.op_type == "Conv" or any(a.name == "transB" and a.i for a in layer.attribute)


def _per_channel(shape: Sequence[int], channels: int) -> bool:
    """[C], [C, 1, 1], [1, C] or [1, C, 1, 1]."""
    return int(np.prod(shape)) == channels and channels in shape
