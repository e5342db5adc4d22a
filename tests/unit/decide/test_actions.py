import os

import msgspec
import pytest

from holdfast.core.alarm import Alarm
from holdfast.decide import actions
from holdfast.decide.actions import Actor
from holdfast.decide.publish import WorkerReport, read_plan, wait_in_force, workers
from holdfast.errors import Conflict, UsageError
from holdfast.testing import MemoryDatabase
from holdfast.trail import tenures

A, B = "a" * 64, "b" * 64


@pytest.fixture(name="here")
def place(tmp_path):
    return MemoryDatabase(), lambda now: Actor("ann", now, tmp_path / "run")


def test_every_step_is_recorded_and_reaches_the_plan(here):
    database, at = here
    actions.deploy(database, at(1), "p", A)
    assert read_plan(at(0).run).deployments["p"][0].release == A
    actions.start_canary(database, at(2), "p", B, 0.2)
    assert [r.track for r in read_plan(at(0).run).deployments["p"]] == ["live", "canary"]
    actions.promote(database, at(3), "p")
    _, generation = actions.rollback(database, at(4), "p")
    plan = read_plan(at(0).run)
    assert (plan.generation, plan.deployments["p"][0].release) == (generation, A)
    with database.begin() as stores:
        events = stores.trail.read()
    assert [e.verb for e in events] == ["deploy", "canary", "promote", "rollback"]
    assert [(t.release, t.since) for t in tenures(events, "p")] == [(A, 1), (B, 3), (A, 4)]
    assert {e.actor for e in events} == {"ann"}


def test_a_refused_step_changes_and_records_nothing(here):
    database, at = here
    actions.deploy(database, at(1), "p", A)
    with pytest.raises(Conflict):
        actions.promote(database, at(2), "p")
    with pytest.raises(UsageError):
        actions.deploy(database, at(2), "../p", A)
    with database.begin() as stores:
        assert len(stores.trail.read()) == 1


def test_undeploying_closes_open_alarms(here):
    database, at = here
    actions.deploy(database, at(1), "p", A)
    alarm = Alarm(
        id="p-1", deployment="p", release=A, opened=1, monitors=("x:m",), columns=("x",), evidence=1.0, threshold=""
    )
    with database.begin() as stores:
        stores.alarms.save(alarm)
    actions.undeploy(database, at(5), "p")
    with database.begin() as stores:
        assert (stores.alarms.get("p-1").closed, stores.alarms.get("p-1").closing) == (5, "undeployed")
    assert read_plan(at(0).run).deployments == {}


def test_only_living_workers_are_waited_for(tmp_path):
    (tmp_path / "workers").mkdir()
    for name, pid, generation in (("w0", os.getpid(), 3), ("w1", 2**22 + 1, 1)):
        report = WorkerReport(name, pid, 0, generation, 0)
        (tmp_path / "workers" / f"{name}.json").write_bytes(msgspec.json.encode(report))
    assert [w.id for w in workers(tmp_path)] == ["w0"]
    assert wait_in_force(tmp_path, 3) == (1, 1, "")
    assert wait_in_force(tmp_path, 4, timeout_s=0.01) == (0, 1, "")
