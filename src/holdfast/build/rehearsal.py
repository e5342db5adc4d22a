"""A rehearsal of a graph that others made: opened and run once in a child process that may take only so much memory and time.

What a graph asks for can be computed by the graph itself, so reading it is not enough: a handful of nodes that each double
what came before fill any machine, and a loop need not end. Here that happens to a child with limits on its memory and its
processor time, before this process opens the file; and where the kernel has what a sandbox takes, in one.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from holdfast.errors import BuildError, Unconvertible
from holdfast.sandbox.inside import missing
from holdfast.sandbox.outside import Done, run
from holdfast.sandbox.policy import Policy

__all__ = ["rehearse"]

MEMORY: Final = 2 << 30
"""Bytes that a graph may take beside four times its own size."""
ROOM_MB: Final = 4096
"""Address space of an interpreter with its libraries; the tighter limit is set when these are there."""
CPU_S: Final = 60
STARTING_S: Final = 60
ROWS: Final = (1, 64)
MOST: Final = 1 << 16
STATM: Final = Path("/proc/self/statm")
OPEN, RUN = "open", "run"
OUT_OF_TIME: Final = frozenset({signal.SIGXCPU, signal.SIGKILL})


class _Request(msgspec.Struct):
    content: bytes
    memory: int


class _Outcome(msgspec.Struct):
    """How far it came: empty strings if all went well."""

    stage: str = ""
    what: str = ""
    memory: bool = False


def rehearse(content: bytes, *, memory: int = MEMORY, cpu_s: int = CPU_S) -> None:
    """Raise `Unconvertible` if the graph cannot be opened, or opening or running it takes more than it may.

    That it refuses the made-up rows (zeros and empty texts) is no fault: its own rows are the parity check's business.
    """
    size = 4 * len(content)
    policy = Policy(memory_mb=ROOM_MB + ((memory + size) >> 20), cpu_s=cpu_s, contained=not missing())
    request = msgspec.msgpack.encode(_Request(content, memory + size))
    done = run(policy, __name__, request, timeout_s=4 * cpu_s + STARTING_S, most=MOST)
    try:
        outcome = msgspec.msgpack.decode(done.reply, type=_Outcome)
    except msgspec.MsgspecError:
        raise _died(done) from None
    if outcome.memory:
        raise _refuse(f"it asks for more than {memory >> 20} MiB of memory")
    if outcome.stage == OPEN:
        raise Unconvertible(
            f"ONNX Runtime cannot open it: {outcome.what}", "ONNX file", "export it again, for a version that it knows"
        )


def _died(done: Done) -> BuildError:
    """It gave no answer: a limit ended it, or it broke ONNX Runtime."""
    if done.late or -done.code in OUT_OF_TIME:
        return _refuse("one row was not answered in time")
    if done.code < 0:
        return _refuse(f"ONNX Runtime broke on it ({signal.Signals(-done.code).name})")
    return BuildError(
        f"the rehearsal of the model could not be held: {done.said[:200]}",
        "child process",
        "check that this machine lets a process start another",
    )


def _refuse(what: str) -> Unconvertible:
    return Unconvertible(
        f"the model was tried out in a child process: {what}", "ONNX file", "check where it comes from"
    )


def main(number: str) -> None:
    """The child's side: open and run what comes, and write the outcome to this file number."""
    request = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=_Request)
    outcome = _try(request.content, request.memory)
    with os.fdopen(int(number), "wb") as answer:
        answer.write(msgspec.msgpack.encode(outcome))


def _try(content: bytes, memory: int) -> _Outcome:
    import onnxruntime

    if STATM.exists():  # Linux; elsewhere the kernel does not hold a process to it
        most = int(STATM.read_text(encoding="ascii").split()[0]) * resource.getpagesize() + memory
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    stage = OPEN
    try:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        stage = RUN
        for rows in ROWS:
            session.run(None, {port.name: _made_up(port, rows) for port in session.get_inputs()})
    except Exception as bad:  # noqa: BLE001 - its errors share no base class
        told = str(bad) or type(bad).__name__
        short = any(word in told.lower() for word in ("alloc", "memory", "safeint"))
        return _Outcome(stage, told.splitlines()[0][:200], isinstance(bad, MemoryError) or short)
    return _Outcome()


def _made_up(port: Any, rows: int) -> Any:
    """Zeros, or empty texts, of the input's shape: the first axis is the rows, another open one is 1 wide."""
    dims = [size if isinstance(size, int) else 1 if place else rows for place, size in enumerate(port.shape)]
    kinds: dict[str, Any] = {"float": np.float32, "double": np.float64}
    kind = port.type.removeprefix("tensor(").removesuffix(")")
    if kind == "string":
        return np.full(dims, "", dtype=object)
    return np.zeros(dims, dtype=kinds.get(kind, kind))
