"""The control API against a filled database: reads, steps, refusals, and a document that names every call."""

from __future__ import annotations

import re

import pytest
from starlette.testclient import TestClient
from tests import houses

from holdfast import api, console
from holdfast.api.operations import OPERATIONS
from holdfast.testing import MemoryDatabase
from holdfast.web.site import Site, application


class Keeper:
    passes = 0

    def catch_up(self):
        self.passes += 1


@pytest.fixture(name="site")
def site_of(tmp_path):
    database = MemoryDatabase()
    town = houses.fill(database, days=60)
    return Site(
        database, town.release, town.digests, tmp_path / "log", tmp_path / "run", 1.0, "http://127.0.0.1:8080", Keeper()
    )


@pytest.fixture(name="client")
def client_of(site):
    app = application([*api.routes(site), *console.routes(site)], console.error_page)
    return TestClient(app, base_url="http://127.0.0.1:8081")


def test_every_read_answers(client, site):
    digest = site.digests()[0]
    for path in (
        "/v1/status",
        "/v1/deployments",
        "/v1/deployments/house-prices",
        "/v1/releases",
        f"/v1/releases/{digest[:8]}",
        "/v1/alarms",
        "/v1/alarms/a1",
    ):
        assert client.get(path).status_code == 200, path
    assert client.get(f"/v1/releases/{digest[:8]}").json()["digest"] == digest
    assert client.get("/v1/status").json()["deployments"][0]["name"] == "house-prices"


def test_steps_change_state_trail_and_plan(client, site):
    first, second, third = site.digests()
    name = "/v1/deployments/house-prices"
    assert client.post(f"{name}:promote").json()["live"] == third
    assert client.post(f"{name}:rollback").json()["live"] == second
    assert client.post(f"{name}:canary", json={"release": third[:12], "share": 0.2}).json()["canary_share"] == 0.2
    assert client.post(f"{name}:deploy", json={"release": first}).json()["live"] == first
    with site.database.begin() as stores:
        assert [e.verb for e in stores.trail.read("house-prices")][-4:] == ["promote", "rollback", "canary", "deploy"]
    assert (site.run / "plan.json").exists()
    assert client.post("/v1/deployments/fresh:deploy", json={"release": first}).json()["name"] == "fresh"


def test_accepting_closes_the_alarm(client):
    told = client.post("/v1/alarms/a3:accept").json()
    assert told["closing"] == "accepted"
    assert client.get("/v1/alarms/a3").json()["closed"] == told["closed"]


def test_a_look_can_be_asked_for(client, site):
    assert client.post("/v1/monitor:run").json() == {"open_alarms": ["a3"]}
    assert site.keeper.passes == 1
    alone = TestClient(
        application(api.routes(site._replace(keeper=None)), console.error_page), base_url="http://127.0.0.1"
    )
    assert alone.post("/v1/monitor:run").status_code == 409


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/deployments/nope:promote", None, 404),
        ("/v1/deployments/house-prices:deploy", {"release": "ffff"}, 404),
        ("/v1/deployments/house-prices:deploy", {"release": 7}, 400),
        ("/v1/deployments/house-prices:deploy", {"relaese": "x"}, 400),
        ("/v1/deployments/house-prices:deploy", None, 400),
        ("/v1/deployments/house-prices:deploy", {"release": "x" * 2_000_000}, 413),
        ("/v1/deployments/a%20b:deploy", {"release": "FIRST"}, 400),
        ("/v1/alarms/zz:accept", None, 404),
    ],
)
def test_what_cannot_be_done_is_a_problem(client, site, path, body, status):
    if body and body.get("release") == "FIRST":
        body = {"release": site.digests()[0]}
    told = client.post(path, json=body) if body is not None else client.post(path)
    assert told.status_code == status
    assert told.headers["content-type"] == "application/problem+json"
    assert {"title", "detail", "code", "error"} <= told.json().keys()


def test_the_document_names_every_call_and_its_references_resolve(client):
    document = client.get("/openapi.json").json()
    described = {(method.upper(), path) for path, calls in document["paths"].items() for method in calls}
    assert described == {(o.method, o.path) for o in OPERATIONS}
    names = set(re.findall(r'"#/components/schemas/(\w+)"', client.get("/openapi.json").text))
    assert names <= document["components"]["schemas"].keys()
    ids = [call["operationId"] for calls in document["paths"].values() for call in calls.values()]
    assert len(set(ids)) == len(ids)
