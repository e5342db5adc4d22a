"""Whether runs of one model may be joined: tried on rows like those that are asked, when it matters for the first time.

Two questions, each answered by measurement on this machine, as both depend on its processor:

- *Does it pay?* Time of one run of n rows against n runs of one row: processor time of the thread that asks, since others run,
  too.
- *Is it the same?* A matrix product may add in another order when it has more rows, and then the last bits differ. So rows are
  answered one by one and in runs of every size up to the largest, and all answers must be equal byte by byte. If a size rounded
  even one answer in twenty differently, 64 rows would show it with 96 %; in practice it is one in four and more. The answers
  must differ among themselves: equal ones (a saturated classifier) would prove nothing.

Rows are made from the request at hand and from the contract's ranges and categories. The work rests as long as it runs,
as it takes place beside the traffic.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from holdfast.errors import HoldfastError

if TYPE_CHECKING:
    from holdfast.core.contract import Contract, Field
    from holdfast.core.ports import Direct

__all__ = ["Rows", "Trial", "tried"]

ROWS: Final = 64
ROUNDS: Final = 3
PAYS: Final = 0.8
"""A joined run must take at most this share of what its rows take by themselves."""
TOO_LONG_S: Final = 50e-3
"""A model that takes longer for one row is not tried: the trial itself would take a minute."""
LONGEST_S: Final = 10e-3
LONGEST: Final = 4.0
"""A joined run may take 10 ms, or four times as long as a single one."""
RESTS: Final = 1.0
MISSING: Final = 0.05


class Trial(NamedTuple):
    """What was found."""

    rows: int = 0
    """Most rows of one joined run; 0: runs are not joined."""
    alone_s: float = 0.0
    """Processor time of one row by itself."""
    longest_s: float = 0.0
    """Of a joined run."""


class Rows(NamedTuple):
    """What a model is asked."""

    numbers: NDArray[np.float64]
    texts: Mapping[str, NDArray[Any]]

    def ask(self, direct: Direct, first: int, count: int) -> NDArray[np.float64]:
        """The model's answers to some of them."""
        part = slice(first, first + count)
        return direct(self.numbers[:, part], {name: values[part] for name, values in self.texts.items()})


class _Stopped(Exception):
    """Nobody needs to know any more."""


def tried(
    direct: Direct, contract: Contract, names: tuple[str, ...], seen: Rows, most: int, stop: threading.Event
) -> Trial | None:
    """Try it; None if `stop` came before the end.

    Args:
        direct: the model.
        contract: of its release.
        names: columns of the numbers.
        seen: rows that somebody asked.
        most: rows of a joined run, at most.
        stop: ends the trial early.
    """
    runs = _Runs(direct, stop)
    try:
        rows = like(contract, names, seen, np.random.default_rng(0))
        alone_s = min(runs.seconds(rows, row, 1) for row in range(2 * ROUNDS))
        if alone_s > TOO_LONG_S:
            return Trial()
        size, longest_s = _worth(runs, rows, alone_s, min(most, ROWS // 2))
        return Trial(size, alone_s, longest_s) if size > 1 and _same(runs, rows, size) else Trial()
    except (HoldfastError, OverflowError):  # it cannot take several rows, or there are none like these
        return Trial()
    except _Stopped:
        return None


def like(contract: Contract, names: tuple[str, ...], seen: Rows, rng: np.random.Generator) -> Rows:
    """`ROWS` rows: those that were seen, then mixtures of them with values that the contract expects."""
    fields = {field.name: field for field in contract.fields}
    numbers = np.stack([_numbers(fields[name], seen.numbers[n], rng) for n, name in enumerate(names)])
    texts = {name: _texts(fields[name], values, rng) for name, values in seen.texts.items()}
    first = min(seen.numbers.shape[1], ROWS // 4)
    numbers[:, :first] = seen.numbers[:, :first]
    for name, values in seen.texts.items():
        texts[name][:first] = values[:first]
    return Rows(numbers, texts)


def _numbers(field: Field, seen: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    known = rng.choice(np.nan_to_num(seen), ROWS)
    if field.minimum is not None and field.maximum is not None:
        fresh = rng.uniform(field.minimum, field.maximum, ROWS)
    else:
        fresh = known + np.maximum(np.abs(known), 1.0) * rng.normal(size=ROWS)
    values = np.where(rng.random(ROWS) < 0.25, known, fresh)
    if not field.datatype.startswith("FP"):
        values = np.rint(values)
    if field.nullable:
        values[rng.random(ROWS) < MISSING] = np.nan
    return values


def _texts(field: Field, seen: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    choices = np.array([*(field.categories or ()), *seen], dtype=object)
    values: NDArray[Any] = rng.choice(choices, ROWS)
    if field.nullable:
        values[rng.random(ROWS) < MISSING] = None
    return values


class _Runs:
    """Runs of a model, with rests between them."""

    def __init__(self, direct: Direct, stop: threading.Event) -> None:
        self._direct = direct
        self._stop = stop
        self._took = 0.0

    def answers(self, rows: Rows, first: int, count: int) -> NDArray[np.float64]:
        """What it says."""
        began = time.thread_time()
        found = rows.ask(self._direct, first, count)
        self._took = time.thread_time() - began
        if self._stop.wait(RESTS * self._took):
            raise _Stopped
        return found

    def seconds(self, rows: Rows, first: int, count: int) -> float:
        """How long it takes."""
        self.answers(rows, first, count)
        return self._took


def _worth(runs: _Runs, rows: Rows, alone_s: float, most: int) -> tuple[int, float]:
    """The largest size that pays and does not take too long, and its time; size 0: none does."""
    size = most
    while size > 1:
        took = min(runs.seconds(rows, n, size) for n in range(ROUNDS))
        if took <= PAYS * size * alone_s and took <= max(LONGEST_S, LONGEST * alone_s):
            return size, took
        size //= 2
    return 0, 0.0


def _same(runs: _Runs, rows: Rows, most: int) -> bool:
    """Whether runs of every size say to the last bit what single ones do."""
    alone = [runs.answers(rows, row, 1).tobytes() for row in range(ROWS)]
    if len(set(alone)) < ROWS // 2:
        return False
    return all(
        found.tobytes() == alone[first + n]
        for size in range(2, most + 1)
        for first in _starts(size)
        for n, found in enumerate(runs.answers(rows, first, size))
    )


def _starts(size: int) -> Iterator[int]:
    """Where runs begin, so that they cover all rows."""
    yield from range(0, ROWS - size, size)
    yield ROWS - size
