"""Laws of the gRPC door: whatever bytes come, there is one answer or a refusal that blames the caller, and one record; and the
form of a request (JSON, typed lists, bytes, one column or all at once) changes neither answer nor log.
"""

import asyncio
import json

import grpc
import msgspec
import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.laws.test_dataplane_laws import CONTRACT, NOW, PLAN, Lengths

from holdfast.columns import Layout
from holdfast.columns.binary import DTYPES, pack
from holdfast.core.contract import Contract, Field, Output
from holdfast.core.prediction import Record
from holdfast.rpc.messages import ModelInferRequest, ModelInferResponse
from holdfast.rpc.service import Service
from holdfast.serve.clock import Clock
from holdfast.serve.codecs import TENSORS
from holdfast.serve.dataplane import ServeState, predict
from holdfast.serve.guards import Admission
from holdfast.serve.lane import Lane
from holdfast.serve.plan import LoadedDeployment, LoadedPlan, LoadedRelease, LoadedRoute

LIST_OF = {
    "BOOL": "bool_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


class Refused(Exception):
    pass


class Call:
    """What a handler sees of a call."""

    def invocation_metadata(self):
        return (("x-holdfast-key", "k"),)

    def time_remaining(self):
        return None

    async def abort(self, code, details, metadata):
        raise Refused(code, details, metadata)


def asked(body: bytes, plan=PLAN):
    """(answer or None, the refusal's code or None, records)."""
    frames = []

    def commit(some, then):
        frames.extend(some)
        then(None)

    async def story():
        state = ServeState(clock=Clock(now=lambda: NOW), max_rows=100)
        lane = Lane(threads=1)
        service = Service(plan=plan, state=state, admission=Admission(), lane=lane, commit=commit, look=int)
        try:
            return ModelInferResponse.FromString(await service.calls["ModelInfer"](body, Call())), None
        except Refused as refused:
            code, details, metadata = refused.args
            assert details
            assert all(text.isascii() and text.isprintable() for _, text in metadata)
            return None, code
        finally:
            lane.close()

    return *asyncio.run(story()), [msgspec.msgpack.decode(frame.data[8:], type=Record) for frame in frames]


names = st.sampled_from([field.name for field in CONTRACT.fields]) | st.text(max_size=4)
sizes = st.lists(st.integers(0, 4) | st.integers(-(2**63), 2**63 - 1), max_size=3)
contents = st.fixed_dictionaries(
    {},
    optional={
        "bool_contents": st.lists(st.booleans(), max_size=4),
        "int_contents": st.lists(st.integers(-(2**31), 2**31 - 1), max_size=4),
        "int64_contents": st.lists(st.integers(-(2**63), 2**63 - 1), max_size=4),
        "uint64_contents": st.lists(st.integers(0, 2**64 - 1), max_size=4),
        "fp32_contents": st.lists(st.floats(width=32), max_size=4),
        "fp64_contents": st.lists(st.floats(), max_size=4),
        "bytes_contents": st.lists(st.binary(max_size=4), max_size=4),
    },
)
tensors = st.fixed_dictionaries(
    {"name": names, "datatype": st.sampled_from([*DTYPES, "X"]), "shape": sizes}, optional={"contents": contents}
)
requests = st.fixed_dictionaries(
    {"model_name": st.just("m"), "inputs": st.lists(tensors, max_size=7)},
    optional={
        "model_version": st.sampled_from(["live", "canary", "dddd", "x"]),
        "id": st.text(max_size=3),
        "outputs": st.lists(st.fixed_dictionaries({"name": st.sampled_from(["prediction", "x"])}), max_size=2),
        "raw_input_contents": st.lists(st.binary(max_size=16), max_size=7),
    },
)


def holds(answer, code, records, *, known=True):
    assert len(records) == known
    if answer is not None:
        assert answer.parameters["request"].string_param == records[0].request
    else:
        assert code in {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND}


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(request=requests)
def test_any_message_is_answered_or_refused(request):
    holds(*asked(ModelInferRequest(**request).SerializeToString()))


VALID = ModelInferRequest(model_name="m", id="i")
for _name, _datatype, _value in (
    ("size", "FP64", 1.5),
    ("count", "INT16", 3),
    ("kind", "BYTES", "a"),
    ("new", "BOOL", True),
):
    VALID.inputs.add(name=_name, datatype=_datatype, shape=[1])
    VALID.raw_input_contents.append(pack(_datatype, [_value]))


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_a_message_damaged_anywhere_is_answered_or_refused(data):
    body = bytearray(VALID.SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    body = body[: data.draw(st.integers(0, len(body)))]
    answer, code, records = asked(bytes(body))
    holds(answer, code, records, known=len(records) > 0)  # the damage may be in the model's name, or end the message


@settings(max_examples=200, deadline=None)
@given(body=st.binary(max_size=100))
def test_any_bytes_are_answered_or_refused(body):
    answer, code, records = asked(body)
    holds(answer, code, records, known=len(records) > 0)


rows = st.lists(
    st.fixed_dictionaries(
        {
            "size": st.floats(-1e300, 1e300),
            "count": st.integers(-(2**15), 2**15 - 1),
            "kind": st.text(max_size=6).filter(lambda text: "\x00" not in text),
            "new": st.booleans(),
        }
    ),
    min_size=1,
    max_size=20,
)
TYPES = {"size": "FP64", "count": "INT16", "kind": "BYTES", "new": "BOOL"}


def as_message(columns, types, *, raw, name="m"):
    request = ModelInferRequest(model_name=name, model_version="live")
    for column, values in columns.items():
        datatype = types[column]
        tensor = request.inputs.add(name=column, datatype=datatype, shape=[len(values)])
        if raw:
            request.raw_input_contents.append(pack(datatype, values))
        else:
            told = [value.encode() for value in values] if datatype == "BYTES" else values
            getattr(tensor.contents, LIST_OF[datatype]).extend(told)
    return request.SerializeToString()


def numbers(answer):
    if answer.raw_output_contents:
        return np.frombuffer(answer.raw_output_contents[0]).tolist()
    return list(answer.outputs[0].contents.fp64_contents)


def as_logged(record):
    """What does not differ between two answers to the same rows."""
    return record.rows, record.names, record.numbers, record.columns, record.outputs, record.release


@settings(max_examples=80, deadline=None)
@given(given_rows=rows)
def test_json_typed_lists_and_bytes_of_the_same_values_are_answered_and_logged_alike(given_rows):
    columns = {name: [row[name] for row in given_rows] for name in TYPES}
    json_inputs = [{"name": n, "datatype": TYPES[n], "shape": [len(v)], "data": v} for n, v in columns.items()]
    state = ServeState(clock=Clock(now=lambda: NOW), max_rows=100)
    body = json.dumps({"inputs": json_inputs}).encode()
    by_json = predict(body, TENSORS, "m", "live", {}, PLAN, state)
    assert by_json.status == 200
    expected = json.loads(by_json.body)["outputs"][0]["data"]
    for raw in (True, False):
        answer, _, (record,) = asked(as_message(columns, TYPES, raw=raw))
        assert numbers(answer) == expected
        assert as_logged(record) == as_logged(by_json.record)


TARGET = Output(task="regression", label="y")
WIDE = Contract(
    fields=tuple(Field(name=f"f{i}", datatype="FP64", minimum=-1.0, nullable=i == 0) for i in range(4)), output=TARGET
)
MIXED = Contract(
    fields=(*WIDE.fields[:2], Field(name="f2", datatype="INT16"), Field(name="f3", datatype="FP32")), output=TARGET
)


class Sums(Lengths):
    def run(self, columns):
        return {"prediction": np.nan_to_num(sum(columns.values()))}


def alone(name, contract):
    release = LoadedRelease("f" * 64, contract, Layout(contract), Sums())
    return LoadedDeployment(name, "s", LoadedRoute(release, "live", 1.0), None)


COLUMNS = LoadedPlan(1, {"wide": alone("wide", WIDE), "mixed": alone("mixed", MIXED)})


def as_columns(name, values, datatype, columns, *, nested=False, raw=True):
    """One tensor per column in this order, or one for all."""
    request = ModelInferRequest(model_name=name, model_version="live")
    if columns is None:
        request.inputs.add(name="all", datatype=datatype, shape=list(values.shape))
        request.raw_input_contents.append(values.tobytes())
    for index in columns or ():
        shape = [len(values), 1] if nested else [len(values)]
        tensor = request.inputs.add(name=f"f{index}", datatype=datatype, shape=shape)
        if raw:
            request.raw_input_contents.append(values[:, index].tobytes())
        else:
            getattr(tensor.contents, LIST_OF[datatype]).extend(values[:, index])
    return request.SerializeToString()


@settings(max_examples=100, deadline=None)
@given(
    table=st.lists(st.lists(st.floats(-1e4, 1e4, width=32) | st.just(np.nan), min_size=4, max_size=4), min_size=1, max_size=9),
    datatype=st.sampled_from(["FP32", "FP64", "INT32"]),
    order=st.permutations(range(4)),
    nested=st.booleans(),
)  # fmt: skip
def test_columns_read_at_once_or_one_by_one_are_the_same(table, datatype, order, nested):
    given = np.array(table)
    values = (np.nan_to_num(given) if datatype == "INT32" else given).astype(DTYPES[datatype])
    for name, ways in (("wide", (range(4), order, None)), ("mixed", (range(4), order))):
        found = []
        for columns, raw in [*((columns, True) for columns in ways), (range(4), False), (order, False)]:
            body = as_columns(name, values, datatype, columns, nested=nested, raw=raw)
            answer, code, (record,) = asked(body, COLUMNS)
            found.append((None, code) if answer is None else (numbers(answer), as_logged(record)))
        assert all(one == found[0] for one in found)
        if name == "wide":
            assert (found[0][0] is None) == bool(np.isnan(values[:, 1:]).any())
