"""The story without processes and sockets, for many seeds: the same world, the same operator, the same parts of Holdfast.

A day's rows go through the data plane as one request instead of many, and its record into the log; the keeper's pass counts,
joins and judges as in a server; releases are built, deployed and retrained by the functions behind the commands.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from numpy.typing import NDArray

from holdfast.build.pipeline import build, data_of_file
from holdfast.build.translate import Marks
from holdfast.core.alarm import Alarm
from holdfast.core.contract import Contract
from holdfast.decide import actions
from holdfast.decide.publish import read_plan
from holdfast.demo.play import Answers, Candidate, Played, mark_played, play
from holdfast.demo.scoreboard import Scoreboard
from holdfast.demo.story import REFERENCE, TRAINING, Offline, answered, labels_of, rows_of, write_files
from holdfast.demo.worlds import Sales, World, day_start
from holdfast.errors import ServeError
from holdfast.predictions.log import Writer, encode
from holdfast.release.bundle import open_release
from holdfast.retrain import load_train, retrain
from holdfast.serve import dataplane
from holdfast.serve.clock import Clock
from holdfast.serve.codecs import ROWS
from holdfast.serve.plan import NOTHING, load
from holdfast.server.intake import Intake
from holdfast.server.keeper import Keeper
from holdfast.workspace import Workspace, create_workspace

__all__ = ["InProcess", "whole_story"]


class InProcess:
    """The operator's hands on a workspace, by function calls."""

    def __init__(self, workspace: Workspace, world: World) -> None:
        self._workspace = workspace
        self._world = world
        self._train = load_train(workspace.settings.deployment(world.name).train, workspace.folder)
        self._trusted = workspace.trusted
        self._clock = Clock(replay=True)
        self._state = dataplane.ServeState(clock=self._clock)
        self._writer = Writer(workspace.log, "w0", segment_bytes=1 << 24)
        self._plan = NOTHING
        self._intake = Intake(self._contract, self._clock.at, max_rows=100_000, hash_key=self._state.hash_key)
        self._keeper = Keeper(workspace)
        self._first = Offline(workspace, self._build_first())

    def serve(self, sales: Sales) -> Answers:
        """All rows of the day in one request or, beside a canary, each in its own."""
        rows = rows_of(sales.table)
        alone = self._plan.deployment(self._world.name).canary is not None  # whoever answers, answers a whole request
        requests = [[row] for row in rows] if alone else [rows]
        return answered([self._predict(request) for request in requests])

    def label(self, ids: Sequence[str], values: Sequence[Any], observed: Sequence[int]) -> None:
        """As the inference port takes them."""
        labels = msgspec.json.encode(labels_of(ids, values, observed))
        self._writer.append([frame.data for frame in self._intake(self._world.name, labels)[2]])

    def look(self) -> list[Alarm]:
        """One pass of the keeper."""
        self._keeper.catch_up()
        with self._workspace.database.begin() as stores:
            return stores.alarms.find(self._world.name)

    def never_retrained(self, sales: Sales) -> NDArray[Any]:
        """The first release's answers."""
        return self._first.predict(sales.table)

    def retrain(self) -> Candidate:
        """The function behind `holdfast retrain`."""
        name = self._world.name
        original = self._workspace.folder / TRAINING
        done = retrain(self._workspace.retrain_parts, name, self._train, original=original)
        return Candidate.of(done.release, done.window, done.comparison)

    def rollout(self, release: str, share: float) -> None:
        """A canary."""
        actions.start_canary(self._workspace.database, self._actor(), self._world.name, release, share)
        self._follow()

    def promote(self) -> None:
        """The canary goes live."""
        actions.promote(self._workspace.database, self._actor(), self._world.name)
        self._follow()

    def close(self) -> None:
        """Close the log."""
        self._writer.close()

    def _predict(self, rows: Sequence[dict[str, Any]]) -> Any:
        body = msgspec.json.encode({"instances": rows})
        answer = dataplane.predict(body, ROWS, self._world.name, None, {}, self._plan, self._state)
        if answer.status != 200 or answer.record is None:
            raise ServeError("the data plane refused a row", answer.body.decode())
        self._writer.append([encode(answer.record)])
        return msgspec.json.decode(answer.body)

    def _build_first(self) -> str:
        """Train, build and deploy the first release."""
        workspace, world = self._workspace, self._world
        import pandas as pd

        model = self._train(pd.read_csv(workspace.folder / TRAINING), None)
        marks = Marks(label=world.label, timestamp=world.timestamp, key=world.key)
        data = data_of_file(workspace.tables, workspace.folder / REFERENCE)
        release = build(workspace.build_parts, model, data, marks=marks, name=world.name)
        actions.deploy(workspace.database, self._actor(), world.name, release.digest)
        self._follow()
        return release.digest

    def _contract(self, name: str) -> Contract:
        return self._plan.contract(name)

    def _actor(self) -> actions.Actor:
        now = self._clock.at(self._world.name, day_start(self._world.live))
        return actions.Actor("operator", now, self._workspace.run)

    def _follow(self) -> None:
        plan = read_plan(self._workspace.run)
        assert plan is not None
        releases = self._workspace.releases
        self._plan = load(
            plan, lambda d: open_release(releases / d, self._trusted), self._workspace.runtime, [self._plan]
        )


def whole_story(folder: Path, world: World) -> tuple[Played, Scoreboard]:
    """Play a world in this (empty) folder and mark it."""
    write_files(folder, world)
    workspace = create_workspace(folder)
    hands = InProcess(workspace, world)
    try:
        played = play(world, hands, lambda _day, _text: None, lambda _day, _last: None)
    finally:
        hands.close()
    return played, mark_played(workspace.database, world, played)
