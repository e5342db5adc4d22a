"""The bill of materials: valid by the official schema, the same for the same release, complete."""

import json
from pathlib import Path

import cyclonedx
import jsonschema_rs
import msgspec
import pytest
from tests.unit.release.conftest import METRIC, contract, files, manifest, profile

from holdfast.core.release import MODEL
from holdfast.release.sbom import Pin, make_sbom, pins

SCHEMAS = Path(cyclonedx.__file__).parent / "schema" / "_res"
REQUIREMENTS = """\
# as recorded
numpy==2.4.6
Scikit_Learn[plots]==1.9.1 ; python_version > "3.10"
pandas>=2
xgboost==3.2.0 \\
    --hash=sha256:{} \\
    --hash=sha256:{}
-e .
""".format("ab" * 32, "cd" * 32)


FILES = files() | {"requirements.lock": REQUIREMENTS.encode()}


@pytest.fixture(scope="module")
def schema():
    names = {"spdx": "spdx.SNAPSHOT.schema.json", "jsf-0.82": "jsf-0.82.SNAPSHOT.schema.json"}
    read = {name: json.loads((SCHEMAS / file).read_text()) for name, file in names.items()}
    registry = jsonschema_rs.Registry([(f"http://cyclonedx.org/schema/{f}", read[n]) for n, f in names.items()])
    return jsonschema_rs.Draft7Validator(
        json.loads((SCHEMAS / "bom-1.6.SNAPSHOT.schema.json").read_text()), registry=registry
    )


def described():
    metric = METRIC | {"value": 0.2}
    slices = ({"column": "kind", "value": "flat", "rows": 40, "metrics": {"rmse": metric}},)
    return msgspec.structs.replace(profile(), slices=slices)


def bill(**changes):
    return json.loads(make_sbom(manifest(**changes), contract(), described(), FILES))


def test_it_is_valid_by_the_official_schema(schema):
    found = bill(parent="ef" * 32)
    schema.validate(found)
    broken = found | {"components": [{"type": "unheard-of", "name": "x"}]}
    assert not schema.is_valid(broken)


def test_the_same_release_has_the_same_bill_and_another_one_another():
    one = make_sbom(manifest(), contract(), described(), FILES)
    assert one == make_sbom(manifest(), contract(), described(), FILES)
    assert bill()["serialNumber"] != bill(name="others")["serialNumber"]


def test_the_model_is_a_component_with_its_card():
    model = bill()["metadata"]["component"]
    assert model["type"] == "machine-learning-model"
    assert model["hashes"][0]["content"] == model["components"][1]["hashes"][0]["content"]
    assert [one["name"] for one in model["components"]] == ["card.md", MODEL]
    whole, part = model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    assert whole == {
        "type": "rmse",
        "value": "0.12",
        "confidenceInterval": {"lowerBound": "0.11", "upperBound": "0.13"},
    }
    assert (part["slice"], part["value"]) == ("kind=flat", "0.2")
    assert model["modelCard"]["modelParameters"]["datasets"] == [{"ref": "data"}]


def test_every_package_is_there_once_with_its_role():
    found = bill(builder={"holdfast": "0.1.0", "numpy": "2.4.6", "skl2onnx": "1.20.0"})
    libraries = {one["purl"]: one for one in found["components"] if one["type"] == "library"}
    assert sorted(libraries) == [
        "pkg:pypi/numpy@2.4.6",
        "pkg:pypi/pandas",
        "pkg:pypi/scikit-learn@1.9.1",
        "pkg:pypi/skl2onnx@1.20.0",
        "pkg:pypi/xgboost@3.2.0",
    ]
    assert {one["scope"] for one in libraries.values()} == {"excluded"}
    assert {"name": "holdfast:sha256", "value": "ab" * 32} in libraries["pkg:pypi/xgboost@3.2.0"]["properties"]
    refs = {one["bom-ref"] for one in found["components"]}
    assert set(found["dependencies"][0]["dependsOn"]) <= refs
    assert len(refs) == len(found["components"])


def test_a_python_release_needs_its_packages(schema):
    given = {"python/model.pkl": b"\x80", "requirements.lock": REQUIREMENTS.encode(), "card.md": b"# x"}
    found = json.loads(make_sbom(manifest(runtime="python"), contract(), described(), given))
    schema.validate(found)
    assert {one["scope"] for one in found["components"] if one["type"] == "library"} == {"required"}
    assert [one["name"] for one in found["metadata"]["component"]["components"]] == ["card.md", "python/model.pkl"]


def test_pins():
    assert pins(REQUIREMENTS) == [
        Pin("numpy", "2.4.6"),
        Pin("pandas", ""),
        Pin("scikit-learn", "1.9.1"),
        Pin("xgboost", "3.2.0", ("ab" * 32, "cd" * 32)),
    ]
