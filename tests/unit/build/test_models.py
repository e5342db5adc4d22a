"""Every kind of model, as the last step of an ordinary pipeline, answers as the original does on every row."""

from typing import Any

import lightgbm
import numpy as np
import pytest
import xgboost
from lightgbm import LGBMClassifier, LGBMRegressor
from sklearn.calibration import CalibratedClassifierCV
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    BaggingRegressor,
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.linear_model import (
    ElasticNet,
    GammaRegressor,
    LinearRegression,
    LogisticRegression,
    PoissonRegressor,
    Ridge,
    SGDClassifier,
    SGDRegressor,
    TweedieRegressor,
)
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, SVR, LinearSVC, OneClassSVM
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from xgboost import XGBClassifier, XGBRegressor

from holdfast.build.convert import Input, convert
from holdfast.build.parity import onnx_predict, prove

NUMBERS = ["area", "rooms", "age", "new"]

CLASSIFIERS: dict[str, Any] = {
    "logistic": LogisticRegression(max_iter=500),
    "sgd log loss": SGDClassifier(loss="log_loss", random_state=0),
    "sgd huber": SGDClassifier(loss="modified_huber", random_state=0),
    "tree": DecisionTreeClassifier(max_depth=6, random_state=0),
    "forest": RandomForestClassifier(15, random_state=0),
    "extra trees": ExtraTreesClassifier(15, max_depth=8, random_state=0),
    "boosting": GradientBoostingClassifier(n_estimators=15, random_state=0),
    "hist boosting": HistGradientBoostingClassifier(max_iter=15, random_state=0),
    "network": MLPClassifier((8, 4), max_iter=400, tol=1e-2, random_state=0),
    "xgboost": XGBClassifier(n_estimators=15, max_depth=5, nthread=1),
    "lightgbm": LGBMClassifier(n_estimators=15, verbose=-1, n_jobs=1),
    "neighbours": KNeighborsClassifier(),
    "bayes": GaussianNB(),
    "sigmoid calibration": CalibratedClassifierCV(LinearSVC(random_state=0), cv=2),
    "isotonic calibration": CalibratedClassifierCV(RandomForestClassifier(5, random_state=0), method="isotonic", cv=2),
    "support vectors": CalibratedClassifierCV(SVC(), ensemble=False, cv=2),
    "vote": VotingClassifier(
        [("a", LogisticRegression(max_iter=500)), ("b", RandomForestClassifier(5, random_state=0))],
        voting="soft",
        weights=[1, 2],
    ),
    "bag of trees": BaggingClassifier(
        DecisionTreeClassifier(max_depth=5), n_estimators=6, max_features=0.6, random_state=0
    ),
    "ada boost": AdaBoostClassifier(DecisionTreeClassifier(max_depth=2), n_estimators=8, random_state=0),
    "one against rest": OneVsRestClassifier(RandomForestClassifier(5, random_state=0)),
    "stack": StackingClassifier(
        [("a", LogisticRegression(max_iter=500)), ("b", DecisionTreeClassifier(max_depth=4)), ("c", LinearSVC())], cv=2
    ),
    "search": GridSearchCV(LogisticRegression(max_iter=500), {"C": [0.1, 1.0]}, cv=2),
}

REGRESSORS: dict[str, Any] = {
    "linear": LinearRegression(),
    "elastic net": ElasticNet(),
    "sgd": SGDRegressor(random_state=0),
    "poisson": PoissonRegressor(max_iter=500),
    "gamma": GammaRegressor(max_iter=500),
    "tweedie": TweedieRegressor(power=1.5, max_iter=500),
    "tree": DecisionTreeRegressor(max_depth=6, random_state=0),
    "forest": RandomForestRegressor(15, random_state=0),
    "extra trees": ExtraTreesRegressor(15, max_depth=8, random_state=0),
    "boosting": GradientBoostingRegressor(n_estimators=15, loss="huber", random_state=0),
    "hist boosting": HistGradientBoostingRegressor(max_iter=15, random_state=0),
    "hist poisson": HistGradientBoostingRegressor(max_iter=15, loss="poisson", random_state=0),
    "network": MLPRegressor(hidden_layer_sizes=(8,), activation="tanh", max_iter=400, tol=10.0, random_state=0),
    "xgboost": XGBRegressor(n_estimators=15, nthread=1),
    "xgboost poisson": XGBRegressor(n_estimators=15, objective="count:poisson", nthread=1),
    "xgboost dart": XGBRegressor(n_estimators=10, booster="dart", rate_drop=0.3, nthread=1),
    "lightgbm": LGBMRegressor(n_estimators=15, verbose=-1, n_jobs=1),
    "lightgbm poisson": LGBMRegressor(objective="poisson", n_estimators=15, verbose=-1, n_jobs=1),
    "lightgbm root": LGBMRegressor(objective="regression", reg_sqrt=True, n_estimators=15, verbose=-1, n_jobs=1),
    "lightgbm forest": LGBMRegressor(
        boosting_type="rf", subsample=0.5, subsample_freq=1, n_estimators=5, verbose=-1, n_jobs=1
    ),
    "support vectors": SVR(),
    "polynomial kernel": SVR(kernel="poly"),
    "sigmoid kernel": SVR(kernel="sigmoid"),
    "neighbours": KNeighborsRegressor(),
    "bag of trees": BaggingRegressor(DecisionTreeRegressor(max_depth=5), n_estimators=6, random_state=0),
    "stack": StackingRegressor(
        [("a", Ridge()), ("b", RandomForestRegressor(5, random_state=0))],
        GradientBoostingRegressor(n_estimators=5),
        cv=2,
    ),
    "vote": VotingRegressor([("a", Ridge()), ("b", RandomForestRegressor(5, random_state=0))]),
}


@pytest.mark.parametrize("task", ["binary", "multiclass"])
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_classifier_answers_as_the_original(houses: Any, name: str, task: Any) -> None:
    model = make_pipeline(houses.usual(), CLASSIFIERS[name]).fit(houses.frame, houses.target(task))
    converted = convert(model, houses.inputs, task)
    report = prove(model, converted, houses.table, task=task)
    assert report.beyond == 0
    assert report.boundary_rows > 0
    assert converted.outputs == ("probabilities",)
    assert converted.classes == ((0, 1) if task == "binary" else (0, 1, 2))
    # Twice the same model, twice the same bytes.
    assert convert(model, houses.inputs, task).onnx == converted.onnx


@pytest.mark.parametrize("name", REGRESSORS)
def test_a_regressor_answers_as_the_original(houses: Any, name: str) -> None:
    model = make_pipeline(houses.usual(), REGRESSORS[name]).fit(houses.frame, houses.price)
    converted = convert(model, houses.inputs, "regression")
    report = prove(model, converted, houses.table, task="regression")
    assert report.beyond == 0
    assert (converted.outputs, converted.classes) == (("prediction",), None)
    assert convert(model, houses.inputs, "regression").onnx == converted.onnx


def test_isolation_forests_and_one_class_vectors_answer_with_scores(houses: Any) -> None:
    numbers = houses.only(NUMBERS)
    for model in (
        IsolationForest(n_estimators=30, random_state=0),
        IsolationForest(n_estimators=30, max_features=2, contamination=0.1, random_state=0),
        make_pipeline(houses.usual(), IsolationForest(n_estimators=20, random_state=0)),
        make_pipeline(houses.usual(), OneClassSVM()),
    ):
        given = houses if hasattr(model, "steps") else numbers
        model.fit(given.frame)
        converted = convert(model, given.inputs, "regression")
        assert converted.method == "decision_function"
        assert "below zero is an outlier" in converted.notes[-1]
        assert prove(model, converted, given.table, task="regression").max_difference < 1e-9
        outliers = onnx_predict(converted)(given.table)[:, 0] < 0
        np.testing.assert_array_equal(outliers, model.predict(given.frame) == -1)


@pytest.mark.parametrize("seed", range(3))
def test_deep_trees_on_raw_columns(houses: Any, seed: int) -> None:
    """Straight from the column to the threshold: one unit in the last place decides the leaf."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=len(houses.price))
    for forest in (
        HistGradientBoostingRegressor(max_iter=10, random_state=seed),
        RandomForestRegressor(8, random_state=seed),
        XGBRegressor(n_estimators=10, max_depth=8, nthread=1, random_state=seed),
        LGBMRegressor(n_estimators=10, num_leaves=60, min_child_samples=2, verbose=-1, n_jobs=1),
    ):
        numbers = houses.only(NUMBERS)
        forest.fit(numbers.frame, noise)
        report = prove(forest, convert(forest, numbers.inputs, "regression"), numbers.table, task="regression")
        assert report.boundary_rows > 300


def test_plain_arrays_and_missing_values_in_every_tree_library(houses: Any) -> None:
    matrix = np.column_stack([houses.table[name] for name in ("area", "rooms", "age")])
    table = {f"x{i}": matrix[:, i] for i in range(3)}
    inputs = [Input(f"x{i}", "FP64", nullable=True) for i in range(3)]
    for model in (
        DecisionTreeClassifier(max_depth=6, random_state=0),
        RandomForestClassifier(10, random_state=0),
        HistGradientBoostingClassifier(max_iter=10),
        XGBClassifier(n_estimators=10, nthread=1),
        LGBMClassifier(n_estimators=10, verbose=-1, n_jobs=1),
        LGBMClassifier(n_estimators=10, verbose=-1, n_jobs=1, objective="multiclassova"),
    ):
        model.fit(matrix, houses.band)
        prove(model, convert(model, inputs, "multiclass"), table, task="multiclass")


def test_a_tree_that_never_split_is_a_constant(houses: Any) -> None:
    numbers = houses.only(NUMBERS)
    model = HistGradientBoostingRegressor(max_iter=3).fit(numbers.frame, np.full(len(numbers.price), 7.0))
    assert prove(model, convert(model, numbers.inputs, "regression"), numbers.table, task="regression").beyond == 0


def test_exponential_loss(houses: Any) -> None:
    numbers = houses.only(["area", "rooms"])
    model = GradientBoostingClassifier(loss="exponential", n_estimators=10).fit(numbers.frame, numbers.dear)
    prove(model, convert(model, numbers.inputs, "binary"), numbers.table, task="binary")


def test_categories_of_hist_gradient_boosting(houses: Any) -> None:
    frame = houses.frame.astype({"city": "category", "kind": "category"})
    model = HistGradientBoostingClassifier(max_iter=15, categorical_features="from_dtype", min_samples_leaf=5)
    model.fit(frame, houses.dear)
    converted = convert(model, houses.inputs, "binary")
    assert prove(model, converted, houses.table, task="binary", like=frame).beyond == 0
    numbers = houses.only(NUMBERS)
    model = HistGradientBoostingClassifier(max_iter=15, categorical_features=["rooms"]).fit(numbers.frame, houses.dear)
    prove(model, convert(model, numbers.inputs, "binary"), numbers.table, task="binary")


def test_categories_of_lightgbm(houses: Any) -> None:
    frame = houses.frame.astype({"city": "category", "kind": "category"})
    model = LGBMClassifier(n_estimators=15, verbose=-1, n_jobs=1, min_data_per_group=5, cat_smooth=1)
    model.fit(frame, houses.dear)
    converted = convert(model, houses.inputs, "binary")
    assert converted.category_columns == ("city", "kind")
    assert prove(model, converted, houses.table, task="binary").beyond == 0
    numbers = houses.only(NUMBERS)
    model = LGBMClassifier(n_estimators=15, verbose=-1, n_jobs=1, min_data_per_group=5, cat_smooth=1)
    model.fit(numbers.frame, houses.dear, categorical_feature=["rooms"])
    prove(model, convert(model, numbers.inputs, "binary"), numbers.table, task="binary")


def test_bare_boosters(houses: Any) -> None:
    numbers = houses.only(NUMBERS)
    data = xgboost.DMatrix(numbers.frame, houses.dear)
    model: Any = xgboost.train({"objective": "binary:logistic", "nthread": 1, "base_score": 0.3}, data, 10)
    converted = convert(model, numbers.inputs, "binary")
    assert (converted.flavour, converted.classes) == ("xgboost", (0, 1))
    prove(model, converted, numbers.table, task="binary")
    settings = {"objective": "multiclass", "num_class": 3, "verbose": -1, "num_threads": 1}
    model = lightgbm.train(settings, lightgbm.Dataset(numbers.frame, houses.band), 10)
    converted = convert(model, numbers.inputs, "multiclass")
    assert (converted.flavour, converted.classes) == ("lightgbm", (0, 1, 2))
    prove(model, converted, numbers.table, task="multiclass")


def test_early_stopping_and_a_missing_marker_of_xgboost(houses: Any) -> None:
    numbers = houses.only(["area", "rooms", "new"])
    model = XGBClassifier(n_estimators=100, learning_rate=0.9, early_stopping_rounds=2, nthread=1, missing=3.0)
    cut = 400
    held_out = [(numbers.frame[cut:], houses.band[cut:])]
    model.fit(numbers.frame[:cut], houses.band[:cut], eval_set=held_out, verbose=False)
    assert model.best_iteration + 1 < model.get_booster().num_boosted_rounds()
    prove(model, convert(model, numbers.inputs, "multiclass"), numbers.table, task="multiclass")


@pytest.mark.filterwarnings("ignore:The argument 'eval_set' is deprecated")  # its successor is too new for our floor
def test_early_stopping_of_lightgbm(houses: Any) -> None:
    numbers = houses.only(NUMBERS)
    model = LGBMRegressor(n_estimators=200, learning_rate=0.5, verbose=-1, n_jobs=1)
    stop = lightgbm.early_stopping(2, verbose=False)
    model.fit(
        numbers.frame[:400], houses.price[:400], eval_set=[(numbers.frame[400:], houses.price[400:])], callbacks=[stop]
    )
    assert model.best_iteration_ < 200
    prove(model, convert(model, numbers.inputs, "regression"), numbers.table, task="regression")


def test_no_constant_is_fused_into_a_float32_attribute(houses: Any) -> None:
    """ONNX Runtime fuses scalars beside a matrix product into FusedMatMul, whose alpha is float32."""
    one = houses.only(["area"])
    model = make_pipeline(StandardScaler(), PCA(1, whiten=True), Ridge(alpha=1e-3)).fit(one.frame, one.price)
    assert prove(model, convert(model, one.inputs, "regression"), one.table, task="regression").max_difference < 1e-12
