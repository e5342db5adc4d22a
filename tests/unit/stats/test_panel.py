import json
from math import log

import numpy as np
import pytest

from holdfast.stats.calibration import Calibration
from holdfast.stats.counts import ColumnSpec, Counts
from holdfast.stats.panel import Budget, Evidence, Panel, PanelState, budget_shares, fewest_above, stream_of
from holdfast.stats.scores import Monitor
from holdfast.stats.stream import Stream

DAY = 1 / 365.25
QUARTERS = (0.0, 0.25, 0.5, 0.75, 1.0)
AREA = ColumnSpec("area", "numeric", "input", edges=QUARTERS)
ROOMS = ColumnSpec("rooms", "numeric", "input", edges=QUARTERS)
KIND = ColumnSpec("kind", "categorical", "input", categories=("flat", "house", "villa"))
PRICE = ColumnSpec("price", "numeric", "output", edges=QUARTERS)
LOSS = ColumnSpec("loss", "numeric", "loss", edges=QUARTERS)
RESIDUAL = ColumnSpec("residual", "numeric", "residual", edges=QUARTERS)
SERVED = (AREA, ROOMS, KIND, PRICE)
LABELLED = (LOSS, RESIDUAL)
EVEN = [0.0, 0.0, 0.25, 0.25, 0.25, 0.25, 0.0]
HIGH = [0.0, 0.0, 0.15, 0.2, 0.3, 0.35, 0.0]
MIX = [0.0, 0.5, 0.4, 0.1, 0.0]


def window(rng, specs, rows=120, **changed):
    shares = {spec.name: MIX if spec.kind == "categorical" else EVEN for spec in specs} | changed
    return Counts(rows, {name: rng.multinomial(rows, p) for name, p in shares.items()})


def panel(rng, reference=150, specs=SERVED + LABELLED, **options):
    streams = {}
    for spec in specs:
        streams.setdefault(stream_of(spec), []).append(spec)
    return Panel(
        specs, {name: [window(rng, mine) for _ in range(reference)] for name, mine in streams.items()}, **options
    )


@pytest.fixture
def rng():
    return np.random.default_rng(11)


# ------------------------------------------------------------------------------------------------ budget


def test_half_of_the_budget_is_for_performance():
    shares = budget_shares(SERVED + LABELLED, {}, labels_expected=True)
    assert shares == pytest.approx(
        {"area": 1 / 12, "rooms": 1 / 12, "kind": 1 / 12, "price": 0.25, "loss": 0.25, "residual": 0.25}
    )


def test_shares_wait_for_labels_unless_there_will_never_be_any():
    assert sum(budget_shares(SERVED, {}, labels_expected=True).values()) == pytest.approx(0.5)
    assert sum(budget_shares(SERVED, {}, labels_expected=False).values()) == pytest.approx(1.0)


def test_importance_moves_half_of_the_inputs_share():
    shares = budget_shares(SERVED, {"area": 3.0, "rooms": 1.0}, labels_expected=True)
    assert [shares[s] / 0.25 for s in ("area", "rooms", "kind")] == pytest.approx([0.375 + 1 / 6, 0.125 + 1 / 6, 1 / 6])


def test_weights_of_all_bets_sum_to_the_shares(rng):
    watched = panel(rng)
    total = sum(
        (stream._tables.mix.sum(axis=1) * np.exp(stream._log_share[:, 0])).sum() for stream in watched.streams.values()
    )
    assert total == pytest.approx(1.0)


def test_a_budget_in_windows():
    assert Budget().years_between == 1.0
    assert Budget.one_in_windows(20, DAY).years_between == pytest.approx(20 * DAY)


# ------------------------------------------------------------------------------------------------ alarms


@pytest.mark.parametrize(
    ("column", "shares", "score"),
    [
        ("area", [1.0, 0, 0, 0, 0, 0, 0], "missing"),
        ("area", [0, 0, 0, 0, 0, 0, 1.0], "out_of_range"),
        ("kind", [0, 0, 0, 0, 1.0], "unseen"),
        ("kind", [0.3, 0.35, 0.28, 0.07, 0], "missing"),
        ("area", [0, 0, 1.0, 0, 0, 0, 0], "location"),
    ],
)
def test_a_disaster_alarms_in_its_first_window(rng, column, shares, score):
    watched = panel(rng)
    state, quiet = watched.step(watched.start(), "windows", window(rng, SERVED), DAY)
    assert not quiet.crossed
    assert quiet.named == ()
    _, evidence = watched.step(state, "windows", window(rng, SERVED, **{column: shares}), DAY)
    assert evidence.crossed
    assert evidence.named_columns == (column,)
    assert score in {m.score for m in evidence.named}


def test_a_moved_mean_alarms_within_days_and_names_its_column(rng):
    watched = panel(rng)
    state = watched.start()
    for _ in range(12):
        state, evidence = watched.step(state, "labels", window(rng, LABELLED, residual=HIGH), DAY)
        if evidence.crossed:
            break
    assert evidence.crossed
    assert evidence.named_columns == ("residual",)
    weighted, z = evidence.by_monitor()["residual:location"]
    assert weighted > evidence.log_threshold - 1
    assert z > 1
    assert np.isnan(evidence.by_monitor()["area:location"][1])  # the other stream had no window


def test_the_fewest_largest_are_named():
    monitors = tuple(Monitor(name, "input", "location") for name in "abcd")
    parts = np.log([0.3, 0.6, 0.05, 0.4])
    evidence = Evidence(log(1.35), 0.0, monitors, parts, parts, parts)
    assert [m.column for m in evidence.named] == ["b"]  # the rest, 0.75, is below 1
    assert fewest_above(np.log([0.9, 0.9, 0.9]), 0.0) == [2, 1]


# ------------------------------------------------------------------------------------------------ life of an alarm


def test_an_open_alarm_silences_its_columns_and_no_other(rng):
    watched = panel(rng)
    broken = {"area": [1.0, 0, 0, 0, 0, 0, 0]}
    state, evidence = watched.step(watched.start(), "windows", window(rng, SERVED, **broken), DAY)
    state = watched.mute(state, evidence.named_columns)
    before = state.streams["windows"].running.windows.sum(axis=0)
    state, evidence = watched.step(state, "windows", window(rng, SERVED, **broken), DAY)
    assert not evidence.crossed
    taken = state.streams["windows"].running.windows.sum(axis=0) - before
    columns = np.array([m.column for m in watched.streams["windows"].monitors])
    assert (taken[columns == "area"] == 0).all()
    assert (taken[columns == "price"] == 1).any()
    _, evidence = watched.step(state, "windows", window(rng, SERVED, price=[1.0, 0, 0, 0, 0, 0, 0], **broken), DAY)
    assert evidence.named_columns == ("price",)


def test_a_closed_alarm_starts_from_a_clean_slate(rng):
    watched = panel(rng)
    state, evidence = watched.step(watched.start(), "windows", window(rng, SERVED, area=[1.0, 0, 0, 0, 0, 0, 0]), DAY)
    state = watched.unmute(watched.mute(state, evidence.named_columns), evidence.named_columns)
    assert not watched.evidence(state).crossed
    for _ in range(20):
        state, evidence = watched.step(state, "windows", window(rng, SERVED), DAY)
        assert not evidence.crossed


def test_an_accepted_new_normal_is_watched_without_a_rate_until_30_windows(rng):
    watched = panel(rng)
    state = watched.rebase(watched.start(), ["residual"], [window(rng, LABELLED, residual=HIGH) for _ in range(20)])
    assert watched.unrated(state) == ("residual",)
    for _ in range(10):
        state, evidence = watched.step(state, "labels", window(rng, LABELLED, residual=HIGH), DAY)
        assert not evidence.crossed
    assert watched.unrated(state) == ()
    for _ in range(20):
        state, evidence = watched.step(state, "labels", window(rng, LABELLED), DAY)  # back again is a change now
        if evidence.crossed:
            break
    assert evidence.named_columns == ("residual",)
    series = watched.series(state, "residual", "location", [window(rng, LABELLED)])
    assert series.z[0] < 0


def test_muting_needs_known_columns_of_one_stream(rng):
    watched = panel(rng)
    with pytest.raises(ValueError, match="not monitored: nonsense"):
        watched.mute(watched.start(), ["nonsense"])
    with pytest.raises(ValueError, match="one stream"):
        watched.mute(watched.start(), ["area", "loss"], since=[window(rng, SERVED)])
    with pytest.raises(ValueError, match="at least one window"):
        watched.rebase(watched.start(), ["area"], [])
    assert watched.mute(watched.start(), ["area", "loss"]).streams["labels"].muted.any()


# ------------------------------------------------------------------------------------------------ what is shown and stored


def test_the_promise_as_a_sentence(rng):
    watched = panel(rng)
    assert watched.sentence() == "at most one false alarm a year on average over all 6 columns and all time"
    shaky = panel(rng, calibration=Calibration(not_guaranteed=("area",)), budget=Budget(2.0))
    assert shaky.sentence() == (
        "at most 2 false alarms a year on average over all 5 columns and all time; no rate is stated for: area"
    )
    assert "no false-alarm rate is stated" in panel(rng, reference=20).sentence()


def test_the_series_behind_a_score(rng):
    watched = panel(rng)
    windows = [window(rng, SERVED), window(rng, SERVED, rows=60, area=[1.0, 0, 0, 0, 0, 0, 0])]
    series = watched.series(watched.start(), "area", "location", windows)
    assert series.n.tolist() == [120.0, 0.0]
    assert 0.3 < series.y[0] < 0.7
    assert np.isfinite(series.z[0])
    assert np.isnan(series.z[1])
    with pytest.raises(ValueError, match="no monitor area:nonsense"):
        watched.series(watched.start(), "area", "nonsense", windows)


def test_the_state_is_small_and_plain(rng):
    watched = panel(rng)
    state, _ = watched.step(watched.start(), "windows", window(rng, SERVED), DAY)
    stored = state.to_bytes()
    assert len(stored) < 20_000
    json.loads(stored.split(b"\n", 1)[0])
    assert PanelState.from_bytes(stored).to_bytes() == stored


def test_time_that_stands_still_adds_no_room_for_false_alarms(rng):
    watched = panel(rng)
    _, evidence = watched.step(watched.start(), "windows", window(rng, SERVED, area=[1.0, 0, 0, 0, 0, 0, 0]), 0.0)
    assert evidence.log_total == -np.inf


def test_a_stream_without_reference_is_refused(rng):
    with pytest.raises(ValueError, match="no reference windows for the stream 'labels'"):
        Panel(SERVED + LABELLED, {"windows": [window(rng, SERVED)]})


# ------------------------------------------------------------------------------------------------ seasons and correlation


def test_strata_have_means_of_their_own(rng):
    names = ["weekend" if t % 7 > 4 else "weekday" for t in range(140)]
    windows = [window(rng, SERVED, area=HIGH if s == "weekend" else EVEN) for s in names]
    pooled = Panel(SERVED, {"windows": windows})
    split = Panel(SERVED, {"windows": windows}, strata={"windows": names})
    weekend = window(rng, SERVED, area=HIGH)
    at = [m.key for m in pooled.monitors].index("area:location")
    _, blurred = pooled.step(pooled.start(), "windows", weekend, DAY, "weekend")
    _, sharp = split.step(split.start(), "windows", weekend, DAY, "weekend")
    assert blurred.prediction_z[at] > 1
    assert abs(sharp.prediction_z[at]) < 2.5
    _, wrong_day = split.step(split.start(), "windows", weekend, DAY, "weekday")
    assert wrong_day.prediction_z[at] > blurred.prediction_z[at]
    _, holiday = split.step(split.start(), "windows", weekend, DAY, "never seen")
    assert np.isnan(holiday.prediction_z[at])  # its mean is not known yet; the row bets still watch
    with pytest.raises(ValueError, match="strata named"):
        Stream(SERVED, windows, dict.fromkeys(["area", "rooms", "kind", "price"], 0.25), strata=["weekday"])


def test_whitening_judges_a_window_against_its_predecessor(rng):
    reference = [window(rng, SERVED) for _ in range(60)]
    plain = Panel(SERVED, {"windows": reference})
    white = Panel(SERVED, {"windows": reference}, calibration=Calibration(whitening={"area:location": 0.6}))
    at = [m.key for m in plain.monitors].index("area:location")
    z = {}
    for name, watched in (("plain", plain), ("white", white)):
        state = watched.start()
        for seed in (1, 2):
            state, evidence = watched.step(
                state, "windows", window(np.random.default_rng(seed), SERVED, area=HIGH), DAY
            )
        z[name] = evidence.prediction_z
    assert z["white"][at] < z["plain"][at]
    others = np.arange(len(plain.monitors)) != at
    assert np.array_equal(z["white"][others], z["plain"][others], equal_nan=True)
