"""From columns to an answer: the model's numbers, the labels that follow from them, and both as a client reads them.

A binary model answers its second class from the contract's threshold on; several classes answer the most probable one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from holdfast.columns import Batch
from holdfast.core.contract import Output
from holdfast.errors import InvalidInput
from holdfast.serve.lane import here
from holdfast.serve.plan import LoadedRelease, LoadedRoute

__all__ = ["Answered", "answer", "as_rows", "as_tensors", "plain_numbers", "tensor_outputs", "tensor_reply"]


_NUMBERS: Final = tuple(map(str, range(1000)))


class Answered(msgspec.Struct, frozen=True):
    """A batch and what the model said to it."""

    deployment: str
    route: LoadedRoute
    request: str
    client_id: str
    batch: Batch
    numbers: NDArray[np.float64]
    """Predictions [n] or probabilities [n, k]."""
    labels: list[str] | None
    """Class names; None for a regression."""

    @property
    def name(self) -> str:
        """Of the numbers: `prediction` or `probabilities`."""
        return "prediction" if self.labels is None else "probabilities"

    @property
    def ids(self) -> list[str]:
        """Prediction ids, row by row."""
        return [f"{self.request}-{row}" for row in range(self.batch.rows)]

    @property
    def told_ids(self) -> str:
        """The same in one text, joined by commas."""
        rows = self.batch.rows
        numbers = _NUMBERS[:rows] if rows <= len(_NUMBERS) else map(str, range(rows))
        return f"{self.request}-" + f",{self.request}-".join(numbers)


def answer(deployment: str, route: LoadedRoute, batch: Batch, *, request: str, client_id: str) -> Answered:
    """Run the model; refuses a row for which it has no finite answer."""
    output = route.release.contract.output
    numbers = _run(route.release, batch, "prediction" if output.task == "regression" else "probabilities")
    total = float(numbers.sum()) if numbers.size > 1 else numbers.item()
    if total - total != 0.0 and not (finite := np.isfinite(numbers)).all():  # only infinity and NaN do the first
        row = int(np.argmin(finite.reshape(batch.rows, -1).all(axis=1)))
        raise InvalidInput("the model has no finite answer", next_step="look at the row's values", row=row)
    labels = None if output.task == "regression" else _labels(output, numbers)
    return Answered(deployment, route, request, client_id, batch, numbers, labels)


def _run(release: LoadedRelease, batch: Batch, name: str) -> NDArray[np.float64]:
    if batch.names is release.layout.numeric and release.direct is not None:
        if (turn := here.turn) is not None and release.joint is not None:
            return release.joint.answer(turn, batch.numbers, batch.texts)
        return release.direct(batch.given, batch.texts)
    return release.session.run(batch.table)[name]


def _labels(output: Output, numbers: NDArray[np.float64]) -> list[str]:
    if output.task == "binary":
        no, yes = output.classes
        return [yes if share >= output.threshold else no for share in numbers[:, 1].tolist()]
    return [output.classes[index] for index in numbers.argmax(axis=1).tolist()]


def as_rows(answered: Answered) -> bytes:
    """The row form."""
    release = answered.route.release
    output = release.contract.output
    predictions: list[dict[str, Any]]
    if answered.labels is None:
        values = answered.numbers.tolist()
        predictions = [{"id": i, "prediction": v} for i, v in zip(answered.ids, values, strict=True)]
    else:
        extra = {"threshold": output.threshold} if output.task == "binary" else {}
        predictions = [
            {
                "id": i,
                "label": release.label_values[label],
                "probabilities": dict(zip(output.classes, shares, strict=True)),
                **extra,
            }
            for i, label, shares in zip(answered.ids, answered.labels, answered.numbers.tolist(), strict=True)
        ]
    return msgspec.json.encode(
        {
            "deployment": answered.deployment,
            "release": release.digest,
            "track": answered.route.track,
            "request": answered.request,
            "predictions": predictions,
        }
    )


def as_tensors(answered: Answered, wanted: Sequence[str] = ()) -> bytes:
    """The Open Inference Protocol in JSON, with the wanted outputs in that order, or all."""
    if answered.labels is None and answered.batch.rows == 1 and not wanted and not answered.client_id:
        return plain_numbers(answered, f'"data":[{answered.numbers.item()!r}]')
    outputs = tensor_outputs(answered, wanted)
    for output in outputs:
        if isinstance(output["data"], np.ndarray):
            output["data"] = output["data"].ravel().tolist()
    return msgspec.json.encode(tensor_reply(answered, outputs))


def plain_numbers(answered: Answered, rest: str) -> bytes:
    """The commonest answer, a tensor `prediction` and nothing else, of which `rest` is still to be said: no part of it needs
    JSON's escapes.
    """
    return (
        f'{{"model_name":"{answered.deployment}","model_version":"{answered.route.release.digest}",'
        f'"parameters":{{"request":"{answered.request}","predictions":"{answered.told_ids}","track":"{answered.route.track}"}},'
        f'"outputs":[{{"name":"prediction","datatype":"FP64","shape":[{answered.batch.rows}],{rest}}}]}}'
    ).encode()


def tensor_outputs(answered: Answered, wanted: Sequence[str] = ()) -> list[dict[str, Any]]:
    """The tensors of an answer; numbers as an array."""
    release, numbers = answered.route.release, answered.numbers
    if answered.labels is None:
        outputs = [_tensor("prediction", "FP64", [answered.batch.rows], numbers)]
    else:
        given = [release.label_values[label] for label in answered.labels]
        outputs = [
            _tensor("label", release.contract.output.label_datatype, [answered.batch.rows], given),
            _tensor("probabilities", "FP64", list(numbers.shape), numbers),
        ]
    if not wanted:
        return outputs
    there = {output["name"]: output for output in outputs}
    return [there[name] for name in wanted]


def tensor_reply(answered: Answered, outputs: list[dict[str, Any]]) -> dict[str, Any]:
    """What stands around the tensors. Parameters are scalars, so the prediction ids are one text, joined by commas."""
    reply: dict[str, Any] = {
        "model_name": answered.deployment,
        "model_version": answered.route.release.digest,
        "parameters": {
            "request": answered.request,
            "predictions": answered.told_ids,
            "track": answered.route.track,
        },
        "outputs": outputs,
    }
    if answered.client_id:
        reply["id"] = answered.client_id
    return reply


def _tensor(name: str, datatype: str, shape: list[int], data: Any) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape, "data": data}
