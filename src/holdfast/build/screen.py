"""What a model file must not be, seen before anything is registered, unpacked or opened.

An ONNX file is read by `check_onnx`. A `.skops` file is a zip archive that its library unpacks into memory and onto the disk: no
path in it may lead out, no entry may be a link, and all together may not be out of proportion to the file.
"""

from __future__ import annotations

import stat
import zipfile
from pathlib import Path, PurePosixPath
from typing import Final

from holdfast.build.convert import check_onnx
from holdfast.build.convert.check import MAX_BYTES
from holdfast.errors import RegistryError, Unconvertible

__all__ = ["screen"]

ALWAYS: Final = 256 << 20
"""Bytes that an archive may unpack to, however small it is."""
RATIO: Final = 100
"""Beyond these it may be so many times as large as its file: what models hold seldom shrinks to a tenth."""
ENTRIES: Final = 100_000


def screen(path: Path) -> None:
    """Raise Unconvertible or RegistryError for a file that nobody should open; of other kinds nothing is said."""
    if not path.is_file():
        return
    suffix = path.suffix.lower()
    if suffix == ".onnx":
        if path.stat().st_size > MAX_BYTES:
            raise Unconvertible(f"the model is larger than {MAX_BYTES >> 20} MiB", str(path), "make it smaller")
        check_onnx(path.read_bytes())
    elif suffix == ".skops":
        _screen_zip(path)


def _screen_zip(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, OverflowError):
        raise _refuse("it cannot be opened: it is no skops file", path) from None
    for entry in entries:
        name = PurePosixPath(entry.orig_filename.replace("\\", "/"))
        if name.is_absolute() or ".." in name.parts or ":" in entry.orig_filename or "\0" in entry.orig_filename:
            raise _refuse(f"a path in it leads out: '{entry.orig_filename[:80]}'", path)
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise _refuse(f"'{entry.filename[:80]}' in it is a link", path)
    unpacked = sum(entry.file_size for entry in entries)
    if len(entries) > ENTRIES or unpacked > max(ALWAYS, RATIO * path.stat().st_size):
        raise _refuse(f"it unpacks to {unpacked >> 20} MiB in {len(entries)} files", path)


def _refuse(what: str, path: Path) -> RegistryError:
    return RegistryError(what, str(path), "check where this file comes from")
