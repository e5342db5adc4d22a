"""The panel: every monitor of a deployment under one false-alarm budget.

Columns become scores, scores become bets, bets have weights that sum to one over the whole deployment, and the weighted
sum M of all their Shiryaev-Roberts statistics is the one number that alarms: M >= A years means at most one false alarm
in A years on average, over all columns and all time, whatever depends on whatever. Half of the budget belongs to
performance (loss and residual), a quarter to the output, a quarter to the inputs.

    panel = Panel(specs, {"windows": reference_counts, "labels": labelled_counts})
    state = panel.start()
    state, evidence = panel.step(state, "windows", counts, dt_years=1 / 365.25)
    if evidence.crossed:
        state = panel.mute(state, evidence.named_columns)      # an alarm is open: these are silent, the others watch

Guarantee and its limits: exact for exchangeable Gaussian windows; the calibration replay (`holdfast.stats.replay`)
measures it on the reference's own history, and says for which columns no rate is stated.
References: see `holdfast.stats.sequential`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import log
from typing import Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from holdfast.stats.arrays import pack, unpack
from holdfast.stats.calibration import MIN_WINDOWS, Calibration
from holdfast.stats.counts import ColumnSpec, Counts
from holdfast.stats.scores import Monitor
from holdfast.stats.sequential import log_sum_exp
from holdfast.stats.stream import Judgement, Stream, StreamState

__all__ = [
    "Budget",
    "Evidence",
    "Panel",
    "PanelState",
    "ScoreSeries",
    "StreamName",
    "budget_shares",
    "fewest_above",
    "stream_of",
]

Floats = NDArray[np.float64]
StreamName = Literal["windows", "labels"]

_SPLIT = {"performance": 0.5, "output": 0.25, "inputs": 0.25}
_PART_OF = {
    "loss": "performance",
    "residual": "performance",
    "output": "output",
    "input": "inputs",
    "quality": "inputs",
}
_BY_IMPORTANCE = 0.5  # of the inputs' share; the rest is split equally, so that no column goes unwatched


@dataclass(frozen=True)
class Budget:
    """At most `per_year` false alarms a year on average, over all columns and all time."""

    per_year: float = 1.0

    @classmethod
    def one_in_windows(cls, windows: float, window_years: float) -> Self:
        """Return an amplified budget: one false alarm in so many windows. Replays use it, to see many alarms."""
        return cls(1.0 / (windows * window_years))

    @property
    def years_between(self) -> float:
        """A: the alarm threshold of the mixture, in years."""
        return 1.0 / self.per_year


@dataclass(frozen=True)
class PanelState:
    """What a panel remembers: one `StreamState` per stream. A plain value; store it as bytes."""

    streams: Mapping[StreamName, StreamState]

    def to_bytes(self) -> bytes:
        """Return the state as bytes (no pickle)."""
        flat = {f"{name}/{key}": a for name, state in self.streams.items() for key, a in state.arrays().items()}
        return pack({"streams": list(self.streams)}, flat)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Undo `to_bytes`."""
        meta, flat = unpack(data)
        return cls(
            {
                name: StreamState.of_arrays(
                    {k.split("/", 1)[1]: a for k, a in flat.items() if k.startswith(f"{name}/")}
                )
                for name in meta["streams"]
            }
        )


@dataclass(frozen=True)
class Evidence:
    """The panel's verdict after a window: the mixture, its threshold, and who contributes."""

    log_total: float
    log_threshold: float
    monitors: tuple[Monitor, ...]
    """All monitors of the deployment, both streams; the arrays below follow this order."""
    log_weighted: Floats
    """Log of each monitor's part of the mixture; -inf while muted."""
    prediction_z: Floats
    """This window's standardised prediction error; NaN for the other stream and for rare-event monitors."""
    reference_z: Floats
    """This window against the frozen reference, in window standard deviations; NaN for the other stream."""

    @property
    def crossed(self) -> bool:
        """Whether this is an alarm."""
        return self.log_total >= self.log_threshold

    @property
    def named(self) -> tuple[Monitor, ...]:
        """The fewest largest contributors without which the rest stays below the threshold, largest first."""
        if not self.crossed:
            return ()
        return tuple(self.monitors[i] for i in fewest_above(self.log_weighted, self.log_threshold))

    @property
    def named_columns(self) -> tuple[str, ...]:
        """Columns of the named monitors, largest contributor first."""
        return tuple(dict.fromkeys(m.column for m in self.named))

    def by_monitor(self) -> dict[str, tuple[float, float]]:
        """Return log part of the mixture and z against the frozen reference, by monitor key."""
        rows = zip(self.monitors, self.log_weighted.tolist(), self.reference_z.tolist(), strict=True)
        return {m.key: (weighted, z) for m, weighted, z in rows}


class ScoreSeries(NamedTuple):
    """A score over some windows: mean, rows behind it, z against the frozen reference (NaN without rows), and the
    standard deviation of a window of so many rows, by which z was scaled.
    """

    y: Floats
    n: Floats
    z: Floats
    sd: Floats


def fewest_above(log_parts: Floats, log_threshold: float) -> list[int]:
    """Return the fewest largest parts without which the rest of the mixture is below the threshold, largest first."""
    order = np.argsort(log_parts, kind="stable")
    below = np.logaddexp.accumulate(log_parts[order]) < log_threshold
    return [int(i) for i in order[np.count_nonzero(below) :][::-1]]


def stream_of(spec: ColumnSpec) -> StreamName:
    """Return the stream in which a column's windows arrive."""
    return "labels" if spec.group in ("loss", "residual") else "windows"


def budget_shares(
    specs: Sequence[ColumnSpec], importance: Mapping[str, float], *, labels_expected: bool
) -> dict[str, float]:
    """Return each column's part of the budget; they sum to 1, or to less while performance waits for labels."""
    parts: dict[str, list[ColumnSpec]] = {}
    for spec in specs:
        parts.setdefault(_PART_OF[spec.group], []).append(spec)
    present = sum(_SPLIT[p] for p in _SPLIT if p in parts or (p == "performance" and labels_expected))
    shares: dict[str, float] = {}
    for part, members in parts.items():
        weight = np.array([max(importance.get(s.name, 0.0), 0.0) if s.group == "input" else 0.0 for s in members])
        equal = np.full(len(members), 1.0 / len(members))
        mixed = (
            equal if weight.sum() == 0.0 else _BY_IMPORTANCE * weight / weight.sum() + (1.0 - _BY_IMPORTANCE) * equal
        )
        shares |= {s.name: _SPLIT[part] / present * float(m) for s, m in zip(members, mixed, strict=True)}
    return shares


class Panel:
    """All monitors of one deployment and release. Immutable; the state is handed in and out."""

    def __init__(
        self,
        specs: Sequence[ColumnSpec],
        reference: Mapping[StreamName, Sequence[Counts]],
        budget: Budget | None = None,
        importance: Mapping[str, float] | None = None,
        calibration: Calibration | None = None,
        *,
        strata: Mapping[StreamName, Sequence[str]] | None = None,
        labels_expected: bool = True,
    ) -> None:
        self.specs = tuple(specs)
        self.budget = budget or Budget()
        self.calibration = calibration or Calibration()
        shares = budget_shares(self.specs, importance or {}, labels_expected=labels_expected)
        by_stream: dict[StreamName, list[ColumnSpec]] = {}
        for spec in self.specs:
            by_stream.setdefault(stream_of(spec), []).append(spec)
        self.streams: dict[StreamName, Stream] = {}
        for name, members in by_stream.items():
            if not reference.get(name):
                raise ValueError(f"no reference windows for the stream {name!r}")
            self.streams[name] = Stream(
                members, reference[name], shares, strata=(strata or {}).get(name), whitening=self.calibration.whitening
            )
        self.monitors: tuple[Monitor, ...] = tuple(m for stream in self.streams.values() for m in stream.monitors)

    def start(self) -> PanelState:
        """Return the state before the first live window."""
        return PanelState({name: stream.start() for name, stream in self.streams.items()})

    def step(
        self, state: PanelState, stream: StreamName, counts: Counts, dt_years: float, stratum: str | None = None
    ) -> tuple[PanelState, Evidence]:
        """Judge one window of a stream; `dt_years` is the time since that stream's previous window."""
        watch, before = self.streams[stream], state.streams[stream]
        judged = watch.judge(before, counts, stratum)
        state = PanelState({**state.streams, stream: watch.advance(before, judged, dt_years)})
        return state, self._evidence(state, stream, judged)

    def evidence(self, state: PanelState) -> Evidence:
        """Return the standing of a state, without a new window."""
        return self._evidence(state, None, None)

    def mute(
        self,
        state: PanelState,
        columns: Iterable[str],
        since: Sequence[Counts] = (),
        strata: Sequence[str | None] | None = None,
    ) -> PanelState:
        """Silence the columns that an open alarm names; the others keep watching with their shares.

        `since`: the windows from the change's onset up to now (all columns of one stream). They are taken out of the
        running reference of these columns, where they had entered before the alarm; later ones never enter.
        """
        wanted = self._known(columns)
        if since and len({stream_of(spec) for spec in self.specs if spec.name in wanted}) > 1:
            raise ValueError("windows since the onset belong to one stream: mute the columns of each stream separately")
        seasons = strata if strata is not None else [None] * len(since)
        touched = {n: s.mute(state.streams[n], wanted, since, seasons) for n, s in self._having(wanted)}
        return PanelState({**state.streams, **touched})

    def unmute(self, state: PanelState, columns: Iterable[str]) -> PanelState:
        """Close an alarm: watch the columns again, their evidence reset."""
        wanted = self._known(columns)
        return PanelState({**state.streams, **{n: s.unmute(state.streams[n], wanted) for n, s in self._having(wanted)}})

    def rebase(
        self,
        state: PanelState,
        columns: Iterable[str],
        windows: Sequence[Counts],
        strata: Sequence[str | None] | None = None,
    ) -> PanelState:
        """Accept a new normal: these windows (of one stream) become the reference of these columns from now on."""
        wanted = self._known(columns)
        if not windows:
            raise ValueError("a new normal needs at least one window")
        seasons = strata if strata is not None else [None] * len(windows)
        touched = {n: s.rebase(state.streams[n], wanted, windows, seasons) for n, s in self._having(wanted)}
        return PanelState({**state.streams, **touched})

    def unrated(self, state: PanelState) -> tuple[str, ...]:
        """Columns without a stated false-alarm rate: too few reference windows, or a history that breaks it."""
        short = set(self.calibration.not_guaranteed)
        for name, stream in self.streams.items():
            short |= {c for c, n in stream.reference_windows(state.streams[name]).items() if n < MIN_WINDOWS}
        return tuple(spec.name for spec in self.specs if spec.name in short)

    def series(self, state: PanelState, column: str, score: str, windows: Sequence[Counts]) -> ScoreSeries:
        """Return a score's value and rows over some windows: what the change-date fit and the plots read."""
        for name, stream in self.streams.items():
            for i, monitor in enumerate(stream.monitors):
                if (monitor.column, monitor.score) == (column, score):
                    return ScoreSeries(*stream.series(state.streams[name], windows, i))
        raise ValueError(f"no monitor {column}:{score}")

    def sentence(self, state: PanelState | None = None) -> str:
        """Say the promise for a person."""
        silent = self.unrated(state if state is not None else self.start())
        rated = len(self.specs) - len(silent)
        if rated == 0:
            return "no false-alarm rate is stated: fewer than 30 reference windows, or a history that breaks every rate"
        rate = (
            "one false alarm a year"
            if self.budget.per_year == 1.0
            else f"{self.budget.per_year:.3g} false alarms a year"
        )
        over = f"at most {rate} on average over all {rated} columns and all time"
        return over + (f"; no rate is stated for: {', '.join(silent)}" if silent else "")

    def _evidence(self, state: PanelState, live: str | None, judged: Judgement | None) -> Evidence:
        weighted, errors, standing = [], [], []
        for name, stream in self.streams.items():
            weighted.append(stream.log_evidence(state.streams[name]))
            nothing = np.full(len(stream.monitors), np.nan)
            errors.append(judged.prediction_z if judged and name == live else nothing)
            standing.append(judged.reference_z if judged and name == live else nothing)
        together = np.concatenate(weighted)
        threshold = log(self.budget.years_between)
        z, frozen = np.concatenate(errors), np.concatenate(standing)
        return Evidence(float(log_sum_exp(together)), threshold, self.monitors, together, z, frozen)

    def _known(self, columns: Iterable[str]) -> frozenset[str]:
        wanted = frozenset(columns)
        unknown = wanted - {spec.name for spec in self.specs}
        if unknown:
            raise ValueError(f"not monitored: {', '.join(sorted(unknown))}")
        return wanted

    def _having(self, columns: frozenset[str]) -> list[tuple[StreamName, Stream]]:
        """Return the streams to which these columns belong."""
        return [(name, s) for name, s in self.streams.items() if any(m.column in columns for m in s.monitors)]
