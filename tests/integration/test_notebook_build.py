"""Ten lines in a notebook: a fitted model becomes a signed release, and the console can tell of it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression
from starlette.testclient import TestClient

import holdfast
from holdfast import api, console
from holdfast.decide import actions
from holdfast.release.bundle import list_releases, open_release
from holdfast.release.trust import trusted_keys
from holdfast.web.site import Site, application

pytestmark = pytest.mark.slow


def test_from_a_data_frame_to_its_page(workspace):
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"area": rng.normal(100, 20, 5000)})
    X["sold_at"] = pd.date_range("2024-01-01", periods=5000, freq="15min")
    y = (3 * X.area + rng.normal(0, 5, 5000)).rename("price")
    model = LinearRegression().fit(X.loc[:1000, ["area"]], y[:1001])
    at = holdfast.create_workspace(workspace)
    release = holdfast.build_release(model, X.loc[1001:], y[1001:], workspace=at, name="prices", timestamp="sold_at")
    assert release.profile.performance["rmse"]["value"] == pytest.approx(5.0, rel=0.1)

    actions.deploy(at.database, actions.Actor("ada", 1_700_000_000_000_000, at.run), "prices", release.digest)
    keys = trusted_keys(at.keys)
    site = Site(
        at.database,
        lambda digest: open_release(at.releases / digest, keys),
        lambda: [found.digest for found in list_releases(at.releases)],
        at.log,
        at.run,
        1.0,
        "http://127.0.0.1:8080",
    )
    client = TestClient(
        application([*api.routes(site), *console.routes(site)], console.error_page), base_url="http://127.0.0.1:8081"
    )
    for path in (
        "/",
        "/deployments/prices",
        "/deployments/prices/api",
        "/v1/releases",
        f"/v1/releases/{release.digest[:6]}",
    ):
        answer = client.get(path)
        assert answer.status_code == 200, path
        assert release.digest[:12] in answer.text, path
    row = client.get("/deployments/prices/openapi.json").json()["components"]["schemas"]["Row"]
    assert row["required"] == ["area"]
    assert "sold_at" in row["properties"]
