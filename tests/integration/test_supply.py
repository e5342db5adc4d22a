"""Releases between workspaces and under scrutiny: real builds, real commands."""

import json
import shutil
from datetime import UTC, datetime, timedelta

import pytest
from tests.integration.project import Project
from tests.integration.selling import releases
from tests.unit.build import hostile

from holdfast.errors import ReleaseError
from holdfast.release.bundle import attest, read, verify
from holdfast.release.keys import trusted_keys
from holdfast.release.trust import signer

LATER = "2999-01-01T00:00:00Z"


@pytest.fixture
def release(project):
    return releases(project)[0]


@pytest.fixture
def other(workspace):
    """Another machine, which has heard of nobody."""
    made = Project(workspace / "other")
    made.folder.mkdir()
    made.run("init")
    return made


def trust(project, other, *limits):
    (other.folder / "town.pem").write_text(project.run("trust", "show")["pem"])
    return other.run("trust", "add", "town.pem", "--name", "town", *limits)["id"]


def test_one_flipped_byte_in_any_file_is_refused(project, release):
    keys_folder = project.folder / ".holdfast" / "keys"
    folder = project.folder / ".holdfast" / "releases" / release
    keys = trusted_keys(keys_folder)
    attest(folder, "urn:holdfast:timings:v1", {"p99_ms": 2}, signer(keys_folder))
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    assert {path.name for path in files} > {"manifest.json", "model.onnx", "sbom.cdx.json", "release.dsse.json"}
    assert len(files) >= 9
    for path in files:
        content = path.read_bytes()
        path.chmod(0o644)
        for place in sorted({0, len(content) // 3, 2 * len(content) // 3, len(content) - 1}):
            for bit in (0x01, 0x80):
                path.write_bytes(content[:place] + bytes([content[place] ^ bit]) + content[place + 1 :])
                with pytest.raises(ReleaseError):
                    verify(folder, keys)
        path.write_bytes(content)
    verify(folder, keys)
    (folder / "card.md").write_text("all is well")
    for verb in (("verify", release), ("deploy", release, "--as", "again")):
        assert project.refused(*verb, code=1)["code"] == "HF601"


def test_there_and_back_by_a_trusted_key_only(project, other, release):
    archive = other.folder / "town.tar.gz"
    told = project.run("export", release[:12], archive)
    assert told["bytes"] == archive.stat().st_size
    assert other.refused("import", "town.tar.gz", code=1)["code"] == "HF602"
    key = trust(project, other, "--for", "loans")
    assert "may not say" in other.refused("import", "town.tar.gz", code=1)["what"]
    trust(project, other, "--expires", "2020-01-01")
    assert other.refused("import", "town.tar.gz", code=1)["code"] == "HF603"
    soon = (datetime.now(UTC) + timedelta(days=9)).isoformat()
    trust(project, other, "--expires", soon)
    code, out, _ = other.call("doctor", "--json")
    (check,) = (one for one in json.loads(out)["checks"] if one["check"] == "trusted key town")
    assert (code, check["state"]) == (1, "bad")
    assert soon[:10] in check["what"]
    trust(project, other, "--expires", LATER)
    assert other.run("import", "town.tar.gz") == {"release": release, "name": "town"}
    other.run("deploy", release, "--as", "town")
    with other.serving() as server:
        assert server.inference
    other.run("trust", "revoke", "town", "--reason", "left the company")
    for verb in (("verify", release), ("deploy", release, "--as", "again"), ("import", "town.tar.gz")):
        told = other.refused(*verb, code=1)
        assert told["code"] == "HF603"
        assert "left the company" in told["what"]
    assert other.refused("serve", "--port", "0", "--control-port", "0", code=1)["code"] == "HF603"
    (shown,) = (one for one in other.run("trust", "list")["keys"] if one["id"] == key)
    assert (shown["standing"], shown["own"]) == ("revoked", False)


def test_a_rotated_key_leaves_nothing_unsigned(project, other, release):
    old = project.run("trust", "list")["keys"][0]["id"]
    trust(project, other)
    done = project.run("trust", "rotate")
    assert (done["old"], done["left"]) == (old, [])
    assert done["signed"] >= 2
    for digest in releases(project):
        project.run("verify", digest)
    project.run("export", release, other.folder / "town.zip")
    assert other.refused("import", "town.zip", code=1)["code"] == "HF602"
    trust(project, other)
    assert other.run("import", "town.zip")["release"] == release


def test_two_people_must_sign_where_the_settings_say_so(project, other, release):
    project.run("export", release, other.folder / "town.zip")
    (other.folder / "holdfast.toml").write_text("[trust]\nsignatures = 2\n")
    trust(project, other)
    assert "2 trusted keys must sign" in other.refused("import", "town.zip", code=1)["what"]
    (other.folder / "holdfast.toml").write_text("")
    other.run("import", "town.zip")
    (other.folder / "holdfast.toml").write_text("[trust]\nsignatures = 2\n")
    assert "1 did" in other.refused("deploy", release, "--as", "town", code=1)["what"]


def osv(project, package, version, changed):
    """A snapshot of one record."""
    folder = project.folder / "osv"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    affected = {"package": {"ecosystem": "PyPI", "name": package}, "versions": [version]}
    record = {"id": "PYSEC-1", "modified": changed, "summary": "it falls over", "affected": [affected]}
    (folder / "PYSEC-1.json").write_text(json.dumps(record))
    return "osv"


def test_an_audit_says_what_is_known_and_signs_it(project, release):
    path = project.folder / ".holdfast" / "releases" / release
    numpy = read(path).manifest.builder["numpy"]
    today = datetime.now(UTC).isoformat()
    code, out, err = project.call("audit", release, "--server")
    assert code == 3
    assert "Unknown whether any of" in err
    code, out, err = project.call("audit", release, "--osv", osv(project, "NumPy", numpy, today), "--json")
    found = json.loads(out)
    assert (code, found["verdict"], found["as_of"]) == (3, "affected", today[:10])
    assert (found["findings"][0]["package"], found["findings"][0]["id"]) == ("numpy", "PYSEC-1")
    code, card, _ = project.call("card", release)
    assert code == 0
    assert card.count("### vulnerabilities") == 2
    assert "deploy as town, by " in card
    assert "pipeline_tag: tabular-regression" in card
    code, _, _ = project.call("card", release, "--html", "--to", "card.html")
    page = (project.folder / "card.html").read_text()
    assert code == 0
    assert "Performance by slice" in page
    assert "<script" not in page


def test_the_bill_of_materials_is_in_every_release(project):
    folder = project.folder / ".holdfast" / "releases"
    for digest in releases(project):
        bill = json.loads((folder / digest / "sbom.cdx.json").read_text())
        model = bill["metadata"]["component"]
        assert model["hashes"][0]["content"] == next(
            f.sha256 for f in read(folder / digest).manifest.files if f.path == "model.onnx"
        )
        assert any(one["type"] == "library" for one in bill["components"])


def test_a_hostile_graph_is_neither_built_nor_registered(project):
    for name, content in (
        ("laughs", hostile.unread()["a thousand million laughs"]),
        ("file", hostile.unread()["file by its path"]),
    ):
        (project.folder / f"{name}.onnx").write_bytes(content)
        told = project.refused("build", f"{name}.onnx", "--reference", "reference.parquet", "--label", "price", code=1)
        assert told["code"] == "HF501"
    assert {model["name"] for model in project.run("list", "models")["models"]} == {"town"}
    assert len(project.run("list")["releases"]) == 2
