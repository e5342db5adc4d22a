"""A test that cannot run here says so, and says what to do; continuous integration accepts no such excuse."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).resolve().parents[1] / "conftest.py"
SUITE = """
def test_browser(chromium): pass
def test_data(real_data): assert real_data("adult").is_dir()
def test_plain(): pass
"""


@pytest.fixture
def run_suite(tmp_path):
    """Runs three tests under our conftest, on a machine that has only what the environment says."""
    (tmp_path / "tests").mkdir()
    shutil.copy(CONFTEST, tmp_path / "tests" / "conftest.py")
    (tmp_path / "tests" / "test_suite.py").write_text(SUITE)
    (tmp_path / "bin").mkdir()

    def run(**environment):
        hidden = {"HOLDFAST_TEST_DATA", "HOLDFAST_REQUIRE_SYSTEM"}
        kept = {key: value for key, value in os.environ.items() if key not in hidden and not key.startswith("PYTEST_")}
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "tests"],
            cwd=tmp_path,
            env=kept | {"PATH": str(tmp_path / "bin")} | environment,
            capture_output=True,
            text=True,
        )

    return run


def test_what_is_missing_is_told_with_the_way_to_get_it(run_suite):
    result = run_suite()
    assert result.returncode == 0
    told = result.stdout[result.stdout.index("NOT TESTED") :]
    assert "1 test skipped without Chromium:\n    tests/test_suite.py::test_browser\nnext: make system-deps" in told
    assert "1 test skipped without real data:\n    tests/test_suite.py::test_data\nnext: set HOLDFAST_TEST_DATA" in told
    assert told.rstrip().splitlines()[-1].startswith("==")  # the last line is pytest's own


def test_integration_needs_the_system_parts_but_not_the_data(run_suite):
    result = run_suite(HOLDFAST_REQUIRE_SYSTEM="1")
    assert result.returncode == 1
    assert "ERROR tests/test_suite.py::test_browser" in result.stdout
    assert "1 passed, 1 skipped" in result.stdout
    assert "HOLDFAST_REQUIRE_SYSTEM is set and this test was skipped" in result.stdout


def test_all_run_where_all_is_there(run_suite, tmp_path):
    browser = tmp_path / "bin" / "chromium"
    browser.write_text("#!/bin/sh\n")
    browser.chmod(0o755)
    (tmp_path / "data" / "adult").mkdir(parents=True)
    result = run_suite(HOLDFAST_REQUIRE_SYSTEM="1", HOLDFAST_TEST_DATA=str(tmp_path / "data"))
    assert result.returncode == 0
    assert "NOT TESTED" not in result.stdout


def test_a_data_set_that_ought_to_be_there_is_no_excuse(run_suite, tmp_path):
    result = run_suite(HOLDFAST_TEST_DATA=str(tmp_path))
    assert result.returncode == 1
    assert "has no data set 'adult'" in result.stdout
