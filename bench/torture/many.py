"""Hundreds of deployments in one process, and memory for a sixth of them: right answers, cold and warm times.

    python -m bench.torture.many [DEPLOYMENTS] [HELD]

Every deployment has a model of its own (boosted trees). All are asked once, cold; then a hot set that fits; then names as
popularity has it (Zipf), so that models come and go while others answer. Each number is held against the model in scikit-learn.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from bench.torture.load import Answered, Load, counter, get, quantile
from sklearn.ensemble import GradientBoostingRegressor
from tests.faults.town import TOWN, Server, town

from holdfast.backends.onnx import OnnxRuntime
from holdfast.build.convert import Input, convert
from holdfast.columns.yaml import dump_yaml
from holdfast.core.deployment import Deployment
from holdfast.core.release import CARD, CONTRACT, FORMAT, MODEL, REFERENCE, Manifest, ModelSource
from holdfast.decide.publish import publish
from holdfast.release.bundle import open_release, write
from holdfast.release.trust import signer, trusted_keys
from holdfast.serve.plan import LoadedRelease, open_loaded
from holdfast.serve.shelf import Shelf, ShelfState
from holdfast.workspace import Workspace

MANY: Final = 300
HELD: Final = 50
MIXED_S: Final = 20.0
AREAS: Final = np.linspace(0.0, 100.0, 101)
TREES: Final = 100
FIXED_MB: Final = 24.0
"""What a process gains from its first questions on, with whatever model."""


class Found(NamedTuple):
    """What was seen."""

    deployments: int
    budget_mb: float
    built_s: float
    ready_s: float
    """From the start of the command until it answers."""
    answers: int
    wrong: int
    cold_p50_ms: float
    cold_p99_ms: float
    """First questions, one at a time."""
    warm_p50_ms: float
    warm_p99_ms: float
    """Of the hot set alone."""
    mixed_p50_ms: float
    mixed_p99_ms: float
    """While models come and go, hits and misses together."""
    mixed_misses: float
    """Share of the mixed questions that had to wait for a load."""
    held: int
    """Most models that were open at once."""
    pss_before_mb: float
    pss_after_mb: float
    """Of the worker: after its start, and in the end."""

    @property
    def sound(self) -> bool:
        """Whether all answers were right, within the memory that was given."""
        return self.wrong == 0 and self.pss_after_mb - self.pss_before_mb < 2.0 * self.budget_mb + FIXED_MB


def build(home: Workspace, many: int) -> dict[str, np.ndarray]:
    """Deployments of models that differ; what each answers on `AREAS`."""
    with home.database.begin() as stores:
        first = stores.deployments.get("town")
    reference = open_release(home.releases / first.live, trusted_keys(home.keys)).path / REFERENCE
    truth: dict[str, np.ndarray] = {}
    with home.database.begin() as stores:
        for i in range(many):
            name = f"town-{i:03d}"
            rng = np.random.default_rng(i)
            area = rng.uniform(0.0, 100.0, 300)
            price = (1.0 + i) * area + 20.0 * np.sin(area / (3.0 + i % 7)) + rng.normal(size=300)
            model = GradientBoostingRegressor(n_estimators=TREES, max_depth=4, random_state=i).fit(area[:, None], price)
            digest = write(
                home.releases,
                Manifest(
                    format=FORMAT,
                    name=name,
                    task="regression",
                    files=(),
                    model=ModelSource(uri=f"models:/{name}/1", name=name, version="1", flavour="sklearn", files=()),
                    data={},
                    code={},
                    builder={},
                    parity={},
                ),
                {
                    MODEL: convert(model, (Input("area", "FP64"),), "regression").onnx,
                    CONTRACT: dump_yaml(TOWN).encode(),
                    REFERENCE: reference.read_bytes(),
                    CARD: b"# town\n",
                },
                signer(home.keys),
            )
            stores.deployments.save(Deployment(name=name, live=digest, since=first.since, salt=name))
            truth[name] = model.predict(AREAS[:, None])
    publish(home.database, home.run)
    return truth


def size_of(home: Workspace, names: list[str]) -> int:
    """Bytes that the server would count for an open model: the mean over some."""
    seen: list[ShelfState] = []

    def opened(digest: str) -> tuple[LoadedRelease, Path]:
        release = open_release(home.releases / digest, trusted_keys(home.keys))
        return open_loaded(release, OnnxRuntime()), release.model

    shelf = Shelf(opened, 1 << 40, seen.append)
    with home.database.begin() as stores:
        for name in names:
            shelf.get(stores.deployments.get(name).live)
    shelf.close()
    return seen[-1].bytes // len(names)


def torture(folder: Path, many: int, held: int, mixed_s: float = MIXED_S) -> Found:
    """Build, serve, ask."""
    home = town(folder)
    began = time.monotonic()
    truth = build(home, many)
    built = time.monotonic() - began
    names = list(truth)
    budget = held * size_of(home, names[:20]) / (1 << 20)
    os.environ["HOLDFAST_SERVE_MODEL_MEMORY_MB"] = f"{budget:.2f}"
    with (folder / "said.txt").open("w") as said:
        began = time.monotonic()
        server = Server(home, "--workers", "1", said=said)
        try:
            ready = time.monotonic() - began
            asked = asyncio.run(_story(server, truth, held, mixed_s))
        finally:
            del os.environ["HOLDFAST_SERVE_MODEL_MEMORY_MB"]
            server.process.terminate()
            server.process.wait(60)
            server.close()
    return asked._replace(deployments=many, budget_mb=budget, built_s=built, ready_s=ready)


async def _story(server: Server, truth: dict[str, np.ndarray], held: int, mixed_s: float) -> Found:
    names = list(truth)
    wrong = answers = 0
    took: list[float] = []

    def heard(one: Answered) -> None:
        nonlocal wrong, answers
        answers += 1
        right = truth[one.deployment][int(one.area)]
        good = one.status == 200 and abs(one.told["predictions"][0]["prediction"] - right) <= 1e-9 * abs(right) + 1e-9
        wrong += not good
        took.append(one.heard - one.asked)

    async def ask(order: list[str]) -> list[float]:
        took.clear()
        waiting = list(reversed(order))
        until = asyncio.Event()

        def question(_: int) -> tuple[str, float, str]:
            name = waiting.pop()
            if not waiting:
                until.set()
            return name, float(random.randrange(101)), ""

        await Load(server.inference, heard, question).run(1, until)
        return list(took)

    async def loads() -> float:
        return counter(await get(server.inference, "/metrics"), "model_loads_total")

    before = _pss(server)
    cold = await ask(names)
    hot = names[: held * 4 // 5]
    await ask(hot)
    warm = await ask(hot * 25)
    popularity = 1.0 / np.arange(1, len(names) + 1)
    drawn = iter(np.random.default_rng(1).choice(len(names), 1_000_000, p=popularity / popularity.sum()).tolist())
    took.clear()
    first, most = await loads(), 0.0
    until = asyncio.Event()
    mixed = Load(server.inference, heard, lambda _: (names[next(drawn)], float(random.randrange(101)), ""))
    asking = asyncio.create_task(mixed.run(4, until))
    for _ in range(10):
        await asyncio.sleep(mixed_s / 10)
        most = max(most, counter(await get(server.inference, "/metrics"), "models_loaded"))
    until.set()
    await asking
    return Found(
        deployments=0,
        budget_mb=0.0,
        built_s=0.0,
        ready_s=0.0,
        answers=answers,
        wrong=wrong,
        cold_p50_ms=quantile(cold, 0.5),
        cold_p99_ms=quantile(cold, 0.99),
        warm_p50_ms=quantile(warm, 0.5),
        warm_p99_ms=quantile(warm, 0.99),
        mixed_p50_ms=quantile(took, 0.5),
        mixed_p99_ms=quantile(took, 0.99),
        mixed_misses=(await loads() - first) / max(len(took), 1),
        held=int(most),
        pss_before_mb=before,
        pss_after_mb=_pss(server),
    )


def _pss(server: Server) -> float:
    text = Path(f"/proc/{server.workers()[0]}/smaps_rollup").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")) / 1024


def main() -> None:
    """As many as asked for; exits non-zero if an answer was wrong or memory was not kept."""
    many = int(sys.argv[1]) if len(sys.argv) > 1 else MANY
    held = int(sys.argv[2]) if len(sys.argv) > 2 else HELD
    with tempfile.TemporaryDirectory() as folder:
        found = torture(Path(folder), many, held)
    for name, value in found._asdict().items():
        print(f"{name:>14}  {value:,.3f}" if isinstance(value, float) else f"{name:>14}  {value:,}")
    print("sound" if found.sound else "NOT SOUND")
    sys.exit(not found.sound)


if __name__ == "__main__":
    main()
