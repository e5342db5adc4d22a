"""A bar chart as SVG that needs no stylesheet beside it: light and dark follow the reader."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from holdfast.figures.markup import Html, element

__all__ = ["bars"]

WIDTH, LEFT, RIGHT, BAR, GAP, TOP = 960, 340, 90, 20, 8, 34
STYLE: Final = (
    "text{font:14px system-ui,sans-serif;fill:#24292f}.head{font-weight:600}"
    ".ours{fill:#0969da}.peer{fill:#8c959f}.floor{fill:none;stroke:#8c959f;stroke-dasharray:4 3}"
    "@media(prefers-color-scheme:dark){text{fill:#e6edf3}.ours{fill:#4493f8}}"
)


def bars(title: str, values: Sequence[tuple[str, float, str]]) -> str:
    """Horizontal bars of (label, value, kind); kinds are `ours`, `peer` and `floor`."""
    most = max(value for _, value, _ in values)
    height = TOP + len(values) * (BAR + GAP)
    parts = [
        element("title", {}, title),
        element("style", {}, Html(STYLE)),
        element("text", {"class": "head", "x": 0, "y": 16}, title),
    ]
    for number, (label, value, kind) in enumerate(values):
        y, wide = TOP + number * (BAR + GAP), value / most * (WIDTH - LEFT - RIGHT)
        parts += [
            element("text", {"x": LEFT - 10, "y": y + 15, "text-anchor": "end"}, label),
            element("rect", {"class": kind, "x": LEFT, "y": y, "width": round(wide, 1), "height": BAR, "rx": 2}),
            element("text", {"x": LEFT + round(wide, 1) + 8, "y": y + 15}, f"{value:,.0f}"),
        ]
    box = {"xmlns": "http://www.w3.org/2000/svg", "viewBox": f"0 0 {WIDTH} {height}", "role": "img"}
    return element("svg", box, *parts) + "\n"
