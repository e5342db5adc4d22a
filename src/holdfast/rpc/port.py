"""The gRPC port: a server on the worker's event loop, with the standard health service, limits, and a drain.

Several workers listen on one port (SO_REUSEPORT), and the kernel deals out connections. As a gRPC connection lives long, each is
asked to come again after some minutes, so that a restarted worker gets its share.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from holdfast.errors import HoldfastError, MissingExtra, ServeError
from holdfast.rpc.patience import Patience

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from holdfast.rpc.service import Handler, Service

__all__ = ["RpcPort", "require", "serve"]

CONNECTION_AGE_MS: Final = 300_000
CONNECTION_GRACE_MS: Final = 30_000
KEEPALIVE_MS: Final = 60_000
PING_MS: Final = 10_000
"""Clients may ping this often without being taken for an attack."""
METADATA: Final = 16 << 10
CALLS: Final = 1024
"""At once, whatever is allowed: gRPC's own queue is first come, first served, and nobody waits longer than for so many."""


def require() -> None:
    """Raises MissingExtra if gRPC is not installed."""
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")  # else it writes about its own affairs on stderr
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    if any(find_spec(name) is None for name in ("grpc", "grpc_health")):
        raise MissingExtra("grpc", "[serve] grpc_port")


class RpcPort:
    """A server that answers; `serve` makes it."""

    def __init__(self, server: Any, health: Any, service: Service, sweeper: asyncio.Task[None]) -> None:
        self._server = server
        self._health = health
        self._service = service
        self._sweeper = sweeper

    async def drain(self, grace_s: float = 10.0) -> None:
        """Accept nobody, answer whoever has begun to ask; after `grace_s` the rest is cut off."""
        self._service.draining = True
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace_s)
        self._sweeper.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._sweeper


async def serve(
    address: str,
    service: Service,
    *,
    max_message: int,
    calls: int,
    idle_s: float,
    request_s: float,
    tls: tuple[Path, Path] | None = None,
) -> RpcPort:
    """Answer on `host:port` from now on, until `drain()`.

    Args:
        address: where to listen; other processes may listen there too.
        service: answers.
        max_message: bytes of one message, also unpacked; more is refused as RESOURCE_EXHAUSTED.
        calls: at once; more are refused as RESOURCE_EXHAUSTED.
        idle_s: a connection without calls is closed after so long.
        request_s: a call whose message is not complete by then is refused.
        tls: files of the certificate and of its key; None: plain.
    """
    require()
    import grpc
    from grpc_health.v1 import health, health_pb2, health_pb2_grpc

    from holdfast.rpc.credentials import credentials
    from holdfast.rpc.messages import SERVICE

    server = grpc.aio.server(
        options=[
            ("grpc.so_reuseport", 1),
            ("grpc.max_receive_message_length", max_message),
            ("grpc.max_send_message_length", -1),
            ("grpc.max_metadata_size", METADATA),
            ("grpc.max_connection_idle_ms", int(idle_s * 1000)),
            ("grpc.max_connection_age_ms", CONNECTION_AGE_MS),
            ("grpc.max_connection_age_grace_ms", CONNECTION_GRACE_MS),
            ("grpc.keepalive_time_ms", KEEPALIVE_MS),
            ("grpc.http2.min_ping_interval_without_data_ms", PING_MS),
            ("grpc.keepalive_permit_without_calls", 1),
        ],
        maximum_concurrent_rpcs=min(calls, CALLS),
    )
    patience = Patience(request_s)
    handlers = {
        name: grpc.stream_unary_rpc_method_handler(_read(patience, handler)) for name, handler in service.calls.items()
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    doctor = health.aio.HealthServicer()
    for name in ("", SERVICE):
        await doctor.set(name, health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(doctor, server)
    try:
        if tls is None:
            server.add_insecure_port(address)
        else:
            server.add_secure_port(address, credentials(*tls))
    except RuntimeError as bad:
        raise ServeError(f"the gRPC port cannot be used: {bad}", address, "choose another with --grpc-port") from None
    await server.start()
    return RpcPort(server, doctor, service, asyncio.create_task(patience.sweep()))


def _read(patience: Patience, handler: Handler) -> Callable[[Any, Any], Awaitable[bytes]]:
    """The handler of a call whose message we read ourselves."""
    from holdfast.rpc.statuses import status_of

    async def handle(_: Any, context: Any) -> bytes:
        try:
            body = await patience.read(context)
        except HoldfastError as bad:
            await context.abort(*status_of(bad))
            raise
        return await handler(body, context)

    return handle
