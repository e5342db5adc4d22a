"""Changes to the trusted keys: add, revoke, rotate, co-sign; each a line of the trail.

A key is rotated in steps that may be broken off anywhere: the new key is trusted first, then everything that the old one had
signed and that still verifies is signed anew in place, then the new one becomes the workspace's own, and only then the old one
ends. Until the last step both count, so no release is ever without a good signature.
"""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from holdfast.core.names import short
from holdfast.core.release import ATTESTATIONS
from holdfast.errors import Conflict, NotFound, ReleaseError, UsageError
from holdfast.release.bundle import SUFFIX, attest, list_releases, put_statement, verify
from holdfast.release.keys import USES, TrustedKey, Use, key_id, public_key, put, trusted_keys
from holdfast.release.trust import PRIVATE, RELEASE, create_key, load_signer, read_envelope, signer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.core.ports import Database
    from holdfast.release.keys import Keys
    from holdfast.release.trust import Signer

__all__ = ["Rotation", "add", "find_key", "own_key", "revoke", "rotate", "sign"]

NEXT: Final = "signing.next.pem"
"""The new private key while a rotation is under way."""


class Rotation(NamedTuple):
    """What a rotation did."""

    old: TrustedKey
    new: TrustedKey
    signed: int
    """Statements signed anew."""
    left: tuple[str, ...]
    """Releases that do not verify, and were left as they are."""


def add(
    database: Database,
    folder: Path,
    pem: bytes,
    *,
    name: str,
    actor: str,
    now: int,
    expires: int | None = None,
    uses: Sequence[Use] = USES,
    releases: Sequence[str] = ("*",),
) -> TrustedKey:
    """Trust a public key, or change the limits of one. Conflict for one that was revoked: it stays revoked."""
    public = public_key(pem, "the given file")
    if public is None:
        raise UsageError("this is no Ed25519 key", "the given file", "holdfast trust show prints one as it must be")
    known = trusted_keys(folder).get(key_id(public))
    if known is not None and known.revoked is not None:
        raise Conflict(f"the key {known.id[:12]} was revoked", known.reason, "let its owner make another one")
    key = TrustedKey(
        key=base64.b64encode(public.public_bytes_raw()).decode(),
        name=name,
        added=now,
        expires=expires,
        uses=tuple(uses),
        releases=tuple(releases),
    )
    told = {"key": key.id, "name": name, "expires": expires, "uses": list(uses), "releases": list(releases)}
    with database.begin() as stores:
        stores.trail.append("signing key trusted", at=now, actor=actor, data=told)
        put(folder, key)
    return key


def revoke(database: Database, folder: Path, which: str, *, reason: str, actor: str, now: int) -> TrustedKey:
    """End a key at once, by its name or the beginning of its id: nothing that it signed counts any more."""
    found = find_key(trusted_keys(folder), which)
    if found.revoked is not None:
        raise Conflict(f"the key {found.id[:12]} is revoked already", found.reason, "holdfast trust list")
    ended = msgspec.structs.replace(found, revoked=now, reason=reason)
    with database.begin() as stores:
        told = {"key": ended.id, "name": ended.name, "reason": reason}
        stores.trail.append("signing key revoked", at=now, actor=actor, data=told)
        put(folder, ended)
    return ended


def rotate(
    database: Database, folder: Path, releases: Path, *, actor: str, now: int, overlap_us: int = 0, stolen: bool = False
) -> Rotation:
    """A new signing key for this workspace. The old one ends after `overlap_us`; if `stolen`, it is revoked at once.

    Where the old one was revoked before, nothing is signed anew: what its owner signed can't be told from what a thief did.
    """
    old = own_key(folder)
    create_key(folder, NEXT)
    new = signer(folder, NEXT)
    keys = trusted_keys(folder)
    if old.revoked is None:  # it may have expired, which is no reason to doubt what it signed
        keys = replace(keys, known={**keys.known, old.id: msgspec.structs.replace(old, expires=None)})
    signed, left = 0, []
    for release in list_releases(releases):
        try:
            verify(release.path, keys)
            signed += _sign_anew(release.path, keys, old, new)
        except ReleaseError as bad:
            left.append(f"{short(release.digest)}: {bad.what}")
    (folder / NEXT).rename(folder / PRIVATE)
    fresh = msgspec.structs.replace(own_key(folder), name=old.name, added=now)
    ends = _ends(old, now, overlap_us, stolen=stolen)
    with database.begin() as stores:
        told = {"old": old.id, "new": fresh.id, "signed": signed, "left": len(left), "expires": ends.expires}
        stores.trail.append("signing key rotated", at=now, actor=actor, data=told)
        put(folder, fresh)
        put(folder, ends)
    return Rotation(ends, fresh, signed, tuple(left))


def sign(database: Database, folder: Path, path: Path, *, actor: str, now: int) -> None:
    """Add the workspace's own signature to a release that others signed; what is in it must be what they signed."""
    keys, own = trusted_keys(folder), signer(folder)
    manifest = verify(path, keys)
    with database.begin() as stores:
        told = {"key": key_id(own.public)}
        stores.trail.append("release signed", at=now, actor=actor, release=path.name, data=told)
        attest(path, RELEASE, {"format": manifest.format}, own)


def own_key(folder: Path) -> TrustedKey:
    """The workspace's own key, as it is trusted here."""
    public = load_signer(folder).public
    known = trusted_keys(folder).get(key_id(public))
    return known or TrustedKey(key=base64.b64encode(public.public_bytes_raw()).decode())


def find_key(keys: Keys, which: str) -> TrustedKey:
    """The one key of that name, or whose id begins so."""
    found = [key for key in keys.values() if key.name == which] or [k for i, k in keys.items() if i.startswith(which)]
    if len(found) == 1 and which:
        return found[0]
    what = f"{len(found)} keys are called" if found else "no key is called"
    raise NotFound(f"{what} '{which[:80]}'", "trusted keys", "holdfast trust list")


def _sign_anew(path: Path, keys: Keys, old: TrustedKey, new: Signer) -> int:
    """Every statement of the old key becomes one of the new key, in place."""
    count = 0
    for file in sorted((path / ATTESTATIONS).glob(f"*{SUFFIX}")):
        said, key = read_envelope(file.read_bytes(), keys, str(file))
        if key.id == old.id:
            put_statement(file, new.envelope(said.name, said.digest, said.predicate_type, said.predicate))
            count += 1
    return count


def _ends(old: TrustedKey, now: int, overlap_us: int, *, stolen: bool) -> TrustedKey:
    if old.revoked is not None:
        return old
    if stolen:
        return msgspec.structs.replace(old, revoked=now, reason="stolen")
    ends = now + overlap_us
    return msgspec.structs.replace(old, expires=ends if old.expires is None else min(old.expires, ends))
