"""A user's project folder as a user works in it: real processes, the command line and HTTP, no function of ours called."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import duckdb

EXAMPLES = Path(__file__).parents[2] / "examples"
CALM = {"OMP_NUM_THREADS": "1", "NO_COLOR": "1"}
"""One thread of arithmetic: the tests share their cores."""


class Project:
    """A folder with a workspace in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def start(self, *arguments: object, **how: Any) -> subprocess.Popen[str]:
        """A verb as a running process."""
        command = [sys.executable, "-m", "holdfast", *map(str, arguments)]
        pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        how = pipes | {"text": True, "cwd": self.folder, "env": os.environ | CALM, "start_new_session": True} | how
        return subprocess.Popen(command, **how)

    def call(self, *arguments: object) -> tuple[int, str, str]:
        """Exit code, stdout and stderr of a verb."""
        process = self.start(*arguments)
        out, err = process.communicate()
        return process.returncode, out, err

    def run(self, *arguments: object) -> Any:
        """The one JSON document of a verb that must succeed."""
        code, out, err = self.call(*arguments, "--json")
        assert code == 0, f"holdfast {' '.join(map(str, arguments))}: {code}\n{err}"
        return json.loads(out)

    def refused(self, *arguments: object, code: int) -> dict[str, str]:
        """The error of a verb that must fail; it is told in both ways, with a next step and without a stack trace."""
        found, out, err = self.call(*arguments, "--json")
        assert found == code, f"exit {found}, not {code}: {err}"
        assert re.search(r"^error\[HF\d{3}\]: .+\n  next: .+", err, re.MULTILINE), err
        assert "Traceback" not in out + err
        error: dict[str, str] = json.loads(out)["error"]
        assert f"error[{error['code']}]: {error['what']}" in err
        assert error["next"] in err
        return error

    def train(self, example: str, data: Path) -> None:
        """Run the example's own script; writes model.skops, original, reference and live.parquet here."""
        script = EXAMPLES / example / "train.py"
        (self.folder / "train.py").write_text(script.read_text())
        command = [sys.executable, "train.py", str(data / f"{example}.parquet"), "."]
        done = subprocess.run(command, cwd=self.folder, env=os.environ | CALM, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    def build(self, name: str, label: str, *flags: object, at: str = "") -> dict[str, Any]:
        """Init, build the example's model and deploy it; what `build` told."""
        self.run("init")
        told: dict[str, Any] = self.run(
            "build", "model.skops", "--reference", "reference.parquet", "--label", label, "--name", name, *flags
        )
        self.run("deploy", told["release"], "--as", name, *(["--at", at] if at else []))
        return told

    def sql(self, query: str) -> list[tuple[Any, ...]]:
        """Ask the files of this folder."""
        with duckdb.connect() as db:
            db.sql(f"set file_search_path = '{self.folder}'")
            return db.sql(query).fetchall()

    def write(self, name: str, query: str) -> str:
        """Write the answer to a query as a Parquet file of this folder."""
        self.sql(f"copy ({query}) to '{self.folder / name}'")
        return name

    def alarms(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.run("alarms")["alarms"]
        return found

    @contextlib.contextmanager
    def serving(self, *flags: object) -> Iterator["Server"]:
        """`holdfast serve` on free ports, for as long as the block lasts."""
        server = Server(self, *flags)
        try:
            server.wait_ready()
            yield server
        finally:
            server.close()


class Server:
    """A running `holdfast serve`."""

    def __init__(self, project: Project, *flags: object) -> None:
        self.process = project.start("serve", "--json", "--port", 0, "--control-port", 0, *flags)
        self.said = ""
        self._listening = threading.Thread(target=self._listen, daemon=True)
        self._listening.start()
        self.inference = self.control = ""

    def wait_ready(self) -> None:
        """Until it has told its addresses."""
        told: dict[str, str] = json.loads(self._document())
        self.inference, self.control = told["inference"], told["control"]

    def _listen(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said += line

    def _document(self) -> str:
        assert self.process.stdout is not None
        text = ""
        for line in self.process.stdout:
            text += line
            if line.startswith("}"):
                return text
        raise AssertionError(f"no server: {self.said}")

    def stop(self, number: int = signal.SIGINT) -> int:
        """The exit code, after the keeper's last pass."""
        self.process.send_signal(number)
        code = self.process.wait(timeout=120)
        self._listening.join()
        return code

    def close(self) -> None:
        """Whatever happened, leave no process and no pipe behind."""
        if self.process.poll() is None:
            try:
                self.stop()
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._listening.join()
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()


def instances(rows: list[Mapping[str, Any]]) -> bytes:
    """A request body of the row form."""
    return json.dumps({"instances": rows}, default=str).encode()
