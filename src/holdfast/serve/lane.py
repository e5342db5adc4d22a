"""Threads for requests that would hold the event loop too long, and a queue before them that stays short.

How long a request would wait is known before it is taken: what is ahead of it, at what each kind took lately. If that is longer
than the limit, or than its deadline, it is turned away at once, and those that were taken stay in time.

While all threads are busy, requests wait, and many of them want the same. A thread that is about to ask a model may first answer
such a request *within* the one it has begun (`Turn.another`), up to the same point, and so on; the innermost then asks the model
for all of them at once (`joint`). Nobody waits for company: only those are joined that had to wait anyway.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from holdfast.errors import Overloaded

if TYPE_CHECKING:
    from holdfast.serve.guards import Grant

__all__ = ["THREADS", "Lane", "Turn", "here"]

THREADS: Final = 4
"""More of them would only wait for the interpreter."""
PATIENCE: Final = 8.0
"""A request may wait this many times as long as it takes, even if that is above the limit."""
GUESS_S: Final = 1e-3
WEIGHT: Final = 0.1
"""Of the newest measurement in a kind's mean."""
KINDS: Final = 4096
DEEPEST: Final = 32
"""Requests within each other, at most."""
Done = TypeVar("Done")


class Lane:
    """One process's threads. Methods belong to the event loop, but `aside`, `crowded` and `take` to the threads.

    Args:
        limit_s: longest wait for a thread.
        threads: how many there are.
        join_rows: most rows that one run of a model answers for several requests; below 2: none are joined.
        joined: told, in a thread, how many requests were answered by one run.
    """

    def __init__(
        self,
        limit_s: float = 0.25,
        threads: int = 1,
        join_rows: int = 0,
        joined: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.join_rows = join_rows
        self.joined = joined
        self.out = 0
        """Requests that were taken and are not back."""
        self._limit = limit_s
        self._count = threads
        self._threads = ThreadPoolExecutor(threads, "predict")
        self._took: dict[Hashable, float] = {}
        self._ahead = 0.0
        self._lock = threading.Lock()
        self._waiting: deque[_Request] = deque()
        self._busy = 0
        self._aside = ThreadPoolExecutor(1, "aside")
        self._closing = threading.Event()
        self._own: dict[str, Lane] = {}

    def own(self, name: str) -> Lane:
        """A lane for one deployment whose model answers from another process: should it hang, nobody else waits.

        That process answers one request after the other, so one thread asks it.
        """
        found = self._own.get(name)
        if found is None:
            found = self._own[name] = Lane(self._limit)
        return found

    def wait(self) -> float:
        """Seconds that the next request would wait."""
        return self._ahead / self._count if self.out >= self._count else 0.0

    def submit(
        self, kind: Hashable, work: Callable[[], Done], back: Callable[[Done, float], None], grant: Grant
    ) -> None:
        """Do `work` in a thread, then call `back(what it gave, seconds of processor time)` on the loop; `work` never raises.

        The seconds are what it would take by itself, also where it was joined to others of its kind.
        Raises Overloaded if it would have to wait too long.
        """
        took = self._took.get(kind, GUESS_S)
        wait = self.wait()
        if wait > max(self._limit, PATIENCE * took):
            raise Overloaded("too many slow requests at once", "", "try again in a second")
        if grant.deadline is not None and time.perf_counter() + wait + took > grant.deadline:
            raise Overloaded("the answer could not be there within the deadline", "", "allow more time, or come later")
        loop = asyncio.get_running_loop()

        def ended(done: Done, whole: float, processor: float) -> None:
            self._ended(kind, took, whole)
            back(done, processor)

        def tell(done: Done, whole: float, processor: float) -> None:
            loop.call_soon_threadsafe(ended, done, whole, processor)

        self.out += 1
        self._ahead += took
        request = _Request(kind, work, tell, math.inf if grant.deadline is None else grant.deadline)
        with self._lock:
            self._waiting.append(request)
        self._threads.submit(self._next)

    def _ended(self, kind: Hashable, took: float, whole: float) -> None:
        self.out -= 1
        self._ahead = self._ahead - took if self.out else 0.0
        mean = self._took.get(kind)
        if mean is not None:
            self._took[kind] = mean + WEIGHT * (whole - mean)
        elif len(self._took) < KINDS:
            self._took[kind] = whole

    def forget(self) -> None:
        """Other releases answer now."""
        self._took.clear()
        for name in [name for name, lane in self._own.items() if not lane.out]:
            self._own.pop(name).close()
        for lane in self._own.values():
            lane.forget()

    def close(self) -> None:
        """Wait for the threads."""
        self._closing.set()
        for lane in self._own.values():
            lane.close()
        self._threads.shutdown()
        self._aside.shutdown(cancel_futures=True)

    # ------------------------------------------------------------------------------------------ in threads

    def aside(self, work: Callable[[threading.Event], None]) -> None:
        """Do this in a thread that no request waits for; it ends soon when the event, that we close, is set."""
        if not self._closing.is_set():
            self._aside.submit(work, self._closing)

    def crowded(self, kind: Hashable) -> bool:
        """Whether another of this kind waits, and no thread is free for it."""
        with self._lock:
            return self._busy >= self._count and any(one.kind == kind for one in self._waiting)

    def take(self, kind: Hashable) -> _Request | None:
        """The first that waits of this kind, if no thread is free for it."""
        with self._lock:
            if self._busy >= self._count:
                for place, one in enumerate(self._waiting):
                    if one.kind == kind:
                        del self._waiting[place]
                        return one
        return None

    def _next(self) -> None:
        with self._lock:
            if not self._waiting:  # it was answered within another
                return
            request = self._waiting.popleft()
            self._busy += 1
        try:
            Turn(self, request, None).run()
        finally:
            with self._lock:
                self._busy -= 1


@dataclass(frozen=True)
class _Request:
    kind: Hashable
    work: Callable[[], Any]
    tell: Callable[[Any, float, float], None]
    deadline: float


class Turn:
    """One request in a thread, and what it cost.

    Times are without those of requests that were answered within it, and with its share of what was done for several.
    """

    def __init__(self, lane: Lane, request: _Request, outer: Turn | None) -> None:
        self.lane = lane
        self.kind = request.kind
        self.parties: dict[Any, Any] = {} if outer is None else outer.parties
        """Who asks which model together; one for all that are within each other."""
        self.until: float = request.deadline if outer is None else min(request.deadline, outer.until)
        """By when all of them must have their answers."""
        self._request = request
        self._outer = outer
        self.depth: int = 1 if outer is None else outer.depth + 1
        self._whole = self._processor = 0.0

    def another(self, seconds: float) -> bool:
        """Answer the next that waits for the same, here and now.

        False if none waits, or a thread is free for it, or there is no time for it and for these `seconds`, that follow.
        """
        if self.depth >= DEEPEST or time.perf_counter() + seconds > self.until:
            return False
        request = self.lane.take(self.kind)
        if request is None:
            return False
        Turn(self.lane, request, self).run()
        return True

    def spent(self, whole: float, processor: float) -> None:
        """Add seconds, or take away what belongs to others."""
        self._whole += whole
        self._processor += processor

    def run(self) -> None:
        """Do the work, and tell."""
        # The thread's own time: waiting for the interpreter must not make a quick model look slow for ever.
        began, processor = time.perf_counter(), time.thread_time()
        here.turn = self
        try:
            done = self._request.work()
        finally:
            here.turn = self._outer
        whole, processor = time.perf_counter() - began, time.thread_time() - processor
        if self._outer is None:
            self.parties.clear()  # they know this turn: else only the collector would find them
        else:
            self._outer.spent(-whole, -processor)
        self._request.tell(done, whole + self._whole, processor + self._processor)


class _Here(threading.local):
    turn: Turn | None = None
    """Of the request that this thread works at; None on the event loop."""


here: Final = _Here()
