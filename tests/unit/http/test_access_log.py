"""The access log: every answered request in a line, as the client got it, and never in an answer's way."""

import asyncio
import os

import msgspec

from holdfast.http.access_log import AccessLog, Line
from holdfast.http.problems import Refused, Reply, problem
from holdfast.predictions.log import Frame
from wire import UNREAD, Wire, get, post, run


def app(request, later):
    if "missing" in request.target:
        return problem(Refused("not here", status=404))
    told = (("X-Holdfast-Release", "ab"), ("X-Holdfast-Request", "id-1"))
    reply = Reply(200, b"12345", headers=told, frames=(Frame(b"frame", UNREAD),))
    if "slow" in request.target:
        asyncio.get_running_loop().call_soon(later, reply)
        return None
    return reply


def written(path, *requests, handle=app, append=None, **options):
    """The lines of one client's requests."""

    async def story():
        log = AccessLog(str(path), **options)
        wire = Wire(append=append)
        handled, committed = log.around(handle, wire.port._commit)
        wire.port.handle, wire.port._commit = handled, committed
        await wire.say(*requests)
        log.close()

    run(story)
    return [msgspec.json.decode(line, type=Line) for line in path.read_bytes().splitlines()]


def test_a_line_tells_what_was_asked_and_answered(tmp_path):
    asked = post("/v2/models/houses/infer?x=1", b"body", "User-Agent: curl/8")
    (line,) = written(tmp_path / "logs" / "access.jsonl", asked)
    assert (line.method, line.target, line.status) == ("POST", "/v2/models/houses/infer?x=1", 200)
    assert (line.in_, line.out, line.agent) == (4, 5, "curl/8")
    assert (line.request, line.release, line.code) == ("id-1", "ab", "")
    assert line.at.endswith("Z")
    assert line.ms >= 0
    assert (tmp_path / "logs" / "access.jsonl").stat().st_mode & 0o077 == 0o040


def test_requests_that_leave_the_loop_are_in_it(tmp_path):
    lines = written(tmp_path / "log", post("/slow", b""), post("/quick", b""))
    assert [line.target for line in lines] == ["/slow", "/quick"]


def test_an_error_says_its_code(tmp_path):
    (line,) = written(tmp_path / "log", get("/missing"))
    assert (line.status, line.code, line.request) == (404, "HF320", "")


def test_what_could_not_be_logged_is_told_as_the_client_got_it(tmp_path):
    def full(_frames):
        raise OSError(28, "No space left on device")

    (line,) = written(tmp_path / "log", post("/quick", b""), append=full)
    assert line.status == 503
    assert line.code
    assert line.out == 0


def test_a_share_is_drawn_and_errors_are_always_written(tmp_path):
    chances = iter([0.05, 0.5, 0.05])
    requests = [get("/a"), get("/missing"), get("/b"), get("/c")]
    lines = written(tmp_path / "log", *requests, share=0.1, chance=lambda: next(chances))
    assert [line.target for line in lines] == ["/a", "/missing", "/c"]


def test_processes_append_to_one_file(tmp_path):
    written(tmp_path / "log", get("/a"))
    assert [line.target for line in written(tmp_path / "log", get("/b"))] == ["/a", "/b"]


def test_a_file_that_cannot_be_written_is_said_once_and_answers_go_on(tmp_path, capfd):
    async def story():
        log = AccessLog(str(tmp_path / "log"))
        os.close(log._file)
        log._file = os.open("/dev/full", os.O_WRONLY)
        wire = Wire()
        wire.port.handle, wire.port._commit = log.around(app, wire.port._commit)
        heard, _ = await wire.say(get("/a"), get("/b"))
        assert [answer.status for answer in heard] == [200, 200]
        heard, _ = await wire.say(get("/c"))
        assert [answer.status for answer in heard] == [200]
        log.close()

    run(story)
    assert capfd.readouterr().err.count("cannot be written") == 1


def test_standard_output_stays_open(capfd):
    async def story():
        log = AccessLog("-")
        wire = Wire()
        wire.port.handle, wire.port._commit = log.around(app, wire.port._commit)
        await wire.say(get("/a"))
        log.close()

    run(story)
    os.write(1, b"still here\n")
    told = capfd.readouterr().out.splitlines()
    assert msgspec.json.decode(told[0], type=Line).target == "/a"
    assert told[1] == "still here"
