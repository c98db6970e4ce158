"""What each field of a config class means: the string that stands under it."""

import ast
import inspect
import textwrap
from contextlib import suppress
from dataclasses import is_dataclass
from typing import Any


def field_meanings(cls: type[Any]) -> dict[str, str]:
    """Field -> the string written under it in the class body, bases included."""
    meanings: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if is_dataclass(base):
            with suppress(OSError, TypeError):  # a class that no file holds
                meanings |= _meanings_in(base)
    return meanings


def _meanings_in(cls: type[Any]) -> dict[str, str]:
    body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
    assert isinstance(body, ast.ClassDef)
    found = {}
    for field, text in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            match text:
                case ast.Expr(value=ast.Constant(value=str(meaning))):
                    found[field.target.id] = " ".join(meaning.split())
    return found
