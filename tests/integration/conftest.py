"""Makes what stands in `tests/` importable for the tests beside it; a town that sells houses, for the tests of the commands."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.integration.project import Project
from tests.integration.selling import MARKS, TRAIN


@pytest.fixture(scope="session")
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
