"""Counts are a commutative monoid, and counting is a homomorphism: parts add up to one pass, bit for bit."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from holdfast.stats.counts import Counts, fit_spec

numbers = st.one_of(st.floats(allow_nan=True, allow_infinity=True, width=64), st.integers(-5, 5).map(float))
words = st.one_of(st.none(), st.sampled_from(["a", "b", "c", "ü", ""]))


@st.composite
def tables(draw):
    rows = draw(st.integers(1, 60))
    x = np.array(draw(st.lists(numbers, min_size=rows, max_size=rows)))
    k = np.array(draw(st.lists(words, min_size=rows, max_size=rows)), dtype=object)
    cuts = sorted(draw(st.lists(st.integers(0, rows), max_size=4)))
    return {"x": x, "k": k}, [0, *cuts, rows]


@given(tables(), tables(), st.randoms(use_true_random=False))
def test_parts_in_any_order_equal_one_pass(reference, live, random):
    table, cuts = live
    specs = [fit_spec(name, reference[0][name], "input") for name in ("x", "k")]
    parts = [Counts.of(specs, {n: v[a:b] for n, v in table.items()}) for a, b in pairwise(cuts)]
    whole = Counts.of(specs, table)
    random.shuffle(parts)
    assert Counts.total(parts) == whole
    assert whole + Counts() == Counts() + whole == whole
    assert Counts.from_bytes(whole.to_bytes()) == whole
    for spec in specs:
        assert whole.columns[spec.name].sum() == whole.rows == len(table["x"])
        assert np.array_equal(np.bincount(spec.bins(table[spec.name]), minlength=spec.size), whole.columns[spec.name])
