"""The bill of materials of a release: the model as a component, what it was trained and built with, and the data.

CycloneDX 1.6 in JSON, with a machine-learning model card. It is written here and not by cyclonedx-python-lib, whose objects
have no place for a model card (docs/decisions/0020); the tests hold it to the official schema. It is part of the release, so it
names no time and draws no number: the same release has the same bill.

What ran at training is marked `excluded`: a server of the release needs none of it. A Python release needs all of it.

References: CycloneDX 1.6 (ECMA-424); Package URL specification.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec

from holdfast.core.contract import Contract
from holdfast.core.profile import Profile
from holdfast.core.release import CONTRACT, MODEL, REFERENCE, REQUIREMENTS, Manifest

__all__ = ["Pin", "make_sbom", "normal", "pins"]

NAMESPACE: Final = uuid.UUID("6f1c5c1e-6b1b-5d0e-9a3e-3f0c1c9b7a10")
"""Of the serial numbers."""
_PIN: Final = re.compile(r"^\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[[^\]]*\])?\s*(?:===?\s*([A-Za-z0-9.!+_-]+))?")
_HASH: Final = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_SEPARATORS: Final = re.compile(r"[-_.]+")


class Pin(NamedTuple):
    """A Python package that a release names; without a version where it names none."""

    name: str
    version: str
    hashes: tuple[str, ...] = ()


def normal(name: str) -> str:
    """A package's name as PyPI compares it (PEP 503)."""
    return _SEPARATORS.sub("-", name).lower()


def pins(requirements: str) -> list[Pin]:
    """The packages of a requirements file, by name, with the hashes that are locked."""
    found: dict[str, Pin] = {}
    for line in requirements.replace("\\\n", " ").splitlines():
        text = line.partition(" #")[0].strip()
        if not text or text.startswith(("#", "-")):
            continue
        if match := _PIN.match(text):
            found[normal(match[1])] = Pin(normal(match[1]), match[2] or "", tuple(_HASH.findall(text)))
    return [found[name] for name in sorted(found)]


def make_sbom(manifest: Manifest, contract: Contract, profile: Profile, files: Mapping[str, bytes]) -> bytes:
    """The bill as the bytes of its file; `files`: the release's other files, the requirements among them."""
    role, scope = ("runtime", "required") if manifest.runtime == "python" else ("training", "excluded")
    trained = [_library(pin, role, scope) for pin in pins(files[REQUIREMENTS].decode())]
    known = {(one["name"], one.get("version")) for one in trained}
    built = [
        _library(Pin(normal(name), version), "build", "excluded")
        for name, version in sorted(manifest.builder.items())
        if (normal(name), version) not in known and name != "holdfast"
    ]
    data = _data(manifest)
    model = _model(manifest, contract, profile, files)
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": model,
            "tools": {"components": [_tool(manifest)]},
        },
        "components": [*data, *trained, *built],
        "dependencies": [
            {"ref": "model", "dependsOn": sorted({one["bom-ref"] for one in (*data, *trained)})},
        ],
    }
    digest = hashlib.sha256(msgspec.json.encode(document, order="sorted")).hexdigest()
    document["serialNumber"] = f"urn:uuid:{uuid.uuid5(NAMESPACE, digest)}"
    return msgspec.json.format(msgspec.json.encode(document, order="sorted"), indent=1) + b"\n"


def _tool(manifest: Manifest) -> dict[str, Any]:
    return {"type": "application", "name": "holdfast", "version": manifest.builder.get("holdfast", "")}


def _library(pin: Pin, role: str, scope: str) -> dict[str, Any]:
    purl = f"pkg:pypi/{pin.name}" + (f"@{pin.version}" if pin.version else "")
    found: dict[str, Any] = {
        "type": "library",
        "bom-ref": f"{role}:{purl}",
        "name": pin.name,
        "purl": purl,
        "scope": scope,
        "properties": [{"name": "holdfast:role", "value": role}],
    }
    if pin.version:
        found["version"] = pin.version
    if pin.hashes:
        # A hash each of the wheels and the source; the lock does not say which file is which.
        found["properties"] += [{"name": "holdfast:sha256", "value": value} for value in pin.hashes]
    return found


def _data(manifest: Manifest) -> list[dict[str, Any]]:
    """The reference, by its digest."""
    digest = str(manifest.data.get("sha256", ""))
    if not digest:
        return []
    name = str(manifest.data.get("file") or "a table in memory")
    rows = {"name": "holdfast:rows", "value": str(manifest.data.get("rows", ""))}
    one = {"type": "data", "bom-ref": "data", "name": name, "hashes": [_sha256(digest)], "properties": [rows]}
    return [one | {"data": [{"type": "dataset", "name": name}]}]


def _model(manifest: Manifest, contract: Contract, profile: Profile, files: Mapping[str, bytes]) -> dict[str, Any]:
    source = manifest.model
    shown = sorted(files.keys() - {CONTRACT, REFERENCE, REQUIREMENTS})
    plain = {"flavour": source.flavour, "source": source.uri, "run": source.run_id, "parent": manifest.parent}
    found: dict[str, Any] = {
        "type": "machine-learning-model",
        "bom-ref": "model",
        "name": manifest.name,
        "version": str(source.version),
        "modelCard": _card(manifest, contract, profile),
        "components": [
            {"type": "file", "bom-ref": f"file:{name}", "name": name, "hashes": [_digest(files[name])]}
            for name in shown
        ],
        "properties": [{"name": f"holdfast:{name}", "value": value} for name, value in plain.items() if value]
        + [{"name": f"holdfast:source:{file.path}", "value": f"sha256:{file.sha256}"} for file in source.files],
    }
    if MODEL in files:
        found["hashes"] = [_digest(files[MODEL])]
    return found


def _card(manifest: Manifest, contract: Contract, profile: Profile) -> dict[str, Any]:
    """What CycloneDX calls a model card."""
    output = contract.output
    card: dict[str, Any] = {
        "modelParameters": {
            "approach": {"type": "supervised"},
            "task": output.task,
            "architectureFamily": manifest.model.flavour,
            "inputs": [{"format": f"{field.name}: {field.datatype}"} for field in contract.features],
            "outputs": [{"format": name} for name in output.tensors],
        },
        "considerations": {
            "useCases": [f"predict {output.label}"],
            "technicalLimitations": [
                "values outside the contract's ranges are answered, counted and watched; how well is not known"
            ],
        },
    }
    if manifest.data.get("sha256"):
        card["modelParameters"]["datasets"] = [{"ref": "data"}]
    measured = _measured(profile.performance, "") + [
        metric for part in profile.slices for metric in _measured(part["metrics"], f"{part['column']}={part['value']}")
    ]
    if measured:
        card["quantitativeAnalysis"] = {"performanceMetrics": measured}
    return card


def _measured(metrics: Mapping[str, Mapping[str, Any]], part: str) -> list[dict[str, Any]]:
    found = []
    for name, metric in metrics.items():
        one: dict[str, Any] = {"type": name, "value": f"{metric['value']:.10g}"}
        if part:
            one["slice"] = part
        bounds = {"lowerBound": metric["low"], "upperBound": metric["high"]}
        one["confidenceInterval"] = {side: f"{bound:.10g}" for side, bound in bounds.items() if bound is not None}
        found.append(one)
    return found


def _digest(content: bytes) -> dict[str, str]:
    return _sha256(hashlib.sha256(content).hexdigest())


def _sha256(digest: str) -> dict[str, str]:
    return {"alg": "SHA-256", "content": digest}
