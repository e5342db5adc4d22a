"""Kill the keeper's pass at every change that it makes to any file (`tests/faults/keeper_kill.py`).

    python -m bench.torture.keeper [EVERY]

Exits non-zero if any kill lost or doubled a row.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile


def main() -> None:
    """All moments, or every n-th."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "tests.faults.keeper_kill", folder, "--every", *(sys.argv[1:2] or ["1"])]
        sys.exit(subprocess.run(command, check=False).returncode)


if __name__ == "__main__":
    main()
