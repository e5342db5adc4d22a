"""From what the user names to exact versions: a model reference, a file or a fitted object, and the data it is judged on.

Whatever is built comes out of the registry: a bare file or object is registered first, so that every release has a model
version to point to. Data snapshots are pinned by the SHA-256 of the file, or of the table's canonical bytes.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from holdfast.core.lineage import Origin
from holdfast.core.names import check_name

if TYPE_CHECKING:
    from holdfast.core.ports import FetchedModel, ModelRegistry

__all__ = ["Snapshot", "default_name", "fetch", "snapshot_of_file", "snapshot_of_table"]

SCHEMES = ("models:/", "runs:/")


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Exact data: where it came from and its digest."""

    file: str
    """Name of the file; empty for a table that was handed over in memory."""
    sha256: str
    rows: int
    path: str = ""
    """Where the file lies in the project; empty: outside."""
    origin: Origin | None = None
    """How the project's data versioning pins it."""

    def to_dict(self) -> dict[str, Any]:
        """For the manifest."""
        known = {"file": self.file, "sha256": self.sha256, "rows": self.rows}
        return (
            known
            | ({"path": self.path} if self.path else {})
            | ({"dvc": msgspec.to_builtins(self.origin)} if self.origin else {})
        )


def fetch(registry: ModelRegistry, source: Any, name: str, into: Path) -> FetchedModel:
    """The model as an exact version, downloaded into `into`.

    `source`: `models:/name/3`, `models:/name@alias`, `runs:/id/path`, a model file, or a fitted Python object. The last two
    are registered as `name` first.
    """
    if isinstance(source, str) and source.startswith(SCHEMES):
        return registry.fetch(source, into)
    if isinstance(source, (str, Path)):
        return registry.fetch(registry.register_file(Path(source), name), into)
    return registry.fetch(registry.register_object(source, name), into)


def default_name(source: Any) -> str:
    """A release name where the user gave none: the model's registered name, or the file's."""
    if isinstance(source, str) and source.startswith("models:/"):
        return source.removeprefix("models:/").partition("@")[0].partition("/")[0]
    if isinstance(source, str) and source.startswith("runs:/"):
        return check_name(source.rstrip("/").rpartition("/")[2])
    if isinstance(source, (str, Path)):
        return check_name(Path(source).name.partition(".")[0])
    named = getattr(source, "__name__", "")  # a function has one
    return check_name(named if named.isidentifier() else type(source).__name__.lower())


def snapshot_of_file(path: Path, rows: int) -> Snapshot:
    """Pin a data file."""
    with path.open("rb") as file:
        return Snapshot(file=path.name, sha256=hashlib.file_digest(file, "sha256").hexdigest(), rows=rows)


def snapshot_of_table(table: Mapping[str, NDArray[Any]]) -> Snapshot:
    """Pin a table in memory: names in order, each with its type and values, in one canonical form."""
    digest = hashlib.sha256()
    rows = 0
    for name in table:
        values = table[name]
        rows = len(values)
        digest.update(_framed(name.encode()))
        if values.dtype == object:
            digest.update(b"text")
            for value in values.tolist():
                digest.update(b"\0" if value is None else _framed(str(value).encode()))
        else:
            plain = np.ascontiguousarray(values)
            digest.update(_framed(plain.dtype.newbyteorder("<").str.encode()))
            digest.update(plain.astype(plain.dtype.newbyteorder("<")).tobytes())
    return Snapshot(file="", sha256=digest.hexdigest(), rows=rows)


def _framed(content: bytes) -> bytes:
    """Length first, so that no two different sequences give the same bytes; never begins like a missing value."""
    return b"\1" + struct.pack("<Q", len(content)) + content
