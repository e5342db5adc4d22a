"""Packed bodies, gzip and deflate: what comes is never unpacked beyond a limit, what goes is packed where that was asked for."""

from __future__ import annotations

import zlib
from typing import Final

import msgspec

from holdfast.errors import MalformedRequest, TooLarge
from holdfast.http.problems import Refused, Reply

__all__ = ["packed", "unpacked"]

LEAST: Final = 1024
"""An answer of fewer bytes goes as it is: packing would cost more than it saves."""
LEVEL: Final = 1
_WINDOWS: Final = {"gzip": zlib.MAX_WBITS | 16, "x-gzip": zlib.MAX_WBITS | 16, "deflate": zlib.MAX_WBITS}


def unpacked(body: bytes, coding: str, limit: int) -> bytes:
    """A body as it was before packing; never more than `limit` bytes are made."""
    coding = coding.strip().lower()
    if coding == "identity":
        return body
    window = _WINDOWS.get(coding)
    if window is None:
        raise Refused(f"content coding '{coding[:40]}' is not known", "header Content-Encoding", "use gzip", status=415)
    unpacker = zlib.decompressobj(window)
    try:
        found = unpacker.decompress(body, limit + 1)
    except zlib.error as bad:
        raise MalformedRequest(
            f"the body is not {coding}: {bad}", next_step="send it packed or say that it isn't"
        ) from None
    if len(found) > limit:
        raise TooLarge(f"the unpacked body is larger than {limit / (1 << 20):g} MiB", next_step="send fewer rows")
    if not unpacker.eof or unpacker.unused_data:
        raise MalformedRequest(
            "the packed body is cut off or has something behind it", next_step=f"send one {coding} stream"
        )
    return found


def packed(reply: Reply, accepted: str) -> Reply:
    """The reply, packed if that pays and is accepted (the header Accept-Encoding)."""
    if len(reply.body) < LEAST:
        return reply
    coding = _chosen(accepted.lower())
    if not coding:
        return reply
    packer = zlib.compressobj(LEVEL, wbits=_WINDOWS[coding])
    body = packer.compress(reply.body) + packer.flush()
    return msgspec.structs.replace(
        reply, body=body, headers=(*reply.headers, ("content-encoding", coding), ("vary", "accept-encoding"))
    )


def _chosen(accepted: str) -> str:
    """Prefer gzip to deflate, if its weight is not 0; nothing where neither is named."""
    weights = {}
    for part in accepted.split(","):
        name, _, weight = part.partition(";")
        weights[name.strip()] = weight.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
    return next((coding for coding in ("gzip", "deflate") if weights.get(coding)), "")
