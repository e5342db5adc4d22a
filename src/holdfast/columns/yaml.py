"""The contract as a YAML file for people: comments say what each setting does, and errors name the line or the field."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec
import yaml

from holdfast.core.contract import Contract
from holdfast.errors import InvalidInput, UsageError

__all__ = ["dump_yaml", "load_yaml"]

_HEAD: Final = """\
# The contract: what this model's inputs and output must look like. It was inferred from data; edit it where you know better.
#
# Each field: name, datatype (BOOL, INT8 to INT64, UINT8 to UINT32, FP32, FP64, or BYTES for text) and, where they apply:
#   nullable      true: may be missing (JSON null)
#   feature       false: the model does not read it, and a request may leave it out
#   minimum, maximum, categories   what was seen; other values are counted and flagged, not refused ...
#   on_violation  reject: ... unless this says so
#   marks         timestamp: event time, ISO 8601       key: joins labels, keeps a canary's answers sticky
#                 calendar: leaves its range by construction, never drift-monitored
#                 personal: kept out of the prediction log          protected: watched for fairness
#   log           keep, drop or hash: what the prediction log keeps of it
#   importance    its share of the alarm budget, relative to the other fields
"""
_TIMEZONE: Final = "# Where times without a zone are read.\n"
_OUTPUT: Final = (
    "# classes: in the order of the probabilities; of two, the second is the positive one, from `threshold` on.\n"
)
_SHAPE: Final = "# How the features of a row are arranged: one tensor [n, ...] may hold them.\n"
_BREAKS: Final = frozenset("\x85\u2028\u2029")
_PLACE: Final = re.compile(r"\$\.fields\[(\d+)\](?:\.(\w+))?")


class _Inline(list[Any]):
    """A list that is written on one line."""


class _Dumper(yaml.SafeDumper):
    """Indents lists below their key."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: FBT001, FBT002
        super().increase_indent(flow, False)


_Dumper.add_representer(
    _Inline, lambda dumper, values: dumper.represent_sequence("tag:yaml.org,2002:seq", values, flow_style=True)
)


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    """PyYAML folds Unicode's own line breaks into blanks unless they are escaped, which double quotes do."""
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style='"' if _BREAKS & set(value) else None)


_Dumper.add_representer(str, _text)


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Ten times as fast where PyYAML came with libyaml: a contract of a thousand columns is read at each start.

    Refuses a key that stands twice, where YAML itself would silently take the last.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"'{key.value}' stands twice", problem_mark=key.start_mark)
            seen.add(key.value)
        plain: dict[Any, Any] = super().construct_mapping(node, deep)
        return plain


def dump_yaml(contract: Contract) -> str:
    """The file's text; `load_yaml` gives the same contract back."""
    plain = msgspec.to_builtins(contract)
    fields = [_inline(field) for field in plain["fields"]]
    shape = f"{_SHAPE}{_dump({'shape': _Inline(contract.shape)})}\n" if contract.shape else ""
    return (
        f"{_HEAD}\n{_TIMEZONE}{_dump({'timezone': contract.timezone})}\n{shape}"
        f"{_OUTPUT}{_dump({'output': _inline(plain['output'])})}\n"
        f"{_dump({'fields': fields})}"
    )


def load_yaml(text: str, where: str = "contract.yaml") -> Contract:
    """The contract in a file's text; raises InvalidInput naming the line or the field."""
    try:
        plain = yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader
        contract = msgspec.convert(plain, Contract)
    except yaml.MarkedYAMLError as bad:
        mark = bad.problem_mark
        place = f"{where}, line {mark.line + 1}" if mark else where
        raise InvalidInput(f"not valid YAML: {bad.problem}", place, "mend the line named above") from None
    except (yaml.YAMLError, RecursionError):
        raise InvalidInput("not valid YAML", where, "it must be text in UTF-8 without control characters") from None
    except ValueError as bad:
        if not isinstance(bad, msgspec.ValidationError):  # YAML's own types: a date with month 13, say
            raise InvalidInput(f"not valid YAML: {bad}", where, "put the value in quotes") from None
        raise _misplaced(str(bad), plain, where) from None
    except UsageError as bad:
        raise InvalidInput(bad.what, where, bad.next_step) from None
    for field in contract.fields:
        if field.minimum is not None and field.maximum is not None and field.minimum > field.maximum:
            place = f"{where}, field '{field.name}'"
            raise InvalidInput("the minimum is above the maximum", place, "exchange the two", field=field.name)
    return contract


def _misplaced(what: str, plain: Any, where: str) -> InvalidInput:
    """The complaint of msgspec, with the field's name for its number."""
    name = None
    if found := _PLACE.search(what):
        field = plain["fields"][int(found[1])]
        name = str(field.get("name", f"number {int(found[1]) + 1}")) if isinstance(field, dict) else None
    place = f"{where}, field '{name}'" if name else where
    hint = "put the value in quotes" if "Expected `str`" in what else "see the comments at the head of the file"
    return InvalidInput(f"the contract is not right: {what}", place, hint, field=name)


def _inline(plain: dict[str, Any]) -> dict[str, Any]:
    return {name: _Inline(value) if isinstance(value, (list, tuple)) else value for name, value in plain.items()}


def _dump(plain: dict[str, Any]) -> str:
    text: str = yaml.dump(plain, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=116)
    return text
