"""Variants of one model: what was done to it, what that cost and gained, and what the user wants of it.

A `Recipe` is deterministic and stands in the manifest: the same recipe on the same model gives the same bytes. A `Measured`
is what one machine found at one time; it is a signed statement beside the release.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from holdfast.errors import UsageError

__all__ = ["CPU", "STEPS", "Loss", "Measured", "Objectives", "Recipe"]

CPU: Final = "CPUExecutionProvider"
STEPS: Final = {
    "graph": "operators joined and constants folded ahead of time",
    "float16": "weights kept in 16 bits, computed with in 32",
    "int8-dynamic": "matrix products in 8 bits, scaled anew for each run",
    "int8": "products and convolutions in 8 bits, scaled by the reference rows",
    "pruned-N": "the N % of channels and neurons left out that matter least to the reference rows",
    "trees-N": "the first N % of an ensemble's trees",
    "leaves-N": "the N % of an ensemble's leaves joined whose difference matters least to the reference rows",
}
"""What can be done to a model, and what it means; N is a whole number."""
_STEP: Final = re.compile(r"graph|float16|int8(-dynamic)?|(leaves|pruned|trees)-[1-9]\d?")
_TEXT: Final = re.compile(r"(?P<steps>[a-z0-9+-]+)(@(?P<threads>[1-9]\d?))?(/(?P<provider>\w+))?")


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """What is done to a converted model, and how it is run."""

    steps: tuple[str, ...] = ()
    """In order; none: as converted."""
    threads: int = 1
    """Of one run."""
    provider: str = CPU
    """ONNX Runtime's execution provider; a server that lacks it uses its processors."""

    @property
    def name(self) -> str:
        """As the user writes it: `pruned-50+int8@2`."""
        text = "+".join(self.steps) or "plain"
        text += f"@{self.threads}" if self.threads != 1 else ""
        return text + (f"/{self.provider}" if self.provider != CPU else "")

    @classmethod
    def read(cls, text: str) -> Recipe:
        """The inverse of `name`."""
        found = _TEXT.fullmatch(text.strip())
        steps = tuple(found["steps"].split("+")) if found else ()
        steps = () if steps == ("plain",) else steps
        if found is None or not all(map(_STEP.fullmatch, steps)):
            raise UsageError(f"'{text}' is no variant", "--variant", f"join with '+': plain, {', '.join(STEPS)}")
        return cls(steps=steps, threads=int(found["threads"] or 1), provider=found["provider"] or CPU)

    def to_dict(self) -> dict[str, Any]:
        """For the manifest."""
        return {"steps": list(self.steps), "threads": self.threads, "provider": self.provider}


class Objectives(msgspec.Struct, frozen=True, kw_only=True):
    """What the chosen variant must do; None: no matter."""

    rows: int = 1
    """Rows of the request at which time is measured."""
    p99_ms: float | None = None
    """A run takes at most this many milliseconds, 99 times of 100."""
    qps: float | None = None
    """One serving process answers at least so many requests a second."""
    max_quality_loss: float | None = None
    """Quality lost against the model as converted, at most; of a classifier in shares of rows, else as a share of its mean error.
    None: a variant may lose nothing at all."""
    max_mb: float | None = None
    """The file has at most this many MiB."""


class Loss(msgspec.Struct, frozen=True, kw_only=True):
    """How much worse a variant answers than the model as converted, on the same rows."""

    measure: str
    """`accuracy`, `mean error`, or without labels `changed answers`."""
    value: float
    low: float
    high: float
    rows: int
    method: str


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """One variant, on the machine that built it."""

    recipe: Recipe
    rows: int
    """Of the request whose times these are."""
    mb: float
    p50_ms: float
    p99_ms: float
    mean_ms: float
    batches: dict[str, float]
    """Rows of a run -> rows answered in a second."""
    memory_mb: float
    """What the open model took more at its worst."""
    quality: float | None
    """Accuracy or mean error; None without labels."""
    loss: Loss
    flips: int
    """Rows with another answer: another class, or a number off by more than a hundredth of the answers' spread."""
    groups: dict[str, Loss] = {}
    """Loss by `column=value`, of columns that are marked protected."""
    exact: bool = False
    """Whether it answers every row as the model does, up to rounding."""

    @property
    def name(self) -> str:
        """The recipe's."""
        return self.recipe.name

    @property
    def cost(self) -> float:
        """Processor seconds per million rows; by the median run, which what else the machine did moves least."""
        return self.p50_ms * self.recipe.threads * 1000.0 / self.rows
