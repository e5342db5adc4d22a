"""The days of the story, whoever plays them: houses are listed, sales become known, monitors look, the operator acts.

`Hands` is how the operator reaches Holdfast: over HTTP and the command line in `story`, by function calls in `inprocess`. What
happens is the same.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from holdfast.core.alarm import Alarm
from holdfast.core.ports import Database
from holdfast.decide.gates import Comparison
from holdfast.demo.operator import CANARY_DAYS, CANARY_SHARE, Operator
from holdfast.demo.scoreboard import Calendar, Promote, Scoreboard, mark
from holdfast.demo.worlds import AFTERWARDS, APART, Sales, Truth, World, date_of, day_of, day_start
from holdfast.retrain import TrainingWindow

__all__ = ["Answers", "Candidate", "Errors", "Hands", "Played", "Told", "mark_played", "play"]

Floats = NDArray[np.float64]
Told = Callable[[int, str], None]
"""Called with day and sentence whenever something happens."""
QUIET_DAYS = 730
"""Days that a quiet story goes on."""
PATIENCE = 120
"""Days that a change waits for a busy operator."""


class Answers(msgspec.Struct, frozen=True):
    """What was answered to the rows of a day, in their order."""

    ids: list[str]
    predictions: NDArray[Any]


class Candidate(msgspec.Struct, frozen=True):
    """What came of a retraining."""

    release: str
    better: bool
    sentence: str
    since: int
    """Event times of the first and last training row, microseconds UTC; where rows are weighted, half of the weight lies in
    the newer half of that span."""
    until: int

    @classmethod
    def of(cls, release: str, window: TrainingWindow, comparison: Comparison) -> Candidate:
        """From what a retraining tells."""
        until = comparison.since
        since = window.since if window.since is not None else day_start(0)
        since = since if window.half_life_us is None else until - 2 * window.half_life_us
        return cls(release, comparison.verdict == "better", comparison.sentence, since, until)


class Hands(Protocol):
    """Everything the operator can do."""

    def serve(self, sales: Sales) -> Answers:
        """Ask for an estimate of every row, one by one, in order of time."""
        ...

    def label(self, ids: Sequence[str], values: Sequence[Any], observed: Sequence[int]) -> None:
        """Report what became known, when (microseconds UTC)."""
        ...

    def look(self) -> list[Alarm]:
        """Have everything counted, joined and judged; all alarms so far."""
        ...

    def never_retrained(self, sales: Sales) -> NDArray[Any]:
        """What the first release answers to these rows."""
        ...

    def retrain(self) -> Candidate:
        """Train a candidate and compare it with the live release."""
        ...

    def rollout(self, release: str, share: float) -> None:
        """Let it answer this share of the keys."""
        ...

    def promote(self) -> None:
        """Make the canary live."""
        ...


@dataclass
class Errors:
    """Error of what was answered, and of the first release on the same rows."""

    world: World
    days: list[int] = field(default_factory=list)
    held: list[float] = field(default_factory=list)
    never: list[float] = field(default_factory=list)

    def add(self, sales: Sales, answered: NDArray[Any], never: NDArray[Any]) -> None:
        """Take in a day."""
        self.days.append(sales.day)
        self.held.append(float(np.mean(self.world.loss(sales.label, answered))))
        self.never.append(float(np.mean(self.world.loss(sales.label, never))))

    def between(self, first: int, until: int) -> dict[str, float]:
        """Both errors over the days [first, until)."""
        here = [i for i, day in enumerate(self.days) if first <= day < until]
        return {
            "with_holdfast": round(self.world.summary(float(np.mean([self.held[i] for i in here]))), 4),
            "never_retrained": round(self.world.summary(float(np.mean([self.never[i] for i in here]))), 4),
        }

    def report(self, promotes: Sequence[Promote]) -> dict[str, Any]:
        """Overall, by month, and by release."""
        months: dict[str, list[int]] = defaultdict(list)
        for day in self.days:
            months[date_of(day_start(day))[:7]].append(day)
        cuts = [self.days[0], *(p.day + 1 for p in promotes), self.days[-1] + 1]
        tenures = [(a, b) for a, b in pairwise(cuts) if a < b]
        return {
            "metric": self.world.metric,
            "overall": self.between(self.days[0], self.days[-1] + 1),
            "by_release": [
                {"from": date_of(day_start(a)), "until": date_of(day_start(b)), **self.between(a, b)}
                for a, b in tenures
            ],
            "by_month": [{"month": m, **self.between(ds[0], ds[-1] + 1)} for m, ds in months.items()],
        }


@dataclass
class Played:
    """What happened."""

    truths: list[Truth]
    alarms: list[Alarm]
    promotes: list[Promote]
    errors: Errors
    first: int
    last: int
    rows: int


def play(world: World, hands: Hands, tell: Told, each_day: Callable[[int, int], None]) -> Played:
    """Play the whole story; `each_day(day, expected last day)` is called after every day."""
    operator, errors = Operator(world.label_days[1]), Errors(world)
    planned, truths = list(world.planned), list[Truth]()
    promotes: list[Promote] = []
    alarms: list[Alarm] = []
    waiting: dict[int, list[tuple[int, str, Any]]] = defaultdict(list)
    candidate: Candidate | None = None
    day, rows = world.live, 0
    last = world.live + QUIET_DAYS if not planned else planned[-1].earliest + AFTERWARDS + APART
    while day <= last:
        if planned and _may_begin(day, planned[0], truths, promotes, operator.busy([a for a in alarms if a.open])):
            truths.append(planned.pop(0).begin(day))
            tell(day, f"(the town: {truths[-1].name} begins)")
            last = day + AFTERWARDS if not planned else last
        sales = world.day(day, truths)
        answers = hands.serve(sales)
        rows += len(answers.ids)
        errors.add(sales, answers.predictions, hands.never_retrained(sales))
        for prediction_id, value, sold in zip(answers.ids, sales.label.tolist(), sales.sold.tolist(), strict=True):
            waiting[day_of(sold)].append((sold, prediction_id, value))
        due = sorted(waiting.pop(day, []))
        if due:
            hands.label([d[1] for d in due], [d[2] for d in due], [d[0] for d in due])
        alarms = _told(tell, day, alarms, hands.look())
        step = operator.decide(day, [a for a in alarms if a.open])
        if step == "retrain":
            candidate = _retrain(hands, tell, day, operator)
        elif step == "promote" and candidate is not None:
            hands.promote()
            operator.promoted()
            promotes.append(Promote(day, day_of(candidate.since), day_of(candidate.until)))
            tell(day, f"promoted: {candidate.release[:12]} is live")
        each_day(day, last)
        if planned and day >= last:
            last += APART  # the operator is busy; the world waits for it
        day += 1
    return Played(truths, alarms, promotes, errors, world.live, day - 1, rows)


def _may_begin(day: int, planned: Any, truths: Sequence[Truth], promotes: Sequence[Promote], busy: bool) -> bool:  # noqa: FBT001
    """A fixed change begins on its day; the others keep apart from each other and from what the operator does."""
    if planned.fixed or day < planned.earliest:
        return bool(day >= planned.earliest)
    settled = max((t.ended if t.ended is not None else t.settled for t in truths), default=0)
    apart = day - max(settled, *(p.day for p in promotes), 0) >= APART
    return apart and (not busy or day >= max(settled + APART, planned.earliest) + PATIENCE)


def _told(tell: Told, day: int, before: Sequence[Alarm], now: list[Alarm]) -> list[Alarm]:
    """Tell what is new about alarms; returns them."""
    known = {a.id: a for a in before}
    for alarm in now:
        old = known.get(alarm.id)
        if old is None:
            tell(day, f"ALARM {alarm.id}: {alarm.sentence}")
        elif old.open and not alarm.open:
            tell(day, f"alarm {alarm.id} closed ({alarm.closing}): {alarm.shape}, {alarm.cause}")
        elif (old.cause, old.shape) != (alarm.cause, alarm.shape) and alarm.open:
            tell(
                day,
                f"alarm {alarm.id}: {alarm.shape if alarm.shape != 'unknown' else 'shape not yet known'}, {alarm.cause}",
            )
    return now


def _retrain(hands: Hands, tell: Told, day: int, operator: Operator) -> Candidate:
    candidate = hands.retrain()
    operator.retrained(day, better=candidate.better)
    tell(day, f"retrained: {candidate.sentence}")
    if candidate.better:
        hands.rollout(candidate.release, CANARY_SHARE)
        tell(day, f"canary: {candidate.release[:12]} answers {CANARY_SHARE:.0%} for {CANARY_DAYS} days")
    return candidate


def mark_played(database: Database, world: World, played: Played) -> Scoreboard:
    """Truth against what Holdfast said."""
    calendar = Calendar(
        first=played.first,
        last=played.last,
        rated=_rated_days(database, world.name),
        label_lag=sum(world.label_days) / 2,
        first_label=world.label_days[0],
    )
    return mark(played.truths, played.alarms, played.promotes, calendar)


def _rated_days(database: Database, deployment: str) -> frozenset[int]:
    """Days on which a false-alarm rate was stated: those whose inputs were judged, not learned."""
    with database.begin() as stores:
        state = stores.deployments.get(deployment)
        points = [p for r in (*state.previous, state.live) for p in stores.monitors.evidence(deployment, r)]
    return frozenset(day_of(point["at"] - 1) for point in points if point["stream"] == "windows")
