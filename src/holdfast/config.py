"""Settings: frozen, documented field by field, with units, and defaults that work offline on a laptop.

A value comes from the command line, else from the environment (`HOLDFAST_SERVE_PORT` is `[serve] port`), else from
`holdfast.toml` in the workspace folder, else from the default written here. Unknown keys are refused by name, so a
spelling mistake never turns into a silent default.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from holdfast.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "Build",
    "Deployment",
    "Log",
    "Monitor",
    "Python",
    "Registry",
    "Serve",
    "Settings",
    "Trust",
    "load",
    "processors",
]

FILE = "holdfast.toml"
CPU_MAX = Path("/sys/fs/cgroup/cpu.max")
"""Quota and period of the container, cgroup v2."""


class Registry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where models come from."""

    uri: str = ""
    """MLflow tracking URI; empty: SQLite store and folder inside the workspace."""
    interval_s: float = 60.0
    """Seconds between looks at the aliases that deployments follow."""


class Build(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a build refuses."""

    dirty: Literal["refuse", "allow"] = "refuse"
    """Whether a release may be built while files differ from the git commit; nobody can build it again then."""


class Trust(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whose releases are opened; the keys themselves: `holdfast trust`."""

    signatures: Annotated[int, msgspec.Meta(ge=1)] = 1
    """So many trusted keys must have signed a release before anything here opens it."""
    recheck_s: float = 3600.0
    """Seconds after which a running server looks again whether the deployed releases are whole and their keys count; 0: never."""


class Serve(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The inference and the control port."""

    host: str = "127.0.0.1"
    """Address of the inference port. Anything but loopback is refused unless `keys` is "required"; the control port then
    stays on 127.0.0.1."""
    port: int = 8080
    """Inference port (Open Inference Protocol, rows, labels, health, metrics); 0: any free one."""
    control_port: int = 8081
    """Control port (control API, console, docs); 0: any free one."""
    grpc_port: int = -1
    """gRPC port (Open Inference Protocol, health); 0: any free one; -1: none. Needs the extra `grpc`."""
    workers: int = 1
    """Serving processes."""
    model_threads: int = 0
    """Threads for one run of a large model (1 MiB and more); 0: this machine's processors, shared among the workers."""
    model_memory_mb: float = 0.0
    """MiB that open models of one serving process may take: they are loaded on first use, and the longest unused ones go.
    0: all stay loaded, so that no request ever waits for its model; set it for hundreds of deployments."""
    max_body_mb: float = 16.0
    """Largest request body in MiB; more is answered 413."""
    max_rows: int = 10_000
    """Most rows in one request; more is answered 413."""
    idle_timeout_s: float = 75.0
    """A kept-alive connection without a request is closed after this many seconds."""
    request_timeout_s: float = 15.0
    """A request that is not complete after this many seconds is dropped."""
    keys: Literal["off", "required"] = "off"
    """Whether the inference port asks for API keys (`holdfast keys create`). Health never needs one."""
    hosts: tuple[str, ...] = ()
    """Host names under which the inference port answers, besides loopback's; empty: on loopback only its own, else any."""
    tls_cert: str = ""
    """Certificate chain (PEM) of the inference port; empty: plain HTTP. Read again when the file changes."""
    tls_key: str = ""
    """Private key (PEM) of the certificate; empty: it is in the same file."""
    max_connections: int = 4096
    """Clients of one serving process; at this many, one that asks nothing makes room, else the next is answered 503."""
    queue_ms: float = 250.0
    """A request that would wait longer than this for its turn (or than 8 times what its model takes) is answered 503."""
    join_rows: int = 16
    """Most rows that one run of a slow model answers for requests that wait at the same time, where that was found to pay and to
    give the same answers to the last bit; 0: each request has a run of its own."""
    access_log: str = ""
    """File for one JSON line per request of the inference and the gRPC port, relative to the workspace; `-`: standard
    output; empty: none."""
    access_log_share: float = 1.0
    """Share of the requests that are written there; those answered with an error always are."""
    deadline_ms: float = 0.0
    """Requests that cannot be answered within this time are turned away (503, 504); 0: none, unless the header
    `X-Holdfast-Deadline-Ms` says so."""


class Python(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Python releases: models that run in a process of their own."""

    memory_mb: Annotated[int, msgspec.Meta(ge=256)] = 4096
    """Address space of one model's process in MiB."""
    timeout_s: Annotated[float, msgspec.Meta(gt=0.0)] = 10.0
    """An answer must be there after so long; else the process is ended and started again."""
    start_timeout_s: Annotated[float, msgspec.Meta(gt=0.0)] = 60.0
    """The model must be open after so long."""
    threads: Annotated[int, msgspec.Meta(ge=1)] = 1
    """Threads that its numerical libraries use."""
    sandbox: Literal["required", "off"] = "required"
    """off: the process has limits but no walls, for kernels that give none; every deploy of such a release records it."""


class Log(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The prediction log."""

    retention_days: int = 0
    """Days of predictions kept, by event time; 0 keeps everything."""
    segment_mb: float = 32.0
    """A write-ahead segment is closed and turned into Parquet at this size in MiB."""
    sample: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)] = 1.0
    """Share of the requests that are logged in full, for very high volume; of the others only the counts are kept."""
    durability: Literal["process", "machine"] = "process"
    """What an acknowledged prediction survives: a killed process, or also a power cut (fdatasync, in groups)."""
    when_full: Literal["refuse", "serve"] = "refuse"
    """Disk full: answer 503, or answer without logging; what was not logged is counted in `status` and `/metrics`."""


class Monitor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When to alarm."""

    false_alarms_per_year: float = 1.0
    """Budget of one deployment over all its monitors and endless time: at most this many a year on average."""
    interval_s: float = 2.0
    """Seconds between looks at new windows."""
    lateness_share: float = 0.04
    """A time window stays open for late rows for this share of its length."""
    webhook: str = ""
    """URL that gets every alarm as JSON (POST); empty: stderr only."""


class Deployment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a deployment needs to be retrained, and how far it may go by itself."""

    train: str = ""
    """`file.py:function`, called as function(data: pandas.DataFrame, weights) -> fitted model."""
    data: str = ""
    """Original training data (Parquet or CSV), joined with the labelled log."""
    follow: str = ""
    """Alias in the model registry, such as "champion": when it moves, the running server builds the version that it names now
    and proposes it. Empty: aliases are ignored."""
    canary_share: float = 0.1
    """Share of keys that a canary answers."""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All settings of a workspace."""

    registry: Registry = Registry()
    build: Build = Build()
    trust: Trust = Trust()
    serve: Serve = Serve()
    python: Python = Python()
    log: Log = Log()
    monitor: Monitor = Monitor()
    deployments: dict[str, Deployment] = {}

    def deployment(self, name: str) -> Deployment:
        """Settings of one deployment, defaults where the file says nothing."""
        return self.deployments.get(name, Deployment())


def load(
    folder: Path, overrides: Mapping[str, Any] | None = None, environ: Mapping[str, str] | None = None
) -> Settings:
    """Settings of the workspace in `folder`.

    `overrides` are the command line's, as dotted names (`{"serve.port": 0}`); None values are ignored.
    Raises UsageError naming file and key for anything unknown or of a wrong type.
    """
    path = folder / FILE
    raw: dict[str, Any] = {}
    if path.exists():
        import tomllib

        try:
            raw = tomllib.loads(path.read_text(encoding="utf-8"))
        except tomllib.TOMLDecodeError as bad:
            raise UsageError(f"{FILE} is not valid TOML: {bad}", str(path), "mend the line named above") from None
    for name, value in _from_environment(os.environ if environ is None else environ).items():
        _put(raw, name, value)
    for name, value in (overrides or {}).items():
        if value is not None:
            _put(raw, name, value)
    try:
        return msgspec.convert(raw, Settings, strict=False)
    except msgspec.ValidationError as bad:
        raise UsageError(f"wrong setting: {bad}", str(path), "see docs/reference/configuration.md") from None


def processors() -> int:
    """How many this process may use: by its affinity, and by the quota of its container."""
    try:
        count = len(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        count = os.cpu_count() or 1
    try:
        quota, period = CPU_MAX.read_text(encoding="ascii").split()
        return max(min(count, int(quota) // int(period)), 1)
    except (OSError, ValueError):  # no such file, or no quota ("max")
        return count


def _from_environment(environ: Mapping[str, str]) -> dict[str, str]:
    known = {
        f"HOLDFAST_{section.name}_{field.name}".upper(): f"{section.name}.{field.name}"
        for section in msgspec.structs.fields(Settings)
        if section.name != "deployments"
        for field in msgspec.structs.fields(section.type)
    }
    return {known[name]: value for name, value in environ.items() if name in known}


def _put(raw: dict[str, Any], dotted: str, value: object) -> None:
    section, _, key = dotted.partition(".")
    raw.setdefault(section, {})[key] = value
