"""Records, contract and reference of a small flat market, shared by the tests of the log."""

from typing import Any

import numpy as np

from holdfast.core.contract import Contract, Field, Output
from holdfast.core.names import RequestIds
from holdfast.core.prediction import Prediction
from holdfast.core.profile import LOSS, OUTPUT, RESIDUAL, Profile, Series, WindowRule
from holdfast.stats.counts import fit_spec

HOUR = 3_600_000_000
DAY = 24 * HOUR
T0 = 18_262 * DAY  # 2020-01-01
RELEASE = "a" * 64
IDS = RequestIds(bytes)

CONTRACT = Contract(
    fields=(
        Field(name="area", datatype="FP64"),
        Field(name="kind", datatype="BYTES", categories=("flat", "house")),
        Field(name="sold", datatype="BYTES", feature=False, marks=("timestamp",)),
        Field(name="house", datatype="BYTES", feature=False, marks=("key",)),
    ),
    output=Output(task="regression", label="price"),
)


def profile(rule: WindowRule | None = None) -> Profile:
    numbers = np.linspace(0.0, 100.0, 400)
    specs = (
        fit_spec("area", numbers, "input"),
        fit_spec("kind", np.array(["flat", "house"] * 200, dtype=object), "input"),
        fit_spec(OUTPUT, numbers, "output"),
        fit_spec(LOSS, numbers, "loss"),
        fit_spec(RESIDUAL, numbers - 50.0, "residual"),
    )
    return Profile(
        columns=tuple(spec.to_dict() for spec in specs),
        importance={"area": 0.7, "kind": 0.3},
        rule=rule or WindowRule(kind="time", length_us=HOUR, rows=100, label_rows=10),
        rows=400,
        start=T0,
        end=T0 + DAY,
        windows=Series((), ()),
        labels=Series((), ()),
        performance={},
        calibration={},
    )


def prediction(
    times: list[int] | None = None, clock: int | None = None, rows: int | None = None, **over: Any
) -> Prediction:
    n = rows if rows is not None else len(times or [0])
    clock = clock if clock is not None else max(times or [T0])
    rng = np.random.default_rng(clock % 2**32)
    area = over.pop("area", rng.uniform(0.0, 110.0, n))
    return Prediction(
        **{
            "request": IDS.new(clock // 1000),
            "deployment": "town",
            "release": RELEASE,
            "track": "live",
            "received": clock,
            "clock": clock,
            "latency_us": 150,
            "client_id": "",
            "rows": n,
            "times": times,
            "keys": None,
            "columns": {"kind": [["flat", "house", None, "boat"][i % 4] for i in range(n)]},
            "names": ("area",),
            "numbers": np.asarray(area, dtype="<f8").tobytes(),
            "outputs": {"prediction": np.nan_to_num(np.asarray(area, dtype="<f8") / 2).tobytes()},
        }
        | over
    )
