"""Which rows a candidate learns from, read off the open alarms.

sudden change    only rows after the change: the old world is gone
gradual change   the newest rows, weighted towards today
no alarm         everything, as the user asked for it
pipeline fault   never: the feed must be mended, and its rows stay out in any case
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec
import numpy as np

from holdfast.core.profile import DAY, LOSS, RESIDUAL
from holdfast.errors import GateRefused

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from holdfast.core.alarm import Alarm

__all__ = ["TrainingWindow", "choose_window", "weights"]


class TrainingWindow(msgspec.Struct, frozen=True):
    """Which rows a candidate learns from, and why. Event times in microseconds UTC."""

    kind: Literal["after the change", "newest, weighted", "everything", "as asked"]
    since: int | None
    half_life_us: int | None
    """Weights halve over this span before the newest row; None: all rows weigh the same."""
    why: str


def choose_window(alarms: Sequence[Alarm], *, start: int, end: int, force: bool = False) -> TrainingWindow:
    """What the open alarms call for.

    Args:
        alarms: open alarms of the deployment.
        start: event time of the oldest labelled row.
        end: of the newest.
        force: retrain although only a pipeline fault is open.

    Raises:
        GateRefused: the only open alarm is a pipeline fault.
    """
    about_errors = [a for a in alarms if {LOSS, RESIDUAL} & set(a.columns) and a.cause != "pipeline fault"]
    faults = [a for a in alarms if a.cause == "pipeline fault"]
    if faults and not about_errors and not force:
        columns = ", ".join(faults[0].columns)
        raise GateRefused(
            f"a pipeline fault is open ({columns}): retraining would learn from broken data",
            faults[0].id,
            f"mend the feed; or look at it: holdfast alarms {faults[0].id}",
        )
    dated = [a for a in about_errors if a.onset is not None]
    if not dated:
        return TrainingWindow("everything", None, None, "no alarm on the errors is open")
    best = min(dated, key=lambda a: (a.shape == "unknown", (a.onset_high or end) - (a.onset_low or start)))
    onset = best.onset or start
    if best.shape == "sudden":
        return TrainingWindow("after the change", best.onset_high or onset, None, f"alarm {best.id}: a sudden change")
    # While it is not yet known whether a change is still moving, newer rows are the safer teachers.
    span = max(end - onset, 30 * DAY)
    return TrainingWindow(
        "newest, weighted", max(start, end - 2 * span), span // 2, f"alarm {best.id}: {best.shape} change"
    )


def weights(times: npt.NDArray[np.int64], window: TrainingWindow) -> npt.NDArray[np.float64] | None:
    """Weight of each row [n]; None where all weigh the same."""
    if window.half_life_us is None:
        return None
    age = (times.max() - times) / window.half_life_us
    return np.asarray(0.5**age, dtype=np.float64)
