"""LightGBM in plain form, read from the model's own dump.

LightGBM compares in float64 with `<=`. What a missing value does is stored per split: a learned direction ("NaN"), the
same for zeros too ("Zero"), or it counts as zero ("None"). Categories are codes in sets that go left; every other value,
missing too, goes right. For pandas' `category` columns the model stores the list of categories, which becomes the text's
lookup.

Linear trees hold in each leaf a small linear model, and a plain value for rows in which one of its features is missing.
Summed over the trees that is a constant plus one coefficient per feature, all of them sums over leaves: so each is a target
of its own, and the row's answer is `constant + coefficients . row`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from holdfast.build.convert.trees import Ensemble, Tree, per_target

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from holdfast.build.convert.graph import Path

LOG_LINK = {"poisson", "gamma", "tweedie"}
IDENTITY = {"regression", "regression_l1", "huber", "fair", "quantile", "mape"}
ZERO = float(np.float32(1e-35))
"""What LightGBM takes for zero, in either direction."""


@dataclass(frozen=True)
class Booster:
    """What a LightGBM model computes."""

    ensemble: Ensemble
    """Of linear trees: per target the constant, then a coefficient for each of `linear`."""
    link: str
    """What makes an answer of the sums: identity, square, logistic, log, softmax, ova."""
    slope: float
    """Of the logistic function."""
    targets: int
    linear: tuple[int, ...]
    """The features that leaves multiply."""
    zero_missing: frozenset[int]
    """Features of which zero counts as missing."""


def read_booster(model: Any, path: Path) -> Booster:
    """The trees and all that belongs to them."""
    booster = getattr(model, "booster_", model)
    dump = booster.dump_model()  # stops at the best iteration, as predict does
    link, slope = _link(dump["objective"], model, path)
    targets = int(dump["num_tree_per_iteration"])
    walked = [_walked(tree["tree_structure"]) for tree in dump["tree_info"]]
    nodes = [node for flat, _, _ in walked for node in flat]
    linear = tuple(sorted({int(feature) for node in nodes for feature in node.get("leaf_features", ())}))
    width = 1 + len(linear)
    trees: list[Tree] = []
    for number, (flat, left, right) in enumerate(walked):
        target = number % targets
        if linear:
            trees += _linear(flat, left, right, linear, target * width)
        else:
            trees.append(_tree(flat, left, right, target))
    divisor = len(walked) / targets if dump["average_output"] else 1.0
    zero_missing = frozenset(int(n["split_feature"]) for n in nodes if n.get("missing_type") == "Zero")
    ensemble = Ensemble(tuple(trees), targets * width, np.zeros(targets * width), divisor=divisor)
    return Booster(ensemble, link, slope, targets, linear, zero_missing)


def feature_names(model: Any) -> list[str]:
    """The column names the model was trained with, or none."""
    names = list(getattr(model, "booster_", model).feature_name())
    return [] if names == [f"Column_{i}" for i in range(len(names))] else names


def pandas_categories(model: Any) -> list[list[Any]]:
    """The categories of each pandas `category` column, in column order."""
    return list(getattr(model, "booster_", model).pandas_categorical or [])


def categorical_features(ensemble: Ensemble) -> set[int]:
    """The features that some split treats as categories."""
    return {int(tree.feature[node]) for tree in ensemble.trees for node in tree.categories}


def _link(objective: str, model: Any, path: Path) -> tuple[str, float]:
    name, *options = objective.split()
    settings = dict(option.split(":", 1) for option in options if ":" in option)
    slope = float(settings.get("sigmoid", 1.0))
    if name in LOG_LINK:
        return "log", 1.0
    if name in IDENTITY:
        return ("square" if "sqrt" in options else "identity"), 1.0
    links = {"binary": "logistic", "cross_entropy": "logistic", "multiclass": "softmax", "multiclassova": "ova"}
    if name not in links:
        raise path.refuse(
            model, f"LightGBM objective '{name}'", "train with a standard regression or log-loss objective"
        )
    return links[name], slope


def _tree(flat: list[dict[str, Any]], left: list[int], right: list[int], target: int) -> Tree:
    inner = [node if "split_feature" in node else None for node in flat]
    sets = {
        i: tuple(int(code) for code in str(node["threshold"]).split("||"))
        for i, node in enumerate(inner)
        if node and node["decision_type"] == "=="
    }
    numeric = [_threshold(node["threshold"]) if node and i not in sets else 0.0 for i, node in enumerate(inner)]
    return Tree(
        feature=np.array([node["split_feature"] if node else 0 for node in inner], dtype=np.int64),
        threshold=np.array(numeric, dtype=np.float64),
        left=np.array(left, dtype=np.int64),
        right=np.array(right, dtype=np.int64),
        missing_left=np.array([node is not None and _missing_left(node, numeric[i]) for i, node in enumerate(inner)]),
        value=np.array([node.get("leaf_value", 0.0) for node in flat], dtype=np.float64),
        target=target,
        categories=sets,
    )


def _threshold(stored: Any) -> float:
    """LightGBM reads a value as close to zero as `ZERO` as zero itself; a threshold in there moves to where that begins."""
    value = float(stored)
    if -ZERO <= value < 0.0:
        return float(np.nextafter(-ZERO, -np.inf))
    return ZERO if 0.0 <= value < ZERO else value


def _linear(
    flat: list[dict[str, Any]], left: list[int], right: list[int], linear: tuple[int, ...], start: int
) -> Iterator[Tree]:
    """A linear tree as one plain tree for its constant and one per coefficient; targets are numbered from `start`.

    Before each linear leaf stands a test for every feature of it: is it there? If not, the leaf's plain value counts.
    """
    flat, left, right = list(flat), list(left), list(right)
    for place, leaf in enumerate(list(flat)):
        plain = {"leaf_value": leaf.get("leaf_value", 0.0)}
        for feature in leaf.get("leaf_features", ()):
            there = {"split_feature": feature, "threshold": np.inf, "decision_type": "<=", "missing_type": "NaN"}
            flat[place] = there | {"default_left": False}
            left[place], right[place] = len(flat), len(flat) + 1
            flat += [leaf, plain]
            left += [-1, -1]
            right += [-1, -1]
            place = len(flat) - 2  # noqa: PLW2901 - the next test takes the leaf's new place
    tree = _tree(flat, left, right, 0)
    for target, folded in enumerate(per_target(tree, _coefficients(flat, linear))):
        yield Tree(**{**vars(folded), "target": start + target})


def _coefficients(flat: list[dict[str, Any]], linear: tuple[int, ...]) -> NDArray[np.float64]:
    """Per node: the leaf's constant, then its coefficient for each feature of `linear`."""
    values = np.zeros((len(flat), 1 + len(linear)))
    for row, node in zip(values, flat, strict=True):
        row[0] = node.get("leaf_const", node.get("leaf_value", 0.0))
        for feature, coefficient in zip(node.get("leaf_features", ()), node.get("leaf_coeff", ()), strict=True):
            row[1 + linear.index(feature)] += coefficient
    return values


def _walked(root: dict[str, Any]) -> tuple[list[dict[str, Any]], list[int], list[int]]:
    """All nodes, and the numbers of each one's children; -1 for those of a leaf."""
    flat: list[dict[str, Any]] = []
    left: list[int] = []
    right: list[int] = []
    waiting: list[tuple[dict[str, Any], list[int], int]] = [(root, [-1], 0)]
    while waiting:
        node, links, parent = waiting.pop()
        links[parent] = number = len(flat)
        flat.append(node)
        left.append(-1)
        right.append(-1)
        if "split_feature" in node:
            waiting += [(node["right_child"], right, number), (node["left_child"], left, number)]
    return flat, left, right


def _missing_left(node: dict[str, Any], threshold: float) -> bool:
    if node["decision_type"] == "==":
        return False
    if node["missing_type"] == "None":
        return threshold >= 0.0  # a missing value counts as zero
    return bool(node["default_left"])
