"""Which requests leave the event loop: those that would hold it for more than about a millisecond.

A hop to a thread and back costs more than a small model, and a large one in the loop keeps everybody waiting. So the cost
of a deployment's requests is measured, as a running mean by the power of two of the body's length.
"""

from __future__ import annotations

from typing import Final

from holdfast.http.routes import Action

__all__ = ["Pace"]

SLOW_S: Final = 1e-3
QUICK_S: Final = 0.5e-3
"""Back in the loop below this: two lines, so that a cost near one of them does not flap."""
WEIGHT: Final = 0.1
"""Of the newest measurement."""
LARGE: Final = 64 << 10
"""A body of this many bytes leaves the loop until it is known to be quick."""


class Pace:
    """Running means of measured cost, in seconds, by what is asked and size."""

    def __init__(self) -> None:
        self._means: dict[tuple[Action, int], float] = {}
        self._slow: set[tuple[Action, int]] = set()

    def slow(self, asked: Action, size: int) -> bool:
        """Whether a request of this many bytes should leave the loop."""
        kind = (asked, size.bit_length())
        return kind in self._slow or (size >= LARGE and kind not in self._means)

    def measured(self, asked: Action, size: int, seconds: float) -> None:
        """One request took this long."""
        kind = (asked, size.bit_length())
        mean = self._means.get(kind, seconds)
        self._means[kind] = mean = mean + WEIGHT * (seconds - mean)
        if mean > SLOW_S:
            self._slow.add(kind)
        elif mean < QUICK_S:
            self._slow.discard(kind)

    def forget(self) -> None:
        """Other releases answer now."""
        self._means.clear()
        self._slow.clear()
