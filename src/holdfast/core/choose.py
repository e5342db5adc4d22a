"""Which variant: the one that does what the user wants at the least cost, or what cannot be had, and by how much.

A quality objective is met where the loss is *shown* to be within it: the upper end of its 95 % interval counts, so that a short
reference cannot hide a bad variant. Cost is processor time per row. Among variants whose costs are within the noise of each other
the plainer one is taken.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import msgspec

from holdfast.core.variant import Measured, Objectives

__all__ = ["Choice", "Miss", "choose", "misses", "pareto"]

NOISE: Final = 0.1
"""Costs that differ by less, as a share, are alike."""


class Miss(msgspec.Struct, frozen=True, kw_only=True):
    """An objective that a variant does not meet."""

    objective: str
    wanted: float
    found: float

    @property
    def far(self) -> float:
        """How far off, as a share of what is wanted."""
        gap = abs(self.found - self.wanted)
        return gap / abs(self.wanted) if self.wanted else (math.inf if gap else 0.0)

    @property
    def sentence(self) -> str:
        """For people."""
        by = f", off by {self.far:.0%}" if math.isfinite(self.far) else ""
        return f"{self.objective} {self.found:.4g}, wanted {self.wanted:g}{by}"


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of a search."""

    chosen: str
    """Name of the recipe; empty if none meets all objectives."""
    front: tuple[str, ...]
    """Variants that no other beats in size, time and quality at once."""
    why: str
    unmet: tuple[Miss, ...] = ()
    """What the variant that comes nearest lacks."""
    nearest: str = ""


def misses(found: Measured, wanted: Objectives) -> list[Miss]:
    """The objectives that a variant does not meet."""
    gone = []
    if wanted.p99_ms is not None and found.p99_ms > wanted.p99_ms:
        gone.append(Miss(objective="p99_ms", wanted=wanted.p99_ms, found=found.p99_ms))
    if wanted.qps is not None and 1000.0 / found.mean_ms < wanted.qps:
        gone.append(Miss(objective="qps", wanted=wanted.qps, found=1000.0 / found.mean_ms))
    if wanted.max_mb is not None and found.mb > wanted.max_mb:
        gone.append(Miss(objective="max_mb", wanted=wanted.max_mb, found=found.mb))
    limit = wanted.max_quality_loss
    shown = found.loss.high if math.isfinite(found.loss.high) else math.inf
    if limit is None and not found.exact:
        gone.append(Miss(objective="max_quality_loss", wanted=0.0, found=shown))
    elif limit is not None and shown > limit:
        gone.append(Miss(objective="max_quality_loss", wanted=limit, found=shown))
    return gone


def choose(variants: Sequence[Measured], wanted: Objectives) -> Choice:
    """The cheapest that meets all; `variants` come with the plainest first."""
    front = tuple(one.name for one in pareto(variants))
    able = [one for one in variants if not misses(one, wanted)]
    if able:
        least = min(one.cost for one in able)
        chosen = next(one for one in able if one.cost <= least * (1 + NOISE))
        many = f"of {len(able)} variants that meet the objectives" if len(able) > 1 else "the only one that meets them"
        why = f"{many}, the cheapest: {chosen.cost:.3g} processor seconds per million rows"
        return Choice(chosen=chosen.name, front=front, why=why)
    nearest = min(variants, key=lambda one: sum(min(miss.far, 100.0) for miss in misses(one, wanted)))
    unmet = tuple(misses(nearest, wanted))
    why = f"no variant meets all objectives; nearest is {nearest.name}: {'; '.join(miss.sentence for miss in unmet)}"
    return Choice(chosen="", front=front, why=why, unmet=unmet, nearest=nearest.name)


def pareto(variants: Sequence[Measured]) -> list[Measured]:
    """Those that no other is at least as good as in all, and better in one: size, time at the 99th of 100, cost, loss."""

    def figures(one: Measured) -> tuple[float, ...]:
        return (one.mb, one.p99_ms, one.cost, 0.0 if one.exact else max(one.loss.value, 0.0))

    def beaten(one: Measured) -> bool:
        mine = figures(one)
        return any(
            all(a <= b for a, b in zip(figures(other), mine, strict=True)) and figures(other) != mine
            for other in variants
        )

    return [one for one in variants if not beaten(one)]
