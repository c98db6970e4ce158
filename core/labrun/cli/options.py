"""Arguments and options that several commands share, and the console that they print on."""

import os
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

PIPED_WIDTH = 200
"""Columns of an output that is no terminal."""

Overrides = Annotated[
    list[str], typer.Argument(help="key=value, or @FILE.yaml; see `lab plugins NAME`.")
]
Multirun = Annotated[
    bool, typer.Option("-m", "--multirun", help="Every combination of key=a,b values.")
]
RunNames = Annotated[
    list[str] | None, typer.Argument(help="Run ids, beginnings of ids, or `last`.")
]
Group = Annotated[str | None, typer.Option(help="Every run of this group.")]
Plugins = Annotated[list[str] | None, typer.Option(help="Runs of this plugin.")]
Methods = Annotated[list[str] | None, typer.Option(help="Runs of this method.")]
Groups = Annotated[list[str] | None, typer.Option(help="Every run of this group.")]
Tags = Annotated[list[str] | None, typer.Option(help="Runs with this tag.")]
Since = Annotated[
    str | None, typer.Option(help="Runs from then on: 2026-11-25, or a span such as 12h, 2d.")
]
Archived = Annotated[bool, typer.Option("--archived", help="Archived runs, too.")]
Interval = Annotated[str, typer.Option(help="auto, seeds, problems, both or bootstrap.")]
Metrics = Annotated[list[str] | None, typer.Option(help="Series or score to draw; repeatable.")]
Smooth = Annotated[int, typer.Option(min=1, help="Logged steps averaged in the curves.")]
Wait = Annotated[
    bool, typer.Option("--wait", help="Follow runs that a cluster or another process runs.")
]
Detach = Annotated[
    bool, typer.Option("--detach", help="End now; a process of its own runs them here.")
]
Follow = Annotated[bool, typer.Option("-f", "--follow", help="Go on until all have ended.")]


def console(*, stderr: bool = False) -> "Console":
    """The console of the command's output, or of its standard error, plain text on it.

    Into a file or a pipe a row of a table of up to 200 columns stays one line, as grep wants it.
    """
    from rich.console import Console

    made = Console(highlight=False, markup=False, stderr=stderr)
    if not made.is_terminal and "COLUMNS" not in os.environ:
        made.width = PIPED_WIDTH
    return made
