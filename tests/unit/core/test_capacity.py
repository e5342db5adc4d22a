"""The capacity plan, against a queue that is played through."""

import numpy as np
import pytest

from holdfast.core.capacity import Load, plan
from holdfast.errors import UsageError

MODEL = {"p50_ms": 1.8, "p99_ms": 4.0, "mean_ms": 2.0, "rows": 1, "threads": 1}


def test_the_headroom_decides_where_time_is_no_matter():
    found = plan(Load(rps=1000, p99_ms=1000, headroom=0.5, overhead_ms=0.0), **MODEL)
    assert (found.replicas, found.cores, found.limited_by) == (4, 4, "headroom")
    assert found.utilisation == pytest.approx(0.5)
    assert found.most_rps == pytest.approx(1000)


def test_a_short_limit_takes_more_replicas():
    short, long = (plan(Load(rps=1000, p99_ms=ms), **MODEL) for ms in (6, 60))
    assert short.replicas > long.replicas
    assert short.limited_by == "p99_ms"
    assert short.p99_ms <= 6


def test_the_price_of_a_million_rows():
    found = plan(
        Load(rps=100, p99_ms=100, headroom=0.0, overhead_ms=0.0, price=3.6, processes=2), **MODEL | {"rows": 10}
    )
    assert found.cores == 2
    assert found.per_million == pytest.approx(2 / (100 * 10) / 3600 * 1e6 * 3.6)


def test_one_run_that_takes_too_long_is_told():
    with pytest.raises(UsageError, match=r"alone takes 4\.15 ms"):
        plan(Load(rps=1, p99_ms=4), **MODEL)


@pytest.mark.parametrize("sigma", [0.1, 0.4, 0.8])
@pytest.mark.parametrize("limit", [2.0, 6.0])
def test_the_promised_p99_is_kept_by_a_queue(sigma, limit):
    """Lognormal service times, independent arrivals; a single run of 400 000 requests, so the tolerance is 5 %."""
    rng = np.random.default_rng(0)
    service = rng.lognormal(0.0, sigma, 400_000) / 1000.0
    told = {"p50_ms": 1.0, "p99_ms": 1000 * float(np.quantile(service, 0.99)), "mean_ms": 1000 * float(service.mean())}
    wanted = told["p99_ms"] * limit
    found = plan(Load(rps=1000, p99_ms=wanted, headroom=0.1, overhead_ms=0.0), **told, rows=1, threads=1)
    arrivals = np.cumsum(rng.exponential(found.processes / 1000.0, len(service)))
    done = np.empty(len(service))
    free = 0.0
    for number, (at, takes) in enumerate(zip(arrivals.tolist(), service.tolist(), strict=True)):
        free = max(free, at) + takes
        done[number] = free - at
    assert 1000 * np.quantile(done, 0.99) <= wanted * 1.05
    assert 1000 * np.quantile(done, 0.99) <= found.p99_ms * 1.05
