"""A small run of `make fuzz`: whatever is sent, the server answers as it should and lives on."""

import pytest
from bench.torture.fuzz import fuzz


@pytest.mark.slow
def test_requests_that_nobody_should_send(tmp_path):
    found = fuzz(tmp_path, 3000, seed=7)
    assert found.failures == []
    assert found.statuses["200"] > 100
    assert found.statuses["OK"] > 50
