"""From what a release was made, and made again: git, a real DVC with a local remote, the command line."""

import shutil

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


def copied(landlord, folder):
    """The whole project, workspace and all; unlike a clone it needs no DVC to be ready."""
    shutil.copytree(landlord.folder, folder, symlinks=True)
    return Landlord(folder, landlord._dvc)


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


def test_another_checkout_gives_the_same_bytes_with_data_fetched_by_their_hashes(first, tmp_path):
    landlord, _, release = first
    other = landlord.clone(tmp_path / "other", "model.skops")  # the reference is not pulled: the build fetches it
    assert not (other.folder / "held").exists()
    assert other.run("build", *BUILD)["release"] == release
    contents = [
        {path.name: path.read_bytes() for path in (project.folder / ".holdfast" / "releases" / release).glob("*.*")}
        for project in (landlord, other)
    ]
    assert contents[0] == contents[1]
    assert {"manifest.json", "model.onnx", "card.md"} < set(contents[0])


def test_new_data_are_named_by_diff_and_the_old_release_still_reproduces(first, tmp_path):
    landlord, _, old = first
    project = copied(landlord, tmp_path / "rents")
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


def test_a_dirty_tree_is_refused(first, tmp_path):
    landlord, commit, _ = first
    project = copied(landlord, tmp_path / "dirty")
    (project.folder / "train.py").write_text("# more\n")
    error = project.refused("build", *BUILD, code=3)
    assert error["code"] == "HF800"
    assert commit[:12] in error["what"]
    assert len(project.run("list")["releases"]) == 1


def test_moved_data_are_refused_by_name(first, tmp_path):
    project = copied(first[0], tmp_path / "moved")
    reference = project.folder / "held" / "reference.parquet"
    content = reference.read_bytes()
    reference.unlink()  # DVC may have linked it into its cache
    reference.write_bytes(content[:-1] + b"x")
    error = project.refused("build", *BUILD, code=1)
    assert error["code"] == "HF503"
    assert "dvc checkout" in error["next"]
