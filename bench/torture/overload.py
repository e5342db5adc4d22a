"""Three times as many requests as the server can answer: those it takes it answers in time, and nearly as many as ever.

    python -m bench.torture.overload [SECONDS]

First what it can do at most, then the latency at 70 % of that, then 300 %: the good answers per second must stay above 85 % of
the capacity, and the 99th percentile of accepted requests below four times what it was at 70 %. Once with a model that leaves the
event loop, once with one that stays in it.
"""

from __future__ import annotations

import gc
import resource
import sys
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import uvloop
from bench.torture.busy import CONNECTIONS, Crowd, Heard, pinned, question, workspace
from bench.torture.load import quantile
from tests.faults.town import Server

from holdfast.config import FILE
from holdfast.workspace import Workspace

SETTINGS: Final = "queue_ms = {queue:g}\nworkers = 1\n"
PATIENT_MS: Final = 60_000.0
"""A queue in which everybody gets an answer: so the capacity is found."""
BUSY: Final = 32
Told = TypeVar("Told")


class Case(NamedTuple):
    name: str
    layers: int
    rows: int
    queue_ms: float


CASES: Final = (Case("in threads", 64, 16, 12.0), Case("in the loop", 1, 300, 4.0))


class Found(NamedTuple):
    capacity: float
    calm_p99: float
    goodput: float
    p99: float
    shed: float
    other: int
    lag: float
    """99th percentile of how late the clients themselves were."""

    @property
    def sound(self) -> bool:
        return self.goodput > 0.85 and self.p99 < 4.0 * self.calm_p99 and self.other == 0


async def most(case: Case, inference: str, seconds: float) -> float:
    """Answers a second when there is always another question."""
    crowd, text = Crowd(inference), question(case.rows)
    await crowd.grow(BUSY)
    await crowd.saturate(BUSY, 2.0, text)  # warm
    return await crowd.saturate(BUSY, seconds, text)


async def measure(case: Case, capacity: float, inference: str, seconds: float) -> Found:
    crowd, text = Crowd(inference), question(case.rows)
    await crowd.grow(CONNECTIONS)
    await crowd.come(0.7 * capacity, 2.0, text)  # warm
    calm = await crowd.come(0.7 * capacity, seconds, text)
    busy: Heard = await crowd.come(3.0 * capacity, seconds, text)
    came = len(busy.good) + busy.shed + busy.unsent
    return Found(
        capacity,
        quantile(calm.good, 0.99),
        len(busy.good) / seconds / capacity,
        quantile(busy.good, 0.99),
        (busy.shed + busy.unsent) / came,
        sum(busy.other.values()) + sum(calm.other.values()),
        quantile(busy.lag, 0.99),
    )


def torture(case: Case, seconds: float) -> Found:
    with tempfile.TemporaryDirectory() as folder:
        home = workspace(Path(folder), case.layers, SETTINGS.format(queue=PATIENT_MS))
        capacity = asked(home, lambda inference: most(case, inference, seconds / 2))
        (home.folder / FILE).write_text("[serve]\n" + SETTINGS.format(queue=case.queue_ms))
        return asked(home, lambda inference: measure(case, capacity, inference, seconds))


def asked(home: Workspace, story: Callable[[str], Coroutine[Any, Any, Told]]) -> Told:
    """A server of its own, while it is asked."""
    server = Server(home)
    try:
        with pinned(server):
            return uvloop.run(story(server.inference))
    finally:
        server.stop()
        server.close()


def main() -> int:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    bad = 0
    gc.disable()  # the clients' own collector would make them late
    for case in CASES:
        found = torture(case, seconds)
        print(
            f"{case.name:12}  capacity {found.capacity:6.0f}/s   p99 at 70 %: {found.calm_p99:6.1f} ms   at 300 %: "
            f"goodput {found.goodput:5.0%} of capacity, p99 {found.p99:6.1f} ms ({found.p99 / found.calm_p99:.1f}x), "
            f"{found.shed:.0%} turned away, {found.other} other, clients late by {found.lag:.1f} ms   "
            f"{'ok' if found.sound else 'NOT KEPT'}"
        )
        bad += not found.sound
    return bad


if __name__ == "__main__":
    sys.exit(main())
