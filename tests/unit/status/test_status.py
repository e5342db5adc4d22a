"""Status tells what is where since when: checked against a town whose story is known."""

from __future__ import annotations

import json
import os
from itertools import pairwise

import msgspec
import numpy as np
import pytest
from tests import houses

from holdfast import status
from holdfast.core.contract import Output
from holdfast.core.deployment import Deployment
from holdfast.core.profile import DAY
from holdfast.core.window import Window
from holdfast.errors import NotFound
from holdfast.serve.counts import FLEET
from holdfast.serve.metrics import Metrics, Place
from holdfast.stats.counts import Counts
from holdfast.status import series
from holdfast.status.sources import log_state
from holdfast.status.values import LogState
from holdfast.testing import MemoryDatabase

NOW = (houses.DAY0 + 900) * DAY


@pytest.fixture(name="town", scope="module")
def town_of():
    database = MemoryDatabase()
    return database, houses.fill(database)


@pytest.fixture(name="sources")
def sources_of(town, tmp_path):
    database, releases = town
    keeping(tmp_path)
    return status.Sources(database, releases.release, releases.digests, tmp_path / "log", tmp_path / "run")


def keeping(folder, pid=None, error=""):
    run = folder / "run"
    run.mkdir(exist_ok=True)
    (run / "keeper.json").write_text(json.dumps({"pid": pid or os.getpid(), "passed": NOW, "error": error}))
    return run


def test_the_overview_says_what_is_wrong(sources):
    row = status.overview(sources, NOW).deployments[0]
    assert (row.name, row.state) == ("house-prices", "alarm")
    assert row.reason.startswith("Since about 10 December")
    assert [a.id for a in row.alarms] == ["a3"]
    assert row.performance.verdict == "worse"
    assert row.performance.low < row.performance.value < row.performance.high
    assert row.canary_share == 0.1
    assert len(row.recent) == 40
    assert 0.7 < row.labels.coverage < 0.9
    assert row.labels.waiting == 8
    assert row.clock == (houses.DAY0 + 400) * DAY  # a replay: its own clock, not the wall's
    assert row.monitoring.running
    assert row.monitoring.behind == 0
    assert row.monitoring.rate == "at most one false alarm a year on average over 8 columns"


def test_everything_is_plain_json(sources):
    for value in (
        status.overview(sources, NOW),
        status.story(sources, "house-prices", NOW),
        status.release_summaries(sources),
    ):
        assert json.loads(msgspec.json.encode(value))


def test_the_story_has_the_releases_on_their_tracks(sources):
    view = status.story(sources, "house-prices", NOW)
    first, second, third = sources.digests()
    assert [(s.track, s.release, s.until is None) for s in view.stays] == [
        ("live", first, False),
        ("live", second, True),
        ("canary", second, False),
        ("canary", third, True),
    ]
    assert view.stays[2].until == view.stays[1].since


def test_the_error_follows_the_truth_of_the_town(sources):
    view = status.story(sources, "house-prices", NOW)
    begin = houses.DAY0 * DAY
    quiet = [b for b in view.bins if b.end < begin + 100 * DAY and b.error]
    worst = [b for b in view.bins if begin + 200 * DAY < b.start < begin + 212 * DAY and b.error]
    # 14 weeks at 95 %: more than 4 outside has chance 0.04 % if the interval holds
    assert sum(not b.low <= 0.12 <= b.high for b in quiet) <= 4
    assert all(b.low > 0.13 for b in worst)


def test_columns_that_alarm_stand_first_with_their_counts(sources):
    view = status.story(sources, "house-prices", NOW)
    kind = view.columns[0]
    assert (kind.name, kind.alarms, kind.follows) == ("kind", ("a3",), "share of flat")
    flat = next(b for b in kind.bins if b.label == "flat")
    assert flat.reference == pytest.approx(0.45, abs=0.02)
    assert flat.now == pytest.approx(0.30, abs=0.02)
    assert all(d.value > d.noise for d in kind.distances)
    assert kind.now_since == view.alarms[0].onset


@pytest.mark.parametrize("column", range(8))
def test_histogram_shares_add_up(sources, column):
    bins = status.story(sources, "house-prices", NOW).columns[column].bins
    assert sum(b.reference for b in bins) == pytest.approx(1.0)
    assert sum(b.now for b in bins) == pytest.approx(1.0)


def test_medians_read_off_the_bins_are_right(sources):
    view = status.story(sources, "house-prices", NOW)
    area = next(c for c in view.columns if c.name == "area_sqft")
    truth = np.median(houses.houses(np.random.default_rng(0), 20_000)["area_sqft"])
    assert area.reference.middle == pytest.approx(truth, rel=0.03)
    assert min(q.middle for q in area.series) < 500  # the feed that turned to square metres


@pytest.mark.parametrize(
    ("pid", "error", "state", "words"),
    [
        (None, "", "ok", "no open alarm"),
        (2**22 + 1, "", "unwatched", "no keeper is running"),
        (None, "disk full", "unwatched", "disk full"),
    ],
)
def test_nobody_looking_is_a_state(tmp_path, pid, error, state, words):
    database = MemoryDatabase()
    fresh = houses.fill(database, days=100)
    with database.begin() as stores:
        for alarm in stores.alarms.find():
            stores.alarms.save(msgspec.structs.replace(alarm, closed=1, closing="returned"))
    run = keeping(tmp_path, pid, error)
    row = status.overview(status.Sources(database, fresh.release, fresh.digests, tmp_path, run), NOW).deployments[0]
    assert row.state == state
    assert words in row.reason


def test_a_deployment_without_predictions(town, tmp_path):
    _, releases = town
    database = MemoryDatabase()
    with database.begin() as stores:
        stores.deployments.save(Deployment(name="new", live=releases.digests()[0], since=NOW))
    sources = status.Sources(database, releases.release, releases.digests, tmp_path, tmp_path)
    row = status.overview(sources, NOW).deployments[0]
    assert (row.state, row.rows, row.performance, row.labels.coverage) == ("no data", 0, None, None)
    view = status.story(sources, "new", NOW)
    assert view.bins == ()
    assert view.start < view.end


def test_a_release_that_cannot_be_opened_is_what_is_wrong(town, tmp_path):
    database, _ = town
    sources = status.Sources(database, houses.Town({}).release, list, tmp_path, tmp_path)
    row = status.overview(sources, NOW).deployments[0]
    assert row.state == "alarm"
    assert row.reason.startswith("the live release cannot be used: no release")
    assert row.rows > 0


def test_an_empty_workspace_and_an_unknown_name(tmp_path):
    sources = status.Sources(MemoryDatabase(), houses.Town({}).release, list, tmp_path, tmp_path)
    assert status.overview(sources, NOW).deployments == ()
    assert status.release_summaries(sources) == []
    with pytest.raises(NotFound):
        status.story(sources, "nope", NOW)


def test_disk_use_counts_bytes(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_bytes(b"12345")
    (tmp_path / "y").write_bytes(b"123")
    assert status.disk_bytes(tmp_path) == 8
    assert status.disk_bytes(tmp_path / "none") == 0


# ------------------------------------------------------------------------------------------ series


def window(number, **sums):
    return Window(
        deployment="d",
        release="r",
        track="live",
        stream="events",
        number=number,
        start=number * DAY,
        end=(number + 1) * DAY,
        rows=int(sums.get("n", 0)),
        counts=Counts().to_bytes(),
        sums=sums,
    )


def test_bins_are_at_most_so_many_and_keep_every_row():
    for days in (1, 30, 219, 400, 4000):
        width = series.bin_width(0, days * DAY, DAY)
        windows = [window(i, n=2.0, loss2=0.5, errors=1.0) for i in range(days)]
        found = series.bins("regression", windows, windows, width)
        assert len(found) <= series.MOST + 1
        assert all(b.start == a.end for a, b in pairwise(found))
        assert sum(b.labelled for b in found) == 2 * days


def test_the_interval_of_an_rmse_covers():
    """Nominal 95 %; fails falsely below 1 in 10,000 (200 draws: at least 177 cover)."""
    rng = np.random.default_rng(7)
    covered = 0
    for _ in range(200):
        windows = [window(i, n=50.0, loss2=float((rng.standard_t(8, 50) ** 2).sum())) for i in range(40)]
        sums = sum((series.Sums.of(w) for w in windows), series.Sums())
        found = series.error_of("regression", sums, series.relative_spread(windows))
        covered += found.low <= np.sqrt(8 / 6) <= found.high
    assert covered >= 177


def test_error_rates_have_wilson_intervals_and_verdicts():
    output = Output(task="binary", label="y", classes=("no", "yes"))
    events = [window(i, n=100.0, errors=10.0, loss=20.0, loss2=5.0) for i in range(3)]
    worse = series.measured(output, events, {"value": 0.02, "low": 0.015, "high": 0.025})
    assert (worse.metric, worse.verdict, worse.n) == ("error rate", "worse", 300)
    assert worse.value == pytest.approx(0.1)
    assert series.measured(output, events, {"value": 0.5, "low": 0.4, "high": 0.6}).verdict == "better"
    assert series.measured(output, events, {"value": 0.1, "low": 0.08, "high": 0.12}).verdict == "as promised"
    assert series.measured(output, events, None).verdict == "no reference"
    assert series.measured(output, [], None) is None


def test_the_state_of_the_log_is_summed_over_processes(sources, tmp_path):
    run = tmp_path / "run"
    with sources.database.begin() as stores:
        stores.cursors.set("damaged", 3)
        assert log_state(stores, run) == LogState(damaged=3, unlogged=0, refused=0, full=False)
    for name in ("w0", "w1"):
        metrics = Metrics(name, Place(run / f"{FLEET}{os.getpid()}", tmp_path / "log", ""))
        metrics.add("log_unlogged_total", by=2)
        metrics.gauge("log_full", int(name == "w0"))
    with sources.database.begin() as stores:
        assert log_state(stores, run) == LogState(damaged=3, unlogged=4, refused=0, full=True)
        stores.cursors.delete("damaged")
