"""The command `lab`: its subcommands and how it ends.

Heavy imports stand inside the commands that need them.
"""

import gc
import sys

import typer

from labrun.cli import packages, results, running
from labrun.errors import LabError
from labrun.system import streams

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="One lab for training methods: run, compare and add them as plugins.",
)
runs_app = typer.Typer(
    invoke_without_command=True, rich_markup_mode=None, help="List the runs, or show one."
)
data_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Data that are made before the runs."
)

app.command()(running.run)
app.command()(running.resume)
app.command()(packages.plugins)
app.command()(packages.new)
app.command()(running.status)
app.command()(running.logs)
app.command()(running.cancel)
app.command()(results.compare)
app.command()(results.ui)
app.command()(packages.doctor)
app.command()(results.reindex)
app.add_typer(runs_app, name="runs")
runs_app.callback()(results.runs_default)
runs_app.command("list")(results.runs_list)
runs_app.command("show")(results.runs_show)
runs_app.command("register")(results.runs_register)
app.add_typer(data_app, name="data")
data_app.command("make")(running.data_make)


def main() -> None:
    """Run `lab`; a LabError is one line on stderr and exit code 2. No trouble of the terminal, the
    pipe or the disk behind the output ends it."""
    streams.keep()
    gc.disable()  # what starting makes stays: looking for garbage in it takes a quarter of the time
    try:
        app()
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
