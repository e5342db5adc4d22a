"""`make bench-trees`: exact trees against the model's own library, stock converters, treelite and TL2cgen.

    python -m bench.trees [--only NAME ...] [--quick] [--write]

Each side answers the same 10 000 rows and the rows at the model's thresholds, on one thread of one process. *Wrong* counts rows
that differ from the model's own answer by more than a millionth of the output's scale (XGBoost: a hundred-thousandth).
`--quick` leaves the peers out, which need an environment of their own (.bench/trees); `--write` puts the table into docs/.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import platform
import re
import subprocess
import sys
import tempfile
import time
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
from bench.serve.servers import environment_of
from bench.trees.clock import measured
from bench.trees.forests import FORESTS, WIDTH, Forest, rows

from holdfast.build.answers import feeds, open_session
from holdfast.build.boundary import boundary_rows
from holdfast.build.convert import Input, convert

HERE: Final = Path(__file__).parent
PAGE: Final = HERE.parents[1] / "docs" / "explanation" / "exact-trees.md"
SIDES: Final = ("native", "Holdfast", "stock converter", "treelite", "TL2cgen")
ASKED: Final = 10_000
Figures = dict[str, dict[str, Any]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=[forest.name for forest in FORESTS])
    parser.add_argument("--quick", action="store_true", help="Holdfast and the model's own library, three models")
    parser.add_argument("--write", action="store_true", help="into docs/explanation/exact-trees.md")
    told = parser.parse_args()
    quick = ("random_forest", "xgboost", "lightgbm")
    chosen = [f for f in FORESTS if f.name in (told.only or (quick if told.quick else [f.name]))]
    python = "" if told.quick else environment_of("trees", HERE / "requirements.txt", "the peers of trees", say)
    found: dict[str, Figures] = {}
    for forest in chosen:
        say(forest.title)
        found[forest.title] = compare(forest, python)
    sys.stdout.write(table(found))
    if told.write:
        begin, end = "<!-- measured: begin -->", "<!-- measured: end -->"
        text = PAGE.read_text(encoding="utf-8")
        fresh = f"{begin}\n{how()}\n\n{table(found)}{end}"
        PAGE.write_text(re.sub(f"{begin}.*{end}", lambda _: fresh, text, flags=re.DOTALL), encoding="utf-8")


def compare(forest: Forest, python: str) -> Figures:
    """All sides of one model."""
    matrix, score = rows(8000, seed=0)
    target = (score > np.median(score)).astype(int) if forest.task == "binary" else score
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = forest.make().fit(matrix, target)
        native = getattr(model, forest.method)
        inputs = [Input(f"x{i:02d}", "FP64") for i in range(WIDTH)]
        began = time.perf_counter()
        converted = convert(model, inputs, "binary" if forest.task == "binary" else "regression")
        taken = time.perf_counter() - began
        asked = rows(ASKED, seed=1)[0]
        columns = {column.name: asked[:1000, i] for i, column in enumerate(inputs)}
        near = boundary_rows(converted, columns, limit=100)
        edges = np.column_stack([near[column.name] for column in inputs])
        wanted = [np.asarray(native(part), dtype=np.float64).reshape(len(part), -1)[:, -1] for part in (asked, edges)]
        expected = np.concatenate(wanted)
        scale = 1.0 if forest.task == "binary" else float(np.std(wanted[0]))
        session = open_session(converted.onnx)
        name = next(iter(feeds(converted, columns)))
        sides: Figures = {
            "native": measured(forest.name, native, asked, edges, expected, scale),
            "Holdfast": measured(forest.name, lambda x: session.run(None, {name: x})[0], asked, edges, expected, scale)
            | {"ready_s": taken},
        }
        return sides | (peers(forest, model, asked, edges, expected, scale, python) if python else {})


def peers(forest: Forest, model: Any, asked: Any, edges: Any, expected: Any, scale: float, python: str) -> Figures:
    """The other sides, in their own environment."""
    with tempfile.TemporaryDirectory(prefix="bench-trees-") as given:
        folder = Path(given)
        kept = None if forest.name == "catboost" else model  # no peer reads CatBoost's object
        (folder / "model.pickle").write_bytes(pickle.dumps(kept))
        more = {"score": forest.method == "decision_function", "offset": getattr(model, "offset_", 0.0)}
        np.savez(folder / "rows.npz", rows=asked, edges=edges, expected=expected, scale=scale, **more)
        calm = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        command = [python, str(HERE / "peer.py"), str(folder), forest.name]
        done = subprocess.run(command, check=False, capture_output=True, text=True, env=calm)
    if done.returncode:
        raise SystemExit(f"the peers of {forest.title} ended with {done.returncode}: {done.stderr[-2000:]}")
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return figures


def table(found: dict[str, Figures]) -> str:
    """A line per model and side."""
    lines = [
        "| model | side | rows a second | one row, us | wrong of 10 000 | wrong at thresholds | worst | ready in |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for title, sides in found.items():
        for side in SIDES:
            if side not in sides:
                continue
            figures = sides[side]
            if "failed" in figures:
                lines.append(f"| {title} | {side} | {figures['failed'].replace('|', '/')} | | | | | |")
                continue
            shown = f"**{side}**" if side == "Holdfast" else side
            ready = f"{figures['ready_s']:.2g} s" if "ready_s" in figures else ""
            lines.append(
                f"| {title} | {shown} | {_round(figures['rows_per_s'])} | {_round(figures['one_row_us'])} |"
                f" {figures['wrong']} | {figures['wrong_at_thresholds']} | {figures['worst']:.1g} | {ready} |"
            )
    return "".join(f"{line}\n" for line in lines)


def _round(value: float) -> str:
    """Two or three figures are what such a measurement has."""
    return f"{float(f'{value:.3g}'):,.0f}".replace(",", " ") if value >= 10 else f"{value:.2g}"


def how() -> str:
    day = datetime.now(UTC).strftime("%Y-%m-%d")
    cores, load = os.cpu_count() or 1, os.getloadavg()[2]
    busy = f" The machine was busy with other work (load {load:.0f}), so the speeds say little." if load > 1.5 else ""
    return f"Measured on {day}, {cores} cores, Python {platform.python_version()}; one thread, medians.{busy}"


def say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    main()
