"""What each duty of a request costs: the whole path from a request's bytes to its answer's, in this process and without a
network, once with everything on and once without each duty. The difference is the duty's own time; duties help each other (what
one has looked up is in the processor's cache for the next), so they need not add up.

    python -m bench.serve.duties
"""

from __future__ import annotations

import asyncio
import gc
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import quantiles
from typing import Any, Final, NamedTuple

import numpy as np
import uvloop
from bench.serve.models import Models, build
from bench.serve.questions import ask

__all__ = ["costs"]

CONNECTIONS: Final = 8
"""Answers in a tick, as in the table of servers."""
PATIENT_MS: Final = 1e9
"""Nothing is shed, however busy this machine is."""


class _Sink(asyncio.Transport):
    """A client that only listens."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 1) if name == "peername" else default

    def write(self, data: bytes) -> None:
        if not data.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(data.decode("latin-1"))


class _Still:
    """A log that keeps nothing."""

    position = (0, 0)

    def append(self, frames: Sequence[bytes]) -> None:
        pass

    def close(self) -> None:
        pass


class _Without(NamedTuple):
    """What is switched off."""

    key: bool = False
    host: bool = False
    ids: bool = False
    ranges: bool = False
    model: bool = False
    record: bool = False
    write: bool = False
    counts: bool = False
    http: bool = False


DUTIES: Final = {
    "HTTP: reading the request, writing the answer": _Without(http=True),
    "API key: known, allowed, in time": _Without(key=True),
    "Host and origin: no page of another site asks": _Without(host=True),
    "a request id": _Without(ids=True),
    "ranges of the contract": _Without(ranges=True),
    "the model": _Without(model=True),
    "prediction log and counts for `/metrics`": _Without(record=True),
    "of these, the write": _Without(write=True),
    "of these, the counts": _Without(counts=True),
}


def costs(models: Models, rounds: int = 60, ticks: int = 40) -> dict[str, float]:
    """Microseconds of one request by duty; `all` is the whole path.

    Processor time in many short rounds, and of those the quick fifth: what else the machine does only ever adds.
    """

    async def story() -> dict[str, float]:
        with tempfile.TemporaryDirectory() as folder:
            paths = {"all": _path(models, Path(folder) / "all", _Without())}
            for number, (name, without) in enumerate(DUTIES.items()):
                paths[name] = _path(models, Path(folder) / str(number), without)
            took: dict[str, list[float]] = {name: [] for name in paths}
            gc.collect()
            gc.freeze()
            for number in range(rounds + 1):
                for name, path in paths.items():
                    began = time.process_time()
                    for _ in range(ticks):
                        path()
                        await asyncio.sleep(0)
                    if number:  # the first warms up
                        took[name].append((time.process_time() - began) / ticks / CONNECTIONS * 1e6)
            return {name: quantiles(found, n=5)[0] for name, found in took.items()}

    found = uvloop.run(story())
    whole = found.pop("all")
    return {"all": whole, **{name: max(whole - value, 0.0) for name, value in found.items()}, **_codec(models, rounds)}


def _codec(models: Models, rounds: int) -> dict[str, float]:
    """What cannot be left out is measured by itself."""
    import onnxruntime

    from holdfast.serve.answers import answer
    from holdfast.serve.codecs import TENSORS
    from holdfast.workspace import open_workspace

    route = _plan(open_workspace(models.folder), _Without()).deployment("tree").live
    body, layout = ask("tensor", models.cases["row"]).body, route.release.layout
    payload = TENSORS.decode(body, {}, layout, 1000)
    session = onnxruntime.InferenceSession(models.files["tree"], providers=["CPUExecutionProvider"])
    fed = {"input": np.array(models.cases["row"].rows, dtype=np.float32)}
    answered = answer("tree", route, payload.batch, request="0" * 26, client_id="")

    def cost(work: Callable[[], object]) -> float:
        took = []
        for _ in range(rounds):
            began = time.process_time()
            for _ in range(300):
                work()
            took.append((time.process_time() - began) / 300 * 1e6)
        return quantiles(took, n=5)[0]

    return {
        "reading the rows: JSON, types, columns": cost(lambda: TENSORS.decode(body, {}, layout, 1000)),
        "writing the answer's JSON": cost(lambda: TENSORS.encode(answered, payload)),
        "floor: ONNX Runtime's `session.run` by itself": cost(lambda: session.run(None, fed)),
    }


def _path(models: Models, home: Path, without: _Without) -> Callable[[], None]:
    """One tick of requests through a path of its own."""
    from holdfast.http.app import LOOPBACK, App
    from holdfast.http.port import InferencePort
    from holdfast.http.protocol import Connection
    from holdfast.http.reader import Request
    from holdfast.predictions.journal import Journal
    from holdfast.predictions.log import Frame, Writer
    from holdfast.serve.dataplane import ServeState
    from holdfast.serve.guards import Admission
    from holdfast.serve.load import Load
    from holdfast.serve.metrics import Metrics, Place
    from holdfast.server.access import admission
    from holdfast.workspace import open_workspace

    class Same(ServeState):
        def new_request(self, wall: int) -> str:
            return "0" * 26

    workspace = open_workspace(models.folder, {"serve.keys": "required", "serve.queue_ms": PATIENT_MS})
    writer: Any = _Still() if without.write else Writer(home / "log", "w0", segment_bytes=1 << 30)
    (home / "counts").mkdir(parents=True)
    metrics = Metrics("w0", Place(home / "counts", home / "log", "w0"))

    def counted(frames: Sequence[Frame], _counts: object) -> None:
        metrics.logged(frames, writer.position)

    journal = Journal(writer, appended=None if without.counts else counted)
    entry = (
        Admission(load=Load(PATIENT_MS))
        if without.key
        else admission(workspace.settings.serve, workspace.run, workspace.keys, "w0")
    )
    entry.refresh()
    app = App(
        plan=_plan(workspace, without),
        state=(Same if without.ids else ServeState)(metrics=metrics),
        label=lambda _name, _body: (202, {}, ()),
        hosts=None if without.host else LOOPBACK,
        admission=entry,
    )

    app._pace.slow = lambda _asked, _size: False  # noqa: SLF001 - a busy machine must not send requests to threads

    question = ask("tensor", models.cases["row"], {"Authorization": f"Bearer {models.key}"})
    wire = question.wire
    if without.http:
        headers = {name.lower(): value for name, value in {"Host": "127.0.0.1", **question.headers}.items()}
        request = Request(question.method, question.path, headers, question.body)

        def tick() -> None:
            replies = [app.handle(request, lambda _: None) for _ in range(CONNECTIONS)]
            journal.commit([frame for reply in replies if reply for frame in reply.frames], lambda _: None)

        return tick
    port = InferencePort(app.handle, journal.commit)
    connections = [Connection(port) for _ in range(CONNECTIONS)]
    for connection in connections:
        connection.connection_made(_Sink())

    def ask_all() -> None:
        for connection in connections:
            connection.data_received(wire)

    return _unlogged(ask_all) if without.record else ask_all


def _unlogged(tick: Callable[[], None]) -> Callable[[], None]:
    """A tick whose predictions leave no record."""
    from holdfast.serve import dataplane

    record = dataplane._logged  # noqa: SLF001 - nothing else switches it off

    def quietly() -> None:
        dataplane._logged = lambda *_: None  # noqa: SLF001
        try:
            tick()
        finally:
            dataplane._logged = record  # noqa: SLF001

    return quietly


def _plan(workspace: Any, without: _Without) -> Any:
    from holdfast.decide.publish import read_plan
    from holdfast.release.bundle import open_release
    from holdfast.release.trust import trusted_keys
    from holdfast.serve.plan import load

    keys = trusted_keys(workspace.keys)
    told = read_plan(workspace.run)
    assert told is not None
    plan = load(told, lambda digest: open_release(workspace.releases / digest, keys), workspace.runtime, ())
    release = plan.deployment("tree").live.release
    if without.ranges:
        release.layout._lows = release.layout._highs = ()  # noqa: SLF001 - nothing else switches them off
    if without.model:
        release.__dict__["direct"] = lambda _numbers, _texts: np.array([1.0])  # in place of the cached property
    return plan


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        for name, cost in costs(build(Path(folder), image=False)).items():
            print(f"{cost:6.1f} us  {name}")


if __name__ == "__main__":
    main()
