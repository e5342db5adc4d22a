"""Adult (census income): who earns more than 50 000 dollars a year? A binary classifier with strings and missing values.

    python train.py adult.parquet OUT

writes OUT/model.skops, OUT/reference.parquet (a fifth of the official training file, not fitted on) and OUT/live.parquet (the
official test file).
"""

import sys
from pathlib import Path

import duckdb
import skops.io
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

LABEL = "income_over_50k"
NOT_FEATURES = [LABEL, "fnlwgt", "split"]


def train(data, weights=None):
    categories = make_pipeline(
        SimpleImputer(strategy="constant", fill_value="unknown"), OneHotEncoder(handle_unknown="ignore")
    )
    columns = make_column_transformer(
        (categories, make_column_selector(dtype_include=[object, "string"])),
        remainder="passthrough",
        sparse_threshold=0,
    )
    model = make_pipeline(columns, HistGradientBoostingClassifier(random_state=0))
    features = data.drop(columns=[c for c in NOT_FEATURES if c in data])
    return model.fit(features, data[LABEL], histgradientboostingclassifier__sample_weight=weights)


def main(source, out):
    out.mkdir(parents=True, exist_ok=True)
    data = duckdb.read_parquet(str(source)).df()
    data[LABEL] = data[LABEL].astype(bool)
    known = data[data["split"] == "train"].drop(columns=["split", "fnlwgt"]).sample(frac=1.0, random_state=0)
    cut = int(len(known) * 0.8)
    skops.io.dump(train(known[:cut]), out / "model.skops")
    live = data[data["split"] == "test"].drop(columns=["split", "fnlwgt"])
    for name, frame in (("original", known[:cut]), ("reference", known[cut:]), ("live", live)):
        duckdb.from_df(frame).write_parquet(str(out / f"{name}.parquet"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
