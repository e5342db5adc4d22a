"""A whole serving run under strace: nobody outside is called, and nothing is written outside the workspace.

The run is what a user does: a server with two workers, the keeper and both ports, predictions, labels, metrics and the console,
to its orderly end. Every process of it is traced, from the first instruction to the last.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from tests.integration.project import CALM, Project
from tests.integration.selling import ROW

CALLS = "network,chdir,open,openat,openat2,creat,mkdir,mkdirat,rename,renameat,renameat2,unlink,unlinkat,link,linkat,symlink,symlinkat,truncate,mknod,mknodat"  # fmt: skip
WRITES = re.compile(r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC|O_APPEND|O_TMPFILE")
NO_FILES = ("/dev/null", "/dev/tty", "/proc/self/", "/dev/urandom")
"""Opened for writing by an interpreter, and not files."""
_CALL = re.compile(r"^(?P<pid>\d+) +(?P<name>\w+)\((?P<arguments>.*)\) += (?P<result>-?\w+)")
_TEXT = re.compile(r'"((?:[^"\\]|\\.)*)"')
_FD = re.compile(r"^(?:AT_FDCWD|\d+)<([^>]*)>")


class Trace:
    """What strace wrote: one line per system call, paths of descriptors resolved (-y)."""

    def __init__(self, text: str, folder: Path) -> None:
        self.folder = folder  # where the first process works
        joined = re.sub(r"^(\d+) +(\w+)\((.*) <unfinished \.\.\.>$", r"\1 \2(\3", text, flags=re.MULTILINE)
        self.lines = self._resumed(joined)
        self.calls = [found for line in self.lines if (found := _CALL.match(line))]

    @staticmethod
    def _resumed(text: str) -> list[str]:
        """A call that others interrupted stands on two lines."""
        open_calls: dict[str, str] = {}
        lines = []
        for line in text.splitlines():
            pid = line.partition(" ")[0]
            if found := re.match(r"^\d+ +<\.\.\. \w+ resumed>(.*)$", line):
                lines.append(open_calls.pop(pid, f"{pid} lost(") + found[1])
            elif re.match(r"^\d+ +\w+\(", line) and not re.search(r"\) += ", line):
                open_calls[pid] = line
            else:
                lines.append(line)
        return lines

    def connected(self) -> set[str]:
        """Where connections were tried, and where datagrams were sent."""
        found = set()
        for call in self.calls:
            if call["name"] in {"connect", "sendto", "sendmsg", "sendmmsg"}:
                found |= set(
                    re.findall(
                        r'sa_family=AF_INET6?,.*?(?:inet_addr|inet_pton\(AF_INET6,) ?\(?"([^"]+)"', call["arguments"]
                    )
                )
        return found

    def written(self) -> set[str]:
        """Absolute paths that were opened for writing, made, renamed or removed; attempts that failed count."""
        found = set()
        here = str(self.folder)
        for call in self.calls:
            name, arguments = call["name"], call["arguments"]
            if name == "chdir":
                here = os.path.normpath(Path(here) / _TEXT.findall(arguments)[0])
            if name.startswith("open") and not WRITES.search(arguments):
                continue
            if name in {"connect", "bind"} or not name.startswith(
                ("open", "creat", "mk", "rename", "unlink", "link", "symlink", "truncate")
            ):
                continue
            base = _FD.match(arguments)
            texts = [os.fsdecode(text.encode("latin1").decode("unicode_escape")) for text in _TEXT.findall(arguments)]
            assert texts, call[0]
            found |= {os.path.normpath(Path(base[1] if base else here) / text) for text in texts}
        return found


@pytest.fixture(scope="module")
def traced(town, strace, tmp_path_factory):
    """The trace of a whole run in a copy of the town, and the town."""
    import shutil

    folder = tmp_path_factory.mktemp("traced") / "town"
    shutil.copytree(town.folder, folder)
    project, told = Project(folder), folder.parent / "trace"
    project.run("status")  # whatever Python compiles for itself is compiled
    command = [
        strace,
        "-f",
        "-y",
        "-s",
        "4096",
        "-e",
        f"trace={CALLS}",
        "-o",
        told,
        sys.executable,
        "-B",
        "-m",
        "holdfast",
    ]
    server = subprocess.Popen(
        [*map(str, command), "serve", "--json", "--port", "0", "--control-port", "0", "--workers", "2"],
        cwd=folder,
        env=os.environ | CALM | {"TMPDIR": str(folder / "tmp"), "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        exercise(read_addresses(server))
        (child,) = children(server.pid)
        os.kill(child, signal.SIGINT)
        out, err = server.communicate(timeout=120)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
    assert server.returncode == 0, out + err
    return Trace(told.read_text(errors="replace"), folder), folder


def read_addresses(server):
    text = ""
    for line in server.stdout:
        text += line
        if line.startswith("}"):
            return json.loads(text)
    raise AssertionError(f"no server: {server.stderr.read()}")


def children(pid):
    return [int(found) for found in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def exercise(addresses):
    with httpx.Client(base_url=addresses["inference"], timeout=60) as inference:
        for i in range(20):
            rows = [ROW | {"house": f"h{i}", "sold": "2024-03-01T00:00:00"}]
            answer = inference.post("/v1/models/town:predict", json={"instances": rows})
            assert answer.status_code == 200, answer.text
        assert inference.get("/metrics").status_code == 200
        assert inference.post("/v1/models/town:predict", content=b"{").status_code == 400
        labels = {"labels": [{"key": "h1", "value": 300.0}]}
        inference.post("/v1/models/town:label", json=labels)
    with httpx.Client(base_url=addresses["control"], timeout=60) as control:
        for page in ("/", "/deployments/town", "/api/status"):
            assert control.get(page).status_code in {200, 404}
    time.sleep(3)  # the keeper counts, judges and archives what was logged


def test_nobody_outside_is_called(traced):
    trace, _ = traced
    assert len({call["pid"] for call in trace.calls}) >= 4, "supervisor, two workers and the keeper were traced"
    assert any(call["name"] == "accept4" for call in trace.calls)
    outside = {address for address in trace.connected() if not address.startswith("127.") and address != "::1"}
    assert not outside
    lookups = [line for line in trace.lines if "htons(53)" in line or "/etc/resolv.conf" in line]
    assert not lookups, lookups[:3]


def test_nothing_is_written_outside_the_workspace(traced):
    trace, folder = traced
    written = trace.written()
    inside = str(folder / ".holdfast")
    assert any(path.startswith(inside) for path in written)
    strange = {
        path for path in written if not path.startswith((inside, *NO_FILES)) and not re.match(r"/proc/\d+/", path)
    }
    assert not strange


def test_the_traces_reader_sees_what_it_must(strace, tmp_path):
    """A process that calls out and writes elsewhere is found out."""
    script = (
        "import socket, os\n"
        "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.sendto(b'x', ('192.0.2.7', 9))\n"
        "s.connect(('192.0.2.8', 9))\n"
        f"os.chdir({str(tmp_path)!r}); open('here', 'w'); os.mkdir('folder'); os.rename('here', 'there')\n"
    )
    told = tmp_path / "trace"
    command = [strace, "-f", "-y", "-e", f"trace={CALLS}", "-o", told, sys.executable, "-B", "-I", "-c", script]
    subprocess.run(list(map(str, command)), check=True, timeout=60)
    trace = Trace(told.read_text(), Path.cwd())
    assert {"192.0.2.7", "192.0.2.8"} <= trace.connected()
    assert {str(tmp_path / name) for name in ("here", "there", "folder")} <= trace.written()
