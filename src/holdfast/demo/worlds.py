"""A simulated town of house sales whose truth is known, so that the demo can mark its own work.

120 houses are listed for sale each day; the model estimates the price; the sale, and with it the true price, follows 14 to
42 days later. A price is the exponential of a sum: size, kind of house, district, condition, age, garden and distance from
the centre, plus noise of .12 (log scale). All days are independent draws from one generator per (seed, day), so that a day
is the same whoever asks for it, in whatever order. Nothing here does any I/O.

    days   0 - 119   the model is trained on these
    days 120 - 269   reference: sales that the model has not seen
    days 270 - 487   quiet
    day  488         prices climb by 2 % a month for seven months, then stay; houses stay what they were
    later            a feed delivers square metres for square feet for ten days; then it is repaired
    later            a pandemic: flats fall from .45 to .30 of sales; log prices change by -.12 on flats, by +.10 on houses
                     with gardens; it lasts

When the last two begin depends on what the operator did before (`play`): at least 45 days lie between each of them, and
between them and a promote. In a quiet world nothing ever changes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from holdfast.core.alarm import Cause, Shape
from holdfast.core.profile import DAY, LOSS, OUTPUT, RESIDUAL

__all__ = [
    "AFTERWARDS",
    "APART",
    "DAY_ZERO",
    "Houses",
    "Planned",
    "Sales",
    "Truth",
    "World",
    "date_of",
    "day_of",
    "day_start",
]

Floats = NDArray[np.float64]
Table = dict[str, NDArray[Any]]

DAY_ZERO: Final = 1_609_718_400_000_000
"""2021-01-04 00:00 UTC, in microseconds."""

TRAINED: Final = 120
LIVE: Final = 270
SALES_A_DAY: Final = 120
LABEL_DAYS: Final = (14, 42)

INFLATION_A_MONTH: Final = 0.02
INFLATION_DAYS: Final = 213
SQUARE_FEET: Final = 10.7639
FAULT_DAYS: Final = 10
APART: Final = 45
"""Days between a change and a promote, and between two changes."""
AFTERWARDS: Final = 120
"""Days that follow the last change."""

KINDS: Final = {"flat": 0.0, "terraced house": 0.05, "detached house": 0.16}
DISTRICTS: Final = {
    "centre": 0.22,
    "harbour": 0.05,
    "mills": -0.18,
    "north hill": 0.02,
    "old town": 0.12,
    "riverside": -0.05,
    "university": 0.08,
    "west end": -0.12,
}
CONDITIONS: Final = {"poor": -0.18, "fair": -0.05, "good": 0.04, "renewed": 0.16}
"""What each adds to the log price."""
FEATURES: Final = ("kind", "district", "condition", "living_area", "rooms", "garden_area", "age", "distance_km")
PRICED: Final = (RESIDUAL, LOSS)
"""What shows a change of prices, once sales are known."""


@dataclass(frozen=True)
class Truth:
    """One change of the world: what really happened, since when, and what it moves."""

    name: str
    onset: int
    settled: int
    """Day from which it moves no further: the onset itself where it is sudden."""
    ended: int | None
    """Day from which everything was as before; None: it lasts."""
    moves: frozenset[str]
    """Monitored columns that it moves."""
    shape: Shape
    cause: Cause

    def active(self, day: int) -> bool:
        """Whether it is in force on that day."""
        return self.onset <= day and (self.ended is None or day < self.ended)


class Planned(NamedTuple):
    """A change that will come: on the day `earliest` where that is fixed, else as soon after it as the operator is not busy."""

    begin: Callable[[int], Truth]
    earliest: int
    fixed: bool


@dataclass(frozen=True)
class Sales:
    """The houses of one day, as listed, and what they were sold for and when."""

    day: int
    table: Table
    """Columns as the feed delivers them: features, `sale` (key), `listed` (ISO 8601)."""
    listed: NDArray[np.int64]
    """Event time, microseconds UTC, ascending."""
    label: NDArray[Any]
    sold: NDArray[np.int64]
    """When the label becomes known, microseconds UTC."""


def day_start(day: int) -> int:
    """Midnight UTC of a day of the story, in microseconds."""
    return DAY_ZERO + day * DAY


def day_of(at: int) -> int:
    """The day of the story in which a moment lies."""
    return (at - DAY_ZERO) // DAY


def date_of(at: int) -> str:
    """A moment as a date, for people."""
    return datetime.fromtimestamp(at / 1e6, UTC).strftime("%Y-%m-%d")


class World(Protocol):
    """What a story needs to know of its world."""

    @property
    def name(self) -> str:
        """What the deployment is called."""
        ...

    @property
    def script(self) -> str:
        """The user's training script, a file beside this one."""
        ...

    @property
    def label(self) -> str:
        """Column of the truth."""
        ...

    @property
    def key(self) -> str:
        """Column that names a row."""
        ...

    @property
    def timestamp(self) -> str:
        """Column of the event time."""
        ...

    @property
    def metric(self) -> str:
        """Name of the error that people are shown."""
        ...

    @property
    def live(self) -> int:
        """First day that is served; the days before it train the model and are its reference."""
        ...

    @property
    def trained(self) -> int:
        """First day of the reference."""
        ...

    @property
    def label_days(self) -> tuple[int, int]:
        """A label is known after so many days at least and at most."""
        ...

    @property
    def planned(self) -> tuple[Planned, ...]:
        """What will change, in order."""
        ...

    def day(self, day: int, truths: Sequence[Truth] = ()) -> Sales:
        """The rows of one day in a world in which these changes happen."""
        ...

    def loss(self, label: NDArray[Any], prediction: NDArray[Any]) -> Floats:
        """Error per row, such that means add up."""
        ...

    def summary(self, mean_loss: float) -> float:
        """The metric, from the mean of `loss`."""
        ...


def inflation(onset: int) -> Truth:
    """Prices climb while houses stay the same."""
    return Truth("inflation", onset, onset + INFLATION_DAYS, None, frozenset(PRICED), "gradual", "concept")


def square_metres(onset: int) -> Truth:
    """The feed of the living area changes its unit, and is repaired."""
    moved = frozenset({"living_area", OUTPUT})
    return Truth("square metres", onset, onset, onset + FAULT_DAYS, moved, "sudden", "pipeline fault")


def pandemic(onset: int) -> Truth:
    """Demand moves from flats to houses with gardens, and so do prices."""
    moved = frozenset({"kind", "living_area", "rooms", "garden_area", "distance_km", OUTPUT, *PRICED})
    return Truth("pandemic", onset, onset, None, moved, "sudden", "covariate and concept")


@dataclass(frozen=True)
class Houses:
    """The town; `quiet` towns never change."""

    seed: int
    quiet: bool = False
    name: str = "houses"
    script: str = "train.py"
    label: str = "price"
    key: str = "sale"
    timestamp: str = "listed"
    metric: str = "RMSE of log price"
    trained: int = TRAINED
    live: int = LIVE
    label_days: tuple[int, int] = LABEL_DAYS

    @property
    def planned(self) -> tuple[Planned, ...]:
        """What will change, in order."""
        if self.quiet:
            return ()
        return (
            Planned(inflation, 488, fixed=True),
            Planned(square_metres, 800, fixed=False),
            Planned(pandemic, 855, fixed=False),
        )

    def loss(self, label: NDArray[Any], prediction: NDArray[Any]) -> Floats:
        """Squared error of the log price (a relative error of a few per cent in words)."""
        return np.asarray((np.log(label) - np.log(prediction)) ** 2, dtype=np.float64)

    def summary(self, mean_loss: float) -> float:
        """Root mean square."""
        return float(np.sqrt(mean_loss))

    def day(self, day: int, truths: Sequence[Truth] = ()) -> Sales:
        """The sales of one day in a world in which these changes happen."""
        rng = np.random.default_rng([self.seed, day])
        active = {t.name for t in truths if t.active(day)}
        n = SALES_A_DAY
        listed = np.sort(rng.integers(day_start(day), day_start(day + 1), n))
        houses = _houses(rng, n, 0.30 if "pandemic" in active else 0.45)
        log_price = _log_price(houses) + 0.12 * rng.standard_normal(n)
        for truth in truths:
            if truth.name == "inflation" and truth.active(day):
                months = np.minimum(day - truth.onset + (listed - day_start(day)) / DAY, INFLATION_DAYS) / 30.4375
                log_price += np.log1p(INFLATION_A_MONTH) * months
        if "pandemic" in active:
            log_price += np.where(houses["kind"] == "flat", -0.12, 0.10)
        if "square metres" in active:
            houses["living_area"] = np.round(houses["living_area"] / SQUARE_FEET)
        lag = rng.integers(LABEL_DAYS[0] * DAY, LABEL_DAYS[1] * DAY, n)
        houses["sale"] = np.array([f"{day:04d}-{i:03d}" for i in range(n)], dtype=object)
        houses["listed"] = np.array([str(t) + "Z" for t in listed.astype("datetime64[us]")], dtype=object)
        return Sales(day, houses, listed, np.round(np.exp(log_price), -2), listed + lag)


def _houses(rng: np.random.Generator, n: int, flats: float) -> Table:
    """Draw houses: everything but the district and the condition depends on the kind."""
    kind = rng.choice(3, n, p=(flats, (1 - flats) * 0.4, (1 - flats) * 0.6))
    area = np.exp(np.array([6.65, 7.15, 7.50])[kind] + 0.22 * rng.standard_normal(n))
    garden = np.where(kind == 0, 0.0, np.exp(np.array([0.0, 6.4, 8.0])[kind] + 0.5 * rng.standard_normal(n)))
    age = rng.gamma(2.0, 18.0, n)
    distance = rng.gamma(3.0, np.array([0.8, 1.3, 2.0])[kind], n)
    table: Table = {
        "kind": np.array([*KINDS], dtype=object)[kind],
        "district": np.array([*DISTRICTS], dtype=object)[rng.integers(0, len(DISTRICTS), n)],
        "condition": np.array([*CONDITIONS], dtype=object)[rng.choice(4, n, p=(0.1, 0.3, 0.4, 0.2))],
        "living_area": np.round(area),
        "rooms": np.clip(np.round(area / 330.0 + 0.7 * rng.standard_normal(n)), 1, 12),
        "garden_area": np.round(garden),
        "age": np.where(rng.random(n) < 0.01, np.nan, np.round(age)),  # now and then nobody knows
        "distance_km": np.round(distance, 2),
    }
    return table


def _log_price(houses: Table) -> Floats:
    """What a house is worth before noise and before anything changes."""
    value = np.full(len(houses["kind"]), 12.6)
    for column, effects in (("kind", KINDS), ("district", DISTRICTS), ("condition", CONDITIONS)):
        value += [effects[name] for name in houses[column]]
    value += 0.75 * np.log(houses["living_area"] / 1000.0) + 0.01 * houses["rooms"]
    value += 0.03 * np.log1p(houses["garden_area"] / 500.0) - 0.03 * houses["distance_km"]
    age = np.nan_to_num(houses["age"], nan=36.0)
    return np.asarray(value - 0.15 * np.tanh(age / 40.0), dtype=np.float64)
