"""gRPC calls as lines of the access log, in the same form as HTTP's."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import unquote

from holdfast.http.access_log import MOST, AccessLog, Line, moment

if TYPE_CHECKING:
    from holdfast.rpc.service import Call

__all__ = ["heard"]


def heard(log: AccessLog) -> Callable[[Call], None]:
    """Writes a call into the log."""
    from holdfast.rpc.messages import SERVICE  # with the libraries of the extra, which the base install does not have

    def write(call: Call) -> None:
        wrong, ids = call.told.wrong, dict(call.told.headers)
        metadata = dict(call.context.invocation_metadata() or ())
        line = Line(
            at=moment(call.at),
            client=_host(call.context.peer()),
            method="POST",
            target=f"/{SERVICE}/{call.name}",
            status=200 if wrong is None else wrong.status,
            ms=round(1e3 * (time.perf_counter() - call.began), 3),
            in_=call.received,
            out=len(call.told.body) if wrong is None else 0,
            agent=str(metadata.get("user-agent", ""))[:MOST],
            request=ids.get("X-Holdfast-Request", ""),
            release=ids.get("X-Holdfast-Release", ""),
            code="" if wrong is None else wrong.code,
        )
        log.note(line)

    return write


def _host(peer: str) -> str:
    """Of `ipv4:127.0.0.1:5000` or `ipv6:%5B::1%5D:5000`; empty for what is none."""
    family, _, rest = peer.partition(":")
    return unquote(rest).rpartition(":")[0].strip("[]") if family.startswith("ipv") else ""
