"""The state of the user's code, from a real git."""

import subprocess

import pytest

from holdfast.backends.git import checkout, code_state
from holdfast.errors import BuildError


def git(folder, *arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


def test_commit_and_dirtiness(tmp_path):
    assert code_state(tmp_path) == {}
    git(tmp_path, "init")
    assert code_state(tmp_path) == {}
    (tmp_path / "train.py").write_text("a = 1\n")
    git(tmp_path, "add", "train.py")
    git(tmp_path, "commit", "-m", "first")
    state = code_state(tmp_path)
    assert len(state["commit"]) == 40
    assert state["dirty"] is False
    (tmp_path / "data.csv").write_text("not code")
    assert code_state(tmp_path)["dirty"] is False
    (tmp_path / "train.py").write_text("a = 2\n")
    dirty = code_state(tmp_path)
    assert dirty["commit"] == state["commit"]
    assert dirty["dirty"] is True
    (tmp_path / "train.py").write_text("a = 3\n")
    assert code_state(tmp_path)["changes"] != dirty["changes"]
    (tmp_path / "train.py").write_text("a = 2\n")
    assert code_state(tmp_path) == dirty


def test_a_folder_that_only_happens_to_lie_in_a_repository(tmp_path):
    git(tmp_path, "init")
    (tmp_path / "a.py").write_text("")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    (tmp_path / "demo").mkdir()
    (tmp_path / "a.py").write_text("changed\n")
    assert code_state(tmp_path)["dirty"] is True
    assert code_state(tmp_path / "demo") == {}


def test_a_repository_that_git_cannot_read_is_not_taken_for_none(tmp_path):
    (tmp_path / ".git").mkdir()
    state = code_state(tmp_path)
    assert state["commit"] == ""
    assert "not a git repository" in state["why"]


def test_a_checkout_of_an_older_commit(tmp_path):
    project = tmp_path / "all" / "project"
    project.mkdir(parents=True)
    git(tmp_path / "all", "init")
    (project / "train.py").write_text("old")
    git(tmp_path / "all", "add", ".")
    git(tmp_path / "all", "commit", "-m", "first")
    commit = code_state(project)["commit"]
    (project / "train.py").write_text("new")
    git(tmp_path / "all", "commit", "-am", "second")
    found = checkout(project, commit, tmp_path / "again")
    assert found == tmp_path / "again" / "project"
    assert (found / "train.py").read_text() == "old"
    assert code_state(found) == {"commit": commit, "dirty": False}
    assert code_state(project)["commit"] != commit
    with pytest.raises(BuildError, match="commit 0123") as refused:
        checkout(project, "0123" * 10, tmp_path / "never")
    assert refused.value.next_step == "git fetch"
    with pytest.raises(BuildError, match="no git repository"):
        checkout(tmp_path, commit, tmp_path / "never")


def test_a_folder_that_is_not_there(tmp_path):
    assert code_state(tmp_path / "nowhere") == {}
