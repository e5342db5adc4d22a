"""The serving bench itself: it asks what it says, looks into every answer, and reports what it found."""

import argparse
import http.server
import json
import sys
import threading
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY))

from bench.serve import load, report  # noqa: E402
from bench.serve.load import Load, Wrong, once  # noqa: E402
from bench.serve.models import Case  # noqa: E402
from bench.serve.questions import CALL, FORMS, ask  # noqa: E402
from bench.serve.servers import HERE, QUICK, SERVERS  # noqa: E402

CASE = Case("rows", "tree", ["x00", "x01"], [[0.5, 1.0], [2.0, -1.0]], [1.26898, -0.5])


class Server(http.server.BaseHTTPRequestHandler):
    """Answers what it was told to."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1
    told = b""

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", str(len(self.told)))
        self.end_headers()
        self.wfile.write(self.told)

    def log_message(self, *_):
        pass


@pytest.fixture
def port():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    server.handle_error = lambda *_: None  # clients that go in the middle
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("form", sorted(set(FORMS) - {"hello", "binary", "grpc"}))
def test_each_form_holds_all_rows(form):
    body = json.loads(ask(form, CASE).body)
    assert sorted(_numbers(body)) == [-1.0, 0.5, 1.0, 2.0]


def _numbers(value):
    if isinstance(value, float):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [number for part in parts for number in _numbers(part)]


def test_what_goes_over_the_wire_is_a_whole_request():
    question = ask("nested", CASE, {"X-Mine": "1"})
    head, _, body = question.wire.partition(b"\r\n\r\n")
    assert b"X-Mine: 1" in head
    assert f"Content-Length: {len(body)}".encode() in head


@pytest.mark.parametrize("generator", sorted(load.GENERATORS))
def test_right_answers_are_counted_and_a_wrong_one_is_raised(port, generator, monkeypatch):
    if generator == "wrk" and load.default() != "wrk":
        generator = "python"  # where it is not installed, the bench does the same
    question = ask("nested", CASE)
    monkeypatch.setattr(Server, "told", b'{"predictions": [[1.268976], [-0.500001]]}')
    assert b"predictions" in once(port, question)
    found = load.load(port, question, 2, 1.0, generator=generator)
    assert found.requests > 10
    assert 0 < found.p50_ms <= found.p99_ms
    monkeypatch.setattr(Server, "told", b'{"predictions": [[1.268976], [-0.4]]}')
    with pytest.raises(Wrong):
        once(port, question)
    with pytest.raises(Wrong):
        load.load(port, question, 2, 1.0, generator=generator)


def test_every_peer_is_there_and_locked():
    for entry in SERVERS:
        assert entry.form in FORMS
        if entry.peer:
            folder = HERE / entry.peer
            assert (folder / entry.script).is_file()
            locked = (folder / "requirements.txt").read_text(encoding="utf-8")
            asked = (folder / "requirements.in").read_text(encoding="utf-8").split()
            assert all(f"{name.partition('[')[0]}==" in locked for name in asked)
    assert set(QUICK) <= {entry.name for entry in SERVERS}
    assert CALL not in {"GET", "POST"}


def test_the_page_and_its_picture_say_what_was_measured(tmp_path, monkeypatch):
    results = report.Results()
    for name, rate in (("holdfast", 4000), ("fastapi", 1000), ("hello", 8000)):
        for took in (1.0, 1.1, 5.0):
            results.add(name, "row", 8, Load(round(rate * took), took, 0.2, 0.4), 0.1)
        results.started(name, 0.3, 60.0)
    results.failed["mlserver", "tree"] = "it ended with 1"
    results.duties = {"all": 40.0, "the model": 9.0}
    text = report.plain(SERVERS, results)
    assert "4.00" in text
    assert "mlserver" in text
    page, picture = tmp_path / "page.md", tmp_path / "picture.svg"
    page.write_text("before\n<!-- measured: begin -->\nstale\n<!-- measured: end -->\nafter\n", encoding="utf-8")
    monkeypatch.setattr(report, "PAGE", page)
    monkeypatch.setattr(report, "PICTURE", picture)
    report.write(SERVERS, results, argparse.Namespace(rounds=3, seconds=1.0, generator="wrk"))
    told = page.read_text(encoding="utf-8")
    assert told.startswith("before\n")
    assert told.endswith("after\n")
    assert "stale" not in told
    assert "| **Holdfast**, OIP tensor | 4,000 | 0.40 | 4.00 | 0.30 | 60 |" in told
    assert "did not serve the tree" in told
    assert "| the model | 9.0 |" in told
    drawn = ET.fromstring(picture.read_text(encoding="utf-8"))
    assert len([e for e in drawn.iter() if e.tag.endswith("rect")]) == 3
