"""Aliases of the model registry that deployments follow: looked at every `[registry] interval_s`, by `holdfast follow`.

That is a process of its own, at low priority: building needs the registry and the training libraries, and the keeper shall
hold neither. What it has to say goes to stderr, once.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from holdfast.workspace import Workspace

__all__ = ["Aliases"]

END_S: Final = 5.0


class Aliases(threading.Thread):
    """Looks again and again until stopped; where no deployment follows an alias there is nothing to do."""

    def __init__(self, workspace: Workspace) -> None:
        super().__init__(name="aliases", daemon=True)
        self._workspace = workspace
        self._ended = threading.Event()
        self._told = ""

    def run(self) -> None:
        """In a thread of its own: `start`."""
        settings = self._workspace.settings
        if not any(deployment.follow for deployment in settings.deployments.values()):
            return
        while not self._ended.is_set():
            said = self._look()
            if said != self._told and said:
                sys.stderr.write(f"follow: {said}\n")
            self._told = said
            self._ended.wait(settings.registry.interval_s)

    def _look(self) -> str:
        """One look; what a person should know of it."""
        command = [sys.executable, "-m", "holdfast", "-w", str(self._workspace.folder), "follow", "--quiet"]
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        while True:
            try:
                _, said = process.communicate(timeout=1.0)
            except subprocess.TimeoutExpired:
                if self._ended.is_set():
                    process.terminate()
                continue
            break
        lines = [line for line in said.strip().splitlines() if not line.endswith("nothing to do")]
        return "" if self._ended.is_set() else "\n".join(lines)

    def stop(self) -> None:
        """Ends a look that is under way: the next start begins it anew."""
        self._ended.set()
        if self.is_alive():
            self.join(END_S)
