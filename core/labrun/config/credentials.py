"""Secrets that must not be frozen into a run's spec, which others may read."""

import re
from collections.abc import Iterator

from labrun.errors import LabError, shown
from labrun.experiment import Experiment

_IN_FRONT = re.compile(r"(?<=://)(?:[^/?#\s]*|[^/?#\s:@]*:(?!\d+[/?#])\S*)@")
"""What stands before the host; also a password with a bare `/`, unlike a port and a path."""
_BEHIND = re.compile(
    r"(?<=[?&;])([\w-]*(?:token|passw(?:or)?d|pwd|secret|api[_-]?key)[\w-]*=)[^&;#\s]+", re.I
)
_ADDRESS = re.compile(r"[\w+.-]+://\S+\Z")
MLFLOW = (
    "leave it out and set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or "
    "MLFLOW_TRACKING_TOKEN, in the shell"
)


def masked(text: str, *, by: str = "***") -> str:
    """The text as it may be printed: an address without the secret that it holds. With `by` empty
    it can be opened and typed.

    >>> masked("http://me:word@host:5000/?token=abc")
    'http://***@host:5000/?token=***'
    """
    return _BEHIND.sub(rf"\1{by}", _IN_FRONT.sub(f"{by}@" if by else "", text))


def refuse_secrets(experiment: Experiment) -> None:
    """Raise LabError for a setting that is an address with a name, password or token in it.

    spec.json, the results store and `lab runs show` hold every setting as it is.
    """
    for key, value in _texts(experiment):
        way = MLFLOW if key == "tracking.uri" else "give the address without it"
        refuse_secret(value, key=key, way=way)


def holds_secret(value: str) -> bool:
    """Whether the value is an address with a secret in it."""
    return "://" in value and bool(_ADDRESS.match(value)) and masked(value) != value


def refuse_secret(value: str, *, key: str, way: str = MLFLOW) -> None:
    """Raise LabError where the value is an address with a secret in it."""
    if holds_secret(value):
        raise LabError(
            f"{key}={shown(masked(value))}: the address holds a secret, which the files of the "
            f"run would keep for all to read; {way}"
        )


def _texts(experiment: Experiment) -> Iterator[tuple[str, str]]:
    """(key, value) of every setting that is a text."""
    yield "tracking.uri", experiment.run.tracking.uri
    for section, values in experiment.settings.items():
        yield from _leaves(section, values)


def _leaves(key: str, value: object) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _leaves(f"{key}.{name}", item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _leaves(key, item)
