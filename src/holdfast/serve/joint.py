"""Requests to a slow model that wait at the same time are answered by one run of it.

Many models answer eight rows in little more time than one: a network reads its weights once for all of them. Whether a release
does, and whether its joined answers are those of single runs *to the last bit*, is not known beforehand. So it is tried when
requests for it queue for the first time (`trial`), aside from the traffic; a release for which either is not so is left alone.
One joined run in `AUDIT` is done again row by row, and should a bit ever differ, this release's requests are joined no more.

A row that makes the model fail fails alone: then each request of the party asks for itself.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from holdfast.errors import HoldfastError
from holdfast.serve.trial import Rows, Trial, tried

if TYPE_CHECKING:
    from holdfast.core.contract import Contract
    from holdfast.core.ports import Direct
    from holdfast.serve.lane import Turn

__all__ = ["Joint"]

AUDIT: Final = 256
Numbers = NDArray[np.float64]
Texts = Mapping[str, NDArray[Any]]


class Joint:
    """One release's model, for requests in threads.

    Args:
        direct: the model.
        contract: says what rows look like.
        names: the numbers' columns.
    """

    def __init__(self, direct: Direct, contract: Contract, names: tuple[str, ...]) -> None:
        self._direct = direct
        self._contract = contract
        self._names = names
        self._texts = tuple(field.name for field in contract.features if not field.numeric)
        self._trial: Trial | None = None
        self._first = threading.Lock()
        self._runs = 0

    def answer(self, turn: Turn, numbers: Numbers, texts: Texts) -> Numbers:
        """As `direct` does, perhaps together with others."""
        trial, rows = self._trial, numbers.shape[1]
        if trial is None:
            self._ask(turn, numbers, texts)
            return self._direct(numbers, texts)
        if rows >= trial.rows:
            return self._direct(numbers, texts)
        party = turn.parties.get(self)
        if party is None or party.done or party.rows + rows > trial.rows:
            party = turn.parties[self] = _Party()
        mine = party.join(turn, numbers, texts)
        while not party.done and party.rows < trial.rows and turn.another(trial.longest_s):
            pass
        if not party.done:
            self._run(party, turn, trial)
        found = None if party.answers is None else party.answers[mine]
        return self._direct(numbers, texts) if found is None else found

    def _ask(self, turn: Turn, numbers: Numbers, texts: Texts) -> None:
        """Try it, once."""
        lane = turn.lane
        if lane.join_rows < 2 or not lane.crowded(turn.kind) or not self._first.acquire(blocking=False):
            return
        seen = Rows(numbers, {name: texts[name] for name in self._texts})

        def work(stop: threading.Event) -> None:
            self._trial = tried(self._direct, self._contract, self._names, seen, lane.join_rows, stop)

        lane.aside(work)

    def _run(self, party: _Party, turn: Turn, trial: Trial) -> None:
        party.done = True
        if len(party.turns) == 1:
            return
        began, processor = time.perf_counter(), time.thread_time()
        numbers = np.concatenate(party.numbers, axis=1)
        texts = {name: np.concatenate([one[name] for one in party.texts]) for name in self._texts}
        try:
            found = self._direct(numbers, texts)
        except HoldfastError:
            return
        if self._kept(found, numbers, texts):
            party.answers = found
            party.share(turn, time.perf_counter() - began, time.thread_time() - processor, trial.alone_s)
            turn.lane.joined(len(party.turns))

    def _kept(self, found: Numbers, numbers: Numbers, texts: Texts) -> bool:
        """Whether the answers are those of single runs, as far as one looks."""
        self._runs += 1
        if self._runs % AUDIT:
            return True
        rows = Rows(numbers, texts)
        if all(one.tobytes() == rows.ask(self._direct, row, 1).tobytes() for row, one in enumerate(found)):
            return True
        self._trial = Trial()
        sys.stderr.write("warning: a joined answer was not that of a single run; this model's are joined no more\n")
        return False


class _Party:
    """Requests that ask together."""

    def __init__(self) -> None:
        self.rows = 0
        self.turns: list[tuple[Turn, int]] = []
        self.numbers: list[Numbers] = []
        self.texts: list[Texts] = []
        self.done = False
        self.answers: Numbers | None = None
        """None: each asks for itself."""

    def join(self, turn: Turn, numbers: Numbers, texts: Texts) -> slice:
        """Which of the answers will be one's own."""
        first, rows = self.rows, numbers.shape[1]
        self.rows += rows
        self.turns.append((turn, rows))
        self.numbers.append(numbers)
        self.texts.append(texts)
        return slice(first, first + rows)

    def share(self, turn: Turn, whole: float, processor: float, alone_s: float) -> None:
        """`turn` ran the model for all: each is told its part of the time, and what it would have taken by itself."""
        turn.spent(-whole, -processor)
        for one, rows in self.turns:
            one.spent(whole * rows / self.rows, alone_s * rows)
