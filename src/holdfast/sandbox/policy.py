"""What one sandboxed child may read, write and use up; and what its kernel gave in the end."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

__all__ = ["Confinement", "Policy"]

MIB = 1 << 20


class Policy(NamedTuple):
    """The limits of one child."""

    read: tuple[str, ...] = ()
    """Files and folders that it may read, beside its interpreter and the system's libraries."""
    scratch: str = ""
    """An empty folder that it may write to; empty: none."""
    memory_mb: int = 4096
    """Address space in MiB."""
    cpu_s: int = 0
    """Processor seconds over its whole life; 0: no limit."""
    file_mb: int = 256
    """Size of one file, and of the scratch folder where it is a file system of its own, in MiB."""
    open_files: int = 256
    contained: bool = True
    """False: only limits, no walls; on the user's explicit word."""

    def to_json(self) -> str:
        """One line for the child's command."""
        return json.dumps(self._asdict())

    @classmethod
    def from_json(cls, text: str) -> Policy:
        """The child's side of `to_json`."""
        said: dict[str, Any] = json.loads(text)
        said["read"] = tuple(said["read"])
        return cls(**said)


class Confinement(NamedTuple):
    """What holds the child."""

    landlock: int
    """Version of the kernel's Landlock; 0: none."""
    namespaces: bool
    """Whether network, shared memory and scratch folder are its own."""

    def __str__(self) -> str:
        if not self.landlock:
            return "limits only"
        own = "network and scratch folder of its own" if self.namespaces else "no namespaces of its own"
        return f"Landlock {self.landlock}, system call filter, {own}"
