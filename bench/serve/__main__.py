"""`make bench-serve`: Holdfast and its peers, one after the other, in rounds.

    python -m bench.serve [--quick] [--only NAME ...] [--seconds 3] [--rounds 3] [--connections 1 8 64] [--duties] [--write]

The server has one core, the load generator another. Each round starts each server afresh, so that none runs while another is
measured, and takes them in turn: what slows the machine for a while hits all of them. Ratios hold on other machines, figures
don't. `--write` puts the table and its picture into docs/.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from bench.serve import duties, load, report
from bench.serve.models import Models, build
from bench.serve.processes import pin
from bench.serve.questions import ask
from bench.serve.report import Results
from bench.serve.servers import LOAD_CORE, QUICK, SERVER_CORE, SERVERS, Entry, compiled, environment

WARM_S = 1.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="Holdfast, FastAPI and a hello world; one row of numbers")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=[entry.name for entry in SERVERS])
    parser.add_argument("--cases", nargs="+", choices=["row", "rows", "image"])
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--generator", choices=sorted(load.GENERATORS), default=load.default())
    parser.add_argument("--write", action="store_true", help="into docs/explanation/serving-speed.md and docs/images/")
    parser.add_argument("--duties", action="store_true", help="and what each duty of Holdfast costs, in this process")
    told = parser.parse_args()
    entries = [e for e in SERVERS if e.name in (told.only or (QUICK if told.quick else [e.name]))]
    cases = told.cases or (["row"] if told.quick else ["row", "rows", "image"])
    say(f"asked by {told.generator}")
    pythons = {entry.name: sys.executable if told.quick else environment(entry, say) for entry in entries}
    for python in sorted(set(pythons.values())):
        compiled(python)
    results = Results()
    pin(LOAD_CORE)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        say("building what is served")
        models = build(Path(folder), image="image" in cases)
        for number in range(told.rounds):
            for entry in entries:
                measure(entry, models, [c for c in entry.cases if c in cases], pythons[entry.name], told, results)
            say(f"round {number + 1} of {told.rounds} done")
        if told.duties or told.write:
            say("what each duty costs")
            pin(SERVER_CORE)
            results.duties = duties.costs(models)
    sys.stdout.write(report.plain(entries, results))
    if told.write:
        report.write(entries, results, told)


def measure(
    entry: Entry, models: Models, cases: list[str], python: str, told: argparse.Namespace, results: Results
) -> None:
    """One round of one server. One that fails once is reported, and not tried again."""
    extra = {} if entry.peer else {"Authorization": f"Bearer {models.key}"}
    served: dict[str, list[str]] = {}
    for case in cases:
        served.setdefault(models.cases[case].model, []).append(case)
    for model, asked in served.items():
        if (entry.name, model) in results.failed:
            continue
        try:
            server = entry.start(models, model, ask(entry.form, models.cases[asked[0]], extra), python)
        except (load.Wrong, OSError) as bad:
            results.failed[entry.name, model] = str(bad)
            say(f"{entry.name} failed: {bad}")
            continue
        try:
            for case in asked:
                question = ask(entry.form, models.cases[case], extra)
                load.load(server.port, question, 8, WARM_S, generator=told.generator)
                for connections in told.connections if case == "row" else [8]:
                    before = server.cpu()
                    found = load.load(server.port, question, connections, told.seconds, generator=told.generator)
                    results.add(entry.name, case, connections, found, server.cpu() - before)
            if model == "tree":
                results.started(entry.name, server.cold_s, server.megabytes())
        except load.Wrong as bad:
            results.failed[entry.name, model] = str(bad)
            say(f"{entry.name} failed: {bad}")
        finally:
            server.stop()


def say(text: str) -> None:
    sys.stderr.write(f"bench: {text}\n")


if __name__ == "__main__":
    main()
