"""Clients that ask without a pause and keep every answer to the question it belongs to.

A server under torture may cut a connection; the client then notes a cut question and comes again. What it was answered is
checked by whoever started it: nothing here decides what is right.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec

__all__ = ["Answered", "Load", "counter", "get", "quantile"]


class Answered(NamedTuple):
    """One question and its answer."""

    deployment: str
    area: float
    key: str
    asked: float
    heard: float
    """Monotonic seconds."""
    status: int
    told: Any
    """The decoded body."""


class Load:
    """Connections to one inference port, each asking one question after the other.

    Args:
        inference: address of the port.
        heard: told of every answer.
        question: what connection number i asks next: deployment, area, key.
        pause_s: rest between two questions of a connection.
    """

    def __init__(
        self,
        inference: str,
        heard: Callable[[Answered], None],
        question: Callable[[int], tuple[str, float, str]],
        *,
        pause_s: float = 0.0,
    ) -> None:
        where = urlsplit(inference)
        self._host, self._port = where.hostname or "", where.port or 0
        self._heard = heard
        self._question = question
        self._pause = pause_s
        self._ending = False
        self.answered = 0
        self.cut = 0
        """Questions that were sent and never answered."""
        self.troubles: list[str] = []

    async def run(self, connections: int, until: asyncio.Event) -> None:
        """Ask until the event; every question that was begun is finished."""
        clients = [asyncio.create_task(self._client(i)) for i in range(connections)]
        await until.wait()
        self._ending = True
        await asyncio.gather(*clients)

    async def _client(self, number: int) -> None:
        while not self._ending:
            try:
                reader, writer = await asyncio.open_connection(self._host, self._port)
            except OSError:
                await asyncio.sleep(0.01)
                continue
            try:
                await self._talk(number, reader, writer)
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()

    async def _talk(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not self._ending:
            deployment, area, key = self._question(number)
            body = msgspec.json.encode({"instances": [{"area": area, "house": key}]})
            head = f"POST /v1/models/{deployment}:predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
            asked = time.monotonic()
            try:
                writer.write(head.encode() + body)
                status, told, keep = await _reply(reader)
            except (OSError, asyncio.IncompleteReadError):
                self.cut += 1
                return
            self.answered += 1
            self._heard(
                Answered(
                    deployment, area, key, asked, time.monotonic(), status, msgspec.json.decode(told) if told else None
                )
            )
            if not keep:
                return
            if self._pause:
                await asyncio.sleep(self._pause * random.uniform(0.5, 1.5))


async def _reply(reader: asyncio.StreamReader) -> tuple[int, bytes, bool]:
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:] if line)}
    body = await reader.readexactly(int(headers["content-length"]))
    return int(lines[0].split()[1]), body, headers.get("connection") != "close"


async def get(inference: str, path: str) -> bytes:
    """One GET on a connection of its own; tried again while a worker is being replaced."""
    where = urlsplit(inference)
    while True:
        try:
            reader, writer = await asyncio.open_connection(where.hostname, where.port)
            writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            _, body, _ = await _reply(reader)
            writer.close()
        except (OSError, asyncio.IncompleteReadError):
            await asyncio.sleep(0.01)
        else:
            return body


def counter(text: bytes, name: str) -> float:
    """Sum of all series of a metric in Prometheus' text."""
    lines = text.decode().splitlines()
    return sum(
        float(line.rsplit(" ", 1)[1]) for line in lines if line.split("{")[0].split(" ")[0] == f"holdfast_{name}"
    )


def quantile(seconds: list[float], share: float) -> float:
    """In milliseconds."""
    return sorted(seconds)[min(int(len(seconds) * share), len(seconds) - 1)] * 1e3 if seconds else float("nan")
