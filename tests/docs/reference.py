"""The pages of docs/reference that are read off the code: the command line, the settings, the errors, the contract.

`make docs-reference` runs this file and writes them; `test_reference.py` fails when one is stale.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from holdfast import config, errors
from holdfast.cli import COMMANDS, cli
from holdfast.core import contract

REFERENCE: Final = Path(__file__).resolve().parents[2] / "docs" / "reference"
HEAD: Final = (
    "<!-- Made from the code by tests/docs/reference.py: change it there, then run `make docs-reference`. -->\n\n"
)
WIDTH: Final = 100


def command_line() -> str:
    """cli.md: what `--help` says, verb by verb."""
    parts = [
        "# Command line\n\n"
        "stdout is data, stderr is messages. With `--json` a verb prints one JSON document. An error is `error[CODE]: what, "
        "where` and a `next:` line; [errors](errors.md) lists the codes.\n\n"
        "A RELEASE is a digest or its first characters, `NAME@live`, `NAME@canary`, or a model version that it was built "
        "from (`models:/name/3`, `models:/name@alias`). Times are ISO 8601, UTC unless they say otherwise.\n\n"
        + _table(
            ("exit", "means"),
            [
                ("0", "good"),
                ("1", "failed"),
                ("2", "wrong usage"),
                ("3", "a gate or an alarm says no"),
                ("130", "Ctrl-C"),
            ],
        )
        + "\n## holdfast\n\n"
        + _help(cli, "holdfast")
    ]
    root = click.Context(cli, info_name="holdfast")
    for verb in COMMANDS:
        command = cli.get_command(root, verb)
        assert command is not None
        parts.append(f"## {verb}\n\n{_help(command, f'holdfast {verb}')}")
    return "\n".join(parts)


def _help(command: click.Command, path: str) -> str:
    context = click.Context(command, info_name=path, terminal_width=WIDTH, help_option_names=["-h", "--help"])
    return f"```text\n{command.get_help(context)}\n```\n"


def configuration() -> str:
    """configuration.md: every setting with its default and its environment twin."""
    said = _fields(config)
    parts = [
        (
            "# Configuration\n\n"
            "A value comes from the command line, else from the environment, else from `holdfast.toml` in the workspace folder, "
            "else it is the default below. An unknown key is refused by name.\n\n"
            '```toml title="holdfast.toml"\n[serve]\nport = 8080\n\n[monitor]\nfalse_alarms_per_year = 1\n\n'
            '[deployments.prices]\ntrain = "train.py:train"\ndata = "original.parquet"\n```\n\n'
            "`HOLDFAST_WORKSPACE` names the workspace folder, as `holdfast -w DIR` does. Without either it is the nearest "
            "folder upwards that holds `.holdfast`.\n"
        )
    ]
    sections = [(field.name, field.type) for field in msgspec.structs.fields(config.Settings)]
    for section, kind in (*sections[:-1], ("deployments.NAME", config.Deployment)):
        rows = []
        for name, default in _defaults(kind):
            twin = "" if "." in section else f"`HOLDFAST_{section}_{name}`".upper()
            rows.append((f"`{name}`", f"`{_toml(default)}`", said[kind.__name__][name], twin))
        parts.append(
            f"## [{section}]\n\n{inspect.getdoc(kind)}\n\n{_table(('key', 'default', 'what', 'environment'), rows)}"
        )
    return "\n".join(parts)


def error_codes() -> str:
    """errors.md: the tree of errors."""
    kinds = [getattr(errors, name) for name in errors.__all__]
    rows = [
        (f"`{kind.code}`", kind.__name__, inspect.getdoc(kind) or "", str(kind.exit_code), str(kind.status))
        for kind in sorted(kinds, key=lambda kind: kind.code)
    ]
    return (
        "# Errors\n\n"
        "Every error says what was wrong, where, and what to do next. Its code is stable.\n\n"
        "- On the command line: `error[CODE]: what, where` and `next: ...` on stderr, and the exit status below. "
        'With `--json` also `{"error": {"code", "what", "where", "next"}}` on stdout.\n'
        "- Over HTTP: an RFC 9457 problem (`application/problem+json`) with the status below and the members `code`, "
        "`detail`, `where`, `next`, `error`; where a row or a field is to blame, `row` and `field`.\n"
        "- In Python: a class of `holdfast.errors`, all under `holdfast.HoldfastError`, with `what`, `where`, `next_step`.\n\n"
        + _table(("code", "class", "means", "exit", "HTTP"), rows)
    )


def contract_fields() -> str:
    """contract.md: what may stand in a contract's YAML."""
    said = _fields(contract)
    parts = [
        (
            "# The contract\n\n"
            "A contract says what a model's inputs and output must look like. It is inferred at build, stored in the release "
            "as `contract.yaml`, and enforced the same way over HTTP, in batch and for labels. "
            "[Edit the contract](../how-to/edit-the-contract.md) shows how to change it.\n\n"
            "Refused with 422, naming row and field: a wrong type, an unknown column, a missing column that the model reads, "
            "`null` where the field is not nullable. "
            "Answered, counted and watched: a value outside the inferred range or categories, unless the field says "
            "`on_violation: reject`.\n"
        )
    ]
    for title, kind in (("The file", contract.Contract), ("fields", contract.Field), ("output", contract.Output)):
        rows = [
            (f"`{name}`", _type(kind, name), _yaml(default), said[kind.__name__].get(name, ""))
            for name, default in _defaults(kind)
        ]
        parts.append(f"## {title}\n\n{inspect.getdoc(kind)}\n\n{_table(('key', 'type', 'default', 'what'), rows)}")
    parts.append(
        "## Marks\n\n"
        + _table(
            ("mark", "means"),
            [
                ("`timestamp`", "Event time, ISO 8601 text. Without one, a row's time is when it arrives."),
                ("`key`", "Names what the prediction is about. Labels join by it, and a canary answers the same keys."),
                ("`calendar`", "Leaves its range by construction (a year, a running number). Checked, never drift-monitored."),
                ("`personal`", "Kept out of the prediction log, unless `log` says otherwise, and then not monitored."),
                ("`protected`", "A column that fairness is about. Recorded today; audits come later."),
            ],
        )
    )  # fmt: skip
    return "\n".join(parts)


PAGES: Final[dict[str, Callable[[], str]]] = {
    "cli.md": command_line,
    "configuration.md": configuration,
    "contract.md": contract_fields,
    "errors.md": error_codes,
}

_NEEDED: Final = object()


def pages() -> dict[Path, str]:
    """Every generated page and its text."""
    return {REFERENCE / name: HEAD + write().rstrip() + "\n" for name, write in PAGES.items()}


def _defaults(kind: Any) -> list[tuple[str, Any]]:
    return [
        (field.name, _NEEDED if field.default is msgspec.NODEFAULT else field.default)
        for field in msgspec.structs.fields(kind)
    ]


def _fields(module: Any) -> dict[str, dict[str, str]]:
    """Class -> field -> the string that stands below it."""
    found: dict[str, dict[str, str]] = {}
    for node in ast.parse(inspect.getsource(module)).body:
        if not isinstance(node, ast.ClassDef):
            continue
        said = found.setdefault(node.name, {})
        for one, after in zip(node.body, node.body[1:], strict=False):
            if (
                isinstance(one, ast.AnnAssign)
                and isinstance(one.target, ast.Name)
                and isinstance(after, ast.Expr)
                and isinstance(after.value, ast.Constant)
            ):
                said[one.target.id] = " ".join(str(after.value.value).split())
    return found


def _type(kind: Any, name: str) -> str:
    """The annotation as a person reads it; a long list of choices is written out."""

    def words(of: Any) -> str:
        match of:
            case msgspec.inspect.LiteralType():
                return ", ".join(f"`{value}`" for value in of.values)
            case msgspec.inspect.UnionType():
                return " or ".join(words(part) for part in of.types if not isinstance(part, msgspec.inspect.NoneType))
            case msgspec.inspect.VarTupleType():
                return f"list of {words(of.item_type)}"
            case msgspec.inspect.StructType():
                return f"`{of.cls.__name__.lower()}`, below"
            case _:
                return {
                    "StrType": "text",
                    "FloatType": "number",
                    "IntType": "whole number",
                    "BoolType": "true or false",
                }[type(of).__name__]

    info: Any = msgspec.inspect.type_info(kind)
    return words(next(field.type for field in info.fields if field.name == name))


def _toml(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value).lower()


def _yaml(value: Any) -> str:
    """A default as a table's cell shows it."""
    if value is _NEEDED:
        return "needed"
    if value in (None, (), ""):
        return "-"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


if __name__ == "__main__":
    for path, text in pages().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        sys.stderr.write(f"wrote {path}\n")
