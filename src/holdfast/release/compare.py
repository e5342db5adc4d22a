"""What changed from one release to another, as data: contract, performance, model, reference data, code, dependencies.

    {"contract": {"rooms.maximum": (8.0, 9.0)}, "performance": {"rmse": (0.121, 0.118)}, ...}

Every section maps a name to (before, after); None where one side has none. Equal releases give empty sections.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from holdfast.core.release import MODEL, PYTHON_MODEL, REQUIREMENTS, Manifest
from holdfast.core.variant import Recipe
from holdfast.release.bundle import Release
from holdfast.release.sbom import pins

__all__ = ["diff"]

Changes = dict[str, tuple[Any, Any]]


def diff(old: Release, new: Release) -> dict[str, Changes]:
    """What changed, by section."""
    one, other = old.manifest, new.manifest
    return {
        "contract": _changes(_contract(old), _contract(new)),
        "performance": _changes(_performance(old), _performance(new)),
        "model": _changes(
            {"version": one.model.uri, "flavour": one.model.flavour, "graph": _graph(old)}
            | ({"variant": _variant(one)} if one.variant or other.variant else {}),
            {"version": other.model.uri, "flavour": other.model.flavour, "graph": _graph(new)}
            | ({"variant": _variant(other)} if one.variant or other.variant else {}),
        ),
        "data": _changes(_data(one.data), _data(other.data)),
        "code": _changes(one.code, other.code),
        "dependencies": _changes(_requirements(old) | one.builder, _requirements(new) | other.builder),
    }


def _variant(manifest: Manifest) -> str:
    return msgspec.convert(manifest.variant, Recipe).name


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> Changes:
    names = [*before, *(name for name in after if name not in before)]
    return {n: (before.get(n), after.get(n)) for n in names if before.get(n) != after.get(n)}


def _contract(release: Release) -> dict[str, Any]:
    """Every setting under a name of its own: `rooms.maximum`, `output.threshold`."""
    plain = msgspec.to_builtins(release.contract)
    flat = {
        f"{field['name']}.{name}": value for field in plain["fields"] for name, value in field.items() if name != "name"
    }
    flat |= {f"output.{name}": value for name, value in plain["output"].items()}
    return flat | {"timezone": release.contract.timezone}


def _performance(release: Release) -> dict[str, Any]:
    return {name: metric["value"] for name, metric in release.profile.performance.items()}


def _data(said: Mapping[str, Any]) -> dict[str, Any]:
    """One name per thing that can change: `sha256`, `training data/houses.csv`, `training params.yaml max_depth`."""
    flat = {name: value for name, value in said.items() if name not in {"dvc", "training"}}
    training = said.get("training", {})
    for whose, origin in (("reference", said.get("dvc", {})), ("training", training.get("dvc", {}))):
        for entry in origin.get("inputs", ()):
            flat[f"{whose} {entry['path']}"] = f"md5 {entry['md5']}"
        for file, values in origin.get("params", {}).items():
            flat |= {f"{whose} {file} {name}": value for name, value in values.items()}
    run = training.get("mlflow", {})
    flat |= {f"training {entry['context']} {entry['name']}": entry["digest"] for entry in run.get("datasets", ())}
    return flat | ({"training commit": run["commit"]} if "commit" in run else {})


def _graph(release: Release) -> str | None:
    """Of what answers: the ONNX file, or all files of a Python model."""
    if release.manifest.runtime == "onnx":
        return _digest(release, MODEL)
    files = (f"{one.path} {one.sha256}\n" for one in release.manifest.files if one.path.startswith(f"{PYTHON_MODEL}/"))
    return hashlib.sha256("".join(files).encode()).hexdigest()


def _digest(release: Release, name: str) -> str | None:
    return next((entry.sha256 for entry in release.manifest.files if entry.path == name), None)


def _requirements(release: Release) -> dict[str, str]:
    return {pin.name: pin.version for pin in pins((release.path / REQUIREMENTS).read_text(encoding="utf-8"))}
