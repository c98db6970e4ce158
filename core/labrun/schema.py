"""Config dataclasses: frozen, keyword-only, and closed to unknown keys and NaN."""

import dataclasses
from typing import TypeVar, dataclass_transform

T = TypeVar("T")

STRICT = {"extra": "forbid", "allow_inf_nan": False}


@dataclass_transform(frozen_default=True, kw_only_default=True)
def schema(cls: type[T]) -> type[T]:
    """The class as a frozen, keyword-only dataclass whose values are checked strictly.

    Ranges are written with `annotated_types` (`Annotated[int, Ge(1)]`) and meaning, unit and
    source as a string under each field; `lab plugins NAME` prints those strings.
    """
    made = dataclasses.dataclass(frozen=True, kw_only=True)(cls)
    made.__pydantic_config__ = STRICT  # pyright: ignore[reportAttributeAccessIssue]
    return made
