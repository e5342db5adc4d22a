"""How many replicas and processors a load takes, and what a million predictions cost, from a release's measured times.

Each serving process works on one request after another, and requests come independently of each other: M/G/1. The mean wait is
Pollaczek and Khinchine's; its tail is taken as exponential, P(wait > t) = u exp(-u t / mean wait) at utilisation u, which is
exact where service times are exponential and cautious where they vary less (L. Kleinrock, Queueing Systems I, 1975, chapter 5).
The 99th of a hundred requests takes its own slow run and the wait that one in a hundred exceeds: their sum is an upper bound.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec

from holdfast.errors import UsageError

__all__ = ["Capacity", "Load", "plan"]

OVERHEAD_MS: Final = 0.15
"""What a request takes beside the model: reading, the contract, the log, the answer (see Serving speed)."""
MOST: Final = 100_000


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of a release."""

    rps: float
    """Requests a second, at the busiest."""
    p99_ms: float
    headroom: float = 0.3
    """Share of each processor that stays idle at that load: for bursts, updates and a lost neighbour."""
    price: float = 0.0
    """Of one processor for an hour, in any currency."""
    processes: int = 1
    """Serving processes of one replica."""
    overhead_ms: float = OVERHEAD_MS


class Capacity(msgspec.Struct, frozen=True, kw_only=True):
    """The answer."""

    replicas: int
    processes: int
    """Of all replicas."""
    cores: int
    utilisation: float
    """Of each process, at the load."""
    p99_ms: float
    """Expected at the load."""
    most_rps: float
    """Of all replicas, before the limit on p99 or the headroom is reached."""
    per_million: float | None
    """Price of a million rows at the load; None without a price."""
    limited_by: str
    """`headroom` or `p99_ms`: what decided."""


def plan(load: Load, *, p50_ms: float, p99_ms: float, mean_ms: float, rows: int, threads: int) -> Capacity:
    """The fewest replicas that carry the load; UsageError if none can, because one run alone takes too long."""
    alone = p99_ms + load.overhead_ms
    if alone > load.p99_ms:
        raise UsageError(
            f"one request alone takes {alone:.3g} ms at the 99th of 100, longer than the {load.p99_ms:g} ms that it may",
            "--p99-ms",
            "build a quicker variant (holdfast build --optimise --p99-ms ...), or allow more",
        )
    if not 0.0 <= load.headroom < 1.0 or load.rps <= 0 or load.processes < 1:
        raise UsageError(
            "the load is not one", "--rps, --headroom", "give rps above 0 and a headroom from 0 to below 1"
        )
    service = (mean_ms + load.overhead_ms) / 1000.0
    varied = _variation(p50_ms, p99_ms)
    limit = load.p99_ms / 1000.0
    by_wait = _most_busy(service, varied, limit - alone / 1000.0)
    busy = min(by_wait, 1.0 - load.headroom)
    count = math.ceil(load.rps * service / busy - 1e-9)
    replicas = max(math.ceil(count / load.processes), 1)
    if replicas > MOST:
        raise UsageError(f"that load takes {replicas} replicas", "--rps, --p99-ms", "allow a longer p99")
    processes = replicas * load.processes
    used = load.rps * service / processes
    cores = processes * threads
    hours = cores / (load.rps * rows) / 3600.0
    return Capacity(
        replicas=replicas,
        processes=processes,
        cores=cores,
        utilisation=used,
        p99_ms=alone + 1000.0 * _wait(service, varied, used),
        most_rps=processes * busy / service,
        per_million=hours * 1e6 * load.price if load.price else None,
        limited_by="p99_ms" if by_wait < 1.0 - load.headroom else "headroom",
    )


def _variation(p50_ms: float, p99_ms: float) -> float:
    """Squared coefficient of variation, as of a lognormal with these quantiles; never taken for steadier than 0.05."""
    sigma = math.log(max(p99_ms / p50_ms, 1.0)) / 2.3263478740408408
    return max(math.expm1(sigma * sigma), 0.05)


def _wait(service: float, varied: float, busy: float) -> float:
    """What one wait in a hundred exceeds, in seconds."""
    if busy <= 0.01:
        return 0.0
    mean = busy * service * (1.0 + varied) / (2.0 * (1.0 - busy))
    return mean / busy * math.log(busy / 0.01)


def _most_busy(service: float, varied: float, room: float) -> float:
    """The utilisation at which that wait takes all the room there is."""
    low, high = 0.0, 1.0 - 1e-6
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _wait(service, varied, middle) <= room else (low, middle)
    return max(low, 0.01)
