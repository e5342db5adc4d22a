"""The parent's side: start a sandboxed child with nothing of our own in it, and take no more from it than agreed.

A child gets an empty environment, an empty folder that is thrown away, and what it is handed on its standard input. What it
says is cut off at a length; what it answers too.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import IO, Final, NamedTuple

from holdfast.errors import NoSandbox
from holdfast.sandbox import inside
from holdfast.sandbox.policy import Policy

__all__ = ["Done", "LastWords", "command", "environment", "require", "run"]

KEPT: Final = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH")
"""All of our environment that a child needs to start."""
ONE_THREAD: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
LINE: Final = 500
BLOCK: Final = 1 << 16


class Done(NamedTuple):
    """How a child ended."""

    reply: bytes
    code: int
    """Its exit code; negative: the signal that ended it."""
    said: str
    """Its last line on stderr."""
    late: bool
    """Whether it had to be ended after its time was up, or for answering too much."""


def require(*, contained: bool = True) -> None:
    """Raise NoSandbox where children cannot be contained, unless the user wants none."""
    if contained and (lacking := inside.missing()):
        raise NoSandbox(
            f"a sandbox cannot be made: {lacking}",
            "",
            "do this on a machine that has it; or, if you trust the model's author like yourself, say --no-sandbox",
        )


def command(policy: Policy, module: str, *arguments: str, python: str = sys.executable) -> list[str]:
    """The command of a child that calls `module.main(*arguments)` inside."""
    return [python, "-I", "-B", str(Path(inside.__file__)), policy.to_json(), module, *arguments]


def environment(scratch: str, threads: int = 1) -> dict[str, str]:
    """All the environment that a child has."""
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    own = {"HOME": scratch, "TMPDIR": scratch, "MPLCONFIGDIR": scratch, "ORT_DISABLE_TELEMETRY": "1"}
    return kept | own | {"MLFLOW_DISABLE_TELEMETRY": "true"} | dict.fromkeys(ONE_THREAD, str(threads))


def run(
    policy: Policy, module: str, request: bytes, *, timeout_s: float, most: int, python: str = sys.executable
) -> Done:
    """Start a child, hand it the request, and take its reply: what it writes to the file number that is its argument.

    Args:
        policy: its limits; a scratch folder is made for it.
        module: its `main(file number)` is called inside.
        request: what it reads on its standard input.
        timeout_s: after so long it is ended.
        most: bytes of the reply; more ends it.
        python: the interpreter.
    """
    require(contained=policy.contained)
    reading, writing = os.pipe()
    scratch = tempfile.mkdtemp(prefix="holdfast-sandbox-")
    try:
        child = subprocess.Popen(
            command(policy._replace(scratch=scratch), module, str(writing), python=python),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd=scratch,
            env=environment(scratch),
            pass_fds=[writing],
        )
        os.close(writing)
        with os.fdopen(reading, "rb", buffering=0) as answers:
            return _talk(child, request, answers, timeout_s, most)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _talk(child: subprocess.Popen[bytes], request: bytes, answers: IO[bytes], timeout_s: float, most: int) -> Done:
    assert child.stdin is not None
    assert child.stderr is not None
    said = LastWords(child.stderr)
    parts: list[bytes] = []
    ended: list[bool] = []

    def end() -> None:
        ended.append(True)
        child.kill()

    def ask(stdin: IO[bytes]) -> None:
        with contextlib.suppress(OSError), stdin:  # it may end without reading all
            stdin.write(request)

    def listen() -> None:
        size = 0
        while block := answers.read(BLOCK):
            size += len(block)
            if size > most:
                return end()
            parts.append(block)
        return None

    timer = threading.Timer(timeout_s, end)
    threads = [threading.Thread(target=ask, args=(child.stdin,)), threading.Thread(target=listen)]
    for thread in (timer, *threads):
        thread.daemon = True
        thread.start()
    try:
        code = child.wait()
    finally:
        child.kill()
        timer.cancel()
    for thread in threads:
        thread.join()
    return Done(b"".join(parts), code, said.last(), bool(ended))


class LastWords:
    """Listens to a child's stderr, keeps its last line, and lets the rest go."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._last = b""
        self._thread = threading.Thread(target=self._listen, daemon=True, name="last words")
        self._thread.start()

    def last(self) -> str:
        """Of a child that has ended."""
        self._thread.join(1.0)
        return self._last.decode(errors="replace").strip()

    def _listen(self) -> None:
        with self._stream:
            while line := self._stream.readline(LINE):
                if line.strip():
                    self._last = line
