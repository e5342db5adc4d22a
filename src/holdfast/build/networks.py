"""What a network's numbers mean: how many classes it tells apart, and whether it gives probabilities or scores.

A network of PyTorch, or one that comes as ONNX, ends in a tensor and says nothing about it. Training code commonly leaves the
last step out, because the loss function takes it: then the answers are logits, or logarithms of probabilities. It is seen on
rows: probabilities lie between 0 and 1 and sum to one. The missing step becomes part of the graph, and the card says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from msgspec.structs import replace as alter
from numpy.typing import NDArray

from holdfast.build.adopt import Foreign, Link, inspect_onnx
from holdfast.build.answers import open_session
from holdfast.build.convert import Input
from holdfast.build.convert.graph import onnx
from holdfast.build.convert.torch import answers, to_onnx
from holdfast.build.rehearsal import rehearse
from holdfast.columns.names import class_names
from holdfast.core.blocks import in_blocks
from holdfast.core.contract import Contract
from holdfast.errors import BuildError, Unconvertible

__all__ = ["arranged", "network_answers", "network_of", "refuse_tensorflow", "understood"]

Table = Mapping[str, NDArray[Any]]
LOOKED_AT: Final = 512
"""Rows on which the kind of answer is found out."""
CLOSE: Final = 1e-3
TENSORFLOW: Final = frozenset({"keras", "tensorflow", "tf_keras"})
TENSORFLOW_FILES: Final = frozenset({".h5", ".keras", ".pb", ".tflite"})


def refuse_tensorflow(source: Any) -> None:
    """A model of TensorFlow or Keras, object or file: its own converter must write the ONNX file, where it installs."""
    file = isinstance(source, (str, Path))
    library = type(source).__module__.partition(".")[0]
    if (file and Path(source).suffix.lower() in TENSORFLOW_FILES) or (not file and library in TENSORFLOW):
        raise Unconvertible(
            "TensorFlow and Keras models come in as ONNX, which their own converter writes",
            str(source) if file else f"class {type(source).__module__}.{type(source).__qualname__}",
            "python -m tf2onnx.convert --keras model.keras --output model.onnx, then build model.onnx",
        )


def network_of(program: Any) -> Foreign:
    """A PyTorch program as the ONNX graph that it becomes."""
    return replace(inspect_onnx(to_onnx(program)), flavour="torch")


def network_answers(
    program: Any, foreign: Foreign, inputs: Sequence[Input], table: Mapping[str, NDArray[Any]]
) -> NDArray[np.float64]:
    """What the program itself answers, in the release's terms: the other side of the parity check."""
    columns = [np.asarray(table[column.name], dtype=np.float64) for column in inputs]
    return foreign.meant(answers(program, np.column_stack(columns)))


def understood(
    foreign: Foreign, columns: Sequence[str], table: Table | None, label: str, classes: Sequence[str]
) -> Foreign:
    """The graph with its classes named and its answer's meaning found; a scikit-learn export knows both by itself.

    `classes`: from the user's contract, if there is one; else they are read off the label column.
    """
    if foreign.named or (len(foreign.classes) < 2 and foreign.flavour != "torch"):
        return foreign
    truth = None if table is None or label not in table else table[label]
    names = tuple(classes) or _named(foreign, truth)
    if not names:
        return foreign
    if foreign.flavour == "onnx":
        rehearse(foreign.content)
    link = _link(_said(foreign, columns, table), len(names))
    return replace(foreign, classes=names, link=link)


def arranged(contract: Contract, shape: tuple[int, ...]) -> Contract:
    """The contract of a network that takes an array: its features are of one type, so that one tensor can hold them."""
    if not shape or contract.shape:
        return contract
    fields = tuple(alter(f, datatype="FP32") if f.feature and f.numeric else f for f in contract.fields)
    return alter(contract, fields=fields, shape=shape)


def _named(foreign: Foreign, truth: NDArray[Any] | None) -> tuple[Any, ...]:
    """The classes in the order of the network's outputs; none for a number."""
    width = foreign.answer.width or 1
    if truth is None:
        return foreign.classes
    known = class_names(truth)
    if width == 1:
        return tuple(known) if len(known) == 2 else ()
    numbered = tuple(str(number) for number in range(width))
    if set(known) <= set(numbered):
        return tuple(range(width))
    if len(known) == width:
        return tuple(known)
    raise BuildError(
        f"the network tells {width} classes apart, the labels have {len(known)}: {', '.join(known)[:200]}",
        "reference",
        "name the classes in the order of its outputs in a contract (--contract), or number the labels from 0",
    )


def _said(foreign: Foreign, columns: Sequence[str], table: Table | None) -> NDArray[np.float64]:
    """Raw answers to some rows: of the reference, or made-up ones; none where text is read."""
    port = foreign.inputs[0]
    text = table is not None and any(table[name].dtype == object for name in columns)
    if len(foreign.inputs) != 1 or text or port.kind == onnx().TensorProto.STRING:
        return np.empty((0, foreign.answer.width or 1))
    if table is None:
        rows = np.random.default_rng(0).normal(size=(LOOKED_AT, port.width or len(columns)))
    else:
        rows = np.column_stack([np.asarray(table[name][:LOOKED_AT], dtype=np.float64) for name in columns])
    given = rows.astype(onnx().helper.tensor_dtype_to_np_dtype(port.kind)).reshape(len(rows), *port.sizes)
    session = open_session(foreign.content)
    said = in_blocks(partial(session.run, [foreign.answer.name]), {port.name: given})[0]
    return np.asarray(said, dtype=np.float64).reshape(len(rows), -1)


def _link(said: NDArray[np.float64], classes: int) -> Link:
    """The step from the network's answer to probabilities; rows that are not finite say nothing."""
    said = said[np.isfinite(said).all(axis=1)]
    if not len(said):
        return ""
    within = bool((said >= -CLOSE).all() and (said <= 1 + CLOSE).all())
    if said.shape[1] == 1:
        return "one" if within else "sigmoid"
    if within and bool((np.abs(said.sum(axis=1) - 1) < CLOSE).all()):
        return ""
    if bool((said <= CLOSE).all() and (np.abs(np.exp(said).sum(axis=1) - 1) < CLOSE).all()):
        return "exp"
    return "softmax" if classes > 1 else ""
