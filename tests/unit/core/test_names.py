import pytest

from holdfast.core.names import RequestIds, check_name, prediction_id, short, split_prediction_id, unique_prefix
from holdfast.errors import NotFound, UsageError


def test_request_ids_sort_by_time_and_never_repeat():
    ids = RequestIds(lambda n: b"\xff" * n)
    made = [ids.new(ms) for ms in (5, 5, 5, 4, 6, 6)]
    assert made == sorted(made)
    assert len(set(made)) == len(made)
    assert all(len(one) == 26 for one in made)


def test_a_prediction_id_reads_back():
    request = RequestIds(bytes).new(1)
    assert split_prediction_id(prediction_id(request, 17)) == (request, 17)


@pytest.mark.parametrize("text", ["", "x", "x-1", "0" * 26, "0" * 26 + "-", "0" * 26 + "-x", "0" * 26 + "-١"])
def test_what_is_no_prediction_id_is_refused(text):
    with pytest.raises(UsageError):
        split_prediction_id(text)


@pytest.mark.parametrize("name", ["", "-x", "a b", "a/b", "x" * 64, "../x", "ü"])
def test_names_that_would_hurt_are_refused(name):
    with pytest.raises(UsageError):
        check_name(name)


def test_short_names_read_back_like_gits():
    digests = ["abcd1" + "0" * 59, "abcd2" + "0" * 59]
    assert unique_prefix("abcd1", digests) == digests[0]
    assert short(digests[0]) == digests[0][:12]
    with pytest.raises(UsageError, match="2 releases"):
        unique_prefix("abcd", digests)
    with pytest.raises(NotFound):
        unique_prefix("abc", digests)
