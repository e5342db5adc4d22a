"""The build from Python: a fitted model and the data frame that it is judged on.

    release = build_release(parts, model, X, y, name="prices", timestamp="sold_at")

The model is registered first, without pickle, and what is built is the registered version: a notebook's release has the same
lineage as any other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import msgspec
import numpy as np

from holdfast.build.frames import table_of
from holdfast.build.optimise.wish import Wish
from holdfast.build.packaged import AsPython
from holdfast.build.pipeline import Data, Parts, build
from holdfast.build.translate import Marks
from holdfast.core.contract import Mark
from holdfast.core.variant import Objectives, Recipe
from holdfast.registry import snapshot_of_table
from holdfast.release.bundle import Release

__all__ = ["build_release"]


def build_release(
    parts: Parts,
    model: Any,
    X: Any = None,
    y: Any = None,
    *,
    name: str = "",
    label: str = "",
    timestamp: str | None = None,
    key: str | None = None,
    marks: Mapping[str, Sequence[Mark]] | None = None,
    contract: str = "",
    timezone: str = "UTC",
    parent: Release | None = None,
    code: Mapping[str, Any] | None = None,
    purpose: str = "",
    objectives: Objectives | Mapping[str, Any] | None = None,
    variant: str = "",
    runtime: Literal["onnx", "python"] = "onnx",
    requirements: Sequence[str] = (),
    trust_pickle: bool = False,
    progress: Callable[[str], None] = lambda _: None,
) -> Release:
    """Build a release from a fitted model (or a reference to a registered one) and rows that it was not fitted on.

    Args:
        parts: registry, runtime, folder of the releases, and who signs.
        model: fitted scikit-learn, XGBoost or LightGBM model, a PyTorch module, an ONNX ModelProto, a Python function, or what
            `pipeline.build` takes.
        X: DataFrame, mapping of columns or array [rows, ...]; it may hold timestamp and key beside what the model reads.
        y: labels of the same rows; or none, and `label` names a column of X.
        name: the release's name, and the model's in the registry; default: the model's class.
        label: name of the label; default: y's own, else "label".
        timestamp: column of X that carries event time.
        key: column of X by which labels will be joined.
        marks: further marks by column, such as {"year": ["calendar"]}.
        contract: a contract as YAML, instead of an inferred one.
        timezone: how naive timestamps are read.
        parent: digest of the release that this one was retrained from.
        code: git commit and dirtiness of the project.
        purpose: the card's first line; default: what the contract says.
        objectives: what the cheapest variant must do, such as {"p99_ms": 2, "max_quality_loss": 0.01}; nothing else is chosen.
        variant: one variant by its name, such as "int8", instead of a search.
        runtime: "python": the model itself, in a process of its own, although it could become ONNX; a function always is.
        requirements: of a Python release, such as ["scikit-learn==1.9.1"]; default: those recorded with the model.
        trust_pickle: that a registered pickle may be opened, in the sandbox; a model that is handed over needs no word.
        progress: called with each step's name as it begins.
    """
    data = None
    named = bool(label)
    label = label or str(getattr(y, "name", None) or "label")
    if X is not None:
        table = table_of(X, y, label=label)
        data = Data(table, snapshot_of_table(table))
    others = {column: tuple(given) for column, given in (marks or {}).items()}
    told = Marks(
        label=label if y is not None or named else "",
        timestamp=timestamp or "",
        key=key or "",
        others=others,
        contract=contract,
        timezone=timezone,
        shape=tuple(np.shape(X)[1:]) if isinstance(X, np.ndarray) and X.ndim > 2 else (),
    )
    wish = None
    if variant:
        wish = Wish(recipe=Recipe.read(variant))
    elif objectives is not None:
        wish = Wish(objectives=msgspec.convert(objectives, Objectives))
    return build(
        parts,
        model,
        data,
        marks=told,
        name=name,
        parent=parent,
        code=code,
        purpose=purpose,
        trust_pickle=trust_pickle,
        python=AsPython(runtime == "python", tuple(requirements)),
        wish=wish,
        progress=progress,
    )
