import json

import numpy as np
import pytest
import scipy.stats

from holdfast.stats.calibration import Calibration
from holdfast.stats.counts import ColumnSpec, Counts
from holdfast.stats.replay import poisson_limit, replay

EDGES = tuple(np.linspace(0.0, 1.0, 17).tolist())
SPECS = [
    ColumnSpec(name, "numeric", "input" if name != "price" else "output", edges=EDGES)
    for name in ("a", "b", "c", "price")
]
EVEN = np.r_[0, 0, np.full(16, 1 / 16), 0]
RANK = np.r_[0, 0, np.arange(16) / 15 - 0.5, 0]


def history(rng, count, phi=0.0, sd=0.5):
    """Column "a" wanders from day to day; the others are the same every day."""
    effect, out = rng.normal() * sd, []
    for _ in range(count):
        effect = phi * effect + rng.normal() * sd * np.sqrt(1 - phi**2)
        tilted = EVEN * np.exp(2 * effect * RANK)
        out.append(
            Counts(200, {s.name: rng.multinomial(200, tilted / tilted.sum() if s.name == "a" else EVEN) for s in SPECS})
        )
    return out


def test_a_quiet_history_keeps_the_rate():
    rng = np.random.default_rng(1)
    report = replay(SPECS, {"windows": history(rng, 150)}, rng)
    assert report.rate_stated
    assert report.not_guaranteed == ()
    assert all(run.kept for run in report.runs)
    assert {(run.order, run.budget_windows) for run in report.runs} == {
        (o, b) for o in ("in order", "shuffled") for b in (5, 10, 20)
    }
    assert report.sentence().startswith("The reference history keeps the stated rate.")
    checks = {c.monitor: c for c in report.checks}
    assert abs(checks["b:location"].autocorrelation) < 0.3
    assert 0.3 < checks["b:location"].variance_ratio < 2.0


def test_clinging_days_are_whitened():
    rng = np.random.default_rng(2)
    report = replay(SPECS, {"windows": history(rng, 150, phi=0.5)}, rng)
    assert 0.3 < report.phi("a:location") < 0.8
    assert report.phi("b:location") == 0.0
    assert "corrected for lag-1 correlation" in report.sentence()


def test_a_wandering_column_gets_no_rate():
    rng = np.random.default_rng(3)
    report = replay(SPECS, {"windows": history(rng, 150, phi=0.98)}, rng)
    assert report.not_guaranteed == ("a",)
    assert report.sentence().startswith("Rate not guaranteed for: a.")


def test_a_jump_in_the_history_is_not_called_quiet():
    rng = np.random.default_rng(4)
    jumped = history(rng, 75) + [
        Counts(200, w.columns | {"c": rng.multinomial(200, np.r_[0, 0, np.full(8, 1 / 24), np.full(8, 1 / 12), 0])})
        for w in history(rng, 75)
    ]
    assert "c" in replay(SPECS, {"windows": jumped}, rng).not_guaranteed


def test_a_short_history_states_no_rate():
    rng = np.random.default_rng(5)
    report = replay(SPECS, {"windows": history(rng, 29)}, rng)
    assert not report.rate_stated
    assert report.sentence() == "No false-alarm rate is stated: fewer than 30 reference windows (windows)."


def test_a_history_too_short_to_replay_says_so():
    rng = np.random.default_rng(5)
    report = replay(SPECS, {"windows": history(rng, 35)}, rng)
    assert report.rate_stated
    assert report.sentence().startswith("The reference is too short for a replay")


def test_strata_are_replayed_as_strata():
    rng = np.random.default_rng(6)
    names = ["weekend" if t % 7 > 4 else "weekday" for t in range(150)]
    low = EVEN * (1 - RANK)
    weeks = [
        Counts(
            200,
            {
                s.name: rng.multinomial(200, low / low.sum() if day == "weekend" and s.name == "a" else EVEN)
                for s in SPECS
            },
        )
        for day in names
    ]
    split = replay(SPECS, {"windows": weeks}, rng, strata={"windows": names})
    pooled = replay(SPECS, {"windows": weeks}, rng)
    assert split.not_guaranteed == ()
    assert split.phi("a:location") == 0.0
    assert pooled.phi("a:location") > 0.0  # the week looks like correlation to a panel that knows no weekends


def test_the_report_survives_json():
    rng = np.random.default_rng(7)
    report = replay(SPECS, {"windows": history(rng, 80, phi=0.6)}, rng)
    assert Calibration.from_dict(json.loads(json.dumps(report.to_dict()))) == report
    assert Calibration.from_dict(Calibration().to_dict()) == Calibration()


@pytest.mark.parametrize("expected", [0.01, 0.5, 1.0, 3.9, 52.0, 949.0, 1900.0, 250_000.0])
def test_poisson_limit(expected):
    assert poisson_limit(expected) == scipy.stats.poisson.isf(1e-3, expected)
