"""What each call answers: translates messages for the data plane, and its answers for the wire. No rule lives here.

Calls are raw bytes in and out, so that a message that is none becomes our own error. The same `Admission` decides who may ask as
for HTTP, with gRPC's deadline as the caller's; what would hold the event loop too long goes to the same threads. A prediction's
answer waits for the end of the loop's tick, when the tick's log frames are committed together; only then does it go out.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final, NamedTuple

from google.protobuf.message import DecodeError

from holdfast.errors import Forbidden, HoldfastError, MalformedRequest, NotFound, Overloaded, TooLate
from holdfast.predictions.log import Frame, framed
from holdfast.rpc import messages
from holdfast.rpc.codec import Infer
from holdfast.rpc.statuses import foreseen, status_of
from holdfast.rpc.tick import Commit, Logged, Tick
from holdfast.serve import dataplane
from holdfast.serve.guards import DEADLINE_HEADER, Admission, Grant
from holdfast.serve.lane import Lane
from holdfast.serve.pace import Pace
from holdfast.serve.plan import LoadedPlan

__all__ = ["Call", "Service"]

Handler = Callable[[bytes, Any], Awaitable[bytes]]
NO_BODY: Final = b""
FAR_S: Final = 999.0
"""A deadline beyond this is none."""


class Call(NamedTuple):
    """An answered one, for those who write them down."""

    name: str
    context: Any
    at: float
    """When its message was read, seconds since 1970."""
    began: float
    """On the performance counter."""
    received: int
    """Bytes of the message."""
    told: Told


class Told(NamedTuple):
    """How a call ends."""

    body: bytes
    wrong: HoldfastError | None = None
    headers: tuple[tuple[str, str], ...] = ()
    """As an HTTP answer has them."""


class _Asked(NamedTuple):
    """One ModelInfer call."""

    request: Any
    headers: Mapping[str, str]
    grant: Grant
    plan: LoadedPlan
    size: int

    @property
    def kind(self) -> tuple[str, str]:
        """What costs alike."""
        return self.request.model_name, self.request.model_version


class _Done(NamedTuple):
    """What the data plane gave, its record as the log has it."""

    answer: dataplane.Answer
    frame: Frame | None


class Service:
    """Answers calls. `plan` may be swapped at any time; a call keeps the one that it began with.

    While `draining`, it says that it is not ready, and answers on.

    Args:
        plan: what answers.
        state: counters, ids and clock of this process, shared with its other doors; so are the next two.
        admission: who may ask.
        lane: threads for slow requests.
        commit: logs frames, then calls its second argument; `predictions.journal.Journal.commit`.
        look: called before each call: whoever follows the traffic plan may `follow` another one now.
        heard: told of every answered call; None: nobody asks.
    """

    def __init__(
        self,
        *,
        plan: LoadedPlan,
        state: dataplane.ServeState,
        admission: Admission,
        lane: Lane,
        commit: Commit,
        look: Callable[[], None],
        heard: Callable[[Call], None] | None = None,
    ) -> None:
        self.draining = False
        self._plan = plan
        self._state = state
        self._admission = admission
        self._lane = lane
        self._pace = Pace()
        self._tick = Tick(commit)
        self._look = look
        self._heard = heard

    def follow(self, plan: LoadedPlan) -> None:
        """Let this plan answer from now on."""
        self._plan = plan
        self._pace.forget()

    @property
    def calls(self) -> Mapping[str, Handler]:
        """Every call of the service, by its name."""
        tell = self._tell
        every: dict[str, Callable[[bytes, Any], Awaitable[Told]]] = {
            "ModelInfer": self._infer,
            "ServerLive": partial(tell, "live", None, self._server_live),
            "ServerReady": partial(tell, "ready", None, self._server_ready),
            "ServerMetadata": partial(tell, "server", None, self._server_metadata),
            "ModelReady": partial(tell, "model_ready", messages.ModelReadyRequest, self._model_ready),
            "ModelMetadata": partial(tell, "metadata", messages.ModelMetadataRequest, self._model_metadata),
            "RepositoryIndex": partial(tell, "repository", None, self._index),
            "RepositoryModelLoad": partial(tell, "load", messages.RepositoryModelLoadRequest, self._load),
            "RepositoryModelUnload": partial(tell, "unload", messages.RepositoryModelUnloadRequest, self._unload),
        }
        return {name: partial(self._answer, name, work) for name, work in every.items()}

    async def _answer(
        self, name: str, work: Callable[[bytes, Any], Awaitable[Told]], body: bytes, context: Any
    ) -> bytes:
        self._look()
        at, began = (time.time(), time.perf_counter()) if self._heard else (0.0, 0.0)
        told = await work(body, context)
        if self._heard is not None:
            self._heard(Call(name, context, at, began, len(body), told))
        if told.wrong is not None:
            self._state.metrics.settle()
            await context.abort(*status_of(told.wrong))
        return told.body

    # ------------------------------------------------------------------------------------------ predictions

    async def _infer(self, body: bytes, context: Any) -> Told:
        name = ""
        try:
            request = _parsed(messages.ModelInferRequest, body)
            name = request.model_name
            headers = _headers(context)
            grant = self._admission.admit(headers, name, "infer")
            asked = _Asked(request, headers, grant, await self._warm(name), len(body))
            if asked.plan.apart(name):
                answer, logged = await self._away(asked, self._lane.own(name))
            elif self._pace.slow(asked.kind, asked.size):
                answer, logged = await self._away(asked, self._lane)
            else:
                answer, logged = self._here(asked)
        except Exception as bad:  # noqa: BLE001 - one call must not end the others
            return self._refused(bad, name)
        wrong = answer.error
        if logged is not None:
            wrong = await logged or wrong
        return Told(answer.body, wrong, answer.headers)

    async def _warm(self, name: str) -> LoadedPlan:
        """The plan that answers now, this deployment's models open."""
        plan = self._plan
        return await plan.warmed(name) if plan.cold(name) else plan

    def _here(self, asked: _Asked) -> tuple[dataplane.Answer, Logged | None]:
        began = time.perf_counter()
        done = self._work(asked)
        return self._back(asked, done, time.perf_counter() - began)

    async def _away(self, asked: _Asked, lane: Lane) -> tuple[dataplane.Answer, Logged | None]:
        """In a thread. Its frame is logged even if the caller has gone by then."""
        waiting: asyncio.Future[tuple[dataplane.Answer, Logged | None] | Exception]
        waiting = asyncio.get_running_loop().create_future()

        def work() -> _Done | Exception:
            try:
                asked.grant.in_time()
                return self._work(asked)
            except Exception as bad:  # noqa: BLE001 - raised in the loop
                return bad

        def back(done: _Done | Exception, seconds: float) -> None:
            found = done if isinstance(done, Exception) else self._back(asked, done, seconds)
            if not waiting.done():
                waiting.set_result(found)

        lane.submit((asked.kind, asked.size.bit_length()), work, back, asked.grant)
        found = await waiting
        if isinstance(found, Exception):
            raise found
        return found

    def _work(self, asked: _Asked) -> _Done:
        """What takes time; runs in the loop or in a thread."""
        name, version = asked.request.model_name, asked.request.model_version or None
        answer = dataplane.predict(
            NO_BODY, Infer(asked.request), name, version, asked.headers, asked.plan, self._state, asked.grant.charge
        )
        return _Done(answer, None if answer.record is None else framed(answer.record))

    def _back(self, asked: _Asked, done: _Done, seconds: float) -> tuple[dataplane.Answer, Logged | None]:
        if done.answer.error is None:  # else anybody could fill the memory with names that do not exist
            self._pace.measured(asked.kind, asked.size, seconds)
        return done.answer, None if done.frame is None else self._tick.logged(done.frame)

    # ------------------------------------------------------------------------------------------ what needs no model

    async def _tell(
        self, verb: str, message: Any, answer: Callable[[Any, LoadedPlan], Any], body: bytes, context: Any
    ) -> Told:
        name = ""
        try:
            asked = None if message is None else _parsed(message, body)
            name = getattr(asked, "name", "") or getattr(asked, "model_name", "")
            self._admission.admit(_headers(context), name, verb)
            plan = await self._warm(name) if verb == "metadata" else self._plan
            return Told(answer(asked, plan).SerializeToString())
        except Exception as bad:  # noqa: BLE001 - one call must not end the others
            return self._refused(bad, name)

    def _server_live(self, _: None, plan: LoadedPlan) -> Any:
        return messages.ServerLiveResponse(live=True)

    def _server_ready(self, _: None, plan: LoadedPlan) -> Any:
        return messages.ServerReadyResponse(ready=not self.draining)

    def _server_metadata(self, _: None, plan: LoadedPlan) -> Any:
        return messages.ServerMetadataResponse(**dataplane.server_metadata())

    def _model_ready(self, asked: Any, plan: LoadedPlan) -> Any:
        """False, not an error, for a name that there isn't: so clients of this protocol expect it."""
        try:
            dataplane.ready(asked.name, asked.version or None, plan)
        except NotFound:
            return messages.ModelReadyResponse(ready=False)
        return messages.ModelReadyResponse(ready=not self.draining)

    def _model_metadata(self, asked: Any, plan: LoadedPlan) -> Any:
        return messages.ModelMetadataResponse(**dataplane.metadata(asked.name, asked.version or None, plan))

    def _index(self, _: None, plan: LoadedPlan) -> Any:
        return messages.RepositoryIndexResponse(models=dataplane.index(plan))

    def _load(self, asked: Any, plan: LoadedPlan) -> Any:
        """What is deployed is loaded, and only its owner changes that."""
        name = asked.model_name
        if name not in plan.deployments:
            raise NotFound("this port deploys nothing", f"'{name[:64]}'", f"holdfast deploy RELEASE --as {name[:64]}")
        return messages.RepositoryModelLoadResponse()

    def _unload(self, asked: Any, plan: LoadedPlan) -> Any:
        name = asked.model_name[:64]
        raise Forbidden("this port undeploys nothing", f"'{name}'", f"holdfast undeploy {name}")

    # ------------------------------------------------------------------------------------------ refusals

    def _refused(self, bad: Exception, name: str) -> Told:
        """What was refused before the data plane saw it is counted here; unknown names are counted together."""
        known = foreseen(bad)
        if type(known) is Overloaded:
            self._admission.postpone(known)
        self._state.metrics.refused(name if name in self._plan.deployments else "", known.code)
        return Told(NO_BODY, known)


def _parsed(message: Any, body: bytes) -> Any:
    try:
        return message.FromString(body)
    except DecodeError:
        raise MalformedRequest(
            f"the message is no {message.DESCRIPTOR.name}", next_step="send the Open Inference Protocol v2"
        ) from None


def _headers(context: Any) -> dict[str, str]:
    """Metadata as headers, names in lower case; the call's deadline is the caller's."""
    headers = {name: value for name, value in context.invocation_metadata() if isinstance(value, str)}
    remaining = context.time_remaining()
    if remaining is not None and remaining < FAR_S:
        if remaining <= 0:
            raise TooLate("the deadline passed before the call was read", next_step="allow more time")
        headers[DEADLINE_HEADER] = f"{remaining * 1e3:f}"
    return headers
