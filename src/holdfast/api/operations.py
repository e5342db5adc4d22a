"""The control API as a table: every call with its path, its values and its handler. Routes and document come from it alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.routing import Route

from holdfast import status
from holdfast.core.alarm import Alarm
from holdfast.core.deployment import Deployment
from holdfast.core.names import unique_prefix
from holdfast.errors import Conflict, MalformedRequest
from holdfast.status.values import DeploymentView, Overview, ReleaseSummary
from holdfast.web import acts
from holdfast.web.answers import json
from holdfast.web.site import body_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request
    from starlette.responses import Response

    from holdfast.web.site import Site

__all__ = ["OPERATIONS", "Operation", "routes"]


class ReleaseChoice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which release is meant."""

    release: str
    """Digest, whole or its first characters."""


class CanaryChoice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which release answers for how many."""

    release: str
    share: float = 0.1
    """Share of the sticky keys, between 0 and 1."""


class Watched(msgspec.Struct, frozen=True):
    """A look was taken."""

    open_alarms: tuple[str, ...]


class Operation(NamedTuple):
    """One call. `act` gets the site, the path's values and the decoded body, and returns an `answer`."""

    method: str
    path: str
    summary: str
    act: Callable[[Site, dict[str, str], Any], Any]
    answer: Any
    body: Any = None


def _overview(site: Site, _path: dict[str, str], _body: None) -> Overview:
    return status.overview(site.sources, site.clock())


def _deployments(site: Site, _path: dict[str, str], _body: None) -> list[Deployment]:
    with site.database.begin() as stores:
        return stores.deployments.all()


def _deployment(site: Site, path: dict[str, str], _body: None) -> DeploymentView:
    return status.story(site.sources, path["name"], site.clock())


def _releases(site: Site, _path: dict[str, str], _body: None) -> list[ReleaseSummary]:
    return status.release_summaries(site.sources)


def _release(site: Site, path: dict[str, str], _body: None) -> ReleaseSummary:
    digest = unique_prefix(path["digest"], site.digests())
    found = [r for r in status.release_summaries(site.sources) if r.digest == digest]
    return found[0] if found else status.release_summary(site.release(digest))


def _alarms(site: Site, _path: dict[str, str], _body: None) -> list[Alarm]:
    with site.database.begin() as stores:
        return stores.alarms.find()


def _alarm(site: Site, path: dict[str, str], _body: None) -> Alarm:
    with site.database.begin() as stores:
        return stores.alarms.get(path["alarm_id"])


def _accept(site: Site, path: dict[str, str], _body: None) -> Alarm:
    return acts.accept(site, path["alarm_id"])


def _deploy(site: Site, path: dict[str, str], body: ReleaseChoice) -> Deployment:
    return acts.deploy(site, path["name"], body.release)


def _canary(site: Site, path: dict[str, str], body: CanaryChoice) -> Deployment:
    return acts.canary(site, path["name"], body.release, body.share)


def _promote(site: Site, path: dict[str, str], _body: None) -> Deployment:
    return acts.promote(site, path["name"])


def _rollback(site: Site, path: dict[str, str], _body: None) -> Deployment:
    return acts.rollback(site, path["name"])


def _watch(site: Site, _path: dict[str, str], _body: None) -> Watched:
    if site.keeper is None:
        raise Conflict("this server does not keep the workspace", next_step="holdfast monitor")
    site.keeper.catch_up()
    with site.database.begin() as stores:
        return Watched(tuple(a.id for a in stores.alarms.find(only_open=True)))


OPERATIONS = (
    Operation("GET", "/v1/status", "What is where since when", _overview, Overview),
    Operation("GET", "/v1/deployments", "All deployments", _deployments, list[Deployment]),
    Operation("GET", "/v1/deployments/{name}", "Everything about one deployment", _deployment, DeploymentView),
    Operation("POST", "/v1/deployments/{name}:deploy", "Make a release live", _deploy, Deployment, ReleaseChoice),
    Operation("POST", "/v1/deployments/{name}:canary", "Start a canary", _canary, Deployment, CanaryChoice),
    Operation("POST", "/v1/deployments/{name}:promote", "Make the canary live", _promote, Deployment),
    Operation("POST", "/v1/deployments/{name}:rollback", "Stop the canary or return to the release before", _rollback,
              Deployment),
    Operation("GET", "/v1/releases", "All releases", _releases, list[ReleaseSummary]),
    Operation("GET", "/v1/releases/{digest}", "One release, by digest or its first characters", _release, ReleaseSummary),
    Operation("GET", "/v1/alarms", "All alarms, oldest first", _alarms, list[Alarm]),
    Operation("GET", "/v1/alarms/{alarm_id}", "One alarm", _alarm, Alarm),
    Operation("POST", "/v1/alarms/{alarm_id}:accept", "Accept what an alarm saw as the new normal", _accept, Alarm),
    Operation("POST", "/v1/monitor:run", "Look at everything that has come in, now", _watch, Watched),
)  # fmt: skip


def routes(site: Site) -> list[Route]:
    """One route an operation; the longest paths first, so that `{name}` does not swallow `:promote`."""
    ordered = sorted(OPERATIONS, key=lambda o: (":" not in o.path, o.path))
    return [Route(o.path, _endpoint(site, o), methods=[o.method], name=o.summary) for o in ordered]


def _endpoint(site: Site, operation: Operation) -> Callable[[Request], Any]:
    async def call(request: Request) -> Response:
        raw = await body_of(request)
        value = None if operation.body is None else _decode(raw, operation.body)
        return json(await run_in_threadpool(operation.act, site, request.path_params, value))

    return call


def _decode(raw: bytes, kind: Any) -> Any:
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.MsgspecError as bad:
        raise MalformedRequest(str(bad), "request body", "see /openapi.json") from None
