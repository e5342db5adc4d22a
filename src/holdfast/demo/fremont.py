"""The real stream: bicycles over the Fremont Bridge in Seattle, hour by hour, until the offices emptied in March 2020.

Nobody knows this world's truth, so there is no scoreboard: the story sets what Holdfast said beside the error as it really was,
quarter by quarter. The operator retrains on 2020-06-01 and promotes; the same weeks are then answered by both releases.

    fit 2013 to 2016, reference 2017 and 2018, live from 2019; labels are known an hour later
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from holdfast.demo.commands import holdfast, python
from holdfast.demo.worlds import date_of
from holdfast.errors import UsageError
from holdfast.workspace import open_workspace

__all__ = ["NAME", "play_fremont", "table_of"]

NAME: Final = "fremont"
SCRIPT: Final = "train_fremont.py"
LABEL: Final = "bikes_total"
CALENDAR: Final = ("hour", "weekday", "day_of_year")
RETRAINED_ON: Final = "2020-06-01"
COMPARED_UNTIL: Final = "2020-07-01"
Table = dict[str, NDArray[Any]]


def play_fremont(folder: Path, data: Path | None, tell: Callable[[str], None]) -> dict[str, Any]:
    """Play it in an empty workspace folder; what it ends with."""
    if data is None or not data.is_file():
        raise UsageError(
            "the story 'fremont' needs its data", "--data", "give the Fremont Bridge counter as Parquet or CSV"
        )
    _first_release(folder, data)
    tell("fitted on 2013 to 2016, reference 2017 and 2018, live from 2019-01-01")
    early = _pass(folder, folder / "early.parquet", NAME)
    alarms = holdfast(folder, "alarms")["alarms"]
    for alarm in alarms:
        tell(f"{date_of(alarm['opened'])}  {alarm['id']}: {alarm['sentence']}")
    outcome = holdfast(folder, "retrain", NAME)
    tell(f"{RETRAINED_ON}  retrained: {outcome['sentence']}")
    holdfast(folder, "rollout", outcome["release"], "--as", NAME, "--share", "0.1")
    holdfast(folder, "promote", NAME)
    later = [_pass(folder, folder / "later.parquet", name) for name in (NAME, f"{NAME}-never-retrained")]
    after = [_wape(rows) for rows in later]
    tell(f"{RETRAINED_ON} to {COMPARED_UNTIL}  error {after[0]:.0%} with Holdfast, {after[1]:.0%} never retrained")
    return {
        "alarms": alarms,
        "quarters": _quarters(early),
        "retrained": outcome,
        "wape_after": {"with_holdfast": after[0], "never_retrained": after[1], "rows": len(later[0][LABEL])},
    }


def table_of(found: dict[str, Any]) -> list[tuple[str, str, str]]:
    """The quarters for people: when, how wrong the model really was, which alarms opened."""
    rows = []
    for quarter in found["quarters"]:
        opened = [a["id"] for a in found["alarms"] if quarter["from"] <= date_of(a["opened"]) < quarter["until"]]
        rows.append(
            (quarter["from"], f"{quarter['wape']:.0%} (bias {quarter['bias']:+.0f} an hour)", ", ".join(opened))
        )
    return rows


def _first_release(folder: Path, data: Path) -> None:
    shutil.copy(Path(__file__).parent / SCRIPT, folder / SCRIPT)
    python(folder, SCRIPT, str(data.resolve()), str(folder))
    settings = f'[deployments.{NAME}]\ntrain = "{SCRIPT}:train"\ndata = "original.parquet"\n'
    (folder / "holdfast.toml").write_text(settings, encoding="utf-8")
    holdfast(folder, "init")
    tables = open_workspace(folder).tables
    live = tables.read(folder / "live.parquet")
    day = live["timestamp"].astype("datetime64[D]")
    parts = {
        "early": day < np.datetime64(RETRAINED_ON),
        "later": (day >= np.datetime64(RETRAINED_ON)) & (day < np.datetime64(COMPARED_UNTIL)),
    }
    for name, rows in parts.items():
        tables.write(folder / f"{name}.parquet", {column: values[rows] for column, values in live.items()})
    marks = [flag for column in CALENDAR for flag in ("--calendar", column)]
    reference = ("--reference", str(folder / "reference.parquet"), "--label", LABEL, "--timestamp", "timestamp")
    release = holdfast(folder, "build", str(folder / "model.skops"), *reference, *marks, "--name", NAME)["release"]
    for name in (NAME, f"{NAME}-never-retrained"):
        holdfast(folder, "deploy", release, "--as", name, "--at", "2019-01-01")


def _pass(folder: Path, rows: Path, name: str) -> Table:
    """Score a file and send its truths; the answered rows."""
    answered = rows.with_name(f"{rows.stem}.{name}.parquet")
    holdfast(folder, "score", str(rows), "--with", name, "--replay", "--out", str(answered))
    holdfast(folder, "label", str(answered), "--for", name)
    return open_workspace(folder).tables.read(answered)


def _wape(rows: Table) -> float:
    """Sum of absolute errors over the sum of counts."""
    return float(np.abs(rows[LABEL] - rows["prediction"]).sum() / rows[LABEL].sum())


def _quarters(rows: Table) -> list[dict[str, Any]]:
    month = rows["timestamp"].astype("datetime64[M]")
    number = month.astype(np.int64) // 3
    found = []
    for quarter in np.unique(number):
        part = {name: values[number == quarter] for name, values in rows.items()}
        first = np.datetime64(int(quarter) * 3, "M")
        found.append(
            {
                "from": str(first.astype("datetime64[D]")),
                "until": str((first + 3).astype("datetime64[D]")),
                "wape": _wape(part),
                "bias": float((part[LABEL] - part["prediction"]).mean()),
                "days": len(part[LABEL]) // 24,
            }
        )
    return found
