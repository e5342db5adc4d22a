"""Keys, hosts and TLS on a real server: who gets in, who is told what, and what changes while it runs."""

import contextlib
import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from urllib.parse import urlsplit

import pytest
from tests.faults.town import Server, town
from tests.pems import write_certificate

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.xdist_group("access")]

BODY = json.dumps({"instances": [{"area": 2.0}]}).encode()
PREDICT = "/v1/models/town:predict"


def ask(address, path=PREDICT, body=BODY, key="", tls=None, **headers):
    """Status, headers, JSON."""
    place = urlsplit(address)
    if place.scheme == "https":
        connection = http.client.HTTPSConnection(place.hostname, place.port, timeout=20, context=tls)
    else:
        connection = http.client.HTTPConnection(place.hostname, place.port, timeout=20)
    try:
        if key:
            headers["Authorization"] = f"Bearer {key}"
        connection.request("GET" if body is None else "POST", path, body, headers)
        answer = connection.getresponse()
        data = answer.read()
        return answer.status, answer.headers, json.loads(data) if data[:1] == b"{" else data
    finally:
        connection.close()


def holdfast(workspace, *arguments, environment=None):
    done = subprocess.run(
        [sys.executable, "-m", "holdfast", "-w", str(workspace.folder), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | (environment or {}),
    )
    return done.returncode, done.stdout, done.stderr


def soon(check, seconds=5.0):
    until = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < until, "it never came"
        time.sleep(0.02)
    return seconds - (until - time.monotonic())


def settings(workspace, text):
    (workspace.folder / "holdfast.toml").write_text("[serve]\n" + text)


def test_keys_limits_and_revocation_over_two_workers(tmp_path):
    workspace = town(tmp_path)
    settings(workspace, 'keys = "required"\nhost = "0.0.0.0"\nworkers = 2\n')
    made = json.loads(holdfast(workspace, "keys", "create", "shop", "--for", "town", "--json")[1])
    server = Server(workspace)
    try:
        here = server.inference.replace("0.0.0.0", "127.0.0.1")
        assert urlsplit(server.control).hostname == "127.0.0.1"
        assert [ask(here, path, None)[0] for path in ("/v2/health/live", "/v2/health/ready")] == [200, 200]
        status, headers, told = ask(here)
        assert (status, told["code"], headers["WWW-Authenticate"]) == (401, "HF330", "Bearer")
        assert ask(here, "/metrics", None)[0] == ask(here, "/v2/models/town", None)[0] == 401
        status, headers, told = ask(here, key=made["key"])
        assert (status, told["predictions"][0]["prediction"]) == (200, pytest.approx(7.0))
        assert ask(here, "/v2/models/town", None, key=made["key"])[0] == 200
        assert ask(here, "/metrics", None, key=made["key"])[2]["code"] == "HF331"
        assert ask(here, "/v1/models/flats:predict", key=made["key"])[0] == 403
        assert ask(here, key=made["key"], Host="shop.example.com")[0] == 200  # a name that a proxy or DNS gives it

        code, _, said = holdfast(workspace, "keys", "revoke", "shop")
        assert code == 0, said
        took = soon(lambda: all(ask(here, key=made["key"])[0] == 401 for _ in range(10)))
        assert took < 2.0

        _, text, said = holdfast(
            workspace, "keys", "create", "poor", "--for", "town", "--rows-per-day", "40", "--scope", "predict,metrics"
        )
        poor = text.strip()
        assert "shown once" in said
        assert poor not in said
        soon(lambda: all(ask(here, "/v2", None, key=poor)[0] == 200 for _ in range(10)))
        ten = json.dumps({"instances": [{"area": 2.0}] * 15}).encode()
        statuses = [ask(here, body=ten, key=poor)[0] for _ in range(4)]
        assert statuses == [200, 200, 429, 429]
        status, headers, told = ask(here, body=ten, key=poor)
        assert told["code"] == "HF311"
        assert 0 < int(headers["Retry-After"]) <= 86_400
        assert "10 left" in told["detail"]

        os.kill(server.workers()[0], signal.SIGKILL)  # what was spent stays spent
        soon(lambda: len(server.workers()) == 2, 30.0)
        soon(lambda: ask(here, "/v2/health/ready", None)[0] == 200)
        assert ask(here, body=ten, key=poor)[0] == 429
        text = ask(here, "/metrics", None, key=poor)[2].decode()
        assert 'deployment="town",code="HF330"' in text
        listed = json.loads(holdfast(workspace, "keys", "list", "--json")[1])
        assert [(key["name"], key["standing"]) for key in listed] == [("shop", "revoked"), ("poor", "good")]
        assert made["key"] not in json.dumps(listed)
        _, said = server.stop()
        assert "keys travel unencrypted" in said
    finally:
        server.close()


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_others_reach_nothing_without_keys(tmp_path, host):
    workspace = town(tmp_path)
    code, _, said = holdfast(workspace, "serve", "--host", host, "--port", "0", "--control-port", "0")
    assert code == 2
    assert "nobody is asked for a key" in said
    assert "holdfast keys create" in said


def test_hosts_by_name(tmp_path):
    workspace = town(tmp_path)
    settings(workspace, 'hosts = ["Models.example.com"]\n')
    server = Server(workspace)
    try:
        assert ask(server.inference, Host="models.example.com")[0] == 200
        assert ask(server.inference)[0] == 200
        assert ask(server.inference, Host="evil.example.com")[0] == 421
        assert server.stop()[0] == 0
    finally:
        server.close()


def test_tls_and_a_renewed_certificate(tmp_path):
    workspace = town(tmp_path)
    write_certificate(workspace.folder)
    settings(workspace, 'tls_cert = "cert.pem"\ntls_key = "key.pem"\n')

    def trusting():
        return ssl.create_default_context(cafile=str(workspace.folder / "cert.pem"))

    server = Server(workspace)
    try:
        assert server.inference.startswith("https://")
        first = trusting()
        status, _, told = ask(server.inference, tls=first)
        assert (status, told["predictions"][0]["prediction"]) == (200, pytest.approx(7.0))
        place = urlsplit(server.inference)
        kept = http.client.HTTPSConnection(place.hostname, place.port, timeout=20, context=first)
        kept.request("POST", PREDICT, BODY)
        assert kept.getresponse().read()

        (workspace.folder / "cert.pem").write_text("half of it")  # changes nothing
        time.sleep(0.6)
        assert ask(server.inference, tls=first)[0] == 200
        write_certificate(workspace.folder)
        second = trusting()

        def renewed():
            try:
                return ask(server.inference, tls=second)[0] == 200
            except ssl.SSLError:
                return False

        soon(renewed)
        with pytest.raises(ssl.SSLCertVerificationError):
            ask(server.inference, tls=first)
        kept.request("POST", PREDICT, BODY)  # who is here stays
        assert kept.getresponse().status == 200
        kept.close()

        with socket.create_connection((place.hostname, place.port), timeout=20) as plain:
            plain.sendall(b"GET /v2 HTTP/1.1\r\nHost: x\r\n\r\n")
            with contextlib.suppress(ConnectionResetError):
                assert not plain.recv(100).startswith(b"HTTP/1.1 200")
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises((ssl.SSLError, OSError)):
            ask(server.inference, tls=old)
        refused = json.dumps({"instances": [{"area": "x" * 100_000}]}).encode()
        assert ask(server.inference, body=refused, tls=second)[0] == 422
        code, said = server.stop()
        assert code == 0
        assert "the new certificate is not used" in said
    finally:
        server.close()


def test_a_certificate_that_is_none_is_told_at_once(tmp_path):
    workspace = town(tmp_path)
    settings(workspace, 'tls_cert = "gone.pem"\n')
    code, _, said = holdfast(workspace, "serve", "--port", "0", "--control-port", "0")
    assert code == 1
    assert said.startswith("error[HF900]: the certificate cannot be used")
