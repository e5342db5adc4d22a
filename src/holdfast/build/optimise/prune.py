"""Structured pruning: leave out channels and neurons, so that the network becomes narrower and every runtime quicker.

A channel matters as much as what the next layer makes of its ups and downs: the variance of its activation over reference
rows, times the squared weights that read it. What those that stay can tell of it, by least squares, goes into their weights, and
the rest of its mean into the bias. No labels are looked at and nothing is trained again. (Y. He, X. Zhang and J. Sun, "Channel
pruning for accelerating very deep neural networks", ICCV 2017: choose channels by what the next layer loses, then reconstruct.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from holdfast.build.answers import open_session
from holdfast.build.convert.graph import onnx
from holdfast.build.optimise.chains import Chain, Net
from holdfast.build.optimise.rows import parts
from holdfast.errors import Unconvertible

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from holdfast.build.optimise.rows import Feeds

__all__ = ["pruned"]

RIDGE: Final = 1e-3


def pruned(content: bytes, share: float, calibration: Feeds | None) -> bytes:
    """The network without this share of each layer's channels; the first and the last layer keep their outer sides."""
    net = Net(content)
    chains = net.chains()
    if not chains or all(_kept(chain, share) == chain.channels for chain in chains):
        raise Unconvertible(
            "nothing to do: no layer's channels are seen by the next layer alone", "step 'pruned'", "leave the step out"
        )
    seen = _watched(content, chains, calibration)
    for chain in chains:
        _narrow(net, chain, _kept(chain, share), seen.get(chain.last.input[0]))
    return net.to_bytes()


def _kept(chain: Chain, share: float) -> int:
    return max(round(chain.channels * (1.0 - share)), 1)


def _watched(content: bytes, chains: list[Chain], calibration: Feeds | None) -> dict[str, _Moments]:
    """What the layers read, summed over reference rows a few at a time; empty without rows."""
    if calibration is None:
        return {}
    lib = onnx()
    model = lib.load_model_from_string(content)
    del model.graph.output[:]
    wanted = list(dict.fromkeys(chain.last.input[0] for chain in chains))
    model.graph.output.extend(lib.ValueInfoProto(name=name) for name in wanted)
    session = open_session(model.SerializeToString())
    found = {chain.last.input[0]: _Moments(chain.channels) for chain in chains}
    for some in parts(calibration):
        for name, values in zip(wanted, session.run(wanted, some), strict=True):
            found[name].add(np.asarray(values, dtype=np.float64))
    return found


class _Moments:
    """Sums over activations [rows, channels, inputs of a channel (several behind a flattening), positions]."""

    def __init__(self, channels: int) -> None:
        self._channels = channels
        self._count = 0
        self._sum: NDArray[np.float64] = np.zeros(())
        self._squares: NDArray[np.float64] = np.zeros(())
        self._products: NDArray[np.float64] = np.zeros(())

    def add(self, seen: NDArray[np.float64]) -> None:
        """Some more rows, as the layer reads them."""
        inputs = seen.shape[1] // self._channels
        seen = seen.reshape(len(seen), self._channels, inputs, -1)
        by_channel = seen.transpose(1, 0, 2, 3).reshape(self._channels, -1)
        self._count += len(seen) * seen.shape[3]
        self._sum = self._sum + seen.sum(axis=(0, 3))
        self._squares = self._squares + np.square(seen).sum(axis=(0, 3))
        self._products = self._products + by_channel @ by_channel.T

    def means(self) -> NDArray[np.float64]:
        """Of each input: [channels, inputs of a channel]."""
        return np.asarray(self._sum / self._count)

    def variances(self) -> NDArray[np.float64]:
        """The same."""
        return np.asarray(np.maximum(self._squares / self._count - np.square(self.means()), 0.0))

    def spread(self) -> NDArray[np.float64]:
        """Covariance of the channels, around the mean of each input."""
        means = self.means()
        return np.asarray((self._products / self._count - means @ means.T) / means.shape[1])


def _narrow(net: Net, chain: Chain, count: int, seen: _Moments | None) -> None:
    """Leave out all but `count` channels between the two layers."""
    first, last = net.weights(chain.first), net.weights(chain.last)
    assert first is not None
    assert last is not None
    # [outputs, channels, inputs of a channel (several behind a flattening), kernel]
    reads = last.astype(np.float64).reshape(len(last), chain.channels, last.shape[1] // chain.channels, -1)
    if seen is None:
        means, spread = np.zeros(reads.shape[1:3]), np.eye(chain.channels)
        moves = np.square(first.astype(np.float64)).reshape(len(first), -1).sum(axis=1)[:, None]
    else:
        means, spread, moves = seen.means(), seen.spread(), seen.variances()
    matters = (np.square(reads).sum(axis=(0, 3)) * moves).sum(axis=1)
    keep = np.sort(np.argsort(-matters, kind="stable")[:count])
    gone = np.setdiff1d(np.arange(chain.channels), keep)
    told = _explained(spread, keep, gone)
    stand_in = reads[:, keep] + np.einsum("kg,ogip->okip", told, reads[:, gone])
    lost = np.einsum("ogip,gi->o", reads[:, gone], means[gone] - told.T @ means[keep])

    net.put_weights(chain.first, first[keep])
    if len(chain.first.input) > 2 and chain.first.input[2]:
        _cut(net, chain.first, 2, keep, chain.channels)
    for node in chain.between:
        if node.op_type == "Reshape":
            net.put(node, 1, np.array([-1, count * reads.shape[2]], dtype=np.int64))
        elif node.op_type not in {"Clip", "Dropout"}:
            for place in range(1, len(node.input)):
                _cut(net, node, place, keep, chain.channels)
    net.put_weights(chain.last, stand_in.reshape(len(last), -1, *last.shape[2:]).astype(last.dtype))
    _shift(net, chain.last, lost)


def _explained(spread: NDArray[np.float64], keep: NDArray[np.int64], gone: NDArray[np.int64]) -> NDArray[np.float64]:
    """How the channels that stay, weighted, stand in for each that goes: least squares, held back a little (ridge)."""
    inner = spread[np.ix_(keep, keep)]
    inner = inner + np.eye(len(keep)) * max(RIDGE * float(np.trace(inner)) / len(keep), 1e-12)
    return np.asarray(np.linalg.solve(inner, spread[np.ix_(keep, gone)]), dtype=np.float64)


def _cut(net: Net, node: Any, place: int, keep: NDArray[np.int64], channels: int) -> None:
    """Keep some channels of a constant that has a number for each."""
    values = net.constant(node.input[place])
    if values is None or values.size == 1:
        return
    axis = list(values.shape).index(channels)
    net.put(node, place, np.take(values, keep, axis=axis))


def _shift(net: Net, layer: Any, lost: NDArray[np.float64]) -> None:
    """Add to a layer's bias what the left out channels gave on average."""
    dtype = net.weights(layer).dtype  # type: ignore[union-attr] # it is a layer
    if layer.op_type != "MatMul":
        bias = net.constant(layer.input[2]) if len(layer.input) > 2 and layer.input[2] else None
        net.put(layer, 2, (lost if bias is None else bias + lost).astype(dtype))
        return
    target = layer.output[0]
    layer.output[0] = f"{target}/unshifted"
    add = onnx().helper.make_node("Add", [layer.output[0], ""], [target], name=f"{target}/shift")
    place = list(net.model.graph.node).index(layer)
    net.model.graph.node.insert(place + 1, add)
    net.put(net.model.graph.node[place + 1], 1, lost.astype(dtype))
