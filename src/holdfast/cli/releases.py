"""list, inspect, verify, diff: what releases there are and what is in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from holdfast.cli.terminal import as_json, note, open_from, out, resolve_release, show, table, when
from holdfast.core.names import short
from holdfast.core.release import CONTRACT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from holdfast.release.lineage import Link

__all__ = ["diff", "inspect", "list_", "verify"]


@click.command("list")
@click.argument("what", type=click.Choice(["releases", "models", "deployments"]), default="releases")
@as_json
@click.pass_context
def list_(ctx: click.Context, what: str, as_json: bool) -> None:  # noqa: FBT001
    """List releases (default), registered models, or deployments."""
    workspace = open_from(ctx)
    if what == "models":
        models = workspace.registry.list()
        show({"models": models}) if as_json else table(
            ("model", "version", "aliases"), [(m["name"], m["version"], ", ".join(m["aliases"])) for m in models]
        )
    elif what == "deployments":
        with workspace.database.begin() as stores:
            found = stores.deployments.all()
        show({"deployments": found}) if as_json else table(
            ("deployment", "live", "since (UTC)", "canary"),
            [(d.name, short(d.live), when(d.since), short(d.canary) or "-") for d in found],
        )
    else:
        from holdfast.cli.terminal import sources
        from holdfast.status import release_summaries

        releases = release_summaries(sources(workspace))
        show({"releases": releases}) if as_json else table(
            ("release", "name", "task", "model", "reference rows", "deployed as"),
            [
                (short(r.digest), r.name, r.task, r.model, r.reference_rows, ", ".join(r.deployments) or "-")
                for r in releases
            ],
        )


@click.command()
@click.argument("release")
@click.option("--contract", "what", flag_value="contract", help="Print the contract as YAML.")
@click.option("--card", "what", flag_value="card", help="Print the model card.")
@as_json
@click.pass_context
def inspect(ctx: click.Context, release: str, what: str | None, as_json: bool) -> None:  # noqa: FBT001
    """Show from what RELEASE (a digest, NAME@live, models:/name/3) was made, as a tree, and what is in it."""
    from holdfast.release.bundle import open_release, statements
    from holdfast.release.lineage import chain

    workspace = open_from(ctx)
    keys = workspace.trusted
    found = open_release(workspace.releases / resolve_release(workspace, release), keys)
    if what is not None:
        text = found.card if what == "card" else (found.path / CONTRACT).read_text(encoding="utf-8")
        out().print(text, markup=False, end="")
        return
    tree = chain(found, statements(found.path, keys))
    if as_json:
        performance = found.profile.performance
        show({"release": found.digest, "manifest": found.manifest, "performance": performance, "lineage": tree})
        return
    for line in _drawn(tree):
        out().print(line, markup=False, soft_wrap=True)
    note(f"release {found.digest}, signature and files verified")


def _drawn(link: Link) -> Iterator[str]:
    """A tree in lines. Not rich's: that cuts a line at the width of a terminal that may not be there."""
    yield f"{link.what}  {link.detail}" if link.detail else link.what
    for inner in link.links:
        corner, below = ("└── ", "    ") if inner is link.links[-1] else ("├── ", "│   ")
        first, *rest = _drawn(inner)
        yield corner + first
        yield from (below + line for line in rest)


@click.command()
@click.argument("release")
@as_json
@click.pass_context
def verify(ctx: click.Context, release: str, as_json: bool) -> None:  # noqa: FBT001
    """Check every byte and the signature of RELEASE."""
    from holdfast.release.bundle import verify as check

    workspace = open_from(ctx)
    digest = resolve_release(workspace, release)
    manifest = check(workspace.releases / digest, workspace.trusted)
    if as_json:
        show({"release": digest, "verified": True, "files": manifest.files})
    else:
        note(f"{short(digest)}: {len(manifest.files)} files and the signature are as they were built")


@click.command()
@click.argument("old")
@click.argument("new")
@as_json
@click.pass_context
def diff(ctx: click.Context, old: str, new: str, as_json: bool) -> None:  # noqa: FBT001
    """What changed from release OLD to release NEW."""
    from holdfast.release.bundle import open_release
    from holdfast.release.compare import diff as compare

    workspace = open_from(ctx)
    keys = workspace.trusted
    one, other = (open_release(workspace.releases / resolve_release(workspace, r), keys) for r in (old, new))
    found = compare(one, other)
    if as_json:
        show(found)
        return
    rows = [
        (section, name, before, after) for section, changes in found.items() for name, before, after in _flat(changes)
    ]
    if rows:
        table(("part", "what", short(one.digest), short(other.digest)), rows)
    else:
        note("the same")


def _flat(changes: object) -> list[tuple[str, object, object]]:
    if not isinstance(changes, dict):
        return []
    return [
        (name, *(pair if isinstance(pair, (tuple, [].__class__)) else ("", pair))) for name, pair in changes.items()
    ]
