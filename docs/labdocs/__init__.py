"""What the docs site adds to Sphinx: reference pages made from the code, and offline maths."""

import re
from collections.abc import Callable
from typing import Any

from labdocs import commands, keys, mathml, metrics

MADE: dict[str, Callable[[str], str]] = {
    "commands": commands.page,
    "keys": keys.page,
    "metrics": metrics.page,
}
"""What a page asks for by `<!-- from the code: NAME ARGUMENT -->` -> the Markdown in its place."""


def filled(text: str) -> str:
    """The page with Markdown made from the code in place of each such comment."""
    return re.sub(
        r"^<!-- from the code: (\w+) ?(\S*) -->$",
        lambda asked: MADE[asked[1]](asked[2]),
        text,
        flags=re.M,
    )


def setup(app: Any) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("source-read", _fill)
    app.add_html_math_renderer("mathml", (mathml.inline, None), (mathml.block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _fill(app: Any, page: str, content: list[str]) -> None:
    content[0] = filled(content[0])
