"""What a method and a path mean: the Open Inference Protocol, rows for people, labels, health and metrics; and what MLflow's and
SageMaker's clients ask.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple
from urllib.parse import parse_qs, unquote

from holdfast.errors import NotFound
from holdfast.http.problems import Refused

__all__ = ["Action", "MethodNotAllowed", "action"]

NAME: Final = "NAME"
GET: Final = ("GET", "HEAD")
POST: Final = ("POST",)
_TABLE: Final[dict[tuple[str, ...], tuple[str, tuple[str, ...]]]] = {
    (): ("index", GET),
    ("metrics",): ("metrics", GET),
    ("ping",): ("ping", GET),
    ("health",): ("ping", GET),
    ("version",): ("version", GET),
    ("invocations",): ("invocations", POST),
    ("v2",): ("server", GET),
    ("v2", "health", "live"): ("live", GET),
    ("v2", "health", "ready"): ("ready", GET),
    ("v2", "repository", "index"): ("repository", POST),
    ("v2", "repository", "models", NAME, "load"): ("load", POST),
    ("v2", "repository", "models", NAME, "unload"): ("unload", POST),
    ("v2", "models", NAME): ("metadata", GET),
    ("v2", "models", NAME, "ready"): ("model_ready", GET),
    ("v2", "models", NAME, "infer"): ("infer", POST),
    ("v2", "models", NAME, "invocations"): ("invocations", POST),
    ("v2", "models", NAME, "ping"): ("ping", GET),
}
_VERBS: Final = {"predict": "rows", "label": "label"}


class Action(NamedTuple):
    """What to do, and with which deployment; version None: whatever is live."""

    verb: str
    name: str = ""
    version: str | None = None


class MethodNotAllowed(Refused):
    """The path exists, the method doesn't."""

    def __init__(self, method: str, path: str, allowed: tuple[str, ...]) -> None:
        super().__init__(f"{method} is not for {path}", "the request line", f"use {allowed[0]}", status=405)
        self.allowed = ", ".join(allowed)


@lru_cache(maxsize=1024)
def action(method: str, target: str) -> Action:
    """Read a request line; NotFound or MethodNotAllowed if it means nothing here."""
    path, _, query = target.partition("?")
    if path.startswith("http://"):  # what a proxy is asked
        path = "/" + path.removeprefix("http://").partition("/")[2]
    found, allowed = _find(path)
    if found is None:
        raise NotFound(
            f"there is nothing at {path[:200]}", "", "GET /v2 lists what this port speaks; see the control port"
        )
    if method not in allowed:
        raise MethodNotAllowed(method, path[:200], allowed)
    if found.verb == "invocations" and not found.name:
        return Action(found.verb, _asked_for(query))
    return found


def _asked_for(query: str) -> str:
    """The deployment that a query names; nothing if it names none."""
    try:
        return parse_qs(query, max_num_fields=20).get("deployment", [""])[0]
    except ValueError:
        return ""


def _find(path: str) -> tuple[Action | None, tuple[str, ...]]:
    start, *parts = [unquote(part) for part in path.removesuffix("/").split("/")]
    if start:
        return None, ()
    match parts:
        case ["v1", "models", last] if ":" in last:
            name, _, verb = last.rpartition(":")
            return (Action(_VERBS[verb], name), POST) if name and verb in _VERBS else (None, ())
        case ["v2", "models", name, "versions", version, *rest] if name and version:
            verb, allowed = _TABLE.get(("v2", "models", NAME, *rest), ("", ()))
            return Action(verb, name, version) if verb else None, allowed
        case ["v2", "models", name, *rest] if name:
            verb, allowed = _TABLE.get(("v2", "models", NAME, *rest), ("", ()))
            return Action(verb, name) if verb else None, allowed
        case ["v2", "repository", "models", name, last] if name:
            verb, allowed = _TABLE.get(("v2", "repository", "models", NAME, last), ("", ()))
            return Action(verb, name) if verb else None, allowed
        case _:
            verb, allowed = _TABLE.get(tuple(parts), ("", ()))
            return Action(verb) if verb else None, allowed
