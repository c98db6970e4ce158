"""Names of evaluation sets: each becomes a file's name and a part of a metric's name."""

import unicodedata
from collections.abc import Collection, Iterable

from labrun.errors import LabError

MAX_BYTES = 120
"""Of a name in UTF-8; a file system takes 255, and `.jsonl.draft` follows."""
PUNCTUATION = "_-.+="
ALLOWED = f"letters, digits, {' '.join(PUNCTUATION)} and single spaces inside"
DEVICES = {"con", "prn", "aux", "nul"} | {
    f"{port}{n}" for port in ("com", "lpt") for n in range(10)
}
"""No file can have these names on Windows, whatever their ending."""


def check_set_names(names: Iterable[str], *, key: str, taken: Collection[str] = ()) -> None:
    """LabError, naming `key`, for a name that cannot be one part of a path or is `taken`, and for
    two that a file system may take for one."""
    first: dict[str, str] = {}
    for name in names:
        if reason := _refused(name):
            raise LabError(f"{key}: the set's name {name[:60]!r} {reason}; rename the set")
        if name in taken:
            raise LabError(f"{key}: {name!r} names something else here; rename the set")
        other = first.setdefault(_folded(name), name)
        if other != name:
            raise LabError(
                f"{key}: the sets {other!r} and {name!r} would share a file where names are "
                "compared without case; rename one"
            )


def _folded(name: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def _refused(name: str) -> str | None:
    """What is wrong with a name; None where nothing is."""
    if not name:
        return f"is empty; allowed: {ALLOWED}"
    if wrong := next((c for c in name if not _is_allowed(c)), None):
        return f"has {wrong!r} in it; allowed: {ALLOWED}"
    if name != " ".join(name.split()):
        return f"has a space too many; allowed: {ALLOWED}"
    if name[0] == "." or name[-1] == ".":
        return "begins or ends with a dot"
    if name[0] == "-":
        return "begins with a dash, as an option of a command does"
    if _folded(name).split(".")[0].strip() in DEVICES:
        return "is reserved by file systems"
    if (size := len(name.encode())) > MAX_BYTES:
        return f"has {size} bytes, allowed: {MAX_BYTES}"
    return None


def _is_allowed(character: str) -> bool:
    """Marks belong to the letters of many scripts, and to letters written in two parts."""
    kind = unicodedata.category(character)
    return kind[0] == "L" or kind in ("Mn", "Mc", "Nd") or character in PUNCTUATION + " "
