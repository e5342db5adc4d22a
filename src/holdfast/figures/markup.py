"""Text that is safe to put into a page: elements built from values, everything escaped unless it already is markup.

A figure is a string. It carries classes and presentation attributes only, never `style="..."` and never a script, so that it
draws the same under the console's strict Content-Security-Policy, in a notebook and in a file opened from disk.
"""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Html", "Table", "data_table", "element", "figure", "join", "svg"]


class Html(str):
    """Markup that needs no escaping; Jinja and notebooks ask for `__html__`."""

    __slots__ = ()

    def __html__(self) -> str:
        return self

    def _repr_html_(self) -> str:
        return self


class Table(NamedTuple):
    """The numbers behind a figure, for people who cannot or do not want to read the picture."""

    caption: str
    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


def element(tag: str, attributes: Mapping[str, object] | None = None, *children: str) -> Html:
    """`<tag ...>children</tag>`; attributes that are None are left out, numbers rounded to 1/100, text escaped."""
    words = [tag]
    for name, value in (attributes or {}).items():
        if value is not None:
            words.append(f'{name.rstrip("_").replace("_", "-")}="{html.escape(_text(value))}"')
    return Html(f"<{' '.join(words)}>{join(children)}</{tag}>")


def join(parts: Sequence[str]) -> Html:
    """All parts after each other, escaped where they are not markup."""
    return Html("".join(part if isinstance(part, Html) else html.escape(part) for part in parts))


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.2f}".rstrip("0").rstrip(".") if value == value else "0"  # noqa: PLR0124 - NaN
    return str(value)


def svg(name: str, title: str, description: str, width: float, height: float, *children: str, class_: str = "") -> Html:
    """An image for everybody: role, title and description besides the drawing. `name` must be unique on its page."""
    return element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "class": f"hf-figure {class_}".strip(),
            "viewBox": f"0 0 {_text(float(width))} {_text(float(height))}",
            "role": "img",
            "aria-labelledby": f"{name}-title {name}-desc",
        },
        element("title", {"id": f"{name}-title"}, title),
        element("desc", {"id": f"{name}-desc"}, description),
        *children,
    )


def data_table(table: Table) -> Html:
    """An HTML table: first column is the row's heading, the others are numbers."""
    head = element("thead", {}, element("tr", {}, *(element("th", {"scope": "col"}, h) for h in table.head)))
    rows = (
        element("tr", {}, element("th", {"scope": "row"}, row[0]), *(element("td", {}, cell) for cell in row[1:]))
        for row in table.rows
    )
    return element(
        "table", {"class": "hf-table"}, element("caption", {}, table.caption), head, element("tbody", {}, *rows)
    )


def figure(image: Html, caption: str, tables: Sequence[Table], *, class_: str = "") -> Html:
    """Picture, one sentence that says what it means, and the numbers behind it folded away."""
    numbers = element(
        "details",
        {"class": "hf-data"},
        element("summary", {}, "Numbers"),
        element("div", {"class": "hf-scroll", "tabindex": "0"}, *(data_table(t) for t in tables if t.rows)),
    )
    return element(
        "figure",
        {"class": f"hf {class_}".strip()},
        element("div", {"class": "hf-scroll"}, image),
        element("figcaption", {}, caption),
        numbers if any(t.rows for t in tables) else Html(),
    )
