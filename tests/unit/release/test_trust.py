"""Keys and envelopes: who signed what, and that a changed byte is found wherever it is."""

import json
import stat

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from holdfast.errors import ReleaseError, Tampered, Untrusted, WorkspaceError
from holdfast.release.trust import create_key, key_id, open_envelope, signer, trusted_keys

DIGEST = "ab" * 32


@pytest.fixture
def keys(tmp_path):
    create_key(tmp_path)
    return tmp_path


def test_a_new_key_is_private_and_trusted_here_only(tmp_path):
    name = create_key(tmp_path / "a")
    assert stat.S_IMODE((tmp_path / "a" / "signing.pem").stat().st_mode) == 0o600
    assert list(trusted_keys(tmp_path / "a")) == [name] == [key_id(signer(tmp_path / "a").public)]
    assert create_key(tmp_path / "b") != name
    assert name not in trusted_keys(tmp_path / "b")


def test_an_existing_key_stays(keys):
    before = (keys / "signing.pem").read_bytes()
    create_key(keys)
    assert (keys / "signing.pem").read_bytes() == before


def test_an_envelope_is_an_in_toto_statement(keys):
    content = signer(keys).envelope("prices", DIGEST, "urn:test:v1", {"p99_ms": 3.5})
    statement = open_envelope(content, trusted_keys(keys), "here")
    assert statement.digest == DIGEST
    assert statement.predicate == {"p99_ms": 3.5}
    assert statement.predicate_type == "urn:test:v1"
    assert json.loads(content)["payloadType"] == "application/vnd.in-toto+json"


def test_the_same_statement_is_signed_by_the_same_bytes(keys):
    made = [signer(keys).envelope("prices", DIGEST, "urn:test:v1", {"b": 1, "a": 2}) for _ in range(2)]
    assert made[0] == made[1] == signer(keys).envelope("prices", DIGEST, "urn:test:v1", {"a": 2, "b": 1})


def test_every_flipped_bit_is_found(keys):
    content = signer(keys).envelope("prices", DIGEST, "urn:test:v1", {"a": 1})
    trusted = trusted_keys(keys)
    for position in range(len(content)):
        for bit in (0x01, 0x20):
            changed = bytearray(content)
            changed[position] ^= bit
            with pytest.raises(ReleaseError):
                open_envelope(bytes(changed), trusted, "here")


def test_spaces_and_other_keys_are_refused(keys, tmp_path):
    content = signer(keys).envelope("prices", DIGEST, "urn:test:v1", {})
    with pytest.raises(Tampered):
        open_envelope(content + b"\n", trusted_keys(keys), "here")
    create_key(tmp_path / "other")
    with pytest.raises(Untrusted) as refused:
        open_envelope(content, trusted_keys(tmp_path / "other"), "here")
    assert "holdfast trust add" in refused.value.next_step


def test_missing_and_damaged_keys_are_named(tmp_path, keys):
    with pytest.raises(WorkspaceError, match="no signing key"):
        signer(tmp_path / "nowhere")
    (keys / "signing.pem").chmod(0o600)
    (keys / "signing.pem").write_text("nonsense")
    with pytest.raises(WorkspaceError, match="damaged"):
        signer(keys)
    next((keys / "trusted").iterdir()).write_text("nonsense")
    with pytest.raises(WorkspaceError, match="trusted key"):
        trusted_keys(keys)


def test_a_key_is_read_in_every_form_and_one_of_another_kind_is_left_out(keys):
    (path,) = (keys / "trusted").glob("*.pem")
    usual = trusted_keys(keys)
    text = path.read_bytes()
    for form in (text.replace(b"\n", b"\r\n"), text.rstrip(), b"of a colleague\n" + text):
        path.write_bytes(form)
        assert trusted_keys(keys).keys() == usual.keys()
    other = X25519PrivateKey.generate().public_key()  # as long as ours
    path.write_bytes(other.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo))
    assert not trusted_keys(keys)
