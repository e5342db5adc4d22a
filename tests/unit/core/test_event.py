import msgspec
import pytest

from holdfast.core.event import GENESIS, Event, link
from holdfast.trail import broken_at, live_at, tenure_at, tenures, waiting


def chain(*steps):
    events, previous = [], GENESIS
    for i, (verb, release, at, data) in enumerate(steps, start=1):
        event = Event(number=i, at=at, wall=at, actor="ann", verb=verb, deployment="p", release=release, data=data)
        events.append(link(previous, event))
        previous = events[-1].hash
    return events


@pytest.fixture(name="events")
def history():
    return chain(
        ("deploy", "a", 10, {}),
        ("canary", "b", 20, {"share": 0.1}),
        ("rollback", "b", 25, {"live": False}),
        ("promote", "c", 30, {}),
        ("rollback", "a", 40, {}),
        ("undeploy", "a", 50, {}),
    )


def test_what_was_live_when(events):
    assert [(t.release, t.since, t.until) for t in tenures(events, "p")] == [
        ("a", 10, 30),
        ("c", 30, 40),
        ("a", 40, 50),
    ]
    assert [live_at(events, "p", at) for at in (9, 10, 29, 30, 45, 50)] == [None, "a", "a", "c", "a", None]


def test_who_made_it_live(events):
    assert tenure_at(events, "p", 35) == ("c", 30, 40, "promote", "ann")
    assert tenure_at(events, "p", 60) is None


def test_what_was_approved_or_proposed_waits_until_it_is_used():
    steps = [
        ("deploy", "a", 1, {}),
        ("approve", "b", 2, {}),
        ("propose", "c", 3, {"model": "3"}),
        ("propose", "b", 4, {"model": "2"}),
        ("approve", "d", 5, {}),
        ("canary", "d", 6, {"share": 0.1}),
        ("rollback", "d", 7, {"live": False}),
        ("propose", "", 8, {"model": "4", "why": "no such operator"}),
    ]
    told = [[e.release for e in waiting(chain(*steps[:n]), "p")] for n in range(1, len(steps) + 1)]
    assert told == [[], ["b"], ["b", "c"], ["b"], ["b", "d"], ["b"], ["b"], ["b", ""]]
    assert waiting(chain(*steps), "q") == []


def test_a_whole_chain_is_whole_and_every_tampering_is_found(events):
    assert broken_at(events) is None
    for i, event in enumerate(events):
        edited = [*events[:i], msgspec.structs.replace(event, actor="eve"), *events[i + 1 :]]
        assert broken_at(edited) == i + 1
    assert broken_at(events[:2] + events[3:]) == 4
    assert broken_at([events[1], events[0], *events[2:]]) == 2
