"""The commands about plugins and the machine: plugins, new, doctor."""

import sys
from typing import Annotated

import typer

from labrun.cli.options import console
from labrun.errors import EXIT_CONFIG


def plugins(
    name: Annotated[str | None, typer.Argument(help="Show this plugin's methods and keys.")] = None,
    key: Annotated[str, typer.Argument(help="Show only the keys that hold this text.")] = "",
    check: Annotated[
        bool, typer.Option("--check", help="Check it against the contract; exit code 2 at a fault.")
    ] = False,
    grep: Annotated[str, typer.Option(help="The same as KEY.")] = "",
) -> None:
    """List the installed plugins, or show one with all its keys."""
    if check:
        _check_plugins(name)
    elif name:
        from labrun.cli.describe import print_plugin

        print_plugin(name, console(), only=key or grep)
    else:
        from labrun.cli import installed

        installed.show()


def _check_plugins(name: str | None) -> None:
    """Print what is wrong in the plugin, or in each, one line a fault; exit code 2 where there is a
    fault."""
    from labrun.config.contract_check import faults, summary
    from labrun.plugins.discovery import installed

    wrong = {name: faults(name) for name in ([name] if name else installed())}
    for name, lines in wrong.items():
        for line in lines:
            print(line if line.startswith("plugin ") else f"{name}: {line}", file=sys.stderr)
        if not lines:
            print(summary(name))
    if any(wrong.values()):
        raise typer.Exit(EXIT_CONFIG)


def new(
    name: Annotated[str, typer.Argument(help="The plugin's name, such as my_method.")],
    kind: Annotated[str, typer.Option(help="What it builds on: grpo, offline or plain.")] = "grpo",
    parent: Annotated[str, typer.Option("--dir", help="Where its folder is made.")] = ".",
) -> None:
    """Write a package with a method of your own: lab new my_method --kind grpo."""
    from pathlib import Path

    from labrun.cli.new import create, next_commands

    folder = create(name, kind, Path(parent))
    print(f"lab: wrote {folder}; go on with")
    for command in next_commands(name, folder):
        print(f"  {command}")


def doctor() -> None:
    """Check this machine: packages, plugins, devices, disk, runs."""
    from labrun.cli.doctor import examine
    from labrun.runs.run_dir import home

    findings = list(examine(home()))
    for finding in findings:
        print(f"{finding.level:<5} {finding.subject:<18} {finding.text}")
    if any(finding.level == "bad" for finding in findings):
        raise typer.Exit(EXIT_CONFIG)
