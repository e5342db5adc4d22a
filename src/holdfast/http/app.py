"""What the inference port answers: translates requests for the data plane, and its answers for the wire.

No rule lives here. Guards that belong to HTTP do: who may ask (the `Host` header against DNS rebinding, `Origin` against
pages that steer a browser on this machine), packed bodies, and whether a request leaves the event loop (`pace`).
"""

from __future__ import annotations

import asyncio
import sys
import time
import traceback
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlsplit

import msgspec

from holdfast.errors import HoldfastError, MalformedRequest, NotFound, Overloaded, ServeError
from holdfast.http.packing import packed, unpacked
from holdfast.http.problems import Refused, Reply, advice, json, problem
from holdfast.http.routes import Action, MethodNotAllowed, action
from holdfast.http.tell import tell
from holdfast.http.timing import ASKS, Timed
from holdfast.predictions.log import framed
from holdfast.serve import codecs, dataplane
from holdfast.serve.guards import Admission, Grant
from holdfast.serve.lane import Lane
from holdfast.serve.pace import Pace

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from holdfast.http.reader import Request
    from holdfast.predictions.log import Frame

    Label = Callable[[str, bytes], tuple[int, dict[str, Any], Sequence[Frame]]]

__all__ = ["LOOPBACK", "App"]

LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
REST_S: Final = 0.75
"""Who was told to come again later is not listened to for so long: else clients that don't care would cost what they ask."""


class _Pass(NamedTuple):
    """That requests of this head may go on: to be asked again in another epoch."""

    asked: Action
    grant: Grant
    epoch: object


class App:
    """Handles complete requests. `plan` may be swapped at any time; a request keeps the one that it began with.

    While `draining`, it says that it is not ready, and answers on.

    Args:
        plan: what answers.
        state: counters, ids and clock of this process.
        label: takes labels for a deployment: (name, body) -> (status, answer, log frames).
        control: address of the control port.
        hosts: names under which this port answers; None: any.
        max_body: bytes of a body, also unpacked.
        admission: who may ask; shared with this process's other doors.
        lane: threads for slow requests; shared too.
    """

    def __init__(
        self,
        *,
        plan: dataplane.LoadedPlan,
        state: dataplane.ServeState,
        label: Label,
        control: str = "",
        hosts: frozenset[str] | None = LOOPBACK,
        max_body: int = 16 << 20,
        admission: Admission | None = None,
        lane: Lane | None = None,
    ) -> None:
        self._plan = plan
        self._state = state
        self._label = label
        self._control = control
        self._hosts = hosts
        self._max_body = max_body
        self._known_hosts: set[str] = set()
        self._pace = Pace()
        self._admission = admission or Admission()
        self._lane = lane or Lane()
        self._shed: dict[tuple[str, int], Reply] = {}
        self._warming: set[asyncio.Task[None]] = set()
        self.draining = False

    def follow(self, plan: dataplane.LoadedPlan) -> None:
        """Let this plan answer from now on."""
        self._plan = plan
        self._pace.forget()
        self._lane.forget()

    def close(self) -> None:
        """Wait for the threads."""
        self._lane.close()

    def handle(self, request: Request, later: Callable[[Reply], None]) -> Reply | None:
        """The reply, or None and `later(reply)` on the event loop when it left the loop. Never raises."""
        asked = _NOTHING
        try:
            passed: _Pass | None = None if request.known is None else request.known.note
            if passed is not None and passed.epoch is self._admission.epoch:
                asked, grant, _ = passed
                self._admission.in_turn()
            else:
                asked = self._asked(request)
                grant = self._admitted(asked, request)
            if asked.verb in _MODEL and self._plan.cold(asked.name):
                warming = asyncio.get_running_loop().create_task(self._warm(asked, request, grant, later))
                self._warming.add(warming)
                warming.add_done_callback(self._warming.discard)
                return None
            return self._answer(asked, request, grant, self._plan, later)
        except Exception as bad:  # noqa: BLE001 - one request must not end the others
            return self._trouble(bad, asked.name)

    async def _warm(self, asked: Action, request: Request, grant: Grant, later: Callable[[Reply], None]) -> None:
        """Answer when the model has been loaded."""
        try:
            plan = await self._plan.warmed(asked.name)
            grant.in_time()
            reply = self._answer(asked, request, grant, plan, later)
        except Exception as bad:  # noqa: BLE001 - see handle
            reply = self._trouble(bad, asked.name)
        if reply is not None:
            later(reply)

    def _answer(
        self, asked: Action, request: Request, grant: Grant, plan: dataplane.LoadedPlan, later: Callable[[Reply], None]
    ) -> Reply | None:
        if asked.verb not in _WORK:
            told = tell(asked, plan, self._state, self._control, draining=self.draining)
            return packed(told, request.headers.get("accept-encoding", ""))
        size, began = len(request.body), time.perf_counter()
        if asked.verb in _CODECS and plan.apart(asked.name):
            self._leave(self._lane.own(asked.name), asked, request, grant, plan, later)
            return None
        if self._pace.slow(asked, size):
            self._leave(self._lane, asked, request, grant, plan, later)
            return None
        reply = self._work(asked, request, grant, plan, began)
        self._learn(asked, size, reply, time.perf_counter() - began)
        return reply

    # ------------------------------------------------------------------------------------------ who may ask

    def _asked(self, request: Request) -> Action:
        self._check_caller(request)
        asked = action(request.method, request.target)
        if asked.verb == "invocations":
            asked = asked._replace(name=self._invoked(asked.name, request.headers))
        return asked

    def refusal(self, request: Request) -> HoldfastError | None:
        """Why the body of this request need not be read, as far as its head tells."""
        asked = _NOTHING
        try:
            asked = self._asked(request)
            self._admission.entitled(request.headers, asked.name, asked.verb)
        except HoldfastError as bad:
            self._count(bad, asked.name)
            return bad
        return None

    def _admitted(self, asked: Action, request: Request) -> Grant:
        grant = self._admission.admit(request.headers, asked.name, asked.verb)
        if request.known is not None and grant.lasting and asked.verb in _LASTING:
            request.known.note = _Pass(asked, grant, self._admission.epoch)
        return grant

    def _check_caller(self, request: Request) -> None:
        if self._hosts is None:
            return
        headers = request.headers
        host = headers.get("host", "")
        if host not in self._known_hosts:
            if _hostname(host) not in self._hosts:
                raise Refused(
                    f"this server does not answer for host '{host[:80]}'",
                    "header Host",
                    "use the address that `holdfast serve` printed",
                    status=421,
                )
            if len(self._known_hosts) < 64:
                self._known_hosts.add(host)
        if request.method == "POST" and ("origin" in headers or "sec-fetch-site" in headers):
            site = headers.get("sec-fetch-site", "none")
            if site not in {"same-origin", "none"} or urlsplit(headers.get("origin", f"//{host}")).netloc != host:
                raise Refused("another site's page may not ask here", "header Origin", "ask from a program", status=403)

    def _invoked(self, named: str, headers: Mapping[str, str]) -> str:
        """Which deployment `/invocations` means: the one that the query or a header names, or else the only one.

        Who asks is not known yet, so no refusal tells what is deployed.
        """
        name = named or headers.get("x-holdfast-deployment", "")
        if name:
            return name
        names = list(self._plan.deployments)
        if len(names) == 1:
            return names[0]
        if not names:
            raise NotFound("nothing is deployed", "", "holdfast deploy")
        raise MalformedRequest(
            "several models are deployed, and the request names none", next_step="POST /invocations?deployment=NAME"
        )

    # ------------------------------------------------------------------------------------------ work

    def _learn(self, asked: Action, size: int, reply: Reply, seconds: float) -> None:
        if reply.status < 300:  # else anybody could fill the memory with names that do not exist
            self._pace.measured(asked, size, seconds)

    def _leave(
        self,
        lane: Lane,
        asked: Action,
        request: Request,
        grant: Grant,
        plan: dataplane.LoadedPlan,
        later: Callable[[Reply], None],
    ) -> None:
        arrived = time.perf_counter()

        def work() -> Reply | Exception:
            try:
                grant.in_time()
                return self._work(asked, request, grant, plan, arrived)
            except Exception as bad:  # noqa: BLE001 - see handle
                return bad

        def back(done: Reply | Exception, seconds: float) -> None:
            reply = self._trouble(done, asked.name) if isinstance(done, Exception) else done
            self._learn(asked, len(request.body), reply, seconds)
            later(reply)

        lane.submit((asked, len(request.body).bit_length()), work, back, grant)

    def _work(self, asked: Action, request: Request, grant: Grant, plan: dataplane.LoadedPlan, arrived: float) -> Reply:
        """What takes time; runs in the loop or in a thread."""
        packing = request.headers.get("content-encoding")
        body = unpacked(request.body, packing, self._max_body) if packing else request.body
        if asked.verb == "label":
            status, told, frames = self._label(asked.name, body)
            return json(status, told, frames)
        codec = _CODECS[asked.verb]
        if ASKS in request.headers:
            codec = Timed(codec, arrived)
        answer = dataplane.predict(
            body, codec, asked.name, asked.version, request.headers, plan, self._state, grant.charge
        )
        frames = () if answer.record is None else (framed(answer.record),)
        headers = answer.headers if answer.error is None else answer.headers + advice(answer.error)
        reply = Reply(answer.status, answer.body, answer.media, headers, frames)
        accepted = request.headers.get("accept-encoding")
        return packed(reply, accepted) if accepted else reply

    def _count(self, bad: HoldfastError, name: str) -> None:
        """What was refused before the data plane saw it is counted here; unknown names are counted together."""
        self._state.metrics.refused(name if name in self._plan.deployments else "", bad.code)

    def _trouble(self, bad: Exception, name: str) -> Reply:
        if not isinstance(bad, HoldfastError):
            sys.stderr.write("".join(traceback.format_exception(bad)))
            bad = ServeError.unforeseen(bad)
        self._count(bad, name)
        if type(bad) is Overloaded:  # who is in a hurry has a few of these ready
            self._admission.postpone(bad)
            if (shed := self._shed.get((bad.what, bad.retry_s))) is None:
                shed = self._shed[bad.what, bad.retry_s] = msgspec.structs.replace(problem(bad), rest_s=REST_S)
            return shed
        return problem(bad, (("allow", bad.allowed),) if isinstance(bad, MethodNotAllowed) else ())


_CODECS: Final[dict[str, codecs.Codec]] = {
    "rows": codecs.ROWS,
    "infer": codecs.TENSORS,
    "invocations": codecs.INVOCATIONS,
}
_WORK: Final = frozenset({*_CODECS, "label"})
_MODEL: Final = _WORK | {"metadata"}
"""What needs the deployment's model or contract."""
_LASTING: Final = frozenset({"rows", "infer"})
"""What is decided by the head alone."""
_NOTHING: Final = Action("")


def _hostname(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
