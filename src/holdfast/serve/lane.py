"""Threads for requests that would hold the event loop too long, and a queue before them that stays short.

How long a request would wait is known before it is taken: what is ahead of it, at what each kind took lately. If that is longer
than the limit, or than its deadline, it is turned away at once, and those that were taken stay in time.
"""

from __future__ import annotations

import asyncio
import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, TypeVar

from holdfast.errors import Overloaded

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from holdfast.serve.guards import Grant

__all__ = ["THREADS", "Lane"]

THREADS: Final = min(4, os.cpu_count() or 1)
PATIENCE: Final = 8.0
"""A request may wait this many times as long as it takes, even if that is above the limit."""
GUESS_S: Final = 1e-3
WEIGHT: Final = 0.1
"""Of the newest measurement in a kind's mean."""
KINDS: Final = 4096
Done = TypeVar("Done")


class Lane:
    """One process's threads. All methods belong to the event loop.

    Args:
        limit_s: longest wait for a thread.
        threads: how many there are.
    """

    def __init__(self, limit_s: float = 0.25, threads: int = THREADS) -> None:
        self._limit = limit_s
        self._count = threads
        self._threads = ThreadPoolExecutor(threads, "predict")
        self._took: dict[Hashable, float] = {}
        self._ahead = 0.0
        self.out = 0
        """Requests that were taken and are not back."""

    def wait(self) -> float:
        """Seconds that the next request would wait."""
        return self._ahead / self._count if self.out >= self._count else 0.0

    def submit(
        self, kind: Hashable, work: Callable[[], Done], back: Callable[[Done, float], None], grant: Grant
    ) -> None:
        """Do `work` in a thread, then call `back(what it gave, seconds of processor time)` on the loop; `work` never raises.

        Raises Overloaded if it would have to wait too long.
        """
        took = self._took.get(kind, GUESS_S)
        wait = self.wait()
        if wait > max(self._limit, PATIENCE * took):
            raise Overloaded("too many slow requests at once", "", "try again in a second")
        if grant.deadline is not None and time.perf_counter() + wait + took > grant.deadline:
            raise Overloaded("the answer could not be there within the deadline", "", "allow more time, or come later")
        loop = asyncio.get_running_loop()

        def run() -> None:
            # The thread's own time: waiting for the interpreter must not make a quick model look slow for ever.
            began, processor = time.perf_counter(), time.thread_time()
            done = work()
            seconds = time.thread_time() - processor
            loop.call_soon_threadsafe(ended, done, time.perf_counter() - began, seconds)

        def ended(done: Done, whole: float, processor: float) -> None:
            self.out -= 1
            self._ahead = self._ahead - took if self.out else 0.0
            mean = self._took.get(kind)
            if mean is not None:
                self._took[kind] = mean + WEIGHT * (whole - mean)
            elif len(self._took) < KINDS:
                self._took[kind] = whole
            back(done, processor)

        self.out += 1
        self._ahead += took
        self._threads.submit(run)

    def forget(self) -> None:
        """Other releases answer now."""
        self._took.clear()

    def close(self) -> None:
        """Wait for the threads."""
        self._threads.shutdown()
