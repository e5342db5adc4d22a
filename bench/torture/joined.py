"""A slow model that many ask at the same time, with and without joined runs: what it costs, and that not one bit differs.

    python -m bench.torture.joined [SECONDS]

A network of 3 x 2048 in float32 answers one row in one to two milliseconds, most of which it spends on reading its weights.
Clients without a rest ask it one row each. Every answer must be to the last digit what the same row is answered alone, and with
joined runs a request must take at most `SHARE` of the processor time that it takes without them.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from bench.torture.load import Answered, Load, counter, get, quantile
from tests.faults.town import Server, town
from tests.unit.predictions.records import T0

from holdfast.core.contract import NUMBERS_KEY
from holdfast.core.release import CARD, CONTRACT, FORMAT, MODEL, REFERENCE, Manifest, ModelSource
from holdfast.decide.actions import Actor, deploy
from holdfast.release.bundle import write
from holdfast.release.trust import signer
from holdfast.workspace import Workspace

SHARE: Final = 0.8
AREAS: Final = [round(1.0 + 1.37 * n, 2) for n in range(64)]
SETTINGS: Final = "queue_ms = 2000\nmodel_threads = 1\njoin_rows = {rows}\n"


class Found(NamedTuple):
    """What many clients heard."""

    rate: float
    processor_ms: float
    """The worker's, for one request."""
    median_ms: float
    p99_ms: float
    joined: float
    """Share of the requests."""
    company: float
    """Requests of a joined run."""
    wrong: int


def workspace(folder: Path, settings: str, layers: int = 3, width: int = 2048) -> Workspace:
    """`town` answers something between -10 and 10."""
    made = town(folder)
    (simple,) = made.releases.iterdir()
    source = ModelSource(uri="models:/town/1", name="town", version="1", flavour="onnx", files=())
    manifest = Manifest(
        format=FORMAT, name="town", task="regression", files=(), model=source, data={}, code={}, builder={}, parity={}
    )
    files = {name: (simple / name).read_bytes() for name in (CONTRACT, REFERENCE, CARD)}
    digest = write(made.releases, manifest, files | {MODEL: network(layers, width)}, signer(made.keys))
    deploy(made.database, Actor("bench", T0, made.run), "town", digest)
    (folder / "holdfast.toml").write_text(f"[serve]\n{settings}")
    return made


def network(layers: int, width: int) -> bytes:
    """Numbers in one matrix, as a build makes it; the weights are chance."""
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(1)
    constants = {"first": rng.normal(0, 0.02, (1, width)), "last": rng.normal(0, width**-0.5, (width, 1))}
    constants |= {f"w{n}": rng.normal(0, 2 * width**-0.5, (width, width)) for n in range(layers)}
    nodes = [
        helper.make_node("Cast", ["numbers"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["x", "first"], ["h0"]),
    ]
    for n in range(layers):
        nodes += [
            helper.make_node("MatMul", [f"h{n}", f"w{n}"], [f"m{n}"]),
            helper.make_node("Tanh", [f"m{n}"], [f"h{n + 1}"]),
        ]
    nodes += [
        helper.make_node("MatMul", [f"h{layers}", "last"], ["y"]),
        helper.make_node("Cast", ["y"], ["prediction"], to=TensorProto.DOUBLE),
    ]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("numbers", TensorProto.DOUBLE, [None, 1])],
        [helper.make_tensor_value_info("prediction", TensorProto.DOUBLE, [None, 1])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {NUMBERS_KEY: '{"input":"numbers","columns":["area"]}'})
    found: bytes = model.SerializeToString()
    return found


async def crowd(inference: str, connections: int, seconds: float) -> list[Answered]:
    """So many ask without a rest."""
    heard: list[Answered] = []
    asked = iter(range(1 << 62))
    load = Load(inference, heard.append, lambda _: ("town", AREAS[next(asked) % len(AREAS)], "k"))
    until = asyncio.Event()
    asyncio.get_running_loop().call_later(seconds, until.set)
    await load.run(connections, until)
    return heard


def said(one: Answered) -> float | None:
    """The number, if there is one."""
    number: float | None = one.told["predictions"][0]["prediction"] if one.status == 200 else None
    return number


def processor_s(pid: int) -> float:
    """What a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def measure(server: Server, connections: int, seconds: float, *, joins: bool) -> Found:
    """One client first, which nobody can be joined with; then many, until the trial has ended, and once more to count."""
    alone = {one.area: said(one) for one in await crowd(server.inference, 1, 1.0)}
    for _ in range(20):
        await crowd(server.inference, connections, 2.0)
        if not joins or counter(await get(server.inference, "/metrics"), "joined_runs_total"):
            break
    (pid,) = server.workers()
    before, metrics = processor_s(pid), await get(server.inference, "/metrics")
    heard = await crowd(server.inference, connections, seconds)
    used, after = processor_s(pid) - before, await get(server.inference, "/metrics")
    runs, joined = (
        counter(after, name) - counter(metrics, name) for name in ("joined_runs_total", "joined_requests_total")
    )
    took = [one.heard - one.asked for one in heard]
    return Found(
        rate=len(heard) / seconds,
        processor_ms=used / len(heard) * 1e3,
        median_ms=quantile(took, 0.5),
        p99_ms=quantile(took, 0.99),
        joined=joined / len(heard),
        company=joined / runs if runs else 0.0,
        wrong=sum(said(one) != alone.get(one.area, said(one)) or one.status != 200 for one in heard),
    )


def torture(rows: int, connections: int, seconds: float) -> Found:
    """A server of its own."""
    with tempfile.TemporaryDirectory() as folder:
        server = Server(workspace(Path(folder), SETTINGS.format(rows=rows)))
        try:
            return asyncio.run(measure(server, connections, seconds, joins=rows > 0))
        finally:
            server.stop()
            server.close()


def main() -> int:
    """Exits non-zero if an answer differed or it did not pay."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 5.0
    bad = 0
    for connections in (8, 32):
        costs = {}
        for rows in (0, 16):
            found = torture(rows, connections, seconds)
            costs[rows] = found.processor_ms
            bad += found.wrong > 0
            print(
                f"{connections:3} clients, {'joined' if rows else 'alone ':6}  {found.rate:6.0f}/s  "
                f"{found.processor_ms:5.2f} ms of processor a request   median {found.median_ms:6.1f} ms, "
                f"p99 {found.p99_ms:6.1f} ms   {found.joined:4.0%} joined, {found.company:4.1f} a run   "
                f"{found.wrong} wrong",
                flush=True,
            )
        bad += costs[16] > SHARE * costs[0]
    return bad


if __name__ == "__main__":
    sys.exit(main())
