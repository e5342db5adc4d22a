"""What each call answers: translates messages for the data plane, and its answers for the wire. No rule lives here.

Calls are raw bytes in and out, so that a message that is none becomes our own error. A prediction's answer waits for the end of
the event loop's tick, when the tick's log frames are appended at once; only then does it go out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from google.protobuf.message import DecodeError

from holdfast.errors import Forbidden, HoldfastError, MalformedRequest, NotFound, TooLate
from holdfast.predictions.journal import Told
from holdfast.predictions.log import encode
from holdfast.rpc import messages
from holdfast.rpc.codec import Infer
from holdfast.rpc.statuses import status_of
from holdfast.serve import dataplane
from holdfast.serve.plan import LoadedPlan

__all__ = ["Service"]

Commit = Callable[[Sequence[bytes], Told], None]
Handler = Callable[[bytes, Any], Awaitable[bytes]]
NO_BODY: Final = b""


class Service:
    """Answers calls. `plan` may be swapped at any time; a call keeps the one that it began with.

    Args:
        plan: what answers.
        state: counters, ids and clock of this process, shared with its other doors.
        commit: logs frames, then calls its second argument; `predictions.journal.Journal.commit`.
    """

    def __init__(self, *, plan: LoadedPlan, state: dataplane.ServeState, commit: Commit) -> None:
        self.draining = False
        self._plan = plan
        self._state = state
        self._tick = _Tick(commit)

    def follow(self, plan: LoadedPlan) -> None:
        """Let this plan answer from now on."""
        self._plan = plan

    @property
    def calls(self) -> Mapping[str, Handler]:
        """Every call of the service, by its name."""
        told = {
            "ServerLive": self._server_live,
            "ServerReady": self._server_ready,
            "ServerMetadata": self._server_metadata,
            "ModelReady": self._model_ready,
            "ModelMetadata": self._model_metadata,
            "RepositoryIndex": self._index,
            "RepositoryModelLoad": self._load,
            "RepositoryModelUnload": self._unload,
        }
        return {"ModelInfer": self.infer} | {name: partial(self._tell, answer) for name, answer in told.items()}

    # ------------------------------------------------------------------------------------------ predictions

    async def infer(self, body: bytes, context: Any) -> bytes:
        """ModelInfer."""
        try:
            answer = self._predict(body, context)
        except Exception as bad:  # noqa: BLE001 - one call must not end the others
            return await _refuse(bad, context)
        unlogged = None if answer.record is None else await self._tick.logged(encode(answer.record))
        wrong = unlogged or answer.error
        return answer.body if wrong is None else await _refuse(wrong, context)

    def _predict(self, body: bytes, context: Any) -> dataplane.Answer:
        request = _parsed(messages.ModelInferRequest, body)
        remaining = context.time_remaining()
        if remaining is not None and remaining <= 0:
            raise TooLate("the deadline has passed", next_step="allow more time")
        name, version = request.model_name, request.model_version or None
        return dataplane.predict(NO_BODY, Infer(request), name, version, _headers(context), self._plan, self._state)

    # ------------------------------------------------------------------------------------------ what needs no model

    async def _tell(self, answer: Callable[[bytes], Any], body: bytes, context: Any) -> bytes:
        try:
            told: bytes = answer(body).SerializeToString()
        except Exception as bad:  # noqa: BLE001 - one call must not end the others
            return await _refuse(bad, context)
        return told

    def _server_live(self, _: bytes) -> Any:
        return messages.ServerLiveResponse(live=True)

    def _server_ready(self, _: bytes) -> Any:
        return messages.ServerReadyResponse(ready=not self.draining)

    def _server_metadata(self, _: bytes) -> Any:
        return messages.ServerMetadataResponse(**dataplane.server_metadata())

    def _model_ready(self, body: bytes) -> Any:
        """False, not an error, for a name that there isn't: so clients of this protocol expect it."""
        asked = _parsed(messages.ModelReadyRequest, body)
        try:
            dataplane.ready(asked.name, asked.version or None, self._plan)
        except NotFound:
            return messages.ModelReadyResponse(ready=False)
        return messages.ModelReadyResponse(ready=not self.draining)

    def _model_metadata(self, body: bytes) -> Any:
        asked = _parsed(messages.ModelMetadataRequest, body)
        return messages.ModelMetadataResponse(**dataplane.metadata(asked.name, asked.version or None, self._plan))

    def _index(self, _: bytes) -> Any:
        """Whatever a plan holds is ready; a canary is a version of its own."""
        models = [
            {"name": deployment.name, "version": route.release.digest, "state": "READY"}
            for deployment in self._plan.deployments.values()
            for route in deployment.routes
        ]
        return messages.RepositoryIndexResponse(models=models)

    def _load(self, body: bytes) -> Any:
        name = _parsed(messages.RepositoryModelLoadRequest, body).model_name
        raise _not_here(name, f"holdfast deploy RELEASE --as {name[:60]}")

    def _unload(self, body: bytes) -> Any:
        name = _parsed(messages.RepositoryModelUnloadRequest, body).model_name
        raise _not_here(name, f"holdfast undeploy {name[:60]}")


class _Tick:
    """Log frames of one tick of the event loop, committed together."""

    def __init__(self, commit: Commit) -> None:
        self._commit = commit
        self._waiting: list[tuple[bytes, asyncio.Future[HoldfastError | None]]] = []

    def logged(self, frame: bytes) -> asyncio.Future[HoldfastError | None]:
        """Done when the frame is safe, or with what went wrong. The frame is logged even if nobody waits any more."""
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self._end)
        done: asyncio.Future[HoldfastError | None] = loop.create_future()
        self._waiting.append((frame, done))
        return done

    def _end(self) -> None:
        waiting, self._waiting = self._waiting, []
        self._commit([frame for frame, _ in waiting], partial(_tell_all, [done for _, done in waiting]))


def _tell_all(waiting: Sequence[asyncio.Future[HoldfastError | None]], bad: HoldfastError | None) -> None:
    for done in waiting:
        if not done.done():  # else its client has gone
            done.set_result(bad)


async def _refuse(bad: Exception, context: Any) -> bytes:
    status = status_of(bad)
    await context.abort(status.code, status.details, status.metadata)
    raise AssertionError("abort raises")


def _parsed(message: Any, body: bytes) -> Any:
    try:
        return message.FromString(body)
    except DecodeError:
        raise MalformedRequest(
            f"the message is no {message.DESCRIPTOR.name}", next_step="send the Open Inference Protocol v2"
        ) from None


def _headers(context: Any) -> dict[str, str]:
    """Metadata as the data plane wants headers; names are lower case in gRPC."""
    return {name: value for name, value in context.invocation_metadata() if isinstance(value, str)}


def _not_here(name: str, instead: str) -> Forbidden:
    return Forbidden("models come and go by deployments", f"model '{name[:60]}'", instead)
