"""Who is measured, and how each is started.

A peer is a folder of `peers/`: `app.py FILE PORT NAME` in an environment made from its locked requirements, in `.bench/NAME`;
`prepare.py FILE FOLDER`, where there is one, runs once before and is not timed. Peers stand at their defaults, with one
process for the model where they let one choose.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
from bench.serve.models import Models
from bench.serve.processes import Server, first_answer, free_port, pin
from bench.serve.questions import Question

__all__ = ["HERE", "LOAD_CORE", "QUICK", "SERVERS", "SERVER_CORE", "Entry", "compiled", "environment", "environment_of"]

HERE: Final = Path(__file__).parent / "peers"
ENVIRONMENTS: Final = Path(__file__).parents[2] / ".bench"
SERVER_CORE: Final = 0
LOAD_CORE: Final = 1


class Entry(NamedTuple):
    """A line of the table."""

    name: str
    title: str
    form: str
    """How it is asked: `questions.FORMS`."""
    peer: str = ""
    """Folder of its code and environment; empty: Holdfast."""
    script: str = "app.py"
    cases: tuple[str, ...] = ("row", "rows", "image")

    @property
    def model_free(self) -> bool:
        """A floor: nothing is predicted."""
        return self.form == "hello"

    def start(self, models: Models, model: str, question: Question, python: str) -> Server:
        """A fresh one that has given its first right answer; Wrong if it never does."""
        before = os.sched_getaffinity(0)
        pin(SERVER_CORE)
        try:
            began = time.perf_counter()
            process, port = (
                _peer(self, models, model, python) if self.peer else _holdfast(models, grpc=self.form == "grpc")
            )
        finally:
            os.sched_setaffinity(0, before)
        return first_answer(process, port, question, began)


def _holdfast(models: Models, *, grpc: bool) -> tuple[subprocess.Popen[bytes], int]:
    """One worker by itself: the keeper's work is not the answer's."""
    from holdfast.server.child import Assignment, listen, start
    from holdfast.workspace import open_workspace

    port = free_port()
    listener = listen("127.0.0.1", port, what="inference", setting="--port")
    settings = open_workspace(models.folder, {"serve.keys": "required"}).settings
    told = Assignment(folder=str(models.folder), settings=settings, name="w0", fd=listener.fileno())
    if grpc:
        told = msgspec.structs.replace(told, grpc=f"127.0.0.1:{port + 1}")
    process = start("holdfast.server.worker", told)
    listener.close()
    return process, port


def _peer(entry: Entry, models: Models, model: str, python: str) -> tuple[subprocess.Popen[bytes], int]:
    folder, port, served = HERE / entry.peer, free_port(), models.files.get(model, "-")
    env = {**os.environ, "PYTHONPATH": str(HERE), "PYTHONDONTWRITEBYTECODE": "1"}
    if not entry.model_free and (folder / "prepare.py").exists():
        prepared = models.folder / f"{entry.peer}-{model}"
        if not prepared.exists():
            command = [python, str(folder / "prepare.py"), str(served), str(prepared)]
            subprocess.run(command, env=env, check=True, capture_output=True)
        served = prepared
    process = subprocess.Popen(
        [python, str(folder / entry.script), str(served), str(port), model],
        env=env,
        cwd=folder,
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return process, port


def environment(entry: Entry, say: Callable[[str], None] = lambda _: None) -> str:
    """The Python that runs it: its own environment, made from the locked requirements when they changed."""
    if not entry.peer:
        return sys.executable
    return environment_of(entry.peer, HERE / entry.peer / "requirements.txt", entry.title, say)


def environment_of(name: str, locked: Path, title: str, say: Callable[[str], None] = lambda _: None) -> str:
    """The Python of `.bench/NAME`, made from locked requirements when they changed."""
    folder = ENVIRONMENTS / name
    python, stamp = folder / "bin" / "python", folder / "requirements.txt"
    if not stamp.exists() or stamp.read_bytes() != locked.read_bytes():
        say(f"an environment for {title}")
        uv = str(Path(sys.executable).with_name("uv"))
        subprocess.run([uv, "venv", "-q", "--clear", "--python", sys.executable, str(folder)], check=True)
        subprocess.run([uv, "pip", "install", "-q", "--python", str(python), "-r", str(locked)], check=True)
        stamp.write_bytes(locked.read_bytes())
    return str(python)


def compiled(python: str) -> None:
    """Leave the bytecode of all that it imports beside the sources, as installers do; what is up to date stays.

    Where an environment variable forbids Python to write it, each cold start would compile everything anew.
    """
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    places = [
        subprocess.run([python, "-c", where], check=True, capture_output=True, text=True).stdout.strip(),
        str(HERE),
    ]
    if python == sys.executable:
        places.append(str(Path(__file__).parents[2] / "src"))
    # Some packages bring files for other versions of Python, which it says and leaves out.
    subprocess.run([python, "-m", "compileall", "-q", "-j", "0", *places], check=False, capture_output=True)


SERVERS: Final = (
    Entry("holdfast", "**Holdfast**, OIP tensor", "tensor"),
    Entry("holdfast-binary", "**Holdfast**, OIP binary", "binary"),
    Entry("holdfast-grpc", "**Holdfast**, OIP over gRPC", "grpc"),
    Entry("holdfast-tensors", "**Holdfast**, OIP tensor per column", "tensors", cases=("row", "rows")),
    Entry("holdfast-rows", "**Holdfast**, rows", "rows", cases=("row", "rows")),
    Entry("uvicorn", "plain ASGI function on uvicorn + ONNX Runtime", "nested", "uvicorn"),
    Entry("granian", "granian (RSGI) + ONNX Runtime", "nested", "granian"),
    Entry("robyn", "Robyn + ONNX Runtime", "nested", "robyn"),
    Entry("fastapi", "FastAPI + ONNX Runtime, OIP tensor", "tensor", "fastapi"),
    Entry("fastapi-lists", "FastAPI + ONNX Runtime, lists", "nested", "fastapi"),
    Entry("fastapi-rows", "FastAPI + ONNX Runtime, rows", "rows", "fastapi", cases=("row", "rows")),
    Entry("mlserver", "MLServer + ONNX Runtime", "tensor", "mlserver"),
    Entry("mlserver-grpc", "MLServer + ONNX Runtime, gRPC", "grpc", "mlserver", cases=("row", "rows")),  # FP32 out
    Entry("mlflow", "MLflow `models serve`", "invocations", "mlflow"),
    Entry("litserve", "LitServe", "nested", "litserve"),
    Entry("vetiver", "vetiver", "records", "vetiver"),
    Entry("bentoml", "BentoML", "nested", "bentoml"),
    Entry("ray", "Ray Serve", "nested", "ray"),
    Entry("hello", "floor: uvicorn's hello world", "hello", "uvicorn", "hello.py", ("row",)),
    Entry("fastapi-hello", "floor: FastAPI's hello world", "hello", "fastapi", "hello.py", ("row",)),
)
QUICK: Final = ("holdfast", "holdfast-tensors", "holdfast-rows", "fastapi", "fastapi-rows", "hello")
"""What `make bench` measures: all runs in the checkout's own environment."""
