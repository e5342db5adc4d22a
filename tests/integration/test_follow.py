"""What comes of an alias that moves: on, back, and to a version of which no release can be made."""

import duckdb
import numpy as np
import pandas as pd
import pytest
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import Ridge
from tests.integration import incomes

from holdfast.backends.duckdb import DuckTables
from holdfast.backends.dvc import DvcData
from holdfast.backends.git import checkout, code_state
from holdfast.build.lineage import data_of_file
from holdfast.build.pipeline import build
from holdfast.build.reproduce import Project
from holdfast.build.translate import Marks
from holdfast.decide import actions
from holdfast.decide.actions import Actor
from holdfast.decide.follow import follow
from holdfast.errors import NotFound
from holdfast.release.bundle import find, read
from holdfast.status.waiting import advice
from holdfast.testing import MemoryDatabase

pytestmark = pytest.mark.xdist_group("build")


class Ground:
    """A deployment of the first version of a model, in a workspace."""

    def __init__(self, folder):
        self.parts = incomes.parts(folder / "home")
        self.project = Project(folder, DuckTables(), DvcData(), code_state, checkout)
        self.database = MemoryDatabase()
        self.actor = Actor("ann", 1, folder / "run")
        rng = np.random.default_rng(0)
        self.rows = pd.DataFrame({"area": rng.normal(70, 20, 400).round(1), "floor": rng.integers(0, 9, 400)})
        self.rows["rent"] = 11 * self.rows["area"] + rng.normal(0, 40, 400)
        duckdb.from_df(self.rows).write_parquet(str(folder / "reference.parquet"))
        for estimator in (Ridge(1e5), Ridge(), KernelRidge(kernel="cosine")):
            fitted = estimator.fit(self.rows[["area", "floor"]], self.rows["rent"])
            self.parts.registry.register_object(fitted, "rents")
        data = data_of_file(self.project.tables, folder / "reference.parquet", project=folder)
        self.live = build(self.parts, "models:/rents/1", data, marks=Marks(label="rent"))
        actions.deploy(self.database, self.actor, "rents", self.live.digest)

    def look(self, version=None, **named):
        if version is not None:
            self.parts.registry.set_alias("rents", "champion", version)
        return follow(self.parts, self.project, self.database, self.actor, self.release, "rents", "champion", **named)

    def release(self, digest):
        return read(find(self.parts.releases, digest))

    @property
    def events(self):
        with self.database.read() as stores:
            return stores.trail.read("rents")

    @property
    def advice(self):
        return advice(self.events, "rents", self.live)


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    return Ground(tmp_path_factory.mktemp("ground"))


def test_an_alias_moves_on_and_back(ground):
    with pytest.raises(NotFound):
        ground.look()  # nobody has set it
    assert ground.look("1").release == ""
    seen = ground.look("2")
    made = ground.release(seen.release)
    assert made.manifest.model.uri == "models:/rents/2"
    assert made.manifest.data == ground.live.manifest.data
    before, after = seen.changes["rmse"]
    assert after < before
    assert "is what champion means now (models:/rents/2), rmse" in ground.advice
    assert ground.look().release == ""
    assert [e.verb for e in ground.events] == ["deploy", "propose"]
    ground.look("1")
    assert ground.advice == ""
    ground.look("1")
    assert [e.verb for e in ground.events] == ["deploy", "propose", "propose"]


def test_what_cannot_be_built_is_recorded_once(ground):
    assert "KernelRidge" in ground.look("3").why
    assert "no release could be made of it" in ground.advice
    known = len(ground.events)
    assert ground.look().why == ""
    assert len(ground.events) == known
    assert "KernelRidge" in ground.look(again=True).why
    assert len(ground.events) == known + 1


def test_a_reference_that_moved_is_the_reason(ground):
    path = ground.project.folder / "reference.parquet"
    content = path.read_bytes()
    path.write_bytes(content + b"more")
    assert "no longer what the release was built on" in ground.look("2").why
    path.write_bytes(content)
    assert ground.look(again=True).release
