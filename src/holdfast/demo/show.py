"""`holdfast demo`: plays a story, tells it as it happens, and ends with the mark sheet and the console.

On a terminal there are progress bars, and at the end the console is served until Ctrl-C. Elsewhere there are plain lines, the
command that opens the console again, and exit code 0; with `--json` the lines go to stderr and stdout gets one document.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from holdfast.core.names import short
from holdfast.demo.commands import Addresses, holdfast, interruptible, serving
from holdfast.demo.digits import Digits
from holdfast.demo.fremont import play_fremont, table_of
from holdfast.demo.play import Played, mark_played, play
from holdfast.demo.scoreboard import Scoreboard
from holdfast.demo.story import OverHttp, first_release, make_anew, prepare
from holdfast.demo.worlds import Houses, World, date_of, day_start
from holdfast.errors import UsageError
from holdfast.workspace import open_workspace

__all__ = ["run"]

YEAR = 365.25


def run(
    workspace: Path,
    *,
    seed: int = 0,
    world: str = "changing",
    story: str = "houses",
    data: Path | None = None,
    as_json: bool = False,
) -> int:
    """Play a story in a workspace folder of its own; the exit code."""
    if story == "fremont":
        with interruptible():
            return _bridge(workspace.resolve(), data, _Voice(as_json=as_json))
    town = _world(story, seed, data, quiet=world == "quiet")
    with interruptible():
        return _play(workspace.resolve(), town, {"story": story, "seed": seed, "world": world}, _Voice(as_json=as_json))


def _bridge(folder: Path, data: Path | None, voice: _Voice) -> int:
    """The real stream has no known truth: what was said stands beside the error as it was."""
    asked = {"story": "fremont", "data": str(data)}
    make_anew(folder, asked)
    with voice.working("playing a year and a half of the Fremont Bridge"):
        found = play_fremont(folder, data, voice.say)
    if voice.as_json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(asked | found)).decode() + "\n")
        return 0
    for start, error, opened in table_of(found):
        voice.say(f"quarter from {start}  error {error:<28} {opened}")
    voice.say(f"console: holdfast --workspace {folder} console")
    return 0


def _play(folder: Path, world: World, asked: dict[str, Any], voice: _Voice) -> int:
    began = time.perf_counter()
    prepare(folder, world, asked)
    with voice.working("training the first model, building its release"):
        release = first_release(folder, world)
    voice.say(f"{world.live - world.trained} days of reference; release {short(release)} is built, signed and deployed")
    with serving(folder) as addresses:
        voice.say(f"serving at {addresses.inference}, console {addresses.control}")
        hands = OverHttp(folder, world, addresses, release)
        try:
            with voice.days(world.live) as each_day:
                played = play(world, hands, voice.tell, each_day)
        finally:
            hands.close()
        document = asked | _document(folder, world, played, hands.latency_us)
        document["took_s"] = round(time.perf_counter() - began, 1)
        if voice.as_json:
            sys.stdout.write(msgspec.json.format(msgspec.json.encode(document)).decode() + "\n")
            return 0
        voice.mark_sheet(document)
        return _console(voice, folder, world, addresses)


def _world(story: str, seed: int, data: Path | None, *, quiet: bool) -> World:
    worlds: dict[str, Callable[[int, bool], World]] = {"houses": Houses, "digits": Digits}
    if story not in worlds:
        raise UsageError(f"there is no story '{story}'", "--story", f"choose {' or '.join(worlds)}")
    if data is not None:
        raise UsageError(f"the story '{story}' makes its own data", "--data", "leave --data out")
    return worlds[story](seed, quiet)


def _document(folder: Path, world: World, played: Played, latency_us: list[int]) -> dict[str, Any]:
    """Everything that the story ends with."""
    p50, p99 = np.percentile(latency_us, (50, 99)) / 1e3
    return {
        "scoreboard": msgspec.to_builtins(mark_played(open_workspace(folder).database, world, played)),
        "errors": played.errors.report(played.promotes),
        "promotes": [date_of(day_start(p.day)) for p in played.promotes],
        "days": played.last + 1 - played.first,
        "requests": len(latency_us),
        "latency_ms": {"p50": round(float(p50), 3), "p99": round(float(p99), 3)},
        "status": holdfast(folder, "status", world.name)["row"],
        "reopen": f"holdfast --workspace {folder} console",
    }


def _console(voice: _Voice, folder: Path, world: World, addresses: Addresses) -> int:
    """On a terminal: leave the console open until Ctrl-C. Elsewhere: say how to open it again."""
    if not voice.terminal:
        port = open_workspace(folder).settings.serve.control_port
        voice.say(
            f"console: http://127.0.0.1:{port}/deployments/{world.name} after: holdfast --workspace {folder} console"
        )
        return 0
    voice.say(f"console: {addresses.control}/deployments/{world.name}   (Ctrl-C ends it)")
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        voice.say(f"again: holdfast --workspace {folder} console")
        return 0


class _Voice:
    """Tells the story to a terminal, or as plain lines."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self.terminal = sys.stdout.isatty() and not as_json
        self._out = Console(stderr=as_json, highlight=False, soft_wrap=True, width=None if self.terminal else 140)

    def say(self, text: str) -> None:
        """A line."""
        self._out.print(text, markup=False)

    def tell(self, day: int, text: str) -> None:
        """A line of the story."""
        style = "bold red" if text.startswith("ALARM") else "bold green" if text.startswith("promoted") else None
        self._out.print(f"{date_of(day_start(day))}  {text}", markup=False, style=style)

    @contextmanager
    def working(self, what: str) -> Iterator[None]:
        """Something that takes a while."""
        if not self.terminal:
            self.say(f"{what} ...")
            yield
            return
        with self._out.status(what):
            yield

    @contextmanager
    def days(self, first: int) -> Iterator[Any]:
        """A bar of days; the callback takes day and expected last day."""
        if not self.terminal:
            yield lambda _day, _last: None
            return
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self._out, transient=True) as progress:
            task = progress.add_task("days")

            def each_day(day: int, last: int) -> None:
                progress.update(
                    task, completed=day + 1 - first, total=last + 1 - first, description=date_of(day_start(day))
                )

            yield each_day

    def mark_sheet(self, document: dict[str, Any]) -> None:
        """Truth against what Holdfast said, errors, speed."""
        board = msgspec.convert(document["scoreboard"], Scoreboard)
        table = Table(
            "change",
            "began",
            "found",
            "delay (net of labels)",
            "dated between",
            "shape",
            "cause",
            title="Truth against what Holdfast said",
            title_justify="left",
        )
        for c in board.changes:
            table.add_row(
                c.name,
                c.onset,
                c.alarm or "NO",
                f"{c.delay_days:.0f} days ({c.delay_net_of_label_lag_days:.0f})" if c.found else "",
                f"{' to '.join(c.interval)} {_tick(c.covers)}" if c.interval else "",
                f"{c.shape} {_tick(c.shape_right)}" if c.found else c.true_shape,
                f"{c.cause} {_tick(c.cause_right)}" if c.found else c.true_cause,
            )
        if board.changes:
            self._out.print(table)
        self.say(
            f"false alarms: {board.false_alarms} in {board.quiet_days} quiet days with a stated rate "
            f"(stated: at most {board.quiet_days / YEAR:.1f} on average)"
        )
        errors = document["errors"]
        table = Table("from", "until", "with Holdfast", "never retrained", title=errors["metric"], title_justify="left")
        for part in (*errors["by_release"], {"from": "overall", "until": "", **errors["overall"]}):
            table.add_row(part["from"], part["until"], f"{part['with_holdfast']:.4f}", f"{part['never_retrained']:.4f}")
        self._out.print(table)
        speed = "p50 {p50:.2f} ms, p99 {p99:.2f} ms".format_map(document["latency_ms"])
        self.say(f"{document['requests']:,} requests over HTTP; {speed}; all in {document['took_s']:.0f} s")


def _tick(right: bool) -> str:  # noqa: FBT001 - a cell of a table
    return "(right)" if right else "(WRONG)"
