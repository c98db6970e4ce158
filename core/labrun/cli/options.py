"""Arguments and options that several commands share, and the console that they print on."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

Overrides = Annotated[list[str], typer.Argument(help="key=value; see `lab plugins NAME`.")]
Multirun = Annotated[
    bool, typer.Option("-m", "--multirun", help="Every combination of key=a,b values.")
]
RunNames = Annotated[
    list[str] | None, typer.Argument(help="Run ids, beginnings of ids, or `last`.")
]
Group = Annotated[str | None, typer.Option(help="Every run of this group.")]
Wait = Annotated[
    bool, typer.Option("--wait", help="Follow runs that a cluster or another process runs.")
]
Detach = Annotated[
    bool, typer.Option("--detach", help="End now; a process of its own runs them here.")
]
Follow = Annotated[bool, typer.Option("-f", "--follow", help="Go on until all have ended.")]


def console(*, stderr: bool = False) -> "Console":
    """The console of the command's output, or of its standard error, plain text on it."""
    from rich.console import Console

    return Console(highlight=False, markup=False, stderr=stderr)
