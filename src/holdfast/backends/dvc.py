"""Data versions of a project that uses DVC, read off its own files: `dvc` itself need not be installed.

`NAME.dvc` and `dvc.lock` pin files by MD5; caches and remotes hold them under that hash (`files/md5/ab/cdef...`; before DVC 3
without `files/md5/`). A folder is a list of its files, kept in the same way. What is fetched is hashed again, in whichever
store it lay. Remotes are read where they are folders of this machine; from others `dvc fetch` brings a file into the cache.
"""

from __future__ import annotations

import configparser
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Final

import yaml

from holdfast.core.lineage import DataVersion, Origin
from holdfast.errors import MovedData

__all__ = ["DvcData"]

HOME: Final = ".dvc"
LOCK: Final = "dvc.lock"
FOLDER: Final = ".dir"


class DvcData:
    """Asks the DVC project around a path; every answer is read afresh."""

    def origin(self, path: Path) -> Origin | None:
        """How the project pins this file and what it was made from; None where it doesn't.

        Raises MovedData if the file that is there is not the pinned one.
        """
        path = Path(os.path.abspath(path))  # noqa: PTH100 - `resolve` would follow DVC's links into its cache
        project = _around(path)
        if project is None:
            return None
        try:
            return project.origin(path)
        except (KeyError, AttributeError, TypeError, ValueError) as bad:
            raise MovedData(
                f"the files of DVC cannot be understood: {bad!r}", str(path), "dvc status; then mend what it names"
            ) from None

    def fetch(self, version: DataVersion, folder: Path, into: Path) -> Path:
        """The pinned content as the file or folder `into`, from the cache or a remote of the project around `folder`."""
        project = _around(folder.absolute() / HOME)
        if project is None:
            raise MovedData(f"{version.path} is pinned by DVC, and there is no DVC project", str(folder), "dvc init")
        if not version.md5.endswith(FOLDER):
            return project.copy(version.md5, into, version.path)
        for name, md5 in project.listing(version.md5, version.path).items():
            project.copy(md5, into / name, f"{version.path}/{name}")
        return into


class _Project:
    """A folder with `.dvc/` in it."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def origin(self, path: Path) -> Origin | None:
        """Of a file that is as it is pinned, or absent."""
        version = self.version(path)
        if version is None:
            return None
        if path.is_file() and not _is(path, version.md5):
            raise MovedData(
                f"{path.name} is not what {version.pinned_by} pins",
                str(path),
                f"dvc checkout {version.path}; or, if it ought to have changed: dvc commit {version.path}",
            )
        inputs: dict[str, DataVersion] = {}
        params: dict[str, Any] = {}
        self.collect(version, inputs, params)
        return Origin(version=version, inputs=tuple(inputs[name] for name in sorted(inputs)), params=params)

    # ---------------------------------------------------------------------------------- what is pinned

    def version(self, path: Path) -> DataVersion | None:
        """The file or folder itself, or the folder around it that is pinned as a whole."""
        for outer in (path, *path.parents):
            if not outer.is_relative_to(self._root) or outer == self._root:
                return None
            found = self._pinned(outer)
            if found is None or outer == path:
                if found is not None:
                    return found
                continue
            inside = path.relative_to(outer).as_posix()
            md5 = self.listing(found.md5, found.path).get(inside) if found.md5.endswith(FOLDER) else None
            if md5 is not None:
                return DataVersion(path=self._name(path), md5=md5, pinned_by=found.pinned_by, stage=found.stage)
        return None

    def _pinned(self, path: Path) -> DataVersion | None:
        """By a `.dvc` file of its own, or as an output in a `dvc.lock` on the way up."""
        own = path.with_name(f"{path.name}.dvc")
        for entry in _yaml(own).get("outs") or ():
            if _at(own.parent / str(_yaml(own).get("wdir") or "."), entry) == path and entry.get("md5"):
                return self._made(path, entry, own, "")
        for lock in self._locks(path):
            for stage, said in _stages(lock):
                for entry in said.get("outs") or ():
                    if _at(_place(lock, stage), entry) == path and entry.get("md5"):
                        return self._made(path, entry, lock, stage)
        return None

    def collect(self, version: DataVersion, inputs: dict[str, DataVersion], params: dict[str, Any]) -> None:
        """All that the steps before this version read."""
        if not version.stage:
            return
        lock = self._root / version.pinned_by
        said = dict(_stages(lock))[version.stage]
        for file, values in (said.get("params") or {}).items():
            params[file] = {**params.get(file, {}), **values}
        for entry in said.get("deps") or ():
            path = _at(_place(lock, version.stage), entry)
            if not entry.get("md5") or not path.is_relative_to(self._root):
                continue
            earlier = self.version(path)
            by, stage = (earlier.pinned_by, earlier.stage) if earlier else (version.pinned_by, "")
            read = self._made(path, entry, self._root / by, stage)
            if earlier is not None and earlier.stage and earlier.md5 != read.md5:
                raise MovedData(
                    f"the step '{version.stage}' read another {read.path} than '{earlier.stage}' makes now",
                    str(lock),
                    "dvc repro",
                )
            if read.path not in inputs:
                inputs[read.path] = read
                self.collect(read, inputs, params)

    def _made(self, path: Path, entry: dict[str, Any], by: Path, stage: str) -> DataVersion:
        return DataVersion(path=self._name(path), md5=str(entry["md5"]), pinned_by=self._name(by), stage=stage)

    def _name(self, path: Path) -> str:
        return path.relative_to(self._root).as_posix()

    def _locks(self, path: Path) -> Iterator[Path]:
        for folder in path.parents:
            if (folder / LOCK).is_file():
                yield folder / LOCK
            if folder == self._root:
                return

    # ---------------------------------------------------------------------------------- where it lies

    def listing(self, md5: str, what: str) -> dict[str, str]:
        """MD5 of every file of a pinned folder, by its name there."""
        for place in self._places(md5):
            if place.is_file() and _is(place, md5):
                found = {str(entry["relpath"]): str(entry["md5"]) for entry in json.loads(place.read_bytes())}
                if any(PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts for name in found):
                    raise MovedData("a file of the folder would lie outside it", what, "find out who pinned it")
                return found
        raise self._nowhere(what, md5)

    def copy(self, md5: str, into: Path, what: str) -> Path:
        """One file, verified on the way."""
        into.parent.mkdir(parents=True, exist_ok=True)
        for place in self._places(md5):
            if not place.is_file():
                continue
            shutil.copyfile(place, into)
            if _is(into, md5):
                return into
            into.unlink()
        raise self._nowhere(what, md5)

    def _nowhere(self, what: str, md5: str) -> MovedData:
        damaged = [str(place) for place in self._places(md5) if place.is_file()]
        if damaged:
            return MovedData(f"the stored {what} is damaged: it is not {md5}", damaged[0], f"dvc fetch -f {what}")
        others = f"; {self._foreign[0]} is not read by Holdfast" if self._foreign else ""
        return MovedData(
            f"neither the cache nor a local remote has {what} ({md5}){others}",
            str(self._root),
            f"dvc fetch {what}, or dvc push it from where it was made",
        )

    def _places(self, md5: str) -> Iterator[Path]:
        for store in self._stores:
            yield store / "files" / "md5" / md5[:2] / md5[2:]
            yield store / md5[:2] / md5[2:]

    @cached_property
    def _stores(self) -> list[Path]:
        """The cache, then the remotes that are folders, the default one first."""
        cache = self._setting("cache", "dir") or "cache"
        return [self._home / Path(cache).expanduser(), *(self._home / url for url in self._remotes if "://" not in url)]

    @cached_property
    def _foreign(self) -> list[str]:
        return [url for url in self._remotes if "://" in url]

    @cached_property
    def _remotes(self) -> list[str]:
        sections = [name for name in self._config.sections() if name.startswith("'remote ")]
        default = f"'remote \"{self._setting('core', 'remote')}\"'"
        urls = [self._config.get(name, "url", fallback="") for name in sorted(sections, key=lambda n: n != default)]
        return [str(Path(url.removeprefix("file://")).expanduser()) if _is_local(url) else url for url in urls if url]

    def _setting(self, section: str, name: str) -> str:
        return self._config.get(section, name, fallback="")

    @cached_property
    def _config(self) -> configparser.ConfigParser:
        config = configparser.ConfigParser(interpolation=None)
        config.read([self._home / "config", self._home / "config.local"], encoding="utf-8")
        return config

    @cached_property
    def _home(self) -> Path:
        return self._root / HOME


def _around(path: Path) -> _Project | None:
    """The DVC project that the path lies in."""
    root = next((folder for folder in path.parents if (folder / HOME).is_dir()), None)
    return _Project(root) if root else None


def _is_local(url: str) -> bool:
    return "://" not in url or url.startswith("file://")


def _yaml(path: Path) -> dict[str, Any]:
    """A file of DVC; nothing where there is none."""
    try:
        said = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeError, yaml.YAMLError) as bad:
        reason = str(bad).splitlines()[0]
        raise MovedData(f"{path.name} cannot be read: {reason}", str(path), "git checkout it, or dvc repro") from None
    return said if isinstance(said, dict) else {}


def _stages(lock: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    said = _yaml(lock)
    yield from ((said.get("stages") if "schema" in said else said) or {}).items()


def _place(lock: Path, stage: str) -> Path:
    """The folder that a step's paths start from: where `dvc.yaml` lies, or its `wdir`."""
    spec = (_yaml(lock.with_name("dvc.yaml")).get("stages") or {}).get(stage.partition("@")[0]) or {}
    return lock.parent / str((spec.get("do") or spec).get("wdir") or ".")


def _at(folder: Path, entry: dict[str, Any]) -> Path:
    """Where an entry lies; without looking, since it need not be there."""
    return Path(os.path.normpath(folder / str(entry["path"])))


def _is(path: Path, md5: str) -> bool:
    """Whether the file has this hash, as it is or, as DVC before 3 hashed text, with Unix line ends."""
    wanted = md5.removesuffix(FOLDER)
    with path.open("rb") as file:
        if hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest() == wanted:
            return True
    plain = path.read_bytes().replace(b"\r\n", b"\n")
    return hashlib.md5(plain, usedforsecurity=False).hexdigest() == wanted
