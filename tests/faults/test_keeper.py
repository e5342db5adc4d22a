"""The keeper's passes: what they remember, and what they leave."""

import time
from pathlib import Path

import numpy as np
from tests.faults.town import town
from tests.unit.predictions.records import prediction

from holdfast.core.prediction import Label, Labelled
from holdfast.predictions.log import Writer, encode, segments
from holdfast.serve.metrics import Metrics
from holdfast.server.keeper import Keeper, Passes


def asked(home, now, **over):
    with home.database.begin() as stores:
        live = stores.deployments.get("town").live
    answer = {"release": live, "columns": {}, "outputs": {"prediction": np.ones(1).tobytes()}, "clock": now}
    return prediction(None, rows=1, received=now, **answer | over)


def test_where_requests_stand_is_remembered_only_while_a_label_waits(tmp_path: Path):
    home = town(tmp_path)
    keeper, writer, now = Keeper(home), Writer(home.log, "w0", segment_bytes=1 << 20), time.time_ns() // 1000
    first, late = asked(home, now), asked(home, now + 1)
    writer.append([encode(first)])
    assert keeper.catch_up().counted.rows == 1
    assert keeper.predictions.by_ids("town", [f"{first.request}-0"]) == {}, "nobody asked"

    labels = [Label(value=4.0, prediction_id=f"{record.request}-0") for record in (first, late)]
    writer.append([encode(Labelled("town", now, now, labels))])
    told = keeper.catch_up()
    assert (told.joined["town"].joined, told.joined["town"].waiting) == (1, 1)
    assert keeper.predictions.by_ids("town", [f"{first.request}-0"]) != {}

    writer.append([encode(late)])
    told = keeper.catch_up()
    assert (told.joined["town"].joined, told.joined["town"].waiting) == (1, 0)
    assert keeper.catch_up().joined["town"].waiting == 0
    assert keeper.predictions.by_ids("town", [f"{first.request}-0"]) == {}


def backlog(home, segments=4, rows=1500):
    """Finished segments of more than a reading step each, and how many rows they hold."""
    for number in range(segments):
        writer = Writer(home.log, f"w{number}", segment_bytes=1 << 30)
        writer.append([encode(asked(home, time.time_ns() // 1000, client_id="x" * 1000)) for _ in range(rows)])
        writer.close()
    return segments * rows


def counted(home):
    with home.database.read() as stores:
        live = stores.deployments.get("town").live
        return sum(window.rows for window in stores.windows.read("town", live, "windows"))


def test_a_long_backlog_is_taken_in_by_many_passes(tmp_path: Path):
    home = town(tmp_path)
    rows = backlog(home)
    keeper, seen = Keeper(home), []
    while not seen or not seen[-1].whole:
        seen.append(keeper.catch_up(stage_s=0.0))
    assert [done.whole for done in seen] == [False] * (len(seen) - 1) + [True]
    assert len(seen) >= 4, "of each stage one step a pass"
    assert sum(done.counted.rows for done in seen) == counted(home) == rows
    assert segments(home.log) == []


def test_a_server_that_ends_says_what_it_leaves_to_the_next(tmp_path: Path, capsys, monkeypatch):
    monkeypatch.setattr("holdfast.server.keeper.STAGE_S", 0.0)
    home = town(tmp_path)
    first = Passes(Keeper(home), home, Metrics())
    first.start()
    first.stop(0.0)
    assert capsys.readouterr().err == "", "nothing is left"

    rows = backlog(home)
    second = Passes(Keeper(home), home, Metrics())
    second.start()
    second.stop(0.0)
    left = len(segments(home.log))
    assert 0 < left < 4
    assert f"({left} segments); the next start goes on" in capsys.readouterr().err

    third = Passes(Keeper(home), home, Metrics())
    third.start()
    third.stop(60.0)
    assert capsys.readouterr().err == ""
    assert segments(home.log) == []
    assert counted(home) == rows
