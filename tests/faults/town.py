"""A workspace with a real release in it (a linear model as ONNX, signed), and a real server as a subprocess."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

import msgspec
import numpy as np
from sklearn.linear_model import LinearRegression
from tests.unit.predictions.records import HOUR, T0

from holdfast.build.convert import Input, convert
from holdfast.columns.yaml import dump_yaml
from holdfast.core.contract import Contract, Field, Output
from holdfast.core.profile import LOSS, OUTPUT, RESIDUAL, Profile, Series, WindowRule
from holdfast.core.release import CARD, CONTRACT, FORMAT, MODEL, REFERENCE, Manifest, ModelSource
from holdfast.decide.actions import Actor, deploy
from holdfast.decide.publish import workers
from holdfast.release.bundle import write
from holdfast.release.trust import signer
from holdfast.stats.counts import fit_spec
from holdfast.workspace import Workspace, create_workspace

TOWN = Contract(
    fields=(
        Field(name="area", datatype="FP64"),
        Field(name="house", datatype="BYTES", feature=False, nullable=True, marks=("key",)),
    ),
    output=Output(task="regression", label="price"),
)


def town(folder: Path) -> Workspace:
    """`town` answers 3 x area + 1."""
    workspace = create_workspace(folder)
    deploy(workspace.database, Actor("test", T0, workspace.run), "town", release(workspace))
    return workspace


def release(workspace: Workspace, slope: float = 3.0) -> str:
    """A release that answers slope x area + 1; its digest."""
    areas = np.linspace(0.0, 100.0, 400)
    model = LinearRegression().fit(areas[:, None], slope * areas + 1.0)
    specs = [fit_spec("area", areas, "input"), fit_spec(OUTPUT, slope * areas + 1.0, "output")]
    specs += [fit_spec(LOSS, areas, "loss"), fit_spec(RESIDUAL, areas - 50.0, "residual")]
    profile = Profile(
        columns=tuple(spec.to_dict() for spec in specs),
        importance={"area": 1.0},
        rule=WindowRule(kind="count", length_us=HOUR, rows=100, label_rows=100),
        rows=400,
        start=T0,
        end=T0 + HOUR,
        windows=Series((), ()),
        labels=Series((), ()),
        performance={},
        calibration={},
    )
    source = ModelSource(uri="models:/town/1", name="town", version="1", flavour="sklearn", files=())
    manifest = Manifest(
        format=FORMAT, name="town", task="regression", files=(), model=source, data={}, code={}, builder={}, parity={}
    )
    files = {
        MODEL: convert(model, (Input("area", "FP64"),), "regression").onnx,
        CONTRACT: dump_yaml(TOWN).encode(),
        REFERENCE: msgspec.msgpack.encode(profile),
        CARD: b"# town\n",
    }
    return write(workspace.releases, manifest, files, signer(workspace.keys))


class Server:
    """`holdfast serve` in a process of its own."""

    def __init__(self, workspace: Workspace, *flags: str, said: IO[str] | int = subprocess.PIPE) -> None:
        command = [sys.executable, "-m", "holdfast", "-w", str(workspace.folder), "serve", "--json"]
        self.run = workspace.run
        self.process = subprocess.Popen(
            [*command, "--port", "0", "--control-port", "0", *flags],
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        told: dict[str, Any] = json.loads(self._document())
        self.inference, self.control, self.grpc = told["inference"], told["control"], told.get("grpc", "")

    def _document(self) -> str:
        assert self.process.stdout is not None
        text = ""
        for line in self.process.stdout:
            text += line
            if line.startswith("}"):
                return text
        assert self.process.stderr is not None
        raise AssertionError(f"no server: {self.process.stderr.read()}")

    def workers(self) -> list[int]:
        """Process ids of those that are ready."""
        return [report.pid for report in workers(self.run)]

    def kill_worker(self) -> None:
        for pid in self.workers():
            with contextlib.suppress(ProcessLookupError):  # killed before, and its report not taken away yet
                os.kill(pid, signal.SIGKILL)

    def close(self) -> None:
        """Whatever happened, leave no process and no pipe behind."""
        if self.process.stdout is not None and not self.process.stdout.closed:
            self.process.kill()
            self.process.communicate()

    def stop(self, number: int = signal.SIGINT) -> tuple[int, str]:
        """Exit code and what it said on stderr."""
        self.process.send_signal(number)
        _, said = self.process.communicate(timeout=60)
        return self.process.returncode, said
