"""Which outputs a request of the Open Inference Protocol asks for, and which of them as bytes behind the JSON.

`outputs` names them; `parameters.binary_data` of one, or `parameters.binary_data_output` of the request for all, asks for bytes.
Parameters that nobody here knows are let pass, as the protocol says; those that would change the answer's meaning are refused.
"""

from __future__ import annotations

from typing import Any, Final

from holdfast.core.contract import Output
from holdfast.errors import MalformedRequest

__all__ = ["NOTHING", "wanted"]

NOTHING: Final[tuple[tuple[str, ...], frozenset[str]]] = ((), frozenset())
REFUSED: Final = ("classification", "shared_memory_region")


def wanted(outputs: Any, parameters: Any, output: Output) -> tuple[tuple[str, ...], frozenset[str]]:
    """The outputs asked for in that order (empty: all), and which of all as bytes; MalformedRequest if there is none such."""
    if not outputs and not parameters:
        return NOTHING
    there = output.tensors
    every = _flag(parameters, "binary_data_output", "parameters", default=False)
    if not outputs:
        return (), frozenset(there) if every else frozenset()
    if not isinstance(outputs, list) or not all(isinstance(one, dict) for one in outputs):
        raise MalformedRequest("'outputs' is not a list of names", "outputs", 'send [{"name": "..."}], or leave it out')
    names, binary = [], set()
    for one in outputs:
        name = one.get("name")
        if name not in there:
            raise MalformedRequest(f"no output '{str(name)[:60]}'", "outputs", f"the outputs are: {', '.join(there)}")
        if name in names:
            raise MalformedRequest(f"output '{name}' is asked for twice", "outputs", "name it once")
        names.append(name)
        if _flag(one.get("parameters"), "binary_data", f"outputs, '{name}'", default=every):
            binary.add(name)
    return tuple(names), frozenset(binary)


def _flag(parameters: Any, name: str, where: str, *, default: bool) -> bool:
    if parameters is None:
        return default
    if not isinstance(parameters, dict):
        raise MalformedRequest("'parameters' is not an object", where, "send an object, or leave it out")
    for unable in REFUSED:
        if unable in parameters:
            raise MalformedRequest(f"'{unable}' is not spoken here", where, "leave it out")
    found = parameters.get(name, default)
    if not isinstance(found, bool):
        raise MalformedRequest(f"'{name}' is neither true nor false", where, "send true or false")
    return found
