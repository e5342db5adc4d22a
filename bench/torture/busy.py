"""A server with a model that costs what one asks for, on a core of its own, and open-loop clients on another.

Clients come at random, as users do, whether or not those before them have been answered; a connection that heard when to
come again is left alone until then. Time counts from when a client came, not from when we got round to sending.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import numpy as np
from tests.faults.town import Server, town
from tests.unit.predictions.records import T0

from holdfast.core.release import CARD, CONTRACT, FORMAT, MODEL, REFERENCE, Manifest, ModelSource
from holdfast.decide.actions import Actor, deploy
from holdfast.release.bundle import write
from holdfast.release.trust import signer
from holdfast.workspace import Workspace

WIDTH: Final = 256
CONNECTIONS: Final = 3000


def workspace(folder: Path, layers: int, settings: str) -> Workspace:
    """`town` answers area + (nearly) nothing, after so many layers of a network."""
    made = town(folder)
    (simple,) = made.releases.iterdir()
    source = ModelSource(uri="models:/town/1", name="town", version="1", flavour="onnx", files=())
    manifest = Manifest(
        format=FORMAT, name="town", task="regression", files=(), model=source, data={}, code={}, builder={}, parity={}
    )
    files = {name: (simple / name).read_bytes() for name in (CONTRACT, REFERENCE, CARD)} | {MODEL: _network(layers)}
    digest = write(made.releases, manifest, files, signer(made.keys))
    deploy(made.database, Actor("bench", T0, made.run), "town", digest)
    (folder / "holdfast.toml").write_text(f"[serve]\n{settings}")
    return made


def _network(layers: int) -> bytes:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(1)
    weights = rng.normal(0, 0.05, (WIDTH, WIDTH)).astype(np.float32)
    constants = {"wide": np.ones((1, WIDTH), np.float32), "weights": weights, "tiny": np.float32(1e-6).reshape(1, 1)}
    nodes = [
        helper.make_node("Cast", ["area"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["x", "wide"], ["h0"]),
    ]
    for n in range(layers):
        nodes += [
            helper.make_node("MatMul", [f"h{n}", "weights"], [f"m{n}"]),
            helper.make_node("Tanh", [f"m{n}"], [f"h{n + 1}"]),
        ]
    nodes += [
        helper.make_node("ReduceMean", [f"h{layers}"], ["mean"], axes=[1], keepdims=1),
        helper.make_node("Mul", ["mean", "tiny"], ["little"]),
        helper.make_node("Add", ["x", "little"], ["sum"]),
        helper.make_node("Cast", ["sum"], ["prediction"], to=TensorProto.DOUBLE),
    ]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("area", TensorProto.DOUBLE, [None, 1])],
        [helper.make_tensor_value_info("prediction", TensorProto.DOUBLE, [None, 1])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def question(rows: int) -> bytes:
    """A request's bytes."""
    body = json.dumps({"instances": [{"area": 1.5}] * rows}).encode()
    head = f"POST /v1/models/town:predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


@contextlib.contextmanager
def pinned(server: Server) -> Iterator[None]:
    """The server on the first core, we on the last, for the block: neither takes the other's time."""
    before = os.sched_getaffinity(0)
    first, *_, last = [min(before), *sorted(before)]
    for pid in server.workers():
        for thread in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), {first})
    os.sched_setaffinity(0, {last})
    try:
        yield
    finally:  # whoever is started next must not inherit it
        os.sched_setaffinity(0, before)


class Heard:
    """What clients heard."""

    def __init__(self) -> None:
        self.good: list[float] = []
        """Seconds until the answer, of requests answered 200."""
        self.shed = 0
        self.other: dict[int, int] = {}
        self.lag: list[float] = []
        """How late we were to send, in seconds: none of the server's doing."""
        self.unsent = 0
        """Clients that found no connection free."""

    def told(self, status: int, seconds: float) -> None:
        """One answer."""
        if status == 200:
            self.good.append(seconds)
        elif status in {503, 429}:
            self.shed += 1
        else:
            self.other[status] = self.other.get(status, 0) + 1


class Client(asyncio.Protocol):
    """One connection, one question at a time."""

    def __init__(self, free: deque[Client]) -> None:
        self._free = free
        self._came = 0.0
        self._heard: Heard | None = None
        self._answer = bytearray()
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def ask(self, text: bytes, came: float, heard: Heard) -> None:
        self._came, self._heard = came, heard
        self._transport.write(text)

    def data_received(self, data: bytes) -> None:
        self._answer += data
        end = self._answer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self._answer[:end]).lower()
        place = head.index(b"content-length: ") + 16
        if len(self._answer) < end + 4 + int(head[place:].split(b"\r", 1)[0]):
            return
        self._answer.clear()
        status = int(head[9:12])
        assert self._heard is not None
        self._heard.told(status, time.perf_counter() - self._came)
        after = head.partition(b"retry-after: ")[2].split(b"\r", 1)[0]
        if after:
            asyncio.get_running_loop().call_later(float(after), self._free.append, self)
        else:
            self._free.append(self)

    def leave(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None


class Crowd:
    """Clients of one address."""

    def __init__(self, inference: str) -> None:
        place = urlsplit(inference)
        self._host, self._port = place.hostname or "", place.port or 0
        self._free: deque[Client] = deque()
        self._all: list[Client] = []

    async def grow(self, count: int) -> None:
        """Have so many connections open."""
        loop = asyncio.get_running_loop()
        while len(self._all) < count:
            _, client = await loop.create_connection(lambda: Client(self._free), self._host, self._port)
            self._free.append(client)
            self._all.append(client)

    async def leave(self) -> None:
        """Hang up."""
        for client in self._all:
            client.leave()
        await asyncio.sleep(0.1)

    async def come(self, rate: float, seconds: float, text: bytes) -> Heard:
        """At random, at this rate; until all have been answered."""
        heard, start = Heard(), time.perf_counter()
        clock = random.Random(7)
        due = start
        while due < start + seconds:
            now = time.perf_counter()
            while due <= now and due < start + seconds:
                if self._free:
                    heard.lag.append(now - due)
                    self._free.popleft().ask(text, due, heard)
                else:
                    heard.unsent += 1
                due += clock.expovariate(rate)
            await asyncio.sleep(max(min(due - time.perf_counter(), 0.001), 0))
        await asyncio.sleep(2.5)
        return heard

    async def saturate(self, clients: int, seconds: float, text: bytes) -> float:
        """Answers per second when so many clients never rest."""
        heard, start = Heard(), time.perf_counter()
        sent = 0
        while time.perf_counter() < start + seconds:
            while len(self._all) - len(self._free) < clients and self._free:
                self._free.popleft().ask(text, time.perf_counter(), heard)
                sent += 1
            await asyncio.sleep(0)
        spent = time.perf_counter() - start
        count = len(heard.good)
        await asyncio.sleep(1.5)
        return count / spent
