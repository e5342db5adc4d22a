"""Signed statements about a release, in the form that the supply-chain tools share: Ed25519, in-toto, DSSE.

A statement is an in-toto Statement v1 (`subject` is the release's digest, `predicate` what is said of it) in a DSSE
envelope, one JSON file each. The envelope has exactly one form: what does not re-encode to the same bytes is refused, so that
a changed byte shows even where JSON or base64 would not mind it. Whose signature counts stands in `holdfast.release.keys`.

References: in-toto Attestation Framework, Statement v1; DSSE, secure-systems-lab/dsse, protocol.md; RFC 8032 (Ed25519).
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from holdfast.errors import KeyEnded, ReleaseError, Tampered, Untrusted, WorkspaceError
from holdfast.release.keys import TRUSTED, Keys, TrustedKey, key_id, trusted_keys

__all__ = [
    "PRIVATE",
    "RELEASE",
    "Keys",
    "Signer",
    "Statement",
    "check_word",
    "create_key",
    "key_id",
    "load_signer",
    "open_envelope",
    "read_envelope",
    "signer",
    "trusted_keys",
]

RELEASE: Final = "urn:holdfast:release:v1"
"""Predicate type of the signature that makes a bundle a release."""
STATEMENT: Final = "https://in-toto.io/Statement/v1"
PAYLOAD: Final = "application/vnd.in-toto+json"
PRIVATE: Final = "signing.pem"


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

    @property
    def name(self) -> str:
        """That release's name."""
        return self.subject[0].name if len(self.subject) == 1 else ""


class Signature(msgspec.Struct, frozen=True):
    """One signature of an envelope."""

    keyid: str
    sig: str


class Envelope(msgspec.Struct, frozen=True, rename={"payload_type": "payloadType"}):
    """A DSSE envelope."""

    payload: str
    payload_type: str
    signatures: tuple[Signature, ...]


def create_key(folder: Path, private: str = PRIVATE) -> str:
    """Make a signing key in `folder` (mode 0600), trusted there and nowhere else; an existing one stays. Its key id."""
    path = folder / private
    trusted = folder / TRUSTED
    trusted.mkdir(parents=True, exist_ok=True)
    from cryptography.hazmat.primitives import serialization

    if not path.exists():
        pem = Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        waiting = folder / f".{private}.{os.getpid()}"
        with os.fdopen(os.open(waiting, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(pem)
        waiting.rename(path)
    public = Signer(_private_key(path)).public
    if not (trusted / f"{key_id(public)}.json").exists():
        (trusted / f"{key_id(public)}.pem").write_bytes(
            public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        )
    return key_id(public)


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


def signer(folder: Path, private: str = PRIVATE) -> Signer:
    """The workspace's own signing key; WorkspaceError if its word would count for nothing here."""
    path = folder / private
    found = load_signer(folder, private)
    keys = trusted_keys(folder)
    own = keys.get(key_id(found.public))
    if own is not None and (standing := own.standing(keys.now())) != "good":
        raise WorkspaceError(f"the workspace's signing key has {_ENDED[standing]}", str(path), "holdfast trust rotate")
    return found


def load_signer(folder: Path, private: str = PRIVATE) -> Signer:
    """The workspace's own signing key, whatever its word counts for."""
    return Signer(_private_key(folder / private))


def _private_key(path: Path) -> Ed25519PrivateKey:
    from cryptography.hazmat.primitives import serialization

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
    return key


def open_envelope(content: bytes, trusted: Keys, where: str) -> Statement:
    """The statement in an envelope, if a trusted key signed exactly these bytes; Tampered or Untrusted otherwise."""
    statement, key = read_envelope(content, trusted, where)
    check_word(statement, key, trusted, where)
    return statement


def check_word(statement: Statement, key: TrustedKey, trusted: Keys, where: str) -> None:
    """KeyEnded or Untrusted unless this key may say this, today."""
    standing = key.standing(trusted.now())
    if standing != "good":
        why = f": {key.reason}" if key.reason else ""
        raise KeyEnded(
            f"signed by the key {_called(key)}, which has {_ENDED[standing]}{why}",
            where,
            "get the release from its builder again, signed anew (holdfast trust rotate signs all of a workspace)",
        )
    if not key.may("release" if statement.predicate_type == RELEASE else "attest", statement.name):
        raise Untrusted(
            f"signed by the key {_called(key)}, which may not say this of '{statement.name}'",
            where,
            "holdfast trust list; let its owner sign only what it is trusted for",
        )


def read_envelope(content: bytes, trusted: Keys, where: str) -> tuple[Statement, TrustedKey]:
    """The statement in an envelope and who signed exactly these bytes, be that key good, expired or revoked."""
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
            "if you trust its owner: holdfast trust add KEY.pem",
        )
    try:
        key.public.verify(signed, _signed_bytes(payload))
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
    return statement, key


_ENDED: Final = {"expired": "expired", "revoked": "been revoked"}


def _called(key: TrustedKey) -> str:
    return f"'{key.name}' ({key.id[:12]})" if key.name else key.id[:12]


def _broken(what: str, where: str) -> Tampered:
    return Tampered(what, where, "do not deploy it; build it again, or copy it from where it was built")


def _signed_bytes(payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding: type and length are signed too."""
    return b"DSSEv1 %d %s %d %s" % (len(PAYLOAD), PAYLOAD.encode(), len(payload), payload)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
