"""The marks are right: who is true, who is false, what resolves a change, which days count."""

import pytest

from holdfast.core.alarm import Alarm
from holdfast.core.profile import LOSS, RESIDUAL
from holdfast.demo.scoreboard import HORIZON, Calendar, Promote, mark
from holdfast.demo.worlds import day_start, inflation, pandemic, square_metres

CALENDAR = Calendar(first=270, last=1100, rated=frozenset(range(270, 1101)), label_lag=28.0, first_label=14)


def alarm(day, *columns, **more):
    return Alarm(
        id=f"a{day}", deployment="houses", release="r", opened=day_start(day + 1), evidence=2.0, threshold="",
        monitors=tuple(f"{c}:location" for c in columns), columns=columns, **more,
    )  # fmt: skip


def test_a_change_that_nobody_saw_is_not_found():
    board = mark([inflation(488)], [], [], CALENDAR)
    (change,) = board.changes
    assert (change.found, change.covers, change.interval, change.delay_days) == (False, False, None, None)


def test_the_first_true_alarm_is_read_as_it_ended():
    first = alarm(
        540, RESIDUAL, onset=day_start(490), onset_low=day_start(480), onset_high=day_start(500), shape="gradual", cause="concept"
    )  # fmt: skip
    (change,) = mark([inflation(488)], [alarm(560, LOSS, shape="sudden"), first], [], CALENDAR).changes
    assert change.alarm == "a540"
    assert change.delay_days == 53.0
    assert change.delay_net_of_label_lag_days == 25.0
    assert (change.covers, change.shape_right, change.cause_right) == (True, True, True)


def test_an_interval_beside_the_onset_does_not_cover_it():
    late = alarm(540, RESIDUAL, onset=day_start(500), onset_low=day_start(490), onset_high=day_start(510))
    (change,) = mark([inflation(488)], [late], [], CALENDAR).changes
    assert change.found
    assert not change.covers


def test_the_delay_of_an_input_needs_no_labels():
    (change,) = mark([pandemic(900)], [alarm(902, "kind")], [], CALENDAR).changes
    assert change.delay_net_of_label_lag_days == change.delay_days == 3.0


@pytest.mark.parametrize(
    ("day", "columns"),
    [
        (480, (RESIDUAL,)),  # before the onset
        (495, (RESIDUAL,)),  # no label of the change is known yet
        (540, ("district",)),  # not what it moves
        (488 + 213 + HORIZON + 1, (RESIDUAL,)),  # beyond the horizon
    ],
)
def test_other_alarms_are_false(day, columns):
    board = mark([inflation(488)], [alarm(day, *columns)], [], CALENDAR)
    assert board.false_alarms == 1
    assert not board.changes[0].found


def test_a_promote_does_not_resolve_a_change_that_still_moves():
    early = Promote(604, trained_from=430, trained_until=575)
    board = mark([inflation(488)], [alarm(540, RESIDUAL), alarm(700, RESIDUAL)], [early], CALENDAR)
    assert board.false_alarms == 0


def test_a_promote_trained_after_the_change_resolves_it():
    done = Promote(790, trained_from=650, trained_until=770)
    board = mark([inflation(488)], [alarm(540, RESIDUAL), alarm(795, RESIDUAL)], [done], CALENDAR)
    assert board.false_alarms == 1
    assert [v.change for v in board.alarms] == ["inflation", ""]


def test_a_repaired_feed_may_still_be_told_of_but_only_on_its_column():
    board = mark([square_metres(800)], [alarm(800, "living_area"), alarm(830, RESIDUAL)], [], CALENDAR)
    assert board.changes[0].found
    assert board.false_alarms == 1


def test_an_alarm_belongs_to_the_newest_change_that_can_have_moved_it():
    board = mark([inflation(488), pandemic(720)], [alarm(725, LOSS), alarm(740, LOSS)], [], CALENDAR)
    assert [v.change for v in board.alarms] == ["inflation", "pandemic"]


def test_quiet_days_are_rated_days_without_an_unresolved_change():
    rated = frozenset(range(300, 400))
    calendar = CALENDAR._replace(first=270, last=499, rated=rated)
    assert mark([], [], [], calendar).quiet_days == 100
    assert mark([square_metres(350)], [], [], calendar).quiet_days == 50


def test_alarms_without_a_stated_rate_count_nowhere():
    calendar = CALENDAR._replace(rated=frozenset(range(300, 400)))
    board = mark([], [alarm(280, "age")], [], calendar)
    assert board.false_alarms == 0
    assert not board.alarms[0].rated
