"""The panel of one live release: its reference, topped up where it is short, and where the watching stands.

A candidate's reference is the newest fifth of its training window, often fewer than 30 windows. Then the first live windows
are learned, not judged, until there are 30; before that no rate could be stated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from holdfast.stats.calibration import MIN_WINDOWS, Calibration
from holdfast.stats.counts import ColumnSpec, Counts
from holdfast.stats.panel import Budget, Panel, PanelState, StreamName, stream_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.core.profile import Profile
    from holdfast.core.window import Window

__all__ = ["STREAMS", "Progress", "Watch"]

STREAMS: tuple[StreamName, ...] = ("windows", "labels")


class Progress(msgspec.Struct):
    """How far the monitors of one release have come; stored between looks."""

    panel: dict[str, bytes] = {}
    """State of each stream's monitors."""
    done: dict[str, int] = {}
    """Number of the last window judged or learned, per stream."""
    clock: dict[str, int] = {}
    """Deployment clock after that window, microseconds UTC."""
    learned: dict[str, list[bytes]] = {}
    """Counts of live windows that fill up a short reference."""


class Watch:
    """One release's panel, built from its profile and what was learned since."""

    def __init__(self, profile: Profile, per_year: float, progress: Progress) -> None:
        self.profile = profile
        self.progress = progress
        specs = [ColumnSpec.from_dict(column) for column in profile.columns]
        self.specs: dict[StreamName, list[ColumnSpec]] = {s: [c for c in specs if stream_of(c) == s] for s in STREAMS}
        self.reference = {
            "windows": [Counts.from_bytes(packed) for packed in profile.windows.counts],
            "labels": [Counts.from_bytes(packed) for packed in profile.labels.counts],
        }
        self._budget = Budget(per_year)
        self._panel: Panel | None = None
        self._ready: tuple[StreamName, ...] = ()

    def missing(self, stream: StreamName) -> int:
        """How many windows the reference of a stream still lacks."""
        have = len(self.reference[stream]) + len(self.progress.learned.get(stream, ()))
        return max(0, MIN_WINDOWS - have) if self.specs[stream] else 0

    def watches(self, stream: StreamName) -> bool:
        """Whether the stream has columns and enough reference windows."""
        return bool(self.specs[stream]) and not self.missing(stream)

    def learn(self, stream: StreamName, counts: bytes) -> None:
        """Take a live window into a short reference."""
        self.progress.learned.setdefault(stream, []).append(counts)

    def panel(self) -> Panel | None:
        """The panel over the streams that are ready; None while none is."""
        ready = tuple(stream for stream in STREAMS if self.watches(stream))
        if ready and ready != self._ready:
            learned = {s: [Counts.from_bytes(c) for c in self.progress.learned.get(s, ())] for s in ready}
            self._panel = Panel(
                [spec for s in ready for spec in self.specs[s]],
                {s: [*self.reference[s], *learned[s]] for s in ready},
                self._budget,
                self.profile.importance,
                Calibration.from_dict(self.profile.calibration) if self.profile.calibration.get("runs") else None,
                labels_expected=True,
            )
            self._ready = ready
        return self._panel

    def state(self, panel: Panel) -> PanelState:
        """Where the panel stands; streams that have just become ready start afresh."""
        fresh = panel.start()
        kept = {
            name: PanelState.from_bytes(self.progress.panel[name]).streams[name]
            for name in fresh.streams
            if name in self.progress.panel
        }
        return PanelState({**fresh.streams, **kept})

    def keep(self, state: PanelState) -> None:
        """Remember where the panel stands."""
        self.progress.panel = {name: PanelState({name: part}).to_bytes() for name, part in state.streams.items()}

    def complete(self, stream: StreamName, windows: Sequence[Window], clock: int, lateness: float) -> list[Window]:
        """The windows that no on-time row can change any more."""
        rule = self.profile.rule
        if stream == "labels":
            return [w for w in windows if w.rows >= rule.label_rows]
        if rule.kind == "count":
            return [w for w in windows if w.rows >= rule.rows]
        allowance = int(rule.length_us * lateness)
        return [w for w in windows if w.end + allowance <= clock]
