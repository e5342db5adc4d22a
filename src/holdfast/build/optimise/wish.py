"""The step of the build: what the user wishes for, and what becomes of the converted model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from numpy.typing import NDArray

from holdfast.build.optimise.rows import split
from holdfast.build.optimise.search import Report, search
from holdfast.build.optimise.steps import apply
from holdfast.build.translate import Translation
from holdfast.core.variant import Objectives, Recipe
from holdfast.errors import BuildError

__all__ = ["PREDICATE", "Wish", "optimised"]

PREDICATE = "urn:holdfast:variants"
"""The kind of the signed statement that holds a search's report."""


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """Either objectives, which are searched for, or a recipe, which is followed."""

    objectives: Objectives | None = None
    recipe: Recipe | None = None


def optimised(
    made: Translation,
    table: Mapping[str, NDArray[Any]] | None,
    labels: NDArray[Any] | None,
    wish: Wish,
    progress: Callable[[str], None] = lambda _: None,
) -> tuple[Translation, Recipe, Report | None]:
    """The model as it will be released, how it came about, and what a search found."""
    if wish.recipe is not None:
        calibration = None if table is None else split(made.contract, table).calibration
        return _noted(made, apply(made.onnx, wish.recipe, calibration), wish.recipe), wish.recipe, None
    if wish.objectives is None:
        return made, Recipe(), None
    if table is None:
        raise BuildError(
            "variants are judged on reference rows, and there are none", "--optimise", "build with --reference FILE"
        )
    found = search(made.onnx, made.contract, table, labels, wish.objectives, progress)
    return _noted(made, found.content, found.recipe), found.recipe, found.report


def _noted(made: Translation, content: bytes, recipe: Recipe) -> Translation:
    """For the card: parity was proven before, so it says what was done after."""
    if not recipe.steps:
        return made
    note = f"optimised after the parity check: {recipe.name}; performance is that of the optimised model"
    return msgspec.structs.replace(made, onnx=content, notes=(*made.notes, note))
