"""What status says, as plain frozen values: the CLI prints them, the API sends them, the console draws them.

All times are microseconds UTC on the deployment clock unless a field says otherwise; shares lie between 0 and 1.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from holdfast.core.alarm import Alarm
from holdfast.core.event import Event

__all__ = [
    "Bin",
    "Column",
    "ColumnBin",
    "DeploymentView",
    "Distance",
    "Evidence",
    "LabelCounts",
    "Latency",
    "LogState",
    "Monitoring",
    "Overview",
    "Performance",
    "Quantiles",
    "ReleaseSummary",
    "Row",
    "Server",
    "State",
    "Stay",
    "Verdict",
]

Verdict = Literal["as promised", "worse", "better", "no reference"]
"""Of the error's interval against the reference's: worse and better only where they do not overlap."""
State = Literal["ok", "note", "alarm", "unwatched", "no data"]
"""alarm: an open alarm that hurts or may hurt; note: only harmless ones; unwatched: no monitor runs, or it is behind."""


class Performance(msgspec.Struct, frozen=True, kw_only=True):
    """Error measured on labelled predictions, beside what the release promised."""

    metric: str
    """As a person says it: `error rate`, `RMSE (log scale)`."""
    value: float
    low: float
    high: float
    n: int
    level: float
    since: int
    """Event time of the first prediction counted."""
    reference: float | None = None
    reference_low: float | None = None
    reference_high: float | None = None
    verdict: Verdict


class Monitoring(msgspec.Struct, frozen=True, kw_only=True):
    """Whether anybody is looking."""

    running: bool
    looked_until: int | None
    """End of the newest window that the monitors have judged."""
    behind: int
    """Windows before the newest that they have not judged yet."""
    rate: str
    """The stated false-alarm rate, or why none is stated."""


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Time to answer a request inside the server, over the newest windows. Quantiles are on `/metrics`."""

    mean_ms: float
    requests: int


class LabelCounts(msgspec.Struct, frozen=True, kw_only=True):
    """How much of the truth has arrived."""

    received: int
    joined: int
    waiting: int
    """Came for predictions that are not known (yet)."""
    coverage: float | None
    """Share of the live release's predictions that have a label."""
    until: int | None
    """End of the newest window with labels."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One deployment in a line: is anything wrong?"""

    name: str
    state: State
    reason: str
    clock: int
    """The deployment's own now: the wall clock, in a replay the largest event time."""
    task: str
    model: str
    live: str
    since: int
    previous: str
    """The release that a rollback returns to; empty: there is none."""
    canary: str
    canary_share: float
    rows: int
    """Predictions of the live release."""
    refused: int
    """Rows that broke its contract."""
    recent: tuple[int, ...]
    """Rows of its newest windows, oldest first."""
    window: str
    """How long a window is, in words."""
    last_prediction: int | None
    latency: Latency | None
    performance: Performance | None
    alarms: tuple[Alarm, ...]
    """Open ones, newest first."""
    labels: LabelCounts
    disk_bytes: int
    monitoring: Monitoring
    advice: str = ""
    """Which approved or proposed release is not in use, and what to do; empty: none."""


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """Whether predictions are being answered, and whether anybody counts and judges them."""

    running: bool
    workers: int
    inference: str
    """Address of the inference port; empty while nothing runs."""
    keeping: bool
    """A keeper is alive."""
    passed: int | None
    """Wall clock of its newest pass over the log."""
    trouble: str
    """Why its newest pass failed, or what is wrong with a release that answers; empty if nothing."""
    lagging: str = ""
    """Why the newest plan is not in force: a serving process cannot load it, so the plan before it goes on answering."""


class LogState(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the prediction log is whole. What the running server did is counted from its start."""

    damaged: int
    """Stretches that were torn (by a kill) or damaged and passed over, ever."""
    unlogged: int
    """Requests answered although the disk was full: they are in no log."""
    refused: int
    """Requests not answered, since they could not be logged."""
    full: bool
    """The newest write of some process found the disk full."""


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """The whole workspace."""

    schema: int = 1
    at: int
    """Wall clock."""
    server: Server
    log: LogState
    deployments: tuple[Row, ...]


class Stay(msgspec.Struct, frozen=True, kw_only=True):
    """A release on a track, from `since` until `until` (None: still)."""

    release: str
    track: Literal["live", "canary"]
    since: int
    until: int | None
    verb: str


class Bin(msgspec.Struct, frozen=True, kw_only=True):
    """Display bin of the series: everything counted by event time, all answering tracks together."""

    start: int
    end: int
    rows: int
    labelled: int
    latency_ms: float | None = None
    error: float | None = None
    low: float | None = None
    high: float | None = None


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """How close the monitors came to an alarm in one display bin."""

    start: int
    end: int
    release: str
    log10: float
    """Powers of ten over the alarm line: 0 is the line, -2 a hundredth of what an alarm needs."""


class Distance(msgspec.Struct, frozen=True, kw_only=True):
    """How far now is from the reference, beside what chance alone gives for so many rows."""

    name: str
    value: float
    noise: float
    """Ninety-five in a hundred windows of this size without any change stay below it."""


class ColumnBin(msgspec.Struct, frozen=True, kw_only=True):
    """Shares of one bin; `low`, `high` where it is a range of numbers."""

    label: str
    reference: float
    now: float
    low: float | None = None
    high: float | None = None


class Quantiles(msgspec.Struct, frozen=True, kw_only=True):
    """A column in one display bin: its 10, 50 and 90 % quantiles, or a category's share in `middle`."""

    start: int
    end: int
    middle: float
    low: float | None = None
    high: float | None = None


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """One watched column: reference against now."""

    name: str
    title: str
    kind: Literal["numeric", "categorical"]
    group: str
    importance: float | None
    alarms: tuple[str, ...]
    """Ids of the open alarms that name it."""
    evidence: float | None
    """Its own part of the newest evidence, in powers of ten over the alarm line."""
    distances: tuple[Distance, ...]
    bins: tuple[ColumnBin, ...]
    reference_rows: int
    now_rows: int
    now_since: int | None
    follows: str
    """What `series` follows: the quantiles, or one category's share."""
    reference: Quantiles | None
    series: tuple[Quantiles, ...]


class ReleaseSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A release in a line."""

    digest: str
    name: str
    task: str
    model: str
    flavour: str
    reference_rows: int
    start: int | None
    end: int | None
    performance: dict[str, dict[str, Any]]
    deployments: tuple[str, ...] = ()
    """`NAME@live`, `NAME@canary` where it answers now."""


class DeploymentView(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about one deployment on one time axis."""

    schema: int = 1
    at: int
    """Wall clock."""
    row: Row
    start: int
    end: int
    error_metric: str
    stays: tuple[Stay, ...]
    events: tuple[Event, ...]
    """Newest first."""
    alarms: tuple[Alarm, ...]
    """All, newest first."""
    bins: tuple[Bin, ...]
    evidence: tuple[Evidence, ...]
    columns: tuple[Column, ...]
    """The one that needs attention most first."""
