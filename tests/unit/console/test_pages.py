"""Pages: readable without a script, safe with hostile names, and never a row of anybody's data."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import msgspec
import pytest
from starlette.testclient import TestClient
from tests import houses

from holdfast import api, console
from holdfast.console.words import ago, duration, size
from holdfast.core.alarm import Alarm
from holdfast.core.profile import DAY
from holdfast.testing import MemoryDatabase
from holdfast.web.site import Site, application

EVIL = "<script>alert(1)</script>"
PAGES = ("/", "/alarms", "/alarms/a1", "/deployments/house-prices", "/deployments/house-prices/api")


def site_of(database, town, folder):
    return Site(database, town.release, town.digests, folder / "log", folder / "run", 1.0, "http://127.0.0.1:8080")


def client_of(site):
    return TestClient(
        application([*api.routes(site), *console.routes(site)], console.error_page), base_url="http://127.0.0.1:8081"
    )


@pytest.fixture(name="client")
def filled(tmp_path):
    database = MemoryDatabase()
    return client_of(site_of(database, houses.fill(database, days=120), tmp_path))


class Page(HTMLParser):
    """Collects what a strict policy would refuse, and every address."""

    def __init__(self):
        super().__init__()
        self.inline, self.links, self.texts = [], [], []

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.inline += [a for a in given if a == "style" or a.startswith("on")]
        if tag in {"style", "iframe", "object"} or (tag == "script" and "src" not in given):
            self.inline.append(tag)
        self.links += [given[a] for a in ("href", "src", "action") if given.get(a)]


@pytest.mark.parametrize("path", PAGES)
def test_nothing_inline_and_nothing_from_elsewhere(client, path):
    answer = client.get(path)
    assert answer.status_code == 200
    page = Page()
    page.feed(answer.text)
    assert page.inline == []
    assert all(link.startswith(("/", "#")) for link in page.links)


@pytest.mark.parametrize("path", PAGES)
def test_every_link_leads_somewhere(client, path):
    page = Page()
    page.feed(client.get(path).text)
    for link in {link.split("#")[0] for link in page.links} - {""}:
        if not re.search("/(promote|rollback|accept)$", link):
            assert client.get(link).status_code == 200, link


@pytest.mark.parametrize(
    "path",
    [
        "/index.json",
        "/alarms.json",
        "/alarms/a1.json",
        "/deployments/house-prices.json",
        "/deployments/house-prices/openapi.json",
    ],
)
def test_every_page_has_a_json_twin(client, path):
    answer = client.get(path)
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()


def test_the_deployment_page_tells_the_story(client):
    text = client.get("/deployments/house-prices").text
    for words in (
        "Releases",
        "Alarms",
        "Labelled share",
        "Error: RMSE (log scale)",
        "kind (alarm): share of",
        "alarm line",
    ):
        assert words in text
    assert "holdfast rollback house-prices" in text
    assert "flats are 30 % of sales" in text
    assert len(text) < 200_000
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))


def test_hostile_names_are_text(tmp_path):
    database = MemoryDatabase()
    town = houses.fill(database, days=60)
    with database.begin() as stores:
        alarm = stores.alarms.get("a3")
        stores.alarms.save(
            msgspec.structs.replace(
                alarm, sentence=EVIL, action=EVIL, columns=(EVIL,), monitors=(EVIL,), details={EVIL: EVIL}
            )
        )
        stores.trail.append("deploy", at=0, deployment="house-prices", release="0" * 64, actor=EVIL)
    profile = town.releases[town.digests()[1]].profile
    columns = [
        c | ({"categories": [EVIL, *c["categories"][1:]]} if c["name"] == "kind" else {}) for c in profile.columns
    ]
    digest = town.digests()[1]
    town.releases[digest] = town.releases[digest]._replace(
        profile=msgspec.structs.replace(profile, columns=tuple(columns))
    )
    client = client_of(site_of(database, town, tmp_path))
    for path in ("/", "/alarms", "/alarms/a3", "/deployments/house-prices"):
        text = client.get(path).text
        assert "<script>alert" not in text
        assert "&lt;script&gt;" in text, path


def test_an_empty_workspace_shows_the_commands(tmp_path):
    client = client_of(site_of(MemoryDatabase(), houses.Town({}), tmp_path))
    text = client.get("/").text
    assert "Nothing is deployed yet" in text
    assert "holdfast build" in text
    assert "No alarm so far" in client.get("/alarms").text


def test_an_error_is_a_page_for_people(client):
    answer = client.get("/deployments/nope", headers={"accept": "text/html"})
    assert answer.status_code == 404
    assert "no deployment" in answer.text
    assert "house-prices" in answer.text
    assert client.get("/deployments/nope.json", headers={"accept": "text/html"}).json()["code"] == "HF200"


def test_buttons_do_what_the_command_does(client):
    own = {"sec-fetch-site": "same-origin"}
    answer = client.post("/deployments/house-prices/promote", headers=own, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/deployments/house-prices")
    assert "no canary is running" in client.get("/deployments/house-prices").text
    client.post("/deployments/house-prices/rollback", headers=own)
    client.post("/alarms/a3/accept", headers=own)
    assert "closed: accepted" in client.get("/alarms").text
    assert client.post("/alarms/a3/accept", headers={"sec-fetch-site": "cross-site"}).status_code == 403


def test_many_alarms_with_long_names(tmp_path):
    database = MemoryDatabase()
    town = houses.fill(database, days=60)
    with database.begin() as stores:
        for i in range(40):
            at = (houses.DAY0 + i) * DAY
            stores.alarms.save(
                Alarm(
                    id=f"m{i}",
                    deployment="house-prices",
                    release=town.digests()[1],
                    opened=at,
                    monitors=("x/mean",),
                    columns=("a_column_with_quite_a_long_name_" * 3,),
                    evidence=1.0,
                    threshold="t",
                )
            )
    text = client_of(site_of(database, town, tmp_path)).get("/").text
    assert "41 open alarms" in text


def test_words():
    assert duration(90 * 1_000_000) == "1 minute"
    assert duration(3 * DAY) == "3 days"
    assert ago(0, 0) == "now"
    assert ago(0, 40 * DAY) == "1 month ago"
    assert ago(5, 0) == "now"
    assert (size(0), size(1500), size(2.5e9), size(3e13)) == ("0 B", "1.5 kB", "2.5 GB", "30 TB")
