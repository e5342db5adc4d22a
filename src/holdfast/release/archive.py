"""A release as one file, to be carried to another machine, and taken in there without believing a word of it.

    holdfast-<name>-<digest>.tar.gz | .tar | .zip
        <digest>/manifest.json
        <digest>/attestations/...
        <digest>/model.onnx  and so on

The order matters: the manifest and the statements are small and come first. When a trusted key has vouched for that manifest,
every other file is known by its name, exact size and digest, and nothing else is unpacked: no path that leads out, no link, no
file that is larger than it was when it was signed. Until then the reader takes a few MiB and not more, however much the archive
claims to hold. The same release gives the same archive, to the last byte.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import re
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Final, NamedTuple

from holdfast.core.release import ATTESTATIONS, MANIFEST, Manifest
from holdfast.errors import BadArchive, Conflict, UsageError
from holdfast.release.bundle import SUFFIX, check_signatures, decode_manifest, put_file, sync_folder, verify
from holdfast.release.keys import Keys

__all__ = ["KINDS", "export", "take_in"]

KINDS: Final = (".tar.gz", ".tgz", ".tar", ".zip")
SMALL: Final = 16 << 20
"""Bytes of manifest and statements, all together and uncompressed."""
BLOCK: Final = 1 << 20
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_NAME: Final = re.compile(r"(?!\.{0,2}(?:/|$))[^/\\:\x00-\x1f]+(?:/(?!\.{0,2}(?:/|$))[^/\\:\x00-\x1f]+){0,32}")
"""Paths inside a release: no part is empty, `.` or `..`, and none means more on another system."""


class _Entry(NamedTuple):
    """A regular file of the archive."""

    name: str
    size: int
    open: Callable[[], IO[bytes]]


def export(path: Path, target: Path, trusted: Keys) -> None:
    """Write the release, verified, as an archive; whole or not at all. The kind is told by the target's ending."""
    kind = _kind(target)
    if target.exists():
        raise Conflict("the file exists", str(target), "choose another name")
    manifest = verify(path, trusted)
    waiting = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with waiting.open("xb") as file:
            _write_zip(path, manifest, file) if kind == ".zip" else _write_tar(path, manifest, file, kind)
            file.flush()
            os.fsync(file.fileno())
        waiting.rename(target)
    finally:
        waiting.unlink(missing_ok=True)


def take_in(archive: Path, releases: Path, trusted: Keys) -> str:
    """Unpack and verify an archive into the folder of the releases; its digest. A release that is there already stays."""
    releases.mkdir(parents=True, exist_ok=True)
    growing = Path(tempfile.mkdtemp(prefix=".growing-", dir=releases))
    try:
        with archive.open("rb") as file:
            digest = _unpack(_entries(archive, file), growing, trusted)
        verify(growing / digest, trusted)
        if not (releases / digest).is_dir():
            for folder in (growing / digest, growing / digest / ATTESTATIONS):
                sync_folder(folder)
            (growing / digest).rename(releases / digest)
            sync_folder(releases)
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, gzip.BadGzipFile, EOFError, OverflowError) as bad:
        raise _bad(f"the archive is damaged: {str(bad)[:200]}", archive) from None
    except BadArchive as bad:
        raise BadArchive(bad.what, bad.where or str(archive), bad.next_step) from None
    finally:
        shutil.rmtree(growing, ignore_errors=True)
    return digest


def _unpack(entries: Iterator[_Entry], growing: Path, trusted: Keys) -> str:
    """Manifest, statements, a trusted key's word for both, and then only what that manifest names."""
    first = next(entries, None)
    digest = "" if first is None else first.name.partition("/")[0]
    if first is None or first.name != f"{digest}/{MANIFEST}" or not _DIGEST.fullmatch(digest):
        raise _bad("it does not begin with a release's manifest")
    folder = growing / digest
    (folder / ATTESTATIONS).mkdir(parents=True)
    content = _read(first, SMALL)
    if hashlib.sha256(content).hexdigest() != digest:
        raise _bad("the manifest does not have the digest that the folder is named by")
    put_file(folder / MANIFEST, content)
    manifest = decode_manifest(content, folder)
    left, small, vouched = {one.path: one.size for one in manifest.files}, len(content), False
    for entry in entries:
        name = entry.name.removeprefix(f"{digest}/")
        if name == entry.name or not _NAME.fullmatch(name):
            raise _bad(f"'{entry.name[:120]}' does not belong into a release")
        if name.startswith(f"{ATTESTATIONS}/") and name.endswith(SUFFIX) and name.count("/") == 1 and not vouched:
            small += entry.size + tarfile.BLOCKSIZE
            if small > SMALL or (folder / name).exists():
                raise _bad("it holds more statements than anybody makes")
            put_file(folder / name, _read(entry, SMALL))
            continue
        if not vouched:
            check_signatures(folder, manifest.name, trusted)
            vouched = True
        if left.pop(name, -1) != entry.size:
            raise _bad(f"'{name[:120]}' is not in the manifest, or of another size")
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        _copy(entry, folder / name)
    return digest


def _read(entry: _Entry, most: int) -> bytes:
    """All of a small file."""
    with entry.open() as file:
        content = file.read(min(entry.size, most) + 1)
    if len(content) > most or len(content) != entry.size:
        raise _bad(f"'{entry.name[:120]}' is not as large as it says")
    return content


def _copy(entry: _Entry, target: Path) -> None:
    """A file of exactly the size that it has, block by block."""
    written = 0
    with entry.open() as source, target.open("xb") as file:
        while block := source.read(BLOCK):
            written += len(block)
            if written > entry.size:
                break
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
    target.chmod(0o444)
    if written != entry.size:
        raise _bad(f"'{entry.name[:120]}' is not as large as it says")


# ---------------------------------------------------------------------------------------------- the two forms


def _entries(archive: Path, file: IO[bytes]) -> Iterator[_Entry]:
    """The files of an archive, in its order; BadArchive at anything that is not a plain file."""
    return _zip_entries(file) if _kind(archive) == ".zip" else _tar_entries(file)


def _zip_entries(file: IO[bytes]) -> Iterator[_Entry]:
    with zipfile.ZipFile(file) as archive:
        every = archive.infolist()
        if len({info.filename for info in every}) < len(every):
            raise _bad("it holds two files of one name")
        for info in every:
            kind = stat.S_IFMT(info.external_attr >> 16)
            plain = kind in {0, stat.S_IFREG} and not info.is_dir() and not info.flag_bits & 0x1
            if not plain or info.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
                raise _bad(f"'{info.filename[:120]}' is no plain file")
            # `orig_filename`: what stands there; the other is cut off at a NUL.
            yield _Entry(info.orig_filename, info.file_size, lambda info=info: archive.open(info))  # type: ignore[misc]


def _tar_entries(file: IO[bytes]) -> Iterator[_Entry]:
    """Read by ourselves, header by header: the library would take a header's word for how much to read of it."""
    stream: IO[bytes] = gzip.GzipFile(fileobj=file) if file.read(2) == b"\x1f\x8b" else file  # type: ignore[assignment]
    file.seek(0)
    while True:
        header = stream.read(tarfile.BLOCKSIZE)
        if not header.strip(b"\0"):
            return
        info = tarfile.TarInfo.frombuf(header, "utf-8", "strict")
        if info.type not in {tarfile.REGTYPE, tarfile.AREGTYPE} or info.name.endswith("/") or info.size < 0:
            raise _bad(f"'{info.name[:120]}' is no plain file")
        part = _Part(stream, info.size)
        yield _Entry(info.name, info.size, lambda part=part: part)  # type: ignore[misc]
        if part.left:
            raise _bad(f"'{info.name[:120]}' was not read to its end")
        stream.read(-info.size % tarfile.BLOCKSIZE)


class _Part(io.RawIOBase):
    """The next `size` bytes of a stream, and nothing behind them."""

    def __init__(self, stream: IO[bytes], size: int) -> None:
        self._stream = stream
        self.left = size

    def read(self, size: int = -1) -> bytes:
        """At most so many bytes; none at the end."""
        wanted = min(self.left, BLOCK if size < 0 else size)
        parts = []
        while wanted > 0:
            block = self._stream.read(min(wanted, BLOCK))
            if not block:
                raise _bad("the archive is cut off")
            parts.append(block)
            wanted -= len(block)
            self.left -= len(block)
        return b"".join(parts)


def _ordered(path: Path, manifest: Manifest) -> list[str]:
    """What makes it trustworthy first."""
    said = sorted(f"{ATTESTATIONS}/{file.name}" for file in (path / ATTESTATIONS).glob(f"*{SUFFIX}"))
    return [MANIFEST, *said, *sorted(entry.path for entry in manifest.files)]


def _write_tar(path: Path, manifest: Manifest, file: IO[bytes], kind: str) -> None:
    out = file if kind == ".tar" else gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0, compresslevel=6)
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in _ordered(path, manifest):
            info = tarfile.TarInfo(f"{path.name}/{name}")
            info.size, info.mode = (path / name).stat().st_size, 0o444
            try:
                info.tobuf(tarfile.USTAR_FORMAT)
            except ValueError:  # what is too long for plain headers stands in others, of which nothing is read here
                raise UsageError(
                    f"'{name[:80]}...' is too long a name for a tar", next_step="export to a .zip"
                ) from None
            with (path / name).open("rb") as content:
                archive.addfile(info, content)
    if out is not file:
        out.close()


def _write_zip(path: Path, manifest: Manifest, file: IO[bytes]) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in _ordered(path, manifest):
            info = zipfile.ZipInfo(f"{path.name}/{name}", (1980, 1, 1, 0, 0, 0))
            info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, (stat.S_IFREG | 0o444) << 16
            info.create_system = 3
            with (path / name).open("rb") as content, archive.open(info, "w") as entry:
                shutil.copyfileobj(content, entry, BLOCK)


def _kind(path: Path) -> str:
    for kind in KINDS:
        if path.name.lower().endswith(kind):
            return kind
    raise UsageError(f"'{path.name}' is no archive by its name", next_step=f"let it end with {', '.join(KINDS)}")


def _bad(what: str, where: Path | None = None) -> BadArchive:
    return BadArchive(what, str(where or ""), "take only what `holdfast export` wrote, from where it was built")
