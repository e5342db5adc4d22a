"""The write-ahead log: what is not in it was not answered.

A serving process appends frames with one `write()` *before* the answers go out, so that a killed process loses no
acknowledged prediction: the bytes are the kernel's by then. `journal` decides when they are safe enough.

    LOG/.wal/<writer>/<number:08d>.wal     frame = u32 length, u32 CRC-32 of the payload, payload (msgpack of a Record)

Each writer has a folder of its own and so never appends behind another's torn tail. It holds a lock (`flock`) on the
segment it writes; the kernel drops that lock however the process ends, and an unlocked segment is known to be complete.
A frame that is torn or damaged is skipped and counted; reading goes on at the next sound one.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import mmap
import os
import re
import struct
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from holdfast.core.prediction import Record
from holdfast.errors import LogFull, ServeError

__all__ = [
    "WAL",
    "Entry",
    "Frame",
    "Part",
    "Segment",
    "Writer",
    "encode",
    "finished",
    "framed",
    "plain_frames",
    "read",
    "record_in",
    "segments",
    "sync_folder",
]

_HEAD: Final = struct.Struct("<II")
HEAD: Final = _HEAD.size
_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(Record)
_START: Final = re.compile(rb"(?:[\x90-\x9f]|\xdc\x00.)\xa1[a-z]", re.DOTALL)
"""How every payload begins: a msgpack array of less than 256 items whose first item is the one-letter tag of the record."""
WAL: Final = ".wal"
"""Beside the deployments' folders; no deployment can be called so."""
CHUNK: Final = 1 << 20
MAX_AGE_S: Final = 3600.0
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


def encode(record: Record) -> bytes:
    """One frame."""
    payload = _ENCODER.encode(record)
    return _HEAD.pack(len(payload), zlib.crc32(payload)) + payload


class Frame(msgspec.Struct, frozen=True, gc=False):
    """A record and its bytes in the log."""

    data: bytes
    record: Record


def framed(record: Record) -> Frame:
    """A record, ready to be written."""
    return Frame(encode(record), record)


class Segment(NamedTuple):
    """One file of the log; sorts by writer, then number."""

    writer: str
    number: int
    path: Path


class Entry(NamedTuple):
    """A record and where it stands in its segment."""

    start: int
    end: int
    record: Record


class Part(NamedTuple):
    """What one reading step gave: sound records, where to go on, how many damaged stretches were passed over."""

    entries: list[Entry]
    end: int
    damaged: int


class Writer:
    """Appends frames for one process.

    Args:
        log: the workspace's log folder.
        name: who writes, such as `w0`; made unique.
        segment_bytes: a segment is closed at this size, or when it is an hour old.
        durable: somebody will call `unsynced` for what was written; segments stay open until then.
    """

    def __init__(self, log: Path, name: str, *, segment_bytes: int, durable: bool = False) -> None:
        self.name = f"{name}-{time.time_ns() // 1_000_000:012x}-{os.getpid()}"
        self._folder = log / WAL / self.name
        self._segment_bytes = segment_bytes
        self._durable = durable
        self._left: list[int] = []
        self._new_names = True
        self._number = 0
        self._fd = -1
        self._size = 0
        self._opened = 0.0
        while True:
            try:
                self._folder.mkdir(parents=True)
                break
            except FileExistsError:
                self.name += "x"
                self._folder = self._folder.with_name(self.name)
            except OSError as bad:
                raise _unwritten(bad, self._folder) from None

    def append(self, frames: Sequence[bytes]) -> None:
        """Write all frames or raise ServeError; only after this may their answers go out."""
        data = frames[0] if len(frames) == 1 else b"".join(frames)
        try:
            if self._fd < 0 or self._size >= self._segment_bytes or time.monotonic() - self._opened > MAX_AGE_S:
                self._roll()
            written = os.write(self._fd, data)
        except OSError as bad:
            raise _unwritten(bad, self._folder) from None
        self._size += written
        if written != len(data):
            # Readers may already have taken the whole frames of it, so it is never cut back, only left behind.
            self.leave()
            ends = itertools.accumulate(map(len, frames))
            raise _unwritten(
                OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), self._folder, sum(end <= written for end in ends)
            )

    @property
    def position(self) -> tuple[int, int]:
        """Segment number and size of what has been written."""
        return self._number, self._size

    def unsynced(self) -> Callable[[], None]:
        """What brings all that was written so far to the disk; it may run in another thread, and raises OSError.

        The segment counts as being written until that is done: the lock stays with the copy of its descriptor.
        """
        files, self._left = self._left, []
        if self._fd >= 0:
            files.append(os.dup(self._fd))
        folders = [self._folder, self._folder.parent, self._folder.parent.parent] if self._new_names else []
        self._new_names = False

        def sync() -> None:
            try:
                for fd in files:
                    os.fdatasync(fd)
                for folder in folders:
                    sync_folder(folder)
            finally:
                for fd in files:
                    os.close(fd)

        return sync

    def leave(self) -> None:
        """Go on in a new segment; this one is free for compaction."""
        if self._fd >= 0:
            if self._durable:
                self._left.append(self._fd)
            else:
                os.close(self._fd)
            self._fd = -1

    def close(self) -> None:
        """Nothing more comes; the last segment is free for compaction."""
        self.leave()
        while self._left:
            os.close(self._left.pop())

    def _roll(self) -> None:
        """The next segment is locked before the old one is released, so that the folder is never without an owner."""
        while True:
            self._number += 1
            path = self._folder / f"{self._number:08d}.wal"
            self._folder.mkdir(parents=True, exist_ok=True)  # compaction removes an empty folder
            try:
                fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            except FileNotFoundError:
                continue
            if _lock(fd) and _same(fd, path):
                break
            os.close(fd)  # compaction saw the new file first and took it for an abandoned one
        self.leave()
        self._fd, self._size, self._opened = fd, 0, time.monotonic()
        self._new_names = True


def segments(log: Path) -> list[Segment]:
    """Every segment that is there now, in reading order."""
    return sorted(
        Segment(path.parent.name, int(path.stem), path) for path in (log / WAL).glob("*/*.wal") if path.stem.isdigit()
    )


def read(segment: Segment, offset: int = 0, *, complete: bool = False, limit: int = CHUNK) -> Part:
    """Records from `offset` on, about `limit` bytes of them; `end == offset` when there is nothing more for now.

    While somebody may still write (`complete=False`) an unfinished tail is left for later. In a complete segment it is
    torn: passed over and counted.
    """
    try:
        fd = os.open(segment.path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return Part([], offset, 0)
    try:
        size = os.fstat(fd).st_size
        while True:
            data = os.pread(fd, limit, offset)
            part = _scan(data, offset, complete=complete and offset + len(data) >= size)
            if part.end > offset or offset + len(data) >= size:
                return part
            limit *= 2  # one frame is larger than the step
    finally:
        os.close(fd)


def plain_frames(data: mmap.mmap | bytes) -> Iterator[tuple[int, int]]:
    """Where frames begin and end by their lengths alone, up to the first that is torn, or looks like none."""
    at, size = 0, len(data)
    sound = size > HEAD and _START.match(data, HEAD)
    while sound and at < size:
        end = at + HEAD + _HEAD.unpack_from(data, at)[0]
        sound = end == size or _START.match(data, end + HEAD)
        if sound:
            yield at, end
        at = end


def record_in(data: bytes) -> Record | None:
    """The record of one frame."""
    found = _scan(data, 0, complete=True).entries
    return found[0].record if found else None


@contextlib.contextmanager
def finished(segment: Segment) -> Iterator[bool]:
    """Whether nobody writes this segment any more; if so, nobody will while the block runs."""
    try:
        fd = os.open(segment.path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield False
        return
    try:
        yield _lock(fd) and _same(fd, segment.path)
    finally:
        os.close(fd)


def _scan(data: bytes, base: int, *, complete: bool) -> Part:
    entries: list[Entry] = []
    at = damaged = 0
    size, view = len(data), memoryview(data)
    while at < size:
        end = size + 1  # beyond the data, until its length is known
        if at + HEAD <= size:
            length, checksum = _HEAD.unpack_from(data, at)
            end = at + HEAD + length
            payload = view[at + HEAD : end]
            if 0 < length == len(payload) and zlib.crc32(payload) == checksum:
                try:
                    entries.append(Entry(base + at, base + end, _DECODER.decode(payload)))
                except msgspec.DecodeError:
                    damaged += 1
                at = end
                continue
        # An unfinished frame is not searched for another: what it holds is somebody's data.
        behind = _next_frame(data, at + 1) if end <= size or complete else -1
        if behind < 0:
            if complete:
                at, damaged = size, damaged + 1
            break
        at, damaged = behind, damaged + 1
    return Part(entries, base + at, damaged)


def _next_frame(data: bytes, at: int) -> int:
    """Where the next sound frame begins, or -1."""
    for match in _START.finditer(data, at + HEAD):
        begin = match.start()
        length, checksum = _HEAD.unpack_from(data, begin - HEAD)
        payload = memoryview(data)[begin : begin + length]
        if len(payload) == length and zlib.crc32(payload) == checksum:
            return begin - HEAD
    return -1


def _lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _same(fd: int, path: Path) -> bool:
    try:
        return os.fstat(fd).st_ino == path.stat().st_ino
    except FileNotFoundError:
        return False


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk."""
    fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _unwritten(bad: OSError, folder: Path, fitted: int = 0) -> ServeError:
    """Why the log could not be written, of which so many frames are in it."""
    told = f"the prediction log cannot be written: {(bad.strerror or str(bad)).lower()}"
    if bad.errno in _FULL:
        return LogFull(told, str(folder), "make space, or set [log] when_full; see holdfast status", fitted=fitted)
    return ServeError(told, str(folder), "check the disk and permissions; nothing is answered that is not logged")
