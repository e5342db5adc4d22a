"""Gates before a build: what must be so, or nobody could ever say from what a release was made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from holdfast.errors import GateRefused

__all__ = ["require_clean"]


def require_clean(code: Mapping[str, Any], *, allow_dirty: bool) -> None:
    """The project's code is a commit, whole: nothing differs from it. Outside git there is nothing to require.

    Raises GateRefused unless `allow_dirty`; the release then says that it was made from uncommitted changes.
    """
    if not code.get("dirty") or allow_dirty:
        return
    if why := code.get("why"):
        raise GateRefused(
            f"git cannot say which commit this is: {why}",
            "code",
            'mend it; or build without knowing the commit: --allow-dirty, or [build] dirty = "allow"',
        )
    raise GateRefused(
        f"files differ from commit {str(code['commit'])[:12]}, so nobody could build this release again",
        "code",
        'git commit them; or build all the same: --allow-dirty, or [build] dirty = "allow"',
    )
