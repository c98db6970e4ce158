"""The subcommands of `lab`.

Heavy imports stand inside the commands that need them.
"""

import sys
from typing import Annotated

import typer

from labrun.cli import bench, packages, results, running, runs
from labrun.errors import LabError, shown

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="One lab for training methods: run, compare and add them as plugins.",
)
runs_app = typer.Typer(
    invoke_without_command=True,
    rich_markup_mode=None,
    help="List the runs, show one, and look after them.",
)
SIGNED = {"ignore_unknown_options": True, "help_option_names": ["--help"]}
"""Of a command whose words may begin with a dash: it has no short option."""
data_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Data of the runs: made before them, looked at, converted, recorded.",
)


def _install(asked: bool) -> None:
    """Install completion for the user's shell, and end.

    Raises LabError for a word beside the option, such as the name of a shell.
    """
    if not asked:
        return
    from pathlib import Path

    from labrun.cli import shells

    if words := [word for word in sys.argv[1:] if word != "--install-completion"]:
        text = f"--install-completion takes no word, got '{shown(words[0])}'; it is for the shell"
        raise LabError(f"{text} that SHELL names: SHELL=zsh lab --install-completion")
    script, start = shells.install(shells.shell_of_user(), user=Path.home())
    print(f"{start} reads {script}: open a new shell, then `lab run plugin=` and TAB")
    raise typer.Exit


def _print_version(asked: bool) -> None:
    """Print the version of the installed distribution, and end."""
    if not asked:
        return
    from importlib.metadata import version

    print(f"lab {version('labrun')}")
    raise typer.Exit


@app.callback()
def lab(
    version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_print_version, help="Print the version, and end."
        ),
    ] = False,
    install_completion: Annotated[
        bool,
        typer.Option(
            "--install-completion",
            is_eager=True,
            callback=_install,
            help="Let TAB complete commands, keys, values and runs in bash or zsh ($SHELL).",
        ),
    ] = False,
) -> None:
    """One lab for training methods: run, compare and add them as plugins."""


app.command()(running.run)
app.command()(running.resume)
app.command()(packages.plugins)
app.command()(packages.new)
app.command()(running.status)
app.command()(running.logs)
app.command()(running.cancel)
app.command()(results.compare)
app.command()(bench.bench)
app.command()(results.report)
app.command()(results.ui)
app.command()(packages.doctor)
app.command()(results.reindex)
app.add_typer(runs_app, name="runs")
runs_app.callback()(runs.runs_default)
runs_app.command("list")(runs.runs_list)
runs_app.command("show")(runs.runs_show)
runs_app.command("tag", context_settings=SIGNED)(runs.runs_tag)
runs_app.command("note", context_settings=SIGNED)(runs.runs_note)
runs_app.command("rename")(runs.runs_rename)
runs_app.command("archive")(runs.runs_archive)
runs_app.command("delete")(runs.runs_delete)
runs_app.command("export")(runs.runs_export)
runs_app.command("diff")(runs.runs_diff)
runs_app.command("register")(runs.runs_register)
app.add_typer(data_app, name="data")
data_app.command("make")(running.data_make)
data_app.command("show")(running.data_show)
data_app.command("convert")(running.data_convert)
data_app.command("record")(running.data_record)
