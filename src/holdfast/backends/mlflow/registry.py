"""The model registry: MLflow behind `core.ports.ModelRegistry`, in the workspace's own SQLite file or on a server.

A reference is resolved once, to a version; the version is downloaded and every file hashed, because MLflow lets registered
files change silently. Bare files and fitted objects become versions in MLflow's own layout, so that MLflow can load them
too, and byte-identical ones share a version. Nothing is ever unpickled here. MLflow is kept quiet: no telemetry, no progress
bars, no stray `./mlruns` or `./mlflow.db` in the folder where somebody happens to stand.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
import warnings
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from holdfast.backends.mlflow.layout import describe, entries, fetched, store
from holdfast.core.names import check_name
from holdfast.core.ports import FetchedModel
from holdfast.core.release import FileEntry, ModelSource
from holdfast.errors import MissingExtra, NotFound, RegistryError, UsageError

__all__ = ["MlflowRegistry"]

QUIET: Final = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "GIT_PYTHON_REFRESH": "quiet",
}
EXPERIMENT: Final = "holdfast"
REGISTERED: Final = "holdfast.sha256"
"""Tag of versions that came in through Holdfast: the hash of their content."""
PATH: Final = "model"


class _Version(NamedTuple):
    name: str
    version: str
    alias: str


class MlflowRegistry:
    """Registered models of a workspace.

    Args:
        uri: tracking server or store; empty: `mlflow.db` and `mlartifacts/` in `home`.
        home: the workspace's `.holdfast` folder.
    """

    def __init__(self, uri: str, home: Path) -> None:
        self._home = home
        self._local = not uri
        self._uri = uri or f"sqlite:///{home.resolve() / 'mlflow.db'}"

    def fetch(self, reference: str, into: Path) -> FetchedModel:
        """Resolve once, download by version, hash every file."""
        kind, _, rest = reference.partition(":/")
        if kind == "runs":
            run_id, _, path = rest.strip("/").partition("/")
            folder = self._download(self._run_location(run_id, path, reference), into, reference)
            source = ModelSource(uri=reference, name="", version="", flavour="", files=(), run_id=run_id)
            return self._traced(fetched(folder, source))
        wanted = self._version(reference)
        found = self._ask(reference, "get_model_version", wanted.name, wanted.version)
        location = self._ask(reference, "get_model_version_download_uri", wanted.name, wanted.version)
        folder = self._download(self._physical(location, reference), into, reference)
        source = ModelSource(
            uri=f"models:/{wanted.name}/{wanted.version}",
            name=wanted.name,
            version=wanted.version,
            flavour="",
            files=(),
            # A run that only carried a file into the registry trained nothing.
            run_id="" if REGISTERED in found.tags else found.run_id or "",
        )
        return self._traced(self._unchanged(fetched(folder, source), found.tags.get(REGISTERED)))

    def _traced(self, model: FetchedModel) -> FetchedModel:
        """With what the run that trained it recorded of code and data; a run may be gone while its model stays."""
        if not model.source.run_id:
            return model
        try:
            run = self._ask(model.source.uri, "get_run", model.source.run_id)
        except NotFound:
            return model
        known: dict[str, Any] = {}
        if commit := run.data.tags.get("mlflow.source.git.commit"):
            known["commit"] = commit
        if inputs := getattr(run.inputs, "dataset_inputs", None):
            known["datasets"] = sorted((_dataset(one) for one in inputs), key=lambda d: (d["context"], d["name"]))
        return msgspec.structs.replace(model, run=known)

    def _unchanged(self, model: FetchedModel, expected: str | None) -> FetchedModel:
        """What Holdfast registered must still be what it was; MLflow itself would not notice."""
        if expected is not None and _content(model.source.files) != expected:
            raise RegistryError(
                "the registered files were changed after their registration",
                model.source.uri,
                "register the model again, and find out who changed them",
            )
        return model

    def resolve(self, reference: str) -> str:
        """`models:/name/version` of what the reference means now; a run's model is already exact."""
        if reference.startswith("runs:/"):
            return reference
        wanted = self._version(reference)
        self._ask(reference, "get_model_version", wanted.name, wanted.version)
        return f"models:/{wanted.name}/{wanted.version}"

    def register_file(self, path: Path, name: str) -> str:
        """A bare model file becomes a version; equal content gives the version that is there."""
        if not path.is_file():
            raise NotFound(f"no model file {path.name}", str(path), "check the path")
        with tempfile.TemporaryDirectory() as growing:
            copied = Path(growing) / f"model{path.suffix.lower()}"
            shutil.copyfile(path, copied)
            describe(copied)
            return self._register(copied.parent, name)

    def register_object(self, model: Any, name: str, *, signature: Any = None) -> str:
        """A fitted Python object becomes a version, stored without pickle; equal objects give the version that is there."""
        with tempfile.TemporaryDirectory() as growing:
            describe(store(model, Path(growing)), signature)
            return self._register(Path(growing), name)

    def set_alias(self, name: str, alias: str, version: str) -> None:
        """Point an alias at a version."""
        self._ask(f"models:/{name}/{version}", "set_registered_model_alias", name, alias, version)

    def list(self) -> list[dict[str, Any]]:
        """Registered versions by model name and number: `{name, version, aliases, run_id}` each."""
        found: list[dict[str, Any]] = []
        token = None
        while True:
            page = self._ask("the list of models", "search_registered_models", page_token=token)
            for model in page:
                aliases = {alias: str(version) for alias, version in dict(model.aliases).items()}
                for version in self._ask(model.name, "search_model_versions", f"name='{model.name}'"):
                    number = str(version.version)
                    mine = sorted(alias for alias, target in aliases.items() if target == number)
                    found.append(
                        {"name": model.name, "version": number, "aliases": mine, "run_id": version.run_id or ""}
                    )
            token = page.token
            if not token:
                return sorted(found, key=lambda one: (one["name"], int(one["version"])))

    @cached_property
    def _client(self) -> Any:
        for name, value in QUIET.items():
            os.environ.setdefault(name, value)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                from mlflow import MlflowClient
            except ImportError:
                raise MissingExtra("build", "the model registry") from None
            for noisy in ("mlflow", "alembic"):
                logging.getLogger(noisy).setLevel(logging.ERROR)
            if self._local and not (self._home / "mlflow.db").exists():
                from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

                # Makes the tables; its default experiment keeps its files here, wherever the trainer stands.
                SqlAlchemyStore(self._uri, self._artifacts)  # type: ignore[no-untyped-call]
            return MlflowClient(self._uri, self._uri)

    @property
    def _artifacts(self) -> str:
        return (self._home.resolve() / "mlartifacts").as_uri()

    def _ask(self, reference: str, verb: str, *arguments: Any, **named: Any) -> Any:
        """Call MLflow; its errors become ours."""
        client = self._client
        from mlflow.exceptions import MlflowException

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return getattr(client, verb)(*arguments, **named)
        except MlflowException as bad:
            raise self._told(bad, reference) from None

    def _told(self, bad: Any, reference: str) -> Exception:
        if bad.error_code in {"RESOURCE_DOES_NOT_EXIST", "NOT_FOUND", "INVALID_PARAMETER_VALUE"}:
            return NotFound(f"the registry has no {reference}", self._uri, "holdfast list models")
        return RegistryError(
            f"the registry does not answer: {str(bad).splitlines()[0]}", self._uri, "check [registry] uri"
        )

    def _version(self, reference: str) -> _Version:
        kind, _, rest = reference.partition(":/")
        if kind != "models" or not rest.strip("/"):
            raise UsageError(
                f"'{reference}' is no model reference",
                next_step="use models:/NAME/3, models:/NAME@ALIAS, runs:/ID/PATH or a model file",
            )
        rest = rest.strip("/")
        name, at, alias = rest.partition("@")
        if at:
            found = self._ask(reference, "get_model_version_by_alias", name, alias)
            return _Version(name, str(found.version), alias)
        name, _, version = rest.partition("/")
        if version == "latest":
            versions = self._ask(reference, "search_model_versions", f"name='{name}'")
            if not versions:
                raise NotFound(f"the registry has no {reference}", self._uri, "holdfast list models")
            version = str(max(int(v.version) for v in versions))
        if not version.isdigit():
            raise UsageError(
                f"'{reference}' names no version", next_step=f"use models:/{name}/1 or models:/{name}@ALIAS"
            )
        return _Version(name, version, "")

    def _physical(self, location: str, reference: str) -> str:
        """Where the files lie: MLflow's own indirections would ask a global registry, not this one."""
        if location.startswith("models:/m-"):
            return str(self._ask(reference, "get_logged_model", location.removeprefix("models:/")).artifact_location)
        if location.startswith("runs:/"):
            run_id, _, path = location.removeprefix("runs:/").partition("/")
            return self._run_location(run_id, path, reference)
        return str(location)

    def _run_location(self, run_id: str, path: str, reference: str) -> str:
        """A model that a run logged: since MLflow 3 an output of the run, before that a folder of its artifacts."""
        run = self._ask(reference, "get_run", run_id)
        for output in getattr(run.outputs, "model_outputs", None) or ():
            logged = self._ask(reference, "get_logged_model", output.model_id)
            if logged.name == path:
                return str(logged.artifact_location)
        return f"{run.info.artifact_uri.rstrip('/')}/{path}"

    def _download(self, location: str, into: Path, reference: str) -> Path:
        from mlflow.artifacts import download_artifacts
        from mlflow.exceptions import MlflowException

        into.mkdir(parents=True, exist_ok=True)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = download_artifacts(
                    artifact_uri=location, dst_path=str(into), tracking_uri=self._uri, registry_uri=self._uri
                )
        except (MlflowException, OSError) as bad:
            raise RegistryError(
                f"the files of {reference} cannot be downloaded: {str(bad).splitlines()[0]}",
                location,
                "check the artifact store",
            ) from None
        return Path(found)

    def _register(self, folder: Path, name: str) -> str:
        """Make a folder a version of `name`, unless an equal one is there."""
        check_name(name, "model name")
        client = self._client
        from mlflow.exceptions import MlflowException

        content = _content(entries(folder))
        try:
            client.create_registered_model(name)
        except MlflowException as bad:
            if bad.error_code != "RESOURCE_ALREADY_EXISTS":
                raise self._told(bad, name) from None
        same = self._ask(name, "search_model_versions", f"name='{name}' and tags.`{REGISTERED}` = '{content}'")
        if same:
            return f"models:/{name}/{min(int(v.version) for v in same)}"
        run = self._ask(name, "create_run", self._experiment(name), run_name=name)
        self._ask(name, "log_artifacts", run.info.run_id, str(folder), PATH)
        self._ask(name, "set_terminated", run.info.run_id)
        made = self._ask(
            name,
            "create_model_version",
            name,
            source=f"{run.info.artifact_uri}/{PATH}",
            run_id=run.info.run_id,
            tags={REGISTERED: content},
        )
        return f"models:/{name}/{made.version}"

    def _experiment(self, name: str) -> str:
        found = self._ask(name, "get_experiment_by_name", EXPERIMENT)
        if found is not None:
            return str(found.experiment_id)
        location = f"{self._artifacts}/{EXPERIMENT}" if self._local else None
        return str(self._ask(name, "create_experiment", EXPERIMENT, artifact_location=location))


def _dataset(given: Any) -> dict[str, str]:
    """A data set that a run says it read."""
    said = given.dataset
    context = next((tag.value for tag in given.tags if tag.key == "mlflow.data.context"), "")
    return {"name": said.name, "digest": said.digest, "source": said.source, "context": context}


def _content(files: Sequence[FileEntry]) -> str:
    """One hash of all files of a model."""
    return hashlib.sha256(json.dumps([[entry.path, entry.sha256] for entry in files]).encode()).hexdigest()
