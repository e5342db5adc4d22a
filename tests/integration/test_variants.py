"""Objectives from the command line to a served variant: chosen, told, signed beside the release, planned for, built again."""

import json
import urllib.request

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from tests.integration.project import Project

import holdfast
from holdfast.build.convert.torch import exported, to_onnx
from holdfast.errors import ObjectivesUnmet
from holdfast.release.bundle import list_releases

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("torch")]

SIDE = 6


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A network as a file, and rows with labels and a group."""
    folder = tmp_path_factory.mktemp("variants")
    torch.manual_seed(3)
    module = torch.nn.Sequential(
        torch.nn.Conv2d(1, 16, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(576, 64),
        torch.nn.ReLU(),
        torch.nn.Linear(64, 3),
    ).eval()
    images = np.random.default_rng(5).normal(size=(1200, SIDE * SIDE))
    with torch.no_grad():
        kinds = module(torch.from_numpy(images).float().reshape(-1, 1, SIDE, SIDE)).argmax(1).numpy()
    kinds[::17] = 0
    table = {f"p{i:02d}": images[:, i] for i in range(SIDE * SIDE)}
    table |= {"kind": kinds.astype(float), "sex": np.array(["f", "m"] * 600, dtype=object)}
    (folder / "model.onnx").write_bytes(to_onnx(exported(module, (1, SIDE, SIDE))))
    workspace = holdfast.create_workspace(folder)
    workspace.tables.write(folder / "reference.parquet", table)
    return Project(folder)


BUILD = (
    "build",
    "model.onnx",
    "--reference",
    "reference.parquet",
    "--label",
    "kind",
    "--protected",
    "sex",
    "--name",
    "k",
)


def ask(address, rows):
    tensor = {"name": "x", "datatype": "FP32", "shape": [len(rows), 1, SIDE, SIDE], "data": rows}
    body = json.dumps({"inputs": [tensor], "outputs": [{"name": "probabilities"}]}).encode()
    with urllib.request.urlopen(urllib.request.Request(f"{address}/v2/models/k/infer", body)) as reply:
        [answer] = json.load(reply)["outputs"]
    return np.array(answer["data"]).reshape(answer["shape"])


def test_the_search_from_objectives_to_a_served_variant(project):
    told = project.run(*BUILD, "--optimise", "--max-quality-loss", "0.02", "--max-mb", "0.08", "--plot", "plot.svg")
    found = project.run("variants", told["release"], "--plot", "plot.svg")["report"]
    by_name = {
        one["recipe"]: one for one in ({**v, "recipe": "+".join(v["recipe"]["steps"])} for v in found["variants"])
    }
    assert found["objectives"]["max_mb"] == 0.08
    chosen = by_name[found["choice"]["chosen"].partition("@")[0]]
    assert chosen["mb"] <= 0.08 < by_name[""]["mb"]
    assert chosen["loss"]["high"] <= 0.02
    assert set(chosen["groups"]) == {"sex=f", "sex=m"}
    assert by_name[""]["exact"]
    assert "trees-50" in found["left_out"]
    assert (project.folder / "plot.svg").read_text().startswith("<svg")

    # A recipe alone gives the same bytes, on this machine or another.
    again = project.run(*BUILD, "--variant", found["choice"]["chosen"])
    assert again["release"] == told["release"]
    manifest = project.run("inspect", told["release"])["manifest"]
    assert manifest["variant"]["steps"] == chosen["recipe"].split("+")

    plan = project.run("capacity", told["release"], "--rps", "500", "--p99-ms", "250", "--price", "0.04")["plan"]
    assert plan["replicas"] >= 1
    assert plan["per_million"] > 0
    project.run("deploy", told["release"], "--as", "k")
    with project.serving() as server:
        rows = project.sql(
            f"select {', '.join(f'p{i:02d}' for i in range(SIDE * SIDE))} from 'reference.parquet' limit 5"
        )
        said = ask(server.inference, [list(row) for row in rows])
    assert said.shape == (5, 3)
    np.testing.assert_allclose(said.sum(axis=1), 1, atol=1e-6)


def test_what_cannot_be_met_is_told_and_nothing_is_written(project):
    workspace = holdfast.open_workspace(project.folder)
    table = workspace.tables.read(project.folder / "reference.parquet")
    kinds = table.pop("kind")
    rows = np.column_stack([values for name, values in table.items() if name != "sex"])
    model = LogisticRegression(max_iter=50).fit(rows[:600], kinds[:600])
    before = len(list_releases(workspace.releases))
    with pytest.raises(ObjectivesUnmet, match=r"max_mb .*, wanted 0.001, off by") as told:
        holdfast.build_release(
            model, rows[600:], kinds[600:], workspace=workspace, name="plain", objectives={"max_mb": 0.001}
        )
    assert {one.name for one in told.value.report.variants} >= {"plain", "graph"}
    assert len(list_releases(workspace.releases)) == before
    release = holdfast.build_release(model, rows[600:], kinds[600:], workspace=workspace, name="plain")
    error = project.refused("capacity", release.digest, "--rps", 1, "--p99-ms", 9, code=1)
    assert "nothing was measured" in error["what"]


@pytest.mark.parametrize(
    ("flags", "what"),
    [
        (("--p99-ms", "2"), "objectives are for a search"),
        (("--variant", "int8", "--optimise"), "either named or searched for"),
        (("--variant", "int3"), "no variant"),
    ],
)
def test_flags_that_make_no_sense_together(project, flags, what):
    assert what in project.refused(*BUILD, *flags, code=2)["what"]
