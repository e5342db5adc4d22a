"""TLS for the gRPC port: the same files as the inference port's, read again for new connections when they change.

A broken file, or half of a renewal (the certificate is there, its key not yet), changes nothing until it is whole.
"""

from __future__ import annotations

import ssl
import sys
from pathlib import Path
from typing import Any

import grpc

from holdfast.errors import ServeError

__all__ = ["credentials"]

Mark = tuple[tuple[int, int], ...]


def credentials(cert: Path, key: Path) -> Any:
    """What a server shows to its clients; raises ServeError if the files cannot be used.

    Args:
        cert: chain in PEM, the server's own first.
        key: its private key; it may stand in the same file.
    """
    files = _Files(cert, key)
    try:
        first = files.load()
    except OSError as bad:  # ssl.SSLError is one
        why = getattr(bad, "reason", None) or bad.strerror or bad
        raise ServeError(
            f"the certificate cannot be used: {str(why).lower().replace('_', ' ')}",
            f"{cert}, {key}",
            "check [serve] tls_cert and tls_key",
        ) from None
    return grpc.dynamic_ssl_server_credentials(first, files.newer, require_client_authentication=False)


class _Files:
    def __init__(self, cert: Path, key: Path) -> None:
        self._cert = cert
        self._key = key
        self._seen: Mark = ()

    def load(self) -> Any:
        """The files as gRPC wants them, tried beforehand: gRPC itself would only fail every handshake."""
        self._seen = self._mark()
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self._cert, self._key, password="")
        return grpc.ssl_server_certificate_configuration([(self._key.read_bytes(), self._cert.read_bytes())])

    def newer(self) -> Any:
        """Called for every new connection, in a thread of gRPC's: None means that nothing has changed."""
        try:
            return None if self._mark() == self._seen else self.load()
        except OSError as bad:
            sys.stderr.write(f"the new certificate is not used: {bad}\n")
            return None

    def _mark(self) -> Mark:
        found = [path.stat() for path in (self._cert, self._key)]
        return tuple((one.st_ino, one.st_mtime_ns) for one in found)
