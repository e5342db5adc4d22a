"""Follow an alias: when it moves in the registry, build the version that it names now, and propose it.

The new version gets the live release's reference, as it was pinned, what the user said of its columns, and the same variant;
so both are judged on the same rows. Nothing is deployed. What could not be built is recorded with the reason, and tried again
only when the alias moves on or a person asks.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from holdfast.build.packaged import AsPython
from holdfast.build.pipeline import Parts, build
from holdfast.build.reproduce import Project, marks_of, reference_of, wish_of
from holdfast.decide.proposals import propose, refuse
from holdfast.errors import HoldfastError, UsageError
from holdfast.release.compare import diff

if TYPE_CHECKING:
    from holdfast.core.ports import Database
    from holdfast.decide.actions import Actor
    from holdfast.release.bundle import Release

__all__ = ["Followed", "follow"]


class Followed(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one look at an alias."""

    deployment: str
    alias: str
    model: str
    """The version that it names now."""
    release: str = ""
    """Built and proposed in this look; empty: nothing moved, it was proposed before, or it could not be built."""
    changes: dict[str, tuple[float | None, float | None]] = {}
    """Of the performance, live against proposed, on the same reference."""
    why: str = ""
    """Why it could not be built."""


def follow(
    parts: Parts,
    project: Project,
    database: Database,
    actor: Actor,
    release_of: Callable[[str], Release],
    name: str,
    alias: str,
    *,
    again: bool = False,
    progress: Callable[[str], None] = lambda _: None,
) -> Followed:
    """One look at `alias` of the model behind deployment `name`.

    Args:
        parts: of the build.
        project: code and data.
        database: deployments and record.
        actor: in whose name it is proposed.
        release_of: opens a release.
        name: the deployment.
        alias: as MLflow has it, such as `champion`.
        again: also build what could not be built before.
        progress: called with each step's name as it begins.
    """
    with database.read() as stores:
        live = release_of(stores.deployments.get(name).live)
        events = stores.trail.read(name)
    registered = live.manifest.model.name
    if not registered:
        raise UsageError(
            f"'{name}' runs a model that is no registered version",
            live.manifest.model.uri,
            "register it, build models:/NAME/1 and deploy that",
        )
    model = parts.registry.resolve(f"models:/{registered}@{alias}")
    seen = Followed(deployment=name, alias=alias, model=model)
    newest = next((e for e in reversed(events) if e.verb == "propose"), None)
    if model == live.manifest.model.uri:
        if newest is not None and newest.data["model"] != model:  # it moved away and came back
            propose(database, actor, name, live, alias=alias)
        return seen
    if newest is not None and newest.data["model"] == model and not (again and not newest.release):
        return seen
    try:
        with tempfile.TemporaryDirectory(prefix="holdfast-") as folder:
            built = build(
                parts,
                model,
                reference_of(live.manifest.data, project, project.folder, Path(folder)),
                marks=marks_of(live),
                name=live.manifest.name,
                code=project.code_state(project.folder),
                python=AsPython(wanted=live.manifest.runtime == "python"),
                wish=wish_of(live),
                purpose=live.manifest.recipe.get("purpose", ""),
                progress=progress,
            )
    except HoldfastError as bad:
        refuse(database, actor, name, alias=alias, model=model, why=str(bad))
        return msgspec.structs.replace(seen, why=str(bad))
    propose(database, actor, name, built, alias=alias)
    return msgspec.structs.replace(seen, release=built.digest, changes=diff(live, built)["performance"])
