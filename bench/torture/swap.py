"""Hot swaps and rollbacks under load: every answer is right and from a release that was in force, and all go over together.

    python -m bench.torture.swap [SWAPS] [WORKERS]

Four changes are repeated: deploy B, canary of A at half of the keys, stop the canary, back to A. Each answer is held against
the model that it names and against the plans that were in force between its question and its hearing. From the first answer
by a new plan on, no later question may be answered by the old one, by whichever worker; a key stays on its track.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from bench.torture.kill import logged
from bench.torture.load import Answered, Load, counter, get, quantile
from tests.faults.town import Server, release, town

from holdfast.core.deployment import Deployment, canary_bucket
from holdfast.decide import actions
from holdfast.decide.publish import wait_in_force, workers
from holdfast.workspace import Workspace

SWAPS: Final = 1000
WORKERS: Final = 2
CONNECTIONS: Final = 6
KEYS: Final = 40
SLOPES: Final = (3.0, 5.0)
GROWTH_KB: Final = 6 * 1024
"""Memory that all workers together may gain from the first third of the run to the last."""


class Phase(NamedTuple):
    """A plan: when it was asked for, when it was in force everywhere, and whom it has answer which key."""

    asked: float
    forced: float
    release_of: dict[str, tuple[str, str]]
    """Key -> digest and track."""


class Found(NamedTuple):
    """What was seen."""

    swaps: int
    seconds: float
    answers: int
    failed: int
    """Not 200, or cut off."""
    wrong: int
    """Numbers that the named release would not give."""
    misattributed: int
    """By a release or on a track that no plan in force had for this key."""
    late: int
    """By the old plan, though somebody had been answered by the new one before the question was asked."""
    lost: int
    metrics: int
    logged: int
    swap_ms: float
    slowest_swap_ms: float
    p50_ms: float
    p99_ms: float
    pss_first_kb: int
    pss_last_kb: int
    """Of all workers together, without files (whose share changes with the neighbours): medians of the first and last third."""

    @property
    def sound(self) -> bool:
        """Whether nobody noticed anything but other answers."""
        flat = self.pss_last_kb - self.pss_first_kb <= GROWTH_KB
        clean = self.failed == self.wrong == self.misattributed == self.late == self.lost == 0
        return clean and flat and self.metrics == self.logged == self.answers


class _Book:
    """Answers between two changes, judged and forgotten."""

    def __init__(self, slope_of: dict[str, float], first: Phase) -> None:
        self._slope_of = slope_of
        self.before = self.now = first
        self._heard: list[Answered] = []
        self.ids: set[str] = set()
        self.took: list[float] = []
        self.failed = self.wrong = self.misattributed = self.late = 0

    def hear(self, one: Answered) -> None:
        if one.status != 200:
            self.failed += 1
            print(f"  {one.status} after {(one.heard - one.asked) * 1e3:.0f} ms: {one.told}", file=sys.stderr)
            return
        self.ids.add(one.told["predictions"][0]["id"])
        self.took.append(one.heard - one.asked)
        right = self._slope_of[one.told["release"]] * one.area + 1.0
        self.wrong += abs(one.told["predictions"][0]["prediction"] - right) > 1e-9
        self._heard.append(one)

    def turn(self, phase: Phase) -> None:
        """A new plan is in force: judge what was heard since the one before was."""
        old, new = self.now.release_of, phase.release_of
        differ = [one for one in self._heard if old[one.key] != new[one.key]]
        # Asked before the plan in force now was, and it may still be the one before that answered.
        news = [one.heard for one in differ if _told(one) == new[one.key] and one.asked >= self.now.forced]
        first = min(news, default=phase.forced)
        for one in self._heard:
            said = _told(one)
            if said not in (old[one.key], new[one.key]) or (said != old[one.key] and one.heard < phase.asked):
                early = one.asked < self.now.forced and said == self.before.release_of[one.key]
                self.misattributed += not early
            elif said == old[one.key] != new[one.key] and one.asked > first:
                self.late += 1
        self._heard = [one for one in self._heard if one.heard > phase.forced]
        self.before, self.now = self.now, phase


def _told(one: Answered) -> tuple[str, str]:
    return one.told["release"], one.told["track"]


def torture(folder: Path, swaps: int, count: int) -> Found:
    """Swap and judge."""
    home = town(folder)
    with home.database.begin() as stores:
        first = stores.deployments.get("town")
    digests = {first.live: SLOPES[0], (other := release(home, SLOPES[1])): SLOPES[1]}
    with (folder / "said.txt").open("w") as said:
        server = Server(home, "--workers", str(count), said=said)
        try:
            began = time.monotonic()
            load, book, pss, took, metrics = asyncio.run(_story(home, server, swaps, first, other, digests))
            seconds = time.monotonic() - began
            server.process.terminate()
            server.process.wait(60)
        finally:
            server.process.kill()
            server.close()
    found = set(logged(home))
    third = max(len(pss) // 3, 1)
    return Found(
        swaps=swaps,
        seconds=seconds,
        answers=load.answered,
        failed=book.failed + load.cut,
        wrong=book.wrong,
        misattributed=book.misattributed,
        late=book.late,
        lost=len(book.ids - found),
        metrics=metrics,
        logged=len(found),
        swap_ms=statistics.median(took) * 1e3,
        slowest_swap_ms=max(took) * 1e3,
        p50_ms=quantile(book.took, 0.5),
        p99_ms=quantile(book.took, 0.99),
        pss_first_kb=int(statistics.median(pss[:third])),
        pss_last_kb=int(statistics.median(pss[-third:])),
    )


async def _story(
    home: Workspace, server: Server, swaps: int, first: Deployment, other: str, slope_of: dict[str, float]
) -> tuple[Load, _Book, list[int], list[float], int]:
    keys = [f"k{i}" for i in range(KEYS)]
    now = time.monotonic()
    book = _Book(slope_of, Phase(now, now, _routes(first, keys)))
    load = Load(server.inference, book.hear, lambda _: ("town", random.uniform(0.0, 100.0), random.choice(keys)))
    until = asyncio.Event()
    asking = asyncio.create_task(load.run(CONNECTIONS, until))
    pss: list[int] = []
    took: list[float] = []
    for swap in range(swaps):
        began = time.monotonic()
        after, alive = await asyncio.to_thread(_change, home, _steps(home, first.live, other)[swap % 4])
        assert alive == len(server.workers()), "a worker did not follow"
        forced = time.monotonic()
        took.append(forced - began)
        book.turn(Phase(began, forced, _routes(after, keys)))
        if swap >= min(50, swaps // 4):
            pss.append(_pss(server))
        await asyncio.sleep(0.02)
        if swap % 100 == 99:
            print(f"  {swap + 1} swaps, {load.answered} answered, {pss[-1] >> 10} MB", file=sys.stderr)
    until.set()
    await asking
    book.turn(book.now)
    metrics = counter(await get(server.inference, "/metrics"), "predictions_total")
    return load, book, pss, took, int(metrics)


Step = Callable[[], tuple[Deployment, int]]


def _steps(home: Workspace, a: str, b: str) -> tuple[Step, ...]:
    actor = actions.Actor("torture", time.time_ns() // 1000, home.run)
    return (
        lambda: actions.deploy(home.database, actor, "town", b),
        lambda: actions.start_canary(home.database, actor, "town", a, 0.5),
        lambda: actions.rollback(home.database, actor, "town"),
        lambda: actions.rollback(home.database, actor, "town"),
    )


def _change(home: Workspace, step: Step) -> tuple[Deployment, int]:
    after, generation = step()
    following = wait_in_force(home.run, generation)
    assert following.current == following.alive, following
    return after, following.alive


def _routes(state: Deployment, keys: list[str]) -> dict[str, tuple[str, str]]:
    """Whom a plan has answer which key; each plan is new to a key only in what it changes for it."""
    edge = round(state.canary_share * 10_000) if state.canary else 0
    return {
        key: (state.canary, "canary") if canary_bucket(state.salt, key) < edge else (state.live, "live") for key in keys
    }


def _pss(server: Server) -> int:
    total = 0
    for report in workers(server.run):
        text = Path(f"/proc/{report.pid}/smaps_rollup").read_text(encoding="ascii")
        total += next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss_Anon:"))
    return total


def main() -> None:
    """As many swaps as asked for; exits non-zero if anybody could notice."""
    swaps = int(sys.argv[1]) if len(sys.argv) > 1 else SWAPS
    count = int(sys.argv[2]) if len(sys.argv) > 2 else WORKERS
    with tempfile.TemporaryDirectory() as folder:
        found = torture(Path(folder), swaps, count)
    for name, value in found._asdict().items():
        print(f"{name:>16}  {value:,.1f}" if isinstance(value, float) else f"{name:>16}  {value:,}")
    print("sound" if found.sound else "NOT SOUND")
    sys.exit(not found.sound)


if __name__ == "__main__":
    main()
