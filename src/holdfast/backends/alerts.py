"""Where alarms go: a line on stderr from the first day, and a webhook.

A webhook that fails must never hold up monitoring: it is tried three times in a thread of its own, then reported on stderr.
"""

from __future__ import annotations

import sys
import threading
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.core.alarm import Alarm

__all__ = ["stderr", "webhook"]

TRIES = 3
TIMEOUT_S = 5.0


def stderr(alarm: Alarm, state: str) -> None:
    """One line: what, where, since when, what to do."""
    sys.stderr.write(f"ALARM {state} [{alarm.id}] {alarm.deployment}: {alarm.sentence}\n")
    if alarm.action and state == "opened":
        sys.stderr.write(f"  next: {alarm.action}\n")
    sys.stderr.flush()


def webhook(url: str) -> Callable[[Alarm, str], None]:
    """POSTs the alarm as JSON: `{"state": "opened"|"closed", "alarm": {...}}`."""

    def send(alarm: Alarm, state: str) -> None:
        body = msgspec.json.encode({"state": state, "alarm": alarm})
        threading.Thread(target=_post, args=(url, body, alarm.id), daemon=False).start()

    return send


def _post(url: str, body: bytes, alarm_id: str) -> None:
    for attempt in range(1, TRIES + 1):
        try:
            request = urllib.request.Request(url, body, {"Content-Type": "application/json"})  # noqa: S310 - the user's own URL
            with urllib.request.urlopen(request, timeout=TIMEOUT_S):  # noqa: S310 - the user's own URL
                return
        except (OSError, ValueError) as bad:
            if attempt == TRIES:
                sys.stderr.write(f"alarm {alarm_id} could not be sent to the webhook: {bad}\n")
            else:
                time.sleep(0.5 * attempt)
