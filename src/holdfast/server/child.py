"""What a child process is told, how it notices that its parent is gone, and the notes that processes leave in `run/`."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Final

import msgspec

from holdfast.config import Serve, Settings
from holdfast.errors import ServeError, UsageError
from holdfast.workspace import Workspace

__all__ = [
    "LOOPBACK",
    "Assignment",
    "Said",
    "address",
    "assigned",
    "control_host",
    "listen",
    "note",
    "on_orphaned",
    "reserve",
    "start",
]

LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
NEXT: Final = "next:"
LONGEST: Final = 500


class Assignment(msgspec.Struct, frozen=True, kw_only=True):
    """What one child does."""

    folder: str
    settings: Settings
    name: str
    """`w0`, `w1` ... or `keeper`."""
    fd: int
    """Its listening socket, opened by the supervisor: a port stays taken while a worker is restarted."""
    replay: bool = False
    inference: str = ""
    """Address of the inference port."""
    control: str = ""
    """Address of the control port."""
    grpc: str = ""
    """`host:port` of the gRPC port, which every worker opens for itself; empty: there is none."""

    @property
    def workspace(self) -> Workspace:
        """The workspace with the supervisor's settings."""
        return Workspace(Path(self.folder), self.settings)


class Said:
    """Passes on what a child says on stderr, as it comes, and keeps its last words: they tell why it ended."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._last, self._next = "", ""
        self._thread = threading.Thread(target=self._listen, daemon=True, name="said")
        self._thread.start()

    def last(self) -> tuple[str, str]:
        """Of a child that has ended: its last line, and what it said to do next."""
        self._thread.join(1.0)  # longer only if it left a child of its own
        return self._last, self._next

    def _listen(self) -> None:
        with self._stream:
            for line in self._stream:
                text = line.decode(errors="replace")
                with contextlib.suppress(OSError, ValueError):  # nobody hears us: the child must not wait for that
                    sys.stderr.write(text)
                    sys.stderr.flush()
                text = text.strip()
                if text.startswith(NEXT):
                    self._next = text.removeprefix(NEXT).strip()
                elif text:
                    self._last, self._next = text[:LONGEST], ""


def start(module: str, assignment: Assignment, stderr: int | None = None) -> subprocess.Popen[bytes]:
    """A child in a session of its own, so that Ctrl-C reaches the supervisor alone; its stdin closes when we die."""
    return subprocess.Popen(
        [sys.executable, "-m", module, msgspec.json.encode(assignment).decode()],
        stdin=subprocess.PIPE,
        stderr=stderr,
        pass_fds=[assignment.fd],
        start_new_session=True,
    )


def assigned() -> Assignment:
    """The assignment of the running child."""
    return msgspec.json.decode(sys.argv[1], type=Assignment)


def on_orphaned(then: Callable[[], None]) -> None:
    """Call `then` from a thread once the supervisor is gone, however it ended."""

    def wait() -> None:
        with contextlib.suppress(OSError):
            while os.read(0, 1024):
                pass
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # whom we told what was wrong is gone, too
        then()

    threading.Thread(target=wait, daemon=True, name="orphaned").start()


def listen(
    host: str, port: int, *, what: str, setting: str, shared: bool = False, guarded: bool = False
) -> socket.socket:
    """A listening socket; `shared` lets several processes listen on the same port (SO_REUSEPORT).

    Raises ServeError naming the port if it is taken, UsageError for an address that others could reach if it is not
    `guarded`: if whoever asks there needs no key.
    """
    if not (guarded or host in LOOPBACK):
        raise UsageError(
            f"'{host}' can be reached from outside, and nobody is asked for a key",
            "--host",
            'set [serve] keys = "required" and make keys (holdfast keys create), or listen on 127.0.0.1',
        )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((host, port))
        listener.listen(1024)
    except OSError as bad:
        listener.close()
        raise ServeError(
            f"the {what} port {port} cannot be used: {(bad.strerror or str(bad)).lower()}",
            f"{host}:{port}",
            f"stop what listens there, or choose another with {setting} (0: any free one)",
        ) from None
    return listener


def reserve(host: str, port: int, *, what: str, setting: str, guarded: bool = False) -> socket.socket:
    """A port that workers open for themselves (SO_REUSEPORT): bound, so that it stays ours, and nobody listens here.

    Raises like `listen`.
    """
    with listen(host, port, what=what, setting=setting, guarded=guarded) as first:  # whether it is free
        port, family = first.getsockname()[1], first.family
    held = socket.socket(family, socket.SOCK_STREAM)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    held.bind((host, port))
    return held


def control_host(settings: Serve) -> str:
    """Where the control port listens: it knows no keys, so it stays on this machine wherever the inference port goes."""
    return settings.host if settings.host in LOOPBACK else "127.0.0.1"


def address(listener: socket.socket, scheme: str = "http://") -> str:
    """`http://host:port` of a bound socket."""
    host, port = listener.getsockname()[:2]
    return f"{scheme}[{host}]:{port}" if ":" in host else f"{scheme}{host}:{port}"


def note(path: Path, value: Any) -> None:
    """Write a small JSON file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(msgspec.json.encode(value))
    temporary.replace(path)
