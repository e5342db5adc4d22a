"""The console: server-rendered pages that answer "is anything wrong?" without leaving this machine."""

from __future__ import annotations

from holdfast.console.pages import error_page, routes

__all__ = ["error_page", "routes"]
