"""The keys that a preset sets, and which of them no configuration has."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from labrun.errors import listed, nearest
from labrun.plugins.flaws import FlawError


@dataclass(frozen=True)
class Line:
    """One key of a preset, in full, and the place where it is written."""

    key: str
    place: str
    """`FILE, line N`."""
    has_dot: bool
    """Whether one name holds a dot, which OmegaConf takes for a part of the name."""
    is_mapping: bool
    """Whether its value is an empty mapping."""
    text: str
    """Its value, as text."""


def key_flaws(lines: Sequence[Line], keys: Mapping[str, Any]) -> Iterator[FlawError]:
    """A flaw for each key that is set twice, is not there, or stands for a whole section."""
    for key, count in Counter(line.key for line in lines).items():
        if count > 1:
            last = [line.place for line in lines if line.key == key][-1]
            yield FlawError(f"{key} is set twice; keep one", last)
    for line in lines:
        if not is_key(line.key, keys):
            yield FlawError(_no_key(line.key, keys), line.place)
        elif _is_section(line.key, keys) and not line.is_mapping:
            text = f"{line.key} is a section; write its keys below it, or leave it out"
            yield FlawError(text, line.place)
        elif line.has_dot and not _is_open(line.key, keys):
            text = f"{line.key}: a name with a dot; write one name a line, each below its section"
            yield FlawError(text, line.place)


def is_key(key: str, keys: Mapping[str, Any]) -> bool:
    """Whether the key, or one above or below it, may be set."""
    if key in keys or _is_open(key, keys):
        return True
    return any(known.startswith(f"{key}.") or key.startswith(f"{known}.") for known in keys)


def _is_section(key: str, keys: Mapping[str, Any]) -> bool:
    return key not in keys and any(known.startswith(f"{key}.") for known in keys)


def _is_open(key: str, keys: Mapping[str, Any]) -> bool:
    return any(known.endswith(".*") and key.startswith(known[:-1]) for known in keys)


def _no_key(key: str, keys: Mapping[str, Any]) -> str:
    last = key.rsplit(".", 1)[-1]
    ends = [known.removesuffix(".*").rsplit(".", 1)[-1] for known in keys]
    same_end = [known for known, end in zip(keys, ends, strict=True) if end == nearest(last, ends)]
    near = nearest(key, same_end, cutoff=0.0) or nearest(key, keys, cutoff=0.85)
    if near:
        return f"no key {key}; did you mean {near}?"
    section = key.split(".")[0]
    inside = [known for known in keys if known.split(".")[0] == section] or [*keys]
    return f"no key {key}; keys: {listed(inside, near=key)}"
