"""A PyTorch network from module and file to answers over HTTP, as images and as rows."""

import json
import urllib.request

import numpy as np
import pytest
import torch
from tests.integration.project import Project

import holdfast

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("torch")]

SIDE = 6


def network():
    torch.manual_seed(3)
    layers = [torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(64, 3)]
    return torch.nn.Sequential(*layers)


def pictures(rows):
    return np.round(np.random.default_rng(5).normal(size=(rows, 1, SIDE, SIDE)), 3)


def said_by(module, images):
    with torch.no_grad():
        return torch.softmax(module.eval()(torch.from_numpy(images).float()).double(), 1).numpy()


def ask(address, deployment, tensor):
    body = json.dumps({"inputs": [tensor], "outputs": [{"name": "probabilities"}]}).encode()
    request = urllib.request.Request(f"{address}/v2/models/{deployment}/infer", body)
    with urllib.request.urlopen(request) as reply:
        [answer] = json.load(reply)["outputs"]
    return np.array(answer["data"]).reshape(answer["shape"])


def test_a_module_and_a_file_of_it_answer_images_over_http(tmp_path):
    module, images = network(), pictures(300)
    labels = said_by(module, images).argmax(axis=1)
    workspace = holdfast.create_workspace(tmp_path)
    release = holdfast.build_release(module, images, labels, workspace=workspace, name="shapes")
    assert release.contract.shape == (1, SIDE, SIDE)
    assert release.contract.output.classes == ("0", "1", "2")
    assert release.manifest.model.flavour == "pytorch"
    assert release.manifest.parity["tolerance"] == 1e-5
    assert release.manifest.parity["beyond_tolerance"] == 0
    assert (
        holdfast.build_release(network(), images, labels, workspace=workspace, name="shapes").digest == release.digest
    )

    torch.save(module, tmp_path / "model.pt")
    table = {f"p{i:02d}": images.reshape(300, -1)[:, i] for i in range(SIDE * SIDE)} | {"kind": labels.astype(float)}
    workspace.tables.write(tmp_path / "reference.parquet", table)
    project = Project(tmp_path)
    wanted = ["build", "model.pt", "--reference", "reference.parquet", "--label", "kind", "--name", "file"]
    assert "pickle" in project.refused(*wanted, code=2)["what"]
    file = project.run(*wanted, "--trust-pickle", "--shape", f"1,{SIDE},{SIDE}")["release"]
    project.run("deploy", release.digest, "--as", "shapes")
    project.run("deploy", file, "--as", "file")
    expected = said_by(module, images[:7])
    with project.serving() as server:
        image = {"name": "image", "datatype": "FP32", "shape": [7, 1, SIDE, SIDE], "data": images[:7].tolist()}
        row = {"name": "rows", "datatype": "FP32", "shape": [7, SIDE**2], "data": images[:7].ravel().tolist()}
        for deployment in ("shapes", "file"):
            for tensor in (image, row):
                np.testing.assert_allclose(ask(server.inference, deployment, tensor), expected, atol=1e-6)
        with pytest.raises(urllib.error.HTTPError) as wrong:
            ask(server.inference, "shapes", image | {"shape": [7, SIDE, SIDE, 1]})
        assert wrong.value.code == 400
        wrong.value.close()
