"""How late we are: how long a request has waited for its turn in the event loop, and from when on that is too long.

All that is ready is read in one *tick* of the loop, one request after the other, so a request has waited for about as long as
its tick has lasted. A short burst may wait for longer than the limit. But when that goes on there is a standing queue: then only
those get in that wait no longer than the limit, and are answered in time, while the others hear at once that they should come
again. Without that everybody would wait, and nobody's answer would be in time.

To turn a request away costs a fraction of an answer, but thousands of clients that all come again a second later cost many
answers. So the more of them there are, the later they are told to come.

References: K. Nichols and V. Jacobson, "Controlling queue delay", ACM Queue 10(5), 2012; B. Maurer, "Fail at scale",
ACM Queue 13(8), 2015 (a limit that depends on whether there is a standing queue).
"""

from __future__ import annotations

import asyncio
import time
from math import ceil
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Load"]

BURST_S: Final = 0.05
"""Who comes within so long after the first that waited too long gets in: a stall, when we had to wait for a processor or a disk,
is no queue."""
CALM_S: Final = 1.0
"""After so long without anybody waiting too long, the next burst is a new one, unless it is those who were turned away."""
FEW: Final = 8
"""So few requests before one are no queue, however long they took: to turn it away would help nobody."""
BACK: Final = 600
"""Clients that may come again each second after they were turned away: they cost about a thirtieth of a processor."""
LONGEST_S: Final = 10
"""That they are told on average, at most."""


class Load:
    """The lateness of one event loop.

    Args:
        limit_s: longest wait while there is a standing queue.
        now: a steady clock in seconds.
    """

    def __init__(self, limit_s: float = 0.25, now: Callable[[], float] = time.perf_counter) -> None:
        self._now = now
        # What came during the tick before has waited for that one, too.
        self._limit = limit_s / 2.0
        self._calm = CALM_S
        self._began = 0.0
        self._before = 0  # requests of this tick before the one at hand
        self._first = self._last = now() - CALM_S  # that somebody waited too long, in this burst or queue
        self._counted, self._away = now(), 0  # turned away since
        self._mean = 1  # seconds that they are told

    def late(self) -> bool:
        """Whether the request at hand has waited too long; called once for each."""
        before = self._before
        self._before = before + 1
        if before < FEW:
            if not before:
                self._began = self._now()
                asyncio.get_running_loop().call_soon(self._end)
            return False
        now = self._now()
        if now - self._began < self._limit:
            return False
        if now - self._last >= self._calm:
            self._first = now
        self._last = now
        return now - self._first > BURST_S

    def waited(self) -> float:
        """Seconds since this tick began."""
        return self._now() - self._began if self._before else 0.0

    def again(self) -> int:
        """One is turned away: after how many seconds it should come again. Spread, so that they don't come all at once.

        As many as are turned away each second, times the seconds that they were told, are waiting now (Little's law).
        """
        passed = self._now() - self._counted
        if passed >= 1.0:
            waiting = self._away / passed * self._mean if passed < LONGEST_S else 0.0
            self._mean = min(max(ceil(waiting / BACK), 1), LONGEST_S)
            self._counted += passed
            self._away = 0
        self._away += 1
        longest = 2 * self._mean - 1
        self._calm = max(CALM_S, longest)
        return 1 + self._away % longest

    def _end(self) -> None:
        """The tick is over: all that was ready has had its turn."""
        self._before = 0
