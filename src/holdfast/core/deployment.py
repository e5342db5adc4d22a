"""A deployment: a name that answers requests, as a pure state machine.

Tracks are roles: `live` answers, `canary` answers for a share of the sticky keys. Every change gives a new generation; the
traffic plan that workers follow is derived from the state, and the last live release is kept for rollback.
"""

from __future__ import annotations

import hashlib
from typing import Literal

import msgspec

from holdfast.errors import Conflict

__all__ = ["Deployment", "Plan", "Route", "Track", "canary_bucket"]

Track = Literal["live", "canary", "shadow"]
BUCKETS = 10_000


class Route(msgspec.Struct, frozen=True, array_like=True):
    """One release of a deployment and its share of the sticky keys."""

    release: str
    track: Track
    share: float


class Plan(msgspec.Struct, frozen=True):
    """What workers follow: immutable, swapped as a whole."""

    generation: int
    deployments: dict[str, tuple[Route, ...]]
    salts: dict[str, str]


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """State of one deployment. `since` are microseconds UTC on the deployment clock."""

    name: str
    live: str
    since: int
    previous: tuple[str, ...] = ()
    """Earlier live releases, newest last: what a rollback returns to."""
    canary: str = ""
    canary_share: float = 0.0
    canary_since: int = 0
    salt: str = ""

    @property
    def routes(self) -> tuple[Route, ...]:
        """The canary's share first, the rest to the live release."""
        live = Route(self.live, "live", 1.0 - self.canary_share if self.canary else 1.0)
        return (live, Route(self.canary, "canary", self.canary_share)) if self.canary else (live,)

    def deploy(self, release: str, now: int) -> Deployment:
        """Make `release` live at once; a running canary ends."""
        if release == self.live:
            raise Conflict(f"'{self.name}' already runs this release", release[:12], "nothing to do")
        return msgspec.structs.replace(
            self, live=release, since=now, previous=(*self.previous, self.live), canary="", canary_share=0.0
        )

    def start_canary(self, release: str, share: float, now: int, salt: str) -> Deployment:
        """Let `release` answer for a share of the keys."""
        if release == self.live:
            raise Conflict(f"'{self.name}' already runs this release", release[:12], "rollout another release")
        if not 0.0 < share < 1.0:
            raise Conflict(f"a canary's share must lie between 0 and 1, not {share}", self.name, "try --share 0.1")
        return msgspec.structs.replace(self, canary=release, canary_share=share, canary_since=now, salt=salt)

    def promote(self, now: int) -> Deployment:
        """The canary becomes live."""
        if not self.canary:
            raise Conflict(
                f"'{self.name}' has no canary to promote", next_step=f"holdfast rollout RELEASE --as {self.name}"
            )
        return self.deploy(self.canary, now)

    def rollback(self, now: int) -> Deployment:
        """A running canary is stopped; without one, the previous live release returns."""
        if self.canary:
            return msgspec.structs.replace(self, canary="", canary_share=0.0)
        if not self.previous:
            raise Conflict(f"'{self.name}' has no earlier release", next_step=f"holdfast history {self.name}")
        return msgspec.structs.replace(self, live=self.previous[-1], since=now, previous=self.previous[:-1])


def canary_bucket(salt: str, key: str) -> int:
    """0..9999, the same for a key as long as the salt stands: growing a share moves keys one way only."""
    return int.from_bytes(hashlib.sha256(f"{salt}\0{key}".encode()).digest()[:8], "big") % BUCKETS
