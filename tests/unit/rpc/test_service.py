"""Every call, by a client that we did not write (Triton's) and by one that sends whatever it likes."""

import threading
import time

import grpc
import msgspec
import numpy as np
import pytest
import tritonclient.grpc as triton
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tests.unit.rpc.conftest import CALLS, LIMIT, Door
from tritonclient.utils import InferenceServerException, triton_to_np_dtype

from holdfast.core.prediction import Record
from holdfast.errors import Forbidden, LogFull, Overloaded, TooMany, Unauthorized
from holdfast.rpc.messages import SERVICE, ModelInferRequest, ModelInferResponse
from holdfast.serve.guards import DEADLINE_HEADER, FREE, Admission, Grant
from holdfast.serve.plan import LoadedPlan

ROW = {"area": ("FP64", 50.0), "rooms": ("INT32", 2), "kind": ("BYTES", "flat")}


def tensor(name, datatype, values):
    array = np.array(values, dtype=object if datatype == "BYTES" else triton_to_np_dtype(datatype))
    return triton.InferInput(name, list(array.shape), datatype).set_data_from_numpy(array)


def rows(n=1, **changed):
    return [tensor(name, datatype, [value] * n) for name, (datatype, value) in (ROW | changed).items()]


def records(door):
    return [msgspec.msgpack.decode(frame[8:], type=Record) for frames in door.frames for frame in frames]


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
            frames = [door.service._tick.logged(bytes([i])) for i in range(3)]
            return [await frame for frame in frames]

        assert door.run(ticks()) == [None] * 3
        assert door.frames == [[b"\0", b"\1", b"\2"]]

    def test_a_slow_model_leaves_the_loop_and_is_logged(self, channel, door):
        make_slow(door, typed())
        for _ in range(20):
            assert raw(channel, typed()).model_name == "price"
        assert len(records(door)) == 20

    def test_a_new_plan_answers_from_the_next_call_on(self, client, door, plan):
        assert client.is_model_ready("garden")
        assert door.looked == 1
        door.service.follow(LoadedPlan(8, {"price": plan.deployments["price"]}))
        assert not client.is_model_ready("garden")


def raw(channel, request, **options):
    call = channel.unary_unary(f"/{SERVICE}/ModelInfer")
    body = request if isinstance(request, bytes) else request.SerializeToString()
    return ModelInferResponse.FromString(call(body, timeout=options.pop("timeout", 10), **options))


def typed(name="price", **changed):
    """A request with typed contents, as a hand-written client sends."""
    fields = {"FP64": "fp64_contents", "INT32": "int_contents", "BYTES": "bytes_contents", "FP32": "fp32_contents"}
    request = ModelInferRequest(model_name=name)
    for column, (datatype, value) in (ROW | changed).items():
        contents = {fields[datatype]: [value.encode() if isinstance(value, str) else value]}
        request.inputs.add(name=column, datatype=datatype, shape=[1], contents=contents)
    return request


def make_slow(door, request):
    """As if such a request had been seen to take long."""
    door.service._pace.measured((request.model_name, request.model_version), request.ByteSize(), 1.0)


class TestRaw:
    def test_typed_contents_are_answered_in_typed_contents(self, channel):
        told = raw(channel, typed())
        assert list(told.outputs[0].contents.fp64_contents) == pytest.approx([152.0])
        assert not told.raw_output_contents
        shares = raw(channel, typed("garden"))
        assert list(shares.outputs[0].contents.bool_contents) == [False]
        assert len(shares.outputs[1].contents.fp64_contents) == 2

    def test_raw_contents_are_answered_in_raw_contents(self, channel):
        request = ModelInferRequest(model_name="garden")
        for name, (datatype, value) in ROW.items():
            request.inputs.add(name=name, datatype=datatype, shape=[1, 1])
            data = b"\4\0\0\0flat" if datatype == "BYTES" else np.array([value], "<f8" if datatype == "FP64" else "<i4")
            request.raw_input_contents.append(bytes(data))
        told = raw(channel, request)
        assert [len(part) for part in told.raw_output_contents] == [1, 16]

    @pytest.mark.parametrize(
        ("spoil", "says"),
        [
            (lambda r: r.ClearField("inputs"), "there are no inputs"),
            (lambda r: r.raw_input_contents.append(b""), "3 inputs and 1 raw contents"),
            (lambda r: r.inputs.add(name="area", datatype="FP64", shape=[1], contents={"fp64_contents": [1.0]}), "twice"),
            (lambda r: r.inputs.add(name="cellar", datatype="FP64", shape=[1], contents={"fp64_contents": [1.0]}), "unknown column 'cellar'"),
            (lambda r: r.inputs.pop(), "column 'kind' is missing"),
            (lambda r: r.inputs[0].shape.append(3), "3 values, 1 are in fp64_contents"),
            (lambda r: r.inputs[0].ClearField("shape"), "shape"),
            (lambda r: r.inputs[0].shape.__setitem__(0, -1), "shape"),
            (lambda r: r.inputs[0].shape.__setitem__(0, 1 << 40), "shape"),
            (lambda r: setattr(r.inputs[0], "datatype", "FP16"), "'FP16' has no typed contents"),
            (lambda r: setattr(r.inputs[0], "datatype", "FP128"), "FP128"),
            (lambda r: setattr(r.inputs[0], "datatype", "INT64"), "0 are in int64_contents"),
            (lambda r: r.inputs[2].contents.bytes_contents.__setitem__(0, b"\xff"), "not UTF-8"),
            (lambda r: r.inputs[0].contents.fp64_contents.__setitem__(0, float("nan")), "row 0, field 'area'"),
            (lambda r: r.inputs[0].contents.fp64_contents.__setitem__(0, float("inf")), "row 0, field 'area'"),
            (lambda r: r.inputs[0].parameters["shared_memory_region"].MergeFromString(b"\x1a\1x"), "shared_memory_region"),
            (lambda r: r.outputs.add(name="nothing"), "no output 'nothing'"),
            (lambda r: r.outputs.add(name="prediction").parameters["classification"].MergeFromString(b"\x10\1"), "classification"),
            (lambda r: setattr(r, "id", "x" * 201), "'id'"),
        ],
    )  # fmt: skip
    def test_what_is_wrong_is_named(self, channel, spoil, says):
        request = typed()
        spoil(request)
        with pytest.raises(grpc.RpcError) as refused:
            raw(channel, request)
        assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert says in refused.value.details()

    def test_a_refusal_names_row_and_field_for_programs(self, channel, door):
        with pytest.raises(grpc.RpcError) as refused:
            raw(channel, typed(rooms=("FP64", 2.5)))
        told = dict(refused.value.trailing_metadata())
        assert (told["holdfast-code"], told["holdfast-field"], told["holdfast-row"]) == ("HF300", "rooms", "0")
        (found,) = records(door)
        assert (found.code, found.field) == ("HF300", "rooms")

    def test_too_many_rows(self, channel):
        request = ModelInferRequest(model_name="price")
        request.inputs.add(name="area", datatype="FP64", shape=[51])
        request.raw_input_contents.append(bytes(8 * 51))
        with pytest.raises(grpc.RpcError, match="at most 50"):
            raw(channel, request)

    def test_a_message_that_is_none(self, channel, state):
        with pytest.raises(grpc.RpcError) as refused:
            raw(channel, b"\xff\xff\xff")
        assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert refused.value.details().startswith("the message is no ModelInferRequest")

    def test_no_such_model_and_no_such_call(self, channel):
        with pytest.raises(grpc.RpcError) as refused:
            raw(channel, typed("prise"))
        assert refused.value.code() == grpc.StatusCode.NOT_FOUND
        assert dict(refused.value.trailing_metadata())["holdfast-next"] == "did you mean 'price'?"
        with pytest.raises(grpc.RpcError) as unknown:
            channel.unary_unary(f"/{SERVICE}/ModelConfig")(b"", timeout=10)
        assert unknown.value.code() == grpc.StatusCode.UNIMPLEMENTED

    def test_text_from_a_client_may_be_anything(self, channel):
        with pytest.raises(grpc.RpcError) as refused:
            raw(channel, typed("häuser\n" + "x" * 5000))
        assert refused.value.code() == grpc.StatusCode.NOT_FOUND
        assert "häuser" in refused.value.details()

    @pytest.mark.parametrize("packing", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
    def test_a_message_is_not_larger_than_the_limit_packed_or_not(self, channel, packing):
        assert raw(channel, typed(), compression=packing).model_name == "price"
        with pytest.raises(grpc.RpcError) as refused:
            raw(channel, bytes(LIMIT + 1), compression=packing)
        assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED

    def test_who_begins_to_send_and_does_not_end_is_let_go(self, plan, state):
        wait = threading.Event()
        door = Door(plan, state, request_s=0.2)

        def slowly():
            wait.wait(10)
            yield from ()

        with grpc.insecure_channel(door.address) as channel:
            call = channel.stream_unary(f"/{SERVICE}/ModelInfer")
            with pytest.raises(grpc.RpcError, match=r"not complete after 0\.2 s") as refused:
                call(slowly(), timeout=10)
            wait.set()
            with pytest.raises(grpc.RpcError, match="without a message") as empty:
                call(iter(()), timeout=10)
        door.close()
        assert refused.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        assert empty.value.code() == grpc.StatusCode.INVALID_ARGUMENT

    def test_so_many_calls_at_once_and_no_more(self, channel):
        wait = threading.Event()

        def waiting():
            wait.wait(10)
            yield typed().SerializeToString()

        open_calls = [
            channel.stream_unary(f"/{SERVICE}/ModelInfer").future(waiting(), timeout=10) for _ in range(2 * CALLS)
        ]
        refused = [call for call in open_calls[CALLS:] if call.code() == grpc.StatusCode.RESOURCE_EXHAUSTED]
        wait.set()
        assert len(refused) == CALLS
        assert [call.code() for call in open_calls[:CALLS]] == [grpc.StatusCode.OK] * CALLS

    def test_headers_are_bounded(self, channel):
        with pytest.raises(grpc.RpcError) as refused:
            raw(channel, typed(), metadata=(("x-holdfast-key", "x" * 60_000),))
        assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


class Refusing(Admission):
    """A guard with a mind of its own: what the real one decides is tested where it lives."""

    def __init__(self, bad) -> None:
        super().__init__()
        self.bad = bad
        self.seen: list = []
        self.charged: list[int] = []

    def admit(self, headers, deployment, verb):
        self.seen.append((dict(headers), deployment, verb))
        if self.bad is not None and verb == "infer":
            raise self.bad
        return FREE


@pytest.fixture
def guarded(plan, state):
    opened = []

    def open_(bad=None):
        door = Door(plan, state, Refusing(bad))
        channel = grpc.insecure_channel(door.address)
        opened.extend([channel, door])
        return channel, door.admission

    yield open_
    for one in opened:
        one.close()


class TestGuards:
    @pytest.mark.parametrize(
        ("bad", "code", "pushback"),
        [
            (Unauthorized("no key"), grpc.StatusCode.UNAUTHENTICATED, None),
            (Forbidden("not for you"), grpc.StatusCode.PERMISSION_DENIED, None),
            (TooMany("your rate"), grpc.StatusCode.RESOURCE_EXHAUSTED, "1000"),
            (Overloaded("too much"), grpc.StatusCode.UNAVAILABLE, "1000"),
            (ValueError("a mistake of ours"), grpc.StatusCode.INTERNAL, None),
        ],
    )
    def test_who_may_not_ask_is_told_so(self, guarded, state, capsys, bad, code, pushback):
        channel, _ = guarded(bad)
        with pytest.raises(grpc.RpcError) as refused:
            raw(channel, typed())
        assert refused.value.code() == code
        told = dict(refused.value.trailing_metadata())
        assert told.get("grpc-retry-pushback-ms") == pushback
        assert told["holdfast-code"] in state.metrics.render().decode()

    def test_the_guard_sees_metadata_deadline_model_and_call(self, guarded):
        channel, admission = guarded()
        raw(channel, typed(), metadata=(("x-api-key", "k"), ("some-bin", b"\0")), timeout=5)
        headers, name, verb = admission.seen[-1]
        assert (headers["x-api-key"], name, verb) == ("k", "price", "infer")
        assert "some-bin" not in headers
        assert 0 < float(headers[DEADLINE_HEADER]) <= 5100  # the core rounds up
        raw(channel, typed(), timeout=None)
        assert DEADLINE_HEADER not in admission.seen[-1][0]

    def test_a_deadline_that_passed_before_the_model_was_asked(self, plan, state, monkeypatch):
        door = Door(plan, state)
        try:
            monkeypatch.setattr(door.admission, "admit", lambda *_: Grant(deadline=time.perf_counter() - 1))
            make_slow(door, typed())
            with grpc.insecure_channel(door.address) as channel, pytest.raises(grpc.RpcError) as refused:
                raw(channel, typed())
            assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
            assert "within the deadline" in refused.value.details()
            assert not door.frames
        finally:
            door.close()

    def test_metadata_calls_are_admitted_by_their_verbs(self, guarded):
        channel, admission = guarded()
        for call in ("ServerLive", "ServerReady", "ServerMetadata", "RepositoryIndex"):
            channel.unary_unary(f"/{SERVICE}/{call}")(b"", timeout=10)
        assert [verb for _, _, verb in admission.seen] == ["live", "ready", "server", "repository"]


class TestDrain:
    def test_who_drains_is_not_ready_and_answers_no_more(self, plan, state):
        door = Door(plan, state)
        with grpc.insecure_channel(door.address) as channel:
            assert raw(channel, typed()).model_name == "price"
            door.close()
            with pytest.raises(grpc.RpcError) as gone:
                raw(channel, typed())
        assert gone.value.code() == grpc.StatusCode.UNAVAILABLE

    def test_it_is_not_ready_while_it_drains(self, client, door):
        door.service.draining = True
        assert not client.is_server_ready()
        assert not client.is_model_ready("price")
        assert client.is_server_live()
        assert client.infer("price", rows()).as_numpy("prediction") is not None
