"""LightGBM in plain form, read from the model's own dump.

LightGBM compares in float64 with `<=`. What a missing value does is stored per split: a learned direction ("NaN"), or
it counts as zero ("None"). Categories are codes in sets that go left; every other value, missing too, goes right. For
pandas' `category` columns the model stores the list of categories, which becomes the text's lookup.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from holdfast.build.convert.trees import Ensemble, Tree

if TYPE_CHECKING:
    from holdfast.build.convert.graph import Path

LOG_LINK = {"poisson", "gamma", "tweedie"}
IDENTITY = {"regression", "regression_l1", "huber", "fair", "quantile", "mape"}


def read_booster(model: Any, path: Path) -> tuple[Ensemble, str, float]:
    """The trees, the link (identity, square, logistic, log, softmax, ova) and the logistic's slope."""
    booster = getattr(model, "booster_", model)
    dump = booster.dump_model()  # stops at the best iteration, as predict does
    link, slope = _link(dump["objective"], model, path)
    targets = int(dump["num_tree_per_iteration"])
    trees = tuple(_tree(tree, i % targets, model, path) for i, tree in enumerate(dump["tree_info"]))
    divisor = len(trees) / targets if dump["average_output"] else 1.0
    return Ensemble(trees, targets, np.zeros(targets), divisor=divisor), link, slope


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


def _tree(tree: dict[str, Any], target: int, model: Any, path: Path) -> Tree:
    flat, left, right = _walked(tree["tree_structure"])
    if any("leaf_coeff" in node for node in flat):
        raise path.refuse(model, "linear models in the leaves (linear_tree)", "train with linear_tree=False")
    if any(node.get("missing_type") == "Zero" for node in flat):
        raise path.refuse(model, "zero_as_missing", "train with zero_as_missing=False")
    inner = [node if "split_feature" in node else None for node in flat]
    sets = {
        i: tuple(int(code) for code in str(node["threshold"]).split("||"))
        for i, node in enumerate(inner)
        if node and node["decision_type"] == "=="
    }
    numeric = [float(node["threshold"]) if node and i not in sets else 0.0 for i, node in enumerate(inner)]
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
    if node["missing_type"] == "NaN":
        return bool(node["default_left"])
    return threshold >= 0.0  # a missing value counts as zero
