"""Counters of one serving process, in the text form that Prometheus reads.

Plain integers behind one lock: a request adds to a handful of them, and nothing is formatted before somebody asks. Labels are
names of deployments, tracks, fields and error codes, never an id. Refusals of unknown names share one empty deployment.

Reference: Prometheus documentation, "Exposition formats", text format 0.0.4.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Final

__all__ = ["Metrics"]

BUCKETS: Final = (1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Upper ends of the latency buckets, seconds."""
Labels = tuple[str, ...]


class Metrics:
    """Counts what this process did; safe to use from several threads.

    Args:
        worker: name of the process, a label of every series, since each scrape reaches one process of several.
    """

    def __init__(self, worker: str = "") -> None:
        self._worker = worker
        self._lock = threading.Lock()
        self._requests: dict[Labels, int] = defaultdict(int)
        self._rows: dict[Labels, int] = defaultdict(int)
        self._refused: dict[Labels, int] = defaultdict(int)
        self._flagged: dict[Labels, int] = defaultdict(int)
        self._latency: dict[Labels, list[int]] = {}
        self._seconds: dict[Labels, float] = defaultdict(float)
        self._log_bytes = 0
        self._generation = 0

    def answered(self, deployment: str, track: str, rows: int, seconds: float, flags: Mapping[str, int]) -> None:
        """One answered request."""
        names = (deployment, track)
        with self._lock:
            self._requests[names] += 1
            self._rows[names] += rows
            self._seconds[names] += seconds
            counts = self._latency.get(names)
            if counts is None:
                counts = self._latency[names] = [0] * (len(BUCKETS) + 1)
            counts[bisect_left(BUCKETS, seconds)] += 1
            for field, count in flags.items():
                self._flagged[deployment, field] += count

    def refused(self, deployment: str, code: str) -> None:
        """One refused request; an empty deployment where the name is unknown."""
        with self._lock:
            self._refused[deployment, code] += 1

    def logged(self, size: int) -> None:
        """Bytes that went to the prediction log."""
        with self._lock:
            self._log_bytes += size

    def following(self, generation: int) -> None:
        """The generation of the traffic plan in force."""
        self._generation = generation

    def render(self) -> bytes:
        """All series as Prometheus text."""
        with self._lock:
            lines = [
                *self._counter("requests", "Answered requests.", ("deployment", "track"), self._requests),
                *self._counter("predictions", "Answered rows.", ("deployment", "track"), self._rows),
                *self._counter("refusals", "Refused requests by error code.", ("deployment", "code"), self._refused),
                *self._counter(
                    "flagged_values", "Values outside range or categories.", ("deployment", "field"), self._flagged
                ),
                *self._histogram(),
                *self._counter("log_bytes", "Bytes written to the prediction log.", (), {(): self._log_bytes}),
                "# HELP holdfast_plan_generation Generation of the traffic plan in force.",
                "# TYPE holdfast_plan_generation gauge",
                f"holdfast_plan_generation{self._labels((), ())} {self._generation}",
            ]
        return ("\n".join(lines) + "\n").encode()

    def _counter(self, name: str, told: str, keys: Labels, series: Mapping[Labels, int]) -> Iterable[str]:
        full = f"holdfast_{name}_total"
        yield f"# HELP {full} {told}"
        yield f"# TYPE {full} counter"
        for names, value in series.items():
            yield f"{full}{self._labels(keys, names)} {value}"

    def _histogram(self) -> Iterable[str]:
        full = "holdfast_request_duration_seconds"
        yield f"# HELP {full} Time from the request's bytes to its answer's, without the network and the log."
        yield f"# TYPE {full} histogram"
        keys = ("deployment", "track")
        for names, counts in self._latency.items():
            below = 0
            for end, count in zip((*map(str, BUCKETS), "+Inf"), counts, strict=True):
                below += count
                yield f"{full}_bucket{self._labels((*keys, 'le'), (*names, end))} {below}"
            yield f"{full}_sum{self._labels(keys, names)} {self._seconds[names]!r}"
            yield f"{full}_count{self._labels(keys, names)} {below}"

    def _labels(self, keys: Labels, values: Labels) -> str:
        pairs = [(k, v) for k, v in zip(("worker", *keys), (self._worker, *values), strict=True) if v or k != "worker"]
        return "{" + ",".join(f'{key}="{_escaped(value)}"' for key, value in pairs) + "}" if pairs else ""


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
