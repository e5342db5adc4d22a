"""keys: who may ask the inference port for what, and how much."""

from __future__ import annotations

import getpass
import time
from typing import TYPE_CHECKING

import click

from holdfast.cli.terminal import as_json, moment, note, open_from, show, table, when
from holdfast.core.access import SCOPES

if TYPE_CHECKING:
    from holdfast.core.access import AccessKey

__all__ = ["keys"]


@click.group()
def keys() -> None:
    """API keys for the inference port; asked for once `[serve] keys` is "required"."""


@keys.command()
@click.argument("name")
@click.option("--for", "deployments", multiple=True, required=True, metavar="DEPLOYMENT", help="Or '*': all of them.")
@click.option(
    "--scope", default="predict,label", show_default=True, metavar="LIST", help=f"Of: {', '.join(SCOPES)}; by commas."
)
@click.option("--rate", type=float, default=0.0, metavar="R", help="At most R requests per second.")
@click.option("--rows-per-day", type=int, default=0, metavar="N", help="At most N rows per day (UTC).")
@click.option("--expires", metavar="TIME", help="Not valid from this time on (ISO 8601, UTC).")
@as_json
@click.pass_context
def create(
    ctx: click.Context,
    name: str,
    deployments: tuple[str, ...],
    scope: str,
    rate: float,
    rows_per_day: int,
    expires: str | None,
    as_json: bool,  # noqa: FBT001
) -> None:
    """Make a key called NAME and show it, this once."""
    from holdfast import access

    workspace = open_from(ctx)
    key, text = access.create(
        workspace.database,
        name,
        deployments,
        [part.strip() for part in scope.split(",")],
        secret=access.pepper(workspace.keys),
        actor=getpass.getuser(),
        now=_now(),
        rate=rate,
        rows_per_day=rows_per_day,
        expires=None if expires is None else moment(expires),
    )
    access.publish(workspace.database, workspace.run)
    if as_json:
        show({"id": key.id, "name": name, "key": text})
        return
    click.echo(text)
    note(f"this is shown once; send it as 'Authorization: Bearer {text[:11]}...'")
    if workspace.settings.serve.keys == "off":
        note('nobody is asked for it yet\n  next: set [serve] keys = "required" in holdfast.toml, then holdfast serve')


@keys.command("list")
@as_json
@click.pass_context
def list_(ctx: click.Context, as_json: bool) -> None:  # noqa: FBT001
    """Whose keys there are, what for, and whether they still stand."""
    workspace = open_from(ctx)
    with workspace.database.begin() as stores:
        every = stores.keys.all()
    now = _now()
    if as_json:
        show([_told(key, now) for key in every])
        return
    rows = [
        (
            key.id,
            key.name,
            key.standing(now),
            ", ".join(key.deployments),
            ", ".join(key.scopes),
            f"{key.rate:g}/s" if key.rate else "-",
            key.rows_per_day or "-",
            when(key.expires),
        )
        for key in every
    ]
    table(("id", "name", "", "for", "scopes", "rate", "rows a day", "expires (UTC)"), rows)


@keys.command()
@click.argument("key")
@as_json
@click.pass_context
def revoke(ctx: click.Context, key: str, as_json: bool) -> None:  # noqa: FBT001
    """End KEY (its id or name): no worker takes it a second later."""
    from holdfast import access

    workspace = open_from(ctx)
    ended = access.revoke(workspace.database, key, actor=getpass.getuser(), now=_now())
    access.publish(workspace.database, workspace.run)
    if as_json:
        show(_told(ended, _now()))
    else:
        note(f"'{ended.name}' ({ended.id}) is revoked")


def _told(key: AccessKey, now: int) -> dict[str, object]:
    return {
        "id": key.id,
        "name": key.name,
        "standing": key.standing(now),
        "deployments": key.deployments,
        "scopes": key.scopes,
        "rate": key.rate,
        "rows_per_day": key.rows_per_day,
        "created": key.created,
        "expires": key.expires,
        "revoked": key.revoked,
    }


def _now() -> int:
    return time.time_ns() // 1000
