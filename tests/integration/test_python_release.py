"""A Python release from a function to an answer over HTTP: its own environment, its own process, the same guards and log."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.faults.town import Server
from tests.faults.town import release as town_release

from holdfast.build.python import build_release
from holdfast.decide.actions import Actor, deploy
from holdfast.errors import ParityFailure, ReleaseError, Tampered, UntrustedPickle
from holdfast.predictions.log import read, segments
from holdfast.release.bundle import open_release
from holdfast.release.compare import diff
from holdfast.sandbox import inside
from holdfast.workspace import create_workspace

pytestmark = [
    pytest.mark.xdist_group("python"),
    pytest.mark.skipif(bool(inside.missing()), reason=f"no sandbox here: {inside.missing()}"),
]


def price(rows):
    """What a user's model may be: a rule in pandas. It does what it is told, too."""
    if (rows["rooms"] == 13).any():
        os._exit(3)
    if (rows["rooms"] == 14).any():
        time.sleep(600)
    if (rows["rooms"] == 15).any():
        raise ValueError("no such house")
    if (rows["rooms"] == 16).any():
        Path("/etc/passwd").read_text(encoding="utf-8")
    return 3.0 * rows["area"] + 10.0 * (rows["kind"] == "villa") + rows["rooms"]


def houses(rows=400, seed=3):
    rng = np.random.default_rng(seed)
    X = pd.DataFrame({
        "area": rng.uniform(20, 200, rows),
        "rooms": rng.integers(1, 9, rows),
        "kind": rng.choice(["villa", "flat"], rows),
    })  # fmt: skip
    return X, (price(X) + rng.normal(0, 1, rows)).rename("price")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    (folder := tmp_path_factory.mktemp("python")).joinpath("holdfast.toml").write_text(
        '[build]\ndirty = "allow"\n[python]\ntimeout_s = 2.0\nmemory_mb = 2048\n'
    )
    return create_workspace(folder)


@pytest.fixture(scope="module")
def release(workspace):
    X, y = houses()
    return build_release(workspace.build_parts, price, X, y, name="prices", label="price")


@pytest.fixture(scope="module")
def server(workspace, release):
    deploy(workspace.database, Actor("test", time.time_ns() // 1000, workspace.run), "prices", release.digest)
    started = Server(workspace)
    yield started
    started.close()


def ask(server, rows, wait=10):
    return asked(server, "prices", rows, wait)


def asked(server, name, rows, wait=10):
    body = json.dumps({"instances": rows}).encode()
    request = urllib.request.Request(
        f"{server.inference}/v1/models/{name}:predict", body, {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=wait) as reply:
            return reply.status, json.loads(reply.read())
    except urllib.error.HTTPError as bad:
        return bad.code, json.loads(bad.read())


def row(**more):
    return {"area": 100.0, "rooms": 3, "kind": "villa"} | more


def answered(server, within=10.0):
    """When it answers again."""
    until = time.monotonic() + within
    while True:
        status, told = ask(server, [row()])
        if status == 200 or time.monotonic() > until:
            return status, told
        time.sleep(0.05)


def test_a_function_becomes_a_release(release, workspace):
    opened = open_release(release.path, workspace.trusted)
    assert opened.manifest.runtime == "python"
    assert opened.manifest.parity["beyond_tolerance"] == 0
    assert [f.name for f in opened.contract.features] == ["area", "rooms", "kind"]
    lock = (release.path / "requirements.lock").read_text()
    assert "pandas==" in lock
    assert lock.count("--hash=sha256:") > 4
    assert "brought in" in release.card
    assert opened.profile.performance["rmse"]["value"] < 1.5


def test_it_answers_like_any_other(server, release):
    status, told = ask(server, [row(), row(kind="flat"), row(area=50.5)])
    assert status == 200, told
    assert [one["prediction"] for one in told["predictions"]] == [313.0, 303.0, 164.5]
    assert told["release"] == release.digest
    with urllib.request.urlopen(f"{server.inference}/v2/models/prices", timeout=5) as reply:
        assert json.loads(reply.read())["platform"] == "python"


def test_the_contract_stands_before_it(server):
    status, told = ask(server, [row(area="large")])
    assert (status, told["field"]) == (422, "area")


def test_what_it_answered_is_in_the_log(server, workspace, release):
    _, told = ask(server, [row(area=77.0)])
    records = [entry.record for one in segments(workspace.log) for entry in read(one, complete=True).entries]
    (record,) = [one for one in records if one.request == told["request"]]
    assert (record.release, record.rows) == (release.digest, 1)


def test_its_own_error_is_told(server):
    status, told = ask(server, [row(rooms=15)])
    assert status == 500
    assert "no such house" in told["detail"]
    assert ask(server, [row()])[0] == 200


def test_it_sees_no_files(server):
    status, told = ask(server, [row(rooms=16)])
    assert status == 500
    assert "PermissionError" in told["detail"]


@pytest.mark.parametrize("rooms", [13, 14])
def test_a_model_that_dies_or_hangs_is_started_again(server, rooms):
    status, told = ask(server, [row(rooms=rooms)])
    assert (status, told["code"]) == (503, "HF313")
    assert answered(server)[0] == 200


def test_while_one_hangs_the_others_answer(server, workspace):
    deploy(workspace.database, Actor("test", time.time_ns() // 1000, workspace.run), "town", town_release(workspace))
    until = time.monotonic() + 20
    while asked(server, "town", [{"area": 2.0}])[0] != 200:
        assert time.monotonic() < until
        time.sleep(0.05)
    with ThreadPoolExecutor(8) as threads:
        hanging = [
            threads.submit(ask, server, [row(rooms=14)], 30) for _ in range(8)
        ]  # twice as many as all have threads
        time.sleep(0.2)
        answers = [asked(server, "town", [{"area": float(area)}], 30) for area in range(50)]
        assert not any(one.done() and one.result()[0] == 200 for one in hanging)
        assert not all(one.done() for one in hanging)  # the first of them still hangs: nobody waited for it
        given = [told["predictions"][0]["prediction"] for _, told in answers]
        assert given == pytest.approx([3.0 * area + 1.0 for area in range(50)])
        assert {one.result()[0] for one in hanging} == {503}
    assert answered(server)[0] == 200


def test_a_killed_process_comes_back_and_nothing_stays_behind(server, workspace):
    (child,) = _children(server)
    os.kill(child, signal.SIGKILL)
    assert answered(server)[0] == 200
    (child,) = _children(server)
    server.kill_worker()
    assert answered(server, 20.0)[0] == 200
    until = time.monotonic() + 20
    while _runs(child):
        assert time.monotonic() < until
        time.sleep(0.05)


def _runs(pid):
    """Not ended, nor waiting to be taken note of."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _children(server):
    """Processes of Python models."""
    found = []
    for worker in server.workers():
        tasks = Path(f"/proc/{worker}/task")
        for task in tasks.iterdir():
            found += [int(pid) for pid in (task / "children").read_text().split()]
    return found


def test_one_byte_of_the_model_and_it_is_not_opened(release, workspace, tmp_path):
    for entry in release.manifest.files:
        copy = tmp_path / release.digest
        shutil.copytree(release.path, copy)
        path = copy / entry.path
        path.chmod(0o644)
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        with pytest.raises(Tampered):
            open_release(copy, workspace.trusted)
        shutil.rmtree(copy)


def test_it_travels_as_an_archive(release, workspace, tmp_path):
    cli(workspace, "export", release.digest, str(tmp_path / "prices.tar.gz"))
    cli(workspace, "verify", release.digest)
    assert not any(diff(release, release).values())


def test_without_the_users_word_none_is_built(workspace, tmp_path):
    import cloudpickle

    X, y = houses()
    path = tmp_path / "given.cloudpickle"
    path.write_bytes(cloudpickle.dumps(price))
    with pytest.raises(UntrustedPickle):
        build_release(workspace.build_parts, str(path), X, y, name="given", label="price")


def test_chance_and_company_are_refused(workspace):
    def chance(rows):
        return np.random.default_rng().normal(size=len(rows))

    def company(rows):
        return rows["area"] - rows["area"].mean()

    X, y = houses()
    for model in (chance, company):
        with pytest.raises(ParityFailure, match="in other company"):
            build_release(workspace.build_parts, model, X, y, name="odd", label="price")


def test_classes_by_their_names_and_shares(workspace):
    X, _ = houses()
    dear = (X["area"] > 100).map({True: "dear", False: "cheap"}).rename("label")

    def share(rows):
        return 1.0 / (1.0 + np.exp(-(rows["area"] - 100) / 10))

    def named(rows):
        return np.where(rows["area"] > 100, "dear", "cheap")

    for model in (share, named):
        made = build_release(workspace.build_parts, model, X, dear, name=model.__name__)
        assert made.contract.output.classes == ("cheap", "dear")
        assert made.contract.output.task == "binary"
        assert made.profile.performance["error_rate"]["value"] < 0.02


def test_a_model_that_cannot_be_opened_says_why(workspace):
    X, y = houses()

    class Evil:
        def __reduce__(self):
            return open, ("/etc/passwd",)

        def __call__(self, rows):
            return rows["area"]

    with pytest.raises(Exception, match="PermissionError"):
        build_release(workspace.build_parts, Evil(), X, y, name="evil", label="price")
    with pytest.raises(ReleaseError, match="3 dimensions"):
        build_release(workspace.build_parts, lambda rows: np.zeros((len(rows), 2, 2)), X, y, name="cube", label="price")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # MLflow's own
def test_a_model_of_mlflow_by_its_own_signature(workspace):
    """The environment has the parts of MLflow that open models, and the columns come in the types of the signature."""
    import mlflow
    from mlflow.models import infer_signature

    class Doubled(mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input, params=None):
            if str(model_input["rooms"].dtype) != "int64":
                raise TypeError
            return model_input["area"] * 2.0 + model_input["rooms"]

    X, _ = houses()
    X = X[["area", "rooms"]]
    y = (X["area"] * 2.0 + X["rooms"]).rename("price")
    uri = f"sqlite:///{workspace.home / 'mlflow.db'}"
    assert workspace.registry.list() is not None  # makes the store
    mlflow.set_tracking_uri(uri)
    try:
        with mlflow.start_run():
            mlflow.pyfunc.log_model(
                name="doubled",
                python_model=Doubled(),
                signature=infer_signature(X, y),
                pip_requirements=[f"mlflow=={mlflow.__version__}"],
                registered_model_name="doubled",
            )
    finally:
        mlflow.set_tracking_uri(None)
    with pytest.raises(UntrustedPickle):
        build_release(workspace.build_parts, "models:/doubled/1", X, y, name="doubled", label="price")
    made = build_release(
        workspace.build_parts, "models:/doubled/1", X, y, name="doubled", label="price", trust_pickle=True
    )
    assert made.manifest.runtime == "python"
    assert f"mlflow-skinny=={mlflow.__version__}" in (made.path / "requirements.lock").read_text()
    assert made.profile.performance["rmse"]["value"] < 1e-9


def test_a_fitted_model_as_python_answers_as_it_does_itself(workspace):
    from sklearn.ensemble import RandomForestClassifier

    X, _ = houses()
    X = X[["area", "rooms"]]
    y = (X["area"] > 100).map({True: "dear", False: "cheap"}).rename("label")
    model = RandomForestClassifier(20, random_state=0).fit(X, y)
    made = build_release(workspace.build_parts, model, X, y, name="forest", runtime="python")
    assert made.contract.output.classes == ("cheap", "dear")
    session = workspace.runtime.load(made.model)
    rows = {"area": X["area"].to_numpy(), "rooms": X["rooms"].to_numpy().astype(float)}
    assert np.array_equal(session.run(rows)["probabilities"], model.predict_proba(X))


def test_from_the_command_line_and_recorded(workspace, release, tmp_path):
    model, rows = tmp_path / "given.cloudpickle", tmp_path / "rows.parquet"
    model.write_bytes((release.path / "model" / "model.cloudpickle").read_bytes())
    X, y = houses()
    X.assign(price=y).to_parquet(rows)
    arguments = [str(model), "--reference", str(rows), "--label", "price", "--name", "given"]
    more = ["--trust-pickle", "--no-sandbox", "--requirement", "numpy", "--requirement", "pandas"]
    told = cli(workspace, "build", *arguments, *more)
    assert told["parity"]["beyond_tolerance"] == 0
    cli(workspace, "deploy", told["release"], "--as", "given")
    with workspace.database.begin() as stores:
        events = [event for event in stores.trail.read() if event.verb == "sandbox off"]
    assert [event.data["for"] for event in events] == ["build"]
    assert cli(workspace, "score", str(rows), "--with", "given", "--out", str(tmp_path / "out.parquet"))["rows"] == len(
        X
    )
    again = cli(workspace, "reproduce", told["release"], "--reference", str(rows), "--trust-pickle")
    assert again["rebuilt"] == told["release"]


def cli(workspace, *arguments):
    command = [sys.executable, "-m", "holdfast", "-w", str(workspace.folder), *arguments, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)
