"""The state of the user's code: which commit, and whether files differ from it; and the code as it was at a commit.

Asks the `git` command and changes nothing in the repository. Files that git does not track are no code: data, models and the
workspace itself lie beside it.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path
from typing import Any

from holdfast.errors import BuildError

__all__ = ["checkout", "code_state"]


def code_state(folder: Path) -> dict[str, Any]:
    """`{"commit": ..., "dirty": ...}` of the repository that the folder's files belong to; empty outside git.

    A dirty tree has `changes` too, the SHA-256 of its difference to the commit. Where there is a repository that git will not
    read, `commit` is empty and `why` says so.
    """
    inside = _git(folder, "rev-parse", "--is-inside-work-tree")
    if inside.returncode != 0:
        near = any((above / ".git").exists() for above in (folder, *folder.parents))
        return {"commit": "", "dirty": True, "why": _reason(inside)} if near else {}
    commit = _git(folder, "rev-parse", "--verify", "HEAD")
    if commit.returncode != 0 or not _git(folder, "ls-files", "--", ".").stdout:
        return {}  # nothing is committed; or the folder only happens to lie in somebody's repository
    changes = _git(folder, "diff", "HEAD", "--binary", "--no-ext-diff", "--no-textconv", "--no-color").stdout
    state: dict[str, Any] = {"commit": commit.stdout.decode().strip(), "dirty": bool(changes)}
    return state | ({"changes": hashlib.sha256(changes).hexdigest()} if changes else {})


def checkout(folder: Path, commit: str, into: Path) -> Path:
    """The repository as it was at that commit, in `into`; returns where `folder` lies in it."""
    top = _git(folder, "rev-parse", "--show-toplevel")
    if top.returncode != 0:
        raise BuildError(f"{folder} is in no git repository any more", _reason(top), "clone it again")
    root = Path(top.stdout.decode().rstrip("\n"))
    into.parent.mkdir(parents=True, exist_ok=True)
    for arguments in (
        ("clone", "--quiet", "--shared", "--no-checkout", str(root), str(into)),
        ("-C", str(into), "-c", "core.hooksPath=/dev/null", "-c", "advice.detachedHead=false", "checkout", commit),
    ):
        done = _git(root, *arguments)
        if done.returncode != 0:
            raise BuildError(f"commit {commit[:12]} cannot be checked out: {_reason(done)}", str(root), "git fetch")
    return into / folder.resolve().relative_to(root)


def _reason(done: subprocess.CompletedProcess[bytes]) -> str:
    said = done.stderr.decode(errors="replace").strip().splitlines()
    return said[0] if said else f"git ended with {done.returncode}"


def _git(folder: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        return subprocess.run(
            ["git", *arguments],
            cwd=folder,
            env=environment | {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"},
            capture_output=True,
            check=False,
            timeout=120,
        )
    except (OSError, subprocess.TimeoutExpired) as bad:
        return subprocess.CompletedProcess(["git"], 127, b"", str(bad).encode())
