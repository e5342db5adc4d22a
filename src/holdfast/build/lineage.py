"""From what a release is made: the reference with its identity, what the model was trained on, what the user asked.

All of it enters the manifest, so it may hold only what is the same on every checkout: paths inside the project, hashes,
names; no times, no absolute paths. Keys of `manifest.data`:

    file, sha256, rows   the reference: name, digest and size; a table from memory has no name
    path                 where it lies in the project
    dvc                  how DVC pins it and what it was made from (`core.lineage.Origin`)
    training             of the model: `file` and `dvc` as above, or `mlflow`: the run's commit and data sets
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from holdfast.errors import UsageError
from holdfast.registry import Snapshot, snapshot_of_file

if TYPE_CHECKING:
    from holdfast.build.translate import Marks
    from holdfast.core.lineage import Origin
    from holdfast.core.ports import DataVersions, FetchedModel, Tables

__all__ = ["Data", "data_of_file", "described", "recipe_of", "trained_on", "training_of"]

Table = dict[str, NDArray[Any]]


class Data(msgspec.Struct, frozen=True):
    """The reference: rows that the model was not fitted on, and their exact identity."""

    table: Table
    snapshot: Snapshot


def data_of_file(
    tables: Tables, path: Path, *, project: Path | None = None, versions: DataVersions | None = None
) -> Data:
    """A reference in a Parquet or CSV file.

    Args:
        tables: reads it.
        path: the file; one that is absent is fetched if the project's data versioning knows it.
        project: folder of the project; a file inside is known by its path there.
        versions: the project's data versioning.

    Raises MovedData if the file is not what the project pins.
    """
    origin = versions.origin(path) if versions else None
    if path.is_file() or origin is None or versions is None:
        return _read(tables, path, _inside(path, project), origin)
    with tempfile.TemporaryDirectory(prefix="holdfast-") as folder:
        fetched = versions.fetch(origin.version, path.parent, Path(folder) / path.name)
        return _read(tables, fetched, _inside(path, project), origin)


def _read(tables: Tables, path: Path, inside: str, origin: Origin | None) -> Data:
    if not path.is_file():
        raise UsageError(f"there is no file {path}", next_step="check the path")
    table = tables.read(path)
    snapshot = snapshot_of_file(path, len(next(iter(table.values()), np.empty(0))))
    return Data(table, msgspec.structs.replace(snapshot, path=inside, origin=origin))


def described(data: Data | None, training: Mapping[str, Any]) -> dict[str, Any]:
    """`manifest.data`."""
    return (data.snapshot.to_dict() if data else {}) | ({"training": dict(training)} if training else {})


def training_of(path: Path, project: Path, versions: DataVersions) -> dict[str, Any]:
    """What a model file was trained on, where the project pins it; the keys of `data.training`."""
    origin = versions.origin(path)
    return {"file": _inside(path, project), "dvc": msgspec.to_builtins(origin)} if origin else {}


def trained_on(model: FetchedModel, given: Mapping[str, Any]) -> dict[str, Any]:
    """What is known of the model's training: from the project, and from the run that logged it."""
    return {**given, **({"mlflow": model.run} if model.run else {})}


def recipe_of(marks: Marks, purpose: str) -> dict[str, Any]:
    """What the user asked of the build, without what is as usual; the contract itself stands in the release."""
    asked = {**msgspec.to_builtins(marks), "contract": bool(marks.contract), "purpose": purpose}
    usual = {"timezone": "UTC"}
    return {name: value for name, value in asked.items() if value and usual.get(name) != value}


def _inside(path: Path, project: Path | None) -> str:
    """The path inside the project; empty for a file from elsewhere."""
    if project is None:
        return ""
    whole = path.absolute()
    return whole.relative_to(project.absolute()).as_posix() if whole.is_relative_to(project.absolute()) else ""
