"""Columns, reference against now: which differ, by how much more than chance, and how they moved over time.

Everything comes from bin counts. Quantiles are read off the reference's bins by straight lines between edges, good to a
fraction of a bin; distances stand beside the noise band that chance alone gives for so many rows, and never alarm.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from holdfast.core.profile import CONFIDENCE, LOSS, OUTPUT, RESIDUAL
from holdfast.stats.counts import ColumnSpec, Counts
from holdfast.stats.distances import distances
from holdfast.status.values import Column, ColumnBin, Distance, Quantiles

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from holdfast.core.alarm import Alarm
    from holdfast.core.contract import Contract
    from holdfast.core.profile import Profile

__all__ = ["Dated", "columns", "specs_of", "title_of"]

TITLES = {OUTPUT: "answer", CONFIDENCE: "confidence", LOSS: "loss", RESIDUAL: "signed residual"}
SHOWN = {"psi": "PSI", "js": "Jensen–Shannon", "ks": "Kolmogorov–Smirnov"}
DISPLAY_BINS = 28
FEW = 16
"""Numeric columns with at most so many bins (counts, grades) are drawn one bar a bin."""
NOTHING = -300.0
"""Evidence of a column that nobody judged."""
MOSTLY = 0.2
"""From this change of its share on, a numeric column's missing or outlying part is what its series follows."""
SEED = 20_260_101
"""Noise bands are simulated; the same counts must give the same page."""


class Dated(NamedTuple):
    """Counts of one display bin, cut by the release that answered."""

    start: int
    end: int
    counts: Counts
    specs: Mapping[str, ColumnSpec]


def title_of(column: str, contract: Contract) -> str:
    """A column's name for people."""
    if column == OUTPUT:
        return f"{contract.output.label} (answer)"
    return TITLES.get(column, column)


def specs_of(profile: Profile) -> dict[str, ColumnSpec]:
    """A profile's columns by name."""
    return {spec.name: spec for spec in map(ColumnSpec.from_dict, profile.columns)}


def columns(
    profile: Profile,
    contract: Contract,
    alarms: Sequence[Alarm],
    evidence: Mapping[str, float],
    now: Mapping[str, Sequence[Dated]],
    series: Mapping[str, Sequence[Dated]],
) -> tuple[Column, ...]:
    """Every watched column. `now` and `series` by stream: `windows` for inputs and output, `labels` for loss and residual.

    `now` are the windows compared with the reference; `series` the ones drawn over time.
    """
    specs = specs_of(profile).values()
    reference = {
        "windows": Counts.total(Counts.from_bytes(packed) for packed in profile.windows.counts),
        "labels": Counts.total(Counts.from_bytes(packed) for packed in profile.labels.counts),
    }
    rng = np.random.default_rng(SEED)
    found = []
    for spec in specs:
        stream = "labels" if spec.group in {"loss", "residual"} else "windows"
        past = reference[stream].columns.get(spec.name, np.zeros(spec.size, dtype=np.int64))
        recent = [d for d in now.get(stream, ()) if spec.name in d.counts.columns]
        present = Counts.total(d.counts for d in recent).columns.get(spec.name, np.zeros(spec.size, dtype=np.int64))
        follows = _follow(spec, past, present)
        found.append(
            Column(
                name=spec.name,
                title=title_of(spec.name, contract),
                kind=spec.kind,
                group=spec.group,
                importance=profile.importance.get(spec.name),
                alarms=tuple(a.id for a in alarms if a.open and spec.name in a.columns),
                evidence=evidence.get(spec.name),
                distances=_distances(spec, past, present, rng),
                bins=_bins(spec, past, present),
                reference_rows=int(past.sum()),
                now_rows=int(present.sum()),
                now_since=min((d.start for d in recent), default=None),
                follows=f"share of {follows}" if follows else "median, 10 to 90 %",
                reference=_quantiles(spec, follows, past, 0, 0),
                series=tuple(_series(spec, follows, series.get(stream, ()))),
            )
        )
    return tuple(sorted(found, key=_attention))


def _attention(column: Column) -> tuple[bool, float, float]:
    """Alarmed first, then by evidence, then by how far a distance stands out of its noise."""
    beyond = max((d.value / d.noise for d in column.distances if d.noise > 0), default=0.0)
    return (not column.alarms, -(NOTHING if column.evidence is None else column.evidence), -beyond)


def _distances(
    spec: ColumnSpec, past: NDArray[np.int64], present: NDArray[np.int64], rng: np.random.Generator
) -> tuple[Distance, ...]:
    if not past.sum() or not present.sum():
        return ()
    found = distances(past, present, rng, ordered=spec.kind == "numeric", draws=200)
    return tuple(
        Distance(name=text, value=found[name].value, noise=found[name].band)
        for name, text in SHOWN.items()
        if name in found
    )


# ------------------------------------------------------------------------------------------ one picture


def _shares(vector: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.asarray(vector / max(int(vector.sum()), 1), dtype=np.float64)


def _bins(spec: ColumnSpec, past: NDArray[np.int64], present: NDArray[np.int64]) -> tuple[ColumnBin, ...]:
    """What a histogram draws: the axis cut into equal widths, and bars for what has no place on it."""
    p, q = _shares(past), _shares(present)
    if spec.kind == "categorical":
        order = sorted(range(1, spec.size - 1), key=lambda i: -max(p[i], q[i]))
        shown, rest = order[:12], order[12:]
        bars = [ColumnBin(label=spec.categories[i - 1], reference=float(p[i]), now=float(q[i])) for i in shown]
        if rest:
            bars.append(ColumnBin(label=f"{len(rest)} more", reference=float(p[rest].sum()), now=float(q[rest].sum())))
        return (*bars, *_extra({"missing": 0, "unseen": spec.size - 1}, p, q))
    extra = _extra({"missing": 0, "below": 1, "above": spec.size - 1}, p, q)
    if spec.inner == 0:
        return extra
    if spec.inner <= FEW:
        inner = range(2, spec.size - 1)
        return (*(ColumnBin(label=_level(spec, i - 2), reference=float(p[i]), now=float(q[i])) for i in inner), *extra)
    return (*_equal_widths(spec, p, q), *extra)


def _extra(where: Mapping[str, int], p: NDArray[np.float64], q: NDArray[np.float64]) -> tuple[ColumnBin, ...]:
    return tuple(
        ColumnBin(label=label, reference=float(p[i]), now=float(q[i]))
        for label, i in where.items()
        if p[i] > 0 or q[i] > 0
    )


def _level(spec: ColumnSpec, i: int) -> str:
    """The value in the middle of a bin: with one bin a value, that value."""
    if i in {0, spec.inner - 1}:
        return f"{spec.edges[-1 if i else 0]:.6g}"
    return f"{(spec.edges[i] + spec.edges[i + 1]) / 2:.6g}"


def _equal_widths(spec: ColumnSpec, p: NDArray[np.float64], q: NDArray[np.float64]) -> list[ColumnBin]:
    """Quantile bins spread over equal widths (straight lines between edges of the cumulated shares).

    The axis ends a quarter of the inner range beyond the outer quantiles, else one far value would flatten all others;
    what lies further out, yet inside the reference's range, stands beside it as "tails".
    """
    edges = np.asarray(spec.edges)
    inner = edges[-2] - edges[1]
    low, high = max(edges[0], edges[1] - inner / 4), min(edges[-1], edges[-2] + inner / 4)
    cuts = np.linspace(low, high, DISPLAY_BINS + 1)
    parts = []
    for shares in (p, q):
        cumulated = np.concatenate([[0.0], np.cumsum(shares[2:-1])])
        parts.append(np.diff(np.interp(cuts, edges, cumulated)))
    tails = [float(shares[2:-1].sum() - inside.sum()) for shares, inside in zip((p, q), parts, strict=True)]
    beside = [ColumnBin(label="tails", reference=tails[0], now=tails[1])] if max(tails) > 1e-9 else []
    found = [
        ColumnBin(
            label=f"{a:.4g} to {b:.4g}",
            reference=float(parts[0][i]),
            now=float(parts[1][i]),
            low=float(a),
            high=float(b),
        )
        for i, (a, b) in enumerate(pairwise(cuts))
    ]
    return [*found, *beside]


# ------------------------------------------------------------------------------------------ over time


def _follow(spec: ColumnSpec, past: NDArray[np.int64], present: NDArray[np.int64]) -> str | None:
    """What the series follows: quantiles (None), or the bin whose share changed most, by its label.

    A numeric column that mostly went missing, below or above has no quantiles worth drawing either.
    """
    change = np.abs(_shares(present) - _shares(past)) if present.sum() else np.zeros(spec.size)
    if spec.kind == "numeric":
        worst = max((0, 1, spec.size - 1), key=lambda i: change[i])
        return spec.labels[worst] if change[worst] >= MOSTLY else None
    return spec.labels[int(np.argmax(change)) if change.any() else int(np.argmax(past))]


def _series(spec: ColumnSpec, follows: str | None, dated: Iterable[Dated]) -> Iterator[Quantiles]:
    """Each bin read with the edges of the release that counted it; earlier releases may have other categories."""
    for d in dated:
        own = d.specs.get(spec.name)
        if own is None or own.kind != spec.kind or spec.name not in d.counts.columns:
            continue
        if follows is not None and follows not in own.labels:
            continue
        found = _quantiles(own, follows, d.counts.columns[spec.name], d.start, d.end)
        if found:
            yield found


def _quantiles(
    spec: ColumnSpec, follows: str | None, vector: NDArray[np.int64], start: int, end: int
) -> Quantiles | None:
    total = int(vector.sum())
    if not total:
        return None
    if follows is not None:
        return Quantiles(start=start, end=end, middle=float(vector[spec.labels.index(follows)]) / total)
    if spec.inner == 0:
        return None
    inner = vector[2:-1].astype(np.float64)
    inner[0] += vector[1]  # what lies beyond the range counts at its end
    inner[-1] += vector[-1]
    if not inner.sum():
        return None
    cumulated = np.concatenate([[0.0], np.cumsum(inner)]) / inner.sum()
    low, middle, high = (float(np.interp(share, cumulated, spec.edges)) for share in (0.1, 0.5, 0.9))
    return Quantiles(start=start, end=end, middle=middle, low=low, high=high)
