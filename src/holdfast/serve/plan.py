"""The traffic plan, loaded: every release verified, its contract compiled, its model open and tried once.

A `LoadedPlan` is immutable and swapped as a whole; releases that the previous plan had open are used again. Whatever is
wrong with a release shows while it is being loaded, and the plan before it goes on answering.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from holdfast.columns import Layout
from holdfast.core.contract import Contract, Field
from holdfast.core.deployment import Plan, Track
from holdfast.core.names import short
from holdfast.errors import NotFound, ReleaseError

if TYPE_CHECKING:
    from holdfast.core.ports import Direct, Runtime, Session
    from holdfast.release.bundle import Release
from holdfast.serve.joint import Joint

__all__ = [
    "NOTHING",
    "LoadedDeployment",
    "LoadedPlan",
    "LoadedRelease",
    "LoadedRoute",
    "deployment",
    "load",
    "open_loaded",
    "which",
]

FEWEST: Final = 4
"""Characters of a digest that name a version."""


class Kept(NamedTuple):
    """What the log keeps of a batch: numeric columns by row of its matrix (None: all), texts, and what is hashed."""

    names: tuple[str, ...]
    rows: NDArray[np.intp] | None
    texts: frozenset[str]
    hashed: tuple[str, ...]


@dataclass(frozen=True)
class LoadedRelease:
    """A release that can answer."""

    digest: str
    contract: Contract
    layout: Layout
    session: Session

    def kept(self, names: tuple[str, ...]) -> Kept:
        """What the log keeps of the inputs when these numeric columns are given."""
        if names is self.layout.numeric:  # by far the most common, and a long tuple takes a while to hash
            return self._kept_all
        found = self._kept.get(names)
        if found is None:
            found = self._kept[names] = self._kept_of(names)
        return found

    def _kept_of(self, names: tuple[str, ...]) -> Kept:
        logged = {f.name: f.logged for f in self.contract.fields}
        plain = tuple(name for name in names if logged[name] == "keep")
        return Kept(
            names=plain,
            rows=None if plain == names else np.array([names.index(name) for name in plain], dtype=np.intp),
            texts=frozenset(f.name for f in self.contract.fields if not f.numeric and f.logged == "keep"),
            hashed=tuple(name for name, how in logged.items() if how == "hash"),
        )

    @cached_property
    def _kept_all(self) -> Kept:
        return self._kept_of(self.layout.numeric)

    @cached_property
    def _kept(self) -> dict[tuple[str, ...], Kept]:
        return {}

    @cached_property
    def direct(self) -> Direct | None:
        """Answers batches that have all numeric columns; None where the model reads its numbers in another order."""
        return self.session.direct(self.layout.numeric)

    @property
    def apart(self) -> bool:
        """Whether its model answers from another process, so that asking it must not hold the event loop."""
        return self.session.apart

    @cached_property
    def joint(self) -> Joint | None:
        """`direct` for requests in threads, several of which it may answer at once."""
        return None if self.direct is None else Joint(self.direct, self.contract, self.layout.numeric)

    @cached_property
    def key_policy(self) -> str:
        """keep, drop or hash."""
        return self.contract.key.logged if self.contract.key else "keep"

    @cached_property
    def timestamp(self) -> str:
        """Name of the timestamp field; empty if there is none."""
        return self.contract.timestamp.name if self.contract.timestamp else ""

    @cached_property
    def label_values(self) -> dict[str, Any]:
        """Class name -> the label as JSON has it, in the contract's datatype."""
        output = self.contract.output
        return {name: _label_value(output.label_datatype, name) for name in output.classes}


@dataclass(frozen=True)
class LoadedRoute:
    """A release in its role."""

    release: LoadedRelease
    track: Track
    share: float


@dataclass(frozen=True)
class LoadedDeployment:
    """A name that answers."""

    name: str
    salt: str
    live: LoadedRoute
    canary: LoadedRoute | None

    @property
    def routes(self) -> tuple[LoadedRoute, ...]:
        """The live release first."""
        return (self.live,) if self.canary is None else (self.live, self.canary)

    def version(self, version: str) -> LoadedRoute:
        """The route of a version: a release digest, its beginning, or `live` and `canary`."""
        return self.routes[which(self.name, version, [(route.release.digest, route.track) for route in self.routes])]


def which(name: str, version: str, there: Sequence[tuple[str, Track]]) -> int:
    """Which of a deployment's (digest, track) a version means: a digest, its beginning, or a track; raises NotFound."""
    for i, (digest, track) in enumerate(there):
        if version == track or (len(version) >= FEWEST and digest.startswith(version)):
            return i
    names = ", ".join(f"{short(digest)} ({track})" for digest, track in there)
    raise NotFound(f"'{name}' does not answer with version '{version[:64]}'", next_step=f"it has {names}")


@dataclass(frozen=True)
class LoadedPlan:
    """What answers now."""

    generation: int
    deployments: Mapping[str, LoadedDeployment]

    def deployment(self, name: str) -> LoadedDeployment:
        """Raises NotFound with the names there are."""
        found = self.deployments.get(name)
        if found is None:
            near = difflib.get_close_matches(name, self.deployments, n=1)
            names = ", ".join(sorted(self.deployments)[:20])
            hint = f"did you mean '{near[0]}'?" if near else f"there are: {names}" if names else "holdfast deploy"
            raise NotFound(f"no deployment '{name[:64]}'", next_step=hint)
        return found

    def contract(self, name: str) -> Contract:
        """The contract of the deployment's live release; raises NotFound."""
        return self.deployment(name).live.release.contract

    def tracks(self, name: str) -> tuple[tuple[str, Track], ...]:
        """Digest and track of each of a deployment's releases; raises NotFound. Loads nothing."""
        return tuple((route.release.digest, route.track) for route in self.deployment(name).routes)

    @cached_property
    def _apart(self) -> frozenset[str]:
        return frozenset(
            name for name, found in self.deployments.items() if any(route.release.apart for route in found.routes)
        )

    def apart(self, name: str) -> bool:
        """Whether a model of this deployment, which is not cold, answers from another process."""
        return name in self._apart

    def cold(self, name: str) -> bool:
        """Whether a model of this deployment must be loaded before it answers: await `warmed`, then."""
        return False

    async def warmed(self, name: str) -> LoadedPlan:
        """A plan that answers for this deployment at once."""
        return self


NOTHING: Final = LoadedPlan(0, {})
"""Before the first plan."""


def load(
    plan: Plan, open_release: Callable[[str], Release], runtime: Runtime, previous: Sequence[LoadedPlan] = ()
) -> LoadedPlan:
    """Open what a plan names.

    Args:
        plan: the traffic plan.
        open_release: digest -> verified release; raises NotFound, Tampered or Untrusted.
        runtime: opens models.
        previous: plans whose open releases are used again.
    """
    opened = {
        route.release.digest: route.release
        for one in previous
        for found in one.deployments.values()
        for route in found.routes
    }

    def release(digest: str) -> LoadedRelease:
        if digest not in opened:
            opened[digest] = open_loaded(open_release(digest), runtime)
        return opened[digest]

    return LoadedPlan(plan.generation, {name: deployment(plan, name, release) for name in plan.deployments})


def deployment(plan: Plan, name: str, release: Callable[[str], LoadedRelease]) -> LoadedDeployment:
    """A deployment of a plan; `release` gives the releases by digest."""
    routes = {r.track: LoadedRoute(release(r.release), r.track, r.share) for r in plan.deployments[name]}
    return LoadedDeployment(name, plan.salts.get(name, ""), routes["live"], routes.get("canary"))


def open_loaded(release: Release, runtime: Runtime) -> LoadedRelease:
    """A release, its model open and tried once; raises ReleaseError if it cannot answer as its contract says."""
    contract = release.contract
    variant = release.manifest.variant
    session = runtime.load(release.model, threads=variant.get("threads", 0), provider=variant.get("provider", ""))
    try:
        answer = session.run({field.name: _example(field) for field in contract.features})
    except KeyError as bad:
        raise ReleaseError(f"the model reads {bad}, which the contract does not have", str(release.path)) from None
    regression = contract.output.task == "regression"
    name, shape = ("prediction", (1,)) if regression else ("probabilities", (1, len(contract.output.classes)))
    if name not in answer or answer[name].shape != shape:
        given = ", ".join(f"{key} {list(values.shape)}" for key, values in answer.items())
        raise ReleaseError(
            f"the model answers {given} where the contract wants {name} {list(shape)}",
            str(release.path),
            "build the release again",
        )
    found = LoadedRelease(release.digest, contract, Layout(contract), session)
    try:
        _ = found.label_values
    except ValueError:
        raise ReleaseError(
            f"the classes {', '.join(contract.output.classes)[:200]} are not of datatype {contract.output.label_datatype}",
            str(release.path),
            "set label_datatype in the contract and build the release again",
        ) from None
    return found


def _example(field: Field) -> NDArray[Any]:
    """One value that the field may have."""
    if field.numeric:
        return np.array([field.minimum or 0.0])
    first = "false" if field.datatype == "BOOL" else (field.categories or ("",))[0]
    return np.array([first], dtype=object)


def _label_value(datatype: str, name: str) -> Any:
    """Raises ValueError if the name is none of the datatype."""
    if datatype == "BOOL":
        return ("false", "true").index(name) == 1
    if datatype == "BYTES":
        return name
    number = float(name)
    return number if datatype.startswith("FP") else int(number)
