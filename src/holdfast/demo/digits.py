"""Real images, and a new camera: the 1797 handwritten digits that scikit-learn carries, read by a sorting machine.

120 digits a day pass the camera; somebody types in what they really were, two to seven days later. The model is trained on one
half of the images; every later day draws from the other half, with replacement, as the old camera sees them: each stroke a
little brighter or darker than in the file.

    days 0 - 7       the model is trained on these (each image of the first half once)
    days 8 - 97      reference
    days 98 - 217    quiet
    day  218         a new camera: less gain, more blur, more noise; it stays

The images are real and the camera is simulated, so the truth is known: the digits are what they were, they only look different.

Data: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998 (CC BY 4.0).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from holdfast.core.profile import CONFIDENCE, DAY, LOSS, OUTPUT
from holdfast.demo.worlds import Planned, Sales, Truth, day_start

__all__ = ["PIXELS", "Digits", "new_camera"]

Floats = NDArray[np.float64]

A_DAY: Final = 120
TRAINED: Final = 8
LIVE: Final = 98
CHANGE: Final = 218
LABEL_DAYS: Final = (2, 7)
PIXELS: Final = tuple(f"pixel_{row}_{column}" for row in range(8) for column in range(8))
GAIN: Final = 0.7
BLUR: Final = 0.08
"""Share of a pixel's light that falls on each of its four neighbours."""
NOISE: Final = 0.30
"""Shot noise: standard deviation as a share of the square root of the light."""


def new_camera(onset: int) -> Truth:
    """Another camera looks at the same digits."""
    moved = frozenset({*PIXELS, OUTPUT, CONFIDENCE, LOSS})
    return Truth("new camera", onset, onset, None, moved, "sudden", "harmful covariate")


@dataclass(frozen=True)
class Digits:
    """The sorting machine; in a `quiet` world it keeps its camera."""

    seed: int
    quiet: bool = False
    name: str = "digits"
    script: str = "train_digits.py"
    label: str = "digit"
    key: str = "image"
    timestamp: str = "seen"
    metric: str = "share of digits misread"
    trained: int = TRAINED
    live: int = LIVE
    label_days: tuple[int, int] = LABEL_DAYS

    @property
    def planned(self) -> tuple[Planned, ...]:
        """What will change."""
        return () if self.quiet else (Planned(new_camera, CHANGE, fixed=True),)

    @cached_property
    def _halves(self) -> tuple[tuple[Floats, NDArray[Any]], tuple[Floats, NDArray[Any]]]:
        """Images [n, 8, 8] and digits, to train on and to serve."""
        from sklearn.datasets import load_digits

        bunch = load_digits()
        order = np.random.default_rng([self.seed, 0]).permutation(len(bunch.target))
        images, digits = bunch.images[order], bunch.target[order].astype(str).astype(object)
        half = TRAINED * A_DAY - 1
        return (images[:half], digits[:half]), (images[half:], digits[half:])

    def day(self, day: int, truths: Sequence[Truth] = ()) -> Sales:
        """The digits of one day, as the camera in use sees them."""
        rng = np.random.default_rng([self.seed, 1, day])
        if day < TRAINED:
            images, digits = (part[day * A_DAY : (day + 1) * A_DAY] for part in self._halves[0])
        else:
            images, digits = self._halves[1]
            drawn = rng.integers(0, len(digits), A_DAY)
            images, digits = images[drawn], digits[drawn]
        seen = images * rng.normal(1.0, 0.05, (len(images), 1, 1))
        if any(truth.active(day) for truth in truths):
            seen = _blurred(GAIN * seen)
            seen = seen + NOISE * np.sqrt(seen) * rng.standard_normal(seen.shape)
        pixels = np.clip(np.round(seen), 0, 16).reshape(len(images), 64)
        times = np.sort(rng.integers(day_start(day), day_start(day + 1), len(images)))
        table: dict[str, NDArray[Any]] = {name: pixels[:, i] for i, name in enumerate(PIXELS)}
        table["image"] = np.array([f"{day:04d}-{i:03d}" for i in range(len(images))], dtype=object)
        table["seen"] = np.array([str(t) + "Z" for t in times.astype("datetime64[us]")], dtype=object)
        lag = rng.integers(LABEL_DAYS[0] * DAY, LABEL_DAYS[1] * DAY, len(images))
        return Sales(day, table, times, digits, times + lag)

    def loss(self, label: NDArray[Any], prediction: NDArray[Any]) -> Floats:
        """1 where the digit was misread."""
        return np.asarray(label.astype(str) != prediction.astype(str), dtype=np.float64)

    def summary(self, mean_loss: float) -> float:
        """The share itself."""
        return mean_loss


def _blurred(images: Floats) -> Floats:
    """A little of each pixel's light falls on its neighbours, some of it beside the picture."""
    wide = np.pad(images, ((0, 0), (1, 1), (1, 1)))
    neighbours = wide[:, :-2, 1:-1] + wide[:, 2:, 1:-1] + wide[:, 1:-1, :-2] + wide[:, 1:-1, 2:]
    return np.asarray((1 - 4 * BLUR) * images + BLUR * neighbours)
