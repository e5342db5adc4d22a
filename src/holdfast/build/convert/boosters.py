"""XGBoost, LightGBM and CatBoost: from a frame of columns to an answer.

Their trees go through the exact tree compiler; around them stand the libraries' own ways with categories and missing values,
and the link that turns a sum of leaves into a prediction or into probabilities.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from holdfast.build.convert import catboost, lightgbm, xgboost
from holdfast.build.convert.estimators import Answer, both_classes, class_labels
from holdfast.build.convert.graph import Column, Frame, Graph, Path, columns_of
from holdfast.build.convert.trees import compile_trees

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def xgboost_model(graph: Graph, frame: Frame, model: Any, path: Path) -> Answer:
    """XGBClassifier, XGBRegressor, their random forests, and a bare Booster."""
    ensemble, link = xgboost.read_booster(model, path)
    if not hasattr(model, "get_booster") and model.attr("best_iteration") is not None:
        graph.notes.append("a bare XGBoost Booster predicts with all its trees, also those after its best iteration")
    for index, categories in xgboost.frame_categories(model, path).items():
        # XGBoost refuses categories that it has not seen, and so must the contract.
        graph.closed.add(frame[index].source)
        if not frame[index].text:  # a contract closes texts only
            graph.notes.append(
                f"XGBoost refuses numbers of '{frame[index].name}' that it has not seen; here they are missing"
            )
        frame = _put(frame, index, _codes(graph, frame[index], categories, model, path))
    marker = getattr(model, "missing", None)
    if marker is not None and not np.isnan(marker):
        matrix = graph.matrix(frame, model, path)
        hidden = graph.op("Equal", matrix, graph.number(float(marker)))
        frame = columns_of(graph.op("Where", hidden, graph.number(np.nan), matrix), [c.name for c in frame], like=frame)
    for index in sorted(xgboost.categorical_features(model)):
        whole = graph.op("Floor", graph.matrix((frame[index],), model, path))  # 2.7 counts as category 2
        frame = _put(frame, index, whole)
    return _linked(graph, compile_trees(graph, frame, ensemble, model, path), link, ensemble.targets, model)


def lightgbm_model(graph: Graph, frame: Frame, model: Any, path: Path) -> Answer:
    """LGBMClassifier, LGBMRegressor and a bare Booster, with pandas categories and linear leaves."""
    booster = lightgbm.read_booster(model, path)
    frame = _coded(graph, frame, model, path)
    for index in sorted(lightgbm.categorical_features(booster.ensemble)):
        single = graph.matrix((frame[index],), model, path)
        known = graph.op("Where", graph.op("IsNaN", single), graph.number(-1.0), single)
        whole = graph.op("Cast", graph.op("Cast", known, to=7), to=11)  # 2.7 counts as category 2
        frame = _put(frame, index, whole)
    for index in sorted(booster.zero_missing):
        single = graph.matrix((frame[index],), model, path)
        zero = graph.op("LessOrEqual", graph.op("Abs", single), graph.number(lightgbm.ZERO))
        frame = _put(frame, index, graph.op("Where", zero, graph.number(np.nan), single))
    raw = compile_trees(graph, frame, booster.ensemble, model, path)
    if booster.linear:
        raw = _with_linear_leaves(graph, raw, frame, booster, model, path)
    if booster.slope != 1.0:
        raw = graph.op("Mul", raw, graph.number(booster.slope))
    return _linked(graph, raw, booster.link, booster.targets, model)


def _with_linear_leaves(
    graph: Graph, sums: str, frame: Frame, booster: lightgbm.Booster, model: Any, path: Path
) -> str:
    """Constant + coefficients . features, per target; a missing feature has the coefficient zero."""
    given = graph.matrix(tuple(frame[i] for i in booster.linear), model, path)
    known = graph.op("Where", graph.op("IsNaN", given), graph.number(0.0), given)
    axis = graph.constant(np.array([1], dtype=np.int64))
    width, parts = 1 + len(booster.linear), []
    for target in range(booster.targets):
        places = np.arange(target * width, (target + 1) * width)
        constant = graph.op("Gather", sums, graph.constant(places[:1]), axis=1)
        coefficients = graph.op("Gather", sums, graph.constant(places[1:]), axis=1)
        product = graph.op("ReduceSum", graph.op("Mul", coefficients, known), axis, keepdims=1)
        parts.append(graph.op("Add", constant, product))
    return parts[0] if len(parts) == 1 else graph.op("Concat", *parts, axis=1)


def catboost_model(graph: Graph, frame: Frame, model: Any, path: Path) -> Answer:
    """CatBoostClassifier, CatBoostRegressor and a bare CatBoost, on numbers."""
    ensemble, link = catboost.read_model(model, path)
    raw = compile_trees(graph, frame, ensemble, model, path)
    return _linked(graph, raw, link, ensemble.targets, model)


def _put(frame: Frame, index: int, tensor: str) -> Frame:
    """The frame with another tensor [n, 1] for one of its columns."""
    column = replace(frame[index], tensor=tensor, index=0, width=1, text=False, replace=())
    return (*frame[:index], column, *frame[index + 1 :])


def _codes(graph: Graph, column: Column, categories: Sequence[Any], model: Any, path: Path) -> str:
    """A column's values by their places in a list of categories; NaN for all others."""
    table = np.array([*range(len(categories)), np.nan], dtype=np.float64).reshape(-1, 1)
    if column.source:
        graph.category_columns.add(column.source)
    return graph.lookup(column, categories, table, model, path)


def _coded(graph: Graph, frame: Frame, model: Any, path: Path) -> Frame:
    lists = lightgbm.pandas_categories(model)
    texts = [i for i, column in enumerate(frame) if column.text]
    if not lists:
        return frame
    if len(texts) != len(lists):
        raise path.refuse(
            model,
            f"{len(lists)} pandas category columns, but {len(texts)} text columns: which is which can't be told",
            "declare the category columns, and only them, as text",
        )
    for i, categories in zip(texts, lists, strict=True):
        frame = _put(frame, i, _codes(graph, frame[i], categories, model, path))
    return frame


def _linked(graph: Graph, raw: str, link: str, targets: int, model: Any) -> Answer:
    known = getattr(model, "classes_", None)
    labels = class_labels(model) if known is not None and len(known) else tuple(range(max(targets, 2)))
    if link == "logistic":
        chance = graph.op("Sigmoid", raw)
        return Answer(chance, both_classes(graph, chance), raw, labels)
    if link == "ova":
        return Answer(probabilities=graph.op("Sigmoid", raw), decision=raw, classes=labels)
    if link == "softmax":
        return Answer(probabilities=graph.op("Softmax", raw, axis=1), decision=raw, classes=labels)
    if link == "square":
        raw = graph.op("Mul", graph.op("Sign", raw), graph.op("Mul", raw, raw))
    return Answer(prediction=graph.op("Exp", raw) if link == "log" else raw)


MODELS: dict[tuple[str, str], Callable[[Graph, Frame, Any, Path], Answer]] = {
    **{("xgboost", f"XGB{name}"): xgboost_model for name in ("Classifier", "Regressor", "RFClassifier", "RFRegressor")},
    ("xgboost", "Booster"): xgboost_model,
    **{("lightgbm", name): lightgbm_model for name in ("LGBMClassifier", "LGBMRegressor", "Booster")},
    **{("catboost", name): catboost_model for name in ("CatBoostClassifier", "CatBoostRegressor", "CatBoost")},
}
"""(library, class name) -> how it is converted."""
