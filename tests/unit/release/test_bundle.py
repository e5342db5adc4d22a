"""Releases on disk: whole or not at all, equal inputs equal bytes, and nothing in them may change."""

import hashlib
import json
import os
import shutil

import msgspec
import pytest

from holdfast.core.release import MANIFEST
from holdfast.errors import NotFound, ReleaseError, Tampered, Untrusted
from holdfast.release import bundle
from holdfast.release.bundle import attest, find, list_releases, open_release, read, statements, verify, write
from holdfast.release.trust import RELEASE, create_key, signer, trusted_keys


def every_file(release):
    return sorted(p for p in release.path.rglob("*") if p.is_file())


def test_what_was_written_is_read(make, keys):
    release = open_release(make().path, trusted_keys(keys))
    assert release.path.name == release.digest == release.manifest.digest
    assert [f.name for f in release.contract.fields] == ["rooms", "kind"]
    assert release.profile.rows == 900
    assert release.card == "# prices\n"
    assert release.model.read_bytes() == b"onnx"


def test_equal_inputs_are_one_release(make):
    first = make()
    before = {path: path.read_bytes() for path in every_file(first)}
    assert make().digest == first.digest
    assert {path: path.read_bytes() for path in every_file(first)} == before
    assert make(rmse=0.13).digest != first.digest


def test_one_flipped_byte_anywhere_refuses_it(make, keys):
    release = make()
    attest(release.path, "urn:holdfast:timings:v1", {"p99_ms": 2.5}, signer(keys))
    trusted = trusted_keys(keys)
    verify(release.path, trusted)
    for path in every_file(release):
        content = path.read_bytes()
        path.chmod(0o644)
        for position in {0, len(content) // 2, len(content) - 1}:
            for bit in (0x01, 0x80):
                changed = bytearray(content)
                changed[position] ^= bit
                path.write_bytes(changed)
                with pytest.raises(ReleaseError):
                    verify(release.path, trusted)
        path.write_bytes(content)
    verify(release.path, trusted)


def test_a_missing_an_extra_and_a_linked_file_are_refused(make, keys):
    release = make()
    trusted = trusted_keys(keys)
    (release.path / "extra.py").write_text("")
    with pytest.raises(Tampered, match=r"extra\.py"):
        verify(release.path, trusted)
    (release.path / "extra.py").unlink()
    (release.path / "attestations" / "note.txt").write_text("")
    with pytest.raises(Tampered, match=r"note\.txt"):
        verify(release.path, trusted)
    (release.path / "attestations" / "note.txt").unlink()
    aside = release.path.parent / "aside.onnx"
    shutil.move(release.model, aside)
    with pytest.raises(Tampered, match="missing"):
        verify(release.path, trusted)
    release.model.symlink_to(aside)
    with pytest.raises(Tampered, match="link"):
        verify(release.path, trusted)


def test_an_unsigned_or_foreign_release_is_refused(make, keys, tmp_path):
    release = make()
    create_key(tmp_path / "other")
    with pytest.raises(Untrusted):
        verify(release.path, trusted_keys(tmp_path / "other"))
    next((release.path / "attestations").iterdir()).unlink()
    with pytest.raises(Tampered, match="not signed"):
        verify(release.path, trusted_keys(keys))


def test_another_releases_content_under_this_name_is_refused(make, keys):
    one, other = make(), make(rmse=0.2)
    shutil.rmtree(one.path)
    shutil.copytree(other.path, one.path)
    with pytest.raises(Tampered, match="digest"):
        verify(one.path, trusted_keys(keys))


def test_another_releases_signature_does_not_count(make, keys):
    one, other = make(), make(rmse=0.2)
    own = one.path / "attestations" / "release.dsse.json"
    own.unlink()
    shutil.copy(other.path / "attestations" / "release.dsse.json", own)
    with pytest.raises(Tampered, match="another release"):
        verify(one.path, trusted_keys(keys))


def test_a_release_of_an_earlier_version_whose_manifest_had_fewer_fields_is_opened(make, keys):
    """Its bytes are what was signed, not what this version would write."""
    release = make()
    plain = json.loads((release.path / MANIFEST).read_bytes())
    for name in set(plain) - {
        "format",
        "name",
        "task",
        "files",
        "model",
        "data",
        "code",
        "builder",
        "parity",
        "parent",
    }:
        del plain[name]
    content = json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()
    older = release.path.parent / hashlib.sha256(content).hexdigest()
    release.path.rename(older)
    (older / MANIFEST).chmod(0o644)
    (older / MANIFEST).write_bytes(content)
    own = older / "attestations" / "release.dsse.json"
    own.unlink()
    own.write_bytes(signer(keys).envelope("prices", older.name, RELEASE, {"format": 1}))
    assert open_release(older, trusted_keys(keys)).manifest.name == "prices"
    assert [found.digest for found in list_releases(older.parent)] == [older.name]


def test_a_newer_format_says_so(make):
    release = make(described=None)
    newer = msgspec.structs.replace(release.manifest, format=99)
    (release.path / MANIFEST).chmod(0o644)
    (release.path / MANIFEST).write_bytes(newer.to_bytes())
    with pytest.raises(ReleaseError, match="newer Holdfast") as refused:
        read(release.path)
    assert "upgrade" in refused.value.next_step


def test_statements_are_added_without_changing_the_release(make, keys):
    release = make()
    attest(release.path, "urn:holdfast:timings:v1", {"p99_ms": 2.5}, signer(keys))
    attest(release.path, "urn:holdfast:timings:v1", {"p99_ms": 2.7}, signer(keys))
    assert verify(release.path, trusted_keys(keys)).digest == release.digest
    said = [s.predicate for s in statements(release.path, trusted_keys(keys)) if "timings" in s.predicate_type]
    assert sorted(p["p99_ms"] for p in said) == [2.5, 2.7]


def test_nothing_half_written_is_left_when_writing_fails(make, keys, tmp_path, monkeypatch):
    folder = tmp_path / "releases"
    real = bundle.put_file

    def full(path, content):
        if path.name == MANIFEST:
            raise OSError(28, "No space left on device")
        real(path, content)

    monkeypatch.setattr(bundle, "put_file", full)
    with pytest.raises(OSError, match="No space"):
        make()
    assert list(folder.iterdir()) == []
    assert list_releases(folder) == []


def test_two_writers_of_the_same_release_agree(make, keys, tmp_path, monkeypatch):
    release = make()
    folder = tmp_path / "elsewhere"
    real = os.rename

    def slower(source, target):
        if not target.exists():
            shutil.copytree(release.path, target)
        real(source, target)

    monkeypatch.setattr(bundle.Path, "rename", slower)
    content = {entry.path: (release.path / entry.path).read_bytes() for entry in release.manifest.files}
    assert write(folder, release.manifest, content, signer(keys)) == release.digest
    assert [p.name for p in folder.iterdir()] == [release.digest]


def test_releases_are_listed_in_the_order_of_their_making(make, tmp_path):
    made = [make(), make(rmse=0.2), make(rmse=0.3)]
    for age, release in enumerate(reversed(made)):
        os.utime(release.path / MANIFEST, ns=(0, 10**18 - age * 10**9))
    (tmp_path / "releases" / ".growing-x").mkdir()
    (tmp_path / "releases" / "junk").mkdir()
    assert [r.digest for r in list_releases(tmp_path / "releases")] == [r.digest for r in made]
    assert list_releases(tmp_path / "nowhere") == []


def test_a_release_is_found_by_the_beginning_of_its_digest(make, tmp_path):
    release = make()
    assert find(tmp_path / "releases", release.digest[:8]) == release.path
    with pytest.raises(NotFound):
        find(tmp_path / "releases", "0123456")
    with pytest.raises(NotFound):
        read(tmp_path / "releases" / "nothing")


def test_a_notebook_shows_it_escaped(make):
    html = make()._repr_html_()
    assert "rmse" in html
    assert "no &lt;rate&gt;" in html
    assert "<script" not in html
