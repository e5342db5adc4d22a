"""Fewer trees of an ensemble: a booster stopped earlier, a forest with fewer voters.

The graph holds each tree for itself, in the order in which it was grown, with one target per tree. A forest's sum is divided
by the number of its trees in a node of its own, which is set right; a booster's is not.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from holdfast.build.convert.graph import onnx
from holdfast.build.convert.trees import MEMBER
from holdfast.errors import Unconvertible

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from holdfast.build.optimise.rows import Feeds

__all__ = ["arrays_of", "bounds", "fewer_trees", "keep_nodes", "write_arrays"]

NODES: Final = (
    "nodes_featureids",
    "nodes_splits",
    "nodes_modes",
    "nodes_truenodeids",
    "nodes_falsenodeids",
    "nodes_trueleafs",
    "nodes_falseleafs",
    "nodes_missing_value_tracks_true",
)
LEAVES: Final = ("leaf_weights", "leaf_targetids")


def fewer_trees(content: bytes, share: float, _: Feeds | None) -> bytes:
    """The graph with the first `share` of each target's trees; at least one."""
    lib = onnx()
    model = lib.load_model_from_string(content)
    found = [node for node in model.graph.node if node.op_type == "TreeEnsemble"]
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    changed = False
    for node in found:
        arrays = arrays_of(node)
        keep = _kept(arrays, share)
        if keep.all():
            continue
        changed = True
        write_arrays(node, _only(arrays, keep))
        for user in model.graph.node:
            if user.op_type == "Div" and user.input[0] == node.output[0] and user.input[1] in constants:
                divisor = lib.numpy_helper.to_array(constants[user.input[1]]) * keep.sum() / len(keep)
                name = f"{user.input[1]}/{node.name}"
                model.graph.initializer.append(lib.numpy_helper.from_array(np.asarray(divisor), name))
                user.input[1] = name
    if not changed:
        raise Unconvertible("nothing to do: there are no trees to leave out", "step 'trees'", "leave the step out")
    used = {name for node in model.graph.node for name in node.input}
    rest = [tensor for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(rest)
    result: bytes = model.SerializeToString(deterministic=True)
    return result


def arrays_of(node: Any) -> dict[str, NDArray[Any]]:
    """The ensemble's attributes, by their names in ONNX."""
    return {
        a.name: onnx().numpy_helper.to_array(a.t) if a.HasField("t") else np.array(a.ints, dtype=np.int64)
        for a in node.attribute
        if a.ints or a.HasField("t")
    }


def _kept(arrays: dict[str, NDArray[Any]], share: float) -> NDArray[np.bool_]:
    """Which trees stay: of each target the first ones."""
    targets = arrays["leaf_targetids"][_first_leaves(arrays)]
    keep = np.zeros(len(targets), dtype=bool)
    for target in np.unique(targets):
        mine = np.flatnonzero(targets == target)
        keep[mine[: max(ceil(len(mine) * share), 1)]] = True
    return keep


def bounds(arrays: dict[str, NDArray[Any]]) -> NDArray[np.int64]:
    """Where each tree's nodes begin, and the end."""
    return np.append(arrays["tree_roots"], len(arrays["nodes_featureids"]))


def _leaf_counts(arrays: dict[str, NDArray[Any]]) -> NDArray[np.int64]:
    """Leaves of each tree: one more than it has nodes."""
    return np.diff(bounds(arrays)) + 1


def _first_leaves(arrays: dict[str, NDArray[Any]]) -> NDArray[np.int64]:
    counts = _leaf_counts(arrays)
    return np.cumsum(counts) - counts


def _only(arrays: dict[str, NDArray[Any]], keep: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
    """The arrays of the kept trees, renumbered."""
    sizes, counts = np.diff(bounds(arrays)), _leaf_counts(arrays)
    node, leaf = np.repeat(keep, sizes), np.repeat(keep, counts)
    node_number, leaf_number = np.cumsum(node) - 1, np.cumsum(leaf) - 1
    result = dict(arrays)
    for side in ("true", "false"):
        is_leaf, ids = arrays[f"nodes_{side}leafs"].astype(bool), arrays[f"nodes_{side}nodeids"]
        moved = np.where(is_leaf, leaf_number[np.where(is_leaf, ids, 0)], node_number[np.where(is_leaf, 0, ids)])
        result[f"nodes_{side}nodeids"] = moved
    keep_nodes(result, node)
    for name in LEAVES:
        result[name] = result[name][leaf]
    result["tree_roots"] = node_number[arrays["tree_roots"][keep]]
    return result


def keep_nodes(arrays: dict[str, NDArray[Any]], node: NDArray[np.bool_]) -> None:
    """Leave the other nodes out of what is said node by node."""
    if "membership_values" in arrays:
        # One stretch of members, ended by NaN, for each node that has them, in the order of the nodes.
        values = arrays["membership_values"]
        stretch = np.cumsum(np.isnan(values)) - np.isnan(values)
        arrays["membership_values"] = values[node[np.flatnonzero(arrays["nodes_modes"] == MEMBER)][stretch]]
        if not len(arrays["membership_values"]):
            del arrays["membership_values"]
    for name in NODES:
        if name in arrays:
            arrays[name] = arrays[name][node]


def write_arrays(node: Any, arrays: dict[str, NDArray[Any]]) -> None:
    """The inverse of `arrays_of`."""
    for attribute in list(node.attribute):
        if attribute.HasField("t"):
            if attribute.name not in arrays:
                node.attribute.remove(attribute)
                continue
            attribute.t.CopyFrom(onnx().numpy_helper.from_array(np.ascontiguousarray(arrays[attribute.name])))
        elif attribute.name in arrays:
            del attribute.ints[:]
            attribute.ints.extend(arrays[attribute.name].astype(np.int64).tolist())
