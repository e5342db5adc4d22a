"""What a snapshot says, what it cannot say, and that it never says "clean"."""

import json
import zipfile
from datetime import UTC, datetime, timedelta

import pytest

from holdfast.errors import NotFound
from holdfast.release.vulnerabilities import Material, judge, materials, read_snapshot

NOW = datetime(2026, 11, 21, tzinfo=UTC)
NUMPY = Material("numpy", "1.26.0", "training")
SKLEARN = Material("scikit-learn", "1.5.0", "training")


def record(
    name="numpy", *, events=None, versions=(), changed="2026-11-20T00:00:00Z", number=1, kind="ECOSYSTEM", **more
):
    ranges = [{"type": kind, "events": events}] if events else []
    affected = {"package": {"ecosystem": "PyPI", "name": name}, "ranges": ranges, "versions": list(versions)}
    return {"id": f"PYSEC-2026-{number}", "modified": changed, "summary": "bad", "affected": [affected]} | more


@pytest.fixture
def snapshot(tmp_path):
    def write(*records):
        for i, one in enumerate(records):
            (tmp_path / f"{i}.json").write_text(json.dumps(one))
        return read_snapshot(tmp_path)

    return write


@pytest.mark.parametrize(
    ("events", "version", "hit"),
    [
        ([{"introduced": "0"}], "0.1a1", True),
        ([{"introduced": "0"}, {"fixed": "1.26.1"}], "1.26.0", True),
        ([{"introduced": "0"}, {"fixed": "1.26.0"}], "1.26.0", False),
        ([{"introduced": "0"}, {"last_affected": "1.26.0"}], "1.26.0", True),
        ([{"introduced": "0"}, {"last_affected": "1.26.0"}], "1.26.0.post1", False),
        ([{"introduced": "1.9"}], "1.26.0", True),  # not text: 1.26 > 1.9
        ([{"introduced": "1.27"}], "1.26.0", False),
        ([{"introduced": "1.0"}, {"fixed": "1.1"}, {"introduced": "1.20"}, {"fixed": "1.30"}], "1.15", False),
        ([{"introduced": "1.0"}, {"fixed": "1.1"}, {"introduced": "1.20"}, {"fixed": "1.30"}], "1.26", True),
        ([{"fixed": "1.27"}, {"introduced": "0"}], "1.27rc1", True),
    ],
)
def test_ranges_are_read_as_osv_means_them(snapshot, events, version, hit):
    found = judge([Material("numpy", version, "training")], snapshot(record(events=events)), NOW)
    assert found["verdict"] == ("affected" if hit else "none known")


def test_a_listed_version_and_every_spelling_of_a_name(snapshot):
    found = judge([SKLEARN, NUMPY], snapshot(record("Scikit_Learn", versions=["1.4", "1.5"])), NOW)
    (finding,) = found["findings"]
    assert (finding["package"], finding["id"]) == ("scikit-learn", "PYSEC-2026-1")
    assert found["sentence"] == "1 of 2 packages have known vulnerabilities, as known on 2026-11-20."


def test_what_was_withdrawn_and_other_ecosystems_do_not_count(snapshot):
    npm = record(versions=["1.26.0"], number=2)
    npm["affected"][0]["package"]["ecosystem"] = "npm"
    gone = record(versions=["1.26.0"], withdrawn="2026-11-19T00:00:00Z")
    commits = record(events=[{"introduced": "0"}], kind="GIT", number=3)
    assert judge([NUMPY], snapshot(gone, npm, commits), NOW)["verdict"] == "none known"


def test_it_is_unknown_without_a_snapshot_with_an_old_one_and_where_nothing_is_recorded(snapshot):
    good = snapshot(record("other", versions=["1"]))
    told = judge([NUMPY], good, NOW)
    assert (told["verdict"], told["as_of"], told["checked"]) == ("none known", "2026-11-20", "2026-11-21")
    for found in (
        judge([NUMPY], None, NOW),
        judge([NUMPY], good, NOW + timedelta(days=31)),
        judge([NUMPY], good, NOW - timedelta(days=10)),
        judge([], good, NOW),
        judge([Material("numpy", "", "training")], good, NOW),
        judge([Material("holdfast", "0.1.0", "build")], good, NOW),
    ):
        assert found["verdict"] == "unknown"
        assert found["doubts"]
        assert "clean" not in json.dumps(found)


def test_an_old_snapshot_still_says_what_it_knows(snapshot):
    found = judge([NUMPY], snapshot(record(versions=["1.26.0"])), NOW + timedelta(days=400))
    assert found["verdict"] == "affected"
    assert "400" in found["doubts"][0] or "401" in found["doubts"][0]


def test_versions_that_cannot_be_compared_are_unknown(snapshot):
    assert judge([NUMPY], snapshot(record(events=[{"introduced": "first"}])), NOW)["verdict"] == "unknown"
    odd = Material("numpy", "local build", "training")
    assert judge([odd], snapshot(record(events=[{"introduced": "0"}])), NOW)["verdict"] == "unknown"


def test_the_archive_that_osv_offers_is_read_as_it_is(tmp_path):
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("PYSEC-2026-1.json", json.dumps(record(versions=["1.26.0"])))
        archive.writestr("junk.json", "{")
    found = judge([NUMPY], read_snapshot(tmp_path), NOW)
    assert found["snapshot"]["entries"] == 1
    assert found["verdict"] == "affected"
    (tmp_path / "all.zip").write_bytes(b"PK")
    with pytest.raises(NotFound, match="damaged"):
        read_snapshot(tmp_path)
    (tmp_path / "all.zip").unlink()
    with pytest.raises(NotFound, match="no OSV records"):
        read_snapshot(tmp_path)


def test_the_materials_of_a_release(make):
    release = make()
    found = materials(release, [("Jinja2", "3.1.6")])
    assert found == [
        Material("holdfast", "0.1.0", "build"),
        Material("jinja2", "3.1.6", "server"),
        Material("numpy", "2.4.6", "training"),
    ]
