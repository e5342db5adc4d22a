"""What the log holds: one record per answered request, one per refused one, and labels that came in by the same port.

A prediction is a request id and a row number. Records carry both the event time of each row and the deployment clock at
receipt; its window is a pure function of the two, so that a recount from the log gives the same windows again.
"""

from __future__ import annotations

import msgspec

__all__ = ["Head", "Label", "Labelled", "Prediction", "Record", "Refusal", "Tally"]


class Head(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """How the record of every answered request begins: whoever only counts reads no further."""

    request: str
    deployment: str
    release: str
    track: str
    received: int
    """Wall clock, microseconds UTC."""
    clock: int
    """Deployment clock at receipt, microseconds UTC."""
    latency_us: int
    client_id: str
    rows: int


class Prediction(Head, frozen=True, array_like=True, tag="p", gc=False):
    """One answered request: `rows` predictions, column-wise.

    Numeric fields stand in one float64 matrix (`numbers`), all others in `columns`, in the contract's order; dropped fields
    are absent.
    """

    times: list[int] | None
    """Event time per row, microseconds UTC; None: all at `clock`."""
    keys: list[str | None] | None
    columns: dict[str, list[str | None]]
    """Fields that are no numbers, and hashed ones; None = missing."""
    outputs: dict[str, bytes | list[str]]
    """`prediction` [n] or `probabilities` [n*k] as float64 little-endian bytes; `label` as strings for classifiers."""
    names: tuple[str, ...] = ()
    """Of the numeric fields."""
    numbers: bytes = b""
    """Their values: float64 little-endian, all rows of the first field, then all rows of the next; NaN = missing."""


class Tally(Head, frozen=True, array_like=True, tag="c", gc=False):
    """One answered request of which only the counts are kept (`[log] sample`)."""

    times: list[int] | None
    bins: bytes
    """The bin of each value, all rows of the first counted column, then all rows of the next: `predictions.sampling`."""


class Refusal(msgspec.Struct, frozen=True, array_like=True, tag="r"):
    """One refused request: counted by reason, a monitor too."""

    request: str
    deployment: str
    received: int
    clock: int
    code: str
    field: str
    rows: int
    release: str = ""
    """The live release at that moment; refusals of an unknown deployment have none."""


class Label(msgspec.Struct, frozen=True, kw_only=True):
    """The truth that arrives later: joins by prediction id, or by key to all predictions not later than it."""

    value: str | float | bool
    prediction_id: str | None = None
    key: str | None = None
    observed_at: int | None = None
    """Event time at which the truth was known, microseconds UTC; default: the deployment clock at receipt."""


class Labelled(msgspec.Struct, frozen=True, array_like=True, tag="l"):
    """Labels accepted by a serving process: logged before it says so, stored and joined by the keeper."""

    deployment: str
    received: int
    clock: int
    labels: list[Label]


Record = Prediction | Tally | Refusal | Labelled
