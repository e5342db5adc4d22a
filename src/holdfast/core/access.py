"""An API key as the server knows it: whose it is, what it may ask and how much. The secret itself is kept nowhere.

A key is for some deployments (`*`: all of them, also later ones) and some scopes, and may be limited in requests per second
and in rows per day: rows, because one request can hold ten thousand of them.
"""

from __future__ import annotations

from typing import Final

import msgspec

from holdfast.core.names import check_name
from holdfast.errors import UsageError

__all__ = ["ANY", "SCOPES", "AccessKey"]

SCOPES: Final = ("predict", "label", "metrics")
"""What a key may be made for. Any key may read the metadata of its deployments; nobody needs one to ask for health."""
ANY: Final = "*"
MOST: Final = 1_000_000_000


class AccessKey(msgspec.Struct, frozen=True, kw_only=True):
    """One key. Times are microseconds UTC of the wall clock."""

    number: int
    """1, 2 ...: its place in the file of budgets."""
    id: str
    """Stands in the key itself: `hf_<id>_<secret>`."""
    name: str
    """For people; unique among keys that are not revoked."""
    digest: bytes
    """HMAC-SHA256 of the whole key under the workspace's pepper."""
    deployments: tuple[str, ...]
    scopes: tuple[str, ...]
    rate: float = 0.0
    """Requests per second; 0: no limit."""
    rows_per_day: int = 0
    """Rows per day (UTC); 0: no limit."""
    created: int = 0
    expires: int | None = None
    revoked: int | None = None

    def __post_init__(self) -> None:
        check_name(self.name, "key's name")
        for name in self.deployments:
            if name != ANY:
                check_name(name, "deployment name")
        unknown = [scope for scope in self.scopes if scope not in SCOPES]
        if unknown or not self.scopes or not self.deployments:
            raise UsageError(
                f"no scope '{unknown[0]}'" if unknown else "a key is for at least one deployment and one scope",
                next_step=f"scopes are: {', '.join(SCOPES)}",
            )
        if not (0 <= self.rate <= MOST and 0 <= self.rows_per_day <= MOST):
            raise UsageError(f"a limit is a number up to {MOST:g}", next_step="leave it out for no limit")

    def standing(self, now: int) -> str:
        """`good`, `expired` or `revoked`."""
        if self.revoked is not None:
            return "revoked"
        return "expired" if self.expires is not None and now >= self.expires else "good"
