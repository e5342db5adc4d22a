"""A keeper killed at any of its changes to any file: some of the moments here, all of them by `make torture`."""

import subprocess
import sys
from pathlib import Path

import pytest
from tests.faults import ptrace


@pytest.mark.integration
@pytest.mark.skipif(not ptrace.AVAILABLE, reason="needs ptrace of Linux on x86-64")
def test_after_a_kill_at_any_change_the_next_pass_makes_all_well(tmp_path: Path):
    command = [sys.executable, "-m", "tests.faults.keeper_kill", str(tmp_path), "--every", "47", "--first", "5"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
    kills, _, moments, _ = done.stdout.split()
    assert int(moments) > 100
    assert int(kills) >= 2 * (int(moments) // 47)
