"""How late we are: how long a request has waited for its turn in the event loop, and from when on that is too long.

All that is ready is read in one *tick* of the loop, one request after the other, so a request has waited for about as long as
its tick has lasted. A short burst may wait up to a tenth of a second. But when ticks have been long for that whole time, there
is a standing queue: then only those get in that wait no longer than the limit, and are answered in time, while the others hear
at once that they should come again. Without that everybody would wait, and nobody's answer would be in time.

References: K. Nichols and V. Jacobson, "Controlling queue delay", ACM Queue 10(5), 2012; B. Maurer, "Fail at scale",
ACM Queue 13(8), 2015 (the limit that depends on when the queue was last empty).
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Load"]

BURST_S: Final = 0.1


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
        self._burst = max(self._limit, BURST_S)
        self._began: float | None = None
        self._calm = now()

    def late(self) -> bool:
        """Whether the request at hand has waited too long; called once for each."""
        began = self._began
        if began is None:
            self._began = self._now()
            asyncio.get_running_loop().call_soon(self._end)
            return False
        waited = self._now() - began
        if waited < self._limit:
            return False
        return waited > self._burst or self._now() - self._calm > BURST_S

    def waited(self) -> float:
        """Seconds since this tick began."""
        return 0.0 if self._began is None else self._now() - self._began

    def _end(self) -> None:
        """The tick is over: all that was ready has had its turn."""
        assert self._began is not None
        now = self._now()
        if now - self._began < self._limit / 2.0:
            self._calm = now
        self._began = None
