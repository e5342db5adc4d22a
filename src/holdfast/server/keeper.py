"""The keeper: counts the log, joins labels, judges windows, archives, and serves the control port.

One pass does it all, in this order, and can be asked for (`catch_up`): when it returns, everything that was logged before
has been counted, joined and judged. Several keepers may run on one workspace: a lease lets one of them work at a time, and
each step is exact however often it is repeated.
"""

from __future__ import annotations

import contextlib
import gc
import math
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Final

import msgspec

from holdfast.api import routes as api_routes
from holdfast.console import error_page
from holdfast.console import routes as console_routes
from holdfast.core.alarm import Alarm
from holdfast.errors import Conflict, HoldfastError, NotFound
from holdfast.monitor.life import fault_intervals
from holdfast.monitor.runner import Runner
from holdfast.predictions import log as wal
from holdfast.predictions.archive import archive
from holdfast.predictions.compact import Counted, clock, count, lease
from holdfast.predictions.labels import Joined, Joiner
from holdfast.predictions.lookup import Predictions
from holdfast.predictions.tidy import tidy
from holdfast.predictions.windows import Recipe, recipe
from holdfast.release.bundle import Release, list_releases, open_release
from holdfast.serve.counts import FLEET, fleets, unsettled
from holdfast.serve.metrics import Metrics, Place
from holdfast.server.aliases import Aliases
from holdfast.server.child import address, assigned, control_host, listen, note, on_orphaned
from holdfast.server.recheck import Recheck
from holdfast.web.site import Site, application
from holdfast.workspace import Workspace

__all__ = ["Keeper", "Pass", "Passes", "few_collections", "run_alone"]

STAGE_S: Final = 1.0
"""For each part of a pass of the server's keeper: it says that it lives after each."""
LAST_S: Final = 8.0
"""For the last passes of a server; whoever waits for its end waits longer than that."""
TIDY_S: Final = 600.0
"""Seconds between looks for predictions that are too old and files that are too small."""


class Pass(msgspec.Struct):
    """What one pass did."""

    counted: Counted
    joined: dict[str, Joined]
    alarms: list[Alarm]
    """Opened or closed in this pass."""
    took_ms: float
    whole: bool
    """False: some of it is left for the next one."""


class _Stage:
    """The time of one part of a pass, from when it first asks."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._end = 0.0
        self.was_over = False

    def over(self) -> bool:
        """Whether it has gone by; what there is to do is done once at least."""
        now = time.monotonic()
        self._end = self._end or now + self._seconds
        self.was_over = now > self._end
        return self.was_over


class Keeper:
    """The work of the keeper, with or without a server around it (`holdfast label FILE` needs none)."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._owner = f"{os.getpid()}-{time.time_ns()}"
        self._one = threading.Lock()
        self._releases: dict[str, Release] = {}
        self._recipes: dict[str, Recipe | None] = {}
        self._tidied = -TIDY_S
        monitor = workspace.settings.monitor
        self.predictions = Predictions(workspace.log, workspace.tables, self.recipe)
        self._joiner = Joiner(workspace.database, self.predictions, self.recipe)
        self._runner = Runner(
            workspace.database,
            lambda digest: self.release(digest).profile,
            per_year=monitor.false_alarms_per_year,
            lateness=monitor.lateness_share,
        )

    def release(self, digest: str) -> Release:
        """An opened release; NotFound if it is not in this workspace."""
        if digest not in self._releases:
            self._releases[digest] = open_release(self._workspace.releases / digest, self._workspace.trusted)
        return self._releases[digest]

    def recipe(self, digest: str) -> Recipe | None:
        """How the records of a release are counted; None if it is not in this workspace."""
        if digest not in self._recipes:
            try:
                release = self.release(digest)
            except NotFound:
                return None
            self._recipes[digest] = recipe(release.contract, release.profile)
        return self._recipes[digest]

    def catch_up(self, wait_s: float = 30.0, stage_s: float = math.inf) -> Pass:
        """One full pass; Conflict if another keeper does not give the lease within `wait_s`.

        Of counting, judging and archiving each leaves the rest to the next pass after `stage_s`, so that none keeps the
        others from their work.
        """
        began = time.perf_counter()
        workspace = self._workspace
        stages = [_Stage(stage_s) for _ in range(3)]
        with self._one, lease(workspace.log, self._owner, wait_s=wait_s) as changed:
            if changed:
                self._joiner.forget()
            counted = count(
                workspace.database,
                workspace.log,
                self.recipe,
                lateness_share=workspace.settings.monitor.lateness_share,
                enough=stages[0].over,
            )
            joined, clocks = self._join()
            changes = self._runner.look(clocks, enough=stages[1].over)
            archived = archive(
                workspace.database,
                workspace.log,
                workspace.tables,
                self.recipe,
                wanted=unsettled(lambda: fleets(workspace.run)),
                enough=stages[2].over,
            )
            whole = not any(stage.was_over for stage in stages)
            if (whole and self._tidy(clocks)) or archived:
                workspace.tables.close()
        told = [change for change in changes if change.state != "updated"]
        for change in told:
            for send in workspace.alerts:
                send(change.alarm, change.state)
        took = (time.perf_counter() - began) * 1e3
        return Pass(counted, joined, [change.alarm for change in told], took, whole)

    def _join(self) -> tuple[dict[str, Joined], dict[str, int]]:
        """Labels of every deployment, and the deployments' clocks."""
        with self._workspace.database.read() as stores:
            names = [deployment.name for deployment in stores.deployments.all()]
            clocks = {name: clock(stores, name, time.time_ns() // 1000) for name in names}
            waiting = [name for name in names if stores.labels.waiting(name, 1)]
            excluded = {name: fault_intervals(stores.alarms.find(name)) for name in waiting}
        if not waiting:  # then nobody needs to know where each request stands
            self.predictions.forget()
            return {name: Joined() for name in names}, clocks
        fresh = self.predictions.refresh()
        joined = {name: self._joiner.join(name, fresh=fresh, excluded=excluded[name]) for name in waiting}
        return {name: joined.get(name, Joined()) for name in names}, clocks

    def _tidy(self, clocks: dict[str, int]) -> bool:
        """Whether it was time for it."""
        if time.monotonic() - self._tidied < TIDY_S:
            return False
        self._tidied = time.monotonic()
        tidy(self._workspace.log, self._workspace.tables, clocks, days=self._workspace.settings.log.retention_days)
        return True


class Passes(threading.Thread):
    """Passes at an interval, until stopped; a pass that fails is told once and tried again."""

    def __init__(self, keeper: Keeper, workspace: Workspace, metrics: Metrics) -> None:
        super().__init__(name="keeper", daemon=True)
        self._metrics = metrics
        self._keeper = keeper
        self._workspace = workspace
        self._ended = threading.Event()
        self._told = ""
        self._recheck = Recheck(workspace)

    def run(self) -> None:
        """In a thread of its own: `start`."""
        while True:
            whole = self.step(STAGE_S)
            if self._ended.wait(self._workspace.settings.monitor.interval_s if whole else 0.0):
                return

    def step(self, stage_s: float) -> bool:
        """One pass; whether nothing is left to do."""
        said, whole = "", True
        try:
            done = self._keeper.catch_up(wait_s=0.0, stage_s=stage_s)
            whole = done.whole
            if done.counted.damaged:
                self._metrics.add("log_damaged_total", by=done.counted.damaged)
            said = self._recheck.look()
        except Conflict:  # another keeper is at it: as good as our own pass
            pass
        except HoldfastError as bad:
            said = str(bad)
        except Exception as bad:  # noqa: BLE001 - the loop must outlive whatever one pass meets
            said = f"{type(bad).__name__}: {bad}"
        if said and said != self._told:
            sys.stderr.write(f"keeper: {said}; trying again\n")
        self._told = said
        now = time.time_ns() // 1000
        with contextlib.suppress(OSError):  # a full disk keeps us from saying so, not from trying again
            note(self._workspace.run / "keeper.json", {"pid": os.getpid(), "passed": now, "error": said})
        return whole

    def stop(self, last_s: float) -> None:
        """End after the running pass and, within `last_s`, those that take in what the workers logged last."""
        end = time.monotonic() + last_s
        self._ended.set()
        self.join()
        while not self.step(STAGE_S) and time.monotonic() < end:
            pass
        if left := [segment for segment in wal.segments(self._workspace.log) if _is_finished(segment)]:
            size = sum(segment.path.stat().st_size for segment in left) / 1e6
            sys.stderr.write(
                f"keeper: {size:,.0f} MB of the log are not archived yet ({len(left)} segments); the next start goes on\n"
            )


def _is_finished(segment: wal.Segment) -> bool:
    with wal.finished(segment) as complete:
        return complete


def run_alone(workspace: Workspace, *, ready: Callable[[str], None]) -> None:
    """The keeper and its control port without serving processes, until Ctrl-C; `ready(address)` once it answers."""
    settings = workspace.settings.serve
    listener = listen(control_host(settings), settings.control_port, what="control", setting="--control-port")
    ready(address(listener))
    _run(workspace, listener, f"http://{settings.host}:{settings.port}", Metrics())


def main() -> None:
    """`python -m holdfast.server.keeper ASSIGNMENT`: until SIGTERM or until the supervisor is gone."""
    told = assigned()
    # uvicorn raises the signal that ended it once more when it is done; our last pass is still to come then.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    on_orphaned(lambda: os.kill(os.getpid(), signal.SIGTERM))
    workspace = told.workspace
    metrics = Metrics(told.name, Place(workspace.run / f"{FLEET}{os.getppid()}", workspace.log, writer=""))
    _run(workspace, socket.socket(fileno=told.fd), told.inference, metrics)


def few_collections() -> None:
    """Decoded records are many and hold no cycles: garbage is looked for rarely."""
    gc.set_threshold(50_000, 20, 50)


def _run(workspace: Workspace, listener: socket.socket, inference: str, metrics: Metrics) -> None:
    import uvicorn

    few_collections()
    keeper = Keeper(workspace)
    site = Site(
        database=workspace.database,
        release=keeper.release,
        digests=lambda: [release.digest for release in list_releases(workspace.releases)],
        log=workspace.log,
        run=workspace.run,
        per_year=workspace.settings.monitor.false_alarms_per_year,
        inference=inference,
        keeper=keeper,
    )
    doors = application([*api_routes(site), *console_routes(site)], error_page)
    loop = Passes(keeper, workspace, metrics)
    loop.start()
    aliases = Aliases(workspace)
    aliases.start()
    try:
        config = uvicorn.Config(doors, log_level="warning", access_log=False, lifespan="off")
        uvicorn.Server(config).run(sockets=[listener])
    finally:
        aliases.stop()
        loop.stop(LAST_S)
        (workspace.run / "keeper.json").unlink(missing_ok=True)


if __name__ == "__main__":
    main()
