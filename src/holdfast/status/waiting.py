"""Is the best approved release in use? If not, which one waits, and what to do.

Read off the append-only record alone, where approvals and proposals stand with the figures that were true then: two releases
are compared by them only where both were measured on the same reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from holdfast.core.names import short
from holdfast.decide.gates import headline
from holdfast.trail import waiting

if TYPE_CHECKING:
    from holdfast.core.event import Event
    from holdfast.status.sources import ReleaseView

__all__ = ["advice"]


def advice(events: Sequence[Event], name: str, live: ReleaseView) -> str:
    """One sentence with the next step; empty if nothing better waits."""
    began = max(
        (e.number for e in events if e.release == live.digest and e.verb not in {"approve", "propose"}), default=0
    )
    found = [e for e in waiting(events, name) if e.release != live.digest and _matters(e, live, began)]
    if not found:
        return ""
    best = min(found, key=lambda e: (not e.release, e.verb != "approve", e.data.get("value", 0.0), -e.number))
    about = best.data
    if not best.release:
        return f"{about['alias']} is {about['model']} now, and no release could be made of it: {about['why']}"
    why = "is approved" if best.verb == "approve" else f"is what {about['alias']} means now ({about['model']})"
    figures = ""
    if "value" in about:
        ours = live.profile.performance.get(about["metric"])
        held = f" against {ours['value']:.4g}" if ours and _comparable(best, live) else ""
        figures = f", {about['metric'].replace('_', ' ')} {about['value']:.4g}{held}"
    return (
        f"{short(best.release)} {why}{figures}, and is not in use: holdfast rollout {short(best.release)} --as {name}"
    )


def _matters(event: Event, live: ReleaseView, began: int) -> bool:
    """A person's yes to something worse than what is live needs no word; nor what was said before that went live."""
    if event.verb == "approve" and _comparable(event, live):
        return bool(event.data["value"] < live.profile.performance[event.data["metric"]]["value"])
    return event.number > began


def _comparable(event: Event, live: ReleaseView) -> bool:
    metric = headline(live.contract.output)
    return (
        event.data.get("metric") == metric
        and metric in live.profile.performance
        and event.data.get("reference") == live.manifest.data.get("sha256")
    )
