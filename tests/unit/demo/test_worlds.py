"""The town is what it says: the same for the same seed, changed only by its changes."""

import numpy as np
import pytest

from holdfast.demo.worlds import FEATURES, Houses, day_of, day_start, inflation, pandemic, square_metres


def same(one, other, but=()):
    return all(
        np.array_equal(one.table[c].astype(str), other.table[c].astype(str)) for c in one.table if c not in but
    )  # fmt: skip


def test_a_day_is_the_same_whoever_asks():
    assert same(Houses(3).day(500), Houses(3).day(500))
    assert not same(Houses(3).day(500), Houses(4).day(500))
    assert not same(Houses(3).day(500), Houses(3).day(501), but=("sale", "listed"))


def test_a_day_has_its_sales_in_order_and_its_labels_later():
    sales = Houses(1).day(300)
    assert len(sales.listed) == 120
    assert (np.diff(sales.listed) >= 0).all()
    assert set(map(day_of, sales.listed.tolist())) == {300}
    lag = (sales.sold - sales.listed) / (day_start(1) - day_start(0))
    assert lag.min() >= 14
    assert lag.max() <= 42
    assert {*FEATURES, "sale", "listed"} == set(sales.table)


def test_inflation_moves_prices_alone_and_then_stays():
    town, truth = Houses(2), inflation(488)
    for day, months in ((487, 0), (488 + 106, 106.5 / 30.4375), (900, 7.0)):
        plain, moved = town.day(day), town.day(day, [truth])
        assert same(plain, moved)
        assert np.mean(np.log(moved.label / plain.label)) == pytest.approx(months * np.log(1.02), abs=0.001)


def test_a_broken_feed_moves_one_column_for_ten_days():
    town, truth = Houses(2), square_metres(800)
    plain, moved = town.day(805), town.day(805, [truth])
    assert same(plain, moved, but=("living_area",))
    assert np.array_equal(plain.label, moved.label)
    assert np.median(plain.table["living_area"] / moved.table["living_area"]) == pytest.approx(10.76, rel=0.02)
    assert same(town.day(810), town.day(810, [truth]))


def test_the_pandemic_moves_demand_and_prices():
    town, truth = Houses(2), pandemic(900)
    days = [town.day(day, [truth]) for day in range(900, 950)]
    share = np.mean(np.concatenate([d.table["kind"] for d in days]) == "flat")
    assert share == pytest.approx(0.30, abs=0.03)  # 5 standard deviations


def test_a_quiet_town_plans_nothing():
    assert Houses(0, quiet=True).planned == ()
    assert [p.begin(1).name for p in Houses(0).planned] == ["inflation", "square metres", "pandemic"]
