"""Small versions of `make torture`, against real servers: what holds for a thousand kills and swaps holds for a few."""

import pytest
from bench.serve.questions import Question
from bench.torture import kill, many, soak, swap, workers
from tests.faults.town import town

pytestmark = [pytest.mark.integration, pytest.mark.slow]


def test_killed_workers_lose_double_and_invent_nothing_and_metrics_know(workspace):
    found = kill.torture(workspace, 8, 2)
    assert found.sound, found
    assert found.acknowledged > 20


def test_swaps_under_load_are_noticed_by_nobody(workspace):
    found = swap.torture(workspace, 12, 2)._replace(pss_first_kb=0, pss_last_kb=0)  # too short for memory
    assert found.sound, found
    assert found.answers > 100


def test_more_models_than_memory(workspace):
    found = many.torture(workspace, 16, 4, mixed_s=2.0)
    assert found.wrong == 0, found
    assert found.held <= 8, found
    assert found.mixed_misses > 0.0


def test_two_workers_counts_are_the_clients(workspace):
    found = soak.torture(workspace, 0.05)
    assert found.metrics == found.logged == found.answers > 0, found
    assert found.failed == found.lost == 0, found


def test_what_two_workers_count_is_what_a_quick_client_heard(workspace):
    headers, body = {"Content-Type": "application/json"}, b'{"instances": [{"area": 2.0}]}'
    question = Question("POST", "/v1/models/town:predict", headers, body, (b'"prediction":7.0',))
    found = workers.torture(town(workspace), question, 2, 0.4, "town")
    assert found.exact, found
    assert found.heard > 64, found
