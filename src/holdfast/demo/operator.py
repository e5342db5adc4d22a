"""The operator of the demo: what a careful person would do with the alarms, written down in one place.

OPERATOR
    1. A page is an open alarm whose cause is concept, harmful covariate, or covariate and concept. Nothing else pages.
    2. After a page, wait until enough days since the change's onset are completely labelled: 30 where it was sudden, 60 where it
       is gradual, 75 while that is not known. Of several pages, believe the one whose date is known best.
    3. Never retrain while a pipeline fault is open.
    4. Retrain. Where the comparison says that the candidate is better, let it answer a tenth of the houses as a canary for 14
       days, then promote it. Where not, try again after 14 days.
    5. Look again: a later alarm is a new page.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Final, Literal

from holdfast.core.alarm import Alarm
from holdfast.demo.worlds import day_of

__all__ = ["CANARY_DAYS", "CANARY_SHARE", "Operator"]

PAGES: Final = {"concept", "harmful covariate", "covariate and concept"}
LABELLED_DAYS: Final = {"sudden": 30, "gradual": 60, "unknown": 75}
CANARY_DAYS: Final = 14
CANARY_SHARE: Final = 0.1
PAUSE_DAYS: Final = 14


class Operator:
    """Decides once a day; `label_days` is how long the last label of a day takes."""

    def __init__(self, label_days: int) -> None:
        self._label_days = label_days
        self._canary_since: int | None = None
        self._not_before = 0

    def decide(self, day: int, alarms: Sequence[Alarm]) -> Literal["retrain", "promote"] | None:
        """What to do at the end of this day, seeing the open alarms."""
        if self._canary_since is not None:
            return "promote" if day >= self._canary_since + CANARY_DAYS else None
        if day < self._not_before or any(a.cause == "pipeline fault" for a in alarms):
            return None
        pages = [a for a in alarms if a.cause in PAGES]
        return "retrain" if pages and self._learnable(day, min(pages, key=_vagueness)) else None

    def busy(self, alarms: Sequence[Alarm]) -> bool:
        """Whether a page or a canary is being dealt with."""
        return self._canary_since is not None or any(a.cause in PAGES for a in alarms)

    def retrained(self, day: int, *, better: bool) -> None:
        """A candidate was compared with the live release."""
        if better:
            self._canary_since = day
        else:
            self._not_before = day + PAUSE_DAYS

    def promoted(self) -> None:
        """The canary went live."""
        self._canary_since = None

    def _learnable(self, day: int, alarm: Alarm) -> bool:
        onset = day_of(alarm.onset if alarm.onset is not None else alarm.opened)
        return day - self._label_days - onset >= LABELLED_DAYS[alarm.shape]


def _vagueness(alarm: Alarm) -> float:
    """Length of the interval in which the change began."""
    if alarm.onset_low is None or alarm.onset_high is None:
        return inf
    return alarm.onset_high - alarm.onset_low
