"""A rehearsal of a graph that others made: opened and run once in a child process that may take only so much memory and time.

What a graph asks for can be computed by the graph itself, so reading it is not enough: a handful of nodes that each double
what came before fill any machine, and a loop need not end. Here that happens to a child with limits on its memory and its
processor time, before this process opens the file.

    parent -> stdin     the ONNX file
    child  -> stdout    msgpack of `_Outcome`
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from holdfast.errors import BuildError, Unconvertible

__all__ = ["rehearse"]

KEPT: Final = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH")
"""All that a child needs to start."""
MEMORY: Final = 2 << 30
"""Bytes that a graph may take beside four times its own size."""
CPU_S: Final = 60
ROWS: Final = (1, 64)
STATM: Final = Path("/proc/self/statm")
OPEN, RUN = "open", "run"


class _Outcome(msgspec.Struct):
    """How far it came: empty strings if all went well."""

    stage: str = ""
    what: str = ""
    memory: bool = False


def rehearse(content: bytes, *, memory: int = MEMORY, cpu_s: int = CPU_S) -> None:
    """Raise `Unconvertible` if the graph cannot be opened, or opening or running it takes more than it may.

    That it refuses the made-up rows (zeros and empty texts) is no fault: its own rows are the parity check's business.
    """
    with tempfile.TemporaryDirectory() as empty:
        environment = {name: os.environ[name] for name in KEPT if name in os.environ}
        environment |= {"HOME": empty, "TMPDIR": empty, "ORT_DISABLE_TELEMETRY": "1", "OPENBLAS_NUM_THREADS": "1"}
        try:
            done = subprocess.run(
                [sys.executable, "-I", "-m", "holdfast.build.rehearsal", str(memory), str(cpu_s)],
                input=content,
                cwd=empty,
                env=environment,
                capture_output=True,
                check=False,
                timeout=4 * cpu_s + 30,
            )
        except subprocess.TimeoutExpired:
            raise _refuse("one row was not answered in time") from None
    try:
        outcome = msgspec.msgpack.decode(done.stdout, type=_Outcome)
    except msgspec.MsgspecError:
        raise _died(done) from None
    if outcome.memory:
        raise _refuse(f"it asks for more than {memory >> 20} MiB of memory")
    if outcome.stage == OPEN:
        raise Unconvertible(
            f"ONNX Runtime cannot open it: {outcome.what}", "ONNX file", "export it again, for a version that it knows"
        )


def _died(done: subprocess.CompletedProcess[bytes]) -> BuildError:
    """It gave no answer: a limit ended it, or it broke ONNX Runtime."""
    import signal

    if -done.returncode in {signal.SIGXCPU, signal.SIGKILL}:
        return _refuse("one row was not answered in time")
    if done.returncode < 0:
        return _refuse(f"ONNX Runtime broke on it ({signal.Signals(-done.returncode).name})")
    said = done.stderr.decode(errors="replace").strip().splitlines()
    return BuildError(
        "the rehearsal of the model could not be held" + (f": {said[-1][:200]}" if said else ""),
        "child process",
        "check that this machine lets a process start another",
    )


def _refuse(what: str) -> Unconvertible:
    return Unconvertible(
        f"the model was tried out in a child process: {what}", "ONNX file", "check where it comes from"
    )


def _try(content: bytes, memory: int, cpu_s: int) -> _Outcome:
    """The child's side: take the limits, then open and run."""
    import onnxruntime

    if STATM.exists():  # Linux; elsewhere the kernel does not hold a process to it
        most = int(STATM.read_text(encoding="ascii").split()[0]) * resource.getpagesize() + memory + 4 * len(content)
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
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
    kinds: dict[str, Any] = {"string": object, "float": np.float32, "double": np.float64, "float16": np.float16}
    kind = port.type.removeprefix("tensor(").removesuffix(")")
    if kind == "string":
        return np.full(dims, "", dtype=object)
    return np.zeros(dims, dtype=kinds.get(kind, kind))


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.msgpack.encode(_try(sys.stdin.buffer.read(), int(sys.argv[1]), int(sys.argv[2]))))
