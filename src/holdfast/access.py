"""API keys: made and revoked in the database, published to the serving processes, checked there in about a microsecond.

The database is the truth, and every change is a line of the trail in the same transaction. `run/access.json` is what workers
follow, like the traffic plan. A key is `hf_<id>_<secret>` with 256 random bits; only its HMAC under the workspace's pepper
(`keys/access.pepper`) is stored: with so many bits nothing needs to be slow, and a stolen database opens nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import hmac
import os
from typing import TYPE_CHECKING, Final

import msgspec

from holdfast.core.access import ANY, AccessKey
from holdfast.errors import Conflict, NotFound

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from holdfast.core.ports import Database

__all__ = ["Holder", "KeyRing", "create", "pepper", "publish", "revoke", "secret_file"]

FILE: Final = "access.json"
PEPPER: Final = "access.pepper"
PREFIX: Final = "hf_"
ID: Final = slice(len(PREFIX), len(PREFIX) + 8)
LONGEST: Final = 128


def pepper(keys: Path) -> bytes:
    """The workspace's secret under which keys are hashed, made on first use."""
    return secret_file(keys / PEPPER)


def secret_file(path: Path) -> bytes:
    """32 random bytes that stay the same, made on first use with mode 0600."""
    with contextlib.suppress(FileNotFoundError):
        return path.read_bytes()
    waiting = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(waiting, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(os.urandom(32))
    with contextlib.suppress(FileExistsError):  # another process was faster: its secret it is
        os.link(waiting, path)
    waiting.unlink()
    return path.read_bytes()


def create(
    database: Database,
    name: str,
    deployments: Sequence[str],
    scopes: Sequence[str],
    *,
    secret: bytes,
    actor: str,
    now: int,
    rate: float = 0.0,
    rows_per_day: int = 0,
    expires: int | None = None,
) -> tuple[AccessKey, str]:
    """A new key and its text, which exists nowhere else and is never shown again. `secret` is the pepper.

    Raises Conflict if another key of that name is in use, NotFound for a deployment that does not exist.
    """
    import secrets

    with database.begin() as stores:
        every = stores.keys.all()
        if any(key.name == name and key.standing(now) == "good" for key in every):
            raise Conflict(f"there is a key '{name}' already", next_step="choose another name, or revoke it first")
        for deployment in deployments:
            if deployment != ANY:
                stores.deployments.get(deployment)
        known = {key.id for key in every}
        while (short := secrets.token_hex(4)) in known:
            pass
        text = f"{PREFIX}{short}_{secrets.token_urlsafe(32)}"
        key = AccessKey(
            number=len(every) + 1,
            id=short,
            name=name,
            digest=_digest(text, secret),
            deployments=tuple(deployments),
            scopes=tuple(scopes),
            rate=rate,
            rows_per_day=rows_per_day,
            created=now,
            expires=expires,
        )
        stores.keys.save(key)
        told = {"key": short, "name": name, "for": list(deployments), "scopes": list(scopes)}
        stores.trail.append("key created", at=now, actor=actor, data=told)
    return key, text


def revoke(database: Database, which: str, *, actor: str, now: int) -> AccessKey:
    """End a key, by its id or its name. Raises NotFound."""
    with database.begin() as stores:
        every = stores.keys.all()
        found = next((k for k in every if k.revoked is None and which in {k.id, k.name}), None)
        if found is None:
            names = ", ".join(k.name for k in every if k.revoked is None)
            raise NotFound(f"no key '{which[:80]}'", f"there are: {names or 'none'}", "holdfast keys list")
        found = msgspec.structs.replace(found, revoked=now)
        stores.keys.save(found)
        stores.trail.append("key revoked", at=now, actor=actor, data={"key": found.id, "name": found.name})
    return found


def publish(database: Database, run: Path) -> None:
    """Write the keys that are in force where the workers look for them: whole or not at all, the newest state wins."""
    run.mkdir(parents=True, exist_ok=True)
    with (run / "access.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with database.begin() as stores:
            keys = [key for key in stores.keys.all() if key.revoked is None]
        temporary = run / f".{FILE}.{os.getpid()}"
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(msgspec.json.encode(keys))
        temporary.replace(run / FILE)


class Holder:
    """A key in force, as a serving process keeps it."""

    __slots__ = ("any", "deployments", "expires", "key", "scopes", "seen")

    def __init__(self, key: AccessKey) -> None:
        self.key = key
        self.any = ANY in key.deployments
        self.deployments = frozenset(key.deployments)
        self.scopes = frozenset(key.scopes)
        self.expires = None if key.expires is None else key.expires / 1e6
        self.seen = ""
        """The key's text once it was verified: the next request costs a comparison instead of an HMAC."""


class KeyRing:
    """The keys in force, read from `run/access.json` and read again when that file was replaced.

    Args:
        run: the workspace's run folder.
        secret: its pepper.
    """

    def __init__(self, run: Path, secret: bytes) -> None:
        self._path = run / FILE
        self._secret = secret
        self._mark: tuple[int, int] | None = None
        self._holders: dict[str, Holder] = {}
        self.refresh()

    def refresh(self) -> bool:
        """Take over a new file, if there is one; an unreadable one changes nothing. Keys that stay need no new proof."""
        try:
            found = self._path.stat()
            mark = (found.st_ino, found.st_mtime_ns)
            if mark == self._mark:
                return False
            keys = msgspec.json.decode(self._path.read_bytes(), type=list[AccessKey])
        except (OSError, msgspec.DecodeError):
            return False
        self._mark = mark
        before, holders = self._holders, {}
        for key in keys:
            held = before.get(key.id)
            holders[key.id] = held if held is not None and held.key == key else Holder(key)
        self._holders = holders
        return True

    @property
    def keys(self) -> Iterable[AccessKey]:
        """All that are in force."""
        return [held.key for held in self._holders.values()]

    def find(self, text: str) -> Holder | None:
        """Whose key this is; None for one that is not known. Takes as long for a nearly right secret as for a wrong one."""
        held = self._holders.get(text[ID])
        if held is None or len(text) > LONGEST or not text.isascii():
            return None
        if held.seen and hmac.compare_digest(held.seen, text):
            return held
        if not hmac.compare_digest(_digest(text, self._secret), held.key.digest):
            return None
        held.seen = text
        return held


def _digest(text: str, secret: bytes) -> bytes:
    return hmac.digest(secret, text.encode(), hashlib.sha256)
