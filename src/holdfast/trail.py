"""The append-only record of who did what: is it whole, and what does it say was live when?

Stores append (`core.ports.Trail`); this module only reads. MLflow keeps no alias history; this is the direct answer to
"what was in production then?".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from holdfast.core.event import GENESIS, link

if TYPE_CHECKING:
    from collections.abc import Iterable

    from holdfast.core.event import Event

__all__ = ["Tenure", "broken_at", "live_at", "tenure_at", "tenures", "waiting"]

LIVE_VERBS = frozenset({"deploy", "promote", "rollback"})


class Tenure(NamedTuple):
    """A release was live from `since` until `until` (None: still), microseconds UTC on the deployment clock."""

    release: str
    since: int
    until: int | None
    verb: str
    actor: str = ""
    """Who made it live."""


def broken_at(events: Iterable[Event]) -> int | None:
    """Number of the first event whose hash does not follow from the one before; None if the chain is whole."""
    previous, expected = GENESIS, None
    for event in events:
        if (expected is not None and event.number != expected) or link(previous, event).hash != event.hash:
            return event.number
        previous, expected = event.hash, event.number + 1
    return None


def tenures(events: Iterable[Event], deployment: str) -> list[Tenure]:
    """Which release was live when, oldest first."""
    found: list[Tenure] = []
    for event in events:
        if event.deployment != deployment or not (event.verb in LIVE_VERBS or event.verb == "undeploy"):
            continue
        if event.data.get("live") is False:
            continue
        if found and found[-1].until is None:
            found[-1] = found[-1]._replace(until=event.at)
        if event.verb in LIVE_VERBS:
            found.append(Tenure(event.release, event.at, None, event.verb, event.actor))
    return found


def tenure_at(events: Iterable[Event], deployment: str, at: int) -> Tenure | None:
    """What was live at that time, or None."""
    for tenure in tenures(events, deployment):
        if tenure.since <= at and (tenure.until is None or at < tenure.until):
            return tenure
    return None


def live_at(events: Iterable[Event], deployment: str, at: int) -> str | None:
    """The release that was live at that time, or None."""
    found = tenure_at(events, deployment, at)
    return found.release if found else None


def waiting(events: Iterable[Event], deployment: str) -> list[Event]:
    """The newest approval or proposal of every release that was not put in use since, oldest first."""
    found: dict[str, Event] = {}
    for event in events:
        if event.deployment != deployment:
            continue
        if event.verb in {"approve", "propose"}:
            if event.verb == "propose":  # an alias names one version: what it named before is no longer proposed
                found = {release: e for release, e in found.items() if e.verb != "propose"}
                found.setdefault(event.release, event)
            else:
                found[event.release] = event
        elif event.data.get("live") is not False and event.verb in LIVE_VERBS | {"canary"}:
            found.pop(event.release, None)
    return list(found.values())
