"""audit, card, export, import: what a release is made of, what is said of it, and how it travels."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from holdfast.cli.terminal import as_json, note, open_from, out, resolve_release, show, table
from holdfast.core.names import short

__all__ = ["audit", "card", "export", "import_"]


@click.command()
@click.argument("release")
@click.option(
    "--osv",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder with an OSV snapshot: the PyPI all.zip of osv.dev, or JSON records.",
)
@click.option(
    "--max-age-days", type=int, default=30, show_default=True, help="An older snapshot says nothing for sure."
)
@click.option("--server", is_flag=True, help="Look up the packages that are installed here, too.")
@as_json
@click.pass_context
def audit(
    ctx: click.Context,
    release: str,
    osv: Path | None,
    max_age_days: int,
    server: bool,  # noqa: FBT001
    as_json: bool,  # noqa: FBT001
) -> None:
    """Look up known vulnerabilities of what RELEASE was made with, and attest what was found.

    The verdict is affected, none known, or unknown; exit 3 unless it is "none known".
    """
    from holdfast.release.bundle import attest, open_release
    from holdfast.release.trust import signer
    from holdfast.release.vulnerabilities import VULNERABILITIES, judge, materials, read_snapshot

    workspace = open_from(ctx)
    found = open_release(workspace.releases / resolve_release(workspace, release), workspace.trusted)
    wanted = materials(found, _installed() if server else ())
    told = judge(wanted, read_snapshot(osv) if osv else None, datetime.now(UTC), max_age_days)
    attest(found.path, VULNERABILITIES, told, signer(workspace.keys))
    if as_json:
        show({"release": found.digest} | told)
    else:
        _tell(told)
    if told["verdict"] != "none known":
        ctx.exit(3)


def _installed() -> list[tuple[str, str]]:
    from importlib.metadata import distributions

    return [(found.metadata["Name"], found.version) for found in distributions() if found.metadata["Name"]]


def _tell(told: dict[str, Any]) -> None:
    if told["findings"]:
        rows = [
            (
                one["package"],
                one["version"],
                one["role"],
                one["id"],
                ", ".join(one["fixed"]) or "-",
                one["summary"] or "-",
            )
            for one in told["findings"]
        ]
        table(("package", "version", "for", "record", "fixed in", "what"), rows)
    note(told["sentence"])
    if told["doubts"] and not told["findings"]:
        note("  next: holdfast audit RELEASE --osv FOLDER, with a recent all.zip of osv.dev in it")


@click.command()
@click.argument("release")
@click.option("--html", is_flag=True, help="As one page that needs nothing else.")
@click.option("--to", type=click.Path(path_type=Path, dir_okay=False), help="Write it to this file.")
@click.pass_context
def card(ctx: click.Context, release: str, html: bool, to: Path | None) -> None:  # noqa: FBT001
    """The model card of RELEASE, with the audits, measurements and decisions that came later (Markdown)."""
    from holdfast.release.bundle import open_release, signed
    from holdfast.release.card import card_page, living_card

    workspace = open_from(ctx)
    keys = workspace.trusted
    found = open_release(workspace.releases / resolve_release(workspace, release), keys)
    with workspace.database.begin() as stores:
        events = stores.trail.read()
    text = living_card(found, signed(found.path, keys), keys, events)
    if html:
        text = card_page(text, found.manifest.name)
    if to is None:
        out().print(text, markup=False, end="", soft_wrap=True)
    else:
        to.write_text(text, encoding="utf-8")
        note(f"{to}: the card of {short(found.digest)}")


@click.command()
@click.argument("release")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@as_json
@click.pass_context
def export(ctx: click.Context, release: str, file: Path, as_json: bool) -> None:  # noqa: FBT001
    """Write RELEASE, verified, to FILE (.tar.gz, .tar or .zip), to be taken in elsewhere with `holdfast import`."""
    from holdfast.release.archive import export as write

    workspace = open_from(ctx)
    digest = resolve_release(workspace, release)
    write(workspace.releases / digest, file, workspace.trusted)
    if as_json:
        show({"release": digest, "file": str(file), "bytes": file.stat().st_size})
    else:
        note(f"{file}: {short(digest)}, {file.stat().st_size:,} bytes\n  next: holdfast import {file.name}, elsewhere")


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@as_json
@click.pass_context
def import_(ctx: click.Context, file: Path, as_json: bool) -> None:  # noqa: FBT001
    """Take in a release that was exported elsewhere, if a trusted key signed it."""
    import getpass

    from holdfast.release.archive import take_in
    from holdfast.release.bundle import read

    workspace = open_from(ctx)
    digest = take_in(file, workspace.releases, workspace.trusted)
    with workspace.database.begin() as stores:
        now = time.time_ns() // 1000
        stores.trail.append("import", at=now, actor=getpass.getuser(), release=digest, data={"file": file.name})
    name = read(workspace.releases / digest).manifest.name
    if as_json:
        show({"release": digest, "name": name})
    else:
        note(f"{short(digest)} ({name}) is here, signed and whole\n  next: holdfast deploy {short(digest)} --as {name}")
