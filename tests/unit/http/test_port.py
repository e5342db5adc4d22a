"""What the port does for all its connections."""

from email.utils import formatdate

import pytest

from holdfast.http.port import http_date


@pytest.mark.parametrize("seconds", [0.0, 951_782_399.9, 951_782_400.0, 1_709_164_800.5, 4_102_444_799.0])
def test_dates_are_the_standard_librarys(seconds):
    assert http_date(seconds) == formatdate(seconds, usegmt=True)
