"""The measured figures: as lines on the terminal, as a table and a picture in the documentation."""

from __future__ import annotations

import argparse
import os
import platform
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

from bench.serve.load import Load
from bench.serve.picture import bars
from bench.serve.servers import Entry

__all__ = ["Results", "plain", "write"]

DOCS: Final = Path(__file__).parents[2] / "docs"
PAGE: Final = DOCS / "explanation" / "serving-speed.md"
PICTURE: Final = DOCS / "images" / "serving-speed.svg"
CASES: Final = {"row": "1 row of 20 numbers", "rows": "32 rows of 20 numbers", "image": "1 image, 28 x 28"}


class _Figure(NamedTuple):
    """Medians over the rounds."""

    rate: float
    p50: float
    p99: float
    cpu_us: float


class Results:
    """All rounds; keys are (server, case, connections)."""

    def __init__(self) -> None:
        self.loads: dict[tuple[str, str, int], list[tuple[Load, float]]] = {}
        self.starts: dict[str, list[tuple[float, float]]] = {}
        self.failed: dict[tuple[str, str], str] = {}
        """By server and model: why it did not answer."""
        self.duties: dict[str, float] = {}
        """Microseconds of a request by duty; `all`: the whole path."""

    def add(self, server: str, case: str, connections: int, found: Load, cpu_s: float) -> None:
        """One run."""
        self.loads.setdefault((server, case, connections), []).append((found, cpu_s))

    def started(self, server: str, cold_s: float, megabytes: float) -> None:
        """One start, and what it held in the end."""
        self.starts.setdefault(server, []).append((cold_s, megabytes))

    def figure(self, server: str, case: str, connections: int) -> _Figure | None:
        """What came out, or None where nothing did."""
        runs = self.loads.get((server, case, connections))
        if not runs:
            return None
        found = [run for run, _ in runs]
        return _Figure(
            median(run.rate for run in found),
            median(run.p50_ms for run in found),
            median(run.p99_ms for run in found),
            median(1e6 * cpu / run.requests for run, cpu in runs),
        )

    def start(self, server: str) -> tuple[float, float] | None:
        """Median cold start in seconds and megabytes at the end."""
        runs = self.starts.get(server)
        return (median(s for s, _ in runs), median(mb for _, mb in runs)) if runs else None

    def against(self, server: str, peer: str, case: str, connections: int) -> float | None:
        """Requests a second as a multiple of a peer's."""
        one, other = self.figure(server, case, connections), self.figure(peer, case, connections)
        return one.rate / other.rate if one and other else None


# ---------------------------------------------------------------------------------------------- the terminal


def plain(entries: Sequence[Entry], results: Results) -> str:
    """Every figure, a line each."""
    titles = ("requests/s", "x FastAPI", "x hello", "p50 ms", "p99 ms", "CPU us", "x FastAPI")
    lines = [f"{'server':<18} {'case':<6}{'conn.':>5}" + "".join(f"{title:>12}" for title in titles)]
    for name, case, connections in results.loads:
        one = results.figure(name, case, connections)
        peer = results.figure("fastapi", case, connections)
        assert one is not None
        cells = [
            f"{one.rate:,.0f}",
            _times(results.against(name, "fastapi", case, connections)),
            _times(results.against(name, "hello", "row", connections)),
            f"{one.p50:.2f}",
            f"{one.p99:.2f}",
            f"{one.cpu_us:.1f}",
            _times(peer.cpu_us / one.cpu_us if peer and one.cpu_us else None),
        ]
        lines.append(f"{name:<18} {case:<6}{connections:>5}" + "".join(f"{cell:>12}" for cell in cells))
    for entry in entries:
        start = results.start(entry.name)
        if start:
            lines.append(f"{entry.name:<18} cold start {start[0]:.2f} s, {start[1]:.0f} MB")
    lines += [f"{cost:6.1f} us  {name}" for name, cost in results.duties.items()]
    lines += [f"{name:<18} failed ({model}): {why[:300]}" for (name, model), why in results.failed.items()]
    return "\n".join(lines) + "\n"


def _times(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.2f}"


# ---------------------------------------------------------------------------------------------- the page


def write(entries: Sequence[Entry], results: Results, told: argparse.Namespace) -> None:
    """Replace the measured part of the page, and its picture."""
    parts = (
        _how(told),
        _table(entries, results),
        _others(entries, results),
        _duties(results),
        _failures(entries, results),
    )
    measured = "\n\n".join(filter(None, parts))
    text = PAGE.read_text(encoding="utf-8")
    begin, end = "<!-- measured: begin -->", "<!-- measured: end -->"
    text = re.sub(f"{begin}.*{end}", lambda _: f"{begin}\n{measured}\n{end}", text, flags=re.DOTALL)
    PAGE.write_text(text, encoding="utf-8")
    shown = [(entry, figure) for entry in entries if (figure := results.figure(entry.name, "row", 8))]
    PICTURE.write_text(
        bars(
            "Requests a second of one core, one row of 20 numbers, 8 connections",
            [
                (_bare(entry.title), figure.rate, "ours" if not entry.peer else "floor" if entry.model_free else "peer")
                for entry, figure in sorted(shown, key=lambda pair: -pair[1].rate)
            ],
        ),
        encoding="utf-8",
    )


def _bare(title: str) -> str:
    return title.replace("*", "").replace("`", "")


def _how(told: argparse.Namespace) -> str:
    day = datetime.now(UTC).strftime("%Y-%m-%d")
    rounds = "one round" if told.rounds == 1 else f"medians of {told.rounds} interleaved rounds"
    return (
        f"Measured on {day}, {_processor()}, {os.cpu_count()} cores, Python {platform.python_version()}: "
        f"{rounds} of {told.seconds:g} s, asked by {told.generator}."
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _grid(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", "|---|" + "--:|" * (len(head) - 1)]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def _table(entries: Sequence[Entry], results: Results) -> str:
    """The row case."""
    many = sorted({connections for _, case, connections in results.loads if case == "row"})
    at = 8 if 8 in many else many[0]
    head = (
        "server",
        f"requests/s, {at} conn.",
        "p99 ms",
        *(f"x FastAPI, {c} conn." for c in many),
        "cold start s",
        "MB",
    )
    rows = []
    for entry in entries:
        figure, start = results.figure(entry.name, "row", at), results.start(entry.name)
        if figure is None:
            continue
        times = [_times(results.against(entry.name, "fastapi", "row", c)) for c in many]
        cold = (f"{start[0]:.2f}", f"{start[1]:.0f}") if start else ("-", "-")
        rows.append((figure.rate, [entry.title, f"{figure.rate:,.0f}", f"{figure.p99:.2f}", *times, *cold]))
    return f"### {CASES['row']}\n\n" + _grid(head, [row for _, row in sorted(rows, key=lambda pair: -pair[0])])


def _others(entries: Sequence[Entry], results: Results) -> str:
    """Larger questions, at 8 connections."""
    parts = []
    for case in ("rows", "image"):
        found = [(e.title, f, e.name) for e in entries if (f := results.figure(e.name, case, 8))]
        if found:
            rows = [
                [title, f"{f.rate:,.0f}", f"{f.p99:.2f}", _times(results.against(name, "fastapi", case, 8))]
                for title, f, name in sorted(found, key=lambda one: -one[1].rate)
            ]
            parts.append(
                f"### {CASES[case]}\n\n" + _grid(("server", "requests/s, 8 conn.", "p99 ms", "x FastAPI"), rows)
            )
    return "\n\n".join(parts)


def _duties(results: Results) -> str:
    """Within one process, without a network."""
    if not results.duties:
        return ""
    rows = [[name, f"{cost:.1f}"] for name, cost in results.duties.items() if name != "all"]
    rows.append(["**everything**", f"**{results.duties['all']:.1f}**"])
    return "### What each duty costs\n\n" + _grid(("duty", "microseconds of a request"), rows)


def _failures(entries: Sequence[Entry], results: Results) -> str:
    titles = {entry.name: entry.title for entry in entries}
    told = [
        f"- {titles[name]} did not serve the {model}: {why.splitlines()[0][:160]}"
        for (name, model), why in results.failed.items()
    ]
    return "\n".join(["Not measured:", "", *told]) if told else ""
