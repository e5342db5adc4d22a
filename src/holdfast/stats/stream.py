"""One stream of windows under watch: the state of its monitors and the step from window to window.

A deployment has two streams with different clocks: "windows" (inputs, output, quality, cut by time) and "labels" (loss
and residual, cut by number of labelled rows in arrival order). `Stream` is the immutable part, fitted on the reference;
`StreamState` is a plain value that a step replaces. `panel` puts the two streams under one budget.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from math import log
from typing import Any

import numpy as np
from numpy.typing import NDArray

from holdfast.stats.baseline import Baseline, BetTables, fit_baseline
from holdfast.stats.counts import ColumnSpec, Counts
from holdfast.stats.scores import ScoreTable
from holdfast.stats.sequential import (
    ROW_BETS,
    WINDOW_BETS,
    RunningReference,
    log_sum_exp,
    log_window_bets,
    predictive_z,
    shiryaev_roberts,
)

__all__ = ["Judgement", "Stream", "StreamState"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

_STRATUM_WINDOWS = 8  # reference windows from which a stratum has a mean of its own
_BETS = WINDOW_BETS + 2 * ROW_BETS


@dataclass(frozen=True)
class StreamState:
    """What a stream remembers between windows; arrays over monitors."""

    log_r: Floats
    """Shiryaev-Roberts statistic of each bet: (monitors, bets)."""
    running: RunningReference
    last: Floats
    """Deviation of the previous window, for monitors corrected for lag-1 correlation."""
    muted: Flags
    rebased: Baseline | None = None
    """The yardstick in force, where a person has accepted a new normal for some columns."""

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the state as named arrays."""
        flat: dict[str, NDArray[Any]] = {"log_r": self.log_r, "last": self.last, "muted": self.muted}
        flat |= {f"running.{f.name}": getattr(self.running, f.name) for f in fields(RunningReference)}
        if self.rebased is not None:
            flat |= {f"rebased.{f.name}": getattr(self.rebased, f.name) for f in fields(Baseline)}
        return flat

    @classmethod
    def of_arrays(cls, flat: Mapping[str, NDArray[Any]]) -> StreamState:
        """Undo `arrays`."""
        running = RunningReference(*(flat[f"running.{f.name}"] for f in fields(RunningReference)))
        rebased = Baseline(*(flat[f"rebased.{f.name}"] for f in fields(Baseline))) if "rebased.mean" in flat else None
        return cls(flat["log_r"], running, flat["last"], flat["muted"], rebased)


@dataclass(frozen=True)
class Judgement:
    """One window against the running reference; arrays over monitors."""

    log_e: Floats
    """Log e-value of each bet: (monitors, bets)."""
    prediction_z: Floats
    """Standardised prediction error; NaN where the window-level test has nothing to say."""
    reference_z: Floats
    """Deviation from the frozen reference, in window standard deviations."""
    running: RunningReference
    last: Floats


class Stream:
    """The monitors of one stream, fitted on its reference windows.

    `shares` gives each column's part of the deployment's one budget; `whitening` AR(1) coefficients by monitor key;
    `strata` names the season of each reference window (strata with too few windows share one mean).
    """

    def __init__(
        self,
        specs: Sequence[ColumnSpec],
        reference: Sequence[Counts],
        shares: Mapping[str, float],
        *,
        strata: Sequence[str] | None = None,
        whitening: Mapping[str, float] | None = None,
    ) -> None:
        if strata is not None and len(strata) != len(reference):
            raise ValueError(f"{len(strata)} strata named for {len(reference)} reference windows")
        self.table = ScoreTable(specs, Counts.total(reference))
        self.monitors = self.table.monitors
        self._column = np.array([m.column for m in self.monitors])
        share = np.array([shares[m.column] for m in self.monitors]) * self.table.parts
        with np.errstate(divide="ignore"):
            self._log_share = np.log(share)[:, None]
        self._phi = np.array([(whitening or {}).get(m.key, 0.0) for m in self.monitors])

        often = Counter(strata or ())
        self._strata = {
            name: i for i, name in enumerate(sorted(s for s in often if often[s] >= _STRATUM_WINDOWS), start=1)
        }
        stacked = self.table.stack(reference)
        where = self._numbered(strata if strata is not None else [None] * len(reference))
        self.baseline = fit_baseline(self.table, stacked, where, len(self._strata) + 1)
        self._tables = BetTables(self.table, self.baseline)
        self._rebased_tables: BetTables | None = None
        self._start = self._learned(
            self._blank(), self.baseline, stacked, where, np.ones(len(self.monitors), dtype=bool)
        )

    def start(self) -> StreamState:
        """Return the state after the reference: its windows are the first of the running reference."""
        return self._start

    def judge(self, state: StreamState, window: Counts, stratum: str | None) -> Judgement:
        """Compare one window with the running reference, and take it in."""
        stacked = self.table.stack([window])
        tables = self._tables_of(state)
        base, where = tables.baseline, self._stratum(stratum)
        y, n = (rows[0] for rows in self.table.means(stacked))
        enough = n >= base.need / 2.0
        deviation, variance = y - base.mean[where], base.variance(n)
        innovation = deviation - self._phi * state.last
        z = predictive_z(state.running, where, innovation, variance)
        z[~(enough & base.windowed)] = np.nan

        rows = np.matmul(tables.row_payoffs, stacked[0][self.table.owner][:, :, None])[:, :, 0]
        log_e = np.concatenate([log_window_bets(z), rows], axis=1)
        taken = enough & ~state.muted
        running = state.running.plus(where, innovation, variance, taken)
        return Judgement(log_e, z, base.standardised(y, n), running, np.where(taken, deviation, 0.0))

    def advance(self, state: StreamState, judged: Judgement, dt_years: float) -> StreamState:
        """Add a judgement to the evidence, so many years after the one before."""
        log_dt = log(dt_years) if dt_years > 0.0 else -np.inf
        log_r = np.where(state.muted[:, None], state.log_r, shiryaev_roberts(state.log_r, log_dt, judged.log_e))
        return replace(state, log_r=log_r, running=judged.running, last=judged.last)

    def log_evidence(self, state: StreamState) -> Floats:
        """Log of each monitor's weighted Shiryaev-Roberts statistic; -inf for muted ones."""
        with np.errstate(divide="ignore"):
            weighted = log_sum_exp(state.log_r + np.log(self._tables_of(state).mix), axis=1) + self._log_share[:, 0]
        return np.where(state.muted, -np.inf, weighted)

    def mute(
        self, state: StreamState, columns: frozenset[str], since: Sequence[Counts], strata: Sequence[str | None]
    ) -> StreamState:
        """Silence columns and take the windows since the onset out of their running reference."""
        at = self.at(columns) & ~state.muted
        running = state.running
        if since and at.any():
            where = self._numbered(strata)
            blank = replace(state, running=self._blank().running, last=np.zeros(len(at)))
            wrong = self._learned(blank, self._tables_of(state).baseline, self.table.stack(since), where, at).running
            parts = zip(running.parts, wrong.parts, strict=True)
            running = RunningReference(*(np.maximum(a - b, 0.0) if i != 2 else a - b for i, (a, b) in enumerate(parts)))
        return replace(state, running=running, muted=state.muted | at)

    def unmute(self, state: StreamState, columns: frozenset[str]) -> StreamState:
        """Watch columns again, from a clean slate: no evidence, the running reference of before."""
        at = self.at(columns)
        log_r = np.where(at[:, None], -np.inf, state.log_r)
        return replace(state, log_r=log_r, last=np.where(at, 0.0, state.last), muted=state.muted & ~at)

    def rebase(
        self, state: StreamState, columns: frozenset[str], windows: Sequence[Counts], strata: Sequence[str | None]
    ) -> StreamState:
        """Take these windows as the new reference of these columns, and watch them again."""
        at = self.at(columns)
        stacked = self.table.stack(windows)
        where = self._numbered(strata)
        fresh = fit_baseline(self.table, stacked, where, len(self._strata) + 1)
        base = self._tables_of(state).baseline.replaced(fresh, at)
        kept = RunningReference(*(np.where(at, 0.0, sums) for sums in state.running.parts))
        state = replace(state, running=kept, rebased=base)
        return self.unmute(self._learned(state, base, stacked, where, at), columns)

    def series(self, state: StreamState, windows: Sequence[Counts], monitor: int) -> tuple[Floats, ...]:
        """Return y_t, n_t, the z against the frozen yardstick and its scale, of one monitor over some windows."""
        y, n = self.table.means(self.table.stack(windows))
        baseline = self._tables_of(state).baseline
        return tuple(a[:, monitor] for a in (y, n, baseline.standardised(y, n), baseline.scale(n)))

    def reference_windows(self, state: StreamState) -> dict[str, int]:
        """Windows in each column's running reference (the fewest over its window-level monitors, if it has any)."""
        windowed = self._tables_of(state).baseline.windowed
        total = state.running.windows.sum(axis=0)
        names = dict.fromkeys(self._column.tolist())
        found = {name: total[(self._column == name) & windowed] for name in names}
        return {
            name: int(got.min()) if got.size else int(total[self._column == name].max()) for name, got in found.items()
        }

    def at(self, columns: frozenset[str]) -> Flags:
        """Return which monitors belong to these columns."""
        return np.isin(self._column, list(columns))

    def _stratum(self, name: str | None) -> int:
        return self._strata.get(name, 0) if name is not None else 0

    def _numbered(self, strata: Sequence[str | None]) -> NDArray[np.intp]:
        return np.array([self._stratum(name) for name in strata], dtype=np.intp)

    def _blank(self) -> StreamState:
        shape = (len(self._strata) + 1, len(self.monitors))
        running = RunningReference(*(np.zeros(shape) for _ in fields(RunningReference)))
        return StreamState(
            np.full((shape[1], _BETS), -np.inf), running, np.zeros(shape[1]), np.zeros(shape[1], dtype=bool)
        )

    def _learned(
        self, state: StreamState, base: Baseline, stacked: Floats, where: NDArray[np.intp], at: Flags
    ) -> StreamState:
        """Return the state with these windows in the running reference of the monitors `at`, without judging them."""
        y, n = self.table.means(stacked)
        deviation = y - base.mean[where]
        enough = (n >= base.need / 2.0) & at
        before = np.vstack([state.last[None], np.where(enough, deviation, 0.0)[:-1]])
        innovation, variance = deviation - self._phi * before, base.variance(n)
        running = state.running
        for t, s in enumerate(where.tolist()):
            running = running.plus(s, innovation[t], variance[t], enough[t])
        last = np.where(enough[-1], deviation[-1], np.where(at, 0.0, state.last)) if len(where) else state.last
        return replace(state, running=running, last=last)

    def _tables_of(self, state: StreamState) -> BetTables:
        if state.rebased is None:
            return self._tables
        cached = self._rebased_tables
        if cached is None or not _same(cached.baseline, state.rebased):
            cached = self._rebased_tables = BetTables(self.table, state.rebased)
        return cached


def _same(a: Baseline, b: Baseline) -> bool:
    return a is b or all(np.array_equal(getattr(a, f.name), getattr(b, f.name)) for f in fields(Baseline))
