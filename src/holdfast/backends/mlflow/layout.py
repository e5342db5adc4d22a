"""How a model lies in a folder of MLflow: the `MLmodel` file, the model in its library's own format, its requirements.

What Holdfast registers has exactly MLflow's layout, so that MLflow can load it, but without the time and the random identity
of the save: equal models are equal files. Fitted objects are stored without pickle: boosters of XGBoost, LightGBM and CatBoost in
their own formats, everything else by skops, whose archive is put into one canonical form.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.metadata
import io
import json
import pickletools
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from holdfast.core.ports import FetchedModel
from holdfast.core.release import FileEntry, ModelSource
from holdfast.errors import MissingExtra, RegistryError

__all__ = ["describe", "entries", "fetched", "store"]

DESCRIPTION: Final = "MLmodel"
REQUIREMENTS: Final = "requirements.txt"
DISTRIBUTIONS: Final = {
    "sklearn": "scikit-learn",
    "xgboost": "xgboost",
    "lightgbm": "lightgbm",
    "catboost": "catboost",
    "numpy": "numpy",
    "scipy": "scipy",
    "onnx": "onnx",
    "torch": "torch",
}
"""Libraries whose versions decide how a model answers: import name -> name on the package index."""
EPOCH: Final = (1980, 1, 1, 0, 0, 0)
"""The oldest time that a ZIP archive can hold."""
PICKLES: Final = frozenset({".pkl", ".pickle", ".joblib"})
INSTALLED: Final = {"site-packages", "dist-packages"}


def store(model: Any, folder: Path) -> Path:
    """Write a fitted object into `folder`, in a format that is opened without unpickling, with its requirements."""
    library, kind = type(model).__module__.partition(".")[0], type(model).__name__
    libraries = [library]
    if kind == "ModelProto":
        path = folder / "model.onnx"
        path.write_bytes(model.SerializeToString())
        libraries = ["onnx"]
    elif kind == "ExportedProgram":
        path = folder / "model.pt2"
        torch = importlib.import_module("torch")
        torch.export.save(model, path)
    elif library == "xgboost":
        path = folder / "model.ubj"
        model.save_model(path)
    elif library == "lightgbm" and kind == "Booster":
        path = folder / "model.txt"
        path.write_text(model.model_to_string(), encoding="utf-8")
    elif library == "catboost":
        path = folder / "model.cbm"
        _store_catboost(model, path)
    elif callable(model) and not hasattr(model, "predict"):
        return _store_callable(model, folder)
    else:
        path = folder / "model.skops"
        content, libraries = _skops(model)
        path.write_bytes(content)
    pinned = [
        f"{DISTRIBUTIONS[name]}=={importlib.import_module(name).__version__}"
        for name in libraries
        if name in DISTRIBUTIONS
    ]
    (folder / REQUIREMENTS).write_text("".join(f"{line}\n" for line in sorted(pinned)), encoding="utf-8")
    return path


def _store_callable(model: Any, folder: Path) -> Path:
    """A Python function as cloudpickle writes it, and the distributions that it names: it is opened only in a sandbox."""
    try:
        import cloudpickle  # type: ignore[import-untyped]
    except ImportError:
        raise MissingExtra("build", "registering a Python function") from None
    try:
        with _by_value(model, cloudpickle):
            content = cloudpickle.dumps(model)
    except Exception as bad:  # noqa: BLE001 - a user's object may fail in any way
        raise RegistryError(
            f"this {type(model).__name__} cannot be stored: {bad}",
            "",
            "let it hold no open files, locks or connections",
        ) from None
    path = folder / "model.cloudpickle"
    path.write_bytes(content)
    named = {
        text.partition(".")[0]
        for _, text, _ in pickletools.genops(content)
        if isinstance(text, str) and text.partition(".")[0] in sys.modules
    }
    pinned = {
        f"{distribution}=={importlib.metadata.version(distribution)}"
        for module, distributions in importlib.metadata.packages_distributions().items()
        if module in named
        for distribution in distributions
    }
    (folder / REQUIREMENTS).write_text("".join(f"{line}\n" for line in sorted(pinned)), encoding="utf-8")
    version = ".".join(map(str, sys.version_info[:3]))
    (folder / "python_env.yaml").write_text(f"python: {version}\n", encoding="utf-8")
    return path


@contextlib.contextmanager
def _by_value(model: Any, cloudpickle: Any) -> Iterator[None]:
    """The user's own module goes along: nobody else can install it."""
    module = sys.modules.get(getattr(model, "__module__", None) or type(model).__module__)
    file = getattr(module, "__file__", None) or ""
    own = module is not None and module.__name__ != "__main__" and file and not INSTALLED & set(Path(file).parts)
    if not own or Path(file).is_relative_to(Path(json.__file__).parents[1]):
        yield
        return
    cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        cloudpickle.unregister_pickle_by_value(module)


def _store_catboost(model: Any, path: Path) -> None:
    """In CatBoost's own format, without the time and the random identity of the training."""
    plain = model.copy()
    metadata = plain.get_metadata()
    for name in ("train_finish_time", "model_guid"):
        if name in metadata:
            del metadata[name]
    plain.save_model(str(path))


def describe(path: Path, signature: Any = None) -> None:
    """Write the MLmodel file beside a model file."""
    flavours, loader = _flavours(path)
    described: dict[str, Any] = {"flavors": flavours}
    if loader:
        flavours["python_function"] = {"loader_module": loader, "model_path": path.name, "data": path.name}
    if signature is not None:
        described["signature"] = signature.to_dict()
    text = yaml.safe_dump(described, sort_keys=True)
    (path.parent / DESCRIPTION).write_text(text, encoding="utf-8")


def _flavours(path: Path) -> tuple[dict[str, Any], str]:
    """MLflow's flavours of a bare file, and the module that serves it as a plain function."""
    name, suffix = path.name, path.suffix.lower()
    if suffix == ".onnx":
        return {"onnx": {"data": name}}, "mlflow.onnx"
    if suffix == ".skops":
        return {"sklearn": {"pickled_model": name, "serialization_format": "skops"}}, "mlflow.sklearn"
    if suffix in {".ubj", ".json"}:
        return {"xgboost": {"data": name, "model_format": suffix[1:]}}, "mlflow.xgboost"
    if suffix == ".txt":
        return {"lightgbm": {"data": name}}, "mlflow.lightgbm"
    if suffix in {".pt", ".pth", ".pt2"}:
        return {"pytorch": {"model_data": "."}}, "mlflow.pytorch"
    if suffix == ".cbm":
        return {"catboost": {"data": name, "model_type": "CatBoost", "save_format": "cbm"}}, "mlflow.catboost"
    if suffix == ".cloudpickle":
        return {"holdfast": {"callable": name}}, ""
    if suffix in PICKLES:
        return {"sklearn": {"pickled_model": name, "serialization_format": "pickle"}}, "mlflow.sklearn"
    raise RegistryError(
        f"{name} is no model file that can be registered",
        str(path),
        "give .onnx, .skops, .ubj or .json (XGBoost), .txt (LightGBM), .cbm (CatBoost), .pt2 or .pt (PyTorch), .pkl or .joblib",
    )


def fetched(folder: Path, source: ModelSource) -> FetchedModel:
    """A downloaded model: files hashed, and what its MLmodel file says of flavour, signature and requirements."""
    import msgspec

    said = _description(folder)
    flavours = [str(name) for name in said.get("flavors", {}) if name != "python_function"]
    signature = said.get("signature") or {}
    return FetchedModel(
        source=msgspec.structs.replace(source, flavour=flavours[0] if flavours else "", files=entries(folder)),
        path=folder,
        requirements=_requirements(folder),
        signature={side: json.loads(text) for side, text in signature.items() if isinstance(text, str)},
    )


def entries(folder: Path) -> tuple[FileEntry, ...]:
    """Every file of a model, hashed."""
    found = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        found.append(FileEntry(path.relative_to(folder).as_posix(), digest, path.stat().st_size))
    return tuple(found)


def _description(folder: Path) -> dict[str, Any]:
    try:
        said = yaml.safe_load((folder / DESCRIPTION).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise RegistryError(
            "this is no MLflow model: it has no MLmodel file", str(folder), "log it with mlflow.FLAVOUR.log_model"
        ) from None
    except (yaml.YAMLError, UnicodeError):
        said = None
    if not isinstance(said, dict):
        raise RegistryError("the MLmodel file is damaged", str(folder / DESCRIPTION), "register the model again")
    return said


def _requirements(folder: Path) -> tuple[str, ...]:
    path = folder / REQUIREMENTS
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return tuple(sorted(line.strip() for line in lines if line.strip() and not line.startswith("#")))


def _skops(model: Any) -> tuple[bytes, list[str]]:
    """The canonical archive of a fitted object, and the libraries in it."""
    try:
        import skops.io
    except ImportError:
        raise MissingExtra("build", "registering a fitted object") from None
    try:
        archive = skops.io.dumps(model)
    except Exception as bad:  # noqa: BLE001 - a user's object may fail in any way
        raise RegistryError(
            f"this {type(model).__name__} cannot be stored without pickle: {bad}",
            "",
            "use plain library parts instead of own functions, or export it to ONNX and build the .onnx file",
        ) from None
    return _canonical(archive)


def _canonical(archive: bytes) -> tuple[bytes, list[str]]:
    """The same archive without memory addresses, random names and times, so that equal models give equal bytes."""
    numbers: dict[Any, int] = {}
    files: dict[str, str] = {}
    libraries: set[str] = set()

    def walk(node: Any) -> Any:
        if isinstance(node, list):
            return [walk(item) for item in node]
        if not isinstance(node, dict):
            return node
        plain: dict[str, Any] = {}
        for name, value in node.items():
            if name == "__id__":
                plain[name] = numbers.setdefault(value, len(numbers))
            elif name == "file" and isinstance(value, str):
                plain[name] = files.setdefault(value, f"{len(files)}{Path(value).suffix}")
            else:
                plain[name] = walk(value)
        if isinstance(node.get("__module__"), str):
            libraries.add(node["__module__"].partition(".")[0])
        return plain

    with zipfile.ZipFile(io.BytesIO(archive)) as given:
        schema = walk(json.loads(given.read("schema.json")))
        written = io.BytesIO()
        with zipfile.ZipFile(written, "w") as result:
            for old, new in files.items():
                result.writestr(zipfile.ZipInfo(new, EPOCH), given.read(old))
            result.writestr(zipfile.ZipInfo("schema.json", EPOCH), json.dumps(schema))
    return written.getvalue(), sorted(libraries)
