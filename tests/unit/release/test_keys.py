"""Keys have limits, end and are followed by others; what is signed by one that ended is not opened."""

import dataclasses
import shutil

import msgspec
import pytest
from cryptography.hazmat.primitives import serialization

from holdfast.errors import Conflict, KeyEnded, NotFound, Tampered, Untrusted, UsageError, WorkspaceError
from holdfast.release import keyring
from holdfast.release.bundle import attest, statements, verify
from holdfast.release.keys import put, trusted_keys
from holdfast.release.trust import RELEASE, create_key, signer
from holdfast.testing import MemoryDatabase

TIMINGS = "urn:holdfast:timings:v1"
NOW = 1_800_000_000_000_000
DAY = 86_400_000_000


@pytest.fixture
def database():
    return MemoryDatabase()


def at(keys, now, signatures=1):
    """What `keys` trusts at this time."""
    return dataclasses.replace(trusted_keys(keys, signatures), now=lambda: now)


def pem_of(folder):
    public = signer(folder).public
    return public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


@pytest.fixture
def server(tmp_path, keys, database):
    """The keys of a workspace that trusts the builder for a year."""
    create_key(tmp_path / "server")
    keyring.add(database, tmp_path / "server", pem_of(keys), name="ci", actor="ada", now=NOW, expires=NOW + 365 * DAY)
    return tmp_path / "server"


def verbs(database):
    with database.begin() as stores:
        return [event.verb for event in stores.trail.read()]


def test_wrong_expired_and_revoked_keys_are_refused(make, server, database, tmp_path):
    release = make()
    verify(release.path, at(server, NOW))
    create_key(tmp_path / "stranger")
    with pytest.raises(Untrusted) as wrong:
        verify(release.path, at(tmp_path / "stranger", NOW))
    assert not isinstance(wrong.value, KeyEnded)
    assert "holdfast trust add" in wrong.value.next_step
    verify(release.path, at(server, NOW + 365 * DAY - 1))
    with pytest.raises(KeyEnded, match=r"'ci'.*expired"):
        verify(release.path, at(server, NOW + 365 * DAY))
    keyring.revoke(database, server, "ci", reason="laptop lost", actor="ada", now=NOW + DAY)
    with pytest.raises(KeyEnded, match="revoked: laptop lost"):
        verify(release.path, at(server, NOW + DAY))
    with pytest.raises(KeyEnded):
        verify(release.path, at(server, NOW - DAY))  # a thief dates back
    assert verbs(database) == ["signing key trusted", "signing key revoked"]


def test_a_revoked_key_stays_revoked(server, keys, database):
    keyring.revoke(database, server, "ci", reason="lost", actor="ada", now=NOW)
    with pytest.raises(Conflict, match="revoked"):
        keyring.add(database, server, pem_of(keys), name="ci", actor="ada", now=NOW)
    with pytest.raises(Conflict, match="already"):
        keyring.revoke(database, server, "ci", reason="lost", actor="ada", now=NOW)
    with pytest.raises(NotFound):
        keyring.revoke(database, server, "nobody", reason="-", actor="ada", now=NOW)


def test_a_key_says_only_what_it_is_trusted_for(make, keys, tmp_path, database):
    release = make()
    create_key(tmp_path / "server")
    folder = tmp_path / "server"

    def trusted(**limits):
        keyring.add(database, folder, pem_of(keys), name="ci", actor="ada", now=NOW, **limits)
        return at(folder, NOW)

    verify(release.path, trusted(uses=("release",), releases=("pri*",)))
    with pytest.raises(Untrusted, match="may not say this of 'prices'"):
        verify(release.path, trusted(releases=("loans", "churn-?")))
    with pytest.raises(Untrusted, match="may not say"):
        verify(release.path, trusted(uses=("attest",)))
    attest(release.path, TIMINGS, {"p99_ms": 1}, signer(keys))
    with pytest.raises(Untrusted, match="may not say"):
        verify(release.path, trusted(uses=("release",)))
    verify(release.path, trusted())


def test_a_limited_key_cannot_call_a_release_by_a_name_that_it_may_sign(make, keys, tmp_path, database):
    release = make()
    create_key(tmp_path / "server")
    keyring.add(database, tmp_path / "server", pem_of(keys), name="ci", actor="ada", now=NOW, releases=("loans",))
    own = release.path / "attestations" / "release.dsse.json"
    own.unlink()
    own.write_bytes(signer(keys).envelope("loans", release.digest, RELEASE, {"format": 1}))
    with pytest.raises(Tampered, match="another release"):
        verify(release.path, at(tmp_path / "server", NOW))


def test_what_an_ended_key_said_beside_a_good_signature_counts_for_nothing(make, keys, server, database, tmp_path):
    release = make()
    create_key(tmp_path / "auditor")
    keyring.add(database, server, pem_of(tmp_path / "auditor"), name="auditor", actor="ada", now=NOW)
    attest(release.path, TIMINGS, {"p99_ms": 1}, signer(tmp_path / "auditor"))
    assert len(statements(release.path, at(server, NOW))) == 2
    keyring.revoke(database, server, "auditor", reason="left", actor="ada", now=NOW)
    verify(release.path, at(server, NOW))
    assert [s.predicate_type for s in statements(release.path, at(server, NOW))] == ["urn:holdfast:release:v1"]


def test_two_must_sign_where_the_policy_says_so(make, keys, server, database):
    release = make()
    with pytest.raises(Untrusted, match="2 trusted keys must sign a release, 1 did") as refused:
        verify(release.path, at(server, NOW, signatures=2))
    assert "holdfast trust sign" in refused.value.next_step
    attest(release.path, "urn:holdfast:release:v1", {"format": 1, "again": True}, signer(keys))
    with pytest.raises(Untrusted, match="1 did"):
        verify(release.path, at(server, NOW, signatures=2))
    keyring.sign(database, server, release.path, actor="ada", now=NOW)
    verify(release.path, at(server, NOW, signatures=2))


@pytest.mark.parametrize("stolen", [False, True])
def test_rotation_signs_anew_and_ends_the_old_key(make, keys, database, stolen):
    first, second = make(), make(rmse=0.2)
    attest(first.path, TIMINGS, {"p99_ms": 1}, signer(keys))
    done = keyring.rotate(database, keys, first.path.parent, actor="ada", now=NOW, stolen=stolen)
    assert (done.signed, done.left) == (3, ())
    assert done.old.standing(NOW) == ("revoked" if stolen else "expired")
    for release in (first, second):
        verify(release.path, at(keys, NOW))
    assert {s.predicate.get("p99_ms") for s in statements(first.path, at(keys, NOW))} == {1, None}
    assert make(rmse=0.3).path.is_dir()
    assert (keys / "signing.pem").stat().st_mode & 0o777 == 0o600
    assert not (keys / "signing.next.pem").exists()


def test_during_the_overlap_copies_elsewhere_are_still_opened(make, keys, database, tmp_path):
    release = make()
    copy = shutil.copytree(release.path, tmp_path / "copies" / release.path.name)
    keyring.rotate(database, keys, release.path.parent, actor="ada", now=NOW, overlap_us=30 * DAY)
    verify(copy, at(keys, NOW + 29 * DAY))
    with pytest.raises(KeyEnded):
        verify(copy, at(keys, NOW + 30 * DAY))


def test_rotation_goes_on_where_it_was_broken_off(make, keys, database, monkeypatch):
    release, other = make(), make(rmse=0.2)
    real = keyring.put_statement

    def dies(*given):
        real(*given)
        raise KeyboardInterrupt

    monkeypatch.setattr(keyring, "put_statement", dies)
    with pytest.raises(KeyboardInterrupt):
        keyring.rotate(database, keys, release.path.parent, actor="ada", now=NOW)
    for one in (release, other):
        verify(one.path, at(keys, NOW))
    monkeypatch.undo()
    done = keyring.rotate(database, keys, release.path.parent, actor="ada", now=NOW)
    assert (done.signed, done.left) == (1, ())
    for one in (release, other):
        verify(one.path, at(keys, NOW))


def test_what_was_changed_is_not_signed_anew(make, keys, database):
    release = make()
    release.model.chmod(0o644)
    release.model.write_bytes(b"other")
    done = keyring.rotate(database, keys, release.path.parent, actor="ada", now=NOW)
    assert done.signed == 0
    assert "model.onnx" in done.left[0]


def test_a_key_that_ended_signs_nothing(make, keys, database):
    own = keyring.own_key(keys)
    put(keys, msgspec.structs.replace(own, expires=1))
    with pytest.raises(WorkspaceError, match="expired") as refused:
        make()
    assert "rotate" in refused.value.next_step
    keyring.revoke(database, keys, own.id[:10], reason="lost", actor="ada", now=NOW)
    release_folder = keys.parent / "releases"
    assert keyring.rotate(database, keys, release_folder, actor="ada", now=NOW).signed == 0
    verify(make().path, trusted_keys(keys))


def test_damaged_and_foreign_keys_are_named(keys, database):
    with pytest.raises(WorkspaceError, match="damaged"):
        keyring.add(database, keys, b"nonsense", name="x", actor="ada", now=NOW)
    other = keys / "trusted" / "ab.json"
    for text in ('{"key": "AAAA"}', "{", '{"key": "AAAA", "expries": 3}'):
        other.write_text(text)
        with pytest.raises(WorkspaceError, match="damaged"):
            trusted_keys(keys)
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    form = serialization.PublicFormat.SubjectPublicKeyInfo
    foreign = X25519PrivateKey.generate().public_key().public_bytes(serialization.Encoding.PEM, form)
    other.unlink()
    with pytest.raises(UsageError, match="no Ed25519"):
        keyring.add(database, keys, foreign, name="x", actor="ada", now=NOW)
