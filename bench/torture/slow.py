"""Five hundred clients that are slow on purpose, and bodies of 100 MB: the others must not notice, and memory stays bounded.

    python -m bench.torture.slow [SECONDS]

Some send a request byte by byte, some ask and never read, some send bodies that are far too large, with and without
saying so first. Beside them ordinary clients come 300 times a second: their 99th percentile must stay below twice what it is
without the crowd, and the server must not grow by more than what it holds of bodies at most (256 MiB).
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import uvloop
from bench.torture.busy import Crowd, pinned, question, workspace
from bench.torture.load import quantile
from tests.faults.town import Server

RATE: Final = 300.0
SLOW: Final = 500
LARGE: Final = 20
BODY: Final = 100 << 20
PIECE: Final = 64 << 10
"""As a network delivers them. A megabyte in one call would hold up the ordinary clients, who share the enemies' core."""
PACE: Final = 10 << 20
"""Bytes a second of one body."""
GROWTH: Final = 300 << 20
ENEMIES: Final = "enemies"
NOISE_MS: Final = 3.0
"""What a shared machine adds to a 99th percentile now and then."""


class Found(NamedTuple):
    alone: float
    beside: float
    growth: int
    refused: int
    """Large bodies that were answered 413."""
    answered: int

    @property
    def sound(self) -> bool:
        return self.beside < max(2.0 * self.alone, self.alone + NOISE_MS) and self.growth < GROWTH and self.refused > 0


class Enemies:
    """Clients that mean no good, of one address."""

    def __init__(self, inference: str) -> None:
        place = urlsplit(inference)
        self._place = place.hostname or "", place.port or 0
        self.refused = 0

    async def again(self, story: object, number: int) -> None:
        """One enemy."""
        while True:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                reader, writer = await asyncio.open_connection(*self._place)
                try:
                    await story(number, reader, writer)  # type: ignore[operator]
                finally:
                    writer.transport.abort()
            await asyncio.sleep(0.05)

    async def drip(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A request, a byte at a time."""
        for byte in question(1):
            writer.write(bytes([byte]))
            await asyncio.sleep(0.1 + 0.001 * (number % 100))

    async def deaf(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Asks, and never reads."""
        writer.transport.pause_reading()
        writer.write(question(50) * 2)
        await asyncio.sleep(20.0 + 0.1 * (number % 100))

    async def flood(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A body of 100 MB; every other one does not say how long it is, and none minds what it is told."""
        told = "Transfer-Encoding: chunked" if number % 2 else f"Content-Length: {BODY}"
        writer.write(f"POST /v1/models/town:predict HTTP/1.1\r\nHost: localhost\r\n{told}\r\n\r\n".encode())
        answer = asyncio.create_task(reader.read(12))
        answer.add_done_callback(self._told)
        piece = b"x" * PIECE
        with contextlib.suppress(OSError, TimeoutError):
            for _ in range(BODY // PIECE):
                writer.write(b"%x\r\n%b\r\n" % (PIECE, piece) if number % 2 else piece)
                async with asyncio.timeout(2.0):  # not wait_for, which may swallow that we are to stop
                    await writer.drain()
                await asyncio.sleep(PIECE / PACE)
        answer.cancel()

    def _told(self, answer: asyncio.Task[bytes]) -> None:
        if not answer.cancelled() and answer.exception() is None:
            self.refused += answer.result()[9:12] == b"413"

    def start(self) -> list[asyncio.Task[None]]:
        """All of them."""
        stories = [self.drip] * (SLOW * 4 // 5) + [self.deaf] * (SLOW // 5) + [self.flood] * LARGE
        return [asyncio.create_task(self.again(story, number)) for number, story in enumerate(stories)]


async def measure(server: Server, seconds: float) -> Found:
    crowd, text = Crowd(server.inference), question(1)
    await crowd.grow(64)
    await crowd.come(RATE, 1.0, text)
    alone = await crowd.come(RATE, seconds, text)
    before = _memory(server)
    # In a process that gives way to the clients: what these two cost each other is none of the server's doing.
    command = ["nice", sys.executable, "-m", "bench.torture.slow", ENEMIES, server.inference]
    enemies = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    await asyncio.sleep(3.0)
    beside = await crowd.come(RATE, seconds, text)
    growth = _memory(server, peak=True) - before
    enemies.terminate()
    said, _ = await enemies.communicate()
    refused = int((said.split() or ["0"])[-1])
    return Found(quantile(alone.good, 0.99), quantile(beside.good, 0.99), growth, refused, len(beside.good))


async def _enemies(inference: str) -> None:
    """Until we are ended; says now and then how many large bodies were refused."""
    enemies = Enemies(inference)
    tasks = enemies.start()
    while tasks:
        print(enemies.refused, flush=True)
        await asyncio.sleep(0.5)


def _memory(server: Server, *, peak: bool = False) -> int:
    name = "VmHWM:" if peak else "VmRSS:"
    lines = [Path(f"/proc/{pid}/status").read_text().splitlines() for pid in server.workers()]
    return max(int(line.split()[1]) << 10 for status in lines for line in status if line.startswith(name))


def main() -> int:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if sys.argv[1:2] == [ENEMIES]:
        uvloop.run(_enemies(sys.argv[2]))
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    with tempfile.TemporaryDirectory() as folder:
        server = Server(workspace(Path(folder), 1, ""))
        try:
            with pinned(server):
                found = uvloop.run(measure(server, seconds))
        finally:
            server.stop()
            server.close()
    print(
        f"p99 of ordinary clients: {found.alone:.1f} ms alone, {found.beside:.1f} ms beside {SLOW} slow ones and {LARGE} with "
        f"100 MB each ({found.refused} refused); {found.answered} answered; memory grew by {found.growth / 2**20:.0f} MiB   "
        f"{'ok' if found.sound else 'NOT KEPT'}"
    )
    return not found.sound


if __name__ == "__main__":
    sys.exit(main())
