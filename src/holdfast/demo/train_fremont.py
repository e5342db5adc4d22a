"""Fremont Bridge, Seattle: how many bicycles in this hour? Years of season and habit, then March 2020.

    python train_fremont.py fremont_bridge.parquet OUT

fits on 2013 to 2016, keeps 2017 and 2018 as the reference, and writes what follows as OUT/live.parquet.
"""

import sys
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import skops.io
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import HistGradientBoostingRegressor

LABEL = "bikes_total"
TIME = "timestamp"
FEATURES = ["hour", "weekday", "day_of_year"]


def train(data: pd.DataFrame, weights: Any = None) -> TransformedTargetRegressor:
    """Fit the hourly counts by hour, weekday and day of the year; `weights` says how much each row counts."""
    trees = HistGradientBoostingRegressor(max_iter=200, random_state=0)
    model = TransformedTargetRegressor(trees, func=np.log1p, inverse_func=np.expm1)
    return model.fit(data[FEATURES], data[LABEL], sample_weight=weights)


def main(source: Path, out: Path) -> None:
    """Split the years, fit, and write what Holdfast is given."""
    out.mkdir(parents=True, exist_ok=True)
    data = duckdb.read_parquet(str(source)).df().dropna(subset=LABEL)
    time = data[TIME].dt
    data = data.assign(hour=time.hour, weekday=time.day_of_week, day_of_year=time.day_of_year)[[TIME, *FEATURES, LABEL]]
    data[LABEL] = data[LABEL].astype(float)
    parts = {
        "original": data[(time.year >= 2013) & (time.year <= 2016)],
        "reference": data[(time.year >= 2017) & (time.year <= 2018)],
        "live": data[(time.year >= 2019)],
    }
    skops.io.dump(train(parts["original"]), out / "model.skops")
    for name, frame in parts.items():
        duckdb.from_df(frame).write_parquet(str(out / f"{name}.parquet"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
