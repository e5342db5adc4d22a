"""Keys, budgets and TLS on a real server's gRPC port: the same as over HTTP, and counted together."""

import ssl

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from tests.faults.town import Server, town
from tests.integration.test_access import ask, holdfast, settings, soon
from tests.pems import write_certificate
from tritonclient.utils import InferenceServerException

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.xdist_group("access")]


def areas(count):
    return [triton.InferInput("area", [count], "FP64").set_data_from_numpy(np.full(count, 2.0))]


def status(call):
    try:
        call()
    except InferenceServerException as refused:
        return refused.status().removeprefix("StatusCode.")
    return "OK"


def test_a_key_opens_both_doors_and_its_budget_is_one(tmp_path):
    workspace = town(tmp_path)
    cert, _ = write_certificate(tmp_path)
    settings(workspace, 'keys = "required"\nworkers = 2\ngrpc_port = 0\ntls_cert = "cert.pem"\ntls_key = "key.pem"\n')
    key = holdfast(workspace, "keys", "create", "shop", "--for", "town", "--rows-per-day", "100")[1].strip()
    server = Server(workspace)
    try:
        port = server.grpc.rpartition(":")[2]
        trusted = grpc.ssl_channel_credentials(cert.read_bytes())
        with triton.InferenceServerClient(f"localhost:{port}", creds=trusted) as client:
            shown = {"authorization": f"Bearer {key}"}
            assert client.is_server_ready()
            assert status(lambda: client.infer("town", areas(1))) == "UNAUTHENTICATED"
            assert status(lambda: client.get_model_metadata("town")) == "UNAUTHENTICATED"
            assert status(lambda: client.infer("flats", areas(1), headers=shown)) == "PERMISSION_DENIED"
            answer = client.infer("town", areas(40), headers=shown)
            np.testing.assert_allclose(answer.as_numpy("prediction"), [7.0] * 40)
            assert status(lambda: client.infer("town", areas(40), headers=shown)) == "OK"
            assert status(lambda: client.infer("town", areas(40), headers=shown)) == "RESOURCE_EXHAUSTED"
            tls = ssl.create_default_context(cafile=str(cert))
            over_http = [ask(server.inference, key=key, tls=tls)[0] for _ in range(30)]
            assert 200 in over_http
            soon(lambda: ask(server.inference, key=key, tls=tls)[0] == 429)
            assert holdfast(workspace, "keys", "revoke", "shop")[0] == 0
            soon(lambda: status(lambda: client.infer("town", areas(1), headers=shown)) == "UNAUTHENTICATED")
        code, said = server.stop()
        assert code == 0
        assert "andshake" not in said, "the server's own look at its port is not told as an error"
    finally:
        server.close()
