"""A Python release: the model as it was given, locked libraries, and what its answers mean; nothing is converted.

For any Python callable and any MLflow pyfunc, and for models that have no exact ONNX form. The model is opened where it will be
served: in its own environment, in its own sandboxed process. What it answers to the reference tells its task and classes; that
it answers a row alike, asked again and in other company, is its parity.
"""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import msgspec
import numpy as np
import yaml
from numpy.typing import NDArray

from holdfast.build.child import brought_in
from holdfast.build.translate import SIGNATURE_TYPES, Marks, Translation
from holdfast.columns import decode_table, infer_contract, load_yaml
from holdfast.columns.names import class_name, class_names
from holdfast.core.contract import Contract, Task
from holdfast.core.ports import OpenedSession
from holdfast.core.release import PYTHON, PYTHON_MODEL, REQUIREMENTS, PythonModel
from holdfast.errors import BuildError, ParityFailure

if TYPE_CHECKING:
    from holdfast.core.ports import Environments, FetchedModel, Runtime, Session

__all__ = ["CONVERTED", "AsPython", "Form", "Package", "package", "python_form"]

Table = dict[str, NDArray[Any]]
TOLERANCE: Final = 1e-6
CONVERTIBLE: Final = frozenset({"onnx", "xgboost", "lightgbm", "sklearn", "pytorch", "catboost"})
"""Flavours that become ONNX unless the user wants Python."""
CALLABLE: Final = "holdfast"
"""The flavour of a callable that Holdfast registered."""
_VERSION: Final = re.compile(r"python(?:=+|:\s*)['\"]?(\d+\.\d+)")
LABELLED: Final = 64
"""More distinct whole numbers than that are no classes."""


class Form(NamedTuple):
    """How a registered model is opened as Python."""

    opened: Literal["pyfunc", "pickle", "skops"]
    file: str


class AsPython(NamedTuple):
    """What the user wants of a Python release."""

    wanted: bool = False
    """Although the model could become ONNX."""
    requirements: tuple[str, ...] = ()
    """Instead of those that were recorded with the model."""
    lock: str = ""
    """Of an earlier build, instead of today's newest versions."""


CONVERTED: Final = AsPython()
"""What is converted where it can be: the usual."""


class Package(NamedTuple):
    """What becomes the release."""

    made: Translation
    files: dict[str, bytes]
    place: Path
    """A folder that the runtime opens."""


def python_form(folder: Path, *, wanted: bool) -> Form | None:
    """How this model runs as Python; None if it is to become ONNX. `wanted`: Python is asked for."""
    said = yaml.safe_load((folder / "MLmodel").read_text(encoding="utf-8"))["flavors"]
    if CALLABLE in said:
        return Form("pickle", str(said[CALLABLE]["callable"]))
    if CONVERTIBLE & said.keys() and not wanted:
        return None
    file = str(said.get("sklearn", {}).get("pickled_model") or "")
    if file:
        return Form("skops" if file.endswith(".skops") else "pickle", file)
    if "python_function" in said:
        return Form("pyfunc", "")
    return None


def package(
    model: FetchedModel,
    form: Form,
    table: Table | None,
    marks: Marks,
    *,
    runtime: Runtime,
    environments: Environments,
    wishes: AsPython,
    place: Path,
    progress: Callable[[str], None],
) -> Package:
    """Lock, open, ask, prove.

    Args:
        model: as the registry gave it.
        form: how it is opened.
        table: the reference; needed, because what the model answers tells what it is.
        marks: what the user says of the columns.
        runtime: opens it where it will be served.
        environments: locks its libraries.
        wishes: requirements or a lock of the user's own.
        place: an empty folder.
        progress: told each step.
    """
    if table is None:
        raise BuildError(
            "a Python model does not say what it takes and answers",
            model.source.uri,
            "build with --reference FILE: rows that the model was not fitted on",
        )
    if links := [path.name for path in model.path.rglob("*") if path.is_symlink()]:
        raise BuildError(
            f"the model's '{links[0]}' is a link, not a file", model.source.uri, "register the model again"
        )
    progress("load")
    python = _python(model.path)
    lock = wishes.lock or environments.lock(_wanted(model, form, wishes.requirements), python)
    shutil.copytree(model.path, place / PYTHON_MODEL)
    (place / REQUIREMENTS).write_text(lock, encoding="utf-8")
    draft = _draft(model, table, marks)
    columns = tuple((field.name, str(field.datatype)) for field in draft.features)
    told = PythonModel(opened=form.opened, file=form.file, python=python, columns=columns)
    rows = _rows(draft, table)
    with contextlib.closing(_session(runtime, place, told)) as session:
        progress("contract")
        raw = session.run(rows)
    known = [class_name(one) for one in session.classes]
    task = draft.output.task if marks.contract else None
    answers, classes = _understood(raw, known, table.get(marks.label), task)
    contract = draft if marks.contract else _contract(draft, table, marks, answers, classes)
    progress("convert")
    told = msgspec.structs.replace(told, answers=answers, classes=contract.output.classes)
    with contextlib.closing(_session(runtime, place, told)) as session:
        progress("parity")
        parity = _prove(session, rows, contract.output.task)
    notes = (
        "it is Python code in a process of its own, with locked libraries: slower than a converted model",
        *([brought_in(session.names)] if form.opened != "skops" or session.names else []),
    )
    files = {
        f"{PYTHON_MODEL}/{path.relative_to(model.path).as_posix()}": path.read_bytes()
        for path in sorted(model.path.rglob("*"))
        if path.is_file()
    }
    files |= {PYTHON: (place / PYTHON).read_bytes(), REQUIREMENTS: lock.encode()}
    made = Translation(onnx=b"", contract=contract, parity=parity, libraries={"python": python}, notes=notes)
    return Package(made, files, place)


def _python(folder: Path) -> str:
    """The version of Python that the model was made with, as MLflow records it; else ours."""
    for name in ("python_env.yaml", "conda.yaml"):
        path = folder / name
        if path.is_file() and (found := _VERSION.search(path.read_text(encoding="utf-8"))):
            return found[1]
    import sys

    return f"{sys.version_info[0]}.{sys.version_info[1]}"


def _wanted(model: FetchedModel, form: Form, given: Sequence[str]) -> list[str]:
    wanted = list(given or model.requirements)
    if not wanted and not (model.path / "requirements.txt").is_file():
        raise BuildError(
            "the model does not record which libraries it needs",
            model.source.uri,
            "name them: --requirement 'scikit-learn==1.9.1' (once for each)",
        )
    names = {re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0].lower() for line in wanted}
    extra = {"pyfunc": "mlflow", "skops": "skops"}.get(form.opened, "")
    return wanted + ([extra] if extra and not names & {extra, f"{extra}-skinny"} else [])


def _session(runtime: Runtime, place: Path, told: PythonModel) -> OpenedSession:
    (place / PYTHON).write_bytes(msgspec.json.encode(told, order="sorted"))
    session = runtime.load(place, threads=1)
    assert isinstance(session, OpenedSession)
    return session


def _draft(model: FetchedModel, table: Table, marks: Marks) -> Contract:
    """The inputs; the output is not known yet."""
    if marks.contract:
        return load_yaml(marks.contract)
    said = {str(one["name"]): str(one.get("type")) for one in model.signature.get("inputs", []) if "name" in one}
    left_out = {marks.label, marks.timestamp, marks.key}
    features = tuple(said) or tuple(name for name in table if name not in left_out)
    if missing := [name for name in features if name not in table]:
        raise BuildError(
            f"the model's signature names '{missing[0]}', which the reference lacks", "reference", "add it"
        )
    draft = _inferred(table, marks, features, "regression", ())
    typed = tuple(
        msgspec.structs.replace(field, datatype=SIGNATURE_TYPES[said[field.name]])
        if said.get(field.name) in SIGNATURE_TYPES and field.numeric
        else field
        for field in draft.fields
    )
    return msgspec.structs.replace(draft, fields=typed)


def _contract(draft: Contract, table: Table, marks: Marks, answers: str, classes: tuple[str, ...]) -> Contract:
    task: Task = "regression" if answers == "number" else "binary" if len(classes) == 2 else "multiclass"
    features = tuple(field.name for field in draft.features)
    made = _inferred(table, marks, features, task, classes)
    return msgspec.structs.replace(made, fields=draft.fields)


def _inferred(table: Table, marks: Marks, features: tuple[str, ...], task: Task, classes: tuple[str, ...]) -> Contract:
    return infer_contract(
        table,
        task=task,
        label=marks.label or "label",
        features=features,
        timestamp=marks.timestamp or None,
        key=marks.key or None,
        marks=marks.others,
        classes=classes or None,
        timezone=marks.timezone,
    )


def _rows(contract: Contract, table: Table) -> Table:
    names = {field.name for field in contract.features}
    decoded = decode_table(contract, {name: values for name, values in table.items() if name in names}).table
    return {name: decoded[name] for name in names}


def _understood(
    raw: Mapping[str, NDArray[Any]], known: list[str], labels: NDArray[Any] | None, task: Task | None
) -> tuple[Literal["number", "share", "label", "probabilities"], tuple[str, ...]]:
    """What the answers are, and the classes in the order of their probabilities."""
    if len(raw) > 1:
        _check_shares(np.column_stack([values.reshape(-1) for values in raw.values()]))
        return "probabilities", tuple(raw)
    values = next(iter(raw.values()))
    truths = () if labels is None else class_names(labels)
    if values.ndim == 2 and values.shape[1] > 1:
        _check_shares(values)
        width = values.shape[1]
        named = (
            tuple(known) if len(known) == width else truths if len(truths) == width else tuple(map(str, range(width)))
        )
        return "probabilities", named
    values = values.reshape(-1)
    if values.dtype == object:
        return "label", class_names([*truths, *values.tolist()])
    answered = class_names(values[np.isfinite(values)])
    two = len(truths) == 2 or task == "binary"
    if (
        task != "regression"
        and len(answered) <= LABELLED
        and truths
        and set(answered) <= set(truths)
        and _named(labels, two=two)
    ):
        return "label", truths
    if task != "regression" and two and labels is not None and bool(((values >= 0.0) & (values <= 1.0)).all()):
        return "share", truths
    return "number", ()


def _named(labels: NDArray[Any] | None, *, two: bool) -> bool:
    """Whether the label column names classes: texts and truth values do, and so do two numbers."""
    return labels is not None and (labels.dtype.kind not in "fiu" or two)


def _check_shares(values: NDArray[Any]) -> None:
    good = values.dtype != object and bool((np.abs(values.sum(axis=1) - 1.0) <= 1e-3).all() and (values >= -1e-9).all())
    if not good:
        raise BuildError(
            "the model answers several numbers a row that are no probabilities",
            "the model's answers",
            "let it answer one number, one class, or a probability for each class",
        )


def _prove(session: Session, rows: Table, task: Task) -> dict[str, Any]:
    """The same rows again, backwards and in other company."""
    name = "prediction" if task == "regression" else "probabilities"
    count = len(next(iter(rows.values()), ()))
    once = session.run(rows)[name]
    if not np.isfinite(once).all():
        row = int(np.flatnonzero(~np.isfinite(once.reshape(count, -1)).all(axis=1))[0])
        raise BuildError("the model has no finite answer", f"reference, row {row}", "look at the row's values")
    order = np.arange(count)[::-1]
    parts = [part for part in (order[: count // 3], order[count // 3 :]) if len(part)]
    again = np.concatenate([session.run({n: values[part] for n, values in rows.items()})[name] for part in parts])[::-1]
    scale = float(np.std(once)) or 1.0 if task == "regression" else 1.0
    apart = np.abs(once - again).reshape(count, -1).max(axis=1) / scale
    beyond = int((apart > TOLERANCE).sum())
    if beyond:
        raise ParityFailure(
            f"asked again in other company, the model answers {beyond} of {count} rows differently, by up to {apart.max():.3g}",
            f"reference, row {int(apart.argmax())}",
            "a served model must answer each row by itself, and alike: take out chance, memory, and what looks at other rows",
        )
    largest = float(apart.max()) if count else 0.0
    return {
        "rows": count,
        "boundary_rows": 0,
        "on": "reference",
        "beyond_tolerance": 0,
        "tolerance": TOLERANCE,
        "all_below": next(limit for limit in (1e-12, 1e-9, TOLERANCE) if largest <= limit),
    }
