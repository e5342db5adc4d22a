"""The workspace: a project folder with `holdfast.toml` and `.holdfast/`, and the one place where outside parts are chosen.

Only this module knows the backends. Each part is built when first asked for, so that a serving process never imports the
database, and nothing but the authoring side imports MLflow. Fields, no verbs.
"""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdfast import config
from holdfast.errors import WorkspaceError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from holdfast.build.pipeline import Parts
    from holdfast.build.reproduce import Project
    from holdfast.core.alarm import Alarm
    from holdfast.core.ports import Database, DataVersions, Environments, ModelRegistry, Runtime, Tables
    from holdfast.release.bundle import Release
    from holdfast.release.keys import Keys
    from holdfast.retrain import Parts as RetrainParts

__all__ = ["HOME", "Workspace", "create_workspace", "find_workspace", "open_workspace"]

HOME = ".holdfast"
FORMAT = "1"

STARTING_TOML = """\
# Settings of this Holdfast workspace; docs/reference/configuration.md lists them all.
# [serve]
# port = 8080
# [monitor]
# webhook = "http://127.0.0.1:9000/alarms"
# [deployments.NAME]
# train = "train.py:train"      # called as train(data, weights) -> fitted model
# data = "original.parquet"
"""


class Workspace:
    """Settings, folders and outside parts of one project."""

    def __init__(self, folder: Path, settings: config.Settings) -> None:
        self.folder = folder
        self.settings = settings
        self.home = folder / HOME
        self.releases = self.home / "releases"
        self.log = self.home / "log"
        self.run = self.home / "run"
        self.keys = self.home / "keys"

    @cached_property
    def database(self) -> Database:
        """Deployments, windows, labels, alarms, trail."""
        from holdfast.backends.sql import SqlDatabase

        return SqlDatabase(f"sqlite:///{self.home / 'state.db'}")

    @cached_property
    def tables(self) -> Tables:
        """Parquet and CSV."""
        from holdfast.backends.duckdb import DuckTables

        return DuckTables()

    @cached_property
    def runtime(self) -> Runtime:
        """Inference sessions."""
        from holdfast.backends.onnx import OnnxRuntime
        from holdfast.backends.runtimes import Runtimes

        serve = self.settings.serve
        threads = serve.model_threads or max(config.processors() // max(serve.workers, 1), 1)
        return Runtimes(OnnxRuntime(threads), lambda: self._python_runtime)

    @cached_property
    def _python_runtime(self) -> Runtime:
        from holdfast.backends.python.runtime import PythonRuntime

        return PythonRuntime(self.environments, self.settings.python, self.run / "models")

    @cached_property
    def environments(self) -> Environments:
        """Locked environments of Python releases."""
        from holdfast.backends.python.venvs import UvEnvironments

        return UvEnvironments(self.home / "environments")

    @cached_property
    def registry(self) -> ModelRegistry:
        """MLflow."""
        from holdfast.backends.mlflow import MlflowRegistry

        return MlflowRegistry(self.settings.registry.uri, self.home)

    @cached_property
    def build_parts(self) -> Parts:
        """What a build needs: registry, runtime, where releases lie, who signs."""
        from holdfast.build.pipeline import Parts
        from holdfast.release.trust import signer

        return Parts(
            self.registry,
            self.runtime,
            self.releases,
            signer(self.keys),
            allow_dirty=self.settings.build.dirty == "allow",
            environments=self.environments,
        )

    @property
    def trusted(self) -> Keys:
        """Whose signatures count; read anew each time, so that a revocation counts at once."""
        from holdfast.release.keys import trusted_keys

        return trusted_keys(self.keys, self.settings.trust.signatures)

    @cached_property
    def release_of(self) -> Callable[[str], Release]:
        """An opened, verified release by its digest; kept open."""
        from functools import lru_cache

        from holdfast.release.bundle import open_release

        return lru_cache(maxsize=None)(lambda digest: open_release(self.releases / digest, self.trusted))

    @cached_property
    def retrain_parts(self) -> RetrainParts:
        """What retraining needs."""
        from holdfast.retrain import Parts as RetrainParts

        return RetrainParts(self.database, self.tables, self.runtime, self.build_parts, self.log, self.release_of)

    @cached_property
    def code_state(self) -> Callable[[Path], dict[str, Any]]:
        """Git commit of a folder, and whether its tree is dirty."""
        from holdfast.backends.git import code_state

        return code_state

    @cached_property
    def versions(self) -> DataVersions:
        """The project's data versioning: DVC, where it is used."""
        from holdfast.backends.dvc import DvcData

        return DvcData()

    @cached_property
    def project(self) -> Project:
        """Code and data of the project, and who knows their versions."""
        from holdfast.backends.git import checkout
        from holdfast.build.reproduce import Project

        return Project(self.folder, self.tables, self.versions, self.code_state, checkout)

    @cached_property
    def alerts(self) -> tuple[Callable[[Alarm, str], None], ...]:
        """Where alarms are sent: (alarm, "opened" | "closed"); stderr always, a webhook where set."""
        from holdfast.backends.alerts import stderr, webhook

        url = self.settings.monitor.webhook
        return (stderr, webhook(url)) if url else (stderr,)


def find_workspace(start: Path | None = None) -> Path | None:
    """The nearest folder upwards that holds a workspace; HOLDFAST_WORKSPACE wins."""
    if named := os.environ.get("HOLDFAST_WORKSPACE"):
        return Path(named).resolve()
    here = (start or Path.cwd()).resolve()
    return next((folder for folder in (here, *here.parents) if (folder / HOME).is_dir()), None)


def create_workspace(folder: Path | str, overrides: Mapping[str, Any] | None = None) -> Workspace:
    """Make the folder a workspace: settings file, folders, a signing key of mode 0600; an existing one is opened."""
    folder = Path(folder).resolve()
    if not (folder / HOME / "format").exists():
        try:
            for part in ("releases", "log", "run", "keys"):
                (folder / HOME / part).mkdir(parents=True, exist_ok=True)
            (folder / HOME / ".gitignore").write_text("*\n", encoding="utf-8")
            if not (folder / config.FILE).exists():
                (folder / config.FILE).write_text(STARTING_TOML, encoding="utf-8")
            from holdfast.release.trust import create_key

            create_key(folder / HOME / "keys")
            (folder / HOME / "format").write_text(FORMAT + "\n", encoding="utf-8")
        except OSError as bad:
            raise WorkspaceError(
                f"cannot make a workspace: {bad.strerror}", str(folder), "choose a folder that you may write to"
            ) from None
    return open_workspace(folder, overrides)


def open_workspace(folder: Path | str | None = None, overrides: Mapping[str, Any] | None = None) -> Workspace:
    """The workspace in `folder`, or the nearest one upwards.

    Raises WorkspaceError if there is none, or if a newer Holdfast made it.
    """
    found = Path(folder).resolve() if folder else find_workspace()
    if found is None or not (found / HOME).is_dir():
        raise WorkspaceError("no Holdfast workspace", f"in {found or Path.cwd()} or above", "holdfast init")
    mark = found / HOME / "format"
    version = mark.read_text(encoding="utf-8").strip() if mark.exists() else ""
    if version != FORMAT:
        newer = version.isdigit() and int(version) > int(FORMAT)
        what = (
            f"this workspace was made by a newer Holdfast (format {version})" if newer else "the workspace is damaged"
        )
        raise WorkspaceError(what, str(mark), "pip install --upgrade holdfast" if newer else "holdfast init")
    return Workspace(found, config.load(found, overrides))
