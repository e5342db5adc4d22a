"""What leaves the event loop."""

from holdfast.http.routes import Action
from holdfast.serve.pace import LARGE, Pace

HOUSES = Action("infer", "houses")


def test_a_quick_model_stays_in_the_loop_and_a_slow_one_leaves_it():
    pace = Pace()
    assert not pace.slow(HOUSES, 300)
    for _ in range(50):
        pace.measured(HOUSES, 300, 40e-6)
    assert not pace.slow(HOUSES, 300)
    for _ in range(50):
        pace.measured(HOUSES, 300, 5e-3)
    assert pace.slow(HOUSES, 300)
    assert not pace.slow(Action("infer", "flats"), 300)


def test_sizes_are_known_apart():
    pace = Pace()
    pace.measured(HOUSES, 300, 40e-6)
    for _ in range(3):
        pace.measured(HOUSES, 30_000, 3e-3)
    assert not pace.slow(HOUSES, 310)
    assert pace.slow(HOUSES, 31_000)


def test_a_large_body_leaves_until_it_is_known_to_be_quick():
    pace = Pace()
    assert pace.slow(HOUSES, LARGE)
    pace.measured(HOUSES, LARGE, 0.2e-3)
    assert not pace.slow(HOUSES, LARGE)


def test_an_interrupted_request_decides_nothing_and_a_cost_at_the_line_does_not_flap():
    pace = Pace()
    for _ in range(50):
        pace.measured(HOUSES, 300, 40e-6)
        pace.measured(HOUSES, 300, 5e-3)
        pace.measured(HOUSES, 300, 5e-3)
    assert not pace.slow(HOUSES, 300)
    states = set()
    for number in range(200):
        pace.measured(HOUSES, 300, 1.1e-3 if number % 2 else 0.8e-3)
        states.add(pace.slow(HOUSES, 300))
    assert states == {False}


def test_a_very_slow_one_leaves_at_once_and_comes_back_when_it_is_quick():
    pace = Pace()
    pace.measured(HOUSES, 300, 0.2)  # the first run of a model is its slowest
    assert pace.slow(HOUSES, 300)
    for seconds in (*[0.4e-3] * 7, 0.9e-3, *[0.4e-3] * 7):
        pace.measured(HOUSES, 300, seconds)
        assert pace.slow(HOUSES, 300)
    pace.measured(HOUSES, 300, 0.4e-3)
    assert not pace.slow(HOUSES, 300)


def test_another_plan_begins_anew():
    pace = Pace()
    pace.measured(HOUSES, 300, 0.2)
    pace.forget()
    assert not pace.slow(HOUSES, 300)
