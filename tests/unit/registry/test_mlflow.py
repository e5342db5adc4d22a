"""The registry over a real MLflow store in SQLite: exact versions, equal content once, quiet, and nothing outside its folder."""

import os
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from holdfast.backends.mlflow import MlflowRegistry
from holdfast.errors import NotFound, RegistryError, UsageError


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    here = Path.cwd()
    stand = tmp_path_factory.mktemp("stand")
    os.chdir(stand)
    try:
        found = MlflowRegistry("", home)
        found.list()
        yield found
        assert list(stand.iterdir()) == [], "MLflow left something where somebody stood"
    finally:
        os.chdir(here)


def model(slope: float) -> LinearRegression:
    X = np.arange(10.0).reshape(-1, 1)
    return LinearRegression().fit(X, slope * X[:, 0])


def test_equal_objects_are_one_version(registry):
    assert registry.register_object(model(2), "lines") == "models:/lines/1"
    assert registry.register_object(model(2), "lines") == "models:/lines/1"
    assert registry.register_object(model(3), "lines") == "models:/lines/2"
    assert registry.register_object(model(2), "lines") == "models:/lines/1"


def test_an_alias_is_resolved_once_and_downloaded_by_version(registry, tmp_path):
    registry.register_object(model(2), "moving")
    registry.register_object(model(3), "moving")
    registry.set_alias("moving", "champion", "1")
    assert registry.resolve("models:/moving@champion") == "models:/moving/1"
    fetched = registry.fetch("models:/moving@champion", tmp_path / "a")
    registry.set_alias("moving", "champion", "2")
    assert fetched.source.uri == "models:/moving/1"
    assert registry.fetch("models:/moving@champion", tmp_path / "b").source.uri == "models:/moving/2"
    assert registry.resolve("models:/moving/latest") == "models:/moving/2"
    rows = [row for row in registry.list() if row["name"] == "moving"]
    assert [(row["version"], row["aliases"]) for row in rows] == [("1", []), ("2", ["champion"])]


def test_every_file_is_hashed_and_requirements_are_kept(registry, tmp_path):
    uri = registry.register_object(model(4), "hashed")
    fetched = registry.fetch(uri, tmp_path)
    assert {entry.path for entry in fetched.source.files} == {"MLmodel", "model.skops", "requirements.txt"}
    assert all(len(entry.sha256) == 64 and entry.size > 0 for entry in fetched.source.files)
    assert any(line.startswith("scikit-learn==") for line in fetched.requirements)
    assert fetched.source.flavour == "sklearn"


def test_a_file_changed_after_registration_is_found(registry, tmp_path):
    uri = registry.register_object(model(5), "changed")
    content = (registry.fetch(uri, tmp_path / "a").path / "model.skops").read_bytes()
    stored = [path for path in registry._home.rglob("artifacts/model/model.skops") if path.read_bytes() == content]
    assert len(stored) == 1
    stored[0].write_bytes(content + b"\0")
    with pytest.raises(RegistryError, match="changed after"):
        registry.fetch(uri, tmp_path / "b")


def test_a_bare_file_becomes_a_version(registry, tmp_path):
    path = tmp_path / "given.ubj"
    path.write_bytes(b"not looked at here")
    assert registry.register_file(path, "bare") == "models:/bare/1"
    assert registry.register_file(path, "bare") == "models:/bare/1"
    assert registry.fetch("models:/bare/1", tmp_path / "a").source.flavour == "xgboost"
    with pytest.raises(NotFound):
        registry.register_file(tmp_path / "nowhere.onnx", "bare")
    strange = tmp_path / "model.docx"
    strange.write_bytes(b"")
    with pytest.raises(RegistryError, match="no model file"):
        registry.register_file(strange, "bare")


@pytest.mark.parametrize(
    ("reference", "error"),
    [
        ("models:/nobody/1", NotFound),
        ("models:/nobody@champion", NotFound),
        ("models:/nobody/latest", NotFound),
        ("runs:/0123456789abcdef/model", NotFound),
        ("models:/lines/three", UsageError),
        ("models:/", UsageError),
        ("lines", UsageError),
    ],
)
def test_what_is_not_there_is_named(registry, tmp_path, reference, error):
    with pytest.raises(error) as refused:
        registry.fetch(reference, tmp_path)
    assert reference in str(refused.value)
    assert refused.value.next_step


def test_what_cannot_be_stored_without_pickle_is_refused(registry):
    with pytest.raises(RegistryError, match="without pickle"):
        registry.register_object((x for x in ()), "generator")


def test_a_server_that_is_away_is_an_error_of_ours(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    away = MlflowRegistry("http://127.0.0.1:9", tmp_path)
    with pytest.raises(RegistryError, match="does not answer"):
        away.list()


@pytest.mark.filterwarnings("ignore")  # MLflow's own
def test_a_run_tells_its_commit_and_its_data(registry, tmp_path):
    import mlflow
    import mlflow.sklearn
    import pandas as pd

    mlflow.set_tracking_uri(registry._uri)
    try:
        with mlflow.start_run(tags={"mlflow.source.git.commit": "c0ffee"}) as run:
            rows = pd.DataFrame({"x": [1.0, 2.0]})
            mlflow.log_input(mlflow.data.from_pandas(rows, source="rows.csv", name="rows"), context="training")
            mlflow.sklearn.log_model(model(2), name="line", registered_model_name="traced", pip_requirements=[])
    finally:
        mlflow.set_tracking_uri(None)
    fetched = registry.fetch("models:/traced/1", tmp_path / "a")
    assert fetched.source.run_id == run.info.run_id
    assert fetched.run["commit"] == "c0ffee"
    assert [(d["name"], d["context"], len(d["digest"])) for d in fetched.run["datasets"]] == [("rows", "training", 8)]
    assert registry.fetch(f"runs:/{run.info.run_id}/line", tmp_path / "b").run == fetched.run
    registry._client.delete_run(run.info.run_id)
    assert registry.fetch("models:/traced/1", tmp_path / "c").source == fetched.source
    assert registry.fetch(registry.register_object(model(7), "untraced"), tmp_path / "d").run == {}
