"""What the outside must offer, as small synchronous protocols: one per noun, never one per database.

`Database.begin()` opens one transaction and hands out the stores; what must change together changes inside one `with`.
Everything a store takes or returns is a value from `core`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import msgspec

from holdfast.core.release import ModelSource
from holdfast.core.window import Stream, Window

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    import numpy as np

    from holdfast.core.access import AccessKey
    from holdfast.core.alarm import Alarm
    from holdfast.core.deployment import Deployment, Plan
    from holdfast.core.event import Event
    from holdfast.core.lineage import DataVersion, Origin
    from holdfast.core.prediction import Label

__all__ = [
    "Alarms",
    "Cursors",
    "DataVersions",
    "Database",
    "Deployments",
    "Direct",
    "Environments",
    "FetchedModel",
    "Keys",
    "Labels",
    "ModelRegistry",
    "Monitors",
    "OpenedSession",
    "Runtime",
    "Session",
    "StoredLabel",
    "Stores",
    "Stream",
    "Tables",
    "Trail",
    "Window",
    "Windows",
]


class StoredLabel(msgspec.Struct, frozen=True, kw_only=True):
    """A label as kept: `version` 1, 2 ... per prediction id or key; joined when its prediction was found."""

    id: int
    deployment: str
    prediction_id: str | None
    key: str | None
    value: str
    """JSON text of the value."""
    observed_at: int
    received: int
    version: int
    joined: bool


class Deployments(Protocol):
    """State of every deployment; each save gives a new generation."""

    def get(self, name: str) -> Deployment:
        """Raises NotFound with the names there are."""
        ...

    def all(self) -> list[Deployment]:
        """By name."""
        ...

    def save(self, deployment: Deployment) -> int:
        """Returns the new generation."""
        ...

    def delete(self, name: str) -> int: ...

    def plan(self) -> Plan: ...


class Windows(Protocol):
    """Mergeable counts."""

    def add(self, windows: Sequence[Window]) -> None:
        """Merge into what is there: counts and sums are added, start is the least, end the largest."""
        ...

    def read(
        self, deployment: str, release: str, stream: Stream, *, after: int | None = None, track: str | None = None
    ) -> list[Window]:
        """In order of number; `after` leaves out numbers up to it; track None merges all tracks' rows by listing them."""
        ...

    def delete_before(self, deployment: str, event_time: int) -> int: ...


class Labels(Protocol):
    """Labels as they came: the same value again is a no-op, a new value a new version."""

    def add(self, deployment: str, labels: Sequence[Label], *, received: int, clock: int) -> dict[str, int]:
        """Returns how many were new, same, corrected."""
        ...

    def waiting(self, deployment: str, limit: int, after: int = 0) -> list[StoredLabel]:
        """Not joined yet, in arrival order; those with an id above `after`."""
        ...

    def mark_joined(self, ids: Sequence[int]) -> None: ...

    def earlier(self, label: StoredLabel) -> StoredLabel | None:
        """The version before, if this one corrects it."""
        ...

    def latest(self, deployment: str) -> list[StoredLabel]:
        """The newest version of every joined label."""
        ...

    def summary(self, deployment: str) -> dict[str, int]:
        """received, joined, waiting."""
        ...


class Alarms(Protocol):
    """Alarms, open and closed."""

    def save(self, alarm: Alarm) -> None: ...

    def get(self, alarm_id: str) -> Alarm: ...

    def find(self, deployment: str | None = None, *, only_open: bool = False) -> list[Alarm]:
        """Oldest first."""
        ...


class Monitors(Protocol):
    """State of a deployment's monitors between looks, and the evidence series that pages draw."""

    def load(self, deployment: str, release: str) -> bytes | None: ...

    def save(self, deployment: str, release: str, state: bytes) -> None: ...

    def record(self, deployment: str, release: str, points: Sequence[Mapping[str, Any]]) -> None:
        """Evidence after each step: {stream, number, at, evidence, columns: {column: evidence}}."""
        ...

    def evidence(self, deployment: str, release: str) -> list[dict[str, Any]]: ...


class Cursors(Protocol):
    """How far something has read: name -> integer."""

    def get(self, name: str) -> int:
        """0 when never set."""
        ...

    def set(self, name: str, value: int) -> None: ...

    def all(self, prefix: str) -> dict[str, int]: ...

    def delete(self, name: str) -> None: ...


class Trail(Protocol):
    """The append-only record of changes, as a hash chain."""

    def append(
        self,
        verb: str,
        *,
        at: int,
        deployment: str = "",
        release: str = "",
        actor: str = "",
        data: Mapping[str, Any] = {},
    ) -> Event: ...

    def read(self, deployment: str | None = None) -> list[Event]:
        """Oldest first."""
        ...


class Keys(Protocol):
    """API keys, also those that were revoked."""

    def save(self, key: AccessKey) -> None: ...

    def all(self) -> list[AccessKey]:
        """Oldest first."""
        ...


class Stores(Protocol):
    """All stores inside one transaction."""

    @property
    def deployments(self) -> Deployments: ...
    @property
    def windows(self) -> Windows: ...
    @property
    def labels(self) -> Labels: ...
    @property
    def alarms(self) -> Alarms: ...
    @property
    def monitors(self) -> Monitors: ...
    @property
    def cursors(self) -> Cursors: ...
    @property
    def keys(self) -> Keys: ...
    @property
    def trail(self) -> Trail: ...


class Database(Protocol):
    """Where state lives."""

    def begin(self, *, durable: bool = True) -> AbstractContextManager[Stores]:
        """One transaction: commits at the end of the block, rolls back on an exception.

        What was committed survives a killed process; if `durable`, a power cut too, with all that was committed before.
        """
        ...

    def read(self) -> AbstractContextManager[Stores]:
        """What is committed when the block first looks, unchanged until its end; waits for nobody. Nothing is written."""
        ...

    def sync(self) -> None:
        """All that was committed survives a power cut when this returns."""
        ...


class Tables(Protocol):
    """Columnar files: Parquet and CSV. A table is name -> numpy array, all of one length: float64 with NaN for missing
    numbers; object arrays of str with None for everything else; datetime64[us] (UTC or naive) for times; bool as bool.
    """

    def read(self, path: Path, columns: Sequence[str] | None = None) -> dict[str, np.ndarray]: ...

    def batches(self, path: Path, rows: int) -> Iterator[dict[str, np.ndarray]]:
        """In file order, at most `rows` each, without reading the whole file."""
        ...

    def count(self, path: Path) -> int:
        """Rows in the file."""
        ...

    def write(self, path: Path, table: Mapping[str, np.ndarray]) -> None:
        """Parquet, zstd, whole or not at all (temporary name, then rename)."""
        ...

    def copy(self, sql: str, path: Path, parameters: Sequence[Any] = ()) -> None:
        """Parquet of a query's result, whole or not at all; on the disk when this returns, as with `write`."""
        ...

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> dict[str, np.ndarray]:
        """DuckDB SQL, for looking into many Parquet files at once."""
        ...

    def close(self) -> None:
        """Give memory back; it may be used again, and whoever uses it now goes on."""
        ...


class Direct(Protocol):
    """Answers rows whose numbers stand in a matrix."""

    def __call__(self, numbers: np.ndarray | bytes, texts: Mapping[str, np.ndarray], /) -> np.ndarray:
        """Numbers [columns, rows] (of a single row also the bytes of its float64 values) and texts [rows] in; prediction
        [rows] or probabilities [rows, classes] out, float64.
        """
        ...


class Session(Protocol):
    """A loaded model."""

    def run(self, columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Feature columns [n] in (float64, or object arrays of str/None), outputs by name: prediction [n] or
        probabilities [n, k], float64.
        """
        ...

    @property
    def apart(self) -> bool:
        """Whether it answers from another process, and so may keep whoever asks waiting."""
        ...

    def direct(self, names: tuple[str, ...]) -> Direct | None:
        """The quickest way if these are the numbers that the model reads, in this order; None if there is none."""
        ...


@runtime_checkable
class OpenedSession(Session, Protocol):
    """A model that its own library has opened."""

    @property
    def names(self) -> tuple[str, ...]:
        """What its pickle brought in."""
        ...

    @property
    def classes(self) -> tuple[Any, ...]:
        """That the model itself knows; empty if it does not."""
        ...

    @property
    def close(self) -> Callable[[], object]:
        """Ends what it holds; it answers no more."""
        ...


class Runtime(Protocol):
    """Opens models for inference."""

    def load(self, model: Path, *, threads: int = 0, provider: str = "") -> Session:
        """`threads` for one run; 0: what suits the model and this machine. `provider`: hardware to compute with, where it is."""
        ...


class Environments(Protocol):
    """Python environments with nothing in them but what a lock names."""

    def lock(self, requirements: Sequence[str], python: str) -> str:
        """Exact versions with hashes of these requirements and all that they need, for this version of Python."""
        ...

    def interpreter(self, lock: str, python: str) -> Path:
        """The interpreter of the environment that holds exactly this; made if it is not there."""
        ...


class FetchedModel(msgspec.Struct, frozen=True):
    """A registered version, downloaded and hashed."""

    source: ModelSource
    path: Path
    """Folder of the MLflow model, or the bare file."""
    requirements: tuple[str, ...]
    """As recorded with the model."""
    signature: dict[str, Any]
    """MLflow's, parsed; empty when there is none."""
    run: dict[str, Any] = {}
    """Of the run that trained it: `commit`, and `datasets` as `{name, digest, source, context}`; what it recorded of these."""


class DataVersions(Protocol):
    """The project's data versioning."""

    def origin(self, path: Path) -> Origin | None:
        """How the project pins a file, and what it was made from; None where it doesn't. MovedData if another lies there."""
        ...

    def fetch(self, version: DataVersion, folder: Path, into: Path) -> Path:
        """The pinned content as the file or folder `into`, verified, from the stores of the project around `folder`."""
        ...


class ModelRegistry(Protocol):
    """MLflow, wherever it lives."""

    def fetch(self, reference: str, into: Path) -> FetchedModel:
        """`models:/name/3`, `models:/name@champion`, `runs:/id/path`: resolved once, downloaded by version, hashed."""
        ...

    def resolve(self, reference: str) -> str:
        """The exact version that a reference means now: `models:/name/version`."""
        ...

    def register_file(self, path: Path, name: str) -> str:
        """A bare file becomes a version; returns its `models:/name/version`."""
        ...

    def register_object(self, model: Any, name: str, *, signature: Any = None) -> str:
        """A fitted Python object becomes a version."""
        ...

    def set_alias(self, name: str, alias: str, version: str) -> None: ...

    def list(self) -> list[dict[str, Any]]:
        """Registered versions: `{name, version, aliases, run_id}` each, by name and number."""
        ...
