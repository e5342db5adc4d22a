"""How much each key has used: requests a second and rows a day, over all workers and restarts, without a lock between them.

One file, one page per key, one slot per worker in it. A worker writes its own slot only and adds up everybody's, so counts are
shared as fast as memory is; what may slip through is one request per other worker. The rate is a sliding window: the running
window's requests, and the last one's in proportion to what of it is still in sight.
"""

from __future__ import annotations

import mmap
import os
import threading
import time
from math import ceil
from typing import TYPE_CHECKING, Final

from holdfast.errors import ServeError, TooMany

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from holdfast.core.access import AccessKey

__all__ = ["Account", "Budgets"]

PAGE: Final = mmap.ALLOCATIONGRANULARITY
WORDS: Final = 4
"""Of a slot: requests of the even window, of the odd window, rows of the day, and one that is not used."""
SLOTS: Final = PAGE // (8 * WORDS)
COUNT_BITS: Final = 32
"""A word is the number of its window or day, then the count: one write changes both."""
COUNT: Final = (1 << COUNT_BITS) - 1
DAY_S: Final = 86_400
BURST: Final = 10
"""Requests that fit in a window at least: it is a second long or, at less than ten requests a second, longer."""


class Budgets:
    """All keys' use, in `run/budgets`.

    Args:
        path: the file; made when it is first needed.
        slot: this worker's number.
        workers: how many there are.
        now: the wall clock in seconds.
    """

    def __init__(self, path: Path, slot: int, workers: int, now: Callable[[], float] = time.time) -> None:
        if max(slot + 1, workers) > SLOTS:
            raise ServeError(f"budgets are shared by at most {SLOTS} workers", "[serve] workers")
        self._path = path
        self._slot = slot
        self._workers = workers
        self._now = now
        self._accounts: dict[int, Account] = {}

    def account(self, key: AccessKey) -> Account | None:
        """The key's account; None if it has no limits."""
        if not (key.rate or key.rows_per_day):
            return None
        found = self._accounts.get(key.number)
        if found is None or found.key != key:
            found = self._accounts[key.number] = Account(
                key, self._page(key.number), self._slot, self._workers, self._now
            )
        return found

    def _page(self, number: int) -> memoryview:
        """A key's page; the file only ever grows."""
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                os.posix_fallocate(file, number * PAGE, PAGE)
                words = memoryview(mmap.mmap(file, PAGE, offset=number * PAGE)).cast("Q")
            finally:
                os.close(file)
        except OSError as bad:
            raise ServeError(f"budgets cannot be kept: {bad.strerror}", str(self._path), "make room") from None
        return words


class Account:
    """One key's use; safe to use from several threads."""

    def __init__(
        self, key: AccessKey, words: memoryview, slot: int, workers: int, now: Callable[[], float] = time.time
    ) -> None:
        self.key = key
        self._words = words
        self._mine = slot * WORDS
        # Slots of workers that are no more (there were more of them, earlier today) count as well.
        self._slots = [i * WORDS for i in range(SLOTS) if i < workers or any(words[i * WORDS : (i + 1) * WORDS])]
        self._now = now
        self._lock = threading.Lock()
        self._window_s = max(1.0, BURST / key.rate) if key.rate else 1.0
        self._most = key.rate * self._window_s
        self._day = key.rows_per_day
        self._window = -1
        self._before = 0
        """Requests of the window before: nobody adds to it any more."""

    def request(self) -> None:
        """Count one request; TooMany if the key has used up its rate or its day."""
        now = self._now()
        with self._lock:
            if self._day and self._sum(2, int(now // DAY_S)) >= self._day:
                raise self._spent(now)
            if self._most:
                self._ask(now)

    def rows(self, count: int) -> None:
        """Count rows; TooMany, and nothing counted, if they are more than the day has left."""
        if not self._day:
            return
        now = self._now()
        day = int(now // DAY_S)
        with self._lock:
            if self._sum(2, day) + count > self._day:
                raise self._spent(now)
            self._add(2, day, count)

    @property
    def left(self) -> int:
        """Rows that the day has left."""
        return max(self._day - self._sum(2, int(self._now() // DAY_S)), 0)

    def _ask(self, now: float) -> None:
        place = now / self._window_s
        number = int(place)
        word = number & 1
        if number != self._window:
            self._window, self._before = number, self._sum(1 - word, number - 1)
        if self._sum(word, number) + self._before * (number + 1.0 - place) + 1.0 > self._most:
            bad = TooMany(
                f"key '{self.key.name}' may ask {self.key.rate:g} times a second", "", "ask less often, or for more"
            )
            bad.retry_s = ceil(1.0 / self.key.rate)
            raise bad
        self._add(word, number, 1)

    def _sum(self, word: int, number: int) -> int:
        """Of all workers."""
        words, total = self._words, 0
        for slot in self._slots:
            value = words[slot + word]
            if value >> COUNT_BITS == number:
                total += value & COUNT
        return total

    def _add(self, word: int, number: int, count: int) -> None:
        place = self._mine + word
        before = self._words[place]
        counted = before & COUNT if before >> COUNT_BITS == number else 0
        self._words[place] = number << COUNT_BITS | (counted + count)

    def _spent(self, now: float) -> TooMany:
        bad = TooMany(
            f"key '{self.key.name}' may ask for {self.key.rows_per_day} rows a day, and has {self.left} left",
            "",
            "wait for the next day (UTC), or ask for a larger budget",
        )
        bad.retry_s = ceil(DAY_S - now % DAY_S)
        return bad
