"""What the serving processes of one server share: a folder in `run/`, and in it the word that says which plan is in force.

Each worker loads a new plan beside the running traffic and says that it is ready for it. When all are, the supervisor, and it
alone, moves the word; each worker reads it with every request, so that all go over together. A worker that can't load a plan
says so by not being ready, and the old one stays in force for everybody. A process that starts takes the plan in force
first, not the newest, so that it answers like its neighbours from its first request on.

    words of 64 bits:  the plan in force, then for each worker the newest plan that it is ready for; generation + 1, 0: none
"""

from __future__ import annotations

import contextlib
import mmap
import os
from array import array
from collections.abc import Sequence
from pathlib import Path

import msgspec

from holdfast.core.deployment import Plan
from holdfast.decide.publish import read_plan
from holdfast.serve.counts import FLEET, fleets
from holdfast.server.child import note

__all__ = ["Fleet"]

SWITCH = "switch"


class Fleet:
    """The shared folder of one server's processes, and its switch.

    Args:
        run: the workspace's run folder.
        pid: of the supervisor.
        workers: how many processes a new switch is made for; None: join the fleet that is there.
    """

    def __init__(self, run: Path, pid: int, workers: int | None = None) -> None:
        self.folder = run / f"{FLEET}{pid}"
        self.alone = False
        """Whether the one worker is its own supervisor."""
        self._run = run
        path = self.folder / SWITCH
        if workers is not None:
            for gone in set(run.glob(f"{FLEET}*")) - set(fleets(run)) | {self.folder}:
                _remove(gone)
            self.folder.mkdir(parents=True)
            path.write_bytes(array("q", [0] * (1 + workers)).tobytes())
        with path.open("r+b") as file:
            self.words = memoryview(mmap.mmap(file.fileno(), 0)).cast("q")
            """Reading `words[0]` is all that a request does: a plan is in force if its generation is below it."""

    @classmethod
    def joined(cls, run: Path, pid: int, worker: int) -> Fleet:
        """The fleet of this supervisor; a worker without one is a fleet of its own."""
        if (run / f"{FLEET}{pid}" / SWITCH).exists():
            return cls(run, pid)
        own = cls(run, os.getpid(), workers=worker + 1)
        own.alone = True
        return own

    # ------------------------------------------------------------------------------------------ a worker

    def first(self) -> Plan | None:
        """What a process that starts should answer with: the plan in force, else the newest."""
        if self.words[0]:
            with contextlib.suppress(FileNotFoundError):
                return msgspec.json.decode(self._plan(self.words[0] - 1).read_bytes(), type=Plan)
        return read_plan(self._run)

    def ready(self, worker: int, plan: Plan) -> None:
        """Say that this worker could answer with this plan at any moment."""
        path = self._plan(plan.generation)
        if not path.exists():
            with contextlib.suppress(OSError):  # a full disk: whoever starts now takes the newest plan
                note(path, plan)
        self.words[1 + worker] = plan.generation + 1

    # ------------------------------------------------------------------------------------------ the supervisor

    def starting(self, worker: int) -> None:
        """A new process takes this place; until it is ready, nothing changes for the others."""
        self.words[1 + worker] = 0

    def advance(self, workers: Sequence[int]) -> None:
        """Put the newest plan in force that all of these are ready for."""
        common = min((self.words[1 + worker] for worker in workers), default=0)
        if common > self.words[0]:
            self.words[0] = common
            for path in self.folder.glob("plan-*.json"):
                if int(path.stem.removeprefix("plan-")) < common - 1:
                    path.unlink(missing_ok=True)

    def leave(self) -> None:
        """The server is gone."""
        _remove(self.folder)

    def _plan(self, generation: int) -> Path:
        return self.folder / f"plan-{generation}.json"


def _remove(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)
