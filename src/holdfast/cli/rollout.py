"""deploy, rollout, promote, rollback, undeploy, history: which release answers, and which did."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from holdfast.cli.terminal import actor, as_json, moment, note, open_from, resolve_release, show, table, when
from holdfast.core.names import short
from holdfast.decide import actions
from holdfast.decide.actions import Actor
from holdfast.decide.publish import wait_in_force
from holdfast.errors import HoldfastError, UsageError
from holdfast.serve.plan import open_loaded

if TYPE_CHECKING:
    from holdfast.core.deployment import Deployment
    from holdfast.core.event import Event
    from holdfast.workspace import Workspace

__all__ = ["deploy", "history", "promote", "rollback", "rollout", "undeploy"]


@click.command()
@click.argument("release")
@click.option("--as", "name", required=True, metavar="NAME", help="Name to answer under.")
@click.option("--at", metavar="TIME", help="For a replay of old data: when, on the deployment's clock (ISO 8601, UTC).")
@as_json
@click.pass_context
def deploy(ctx: click.Context, release: str, name: str, at: str | None, as_json: bool) -> None:  # noqa: FBT001
    """Make RELEASE (a digest or models:/name@alias) answer under NAME."""
    workspace = open_from(ctx)
    digest = _sound(workspace, release)
    who = actor(workspace, name)
    if at is not None:
        who = Actor(who.name, moment(at), who.run)
    after, generation = actions.deploy(workspace.database, who, name, digest)
    _tell(workspace, after, generation, f"'{name}' is live on {short(digest)}", as_json=as_json)


@click.command()
@click.argument("release")
@click.option("--as", "name", required=True, metavar="NAME", help="Deployment.")
@click.option("--share", type=float, default=None, help="Share of the sticky keys (default: its setting, 0.1).")
@as_json
@click.pass_context
def rollout(ctx: click.Context, release: str, name: str, share: float | None, as_json: bool) -> None:  # noqa: FBT001
    """Start a canary: RELEASE answers for a share of the keys."""
    workspace = open_from(ctx)
    digest = _sound(workspace, release)
    share = workspace.settings.deployment(name).canary_share if share is None else share
    after, generation = actions.start_canary(workspace.database, actor(workspace, name), name, digest, share)
    _tell(workspace, after, generation, f"canary {short(digest)} answers {share:.0%} of '{name}'", as_json=as_json)
    if not as_json:
        note(f"  next: holdfast promote {name}, or holdfast rollback {name}")


@click.command()
@click.argument("name")
@as_json
@click.pass_context
def promote(ctx: click.Context, name: str, as_json: bool) -> None:  # noqa: FBT001
    """Make the canary of NAME live."""
    workspace = open_from(ctx)
    after, generation = actions.promote(workspace.database, actor(workspace, name), name)
    _tell(workspace, after, generation, f"'{name}' is live on {short(after.live)}", as_json=as_json)


@click.command()
@click.argument("name")
@as_json
@click.pass_context
def rollback(ctx: click.Context, name: str, as_json: bool) -> None:  # noqa: FBT001
    """Stop the canary of NAME or, without one, return to the previous live release."""
    workspace = open_from(ctx)
    after, generation = actions.rollback(workspace.database, actor(workspace, name), name)
    _tell(workspace, after, generation, f"'{name}' is live on {short(after.live)}", as_json=as_json)


@click.command()
@click.argument("name")
@as_json
@click.pass_context
def undeploy(ctx: click.Context, name: str, as_json: bool) -> None:  # noqa: FBT001
    """Stop answering under NAME; its log and history stay."""
    workspace = open_from(ctx)
    generation = actions.undeploy(workspace.database, actor(workspace, name), name)
    _tell(workspace, None, generation, f"'{name}' is no longer served", as_json=as_json)


@click.command()
@click.argument("name")
@click.option("--at", metavar="TIME", help="What was live at this time (ISO 8601, UTC)?")
@as_json
@click.pass_context
def history(ctx: click.Context, name: str, at: str | None, as_json: bool) -> None:  # noqa: FBT001
    """What was live under NAME, when, and who did it."""
    from holdfast.trail import broken_at, tenures

    workspace = open_from(ctx)
    with workspace.database.begin() as stores:
        everything = stores.trail.read()
    events = [e for e in everything if e.deployment == name]
    if not events:
        raise UsageError(f"nothing is recorded about '{name}'", next_step="holdfast list")
    if at is not None:
        _live_then(workspace, events, name, at, as_json=as_json)
        return
    whole = broken_at(everything) is None
    if as_json:
        show({"deployment": name, "tenures": tenures(events, name), "events": events, "chain_whole": whole})
        return
    rows = [(when(e.at), e.verb, short(e.release), e.actor, _said(e)) for e in events]
    table(("time (UTC)", "what", "release", "who", "more"), rows)
    note("the record is whole" if whole else "WARNING: the record has been tampered with")


def _live_then(workspace: Workspace, events: list[Event], name: str, at: str, *, as_json: bool) -> None:
    """What answered under this name at that time; the model, if the release is still here."""
    from holdfast.trail import tenure_at

    found = tenure_at(events, name, moment(at))
    try:
        model = workspace.release_of(found.release).manifest.model.uri if found else ""
    except HoldfastError:
        model = ""
    if as_json:
        then = found._asdict() if found else {"release": None}
        show({"deployment": name, "at": at, "model": model, **then})
    elif found is None:
        note(f"{name} at {at}: not served")
    else:
        until = f"until {when(found.until)}" if found.until is not None else "and still is"
        note(f"{name} at {at}: {short(found.release)}" + (f" ({model})" if model else ""))
        note(f"  live since {when(found.since)} by {found.actor} ({found.verb}), {until}")


def _said(event: Event) -> str:
    """What a line of the record says beyond verb and release."""
    data = event.data
    if "share" in data:
        return f"{data['share']:.0%} of the keys"
    if "alias" in data:
        return f"{data['alias']} is {data['model']}" + (f": {data['why']}" if "why" in data else "")
    return str(data.get("note", ""))


def _sound(workspace: Workspace, text: str) -> str:
    """The digest of the release that is meant, verified: a tampered one is refused before anything points to it.

    A Python release is opened once, which makes its environment, so that no server waits for that.
    """
    release = workspace.release_of(resolve_release(workspace, text))
    if release.manifest.runtime == "python":
        open_loaded(release, workspace.runtime)
        if workspace.settings.python.sandbox == "off":
            who = actor(workspace, "")
            with workspace.database.begin() as stores:
                stores.trail.append(
                    "sandbox off", at=who.now, release=release.digest, actor=who.name, data={"for": "serve"}
                )
    return release.digest


def _tell(workspace: Workspace, after: Deployment | None, generation: int, sentence: str, *, as_json: bool) -> None:
    current, alive, why = wait_in_force(workspace.run, generation)
    if as_json:
        show({"deployment": after, "generation": generation, "workers": alive, "in_force": current, "why": why})
        return
    if why:
        note(
            f"{sentence}; NOT in force: a serving process cannot follow, so the plan before it goes on answering: {why}"
        )
        note("  next: holdfast verify, then holdfast rollback")
        return
    note(sentence + (f"; in force on {current} of {alive} workers" if alive else "; no server is running"))
    if not alive:
        note("  next: holdfast serve")
