"""Every kind of model on every kind of input answers over HTTP as it did in its own library; what cannot is refused by name."""

import re

import pytest
from tests.integration import matrix
from tests.integration.matrix_models import CASES, Functions

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.xdist_group("matrix")]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return matrix.made(tmp_path_factory.mktemp("matrix"))


def test_no_row_of_any_kind_is_beyond_the_tolerance(found):
    lines, _ = found
    assert len(lines) >= 16
    for line in lines:
        for kind, cell in line.cells.items():
            assert cell.beyond == 0, f"{line.case.name}, {kind}: {cell}"
        assert line.at_thresholds > 0 or isinstance(line.case, Functions)
    asked = {kind for line in lines for kind, cell in line.cells.items() if cell.rows}
    assert asked == set(matrix.KINDS)


def test_a_server_refuses_only_what_the_model_itself_refuses(found):
    lines, _ = found
    refused = {
        (line.case.name, kind): cell.refused for line in lines for kind, cell in line.cells.items() if cell.refused
    }
    assert list(refused) == [("XGBoost with categories, DART", "unseen")]
    assert "is no known category, row 0, field 'word'" in next(iter(refused.values()))


def test_the_page_is_what_was_found(found):
    """But for how many thresholds there are, which depends on the last bits of a training."""
    told, fresh = matrix.PAGE.read_text(encoding="utf-8"), matrix.page(*found)
    left_out = [case.name for case in CASES if case not in matrix.cases()]
    told = "".join(
        line for line in told.splitlines(keepends=True) if not line.startswith(tuple(f"| {n} |" for n in left_out))
    )
    counts = re.compile(r"0 of \d+ \| 1e-")
    assert counts.sub("0 of N | 1e-", told) == counts.sub("0 of N | 1e-", fresh), "stale: make docs-matrix"
