"""What DVC's files say, in every form that they take; the real DVC has its say in the integration tests."""

import hashlib
import json

import pytest
import yaml

from holdfast.backends.dvc import DvcData
from holdfast.core.lineage import DataVersion
from holdfast.errors import MovedData


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


class Project:
    """A folder as DVC leaves it."""

    def __init__(self, root):
        self.root = root
        (root / ".dvc").mkdir(parents=True)
        self.cache = root / ".dvc" / "cache"

    def put(self, content: bytes, store=None, layout="files/md5/", suffix="") -> str:
        name = md5(content)
        place = (store or self.cache) / f"{layout}{name[:2]}" / f"{name[2:]}{suffix}"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
        return name + suffix

    def pin(self, path: str, digest: str, **more) -> None:
        target = self.root / f"{path}.dvc"
        target.parent.mkdir(parents=True, exist_ok=True)
        outs = [{"path": target.name.removesuffix(".dvc"), "md5": digest}]
        target.write_text(yaml.safe_dump({"outs": outs} | more))

    def lock(self, folder: str = ".", **stages) -> None:
        (self.root / folder / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}))


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path / "project")


def test_outside_dvc_nothing_is_pinned(tmp_path, project):
    assert DvcData().origin(tmp_path / "a.csv") is None
    assert DvcData().origin(project.root / "a.csv") is None
    with pytest.raises(MovedData, match="no DVC project"):
        DvcData().fetch(DataVersion(path="a", md5="0" * 32, pinned_by="a.dvc"), tmp_path, tmp_path / "b")


def test_an_added_file_is_pinned_and_fetched(project, tmp_path):
    project.pin("data/a.csv", project.put(b"1,2\n"))
    origin = DvcData().origin(project.root / "data" / "a.csv")
    assert origin.version == DataVersion(path="data/a.csv", md5=md5(b"1,2\n"), pinned_by="data/a.csv.dvc")
    assert origin.inputs == ()
    fetched = DvcData().fetch(origin.version, project.root / "data", tmp_path / "got" / "a.csv")
    assert fetched.read_bytes() == b"1,2\n"


def test_a_file_that_is_not_the_pinned_one_is_refused(project):
    project.pin("a.csv", md5(b"old"))
    (project.root / "a.csv").write_bytes(b"new")
    with pytest.raises(MovedData, match="is not what") as refused:
        DvcData().origin(project.root / "a.csv")
    assert "dvc commit a.csv" in refused.value.next_step
    (project.root / "a.csv").write_bytes(b"old")
    assert DvcData().origin(project.root / "a.csv") is not None


def test_files_of_a_folder(project, tmp_path):
    listing = [{"md5": project.put(b"x"), "relpath": "x.csv"}, {"md5": project.put(b"y"), "relpath": "in/y.csv"}]
    project.pin("data", project.put(json.dumps(listing).encode(), suffix=".dir"))
    whole = DvcData().origin(project.root / "data").version
    assert whole.md5.endswith(".dir")
    folder = DvcData().fetch(whole, project.root, tmp_path / "data")
    assert {p.relative_to(folder).as_posix() for p in folder.rglob("*.csv")} == {"x.csv", "in/y.csv"}
    one = DvcData().origin(project.root / "data" / "in" / "y.csv").version
    assert (one.path, one.md5) == ("data/in/y.csv", md5(b"y"))
    assert DvcData().origin(project.root / "data" / "z.csv") is None


@pytest.mark.parametrize("name", ["../out.csv", "/etc/out.csv", "a/../../out.csv"])
def test_a_folder_never_reaches_outside(project, tmp_path, name):
    listing = [{"md5": project.put(b"x"), "relpath": name}]
    project.pin("data", project.put(json.dumps(listing).encode(), suffix=".dir"))
    version = DataVersion(path="data", md5=md5(json.dumps(listing).encode()) + ".dir", pinned_by="data.dvc")
    with pytest.raises(MovedData, match="outside"):
        DvcData().fetch(version, project.root, tmp_path / "in" / "data")
    assert not list(tmp_path.rglob("out.csv"))


def test_a_chain_of_steps_with_parameters_and_a_working_folder(project):
    (project.root / "steps").mkdir()
    (project.root / "steps" / "dvc.yaml").write_text(
        "stages: {clean: {wdir: ../work}, train: {foreach: [a], do: {cmd: x}}}"
    )
    raw, clean = md5(b"raw"), md5(b"clean")
    project.pin("raw.csv", raw)
    project.lock(
        "steps",
        clean={"deps": [{"path": "../raw.csv", "md5": raw}], "outs": [{"path": "clean.csv", "md5": clean}]},
        **{
            "train@a": {
                "deps": [{"path": "../work/clean.csv", "md5": clean}, {"path": "s3://bucket/more"}],
                "params": {"params.yaml": {"depth": 3}},
                "outs": [{"path": "model.onnx", "md5": md5(b"model")}],
            }
        },
    )
    origin = DvcData().origin(project.root / "steps" / "model.onnx")
    assert origin.version.stage == "train@a"
    # The output of `clean` lies outside the folder of its dvc.lock: who read it says so, and that is all that is known.
    assert [(i.path, i.md5) for i in origin.inputs] == [("work/clean.csv", clean)]
    assert origin.params == {"params.yaml": {"depth": 3}}


def test_all_that_earlier_steps_read_belongs_to_it(project):
    raw, clean = md5(b"raw"), md5(b"clean")
    project.pin("raw.csv", raw)
    stages = {
        "clean": {"deps": [{"path": "raw.csv", "md5": raw}], "outs": [{"path": "clean.csv", "md5": clean}]},
        "train": {"deps": [{"path": "clean.csv", "md5": clean}], "outs": [{"path": "m.onnx", "md5": md5(b"m")}]},
    }
    project.lock(**stages)
    origin = DvcData().origin(project.root / "m.onnx")
    assert [(i.path, i.pinned_by, i.stage) for i in origin.inputs] == [
        ("clean.csv", "dvc.lock", "clean"),
        ("raw.csv", "raw.csv.dvc", ""),
    ]
    stages["clean"]["outs"][0]["md5"] = md5(b"cleaner")
    project.lock(**stages)
    with pytest.raises(MovedData, match="read another") as refused:
        DvcData().origin(project.root / "m.onnx")
    assert refused.value.next_step == "dvc repro"


def test_remotes_of_this_machine_in_both_layouts(project, tmp_path):
    (tmp_path / "near").mkdir()
    old = tmp_path / "old"
    digest = project.put(b"a\nb\n", store=old, layout="")
    (project.root / ".dvc" / "config").write_text(
        f"[core]\n    remote = near\n['remote \"cloud\"']\n    url = s3://bucket/x\n['remote \"old\"']\n    url = {old}\n"
    )
    (project.root / ".dvc" / "config.local").write_text("['remote \"near\"']\n    url = ../../near\n")
    version = DataVersion(path="a.csv", md5=digest, pinned_by="a.csv.dvc")
    assert DvcData().fetch(version, project.root, tmp_path / "a.csv").read_bytes() == b"a\nb\n"
    missing = DataVersion(path="b.csv", md5=md5(b"never"), pinned_by="b.csv.dvc")
    with pytest.raises(MovedData, match="s3://bucket/x is not read by Holdfast") as refused:
        DvcData().fetch(missing, project.root, tmp_path / "b.csv")
    assert "dvc fetch b.csv" in refused.value.next_step
    assert not (tmp_path / "b.csv").exists()


def test_a_damaged_copy_is_passed_over_for_a_good_one(project, tmp_path):
    digest = project.put(b"good")
    store = tmp_path / "store"
    project.put(b"good", store=store)
    (project.cache / "files" / "md5" / digest[:2] / digest[2:]).write_bytes(b"bad")
    version = DataVersion(path="a.csv", md5=digest, pinned_by="a.csv.dvc")
    with pytest.raises(MovedData, match="damaged"):
        DvcData().fetch(version, project.root, tmp_path / "a.csv")
    (project.root / ".dvc" / "config").write_text(f"['remote \"x\"']\nurl = file://{store}\n")
    assert DvcData().fetch(version, project.root, tmp_path / "a.csv").read_bytes() == b"good"


def test_windows_line_ends_as_dvc_before_3_hashed_them(project):
    project.pin("a.csv", md5(b"1\n2\n"))
    (project.root / "a.csv").write_bytes(b"1\r\n2\r\n")
    assert DvcData().origin(project.root / "a.csv") is not None


@pytest.mark.parametrize("text", ["outs: 3", "outs: [3]", "outs: [{md5: 1}]", "a: [", "\x00"])
def test_what_cannot_be_understood_is_an_error_with_a_next_step(project, text):
    (project.root / "a.csv.dvc").write_text(text)
    with pytest.raises(MovedData) as refused:
        DvcData().origin(project.root / "a.csv")
    assert refused.value.next_step
