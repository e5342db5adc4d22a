"""Releases of models trained on real data: people with gaps in their answers, and a stream of electricity prices."""

import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from tests.integration import incomes

from holdfast.backends.duckdb import DuckTables
from holdfast.build.pipeline import build, data_of_file
from holdfast.build.translate import Marks
from holdfast.release.bundle import verify
from holdfast.release.trust import trusted_keys


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("real")


@pytest.fixture(scope="module")
def parts(home):
    return incomes.parts(home)


def rows_of(path):
    """A part of a file, as pandas trains on it."""
    return pd.DataFrame(DuckTables().read(path))


def test_adult(real_data, parts, home, tmp_path):
    everything = rows_of(real_data("adult") / "adult.parquet")
    train, held_out = (everything[everything["split"] == part].drop(columns="split") for part in ("train", "test"))
    X = train.drop(columns=["income_over_50k", "fnlwgt"])
    texts = [name for name in X if X[name].dtype.kind not in "fiu"]
    columns = ColumnTransformer(
        [
            (
                "texts",
                make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore")),
                texts,
            )
        ],
        remainder="passthrough",
        sparse_threshold=0,
    )
    X = X.astype(dict.fromkeys(texts, object)).where(X.notna(), None)
    trees = HistGradientBoostingClassifier(max_iter=60, random_state=0)
    model = make_pipeline(columns, trees).fit(X, train["income_over_50k"])
    path = tmp_path / "test.csv"
    held_out.to_csv(path, index=False)
    data = data_of_file(DuckTables(), path)
    release = build(
        parts, model, data, marks=Marks(label="income_over_50k", others={"sex": ("protected",)}), name="adult"
    )
    verify(release.path, trusted_keys(home / "keys"))
    assert release.profile.rows == 16_281
    assert release.profile.performance["error_rate"]["value"] == pytest.approx(0.128, abs=0.008)
    assert release.contract.field("occupation").nullable
    assert release.contract.field("sex").marks == ("protected",)
    assert release.profile.calibration["stated"]
    assert release.manifest.parity["beyond_tolerance"] == 0


def test_elec2(real_data, parts, tmp_path):
    """A stream that drifts all the time: the replay must not promise a rate for columns that wander."""
    path = real_data("elec2") / "elec2.parquet"
    everything = rows_of(path)
    features = [name for name in everything if everything[name].dtype.kind == "f"]
    label = "price_up"
    first, second = everything.iloc[:15_000], everything.iloc[15_000:30_000]
    model = HistGradientBoostingClassifier(random_state=0).fit(first[features], first[label])
    given = tmp_path / "later.parquet"
    tables = DuckTables()
    tables.write(given, {name: second[name].to_numpy() for name in second})
    release = build(parts, model, data_of_file(tables, given), marks=Marks(label=label), name="elec2")
    assert release.profile.rule.kind == "count"
    assert release.profile.calibration["not_guaranteed"]
