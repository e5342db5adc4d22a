"""From what a release was made, as a tree: model, training data, reference, code, requirements, builder, parent.

Values only; `holdfast inspect` draws them and `--json` prints them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from holdfast.core.names import short
from holdfast.core.release import REQUIREMENTS, Manifest
from holdfast.release.bundle import Release
from holdfast.release.trust import RELEASE, Statement

__all__ = ["Link", "chain"]


class Link(msgspec.Struct, frozen=True):
    """One thing in the chain, and what it came from or consists of."""

    what: str
    detail: str = ""
    links: tuple[Link, ...] = ()


def chain(release: Release, statements: Sequence[Statement] = ()) -> Link:
    """The whole chain of a release; `statements`: what was signed about it later."""
    manifest = release.manifest
    links = [_model(manifest), *_reference(manifest.data), _code(manifest.code), _requirements(release)]
    links.append(Link("builder", ", ".join(f"{name} {version}" for name, version in manifest.builder.items())))
    if manifest.parent:
        links.append(Link("retrained from", short(manifest.parent)))
    links.append(
        Link("files", "", tuple(Link(f.path, f"{f.size:,} B, sha256 {short(f.sha256)}") for f in manifest.files))
    )
    later = tuple(
        Link(s.predicate_type.removeprefix("urn:holdfast:")) for s in statements if s.predicate_type != RELEASE
    )
    if later:
        links.append(Link("signed later", "", later))
    return Link(manifest.name, f"{release.digest} ({manifest.task})", tuple(links))


def _model(manifest: Manifest) -> Link:
    model = manifest.model
    links = [Link(f.path, f"sha256 {short(f.sha256)}") for f in model.files]
    training = manifest.data.get("training", {})
    if origin := training.get("dvc"):
        links.append(_origin("trained", origin))
    run = training.get("mlflow", {})
    if model.run_id:
        at = f", code at {short(run['commit'])}" if "commit" in run else ""
        read = tuple(
            Link(entry["name"], f"{entry['context'] or 'input'}, digest {entry['digest']}")
            for entry in run.get("datasets", ())
        )
        links.append(Link("MLflow run", f"{model.run_id}{at}", read))
    return Link("model", f"{model.uri} ({model.flavour})", tuple(links))


def _reference(data: Mapping[str, Any]) -> list[Link]:
    if "sha256" not in data:
        return [Link("reference", "none was given")]
    name = data.get("path") or data["file"] or "a table from memory"
    made = (_origin("pinned", data["dvc"]),) if "dvc" in data else ()
    return [Link("reference", f"{name}, {data['rows']:,} rows, sha256 {short(data['sha256'])}", made)]


def _origin(word: str, origin: Mapping[str, Any]) -> Link:
    """What DVC says of a file: who pins it, which step made it, and what went in."""
    version = origin["version"]
    by = f" by step '{version['stage']}'" if version["stage"] else ""
    links = [Link(entry["path"], f"md5 {entry['md5']}, {entry['pinned_by']}") for entry in origin["inputs"]]
    for file, values in origin["params"].items():
        links.append(Link(file, ", ".join(f"{name} = {value}" for name, value in values.items())))
    return Link(f"{word}{by}", f"md5 {version['md5']}, {version['pinned_by']}", tuple(links))


def _code(code: Mapping[str, Any]) -> Link:
    if not code:
        return Link("code", "not in git")
    if not code["commit"]:
        return Link("code", f"not known: {code.get('why', '')}")
    state = f"with uncommitted changes, sha256 {short(code.get('changes', ''))}" if code["dirty"] else "clean"
    return Link("code", f"commit {code['commit']}, {state}")


def _requirements(release: Release) -> Link:
    lines = (release.path / REQUIREMENTS).read_text(encoding="utf-8").splitlines()
    pinned = [line.split()[0] for line in lines if "==" in line and not line.startswith("#")]
    shown = ", ".join(pinned[:8]) + (f" and {len(pinned) - 8} more" if len(pinned) > 8 else "")
    return Link("requirements", shown or "not recorded with the model")
