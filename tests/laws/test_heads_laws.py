"""A head that is known is read as if it were not."""

from hypothesis import given
from hypothesis import strategies as st

from holdfast.http.reader import Heads, Limits, Meter, Reader, Request

POST = b"POST /v2/models/m/infer HTTP/1.1\r\nHost: a\r\n"
MESSAGES = [
    POST + b"Content-Length: 2\r\n\r\nab",
    POST + b"Content-Length: 2\r\n\r\ncd",
    POST + b"content-length: 2\r\n\r\nab",
    POST + b"Content-Length: 3\r\n\r\nabc",
    POST + b"Content-Length: 0\r\n\r\n",
    POST + b"Content-Length: 4\r\n\r\n\r\n\r\n",
    POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
    POST + b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: x\r\nContent-Length: 2\r\n\r\nab",
    POST + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\nab",
    POST + b"Connection: close\r\nContent-Length: 2\r\n\r\nab",
    POST + b"X: " + b"y" * 3000 + b"\r\nContent-Length: 2\r\n\r\nab",
    b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /metrics HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"GET /metrics HTTP/1.1\r\n\r\n",
    b"\r\nGET /metrics HTTP/1.1\r\nHost: a\r\n\r\n",
    b"nonsense\r\n\r\n",
]


def ALL(_request):  # noqa: N802 - nobody is refused
    return None


def told(item):
    if isinstance(item, Request):
        return item.method, item.target, item.headers, item.body, item.keep, item.old
    return item


@given(
    chosen=st.lists(st.sampled_from(MESSAGES), max_size=12),
    cuts=st.lists(st.integers(0, 400), max_size=4),
    together=st.lists(st.booleans(), min_size=12, max_size=12),
)
def test_known_heads_change_nothing(chosen, cuts, together):
    """Whole, in pieces, or several at once; a reader that forgets every head says the same."""
    parts, stream = [], b""
    for message, more in zip(chosen, together, strict=False):
        stream += message
        if not more:
            parts.append(stream)
            stream = b""
    parts.append(stream)
    for at in cuts:
        parts = [piece for part in parts for piece in (part[:at], part[at:])]
    heads, meter = Heads(), Meter()
    for round_ in range(2):  # the second time over another connection
        quick, slow = Reader(Limits(), meter, heads, ALL), Reader(Limits(), Meter(), Heads(), ALL)
        for part in filter(None, parts):
            quick.feed(part)
            slow._heads.clear()
            slow.feed(part)
            assert [told(item) for item in quick.inbox] == [told(item) for item in slow.inbox], round_
            assert (quick.deaf, quick.midway, quick.cut_short) == (slow.deaf, slow.midway, slow.cut_short)
        for item in quick.inbox:
            if isinstance(item, Request):
                quick.answered(item)
        quick.abandon()
        assert meter.bytes == 0


def test_a_repeated_request_is_known_and_a_wrong_one_is_not():
    heads = Heads()
    reader = Reader(Limits(), Meter(), heads, ALL)
    for message in MESSAGES[:9]:
        reader.feed(message)
    assert sorted(known.length for known in heads.values()) == [0, 2, 2, 3, 4]
    for number in range(1000):
        reader.feed(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number)
    assert len(heads) <= 256


def test_a_known_head_is_held_to_the_bytes_that_may_wait():
    heads = Heads()
    Reader(Limits(), Meter(), heads, ALL).feed(MESSAGES[0])
    reader = Reader(Limits(bodies=3), Meter(), heads, ALL)
    reader.feed(MESSAGES[0])
    reader.feed(MESSAGES[0])
    assert isinstance(reader.inbox[0], Request)
    assert reader.inbox[1].status == 503
    assert reader.deaf
