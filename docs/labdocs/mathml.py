"""Formulas as MathML, which browsers draw themselves: no script, no font, no network."""

import re
from typing import Any

from docutils.nodes import SkipNode
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.util import logging

NAMED = re.compile(r"(<mo>&ApplyFunction;</mo>)(?=\s*<m(?:i|sub)\b)")
"""Between `log` and a letter, where TeX leaves a thin space."""
log = logging.getLogger(__name__)


def inline(writer: Any, node: Any) -> None:
    """Write a formula within a line."""
    writer.body.append(_mathml(node, as_block=False))
    raise SkipNode


def block(writer: Any, node: Any) -> None:
    """Write a formula on lines of its own."""
    writer.body.append(f'<div class="math">{_mathml(node, as_block=True)}</div>')
    raise SkipNode


def _mathml(node: Any, *, as_block: bool) -> str:
    try:
        made = tex2mathml(node.astext(), as_block=as_block)
    except MathError as error:
        log.warning("%s: %s", node.astext(), error, location=node, type="math")
        return ""
    return re.sub(NAMED, r"\1<mspace width='0.17em'/>", made)
