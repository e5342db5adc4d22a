"""Log frames of one tick of the event loop, committed together before the answers they belong to go out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

from holdfast.errors import HoldfastError
from holdfast.predictions.journal import Told
from holdfast.predictions.log import Frame

__all__ = ["Commit", "Logged", "Tick"]

Commit = Callable[[Sequence[Frame], Told], None]
Logged = asyncio.Future[HoldfastError | None]
"""Done when a frame is safe, or with what went wrong."""


class Tick:
    """Collects frames.

    Args:
        commit: logs frames, then calls its second argument.
    """

    def __init__(self, commit: Commit) -> None:
        self._commit = commit
        self._waiting: list[tuple[Frame, Logged]] = []

    def logged(self, frame: Frame) -> Logged:
        """Log a frame at the end of this tick, whether or not anybody waits for it then."""
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self._end)
        done: Logged = loop.create_future()
        self._waiting.append((frame, done))
        return done

    def _end(self) -> None:
        waiting, self._waiting = self._waiting, []
        self._commit([frame for frame, _ in waiting], partial(_tell, [done for _, done in waiting]))


def _tell(waiting: Sequence[Logged], bad: HoldfastError | None) -> None:
    for done in waiting:
        if not done.done():  # else its client has gone
            done.set_result(bad)
