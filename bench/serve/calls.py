"""Ask one question over gRPC, over and over, in a process of its own: gRPC's threads and forks do not mix.

    python -m bench.serve.calls PORT CONNECTIONS SECONDS NEEDLE,NEEDLE METADATA < message

Each connection asks again as soon as it was answered. Prints one line of JSON: how many, how long, or what was wrong.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from typing import Any, NamedTuple

import grpc
from bench.serve.questions import CALL_PATH


class Asked(NamedTuple):
    message: bytes
    metadata: tuple[tuple[str, str], ...]
    needles: tuple[bytes, ...]


async def ask(port: int, connections: int, seconds: float, question: Asked) -> dict[str, Any]:
    took: list[float] = []
    wrong: list[str] = []
    sizes: set[int] = set()
    began = time.perf_counter()
    end = began + seconds

    async def client() -> None:
        alone = [("grpc.use_local_subchannel_pool", 1)]  # else all channels would share one connection
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", alone) as channel:
            call = channel.unary_unary(CALL_PATH)
            while not wrong and (now := time.perf_counter()) < end:
                try:
                    answer = await call(question.message, metadata=question.metadata)
                except grpc.aio.AioRpcError as bad:
                    wrong.append(f"{bad.code().name}: {bad.details()}")
                    return
                if not all(needle in answer for needle in question.needles):
                    wrong.append(repr(answer[:300]))
                sizes.add(len(answer))
                took.append(time.perf_counter() - now)

    await asyncio.gather(*(client() for _ in range(connections)))
    if wrong or len(took) < 2:
        return {"wrong": wrong[:1] or ["too few answers"]}
    cuts = statistics.quantiles(took, n=100)
    return {
        "bytes": max(sizes),
        "right": len(took),
        "seconds": time.perf_counter() - began,
        "p50": cuts[49] * 1e3,
        "p99": cuts[98] * 1e3,
    }


if __name__ == "__main__":
    port, connections, seconds, needles, metadata = sys.argv[1:]
    question = Asked(
        sys.stdin.buffer.read(),
        tuple(json.loads(metadata).items()),
        tuple(bytes.fromhex(needle) for needle in needles.split(",")),
    )
    sys.stdout.write(json.dumps(asyncio.run(ask(int(port), int(connections), float(seconds), question))) + "\n")
