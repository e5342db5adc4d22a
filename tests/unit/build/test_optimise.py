"""What is done to a model: equal bytes each time, smaller, and answers that stay close."""

import numpy as np
import pytest
import torch
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    RandomForestRegressor,
)

from holdfast.build.adopt import adopt
from holdfast.build.answers import open_session
from holdfast.build.convert import Input, convert
from holdfast.build.convert.torch import exported
from holdfast.build.networks import network_of, understood
from holdfast.build.optimise.judge import Judge
from holdfast.build.optimise.steps import apply
from holdfast.core.contract import Contract, Field, Output
from holdfast.core.variant import Recipe
from holdfast.errors import BuildError, Unconvertible

pytestmark = pytest.mark.xdist_group("torch")

SIDE = 8
COLUMNS = tuple(f"p{i}" for i in range(SIDE * SIDE))
RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(600, SIDE * SIDE))
CALIBRATION = {"numbers": ROWS[:200]}


def network(classes=4):
    torch.manual_seed(1)
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 16, 3, padding=1),
        torch.nn.BatchNorm2d(16),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(2),
        torch.nn.Conv2d(16, 24, 3, padding=1),
        torch.nn.LeakyReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(384, 32),
        torch.nn.Tanh(),
        torch.nn.Linear(32, classes),
    )


@pytest.fixture(scope="module")
def net():
    table = {name: ROWS[:, i] for i, name in enumerate(COLUMNS)} | {"kind": np.arange(600) % 4.0}
    foreign = understood(network_of(exported(network(), (1, SIDE, SIDE))), COLUMNS, table, "kind", ())
    return adopt(foreign, [Input(name, "FP32") for name in COLUMNS], "multiclass").onnx


def answers(content, rows=ROWS):
    return open_session(content).run(None, {"numbers": rows})[0]


@pytest.mark.parametrize(
    ("name", "size", "close"),
    [
        ("graph", 1.1, 1e-6),
        ("float16", 0.62, 2e-3),
        ("int8-dynamic", 0.62, 0.05),
        ("int8", 0.6, 0.05),
        ("pruned-10", 0.95, 0.05),
        ("pruned-50", 0.5, 0.2),
        ("pruned-50+int8", 0.4, 0.2),
    ],
)
def test_a_variant_is_smaller_close_and_the_same_each_time(net, name, size, close):
    recipe = Recipe.read(name)
    made = apply(net, recipe, CALIBRATION)
    assert made == apply(net, recipe, CALIBRATION)
    assert len(made) < size * len(net)
    assert np.abs(answers(made) - answers(net)).max() < close


def test_a_constant_channel_is_left_out_for_nothing():
    torch.manual_seed(0)
    first = torch.nn.Linear(6, 8)
    with torch.no_grad():
        first.weight[[1, 4, 5, 6]] = 0.0
    module = torch.nn.Sequential(first, torch.nn.ReLU(), torch.nn.Linear(8, 3))
    table = {f"x{i}": ROWS[:, i] for i in range(6)} | {"y": np.arange(600) % 3.0}
    names = [f"x{i}" for i in range(6)]
    foreign = understood(network_of(exported(module, (6,))), names, table, "y", ())
    content = adopt(foreign, [Input(name, "FP32") for name in names], "multiclass").onnx
    made = apply(content, Recipe.read("pruned-50"), {"numbers": ROWS[:100, :6]})
    assert np.abs(answers(made, ROWS[:, :6]) - answers(content, ROWS[:, :6])).max() < 1e-3


def test_without_rows_it_is_pruned_by_its_weights(net):
    assert answers(apply(net, Recipe.read("pruned-25"), None)).shape == (600, 4)


def test_int8_needs_rows(net):
    with pytest.raises(BuildError, match="scaled by reference rows"):
        apply(net, Recipe.read("int8"), None)


X = ROWS[:, :5]
Y = (X[:, 0] * X[:, 1] > 0).astype(int) + (X[:, 2] > 1)


@pytest.mark.parametrize("share", [0.5, 0.25])
def test_a_booster_stops_earlier(share):
    whole = GradientBoostingClassifier(n_estimators=20, max_depth=3, random_state=0).fit(X, Y)
    content = convert(whole, [Input(f"x{i}", "FP64") for i in range(5)], "multiclass").onnx
    made = apply(content, Recipe.read(f"trees-{share * 100:.0f}"), None)
    early = list(whole.staged_predict_proba(X))[int(20 * share) - 1]
    np.testing.assert_allclose(answers(made, X), early, atol=1e-12)


@pytest.mark.parametrize("kind", [RandomForestClassifier, RandomForestRegressor])
def test_a_forest_keeps_its_first_trees(kind):
    whole = kind(n_estimators=12, max_depth=5, random_state=0).fit(X, Y)
    task = "multiclass" if kind is RandomForestClassifier else "regression"
    content = convert(whole, [Input(f"x{i}", "FP64") for i in range(5)], task).onnx
    made = apply(content, Recipe.read("trees-50"), None)
    whole.estimators_ = whole.estimators_[:6]
    whole.n_estimators = 6
    wanted = whole.predict_proba(X) if task == "multiclass" else whole.predict(X)[:, None]
    np.testing.assert_allclose(answers(made, X), wanted, atol=1e-12)
    assert len(made) < 0.7 * len(content)


@pytest.mark.parametrize("kind", [GradientBoostingClassifier, RandomForestClassifier, HistGradientBoostingClassifier])
def test_leaves_that_hardly_matter_are_joined(kind):
    seen = X.copy()
    if kind is HistGradientBoostingClassifier:
        seen[::7, 1] = np.nan
        seen[:, 4] = np.arange(600) % 5
    extra = {"categorical_features": [4]} if kind is HistGradientBoostingClassifier else {"n_estimators": 15}
    model = kind(random_state=0, **extra).fit(seen, Y)
    columns = [Input(f"x{i}", "FP64", nullable=True) for i in range(5)]
    content = convert(model, columns, "multiclass").onnx
    made = {name: apply(content, Recipe.read(name), {"numbers": seen}) for name in ("leaves-25", "leaves-75")}
    off = {name: np.abs(answers(one, seen) - answers(content, seen)).mean() for name, one in made.items()}
    assert len(made["leaves-75"]) < len(made["leaves-25"]) < len(content)
    assert off["leaves-25"] < 0.03
    assert off["leaves-25"] <= off["leaves-75"] < 0.3


def test_leaves_that_no_row_sees_go_first():
    model = GradientBoostingClassifier(n_estimators=5, max_depth=4, random_state=0).fit(X, Y)
    content = convert(model, [Input(f"x{i}", "FP64") for i in range(5)], "multiclass").onnx
    some = X[:3]
    made = apply(content, Recipe.read("leaves-50"), {"numbers": some})
    np.testing.assert_allclose(answers(made, some), answers(content, some), atol=1e-12)


def test_what_has_no_weights_is_told_so(net):
    forest = RandomForestRegressor(n_estimators=2, max_depth=2, random_state=0).fit(X, Y)
    content = convert(forest, [Input(f"x{i}", "FP64") for i in range(5)], "regression").onnx
    for name in ("float16", "int8", "int8-dynamic", "pruned-50"):
        with pytest.raises(Unconvertible, match="nothing to do"):
            apply(content, Recipe.read(name), CALIBRATION)
    with pytest.raises(Unconvertible, match="nothing to do"):
        apply(net, Recipe.read("trees-50"), CALIBRATION)
    with pytest.raises(Unconvertible, match="nothing to do"):
        apply(net, Recipe.read("leaves-50"), CALIBRATION)


# ---------------------------------------------------------------------------------------------- judging

CONTRACT = Contract(
    fields=(Field(name="x", datatype="FP64"), Field(name="sex", datatype="BYTES", feature=False, marks=("protected",))),
    output=Output(task="binary", label="y", classes=("no", "yes"), label_datatype="BYTES"),
)


def test_quality_is_compared_row_by_row_and_by_group():
    right = np.array([0.0, 1.0] * 50)
    plain = np.column_stack([1 - right, right])
    plain[:4] = plain[:4, ::-1]  # four rows wrong
    said = plain.copy()
    said[10:13] = said[10:13, ::-1]  # three that were right are wrong now
    said[0] = said[0, ::-1]  # one that was wrong is right
    sex = np.array(["f"] * 20 + ["m"] * 80, dtype=object)
    found = Judge(CONTRACT, plain, right, {"sex": sex}).verdict(said)
    assert found.quality == pytest.approx(0.94)
    assert found.loss.value == pytest.approx(0.02)
    assert found.loss.low < 0 < found.loss.high
    assert found.flips == 4
    assert not found.exact
    assert found.groups["sex=f"].value == pytest.approx(0.1)
    assert (found.groups["sex=m"].value, found.groups["sex=m"].high) == (0.0, 0.0)


def test_without_labels_each_changed_answer_counts():
    plain = np.column_stack([np.full(100, 0.6), np.full(100, 0.4)])
    said = plain.copy()
    said[:5] = [0.4, 0.6]
    found = Judge(CONTRACT, plain, None, {}).verdict(said)
    assert (found.quality, found.loss.measure, found.loss.value) == (None, "changed answers", 0.05)


def test_numbers_are_judged_by_their_mean_error():
    contract = Contract(fields=(Field(name="x", datatype="FP64"),), output=Output(task="regression", label="y"))
    truth = RNG.normal(size=400)
    plain = (truth + RNG.normal(0, 0.5, 400))[:, None]
    same = Judge(contract, plain, truth, {}).verdict(plain + 1e-9)
    assert (same.exact, same.loss.high, same.flips) == (True, 0.0, 0)
    factors = RNG.uniform(0.9, 1.3, 400)[:, None]
    worse = Judge(contract, plain, truth, {}).verdict(truth[:, None] + (plain - truth[:, None]) * factors)
    assert worse.loss.low < 0.1 < worse.loss.high
    assert worse.loss.high - worse.loss.low < 0.1
