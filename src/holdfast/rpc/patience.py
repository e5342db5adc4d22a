"""How long a call's message is waited for: who begins to send and does not end would otherwise hold a place for ever.

A timer for each call would cost more than reading it, so a sweep asks now and then who has been reading for too long.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

from holdfast.errors import MalformedRequest, TooLate

__all__ = ["Patience"]

SWEEP_S: Final = 1.0


class Patience:
    """Reads messages within a time.

    Args:
        seconds: until a message must be complete; up to a sweep longer is allowed.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._now = time.monotonic()
        self._reading: dict[asyncio.Task[Any] | None, float] = {}
        self._late: set[asyncio.Task[Any] | None] = set()

    async def read(self, context: Any) -> bytes:
        """The call's message; raises TooLate, or MalformedRequest if there is none."""
        task = asyncio.current_task()
        self._reading[task] = self._now
        try:
            body = await context.read()
        except asyncio.CancelledError:
            if task is None or task not in self._late:
                raise  # the caller has gone
            task.uncancel()
            raise TooLate(f"the message was not complete after {self._seconds:g} s", "", "send it faster") from None
        finally:
            del self._reading[task]
            self._late.discard(task)
        if not isinstance(body, bytes):
            raise MalformedRequest("the call came without a message", next_step="send one")
        return body

    async def sweep(self) -> None:
        """For ever."""
        while True:
            await asyncio.sleep(min(SWEEP_S, self._seconds / 4))
            self._now = now = time.monotonic()
            for task, since in self._reading.items():
                if task is not None and now - since > self._seconds and task not in self._late:
                    self._late.add(task)
                    task.cancel()
