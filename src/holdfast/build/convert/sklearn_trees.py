# ruff: noqa: SLF001 - the fitted trees have no public form
"""scikit-learn's trees in plain form: single trees, forests, gradient boosting, isolation forests and histogram
gradient boosting.

All but the last compare features rounded to float32 with float64 thresholds; histogram gradient boosting compares in
float64. A row with a missing value follows the direction that was learned. Class values are fractions per leaf.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from holdfast.build.convert.trees import Ensemble, Tree, per_target

if TYPE_CHECKING:
    from holdfast.build.convert.graph import Path


def plain_tree(tree: Any, target: int = 0, factor: float = 1.0) -> Tree:
    """A `sklearn.tree._tree.Tree` whose leaves hold one number."""
    return Tree(
        feature=tree.feature.astype(np.int64),
        threshold=tree.threshold.astype(np.float64),
        left=tree.children_left.astype(np.int64),
        right=tree.children_right.astype(np.int64),
        missing_left=_missing_left(tree),
        value=tree.value[:, 0, 0] * factor,
        target=target,
    )


def _missing_left(tree: Any) -> np.ndarray[Any, np.dtype[np.bool_]]:
    directions = getattr(tree, "missing_go_to_left", None)
    return np.zeros(tree.node_count, dtype=bool) if directions is None else np.asarray(directions).astype(bool)


def forest(model: Any, path: Path) -> Ensemble:
    """RandomForest, ExtraTrees or a single tree: the mean over trees of a value, or of a fraction per class."""
    members = list(getattr(model, "estimators_", [model]))
    if getattr(model, "n_outputs_", 1) != 1:
        raise path.refuse(model, "more than one output column", "train one model per output")
    classes = getattr(model, "classes_", None)
    trees: list[Tree] = []
    for member in members:
        tree = member.tree_
        if classes is None:
            trees.append(plain_tree(tree))
            continue
        fractions = tree.value[:, 0, :]
        fractions = fractions / fractions.sum(axis=1, keepdims=True)
        # With two classes one tree says it all: the other class is what is missing to one.
        trees += per_target(plain_tree(tree), fractions[:, 1:] if len(classes) == 2 else fractions)
    targets = 1 if classes is None or len(classes) == 2 else len(classes)
    return Ensemble(tuple(trees), targets, np.zeros(targets), divisor=float(len(members)), float32=True)


def gradient_boosting(model: Any, path: Path) -> Ensemble:
    """GradientBoosting: the start value of a constant model plus shrunken trees."""
    if not isinstance(model.init_, str) and type(model.init_).__name__ not in {"DummyClassifier", "DummyRegressor"}:
        raise path.refuse(
            model, f"gradient boosting started from a {type(model.init_).__name__}", "train with init=None"
        )
    start = np.asarray(model._raw_predict_init(np.zeros((1, model.n_features_in_), dtype=np.float32)))[0]
    trees = [
        plain_tree(member.tree_, target, model.learning_rate)
        for stage in model.estimators_
        for target, member in enumerate(stage)
    ]
    return Ensemble(tuple(trees), len(start), start, float32=True)


def hist_gradient_boosting(model: Any) -> Ensemble:
    """HistGradientBoosting: float64 thresholds, missing values and category sets as learned."""
    trees = []
    for iteration in model._predictors:
        for target, predictor in enumerate(iteration):
            nodes = predictor.nodes
            leaf = nodes["is_leaf"].astype(bool)
            sets = {
                int(i): bits_to_set(predictor.raw_left_cat_bitsets[nodes["bitset_idx"][i]])
                for i in np.flatnonzero(nodes["is_categorical"].astype(bool) & ~leaf)
            }
            trees.append(
                Tree(
                    feature=nodes["feature_idx"].astype(np.int64),
                    threshold=nodes["num_threshold"].astype(np.float64),
                    left=np.where(leaf, -1, nodes["left"].astype(np.int64)),
                    right=np.where(leaf, -1, nodes["right"].astype(np.int64)),
                    missing_left=nodes["missing_go_to_left"].astype(bool),
                    value=nodes["value"].astype(np.float64),
                    target=target,
                    categories=sets,
                )
            )
    start = np.asarray(model._baseline_prediction, dtype=np.float64).ravel()
    return Ensemble(tuple(trees), len(start), start)


def isolation_forest(model: Any, path: Path) -> Ensemble:
    """IsolationForest: how deep a row falls, with what an ordinary tree would add below the leaf, over the usual depth."""
    usual = len(model.estimators_) * float(_average_path_length([model._max_samples])[0])
    if usual == 0.0:
        raise path.refuse(model, "an isolation forest whose trees saw one row each", "train it with more rows")
    trees = []
    for number, (member, features) in enumerate(zip(model.estimators_, model.estimators_features_, strict=True)):
        tree = plain_tree(member.tree_)
        depth = model._decision_path_lengths[number] + model._average_path_length_per_tree[number] - 1.0
        chosen = np.asarray(features)[np.where(tree.left < 0, 0, tree.feature)]
        trees.append(replace(tree, feature=chosen.astype(np.int64), value=depth))
    return Ensemble(tuple(trees), 1, np.zeros(1), divisor=usual, float32=True)


def _average_path_length(rows: Any) -> Any:
    from sklearn.ensemble._iforest import _average_path_length as library

    return library(rows)


def bits_to_set(words: Any) -> tuple[int, ...]:
    """The members of a set stored as 32-bit words."""
    return tuple(32 * i + bit for i, word in enumerate(words) for bit in range(32) if (int(word) >> bit) & 1)
