"""How long a whole build takes: the adult pipeline (49 000 rows of census data, strings, missing values, 100 trees).

Trained, initialised and built as a user does it, each in a process of its own; needs HOLDFAST_TEST_DATA.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LIMIT_S = 30.0
EXAMPLE = Path(__file__).parents[1] / "examples" / "adult" / "train.py"
BUILD = ("build", "model.skops", "--reference", "reference.parquet", "--label", "income_over_50k", "--name", "adult")


def main() -> None:
    data = os.environ.get("HOLDFAST_TEST_DATA")
    if not data:
        print("build of the adult pipeline: not measured; next: set HOLDFAST_TEST_DATA")
        return
    with tempfile.TemporaryDirectory() as folder:
        source = Path(data) / "adult" / "adult.parquet"
        subprocess.run([sys.executable, str(EXAMPLE), str(source), "."], cwd=folder, check=True)
        subprocess.run([sys.executable, "-m", "holdfast", "init"], cwd=folder, check=True, capture_output=True)
        before, began = _spent(), time.perf_counter()
        command = [sys.executable, "-m", "holdfast", *BUILD, "--json"]
        done = subprocess.run(command, cwd=folder, check=True, capture_output=True)
        wall, spent = time.perf_counter() - began, _spent() - before
        parity = json.loads(done.stdout)["parity"]
    rows = parity["rows"] + parity["boundary_rows"]
    verdict = "within" if wall < LIMIT_S else "NOT within"
    print(
        f"build of the adult pipeline, registry to signed release: {wall:.1f} s ({spent:.1f} s of processor), {verdict} "
        f"{LIMIT_S:.0f} s; {parity['beyond_tolerance']} of {rows:,} rows beyond {parity['tolerance']:g}"
    )


def _spent() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
