"""Are the releases that answer now still what was signed, by keys that still count? Looked at again while a server runs.

A release is verified when it is loaded, and then lives in memory: a file that changes on the disk afterwards, or a key that is
revoked or expires, would show only at the next start, which is the worst moment to learn of it. What is found is told by `status`
and on stderr; the server goes on answering with what it has loaded, which was verified.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from holdfast.core.names import short
from holdfast.errors import NotFound, ReleaseError
from holdfast.release.bundle import verify

if TYPE_CHECKING:
    from holdfast.workspace import Workspace

__all__ = ["Recheck"]


class Recheck:
    """Verifies all deployed releases at an interval.

    Args:
        workspace: whose deployments, keys and settings count.
        now: a steady clock in seconds.
    """

    def __init__(self, workspace: Workspace, now: Callable[[], float] = time.monotonic) -> None:
        self._workspace = workspace
        self._now = now
        self._last = now()
        self._found = ""

    def look(self) -> str:
        """What is wrong, in a sentence; empty if nothing. Between two looks, what the last one found."""
        every = self._workspace.settings.trust.recheck_s
        if every and self._now() - self._last >= every:
            self._found = self._verified()
            self._last = self._now()
        return self._found

    def _verified(self) -> str:
        with self._workspace.database.read() as stores:
            deployed = {
                digest: deployment.name
                for deployment in stores.deployments.all()
                for digest in (deployment.canary, deployment.live)
                if digest
            }
        for digest, name in deployed.items():
            try:
                verify(self._workspace.releases / digest, self._workspace.trusted)
            except (ReleaseError, NotFound, OSError) as bad:
                return f"release {short(digest)} of '{name}' can't be loaded again: {bad}"
        return ""
