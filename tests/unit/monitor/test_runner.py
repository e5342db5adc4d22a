"""The life of an alarm, on windows of a small town whose truth is known."""

from __future__ import annotations

import pytest
from town import REFERENCE_DAYS, START, Town

from holdfast.core.profile import DAY, LOSS, RESIDUAL
from holdfast.monitor.life import accept, fault_intervals
from holdfast.monitor.runner import Runner


@pytest.fixture(name="run")
def runner_of():
    def make(town, **overrides):
        return Runner(town.database, lambda _: town.profile, **{"per_year": 1.0, "lateness": 0.0} | overrides)

    return make


def pass_days(town, runner, days, **change):
    changes = []
    for _ in range(days):
        changes += runner.look(town.pass_day(**change))
    return changes


def alarms(town, **kind):
    with town.database.begin() as stores:
        return stores.alarms.find("prices", **kind)


def test_a_quiet_year_is_quiet(run):
    """One alarm a year is the stated rate; with this seed a right implementation gives none."""
    town = Town(1)
    pass_days(town, run(town), 365)
    assert alarms(town) == []


def test_a_broken_feed_alarms_is_told_apart_and_ends_when_repaired(run):
    town = Town(2)
    runner = run(town)
    pass_days(town, runner, 30)
    broken_from = town.day
    opened = pass_days(town, runner, 10, scale=0.0929)
    assert opened[0].state == "opened"
    first = opened[0].alarm
    assert town.days_since_start(first.opened) <= broken_from + 2
    assert "size" in first.columns
    still = alarms(town, only_open=True)
    assert still
    assert still[0].cause == "pipeline fault"
    assert "do not retrain" in still[0].action
    pass_days(town, runner, 40)
    ended = alarms(town)[0]
    assert ended.closing == "returned"
    assert ended.shape == "sudden"
    (interval,) = fault_intervals([ended])
    assert interval == (START + broken_from * DAY, START + (broken_from + 10) * DAY)
    assert [a for a in alarms(town) if a.cause != "pipeline fault"] == []


def test_concept_drift_shows_in_the_signed_error_with_its_date(run):
    town = Town(3)
    runner = run(town)
    pass_days(town, runner, 60)
    onset = town.day
    pass_days(town, runner, 60, bias=0.05)
    alarm, *later = alarms(town)
    assert alarm.columns == (RESIDUAL,)
    assert {a.columns for a in later} <= {(LOSS,)}
    assert {a.cause for a in (alarm, *later)} == {"concept"}
    assert alarm.shape == "sudden"
    assert alarm.onset_low <= START + onset * DAY <= alarm.onset_high
    assert alarm.open
    assert "holdfast retrain prices" in alarm.action


def test_inputs_that_move_without_errors_are_benign(run):
    town = Town(4)
    runner = run(town)
    pass_days(town, runner, 30)
    pass_days(town, runner, 60, flats=0.2)
    found = alarms(town, only_open=True)
    assert found
    assert {a.cause for a in found} == {"benign covariate"}


def test_a_look_twice_judges_once(run):
    town = Town(5)
    runner = run(town)
    clocks = {}
    for _ in range(20):
        clocks = town.pass_day()
        runner.look(clocks)
    with town.database.begin() as stores:
        before = stores.monitors.load("prices", "r" * 64), stores.monitors.evidence("prices", "r" * 64)
    assert run(town).look(clocks) == []
    with town.database.begin() as stores:
        assert (stores.monitors.load("prices", "r" * 64), stores.monitors.evidence("prices", "r" * 64)) == before


def test_a_restart_every_day_changes_nothing(run):
    one, other = Town(6), Town(6)
    steady = run(one)
    for day in range(60):
        change = {"bias": 0.08} if day > 20 else {}
        steady.look(one.pass_day(**change))
        run(other).look(other.pass_day(**change))
    assert [a.onset for a in alarms(one)] == [a.onset for a in alarms(other)]
    assert [a.opened for a in alarms(one)] == [a.opened for a in alarms(other)]


def test_a_short_reference_is_topped_up_before_anything_is_judged(run):
    town = Town(7, reference_days=20)
    runner = run(town)
    pass_days(town, runner, 10)
    with town.database.begin() as stores:
        assert stores.monitors.evidence("prices", "r" * 64) == []
    pass_days(town, runner, 5)
    with town.database.begin() as stores:
        assert len(stores.monitors.evidence("prices", "r" * 64)) == 5


def test_accepting_the_new_normal_rebases_the_monitors(run):
    town = Town(8)
    runner = run(town)
    pass_days(town, runner, REFERENCE_DAYS // 5)
    pass_days(town, runner, 40, flats=0.2)
    found = alarms(town, only_open=True)
    assert found
    for alarm in found:
        closed = accept(town.database, town.profile, alarm.id, town.day * DAY + START, per_year=1.0)
        assert closed.closing == "accepted"
    pass_days(town, runner, 60, flats=0.2)
    assert alarms(town, only_open=True) == []


def test_a_new_release_closes_the_alarms_of_the_old_one(run):
    town = Town(9)
    runner = run(town)
    pass_days(town, runner, 30)
    pass_days(town, runner, 5, scale=0.0929)
    with town.database.begin() as stores:
        stores.deployments.save(stores.deployments.get("prices").deploy("s" * 64, START + town.day * DAY))
    changes = runner.look({"prices": START + (town.day + 1) * DAY})
    assert [c.state for c in changes] == ["closed"]
    assert alarms(town)[0].closing == "new release"
    with town.database.begin() as stores:
        stores.deployments.save(stores.deployments.get("prices").rollback(START + (town.day + 2) * DAY))
    again = runner.look({"prices": START + (town.day + 3) * DAY})
    assert again[0].state == "opened"
    assert alarms(town, only_open=True)


def test_one_late_look_gives_what_daily_looks_gave(run):
    """Windows of two months judged at once: the same alarms, onsets and endings, to within a window."""
    daily, late = Town(10, lag=0), Town(10, lag=0)
    steady = run(daily)
    clocks = {}
    for day in range(70):
        change = {"scale": 0.0929} if 20 <= day < 30 else {"bias": 0.08} if day >= 45 else {}
        steady.look(daily.pass_day(**change))
        clocks = late.pass_day(**change)
    run(late).look(clocks)
    told = [[(a.columns, a.onset, a.cause, a.closing) for a in alarms(town)] for town in (daily, late)]
    assert told[0] == told[1]
    assert all(abs(a.opened - b.opened) <= DAY for a, b in zip(alarms(daily), alarms(late), strict=True))
    assert "returned" in {closing for *_, closing in told[0]}


def test_labels_that_came_out_of_order_and_at_once_are_judged_in_their_own_order(run):
    town = Town(11, lag=10**6)
    clocks = {}
    for _ in range(40):
        clocks = town.pass_day()
    with town.database.begin() as stores:
        for number, (day, counts) in enumerate(town.pending[::-1]):
            stores.windows.add([town._window("events", day, day, counts), town._window("labels", number, day, counts)])
    run(town).look(clocks)
    with town.database.begin() as stores:
        judged = [e for e in stores.monitors.evidence("prices", "r" * 64) if e["stream"] == "labels"]
    assert [e["number"] for e in judged] == list(range(40))
    assert [e["at"] for e in judged] == sorted(e["at"] for e in judged)
    assert run(town).look(clocks) == []


def test_a_look_that_fails_or_is_cut_short_goes_on_where_it_was(run, monkeypatch):
    whole, cut = Town(2), Town(2)
    pass_days(whole, run(whole), 20)
    runner = run(cut)
    for _ in range(20):
        clocks = cut.pass_day()
    assert runner.look({}) == []

    def fail(*_):
        raise RuntimeError

    with monkeypatch.context() as broken:
        broken.setattr("holdfast.monitor.runner.follow", fail)
        with pytest.raises(RuntimeError):
            runner.look(clocks)
    monkeypatch.setattr("holdfast.monitor.runner.STEPS", 3)
    runner.look(clocks, enough=lambda: True)
    judged = evidence(cut)
    assert 0 < len(judged) <= 3
    runner.look(clocks)
    assert evidence(cut) == evidence(whole)


def evidence(town):
    with town.database.read() as stores:
        live = stores.deployments.get("prices").live
        return [
            (point["stream"], point["number"], round(point["evidence"], 9))
            for point in stores.monitors.evidence("prices", live)
        ]
