"""Archives of releases: the same bytes each time, and nothing gets in that a trusted key has not vouched for."""

# ruff: noqa: ARG005 - not every hostile archive needs both

import gzip
import io
import shutil
import tarfile
import zipfile

import pytest
from tests.unit.release.conftest import files, manifest

from holdfast.errors import BadArchive, Conflict, KeyEnded, ReleaseError, Tampered, Untrusted, UsageError
from holdfast.release.archive import KINDS, export, take_in
from holdfast.release.bundle import attest, verify, write
from holdfast.release.keys import trusted_keys
from holdfast.release.trust import create_key, signer

TIMINGS = "urn:holdfast:timings:v1"


@pytest.fixture
def release(make, keys):
    made = make(model=b"onnx" * 50_000)
    attest(made.path, TIMINGS, {"p99_ms": 1}, signer(keys))
    return made


@pytest.fixture
def elsewhere(tmp_path):
    return tmp_path / "elsewhere"


def members(release):
    """The files in the order of an archive."""
    digest = release.path.name
    names = [p for p in release.path.rglob("*") if p.is_file()]
    order = {"manifest.json": 0}
    names.sort(key=lambda p: (order.get(p.name, 1 if p.parent.name == "attestations" else 2), p.name))
    return [(f"{digest}/{p.relative_to(release.path)}", p.read_bytes()) for p in names]


def tar(path, entries, **kinds):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in entries:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for key, value in kinds.get(name.rpartition("/")[2].partition(".")[0], {}).items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(content))
    return path


def zipped(path, entries, **modes):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries:
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = modes.get(name.rpartition("/")[2].partition(".")[0], 0o100444) << 16
            archive.writestr(info, content)
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_there_and_back(release, keys, elsewhere, tmp_path, kind):
    target = tmp_path / f"one{kind}"
    export(release.path, target, trusted_keys(keys))
    assert take_in(target, elsewhere, trusted_keys(keys)) == release.digest
    found = {str(p.relative_to(elsewhere)): p.read_bytes() for p in elsewhere.rglob("*") if p.is_file()}
    assert found == dict(members(release))
    assert take_in(target, elsewhere, trusted_keys(keys)) == release.digest
    assert [p.name for p in elsewhere.iterdir()] == [release.digest]
    again = tmp_path / f"two{kind}"
    export(elsewhere / release.digest, again, trusted_keys(keys))
    assert again.read_bytes() == target.read_bytes()
    with pytest.raises(Conflict):
        export(release.path, again, trusted_keys(keys))


def test_files_in_folders_and_with_odd_names_travel(keys, elsewhere, tmp_path):
    content = files() | {"python/code/my package/a b.py": b"1", "python/.dvcignore": b"", "python/ü.txt": b"2"}
    digest = write(tmp_path / "releases", manifest(), content, signer(keys))
    for kind in (".tar.gz", ".zip"):
        export(tmp_path / "releases" / digest, tmp_path / f"one{kind}", trusted_keys(keys))
        assert take_in(tmp_path / f"one{kind}", elsewhere, trusted_keys(keys)) == digest
        shutil.rmtree(elsewhere / digest)


def test_a_name_that_no_tar_takes(keys, tmp_path):
    digest = write(tmp_path / "releases", manifest(), files() | {f"python/{'x' * 120}": b""}, signer(keys))
    with pytest.raises(UsageError, match="too long"):
        export(tmp_path / "releases" / digest, tmp_path / "one.tar", trusted_keys(keys))
    assert not (tmp_path / "one.tar").exists()
    export(tmp_path / "releases" / digest, tmp_path / "one.zip", trusted_keys(keys))
    assert take_in(tmp_path / "one.zip", tmp_path / "elsewhere", trusted_keys(keys)) == digest


def test_wrong_keys_and_changed_releases(release, keys, elsewhere, tmp_path):
    target = tmp_path / "one.zip"
    export(release.path, target, trusted_keys(keys))
    create_key(tmp_path / "other")
    with pytest.raises(Untrusted):
        take_in(target, elsewhere, trusted_keys(tmp_path / "other"))
    late = trusted_keys(keys)
    late = type(late)({i: type(key)(key=key.key, expires=1) for i, key in late.items()})
    with pytest.raises(KeyEnded):
        take_in(target, elsewhere, late)
    release.model.chmod(0o644)
    release.model.write_bytes(b"other")
    with pytest.raises(Tampered):
        export(release.path, tmp_path / "two.zip", trusted_keys(keys))
    with pytest.raises(UsageError):
        export(release.path, tmp_path / "two.rar", trusted_keys(keys))
    assert not list(elsewhere.iterdir())
    assert not (tmp_path / "two.zip").exists()


def changed(entries, name, content):
    return [(n, content if n.endswith(name) else c) for n, c in entries]


HOSTILE = {
    "a path above": lambda e, d: [*e, (f"{d}/../../evil.txt", b"x")],
    "a path above, first": lambda e, d: [("../manifest.json", e[0][1]), *e[1:]],
    "an absolute path": lambda e, d: [*e, ("/tmp/evil.txt", b"x")],
    "a path of another system": lambda e, d: [*e, (f"{d}/..\\..\\evil.txt", b"x")],
    "a drive": lambda e, d: [*e, ("C:/evil.txt", b"x")],
    "a hidden file": lambda e, d: [*e, (f"{d}/.profile", b"x")],
    "a folder that is none": lambda e, d: [*e, (f"{d}/./model.onnx", b"x")],
    "another release's folder": lambda e, d: [*e, (f"{'0' * 64}/model.onnx", b"x")],
    "a file that nobody signed": lambda e, d: [*e, (f"{d}/extra.py", b"x")],
    "a file twice": lambda e, d: [*e, e[-1]],
    "a statement after the files": lambda e, d: [*e[:1], *e[3:], e[1]],
    "a statement twice": lambda e, d: [*e[:2], e[1], *e[2:]],
    "a larger model": lambda e, d: changed(e, "model.onnx", e[-1][1] + b"x"),
    "a changed model": lambda e, d: changed(e, "model.onnx", b"x" * 200_000),
    "a changed manifest": lambda e, d: changed(e, "manifest.json", e[0][1].replace(b"prices", b"prizes")),
    "no manifest": lambda e, d: e[1:],
    "the manifest last": lambda e, d: [*e[1:], e[0]],
    "no signature": lambda e, d: [one for one in e if "attestations" not in one[0]],
    "a missing file": lambda e, d: e[:-1],
    "another digest": lambda e, d: [(n.replace(d, "f" * 64), c) for n, c in e],
    "a bomb before any signature": lambda e, d: [e[0], (f"{d}/attestations/z.dsse.json", b"\0" * (40 << 20)), *e[1:]],
    "a manifest that is a bomb": lambda e, d: [(e[0][0], b" " * (40 << 20)), *e[1:]],
    "a model that is a bomb": lambda e, d: changed(e, "model.onnx", b"\0" * (40 << 20)),
    "nothing": lambda e, d: [],
}


@pytest.mark.parametrize("pack", [tar, zipped])
@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_hostile_archive_leaves_nothing_behind(release, keys, elsewhere, tmp_path, name, pack):
    entries = HOSTILE[name](members(release), release.digest)
    target = pack(tmp_path / ("evil.zip" if pack is zipped else "evil.tar.gz"), entries)
    before = sorted(p for p in tmp_path.rglob("*") if elsewhere not in p.parents)
    with pytest.raises(ReleaseError) as refused:
        take_in(target, elsewhere, trusted_keys(keys))
    assert refused.value.next_step
    assert not list(elsewhere.iterdir())
    assert sorted(p for p in tmp_path.rglob("*") if p != elsewhere) == before


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.GNUTYPE_SPARSE, tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE])  # fmt: skip
def test_only_plain_files_come_out_of_a_tar(release, keys, elsewhere, tmp_path, kind):
    target = tar(tmp_path / "evil.tar.gz", members(release), model={"type": kind, "linkname": "/etc/passwd"})
    with pytest.raises(BadArchive):
        take_in(target, elsewhere, trusted_keys(keys))
    assert not list(elsewhere.iterdir())


@pytest.mark.parametrize("mode", [0o120777, 0o040755, 0o010644, 0o020644])
def test_only_plain_files_come_out_of_a_zip(release, keys, elsewhere, tmp_path, mode):
    target = zipped(tmp_path / "evil.zip", members(release), model=mode)
    with pytest.raises(BadArchive, match="no plain file"):
        take_in(target, elsewhere, trusted_keys(keys))


def test_a_header_that_promises_gigabytes_is_not_believed(release, keys, elsewhere, tmp_path):
    """Of a bomb no more is unpacked than it takes to see it."""
    info = tarfile.TarInfo(f"{release.digest}/manifest.json")
    info.size = 1 << 32
    with (tmp_path / "bomb.tar.gz").open("wb") as file, gzip.GzipFile(fileobj=file, mode="wb", compresslevel=1) as out:
        out.write(info.tobuf(tarfile.GNU_FORMAT))
        for _ in range(64):
            out.write(bytes(1 << 20))
    with pytest.raises(BadArchive):
        take_in(tmp_path / "bomb.tar.gz", elsewhere, trusted_keys(keys))


@pytest.mark.parametrize("kind", KINDS)
def test_a_cut_or_changed_archive_is_refused(release, keys, elsewhere, tmp_path, kind):
    target = tmp_path / f"one{kind}"
    export(release.path, target, trusted_keys(keys))
    content = target.read_bytes()
    accepted = 0
    for i in range(24):
        place = len(content) * i // 24
        for damaged in (content[:place], content[:place] + bytes([content[place] ^ 0x10]) + content[place + 1 :]):
            target.write_bytes(damaged)
            try:
                take_in(target, elsewhere, trusted_keys(keys))
            except ReleaseError:
                assert not list(elsewhere.iterdir())
            else:  # a flag or a time of the packing, which says nothing about the release
                verify(elsewhere / release.digest, trusted_keys(keys))
                shutil.rmtree(elsewhere / release.digest)
                accepted += 1
    assert accepted < 12
