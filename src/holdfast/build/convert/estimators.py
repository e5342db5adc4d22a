"""scikit-learn's models in float64: from a frame of columns to a prediction or to probabilities.

Trees go through the exact tree compiler; everything else is a few matrix operators. Each handler gives an `Answer`:
one of a prediction [n, 1] or probabilities [n, classes], plus the decision scores where a calibrator may ask for them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from holdfast.build.convert import sklearn_trees
from holdfast.build.convert.graph import Frame, Graph, Path
from holdfast.build.convert.steps import transform
from holdfast.build.convert.trees import compile_trees

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@dataclass(frozen=True)
class Answer:
    """What a model computes, as names of tensors."""

    prediction: str = ""
    probabilities: str = ""
    decision: str = ""
    """What `decision_function` gives: [n, 1] for two classes, else [n, classes]."""
    classes: tuple[Any, ...] | None = None
    scale: Literal["identity", "log", "log1p"] = "identity"
    method: Literal["predict", "decision_function"] = "predict"
    """Which of the original's methods gives `prediction`."""


SCORES = "answers are scores, the model's decision_function: below zero is an outlier"


def class_labels(model: Any) -> tuple[Any, ...]:
    """The classes as plain Python values, in the order of the probabilities."""
    return tuple(np.asarray(model.classes_).tolist())


def both_classes(graph: Graph, positive: str) -> str:
    """[n, 1] probability of the second class -> [n, 2]."""
    return graph.op("Concat", graph.op("Sub", graph.number(1.0), positive), positive, axis=1)


def normalised(graph: Graph, scores: str, count: int) -> str:
    """Rows divided by their sum; a row of zeros becomes uniform."""
    axis = graph.constant(np.array([1], dtype=np.int64))
    total = graph.op("ReduceSum", scores, axis, keepdims=1)
    empty = graph.op("Equal", total, graph.number(0.0))
    return graph.op("Where", empty, graph.number(1.0 / count), graph.op("Div", scores, total))


def logistic(graph: Graph, decision: str, labels: Sequence[Any]) -> str:
    """One-against-rest probabilities from decision scores."""
    chance = graph.op("Sigmoid", decision)
    return both_classes(graph, chance) if len(labels) == 2 else normalised(graph, chance, len(labels))


def affine(graph: Graph, matrix: str, coefficients: Any, intercept: Any) -> str:
    """The product x @ coefficients.T + intercept."""
    weights = np.atleast_2d(np.asarray(coefficients, dtype=np.float64))
    shift = np.broadcast_to(np.asarray(intercept, dtype=np.float64).ravel(), (len(weights),))
    return graph.product(matrix, weights.T, graph.row(shift))


def linear_regression(graph: Graph, frame: Frame, model: Any, path: Path) -> Answer:
    """LinearRegression and all that predict x @ coef + intercept, and GLMs with a log link."""
    if np.atleast_2d(model.coef_).shape[0] != 1:
        raise path.refuse(model, "more than one output column", "train one model per output")
    raw = affine(graph, graph.matrix(frame, model, path), model.coef_, model.intercept_)
    name = type(model).__name__
    link = getattr(model, "link", "auto")
    if name == "TweedieRegressor" and link == "auto":
        link = "identity" if model.power <= 0 else "log"
    if name in {"PoissonRegressor", "GammaRegressor"} or link == "log":
        raw = graph.op("Exp", raw)
    return Answer(prediction=raw)


def linear_classifier(graph: Graph, frame: Frame, model: Any, path: Path) -> Answer:
    """LogisticRegression, SGDClassifier and linear classifiers that only give decision scores."""
    labels = class_labels(model)
    decision = affine(graph, graph.matrix(frame, model, path), model.coef_, model.intercept_)
    name, loss = type(model).__name__, getattr(model, "loss", "")
    probabilities = ""
    if name.startswith("LogisticRegression"):
        ovr = len(labels) == 2 or getattr(model, "solver", "") == "liblinear"
        probabilities = logistic(graph, decision, labels) if ovr else graph.op("Softmax", decision, axis=1)
    elif name == "SGDClassifier" and loss == "log_loss":
        probabilities = logistic(graph, decision, labels)
    elif name == "SGDClassifier" and loss == "modified_huber":
        clipped = graph.op("Min", graph.op("Max", decision, graph.number(-1.0)), graph.number(1.0))
        chance = graph.op("Div", graph.op("Add", clipped, graph.number(1.0)), graph.number(2.0))
        probabilities = both_classes(graph, chance) if len(labels) == 2 else normalised(graph, chance, len(labels))
    return Answer(probabilities=probabilities, decision=decision, classes=labels)


def forest(graph: Graph, frame: Frame, model: Any, path: Path) -> Answer:
    """Decision trees, random forests, extra trees."""
    raw = compile_trees(graph, frame, sklearn_trees.forest(model, path), model, path)
    if not hasattr(model, "classes_"):
        return Answer(prediction=raw)
    labels = class_labels(model)
    return Answer(probabilities=both_classes(graph, raw) if len(labels) == 2 else raw, classes=labels)


def isolation(graph: Graph, frame: Frame, model: Any, path: Path) -> Answer:
    """IsolationForest, as scores: what `decision_function` gives; below zero is an outlier."""
    depth = compile_trees(graph, frame, sklearn_trees.isolation_forest(model, path), model, path)
    anomaly = graph.op("Pow", graph.number(2.0), graph.op("Neg", depth))
    score = graph.op("Sub", graph.op("Neg", anomaly), graph.number(float(model.offset_)))
    graph.notes.append(SCORES)
    return Answer(prediction=score, decision=score, method="decision_function")


def boosting(graph: Graph, frame: Frame, model: Any, path: Path) -> Answer:
    """GradientBoosting and HistGradientBoosting."""
    if type(model).__name__.startswith("Hist"):
        if getattr(model, "_preprocessor", None) is not None:
            frame = transform(graph, frame, model._preprocessor, path)  # noqa: SLF001 - its own encoder of categories
        ensemble = sklearn_trees.hist_gradient_boosting(model)
    else:
        ensemble = sklearn_trees.gradient_boosting(model, path)
    raw = compile_trees(graph, frame, ensemble, model, path)
    if not hasattr(model, "classes_"):
        return Answer(prediction=graph.op("Exp", raw) if model.loss in {"poisson", "gamma"} else raw)
    labels = class_labels(model)
    if len(labels) > 2:
        return Answer(probabilities=graph.op("Softmax", raw, axis=1), decision=raw, classes=labels)
    # The exponential loss works on half the log odds.
    odds = graph.op("Mul", raw, graph.number(2.0)) if model.loss == "exponential" else raw
    return Answer(probabilities=logistic(graph, odds, labels), decision=raw, classes=labels)


ACTIVATIONS = {"relu": "Relu", "tanh": "Tanh", "logistic": "Sigmoid", "identity": "", "exp": "Exp"}


def neural_network(graph: Graph, frame: Frame, model: Any, path: Path) -> Answer:
    """MLPClassifier and MLPRegressor."""
    hidden = graph.matrix(frame, model, path)
    if model.activation not in ACTIVATIONS or model.out_activation_ not in {*ACTIVATIONS, "softmax"}:
        raise path.refuse(model, f"activation '{model.activation}'/'{model.out_activation_}'")
    layers = list(zip(model.coefs_, model.intercepts_, strict=True))
    for number, (weights, shift) in enumerate(layers):
        hidden = affine(graph, hidden, weights.T, shift)
        kind = ACTIVATIONS[model.activation] if number < len(layers) - 1 else ""
        hidden = graph.op(kind, hidden) if kind else hidden
    if not hasattr(model, "classes_"):
        if model.n_outputs_ != 1:
            raise path.refuse(model, "more than one output column", "train one model per output")
        kind = ACTIVATIONS[model.out_activation_]
        return Answer(prediction=graph.op(kind, hidden) if kind else hidden)
    labels = class_labels(model)
    if model.out_activation_ == "softmax":
        return Answer(probabilities=graph.op("Softmax", hidden, axis=1), classes=labels)
    return Answer(probabilities=both_classes(graph, graph.op("Sigmoid", hidden)), classes=labels)


def support_vectors(graph: Graph, frame: Frame, model: Any, path: Path) -> Answer:
    """SVR, OneClassSVM as scores, and SVC's decision scores (libsvm iterates for its probabilities: no closed form)."""
    kernel = _kernel(graph, graph.matrix(frame, model, path), model, path)
    vectors = np.asarray(model.support_vectors_, dtype=np.float64)
    dual = np.asarray(model.dual_coef_, dtype=np.float64)
    if type(model).__name__ == "OneClassSVM":
        graph.notes.append(SCORES)
        return Answer(prediction=affine(graph, kernel, dual, model.intercept_), method="decision_function")
    if not hasattr(model, "classes_"):
        return Answer(prediction=affine(graph, kernel, dual, model.intercept_))
    labels = class_labels(model)
    if np.size(model._probA):  # noqa: SLF001 - public twin warns
        raise path.refuse(
            model, "libsvm's own probabilities (probability=True)", "use CalibratedClassifierCV(SVC(), ensemble=False)"
        )
    if len(labels) == 2:
        return Answer(decision=affine(graph, kernel, dual, model.intercept_), classes=labels)
    ends = np.cumsum([0, *model.n_support_])
    pairs = [(i, j) for i in range(len(labels)) for j in range(i + 1, len(labels))]
    weights = np.zeros((len(pairs), len(vectors)))
    first, second = np.zeros((len(labels), len(pairs))), np.zeros((len(labels), len(pairs)))
    for number, (i, j) in enumerate(pairs):
        weights[number, ends[i] : ends[i + 1]] = dual[j - 1, ends[i] : ends[i + 1]]
        weights[number, ends[j] : ends[j + 1]] = dual[i, ends[j] : ends[j + 1]]
        first[i, number] = second[j, number] = 1.0
    duels = affine(graph, kernel, weights, model.intercept_)
    # One-against-one duels become one score per class: votes, with the summed confidences breaking ties.
    lost = graph.op("Cast", graph.op("Less", duels, graph.number(0.0)), to=11)
    votes = affine(graph, lost, second - first, first.sum(axis=1))
    trust = affine(graph, duels, first - second, 0.0)
    bounded = graph.op(
        "Div", trust, graph.op("Mul", graph.number(3.0), graph.op("Add", graph.op("Abs", trust), graph.number(1.0)))
    )
    return Answer(decision=graph.op("Add", votes, bounded), classes=labels)


def _kernel(graph: Graph, matrix: str, model: Any, path: Path) -> str:
    vectors = np.asarray(model.support_vectors_, dtype=np.float64)
    product = graph.product(matrix, vectors.T)
    gamma = graph.number(float(model._gamma))  # noqa: SLF001 - "scale" and "auto" resolved
    if model.kernel == "linear":
        return product
    if model.kernel == "rbf":
        axis = graph.constant(np.array([1], dtype=np.int64))
        own = graph.op("ReduceSum", graph.op("Mul", matrix, matrix), axis, keepdims=1)
        double = graph.op("Mul", product, graph.number(2.0))
        distance = graph.op("Add", graph.op("Sub", own, double), graph.row((vectors**2).sum(axis=1)))
        return graph.op("Exp", graph.op("Neg", graph.op("Mul", gamma, distance)))
    shifted = graph.op("Add", graph.op("Mul", gamma, product), graph.number(float(model.coef0)))
    if model.kernel == "poly":
        return graph.op("Pow", shifted, graph.number(float(model.degree)))
    if model.kernel == "sigmoid":
        return graph.op("Tanh", shifted)
    raise path.refuse(model, f"kernel '{model.kernel}'", "use a linear, rbf, poly or sigmoid kernel")


def constant(graph: Graph, frame: Frame, model: Any, path: Path) -> Answer:
    """DummyRegressor and DummyClassifier(prior): the same answer for every row."""
    anything = graph.op(
        "Gather",
        graph.matrix(tuple(c for c in frame if not c.text), model, path),
        graph.constant(np.array([0])),
        axis=1,
    )
    zero = graph.op("Cast", graph.op("And", graph.op("IsNaN", anything), graph.constant(np.array(False))), to=11)
    if not hasattr(model, "classes_"):
        return Answer(prediction=graph.op("Add", zero, graph.row(model.constant_)))
    if model.strategy != "prior":
        raise path.refuse(model, f"strategy '{model.strategy}' is not a probability", "use strategy='prior'")
    return Answer(probabilities=graph.op("Add", zero, graph.row(model.class_prior_)), classes=class_labels(model))


LINEAR_REGRESSORS = """ARDRegression BayesianRidge ElasticNet ElasticNetCV GammaRegressor HuberRegressor Lars LarsCV Lasso
LassoCV LassoLars LassoLarsCV LassoLarsIC LinearRegression LinearSVR OrthogonalMatchingPursuit PoissonRegressor
QuantileRegressor Ridge RidgeCV SGDRegressor TheilSenRegressor TweedieRegressor""".split()  # noqa: SIM905 - a list of words reads best as text
LINEAR_CLASSIFIERS = """LinearSVC LogisticRegression LogisticRegressionCV Perceptron RidgeClassifier RidgeClassifierCV
SGDClassifier""".split()  # noqa: SIM905 - a list of words reads best as text
FORESTS = """DecisionTreeClassifier DecisionTreeRegressor ExtraTreeClassifier ExtraTreeRegressor ExtraTreesClassifier
ExtraTreesRegressor RandomForestClassifier RandomForestRegressor""".split()  # noqa: SIM905 - a list of words reads best as text
BOOSTING = """GradientBoostingClassifier GradientBoostingRegressor HistGradientBoostingClassifier
HistGradientBoostingRegressor""".split()  # noqa: SIM905 - a list of words reads best as text

MODELS: dict[tuple[str, str], Callable[[Graph, Frame, Any, Path], Answer]] = {
    **{("sklearn", name): linear_regression for name in LINEAR_REGRESSORS},
    **{("sklearn", name): linear_classifier for name in LINEAR_CLASSIFIERS},
    **{("sklearn", name): forest for name in FORESTS},
    **{("sklearn", name): boosting for name in BOOSTING},
    ("sklearn", "IsolationForest"): isolation,
    **{("sklearn", name): neural_network for name in ("MLPClassifier", "MLPRegressor")},
    **{("sklearn", name): support_vectors for name in ("SVC", "NuSVC", "SVR", "NuSVR", "OneClassSVM")},
    **{("sklearn", name): constant for name in ("DummyClassifier", "DummyRegressor")},
}
"""(library, class name) -> how it is converted. A subclass may predict anything, so only these very classes count."""
