"""The control port as one application: control API and console behind the same walls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast import api, console
from holdfast.web.site import Site, application

if TYPE_CHECKING:
    from starlette.applications import Starlette

__all__ = ["control_app"]


def control_app(site: Site) -> Starlette:
    """API first: its paths are exact, the console's are for people."""
    return application([*api.routes(site), *console.routes(site)], console.error_page)
