"""The command `lab`: how it starts and how it ends."""

import atexit
import errno
import gc
import os
import sys

from labrun.cli import completion
from labrun.errors import EXIT_CONFIG, LabError
from labrun.system import streams

DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
"""Errors of a disk that takes nothing."""


def main() -> None:
    """Run `lab`; a LabError is one line on stderr and exit code 2, and so is a disk that takes
    nothing. No trouble of the terminal, the pipe or the disk behind the output ends it."""
    streams.keep()
    gc.disable()  # what starting makes stays: looking for garbage in it takes a quarter of the time
    atexit.register(gc.freeze)  # and nothing is to be taken apart when it ends
    try:
        _obey()
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:
        if error.errno not in DISK:
            raise
        where = f": {error.filename}" if error.filename else ""
        then = "mend the disk of LABRUN_HOME, then do it again"
        print(f"lab: {error.strerror}{where}; {then}", file=sys.stderr)
        sys.exit(EXIT_CONFIG)


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
