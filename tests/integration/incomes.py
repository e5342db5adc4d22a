"""A small income survey and a whole pipeline trained on it: text with gaps, truth values, numbers, times.

Run as a script it builds a release in a fresh folder and prints its digest, so that a test can compare processes.
"""

import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder

from holdfast.backends.mlflow import MlflowRegistry
from holdfast.backends.onnx import OnnxRuntime
from holdfast.build.pipeline import Parts
from holdfast.build.python import build_release
from holdfast.release.trust import create_key, signer

TEXTS = ["job", "country"]
NUMBERS = ["age", "hours", "gain", "wage"]
FEATURES = [*TEXTS, *NUMBERS, "married"]


def survey(rows: int = 3000, seed: int = 0) -> tuple[pd.DataFrame, pd.Series]:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "age": rng.integers(17, 90, rows),
            "hours": rng.normal(40, 10, rows).round(1),
            "gain": np.where(rng.random(rows) < 0.9, 0.0, rng.gamma(2, 3000, rows)),
            "wage": np.where(rng.random(rows) < 0.05, np.nan, rng.normal(size=rows)),
            "job": rng.choice(np.array(["clerk", "farmer", "nurse", None], dtype=object), rows),
            "country": rng.choice(np.array(["AT", "DE", "no"], dtype=object), rows),
            "married": rng.random(rows) < 0.5,
            "asked": pd.Timestamp("2024-01-01") + pd.to_timedelta(np.sort(rng.random(rows)) * 150, unit="D"),
            "person": [f"p{i}" for i in range(rows)],
        }
    )
    score = frame["hours"] / 10 + (frame["job"] == "nurse") * 2 + frame["married"] * 1.5 + rng.normal(0, 1, rows)
    return frame, pd.Series(score > 5.5, name="rich")


def pipeline(model: Any = None) -> Pipeline:
    columns = ColumnTransformer(
        [("texts", OneHotEncoder(handle_unknown="ignore"), TEXTS), ("numbers", SimpleImputer(), NUMBERS)],
        remainder="passthrough",
        sparse_threshold=0,
    )
    return Pipeline(
        [("columns", columns), ("model", model or HistGradientBoostingClassifier(max_iter=30, random_state=0))]
    )


def trained() -> Pipeline:
    X, y = survey(seed=1)
    return pipeline().fit(X[FEATURES], y)


def parts(home: Path) -> Parts:
    create_key(home / "keys")
    return Parts(MlflowRegistry("", home), OnnxRuntime(), home / "releases", signer(home / "keys"))


def release(what: Parts, **named: Any) -> Any:
    X, y = survey(seed=2)
    return build_release(what, trained(), X, y, name="incomes", timestamp="asked", key="person", **named)


if __name__ == "__main__":
    warnings.simplefilter("error")
    print(release(parts(Path(sys.argv[1]))).digest)  # noqa: T201 - what the test reads
