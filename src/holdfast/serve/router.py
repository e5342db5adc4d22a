"""Who answers: the live release or, for its share of the sticky keys, the canary.

A request goes as a whole, by the key of its first row: its rows share one answer, one record and one release. The key is the
contract's key field, else the header `X-Holdfast-Key`, else the request id (then nothing is sticky). A key stays with its track
while the canary's share stands, and a growing share moves keys one way only (`core.deployment.canary_bucket`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from holdfast.core.deployment import BUCKETS, canary_bucket
from holdfast.serve.plan import LoadedDeployment, LoadedRoute

__all__ = ["KEY_HEADER", "pick", "sticky_key"]

KEY_HEADER: Final = "x-holdfast-key"


def sticky_key(keys: Sequence[str | None] | None, headers: Mapping[str, str], request: str) -> str:
    """What keeps a client with its track; header names are lower case."""
    return (keys[0] if keys else None) or headers.get(KEY_HEADER) or request


def pick(deployment: LoadedDeployment, key: str) -> LoadedRoute:
    """The route of this key."""
    canary = deployment.canary
    if canary is not None and canary_bucket(deployment.salt, key) < round(canary.share * BUCKETS):
        return canary
    return deployment.live
