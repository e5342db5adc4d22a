"""What the two sides of a Python release say to each other: a JSON header, then the bytes of its columns.

    u32 length of the header | u32 length of the columns | header | columns

Nothing in it is code or an object; a number is eight bytes, texts are JSON. The child may be anybody, so the parent reads no
more than it agreed to, and believes only what has the right shape. Plain standard library: it runs in any environment.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Sequence
from typing import Any, Final

__all__ = ["Closed", "TooMuch", "receive", "send", "text_bytes", "texts_of"]

HEAD: Final = struct.Struct("<II")
HEADER_MOST: Final = 4 << 20
BLOCK: Final = 1 << 20


class Closed(Exception):
    """The other side is gone."""


class TooMuch(Exception):
    """The other side says more than agreed, or something else."""


def send(channel: socket.socket, header: dict[str, Any], columns: Sequence[bytes] = ()) -> None:
    """Say something."""
    head = json.dumps(header).encode()
    try:
        channel.sendall(HEAD.pack(len(head), sum(map(len, columns))) + head)
        for column in columns:
            channel.sendall(column)
    except (BrokenPipeError, ConnectionError):
        raise Closed from None


def receive(channel: socket.socket, most: int) -> tuple[dict[str, Any], memoryview]:
    """What the other side said; at most so many bytes of columns."""
    length, size = HEAD.unpack(_read(channel, HEAD.size))
    if length > HEADER_MOST or size > most:
        raise TooMuch
    try:
        header = json.loads(bytes(_read(channel, length)))
    except ValueError:
        raise TooMuch from None
    if not isinstance(header, dict):
        raise TooMuch
    return header, _read(channel, size)


def _read(channel: socket.socket, size: int) -> memoryview:
    content = bytearray(size)
    view, read = memoryview(content), 0
    while read < size:
        try:
            got = channel.recv_into(view[read : read + BLOCK])
        except ConnectionError:
            got = 0
        if not got:
            raise Closed
        read += got
    return view


def text_bytes(values: Sequence[Any]) -> bytes:
    """Texts and None."""
    return json.dumps(list(values)).encode()


def texts_of(content: memoryview, rows: int) -> list[Any]:
    """The other side of `text_bytes`."""
    try:
        values = json.loads(bytes(content))
    except ValueError:
        raise TooMuch from None
    if not isinstance(values, list) or len(values) != rows:
        raise TooMuch
    return values
