"""The small version of `bench.torture joined`: a real server joins requests to a slow model, and every answer is as alone.

Whether this processor rounds joined runs as it rounds single ones is found out here as the server finds it out.
"""

import asyncio
import threading

import numpy as np
import pytest
from bench.torture.joined import AREAS, measure, workspace
from tests.faults.town import TOWN, Server

from holdfast.backends.onnx import OnnxRuntime
from holdfast.core.release import MODEL
from holdfast.serve import trial

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.xdist_group("overload")]


def test_answers_in_company_are_those_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(trial, "RESTS", 0.0)
    made = workspace(tmp_path, "queue_ms = 20000\nmodel_threads = 1\n", layers=5)
    model = max((folder / MODEL for folder in made.releases.iterdir()), key=lambda file: file.stat().st_size)
    direct = OnnxRuntime().load(model).direct(("area",))
    seen = trial.Rows(np.array([AREAS[:1]]), {})
    here = trial.tried(direct, TOWN, ("area",), seen, 16, threading.Event())
    server = Server(made)
    try:
        found = asyncio.run(measure(server, 12, 0.5, joins=here.rows > 1))
        assert found.wrong == 0
        assert (found.company > 1.0) == (here.rows > 1)
        code, said = server.stop()
        assert (code, said) == (0, "")
    finally:
        server.close()
