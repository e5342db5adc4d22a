import numpy as np
import pytest

from holdfast.stats.arrays import pack, unpack
from holdfast.stats.counts import ColumnSpec, Counts, fit_spec


def words(*values):
    return np.array(values, dtype=object)


def test_a_numeric_column_has_a_bin_for_everything():
    spec = ColumnSpec("area", "numeric", "input", edges=(0.0, 1.0, 2.0))
    assert spec.labels == ("missing", "below", "[0, 1)", "[1, 2]", "above")
    values = np.array([np.nan, -1.0, 0.0, 0.99, 1.0, 2.0, 2.01, np.inf, -np.inf])
    assert spec.bins(values).tolist() == [0, 1, 2, 2, 3, 3, 4, 4, 1]
    assert spec.count(values).tolist() == [1, 2, 2, 2, 2]


def test_a_categorical_column_has_a_bin_for_everything():
    spec = ColumnSpec("kind", "categorical", "input", categories=("flat", "house"))
    values = words("house", None, "castle", "flat", "house", float("nan"))
    assert spec.labels == ("missing", "flat", "house", "unseen")
    assert spec.bins(values).tolist() == [2, 0, 3, 1, 2, 0]
    assert spec.count(values).tolist() == [2, 1, 2, 1]


def test_quantile_bins_hold_equal_shares():
    values = np.random.default_rng(1).lognormal(size=6400)
    spec = fit_spec("price", values, "input")
    inner = spec.count(values)[2:-1]
    assert spec.inner == 32
    assert inner.min() >= 199
    assert inner.max() <= 201


def test_few_values_get_a_bin_each_and_a_constant_gets_one():
    few = fit_spec("rooms", np.array([3.0, 1.0, 2.0, 2.0, np.nan]), "input")
    assert few.count(np.array([1.0, 2.0, 2.0, 3.0, 0.0, 4.0])).tolist() == [0, 1, 1, 2, 1, 1]
    constant = fit_spec("one", np.full(9, 7.0), "input")
    assert constant.inner == 1
    assert constant.count(np.array([7.0, 6.9, 7.1])).tolist() == [0, 1, 1, 1]


def test_heavy_ties_are_no_trouble():
    values = np.concatenate([np.zeros(900), np.arange(1.0, 101.0)])
    spec = fit_spec("rain", values, "input")
    assert spec.count(values).sum() == 1000
    assert spec.count(values)[[0, 1, -1]].sum() == 0


def test_a_column_without_any_value_knows_no_range():
    spec = fit_spec("empty", np.full(5, np.nan), "input")
    assert spec.labels == ("missing", "below", "above")
    assert spec.count(np.array([np.nan, 3.0])).tolist() == [1, 0, 1]


def test_categories_are_ordered_by_frequency_or_by_target():
    values = words("a", "b", "b", "c", "c", "c", None)
    assert fit_spec("k", values, "input").categories == ("c", "b", "a")
    target = np.array([5.0, 1.0, 1.0, 3.0, 3.0, 3.0, 9.0])
    assert fit_spec("k", values, "input", target=target).categories == ("b", "c", "a")
    assert fit_spec("k", values, "input", max_categories=1).categories == ("c",)


def test_specs_survive_json_shape():
    for spec in (fit_spec("x", np.arange(100.0), "loss"), fit_spec("k", words("a", "b"), "output")):
        assert ColumnSpec.from_dict(spec.to_dict()) == spec


def test_impossible_specs_are_refused():
    with pytest.raises(ValueError, match="ascending"):
        ColumnSpec("x", "numeric", "input", edges=(2.0, 1.0))
    with pytest.raises(ValueError, match="twice"):
        ColumnSpec("x", "categorical", "input", categories=("a", "a"))


def test_shares_and_means():
    spec = ColumnSpec("x", "numeric", "input", edges=(0.0, 1.0, 2.0))
    counts = Counts.of([spec], {"x": np.array([0.5, 1.5, 1.6, np.nan])})
    assert counts.shares("x").tolist() == [0.25, 0.0, 0.25, 0.5, 0.0]
    assert counts.mean("x", np.array([np.nan, 0.0, 0.0, 1.0, 1.0])) == pytest.approx(2 / 3)
    assert np.isnan(Counts(0, {"x": np.zeros(5, np.int64)}).mean("x", np.zeros(5)))


def test_counts_of_unlike_references_do_not_mix():
    a, b = Counts(1, {"x": np.array([1, 0])}), Counts(1, {"x": np.array([1, 0, 0])})
    with pytest.raises(ValueError, match="not the same reference"):
        a + b
    specs = [ColumnSpec(name, "numeric", "input", edges=(0.0, 1.0)) for name in ("x", "y")]
    with pytest.raises(ValueError, match="different lengths"):
        Counts.of(specs, {"x": np.zeros(2), "y": np.zeros(3)})


def test_a_window_of_25_columns_stays_small():
    rng = np.random.default_rng(0)
    columns = {f"column_{i}": rng.multinomial(100_000, np.full(35, 1 / 35)).astype(np.int64) for i in range(25)}
    assert len(Counts(100_000, columns).to_bytes()) < 6_000


def test_packed_arrays_refuse_objects_and_torn_bytes():
    good = pack({"a": 1}, {"x": np.arange(3)})
    with pytest.raises(ValueError, match="cut short"):
        unpack(good[:-1])
    with pytest.raises(ValueError, match="plain numbers"):
        unpack(good.replace(b"<i8", b"|O8"))
    with pytest.raises(ValueError, match="header"):
        unpack(b"")
