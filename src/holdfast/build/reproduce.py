"""Build a release again, elsewhere, and see whether it comes out the same.

The commit is checked out into a fresh folder, the reference fetched by its hash (from that checkout, from the project's data
versioning, or from where it lay), the model by its version; then the same build runs with what the manifest says the user
asked. Nothing is copied from the old release but a contract that the user wrote, and the lock of a Python release. Equal
digests mean equal bytes, all of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from holdfast.build.lineage import Data, data_of_file, training_of
from holdfast.build.optimise.wish import Wish
from holdfast.build.packaged import AsPython
from holdfast.build.pipeline import STEPS, Parts, build
from holdfast.build.translate import Marks
from holdfast.core.lineage import Origin
from holdfast.core.release import CONTRACT, REQUIREMENTS
from holdfast.core.variant import Recipe
from holdfast.errors import BuildError, GateRefused, MovedData
from holdfast.registry import snapshot_of_table
from holdfast.release.bundle import Release, read
from holdfast.release.compare import diff

if TYPE_CHECKING:
    from holdfast.core.ports import DataVersions, Tables

__all__ = ["REPRODUCE_STEPS", "Project", "Reproduced", "marks_of", "reference_of", "reproduce", "wish_of"]

REPRODUCE_STEPS: Final = ("code", "data", *STEPS)


class Project(NamedTuple):
    """Where code and data of a workspace lie, and who knows their versions."""

    folder: Path
    tables: Tables
    versions: DataVersions
    code_state: Callable[[Path], dict[str, Any]]
    checkout: Callable[[Path, str, Path], Path]


class Reproduced(msgspec.Struct, frozen=True, kw_only=True):
    """A release and what came out of its second build."""

    release: str
    rebuilt: str
    folder: str
    """Where the second build lies."""
    differences: dict[str, dict[str, tuple[Any, Any]]]
    """As of `holdfast diff`, and the digests of `files`; empty sections left out."""

    @property
    def same(self) -> bool:
        """Whether every byte is."""
        return self.release == self.rebuilt


def reproduce(
    parts: Parts,
    project: Project,
    release: Release,
    folder: Path,
    *,
    reference: Path | None = None,
    trust_pickle: bool = False,
    progress: Callable[[str], None] = lambda _: None,
) -> Reproduced:
    """Build `release` again in `folder`.

    Args:
        parts: registry, runtime, and where its parent lies.
        project: code and data.
        release: opened and verified.
        folder: empty; gets the checkout, the data and the rebuilt release.
        reference: where the reference is now, if nothing else finds it; its content must be the same.
        trust_pickle: the user's word, once more, that a pickle may be opened.
        progress: called with each step's name as it begins.

    Raises BuildError where something that it was made from cannot be had any more.
    """
    manifest = release.manifest
    progress("code")
    place = _code(manifest.code, project, folder / "checkout")
    progress("data")
    data = reference_of(manifest.data, project, place, folder / "data", reference)
    parent = read(parts.releases / manifest.parent) if manifest.parent else None
    rebuilt = build(
        parts._replace(releases=folder / "releases"),
        manifest.model.uri,
        data,
        marks=marks_of(release),
        name=manifest.name,
        parent=parent,
        code=project.code_state(place) if manifest.code else {},
        training=_training(manifest.data, project, place),
        purpose=manifest.recipe.get("purpose", ""),
        trust_pickle=trust_pickle,
        python=_as_python(release),
        wish=wish_of(release),
        progress=progress,
    )
    found = diff(release, rebuilt) | {"files": _files(release, rebuilt)}
    return Reproduced(
        release=release.digest,
        rebuilt=rebuilt.digest,
        folder=str(rebuilt.path),
        differences={section: changes for section, changes in found.items() if changes},
    )


def _as_python(release: Release) -> AsPython:
    """The same environment as then."""
    if release.manifest.runtime != "python":
        return AsPython()
    return AsPython(wanted=True, lock=(release.path / REQUIREMENTS).read_text(encoding="utf-8"))


def wish_of(release: Release) -> Wish | None:
    """What was done to the converted model, to be done once more."""
    variant = release.manifest.variant
    return Wish(recipe=msgspec.convert(variant, Recipe)) if variant else None


def marks_of(release: Release) -> Marks:
    """What the user said of the columns when the release was built."""
    asked = {name: value for name, value in release.manifest.recipe.items() if name in Marks.__struct_fields__}
    given = (release.path / CONTRACT).read_text(encoding="utf-8") if asked.get("contract") else ""
    return msgspec.convert(asked | {"contract": given}, Marks)


def reference_of(
    said: Mapping[str, Any], project: Project, place: Path, into: Path, given: Path | None = None
) -> Data | None:
    """The reference that a manifest names, with the identity that it has there; None if there was none.

    Looked for in `place` (the project, or a checkout of it), then among the project's pinned data, then in the project.
    """
    if "sha256" not in said:
        return None
    if given is not None and not said["file"]:
        table = project.tables.read(given)
        return _checked(Data(table, snapshot_of_table(table)), said, given)
    if not said["file"]:
        raise BuildError(
            "its reference was handed over in memory, and nobody kept it",
            f"sha256 {said['sha256'][:12]}",
            "name a Parquet file with the same rows: --reference FILE",
        )
    inside = str(said.get("path", ""))
    target = place / inside if inside else into / said["file"]
    if not _is(target, said):
        target = _found(said, project, into / said["file"], given)
    data = data_of_file(project.tables, target)
    origin = _origin_of(said, project, place) if inside else None
    snapshot = msgspec.structs.replace(data.snapshot, file=said["file"], path=inside, origin=origin)
    return _checked(Data(data.table, snapshot), said, target)


def _found(said: Mapping[str, Any], project: Project, into: Path, given: Path | None) -> Path:
    """Where its bytes are: the named file, the data versioning's stores, the project."""
    here = project.folder / said["path"] if said.get("path") else None
    for path in (given, here):
        if path is not None and _is(path, said):
            return path
    if given is None and "dvc" in said:
        version = msgspec.convert(said["dvc"], Origin).version
        return project.versions.fetch(version, (here or project.folder).parent, into)
    raise MovedData(
        f"the reference {said['file']} is no longer what the release was built on (sha256 {said['sha256'][:12]})",
        str(given or here or "it lay outside the project"),
        "put it back, or name where it is: --reference FILE",
    )


def _is(path: Path, said: Mapping[str, Any]) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == str(said["sha256"])


def _checked(data: Data, said: Mapping[str, Any], where: Path) -> Data:
    if data.snapshot.sha256 != said["sha256"]:
        raise MovedData(
            "these are not the rows that the release was built on", str(where), "name the right file: --reference FILE"
        )
    return data


def _code(code: Mapping[str, Any], project: Project, into: Path) -> Path:
    """The project's folder as it was: a checkout of the commit; outside git the project itself."""
    if not code:
        return project.folder
    if code["dirty"]:
        raise GateRefused(
            "it was built from uncommitted changes, and nobody kept them",
            f"code at {code['commit'][:12] or 'an unknown commit'}",
            "commit first, and build again; such a release can be reproduced",
        )
    return project.checkout(project.folder, code["commit"], into)


def _origin_of(said: Mapping[str, Any], project: Project, place: Path) -> Origin | None:
    """How the file was pinned: read again at the commit, where there is one; else as the manifest says."""
    if "dvc" not in said:
        return None
    if place == project.folder:
        return msgspec.convert(said["dvc"], Origin)
    return project.versions.origin(place / said["path"])


def _training(said: Mapping[str, Any], project: Project, place: Path) -> dict[str, Any]:
    """What the model was trained on, by the same rule."""
    training = {name: value for name, value in said.get("training", {}).items() if name != "mlflow"}
    if place == project.folder or not training.get("file"):
        return training
    return training_of(place / training["file"], place, project.versions)


def _files(one: Release, other: Release) -> dict[str, tuple[Any, Any]]:
    before, after = ({f.path: f.sha256 for f in r.manifest.files} for r in (one, other))
    names = sorted({*before, *after})
    return {n: (before.get(n), after.get(n)) for n in names if before.get(n) != after.get(n)}
