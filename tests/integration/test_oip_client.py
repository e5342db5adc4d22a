"""Clients that we did not write, `tritonclient` over HTTP and gRPC, against a real server over a release of a real scikit-learn model."""

import asyncio
import json
import signal
import subprocess
import sys
import urllib.request

import numpy as np
import pandas as pd
import pytest
import tritonclient.grpc as rpc
import tritonclient.grpc.aio as rpc_aio
import tritonclient.http as triton
from sklearn.compose import make_column_transformer
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from tritonclient.utils import InferenceServerException

import holdfast

ROWS = 1200


class Served:
    """A running server, its models and the rows to ask."""

    def __init__(self, addresses, frame, models, digests):
        self.address = address = addresses["inference"]
        self.grpc = addresses["grpc"]
        self.frame = frame
        self.models = models
        self.digests = digests
        self.client = triton.InferenceServerClient(address.removeprefix("http://"))

    def infer(self, name, inputs, **options):
        return self.client.infer(name, inputs, **options)


def holdfast_command(folder, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "holdfast", *arguments], cwd=folder, check=True, capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("oip")
    rng = np.random.default_rng(5)
    frame = pd.DataFrame(
        {
            "area": rng.uniform(30, 200, ROWS),
            "rooms": rng.integers(1, 6, ROWS),
            "kind": rng.choice(["flat", "house", "villa"], ROWS),
        }
    )
    price = frame.area * 3000 + frame.rooms * 1e4 + frame.kind.map({"flat": 0, "house": 5e4, "villa": 2e5})
    dear = (price > price.median()).astype(int)
    half = ROWS // 2

    def fitted(model, truth):
        shape = make_column_transformer((OneHotEncoder(), ["kind"]), remainder="passthrough")
        return make_pipeline(shape, model).fit(frame[:half], truth[:half])

    models = {
        "prices": (fitted(LinearRegression(), price), price),
        "dear": (fitted(GradientBoostingClassifier(n_estimators=20, random_state=0), dear), dear),
    }
    workspace = holdfast.create_workspace(folder)
    digests = {}
    for name, (model, truth) in models.items():
        release = holdfast.build_release(model, frame[half:], truth[half:], workspace=workspace, name=name)
        digests[name] = release.digest
        holdfast_command(folder, "deploy", release.digest, "--as", name)
    server = subprocess.Popen(
        [sys.executable, "-m", "holdfast", "serve", "--port", "0", "--control-port", "0", "--grpc-port", "0", "--json"],
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Served(
            _printed(server), frame[half:].reset_index(drop=True), {n: m for n, (m, _) in models.items()}, digests
        )
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(60)
        server.stdout.close()


def _printed(server):
    text = ""
    while line := server.stdout.readline():
        text += line
        try:
            return json.loads(text)
        except json.JSONDecodeError:
            continue
    raise AssertionError(f"the server ended with {server.wait()} and said: {text}")


def tensors(frame, *, binary=False):
    """One named tensor per column."""
    found = []
    for name, datatype, values in (
        ("area", "FP64", frame.area.to_numpy(np.float64)),
        ("rooms", "INT64", frame.rooms.to_numpy(np.int64)),
        ("kind", "BYTES", frame.kind.to_numpy(object)),
    ):
        tensor = triton.InferInput(name, [len(frame)], datatype)
        tensor.set_data_from_numpy(values, binary_data=binary)
        found.append(tensor)
    return found


def wanted(*names, binary=False):
    return [triton.InferRequestedOutput(name, binary_data=binary) for name in names]


class TestOipClient:
    def test_health_and_metadata(self, served):
        client = served.client
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("prices")
        assert client.is_model_ready("prices", served.digests["prices"])
        assert not client.is_model_ready("nothing")
        assert client.get_server_metadata()["name"] == "holdfast"
        told = client.get_model_metadata("prices")
        assert told["versions"] == [served.digests["prices"]]
        assert {(t["name"], t["datatype"]) for t in told["inputs"]} == {
            ("area", "FP64"),
            ("rooms", "INT64"),
            ("kind", "BYTES"),
        }

    @pytest.mark.parametrize("rows", [1, 3, 600])
    def test_predictions_are_the_models_own(self, served, rows):
        frame = served.frame[:rows]
        answer = served.infer("prices", tensors(frame), outputs=wanted("prediction"), request_id="mine")
        expected = served.models["prices"].predict(frame)
        np.testing.assert_allclose(answer.as_numpy("prediction"), expected, rtol=1e-9)
        told = answer.get_response()
        assert (told["id"], told["model_version"]) == ("mine", served.digests["prices"])

    def test_classes_and_probabilities(self, served):
        frame = served.frame[:50]
        answer = served.infer("dear", tensors(frame), outputs=wanted("label", "probabilities"))
        shares = served.models["dear"].predict_proba(frame)
        np.testing.assert_allclose(answer.as_numpy("probabilities"), shares, rtol=1e-6)
        assert answer.as_numpy("label").tolist() == served.models["dear"].predict(frame).tolist()

    def test_the_front_page_points_to_the_control_port(self, served):
        with urllib.request.urlopen(served.address) as answer:
            told = json.load(answer)
        with urllib.request.urlopen(told["control"]) as console:
            assert console.status == 200

    def test_an_error_reaches_the_clients_user(self, served):
        frame = served.frame[:2]
        with pytest.raises(InferenceServerException, match="rooms"):
            served.infer("prices", [t for t in tensors(frame) if t.name() != "rooms"], outputs=wanted("prediction"))
        with pytest.raises(InferenceServerException, match="no deployment 'nothing'"):
            served.infer("nothing", tensors(frame), outputs=wanted("prediction"))

    def test_the_client_may_pack_its_requests(self, served):
        frame = served.frame[:5]
        answer = served.infer(
            "prices", tensors(frame), outputs=wanted("prediction"), request_compression_algorithm="gzip"
        )
        np.testing.assert_allclose(answer.as_numpy("prediction"), served.models["prices"].predict(frame), rtol=1e-9)


class TestBinary:
    """The client's own default: bytes both ways."""

    @pytest.mark.parametrize("rows", [1, 600])
    @pytest.mark.parametrize("packing", [None, "gzip", "deflate"])
    def test_bytes_both_ways(self, served, rows, packing):
        frame = served.frame[:rows]
        answer = served.infer(
            "dear",
            tensors(frame, binary=True),
            request_compression_algorithm=packing,
            response_compression_algorithm=packing,
        )
        assert all("data" not in output for output in answer.get_response()["outputs"])
        shares = served.models["dear"].predict_proba(frame)
        np.testing.assert_allclose(answer.as_numpy("probabilities"), shares, rtol=1e-6)
        assert answer.as_numpy("label").tolist() == served.models["dear"].predict(frame).tolist()

    @pytest.mark.parametrize("binary_in", [True, False])
    @pytest.mark.parametrize("binary_out", [True, False])
    def test_in_one_form_and_out_another(self, served, binary_in, binary_out):
        frame = served.frame[:5]
        answer = served.infer(
            "prices", tensors(frame, binary=binary_in), outputs=wanted("prediction", binary=binary_out)
        )
        np.testing.assert_allclose(answer.as_numpy("prediction"), served.models["prices"].predict(frame), rtol=1e-9)

    def test_numbers_of_half_precision_and_mixed_forms(self, served):
        frame = served.frame[:5].assign(area=[50.0, 60.5, 70.0, 80.25, 90.0])
        area = triton.InferInput("area", [5, 1], "FP16")
        area.set_data_from_numpy(frame.area.to_numpy(np.float16).reshape(5, 1), binary_data=True)
        answer = served.infer("prices", [area, *tensors(frame)[1:]])
        np.testing.assert_allclose(answer.as_numpy("prediction"), served.models["prices"].predict(frame), rtol=1e-9)

    def test_an_error_reaches_the_clients_user(self, served):
        frame = served.frame[:2]
        area, rooms, _ = tensors(frame, binary=True)
        with pytest.raises(InferenceServerException, match="kind"):
            served.infer("prices", [area, rooms])
        with pytest.raises(InferenceServerException, match="no output 'nothing'"):
            served.infer("prices", tensors(frame, binary=True), outputs=wanted("nothing"))

    def test_the_model_repository(self, served):
        index = served.client.get_model_repository_index()
        assert {(one["name"], one["version"], one["state"]) for one in index} == {
            (name, digest, "READY") for name, digest in served.digests.items()
        }
        served.client.load_model("prices")
        with pytest.raises(InferenceServerException, match="undeploys nothing"):
            served.client.unload_model("prices")


def rpc_tensors(frame):
    """One named tensor per column, as bytes."""
    return [
        rpc.InferInput(name, [len(frame)], datatype).set_data_from_numpy(values)
        for name, datatype, values in (
            ("area", "FP64", frame.area.to_numpy(np.float64)),
            ("rooms", "INT64", frame.rooms.to_numpy(np.int64)),
            ("kind", "BYTES", frame.kind.to_numpy(object)),
        )
    ]


class TestOverGrpc:
    @pytest.fixture
    def client(self, served):
        with rpc.InferenceServerClient(served.grpc) as found:
            yield found

    def test_health_and_metadata(self, served, client):
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("prices", served.digests["prices"])
        assert not client.is_model_ready("nothing")
        told = client.get_model_metadata("dear", as_json=True)
        over_http = served.client.get_model_metadata("dear")
        assert {t["name"]: t["datatype"] for t in told["inputs"]} == {
            t["name"]: t["datatype"] for t in over_http["inputs"]
        }
        assert told["versions"] == over_http["versions"]

    @pytest.mark.parametrize("rows", [1, 3, 600])
    @pytest.mark.parametrize("packing", [None, "gzip"])
    def test_predictions_are_the_models_own(self, served, client, rows, packing):
        frame = served.frame[:rows]
        answer = client.infer("prices", rpc_tensors(frame), request_id="mine", compression_algorithm=packing)
        np.testing.assert_allclose(answer.as_numpy("prediction"), served.models["prices"].predict(frame), rtol=1e-9)
        assert answer.get_response().id == "mine"

    def test_the_same_bits_as_over_http(self, served, client):
        frame = served.frame[:64]
        over_http = served.infer("dear", tensors(frame, binary=True), outputs=wanted("probabilities", binary=True))
        over_grpc = client.infer("dear", rpc_tensors(frame))
        assert over_grpc.as_numpy("probabilities").tobytes() == over_http.as_numpy("probabilities").tobytes()

    def test_many_calls_at_once(self, served):
        frame = served.frame[:1]
        expected = served.models["prices"].predict(frame)

        async def story():
            async with rpc_aio.InferenceServerClient(served.grpc) as client:
                calls = [client.infer("prices", rpc_tensors(frame), client_timeout=30) for _ in range(300)]
                return await asyncio.gather(*calls)

        answers = asyncio.run(story())
        assert len({answer.get_response().parameters["request"].string_param for answer in answers}) == 300
        for answer in answers:
            np.testing.assert_allclose(answer.as_numpy("prediction"), expected, rtol=1e-9)

    def test_an_error_reaches_the_clients_user(self, client, served):
        frame = served.frame[:2].assign(rooms=[1, None])
        rooms = rpc.InferInput("rooms", [2], "FP64").set_data_from_numpy(frame.rooms.to_numpy(np.float64))
        area, _, kind = rpc_tensors(served.frame[:2])
        with pytest.raises(InferenceServerException, match="row 1, field 'rooms'") as refused:
            client.infer("prices", [area, rooms, kind])
        assert refused.value.status() == "StatusCode.INVALID_ARGUMENT"

    def test_a_deadline_that_cannot_be_kept(self, client, served):
        with pytest.raises(InferenceServerException, match=r"(?i)deadline"):
            client.infer("prices", rpc_tensors(served.frame), client_timeout=1e-6)
