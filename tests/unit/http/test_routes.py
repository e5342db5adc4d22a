"""What a request line means."""

import pytest

from holdfast.errors import NotFound
from holdfast.http.routes import Action, MethodNotAllowed, action


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("GET /", Action("index")),
        ("GET /?a=b", Action("index")),
        ("GET /metrics", Action("metrics")),
        ("HEAD /v2", Action("server")),
        ("GET /v2/", Action("server")),
        ("GET /v2/health/live", Action("live")),
        ("GET /v2/health/ready", Action("ready")),
        ("GET /v2/models/houses", Action("metadata", "houses")),
        ("GET /v2/models/houses/versions/1f3a", Action("metadata", "houses", "1f3a")),
        ("GET /v2/models/houses/ready", Action("model_ready", "houses")),
        ("GET /v2/models/houses/versions/1f3a/ready", Action("model_ready", "houses", "1f3a")),
        ("POST /v2/models/houses/infer?x", Action("infer", "houses")),
        ("POST /v2/models/houses/versions/1f3a/infer", Action("infer", "houses", "1f3a")),
        ("POST /v1/models/houses:predict", Action("rows", "houses")),
        ("POST /v1/models/houses%3Apredict", Action("rows", "houses")),
        ("POST /v1/models/houses:label", Action("label", "houses")),
        ("GET http://127.0.0.1:8080/v2/models/a%20b", Action("metadata", "a b")),
        ("GET /ping", Action("ping")),
        ("GET /health", Action("ping")),
        ("GET /version", Action("version")),
        ("POST /invocations", Action("invocations")),
        ("POST /invocations?x=1&deployment=a%20b", Action("invocations", "a b")),
        ("POST /invocations?" + "a=b&" * 50, Action("invocations")),
        ("POST /v2/models/houses/invocations?deployment=flats", Action("invocations", "houses")),
        ("POST /v2/models/houses/versions/1f3a/invocations", Action("invocations", "houses", "1f3a")),
        ("GET /v2/models/houses/ping", Action("ping", "houses")),
        ("POST /v2/repository/index", Action("repository")),
        ("POST /v2/repository/models/houses/load", Action("load", "houses")),
        ("POST /v2/repository/models/houses/unload", Action("unload", "houses")),
    ],
)
def test_paths(line, expected):
    assert action(*line.split(" ")) == expected


@pytest.mark.parametrize(
    "path",
    [
        "/v3",
        "/v2/models",
        "/v2/models/",
        "/v2/models//ready",
        "/v2/models/a/nothing",
        "/v2/repository/models/a",
        "/v2/repository/models//load",
        "/v2/models/a/versions/",
        "/v1/models/a",
        "/v1/models/:predict",
        "/v1/models/a:b:c",
        "/v2/health",
        "*",
        "//v2",
        "v2",
        "evil:443",
    ],
)
def test_nothing_there(path):
    with pytest.raises(NotFound):
        action("POST", path)


def test_the_wrong_method_names_the_right_one():
    with pytest.raises(MethodNotAllowed) as wrong:
        action("GET", "/v2/models/houses/infer")
    assert (wrong.value.status, wrong.value.allowed) == (405, "POST")
    with pytest.raises(MethodNotAllowed) as wrong:
        action("DELETE", "/v2/models/houses")
    assert wrong.value.allowed == "GET, HEAD"
