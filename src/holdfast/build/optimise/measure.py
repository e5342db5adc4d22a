"""Time and memory of one variant, in a process of its own: nothing else is open there, and what it takes can be told.

Each number is from the quietest of several rounds: what other processes took of the machine is not the model's. A child gets
a model that Holdfast made, so it needs no walls.

    parent -> stdin     msgpack of `_Request`
    child  -> stdout    msgpack of `Timing`
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from holdfast.build.optimise.rows import Feeds
from holdfast.core.variant import CPU, Recipe
from holdfast.errors import BuildError

__all__ = ["Timing", "measure", "providers"]

ROUNDS: Final = 4
ROUND_S: Final = 0.12
"""Seconds of one round at the user's rows."""
BATCH_S: Final = 0.05
BATCHES: Final = (1, 8, 64, 512)
WARM: Final = 3
FEWEST: Final = 20
LONG_S: Final = 1.5
"""A round of a slow model ends after so long, however few runs it had; batches that would take longer are left out."""
LIMIT_S: Final = 300
KNOWN: Final = (
    "TensorrtExecutionProvider",
    "CUDAExecutionProvider",
    "OpenVINOExecutionProvider",
    "CoreMLExecutionProvider",
)
KEPT: Final = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "HOME", "CUDA_VISIBLE_DEVICES")
STATUS: Final = Path("/proc/self/status")


class Timing(msgspec.Struct, frozen=True):
    """What was measured."""

    p50_ms: float
    p99_ms: float
    mean_ms: float
    batches: dict[str, float]
    memory_mb: float


class _Tensor(msgspec.Struct):
    shape: list[int]
    data: bytes = b""
    texts: list[str] = []


class _Request(msgspec.Struct):
    model: bytes
    feeds: dict[str, _Tensor]
    rows: int
    threads: int
    provider: str


def providers() -> list[str]:
    """Execution providers of this machine beside its processors."""
    import onnxruntime

    return [name for name in onnxruntime.get_available_providers() if name in KNOWN]


def measure(content: bytes, recipe: Recipe, feeds: Feeds, rows: int) -> Timing:
    """Time a variant: `feeds` are the rows of the largest batch."""
    packed = {name: _packed(values) for name, values in feeds.items()}
    request = _Request(content, packed, rows, recipe.threads, recipe.provider)
    environment = {name: os.environ[name] for name in KEPT if name in os.environ}
    environment |= {"ORT_DISABLE_TELEMETRY": "1", "OPENBLAS_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-m", "holdfast.build.optimise.measure"],
            input=msgspec.msgpack.encode(request),
            env=environment,
            capture_output=True,
            check=False,
            timeout=LIMIT_S,
        )
        return msgspec.msgpack.decode(done.stdout, type=Timing)
    except subprocess.TimeoutExpired:
        raise BuildError(f"variant {recipe.name} was not measured within {LIMIT_S} s", "", "leave it out") from None
    except msgspec.MsgspecError:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise BuildError(
            f"variant {recipe.name} cannot be run: {said[-1][:300] if said else done.returncode}"
        ) from None


def _packed(values: Any) -> _Tensor:
    shape = list(values.shape)
    return _Tensor(shape, texts=values.ravel().tolist()) if values.dtype == object else _Tensor(shape, values.tobytes())


def _unpacked(tensor: _Tensor) -> Any:
    flat = np.array(tensor.texts, dtype=object) if tensor.texts else np.frombuffer(tensor.data, np.float64)
    return flat.reshape(tensor.shape)


# ---------------------------------------------------------------------------------------------- the child's side


def _child() -> None:
    request = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=_Request)
    feeds = {name: _unpacked(tensor) for name, tensor in request.feeds.items()}
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads, options.inter_op_num_threads = request.threads, 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # as a server runs it
    chosen = [request.provider] if request.provider == CPU else [request.provider, CPU]
    before = _memory()
    session = onnxruntime.InferenceSession(request.model, options, providers=chosen)

    def of(rows: int) -> Callable[[], Any]:
        some = {name: values[:rows] for name, values in feeds.items()}
        return lambda: session.run(None, some)

    rounds = [_timed(of(request.rows), ROUND_S) for _ in range(ROUNDS)]
    pace = min(float(times.mean()) for times in rounds) / request.rows
    batches = {}
    for rows in sorted({request.rows, *BATCHES}):
        if rows == request.rows or (rows <= len(next(iter(feeds.values()))) and rows * pace < LONG_S):
            batches[str(rows)] = rows / min(float(_timed(of(rows), BATCH_S).mean()) for _ in range(2))
    memory = (_memory() - before) / 1024.0
    quietest = min(rounds, key=lambda times: float(times.mean()))
    found = Timing(
        p50_ms=float(np.median(quietest)) * 1e3,
        p99_ms=min(float(np.quantile(times, 0.99)) for times in rounds) * 1e3,
        mean_ms=float(quietest.mean()) * 1e3,
        batches=batches,
        memory_mb=max(memory, 0.0),
    )
    sys.stdout.buffer.write(msgspec.msgpack.encode(found))


def _timed(run: Callable[[], Any], seconds: float) -> Any:
    times: list[float] = []
    began = time.perf_counter()
    while (passed := time.perf_counter() - began) < seconds or (len(times) < WARM + FEWEST and passed < LONG_S):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return np.array(times[WARM:] if len(times) > 2 * WARM else times[-1:])


def _memory() -> int:
    """The most that this process held, in KiB; where the system does not say, 0."""
    try:
        lines = STATUS.read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0)


if __name__ == "__main__":
    _child()
