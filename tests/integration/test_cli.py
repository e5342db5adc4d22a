"""Bad input and faults through the real commands: a clear error with a code and a next step, the right exit code, nothing lost."""

import json
import signal
import socket
import time

import httpx
import pytest
from tests.integration.project import Project
from tests.integration.selling import MARKS, ROW, predict, releases

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.xdist_group("cli")]


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


def test_doctor_names_a_taken_port_and_knows_its_own_server(project):
    def checks():
        _, out, _ = project.call("doctor", "--json")  # exit 1 where another program has the default ports
        return {check["check"]: check for check in json.loads(out)["checks"]}

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        (project.folder / "holdfast.toml").write_text(f"[serve]\nport = {port}\n")
        assert checks()["inference port"] == {"check": "inference port", "state": "bad", "what": f"{port} is in use"}
    assert checks()["inference port"]["state"] == "ok"
    with project.serving() as server:
        assert server.inference.removesuffix("/v2") in checks()["server"]["what"]


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
    assert scoring.returncode == 130, said
    assert "Traceback" not in said
    assert "stopped" in said
    assert not (project.folder / "many.scored.parquet").exists()
    done = project.run("monitor", "--once")["counted"]
    assert done["damaged"] == 0
    assert 0 < done["rows"] < 600_000
    assert done["rows"] % 20_000 == 0
