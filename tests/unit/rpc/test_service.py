"""Every call, by a client that we did not write: Triton's."""

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tests.unit.rpc.asking import make_slow, raw, records, rows, tensor, typed
from tritonclient.utils import InferenceServerException

from holdfast.backends.onnx import OnnxRuntime
from holdfast.core.deployment import Plan, Route
from holdfast.errors import LogFull
from holdfast.predictions.log import Frame
from holdfast.rpc.messages import SERVICE
from holdfast.serve.plan import LoadedPlan, open_loaded
from holdfast.serve.shelf import Shelf


class TestMetadata:
    def test_health(self, client, digests):
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("price")
        assert client.is_model_ready("price", digests["price"])
        assert client.is_model_ready("split", "canary")
        assert not client.is_model_ready("price", "canary")
        assert not client.is_model_ready("nobody")

    def test_the_standard_health_service(self, channel):
        stub = health_pb2_grpc.HealthStub(channel)
        for service in ("", SERVICE):
            told = stub.Check(health_pb2.HealthCheckRequest(service=service))
            assert told.status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.RpcError) as unknown:
            stub.Check(health_pb2.HealthCheckRequest(service="nobody"))
        assert unknown.value.code() == grpc.StatusCode.NOT_FOUND

    def test_server(self, client):
        told = client.get_server_metadata()
        assert told.name == "holdfast"
        assert "model_repository" in told.extensions

    def test_model(self, client, digests):
        told = client.get_model_metadata("split")
        assert list(told.versions) == [digests["price"], digests["dearer"]]
        assert [(t.name, t.datatype, list(t.shape)) for t in told.inputs][2:5] == [
            ("area", "FP64", [-1]),
            ("rooms", "INT32", [-1]),
            ("kind", "BYTES", [-1]),
        ]
        shares = client.get_model_metadata("garden").outputs[1]
        assert (shares.name, shares.datatype, list(shares.shape)) == ("probabilities", "FP64", [-1, 2])

    def test_the_repository(self, client, digests):
        told = {(m.name, m.version, m.state) for m in client.get_model_repository_index().models}
        assert ("split", digests["dearer"], "READY") in told
        assert len(told) == 4
        client.load_model("price")
        with pytest.raises(InferenceServerException, match="next: holdfast deploy RELEASE --as nobody"):
            client.load_model("nobody")
        with pytest.raises(InferenceServerException, match="next: holdfast undeploy price"):
            client.unload_model("price")


class TestInfer:
    @pytest.mark.parametrize("n", [1, 3, 50])
    def test_a_regression(self, client, digests, n):
        answer = client.infer("price", rows(n), request_id="mine")
        np.testing.assert_allclose(answer.as_numpy("prediction"), [152.0] * n)
        told = answer.get_response()
        assert (told.model_name, told.model_version, told.id) == ("price", digests["price"], "mine")
        ids = told.parameters["predictions"].string_param.split(",")
        assert ids == [f"{told.parameters['request'].string_param}-{row}" for row in range(n)]

    def test_a_classifier(self, client):
        answer = client.infer("garden", [*rows(2, kind=("BYTES", "house"))])
        assert answer.as_numpy("label").tolist() == [True, True]
        assert answer.as_numpy("probabilities").shape == (2, 2)

    def test_chosen_outputs_in_their_order(self, client):
        wanted = [triton.InferRequestedOutput(name) for name in ("probabilities", "label")]
        told = client.infer("garden", rows(), outputs=wanted).get_response()
        assert [output.name for output in told.outputs] == ["probabilities", "label"]
        only = client.infer("garden", rows(), outputs=wanted[:1])
        assert only.as_numpy("label") is None

    def test_a_version(self, client, digests):
        for version, factor in (("canary", 2.0), (digests["dearer"], 2.0), (digests["price"][:8], 1.0)):
            answer = client.infer("split", rows(), model_version=version)
            np.testing.assert_allclose(answer.as_numpy("prediction"), [152.0 * factor])

    def test_a_key_keeps_its_release(self, client):
        for key in ("x-holdfast-key", "a"), ("x-holdfast-key", "b"):
            versions = {
                client.infer("split", rows(), headers=dict([key])).get_response().model_version for _ in range(9)
            }
            assert len(versions) == 1

    @pytest.mark.parametrize("datatype", ["FP16", "FP32", "FP64", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT64"])
    def test_any_width_of_number(self, client, datatype):
        area = 50 if "INT" in datatype else 50.0
        answer = client.infer("price", rows(2, area=(datatype, area)))
        np.testing.assert_allclose(answer.as_numpy("prediction"), [152.0] * 2)

    def test_one_matrix_for_all_columns_is_for_columns_of_one_kind(self, client):
        with pytest.raises(InferenceServerException, match="one tensor of 3 columns is not the 3 features") as refused:
            client.infer("price", [tensor("x", "FP64", [[50.0, 2.0, 1.0]])])
        assert refused.value.status() == "StatusCode.INVALID_ARGUMENT"

    def test_every_answer_is_logged_before_it_is_given(self, client, door):
        told = client.infer("price", rows(2), request_id="mine").get_response()
        (found,) = records(door)
        assert found.request == told.parameters["request"].string_param
        assert (found.rows, found.client_id, found.deployment) == (2, "mine", "price")

    def test_what_cannot_be_logged_is_not_answered(self, client, door):
        door.broken = LogFull("the disk is full", fitted=0)
        with pytest.raises(InferenceServerException, match="the disk is full") as refused:
            client.infer("price", rows())
        assert refused.value.status() == "StatusCode.UNAVAILABLE"

    def test_answers_of_a_tick_share_a_write(self, door, client):
        async def ticks():
            door.frames.clear()
            frames = [door.service._tick.logged(Frame(bytes([i]), None)) for i in range(3)]
            return [await frame for frame in frames]

        assert door.run(ticks()) == [None] * 3
        assert door.frames == [[Frame(bytes([i]), None) for i in range(3)]]

    def test_a_slow_model_leaves_the_loop_and_is_logged(self, channel, door):
        make_slow(door, typed())
        for _ in range(20):
            assert raw(channel, typed()).model_name == "price"
        assert len(records(door)) == 20

    def test_a_cold_model_is_loaded_when_it_is_asked_for(self, client, door, house, digests):
        def opened(digest):
            release = house.open(digest)
            return open_loaded(release, OnnxRuntime()), release.model

        shelf = Shelf(opened, 1 << 30)
        cold = shelf.plan(Plan(9, {"price": (Route(digests["price"], "live", 1.0),)}, {}), ())
        door.service.follow(cold)
        assert client.is_model_ready("price")
        assert cold.cold("price")
        assert client.infer("price", rows()).as_numpy("prediction") == pytest.approx([152.0])
        assert not cold.cold("price")
        shelf.close()

    def test_a_new_plan_answers_from_the_next_call_on(self, client, door, plan):
        assert client.is_model_ready("garden")
        assert door.looked == 1
        door.service.follow(LoadedPlan(8, {"price": plan.deployments["price"]}))
        assert not client.is_model_ready("garden")
