"""Whether something better than the live release waits, and how it is said."""

from types import SimpleNamespace

import pytest

from holdfast.core.contract import Output
from holdfast.core.event import Event
from holdfast.status.waiting import advice

LIVE, NEW, OTHER = "a" * 64, "b" * 64, "c" * 64


def record(*steps):
    return [
        Event(number=i, at=i, wall=i, actor="ann", verb=verb, deployment="p", release=release, data=data)
        for i, (verb, release, data) in enumerate(steps, start=1)
    ]


def view(value=5.0, reference="r"):
    return SimpleNamespace(
        digest=LIVE,
        contract=SimpleNamespace(output=Output(task="regression", label="y")),
        profile=SimpleNamespace(performance={"rmse": {"value": value}} if value else {}),
        manifest=SimpleNamespace(data={"sha256": reference}),
    )


def figures(value, reference="r"):
    return {"metric": "rmse", "value": value, "reference": reference}


def test_nothing_waits():
    assert advice(record(("deploy", LIVE, {})), "p", view()) == ""


def test_an_approved_better_one_is_named_with_both_figures():
    events = record(("approve", NEW, figures(4.0)), ("deploy", LIVE, {}))
    told = advice(events, "p", view())
    assert told == f"{NEW[:12]} is approved, rmse 4 against 5, and is not in use: holdfast rollout {NEW[:12]} --as p"


@pytest.mark.parametrize("data", [figures(6.0), figures(4.0, "other rows"), {}])
def test_worse_ones_and_older_yeses_need_no_word(data):
    assert advice(record(("approve", NEW, data), ("deploy", LIVE, {})), "p", view()) == ""


def test_a_later_yes_that_cannot_be_compared_is_told_without_a_comparison():
    events = record(("deploy", LIVE, {}), ("approve", NEW, figures(4.0, "other rows")))
    assert "is approved, rmse 4, and is not in use" in advice(events, "p", view())
    assert "is approved, and is not in use" in advice(
        record(("deploy", LIVE, {}), ("approve", NEW, {})), "p", view(None)
    )


def test_the_best_of_several_and_approvals_before_proposals():
    alias = {"alias": "champion", "model": "models:/p/3"}
    events = record(
        ("deploy", LIVE, {}),
        ("approve", NEW, figures(4.0)),
        ("approve", OTHER, figures(3.0)),
        ("propose", "d" * 64, alias | figures(1.0)),
    )
    assert advice(events, "p", view()).startswith(OTHER[:12])
    only = record(("deploy", LIVE, {}), ("propose", NEW, alias | figures(7.0)))
    assert "is what champion means now (models:/p/3), rmse 7 against 5" in advice(only, "p", view())


def test_what_could_not_be_built_is_told_with_its_reason():
    failed = {"alias": "champion", "model": "models:/p/4", "why": "no such operator"}
    events = record(("deploy", LIVE, {}), ("propose", "", failed))
    assert advice(events, "p", view()) == (
        "champion is models:/p/4 now, and no release could be made of it: no such operator"
    )


def test_what_is_live_does_not_wait():
    assert advice(record(("deploy", LIVE, {}), ("approve", LIVE, figures(1.0))), "p", view()) == ""
