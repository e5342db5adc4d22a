"""TLS for the inference port: the certificate is read again when its file changes, and no connection notices.

New certificates are tried beside the running ones before they take their place: a broken file, or half of a renewal (the
certificate is there, its key not yet), changes nothing until it is whole.
"""

from __future__ import annotations

import ssl
import sys
from pathlib import Path
from typing import Final

from holdfast.errors import ServeError

__all__ = ["Certificate"]

Mark = tuple[tuple[int, int], ...]
CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""For TLS 1.2; 1.3 has only good ones."""


class Certificate:
    """A certificate chain and its key in PEM files, and the context that shows them.

    Args:
        cert: the chain, the server's own first.
        key: its private key; None: it stands in the same file.

    Raises ServeError if they cannot be used.
    """

    def __init__(self, cert: Path, key: Path | None = None) -> None:
        self._cert = cert
        self._key = key
        self._mark = self._look()
        self.context = self._load()

    def refresh(self) -> bool:
        """Show the newest certificate to whoever connects from now on; whether there was a new one that is good."""
        try:
            mark = self._look()
            if mark == self._mark:
                return False
            self._mark = mark
            self._load()
            self.context.load_cert_chain(self._cert, self._key, password="")
        except (ServeError, OSError) as bad:
            sys.stderr.write(f"the new certificate is not used: {bad}\n")
            return False
        return True

    def _look(self) -> Mark:
        """What changes when a file is replaced."""
        try:
            found = [path.stat() for path in (self._cert, self._key) if path is not None]
        except OSError as bad:
            raise self._unusable(bad) from None
        return tuple((one.st_ino, one.st_mtime_ns) for one in found)

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(CIPHERS)
        context.set_alpn_protocols(["http/1.1"])
        try:
            context.load_cert_chain(self._cert, self._key, password="")  # an empty one: never ask at the terminal
        except (OSError, ValueError) as bad:  # ssl.SSLError is an OSError
            raise self._unusable(bad) from None
        return context

    def _unusable(self, bad: Exception) -> ServeError:
        files = str(self._cert) if self._key is None else f"{self._cert}, {self._key}"
        why = getattr(bad, "reason", None) or getattr(bad, "strerror", None) or bad
        return ServeError(
            f"the certificate cannot be used: {str(why).lower().replace('_', ' ')}",
            files,
            "check [serve] tls_cert and tls_key",
        )
