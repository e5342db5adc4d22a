"""`holdfast demo` end to end: over real HTTP, real processes and the real command line."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.xdist_group("demo")]


def demo(folder, *arguments, **how):
    command = [sys.executable, "-m", "holdfast", "--workspace", str(folder), "demo", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **how)


def processes_of(folder):
    """Command lines of running processes that name the folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if str(folder) in line:
                found.append(line)
    return found


@pytest.mark.timeout(900)
def test_the_whole_story_marks_its_own_work(workspace):
    folder = workspace / "town"
    run = demo(folder, "--seed", "1", "--json")
    said, story = run.communicate()
    assert run.returncode == 0, story[-3000:]
    document = json.loads(said)
    board = document["scoreboard"]
    changes = {change["name"]: change for change in board["changes"]}
    assert list(changes) == ["inflation", "square metres", "pandemic"]
    assert all(change["found"] for change in changes.values())
    assert changes["square metres"]["cause"] == "pipeline fault"
    assert changes["inflation"]["cause"] == "concept"
    assert sum(change["covers"] for change in changes.values()) >= 2
    assert board["quiet_days"] > 200
    assert board["false_alarms"] <= 5  # one a year stated; more is a chance of less than one in 1000 a run
    errors = document["errors"]
    assert errors["overall"]["with_holdfast"] < 0.9 * errors["overall"]["never_retrained"]
    assert errors["by_release"][-1]["with_holdfast"] < 0.14
    assert document["requests"] > 80_000
    assert 0 < document["latency_ms"]["p50"] <= document["latency_ms"]["p99"]
    assert "ALARM" in story
    assert processes_of(folder) == []
    assert (folder / "train.py").is_file()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_leaves_no_process_behind(workspace, number):
    folder = workspace / f"town-{number}"
    run = demo(folder)
    try:
        deadline = time.monotonic() + 200
        while not (folder / ".holdfast" / "run" / "server.json").exists():
            assert run.poll() is None, run.communicate()[1][-3000:]
            assert time.monotonic() < deadline
            time.sleep(0.1)
        run.send_signal(number)
        run.communicate(timeout=60)
    finally:
        run.kill()
    assert run.returncode != 0
    assert processes_of(folder) == []


def test_a_folder_that_is_not_a_demos_is_left_alone(workspace):
    (workspace / "mine").mkdir()
    (workspace / "mine" / "work.txt").write_text("dear to me")
    run = demo(workspace / "mine")
    _, story = run.communicate()
    assert run.returncode == 1
    assert "not a demo workspace" in story
    assert (workspace / "mine" / "work.txt").read_text() == "dear to me"
