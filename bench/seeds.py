"""The demo over many seeds: the same worlds, operator and parts of Holdfast as `holdfast demo`, without processes and sockets.

make seeds        20 seeds of the house sales: share of true changes found, median delay, how often the date's interval
                  covers the onset, how often shape and cause are right; and the false alarms on quiet days
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

YEAR_DAYS = 365.25


def one_seed(story: str, seed: int) -> dict[str, Any]:
    """Play a seed; what its scoreboard says."""
    import msgspec

    from holdfast.demo.digits import Digits
    from holdfast.demo.inprocess import whole_story
    from holdfast.demo.worlds import Houses

    world = {"houses": Houses, "digits": Digits}[story](seed)
    began = time.perf_counter()
    with (
        tempfile.TemporaryDirectory(prefix="holdfast-seed-") as folder,
        Path(os.devnull).open("w") as nowhere,
        contextlib.redirect_stderr(nowhere),  # every alarm is told there
    ):
        played, board = whole_story(Path(folder), world)
    return {
        "seed": seed,
        **msgspec.to_builtins(board),
        "promotes": [p.day for p in played.promotes],
        "errors": played.errors.report(played.promotes)["overall"],
        "took_s": round(time.perf_counter() - began, 1),
    }


def pooled(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """One line per change, and all together."""
    changes = [change for run in runs for change in run["changes"]]
    lines = {
        name: _line([c for c in changes if c["name"] == name]) for name in dict.fromkeys(c["name"] for c in changes)
    }
    quiet = sum(run["quiet_days"] for run in runs)
    return {
        "seeds": len(runs),
        "changes": {**lines, "all": _line(changes)},
        "false_alarms": sum(run["false_alarms"] for run in runs),
        "quiet_years": round(quiet / YEAR_DAYS, 2),
        "errors": {key: round(median(run["errors"][key] for run in runs), 4) for key in runs[0]["errors"]},
    }


def _line(changes: list[dict[str, Any]]) -> dict[str, Any]:
    found = [c for c in changes if c["found"]]

    def share(key: str) -> float:
        return round(sum(c[key] for c in found) / max(len(found), 1), 3)

    return {
        "changes": len(changes),
        "found": round(len(found) / len(changes), 3),
        "median_delay_days": median([c["delay_days"] for c in found]) if found else None,
        "median_delay_net_of_label_lag_days": median([c["delay_net_of_label_lag_days"] for c in found])
        if found
        else None,
        "interval_covers": share("covers"),
        "shape_right": share("shape_right"),
        "cause_right": share("cause_right"),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--story", choices=("houses", "digits"), default="houses")
    parser.add_argument("--json", action="store_true", help="one document instead of a table")
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # two processes already fill two cores
    runs = []
    with ProcessPoolExecutor(2, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        jobs = [pool.submit(one_seed, given.story, given.first + i) for i in range(given.seeds)]
        for job in as_completed(jobs):
            runs.append(job.result())
            print(f"seed {runs[-1]['seed']}: {runs[-1]['took_s']} s", file=sys.stderr)
    runs.sort(key=lambda run: run["seed"])
    whole = pooled(runs)
    if given.json:
        print(json.dumps({**whole, "runs": runs}, indent=1))
        return 0
    headings = ("change", "found", "delay", "net of labels", "interval covers", "shape right", "cause right")
    print(("{:<16}" + "{:>16}" * 6).format(*headings))
    for name, line in whole["changes"].items():
        cells = [line[k] for k in ("found", "median_delay_days", "median_delay_net_of_label_lag_days")]
        cells += [line[k] for k in ("interval_covers", "shape_right", "cause_right")]
        print(("{:<16}" + "{:>16}" * 6).format(name, *map(str, cells)))
    print(f"false alarms on days with a stated rate: {whole['false_alarms']}; quiet years: {whole['quiet_years']}")
    print(f"median error over the story: {whole['errors']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
