"""Two workers on two cores beside one: how much more they answer, and that what is counted is what clients heard, exactly.

    python -m bench.torture.workers [SECONDS] [ROUNDS]

The load generator shares the two cores, so two workers can't answer twice as much as one, which has a core for itself while the
generator has the other. Requests a second are asked by wrk, where it is installed; it drops what is on its way when it ends,
so counts are held against a loop of our own that hears every answer. In the end /metrics and the log must agree to the last one.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from bench.serve import load
from bench.serve.models import Models, build
from bench.serve.questions import Question, ask
from bench.torture.kill import logged
from bench.torture.load import counter, get
from tests.faults.town import Server

from holdfast.workspace import Workspace, open_workspace

SECONDS: Final = 3.0
ROUNDS: Final = 3
CONNECTIONS: Final = 64
SETTLED_S: Final = 0.5
"""For what wrk had asked and did not wait for."""


class Found(NamedTuple):
    """What one server showed."""

    rate: float
    """Answers a second."""
    cost_us: float
    """Processor time of the workers for one."""
    heard: int
    """Answers of our own loop."""
    metrics: int
    """What /metrics counted of these, and of everything."""
    all_metrics: int
    all_logged: int

    @property
    def exact(self) -> bool:
        return self.heard == self.metrics and self.all_metrics == self.all_logged


def torture(home: Workspace, question: Question, count: int, seconds: float, deployment: str = "tree") -> Found:
    """One server with so many workers, asked and counted; what the log holds already is not its own."""
    before = len(logged(home, deployment))
    server = Server(home, "--workers", str(count))
    try:
        port = urlsplit(server.inference).port or 0
        load.load(port, question, CONNECTIONS, 1.0)
        spent = _cpu(server)
        asked = load.load(port, question, CONNECTIONS, seconds)
        spent = _cpu(server) - spent
        time.sleep(SETTLED_S)
        earlier = _counted(server)
        heard = load.load(port, question, CONNECTIONS, seconds / 2, generator="python").requests
        total = _counted(server)
    finally:
        server.stop()
        server.close()
    return Found(
        asked.rate, spent / asked.requests * 1e6, heard, total - earlier, total, len(logged(home, deployment)) - before
    )


def _counted(server: Server) -> int:
    return int(counter(asyncio.run(get(server.inference, "/metrics")), "predictions_total"))


def _cpu(server: Server) -> float:
    """Seconds of processor time of all workers."""
    tasks = [task for pid in server.workers() for task in Path(f"/proc/{pid}/task").iterdir()]
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def main() -> int:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else ROUNDS
    found: dict[int, list[Found]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as folder:
        models: Models = build(Path(folder), image=False)
        home, question = open_workspace(folder), ask("tensor", models.cases["row"])
        for _ in range(rounds):
            for count, several in found.items():
                several.append(torture(home, question, count, seconds))
    bad = 0
    for count, several in found.items():
        rate = statistics.median(one.rate for one in several)
        cost = statistics.median(one.cost_us for one in several)
        bad += sum(not one.exact for one in several)
        print(f"{count} workers  {rate:8,.0f} answers/s  {cost:5.1f} us of a processor each")
        for one in several:
            last = f"heard {one.heard:,}, counted {one.metrics:,}"
            whole = f"in all counted {one.all_metrics:,}, logged {one.all_logged:,}"
            print(f"    {last}; {whole}   {'exact' if one.exact else 'NOT EXACT'}")
    one, two = (statistics.median(each.rate for each in several) for several in found.values())
    print(f"two workers answer {two / one:.2f} times as much as one, on {os.cpu_count()} cores that the asking shares")
    return bad


if __name__ == "__main__":
    sys.exit(main())
