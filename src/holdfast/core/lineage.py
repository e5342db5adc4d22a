"""Where a file comes from, as a data versioning tool pins it: which content, said by which file, made from what.

The tool may be away or the project moved: the hash finds the content again in any of its stores.
"""

from __future__ import annotations

from typing import Any

import msgspec

__all__ = ["DataVersion", "Origin"]


class DataVersion(msgspec.Struct, frozen=True, kw_only=True):
    """One file or folder, pinned."""

    path: str
    """Relative to the folder that the tool manages."""
    md5: str
    """Of the content; of a folder: of the list of its files, with `.dir` behind it."""
    pinned_by: str
    """The file that says so: `data/houses.csv.dvc`, `dvc.lock`."""
    stage: str = ""
    """The step of the project's pipeline that made it; empty: it came from outside."""


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """A pinned file, and all that it was made from, however many steps before."""

    version: DataVersion
    inputs: tuple[DataVersion, ...] = ()
    """What the steps read, by path: data, code and what earlier steps made."""
    params: dict[str, Any] = {}
    """Values that the steps took from parameter files, by file."""
