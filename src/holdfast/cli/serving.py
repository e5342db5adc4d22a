"""serve, console: run the server, or only its control side."""

from __future__ import annotations

from collections.abc import Mapping

import click

from holdfast.cli.terminal import as_json, note, open_from, show

__all__ = ["console", "serve"]


@click.command()
@click.option("--host", help="Address to listen on (default: 127.0.0.1).")
@click.option("--port", type=int, help="Inference port; 0: any free one (default: 8080).")
@click.option("--control-port", type=int, help="Control port: console and control API (default: 8081).")
@click.option("--grpc-port", type=int, help="gRPC port; 0: any free one (default: none).")
@click.option("--workers", type=int, help="Serving processes (default: 1).")
@click.option("--replay", is_flag=True, help="The clock is the largest event time seen: a year can pass in a minute.")
@as_json
@click.pass_context
def serve(
    ctx: click.Context,
    host: str | None,
    port: int | None,
    control_port: int | None,
    grpc_port: int | None,
    workers: int | None,
    replay: bool,  # noqa: FBT001
    as_json: bool,  # noqa: FBT001
) -> None:
    """Answer predictions, log them, watch them; until Ctrl-C."""
    from holdfast.server.supervisor import serve as run

    workspace = open_from(
        ctx,
        serve__host=host,
        serve__port=port,
        serve__control_port=control_port,
        serve__grpc_port=grpc_port,
        serve__workers=workers,
    )

    with workspace.database.begin() as stores:
        deployed = {release for d in stores.deployments.all() for release in (d.live, d.canary) if release}
    for release in deployed:
        workspace.release_of(release)  # a tampered one is told here, once, and not by every process again and again

    def ready(addresses: Mapping[str, str]) -> None:
        if as_json:
            show(dict(addresses))
            return
        control = addresses["control"]
        note(f"inference  {addresses['inference']}/v2")
        if "grpc" in addresses:
            note(f"gRPC       {addresses['grpc']}")
        note(f"console    {control}/")
        with workspace.database.begin() as stores:
            names = [d.name for d in stores.deployments.all()]
        for name in names:
            note(f"           {control}/deployments/{name}")
        if not names:
            note("nothing is deployed yet\n  next: holdfast deploy RELEASE --as NAME")

    run(workspace, replay=replay, ready=ready)


@click.command()
@click.option("--control-port", type=int, help="Port (default: 8081; 0: any free one).")
@click.pass_context
def console(ctx: click.Context, control_port: int | None) -> None:
    """Serve only the console and the control API, without answering predictions; until Ctrl-C."""
    from holdfast.server.keeper import run_alone

    workspace = open_from(ctx, serve__control_port=control_port)
    run_alone(workspace, ready=lambda control: note(f"console    {control}/"))
