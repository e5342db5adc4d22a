"""retrain: a candidate on the window that the alarms call for, held against the live release."""

from __future__ import annotations

from typing import Any

import click

from holdfast.cli.building import steps
from holdfast.cli.terminal import as_json, moment, note, open_from, out, show, when
from holdfast.core.names import short
from holdfast.errors import UsageError

__all__ = ["retrain"]

STEPS = ("collect", "train", "build", "compare")


@click.command()
@click.argument("name")
@click.option("--since", metavar="TIME", help="Learn from rows since then, instead of what the alarms call for.")
@click.option("--force", is_flag=True, help="Although only a pipeline fault is open.")
@as_json
@click.pass_context
def retrain(ctx: click.Context, /, name: str, since: str | None, as_json: bool, **given: Any) -> None:  # noqa: FBT001
    """Train a candidate for NAME with its `train` function and compare it with the live release on withheld rows."""
    from holdfast.retrain import load_train
    from holdfast.retrain import retrain as run

    workspace = open_from(ctx)
    with workspace.database.begin() as stores:
        stores.deployments.get(name)
    settings = workspace.settings.deployment(name)
    if not settings.train:
        raise UsageError(
            f"'{name}' has no training function",
            "holdfast.toml",
            f'add: [deployments.{name}] train = "train.py:train" and data = "original.parquet"',
        )
    original = workspace.folder / settings.data if settings.data else None
    if original is not None and not original.is_file():
        raise UsageError(f"there is no file {original}", f"[deployments.{name}] data", "check the path")
    with steps(STEPS, quiet=as_json) as progress:
        outcome = run(
            workspace.retrain_parts,
            name,
            load_train(settings.train, workspace.folder),
            original=original,
            since=moment(since) if since else None,
            force=given["force"],
            code=workspace.code_state(workspace.folder),
            progress=progress,
        )
    if as_json:
        show(
            {
                "release": outcome.release,
                "parent": outcome.parent,
                "better": outcome.better,
                "sentence": outcome.comparison.sentence,
                "window": outcome.window,
                "learned": {"since": outcome.since, "until": outcome.until, "rows": outcome.trained_rows},
                "withheld_rows": outcome.withheld_rows,
                "comparison": outcome.comparison,
            }
        )
        return
    window = outcome.window
    started = f"since {when(window.since)}" if window.since is not None else "all rows"
    out().print(f"candidate  {outcome.release}", markup=False)
    out().print(f"learned    {outcome.trained_rows:,} rows, {window.kind}, {started} ({window.why})", markup=False)
    out().print(f"verdict    {outcome.comparison.sentence}", markup=False)
    if outcome.better:
        note(f"  next: holdfast rollout {short(outcome.release)} --as {name}")
    else:
        note(
            f"  next: keep the live release, or look closer: holdfast diff {short(outcome.parent)} {short(outcome.release)}"
        )
