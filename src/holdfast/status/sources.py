"""What status reads: the database, releases, the log's folder and the notes that running processes leave.

Nothing here writes, and nothing knows the workspace, which stands above: a door hands the parts in.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from holdfast.decide.publish import workers
from holdfast.serve.counts import alive, books, fleets, read, total
from holdfast.status.values import LogState, Server

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from holdfast.core.contract import Contract
    from holdfast.core.ports import Database, Stores
    from holdfast.core.profile import Profile
    from holdfast.core.release import Manifest
    from holdfast.core.window import Stream, Window

__all__ = ["ReleaseView", "Sources", "answering", "disk_bytes", "log_state", "server"]


class ReleaseView(Protocol):
    """What status needs of an opened release."""

    @property
    def digest(self) -> str:
        """Its name: SHA-256 of the manifest."""
        ...

    @property
    def manifest(self) -> Manifest:
        """What is in it and from what it was made."""
        ...

    @property
    def contract(self) -> Contract:
        """What inputs and outputs must look like."""
        ...

    @property
    def profile(self) -> Profile:
        """The reference."""
        ...


class Sources(NamedTuple):
    """Where status reads from."""

    database: Database
    release: Callable[[str], ReleaseView]
    """By whole digest; raises errors.NotFound."""
    digests: Callable[[], list[str]]
    """All releases of the workspace."""
    log: Path
    run: Path
    per_year: float = 1.0
    """False alarms a year that a deployment may have (`[monitor] false_alarms_per_year`)."""


def answering(stores: Stores, name: str, release: str, stream: Stream) -> list[Window]:
    """Windows of the tracks that answer: a shadow's answers reach nobody."""
    return [w for w in stores.windows.read(name, release, stream) if w.track != "shadow"]


def disk_bytes(folder: Path) -> int:
    """Bytes below a folder; files that vanish while we look count as nothing."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(place, name)).st_size  # noqa: PTH116, PTH118 - os.walk's own strings
            except FileNotFoundError:
                continue
    return total


def server(run: Path) -> Server:
    """Who serves and who keeps, from the notes in the run folder; a note of a dead process counts as nothing."""
    serving, keeping = (
        note if _alive(note) else {} for note in (_note(run / "server.json"), _note(run / "keeper.json"))
    )
    alive = workers(run)
    return Server(
        running=bool(serving),
        workers=len(alive),
        inference=str(serving.get("inference", "")),
        keeping=bool(keeping),
        passed=keeping.get("passed"),
        trouble=str(keeping.get("error", "")),
        lagging=next((report.why for report in alive if report.why), ""),
    )


def log_state(stores: Stores, run: Path) -> LogState:
    """What happened to the log, from the database and the counts of the running processes."""
    pages = (read(path) for folder in fleets(run) for path in books(folder))
    counted = total([page.numbers for page in pages if page is not None])

    def number(family: str) -> int:
        return counted.get((family,), [0])[0]

    return LogState(
        damaged=stores.cursors.get("damaged"),
        unlogged=number("log_unlogged_total"),
        refused=number("log_refused_total"),
        full=number("log_full") > 0,
    )


def _note(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _alive(note: dict[str, Any]) -> bool:
    pid = note.get("pid")
    return isinstance(pid, int) and alive(pid)
