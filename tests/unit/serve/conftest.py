"""Two real releases of a small town (a regression, and a canary of it with another slope) and one classifier, as ONNX."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from holdfast.backends.onnx import OnnxRuntime
from holdfast.build.convert import Input, convert
from holdfast.columns import dump_yaml
from holdfast.core.contract import Contract, Field, Output
from holdfast.core.deployment import Plan, Route
from holdfast.core.release import CONTRACT, FORMAT, MODEL, Manifest, ModelSource
from holdfast.release.bundle import open_release, write
from holdfast.release.trust import create_key, signer, trusted_keys
from holdfast.serve.clock import Clock
from holdfast.serve.codecs import ROWS, TENSORS
from holdfast.serve.dataplane import Answer, ServeState, predict
from holdfast.serve.plan import LoadedPlan, load

FIELDS = (
    Field(name="sold", datatype="BYTES", feature=False, nullable=True, marks=("timestamp",)),
    Field(name="house", datatype="BYTES", feature=False, nullable=True, marks=("key",)),
    Field(name="area", datatype="FP64", minimum=10.0, maximum=100.0),
    Field(name="rooms", datatype="INT32", minimum=1.0, maximum=9.0),
    Field(name="kind", datatype="BYTES", categories=("flat", "house")),
    Field(name="owner", datatype="BYTES", feature=False, nullable=True, marks=("personal",)),
    Field(name="street", datatype="BYTES", feature=False, nullable=True, log="hash"),
)
PRICE = Contract(fields=FIELDS, output=Output(task="regression", label="price"))
GARDEN = Contract(
    fields=FIELDS,
    output=Output(task="binary", label="garden", classes=("false", "true"), label_datatype="BOOL", threshold=0.4),
)
INPUTS = (Input("area", "FP64"), Input("rooms", "INT32"), Input("kind", "BYTES"))
CODECS = {"rows": ROWS, "infer": TENSORS}
NOW = 1_767_225_600_000_000  # 2026-01-01
ROW = {"area": 50.0, "rooms": 2, "kind": "flat"}


def frame() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    return pd.DataFrame(
        {
            "area": rng.uniform(10, 100, 200),
            "rooms": rng.integers(1, 9, 200),
            "kind": rng.choice(["flat", "house"], 200),
        }
    )


def graph(estimator: Any, target: Any, task: Any) -> bytes:
    encoder = ColumnTransformer([("kind", OneHotEncoder(handle_unknown="ignore"), ["kind"])], remainder="passthrough")
    return convert(make_pipeline(encoder, estimator).fit(frame(), target), INPUTS, task).onnx


class House:
    """A workspace's releases and keys."""

    def __init__(self, folder: Path) -> None:
        self.releases, self.keys = folder / "releases", folder / "keys"
        create_key(self.keys)
        self.opened: list[str] = []

    def release(self, name: str, contract: Contract, model: bytes) -> str:
        source = ModelSource(uri=f"models:/{name}/1", name=name, version="1", flavour="sklearn", files=())
        manifest = Manifest(
            format=FORMAT,
            name=name,
            task=contract.output.task,
            files=(),
            model=source,
            data={},
            code={},
            builder={},
            parity={},
        )
        return write(self.releases, manifest, {MODEL: model, CONTRACT: dump_yaml(contract).encode()}, signer(self.keys))

    def open(self, digest: str) -> Any:
        self.opened.append(digest)
        return open_release(self.releases / digest, trusted_keys(self.keys))


@pytest.fixture(scope="session")
def house(tmp_path_factory) -> House:
    return House(tmp_path_factory.mktemp("house"))


@pytest.fixture(scope="session")
def digests(house) -> dict[str, str]:
    data = frame()
    price = 3.0 * data["area"] + data["rooms"]
    garden = (data["kind"] == "house") | (data["area"] > 70)
    return {
        "price": house.release("price", PRICE, graph(LinearRegression(), price, "regression")),
        "dearer": house.release("price", PRICE, graph(LinearRegression(), 2.0 * price, "regression")),
        "garden": house.release("garden", GARDEN, graph(LogisticRegression(), garden, "binary")),
    }


@pytest.fixture(scope="session")
def plan(house, digests) -> LoadedPlan:
    traffic = Plan(
        7,
        {
            "price": (Route(digests["price"], "live", 1.0),),
            "garden": (Route(digests["garden"], "live", 1.0),),
            "split": (Route(digests["price"], "live", 0.7), Route(digests["dearer"], "canary", 0.3)),
        },
        {"split": "salt"},
    )
    return load(traffic, house.open, OnnxRuntime())


@pytest.fixture
def state() -> ServeState:
    return ServeState(clock=Clock(now=lambda: NOW), max_rows=50, hash_key=b"k" * 32)


Ask = Callable[..., tuple[Answer, Any]]


@pytest.fixture
def ask(plan, state) -> Ask:
    """(name, body or rows, route) -> the answer, and its JSON."""

    def asked(
        name: str,
        body: Any,
        route: str = "rows",
        version: str = "",
        headers: Mapping[str, str] = {},
        state: ServeState = state,
    ) -> tuple[Answer, Any]:
        if isinstance(body, list):
            body = {"instances" if route == "rows" else "inputs": body}
        raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
        found = predict(raw, CODECS[route], name, version, headers, plan, state)
        return found, msgspec.json.decode(found.body)

    return asked
