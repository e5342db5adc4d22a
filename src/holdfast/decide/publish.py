"""The traffic plan on its way to the workers.

The database is the truth; `plan.json` is what workers follow. It is written whole or not at all, under a lock that makes the
newest generation win, so that the data plane goes on answering from its last plan when everything else is away.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from holdfast.core.deployment import Plan

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from holdfast.core.ports import Database

__all__ = ["Following", "WorkerReport", "publish", "read_plan", "wait_in_force", "workers"]

PLAN = "plan.json"
POLL_S = 0.02


class WorkerReport(msgspec.Struct, frozen=True):
    """What a serving process says of itself in `run/workers/<id>.json`."""

    id: str
    pid: int
    port: int
    generation: int
    started: int
    pss_kb: int = 0
    failed: int = -1
    """Generation of a newer plan that it cannot follow."""
    why: str = ""


class Following(NamedTuple):
    """How many serving processes there are, how many follow, and why one cannot."""

    current: int
    alive: int
    why: str = ""


def publish(database: Database, run: Path) -> int:
    """Write the plan of the newest generation; returns that generation."""
    run.mkdir(parents=True, exist_ok=True)
    with _locked(run / "plan.lock"):
        with database.begin() as stores:
            plan = stores.deployments.plan()
        temporary = run / f".plan.{os.getpid()}"
        temporary.write_bytes(msgspec.json.encode(plan))
        temporary.replace(run / PLAN)
    return plan.generation


def read_plan(run: Path) -> Plan | None:
    """The plan in force; None before the first deployment."""
    try:
        return msgspec.json.decode((run / PLAN).read_bytes(), type=Plan)
    except FileNotFoundError:
        return None


def workers(run: Path) -> list[WorkerReport]:
    """Reports of the serving processes that are alive."""
    found = []
    for path in sorted((run / "workers").glob("*.json")):
        with contextlib.suppress(OSError, msgspec.DecodeError, ProcessLookupError):
            report = msgspec.json.decode(path.read_bytes(), type=WorkerReport)
            os.kill(report.pid, 0)
            found.append(report)
    return found


def wait_in_force(run: Path, generation: int, timeout_s: float = 20.0) -> Following:
    """Wait until every live worker follows this generation, or one says that it can't: then none does."""
    deadline = time.monotonic() + timeout_s
    while True:
        alive = workers(run)
        current = sum(report.generation >= generation for report in alive)
        why = next((report.why for report in alive if report.failed >= generation), "")
        if current == len(alive) or why or time.monotonic() > deadline:
            return Following(current, len(alive), why)
        time.sleep(POLL_S)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[Any]:
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield handle
