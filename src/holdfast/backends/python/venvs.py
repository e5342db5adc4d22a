"""Environments of Python releases, made by uv: what a lock names, to the hash, and nothing else.

Only wheels are taken: to build a package would run its author's code outside the sandbox. An environment is named by what is in
it, so releases with equal locks share one, and one that is there is not made again.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from holdfast.errors import BuildError, MissingExtra

__all__ = ["UvEnvironments"]

READY: Final = ".holdfast-ready"
TIME_LIMIT_S: Final = 1800
ALWAYS: Final = ("cloudpickle", "pandas")
"""What the child needs to open a model and to hand it rows."""
_LINE: Final = re.compile(
    r"([A-Za-z0-9][A-Za-z0-9._-]*)\s*(\[[\w., -]*\])?\s*([<>=!~][\w.,*+!<>=~ -]*)?(;[^@\n]*)?", re.ASCII
)
"""A name, extras, versions and a marker. The model's author wrote it: no options of uv, no addresses, no paths."""


class UvEnvironments:
    """Environments in a folder.

    Args:
        folder: where they are kept.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def lock(self, requirements: Sequence[str], python: str) -> str:
        """See the port; what the child itself needs is added."""
        wanted = _complete(requirements)
        with tempfile.TemporaryDirectory() as work:
            asked = Path(work) / "requirements.in"
            asked.write_text("".join(f"{line}\n" for line in wanted), encoding="utf-8")
            found = Path(work) / "requirements.lock"
            arguments = ["--generate-hashes", "--no-header", "--no-annotate", "--only-binary", ":all:"]
            _uv(
                "pip", "compile", str(asked), "-o", str(found), "--python", _python(python), *arguments,
                doing=f"the model's requirements cannot be locked for Python {python}",
                next_step="record requirements that exist as wheels, with the model",
            )  # fmt: skip
            return found.read_text(encoding="utf-8")

    def interpreter(self, lock: str, python: str) -> Path:
        """See the port. Several processes may ask at once; one makes it."""
        name = hashlib.sha256(f"{python}\n{lock}".encode()).hexdigest()[:24]
        place = self._folder / name
        found = place / "bin" / "python"
        if (place / READY).exists():
            return found
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / f".{name}.lock").open("w") as waiting:
            fcntl.flock(waiting, fcntl.LOCK_EX)
            if (place / READY).exists():
                return found
            shutil.rmtree(place, ignore_errors=True)
            _uv("venv", str(place), "--python", _python(python), doing=f"there is no Python {python} here",
                next_step=f"install Python {python}, with which the model was made")  # fmt: skip
            listed = place / "requirements.lock"
            listed.write_text(lock, encoding="utf-8")
            _uv(
                "pip", "sync", str(listed), "--python", str(found), "--require-hashes", "--only-binary", ":all:",
                doing="the model's environment cannot be made",
                next_step="see that this machine reaches the package index (or a mirror: UV_INDEX_URL, UV_FIND_LINKS)",
            )  # fmt: skip
            (place / READY).touch()
        return found


def _complete(requirements: Sequence[str]) -> list[str]:
    """What was recorded, and what the child needs; of MLflow only the part that opens models."""
    wanted = {}
    for line in requirements:
        found = _LINE.fullmatch(line.strip())
        if found is None:
            raise BuildError(
                f"'{line[:80]}' is no name with versions",
                "requirements",
                "give the requirements yourself: --requirement",
            )
        name = re.sub(r"[-_.]+", "-", found[1]).lower()
        if name == "mlflow":
            wanted["mlflow-skinny"] = f"mlflow-skinny{found[3] or ''}{found[4] or ''}"
        elif name != "holdfast":
            wanted[name] = line
    return sorted(wanted.values()) + [name for name in ALWAYS if name not in wanted]


def _python(version: str) -> str:
    """What uv is asked for: our own interpreter where it is of this version."""
    mine = f"{sys.version_info[0]}.{sys.version_info[1]}"
    return sys.executable if version == mine else version


_CERTIFICATES: Final = {"UV_SYSTEM_CERTS": "1"} if Path("/etc/ssl/certs/ca-certificates.crt").is_file() else {}
"""A company's own certificate authority is known to the system, not to uv."""


def _uv(*arguments: str, doing: str, next_step: str) -> None:
    beside = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    command = shutil.which("uv", path=beside)
    if command is None:
        raise MissingExtra("python", "a Python release")
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    try:
        done = subprocess.run(
            [command, *arguments, "--quiet"],
            env=_CERTIFICATES | environment | {"UV_PYTHON_DOWNLOADS": "never"},
            capture_output=True,
            check=False,
            timeout=TIME_LIMIT_S,
            text=True,
        )
    except subprocess.TimeoutExpired:
        raise BuildError(f"{doing}: it took too long", "uv", next_step) from None
    if done.returncode:
        said = " ".join(done.stderr.split())
        raise BuildError(f"{doing}: {said[:400]}", "uv", next_step)
