"""A long run at a steady pace: does memory grow, do answers become slower, is anything lost?

    python -m bench.torture.soak [MINUTES]

Two workers, clients that rest between questions, a new release and back every half minute. Memory (without files) is a
straight line fitted through the samples of workers and keeper after the first tenth; p99 is compared between the first and the
last tenth.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import tempfile
import time
from array import array
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from bench.torture.kill import logged
from bench.torture.load import Answered, Load, counter, get, quantile
from tests.faults.town import T0, Server, release, town

from holdfast.decide import actions
from holdfast.decide.publish import wait_in_force
from holdfast.workspace import Workspace

MINUTES: Final = 120.0
CONNECTIONS: Final = 8
PAUSE_S: Final = 0.01
SWAP_S: Final = 30.0
SAMPLES: Final = 200
SLOPE_MB: Final = 8.0
"""Growth of all serving processes an hour that is still called flat; shorter runs are given their share of noise on top."""
NOISE_MB: Final = 6.0
SLOWER: Final = 2.0


class Found(NamedTuple):
    """What was seen."""

    minutes: float
    answers: int
    failed: int
    lost: int
    logged: int
    metrics: int
    first_p99_ms: float
    last_p99_ms: float
    """First and last tenth of the run."""
    workers_mb: float
    workers_mb_per_hour: float
    keeper_mb: float
    keeper_mb_per_hour: float

    @property
    def sound(self) -> bool:
        """Whether it could go on like that."""
        hours = self.minutes / 60
        flat = self.workers_mb_per_hour * hours <= SLOPE_MB * hours + NOISE_MB
        exact = self.lost == self.failed == 0 and self.metrics == self.logged == self.answers
        return flat and exact and self.last_p99_ms <= SLOWER * self.first_p99_ms + 1.0


class _Samples(NamedTuple):
    at: list[float]
    workers: list[float]
    keeper: list[float]


def torture(folder: Path, minutes: float) -> Found:
    """Ask, swap, measure."""
    home = town(folder)
    other = release(home, 5.0)
    with (folder / "said.txt").open("w") as said:
        server = Server(home, "--workers", "2", said=said)
        try:
            load, books, samples, metrics = asyncio.run(_story(home, server, other, minutes * 60))
            server.process.terminate()
            server.process.wait(60)
        finally:
            server.close()
    names = logged(home)
    tenth = minutes * 60 / 10
    at, seconds = np.array(books.heard), np.array(books.took)
    settled = [i for i, at in enumerate(samples.at) if at >= samples.at[0] + tenth]
    return Found(
        minutes=minutes,
        answers=load.answered,
        failed=books.failed + load.cut,
        lost=int((~np.isin(np.array(books.ids), np.array([hash(name) for name in names], dtype=np.int64))).sum()),
        logged=len(set(names)),
        metrics=metrics,
        first_p99_ms=quantile(seconds[at < at[0] + tenth].tolist(), 0.99),
        last_p99_ms=quantile(seconds[at > at[-1] - tenth].tolist(), 0.99),
        workers_mb=samples.workers[-1],
        workers_mb_per_hour=_slope(samples, samples.workers, settled),
        keeper_mb=samples.keeper[-1],
        keeper_mb_per_hour=_slope(samples, samples.keeper, settled),
    )


def _slope(samples: _Samples, values: list[float], chosen: list[int]) -> float:
    at = np.array([samples.at[i] for i in chosen]) / 3600
    return float(np.polyfit(at, [values[i] for i in chosen], 1)[0])


class _Books:
    """The clients' own, small enough for hours."""

    def __init__(self) -> None:
        self.ids = array("q")
        """Hashes of the prediction ids."""
        self.heard, self.took = array("d"), array("d")
        self.failed = 0

    def hear(self, one: Answered) -> None:
        if one.status != 200:
            self.failed += 1
            return
        self.ids.append(hash(one.told["predictions"][0]["id"]))
        self.heard.append(one.heard)
        self.took.append(one.heard - one.asked)


async def _story(home: Workspace, server: Server, other: str, seconds: float) -> tuple[Load, _Books, _Samples, int]:
    books = _Books()
    load = Load(server.inference, books.hear, lambda _: ("town", random.uniform(0.0, 100.0), ""), pause_s=PAUSE_S)
    until = asyncio.Event()
    asking = asyncio.create_task(load.run(CONNECTIONS, until))
    samples = _Samples([], [], [])
    pids = server.workers()
    keeper = _keeper(home)
    began = swapped = time.monotonic()
    deployed = False
    while (now := time.monotonic()) < began + seconds:
        samples.at.append(now)
        samples.workers.append(sum(map(_pss, pids)))
        samples.keeper.append(_pss(keeper))
        if now > swapped + SWAP_S:
            await asyncio.to_thread(_swap, home, "" if deployed else other)
            deployed, swapped = not deployed, now
        await asyncio.sleep(max(seconds / SAMPLES, 0.2))
    until.set()
    await asking
    metrics = counter(await get(server.inference, "/metrics"), "predictions_total")
    return load, books, samples, int(metrics)


def _swap(home: Workspace, digest: str) -> None:
    actor = actions.Actor("soak", T0, home.run)
    change = actions.deploy(home.database, actor, "town", digest) if digest else None
    _, generation = change or actions.rollback(home.database, actor, "town")
    wait_in_force(home.run, generation)


def _keeper(home: Workspace) -> int:
    return int(json.loads((home.run / "keeper.json").read_text())["pid"])


def _pss(pid: int) -> float:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss_Anon:")) / 1024


def main() -> None:
    """As long as asked for; exits non-zero if it could not go on like that."""
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else MINUTES
    with tempfile.TemporaryDirectory() as folder:
        found = torture(Path(folder), minutes)
    for name, value in found._asdict().items():
        print(f"{name:>20}  {value:,.2f}" if isinstance(value, float) else f"{name:>20}  {value:,}")
    print("sound" if found.sound else "NOT SOUND")
    sys.exit(not found.sound)


if __name__ == "__main__":
    main()
