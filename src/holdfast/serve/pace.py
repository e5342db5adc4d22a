"""Which requests leave the event loop: those that would hold it for more than about a millisecond.

A hop to a thread and back costs more than a small model, and a large one in the loop keeps everybody waiting. So the cost
of a deployment's requests is measured, by the power of two of the body's length. On a busy machine a quick request is now and
then interrupted and looks slow, so one measurement decides nothing unless it is a very long one.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

__all__ = ["Pace"]

SLOW_S: Final = 1e-3
VERY_SLOW_S: Final = 50e-3
QUICK_S: Final = 0.5e-3
"""Back in the loop below this: two lines, so that a cost near one of them does not flap."""
SLOW_IN_A_ROW: Final = 3
QUICK_IN_A_ROW: Final = 8
LARGE: Final = 64 << 10
"""A body of this many bytes leaves the loop until it is known to be quick."""
Kind = tuple[Hashable, int]


class Pace:
    """What is slow, by what is asked and size."""

    def __init__(self) -> None:
        self._slow: dict[Kind, int] = {}  # to how many quick ones in a row
        self._streaks: dict[Kind, int] = {}  # slow ones in a row of what is quick so far
        self._large: set[Kind] = set()  # known to be quick

    def slow(self, asked: Hashable, size: int) -> bool:
        """Whether a request of this many bytes should leave the loop."""
        if size < LARGE and not self._slow:  # the common case: nothing to look up
            return False
        kind = (asked, size.bit_length())
        return kind in self._slow or (size >= LARGE and kind not in self._large)

    def measured(self, asked: Hashable, size: int, seconds: float) -> None:
        """One request took this long."""
        if seconds <= SLOW_S and size < LARGE and not (self._slow or self._streaks):
            return
        kind = (asked, size.bit_length())
        if kind in self._slow:
            self._slow[kind] = quick = self._slow[kind] + 1 if seconds < QUICK_S else 0
            if quick >= QUICK_IN_A_ROW:
                del self._slow[kind]
        elif seconds > SLOW_S:
            self._streaks[kind] = streak = self._streaks.get(kind, 0) + 1
            if streak >= SLOW_IN_A_ROW or seconds > VERY_SLOW_S:
                del self._streaks[kind]
                self._slow[kind] = 0
        else:
            if self._streaks:
                self._streaks.pop(kind, None)
            if size >= LARGE:
                self._large.add(kind)

    def forget(self) -> None:
        """Other releases answer now."""
        self._slow.clear()
        self._streaks.clear()
        self._large.clear()
