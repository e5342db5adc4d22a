"""How a serving process follows the traffic plan: look, load, swap as a whole, say so.

The plan file is looked at ten times a second; what it newly names is loaded beside the running traffic and then takes over at
once. A plan that can't be loaded (a release that was tampered with) changes nothing: the last good one goes on answering.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Generic, TypeVar

from holdfast.core.deployment import Plan
from holdfast.decide.publish import PLAN, WorkerReport, read_plan
from holdfast.errors import HoldfastError
from holdfast.server.child import note

__all__ = ["Follower", "pss_kb"]

Loaded = TypeVar("Loaded")
POLL_S: Final = 0.1
NOTHING: Final = Plan(0, {}, {})


class Follower(Generic[Loaded]):
    """Keeps one serving process on the newest plan.

    Args:
        run: the workspace's run folder.
        load: everything that a plan needs, ready to answer; runs in a thread.
        swap: lets it answer from now on; runs in the event loop.
        name: of this process, for its report.
        port: on which it answers, for its report.
    """

    def __init__(
        self, run: Path, *, load: Callable[[Plan], Loaded], swap: Callable[[Loaded], None], name: str, port: int
    ) -> None:
        self._plan = run / PLAN
        self._run = run
        self._load = load
        self._swap = swap
        self._name = f"{name}-{os.getpid()}"
        self._port = port
        self._started = time.time_ns() // 1000
        self._seen: tuple[int, int] | None = None
        self._generation = -1

    async def step(self) -> None:
        """Take over a new plan, if there is one."""
        mark = self._mark()
        if mark == self._seen and self._generation >= 0:
            return
        self._seen = mark
        try:
            plan = read_plan(self._run) or NOTHING
            loaded = await asyncio.get_running_loop().run_in_executor(None, self._load, plan)
        except HoldfastError as bad:
            sys.stderr.write(f"{self._name}: the new plan is not followed: {bad}\n")
            if self._generation < 0:
                raise
            return
        self._swap(loaded)
        self._generation = plan.generation
        self.report()

    async def follow(self) -> None:
        """For ever; a full disk keeps us from reporting, not from answering."""
        while True:
            await asyncio.sleep(POLL_S)
            try:
                await self.step()
            except OSError as bad:
                sys.stderr.write(f"{self._name}: {bad}\n")

    def report(self) -> None:
        """Say which generation is in force here."""
        told = WorkerReport(self._name, os.getpid(), self._port, self._generation, self._started, pss_kb())
        note(self._report, told)

    def leave(self) -> None:
        """Take the report away: this process answers no more."""
        self._report.unlink(missing_ok=True)

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


def pss_kb() -> int:
    """Memory of this process, shared pages counted in proportion; 0 where the kernel does not say."""
    try:
        text = Path("/proc/self/smaps_rollup").read_text(encoding="ascii")
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")), 0)
