"""What a fitted model says of itself: which columns it takes, what it answers, and its classes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from holdfast.build.convert import model_columns
from holdfast.core.contract import Task
from holdfast.errors import BuildError

__all__ = ["Nature", "nature_of"]


@dataclass(frozen=True)
class Nature:
    """The model's own account."""

    task: Task
    columns: tuple[str, ...]
    """In the model's order; empty for a model of plain arrays."""
    classes: tuple[Any, ...]
    """As the model holds them; empty for regression, and where it does not know them."""


def nature_of(model: Any) -> Nature:
    """Task, columns and classes of a fitted scikit-learn, XGBoost, LightGBM or CatBoost model."""
    library, kind = type(model).__module__.partition(".")[0], type(model).__name__
    if kind == "Booster" and library in {"xgboost", "lightgbm"}:
        return _booster(model, library)
    classes = getattr(model, "classes_", None)
    if classes is not None and not len(classes):
        classes = None  # CatBoost's regressors have an empty list of them
    if classes is None and not hasattr(model, "predict"):
        raise BuildError(f"a {kind} is no model: it cannot predict", "", "give a fitted model")
    if classes is None:
        return Nature("regression", model_columns(model), ())
    if isinstance(classes, list) and not isinstance(classes[0], (str, int, float)):
        raise BuildError("the model answers several labels at once", kind, "build one release per label")
    plain = tuple(np.asarray(classes).tolist())
    if len(plain) < 2:
        raise BuildError("the model has seen only one class", kind, "train it on data that holds both")
    return Nature("binary" if len(plain) == 2 else "multiclass", model_columns(model), plain)


def _booster(model: Any, library: str) -> Nature:
    """A bare booster numbers its classes."""
    if library == "xgboost":
        learner = json.loads(model.save_config())["learner"]
        objective, count = learner["objective"]["name"], int(learner["learner_model_param"]["num_class"])
    else:
        said = model.dump_model(num_iteration=1)
        objective, count = str(said.get("objective", "regression")), int(said.get("num_class", 1))
    columns = model_columns(model)
    if objective.startswith(("binary", "cross_entropy", "xentropy")):
        return Nature("binary", columns, (0, 1))
    if objective.startswith("multi"):
        return Nature("multiclass", columns, tuple(range(count)))
    return Nature("regression", columns, ())
