"""King County house sales: what will it sell for? Regression on log price; prices inflate slowly while houses stay the same.

    python train.py king_county_house_sales.parquet OUT

fits on May to July 2014, keeps August and September as the reference, and writes what follows as OUT/live.parquet.
"""

import sys
from pathlib import Path

import duckdb
import numpy as np
import skops.io
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import HistGradientBoostingRegressor

LABEL = "price"
TIME = "sale_date"
NOT_FEATURES = [LABEL, TIME, "parcel_id"]


def train(data, weights=None):
    trees = HistGradientBoostingRegressor(max_iter=200, learning_rate=0.08, random_state=0)
    model = TransformedTargetRegressor(trees, func=np.log, inverse_func=np.exp)
    features = data.drop(columns=[c for c in NOT_FEATURES if c in data])
    return model.fit(features, data[LABEL], sample_weight=weights)


def main(source, out):
    out.mkdir(parents=True, exist_ok=True)
    data = duckdb.read_parquet(str(source)).df().drop(columns="parcel_id")
    data[TIME] = data[TIME].astype("datetime64[us]")
    parts = {
        "original": data[data[TIME] < "2014-08-01"],
        "reference": data[(data[TIME] >= "2014-08-01") & (data[TIME] < "2014-10-01")],
        "live": data[data[TIME] >= "2014-10-01"],
    }
    skops.io.dump(train(parts["original"]), out / "model.skops")
    for name, frame in parts.items():
        duckdb.from_df(frame).write_parquet(str(out / f"{name}.parquet"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
