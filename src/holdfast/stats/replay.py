"""Calibration replay: does the reference's own history keep the false-alarm rate that we are about to state?

A rate of one a year can't be checked on a few months of quiet. So the panel is run over held-out reference windows at
*amplified* budgets (one alarm in 5, 10, 20 windows), where a panel has enough alarms to count: once in true order,
where clinging days break it, and with blocks of days shuffled, for comparison. Counting alone is blunt: correlation
that multiplies the alarms of a year by ten may only double those of a fortnight. So the prediction errors themselves
are tested too: monitors correlated from window to window are whitened (AR(1)) and the replay is repeated. Columns that
still break the rate, whose errors still cling together, or that wander so that a drift couldn't be told from an
ordinary month, are named, and no rate is stated for them.

The first 30 windows of a stream serve as the replay's reference, so all later ones are predictions. Each stream is
replayed with the whole budget to itself; in the deployment it has only its share.

References: bias (1 + 4 rho)/n of the lag-1 autocorrelation: M. G. Kendall, "Note on bias in the estimation of
autocorrelation", Biometrika 41, 1954; which monitors to whiten: Y. Benjamini and Y. Hochberg, JRSS B 57, 1995; variance
ratio: A. W. Lo and A. C. MacKinlay, Review of Financial Studies 1, 1988.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import erfc, exp, isfinite, lgamma, log, sqrt

import numpy as np
from numpy.typing import NDArray

from holdfast.stats.calibration import MIN_WINDOWS, Calibration, MonitorCheck, ReplayRun
from holdfast.stats.counts import ColumnSpec, Counts
from holdfast.stats.panel import StreamName, budget_shares, fewest_above, stream_of
from holdfast.stats.scores import Monitor
from holdfast.stats.sequential import log_sum_exp
from holdfast.stats.special import normal_quantile
from holdfast.stats.stream import Stream

__all__ = ["poisson_limit", "replay"]

Floats = NDArray[np.float64]

_BUDGETS = (5.0, 10.0, 20.0)  # windows per false alarm
_SHUFFLES = 2
_BLOCK = 5  # windows that stay together when shuffled, and that the variance ratio sums
_BREACH = 1e-3  # chance that a right panel breaks its limit in one run
_FALSE_WHITENING = 0.2  # share of whitened monitors that did not need it
_SUSPECT = 0.025  # tail probability of a correlation that is corrected once the rate is known to break
_FAMILY = 0.01  # chance that any sound column is said to cling
_UPPER = 1.645  # standard errors added to an AR(1) coefficient
_WANDERS = 0.8  # upper bound of an AR(1) coefficient from which a history this short can't tell wandering from drift
_PHI_LIMIT = 0.95
_MIN_REPLAYED = 10  # held-out windows below which a replay says nothing


@dataclass(frozen=True)
class _Alarm:
    budget: float
    columns: frozenset[str]


@dataclass(frozen=True)
class _Replayed:
    alarms: tuple[_Alarm, ...]
    errors: Floats
    """Prediction errors (windows, monitors) of this order."""

    def count(self, budget: float, without: frozenset[str] = frozenset()) -> int:
        return sum(a.budget == budget and not a.columns <= without for a in self.alarms)


def poisson_limit(expected: float, tail: float = _BREACH) -> int:
    """Return the smallest k with P(Poisson(expected) > k) <= tail."""
    if expected <= 0:
        return 0
    k = int(expected + 12 * sqrt(expected) + 40)  # nothing to speak of lies above
    above = 0.0
    while k > 0 and above + (here := exp(k * log(expected) - expected - lgamma(k + 1))) <= tail:
        above += here
        k -= 1
    return k


def replay(
    specs: Sequence[ColumnSpec],
    reference: Mapping[StreamName, Sequence[Counts]],
    rng: np.random.Generator,
    *,
    importance: Mapping[str, float] | None = None,
    strata: Mapping[StreamName, Sequence[str]] | None = None,
) -> Calibration:
    """Replay every stream of the reference and report what rate may be stated; `rng` shuffles the blocks."""
    runs: list[ReplayRun] = []
    checks: list[MonitorCheck] = []
    whitening: dict[str, float] = {}
    broken: list[str] = []
    short: list[str] = []
    for stream in ("windows", "labels"):
        mine = [spec for spec in specs if stream_of(spec) == stream]
        if not mine:
            continue
        windows = list(reference.get(stream, ()))
        if len(windows) < MIN_WINDOWS + _MIN_REPLAYED:
            short += [stream] if len(windows) < MIN_WINDOWS else []
            continue
        one = _StreamReplay(stream, mine, windows, (strata or {}).get(stream), importance or {})
        one.judge(rng)
        runs += one.runs
        checks += one.checks
        whitening |= one.whitening
        broken += one.not_guaranteed
    return Calibration(tuple(runs), tuple(checks), whitening, tuple(broken), tuple(short))


class _StreamReplay:
    """The replay of one stream: run, whiten where needed, run again, name what stays broken."""

    def __init__(
        self,
        stream: StreamName,
        specs: Sequence[ColumnSpec],
        windows: Sequence[Counts],
        strata: Sequence[str] | None,
        importance: Mapping[str, float],
    ) -> None:
        self._stream: StreamName = stream
        self._specs = specs
        self._windows = windows
        self._strata = strata
        self._shares = budget_shares(specs, importance, labels_expected=False)
        self._held_out = np.arange(MIN_WINDOWS, len(windows))
        self.whitening: dict[str, float] = {}
        self.runs: list[ReplayRun] = []
        self.checks: list[MonitorCheck] = []
        self.not_guaranteed: list[str] = []

    def judge(self, rng: np.random.Generator) -> None:
        """Fill in the findings."""
        watch = self._watch()
        ordered = self._run(watch, self._held_out)
        self.whitening = self._to_whiten(watch.monitors, _autocorrelation(ordered.errors), breaks=self._breaks(ordered))
        if self.whitening:
            watch = self._watch()
            ordered = self._run(watch, self._held_out)
        rho, ratio = _autocorrelation(ordered.errors), _variance_ratio(ordered.errors)
        self.checks = [
            MonitorCheck(m.key, round(r, 4), round(v, 4))
            for m, r, v in zip(watch.monitors, rho.tolist(), ratio.tolist(), strict=True)
            if isfinite(r)
        ]
        self.not_guaranteed = self._broken_columns(ordered, self._clinging(watch.monitors, ratio))
        self._report("in order", [ordered])
        blocks = [self._held_out[i : i + _BLOCK] for i in range(0, len(self._held_out), _BLOCK)]
        orders = [np.concatenate([blocks[i] for i in rng.permutation(len(blocks))]) for _ in range(_SHUFFLES)]
        self._report("shuffled", [self._run(watch, order) for order in orders])

    def _watch(self) -> Stream:
        """The stream as the release will run it, on a reference of the first windows alone."""
        first = None if self._strata is None else self._strata[:MIN_WINDOWS]
        return Stream(self._specs, self._windows[:MIN_WINDOWS], self._shares, strata=first, whitening=self.whitening)

    def _run(self, watch: Stream, order: NDArray[np.intp]) -> _Replayed:
        """Run the windows in this order; every window is judged once and counted against each budget."""
        everything = frozenset(spec.name for spec in self._specs)
        states = dict.fromkeys(_BUDGETS, watch.start())
        alarms, errors = [], []
        for t in order.tolist():
            judged = watch.judge(
                states[_BUDGETS[0]], self._windows[t], None if self._strata is None else self._strata[t]
            )
            errors.append(judged.prediction_z)
            for budget in _BUDGETS:
                state = watch.advance(states[budget], judged, 1.0)
                parts = watch.log_evidence(state)
                if log_sum_exp(parts) >= log(budget):
                    named = fewest_above(parts, log(budget))
                    alarms.append(_Alarm(budget, frozenset(watch.monitors[i].column for i in named)))
                    # the evidence starts anew; the windows stay in the running reference, for this history is quiet
                    state = replace(watch.unmute(state, everything), last=judged.last)
                states[budget] = state
        return _Replayed(tuple(alarms), np.array(errors))

    def _limit(self, budget: float) -> int:
        return poisson_limit(len(self._held_out) / budget)

    def _breaks(self, run: _Replayed, without: frozenset[str] = frozenset()) -> bool:
        return any(run.count(budget, without) > self._limit(budget) for budget in _BUDGETS)

    def _to_whiten(self, monitors: Sequence[Monitor], rho: Floats, *, breaks: bool) -> dict[str, float]:
        """AR(1) coefficients of the monitors that need one.

        Those are the ones with significant correlation (Benjamini-Hochberg), and all suspects once the rate breaks.
        Each coefficient is its upper 95 % bound: too little whitening breaks the promise, too much only costs some delay.
        """
        n = len(self._held_out)
        tail = np.array([0.5 * erfc(r * sqrt(n / 2.0)) if isfinite(r) else 1.0 for r in rho.tolist()])
        ranked = np.sort(tail)
        passed = ranked[ranked <= _FALSE_WHITENING * np.arange(1, len(tail) + 1) / len(tail)]
        line = max(passed.max(initial=0.0), _SUSPECT if breaks else 0.0)
        found = {}
        for monitor, r, p in zip(monitors, rho.tolist(), tail.tolist(), strict=True):
            if p <= line:
                phi = r + (1.0 + 4.0 * r) / n
                found[monitor.key] = round(min(phi + _UPPER * sqrt(max(1.0 - phi**2, 0.0) / n), _PHI_LIMIT), 4)
        return found

    def _clinging(self, monitors: Sequence[Monitor], ratio: Floats) -> list[str]:
        """Columns that wander, or whose errors still cling together after whitening."""
        blocks = len(self._held_out) // _BLOCK
        reach = normal_quantile(1.0 - _FAMILY / max(len(monitors), 1))
        limit = (1.0 - 2.0 / (9.0 * blocks) + reach * sqrt(2.0 / (9.0 * blocks))) ** 3  # Wilson-Hilferty, chi-square
        bad = [
            m.column
            for m, v in zip(monitors, ratio.tolist(), strict=True)
            if v > limit or self.whitening.get(m.key, 0.0) >= _WANDERS
        ]
        return list(dict.fromkeys(bad))

    def _broken_columns(self, run: _Replayed, found: Sequence[str]) -> list[str]:
        """Take out the column that alarms most, until the rest keeps the rate."""
        out = list(found)
        while self._breaks(run, frozenset(out)):
            left = Counter(c for a in run.alarms if not a.columns <= set(out) for c in a.columns - set(out))
            out.append(max(left, key=lambda c: (left[c], c)))
        return out

    def _report(self, order: str, replayed: Sequence[_Replayed]) -> None:
        windows = len(self._held_out) * len(replayed)
        for budget in _BUDGETS:
            alarms = sum(run.count(budget) for run in replayed)
            limit = poisson_limit(windows / budget)
            self.runs.append(ReplayRun(self._stream, order, budget, windows, alarms, limit))


def _autocorrelation(errors: Floats) -> Floats:
    """Lag-1 autocorrelation of each column of prediction errors; NaN where a monitor made none."""
    valid = np.isfinite(errors)
    filled = np.where(valid, errors, 0.0)
    n = valid.sum(axis=0)
    centred = np.where(valid, filled - filled.sum(axis=0) / np.maximum(n, 1), 0.0)
    power = (centred**2).sum(axis=0)
    lagged = (centred[1:] * centred[:-1]).sum(axis=0)
    return np.where((n > _MIN_REPLAYED) & (power > 0.0), lagged / np.where(power > 0.0, power, 1.0), np.nan)


def _variance_ratio(errors: Floats) -> Floats:
    """Variance of sums of `_BLOCK` successive errors against that of as many independent ones."""
    filled = np.nan_to_num(errors - np.nanmean(np.where(np.isfinite(errors).any(axis=0), errors, 0.0), axis=0))
    whole = len(filled) // _BLOCK * _BLOCK
    sums = filled[:whole].reshape(-1, _BLOCK, filled.shape[1]).sum(axis=1)
    single = _BLOCK * (filled**2).mean(axis=0)
    return np.asarray((sums**2).mean(axis=0) / np.where(single > 0.0, single, 1.0))
