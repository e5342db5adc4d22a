"""What the settings say about who may ask: the admission, the host names and the certificate of one serving process."""

from __future__ import annotations

from pathlib import Path

from holdfast.access import KeyRing, pepper
from holdfast.config import Serve
from holdfast.http.app import LOOPBACK
from holdfast.http.tls import Certificate
from holdfast.serve.budgets import Budgets
from holdfast.serve.guards import Admission
from holdfast.serve.load import Load

__all__ = ["admission", "certificate", "host_names", "tls_files"]

BUDGETS = "budgets"


def admission(settings: Serve, run: Path, keys: Path, name: str) -> Admission:
    """Of the worker with this name: `w0`, `w1` ..."""
    load, deadline_s = Load(settings.queue_ms / 1e3), settings.deadline_ms / 1e3
    if settings.keys == "off":
        return Admission(load=load, deadline_s=deadline_s)
    budgets = Budgets(run / BUDGETS, int(name.removeprefix("w")), settings.workers)
    return Admission(KeyRing(run, pepper(keys)), budgets, load, deadline_s=deadline_s)


def host_names(settings: Serve) -> frozenset[str] | None:
    """Under which the port answers; None: any. A page that a browser loads elsewhere cannot know a key, so with keys and an
    address of its own the port needs no list.
    """
    if settings.hosts:
        return LOOPBACK | {name.lower() for name in settings.hosts}
    return LOOPBACK if settings.host in LOOPBACK else None


def certificate(settings: Serve, folder: Path) -> Certificate | None:
    """None for plain HTTP. Paths are relative to the workspace's folder."""
    files = tls_files(settings, folder)
    return Certificate(*files) if files else None


def tls_files(settings: Serve, folder: Path) -> tuple[Path, Path] | None:
    """Where certificate and key stand, which may be one file; None without TLS."""
    if not settings.tls_cert:
        return None
    return folder / settings.tls_cert, folder / (settings.tls_key or settings.tls_cert)
