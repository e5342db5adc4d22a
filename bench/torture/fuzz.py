"""Fuzz: hundreds of thousands of requests that nobody should send, over HTTP and gRPC, against a real server.

    python -m bench.torture.fuzz [CASES] [SEED]

Sound is: no answer of the 500s, no gRPC status that blames the server, no request without an answer, every worker alive at the
end, nothing on stderr that looks like a mistake of ours, and a plain question answered as before. What fails is written to
`.bench/fuzz/`. Cases are drawn by `cases`; `schemathesis` adds those that it makes of a description of the port.
"""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

import grpc
import httptools
import numpy as np
import pandas as pd
from bench.torture.cases import FAMILIES, Call, Post, draw, scrambled
from bench.torture.described import explore
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from tests.faults.town import Server

import holdfast
from holdfast.decide.actions import Actor, deploy
from holdfast.workspace import Workspace

CASES: Final = 200_000
CLIENTS: Final = 6
PATIENCE_S: Final = 20.0
DESCRIBED: Final = 0.02
"""Share of cases that schemathesis makes."""
BLAMED: Final = {"INTERNAL", "UNKNOWN", "UNAVAILABLE", "DATA_LOSS", "DEADLINE_EXCEEDED"}
BUSY: Final = {"429", "503", "RESOURCE_EXHAUSTED"}
QUESTION: Final = Post("POST", "/v1/models/plain:predict", (), b'{"instances": [{"a": 1, "b": 2, "c": 3, "d": 4}]}')
FAILURES: Final = Path(".bench/fuzz")


class Failure(NamedTuple):
    """A case, and what was wrong with its answer."""

    family: str
    said: str
    case: bytes


class Found(NamedTuple):
    """What a run showed."""

    cases: int
    seconds: float
    statuses: Counter[str]
    failures: list[Failure]

    @property
    def sound(self) -> bool:
        """Whether nothing failed."""
        return not self.failures


def world(folder: Path) -> Workspace:
    """A classifier over columns of every kind, and a regression over four numbers."""
    rng = np.random.default_rng(1)
    n = 600
    mixed = pd.DataFrame(
        {
            "area": rng.uniform(30, 200, n),
            "rooms": rng.integers(1, 6, n),
            "kind": rng.choice(["flat", "house"], n),
            "sold": pd.Timestamp("2026-01-01", tz="UTC") + pd.to_timedelta(np.arange(n), unit="h"),
            "house": [f"a-{row}" for row in range(n)],
        }
    )
    plain = pd.DataFrame({name: rng.normal(size=n) for name in "abcd"})
    encoder = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["kind"]), remainder="passthrough")
    dear = (mixed["area"] > 100).astype(int).rename("dear")
    features = mixed[["area", "rooms", "kind"]]
    workspace = holdfast.create_workspace(folder)
    actor = Actor("fuzz", time.time_ns() // 1000, workspace.run)
    classifier = make_pipeline(encoder, LogisticRegression()).fit(features[:300], dear[:300])
    built = holdfast.build_release(
        classifier, mixed[300:], dear[300:], workspace=workspace, name="mixed", timestamp="sold", key="house"
    )
    deploy(workspace.database, actor, "mixed", built.digest)
    sums = plain.sum(axis=1)
    regression = LinearRegression().fit(plain[:300], sums[:300])
    built = holdfast.build_release(regression, plain[300:], sums[300:], workspace=workspace, name="plain")
    deploy(workspace.database, actor, "plain", built.digest)
    return workspace


# ---------------------------------------------------------------------------------------------- asking


class _Answer:
    """Reads one answer."""

    def __init__(self) -> None:
        self.done = False
        self.parser = httptools.HttpResponseParser(self)
        self.body = b""

    def on_body(self, part: bytes) -> None:
        self.body += part

    def on_message_complete(self) -> None:
        self.done = self.parser.get_status_code() >= 200


class Http:
    """One client; comes again when it was sent away."""

    def __init__(self, address: str) -> None:
        self.host = address.removeprefix("http://")
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, case: Post) -> str:
        """The status of the answer to one framed request."""
        reader, writer = self._streams = self._streams or await self._come()
        answer = _Answer()
        try:
            writer.write(case.raw(self.host))
            while not answer.done:
                data = await reader.read(1 << 16)
                if not data:
                    self.leave()
                    return "closed without an answer"
                answer.parser.feed_data(data)
        except (ConnectionError, httptools.HttpParserError) as bad:
            self.leave()
            return f"no answer: {type(bad).__name__}"
        if not answer.parser.should_keep_alive():
            self.leave()
        return str(answer.parser.get_status_code())

    async def throw(self, data: bytes) -> str:
        """Send any bytes and no more; whatever is answered, the server must end it. The worst status heard."""
        reader, writer = await self._come()
        try:
            writer.write(data)
            writer.write_eof()
            heard = await reader.read()
        except ConnectionError:  # it may refuse to hear us out
            return "reset"
        finally:
            writer.close()
        lines = [part[:3].decode() for part in heard.split(b"HTTP/1.1 ")[1:]]
        return max((line for line in lines if line.isdecimal()), default="closed")

    async def _come(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        name, _, port = self.host.rpartition(":")
        return await asyncio.open_connection(name, int(port))

    def leave(self) -> None:
        """Close."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def call(channel: grpc.aio.Channel, case: Call) -> str:
    """The name of the status of one gRPC call."""
    ask = channel.unary_unary(f"/inference.GRPCInferenceService/{case.method}")
    try:
        await ask(case.body, timeout=PATIENCE_S)
    except grpc.aio.AioRpcError as bad:
        return bad.code().name
    return "OK"


# ---------------------------------------------------------------------------------------------- the run


class Run:
    """All clients and their books."""

    def __init__(self, server: Server, seed: int) -> None:
        self._server = server
        self._rng = random.Random(seed)
        self.statuses: Counter[str] = Counter()
        self.failures: list[Failure] = []
        self.cases = 0

    async def ask_all(self, cases: int) -> None:
        """Every family, its share of the cases."""
        for family, (_, share) in FAMILIES.items():
            began, before = time.monotonic(), self.cases
            todo = iter(range(int(cases * share)))
            async with grpc.aio.insecure_channel(self._server.grpc) as channel:
                await asyncio.gather(*[self._client(family, todo, channel) for _ in range(CLIENTS)])
            rate = (self.cases - before) / (time.monotonic() - began)
            print(
                f"  {family}: {self.cases - before:,} cases, {rate:,.0f}/s, {len(self.failures)} failures",
                file=sys.stderr,
            )

    async def _client(self, family: str, todo: Iterator[int], channel: grpc.aio.Channel) -> None:
        client = Http(self._server.inference)
        for _ in todo:
            case = draw(family, self._rng)
            if isinstance(case, Call):
                await self._note(family, case.body, lambda case=case: call(channel, case))  # type: ignore[misc]
            elif family == "broken HTTP":
                data = scrambled(self._rng, case.raw(client.host))
                await self._note(family, data, lambda data=data: client.throw(data))  # type: ignore[misc]
            else:
                await self._note(family, case.raw(client.host), lambda case=case: client.ask(case))  # type: ignore[misc]
            if len(self.failures) > 100:
                break
        client.leave()

    async def _note(self, family: str, case: bytes, ask: Callable[[], Awaitable[str]]) -> None:
        self.cases += 1
        try:
            status = await asyncio.wait_for(ask(), PATIENCE_S)
            for pause_s in (1.0, 2.0, 4.0):  # turned away for load, it says when to come back
                if status not in BUSY:
                    break
                self.statuses["busy"] += 1
                await asyncio.sleep(pause_s)
                status = await asyncio.wait_for(ask(), PATIENCE_S)
        except TimeoutError:
            status = "hangs"
        self.statuses[status] += 1
        broken = family == "broken HTTP" and status in {"closed", "reset", "505"}  # 505: there is no HTTP/9.1
        if not broken and (status in BLAMED or not (status.isupper() or (status.isdecimal() and int(status) < 500))):
            self.failures.append(Failure(family, status, case))


def fuzz(folder: Path, cases: int, seed: int) -> Found:
    """Ask, then look at the server."""
    workspace = world(folder)
    began = time.monotonic()
    with (folder / "said.txt").open("w+") as said:
        server = Server(workspace, "--grpc-port", "0", said=said)
        try:
            workers = sorted(server.workers())
            run = Run(server, seed)
            asyncio.run(run.ask_all(cases))
            for status, case in explore(server.inference, int(cases * DESCRIBED), seed):
                run.cases += 1
                run.statuses[status] += 1
                if int(status) >= 500 and status not in BUSY:
                    run.failures.append(Failure("described", status, case))
            after = asyncio.run(Http(server.inference).ask(QUESTION))
            if after != "200" or sorted(server.workers()) != workers:
                run.failures.append(Failure("the end", f"a plain question: {after}, or a worker has died", b""))
        finally:
            server.process.terminate()
            server.process.wait(60)
            server.close()
        said.seek(0)
        text = said.read()
    if "Traceback" in text:
        run.failures.append(Failure("stderr", "a traceback", text.encode()))
    return Found(run.cases, time.monotonic() - began, run.statuses, run.failures)


def main() -> None:
    """So many cases; exits non-zero if one fails."""
    cases = int(sys.argv[1]) if len(sys.argv) > 1 else CASES
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(1 << 30)
    print(f"seed {seed}")
    with tempfile.TemporaryDirectory() as folder:
        found = fuzz(Path(folder), cases, seed)
    for status, count in found.statuses.most_common():
        print(f"{status:>24}  {count:,}")
    print(f"{found.cases:,} cases in {found.seconds:,.0f} s, {len(found.failures)} failures")
    for number, failure in enumerate(found.failures):
        FAILURES.mkdir(parents=True, exist_ok=True)
        path = FAILURES / f"{seed}-{number}"
        path.write_bytes(failure.case)
        print(f"  {failure.family}: {failure.said}, {path}")
    sys.exit(not found.sound)


if __name__ == "__main__":
    main()
