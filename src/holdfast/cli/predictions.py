"""predictions: what was answered, found again in all that was ever logged."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import click

from holdfast.cli.terminal import as_json, moment, note, open_from, show, table, when
from holdfast.core.names import short
from holdfast.errors import NotFound, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.predictions.find import Finder, Found
    from holdfast.predictions.windows import Recipe
    from holdfast.workspace import Workspace

__all__ = ["predictions"]


@click.group()
def predictions() -> None:
    """Every answered row, as it was logged."""


@predictions.command()
@click.argument("name", metavar="[ID]", required=False)
@click.option("--key", metavar="K", help="All predictions of this key.")
@click.option("--since", metavar="TIME", help="The newest by event time, from TIME on (ISO 8601, UTC).")
@click.option("--for", "deployment", metavar="NAME", help="Only of this deployment.")
@click.option(
    "--limit", type=click.IntRange(min=1), default=100, show_default=True, help="So many at most, the newest."
)
@as_json
@click.pass_context
def find(
    ctx: click.Context,
    name: str | None,
    key: str | None,
    since: str | None,
    deployment: str | None,
    limit: int,
    as_json: bool,  # noqa: FBT001
) -> None:
    """Find predictions by ID (a prediction's, a request's or the client's own), by key, or the newest."""
    from holdfast.predictions.find import Finder

    if sum(given is not None for given in (name, key, since)) != 1:
        raise UsageError("what is to be found?", next_step="give one of: ID, --key K, --since TIME")
    workspace = open_from(ctx)
    finder = Finder(
        workspace.log,
        workspace.tables,
        _recipes(workspace),
        deployments=None if deployment is None else [deployment],
        limit=limit,
    )
    found = _found(workspace, finder, name, key, since)
    if as_json:
        show([{"deployment": one.deployment, **_plain(one)} for one in found])
        return
    if not found:
        raise NotFound(
            "no such prediction is in the log", str(workspace.log), "holdfast predictions find --since 2000-01-01"
        )
    if len(found) == 1:
        _one(found[0])
        return
    table(
        ("id", "event time", "deployment", "release", "track", "key", "answer"),
        (
            (row.id, when(row.event_time), one.deployment, short(row.release), row.track, row.key or "-", _answer(one))
            for one in found
            for row in [one.row]
        ),
    )
    if len(found) == limit:
        note(f"the newest {limit}; --limit N shows more")


def _found(workspace: Workspace, finder: Finder, name: str | None, key: str | None, since: str | None) -> list[Found]:
    if name is not None:
        return finder.by_id(name)
    if key is not None:
        from holdfast.serve.records import hash_key, hashed

        return finder.by_key([key, *filter(None, hashed([key], hash_key(workspace.keys)))])
    assert since is not None
    return finder.since(moment(since))


def _recipes(workspace: Workspace) -> Callable[[str], Recipe | None]:
    from holdfast.predictions.windows import recipe

    @cache
    def known(digest: str) -> Recipe | None:
        try:
            found = workspace.release_of(digest)
        except NotFound:
            return None
        return recipe(found.contract, found.profile)

    return known


def _plain(one: Found) -> dict[str, Any]:
    from msgspec.structs import asdict

    return asdict(one.row)


def _answer(one: Found) -> str:
    outputs = one.row.outputs
    shown = outputs.get("label", outputs.get("prediction"))
    return f"{shown:.6g}" if isinstance(shown, float) else str(shown)


def _one(one: Found) -> None:
    """A single prediction in full."""
    row = one.row
    facts = {
        "id": row.id,
        "deployment": one.deployment,
        "release": f"{short(row.release)} ({row.track})",
        "event time": when(row.event_time),
        "received": when(row.received),
        "latency": f"{row.latency_us / 1000:.2f} ms",
        "key": row.key or "-",
        "client's id": row.client_id or "-",
    }
    table(("prediction", ""), [*facts.items(), *(("  " + name, value) for name, value in row.inputs.items())])
    table(("answer", ""), [(name, value) for name, value in row.outputs.items()])
