"""What stands before every page and every call: who may ask, and what a browser may do with the answer.

The control port trusts the machine it runs on, so the danger is a browser on that machine that somebody else's page steers.
Three walls: the `Host` header must be loopback (DNS rebinding), a state-changing request that a browser sends must come from
our own page (`Sec-Fetch-Site`, else `Origin` against `Host`: the scheme of Go's `http.CrossOriginProtection`), and the
Content-Security-Policy lets a page load nothing but our own files. Programs send neither header and are let through.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders

from holdfast.errors import HoldfastError
from holdfast.web.answers import problem

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["CSP", "HEADERS", "Forbidden", "Shield"]

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)
HEADERS = {
    "content-security-policy": CSP,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


class Forbidden(HoldfastError):
    """Not from here."""

    code = "HF321"
    status = 403


class Shield:
    """ASGI middleware: checks the three walls and adds the headers to every answer, errors included."""

    def __init__(self, app: ASGIApp, hosts: frozenset[str] = LOOPBACK) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse or pass on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("cache-control", "no-store")
            await send(message)

        wrong = self._refusal(scope["method"], Headers(scope=scope))
        app = problem(wrong) if wrong else self._app
        await app(scope, receive, with_headers)

    def _refusal(self, method: str, headers: Headers) -> Forbidden | None:
        host = headers.get("host", "")
        if _hostname(host) not in self._hosts:
            return Forbidden(
                f"this server does not answer for host '{host[:80]}'",
                "header Host",
                "use the address that `holdfast serve` printed",
            )
        if method not in SAFE and _from_elsewhere(host, headers):
            return Forbidden(
                "another site's page may not change anything here", "headers Sec-Fetch-Site, Origin", "use our own page"
            )
        return None


def _hostname(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _from_elsewhere(host: str, headers: Headers) -> bool:
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site not in {"same-origin", "none"}
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc != host
