"""trust: whose signatures make a release, until when, and for what."""

from __future__ import annotations

import getpass
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from holdfast.cli.terminal import as_json, moment, note, open_from, resolve_release, show, table, when
from holdfast.core.names import short
from holdfast.release.keys import USES

if TYPE_CHECKING:
    from holdfast.release.keys import TrustedKey

__all__ = ["trust"]

DAY_US = 86_400_000_000


@click.group()
def trust() -> None:
    """Signing keys: whose releases this workspace opens. (`holdfast keys` is for those who ask for predictions.)"""


@trust.command("list")
@as_json
@click.pass_context
def list_(ctx: click.Context, as_json: bool) -> None:  # noqa: FBT001
    """The keys that are trusted, or were, and what each may sign."""
    from holdfast.release.keyring import own_key

    workspace = open_from(ctx)
    keys = workspace.trusted
    own, now = own_key(workspace.keys).id, keys.now()
    every = sorted(keys.values(), key=lambda key: (key.id != own, key.added))
    if as_json:
        show({"signatures": keys.signatures, "keys": [_told(key, now, own) for key in every]})
        return
    rows = [
        (
            short(key.id),
            key.name or ("this workspace" if key.id == own else "-"),
            key.standing(now),
            ", ".join(key.uses),
            ", ".join(key.releases),
            when(key.expires),
            key.reason or "-",
        )
        for key in every
    ]
    table(("id", "name", "", "may sign", "of releases", "expires (UTC)", "revoked for"), rows)
    if keys.signatures > 1:
        note(f"{keys.signatures} of them must have signed a release ([trust] signatures)")


@trust.command("show")
@as_json
@click.pass_context
def show_(ctx: click.Context, as_json: bool) -> None:  # noqa: FBT001
    """Print this workspace's public key (PEM), for those who shall trust it."""
    from cryptography.hazmat.primitives import serialization

    from holdfast.release.keyring import own_key

    key = own_key(open_from(ctx).keys)
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    pem = key.public.public_bytes(serialization.Encoding.PEM, form).decode()
    if as_json:
        show({"key": key.id, "pem": pem})
    else:
        click.echo(pem, nl=False)


@trust.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--name", default="", help="Whose key it is.")
@click.option("--expires", metavar="TIME", help="Counts for nothing from this time on (ISO 8601, UTC).")
@click.option("--may", "uses", multiple=True, type=click.Choice(USES), help="Only make releases, or only attest facts.")
@click.option("--for", "releases", multiple=True, metavar="NAME", help="Only releases of this name (`*`, `?` allowed).")
@as_json
@click.pass_context
def add(
    ctx: click.Context,
    file: Path,
    name: str,
    expires: str | None,
    uses: tuple[Any, ...],
    releases: tuple[str, ...],
    as_json: bool,  # noqa: FBT001
) -> None:
    """Trust the public key in FILE (PEM, Ed25519); a key that is trusted already gets these limits."""
    from holdfast.release import keyring

    workspace = open_from(ctx)
    key = keyring.add(
        workspace.database,
        workspace.keys,
        file.read_bytes(),
        name=name,
        actor=getpass.getuser(),
        now=_now(),
        expires=None if expires is None else moment(expires),
        uses=uses or USES,
        releases=releases or ("*",),
    )
    _tell(key, f"{short(key.id)} is trusted", as_json=as_json)


@trust.command()
@click.argument("key")
@click.option("--reason", required=True, help="Why; kept with the key and in the trail.")
@as_json
@click.pass_context
def revoke(ctx: click.Context, key: str, reason: str, as_json: bool) -> None:  # noqa: FBT001
    """End KEY (its name, or the beginning of its id): nothing that it signed is opened any more."""
    from holdfast.release import keyring

    workspace = open_from(ctx)
    ended = keyring.revoke(workspace.database, workspace.keys, key, reason=reason, actor=getpass.getuser(), now=_now())
    _tell(ended, f"{short(ended.id)} is revoked; what is served now goes on until it is loaded again", as_json=as_json)


@trust.command()
@click.option(
    "--overlap-days", type=click.FloatRange(min=0.0), default=0.0, help="The old key counts for so long still."
)
@click.option("--stolen", is_flag=True, help="Revoke the old key. Look first whether `holdfast list` shows only yours.")
@as_json
@click.pass_context
def rotate(ctx: click.Context, overlap_days: float, stolen: bool, as_json: bool) -> None:  # noqa: FBT001
    """Make a new signing key, and sign anew with it what the old one had signed here."""
    from holdfast.release import keyring

    workspace = open_from(ctx)
    done = keyring.rotate(
        workspace.database,
        workspace.keys,
        workspace.releases,
        actor=getpass.getuser(),
        now=_now(),
        overlap_us=int(overlap_days * DAY_US),
        stolen=stolen,
    )
    if as_json:
        show({"old": done.old.id, "new": done.new.id, "signed": done.signed, "left": done.left})
        return
    note(f"new key {short(done.new.id)}; {done.signed} statements signed anew; the old one was {short(done.old.id)}")
    for left in done.left:
        note(f"  left as it was: {left}")
    note("  next: holdfast trust show > KEY.pem, and add it where your releases are served")


@trust.command()
@click.argument("release")
@as_json
@click.pass_context
def sign(ctx: click.Context, release: str, as_json: bool) -> None:  # noqa: FBT001
    """Add this workspace's signature to RELEASE, where several must have signed."""
    from holdfast.release.keyring import sign as add_signature

    workspace = open_from(ctx)
    digest = resolve_release(workspace, release)
    add_signature(workspace.database, workspace.keys, workspace.releases / digest, actor=getpass.getuser(), now=_now())
    if as_json:
        show({"release": digest, "signed": True})
    else:
        note(f"{short(digest)} is signed")


def _tell(key: TrustedKey, text: str, *, as_json: bool) -> None:
    if as_json:
        show(_told(key, _now(), ""))
    else:
        note(text)


def _told(key: TrustedKey, now: int, own: str) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "own": key.id == own,
        "standing": key.standing(now),
        "uses": key.uses,
        "releases": key.releases,
        "expires": key.expires,
        "revoked": key.revoked,
        "reason": key.reason,
    }


def _now() -> int:
    return time.time_ns() // 1000
