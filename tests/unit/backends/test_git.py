"""The state of the user's code, from a real git."""

import subprocess

from holdfast.backends.git import code_state


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
    assert code_state(tmp_path) == {"commit": state["commit"], "dirty": True}


def test_a_folder_that_is_not_there(tmp_path):
    assert code_state(tmp_path / "nowhere") == {}
