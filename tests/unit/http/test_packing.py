import gzip
import zlib

import msgspec
import pytest

from holdfast.errors import MalformedRequest, TooLarge
from holdfast.http.packing import LEAST, packed, unpacked
from holdfast.http.problems import Refused, Reply

LONG = Reply(200, b"x" * LEAST, headers=(("a", "b"),))


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("gzip", "gzip"),
        ("deflate, gzip;q=0.5", "gzip"),
        ("GZIP ; q=1", "gzip"),
        ("gzip;q=0, deflate", "deflate"),
        ("gzip; q=0.0", None),
        ("br, zstd", None),
        ("", None),
        (";;,,=", None),
    ],
)
def test_an_answer_is_packed_as_is_accepted(accepted, coding):
    found = packed(LONG, accepted)
    if coding is None:
        assert found is LONG
    else:
        assert found.headers == (("a", "b"), ("content-encoding", coding), ("vary", "accept-encoding"))
        assert (gzip if coding == "gzip" else zlib).decompress(found.body) == LONG.body


def test_a_short_answer_goes_as_it_is():
    short = msgspec.structs.replace(LONG, body=b"x" * (LEAST - 1))
    assert packed(short, "gzip") is short


@pytest.mark.parametrize(
    ("body", "coding"),
    [
        (gzip.compress(b"ab", mtime=0), " GZip"),
        (gzip.compress(b"ab", mtime=0), "x-gzip"),
        (zlib.compress(b"ab"), "deflate"),
        (b"ab", "identity"),
    ],
)
def test_what_comes_packed(body, coding):
    assert unpacked(body, coding, 2) == b"ab"


@pytest.mark.parametrize(
    ("body", "coding", "error"),
    [
        (gzip.compress(b"abc", mtime=0), "gzip", TooLarge),
        (zlib.compress(b"abc"), "deflate", TooLarge),
        (b"abc", "gzip", MalformedRequest),
        (gzip.compress(b"ab", mtime=0)[:-1], "gzip", MalformedRequest),
        (gzip.compress(b"ab", mtime=0) + b"x", "gzip", MalformedRequest),
        (zlib.compress(b"ab")[:-1], "deflate", MalformedRequest),
        (b"ab", "br", Refused),
    ],
)
def test_what_cannot_be_unpacked(body, coding, error):
    with pytest.raises(error):
        unpacked(body, coding, 2)
