"""XGBoost in plain form, read from the model's own JSON.

XGBoost rounds features to float32 and goes left where `feature < threshold`. Its base score is stored in the output's
unit and enters the sum through the link function. The scikit-learn wrapper stops at the best iteration of early
stopping; a bare Booster uses all its trees unless told otherwise, and so do we.

Categories are codes in sets that go right; every other code goes left, and a missing value where it was learned to go. The
model stores the values behind the codes, if it was trained on a data frame with `category` columns.
"""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from holdfast.build.convert.trees import Ensemble, Tree

if TYPE_CHECKING:
    from holdfast.build.convert.graph import Path

LOGISTIC = {"binary:logistic", "reg:logistic"}
LOG_LINK = {"count:poisson", "reg:gamma", "reg:tweedie"}
SOFTMAX = {"multi:softprob", "multi:softmax"}
IDENTITY = {
    "reg:squarederror",
    "reg:absoluteerror",
    "reg:pseudohubererror",
    "reg:squaredlogerror",
    "reg:quantileerror",
}

INT64 = 15
"""How a stored list of categories says that it holds int64."""


def read_booster(model: Any, path: Path) -> tuple[Ensemble, str]:
    """The trees, and the link that turns their sum into an answer: identity, logistic, log or softmax."""
    wrapped = hasattr(model, "get_booster")
    booster = model.get_booster() if wrapped else model
    learner = json.loads(bytes(booster.save_raw("json")))["learner"]
    booster_json, name = learner["gradient_booster"], learner["gradient_booster"]["name"]
    if name not in {"gbtree", "dart"}:
        raise path.refuse(
            model, f"XGBoost booster '{name}'", "use gbtree, or LogisticRegression/Ridge for linear models"
        )
    inner = booster_json["gbtree"]["model"] if name == "dart" else booster_json["model"]
    weights = booster_json["weight_drop"] if name == "dart" else [1.0] * len(inner["trees"])
    link = _link(learner["objective"]["name"], model, path)
    targets = max(int(learner["learner_model_param"]["num_class"]), 1)
    if int(learner["learner_model_param"].get("num_target", 1)) > 1:
        raise path.refuse(model, "more than one output column", "train one model per output")
    used = _used_trees(model if wrapped else None, booster, inner)
    trees = tuple(
        _tree(tree, target, float(weight), model, path)
        for tree, target, weight in list(zip(inner["trees"], inner["tree_info"], weights, strict=True))[:used]
    )
    base = _base(learner["learner_model_param"]["base_score"], targets, link)
    return Ensemble(trees, targets, base, strict=True, float32=True), link


def feature_names(model: Any) -> list[str]:
    """The column names the model was trained with, or none."""
    booster = model.get_booster() if hasattr(model, "get_booster") else model
    return list(booster.feature_names or [])


def categorical_features(model: Any) -> set[int]:
    """The features that are codes of categories."""
    booster = model.get_booster() if hasattr(model, "get_booster") else model
    return {i for i, kind in enumerate(booster.feature_types or ()) if kind == "c"}


def frame_categories(model: Any, path: Path) -> dict[int, list[Any]]:
    """Feature -> its categories in the order of their codes, as the data frame in training had them."""
    booster = model.get_booster() if hasattr(model, "get_booster") else model
    learner = json.loads(bytes(booster.save_raw("json")))["learner"]
    inner = learner["gradient_booster"]
    stored = inner.get("gbtree", inner)["model"].get("cats", {}).get("enc", [])
    return {i: found for i, one in enumerate(stored) if (found := _stored_values(one, model, path))}


def _stored_values(stored: dict[str, Any], model: Any, path: Path) -> list[Any]:
    """Numbers as they are; of text, the bytes of all, one after the other."""
    if "offsets" not in stored:
        if stored["type"] != INT64:
            raise path.refuse(
                model, "categories that are numbers of another type than int64", "make them text or int64"
            )
        return [int(value) for value in stored["values"]]
    content, ends = stored["values"], stored["offsets"]
    if any(byte < 0 for byte in content):
        # XGBoost cuts names by their length in characters, but stores bytes: "Köln", "Ulm" become "Köl", "nUl".
        raise path.refuse(
            model,
            "category names beyond ASCII, which XGBoost itself mixes up",
            "rename them, or encode them in a Pipeline",
        )
    return [bytes(content[start:end]).decode() for start, end in itertools.pairwise(ends)]


def _link(objective: str, model: Any, path: Path) -> str:
    for names, link in ((LOGISTIC, "logistic"), (LOG_LINK, "log"), (SOFTMAX, "softmax"), (IDENTITY, "identity")):
        if objective in names:
            return link
    raise path.refuse(
        model, f"XGBoost objective '{objective}'", "train with a standard regression or log-loss objective"
    )


def _used_trees(wrapper: Any, booster: Any, inner: dict[str, Any]) -> int:
    ends = inner["iteration_indptr"]
    best = getattr(wrapper, "best_iteration", None) if booster.attr("best_iteration") is not None else None
    return int(ends[-1] if best is None else ends[min(int(best) + 1, len(ends) - 1)])


def _base(text: str, targets: int, link: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    stored = np.array(json.loads(text if text.startswith("[") else f"[{text}]"), dtype=np.float32).astype(np.float64)
    score = np.broadcast_to(stored, (targets,)).copy()
    if link == "logistic":
        return np.log(score / (1.0 - score))
    return np.log(score) if link == "log" else score


def _tree(tree: dict[str, Any], target: int, weight: float, model: Any, path: Path) -> Tree:
    if int(tree["tree_param"]["size_leaf_vector"]) > 1:
        raise path.refuse(model, "trees with vector leaves", "train with multi_strategy='one_output_per_tree'")
    left = np.array(tree["left_children"], dtype=np.int64)
    right = np.array(tree["right_children"], dtype=np.int64)
    missing_left = np.array(tree["default_left"]).astype(bool)
    # Python reads the shortest decimal of a float32; only a second rounding gives back the stored number.
    conditions = np.array(tree["split_conditions"], dtype=np.float32).astype(np.float64)
    sets = _sets(tree)
    for node in sets:  # a plain tree's sets go left
        left[node], right[node], missing_left[node] = right[node], left[node], not missing_left[node]
    return Tree(
        feature=np.array(tree["split_indices"], dtype=np.int64),
        threshold=conditions,
        left=left,
        right=right,
        missing_left=missing_left,
        value=np.where(left < 0, conditions * weight, 0.0),
        target=int(target),
        categories=sets,
    )


def _sets(tree: dict[str, Any]) -> dict[int, tuple[int, ...]]:
    """Node -> the codes that go right, for splits on categories."""
    parts = zip(tree["categories_nodes"], tree["categories_segments"], tree["categories_sizes"], strict=True)
    return {int(node): tuple(tree["categories"][start : start + size]) for node, start, size in parts}
