"""Quiet worlds: how many alarms do monitors raise when nothing ever changes, against the rate that they state?

Two measurements, both through the profile that a build makes and the panel that a deployment runs:

    as lived    the monitor's own runner over at least 50 years at the default budget (one false alarm a year on average);
                time during which an alarm is open does not count as watched, which is to the monitor's disadvantage
    amplified   the panel at one false alarm in 10 and in 20 windows; after an alarm all evidence starts from nothing

The windows are counted straight from the simulated days: the log would add nothing but time. A run fails if it counts more
than a Poisson variable with the stated mean does in 99.9 % of cases.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from holdfast.core.profile import Profile
    from holdfast.core.window import Window
    from holdfast.demo.worlds import Houses, Sales
    from holdfast.stats.counts import ColumnSpec, Counts

YEAR_DAYS = 365.25
BUDGETS = (10.0, 20.0)


class Town(NamedTuple):
    """A quiet world with its model and reference profile."""

    world: Houses
    model: Any
    profile: Profile
    windows: list[ColumnSpec]
    labels: list[ColumnSpec]


class Day(NamedTuple):
    """What is counted at the end of a day."""

    day: int
    inputs: Counts
    labels: list[Counts]
    """Full windows of labelled rows, in arrival order."""
    events: Counts
    """The errors of the rows of 42 days ago, all of whose labels are there now."""


class Found(NamedTuple):
    """One run."""

    budget: str
    alarms: int
    expected: float
    days: int


def town(seed: int) -> Town:
    """Train, and make the profile as a build does."""
    from holdfast.build.profile import Reference, make_profile
    from holdfast.columns import infer_contract
    from holdfast.demo.train import train
    from holdfast.demo.worlds import Houses
    from holdfast.stats.counts import ColumnSpec
    from holdfast.stats.panel import stream_of

    world = Houses(seed, quiet=True)
    model = train(frame([world.day(d) for d in range(world.trained)], label=True))
    days = [world.day(d) for d in range(world.trained, world.live)]
    table: dict[str, Any] = {name: np.concatenate([s.table[name] for s in days]) for name in days[0].table}
    prices = np.concatenate([s.label for s in days])
    contract = infer_contract(
        {**table, "price": prices}, label="price", task="regression", timestamp="listed", key="sale", scale="log"
    )
    reference = Reference(table, np.concatenate([s.listed for s in days]), prices)
    profile = make_profile(contract, reference, lambda columns: np.asarray(model.predict(frame_of(columns))))
    specs = [ColumnSpec.from_dict(plain) for plain in profile.columns]
    split = {stream: [s for s in specs if stream_of(s) == stream] for stream in ("windows", "labels")}
    return Town(world, model, profile, split["windows"], split["labels"])


def frame_of(columns: Any) -> Any:
    import pandas as pd

    return pd.DataFrame(dict(columns))


def frame(days: list[Sales], *, label: bool) -> Any:
    columns = {name: np.concatenate([s.table[name] for s in days]) for name in days[0].table}
    return frame_of({**columns, "price": np.concatenate([s.label for s in days])} if label else columns)


def counted(at: Town, days: int) -> Iterator[Day]:
    """The days of a quiet world, counted."""
    from holdfast.core.profile import DAY, LOSS, OUTPUT, RESIDUAL
    from holdfast.demo.worlds import LABEL_DAYS, day_of
    from holdfast.stats.counts import Counts

    waiting: dict[int, list[tuple[int, float]]] = {}
    arrived: list[float] = []
    errors: dict[int, NDArray[np.float64]] = {}
    wide = at.profile.rule.label_rows

    def of(residuals: NDArray[np.float64]) -> Counts:
        return Counts.of(at.labels, {RESIDUAL: residuals, LOSS: np.abs(residuals)})

    for day in range(at.world.live, at.world.live + days):
        sales = at.world.day(day)
        said = np.asarray(at.model.predict(frame([sales], label=False)))
        errors[day] = np.log(sales.label) - np.log(said)
        for sold, error in zip(sales.sold.tolist(), errors[day].tolist(), strict=True):
            waiting.setdefault(day_of(sold), []).append((sold, error))
        arrived += [error for _, error in sorted(waiting.pop(day, []))]
        full = len(arrived) // wide
        labels = [of(np.array(arrived[i * wide : (i + 1) * wide])) for i in range(full)]
        del arrived[: full * wide]
        events = of(errors.pop(day - LABEL_DAYS[1] - 1, np.zeros(0)))
        yield Day(day, Counts.of(at.windows, {**sales.table, OUTPUT: said}), labels, events)
        assert at.profile.rule.length_us == DAY


def as_lived(at: Town, days: list[Day]) -> Found:
    """The runner, day by day."""
    from holdfast.core.deployment import Deployment
    from holdfast.core.profile import DAY
    from holdfast.demo.worlds import LABEL_DAYS, day_start
    from holdfast.monitor.runner import Runner
    from holdfast.testing import MemoryDatabase

    database = MemoryDatabase()
    with database.begin() as stores:
        stores.deployments.save(Deployment(name="t", live="r", since=day_start(at.world.live)))
    runner = Runner(database, lambda _: at.profile, per_year=1.0, lateness=0.04)
    watched, labelled = 0, 0
    for d in days:
        new = [window("windows", d.day, d.inputs), window("events", d.day - LABEL_DAYS[1] - 1, d.events)]
        new += [window("labels", d.day, counts, labelled + i) for i, counts in enumerate(d.labels)]
        labelled += len(d.labels)
        with database.begin() as stores:
            stores.windows.add([w for w in new if w.rows])
        runner.look({"t": day_start(d.day + 1) + DAY // 20})
        with database.begin() as stores:
            watched += not stores.alarms.find("t", only_open=True)
    with database.begin() as stores:
        alarms = len(stores.alarms.find("t"))
    return Found("one a year", alarms, watched / YEAR_DAYS, watched)


def window(stream: Any, day: int, counts: Counts, number: int | None = None) -> Window:
    from holdfast.core.profile import DAY
    from holdfast.core.window import Window
    from holdfast.demo.worlds import day_start

    start = day_start(day)
    return Window(
        deployment="t",
        release="r",
        track="live",
        stream=stream,
        number=start // DAY if number is None else number,
        start=start,
        end=start + DAY,
        rows=counts.rows,
        counts=counts.to_bytes(),
    )


def amplified(at: Town, days: list[Day], budget: float) -> Found:
    """The panel at a budget at which alarms can be counted."""
    from holdfast.stats.calibration import Calibration
    from holdfast.stats.counts import Counts
    from holdfast.stats.panel import Budget, Panel

    day = 1.0 / YEAR_DAYS
    specs = [*at.windows, *at.labels]
    reference = {"windows": at.profile.windows, "labels": at.profile.labels}
    panel = Panel(
        specs,
        {name: [Counts.from_bytes(c) for c in series.counts] for name, series in reference.items()},  # type: ignore[misc]
        Budget.one_in_windows(budget, day),
        at.profile.importance,
        Calibration.from_dict(at.profile.calibration),
    )
    state, alarms, since = panel.start(), 0, 0
    everything = [s.name for s in specs]
    for d in days:
        since += 1
        steps = [("windows", d.inputs, day), *(("labels", counts, day * since) for counts in d.labels[:1])]
        steps += [("labels", counts, 0.0) for counts in d.labels[1:]]
        since = 0 if d.labels else since
        for stream, counts, years in steps:
            state, evidence = panel.step(state, stream, counts, years)  # type: ignore[arg-type]
            if evidence.crossed:
                alarms += 1
                state = panel.unmute(state, everything)
    return Found(f"one in {budget:g} windows", alarms, len(days) / budget, len(days))


def one_world(seed: int, years: float) -> list[Found]:
    """All runs of one world."""
    at = town(seed)
    days = list(counted(at, round(years * YEAR_DAYS)))
    return [as_lived(at, days), *(amplified(at, days, budget) for budget in BUDGETS)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--years", type=float, default=60.0, help="simulated years in all")
    parser.add_argument("--worlds", type=int, default=30, help="worlds (references) over which they are spread")
    parser.add_argument("--json", action="store_true", help="one document instead of a table")
    given = parser.parse_args()
    began = time.perf_counter()
    os.environ["OMP_NUM_THREADS"] = "1"  # two processes already fill two cores
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        jobs = [pool.submit(one_world, seed, given.years / given.worlds) for seed in range(given.worlds)]
        found = []
        for number, job in enumerate(as_completed(jobs), 1):
            found += job.result()
            print(f"world {number} of {given.worlds}, {time.perf_counter() - began:.0f} s", file=sys.stderr)
    return report(found, as_json=given.json, took=time.perf_counter() - began)


def report(found: list[Found], *, as_json: bool, took: float) -> int:
    """Pool, print, judge."""
    from holdfast.stats.replay import poisson_limit

    pooled = []
    for budget in dict.fromkeys(run.budget for run in found):
        mine = [run for run in found if run.budget == budget]
        alarms, expected = sum(r.alarms for r in mine), sum(r.expected for r in mine)
        years = sum(r.days for r in mine) / YEAR_DAYS
        limit = poisson_limit(expected)
        pooled.append(
            {
                "budget": budget,
                "years": round(years, 1),
                "false_alarms": alarms,
                "stated": round(expected, 1),
                "limit": limit,
                "kept": alarms <= limit,
            }
        )
    if as_json:
        print(json.dumps({"quiet": pooled, "took_s": round(took, 1)}, indent=1))
    else:
        print(f"{'budget':<20}{'years':>8}{'false alarms':>14}{'stated at most':>16}{'99.9 % limit':>14}")
        for p in pooled:
            told = "" if p["kept"] else "  BROKEN"
            print(f"{p['budget']:<20}{p['years']:>8}{p['false_alarms']:>14}{p['stated']:>16}{p['limit']:>14}{told}")
        print(f"{took:.0f} s")
    return 0 if all(p["kept"] for p in pooled) else 1


if __name__ == "__main__":
    sys.exit(main())
