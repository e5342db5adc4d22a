"""A deployment of a model that needs no file, behind the application."""

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import msgspec
import numpy as np

from holdfast.core.contract import Contract, Field, Output
from holdfast.core.deployment import Plan, Route
from holdfast.errors import InvalidInput, NotFound
from holdfast.http.app import App
from holdfast.predictions.log import Frame, read
from holdfast.predictions.log import Segment as LogSegment
from holdfast.serve.dataplane import ServeState
from holdfast.serve.plan import load
from wire import UNREAD, Wire, run

DIGEST = "ab" * 32
CONTRACT = Contract(
    fields=(Field(name="area", datatype="FP64"), Field(name="rooms", datatype="INT64", nullable=True)),
    output=Output(task="regression", label="price"),
)
ROWS = msgspec.json.encode({"instances": [{"area": 100.0, "rooms": 3}]})


class Bundle(NamedTuple):
    """An opened release, as a plan needs it."""

    digest: str
    contract: Contract = CONTRACT
    model: Path = Path()
    path: Path = Path()
    manifest: SimpleNamespace = SimpleNamespace(variant={})


class Sum:
    """A model that needs no file, and the runtime that opens it. It waits for `gate`, and says when it is being asked."""

    apart = False

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.asked = threading.Semaphore(0)

    def load(self, model, *, threads=1, provider=""):
        return self

    def direct(self, names):
        return None

    def run(self, columns):
        self.asked.release()
        assert self.gate.wait(30)
        return {"prediction": columns["area"] + np.nan_to_num(columns["rooms"])}


def label(name, body):
    if name != "houses":
        raise NotFound(f"no deployment '{name}'")
    if body == b"bad":
        raise InvalidInput("a label needs a prediction id", row=0, field="prediction_id")
    return 202, {"accepted": 1}, [Frame(b"label:" + body, UNREAD)]


def application(model=None, **options):
    plan = load(Plan(7, {"houses": (Route(DIGEST, "live", 1.0),)}, {}), Bundle, model or Sum())
    app = App(plan=plan, state=ServeState(), label=label, control="http://127.0.0.1:8081", **options)
    app.follow(plan)
    return app


def asked(*requests, app=None):
    """The answers to one client, and what was logged."""
    found = []

    async def story():
        wire = Wire(handle=(app or application()).handle)
        heard, _ = await wire.say(*requests)
        found.extend((heard, [frame for frames in wire.log for frame in frames]))

    run(story)
    return found


def one(request, app=None):
    (answer,), _ = asked(request, app=app)
    return answer.status, msgspec.json.decode(answer.body)


def records(frames, tmp_path):
    path = tmp_path / "00000001.wal"
    path.write_bytes(b"".join(frames))
    return [entry.record for entry in read(LogSegment("w", 1, path), complete=True).entries]
