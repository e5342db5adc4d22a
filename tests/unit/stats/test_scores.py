import numpy as np
import pytest

from holdfast.stats.counts import ColumnSpec, Counts
from holdfast.stats.scores import ScoreTable, score_vectors

AREA = ColumnSpec("area", "numeric", "input", edges=(0.0, 1.0, 2.0, 3.0))
KIND = ColumnSpec("kind", "categorical", "input", categories=("flat", "house", "villa"))


def test_scores_of_a_numeric_column():
    scores = {name: g.tolist() for name, (g, _) in score_vectors(AREA, np.array([50, 0, 20, 60, 20, 0])).items()}
    assert scores["location"][1:] == pytest.approx([0.0, 0.1, 0.5, 0.9, 1.0])
    assert scores["spread"][1:] == pytest.approx([1.0, 0.8, 0.0, 0.8, 1.0])
    assert np.isnan([scores["location"][0], scores["spread"][0], scores["out_of_range"][0]]).all()
    assert scores["missing"] == [1, 0, 0, 0, 0, 0]
    assert scores["out_of_range"][1:] == [1, 0, 0, 0, 1]


def test_scores_of_a_categorical_column():
    scores = score_vectors(KIND, np.array([7, 50, 30, 20, 0]))
    assert list(scores) == ["missing", "unseen", "category:flat", "category:house", "category:villa", "ordered"]
    ordered = scores["ordered"][0]
    assert ordered[1:4] == pytest.approx([0.25, 0.65, 0.9])
    assert np.isnan(ordered[[0, 4]]).all()  # an unseen value has no place in the order


def test_nothing_is_asked_twice():
    two = ColumnSpec("old", "categorical", "input", categories=("false", "true"))
    assert list(score_vectors(two, np.array([0, 70, 30, 0]))) == ["missing", "unseen", "category:false"]
    binary = ColumnSpec("loss", "numeric", "loss", edges=(0.0, 0.5, 1.0))
    assert list(score_vectors(binary, np.array([0, 0, 90, 10, 0]))) == ["missing", "out_of_range", "location"]
    constant = ColumnSpec("one", "numeric", "input", edges=(1.0, 1.0))
    assert list(score_vectors(constant, np.array([0, 0, 9, 0]))) == ["missing", "out_of_range"]


def test_the_table_gives_window_means_over_the_rows_that_count():
    windows = [Counts(10, {"area": np.array([2, 0, 4, 4, 0, 0]), "kind": np.array([0, 5, 5, 0, 0])})]
    table = ScoreTable(
        [AREA, KIND], Counts(100, {"area": np.array([0, 0, 20, 60, 20, 0]), "kind": np.array([0, 5, 3, 2, 0])})
    )
    y, n = table.means(table.stack(windows))
    found = {m.key: (round(a, 6), b) for m, a, b in zip(table.monitors, y[0].tolist(), n[0].tolist(), strict=True)}
    assert found["area:missing"] == (0.2, 10)
    assert found["area:location"] == (0.3, 8)
    assert found["kind:category:flat"] == (0.5, 10)
    assert table.parts[table.owner == 0].sum() == pytest.approx(1.0)


def test_counts_of_another_reference_are_refused():
    table = ScoreTable([AREA], Counts(3, {"area": np.array([0, 0, 1, 1, 1, 0])}))
    for columns, found in (({}, "none"), ({"area": np.zeros(4, np.int64)}, "4 bins")):
        with pytest.raises(ValueError, match=f"'area': {found}"):
            table.stack([Counts(0, columns)])
