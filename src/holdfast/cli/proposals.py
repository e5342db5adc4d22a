"""approve, follow: which release ought to be in use."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import click

from holdfast.cli.building import steps
from holdfast.cli.terminal import actor, as_json, note, open_from, resolve_release, show
from holdfast.core.names import short
from holdfast.errors import UsageError

if TYPE_CHECKING:
    from holdfast.decide.follow import Followed

__all__ = ["approve", "follow"]

NICENESS: Final = 10


@click.command()
@click.argument("release")
@click.option("--as", "name", required=True, metavar="NAME", help="Deployment that it may answer for.")
@click.option("--note", "why", default="", help="What speaks for it.")
@as_json
@click.pass_context
def approve(ctx: click.Context, release: str, name: str, why: str, as_json: bool) -> None:  # noqa: FBT001
    """Say, signed, that RELEASE may go live under NAME; `status` tells as long as it doesn't."""
    from holdfast.decide.proposals import approve as record

    workspace = open_from(ctx)
    found = workspace.release_of(resolve_release(workspace, release))
    event = record(workspace.database, actor(workspace, name), name, found, workspace.build_parts.signer, why)
    if as_json:
        show(event)
    else:
        note(f"{short(found.digest)} is approved for '{name}'")
        note(f"  next: holdfast rollout {short(found.digest)} --as {name}")


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option(
    "--quiet", is_flag=True, help="As the server does it: at low priority, and nothing again that could not be built."
)
@as_json
@click.pass_context
def follow(ctx: click.Context, names: tuple[str, ...], quiet: bool, as_json: bool) -> None:  # noqa: FBT001
    """Look at the aliases that deployments follow (all, or NAME...); build and propose what moved."""
    from holdfast.build.pipeline import STEPS
    from holdfast.decide.follow import follow as look

    if quiet:
        os.nice(NICENESS)
    workspace = open_from(ctx)
    aliases = {name: d.follow for name, d in workspace.settings.deployments.items() if d.follow}
    unknown = [name for name in names if name not in aliases]
    if unknown or not aliases:
        name = unknown[0] if unknown else "NAME"
        raise UsageError(
            f"'{name}' follows no alias" if unknown else "no deployment follows an alias",
            "holdfast.toml",
            f'add: [deployments.{name}] follow = "champion"',
        )
    with steps(STEPS, quiet=as_json) as progress:
        found = [
            look(
                workspace.build_parts,
                workspace.project,
                workspace.database,
                actor(workspace, name),
                workspace.release_of,
                name,
                aliases[name],
                again=not quiet,
                progress=progress,
            )
            for name in names or aliases
        ]
    if as_json:
        show({"followed": found})
        return
    for one in found:
        _tell(one)


def _tell(one: Followed) -> None:
    if one.why:
        note(f"{one.deployment}: {one.alias} is {one.model} now, and no release could be made of it: {one.why}")
    elif not one.release:
        note(f"{one.deployment}: {one.alias} is {one.model}; nothing to do")
    else:
        note(f"{one.deployment}: {one.alias} is {one.model} now; built and proposed {short(one.release)}")
        for metric, (before, after) in one.changes.items():
            note(f"  {metric:<18} {before:.4g} -> {after:.4g}" if None not in {before, after} else f"  {metric}")
        note(f"  next: holdfast rollout {short(one.release)} --as {one.deployment}")
