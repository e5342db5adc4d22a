"""Two samples of one distribution exceed a distance's noise band in about 5 % of draws.

600 seeded draws of the data, each with its own simulated band of 200 draws: standard error about 1.0 % together; the tests allow
2 to 9 % (discreteness pulls it down), which a band of the right size leaves by chance less than once in 1 000.
"""

from __future__ import annotations

import numpy as np
import pytest

from holdfast.stats.distances import NAMES, distances


@pytest.mark.parametrize(("bins", "rows"), [(4, 100), (34, 100), (34, 2000)])
def test_the_bands_hold(bins: int, rows: int) -> None:
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.full(bins, 5.0))
    beyond = dict.fromkeys(NAMES, 0)
    for _ in range(600):
        found = distances(rng.multinomial(10_000, shares), rng.multinomial(rows, shares), rng, draws=200)
        for name, distance in found.items():
            beyond[name] += distance.beyond_noise
    assert all(0.02 <= count / 600 <= 0.09 for count in beyond.values()), beyond


def test_a_shift_of_half_a_standard_deviation_is_far_beyond_noise() -> None:
    rng = np.random.default_rng(1)
    edges = np.linspace(-2.5, 2.5, 31)
    reference = np.histogram(rng.standard_normal(10_000), edges)[0]
    current = np.histogram(rng.standard_normal(1_000) + 0.5, edges)[0]
    assert all(d.value > 2 * d.band for d in distances(reference, current, rng).values())
