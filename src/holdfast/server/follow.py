"""How a serving process follows the traffic plan: look, load, say "ready", and go over when all are.

The plan file is looked at twenty times a second; what it newly names is loaded beside the running traffic and waits until the
fleet's word puts it in force (`fleet`). All that reads and writes files is done by a thread: a disk may take its time, and the
event loop has none. A plan that can't be loaded (a release that was tampered with) changes nothing, here
or in any other process: the last good one goes on answering, and the report says why.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Generic, Protocol, TypeVar

from holdfast.core.deployment import Plan
from holdfast.decide.publish import PLAN, WorkerReport, read_plan
from holdfast.errors import HoldfastError
from holdfast.server.child import note
from holdfast.server.fleet import Fleet

__all__ = ["Follower", "pss_kb"]

POLL_S: Final = 0.05
AGAIN_S: Final = 2.0
"""A plan that could not be loaded is tried again: its release may be on its way."""
NOTHING: Final = Plan(0, {}, {})


class _Generation(Protocol):
    @property
    def generation(self) -> int: ...


Loaded = TypeVar("Loaded", bound=_Generation)
Done = TypeVar("Done")


class Follower(Generic[Loaded]):
    """Keeps one serving process on the plan in force.

    Args:
        run: the workspace's run folder.
        fleet: who goes over together.
        load: everything that a plan needs, ready to answer; also given what is loaded already; runs in a thread.
        swap: lets it answer from now on; runs in the event loop.
        name: of this process, for its report: `w` and its place in the fleet.
        port: on which it answers, for its report.
    """

    def __init__(
        self,
        run: Path,
        fleet: Fleet,
        *,
        load: Callable[[Plan, Sequence[Loaded]], Loaded],
        swap: Callable[[Loaded], None],
        name: str,
        port: int,
    ) -> None:
        self._plan = run / PLAN
        self._run = run
        self._fleet = fleet
        self._words = fleet.words
        self._place = int(name.removeprefix("w"))
        self._load = load
        self._swap = swap
        self._name = f"{name}-{os.getpid()}"
        self._port = port
        self._started = time.time_ns() // 1000
        self._seen: tuple[int, int] | None = None
        self._next_try = 0.0
        self._loaded: list[Loaded] = []
        """What answers now, then what is ready to."""
        self._word = 0
        self._reported = -1
        self._failed = -1
        self._why = ""
        self._reporting = threading.Lock()
        self._left = False

    async def start(self) -> None:
        """Answer with the first plan; raises what is wrong with it."""
        await self._prepare(self._fleet.first() or NOTHING)
        self._swap(self._loaded[0])
        self.report()

    async def step(self) -> None:
        """Make a new plan ready, if there is one; go over to the one in force."""
        mark = self._mark()
        if mark != self._seen or (self._failed >= 0 and time.monotonic() > self._next_try):
            self._seen = mark
            await self._follow_newest()
        if self._fleet.alone:
            self._fleet.advance((self._place,))
        self.look()
        if self._loaded[0].generation != self._reported:
            await _aside(self.report)

    def look(self) -> None:
        """Before each request: is another plan in force? Costs the reading of one integer."""
        if self._words[0] != self._word:
            self._word = self._words[0]
            for i in range(len(self._loaded) - 1, 0, -1):
                if self._loaded[i].generation < self._word:
                    del self._loaded[:i]
                    self._swap(self._loaded[0])
                    break

    async def follow(self) -> None:
        """For ever; a full disk keeps us from reporting, not from answering."""
        while True:
            await asyncio.sleep(POLL_S)
            try:
                await self.step()
            except OSError as bad:
                sys.stderr.write(f"{self._name}: {bad}\n")

    def report(self) -> None:
        """Say which generation is in force here, and why a newer one can't be."""
        generation = self._loaded[0].generation
        told = WorkerReport(
            self._name, os.getpid(), self._port, generation, self._started, pss_kb(), self._failed, self._why
        )
        with self._reporting:
            if not self._left:
                note(self._report, told)
        self._reported = generation

    def leave(self) -> None:
        """Take the report away: this process answers no more."""
        with self._reporting:
            self._left = True
            self._report.unlink(missing_ok=True)

    async def _follow_newest(self) -> None:
        plan = await _aside(read_plan, self._run) or NOTHING
        try:
            if plan.generation != self._loaded[-1].generation:
                await self._prepare(plan)
        except (HoldfastError, OSError) as bad:
            self._next_try = time.monotonic() + AGAIN_S
            if (self._failed, self._why) != (plan.generation, str(bad)):
                self._failed, self._why = plan.generation, str(bad)
                sys.stderr.write(f"{self._name}: the new plan is not followed: {bad}\n")
                await _aside(self.report)
        else:
            self._failed, self._why = -1, ""

    async def _prepare(self, plan: Plan) -> None:
        self._loaded.append(await _aside(self._load, plan, tuple(self._loaded)))
        await _aside(self._fleet.ready, self._place, plan)

    @property
    def _report(self) -> Path:
        return self._run / "workers" / f"{self._name}.json"

    def _mark(self) -> tuple[int, int] | None:
        """What changes when the plan file is replaced."""
        try:
            found = self._plan.stat()
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_mtime_ns


async def _aside(work: Callable[..., Done], *args: object) -> Done:
    """Do it in a thread; what goes on here does not wait for it."""
    return await asyncio.get_running_loop().run_in_executor(None, work, *args)


def pss_kb() -> int:
    """Memory of this process, shared pages counted in proportion; 0 where the kernel does not say."""
    try:
        text = Path("/proc/self/smaps_rollup").read_text(encoding="ascii")
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")), 0)
