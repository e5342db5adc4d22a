"""Who may ask, and how much: one `Admission` stands before every door's data plane.

A request is admitted before its body is looked at: the key is known, is for this deployment and for what is asked, has not used
up its rate or its day; and we are not so late already that the answer would come too late anyway (`load`). What is turned away
here costs a few microseconds and is counted like every other refusal.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from holdfast.core.access import SCOPES
from holdfast.errors import Forbidden, MalformedRequest, Overloaded, TooLate, Unauthorized
from holdfast.serve.load import Load

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from holdfast.access import Holder, KeyRing
    from holdfast.serve.budgets import Account, Budgets

__all__ = ["DEADLINE_HEADER", "FREE", "SCOPE_OF", "Admission", "Grant"]

DEADLINE_HEADER: Final = "x-holdfast-deadline-ms"
PREDICT, LABEL, METRICS = SCOPES
READ: Final = ""
"""Any key of the deployment will do."""
OPEN: Final = frozenset({"live", "ready", "ping"})
"""Health: no key, never shed, so that a busy server is not taken for a dead one."""
SCOPE_OF: Final = {
    "rows": PREDICT,
    "infer": PREDICT,
    "invocations": PREDICT,
    "label": LABEL,
    "metrics": METRICS,
    "index": READ,
    "server": READ,
    "metadata": READ,
    "model_ready": READ,
    "version": READ,
    "repository": READ,
    "load": READ,
    "unload": READ,
}
WORK: Final = frozenset({PREDICT, LABEL})
"""What is shed under load."""


class Grant:
    """That a request may go on, until when, and at whose cost."""

    __slots__ = ("_account", "deadline", "key")

    def __init__(self, key: str = "", account: Account | None = None, deadline: float | None = None) -> None:
        self.key = key
        """Id of the key; empty where none is asked for."""
        self.deadline = deadline
        """`time.perf_counter()` by which the answer must be there."""
        self._account = account

    def rows(self, count: int) -> None:
        """Charge rows before they are answered; raises TooMany if the key's day has not so many left."""
        if self._account is not None:
            self._account.rows(count)

    @property
    def charge(self) -> Callable[[int], None] | None:
        """`rows` if there is anything to charge."""
        return None if self._account is None else self._account.rows

    def in_time(self) -> None:
        """Raises TooLate if the deadline has passed: nobody waits for the answer any more."""
        if self.deadline is not None and time.perf_counter() > self.deadline:
            raise TooLate("the deadline passed before the model was asked", "", "allow more time, or ask less often")


FREE: Final = Grant()


class Admission:
    """Decides at the door; one for all doors of a process. Call it on the event loop.

    Args:
        ring: the keys; None: nobody is asked for one.
        budgets: what limited keys have used.
        load: how late we are.
        deadline_s: for requests that name none; 0: they have all the time.
    """

    def __init__(
        self,
        ring: KeyRing | None = None,
        budgets: Budgets | None = None,
        load: Load | None = None,
        *,
        deadline_s: float = 0.0,
    ) -> None:
        self.load = Load() if load is None else load
        self._ring = ring
        self._budgets = budgets
        self._deadline_s = deadline_s

    def admit(self, headers: Mapping[str, str], deployment: str | None, verb: str) -> Grant:
        """Let a request in. Header names are lower case; verbs are `SCOPE_OF`'s and health's.

        Raises Unauthorized, Forbidden, TooMany, Overloaded.
        """
        if verb in OPEN:
            return FREE
        scope = SCOPE_OF.get(verb, PREDICT)
        work = scope in WORK
        if work and self.load.late():
            raise Overloaded("too many requests at once", next_step="try again in a second")
        account, key = None, ""
        if self._ring is not None:
            held = self._known(headers, self._ring)
            _allowed(held, deployment, scope, whole=verb == "repository")
            key = held.key.id
            if work and self._budgets is not None and (account := self._budgets.account(held.key)) is not None:
                account.request()
        if self._deadline_s or DEADLINE_HEADER in headers:
            return Grant(key, account, self._deadline(headers))
        return Grant(key, account) if key else FREE

    def refresh(self) -> None:
        """Take over keys that were made or revoked; called several times a second."""
        if self._ring is not None:
            self._ring.refresh()

    def _known(self, headers: Mapping[str, str], ring: KeyRing) -> Holder:
        shown = headers.get("authorization")
        text = shown[7:] if shown is not None and shown[:7].lower() == "bearer " else headers.get("x-api-key", "")
        held = ring.find(text.strip())
        if held is None:
            raise Unauthorized(
                "this key is not known here" if text else "this server asks for an API key",
                "header Authorization",
                "send 'Authorization: Bearer KEY'; keys are made with: holdfast keys create",
            )
        if time.time() >= held.expires:
            raise Unauthorized(f"key '{held.key.name}' has expired", "header Authorization", "ask for a new key")
        return held

    def _deadline(self, headers: Mapping[str, str]) -> float:
        """On the performance counter. A request that has used up its time while it waited for us is turned away now."""
        allowed = self._deadline_s
        if (said := headers.get(DEADLINE_HEADER)) is not None:
            try:
                allowed = float(said) / 1e3
            except ValueError:
                allowed = -1.0
            if not 0.0 < allowed < 1e6:
                raise MalformedRequest(
                    f"'{said[:40]}' is no number of milliseconds", f"header {DEADLINE_HEADER}", "send, say, 250"
                )
        if self.load.waited() > allowed:
            raise TooLate("the deadline passed before the request was read", "", "allow more time, or ask less often")
        return time.perf_counter() + allowed - self.load.waited()


def _allowed(held: Holder, deployment: str | None, scope: str, *, whole: bool) -> None:
    if scope and scope not in held.scopes:
        raise Forbidden(f"key '{held.key.name}' is not for '{scope}'", "", f"it is for: {', '.join(held.key.scopes)}")
    if held.any:
        return
    if whole or (deployment and deployment not in held.deployments):
        where = "all deployments" if whole else f"deployment '{(deployment or '')[:64]}'"
        names = ", ".join(held.key.deployments)
        raise Forbidden(f"key '{held.key.name}' is not for {where}", "", f"it is for: {names}")
