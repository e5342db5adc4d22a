"""The keeper's passes: what they remember, and what they leave."""

import time
from pathlib import Path

import numpy as np
from tests.faults.town import town
from tests.unit.predictions.records import prediction

from holdfast.core.prediction import Label, Labelled
from holdfast.predictions.log import Writer, encode
from holdfast.server.keeper import Keeper


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
