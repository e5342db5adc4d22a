"""The models of the matrix: how each is trained, which columns it takes, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from catboost import CatBoostClassifier, CatBoostRegressor
from lightgbm import LGBMClassifier, LGBMRegressor
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
    VotingClassifier,
)
from sklearn.feature_extraction.text import HashingVectorizer, TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, PoissonRegressor, Ridge, RidgeClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, PowerTransformer, StandardScaler
from sklearn.svm import SVC, SVR
from sklearn.tree import DecisionTreeClassifier
from xgboost import XGBClassifier, XGBRegressor

NUMBERS = ["wide", "narrow", "count", "flag", "gap"]
TEXTS = ["word", "place"]
SIDE = 6
ASKED = 24
"""Rows per cell of the table."""
DATATYPES = {"f": "FP64", "i": "INT64", "b": "BOOL", "O": "BYTES"}
VOCABULARY = ["Grüße", "offer", "FREE", "meeting", "win", "tomorrow", "prize", "lunch", "the", "a"]


@dataclass(frozen=True)
class Case:
    """A model of tables, and how it is asked beside the server."""

    name: str
    task: str
    """binary, multiclass, regression, or score: a regression of which no truth is known."""
    make: Callable[[], Any]
    categories: bool = False
    """Texts come as pandas category columns."""
    method: str = ""
    tolerance: float = 1e-6
    float32: bool = False

    @property
    def slug(self) -> str:
        return self.name.lower().replace(" ", "-").replace(",", "")

    @property
    def classifies(self) -> bool:
        return self.task in {"binary", "multiclass"}

    def fit(self, rows: Any, target: Any) -> Any:
        return self.make().fit(self.given(rows), target)

    def given(self, rows: Any) -> Any:
        """The rows as this model takes them in Python."""
        return rows.astype(dict.fromkeys(TEXTS, "category")) if self.categories else rows

    def answers(self, model: Any, rows: Any) -> Any:
        """The original's own answers."""
        method = self.method or ("predict_proba" if self.classifies else "predict")
        return np.asarray(getattr(model, method)(self.given(rows)), dtype=np.float64)

    def survey(self, rows: int, seed: int) -> tuple[Any, Any]:
        """Rows with every kind of column, and what is to be predicted of them."""
        rng = np.random.default_rng(seed)
        frame = pd.DataFrame(
            {
                "wide": rng.normal(size=rows) * 10.0 ** rng.integers(-1, 2, rows),
                "narrow": rng.normal(size=rows).astype(np.float32),
                "count": rng.integers(0, 12, rows),
                "flag": rng.random(rows) < 0.4,
                "word": rng.choice(np.array(["Ulm", "Bonn", "Kiel", "Trier"], dtype=object), rows),
                "gap": np.where(rng.random(rows) < 0.15, np.nan, rng.normal(size=rows)),
                "place": rng.choice(np.array(["north", "south", None], dtype=object), rows),
            }
        )
        score = np.tanh(frame["wide"]) + frame["narrow"] + frame["flag"] + (frame["word"] == "Ulm") + frame["count"] / 6
        return frame, self.target(np.asarray(score, dtype=float) + rng.normal(0, 0.3, rows))

    def target(self, score: Any) -> Any:
        """Numbers or classes of a score."""
        if not self.classifies:
            return pd.Series(np.exp(score / 2), name="label")
        edges = [np.median(score)] if self.task == "binary" else np.quantile(score, [0.3, 0.7])
        return pd.Series(np.digitize(score, edges), name="label")

    def asked(self, kind: str) -> Any:
        """Fresh rows that have this kind of value in them; none where the model takes no such column."""
        rows, rng = self.survey(ASKED, seed=3)[0], np.random.default_rng(5)
        match kind:
            case "float64":
                rows["wide"] = rng.normal(size=ASKED) * 10.0 ** rng.integers(-3, 2, ASKED)
            case "float32":
                rows["narrow"] = rng.normal(size=ASKED).astype(np.float32)
            case "int":
                rows["count"] = rng.integers(-20, 30, ASKED)
            case "bool":
                rows["flag"] = np.arange(ASKED) % 2 == 0
            case "missing":
                rows["gap"] = np.nan
                rows["place"] = rows["place"].where(np.arange(ASKED) % 2 == 0, None)  # XGBoost wants one that is there
            case "unseen":
                rows["word"] = np.array([f"never {i} seen" for i in range(ASKED)], dtype=object)
        return rows

    def tensors(self, rows: Any) -> list[dict[str, Any]]:
        """The same rows for the server."""
        return [tensor(name, np.asarray(rows[name])) for name in rows]


class Texts(Case):
    """A model of plain texts."""

    def survey(self, rows: int, seed: int) -> tuple[Any, Any]:
        rng = np.random.default_rng(seed)
        texts = [" ".join(rng.choice(VOCABULARY, rng.integers(2, 15))) for _ in range(rows)]
        score = np.array([text.lower().count("free") + text.count("prize") for text in texts], dtype=float)
        return pd.Series(texts, dtype=object, name="text"), self.target(score)

    def asked(self, kind: str) -> Any:
        texts = self.survey(ASKED, seed=3)[0]
        return texts if kind == "string" else texts + " Nie gehört" if kind == "unseen" else None

    def tensors(self, rows: Any) -> list[dict[str, Any]]:
        return [tensor("text", rows.to_numpy())]


class Images(Case):
    """A network of images; it is not trained, so that its weights are the same everywhere."""

    def survey(self, rows: int, seed: int) -> tuple[Any, Any]:
        images = np.round(np.random.default_rng(seed).normal(size=(rows, 1, SIDE, SIDE)), 3)
        return images, self.answers(self.make(), images).argmax(axis=1)

    def fit(self, rows: Any, target: Any) -> Any:
        del rows, target
        return self.make()

    def answers(self, model: Any, rows: Any) -> Any:
        with torch.no_grad():
            return torch.softmax(model.eval()(torch.from_numpy(rows).float()).double(), 1).numpy()

    def asked(self, kind: str) -> Any:
        images = self.survey(ASKED, seed=3)[0]
        return {"float64": images, "float32": images.astype(np.float32)}.get(kind)

    def tensors(self, rows: Any) -> list[dict[str, Any]]:
        return [tensor("image", rows)]


class Functions(Case):
    """Any Python function: a release with its own environment and its own process."""

    def fit(self, rows: Any, target: Any) -> Any:
        del rows, target
        return self.make()

    def answers(self, model: Any, rows: Any) -> Any:
        return np.asarray(model(rows), dtype=np.float64)


def rule(rows: Any) -> Any:
    """What a user's own model may be: a few lines of pandas."""
    known = rows["gap"].fillna(0.0) + rows["place"].isna()
    return 2 * rows["wide"] + rows["narrow"] + rows["count"] / 6 + rows["flag"] + (rows["word"] == "Ulm") + known


def tensor(name: str, values: Any) -> dict[str, Any]:
    """A tensor of the Open Inference Protocol in JSON."""
    datatype = "FP32" if values.dtype == np.float32 else DATATYPES[values.dtype.kind]
    plain = [None if value is None or value != value else value for value in values.ravel().tolist()]  # noqa: PLR0124 - NaN
    return {"name": name, "datatype": datatype, "shape": list(values.shape), "data": plain}


def network() -> Any:
    """A small convolutional network."""
    torch.manual_seed(3)
    layers = [torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(64, 3)]
    return torch.nn.Sequential(*layers)


def after(last: Any) -> Any:
    """Behind what most pipelines begin with."""
    numbers = make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler())
    texts = make_pipeline(
        SimpleImputer(strategy="constant", fill_value="none"),
        OneHotEncoder(handle_unknown="ignore", sparse_output=False),
    )
    return make_pipeline(ColumnTransformer([("numbers", numbers, NUMBERS), ("texts", texts, TEXTS)]), last)


def raw(last: Any) -> Any:
    """Numbers as they are, gaps included; only texts are encoded."""
    texts = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    return make_pipeline(ColumnTransformer([("numbers", "passthrough", NUMBERS), ("texts", texts, TEXTS)]), last)


def case(name: str, task: str, first: Any, last: Callable[[], Any], **more: Any) -> Case:
    return Case(name, task, lambda: first(last()), **more)


XGB: dict[str, Any] = {"n_estimators": 12, "max_depth": 4, "nthread": 1}
LGB: dict[str, Any] = {"n_estimators": 12, "verbose": -1, "n_jobs": 1, "min_child_samples": 10}
CAT: dict[str, Any] = {"iterations": 12, "verbose": 0, "thread_count": 1, "allow_writing_files": False}
IN_FLOAT32: dict[str, Any] = {"tolerance": 1e-5, "float32": True}

CASES = (
    case("logistic regression", "multiclass", after, partial(LogisticRegression, max_iter=500)),
    case("ridge regression", "regression", after, Ridge),
    case("Poisson regression", "regression", after, partial(PoissonRegressor, max_iter=300)),
    case("naive Bayes", "binary", after, GaussianNB),
    case("decision tree", "multiclass", raw, partial(DecisionTreeClassifier, max_depth=8, random_state=0)),
    case("random forest", "multiclass", raw, partial(RandomForestClassifier, 12, random_state=0)),
    case("random forest regressor", "regression", raw, partial(RandomForestRegressor, 12, random_state=0)),
    case("extra trees", "binary", raw, partial(ExtraTreesClassifier, 12, random_state=0)),
    case("gradient boosting", "regression", after, partial(GradientBoostingRegressor, n_estimators=15, random_state=0)),
    Case(
        "HistGB with categories",
        "multiclass",
        partial(HistGradientBoostingClassifier, max_iter=12, categorical_features="from_dtype", random_state=0),
        categories=True,
    ),
    case("XGBoost", "regression", raw, partial(XGBRegressor, **XGB), **IN_FLOAT32),
    Case(
        "XGBoost with categories, DART",
        "multiclass",
        partial(XGBClassifier, **XGB, enable_categorical=True, booster="dart", rate_drop=0.2),
        categories=True,
        **IN_FLOAT32,
    ),
    Case("LightGBM with categories", "binary", partial(LGBMClassifier, **LGB), categories=True),
    case("LightGBM with linear leaves", "regression", raw, partial(LGBMRegressor, **LGB, linear_tree=True)),
    case("CatBoost", "multiclass", raw, partial(CatBoostClassifier, **CAT)),
    case("CatBoost regressor", "regression", raw, partial(CatBoostRegressor, **CAT)),
    case("support vectors, calibrated", "binary", after, lambda: CalibratedClassifierCV(SVC(), ensemble=False, cv=2)),
    case("support vector regression", "regression", after, SVR),
    case("nearest neighbours", "multiclass", after, KNeighborsClassifier),
    case("nearest neighbours regressor", "regression", after, KNeighborsRegressor),
    case(
        "isolation forest",
        "score",
        raw,
        partial(IsolationForest, n_estimators=20, random_state=0),
        method="decision_function",
    ),
    case("neural network", "binary", after, partial(MLPClassifier, (8,), max_iter=200, tol=1e-2, random_state=0)),
    case(
        "vote of three",
        "binary",
        after,
        lambda: VotingClassifier(
            [
                ("line", LogisticRegression()),
                ("trees", RandomForestClassifier(5, random_state=0)),
                ("bayes", GaussianNB()),
            ],
            voting="soft",
        ),
    ),
    Texts("TF-IDF text", "binary", lambda: make_pipeline(TfidfVectorizer(), LogisticRegression())),
    Functions("a Python function", "regression", lambda: rule),
    Images("PyTorch, convolutional", "multiclass", network, **IN_FLOAT32),
)


def own_function(values: Any) -> Any:
    """A user's own step."""
    return values * 3


def _catboost_categories(X: pd.DataFrame, y: Any) -> Any:
    return CatBoostRegressor(**CAT, cat_features=["word"]).fit(X[["wide", "word"]], y)


def _several_targets(X: pd.DataFrame, y: Any) -> Any:
    return RandomForestRegressor(3).fit(X[["wide", "count"]], np.column_stack([y, y]))


def _names_beyond_ascii(X: pd.DataFrame, y: Any) -> Any:
    frame = X[["wide", "word"]].replace("Ulm", "Köln").astype({"word": "category"})
    return XGBRegressor(**XGB, enable_categorical=True).fit(frame, y)


def _on_numbers(*steps: Any) -> Callable[[pd.DataFrame, Any], Any]:
    return lambda X, y: make_pipeline(SimpleImputer(), *steps).fit(X[["wide", "count"]], y)


def _on_texts(vectorizer: Any) -> Callable[[pd.DataFrame, Any], Any]:
    columns = ColumnTransformer([("words", vectorizer, "word")])
    return lambda X, y: make_pipeline(columns, Ridge()).fit(X[["word"]], y)


def _classes(model: Any) -> Callable[[pd.DataFrame, Any], Any]:
    return lambda X, y: after(model).fit(X, y > np.median(y))


REFUSED: dict[str, Callable[[pd.DataFrame, Any], Any]] = {
    "CatBoost on categories of its own": _catboost_categories,
    "a regression of several targets": _several_targets,
    "SVC with libsvm's probabilities": _classes(SVC(probability=True)),
    "a classifier without probabilities": _classes(RidgeClassifier()),
    "a vote without probabilities": _classes(VotingClassifier([("a", LogisticRegression()), ("b", GaussianNB())])),
    "XGBoost's linear booster": _on_numbers(XGBRegressor(booster="gblinear", n_estimators=2)),
    "XGBoost on categories beyond ASCII": _names_beyond_ascii,
    "a power transformation": _on_numbers(PowerTransformer(), Ridge()),
    "a function of the user's own": _on_numbers(FunctionTransformer(own_function), Ridge()),
    "words cut into letters": _on_texts(TfidfVectorizer(analyzer="char")),
    "hashed words": _on_texts(HashingVectorizer(n_features=32)),
}
"""What cannot be built -> how such a model is trained."""
