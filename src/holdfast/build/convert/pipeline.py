"""Walks a whole model: Pipelines, transformed targets, searches, votes and calibrations around the models proper.

`answer` carries a frame through anything that predicts, going by the exact class: a user's subclass or own model is
refused by its name and place in the pipeline, never guessed at. What scikit-learn has and we don't know is borrowed
from skl2onnx.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from holdfast.build.convert import boosters, estimators
from holdfast.build.convert.borrowed import borrow
from holdfast.build.convert.estimators import Answer, both_classes, class_labels, normalised
from holdfast.build.convert.functions import EXACT, INEXACT
from holdfast.build.convert.graph import Column, Frame, Graph, Path, columns_of
from holdfast.build.convert.steps import kind_of, transform

if TYPE_CHECKING:
    from collections.abc import Callable

Scale = Literal["identity", "log", "log1p"]

MODELS = estimators.MODELS | boosters.MODELS
"""(library, class name) -> how it is converted. A subclass may predict anything, so only these very classes count."""

SEARCHES = {"GridSearchCV", "RandomizedSearchCV", "HalvingGridSearchCV", "HalvingRandomSearchCV"}


def answer(graph: Graph, frame: Frame, model: Any, path: Path) -> Answer:
    """Anything that predicts: the frame it sees -> its prediction or probabilities."""
    library, name = kind_of(model)
    graph.libraries.add(library)
    if library == "sklearn" and name in WRAPPERS:
        return WRAPPERS[name](graph, frame, model, path)
    if library == "sklearn" and name in SEARCHES:
        return answer(graph, frame, model.best_estimator_, path)
    if (library, name) in MODELS:
        return MODELS[library, name](graph, frame, model, path)
    if library == "sklearn":
        return borrow(graph, frame, model, path)
    raise path.refuse(model, "no exact conversion is known for this model")


def _pipeline(graph: Graph, frame: Frame, model: Any, path: Path) -> Answer:
    *before, (last_name, last) = model.steps
    for name, part in before:
        frame = transform(graph, frame, part, path / name)
    return answer(graph, frame, last, path / last_name)


def _transformed_target(graph: Graph, frame: Frame, model: Any, path: Path) -> Answer:
    """Predict on the transformed scale, then undo the transformation: answers are in natural units."""
    inner = answer(graph, frame, model.regressor_, path / "regressor")
    back, scale = _inverse(graph, inner.prediction, model.transformer_, path / "transformer")
    return Answer(prediction=back, scale=scale)


def _inverse(graph: Graph, y: str, step: Any, path: Path) -> tuple[str, Scale]:
    library, name = kind_of(step)
    if (library, name) == ("sklearn", "FunctionTransformer"):
        undo = step.inverse_func
        if undo is None:
            return y, "identity"
        known = EXACT | INEXACT
        if undo not in known or step.inv_kw_args:
            raise path.refuse(step, f"inverse function '{getattr(undo, '__name__', undo)}'", "use np.exp or np.expm1")
        scales: dict[Any, Scale] = {(np.log, np.exp): "log", (np.log1p, np.expm1): "log1p"}
        return known[undo](graph, y), scales.get((step.func, undo), "identity")
    if library == "sklearn" and name in {"StandardScaler", "RobustScaler", "MaxAbsScaler"}:
        if getattr(step, "scale_", None) is not None:
            y = graph.op("Mul", y, graph.row(step.scale_))
        centre = getattr(step, "mean_", None) if getattr(step, "with_mean", False) else getattr(step, "center_", None)
        return (y if centre is None else graph.op("Add", y, graph.row(centre))), "identity"
    if (library, name) == ("sklearn", "MinMaxScaler"):
        return graph.op("Div", graph.op("Sub", y, graph.row(step.min_)), graph.row(step.scale_)), "identity"
    raise path.refuse(
        step, "this target transformation has no exact inverse here", "use func=np.log, inverse_func=np.exp"
    )


def _mean(graph: Graph, tensors: list[str], weights: Any) -> str:
    shares = np.ones(len(tensors)) if weights is None else np.asarray(weights, dtype=np.float64)
    total = graph.op("Mul", tensors[0], graph.number(shares[0]))
    for tensor, share in zip(tensors[1:], shares[1:], strict=True):
        total = graph.op("Add", total, graph.op("Mul", tensor, graph.number(share)))
    return graph.op("Div", total, graph.number(float(shares.sum())))


def _vote(graph: Graph, frame: Frame, model: Any, path: Path) -> Answer:
    named = [name for name, part in model.estimators if part != "drop"]
    answers = [answer(graph, frame, part, path / name) for name, part in zip(named, model.estimators_, strict=True)]
    weights = model._weights_not_none  # noqa: SLF001 - weights without those of dropped voters
    if not hasattr(model, "classes_"):
        return Answer(prediction=_mean(graph, [a.prediction for a in answers], weights))
    if model.voting != "soft":
        raise path.refuse(model, "hard voting gives no probabilities", "use voting='soft'")
    for one, name in zip(answers, named, strict=True):
        if not one.probabilities:
            raise path.refuse(model, f"voter '{name}' gives no probabilities", "calibrate it or leave it out")
    return Answer(probabilities=_mean(graph, [a.probabilities for a in answers], weights), classes=class_labels(model))


def _bagging(graph: Graph, frame: Frame, model: Any, path: Path) -> Answer:
    """The mean of members that were trained on parts of rows and columns."""
    members = []
    for number, (member, features) in enumerate(zip(model.estimators_, model.estimators_features_, strict=True)):
        here = path / f"member {number}"
        found = answer(graph, tuple(frame[int(i)] for i in features), member, here)
        if hasattr(model, "classes_") and (not found.probabilities or len(found.classes or ()) != len(model.classes_)):
            raise here.refuse(member, "a member that gives no probability of every class", "bag trees or linear models")
        members.append(found.probabilities or found.prediction)
    mean = _mean(graph, members, None)
    if not hasattr(model, "classes_"):
        return Answer(prediction=mean)
    return Answer(probabilities=mean, classes=class_labels(model))


def _ada_boost(graph: Graph, frame: Frame, model: Any, path: Path) -> Answer:
    """AdaBoostClassifier: each member votes for one class with its weight; their sum is a score, softened to probabilities.

    (SAMME: J. Zhu, H. Zou, S. Rosset, T. Hastie, Multi-class AdaBoost, Statistics and Its Interface 2, 2009.)
    """
    labels = class_labels(model)
    total = float(np.sum(model.estimator_weights_[: len(model.estimators_)]))
    votes = []
    for number, member in enumerate(model.estimators_):
        found = answer(graph, frame, member, path / f"member {number}")
        if not found.probabilities or found.classes != labels:
            raise path.refuse(model, "a member that gives no probability of every class", "boost decision trees")
        chosen = graph.op("ArgMax", found.probabilities, axis=1, keepdims=1)
        hit = graph.op("Equal", chosen, graph.constant(np.arange(len(labels)).reshape(1, -1)))
        weight = float(model.estimator_weights_[number])
        votes.append(graph.op("Where", hit, graph.number(weight), graph.number(-weight / (len(labels) - 1))))
    scores = graph.op("Div", graph.op("Sum", *votes), graph.number(total))
    if (
        len(labels) == 2
    ):  # both columns say the same, with opposite signs; scikit-learn adds them up and halves them again
        return Answer(probabilities=graph.op("Softmax", scores, axis=1), classes=labels)
    softened = graph.op("Div", scores, graph.number(len(labels) - 1.0))
    return Answer(probabilities=graph.op("Softmax", softened, axis=1), classes=labels)


def _stacked(graph: Graph, frame: Frame, model: Any, path: Path) -> Answer:
    """Models whose answers are the columns of a last one."""
    named = [name for name, part in model.estimators if part != "drop"]
    columns: list[Column] = []
    for name, member, method in zip(named, model.estimators_, model.stack_method_, strict=True):
        found = answer(graph, frame, member, path / name)
        given = {"predict": found.prediction, "predict_proba": found.probabilities, "decision_function": found.decision}
        tensor = given[method]
        if not tensor:
            raise (path / name).refuse(member, f"{method} of a stacked model", "stack models that give probabilities")
        count = len(found.classes or ()) if method == "predict_proba" else 1
        if method == "decision_function" and len(found.classes or ()) > 2:
            count = len(found.classes or ())
        made = columns_of(tensor, [f"{name}{i}" for i in range(count)], exact=False)
        columns += made[1:] if method == "predict_proba" and count == 2 else made  # of two chances one says it all
    seen = (*columns, *frame) if model.passthrough else tuple(columns)
    last = answer(graph, seen, model.final_estimator_, path / "final_estimator")
    return replace(last, classes=class_labels(model)) if hasattr(model, "classes_") else last


def _one_against_rest(graph: Graph, frame: Frame, model: Any, path: Path) -> Answer:
    """OneVsRestClassifier: a model per class; their chances are brought to the sum 1."""
    labels, chances = class_labels(model), []
    for number, member in enumerate(model.estimators_):
        here = path / f"class {number}"
        found = answer(graph, frame, member, here)
        if not found.probabilities or len(found.classes or ()) != 2:
            raise here.refuse(member, "a member that gives no probabilities", "use members that give them")
        chances.append(graph.op("Gather", found.probabilities, graph.constant(np.array([1])), axis=1))
    if len(chances) == 1:
        return Answer(probabilities=both_classes(graph, chances[0]), classes=labels)
    scores = graph.op("Concat", *chances, axis=1)
    total = graph.op("ReduceSum", scores, graph.constant(np.array([1])), keepdims=1)
    none = graph.op("Equal", total, graph.number(0.0))
    divided = graph.op("Div", scores, graph.op("Where", none, graph.number(1.0), total))
    return Answer(probabilities=divided, classes=labels)


def _calibrated(graph: Graph, frame: Frame, model: Any, path: Path) -> Answer:
    labels = class_labels(model)
    members = []
    for number, member in enumerate(model.calibrated_classifiers_):
        here = path / f"calibrated {number}"
        if member.method not in {"sigmoid", "isotonic"}:
            raise here.refuse(model, f"calibration method '{member.method}'", "use method='sigmoid' or 'isotonic'")
        inner = answer(graph, frame, member.estimator, here)
        if len(inner.classes or ()) != len(labels):
            raise here.refuse(model, "a fold that has not seen every class", "use stratified folds")
        scores = inner.decision
        if not scores:
            second = graph.constant(np.array([1], dtype=np.int64))
            scores = inner.probabilities
            scores = graph.op("Gather", scores, second, axis=1) if len(labels) == 2 else scores
        chances = [
            _calibrate(graph, graph.op("Gather", scores, graph.constant(np.array([i])), axis=1), calibrator)
            for i, calibrator in enumerate(member.calibrators)
        ]
        if len(labels) == 2:
            members.append(both_classes(graph, chances[0]))
        else:
            members.append(normalised(graph, graph.op("Concat", *chances, axis=1), len(labels)))
    return Answer(probabilities=_mean(graph, members, None), classes=labels)


def _calibrate(graph: Graph, score: str, calibrator: Any) -> str:
    if hasattr(calibrator, "a_"):  # Platt: 1 / (1 + exp(a * score + b))
        shifted = graph.op(
            "Add", graph.op("Mul", score, graph.number(float(calibrator.a_))), graph.number(float(calibrator.b_))
        )
        return graph.op("Sigmoid", graph.op("Neg", shifted))
    x = np.asarray(calibrator.X_thresholds_, dtype=np.float64)
    y = np.asarray(calibrator.y_thresholds_, dtype=np.float64)
    if len(x) == 1:
        return graph.op("Add", graph.op("Mul", score, graph.number(0.0)), graph.number(y[0]))
    clipped = graph.op("Min", graph.op("Max", score, graph.number(x[0])), graph.number(x[-1]))
    axis = graph.constant(np.array([1], dtype=np.int64))
    above = graph.op("Cast", graph.op("Greater", clipped, graph.row(x[1:-1])), to=7) if len(x) > 2 else None
    if above is None:
        low_x, low_y, slope = graph.number(x[0]), graph.number(y[0]), graph.number((y[1] - y[0]) / (x[1] - x[0]))
    else:
        position = graph.op("ReduceSum", above, axis, keepdims=1)
        low_x, low_y, slope = (
            graph.op("Gather", graph.constant(values), position, axis=0)
            for values in (x[:-1], y[:-1], np.diff(y) / np.diff(x))
        )
    return graph.op("Add", graph.op("Mul", slope, graph.op("Sub", clipped, low_x)), low_y)


WRAPPERS: dict[str, Callable[[Graph, Frame, Any, Path], Answer]] = {
    "Pipeline": _pipeline,
    "TransformedTargetRegressor": _transformed_target,
    "VotingClassifier": _vote,
    "VotingRegressor": _vote,
    "BaggingClassifier": _bagging,
    "BaggingRegressor": _bagging,
    "AdaBoostClassifier": _ada_boost,
    "StackingClassifier": _stacked,
    "StackingRegressor": _stacked,
    "OneVsRestClassifier": _one_against_rest,
    "CalibratedClassifierCV": _calibrated,
}
"""Models around models, by scikit-learn class name."""
