"""The deployment clock: the wall clock or, in a replay of old data, the largest event time seen.

Monitors know only this clock and event time, so a year can pass in a minute and gives what the year would have given.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from holdfast.columns.times import NO_TIME
from holdfast.errors import InvalidInput

__all__ = ["Clock", "wall_clock"]

SKEW_US: Final = 5 * 60 * 1_000_000
"""How far a client's clock may be ahead of ours: more is a wrong time, which would close windows before their time."""


def wall_clock() -> int:
    """Microseconds since 1970 UTC."""
    return time.time_ns() // 1000


class Clock:
    """All deployments' clocks in one process; safe to use from several threads.

    Args:
        replay: follow event times.
        now: the wall clock, microseconds UTC.
    """

    def __init__(self, *, replay: bool = False, now: Callable[[], int] = wall_clock) -> None:
        self.replay = replay
        self.now = now
        self._seen: dict[str, int] = {}
        self._lock = threading.Lock()

    def at(self, deployment: str, wall: int) -> int:
        """The deployment's clock at this wall clock; before a replay's first event that is the wall clock itself."""
        return self._seen.get(deployment, wall) if self.replay else wall

    def receive(self, deployment: str, times: NDArray[np.int64] | None, wall: int, field: str = "") -> int:
        """The clock at receipt of rows with these event times. Outside a replay, times in the future are refused."""
        if times is None or (latest := int(times[0]) if len(times) == 1 else int(times.max())) == NO_TIME:
            return self.at(deployment, wall)
        if self.replay:
            with self._lock:
                clock = max(self._seen.get(deployment, latest), latest)
                self._seen[deployment] = clock
            return clock
        if latest > wall + SKEW_US:
            raise InvalidInput(
                "the event time lies in the future",
                next_step="mend the sender's clock or its time zone; to replay, use: holdfast serve --replay",
                row=int(times.argmax()),
                field=field,
            )
        return wall
