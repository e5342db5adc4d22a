"""What the tests of conversion and parity share."""

from collections.abc import Iterator

import pytest
from threadpoolctl import threadpool_limits

from market import Houses, market


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """Small models on many threads only wait for each other."""
    with threadpool_limits(1):
        yield


@pytest.fixture(scope="session")
def houses() -> Houses:
    return market()
