"""The search: make every variant that suits the model, judge and time it, and choose.

First all that can be done to the model, on one thread; then the ones worth it with more threads, and on whatever else this
machine can compute with. A variant that cannot be made of this model is left out, and the reason is kept.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from holdfast.build.optimise.judge import Judge, Verdict, answers
from holdfast.build.optimise.measure import BATCHES, Timing, measure, providers
from holdfast.build.optimise.rows import Rows, split
from holdfast.build.optimise.steps import apply
from holdfast.config import processors
from holdfast.core.choose import Choice, choose, pareto
from holdfast.core.contract import Contract
from holdfast.core.variant import Measured, Objectives, Recipe
from holdfast.errors import ObjectivesUnmet, Unconvertible

__all__ = ["Report", "Search", "search"]

STEPS: Final = (
    (),
    ("graph",),
    ("float16",),
    ("int8-dynamic",),
    ("int8",),
    ("pruned-10",),
    ("pruned-25",),
    ("pruned-50",),
    ("pruned-25", "int8"),
    ("pruned-50", "int8"),
    ("trees-75",),
    ("trees-50",),
    ("trees-25",),
    ("leaves-25",),
    ("leaves-50",),
    ("leaves-75",),
    ("trees-50", "leaves-50"),
)
"""The plainest first."""
THREADS: Final = (2, 4, 8, 16)
SAMPLE: Final = 64
JUDGED_S: Final = 20.0
"""Seconds that a variant may take over the rows that judge it."""
FEWEST: Final = 1000
TRIED: Final = 3
"""So many of the best are tried with more threads and on other hardware."""
CPUINFO: Final = Path("/proc/cpuinfo")


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a search found: the statement beside the release."""

    objectives: Objectives
    machine: dict[str, Any]
    variants: tuple[Measured, ...]
    choice: Choice
    left_out: dict[str, str]
    """Variant -> why it cannot be made of this model."""
    rows: int
    """Reference rows that judged."""
    measured: int
    """When, microseconds UTC."""


@dataclass(frozen=True)
class Search:
    """The outcome: the chosen bytes, how they came about, and all that was measured."""

    content: bytes
    recipe: Recipe
    report: Report


def search(
    content: bytes,
    contract: Contract,
    table: Mapping[str, NDArray[Any]],
    labels: NDArray[np.float64] | None,
    wanted: Objectives,
    progress: Callable[[str], None] = lambda _: None,
) -> Search:
    """Find the variant; `ObjectivesUnmet` says what cannot be had, and by how much.

    Args:
        content: the converted model.
        contract: of its inputs and output.
        table: reference columns, typed by the contract.
        labels: of the same rows: numbers or class indices, NaN where there is none.
        wanted: the user's objectives.
        progress: called with the name of each variant.
    """
    rows = split(contract, table)
    rows = rows.fewer(_affordable(content, rows))
    judged = {name: values[rows.index] for name, values in table.items()}
    judge = Judge(contract, answers(content, rows.judged), None if labels is None else labels[rows.index], judged)
    bench = _Bench(content, rows, judge, wanted, progress)
    for steps in STEPS:
        bench.make(steps)
    for recipe in _further(pareto(bench.found)):
        bench.run(recipe)
    choice = choose(bench.found, wanted)
    report = Report(
        objectives=wanted,
        machine=_machine(),
        variants=tuple(bench.found),
        choice=choice,
        left_out=bench.left_out,
        rows=len(rows.index),
        measured=time.time_ns() // 1000,
    )
    if not choice.chosen:
        unmet = ObjectivesUnmet(choice.why, "the objectives", "allow more, or train a smaller model")
        unmet.report = report
        raise unmet
    recipe = next(one.recipe for one in bench.found if one.name == choice.chosen)
    return Search(bench.made[recipe.steps], recipe, report)


class _Bench:
    """Makes and measures variants, and keeps what was found, in the order of the search."""

    def __init__(
        self, content: bytes, rows: Rows, judge: Judge, wanted: Objectives, progress: Callable[[str], None]
    ) -> None:
        self._content, self._rows, self._judge, self._wanted = content, rows, judge, wanted
        self._progress = progress
        self._timed_with = rows.first(max(wanted.rows, *BATCHES))
        self._verdicts: dict[tuple[str, ...], Verdict] = {}
        self.made: dict[tuple[str, ...], bytes] = {}
        self.found: list[Measured] = []
        self.left_out: dict[str, str] = {}

    def make(self, steps: tuple[str, ...]) -> None:
        """One more kind of variant, on one thread."""
        recipe = Recipe(steps=steps)
        try:
            content = apply(self._content, recipe, self._rows.calibration)
        except Unconvertible as bad:
            self.left_out[recipe.name] = bad.what
            return
        self.made[steps] = content
        self._verdicts[steps] = self._judge.verdict(answers(content, self._rows.judged))
        self.run(recipe)

    def run(self, recipe: Recipe) -> None:
        """Time a variant that is made; it answers alike however it is run."""
        self._progress(recipe.name)
        content, verdict = self.made[recipe.steps], self._verdicts[recipe.steps]
        timing: Timing = measure(content, recipe, self._timed_with, self._wanted.rows)
        self.found.append(
            Measured(
                recipe=recipe,
                rows=self._wanted.rows,
                mb=len(content) / (1 << 20),
                p50_ms=timing.p50_ms,
                p99_ms=timing.p99_ms,
                mean_ms=timing.mean_ms,
                batches=timing.batches,
                memory_mb=timing.memory_mb,
                quality=verdict.quality,
                loss=verdict.loss,
                flips=verdict.flips,
                groups=verdict.groups,
                exact=verdict.exact,
            )
        )


def _further(front: list[Measured]) -> list[Recipe]:
    """The quickest of the best, on more threads and on other hardware."""
    quickest = sorted(front, key=lambda one: one.mean_ms)[:TRIED]
    counts = [count for count in THREADS if count <= processors()]
    alter = msgspec.structs.replace
    threads = [alter(one.recipe, threads=count) for one in quickest for count in counts]
    return threads + [alter(one.recipe, provider=name) for name in providers() for one in quickest]


def _affordable(content: bytes, rows: Rows) -> int:
    """How many rows the converted model answers in the time that a variant's judgement may take; a thousand at least."""
    some = rows.first(min(SAMPLE, len(rows.index)))
    start = time.perf_counter()
    answers(content, some)
    return max(int(JUDGED_S / (time.perf_counter() - start) * SAMPLE), FEWEST)


def _machine() -> dict[str, Any]:
    """Where it was measured."""
    import onnxruntime

    try:
        lines = CPUINFO.read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return {
        "processor": model or platform.processor() or platform.machine(),
        "processors": processors(),
        "system": platform.system(),
        "onnxruntime": onnxruntime.__version__,
    }
