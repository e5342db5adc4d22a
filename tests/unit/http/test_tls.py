"""Certificates: shown, renewed, and never broken by half a renewal."""

import ssl

import pytest
from tests.pems import write_certificate

from holdfast.errors import ServeError
from holdfast.http.tls import Certificate


def shown(context: ssl.SSLContext, trusted) -> bool:
    """Whether a client that trusts this certificate alone shakes hands."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = context.wrap_bio(to_server, to_client, server_side=True)
    client = ssl.create_default_context(cadata=trusted).wrap_bio(to_client, to_server, server_hostname="localhost")
    try:
        for _ in range(6):
            for side in (client, server):
                try:
                    side.do_handshake()
                except ssl.SSLWantReadError:
                    continue
    except ssl.SSLCertVerificationError:
        return False
    return client.version() is not None and client.selected_alpn_protocol() is None


def test_a_new_certificate_is_shown_to_the_next(tmp_path):
    cert, key = write_certificate(tmp_path)
    first = cert.read_text()
    held = Certificate(cert, key)
    assert shown(held.context, first)
    assert not held.refresh()
    write_certificate(tmp_path)
    assert held.refresh()
    assert not held.refresh()
    assert shown(held.context, cert.read_text())
    assert not shown(held.context, first)


@pytest.mark.parametrize("broken", ["cert", "key", "gone", "cut"])
def test_half_a_renewal_changes_nothing_until_it_is_whole(tmp_path, broken, capsys):
    cert, key = write_certificate(tmp_path)
    first = cert.read_text()
    held = Certificate(cert, key)
    (tmp_path / "new").mkdir()
    new_cert, new_key = write_certificate(tmp_path / "new")
    if broken == "gone":
        key.unlink()
    elif broken == "cut":
        cert.write_text(new_cert.read_text()[:200])
    else:
        name = f"{broken}.pem"
        (tmp_path / name).write_bytes((tmp_path / "new" / name).read_bytes())
    assert not held.refresh()
    assert "the new certificate is not used" in capsys.readouterr().err
    assert shown(held.context, first)
    new_cert.replace(cert)
    new_key.replace(key)
    assert held.refresh()
    assert shown(held.context, cert.read_text())


def test_one_file_may_hold_both(tmp_path):
    cert, key = write_certificate(tmp_path)
    both = tmp_path / "both.pem"
    both.write_text(cert.read_text() + key.read_text())
    assert shown(Certificate(both).context, cert.read_text())


def test_what_cannot_be_used_is_told(tmp_path):
    cert, key = write_certificate(tmp_path)
    with pytest.raises(ServeError, match="no such file"):
        Certificate(tmp_path / "none.pem", key)
    with pytest.raises(ServeError, match="cannot be used"):
        Certificate(key, key)
    (tmp_path / "new").mkdir()
    _, other = write_certificate(tmp_path / "new")
    with pytest.raises(ServeError, match="mismatch"):
        Certificate(cert, other)
