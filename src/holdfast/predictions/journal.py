"""From a tick's frames to the word that they are safe: how durable the log is, and what happens when the disk is full.

A door hands in what one tick of its event loop answered and is told when those answers may go out, always in the order of
handing in. Under durability `process` that is as soon as the kernel has the bytes: a killed process loses nothing. Under
`machine` it is when the disk has them, so that a power cut loses nothing either. One thread syncs; whatever comes
meanwhile shares the next sync (group commit), and the event loop never waits.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import msgspec

from holdfast.errors import HoldfastError, LogFull, ServeError
from holdfast.predictions.log import Frame

__all__ = ["Journal", "LogCounts", "Told"]

Told = Callable[[HoldfastError | None], None]
"""Called once, with what went wrong if the frames are not safe: then their answers must not go out."""


class Appender(Protocol):
    """What a journal needs of `log.Writer`."""

    def append(self, frames: Sequence[bytes]) -> None:
        """All frames or an error."""
        ...

    def unsynced(self) -> Callable[[], None]:
        """What brings everything written so far to the disk; runs in a thread."""
        ...

    def leave(self) -> None:
        """Go on in a new segment."""
        ...

    def close(self) -> None:
        """Nothing more comes."""
        ...


class LogCounts(msgspec.Struct):
    """What became of the frames of this process."""

    unlogged: int = 0
    """Answered although the disk was full, and so in no log: `[log] when_full = "serve"`."""
    refused: int = 0
    """Not answered, since they could not be logged."""
    full: bool = False
    """The newest write found the disk full."""


class Journal:
    """Group commit of one process.

    Args:
        writer: appends.
        back: runs a function in the event loop from another thread (`loop.call_soon_threadsafe`); None: durability
            `process`, which needs no thread.
        serve_when_full: answer, unlogged and counted, when the disk is full.
        appended: called at every commit, before any answer of it goes out, with the frames that are in the log or will be
            answered without it, and the counts.
    """

    def __init__(
        self,
        writer: Appender,
        *,
        back: Callable[..., object] | None = None,
        serve_when_full: bool = False,
        appended: Callable[[Sequence[Frame], LogCounts], None] | None = None,
    ) -> None:
        self.counts = LogCounts()
        self._writer = writer
        self._back = back
        self._serve_when_full = serve_when_full
        self._appended = appended
        self._waiting: list[tuple[Told, HoldfastError | None]] = []
        self._syncing = False
        self._thread = ThreadPoolExecutor(1, "log") if back is not None else None

    def commit(self, frames: Sequence[Frame], then: Told) -> None:
        """Append the frames of a tick; `then` is called when they are safe. Never raises."""
        bad = None
        if frames:
            bad = self._append(frames)
        else:
            self._tell(())
        if self._thread is None or not (self._syncing or (frames and bad is None)):
            then(bad)
            return
        self._waiting.append((then, bad))
        if not self._syncing:
            self._sync()

    def close(self) -> None:
        """Wait for the disk and give the segment free for compaction."""
        if self._thread is not None:
            self._thread.shutdown()
            _quietly(self._writer.unsynced())
        self._writer.close()

    def _append(self, frames: Sequence[Frame]) -> HoldfastError | None:
        counts = self.counts
        bad: HoldfastError | None = None
        done = frames
        try:
            self._writer.append([frame.data for frame in frames])
            counts.full = False
        except LogFull as full:
            counts.full = True
            if self._serve_when_full:
                counts.unlogged += len(frames) - full.fitted
            else:
                bad, done = full, frames[: full.fitted]
        except HoldfastError as known:
            bad = known
        except Exception as unknown:  # noqa: BLE001 - whatever it was: what is not logged is not answered
            bad = ServeError(f"the prediction log cannot be written: {unknown}", "", "see the server's messages")
        if bad is not None:
            counts.refused += len(frames)
            done = done if isinstance(bad, LogFull) else ()
        self._tell(done)
        return bad

    def _tell(self, done: Sequence[Frame]) -> None:
        if self._appended is not None:
            try:
                self._appended(done, self.counts)
            except Exception:  # noqa: BLE001 - a counter that fails must not cost the answers
                sys.stderr.write(traceback.format_exc())

    def _sync(self) -> None:
        assert self._thread is not None
        group, self._waiting = self._waiting, []
        self._syncing = True
        self._thread.submit(self._work, self._writer.unsynced(), group)

    def _work(self, sync: Callable[[], None], group: list[tuple[Told, HoldfastError | None]]) -> None:
        assert self._back is not None
        self._back(self._synced, group, _quietly(sync))

    def _synced(self, group: list[tuple[Told, HoldfastError | None]], failed: HoldfastError | None) -> None:
        """In the event loop again: the next group goes its way while this one's answers go out."""
        if failed is not None:
            self._writer.leave()  # the kernel may have dropped what it could not write: nothing is added to that file
            self.counts.refused += len(group)
        self._syncing = False
        if self._waiting:
            self._sync()
        for then, bad in group:
            then(bad or failed)


def _quietly(sync: Callable[[], None]) -> HoldfastError | None:
    try:
        sync()
    except OSError as bad:
        return ServeError(
            f"the prediction log did not reach the disk: {bad.strerror}", "", "check the disk; nothing is answered"
        )
    return None
