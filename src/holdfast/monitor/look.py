"""What one look at one deployment works with."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

from holdfast.stats.counts import Counts

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.core.deployment import Deployment
    from holdfast.core.ports import Stores
    from holdfast.core.window import Stream, Window
    from holdfast.monitor.watch import Watch
    from holdfast.stats.panel import StreamName

__all__ = ["Look", "Step"]


@dataclass
class Look:
    """What one look at one deployment works with; what it has read and decoded is kept for its many steps."""

    stores: Stores
    deployment: Deployment
    watch: Watch
    clock: int
    decode: Callable[[bytes], Counts] = field(default_factory=lambda: cache(Counts.from_bytes))
    read: dict[Stream, list[Window]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Of the deployment."""
        return self.deployment.name

    @property
    def release(self) -> str:
        """The live one, by digest."""
        return self.deployment.live

    def windows(self, stream: Stream) -> list[Window]:
        """All live windows of a stream up to the step's clock, oldest first."""
        if stream not in self.read:
            self.read[stream] = self.stores.windows.read(self.name, self.release, stream, track="live")
        return [w for w in self.read[stream] if w.end <= self.clock]


@dataclass(frozen=True)
class Step:
    """One window to judge, and the deployment clock at which it was complete."""

    at: int
    stream: StreamName
    window: Window
