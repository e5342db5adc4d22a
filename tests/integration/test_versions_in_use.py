"""Aliases that are followed, approvals, and what was live when; on the town's project, with a real registry and a real server."""

import subprocess
import sys
import time

import pytest
from tests.integration.selling import releases

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("cli")]
FOLLOW = '[registry]\ninterval_s = 0.2\n[deployments.town]\nfollow = "champion"\n'
REGISTRY = (
    "import sys, pathlib; from holdfast.workspace import open_workspace; registry = open_workspace('.').registry; "
)


@pytest.fixture(name="following")
def with_a_followed_alias(project):
    (project.folder / "holdfast.toml").write_text(FOLLOW)
    registry(project, "registry.set_alias('town', 'champion', '1')")
    return project


def registry(project, code):
    subprocess.run([sys.executable, "-c", REGISTRY + code], cwd=project.folder, check=True, capture_output=True)


def advice(project):
    return project.run("status")["deployments"][0]["advice"]


def test_the_running_server_builds_and_proposes_what_an_alias_moved_to(following):
    old, new = releases(following)
    with following.serving():
        registry(following, "registry.set_alias('town', 'champion', '2')")
        deadline = time.monotonic() + 120
        while not advice(following):
            assert time.monotonic() < deadline, "nobody looked"
            time.sleep(0.5)
    assert "is what champion means now (models:/town/2)" in advice(following)
    event = following.run("history", "town")["events"][-1]
    # On the live release's reference, with its marks: exactly what a person had built before.
    assert (event["verb"], event["release"], event["data"]["model"]) == ("propose", new, "models:/town/2")
    assert following.run("follow")["followed"][0]["release"] == ""  # told once
    assert "champion is models:/town/2" in following.call("history", "town")[1]
    following.run("rollout", new, "--as", "town")
    assert advice(following) == ""
    following.run("promote", "town")
    row = following.run("status")["deployments"][0]
    assert (row["live"], row["model"], row["advice"]) == (new, "models:/town/2", "")
    then = following.run("history", "town", "--at", "2100-01-01")
    assert (then["release"], then["model"], then["verb"]) == (new, "models:/town/2", "promote")
    release, _, until, _, who = following.run("history", "town")["tenures"][0]
    assert release == old
    assert until is not None
    assert who


def test_an_approval_is_signed_recorded_and_told(project):
    new = releases(project)[1]
    event = project.run("approve", new, "--as", "town", "--note", "checked by hand")
    assert event["data"]["metric"] == "rmse"
    links = {link["what"]: link for link in project.run("inspect", new)["lineage"]["links"]}
    assert [link["what"] for link in links["signed later"]["links"]] == ["approval:v1"]
    told = advice(project)
    assert told == "" or new[:12] in told
    project.run("rollout", new, "--as", "town")
    assert advice(project) == ""
    assert project.refused("approve", new, "--as", "nowhere", code=1)["code"] == "HF200"
