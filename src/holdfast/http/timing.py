"""Where a request's time went, told in the answer's `Server-Timing` header to whoever sends `X-Holdfast-Timing: 1`.

Browsers' developer tools draw the header; `curl -i` shows it. Milliseconds: `wait` for a thread where the model is slow,
`decode` and `encode` of the bytes, `model` for all between them (routing, checks, the model itself), `total` of these. What
comes after is not in it: the log's write, and the network.

Reference: W3C, Server Timing, 2023.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.columns import Layout
    from holdfast.columns.payloads import Payload
    from holdfast.serve.answers import Answered
    from holdfast.serve.codecs import Codec, Headers

__all__ = ["ASKS", "Timed"]

ASKS: Final = "x-holdfast-timing"


class Timed:
    """A codec that times another one, for one request.

    Args:
        codec: does the work.
        arrived: when the request was taken, on the performance counter.
    """

    def __init__(self, codec: Codec, arrived: float) -> None:
        self._codec = codec
        self._arrived = arrived
        self._began = time.perf_counter()
        self._decoding = 0.0
        self._decoded = self._began

    def decode(self, body: bytes, headers: Mapping[str, str], layout: Layout, max_rows: int) -> Payload:
        """As the codec does; twice where a canary has another contract."""
        began = time.perf_counter()
        payload = self._codec.decode(body, headers, layout, max_rows)
        self._decoded = time.perf_counter()
        self._decoding += self._decoded - began
        return payload

    def encode(self, answered: Answered, payload: Payload) -> tuple[bytes, Headers]:
        """As the codec does, and the header."""
        began = time.perf_counter()
        told, headers = self._codec.encode(answered, payload)
        ended = time.perf_counter()
        parts = {
            "wait": self._began - self._arrived,
            "decode": self._decoding,
            "model": began - self._began - self._decoding,
            "encode": ended - began,
            "total": ended - self._arrived,
        }
        line = ", ".join(f"{name};dur={1e3 * seconds:.3f}" for name, seconds in parts.items())
        return told, (*headers, ("Server-Timing", line))
