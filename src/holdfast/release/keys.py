"""Whose word counts: the public keys that a workspace trusts, what each may sign, until when, and which were revoked.

    keys/signing.pem            the workspace's own private key, mode 0600
    keys/trusted/<id>.pem       a public key, trusted without limits
    keys/trusted/<id>.json      the same with its limits (`TrustedKey`); it wins over the .pem

A signature bears no time that anybody could prove, so a key that has expired or was revoked counts for nothing any more,
whenever it signed: whoever stole it would date his work back. That is why `holdfast trust rotate` signs anew what the old key
had signed (`holdfast.release.keyring`). Keys are read anew for each release that is opened, so a revocation needs no restart.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final, Literal

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from holdfast.errors import WorkspaceError

__all__ = ["Keys", "TrustedKey", "key_id", "public_key", "put", "trusted_keys"]

TRUSTED: Final = "trusted"
SPKI: Final = bytes.fromhex("302a300506032b6570032100")
"""What stands before the 32 bytes of an Ed25519 key in its SubjectPublicKeyInfo (RFC 8410)."""
_PEM: Final = re.compile(rb"-----BEGIN PUBLIC KEY-----\n([A-Za-z0-9+/]{59}=)\n-----END PUBLIC KEY-----\n")

Use = Literal["release", "attest"]
USES: Final[tuple[Use, ...]] = ("release", "attest")
Standing = Literal["good", "expired", "revoked"]


class TrustedKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A public key and its limits; times are microseconds UTC."""

    key: str
    """The 32 raw bytes, base64."""
    name: str = ""
    added: int = 0
    expires: int | None = None
    revoked: int | None = None
    reason: str = ""
    """Why it was revoked."""
    uses: tuple[Use, ...] = USES
    """`release`: it makes a bundle a release; `attest`: it states facts about one."""
    releases: tuple[str, ...] = ("*",)
    """Names of the releases that it may speak of, with `*` and `?`."""

    @property
    def id(self) -> str:
        """SHA-256 of the raw key, in hex."""
        return hashlib.sha256(base64.b64decode(self.key)).hexdigest()

    @property
    def public(self) -> Ed25519PublicKey:
        """The key itself."""
        return Ed25519PublicKey.from_public_bytes(base64.b64decode(self.key))

    def standing(self, now: int) -> Standing:
        """Whether it counts at this moment."""
        if self.revoked is not None:
            return "revoked"
        return "expired" if self.expires is not None and now >= self.expires else "good"

    def may(self, use: Use, name: str) -> bool:
        """Whether it may say such a thing of a release of this name."""
        return use in self.uses and any(fnmatchcase(name, pattern) for pattern in self.releases)


def _clock() -> int:
    return time.time_ns() // 1000


@dataclass(frozen=True)
class Keys(Mapping[str, TrustedKey]):
    """The keys that a workspace knows, by id, with the expired and the revoked ones; and how many must agree."""

    known: Mapping[str, TrustedKey]
    signatures: int = 1
    """So many of them must have signed a release."""
    now: Callable[[], int] = _clock

    def __getitem__(self, name: str) -> TrustedKey:
        return self.known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.known)

    def __len__(self) -> int:
        return len(self.known)


def key_id(key: Ed25519PublicKey) -> str:
    """SHA-256 of the raw public key, in hex."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()


def trusted_keys(folder: Path, signatures: int = 1) -> Keys:
    """The public keys that this workspace trusts."""
    found: dict[str, TrustedKey] = {}
    for path in sorted((folder / TRUSTED).glob("*.pem")):
        key = public_key(path.read_bytes(), str(path))
        if key is not None:
            found[key_id(key)] = TrustedKey(key=base64.b64encode(key.public_bytes_raw()).decode())
    for path in sorted((folder / TRUSTED).glob("*.json")):
        limited = _limited(path)
        found[limited.id] = limited
    return Keys(found, signatures)


def put(folder: Path, key: TrustedKey) -> None:
    """Trust a key, or change its limits; on the disk, whole or not at all, when this returns."""
    trusted = folder / TRUSTED
    trusted.mkdir(parents=True, exist_ok=True)
    waiting = trusted / f".{key.id}.{os.getpid()}"
    with waiting.open("wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(key, order="sorted")) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    waiting.replace(trusted / f"{key.id}.json")
    (trusted / f"{key.id}.pem").unlink(missing_ok=True)


def public_key(content: bytes, where: str) -> Ed25519PublicKey | None:
    """The key in a PEM file; None if it is one of another kind.

    Ours have exactly one form. Only another one needs the library that knows them all: to load it costs a start more than to
    check the release.
    """
    if (found := _PEM.fullmatch(content)) and (raw := base64.b64decode(found[1])).startswith(SPKI):
        return Ed25519PublicKey.from_public_bytes(raw[len(SPKI) :])
    from cryptography.hazmat.primitives import serialization

    try:
        key = serialization.load_pem_public_key(content)
    except ValueError:
        raise _damaged(where) from None
    return key if isinstance(key, Ed25519PublicKey) else None


def _limited(path: Path) -> TrustedKey:
    try:
        found = msgspec.json.decode(path.read_bytes(), type=TrustedKey)
        if len(base64.b64decode(found.key, validate=True)) == 32:
            return found
    except (msgspec.MsgspecError, ValueError):
        pass
    raise _damaged(str(path))


def _damaged(where: str) -> WorkspaceError:
    return WorkspaceError("a trusted key is damaged", where, "restore it, or remove it to trust it no more")
