"""The build: ordered steps from a registered model and a reference to a signed release.

    fetch -> load -> contract -> convert -> parity -> optimise -> profile -> card -> sign

Each step is a plain function and says its name as it begins. A release is written by the last one, whole or not at all; the
same inputs give the same digest.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from holdfast import registry as registered
from holdfast.build.card import make_card
from holdfast.build.child import translate_in_child
from holdfast.build.convert.torch import exported, is_module
from holdfast.build.gates import require_clean
from holdfast.build.lineage import Data, data_of_file, described, recipe_of, trained_on
from holdfast.build.load import PICKLES, is_pickle
from holdfast.build.networks import refuse_tensorflow
from holdfast.build.optimise.search import Report
from holdfast.build.optimise.wish import PREDICATE, Wish, optimised
from holdfast.build.packaged import CONVERTED, AsPython, Form, Package, package, python_form
from holdfast.build.profile import Answers, Reference, empty_profile, make_profile
from holdfast.build.screen import screen
from holdfast.build.translate import Marks, Translation, translate
from holdfast.columns import decode_label, decode_table, dump_yaml
from holdfast.columns.times import NO_TIME
from holdfast.core.contract import Contract
from holdfast.core.names import check_name
from holdfast.core.profile import Profile, WindowRule
from holdfast.core.release import CARD, CONTRACT, FORMAT, MODEL, REFERENCE, REQUIREMENTS, SBOM, Manifest
from holdfast.core.variant import Recipe
from holdfast.errors import BuildError, InvalidInput, UntrustedPickle
from holdfast.release.bundle import Release, attest, read, write
from holdfast.release.sbom import make_sbom
from holdfast.release.trust import Signer

if TYPE_CHECKING:
    from holdfast.core.ports import Environments, FetchedModel, ModelRegistry, Runtime

__all__ = ["STEPS", "Data", "Parts", "build", "data_of_file"]

Table = dict[str, NDArray[Any]]
Progress = Callable[[str], None]

STEPS: Final = ("fetch", "load", "contract", "convert", "parity", "optimise", "profile", "card", "sign")
NO_REFERENCE: Final = "the release was built without reference rows; monitors learn from the first live windows"


class Parts(NamedTuple):
    """What a build needs of its workspace."""

    registry: ModelRegistry
    runtime: Runtime
    releases: Path
    signer: Signer
    allow_dirty: bool = False
    """Build although the project's code differs from its commit."""
    environments: Environments | None = None
    """For Python releases."""


def build(
    parts: Parts,
    source: Any,
    data: Data | None = None,
    *,
    marks: Marks | None = None,
    name: str = "",
    parent: Release | None = None,
    code: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
    purpose: str = "",
    trust_pickle: bool = False,
    sandbox: bool = True,
    python: AsPython = CONVERTED,
    wish: Wish | None = None,
    progress: Progress = lambda _: None,
) -> Release:
    """Build a release.

    Args:
        parts: registry, runtime, folder of the releases, and who signs.
        source: `models:/name/3`, `models:/name@alias`, `runs:/id/path`, a model file, or a fitted Python object.
        data: the reference; without it the contract comes from the model's signature and nothing is profiled.
        marks: which columns are label, timestamp and key; further marks; or a whole contract as YAML.
        name: the release's name; default: the model's.
        parent: the release that this one was retrained from; its windows are cut the same way.
        code: git commit and dirtiness of the project; a dirty tree is refused, unless `parts` allow it.
        training: what is known of the data that the model was trained on (`lineage.training_of`).
        purpose: the card's first line; default: what the contract says.
        trust_pickle: the user's word that a pickle may be opened, in a child process.
        sandbox: False is the user's word that the child need not be contained, where the kernel cannot.
        python: whether a Python release is wanted although the model could become ONNX, and with which requirements.
        wish: objectives that a variant of the model must meet, or the recipe of one; default: as converted.
        progress: called with each step's name as it begins.

    Raises BuildError and its kin; then nothing was written.
    """
    marks = marks or Marks()
    require_clean(code or {}, allow_dirty=parts.allow_dirty)
    _refuse_at_once(source, data, marks, trust_pickle=trust_pickle)
    name = check_name(name or registered.default_name(source), "release name")
    with tempfile.TemporaryDirectory(prefix="holdfast-") as folder:
        progress("fetch")
        given = exported(source, _row(data, marks)) if is_module(source) else source
        model = registered.fetch(parts.registry, given, name, Path(folder) / "fetched")
        own = not isinstance(source, (str, Path))
        form = python_form(model.path, wanted=python.wanted)
        if form is not None:
            if not (own or trust_pickle):
                raise _untrusted(model.source.uri)
            if wish is not None:
                raise BuildError(
                    "a Python release has no variants: nothing is converted",
                    model.source.uri,
                    "build it without objectives",
                )
            ready = _packaged(parts, model, form, data, marks, python, Path(folder), progress)
            recipe, report = Recipe(), None
        else:
            made = _translate(
                model, data, marks, own=own, trust_pickle=trust_pickle, sandbox=sandbox, progress=progress
            )
            progress("optimise")
            made, recipe, report = _optimised(made, data, wish)
            ready = _converted(made, model, Path(folder) / MODEL)
        made = ready.made
        progress("profile")
        rule = parent.profile.rule if parent else None
        profile = _profile(made.contract, data, _answers(parts.runtime, ready.place, made.contract), rule)
    manifest = Manifest(
        format=FORMAT,
        name=name,
        task=made.contract.output.task,
        files=(),
        model=model.source,
        data=described(data, trained_on(model, training or {})),
        code=dict(code or {}),
        builder={"holdfast": version("holdfast"), **made.libraries},
        parity=made.parity,
        parent=parent.digest if parent else "",
        runtime="onnx" if form is None else "python",
        recipe=recipe_of(marks, purpose),
        variant=recipe.to_dict() if recipe != Recipe() else {},
    )
    progress("card")
    files = {
        **ready.files,
        CONTRACT: dump_yaml(made.contract).encode(),
        REFERENCE: msgspec.msgpack.encode(profile, order="sorted"),
        CARD: make_card(manifest, made.contract, profile, made.notes, purpose).encode(),
    }
    files[SBOM] = make_sbom(manifest, made.contract, profile, files)
    progress("sign")
    path = parts.releases / write(parts.releases, manifest, files, parts.signer)
    if report is not None:
        attest(path, PREDICATE, msgspec.to_builtins(report), parts.signer)
    return read(path)


def _refuse_at_once(source: Any, data: Data | None, marks: Marks, *, trust_pickle: bool) -> None:
    """What can be seen to fail before anything is registered or converted."""
    refuse_tensorflow(source)
    if isinstance(source, (str, Path)) and Path(source).suffix.lower() in PICKLES and not trust_pickle:
        raise _untrusted(str(source))
    if isinstance(source, (str, Path)) and ":/" not in str(source):
        screen(Path(source))
    if data is None:
        return
    if data.snapshot.rows == 0:
        raise BuildError("the reference has no rows", data.snapshot.file, "give rows that the model was not fitted on")
    if marks.label and marks.label not in data.table:
        raise InvalidInput(
            f"the reference has no column '{marks.label}'",
            next_step=f"it has {', '.join(data.table)[:300]}",
            field=marks.label,
        )


def _row(data: Data | None, marks: Marks) -> tuple[int, ...]:
    """How a row of the module's input is arranged: as the user says, else its columns side by side."""
    if marks.shape:
        return marks.shape
    if data is None:
        raise BuildError(
            "a PyTorch module does not say what it takes", "the module", "give reference rows X, or export it to .pt2"
        )
    return (len(data.table.keys() - {marks.label, marks.timestamp, marks.key, *marks.others}),)


def _untrusted(where: str) -> UntrustedPickle:
    return UntrustedPickle(
        "the model is a pickle: opening it runs whatever code its author put inside",
        where,
        "if you trust whoever made it: --trust-pickle; better: save it with skops, or as ONNX",
    )


def _translate(
    model: FetchedModel,
    data: Data | None,
    marks: Marks,
    *,
    own: bool,
    trust_pickle: bool,
    sandbox: bool,
    progress: Progress,
) -> Translation:
    """Load, contract, convert, parity: here, or for a pickle in a child process.

    `own`: the registry got it from this process a moment ago, and it is what was fetched, to the last byte.
    """
    table = data.table if data else None
    if own or not is_pickle(model.path):
        return translate(model.path, table, marks, model.signature, trust_pickle=own, progress=progress)
    if not trust_pickle:
        raise _untrusted(model.source.uri)
    return translate_in_child(model.path, table, marks, model.signature, progress=progress, contained=sandbox)


def _converted(made: Translation, model: FetchedModel, graph: Path) -> Package:
    """The graph, and what the model was trained with."""
    graph.write_bytes(made.onnx)
    return Package(made, {MODEL: made.onnx, REQUIREMENTS: _requirements(model.requirements)}, graph)


def _packaged(
    parts: Parts,
    model: FetchedModel,
    form: Form,
    data: Data | None,
    marks: Marks,
    wishes: AsPython,
    folder: Path,
    progress: Progress,
) -> Package:
    """The model itself, in an environment of its own."""
    assert parts.environments is not None
    return package(
        model,
        form,
        data.table if data else None,
        marks,
        runtime=parts.runtime,
        environments=parts.environments,
        wishes=wishes,
        place=folder / "python",
        progress=progress,
    )


def _optimised(made: Translation, data: Data | None, wish: Wish | None) -> tuple[Translation, Recipe, Report | None]:
    """The variant that the user wishes for, judged on the reference."""
    if wish is None:
        return made, Recipe(), None
    table = None if data is None else decode_table(made.contract, data.table).table
    return optimised(made, table, None if data is None else _labels(made.contract, data.table), wish)


def _answers(runtime: Runtime, graph: Path, contract: Contract) -> Answers:
    """The built model, run as a server runs it; on one thread, so that sums come out alike on every machine."""
    session = runtime.load(graph, threads=1)
    output = "prediction" if contract.output.task == "regression" else "probabilities"
    names = [field.name for field in contract.features]
    return lambda columns: session.run({name: columns[name] for name in names})[output]


def _profile(contract: Contract, data: Data | None, answers: Answers, rule: WindowRule | None) -> Profile:
    if data is None:
        return empty_profile(contract, NO_REFERENCE)
    batch = decode_table(contract, data.table)
    labels = _labels(contract, data.table)
    if batch.times is not None and (batch.times == NO_TIME).any():
        # A row without a time belongs to no window.
        dated = np.flatnonzero(batch.times != NO_TIME)
        batch, labels = batch.take(dated), None if labels is None else labels[dated]
    return make_profile(contract, Reference(batch.table, batch.times, labels), answers, rule)


def _labels(contract: Contract, table: Table) -> NDArray[np.float64] | None:
    """Labels as the statistics want them: numbers, or class indices (-1: not known to the model); NaN where there is none."""
    output = contract.output
    if output.label not in table:
        return None
    values = table[output.label]
    found = np.full(len(values), np.nan)
    index = {name: float(i) for i, name in enumerate(output.classes)}
    if output.task == "regression" and values.dtype.kind == "f":
        return np.where(np.isfinite(values), values, np.nan)
    for row, value in enumerate(values.tolist()):
        if value is None or value != value:  # noqa: PLR0124 - NaN
            continue
        try:
            truth = decode_label(output, value)
        except InvalidInput as bad:
            raise InvalidInput(bad.what, next_step=bad.next_step, field=output.label, row=row) from None
        found[row] = index.get(truth, -1.0) if isinstance(truth, str) else truth
    return found


def _requirements(recorded: Sequence[str]) -> bytes:
    """What the model was trained with, as its registered version records it."""
    lines = list(recorded) or ["# the registered model does not record what it was trained with"]
    return "".join(f"{line}\n" for line in lines).encode()
