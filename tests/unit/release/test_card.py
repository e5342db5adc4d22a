"""The card as it stands today, in Markdown and as a page, whatever the data and the statements say."""

import re

import msgspec
import pytest
import yaml
from tests.unit.release.conftest import METRIC, contract, manifest
from tests.unit.release.conftest import profile as plain_profile

from holdfast.build.card import make_card
from holdfast.core.event import Event
from holdfast.release.bundle import attest, signed
from holdfast.release.card import card_page, living_card
from holdfast.release.keys import trusted_keys
from holdfast.release.trust import signer

EVIL = "<script>alert(1)</script> | [x](javascript:alert(2)) `"
PARITY = {
    "rows": 9,
    "boundary_rows": 1,
    "on": "reference",
    "beyond_tolerance": 0,
    "tolerance": 1e-6,
    "all_below": 1e-12,
}


def profile():
    slices = (
        {
            "column": "kind",
            "value": EVIL,
            "rows": 40,
            "metrics": {"rmse": METRIC | {"value": 0.2, "low": 0.18, "high": 0.22}},
        },
        {"column": "kind", "value": "flat", "rows": 50, "metrics": {"rmse": METRIC}},
    )
    return msgspec.structs.replace(plain_profile(), slices=slices)


def built():
    return make_card(manifest(parity=PARITY), contract(), profile(), ["a note"])


def event(verb, release, number=1):
    at = 1_800_000_000_000_000
    return Event(number=number, at=at, wall=at, actor="ada", verb=verb, deployment="town", release=release)


def test_its_head_is_what_hugging_face_reads():
    _, head, body = built().split("---\n", 2)
    told = yaml.safe_load(head)
    assert told["library_name"] == "onnx"
    assert told["pipeline_tag"] == "tabular-regression"
    assert {"holdfast", "onnx", "sklearn", "regression"} == set(told["tags"])
    (model,) = told["model-index"]
    (result,) = model["results"]
    assert model["name"] == "prices"
    assert result["task"] == {"type": "tabular-regression"}
    assert {"type", "name"} <= result["dataset"].keys()
    assert result["metrics"] == [{"type": "rmse", "value": 0.12}]
    assert body.lstrip().startswith("# prices")


def test_slices_have_intervals_and_say_where_they_differ():
    card = built()
    assert "| kind = flat | 0.12 | 0.11 to 0.13 | 50 |  |" in card
    assert re.search(r"\| kind = .* \| 0\.2 \| 0\.18 to 0\.22 \| 40 \| differs from the whole \|", card)


@pytest.fixture
def release(make, keys):
    made = make()
    attest(
        made.path,
        "urn:holdfast:capacity:v1",
        {
            "sentence": f"p99 of 2 ms {EVIL}",
            "p99_ms": 2.125,
            "at": 1_800_000_000_000_000,
            "plan": {"cores": 2},
            "runs": [1, 2],
        },
        signer(keys),
    )
    return made


def test_what_came_later_is_added(release, keys):
    trusted = trusted_keys(keys)
    said = signed(release.path, trusted)
    card = living_card(release, said, trusted, [event("deploy", release.digest), event("deploy", "other", 2)])
    assert card.startswith("# prices")
    assert f"Release `{release.digest}`, signed by" in card
    assert "### capacity" in card
    assert "p99\\_ms: 2.125" in card
    assert "plan: cores 2" in card
    assert "at: 2027-01-15 08:00 UTC" in card
    assert card.count("deploy as town, by ada") == 1


def test_as_a_page_it_loads_nothing_and_runs_nothing(release, keys):
    trusted = trusted_keys(keys)
    card = built() + living_card(release, signed(release.path, trusted), trusted)
    page = card_page(card, EVIL)
    assert "<script" not in page
    assert not re.search(r"(?:src|href)=", page)
    assert "library_name" not in page
    assert "default-src 'none'" in page
    assert "<table>" in page
    assert "<h1>prices</h1>" in page
