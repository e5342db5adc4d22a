"""Laws of the data plane: whatever comes in, there is one answer and never an exception; what is answered is in the record;
the form of a request does not matter; a larger canary share never takes a key away from the canary."""

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast.columns import Layout
from holdfast.core.contract import Contract, Field, Output
from holdfast.core.prediction import Prediction, Refusal
from holdfast.predictions.log import encode
from holdfast.predictions.windows import matrix
from holdfast.serve.clock import Clock
from holdfast.serve.codecs import ROWS, TENSORS
from holdfast.serve.dataplane import ServeState, predict
from holdfast.serve.plan import LoadedDeployment, LoadedPlan, LoadedRelease, LoadedRoute
from holdfast.serve.router import pick

FIELDS = (
    Field(name="at", datatype="BYTES", feature=False, nullable=True, marks=("timestamp",)),
    Field(name="who", datatype="BYTES", feature=False, nullable=True, marks=("key",)),
    Field(name="size", datatype="FP64", nullable=True, minimum=0.0, maximum=10.0),
    Field(name="count", datatype="INT16"),
    Field(name="kind", datatype="BYTES", nullable=True, categories=("a", "b")),
    Field(name="new", datatype="BOOL"),
)
CONTRACT = Contract(fields=FIELDS, output=Output(task="regression", label="y"))
CODECS = {"rows": ROWS, "infer": TENSORS}
NOW = 1_767_225_600_000_000


class Lengths:
    """A model that counts: the simplest thing that `ports.Session` may be."""

    apart = False

    def direct(self, names):
        return None

    def run(self, columns):
        kinds = np.array([len(kind or "") for kind in columns["kind"]], dtype=np.float64)
        return {"prediction": np.nan_to_num(columns["size"]) * 1e-9 + columns["count"] + kinds}


RELEASE = LoadedRelease("d" * 64, CONTRACT, Layout(CONTRACT), Lengths())
OTHER = LoadedRelease("e" * 64, CONTRACT, Layout(CONTRACT), Lengths())


def deployment(share: float) -> LoadedDeployment:
    canary = LoadedRoute(OTHER, "canary", share)
    return LoadedDeployment("m", "salt", LoadedRoute(RELEASE, "live", 1.0 - share), canary)


PLAN = LoadedPlan(1, {"m": deployment(0.5)})
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(["a", "2026-01-01", 10**400, -(2**63), 1e308, -0.0, "\x00missing", "9999-12-31T23:59:59-23:59"]),
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
names = st.sampled_from([f.name for f in FIELDS]) | st.text(max_size=4)
rows = st.dictionaries(names, values, max_size=8) | st.fixed_dictionaries({f.name: values for f in FIELDS})
bodies = st.one_of(
    values,
    st.fixed_dictionaries({"instances": st.lists(rows | values, max_size=3) | values}, optional={"id": values}),
)
tensor = st.fixed_dictionaries(
    {
        "name": names | values,
        "shape": st.lists(st.integers(-1, 4), max_size=3) | values,
        "datatype": st.sampled_from(["FP64", "INT16", "BYTES", "BOOL", "FP16", "X"]) | values,
        "data": st.lists(values, max_size=4) | values,
    },
    optional={"parameters": values},
)
requests = st.one_of(
    values,
    st.fixed_dictionaries(
        {"inputs": st.lists(tensor | values, max_size=7) | values},
        optional={"id": values, "outputs": values, "parameters": values},
    ),
)


def asked(body, route):
    state = ServeState(clock=Clock(now=lambda: NOW), max_rows=100)
    return predict(body, CODECS[route], "m", "", {}, PLAN, state)


def holds(answer):
    told = json.loads(answer.body)
    assert encode(answer.record)
    if answer.status == 200:
        assert isinstance(answer.record, Prediction)
    else:
        assert isinstance(answer.record, Refusal)
        assert answer.status in {400, 413, 422}
        assert told["error"]
        assert told["code"] == answer.record.code


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(body=bodies)
def test_any_json_is_answered_or_refused_as_rows(body):
    holds(asked(json.dumps(body).encode(), "rows"))


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(body=requests)
def test_any_json_is_answered_or_refused_as_tensors(body):
    holds(asked(json.dumps(body).encode(), "infer"))


@settings(max_examples=200, deadline=None)
@given(body=st.binary(max_size=200), route=st.sampled_from(["rows", "infer"]))
def test_any_bytes_are_answered_or_refused(body, route):
    holds(asked(body, route))


good = st.fixed_dictionaries(
    {
        "size": st.none() | st.floats(-1e300, 1e300),
        "count": st.integers(-(2**15), 2**15 - 1),
        "kind": st.none() | st.text(max_size=6).filter(lambda text: "\x00" not in text),
        "new": st.booleans(),
    }
)


@settings(max_examples=150, deadline=None)
@given(given_rows=st.lists(good, min_size=1, max_size=20))
def test_rows_and_tensors_of_the_same_values_are_logged_alike(given_rows):
    count = len(given_rows)
    datatypes = {"size": "FP64", "count": "INT16", "kind": "BYTES", "new": "BOOL"}
    tensors = [
        {"name": name, "shape": [count], "datatype": datatype, "data": [row[name] for row in given_rows]}
        for name, datatype in datatypes.items()
    ]
    first = asked(json.dumps({"instances": given_rows}).encode(), "rows").record
    second = asked(json.dumps({"inputs": tensors}).encode(), "infer").record
    assert isinstance(first, Prediction)
    assert isinstance(second, Prediction)
    assert (first.columns, first.outputs) == (second.columns, second.outputs)
    sizes = [np.nan if row["size"] is None else row["size"] for row in given_rows]
    assert np.array_equal(matrix(first)[first.names.index("size")], sizes, equal_nan=True)
    assert first.columns["kind"] == [row["kind"] for row in given_rows]
    assert first.columns["new"] == ["true" if row["new"] else "false" for row in given_rows]


@given(key=st.text(max_size=30), shares=st.lists(st.floats(0.001, 0.999), min_size=2, max_size=6))
def test_a_growing_canary_keeps_its_keys(key, shares):
    tracks = [pick(deployment(share), key).track for share in sorted(shares)]
    assert tracks == sorted(tracks, key=["live", "canary"].index)


def test_a_canary_gets_its_share():
    """2000 keys at 30 %: the binomial's standard deviation is 1.02 %; 5 of them, and the keys are always the same."""
    found = [pick(deployment(0.3), f"key-{i}").track for i in range(2000)]
    assert found.count("canary") / 2000 == pytest.approx(0.3, abs=0.051)
