"""One line of the append-only record of changes, and the hash that chains it to the line before.

Deleting, editing, inserting or reordering a line breaks the chain; a cut tail is found by comparing with a copy of the last
hash kept elsewhere.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

import msgspec

__all__ = ["GENESIS", "Event", "link"]

GENESIS: Final = "0" * 64


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Who did what to what, when."""

    number: int
    at: int
    """Deployment clock, microseconds UTC."""
    wall: int
    """Wall clock, microseconds UTC."""
    actor: str
    verb: str
    deployment: str
    release: str
    data: dict[str, Any] = {}
    hash: str = ""


def link(previous_hash: str, event: Event) -> Event:
    """The event with its hash: SHA-256 over the previous hash and the event's own canonical JSON."""
    body = msgspec.json.encode(msgspec.structs.replace(event, hash=""), order="sorted")
    return msgspec.structs.replace(event, hash=hashlib.sha256(previous_hash.encode() + body).hexdigest())
