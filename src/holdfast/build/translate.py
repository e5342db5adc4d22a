"""From a downloaded model to a proven ONNX graph with its contract: everything that needs the model's own library.

These steps stand together because a pickle must never be opened in the process that holds keys and secrets: for a pickle the
whole of `translate` runs in a child (`holdfast.build.child`), and what comes back is plain data.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from holdfast.build.adopt import Foreign, adopt, inspect_onnx, original_answers
from holdfast.build.convert import Converted, Input, convert
from holdfast.build.convert.torch import is_program
from holdfast.build.load import open_model
from holdfast.build.nature import Nature, nature_of
from holdfast.build.networks import arranged, network_answers, network_of, understood
from holdfast.build.parity import (
    FLOAT32_TOLERANCE,
    TOLERANCE,
    ParityReport,
    boundary_rows,
    onnx_predict,
    parity,
    prove,
)
from holdfast.columns import decode_table, infer_contract, load_yaml
from holdfast.columns.names import class_name
from holdfast.core.contract import Contract, Field, Mark, Output, Task
from holdfast.errors import BuildError, UsageError

__all__ = ["Marks", "Translation", "translate"]

Table = dict[str, NDArray[Any]]
Progress = Callable[[str], None]

LIBRARIES: Final = ("numpy", "onnx", "onnxruntime", "skl2onnx", "sklearn", "xgboost", "lightgbm", "catboost", "torch")
SIGNATURE_TYPES: Final = {
    "boolean": "BOOL",
    "integer": "INT32",
    "long": "INT64",
    "float": "FP32",
    "double": "FP64",
    "string": "BYTES",
    "datetime": "BYTES",
}
"""MLflow's column types."""


class Marks(msgspec.Struct, frozen=True, kw_only=True):
    """What the user says of the columns."""

    label: str = ""
    timestamp: str = ""
    key: str = ""
    others: dict[str, tuple[Mark, ...]] = {}
    """Further marks by column: calendar, personal, protected."""
    timezone: str = "UTC"
    """How naive timestamps are read."""
    contract: str = ""
    """A contract as YAML, written by the user; wins over what is inferred."""
    shape: tuple[int, ...] = ()
    """How the features of a row are arranged where a network takes them as an array, such as (1, 28, 28)."""


class Translation(msgspec.Struct, frozen=True, kw_only=True):
    """What the model became. Plain data: it may come from a child process."""

    onnx: bytes
    contract: Contract
    parity: dict[str, Any]
    libraries: dict[str, str]
    """Versions of what converted and compared."""
    notes: tuple[str, ...] = ()


def translate(
    folder: Path,
    table: Table | None,
    marks: Marks,
    signature: Mapping[str, Any],
    *,
    trust_pickle: bool = False,
    progress: Progress = lambda _: None,
) -> Translation:
    """Load, contract, convert, parity. `table`: the reference as it came from its file, with labels and all."""
    progress("load")
    named = table if table is not None else _signature_columns(signature)
    candidates = tuple(name for name in named if name not in {marks.label, marks.timestamp, marks.key})
    model = open_model(folder, trust_pickle=trust_pickle, shape=_shape(marks, signature, candidates))
    foreign = inspect_onnx(model) if isinstance(model, bytes) else network_of(model) if is_program(model) else None
    if foreign:
        candidates = _taken(foreign, candidates, marks)
        classes = load_yaml(marks.contract).output.classes if marks.contract else ()
        foreign = understood(foreign, candidates, table, marks.label, classes)
    nature = foreign.nature(candidates) if foreign else nature_of(model)
    nature = replace(nature, columns=_known_as(nature.columns, candidates))
    progress("contract")
    shape = foreign.shape if foreign else ()
    contract = arranged(_contract(nature, table, marks, signature), shape)
    progress("convert")
    rows = _rows(contract, table)
    inputs = [Input(f.name, f.datatype, nullable=f.nullable) for f in contract.features]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        converted = adopt(foreign, inputs, nature.task) if foreign else convert(model, inputs, nature.task)
        progress("parity")
        if foreign:
            report = _prove_foreign(model, foreign, converted, rows, nature.task)
        else:
            report = prove(model, converted, rows, task=nature.task)
    return Translation(
        onnx=converted.onnx,
        contract=arranged(_contract(nature, table, marks, signature, converted), shape),
        parity=_evidence(report, made_up=table is None),
        libraries=_versions(converted),
        notes=converted.notes,
    )


def _shape(marks: Marks, signature: Mapping[str, Any], candidates: tuple[str, ...]) -> tuple[int, ...]:
    """How a row is arranged, for a network that does not say: as the user says, else the signature, else side by side."""
    specs = [one.get("tensor-spec", {}) for one in signature.get("inputs", [])]
    told = [tuple(spec["shape"][1:]) for spec in specs if len(spec.get("shape", ())) > 1]
    others = [name for name in candidates if name not in marks.others]
    return marks.shape or (told[0] if told else (len(others),))


def _taken(foreign: Foreign, candidates: tuple[str, ...], marks: Marks) -> tuple[str, ...]:
    """What a graph of one matrix takes: a column that is only marked (protected, say) may stand beside."""
    width = foreign.inputs[0].width
    if len(foreign.inputs) > 1 or width is None or len(candidates) == width:
        return candidates
    return tuple(name for name in candidates if name not in marks.others)


def _prove_foreign(model: Any, foreign: Foreign, converted: Converted, rows: Table, task: Task) -> ParityReport:
    """Networks count in float32, as does the graph, in another order."""
    network = foreign.flavour == "torch"
    original = partial(network_answers, model) if network else original_answers
    return parity(
        partial(original, foreign, converted.inputs),
        onnx_predict(converted),
        rows,
        boundary_rows(converted, rows),
        task=task,
        tolerance=FLOAT32_TOLERANCE if network else TOLERANCE,
        float32=network,
    ).require()


def _known_as(columns: tuple[str, ...], candidates: tuple[str, ...]) -> tuple[str, ...]:
    """The model's columns by the names that they have in the data.

    A model of plain arrays has none; LightGBM writes blanks as underscores, and calls the columns of an array Column_0, ...
    """
    if not columns:
        return candidates
    written = {name.replace(" ", "_"): name for name in candidates}
    if not set(columns) <= set(candidates) and set(columns) <= set(written):
        return tuple(written[name] for name in columns)
    if columns == tuple(f"Column_{i}" for i in range(len(candidates))):
        return candidates
    return columns


def _contract(
    nature: Nature,
    table: Table | None,
    marks: Marks,
    signature: Mapping[str, Any],
    converted: Converted | None = None,
) -> Contract:
    """The user's contract, else one inferred from the reference, else from the model's signature.

    What only the conversion knows is added when it is there: the scale of the target, and the inputs whose unseen categories
    the model itself refuses.
    """
    classes = tuple(class_name(value) for value in nature.classes)
    if marks.contract:
        return _given(marks.contract, nature, classes)
    if table is None:
        return _from_signature(nature, classes, marks, signature, converted)
    missing = [name for name in nature.columns if name not in table]
    if missing:
        raise BuildError(
            f"the model was trained with '{missing[0]}', which the reference lacks",
            "reference",
            f"give a file with the columns {', '.join(nature.columns)[:300]}",
        )
    return infer_contract(
        table,
        task=nature.task,
        label=marks.label or "label",
        features=nature.columns,
        timestamp=marks.timestamp or None,
        key=marks.key or None,
        marks=marks.others,
        closed=converted.closed if converted else (),
        classes=classes or None,
        scale=converted.scale if converted else "identity",
        timezone=marks.timezone,
    )


def _given(text: str, nature: Nature, classes: tuple[str, ...]) -> Contract:
    """The user's own contract, if it can be this model's."""
    contract = load_yaml(text)
    if contract.output.task != nature.task:
        raise UsageError(
            f"the contract says {contract.output.task}, the model answers {nature.task}",
            "output.task",
            "mend the contract",
        )
    if classes and contract.output.classes != classes:
        raise UsageError(
            f"the model's classes are {', '.join(classes)}, in this order", "output.classes", "mend the contract"
        )
    return contract


def _from_signature(
    nature: Nature,
    classes: tuple[str, ...],
    marks: Marks,
    signature: Mapping[str, Any],
    converted: Converted | None,
) -> Contract:
    """Names and types are all that a signature has: no ranges, no categories."""
    features = nature.columns
    said = {str(column.get("name")): column for column in signature.get("inputs", []) if "name" in column}
    unknown = [name for name in features if name not in said]
    if not features or unknown:
        raise BuildError(
            "the model's signature does not name its columns and their types"
            if not features or not said
            else f"the model's signature lacks '{unknown[0]}'",
            "signature",
            "build with --reference FILE: rows that the model was not fitted on",
        )
    fields = []
    for name in features:
        datatype = SIGNATURE_TYPES.get(str(said[name].get("type")))
        if datatype is None:
            raise BuildError(
                f"'{name}' has the type {said[name].get('type')} in the signature",
                "signature",
                "build with --reference FILE",
            )
        fields.append(Field(name=name, datatype=datatype, nullable=not said[name].get("required", True)))  # type: ignore[arg-type]
    output = Output(
        task=nature.task,
        label=marks.label or "label",
        classes=classes,
        label_datatype="FP64" if nature.task == "regression" else "BYTES",
        scale=converted.scale if converted else "identity",
    )
    return Contract(fields=tuple(fields), output=output)


def _signature_columns(signature: Mapping[str, Any]) -> list[str]:
    return [str(column["name"]) for column in signature.get("inputs", []) if "name" in column]


def _rows(contract: Contract, table: Table | None) -> Table:
    """Rows on which both sides are compared: the reference, else made-up ones of every order of magnitude."""
    if table is not None:
        return model_table(contract, decode_table(contract, _features_only(contract, table)).table)
    rng = np.random.default_rng(0)
    rows: Table = {}
    for field in contract.features:
        if field.datatype == "BYTES":
            rows[field.name] = np.array(["a", "b", "c", "d"] * 64, dtype=object)
            continue
        values = rng.normal(size=256) * 10.0 ** rng.integers(-2, 5, 256)
        rows[field.name] = (
            (values > 0).astype(float)
            if field.datatype == "BOOL"
            else values
            if "FP" in field.datatype
            else np.round(values)
        )
    return rows


def _features_only(contract: Contract, table: Table) -> Table:
    names = {field.name for field in contract.features}
    return {name: values for name, values in table.items() if name in names}


def model_table(contract: Contract, table: Mapping[str, NDArray[Any]]) -> Table:
    """The features as a converted model's inputs: truth values as numbers."""
    truth = {"true": 1.0, "false": 0.0, None: np.nan}
    return {
        field.name: np.array([truth[v] for v in table[field.name].tolist()])
        if field.datatype == "BOOL"
        else table[field.name]
        for field in contract.features
    }


def _evidence(report: ParityReport, *, made_up: bool) -> dict[str, Any]:
    """The parity report as the manifest keeps it; the largest difference is rounding noise, so only its bound may enter."""
    return {
        "rows": report.rows - report.boundary_rows,
        "boundary_rows": report.boundary_rows,
        "on": "made-up rows" if made_up else "reference",
        "beyond_tolerance": report.beyond,
        "tolerance": report.tolerance,
        "all_below": next(limit for limit in (1e-12, 1e-9, 1e-6, report.tolerance) if report.max_difference <= limit),
    }


def _versions(converted: Converted) -> dict[str, str]:
    """Versions of the libraries that took part."""
    names = [
        n
        for n in LIBRARIES
        if n in {"numpy", "onnx", "onnxruntime", "skl2onnx"} or n in converted.libraries or n == converted.flavour
    ]
    found: dict[str, str] = {}
    for name in names:
        try:
            found[name] = str(import_module(name).__version__)
        except ImportError:
            continue
    return found
