"""What every verb shares: the workspace, `--json`, tables for people, the clock, and who acts."""

from __future__ import annotations

import getpass
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from holdfast.decide.actions import Actor
from holdfast.errors import UsageError
from holdfast.workspace import open_workspace

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rich.console import Console

    from holdfast.status import Sources
    from holdfast.workspace import Workspace

__all__ = [
    "actor",
    "as_json",
    "clock_of",
    "day",
    "moment",
    "note",
    "open_from",
    "out",
    "resolve_release",
    "show",
    "sources",
    "table",
    "when",
]

as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


def open_from(ctx: click.Context, **overrides: Any) -> Workspace:
    """The workspace that `-w`, the environment or the folder names; `serve__port=0` overrides `serve.port`."""
    named = ctx.obj.get("workspace")
    settings = {name.replace("__", "."): value for name, value in overrides.items()}
    return open_workspace(Path(named) if named else None, settings)


def out() -> Console:
    """Rich on stdout; plain text when it is not a terminal or NO_COLOR is set."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=not sys.stdout.isatty())


def show(value: Any) -> None:
    """One JSON document on stdout."""
    import msgspec

    sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(value, order="deterministic")) + b"\n")
    sys.stdout.flush()


def note(text: str) -> None:
    """A message for the person, on stderr."""
    sys.stderr.write(text + "\n")


def table(headings: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A table on stdout. Only its widest column folds; where nobody looks at it (a pipe), each row is one line."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(text) for text in column) for column in zip(headings, *cells, strict=True)]
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for heading, width in zip(headings, widths, strict=True):
        drawn.add_column(heading, no_wrap=width < max(widths), overflow="fold")
    for row in cells:
        drawn.add_row(*map(Text, row))
    wide = None if sys.stdout.isatty() else sum(widths) + 2 * len(widths)
    Console(highlight=False, width=wide).print(drawn)


def when(at: int | None) -> str:
    """Microseconds UTC as a short date and time."""
    return "-" if at is None else datetime.fromtimestamp(at / 1e6, UTC).strftime("%Y-%m-%d %H:%M")


def day(at: int | None) -> str:
    """Microseconds UTC as a date."""
    return when(at)[:10]


def moment(text: str) -> int:
    """An ISO 8601 time (UTC unless it says otherwise) as microseconds UTC."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"'{text}' is not a time", next_step="write it like 2026-03-01T12:00") from None
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1e6)


def clock_of(workspace: Workspace, deployment: str) -> int:
    """The deployment clock, microseconds UTC: the largest event time in a replay, else the wall clock."""
    from holdfast.predictions.compact import clock

    with workspace.database.begin() as stores:
        return clock(stores, deployment, time.time_ns() // 1000)


def actor(workspace: Workspace, deployment: str) -> Actor:
    """Who runs this command, and when on the deployment's clock."""
    return Actor(getpass.getuser(), clock_of(workspace, deployment), workspace.run)


def resolve_release(workspace: Workspace, text: str) -> str:
    """The whole digest of the release that is meant by a digest, its beginning, NAME[@live|@canary], or models:/name/3."""
    from holdfast.release.bundle import find

    if ":/" in text:
        return _built_from(workspace, text)
    name, at, track = text.partition("@")
    with workspace.database.begin() as stores:
        known = {deployment.name: deployment for deployment in stores.deployments.all()}
    if not at and name in known:
        return known[name].live
    if at and track in {"live", "canary"}:
        with workspace.database.begin() as stores:
            deployment = stores.deployments.get(name)
        found: Mapping[str, str] = {"live": deployment.live, "canary": deployment.canary}
        if not found[track]:
            raise click.UsageError(f"'{name}' has no {track}")
        return found[track]
    return find(workspace.releases, text).name


def _built_from(workspace: Workspace, model: str) -> str:
    """The newest release that was built from exactly this model version."""
    from holdfast.release.bundle import list_releases

    version = workspace.registry.resolve(model)
    built = [r for r in list_releases(workspace.releases) if r.manifest.model.uri == version]
    if not built:
        raise UsageError(f"no release was built from {version} yet", model, f"holdfast build {model} --reference FILE")
    return built[-1].digest


def sources(workspace: Workspace) -> Sources:
    """What status reads."""
    from holdfast.release.bundle import list_releases, open_release
    from holdfast.status import Sources

    keys = workspace.trusted
    return Sources(
        workspace.database,
        lambda digest: open_release(workspace.releases / digest, keys),
        lambda: [release.digest for release in list_releases(workspace.releases)],
        workspace.log,
        workspace.run,
        workspace.settings.monitor.false_alarms_per_year,
    )
