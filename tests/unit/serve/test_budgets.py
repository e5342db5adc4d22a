"""Rates and daily budgets: exact in one process, shared by several, kept over restarts."""

import subprocess
import sys
import threading

import pytest

from holdfast.core.access import AccessKey
from holdfast.errors import ServeError, TooMany
from holdfast.serve.budgets import DAY_S, SLOTS, Budgets

NOON = 20_000 * DAY_S + DAY_S / 2


def key(number=1, **limits) -> AccessKey:
    return AccessKey(number=number, id="k", name="shop", digest=b"", deployments=("*",), scopes=("predict",), **limits)


class Wall:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def wall() -> Wall:
    return Wall()


def let_in(account, times: int) -> int:
    count = 0
    for _ in range(times):
        try:
            account.request()
        except TooMany:
            continue
        count += 1
    return count


def test_a_key_without_limits_has_no_account_and_makes_no_file(tmp_path):
    assert Budgets(tmp_path / "b", 0, 1).account(key()) is None
    assert not (tmp_path / "b").exists()


def test_a_greedy_client_gets_its_rate(tmp_path, wall):
    account = Budgets(tmp_path / "b", 0, 1, wall).account(key(rate=50.0))
    assert account is not None
    got = [0] * 10
    for second in range(10):
        for _ in range(1000):
            wall.now += 0.001
            got[second] += let_in(account, 1)
    assert 50 <= got[0] <= 101  # the first window has nothing behind it
    assert 490 <= sum(got) - got[0] + 50 <= 510
    assert all(45 <= count <= 55 for count in got[2:])


def test_less_than_one_a_second(tmp_path, wall):
    account = Budgets(tmp_path / "b", 0, 1, wall).account(key(rate=0.1))
    assert account is not None
    assert let_in(account, 100) == 10
    with pytest.raises(TooMany, match=r"0\.1 times a second") as refused:
        account.request()
    assert (refused.value.retry_s, refused.value.status) == (10, 429)
    wall.now += 250.0
    assert let_in(account, 100) == 10


def test_a_day_of_rows_is_spent_row_by_row_and_comes_back_at_midnight(tmp_path, wall):
    account = Budgets(tmp_path / "b", 0, 1, wall).account(key(rows_per_day=100))
    assert account is not None
    account.rows(99)
    with pytest.raises(TooMany, match="has 1 left") as refused:
        account.rows(2)
    assert refused.value.retry_s == DAY_S / 2
    account.request()
    account.rows(1)
    with pytest.raises(TooMany, match="0 left"):
        account.request()
    wall.now += DAY_S / 2
    account.request()
    account.rows(100)
    assert account.left == 0


def test_workers_see_each_others_counts_and_a_restarted_server_sees_its_own(tmp_path, wall):
    path, limited = tmp_path / "b", key(number=7, rate=20.0, rows_per_day=100)
    accounts = [Budgets(path, slot, 3, wall).account(limited) for slot in range(3)]
    for account in accounts:
        assert account is not None
        account.rows(30)
    assert {account.left for account in accounts if account} == {10}
    assert sum(let_in(account, 10) for account in accounts) == 20
    fewer = Budgets(path, 0, 1, wall).account(limited)
    assert fewer is not None
    assert fewer.left == 10
    assert let_in(fewer, 1) == 0


def test_the_window_before_counts_whoever_filled_it(tmp_path, wall):
    limited = key(rate=100.0)
    one, two = (Budgets(tmp_path / "b", slot, 2, wall).account(limited) for slot in range(2))
    assert one is not None
    assert two is not None
    assert let_in(two, 1) + let_in(one, 199) == 100
    wall.now += 1.5  # half of it is still in sight
    assert let_in(two, 200) == 50
    wall.now += 2.0  # nothing is
    assert let_in(two, 200) == 100


def test_keys_do_not_meet(tmp_path, wall):
    budgets = Budgets(tmp_path / "b", 0, 1, wall)
    for number in (1, 2, 300):
        account = budgets.account(key(number=number, rows_per_day=5))
        assert account is not None
        account.rows(5)
        assert account.left == 0


def test_new_limits_of_a_key_count_on_from_what_it_used(tmp_path, wall):
    budgets = Budgets(tmp_path / "b", 0, 1, wall)
    account = budgets.account(key(rows_per_day=5))
    assert account is not None
    account.rows(5)
    larger = budgets.account(key(rows_per_day=8))
    assert larger is not None
    assert larger.left == 3
    assert budgets.account(key(rows_per_day=8)) is larger


def test_a_clock_that_steps_back_over_midnight_opens_a_fresh_day_and_no_error(tmp_path, wall):
    account = Budgets(tmp_path / "b", 0, 1, wall).account(key(rows_per_day=5, rate=10.0))
    assert account is not None
    account.rows(5)
    wall.now -= DAY_S
    account.request()
    account.rows(5)
    assert account.left == 0


def test_threads_lose_no_count(tmp_path, wall):
    account = Budgets(tmp_path / "b", 0, 1, wall).account(key(rows_per_day=4000))
    assert account is not None
    threads = [threading.Thread(target=lambda: [account.rows(1) for _ in range(500)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert account.left == 0
    with pytest.raises(TooMany):
        account.rows(1)


SPEND = """
import sys
from pathlib import Path
from holdfast.core.access import AccessKey
from holdfast.errors import TooMany
from holdfast.serve.budgets import Budgets
key = AccessKey(number=1, id="k", name="n", digest=b"", deployments=("*",), scopes=("predict",), rows_per_day=20_000)
account = Budgets(Path(sys.argv[1]), int(sys.argv[2]), 2, lambda: 1.7e9).account(key)
taken = 0
try:
    while True:
        account.rows(1)
        taken += 1
except TooMany:
    print(taken)
"""


@pytest.mark.integration
def test_two_processes_spend_one_budget_and_at_most_a_row_more(tmp_path):
    start = [sys.executable, "-c", SPEND, str(tmp_path / "b")]
    workers = [subprocess.Popen([*start, str(slot)], stdout=subprocess.PIPE, text=True) for slot in range(2)]
    taken = [int(worker.communicate(timeout=60)[0]) for worker in workers]
    assert 20_000 <= sum(taken) <= 20_001


def test_what_cannot_be_kept_is_told(tmp_path):
    with pytest.raises(ServeError, match="at most"):
        Budgets(tmp_path / "b", 0, SLOTS + 1)
    with pytest.raises(ServeError, match="budgets cannot be kept"):
        Budgets(tmp_path / "none" / "b", 0, 1).account(key(rate=1.0))
