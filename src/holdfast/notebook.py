"""Values in a notebook: `show(alarm)`, `show(overview)`, `show(view)` draw what the console draws, without a server.

The figures are plain SVG and carry their stylesheet along; there is no script, so a saved notebook shows the same anywhere.
"""

from __future__ import annotations

from functools import singledispatch

from holdfast.core.alarm import Alarm
from holdfast.core.names import short
from holdfast.figures import Bin, Html, Table, data_table, element, histogram, join, stylesheet
from holdfast.figures.scales import day, minute, number
from holdfast.status import Overview
from holdfast.status.values import Column

__all__ = ["show"]


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
