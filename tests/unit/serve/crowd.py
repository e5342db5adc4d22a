"""Requests that wait at the same time, in a real lane."""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from holdfast.core.contract import Contract, Field, Output
from holdfast.errors import HoldfastError, ReleaseError
from holdfast.serve.guards import FREE, Grant
from holdfast.serve.joint import Joint
from holdfast.serve.lane import Lane, here

CONTRACT = Contract(
    fields=(Field(name="x", datatype="FP64"), Field(name="y", datatype="FP64", minimum=-1.0, maximum=1.0)),
    output=Output(task="regression", label="z"),
)
NAMES = ("x", "y")
FAILS, NO_ANSWER = 13.0, 14.0


class Model:
    """x + 2 y; remembers how many rows it was asked at once, and takes `seconds` however many there are."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.asked: list[int] = []
        self.seconds = seconds

    def __call__(self, numbers: np.ndarray, texts: Any, /) -> np.ndarray:
        self.asked.append(numbers.shape[1])
        began = time.thread_time()
        while time.thread_time() - began < self.seconds:
            pass
        if (numbers[0] == FAILS).any():
            raise ReleaseError("the model failed on these rows")
        return np.where(numbers[0] == NO_ANSWER, np.nan, numbers[0] + 2.0 * numbers[1])


def matrix(*rows: float) -> np.ndarray:
    """One request: its rows' x; y is 1."""
    return np.array([rows, np.ones(len(rows))])


class Crowd:
    """Who asks while the first one is being answered; `joined` is who was, and `backs` are the seconds that
    each is said to take by itself."""

    def __init__(self, threads: int = 1, join_rows: int = 16) -> None:
        self.joined: list[int] = []
        self.lane = Lane(limit_s=60.0, threads=threads, join_rows=join_rows, joined=self.joined.append)
        self.backs: list[float] = []

    def ask(self, joint: Joint, requests: Sequence[np.ndarray], texts: Sequence[Any] | None = None) -> list[Any]:
        """Answers, or the errors instead."""
        return self.do([self.question(joint, one, texts[n] if texts else {}) for n, one in enumerate(requests)])

    def question(self, joint: Joint, numbers: np.ndarray, texts: Any) -> Callable[[], Any]:
        def work() -> Any:
            assert here.turn is not None
            try:
                return joint.answer(here.turn, numbers, texts)
            except HoldfastError as bad:
                return bad

        return work

    def do(
        self, works: Sequence[Callable[[], Any]], kinds: Sequence[str] | None = None, grants: Sequence[Grant] = ()
    ) -> list[Any]:
        """All of them wait behind one of another kind, that ends when they are all there."""
        gate, ended, done = threading.Event(), asyncio.Event(), {}

        def back(n: int, found: Any, seconds: float) -> None:
            done[n] = found
            if n >= 0:
                self.backs.append(seconds)
            if not self.lane.out:
                ended.set()

        async def story() -> None:
            for thread in range(self.lane._count):
                self.lane.submit("gate", gate.wait, lambda found, s, n=-1 - thread: back(n, found, s), FREE)
            for n, work in enumerate(works):
                kind, grant = kinds[n] if kinds else "kind", grants[n] if grants else FREE
                self.lane.submit(kind, work, lambda found, s, n=n: back(n, found, s), grant)
            gate.set()
            await ended.wait()

        asyncio.run(story())
        return [done[n] for n in range(len(works))]

    def close(self) -> None:
        self.lane.close()
