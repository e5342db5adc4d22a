"""A small town of windows, straight as counts: what the monitor tests watch. Days of 120 rows, eight columns."""

from __future__ import annotations

import numpy as np

from holdfast.core.deployment import Deployment
from holdfast.core.profile import DAY, LOSS, OUTPUT, RESIDUAL, Profile, Series, WindowRule
from holdfast.core.window import Window
from holdfast.stats.counts import Counts, fit_spec
from holdfast.testing import MemoryDatabase

ROWS, REFERENCE_DAYS, START = 120, 150, 19_000 * DAY


def rows(rng, days, *, area=0.0, scale=1.0, bias=0.0, flats=0.4, missing=0.0):
    n = ROWS * days
    size = (1500 + 400 * rng.standard_normal(n) + area) * scale
    size[rng.random(n) < missing] = np.nan
    kind = np.where(rng.random(n) < flats, "flat", "house").astype(object)
    age = rng.exponential(20, n)
    error = 0.12 * rng.standard_normal(n) + bias
    prediction = 12 + 0.0003 * np.nan_to_num(size, nan=1500) + 0.2 * (kind == "house")
    return {"size": size, "kind": kind, "age": age, OUTPUT: prediction, RESIDUAL: error, LOSS: np.abs(error)}


def build_profile(rng, days=REFERENCE_DAYS):
    table = rows(rng, days)
    groups = {OUTPUT: "output", RESIDUAL: "residual", LOSS: "loss"}
    specs = [fit_spec(name, values, groups.get(name, "input")) for name, values in table.items()]
    series = {}
    for stream in ("windows", "labels"):
        mine = [s for s in specs if (s.group in ("loss", "residual")) == (stream == "labels")]
        packed = [Counts.of(mine, part).to_bytes() for part in split(table, days)]
        series[stream] = Series(tuple(START + d * DAY for d in range(days)), tuple(packed))
    return Profile(
        columns=tuple(s.to_dict() for s in specs),
        importance={},
        rule=WindowRule("time", DAY, ROWS, ROWS),
        rows=days * ROWS,
        start=START,
        end=START + days * DAY,
        windows=series["windows"],
        labels=series["labels"],
        performance={},
        calibration={},
    ), specs


def split(table, days):
    return [{name: values[d * ROWS : (d + 1) * ROWS] for name, values in table.items()} for d in range(days)]


class Town:
    """Feeds days into a database: windows at once, labels `lag` days later."""

    def __init__(self, seed, lag=14, reference_days=REFERENCE_DAYS):
        self.rng = np.random.default_rng(seed)
        self.profile, self.specs = build_profile(self.rng, reference_days)
        self.database = MemoryDatabase()
        self.lag, self.day, self.pending = lag, reference_days, []
        with self.database.begin() as stores:
            stores.deployments.save(Deployment(name="prices", live="r" * 64, since=START + self.day * DAY))

    def _window(self, stream, number, day, counts):
        return Window(
            deployment="prices", release="r" * 64, track="live", stream=stream, number=number,
            start=START + day * DAY, end=START + (day + 1) * DAY, rows=counts.rows, counts=counts.to_bytes(),
        )  # fmt: skip

    def pass_day(self, *, labelled=True, **change):
        table = rows(self.rng, 1, **change)
        shown = [s for s in self.specs if s.group not in ("loss", "residual")]
        truth = [s for s in self.specs if s.group in ("loss", "residual")]
        with self.database.begin() as stores:
            stores.windows.add([self._window("windows", self.day, self.day, Counts.of(shown, table))])
            self.pending.append((self.day, Counts.of(truth, table) if labelled else None))
            if len(self.pending) > self.lag:
                day, counts = self.pending.pop(0)
                if counts is not None:
                    stores.windows.add([self._window("events", day, day, counts)])
                    stores.windows.add([self._window("labels", day, day, counts)])
        self.day += 1
        return {"prices": START + self.day * DAY}

    def days_since_start(self, at):
        return (at - START) / DAY
