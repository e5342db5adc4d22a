"""The only path of logged predictions: bytes and a plan in, an answer and its log record out. Plain and synchronous.

The caller writes the record to the log *before* it lets the answer go (`http` does so once per tick of its event loop). What
is refused becomes a problem answer and a `Refusal` record, so that refusals too can be watched. How a door's bytes are read
and written is the business of its codec (`codecs`). Batches of a file take the same steps through `predict_table`.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any, Final, NoReturn

import msgspec
import numpy as np
from numpy.typing import NDArray

from holdfast.columns import Layout
from holdfast.columns.payloads import JSON, Payload
from holdfast.core.names import RequestIds, class_columns
from holdfast.core.prediction import Prediction, Record, Refusal
from holdfast.errors import HoldfastError, InvalidInput
from holdfast.serve.answers import Answered, answer
from holdfast.serve.clock import Clock
from holdfast.serve.codecs import Codec
from holdfast.serve.metrics import Metrics
from holdfast.serve.plan import LoadedDeployment, LoadedPlan, LoadedRoute, which
from holdfast.serve.records import record
from holdfast.serve.router import pick, sticky_key

__all__ = [
    "Answer",
    "LoadedPlan",
    "ServeState",
    "index",
    "metadata",
    "predict",
    "predict_table",
    "ready",
    "server_metadata",
]

CHUNK: Final = 1000
"""Rows of a file in one record."""
PROBLEM: Final = "application/problem+json"
Table = Mapping[str, NDArray[Any]]


class Answer(msgspec.Struct, frozen=True, gc=False):
    """What the client gets, and what the log must have before."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...]
    record: Record | None
    error: HoldfastError | None = None
    """What was wrong, for doors that do not speak problem JSON."""
    media: str = JSON
    """Content type of the body."""


@dataclass(frozen=True)
class ServeState:
    """What a serving process keeps between requests."""

    clock: Clock = field(default_factory=Clock)
    metrics: Metrics = field(default_factory=Metrics)
    ids: RequestIds = field(default_factory=lambda: RequestIds(os.urandom))
    max_rows: int = 10_000
    """In one request; more is refused."""
    hash_key: bytes = field(default_factory=lambda: os.urandom(32))
    """For fields that are logged as hashes: `records.hash_key`, the same in all processes of a workspace."""
    sample: Callable[[Prediction], Record] | None = None
    """What is logged of a request's record where not all are logged in full (`predictions.sampling.Sampler`)."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def new_request(self, wall: int) -> str:
        """A fresh request id; never the same in two threads."""
        with self._lock:
            return self.ids.new(wall // 1000)


def predict(
    body: bytes,
    codec: Codec,
    name: str,
    version: str | None,
    headers: Mapping[str, str],
    plan: LoadedPlan,
    state: ServeState,
    charge: Callable[[int], None] | None = None,
) -> Answer:
    """Answer one request.

    Args:
        body: as it came, unpacked.
        codec: reads the body and writes the answer.
        name: the deployment.
        version: digest (or its beginning) or track that must answer; without one, the key decides.
        headers: lower-case names.
        plan: who answers.
        state: of this process.
        charge: is told the number of rows before the model is asked; refuses by raising.
    """
    began = time.perf_counter_ns()
    wall = state.clock.now()
    request = state.new_request(wall)
    deployment = None
    try:
        deployment = plan.deployment(name)
        chosen, payload = _routed(
            deployment, version, headers, request, partial(codec.decode, body, headers), state.max_rows
        )
        batch = payload.batch
        if charge is not None:
            charge(batch.rows)
        clock = state.clock.receive(name, batch.times, wall, chosen.release.timestamp)
        found = answer(name, chosen, batch, request=request, client_id=payload.client_id)
        told, said = codec.encode(found, payload)
    except HoldfastError as bad:
        return _refused(bad, deployment, name, request, wall, state)
    kept = _logged(found, wall, clock, began, state)
    logged = kept if state.sample is None else state.sample(kept)
    headers_out = (("X-Holdfast-Release", chosen.release.digest), ("X-Holdfast-Request", request), *said)
    return Answer(200, told, headers_out, logged, None, payload.media)


def predict_table(
    table: Table, name: str, plan: LoadedPlan, state: ServeState, client_id: str = ""
) -> tuple[dict[str, NDArray[Any]], list[Prediction]]:
    """Answer the rows of a file: columns `prediction_id`, `release`, and `prediction` or `label` and `p_<class>`; and records.

    Every 1000 rows are one request, routed by its first row's key. Raises what is wrong with its row in the table; then
    nothing of the table was answered.
    """
    deployment = plan.deployment(name)
    rows = len(next(iter(table.values()))) if table else 0
    found: list[Answered] = []
    records: list[Prediction] = []
    for start in range(0, max(rows, 1), CHUNK):
        part = {column: values[start : start + CHUNK] for column, values in table.items()}
        began, wall = time.perf_counter_ns(), state.clock.now()
        request = state.new_request(wall)
        try:
            chosen, payload = _routed(deployment, None, {}, request, partial(_read_table, part), CHUNK)
            batch = payload.batch
            clock = state.clock.receive(name, batch.times, wall, chosen.release.timestamp)
            found.append(answer(name, chosen, batch, request=request, client_id=client_id))
        except InvalidInput as bad:
            _raise_at(bad, start)
        records.append(_logged(found[-1], wall, clock, began, state))
    return _outputs(found), records


def metadata(name: str, version: str | None, plan: LoadedPlan) -> dict[str, Any]:
    """The Open Inference Protocol's model metadata. Shapes are [-1]: one value per row."""
    deployment = plan.deployment(name)
    chosen = deployment.version(version) if version else deployment.live
    contract = chosen.release.contract
    output = contract.output
    answers = [{"name": "prediction", "datatype": "FP64", "shape": [-1]}]
    if output.task != "regression":
        answers = [
            {"name": "label", "datatype": output.label_datatype, "shape": [-1]},
            {"name": "probabilities", "datatype": "FP64", "shape": [-1, len(output.classes)]},
        ]
    return {
        "name": name,
        "versions": [route.release.digest for route in deployment.routes],
        "platform": "python" if chosen.release.apart else "onnx",
        "inputs": [{"name": f.name, "datatype": f.datatype, "shape": [-1]} for f in contract.fields],
        "outputs": answers,
    }


def ready(name: str, version: str | None, plan: LoadedPlan) -> dict[str, Any]:
    """That a deployment answers; raises NotFound if it doesn't: whatever a plan holds was tried when it was deployed."""
    tracks = plan.tracks(name)
    if version:
        which(name, version, tracks)
    return {"name": name, "ready": True}


def index(plan: LoadedPlan) -> list[dict[str, str]]:
    """The model repository extension's list: every deployment's releases."""
    return [
        {"name": name, "version": digest, "state": "READY", "reason": track}
        for name in sorted(plan.deployments)
        for digest, track in plan.tracks(name)
    ]


@cache
def server_metadata() -> dict[str, Any]:
    """The Open Inference Protocol's server metadata."""
    from importlib.metadata import version  # a thirtieth of a second that a start need not wait for

    return {
        "name": "holdfast",
        "version": version("holdfast"),
        "extensions": ["binary_tensor_data", "model_repository"],
    }


def _routed(
    deployment: LoadedDeployment,
    version: str | None,
    headers: Mapping[str, str],
    request: str,
    decode: Callable[[Layout, int], Payload],
    max_rows: int,
) -> tuple[LoadedRoute, Payload]:
    """Who answers, and the rows as its contract reads them. The live contract says what the key is."""
    first = deployment.version(version) if version else deployment.live
    payload = decode(first.release.layout, max_rows)
    if not version and deployment.canary is not None:
        chosen = pick(deployment, sticky_key(payload.batch.keys, headers, request))
        if chosen is not first:
            return chosen, decode(chosen.release.layout, max_rows)
    return first, payload


def _read_table(part: Table, layout: Layout, _: int) -> Payload:
    return Payload(layout.from_table(part))


def _logged(found: Answered, wall: int, clock: int, began: int, state: ServeState) -> Prediction:
    took = time.perf_counter_ns() - began
    if found.batch.flags:
        state.metrics.flagged(found.deployment, found.batch.flags)
    return record(found, received=wall, clock=clock, latency_us=took // 1000, hash_key=state.hash_key)


def _refused(
    bad: HoldfastError, deployment: LoadedDeployment | None, name: str, request: str, wall: int, state: ServeState
) -> Answer:
    """A problem for the client and a record for the monitors; unknown names are counted together."""
    known = name if deployment is not None else ""
    if not known:
        state.metrics.refused("", bad.code)
    refusal = Refusal(
        request=request,
        deployment=known,
        received=wall,
        clock=state.clock.at(name, wall) if known else wall,
        code=bad.code,
        field=(bad.field or "")[:60] if isinstance(bad, InvalidInput) else "",
        rows=0,
        release=deployment.live.release.digest if deployment is not None else "",
    )
    body = msgspec.json.encode(bad.as_problem() | {"request": request})
    return Answer(bad.status, body, (("X-Holdfast-Request", request),), refusal if known else None, bad, PROBLEM)


def _raise_at(bad: InvalidInput, start: int) -> NoReturn:
    """The same error, its row counted from the table's begin."""
    row = None if bad.row is None else bad.row + start
    raise type(bad)(bad.what, next_step=bad.next_step, field=bad.field, row=row) from None


def _outputs(found: list[Answered]) -> dict[str, NDArray[Any]]:
    def texts(parts: list[list[str]]) -> NDArray[Any]:
        return np.array([text for part in parts for text in part], dtype=object)

    columns = {
        "prediction_id": texts([one.ids for one in found]),
        "release": texts([[one.route.release.digest] * one.batch.rows for one in found]),
    }
    numbers = np.concatenate([one.numbers for one in found])
    if found[0].labels is None:
        return columns | {"prediction": numbers}
    names = class_columns(found[0].route.release.contract.output.classes)
    shares = {name: numbers[:, index] for index, name in enumerate(names)}
    return columns | {"label": texts([one.labels or [] for one in found])} | shares
