"""Every distribution that a user gets with Holdfast has a licence that Holdfast may depend on.

Judged on the locked set (base, build and demo extras), as pip-licenses reads it from the installed metadata.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent

EXPORT = "export --quiet --frozen --no-dev --extra=demo --no-hashes --no-emit-project --no-annotate --no-header"

# The families we accept, in the spellings of package metadata.
ALLOWED = {
    "0BSD",
    "2-Clause BSD License",
    "3-Clause BSD License",
    "Apache Software License",
    "Apache-2.0",
    "BSD License",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "CC0-1.0",
    "ISC",
    "ISC License (ISCL)",
    "MIT",
    "MIT License",
    "MIT-0",
    "MPL-2.0",
    "Mozilla Public License 2.0 (MPL 2.0)",
    "PSF-2.0",
    "Python Software Foundation License",
    "Zlib",
}

# Metadata that says nothing; read by hand in the licence file of the wheel.
READ_BY_HAND = {"skops": "MIT"}


def acceptable(licence: str) -> bool:
    """Of alternatives (`OR`) one will do; of a list (`AND`, `;`) each must."""
    return all(
        any(choice.strip(" ()") in ALLOWED or choice.strip() in ALLOWED for choice in part.split(" OR "))
        for part in re.split(r" AND |;", licence)
    )


def locked_distributions() -> list[str]:
    exported = subprocess.run(
        [BIN / "uv", *EXPORT.split()],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return [re.split(r"[=; ]", line)[0] for line in exported.splitlines()]


def test_every_dependency_may_be_depended_on():
    listed = subprocess.run(
        [BIN / "pip-licenses", "--from=mixed", "--format=json", "--packages", *locked_distributions()],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    licences = {entry["Name"]: READ_BY_HAND.get(entry["Name"], entry["License"]) for entry in json.loads(listed)}
    assert len(licences) > 50
    refused = {name: licence for name, licence in licences.items() if not acceptable(licence)}
    assert not refused


def test_the_judge_refuses_what_it_should():
    assert acceptable("Apache-2.0 OR GPL-3.0-only")
    assert acceptable("Apache Software License; MIT License")
    assert not acceptable("MIT AND LGPL-3.0-or-later")
    assert not acceptable("UNKNOWN")
