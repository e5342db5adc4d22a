"""The command line as the operator uses it: every verb is a process of its own, and the server is one too.

Whatever ends the story (its end, an error, Ctrl-C, SIGTERM), the server is asked to stop and waited for.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from holdfast.errors import ServeError

__all__ = ["Addresses", "holdfast", "interruptible", "python", "serving"]

READY_S: Final = 90.0
STOP_S: Final = 30.0
SERVER_LOG: Final = "serve.log"


class Addresses(NamedTuple):
    """Where the server answers."""

    inference: str
    control: str


def holdfast(folder: Path, *arguments: str) -> Any:
    """Run a verb in this workspace; its one JSON document. ServeError with what it said if it failed."""
    command = [sys.executable, "-m", "holdfast", "--workspace", str(folder), *arguments, "--json"]
    done = subprocess.run(command, env=_calm(), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ServeError(f"'holdfast {' '.join(arguments)}' ended with {done.returncode}", done.stderr.strip()[-2000:])
    return json.loads(done.stdout)


def python(folder: Path, script: str, *arguments: str) -> None:
    """Run the user's own script in the workspace folder."""
    command = [sys.executable, script, *arguments]
    done = subprocess.run(
        command, cwd=folder, env=_calm(), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise ServeError(f"'python {script}' ended with {done.returncode}", done.stderr.strip()[-2000:])


def _calm() -> dict[str, str]:
    """One thread of arithmetic: the data are small, and spinning threads on a busy machine take a hundred times longer."""
    return {"OMP_NUM_THREADS": "1", **os.environ}


@contextmanager
def serving(folder: Path) -> Iterator[Addresses]:
    """`holdfast serve --replay` on free ports, for as long as the block lasts."""
    command = [sys.executable, "-m", "holdfast", "--workspace", str(folder), "serve", "--replay"]
    with (folder / SERVER_LOG).open("ab") as log:
        server = subprocess.Popen(
            [*command, "--port", "0", "--control-port", "0"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C is ours to pass on, once
        )
        try:
            yield _wait_ready(folder, server)
        finally:
            _stop(server)


@contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM ends the block like Ctrl-C does, so that what it started is stopped."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _wait_ready(folder: Path, server: subprocess.Popen[bytes]) -> Addresses:
    note = folder / ".holdfast" / "run" / "server.json"
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        if server.poll() is not None:
            break
        try:
            told = json.loads(note.read_bytes())
        except (FileNotFoundError, ValueError):
            time.sleep(0.05)
            continue
        if told["pid"] == server.pid:
            return Addresses(told["inference"], told["control"])
        time.sleep(0.05)
    said = (folder / SERVER_LOG).read_text(errors="replace")[-2000:]
    raise ServeError("the server did not start", said.strip(), f"look at {folder / SERVER_LOG}")


def _stop(server: subprocess.Popen[bytes]) -> None:
    if server.poll() is not None:
        return
    server.terminate()
    try:
        server.wait(STOP_S)
    except subprocess.TimeoutExpired:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
