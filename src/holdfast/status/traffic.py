"""What the serving processes did between two looks: requests, rows, refusals and latency by deployment, and each process's cost.

Read off the counts that every process keeps in a file (`serve.counts`): no request is sent, no server is slowed, and what a
process did before it died is counted.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from holdfast.decide.publish import workers
from holdfast.serve.counts import fleets
from holdfast.serve.metrics import ANSWERED, BUCKETS_US, pages, totals

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from holdfast.serve.counts import Series

__all__ = ["Look", "Process", "Traffic", "look", "processes", "quantile", "traffic"]

_BUCKETS: Final = 3
"""Where an answered series' buckets begin: behind requests, rows and microseconds."""


class Traffic(NamedTuple):
    """One deployment between two looks; all but the latencies by the second."""

    requests: float
    rows: float
    refused: float
    """Requests that got an error."""
    flagged: float
    """Values outside range or categories."""
    p50_ms: float | None
    p99_ms: float | None
    """Of the answer's own time, without network and log; read off the buckets of `/metrics`."""


class Process(NamedTuple):
    """A serving process between two looks; None where the system does not tell."""

    name: str
    pid: int
    cores: float | None
    """Processor seconds a second."""
    megabytes: float | None


class Look(NamedTuple):
    """What stood there at a moment."""

    at: float
    """Monotonic seconds."""
    counts: dict[Series, list[int]]
    processes: tuple[tuple[str, int, float | None, float | None], ...]
    """Name, pid, processor seconds so far, megabytes."""
    full: bool
    """A process found the log's disk full at its newest write."""


def look(run: Path, log: Path, clock: Callable[[], float] = time.monotonic) -> Look:
    """Look now; two looks make a `traffic`."""
    found = [page for folder in fleets(run) for page in pages(folder, log)]
    full = any(page.numbers.get(("log_full",), [0])[0] for page in found)
    alive = tuple((report.id, report.pid, *_used(report.pid)) for report in workers(run))
    return Look(clock(), totals(found), alive, full)


def traffic(before: Look, now: Look) -> dict[str, Traffic]:
    """By deployment; refusals of unknown names under the empty one. A server that began anew began from nothing."""
    seconds = max(now.at - before.at, 1e-9)
    names: dict[str, list[float]] = {}
    buckets: dict[str, list[int]] = {}
    for series, numbers in now.counts.items():
        place = {ANSWERED: 0, "refusals_total": 2, "flagged_values_total": 3}.get(series[0])
        if place is None:
            continue
        then = before.counts.get(series, [0] * len(numbers))
        grown = [new - old if new >= old else new for new, old in zip(numbers, then, strict=True)]
        sums = names.setdefault(series[1], [0.0] * 4)
        sums[place] += grown[0]
        if place == 0:
            sums[1] += grown[1]
            kept = buckets.setdefault(series[1], [0] * (len(BUCKETS_US) + 1))
            buckets[series[1]] = [a + b for a, b in zip(kept, grown[_BUCKETS:], strict=True)]
    return {
        name: Traffic(
            requests=sums[0] / seconds,
            rows=sums[1] / seconds,
            refused=sums[2] / seconds,
            flagged=sums[3] / seconds,
            p50_ms=quantile(buckets.get(name, ()), 0.5),
            p99_ms=quantile(buckets.get(name, ()), 0.99),
        )
        for name, sums in names.items()
    }


def processes(before: Look, now: Look) -> list[Process]:
    """Those alive now."""
    seconds, then = now.at - before.at, {pid: used for _, pid, used, _ in before.processes}

    def cores(pid: int, used: float | None) -> float | None:
        old = then.get(pid)
        return None if used is None or old is None or not seconds else (used - old) / seconds

    return [Process(name, pid, cores(pid, used), held) for name, pid, used, held in now.processes]


def quantile(buckets: Sequence[int], share: float) -> float | None:
    """Milliseconds below which this share of the requests lies: straight lines within buckets, above the last end that end."""
    total, below, low = sum(buckets), 0, 0.0
    if not total:
        return None
    for end, count in zip(BUCKETS_US, buckets, strict=False):
        if below + count >= share * total and count:
            return (low + (end - low) * (share * total - below) / count) / 1e3
        below, low = below + count, float(end)
    return low / 1e3


def _used(pid: int) -> tuple[float | None, float | None]:
    """Processor seconds and megabytes of a process, as Linux tells them."""
    with contextlib.suppress(OSError, ValueError):
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        ticks, held = int(fields[11]) + int(fields[12]), int(fields[21])
        return ticks / os.sysconf("SC_CLK_TCK"), held * os.sysconf("SC_PAGE_SIZE") / 1e6
    return None, None
