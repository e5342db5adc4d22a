"""Many rows through a model, a block at a time.

A network holds what lies between its layers for all rows of a run at once: ten thousand images would take all memory there is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["BLOCK", "in_blocks"]

BLOCK: Final = 512
"""Rows of one run: more gain nothing in speed (trees and networks, measured)."""

Feeds = Mapping[str, NDArray[Any]]


def in_blocks(run: Callable[[Feeds], list[NDArray[Any]]], feeds: Feeds) -> list[NDArray[Any]]:
    """The outputs of `run` for all rows; inputs and outputs have a row each along their first axis."""
    rows = len(next(iter(feeds.values()))) if feeds else 0
    if rows <= BLOCK:
        return run(feeds)
    parts = [
        run({name: values[start : start + BLOCK] for name, values in feeds.items()}) for start in range(0, rows, BLOCK)
    ]
    return [np.concatenate(one) for one in zip(*parts, strict=True)]
