"""reproduce: does a release come out the same when it is built again?"""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from holdfast.cli.building import steps
from holdfast.cli.terminal import as_json, note, open_from, resolve_release, show, table
from holdfast.core.names import short
from holdfast.errors import UsageError

__all__ = ["reproduce"]


@click.command()
@click.argument("release")
@click.option(
    "--in",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Empty folder for checkout, data and the rebuilt release (default: one that is removed).",
)
@click.option(
    "--reference",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where the reference is now, if it isn't where it was.",
)
@click.option("--trust-pickle", is_flag=True, help="Open a pickle, in a child process: it can run any code.")
@as_json
@click.pass_context
def reproduce(
    ctx: click.Context,
    /,
    release: str,
    folder: Path | None,
    reference: Path | None,
    trust_pickle: bool,  # noqa: FBT001
    as_json: bool,  # noqa: FBT001
) -> None:
    """Build RELEASE again from its commit, its data and its model version, elsewhere, and compare every byte."""
    from holdfast.build.reproduce import REPRODUCE_STEPS
    from holdfast.build.reproduce import reproduce as again

    workspace = open_from(ctx)
    found = workspace.release_of(resolve_release(workspace, release))
    if folder is not None and folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty", "--in", "name an empty or a new folder")
    with tempfile.TemporaryDirectory(prefix="holdfast-") as passing, steps(REPRODUCE_STEPS, quiet=as_json) as progress:
        done = again(
            workspace.build_parts,
            workspace.project,
            found,
            (folder or Path(passing)).absolute(),
            reference=reference,
            trust_pickle=trust_pickle,
            progress=progress,
        )
    if as_json:
        show({"release": done.release, "rebuilt": done.rebuilt, "same": done.same, "differences": done.differences})
    elif done.same:
        note(
            f"{short(done.release)}: built again, every byte is the same" + (f"; it lies in {folder}" if folder else "")
        )
    else:
        rows = [(part, name, *pair) for part, changes in done.differences.items() for name, pair in changes.items()]
        table(("part", "what", short(done.release), short(done.rebuilt)), rows)
        note(f"{short(done.release)}: built again, it comes out as {short(done.rebuilt)}")
        note("  next: install the versions that the part 'dependencies' names, and try again")
    if not done.same:
        ctx.exit(1)
