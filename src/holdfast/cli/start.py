"""init, demo, doctor: the first minutes."""

from __future__ import annotations

import socket
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from holdfast.cli.terminal import as_json, note, show, table, when
from holdfast.core.names import short
from holdfast.errors import HoldfastError
from holdfast.sandbox import inside, landlock
from holdfast.status.sources import server
from holdfast.workspace import Workspace, create_workspace, find_workspace, open_workspace

__all__ = ["demo", "doctor", "init"]

NOTICE_US = 30 * 86_400_000_000
"""So long before a trusted key ends it is told."""


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default=".")
@as_json
@click.pass_context
def init(ctx: click.Context, folder: Path, as_json: bool) -> None:  # noqa: FBT001
    """Make FOLDER (default: here) a workspace; a second time changes nothing."""
    named = ctx.obj.get("workspace")
    workspace = create_workspace(Path(named) if named else folder)
    if as_json:
        show({"workspace": str(workspace.folder)})
        return
    note(f"workspace: {workspace.folder}")
    note("  next: holdfast build MODEL --reference FILE --label COLUMN --name NAME")


@click.command()
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the simulated world.")
@click.option(
    "--world",
    type=click.Choice(["changing", "quiet"]),
    default="changing",
    show_default=True,
    help="What happens in it.",
)
@click.option(
    "--story",
    type=click.Choice(["houses", "digits", "fremont"]),
    default="houses",
    show_default=True,
    help="Which story.",
)
@click.option("--data", type=click.Path(path_type=Path, dir_okay=False), help="Data file of the story fremont.")
@as_json
@click.pass_context
def demo(ctx: click.Context, seed: int, world: str, story: str, data: Path | None, as_json: bool) -> None:  # noqa: FBT001
    """A model goes to production and is held there, on simulated house sales whose truth is known."""
    from holdfast.demo.show import run

    named = ctx.obj.get("workspace")
    ctx.exit(run(Path(named or "holdfast-demo"), seed=seed, world=world, story=story, data=data, as_json=as_json))


@click.command()
@as_json
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:  # noqa: FBT001
    """Check Python, extras, workspace and ports; exit 1 if something needed is missing."""
    checks = _checks(ctx.obj.get("workspace"))
    if as_json:
        show({"checks": checks})
    else:
        marks = {"ok": "ok", "missing": "missing", "bad": "BAD"}
        table(("check", "state", "what"), [(c["check"], marks[c["state"]], c["what"]) for c in checks])
    ctx.exit(1 if any(c["state"] == "bad" for c in checks) else 0)


def _checks(named: str | None) -> list[dict[str, Any]]:
    version = ".".join(map(str, sys.version_info[:3]))
    found = [_check("Python", sys.version_info >= (3, 11), version, "3.11 or newer is needed")]
    for extra, module in (("build", "mlflow"), ("build", "skl2onnx"), ("demo", "sklearn")):
        there = find_spec(module) is not None
        what = "installed" if there else f"pip install 'holdfast[{extra}]'"
        found.append({"check": f"extra {extra}: {module}", "state": "ok" if there else "missing", "what": what})
    lacking = inside.missing()
    what = lacking or f"Landlock {landlock.version()} and system call filters"
    found.append({"check": "sandbox", "state": "missing" if lacking else "ok", "what": what})
    try:
        folder = Path(named) if named else find_workspace()
        if folder is None:
            found.append({"check": "workspace", "state": "missing", "what": "holdfast init"})
            return found
        workspace = open_workspace(folder)
        found.append(_check("workspace", good=True, what=str(workspace.folder), otherwise=""))
        key = workspace.keys / "signing.pem"
        safe = not key.exists() or key.stat().st_mode & 0o077 == 0
        found.append(_check("signing key", safe, "readable by you only", f"chmod 600 {key}"))
        found += _trusted(workspace)
        found += _ports(workspace)
    except HoldfastError as bad:
        found.append(_check("workspace", good=False, what="", otherwise=str(bad)))
    return found


def _trusted(workspace: Workspace) -> list[dict[str, Any]]:
    """The keys that count today, and whether they will in a month."""
    keys, found = workspace.trusted, []
    for key in keys.values():
        if key.standing(keys.now()) == "good":
            ends = "no end" if key.expires is None else f"until {when(key.expires)} UTC"
            otherwise = f"ends {when(key.expires)} UTC: holdfast trust rotate where it is from, then add the new one"
            good = key.standing(keys.now() + NOTICE_US) == "good"
            found.append(_check(f"trusted key {key.name or short(key.id)}", good, ends, otherwise))
    return found


def _ports(workspace: Workspace) -> list[dict[str, Any]]:
    """The ports that `holdfast serve` will want, or the server that has them."""
    serving = server(workspace.run)
    if serving.running:
        return [_check("server", good=True, what=f"serving at {serving.inference}", otherwise="")]
    wanted = workspace.settings.serve
    ports = {"inference port": wanted.port, "control port": wanted.control_port}
    if wanted.grpc_port >= 0:
        ports["gRPC port"] = wanted.grpc_port
    return [
        _check(name, _free(wanted.host, port), f"{port} is free", f"{port} is in use") for name, port in ports.items()
    ]


def _check(name: str, good: bool, what: str, otherwise: str) -> dict[str, Any]:  # noqa: FBT001
    return {"check": name, "state": "ok" if good else "bad", "what": what if good else otherwise}


def _free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True
