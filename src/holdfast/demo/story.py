"""The story over HTTP and the command line: exactly what a person would type and send, and nothing else.

Traffic is one sale per request, labels come daily by prediction id, `POST /v1/monitor:run` after each day makes sure that the
day was counted, joined and judged before the next begins (the wall clock of a replay must not change its outcome).
"""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from math import isnan
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from holdfast.core.alarm import Alarm
from holdfast.core.contract import Contract
from holdfast.decide.gates import Comparison
from holdfast.demo.client import Client
from holdfast.demo.commands import Addresses, holdfast, python
from holdfast.demo.play import Answers, Candidate
from holdfast.demo.worlds import Sales, World, date_of, day_start
from holdfast.errors import Conflict
from holdfast.release.bundle import open_release
from holdfast.retrain import TrainingWindow
from holdfast.workspace import HOME, Workspace, open_workspace

__all__ = [
    "REFERENCE",
    "TRAINING",
    "Offline",
    "OverHttp",
    "answered",
    "first_release",
    "labels_of",
    "make_anew",
    "prepare",
    "rows_of",
    "write_files",
]

MARK: Final = "demo.json"
"""Says that a folder is a demo's and may be made anew."""
CONNECTIONS: Final = 4
TRAINING, REFERENCE, MODEL = "training.csv", "reference.csv", "model.skops"


def prepare(folder: Path, world: World, settings: dict[str, Any]) -> None:
    """A workspace with the user's files."""
    make_anew(folder, settings)
    write_files(folder, world)
    holdfast(folder, "init")


def make_anew(folder: Path, settings: dict[str, Any]) -> None:
    """An empty folder; a demo's is made anew, anything else is refused."""
    if folder.exists() and any(folder.iterdir()):
        if not (folder / MARK).is_file():
            raise Conflict("this folder is not a demo workspace", str(folder), "name another: holdfast -w DIR demo")
        if (folder / HOME / "run" / "server.json").exists():
            raise Conflict("a server still runs in this workspace", str(folder), "stop it, or name another: -w DIR")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARK).write_text(json.dumps(settings) + "\n", encoding="utf-8")


def write_files(folder: Path, world: World) -> None:
    """What the user has before Holdfast comes: a script, data, and settings that name them."""
    shutil.copy(Path(__file__).parent / world.script, folder / world.script)
    _write(folder / TRAINING, world, range(world.trained))
    _write(folder / REFERENCE, world, range(world.trained, world.live))
    settings = f'[deployments.{world.name}]\ntrain = "{world.script}:train"\ndata = "{TRAINING}"\n'
    (folder / "holdfast.toml").write_text(settings, encoding="utf-8")


def first_release(folder: Path, world: World) -> str:
    """Train, build and deploy the first model; its release digest."""
    python(folder, world.script, TRAINING, MODEL)
    columns = ["--label", world.label, "--timestamp", world.timestamp, "--key", world.key]
    reference = ["--reference", str(folder / REFERENCE), *columns, "--name", world.name]
    release: str = holdfast(folder, "build", str(folder / MODEL), *reference)["release"]
    holdfast(folder, "deploy", release, "--as", world.name, "--at", date_of(day_start(world.live)))
    return release


class OverHttp:
    """The operator's hands on a running server."""

    def __init__(self, folder: Path, world: World, addresses: Addresses, release: str) -> None:
        self._folder = folder
        self._world = world
        self._inference = Client(addresses.inference, CONNECTIONS)
        self._control = Client(addresses.control)
        self._first = Offline(open_workspace(folder), release)
        self.latency_us: list[int] = []

    def serve(self, sales: Sales) -> Answers:
        """One request per sale."""
        rows = rows_of(sales.table)
        bodies = [msgspec.json.encode({"instances": [row]}) for row in rows]
        replies = self._inference.post_all(f"/v1/models/{self._world.name}:predict", bodies)
        self.latency_us += [reply.took_us for reply in replies]
        return answered(reply.json() for reply in replies)

    def label(self, ids: Sequence[str], values: Sequence[Any], observed: Sequence[int]) -> None:
        """One request per day."""
        self._inference.post(f"/v1/models/{self._world.name}:label", labels_of(ids, values, observed))

    def look(self) -> list[Alarm]:
        """One full pass of the monitors, and the alarms."""
        self._control.post("/v1/monitor:run", {})
        found = self._control.get("/v1/alarms")
        return msgspec.convert(found, list[Alarm])

    def never_retrained(self, sales: Sales) -> NDArray[Any]:
        """The first release, asked directly: no traffic, no log."""
        return self._first.predict(sales.table)

    def retrain(self) -> Candidate:
        """`holdfast retrain`."""
        told = holdfast(self._folder, "retrain", self._world.name)
        window = msgspec.convert(told["window"], TrainingWindow)
        return Candidate.of(told["release"], window, msgspec.convert(told["comparison"], Comparison))

    def rollout(self, release: str, share: float) -> None:
        """`holdfast rollout`."""
        holdfast(self._folder, "rollout", release, "--as", self._world.name, "--share", str(share))

    def promote(self) -> None:
        """`holdfast promote`."""
        holdfast(self._folder, "promote", self._world.name)

    def close(self) -> None:
        """Close the connections."""
        self._inference.close()
        self._control.close()


class Offline:
    """A release opened directly: no traffic, no log."""

    def __init__(self, workspace: Workspace, digest: str) -> None:
        release = open_release(workspace.releases / digest, workspace.trusted)
        self._contract: Contract = release.contract
        self._session = workspace.runtime.load(release.model)

    def predict(self, table: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """Answers to rows as the feed delivers them."""
        said = self._session.run({field.name: table[field.name] for field in self._contract.features})
        if "prediction" in said:
            return said["prediction"]
        classes: NDArray[Any] = np.array(self._contract.output.classes, dtype=object)
        return np.asarray(classes[said["probabilities"].argmax(axis=1)])


def rows_of(table: Mapping[str, NDArray[Any]]) -> list[dict[str, Any]]:
    """Columns as JSON objects: NaN is null, whole numbers are written as such."""
    columns = {name: [_plain(value) for value in values.tolist()] for name, values in table.items()}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _plain(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    if value.is_integer():
        return int(value)
    return None if isnan(value) else value


def answered(told: Iterable[Any]) -> Answers:
    """What the row form of the protocol answered, request by request."""
    rows = [row for one in told for row in one["predictions"]]
    return Answers([row["id"] for row in rows], np.array([row.get("label", row.get("prediction")) for row in rows]))


def labels_of(ids: Sequence[str], values: Sequence[Any], observed: Sequence[int]) -> dict[str, Any]:
    """The body of a request that reports labels."""
    told = zip(ids, values, observed, strict=True)
    return {
        "labels": [
            {"prediction_id": i, "value": value, "observed_at": str(np.datetime64(at, "us")) + "Z"}
            for i, value, at in told
        ]
    }


def _write(path: Path, world: World, days: Iterable[int]) -> None:
    """Days of the world as a CSV file."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        for number, day in enumerate(days):
            sales = world.day(day)
            rows = rows_of({**sales.table, world.label: sales.label})
            if number == 0:
                writer.writerow(rows[0])
            writer.writerows(row.values() for row in rows)
