"""What a pickle brings in while it is opened: every name that it looks up, by Python's own audit events.

Told by the process that opens it, so it informs people and protects nobody: code that runs in there may also lie.

Reference: PEP 578, `pickle.find_class`.
"""

from __future__ import annotations

import sys
from typing import Any, Final

__all__ = ["looked_up", "watch"]

MOST: Final = 500
_SEEN: Final[set[str]] = set()


def watch() -> None:
    """From now on, for as long as the process lives."""
    sys.addaudithook(_heard)


def looked_up() -> list[str]:
    """Sorted `module.name`s so far."""
    return sorted(_SEEN)


def _heard(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "pickle.find_class" and len(_SEEN) < MOST:
        _SEEN.add(f"{arguments[0]!s}.{arguments[1]!s}"[:120])
