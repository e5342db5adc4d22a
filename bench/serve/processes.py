"""A server as a tree of processes: how long it took to answer, what it cost, what it holds, and its end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from bench.serve.load import Wrong, once
from bench.serve.questions import Question

__all__ = ["Server", "free_port", "pin"]

PATIENCE_S = 180.0


class Server(NamedTuple):
    """A running one."""

    process: subprocess.Popen[bytes]
    port: int
    cold_s: float
    """From its start to its first right answer."""

    def cpu(self) -> float:
        """Seconds of processor time of all its processes, ended ones included where their parent has waited for them."""
        return sum(_cpu(pid) for pid in self.tree())

    def megabytes(self) -> float:
        """Memory of all its processes; what they share with others counts by share (PSS)."""
        return sum(_pss(pid) for pid in self.tree()) / 1024

    def tree(self) -> list[int]:
        """All its processes: those below it, and those of its session whose parent has gone."""
        children, session = defaultdict(list), []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and (fields := _stat(int(entry.name))):
                children[int(fields[1])].append(int(entry.name))
                if int(fields[3]) == self.process.pid:
                    session.append(int(entry.name))
        found, waiting = set(session), [self.process.pid]
        while waiting:
            pid = waiting.pop()
            found.add(pid)
            waiting += children[pid]
        return sorted(found)

    def stop(self) -> None:
        """End it; nothing of it stays."""
        self.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(10)
        for pid in self.tree():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()


def first_answer(process: subprocess.Popen[bytes], port: int, question: Question, began: float) -> Server:
    """The server once it answers right; raises Wrong if it ends or takes too long."""
    said = "it never listened"
    while time.perf_counter() < began + PATIENCE_S:
        try:
            once(port, question)
            return Server(process, port, time.perf_counter() - began)
        except (OSError, Wrong) as bad:  # it listens before its model is loaded
            said = str(bad) if isinstance(bad, Wrong) else said
        if process.poll() is not None:
            Server(process, port, 0).stop()
            raise Wrong(f"it ended with {process.returncode}: {said[-300:]}")
        time.sleep(0.002)
    Server(process, port, 0).stop()
    raise Wrong(f"no right answer after {PATIENCE_S:g} s: {said[-300:]}")


def free_port() -> int:
    """A port that nobody listens on, nor on the next one."""
    import socket

    while True:
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", 0)) as one:
            port = one.getsockname()[1]
            with socket.create_server(("127.0.0.1", port + 1)):
                return port


def pin(core: int) -> None:
    """Keep this process, and those it starts from now on, on one core."""
    os.sched_setaffinity(0, {core % (os.cpu_count() or 1)})


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the state on; empty if it is gone."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    return []


def _cpu(pid: int) -> float:
    fields = _stat(pid)
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK") if fields else 0.0


def _pss(pid: int) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    return 0
