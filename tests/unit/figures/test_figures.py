"""Figures are well-formed, say what they show, and carry nothing that a strict page would refuse."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from datetime import UTC, datetime

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from holdfast.figures import (
    Bin,
    Candidate,
    LineTrack,
    Marker,
    Point,
    Span,
    SpanTrack,
    histogram,
    sparkline,
    stylesheet,
    timeline,
    tradeoff,
)
from holdfast.figures.markup import Html, element, join
from holdfast.figures.scales import linear_ticks, number, percent, time_ticks

DAY = 86_400_000_000
EVIL = "</title><script>alert('x')</script>&\"'"
SVG = "{http://www.w3.org/2000/svg}"


def story(name: str = "s", label: str = "release") -> Html:
    return timeline(
        name,
        label,
        "caption",
        [
            SpanTrack("Releases", [Span(0, 50 * DAY, label, "live"), Span(50 * DAY, 100 * DAY, label, "live")]),
            SpanTrack("Alarms", [Span(60 * DAY, 61 * DAY, label, "open", label, 55 * DAY, 50 * DAY, 58 * DAY)]),
            SpanTrack("Nothing", []),
            LineTrack(
                "Error", [Point(i * DAY, (i + 1) * DAY, 0.1 + i / 1e3, 0.09, 0.3, 7) for i in range(100)], reference=0.1
            ),
            LineTrack("Rows", [Point(i * DAY, (i + 1) * DAY, float(i)) for i in range(100)], form="bars", scale="zero"),
            LineTrack(
                "Gap", [Point(0, DAY, 1.0), Point(9 * DAY, 10 * DAY, float("nan")), Point(20 * DAY, 21 * DAY, 2.0)]
            ),
            LineTrack("Share", [Point(0, DAY, 0.5)], form="steps", scale="share", shares=True),
            LineTrack("Empty", []),
        ],
        start=0,
        end=100 * DAY,
        markers=[Marker(50 * DAY, label, "release"), Marker(60 * DAY, label, "alarm")],
    )


def bars() -> Html:
    return histogram(
        "h",
        "area",
        "caption",
        [Bin(f"{i}", 0.1, 0.2, float(i), i + 1.0) for i in range(5)] + [Bin("missing", 0.5, 0.0)],
    )


FIGURES = {
    "timeline": story,
    "histogram": bars,
    "categories": lambda: histogram(
        "h", "kind", "c", [Bin("flat", 0.4, 0.6), Bin("a very long category name", 0.6, 0.4)]
    ),
    "nothing": lambda: histogram("h", "kind", "c", []),
    "spark": lambda: sparkline("p", "rows", [1, 0, 3]),
    "spark of nothing": lambda: sparkline("p", "rows", []),
}


@pytest.mark.parametrize("draw", FIGURES.values(), ids=FIGURES)
def test_every_figure_is_well_formed_labelled_and_free_of_style(draw):
    tree = ET.fromstring(draw())
    images = [tree] if tree.tag == f"{SVG}svg" else list(tree.iter(f"{SVG}svg"))
    assert len(images) == 1
    for image in images:
        assert image.get("role") == "img"
        ids = image.get("aria-labelledby").split()
        found = {e.get("id"): "".join(e.itertext()) for e in image.iter() if e.get("id")}
        assert all(found[i] for i in ids)
    for part in tree.iter():
        assert part.tag.rpartition("}")[2] not in {"script", "style", "foreignObject"}
        assert not [a for a in part.attrib if a == "style" or a.startswith("on")]


def test_the_numbers_stand_beside_the_picture():
    tree = ET.fromstring(story())
    tables = list(tree.iter("table"))
    assert [t.find("caption").text for t in tables] == ["Releases", "Alarms", "Series"]
    assert tree.find(".//details/summary").text == "Numbers"
    rows = tables[-1].findall("tbody/tr")
    assert len(rows) == 100
    assert [c.text for c in rows[0]] == ["1970-01-01 00:00", "0.1 (0.09 to 0.3)", "0", "1", "50 %"]
    assert [c.text for c in tables[1].findall("tbody/tr/*")][3:] == ["1970-02-25", "1970-02-20 to 1970-02-28"]


def test_text_is_escaped_everywhere():
    drawn = story(label=EVIL) + histogram("h", EVIL, EVIL, [Bin(EVIL, 0.5, 0.5)]) + sparkline("p", EVIL, [1])
    assert "<script" not in drawn
    assert element("p", {"title": EVIL}, EVIL).count("<") == 2
    assert join([Html("<b>ok</b>"), "<b>"]) == "<b>ok</b>&lt;b&gt;"


def test_the_same_values_give_the_same_bytes():
    assert story() == story()


def test_a_gap_in_the_data_is_a_gap_in_the_line():
    lines = re.findall(
        r'class="hf-(?:line|dot)"',
        timeline(
            "s",
            "t",
            "c",
            [LineTrack("x", [Point(i * DAY, (i + 1) * DAY, 1.0) for i in (0, 1, 2, 9, 10)])],
            start=0,
            end=11 * DAY,
        ),
    )
    assert len(lines) == 2


def test_many_alarms_stay_in_few_lanes():
    spans = [Span(i * 2 * DAY, (i * 2 + 1) * DAY, "a label that does not fit into its bar", "open") for i in range(40)]
    drawn = timeline("s", "t", "c", [SpanTrack("Alarms", spans)], start=0, end=80 * DAY)
    assert len(set(re.findall(r'hf-open"[^>]* y="([\d.]+)"', drawn))) == 1
    assert drawn.count("a label that does not fit") >= 40  # in titles and table


def test_every_class_that_is_drawn_has_a_rule():
    drawn = {
        c
        for text in (story(), bars(), FIGURES["spark"]())
        for group in re.findall(r'class="([^"]+)"', text)
        for c in group.split()
    }
    assert {c for c in drawn if f".{c} " not in stylesheet() and f".{c}." not in stylesheet()} <= {"hf-data"}


@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9), st.integers(1, 8))
def test_ticks_lie_inside_and_are_evenly_spaced(low, span, wanted):
    assume(span >= abs(low) * 1e-9)  # closer values differ by less than an axis label can say
    high = low + span
    ticks = linear_ticks(low, high, wanted)
    assert all(low - span * 1e-6 <= t <= high + span * 1e-6 for t in ticks)
    assert len(ticks) <= 2.6 * wanted + 2


@pytest.mark.parametrize("days", [0.2, 1, 9, 40, 400, 4000])
def test_time_ticks_are_calendar_dates(days):
    start = 19_723 * DAY
    ticks = time_ticks(start, start + int(days * DAY))
    assert 3 <= len(ticks) <= 12
    if days >= 400:
        assert all(datetime.fromtimestamp(at / 1e6, UTC).day == 1 for at, _ in ticks)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.12345, "0.123"),
        (1234.5, "1,234"),
        (2.5e6, "2.5 M"),
        (3e9, "3 G"),
        (0.00012, "1.2e-04"),
        (float("nan"), "–"),
    ],
)
def test_numbers_are_short(value, text):
    assert number(value) == text


@pytest.mark.parametrize(
    ("share", "text"), [(0, "0 %"), (0.5, "50 %"), (0.0123, "1.2 %"), (1, "100 %"), (float("nan"), "–")]
)
def test_shares_are_per_cent(share, text):
    assert percent(share) == text


def test_variants_as_a_picture_name_the_chosen_one_and_cover_no_label():
    drawn = [
        Candidate("plain", 1.0, 0.0, 0.0, 0.0, 0.8),
        Candidate("int8", 1.02, 0.0001, -0.002, 0.002, 0.2, front=True, chosen=True),
        Candidate("pruned-50", 0.2, 0.03, float("nan"), float("nan"), 0.1, front=True),
    ]
    page = tradeoff("variants", "Variants", "Lower and further left is better.", drawn)
    assert "3 variants, 2 that no other beats; chosen: int8." in page
    assert page.count("<circle") == 3
    heights = dict(re.findall(r'<text[^>]* y="([\d.]+)"[^>]*>(plain|int8 \(chosen\))<', page))
    one, other = map(float, heights)
    assert abs(one - other) >= 13
    assert page.count("hf-interval") == 2
