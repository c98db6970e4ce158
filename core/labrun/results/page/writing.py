"""From the parts of a page to its HTML file."""

import functools
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup

from labrun.errors import LabError, shown
from labrun.results.page.contents import Page
from labrun.results.page.words import clean, short
from labrun.score import p_text

if TYPE_CHECKING:
    from jinja2 import Environment

POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'"
)
"""Content-Security-Policy of the page: no script, no request, no form; styles and pictures that
are in the file."""


def html_of(page: Page) -> str:
    """The whole page. Every text is escaped; only the drawings made here are not."""
    environment = _environment()
    style, _, _ = environment.loader.get_source(environment, "page.css")  # pyrefly: ignore[missing-attribute]
    template = environment.get_template("page.html.j2")
    return template.render(page=page, policy=POLICY, style=Markup(style))


@functools.cache
def _environment() -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("labrun.results.page", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"clean": clean, "short": short, "p_text": p_text}
    return made


def write(page: Page, path: Path) -> int:
    """Write the page, whole or not at all; returns its size in bytes. Raises LabError."""
    text = html_of(page).encode()
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(text)
        os.replace(draft, path)
    except OSError as error:
        with suppress(OSError):
            draft.unlink()
        reason = error.strerror or error
        raise LabError(
            f"cannot write {shown(str(path))}: {reason}; choose another file with -o"
        ) from error
    return len(text)
