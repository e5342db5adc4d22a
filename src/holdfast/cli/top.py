"""`status --watch`: the deployments by what they are doing, like `top`."""

from __future__ import annotations

import sys
import time
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NoReturn

from holdfast.core.names import short
from holdfast.status.traffic import look, processes, traffic

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import RenderableType

    from holdfast.status import Overview, Row
    from holdfast.status.traffic import Look, Process, Traffic
    from holdfast.workspace import Workspace

__all__ = ["screen", "watch"]

EVERY_S: Final = 2.0
WIDTH: Final = 140
"""Where nobody looks at it."""
LEFT: Final = ("deployment", "state", "live", "canary")
HEADINGS: Final = ("deployment", "state", "req/s", "rows/s", "errors/s", "odd/s", "p50 ms", "p99 ms", "live", "canary")
"""odd: values outside range or categories."""
NOWHERE: Final = "(no such name)"


def watch(workspace: Workspace, overview: Callable[[], Overview]) -> NoReturn:
    """Draw anew every two seconds until Ctrl-C; where nobody looks at it (a pipe), one after the other."""
    from rich.console import Console
    from rich.live import Live

    terminal = sys.stdout.isatty()
    console = Console(highlight=False, width=None if terminal else WIDTH)
    before = now = look(workspace.run, workspace.log)
    with Live(console=console, screen=True, auto_refresh=False) if terminal else nullcontext() as live:
        while True:
            drawn = screen(before, now, overview())
            if live is not None:
                live.update(drawn, refresh=True)
            else:
                console.print(drawn)
                sys.stdout.flush()
            time.sleep(EVERY_S)
            before, now = now, look(workspace.run, workspace.log)


def screen(before: Look, now: Look, seen: Overview) -> RenderableType:
    """All of it: who serves, at what cost, then the busiest deployment first."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    told = traffic(before, now) if now.at > before.at else {}
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for heading in HEADINGS:
        if heading in LEFT:
            drawn.add_column(heading, no_wrap=True, overflow="ellipsis")
        else:
            drawn.add_column(heading, justify="right", no_wrap=True, min_width=len(heading))
    idle = sorted(seen.deployments, key=lambda row: row.name)
    for row in sorted(idle, key=lambda row: -told[row.name].requests if row.name in told else 0.0):
        cells = (row.name, row.state, *_rates(told.get(row.name)), short(row.live), _canary(row))
        drawn.add_row(*map(Text, cells), style="red" if row.state == "alarm" else None)
    if (lost := told.get("")) is not None and lost.refused:
        drawn.add_row(*map(Text, (NOWHERE, "-", *_rates(lost), "-", "-")))
    at = datetime.fromtimestamp(seen.at / 1e6, UTC).strftime("%H:%M:%S")
    head = [f"{at} UTC  {_where(seen)}", *(_process(one) for one in processes(before, now))]
    if now.full:
        head.append("the disk is full: the prediction log cannot be written")
    return Group(*map(Text, [*head, ""]), drawn)


def _where(seen: Overview) -> str:
    if not seen.server.running:
        return "no server is running"
    many = "" if seen.server.workers == 1 else f" by {seen.server.workers} workers"
    return f"serving at {seen.server.inference}{many}"


def _process(one: Process) -> str:
    cores = "" if one.cores is None else f"  {one.cores:4.0%} of a core"
    return f"{one.name:>4}  pid {one.pid}{cores}" + ("" if one.megabytes is None else f"  {one.megabytes:,.0f} MB")


def _rates(told: Traffic | None) -> tuple[str, ...]:
    if told is None:
        return ("-",) * 6
    rates = (f"{rate:,.0f}" if rate >= 10 or not rate else f"{rate:.1f}" for rate in told[:4])
    return (*rates, *("-" if ms is None else f"{ms:.2f}" for ms in told[4:]))


def _canary(row: Row) -> str:
    return f"{short(row.canary)} {row.canary_share:.0%}" if row.canary else "-"
