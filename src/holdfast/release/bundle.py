"""The bundle on disk: a folder named by the SHA-256 of its manifest, written whole or not at all, verified byte by byte.

    <digest>/manifest.json          names every file with its SHA-256, and from what the release was made
    <digest>/model.onnx  contract.yaml  reference.msgpack  card.md  requirements.lock
    <digest>/attestations/*.dsse.json   signed statements about the digest; the first is the release's own signature

Equal inputs give equal bytes, so writing a release twice is writing it once. Nothing may be added to the folder but signed
statements.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import msgspec

from holdfast.columns.yaml import load_yaml
from holdfast.core.contract import Contract
from holdfast.core.names import short, unique_prefix
from holdfast.core.profile import Profile
from holdfast.core.release import ATTESTATIONS, CARD, CONTRACT, FORMAT, MANIFEST, MODEL, REFERENCE, FileEntry, Manifest
from holdfast.errors import KeyEnded, NotFound, ReleaseError, Tampered, Untrusted
from holdfast.release.trust import RELEASE, Keys, Signer, Statement, check_word, read_envelope

__all__ = [
    "SUFFIX",
    "Release",
    "attest",
    "check_signatures",
    "decode_manifest",
    "find",
    "list_releases",
    "open_release",
    "put_file",
    "put_statement",
    "read",
    "signed",
    "statements",
    "sync_folder",
    "verify",
    "write",
]

SUFFIX: Final = ".dsse.json"
OWN: Final = f"release{SUFFIX}"
BLOCK: Final = 1 << 20


@dataclass(frozen=True)
class Release:
    """A release on disk; its parts are decoded when first asked for."""

    path: Path
    digest: str
    manifest: Manifest

    @property
    def model(self) -> Path:
        """The ONNX file; the folder itself if the model is Python."""
        return self.path if self.manifest.runtime == "python" else self.path / MODEL

    @cached_property
    def contract(self) -> Contract:
        """What inputs and outputs must look like."""
        return load_yaml((self.path / CONTRACT).read_text(encoding="utf-8"))

    @cached_property
    def profile(self) -> Profile:
        """The reference."""
        return msgspec.msgpack.decode((self.path / REFERENCE).read_bytes(), type=Profile)

    @cached_property
    def card(self) -> str:
        """The model card, Markdown."""
        return (self.path / CARD).read_text(encoding="utf-8")

    def __repr__(self) -> str:
        return f"<Release {short(self.digest)} {self.manifest.name} ({self.manifest.task})>"

    def _repr_html_(self) -> str:
        """What a notebook shows: name, digest, performance, and what is promised about alarms."""
        from html import escape

        metrics = "".join(
            f"<tr><td>{escape(name)}</td><td>{_number(m['value'])}</td>"
            f"<td>{_number(m['low'])} to {_number(m['high'])}</td><td>{m['n']}</td></tr>"
            for name, m in self.profile.performance.items()
        )
        table = (
            f"<table><tr><th>held out</th><th>value</th><th>95 % interval</th><th>n</th></tr>{metrics}</table>"
            if metrics
            else "<p>No held-out performance: no labelled reference was given.</p>"
        )
        source = self.manifest.model
        return (
            f"<div><b>{escape(self.manifest.name)}</b> release <code>{short(self.digest)}</code> "
            f"({escape(self.manifest.task)}, {self.profile.rows} reference rows, from {escape(source.uri)})"
            f"{table}<p>{escape(self.profile.calibration.get('sentence', ''))}</p></div>"
        )


def write(releases: Path, manifest: Manifest, files: Mapping[str, bytes], signer: Signer) -> str:
    """Write a signed release; `manifest.files` is filled in here. Returns its digest.

    The folder appears under its name only when every byte is on the disk; an equal release that is there already stays.
    """
    import shutil
    import tempfile

    entries = tuple(
        FileEntry(name, hashlib.sha256(content).hexdigest(), len(content)) for name, content in sorted(files.items())
    )
    manifest = msgspec.structs.replace(manifest, files=entries)
    digest = manifest.digest
    everything = {
        **files,
        MANIFEST: manifest.to_bytes(),
        f"{ATTESTATIONS}/{OWN}": signer.envelope(manifest.name, digest, RELEASE, {"format": manifest.format}),
    }
    releases.mkdir(parents=True, exist_ok=True)
    if (releases / digest).is_dir():
        return digest
    growing = Path(tempfile.mkdtemp(prefix=".growing-", dir=releases))
    try:
        growing.chmod(0o755)
        (growing / ATTESTATIONS).mkdir()
        for name, content in everything.items():
            (growing / name).parent.mkdir(parents=True, exist_ok=True)
            put_file(growing / name, content)
        for inner in sorted(path for path in growing.rglob("*") if path.is_dir()):
            sync_folder(inner)
        sync_folder(growing)
        try:
            growing.rename(releases / digest)
        except OSError:
            if not (releases / digest).is_dir():  # another process was faster with the same release
                raise
        sync_folder(releases)
    finally:
        shutil.rmtree(growing, ignore_errors=True)
    return digest


def read(path: Path) -> Release:
    """A release by its folder, its manifest decoded; nothing else is checked."""
    try:
        content = (path / MANIFEST).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(f"no release at {path.name}", str(path), "holdfast list") from None
    return Release(path, hashlib.sha256(content).hexdigest(), decode_manifest(content, path))


def verify(path: Path, trusted: Keys) -> Manifest:
    """The manifest, if every byte of the folder is what the builder signed; Tampered, Untrusted or ReleaseError if not."""
    release = read(path)
    if release.digest != path.name:
        raise _tampered("the manifest does not have the digest that the folder is named by", path / MANIFEST)
    expected = {entry.path: entry for entry in release.manifest.files}
    present = {str(p.relative_to(path)) for p in path.rglob("*") if p.is_symlink() or not p.is_dir()}
    said = {name for name in present if name.startswith(f"{ATTESTATIONS}/") and name.endswith(SUFFIX)}
    if missing := sorted(expected.keys() - present):
        raise _tampered(f"'{missing[0]}' is missing", path)
    if extra := sorted(present - expected.keys() - said - {MANIFEST}):
        raise _tampered(f"'{extra[0]}' does not belong to the release", path)
    for name in sorted(present):
        if (path / name).is_symlink():
            raise _tampered(f"'{name}' is a link, not a file", path)
    for name, entry in expected.items():
        if _hash(path / name) != entry.sha256:
            raise _tampered(f"'{name}' is not what was built", path / name)
    check_signatures(path, release.manifest.name, trusted)
    return release.manifest


def open_release(path: Path, trusted: Keys) -> Release:
    """Verify, then open."""
    manifest = verify(path, trusted)
    return Release(path, path.name, manifest)


def statements(path: Path, trusted: Keys) -> list[Statement]:
    """All signed statements about this release; one that is changed, untrusted or about another release is refused.

    One whose key has ended since says nothing any more, and is left out.
    """
    return [statement for statement, _ in signed(path, trusted)]


def check_signatures(path: Path, name: str, trusted: Keys) -> None:
    """As many trusted keys as it takes have signed the release of this name."""
    found, ended = _said(path, name, trusted)
    signers = {keyid for statement, keyid in found if statement.predicate_type == RELEASE}
    if len(signers) >= max(trusted.signatures, 1):
        return
    if ended:
        raise ended[0]
    if not signers:
        raise _tampered("the release is not signed", path)
    raise Untrusted(
        f"{trusted.signatures} trusted keys must sign a release, {len(signers)} did",
        str(path),
        "let another key holder check it and run: holdfast trust sign",
    )


def signed(path: Path, trusted: Keys) -> list[tuple[Statement, str]]:
    """All statements as `statements` gives them, each with the id of the key that signed it."""
    return _said(path, read(path).manifest.name, trusted)[0]


def _said(path: Path, name: str, trusted: Keys) -> tuple[list[tuple[Statement, str]], list[KeyEnded]]:
    """Statements with the id of the key that signed each, and what is said against those whose key has ended."""
    found: list[tuple[Statement, str]] = []
    ended: list[KeyEnded] = []
    for file in sorted((path / ATTESTATIONS).glob(f"*{SUFFIX}")):
        statement, key = read_envelope(file.read_bytes(), trusted, str(file))
        if statement.digest != path.name or statement.name != name:  # by the name a key may be limited
            raise _tampered("the statement is about another release", file)
        try:
            check_word(statement, key, trusted, str(file))
            found.append((statement, key.id))
        except KeyEnded as bad:
            ended.append(bad)
    return found, ended


def attest(path: Path, predicate_type: str, data: Mapping[str, Any], signer: Signer) -> Path:
    """Put a signed statement beside the release: what was measured or decided later, outside the manifest."""
    release = read(path)
    content = signer.envelope(release.manifest.name, release.digest, predicate_type, data)
    kind = "".join(c if c.isalnum() else "-" for c in predicate_type.removeprefix("urn:holdfast:")).strip("-")
    target = path / ATTESTATIONS / f"{kind}-{hashlib.sha256(content).hexdigest()[:12]}{SUFFIX}"
    put_statement(target, content)
    return target


def put_statement(target: Path, content: bytes) -> None:
    """Write an envelope, or put it in the place of another; whole or not at all."""
    waiting = target.parents[2] / f".{target.name}.{os.getpid()}"
    put_file(waiting, content)
    waiting.rename(target)


def list_releases(releases: Path) -> list[Release]:
    """All releases of a workspace, oldest first; contents are not verified, damaged ones are left out."""
    found = []
    for path in releases.iterdir() if releases.is_dir() else ():
        if path.name.startswith("."):
            continue
        try:
            release = read(path)
            if release.digest == path.name:
                found.append(((path / MANIFEST).stat().st_mtime_ns, path.name, release))
        except (OSError, NotFound, ReleaseError):
            continue
    return [release for _, _, release in sorted(found, key=lambda item: item[:2])]


def find(releases: Path, text: str) -> Path:
    """The folder of the one release whose digest begins with `text`."""
    names = [p.name for p in releases.iterdir() if not p.name.startswith(".")] if releases.is_dir() else []
    return releases / unique_prefix(text, names)


class _Format(msgspec.Struct):
    format: int


def decode_manifest(content: bytes, path: Path) -> Manifest:
    """A manifest from its bytes. Those of an earlier version lack fields that have come since; the digest is over the bytes."""
    try:
        version = msgspec.json.decode(content, type=_Format).format
        if version > FORMAT:
            raise ReleaseError(
                f"this release was made by a newer Holdfast (format {version})",
                str(path),
                "pip install --upgrade holdfast",
            )
        manifest = msgspec.json.decode(content, type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise _tampered("the manifest is damaged", path / MANIFEST) from None
    return manifest


def _tampered(what: str, where: Path) -> Tampered:
    return Tampered(what, str(where), "do not deploy it; build it again, or copy it from where it was built")


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def put_file(path: Path, content: bytes) -> None:
    """Write a read-only file and wait until the disk has it."""
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    path.chmod(0o444)


def sync_folder(folder: Path) -> None:
    """The names in a folder survive a power cut when this returns."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _number(value: float) -> str:
    return f"{value:.4g}"
