"""The exact tree compiler: any ensemble of decision trees -> one `TreeEnsemble` operator (ai.onnx.ml 5) in float64.

Stock converters compute trees in float32 and so send rows near a threshold to the wrong leaf. Here thresholds, leaves
and sums are float64. Where the original library rounds features to float32 first (scikit-learn's forests and gradient
boosting, XGBoost), each threshold moves to the float64 at which that rounding changes sides, which is the same for every
feature value there is and needs no rounding when rows are answered. What a library stores is first brought into one plain form,
`Tree` and `Ensemble`; `compile_trees` is all that knows the operator.

The operator's leaves add to one target each, so a tree whose leaves hold one value per class becomes one tree per
class (`per_target`); subtrees in which a class's value is constant fold into a leaf, which keeps them small.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from holdfast.build.convert.graph import as_tensor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from holdfast.build.convert.graph import Frame, Graph, Path

LESS_OR_EQUAL, LESS, MEMBER = 0, 1, 6

NO_CATEGORY = -1
"""Categories are codes from 0 up."""

GUARD_ULPS = 4
"""Behind a logarithm or a matrix product two libraries differ in the last bit; a threshold that lies exactly on a data
value (HistGradientBoosting's may) is moved up by this much, so that the value stays on its side."""


@dataclass(frozen=True)
class Tree:
    """One tree: parallel arrays, one entry per node; `left < 0` marks a leaf. A row goes left if its test is true."""

    feature: NDArray[np.int64]
    threshold: NDArray[np.float64]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    missing_left: NDArray[np.bool_]
    value: NDArray[np.float64]
    target: int = 0
    categories: dict[int, tuple[int, ...]] = field(default_factory=dict)
    """Node -> the categories that go left, for splits on a set instead of a threshold."""


@dataclass(frozen=True)
class Ensemble:
    """Trees whose leaves are summed per target, divided, and added to the base."""

    trees: tuple[Tree, ...]
    targets: int
    base: NDArray[np.float64]
    divisor: float = 1.0
    strict: bool = False
    """The test is `<` (XGBoost) rather than `<=`."""
    float32: bool = False
    """The original rounds features to float32 before it compares."""


def per_target(tree: Tree, values: NDArray[np.float64]) -> Iterator[Tree]:
    """A tree whose leaves hold one value per target (`values` is [nodes, targets]), as one folded tree per target."""
    levels = list(_levels(tree))
    for target in range(values.shape[1]):
        low = values[:, target].copy()
        high = low.copy()
        for level in reversed(levels):
            inner = level[tree.left[level] >= 0]
            low[inner] = np.minimum(low[tree.left[inner]], low[tree.right[inner]])
            high[inner] = np.maximum(high[tree.left[inner]], high[tree.right[inner]])
        leaf = (tree.left < 0) | (low == high)
        keep = np.zeros(len(leaf), dtype=bool)
        keep[0] = True
        for level in levels:
            inner = level[keep[level] & ~leaf[level]]
            keep[tree.left[inner]] = keep[tree.right[inner]] = True
        number = np.cumsum(keep) - 1
        yield Tree(
            feature=tree.feature[keep],
            threshold=tree.threshold[keep],
            left=np.where(leaf, -1, number[tree.left])[keep],
            right=np.where(leaf, -1, number[tree.right])[keep],
            missing_left=tree.missing_left[keep],
            value=low[keep],
            target=target,
            categories={int(number[node]): s for node, s in tree.categories.items() if keep[node] and not leaf[node]},
        )


def _levels(tree: Tree) -> Iterator[NDArray[np.int64]]:
    level = np.zeros(1, dtype=np.int64)
    while len(level):
        yield level
        inner = level[tree.left[level] >= 0]
        level = np.concatenate([tree.left[inner], tree.right[inner]])


def compile_trees(graph: Graph, frame: Frame, ensemble: Ensemble, model: object, path: Path) -> str:
    """Emit the ensemble; the output is the raw score, float64 [n, targets]."""
    matrix = graph.matrix(frame, model, path)
    base = ensemble.base.astype(np.float64).copy()
    grown = []
    for tree in ensemble.trees:
        if tree.left[0] < 0:  # a tree that never split is a constant
            base[tree.target] += tree.value[0] / ensemble.divisor
        else:
            grown.append(tree)
    if not grown:
        zero = graph.op("Mul", graph.op("Gather", matrix, graph.constant(np.array([0])), axis=1), graph.number(0.0))
        finite = graph.op("Where", graph.op("IsNaN", zero), graph.number(0.0), zero)
        return graph.op("Add", finite, graph.row(base))
    blurred = np.array([not column.exact for column in frame]) & (not ensemble.strict and not ensemble.float32)
    if blurred.any():
        graph.notes.append(f"thresholds behind inexact functions moved up by {GUARD_ULPS} units in the last place")
    raw = graph.op("TreeEnsemble", matrix, domain="ai.onnx.ml", **_attributes(grown, ensemble, blurred))
    if ensemble.divisor != 1.0:
        raw = graph.op("Div", raw, graph.number(ensemble.divisor))
    return graph.op("Add", raw, graph.row(base)) if base.any() else raw


def _attributes(trees: list[Tree], ensemble: Ensemble, blurred: NDArray[np.bool_]) -> dict[str, Any]:
    parts: dict[str, list[NDArray[Any]]] = {}
    roots, members = [], []
    nodes = leaves = 0
    for tree in trees:
        inner = tree.left >= 0
        number = np.where(inner, np.cumsum(inner) - 1 + nodes, np.cumsum(~inner) - 1 + leaves)
        left, right, feature = tree.left[inner], tree.right[inner], tree.feature[inner]
        splits = np.where(blurred[feature], _guarded(tree.threshold[inner]), tree.threshold[inner])
        if ensemble.float32:
            splits = unrounded(splits, strict=ensemble.strict)
        modes = np.full(len(left), LESS if ensemble.strict else LESS_OR_EQUAL, dtype=np.uint8)
        for node, categories in sorted(tree.categories.items()):
            position = number[node] - nodes
            modes[position], splits[position] = MEMBER, 0.0
            members += [*(sorted(categories) or [NO_CATEGORY]), np.nan]  # the operator wants at least one member
        found = {
            "nodes_featureids": feature,
            "nodes_splits": splits,
            "nodes_modes": modes,
            "nodes_truenodeids": number[left],
            "nodes_falsenodeids": number[right],
            "nodes_trueleafs": ~inner[left],
            "nodes_falseleafs": ~inner[right],
            "nodes_missing_value_tracks_true": tree.missing_left[inner],
            "leaf_weights": tree.value[~inner],
            "leaf_targetids": np.full(int((~inner).sum()), tree.target),
        }
        for name, values in found.items():
            parts.setdefault(name, []).append(values)
        roots.append(nodes)
        nodes += int(inner.sum())
        leaves += int((~inner).sum())
    joined = {name: np.concatenate(values) for name, values in parts.items()}
    tensors = {"nodes_splits", "nodes_modes", "leaf_weights"}
    attributes: dict[str, Any] = {
        name: as_tensor(values) if name in tensors else values.astype(np.int64).tolist()
        for name, values in joined.items()
    }
    if members:
        attributes["membership_values"] = as_tensor(np.array(members, dtype=np.float64))
    return attributes | {
        "tree_roots": roots,
        "n_targets": ensemble.targets,
        "aggregate_function": 1,
        "post_transform": 0,
    }


def unrounded(threshold: NDArray[np.float64], *, strict: bool) -> NDArray[np.float64]:
    """Float64 thresholds that part float64 values as `threshold` parts them once they are rounded to float32.

    The values that round to `last` or below go left, where `last` is the largest float32 that does: those below the middle
    between it and the next one, and the middle itself if the tie goes to `last`, that is if its last bit is even (IEEE 754,
    round half to even). Beyond the largest float32 the middle is where a value begins to round to infinity.
    """
    with np.errstate(over="ignore", under="ignore"):
        near = threshold.astype(np.float32)
        above = near >= threshold if strict else near > threshold
        last = np.where(above, np.nextafter(near, np.float32(-np.inf)), near)
        following = np.nextafter(last, np.float32(np.inf))
    middle = (_beyond(last) + _beyond(following)) / 2.0
    even = (last.view(np.uint32) & 1) == 0
    if strict:  # a test of `<`
        middle = np.where(even, np.nextafter(middle, np.inf), middle)
    else:
        middle = np.where(even, middle, np.nextafter(middle, -np.inf))
    all_or_none = -np.inf if strict else np.inf
    return np.where(threshold == all_or_none, threshold, middle)


def _beyond(value: NDArray[np.float32]) -> NDArray[np.float64]:
    """As float64; infinity as the float32 that would come next if there were one."""
    return np.where(np.isinf(value), np.copysign(np.float64(2.0**128), value), value.astype(np.float64))


def _guarded(threshold: NDArray[np.float64]) -> NDArray[np.float64]:
    finite = np.isfinite(threshold)
    return np.where(finite, threshold + GUARD_ULPS * np.spacing(np.abs(np.where(finite, threshold, 0.0))), threshold)
