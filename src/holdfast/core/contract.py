"""The contract: what inputs and outputs must look like.

It is inferred from data at build, stored in the release as YAML that people may edit, and enforced the same way on every
path: HTTP, batch, labels. A wrong type, an unknown or a missing column is refused, naming row and field. Inferred ranges and
categories are only *flagged* (counted, so that monitors see them) unless the field says `on_violation: reject`: a feed that
turns to square metres must reach the monitors, and an honest new maximum is no outage.
"""

from __future__ import annotations

from math import prod
from typing import Final, Literal, get_args

import msgspec

from holdfast.errors import UsageError

__all__ = ["DATATYPES", "MISSING_STRING", "NUMBERS_KEY", "Contract", "Field", "Mark", "Output", "Task"]

Task = Literal["binary", "multiclass", "regression"]
Mark = Literal["calendar", "personal", "protected", "key", "timestamp"]
Datatype = Literal["BOOL", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "FP32", "FP64", "BYTES"]
Scale = Literal["identity", "log", "log1p"]

DATATYPES: Final[tuple[str, ...]] = get_args(Datatype)
"""Open Inference Protocol datatypes that a field can have. Timestamps travel as BYTES (ISO 8601)."""


MISSING_STRING: Final = "\x00missing"
"""How a missing string enters an ONNX graph, which has no null: no real category begins with NUL."""
NUMBERS_KEY: Final = "holdfast.numbers"
"""In the metadata of an ONNX graph: a JSON object that names the `input` that holds all numbers, and its `columns` in order."""


class Field(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """One column of the input."""

    name: str
    """As in the data, and in every request."""
    datatype: Datatype
    """Type on the wire; BYTES is text."""
    nullable: bool = False
    """Whether it may be missing: JSON null."""
    feature: bool = True
    """Whether the model reads it; a timestamp or key often is not a feature and then is optional in a request."""
    minimum: float | None = None
    """Smallest value that is in range."""
    maximum: float | None = None
    """Largest value that is in range."""
    categories: tuple[str, ...] | None = None
    """Values that are known; none: any text."""
    on_violation: Literal["flag", "reject"] = "flag"
    """What happens to a value outside range or categories."""
    marks: tuple[Mark, ...] = ()
    """calendar: leaves its range by construction, never drift-monitored. personal: not logged unless `log` says so.
    protected: fairness. key: joins labels, keeps canary answers sticky. timestamp: event time."""
    log: Literal["keep", "drop", "hash"] | None = None
    """What the prediction log keeps; default: drop where personal, else keep."""
    importance: float | None = None
    """Share of the input alarm budget, relative to the other fields."""
    description: str = ""
    """For people."""

    @property
    def numeric(self) -> bool:
        """Held as float64 with NaN for missing; everything else as strings with None for missing."""
        return self.datatype not in ("BYTES", "BOOL")

    @property
    def logged(self) -> Literal["keep", "drop", "hash"]:
        """What the log keeps of it."""
        return self.log or ("drop" if "personal" in self.marks else "keep")

    @property
    def monitored(self) -> bool:
        """Whether its distribution is watched."""
        return not {"calendar", "timestamp", "key"} & set(self.marks) and self.logged != "drop"


class Output(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What the model answers."""

    task: Task
    """What kind of answer it is."""
    label: str
    """Name of the label column in data files."""
    classes: tuple[str, ...] = ()
    """Class names in the order of the probabilities; for binary the second is the positive one."""
    label_datatype: Datatype = "FP64"
    """Datatype in which a label is answered and given."""
    threshold: float = 0.5
    """Binary: positive from this probability on."""
    scale: Scale = "identity"
    """Regression: the scale on which error is measured and monitored."""
    unit: str = ""
    """For people: dollars, minutes."""

    @property
    def tensors(self) -> tuple[str, ...]:
        """Names of what is answered."""
        return ("prediction",) if self.task == "regression" else ("label", "probabilities")


class Contract(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Fields in the model's order, and the output."""

    fields: tuple[Field, ...]
    """The inputs."""
    output: Output
    """The answer and its label."""
    timezone: str = "UTC"
    """In which naive timestamps are read."""
    shape: tuple[int, ...] = ()
    """How the features of a row are arranged where the model takes them as an array: (1, 28, 28) for a grey image. A request may
    then send them as one tensor [n, 1, 28, 28], row by row as C does."""

    def __post_init__(self) -> None:
        names = [f.name for f in self.fields]
        for name in names:
            if names.count(name) > 1:
                raise UsageError(f"field '{name}' stands twice in the contract", next_step="give each column once")
        for mark in ("timestamp", "key"):
            if len(self._marked(mark)) > 1:
                raise UsageError(f"more than one field is marked '{mark}'", next_step="mark one column")
        if self.shape and prod(self.shape) != len(self.features):
            raise UsageError(
                f"the shape {list(self.shape)} holds {prod(self.shape)} values, there are {len(self.features)} features",
                next_step="mend the shape",
            )

    def _marked(self, mark: str) -> list[Field]:
        return [f for f in self.fields if mark in f.marks]

    @property
    def features(self) -> tuple[Field, ...]:
        """The fields that the model reads, in its order."""
        return tuple(f for f in self.fields if f.feature)

    @property
    def timestamp(self) -> Field | None:
        """The field that carries event time, if any."""
        return next(iter(self._marked("timestamp")), None)

    @property
    def key(self) -> Field | None:
        """The field that joins labels and keeps a canary sticky, if any."""
        return next(iter(self._marked("key")), None)

    def field(self, name: str) -> Field:
        """The field of that name; KeyError if there is none."""
        for f in self.fields:
            if f.name == name:
                return f
        raise KeyError(name)
