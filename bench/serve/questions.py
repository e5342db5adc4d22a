"""How each server is asked for the same rows, and how its answers are known to be right.

Every answer of a run is looked into: it must be a 200 and hold the first and the last row's number to four digits.
"""

from __future__ import annotations

import json
import struct
from typing import Final, NamedTuple

from bench.serve.models import Case

__all__ = ["CALL", "FORMS", "Question", "ask"]


CALL: Final = "CALL"
"""Method of a question for gRPC: its body is the message, and the server's gRPC port is the next after its HTTP port."""
CALL_PATH: Final = "/inference.GRPCInferenceService/ModelInfer"


class Question(NamedTuple):
    """One HTTP request, and what each answer must contain."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    needles: tuple[bytes, ...]

    @property
    def wire(self) -> bytes:
        """The request as it goes over a connection."""
        headers = {"Host": "127.0.0.1", **self.headers}
        if self.body:
            headers["Content-Length"] = str(len(self.body))
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"{self.method} {self.path} HTTP/1.1\r\n{head}\r\n".encode() + self.body

    def right(self, body: bytes) -> bool:
        """Whether an answer's body has all that it must."""
        return all(needle in body for needle in self.needles)


def ask(form: str, case: Case, extra: dict[str, str] | None = None) -> Question:
    """The case's rows in one of `FORMS`; `extra` headers go along."""
    return FORMS[form](case, {"Content-Type": "application/json", **(extra or {})})


def _digits(case: Case) -> tuple[bytes, ...]:
    """Four digits behind the point of the first and the last answer, however the rest is rounded."""
    return tuple(dict.fromkeys(f"{answer:.9f}"[:6].encode() for answer in (case.answers[0], case.answers[-1])))


def _json(path: str, headers: dict[str, str], value: object, case: Case) -> Question:
    return Question("POST", path, headers, json.dumps(value, separators=(",", ":")).encode(), _digits(case))


def _tensor(case: Case, headers: dict[str, str]) -> Question:
    """Open Inference Protocol, all columns in one tensor."""
    flat = [value for row in case.rows for value in row]
    told = {"name": "input", "shape": [len(case.rows), len(case.columns)], "datatype": "FP64", "data": flat}
    return _json(f"/v2/models/{case.model}/infer", headers, {"inputs": [told]}, case)


def _tensors(case: Case, headers: dict[str, str]) -> Question:
    """Open Inference Protocol, a tensor for each column."""
    told = [
        {"name": name, "shape": [len(case.rows)], "datatype": "FP64", "data": list(values)}
        for name, values in zip(case.columns, zip(*case.rows, strict=True), strict=True)
    ]
    return _json(f"/v2/models/{case.model}/infer", headers, {"inputs": told}, case)


def _binary(case: Case, headers: dict[str, str]) -> Question:
    """Open Inference Protocol, one binary tensor in and binary tensors out."""
    flat = [value for row in case.rows for value in row]
    raw = struct.pack(f"<{len(flat)}f", *flat)
    told = {
        "inputs": [
            {
                "name": "input",
                "shape": [len(case.rows), len(case.columns)],
                "datatype": "FP32",
                "parameters": {"binary_data_size": len(raw)},
            }
        ],
        "parameters": {"binary_data_output": True},
    }
    head = json.dumps(told, separators=(",", ":")).encode()
    headers = {**headers, "Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(head))}
    return Question("POST", f"/v2/models/{case.model}/infer", headers, head + raw, _upper_halves(case))


def _upper_halves(case: Case) -> tuple[bytes, ...]:
    """Of the first and the last answer as a little-endian float64: the same however the last digits are rounded."""
    return tuple(struct.pack("<d", answer)[5:] for answer in (case.answers[0], case.answers[-1]))


def _call(case: Case, headers: dict[str, str]) -> Question:
    """Open Inference Protocol over gRPC, one tensor in and tensors out as bytes."""
    from holdfast.rpc.messages import ModelInferRequest

    message = ModelInferRequest(model_name=case.model)
    message.inputs.add(name="input", datatype="FP32", shape=[len(case.rows), len(case.columns)])
    flat = [value for row in case.rows for value in row]
    message.raw_input_contents.append(struct.pack(f"<{len(flat)}f", *flat))
    ends = _upper_halves(case)
    metadata = {name.lower(): value for name, value in headers.items() if name != "Content-Type"}
    return Question(CALL, "", metadata, message.SerializeToString(), ends)


def _rows(case: Case, headers: dict[str, str]) -> Question:
    """Holdfast's rows for people: an object per row."""
    rows = [dict(zip(case.columns, row, strict=True)) for row in case.rows]
    return _json(f"/v1/models/{case.model}:predict", headers, {"instances": rows}, case)


def _nested(case: Case, headers: dict[str, str]) -> Question:
    """A list of lists, what most endpoints are written for."""
    return _json("/predict", headers, {"inputs": case.rows}, case)


def _invocations(case: Case, headers: dict[str, str]) -> Question:
    """MLflow's and SageMaker's."""
    return _json("/invocations", headers, {"inputs": case.rows}, case)


def _records(case: Case, headers: dict[str, str]) -> Question:
    """A list of objects."""
    names = [f"x{n:02d}" for n in range(len(case.columns))]
    return _json("/predict", headers, [dict(zip(names, row, strict=True)) for row in case.rows], case)


def _hello(_case: Case, _headers: dict[str, str]) -> Question:
    """Nothing to answer."""
    return Question("GET", "/", {}, b"", (b"Hello, world!",))


FORMS: Final = {
    "tensor": _tensor,
    "tensors": _tensors,
    "binary": _binary,
    "grpc": _call,
    "rows": _rows,
    "nested": _nested,
    "invocations": _invocations,
    "records": _records,
    "hello": _hello,
}
