"""Electricity (elec2): will the price rise? A stream with concept drift that recurs, and columns that wake up.

    python train.py elec2.parquet OUT

fits on the first ten weeks, keeps the next seven as the reference, and writes what follows as OUT/live.parquet.
"""

import sys
from pathlib import Path

import duckdb
import skops.io
from sklearn.ensemble import HistGradientBoostingClassifier

LABEL = "price_up"
FEATURES = ["day_of_week", "period", "nswdemand", "vicprice", "vicdemand", "transfer"]


def train(data, weights=None):
    model = HistGradientBoostingClassifier(max_iter=80, min_samples_leaf=50, random_state=0)
    return model.fit(data[FEATURES], data[LABEL], sample_weight=weights)


def main(source, out):
    out.mkdir(parents=True, exist_ok=True)
    data = duckdb.read_parquet(str(source)).df()[["timestamp", *FEATURES, LABEL]]
    parts = {
        "original": data[data["timestamp"] < "1996-07-16"],
        "reference": data[(data["timestamp"] >= "1996-07-16") & (data["timestamp"] < "1996-09-04")],
        "live": data[data["timestamp"] >= "1996-09-04"],
    }
    skops.io.dump(train(parts["original"]), out / "model.skops")
    for name, frame in parts.items():
        duckdb.from_df(frame).write_parquet(str(out / f"{name}.parquet"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
