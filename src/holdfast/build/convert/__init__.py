"""Convert a trained model into one ONNX graph that answers exactly as the original did.

The graph reads all numbers and truth values as one float64 matrix, `numbers` [n, columns] (NaN = missing), and each BYTES
column as text [n, 1] under its own name (missing = `MISSING`); its metadata name the columns of the matrix. It holds the
whole pipeline, computes in float64 throughout and gives `prediction` [n, 1] or `probabilities` [n, classes]. Equal models
give equal bytes. Read on in `pipeline` and `steps` (the walk), `preprocess` and `estimators` (the parts), `trees` (the
exact tree compiler) and `check` (what is safe to load).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from holdfast.build.convert import catboost, lightgbm, text, xgboost
from holdfast.build.convert.check import check_onnx
from holdfast.build.convert.graph import MISSING, Column, Frame, Graph, Path
from holdfast.build.convert.pipeline import answer
from holdfast.build.convert.steps import kind_of
from holdfast.core.contract import NUMBERS_KEY

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["MISSING", "Converted", "Input", "Matrix", "Task", "check_onnx", "convert", "model_columns", "reads_texts"]

Task = Literal["binary", "multiclass", "regression"]


@dataclass(frozen=True)
class Input:
    """One input column: an OIP datatype; `shape` is () for a scalar or (k,) for a vector of numbers."""

    name: str
    datatype: str
    nullable: bool = False
    shape: tuple[int, ...] = ()

    @property
    def text(self) -> bool:
        """Text enters the graph as strings, everything else as float64."""
        return self.datatype == "BYTES"

    @property
    def width(self) -> int:
        """How many numbers a row of it holds."""
        return self.shape[0] if self.shape else 1


@dataclass(frozen=True)
class Matrix:
    """The input that holds all numbers: its name, and what stands where in it."""

    name: str
    columns: tuple[str, ...]

    @classmethod
    def of(cls, inputs: Sequence[Input]) -> Matrix:
        """Of a graph with these input columns; its name is none of theirs."""
        name = "numbers"
        while any(column.text and column.name == name for column in inputs):
            name += "_"
        return cls(name, tuple(column.name for column in inputs if not column.text for _ in range(column.width)))

    def column(self, given: Input, index: int = 0) -> Column:
        """A view of one input column."""
        if given.text:
            return Column(given.name, name=given.name, text=True, source=given.name)
        place = self.columns.index(given.name) + index
        return Column(self.name, place, len(self.columns), given.name, source=given.name)

    def metadata(self) -> dict[str, str]:
        """What the file says of it."""
        return {NUMBERS_KEY: json.dumps({"input": self.name, "columns": self.columns})} if self.columns else {}


@dataclass(frozen=True)
class Converted:
    """The graph and what the conversion learned about the model."""

    onnx: bytes
    inputs: tuple[Input, ...]
    outputs: tuple[str, ...]
    classes: tuple[Any, ...] | None
    scale: Literal["identity", "log", "log1p"]
    """The scale on which the model was trained; predictions are in natural units either way."""
    flavour: str
    """The library of the model object as given."""
    libraries: tuple[str, ...]
    """The libraries whose models are inside, such as XGBoost in a scikit-learn Pipeline."""
    notes: tuple[str, ...] = ()
    method: Literal["predict", "decision_function"] = "predict"
    """Which of the original's methods gives the predictions."""
    closed: tuple[str, ...] = ()
    """Inputs whose unseen categories the model itself refuses: the contract must reject them."""
    none_columns: tuple[str, ...] = ()
    """Text inputs whose missing value was None in training; elsewhere it was NaN."""
    category_columns: tuple[str, ...] = ()
    """Inputs that the original model takes as pandas `category` columns."""


def convert(model: Any, inputs: Sequence[Input], task: Task) -> Converted:
    """Convert a fitted model; raises `Unconvertible` naming the step that has no exact ONNX form."""
    graph = Graph()
    path = Path()
    frame = _frame(model, inputs, path)
    result = answer(graph, frame, model, path)
    if task == "regression":
        if not result.prediction:
            raise path.refuse(model, "a classifier can't be built for regression", "build it as a classifier")
        outputs = [("prediction", result.prediction, 1)]
        classes = None
    else:
        if not result.probabilities:
            raise path.refuse(model, "the model gives no probabilities", "wrap it in CalibratedClassifierCV")
        classes = result.classes
        assert classes is not None
        outputs = [("probabilities", result.probabilities, len(classes))]
    matrix = Matrix.of(inputs)
    given = [(column.name, True, 1) for column in inputs if column.text]
    if matrix.columns:
        given.insert(0, (matrix.name, False, len(matrix.columns)))
    content = graph.finish(given, outputs, matrix.metadata())
    check_onnx(content)
    return Converted(
        onnx=content,
        inputs=tuple(inputs),
        outputs=tuple(name for name, _, _ in outputs),
        classes=classes,
        scale=result.scale,
        method=result.method,
        flavour=flavour_of(model),
        libraries=tuple(sorted(graph.libraries)),
        notes=tuple(dict.fromkeys(graph.notes)),
        closed=tuple(c.name for c in inputs if c.name in graph.closed),
        none_columns=tuple(c.name for c in inputs if c.name in graph.none_columns),
        category_columns=tuple(c.name for c in inputs if c.name in graph.category_columns),
    )


def flavour_of(model: Any) -> str:
    """The library the model belongs to: sklearn, xgboost, lightgbm or catboost."""
    return kind_of(model)[0]


def model_columns(model: Any) -> tuple[str, ...]:
    """The column names the model was trained with, in its order; empty for a model of plain arrays."""
    library, _ = kind_of(model)
    if library == "xgboost":
        return tuple(xgboost.feature_names(model))
    if library == "lightgbm":
        return tuple(lightgbm.feature_names(model))
    if library == "catboost":
        return tuple(catboost.feature_names(model))
    names = getattr(model, "feature_names_in_", None)
    if names is not None:
        return tuple(str(name) for name in names)
    for inner in ("best_estimator_", "regressor_"):
        if hasattr(model, inner):
            return model_columns(getattr(model, inner))
    return model_columns(model.steps[0][1]) if getattr(model, "steps", None) else ()


def reads_texts(model: Any) -> bool:
    """Whether the model takes a list of texts instead of a table: its first step is a text vectorizer."""
    for inner in ("best_estimator_", "regressor_"):
        if hasattr(model, inner):
            return reads_texts(getattr(model, inner))
    if getattr(model, "steps", None):
        return reads_texts(model.steps[0][1])
    return kind_of(model)[0] == "sklearn" and kind_of(model)[1] in text.STEPS and hasattr(model, "vocabulary_")


def _frame(model: Any, inputs: Sequence[Input], path: Path) -> Frame:
    """The columns in the order in which the model was trained on them."""
    given = {column.name: column for column in inputs}
    if len(given) != len(inputs):
        raise path.refuse(model, "two inputs have the same name", "rename one")
    names = model_columns(model)
    if names and not set(names) <= set(given):
        # LightGBM replaces blanks and the like in names; then only the order can be relied on.
        if flavour_of(model) == "lightgbm" and len(names) == len(inputs):
            names = ()
        else:
            missing = ", ".join(f"'{name}'" for name in names if name not in given)
            raise path.refuse(model, f"the model was trained with columns that are not given: {missing}", "add them")
    ordered = [given[name] for name in names] if names else list(inputs)
    matrix = Matrix.of(inputs)
    frame = tuple(matrix.column(c, i) for c in ordered for i in range(c.width))
    expected = getattr(model, "n_features_in_", 0) or len(frame)  # CatBoost forgets it in its file
    if len(frame) != expected:
        raise path.refuse(
            model, f"the model takes {expected} columns, {len(frame)} are given", "give one input per column"
        )
    return frame
