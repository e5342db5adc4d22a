"""Pictures from values, as SVG and HTML: what the console, the model card, notebooks and reports draw with.

A figure takes bins, points and spans, never rows, and knows nothing of stores or pages. It is text: deterministic, readable
without a script, with a title, a description and the numbers behind it in a table.
"""

from __future__ import annotations

from importlib import resources

from holdfast.figures.histogram import Bin, histogram, sparkline
from holdfast.figures.markup import Html, Table, data_table, element, figure, join
from holdfast.figures.timeline import LineTrack, Marker, Point, Span, SpanTrack, timeline
from holdfast.figures.tradeoff import Candidate, picture, tradeoff

__all__ = [
    "Bin",
    "Candidate",
    "Html",
    "LineTrack",
    "Marker",
    "Point",
    "Span",
    "SpanTrack",
    "Table",
    "data_table",
    "element",
    "figure",
    "histogram",
    "join",
    "picture",
    "sparkline",
    "stylesheet",
    "timeline",
    "tradeoff",
]


def stylesheet() -> str:
    """The colours and line forms of every figure, for light and dark; a page links it, a notebook carries it along."""
    return resources.files("holdfast.figures").joinpath("figures.css").read_text(encoding="utf-8")
