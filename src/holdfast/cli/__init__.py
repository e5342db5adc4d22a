"""The command line: verbs in the order of a model's life, each a thin door to the same functions as HTTP and Python.

stdout is data, stderr is messages; every verb takes `--json`; an error is `error[CODE]: what, where` and a `next:` line. Exit:
0 good, 1 failed, 2 wrong usage, 3 a gate or alarm says no, 130 Ctrl-C. Commands are loaded when called, so `--help` is instant.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING

import click

from holdfast.errors import HoldfastError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["COMMANDS", "cli", "main"]

COMMANDS: dict[str, tuple[str, str, str]] = {
    # verb: (section, module, one line)
    "init": ("Start", "start", "Make this folder a workspace."),
    "demo": ("Start", "start", "Show the whole story on simulated house sales."),
    "doctor": ("Start", "start", "Check this machine and workspace."),
    "list": ("Release", "releases", "List releases, models and deployments."),
    "build": ("Release", "building", "Build a signed release from a model."),
    "inspect": ("Release", "releases", "Show what is in a release."),
    "verify": ("Release", "releases", "Check every byte and the signature of a release."),
    "diff": ("Release", "releases", "Compare two releases."),
    "variants": ("Release", "variants", "What was measured of a release's variants, and why this one."),
    "capacity": ("Release", "variants", "Replicas, processors and price for a load."),
    "reproduce": ("Release", "lineage", "Build a release again elsewhere and compare."),
    "audit": ("Release", "supply", "Look up known vulnerabilities of what a release was made with."),
    "card": ("Release", "supply", "The model card, with what was found out later."),
    "export": ("Release", "supply", "Write a release to one file."),
    "import": ("Release", "supply", "Take in a release from such a file."),
    "trust": ("Release", "trust", "Whose signatures make a release: keys, limits, rotation."),
    "deploy": ("Serve", "rollout", "Make a release answer under a name."),
    "rollout": ("Serve", "rollout", "Start a canary: a share of the traffic."),
    "approve": ("Serve", "proposals", "Say that a release may go live."),
    "promote": ("Serve", "rollout", "Make the canary live."),
    "rollback": ("Serve", "rollout", "Return to the previous release at once."),
    "undeploy": ("Serve", "rollout", "Stop answering under a name."),
    "history": ("Serve", "rollout", "What was live when."),
    "follow": ("Serve", "proposals", "Build and propose what a followed alias names now."),
    "serve": ("Serve", "serving", "Run the server: inference, log, monitors, console."),
    "keys": ("Serve", "access", "Make, list and revoke API keys."),
    "console": ("Serve", "serving", "Run only the console and control API."),
    "score": ("Serve", "traffic", "Score a file through a deployment."),
    "predictions": ("Hold", "predictions", "Find answered rows again."),
    "label": ("Hold", "traffic", "Send the truth for earlier predictions."),
    "monitor": ("Hold", "watching", "Run the monitors."),
    "alarms": ("Hold", "watching", "List alarms, or explain or accept one."),
    "status": ("Hold", "watching", "What is where since when, and is anything wrong?"),
    "retrain": ("Hold", "retraining", "Train a candidate and compare it with the live release."),
}


class _Verbs(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"holdfast.cli.{COMMANDS[cmd_name][1]}")
        command: click.Command = getattr(module, f"{cmd_name}_" if cmd_name in {"list", "import"} else cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for verb, (section, _, line) in COMMANDS.items():
            sections.setdefault(section, []).append((verb, line))
        for section, rows in sections.items():
            with formatter.section(section):
                formatter.write_dl(rows)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as bad:
            import difflib

            close = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f" Did you mean '{close[0]}'?" if close else ""
            raise click.UsageError(bad.format_message() + hint, ctx) from None


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option(
    "--workspace", "-w", metavar="DIR", help="Workspace folder (default: here or above).", envvar="HOLDFAST_WORKSPACE"
)
@click.option("--debug", is_flag=True, help="Show stack traces.")
@click.version_option(package_name="holdfast", prog_name="holdfast")
@click.pass_context
def cli(ctx: click.Context, workspace: str | None, debug: bool) -> None:  # noqa: FBT001 - click's way
    """Take a trained model into production and hold it there.

    registry > build > release > serve > log > monitor > decide > retrain, and round again.
    """
    ctx.obj = {"workspace": workspace, "debug": debug}


def main(args: Sequence[str] | None = None) -> None:
    """Entry point: runs a command and turns what it raises into an exit code."""
    argv = list(sys.argv[1:] if args is None else args)
    try:
        ended = cli.main(argv, prog_name="holdfast", standalone_mode=False)
        code = ended if isinstance(ended, int) else 0  # what a verb gave to ctx.exit()
    except HoldfastError as bad:
        if "--debug" in argv:
            raise
        _tell(bad, as_json="--json" in argv)
        code = bad.exit_code
    except click.ClickException as bad:
        context = getattr(bad, "ctx", None)
        path = context.command_path if context else "holdfast"
        _tell(UsageError(bad.format_message(), next_step=f"{path} --help"), as_json="--json" in argv)
        code = 2
    except (click.Abort, KeyboardInterrupt):
        sys.stderr.write("stopped\n")
        code = 130
    except BrokenPipeError:
        code = 0
    except Exception as bug:
        if "--debug" in argv:
            raise
        _tell(
            HoldfastError(
                f"this should not happen: {type(bug).__name__}: {bug}",
                next_step="holdfast --debug ... shows where; please report it",
            ),
            as_json="--json" in argv,
        )
        code = 1
    sys.exit(code)


def _tell(bad: HoldfastError, *, as_json: bool) -> None:
    if as_json:
        import json

        sys.stdout.write(json.dumps({"error": bad.as_dict()}) + "\n")
    sys.stderr.write(f"error[{bad.code}]: {bad}\n")
    if bad.next_step:
        sys.stderr.write(f"  next: {bad.next_step}\n")
