"""The steps of a rollout, each one transaction: new state, a line in the trail, then the plan for the workers.

deploy makes a release live at once; `start_canary` gives it a share of the sticky keys; `promote` makes the canary live;
`rollback` stops a canary or returns to the previous live release. Nothing is acknowledged unless it is recorded.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from holdfast.core.deployment import Deployment
from holdfast.core.names import check_name
from holdfast.decide.publish import publish
from holdfast.errors import NotFound

if TYPE_CHECKING:
    from holdfast.core.ports import Database, Stores

__all__ = ["Actor", "deploy", "promote", "rollback", "start_canary", "undeploy"]


class Actor(msgspec.Struct, frozen=True):
    """Who acts, when (deployment clock, microseconds UTC), and where the plan for the workers lies."""

    name: str
    now: int
    run: Path


def deploy(database: Database, actor: Actor, name: str, release: str) -> tuple[Deployment, int]:
    """Make `release` live under `name`; a new name begins here."""
    check_name(name, "deployment name")
    with database.begin() as stores:
        try:
            after = stores.deployments.get(name).deploy(release, actor.now)
        except NotFound:
            after = Deployment(name=name, live=release, since=actor.now, salt=name)
        _record(stores, actor, "deploy", after)
    return after, publish(database, actor.run)


def start_canary(database: Database, actor: Actor, name: str, release: str, share: float) -> tuple[Deployment, int]:
    """Let `release` answer for `share` of the sticky keys."""
    with database.begin() as stores:
        after = stores.deployments.get(name).start_canary(release, share, actor.now, f"{name}/{release[:12]}")
        _record(stores, actor, "canary", after, release=release, share=share)
    return after, publish(database, actor.run)


def promote(database: Database, actor: Actor, name: str) -> tuple[Deployment, int]:
    """The canary becomes live."""
    with database.begin() as stores:
        after = stores.deployments.get(name).promote(actor.now)
        _record(stores, actor, "promote", after)
    return after, publish(database, actor.run)


def rollback(database: Database, actor: Actor, name: str) -> tuple[Deployment, int]:
    """Stop the canary, or return to the previous live release."""
    with database.begin() as stores:
        before = stores.deployments.get(name)
        after = before.rollback(actor.now)
        if before.canary:
            _record(stores, actor, "rollback", after, release=before.canary, live=False)
        else:
            _record(stores, actor, "rollback", after)
    return after, publish(database, actor.run)


def undeploy(database: Database, actor: Actor, name: str) -> int:
    """Stop answering under this name; log, windows, alarms and trail stay, open alarms are closed."""
    with database.begin() as stores:
        before = stores.deployments.get(name)
        stores.deployments.delete(name)
        for alarm in stores.alarms.find(name, only_open=True):
            stores.alarms.save(msgspec.structs.replace(alarm, closed=actor.now, closing="undeployed"))
        stores.trail.append("undeploy", at=actor.now, deployment=name, release=before.live, actor=actor.name)
    return publish(database, actor.run)


def _record(stores: Stores, actor: Actor, verb: str, after: Deployment, *, release: str = "", **data: Any) -> None:
    generation = stores.deployments.save(after)
    stores.trail.append(
        verb,
        at=actor.now,
        deployment=after.name,
        release=release or after.live,
        actor=actor.name,
        data={"generation": generation, **data},
    )
