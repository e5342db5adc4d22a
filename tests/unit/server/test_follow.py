import asyncio
from pathlib import Path

import pytest

from holdfast.core.deployment import Plan, Route
from holdfast.decide.publish import PLAN, workers
from holdfast.errors import Tampered
from holdfast.server.child import note
from holdfast.server.follow import Follower, pss_kb


def plan(generation: int, release: str = "r") -> Plan:
    return Plan(generation, {"town": (Route(release, "live", 1.0),)}, {"town": "town"})


class Serving:
    """What a follower drives, and what it was told."""

    def __init__(self, run: Path):
        self.swapped: list[int] = []
        self.follower = Follower(
            run, load=self.load, swap=lambda p: self.swapped.append(p.generation), name="w0", port=1
        )

    def load(self, wanted: Plan) -> Plan:
        if wanted.deployments and wanted.deployments["town"][0].release == "bad":
            raise Tampered("a byte has changed")
        return wanted


def test_a_new_plan_takes_over_and_is_reported(tmp_path: Path):
    serving = Serving(tmp_path)

    async def story():
        await serving.follower.step()
        assert [r.generation for r in workers(tmp_path)] == [0]
        for generation in (1, 1, 2):
            note(tmp_path / PLAN, plan(generation))
            await serving.follower.step()
            await serving.follower.step()

    asyncio.run(story())
    assert serving.swapped == [0, 1, 1, 2]
    [report] = workers(tmp_path)
    assert (report.generation, report.port) == (2, 1)
    serving.follower.leave()
    assert workers(tmp_path) == []


def test_a_plan_that_cannot_be_loaded_changes_nothing(tmp_path: Path, capsys):
    serving = Serving(tmp_path)

    async def story():
        for wanted in (plan(1), plan(2, "bad"), plan(3)):
            note(tmp_path / PLAN, wanted)
            await serving.follower.step()
            assert workers(tmp_path)[0].generation == (3 if wanted.generation == 3 else 1)

    asyncio.run(story())
    assert serving.swapped == [1, 3]
    assert "a byte has changed" in capsys.readouterr().err


def test_a_first_plan_that_cannot_be_loaded_ends_the_process(tmp_path: Path, capsys):
    note(tmp_path / PLAN, plan(1, "bad"))
    with pytest.raises(Tampered):
        asyncio.run(Serving(tmp_path).follower.step())
    assert workers(tmp_path) == []


def test_memory_is_known_on_linux():
    assert pss_kb() > 1000
