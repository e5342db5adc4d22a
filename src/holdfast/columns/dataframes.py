"""Bodies of `POST /invocations`, as MLflow's and SageMaker's clients send them: data frames, rows, columns and CSV.

    {"dataframe_split": {"columns": ["sqft", "kind"], "data": [[1200, "flat"], ...]}}
    {"dataframe_records": [{"sqft": 1200, "kind": "flat"}, ...]}
    {"instances": [...]}   rows as objects, as lists in the contract's order, or as values where there is one feature
    {"inputs": {"sqft": [1200, ...], ...}}   columns; or rows, as above
    1200,flat   CSV, with or without a line of names before

These clients write NaN for what is missing, which JSON proper does not have: here it is read as null.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from holdfast.columns.field import NotANumber
from holdfast.columns.layout import Layout
from holdfast.columns.names import shown
from holdfast.columns.payloads import JSON, Payload, check_rows, decode_json, read_object, transpose
from holdfast.core.contract import Field
from holdfast.errors import MalformedRequest, TooLarge

__all__ = ["CSV", "decode_invocation"]

CSV: Final = "text/csv"
FORMS: Final = ("dataframe_split", "dataframe_records", "instances", "inputs")
ASIDE: Final = {"params", "parameters"}
"""Arguments of a model's own; there are none here."""
Columns = Mapping[str, Sequence[Any]]
_NAN: Final = NotANumber("NaN")
_NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_MISSING: Final = frozenset({"", "nan", "na", "n/a", "null", "none"})
_TRUTHS: Final = {"true": True, "false": False, "1": True, "0": False}
DIGITS: Final = 18
"""A whole number of so many digits is read exactly."""


def decode_invocation(body: bytes, headers: Mapping[str, str], layout: Layout, max_rows: int) -> Payload:
    """Rows in whatever form the content type says; without one, JSON."""
    media, _, rest = headers.get("content-type", JSON).lower().partition(";")
    if media.strip() == CSV:
        columns, rows = _csv(body, rest, layout, max_rows)
    elif media.strip() in {JSON, ""}:
        columns, rows = _json(body, layout, max_rows)
    else:
        raise MalformedRequest(
            f"content type '{media[:60]}' is not read here", "header Content-Type", f"send {JSON} or {CSV}"
        )
    accept = headers.get("accept", "").lower()
    return Payload(layout.from_values(columns, rows), media=CSV if CSV in accept and JSON not in accept else JSON)


# ---------------------------------------------------------------------------------------------- JSON


def _json(body: bytes, layout: Layout, max_rows: int) -> tuple[Columns, int]:
    document = decode_json(body)
    given = [form for form in FORMS if isinstance(document, dict) and form in document]
    if len(given) != 1:
        raise MalformedRequest(
            f"the body has {len(given)} of {', '.join(FORMS)}", next_step='send one, such as {"dataframe_split": ...}'
        )
    value = read_object(document, {given[0], *ASIDE}, given[0])[given[0]]
    if given[0] == "dataframe_split":
        columns, rows = _split(value, layout, max_rows)
    elif given[0] == "inputs" and isinstance(value, dict):
        columns, rows = _named(value, max_rows)
    else:
        columns, rows = _rows(value, given[0], layout, max_rows)
    if b"NaN" in body:
        columns = {
            name: [None if value == _NAN else value for value in values]
            if NotANumber in set(map(type, values))
            else values
            for name, values in columns.items()
        }
    return columns, rows


def _split(frame: Any, layout: Layout, max_rows: int) -> tuple[Columns, int]:
    if not isinstance(frame, dict) or not frame.keys() <= {"columns", "index", "data"} or "data" not in frame:
        raise MalformedRequest("the frame has no 'data'", "dataframe_split", "give columns and data")
    names = frame.get("columns", layout.required)
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise MalformedRequest("'columns' is not a list of names", "dataframe_split", 'give {"columns": ["..."]}')
    return _listed(frame["data"], names, "dataframe_split", max_rows)


def _rows(rows: Any, form: str, layout: Layout, max_rows: int) -> tuple[Columns, int]:
    if not isinstance(rows, list):
        raise MalformedRequest(f"'{form}' is not a list", form, "send a list of rows")
    if rows and isinstance(rows[0], dict):
        check_rows(len(rows), max_rows)
        return transpose(rows), len(rows)
    if rows and not isinstance(rows[0], list):
        rows = [[row] for row in rows]
    return _listed(rows, layout.required, form, max_rows)


def _listed(rows: Any, names: Sequence[str], form: str, max_rows: int) -> tuple[Columns, int]:
    """Rows that are lists, in the order of these names."""
    if not isinstance(rows, list):
        raise MalformedRequest("the data are not a list of rows", form, "send a list of lists")
    check_rows(len(rows), max_rows)
    if len(set(names)) != len(names):
        raise MalformedRequest("a column is named twice", form, "name each once")
    for number, row in enumerate(rows):
        if not isinstance(row, list):
            raise MalformedRequest(f"{shown(row)} is not a list", row=number, next_step="send every row as a list")
        if len(row) != len(names):
            raise MalformedRequest(
                f"{len(row)} values where {len(names)} columns are",
                row=number,
                next_step=f"give {', '.join(names)[:300]}",
            )
    return dict(zip(names, zip(*rows, strict=True), strict=True)), len(rows)


def _named(columns: dict[str, Any], max_rows: int) -> tuple[Columns, int]:
    """Columns as lists, [n] or [n, 1]; or one row as single values."""
    if columns and not any(isinstance(values, list) for values in columns.values()):
        return {name: [value] for name, value in columns.items()}, 1
    found: dict[str, list[Any]] = {}
    for name, values in columns.items():
        if not isinstance(values, list):
            raise MalformedRequest(f"'{name[:60]}' is not a list", "inputs", "send every column as a list")
        if values and all(isinstance(value, list) and len(value) == 1 for value in values):
            found[name] = [value for (value,) in values]
        else:
            found[name] = values
    lengths = set(map(len, found.values()))
    if len(lengths) > 1:
        raise MalformedRequest("the columns are not of one length", "inputs", "give every column as many values")
    rows = max(lengths, default=0)
    check_rows(rows, max_rows)
    return found, rows


# ---------------------------------------------------------------------------------------------- CSV


def _csv(body: bytes, parameters: str, layout: Layout, max_rows: int) -> tuple[Columns, int]:
    try:
        text = body.decode("utf-8-sig")
        rows = []
        for row in csv.reader(io.StringIO(text, newline=""), strict=True):
            if row:
                rows.append(row)
            if len(rows) > max_rows + 1:
                raise TooLarge(f"more than {max_rows} rows in one request", next_step="send them in parts")
    except (UnicodeDecodeError, csv.Error) as bad:
        raise MalformedRequest(f"the body is not CSV: {str(bad)[:100]}", next_step="send UTF-8, with commas") from None
    names: Sequence[str] = layout.required
    if rows and _has_names(rows[0], parameters, layout):
        names = [name.strip() for name in rows.pop(0)]
    columns, count = _listed(rows, names, "CSV", max_rows)
    fields = {field.name: field for field in layout.contract.fields}
    return {
        name: [_cell(value, fields[name]) for value in values] if name in fields else values
        for name, values in columns.items()
    }, count


def _has_names(first: list[str], parameters: str, layout: Layout) -> bool:
    """Whether the first line names columns: as the content type says, else as it looks. A text may be called like a column."""
    if "header=" in parameters:
        return "header=present" in parameters.replace(" ", "")
    cells = [cell.strip() for cell in first]
    if set(layout.required) <= set(cells):
        return True
    data = len(cells) == len(layout.features) and all(
        not field.numeric or cell.lower() in _MISSING or _NUMBER.fullmatch(cell)
        for field, cell in zip(layout.features, cells, strict=True)
    )
    return not data and not set(layout.names).isdisjoint(cells)


def _cell(text: str, field: Field) -> Any:
    """What JSON would have; text that cannot be read stays as it is and is refused, by row and field, as JSON would be."""
    if not field.numeric or ("key" in field.marks and not field.feature):
        if field.datatype == "BOOL":
            plain = text.strip().lower()
            return _TRUTHS.get(plain, None if plain in _MISSING else text)
        return None if not text and field.nullable else text
    plain = text.strip()
    if _NUMBER.fullmatch(plain):
        return int(plain) if len(plain) <= DIGITS and plain.lstrip("+-").isdecimal() else float(plain)
    return None if plain.lower() in _MISSING else text
