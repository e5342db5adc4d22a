"""A release: an immutable signed bundle, named by the SHA-256 of its manifest.

The manifest holds only what is deterministic, so that the same inputs give the same digest anywhere. What is measured or
said later (timings, approvals, signatures) are attestations beside it.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

import msgspec

__all__ = ["CARD", "CONTRACT", "MANIFEST", "MODEL", "REFERENCE", "REQUIREMENTS", "SBOM", "FileEntry", "Manifest", "ModelSource"]

MANIFEST: Final = "manifest.json"
MODEL: Final = "model.onnx"
CONTRACT: Final = "contract.yaml"
REFERENCE: Final = "reference.msgpack"
CARD: Final = "card.md"
SBOM: Final = "sbom.cdx.json"
REQUIREMENTS: Final = "requirements.lock"
ATTESTATIONS: Final = "attestations"
FORMAT: Final = 1


class FileEntry(msgspec.Struct, frozen=True):
    """One file of the bundle."""

    path: str
    sha256: str
    size: int


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
    recipe: dict[str, Any] = {}
    """What the user asked of the build: marks, purpose; `contract`: it was given, not inferred."""

    def to_bytes(self) -> bytes:
        """Canonical JSON: sorted keys, no spaces; the digest is taken over exactly these bytes."""
        return msgspec.json.encode(self, order="sorted")

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical bytes, in hex: the release's name."""
        return hashlib.sha256(self.to_bytes()).hexdigest()
