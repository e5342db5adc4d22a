"""A release: an immutable signed bundle, named by the SHA-256 of its manifest.

The manifest holds only what is deterministic, so that the same inputs give the same digest anywhere. What is measured or
said later (timings, approvals, signatures) are attestations beside it.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final, Literal

import msgspec

__all__ = [
    "CARD",
    "CONTRACT",
    "MANIFEST",
    "MODEL",
    "PYTHON",
    "PYTHON_MODEL",
    "REFERENCE",
    "REQUIREMENTS",
    "SBOM",
    "FileEntry",
    "Manifest",
    "ModelSource",
    "PythonModel",
]

MANIFEST: Final = "manifest.json"
MODEL: Final = "model.onnx"
CONTRACT: Final = "contract.yaml"
REFERENCE: Final = "reference.msgpack"
CARD: Final = "card.md"
SBOM: Final = "sbom.cdx.json"
REQUIREMENTS: Final = "requirements.lock"
PYTHON: Final = "python.json"
"""In a Python release: how its model is opened and what its answers mean (`PythonModel`)."""
PYTHON_MODEL: Final = "model"
"""In a Python release: the folder of the model's files, as the registry gave them."""
ATTESTATIONS: Final = "attestations"
FORMAT: Final = 1


class FileEntry(msgspec.Struct, frozen=True):
    """One file of the bundle."""

    path: str
    sha256: str
    size: int


class PythonModel(msgspec.Struct, frozen=True, kw_only=True):
    """How the model of a Python release is opened, what it is given and what its answers mean."""

    opened: Literal["pyfunc", "pickle", "skops"]
    """By MLflow as a Python function; unpickled; or by skops, whatever types it names."""
    file: str
    """The model's file in its folder; empty for MLflow, which knows."""
    python: str
    """Version of the interpreter: `3.11`."""
    columns: tuple[tuple[str, str], ...]
    """Name and datatype of each column of the frame that it is given."""
    answers: Literal["raw", "number", "share", "label", "probabilities"] = "raw"
    """One number a row; the share of the second class; the class; a probability for each class; or as it comes."""
    classes: tuple[str, ...] = ()


class ModelSource(msgspec.Struct, frozen=True, kw_only=True):
    """Where the model came from, pinned."""

    uri: str
    """`models:/name/3`; an alias is resolved to the version it meant at build."""
    name: str
    version: str
    flavour: str
    files: tuple[FileEntry, ...]
    run_id: str = ""
    alias: str = ""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What is in a release, and from what it was made."""

    format: int
    name: str
    task: str
    files: tuple[FileEntry, ...]
    model: ModelSource
    data: dict[str, Any]
    """The reference and what the model was trained on; the keys stand in `holdfast.build.lineage`."""
    code: dict[str, Any]
    """Git `commit`, whether the tree was `dirty`, and then the SHA-256 of its `changes`; empty outside git."""
    builder: dict[str, str]
    """Versions of Holdfast and of the converters."""
    parity: dict[str, Any]
    parent: str = ""
    """Digest of the release that this candidate was retrained from."""
    runtime: Literal["onnx", "python"] = "onnx"
    """What answers: the ONNX graph, or the model itself in a process of its own."""
    recipe: dict[str, Any] = {}
    """What the user asked of the build: marks, purpose; `contract`: it was given, not inferred."""
    variant: dict[str, Any] = {}
    """What was done to the converted model and how it is run: `steps`, `threads`, `provider` (`core.variant`); empty: nothing."""

    def to_bytes(self) -> bytes:
        """Canonical JSON: sorted keys, no spaces; the digest is taken over exactly these bytes."""
        return msgspec.json.encode(self, order="sorted")

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical bytes, in hex: the release's name."""
        return hashlib.sha256(self.to_bytes()).hexdigest()
