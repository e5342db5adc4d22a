"""Bad input and faults through the real commands: a clear error with a code and a next step, the right exit code, nothing lost."""

import concurrent.futures
import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest
from tests.integration.project import Project

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.xdist_group("cli")]

TRAIN = '''
"""House prices by area and kind; `python train.py` writes a model, a pickle, and files of rows."""
import pickle

import duckdb
import numpy as np
import pandas as pd
import skops.io
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.linear_model import Ridge
from sklearn.kernel_ridge import KernelRidge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder


def world(days, first, seed):
    rng = np.random.default_rng(seed)
    n = 100 * days
    kind = rng.choice(np.array(["flat", "house"], dtype=object), n)
    area = rng.normal(120, 20, n).round(1)
    return pd.DataFrame({
        "area": area, "rooms": rng.integers(1, 8, n), "kind": kind,
        "house": [f"{seed}-{i}" for i in range(n)],
        "sold": pd.Timestamp("2024-01-01") + pd.to_timedelta(first + np.arange(n) / 100, unit="D"),
        "price": 3 * area + 50 * (kind == "house") + rng.normal(0, 10, n),
    })


def train(data, weights=None, last=None):
    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), make_column_selector(dtype_include=[object, "string"])),
        remainder="passthrough", sparse_threshold=0,
    )
    features = data[["area", "rooms", "kind"]]
    return make_pipeline(columns, last or Ridge()).fit(features, data["price"])


if __name__ == "__main__":
    original, broken = world(20, 0, 0), world(10, 75, 3)
    broken["area"] /= 10.764
    files = {"original": original, "reference": world(40, 20, 1), "live": world(15, 60, 2), "broken": broken}
    for name, frame in files.items():
        duckdb.from_df(frame).write_parquet(f"{name}.parquet")
    skops.io.dump(train(original), "model.skops")
    skops.io.dump(train(original[:1500]), "other.skops")
    skops.io.dump(train(original, last=KernelRidge(kernel="cosine")), "unconvertible.skops")
    with open("model.pkl", "wb") as file:
        pickle.dump(train(original), file)
'''
MARKS = ("--reference", "reference.parquet", "--label", "price", "--timestamp", "sold", "--key", "house")
ROW = {"area": 100.0, "rooms": 3, "kind": "flat"}


@pytest.fixture(scope="module")
def town(tmp_path_factory):
    """A project with two releases, the first deployed; tests work on copies of it."""
    project = Project(tmp_path_factory.mktemp("town"))
    (project.folder / "train.py").write_text(TRAIN)
    subprocess.run([sys.executable, "train.py"], cwd=project.folder, check=True)
    project.run("init")
    releases = [
        project.run("build", model, *MARKS, "--name", "town")["release"] for model in ("model.skops", "other.skops")
    ]
    project.run("deploy", releases[0], "--as", "town")
    (project.folder / "releases.json").write_text(json.dumps(releases))
    return project


@pytest.fixture(name="project")
def copy_of_town(town, workspace):
    shutil.copytree(town.folder, workspace / "town")
    return Project(workspace / "town")


def releases(project: Project) -> list[str]:
    found: list[str] = json.loads((project.folder / "releases.json").read_text())
    return found


def predict(client, row=ROW, name="town"):
    return client.post(f"/v1/models/{name}:predict", json={"instances": [row]})


# ---------------------------------------------------------------------------------------------- files and names


def test_files_that_are_not_there(project):
    for arguments in (
        ("build", "gone.skops", *MARKS),
        ("build", "model.skops", "--reference", "gone.parquet", "--label", "price"),
        ("score", "gone.parquet", "--with", "town"),
        ("label", "gone.parquet", "--for", "town"),
    ):
        error = project.refused(*arguments, code=2)
        assert "gone." in error["what"]


def test_wrong_column_names_are_told_with_those_that_there_are(project):
    error = project.refused("build", "model.skops", "--reference", "reference.parquet", "--label", "prize", code=1)
    assert "prize" in error["what"]
    project.write("renamed.parquet", "select * rename (area as aera) from 'live.parquet'")
    error = project.refused("score", "renamed.parquet", "--with", "town", code=1)
    assert "area" in error["what"] + error["where"]
    assert "nothing was scored" in error["what"]
    project.write("unlabelled.parquet", "select house, area from 'live.parquet'")
    error = project.refused("label", "unlabelled.parquet", "--for", "town", code=2)
    assert "price" in error["what"]
    assert "area" in error["next"]


def test_names_that_do_not_exist(project):
    error = project.refused("score", "live.parquet", "--with", "twon", code=1)
    assert "did you mean 'town'" in (error["what"] + error["next"]).lower()
    for arguments in (
        ("promote", "twon"),
        ("status", "twon"),
        ("rollback", "twon"),
        ("retrain", "twon"),
        ("history", "twon"),
    ):
        code, _, said = project.call(*arguments)
        assert code in {1, 2}, said
        assert said.startswith("error[HF")
        assert "next:" in said
    assert "HF" in project.refused("deploy", "f00dfeed", "--as", "x", code=1)["code"]
    assert "alarm" in project.refused("alarms", "town-99", code=1)["what"]
    assert "Did you mean 'deploy'" in project.refused("deply", code=2)["what"]
    assert project.refused("score", "live.parquet", code=2)["next"].endswith("score --help")


def test_a_file_that_is_no_table(project):
    (project.folder / "nonsense.parquet").write_bytes(b"nonsense")
    error = project.refused("score", "nonsense.parquet", "--with", "town", code=1)
    assert "nonsense.parquet" in error["what"] + error["where"]


# ---------------------------------------------------------------------------------------------- models and releases


def test_a_model_that_cannot_be_converted_is_refused_by_the_name_of_its_step(project):
    before = project.run("list")["releases"]
    error = project.refused("build", "unconvertible.skops", *MARKS, code=1)
    assert error["code"] == "HF501"
    assert "kernelridge" in (error["what"] + error["where"]).lower()
    assert project.run("list")["releases"] == before


def test_a_pickle_needs_an_explicit_word(project):
    error = project.refused("build", "model.pkl", *MARKS, code=2)
    assert error["code"] == "HF401"
    assert "--trust-pickle" in error["next"]
    assert (
        project.run("build", "model.pkl", *MARKS, "--name", "pickled", "--trust-pickle")["parity"]["beyond_tolerance"]
        == 0
    )


def test_a_tampered_release_is_refused_by_verify_deploy_and_serve(project):
    live, other = releases(project)
    for digest in (live, other):
        model = project.folder / ".holdfast" / "releases" / digest / "model.onnx"
        model.chmod(0o644)
        content = bytearray(model.read_bytes())
        content[-20] ^= 1
        model.write_bytes(bytes(content))
    assert project.refused("verify", live, code=1)["code"] == "HF601"
    assert project.refused("deploy", other, "--as", "new", code=1)["code"] == "HF601"
    assert project.refused("rollout", other, "--as", "town", code=1)["code"] == "HF601"
    assert [d["name"] for d in project.run("list", "deployments")["deployments"]] == ["town"]
    assert project.refused("score", "live.parquet", "--with", "town", code=1)["code"] == "HF601"
    error = project.refused("serve", "--port", 0, "--control-port", 0, code=1)
    assert error["code"] == "HF601"
    assert "model.onnx" in error["what"]


def test_an_edited_contract_with_a_mistake_names_the_field(project):
    text = project.call("inspect", "town@live", "--contract")[1]
    for wrong, told in (
        (("FP64", "FLOAT"), "FLOAT"),
        (("datatype", "datatipe"), "datatipe"),
        (("area", "aera"), "aera"),
    ):
        (project.folder / "contract.yaml").write_text(text.replace(*wrong))
        error = project.refused("build", "model.skops", *MARKS, "--contract", "contract.yaml", code=1)
        assert told in error["what"] + error["where"], error
    (project.folder / "contract.yaml").write_text(text)
    project.run("build", "model.skops", *MARKS, "--contract", "contract.yaml")


# ---------------------------------------------------------------------------------------------- workspaces


def test_no_workspace_and_one_from_a_newer_version(project, tmp_path):
    assert "holdfast init" in Project(tmp_path).refused("status", code=1)["next"]
    mark = project.folder / ".holdfast" / "format"
    version = mark.read_text()
    mark.write_text("99\n")
    error = project.refused("status", code=1)
    assert "newer" in error["what"]
    assert "upgrade" in error["next"]
    mark.write_text(version)
    project.run("status")


def test_a_setting_that_does_not_exist_is_named(project):
    (project.folder / "holdfast.toml").write_text("[serve]\nprot = 1\n")
    assert "prot" in project.refused("status", code=2)["what"]


# ---------------------------------------------------------------------------------------------- HTTP


def test_bad_requests_are_answered_with_what_where_and_next(project):
    cases = {
        "malformed": (400, b'{"instances": [', ""),
        "no instances": (400, b"{}", "instances"),
        "NaN": (422, b'{"instances": [{"area": NaN, "rooms": 3, "kind": "flat"}]}', ""),
        "inf": (400, b'{"instances": [{"area": 1e999, "rooms": 3, "kind": "flat"}]}', "no float can hold"),
        "unknown column": (422, json.dumps({"instances": [ROW, ROW | {"aera": 1}]}).encode(), "aera"),
        "missing column": (422, json.dumps({"instances": [ROW, {"rooms": 3, "kind": "flat"}]}).encode(), "area"),
        "wrong type": (422, json.dumps({"instances": [ROW, ROW | {"area": "large"}]}).encode(), "area"),
        "a fraction of a room": (422, json.dumps({"instances": [ROW | {"rooms": 2.5}]}).encode(), "rooms"),
        "null": (422, json.dumps({"instances": [ROW | {"area": None}]}).encode(), "area"),
    }
    with project.serving() as server, httpx.Client(base_url=server.inference, timeout=30) as client:
        for name, (status, body, named) in cases.items():
            answer = client.post("/v1/models/town:predict", content=body)
            told = answer.json()
            assert answer.status_code == status, (name, answer.text)
            assert named in told["detail"], (name, told)
            assert told["next"], (name, told)
            assert told["code"].startswith("HF3")
        assert client.post("/v1/models/town:predict", content=cases["wrong type"][1]).json()["row"] == 1
        huge = client.post("/v1/models/town:predict", content=b" " * (17 << 20))
        assert huge.status_code == 413
        unknown = predict(client, name="twon")
        assert unknown.status_code == 404
        assert "did you mean 'town'" in unknown.text
        assert predict(client).status_code == 200, "and the server still serves"
        assert server.stop() == 0
    row = project.run("status", "town")["row"]
    assert row["rows"] == 1
    assert row["refused"] >= len(cases)


def test_a_port_in_use(project):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        error = project.refused("serve", "--port", port, "--control-port", 0, code=1)
    assert error["code"] == "HF900"
    assert str(port) in error["what"] + error["where"]


def test_replayed_requests_that_are_refused_before_the_first_event_time(project):
    """A replay's clock has not begun yet: refusals and labels must not start it at the wall clock."""
    live, other = releases(project)
    project.run("deploy", live, "--as", "old", "--at", "2024-03-01")
    with project.serving("--replay") as server, httpx.Client(base_url=server.inference, timeout=30) as client:
        assert predict(client, ROW | {"area": "large"}, "old").status_code == 422
        time.sleep(2.5)  # the keeper looks
        answer = predict(client, ROW | {"sold": "2024-03-02T00:00:00"}, "old")
        assert answer.status_code == 200, answer.text
        assert server.stop() == 0
    row = project.run("status", "old")["row"]
    assert (row["rows"], row["refused"]) == (1, 1)
    at = project.run("deploy", other, "--as", "old")["deployment"]["since"]
    assert at == 1_709_337_600_000_000, "the deployment clock is the replay's"


# ---------------------------------------------------------------------------------------------- Ctrl-C, traffic, gates


def test_ctrl_c_during_score_loses_nothing_that_was_logged(project):
    project.write("many.parquet", "select t.* from 'live.parquet' t, range(400)")
    scoring = project.start("score", "many.parquet", "--with", "town", "--replay")
    deadline = time.monotonic() + 60
    while not any(f.stat().st_size > 1 << 20 for f in project.folder.glob(".holdfast/log/**/*.wal")):
        assert scoring.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    scoring.send_signal(signal.SIGINT)
    _, said = scoring.communicate()
    assert scoring.returncode == 130
    assert "Traceback" not in said
    assert "stopped" in said
    assert not (project.folder / "many.scored.parquet").exists()
    done = project.run("monitor", "--once")["counted"]
    assert done["damaged"] == 0
    assert 0 < done["rows"] < 600_000
    assert done["rows"] % 20_000 == 0


def test_two_workers_count_what_the_clients_counted(project):
    with project.serving("--workers", 2) as server:

        def ask(_: int) -> list[str]:
            with httpx.Client(base_url=server.inference, timeout=30) as client:
                answers = [predict(client) for _ in range(100)]
            assert {a.status_code for a in answers} == {200}
            return [a.json()["predictions"][0]["id"] for a in answers]

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            ids = [i for found in pool.map(ask, range(8)) for i in found]
        with httpx.Client(base_url=server.inference) as client:
            assert len(list((project.folder / ".holdfast/run/workers").iterdir())) == 2
            assert client.get("/metrics").status_code == 200
        assert server.stop() == 0
    assert len(set(ids)) == 800
    assert project.run("status", "town")["row"]["rows"] == 800


def test_promote_and_rollback_lose_no_request(project):
    live, other = releases(project)
    answered: list[tuple[int, str]] = []
    done = threading.Event()
    with project.serving("--workers", 2) as server:

        def load() -> None:
            with httpx.Client(base_url=server.inference, timeout=30) as client:
                while not done.is_set():
                    answer = predict(client)
                    answered.append((answer.status_code, answer.headers.get("x-holdfast-release", "")))

        clients = [threading.Thread(target=load) for _ in range(2)]
        for client in clients:
            client.start()
        try:
            told = project.run("rollout", other, "--as", "town", "--share", "0.5")
            assert told["in_force"] == told["workers"] == 2
            project.run("promote", "town")
            project.run("rollback", "town")
        finally:
            done.set()
            for client in clients:
                client.join()
        assert server.stop() == 0
    assert {status for status, _ in answered} == {200}
    assert project.run("status", "town")["row"]["live"] == live
    code, out, _ = project.call("history", "town", "--json")
    assert code == 0
    assert [e["verb"] for e in json.loads(out)["events"]] == ["deploy", "canary", "promote", "rollback"]
    assert len(answered) > 20


def test_promote_without_a_canary_and_rollback_without_a_past(project):
    assert "canary" in project.refused("promote", "town", code=1)["what"]
    assert project.refused("rollback", "town", code=1)["code"] == "HF201"


def test_retrain_refuses_to_learn_from_a_broken_feed(project):
    (project.folder / "holdfast.toml").write_text(
        '[deployments.fed]\ntrain = "train.py:train"\ndata = "original.parquet"\n'
    )
    live, _ = releases(project)
    project.run("deploy", live, "--as", "fed", "--at", "2024-03-01")
    for name in ("live", "broken"):
        project.run("score", f"{name}.parquet", "--with", "fed", "--replay", "--out", f"{name}.scored.parquet")
    project.run("label", "live.scored.parquet", "--for", "fed")
    [fault, *_] = [a for a in project.run("alarms", "--open")["alarms"] if a["cause"] == "pipeline fault"]
    assert "area" in fault["columns"]
    error = project.refused("retrain", "fed", code=3)
    assert error["code"] == "HF800"
    assert "area" in error["what"]
    assert fault["id"] in error["next"]


def test_labels_by_a_hashed_key_find_their_predictions(project):
    text = project.call("inspect", "town@live", "--contract")[1]
    for policy, code in (("hash", 0), ("drop", 1)):
        edited = text.replace("name: house", f"name: house\n    log: {policy}")
        assert edited != text
        (project.folder / "contract.yaml").write_text(edited)
        release = project.run("build", "model.skops", *MARKS, "--contract", "contract.yaml", "--name", policy)[
            "release"
        ]
        project.run("deploy", release, "--as", policy, "--at", "2024-03-01")
        project.run("score", "live.parquet", "--with", policy, "--replay", "--out", f"{policy}.parquet")
        if code:
            assert "kept out of the log" in project.refused("label", "live.parquet", "--for", policy, code=code)["what"]
        else:
            assert project.run("label", "live.parquet", "--for", policy)["joined"] == 1500
            logged = b"".join(f.read_bytes() for f in (project.folder / ".holdfast/log").rglob("*") if f.is_file())
            assert b"2-1499" not in logged


def test_help_and_a_closed_pipe(project):
    code, out, _ = project.call("--help")
    assert code == 0
    assert "registry > build > release" in out
    shell = f"{sys.executable} -m holdfast list --json | head -c 10"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", shell], cwd=project.folder, capture_output=True, text=True)
    assert done.stderr == ""
    assert Path(project.folder / "holdfast.toml").exists()
