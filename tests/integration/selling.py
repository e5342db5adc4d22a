"""A town that sells houses, as a project with a script, data and releases: what the tests of the commands work on."""

import json

from tests.integration.project import Project

TRAIN = '''
"""House prices by area and kind; `python train.py` writes a model, a pickle, and files of rows."""
import pickle

import duckdb
import numpy as np
import pandas as pd
import skops.io
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.linear_model import Ridge
from sklearn.kernel_ridge import KernelRidge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder


def world(days, first, seed):
    rng = np.random.default_rng(seed)
    n = 100 * days
    kind = rng.choice(np.array(["flat", "house"], dtype=object), n)
    area = rng.normal(120, 20, n).round(1)
    return pd.DataFrame({
        "area": area, "rooms": rng.integers(1, 8, n), "kind": kind,
        "house": [f"{seed}-{i}" for i in range(n)],
        "sold": pd.Timestamp("2024-01-01") + pd.to_timedelta(first + np.arange(n) / 100, unit="D"),
        "price": 3 * area + 50 * (kind == "house") + rng.normal(0, 10, n),
    })


def train(data, weights=None, last=None):
    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), make_column_selector(dtype_include=[object, "string"])),
        remainder="passthrough", sparse_threshold=0,
    )
    features = data[["area", "rooms", "kind"]]
    return make_pipeline(columns, last or Ridge()).fit(features, data["price"])


if __name__ == "__main__":
    original, broken = world(20, 0, 0), world(10, 75, 3)
    broken["area"] /= 10.764
    files = {"original": original, "reference": world(40, 20, 1), "live": world(15, 60, 2), "broken": broken}
    for name, frame in files.items():
        duckdb.from_df(frame).write_parquet(f"{name}.parquet")
    skops.io.dump(train(original), "model.skops")
    skops.io.dump(train(original[:1500]), "other.skops")
    skops.io.dump(train(original, last=KernelRidge(kernel="cosine")), "unconvertible.skops")
    with open("model.pkl", "wb") as file:
        pickle.dump(train(original), file)
'''
MARKS = ("--reference", "reference.parquet", "--label", "price", "--timestamp", "sold", "--key", "house")
ROW = {"area": 100.0, "rooms": 3, "kind": "flat"}


def releases(project: Project) -> list[str]:
    found: list[str] = json.loads((project.folder / "releases.json").read_text())
    return found


def predict(client, row=ROW, name="town"):
    return client.post(f"/v1/models/{name}:predict", json={"instances": [row]})


# ---------------------------------------------------------------------------------------------- files and names
