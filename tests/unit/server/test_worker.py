"""What a serving process is started with."""

import os
import subprocess
import sys

import pytest

NEEDLESS = {
    "cryptography.hazmat.primitives.serialization": "a key of our form is read without",
    "email": "dates",
    "grpc": "where nobody wants the gRPC port",
    "html": "notebooks",
    "holdfast.core.ports": "types",
    "holdfast.http.access_log": "where nobody wants it",
    "holdfast.predictions.archive": "the keeper's",
    "holdfast.predictions.labels": "the first label brings it",
    "holdfast.predictions.sampling": "where all is logged in full",
    "holdfast.stats": "the keeper's",
    "importlib.metadata": "our version, when somebody asks",
    "random": "access logs and secrets",
    "shutil": "building releases",
    "tempfile": "building releases",
    "tomllib": "settings come as JSON",
    "zoneinfo": "contracts in another zone",
}
"""Each costs a start between one and ten milliseconds, and what is needed is needed later."""
FOREIGN = (
    "duckdb",
    "jinja2",
    "mlflow",
    "pandas",
    "prometheus_client",
    "pyarrow",
    "rich",
    "sklearn",
    "sqlalchemy",
    "starlette",
)
"""Of other processes."""


@pytest.fixture(scope="module")
def loaded():
    code = "import sys; import holdfast.server.worker, holdfast.backends.onnx; print(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split())


def test_a_worker_imports_what_its_first_answer_needs(loaded):
    assert not loaded & {*NEEDLESS, *FOREIGN}


def test_importing_the_worker_leaves_the_collector_alone():
    code = "import gc, holdfast.server.worker; print(gc.isenabled())"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout == b"True\n"


def test_a_worker_starts_without_collecting_garbage_or_spinning_threads():
    code = """
import gc, os, runpy, sys
sys.argv = ["worker", "no assignment"]
try:
    runpy.run_module("holdfast.server.worker", run_name="__main__")
except ValueError:
    print(gc.isenabled(), os.environ["OPENBLAS_NUM_THREADS"], len(os.listdir("/proc/self/task")))
"""
    environment = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, env=environment).stdout
    assert told == b"False 1 1\n"
