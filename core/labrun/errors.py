"""What the user did wrong, in one line: what, got, allowed, nearest, next step."""

import difflib
from collections.abc import Iterable, Iterator

EXIT_DONE = 0
EXIT_CONFIG = 2
EXIT_DIVERGED = 70
EXIT_DISK = 74
"""Exit code of a worker whose ending could not be written."""
EXIT_PREEMPTED = 75
EXIT_HANG = 124
MOST_NAMES = 10
"""Names that one message lists."""
LONGEST_NAME = 300
"""Characters of a name that are looked at for its neighbours: more take minutes."""


class LabError(Exception):
    """A mistake the user can mend; the command line prints it in one line and exits 2."""

    exit_code = EXIT_CONFIG


class DivergedError(Exception):
    """The loss became NaN or infinite: the run ends, its last good checkpoint stays."""


class PreemptedError(Exception):
    """The run was asked to stop, wrote its checkpoint and may go on later."""


def text_of(error: BaseException) -> str:
    """What the exception says; where its own words cannot be had, that.

    >>> text_of(OSError("a\\nb"))
    'a\\nb'
    """
    try:
        return str(error)
    except Exception as fault:
        return f"its text cannot be had: {type(fault).__name__}"


def causes_of(error: BaseException) -> Iterator[BaseException]:
    """The exception, those of its group, and those from which it was raised."""
    waiting, seen = [error], set()
    while waiting:
        one = waiting.pop(0)
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        waiting += one.exceptions if isinstance(one, BaseExceptionGroup) else ()
        waiting += [one.__cause__] if one.__cause__ else ()


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


def unknown(
    what: str, got: str, allowed: Iterable[str], *, of: str = "", most: int = MOST_NAMES
) -> LabError:
    """The error for a name outside a closed set: its nearest neighbour, then at most `most` names.

    `of` says whose names they are: `plugin 'rlrt'`.

    >>> str(unknown("plugin", "rlr", ["rlrt", "stairs"]))
    "no plugin 'rlr'; did you mean 'rlrt'? installed: rlrt, stairs"
    """
    names = sorted(allowed)
    near = nearest(got, names)
    hint = f"did you mean {near!r}? " if near else ""
    label = "installed" if what == "plugin" else "allowed"
    whose = f" of {of}" if of else ""
    some = listed(names, near=got, most=most)
    return LabError(f"no {what} '{shown(got)}'{whose}; {hint}{label}: {some}")


def nearest(got: str, names: Iterable[str], *, cutoff: float = 0.6) -> str:
    """The name that is most like `got`; empty where none is like it.

    >>> nearest("Trainr", ["trainer", "dataset"])
    'trainer'
    """
    by_small = {name.lower(): name for name in sorted(names, reverse=True)}
    small = got[:LONGEST_NAME].lower()
    near = difflib.get_close_matches(small, by_small, n=1, cutoff=cutoff)
    return by_small[near[0]] if near else ""


def listed(names: Iterable[str], *, near: str = "", most: int = MOST_NAMES) -> str:
    """The names in one line; where there are more than `most`, those that are most like `near`.

    >>> listed(["b", "a", "long"], near="lon", most=1)
    'long (1 of 3)'
    """
    ordered = [*names]
    if len(ordered) <= most:
        return ", ".join(ordered) or "none"
    chosen = sorted(ordered, key=lambda name: (_unlikeness(name, near), name))[:most]
    return f"{', '.join(chosen)} ({most} of {len(ordered)})"


def _unlikeness(name: str, near: str) -> float:
    """0 for equal names, 1 for names without a common letter; a dotted name counts by its end."""
    ends, near = [name, name.rsplit(".", 1)[-1]], near[:LONGEST_NAME]
    return 1 - max(difflib.SequenceMatcher(a=near, b=end).ratio() for end in ends)
