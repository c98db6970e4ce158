"""Plain values as instances of config classes, checked strictly; imports neither Hydra nor YAML."""

import difflib
import json
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from labrun.errors import LabError, shown
from labrun.schema import adapter


def typed(cls: type[Any], values: Mapping[str, Any], *, section: str) -> Any:
    """`values` as an instance of the `@schema` class.

    Raises LabError that names the key, the value got and what is allowed.
    """
    try:
        return validated(cls, values)
    except ValidationError as error:
        raise refusal(error, section) from error


def validated(cls: type[Any], values: Mapping[str, Any]) -> Any:
    """`values` as an instance of the class. Raises ValidationError."""
    return adapter(cls).validate_json(json.dumps(values), strict=True)


def refusal(error: ValidationError, section: str) -> LabError:
    """The error that names each key that was refused, the value got and what is allowed."""
    return LabError("; ".join(_fault(e, section) for e in error.errors()))


def _fault(error: Any, section: str) -> str:
    key = ".".join(part for part in [section, *map(str, error["loc"])] if part)
    if error["type"] == "unexpected_keyword_argument":
        return f"no key {key!r}"
    message = error["msg"].removeprefix("Value error, ")
    text = message[0].lower() + message[1:]
    got = shown(json.dumps(error["input"], ensure_ascii=False))
    names = error.get("ctx", {}).get("expected", "").replace("'", "").replace(" or ", ", ")
    near = difflib.get_close_matches(str(error["input"]), [*filter(None, names.split(", "))], n=1)
    hint = f", did you mean {near[0]!r}?" if near else ""
    return f"{key}={got}: {text}{hint}"
