"""A release built again where the project has no DVC: files, memory, git; and what cannot be had any more."""

import subprocess

import duckdb
import msgspec
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge
from tests.integration import incomes

from holdfast.backends.duckdb import DuckTables
from holdfast.backends.dvc import DvcData
from holdfast.backends.git import checkout, code_state
from holdfast.build.lineage import data_of_file
from holdfast.build.pipeline import build
from holdfast.build.python import build_release
from holdfast.build.reproduce import Project, reproduce
from holdfast.build.translate import Marks
from holdfast.columns import dump_yaml
from holdfast.errors import BuildError, GateRefused, MovedData, NotFound
from holdfast.release.compare import diff

pytestmark = pytest.mark.xdist_group("build")
MARKS = Marks(label="rent", timestamp="day", others={"floor": ("protected",)})


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    return incomes.parts(tmp_path_factory.mktemp("workspace"))


@pytest.fixture
def project(tmp_path):
    (tmp_path / "project").mkdir()
    return Project(tmp_path / "project", DuckTables(), DvcData(), code_state, checkout)


def rents(seed=0):
    rng = np.random.default_rng(seed)
    area = rng.normal(70, 20, 600).round(1)
    days = pd.Timestamp("2024-01-01") + pd.to_timedelta(np.arange(600) // 6, unit="D")
    return pd.DataFrame(
        {"area": area, "floor": rng.integers(0, 9, 600), "day": days, "rent": 11 * area + rng.normal(0, 40, 600)}
    )


def model():
    data = rents(9)
    return Ridge().fit(data[["area", "floor"]], data["rent"])


def build_from_file(parts, project, marks=MARKS, **named):
    path = project.folder / "reference.parquet"
    if not path.exists():
        duckdb.from_df(rents()).write_parquet(str(path))
    data = data_of_file(project.tables, path, project=project.folder, versions=project.versions)
    return build(parts, model(), data, marks=marks, name="rents", code=project.code_state(project.folder), **named)


def git(folder, *arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


def test_a_project_outside_git_is_its_own_ground(parts, project, tmp_path):
    release = build_from_file(parts, project, purpose="What a flat costs.")
    assert release.manifest.code == {}
    assert release.manifest.data["path"] == "reference.parquet"
    done = reproduce(parts, project, release, tmp_path / "again")
    assert done.same
    assert done.differences == {}
    reference = project.folder / "reference.parquet"
    duckdb.from_df(rents(1)).write_parquet(str(reference))
    with pytest.raises(MovedData, match="no longer what the release was built on") as refused:
        reproduce(parts, project, release, tmp_path / "moved")
    assert "--reference" in refused.value.next_step
    duckdb.from_df(rents()).write_parquet(str(tmp_path / "kept.parquet"))
    assert reproduce(parts, project, release, tmp_path / "named", reference=tmp_path / "kept.parquet").same
    with pytest.raises(MovedData):
        reproduce(parts, project, release, tmp_path / "wrong", reference=reference)


def test_a_contract_of_the_users_own_and_a_parent_are_part_of_it(parts, project, tmp_path):
    first = build_from_file(parts, project)
    own = dump_yaml(first.contract).replace("- name: area\n", "- name: area\n    on_violation: reject\n", 1)
    marks = Marks(label="rent", timestamp="day", contract=own)
    release = build_from_file(parts, project, marks=marks, parent=first)
    assert release.manifest.recipe["contract"] is True
    assert reproduce(parts, project, release, tmp_path / "again").same
    orphan = msgspec.structs.replace(release.manifest, parent="0" * 64)
    object.__setattr__(release, "manifest", orphan)
    with pytest.raises(NotFound):
        reproduce(parts, project, release, tmp_path / "orphan")


def test_what_git_keeps_is_taken_from_the_commit(parts, project, tmp_path):
    git(project.folder, "init")
    duckdb.from_df(rents()).write_parquet(str(project.folder / "reference.parquet"))
    git(project.folder, "add", ".")
    git(project.folder, "commit", "-m", "first")
    release = build_from_file(parts, project)
    duckdb.from_df(rents(1)).write_parquet(str(project.folder / "reference.parquet"))
    with pytest.raises(GateRefused, match="files differ from commit"):
        build_from_file(parts, project)
    dirty = build_from_file(parts._replace(allow_dirty=True), project)
    assert dirty.manifest.code["dirty"]
    assert len(dirty.manifest.code["changes"]) == 64
    with pytest.raises(GateRefused, match="uncommitted changes"):
        reproduce(parts, project, dirty, tmp_path / "dirty")
    git(project.folder, "commit", "-am", "other rents")
    done = reproduce(parts, project, release, tmp_path / "again")
    assert done.same
    assert (tmp_path / "again" / "checkout" / "reference.parquet").is_file()
    changed = diff(release, build_from_file(parts, project))
    assert {"sha256"} == set(changed["data"])
    assert "commit" in changed["code"]


def test_rows_from_memory_are_asked_for_and_must_be_the_same(parts, project, tmp_path):
    data = rents()
    release = build_release(parts, model(), data.drop(columns="rent"), data["rent"], name="rents", timestamp="day")
    with pytest.raises(BuildError, match="handed over in memory") as refused:
        reproduce(parts, project, release, tmp_path / "a")
    assert "--reference" in refused.value.next_step
    for seed, name in ((0, "same.parquet"), (1, "other.parquet")):
        duckdb.from_df(rents(seed)).write_parquet(str(tmp_path / name))
    assert reproduce(parts, project, release, tmp_path / "b", reference=tmp_path / "same.parquet").same
    with pytest.raises(MovedData, match="not the rows"):
        reproduce(parts, project, release, tmp_path / "c", reference=tmp_path / "other.parquet")


def test_what_comes_out_differently_is_named(parts, project, tmp_path):
    release = build_from_file(parts, project)
    older = msgspec.structs.replace(release.manifest, builder={**release.manifest.builder, "numpy": "1.0"})
    object.__setattr__(release, "manifest", older)
    object.__setattr__(release, "digest", older.digest)
    done = reproduce(parts, project, release, tmp_path / "again")
    assert not done.same
    assert set(done.differences) == {"dependencies"}
    assert done.differences["dependencies"]["numpy"][0] == "1.0"
