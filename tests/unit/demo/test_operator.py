"""The operator keeps its own rules."""

import msgspec
import pytest

from holdfast.core.alarm import Alarm
from holdfast.demo.operator import CANARY_DAYS, Operator
from holdfast.demo.worlds import day_start

PAGE = Alarm(
    id="a", deployment="houses", release="r", opened=day_start(540), monitors=("__residual__:location",),
    columns=("__residual__",), evidence=2.0, threshold="", onset=day_start(500), shape="gradual", cause="concept",
)  # fmt: skip


def changed(**how):
    return msgspec.structs.replace(PAGE, **how)


@pytest.mark.parametrize(("shape", "days"), [("sudden", 30), ("gradual", 60), ("unknown", 75)])
def test_it_waits_for_labelled_days(shape, days):
    ready = 500 + days + 42
    assert Operator(42).decide(ready - 1, [changed(shape=shape)]) is None
    assert Operator(42).decide(ready, [changed(shape=shape)]) == "retrain"


@pytest.mark.parametrize("cause", ["benign covariate", "covariate", "label shift", "pipeline fault", "unknown"])
def test_other_causes_do_not_page(cause):
    operator = Operator(42)
    assert operator.decide(900, [changed(cause=cause)]) is None
    assert not operator.busy([changed(cause=cause)])


def test_it_never_retrains_while_a_feed_is_broken():
    assert Operator(42).decide(900, [PAGE, changed(id="b", cause="pipeline fault")]) is None


def test_a_better_candidate_is_a_canary_first():
    operator = Operator(42)
    operator.retrained(700, better=True)
    assert operator.busy([])
    assert operator.decide(700 + CANARY_DAYS - 1, [PAGE]) is None
    assert operator.decide(700 + CANARY_DAYS, [PAGE]) == "promote"
    operator.promoted()
    assert not operator.busy([])


def test_a_candidate_that_is_not_better_is_dropped_and_tried_again_later():
    operator = Operator(42)
    operator.retrained(700, better=False)
    assert operator.decide(713, [PAGE]) is None
    assert operator.decide(714, [PAGE]) == "retrain"


def test_of_several_pages_it_believes_the_best_dated():
    vague = changed(id="b", onset=day_start(300), onset_low=day_start(200), onset_high=day_start(400))
    sharp = changed(id="c", onset=day_start(560), onset_low=day_start(559), onset_high=day_start(561), shape="sudden")
    assert Operator(42).decide(560 + 42 + 29, [vague, sharp]) is None
    assert Operator(42).decide(560 + 42 + 30, [vague, sharp]) == "retrain"
