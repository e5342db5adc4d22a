"""From open alarms to a candidate with a verdict: assemble, fit, build by the same path as any release, compare."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from holdfast.build import pipeline
from holdfast.build.gates import require_clean
from holdfast.build.pipeline import Data
from holdfast.build.translate import Marks
from holdfast.columns import dump_yaml
from holdfast.core.contract import Contract
from holdfast.core.ports import Database, Runtime, Tables
from holdfast.decide.gates import Comparison, compare
from holdfast.errors import BuildError
from holdfast.monitor.life import fault_intervals
from holdfast.predictions.labels import training_rows, truth
from holdfast.predictions.lookup import Predictions
from holdfast.predictions.windows import recipe
from holdfast.registry import snapshot_of_table
from holdfast.release.bundle import Release, attest
from holdfast.retrain.data import as_reference, join_tables, snapshot_table, split, widened
from holdfast.retrain.script import fit
from holdfast.retrain.window import TrainingWindow, choose_window, weights

__all__ = ["Outcome", "Parts", "retrain"]

COMPARISON = "urn:holdfast:comparison:v1"


class Parts(NamedTuple):
    """What retraining needs of its workspace."""

    database: Database
    tables: Tables
    runtime: Runtime
    build: pipeline.Parts
    log: Path
    release_of: Callable[[str], Release]


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """A candidate and what it is worth."""

    release: str
    parent: str
    window: TrainingWindow
    since: int
    until: int
    """Event times of the first and last row that it learned from, microseconds UTC."""
    trained_rows: int
    withheld_rows: int
    comparison: Comparison

    @property
    def better(self) -> bool:
        """Whether the candidate beats the live release beyond doubt."""
        return self.comparison.verdict == "better"


def retrain(
    parts: Parts,
    name: str,
    train: Callable[[Any, Any], Any],
    *,
    original: Path | None = None,
    since: int | None = None,
    force: bool = False,
    code: Mapping[str, Any] | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Outcome:
    """Train a candidate for deployment `name` and compare it with the live release.

    Args:
        parts: of the workspace.
        name: the deployment.
        train: the user's function, train(data, weights) -> fitted model.
        original: file with the original training data; joined with the labelled log.
        since: learn from rows since this event time (microseconds UTC) instead of what the alarms call for.
        force: go on although only a pipeline fault is open.
        code: git commit and dirtiness of the project.
        progress: called with each step's name as it begins.

    Raises GateRefused for an open pipeline fault or a dirty tree, BuildError where rows are too few or the training fails.
    """
    require_clean(code or {}, allow_dirty=parts.build.allow_dirty)
    progress("collect")
    with parts.database.begin() as stores:
        deployment = stores.deployments.get(name)
        alarms = stores.alarms.find(name)
    live = parts.release_of(deployment.live)
    contract = live.contract
    table = _rows(parts, name, contract, original, fault_intervals(alarms))
    window = (
        choose_window([a for a in alarms if a.open], start=_start(table), end=_end(table), force=force)
        if since is None
        else TrainingWindow("as asked", since, None, "--since")
    )
    learned, withheld = split(table, window.since)
    progress("train")
    model = fit(train, learned, contract, weights(learned["event_time"], window))
    progress("build")
    candidate = _built(parts, model, withheld, live, code or {})
    progress("compare")
    comparison = _compared(parts.runtime, live, candidate, withheld)
    outcome = Outcome(
        release=candidate.digest,
        parent=live.digest,
        window=window,
        since=_start(learned),
        until=_end(learned),
        trained_rows=len(learned["event_time"]),
        withheld_rows=len(withheld["event_time"]),
        comparison=comparison,
    )
    attest(candidate.path, COMPARISON, msgspec.to_builtins(outcome), parts.build.signer)
    return outcome


def _rows(
    parts: Parts, name: str, contract: Contract, original: Path | None, excluded: list[tuple[int, int]]
) -> dict[str, NDArray[Any]]:
    recipes: dict[str, Any] = {}

    def recipe_of(digest: str) -> Any:
        if digest not in recipes:
            release = parts.release_of(digest)
            recipes[digest] = recipe(release.contract, release.profile)
        return recipes[digest]

    predictions = Predictions(parts.log, parts.tables, recipe_of)
    predictions.refresh()
    try:
        logged = training_rows(parts.database, predictions, name, contract, excluded=excluded)
    finally:
        predictions.close()
    names = [f.name for f in contract.fields if not {"timestamp", "key"} & set(f.marks)]
    snapshot = snapshot_table(contract, parts.tables.read(original)) if original else {}
    columns = [*names, contract.output.label]
    table = join_tables(snapshot, logged, columns) if snapshot else {n: logged[n] for n in (*columns, "event_time")}
    if not len(table["event_time"]):
        raise BuildError("there is no labelled row to learn from", name, f"holdfast label FILE --for {name}")
    return table


def _start(table: Mapping[str, NDArray[Any]]) -> int:
    return int(table["event_time"][0])


def _end(table: Mapping[str, NDArray[Any]]) -> int:
    return int(table["event_time"][-1])


def _built(
    parts: Parts, model: Any, withheld: Mapping[str, NDArray[Any]], live: Release, code: Mapping[str, Any]
) -> Release:
    """The candidate as a release, through the same steps as any."""
    contract = widened(live.contract, withheld)
    table = as_reference(withheld, contract)
    marks = Marks(
        label=contract.output.label,
        timestamp=contract.timestamp.name if contract.timestamp else "",
        timezone=contract.timezone,
        contract=dump_yaml(contract),
    )
    return pipeline.build(
        parts.build,
        model,
        Data(table, snapshot_of_table(table)),
        marks=marks,
        name=live.manifest.name,
        parent=live,
        code=code,
    )


def _compared(runtime: Runtime, live: Release, candidate: Release, withheld: Mapping[str, NDArray[Any]]) -> Comparison:
    output = live.contract.output
    truths = np.array([truth(output, value) for value in withheld[output.label].tolist()], dtype=np.float64)
    columns = {f.name: withheld[f.name] for f in live.contract.features}
    answers = []
    for release in (live, candidate):
        found = runtime.load(release.model).run(columns)
        answers.append(found["prediction"] if output.task == "regression" else found["probabilities"])
    return compare(output, truths, answers[0], answers[1], withheld["event_time"], live.profile.rule.length_us)
