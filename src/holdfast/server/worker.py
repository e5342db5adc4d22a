"""A serving process: follows the traffic plan, answers on the inference port, logs before it answers.

It needs releases, the plan file and the log's folder, and nothing else: no database, no registry, no training library. What
it can't write to the log it doesn't answer.
"""

from __future__ import annotations

import gc
import os

if __name__ == "__main__":  # before anything large is imported
    gc.disable()  # what is imported and loaded is not garbage, and to look through it takes a tenth of the start
    # numpy's BLAS starts threads that spin for longer than all the rest takes, and nothing here multiplies matrices.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import asyncio
import resource
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import uvloop

from holdfast.config import processors
from holdfast.core.contract import Contract
from holdfast.core.deployment import Plan
from holdfast.errors import HoldfastError
from holdfast.http.app import App
from holdfast.http.port import InferencePort, serve
from holdfast.http.problems import Reply
from holdfast.http.reader import Limits, Request
from holdfast.predictions.journal import Journal, LogCounts
from holdfast.predictions.log import Frame, Writer
from holdfast.release.bundle import Release, open_release
from holdfast.serve.clock import Clock
from holdfast.serve.dataplane import ServeState
from holdfast.serve.lane import THREADS, Lane
from holdfast.serve.metrics import Metrics, Place
from holdfast.serve.plan import NOTHING, LoadedPlan, LoadedRelease, load, open_loaded
from holdfast.serve.records import hash_key
from holdfast.serve.shelf import Shelf, ShelfState
from holdfast.server.access import admission, certificate, host_names, tls_files
from holdfast.server.child import NEXT, Assignment, assigned, on_orphaned
from holdfast.server.fleet import Fleet
from holdfast.server.follow import Follower
from holdfast.server.intake import Intake
from holdfast.workspace import Workspace

if TYPE_CHECKING:
    from holdfast.http.access_log import AccessLog, Commit, Handle
    from holdfast.predictions.sampling import Sampler
    from holdfast.rpc.port import RpcPort
    from holdfast.rpc.service import Service

ACCESS_S: Final = 0.25
FILES: Final = 65_536


class _Worker:
    """What one serving process holds together."""

    def __init__(self, told: Assignment, workspace: Workspace, listener: socket.socket) -> None:
        settings = workspace.settings
        self._workspace = workspace
        self._listener = listener
        self._plan = NOTHING
        self._limits = Limits(
            body=int(settings.serve.max_body_mb * (1 << 20)),
            idle_s=settings.serve.idle_timeout_s,
            request_s=settings.serve.request_timeout_s,
            connections=settings.serve.max_connections,
        )
        clock = Clock(replay=told.replay)
        durable = settings.log.durability == "machine"
        self._writer = Writer(
            workspace.log, told.name, segment_bytes=int(settings.log.segment_mb * (1 << 20)), durable=durable
        )
        self._journal = Journal(
            self._writer,
            back=asyncio.get_running_loop().call_soon_threadsafe if durable else None,
            serve_when_full=settings.log.when_full == "serve",
            appended=self._appended,
        )
        self._sampler = _sampler(settings.log.sample)
        self._told = (0, 0, False)
        fleet = Fleet.joined(workspace.run, os.getppid(), int(told.name.removeprefix("w")))
        self._metrics = Metrics(told.name, Place(fleet.folder, workspace.log, self._writer.name))
        secret = hash_key(workspace.keys)
        self._state = ServeState(
            clock=clock,
            metrics=self._metrics,
            max_rows=settings.serve.max_rows,
            hash_key=secret,
            sample=self._sampler,
        )
        self._certificate = certificate(settings.serve, workspace.folder)
        self._admission = admission(settings.serve, workspace.run, workspace.keys, told.name)
        self._lane = Lane(
            settings.serve.queue_ms / 1e3, min(THREADS, processors()), settings.serve.join_rows, self._joined
        )
        self._grpc = told.grpc
        self._service: Service | None = None
        self._app = App(
            plan=self._plan,
            state=self._state,
            label=Intake(self._contract, clock.at, max_rows=settings.serve.max_rows, hash_key=secret),
            control=told.control,
            hosts=host_names(settings.serve),
            max_body=self._limits.body,
            admission=self._admission,
            lane=self._lane,
        )
        self._access = _access_log(workspace)
        budget = settings.serve.model_memory_mb
        self._shelf = Shelf(self._opened, int(budget * (1 << 20)), self._shelved) if budget > 0 else None
        self._follower = Follower(
            workspace.run, fleet, load=self._load, swap=self._swap, name=told.name, port=listener.getsockname()[1]
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Answer until `stop`; then drain."""
        await self._follower.start()
        tls = self._certificate.context if self._certificate else None
        port = await serve(self._listener, *self._noted(), self._limits, tls, self._app.refusal)
        rpc = await self._open_rpc() if self._grpc else None
        gc.freeze()  # what is loaded stays: the collector need not look at it again
        gc.enable()
        following = [asyncio.create_task(self._follower.follow()), asyncio.create_task(self._look_after_access())]
        await stop.wait()
        for task in following:
            task.cancel()
        self._follower.leave()
        await self._end(port, rpc)

    async def _look_after_access(self) -> None:
        """New and revoked keys, renewed certificates; and others shall see what we counted."""
        while True:
            await asyncio.sleep(ACCESS_S)
            self._metrics.settle()
            self._admission.refresh()
            if self._certificate:
                self._certificate.refresh()

    async def _open_rpc(self) -> RpcPort:
        """The gRPC port; its libraries are imported only where somebody wants it."""
        from holdfast.rpc.port import serve as serve_rpc
        from holdfast.rpc.service import Service
        from holdfast.server.heard import heard

        self._service = Service(
            plan=self._plan,
            state=self._state,
            admission=self._admission,
            lane=self._lane,
            commit=self._journal.commit,
            look=self._follower.look,
            heard=heard(self._access) if self._access else None,
        )
        limits = self._limits
        return await serve_rpc(
            self._grpc,
            self._service,
            max_message=limits.body,
            calls=limits.connections,
            idle_s=limits.idle_s,
            request_s=limits.request_s,
            tls=tls_files(self._workspace.settings.serve, self._workspace.folder),
        )

    async def _end(self, port: InferencePort, rpc: RpcPort | None) -> None:
        self._app.draining = True
        await asyncio.gather(port.drain(), *([rpc.drain()] if rpc else []))
        self._app.close()
        if self._shelf is not None:
            self._shelf.close()
        self._journal.close()
        self._metrics.settle()
        if self._access:
            self._access.close()

    def _appended(self, frames: Sequence[Frame], counts: LogCounts) -> None:
        metrics, told = self._metrics, self._told
        metrics.logged(frames, self._writer.position)
        if (counts.unlogged, counts.refused, counts.full) != told:
            metrics.add("log_unlogged_total", by=counts.unlogged - told[0])
            metrics.add("log_refused_total", by=counts.refused - told[1])
            metrics.gauge("log_full", int(counts.full))
            self._told = (counts.unlogged, counts.refused, counts.full)

    def _handle(self, request: Request, later: Callable[[Reply], None]) -> Reply | None:
        self._follower.look()
        return self._app.handle(request, later)

    def _noted(self) -> tuple[Handle, Commit]:
        """What the inference port calls, through the access log where there is one."""
        handle, commit = self._handle, self._journal.commit
        return self._access.around(handle, commit) if self._access else (handle, commit)

    def _load(self, plan: Plan, loaded: Sequence[LoadedPlan]) -> LoadedPlan:
        if self._shelf is not None:
            return self._shelf.plan(plan, loaded)
        return load(plan, self._release, self._workspace.runtime, loaded)

    def _opened(self, digest: str) -> tuple[LoadedRelease, Path]:
        release = self._release(digest)
        return open_loaded(release, self._workspace.runtime), release.model

    def _shelved(self, now: ShelfState) -> None:
        self._metrics.gauge("models_loaded", now.models)
        self._metrics.gauge("model_memory_bytes", now.bytes)
        self._metrics.add("model_loads_total")
        self._metrics.add("model_evictions_total", by=now.evictions)

    def _joined(self, requests: int) -> None:
        self._metrics.add("joined_runs_total")
        self._metrics.add("joined_requests_total", by=requests)

    def _release(self, digest: str) -> Release:
        release = open_release(self._workspace.releases / digest, self._workspace.trusted)
        if self._sampler is not None:
            from holdfast.predictions.windows import recipe

            self._sampler.learn(digest, recipe(release.contract, release.profile))
        return release

    def _contract(self, deployment: str) -> Contract:
        return self._plan.contract(deployment)

    def _swap(self, plan: LoadedPlan) -> None:
        self._plan = plan
        self._metrics.following(plan.generation)
        self._app.follow(plan)
        if self._service is not None:
            self._service.follow(plan)


def _sampler(share: float) -> Sampler | None:
    """None if every prediction is logged in full."""
    if share >= 1.0:
        return None
    from holdfast.predictions.sampling import Sampler

    return Sampler(share)


def _access_log(workspace: Workspace) -> AccessLog | None:
    """None if none is wanted."""
    settings = workspace.settings.serve
    told_to = settings.access_log
    if not told_to:
        return None
    from holdfast.http.access_log import AccessLog

    return AccessLog(told_to if told_to == "-" else str(workspace.folder / told_to), share=settings.access_log_share)


async def _serve(told: Assignment) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    def orphaned() -> None:
        loop.call_soon_threadsafe(stop.set)

    on_orphaned(orphaned)
    await _Worker(told, told.workspace, socket.socket(fileno=told.fd)).run(stop)


def main() -> None:
    """`python -m holdfast.server.worker ASSIGNMENT`: until SIGTERM or until the supervisor is gone."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)  # a connection is a file
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, FILES)), hard))
    try:
        uvloop.run(_serve(assigned()))
    except HoldfastError as bad:
        sys.stderr.write(f"error[{bad.code}]: {bad}\n")
        if bad.next_step:
            sys.stderr.write(f"  {NEXT} {bad.next_step}\n")
        sys.exit(bad.exit_code)


if __name__ == "__main__":
    main()
