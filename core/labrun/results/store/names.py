"""Names in the results store: each of ours has one there, and can be read back from it.

MLflow allows letters, digits, spaces and `_-./:`, up to 250 characters, and refuses what would be
another path once it is normalised (`/abs`, `a//b`, `..`, an empty name). A name that it allows
stays as it is. The `@` of `pass@4` or `pass@k` becomes `_at_`. Any other character becomes `_x`,
its code point in hexadecimal digits and `_`, so that `a+b` is `a_x2b_b`; an empty name is `_x_`.
Where a name of its own would read as one of these, its `_` becomes `_x5f_`. A name that is too long
keeps its beginning, and ends with a hash under which the run's tags hold the whole. Names that
differ only in case stay so: the store's database has to tell them apart (docs/operations.md).
"""

import functools
import hashlib
import posixpath
import re
import sys
from collections.abc import Iterable, Mapping

TRAIN, EVAL, TIME = "train/", "eval/", "time/"
"""Beginnings under which MLflow gathers charts: what a step logs, scores, durations."""
LONGEST = 250
"""Characters of a key that MLflow takes."""
LONGEST_VALUE = 500
"""Characters of a parameter or tag that are kept; spec.json has the whole."""
LONGEST_TAG = 4000
NAME_TAG = "labrun.name."
HASH_DIGITS = 32

_ODD = re.compile(
    r"[^\w\-. /:]|\A/|/\Z|/(?=/)|(?:(?<=/)|\A)\.(?=\.?(?:/|\Z))|\A\.(?=\.)", re.DOTALL
)
_COUNT = r"(?=\d|k(?:\Z|/))"
"""What stands behind the `@` of a name such as `pass@4`."""
_TOKEN = re.compile(rf"_at_{_COUNT}|_x([0-9a-f]{{0,6}})_")
_CUT = re.compile(rf"_h([0-9a-f]{{{HASH_DIGITS}}})_\Z")


def series_name(metric: str) -> str:
    """The metric among all points of a run: `train/loss`; `time/step` stays as it is."""
    return metric if metric.startswith(TIME) else TRAIN + metric


def score_name(task: str, metric: str) -> str:
    """The score among all points of a run: `eval/TASK/METRIC`."""
    return f"{EVAL}{task}/{metric}"


@functools.lru_cache(maxsize=8192)
def stored_name(name: str) -> str:
    """The name in the store; no two names have the same one.

    >>> [stored_name(name) for name in ("pass@4", "a+b", "a_b", "a//b", "..", "")]
    ['pass_at_4', 'a_x2b_b', 'a_b', 'a_x2f_/b', '_x2e_.', '_x_']
    """
    spelt = _spelt(name)
    if len(spelt) <= LONGEST:
        return spelt
    ending = f"_h{_hash(name)}_"
    return spelt[: LONGEST - len(ending)] + ending


def name_of(stored: str, tags: Mapping[str, str] | None = None) -> str:
    """The name that `stored_name` gave this one; of one that was cut, as the run's tags hold it.

    >>> name_of("pass_at_4")
    'pass@4'
    """
    if cut := _CUT.search(stored):
        return "".join(part for _, part in _parts_of(cut[1], tags or {}))
    return _TOKEN.sub(_character, stored)


def name_tags(names: Iterable[str]) -> dict[str, str]:
    """The tags that hold whole every name that `stored_name` cuts."""
    tags = {}
    for name in names:
        if _CUT.search(stored_name(name)):
            starts = range(0, len(name), LONGEST_TAG)
            parts = {str(i): name[at : at + LONGEST_TAG] for i, at in enumerate(starts)}
            tags |= {f"{NAME_TAG}{_hash(name)}.{i}": _printable(p) for i, p in parts.items()}
    return tags


def stored_value(value: object, *, longest: int = LONGEST_VALUE) -> str:
    """The value as text; one that is too long keeps its beginning, and ends with its hash."""
    text = _printable(str(value))
    return text if len(text) <= longest else f"{text[: longest - 16]}... {_hash(text)[:12]}"


def _spelt(name: str) -> str:
    """The name with each odd character spelt out, and as few `_` and `/` as it takes to be told
    from every other name."""
    if not name:
        return "_x_"
    more = ("", r"|_(?=at_|x[0-9a-f]{0,6}[_@])", "|[_/]")
    spellings = (re.sub(_ODD.pattern + one, _token, name, flags=re.DOTALL) for one in more)
    return next(spelt for spelt in spellings if _reads_as(spelt, name))


def _reads_as(spelt: str, name: str) -> bool:
    alike = not _CUT.search(spelt) and _TOKEN.sub(_character, spelt) == name
    return alike and posixpath.normpath(spelt) == spelt


def _token(odd: re.Match[str]) -> str:
    if odd[0] == "@" and re.match(_COUNT, odd.string[odd.end() :]):
        return "_at_"
    return f"_x{ord(odd[0]):x}_"


def _character(token: re.Match[str]) -> str:
    if token[1] is None:
        return "@"
    if not token[1]:
        return ""
    code = int(token[1], 16)
    return chr(code) if code <= sys.maxunicode else token[0]


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:HASH_DIGITS]


def _printable(text: str) -> str:
    """The text as every database holds it: NUL and halves of UTF-16 pairs as their escapes."""
    return text.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode()


def _parts_of(digest: str, tags: Mapping[str, str]) -> list[tuple[int, str]]:
    prefix = f"{NAME_TAG}{digest}."
    return sorted((int(k[len(prefix) :]), v) for k, v in tags.items() if k.startswith(prefix))
