"""What every test may ask for, and the house rule about skips.

A test is skipped only because a *real part* is not here: Chromium, or the folder of real data. Then it is skipped
loudly: the run ends with what is missing, how to get it and which tests wait for it. Continuous integration sets
HOLDFAST_REQUIRE_SYSTEM=1, which turns every skip into a failure; only the real data may then be absent.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Generator
from pathlib import Path
from typing import NoReturn

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
REQUIRE_SYSTEM = os.environ.get("HOLDFAST_REQUIRE_SYSTEM", "") not in {"", "0"}

# A shell that starts the tests in the background ignores SIGINT for them, and every process under test would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN and threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)

# ---------------------------------------------------------------------------------------------- fixtures


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in: the current directory, out of reach of the developer's own settings."""
    for name in os.environ:
        if name.startswith("HOLDFAST_") and name not in {"HOLDFAST_TEST_DATA", "HOLDFAST_REQUIRE_SYSTEM"}:
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def free_port() -> Callable[[], int]:
    """Gives a loopback port that nobody listens on; each call another one."""
    given: set[int] = set()

    def take() -> int:
        while True:
            with socket.socket() as listener:
                listener.bind(("127.0.0.1", 0))
                port = int(listener.getsockname()[1])
            if port not in given:
                given.add(port)
                return port

    return take


@pytest.fixture(scope="session")
def real_data() -> Callable[[str], Path]:
    """`real_data("adult")` is the folder of that real data set; needs HOLDFAST_TEST_DATA."""
    root = os.environ.get("HOLDFAST_TEST_DATA")
    if not root:
        skip_without("real data", "set HOLDFAST_TEST_DATA to a folder with one folder per data set")

    def folder(name: str) -> Path:
        path = Path(root) / name
        assert path.is_dir(), f"HOLDFAST_TEST_DATA has no data set '{name}': {path}"
        return path

    return folder


@pytest.fixture(scope="session")
def chromium() -> Path:
    """The real browser. Start it with the `--no-sandbox` family of flags: tests may run as root."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return Path(found)
    return skip_without("Chromium", "make system-deps (Debian), or put a `chromium` on PATH")


@pytest.fixture(scope="session")
def dvc() -> Path:
    """The real DVC, in an environment of its own."""
    beside = Path(sys.prefix) / ".holdfast" / "dvc-env" / "bin" / "dvc"
    if beside.exists():
        return beside
    if found := shutil.which("dvc"):
        return Path(found)
    return skip_without("DVC", "make test, or put a `dvc` on PATH")


@pytest.fixture(scope="session")
def strace() -> Path:
    """Tells every system call of a process and of those that it starts, where the kernel lets it."""
    found = shutil.which("strace")
    if found is None:
        skip_without("strace", "make system-deps (Debian), or put a `strace` on PATH")
    if subprocess.run([found, "-f", "-o", os.devnull, "true"], capture_output=True, check=False).returncode:
        skip_without("the right to trace processes", "allow ptrace in this container (SYS_PTRACE)")
    return Path(found)


# ---------------------------------------------------------------------------------------------- markers and skips


def skip_without(part: str, how: str) -> NoReturn:
    """Skip this test because a real part is missing; the end of the run says how to get it."""
    pytest.skip(f"without {part}; next: {how}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test that asks for a real part is marked so, and can be selected with -m."""
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        if "chromium" in fixtures:
            item.add_marker(pytest.mark.browser)
        if "real_data" in fixtures:
            item.add_marker(pytest.mark.real_data)
        if "integration" in item.path.relative_to(REPOSITORY).parts:
            item.add_marker(pytest.mark.integration)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where every system part must be present, a skip is a failure."""
    report = yield
    excused = hasattr(report, "wasxfail") or (
        item.get_closest_marker("real_data") and not os.environ.get("HOLDFAST_TEST_DATA")
    )
    if REQUIRE_SYSTEM and report.skipped and not excused:
        report.outcome = "failed"
        report.longrepr = f"HOLDFAST_REQUIRE_SYSTEM is set and this test was skipped: {report.longrepr[2]}"
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Skips, grouped by what is missing, with how to get it."""
    waiting: dict[str, list[str]] = defaultdict(list)
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        waiting[reason.removeprefix("Skipped: ")].append(report.nodeid)
    if not waiting:
        return
    terminalreporter.section("NOT TESTED", sep="=", yellow=True, bold=True)
    for reason, tests in sorted(waiting.items()):
        what, _, how = reason.partition("; next: ")
        terminalreporter.line(f"{len(tests)} test{'s' if len(tests) > 1 else ''} skipped {what}:", yellow=True)
        for test in sorted(tests):
            terminalreporter.line(f"    {test}")
        terminalreporter.line(f"next: {how}" if how else "next: see the reason above")
