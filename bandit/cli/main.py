"""`banditd`: finds the verb and runs its module.

A verb is a module of this room. One with `command`, a function that typer understands, is a command; one with
`app`, a typer.Typer, is a group of them. Only the module of the verb that was given is imported, so that
`banditd serve` starts without what the others need; help for all of them imports all. A verb module in turn
imports what is heavy inside its function.

Every command has --json (one JSON object on stdout, nothing else) and exits with 0, 1 for a failed check or a
failure, 2 for bad usage. What went wrong is one line on stderr.
"""

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated

import typer

from bandit import __version__
from bandit.cli import usage

VERBS = (
    "serve",
    "learn",
    "demo",
    "replay",
    "evaluate",
    "sweep",
    "report",
    "verify",
    "check",
    "log",
    "experiment",
)
"""The modules of this room that are commands, in the order in which help lists them."""


def main() -> None:
    """Runs the command line of this process; ends it with the command's exit code."""
    if option := usage.without_path(sys.argv[1:]):
        print(f"banditd: {option} is empty; give a path (is a variable unset?)", file=sys.stderr)
        sys.exit(2)
    try:
        sys.exit(app_for(sys.argv[1:])(prog_name="banditd", standalone_mode=False))
    except OSError as error:
        # No fault of the program's: a traceback would hide what the system said.
        line, code = f"banditd: {usage.told_of_system(error)}", 1
    except Exception as error:
        if not isinstance(error, usage.UsageError):
            raise
        line, code = usage.told(error), 2
    if line:
        print(line, file=sys.stderr)
    sys.exit(code)


def app_for(arguments: Sequence[str]) -> typer.Typer:
    """The command line with the verb that `arguments` name; with all of them if they name none."""
    app = typer.Typer(
        name="banditd",
        no_args_is_help=True,
        add_completion=False,
        # A traceback with local variables would print contexts and subjects.
        pretty_exceptions_enable=False,
    )
    app.callback()(_banditd)
    named = next((argument for argument in arguments if not argument.startswith("-")), "")
    verbs = (named,) if named in VERBS else () if "--version" in arguments else VERBS
    for verb in verbs:
        module = import_module(f"bandit.cli.{verb}")
        if hasattr(module, "app"):
            for command in module.app.registered_commands:
                command.help = usage.unwrapped(command.callback.__doc__)
            app.add_typer(module.app, name=verb)
        else:
            app.command(verb, help=usage.unwrapped(module.command.__doc__))(module.command)
    return app


def _version(wanted: bool) -> None:
    if wanted:
        print(f"banditd {__version__}")
        raise typer.Exit


def _banditd(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """A contextual bandit service: choose over gRPC, log true propensities, learn online."""
