"""The console's pages: each reads status values and draws them; a button does what the CLI line beside it does.

Without a script every page can be read and every button works. The script only looks again every few seconds, and not
while somebody is reading a folded part.
"""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import jinja2
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from holdfast import status
from holdfast.console import charts
from holdfast.console.words import FILTERS
from holdfast.core.alarm import Alarm
from holdfast.figures import stylesheet
from holdfast.predictions.compact import clock
from holdfast.web import acts, openapi
from holdfast.web.answers import json
from holdfast.web.site import twin

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request

    from holdfast.errors import HoldfastError
    from holdfast.web.site import Site

__all__ = ["error_page", "routes"]

STATIC = {"style.css": "text/css", "refresh.js": "text/javascript", "icon.svg": "image/svg+xml"}

_templates = jinja2.Environment(
    loader=jinja2.PackageLoader("holdfast.console"), autoescape=True, trim_blocks=True, lstrip_blocks=True
)
_templates.filters.update(FILTERS)
_templates.globals.update(spark=charts.spark, story_figure=charts.story_figure, column_figure=charts.column_figure)


def routes(site: Site) -> list[Route]:
    """All pages, their JSON twins, the assets and the forms."""
    console = _Console(site)
    return [
        *twin("/", console.overview, _drawn("overview.html")),
        *twin("/alarms", console.alarms, _drawn("alarms.html")),
        *twin("/alarms/{alarm_id}", console.alarm, _drawn("alarm.html")),
        Route("/deployments/{name}/openapi.json", console.openapi_document),
        Route("/deployments/{name}/api", console.openapi_page),
        Route("/deployments/{name}/promote", console.form(acts.promote), methods=["POST"]),
        Route("/deployments/{name}/rollback", console.form(acts.rollback), methods=["POST"]),
        Route("/alarms/{alarm_id}/accept", console.accept, methods=["POST"]),
        *twin("/deployments/{name}", console.deployment, _drawn("deployment.html")),
        Route("/static/figures.css", lambda _: _asset(stylesheet(), "text/css")),
        *(Route(f"/static/{name}", _static(name, media)) for name, media in STATIC.items()),
    ]


def error_page(request: Request, error: HoldfastError) -> str:
    """An error for people: what, where, next."""
    return _templates.get_template("error.html").render(request=request, error=error)


def _drawn(template: str) -> Callable[[Request, Any], str]:
    def draw(request: Request, view: Any) -> str:
        return _templates.get_template(template).render(request=request, view=view)

    return draw


def _static(name: str, media: str) -> Callable[[Request], Response]:
    text = resources.files("holdfast.console").joinpath("static", name).read_text(encoding="utf-8")

    def asset(_: Request) -> Response:
        return _asset(text, media)

    return asset


def _asset(text: str, media: str) -> Response:
    return Response(text, media_type=media, headers={"cache-control": "max-age=300"})


class _Console:
    """The handlers; each is a plain function in the thread pool, since stores are synchronous."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def overview(self, _: Request) -> status.Overview:
        return status.overview(self._site.sources, self._site.clock())

    def deployment(self, request: Request) -> status.DeploymentView:
        return status.story(self._site.sources, request.path_params["name"], self._site.clock())

    def alarms(self, _: Request) -> dict[str, Any]:
        with self._site.database.begin() as stores:
            found = stores.alarms.find()
            clocks = {a.deployment: clock(stores, a.deployment, self._site.clock()) for a in found}
        return {"schema": 1, "at": self._site.clock(), "clocks": clocks, "alarms": found[::-1]}

    def alarm(self, request: Request) -> Alarm:
        with self._site.database.begin() as stores:
            return stores.alarms.get(request.path_params["alarm_id"])

    def openapi_document(self, request: Request) -> Response:
        return json(self._document(request))

    def openapi_page(self, request: Request) -> Response:
        document = self._document(request)
        name = request.path_params["name"]
        page = _templates.get_template("openapi.html").render(request=request, name=name, document=document)
        return Response(page, media_type="text/html")

    def _document(self, request: Request) -> dict[str, Any]:
        with self._site.database.begin() as stores:
            deployment = stores.deployments.get(request.path_params["name"])
        serving = status.server(self._site.run)
        release = self._site.release(deployment.live)
        return openapi.inference(deployment.name, release, serving.inference or self._site.inference)

    def form(self, act: Callable[[Site, str], object]) -> Callable[[Request], Response]:
        """A button on a deployment's page."""

        def press(request: Request) -> Response:
            name = request.path_params["name"]
            act(self._site, name)
            return RedirectResponse(f"/deployments/{quote(name)}", status_code=303)

        return press

    def accept(self, request: Request) -> Response:
        alarm = acts.accept(self._site, request.path_params["alarm_id"])
        return RedirectResponse(f"/deployments/{quote(alarm.deployment)}", status_code=303)
