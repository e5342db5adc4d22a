"""score, label: files of rows through the same data plane as HTTP, and files of truths."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from holdfast.cli.terminal import as_json, clock_of, note, open_from, show, sources
from holdfast.errors import InvalidInput, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import numpy as np

    from holdfast.core.prediction import Label
    from holdfast.status import ReleaseView

__all__ = ["label", "score"]

BATCH = 20_000


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--with", "name", required=True, metavar="NAME", help="Deployment.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Parquet for the answers (default: FILE.scored.parquet).",
)
@click.option("--replay", is_flag=True, help="Old data: the clock is the largest event time seen.")
@as_json
@click.pass_context
def score(ctx: click.Context, file: Path, name: str, out: Path | None, replay: bool, as_json: bool) -> None:  # noqa: FBT001
    """Score FILE (Parquet or CSV) with NAME, logged like any traffic; answers stand beside the rows."""
    from holdfast.decide.publish import publish, read_plan
    from holdfast.predictions.log import Writer, encode
    from holdfast.release.bundle import open_release
    from holdfast.serve.clock import Clock
    from holdfast.serve.dataplane import ServeState, predict_table
    from holdfast.serve.plan import load
    from holdfast.serve.records import hash_key

    workspace = open_from(ctx)
    _there(file)
    publish(workspace.database, workspace.run)
    plan = read_plan(workspace.run)
    assert plan is not None
    with workspace.database.begin() as stores:
        stores.deployments.get(name)
    keys = workspace.trusted
    loaded = load(plan, lambda d: open_release(workspace.releases / d, keys), workspace.runtime)
    state = ServeState(clock=Clock(replay=replay), hash_key=hash_key(workspace.keys))
    writer = Writer(workspace.log, "score", segment_bytes=int(workspace.settings.log.segment_mb * (1 << 20)))
    target = out or file.with_suffix(".scored.parquet")
    began, answered, parts = time.perf_counter(), 0, []
    total = workspace.tables.count(file)
    try:
        for rows in _progress(workspace.tables.batches(file, BATCH), total, "score", quiet=as_json):
            try:
                outputs, records = predict_table(rows, name, loaded, state)
            except InvalidInput as bad:
                row = None if bad.row is None else bad.row + answered
                told = f"{answered:,} rows before it are logged" if answered else "nothing was scored"
                raise type(bad)(
                    f"{bad.what} ({told})", f"{file}, row {row}, field '{bad.field}'", bad.next_step
                ) from None
            writer.append([encode(record) for record in records])
            answered += len(outputs["prediction_id"])
            parts.append({**rows, **outputs})
    finally:
        writer.close()
    workspace.tables.write(target, _stacked(parts))
    took = time.perf_counter() - began
    if as_json:
        show({"rows": answered, "out": str(target), "seconds": took})
        return
    note(f"{answered:,} rows answered by '{name}' in {took:.1f} s, written to {target}")
    note(f"  next: holdfast label FILE --for {name}, when the truth is known; holdfast status {name}")


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--for", "name", required=True, metavar="NAME", help="Deployment.")
@click.option("--value", metavar="COL", help="Column with the truth (default: the contract's label).")
@as_json
@click.pass_context
def label(ctx: click.Context, file: Path, name: str, value: str | None, as_json: bool) -> None:  # noqa: FBT001
    """Send the truths in FILE: columns prediction_id (or the contract's key), the label and, if you like, observed_at."""
    from holdfast.predictions.labels import check
    from holdfast.serve.records import hash_key, labels_as_logged
    from holdfast.server.keeper import Keeper

    workspace = open_from(ctx)
    _there(file)
    with workspace.database.begin() as stores:
        live = stores.deployments.get(name).live
    release = sources(workspace).release(live)
    told: dict[str, int] = {}
    total = workspace.tables.count(file)
    clock = clock_of(workspace, name)
    for rows in _progress(workspace.tables.batches(file, BATCH), total, "label", quiet=as_json):
        labels = _labels(rows, release, value, file)
        check(release.contract, labels)
        labels = labels_as_logged(labels, release.contract, hash_key(workspace.keys))
        with workspace.database.begin() as stores:
            for kind, number in stores.labels.add(name, labels, received=time.time_ns() // 1000, clock=clock).items():
                told[kind] = told.get(kind, 0) + number
    Keeper(workspace).catch_up()
    with workspace.database.begin() as stores:
        told |= stores.labels.summary(name)
    if as_json:
        show(told)
        return
    note(f"{told.get('new', 0):,} new, {told.get('corrected', 0):,} corrected, {told.get('same', 0):,} known already")
    if told["waiting"]:
        note(f"{told['waiting']:,} name predictions that are not known; they are kept and joined if these turn up")
    note(f"  next: holdfast status {name}")


def _labels(
    rows: Mapping[str, np.ndarray[Any, Any]], release: ReleaseView, value: str | None, file: Path
) -> list[Label]:
    from holdfast.columns import decode_label
    from holdfast.columns.names import key_text
    from holdfast.columns.times import from_datetimes, from_text, time_zone
    from holdfast.core.prediction import Label

    contract = release.contract
    column = value or contract.output.label
    by = "prediction_id" if "prediction_id" in rows else contract.key.name if contract.key else "prediction_id"
    for needed in (column, by):
        if needed not in rows:
            raise UsageError(f"no column '{needed}'", str(file), f"it has: {', '.join(rows)[:200]}")
    known: list[int | None] = [None] * len(rows[by])
    if "observed_at" in rows:
        zone, times = time_zone(contract.timezone), rows["observed_at"]
        dated = times.dtype.kind == "M"
        known = (from_datetimes(times, zone) if dated else from_text(times.tolist(), zone, "observed_at")).tolist()
    found = []
    for row, (name, truth, at) in enumerate(zip(rows[by].tolist(), rows[column].tolist(), known, strict=True)):
        if truth is None or truth != truth:  # noqa: PLR0124 - NaN: not known yet
            continue
        try:
            decoded = decode_label(contract.output, truth)
        except InvalidInput as bad:
            raise InvalidInput(bad.what, f"{file}, row {row}, column '{column}'", bad.next_step) from None
        text = key_text(name)
        found.append(
            Label(value=decoded, prediction_id=text, observed_at=at)
            if by == "prediction_id"
            else Label(value=decoded, key=text, observed_at=at)
        )
    return found


def _there(file: Path) -> None:
    if not file.is_file():
        raise UsageError(f"there is no file {file}", next_step="check the path")


def _stacked(parts: list[dict[str, Any]]) -> dict[str, Any]:
    import numpy as np

    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} if parts else {}


def _progress(
    batches: Iterable[Mapping[str, Any]], total: int, what: str, *, quiet: bool
) -> Iterator[Mapping[str, Any]]:
    """The batches, with a bar of rows on a terminal."""
    if quiet or not sys.stderr.isatty():
        yield from batches
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        for rows in batches:
            yield rows
            bar.advance(task, len(next(iter(rows.values()))))
