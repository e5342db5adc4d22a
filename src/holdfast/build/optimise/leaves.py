"""Fewer leaves of an ensemble: cost-complexity pruning against the ensemble's own answers.

Two leaves that hang on one node are joined into their mean, the pair first that changes the ensemble's sum least over reference
rows: with n and m rows in them, n m / (n + m) times the squared difference of their values. What was joined may be joined again,
so that whole branches go that no row sees or that hardly matter. (L. Breiman, J. Friedman, R. Olshen and C. Stone,
Classification and Regression Trees, 1984, chapter 3, with the squared change of the answer as the cost: no labels are needed,
and any library's trees can be cut.)
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any

import numpy as np

from holdfast.build.answers import open_session
from holdfast.build.convert.graph import onnx
from holdfast.build.convert.trees import MEMBER
from holdfast.build.optimise.trees import arrays_of, bounds, keep_nodes, write_arrays
from holdfast.errors import BuildError, Unconvertible

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from holdfast.build.optimise.rows import Feeds

__all__ = ["fewer_leaves"]

LESS = 1


def fewer_leaves(content: bytes, share: float, calibration: Feeds | None) -> bytes:
    """The graph without this share of each ensemble's leaves; the roots stay."""
    lib = onnx()
    model = lib.load_model_from_string(content)
    found = [node for node in model.graph.node if node.op_type == "TreeEnsemble"]
    if not found:
        raise Unconvertible("nothing to do: there are no trees", "step 'leaves'", "leave the step out")
    if calibration is None:
        raise BuildError(
            "leaves are weighed by reference rows, and there are none", "--variant", "give --reference FILE"
        )
    read = _read(content, [node.input[0] for node in found], calibration)
    for node in found:
        arrays = arrays_of(node)
        forest = _Forest(arrays, _visits(arrays, read[node.input[0]]))
        forest.join(round(len(arrays["leaf_weights"]) * share))
        write_arrays(node, forest.arrays())
    result: bytes = model.SerializeToString(deterministic=True)
    return result


def _read(content: bytes, names: list[str], calibration: Feeds) -> dict[str, NDArray[np.float64]]:
    """The matrices that the ensembles read."""
    lib = onnx()
    model = lib.load_model_from_string(content)
    wanted = [name for name in dict.fromkeys(names) if name not in calibration]
    found = {name: calibration[name] for name in names if name in calibration}
    if wanted:
        del model.graph.output[:]
        model.graph.output.extend(lib.ValueInfoProto(name=name) for name in wanted)
        answers = open_session(model.SerializeToString()).run(wanted, calibration)
        found |= dict(zip(wanted, answers, strict=True))
    return found


def _visits(arrays: dict[str, NDArray[Any]], matrix: NDArray[np.float64]) -> NDArray[np.int64]:
    """How many rows reach each leaf."""
    members = _members(arrays)
    reached = np.zeros(len(arrays["leaf_weights"]), dtype=np.int64)
    for root in arrays["tree_roots"].tolist():
        waiting = [(root, np.arange(len(matrix)))]
        while waiting:
            node, rows = waiting.pop()
            values = matrix[rows, arrays["nodes_featureids"][node]]
            true = _test(arrays, members, node, values)
            for side, mine in (("true", rows[true]), ("false", rows[~true])):
                target = int(arrays[f"nodes_{side}nodeids"][node])
                if arrays[f"nodes_{side}leafs"][node]:
                    reached[target] += len(mine)
                elif len(mine):
                    waiting.append((target, mine))
    return reached


def _members(arrays: dict[str, NDArray[Any]]) -> dict[int, NDArray[Any]]:
    """The set of each node that tests membership."""
    if "membership_values" not in arrays:
        return {}
    values = arrays["membership_values"]
    parts = np.split(values, np.flatnonzero(np.isnan(values)) + 1)
    nodes = np.flatnonzero(arrays["nodes_modes"] == MEMBER).tolist()
    return {node: part[:-1] for node, part in zip(nodes, parts, strict=False)}


def _test(
    arrays: dict[str, NDArray[Any]], members: dict[int, NDArray[Any]], node: int, values: NDArray[np.float64]
) -> NDArray[np.bool_]:
    if node in members:
        true = np.isin(values, members[node])
    elif arrays["nodes_modes"][node] == LESS:
        true = values < arrays["nodes_splits"][node]
    else:
        true = values <= arrays["nodes_splits"][node]
    missing = "nodes_missing_value_tracks_true" in arrays and bool(arrays["nodes_missing_value_tracks_true"][node])
    return np.where(np.isnan(values), missing, true).astype(bool)


class _Forest:
    """Trees whose leaves can be joined."""

    def __init__(self, arrays: dict[str, NDArray[Any]], visits: NDArray[np.int64]) -> None:
        self._arrays = arrays
        self._roots = set(arrays["tree_roots"].tolist())
        count = len(arrays["nodes_featureids"])
        self._gone = np.zeros(count, dtype=bool)
        # A child is its node's number, or below zero that of its leaf; a joined node is a leaf of its own.
        sides = [
            np.where(arrays[f"nodes_{side}leafs"].astype(bool), -1 - ids, ids)
            for side in ("true", "false")
            for ids in [arrays[f"nodes_{side}nodeids"]]
        ]
        self._children = np.stack(sides, axis=1)
        self._parent = np.full(count, -1)
        for column in range(2):
            inner = np.flatnonzero(self._children[:, column] >= 0)
            self._parent[self._children[inner, column]] = inner
        self._values, self._rows = arrays["leaf_weights"], visits
        self._joined: dict[int, tuple[float, int]] = {}

    def join(self, many: int) -> None:
        """Join so many pairs, or as many as there are."""
        heap = [(cost, node) for node in range(len(self._gone)) if (cost := self._cost(node)) is not None]
        heapq.heapify(heap)
        while heap and many > 0:
            _, node = heapq.heappop(heap)
            self._joined[node] = self._mean(node)
            self._gone[node] = True
            many -= 1
            parent = int(self._parent[node])
            if (cost := self._cost(parent)) is not None:
                heapq.heappush(heap, (cost, parent))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What is left, renumbered: nodes in their order, leaves as their nodes come."""
        result, keep = dict(self._arrays), ~self._gone
        number = np.cumsum(keep) - 1
        tree = np.searchsorted(bounds(self._arrays), np.arange(len(keep)), side="right") - 1
        last = np.cumsum(np.diff(bounds(self._arrays)) + 1) - 1
        targets = self._arrays["leaf_targetids"][last]
        weights: list[float] = []
        owners: list[int] = []
        ids = np.zeros((len(keep), 2), dtype=np.int64)
        leaf = np.zeros((len(keep), 2), dtype=np.int64)
        for node in np.flatnonzero(keep).tolist():
            for column in range(2):
                child = int(self._children[node, column])
                if child >= 0 and keep[child]:
                    ids[node, column] = number[child]
                    continue
                ids[node, column], leaf[node, column] = len(weights), 1
                weights.append(self._leaf(child)[0])
                owners.append(int(targets[tree[node]]))
        for column, side in enumerate(("true", "false")):
            result[f"nodes_{side}nodeids"], result[f"nodes_{side}leafs"] = ids[:, column], leaf[:, column]
        keep_nodes(result, keep)
        result["leaf_weights"] = np.array(weights, dtype=self._values.dtype)
        result["leaf_targetids"] = np.array(owners, dtype=np.int64)
        result["tree_roots"] = number[self._arrays["tree_roots"]]
        return result

    def _leaf(self, child: int) -> tuple[float, int]:
        """Value and rows of a leaf, or of a node that became one."""
        if child >= 0:
            return self._joined[child]
        return float(self._values[-1 - child]), int(self._rows[-1 - child])

    def _cost(self, node: int) -> float | None:
        """What joining this node's two leaves changes; None while it has others, or is a root."""
        if node < 0 or node in self._roots:
            return None
        children = self._children[node].tolist()
        if any(child >= 0 and not self._gone[child] for child in children):
            return None
        (one, n), (other, m) = map(self._leaf, children)
        return n * m / max(n + m, 1) * (one - other) ** 2

    def _mean(self, node: int) -> tuple[float, int]:
        (one, n), (other, m) = map(self._leaf, self._children[node].tolist())
        return ((one * n + other * m) / (n + m) if n + m else (one + other) / 2), n + m
