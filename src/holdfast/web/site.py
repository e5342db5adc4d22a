"""The control port's frame: one Starlette application, its walls, and errors as pages for people or problems for programs.

A door adds routes; it reads through `Site`, which carries what doors need of the workspace. Every page has a JSON twin at the
same address with `.json`, made from the same values: what a person sees, a script can read.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from holdfast.errors import HoldfastError, TooLarge
from holdfast.status import Sources
from holdfast.web.answers import json, problem
from holdfast.web.problems import phrase
from holdfast.web.security import Shield

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from starlette.requests import Request
    from starlette.types import ASGIApp

    from holdfast.core.ports import Database
    from holdfast.status import ReleaseView

__all__ = ["Keeper", "Site", "application", "body_of", "twin", "wall_clock"]

MOST_BYTES = 1 << 20
"""No control call needs more."""


def wall_clock() -> int:
    """Microseconds UTC."""
    return time.time_ns() // 1000


class Keeper(Protocol):
    """What a door may ask of the process that watches."""

    def catch_up(self) -> Any:
        """Compact, judge and reconcile all that is there."""
        ...


class Site(NamedTuple):
    """What every control door reads and acts through."""

    database: Database
    release: Callable[[str], ReleaseView]
    """An opened release by whole digest."""
    digests: Callable[[], list[str]]
    log: Path
    run: Path
    per_year: float
    inference: str
    """Address of the inference port as configured, used in examples while no server says otherwise."""
    keeper: Keeper | None = None
    clock: Callable[[], int] = wall_clock

    @property
    def sources(self) -> Sources:
        """What status reads."""
        return Sources(self.database, self.release, self.digests, self.log, self.run, self.per_year)


def twin(path: str, read: Callable[[Request], Any], draw: Callable[[Request, Any], str]) -> list[Route]:
    """A page and its JSON twin. The twin's route stands first: a name may itself contain a dot."""

    def page(request: Request) -> Response:
        return HTMLResponse(draw(request, read(request)))

    def data(request: Request) -> Response:
        return json(read(request))

    return [Route("/index.json" if path == "/" else f"{path}.json", data), Route(path, page)]


async def body_of(request: Request) -> bytes:
    """The request's body, if it is not too large."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > MOST_BYTES:
            raise TooLarge(f"more than {MOST_BYTES} bytes", "request body", "send less")
        parts.append(part)
    return b"".join(parts)


class _Framework(HoldfastError):
    """The framework's own refusals (no such path, wrong method) in our words."""

    def __init__(self, status: int) -> None:
        super().__init__(phrase(status).lower(), next_step="see /openapi.json")
        self.status = status  # type: ignore[misc]


def application(routes: Sequence[Any], error_page: Callable[[Request, HoldfastError], str]) -> ASGIApp:
    """All doors of the control port behind the same walls."""

    def refuse(request: Request, error: HoldfastError) -> Response:
        if "text/html" in request.headers.get("accept", "") and not request.url.path.endswith(".json"):
            return HTMLResponse(error_page(request, error), status_code=error.status)
        return problem(error)

    async def ours(request: Request, error: Exception) -> Response:
        return refuse(request, error if isinstance(error, HoldfastError) else HoldfastError("the server failed"))

    async def framework(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return refuse(request, _Framework(error.status_code))

    handlers = {HoldfastError: ours, HTTPException: framework, Exception: ours}
    # Outside Starlette's own last resort for crashes, so that even that answer has the headers.
    return Shield(Starlette(routes=list(routes), exception_handlers=handlers))
