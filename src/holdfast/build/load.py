"""Open a downloaded model in its own library, without running anybody's code.

skops archives are opened with a fixed list of known types; boosters in their libraries' own formats; ONNX as it is. A pickle
can run any code while it is opened: `open_model` refuses it unless told otherwise, and only a child process tells it so
(`holdfast.build.child`), after the user's explicit word.
"""

from __future__ import annotations

import contextlib
import json
import sys
import warnings
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

import yaml

from holdfast.build.convert.torch import open_program
from holdfast.build.screen import screen
from holdfast.errors import HoldfastError, MissingExtra, RegistryError, UntrustedPickle

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["PICKLES", "is_pickle", "open_model"]

PICKLES: Final = frozenset({".pkl", ".pickle", ".joblib", ".cloudpickle", ".pt", ".pth", ".pt2"})
"""What is unpickled when it is opened; in a `.pt2`, the weights and examples may be."""
NETWORKS: Final = frozenset({".pt", ".pth", ".pt2"})

ARRAYS: Final = "sklearn.externals.array_api_compat.torch"
KNOWN_TYPES: Final = frozenset(
    {
        "builtins.object",
        "collections.OrderedDict",
        "catboost.core.CatBoostClassifier",
        "catboost.core.CatBoostRegressor",
        "functools.partial",
        "lightgbm.basic.Booster",
        "lightgbm.sklearn.LGBMClassifier",
        "lightgbm.sklearn.LGBMRegressor",
        "numpy.dtype",
        "sklearn._loss.loss.HalfTweedieLossIdentity",
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
        "sklearn.compose._column_transformer.make_column_selector",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.feature_selection._univariate_selection.f_classif",
        "sklearn.feature_selection._univariate_selection.f_regression",
        "sklearn.metrics._dist_metrics.EuclideanDistance64",
        "sklearn.neighbors._kd_tree.KDTree",
        "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
        "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
        "sklearn.tree._tree.Tree",
        "sklearn.utils._bunch.Bunch",
        "sklearn.utils.validation.check_array",
        "xgboost.core.Booster",
        "xgboost.sklearn.XGBClassifier",
        "xgboost.sklearn.XGBRegressor",
    }
)
"""Types beyond skops' own list whose construction runs no code of the file's author."""


def model_file(folder: Path) -> tuple[str, Path]:
    """(flavour, data file) of an MLflow model folder."""
    said = yaml.safe_load((folder / "MLmodel").read_text(encoding="utf-8"))["flavors"]
    for flavour in ("onnx", "xgboost", "lightgbm", "catboost", "sklearn", "pytorch"):
        if flavour in said:
            name = said[flavour].get("pickled_model") or said[flavour].get("data") or ""
            path = (folder / name).resolve()
            if flavour == "pytorch":
                name = said[flavour].get("model_data") or "data"
                path = _network_file((folder / name).resolve())
            if not name or not path.is_relative_to(folder.resolve()) or not path.is_file():
                raise RegistryError(f"the model's file '{name}' is missing", str(folder), "register the model again")
            return flavour, path
    known = ", ".join(sorted(str(name) for name in said))
    raise RegistryError(
        f"models of the flavour {known} cannot be built yet",
        str(folder),
        "log it as sklearn, xgboost, lightgbm or onnx",
    )


def _network_file(path: Path) -> Path:
    """The file in a folder of MLflow's flavour pytorch: an exported program, or a pickle."""
    return next((one for one in sorted(path.glob("model.pt*"), reverse=True) if one.is_file()), path)


def is_pickle(folder: Path) -> bool:
    """Whether opening this model means unpickling."""
    return model_file(folder)[1].suffix.lower() in PICKLES


def open_model(folder: Path, *, trust_pickle: bool = False, shape: tuple[int, ...] = ()) -> Any:
    """The fitted model object; for ONNX the file's bytes, for PyTorch the exported program (`shape`: of a row of its input)."""
    flavour, path = model_file(folder)
    suffix = path.suffix.lower()
    with _readable(path, flavour):
        if suffix in PICKLES:
            return _unpickle(path, trusted=trust_pickle, shape=shape)
        if suffix == ".skops":
            return _skops(path)
        if flavour == "onnx":
            return path.read_bytes()
        if flavour == "xgboost":
            return _xgboost(path)
        if flavour == "catboost":
            return _catboost(path)
        return _lightgbm(path)


@contextlib.contextmanager
def _spared_torch() -> Iterator[None]:
    """Skops imports all modules of scikit-learn, one of which imports PyTorch where it is installed: two seconds for nothing."""
    if "torch" in sys.modules or ARRAYS in sys.modules:
        yield
        return
    sys.modules[ARRAYS] = ModuleType(ARRAYS)
    try:
        yield
    finally:
        del sys.modules[ARRAYS]


def _skops(path: Path) -> Any:
    with _spared_torch():
        import skops.io

    screen(path)
    untrusted = [str(name) for name in skops.io.get_untrusted_types(file=path)]
    foreign = sorted(set(untrusted) - KNOWN_TYPES)
    if foreign:
        raise RegistryError(
            f"the model contains the type {foreign[0]}, which is not known to be harmless",
            str(path),
            "use plain library parts, or export it to ONNX and build the .onnx file",
        )
    return skops.io.load(path, trusted=untrusted)


def _xgboost(path: Path) -> Any:
    """The scikit-learn form where the file says that it was one: only that knows its classes."""
    import xgboost

    booster = xgboost.Booster()
    booster.load_model(path)
    said = booster.attr("scikit_learn")
    kind = json.loads(said).get("_estimator_type") if said else ""
    if kind not in {"classifier", "regressor"}:
        return booster
    model = xgboost.XGBClassifier() if kind == "classifier" else xgboost.XGBRegressor()
    model.load_model(path)
    return model


def _lightgbm(path: Path) -> Any:
    import lightgbm

    return lightgbm.Booster(model_file=str(path), params={"verbosity": -1})


def _catboost(path: Path) -> Any:
    """The classifier where the file knows classes, else the regressor."""
    import catboost  # type: ignore[import-untyped]

    model = catboost.CatBoostClassifier()
    model.load_model(str(path))
    if not len(model.classes_):
        model = catboost.CatBoostRegressor()
        model.load_model(str(path))
    return model


def _unpickle(path: Path, *, trusted: bool, shape: tuple[int, ...]) -> Any:
    if not trusted:
        raise UntrustedPickle(
            f"{path.name} is a pickle: opening it runs whatever code its author put inside",
            str(path),
            "if you trust whoever made it: --trust-pickle; better: save it with skops, or as ONNX",
        )
    if path.suffix.lower() in NETWORKS:
        return open_program(path, shape)
    with path.open("rb") as file:
        if path.suffix.lower() == ".joblib":
            import joblib  # type: ignore[import-untyped]

            return joblib.load(file)
        import cloudpickle  # type: ignore[import-untyped]

        return cloudpickle.load(file)


@contextlib.contextmanager
def _readable(path: Path, flavour: str) -> Iterator[None]:
    """What goes wrong while a library reads its file, as our errors; its warnings are not ours to repeat."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except ModuleNotFoundError as bad:
        if bad.name in {"skops", "cloudpickle", "joblib"}:
            raise MissingExtra("build", f"opening {path.name}") from None
        raise RegistryError(
            f"{path.name} needs the library '{bad.name}'", str(path), f"pip install {bad.name}"
        ) from None
    except HoldfastError:
        raise
    except Exception as bad:  # noqa: BLE001 - each library fails in its own way
        reason = str(bad).splitlines()[0] if str(bad) else type(bad).__name__
        raise RegistryError(
            f"{path.name} cannot be opened as a model of {flavour}: {reason}",
            str(path),
            "check that it was saved by the same version of its library",
        ) from None
