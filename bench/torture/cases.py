"""Requests that nobody should send: right ones, mutated. All is drawn from a seeded generator, so that a run can be repeated.

Seeds are requests of every form that a server answers. A mutation works on the values (a number becomes a list, a member is
lost, a shape lies), on the bytes (flipped, cut, doubled), or on what stands around them: path, headers, packing, lengths.
"""

from __future__ import annotations

import copy
import gzip
import json
import random
import zlib
from typing import Any, Final, NamedTuple

import numpy as np

from holdfast.columns.binary import DTYPES, pack
from holdfast.rpc import messages

__all__ = ["FAMILIES", "Call", "Post", "draw"]

MIXED: Final[dict[str, tuple[str, list[Any]]]] = {
    "area": ("FP64", [80.5, 120.0, 33.25]),
    "rooms": ("INT64", [3, 4, 1]),
    "kind": ("BYTES", ["flat", "house", "Höhle"]),
    "sold": ("BYTES", ["2026-03-01T12:00:00Z", "2026-03-01 13:00", "2026-03-02T00:00:00+02:00"]),
    "house": ("BYTES", ["a-1", "a-2", "a-3"]),
}
PLAIN: Final = [[0.5, 1.5, -2.0, 3.25], [0.0, 1e3, 2.0, -1.0]]
NASTY: Final[tuple[Any, ...]] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**53 + 1, 2**63, 2**64, -(2**63), 10**400, 0.1, -0.0, 1e308, 5e-324),
    *(
        float("nan"),
        float("inf"),
        "",
        " ",
        "0",
        "NaN",
        "null",
        "flat",
        "\x00",
        "\x00missing",
        "Zürich\u2028",
        "\U0001f600",
    ),
    *(
        "\ud800",
        "x" * 5000,
        "FP64",
        "BYTES",
        "area",
        "../..",
        "2026-13-45",
        "9999-12-31T23:59:59Z",
        "0001-01-01",
        [],
        {},
    ),
    *([[]], [[[[1]]]], [None], {"name": None}, {"": 0}, [0] * 300),
)
HEADERS: Final = (
    ("Accept-Encoding", ("gzip", "deflate", "gzip;q=0", "br, *;q=0.1", ",;=,", "\x7f")),
    ("Accept", ("text/csv", "application/json", "*/*", "text/csv;q=0", "\xff")),
    (
        "Content-Type",
        ("application/json", "text/csv", "text/csv; header=present", "", "application/octet-stream", ";;"),
    ),
    ("X-Holdfast-Key", ("a", "", "x" * 3000)),
    ("X-Holdfast-Deployment", ("mixed", "nobody", "%00", "")),
    ("X-Holdfast-Deadline-Ms", ("5000", "x", "-1", "1e9", "nan")),
    ("X-Holdfast-Timing", ("1", "yes", "")),
    ("Authorization", ("Bearer x", "Bearer", "Basic Og==", "Bearer hf_1_2")),
    ("Inference-Header-Content-Length", ("0", "1", "-1", "99999999999999999999", "1e3", "x", "")),
    ("Content-Encoding", ("identity", "gzip", "br", "gzip, gzip", "")),
    ("Expect", ("100-continue",)),
)
TARGETS: Final = (
    *(
        "/v2",
        "/v2/health/live",
        "/v2/health/ready",
        "/v2/models/mixed",
        "/v2/models/mixed/ready",
        "/metrics",
        "/",
        "/ping",
    ),
    *(
        "/v2/models/nobody/infer",
        "/v2/models/mixed/versions/live/infer",
        "/v2/models/mixed/versions/0000/infer",
        "/version",
    ),
    *(
        "/v2/models/%00/infer",
        "/v2/models/mixed%2Finfer",
        "/v2/models//infer",
        "/v1/models/:predict",
        "/v2/repository/index",
    ),
    *(
        "/v2/repository/models/mixed/load",
        "/v2/repository/models/mixed/unload",
        "/v2/models/mixed/infer?a=%ff&b",
        "/%",
        "*",
    ),
    *("/invocations?deployment=plain", "/invocations?deployment=%ff", "/invocations", "/v2/models/plain/invocations"),
)
METHODS: Final = ("GET", "PUT", "DELETE", "OPTIONS", "PATCH", "POST")


class Post(NamedTuple):
    """One HTTP request, well framed."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def raw(self, host: str) -> bytes:
        """Its bytes."""
        lines = [f"{self.method} {self.target} HTTP/1.1", f"Host: {host}", f"Content-Length: {len(self.body)}"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace") + self.body


class Call(NamedTuple):
    """One gRPC call."""

    method: str
    body: bytes


# ---------------------------------------------------------------------------------------------- mutations


def mutated(rng: random.Random, value: Any) -> Any:
    """A JSON value with one to four places changed."""
    value = copy.deepcopy(value)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        value = _changed(rng, value)
    return value


def _changed(rng: random.Random, value: Any) -> Any:
    if isinstance(value, dict) and value and rng.random() < 0.85:
        name = rng.choice(list(value))
        match rng.randrange(8):
            case 0:
                del value[name]
            case 1:
                value[rng.choice(("x", "", name.upper(), "parameters", "data"))] = value.pop(name)
            case 2:
                value[rng.choice(("extra", "id", "parameters", "outputs"))] = _nasty(rng)
            case _:
                value[name] = _changed(rng, value[name])
        return value
    if isinstance(value, list) and value and rng.random() < 0.85:
        index = rng.randrange(len(value))
        match rng.randrange(8):
            case 0:
                del value[index]
            case 1:
                value.insert(index, copy.deepcopy(value[index]))
            case 2:
                value[index] = [value[index]]
            case _:
                value[index] = _changed(rng, value[index])
        return value
    return _nasty(rng)


def _nasty(rng: random.Random) -> Any:
    """Our own copy: what is changed again must not change the list, nor become part of itself."""
    return copy.deepcopy(rng.choice(NASTY))


def scrambled(rng: random.Random, data: bytes) -> bytes:
    """Bytes with one to four places changed."""
    found = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(found) + 1)
        match rng.randrange(6):
            case 0:
                del found[at:]
            case 1:
                del found[at : at + rng.randrange(1, 9)]
            case 2:
                found[at:at] = rng.randbytes(rng.randrange(1, 9))
            case 3:
                found[at:at] = found[max(0, at - rng.randrange(1, 40)) : at]
            case 4:
                found[at:at] = rng.choice(
                    (b"\x00", b"\xff\xff\xff\xff", b"[" * 200, b'"', b"\\u", b"\r\n", b"1e999", b"\xed\xa0\x80")
                )
            case _:
                if at < len(found):
                    found[at] ^= 1 << rng.randrange(8)
    return bytes(found)


def _json(rng: random.Random, value: Any) -> bytes:
    text = json.dumps(value, ensure_ascii=rng.random() < 0.7, indent=rng.choice((None, None, 1)))
    return text.encode("utf-8", "surrogatepass")


def _body(rng: random.Random, seed: Any) -> bytes:
    found = _json(rng, mutated(rng, seed) if rng.random() < 0.6 else seed)
    return scrambled(rng, found) if rng.random() < 0.2 else found


def _sent(rng: random.Random, target: str, headers: list[tuple[str, str]], body: bytes) -> Post:
    """With other headers, packed, or sent elsewhere; now and then."""
    if rng.random() < 0.15:
        coding = rng.choice(("gzip", "deflate"))
        body = gzip.compress(body, 1, mtime=0) if coding == "gzip" else zlib.compress(body, 1)
        body = scrambled(rng, body) if rng.random() < 0.5 else body
        headers.append(("Content-Encoding", coding))
    for name, values in rng.sample(HEADERS, rng.choice((0, 0, 0, 1, 2))):
        headers.append((name, rng.choice(values)))
    method = "POST"
    if rng.random() < 0.05:
        method, target = rng.choice(METHODS), rng.choice(TARGETS)
    return Post(method, target, tuple(headers), body)


# ---------------------------------------------------------------------------------------------- families


def _rows() -> list[dict[str, Any]]:
    return [{name: values[row] for name, (_, values) in MIXED.items()} for row in range(3)]


def _tensors() -> list[dict[str, Any]]:
    return [{"name": n, "datatype": t, "shape": [3], "data": list(v)} for n, (t, v) in MIXED.items()]


def rows(rng: random.Random) -> Post:
    """The row form, and labels."""
    if rng.random() < 0.1:
        labels = [
            {"key": "a-1", "value": 1, "observed_at": "2026-03-02T12:00:00Z"},
            {"key": "a-2", "value": "0"},
        ]
        return _sent(rng, "/v1/models/mixed:label", [], _body(rng, {"labels": labels}))
    return _sent(rng, "/v1/models/mixed:predict", [], _body(rng, {"instances": _rows()[: rng.randrange(1, 4)]}))


def tensors(rng: random.Random) -> Post:
    """OIP in JSON."""
    asked: dict[str, Any] = {"id": "x", "inputs": _tensors()}
    name = "mixed"
    if rng.random() < 0.4:
        name = "plain"
        flat = [value for row in PLAIN for value in row]
        asked = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [2, 4], "data": rng.choice((flat, PLAIN))}]}
    if rng.random() < 0.4:
        asked["parameters"] = {"binary_data_output": rng.random() < 0.5}
        asked["outputs"] = [{"name": "label" if name == "mixed" else "prediction", "parameters": {"binary_data": True}}]
    return _sent(rng, f"/v2/models/{name}/infer", [], _body(rng, asked))


def binary(rng: random.Random) -> Post:
    """OIP with bytes behind its JSON; the lengths may lie."""
    inputs, blobs = [], []
    if rng.random() < 0.5:
        kind = rng.choice(sorted(set(DTYPES) - {"BYTES"}))
        values = np.abs(np.array(PLAIN)).astype(DTYPES[kind])
        described = [("x", kind, [2, 4], values.ravel())]
        if rng.random() < 0.5:
            described = [(column, kind, [2], values[:, index]) for index, column in enumerate("abcd")]
        name = "plain"
    else:
        described = [(n, t, [3], v) for n, (t, v) in MIXED.items()]
        name = "mixed"
    for tensor, kind, shape, values in described:
        if rng.random() < 0.1:
            inputs.append({"name": tensor, "datatype": kind, "shape": shape, "data": list(map(str, values))})
            continue
        blobs.append(pack(kind, values))
        size = {"binary_data_size": len(blobs[-1])}
        inputs.append({"name": tensor, "datatype": kind, "shape": shape, "parameters": size})
    asked = {"inputs": inputs, "parameters": {"binary_data_output": rng.random() < 0.7}}
    head = _body(rng, asked) if rng.random() < 0.6 else _json(rng, asked)
    data = b"".join(blobs)
    data = scrambled(rng, data) if rng.random() < 0.6 else data
    length = str(len(head) if rng.random() < 0.9 else rng.randrange(-1, len(head) + len(data) + 2))
    return _sent(rng, f"/v2/models/{name}/infer", [("Inference-Header-Content-Length", length)], head + data)


def invocations(rng: random.Random) -> Post:
    """What MLflow's and SageMaker's clients send."""
    target = rng.choice(("/invocations?deployment=mixed", "/v2/models/mixed/invocations", "/invocations"))
    names = list(MIXED)
    lists = [[values[row] for _, values in MIXED.values()] for row in range(3)]
    if rng.random() < 0.4:
        lines = [",".join(names)] * rng.randrange(2) + [",".join(map(str, row)) for row in lists]
        kind = rng.choice(("text/csv", "text/csv; header=present", "text/csv;header=absent"))
        body = "\n".join(lines).encode()
        return _sent(rng, target, [("Content-Type", kind)], scrambled(rng, body) if rng.random() < 0.8 else body)
    seed = rng.choice(
        (
            {"dataframe_split": {"columns": names, "index": [0, 1, 2], "data": lists}},
            {"dataframe_records": _rows()},
            {"instances": [row[:3] for row in lists]},
            {"inputs": {name: list(values) for name, (_, values) in MIXED.items()}, "params": {}},
        )
    )
    return _sent(rng, target, [("Content-Type", "application/json")], _body(rng, seed))


def wire(rng: random.Random) -> Post:
    """Any of these, its very bytes to be scrambled by whoever sends it."""
    return rng.choice((rows, tensors, binary, invocations))(rng)


def calls(rng: random.Random) -> Call:
    """gRPC messages, their members or their bytes mutated."""
    request = messages.ModelInferRequest(model_name=rng.choice(("mixed", "mixed", "plain", "nobody", "\x00")), id="x")
    raw = rng.random() < 0.6
    described = [(n, t, [3], list(v)) for n, (t, v) in MIXED.items()]
    if request.model_name == "plain":
        described = [("x", "FP32", [2, 4], [value for row in PLAIN for value in row])]
    for name, kind, shape, values in described:
        tensor = request.inputs.add(name=name, datatype=kind, shape=shape)
        if raw:
            request.raw_input_contents.append(pack(kind, values))
        elif kind == "BYTES":
            tensor.contents.bytes_contents.extend(value.encode() for value in values)
        else:
            getattr(
                tensor.contents, {"INT64": "int64_contents", "FP32": "fp32_contents"}.get(kind, "fp64_contents")
            ).extend(values)
    for _ in range(rng.choice((0, 1, 1, 2))):
        _lie(rng, request)
    body = request.SerializeToString()
    if rng.random() < 0.4:
        body = scrambled(rng, body)
    return Call(
        rng.choice(("ModelInfer",) * 12 + ("ModelReady", "ModelMetadata", "ServerLive", "RepositoryModelLoad")), body
    )


def _lie(rng: random.Random, request: Any) -> None:
    one = rng.choice(request.inputs)
    match rng.randrange(8):
        case 0:
            one.shape.append(rng.choice((0, 1, -1, 2**40, 2**62, 7)))
        case 1:
            one.datatype = rng.choice((*DTYPES, "", "BF16", "fp32"))
        case 2:
            one.name = rng.choice(("", "area", "x" * 500, "\x00"))
        case 3 if request.raw_input_contents:
            at = rng.randrange(len(request.raw_input_contents))
            request.raw_input_contents[at] = scrambled(rng, request.raw_input_contents[at])
        case 4 if request.raw_input_contents:
            del request.raw_input_contents[rng.randrange(len(request.raw_input_contents))]
        case 5:
            one.contents.fp64_contents.extend((float("nan"), float("inf"), 1e308))
        case 6:
            request.outputs.add(name=rng.choice(("label", "prediction", "", "nobody")))
        case _:
            request.model_version = rng.choice(("live", "canary", "0000", "x" * 300))


FAMILIES: Final = {
    "rows and labels": (rows, 0.16),
    "tensors as JSON": (tensors, 0.2),
    "tensors as bytes": (binary, 0.22),
    "invocations": (invocations, 0.12),
    "broken HTTP": (wire, 0.1),
    "gRPC": (calls, 0.2),
}
"""What draws a case, and its share of all."""


def draw(family: str, rng: random.Random) -> Post | Call:
    """One case."""
    return FAMILIES[family][0](rng)
