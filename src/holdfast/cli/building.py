"""build: from a trained model to a signed release."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from holdfast.cli.terminal import actor, as_json, note, out, show
from holdfast.cli.variants import asked, report_of, tell, unmet, wishes
from holdfast.core.contract import Mark
from holdfast.core.names import short
from holdfast.errors import UsageError
from holdfast.workspace import create_workspace, find_workspace, open_workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from holdfast.release.bundle import Release
    from holdfast.workspace import Workspace

__all__ = ["build", "steps"]

MARKS: tuple[Mark, ...] = ("calendar", "personal", "protected")


@click.command()
@click.argument("model")
@click.option(
    "--reference",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Parquet or CSV: rows the model was not fitted on.",
)
@click.option("--label", default="", metavar="COL", help="Column with the truth.")
@click.option("--timestamp", default="", metavar="COL", help="Column with event time.")
@click.option("--key", default="", metavar="COL", help="Column that joins labels and keeps a canary sticky.")
@click.option(
    "--calendar", multiple=True, metavar="COL", help="Leaves its range by construction: never drift-monitored."
)
@click.option("--personal", multiple=True, metavar="COL", help="Kept out of the log.")
@click.option("--protected", multiple=True, metavar="COL", help="Watched for fairness.")
@click.option("--timezone", default="UTC", show_default=True, help="In which naive timestamps are read.")
@click.option(
    "--contract",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Your edited contract (YAML) instead of an inferred one.",
)
@click.option(
    "--shape", default="", metavar="1,28,28", help="How a network takes the features of a row: as this array."
)
@click.option("--name", default="", help="Name of the release (default: the model's).")
@click.option("--purpose", default="", help="One line for the model card.")
@wishes
@click.option("--allow-dirty", is_flag=True, help="Although files differ from the git commit.")
@click.option("--trust-pickle", is_flag=True, help="Open a pickle, in a sandboxed child process: it can run any code.")
@click.option("--no-sandbox", is_flag=True, help="Open it even where this machine cannot contain it; this is recorded.")
@click.option("--python", is_flag=True, help="Release the model as Python, in a process of its own, and not as ONNX.")
@click.option(
    "--requirement", multiple=True, metavar="NAME==1.2", help="What a Python release needs (default: as recorded)."
)
@as_json
@click.pass_context
def build(
    ctx: click.Context,
    /,
    model: str,
    reference: Path | None,
    contract: Path | None,
    as_json: bool,  # noqa: FBT001
    **given: Any,
) -> None:
    """Build a signed release from MODEL: models:/name/3, models:/name@alias, runs:/id/path, or a model file."""
    from holdfast.build.lineage import data_of_file, training_of
    from holdfast.build.packaged import AsPython
    from holdfast.build.pipeline import STEPS
    from holdfast.build.pipeline import build as build_release
    from holdfast.build.translate import Marks

    workspace = _workspace(ctx, say=not as_json, given=given)
    file = None if ":/" in model else Path(model)
    for path in (contract, file):
        if path is not None and not path.exists():
            raise UsageError(f"there is no file {path}", next_step="check the path")
    named = {column for mark in MARKS for column in given[mark]}
    others: dict[str, tuple[Mark, ...]] = {c: tuple(mark for mark in MARKS if c in given[mark]) for c in named}
    marks = Marks(
        label=given["label"],
        timestamp=given["timestamp"],
        key=given["key"],
        others=others,
        timezone=given["timezone"],
        contract=contract.read_text(encoding="utf-8") if contract else "",
        shape=_sizes(given["shape"]),
    )
    wish = asked(given)
    if given["no_sandbox"]:
        _recorded(workspace, model)
    with steps(STEPS, quiet=as_json) as progress, unmet(given["plot"], quiet=as_json):
        release = build_release(
            workspace.build_parts,
            model,
            data_of_file(workspace.tables, reference, project=workspace.folder, versions=workspace.versions)
            if reference
            else None,
            marks=marks,
            name=given["name"],
            purpose=given["purpose"],
            code=workspace.code_state(workspace.folder),
            training=training_of(file, workspace.folder, workspace.versions) if file else {},
            trust_pickle=given["trust_pickle"],
            sandbox=not given["no_sandbox"],
            python=AsPython(given["python"], given["requirement"]),
            wish=wish,
            progress=progress,
        )
    if wish and wish.objectives and not as_json:
        tell(report_of(workspace, release.digest)[1], given["plot"])
    _tell(release, as_json=as_json)
    if reference and not release.profile.performance:
        note("  no --label was given: the error is not known, and nothing about it can be watched")


def _recorded(workspace: Workspace, model: str) -> None:
    """That somebody let a pickle be opened without walls; before it is."""
    who = actor(workspace, "")
    with workspace.database.begin() as stores:
        stores.trail.append("sandbox off", at=who.now, actor=who.name, data={"model": model, "for": "build"})


def _sizes(text: str) -> tuple[int, ...]:
    sizes = [part.strip() for part in text.split(",") if part.strip()]
    if not all(size.isdecimal() and int(size) > 0 for size in sizes):
        raise UsageError(f"'{text}' is not a shape", "--shape", "give sizes, such as 1,28,28")
    return tuple(map(int, sizes))


def _workspace(ctx: click.Context, *, say: bool, given: Mapping[str, Any]) -> Workspace:
    """The workspace; the first build in a folder makes one."""
    settings = {
        "build.dirty": "allow" if given["allow_dirty"] else None,
        "python.sandbox": "off" if given["no_sandbox"] else None,
    }
    named = ctx.obj.get("workspace")
    folder = Path(named) if named else find_workspace()
    if folder is not None and (folder / ".holdfast").is_dir():
        return open_workspace(folder, settings)
    workspace = create_workspace(folder or Path.cwd(), settings)
    if say:
        note(f"workspace: {workspace.folder} (made)")
    return workspace


class steps:  # noqa: N801 - used as a `with` word
    """Each step's name as it begins, on a terminal as one bar."""

    def __init__(self, names: Sequence[str], *, quiet: bool) -> None:
        self._names = names
        self._quiet = quiet
        self._bar: Any = None

    def __enter__(self) -> Callable[[str], None]:
        if self._quiet or not sys.stderr.isatty():
            return lambda _: None
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        self._bar = Progress(
            TextColumn("{task.description:<10}"),
            BarColumn(),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        task = self._bar.add_task("build", total=len(self._names))
        self._bar.start()
        return lambda step: self._bar.update(task, description=step, completed=self._names.index(step))

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()


def _tell(release: Release, *, as_json: bool) -> None:
    profile, parity = release.profile, release.manifest.parity
    if as_json:
        show(
            {
                "release": release.digest,
                "name": release.manifest.name,
                "task": release.manifest.task,
                "model": release.manifest.model.uri,
                "performance": profile.performance,
                "parity": parity,
                "calibration": profile.calibration,
            }
        )
        return
    out().print(f"[bold]{release.manifest.name}[/bold]  {release.digest}")
    for metric, found in profile.performance.items():
        out().print(
            f"  {metric:<18} {found['value']:.4g}  [{found['low']:.4g}, {found['high']:.4g}]  n = {found['n']:,}",
            markup=False,
        )
    if parity:
        rows = parity.get("rows", 0) + parity.get("boundary_rows", 0)
        out().print(
            f"  parity             {parity.get('beyond_tolerance', 0)} of {rows:,} rows beyond {parity.get('tolerance', 0):g}",
            markup=False,
        )
    out().print(f"  alarms             {profile.calibration.get('sentence', '')}", markup=False)
    note(f"  next: holdfast deploy {short(release.digest)} --as {release.manifest.name}")
