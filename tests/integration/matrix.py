"""Every kind of model on every kind of input: built, served by one server over HTTP, and compared with the original.

`python -m tests.integration.matrix` (make docs-matrix) does it and writes the page docs/explanation/what-can-be-built.md;
`test_matrix` does the same and compares. A cell of the table counts the rows that differ by more than the tolerance.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tests.integration.matrix_models import CASES, REFUSED, Case, Functions
from tests.integration.project import Project

import holdfast
from holdfast.decide import actions
from holdfast.errors import HoldfastError
from holdfast.sandbox import inside

PAGE = Path(__file__).resolve().parents[2] / "docs" / "explanation" / "what-can-be-built.md"
KINDS = ("float64", "float32", "int", "bool", "string", "missing", "unseen")


class Cell(NamedTuple):
    """What came of one model and one kind of input."""

    rows: int = 0
    beyond: int = 0
    refused: str = ""
    """What the server said, where the contract refuses such rows as the model itself does."""

    def __str__(self) -> str:
        if self.refused:
            return "refused, as by the model"
        return f"{self.beyond} of {self.rows}" if self.rows else "–"


class Line(NamedTuple):
    """One model's line of the table."""

    case: Case
    cells: dict[str, Cell]
    at_thresholds: int
    """Rows at thresholds, with missing and unseen values, that the build itself compared."""


class Refusal(NamedTuple):
    """What cannot be built, and how it is said."""

    what: str
    said: str
    next_step: str


def cases() -> list[Case]:
    """All models; without a sandbox, those that need none."""
    return [case for case in CASES if not (inside.missing() and isinstance(case, Functions))]


def build_all(folder: Path) -> tuple[holdfast.Workspace, dict[str, Any], dict[str, Any]]:
    """A workspace with a release and a deployment of each case; the fitted originals; the releases."""
    workspace = holdfast.create_workspace(folder)
    originals, releases = {}, {}
    for number, case in enumerate(cases()):
        frame, target = case.survey(600, seed=1)
        held_out, truth = case.survey(400, seed=2)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = originals[case.name] = case.fit(frame, target)
            release = holdfast.build_release(model, held_out, truth, workspace=workspace, name=case.slug)
        releases[case.name] = release
        actor = actions.Actor("matrix", time.time_ns() // 1000 + number, workspace.run)
        actions.deploy(workspace.database, actor, case.slug, release.digest)
    return workspace, originals, releases


def refusals(workspace: holdfast.Workspace) -> Iterator[Refusal]:
    """What is refused, in the builder's own words."""
    rows, target = CASES[1].survey(300, seed=1)
    for number, (what, trained) in enumerate(REFUSED.items()):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = trained(rows, target)
            given = rows[list(getattr(model, "feature_names_in_", ["wide", "word"]))]
            truth = target if not hasattr(model, "classes_") else target > np.median(target)
            try:
                holdfast.build_release(
                    model, given, truth, workspace=workspace, name=f"refused-{number}", label="label"
                )
            except HoldfastError as refused:
                place = "" if refused.where.startswith("/") else f" ({refused.where})"  # no file of this run
                yield Refusal(what, refused.what + place, refused.next_step)
            else:
                raise AssertionError(f"{what} was built")


def compare(address: str, originals: dict[str, Any], releases: dict[str, Any]) -> Iterator[Line]:
    """Ask the server for every cell."""
    for case in cases():
        model, evidence = originals[case.name], releases[case.name].manifest.parity
        reference = case.answers(model, case.survey(400, seed=2)[0])
        scale = 1.0 if case.classifies else float(np.std(reference))
        cells = {kind: _cell(address, case, model, kind, scale) for kind in KINDS}
        yield Line(case, cells, int(evidence["boundary_rows"]))


def _cell(address: str, case: Case, model: Any, kind: str, scale: float) -> Cell:
    rows = case.asked(kind)
    if rows is None:
        return Cell()
    said = ask(address, case, rows)
    if isinstance(said, str):
        return Cell(refused=said)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # unseen categories are asked for on purpose
        native = case.answers(model, rows)
    unit = np.maximum(scale, np.abs(native)) if case.float32 else scale
    differs = np.abs(said.reshape(native.shape) - native) / unit > case.tolerance
    return Cell(len(rows), int(differs.reshape(len(rows), -1).any(axis=1).sum()))


def ask(address: str, case: Case, rows: Any) -> Any:
    """The server's probabilities or predictions over HTTP, or why it refuses the rows."""
    name = "probabilities" if case.classifies else "prediction"
    body = json.dumps({"inputs": case.tensors(rows), "outputs": [{"name": name}]}).encode()
    request = urllib.request.Request(f"{address}/v2/models/{case.slug}/infer", body)
    try:
        with urllib.request.urlopen(request) as reply:
            [output] = json.load(reply)["outputs"]
    except urllib.error.HTTPError as refused:
        with refused:
            return str(json.load(refused)["detail"])
    return np.array(output["data"], dtype=np.float64)


def page(lines: Sequence[Line], refused: Sequence[Refusal]) -> str:
    """The page of the documentation."""
    parts = [
        "<!-- Made by tests/integration/matrix.py: change it there, then run `make docs-matrix`. -->\n",
        "# What can be built\n",
        "Each line is a model in its own library, trained on a small table that holds every kind of column. It was built with",
        "`build_release`, deployed, and asked over HTTP by one server that holds them all. A cell counts rows whose answer differs",
        "from the original's by more than the tolerance, in units of the output: 1 for probabilities, the standard deviation of",
        "the predictions for regression. *At thresholds* are the rows that the build itself compared before it signed: at every",
        "threshold of every tree, with missing and with unseen values. A – stands where a model takes no such column.\n",
        _table(
            ("model", "answers", *KINDS, "at thresholds", "tolerance"),
            [
                (
                    line.case.name,
                    line.case.task,
                    *(str(line.cells[kind]) for kind in KINDS),
                    f"0 of {line.at_thresholds}" if line.at_thresholds else "–",
                    f"{line.case.tolerance:.0e}".replace("e-0", "e-"),
                )
                for line in lines
            ],
        ),
        "XGBoost and PyTorch add in float32 themselves, so their own rounding shows beyond a millionth. XGBoost refuses categories",
        "that it has not seen in training; so does the contract of such a release. A *score* is what `decision_function` gives:",
        "below zero is an outlier. A Python function answers from a process of its own, in a sandbox.\n",
        "## What is refused, and how\n",
        "What has no exact form is refused by its name and place.\n",
        _table(("what", "said", "next"), refused),
    ]
    return "\n".join(parts)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(str(cell).replace('|', '&#124;') for cell in line)} |\n" for line in lines)


def made(folder: Path) -> tuple[list[Line], list[Refusal]]:
    """All of it, in a fresh folder."""
    workspace, originals, releases = build_all(folder)
    with Project(folder).serving() as server:
        lines = list(compare(server.inference, originals, releases))
    return lines, list(refusals(workspace))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as empty:
        PAGE.write_text(page(*made(Path(empty))), encoding="utf-8")
    print(f"{PAGE} written", file=sys.stderr)  # noqa: T201 - what a person waits for
