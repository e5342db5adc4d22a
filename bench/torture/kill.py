"""kill -9 of serving processes under load: what was acknowledged is in the log once, and nothing is that nobody asked.

    python -m bench.torture.kill [KILLS] [WORKERS]

Clients ask without a pause while one worker after the other is killed, each as soon as it is ready. In the end the log (what
is archived and what is not) is held against the clients' own books, and /metrics and the windows against the log.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Final, NamedTuple

from bench.torture.load import Answered, Load, counter, get
from tests.faults.town import Server, town

from holdfast.core.prediction import Prediction
from holdfast.predictions.archive import files
from holdfast.predictions.log import read, segments
from holdfast.workspace import Workspace

KILLS: Final = 1000
WORKERS: Final = 2
CONNECTIONS: Final = 6
REST_S: Final = 0.1
"""Longest time for which a worker that is ready is left alone."""


class Found(NamedTuple):
    """What the books say."""

    kills: int
    seconds: float
    acknowledged: int
    cut: int
    logged: int
    doubled: int
    lost: int
    invented: int
    """In the log, but more than the questions that were cut off can explain."""
    metrics: int
    windows: int
    wrong: int
    """Answers that were not 200, or not what the model says."""

    @property
    def sound(self) -> bool:
        """Whether nothing was lost, doubled, invented, miscounted or wrong."""
        return (
            self.lost == self.doubled == self.invented == self.wrong == 0
            and self.metrics == self.logged == self.windows
        )


def torture(folder: Path, kills: int, workers: int) -> Found:
    """Kill and count."""
    home = town(folder)
    with (folder / "said.txt").open("w") as said:
        server = Server(home, "--workers", str(workers), said=said)
        try:
            began = time.monotonic()
            load, acknowledged, wrong, metrics = asyncio.run(_story(server, kills))
            seconds = time.monotonic() - began
            server.process.terminate()
            server.process.wait(60)
        finally:
            server.process.kill()
            server.close()
    found = logged(home)
    many = Counter(found)
    with home.database.begin() as stores:
        digest = stores.deployments.get("town").live
        windows = sum(window.rows for window in stores.windows.read("town", digest, "windows"))
    return Found(
        kills=kills,
        seconds=seconds,
        acknowledged=len(acknowledged),
        cut=load.cut,
        logged=len(found),
        doubled=len(found) - len(many),
        lost=sum(name not in many for name in acknowledged),
        invented=max(len(many) - len(acknowledged) - load.cut, 0),
        metrics=metrics,
        windows=windows,
        wrong=wrong,
    )


async def _story(server: Server, kills: int) -> tuple[Load, set[str], int, int]:
    acknowledged: set[str] = set()
    wrong = 0

    def heard(one: Answered) -> None:
        nonlocal wrong
        if one.status != 200 or abs(one.told["predictions"][0]["prediction"] - (3.0 * one.area + 1.0)) > 1e-9:
            wrong += 1
            return
        acknowledged.add(one.told["predictions"][0]["id"])

    load = Load(server.inference, heard, lambda _: ("town", random.uniform(0.0, 100.0), ""))
    until = asyncio.Event()
    asking = asyncio.create_task(load.run(CONNECTIONS, until))
    killed: set[int] = set()
    while len(killed) < kills:
        ready = [pid for pid in server.workers() if pid not in killed]
        if ready:
            await asyncio.sleep(random.uniform(0.0, REST_S))
            killed.add(chosen := random.choice(ready))
            os.kill(chosen, signal.SIGKILL)
            if len(killed) % 100 == 0:
                print(f"  {len(killed)} killed, {load.answered} answered, {load.cut} cut off", file=sys.stderr)
        await asyncio.sleep(0.005)
    await asyncio.sleep(3.0)  # all are back
    until.set()
    await asking
    metrics = counter(await get(server.inference, "/metrics"), "predictions_total")
    return load, acknowledged, wrong, int(metrics)


def logged(home: Workspace, deployment: str = "town") -> list[str]:
    """Prediction ids of everything in the log of a server that has ended, archived or not."""
    waiting: list[str] = []
    for segment in segments(home.log):
        offset = 0
        while (part := read(segment, offset, complete=True)).end > offset:
            offset = part.end
            records = [entry.record for entry in part.entries if isinstance(entry.record, Prediction)]
            waiting += [f"{record.request}-{row}" for record in records for row in range(record.rows)]
    archived = [
        i for path in files(home.log, deployment) for i in home.tables.read(path, ["prediction_id"])["prediction_id"]
    ]
    return [*archived, *waiting]


def main() -> None:
    """As many kills as asked for; exits non-zero if the books do not agree."""
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else KILLS
    workers = int(sys.argv[2]) if len(sys.argv) > 2 else WORKERS
    with tempfile.TemporaryDirectory() as folder:
        found = torture(Path(folder), kills, workers)
    for name, value in found._asdict().items():
        print(f"{name:>14}  {value:,.0f}")
    print("sound" if found.sound else "NOT SOUND")
    sys.exit(not found.sound)


if __name__ == "__main__":
    main()
