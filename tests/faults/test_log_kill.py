"""`kill -9` of a process that writes the log: all that it said it had written is there, once, and nothing else."""

import random
import subprocess
import sys
import time
from pathlib import Path

from tests.unit.predictions.records import CONTRACT, RELEASE, profile

from holdfast.backends.duckdb import DuckTables
from holdfast.predictions.archive import archive, files
from holdfast.predictions.compact import count
from holdfast.predictions.log import read, segments
from holdfast.predictions.windows import recipe
from holdfast.testing import MemoryDatabase

WRITER = """
import os, sys, time
from pathlib import Path
from holdfast.core.names import RequestIds
from holdfast.core.prediction import Prediction
from holdfast.predictions.log import Writer, encode
ids = RequestIds(os.urandom)
writer = Writer(Path(sys.argv[1]), "w0", segment_bytes=20_000)
while True:
    now = time.time_ns() // 1000
    name = ids.new(now // 1000)
    frame = encode(Prediction(name, "town", "a" * 64, "live", now, now, 1, "", 1, None, None,
                              {"kind": ["flat"]}, {"prediction": b"\\0" * 8}, ("area",), b"\\0" * 8))
    writer.append([frame])
    sys.stdout.write(name + "\\n")
    sys.stdout.flush()
"""


def test_kill_9_of_a_writer_loses_nothing_that_was_acknowledged(tmp_path: Path):
    rng = random.Random(7)
    tables, database, what = DuckTables(threads=1), MemoryDatabase(), recipe(CONTRACT, profile())
    acknowledged: set[str] = set()
    for _ in range(8):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        acknowledged.add(writer.stdout.readline().strip())
        time.sleep(rng.uniform(0.0, 0.03))
        writer.kill()
        # The last line may be cut by the kill: only whole ids were told.
        acknowledged |= {line.strip() for line in writer.stdout.readlines() if line.endswith("\n")}
        writer.stdout.close()
        writer.wait()
        if rng.random() < 0.5:
            count(database, tmp_path, {RELEASE: what}.get, lateness_share=0.04)
    logged = [entry.record.request for segment in segments(tmp_path) for entry in read(segment, complete=True).entries]
    assert len(logged) == len(set(logged))
    assert acknowledged <= set(logged)
    assert len(set(logged) - acknowledged) <= 8, "at most the one that was under way at each kill"
    told = count(database, tmp_path, {RELEASE: what}.get, lateness_share=0.04)
    archive(database, tmp_path, tables, {RELEASE: what}.get)
    with database.begin() as stores:
        assert sum(w.rows for w in stores.windows.read("town", RELEASE, "windows")) == len(logged), told
    assert sum(tables.count(path) for path in files(tmp_path, "town")) == len(logged)
