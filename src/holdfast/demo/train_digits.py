"""How this model is trained: the user's own script. Holdfast calls `train` for each candidate, with newer data.

python train_digits.py training.csv model.skops
"""

import sys
from typing import Any

import pandas as pd
import skops.io
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

PIXELS = [f"pixel_{row}_{column}" for row in range(8) for column in range(8)]


def train(data: pd.DataFrame, weights: Any = None) -> Pipeline:
    """Fit a reader of digits on 8 x 8 pixels; `weights` says how much each row counts."""
    model = Pipeline([("scale", StandardScaler()), ("read", LogisticRegression(C=0.1, max_iter=500))])
    fit_weights = {} if weights is None else {"read__sample_weight": weights}
    return model.fit(data[PIXELS], data["digit"].astype(str), **fit_weights)


if __name__ == "__main__":
    digits, target = sys.argv[1:3]
    skops.io.dump(train(pd.read_csv(digits)), target)
