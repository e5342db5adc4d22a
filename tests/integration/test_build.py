"""The build from end to end, on real library models, a real MLflow store and the real runtime."""

import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import lightgbm
import numpy as np
import pandas as pd
import pytest
import skl2onnx
import xgboost
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from tests.integration import incomes

from holdfast.build.frames import table_of
from holdfast.build.pipeline import STEPS, Data, build
from holdfast.build.python import build_release
from holdfast.build.translate import Marks
from holdfast.columns import dump_yaml
from holdfast.core.release import MANIFEST
from holdfast.errors import (
    BuildError,
    HoldfastError,
    InvalidInput,
    RegistryError,
    Unconvertible,
    UntrustedPickle,
    UsageError,
)
from holdfast.registry import snapshot_of_table
from holdfast.release.bundle import list_releases, open_release
from holdfast.release.compare import diff
from holdfast.release.trust import trusted_keys

pytestmark = pytest.mark.xdist_group("build")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("workspace")


@pytest.fixture(scope="module")
def parts(home):
    return incomes.parts(home)


@pytest.fixture(scope="module")
def release(parts):
    return incomes.release(parts)


def numbers(rows=1500, seed=5):
    rng = np.random.default_rng(seed)
    X = pd.DataFrame(np.exp(rng.normal(size=(rows, 3))), columns=["a", "b", "c"])
    return X, X["a"] * 2 + X["b"] + rng.normal(0, 0.1, rows) ** 2


def reference(X, y, label="y"):
    table = table_of(X, y, label=label)
    return Data(table, snapshot_of_table(table))


def test_a_whole_pipeline_becomes_a_release(release, home):
    opened = open_release(release.path, trusted_keys(home / "keys"))
    contract = opened.contract
    assert [f.name for f in contract.features] == incomes.FEATURES
    assert contract.field("job").nullable
    assert contract.field("job").categories == ("clerk", "farmer", "nurse")
    assert contract.field("married").datatype == "BOOL"
    assert contract.timestamp.name == "asked"
    assert contract.key.name == "person"
    assert contract.output.classes == ("false", "true")
    assert opened.manifest.parity["beyond_tolerance"] == 0
    assert opened.manifest.parity["boundary_rows"] > 100
    assert opened.manifest.data["rows"] == 3000
    assert opened.profile.performance["auc"]["value"] > 0.8
    assert "scikit-learn==" in (opened.path / "requirements.lock").read_text()
    assert "# incomes" in opened.card
    assert "models:/incomes/1" in opened.card


def test_the_same_inputs_give_the_same_digest(release, parts):
    assert incomes.release(parts).digest == release.digest


def test_another_process_and_another_workspace_give_the_same_digest(release, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONHASHSEED" and not k.startswith("XDG_")}
    done = subprocess.run(
        [sys.executable, incomes.__file__, str(tmp_path / "ws")],
        cwd=tmp_path,
        env=environment | {"PYTHONHASHSEED": "123", "HOME": str(home)},
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == release.digest, done.stderr
    assert done.stderr == ""
    left = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if "ws" not in p.parts}
    assert left == {"home"}, "something was left in the user's home or where the process stood"


def test_every_step_says_its_name(parts):
    seen = []
    incomes.release(parts, progress=seen.append)
    assert tuple(seen) == STEPS


def test_an_alias_that_moves_leaves_the_release_alone(parts, release):
    X, y = numbers()
    first = build_release(
        parts, HistGradientBoostingRegressor(max_iter=5, random_state=0).fit(X, y), X, y, name="moving"
    )
    parts.registry.register_object(HistGradientBoostingRegressor(max_iter=6, random_state=0).fit(X, y), "moving")
    parts.registry.set_alias("moving", "champion", "1")
    by_alias = build(parts, "models:/moving@champion", reference(X, y, "label"), marks=Marks(label="label"))
    assert by_alias.digest == first.digest
    parts.registry.set_alias("moving", "champion", "2")
    later = build(parts, "models:/moving@champion", reference(X, y, "label"), marks=Marks(label="label"))
    assert later.manifest.model.uri == "models:/moving/2"
    assert first.manifest.model.uri == "models:/moving/1"
    assert diff(first, later)["model"]["version"] == ("models:/moving/1", "models:/moving/2")


def test_a_transformed_target_is_judged_on_its_scale(parts):
    X, y = numbers()
    model = TransformedTargetRegressor(
        make_pipeline(
            FunctionTransformer(np.log, feature_names_out="one-to-one"), HistGradientBoostingRegressor(max_iter=20)
        ),
        func=np.log,
        inverse_func=np.exp,
    ).fit(X, y)
    made = build_release(parts, model, *numbers(seed=6), name="prices", label="price")
    assert made.contract.output.scale == "log"
    assert made.manifest.task == "regression"
    assert {"rmse", "bias"} <= set(made.profile.performance)


@pytest.mark.parametrize("kind", ["xgboost.ubj", "xgboost.json", "booster.ubj", "lightgbm.txt"])
def test_bare_boosters_are_registered_and_built(parts, tmp_path, kind):
    X, y = numbers()
    if kind.startswith("xgboost"):
        xgboost.XGBRegressor(n_estimators=10, nthread=1).fit(X, y).save_model(tmp_path / kind)
    elif kind.startswith("booster"):
        xgboost.train({"objective": "binary:logistic"}, xgboost.DMatrix(X, y > 3), 10).save_model(tmp_path / kind)
    else:
        trained = lightgbm.LGBMRegressor(n_estimators=10, verbose=-1).fit(X, y)
        trained.booster_.save_model(tmp_path / kind)
    task = "binary" if kind.startswith("booster") else "regression"
    truth = (y > 3).astype(float) if task == "binary" else y
    made = build(parts, tmp_path / kind, reference(X, truth), marks=Marks(label="y"), name=kind.replace(".", "-"))
    assert made.manifest.task == task
    assert made.manifest.model.uri == f"models:/{kind.replace('.', '-')}/1"


def test_lightgbm_and_xgboost_classifiers_keep_their_classes(parts):
    X, y = numbers()
    labels = np.array(["low", "middle", "high"], dtype=object)[np.digitize(y, [2.0, 4.0])]
    made = build_release(
        parts, lightgbm.LGBMClassifier(n_estimators=8, verbose=-1).fit(X, labels), X, labels, name="bands"
    )
    assert made.contract.output.classes == ("high", "low", "middle")
    flags = (y > 3).astype(int)
    made = build_release(parts, xgboost.XGBClassifier(n_estimators=8, nthread=1).fit(X, flags), X, flags, name="flags")
    assert made.contract.output.classes == ("0", "1")
    assert made.profile.performance["error_rate"]["value"] < 0.2


@pytest.mark.parametrize("model", ["classifier", "regressor"])
def test_an_onnx_file_is_kept_as_it_is(parts, tmp_path, model):
    X, y = numbers()
    if model == "classifier":
        labels = np.where(y > 3, "dear", "cheap")
        given = make_pipeline(StandardScaler(), LogisticRegression()).fit(X.to_numpy(), labels)
    else:
        labels = y
        given = RandomForestRegressor(5, max_depth=4, random_state=0).fit(X.to_numpy(np.float32), y)
    options = {id(given): {"zipmap": False}} if model == "classifier" else None
    graph = skl2onnx.to_onnx(given, X.to_numpy(np.float32)[:1], options=options, target_opset={"": 18, "ai.onnx.ml": 3})
    path = tmp_path / f"{model}.onnx"
    path.write_bytes(graph.SerializeToString())
    made = build(parts, path, reference(X, labels), marks=Marks(label="y"))
    assert made.manifest.model.flavour == "onnx"
    assert [f.name for f in made.contract.features] == ["a", "b", "c"]
    if model == "classifier":
        assert made.contract.output.classes == ("cheap", "dear")
        assert made.profile.performance["error_rate"]["value"] < 0.1


def test_a_pickle_is_opened_only_after_the_users_word_and_in_a_child(parts, tmp_path, monkeypatch):
    X, y = incomes.survey(seed=2)
    path = tmp_path / "incomes.pkl"
    path.write_bytes(pickle.dumps(incomes.trained()))
    given = reference(X, y, "rich")
    marks = Marks(label="rich", timestamp="asked", key="person")
    with pytest.raises(UntrustedPickle) as refused:
        build(parts, path, given, marks=marks, name="pickled")
    assert "--trust-pickle" in refused.value.next_step
    made = build(parts, path, given, marks=marks, name="pickled", trust_pickle=True)
    same = incomes.release(parts)
    assert diff(made, same)["contract"] == {}
    assert "graph" not in diff(made, same)["model"]


class Evil:
    """Pickles into a call that writes the environment and the parent's pid to a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        code = (
            f"import os,json; json.dump([os.getpid(), dict(os.environ), os.getcwd()], open({str(self.target)!r}, 'w'))"
        )
        return exec, (code,)


def test_what_a_pickle_does_it_does_without_our_secrets(parts, tmp_path, monkeypatch):
    import json

    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary")
    path, seen = tmp_path / "evil.pkl", tmp_path / "seen.json"
    path.write_bytes(pickle.dumps(Evil(seen)))
    X, y = numbers()
    with pytest.raises(UntrustedPickle):
        build(parts, path, reference(X, y), marks=Marks(label="y"), name="evil")
    assert not seen.exists()
    with pytest.raises(HoldfastError):
        build(parts, path, reference(X, y), marks=Marks(label="y"), name="evil", trust_pickle=True)
    assert not seen.exists()  # the sandbox: it can write nothing
    with pytest.raises(HoldfastError):
        build(parts, path, reference(X, y), marks=Marks(label="y"), name="evil", trust_pickle=True, sandbox=False)
    pid, environment, folder = json.loads(seen.read_text())
    assert pid != os.getpid()
    assert "canary" not in json.dumps(environment)
    assert Path(folder) != Path.cwd()


def test_a_contract_in_yaml_wins(parts, release):
    text = dump_yaml(release.contract).replace("- name: age\n", "- name: age\n    on_violation: reject\n", 1)
    X, y = incomes.survey(seed=2)
    made = build(parts, release.manifest.model.uri, reference(X, y, "rich"), marks=Marks(label="rich", contract=text))
    assert "age.on_violation" in diff(release, made)["contract"]
    wrong = text.replace("task: binary", "task: regression")
    with pytest.raises(UsageError, match="contract says regression"):
        build(parts, release.manifest.model.uri, reference(X, y, "rich"), marks=Marks(label="rich", contract=wrong))


def test_without_a_reference_the_signature_speaks(parts, tmp_path):
    from mlflow.models import infer_signature

    X, y = numbers()
    model = HistGradientBoostingRegressor(max_iter=5, random_state=0).fit(X, y)
    parts.registry.register_object(model, "signed", signature=infer_signature(X, y))
    made = build(parts, "models:/signed/1", marks=Marks(label="price"))
    assert [f.datatype for f in made.contract.features] == ["FP64"] * 3
    assert made.profile.calibration["stated"] is False
    assert "without reference rows" in made.profile.calibration["sentence"]
    parts.registry.register_object(model, "unsigned")
    with pytest.raises(BuildError, match="signature") as refused:
        build(parts, "models:/unsigned/1")
    assert "--reference" in refused.value.next_step


@pytest.mark.filterwarnings("ignore")  # MLflow's own
def test_what_mlflow_logged_is_built_from_registry_and_run(parts, home, monkeypatch):
    import mlflow
    import mlflow.sklearn

    uri = f"sqlite:///{home.resolve() / 'mlflow.db'}"
    X, y = numbers()
    mlflow.set_tracking_uri(uri)
    try:
        with mlflow.start_run() as run:
            trusted = ["sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"]
            mlflow.sklearn.log_model(
                HistGradientBoostingRegressor(max_iter=5, random_state=0).fit(X, y),
                name="forecast",
                registered_model_name="logged",
                pip_requirements=["scikit-learn==1.9.1"],
                skops_trusted_types=trusted,
            )
    finally:
        mlflow.set_tracking_uri(None)
    version = build(parts, "models:/logged/1", reference(X, y), marks=Marks(label="y"))
    assert version.manifest.model.run_id == run.info.run_id
    by_run = build(parts, f"runs:/{run.info.run_id}/forecast", reference(X, y), marks=Marks(label="y"))
    assert by_run.manifest.name == "forecast"
    assert by_run.model.read_bytes() == version.model.read_bytes()


@pytest.mark.filterwarnings("ignore")  # MLflow's own
def test_what_holdfast_registered_mlflow_can_load(parts, home):
    import mlflow.pyfunc

    X, y = numbers()
    model = xgboost.XGBRegressor(n_estimators=5, nthread=1).fit(X, y)
    parts.registry.register_object(model, "loadable")
    fetched = parts.registry.fetch("models:/loadable/1", home / "loadable")
    loaded = mlflow.pyfunc.load_model(str(fetched.path))
    assert np.allclose(loaded.predict(X), model.predict(X))


def test_what_cannot_be_built_writes_nothing(parts):
    X, y = numbers()
    before = {r.digest for r in list_releases(parts.releases)}
    own = make_pipeline(FunctionTransformer(np.sort), LogisticRegression()).fit(X, y > 3)
    with pytest.raises((Unconvertible, RegistryError)):
        build_release(parts, own, X, y > 3, name="own")
    forest = RandomForestClassifier(3, random_state=0).fit(X, y > 3)
    with pytest.raises(BuildError, match="'c'"):
        build_release(parts, forest, X[["a", "b"]], y > 3, name="forest")
    with pytest.raises(InvalidInput, match="no column 'when'"):
        build_release(parts, forest, X, y > 3, name="forest", timestamp="when")
    with pytest.raises(BuildError, match="predict"):
        build_release(parts, StandardScaler().fit(X), X, name="scaler")
    assert {r.digest for r in list_releases(parts.releases)} == before
    assert not [p for p in parts.releases.iterdir() if p.name.startswith(".")]


def test_unlabelled_and_marked_columns(parts):
    X, _ = incomes.survey(seed=2)
    made = build_release(
        parts,
        incomes.trained(),
        X,
        name="unlabelled",
        marks={"age": ["personal"], "wage": ["protected"], "gain": ["calendar"]},
    )
    assert made.profile.performance == {}
    names = {c["name"] for c in made.profile.columns}
    assert not {"age", "gain"} & names
    assert "wage" in names
    assert (made.path / MANIFEST).exists()
    shutil.rmtree(made.path)


def test_columns_are_found_by_the_names_that_they_have_in_the_data(parts):
    X, y = numbers()
    blank = X.rename(columns={"a": "living area"})
    for given, table in ((X.to_numpy(), X), (blank, blank)):
        model = lightgbm.LGBMRegressor(n_estimators=4, verbose=-1).fit(given, y)
        made = build_release(parts, model, table, y, name="names")
        assert [f.name for f in made.contract.features] == list(table)


def test_what_is_wrong_with_the_reference_is_said_before_anything_happens(parts, tmp_path):
    X, y = numbers()
    model = HistGradientBoostingRegressor(max_iter=2).fit(X, y)
    known = len(parts.registry.list())
    with pytest.raises(InvalidInput, match="no column 'pryce'"):
        build(parts, model, reference(X, y, "price"), marks=Marks(label="pryce"), name="typo")
    with pytest.raises(BuildError, match="no rows"):
        build(parts, model, reference(X[:0], y[:0]), marks=Marks(label="y"), name="typo")
    (tmp_path / "m.pkl").write_bytes(b"never opened")
    with pytest.raises(UntrustedPickle):
        build(parts, tmp_path / "m.pkl", reference(X, y), marks=Marks(label="y"))
    assert len(parts.registry.list()) == known


def test_a_model_of_unknown_types_is_refused_by_their_name(parts):
    from sklearn.gaussian_process import GaussianProcessRegressor

    X, y = numbers(60)
    with pytest.raises(RegistryError, match=r"gaussian_process\.kernels"):
        build_release(parts, GaussianProcessRegressor().fit(X, y), X, y, name="process")
