"""An alarm: a monitor crossed its stated error level. What is known about it, and how it ends.

An open alarm silences only the columns it names. Its shape, date and cause are decided again as evidence grows and are final
when it closes: the values came back, a new release brought a new reference, or a person accepted the new normal.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

__all__ = ["Alarm", "Cause", "Closing", "Shape"]

Shape = Literal["sudden", "gradual", "unknown"]
Cause = Literal[
    "benign covariate",
    "covariate",
    "harmful covariate",
    "covariate and concept",
    "concept",
    "label shift",
    "pipeline fault",
    "unknown",
]
Closing = Literal["returned", "new release", "accepted", "undeployed"]


class Alarm(msgspec.Struct, frozen=True, kw_only=True):
    """One alarm; all times in microseconds UTC on the deployment clock."""

    id: str
    deployment: str
    release: str
    opened: int
    monitors: tuple[str, ...]
    """Named monitors, strongest first, as `column:score`."""
    columns: tuple[str, ...]
    evidence: float
    """Mixture value at opening over the threshold (1 = just crossed)."""
    threshold: str
    """The stated rate as a sentence."""
    onset: int | None = None
    """Change date by event time, with its interval."""
    onset_low: int | None = None
    onset_high: int | None = None
    shape: Shape = "unknown"
    ramp_days: float | None = None
    cause: Cause = "unknown"
    sentence: str = ""
    """What happened, in words that a person understands, and what to do."""
    action: str = ""
    closed: int | None = None
    closing: Closing | None = None
    ended: int | None = None
    """Event time from which the values were back; None while they are not."""
    details: dict[str, Any] = {}
    """What is needed to recompute it: detector, counts, window, z values."""

    @property
    def open(self) -> bool:
        """Whether it still stands."""
        return self.closed is None
