"""From what a release was made, and made again: git, a real DVC with a local remote, the command line."""

import json
import shutil
from pathlib import Path

import pytest
from tests.integration.landlord import BUILD, Landlord

pytestmark = pytest.mark.xdist_group("lineage")


@pytest.fixture(scope="module")
def first(tmp_path_factory, dvc):
    """The landlord's project with one release."""
    ground = tmp_path_factory.mktemp("ground")
    landlord = Landlord(ground / "rents", dvc)
    landlord.folder.mkdir()
    commit = landlord.begin(ground / "store")
    release = landlord.run("build", *BUILD)["release"]
    return landlord, commit, release


def test_the_chain_from_raw_data_to_release_is_told(first):
    landlord, commit, release = first
    told = landlord.run("inspect", release)
    data, code = told["manifest"]["data"], told["manifest"]["code"]
    assert code == {"commit": commit, "dirty": False}
    assert data["path"] == "held/reference.parquet"
    assert data["rows"] == 400
    assert data["dvc"]["version"]["stage"] == "train"
    inputs = {entry["path"]: entry for entry in data["training"]["dvc"]["inputs"]}
    assert inputs["data/rents.parquet"]["pinned_by"] == "data/rents.parquet.dvc"
    assert set(inputs) == {"data/rents.parquet", "train.py"}
    assert data["training"]["dvc"]["params"] == {"params.yaml": {"alpha": 1.0}}
    drawn = landlord.call("inspect", release)[1]
    for line in (
        "rents  ",
        "├── model  models:/rents/1 (sklearn)",
        "trained by step 'train'",
        f"commit {commit}, clean",
    ):
        assert line in drawn
    assert f"data/rents.parquet  md5 {inputs['data/rents.parquet']['md5']}, data/rents.parquet.dvc" in drawn


def test_two_checkouts_give_the_same_bytes(first, tmp_path):
    landlord, _, release = first
    one, other = (landlord.clone(tmp_path / name) for name in ("one", "other"))
    made = [project.run("build", *BUILD)["release"] for project in (one, other)]
    assert made == [release, release]
    contents = [
        {
            path.relative_to(project.folder).as_posix(): path.read_bytes()
            for path in (project.folder / ".holdfast" / "releases" / release).iterdir()
            if path.is_file()
        }
        for project in (one, other)
    ]
    assert contents[0] == contents[1]
    assert len(contents[0]) >= 6


def test_new_data_are_named_by_diff_and_the_old_release_still_reproduces(first, tmp_path):
    landlord, _, old = first
    project = Landlord(tmp_path / "rents", landlord._dvc)
    shutil.copytree(landlord.folder, project.folder)
    project.vintage(1)
    new = project.run("build", *BUILD)["release"]
    changed = project.run("diff", old, new)["data"]
    raw = changed["training data/rents.parquet"]
    assert raw[0] != raw[1]
    assert raw[0].startswith("md5 ")
    assert "sha256" in changed
    assert "training data/rents.parquet" in project.call("diff", old, new)[1]
    # Neither the workspace's files nor DVC's cache have the old rows any more: only the remote does.
    shutil.rmtree(project.folder / ".dvc" / "cache")
    done = project.run("reproduce", old, "--in", tmp_path / "again")
    assert done == {"release": old, "rebuilt": old, "same": True, "differences": {}}
    assert (tmp_path / "again" / "releases" / old / "model.onnx").is_file()
    assert (tmp_path / "again" / "checkout" / "train.py").is_file()
    code, _, said = project.call("reproduce", new)
    assert code == 0
    assert "every byte is the same" in said


def test_a_dirty_tree_is_refused_and_an_allowed_one_is_recorded(first, tmp_path):
    landlord, commit, _ = first
    project = landlord.clone(tmp_path / "dirty")
    (project.folder / "train.py").write_text("# more\n")
    error = project.refused("build", *BUILD, code=3)
    assert error["code"] == "HF800"
    assert commit[:12] in error["what"]
    assert not list((project.folder / ".holdfast" / "releases").iterdir())
    made = project.run("build", *BUILD, "--allow-dirty")["release"]
    code = project.run("inspect", made)["manifest"]["code"]
    assert code["dirty"] is True
    assert len(code["changes"]) == 64
    assert "uncommitted changes" in project.refused("reproduce", made, code=3)["what"]


def test_moved_data_are_refused_by_name(first, tmp_path):
    landlord, _, release = first
    project = landlord.clone(tmp_path / "moved")
    reference = project.folder / "held" / "reference.parquet"
    kept = reference.read_bytes()
    reference.unlink()
    (reference.parent / "reference.parquet").write_bytes(kept[:-1] + b"x")
    error = project.refused("build", *BUILD, code=1)
    assert error["code"] == "HF503"
    assert "dvc checkout" in error["next"]
    # Absent is no harm: what is pinned is fetched.
    reference.unlink()
    assert project.run("build", *BUILD)["release"] == release
    # A damaged store is noticed.
    md5 = project.run("inspect", release)["manifest"]["data"]["dvc"]["version"]["md5"]
    for store in (project.folder / ".dvc" / "cache", Path(project.tool("dvc", "remote", "list").split()[1])):
        damaged = store / "files" / "md5" / md5[:2] / md5[2:]
        damaged.chmod(0o644)
        damaged.write_bytes(b"other rows")
    assert "is damaged" in project.refused("build", *BUILD, code=1)["what"]
    damaged.write_bytes(kept)


def test_what_memory_held_is_asked_for(first, tmp_path):
    """A release from a notebook names no file; with the same rows it is rebuilt, with others refused."""
    landlord, _, _ = first
    project = landlord.clone(tmp_path / "notebook")
    project.run("init")
    script = """
import json, duckdb, skops.io
from holdfast.notebook import build_release
rents = duckdb.read_parquet("held/reference.parquet").df()
made = build_release(skops.io.load("model.skops"), rents[["area", "floor"]], rents["rent"], name="rents")
print(json.dumps(made.digest))
"""
    release = json.loads(project.tool("python", "-c", script).splitlines()[-1])
    assert "handed over in memory" in project.refused("reproduce", release, code=1)["what"]
    assert project.refused("reproduce", release, "--reference", "data/rents.parquet", code=1)["code"] == "HF503"
