"""What the doors of the control port share: walls, errors over HTTP, pages with JSON twins, examples from a contract."""

from __future__ import annotations

from holdfast.web.site import Site, application

__all__ = ["Site", "application"]
