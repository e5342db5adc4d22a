"""The page of a deployment promises what its contract says, and the copied line works."""

from __future__ import annotations

import json
import shlex

import numpy as np
import pytest
from tests import houses

from holdfast.core.contract import Contract, Field, Output
from holdfast.web import openapi


@pytest.fixture(name="release", scope="module")
def release_of():
    rng = np.random.default_rng(0)
    return houses.bundle("ab" * 32, "3", rng, houses.specs(rng), houses.DAY0, 0.12)


def test_the_curl_line_is_one_shell_command_with_a_valid_body(release):
    words = shlex.split(openapi.curl("house-prices", release.contract, "http://127.0.0.1:8080").replace("\\\n", ""))
    assert words[:3] == ["curl", "-s", "http://127.0.0.1:8080/v1/models/house-prices:predict"]
    row = json.loads(words[-1])["instances"][0]
    assert list(row) == [f.name for f in release.contract.fields]
    assert row["kind"] == "flat"
    assert isinstance(row["rooms"], int)
    assert 250 <= row["area_sqft"] <= 4200


def test_the_document_follows_the_contract(release):
    document = openapi.inference("house-prices", release, "http://127.0.0.1:8080")
    row = document["components"]["schemas"]["Row"]
    assert row["required"] == ["area_sqft", "rooms", "kind", "garden"]
    assert row["properties"]["age_years"]["type"] == ["number", "null"]
    assert row["properties"]["sold_at"]["format"] == "date-time"
    assert "minimum" not in row["properties"]["area_sqft"]  # only flagged, so not promised to be refused
    tensors = document["paths"]["/v2/models/house-prices/infer"]["post"]["requestBody"]["content"]["application/json"][
        "example"
    ]
    assert [t["name"] for t in tensors["inputs"]] == [f.name for f in release.contract.features]


def test_labels_are_given_by_key_where_there_is_one(release):
    document = openapi.inference("house-prices", release, "http://127.0.0.1:8080")
    call = document["paths"]["/v1/models/house-prices:label"]["post"]
    assert call["requestBody"]["content"]["application/json"]["example"] == {
        "labels": [{"key": "sale_id-1", "value": 1.5}]
    }
    assert document["components"]["schemas"]["Label"]["properties"]["value"]["title"] == "price"


def test_what_is_rejected_is_in_the_schema(release):
    fields = (
        Field(name="age", datatype="UINT8", minimum=18, maximum=99, on_violation="reject"),
        Field(name="it's", datatype="BYTES", categories=("a'b", "c"), on_violation="reject"),
    )
    contract = Contract(fields=fields, output=Output(task="binary", label="y", classes=("no", "yes")))
    row = openapi.inference("d", release._replace(contract=contract), "http://x")["components"]["schemas"]["Row"]
    assert (row["properties"]["age"]["minimum"], row["properties"]["age"]["maximum"]) == (18, 99)
    assert row["properties"]["it's"]["enum"] == ("a'b", "c")
    body = shlex.split(openapi.curl("d", contract, "http://x").replace("\\\n", ""))[-1]
    assert json.loads(body)["instances"] == [{"age": 58, "it's": "a'b"}]
