"""Round again: train a candidate on the window that the alarms call for, and hold it against the live release.

    sudden change    only rows after the change: the old world is gone
    gradual change   the newest rows, weighted towards today
    no alarm         everything, as the user asked for it
    pipeline fault   never: the feed must be mended, and its rows stay out in any case

The newest fifth of the window is withheld: it is the candidate's reference, and the rows on which candidate and live release are
compared. Neither was fitted on it.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np

from holdfast.core.profile import DAY
from holdfast.errors import BuildError, GateRefused, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from holdfast.core.alarm import Alarm
    from holdfast.core.contract import Contract

__all__ = ["TrainingWindow", "choose_window", "fit", "join_tables", "load_train", "split", "weights"]

WITHHELD = 0.2
MIN_ROWS = 200
"""Fewer labelled rows than this after a sudden change are too few to learn from."""
ERRORS = ("__residual__", "__loss__")


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
        start, end: event times of the oldest and newest labelled row.
        force: retrain although only a pipeline fault is open.

    Raises:
        GateRefused: the only open alarm is a pipeline fault.
    """
    about_errors = [a for a in alarms if a.columns[0] in ERRORS and a.cause != "pipeline fault"]
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
    newest = max(dated, key=lambda a: a.onset or 0)
    onset = newest.onset or start
    if newest.shape == "sudden":
        return TrainingWindow(
            "after the change", newest.onset_high or onset, None, f"alarm {newest.id}: a sudden change"
        )
    # While it is not yet known whether a change is still moving, newer rows are the safer teachers.
    span = max(end - onset, 30 * DAY)
    return TrainingWindow(
        "newest, weighted", max(start, end - 2 * span), span // 2, f"alarm {newest.id}: {newest.shape} change"
    )


def weights(times: npt.NDArray[np.int64], window: TrainingWindow) -> npt.NDArray[np.float64] | None:
    """Weight of each row [n]; None where all weigh the same."""
    if window.half_life_us is None:
        return None
    age = (times.max() - times) / window.half_life_us
    return np.asarray(0.5**age, dtype=np.float64)


def join_tables(
    snapshot: Mapping[str, npt.NDArray[Any]], logged: Mapping[str, npt.NDArray[Any]], names: Sequence[str]
) -> dict[str, npt.NDArray[Any]]:
    """Original data and labelled log as one table of these columns plus `event_time`, by event time."""
    columns = [*names, "event_time"]
    joined = {
        name: np.concatenate([snapshot[name], logged[name]]) for name in columns if name in snapshot or name in logged
    }
    order = np.argsort(joined["event_time"], kind="stable")
    return {name: values[order] for name, values in joined.items()}


def split(
    table: Mapping[str, npt.NDArray[Any]], since: int | None
) -> tuple[dict[str, npt.NDArray[Any]], dict[str, npt.NDArray[Any]]]:
    """Rows to learn from, and the newest fifth, withheld. The table is in order of event time.

    Raises BuildError if the window holds too few rows.
    """
    times = table["event_time"]
    first = 0 if since is None else int(np.searchsorted(times, since))
    rows = len(times) - first
    if rows < MIN_ROWS:
        raise BuildError(
            f"only {rows} labelled rows lie in the training window, {MIN_ROWS} are needed",
            next_step="wait for more labels, or choose a window: --since DATE",
        )
    cut = len(times) - int(rows * WITHHELD)
    return {n: v[first:cut] for n, v in table.items()}, {n: v[cut:] for n, v in table.items()}


def load_train(text: str, folder: Path) -> Callable[[Any, Any], Any]:
    """The user's function from `file.py:function`, relative to the workspace folder."""
    file, _, function = text.partition(":")
    path = folder / file
    if not function or not path.is_file():
        raise UsageError(
            f"no training function: '{text}'", "[deployments.NAME] train", "set it to file.py:function in holdfast.toml"
        )
    spec = importlib.util.spec_from_file_location(f"holdfast_user_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path} cannot be loaded as Python", next_step="give a .py file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        found: Callable[[Any, Any], Any] = getattr(module, function)
    except AttributeError:
        raise UsageError(f"{file} has no function '{function}'", str(path), "check the name") from None
    except Exception as bad:
        raise BuildError(f"{file} fails when it is loaded: {bad!r}", str(path), "run it by itself first") from bad
    return found


def fit(
    train: Callable[[Any, Any], Any],
    table: Mapping[str, npt.NDArray[Any]],
    contract: Contract,
    row_weights: npt.NDArray[np.float64] | None,
) -> Any:
    """Call the user's function with a data frame in the contract's types, and what it returns is the model."""
    frame = to_frame(table, contract)
    try:
        model = train(frame, row_weights)
    except Exception as bad:
        raise BuildError(
            f"the training function failed: {bad!r}", next_step="run it by itself on the same data"
        ) from bad
    if model is None or not hasattr(model, "predict"):
        raise BuildError("the training function returned no fitted model", next_step="return the fitted estimator")
    return model


def to_frame(table: Mapping[str, npt.NDArray[Any]], contract: Contract) -> Any:
    """A pandas data frame as the training script knows it: integers where nothing is missing, booleans, times as times."""
    import pandas as pd

    frame = pd.DataFrame({name: values for name, values in table.items() if name != "event_time"})
    for field in contract.fields:
        if field.name not in frame:
            continue
        if "timestamp" in field.marks:
            frame[field.name] = (
                pd.to_datetime(table["event_time"], unit="us", utc=True).tz_convert(contract.timezone).tz_localize(None)
            )
        elif field.datatype == "BOOL":
            frame[field.name] = frame[field.name].map({"true": True, "false": False})
        elif "INT" in field.datatype and not frame[field.name].isna().any():
            frame[field.name] = frame[field.name].astype(np.int64)
    return frame
