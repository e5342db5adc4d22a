"""Calls by a client that sends whatever it likes: typed and raw contents, damage, floods."""

import threading
import time

import grpc
import numpy as np
import pytest
from tests.unit.rpc.asking import ROW, raw, records, typed
from tests.unit.rpc.conftest import CALLS, LIMIT, Door

from holdfast.rpc.messages import SERVICE, ModelInferRequest


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
        # Which of them come first is the network's business.
        for _ in range(1000):
            refused = [call for call in open_calls if call.done()]
            if len(refused) >= CALLS:
                break
            time.sleep(0.01)
        wait.set()
        assert {call.code() for call in refused} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
        assert sorted(call.code().name for call in open_calls) == ["OK"] * CALLS + ["RESOURCE_EXHAUSTED"] * CALLS

    def test_headers_are_bounded(self, channel):
        with pytest.raises(grpc.RpcError) as refused:
            raw(channel, typed(), metadata=(("x-holdfast-key", "x" * 60_000),))
        assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
