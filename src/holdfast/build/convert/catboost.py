"""CatBoost in plain form, read from the model's own JSON.

CatBoost rounds features to float32 and goes right where `feature > border`; sums and leaves are float64. Most of its trees are
oblivious: one split per level, so a leaf's number is read off the answers as bits. Models of categories, texts and embeddings
are refused: they hash categories and count targets per hash, and keep no list of the categories, so that no table of them can
stand in a graph.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

import numpy as np

from holdfast.build.convert.trees import Ensemble, Tree, per_target

if TYPE_CHECKING:
    from collections.abc import Iterator

    from holdfast.build.convert.graph import Path

LINKS = {
    "Logloss": "logistic",
    "CrossEntropy": "logistic",
    "Focal": "logistic",
    "MultiClass": "softmax",
    "MultiClassOneVsAll": "ova",
    "Poisson": "log",
    "Tweedie": "log",
    **dict.fromkeys(
        ("RMSE", "MAE", "Quantile", "LogLinQuantile", "MAPE", "Huber", "Lq", "Expectile", "LogCosh", "RMSPE"),
        "identity",
    ),
}
"""Loss -> what turns the sum of leaves into CatBoost's own answer."""
MISSING_RIGHT = "AsTrue"
OTHER_FEATURES = {"categorical_features": "categories", "text_features": "texts", "embedding_features": "embeddings"}


def read_model(model: Any, path: Path) -> tuple[Ensemble, str]:
    """The trees, and the link that turns their sum into an answer: identity, logistic, log, softmax or ova."""
    said = _json(model)
    features = said["features_info"]
    for kind, name in OTHER_FEATURES.items():
        if features.get(kind):
            raise path.refuse(
                model,
                f"CatBoost's own treatment of {name} ({_names(features[kind])}): the model keeps hashes, not the {name}",
                "encode them in a Pipeline instead, or build it as a Python release (--python)",
            )
    loss = str(model.get_all_params().get("loss_function", "")).partition(":")[0]
    if loss not in LINKS:
        raise path.refuse(model, f"CatBoost loss '{loss}'", "train with a standard regression or log-loss objective")
    scale, base = said["scale_and_bias"]
    targets = len(base)
    if LINKS[loss] in {"identity", "log", "logistic"} and targets != 1:
        raise path.refuse(model, "more than one output column", "train one model per output")
    missing_right = [f.get("nan_value_treatment") == MISSING_RIGHT for f in features.get("float_features", [])]
    places = [int(f["flat_feature_index"]) for f in features.get("float_features", [])]
    trees: list[Tree] = []
    for one in said.get("oblivious_trees") or said.get("trees") or []:
        nodes = list(_oblivious(one, targets) if "splits" in one else _nested(one, targets))
        trees += per_target(_tree(nodes, places, missing_right), np.array([n["value"] for n in nodes]) * scale)
    return Ensemble(tuple(trees), targets, np.array(base, dtype=np.float64), float32=True), LINKS[loss]


def feature_names(model: Any) -> list[str]:
    """The column names the model was trained with, or none."""
    names = [str(name) for name in model.feature_names_ or ()]
    return [] if names == [str(i) for i in range(len(names))] else names


def _json(model: Any) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        file = FilePath(folder) / "model.json"
        model.save_model(str(file), format="json")
        said: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return said


def _names(features: list[dict[str, Any]]) -> str:
    return ", ".join(str(f.get("feature_id") or f["flat_feature_index"]) for f in features[:5])


def _oblivious(tree: dict[str, Any], targets: int) -> Iterator[dict[str, Any]]:
    """Its nodes, the root first; split i is bit i of a leaf's number, the last split stands at the root."""
    splits, depth = tree["splits"][::-1], len(tree["splits"])
    leaves = np.array(tree["leaf_values"], dtype=np.float64).reshape(-1, targets)
    for level, split in enumerate(splits):
        for place in range(1 << level):
            left = (1 << (level + 1)) - 1 + 2 * place
            yield {"split": split, "left": left, "right": left + 1, "value": [0.0] * targets}
    for leaf in range(1 << depth):
        yield {"left": -1, "right": -1, "value": leaves[leaf].tolist()}


def _nested(tree: dict[str, Any], targets: int) -> Iterator[dict[str, Any]]:
    """The nodes of a tree that grew leaf by leaf, the root first, level by level."""
    waiting, known = [tree], 1
    while waiting:
        node = waiting.pop(0)
        if "split" not in node:
            yield {"left": -1, "right": -1, "value": np.ravel(node["value"]).tolist()}
            continue
        waiting += [node["left"], node["right"]]
        yield {"split": node["split"], "left": known, "right": known + 1, "value": [0.0] * targets}
        known += 2


def _tree(nodes: list[dict[str, Any]], places: list[int], missing_right: list[bool]) -> Tree:
    splits = [node.get("split") for node in nodes]
    features = [split["float_feature_index"] if split else 0 for split in splits]
    borders = np.array([split["border"] if split else 0.0 for split in splits], dtype=np.float32)
    return Tree(
        feature=np.array(
            [places[i] if split else 0 for i, split in zip(features, splits, strict=True)], dtype=np.int64
        ),
        threshold=borders.astype(np.float64),
        left=np.array([node["left"] for node in nodes], dtype=np.int64),
        right=np.array([node["right"] for node in nodes], dtype=np.int64),
        missing_left=np.array([not (split and missing_right[i]) for i, split in zip(features, splits, strict=True)]),
        value=np.zeros(len(nodes)),
    )
