"""Counters of all serving processes, in the text form that Prometheus reads.

What is answered, refused and labelled is counted off the very frames that went to the prediction log, so that metrics and log
cannot differ; a process that takes a dead one's place goes on from its counts (`counts`). Any process answers for all of them:
counters are sums, gauges stand once per process. Labels are names of deployments, tracks, fields and error codes, never an id;
refusals of unknown names share one empty deployment.

Reference: Prometheus documentation, "Exposition formats", text format 0.0.4.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from holdfast.core.prediction import Prediction, Record, Refusal, Tally
from holdfast.predictions.log import Frame
from holdfast.serve import counts
from holdfast.serve.counts import SUFFIX, Book, Page, Series

__all__ = ["FAMILIES", "Family", "Metrics", "Place", "pages", "totals"]

BUCKETS_US: Final = (
    100,
    250,
    500,
    1000,
    2500,
    5000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
)
"""Upper ends of the latency buckets, microseconds."""
ANSWERED: Final = "answered"
"""Requests, rows, microseconds, then a number per bucket: three families share this series."""
_SIZE: Final = 3 + len(BUCKETS_US) + 1


class Family(NamedTuple):
    """What is told under one name."""

    help: str
    labels: tuple[str, ...] = ()
    gauge: bool = False


FAMILIES: Final[Mapping[str, Family]] = {
    "refusals_total": Family("Refused requests by error code.", ("deployment", "code")),
    "flagged_values_total": Family("Values outside range or categories.", ("deployment", "field")),
    "labels_total": Family("Labels taken.", ("deployment",)),
    "log_bytes_total": Family("Bytes written to the prediction log."),
    "model_loads_total": Family("Models loaded because somebody asked for them."),
    "model_evictions_total": Family("Models that had to go so that others could be loaded."),
    "joined_runs_total": Family("Runs of a slow model that answered several requests."),
    "joined_requests_total": Family("Requests that were answered by them."),
    "log_unlogged_total": Family("Requests answered although the disk was full, and so in no log."),
    "log_refused_total": Family("Requests not answered, since they could not be logged."),
    "log_damaged_total": Family("Torn or damaged stretches of the prediction log that were passed over."),
    "log_full": Family("Whether the newest write found the disk full.", gauge=True),
    "models_loaded": Family("Models that are open, where there is a memory budget.", gauge=True),
    "model_memory_bytes": Family("Memory that open models take, where there is a budget.", gauge=True),
    "plan_generation": Family("Generation of the traffic plan in force.", gauge=True),
}
"""A line here is all that a new counter or gauge needs."""


class Place(NamedTuple):
    """Where a process keeps its counts."""

    folder: Path
    """One file per process; `pages` reads them all."""
    log: Path
    writer: str
    """Of this process's log."""


_ANSWERS: Final = (Prediction, Tally)
STRIDE: Final = 64 << 10
"""Bytes of the log that others may have to count for themselves, since we have not told yet."""


class Metrics:
    """Counts what this process did and tells what all did; safe to use from several threads.

    Args:
        worker: name of the process.
        place: where its counts are kept; None: in memory, for itself alone.
    """

    def __init__(self, worker: str = "", place: Place | None = None) -> None:
        self._worker = worker
        self._place = place
        self._lock = threading.Lock()
        path = place and place.folder / f"{worker}{SUFFIX}"
        self._book = Book(worker, place.writer if place else "", path)
        self._values = self._book.values
        for family, told in FAMILIES.items():  # on a full disk the file could not grow for them any more
            if not told.labels and (not told.gauge or family == "log_full"):
                self._book.start((family,))
        self._bytes = self._book.start(("log_bytes_total",))
        self._answered: dict[tuple[str, str], int] = {}
        self._position = self._told = (0, 0)
        self._unlogged = False  # counted what no log tells of
        if place and path:
            self._inherit(path, place)

    # ------------------------------------------------------------------------------------------ counting

    def logged(self, frames: Iterable[Frame], position: tuple[int, int]) -> None:
        """These frames are in the log, which now ends there (segment, offset)."""
        with self._lock:
            size = 0
            for frame in frames:
                size += len(frame.data)
                self._count(frame.record)
            self._weigh(size)
            self._position = position
            if position[0] != self._told[0] or position[1] - self._told[1] >= STRIDE or self._unlogged:
                self._tell()

    def settle(self) -> None:
        """Let others see all that was counted; called several times a second, and at the end."""
        with self._lock:
            if self._unlogged or self._position != self._told:
                self._tell()

    def _tell(self) -> None:
        self._told = self._position
        self._unlogged = False
        self._book.flush(*self._position)

    def add(self, family: str, *labels: str, by: int = 1) -> None:
        """Something that is not in the log; seen by others at once."""
        with self._lock:
            self._add((family, *labels), by)
            self._tell()

    def refused(self, deployment: str, code: str) -> None:
        """One refused request of which the log has no record; an empty deployment where the name is unknown.

        Seen by others after `logged` or `settle`, one of which every door calls before the client hears of it.
        """
        with self._lock:
            self._unlogged = True
            self._add(("refusals_total", deployment, code), 1)

    def flagged(self, deployment: str, flags: Mapping[str, int]) -> None:
        """Values of a request that are unusual; seen by others when the request itself is."""
        with self._lock:
            self._unlogged = True
            for field, count in flags.items():
                self._add(("flagged_values_total", deployment, field), count)

    def gauge(self, family: str, value: int, *labels: str) -> None:
        """How it stands in this process now."""
        with self._lock:
            start = self._book.start((family, *labels))
            self._values[start] = value
            self._book.changed.add(start)
            self._tell()

    def following(self, generation: int) -> None:
        """The generation of the traffic plan in force."""
        self.gauge("plan_generation", generation)

    def _count(self, record: Record) -> None:
        if isinstance(record, _ANSWERS):
            key = (record.deployment, record.track)
            start = self._answered.get(key)
            if start is None:
                start = self._answered[key] = self._book.start((ANSWERED, *key), _SIZE)
            values, took = self._values, record.latency_us
            values[start] += 1
            values[start + 1] += record.rows
            values[start + 2] += took
            values[start + 3 + bisect_left(BUCKETS_US, took)] += 1
            self._book.changed.add(start)
        elif isinstance(record, Refusal):
            self._add(("refusals_total", record.deployment, record.code), 1)
        else:
            self._add(("labels_total", record.deployment), len(record.labels))

    def _weigh(self, size: int) -> None:
        self._values[self._bytes] += size
        self._book.changed.add(self._bytes)

    def _add(self, series: Series, by: int) -> None:
        start = self._book.start(series)
        self._values[start] += by
        self._book.changed.add(start)

    # ------------------------------------------------------------------------------------------ taking over

    def _inherit(self, path: Path, place: Place) -> None:
        """Go on from the counts of the process before us, and from what it wrote to the log but did not count."""
        before = counts.read(path)
        if before is not None:
            for series, numbers in before.numbers.items():
                if series[0] == ANSWERED or not FAMILIES[series[0]].gauge:
                    start = self._book.start(series, len(numbers))
                    for i, number in enumerate(numbers):
                        self._values[start + i] += number
            self._catch_up(before.position, place.log)
        self._position = (0, 0)
        self._tell()

    def _catch_up(self, position: counts.Position, log: Path) -> None:
        for record, size, number, offset in counts.behind(log, position):
            self._count(record)
            self._weigh(size)
            self._position = (number, offset)

    # ------------------------------------------------------------------------------------------ telling

    def pages(self) -> list[Page]:
        """Of every process, our own from memory."""
        with self._lock:
            own = self._book.page
        if self._place is None:
            return [own]
        return [own, *pages(self._place.folder, self._place.log, without=self._worker)]

    def render(self) -> bytes:
        """All series of all processes as Prometheus text."""
        return ("\n".join(_lines(self.pages())) + "\n").encode()


def pages(folder: Path, log: Path, *, without: str = "") -> list[Page]:
    """What every process in a folder has counted, and what stands in its log behind that."""
    found = []
    for path in counts.books(folder):
        if path.name == f"{without}{SUFFIX}" or (page := counts.read(path)) is None:
            continue
        late = Metrics(page.worker)
        for record, size, _, _ in counts.behind(log, page.position):
            late._count(record)  # noqa: SLF001 - a counter of our own
            late._weigh(size)  # noqa: SLF001
        found.append(page._replace(numbers=counts.total([page.numbers, late._book.page.numbers])))  # noqa: SLF001
    return found


def totals(found: Sequence[Page]) -> dict[Series, list[int]]:
    """Sums of all counters over processes."""
    return counts.total(
        [{s: n for s, n in page.numbers.items() if s[0] == ANSWERED or not FAMILIES[s[0]].gauge} for page in found]
    )


# ---------------------------------------------------------------------------------------------- text


def _lines(found: Sequence[Page]) -> Iterator[str]:
    sums = totals(found)
    answered = sorted((series[1:], numbers) for series, numbers in sums.items() if series[0] == ANSWERED)
    keys = ("deployment", "track")
    for place, (name, told) in enumerate((("requests", "Answered requests."), ("predictions", "Answered rows."))):
        yield from _head(f"{name}_total", told, "counter")
        for labels, numbers in answered:
            yield f"holdfast_{name}_total{_labels(keys, labels)} {numbers[place]}"
    yield from _histogram(answered)
    for name, family in FAMILIES.items():
        yield from _head(name, family.help, "gauge" if family.gauge else "counter")
        if family.gauge:
            for page in found:
                for series, (value,) in sorted((s, n) for s, n in page.numbers.items() if s[0] == name):
                    yield f"holdfast_{name}{_labels(('worker', *family.labels), (page.worker, *series[1:]))} {value}"
        else:
            for series, (value,) in sorted((s, n) for s, n in sums.items() if s[0] == name):
                yield f"holdfast_{name}{_labels(family.labels, series[1:])} {value}"


def _head(name: str, told: str, kind: str) -> Iterator[str]:
    yield f"# HELP holdfast_{name} {told}"
    yield f"# TYPE holdfast_{name} {kind}"


def _histogram(answered: Sequence[tuple[Series, list[int]]]) -> Iterator[str]:
    name = "request_duration_seconds"
    full = f"holdfast_{name}"
    ends = [*(str(us / 1e6) for us in BUCKETS_US), "+Inf"]
    yield from _head(
        name, "Time from the request's bytes to its answer's, without the network and the log.", "histogram"
    )
    for labels, numbers in answered:
        pairs = _labels(("deployment", "track"), labels)
        bucket = f'{full}_bucket{pairs[:-1]},le="'  # most lines are such: written once for all
        below = 0
        for end, count in zip(ends, numbers[3:], strict=True):
            below += count
            yield f'{bucket}{end}"}} {below}'
        yield f"{full}_sum{pairs} {numbers[2] / 1e6!r}"
        yield f"{full}_count{pairs} {below}"


def _labels(keys: Series, values: Series) -> str:
    pairs = [f'{key}="{_escaped(value)}"' for key, value in zip(keys, values, strict=True) if value or key != "worker"]
    return "{" + ",".join(pairs) + "}" if pairs else ""


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
