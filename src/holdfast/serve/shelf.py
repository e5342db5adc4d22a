"""More deployments than fit into memory: models are loaded when somebody asks for them, and the longest unused ones go.

A shelf holds open releases within a budget. A deployment whose releases are not on it is *cold*: its first request waits, off
the event loop, while all others go on. Whatever is newly deployed is still opened and tried at once, so that a broken release
shows when it is deployed and not when it is asked. A request keeps the model that it began with, evicted or not.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple
from weakref import WeakSet

from holdfast.core.deployment import Plan, Track
from holdfast.errors import NotFound, Overloaded
from holdfast.serve.plan import LoadedDeployment, LoadedPlan, LoadedRelease, deployment

__all__ = ["Shelf", "ShelfState", "ShelvedPlan"]

WAITING: Final = 512
"""Requests for cold models that may wait at once."""
LEAST: Final = 128 << 10
"""Bytes of an open release beside its model: session, contract, columns."""
GROWTH: Final = 8
"""An open model takes at most so many times the bytes of its file; trees take seven (measured)."""


class ShelfState(NamedTuple):
    """How full it is, and what the newest load did."""

    models: int
    bytes: int
    evictions: int


class Shelf:
    """Open releases of one process, the longest unused first.

    Args:
        load: opens the release of a digest and tries it; raises what is wrong with it.
        budget: bytes that open models may take; the newest is kept even if it alone takes more.
        changed: told after each load.
    """

    def __init__(
        self,
        load: Callable[[str], tuple[LoadedRelease, Path]],
        budget: int,
        changed: Callable[[ShelfState], None] = lambda _: None,
    ) -> None:
        self._load = load
        self._budget = budget
        self._changed = changed
        self._one = threading.Lock()
        """One is loaded at a time: its memory is measured, and the processor is there for answers."""
        self._open: OrderedDict[str, tuple[LoadedRelease, int]] = OrderedDict()
        self._used = 0
        self._plans: WeakSet[_Shelved] = WeakSet()
        self.threads = ThreadPoolExecutor(1, "load")
        self.waiting = 0

    def find(self, digest: str) -> LoadedRelease | None:
        """An open release, which is now the one used last."""
        found = self._open.get(digest)
        if found is None:
            return None
        try:
            self._open.move_to_end(digest)
        except KeyError:  # evicted by another thread at this moment
            return None
        return found[0]

    def get(self, digest: str) -> LoadedRelease:
        """The release, opened if it was not."""
        with self._one:
            found = self.find(digest)
            if found is not None:
                return found
            before = _resident()
            release, model = self._load(digest)
            size = model.stat().st_size
            took = min(max(_resident() - before, size), GROWTH * size) + LEAST
            evicted = self._make_room(took)
            self._open[digest] = release, took
            self._used += took
        self._changed(ShelfState(len(self._open), self._used, evicted))
        return release

    def plan(self, plan: Plan, previous: Sequence[LoadedPlan]) -> ShelvedPlan:
        """A plan whose models come from here; what it newly names, compared with the previous ones, is tried now."""
        known = {digest for one in previous for name in one.deployments for digest, _ in one.tracks(name)}
        if previous:
            for routes in plan.deployments.values():
                for route in routes:
                    if route.release not in known:
                        self.get(route.release)
        shelved = _Shelved(plan, self)
        self._plans.add(shelved)
        return ShelvedPlan(plan.generation, shelved, shelved)

    def close(self) -> None:
        """Wait for the thread."""
        self.threads.shutdown()

    def _make_room(self, size: int) -> int:
        evicted = 0
        while self._open and self._used + size > self._budget:
            _, (_, freed) = self._open.popitem(last=False)
            self._used -= freed
            evicted += 1
        if evicted:
            for plan in self._plans:
                plan.forget()
            _trim()
        return evicted


class _Shelved(Mapping[str, LoadedDeployment]):
    """Deployments of a plan by name; asking for a cold one loads it."""

    def __init__(self, plan: Plan, shelf: Shelf) -> None:
        self.plan = plan
        self.shelf = shelf
        self._ready: dict[str, LoadedDeployment] = {}

    def __getitem__(self, name: str) -> LoadedDeployment:
        return self.ready(name) or deployment(self.plan, name, self.shelf.get)

    def __contains__(self, name: object) -> bool:
        return name in self.plan.deployments

    def __iter__(self) -> Iterator[str]:
        return iter(self.plan.deployments)

    def __len__(self) -> int:
        return len(self.plan.deployments)

    def __hash__(self) -> int:
        return id(self)

    def ready(self, name: str) -> LoadedDeployment | None:
        """The deployment if all its models are open; they count as used now."""
        found = self._ready.get(name)
        if found is not None and all(self.shelf.find(route.release.digest) for route in found.routes):
            return found
        self._ready.pop(name, None)
        releases = {route.release: self.shelf.find(route.release) for route in self.plan.deployments[name]}
        if not all(releases.values()):
            return None
        found = self._ready[name] = deployment(
            self.plan, name, lambda digest: releases[digest] or self.shelf.get(digest)
        )
        return found

    def forget(self) -> None:
        """Something was evicted, and must not be held here."""
        self._ready.clear()


@dataclass(frozen=True)
class ShelvedPlan(LoadedPlan):
    """A plan with cold deployments."""

    shelved: _Shelved

    def tracks(self, name: str) -> tuple[tuple[str, Track], ...]:
        """From the plan itself."""
        if name not in self.shelved:
            self.deployment(name)
        return tuple((route.release, route.track) for route in self.shelved.plan.deployments[name])

    def apart(self, name: str) -> bool:
        """Of the models that are open."""
        found = self.shelved.ready(name) if name in self.shelved else None
        return found is not None and any(route.release.apart for route in found.routes)

    def cold(self, name: str) -> bool:
        """Unknown names are not: they are refused at once."""
        return name in self.shelved and self.shelved.ready(name) is None

    async def warmed(self, name: str) -> LoadedPlan:
        """A plan of this deployment alone, which keeps its models open; raises what is wrong with them."""
        shelf = self.shelved.shelf
        if shelf.waiting >= WAITING:
            raise Overloaded(
                "too many requests wait for models to be loaded", f"model '{name}'", "try again in a second"
            )
        shelf.waiting += 1
        try:
            found = await asyncio.get_running_loop().run_in_executor(shelf.threads, self.shelved.__getitem__, name)
        except KeyError:
            raise NotFound(f"no deployment '{name[:64]}'") from None
        finally:
            shelf.waiting -= 1
        return LoadedPlan(self.generation, {name: found})


def _resident() -> int:
    """Bytes of this process in memory; 0 where the kernel does not say."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 0


def _trim() -> None:
    """Give memory that was freed back to the system: glibc would keep it for ever."""
    if _MALLOC_TRIM is not None:
        _MALLOC_TRIM(0)


_MALLOC_TRIM: Final = getattr(ctypes.CDLL(None), "malloc_trim", None)
