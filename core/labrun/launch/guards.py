"""Trouble outside the jobs ends no job."""

import sys
from collections.abc import Callable

from labrun.errors import text_of


def lasting(what: str, call: Callable[[], None]) -> Callable[[], None]:
    """A call that never raises: the first error is said in one line, and ends `what` alone."""
    failed = False

    def guarded() -> None:
        nonlocal failed
        if failed:
            return
        try:
            call()
        except (Exception, SystemExit) as error:  # rich leaves by exit() where a pipe is closed
            failed = True
            text = text_of(error).strip().partition("\n")[0]
            print(
                f"lab: {what} failed ({type(error).__name__}: {text}); jobs go on", file=sys.stderr
            )

    return guarded
