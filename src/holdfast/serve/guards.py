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
WHOLE: Final = "*"
"""Any key of all deployments."""
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
    "repository": WHOLE,
    "load": READ,
    "unload": READ,
}
WORK: Final = frozenset({PREDICT, LABEL})
"""What is shed under load."""


class Grant:
    """That a request may go on, until when, and at whose cost."""

    __slots__ = ("account", "deadline", "key", "lasting")

    def __init__(
        self, key: str = "", account: Account | None = None, deadline: float | None = None, *, lasting: bool = False
    ) -> None:
        self.key = key
        """Id of the key; empty where none is asked for."""
        self.deadline = deadline
        """`time.perf_counter()` by which the answer must be there."""
        self.account = account
        """None if the key has no limits."""
        self.lasting = lasting
        """Whether the same request may go on again, within one `Admission.epoch`, if it is in turn."""

    def rows(self, count: int) -> None:
        """Charge rows before they are answered; raises TooMany if the key's day has not so many left."""
        if self.account is not None:
            self.account.rows(count)

    @property
    def charge(self) -> Callable[[int], None] | None:
        """`rows` if there is anything to charge."""
        return None if self.account is None else self.account.rows

    def in_time(self) -> None:
        """Raises TooLate if the deadline has passed: nobody waits for the answer any more."""
        if self.deadline is not None and time.perf_counter() > self.deadline:
            raise TooLate("the deadline passed before the model was asked", "", "allow more time, or ask less often")


FREE: Final = Grant(lasting=True)


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
        self._grants: dict[Holder, Grant] = {}
        self.epoch = object()
        """Another one whenever keys were made or revoked: what was granted before must be asked for again."""

    def admit(self, headers: Mapping[str, str], deployment: str | None, verb: str) -> Grant:
        """Let a request in. Header names are lower case; verbs are `SCOPE_OF`'s and health's.

        Raises Unauthorized, Forbidden, TooMany, Overloaded.
        """
        if verb in OPEN:
            return FREE
        work = SCOPE_OF.get(verb, PREDICT) in WORK
        if work:
            self.in_turn()
        held = self.entitled(headers, deployment, verb)
        grant = FREE
        if held is not None:
            grant = self._grants.get(held) or self._granted(held)
            if work and grant.account is not None:
                grant.account.request()
        if self._deadline_s or DEADLINE_HEADER in headers:
            return Grant(grant.key, grant.account, self._deadline(headers))
        return grant

    def entitled(self, headers: Mapping[str, str], deployment: str | None, verb: str) -> Holder | None:
        """Whose key this is, which is for this; None where no key is asked for. Raises Unauthorized, Forbidden."""
        if self._ring is None or verb in OPEN:
            return None
        held, scope = self._known(headers, self._ring), SCOPE_OF.get(verb, PREDICT)
        if (scope and scope not in held.scopes) or not (held.any or deployment in held.deployments):
            _check(held, deployment, scope)
        return held

    def in_turn(self) -> None:
        """Raises Overloaded if we are too late already; called once for each request that is work."""
        if self.load.late():
            raise Overloaded("too many requests at once", next_step="try again in a second")

    def postpone(self, bad: Overloaded) -> None:
        """Let it say when to come again: the later, the more are turned away."""
        bad.retry_s = self.load.again()
        if bad.retry_s > 1:
            bad.next_step = f"try again in {bad.retry_s} seconds"

    def refresh(self) -> None:
        """Take over keys that were made or revoked; called several times a second."""
        if self._ring is not None and self._ring.refresh():
            self._grants.clear()
            self.epoch = object()

    def _granted(self, held: Holder) -> Grant:
        account = None if self._budgets is None else self._budgets.account(held.key)
        lasting = account is None and held.expires is None
        grant = self._grants[held] = Grant(held.key.id, account, lasting=lasting)
        return grant

    def _known(self, headers: Mapping[str, str], ring: KeyRing) -> Holder:
        shown = headers.get("authorization")
        bearer = shown is not None and shown[:7].lower() == "bearer "
        text = shown[7:].strip() if shown is not None and bearer else headers.get("x-api-key", "")
        held = ring.find(text)
        if held is None:
            raise Unauthorized(
                "this key is not known here" if text else "this server asks for an API key",
                "header Authorization",
                "send 'Authorization: Bearer KEY'; keys are made with: holdfast keys create",
            )
        if held.expires is not None and time.time() >= held.expires:
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


def _check(held: Holder, deployment: str | None, scope: str) -> None:
    """Raise Forbidden, or not: a key for all deployments may list them, and some questions are about none."""
    whole = scope == WHOLE
    if scope and not whole and scope not in held.scopes:
        raise Forbidden(f"key '{held.key.name}' is not for '{scope}'", "", f"it is for: {', '.join(held.key.scopes)}")
    if not held.any and (whole or deployment):
        where = "all deployments" if whole else f"deployment '{(deployment or '')[:64]}'"
        names = ", ".join(held.key.deployments)
        raise Forbidden(f"key '{held.key.name}' is not for {where}", "", f"it is for: {names}")
