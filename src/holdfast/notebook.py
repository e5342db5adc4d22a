"""Holdfast in a notebook: build a release from a fitted model, and look at values.

`build_release(model, X, y, name="prices")` does what `holdfast build` does, in the workspace at hand. `show(alarm)`,
`show(overview)`, `show(column)` draw what the console draws, without a server: plain SVG that carries its stylesheet along and
has no script, so that a saved notebook shows the same anywhere.
"""

from __future__ import annotations

from functools import singledispatch
from typing import TYPE_CHECKING, Any, Literal

from holdfast.core.alarm import Alarm
from holdfast.core.names import short
from holdfast.figures import Bin, Html, Table, data_table, element, histogram, join, stylesheet
from holdfast.figures.scales import day, minute, number
from holdfast.status import Overview
from holdfast.status.values import Column

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from holdfast.core.contract import Mark
    from holdfast.release.bundle import Release
    from holdfast.workspace import Workspace

__all__ = ["build_release", "show"]


def build_release(
    model: Any,
    X: Any = None,
    y: Any = None,
    *,
    workspace: Workspace | None = None,
    name: str = "",
    label: str = "",
    timestamp: str | None = None,
    key: str | None = None,
    marks: Mapping[str, Sequence[Mark]] | None = None,
    contract: str = "",
    timezone: str = "UTC",
    purpose: str = "",
    objectives: Mapping[str, Any] | None = None,
    variant: str = "",
    runtime: Literal["onnx", "python"] = "onnx",
    requirements: Sequence[str] = (),
    trust_pickle: bool = False,
) -> Release:
    """Build a signed release from a fitted model, or a reference such as `models:/name/3`, and rows it was not fitted on.

    Args:
        model: a fitted object, or where the registry has it.
        X: DataFrame, mapping of columns or array [rows, ...]; it may hold timestamp and key beside what the model reads.
        y: labels of the same rows; or none, and `label` names a column of X.
        workspace: where to build; default: the nearest one upwards from the current folder.
        name: of the release; default: the model's.
        label: name of the label; default: y's own, else "label".
        timestamp: column of the event time.
        key: column that joins labels and keeps a canary sticky.
        marks: further marks by column, such as {"year": ["calendar"]}.
        contract: a contract as YAML, instead of an inferred one.
        timezone: of timestamps that name none.
        purpose: what it is for, for the card.
        objectives: what the released variant must do, such as {"p99_ms": 2, "max_quality_loss": 0.01, "max_mb": 1}: the cheapest
            that does is searched for.
        variant: one variant by its name, such as "int8", instead of a search.
        runtime: "python": the model itself, in a process of its own, although it could become ONNX; a function always is.
        requirements: of a Python release, such as ["scikit-learn==1.9.1"]; default: those recorded with the model.
        trust_pickle: that a registered pickle may be opened, in the sandbox; a model that is handed over needs no word.
    """
    from holdfast.build.python import build_release as build
    from holdfast.workspace import open_workspace

    at = workspace or open_workspace()
    return build(
        at.build_parts,
        model,
        X,
        y,
        name=name,
        label=label,
        timestamp=timestamp,
        key=key,
        marks=marks,
        contract=contract,
        timezone=timezone,
        code=at.code_state(at.folder),
        purpose=purpose,
        objectives=objectives,
        variant=variant,
        runtime=runtime,
        requirements=requirements,
        trust_pickle=trust_pickle,
    )


@singledispatch
def show(value: object) -> Html:
    """What a notebook displays for a value of Holdfast; anything else as its text."""
    return element("pre", {}, repr(value))


@show.register
def _alarm(alarm: Alarm) -> Html:
    onset = day(alarm.onset) if alarm.onset is not None else "not dated yet"
    rows = [
        ("cause", alarm.cause),
        ("shape", alarm.shape),
        ("change date", onset),
        ("opened", f"{minute(alarm.opened)} UTC"),
        ("what to do", alarm.action),
        ("stated rate", alarm.threshold),
    ]
    state = "open" if alarm.open else f"closed: {alarm.closing}"
    return _card(element("strong", {}, alarm.sentence or alarm.id), data_table(Table(state, ("", ""), rows)))


@show.register
def _overview(overview: Overview) -> Html:
    rows = [
        (
            r.name,
            r.state,
            r.reason,
            short(r.live),
            f"{r.rows:,}",
            f"{number(r.performance.value)} {r.performance.metric}" if r.performance else "no labels yet",
        )
        for r in overview.deployments
    ]
    head = ("deployment", "state", "why", "live release", "predictions", "error")
    return _card(data_table(Table("Holdfast", head, rows)))


@show.register
def _column(column: Column) -> Html:
    bins = [Bin(b.label, b.reference, b.now, b.low, b.high) for b in column.bins]
    caption = f"Filled: {column.reference_rows:,} reference rows. Outline: {column.now_rows:,} rows now."
    return _card(histogram(f"notebook-{column.name}", f"{column.title}: reference against now", caption, bins))


def _card(*parts: str) -> Html:
    return element("div", {"class": "hf"}, Html(f"<style>{stylesheet()}</style>"), join(parts))
