"""`holdfast predictions find` over ten million rows: the whole command, from the shell to its answer.

    python -m bench.torture.find [ROWS]

Makes an archive as the keeper leaves it after merging (files of half a million rows, ids ascending with time) and a
write-ahead log of 32 MiB on top, then asks by id, request, client's id, key and time. Exits non-zero if a median is a second
or more.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random
from typing import Final

import numpy as np

from holdfast.core.names import RequestIds
from holdfast.core.prediction import Prediction
from holdfast.predictions.archive import key_crc
from holdfast.predictions.log import Writer, encode
from holdfast.workspace import Workspace, create_workspace

ROWS: Final = 10_000_000
FILE: Final = 500_000
ROUNDS: Final = 5
BOUND_S: Final = 1.0
RELEASE: Final = "a" * 64
START: Final = 1_700_000_000_000_000
APART: Final = 2_000_000
"""Microseconds between two rows."""
KEYS: Final = 1_000_000
CLIENT: Final = 777
"""The row that its client named."""
TAIL: Final = 32 << 20


def main() -> None:
    """Make, ask, tell."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else ROWS
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        workspace = create_workspace(folder)
        log = workspace.log
        began = time.perf_counter()
        ids = [archive(workspace, at, min(FILE, rows - at)) for at in range(0, rows, FILE)]
        tail = write_ahead(log, rows)
        size = sum(path.stat().st_size for path in log.rglob("*") if path.is_file())
        say(f"{rows:,} rows made in {time.perf_counter() - began:.0f} s, {size / 1e9:.1f} GB")
        middle = ids[len(ids) // 2]
        late = np.datetime64(START + APART * (rows - 50), "us")
        asked = {
            "a prediction": ([f"{middle}-0"], 1),
            "a request": ([ids[0]], 1),
            "one in the tail": ([f"{tail}-0"], 1),
            "a client's own id": (["client-777"], 1),
            "an id that is nowhere": ([f"{'0' * 26}-0"], 0),
            "a key": (["--key", "key777"], None),
            "a key that is nowhere": (["--key", "nobody"], 0),
            "the newest": (["--since", str(late)], 100),
        }
        worst = 0.0
        for what, (args, expected) in asked.items():
            took, found = ask(folder, args, expected)
            worst = max(worst, took)
            say(f"{what:24} {found:4} found   {took * 1e3:6.0f} ms")
    sys.exit(worst >= BOUND_S)


def archive(workspace: Workspace, first: int, rows: int) -> str:
    """One file; the request id of a row in its middle."""
    minted, random = RequestIds(Random(first).randbytes), np.random.default_rng(first)
    requests = np.array([minted.new((START + APART * (first + i)) // 1000) for i in range(rows)], dtype=object)
    times = (START + APART * np.arange(first, first + rows)).astype("datetime64[us]")
    keys = [f"key{n}" for n in random.integers(0, KEYS, rows).tolist()]
    clients = np.full(rows, "", dtype=object)
    if first <= CLIENT < first + rows:
        clients[CLIENT - first] = "client-777"
    month = str(times[0])[:7]
    path = (
        workspace.log / "prices" / "parquet" / f"month={month}" / f"w0-{first:012x}-1-00000001-{RELEASE[:12]}.parquet"
    )
    workspace.tables.write(
        path,
        {
            "prediction_id": requests + "-0",
            "request": requests,
            "row": np.zeros(rows, dtype=np.int64),
            "event_time": times,
            "received": times,
            "clock": times,
            "release": np.full(rows, RELEASE, dtype=object),
            "track": np.full(rows, "live", dtype=object),
            "latency_us": random.integers(100, 200, rows),
            "key": np.array(keys, dtype=object),
            "key_crc": np.array([key_crc(key) for key in keys], dtype=np.int64),
            "client_id": clients,
            **{f"x{n}": random.uniform(0, 100, rows).round(2) for n in range(10)},
            "prediction": random.normal(size=rows),
        },
    )
    return str(requests[rows // 2])


def write_ahead(log: Path, rows: int) -> str:
    """What is not archived yet; the request id of a record in its middle."""
    minted, size, made = RequestIds(Random(1).randbytes), 0, []
    names, numbers = tuple(f"x{n}" for n in range(10)), np.arange(10.0).tobytes()
    writer = Writer(log, "w0", segment_bytes=TAIL)
    while size < TAIL:
        at = START + APART * (rows + len(made))
        made.append(minted.new(at // 1000))
        outputs = {"prediction": numbers[:8]}
        keys: list[str | None] = [f"tail{len(made)}"]
        record = Prediction(
            made[-1], "prices", RELEASE, "live", at, at, 150, "", 1, None, keys, {}, outputs, names, numbers
        )
        frame = encode(record)
        size += len(frame)
        writer.append([frame])
    writer.close()
    return made[len(made) // 2]


def ask(folder: Path, args: list[str], expected: int | None) -> tuple[float, int]:
    """Median seconds, and how many were found."""
    command = [sys.executable, "-m", "holdfast", "-w", str(folder), "predictions", "find", *args, "--json"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    took = []
    for _ in range(ROUNDS + 1):  # the first compiles modules
        began = time.perf_counter()
        done = subprocess.run(command, capture_output=True, check=True, env=environment)
        took.append(time.perf_counter() - began)
    found = len(json.loads(done.stdout))
    if found != expected and not (expected is None and found):
        sys.exit(f"{args}: {found} found instead of {expected}")
    return statistics.median(took[1:]), found


def say(line: str) -> None:
    """To whoever waits."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
