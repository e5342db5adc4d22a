"""Releases that somebody wants in use: approved by a person, or proposed because an alias moved.

Both are lines in the append-only record and change no traffic; `holdfast status` tells of them until the release is used.
An approval is a signed statement beside the release too, so that it travels with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from holdfast.decide.gates import headline
from holdfast.release.bundle import attest

if TYPE_CHECKING:
    from holdfast.core.event import Event
    from holdfast.core.ports import Database
    from holdfast.decide.actions import Actor
    from holdfast.release.bundle import Release
    from holdfast.release.trust import Signer

__all__ = ["APPROVAL", "approve", "propose", "refuse"]

APPROVAL: Final = "urn:holdfast:approval:v1"


def approve(database: Database, actor: Actor, name: str, release: Release, signer: Signer, note: str = "") -> Event:
    """A person's yes: this release may answer under `name`."""
    facts = _facts(release)
    with database.begin() as stores:
        stores.deployments.get(name)
        event = stores.trail.append(
            "approve",
            at=actor.now,
            deployment=name,
            release=release.digest,
            actor=actor.name,
            data={**facts, "note": note},
        )
    attest(release.path, APPROVAL, {"deployment": name, "by": actor.name, "at": event.wall, "note": note}, signer)
    return event


def propose(database: Database, actor: Actor, name: str, release: Release, *, alias: str) -> Event:
    """An alias moved to the model of this release."""
    about = {**_facts(release), "alias": alias, "model": release.manifest.model.uri}
    with database.begin() as stores:
        return stores.trail.append(
            "propose", at=actor.now, deployment=name, release=release.digest, actor=actor.name, data=about
        )


def refuse(database: Database, actor: Actor, name: str, *, alias: str, model: str, why: str) -> Event:
    """An alias moved to a model of which no release could be made."""
    with database.begin() as stores:
        return stores.trail.append(
            "propose",
            at=actor.now,
            deployment=name,
            actor=actor.name,
            data={"alias": alias, "model": model, "why": why},
        )


def _facts(release: Release) -> dict[str, Any]:
    """How good it is, on which rows: what a later reader compares."""
    metric = headline(release.contract.output)
    measured = release.profile.performance.get(metric)
    reference = release.manifest.data.get("sha256", "")
    return {"metric": metric, "value": measured["value"], "reference": reference} if measured else {}
