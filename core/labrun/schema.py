"""Config dataclasses: frozen, keyword-only, and closed to unknown keys and NaN."""

import dataclasses
import functools
import os
from typing import TYPE_CHECKING, Any, TypeVar, dataclass_transform

if TYPE_CHECKING:
    from pydantic import TypeAdapter

T = TypeVar("T")

STRICT = {"extra": "forbid", "allow_inf_nan": False}
NO_PLUGINS = "PYDANTIC_DISABLE_PLUGINS"


@dataclass_transform(frozen_default=True, kw_only_default=True)
def schema(cls: type[T]) -> type[T]:
    """The class as a frozen, keyword-only dataclass whose values are checked strictly.

    Ranges are written with `annotated_types` (`Annotated[int, Ge(1)]`) and meaning, unit and
    source as a string under each field; `lab plugins NAME` prints those strings.
    """
    made = dataclasses.dataclass(frozen=True, kw_only=True)(cls)
    made.__pydantic_config__ = STRICT
    return made


@functools.cache
def adapter(cls: type[Any]) -> "TypeAdapter[Any]":
    """What checks plain values and makes instances of the class from them.

    It is made without pydantic's plugins: to look for one in every installed package takes as long
    as to make ten adapters.
    """
    from pydantic import TypeAdapter

    before = os.environ.get(NO_PLUGINS)
    os.environ[NO_PLUGINS] = "__all__"
    try:
        return TypeAdapter(cls)
    finally:
        os.environ.pop(NO_PLUGINS, None)
        if before is not None:
            os.environ[NO_PLUGINS] = before
