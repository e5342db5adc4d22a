"""What the calibration replay found: the measured right (or not) to state a false-alarm rate.

The report is a value: made by `holdfast.stats.replay` at build time, stored in the release, read by the panel (which
whitens the monitors it names) and by people (`sentence`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

__all__ = ["MIN_WINDOWS", "Calibration", "MonitorCheck", "ReplayRun"]

MIN_WINDOWS = 30
"""Below this many reference windows no false-alarm rate is stated."""


@dataclass(frozen=True)
class ReplayRun:
    """One replay of held-out reference windows: alarms against entitlement at an amplified budget."""

    stream: str
    order: str
    """"in order" or "shuffled"."""
    budget_windows: float
    windows: int
    alarms: int
    limit: int
    """Alarms that a right rate exceeds with probability below 0.1 %."""

    @property
    def kept(self) -> bool:
        """Whether the stated rate was kept."""
        return self.alarms <= self.limit


@dataclass(frozen=True)
class MonitorCheck:
    """Prediction errors of one monitor over the replay: independent with unit variance if windows are exchangeable."""

    monitor: str
    autocorrelation: float
    variance_ratio: float
    """Variance of sums of 5 successive errors over 5 times the variance of one: above 1, days cling together."""


@dataclass(frozen=True)
class Calibration:
    """The whole report. `whitening` maps monitor keys to AR(1) coefficients."""

    runs: tuple[ReplayRun, ...] = ()
    checks: tuple[MonitorCheck, ...] = ()
    whitening: Mapping[str, float] | None = None
    not_guaranteed: tuple[str, ...] = ()
    """Columns whose reference history breaks the rate even after whitening."""
    too_short: tuple[str, ...] = ()
    """Streams with fewer than MIN_WINDOWS reference windows."""

    @property
    def rate_stated(self) -> bool:
        """Whether a rate may be stated for at least some columns."""
        return not self.too_short

    def phi(self, key: str) -> float:
        """AR(1) coefficient of a monitor; 0 if its windows are independent."""
        return (self.whitening or {}).get(key, 0.0)

    def sentence(self) -> str:
        """Say it for a person."""
        if self.too_short:
            which = " and ".join(self.too_short)
            return f"No false-alarm rate is stated: fewer than {MIN_WINDOWS} reference windows ({which})."
        if not self.runs:
            return "The reference is too short for a replay of its own history: the stated rate rests on theory alone."
        held = [run for run in self.runs if run.order == "in order"]
        tried = "; ".join(f"{r.alarms} alarms in {r.windows} {r.stream} at 1 per {r.budget_windows:g}" for r in held)
        whitened = len(self.whitening or {})
        notes = f" {whitened} monitors are corrected for lag-1 correlation." if whitened else ""
        if self.not_guaranteed:
            return (
                f"Rate not guaranteed for: {', '.join(self.not_guaranteed)}.{notes} Replay of the reference: {tried}."
            )
        return f"The reference history keeps the stated rate.{notes} Replay: {tried}."

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON-able values."""
        plain = asdict(self)
        return plain | {"runs": [asdict(r) for r in self.runs], "checks": [asdict(c) for c in self.checks]}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        """Undo `to_dict`."""
        return cls(
            runs=tuple(ReplayRun(**r) for r in plain["runs"]),
            checks=tuple(MonitorCheck(**c) for c in plain["checks"]),
            whitening=None if plain["whitening"] is None else dict(plain["whitening"]),
            not_guaranteed=tuple(plain["not_guaranteed"]),
            too_short=tuple(plain["too_short"]),
        )
