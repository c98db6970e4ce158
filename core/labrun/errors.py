"""What the user did wrong, in one line: what, got, allowed, nearest, next step."""

import difflib
from collections.abc import Iterable

EXIT_DONE = 0
EXIT_CONFIG = 2
EXIT_DIVERGED = 70
EXIT_DISK = 74
"""Exit code of a worker whose ending could not be written."""
EXIT_PREEMPTED = 75
EXIT_HANG = 124


class LabError(Exception):
    """A mistake the user can mend; the command line prints it in one line and exits 2."""

    exit_code = EXIT_CONFIG


class DivergedError(Exception):
    """The loss became NaN or infinite: the run ends, its last good checkpoint stays."""


class PreemptedError(Exception):
    """The run was asked to stop, wrote its checkpoint and may go on later."""


def shown(text: str, limit: int = 200) -> str:
    r"""The text for a message: in one line, control characters escaped, its middle left out where
    it is longer than `limit`.

    >>> shown("a\n" + "b" * 10, limit=8)
    'a\\nbb...bbbb (12 characters)'
    """
    if len(text) > limit:
        half = limit // 2
        return f"{shown(text[:half])}...{shown(text[-half:])} ({len(text)} characters)"
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def unknown(what: str, got: str, allowed: Iterable[str]) -> LabError:
    """The error for a name outside a closed set, with its nearest neighbour.

    >>> str(unknown("plugin", "rlr", ["rlrt", "stairs"]))
    "no plugin 'rlr'; did you mean 'rlrt'? installed: rlrt, stairs"
    """
    names = sorted(allowed)
    near = difflib.get_close_matches(got, names, n=1, cutoff=0.6)
    hint = f"did you mean {near[0]!r}? " if near else ""
    label = "installed" if what == "plugin" else "allowed"
    return LabError(f"no {what} '{shown(got)}'; {hint}{label}: {', '.join(names) or 'none'}")
