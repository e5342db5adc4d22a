"""How often the dates and shapes of changes are right, in worlds whose truth is known.

Each bar is a share of REPS seeded runs. A test allows three binomial standard errors below (or above) its bar, so that an
implementation at exactly the bar fails one time in 700 on a fresh seed (and, being seeded, never on an unchanged one).
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from holdfast.stats.change import RAMP_LENGTHS, Change, _fit, cutoff, find_change

REPS = 300
REFERENCE, QUIET = 150, 100
ONSET = REFERENCE + QUIET


def below(bar: float) -> float:
    return bar - 3 * math.sqrt(bar * (1 - bar) / REPS)


def above(bar: float) -> float:
    return bar + 3 * math.sqrt(bar * (1 - bar) / REPS)


def world(
    size: float, after: int, ramp: int, rng: np.random.Generator, rows: np.ndarray | None = None, memory: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Window means with unit noise at 100 rows, a change of `size` at ONSET over `ramp` windows (1 = a step)."""
    t = np.arange(ONSET + after)
    rows = np.full(len(t), 100.0) if rows is None else rows
    noise = rng.standard_normal(len(t))
    for k in range(1, len(t) if memory else 0):
        noise[k] = memory * noise[k - 1] + math.sqrt(1 - memory**2) * noise[k]
    return size * np.clip((t - ONSET + 1) / ramp, 0, 1) + noise * np.sqrt(100 / np.maximum(rows, 1)), rows


def runs(size: float, after: int, ramp: int, seed: int, **given: object) -> list[Change]:
    rng = np.random.default_rng(seed)
    return [find_change(*world(size, after, ramp, rng, **given), REFERENCE) for _ in range(REPS)]  # type: ignore[arg-type]


def covered(changes: list[Change]) -> float:
    return float(np.mean([c.low <= ONSET <= c.high for c in changes]))


def share(changes: list[Change], shape: str) -> float:
    return float(np.mean([c.shape == shape for c in changes]))


@pytest.mark.parametrize("size", [2.0, 3.0, 4.0, 6.0])
@pytest.mark.parametrize("after", [5, 10, 40, 120])
def test_steps_are_dated_and_seldom_called_gradual(size: float, after: int) -> None:
    changes = runs(size, after, 1, seed=1)
    assert covered(changes) >= below(0.95)
    assert share(changes, "gradual") <= above(0.05)


@pytest.mark.parametrize("size", [2.0, 4.0, 6.0])
@pytest.mark.parametrize("ramp", [3, 5, 10, 20, 30, 60])
def test_ramps_are_dated(size: float, ramp: int) -> None:
    assert covered(runs(size, 40, ramp, seed=2)) >= 0.90  # measured with 1 000 runs: .93 (2 sd, ramp of 60) to .99


@pytest.mark.parametrize(("ramp", "bar"), [(1, 0.93), (14, 0.90), (20, 0.95), (30, 0.98)])
def test_the_shape_is_right_at_4_sd_with_40_windows_after(ramp: int, bar: float) -> None:
    """Bars as measured with 1 000 runs: .93, .90, .96 and .99."""
    changes = runs(4.0, 40, ramp, seed=3)
    assert share(changes, "sudden" if ramp == 1 else "gradual") >= below(bar)


def test_a_ramp_of_ten_windows_is_seldom_called_sudden() -> None:
    """Its mean gain over a step at 4 sd is 13 +- 7: with 5 % miscalled steps about 82 % can be recognised."""
    changes = runs(4.0, 40, 10, seed=3)
    assert share(changes, "gradual") >= below(0.80)
    assert share(changes, "sudden") <= above(0.09)


@pytest.mark.parametrize("ramp", [1, 20])
def test_late_labels(ramp: int) -> None:
    """Labels take 14 to 42 windows to arrive, so the newest windows hold few or none."""
    after = 60
    age = np.arange(ONSET + after)[::-1]
    rows = np.round(100 * np.clip((age - 14) / 28, 0, 1))
    changes = runs(4.0, after, ramp, seed=4, rows=rows)
    assert covered(changes) >= below(0.95)
    assert share(changes, "sudden" if ramp == 1 else "gradual") >= below(0.90)


def test_autocorrelated_windows_widen_the_interval_and_do_not_make_steps_gradual() -> None:
    changes = runs(5.0, 40, 1, seed=5, memory=0.6)
    assert covered(changes) >= below(0.95)
    assert share(changes, "gradual") <= above(0.05)
    assert np.median([c.high - c.low for c in changes]) > np.median([c.high - c.low for c in runs(5.0, 40, 1, seed=5)])


def test_a_running_mean_would_lose_the_size() -> None:
    """The tempting mistake: take each window's distance from the mean of everything before it. That mean follows the change,
    which then looks like a decay. With 120 windows after a step of 4 sd the frozen scale is off by .3 sd, the other by 1.6."""
    rng = np.random.default_rng(6)
    frozen, running = [], []
    for _ in range(100):
        y = rng.standard_normal(200) + 4.0 * (np.arange(200) >= 80)
        past = np.concatenate([[0.0, 0.0], np.cumsum(y)[1:-1] / np.arange(2, 200)])
        frozen.append(abs(find_change(y, np.ones(200), 60).size - 4.0))
        running.append(abs(find_change(y - past, np.ones(200), 60).size - 4.0))
    assert np.mean(frozen) < 0.5
    assert np.mean(running) > 1.0


@pytest.mark.parametrize(("size", "after"), [(1.0, 60), (2.0, 15), (3.0, 30), (4.0, 8), (4.0, 120), (6.0, 30)])
def test_the_cutoff_table_is_what_simulation_gives(size: float, after: int) -> None:
    """2 000 true steps at a table point: the share above the cutoff is 5 % (less where the floor of 2 is in force)."""
    rng = np.random.default_rng(8)
    weights = np.ones(260 + after)
    lengths = tuple(length for length in RAMP_LENGTHS if length <= max(28, 4 * (110 + after)))
    above_it = 0
    for _ in range(2000):
        d = rng.standard_normal(len(weights))
        d[260:] += size
        gap = _fit(d, weights, 150, lengths).reduction.max() - _fit(d, weights, 150, (1,)).reduction.max()
        above_it += gap > cutoff(size, after)
    slack = 3 * math.sqrt(0.05 * 0.95 * (1 / 2000 + 1 / 3000))  # the table itself has 3 000 runs a cell
    assert above_it / 2000 <= 0.05 + slack
    if cutoff(size, after) > 2.0:
        assert above_it / 2000 >= 0.05 - slack


def _seasonal(rng, n_ref, after, ramp):
    """A reference that wanders over a year (sd 1), little noise from window to window (sd .35), then a change of 3.5 sd."""
    n = n_ref + 40 + after
    season = np.sqrt(2.0) * np.sin(2 * np.pi * (np.arange(n) / 87 + rng.random()))
    change = 3.5 * np.clip((np.arange(n) - (n_ref + 40) + 1) / ramp, 0, 1)
    return season + 0.35 * rng.standard_normal(n) + change


def test_a_wandering_reference_does_not_hide_that_a_step_was_sudden():
    """200 steps and 200 ramps of 20 windows. Measured over other seeds: .46 of the steps sudden (the rest not yet known), no ramp.

    With these shares a right implementation stays below 60 with probability 1e-5, and calls 8 ramps sudden hardly ever.
    """
    rng = np.random.default_rng(20200312)
    steps = [find_change(_seasonal(rng, 175, 20, 1), [100] * 235, 175).shape for _ in range(200)]
    ramps = [find_change(_seasonal(rng, 175, 40, 20), [100] * 255, 175).shape for _ in range(200)]
    assert steps.count("sudden") >= 60
    assert ramps.count("sudden") <= 8
