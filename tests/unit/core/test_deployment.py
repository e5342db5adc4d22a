import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.deployment import BUCKETS, Deployment, canary_bucket
from holdfast.errors import Conflict

A, B, C = ("a" * 64, "b" * 64, "c" * 64)


@pytest.fixture(name="prices")
def deployed():
    return Deployment(name="prices", live=A, since=1)


def test_a_canary_is_promoted_and_rolled_back(prices):
    canary = prices.start_canary(B, 0.1, 2, "salt")
    assert [(r.release, r.track, r.share) for r in canary.routes] == [(A, "live", 0.9), (B, "canary", 0.1)]
    live = canary.promote(3)
    assert (live.live, live.previous, live.canary, live.since) == (B, (A,), "", 3)
    back = live.rollback(4)
    assert (back.live, back.previous) == (A, ())


def test_rollback_stops_a_canary_first(prices):
    stopped = prices.deploy(B, 2).start_canary(C, 0.5, 3, "s").rollback(4)
    assert (stopped.live, stopped.canary, stopped.previous) == (B, "", (A,))


def test_what_makes_no_sense_is_refused_and_says_what_to_do(prices):
    for step in (
        lambda: prices.deploy(A, 2),
        lambda: prices.promote(2),
        lambda: prices.rollback(2),
        lambda: prices.start_canary(A, 0.1, 2, "s"),
        lambda: prices.start_canary(B, 1.0, 2, "s"),
    ):
        with pytest.raises(Conflict) as told:
            step()
        assert told.value.next_step


@given(st.text(), st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_growing_a_share_moves_keys_one_way(key, one, other):
    small, large = sorted((one, other))
    bucket = canary_bucket("salt", key)
    assert 0 <= bucket < BUCKETS
    if bucket < small * BUCKETS:
        assert bucket < large * BUCKETS


def test_buckets_are_even():
    """10 000 keys into ten tenths: each holds 1 000; six sigma is 180, so a right implementation never fails."""
    tenths = [0] * 10
    for i in range(10_000):
        tenths[canary_bucket("s", f"key-{i}") // (BUCKETS // 10)] += 1
    assert all(820 < n < 1180 for n in tenths)
