"""Rows and labels as a user has them, to columns."""

import pandas as pd
import pytest

from holdfast.build.frames import table_of
from holdfast.errors import UsageError

ROWS = pd.DataFrame({"area": [1.5, None], "price": [1, 2]})


def test_the_label_is_one_more_column():
    assert table_of(ROWS[["area"]], [3, 4], label="price")["price"].tolist() == [3.0, 4.0]


def test_a_label_may_stand_in_the_rows_too():
    assert table_of(ROWS, ROWS.price, label="price")["price"].tolist() == [1.0, 2.0]
    assert table_of(ROWS, ROWS.area, label="area")["area"].tolist()[0] == 1.5


def test_a_label_called_like_another_column_does_not_replace_it():
    """`y = X["area"] > 1` is called `area`."""
    with pytest.raises(UsageError, match="'area'"):
        table_of(ROWS, ROWS.area > 1, label="area")


def test_texts_may_come_as_a_list_or_a_series():
    assert table_of(["a", "b"])["text"].tolist() == ["a", "b"]
    assert table_of(pd.Series(["a", None]))["text"].tolist() == ["a", None]
    assert list(table_of(pd.Series(["a"], name="review"))) == ["review"]
    with pytest.raises(UsageError, match="1 dimensions"):
        table_of([1.0, 2.0])
