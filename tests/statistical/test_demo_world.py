"""The demo's town has the truth that it states, and its changes are as large as the story needs.

Bars are four standard errors of a mean over seeded days: a fresh seed fails one time in 16 000 per check.
"""

import numpy as np
import pytest

from holdfast.demo.worlds import Houses, inflation, pandemic
from holdfast.demo.worlds import _log_price as worth

DAYS = range(270, 470)
ROWS = 120 * len(DAYS)


def pooled(town, truths=(), days=DAYS):
    sales = [town.day(day, truths) for day in days]
    table = {name: np.concatenate([s.table[name] for s in sales]) for name in sales[0].table}
    return table, np.log(np.concatenate([s.label for s in sales]))


@pytest.fixture(scope="module")
def quiet():
    return pooled(Houses(11, quiet=True))


def test_noise_is_twelve_hundredths(quiet):
    table, log_price = quiet
    known = ~np.isnan(table["age"])
    noise = (log_price - worth(table))[known]
    assert noise.mean() == pytest.approx(0.0, abs=4 * 0.12 / np.sqrt(ROWS))
    assert noise.std() == pytest.approx(0.12, abs=4 * 0.12 / np.sqrt(2 * ROWS))


@pytest.mark.parametrize(("kind", "share"), [("flat", 0.45), ("terraced house", 0.22), ("detached house", 0.33)])
def test_the_mix_of_kinds(quiet, kind, share):
    assert np.mean(quiet[0]["kind"] == kind) == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / ROWS))


def test_a_missing_age_is_rare(quiet):
    assert np.mean(np.isnan(quiet[0]["age"])) == pytest.approx(0.01, abs=4 * np.sqrt(0.01 * 0.99 / ROWS))


def test_days_are_exchangeable(quiet):
    """Window means of a quiet town are independent: lag-1 autocorrelation within 4 / sqrt(days)."""
    table, log_price = quiet
    for values in (log_price, table["living_area"], (table["kind"] == "flat").astype(float)):
        means = values.reshape(len(DAYS), 120).mean(axis=1)
        z = means - means.mean()
        assert abs(z[1:] @ z[:-1] / (z @ z)) < 4 / np.sqrt(len(DAYS))


def test_after_the_pandemic_prices_part():
    table, log_price = pooled(Houses(11), [pandemic(0)])
    rest = log_price - worth(table)
    flats = table["kind"] == "flat"
    assert rest[flats].mean() == pytest.approx(-0.12, abs=4 * 0.12 / np.sqrt(flats.sum()) + 0.002)
    assert rest[~flats].mean() == pytest.approx(0.10, abs=4 * 0.12 / np.sqrt((~flats).sum()) + 0.002)


def test_inflation_ends_fourteen_per_cent_higher():
    table, log_price = pooled(Houses(11), [inflation(0)])
    rest = log_price - worth(table)
    assert rest[120 * 20 :].mean() > 0.1
    assert rest[-120 * 100 :].mean() == pytest.approx(7 * np.log(1.02), abs=0.01)
