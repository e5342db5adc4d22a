"""Bike sharing in Washington DC: how many rentals in this hour? Seasons (harmless) together with growth (harmful).

    python train.py bike_sharing.parquet OUT

fits on every other week of 2011, keeps the weeks between as the reference, and writes 2012 as OUT/live.parquet.
"""

import sys
from pathlib import Path

import duckdb
import numpy as np
import skops.io
from sklearn.compose import TransformedTargetRegressor, make_column_selector, make_column_transformer
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

LABEL = "rentals"
TIME = "timestamp"
FEATURES = [
    "season",
    "hour",
    "holiday",
    "weekday",
    "workingday",
    "weather",
    "temp",
    "feels_like",
    "humidity",
    "windspeed",
]


def train(data, weights=None):
    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), make_column_selector(dtype_include=[object, "string"])),
        remainder="passthrough",
        sparse_threshold=0,
    )
    trees = HistGradientBoostingRegressor(max_iter=150, random_state=0)
    model = TransformedTargetRegressor(make_pipeline(columns, trees), func=np.log1p, inverse_func=np.expm1)
    return model.fit(data[FEATURES], data[LABEL].astype(float), histgradientboostingregressor__sample_weight=weights)


def main(source, out):
    out.mkdir(parents=True, exist_ok=True)
    data = duckdb.read_parquet(str(source)).df()[[TIME, *FEATURES, LABEL]]
    first, odd = data[TIME].dt.year == 2011, data[TIME].dt.day_of_year // 7 % 2 == 1
    parts = {"original": data[first & ~odd], "reference": data[first & odd], "live": data[~first]}
    skops.io.dump(train(parts["original"]), out / "model.skops")
    for name, frame in parts.items():
        duckdb.from_df(frame).write_parquet(str(out / f"{name}.parquet"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
