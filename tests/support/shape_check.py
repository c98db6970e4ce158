"""The checker of annotations under test: beartype, with an int allowed where a float is asked."""

from collections.abc import Callable
from typing import Any

from beartype import BeartypeConf, beartype

_checked = beartype(conf=BeartypeConf(is_pep484_tower=True))


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with its annotations checked.

    One without shapes inside another function stays as it is: it would be wrapped anew at each call
    of the outer one, which takes longer than a step of a tiny model.
    """
    is_inner = "<locals>" in function.__qualname__
    if is_inner and "jaxtyping" not in repr(function.__annotations__):
        return function
    return _checked(function)
