"""Host, origin and headers: the three walls of the control port."""

from __future__ import annotations

import pytest
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from holdfast.errors import HoldfastError, InvalidInput, NotFound
from holdfast.web.security import CSP
from holdfast.web.site import application


def boom(request):
    raise NotFound("no such thing", "here", "look there")


def crash(request):
    raise ZeroDivisionError


@pytest.fixture(name="client")
def client_of():
    routes = [
        Route("/", lambda _: PlainTextResponse("ok"), methods=["GET", "POST"]),
        Route("/boom", boom),
        Route("/crash", crash),
    ]
    app = application(routes, lambda _request, error: f"<p>{error.what}</p>")
    return TestClient(app, base_url="http://127.0.0.1:8081", raise_server_exceptions=False)


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "[::2]", "localhost.evil", "127.0.0.2"])
def test_a_foreign_host_is_refused(client, host):
    answer = client.get("/", headers={"host": host})
    assert answer.status_code == 403
    assert answer.json()["code"] == "HF321"


@pytest.mark.parametrize("host", ["localhost", "localhost:8081", "127.0.0.1:1", "[::1]:8081", "LOCALHOST"])
def test_loopback_may_ask(client, host):
    assert client.get("/", headers={"host": host}).text == "ok"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"sec-fetch-site": "none"}, 200),
        ({"origin": "http://127.0.0.1:8081"}, 200),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://127.0.0.1:9999"}, 403),
    ],
)
def test_another_sites_page_changes_nothing(client, headers, status):
    assert client.post("/", headers=headers).status_code == status
    assert client.get("/", headers=headers).status_code == 200


@pytest.mark.parametrize("path", ["/", "/boom", "/nowhere", "/crash"])
def test_every_answer_has_the_headers(client, path):
    headers = client.get(path).headers
    assert headers["content-security-policy"] == CSP
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"


def test_the_policy_is_strict():
    rules = dict(rule.split(" ", 1) for rule in CSP.split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["frame-ancestors"] == rules["base-uri"] == "'none'"
    assert rules["form-action"] == "'self'"
    assert "unsafe" not in CSP
    assert "http" not in CSP


def test_programs_get_problems_and_people_pages(client):
    told = client.get("/boom")
    assert told.status_code == 404
    assert told.headers["content-type"] == "application/problem+json"
    assert told.json() == {
        "type": "about:blank",
        "title": "Not Found",
        "status": 404,
        "detail": "no such thing, here",
        "code": "HF200",
        "where": "here",
        "next": "look there",
        "error": "no such thing, here",
    }
    page = client.get("/boom", headers={"accept": "text/html"})
    assert page.text == "<p>no such thing</p>"
    assert client.get("/nowhere").json()["status"] == 404
    assert client.delete("/").json()["status"] == 405


def test_a_crash_says_nothing_of_its_inside(client):
    told = client.get("/crash")
    assert told.status_code == 500
    assert told.json()["detail"] == "the server failed"


def test_input_problems_name_row_and_field():
    told = InvalidInput("not a number", field="area", row=3).as_problem()
    assert (told["row"], told["field"], told["status"]) == (3, "area", 422)
    assert "row" not in HoldfastError("x").as_problem()
