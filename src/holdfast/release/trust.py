"""Who may say what about a release: Ed25519 keys, and signed statements in the form that the supply-chain tools share.

A statement is an in-toto Statement v1 (`subject` is the release's digest, `predicate` what is said of it) in a DSSE
envelope, one JSON file each. The envelope has exactly one form: what does not re-encode to the same bytes is refused, so that
a changed byte shows even where JSON or base64 would not mind it. A workspace trusts the keys in `keys/trusted/` and no others.

References: in-toto Attestation Framework, Statement v1; DSSE, secure-systems-lab/dsse, protocol.md; RFC 8032 (Ed25519).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from holdfast.errors import ReleaseError, Tampered, Untrusted, WorkspaceError

__all__ = ["RELEASE", "Keys", "Signer", "Statement", "create_key", "open_envelope", "signer", "trusted_keys"]

RELEASE: Final = "urn:holdfast:release:v1"
"""Predicate type of the signature that makes a bundle a release."""
STATEMENT: Final = "https://in-toto.io/Statement/v1"
PAYLOAD: Final = "application/vnd.in-toto+json"
PRIVATE: Final = "signing.pem"
TRUSTED: Final = "trusted"
SPKI: Final = bytes.fromhex("302a300506032b6570032100")
"""What stands before the 32 bytes of an Ed25519 key in its SubjectPublicKeyInfo (RFC 8410)."""
_PEM: Final = re.compile(rb"-----BEGIN PUBLIC KEY-----\n([A-Za-z0-9+/]{59}=)\n-----END PUBLIC KEY-----\n")

Keys = Mapping[str, Ed25519PublicKey]
"""Trusted public keys by key id, the SHA-256 of the raw key."""


class Subject(msgspec.Struct, frozen=True):
    """What a statement is about."""

    name: str
    digest: dict[str, str]


class Statement(msgspec.Struct, frozen=True, rename={"kind": "_type", "predicate_type": "predicateType"}):
    """An in-toto Statement v1."""

    kind: str
    subject: tuple[Subject, ...]
    predicate_type: str
    predicate: dict[str, Any]

    @property
    def digest(self) -> str:
        """The release that it speaks of; empty unless it speaks of exactly one."""
        return self.subject[0].digest.get("sha256", "") if len(self.subject) == 1 else ""


class Signature(msgspec.Struct, frozen=True):
    """One signature of an envelope."""

    keyid: str
    sig: str


class Envelope(msgspec.Struct, frozen=True, rename={"payload_type": "payloadType"}):
    """A DSSE envelope."""

    payload: str
    payload_type: str
    signatures: tuple[Signature, ...]


def create_key(folder: Path) -> str:
    """Make a signing key in `folder` (mode 0600), trusted there and nowhere else; an existing one stays. Its key id."""
    private = folder / PRIVATE
    trusted = folder / TRUSTED
    trusted.mkdir(parents=True, exist_ok=True)
    from cryptography.hazmat.primitives import serialization

    if not private.exists():
        pem = Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        waiting = folder / f".{PRIVATE}.{os.getpid()}"
        with os.fdopen(os.open(waiting, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(pem)
        waiting.rename(private)
    public = signer(folder).public
    (trusted / f"{key_id(public)}.pem").write_bytes(
        public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return key_id(public)


def key_id(key: Ed25519PublicKey) -> str:
    """SHA-256 of the raw public key, in hex."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()


def trusted_keys(folder: Path) -> Keys:
    """The public keys that this workspace trusts."""
    found: dict[str, Ed25519PublicKey] = {}
    for path in sorted((folder / TRUSTED).glob("*.pem")):
        key = _public_key(path)
        if key is not None:
            found[key_id(key)] = key
    return found


def _public_key(path: Path) -> Ed25519PublicKey | None:
    """The key in a file; None if it is one of another kind.

    Ours have exactly one form. Only another one needs the library that knows them all: to load it costs a start more than to
    check the release.
    """
    content = path.read_bytes()
    if (found := _PEM.fullmatch(content)) and (raw := base64.b64decode(found[1])).startswith(SPKI):
        return Ed25519PublicKey.from_public_bytes(raw[len(SPKI) :])
    from cryptography.hazmat.primitives import serialization

    try:
        key = serialization.load_pem_public_key(content)
    except ValueError:
        raise WorkspaceError(
            "a trusted key is damaged", str(path), "restore it, or remove it to trust it no more"
        ) from None
    return key if isinstance(key, Ed25519PublicKey) else None


class Signer:
    """A private key that signs statements."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public = key.public_key()

    def envelope(self, name: str, digest: str, predicate_type: str, predicate: Mapping[str, Any]) -> bytes:
        """A signed statement about the release `name` with this digest, as the bytes of its file."""
        statement = Statement(STATEMENT, (Subject(name, {"sha256": digest}),), predicate_type, dict(predicate))
        payload = msgspec.json.encode(statement, order="sorted")
        signature = Signature(key_id(self.public), _text(self._key.sign(_signed_bytes(payload))))
        return msgspec.json.encode(Envelope(_text(payload), PAYLOAD, (signature,)), order="sorted")


def signer(folder: Path) -> Signer:
    """The workspace's own signing key."""
    from cryptography.hazmat.primitives import serialization

    path = folder / PRIVATE
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except FileNotFoundError:
        raise WorkspaceError("the workspace has no signing key", str(path), "holdfast init") from None
    except ValueError:
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise WorkspaceError(
            "the signing key is damaged", str(path), "restore it from a backup, or remove it and run: holdfast init"
        )
    return Signer(key)


def open_envelope(content: bytes, trusted: Keys, where: str) -> Statement:
    """The statement in an envelope, if a trusted key signed exactly these bytes; Tampered or Untrusted otherwise."""
    try:
        envelope = msgspec.json.decode(content, type=Envelope)
        payload = base64.b64decode(envelope.payload, validate=True)
        (signature,) = envelope.signatures
        signed = base64.b64decode(signature.sig, validate=True)
    except (msgspec.MsgspecError, binascii.Error, ValueError, UnicodeError):
        raise _broken("this is no signed statement", where) from None
    same = msgspec.json.encode(
        Envelope(_text(payload), PAYLOAD, (Signature(signature.keyid, _text(signed)),)), order="sorted"
    )
    if same != content:
        raise _broken("the envelope was changed after it was written", where)
    key = trusted.get(signature.keyid)
    if key is None:
        raise Untrusted(
            f"signed by the key {signature.keyid[:12]}, which this workspace does not trust",
            where,
            f"if you trust its owner, put the public key into .holdfast/keys/{TRUSTED}/",
        )
    try:
        key.verify(signed, _signed_bytes(payload))
    except InvalidSignature:
        raise _broken("the signature does not match", where) from None
    try:
        statement = msgspec.json.decode(payload, type=Statement)
    except msgspec.MsgspecError:
        raise ReleaseError("this statement is of an unknown form", where, "pip install --upgrade holdfast") from None
    if statement.kind != STATEMENT:
        raise ReleaseError(
            f"a statement of the unknown type {statement.kind!r}", where, "pip install --upgrade holdfast"
        )
    return statement


def _broken(what: str, where: str) -> Tampered:
    return Tampered(what, where, "do not deploy it; build it again, or copy it from where it was built")


def _signed_bytes(payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding: type and length are signed too."""
    return b"DSSEv1 %d %s %d %s" % (len(PAYLOAD), PAYLOAD.encode(), len(payload), payload)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
