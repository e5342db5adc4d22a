"""Ask one question over and over on some connections: by wrk where it is installed, else by a loop of our own.

wrk is quicker than any server here; the loop in Python is the bottleneck above some 40 000 requests a second. Both look into
every answer. gRPC is asked by h2load where that is installed, of which only status and length of every answer can be seen,
else by gRPC's own client, which costs more than a server.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final, NamedTuple

from bench.serve.questions import CALL, CALL_PATH, Question

__all__ = ["GENERATORS", "Wrong", "load", "once"]

PATIENCE_S: Final = 10.0
SCRIPT: Final = Path(__file__).with_name("wrk.lua")


class Wrong(RuntimeError):
    """A server answered something else than it should."""


class Load(NamedTuple):
    """What a run showed."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds


def load(port: int, question: Question, connections: int, seconds: float, *, generator: str = "") -> Load:
    """Each connection asks again as soon as it was answered; raises Wrong at the first wrong answer."""
    if question.method == CALL:
        return _calls(port + 1, question, connections, seconds)
    return GENERATORS[generator or default()](port, question, connections, seconds)


def default() -> str:
    """The best generator here."""
    return "wrk" if shutil.which("wrk") else "python"


def once(port: int, question: Question, timeout: float = 5.0) -> bytes:
    """One request on a connection of its own; the body of its answer. Raises Wrong, or OSError while nobody listens."""
    if question.method == CALL:
        socket.create_connection(("127.0.0.1", port + 1), timeout=timeout).close()
        _calls(port + 1, question, 1, 0.05)
        return b""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as line:
        line.sendall(question.wire.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
        parts = []
        while part := line.recv(65_536):
            parts.append(part)
    head, _, body = b"".join(parts).partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200") or not question.right(body):
        raise Wrong((head + b"\n" + body[:600]).decode("latin-1"))
    return body


# ---------------------------------------------------------------------------------------------- wrk


def _lua(text: bytes) -> str:
    return '"' + "".join(f"\\{byte:03d}" for byte in text) + '"'


def _wrk(port: int, question: Question, connections: int, seconds: float) -> Load:
    lines = [f'wrk.method = "{question.method}"', f'wrk.path = "{question.path}"']
    if question.body:
        lines.append(f"wrk.body = {_lua(question.body)}")
    lines += [f'wrk.headers["{name}"] = {_lua(value.encode())}' for name, value in question.headers.items()]
    lines.append(f"needles = {{{', '.join(map(_lua, question.needles))}}}")
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as told:
        told.write("\n".join(lines))
        told.flush()
        command = ["wrk", "-t", "1", "-c", str(connections), "-d", f"{max(round(seconds), 1)}s", "-s", str(SCRIPT)]
        run = subprocess.run(
            [*command, f"http://127.0.0.1:{port}"],
            env={**os.environ, "BENCH_QUESTION": told.name},
            capture_output=True,
            text=True,
            check=False,
        )
    found = next((line for line in run.stdout.splitlines() if line.startswith("BENCH ")), None)
    if found is None:
        raise Wrong(f"wrk failed: {run.stdout[-500:]} {run.stderr[-500:]}")
    said = json.loads(found.removeprefix("BENCH "))
    if said["wrong"] or said["broken"] or not said["right"]:
        raise Wrong(
            f"{said['wrong']} wrong and {said['broken']} broken answers, {said['right']} right ones: {said['example']}"
        )
    return Load(said["right"], said["seconds"], said["p50"], said["p99"])


# ---------------------------------------------------------------------------------------------- gRPC


def _calls(port: int, question: Question, connections: int, seconds: float) -> Load:
    if shutil.which("h2load") is None or seconds < 1.0:
        return _own_calls(port, question, connections, seconds)[0]
    _, size = _own_calls(port, question, 1, 0.05)  # which looks into the answer
    with tempfile.TemporaryDirectory() as name:
        message, log = Path(name) / "message", Path(name) / "log"
        message.write_bytes(struct.pack(">BI", 0, len(question.body)) + question.body)
        headers = {"content-type": "application/grpc", "te": "trailers", **question.headers}
        command = [
            "h2load",
            "-t",
            "1",
            "-m",
            "1",
            "-c",
            str(connections),
            "-D",
            str(round(seconds)),
            "-d",
            str(message),
        ]
        command += [part for pair in headers.items() for part in ("-H", ": ".join(pair))]
        run = subprocess.run(
            [*command, f"--log-file={log}", f"http://127.0.0.1:{port}{CALL_PATH}"],
            capture_output=True,
            text=True,
            check=False,
        )
        answers = [line.split() for line in log.read_text().splitlines()] if log.exists() else []
    data = re.search(r"\((\d+)\) data", run.stdout)
    took = [int(microseconds) / 1e3 for _, status, microseconds in answers if status == "200"]
    # Those under way when it ended may have sent theirs.
    if (
        len(took) < 2
        or len(took) < len(answers)
        or not data
        or abs(int(data[1]) - size * len(took)) > size * connections
    ):
        raise Wrong(f"h2load: {run.stdout[-800:]} {run.stderr[-500:]}")
    cuts = statistics.quantiles(took, n=100)
    return Load(len(took), float(round(seconds)), cuts[49], cuts[98])


def _own_calls(port: int, question: Question, connections: int, seconds: float) -> tuple[Load, int]:
    """And bytes of an answer, framed."""
    command = [sys.executable, "-m", "bench.serve.calls", str(port), str(connections), str(seconds)]
    run = subprocess.run(
        [*command, ",".join(needle.hex() for needle in question.needles), json.dumps(question.headers)],
        input=question.body,
        capture_output=True,
        check=False,
    )
    said = json.loads(run.stdout or b'{"wrong": "nothing"}')
    if "right" not in said:
        raise Wrong(f"{said['wrong']} {run.stderr.decode()[-500:]}")
    return Load(said["right"], said["seconds"], said["p50"], said["p99"]), said["bytes"] + 5


# ---------------------------------------------------------------------------------------------- a loop of our own


def _whole(data: bytes, question: Question) -> bool:
    """Whether this is a whole answer; raises Wrong if it is not the right one."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return False
    if not data.startswith(b"HTTP/1.1 200"):
        raise Wrong(data.decode("latin-1"))
    at = data.lower().index(b"content-length: ", 0, end) + 16
    if len(data) != end + 4 + int(data[at : data.index(b"\r", at)]):
        return False
    if not question.right(data):
        raise Wrong(data.decode("latin-1"))
    return True


def _loop(port: int, question: Question, connections: int, seconds: float) -> Load:
    with contextlib.ExitStack() as open_now:
        poll, lines = open_now.enter_context(contextlib.closing(select.epoll())), {}
        for _ in range(connections):
            line = open_now.enter_context(socket.create_connection(("127.0.0.1", port)))
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            poll.register(line, select.EPOLLIN)
            lines[line.fileno()] = line
        began = time.perf_counter()
        took = _ask(poll, lines, question, began + seconds)
        lasted = time.perf_counter() - began
    cuts = statistics.quantiles(took, n=100)
    return Load(len(took), lasted, cuts[49] * 1e3, cuts[98] * 1e3)


def _ask(poll: select.epoll, lines: dict[int, socket.socket], question: Question, end: float) -> list[float]:
    """Seconds that each answer took."""
    clock, took, asked = time.perf_counter, [], question.wire
    asked_at, part = {}, dict.fromkeys(lines, b"")
    for number, line in lines.items():
        asked_at[number] = clock()
        line.sendall(asked)
    while asked_at:  # each connection's last question is answered, too: counts are exact
        if clock() > end + PATIENCE_S:
            raise Wrong(f"{len(asked_at)} questions were not answered")
        for number, _ in poll.poll(1):
            line = lines[number]
            data = line.recv(65_536)
            if not data:
                raise Wrong("the server closed the connection")
            data = part[number] + data
            if not _whole(data, question):
                part[number] = data
                continue
            part[number] = b""
            now = clock()
            took.append(now - asked_at.pop(number))
            if now < end:
                asked_at[number] = now
                line.sendall(asked)
    if len(took) < 2:
        raise Wrong("too few answers")
    return took


GENERATORS: Final = {"wrk": _wrk, "python": _loop}
