"""The command `lab`: how it starts and how it ends."""

import atexit
import gc
import os
import sys

from labrun.cli import completion
from labrun.errors import LabError
from labrun.system import streams


def main() -> None:
    """Run `lab`; a LabError is one line on stderr and exit code 2. No trouble of the terminal, the
    pipe or the disk behind the output ends it."""
    streams.keep()
    gc.disable()  # what starting makes stays: looking for garbage in it takes a quarter of the time
    atexit.register(gc.freeze)  # and nothing is to be taken apart when it ends
    try:
        _obey()
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


def _obey() -> None:
    is_completion = completion.LINE in os.environ
    if sys.argv[1:] == ["plugins"] and not is_completion:  # what parses words takes longer than it
        from labrun.cli import installed

        installed.show()
        sys.exit()
    import typer

    from labrun.cli.app import app

    if is_completion:
        completion.answer(typer.main.get_command(app))
    else:
        app()


if __name__ == "__main__":
    main()
