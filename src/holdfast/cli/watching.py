"""monitor, alarms, status: what is where since when, and is anything wrong?"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from holdfast.cli.terminal import as_json, clock_of, day, note, open_from, out, show, sources, table, when
from holdfast.core.names import short

if TYPE_CHECKING:
    from holdfast.core.alarm import Alarm
    from holdfast.status import Row
    from holdfast.status.values import LogState

__all__ = ["alarms", "monitor", "status"]


@click.command()
@click.option("--once", is_flag=True, help="One look, then stop (for cron); without it, look until Ctrl-C.")
@as_json
@click.pass_context
def monitor(ctx: click.Context, once: bool, as_json: bool) -> None:  # noqa: FBT001
    """Count the log, join labels, judge windows; a running server does this by itself."""
    from holdfast.server.keeper import Keeper

    workspace = open_from(ctx)
    keeper = Keeper(workspace)
    while True:
        done = keeper.catch_up()
        if as_json:
            show(done)
        elif once:
            joined = sum(j.joined for j in done.joined.values())
            note(f"counted {done.counted.rows} predictions, joined {joined} labels, {len(done.alarms)} alarms changed")
            note("  next: holdfast status")
        if once:
            return
        time.sleep(workspace.settings.monitor.interval_s)


@click.command()
@click.argument("alarm_id", required=False)
@click.option("--open", "only_open", is_flag=True, help="Only open ones.")
@click.option("--accept", is_flag=True, help="Say that what ALARM_ID saw is the new normal.")
@as_json
@click.pass_context
def alarms(ctx: click.Context, alarm_id: str | None, only_open: bool, accept: bool, as_json: bool) -> None:  # noqa: FBT001
    """List alarms; with ALARM_ID explain one, or --accept it."""
    workspace = open_from(ctx)
    if alarm_id is None:
        if accept:
            raise click.UsageError("--accept needs an ALARM_ID")
        with workspace.database.begin() as stores:
            found = stores.alarms.find(only_open=only_open)
        if as_json:
            show({"alarms": found})
        elif not found:
            note("no alarms")
        else:
            rows = [(a.id, "open" if a.open else a.closing, day(a.opened), a.sentence) for a in found]
            table(("alarm", "state", "opened", "what"), rows)
            note("  next: holdfast alarms ALARM explains one")
        return
    with workspace.database.begin() as stores:
        alarm = stores.alarms.get(alarm_id)
    if accept:
        from holdfast.monitor.life import accept as accept_alarm

        profile = sources(workspace).release(alarm.release).profile
        per_year = workspace.settings.monitor.false_alarms_per_year
        alarm = accept_alarm(
            workspace.database, profile, alarm_id, clock_of(workspace, alarm.deployment), per_year=per_year
        )
    if as_json:
        show(alarm)
    else:
        _explain(alarm)


def _explain(alarm: Alarm) -> None:
    state = "open" if alarm.open else f"closed {when(alarm.closed)} ({alarm.closing})"
    between = f"{when(alarm.onset)} (between {when(alarm.onset_low)} and {when(alarm.onset_high)})"
    for name, value in (
        ("alarm", f"{alarm.id}, {state}"),
        ("what", alarm.sentence),
        ("opened", when(alarm.opened)),
        ("began", between if alarm.onset is not None else "not dated yet"),
        ("shape", alarm.shape if alarm.shape != "unknown" else "not yet known"),
        ("cause", alarm.cause),
        ("monitors", ", ".join(alarm.monitors)),
        ("evidence", f"{alarm.evidence:.3g} times what an alarm needs"),
        ("rate", alarm.threshold),
        ("release", short(alarm.release)),
    ):
        out().print(f"[bold]{name:>9}[/bold]  {value}")
    if alarm.open and alarm.action:
        note(f"  next: {alarm.action}")
        note(f"        or, if this is the new normal: holdfast alarms {alarm.id} --accept")


@click.command()
@click.argument("name", required=False)
@click.option(
    "--watch", is_flag=True, help="Again every two seconds until Ctrl-C, with requests, rows and latency now."
)
@as_json
@click.pass_context
def status(ctx: click.Context, name: str | None, watch: bool, as_json: bool) -> None:  # noqa: FBT001
    """Every deployment in a line; with NAME, more about one."""
    from holdfast.status import overview, story

    workspace = open_from(ctx)
    read = sources(workspace)
    if watch and name is None and not as_json:
        from holdfast.cli.top import watch as watch_all

        watch_all(workspace, lambda: overview(read, time.time_ns() // 1000))
    while True:
        now = time.time_ns() // 1000
        if name is not None and as_json:
            show(story(read, name, now))
        elif name is not None:
            _one(story(read, name, now).row)
        else:
            seen = overview(read, now)
            if as_json:
                show(seen)
            else:
                where = f"serving at {seen.server.inference}" if seen.server.running else "no server is running"
                _many(seen.deployments, where)
                if seen.server.lagging:
                    note(f"the newest plan is not in force, the one before it answers: {seen.server.lagging}")
                _log(seen.log)
        if not watch:
            return
        time.sleep(2.0)
        out().clear()


def _many(rows: tuple[Row, ...], where: str) -> None:
    if not rows:
        note(f"nothing is deployed; {where}")
        note("  next: holdfast deploy RELEASE --as NAME")
        return
    table(
        ("deployment", "state", "live", "since", "canary", "rows", "labels", "error"),
        [
            (
                r.name,
                r.state,
                short(r.live),
                day(r.since),
                f"{r.canary_share:.0%}" if r.canary else "-",
                f"{r.rows:,}",
                "-" if r.labels.coverage is None else f"{r.labels.coverage:.0%}",
                _error(r),
            )
            for r in rows
        ],
    )
    for row in rows:
        if row.state != "ok":
            out().print(f"{row.name} is '{row.state}': {row.reason}", markup=False)
        if row.advice:
            out().print(f"{row.name}: {row.advice}", markup=False)
    note(where)


def _log(log: LogState) -> None:
    """Only what is wrong with it."""
    if log.full:
        note("the disk is full: the prediction log cannot be written")
    for number, what in (
        (log.unlogged, "requests were answered and not logged, since the disk was full"),
        (log.refused, "requests were refused, since they could not be logged"),
        (log.damaged, "torn or damaged stretches of the log were passed over; a killed process leaves one"),
    ):
        if number:
            note(f"{number:,} {what}")


def _error(row: Row) -> str:
    p = row.performance
    return f"{p.metric} {p.value:.4g} [{p.low:.4g}, {p.high:.4g}]" if p else "-"


def _one(row: Row) -> None:
    promised = ""
    if row.performance and row.performance.reference is not None:
        promised = f", {row.performance.reference:.4g} promised at build: {row.performance.verdict}"
    for name, value in (
        ("name", row.name),
        ("state", f"{row.state}: {row.reason}"),
        ("live", f"{short(row.live)} since {when(row.since)} ({row.model})"),
        ("canary", f"{short(row.canary)}, {row.canary_share:.0%} of the keys" if row.canary else "none"),
        ("rows", f"{row.rows:,} answered, {row.refused:,} refused, last at {when(row.last_prediction)}"),
        ("error", _error(row) + promised + (f" (n = {row.performance.n:,})" if row.performance else "")),
        ("labels", f"{row.labels.received:,} received, {row.labels.joined:,} joined, {row.labels.waiting:,} waiting"),
        ("latency", f"{row.latency.mean_ms:.2f} ms on average" if row.latency else "-"),
        (
            "monitor",
            f"{'running' if row.monitoring.running else 'not running'}, looked until {when(row.monitoring.looked_until)}",
        ),
        ("rate", row.monitoring.rate),
        ("disk", f"{row.disk_bytes / 1e6:.1f} MB of log"),
    ):
        out().print(f"[bold]{name:>8}[/bold]  {value}")
    if row.advice:
        out().print(f"[bold]{'waiting':>8}[/bold]  {row.advice}")
    for alarm in row.alarms:
        out().print(f"[bold red]{'alarm':>8}[/bold red]  {alarm.id}: {alarm.sentence}")
        if alarm.action:
            note(f"  next: {alarm.action}")
