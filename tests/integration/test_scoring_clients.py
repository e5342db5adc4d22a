"""Clients of other servers, unmodified: MLflow's own, one as SageMaker has them, and curl, against a real server."""

import http.client
import io
import subprocess
import warnings

import duckdb
import numpy as np
import pytest
import skops.io

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it warns of its own type hints
    from mlflow.pyfunc.scoring_server.client import ScoringServerClient


@pytest.fixture(scope="module")
def served(town):
    with town.serving() as server:
        yield server.inference.removeprefix("http://")


@pytest.fixture(scope="module")
def frame(town):
    with duckdb.connect() as db:
        return db.sql(f"select area, rooms, kind from '{town.folder}/live.parquet' limit 50").df()


@pytest.fixture(scope="module")
def expected(town, frame):
    path = town.folder / "model.skops"
    model = skops.io.load(path, trusted=skops.io.get_untrusted_types(file=path))
    return model.predict(frame)


class TestMlflow:
    @pytest.mark.parametrize("prefix", ["", "/v2/models/town"])
    def test_its_scoring_client(self, served, frame, expected, prefix):
        host, _, port = served.partition(":")
        client = ScoringServerClient(host, port + prefix)
        client.wait_server_ready(timeout=10)
        for data in (frame, frame.to_dict("records")):
            found = client.invoke(data, params={"anything": 1}).get_predictions("ndarray")
            np.testing.assert_allclose(found, expected, rtol=1e-9)
        assert client.invoke(frame).get_predictions().shape == (50, 1)
        assert client.get_version() if not prefix else True

    def test_its_users_read_what_is_wrong(self, served, frame):
        host, _, port = served.partition(":")
        with pytest.raises(Exception, match=r"422.*row 3, field 'area'"):
            ScoringServerClient(host, port).invoke(frame.assign(area=frame.area.where(frame.index != 3)))


def test_a_client_as_sagemaker_has_them(served, frame, expected):
    """CSV without names in, a value per line out; health by /ping."""
    connection = http.client.HTTPConnection(served)
    connection.request("GET", "/ping")
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (200, b"\n")
    body = frame.to_csv(header=False, index=False)
    headers = {"Content-Type": "text/csv", "Accept": "text/csv", "X-Amzn-SageMaker-Custom-Attributes": "trace=1"}
    connection.request("POST", "/invocations", body, headers)
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    assert answer.headers["Content-Type"] == "text/csv"
    np.testing.assert_allclose(np.loadtxt(io.BytesIO(answer.read())), expected, rtol=1e-9)
    connection.close()


def test_curl(served, frame, expected, tmp_path):
    (tmp_path / "rows.csv").write_text(frame.to_csv(index=False))
    command = ["curl", "--silent", "--show-error", "--fail-with-body", "--compressed", f"http://{served}/invocations"]
    csv = ["-H", "Content-Type: text/csv", "-H", "Accept: text/csv", "--data-binary", f"@{tmp_path}/rows.csv"]
    done = subprocess.run([*command, *csv], capture_output=True, text=True, check=True)
    np.testing.assert_allclose(np.loadtxt(io.StringIO(done.stdout)), expected, rtol=1e-9)
    done = subprocess.run([*command, "--json", '{"instances": []}'], capture_output=True, text=True)
    assert (done.returncode, "there are no rows" in done.stdout) == (22, True)
