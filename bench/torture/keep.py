"""The keeper over a long stream of one-row requests, alone in its process: what a row costs it, and does its memory grow?

    python -m bench.torture.keep [ROWS]

Twenty numbers a row, windows of a hundred rows, a pass for every two seconds of 20 000 requests a second. Exits non-zero if a
row costs more than a core has at that pace, or if memory grows between a half and the whole of the stream.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import numpy as np

from holdfast.core.names import RequestIds
from holdfast.core.prediction import Prediction
from holdfast.decide.actions import Actor, deploy
from holdfast.predictions.log import Writer, encode
from holdfast.server.keeper import Keeper, few_collections
from holdfast.workspace import create_workspace, open_workspace

ROWS: Final = 640_000
PACE: Final = 20_000
"""Requests a second."""
PASS: Final = 2 * PACE
FIELDS: Final = tuple(f"x{n}" for n in range(20))
BOUND_US: Final = 1e6 / PACE
NOISE_MB: Final = 20.0


def main() -> None:
    """Log, catch up, measure."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else ROWS
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        making = get_context("spawn").Process(target=market, args=(folder,))  # what it imports is not the keeper's
        making.start()
        making.join()
        workspace = open_workspace(folder)
        digest = next(workspace.releases.iterdir()).name
        few_collections()
        keeper, writer = Keeper(workspace), Writer(workspace.log, "w0", segment_bytes=32 << 20)
        spent, memory = 0.0, {}
        for done in range(PASS, rows + 1, PASS):
            traffic(writer, digest, PASS)
            began = time.process_time()
            keeper.catch_up()
            spent += time.process_time() - began
            memory[done] = anonymous_mb()
            if done in {rows // 4 // PASS * PASS, rows // 2 // PASS * PASS, rows // PASS * PASS}:
                each = spent / done * 1e6
                print(f"{done:10,} rows   {each:5.1f} us of a core each   {memory[done]:5.0f} MB", flush=True)
        workspace.database.close()
    half = [size for done, size in memory.items() if done <= rows / 2]
    grown = max(memory.values()) - max(half)
    sys.exit(spent / rows * 1e6 > BOUND_US or grown > NOISE_MB)


def market(folder: Path) -> None:
    """A deployment of a release that has a reference."""
    import pandas as pd
    from sklearn.linear_model import LinearRegression

    import holdfast

    table = pd.DataFrame(np.random.default_rng(0).normal(size=(6000, len(FIELDS))), columns=list(FIELDS))
    truth = table.sum(axis=1).rename("price")
    workspace = create_workspace(folder)
    model = LinearRegression().fit(table[:3000], truth[:3000])
    release = holdfast.build_release(model, table[3000:], truth[3000:], workspace=workspace, name="market")
    deploy(workspace.database, Actor("torture", time.time_ns() // 1000, workspace.run), "market", release.digest)


def traffic(writer: Writer, digest: str, rows: int) -> None:
    """Requests of one row."""
    numbers = np.random.default_rng().normal(size=(rows, len(FIELDS)))
    answers = numbers.sum(axis=1)
    ids, now = RequestIds(os.urandom), time.time_ns() // 1000
    for i in range(rows):
        at = now + i * 1_000_000 // PACE
        outputs = {"prediction": answers[i : i + 1].tobytes()}
        head = (ids.new(at // 1000), "market", digest, "live", at, at, 150, "", 1)
        writer.append([encode(Prediction(*head, None, None, {}, outputs, FIELDS, numbers[i].tobytes()))])


def anonymous_mb() -> float:
    """Memory of this process that is no file's."""
    text = Path("/proc/self/smaps_rollup").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss_Anon:")) / 1024


if __name__ == "__main__":
    main()
