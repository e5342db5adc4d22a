"""A small market of houses on which every kind of model is trained: numbers, whole numbers, truth values, text, gaps."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler
from threadpoolctl import threadpool_limits

from holdfast.build.answers import Table
from holdfast.build.convert import Input

NUMBERS = ["area", "rooms", "age", "new"]
TEXTS = ["city", "kind"]


@dataclass(frozen=True)
class Houses:
    """The same rows as the original sees them (frame), as the server sees them (table), and three things to predict."""

    frame: pd.DataFrame
    table: Table
    inputs: tuple[Input, ...]
    price: Any
    dear: Any
    band: Any

    def only(self, names: list[str]) -> "Houses":
        """The same market with fewer columns."""
        table = {name: self.table[name] for name in names}
        inputs = tuple(column for column in self.inputs if column.name in names)
        return Houses(self.frame[names], table, inputs, self.price, self.dear, self.band)

    def target(self, task: str) -> Any:
        return {"regression": self.price, "binary": self.dear, "multiclass": self.band}[task]

    def usual(self, *, encode: str = "onehot") -> ColumnTransformer:
        """What most pipelines begin with."""
        numbers = make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler())
        texts: Any = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2)
        if encode == "onehot":
            texts = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore"))
        return ColumnTransformer([("numbers", numbers, NUMBERS), ("texts", texts, TEXTS)])


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """Small models on many threads only wait for each other."""
    with threadpool_limits(1):
        yield


@pytest.fixture(scope="session")
def houses() -> Houses:
    """Six hundred houses, always the same."""
    rng = np.random.default_rng(4)
    n = 600
    table: Table = {
        "area": np.exp(rng.normal(4, 0.5, n)),
        "rooms": rng.integers(1, 8, n).astype(float),
        "age": np.where(rng.random(n) < 0.1, np.nan, rng.normal(40, 15, n)),
        "new": (rng.random(n) < 0.2).astype(float),
        "city": rng.choice(np.array(["Ulm", "Köln", "", "Bonn", None], dtype=object), n),
        "kind": rng.choice(np.array(["flat", "house", "loft"], dtype=object), n, p=[0.6, 0.32, 0.08]),
    }
    score = (
        0.8 * np.log(table["area"])
        - 0.01 * np.nan_to_num(table["age"])
        + 0.3 * (table["kind"] == "flat")
        + 0.2 * (table["city"] == "Ulm")
        + 0.05 * table["rooms"]
        + rng.normal(0, 0.1, n)
    )
    frame = pd.DataFrame(
        {
            "area": table["area"],
            "rooms": table["rooms"].astype(int),
            "age": table["age"],
            "new": table["new"].astype(bool),
            "city": pd.Series(table["city"]),
            "kind": pd.Series(table["kind"]),
        }
    )
    inputs = (
        Input("area", "FP64"),
        Input("rooms", "INT64"),
        Input("age", "FP64", nullable=True),
        Input("new", "BOOL"),
        Input("city", "BYTES", nullable=True),
        Input("kind", "BYTES"),
    )
    band = np.digitize(score, np.quantile(score, [0.3, 0.6]))
    return Houses(frame, table, inputs, np.exp(score), (score > np.median(score)).astype(int), band)
