"""What a pattern of moved monitors means, in words that a person understands, and what to do about it.

    missing, unseen, out of range in bulk, stuck  pipeline fault: mend the feed, do not retrain
    inputs only, errors quiet                     benign covariate: no action
    inputs, labels not there yet                  covariate: look at the error when labels land
    inputs and loss, signed error quiet           harmful covariate: retrain with data like today's
    inputs and signed error                       covariate and concept: retrain on data after the change
    loss or signed error, inputs quiet            concept: retrain on recent labels (the signed error leads the loss)
    output only                                   label shift or an unwatched combination of inputs

Under a pure covariate shift inside the reference's support the signed error of a calibrated model keeps its mean, while the
loss may rise where errors are larger; so a moved signed error says that the relation itself has changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from holdfast.core.profile import CONFIDENCE, DAY, LOSS, OUTPUT, RESIDUAL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.core.alarm import Alarm, Cause

__all__ = ["Moved", "Verdict", "diagnose", "tell"]

BULK: Final = 0.2
"""A column is broken rather than drifting when at least this share of its rows newly misses or leaves its range."""
CROWD: Final = 0.5
"""... or when this much more of its rows crowd into one of its bins, which held a thirty-second each."""
TOLD: Final = 4
"""Columns that a sentence names, the strongest first; the alarm holds them all."""
PEOPLE_SAY: Final = {
    OUTPUT: "the predictions",
    CONFIDENCE: "the confidence",
    LOSS: "the error",
    RESIDUAL: "the signed error (truth minus prediction)",
}


@dataclass(frozen=True)
class Moved:
    """One column that an open alarm names."""

    column: str
    group: str
    scores: tuple[str, ...]
    size: float
    """Signed distance from the reference, in standard deviations of a reference window."""
    faulty_before: float
    faulty_now: float
    """Share of rows that are missing, unseen or out of range."""
    crowded_before: float = 0.0
    crowded_now: float = 0.0
    """Share of rows in the fullest bin of a column that had many: near 1 when a column is stuck or its unit has changed."""

    @property
    def broken(self) -> bool:
        """A fault of the feed rather than a change of the world."""
        rise = self.faulty_now - self.faulty_before
        only_faults = {"missing", "unseen"} & set(self.scores[:1])
        stuck = self.crowded_now - self.crowded_before >= CROWD
        return self.group == "input" and (rise >= BULK or stuck or bool(only_faults))


@dataclass(frozen=True)
class Verdict:
    """Cause and what follows from it."""

    cause: Cause
    meaning: str
    action: str


def diagnose(moved: Sequence[Moved], *, errors_known: bool, name: str) -> Verdict:
    """Read the pattern of everything that moved at the same time.

    errors_known: enough labels of rows after the onset have arrived that a moved error would show.
    """
    groups = {m.group for m in moved if not m.broken}
    broken = [m.column for m in moved if m.broken]
    inputs, signed, loss = "input" in groups, "residual" in groups, "loss" in groups
    retrain = f"holdfast retrain {name}"
    if broken:
        columns = ", ".join(broken)
        return Verdict(
            "pipeline fault",
            f"values of {columns} cannot be right: a broken or changed feed, not a change of the world",
            f"mend the feed of {columns}; do not retrain",
        )
    if signed and inputs:
        return Verdict("covariate and concept", "the inputs have moved and so has their relation to the truth", retrain)
    if loss and inputs:
        return Verdict("harmful covariate", "the inputs have moved to where the model errs more", retrain)
    if signed or loss:
        return Verdict("concept", "the inputs are quiet, so their relation to the truth has changed", retrain)
    if inputs and errors_known:
        return Verdict("benign covariate", "the inputs have moved, the errors have not", "nothing to do; keep watching")
    if inputs:
        return Verdict(
            "covariate",
            "the inputs have moved; whether it hurts will show when labels arrive",
            f"holdfast status {name}",
        )
    return Verdict("label shift", "the predictions have moved while no single input has", f"holdfast status {name}")


def tell(alarm: Alarm, moved: Sequence[Moved], verdict: Verdict) -> str:
    """One sentence: what moved, how, since when, what it means."""
    subjects = [_subject(m) for m in moved[:TOLD]]
    if len(moved) > TOLD:
        subjects.append(f"{len(moved) - TOLD} more")
    listed = subjects[0] if len(subjects) == 1 else ", ".join(subjects[:-1]) + " and " + subjects[-1]
    return f"{listed[0].upper()}{listed[1:]}{_since(alarm)}: {verdict.meaning}."


def _subject(moved: Moved) -> str:
    name = PEOPLE_SAY.get(moved.column, moved.column)
    if moved.crowded_now - moved.crowded_before >= CROWD and moved.broken:
        return f"{name} ({moved.crowded_now:.0%} of its rows crowd into one bin, {moved.crowded_before:.0%} before)"
    if moved.broken or moved.scores[0] in ("missing", "unseen", "out_of_range"):
        kind = {"missing": "missing", "unseen": "unknown"}.get(moved.scores[0], "out of range")
        return f"{name} ({kind} or invalid in {moved.faulty_now:.0%} of rows, {moved.faulty_before:.1%} before)"
    way = "rose" if moved.size > 0 else "fell"
    what = moved.scores[0]
    if what == "spread":
        return f"the spread of {name} {way}"
    if what.startswith("category:"):
        return f"the share of {name} = {what.partition(':')[2]} {way}"
    return f"{name} {way}"


def _since(alarm: Alarm) -> str:
    if alarm.onset is None or alarm.onset_low is None or alarm.onset_high is None:
        return ""
    how = {"sudden": ", suddenly,", "gradual": ", gradually,", "unknown": ""}[alarm.shape]
    over = f" over {alarm.ramp_days:.0f} days or more" if alarm.shape == "gradual" and alarm.ramp_days else ""
    between = f" (between {_day(alarm.onset_low)} and {_day(alarm.onset_high)})"
    wide = between if alarm.onset_high - alarm.onset_low > DAY else ""
    ended = f" until {_day(alarm.ended)}" if alarm.ended is not None else ""
    return f"{how}{over} since about {_day(alarm.onset)}{wide}{ended}"


def _day(at: int) -> str:
    return datetime.fromtimestamp(at / 1e6, UTC).strftime("%Y-%m-%d")
