"""Counts that outlive their process and that its neighbours can read: a small file per serving process, mapped into memory.

A file holds its numbers twice, with the log position that they stand for, and a sequence word that says which copy holds:
once a tick, after the log was written, the other copy is brought up to date and the word moves on. So a process may be killed
at any instruction and its file still tells a true count and where in the log to go on counting. Whoever reads it counts the
frames behind that position itself; nothing is lost, nothing counted twice.

    words of 64 bits:  magic, sequence, numbers in a copy, copy, copy     then, as msgpack, what the numbers mean
"""

from __future__ import annotations

import contextlib
import mmap
import os
from array import array
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from holdfast.core.prediction import Record
from holdfast.predictions import log as wal

__all__ = ["Book", "Page", "Position", "Series", "alive", "behind", "books", "fleets", "read", "total", "unsettled"]

MAGIC: Final = 0x31303054_4E554F43
HEAD: Final = 3
WORD: Final = 8
SEQUENCE: Final = 1
PLACE: Final = 2
"""A copy begins with the log position: segment and offset."""
TRIES: Final = 1000
SUFFIX: Final = ".counts"
FLEET: Final = "fleet-"
"""How the folder of a server's own files begins; its process id follows."""

Series = tuple[str, ...]
"""What is counted, then its labels."""


class Position(NamedTuple):
    """Up to where in whose log."""

    writer: str
    number: int
    offset: int


class Page(NamedTuple):
    """What one process has counted."""

    worker: str
    position: Position
    numbers: dict[Series, list[int]]


class _Meaning(msgspec.Struct, frozen=True):
    worker: str
    writer: str
    series: list[tuple[Series, int]]
    """In order, with how many numbers each has."""


class Book:
    """The numbers of one process: plain integers to add to, and `flush` to let others see them.

    Args:
        worker: name of the process.
        writer: of its log.
        path: of the file; None: nobody else looks.
    """

    def __init__(self, worker: str = "", writer: str = "", path: Path | None = None) -> None:
        self.values = array("q", [0] * PLACE)
        """All numbers; `start` says where a series has its own."""
        self.changed: set[int] = set()
        """Starts of the series that were added to since the last flush; whoever adds says so."""
        self._worker = worker
        self._writer = writer
        self._path = path
        self._sizes: dict[int, int] = {}
        self._starts: dict[Series, int] = {}
        self._stale: set[int] = set()  # in the copy that is written next
        self._own = memoryview(self.values)
        self._shared: memoryview | None = None

    def start(self, series: Series, size: int = 1) -> int:
        """Index of the first of this series' numbers, zeros at first."""
        found = self._starts.get(series)
        if found is None:
            found = self._starts[series] = len(self.values)
            self._sizes[found] = size
            self._own.release()  # else the array may not grow
            self.values.extend([0] * size)
            self._own = memoryview(self.values)
            self._shared = None  # the file is written anew
        return found

    @property
    def page(self) -> Page:
        """Everything, as others see it."""
        values = self.values
        numbers = {s: values[i : i + self._sizes[i]].tolist() for s, i in self._starts.items()}
        return Page(self._worker, Position(self._writer, values[0], values[1]), numbers)

    def flush(self, number: int, offset: int) -> None:
        """These numbers stand for the log up to here."""
        self.values[0], self.values[1] = number, offset
        if self._path is None:
            return
        if self._shared is None:
            with contextlib.suppress(OSError):  # no space: the old file stands, and from its position on the log tells
                self._shared = self._anew(self._path)
                self._stale, self.changed = set(), set()
            return
        shared, own, sizes = self._shared, self._own, self._sizes
        sequence = shared[SEQUENCE]
        copy = HEAD + len(own) * (~sequence & 1)
        changed, stale = self.changed, self._stale
        for start in changed if changed == stale else changed | stale:
            size = sizes[start]
            if size == 1:
                shared[copy + start] = own[start]
            else:
                shared[copy + start : copy + start + size] = own[start : start + size]
        shared[copy], shared[copy + 1] = number, offset
        shared[SEQUENCE] = sequence + 1
        stale.clear()
        self._stale, self.changed = changed, stale

    def _anew(self, path: Path) -> memoryview:
        """A file with more numbers takes the old one's place whole."""
        meaning = _Meaning(self._worker, self._writer, [(s, self._sizes[i]) for s, i in self._starts.items()])
        words = array("q", [MAGIC, 0, len(self.values)]) + self.values + self.values
        path.parent.mkdir(parents=True, exist_ok=True)
        waiting = path.with_name(f".{path.name}.{os.getpid()}")
        waiting.write_bytes(words.tobytes() + msgspec.msgpack.encode(meaning))
        with waiting.open("r+b") as file:
            shared = mmap.mmap(file.fileno(), 0)
        waiting.replace(path)
        return memoryview(shared)[: len(words) * WORD].cast("q")


def read(path: Path) -> Page | None:
    """What the process of this file has flushed last; None if there is no such file."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        for _ in range(TRIES):
            data = os.pread(fd, os.fstat(fd).st_size, 0)
            # As long as the word stands, only the other copy was being written.
            if os.pread(fd, WORD, SEQUENCE * WORD) == data[SEQUENCE * WORD : (SEQUENCE + 1) * WORD]:
                return _parsed(data)
    finally:
        os.close(fd)
    raise OSError(f"{path} changes faster than it can be read")


def behind(log: Path, position: Position) -> Iterator[tuple[Record, int, int, int]]:
    """Records that stand in the log behind a position: record, its bytes, and segment and offset after it."""
    folder = log / wal.WAL / position.writer
    for path in sorted(folder.glob("*.wal")):
        number = int(path.stem)
        if number < position.number:
            continue
        offset = position.offset if number == position.number else 0
        segment = wal.Segment(position.writer, number, path)
        while (part := wal.read(segment, offset)).end > offset:
            for entry in part.entries:
                yield entry.record, entry.end - entry.start, number, entry.end
            offset = part.end


def books(folder: Path) -> list[Path]:
    """Files of all processes in this folder."""
    return sorted(folder.glob(f"[!.]*{SUFFIX}"))


def fleets(run: Path) -> list[Path]:
    """Folders of the servers that run on this workspace, each with the counts of its processes."""
    return [folder for folder in sorted(run.glob(f"{FLEET}*")) if alive(int(folder.name.removeprefix(FLEET)))]


def alive(pid: int) -> bool:
    """Whether there is such a process, whoever's it is."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def unsettled(folders: Callable[[], list[Path]]) -> Callable[[wal.Segment], bool]:
    """Whether a segment holds frames that a dead process wrote but did not count: it must stay until they are."""

    def check(segment: wal.Segment) -> bool:
        for folder in folders():
            for path in books(folder):
                page = read(path)
                if page is not None and page.position.writer == segment.writer:
                    end = (segment.number, segment.path.stat().st_size)
                    return (page.position.number, page.position.offset) < end
        return False

    return check


def _parsed(data: bytes) -> Page:
    words = memoryview(data)[: HEAD * WORD].cast("q")
    size = words[2]
    if words[0] != MAGIC:
        raise OSError("not a file of counts")
    behind_copies = (HEAD + 2 * size) * WORD
    begin = (HEAD + size * (words[SEQUENCE] & 1)) * WORD
    values = memoryview(data)[begin : begin + size * WORD].cast("q").tolist()
    meaning = msgspec.msgpack.decode(memoryview(data)[behind_copies:], type=_Meaning)
    numbers: dict[Series, list[int]] = {}
    at = PLACE
    for series, length in meaning.series:
        numbers[series] = values[at : at + length]
        at += length
    return Page(meaning.worker, Position(meaning.writer, values[0], values[1]), numbers)


def total(pages: list[Mapping[Series, list[int]]]) -> dict[Series, list[int]]:
    """Sums over processes."""
    found: dict[Series, list[int]] = {}
    for page in pages:
        for series, numbers in page.items():
            before = found.get(series)
            found[series] = list(numbers) if before is None else [a + b for a, b in zip(before, numbers, strict=True)]
    return found
