import asyncio
import os
import threading
from pathlib import Path

import pytest

from holdfast.core.deployment import Plan, Route
from holdfast.decide.publish import PLAN, wait_in_force, workers
from holdfast.errors import Tampered
from holdfast.server import follow
from holdfast.server.child import note
from holdfast.server.fleet import Fleet
from holdfast.server.follow import Follower, pss_kb
from holdfast.status import server


def plan(generation: int, release: str = "r") -> Plan:
    return Plan(generation, {"town": (Route(release, "live", 1.0),)}, {"town": "town"})


class Serving:
    """What a follower drives, and what it was told."""

    def __init__(self, run: Path, fleet: Fleet | None = None, name: str = "w0", bad: str = "bad"):
        self.swapped: list[int] = []
        self.bad = bad
        self.kept: tuple[int, ...] = ()
        self.follower = Follower(
            run,
            fleet or Fleet.joined(run, os.getpid(), 0),
            load=self.load,
            swap=lambda p: self.swapped.append(p.generation),
            name=name,
            port=1,
        )

    def load(self, wanted: Plan, loaded) -> Plan:
        self.kept = tuple(one.generation for one in loaded)
        if wanted.deployments and wanted.deployments["town"][0].release == self.bad:
            raise Tampered("a byte has changed")
        return wanted

    @property
    def answers(self) -> int:
        """The generation with which a request would be answered now."""
        self.follower.look()
        return self.swapped[-1]


def test_a_new_plan_takes_over_and_is_reported(tmp_path: Path):
    serving = Serving(tmp_path)

    async def story():
        await serving.follower.start()
        assert [r.generation for r in workers(tmp_path)] == [0]
        for generation in (1, 1, 2):
            note(tmp_path / PLAN, plan(generation))
            await serving.follower.step()
            await serving.follower.step()

    asyncio.run(story())
    assert serving.swapped == [0, 1, 2]
    [report] = workers(tmp_path)
    assert (report.generation, report.port) == (2, 1)
    serving.follower.leave()
    assert workers(tmp_path) == []


def test_all_go_over_together_and_only_when_all_are_ready(tmp_path: Path):
    note(tmp_path / PLAN, plan(1))
    fleet = Fleet(tmp_path, os.getpid(), 2)
    one, two = (Serving(tmp_path, Fleet(tmp_path, os.getpid()), f"w{i}") for i in range(2))

    async def story():
        await one.follower.start()
        fleet.advance((0, 1))
        assert fleet.words[0] == 0, "the other is still starting"
        await two.follower.start()
        fleet.advance((0, 1))
        assert fleet.words[0] == 2
        note(tmp_path / PLAN, plan(2))
        await one.follower.step()
        fleet.advance((0, 1))
        assert (one.answers, two.answers) == (1, 1)
        note(tmp_path / PLAN, plan(3))  # the first is ready for 2 and 3, the second for 2 alone
        await two.follower._prepare(plan(2))
        await one.follower.step()
        fleet.advance((0, 1))
        assert (one.answers, two.answers) == (2, 2)
        await two.follower.step()
        assert (one.answers, two.answers) == (2, 2)
        fleet.advance((0, 1))
        assert (one.answers, two.answers) == (3, 3)
        assert one.follower._loaded == [plan(3)], "what is over is let go"

    asyncio.run(story())
    assert [path.name for path in fleet.folder.glob("plan-*")] == ["plan-3.json"]


def test_a_plan_that_one_cannot_load_is_in_force_nowhere(tmp_path: Path, capsys, monkeypatch):
    monkeypatch.setattr(follow, "AGAIN_S", 0.0)
    note(tmp_path / PLAN, plan(1))
    fleet = Fleet(tmp_path, os.getpid(), 2)
    one, two = (Serving(tmp_path, fleet, f"w{i}", bad) for i, bad in enumerate(("bad", "")))

    async def story():
        for serving in (one, two):
            await serving.follower.start()
        fleet.advance((0, 1))
        note(tmp_path / PLAN, plan(2, "bad"))
        for _ in range(3):
            for serving in (one, two):
                await serving.follower.step()
            fleet.advance((0, 1))
        assert (one.answers, two.answers) == (1, 1)
        assert wait_in_force(tmp_path, 2) == (0, 2, "a byte has changed")
        assert server(tmp_path).lagging == "a byte has changed"
        # A process that takes the place of a dead one answers like the others, not with the newest.
        fleet.starting(0)
        again = Serving(tmp_path, Fleet(tmp_path, os.getpid()), "w0")
        await again.follower.start()
        assert again.answers == 1
        again.bad = "mended"  # the release's files are back
        for _ in range(2):
            await again.follower.step()
            fleet.advance((0, 1))
        assert (again.answers, two.answers) == (2, 2)

    asyncio.run(story())
    assert capsys.readouterr().err.count("a byte has changed") == 1, "told once, however often it is tried"


def test_a_first_plan_that_cannot_be_loaded_ends_the_process(tmp_path: Path):
    note(tmp_path / PLAN, plan(1, "bad"))
    with pytest.raises(Tampered):
        asyncio.run(Serving(tmp_path).follower.start())
    assert workers(tmp_path) == []


def test_a_new_server_removes_what_dead_ones_left(tmp_path: Path):
    dead = tmp_path / f"fleet-{2**22 + 1}"
    dead.mkdir()
    fleet = Fleet(tmp_path, os.getpid(), 1)
    assert not dead.exists()
    fleet.leave()
    assert list(tmp_path.iterdir()) == []


def test_memory_is_known_on_linux():
    assert pss_kb() > 1000


def test_no_file_is_read_or_written_in_the_loop_while_it_answers(tmp_path: Path, monkeypatch):
    serving = Serving(tmp_path)
    threads: dict[str, set[int]] = {"read_plan": set(), "note": set(), "pss_kb": set()}

    def watched(name: str):
        work = getattr(follow, name)

        def watch(*args):
            threads[name].add(threading.get_ident())
            return work(*args)

        return watch

    async def story():
        await serving.follower.start()
        for name in threads:
            monkeypatch.setattr(follow, name, watched(name))
        for generation, release in ((1, "good"), (2, "bad"), (3, "good")):
            note(tmp_path / PLAN, plan(generation, release))
            for _ in range(2):
                await serving.follower.step()

    asyncio.run(story())
    assert serving.swapped == [0, 1, 3]
    for name, idents in threads.items():
        assert idents, name
        assert threading.get_ident() not in idents, name


def test_a_report_that_comes_too_late_is_not_left_behind(tmp_path: Path):
    serving = Serving(tmp_path)
    asyncio.run(serving.follower.start())
    serving.follower.leave()
    serving.follower.report()
    assert workers(tmp_path) == []
