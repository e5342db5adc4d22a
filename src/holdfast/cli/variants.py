"""variants, capacity: what a search for the best form of a model found, and what a load takes of it; options of `build`."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from holdfast.cli.terminal import as_json, note, open_from, out, resolve_release, show, table
from holdfast.core.names import short
from holdfast.errors import NotFound, ObjectivesUnmet, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from holdfast.build.optimise.search import Report
    from holdfast.build.optimise.wish import Wish
    from holdfast.core.variant import Measured
    from holdfast.workspace import Workspace

__all__ = ["asked", "capacity", "report_of", "tell", "unmet", "variants", "wishes"]

OBJECTIVES = ("p99_ms", "qps", "max_quality_loss", "max_mb")


def wishes(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of `build` that say what the released variant must do."""
    options = [
        click.option("--optimise", is_flag=True, help="Search for the cheapest variant that meets the objectives."),
        click.option("--rows", type=click.IntRange(1), default=1, show_default=True, help="Rows of a typical request."),
        click.option("--p99-ms", type=float, help="Objective: a run takes no longer, 99 times of 100."),
        click.option("--qps", type=float, help="Objective: requests a second of one serving process."),
        click.option(
            "--max-quality-loss", type=float, help="Objective: accuracy lost at most, or share of mean error."
        ),
        click.option("--max-mb", type=float, help="Objective: size of the model's file in MiB."),
        click.option("--variant", default="", help="One variant by name, such as int8 or pruned-25+int8@2; no search."),
        click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), help="Draw what was found (SVG)."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def asked(given: Mapping[str, Any]) -> Wish | None:
    """What these options wish for."""
    from holdfast.build.optimise.wish import Wish
    from holdfast.core.variant import Objectives, Recipe

    named = [name for name in OBJECTIVES if given[name] is not None]
    if given["variant"]:
        if given["optimise"] or named:
            raise UsageError("a variant is either named or searched for", "--variant", "leave one of the two out")
        return Wish(recipe=Recipe.read(given["variant"]))
    if named and not given["optimise"]:
        raise UsageError("objectives are for a search", f"--{named[0].replace('_', '-')}", "add --optimise")
    if not given["optimise"]:
        return None
    return Wish(objectives=Objectives(rows=given["rows"], **{name: given[name] for name in named}))


def tell(report: Report, plot: Path | None = None) -> None:
    """The table of variants, and the picture if wanted."""
    chosen, front = report.choice.chosen, set(report.choice.front)
    table(
        ("variant", "", "MiB", "p50 ms", "p99 ms", "rows/s", "memory MiB", "quality", "lost, 95 %", "changed"),
        [(one.name, _mark(one.name, chosen, front), *_cells(one)) for one in report.variants],
    )
    for one in report.variants:
        if one.name == chosen and one.groups:
            table(
                ("group", "rows", "lost, 95 %"),
                [(name, loss.rows, _interval(loss.value, loss.low, loss.high)) for name, loss in one.groups.items()],
            )
    for why in dict.fromkeys(report.left_out.values()):
        names = [name for name, reason in report.left_out.items() if reason == why]
        note(f"  left out: {', '.join(names)}: {why}")
    where = report.machine
    note(f"  * no other is better in size, time, cost and quality at once; judged on {report.rows:,} reference rows")
    note(
        f"  measured on {where['processor']}, {where['processors']} processors, {report.objectives.rows} rows a request"
    )
    note(f"  {chosen or 'nothing chosen'}: {report.choice.why}")
    if plot is not None:
        _draw(report, plot)


def _draw(report: Report, plot: Path) -> None:
    from holdfast.figures import Candidate, Html, element, picture, stylesheet

    front = set(report.choice.front)
    drawn = [
        Candidate(
            one.name,
            one.p99_ms,
            one.loss.value,
            one.loss.low,
            one.loss.high,
            one.mb,
            one.name in front,
            one.name == report.choice.chosen,
        )
        for one in report.variants
    ]
    style = element("style", {}, Html(stylesheet()))
    image = picture("variants", "Variants: time against quality", drawn, style)
    plot.write_text(image + "\n", encoding="utf-8")


def _mark(name: str, chosen: str, front: set[str]) -> str:
    return "chosen" if name == chosen else "*" if name in front else ""


def _cells(one: Measured) -> tuple[str, ...]:
    return (
        f"{one.mb:.3f}",
        f"{one.p50_ms:.3g}",
        f"{one.p99_ms:.3g}",
        f"{max(one.batches.values()):,.0f}",
        f"{one.memory_mb:.0f}",
        "-" if one.quality is None else f"{one.quality:.4f}",
        "exact" if one.exact else _interval(one.loss.value, one.loss.low, one.loss.high),
        str(one.flips),
    )


def _interval(value: float, low: float, high: float) -> str:
    return f"{value:+.4f} [{low:+.4f}, {high:+.4f}]"


@contextmanager
def unmet(plot: Path | None, *, quiet: bool) -> Iterator[None]:
    """Objectives that cannot be met: what was measured is told before the error is."""
    try:
        yield
    except ObjectivesUnmet as bad:
        if not quiet:
            tell(cast("Report", bad.report), plot)
        raise


def report_of(workspace: Workspace, release: str) -> tuple[str, Report]:
    """The newest signed report about a release, and its digest."""
    import msgspec

    from holdfast.build.optimise.search import Report
    from holdfast.build.optimise.wish import PREDICATE
    from holdfast.release.bundle import open_release, statements
    from holdfast.release.trust import trusted_keys

    keys = trusted_keys(workspace.keys)
    found = open_release(workspace.releases / resolve_release(workspace, release), keys)
    told = [
        msgspec.convert(one.predicate, Report)
        for one in statements(found.path, keys)
        if one.predicate_type == PREDICATE
    ]
    if not told:
        raise NotFound(
            f"nothing was measured of {short(found.digest)}", "", "build it with --optimise, on the machine to plan for"
        )
    return found.digest, max(told, key=lambda report: report.measured)


@click.command()
@click.argument("release")
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), help="Draw it (SVG).")
@as_json
@click.pass_context
def variants(ctx: click.Context, release: str, plot: Path | None, as_json: bool) -> None:  # noqa: FBT001
    """Show which variants of RELEASE were measured when it was built, and why this one was chosen."""
    digest, report = report_of(open_from(ctx), release)
    if as_json:
        show({"release": digest, "report": report})
    else:
        tell(report)
    if plot is not None:
        _draw(report, plot)


@click.command()
@click.argument("release")
@click.option("--rps", type=float, required=True, help="Requests a second, at the busiest.")
@click.option("--p99-ms", type=float, required=True, help="99 of 100 are answered within so many milliseconds.")
@click.option("--headroom", type=float, default=0.3, show_default=True, help="Share of each processor that stays idle.")
@click.option(
    "--processes", type=click.IntRange(1), default=1, show_default=True, help="Serving processes of a replica."
)
@click.option("--price", type=float, default=0.0, help="Of one processor for an hour, in any currency.")
@click.option(
    "--overhead-ms", type=float, default=0.15, show_default=True, help="What a request takes beside the model."
)
@as_json
@click.pass_context
def capacity(ctx: click.Context, /, release: str, as_json: bool, **given: Any) -> None:  # noqa: FBT001
    """Plan replicas and processors of RELEASE for a load, from what was measured when it was built; sign the plan beside it."""
    import msgspec

    from holdfast.core.capacity import Load, plan
    from holdfast.release.bundle import attest
    from holdfast.release.trust import signer

    workspace = open_from(ctx)
    digest, report = report_of(workspace, release)
    one = next(one for one in report.variants if one.name == report.choice.chosen)
    load = Load(**given)
    found = plan(
        load, p50_ms=one.p50_ms, p99_ms=one.p99_ms, mean_ms=one.mean_ms, rows=one.rows, threads=one.recipe.threads
    )
    told = {"load": load, "plan": found, "variant": one.name, "rows": one.rows, "machine": report.machine}
    attest(workspace.releases / digest, "urn:holdfast:capacity", msgspec.to_builtins(told), signer(workspace.keys))
    if as_json:
        show({"release": digest, **told})
        return
    out().print(
        f"[bold]{found.replicas} replicas[/bold], {found.processes} serving processes, {found.cores} processors"
    )
    table(
        ("what", "value"),
        [
            ("expected p99", f"{found.p99_ms:.3g} ms, of {load.p99_ms:g}"),
            ("busy", f"{found.utilisation:.0%} of each process, limited by {found.limited_by}"),
            ("most that they carry", f"{found.most_rps:,.0f} requests/s"),
            (
                "a million predictions",
                "-" if found.per_million is None else f"{found.per_million:.4g} (at {load.price:g} an hour)",
            ),
        ],
    )
    note(f"  {one.name}, {one.rows} rows a request, measured on {report.machine['processor']}")
