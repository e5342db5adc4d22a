"""`holdfast serve`: opens the ports, starts N workers and one keeper, restarts what dies, and ends them in order.

The supervisor owns the listening sockets, so a port in use is known at once, and a connection that comes while a worker is
being restarted waits instead of being refused. On SIGTERM or Ctrl-C the workers drain first, then the keeper takes in what
they logged last.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from holdfast.access import publish as publish_keys
from holdfast.decide.publish import publish
from holdfast.errors import ServeError
from holdfast.rpc.port import require
from holdfast.server.access import certificate
from holdfast.server.child import LOOPBACK, Assignment, Said, address, control_host, listen, note, reserve, start
from holdfast.server.fleet import Fleet
from holdfast.workspace import Workspace

__all__ = ["serve"]

POLL_S: Final = 0.02
KEEPER: Final = "keeper"
READY_S: Final = 60.0
DRAIN_S: Final = 15.0
HOPELESS: Final = 5
"""Deaths of a child before it was ever ready, after which the server gives up."""


def serve(workspace: Workspace, *, replay: bool = False, ready: Callable[[Mapping[str, str]], None]) -> None:
    """Run until SIGTERM or Ctrl-C; `ready` is called with the addresses of the ports, by name, once all answer."""
    settings = workspace.settings.serve
    count = max(settings.workers, 1)
    certificate(settings, workspace.folder)  # what is wrong with it is told here, once
    guarded = settings.keys == "required"
    inference = _inference_sockets(settings.host, settings.port, count, guarded=guarded)
    control = listen(control_host(settings), settings.control_port, what="control", setting="--control-port")
    grpc = _grpc_socket(settings.host, settings.grpc_port, guarded=guarded)
    _tell_risks(workspace)
    publish(workspace.database, workspace.run)
    publish_keys(workspace.database, workspace.run)
    (workspace.run / "keeper.json").unlink(missing_ok=True)  # of a keeper that was killed
    told = Assignment(
        folder=str(workspace.folder),
        settings=workspace.settings,
        name="",
        fd=-1,
        replay=replay,
        inference=address(inference[0], "https://" if settings.tls_cert else "http://"),
        control=address(control),
        grpc=address(grpc, "") if grpc else "",
    )
    fleet = Fleet(workspace.run, os.getpid(), count)
    children = [
        _Child("holdfast.server.worker", msgspec.structs.replace(told, name=f"w{i}", fd=s.fileno()), workspace.run)
        for i, s in enumerate(inference)
    ]
    keeper = msgspec.structs.replace(told, name=KEEPER, fd=control.fileno())
    children.append(_Child("holdfast.server.keeper", keeper, workspace.run))
    stopping: list[int] = []
    before = {number: signal.signal(number, lambda number, _: stopping.append(number)) for number in _SIGNALS}
    server_note = workspace.run / "server.json"
    try:
        for child in children:
            child.start()
        _wait_ready(children, fleet, stopping, told.grpc)
        if not stopping:
            addresses = {"inference": told.inference, "control": told.control}
            if told.grpc:
                addresses["grpc"] = told.grpc
            note(server_note, {"pid": os.getpid(), "started": time.time_ns() // 1000, "workers": count, **addresses})
            ready(addresses)
        while not stopping:
            time.sleep(POLL_S)
            _tend(children, fleet)
    finally:
        server_note.unlink(missing_ok=True)
        _stop(children[:-1])
        _stop(children[-1:])
        fleet.leave()
        for listener in (*inference, control, *([grpc] if grpc else [])):
            listener.close()
        for number, handler in before.items():
            signal.signal(number, handler)


_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class _Child:
    """A process that is wanted: started again whenever it ends."""

    def __init__(self, module: str, assignment: Assignment, run: Path) -> None:
        self.name = assignment.name
        self._run = run
        self._module = module
        self._assignment = assignment
        self._early_deaths = 0
        self._started = 0.0
        self.process: subprocess.Popen[bytes] | None = None
        self._said: Said | None = None

    def start(self) -> None:
        self._started = time.monotonic()
        self.process = start(self._module, self._assignment, stderr=subprocess.PIPE)
        assert self.process.stderr is not None
        self._said = Said(self.process.stderr)

    def revive(self) -> bool:
        """Start it again if it died; ServeError if it dies again and again at its start."""
        if self.process is None or self.process.poll() is None:
            return False
        lived = self.ready() or time.monotonic() - self._started > READY_S
        self._early_deaths = 0 if lived else self._early_deaths + 1
        if self._early_deaths >= HOPELESS:
            raise self._hopeless()
        sys.stderr.write(f"{self.name} ended ({_how(self.process.returncode)}); starting it again\n")
        self.close()
        self.start()
        return True

    def _hopeless(self) -> ServeError:
        assert self.process is not None
        assert self._said is not None
        why, next_step = self._said.last()
        return ServeError(
            f"{self.name} ended {HOPELESS} times at its start ({_how(self.process.returncode)}): {why or 'it said nothing'}",
            next_step=next_step or "mend that, then start the server again; all that it said stands above",
        )

    def ready(self) -> bool:
        """Whether the process has said that it works; a killed one has said so too."""
        return self.process is not None and self._report(self.process.pid).exists()

    def close(self) -> None:
        """Let the process know, if it lives, that nobody waits for it; what it started ends with it."""
        if self.process is not None and self.process.stdin is not None:
            if self.process.poll() is not None:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(self.process.pid, signal.SIGKILL)
            self.process.stdin.close()
            assert self._said is not None
            self._said.last()  # is passed on before anything else is said
            self._report(self.process.pid).unlink(missing_ok=True)  # a killed one left it

    def _report(self, pid: int) -> Path:
        return self._run / "workers" / f"{self.name}-{pid}.json" if self.name != KEEPER else self._run / "keeper.json"


def _tell_risks(workspace: Workspace) -> None:
    """What the owner should know before others can reach the port."""
    settings = workspace.settings.serve
    if settings.host in LOOPBACK:
        return
    with workspace.database.begin() as stores:
        if not any(key.standing(time.time_ns() // 1000) == "good" for key in stores.keys.all()):
            sys.stderr.write(
                "nobody can ask yet: there is no key\n  next: holdfast keys create NAME --for DEPLOYMENT\n"
            )
    if not settings.tls_cert:
        sys.stderr.write(
            "keys travel unencrypted to this port: set [serve] tls_cert, or let only a proxy with TLS reach it\n"
        )


def _inference_sockets(host: str, port: int, count: int, *, guarded: bool) -> list[socket.socket]:
    """One listening socket per worker on one port; the first attempt, unshared, finds out whether it is free."""
    first = listen(host, port, what="inference", setting="--port", guarded=guarded)
    if count == 1:
        return [first]
    port = first.getsockname()[1]
    first.close()
    return [listen(host, port, what="inference", setting="--port", shared=True, guarded=guarded) for _ in range(count)]


def _grpc_socket(host: str, port: int, *, guarded: bool) -> socket.socket | None:
    """Keeps the gRPC port for the workers, if there is to be one."""
    if port < 0:
        return None
    require()
    return reserve(host, port, what="gRPC", setting="--grpc-port", guarded=guarded)


def _answers(grpc: str) -> bool:
    """Whether a worker has opened the gRPC port already."""
    host, _, port = grpc.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=1.0).close()
    except OSError:
        return False
    return True


def _tend(children: list[_Child], fleet: Fleet) -> None:
    """Start again who died; go over to a new plan when all workers are ready for it. The keeper stands last."""
    for place, child in enumerate(children):
        if child.revive() and child.name != KEEPER:
            fleet.starting(place)
    fleet.advance(range(len(children) - 1))


def _wait_ready(children: list[_Child], fleet: Fleet, stopping: list[int], grpc: str) -> None:
    """Until every worker serves the plan and the keeper has looked once."""
    deadline = time.monotonic() + READY_S
    while not stopping and not (all(child.ready() for child in children) and (not grpc or _answers(grpc))):
        if time.monotonic() > deadline:
            raise ServeError(f"the server is not ready after {READY_S:.0f} s", "", "see the messages above")
        time.sleep(POLL_S)
        _tend(children, fleet)


def _stop(children: list[_Child]) -> None:
    """SIGTERM, then time to drain, then SIGKILL."""
    alive = [child.process for child in children if child.process and child.process.poll() is None]
    for process in alive:
        process.terminate()
    deadline = time.monotonic() + DRAIN_S
    for process in alive:
        try:
            process.wait(max(deadline - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for child in children:
        child.close()


def _how(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit {code}"
