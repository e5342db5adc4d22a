"""How this model is trained: the user's own script. Holdfast calls `train` for each candidate, with newer data.

python train.py sales.csv model.skops
"""

import sys
from typing import Any

import numpy as np
import pandas as pd
import skops.io
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder

CATEGORIES = ["kind", "district", "condition"]
NUMBERS = ["living_area", "rooms", "garden_area", "age", "distance_km"]


def train(data: pd.DataFrame, weights: Any = None) -> TransformedTargetRegressor:
    """Fit a house-price model on rows with their sale price; `weights` says how much each row counts."""
    columns = ColumnTransformer(
        [
            ("categories", OneHotEncoder(handle_unknown="ignore", sparse_output=False), CATEGORIES),
            ("numbers", SimpleImputer(strategy="median"), NUMBERS),
        ]
    )
    trees = HistGradientBoostingRegressor(max_iter=150, learning_rate=0.08, max_leaf_nodes=15, random_state=0)
    model = TransformedTargetRegressor(
        Pipeline([("columns", columns), ("trees", trees)]), func=np.log, inverse_func=np.exp
    )
    fit_weights = {} if weights is None else {"trees__sample_weight": weights}
    return model.fit(data[CATEGORIES + NUMBERS], data["price"], **fit_weights)


if __name__ == "__main__":
    sales, target = sys.argv[1:3]
    skops.io.dump(train(pd.read_csv(sales)), target)
