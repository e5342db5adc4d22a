"""Known vulnerabilities of what a release was made with, looked up in an offline snapshot of the OSV database.

A snapshot is a folder of OSV records (JSON files, or the `all.zip` that osv.dev offers per ecosystem). It is as old as the
newest change in it, and that date is part of every verdict:

    affected     at least one package at its version is in a record
    none known   every package was looked up in a snapshot that is recent enough, and none is in a record
    unknown      no snapshot, a stale one, or packages that cannot be looked up

There is no "clean": nobody can know that. The verdict becomes a signed statement beside the release.

References: Open Source Vulnerability format 1.7, "Evaluation"; PEP 440 (how versions are ordered).
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from holdfast.core.release import REQUIREMENTS
from holdfast.errors import MissingExtra, NotFound
from holdfast.release.sbom import normal, pins

if TYPE_CHECKING:
    from packaging.version import Version

    from holdfast.release.bundle import Release

__all__ = ["VULNERABILITIES", "Material", "Snapshot", "judge", "materials", "read_snapshot"]

VULNERABILITIES: Final = "urn:holdfast:vulnerabilities:v1"
MAX_AGE_DAYS: Final = 30
ECOSYSTEM: Final = "PyPI"
LARGEST: Final = 16 << 20
"""Bytes of one record; more is no record."""


class Material(NamedTuple):
    """A package at a version, and what it was there for: training, runtime (of a Python release), build or server."""

    name: str
    version: str
    role: str


class _Package(msgspec.Struct, frozen=True):
    ecosystem: str = ""
    name: str = ""


class _Range(msgspec.Struct):
    type: str = ""
    events: list[dict[str, str]] = []


class _Affected(msgspec.Struct):
    package: _Package = _Package()
    ranges: list[_Range] = []
    versions: list[str] = []


class _Record(msgspec.Struct):
    """The part of an OSV record that is needed."""

    id: str
    modified: str
    withdrawn: str | None = None
    aliases: list[str] = []
    summary: str = ""
    severity: list[dict[str, Any]] = []
    affected: list[_Affected] = []


class Snapshot(NamedTuple):
    """Records of Python packages by their name, and how recent the snapshot is."""

    records: dict[str, list[_Record]]
    entries: int
    """Records of every ecosystem."""
    newest: datetime | None
    """The latest change in it: it knows of nothing later."""
    sha256: str


def materials(release: Release, installed: Iterable[tuple[str, str]] = ()) -> list[Material]:
    """The packages of a release; `installed`: names and versions of those that serve it."""
    text = (release.path / REQUIREMENTS).read_text(encoding="utf-8")
    role = "runtime" if release.manifest.runtime == "python" else "training"
    found = {Material(pin.name, pin.version, role) for pin in pins(text)}
    found |= {Material(normal(name), version, "build") for name, version in release.manifest.builder.items()}
    found |= {Material(normal(name), version, "server") for name, version in installed}
    return sorted(found)


def read_snapshot(folder: Path) -> Snapshot:
    """All records below a folder; what is no record is left out. NotFound where there are none."""
    records: dict[str, list[_Record]] = {}
    whole = hashlib.sha256()
    entries, newest = 0, None
    for content in _contents(folder):
        try:
            record = msgspec.json.decode(content, type=_Record)
            changed = datetime.fromisoformat(record.modified)
        except (msgspec.MsgspecError, ValueError):
            continue
        whole.update(hashlib.sha256(content).digest())
        entries += 1
        changed = changed if changed.tzinfo else changed.replace(tzinfo=UTC)
        newest = changed if newest is None or changed > newest else newest
        if record.withdrawn:
            continue
        for name in {normal(one.package.name) for one in record.affected if one.package.ecosystem == ECOSYSTEM}:
            records.setdefault(name, []).append(record)
    if not entries:
        raise NotFound(
            "no OSV records here", str(folder), "put the PyPI all.zip of osv.dev into the folder, and name the folder"
        )
    return Snapshot(records, entries, newest, whole.hexdigest())


def judge(
    wanted: Sequence[Material], snapshot: Snapshot | None, now: datetime, max_age_days: int = MAX_AGE_DAYS
) -> dict[str, Any]:
    """The verdict, as the predicate of a statement."""
    findings: list[dict[str, Any]] = []
    unchecked: list[dict[str, str]] = []
    for material in wanted if snapshot else ():
        assert snapshot is not None
        records = snapshot.records.get(material.name, ())
        if not material.version:
            unchecked.append({"package": material.name, "why": "its version is not recorded"})
            continue
        for record in records:
            hit = _affects(record, material)
            if hit:
                findings.append(_finding(record, material))
            elif hit is None:
                unchecked.append(
                    {"package": material.name, "why": f"{record.id} names versions that cannot be compared"}
                )
    doubts = _doubts(wanted, snapshot, now, max_age_days)
    if unchecked:
        doubts.append(f"{len({one['package'] for one in unchecked})} packages could not be looked up")
    verdict = "affected" if findings else "unknown" if doubts else "none known"
    as_of = _day(snapshot.newest) if snapshot else ""
    return {
        "verdict": verdict,
        "sentence": _sentence(verdict, findings, doubts, as_of, len(wanted)),
        "as_of": as_of,
        "checked": _day(now),
        "snapshot": {"sha256": snapshot.sha256, "entries": snapshot.entries} if snapshot else {},
        "packages": len(wanted),
        "findings": findings,
        "doubts": doubts,
        "unchecked": unchecked,
    }


def _doubts(wanted: Sequence[Material], snapshot: Snapshot | None, now: datetime, max_age_days: int) -> list[str]:
    """Why "none known" could not be said, whatever was found."""
    if snapshot is None:
        return ["no snapshot of the OSV database was given"]
    doubts = []
    assert snapshot.newest is not None
    age = now - snapshot.newest
    if age > timedelta(days=max_age_days):
        doubts.append(f"the snapshot is {age.days} days old ({max_age_days} are allowed)")
    if age < timedelta(days=-1):
        doubts.append("the snapshot is dated in the future: one of the clocks is wrong")
    if not snapshot.records:
        doubts.append("the snapshot says nothing about Python packages")
    if not any(material.role in {"training", "runtime"} for material in wanted):
        doubts.append("the release does not record what the model was trained with")
    return doubts


def _affects(record: _Record, material: Material) -> bool | None:
    """Whether a record concerns this version; None if its versions cannot be compared."""
    parsed = _version(material.version)
    undecided = False
    for affected in record.affected:
        if affected.package.ecosystem != ECOSYSTEM or normal(affected.package.name) != material.name:
            continue
        if material.version in affected.versions:
            return True
        if parsed is not None and any(_version(listed) == parsed for listed in affected.versions):
            return True
        for part in affected.ranges:
            if part.type == "GIT":
                continue
            hit = None if parsed is None else _within(part.events, parsed)
            if hit:
                return True
            undecided |= hit is None
    return None if undecided else False


def _within(events: Sequence[dict[str, str]], version: Version) -> bool | None:
    """OSV's evaluation: the last event at or below a version decides."""
    steps: list[tuple[Version, int, bool]] = []
    for event in events:
        for kind, text in event.items():
            at = _version("0a0.dev0" if text == "0" else text)
            if at is None:
                return None
            if kind == "introduced":
                steps.append((at, 0, True))
            elif kind == "fixed":
                steps.append((at, 0, False))
            elif kind == "last_affected":
                steps.append((at, 1, False))  # this very version is affected still
    inside = False
    for at, after, begins in sorted(steps, key=lambda step: step[:2]):
        if version > at or (version == at and not after):
            inside = begins
    return inside


def _version(text: str) -> Version | None:
    try:
        from packaging.version import InvalidVersion, Version
    except ImportError:
        raise MissingExtra("build", "looking up vulnerabilities") from None
    try:
        return Version(text)
    except InvalidVersion:
        return None


def _finding(record: _Record, material: Material) -> dict[str, Any]:
    fixed = {
        event["fixed"]
        for affected in record.affected
        if affected.package.ecosystem == ECOSYSTEM and normal(affected.package.name) == material.name
        for part in affected.ranges
        if part.type != "GIT"
        for event in part.events
        if "fixed" in event
    }
    return {
        "package": material.name,
        "version": material.version,
        "role": material.role,
        "id": record.id,
        "aliases": record.aliases,
        "summary": record.summary,
        "severity": [str(one.get("score", "")) for one in record.severity],
        "fixed": sorted(fixed),
    }


def _sentence(
    verdict: str, findings: Sequence[dict[str, Any]], doubts: Sequence[str], as_of: str, packages: int
) -> str:
    if verdict == "affected":
        hit = len({(one["package"], one["version"]) for one in findings})
        return f"{hit} of {packages} packages have known vulnerabilities, as known on {as_of}."
    if verdict == "unknown":
        return f"Unknown whether any of {packages} packages has a known vulnerability: {'; '.join(doubts)}."
    return f"None of {packages} packages has a known vulnerability, as known on {as_of}."


def _contents(folder: Path) -> Iterator[bytes]:
    for path in sorted(folder.rglob("*")):
        if path.suffix == ".json" and path.is_file() and path.stat().st_size <= LARGEST:
            yield path.read_bytes()
        elif path.suffix == ".zip" and path.is_file():
            try:
                with zipfile.ZipFile(path) as archive:
                    for entry in archive.infolist():
                        if entry.filename.endswith(".json") and entry.file_size <= LARGEST:
                            yield archive.read(entry)
            except zipfile.BadZipFile:
                raise NotFound("the snapshot is damaged", str(path), "fetch it again") from None


def _day(at: datetime | None) -> str:
    return "" if at is None else at.astimezone(UTC).strftime("%Y-%m-%d")
