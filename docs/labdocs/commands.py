"""The commands of `lab`, with their arguments and options, as typer knows them."""

from collections.abc import Iterator
from typing import Any

import typer
from labrun.cli.app import app


def page(_: str = "") -> str:
    """Markdown of every command: what it does, how it is called, its arguments and options."""
    return "\n".join(_section(name, command) for name, command in commands())


def commands() -> Iterator[tuple[str, Any]]:
    """(`lab runs show`, the command) of every command that can be called, in the order of help."""
    yield from _below("lab", typer.main.get_command(app))


def _below(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    children = getattr(command, "commands", {})
    if not children or command.invoke_without_command:
        yield name, command
    for child in children.values():
        if not child.hidden:
            yield from _below(f"{name} {child.name}", child)


def parameters(command: Any) -> Iterator[tuple[str, str]]:
    """(`-m, --multirun`, meaning) of each argument and option of the command."""
    context = typer.Context(command)
    for parameter in command.params:
        if parameter.hidden:
            continue
        words, meaning = parameter.get_help_record(context)
        is_argument = parameter.param_type_name == "argument"
        yield (parameter.name if is_argument else words), meaning


def _section(name: str, command: Any) -> str:
    usage = " ".join(command.collect_usage_pieces(typer.Context(command)))
    lines = [f"## {name}", "", command.help or "", "", "```text", f"{name} {usage}", "```", ""]
    for words, meaning in parameters(command):
        lines += [f"`{words}`", f": {meaning}", ""]
    return "\n".join(lines)
