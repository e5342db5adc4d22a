"""TLS: shown, renewed while the server runs, and never broken by half a renewal."""

from pathlib import Path

import grpc
import pytest
from tests.pems import write_certificate
from tests.unit.rpc.conftest import Door

from holdfast.errors import ServeError
from holdfast.rpc.credentials import credentials
from holdfast.rpc.messages import SERVICE


def certificate(folder: Path, name: str) -> tuple[bytes, bytes]:
    """A self-signed certificate for localhost, and its key."""
    (folder / name).mkdir()
    cert, key = write_certificate(folder / name)
    return cert.read_bytes(), key.read_bytes()


def write(folder: Path, cert: bytes, key: bytes) -> tuple[Path, Path]:
    """Replaced as a whole, as renewal does it."""
    found = []
    for name, content in (("cert.pem", cert), ("key.pem", key)):
        (folder / "waiting").write_bytes(content)
        found.append((folder / "waiting").replace(folder / name))
    return found[0], found[1]


def live(door: Door, cert: bytes) -> bool:
    """Whether somebody who trusts this certificate alone gets an answer, on a connection of its own."""
    port = door.address.rpartition(":")[2]
    options = [("grpc.use_local_subchannel_pool", 1)]
    with grpc.secure_channel(f"localhost:{port}", grpc.ssl_channel_credentials(cert), options) as channel:
        call = channel.unary_unary(f"/{SERVICE}/ServerLive").future(b"", timeout=5)
        code = call.code()
        call.exception()
    assert code in {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE}
    return code == grpc.StatusCode.OK


def test_a_certificate_is_shown_and_renewed(plan, state, tmp_path, capfd):
    old, new = certificate(tmp_path, "old"), certificate(tmp_path, "new")
    door = Door(plan, state, tls=write(tmp_path, *old))
    try:
        assert live(door, old[0])
        assert not live(door, new[0])
        write(tmp_path, new[0], old[1])  # half of a renewal
        assert live(door, old[0])
        assert "the new certificate is not used" in capfd.readouterr().err
        write(tmp_path, *new)
        assert live(door, new[0])
        assert not live(door, old[0])
    finally:
        door.close()


def test_key_and_certificate_may_share_a_file(plan, state, tmp_path):
    cert, key = certificate(tmp_path, "one")
    both, _ = write(tmp_path, cert + key, b"")
    door = Door(plan, state, tls=(both, both))
    try:
        assert live(door, cert)
    finally:
        door.close()


@pytest.mark.parametrize("broken", [b"", b"nothing"])
def test_what_is_no_certificate_is_refused_at_once(tmp_path, broken):
    _, key = certificate(tmp_path, "one")
    with pytest.raises(ServeError, match="the certificate cannot be used"):
        credentials(*write(tmp_path, broken, key))
    with pytest.raises(ServeError, match="no such file"):
        credentials(tmp_path / "none.pem", tmp_path / "key.pem")
